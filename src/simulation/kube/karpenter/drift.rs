//! NodePools that change while they run, and the nodes that drift because of it.

use super::Claim;
use super::pools::{changed, pool_of};
use crate::kubernetes::karpenter::disruption::budgets;
use crate::kubernetes::karpenter::disruption::candidates::{DisruptionClass, NotCandidate, candidate};
use crate::kubernetes::karpenter::disruption::drift::{self, DriftReason, RECHECK};
use crate::kubernetes::karpenter::pool::Reason;
use crate::kubernetes::karpenter::world::Drift;
use crate::scenario::model::{Capacity, UpdateNodePoolAction};
use crate::simulation::Simulation;
use crate::units::NodeId;

impl Simulation<'_> {
    /// Somebody changes a NodePool or its node class. Says what became of that.
    pub(in crate::simulation) fn update_node_pool(&mut self, action: &UpdateNodePoolAction) -> String {
        let now = self.queue.now();
        let Some((at, _, Capacity::NodePool(_))) = self.plan.capacity.get_full(&action.capacity) else {
            return "there is no such NodePool".to_string();
        };
        let kube = self.kube_mut();
        let Some(k) = &mut kube.karpenter else { return "Karpenter is not installed".to_string() };
        let Some(pool) = k.capacities.iter().position(|c| c.index() == at) else {
            return "there is no such NodePool".to_string();
        };
        k.written[pool] = changed(&k.written[pool], action);
        let table = k.pools[pool].table;
        k.pools[pool] = pool_of(&action.capacity, &k.written[pool], table, kube.scheduler.symbols_mut());
        k.images[pool] += u32::from(action.new_image);
        k.version += 1;
        k.changes += 1;
        // A change of the pool is noticed at once, another image when a node is next looked at.
        if !action.is_of_image_only() {
            for claim in k.claims.values_mut().filter(|c| c.pool == pool) {
                claim.drift_due = now;
            }
        }
        let image = if action.new_image { ", with a new machine image" } else { "" };
        format!("NodePool {} is changed{image}: nodes that are no longer as it says drift", action.capacity)
    }

    /// NodeClaims are compared with what their pools now say.
    pub(super) fn look_for_drift(&mut self) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        if k.changes == 0 {
            // Nothing but the end of a type could be found, and types do not end during a run.
            for claim in k.claims.values_mut().filter(|c| c.drift_due <= now) {
                claim.drift_due += RECHECK;
            }
            return;
        }
        let Some(k) = &self.kube().karpenter else { return };
        let due: Vec<NodeId> =
            k.claims.iter().filter(|(_, c)| c.termination.is_none() && c.drift_due <= now).map(|(n, _)| *n).collect();
        if due.is_empty() {
            return;
        }
        let (ids, nodes) = self.node_views(k);
        let world = self.world_of(k, &nodes);
        let found: Vec<(NodeId, Option<DriftReason>)> = due
            .into_iter()
            .filter_map(|node| {
                let claim = k.claims.get(&node)?;
                let view = &nodes[ids.iter().position(|n| *n == node)?];
                let provider = (claim.image < k.images[claim.pool]).then_some(DriftReason::Ami);
                // A node is not compared before it is there.
                view.initialized?;
                Some((node, drift::drifted(&world, view, claim.made_of, provider)))
            })
            .collect();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        for (node, reason) in found {
            let Some(claim) = k.claims.get_mut(&node) else { continue };
            claim.drift_due = now + RECHECK;
            let drift = match (reason, claim.drift) {
                (Some(reason), Some(known)) => Some(Drift { reason, since: known.since }),
                (Some(reason), None) => Some(Drift { reason, since: now }),
                (None, _) => None,
            };
            if drift != claim.drift {
                claim.drift = drift;
                k.version += 1;
            }
        }
    }

    /// Where nothing is done although nodes have drifted, what keeps each of them is written down.
    pub(super) fn say_what_holds_drift(&mut self) {
        let Some(k) = &self.kube().karpenter else { return };
        let waits = |c: &Claim| c.drift.is_some() && !c.marked && c.termination.is_none();
        let busy = !k.queue.is_empty() || k.claims.values().any(|c| c.marked || c.termination.is_some());
        if busy || !k.claims.values().any(waits) {
            return;
        }
        let (ids, nodes) = self.node_views(k);
        let world = self.world_of(k, &nodes);
        let left = budgets::left(&world, Reason::Drifted);
        let mut found = Vec::new();
        for (node, claim) in k.claims.iter().filter(|(_, c)| waits(c)) {
            let Some(at) = ids.iter().position(|n| n == node) else { continue };
            let why = match candidate(&world, at, DisruptionClass::Eventual, false) {
                Err(NotCandidate::PodDoNotDisrupt(pod)) => format!("pod {pod} must not be disrupted"),
                Err(NotCandidate::PodBudget(pod)) => format!("a disruption budget holds pod {pod}"),
                Err(_) => continue,
                Ok(c) if left[c.pool] == Some(0) => "the budgets of its NodePool allow no disruption".to_string(),
                Ok(_) => "its pods would find no place".to_string(),
            };
            if claim.held.as_ref() != Some(&why) {
                found.push((*node, why));
            }
        }
        for (node, why) in found {
            let Some(claim) = self.kube_mut().karpenter.as_mut().and_then(|k| k.claims.get_mut(&node)) else {
                continue;
            };
            claim.held = Some(why.clone());
            let pool = claim.pool;
            let Some(capacity) = self.kube().karpenter.as_ref().map(|k| k.capacities[pool]) else { return };
            let text = format!("node {} has drifted and stays: {why}", node.0);
            self.record_karpenter(capacity, None, "drift_blocked", text);
        }
    }
}
