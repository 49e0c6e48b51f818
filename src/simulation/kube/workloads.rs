//! Deployments and their ReplicaSets at work: one pass of the controller, and the pods that it asks for.

use super::super::scale::to_json;
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use std::collections::BTreeMap;

use super::hpa::HpaRuntime;
use super::pods::PodSize;
use super::progressive::{Progressive, TARGET};
use crate::cluster::{DeploymentOutcome, PodBounds, StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime, Streams};
use crate::kubernetes::deployment::{
    self, DeploymentSpec, DeploymentStatus, NewSet, PodReplacementPolicy, Reason, ReplicaSet, SetId, Step, Strategy,
    Template,
};
use crate::kubernetes::fargate::{FargateProfile, FargateSelector, profile_of as profile_of_labels};
use crate::kubernetes::object::{Selector, Symbol};
use crate::kubernetes::probes::Probes;
use crate::kubernetes::replica_set::{
    ActivePhase, Candidate, Manage, RankingFeatures, age, manage, rank_for_deletion, ranks,
};
use crate::kubernetes::scheduler::ShapeId;
use crate::kubernetes::stateful_set::StatefulSetStatus;
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{
    Capacity, IntOrPercent as Written, KubernetesService, Plan, Rollout, RolloutType, Service, WorkloadKind,
};
use crate::units::{CapacityId, IntOrPercent, NodeId, ServiceId, TaskId};

/// A ReplicaSet.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Set {
    pub(super) id: SetId,
    pub(super) template: Template,
    revision: u64,
    created: SimTime,
    pub(super) replicas: i32,
    annotated_desired: Option<i32>,
    annotated_max: Option<i32>,
    /// Pods are refused.
    pub(super) failing: bool,
}

/// A workload of Kubernetes.
pub(in crate::simulation) struct Workload<'p> {
    pub(super) plan: &'p KubernetesService,
    /// What its pods ask of a node.
    pub(super) shape: ShapeId,
    /// That shape with the images of a revision, the last that was asked for.
    pub(super) with_images: Option<(ShapeId, u32, ShapeId)>,
    /// Their priority.
    pub(super) priority: i32,
    /// What selects them.
    pub(super) selector: Selector,
    /// The probes of their container.
    pub(super) probes: Probes,
    /// The Fargate profile that takes its pods.
    pub(super) fargate: Option<CapacityId>,
    pub(super) sets: Vec<Set>,
    next_set: u32,
    pub(super) status: DeploymentStatus,
    /// Progressive delivery, instead of the Deployment's own controller.
    pub(super) rollout: Option<Progressive<'p>>,
    pub(super) hpa: Option<HpaRuntime>,
    pub(super) keda: Option<super::keda::KedaRuntime>,
    pub(super) vpa: Option<super::vpa::VpaRuntime>,
    /// What a StatefulSet remembers.
    pub(super) stateful: StatefulSetStatus,
    /// Revisions in the order in which they were last wanted, for `kubectl rollout undo` of what is not a Deployment.
    pub(super) history: Vec<u32>,
    /// The zone that the claim of all its pods is bound to, once it is.
    pub(super) claim_zone: Option<Symbol>,
    /// Where its volumes are: of an ordinal, or that of all pods.
    pub(super) attachments: BTreeMap<Option<u32>, super::volumes::Attachment>,
    /// Evictions that were granted, for its budget.
    pub(super) budget: super::evict::BudgetRuntime,
    /// Requests that reached its pods.
    pub(in crate::simulation) served: u64,
    /// Somebody's metric is of these requests: their number at the last points.
    pub(super) watched: bool,
    pub(super) requests: Vec<(SimTime, u64)>,
    /// Restarts of the container that was restarted most, and why the last one was.
    pub(super) most_restarts: u32,
    pub(super) restart_why: String,
    /// Pods that found no node, the first time, and what was said last.
    pub(super) unschedulable: u64,
    pub(super) unschedulable_first: Option<SimTime>,
    pub(super) why_not: Option<String>,
    /// Why its namespace's quota refused its last pod.
    pub(super) refused: Option<String>,
}

impl<'p> Workload<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        service_id: ServiceId,
        name: &str,
        service: &'p Service,
        (shape, selector, priority): (ShapeId, Selector, i32),
        streams: &Streams,
    ) -> Self {
        let replicas = i32::try_from(service.desired_count).unwrap_or(i32::MAX);
        let mut workload = Self {
            plan: &service.kubernetes,
            shape,
            with_images: None,
            priority,
            selector,
            probes: super::probes::probes_of(&service.kubernetes),
            fargate: profile_of(plan, name, service),
            sets: Vec::new(),
            next_set: 1,
            status: DeploymentStatus::default(),
            rollout: Progressive::new(&service.kubernetes),
            hpa: HpaRuntime::new(plan, service_id, name, service, streams),
            keda: super::keda::KedaRuntime::new(plan, name, service, streams),
            vpa: super::vpa::VpaRuntime::new(plan, name, service, streams),
            stateful: StatefulSetStatus { current: Some(Template(0)), ..StatefulSetStatus::default() },
            history: vec![0],
            claim_zone: None,
            attachments: BTreeMap::new(),
            budget: super::evict::BudgetRuntime::new(service),
            served: 0,
            watched: false,
            requests: Vec::new(),
            most_restarts: 0,
            restart_why: String::new(),
            unschedulable: 0,
            unschedulable_first: None,
            why_not: None,
            refused: None,
        };
        let most = replicas
            .saturating_add(i32::try_from(bounds(&service.kubernetes, service.desired_count).max_surge).unwrap_or(0));
        workload.sets.push(Set {
            id: SetId(0),
            template: Template(0),
            revision: 1,
            created: SimTime::ZERO,
            replicas,
            annotated_desired: Some(replicas),
            annotated_max: Some(most),
            failing: false,
        });
        workload
    }

    /// Adds a ReplicaSet.
    pub(super) fn add_set(&mut self, new: NewSet, now: SimTime) {
        let id = SetId(self.next_set);
        self.next_set += 1;
        self.sets.push(Set {
            id,
            template: new.template,
            revision: new.revision,
            created: now,
            replicas: new.replicas,
            annotated_desired: Some(new.annotated_desired),
            annotated_max: Some(new.annotated_max),
            failing: false,
        });
    }

    /// The volumes that it has claimed.
    pub(super) fn claims(&self) -> u32 {
        u32::from(self.claim_zone.is_some()) + self.stateful.claims.len() as u32
    }

    pub(super) fn spec(&self, desired: u32, revision: u32) -> DeploymentSpec {
        let k = self.plan;
        DeploymentSpec {
            replicas: i32::try_from(desired).unwrap_or(i32::MAX),
            strategy: match k.strategy.r#type {
                RolloutType::Recreate => Strategy::Recreate,
                RolloutType::RollingUpdate => Strategy::RollingUpdate {
                    max_surge: of(k.strategy.max_surge),
                    max_unavailable: of(k.strategy.max_unavailable),
                },
            },
            min_ready: SimDuration::from_secs(u64::from(k.min_ready_seconds)),
            progress_deadline: Some(SimDuration::from_secs(u64::from(k.progress_deadline_seconds))),
            revision_history_limit: Some(10),
            paused: false,
            pod_replacement_policy: PodReplacementPolicy::TerminationStarted,
            template: Template(revision),
        }
    }
}

/// A number of pods, or a share of them, in the terms of the decisions.
pub(super) fn of(value: Written) -> IntOrPercent {
    match value {
        Written::Int(n) => IntOrPercent::Int(i64::from(n)),
        Written::Percent(p) => IntOrPercent::Percent(i64::from(p)),
    }
}

/// The bounds of a workload at a number of replicas. The door keeps them.
pub(in crate::simulation) fn bounds(k: &KubernetesService, desired: u32) -> PodBounds {
    let free = PodBounds { max_surge: u32::MAX, max_unavailable: u32::MAX };
    let within = |surge: Written, unavailable: Written| {
        let max_surge = surge.of(desired, true);
        let unavailable = unavailable.of(desired, false);
        let max_unavailable = if max_surge == 0 && unavailable == 0 { 1 } else { unavailable };
        PodBounds { max_surge, max_unavailable }
    };
    if let Some(rollout) = &k.rollout {
        return match rollout {
            Rollout::ArgoCanary(c) if c.traffic_routing.is_none() => within(c.max_surge, c.max_unavailable),
            // A second full set, whose sizes follow the traffic.
            _ => free,
        };
    }
    match (k.kind, k.strategy.r#type) {
        // Their own rules are not bounds of a number: an ordinal may be missing while a higher one is too many.
        (WorkloadKind::DaemonSet | WorkloadKind::StatefulSet, _) => free,
        (_, RolloutType::Recreate) => PodBounds { max_surge: 0, max_unavailable: desired },
        (_, RolloutType::RollingUpdate) => within(k.strategy.max_surge, k.strategy.max_unavailable),
    }
}

/// The Fargate profile that selects the pods of a service.
fn profile_of(plan: &Plan, name: &str, service: &Service) -> Option<CapacityId> {
    let k = &service.kubernetes;
    let mut labels: Vec<(&str, &str)> = vec![("app", name)];
    labels.extend(k.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    let profiles: Vec<FargateProfile> = plan
        .capacity
        .iter()
        .filter_map(|(name, capacity)| match capacity {
            Capacity::FargateProfile(f) => Some((name, f)),
            _ => None,
        })
        .map(|(name, f)| FargateProfile {
            name: name.clone(),
            selectors: f
                .selectors
                .iter()
                .map(|s| FargateSelector {
                    namespace: s.namespace.clone(),
                    labels: s.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
                })
                .collect(),
        })
        .collect();
    let label = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let found = profile_of_labels(&profiles, &k.namespace, label)?;
    plan.capacity.get_index_of(&found.name).map(CapacityId::from)
}

impl Simulation<'_> {
    /// One look of the controllers at a workload.
    pub(in crate::simulation) fn sync_workload(&mut self, service: ServiceId) {
        if let Some(job) = self.job_of(service) {
            self.sync_jobs(job);
            return;
        }
        match self.kube().workloads[service.index()].plan.kind {
            WorkloadKind::Deployment if self.kube().workloads[service.index()].rollout.is_some() => {
                self.sync_progressive(service);
            }
            WorkloadKind::Deployment => self.sync_deployment(service),
            WorkloadKind::StatefulSet => self.sync_stateful_set(service),
            WorkloadKind::DaemonSet => self.sync_daemon_set(service),
        }
    }

    fn sync_deployment(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let revision = self.cluster.service(service).primary().map_or(0, |d| d.revision);
        let mut step = Step::Complete;
        // Each change asks for a further pass; a rollout needs a few, never as many as this.
        for _ in 0..64 {
            let desired = self.cluster.service(service).desired;
            let bounds = bounds(self.kube().workloads[service.index()].plan, desired);
            self.cluster.run_pods(service, bounds);
            let spec = self.kube().workloads[service.index()].spec(desired, revision);
            let sets = self.observe_sets(service);
            let status = std::mem::take(&mut self.kube_mut().workloads[service.index()].status);
            let result = deployment::sync(&spec, &status, &sets, now);
            step = result.step;
            if result.changes() {
                self.record_rollout(service, &result, &sets);
            }
            self.kube_mut().workloads[service.index()].status = result.status.clone();
            self.apply_sets(service, &result);
            if !result.changes() {
                if let Some(at) = result.next_check.filter(|at| *at > now) {
                    self.schedule_timer_if_due(Timer::Scheduler(service), at, Phase::Decision);
                }
                break;
            }
        }
        self.judge_rollout(service, step);
    }

    /// Sizes, makes and removes ReplicaSets as a pass of the controller says, and their pods.
    pub(super) fn apply_sets(&mut self, service: ServiceId, result: &deployment::Sync) {
        let now = self.queue.now();
        let w = &mut self.kube_mut().workloads[service.index()];
        for scale in &result.scales {
            if let Some(set) = w.sets.iter_mut().find(|s| s.id == scale.set) {
                set.replicas = scale.replicas;
                set.annotated_desired = Some(scale.annotated_desired);
                set.annotated_max = Some(scale.annotated_max);
            }
        }
        if let Some((id, number)) = result.renumber
            && let Some(set) = w.sets.iter_mut().find(|s| s.id == id)
        {
            set.revision = number;
        }
        w.sets.retain(|s| !result.delete.contains(&s.id));
        if let Some(new) = result.create {
            w.add_set(new, now);
        }
        self.manage_sets(service);
    }

    /// The ReplicaSets as the controller sees them.
    pub(super) fn observe_sets(&self, service: ServiceId) -> Vec<ReplicaSet> {
        let sets = &self.kube().workloads[service.index()].sets;
        let mut seen: Vec<ReplicaSet> = sets
            .iter()
            .map(|s| ReplicaSet {
                id: s.id,
                template: s.template,
                revision: s.revision,
                created: s.created,
                replicas: s.replicas,
                current: 0,
                ready: 0,
                available: 0,
                terminating: 0,
                annotated_desired: s.annotated_desired,
                annotated_max: s.annotated_max,
                failing: s.failing,
            })
            .collect();
        for t in self.cluster.tasks_of(service) {
            let template = self.template_of(t.id);
            let Some(set) = seen.iter_mut().find(|s| s.template == template) else { continue };
            if t.stop_code.is_some() {
                set.terminating += 1;
                continue;
            }
            set.current += 1;
            set.ready += i32::from(self.kube().pods[t.id.index()].ready_since.is_some());
            set.available += i32::from(self.is_available(t.id));
        }
        seen
    }

    /// Creates and deletes pods so that every set has as many as it should.
    pub(super) fn manage_sets(&mut self, service: ServiceId) {
        let sets: Vec<(SetId, u32, u32)> = self.kube().workloads[service.index()]
            .sets
            .iter()
            .map(|s| (s.id, s.template.0, u32::try_from(s.replicas).unwrap_or(0)))
            .collect();
        // Sets that shrink come first, so that the others find room.
        for &(_, template, replicas) in &sets {
            let active = self.active_pods(service, template);
            if let Manage::Delete(n) = manage(replicas, active.len() as u32) {
                for task in self.first_to_go(service, &active).into_iter().take(n as usize) {
                    let why = match self.cluster.service(service).deploying() {
                        true => "Replaced by a pod of the new revision",
                        false => "Its ReplicaSet was scaled down",
                    };
                    self.delete_pod(task, StopCode::ServiceSchedulerInitiated, why);
                }
            }
        }
        for &(id, template, replicas) in &sets {
            // At most so many at once, and the next as soon as the controller has seen these.
            while let Manage::Create(n) = manage(replicas, self.active_pods(service, template).len() as u32) {
                if !self.create_pods(service, id, template, n) {
                    break;
                }
            }
        }
    }

    /// What the next pod of a workload is made for.
    pub(super) fn why_created(&self, service: ServiceId) -> &'static str {
        let scaled = !self.services[service.index()].scale_outs.is_empty();
        match (self.cluster.service(service).deploying(), scaled) {
            (true, _) => "deployment",
            (false, true) => "scaling",
            (false, false) => "desired count",
        }
    }

    /// The shape of the next pod of a workload, and its size where the Vertical Pod Autoscaler sets it.
    pub(super) fn shape_for(&mut self, service: ServiceId, ordinal: Option<u32>) -> (ShapeId, Option<PodSize>) {
        let size = self.admitted(service);
        let kube = self.kube_mut();
        let w = &kube.workloads[service.index()];
        let zone = match ordinal {
            Some(ordinal) => w.stateful.claims.get(&ordinal).copied(),
            None => w.claim_zone,
        };
        let of_all = w.shape;
        if size.is_none() && zone.is_none() {
            return (of_all, None);
        }
        let Some(mut spec) = kube.scheduler.shape(of_all).cloned() else { return (of_all, size) };
        spec.volume_zones.extend(zone.map(|zone| vec![zone]));
        if let Some(size) = &size {
            super::shapes::resize(&mut spec, size);
        }
        (kube.add_shape(spec), size)
    }

    /// A StatefulSet or DaemonSet is to have this template.
    pub(super) fn note_revision(&mut self, service: ServiceId, template: Template) {
        let history = &mut self.kube_mut().workloads[service.index()].history;
        if history.last() != Some(&template.0) {
            history.retain(|r| *r != template.0);
            history.push(template.0);
        }
    }

    /// Writes down what a deployment at work waits for.
    pub(super) fn deployment_goes_on(&mut self, service: ServiceId, waits: &str) {
        let now = self.queue.now();
        self.services[service.index()].trouble.deployment_waits(now, waits);
        self.deployment_row(service, "progress", waits);
    }

    /// Creates pods of a set; false where not all could be.
    fn create_pods(&mut self, service: ServiceId, set: SetId, template: u32, count: u32) -> bool {
        let started_by = self.why_created(service);
        let (mut failed, mut made) = (false, 0);
        for _ in 0..count {
            if !self.quota_admits(service) {
                failed = true;
                let now = self.queue.now();
                self.services[service.index()].trouble.note(TroubleKind::Forbidden, now);
                break;
            }
            let Some(task) = self.create_pod(service, template & !TARGET, started_by) else { break };
            self.kube_mut().pods[task.index()].of_target = template & TARGET != 0;
            if started_by == "scaling" {
                self.tasks[task.index()].cause = Some(self.services[service.index()].scale_outs.len() as u32 - 1);
            }
            self.admit_pod(task);
            made += 1;
        }
        if let Some(set) = self.kube_mut().workloads[service.index()].sets.iter_mut().find(|s| s.id == set) {
            set.failing = failed;
        }
        if failed {
            let at = self.queue.now() + QUOTA_RETRY;
            self.schedule_timer_if_due(Timer::Scheduler(service), at, Phase::Decision);
        }
        made == count
    }

    /// Pods of a set that neither ended nor terminate.
    fn active_pods(&self, service: ServiceId, template: u32) -> Vec<TaskId> {
        let active = self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()).map(|t| t.id);
        active.filter(|id| self.template_of(*id).0 == template).collect()
    }

    /// The pods of a set in the order in which they are deleted.
    fn first_to_go(&self, service: ServiceId, active: &[TaskId]) -> Vec<TaskId> {
        let now = self.queue.now();
        let node = |t: &TaskId| self.cluster.task(*t).node;
        let own: Vec<Option<NodeId>> = active.iter().map(node).collect();
        let all: Vec<Option<NodeId>> =
            self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()).map(|t| t.node).collect();
        let ranks = ranks(&own, &all);
        let candidates: Vec<Candidate> = active
            .iter()
            .zip(ranks)
            .map(|(&id, rank)| {
                let (t, pod) = (self.cluster.task(id), &self.kube().pods[id.index()]);
                Candidate {
                    assigned: t.node.is_some() || !self.cluster.has_nodes(t.capacity),
                    phase: if t.status >= TaskStatus::Running { ActivePhase::Running } else { ActivePhase::Pending },
                    ready: pod.ready_since.is_some(),
                    deletion_cost: 0,
                    rank,
                    ready_for: age(pod.ready_since, now),
                    restarts: pod.restarts,
                    age: age(Some(t.times.requested), now),
                    uid: self.draw_of(id).bits(),
                }
            })
            .collect();
        rank_for_deletion(&candidates, RankingFeatures::default()).into_iter().map(|at| active[at]).collect()
    }

    /// Writes down where a rollout is, and whether it has come to its end.
    fn judge_rollout(&mut self, service: ServiceId, step: Step) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        let progressing = self.kube().workloads[service.index()].status.progressing;
        if step == Step::Complete {
            self.end_deployment(service, DeploymentOutcome::Completed);
            return;
        }
        let late = progressing.is_some_and(|c| c.reason == Reason::ProgressDeadlineExceeded);
        let waits = match step {
            Step::Waiting { most, least_available } => {
                let pending = self.cluster.count(service, |t| t.status < TaskStatus::Running && t.stop_code.is_none());
                let what = if pending > 0 { "new pods to start" } else { "new pods to become available" };
                let revision = self.cluster.service(service).primary().map_or(0, |d| d.revision);
                let why = self.why_not_available(service, revision);
                let why = if why.is_empty() { why } else { format!("{why}; ") };
                format!("{what} ({why}at most {most} pods, at least {least_available} available)")
            }
            Step::RecreateWaits => "old pods to end".to_string(),
            _ => String::new(),
        };
        self.note_stalled(service, late.then(|| format!("ProgressDeadlineExceeded: waits for {waits}")));
        self.deployment_goes_on(service, &waits);
    }

    fn record_rollout(&mut self, service: ServiceId, result: &deployment::Sync, sets: &[ReplicaSet]) {
        if !self.cluster.service(service).deploying() {
            return; // The autoscaler or the user has said why the number changes.
        }
        let total: i32 = sets.iter().map(|s| s.replicas).sum();
        let after = result
            .scales
            .iter()
            .fold(total, |sum, s| sum - sets.iter().find(|o| o.id == s.set).map_or(0, |o| o.replicas) + s.replicas)
            + result.create.map_or(0, |c| c.replicas);
        let (reason, text) = match result.step {
            Step::ScaledNew { most } => ("scale_up_new", format!("the new ReplicaSet grows: at most {most} pods")),
            Step::ScaledOld { unhealthy, available, least_available } => (
                "scale_down_old",
                format!(
                    "{unhealthy} pods that are not available and {available} that are go from the old ReplicaSets: at least {least_available} stay available"
                ),
            ),
            Step::RecreateDown => ("recreate", "all old pods go first".to_string()),
            Step::Proportional => ("proportional", "all ReplicaSets are resized in proportion".to_string()),
            Step::Resized | Step::DroppedOld => ("resize", "the ReplicaSet follows the replicas".to_string()),
            Step::Complete | Step::Waiting { .. } | Step::RecreateWaits | Step::Paused => return,
        };
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "deployment".into(),
            subject: format!("services.{}", self.services[service.index()].name).into(),
            service: self.services[service.index()].name.into(),
            from: Some(i64::from(total)),
            result: Some(i64::from(after)),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let observation = serde_json::json!({ "sets": format!("{sets:?}") });
        self.recorder.decision(&row, &DecisionDetail { observation, memory: to_json(&()) });
    }
}

/// After how long a set tries again whose pods a quota refused. The real back-off grows from milliseconds to minutes.
pub(super) const QUOTA_RETRY: SimDuration = SimDuration::from_secs(15);
