//! Which nodes may be disrupted, what that would cost, and in which order they are looked at.
//!
//! Source: `kubernetes-sigs/karpenter`, `state/statenode.go`, `disruption/types.go`, `utils/disruption` (v1.14).

use crate::kernel::SimTime;
use crate::kubernetes::karpenter::world::{DISRUPTED_TAINT, NodeView, Owner, PodPhase, PodView, World};
use crate::kubernetes::object::{Effect, PodSpec, Symbol, Taint};
use crate::units::Usd;

/// How hard a method may press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisruptionClass {
    /// Consolidation and emptiness: pods that must not be disturbed are not.
    Graceful,
    /// Drift: they are, where the NodeClaim has a `terminationGracePeriod`.
    Eventual,
}

/// Why a node may not be disrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCandidate {
    /// No NodeClaim stands behind it.
    NotManaged,
    /// There is no node object yet.
    NoNode,
    /// It is not initialized.
    NotInitialized,
    /// It is on its way out.
    Deleting,
    /// It is to get pods.
    Nominated,
    /// Node or NodeClaim is annotated.
    DoNotDisrupt,
    /// Its pool is gone or has no types.
    NoPool,
    /// A command that is being carried out concerns it.
    InQueue,
    /// A pod is annotated.
    PodDoNotDisrupt(u64),
    /// A pod's budgets allow no disruption, or it has more than one.
    PodBudget(u64),
}

/// A node that may be disrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The node: an index into the world's nodes.
    pub node: usize,
    /// Its name, which outlives the index.
    pub name: Symbol,
    /// Its pool.
    pub pool: usize,
    /// Dollars an hour.
    pub price: Usd,
    /// What disrupting it costs: 1 and what evicting each of its pods costs.
    pub disruption_cost: f64,
}

impl Candidate {
    /// Whether no pod would have to move that counts for something.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.disruption_cost <= 1.0
    }

    /// Saving for each unit of disturbance: those with most go first.
    #[must_use]
    pub fn savings_ratio(&self) -> f64 {
        self.price.dollars() / self.disruption_cost
    }
}

/// What evicting a pod costs: 1, more for a dear pod, from -10 to 10.
#[must_use]
pub fn eviction_cost(deletion_cost: i32, priority: i32) -> f64 {
    let cost = 1.0 + f64::from(deletion_cost) / f64::from(1 << 27) + f64::from(priority) / f64::from(1 << 25);
    cost.clamp(-10.0, 10.0)
}

/// What disrupting a node costs.
#[must_use]
pub fn disruption_cost(world: &World<'_>, node: &NodeView) -> f64 {
    let cost = |p: &PodView| eviction_cost(p.deletion_cost, world.shapes[p.shape].priority).max(0.0);
    1.0 + node.pods.iter().filter(|p| p.is_reschedulable()).map(cost).sum::<f64>()
}

/// Whether a pod tolerates the taint of a node that is being disrupted: it is not evicted then.
#[must_use]
pub fn tolerates_disruption(world: &World<'_>, spec: &PodSpec) -> bool {
    let (key, empty) = (world.symbols.get(DISRUPTED_TAINT), world.symbols.get(""));
    match (key, empty) {
        (Some(key), Some(value)) => spec.tolerates(&Taint { key, value, effect: Effect::NoSchedule }),
        // Nobody has spoken of this taint: only a toleration of everything tolerates it.
        _ => spec.tolerations.iter().any(|t| {
            t.value.is_none()
                && t.effect.is_none_or(|e| e == Effect::NoSchedule)
                && t.key.is_none_or(|k| Some(k) == key)
        }),
    }
}

/// Whether a pod stands in the way of a graceful disruption, and by what.
fn protected(world: &World<'_>, pod: &PodView, now: SimTime) -> Option<NotCandidate> {
    if pod.phase == PodPhase::Finished {
        return None;
    }
    if pod.forbids_disruption(now) {
        return Some(NotCandidate::PodDoNotDisrupt(pod.uid));
    }
    let evicted = pod.owner != Owner::Node && !tolerates_disruption(world, &world.shapes[pod.shape]);
    let held = pod.budgets.blocked || pod.budgets.count > 1;
    (evicted && held).then_some(NotCandidate::PodBudget(pod.uid))
}

/// Whether a node may be disrupted. `in_queue`: whether a command concerns it already.
///
/// # Errors
/// Why it may not.
pub fn candidate(
    world: &World<'_>,
    node: usize,
    class: DisruptionClass,
    in_queue: bool,
) -> Result<Candidate, NotCandidate> {
    let of = &world.nodes[node];
    let pool = match of.pool {
        _ if !of.managed => Err(NotCandidate::NotManaged),
        _ if !of.has_node => Err(NotCandidate::NoNode),
        _ if of.initialized.is_none() => Err(NotCandidate::NotInitialized),
        _ if of.is_going() => Err(NotCandidate::Deleting),
        _ if of.nominated_until > world.now => Err(NotCandidate::Nominated),
        _ if of.do_not_disrupt => Err(NotCandidate::DoNotDisrupt),
        Some(pool) if !world.tables[world.pools[pool].table].types().is_empty() => Ok(pool),
        _ => Err(NotCandidate::NoPool),
    }?;
    if in_queue {
        return Err(NotCandidate::InQueue);
    }
    let waived = class == DisruptionClass::Eventual && of.termination_grace_period.is_some();
    if !waived && let Some(why) = of.pods.iter().find_map(|p| protected(world, p, world.now)) {
        return Err(why);
    }
    Ok(Candidate {
        node,
        name: of.name,
        pool,
        price: world.node_price(of),
        disruption_cost: disruption_cost(world, of),
    })
}

/// Puts candidates in the order in which they are looked at: most saving for the disturbance first, ties by name.
pub fn rank(candidates: &mut [Candidate], symbols: &crate::kubernetes::object::Symbols) {
    candidates.sort_by(|a, b| {
        let by_name = || symbols.text(a.name).cmp(symbols.text(b.name));
        b.savings_ratio().total_cmp(&a.savings_ratio()).then_with(by_name)
    });
}

/// Interleaves ranked candidates so that pools take turns, those in `first` before others.
#[must_use]
pub fn take_turns(ranked: &[Candidate], first: &[usize]) -> Vec<Candidate> {
    let mut pools: Vec<(bool, usize, Vec<Candidate>)> = Vec::new();
    for c in ranked {
        match pools.iter_mut().find(|(_, pool, _)| *pool == c.pool) {
            Some((_, _, own)) => own.push(*c),
            None => pools.push((!first.contains(&c.pool), c.pool, vec![*c])),
        }
    }
    pools.sort_by_key(|(later, _, _)| *later);
    let longest = pools.iter().map(|(_, _, own)| own.len()).max().unwrap_or(0);
    (0..longest).flat_map(|at| pools.iter().filter_map(move |(_, _, own)| own.get(at).copied())).collect()
}
