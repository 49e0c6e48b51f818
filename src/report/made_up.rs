//! Studies and comparisons out of thin air, for tests of what is made of them.

use indexmap::IndexMap;

use crate::experiment::search::{CandidateResult, SearchResult};
use crate::experiment::sweep::{AxisResult, PointResult, Sensitivity, SweepResult};
use crate::experiment::{Against, Comparison, FigureDifference, FigureStudy, ObjectiveStudy, Study};
use crate::output::{BoundSense, Diagnosis, DiagnosisKind, Trend, Trends};

fn figure(address: &str, point: f64, half: f64, values: Vec<Option<f64>>) -> FigureStudy {
    let interval = (half >= 0.0 && values.len() >= 5).then_some((point - half, point + half));
    FigureStudy { address: address.into(), point: Some(point), interval, method: "t".into(), values }
}

fn objective(key: &str, sense: BoundSense, limit: f64, unit: &str, held: u64, runs: u64) -> ObjectiveStudy {
    let subject = if key.starts_with("cost") { "cluster" } else { "web" };
    ObjectiveStudy {
        subject: subject.into(),
        key: key.into(),
        sense,
        limit,
        unit: unit.into(),
        held,
        judged: runs,
        share: Some(if held == runs { (0.757, 1.0) } else { (0.0, 0.243) }),
        ..ObjectiveStudy::default()
    }
}

/// A study of so many runs of a service `web`, all figures scaled by `by`.
pub(super) fn study(label: &str, runs: u32, by: f64) -> Study {
    let spread = |x: f64, part: f64| -> Vec<Option<f64>> {
        let middle = f64::from(runs - 1) / 2.0;
        (0..runs).map(|i| Some(x * (1.0 + part * (f64::from(i) - middle)))).collect()
    };
    let mut trends = IndexMap::new();
    let of = |top: f64, i: u32| Trend {
        start_s: 0.0,
        step_s: 60.0,
        max: None,
        values: (0..30)
            .map(|k| Some(top * (0.3 + 0.7 * f64::from(k.min(15)) / 15.0) * (1.0 + 0.01 * f64::from(i))))
            .collect(),
    };
    let runs_of = |i: u32| Trends {
        load_rps: of(420.0, i),
        latency_p99_ms: of(700.0 * by, i),
        failed_rps: of(4.0 * by, i),
        running: of(20.0 / by, i),
        cpu_used_pct: of(80.0 * by, i),
    };
    trends.insert("web".to_owned(), (0..runs).map(runs_of).collect());
    let n = u64::from(runs);
    let fast = by < 0.9;
    Study {
        label: label.into(),
        scenario: "spike".into(),
        variant: label.into(),
        plan_hash: "7c1f9e2a0d".into(),
        seed: 42,
        duration_s: 2_700.0,
        warm_up_s: 300.0,
        replications: (0..runs).collect(),
        objectives: vec![
            objective("latency_p99", BoundSense::AtMost, 400.0, "ms", if fast { n } else { 0 }, n),
            objective("cost_per_hour", BoundSense::AtMost, 2.5, "usd/h", n, n),
        ],
        kept_all: Some(if fast { n } else { 0 }),
        figures: vec![
            figure("cluster.cost_usd", 1.6 / by, 0.04, spread(1.6 / by, 0.01)),
            figure("cluster.cost_per_hour_usd", 2.12 / by, 0.054, spread(2.12 / by, 0.01)),
            figure("web.latency_mean_ms", 118.0 * by, 3.6, spread(118.0 * by, 0.01)),
            figure("web.latency_p99_ms", 412.3 * by, 24.0, spread(405.0 * by, 0.03)),
            figure("web.availability_pct", 99.913 / by.sqrt().max(1.0), 0.012, spread(99.913, 0.000_1)),
            figure("web.failed", 10_250.0 * by, 386.0, spread(10_250.0 * by, 0.02)),
            figure("web.breach_minutes", 0.0, 0.0, vec![Some(0.0); runs as usize]),
            figure("web.running_mean", 15.4 / by, 0.5, spread(15.4 / by, 0.01)),
        ],
        trends,
        diagnoses: vec![(
            n,
            Diagnosis {
                kind: DiagnosisKind::AtMaximumCapacity,
                subject: "web".into(),
                evidence: "the desired count stayed at its maximum of 20 tasks for 6 min while objectives failed."
                    .into(),
                since_s: Some(700.0),
                count: 1,
                advice: "raise the maximum".into(),
            },
        )],
    }
}

fn difference(a: &Study, b: &Study, address: &str, half: f64, better: Option<bool>) -> FigureDifference {
    let (_, measure) = super::figures::measure(address).expect("a known figure");
    let point = |s: &Study| s.figure(address).and_then(|f| f.point);
    let (from, to) = (point(a).expect("reference"), point(b).expect("variant"));
    FigureDifference {
        address: address.into(),
        label: measure.label.into(),
        unit: measure.unit.into(),
        reference: Some(from),
        value: Some(to),
        difference: Some(to - from),
        interval: Some((to - from - half, to - from + half)),
        relative_pct: (from != 0.0).then(|| 100.0 * (to - from) / from),
        method: if measure.unit == "ms" { "jackknife" } else { "t" }.into(),
        p: Some(0.001),
        corrected_p: Some(0.006),
        correlation: (half > 0.0).then_some(0.93),
        variance_ratio: (half > 0.0).then_some(0.071),
        verdict: match better {
            Some(true) => "better".into(),
            Some(false) => "worse".into(),
            None => "no difference shown".into(),
        },
        shown: better.is_some(),
        within_margin: None,
    }
}

/// A comparison of `warm-pool` with `base` over so many pairs.
pub(super) fn comparison(runs: u32) -> Comparison {
    let (a, b) = (study("base", runs, 1.0), study("warm-pool", runs, 0.85));
    let mut differences = vec![
        difference(&a, &b, "cluster.cost_per_hour_usd", 0.047, Some(false)),
        difference(&a, &b, "web.latency_mean_ms", 4.1, Some(true)),
        difference(&a, &b, "web.latency_p99_ms", 13.0, Some(true)),
        difference(&a, &b, "web.availability_pct", 0.001_3, None),
        difference(&a, &b, "web.failed", 4_966.0, None),
        difference(&a, &b, "web.breach_minutes", 0.0, None),
        difference(&a, &b, "web.running_mean", 1.2, None),
    ];
    differences.push(FigureDifference {
        address: "web.recovery_s".into(),
        label: "time in incidents".into(),
        unit: "s".into(),
        verdict: "the values do not vary".into(),
        ..FigureDifference::default()
    });
    let against = Against {
        label: "warm-pool".into(),
        replications: runs as usize,
        differences,
        sentence: "warm-pool costs $0.37 ± 0.05 an hour more (+17.6 %) and lowers p99 by 61.8 ± 13 ms (−15 %); keeps \
                   every objective in all 12 runs."
            .into(),
    };
    Comparison {
        schema: crate::experiment::compare::COMPARISON_SCHEMA.into(),
        level: 0.95,
        paired: true,
        reference: "base".into(),
        studies: vec![a, b],
        against: vec![against],
        tests: 7,
        notes: vec![crate::output::NOTE_UNCALIBRATED.into()],
    }
}

/// A grid sweep over the first so many of three axes, five replications each.
pub(super) fn sweep(axes: usize) -> SweepResult {
    let all = [
        ("services.web.desired_count", "web.desired_count", vec!["4", "8", "12"]),
        ("services.web.scaling.policies.cpu60.target_value", "cpu60.target_value", vec!["60", "75"]),
        ("services.web.task.startup.mean", "startup.mean", vec!["\"5s\"", "\"60s\""]),
    ];
    let axes: Vec<AxisResult> = all[..axes]
        .iter()
        .map(|(address, short, values)| AxisResult {
            address: (*address).into(),
            short: (*short).into(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        })
        .collect();
    let mut places: Vec<Vec<usize>> = vec![Vec::new()];
    for axis in &axes {
        places = places
            .iter()
            .flat_map(|p| (0..axis.values.len()).map(|i| [p.as_slice(), &[i]].concat()).collect::<Vec<_>>())
            .collect();
    }
    let points: Vec<PointResult> = places
        .iter()
        .map(|place| {
            let by = 1.2 - 0.15 * place[0] as f64 + 0.03 * place.get(1).copied().unwrap_or(0) as f64;
            let mut study = study("", 5, by);
            study.trends.clear();
            let values = place.iter().zip(&axes).map(|(i, a)| a.values[*i].clone()).collect();
            PointResult { values, study, ..PointResult::default() }
        })
        .collect();
    let of = |address: &str, shares: &[f64]| Sensitivity {
        address: address.into(),
        axes: shares[..axes.len()].to_vec(),
        explained: shares[..axes.len()].iter().sum(),
    };
    SweepResult {
        scenario: "spike".into(),
        design: "grid".into(),
        replications: 5,
        sensitivity: vec![
            of("cluster.cost_per_hour_usd", &[0.91, 0.05, 0.01]),
            of("web.latency_p99_ms", &[0.62, 0.3, 0.02]),
        ],
        axes,
        points,
        notes: vec![crate::output::NOTE_UNCALIBRATED.into()],
        ..SweepResult::default()
    }
}

/// A search over two axes, with a winner or without one.
pub(super) fn search(found: bool) -> SearchResult {
    let candidate = |index: usize, values: [&str; 2], broken: u64, runs: u64, cost: f64, excess: f64| CandidateResult {
        index,
        values: values.map(ToOwned::to_owned).to_vec(),
        runs,
        broken,
        cost: Some(cost),
        excess: Some(excess),
        breach_minutes: Some(0.0),
        churn: Some(4.0 + index as f64 * 6.0),
        outcome: match (broken, runs) {
            (0, 30) => "keeps the objectives".into(),
            (0, _) => "costs more than the winner and the runner-up".into(),
            _ => "broke an objective in 1 of 1 runs (keeps them in at most 95 %)".into(),
        },
        on_front: index != 3,
    };
    let fresh = |label: &str, by: f64| {
        let mut study = study(label, 30, by);
        study.trends.clear();
        study
    };
    let mut candidates =
        vec![candidate(0, ["512", "75"], 1, 1, 1.61, 417.0), candidate(1, ["512", "60"], 1, 2, 1.73, 0.12)];
    if found {
        candidates.push(candidate(2, ["1024", "75"], 0, 30, 2.49, 0.0));
        candidates.push(candidate(3, ["1024", "60"], 0, 30, 2.51, 0.0));
        candidates.push(candidate(4, ["2048", "60"], 0, 1, 3.9, 0.0));
    }
    SearchResult {
        scenario: "spike".into(),
        minimise: "cluster.cost_per_hour_usd".into(),
        unit: "$/h".into(),
        hold: 0.9,
        confidence: 0.95,
        replications: 30,
        axes: vec!["services.web.task.cpu".into(), "services.web.scaling.policies.cpu60.target_value".into()],
        short: vec!["task.cpu".into(), "cpu60.target_value".into()],
        size: 24,
        spent: 97,
        fresh_runs: if found { 60 } else { 30 },
        candidates,
        winner: found.then_some(2),
        runner_up: found.then_some(3),
        nearest: (!found).then_some(1),
        fresh: if found {
            vec![fresh("winner (task.cpu=1024)", 0.85), fresh("runner-up (task.cpu=1024)", 0.84)]
        } else {
            vec![fresh("nearest (task.cpu=512)", 1.0)]
        },
        shown_share: if found { vec![Some(0.905), Some(0.905)] } else { vec![Some(0.0)] },
        sentence: if found { "runner-up costs $0.02 ± 0.01 an hour more.".into() } else { String::new() },
        patch: if found { "[variants.found]\n\"services.web.task.cpu\" = 1024\n".into() } else { String::new() },
        notes: vec![crate::output::NOTE_UNCALIBRATED.into()],
        ..SearchResult::default()
    }
}
