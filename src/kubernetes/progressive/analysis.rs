//! Analysis runs of Argo Rollouts: metrics measured at intervals, each against its conditions and limits.
//!
//! Rules: argoproj/argo-rollouts `analysis/analysis.go` (which metrics are measured when, how results add
//! up) and `utils/evaluate/evaluate.go` (conditions).
//!
//! Known departure: a measurement takes no time.

use super::earlier;
use crate::kernel::{SimDuration, SimTime};

/// How a measured value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    NotEqual,
}

/// A condition on a measured value, as `result >= 0.95`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: f64,
}

impl Condition {
    /// Whether a value satisfies it. A value that is no number satisfies none but `NotEqual`.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.value,
            Comparison::AtMost => value <= self.value,
            Comparison::Greater => value > self.value,
            Comparison::AtLeast => value >= self.value,
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => value != self.value,
        }
    }
}

/// A metric of an AnalysisTemplate.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Time between measurements; without one it is measured once.
    pub interval: Option<SimDuration>,
    /// Time before the first measurement. Default 0.
    pub initial_delay: SimDuration,
    /// Measurements to take; absent or 0 for ever where there is an interval, else 1.
    pub count: Option<u32>,
    /// When a measurement is good. Absent: whenever it is not bad.
    pub success_condition: Option<Condition>,
    /// When a measurement is bad. Absent: whenever it is not good.
    pub failure_condition: Option<Condition>,
    /// Bad measurements that are borne. Default 0.
    pub failure_limit: u32,
    /// Undecided measurements that are borne. Default 0.
    pub inconclusive_limit: u32,
    /// Measurements in a row that may fail to give a value. Default 4.
    pub consecutive_error_limit: u32,
}

impl Metric {
    /// A metric measured once, with every default and no condition.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            interval: None,
            initial_delay: SimDuration::ZERO,
            count: None,
            success_condition: None,
            failure_condition: None,
            failure_limit: 0,
            inconclusive_limit: 0,
            consecutive_error_limit: 4,
        }
    }

    fn effective_count(&self) -> Option<u32> {
        match (self.count, self.interval) {
            (Some(count), _) if count > 0 => Some(count),
            (_, None) => Some(1),
            _ => None,
        }
    }

    /// What one measurement says.
    #[must_use]
    pub fn judge(&self, value: Option<f64>) -> Phase {
        let Some(value) = value else { return Phase::Error };
        let good = self.success_condition.map(|c| c.holds(value));
        let bad = self.failure_condition.map(|c| c.holds(value));
        match (good, bad) {
            (_, Some(true)) | (Some(false), None) => Phase::Failed,
            (Some(false), Some(false)) => Phase::Inconclusive,
            _ => Phase::Successful,
        }
    }
}

/// Where a measurement, a metric or a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It goes on.
    #[default]
    Running,
    /// Good.
    Successful,
    /// Neither good nor bad.
    Inconclusive,
    /// No value was to be had.
    Error,
    /// Bad.
    Failed,
}

impl Phase {
    /// Whether it is over.
    #[must_use]
    pub const fn completed(self) -> bool {
        !matches!(self, Self::Running)
    }

    /// The order from good to bad among those that are over.
    const fn badness(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Successful => 1,
            Self::Inconclusive => 2,
            Self::Error => 3,
            Self::Failed => 4,
        }
    }
}

/// What became of one metric so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricResult {
    /// Where it stands.
    pub phase: Phase,
    /// Measurements that gave a value.
    pub count: u32,
    /// Good ones.
    pub successful: u32,
    /// Bad ones.
    pub failed: u32,
    /// Undecided ones.
    pub inconclusive: u32,
    /// Those without a value.
    pub errors: u32,
    /// Of these, the ones in a row up to now.
    pub consecutive_errors: u32,
    /// When the last was taken.
    pub last: Option<SimTime>,
    /// Its value.
    pub last_value: Option<f64>,
}

/// A run over the metrics of one template.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalysisRun {
    /// When it began.
    pub started: SimTime,
    /// One for each metric.
    pub results: Vec<MetricResult>,
    /// Where it stands: the worst of its metrics once all are over.
    pub phase: Phase,
}

impl AnalysisRun {
    /// A run that begins now.
    #[must_use]
    pub fn new(metrics: &[Metric], now: SimTime) -> Self {
        Self { started: now, results: vec![MetricResult::default(); metrics.len()], phase: Phase::Running }
    }

    /// Takes the measurements that are due and judges. `measure` gives a metric's value now, if there is
    /// one. `terminate` ends it: what has not failed by then is good.
    pub fn step(
        &mut self,
        metrics: &[Metric],
        measure: &dyn Fn(&Metric) -> Option<f64>,
        terminate: bool,
        now: SimTime,
    ) {
        if self.phase.completed() {
            return;
        }
        let spoiled = |results: &[MetricResult]| results.iter().any(|r| r.phase.badness() > 1);
        if !(terminate || spoiled(&self.results)) {
            for (metric, result) in metrics.iter().zip(&mut self.results) {
                if next(metric, result, self.started).is_some_and(|at| at <= now) {
                    take(metric, result, measure(metric), now);
                }
            }
        }
        // A metric that fails ends the others, which then count as they stand.
        for _ in 0..2 {
            let ending = terminate || spoiled(&self.results);
            for (metric, result) in metrics.iter().zip(&mut self.results) {
                result.phase = assess(metric, result, ending);
            }
        }
        if self.results.iter().all(|r| r.phase.completed()) {
            let worst = self.results.iter().map(|r| r.phase).max_by_key(|p| p.badness());
            self.phase = worst.unwrap_or(Phase::Successful);
        }
    }

    /// When the next measurement is due.
    #[must_use]
    pub fn next_check(&self, metrics: &[Metric]) -> Option<SimTime> {
        if self.phase.completed() {
            return None;
        }
        metrics.iter().zip(&self.results).map(|(m, r)| next(m, r, self.started)).fold(None, earlier)
    }

    /// The metric that ended it badly, if one did: its place.
    #[must_use]
    pub fn culprit(&self) -> Option<usize> {
        let worst = self.results.iter().enumerate().max_by_key(|(at, r)| (r.phase.badness(), std::cmp::Reverse(*at)));
        worst.filter(|(_, r)| r.phase.badness() > 1).map(|(at, _)| at)
    }
}

/// When a metric is measured next.
fn next(metric: &Metric, result: &MetricResult, started: SimTime) -> Option<SimTime> {
    // Without an interval a measurement that gave no value is tried again after this time.
    const ERROR_RETRY: SimDuration = SimDuration::from_secs(10);
    if result.phase.completed() || metric.effective_count().is_some_and(|count| result.count >= count) {
        return None;
    }
    Some(match result.last {
        None => started.saturating_add(metric.initial_delay),
        Some(last) => last.saturating_add(metric.interval.unwrap_or(ERROR_RETRY)),
    })
}

fn take(metric: &Metric, result: &mut MetricResult, value: Option<f64>, now: SimTime) {
    (result.last, result.last_value) = (Some(now), value);
    let counter = match metric.judge(value) {
        Phase::Error | Phase::Running => {
            result.errors += 1;
            result.consecutive_errors += 1;
            return;
        }
        Phase::Successful => &mut result.successful,
        Phase::Failed => &mut result.failed,
        Phase::Inconclusive => &mut result.inconclusive,
    };
    *counter += 1;
    result.count += 1;
    result.consecutive_errors = 0;
}

fn assess(metric: &Metric, result: &MetricResult, ending: bool) -> Phase {
    if result.phase.completed() {
        return result.phase;
    }
    if result.failed > metric.failure_limit {
        Phase::Failed
    } else if result.inconclusive > metric.inconclusive_limit {
        Phase::Inconclusive
    } else if result.consecutive_errors > metric.consecutive_error_limit {
        Phase::Error
    } else if ending || metric.effective_count().is_some_and(|count| result.count >= count) {
        Phase::Successful
    } else {
        Phase::Running
    }
}
