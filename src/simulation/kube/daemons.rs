//! DaemonSets at work: a pod on every node that should have one, and new revisions node by node.

use super::super::{Simulation, Timer};
use super::pods::pod_key;
use super::workloads::of;
use crate::cluster::{Command, DeploymentOutcome, LifeCycle, NodeStatus, StopCode};
use crate::kernel::Phase;
use crate::kubernetes::daemon_set::{
    self, DaemonNode, DaemonPod, DaemonSetSpec, DaemonSetSync, Placement, UpdateStrategy, placement,
};
use crate::kubernetes::deployment::Template;
use crate::kubernetes::object::{NodeSelectorTerm, Operator, Requirement};
use crate::kubernetes::scheduler::{Code, NodeId as Seat, ShapeId};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{UpdateType, WorkloadKind};
use crate::units::{NodeId, ServiceId, TaskId};

/// Most passes at one instant: what one pass asks for, the next one sees.
const PASSES: usize = 16;

impl Simulation<'_> {
    /// Every DaemonSet looks at the nodes.
    pub(super) fn wake_daemon_sets(&mut self) {
        for index in 0..self.services.len() {
            if self.kube().workloads[index].plan.kind == WorkloadKind::DaemonSet {
                self.wake_scheduler(ServiceId::from(index));
            }
        }
    }

    fn daemon_spec(&self, service: ServiceId) -> DaemonSetSpec {
        let k = self.kube().workloads[service.index()].plan;
        let revision = self.cluster.service(service).primary().map_or(0, |d| d.revision);
        DaemonSetSpec {
            update_strategy: match k.update_strategy.r#type {
                UpdateType::OnDelete => UpdateStrategy::OnDelete,
                UpdateType::RollingUpdate => UpdateStrategy::RollingUpdate {
                    max_unavailable: of(k.update_strategy.max_unavailable),
                    max_surge: of(k.update_strategy.max_surge),
                },
            },
            min_ready: self.min_ready(service),
            template: Template(revision),
        }
    }

    /// What a node means to a DaemonSet.
    fn means(&self, shape: ShapeId, node: NodeId, seat: Seat) -> Placement {
        let n = self.cluster.node(node);
        // A machine that shuts down takes its pods with it, and Karpenter's taint on a node that is to go is tolerated by few.
        let leaving = !matches!(n.life, LifeCycle::Pending | LifeCycle::InService)
            || n.status == NodeStatus::Draining && self.is_of_karpenter(node);
        let scheduler = &self.kube().scheduler;
        match (scheduler.shape(shape), scheduler.node(seat)) {
            _ if leaving => Placement::Keep,
            (Some(pod), Some(seen)) => placement(pod, seen, scheduler.symbols()),
            _ => Placement::Keep,
        }
    }

    fn observe_nodes(&self, service: ServiceId) -> Vec<DaemonNode<NodeId, TaskId>> {
        let kube = self.kube();
        let shape = kube.workloads[service.index()].shape;
        let seats = kube.seats.iter().enumerate().filter_map(|(at, seat)| Some((NodeId::from(at), (*seat)?)));
        let mut nodes: Vec<DaemonNode<NodeId, TaskId>> = seats
            .map(|(node, seat)| DaemonNode {
                node,
                placement: self.means(shape, node, seat),
                pods: Vec::new(),
                failures: 0,
                last_failure: None,
            })
            .collect();
        for t in self.cluster.tasks_of(service) {
            let pod = &kube.pods[t.id.index()];
            let at = pod.pinned.and_then(|on| nodes.binary_search_by_key(&on, |n| n.node).ok());
            if let Some(at) = at {
                nodes[at].pods.push(DaemonPod {
                    pod: t.id,
                    template: Template(t.revision),
                    failed: false,
                    ready_since: pod.ready_since,
                    terminating: t.stop_code.is_some(),
                });
            }
        }
        nodes
    }

    /// One look of a DaemonSet's controller.
    pub(super) fn sync_daemon_set(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let spec = self.daemon_spec(service);
        self.note_revision(service, spec.template);
        let mut pass = None;
        for _ in 0..PASSES {
            let nodes = self.observe_nodes(service);
            let found = daemon_set::sync(&spec, &nodes, now);
            self.set_daemons(service, found.desired);
            self.say_daemons(service, &found);
            for &task in &found.delete {
                let why = match self.cluster.service(service).deploying() {
                    true => "Replaced by a pod of the new revision",
                    false => "Its node should have no pod of the DaemonSet",
                };
                self.delete_pod(task, StopCode::ServiceSchedulerInitiated, why);
            }
            self.forget_lost_daemons(service);
            let mut refused = false;
            for &node in &found.create {
                if !self.create_daemon(service, spec.template, node) {
                    refused = true;
                    break;
                }
            }
            let changed = !found.delete.is_empty() || !found.create.is_empty();
            let again = refused.then(|| now + super::workloads::QUOTA_RETRY).or(found.next_check);
            pass = Some(found);
            if refused || !changed {
                if let Some(at) = again.filter(|at| *at > now) {
                    self.schedule_timer_if_due(Timer::Scheduler(service), at, Phase::Decision);
                }
                break;
            }
        }
        if let Some(pass) = pass {
            self.judge_daemons(service, &spec, &pass);
        }
    }

    /// A pod for a node; false where the namespace's quota refuses it.
    fn create_daemon(&mut self, service: ServiceId, template: Template, node: NodeId) -> bool {
        let now = self.queue.now();
        let started_by = if self.cluster.service(service).deploying() { "deployment" } else { "new node" };
        if !self.quota_admits(service) {
            self.services[service.index()].trouble.note(super::super::trouble::TroubleKind::Forbidden, now);
            return false;
        }
        let Some(task) = self.create_pod(service, template.0, started_by) else { return true };
        self.kube_mut().pods[task.index()].pinned = Some(node);
        let (shape, seat) = (self.shape_of(task), self.kube().seat_of(node));
        match seat {
            // The scheduler would find this node, and no other.
            Some(seat) if self.kube().scheduler.fits(shape, seat) == Code::Success => {
                self.kube_mut().scheduler.place(pod_key(task), shape, seat, now);
                self.bind_pod(task, node);
            }
            _ => {
                self.pin(task, node);
                self.enqueue_pod(task);
            }
        }
        true
    }

    /// Pods that wait for a node that is gone would wait for ever. Source: `getUnscheduledPodsWithoutNode`.
    fn forget_lost_daemons(&mut self, service: ServiceId) {
        let kube = self.kube();
        let lost = |pod: &super::Pod| !pod.bound && pod.pinned.is_some_and(|node| kube.seat_of(node).is_none());
        let of_service = self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()).map(|t| t.id);
        let gone: Vec<TaskId> = of_service.filter(|t| lost(&kube.pods[t.index()])).collect();
        for task in gone {
            self.delete_pod(task, StopCode::ServiceSchedulerInitiated, "Its node is gone");
        }
    }

    /// A pod that may go to one node only. Source: `ReplaceDaemonSetPodNodeNameNodeAffinity`.
    fn pin(&mut self, task: TaskId, node: NodeId) {
        let kube = self.kube_mut();
        let name = kube.seat_of(node).and_then(|seat| kube.scheduler.node(seat)).map(|n| n.name);
        let spec = kube.scheduler.shape(kube.pods[task.index()].shape).cloned();
        if let (Some(name), Some(mut spec)) = (name, spec) {
            let names = vec![Requirement { key: name, operator: Operator::In, values: vec![name] }];
            spec.required_node_affinity = Some(vec![NodeSelectorTerm { expressions: Vec::new(), names }]);
            kube.pods[task.index()].shape = kube.add_shape(spec);
        }
    }

    /// The pods of DaemonSets on a node that has run for long when the simulation starts.
    pub(in crate::simulation) fn start_daemons(&mut self, node: NodeId) {
        let now = self.queue.now();
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            let w = &self.kube().workloads[index];
            if w.plan.kind != WorkloadKind::DaemonSet {
                continue;
            }
            let (shape, seat) = (w.shape, self.kube().seat_of(node));
            let Some(seat) = seat.filter(|s| self.means(shape, node, *s) == Placement::Run) else { continue };
            if self.kube().scheduler.fits(shape, seat) != Code::Success || !self.quota_admits(service) {
                continue; // The controller makes it, and it waits.
            }
            let there = self.cluster.tasks_of(service).count() as u32;
            self.set_daemons(service, there + 1);
            let Some(task) = self.create_pod(service, 0, "initial") else { continue };
            let kube = self.kube_mut();
            kube.pods[task.index()].pinned = Some(node);
            kube.scheduler.place(pod_key(task), shape, seat, now);
            self.pod_has_run(task, Some(node));
        }
    }

    fn set_daemons(&mut self, service: ServiceId, desired: u32) {
        if self.cluster.service(service).desired != desired {
            self.apply(Command::SetDesired { service, desired });
        }
    }

    /// Writes down what an update does.
    fn say_daemons(&mut self, service: ServiceId, pass: &DaemonSetSync<NodeId, TaskId>) {
        let changed = !pass.delete.is_empty() || !pass.create.is_empty();
        if !changed || !self.cluster.service(service).deploying() {
            return;
        }
        let text = format!(
            "{} pods of the old revision go, {} nodes get a pod; of {} nodes {} have an available pod, {} the new revision",
            pass.delete.len(),
            pass.create.len(),
            pass.desired,
            pass.available,
            pass.updated
        );
        let name = self.services[service.index()].name;
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "daemon_set".into(),
            subject: format!("services.{name}").into(),
            service: name.into(),
            from: Some(i64::from(pass.desired)),
            result: Some(i64::from(pass.available)),
            reason: "update".into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
        self.recorder.decision(&row, &detail);
    }

    /// Writes down where an update is, and whether it has come to its end.
    fn judge_daemons(&mut self, service: ServiceId, spec: &DaemonSetSpec, pass: &DaemonSetSync<NodeId, TaskId>) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        let changed = !pass.delete.is_empty() || !pass.create.is_empty();
        if !changed && pass.updated == pass.desired && pass.available == pass.desired {
            self.end_deployment(service, DeploymentOutcome::Completed);
            return;
        }
        let (old, away) = (pass.desired - pass.updated, pass.desired - pass.available);
        let waits = match spec.update_strategy {
            UpdateStrategy::OnDelete if old > 0 => "somebody to delete the old pods (OnDelete)".to_string(),
            _ => {
                let why = self.why_not_available(service, spec.template.0);
                let why = if why.is_empty() { why } else { format!(" ({why})") };
                format!("pods on {away} of {} nodes to be available{why}", pass.desired)
            }
        };
        self.deployment_goes_on(service, &waits);
    }
}
