//! The Horizontal Pod Autoscaler, `autoscaling/v2`.
//!
//! Rule: every 15 s, for each object, every metric proposes a size (`replicas.rs`), the largest proposal
//! counts, remembered proposals hold it back from falling (and, with `behavior`, from rising), and rate
//! limits and bounds cut it (`limits.rs`). A size out of bounds is brought back without looking at metrics.
//! If a metric fails, the others may scale up but not down.
//!
//! Source: `pkg/controller/podautoscaler` of Kubernetes, releases 1.23 to 1.36.
//!
//! Known departures: what `limits.rs` and `replicas.rs` say applies to the newest release where releases
//! differ; the object's status is not modelled beyond the conditions.

pub mod limits;
pub mod metrics_server;
pub mod replicas;
pub mod spec;

use serde::{Deserialize, Serialize};

pub use limits::{Limit, Recommendation, ScaleEvent};
pub use metrics_server::{MetricsServer, PodMetrics, Point, Window};
pub use replicas::{MetricError, PodGroups, PodReading, PodState, Proposal, Reading, Replicas, Sample, Tolerances};
pub use spec::{
    Behavior, HpaSettings, HpaSpec, MetricSpec, PodTarget, PolicyKind, ResourceName, Rules, ScalingPolicy,
    ScalingRules, SelectPolicy, TotalTarget,
};

use crate::kernel::SimTime;

/// What the controller remembers of one object; lost when the controller manager restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HpaMemory {
    /// Proposals, in slots that are used again; absent before the first sync.
    pub recommendations: Option<Vec<Recommendation>>,
    /// Changes upwards, in slots that are used again; only with `behavior`.
    pub scale_ups: Vec<ScaleEvent>,
    /// Changes downwards, likewise.
    pub scale_downs: Vec<ScaleEvent>,
}

/// What the controller sees at a sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    /// The sizes of the target.
    pub replicas: Replicas,
    /// The pods that its selector matches.
    pub pods: &'a [PodState],
    /// One reading for each of [`HpaSpec::metrics`], in their order; those that are not there count as unavailable.
    pub readings: &'a [Reading<'a>],
}

/// Why a size was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// The target has no replicas and may not: autoscaling is off.
    Disabled,
    /// It had more than `maxReplicas`.
    AboveMax,
    /// It had fewer than `minReplicas`.
    BelowMin,
    /// Metrics, and what bounds them.
    Metrics,
    /// Too many metrics failed: nothing is changed.
    Failed,
}

/// Reasons of the condition `AbleToScale`, all of them with status True.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbleToScale {
    /// The target was read; nothing else happened.
    SucceededGetScale,
    /// Nothing held the proposal back.
    ReadyForNewScale,
    /// An earlier, smaller proposal held it back.
    ScaleUpStabilized,
    /// An earlier, larger proposal held it back.
    ScaleDownStabilized,
    /// A new size was written.
    SucceededRescale,
}

/// Reasons of the condition `ScalingActive`; True for the first alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScalingActive {
    /// Metrics led to a size.
    ValidMetricFound,
    /// The target has no replicas.
    ScalingDisabled,
    /// A resource metric failed.
    FailedGetResourceMetric,
    /// A metric of a container failed.
    FailedGetContainerResourceMetric,
    /// A pods metric failed.
    FailedGetPodsMetric,
    /// An object metric failed.
    FailedGetObjectMetric,
    /// An external metric failed.
    FailedGetExternalMetric,
    /// The reading is of another sort than the metric.
    InvalidMetricSourceType,
}

/// What a sync decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The size before.
    pub current: u32,
    /// The size to write: equal to `current` where nothing is written.
    pub replicas: u32,
    /// Why.
    pub basis: Basis,
    /// What each metric proposed; empty where none was looked at.
    pub metrics: Vec<Result<Proposal, MetricError>>,
    /// The metric whose proposal counted.
    pub metric: Option<usize>,
    /// The largest proposal.
    pub proposal: Option<u32>,
    /// That proposal after stabilization.
    pub stabilized: Option<u32>,
    /// What bound the result; also the reason of the condition `ScalingLimited`, which is True where it changed the size.
    pub limit: Option<Limit>,
    /// Reason of the condition `AbleToScale`.
    pub able_to_scale: AbleToScale,
    /// Reason of the condition `ScalingActive`, where it was set.
    pub scaling_active: Option<ScalingActive>,
}

impl Decision {
    /// Whether a new size is written.
    #[must_use]
    pub const fn rescales(&self) -> bool {
        self.current != self.replicas
    }

    /// Status of the condition `ScalingLimited`, where it was set.
    #[must_use]
    pub fn scaling_limited(&self) -> Option<bool> {
        self.limit.map(|limit| limit != Limit::DesiredWithinRange)
    }

    fn plain(current: u32, replicas: u32, basis: Basis) -> Self {
        let able_to_scale =
            if current == replicas { AbleToScale::SucceededGetScale } else { AbleToScale::SucceededRescale };
        Self {
            current,
            replicas,
            basis,
            metrics: Vec::new(),
            metric: None,
            proposal: None,
            stabilized: None,
            limit: None,
            able_to_scale,
            scaling_active: None,
        }
    }
}

/// One pass over one object. The next is due after [`HpaSettings::sync_period`].
#[must_use]
pub fn sync(
    spec: &HpaSpec,
    settings: &HpaSettings,
    mut memory: HpaMemory,
    seen: &Observation<'_>,
    now: SimTime,
) -> (Decision, HpaMemory) {
    let current = seen.replicas.spec;
    memory.recommendations.get_or_insert_with(|| vec![Recommendation { at: now, replicas: current }]);
    let decision = if current == 0 && spec.min_replicas != 0 {
        let scaling_active = Some(ScalingActive::ScalingDisabled);
        Decision { scaling_active, ..Decision::plain(0, 0, Basis::Disabled) }
    } else if current > spec.max_replicas {
        Decision::plain(current, spec.max_replicas, Basis::AboveMax)
    } else if current < spec.min_replicas {
        Decision::plain(current, spec.min_replicas, Basis::BelowMin)
    } else {
        by_metrics(spec, settings, &mut memory, seen, now)
    };
    if let (true, Some(behavior)) = (decision.rescales(), &spec.behavior) {
        let change = decision.replicas.abs_diff(current);
        if decision.replicas > current {
            record_with(&mut memory.scale_ups, change, &Rules::up(behavior.scale_up.as_ref()), now);
        } else {
            record_with(&mut memory.scale_downs, change, &Rules::down(behavior.scale_down.as_ref()), now);
        }
    }
    (decision, memory)
}

fn record_with(events: &mut Vec<ScaleEvent>, change: u32, rules: &Rules<'_>, now: SimTime) {
    limits::record(events, change, rules.longest_period(), now);
}

fn by_metrics(
    spec: &HpaSpec,
    settings: &HpaSettings,
    memory: &mut HpaMemory,
    seen: &Observation<'_>,
    now: SimTime,
) -> Decision {
    let current = seen.replicas.spec;
    let mut decision = Decision::plain(current, current, Basis::Metrics);
    let behavior = spec.behavior.as_ref();
    let up = Rules::up(behavior.and_then(|b| b.scale_up.as_ref()));
    let down = Rules::down(behavior.and_then(|b| b.scale_down.as_ref()));
    let tolerances = Tolerances {
        down: down.tolerance.unwrap_or(settings.tolerance),
        up: up.tolerance.unwrap_or(settings.tolerance),
    };
    let mut largest: Option<(u32, usize)> = None;
    let mut failure = None;
    for (at, metric) in spec.metrics().iter().enumerate() {
        let reading = seen.readings.get(at).unwrap_or(&Reading::Unavailable);
        let result = replicas::propose(metric, reading, seen.pods, seen.replicas, tolerances, settings, now);
        match result {
            Ok(proposal) if largest.is_none_or(|(replicas, _)| proposal.replicas > replicas) => {
                largest = Some((proposal.replicas, at));
            }
            Ok(_) => {}
            Err(error) => {
                failure.get_or_insert_with(|| failed(metric, error));
            }
        }
        decision.metrics.push(result);
    }
    let proposal = match (largest, failure) {
        (Some((replicas, _)), None) => replicas,
        (Some((replicas, _)), Some(_)) if replicas >= current => replicas,
        (_, reason) => {
            decision.basis = Basis::Failed;
            decision.scaling_active = reason;
            return decision;
        }
    };
    decision.scaling_active = Some(ScalingActive::ValidMetricFound);
    decision.metric = largest.map(|(_, at)| at);
    decision.proposal = Some(proposal);
    let bounds = (spec.min_replicas, spec.max_replicas);
    let recommendations = memory.recommendations.get_or_insert_default();
    let (stabilized, (result, limit)) = if behavior.is_none() {
        let stabilized = limits::stabilize_legacy(recommendations, proposal, settings.downscale_stabilization, now);
        (stabilized, limits::limit_legacy(current, stabilized, bounds.0, bounds.1, settings))
    } else {
        let up_window = up.stabilization_window.unwrap_or_default();
        let down_window = down.stabilization_window.unwrap_or(settings.downscale_stabilization);
        let stabilized = limits::stabilize(recommendations, current, proposal, up_window, down_window, now);
        let limited =
            limits::limit(current, stabilized, bounds, &up, &down, &memory.scale_ups, &memory.scale_downs, now);
        (stabilized, limited)
    };
    decision.stabilized = Some(stabilized);
    decision.limit = Some(limit);
    decision.replicas = result;
    decision.able_to_scale = if result != current {
        AbleToScale::SucceededRescale
    } else if stabilized == proposal {
        AbleToScale::ReadyForNewScale
    } else if behavior.is_some() && proposal >= current {
        AbleToScale::ScaleUpStabilized
    } else {
        AbleToScale::ScaleDownStabilized
    };
    decision
}

/// The reason of `ScalingActive` for a metric that failed.
fn failed(metric: &MetricSpec, error: MetricError) -> ScalingActive {
    match metric {
        _ if error == MetricError::InvalidSource => ScalingActive::InvalidMetricSourceType,
        MetricSpec::Resource { .. } => ScalingActive::FailedGetResourceMetric,
        MetricSpec::ContainerResource { .. } => ScalingActive::FailedGetContainerResourceMetric,
        MetricSpec::Pods { .. } => ScalingActive::FailedGetPodsMetric,
        MetricSpec::Object { .. } => ScalingActive::FailedGetObjectMetric,
        MetricSpec::External { .. } => ScalingActive::FailedGetExternalMetric,
    }
}

#[cfg(test)]
mod tests;
