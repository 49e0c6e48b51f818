//! Which instances of an Auto Scaling group go at scale-in.
//!
//! Rule: instances that are protected from scale-in are never chosen. Of the zones with an instance that
//! may go, the one with the most instances gives one up; inside it the policies narrow the choice one
//! after the other, and what is left over is decided by chance. `Default` looks first for the market of
//! which there is too much (On-Demand or Spot), then for the oldest launch template, then for the
//! instance closest to its next billing hour. `AllocationStrategy` looks for the market of which there is
//! too much, then for the type that its strategy likes least.
//!
//! Source: EC2 Auto Scaling user guide, `ec2-auto-scaling-termination-policies`.
//!
//! Known departures: between zones with equally many instances the one with the oldest launch template
//! goes first, as in the guide, then the lower one. Chance is a draw keyed by the instance, so that the
//! same group gives the same answer.

use serde::{Deserialize, Serialize};

use super::mixed_instances::{Pool, Split, preference};
use crate::cluster::Market;
use crate::kernel::{Draw, SimDuration, SimTime};
use crate::scenario::model::{InstancesDistribution, TerminationPolicy};
use crate::units::{NodeId, ZoneId};

/// An instance that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The instance.
    pub node: NodeId,
    /// Its zone.
    pub zone: ZoneId,
    /// How it was bought.
    pub market: Market,
    /// Its instance type, by its position in the group's list.
    pub kind: u32,
    /// The version of the launch template that it was launched from.
    pub template: u32,
    /// When it was launched.
    pub launched: SimTime,
    /// Whether it is protected from scale-in.
    pub protected: bool,
}

/// Why an instance was chosen: what narrowed the choice last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceReason {
    /// The only one that may go.
    OnlyOne,
    /// The only one of the zone with the most instances.
    FullestZone,
    /// There is too much of its market.
    Market,
    /// Its launch template is the oldest.
    OldestTemplate,
    /// It is closest to its next billing hour.
    BillingHour,
    /// The allocation strategy likes its type least.
    AllocationStrategy,
    /// It is the oldest.
    Oldest,
    /// It is the newest.
    Newest,
    /// By chance.
    Chance,
}

/// An instance that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The instance.
    pub node: NodeId,
    /// Why this one.
    pub reason: ChoiceReason,
}

/// What a choice goes by, beside the instances.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceRules<'a> {
    /// The policies, in their order. None is `Default`.
    pub policies: &'a [TerminationPolicy],
    /// How the group is shared and how types are liked.
    pub distribution: &'a InstancesDistribution,
    /// On-Demand and Spot instances that the group should have when all have gone.
    pub wanted: Split,
    /// The pools, for `AllocationStrategy`.
    pub pools: &'a [Pool],
    /// Now.
    pub now: SimTime,
    /// Seed of the choices by chance.
    pub seed: u64,
}

/// The instances that go, in the order of the choice: `count` of them, or fewer when the rest is protected.
#[must_use]
pub fn choose(rules: &ChoiceRules<'_>, instances: &[Candidate], count: u32) -> Vec<Chosen> {
    let mut left: Vec<Candidate> = instances.to_vec();
    let mut chosen = Vec::new();
    while (chosen.len() as u32) < count {
        let Some(next) = choose_one(rules, &left) else { break };
        left.retain(|c| c.node != next.node);
        chosen.push(next);
    }
    chosen
}

fn choose_one(rules: &ChoiceRules<'_>, left: &[Candidate]) -> Option<Chosen> {
    let open: Vec<Candidate> = left.iter().filter(|c| !c.protected).copied().collect();
    let in_zone = |zone: ZoneId| left.iter().filter(move |c| c.zone == zone);
    let zone = open.iter().map(|c| c.zone).max_by_key(|z| {
        let oldest = in_zone(*z).map(|c| c.template).min();
        (in_zone(*z).count(), std::cmp::Reverse(oldest), std::cmp::Reverse(*z))
    })?;
    let mut choice = Narrowing { left: open, reason: ChoiceReason::OnlyOne };
    choice.keep(ChoiceReason::FullestZone, |c| c.zone == zone);
    let default = [TerminationPolicy::Default];
    let policies = if rules.policies.is_empty() { &default[..] } else { rules.policies };
    for policy in policies {
        match policy {
            TerminationPolicy::Default => {
                choice.surplus_market(rules.wanted, left);
                choice.keep_least(ChoiceReason::OldestTemplate, |c| c.template);
                choice.keep_least(ChoiceReason::BillingHour, |c| to_billing_hour(c, rules.now));
            }
            TerminationPolicy::AllocationStrategy => {
                choice.surplus_market(rules.wanted, left);
                choice.keep_least(ChoiceReason::AllocationStrategy, |c| std::cmp::Reverse(rank(rules, c)));
            }
            TerminationPolicy::OldestLaunchTemplate | TerminationPolicy::OldestLaunchConfiguration => {
                choice.keep_least(ChoiceReason::OldestTemplate, |c| c.template);
            }
            TerminationPolicy::ClosestToNextInstanceHour => {
                choice.keep_least(ChoiceReason::BillingHour, |c| to_billing_hour(c, rules.now));
            }
            TerminationPolicy::NewestInstance => {
                choice.keep_least(ChoiceReason::Newest, |c| std::cmp::Reverse(c.launched));
            }
            TerminationPolicy::OldestInstance => choice.keep_least(ChoiceReason::Oldest, |c| c.launched),
        }
    }
    let draw = Draw::new(rules.seed);
    choice.keep_least(ChoiceReason::Chance, |c| (draw.of(u64::from(c.node.0)).bits(), c.node));
    let node = choice.left.first()?.node;
    Some(Chosen { node, reason: choice.reason })
}

/// Time from `now` until the instance has run for the next whole hour.
fn to_billing_hour(candidate: &Candidate, now: SimTime) -> SimDuration {
    const HOUR: u64 = SimDuration::from_secs(3600).as_nanos();
    let ran = now.since(candidate.launched.min(now)).as_nanos();
    SimDuration::from_nanos(HOUR - ran % HOUR)
}

/// Where the allocation strategy puts the pool of an instance: 0 is the one it likes best.
fn rank(rules: &ChoiceRules<'_>, candidate: &Candidate) -> u32 {
    let order = preference(rules.distribution, candidate.market, Some(candidate.zone), rules.pools).order;
    let at = order.iter().position(|i| rules.pools.get(*i as usize).is_some_and(|p| p.kind == candidate.kind));
    // What is not sold any more is liked least.
    at.map_or(u32::MAX, |p| p as u32)
}

/// The candidates that are left, and what narrowed them last.
struct Narrowing {
    left: Vec<Candidate>,
    reason: ChoiceReason,
}

impl Narrowing {
    /// Keeps those that fit, unless none does.
    fn keep(&mut self, reason: ChoiceReason, fits: impl Fn(&Candidate) -> bool) {
        let kept = self.left.iter().filter(|c| fits(c)).count();
        if kept > 0 && kept < self.left.len() {
            self.left.retain(|c| fits(c));
            self.reason = reason;
        }
    }

    /// Keeps those with the least value.
    fn keep_least<K: Ord>(&mut self, reason: ChoiceReason, key: impl Fn(&Candidate) -> K) {
        let Some(least) = self.left.iter().map(&key).min() else { return };
        self.keep(reason, |c| key(c) == least);
    }

    /// Keeps those of the market of which there is too much.
    fn surplus_market(&mut self, wanted: Split, all: &[Candidate]) {
        let have = |market| all.iter().filter(|c| c.market == market).count() as u32;
        let over = |market| have(market) > wanted.of(market);
        match (over(Market::OnDemand), over(Market::Spot)) {
            (true, false) => self.keep(ChoiceReason::Market, |c| c.market == Market::OnDemand),
            (false, true) => self.keep(ChoiceReason::Market, |c| c.market == Market::Spot),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::mixed_instances::split;

    fn at(node: u32, zone: u32, market: Market) -> Candidate {
        Candidate {
            node: NodeId(node),
            zone: ZoneId(zone),
            market,
            kind: 0,
            template: 1,
            launched: SimTime::from_secs(u64::from(node) * 60),
            protected: false,
        }
    }

    fn chosen(policies: &[TerminationPolicy], wanted: Split, instances: &[Candidate], count: u32) -> Vec<u32> {
        let rules = ChoiceRules {
            policies,
            distribution: &InstancesDistribution::default(),
            wanted,
            pools: &[],
            now: SimTime::from_secs(3600),
            seed: 7,
        };
        choose(&rules, instances, count).iter().map(|c| c.node.0).collect()
    }

    const OD: Market = Market::OnDemand;

    #[test]
    fn the_fullest_zone_then_the_policy() {
        let group = [at(0, 0, OD), at(1, 1, OD), at(2, 1, OD), at(3, 1, OD)];
        let all = split(1, 0, 100);
        assert_eq!(chosen(&[TerminationPolicy::OldestInstance], all, &group, 2), [1, 2]);
        assert_eq!(chosen(&[TerminationPolicy::NewestInstance], all, &group, 3), [3, 2, 0]);
        // The oldest has run for 59 minutes.
        assert_eq!(chosen(&[], all, &group, 1), [1]);
        let mut old = group;
        old[3].template = 0;
        assert_eq!(chosen(&[], all, &old, 1), [3]);
    }

    #[test]
    fn protected_instances_stay_though_their_zone_is_the_fullest() {
        let mut group = [at(0, 0, OD), at(1, 1, OD), at(2, 1, OD)];
        (group[1].protected, group[2].protected) = (true, true);
        assert_eq!(chosen(&[], split(0, 0, 100), &group, 3), [0]);
    }

    #[test]
    fn the_mix_is_restored_first() {
        let group = [at(0, 0, OD), at(1, 0, Market::Spot), at(2, 0, Market::Spot)];
        assert_eq!(chosen(&[], split(2, 0, 50), &group, 1), [1]);
        assert_eq!(chosen(&[], split(2, 0, 0), &group, 1), [0]);
    }

    #[test]
    fn a_disliked_type_goes_first() {
        let pool = |kind: u32| Pool {
            kind,
            zone: ZoneId(0),
            on_demand: Some(crate::units::Usd::from_nanos(1)),
            spot: None,
            depth: 0,
            in_use: 0,
        };
        let mut group = [at(0, 0, OD), at(1, 0, OD)];
        group[1].kind = 1;
        let rules = ChoiceRules {
            policies: &[TerminationPolicy::AllocationStrategy],
            distribution: &InstancesDistribution::default(),
            wanted: split(1, 0, 100),
            pools: &[pool(0), pool(1)],
            now: SimTime::from_secs(60),
            seed: 7,
        };
        let gone = Chosen { node: NodeId(1), reason: ChoiceReason::AllocationStrategy };
        assert_eq!(choose(&rules, &group, 1), [gone]);
    }
}
