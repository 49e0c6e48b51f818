//! Claims of EBS volumes: bound to the zone of the first pod, attached to one node at a time.

use super::super::Simulation;
use super::nodes::zone_name;
use crate::cluster::TaskStatus;
use crate::kernel::SimDuration;
use crate::kubernetes::scheduler::ClusterEvent;
use crate::units::{NodeId, ServiceId, TaskId};

/// Wait of the kubelet before it asks again for a volume that another node has. Source: back-off of the attach-detach
/// controller, which grows to about two minutes; here it stays.
pub(super) const ATTACH_RETRY: SimDuration = SimDuration::from_secs(10);

impl Simulation<'_> {
    /// A pod is bound to a node: the claim of its workload, if there is one, is bound to the node's zone, and from now on its
    /// pods go nowhere else.
    pub(super) fn bind_claim(&mut self, task: TaskId, node: NodeId) {
        let service = self.cluster.task(task).service;
        let w = &self.kube().workloads[service.index()];
        if w.plan.volume_claim.is_none() || w.volume_zone.is_some() {
            return;
        }
        let zone = self.cluster.node(node).spec.zone;
        let name = zone_name(&self.plan.cluster.region, zone);
        let kube = self.kube_mut();
        let Some(mut spec) = kube.scheduler.shape(kube.workloads[service.index()].shape).cloned() else { return };
        spec.volume_zones = vec![vec![kube.scheduler.symbols_mut().intern(&name)]];
        let shape = kube.scheduler.add_shape(spec);
        let w = &mut kube.workloads[service.index()];
        w.volume_zone = Some(zone);
        w.shape = shape;
        self.cluster_event(ClusterEvent::PodAssigned);
    }

    /// Whether the volume of a workload is mounted by a pod on another node than this.
    pub(super) fn claim_is_off(&self, service: ServiceId, node: NodeId) -> bool {
        self.kube().workloads[service.index()].plan.volume_claim.is_some()
            && self.cluster.tasks_of(service).any(|t| {
                (TaskStatus::Pending..TaskStatus::Deprovisioning).contains(&t.status)
                    && t.node.is_some_and(|n| n != node)
            })
    }

    /// Whether a pod cannot have its volume yet, because another node has it.
    pub(super) fn volume_is_elsewhere(&self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        t.node.is_some_and(|node| self.claim_is_off(t.service, node))
    }
}
