//! The end of a node: drained in waves, then terminated.

use super::super::given::given_of;
use super::super::nodes::SYSTEM;
use super::super::schedule::task_of;
use crate::cluster::{LifeCycle, NodeEnd, StopCode};
use crate::kernel::{Phase, SimDuration};
use crate::kubernetes::karpenter::instance::CapacityType;
use crate::kubernetes::karpenter::termination::{self, Step, Termination};
use crate::kubernetes::karpenter::world::Owner;
use crate::kubernetes::scheduler::PodKey;
use crate::simulation::{Simulation, Timer};
use crate::units::NodeId;

impl Simulation<'_> {
    /// A NodeClaim is deleted: its node is drained in waves, then terminated.
    pub(in crate::simulation) fn delete_claim(&mut self, node: NodeId, why: NodeEnd) {
        let now = self.queue.now();
        if self.cluster.node(node).life >= LifeCycle::Terminating {
            return;
        }
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        let Some(claim) = k.claims.get_mut(&node) else { return };
        if claim.termination.is_some() {
            return;
        }
        let grace = k.pools[claim.pool].termination_grace_period;
        claim.termination = Some(Termination::new(now, grace));
        claim.why = why;
        k.version += 1;
        self.cordon(node);
        self.trigger_batch(SYSTEM | u64::from(node.0));
        self.go_on_terminating(node);
    }

    /// The next step of a termination. False where none is under way.
    pub(in crate::simulation) fn go_on_terminating(&mut self, node: NodeId) -> bool {
        let now = self.queue.now();
        let Some(k) = &self.kube().karpenter else { return false };
        let Some(claim) = k.claims.get(&node) else { return false };
        let (Some(mut memory), why) = (claim.termination, claim.why) else { return false };
        if self.cluster.node(node).life >= LifeCycle::Terminating {
            return true;
        }
        let (ids, nodes) = self.node_views(k);
        let Some(at) = ids.iter().position(|n| *n == node) else { return false };
        // Pods of the system go with the machine.
        let mut own = nodes[at].clone();
        own.pods.retain(|p| p.uid < SYSTEM && p.owner != Owner::DaemonSet);
        let step = termination::step(&self.world_of(k, &nodes), &own, &mut memory, 0);
        if let Some(claim) = self.kube_mut().karpenter.as_mut().and_then(|k| k.claims.get_mut(&node)) {
            claim.termination = Some(memory);
        }
        match step {
            Step::Drain { evict, force, .. } => {
                let pods = own.pods.len();
                let mut refused = 0_u32;
                for row in evict.iter().chain(&force).filter_map(|uid| given_of(PodKey(*uid))) {
                    self.delete_given(row, "Evicted");
                }
                for task in evict.into_iter().filter_map(|uid| task_of(PodKey(uid))).collect::<Vec<_>>() {
                    refused += u32::from(!self.evict(task, "Evicted: Karpenter drains its node").granted());
                }
                for task in force.into_iter().filter_map(|uid| task_of(PodKey(uid))).collect::<Vec<_>>() {
                    self.delete_pod(task, StopCode::Evicted, "Deleted: the grace period of its node is over");
                }
                if refused > 0 {
                    self.note_refused(node, refused, pods);
                }
                let again = now + SimDuration::from_secs(if refused > 0 { 5 } else { 1 });
                self.schedule_timer_if_due(Timer::Drain(node), again, Phase::Decision);
            }
            Step::Settle(at) => self.schedule_timer_if_due(Timer::Drain(node), at, Phase::Decision),
            Step::DetachVolumes | Step::TerminateInstance => self.terminate_node(node, why),
        }
        true
    }

    /// A Spot node of Karpenter has its notice.
    pub(in crate::simulation) fn claim_has_notice(&mut self, node: NodeId) {
        let now = self.queue.now();
        let spec = self.cluster.node(node).spec;
        let name = self.group(spec.capacity).and_then(|g| g.types.get(spec.kind as usize)).map(|t| t.of.name);
        let zone = format!("{}{}", self.plan.cluster.region, char::from(b'a' + spec.zone.0.min(25) as u8));
        let kube = self.kube_mut();
        let symbols = kube.scheduler.symbols();
        let pair = name.and_then(|n| symbols.get(n)).zip(symbols.get(&zone));
        if let (Some(k), Some((of, zone))) = (&mut kube.karpenter, pair) {
            k.unavailable.mark(CapacityType::Spot, of, zone, now);
        }
        self.delete_claim(node, NodeEnd::SpotInterruption);
    }
}
