//! The measured, documented and exact cases of `published/`: what each family measures, and the rules by
//! which a measured figure agrees with a published one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Outcome, autoscaling, launches, measured, pricing, published_kube, queueing, spot};

/// What a case measured: a figure per metric, and for a metric over phases one figure per point.
#[derive(Default, Debug)]
pub(crate) struct Measured {
    pub(crate) figures: BTreeMap<&'static str, f64>,
    pub(crate) series: BTreeMap<&'static str, Vec<f64>>,
}

/// Runs one case of one family.
pub(crate) fn run(family: &str, case: &Value, long: bool) -> Outcome {
    match family {
        "queueing_theory" => queueing::run(case, long),
        "ecs_autoscaling" => autoscaling::run_case(case),
        "scaleout_curves" if case["setup"]["orchestrator"] == "eks" => published_kube::run(case),
        "scaleout_curves" => measured::scale_out(case),
        "k8s_control_plane" | "hpa_experiments" | "node_provisioning" => published_kube::run(case),
        "request_latency" => measured::cpu_limit(case),
        "deployments" => measured::deployment(case),
        "launch_rates" => launches::run(case),
        "pricing_examples" | "fargate_vs_ec2" => pricing::run(case),
        "spot" => spot::run(case),
        _ => Outcome::NotBuilt,
    }
}

/// Holds what was measured against every expectation of the case.
pub(crate) fn judge(case: &Value, measured: &Measured) -> Outcome {
    let Some(expectations) = case["expect"].as_array() else {
        return Outcome::Failed("the case expects nothing".into());
    };
    let failures: Vec<String> = expectations.iter().filter_map(|e| agrees_within(e, case, measured).err()).collect();
    if failures.is_empty() { Outcome::Passed } else { Outcome::Failed(failures.join("; ")) }
}

pub(crate) fn agrees_within(expectation: &Value, case: &Value, measured: &Measured) -> Result<(), String> {
    let metric = expectation["metric"].as_str().unwrap_or("?");
    let op = expectation["op"].as_str().unwrap_or("?");
    if op == "info" {
        return Ok(());
    }
    if op == "series_within" {
        return series_agrees(metric, expectation, case, measured);
    }
    let Some(&got) = measured.figures.get(metric) else {
        return Err(format!("{metric}: not measured"));
    };
    agrees(expectation, got)
}

/// Holds one figure against its expectation.
pub(crate) fn agrees(expectation: &Value, got: f64) -> Result<(), String> {
    let metric = expectation["metric"].as_str().unwrap_or("?");
    let op = expectation["op"].as_str().unwrap_or("?");
    let value = &expectation["value"];
    let bound = value.as_f64().unwrap_or(f64::NAN);
    let slack = tolerance(expectation, bound);
    let good = match op {
        "within" => (got - bound).abs() <= slack,
        "ge" => got >= bound - slack,
        "le" => got <= bound + slack,
        "eq" => got == bound,
        "between" => {
            let end = |i: usize| value[i].as_f64().unwrap_or(f64::NAN);
            got >= end(0) - tolerance(expectation, end(0)) && got <= end(1) + tolerance(expectation, end(1))
        }
        _ => return Err(format!("{metric}: the rule `{op}` is unknown")),
    };
    if good {
        return Ok(());
    }
    let within = if slack > 0.0 { format!(" +- {slack:.3e}") } else { String::new() };
    Err(format!("{metric}: expected {op} {value}{within}, got {got}"))
}

/// How far from `value` a figure may lie: the larger of the absolute and the relative tolerance.
pub(crate) fn tolerance(expectation: &Value, value: f64) -> f64 {
    let given = |name: &str| expectation[name].as_f64().unwrap_or(0.0);
    given("tol_abs").max(given("tol_rel") * value.abs())
}

/// Every point of the case's `series` names its expected value by the metric without its `_by_phase`.
fn series_agrees(metric: &str, expectation: &Value, case: &Value, measured: &Measured) -> Result<(), String> {
    let field = metric.strip_suffix("_by_phase").unwrap_or(metric);
    let points = case["series"].as_array().map_or(&[][..], Vec::as_slice);
    let got = measured.series.get(metric).map_or(&[][..], Vec::as_slice);
    if points.is_empty() || got.len() != points.len() {
        return Err(format!("{metric}: expected {} points, got {}", points.len(), got.len()));
    }
    for (point, &got) in points.iter().zip(got) {
        let expected = point[field].as_f64().unwrap_or(f64::NAN);
        let near = (got - expected).abs() <= tolerance(expectation, expected);
        if !near {
            return Err(format!("{metric}: expected {expected} at {point}, got {got}"));
        }
    }
    Ok(())
}
