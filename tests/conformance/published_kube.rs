//! What was measured or documented of Kubernetes, against scenarios built from a case's own set-up.
//!
//! A builder for each kind of case measures what the case's metrics name; nothing depends on a case's name but whether it is the
//! one that a value was fitted on. The families mix figures that a simulator predicts (delays of decisions, timers, counts,
//! packing) with figures that are settings of it (how long an image boots), so each figure has a [`Standing`] of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::Outcome;
use crate::measured::{Standing, run_scenario};
use crate::published::agrees;
use crate::{published_kube_curves, published_kube_hpa, published_kube_nodes, published_kube_plane};

/// Runs a case about Kubernetes. Not built is what has a kind, or a bound of metrics, that nothing measures.
pub(crate) fn run(case: &Value) -> Outcome {
    let report = match case["kind"].as_str().unwrap_or_default() {
        "bound" => published_kube_plane::run(case),
        "scaleout_curve" => published_kube_curves::run(case),
        "node_timeline" | "node_scale_up" | "node_scale_down" | "node_provision_time" | "comparison" | "packing" => {
            published_kube_nodes::run(case)
        }
        "hpa_step" | "hpa_latency" | "hpa_cascade" | "hpa_economics" | "spike" | "overprovisioning" => {
            published_kube_hpa::run(case)
        }
        _ => None,
    };
    report.map_or(Outcome::NotBuilt, |r| r.judge(case))
}

/// What a case came to, and how far each figure is to be trusted.
pub(crate) struct Report {
    /// Of the figures that have none of their own.
    standing: Standing,
    own: Vec<(String, Standing)>,
    assumed: Vec<String>,
    figures: BTreeMap<String, f64>,
    /// Figures that are words.
    words: BTreeMap<String, String>,
    /// What is required beside the case's own expectations.
    at_most: Vec<(&'static str, f64)>,
}

impl Report {
    pub(crate) fn new(standing: Standing, assumed: &[&str]) -> Self {
        Self {
            standing,
            own: Vec::new(),
            assumed: assumed.iter().map(|a| (*a).to_owned()).collect(),
            figures: BTreeMap::new(),
            words: BTreeMap::new(),
            at_most: Vec::new(),
        }
    }

    pub(crate) fn assume(&mut self, line: impl Into<String>) {
        self.assumed.push(line.into());
    }

    pub(crate) fn figure(&mut self, metric: impl Into<String>, value: f64) {
        self.figures.insert(metric.into(), value);
    }

    pub(crate) fn word(&mut self, metric: impl Into<String>, value: impl Into<String>) {
        self.words.insert(metric.into(), value.into());
    }

    /// A figure stands otherwise than the case.
    pub(crate) fn stands(&mut self, metric: impl Into<String>, standing: Standing) {
        self.own.push((metric.into(), standing));
    }

    pub(crate) fn is_blind(&self) -> bool {
        matches!(self.standing, Standing::Blind)
    }

    /// A figure that no expectation names must not be above a bound.
    pub(crate) fn at_most(&mut self, metric: &'static str, bound: f64) {
        self.at_most.push((metric, bound));
    }

    fn judge(&self, case: &Value) -> Outcome {
        let mut text = format!("  {} ({})\n", case["id"].as_str().unwrap_or("?"), self.standing.text());
        for line in &self.assumed {
            let _ = writeln!(text, "    assumed: {line}");
        }
        let mut failures = Vec::new();
        let expected = expected(case);
        for expectation in expected.iter().filter(|e| e["op"] != "info") {
            let metric = expectation["metric"].as_str().unwrap_or("?");
            let own = self.own.iter().find(|o| o.0 == metric).map(|o| &o.1);
            let standing = own.unwrap_or(&self.standing);
            let mut held = (*expectation).clone();
            if let (Standing::Blind, Some(blind)) = (standing, expectation.get("tol_rel_blind")) {
                held["tol_rel"] = blind.clone();
            }
            let (predicted, verdict) = match (self.words.get(metric), self.figures.get(metric)) {
                (Some(word), _) if expectation["value"] == word.as_str() => (word.clone(), Ok(())),
                (Some(word), _) => (word.clone(), Err(format!("{metric}: got {word}"))),
                (None, Some(got)) => (format!("{got:.2}"), agrees(&held, *got)),
                (None, None) => ("nothing".to_owned(), Err(format!("{metric}: not measured"))),
            };
            let mut slack = expectation["op"].as_str().unwrap_or("?").to_owned();
            if let Some(r) = held["tol_rel"].as_f64() {
                let _ = write!(slack, " +- {:.0} %", 100.0 * r);
            } else if let Some(a) = held["tol_abs"].as_f64() {
                let _ = write!(slack, " +- {a}");
            }
            let mark = if verdict.is_err() { "  <- outside" } else { "" };
            let mark = own.map_or(mark.to_owned(), |s| format!("{mark}  ({})", s.text()));
            let published = &expectation["value"];
            let _ = writeln!(text, "    {metric}: predicted {predicted}, published {published}, {slack}{mark}");
            if !matches!(standing, Standing::Underdetermined(_)) {
                failures.extend(verdict.err());
            }
        }
        for (metric, got) in &self.figures {
            if !expected.iter().any(|e| e["metric"] == **metric) {
                let _ = writeln!(text, "    {metric}: {got:.3} (beside what is published)");
            }
        }
        for (metric, bound) in &self.at_most {
            let got = self.figures.get(*metric).copied().unwrap_or(f64::NAN);
            let _ = writeln!(text, "    {metric}: must not be above {bound}");
            if got.is_nan() || got > *bound {
                failures.push(format!("{metric}: {got:.3}, more than {bound}"));
            }
        }
        print!("{text}");
        if failures.is_empty() { Outcome::Passed } else { Outcome::Failed(failures.join("; ")) }
    }
}

/// What a case expects.
pub(crate) fn expected(case: &Value) -> Vec<&Value> {
    case["expect"].as_array().into_iter().flatten().collect()
}

/// Whether a case expects a figure.
pub(crate) fn asks(case: &Value, metric: &str) -> bool {
    expected(case).iter().any(|e| e["metric"] == metric)
}

/// The metrics of a case that are `before`, something, `after`: the metric and what is between.
pub(crate) fn metrics<'a>(case: &'a Value, before: &str, after: &str) -> Vec<(&'a str, &'a str)> {
    let between = |e: &&'a Value| {
        let metric = e["metric"].as_str()?;
        Some((metric, metric.strip_prefix(before)?.strip_suffix(after)?))
    };
    expected(case).iter().filter_map(between).collect()
}

/// The time of `A_to_B_s` where both are known events.
pub(crate) fn between(metric: &str, events: &[(&[&str], f64)]) -> Option<f64> {
    let (from, to) = metric.strip_suffix("_s")?.split_once("_to_")?;
    let at = |name: &str| events.iter().find(|(names, _)| names.contains(&name)).map(|e| e.1);
    Some(at(to)? - at(from)?)
}

/// A whole number of a case's set-up, or what stands for it.
pub(crate) fn whole(case: &Value, key: &str, otherwise: u32) -> u32 {
    case["setup"][key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(otherwise)
}

/// All that a case says in words about its set-up.
pub(crate) fn words(case: &Value) -> String {
    let parts = [&case["what"], &case["notes"], &case["setup"], &case["source"]];
    parts.map(|p| p.to_string().to_lowercase()).join(" ")
}

/// The last number before a word of a case's description.
pub(crate) fn number_before(case: &Value, word: &str) -> Option<u32> {
    let what = case["what"].as_str().unwrap_or_default();
    let parts: Vec<&str> = what.split_whitespace().collect();
    let pairs = parts.windows(2).filter(|p| p[1].trim_matches(|c: char| !c.is_alphanumeric()) == word);
    pairs.filter_map(|p| p[0].parse().ok()).next_back()
}

/// The tables of a finished run.
pub(crate) struct Run(tempfile::TempDir);

pub(crate) type Row = BTreeMap<String, String>;

/// A number of a row, NaN where there is none.
pub(crate) fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(|t| t.parse().ok()).unwrap_or(f64::NAN)
}

impl Run {
    pub(crate) fn of(text: &str) -> Self {
        Self(run_scenario(text))
    }

    pub(crate) fn rows(&self, file: &str) -> Vec<Row> {
        let mut reader = csv::Reader::from_path(self.0.path().join(file)).expect("the file is there");
        let head = reader.headers().expect("a header").clone();
        let row =
            |r: csv::StringRecord| -> Row { head.iter().zip(&r).map(|(h, v)| (h.to_owned(), v.to_owned())).collect() };
        reader.records().map(|r| row(r.expect("a row"))).collect()
    }

    /// Times of a service's tasks in a column, in order, of those asked for at `since` or later.
    pub(crate) fn tasks(&self, service: &str, column: &str, since: f64) -> Vec<f64> {
        let rows = self.rows("tasks.csv");
        let own = rows.iter().filter(|r| r["service"] == service && number(r, "decided_s") >= since - 1e-6);
        let mut times: Vec<f64> = own.map(|r| number(r, column)).filter(|t| t.is_finite()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// Times of a controller's decisions for a reason, from an instant on.
    pub(crate) fn decided(&self, controller: &str, reason: &str, since: f64) -> Vec<f64> {
        let rows = self.rows("decisions.csv");
        let own = rows.iter().filter(|r| r["controller"] == controller && r["reason"] == reason);
        own.map(|r| number(r, "time_s")).filter(|t| *t >= since - 1e-6).collect()
    }

    /// Times of nodes in a column, in order, at `since` or later.
    pub(crate) fn nodes(&self, column: &str, since: f64) -> Vec<f64> {
        let mut times: Vec<f64> = self.rows("nodes.csv").iter().map(|r| number(r, column)).collect();
        times.retain(|t| t.is_finite() && *t >= since - 1e-6);
        times.sort_by(f64::total_cmp);
        times
    }

    /// Nodes that are there at an instant.
    pub(crate) fn nodes_at(&self, at: f64) -> Vec<Row> {
        let there = |r: &Row| {
            let end = number(r, "terminating_s");
            number(r, "launched_s") <= at && (end.is_nan() || end > at)
        };
        self.rows("nodes.csv").into_iter().filter(there).collect()
    }
}

pub(crate) fn first(times: &[f64]) -> f64 {
    times.first().copied().unwrap_or(f64::NAN)
}

pub(crate) fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or(f64::NAN)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The middle one; the lower of two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The key of a task that runs on a type, where that is not the default.
pub(crate) fn architecture(kind: &str) -> &'static str {
    match simctl::catalog::Catalog::embedded().instance_type(kind) {
        Ok(of) if of.arch == simctl::catalog::Arch::Arm => "architecture = \"ARM64\"\n",
        _ => "",
    }
}

/// The head of a scenario of EKS.
pub(crate) fn cluster(minutes: u32, eks: &str) -> String {
    format!(
        "[simulation]\nduration = \"{minutes}m\"\n[cluster]\norchestrator = \"eks\"\nzones = 3\n[cluster.eks]\n{eks}"
    )
}

/// The same scenario with another seed.
pub(crate) fn seeded(text: &str, seed: u32) -> String {
    text.replacen("[simulation]\n", &format!("[simulation]\nseed = {seed}\n"), 1)
}

/// The same scenario in one zone: its Auto Scaling groups have nothing to rebalance.
pub(crate) fn in_one_zone(text: &str) -> String {
    text.replacen("zones = 3\n", "zones = 1\n", 1)
}

/// A workload without requests, whose processes end as soon as they are told to.
pub(crate) fn workload(name: &str, pods: u32, cpu_m: u32, memory_mib: u32, task: &str, kubernetes: &str) -> String {
    format!(
        "[services.{name}]\ndesired_count = {pods}\n[services.{name}.task]\ncpu = \"{cpu_m}m\"\n\
         memory = \"{memory_mib} MiB\"\n{task}[services.{name}.kubernetes]\n{kubernetes}"
    )
}

/// The replicas of a workload become so many.
pub(crate) fn scale(service: &str, at_s: f64, to: u32) -> String {
    let name = format!("{service}{at_s}").replace('.', "_");
    format!(
        "[actions.{name}]\ntype = \"desired_count\"\nat = \"{at_s}s\"\nservice = \"{service}\"\ndesired_count = {to}\n"
    )
}

/// The same as the ReplicaSet controller makes them: 20 pods a second after a burst of 30 (`--kube-api-qps` and
/// `--kube-api-burst` of kube-controller-manager).
pub(crate) fn scale_as_the_controller_does(service: &str, at_s: f64, to: u32) -> String {
    let (mut text, mut asked, mut at) = (String::new(), 30, at_s);
    loop {
        text.push_str(&scale(service, at, asked.min(to)));
        if asked >= to {
            return text;
        }
        (asked, at) = (asked + 10, at + 0.5);
    }
}

/// Groups of one type that together have so many nodes, at most 450 each, as EKS allows.
pub(crate) fn groups(kind: &str, nodes: u32, from: u32, most: u32, more: &str) -> String {
    let mut text = String::new();
    let count = most.div_ceil(450).max(1);
    let share = |n: u32, i: u32| n / count + u32::from(i < n % count);
    for i in 0..count {
        let (desired, least, most) = (share(nodes, i), share(from, i), share(most, i));
        let _ = write!(
            text,
            "[capacity.workers{i}]\ntype = \"node_group\"\ninstance_types = [\"{kind}\"]\nmin_size = {least}\n\
             max_size = {most}\ndesired_size = {desired}\n{more}"
        );
    }
    text
}

/// A NodePool of one type.
pub(crate) fn pool(name: &str, kinds: &Value, market: &str, more: &str) -> String {
    format!(
        "[capacity.{name}]\ntype = \"node_pool\"\nrequirements = [\
         {{ key = \"node.kubernetes.io/instance-type\", operator = \"In\", values = {kinds} }}, \
         {{ key = \"karpenter.sh/capacity-type\", operator = \"In\", values = [\"{market}\"] }}]\n{more}"
    )
}
