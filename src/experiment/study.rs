//! One configuration over its replications: every figure with its interval, every objective with the share of
//! runs that kept it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::figure::{CLUSTER, Figure, Kind};
use super::record::RunRecord;
use super::statistics::{Estimate, Refusal, SparseHistogram, mean, pooled_quantile, wilson};
use crate::kernel::{Stream, Streams};
use crate::output::{BoundSense, Diagnosis, Trends};

/// Confidence of every interval, unless somebody says otherwise.
pub const LEVEL: f64 = 0.95;

/// Share of the runs in which an objective has to hold to count as kept.
pub const HOLD: f64 = 0.9;

/// The figures of one configuration over its replications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// What it is called.
    pub label: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The variant.
    pub variant: String,
    /// Hash of the plan.
    pub plan_hash: String,
    /// Seed of the plan.
    pub seed: u64,
    /// Simulated time of each run, in seconds.
    pub duration_s: f64,
    /// Start of each run that no figure counts, in seconds.
    pub warm_up_s: f64,
    /// The replications, ascending.
    pub replications: Vec<u32>,
    /// The objectives, in the order of the plan.
    pub objectives: Vec<ObjectiveStudy>,
    /// Runs in which every objective held; absent when there are none.
    pub kept_all: Option<u64>,
    /// The figures, in the order of the tables.
    pub figures: Vec<FigureStudy>,
    /// Short series of every run by service, for bands in charts.
    pub trends: IndexMap<String, Vec<Trends>>,
    /// Troubles that were met, with the number of runs that met them.
    pub diagnoses: Vec<(u64, Diagnosis)>,
}

/// An objective over replications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveStudy {
    /// The service, or `cluster`.
    pub subject: String,
    /// The key, for example `latency_p99`.
    pub key: String,
    /// Which way the limit holds.
    pub sense: BoundSense,
    /// The limit, in `unit`.
    pub limit: f64,
    /// Unit of limit and values.
    pub unit: String,
    /// Runs in which it held.
    pub held: u64,
    /// Runs in which it could be judged.
    pub judged: u64,
    /// Wilson interval at [`LEVEL`] of the share of runs in which it holds; absent when none could be judged.
    pub share: Option<(f64, f64)>,
    /// Mean over the runs of what was measured.
    pub mean: Option<f64>,
    /// Student's interval of that mean at [`LEVEL`]; absent with fewer than five runs.
    pub interval: Option<(f64, f64)>,
    /// The run that was worst.
    pub worst: Option<f64>,
}

impl ObjectiveStudy {
    /// Address of the figure that it is about, where there is one.
    #[must_use]
    pub fn figure(&self) -> Option<String> {
        figure_of_objective(&self.subject, &self.key)
    }

    /// Whether it counts as kept: it held in at least this share of the runs in which it could be judged.
    #[must_use]
    pub fn is_kept(&self, hold: f64) -> bool {
        self.judged == 0 || self.held as f64 >= hold * self.judged as f64 - 1e-9
    }
}

/// A figure over replications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureStudy {
    /// Its address: `web.latency_p99_ms`.
    pub address: String,
    /// The mean of the runs, or the quantile of the pooled runs; absent when there is nothing, or too little to say.
    pub point: Option<f64>,
    /// The interval at [`LEVEL`]; absent with fewer than five runs.
    pub interval: Option<(f64, f64)>,
    /// How the interval was made, or why there is none.
    pub method: String,
    /// The value of each run.
    pub values: Vec<Option<f64>>,
}

/// Fewest replications that have an interval.
pub const INTERVAL_FROM: usize = 5;

impl Study {
    /// Puts the runs of one configuration together, which are in the order of their replications.
    #[must_use]
    pub fn of(label: &str, records: &[RunRecord], level: f64) -> Self {
        let Some(first) = records.first().map(|r| &r.summary) else {
            return Self { label: label.to_owned(), ..Self::default() };
        };
        let figures = figures_of(records);
        let mut trends: IndexMap<String, Vec<Trends>> = IndexMap::new();
        for record in records {
            for (name, s) in &record.summary.services {
                trends.entry(name.clone()).or_default().push(s.trends.clone());
            }
        }
        let judged: Vec<&RunRecord> = records.iter().filter(|r| !r.summary.objectives.is_empty()).collect();
        let kept = judged.iter().filter(|r| r.summary.objectives_missed() == 0).count() as u64;
        Self {
            label: label.to_owned(),
            scenario: first.meta.name.clone(),
            variant: first.meta.variant.clone(),
            plan_hash: first.meta.plan_hash.clone(),
            seed: first.meta.seed,
            duration_s: first.meta.duration_s,
            warm_up_s: first.meta.warm_up_s,
            replications: records.iter().map(|r| r.summary.meta.replication).collect(),
            objectives: (0..first.objectives.len()).map(|i| objective(records, i, level)).collect(),
            kept_all: (!judged.is_empty()).then_some(kept),
            figures: figures.iter().map(|f| figure(f, records, level)).collect(),
            trends,
            diagnoses: diagnoses(records),
        }
    }

    /// A figure by its address.
    #[must_use]
    pub fn figure(&self, address: &str) -> Option<&FigureStudy> {
        self.figures.iter().find(|f| f.address == address)
    }

    /// The objectives that do not count as kept.
    pub fn missed(&self, hold: f64) -> impl Iterator<Item = &ObjectiveStudy> {
        self.objectives.iter().filter(move |o| !o.is_kept(hold))
    }
}

/// The figures that these runs have.
#[must_use]
pub fn figures_of(records: &[RunRecord]) -> Vec<Figure> {
    let Some(first) = records.first() else { return Vec::new() };
    let mut figures = Figure::all(first.summary.services.keys().map(String::as_str));
    figures.extend(first.summary.pods.iter().flat_map(|_| Figure::of_pods()));
    figures
}

/// The latency of one service in each run.
pub(super) fn histograms(records: &[RunRecord], service: &str) -> Vec<SparseHistogram> {
    records.iter().map(|r| r.latency.get(service).cloned().unwrap_or_default()).collect()
}

fn figure(figure: &Figure, records: &[RunRecord], level: f64) -> FigureStudy {
    let values: Vec<Option<f64>> = records.iter().map(|r| figure.of(r)).collect();
    let (point, estimate) = match figure.measure.kind {
        Kind::Mean => mean_of(&values, level, &mut bootstrap(figure)),
        Kind::Quantile(q) => quantile_of(figure, &histograms(records, &figure.subject), q, level),
    };
    let (interval, method) = match estimate {
        Ok(e) => (Some((e.interval.low, e.interval.high)), e.method.name().to_owned()),
        Err(refusal) => (None, refusal.to_string()),
    };
    FigureStudy { address: figure.address(), point, interval, method, values }
}

fn mean_of(values: &[Option<f64>], level: f64, stream: &mut Stream) -> (Option<f64>, Result<Estimate, Refusal>) {
    let present: Vec<f64> = values.iter().flatten().copied().collect();
    let point = (!present.is_empty()).then(|| present.iter().sum::<f64>() / present.len() as f64);
    if present.len() < INTERVAL_FROM {
        return (point, Err(Refusal::TooFewReplications { got: present.len(), need: INTERVAL_FROM }));
    }
    (point, mean(&present, level, stream))
}

/// Nanoseconds to milliseconds.
pub(super) const MS: f64 = 1e-6;

/// The stream that a figure's resampling draws from.
pub(super) fn bootstrap(figure: &Figure) -> Stream {
    Streams::new(0, 0).stream(&format!("bootstrap/{}", figure.address()))
}

fn quantile_of(
    figure: &Figure,
    runs: &[SparseHistogram],
    q: f64,
    level: f64,
) -> (Option<f64>, Result<Estimate, Refusal>) {
    match pooled_quantile(runs, q, level, &mut bootstrap(figure)) {
        Ok(found) => {
            let mut e = found.estimate;
            e.point *= MS;
            (e.interval.low, e.interval.high) = ((e.interval.low * MS).max(0.0), e.interval.high * MS);
            (Some(e.point), Ok(e))
        }
        // Too few runs for an interval leave the quantile itself; too few values leave nothing.
        Err(refusal @ Refusal::TooFewReplications { .. }) => {
            let pool = SparseHistogram::pool(runs);
            let enough = pool.beyond(q) >= super::statistics::BEYOND_MINIMUM || runs.len() == 1;
            (pool.quantile(q).filter(|_| enough).map(|v| v * MS), Err(refusal))
        }
        Err(refusal) => (None, Err(refusal)),
    }
}

fn objective(records: &[RunRecord], index: usize, level: f64) -> ObjectiveStudy {
    let results: Vec<_> = records.iter().filter_map(|r| r.summary.objectives.get(index)).collect();
    let Some(first) = results.first() else { return ObjectiveStudy::default() };
    let (held, judged) =
        (results.iter().filter(|o| o.held == Some(true)).count(), results.iter().filter(|o| o.held.is_some()).count());
    let values: Vec<Option<f64>> = results.iter().map(|o| o.measured).collect();
    let mut stream = Streams::new(0, 0).stream(&format!("bootstrap/objective/{}/{}", first.subject, first.key));
    let (mean, estimate) = mean_of(&values, level, &mut stream);
    let worse = |a: f64, b: f64| match first.sense {
        BoundSense::AtMost => a.max(b),
        BoundSense::AtLeast => a.min(b),
    };
    ObjectiveStudy {
        subject: first.subject.clone(),
        key: first.key.clone(),
        sense: first.sense,
        limit: first.limit,
        unit: first.unit.clone(),
        held: held as u64,
        judged: judged as u64,
        share: wilson(held as u64, judged as u64, level).ok().map(|s| (s.interval.low, s.interval.high)),
        mean,
        interval: estimate.ok().map(|e| (e.interval.low, e.interval.high)),
        worst: values.into_iter().flatten().reduce(worse),
    }
}

/// Each kind of trouble of a subject once, in the words of the first run that met it.
fn diagnoses(records: &[RunRecord]) -> Vec<(u64, Diagnosis)> {
    let mut all: Vec<(u64, Diagnosis)> = Vec::new();
    for record in records {
        for d in &record.summary.diagnoses {
            match all.iter_mut().find(|(_, known)| known.kind == d.kind && known.subject == d.subject) {
                Some((runs, _)) => *runs += 1,
                None => all.push((1, d.clone())),
            }
        }
    }
    all
}

fn figure_of_objective(subject: &str, key: &str) -> Option<String> {
    let name = match key {
        "latency_p50" => "latency_p50_ms",
        "latency_p95" => "latency_p95_ms",
        "latency_p99" => "latency_p99_ms",
        "latency_mean" => "latency_mean_ms",
        "availability" => "availability_pct",
        "breach_minutes" => "breach_minutes",
        "cost_per_hour" if subject == CLUSTER => "cost_per_hour_usd",
        "cost" => "cost_usd",
        _ => return None,
    };
    Some(format!("{subject}.{name}"))
}
