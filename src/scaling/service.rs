//! The whole of Application Auto Scaling for the desired count of one ECS service.
//!
//! Rule: an alarm in ALARM calls its policy when it goes there and again every minute. A call reckons
//! from the number of *running* tasks, keeps within minimum and maximum, passes the policy's cooldown,
//! and is combined with the requests of the other policies. Scale-in is off while a deployment runs;
//! suspended kinds of scaling do not act, each on its own. A scale-out by any policy ends every scale-in
//! cooldown. Scheduled actions set minimum and maximum at their time, whatever cooldowns run.
//!
//! Source: ECS developer guide, `service-auto-scaling`; Application Auto Scaling user guide. The rules
//! of the single steps stand in the files of this folder.
//!
//! Known departures: a target tracking policy whose low alarm stands, but which is not called at this
//! very instant, takes part in a scale-in with the metric it has then; the cooldown is that of the
//! policy whose request won.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::combine::{Combined, PolicyKind, Proposal, combine};
use super::cooldown::{self, CooldownMemory, CooldownRequest, CooldownVerdict};
use super::schedule;
use super::step::{self, StepInput};
use super::target_tracking::{self, Direction, bounded};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{Scaling, ScalingPolicy, Suspended};
use crate::telemetry::alarm::AlarmState;

/// What the scaling of one service remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingMemory {
    /// Smallest capacity now.
    pub min: u32,
    /// Largest capacity now.
    pub max: u32,
    /// Kinds of scaling that are off.
    pub suspended: SuspendedKinds,
    /// One cooldown memory for each policy, in the order of the plan.
    pub cooldowns: Vec<CooldownMemory>,
    /// The capacity that a forecast asks for this hour: nothing goes below it.
    #[serde(default)]
    pub forecast_floor: Option<u32>,
}

/// Kinds of scaling that are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedKinds {
    /// Policies do not remove tasks.
    pub scale_in: bool,
    /// Policies do not add tasks.
    pub scale_out: bool,
    /// Scheduled actions do not act.
    pub scheduled: bool,
}

impl From<&Suspended> for SuspendedKinds {
    fn from(s: &Suspended) -> Self {
        Self {
            scale_in: s.dynamic_scaling_in_suspended,
            scale_out: s.dynamic_scaling_out_suspended,
            scheduled: s.scheduled_scaling_suspended,
        }
    }
}

impl ScalingMemory {
    /// The memory at the start.
    #[must_use]
    pub fn new(spec: &Scaling) -> Self {
        Self {
            min: spec.min_capacity,
            max: spec.max_capacity,
            suspended: SuspendedKinds::from(&spec.suspended),
            cooldowns: vec![CooldownMemory::default(); spec.policies.len()],
            forecast_floor: None,
        }
    }
}

/// What the scaling service sees when one or more alarms call their policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingObservation {
    /// Now.
    pub now: SimTime,
    /// Running tasks.
    pub running: u32,
    /// The desired count.
    pub desired: u32,
    /// Whether a deployment runs.
    pub deployment_in_progress: bool,
    /// Every policy's alarms and metric, in the order of the plan.
    pub policies: Vec<PolicyView>,
}

/// One policy's alarms and metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The states of its alarms.
    pub alarms: PolicyAlarms,
    /// Whether one of them calls it now.
    pub called: bool,
    /// The metric's value that the policy uses; `None` when there is no point.
    pub metric: Option<f64>,
    /// How old that value is: now minus the end of its period.
    pub metric_age: SimDuration,
}

/// The states of a policy's alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyAlarms {
    /// Of target tracking.
    TargetTracking {
        /// Above the target.
        high: AlarmState,
        /// Below the low threshold.
        low: AlarmState,
    },
    /// Of a step policy.
    Step(AlarmState),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingDecision {
    /// The new desired count; `None` for no change.
    pub desired: Option<u32>,
    /// What each policy that spoke asked for.
    pub requests: Vec<PolicyRequest>,
    /// What kept the result from being what was computed.
    pub bounded_by: Vec<Bound>,
    /// Why.
    pub reason: ScalingReason,
}

/// What one policy asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyRequest {
    /// The policy's position in the plan.
    pub policy: usize,
    /// Which way.
    pub direction: Direction,
    /// The metric's value.
    pub metric: f64,
    /// How old it was.
    pub metric_age: SimDuration,
    /// The capacity by the policy's own rule.
    pub computed: u32,
    /// The capacity left after minimum, maximum, cooldown, suspension and deployment.
    pub capacity: u32,
}

/// Something that kept a request from being met as computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Bound {
    /// The smallest capacity.
    Min {
        /// The capacity.
        capacity: u32,
    },
    /// The largest capacity.
    Max {
        /// The capacity.
        capacity: u32,
    },
    /// A cooldown of the policy.
    Cooldown {
        /// The policy's position.
        policy: usize,
        /// When it ends.
        until: SimTime,
    },
    /// A deployment runs: nothing is removed.
    Deployment,
    /// This way of scaling is suspended.
    Suspended {
        /// Which way.
        direction: Direction,
    },
    /// Scheduled scaling is suspended.
    ScheduleSuspended,
    /// A target tracking policy is not ready to remove tasks.
    NotReady {
        /// The policy's position.
        policy: usize,
    },
    /// The policy never removes tasks.
    ScaleInDisabled {
        /// The policy's position.
        policy: usize,
    },
    /// No step of the policy holds at the metric's value.
    NoStep {
        /// The policy's position.
        policy: usize,
    },
    /// The policy was called, but there is no point to reckon from.
    NoMetric {
        /// The policy's position.
        policy: usize,
    },
    /// The forecast of this hour.
    Forecast {
        /// The capacity.
        capacity: u32,
    },
    /// The forecast is only written down.
    ForecastOnly,
}

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ScalingReason {
    /// A policy's request was the largest.
    Policy {
        /// The policy's position.
        policy: usize,
        /// Which way.
        direction: Direction,
        /// The count it reckoned from: running tasks.
        running: u32,
        /// The desired count before.
        from: u32,
        /// The desired count after.
        to: u32,
    },
    /// A scheduled action.
    Scheduled {
        /// The action's position.
        action: usize,
        /// The smallest capacity from now on.
        min: u32,
        /// The largest capacity from now on.
        max: u32,
    },
    /// A predictive policy's forecast for the hour to come.
    Forecast {
        /// The policy's position.
        policy: usize,
        /// Tasks that the hour needs.
        forecast: u32,
        /// The largest capacity from now on.
        max: u32,
    },
    /// Nothing was asked for that would change the desired count.
    NoChange,
    /// Something was asked for, and what bounds it left nothing of it.
    Held,
}

/// Decides for the policies that are called.
#[must_use]
pub fn decide(spec: &Scaling, memory: &ScalingMemory, obs: &ScalingObservation) -> (ScalingDecision, ScalingMemory) {
    let current = obs.desired;
    let mut bounds = Vec::new();
    let mut requests = Vec::new();
    let mut proposals = Vec::with_capacity(obs.policies.len());
    let mut after = Vec::with_capacity(obs.policies.len());
    let any_called = obs.policies.iter().any(|p| p.called);

    for (policy, ((_, rule), view)) in spec.policies.iter().zip(&obs.policies).enumerate() {
        let cooldown = memory.cooldowns.get(policy).copied().unwrap_or_default();
        let kind = kind(rule);
        let asked = if any_called { ask(rule, policy, view, obs, &mut bounds) } else { None };
        let Some(asked) = asked else {
            proposals.push(Proposal { capacity: current, kind });
            after.push(cooldown);
            continue;
        };
        let (capacity, cooldown) = admit(&asked, policy, rule, cooldown, memory, obs, &mut bounds);
        proposals.push(Proposal { capacity, kind });
        after.push(cooldown);
        requests.push(PolicyRequest {
            policy,
            direction: asked.direction,
            metric: asked.metric,
            metric_age: view.metric_age,
            computed: asked.computed,
            capacity,
        });
    }

    let mut combined = combine(current, &proposals);
    // A policy that is called to add tasks, even if what it wants is on its way or has to wait, outbids
    // those that would remove some.
    let wants_more =
        |r: &&PolicyRequest| r.direction == Direction::Out && r.computed > obs.running && !memory.suspended.scale_out;
    if let (Combined::In { .. }, Some(request)) = (combined, requests.iter().find(wants_more)) {
        combined = Combined::NotReady { by: request.policy };
    }
    let mut next = memory.clone();
    next.cooldowns.resize(spec.policies.len(), CooldownMemory::default());
    let (direction, to, by) = match combined {
        Combined::Out { capacity, by } => (Direction::Out, capacity, by),
        Combined::In { capacity, by } => (Direction::In, capacity, by),
        Combined::NotReady { by } => {
            bounds.push(Bound::NotReady { policy: by });
            return (decision(None, requests, bounds, ScalingReason::Held), next);
        }
        Combined::Unchanged => {
            let reason = if bounds.is_empty() { ScalingReason::NoChange } else { ScalingReason::Held };
            return (decision(None, requests, bounds, reason), next);
        }
    };
    if direction == Direction::Out {
        next.cooldowns.iter_mut().for_each(|c| c.scale_in_until = None);
    }
    if let (Some(slot), Some(cooldown)) = (next.cooldowns.get_mut(by), after.get(by)) {
        *slot = *cooldown;
    }
    let reason = ScalingReason::Policy { policy: by, direction, running: obs.running, from: current, to };
    (decision(Some(to), requests, bounds, reason), next)
}

fn decision(
    desired: Option<u32>,
    requests: Vec<PolicyRequest>,
    mut bounded_by: Vec<Bound>,
    reason: ScalingReason,
) -> ScalingDecision {
    bounded_by.dedup();
    ScalingDecision { desired, requests, bounded_by, reason }
}

fn kind(rule: &ScalingPolicy) -> PolicyKind {
    match rule {
        ScalingPolicy::TargetTracking(t) if t.disable_scale_in => PolicyKind::TargetTrackingOutOnly,
        ScalingPolicy::TargetTracking(_) => PolicyKind::TargetTracking,
        // A forecast acts by its own clock, and takes part here as a floor.
        ScalingPolicy::Predictive(_) => PolicyKind::TargetTrackingOutOnly,
        ScalingPolicy::Step(_) => PolicyKind::Step,
    }
}

/// What a policy asks for by its own rule.
struct Asked {
    direction: Direction,
    metric: f64,
    computed: u32,
}

/// What a policy asks for, or `None` when it has nothing to say. A target tracking policy that is ready
/// to remove tasks speaks even when only another one is called.
fn ask(
    rule: &ScalingPolicy,
    policy: usize,
    view: &PolicyView,
    obs: &ScalingObservation,
    bounds: &mut Vec<Bound>,
) -> Option<Asked> {
    let direction = match (rule, view.alarms) {
        (ScalingPolicy::TargetTracking(_), PolicyAlarms::TargetTracking { high: AlarmState::Alarm, .. }) => {
            view.called.then_some(Direction::Out)?
        }
        (ScalingPolicy::TargetTracking(t), PolicyAlarms::TargetTracking { low: AlarmState::Alarm, .. }) => {
            if t.disable_scale_in {
                if view.called {
                    bounds.push(Bound::ScaleInDisabled { policy });
                }
                return None;
            }
            Direction::In
        }
        (ScalingPolicy::Step(s), PolicyAlarms::Step(AlarmState::Alarm)) if view.called => {
            step::direction(s.alarm.comparison_operator)
        }
        _ => return None,
    };
    let Some(metric) = view.metric.filter(|m| m.is_finite()) else {
        bounds.push(Bound::NoMetric { policy });
        return None;
    };
    let running = obs.running;
    match rule {
        ScalingPolicy::TargetTracking(t) => {
            let computed = target_tracking::proposal(direction, running, metric, t.target_value);
            Some(Asked { direction, metric, computed })
        }
        ScalingPolicy::Step(s) => {
            let input = StepInput {
                steps: &s.step_adjustments,
                adjustment_type: s.adjustment_type,
                min_magnitude: s.min_adjustment_magnitude,
                threshold: s.alarm.threshold,
                direction,
                min: 0,
                max: u32::MAX,
            };
            // Minimum and maximum bind later, where it can be said that they did.
            let outcome = step::evaluate(&input, running, metric);
            if outcome.step.is_none() {
                bounds.push(Bound::NoStep { policy });
                return None;
            }
            let computed = outcome.capacity;
            // The steps of one policy may go both ways.
            let direction = match computed.cmp(&running) {
                std::cmp::Ordering::Greater => Direction::Out,
                std::cmp::Ordering::Less => Direction::In,
                std::cmp::Ordering::Equal => direction,
            };
            Some(Asked { direction, metric, computed })
        }
        ScalingPolicy::Predictive(_) => None,
    }
}

/// What minimum, maximum, cooldown, suspension and a deployment leave of a request.
fn admit(
    asked: &Asked,
    policy: usize,
    rule: &ScalingPolicy,
    cooldown: CooldownMemory,
    memory: &ScalingMemory,
    obs: &ScalingObservation,
    bounds: &mut Vec<Bound>,
) -> (u32, CooldownMemory) {
    let (min, max, current) = (memory.min, memory.max, obs.desired);
    let unbounded = match asked.direction {
        Direction::Out => asked.computed.max(current),
        Direction::In => asked.computed.min(current),
    };
    if unbounded == current {
        return (current, cooldown);
    }
    let suspended = match asked.direction {
        Direction::Out => memory.suspended.scale_out,
        Direction::In => memory.suspended.scale_in,
    };
    if suspended {
        bounds.push(Bound::Suspended { direction: asked.direction });
        return (current, cooldown);
    }
    if asked.direction == Direction::In && obs.deployment_in_progress {
        bounds.push(Bound::Deployment);
        return (current, cooldown);
    }
    let wanted = bounded(asked.direction, current, unbounded, min, max);
    if wanted < unbounded {
        bounds.push(Bound::Max { capacity: max });
    } else if wanted > unbounded {
        bounds.push(Bound::Min { capacity: min });
    }
    // Of a forecast and a policy that removes tasks the larger wins.
    let floor = memory.forecast_floor.map_or(0, |f| f.min(current));
    let wanted = if asked.direction == Direction::In && wanted < floor {
        bounds.push(Bound::Forecast { capacity: floor });
        floor
    } else {
        wanted
    };
    let (scale_out_cooldown, scale_in_cooldown) = match rule {
        ScalingPolicy::TargetTracking(t) => (t.scale_out_cooldown, t.scale_in_cooldown),
        ScalingPolicy::Step(s) => (s.cooldown, s.cooldown),
        ScalingPolicy::Predictive(_) => (SimDuration::ZERO, SimDuration::ZERO),
    };
    let request = CooldownRequest {
        now: obs.now,
        start: obs.running,
        current,
        wanted,
        direction: asked.direction,
        scale_out_cooldown,
        scale_in_cooldown,
    };
    let (capacity, verdict, cooldown) = cooldown::request(cooldown, &request);
    match verdict {
        CooldownVerdict::Free => {}
        CooldownVerdict::EarlierIncreaseCounts { .. } if capacity >= wanted => {}
        CooldownVerdict::EarlierIncreaseCounts { until, .. } | CooldownVerdict::Blocked { until } => {
            bounds.push(Bound::Cooldown { policy, until });
        }
    }
    (bounded(asked.direction, current, capacity, min, max), cooldown)
}

/// A scheduled action acts: sets minimum and maximum, and the desired count if it lies outside.
/// `action` is its position in the plan; an unknown one changes nothing.
#[must_use]
pub fn scheduled(
    spec: &Scaling,
    memory: &ScalingMemory,
    action: usize,
    desired: u32,
) -> (ScalingDecision, ScalingMemory) {
    if memory.suspended.scheduled {
        return (decision(None, Vec::new(), vec![Bound::ScheduleSuspended], ScalingReason::Held), memory.clone());
    }
    let Some((_, rule)) = spec.scheduled_actions.get_index(action) else {
        return (decision(None, Vec::new(), Vec::new(), ScalingReason::NoChange), memory.clone());
    };
    let (min, max, capacity) = schedule::apply(rule, memory.min, memory.max, desired);
    let bounds = match capacity.cmp(&desired) {
        std::cmp::Ordering::Greater => vec![Bound::Min { capacity: min }],
        std::cmp::Ordering::Less => vec![Bound::Max { capacity: max }],
        std::cmp::Ordering::Equal => Vec::new(),
    };
    let next = ScalingMemory { min, max, ..memory.clone() };
    let reason = ScalingReason::Scheduled { action, min, max };
    (decision((capacity != desired).then_some(capacity), Vec::new(), bounds, reason), next)
}

/// Suspends and resumes kinds of scaling. Alarms that stand act again at their next call; scheduled
/// actions that were missed are not made up.
#[must_use]
pub fn suspend(memory: &ScalingMemory, kinds: SuspendedKinds) -> ScalingMemory {
    ScalingMemory { suspended: kinds, ..memory.clone() }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min { capacity } => write!(f, "minimum capacity {capacity}"),
            Self::Max { capacity } => write!(f, "maximum capacity {capacity}"),
            Self::Cooldown { policy, until } => {
                write!(f, "cooldown of policy {policy} until {} s", until.as_secs_f64())
            }
            Self::Deployment => f.write_str("no scale-in during a deployment"),
            Self::Suspended { direction } => write!(f, "scale-{direction} is suspended"),
            Self::ScheduleSuspended => f.write_str("scheduled scaling is suspended"),
            Self::NotReady { policy } => write!(f, "policy {policy} is not ready to scale in"),
            Self::ScaleInDisabled { policy } => write!(f, "policy {policy} never scales in"),
            Self::NoStep { policy } => write!(f, "no step of policy {policy} holds"),
            Self::NoMetric { policy } => write!(f, "policy {policy} has no data point"),
            Self::Forecast { capacity } => write!(f, "the forecast of this hour, {capacity}"),
            Self::ForecastOnly => f.write_str("the mode is ForecastOnly"),
        }
    }
}

impl fmt::Display for ScalingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { policy, direction, running, from, to } => {
                write!(f, "policy {policy} scales {direction} from {from} to {to} ({running} running)")
            }
            Self::Scheduled { action, min, max } => {
                write!(f, "scheduled action {action}: minimum {min}, maximum {max}")
            }
            Self::Forecast { forecast, max, .. } => {
                write!(f, "the hour to come needs {forecast} tasks by the forecast (maximum {max})")
            }
            Self::NoChange => f.write_str("nothing to change"),
            Self::Held => f.write_str("held back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{
        AdjustmentType, Aggregation, Alarm, Comparison, Metric, MetricSample, PredefinedMetric, ScheduledAction,
        Statistic, StepAdjustment, StepScaling, TargetTracking, TreatMissingData,
    };
    use indexmap::IndexMap;

    const MINUTE: SimDuration = SimDuration::from_secs(60);

    fn tracking(target: f64) -> ScalingPolicy {
        ScalingPolicy::TargetTracking(TargetTracking {
            predefined_metric_type: Some(PredefinedMetric::EcsServiceAverageCpuUtilization),
            customized_metric_specification: None,
            target_value: target,
            scale_out_cooldown: SimDuration::from_secs(300),
            scale_in_cooldown: SimDuration::from_secs(300),
            disable_scale_in: false,
            scale_out_datapoints: 3,
            scale_in_datapoints: None,
            scale_in_factor: 0.9,
            metric_sample: MetricSample::Latest,
        })
    }

    fn step(adjustment: i64) -> ScalingPolicy {
        let up = adjustment > 0;
        ScalingPolicy::Step(StepScaling {
            alarm: Alarm {
                metric: Metric::CpuUtilization,
                queue: None,
                metrics: IndexMap::new(),
                statistic: Statistic::Average,
                comparison_operator: if up { Comparison::GreaterThanThreshold } else { Comparison::LessThanThreshold },
                threshold: 50.0,
                period: MINUTE,
                evaluation_periods: 1,
                datapoints_to_alarm: None,
                treat_missing_data: TreatMissingData::Missing,
            },
            adjustment_type: AdjustmentType::ChangeInCapacity,
            step_adjustments: vec![StepAdjustment {
                metric_interval_lower_bound: up.then_some(0.0),
                metric_interval_upper_bound: (!up).then_some(0.0),
                scaling_adjustment: adjustment,
            }],
            min_adjustment_magnitude: 0,
            cooldown: SimDuration::ZERO,
            metric_aggregation_type: Aggregation::Average,
        })
    }

    fn scaling(policies: Vec<ScalingPolicy>) -> Scaling {
        Scaling {
            min_capacity: 2,
            max_capacity: 20,
            policies: policies.into_iter().enumerate().map(|(i, p)| (format!("p{i}"), p)).collect(),
            scheduled_actions: IndexMap::new(),
            suspended: Suspended {
                dynamic_scaling_in_suspended: false,
                dynamic_scaling_out_suspended: false,
                scheduled_scaling_suspended: false,
            },
        }
    }

    fn high(metric: f64) -> PolicyView {
        PolicyView {
            alarms: PolicyAlarms::TargetTracking { high: AlarmState::Alarm, low: AlarmState::Ok },
            called: true,
            metric: Some(metric),
            metric_age: MINUTE,
        }
    }

    fn low(metric: f64) -> PolicyView {
        PolicyView {
            alarms: PolicyAlarms::TargetTracking { high: AlarmState::Ok, low: AlarmState::Alarm },
            ..high(metric)
        }
    }

    fn quiet() -> PolicyView {
        PolicyView {
            alarms: PolicyAlarms::TargetTracking { high: AlarmState::Ok, low: AlarmState::Ok },
            called: false,
            ..high(50.0)
        }
    }

    fn at(secs: u64, running: u32, desired: u32, policies: Vec<PolicyView>) -> ScalingObservation {
        let now = SimTime::from_secs(secs);
        ScalingObservation { now, running, desired, deployment_in_progress: false, policies }
    }

    #[test]
    fn a_standing_alarm_does_not_run_away_while_tasks_start() {
        let spec = scaling(vec![tracking(60.0)]);
        let memory = ScalingMemory::new(&spec);
        let (first, memory) = decide(&spec, &memory, &at(0, 4, 4, vec![high(120.0)]));
        assert_eq!(first.desired, Some(8));
        let (again, memory) = decide(&spec, &memory, &at(60, 4, 8, vec![high(120.0)]));
        assert_eq!((again.desired, again.reason), (None, ScalingReason::NoChange));
        // The new tasks run, the metric is still high: inside the cooldown the earlier increase counts.
        let (held, memory) = decide(&spec, &memory, &at(120, 8, 8, vec![high(90.0)]));
        assert_eq!(held.desired, None);
        assert!(matches!(held.bounded_by[..], [Bound::Cooldown { policy: 0, .. }]), "{held:?}");
        let (later, _) = decide(&spec, &memory, &at(300, 8, 8, vec![high(90.0)]));
        assert_eq!(later.desired, Some(12));
    }

    #[test]
    fn bounds_are_named() {
        let spec = scaling(vec![tracking(60.0)]);
        let memory = ScalingMemory::new(&spec);
        let (d, _) = decide(&spec, &memory, &at(0, 15, 15, vec![high(120.0)]));
        assert_eq!((d.desired, &d.bounded_by[..]), (Some(20), &[Bound::Max { capacity: 20 }][..]));
        assert_eq!((d.requests[0].computed, d.requests[0].capacity), (30, 20));
        let (d, _) = decide(&spec, &memory, &at(0, 4, 4, vec![low(6.0)]));
        assert_eq!((d.desired, &d.bounded_by[..]), (Some(2), &[Bound::Min { capacity: 2 }][..]));
        let mut deploying = at(0, 4, 4, vec![low(6.0)]);
        deploying.deployment_in_progress = true;
        let (d, _) = decide(&spec, &memory, &deploying);
        assert_eq!((d.desired, &d.bounded_by[..], d.reason), (None, &[Bound::Deployment][..], ScalingReason::Held));
        let memory = suspend(&memory, SuspendedKinds { scale_out: true, ..SuspendedKinds::default() });
        let (d, _) = decide(&spec, &memory, &at(0, 4, 4, vec![high(90.0)]));
        assert_eq!(d.bounded_by, [Bound::Suspended { direction: Direction::Out }]);
    }

    #[test]
    fn all_target_tracking_policies_must_be_ready_to_scale_in() {
        let spec = scaling(vec![tracking(60.0), tracking(50.0)]);
        let memory = ScalingMemory::new(&spec);
        let (d, _) = decide(&spec, &memory, &at(0, 10, 10, vec![low(30.0), quiet()]));
        assert_eq!((d.desired, &d.bounded_by[..]), (None, &[Bound::NotReady { policy: 1 }][..]));
        // Ready, though not called at this instant: its larger request wins.
        let ready = PolicyView { called: false, ..low(40.0) };
        let (d, memory) = decide(&spec, &memory, &at(0, 10, 10, vec![low(30.0), ready]));
        assert_eq!(d.desired, Some(8));
        assert!(memory.cooldowns[1].scale_in_until.is_some());
        // Its cooldown now holds the other one back as well.
        let (d, _) = decide(&spec, &memory, &at(60, 8, 8, vec![low(30.0), ready]));
        assert_eq!(d.desired, None);
        assert!(d.bounded_by.contains(&Bound::NotReady { policy: 1 }));
    }

    #[test]
    fn a_step_policy_scales_in_past_target_tracking_and_steps_every_minute() {
        let spec = scaling(vec![tracking(60.0), step(-1)]);
        let mut memory = ScalingMemory::new(&spec);
        let down = PolicyView {
            alarms: PolicyAlarms::Step(AlarmState::Alarm),
            called: true,
            metric: Some(20.0),
            metric_age: MINUTE,
        };
        let mut desired = 6;
        for minute in 0..3 {
            let (d, next) = decide(&spec, &memory, &at(minute * 60, desired, desired, vec![quiet(), down]));
            memory = next;
            desired = d.desired.unwrap();
        }
        assert_eq!(desired, 3);
    }

    #[test]
    fn a_policy_that_waits_to_add_keeps_others_from_removing() {
        let mut spec = scaling(vec![tracking(60.0), step(2)]);
        if let Some(ScalingPolicy::Step(s)) = spec.policies.get_mut("p1") {
            s.cooldown = MINUTE;
        }
        let memory = ScalingMemory::new(&spec);
        let up = PolicyView { alarms: PolicyAlarms::Step(AlarmState::Alarm), ..high(80.0) };
        let (d, memory) = decide(&spec, &memory, &at(0, 5, 5, vec![low(30.0), up]));
        assert_eq!(d.desired, Some(7));
        let (d, _) = decide(&spec, &memory, &at(30, 5, 7, vec![low(30.0), up]));
        assert_eq!((d.desired, d.bounded_by.last()), (None, Some(&Bound::NotReady { policy: 1 })));
    }

    #[test]
    fn a_scale_out_ends_every_scale_in_cooldown() {
        let spec = scaling(vec![tracking(60.0), step(2)]);
        let memory = ScalingMemory::new(&spec);
        let (_, memory) = decide(
            &spec,
            &memory,
            &at(
                0,
                10,
                10,
                vec![low(30.0), PolicyView { alarms: PolicyAlarms::Step(AlarmState::Ok), called: false, ..quiet() }],
            ),
        );
        assert!(memory.cooldowns[0].scale_in_until.is_some());
        let up = PolicyView { alarms: PolicyAlarms::Step(AlarmState::Alarm), ..high(80.0) };
        let (d, memory) = decide(&spec, &memory, &at(60, 5, 5, vec![quiet(), up]));
        assert_eq!(d.desired, Some(7));
        assert_eq!(memory.cooldowns[0].scale_in_until, None);
    }

    #[test]
    fn no_point_and_no_step_are_said() {
        let spec = scaling(vec![tracking(60.0), step(2)]);
        let memory = ScalingMemory::new(&spec);
        let blind = PolicyView { metric: None, ..high(0.0) };
        let under = PolicyView { alarms: PolicyAlarms::Step(AlarmState::Alarm), ..high(40.0) };
        let (d, _) = decide(&spec, &memory, &at(0, 5, 5, vec![blind, under]));
        assert_eq!(d.bounded_by, [Bound::NoMetric { policy: 0 }, Bound::NoStep { policy: 1 }]);
        assert_eq!(d.desired, None);
    }

    #[test]
    fn scheduled_actions_move_the_bounds_and_stay() {
        let mut spec = scaling(vec![]);
        let evening = ScheduledAction {
            schedule: "cron(0 18 * * ? *)".to_string(),
            timezone: "UTC".to_string(),
            min_capacity: Some(6),
            max_capacity: None,
            start_time: None,
            end_time: None,
        };
        spec.scheduled_actions.insert("evening".to_string(), evening);
        let memory = ScalingMemory::new(&spec);
        let (d, after) = scheduled(&spec, &memory, 0, 3);
        assert_eq!((d.desired, after.min, after.max), (Some(6), 6, 20));
        let off = suspend(&memory, SuspendedKinds { scheduled: true, ..SuspendedKinds::default() });
        let (d, after) = scheduled(&spec, &off, 0, 3);
        assert_eq!((d.desired, after.min), (None, 2));
    }

    #[test]
    fn decisions_and_memories_can_be_written_and_read() {
        let spec = scaling(vec![tracking(60.0)]);
        let obs = at(0, 4, 4, vec![high(120.0)]);
        let (d, memory) = decide(&spec, &ScalingMemory::new(&spec), &obs);
        let read: ScalingDecision = serde_json::from_str(&serde_json::to_string(&d).unwrap()).unwrap();
        assert_eq!(read, d);
        let read: ScalingMemory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
        assert_eq!(read, memory);
        let read: ScalingObservation = serde_json::from_str(&serde_json::to_string(&obs).unwrap()).unwrap();
        assert_eq!(read, obs);
    }
}
