//! The Balanced policy: a move is made where its share of the pool's cost is worth its share of the pool's disturbance.
//!
//! Source: `kubernetes-sigs/karpenter`, `disruption/balanced.go` (v1.14).

use super::candidates::{Candidate, disruption_cost};
use crate::kubernetes::karpenter::pool::ConsolidationPolicy;
use crate::kubernetes::karpenter::world::World;
use crate::units::Usd;

/// The policy's `k`: a move must save at least one k-th of the share that it disturbs.
pub const K: f64 = 2.0;

/// What all nodes of a pool cost, in money and in disturbance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolTotals {
    /// Dollars an hour.
    pub cost: f64,
    /// Sum of disruption costs.
    pub disruption: f64,
}

/// The totals of each pool, over all its nodes and not only those that may be disrupted.
#[must_use]
pub fn totals(world: &World<'_>) -> Vec<PoolTotals> {
    let mut all = vec![PoolTotals::default(); world.pools.len()];
    for node in world.nodes.iter().filter(|n| n.managed && !n.is_going()) {
        if let Some(pool) = node.pool {
            all[pool].cost += world.node_price(node).dollars();
            all[pool].disruption += disruption_cost(world, node);
        }
    }
    all
}

/// The score of a move: its share of the cost over its share of the disturbance. Without a saving, or in a pool without totals, 0;
/// without disturbance infinite.
#[must_use]
pub fn score(savings: f64, disruption: f64, totals: PoolTotals) -> f64 {
    if savings <= 0.0 || totals.cost <= 0.0 {
        0.0
    } else if disruption <= 0.0 {
        f64::INFINITY
    } else if totals.disruption <= 0.0 {
        0.0
    } else {
        (savings / totals.cost) / (disruption / totals.disruption)
    }
}

/// Whether a score is enough.
#[must_use]
pub fn approves(score: f64, k: f64) -> bool {
    score >= 1.0 / k
}

/// The score of a move in one pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolScore {
    /// The pool.
    pub pool: usize,
    /// Its score.
    pub score: f64,
    /// Whether it is enough.
    pub approved: bool,
}

/// The scores of a move in every pool with the Balanced policy that it touches. `replacement` is what the new node is expected to cost.
/// The saving is split over pools by their share of what the candidates cost.
#[must_use]
pub fn scores(world: &World<'_>, moved: &[Candidate], replacement: Usd, totals: &[PoolTotals]) -> Vec<PoolScore> {
    let source: f64 = moved.iter().map(|c| c.price.dollars()).sum();
    let savings = source - replacement.dollars();
    let mut pools: Vec<usize> = moved.iter().map(|c| c.pool).collect();
    pools.sort_unstable();
    pools.dedup();
    pools.retain(|p| world.pools[*p].disruption.consolidation_policy == ConsolidationPolicy::Balanced);
    let of = |pool: usize| {
        let own = || moved.iter().filter(move |c| c.pool == pool);
        let price: f64 = own().map(|c| c.price.dollars()).sum();
        let share = if source > 0.0 { price / source } else { 0.0 };
        let score = score(savings * share, own().map(|c| c.disruption_cost).sum(), totals[pool]);
        PoolScore { pool, score, approved: approves(score, K) }
    };
    pools.into_iter().map(of).collect()
}
