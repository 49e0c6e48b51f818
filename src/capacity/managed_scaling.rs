//! Managed scaling of a capacity provider: how many instances its group should have.
//!
//! Rule: once a minute ECS reckons M, the instances that are needed, and publishes the reservation
//! `100 * M / N` of the N instances of the group. (Nothing there and nothing needed is 100; nothing there
//! and something needed is 200.)
//!
//! - No task waits: M = N less the instances that are empty (daemons do not count).
//! - Tasks wait: those with equal needs form a group; each group is packed on new instances, and the
//!   largest need counts: M = N + that, kept within one smallest and one largest step above N. Of several
//!   instance types the one that holds most tasks is reckoned with; a group that does not fit the type
//!   that holds fewest is left out, and with nothing else the metric stays where it is aimed at.
//! - The group aims at `ceil(100 * M / target)`. From no instance it goes to two first.
//! - One point above the target scales out, unless instances still warm up. Fifteen in a row below it
//!   scale in, then each further one does, by one instance at least and half of the group at most. A
//!   scale-out starts the fifteen anew. Below a target of 100 one instance always stays.
//!
//! Source: ECS developer guide, `managed-scaling-behavior`, `cluster-auto-scaling`,
//! `managed-termination-protection`; AWS Containers Blog, deep dive on cluster auto scaling (2020) and
//! faster scale-in (2022).
//!
//! Known departures: an instance warms up from its launch until `instanceWarmupPeriod` after it is in
//! service. A scale-in waits for the instances of the one before to be gone: 334 instances that went to
//! 34 by halves took ten minutes (AWS, 2022), longer than a minute each. Capacity that instances hold for
//! tasks that wait is not taken off the need, as the guide counts new instances only.

use serde::{Deserialize, Serialize};

use crate::cluster::Resources;
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{ManagedScaling, Switch};

/// Points in a row below the target that begin a scale-in. Source: ECS developer guide.
pub const SCALE_IN_POINTS: u32 = 15;
/// Instances that a group without any goes to first. Source: ECS developer guide.
pub const FROM_ZERO: u32 = 2;

/// Tasks in PROVISIONING with equal needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// What one of them takes.
    pub needs: Resources,
    /// Whether an instance holds only one of them: a fixed host port, or `distinctInstance`.
    pub one_each: bool,
    /// How many there are.
    pub tasks: u32,
}

/// How many tasks of a group an empty instance holds. A resource that a task does not use never limits.
#[must_use]
pub fn per_instance(group: &TaskGroup, instance: Resources) -> u32 {
    let ratio = |need: u64, have: u64| have.checked_div(need).unwrap_or(u64::MAX);
    let n = &group.needs;
    let fit = ratio(n.cpu.parts(), instance.cpu.parts())
        .min(ratio(n.memory.get(), instance.memory.get()))
        .min(ratio(u64::from(n.gpus), u64::from(instance.gpus)))
        .min(ratio(u64::from(n.enis), u64::from(instance.enis)));
    match group.one_each {
        true => fit.min(1) as u32,
        false => u32::try_from(fit).unwrap_or(u32::MAX),
    }
}

/// Instances that a group of waiting tasks needs, at least. `None` when its tasks do not fit the
/// instance type that holds fewest of them.
#[must_use]
pub fn instances_for(group: &TaskGroup, types: &[Resources]) -> Option<u32> {
    let fits = || types.iter().map(|t| per_instance(group, *t));
    match (fits().min(), fits().max()) {
        (Some(least), Some(most)) if least > 0 => Some(group.tasks.div_ceil(most)),
        _ => None,
    }
}

/// CapacityProviderReservation of `running` instances of which `needed` are needed, in percent.
#[must_use]
pub fn reservation(needed: u32, running: u32) -> f64 {
    match (needed, running) {
        (0, 0) => 100.0,
        (_, 0) => 200.0,
        (m, n) => f64::from(m) * 100.0 / f64::from(n),
    }
}

/// The instances that are needed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// M.
    pub instances: u32,
    /// Tasks that wait and that some instance type of the group can hold.
    pub waiting: u32,
    /// Tasks that wait and are left out, as they do not fit the type that holds fewest.
    pub left_out: u32,
    /// Where M comes from.
    pub reason: NeededReason,
}

/// Where M comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeededReason {
    /// No task waits and no instance is empty.
    AllInUse,
    /// No task waits, and some instances are empty.
    SomeEmpty,
    /// Tasks wait for instances.
    TasksWait,
    /// Tasks wait, but none of them fits every type of the group.
    NothingFits,
}

/// M for `running` instances of which `empty` run nothing but daemons, while `groups` wait.
#[must_use]
pub fn needed(running: u32, empty: u32, groups: &[TaskGroup], types: &[Resources]) -> Needed {
    let mut needed = Needed { instances: running, waiting: 0, left_out: 0, reason: NeededReason::AllInUse };
    let mut most = 0;
    for group in groups.iter().filter(|g| g.tasks > 0) {
        match instances_for(group, types) {
            Some(n) => {
                needed.waiting += group.tasks;
                most = most.max(n);
            }
            None => needed.left_out += group.tasks,
        }
    }
    if needed.waiting > 0 {
        needed.instances = running.saturating_add(most);
        needed.reason = NeededReason::TasksWait;
    } else if needed.left_out > 0 {
        needed.reason = NeededReason::NothingFits;
    } else if empty > 0 {
        needed.instances = running.saturating_sub(empty);
        needed.reason = NeededReason::SomeEmpty;
    }
    needed
}

/// The desired capacity that managed scaling aims at, from N, M and whether tasks wait.
#[must_use]
pub fn aim(spec: &ManagedScaling, running: u32, needed: u32, waiting: bool, min: u32, max: u32) -> u32 {
    if running == 0 && needed > 0 {
        return FROM_ZERO.clamp(min, max.max(min));
    }
    let mut m = u64::from(needed);
    if waiting {
        let least = u64::from(running) + u64::from(spec.minimum_scaling_step_size);
        m = m.clamp(least, (u64::from(running) + u64::from(spec.maximum_scaling_step_size)).max(least));
    }
    let mut desired = (m * 100).div_ceil(u64::from(spec.target_capacity.max(1)));
    if spec.target_capacity < 100 {
        // No instance at all is a reservation of 100, which lies above such a target.
        desired = desired.max(1);
    }
    u32::try_from(desired).unwrap_or(u32::MAX).clamp(min, max.max(min))
}

/// What managed scaling remembers of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedScalingMemory {
    /// Points in a row below the target.
    pub below: u32,
    /// When it last asked for more instances.
    pub scaled_out: Option<SimTime>,
}

/// What managed scaling sees each minute, when the minute's metric has been published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedScalingObservation {
    /// Now.
    pub now: SimTime,
    /// N at the end of the minute: instances of the group, those that are being launched included, those
    /// that are going excluded.
    pub running: u32,
    /// M at the end of the minute.
    pub needed: Needed,
    /// How old both are.
    pub age: SimDuration,
    /// The group's desired capacity now.
    pub desired: u32,
    /// Instances that are being launched, or in service for less than the warm-up period.
    pub warming: u32,
    /// Instances on their way out.
    pub terminating: u32,
    /// The group's minimum.
    pub min: u32,
    /// The group's maximum.
    pub max: u32,
}

/// What managed scaling asks of the group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedScalingDecision {
    /// The new desired capacity; `None` for no change.
    pub desired: Option<u32>,
    /// The published metric, in percent.
    pub reservation: f64,
    /// What it aims at, before waits and the bound of one scale-in.
    pub aim: u32,
    /// Why.
    pub reason: ManagedScalingReason,
}

/// Why managed scaling changes a group or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ManagedScalingReason {
    /// Managed scaling is off.
    Disabled,
    /// The metric is where it should be.
    AtTarget,
    /// Above the target: more instances.
    ScaleOut,
    /// Above the target, from no instance: two first.
    FromZero,
    /// Above the target, but instances still warm up.
    Warming {
        /// How many.
        instances: u32,
    },
    /// Above the target, but the group has been asked for as many already.
    AlreadyAsked,
    /// Above the target, but the group is as large as it may be.
    AtMaximum,
    /// Below the target, but not yet for long enough.
    WaitingToScaleIn {
        /// Points in a row so far.
        points: u32,
        /// Points that it takes.
        of: u32,
    },
    /// Below the target, but the instances of the last scale-in are not gone yet.
    Terminating {
        /// How many.
        instances: u32,
    },
    /// Below the target: fewer instances.
    ScaleIn,
    /// Below the target: fewer instances, but no more of them at once.
    ScaleInBounded,
    /// Below the target, but the group is as small as it should be.
    AtMinimum,
}

/// Decides once a minute.
#[must_use]
pub fn decide(
    spec: &ManagedScaling,
    memory: &ManagedScalingMemory,
    observed: &ManagedScalingObservation,
) -> (ManagedScalingDecision, ManagedScalingMemory) {
    use ManagedScalingReason as Reason;

    let mut after = *memory;
    let (n, m) = (observed.running, observed.needed.instances);
    let reservation = reservation(m, n);
    let aim = aim(spec, n, m, observed.needed.waiting > 0, observed.min, observed.max);
    let say = |desired, reason| ManagedScalingDecision { desired, reservation, aim, reason };
    if spec.status == Switch::Disabled {
        return (say(None, Reason::Disabled), after);
    }
    // Whole numbers, so that no rounding moves a point across the target.
    let target = u64::from(spec.target_capacity);
    let (seen, at) = match n {
        0 => (if m == 0 { 100 } else { 200 }, target),
        n => (u64::from(m) * 100, target * u64::from(n)),
    };
    if seen >= at {
        after.below = 0;
        let reason = if seen == at {
            Reason::AtTarget
        } else if observed.desired >= observed.max {
            Reason::AtMaximum
        } else if observed.warming > 0 {
            Reason::Warming { instances: observed.warming }
        } else if aim <= observed.desired {
            Reason::AlreadyAsked
        } else {
            after.scaled_out = Some(observed.now);
            let reason = if n == 0 { Reason::FromZero } else { Reason::ScaleOut };
            return (say(Some(aim), reason), after);
        };
        return (say(None, reason), after);
    }
    after.below = after.below.saturating_add(1);
    let reason = if after.below < SCALE_IN_POINTS {
        Reason::WaitingToScaleIn { points: after.below, of: SCALE_IN_POINTS }
    } else if aim >= observed.desired {
        Reason::AtMinimum
    } else if observed.terminating > 0 {
        Reason::Terminating { instances: observed.terminating }
    } else {
        let share = u64::from(observed.desired) * u64::from(spec.maximum_scale_in_percent.min(100)) / 100;
        let most = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        let floor = observed.desired.saturating_sub(most);
        let reason = if aim >= floor { Reason::ScaleIn } else { Reason::ScaleInBounded };
        return (say(Some(aim.max(floor)), reason), after);
    };
    (say(None, reason), after)
}

/// Whether managed termination protection protects an instance: it does while tasks run there that are
/// not daemons.
#[must_use]
pub const fn protects(protection: Switch, tasks: u32, daemons: u32) -> bool {
    matches!(protection, Switch::Enabled) && tasks > daemons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, Cpu};

    fn observed(running: u32, needed: u32, waiting: u32) -> ManagedScalingObservation {
        ManagedScalingObservation {
            now: SimTime::from_secs(600),
            running,
            needed: Needed { instances: needed, waiting, left_out: 0, reason: NeededReason::AllInUse },
            age: SimDuration::from_secs(30),
            desired: running,
            warming: 0,
            terminating: 0,
            min: 0,
            max: 400,
        }
    }

    fn size(cpu: u64, gib: u64) -> Resources {
        Resources { cpu: Cpu::from_vcpus(cpu), memory: Bytes::from_gib(gib), gpus: 0, enis: 0 }
    }

    #[test]
    fn the_largest_type_counts_and_the_smallest_guards() {
        let group = |cpu, gib| TaskGroup { needs: size(cpu, gib), one_each: false, tasks: 10 };
        let types = [size(2, 8), size(16, 64)];
        assert_eq!(instances_for(&group(1, 2), &types), Some(1));
        assert_eq!(instances_for(&group(4, 2), &types), None);
        let waiting = [group(1, 2), group(4, 2)];
        let m = needed(3, 1, &waiting, &types);
        assert_eq!((m.instances, m.waiting, m.left_out), (4, 10, 10));
        let alone = needed(3, 0, &waiting[1..], &types);
        assert_eq!((alone.instances, alone.reason), (3, NeededReason::NothingFits));
        assert_eq!(instances_for(&TaskGroup { one_each: true, ..group(1, 2) }, &types), Some(10));
        assert_eq!(instances_for(&group(1, 2), &[]), None);
    }

    #[test]
    fn scale_out_waits_for_those_that_warm_up() {
        let spec = ManagedScaling::default();
        let memory = ManagedScalingMemory { below: 9, scaled_out: None };
        let mut seen = observed(3, 7, 12);
        let (decision, after) = decide(&spec, &memory, &seen);
        assert_eq!((decision.desired, after.below), (Some(7), 0));
        seen.warming = 2;
        let (decision, _) = decide(&spec, &memory, &seen);
        assert_eq!((decision.desired, decision.reason), (None, ManagedScalingReason::Warming { instances: 2 }));
        seen.desired = 400;
        assert_eq!(decide(&spec, &memory, &seen).0.reason, ManagedScalingReason::AtMaximum);
        let none = decide(&spec, &memory, &observed(0, 7, 90)).0;
        assert_eq!((none.desired, none.reason, none.reservation), (Some(2), ManagedScalingReason::FromZero, 200.0));
    }

    #[test]
    fn scale_in_halves_after_a_quarter_of_an_hour() {
        let spec = ManagedScaling::default();
        let (mut memory, mut n, mut steps, mut minutes) = (ManagedScalingMemory::default(), 334, Vec::new(), 0);
        while n > 34 {
            minutes += 1;
            let (decision, after) = decide(&spec, &memory, &observed(n, 34, 0));
            memory = after;
            if let Some(desired) = decision.desired {
                n = desired;
                steps.push((minutes, n));
            }
        }
        assert_eq!(steps, [(15, 167), (16, 84), (17, 42), (18, 34)]);
        let busy = ManagedScalingObservation { terminating: 8, ..observed(42, 34, 0) };
        assert_eq!(decide(&spec, &memory, &busy).0.reason, ManagedScalingReason::Terminating { instances: 8 });
    }

    #[test]
    fn spare_instances_below_a_target_of_100() {
        let spec = ManagedScaling { target_capacity: 50, ..ManagedScaling::default() };
        assert_eq!(aim(&spec, 4, 2, false, 0, 10), 4);
        assert_eq!(decide(&spec, &ManagedScalingMemory::default(), &observed(4, 2, 0)).0.reason, {
            ManagedScalingReason::AtTarget
        });
        assert_eq!(aim(&spec, 4, 0, false, 0, 10), 1);
        assert_eq!(decide(&spec, &ManagedScalingMemory::default(), &observed(0, 0, 0)).0.desired, Some(1));
        assert_eq!(decide(&spec, &ManagedScalingMemory::default(), &observed(3, 2, 0)).0.desired, Some(4));
    }

    #[test]
    fn protection_follows_the_tasks() {
        assert!(protects(Switch::Enabled, 2, 1));
        assert!(!protects(Switch::Enabled, 1, 1));
        assert!(!protects(Switch::Disabled, 2, 0));
    }
}
