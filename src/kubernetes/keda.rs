//! KEDA: a workload between nothing and one replica by itself, above that through the HPA.
//!
//! Rule: every 30 s KEDA asks each trigger for its backlog. One that is above its activation threshold makes the
//! object active: a workload at nothing is set to `minReplicaCount`, at least 1. Without an active trigger for
//! the cooldown of 300 s a workload that may go to nothing goes there. From one replica on an HPA that KEDA made
//! decides, by external metrics with an average value; while the size is 0 that HPA is off.
//!
//! Source: `pkg/scaling/executor/scale_scaledobjects.go` of kedacore/keda; KEDA documentation, ScaledObject
//! specification and the scaler for AWS SQS.

use serde::{Deserialize, Serialize};

use super::hpa::{Behavior, HpaSpec, MetricSpec, TotalTarget};
use crate::kernel::{SimDuration, SimTime};

/// A ScaledObject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaledObject {
    /// `pollingInterval`: 30 s.
    pub polling_interval: SimDuration,
    /// `cooldownPeriod`: 300 s from the last time a trigger was active; only on the way to nothing.
    pub cooldown_period: SimDuration,
    /// `initialCooldownPeriod`: 0 s from the object's creation, while no trigger has been active yet.
    pub initial_cooldown_period: SimDuration,
    /// `idleReplicaCount`: the size without an active trigger, below `min_replica_count`; only 0 works with the HPA.
    pub idle_replica_count: Option<u32>,
    /// `minReplicaCount`: 0.
    pub min_replica_count: u32,
    /// `maxReplicaCount`: 100.
    pub max_replica_count: u32,
    /// `fallback`: the size after failures of a trigger.
    pub fallback: Option<Fallback>,
    /// `triggers`: at least one.
    pub triggers: Vec<QueueTrigger>,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`.
    pub behavior: Option<Behavior>,
}

impl Default for ScaledObject {
    fn default() -> Self {
        Self {
            polling_interval: SimDuration::from_secs(30),
            cooldown_period: SimDuration::from_secs(300),
            initial_cooldown_period: SimDuration::ZERO,
            idle_replica_count: None,
            min_replica_count: 0,
            max_replica_count: 100,
            fallback: None,
            triggers: Vec::new(),
            behavior: None,
        }
    }
}

/// What happens when a trigger cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// `failureThreshold`: failures in a row, above which it takes hold.
    pub failure_threshold: u32,
    /// `replicas`.
    pub replicas: u32,
}

/// A trigger on a queue, as that of type `aws-sqs-queue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTrigger {
    /// The queue's name.
    pub name: String,
    /// `queueLength`: messages for each replica, 5.
    pub queue_length: u32,
    /// `activationQueueLength`: above so many messages it is active, 0.
    pub activation_queue_length: u64,
    /// `scaleOnInFlight`: whether messages count that a consumer has, true.
    pub scale_on_in_flight: bool,
    /// `scaleOnDelayed`: whether messages count that may not be read yet, false.
    pub scale_on_delayed: bool,
}

impl Default for QueueTrigger {
    fn default() -> Self {
        Self {
            name: String::new(),
            queue_length: 5,
            activation_queue_length: 0,
            scale_on_in_flight: true,
            scale_on_delayed: false,
        }
    }
}

impl QueueTrigger {
    /// The messages that count.
    #[must_use]
    pub fn backlog(&self, visible: u64, in_flight: u64, delayed: u64) -> u64 {
        let in_flight = if self.scale_on_in_flight { in_flight } else { 0 };
        let delayed = if self.scale_on_delayed { delayed } else { 0 };
        visible.saturating_add(in_flight).saturating_add(delayed)
    }

    /// Whether a backlog makes it active.
    #[must_use]
    pub const fn active(&self, backlog: u64) -> bool {
        backlog > self.activation_queue_length
    }

    /// A backlog as the reading of its external metric, in thousandths.
    #[must_use]
    pub fn reading(backlog: u64) -> i64 {
        i64::try_from(backlog).unwrap_or(i64::MAX).saturating_mul(1_000)
    }
}

impl ScaledObject {
    /// The HPA that KEDA makes: one external metric for each trigger, in their order, from at least one replica up.
    #[must_use]
    pub fn hpa(&self) -> HpaSpec {
        let metric = |trigger: &QueueTrigger| MetricSpec::External {
            name: trigger.name.clone(),
            target: TotalTarget::AverageValue(i64::from(trigger.queue_length.max(1)) * 1_000),
        };
        HpaSpec {
            min_replicas: self.min_replica_count.max(1),
            max_replicas: self.max_replica_count.max(1),
            metrics: self.triggers.iter().map(metric).collect(),
            behavior: self.behavior.clone(),
        }
    }
}

/// What KEDA remembers of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KedaMemory {
    /// When the object was made.
    pub created: SimTime,
    /// When a trigger was last seen active.
    pub last_active: Option<SimTime>,
    /// Polls in a row in which a trigger could not be asked.
    pub failures: u32,
}

/// Why KEDA did what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KedaReason {
    /// A trigger is active and the workload was at nothing or idle.
    Activated,
    /// A trigger is active; the size is the HPA's affair.
    Active,
    /// No trigger is active and the cooldown is over.
    CooledDown,
    /// No trigger is active, but the cooldown is not over.
    CoolingDown,
    /// No trigger is active and the size was below the minimum.
    RaisedToMinimum,
    /// No trigger is active, and it may not go lower.
    Idle,
    /// A trigger could not be asked: nothing is changed.
    TriggerFailed,
    /// Triggers could not be asked for too long.
    FellBack,
}

/// What a poll led to. The next is due after [`ScaledObject::polling_interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KedaDecision {
    /// The size that KEDA writes; absent if it leaves it.
    pub replicas: Option<u32>,
    /// Why.
    pub reason: KedaReason,
    /// When the cooldown ends, while it runs.
    pub cooled_down_at: Option<SimTime>,
}

/// One poll. `backlogs` holds what counts for each trigger, in their order; absent for one that could not be asked.
#[must_use]
pub fn poll(
    object: &ScaledObject,
    mut memory: KedaMemory,
    replicas: u32,
    backlogs: &[Option<u64>],
    now: SimTime,
) -> (KedaDecision, KedaMemory) {
    let decide = |replicas, reason| KedaDecision { replicas, reason, cooled_down_at: None };
    let asked = || object.triggers.iter().enumerate().map(|(at, t)| (t, backlogs.get(at).copied().flatten()));
    let active = asked().any(|(trigger, backlog)| backlog.is_some_and(|b| trigger.active(b)));
    let failed = asked().any(|(_, backlog)| backlog.is_none());
    memory.failures = if failed { memory.failures.saturating_add(1) } else { 0 };
    let min = object.min_replica_count;
    if active {
        memory.last_active = Some(now);
        let idle = object.idle_replica_count.is_some() && replicas < min;
        let decision = if replicas == 0 || idle {
            decide(Some(min.max(1)), KedaReason::Activated)
        } else {
            decide(None, KedaReason::Active)
        };
        return (decision, memory);
    }
    if failed {
        let decision = match object.fallback {
            Some(fallback) if memory.failures > fallback.failure_threshold => {
                decide((replicas != fallback.replicas).then_some(fallback.replicas), KedaReason::FellBack)
            }
            _ => decide(None, KedaReason::TriggerFailed),
        };
        return (decision, memory);
    }
    let rest = match object.idle_replica_count {
        Some(idle) if replicas > idle => Some(idle),
        None if replicas > 0 && min == 0 => Some(0),
        _ => None,
    };
    let decision = match rest {
        Some(rest) => {
            let until = match memory.last_active {
                Some(last) => last + object.cooldown_period,
                None => memory.created + object.initial_cooldown_period,
            };
            // The end of the cooldown itself still belongs to it; without one there is nothing to wait for.
            let over = if memory.last_active.is_some() { now > until } else { now >= until };
            if over {
                decide(Some(rest), KedaReason::CooledDown)
            } else {
                KedaDecision { cooled_down_at: Some(until), ..decide(None, KedaReason::CoolingDown) }
            }
        }
        None if replicas < min && object.idle_replica_count.is_none() => decide(Some(min), KedaReason::RaisedToMinimum),
        None => decide(None, KedaReason::Idle),
    };
    (decision, memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::hpa::{HpaMemory, HpaSettings, Observation, Reading, Replicas, sync};

    fn at(s: u64) -> SimTime {
        SimTime::from_secs(s)
    }

    fn queue() -> ScaledObject {
        ScaledObject {
            triggers: vec![QueueTrigger { name: "jobs".into(), activation_queue_length: 2, ..QueueTrigger::default() }],
            ..ScaledObject::default()
        }
    }

    #[test]
    fn from_nothing_and_back() {
        let object = queue();
        let memory = KedaMemory::default();
        let (decision, memory) = poll(&object, memory, 0, &[Some(2)], at(30));
        assert_eq!((decision.replicas, decision.reason), (None, KedaReason::Idle), "at the threshold is not above it");
        let (decision, memory) = poll(&object, memory, 0, &[Some(3)], at(60));
        assert_eq!(decision.replicas, Some(1));
        let (decision, memory) = poll(&object, memory, 4, &[Some(30)], at(90));
        assert_eq!(decision.reason, KedaReason::Active);
        let (decision, memory) = poll(&object, memory, 1, &[Some(0)], at(390));
        assert_eq!((decision.replicas, decision.cooled_down_at), (None, Some(at(390))));
        let (decision, _) = poll(&object, memory, 1, &[Some(0)], at(420));
        assert_eq!((decision.replicas, decision.reason), (Some(0), KedaReason::CooledDown));
    }

    #[test]
    fn the_minimum_is_held_without_a_trigger() {
        let object = ScaledObject { min_replica_count: 3, ..queue() };
        let (decision, _) = poll(&object, KedaMemory::default(), 1, &[Some(0)], at(30));
        assert_eq!(decision.replicas, Some(3));
        let idle = ScaledObject { idle_replica_count: Some(0), ..object };
        let (decision, memory) = poll(&idle, KedaMemory::default(), 3, &[Some(0)], at(30));
        assert_eq!(decision.replicas, Some(0));
        assert_eq!(poll(&idle, memory, 0, &[Some(9)], at(60)).0.replicas, Some(3));
    }

    #[test]
    fn a_failing_trigger_changes_nothing_until_the_fallback() {
        let object = ScaledObject { fallback: Some(Fallback { failure_threshold: 2, replicas: 6 }), ..queue() };
        let mut memory = KedaMemory::default();
        let mut sizes = Vec::new();
        for n in 1..=3 {
            let (decision, next) = poll(&object, memory, 1, &[None], at(30 * n));
            sizes.push(decision.replicas);
            memory = next;
        }
        assert_eq!(sizes, [None, None, Some(6)]);
    }

    #[test]
    fn the_hpa_takes_over_from_one() {
        let spec = queue().hpa();
        assert_eq!((spec.min_replicas, spec.max_replicas), (1, 100));
        let backlog = [QueueTrigger::reading(QueueTrigger::default().backlog(40, 5, 9))];
        let seen = Observation {
            replicas: Replicas { spec: 1, status: 1 },
            pods: &[],
            readings: &[Reading::External(&backlog)],
        };
        let (decision, _) = sync(&spec, &HpaSettings::default(), HpaMemory::default(), &seen, at(0));
        assert_eq!((decision.proposal, decision.replicas), (Some(9), 4));
        let none = Observation { replicas: Replicas { spec: 0, status: 0 }, ..seen };
        let (off, _) = sync(&spec, &HpaSettings::default(), HpaMemory::default(), &none, at(0));
        assert!(!off.rescales());
    }
}
