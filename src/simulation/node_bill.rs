//! What instances cost: when their bill begins and ends.

use super::Simulation;
use crate::cluster::Node;
use crate::units::{NodeId, Usd};

impl Simulation<'_> {
    /// An instance is billed from now on.
    pub(super) fn start_node_bill(&mut self, node: NodeId) {
        let now = self.queue.now();
        let runtime = &mut self.nodes[node.index()];
        runtime.billed_from = runtime.billed_from.or(Some(now));
        runtime.billed_until = None;
    }

    /// An instance is no longer billed.
    pub(super) fn stop_node_bill(&mut self, node: NodeId) {
        let now = self.queue.now();
        let runtime = &mut self.nodes[node.index()];
        if runtime.billed_from.is_some() && runtime.billed_until.is_none() {
            runtime.billed_until = Some(now);
        }
    }

    /// The list price of an instance's hour.
    pub(super) fn node_price(&self, n: &Node) -> Usd {
        let here = |p: &&crate::capacity::mixed_instances::Pool| p.kind == n.spec.kind && p.zone == n.spec.zone;
        let pool = self.group(n.spec.capacity).and_then(|g| g.pools.iter().find(here));
        let price = pool.and_then(|p| match n.spec.market {
            crate::cluster::Market::OnDemand => p.on_demand,
            crate::cluster::Market::Spot => p.spot,
        });
        price.unwrap_or(Usd::ZERO)
    }

    /// What an instance has cost so far.
    pub(super) fn node_cost(&self, _node: NodeId) -> Usd {
        Usd::ZERO
    }
}
