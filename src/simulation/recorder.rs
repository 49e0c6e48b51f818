//! Writes down what happened: rows, totals, trends, incidents, the hash of all facts.

use indexmap::IndexMap;

use super::RunOptions;
use super::incident::{IncidentTracker, LaunchChain};
use crate::cluster::target_health::TargetState;
use crate::cluster::{Fact, Refusal};
use crate::kernel::SimTime;
use crate::output::{DecisionDetail, DecisionRow, Incident, OutputError, RowSink, Trend};
use crate::scenario::model::{Objectives, Plan, Sense};
use crate::traffic::{Histogram, QueueGauges, QueueTotals, ServiceTotals};
use crate::units::TaskId;

/// A short series for a sparkline that never holds more than twice its points: when it is full,
/// neighbours are folded into one.
#[derive(Clone, Debug)]
pub(super) struct TrendGatherer {
    step: u64,
    pending: Vec<f64>,
    seen: u64,
    values: Vec<Option<f64>>,
    fold: fn(&[f64]) -> f64,
    max: Option<f64>,
}

const MOST_POINTS: usize = 2 * crate::output::TREND_POINTS;

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MIN, f64::max)
}

impl TrendGatherer {
    pub(super) fn new(fold: fn(&[f64]) -> f64) -> Self {
        Self { step: 1, pending: Vec::new(), seen: 0, values: Vec::new(), fold, max: None }
    }

    pub(super) fn add(&mut self, value: Option<f64>) {
        self.max = [self.max, value].into_iter().flatten().reduce(f64::max);
        self.pending.extend(value);
        self.seen += 1;
        if self.seen < self.step {
            return;
        }
        self.flush();
        if self.values.len() >= MOST_POINTS {
            self.step *= 2;
            let fold = self.fold;
            self.values = self
                .values
                .chunks(2)
                .map(|pair| {
                    let present: Vec<f64> = pair.iter().flatten().copied().collect();
                    (!present.is_empty()).then(|| fold(&present))
                })
                .collect();
        }
    }

    /// Forgets the largest value so far: the warm-up is over.
    pub(super) fn forget_max(&mut self) {
        self.max = None;
    }

    fn flush(&mut self) {
        if self.seen > 0 {
            let value = (!self.pending.is_empty()).then(|| (self.fold)(&self.pending));
            self.values.push(value);
        }
        self.pending.clear();
        self.seen = 0;
    }

    pub(super) fn trend(mut self, interval_s: f64) -> Trend {
        self.flush();
        Trend { max: self.max, ..Trend::fold(0.0, interval_s * self.step as f64, &self.values, self.fold) }
    }
}

/// What is gathered of one service.
pub(super) struct ServiceRecord {
    pub(super) interval: ServiceTotals,
    pub(super) minute: ServiceTotals,
    pub(super) whole: ServiceTotals,
    pub(super) load: TrendGatherer,
    pub(super) p99: TrendGatherer,
    pub(super) failed: TrendGatherer,
    pub(super) running: TrendGatherer,
    pub(super) cpu: TrendGatherer,
    pub(super) running_integral: f64,
    pub(super) counted_s: f64,
    pub(super) min_running: Option<u32>,
    pub(super) max_running: u32,
    pub(super) max_desired: u32,
    pub(super) at_max_broken_s: f64,
    pub(super) scale_outs: u64,
    pub(super) scale_ins: u64,
    pub(super) held_back: IndexMap<String, u64>,
    pub(super) tasks_started: u64,
    pub(super) tasks_stopped: u64,
    pub(super) tasks_failed: u64,
    pub(super) breach_minutes: u64,
    pub(super) tracker: IncidentTracker,
    pub(super) chains: Vec<LaunchChain>,
    pub(super) cpu_used: f64,
    pub(super) cpu_reserved: f64,
}

impl ServiceRecord {
    fn new() -> Self {
        Self {
            interval: ServiceTotals::default(),
            minute: ServiceTotals::default(),
            whole: ServiceTotals::default(),
            load: TrendGatherer::new(mean),
            p99: TrendGatherer::new(largest),
            failed: TrendGatherer::new(mean),
            running: TrendGatherer::new(mean),
            cpu: TrendGatherer::new(mean),
            running_integral: 0.0,
            counted_s: 0.0,
            min_running: None,
            max_running: 0,
            max_desired: 0,
            at_max_broken_s: 0.0,
            scale_outs: 0,
            scale_ins: 0,
            held_back: IndexMap::new(),
            tasks_started: 0,
            tasks_stopped: 0,
            tasks_failed: 0,
            breach_minutes: 0,
            tracker: IncidentTracker::default(),
            chains: Vec::new(),
            cpu_used: 0.0,
            cpu_reserved: 0.0,
        }
    }
}

/// The recorder of a run.
pub(super) struct Recorder<'p> {
    pub(super) sink: &'p mut RowSink,
    hasher: blake3::Hasher,
    minute_hasher: Option<blake3::Hasher>,
    pub(super) minute_hashes: Vec<String>,
    pub(super) services: Vec<ServiceRecord>,
    pub(super) decisions: IndexMap<String, u64>,
    pub(super) incidents: Vec<Incident>,
    pub(super) refusals: Vec<String>,
    pub(super) interval_start: SimTime,
    pub(super) cost_min: Option<f64>,
    pub(super) cost_max: f64,
    pub(super) failure: Option<OutputError>,
}

impl<'p> Recorder<'p> {
    pub(super) fn new(plan: &Plan, options: RunOptions<'_>, sink: &'p mut RowSink) -> Self {
        Self {
            sink,
            hasher: blake3::Hasher::new(),
            minute_hasher: options.minute_hashes.then(blake3::Hasher::new),
            minute_hashes: Vec::new(),
            services: plan.services.iter().map(|_| ServiceRecord::new()).collect(),
            decisions: IndexMap::new(),
            incidents: Vec::new(),
            refusals: Vec::new(),
            interval_start: SimTime::ZERO,
            cost_min: None,
            cost_max: 0.0,
            failure: None,
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(minute) = &mut self.minute_hasher {
            minute.update(bytes);
        }
    }

    /// Takes a fact into the hash.
    pub(super) fn fact(&mut self, now: SimTime, fact: &Fact) {
        // Of these there may be millions.
        if let Fact::NodeHeld(node, guests) = *fact {
            let (now, held) = (now.as_nanos().to_le_bytes(), u64::from(node.0) << 32 | u64::from(guests));
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&now);
            bytes[8..].copy_from_slice(&held.to_le_bytes());
            self.hash(&bytes);
            return;
        }
        self.hash(&now.as_nanos().to_le_bytes());
        self.hash(format!("{fact:?}").as_bytes());
    }

    pub(super) fn target_state(&mut self, now: SimTime, task: TaskId, state: TargetState) {
        self.hash(&now.as_nanos().to_le_bytes());
        self.hash(format!("{task:?} {state:?}").as_bytes());
    }

    /// Takes the totals of an interval into the hash: every request leaves its trace there.
    pub(super) fn totals(&mut self, now: SimTime, service: usize, t: &ServiceTotals) {
        let counts = [
            now.as_nanos(),
            service as u64,
            t.attempts,
            t.responses_2xx,
            t.target_5xx,
            t.elb_502,
            t.elb_503,
            t.elb_504,
            t.client_gone_460,
            t.started,
            t.succeeded,
            t.failed.total(),
            t.in_flight,
            t.cpu_wasted.to_bits(),
        ];
        for n in counts {
            self.hash(&n.to_le_bytes());
        }
        self.hash(&t.latency_all.sum().to_le_bytes());
    }

    /// Takes what happened to a queue in an interval into the hash.
    pub(super) fn queue_totals(&mut self, now: SimTime, queue: usize, t: &QueueTotals, g: &QueueGauges) {
        let counts = [
            now.as_nanos(),
            queue as u64,
            t.sent,
            t.received,
            t.deleted,
            t.returned,
            t.dead_lettered,
            t.expired,
            g.visible,
            g.in_flight,
            g.delayed,
        ];
        for n in counts {
            self.hash(&n.to_le_bytes());
        }
    }

    /// Ends a simulated minute of the check mode.
    pub(super) fn end_minute(&mut self) {
        if let Some(hasher) = &mut self.minute_hasher {
            self.minute_hashes.push(hasher.finalize().to_hex().to_string());
            *hasher = blake3::Hasher::new();
        }
    }

    pub(super) fn facts_hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    /// A command that the door refused: a defect, which the reader is told of.
    pub(super) fn refused(&mut self, now: SimTime, refusal: &Refusal) {
        if self.refusals.len() < 10 {
            self.refusals.push(format!("at {:.1} s: {refusal}", now.as_secs_f64()));
        }
    }

    /// Writes a decision down.
    pub(super) fn decision(&mut self, row: &DecisionRow<'_>, detail: &DecisionDetail) {
        *self.decisions.entry(row.controller.to_string()).or_insert(0) += 1;
        self.hash(&row.time_s.0.to_le_bytes());
        self.hash(row.subject.as_bytes());
        self.hash(&row.result.unwrap_or(-1).to_le_bytes());
        let written = self.sink.decision(row, detail);
        self.keep_failure(written);
    }

    /// Remembers the first failure to write; the run ends at the next interval.
    pub(super) fn keep_failure(&mut self, written: Result<(), OutputError>) {
        if let Err(e) = written
            && self.failure.is_none()
        {
            self.failure = Some(e);
        }
    }
}

/// Latency objectives: key, quantile (absent for the mean), how to find the bound.
pub(super) type LatencyKey = (&'static str, Option<f64>, fn(&Objectives) -> Option<crate::scenario::model::Bound>);

/// The latency objectives of the language.
pub(super) const LATENCY_KEYS: [LatencyKey; 6] = [
    ("latency_p50", Some(0.5), |o| o.latency_p50),
    ("latency_p90", Some(0.9), |o| o.latency_p90),
    ("latency_p95", Some(0.95), |o| o.latency_p95),
    ("latency_p99", Some(0.99), |o| o.latency_p99),
    ("latency_p999", Some(0.999), |o| o.latency_p999),
    ("latency_mean", None, |o| o.latency_mean),
];

/// A latency figure in seconds; `None` without a success.
pub(super) fn latency_s(h: &Histogram, quantile: Option<f64>) -> Option<f64> {
    match quantile {
        Some(q) => h.quantile(q).map(|n| n as f64 / 1e9),
        None => h.mean().map(|n| n / 1e9),
    }
}

/// Successes over finished requests, in percent; `None` when none finished.
pub(super) fn availability(t: &ServiceTotals) -> Option<f64> {
    let finished = t.finished();
    (finished > 0).then(|| 100.0 * t.succeeded as f64 / finished as f64)
}

/// Whether a value keeps a bound.
pub(super) fn holds(sense: Sense, value: f64, limit: f64) -> bool {
    match sense {
        Sense::AtMost => value <= limit,
        Sense::AtLeast => value >= limit,
    }
}

/// The first latency or availability objective that the totals break. Latency is broken too when
/// requests finished and none succeeded.
pub(super) fn first_broken(objectives: &Objectives, totals: &ServiceTotals) -> Option<&'static str> {
    for (key, quantile, bound) in LATENCY_KEYS {
        if let Some(b) = bound(objectives) {
            let broken = match latency_s(&totals.latency, quantile) {
                Some(value) => !holds(b.sense, value, b.value),
                None => totals.finished() > 0,
            };
            if broken {
                return Some(key);
            }
        }
    }
    match (objectives.availability, availability(totals)) {
        (Some(b), Some(value)) if !holds(b.sense, value, b.value) => Some("availability"),
        _ => None,
    }
}
