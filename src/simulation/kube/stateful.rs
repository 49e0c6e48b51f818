//! StatefulSets at work: pods with numbers, made and unmade in order, each with a volume of its own.

use super::super::{Simulation, Timer};
use super::workloads::{QUOTA_RETRY, of};
use crate::cluster::{DeploymentOutcome, StopCode};
use crate::kernel::Phase;
use crate::kubernetes::deployment::Template;
use crate::kubernetes::stateful_set::{
    self, DeleteReason, PodAction, PodManagementPolicy, StatefulPod, StatefulSetSpec, UpdateStrategy, Waiting,
    WhenScaled,
};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{PodManagementPolicy as Policy, RetentionPolicy, UpdateType};
use crate::units::{ServiceId, TaskId};

/// Most passes at one instant: what one pass asks for, the next one sees.
const PASSES: usize = 16;

impl Simulation<'_> {
    /// The specification of a StatefulSet as it is now.
    pub(super) fn stateful_spec(&self, service: ServiceId) -> StatefulSetSpec {
        let k = self.kube().workloads[service.index()].plan;
        let state = self.cluster.service(service);
        StatefulSetSpec {
            replicas: state.desired,
            start: k.ordinals.start,
            pod_management_policy: match k.pod_management_policy {
                Policy::OrderedReady => PodManagementPolicy::OrderedReady,
                Policy::Parallel => PodManagementPolicy::Parallel,
            },
            update_strategy: match k.update_strategy.r#type {
                UpdateType::OnDelete => UpdateStrategy::OnDelete,
                UpdateType::RollingUpdate => UpdateStrategy::RollingUpdate {
                    partition: k.update_strategy.partition,
                    max_unavailable: of(k.update_strategy.max_unavailable),
                },
            },
            min_ready: self.min_ready(service),
            when_scaled: match k.persistent_volume_claim_retention_policy.when_scaled {
                RetentionPolicy::Retain => WhenScaled::Retain,
                RetentionPolicy::Delete => WhenScaled::Delete,
            },
            template: Template(state.primary().map_or(0, |d| d.revision)),
        }
    }

    fn observe_ordinals(&self, service: ServiceId) -> Vec<StatefulPod> {
        let pod = |t: &crate::cluster::Task| {
            let pod = &self.kube().pods[t.id.index()];
            Some(StatefulPod {
                ordinal: pod.ordinal?,
                template: Template(t.revision),
                // Containers that end are started again in their pod.
                ended: false,
                ready_since: pod.ready_since,
                terminating: t.stop_code.is_some(),
            })
        };
        self.cluster.tasks_of(service).filter_map(pod).collect()
    }

    /// The pod of an ordinal that nobody has asked to go.
    fn pod_of_ordinal(&self, service: ServiceId, ordinal: u32) -> Option<TaskId> {
        let is = |t: &&crate::cluster::Task| {
            t.stop_code.is_none() && self.kube().pods[t.id.index()].ordinal == Some(ordinal)
        };
        self.cluster.tasks_of(service).find(is).map(|t| t.id)
    }

    /// One look of a StatefulSet's controller.
    pub(super) fn sync_stateful_set(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let spec = self.stateful_spec(service);
        self.note_revision(service, spec.template);
        let mut last = None;
        for _ in 0..PASSES {
            let pods = self.observe_ordinals(service);
            let w = &mut self.kube_mut().workloads[service.index()];
            let pass = stateful_set::sync(&spec, &w.stateful, &pods, now);
            w.stateful = pass.status;
            let mut refused = false;
            for &action in &pass.actions {
                match action {
                    PodAction::Create { ordinal, template, .. } => {
                        refused |= !self.create_ordinal(service, ordinal, template);
                    }
                    PodAction::Delete { ordinal, why } => self.delete_ordinal(service, ordinal, why),
                }
            }
            let done = pass.actions.is_empty();
            last = Some((done, pass.waiting));
            if done || refused {
                let again = refused.then(|| now + QUOTA_RETRY).or(pass.next_check);
                if let Some(at) = again.filter(|at| *at > now) {
                    self.schedule_timer_if_due(Timer::Scheduler(service), at, Phase::Decision);
                }
                break;
            }
        }
        if let Some((done, waiting)) = last {
            self.judge_stateful(service, &spec, done, waiting);
        }
    }

    /// Makes the pod of an ordinal; false where the namespace's quota refuses it.
    fn create_ordinal(&mut self, service: ServiceId, ordinal: u32, template: Template) -> bool {
        if !self.quota_admits(service) {
            let now = self.queue.now();
            self.services[service.index()].trouble.note(super::super::trouble::TroubleKind::Forbidden, now);
            return false;
        }
        let started_by = self.why_created(service);
        let Some(task) = self.create_pod_of(service, template.0, Some(ordinal), started_by) else { return true };
        if started_by == "scaling" {
            self.tasks[task.index()].cause = Some(self.services[service.index()].scale_outs.len() as u32 - 1);
        }
        self.admit_pod(task);
        true
    }

    fn delete_ordinal(&mut self, service: ServiceId, ordinal: u32, why: DeleteReason) {
        let Some(task) = self.pod_of_ordinal(service, ordinal) else { return };
        let text = match why {
            DeleteReason::Ended => "It ended",
            DeleteReason::ScaleDown => "Its StatefulSet was scaled down",
            DeleteReason::Update => "Replaced by a pod of the new revision",
        };
        if why == DeleteReason::Update && self.cluster.service(service).deploying() {
            let name = self.services[service.index()].name;
            let revision = self.cluster.task(task).revision;
            let row = DecisionRow {
                time_s: self.queue.now().into(),
                controller: "stateful_set".into(),
                subject: format!("services.{name}").into(),
                service: name.into(),
                from: Some(i64::from(revision) + 1),
                result: Some(self.cluster.service(service).primary().map_or(0, |d| i64::from(d.revision) + 1)),
                reason: "update".into(),
                explanation: format!("{name}-{ordinal} goes, to come back with the new revision").into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
            self.recorder.decision(&row, &detail);
        }
        self.delete_pod(task, StopCode::ServiceSchedulerInitiated, text);
    }

    /// Writes down where an update is, and whether it has come to its end.
    fn judge_stateful(&mut self, service: ServiceId, spec: &StatefulSetSpec, done: bool, waiting: Option<Waiting>) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        let partition = match spec.update_strategy {
            UpdateStrategy::RollingUpdate { partition, .. } => partition.min(spec.replicas),
            UpdateStrategy::OnDelete => 0,
        };
        let new = self
            .cluster
            .tasks_of(service)
            .filter(|t| t.stop_code.is_none() && t.revision == spec.template.0 && self.is_available(t.id))
            .filter_map(|t| self.kube().pods[t.id.index()].ordinal)
            .filter(|o| *o >= spec.start.saturating_add(partition) && spec.wants(*o))
            .count();
        let enough = new >= (spec.replicas - partition) as usize;
        if done && waiting.is_none() && enough {
            self.end_deployment(service, DeploymentOutcome::Completed);
            return;
        }
        let name = self.services[service.index()].name;
        let refused = self.kube().workloads[service.index()].refused.clone();
        let waits = match waiting {
            Some(Waiting::Terminating(ordinal)) => format!("the end of {name}-{ordinal}"),
            Some(Waiting::Unavailable(ordinal)) => {
                let pod = self.pod_of_ordinal(service, ordinal);
                let why = pod.map_or(refused, |t| self.why_not(t).map(str::to_string));
                let why = why.map_or_else(String::new, |why| format!("{why}: "));
                format!("{why}the availability of {name}-{ordinal}")
            }
            Some(Waiting::MaxUnavailable(pods)) => format!("fewer than {pods} pods to be unavailable"),
            None if spec.update_strategy == UpdateStrategy::OnDelete => {
                "somebody to delete the old pods (OnDelete)".to_string()
            }
            None => "pods to end and to start".to_string(),
        };
        self.deployment_goes_on(service, &waits);
    }
}
