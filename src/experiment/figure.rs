//! The figures by which runs are compared: a closed list, each with its unit and the sense that counts as better.

use super::record::RunRecord;
use crate::output::{PodsSummary, ServiceSummary, Summary};

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
}

/// How a figure of many runs is made of those of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The mean of the runs' values.
    Mean,
    /// The quantile (0 to 1) of the pooled latencies of all runs, in milliseconds.
    Quantile(f64),
}

/// What a figure measures, whatever its subject.
#[derive(Debug)]
pub struct Measure {
    /// Name with its unit, as in the columns of the results: `latency_p99_ms`.
    pub name: &'static str,
    /// What tables call it.
    pub label: &'static str,
    /// Unit, as it is printed.
    pub unit: &'static str,
    /// The sense that counts as better; none for what is neither good nor bad in itself.
    pub better: Option<Better>,
    /// How runs are put together.
    pub kind: Kind,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Service(fn(&Summary, &str, &ServiceSummary) -> Option<f64>),
    Whole(fn(&Summary) -> f64),
    Pods(fn(&PodsSummary) -> Option<f64>),
}

const fn service(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    better: Option<Better>,
    of: fn(&Summary, &str, &ServiceSummary) -> Option<f64>,
) -> Measure {
    Measure { name, label, unit, better, kind: Kind::Mean, of: Of::Service(of) }
}

const fn quantile(name: &'static str, label: &'static str, q: f64, of: Pick) -> Measure {
    Measure { name, label, unit: "ms", better: Some(Better::Lower), kind: Kind::Quantile(q), of: Of::Service(of) }
}

type Pick = fn(&Summary, &str, &ServiceSummary) -> Option<f64>;

const fn whole(name: &'static str, label: &'static str, unit: &'static str, of: fn(&Summary) -> f64) -> Measure {
    Measure { name, label, unit, better: Some(Better::Lower), kind: Kind::Mean, of: Of::Whole(of) }
}

const fn pods(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    better: Option<Better>,
    of: fn(&PodsSummary) -> Option<f64>,
) -> Measure {
    Measure { name, label, unit, better, kind: Kind::Mean, of: Of::Pods(of) }
}

const LOWER: Option<Better> = Some(Better::Lower);
const HIGHER: Option<Better> = Some(Better::Higher);

/// All measures, in the order in which they are shown: those of the whole, then those of each service.
pub static MEASURES: [Measure; 28] = [
    whole("cost_usd", "cost", "$", |s| s.cost.total_usd),
    whole("cost_per_hour_usd", "cost an hour", "$/h", |s| s.cost.per_hour_usd),
    whole("wasted_usd", "CPU wasted", "$", |s| s.cost.wasted_usd),
    service("latency_mean_ms", "latency mean", "ms", LOWER, |_, _, s| s.latency.as_ref().map(|l| l.mean_ms)),
    quantile("latency_p50_ms", "latency p50", 0.5, |_, _, s| s.latency.as_ref().map(|l| l.p50_ms)),
    quantile("latency_p95_ms", "latency p95", 0.95, |_, _, s| s.latency.as_ref().map(|l| l.p95_ms)),
    quantile("latency_p99_ms", "latency p99", 0.99, |_, _, s| s.latency.as_ref().map(|l| l.p99_ms)),
    service("availability_pct", "availability", "%", HIGHER, |_, _, s| s.availability_pct),
    service("failed", "requests failed", "", LOWER, |_, _, s| Some(s.requests.failed as f64)),
    service("breach_minutes", "breach minutes", "min", LOWER, |s, name, _| {
        s.breach_minutes.get(name).map(|m| *m as f64)
    }),
    service("recovery_s", "time in incidents", "s", LOWER, |s, name, _| {
        let judged = s.breach_minutes.contains_key(name);
        judged.then(|| s.incidents.iter().filter(|i| i.service == name).map(|i| i.duration_s).sum())
    }),
    service("cost_usd", "cost", "$", LOWER, |s, name, _| s.cost.by_service.get(name).copied()),
    service("running_mean", "tasks running, mean", "", None, |_, _, s| Some(s.scaling.mean_running)),
    service("running_max", "tasks running, most", "", None, |_, _, s| Some(f64::from(s.scaling.max_running))),
    service("cpu_used_pct", "CPU used", "%", None, |_, _, s| s.cpu_used_pct),
    service("wasted_cpu_pct", "CPU wasted", "%", LOWER, |_, _, s| Some(s.wasted_cpu_pct)),
    service("scalings", "scaling actions", "", None, |_, _, s| {
        Some((s.scaling.scale_outs + s.scaling.scale_ins) as f64)
    }),
    service("tasks_started", "tasks started", "", None, |_, _, s| Some(s.scaling.tasks_started as f64)),
    service("tasks_failed", "tasks failed", "", LOWER, |_, _, s| Some(s.scaling.tasks_failed as f64)),
    pods("pods_placed", "pods placed", "", HIGHER, |p| Some(p.placed as f64)),
    pods("pods_refused", "pods refused at the end", "", LOWER, |p| Some(p.refused_at_end as f64)),
    pods("first_refused_s", "first pod refused at", "s", HIGHER, |p| p.first_refused_s),
    pods("pods_wait_mean_s", "wait for a node, mean", "s", LOWER, |p| p.mean_wait_s),
    pods("cpu_requested_pct", "CPU requested at the end", "%", None, |p| p.cpu_requested_pct_at_end),
    pods("memory_requested_pct", "memory requested at the end", "%", None, |p| p.memory_requested_pct_at_end),
    pods("gpu_requested_pct", "GPUs requested at the end", "%", None, |p| p.gpu_requested_pct_at_end),
    pods("gpu_unusable_pct", "free GPUs in fragments", "%", LOWER, |p| p.gpu_unusable_pct_at_end),
    pods("nodes_empty", "nodes without pods", "", HIGHER, |p| Some(f64::from(p.empty_nodes_at_end))),
];

/// A measure of a subject: a service, or `cluster` for the whole.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The service, or [`CLUSTER`].
    pub subject: String,
    /// What is measured.
    pub measure: &'static Measure,
}

/// The subject of what belongs to the whole.
pub const CLUSTER: &str = "cluster";

impl Figure {
    /// The figures that a run with these services has, in the order of the tables.
    #[must_use]
    pub fn all<'a>(services: impl IntoIterator<Item = &'a str> + Clone) -> Vec<Self> {
        let of = |subject: &str, measure| Self { subject: subject.to_owned(), measure };
        let wholes = MEASURES.iter().filter(|m| matches!(m.of, Of::Whole(_))).map(|m| of(CLUSTER, m));
        let single = services.clone().into_iter().count() == 1;
        let services = services.into_iter().flat_map(|name| {
            let measures = MEASURES.iter().filter(|m| matches!(m.of, Of::Service(_)));
            // The share of the only service is the whole, but for what no service owns.
            measures.filter(move |m| !(single && m.name == "cost_usd")).map(move |m| of(name, m))
        });
        wholes.chain(services).collect()
    }

    /// The figures of pods of files, for plans that have any. Their subject is `cluster`.
    pub fn of_pods() -> impl Iterator<Item = Self> {
        let measures = MEASURES.iter().filter(|m| matches!(m.of, Of::Pods(_)));
        measures.map(|measure| Self { subject: CLUSTER.to_owned(), measure })
    }

    /// Its address: `web.latency_p99_ms`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}.{}", self.subject, self.measure.name)
    }

    /// Its value in one run; `None` when there was nothing to measure.
    #[must_use]
    pub fn of(&self, record: &RunRecord) -> Option<f64> {
        let summary = &record.summary;
        match self.measure.of {
            Of::Whole(of) => Some(of(summary)),
            Of::Pods(of) => summary.pods.as_ref().and_then(of),
            Of::Service(of) => summary.services.get(&self.subject).and_then(|s| of(summary, &self.subject, s)),
        }
    }

    /// What it may be called, its address first: the name and parts of it may stand without subject or unit.
    #[must_use]
    pub fn names(&self) -> [String; 6] {
        let name = self.measure.name;
        let bare = name.rsplit_once('_').map_or(name, |(head, _)| head);
        let short = bare.strip_prefix("latency_").unwrap_or(bare);
        let of = |name: &str| format!("{}.{name}", self.subject);
        [self.address(), name.to_owned(), bare.to_owned(), short.to_owned(), of(bare), of(short)]
    }

    /// Finds figures by what a user calls them: an address, or a name without its subject or unit when that is
    /// clear (`p99`, `cost`, `latency_p99`).
    #[must_use]
    pub fn find<'f>(figures: &'f [Self], said: &str) -> Option<&'f Self> {
        let fits = |figure: &&Self| figure.names().iter().any(|name| name == said);
        figures.iter().find(|f| f.address() == said).or_else(|| figures.iter().find(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_what_they_are_called() {
        let figures = Figure::all(["web", "api"]);
        let found = |said: &str| Figure::find(&figures, said).map(Figure::address);
        assert_eq!(found("p99").as_deref(), Some("web.latency_p99_ms"));
        assert_eq!(found("api.latency_p99").as_deref(), Some("api.latency_p99_ms"));
        assert_eq!(found("cost").as_deref(), Some("cluster.cost_usd"));
        assert_eq!(found("api.cost").as_deref(), Some("api.cost_usd"));
        assert_eq!(found("availability").as_deref(), Some("web.availability_pct"));
        assert_eq!(found("cost_per_hour").as_deref(), Some("cluster.cost_per_hour_usd"));
        assert_eq!(found("speed"), None);
        let mut names: Vec<String> = figures.iter().map(Figure::address).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), figures.len(), "addresses are unique");
    }
}
