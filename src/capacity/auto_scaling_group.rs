//! An EC2 Auto Scaling group: how it is kept at its desired capacity, over zones and markets.
//!
//! Rule: an instance that fails its health check is terminated and replaced. Missing instances are
//! launched in the usable zone that has fewest; of a mixed group On-Demand first, as far as its part
//! goes. Surplus instances go by the termination policies, protected ones never. When zones drift apart
//! by two or more the group rebalances: it launches in the poor zone before it terminates in the rich
//! one, and may exceed its maximum meanwhile by a tenth, by one at least. Capacity rebalancing does the
//! same for a Spot instance with a rebalance recommendation. A zone without capacity is passed over
//! with `balanced-best-effort`, and waited for with `balanced-only`.
//!
//! Source: EC2 Auto Scaling user guide, `auto-scaling-benefits`, `ec2-auto-scaling-availability-zone-balanced`,
//! `ec2-auto-scaling-capacity-rebalancing`, `ec2-auto-scaling-termination-policies`.
//!
//! Known departures: how a tenth is rounded is not documented; here it is rounded down. A zone that is
//! out is not rebalanced to. Of zones with equally few instances the lower one comes first. The pools of
//! a launch are those of one zone: with Spot the depth of pools does not move launches between zones.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mixed_instances::{Pool, Split, next_market, preference, split_of};
use super::termination::{Candidate, ChoiceReason, ChoiceRules, choose};
use crate::cluster::{LifeCycle, Market};
use crate::kernel::SimTime;
use crate::scenario::model::{CapacityDistribution, Ec2};
use crate::units::{NodeId, ZoneId};

/// Instances above its maximum that a group may have while it rebalances.
#[must_use]
pub const fn overshoot(max: u32) -> u32 {
    let tenth = max / 10;
    if tenth > 1 { tenth } else { 1 }
}

/// An instance of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What a choice at scale-in goes by.
    pub candidate: Candidate,
    /// Where it is in its life; instances of the warm pool are no members.
    pub life: LifeCycle,
    /// Whether it passes its health checks.
    pub healthy: bool,
    /// Whether EC2 recommends to replace it.
    pub rebalance_recommended: bool,
}

/// A zone of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupZone {
    /// The zone.
    pub zone: ZoneId,
    /// Whether launches there may succeed: false after one has failed, until it is tried again.
    pub usable: bool,
}

/// What a group sees of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupObservation {
    /// Now.
    pub now: SimTime,
    /// The desired capacity.
    pub desired: u32,
    /// The maximum.
    pub max: u32,
    /// Its instances, those that are being launched or terminated included.
    pub members: Vec<Member>,
    /// Its zones.
    pub zones: Vec<GroupZone>,
    /// Its pools.
    pub pools: Vec<Pool>,
    /// Seed of the choices by chance.
    pub seed: u64,
}

/// What a group remembers: instances that go once others have taken their place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// Instances that are being replaced, in the order in which it began, and why.
    pub replacing: Vec<(NodeId, ReplaceReason)>,
}

/// Why an instance is replaced before it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplaceReason {
    /// Its zone has too many instances.
    Zones,
    /// EC2 recommended to rebalance it.
    Recommendation,
}

/// An instance to launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Where.
    pub zone: ZoneId,
    /// How it is bought.
    pub market: Market,
    /// Instance types in the order in which they are tried, by their positions in the group's list.
    pub kinds: Vec<u32>,
    /// Why.
    pub reason: LaunchReason,
}

/// Why an instance is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchReason {
    /// There are fewer than desired.
    BelowDesired,
    /// In place of one that goes for the balance of zones.
    Zones,
    /// In place of one with a rebalance recommendation.
    Recommendation,
}

/// An instance to terminate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// The instance.
    pub node: NodeId,
    /// Why.
    pub reason: TerminationReason,
}

/// Why an instance is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TerminationReason {
    /// It failed its health check.
    Unhealthy,
    /// There are more than desired; why this one.
    AboveDesired {
        /// What narrowed the choice last.
        by: ChoiceReason,
    },
    /// Another instance has taken its place.
    Replaced {
        /// Why it was replaced.
        because: ReplaceReason,
    },
}

impl fmt::Display for LaunchReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowDesired => "fewer than desired",
            Self::Zones => "to balance zones",
            Self::Recommendation => "in place of one with a rebalance recommendation",
        })
    }
}

impl fmt::Display for TerminationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unhealthy => f.write_str("failed its health check"),
            Self::AboveDesired { by } => write!(f, "more than desired: {by}"),
            Self::Replaced { because: ReplaceReason::Zones } => f.write_str("replaced to balance zones"),
            Self::Replaced { because: ReplaceReason::Recommendation } => {
                f.write_str("replaced after a rebalance recommendation")
            }
        }
    }
}

/// What a group does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDecision {
    /// Instances to launch, in this order.
    pub launches: Vec<Launch>,
    /// Instances to terminate.
    pub terminations: Vec<Termination>,
    /// Launches that are missing and for which no usable zone sells anything.
    pub unmet: u32,
    /// Surplus instances that stay because they are protected.
    pub protected: u32,
}

/// What a member counts as.
fn alive(m: &Member) -> bool {
    matches!(m.life, LifeCycle::Pending | LifeCycle::InService)
}

/// Brings a group to its desired capacity.
#[must_use]
pub fn decide(group: &Ec2, memory: &GroupMemory, observed: &GroupObservation) -> (GroupDecision, GroupMemory) {
    let mut decision = GroupDecision::default();
    // An unhealthy instance counts no more: it goes, protected or not.
    let mut members: Vec<Member> = Vec::with_capacity(observed.members.len());
    for m in observed.members.iter().filter(|m| alive(m)) {
        match m.healthy {
            true => members.push(*m),
            false => {
                decision.terminations.push(Termination { node: m.candidate.node, reason: TerminationReason::Unhealthy })
            }
        }
    }
    let mut memory = memory.clone();
    memory.replacing.retain(|(node, _)| members.iter().any(|m| m.candidate.node == *node));
    let count = members.len() as u32;
    let in_service = members.iter().filter(|m| m.life == LifeCycle::InService).count() as u32;

    let surplus = count.saturating_sub(observed.desired);
    // A launch for the balance of zones that found nothing is given up: elsewhere it would balance nothing.
    while memory.replacing.len() > surplus as usize {
        let Some(at) = memory.replacing.iter().rposition(|(_, why)| *why == ReplaceReason::Zones) else { break };
        memory.replacing.remove(at);
    }
    let replaced = memory.replacing.len() as u32;
    if surplus > replaced {
        // Scale-in: those that were to go anyway are among the first.
        scale_in(group, &memory, observed, &members, surplus, &mut decision);
    } else if surplus > 0 {
        // Replacements exist: the old ones go as soon as enough others are in service.
        let spare = in_service.saturating_sub(observed.desired).min(surplus) as usize;
        for (node, because) in memory.replacing.iter().take(spare) {
            decision
                .terminations
                .push(Termination { node: *node, reason: TerminationReason::Replaced { because: *because } });
        }
    }
    let gone = |node: NodeId, decision: &GroupDecision| decision.terminations.iter().any(|t| t.node == node);
    memory.replacing.retain(|(node, _)| !gone(*node, &decision));
    members.retain(|m| !gone(m.candidate.node, &decision));

    let settled = members.len() as u32 == observed.desired && members.iter().all(|m| m.life == LifeCycle::InService);
    if surplus == 0 {
        recommend(group, &mut memory, observed, &members);
        if settled && memory.replacing.is_empty() {
            rebalance(group, &mut memory, observed, &members);
        }
    }
    launch(group, &memory, observed, &members, &mut decision);
    (decision, memory)
}

/// Chooses what goes when there are more instances than desired.
fn scale_in(
    group: &Ec2,
    memory: &GroupMemory,
    observed: &GroupObservation,
    members: &[Member],
    surplus: u32,
    decision: &mut GroupDecision,
) {
    let mut left = surplus;
    for (node, because) in &memory.replacing {
        if left > 0 {
            left -= 1;
            decision
                .terminations
                .push(Termination { node: *node, reason: TerminationReason::Replaced { because: *because } });
        }
    }
    let open: Vec<Candidate> = members
        .iter()
        .map(|m| m.candidate)
        .filter(|c| !memory.replacing.iter().any(|(node, _)| *node == c.node))
        .collect();
    let rules = ChoiceRules {
        policies: &group.termination_policies,
        distribution: &group.mixed_instances,
        wanted: split_of(observed.desired, &group.mixed_instances),
        pools: &observed.pools,
        now: observed.now,
        seed: observed.seed,
    };
    let chosen = choose(&rules, &open, left);
    decision.protected = left - chosen.len() as u32;
    decision.terminations.extend(
        chosen.iter().map(|c| Termination { node: c.node, reason: TerminationReason::AboveDesired { by: c.reason } }),
    );
}

/// Begins to replace Spot instances with a recommendation.
fn recommend(group: &Ec2, memory: &mut GroupMemory, observed: &GroupObservation, members: &[Member]) {
    if !group.capacity_rebalance {
        return;
    }
    let most = room(observed, memory);
    let recommended = members
        .iter()
        .filter(|m| m.rebalance_recommended && m.life == LifeCycle::InService)
        .map(|m| (m.candidate.node, ReplaceReason::Recommendation))
        .filter(|(node, _)| !memory.replacing.iter().any(|(n, _)| n == node));
    let new: Vec<_> = recommended.take(most as usize).collect();
    memory.replacing.extend(new);
}

/// How many more instances may be replaced at once.
fn room(observed: &GroupObservation, memory: &GroupMemory) -> u32 {
    let limit = observed.max.saturating_add(overshoot(observed.max));
    limit.saturating_sub(observed.desired).saturating_sub(memory.replacing.len() as u32)
}

/// Begins to replace instances of rich zones by instances of poor ones.
fn rebalance(group: &Ec2, memory: &mut GroupMemory, observed: &GroupObservation, members: &[Member]) {
    let usable: Vec<ZoneId> = observed.zones.iter().filter(|z| z.usable).map(|z| z.zone).collect();
    let mut left: Vec<Candidate> = members.iter().map(|m| m.candidate).collect();
    let mut counts: Vec<(ZoneId, u32)> = observed.zones.iter().map(|z| (z.zone, 0)).collect();
    for c in &left {
        if let Some((_, n)) = counts.iter_mut().find(|(z, _)| *z == c.zone) {
            *n += 1;
        }
    }
    let mut room = room(observed, memory);
    while room > 0 {
        let poorest = counts.iter().filter(|(z, _)| usable.contains(z)).min_by_key(|(z, n)| (*n, *z)).copied();
        let richest = counts.iter().max_by_key(|(z, n)| (*n, std::cmp::Reverse(*z))).copied();
        let (Some((poor, few)), Some((rich, many))) = (poorest, richest) else { break };
        if many < few + 2 {
            break;
        }
        let here: Vec<Candidate> = left.iter().filter(|c| c.zone == rich).copied().collect();
        let rules = ChoiceRules {
            policies: &group.termination_policies,
            distribution: &group.mixed_instances,
            wanted: split_of(observed.desired, &group.mixed_instances),
            pools: &observed.pools,
            now: observed.now,
            seed: observed.seed,
        };
        let Some(old) = choose(&rules, &here, 1).first().map(|c| c.node) else { break };
        left.retain(|c| c.node != old);
        for (zone, n) in &mut counts {
            *n = *n + u32::from(*zone == poor) - u32::from(*zone == rich);
        }
        memory.replacing.push((old, ReplaceReason::Zones));
        room -= 1;
    }
}

/// Launches what is missing, and what replaces others.
fn launch(
    group: &Ec2,
    memory: &GroupMemory,
    observed: &GroupObservation,
    members: &[Member],
    decision: &mut GroupDecision,
) {
    let replaced = |node: NodeId| memory.replacing.iter().any(|(n, _)| *n == node);
    let staying: Vec<&Member> = members.iter().filter(|m| !replaced(m.candidate.node)).collect();
    // What replaces others is missing among those that stay.
    let limit = observed.max.saturating_add(overshoot(observed.max)).max(observed.desired);
    let room = limit.saturating_sub(members.len() as u32);
    let missing = observed.desired.saturating_sub(staying.len() as u32).min(room);
    let plain = observed.desired.saturating_sub(members.len() as u32);
    let wanted = split_of(observed.desired, &group.mixed_instances);
    let have = |market| staying.iter().filter(|m| m.candidate.market == market).count() as u32;
    let mut have = Split { on_demand: have(Market::OnDemand), spot: have(Market::Spot) };
    let mut pools = observed.pools.clone();
    let mut zones: Vec<(ZoneId, bool, u32)> = observed
        .zones
        .iter()
        .map(|z| {
            let n = staying.iter().filter(|m| m.candidate.zone == z.zone).count() as u32;
            (z.zone, z.usable, n)
        })
        .collect();
    let best_effort = group.capacity_distribution_strategy == CapacityDistribution::BestEffort;
    for i in 0..missing {
        let market = next_market(wanted, have);
        zones.sort_by_key(|(zone, _, n)| (*n, *zone));
        let found = zones.iter().position(|(zone, usable, _)| {
            (*usable || !best_effort)
                && !preference(&group.mixed_instances, market, Some(*zone), &pools).order.is_empty()
        });
        let Some(at) = found.filter(|at| zones[*at].1) else {
            decision.unmet += 1;
            continue;
        };
        let zone = zones[at].0;
        zones[at].2 += 1;
        let order = preference(&group.mixed_instances, market, Some(zone), &pools).order;
        let kinds: Vec<u32> = order.iter().filter_map(|p| pools.get(*p as usize)).map(|p| p.kind).collect();
        match market {
            Market::OnDemand => have.on_demand += 1,
            Market::Spot => {
                have.spot += 1;
                if let Some(pool) = order.first().and_then(|p| pools.get_mut(*p as usize)) {
                    pool.in_use += 1;
                }
            }
        }
        let reason = match i < plain {
            true => LaunchReason::BelowDesired,
            false => match memory.replacing.get((i - plain) as usize) {
                Some((_, ReplaceReason::Recommendation)) => LaunchReason::Recommendation,
                _ => LaunchReason::Zones,
            },
        };
        decision.launches.push(Launch { zone, market, kinds, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Usd;

    fn group() -> Ec2 {
        Ec2::of_types(&["m7g.large", "m6g.large"], 10)
    }

    fn member(node: u32, zone: u32, market: Market) -> Member {
        let candidate = Candidate {
            node: NodeId(node),
            zone: ZoneId(zone),
            market,
            kind: 0,
            template: 0,
            launched: SimTime::from_secs(u64::from(node)),
            protected: false,
        };
        Member { candidate, life: LifeCycle::InService, healthy: true, rebalance_recommended: false }
    }

    fn seen(desired: u32, zones: u32, members: Vec<Member>) -> GroupObservation {
        let pool = |kind, zone| Pool {
            kind,
            zone: ZoneId(zone),
            on_demand: Some(Usd::from_nanos(80)),
            spot: Some(Usd::from_nanos(30)),
            depth: 10,
            in_use: 0,
        };
        GroupObservation {
            now: SimTime::from_secs(1_000),
            desired,
            max: 10,
            members,
            zones: (0..zones).map(|z| GroupZone { zone: ZoneId(z), usable: true }).collect(),
            pools: (0..zones).flat_map(|z| [pool(0, z), pool(1, z)]).collect(),
            seed: 1,
        }
    }

    const OD: Market = Market::OnDemand;

    fn zones_of(d: &GroupDecision) -> Vec<u32> {
        d.launches.iter().map(|l| l.zone.0).collect()
    }

    fn gone(d: &GroupDecision) -> Vec<u32> {
        d.terminations.iter().map(|t| t.node.0).collect()
    }

    #[test]
    fn launches_fill_zones_evenly_and_the_base_first() {
        let mut group = group();
        group.mixed_instances.on_demand_base_capacity = 2;
        group.mixed_instances.on_demand_percentage_above_base_capacity = 0;
        let (d, _) = decide(&group, &GroupMemory::default(), &seen(5, 3, vec![member(0, 0, OD)]));
        assert_eq!(zones_of(&d), [1, 2, 0, 1]);
        let markets: Vec<Market> = d.launches.iter().map(|l| l.market).collect();
        assert_eq!(markets, [OD, Market::Spot, Market::Spot, Market::Spot]);
        assert_eq!(d.launches[0].kinds, [0, 1]);
    }

    #[test]
    fn an_unhealthy_instance_is_replaced_even_if_protected() {
        let mut sick = member(1, 1, OD);
        (sick.healthy, sick.candidate.protected) = (false, true);
        let (d, _) = decide(&group(), &GroupMemory::default(), &seen(2, 2, vec![member(0, 0, OD), sick]));
        assert_eq!((gone(&d), zones_of(&d)), (vec![1], vec![1]));
    }

    #[test]
    fn a_zone_that_is_out_is_passed_over_or_waited_for() {
        let mut group = group();
        let mut observed = seen(3, 3, vec![member(0, 0, OD), member(1, 1, OD)]);
        observed.zones[2].usable = false;
        let (d, _) = decide(&group, &GroupMemory::default(), &observed);
        assert_eq!((zones_of(&d), d.unmet), (vec![0], 0));
        group.capacity_distribution_strategy = CapacityDistribution::Only;
        let (d, _) = decide(&group, &GroupMemory::default(), &observed);
        assert_eq!((zones_of(&d), d.unmet), (vec![], 1));
    }

    #[test]
    fn zones_are_rebalanced_by_launching_first() {
        let group = group();
        let mut members: Vec<Member> = (0..4).map(|i| member(i, 0, OD)).collect();
        let observed = seen(4, 2, members.clone());
        let (d, memory) = decide(&group, &GroupMemory::default(), &observed);
        // Both that are too many may go at once: there is room below the maximum.
        assert_eq!((zones_of(&d), gone(&d), memory.replacing.len()), (vec![1, 1], vec![], 2));
        assert!(d.launches.iter().all(|l| l.reason == LaunchReason::Zones));
        members.push(Member { life: LifeCycle::Pending, ..member(4, 1, OD) });
        members.push(member(5, 1, OD));
        let (d, memory) = decide(&group, &memory, &seen(4, 2, members.clone()));
        // One of the two is in service: one old instance goes.
        assert_eq!((d.launches.len(), d.terminations.len(), memory.replacing.len()), (0, 1, 1));
        let old = d.terminations[0].node;
        members.retain(|m| m.candidate.node != old);
        members[3].life = LifeCycle::InService;
        let (d, memory) = decide(&group, &memory, &seen(4, 2, members.clone()));
        assert_eq!((d.terminations.len(), memory.replacing.len()), (1, 0));
        members.retain(|m| m.candidate.node != d.terminations[0].node);
        let (d, _) = decide(&group, &memory, &seen(4, 2, members));
        assert_eq!(d, GroupDecision::default());
    }

    #[test]
    fn a_zone_that_gives_nothing_is_not_balanced_to() {
        let group = group();
        let members: Vec<Member> = (0..6).map(|i| member(i, i % 2, OD)).collect();
        let mut observed = seen(6, 3, members);
        let (d, memory) = decide(&group, &GroupMemory::default(), &observed);
        assert_eq!((zones_of(&d), memory.replacing.len()), (vec![2, 2], 2));
        // Nothing came of it, and the zone is shut for a while.
        observed.zones[2].usable = false;
        let (d, memory) = decide(&group, &memory, &observed);
        assert_eq!((d, memory), (GroupDecision::default(), GroupMemory::default()));
    }

    #[test]
    fn at_the_maximum_only_the_overshoot_is_replaced_at_once() {
        let mut group = group();
        group.capacity_rebalance = true;
        let mut members: Vec<Member> = (0..10).map(|i| member(i, i % 2, Market::Spot)).collect();
        group.mixed_instances.on_demand_percentage_above_base_capacity = 0;
        members.iter_mut().for_each(|m| m.rebalance_recommended = true);
        let (d, memory) = decide(&group, &GroupMemory::default(), &seen(10, 2, members));
        assert_eq!((d.launches.len(), memory.replacing.len()), (1, 1));
        assert_eq!(d.launches[0].reason, LaunchReason::Recommendation);
    }

    #[test]
    fn scale_in_leaves_protected_instances() {
        let mut members: Vec<Member> = (0..4).map(|i| member(i, i % 2, OD)).collect();
        members[0].candidate.protected = true;
        members[2].candidate.protected = true;
        let (d, _) = decide(&group(), &GroupMemory::default(), &seen(1, 2, members));
        assert_eq!((gone(&d).len(), d.protected), (2, 1));
        assert!(!gone(&d).contains(&0) && !gone(&d).contains(&2));
    }
}
