//! ECS Managed Instances: which types are launched, and when an instance goes.
//!
//! Rule: ECS launches the cheapest instance types that hold the tasks that wait, several tasks an
//! instance. When the last task of an instance stops, it is idle; when any task stops or an instance
//! comes up, instances whose service tasks fit on the others are underused (an instance with a
//! standalone task is left alone). After `scaleInAfter` an idle instance is deregistered at once, an
//! underused one drains first, new tasks before old ones stop. A new task on an idle instance ends its
//! wait; any start or stop on an underused one begins it anew. After 14 days an instance is drained, and
//! seven days later it is gone, whatever runs there.
//!
//! Source: ECS developer guide, `ManagedInstances`, `managed-instances-infrastructure-optimization`,
//! `managed-instances-patching`; ECS API, ManagedInstancesProvider.
//!
//! Known departures: how types are weighed and how an instance is judged underused is not public. Here
//! the type that holds all that waits for the least price an hour is taken (largest tasks first, each
//! instance filled before the next), and an instance is underused when its tasks fit into what is left
//! on the others, the emptiest instance first. Where ECS chooses the wait it is five minutes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::managed_scaling::{TaskGroup, per_instance};
use crate::cluster::Resources;
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::InfrastructureOptimization;
use crate::units::{NodeId, Usd};

/// Longest life of an instance before it is drained. Source: ECS developer guide.
pub const LONGEST_LIFE: SimDuration = SimDuration::from_secs(14 * 86_400);
/// Longest time that such an instance drains. Source: ECS developer guide.
pub const LONGEST_DRAIN: SimDuration = SimDuration::from_secs(7 * 86_400);
/// The wait where ECS chooses it. Not published: an assumption.
pub const CHOSEN_WAIT: SimDuration = SimDuration::from_secs(300);

/// An instance type that may be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The type, by its position in the list that the simulation keeps.
    pub kind: u32,
    /// What its instances register.
    pub size: Resources,
    /// Price of an hour in the market of the provider, fee included.
    pub price: Usd,
}

/// The types for what waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeChoice {
    /// Types in the order in which they are tried, the best first.
    pub order: Vec<Ranked>,
    /// Tasks that no type holds.
    pub left_out: u32,
    /// Why the first comes first.
    pub reason: TypeReason,
}

/// A type and what all that waits would take of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// The type.
    pub kind: u32,
    /// Instances of it.
    pub instances: u32,
    /// What they cost an hour.
    pub price: Usd,
    /// Tasks that they hold.
    pub tasks: u32,
}

/// Why a type comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeReason {
    /// It holds most tasks, for the least price.
    Cheapest,
    /// Nothing waits.
    NothingWaits,
    /// No type holds any task that waits.
    NothingFits,
}

/// The types to launch for the tasks that wait. At most `most` of them are named.
#[must_use]
pub fn choose_type(waiting: &[TaskGroup], offers: &[Offer], most: usize) -> TypeChoice {
    let total: u32 = waiting.iter().map(|g| g.tasks).fold(0, u32::saturating_add);
    let holds = |g: &TaskGroup| offers.iter().any(|o| per_instance(g, o.size) > 0);
    let left_out = waiting.iter().filter(|g| !holds(g)).map(|g| g.tasks).fold(0, u32::saturating_add);
    let mut order: Vec<Ranked> = offers.iter().filter_map(|o| pack(waiting, o)).collect();
    // A type that holds only some of the tasks is no bargain.
    order.sort_by_key(|r| (std::cmp::Reverse(r.tasks), r.price, r.instances, r.kind));
    order.truncate(most);
    let reason = match (total, order.is_empty()) {
        (0, _) => TypeReason::NothingWaits,
        (_, true) => TypeReason::NothingFits,
        _ => TypeReason::Cheapest,
    };
    TypeChoice { order, left_out, reason }
}

/// The instances of one type that the tasks take, largest first, each instance filled before the next.
fn pack(waiting: &[TaskGroup], offer: &Offer) -> Option<Ranked> {
    let mut left: Vec<TaskGroup> =
        waiting.iter().filter(|g| g.tasks > 0 && per_instance(g, offer.size) > 0).copied().collect();
    left.sort_by_key(|g| std::cmp::Reverse((g.needs.cpu, g.needs.memory, g.needs.gpus)));
    let tasks = left.iter().map(|g| g.tasks).fold(0, u32::saturating_add);
    let mut instances: u32 = 0;
    while left.iter().any(|g| g.tasks > 0) {
        let mut room = offer.size;
        let mut placed: Vec<u32> = Vec::with_capacity(left.len());
        for g in &left {
            let n = per_instance(g, room).min(g.tasks);
            room = room.minus(times(g.needs, n));
            placed.push(n);
        }
        // As many instances as can be filled just like this one.
        let alike = left.iter().zip(&placed).filter(|(_, n)| **n > 0).map(|(g, n)| g.tasks / n).min()?;
        for (g, n) in left.iter_mut().zip(&placed) {
            g.tasks -= n * alike;
        }
        instances = instances.saturating_add(alike);
    }
    let price = Usd::from_nanos(offer.price.nanos().saturating_mul(i64::from(instances)));
    (instances > 0).then_some(Ranked { kind: offer.kind, instances, price, tasks })
}

fn times(r: Resources, n: u32) -> Resources {
    use crate::units::{Bytes, Cpu};
    let by = u64::from(n);
    Resources {
        cpu: Cpu::from_parts(r.cpu.parts().saturating_mul(by)),
        memory: Bytes::new(r.memory.get().saturating_mul(by)),
        gpus: r.gpus.saturating_mul(n),
        enis: r.enis.saturating_mul(n),
    }
}

/// A task on an instance, as far as its going matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// What it takes.
    pub needs: Resources,
    /// Whether it was started by itself, not by a service.
    pub standalone: bool,
    /// Whether it is protected from scale-in.
    pub protected: bool,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedNode {
    /// The instance.
    pub node: NodeId,
    /// When it was launched.
    pub launched: SimTime,
    /// When it began to drain; absent while it takes tasks.
    pub draining: Option<SimTime>,
    /// Whether its agent has registered.
    pub registered: bool,
    /// What it registers.
    pub size: Resources,
    /// Tasks there that are not STOPPED, daemons aside.
    pub tasks: Vec<Resident>,
    /// Tasks that were started or stopped there so far: a change of it is an event.
    pub changes: u64,
    /// Its price an hour.
    pub price: Usd,
}

/// What Managed Instances see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedObservation {
    /// Now.
    pub now: SimTime,
    /// The instances that are not gone.
    pub nodes: Vec<ManagedNode>,
    /// Tasks that wait for an instance: while there are any, nothing is underused.
    pub waiting: u32,
}

/// What an instance waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Whether it is idle; otherwise underused.
    pub idle: bool,
    /// Since when.
    pub since: SimTime,
    /// The instance's changes at that time.
    pub changes: u64,
}

/// The instances that wait to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedMemory {
    /// By instance.
    pub waits: BTreeMap<NodeId, Wait>,
}

/// What becomes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManagedStep {
    /// It leaves the cluster at once.
    Deregister,
    /// It drains: new tasks start elsewhere before the old ones stop.
    Drain,
    /// It ends now, with what runs there.
    Stop,
}

/// An instance that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Going {
    /// The instance.
    pub node: NodeId,
    /// How.
    pub step: ManagedStep,
    /// Why.
    pub reason: GoingReason,
}

/// Why an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoingReason {
    /// Nothing has run there for long enough.
    Idle,
    /// Its tasks have fitted on the others for long enough.
    Underused,
    /// It has drained.
    Drained,
    /// It has reached the longest life.
    LongestLife,
    /// It has drained for the longest time.
    LongestDrain,
}

/// What is done, and when to look again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedDecision {
    /// Instances that go.
    pub going: Vec<Going>,
    /// The next instant at which a wait ends.
    pub next: Option<SimTime>,
}

/// How long an instance waits before it goes; `None` for ever.
#[must_use]
pub fn wait_of(optimization: &InfrastructureOptimization) -> Option<SimDuration> {
    match optimization.scale_in_after {
        None => Some(CHOSEN_WAIT),
        Some(seconds) => u64::try_from(seconds).ok().map(SimDuration::from_secs),
    }
}

/// Decides which instances go.
#[must_use]
pub fn decide(
    optimization: &InfrastructureOptimization,
    memory: &ManagedMemory,
    observed: &ManagedObservation,
) -> (ManagedDecision, ManagedMemory) {
    let now = observed.now;
    let mut decision = ManagedDecision::default();
    let mut after = ManagedMemory::default();
    let mut goes = |node: &ManagedNode, step, reason| decision.going.push(Going { node: node.node, step, reason });
    let mut next: Option<SimTime> = None;
    let mut later = |at: SimTime| next = Some(next.map_or(at, |n: SimTime| n.min(at)));

    let mut open: Vec<&ManagedNode> = Vec::new();
    for node in &observed.nodes {
        if let Some(since) = node.draining {
            let hard = since + LONGEST_DRAIN;
            if node.tasks.is_empty() {
                goes(node, ManagedStep::Deregister, GoingReason::Drained);
            } else if now >= hard {
                goes(node, ManagedStep::Stop, GoingReason::LongestDrain);
            } else {
                later(hard);
            }
        } else if now >= node.launched + LONGEST_LIFE {
            goes(node, ManagedStep::Drain, GoingReason::LongestLife);
        } else {
            later(node.launched + LONGEST_LIFE);
            if node.registered {
                open.push(node);
            }
        }
    }
    let Some(wait) = wait_of(optimization) else {
        decision.next = next;
        return (decision, after);
    };
    let underused = underused(&open, observed.waiting);
    for node in open {
        let idle = node.tasks.is_empty();
        if !idle && !underused.contains(&node.node) {
            continue;
        }
        let kept = memory.waits.get(&node.node).filter(|w| w.idle == idle && w.changes == node.changes);
        let held = kept.copied().unwrap_or(Wait { idle, since: now, changes: node.changes });
        if now >= held.since + wait {
            match idle {
                true => goes(node, ManagedStep::Deregister, GoingReason::Idle),
                false => goes(node, ManagedStep::Drain, GoingReason::Underused),
            }
        } else {
            later(held.since + wait);
            after.waits.insert(node.node, held);
        }
    }
    decision.next = next;
    (decision, after)
}

/// The instances whose tasks all fit on the others, the emptiest first, each with those before it gone.
fn underused(open: &[&ManagedNode], waiting: u32) -> Vec<NodeId> {
    if waiting > 0 {
        return Vec::new();
    }
    let used = |n: &ManagedNode| n.tasks.iter().fold(Resources::ZERO, |sum, t| sum.plus(t.needs));
    let mut room: BTreeMap<NodeId, Resources> =
        open.iter().filter(|n| !n.tasks.is_empty()).map(|n| (n.node, n.size.minus(used(n)))).collect();
    let mut order: Vec<&&ManagedNode> = open.iter().filter(|n| !n.tasks.is_empty()).collect();
    order.sort_by_key(|n| (used(n).cpu, used(n).memory, std::cmp::Reverse(n.price), n.node));
    let (mut found, mut taken) = (Vec::new(), BTreeSet::new());
    for node in order {
        // One that is to take the tasks of another has to stay for them.
        if taken.contains(&node.node) || node.tasks.iter().any(|t| t.standalone || t.protected) {
            continue;
        }
        let mut others = room.clone();
        others.remove(&node.node);
        let mut tasks: Vec<Resources> = node.tasks.iter().map(|t| t.needs).collect();
        tasks.sort_by_key(|r| std::cmp::Reverse((r.cpu, r.memory)));
        let mut takers = Vec::new();
        let fit = tasks.iter().all(|need| match others.iter_mut().find(|(_, r)| r.lacks(*need).is_none()) {
            Some((taker, space)) => {
                *space = space.minus(*need);
                takers.push(*taker);
                true
            }
            None => false,
        });
        if fit {
            room = others;
            taken.extend(takers);
            found.push(node.node);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, Cpu};

    fn size(vcpus: u64, gib: u64) -> Resources {
        Resources { cpu: Cpu::from_vcpus(vcpus), memory: Bytes::from_gib(gib), gpus: 0, enis: 0 }
    }

    fn offer(kind: u32, vcpus: u64, gib: u64, milli_usd: i64) -> Offer {
        Offer { kind, size: size(vcpus, gib), price: Usd::from_nanos(milli_usd * 1_000_000) }
    }

    fn group(vcpus: u64, gib: u64, tasks: u32) -> TaskGroup {
        TaskGroup { needs: size(vcpus, gib), one_each: false, tasks }
    }

    #[test]
    fn the_cheapest_that_holds_everything() {
        let offers = [offer(0, 2, 4, 80), offer(1, 8, 16, 300), offer(2, 8, 64, 500)];
        let first = |waiting: &[TaskGroup]| {
            let choice = choose_type(waiting, &offers, 3);
            choice.order.first().map(|r| (r.kind, r.instances, r.tasks))
        };
        // One small task: the small type. Eight of them: one large instance costs less than four small ones.
        assert_eq!(first(&[group(1, 2, 1)]), Some((0, 1, 1)));
        assert_eq!(first(&[group(1, 2, 8)]), Some((1, 1, 8)));
        // A task that needs memory goes to the type that has it, and the others with it.
        assert_eq!(first(&[group(1, 2, 4), group(2, 32, 1)]), Some((2, 1, 5)));
        assert_eq!(first(&[group(1, 2, 100)]), Some((1, 13, 100)));
        let none = choose_type(&[group(64, 1, 2)], &offers, 3);
        assert_eq!((none.left_out, none.reason), (2, TypeReason::NothingFits));
        assert_eq!(choose_type(&[], &offers, 3).reason, TypeReason::NothingWaits);
    }

    fn node(id: u32, vcpus: u64, tasks: &[u64]) -> ManagedNode {
        let needs = |v: &u64| Resident { needs: size(*v, 1), standalone: false, protected: false };
        ManagedNode {
            node: NodeId(id),
            launched: SimTime::ZERO,
            draining: None,
            registered: true,
            size: size(vcpus, 64),
            tasks: tasks.iter().map(needs).collect(),
            changes: tasks.len() as u64,
            price: Usd::from_nanos(1),
        }
    }

    fn at(secs: u64, nodes: Vec<ManagedNode>) -> ManagedObservation {
        ManagedObservation { now: SimTime::from_secs(secs), nodes, waiting: 0 }
    }

    fn after(seconds: i32) -> InfrastructureOptimization {
        InfrastructureOptimization { scale_in_after: Some(seconds) }
    }

    #[test]
    fn an_idle_instance_goes_unless_a_task_comes() {
        let seen = at(0, vec![node(0, 4, &[]), node(1, 4, &[4])]);
        let (decision, memory) = decide(&after(60), &ManagedMemory::default(), &seen);
        assert_eq!((decision.going.len(), decision.next), (0, Some(SimTime::from_secs(60))));
        let (decision, _) = decide(&after(60), &memory, &at(60, seen.nodes.clone()));
        let gone = Going { node: NodeId(0), step: ManagedStep::Deregister, reason: GoingReason::Idle };
        assert_eq!(decision.going, [gone]);
        let (decision, memory) = decide(&after(60), &memory, &at(60, vec![node(0, 4, &[4]), node(1, 4, &[4])]));
        assert!(decision.going.is_empty() && memory.waits.is_empty());
        assert!(decide(&after(-1), &memory, &at(9_000, seen.nodes)).0.going.is_empty());
    }

    #[test]
    fn an_underused_instance_drains_after_a_wait_without_events() {
        let nodes = vec![node(0, 4, &[1, 1]), node(1, 4, &[1, 1]), node(2, 4, &[1, 1, 1])];
        let (_, memory) = decide(&after(60), &ManagedMemory::default(), &at(0, nodes.clone()));
        // The tasks of the first (emptiest of two alike) fit on the others; then nothing else does.
        assert_eq!(memory.waits.keys().copied().collect::<Vec<_>>(), [NodeId(0)]);
        let mut moved = nodes.clone();
        moved[0].changes += 1;
        let (_, again) = decide(&after(60), &memory, &at(30, moved.clone()));
        assert_eq!(again.waits[&NodeId(0)].since, SimTime::from_secs(30));
        assert!(decide(&after(60), &again, &at(60, moved.clone())).0.going.is_empty());
        let (decision, _) = decide(&after(60), &again, &at(90, moved));
        assert_eq!((decision.going[0].step, decision.going[0].reason), (ManagedStep::Drain, GoingReason::Underused));
        let mut alone = nodes;
        alone[0].tasks[0].standalone = true;
        let (_, memory) = decide(&after(60), &ManagedMemory::default(), &at(0, alone));
        assert!(!memory.waits.contains_key(&NodeId(0)));
    }

    #[test]
    fn fourteen_days_then_seven() {
        let day = 86_400;
        let mut old = node(0, 4, &[4]);
        let (decision, _) = decide(&after(-1), &ManagedMemory::default(), &at(14 * day, vec![old.clone()]));
        assert_eq!((decision.going[0].step, decision.going[0].reason), (ManagedStep::Drain, GoingReason::LongestLife));
        old.draining = Some(SimTime::from_secs(14 * day));
        let (decision, _) = decide(&after(-1), &ManagedMemory::default(), &at(15 * day, vec![old.clone()]));
        assert_eq!((decision.going.len(), decision.next), (0, Some(SimTime::from_secs(21 * day))));
        let (decision, _) = decide(&after(-1), &ManagedMemory::default(), &at(21 * day, vec![old.clone()]));
        assert_eq!(decision.going[0].step, ManagedStep::Stop);
        old.tasks.clear();
        let (decision, _) = decide(&after(-1), &ManagedMemory::default(), &at(15 * day, vec![old]));
        assert_eq!(decision.going[0].reason, GoingReason::Drained);
    }
}
