//! Drift: nodes that are not as their NodePool or NodeClass now says.
//!
//! Source: `kubernetes-sigs/karpenter`, `nodeclaim/disruption/drift.go` and `disruption/drift.go`; the AWS provider's `drift.go` (v1.14).

use std::hash::{Hash, Hasher};

use super::candidates::Candidate;
use super::{Command, Method};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::karpenter::pool::{NodePool, Reason};
use crate::kubernetes::karpenter::scheduling::Scheduler;
use crate::kubernetes::karpenter::world::{NodeView, PendingPod, World};
use crate::kubernetes::object::Symbols;

/// Age of a node from which its instance type's being gone counts.
const TYPE_CHECK_AFTER: SimDuration = SimDuration::from_secs(3_600);
/// How often drift is looked for again.
pub const RECHECK: SimDuration = SimDuration::from_mins(5);

/// Why a node has drifted, in the order in which reasons are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriftReason {
    /// The pool's template differs from the one that the node was made of.
    NodePool,
    /// The node's labels no longer satisfy the pool's requirements.
    Requirements,
    /// Its instance type or offering exists no longer.
    InstanceTypeNotFound,
    /// The NodeClass differs from the one that the node was made of.
    NodeClass,
    /// Another machine image is current.
    Ami,
    /// Other security groups are selected.
    SecurityGroups,
    /// Its subnet is no longer selected.
    Subnet,
    /// Its capacity reservation is no longer selected.
    CapacityReservation,
    /// Its placement group differs.
    PlacementGroup,
}

impl DriftReason {
    /// Why, in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NodePool => "the template of its NodePool has changed",
            Self::Requirements => "its labels no longer satisfy its NodePool",
            Self::InstanceTypeNotFound => "its instance type is no longer offered",
            Self::NodeClass => "its node class has changed",
            Self::Ami => "another machine image is current",
            Self::SecurityGroups => "other security groups are selected",
            Self::Subnet => "its subnet is no longer selected",
            Self::CapacityReservation => "its capacity reservation is no longer selected",
            Self::PlacementGroup => "its placement group differs",
        }
    }
}

/// What of a pool's template a node is compared by: labels, taints, `expireAfter`, `terminationGracePeriod`. Requirements, weight,
/// limits and the disruption block are not in it.
#[must_use]
pub fn template_hash(pool: &NodePool, symbols: &Symbols) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    let mut labels: Vec<(&str, &str)> = pool.labels.iter().map(|(k, v)| (symbols.text(k), symbols.text(v))).collect();
    labels.sort_unstable();
    labels.hash(&mut hasher);
    for taints in [&pool.taints, &pool.startup_taints] {
        let mut texts: Vec<_> =
            taints.iter().map(|t| (symbols.text(t.key), symbols.text(t.value), t.effect as u8)).collect();
        texts.sort_unstable();
        texts.hash(&mut hasher);
    }
    (pool.expire_after, pool.termination_grace_period).hash(&mut hasher);
    hasher.finish()
}

/// Whether and why a node has drifted. `made_of` is the hash of the template that it was made of ([`template_hash`]);
/// `provider` is what the provider says, looked at last.
#[must_use]
pub fn drifted(world: &World<'_>, node: &NodeView, made_of: u64, provider: Option<DriftReason>) -> Option<DriftReason> {
    let pool = &world.pools[node.pool.filter(|_| node.managed)?];
    if template_hash(pool, world.symbols) != made_of {
        return Some(DriftReason::NodePool);
    }
    let wanted = pool.node_requirements(world.known, world.symbols);
    let labels = crate::kubernetes::karpenter::requirements::Requirements::from_labels(&node.labels);
    if labels.incompatible(&wanted, |_| false, world.symbols).is_some() {
        return Some(DriftReason::Requirements);
    }
    if world.now.since(node.created) >= TYPE_CHECK_AFTER {
        let own = node.instance_type.and_then(|at| world.tables[pool.table].types().get(at));
        let zone = node.labels.get(world.known.zone);
        let offered = own.is_some_and(|t| zone.is_some_and(|z| t.price(z, node.capacity_type).is_some()));
        if !offered {
            return Some(DriftReason::InstanceTypeNotFound);
        }
    }
    provider
}

/// The next drifted node to be replaced: empty ones first, then those that drifted first. One node a command; there is no rule of
/// prices and any number of replacements.
pub(super) fn decide(
    scheduler: &mut Scheduler<'_>,
    pending: &[PendingPod],
    candidates: &[Candidate],
    left: &mut [Option<u32>],
) -> Option<Command> {
    let world = *scheduler.world();
    let since = |c: &Candidate| world.nodes[c.node].drift.map_or(SimTime::MAX, |d| d.since);
    let mut order: Vec<Candidate> =
        candidates.iter().filter(|c| world.nodes[c.node].drift.is_some()).copied().collect();
    order.sort_by(|a, b| {
        let name = |c: &Candidate| world.symbols.text(c.name);
        (!a.is_empty(), since(a)).cmp(&(!b.is_empty(), since(b))).then_with(|| name(a).cmp(name(b)))
    });
    for c in order {
        if !super::budgets::take(left, c.pool) {
            continue;
        }
        let simulation = scheduler.simulate(pending, &[c.node]);
        if super::consolidation::strands(&world, &simulation) {
            continue;
        }
        return Some(Command::new(Method::Drift, Reason::Drifted, vec![c], simulation.claims, world.now));
    }
    None
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kubernetes::karpenter::labels::WellKnown;
    use crate::kubernetes::karpenter::pool::PoolRequirement;
    use crate::kubernetes::karpenter::table::TypeTable;
    use crate::kubernetes::karpenter::world::Options;
    use crate::kubernetes::object::{Operator, Requirement};

    #[test]
    fn reasons_are_looked_for_in_their_order() {
        let mut symbols = Symbols::default();
        let known = WellKnown::new(&mut symbols);
        let mut pool = NodePool::new(symbols.intern("default"), 0);
        let made_of = template_hash(&pool, &symbols);
        let mut node = NodeView::new(symbols.intern("n"));
        node.labels.set(known.node_pool, pool.name);
        let amd = symbols.intern("amd64");
        node.labels.set(known.arch, amd);
        (node.managed, node.pool) = (true, Some(0));
        let (key, value) = (symbols.intern("team"), symbols.intern("blue"));
        let arm = symbols.intern("arm64");
        let tables = [TypeTable::default()];
        let reason = |pool: &NodePool, secs: u64, provider| {
            let pools = [pool.clone()];
            let world = World {
                now: SimTime::from_secs(secs),
                start: Timestamp::UNIX_EPOCH,
                symbols: &symbols,
                known: &known,
                shapes: &[],
                pools: &pools,
                tables: &tables,
                nodes: &[],
                daemons: &[],
                options: Options::default(),
            };
            drifted(&world, &node, made_of, provider)
        };
        assert_eq!(reason(&pool, 10, None), None);
        pool.weight = 7;
        pool.disruption.budgets.clear();
        assert_eq!(reason(&pool, 10, None), None, "how a pool behaves is not what its nodes are made of");
        assert_eq!(reason(&pool, 10, Some(DriftReason::Ami)), Some(DriftReason::Ami));
        assert_eq!(reason(&pool, 3_600, Some(DriftReason::Ami)), Some(DriftReason::InstanceTypeNotFound));
        let requirement = Requirement { key: known.arch, operator: Operator::In, values: vec![arm] };
        pool.requirements.push(PoolRequirement { requirement, min_values: None });
        assert_eq!(reason(&pool, 3_600, None), Some(DriftReason::Requirements));
        pool.labels.set(key, value);
        assert_eq!(reason(&pool, 3_600, None), Some(DriftReason::NodePool));
    }
}
