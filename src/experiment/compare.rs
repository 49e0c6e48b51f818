//! Variants beside each other: the difference of every figure to a reference, with its interval, a verdict that
//! is corrected for the number of comparisons, and a sentence in plain words.

use serde::{Deserialize, Serialize};

use super::figure::{Better, CLUSTER, Figure, Kind};
use super::record::RunRecord;
use super::statistics::{
    Difference, Equivalence, Refusal, Sense, Verdict, equivalence, holm, paired, paired_quantile, unpaired_quantile,
    verdict, welch,
};
use super::study::{INTERVAL_FROM, MS, ObjectiveStudy, Study, bootstrap, figures_of, histograms};

/// Name and version of the schema of `comparison.json`.
pub const COMPARISON_SCHEMA: &str = "simctl.comparison/1";

/// The finished runs of one variant, in the order of their replications.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What it is called.
    pub label: String,
    /// Its runs.
    pub runs: Vec<RunRecord>,
}

/// How variants are compared.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Confidence of the intervals; the verdicts together are wrong with at most one minus this.
    pub level: f64,
    /// Position of the variant that the others are compared with.
    pub reference: usize,
    /// Whether the runs are treated as independent instead of paired by replication.
    pub unpaired: bool,
    /// Margins within which a figure counts as the same, by address.
    pub margins: Vec<(String, f64)>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { level: super::study::LEVEL, reference: 0, unpaired: false, margins: Vec::new() }
    }
}

/// What a comparison says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARISON_SCHEMA`].
    pub schema: String,
    /// Confidence of the intervals and of all verdicts together.
    pub level: f64,
    /// Whether the runs are paired: the same replication meets the same draws in every variant.
    pub paired: bool,
    /// Label of the variant that the others are compared with.
    pub reference: String,
    /// The variants by themselves, the reference among them, in the order that was asked for.
    pub studies: Vec<Study>,
    /// The other variants against the reference.
    pub against: Vec<Against>,
    /// How many figures were tested together.
    pub tests: usize,
    /// What the reader has to know.
    pub notes: Vec<String>,
}

/// A variant against the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The variant.
    pub label: String,
    /// Runs that could be compared.
    pub replications: usize,
    /// The figures, in the order of the tables.
    pub differences: Vec<FigureDifference>,
    /// The verdict in plain words.
    pub sentence: String,
}

/// The difference of one figure: the variant minus the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FigureDifference {
    /// The figure's address.
    pub address: String,
    /// Its name in tables.
    pub label: String,
    /// Its unit.
    pub unit: String,
    /// The reference's value.
    pub reference: Option<f64>,
    /// The variant's value.
    pub value: Option<f64>,
    /// The difference; absent when nothing can be said.
    pub difference: Option<f64>,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// The difference in percent of the reference; absent when the reference is zero.
    pub relative_pct: Option<f64>,
    /// How the interval was made.
    pub method: String,
    /// Two-sided p-value, before correction.
    pub p: Option<f64>,
    /// The same, corrected for all figures of all variants that were tested (Holm).
    pub corrected_p: Option<f64>,
    /// Correlation of the pairs.
    pub correlation: Option<f64>,
    /// Variance of the paired difference over that of independent runs: what the common draws save.
    pub variance_ratio: Option<f64>,
    /// `better`, `worse`, `higher`, `lower`, `no difference shown`, or why nothing can be said.
    pub verdict: String,
    /// Whether a difference is shown, after the correction.
    pub shown: bool,
    /// Whether it is shown to lie within the margin that was asked for.
    pub within_margin: Option<bool>,
}

/// Compares variants.
///
/// Paired runs are matched by replication; one that is missing on a side is left out on both.
#[must_use]
pub fn compare(variants: &[Variant], options: &CompareOptions) -> Comparison {
    let studies: Vec<Study> = variants.iter().map(|v| Study::of(&v.label, &v.runs, options.level)).collect();
    let Some(reference) = variants.get(options.reference) else { return Comparison::default() };
    let figures: Vec<Figure> =
        figures_of(&reference.runs).into_iter().filter(|f| f.address() != "cluster.cost_usd").collect();
    let mut found: Vec<(usize, usize, Vec<Tested>)> = Vec::new();
    for (index, other) in variants.iter().enumerate().filter(|(i, _)| *i != options.reference) {
        let (a, b) = if options.unpaired {
            (reference.runs.clone(), other.runs.clone())
        } else {
            matched(&reference.runs, &other.runs)
        };
        let tested = figures.iter().map(|figure| test(figure, &a, &b, options)).collect();
        found.push((index, b.len(), tested));
    }
    // One family: whoever reads the table reads all of it.
    let p: Vec<f64> = found.iter().flat_map(|f| &f.2).map(|t| t.as_ref().map_or(f64::NAN, |d| d.0.p)).collect();
    let corrected = holm(&p);
    let tests = p.iter().filter(|p| !p.is_nan()).count();
    let mut corrected = corrected.into_iter();
    let against = found
        .into_iter()
        .map(|(index, replications, tested)| {
            let differences: Vec<FigureDifference> = figures
                .iter()
                .zip(tested)
                .map(|(figure, tested)| row(figure, tested, corrected.next().unwrap_or(f64::NAN), options))
                .collect();
            let sentence = super::words::sentence(&studies[index], &studies[options.reference], &differences);
            Against { label: variants[index].label.clone(), replications, differences, sentence }
        })
        .collect();
    Comparison {
        schema: COMPARISON_SCHEMA.to_owned(),
        level: options.level,
        paired: !options.unpaired,
        reference: reference.label.clone(),
        studies,
        against,
        tests,
        notes: vec![crate::output::NOTE_UNCALIBRATED.to_owned()],
    }
}

type Tested = Result<(Difference, Option<Equivalence>), Refusal>;

/// The runs of both sides whose replication is on both.
fn matched(a: &[RunRecord], b: &[RunRecord]) -> (Vec<RunRecord>, Vec<RunRecord>) {
    let number = |r: &RunRecord| r.summary.meta.replication;
    let pairs = a.iter().filter_map(|left| Some((left, b.iter().find(|right| number(right) == number(left))?)));
    pairs.map(|(left, right)| (left.clone(), right.clone())).unzip()
}

fn test(figure: &Figure, a: &[RunRecord], b: &[RunRecord], options: &CompareOptions) -> Tested {
    let level = options.level;
    let few = a.len().min(b.len());
    if few < INTERVAL_FROM {
        return Err(Refusal::TooFewReplications { got: few, need: INTERVAL_FROM });
    }
    // The resampling is the same for the same figure, whatever else is compared.
    let mut stream = bootstrap(figure);
    let mut difference = match figure.measure.kind {
        Kind::Quantile(q) => {
            let (a, b) = (histograms(a, &figure.subject), histograms(b, &figure.subject));
            let found = if options.unpaired {
                unpaired_quantile(&a, &b, q, level)
            } else {
                paired_quantile(&a, &b, q, level, &mut stream)
            };
            found.map(in_milliseconds)?
        }
        Kind::Mean => {
            let values = |runs: &[RunRecord]| runs.iter().map(|r| figure.of(r)).collect::<Vec<_>>();
            let (left, right) = (values(a), values(b));
            if options.unpaired {
                let present = |v: Vec<Option<f64>>| v.into_iter().flatten().collect::<Vec<_>>();
                welch(&present(left), &present(right), level)?
            } else {
                let (left, right): (Vec<f64>, Vec<f64>) =
                    left.into_iter().zip(right).filter_map(|(l, r)| l.zip(r)).unzip();
                paired(&left, &right, level, &mut stream)?
            }
        }
    };
    let scale = if matches!(figure.measure.kind, Kind::Quantile(_)) { 1.0 / MS } else { 1.0 };
    let margin = options.margins.iter().find(|(address, _)| *address == figure.address());
    let within = match margin {
        Some((_, margin)) => Some(equivalence(&difference, margin * scale, 1.0 - level)?),
        None => None,
    };
    if difference.difference == 0.0 && difference.interval.half_width() == 0.0 {
        difference.p = 1.0;
    }
    Ok((difference, within))
}

/// A difference of nanoseconds in milliseconds; its law stays in nanoseconds.
fn in_milliseconds(mut d: Difference) -> Difference {
    for value in [&mut d.base, &mut d.other, &mut d.difference, &mut d.interval.low, &mut d.interval.high] {
        *value *= MS;
    }
    d.standard_error *= MS;
    d
}

fn row(figure: &Figure, tested: Tested, corrected: f64, options: &CompareOptions) -> FigureDifference {
    let measure = figure.measure;
    let head = FigureDifference {
        address: figure.address(),
        label: measure.label.to_owned(),
        unit: measure.unit.to_owned(),
        ..FigureDifference::default()
    };
    let (d, within) = match tested {
        Ok(found) => found,
        Err(refusal) => return FigureDifference { verdict: refusal.to_string(), ..head },
    };
    let sense = match measure.better {
        Some(Better::Lower) => Sense::LowerIsBetter,
        Some(Better::Higher) => Sense::HigherIsBetter,
        None => Sense::Neither,
    };
    let says = verdict(sense, d.difference, corrected, 1.0 - options.level);
    FigureDifference {
        reference: Some(d.base),
        value: Some(d.other),
        difference: Some(d.difference),
        interval: Some((d.interval.low, d.interval.high)),
        relative_pct: (d.base != 0.0).then(|| 100.0 * d.difference / d.base.abs()),
        method: d.method.name().to_owned(),
        p: Some(d.p),
        corrected_p: Some(corrected).filter(|p| !p.is_nan()),
        correlation: d.correlation,
        variance_ratio: d.variance_ratio,
        verdict: if says == Verdict::NoDifferenceShown && within.is_some_and(|w| w.shown) {
            "same within the margin".to_owned()
        } else {
            says.words().to_owned()
        },
        shown: says.is_shown(),
        within_margin: within.map(|w| w.shown),
        ..head
    }
}

impl Comparison {
    /// Whether a gate should close: a variant other than the reference does not keep an objective, or is shown to be
    /// worse in a figure that an objective is about.
    #[must_use]
    pub fn fails(&self, hold: f64) -> Vec<String> {
        let mut reasons = Vec::new();
        for against in &self.against {
            let Some(study) = self.studies.iter().find(|s| s.label == against.label) else { continue };
            for o in study.missed(hold) {
                reasons
                    .push(format!("{}: {} {} held in {} of {} runs", study.label, o.subject, o.key, o.held, o.judged));
            }
            let about: Vec<String> = study.objectives.iter().filter_map(ObjectiveStudy::figure).collect();
            for d in &against.differences {
                if d.shown && d.verdict == "worse" && about.contains(&d.address) {
                    reasons.push(format!("{}: {} is worse than {}", study.label, d.address, self.reference));
                }
            }
        }
        reasons
    }

    /// The cost an hour and the latency of the first service at the highest quantile that can be told, of each
    /// variant: what the chart of cost against latency shows.
    #[must_use]
    pub fn cost_and_latency(&self) -> Vec<(&str, f64, f64)> {
        let point = |s: &Study, f: &str| s.figure(f).and_then(|f| f.point);
        self.studies
            .iter()
            .filter_map(|s| {
                let service = s.figures.iter().find(|f| f.address.ends_with(".latency_p99_ms"))?;
                Some((s.label.as_str(), point(s, &format!("{CLUSTER}.cost_per_hour_usd"))?, service.point?))
            })
            .collect()
    }
}

/// The tables of a comparison, as headers and rows of text.
pub mod tables {
    use super::super::study::figures_of;
    use super::super::sweep::number;
    use super::{Comparison, Figure, RunRecord};

    type Table = (Vec<String>, Vec<Vec<String>>);

    fn text(value: Option<f64>) -> String {
        value.map_or(String::new(), number)
    }

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// One row per variant and figure.
    #[must_use]
    pub fn figures(comparison: &Comparison) -> Table {
        let mut rows = Vec::new();
        for study in &comparison.studies {
            for f in &study.figures {
                rows.push(vec![
                    study.label.clone(),
                    f.address.clone(),
                    text(f.point),
                    text(f.interval.map(|i| i.0)),
                    text(f.interval.map(|i| i.1)),
                    study.replications.len().to_string(),
                    f.method.clone(),
                ]);
            }
        }
        (header(&["variant", "figure", "point", "low", "high", "replications", "method"]), rows)
    }

    /// One row per variant and difference.
    #[must_use]
    pub fn differences(comparison: &Comparison) -> Table {
        let names = [
            "variant",
            "reference",
            "figure",
            "reference_value",
            "value",
            "difference",
            "low",
            "high",
            "relative_pct",
            "p",
            "corrected_p",
            "correlation",
            "variance_ratio",
            "method",
            "verdict",
        ];
        let mut rows = Vec::new();
        for against in &comparison.against {
            for d in &against.differences {
                rows.push(vec![
                    against.label.clone(),
                    comparison.reference.clone(),
                    d.address.clone(),
                    text(d.reference),
                    text(d.value),
                    text(d.difference),
                    text(d.interval.map(|i| i.0)),
                    text(d.interval.map(|i| i.1)),
                    text(d.relative_pct),
                    text(d.p),
                    text(d.corrected_p),
                    text(d.correlation),
                    text(d.variance_ratio),
                    d.method.clone(),
                    d.verdict.clone(),
                ]);
            }
        }
        (header(&names), rows)
    }

    /// One row per run.
    #[must_use]
    pub fn runs<'a>(variants: impl IntoIterator<Item = (&'a str, &'a Vec<RunRecord>)> + Clone) -> Table {
        let figures = variants.clone().into_iter().map(|v| figures_of(v.1)).find(|f| !f.is_empty()).unwrap_or_default();
        let mut head = header(&["variant", "replication", "run_id", "facts_hash", "objectives_missed"]);
        head.extend(figures.iter().map(Figure::address));
        let mut rows = Vec::new();
        for (label, runs) in variants {
            for run in runs {
                let meta = &run.summary.meta;
                let mut row = vec![
                    label.to_owned(),
                    meta.replication.to_string(),
                    meta.run_id.clone(),
                    run.summary.facts_hash.clone(),
                    run.summary.objectives_missed().to_string(),
                ];
                row.extend(figures.iter().map(|f| text(f.of(run))));
                rows.push(row);
            }
        }
        (head, rows)
    }
}
