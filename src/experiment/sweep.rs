//! Many points of a scenario: a grid or a sample over some addresses, every point with its replications.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::record::RunRecord;
use super::runner::RunFailure;
use super::statistics::{Refusal, factorial, latin_hypercube, main_effects, rank_regression, sobol};
use super::study::{Study, figures_of};
use crate::kernel::Streams;
use crate::scenario::axis::{Axis, number_of};

/// Name and version of the schema of `sweep.json`.
pub const SWEEP_SCHEMA: &str = "simctl.sweep/1";

/// Where the points of a sweep lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Every combination of the axes' values.
    Grid,
    /// So many points, each axis cut evenly: one point in every part of every axis.
    LatinHypercube(usize),
    /// So many points of a scrambled Sobol sequence, which fill the space most evenly at powers of two.
    Sobol(usize),
}

impl Design {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::LatinHypercube(_) => "Latin hypercube",
            Self::Sobol(_) => "Sobol sample",
        }
    }

    /// The points: for each the value on each axis, as it would be written after `--set ADDRESS=`. A sample may hold a
    /// point twice when its axes have few values; it is taken once.
    ///
    /// # Errors
    /// When an axis of a grid is a range without a number of values, or the design has no points or too many.
    pub fn points(self, axes: &[Axis], seed: u64) -> Result<Vec<Vec<String>>, DesignError> {
        let mut stream = Streams::new(seed, 0).stream("sweep/design");
        let sample = match self {
            Self::Grid => {
                let grids = axes
                    .iter()
                    .map(|axis| axis.values.grid().ok_or_else(|| DesignError::NoNumber(axis.address.clone())));
                let grids = grids.collect::<Result<Vec<_>, _>>()?;
                let levels: Vec<usize> = grids.iter().map(Vec::len).collect();
                let points = factorial(&levels)?;
                return Ok(points
                    .into_iter()
                    .map(|point| point.iter().zip(&grids).map(|(&level, grid)| grid[level].clone()).collect())
                    .collect());
            }
            Self::LatinHypercube(n) => latin_hypercube(n, axes.len(), &mut stream)?,
            Self::Sobol(n) => sobol(n, axes.len(), &mut stream)?,
        };
        let mut points: Vec<Vec<String>> = Vec::new();
        for place in sample {
            let point: Vec<String> = axes.iter().zip(&place).map(|(axis, &u)| axis.values.at(u)).collect();
            if !points.contains(&point) {
                points.push(point);
            }
        }
        Ok(points)
    }
}

/// Why a design has no points.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DesignError {
    /// A grid needs to know how many values a range has.
    #[error("a grid needs to know how many values `{0}` takes: write FROM..TO:N or FROM..TO/STEP, or take --sample")]
    NoNumber(String),
    /// Too few or too many points or axes.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// An axis of a finished sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AxisResult {
    /// The address.
    pub address: String,
    /// Its last names, for tables and charts.
    pub short: String,
    /// Every value that occurs, ascending when they are numbers, else in the order of the axis.
    pub values: Vec<String>,
}

/// A point of a finished sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PointResult {
    /// Its value on each axis.
    pub values: Vec<String>,
    /// Its runs together; without trends. Empty when none finished.
    pub study: Study,
    /// Why it cannot run, if so.
    pub invalid: Option<String>,
    /// Runs that failed.
    pub failed: u64,
}

impl PointResult {
    /// Share of the runs that kept every objective; none without objectives or runs.
    #[must_use]
    pub fn kept_share(&self) -> Option<f64> {
        let runs = self.study.replications.len();
        self.study.kept_all.filter(|_| runs > 0).map(|kept| kept as f64 / runs as f64)
    }
}

/// How much the axes move a figure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The figure's address.
    pub address: String,
    /// For each axis: of a grid the share (0 to 1) of the figure's variance that lies between its values; of a sample the
    /// standardised rank regression coefficient (−1 to 1).
    pub axes: Vec<f64>,
    /// Share that the axes explain together: of a grid the sum, of a sample R².
    pub explained: f64,
}

/// A finished sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepResult {
    /// [`SWEEP_SCHEMA`].
    pub schema: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The design, in words.
    pub design: String,
    /// The axes.
    pub axes: Vec<AxisResult>,
    /// Replications that each point was to have.
    pub replications: u32,
    /// The points, in the order of the design.
    pub points: Vec<PointResult>,
    /// Sensitivity of each figure that varies.
    pub sensitivity: Vec<Sensitivity>,
    /// Runs that failed, with the command that repeats each.
    pub failures: Vec<(String, String)>,
    /// What the reader has to know.
    pub notes: Vec<String>,
}

/// What comes of one point: why it cannot run, or its runs.
#[derive(Clone, Debug)]
pub struct PointRuns {
    /// Its value on each axis.
    pub values: Vec<String>,
    /// Why it cannot run, if so.
    pub invalid: Option<String>,
    /// Its finished runs, in the order of their replications.
    pub runs: Vec<RunRecord>,
    /// Its runs that failed.
    pub failures: Vec<RunFailure>,
}

/// The name of a point: `target_value=60, max_capacity=20`.
#[must_use]
pub fn label(axes: &[Axis], values: &[String]) -> String {
    let parts: Vec<String> =
        axes.iter().zip(values).map(|(axis, v)| format!("{}={}", axis.short(), v.trim_matches('"'))).collect();
    parts.join(", ")
}

/// Puts the runs of a sweep together.
#[must_use]
pub fn sweep(
    scenario: &str,
    design: Design,
    axes: &[Axis],
    replications: u32,
    points: &[PointRuns],
    level: f64,
) -> SweepResult {
    let results: Vec<PointResult> = points
        .iter()
        .map(|point| {
            let mut study = Study::of(&label(axes, &point.values), &point.runs, level);
            study.trends = IndexMap::new();
            PointResult {
                values: point.values.clone(),
                study,
                invalid: point.invalid.clone(),
                failed: point.failures.len() as u64,
            }
        })
        .collect();
    SweepResult {
        schema: SWEEP_SCHEMA.to_owned(),
        scenario: scenario.to_owned(),
        design: design.name().to_owned(),
        axes: axes.iter().enumerate().map(|(i, axis)| axis_result(axis, i, points)).collect(),
        replications,
        sensitivity: sensitivity(design, axes, points),
        failures: points.iter().flat_map(|p| &p.failures).map(|f| (f.why.clone(), f.command.clone())).collect(),
        points: results,
        notes: vec![crate::output::NOTE_UNCALIBRATED.to_owned()],
    }
}

fn axis_result(axis: &Axis, index: usize, points: &[PointRuns]) -> AxisResult {
    let mut values: Vec<String> = Vec::new();
    for point in points {
        if !values.contains(&point.values[index]) {
            values.push(point.values[index].clone());
        }
    }
    if let Some(mut numbers) = values.iter().map(|v| Some((number_of(v)?, v))).collect::<Option<Vec<_>>>() {
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        values = numbers.into_iter().map(|(_, v)| v.clone()).collect();
    }
    AxisResult { address: axis.address.clone(), short: axis.short().to_owned(), values }
}

/// The sensitivity of every figure that varies, over all finished runs.
fn sensitivity(design: Design, axes: &[Axis], points: &[PointRuns]) -> Vec<Sensitivity> {
    let Some(figures) = points.iter().map(|p| figures_of(&p.runs)).find(|f| !f.is_empty()) else { return Vec::new() };
    figures.iter().filter_map(|figure| sensitivity_of(figure, design, axes, points)).collect()
}

fn sensitivity_of(figure: &Figure, design: Design, axes: &[Axis], points: &[PointRuns]) -> Option<Sensitivity> {
    let measured: Vec<(usize, f64)> = points
        .iter()
        .enumerate()
        .flat_map(|(i, p)| p.runs.iter().filter_map(move |r| Some((i, figure.of(r)?))))
        .collect();
    let values: Vec<f64> = measured.iter().map(|m| m.1).collect();
    // Where a value stands among those of its axis.
    let level = |axis: usize, point: usize| {
        points.iter().position(|p| p.values[axis] == points[point].values[axis]).unwrap_or(point)
    };
    let address = figure.address();
    if design == Design::Grid {
        let levels: Vec<Vec<usize>> =
            (0..axes.len()).map(|axis| measured.iter().map(|m| level(axis, m.0)).collect()).collect();
        let shares: Vec<f64> = main_effects(&levels, &values).ok()?.iter().map(|i| i.share).collect();
        let explained = shares.iter().sum::<f64>().min(1.0);
        return Some(Sensitivity { address, axes: shares, explained });
    }
    let place =
        |axis: usize, point: usize| number_of(&points[point].values[axis]).unwrap_or_else(|| level(axis, point) as f64);
    let columns: Vec<Vec<f64>> =
        (0..axes.len()).map(|axis| measured.iter().map(|m| place(axis, m.0)).collect()).collect();
    let found = rank_regression(&columns, &values).ok()?;
    Some(Sensitivity { address, axes: found.coefficients, explained: found.r_squared })
}

/// The table of all runs, one row each, as headers and rows of text.
#[must_use]
pub fn run_table(axes: &[Axis], points: &[PointRuns]) -> (Vec<String>, Vec<Vec<String>>) {
    let figures = points.iter().map(|p| figures_of(&p.runs)).find(|f| !f.is_empty()).unwrap_or_default();
    let mut header = vec!["point".to_owned()];
    header.extend(axes.iter().map(|a| a.address.clone()));
    header.extend(["replication", "run_id", "status", "objectives_missed"].map(ToOwned::to_owned));
    header.extend(figures.iter().map(Figure::address));
    let blank = vec![String::new(); figures.len()];
    let mut rows = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let head = |replication: String, id: &str, status: &str, missed: String| {
            let mut row = vec![index.to_string()];
            row.extend(point.values.iter().map(|v| v.trim_matches('"').to_owned()));
            row.extend([replication, id.to_owned(), status.to_owned(), missed]);
            row
        };
        for run in &point.runs {
            let meta = &run.summary.meta;
            let missed = run.summary.objectives_missed().to_string();
            let mut row = head(meta.replication.to_string(), &meta.run_id, "ok", missed);
            row.extend(figures.iter().map(|f| f.of(run).map_or(String::new(), number)));
            rows.push(row);
        }
        for failure in &point.failures {
            let mut row = head(failure.wanted.replication.to_string(), "", "failed", String::new());
            row.extend(blank.iter().cloned());
            rows.push(row);
        }
        if point.invalid.is_some() {
            let mut row = head(String::new(), "", "invalid", String::new());
            row.extend(blank.iter().cloned());
            rows.push(row);
        }
    }
    (header, rows)
}

/// Nine digits, without noise, never scientific between 1e-6 and 1e15.
pub(crate) fn number(x: f64) -> String {
    let short: f64 = format!("{x:.8e}").parse().unwrap_or(x);
    format!("{short}")
}

/// The table of all points, one row each: runs, share that kept the objectives, and of each figure the point and the
/// ends of its interval.
#[must_use]
pub fn point_table(result: &SweepResult) -> (Vec<String>, Vec<Vec<String>>) {
    let addresses: Vec<String> = result
        .points
        .iter()
        .find(|p| !p.study.figures.is_empty())
        .map(|p| p.study.figures.iter().map(|f| f.address.clone()).collect())
        .unwrap_or_default();
    let mut header = vec!["point".to_owned()];
    header.extend(result.axes.iter().map(|a| a.address.clone()));
    header.extend(["runs", "failed", "kept_all_share", "invalid"].map(ToOwned::to_owned));
    for address in &addresses {
        header.extend([address.clone(), format!("{address}.low"), format!("{address}.high")]);
    }
    let text = |v: Option<f64>| v.map_or(String::new(), number);
    let rows = result.points.iter().enumerate().map(|(index, p)| {
        let mut row = vec![index.to_string()];
        row.extend(p.values.iter().map(|v| v.trim_matches('"').to_owned()));
        row.extend([
            p.study.replications.len().to_string(),
            p.failed.to_string(),
            text(p.kept_share()),
            p.invalid.clone().unwrap_or_default(),
        ]);
        for address in &addresses {
            let figure = p.study.figure(address);
            let interval = figure.and_then(|f| f.interval);
            row.extend([text(figure.and_then(|f| f.point)), text(interval.map(|i| i.0)), text(interval.map(|i| i.1))]);
        }
        row
    });
    let rows = rows.collect();
    (header, rows)
}

/// The table of sensitivities: one row per figure, one column per axis.
#[must_use]
pub fn sensitivity_table(result: &SweepResult) -> (Vec<String>, Vec<Vec<String>>) {
    let mut header = vec!["figure".to_owned()];
    header.extend(result.axes.iter().map(|a| a.address.clone()));
    header.push("explained".to_owned());
    let rows = result.sensitivity.iter().map(|s| {
        let mut row = vec![s.address.clone()];
        row.extend(s.axes.iter().chain([&s.explained]).map(|v| number(*v)));
        row
    });
    let rows = rows.collect();
    (header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Vec<Axis> {
        ["services.web.task.cpu=256,512", "services.web.scaling.policies.a.target_value=50..70:3"]
            .map(|a| Axis::parse(a, "--vary").expect("well-formed"))
            .to_vec()
    }

    #[test]
    fn a_grid_has_every_combination_and_a_sample_repeats_none() {
        let grid = Design::Grid.points(&axes(), 1).expect("a grid");
        assert_eq!(grid.len(), 6);
        assert_eq!((grid[0].join(" "), grid[5].join(" ")), ("256 50".to_owned(), "512 70".to_owned()));
        assert_eq!(label(&axes(), &grid[1]), "task.cpu=256, a.target_value=60");
        let sample = Design::LatinHypercube(64).points(&axes(), 1).expect("a sample");
        assert!(sample.len() <= 2 * 21 && sample.iter().enumerate().all(|(i, p)| !sample[..i].contains(p)));
        let open = [Axis::parse("services.web.desired_count=1..9", "--vary").expect("a range")];
        assert!(matches!(Design::Grid.points(&open, 1), Err(DesignError::NoNumber(_))));
        assert!(Design::Sobol(8).points(&open, 1).expect("a sample").len() >= 6);
        assert!(Design::Sobol(0).points(&open, 1).is_err());
    }
}
