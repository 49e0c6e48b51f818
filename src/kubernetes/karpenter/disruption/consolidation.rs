//! Consolidation: nodes whose pods fit elsewhere, or on one node that is cheaper.
//!
//! Source: `kubernetes-sigs/karpenter`, `disruption/consolidation.go`, `multinodeconsolidation.go`, `singlenodeconsolidation.go` (v1.14).

use super::balanced::{K, PoolScore, PoolTotals, approves, score, scores};
use super::candidates::Candidate;
use super::{Command, Method};
use crate::kubernetes::karpenter::instance::{CapacityType, InstanceType, Offering};
use crate::kubernetes::karpenter::launch::Unavailable;
use crate::kubernetes::karpenter::pool::{ConsolidationPolicy, Reason};
use crate::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use crate::kubernetes::karpenter::scheduling::{NodeClaim, Origin, Scheduler, Simulation, Target};
use crate::kubernetes::karpenter::world::{PendingPod, World};
use crate::units::Usd;

/// Cheaper Spot types that one Spot node needs before it is replaced by another.
pub const SPOT_TO_SPOT_TYPES: usize = 15;
/// Candidates that are looked at together, less one.
const MAX_BATCH: usize = 100;

/// Whether a pod that has a node today would have none, or only one that is not there yet: then nothing is done.
pub(super) fn strands(world: &World<'_>, simulation: &Simulation) -> bool {
    simulation.pods.iter().zip(&simulation.targets).any(|(pod, target)| match (pod.origin, target) {
        (Origin::Pending, _) => false,
        (_, None) => true,
        (Origin::Candidate, Some(Target::Node(n))) => world.nodes[*n].managed && world.nodes[*n].initialized.is_none(),
        _ => false,
    })
}

/// Offerings of a type that requirements allow and that can be had.
fn open<'a>(
    world: &'a World<'_>,
    unavailable: &'a Unavailable,
    of: &'a InstanceType,
    requirements: &'a Requirements,
) -> impl Iterator<Item = &'a Offering> + 'a {
    let allows = |key, value| requirements.get(key).is_none_or(|set| set.has(value, world.symbols));
    of.offerings.iter().filter(move |o| {
        o.available
            && allows(world.known.zone, o.zone)
            && allows(world.known.capacity_type, world.known.value_of(o.capacity_type))
            && !unavailable.is_unavailable(o.capacity_type, of.name, o.zone, world.now)
    })
}

/// What a type costs at worst if it is launched: the dearest offering of the capacity type that would be taken, reserved before
/// Spot before on demand. `None` where nothing of it can be had.
#[must_use]
pub fn worst_launch_price(
    world: &World<'_>,
    unavailable: &Unavailable,
    of: &InstanceType,
    requirements: &Requirements,
) -> Option<Usd> {
    let dearest = |c: CapacityType| {
        open(world, unavailable, of, requirements).filter(|o| o.capacity_type == c).map(|o| o.price).max()
    };
    CapacityType::ALL.into_iter().find_map(dearest)
}

fn best_launch_price(world: &World<'_>, unavailable: &Unavailable, claim: &NodeClaim) -> Option<Usd> {
    let table = world.tables[world.pools[claim.pool].table].types();
    // Types that only other markets offer are still listed; the first that can be launched is meant.
    claim.types.iter().find_map(|at| open(world, unavailable, &table[*at], &claim.requirements).map(|o| o.price).min())
}

/// Keeps the types of a claim that cost less than `below` at worst; `false` if none is left or too few values are.
fn keep_cheaper(world: &World<'_>, unavailable: &Unavailable, claim: &mut NodeClaim, below: Usd) -> bool {
    let table = world.tables[world.pools[claim.pool].table].types();
    let requirements = &claim.requirements;
    claim.types.retain(|at| {
        worst_launch_price(world, unavailable, &table[*at], requirements).is_some_and(|price| price < below)
    });
    !claim.types.is_empty() && types_for_min_values(world, claim, claim.types.len()).is_some()
}

/// How many of the first types it takes to have as many values as `minValues` demands, at least `least`; `None` if all are too few.
fn types_for_min_values(world: &World<'_>, claim: &NodeClaim, least: usize) -> Option<usize> {
    let table = world.tables[world.pools[claim.pool].table].types();
    let enough = |count: usize| {
        claim.requirements.iter().all(|(key, set)| {
            let Some(wanted) = set.min_values() else { return true };
            let sets = claim.types[..count].iter().filter_map(|at| table[*at].requirements.get(key));
            let mut values: Vec<_> = sets.filter(|s| !s.is_complement()).flat_map(ValueSet::values).collect();
            values.sort_unstable();
            values.dedup();
            values.len() >= wanted as usize
        })
    };
    (least.min(claim.types.len())..=claim.types.len()).find(|count| enough(*count))
}

/// Keeps only types that are cheaper than the cheapest candidate of a type that is among them: replacing some nodes by one of
/// their own kind is what deleting the others would do. `candidates` and `options` are (type, price).
#[must_use]
pub fn same_type_bound<T: PartialEq>(candidates: &[(T, Usd)], options: &[T]) -> Option<Usd> {
    candidates.iter().filter(|(own, _)| options.contains(own)).map(|(_, price)| *price).min()
}

/// What came of looking at some candidates together.
pub(super) struct Proposal {
    /// Empty for a deletion.
    pub(super) replacements: Vec<NodeClaim>,
    pub(super) scores: Vec<PoolScore>,
}

/// What a consolidation needs to know beside the scheduler.
pub(super) struct Context<'a> {
    pub(super) pending: &'a [PendingPod],
    pub(super) unavailable: &'a Unavailable,
    pub(super) totals: &'a [PoolTotals],
}

/// Whether candidates can go, with at most one node in their place.
pub(super) fn propose(scheduler: &mut Scheduler<'_>, context: &Context<'_>, moved: &[Candidate]) -> Option<Proposal> {
    let world = *scheduler.world();
    let nodes: Vec<usize> = moved.iter().map(|c| c.node).collect();
    let simulation = scheduler.simulate(context.pending, &nodes);
    if strands(&world, &simulation) {
        return None;
    }
    let mut claims = simulation.claims;
    let approved = |replacement: Usd| {
        let scores = scores(&world, moved, replacement, context.totals);
        scores.iter().all(|s| s.approved).then_some(scores)
    };
    let mut claim = match (claims.pop(), claims.is_empty()) {
        (None, _) => return Some(Proposal { replacements: Vec::new(), scores: approved(Usd::ZERO)? }),
        (Some(one), true) => one,
        (Some(_), false) => return None,
    };
    let now: Usd = Usd::from_nanos(moved.iter().map(|c| c.price.nanos()).sum());
    let allows = |claim: &NodeClaim, c: CapacityType| {
        let set = claim.requirements.get(world.known.capacity_type);
        set.is_none_or(|s| s.has(world.known.value_of(c), world.symbols))
    };
    let pin_to_spot = |claim: &mut NodeClaim| {
        let spot = ValueSet::of([world.known.value_of(CapacityType::Spot)]);
        claim.requirements.add(world.known.capacity_type, spot, world.symbols);
    };
    let all_spot = moved.iter().all(|c| world.nodes[c.node].capacity_type == CapacityType::Spot);
    if all_spot && allows(&claim, CapacityType::Spot) {
        if !world.options.spot_to_spot {
            return None;
        }
        pin_to_spot(&mut claim);
        if !keep_cheaper(&world, context.unavailable, &mut claim, now) {
            return None;
        }
        if moved.len() == 1 {
            if claim.types.len() < SPOT_TO_SPOT_TYPES {
                return None;
            }
            let keep = types_for_min_values(&world, &claim, SPOT_TO_SPOT_TYPES)?;
            claim.types.truncate(keep);
        }
    } else {
        if !keep_cheaper(&world, context.unavailable, &mut claim, now) {
            return None;
        }
        // Types were kept for what they cost on the Spot market: on demand they could be dearer than what is there.
        if allows(&claim, CapacityType::Spot) && allows(&claim, CapacityType::OnDemand) {
            pin_to_spot(&mut claim);
        }
    }
    let expected = best_launch_price(&world, context.unavailable, &claim)?;
    let scores = approved(expected)?;
    Some(Proposal { replacements: vec![claim], scores })
}

fn command(
    world: &World<'_>,
    method: Method,
    moved: Vec<Candidate>,
    proposal: Proposal,
    unavailable: &Unavailable,
) -> Command {
    let mut command = Command::new(method, Reason::Underutilized, moved, proposal.replacements, world.now);
    command.scores = proposal.scores;
    let worst = command.replacements.iter().map(|claim| {
        let table = world.tables[world.pools[claim.pool].table].types();
        let prices = claim
            .types
            .iter()
            .filter_map(|at| worst_launch_price(world, unavailable, &table[*at], &claim.requirements));
        prices.max().unwrap_or(Usd::ZERO).nanos()
    });
    command.worst_replacement_price = Usd::from_nanos(worst.sum());
    command
}

/// The largest prefix of ranked candidates, by bisection, that can go with at most one node in its place. Also tells whether a budget
/// held a candidate back.
pub(super) fn several(
    scheduler: &mut Scheduler<'_>,
    context: &Context<'_>,
    ranked: &[Candidate],
    left: &mut [Option<u32>],
) -> (Option<Command>, bool) {
    let world = *scheduler.world();
    let (mut allowed, mut held) = (Vec::new(), false);
    for c in ranked.iter().filter(|c| !c.is_empty()) {
        match super::budgets::take(left, c.pool) {
            true => allowed.push(*c),
            false => held = true,
        }
    }
    let (mut low, mut high) = (1, allowed.len().saturating_sub(1).min(MAX_BATCH));
    let mut best = None;
    while allowed.len() >= 2 && low <= high {
        let middle = (low + high) / 2;
        let moved = &allowed[..=middle];
        let proposal = propose(scheduler, context, moved).and_then(|mut proposal| {
            for claim in &mut proposal.replacements {
                let own: Vec<(Option<usize>, Usd)> = moved
                    .iter()
                    .filter(|c| world.pools[c.pool].table == world.pools[claim.pool].table && c.price > Usd::ZERO)
                    .map(|c| (world.nodes[c.node].instance_type, c.price))
                    .collect();
                let options: Vec<Option<usize>> = claim.types.iter().map(|at| Some(*at)).collect();
                let bound = same_type_bound(&own, &options);
                if bound.is_some_and(|below| !keep_cheaper(&world, context.unavailable, claim, below)) {
                    return None;
                }
            }
            Some(proposal)
        });
        match proposal {
            Some(proposal) => {
                best = Some((moved.to_vec(), proposal));
                low = middle + 1;
            }
            None => high = middle - 1,
        }
    }
    let command = best.map(|(moved, p)| command(&world, Method::MultiNode, moved, p, context.unavailable));
    (command, held)
}

/// What single-node consolidation found.
pub(super) struct Single {
    pub(super) command: Option<Command>,
    /// Whether a budget held a candidate back.
    pub(super) held: bool,
    /// Pools whose candidates were not all looked at.
    pub(super) missed: Vec<usize>,
}

/// The first candidate that can go with at most one node in its place. `most` bounds how many are looked at.
pub(super) fn one(
    scheduler: &mut Scheduler<'_>,
    context: &Context<'_>,
    order: &[Candidate],
    left: &[Option<u32>],
    most: Option<usize>,
) -> Single {
    let world = *scheduler.world();
    let (mut held, mut looked) = (false, 0);
    for (at, c) in order.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
        if left[c.pool] == Some(0) {
            held = true;
            continue;
        }
        if world.pools[c.pool].disruption.consolidation_policy == ConsolidationPolicy::Balanced
            && !approves(score(c.price.dollars(), c.disruption_cost, context.totals[c.pool]), K)
        {
            continue;
        }
        if most.is_some_and(|most| looked >= most) {
            let mut missed: Vec<usize> = order[at..].iter().map(|c| c.pool).collect();
            missed.sort_unstable();
            missed.dedup();
            return Single { command: None, held, missed };
        }
        looked += 1;
        if let Some(proposal) = propose(scheduler, context, &[*c]) {
            let command = command(&world, Method::SingleNode, vec![*c], proposal, context.unavailable);
            return Single { command: Some(command), held, missed: Vec::new() };
        }
    }
    Single { command: None, held, missed: Vec::new() }
}
