//! The life of a pod: created by its controller, bound by the scheduler, started by its kubelet, deleted.

use std::collections::VecDeque;

use super::super::life::{StartStep, StopStep};
use super::super::start::{draw_time, purpose};
use super::super::trouble::TroubleKind;
use super::super::{RunError, Simulation, Timer};
use crate::cluster::{Command, Health, Resources, StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::kubelet::CrashMemory;
use crate::kubernetes::probes::ProbeMemory;
use crate::kubernetes::scheduler::{ClusterEvent, PodKey, ShapeId};
use crate::scenario::model::{GivenPod, KubeService, KubeServiceType, Service, TargetType, WorkloadKind};
use crate::traffic::TargetState;
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, TaskId, ZoneId};

/// Wait of the kubelet before it tries again to set up the network of a pod. Source: the pod workers' back-off.
const SANDBOX_RETRY: SimDuration = SimDuration::from_secs(10);

/// What of a pod is Kubernetes' own.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Pod {
    /// What it asks of a node.
    pub(super) shape: ShapeId,
    /// CPU and memory that it requests, where that is not what its template says.
    pub(super) size: Option<PodSize>,
    /// Its number, in a StatefulSet.
    pub(in crate::simulation) ordinal: Option<u32>,
    /// The node that it is for, in a DaemonSet.
    pub(super) pinned: Option<NodeId>,
    /// When its file systems are mounted.
    pub(super) mounted: Option<SimTime>,
    /// How long its container had run that was killed last for want of memory.
    pub(super) out_of_memory: Option<SimDuration>,
    /// The node it is bound to, once it is.
    pub(super) bound: bool,
    /// Since when its condition `Ready` is what it is.
    pub(super) ready_since: Option<SimTime>,
    /// Its condition `Ready` was true before.
    pub(super) was_ready: bool,
    /// When the condition changed last.
    pub(super) changed: Option<SimTime>,
    /// Its containers run and the readiness probe, if there is one, has passed.
    pub(super) containers_ready: bool,
    /// Restarts of its container, and those in a row that count for the back-off.
    pub(super) restarts: u32,
    pub(super) crashes: CrashMemory,
    /// When its container started last.
    pub(super) container_started: Option<SimTime>,
    /// The latest instant at which it is killed, once it is being deleted.
    pub(super) kill_at: Option<SimTime>,
    /// It is an endpoint of its Service, as far as proxies and balancers know.
    pub(super) endpoint: bool,
    /// Why the scheduler finds no node, and since when.
    pub(super) unschedulable: Option<SimTime>,
    /// When it was put into the scheduler's queue.
    pub(super) queued: Option<SimTime>,
    /// Cumulated CPU at the last points of its kubelet, newest last, in vCPU-seconds.
    pub(super) points: VecDeque<(SimTime, f64)>,
    /// What its probes found.
    pub(super) probes: ProbeMemory,
    /// It belongs to the target of a Canary of Flagger, not to its primary.
    pub(super) of_target: bool,
    /// The tries to start its containers.
    pub(super) tries: super::backoff::Tries,
}

/// What a pod requests and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) struct PodSize {
    pub(in crate::simulation) cpu: Cpu,
    pub(in crate::simulation) memory: Bytes,
    pub(super) cpu_limit: Option<Cpu>,
    pub(in crate::simulation) memory_limit: Bytes,
}

impl PodSize {
    /// What the template of a service says.
    pub(super) fn of(service: &Service) -> Self {
        let (task, limits) = (&service.task, &service.kubernetes.limits);
        Self {
            cpu: task.cpu,
            memory: task.memory,
            cpu_limit: limits.cpu,
            memory_limit: limits.memory.unwrap_or(task.memory),
        }
    }
}

impl Pod {
    fn new(shape: ShapeId) -> Self {
        Self {
            shape,
            size: None,
            ordinal: None,
            pinned: None,
            mounted: None,
            out_of_memory: None,
            bound: false,
            ready_since: None,
            was_ready: false,
            changed: None,
            containers_ready: false,
            restarts: 0,
            crashes: CrashMemory::default(),
            container_started: None,
            kill_at: None,
            endpoint: false,
            unschedulable: None,
            queued: None,
            points: VecDeque::new(),
            probes: ProbeMemory::new(SimTime::ZERO),
            of_target: false,
            tries: super::backoff::Tries::default(),
        }
    }
}

/// The scheduler's name for a pod.
pub(super) const fn pod_key(task: TaskId) -> PodKey {
    PodKey(task.0 as u64)
}

/// What chooses among the pods of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// kube-proxy, which looks at endpoints only.
    Proxy,
    /// A load balancer whose targets they are.
    Targets,
}

impl Simulation<'_> {
    /// The shape of a pod.
    pub(super) fn shape_of(&self, task: TaskId) -> ShapeId {
        self.kube().pods[task.index()].shape
    }

    /// Creates a pod of a revision; `None` where the service has no such revision.
    pub(super) fn create_pod(&mut self, service: ServiceId, revision: u32, started_by: &'static str) -> Option<TaskId> {
        self.create_pod_of(service, revision, None, started_by)
    }

    /// The same with a number, for a StatefulSet.
    pub(super) fn create_pod_of(
        &mut self,
        service: ServiceId,
        revision: u32,
        ordinal: Option<u32>,
        started_by: &'static str,
    ) -> Option<TaskId> {
        let deployments = &self.cluster.service(service).deployments;
        let deployment = deployments.iter().rev().find(|d| d.revision == revision)?.id;
        // Where it will run, the scheduler decides; until then any capacity stands for it.
        let profile = self.kube().workloads[service.index()].fargate;
        let capacity = profile.or_else(|| self.node_capacities().first().copied()).unwrap_or(CapacityId(0));
        let task = self.try_apply(Command::StartTask { service, deployment, capacity, zone: ZoneId(0) })?;
        self.tasks[task.index()].started_by = started_by;
        let (shape, size) = self.shape_for(service, ordinal);
        let shape = self.with_images(task, shape);
        let pod = &mut self.kube_mut().pods[task.index()];
        (pod.shape, pod.size, pod.ordinal) = (shape, size, ordinal);
        if let Some(size) = size {
            let needs = self.cluster.service(service).needs.resources;
            let size = Resources { cpu: size.cpu, memory: size.memory, ..needs };
            self.apply(Command::SizeTask { task, size });
        }
        self.charge_quota(task, true);
        if profile.is_none() {
            // No quota of AWS holds a pod back: it waits for a node from here on.
            self.apply(Command::Launched { task });
        }
        Some(task)
    }

    /// A new pod: its place beside the task's.
    pub(in crate::simulation) fn pod_created(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let kube = self.kube_mut();
        debug_assert_eq!(kube.pods.len(), task.index(), "every task is a pod");
        kube.pods.push(Pod::new(kube.workloads[service.index()].shape));
    }

    /// A new pod goes to Fargate, if a profile takes it, else to the scheduler.
    pub(super) fn admit_pod(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        if self.kube().workloads[service.index()].fargate.is_some() {
            // The Fargate scheduler takes one pod after the other.
            let now = self.queue.now();
            let kube = self.kube_mut();
            let at = kube.fargate_busy_until.max(now) + kube.settings.fargate_scheduler_latency;
            kube.fargate_busy_until = at;
            self.tasks[task.index()].start = StartStep::FargateScheduled;
            self.queue.set_timer(Timer::Start(task), at, Phase::State);
        } else {
            self.enqueue_pod(task);
        }
    }

    /// The Fargate scheduler has taken a pod: it waits for its launch.
    pub(in crate::simulation) fn on_fargate_scheduled(&mut self, task: TaskId) {
        // EKS pods draw on the launch rate of Fargate on demand.
        self.account_queues[0].push_back(task);
        self.pump_account_launches(0);
    }

    /// A pod is bound to a node: its kubelet begins to set it up.
    pub(super) fn bind_pod(&mut self, task: TaskId, node: NodeId) {
        let now = self.queue.now();
        self.apply(Command::PlaceTask { task, node });
        self.pod_event(node);
        self.bind_claim(task, node);
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.bound = true;
        pod.unschedulable = None;
        let sync = draw_time(self.kube().settings.kubelet_sync.law(), self.draw_of(task), purpose::KUBELET);
        let capacity = self.cluster.task(task).capacity;
        let address = self.capacities[capacity.index()]
            .plan
            .instances()
            .map_or(SimDuration::ZERO, |i| draw_time(i.tasks.eni_attach.law(), self.draw_of(task), purpose::ENI));
        let runtime = &mut self.tasks[task.index()];
        runtime.start = StartStep::Sandbox;
        runtime.waited = false;
        if self.is_silent(node) {
            self.freeze(task, sync + address);
            return;
        }
        self.queue.set_timer(Timer::Start(task), now + sync + address, Phase::State);
    }

    /// The CNI plugin gives a pod its address, or has none left.
    pub(in crate::simulation) fn on_sandbox(&mut self, task: TaskId) {
        if let Some(again) = self.waits_for_volumes(task) {
            self.look_for_volumes(task, again);
            return;
        }
        if self.has_address(task) {
            self.take_address(task);
            self.on_pending(task);
            return;
        }
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let runtime = &mut self.tasks[task.index()];
        runtime.start = StartStep::Sandbox;
        runtime.waits.address += SANDBOX_RETRY;
        runtime.waits_for = Some(TroubleKind::NoAddress);
        self.services[service.index()].trouble.note(TroubleKind::NoAddress, now);
        self.queue.set_timer(Timer::Start(task), now + SANDBOX_RETRY, Phase::State);
    }

    /// The containers of a pod run.
    pub(in crate::simulation) fn pod_runs(&mut self, task: TaskId) {
        let now = self.queue.now();
        let bound = self.cluster.task(task).times.pending.unwrap_or(now);
        self.kubelet_takes(task, bound);
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.container_started = Some(now);
        pod.tries.waiting = None;
        self.kube_mut().scheduler.set_start(pod_key(task), now);
        self.begin_probes(task);
        self.refresh_ready(task);
    }

    /// Works out whether a pod is ready, and lets everybody know who asks for that.
    pub(in crate::simulation) fn refresh_ready(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let (service, runs) = (t.service, t.status == TaskStatus::Running);
        let reached = !t.node.is_some_and(|n| self.is_unreachable(n));
        let containers = runs && reached && self.containers_ready(task);
        let pod = &self.kube().pods[task.index()];
        if containers != pod.containers_ready {
            self.kube_mut().pods[task.index()].containers_ready = containers;
            self.tell_endpoints(task);
        }
        // A pod that is a target itself has a readiness gate: the target must be healthy.
        let gate = match self.front_of(service) {
            Some(Front::Targets) => self.target_is_healthy(task),
            _ => true,
        };
        let ready = containers && gate && t_alive(self, task);
        let pod = &mut self.kube_mut().pods[task.index()];
        if ready == pod.ready_since.is_some() {
            return;
        }
        pod.ready_since = ready.then_some(now);
        pod.changed = Some(now);
        pod.was_ready |= ready;
        let health = match ready {
            true => Health::Healthy,
            false if self.kube().pods[task.index()].was_ready => Health::Unhealthy,
            false => Health::Unknown,
        };
        self.apply(Command::SetHealth { task, health });
        let wait = self.min_ready(service);
        if ready && !wait.is_zero() {
            self.schedule_timer_if_due(Timer::Settle(task), now + wait, Phase::State);
        }
    }

    /// How long pods of a service must be ready before they count as available.
    pub(super) fn min_ready(&self, service: ServiceId) -> SimDuration {
        SimDuration::from_secs(u64::from(self.services[service.index()].plan.kubernetes.min_ready_seconds))
    }

    /// Whether a pod counts as available.
    pub(super) fn is_available(&self, task: TaskId) -> bool {
        let wait = self.min_ready(self.cluster.task(task).service);
        let since = self.kube().pods[task.index()].ready_since;
        since.is_some_and(|at| self.queue.now().since(at) >= wait)
    }

    /// What chooses among the pods of a service; `None` where nobody comes.
    pub(super) fn front_of(&self, service: ServiceId) -> Option<Front> {
        let plan = self.services[service.index()].plan;
        let KubeService { r#type, target_type, .. } = &plan.kubernetes.service;
        plan.load_balancer.as_ref()?;
        Some(match (r#type, target_type) {
            (Some(KubeServiceType::LoadBalancer), TargetType::Ip) => Front::Targets,
            _ => Front::Proxy,
        })
    }

    /// The API server is told to delete a pod: the kubelet and the endpoints learn of it at once and apart.
    pub(super) fn delete_pod(&mut self, task: TaskId, code: StopCode, why: &str) {
        if self.cluster.task(task).stop_code.is_some() {
            return;
        }
        if self.tasks[task.index()].stop_reason.is_empty() {
            self.tasks[task.index()].stop_reason = why.to_string();
        }
        match code {
            StopCode::ServiceSchedulerInitiated => self.apply(Command::StopTask { task, code }),
            _ => self.apply(Command::TaskEnds { task, code }),
        }
    }

    /// A running pod is being deleted: endpoints go, the preStop hook runs, then SIGTERM.
    pub(in crate::simulation) fn pod_terminates(&mut self, task: TaskId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let k = &self.services[service.index()].plan.kubernetes;
        let grace = SimDuration::from_secs(u64::from(k.termination_grace_period_seconds));
        let pre_stop = k.pre_stop;
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.kill_at = Some(now + grace);
        pod.ready_since = None;
        pod.changed = Some(now);
        self.end_probes(task);
        self.tell_endpoints(task);
        // Its kubelet does not hear of it: it ends with its node, or when that is heard again.
        if self.on_silent_node(task) {
            return;
        }
        if pre_stop.is_zero() {
            self.begin_stopping(task, now + grace);
            return;
        }
        self.apply(Command::Advance { task, to: TaskStatus::Deactivating });
        let runtime = &mut self.tasks[task.index()];
        runtime.deactivating = Some(now);
        runtime.stop = StopStep::PreStop;
        self.queue.set_timer(Timer::Stop(task), now + pre_stop.min(grace), Phase::State);
    }

    /// The preStop hook is over, or the grace period: SIGTERM.
    pub(in crate::simulation) fn on_pre_stop(&mut self, task: TaskId) {
        let now = self.queue.now();
        let kill_at = self.kube().pods[task.index()].kill_at.unwrap_or(now);
        self.begin_stopping(task, kill_at.max(now));
    }

    /// A pod that is being deleted has ended or never ran: the scheduler and the queue forget it.
    pub(in crate::simulation) fn pod_ends(&mut self, task: TaskId) {
        if let Some(node) = self.cluster.task(task).node {
            self.pod_event(node);
        }
        self.end_probes(task);
        let kube = self.kube_mut();
        kube.queue.remove(pod_key(task));
        let pod = &mut kube.pods[task.index()];
        pod.ready_since = None;
        pod.containers_ready = false;
        pod.unschedulable = None;
    }

    /// A pod is gone: its place on the node is free.
    pub(in crate::simulation) fn pod_gone(&mut self, task: TaskId) {
        self.charge_quota(task, false);
        self.volumes_are_free(task);
        let bound = std::mem::replace(&mut self.kube_mut().pods[task.index()].bound, false);
        if bound {
            self.kube_mut().scheduler.remove(pod_key(task));
            self.cluster_event(ClusterEvent::PodRemoved);
        }
    }

    /// CPU of a pod's server: its limit, or what it requests, or on Fargate all of its micro-VM.
    pub(in crate::simulation) fn pod_cpu(&self, task: TaskId) -> (Cpu, bool) {
        let t = self.cluster.task(task);
        let plan = self.services[t.service.index()].plan;
        let size = self.size_of(task);
        match (size.cpu_limit, t.node) {
            (Some(limit), _) => (limit, true),
            (None, Some(_)) => (size.cpu, false),
            (None, None) => (crate::scenario::fargate::pod_size(plan).0, true),
        }
    }

    /// What a pod requests and may use.
    pub(in crate::simulation) fn size_of(&self, task: TaskId) -> PodSize {
        let plan = self.services[self.cluster.task(task).service.index()].plan;
        self.kube().pods[task.index()].size.unwrap_or_else(|| PodSize::of(plan))
    }

    /// Pods of a service that run when the simulation starts; those that find no node are given back.
    ///
    /// # Errors
    /// When a file binds one to a node that has no room for it.
    pub(super) fn start_pods(&mut self, service: ServiceId) -> Result<Vec<TaskId>, RunError> {
        let desired = self.cluster.service(service).desired;
        let first = match self.kube().workloads[service.index()].plan.kind {
            WorkloadKind::Deployment => None,
            WorkloadKind::StatefulSet => Some(self.kube().workloads[service.index()].plan.ordinals.start),
            // They come with the nodes.
            WorkloadKind::DaemonSet => return Ok(Vec::new()),
        };
        let mut waiting = Vec::new();
        let listed = self.listed_replicas(service);
        for number in 0..desired {
            if !self.quota_admits(service) {
                break;
            }
            let ordinal = first.map(|first| first.saturating_add(number));
            let Some(task) = self.create_pod_of(service, 0, ordinal, "initial") else { break };
            if self.kube().workloads[service.index()].fargate.is_some() {
                self.apply(Command::Launched { task });
                self.pod_has_run(task, None);
                continue;
            }
            if let Some(listed) = &listed {
                self.start_replica(task, listed.get(number as usize).copied().flatten())?;
                continue;
            }
            match self.node_at_start(task) {
                // Its volume is attached to the node of another pod.
                Some(node) if !self.volumes_are_there(task, node) => self.bind_pod(task, node),
                Some(node) => self.pod_has_run(task, Some(node)),
                None => waiting.push(task),
            }
        }
        Ok(waiting)
    }

    /// A replica of a service whose pods of the start a file lists: it runs on the node of that row, or waits for one.
    fn start_replica(&mut self, task: TaskId, row: Option<usize>) -> Result<(), RunError> {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let given = self.kube().given.as_ref();
        let node = row.and_then(|row| given?.nodes.get(row).copied().flatten());
        let (Some(node), Some(row)) = (node, row) else {
            self.enqueue_pod(task);
            return Ok(());
        };
        let takes = self.cluster.service(service).needs.resources;
        if let Some(state) = given.map(|g| g.state.clone()) {
            let name = self.services[service.index()].name;
            let bound = |p: &&GivenPod| {
                p.node == Some(row as u32) && state.template_of(p).is_some_and(|t| t.service.as_deref() == Some(name))
            };
            if let Some(pod) = state.pods.iter().find(bound) {
                self.check_seat(&state, pod, node, takes)?;
            }
        }
        let shape = self.shape_of(task);
        if let Some(seat) = self.kube().seat_of(node) {
            self.kube_mut().scheduler.place(pod_key(task), shape, seat, now);
        }
        match self.volumes_are_there(task, node) {
            true => self.pod_has_run(task, Some(node)),
            false => self.bind_pod(task, node),
        }
        Ok(())
    }

    /// A pod of the start that found no node at first.
    pub(super) fn start_pod(&mut self, task: TaskId) {
        match self.node_at_start(task) {
            Some(node) if !self.volumes_are_there(task, node) => self.bind_pod(task, node),
            Some(node) => self.pod_has_run(task, Some(node)),
            None => self.enqueue_pod(task),
        }
    }

    /// A pod that has run for long when the simulation starts.
    pub(super) fn pod_has_run(&mut self, task: TaskId, node: Option<NodeId>) {
        let now = self.queue.now();
        let (service, capacity) = (self.cluster.task(task).service, self.cluster.task(task).capacity);
        if let Some(node) = node {
            self.apply(Command::PlaceTask { task, node });
            self.kube_mut().pods[task.index()].bound = true;
            self.bind_claim(task, node);
            self.volumes_were_there(task, node);
            for wanted in self.wanted_images(task) {
                self.nodes[node.index()].images.put(wanted.key, now);
            }
            self.node_has_images(task, node);
        }
        self.apply(Command::Advance { task, to: TaskStatus::Pending });
        self.apply(Command::Advance { task, to: TaskStatus::Activating });
        self.apply(Command::PullEnded { task });
        if node.is_none() {
            self.meter.task_pull_started(task, service, capacity, now);
            self.vcpus_in_use[0] += self.vcpus_of(service);
        }
        self.take_address(task);
        self.apply(Command::Advance { task, to: TaskStatus::Running });
        self.add_server(task);
        self.tasks[task.index()].sick = false;
        self.apply(Command::Ready { task });
        self.serve(task);
        self.probes_have_passed(task);
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.container_started = Some(now);
        pod.containers_ready = true;
        pod.ready_since = Some(now);
        pod.was_ready = true;
        pod.endpoint = true;
        self.enter_balancer(task);
        if self.front_of(service) == Some(Front::Targets)
            && let Some(server) = self.tasks[task.index()].server
        {
            self.data.set_target(&mut self.queue, server, TargetState::Healthy);
            self.tasks[task.index()].target.start_healthy();
        }
        self.apply(Command::SetHealth { task, health: Health::Healthy });
        self.begin_checks(task, true);
    }
}

/// Whether nobody has asked for the pod's deletion.
fn t_alive(simulation: &Simulation<'_>, task: TaskId) -> bool {
    simulation.cluster.task(task).stop_code.is_none()
}
