//! Volumes of pods: claims of EBS volumes, bound to a zone and attached to one node at a time, and file systems of EFS.

use super::super::start::{draw_time, purpose};
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use super::nodes::zone_name;
use crate::cluster::{LifeCycle, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::scheduler::ClusterEvent;
use crate::scenario::model::WorkloadKind;
use crate::units::{NodeId, ServiceId, TaskId};

/// Wait of the kubelet before it asks again for a volume that another node has. Source: back-off of the attach-detach
/// controller, which grows to about two minutes; here it stays.
const ATTACH_RETRY: SimDuration = SimDuration::from_secs(10);

/// Where the volume of a claim is.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::simulation) struct Attachment {
    /// The node that has it, or had it last.
    node: Option<NodeId>,
    /// Whether it is still attached there.
    attached: bool,
    /// When its attachment, or its detachment, is done.
    done: SimTime,
}

impl Simulation<'_> {
    /// A pod is bound to a node: its claim, if it has one, is bound to the node's zone, and from now on its pods go nowhere
    /// else.
    pub(super) fn bind_claim(&mut self, task: TaskId, node: NodeId) {
        let service = self.cluster.task(task).service;
        let w = &self.kube().workloads[service.index()];
        if w.plan.volume_claim.is_none() {
            return;
        }
        let zone = zone_name(&self.plan.cluster.region, self.cluster.node(node).spec.zone);
        let kube = self.kube_mut();
        let zone = kube.scheduler.symbols_mut().intern(&zone);
        let ordinal = kube.pods[task.index()].ordinal;
        let w = &mut kube.workloads[service.index()];
        let before = w.claims();
        match ordinal {
            Some(ordinal) => w.stateful.bind(ordinal, zone),
            None => {
                w.claim_zone.get_or_insert(zone);
            }
        }
        if w.claims() == before {
            return;
        }
        self.bill_claims(service);
        if ordinal.is_none() {
            // Pods that share the claim and wait for a node have less choice now.
            let waits = |t: &TaskId| *t != task && !self.kube().pods[t.index()].bound;
            let waiting: Vec<TaskId> = self.cluster.tasks_of(service).map(|t| t.id).filter(waits).collect();
            for other in waiting {
                let (shape, _) = self.shape_for(service, None);
                let shape = self.with_images(other, shape);
                self.kube_mut().pods[other.index()].shape = shape;
            }
            self.cluster_event(ClusterEvent::PodAssigned);
        }
    }

    /// Tells the bill how many volumes of a workload there are.
    fn bill_claims(&mut self, service: ServiceId) {
        let count = self.kube().workloads[service.index()].claims();
        self.meter.volumes_claimed(service, count, self.queue.now());
    }

    /// Whether the volumes of a pod that has run for long when the simulation starts may be on this node.
    pub(super) fn volumes_are_there(&self, task: TaskId, node: NodeId) -> bool {
        let w = &self.kube().workloads[self.cluster.task(task).service.index()];
        let at = w.attachments.get(&self.kube().pods[task.index()].ordinal);
        at.is_none_or(|a| !a.attached || a.node == Some(node))
    }

    /// The volumes of a pod that has run for long when the simulation starts.
    pub(super) fn volumes_were_there(&mut self, task: TaskId, node: NodeId) {
        let service = self.cluster.task(task).service;
        let kube = self.kube_mut();
        let ordinal = kube.pods[task.index()].ordinal;
        let w = &mut kube.workloads[service.index()];
        if w.plan.volume_claim.is_some() {
            let there = Attachment { node: Some(node), attached: true, done: SimTime::ZERO };
            w.attachments.insert(ordinal, there);
        }
    }

    /// Until when a pod on a node has to wait for its volumes; `None` when it has them.
    pub(super) fn waits_for_volumes(&mut self, task: TaskId) -> Option<SimTime> {
        let now = self.queue.now();
        let attached = self.attaches(task);
        let mounted = self.mounts(task);
        attached.max(Some(mounted)).filter(|at| *at > now)
    }

    /// When the EBS volume of a pod is attached to its node, as far as that is known.
    fn attaches(&mut self, task: TaskId) -> Option<SimTime> {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let (service, node) = (t.service, t.node?);
        let kube = self.kube();
        let w = &kube.workloads[service.index()];
        w.plan.volume_claim.as_ref()?;
        let ordinal = kube.pods[task.index()].ordinal;
        let there = w.attachments.get(&ordinal).copied().unwrap_or_default();
        if there.node == Some(node) && (there.attached || there.done > now) {
            // It is there, or comes; or it was about to leave and is wanted again.
            let done = if there.attached { there.done } else { now };
            let stays = Attachment { attached: true, done, ..there };
            self.kube_mut().workloads[service.index()].attachments.insert(ordinal, stays);
            return Some(done);
        }
        if there.attached {
            let used = self.cluster.tasks_of(service).any(|o| {
                o.node == there.node
                    && (TaskStatus::Pending..TaskStatus::Deprovisioning).contains(&o.status)
                    && self.kube().pods[o.id.index()].ordinal == ordinal
            });
            if used {
                self.services[service.index()].trouble.note(TroubleKind::VolumeInUse, now);
            }
            return Some(now + ATTACH_RETRY);
        }
        if there.done > now {
            return Some(there.done);
        }
        let takes = draw_time(kube.settings.ebs_csi.attach.law(), self.draw_of(task), purpose::ATTACH);
        let comes = Attachment { node: Some(node), attached: true, done: now + takes };
        self.kube_mut().workloads[service.index()].attachments.insert(ordinal, comes);
        Some(comes.done)
    }

    /// When the file systems of a pod are mounted.
    fn mounts(&mut self, task: TaskId) -> SimTime {
        let mounted = self.queue.now() + self.mount_time(task);
        *self.kube_mut().pods[task.index()].mounted.get_or_insert(mounted)
    }

    /// How long the mounts of a pod's file systems take, one after the other.
    pub(in crate::simulation) fn mount_time(&self, task: TaskId) -> SimDuration {
        let service = self.cluster.task(task).service;
        let names = &self.services[service.index()].plan.kubernetes.file_systems;
        let of = &self.kube().settings.file_systems;
        let laws = names.iter().filter_map(|n| of.get(n)).map(|f| f.mount.law()).enumerate();
        let draw = self.draw_of(task);
        laws.fold(SimDuration::ZERO, |sum, (n, law)| sum + draw_time(law, draw.of(n as u64), purpose::MOUNT))
    }

    /// A pod is gone: its volume is detached, unless another pod on the node has it, and deleted where its StatefulSet says so.
    pub(super) fn volumes_are_free(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let (service, node) = (t.service, t.node);
        let kube = self.kube();
        let w = &kube.workloads[service.index()];
        if w.plan.volume_claim.is_none() {
            return;
        }
        let ordinal = kube.pods[task.index()].ordinal;
        let here = w.attachments.get(&ordinal).copied().filter(|a| a.attached && a.node == node && node.is_some());
        if let (Some(there), Some(node)) = (here, node) {
            let shared = self
                .cluster
                .tasks_of(service)
                .any(|o| o.id != task && o.node == Some(node) && kube.pods[o.id.index()].ordinal == ordinal);
            if !shared {
                // EC2 detaches the volumes of an instance that it terminates.
                let gone = self.cluster.node(node).life >= LifeCycle::Terminating;
                let law = kube.settings.ebs_csi.detach.law();
                let takes = match gone {
                    true => SimDuration::ZERO,
                    false => draw_time(law, self.draw_of(task), purpose::DETACH),
                };
                let leaves = Attachment { attached: false, done: now + takes, ..there };
                self.kube_mut().workloads[service.index()].attachments.insert(ordinal, leaves);
            }
        }
        if let Some(ordinal) = ordinal
            && self.kube().workloads[service.index()].plan.kind == WorkloadKind::StatefulSet
        {
            let spec = self.stateful_spec(service);
            let w = &mut self.kube_mut().workloads[service.index()];
            if w.stateful.pod_is_gone(&spec, ordinal) {
                w.attachments.remove(&Some(ordinal));
                self.bill_claims(service);
            }
        }
    }

    /// The kubelet looks again for a pod's volumes at this time.
    pub(super) fn look_for_volumes(&mut self, task: TaskId, at: SimTime) {
        self.tasks[task.index()].start = super::super::life::StartStep::Sandbox;
        self.queue.set_timer(Timer::Start(task), at, Phase::State);
    }
}
