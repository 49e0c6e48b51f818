//! The life of a task: launch slot, capacity, image, containers, and the way out.

use super::faults::LaunchWait;
use super::incident::LaunchWaits;
use super::start::{draw_time, plan_start, pull_time, purpose};
use super::trouble::TroubleKind;
use super::{ControlEvent, Simulation, Timer};
use crate::cluster::{Command, Fact, StopCode, TaskStatus};
use crate::kernel::{Draw, Law, Phase, SimDuration, SimTime};
use crate::scenario::model::{Capacity, FargateSpot, Outage, Reclaim};
use crate::traffic::{NodeShare, ServerSpec, TargetState};
use crate::units::{CapacityId, Cpu, NodeId, ServerId, ServiceId, TaskId};

/// What [`Timer::Start`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum StartStep {
    #[default]
    None,
    /// The Fargate scheduler of EKS is done with its pod.
    FargateScheduled,
    FindCapacity,
    /// No instance has had room for too long.
    GiveUp,
    /// Its pod gets an address.
    Sandbox,
    Pending,
    Pulled,
    /// The back-off of its pod's image is over.
    PullAgain,
    /// The back-off of its pod's containers, which have never run, is over.
    StartAgain,
    Running,
    Ready,
    /// The back-off of its container is over.
    Restart,
    /// Its application answers again after a restart.
    ReadyAgain,
    Fail,
}

/// What [`Timer::Stop`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum StopStep {
    #[default]
    None,
    /// The preStop hook of its pod is over.
    PreStop,
    DrainEnds,
    Exit,
    Gone,
}

/// What of a task is not the control plane's business.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskRuntime {
    pub(super) draw: u64,
    pub(super) server: Option<ServerId>,
    pub(super) start: StartStep,
    pub(super) stop: StopStep,
    pub(super) ready_after: SimDuration,
    pub(super) exits_after: Option<SimDuration>,
    pub(super) capacity_attempts: u32,
    /// Registered with the balancer (from the moment the registration took effect).
    pub(super) registered: bool,
    pub(super) deregistering: bool,
    pub(super) target: super::checks::TargetMemory,
    pub(super) container: super::checks::ContainerMemory,
    /// The revision made this task fail every health check.
    pub(super) sick: bool,
    pub(super) kill_at: SimTime,
    pub(super) cpu_seen: f64,
    pub(super) cpu_total: f64,
    pub(super) reserved_from: SimTime,
    pub(super) started_by: &'static str,
    /// The scale-out that asked for this launch, by its position in the service's list.
    pub(super) cause: Option<u32>,
    pub(super) stop_reason: String,
    pub(super) deactivating: Option<SimTime>,
    pub(super) stopping: Option<SimTime>,
    /// It has been noted as one that found no room.
    pub(super) waited: bool,
    /// The instance that it is for: a daemon's.
    pub(super) pinned: Option<NodeId>,
    /// Since when it has been at work without a pause, as far as the scheduler has looked.
    pub(super) working_since: Option<SimTime>,
    /// The piece of a job's work that it is for, and how that went.
    pub(super) work: Option<u32>,
    pub(super) work_done: Option<bool>,
    /// The machine under it is lost, whether or not the control plane knows.
    pub(super) machine_lost: bool,
    /// It holds an address of its zone's subnet.
    pub(super) address: bool,
    /// What its launch waited for, and waits for.
    pub(super) waits: LaunchWaits,
    pub(super) waits_for: Option<TroubleKind>,
}

impl Capacity {
    /// From the image being there until the containers run.
    fn container_start(&self) -> &Law {
        match self {
            Self::Fargate(f) => f.container_start.law(),
            Self::FargateSpot(f) => f.launch.container_start.law(),
            Self::Ec2(e) => e.tasks.container_start.law(),
            Self::ManagedInstances(m) => m.tasks.container_start.law(),
            Self::NodeGroup(g) => g.nodes.pods.container_start.law(),
            Self::NodePool(p) => p.nodes.pods.container_start.law(),
            Self::FargateProfile(f) => f.launch.container_start.law(),
            Self::SelfManaged(s) => s.pods.container_start.law(),
        }
    }

    /// From the end of the containers until nothing is left of the task.
    fn deprovisioning(&self) -> &Law {
        match self {
            Self::Fargate(f) => f.deprovisioning.law(),
            Self::FargateSpot(f) => f.launch.deprovisioning.law(),
            Self::Ec2(e) => e.tasks.deprovisioning.law(),
            Self::ManagedInstances(m) => m.tasks.deprovisioning.law(),
            Self::NodeGroup(g) => g.nodes.pods.deprovisioning.law(),
            Self::NodePool(p) => p.nodes.pods.deprovisioning.law(),
            Self::FargateProfile(f) => f.launch.deprovisioning.law(),
            Self::SelfManaged(s) => s.pods.deprovisioning.law(),
        }
    }

    pub(super) fn spot(&self) -> Option<&FargateSpot> {
        match self {
            Self::FargateSpot(f) => Some(f),
            _ => None,
        }
    }
}

fn out(outages: &[Outage], zone: u32, now: SimTime) -> bool {
    outages.iter().any(|o| {
        let from = SimTime::ZERO + o.at;
        now >= from && now < from + o.duration && (o.zones.is_empty() || o.zones.contains(&zone))
    })
}

impl Simulation<'_> {
    pub(super) fn draw_of(&self, task: TaskId) -> Draw {
        Draw::new(self.tasks[task.index()].draw)
    }

    fn capacity_of(&self, task: TaskId) -> &'_ Capacity {
        self.capacities[self.cluster.task(task).capacity.index()].plan
    }

    /// A task was created: it joins those that wait for a launch slot.
    pub(super) fn enqueue_launch(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        self.services[service.index()].launch_queue.push_back(task);
        self.pump_service_launches(service);
    }

    /// Passes on as many launches of a service as its rate allows.
    pub(super) fn pump_service_launches(&mut self, service: ServiceId) {
        let now = self.queue.now();
        while let Some(&task) = self.services[service.index()].launch_queue.front() {
            if self.cluster.task(task).stop_code.is_none() {
                if let Err(next) = self.services[service.index()].launch_rate.take(now) {
                    self.queue.set_timer(Timer::ServiceLaunches(service), next, Phase::State);
                    return;
                }
                if self.cluster.has_nodes(self.cluster.task(task).capacity) {
                    // The account's launch rate is that of Fargate.
                    self.apply(Command::Launched { task });
                    self.await_node(task);
                } else {
                    let kind = usize::from(self.capacity_of(task).spot().is_some());
                    self.account_queues[kind].push_back(task);
                    self.pump_account_launches(kind);
                }
            }
            self.services[service.index()].launch_queue.pop_front();
        }
    }

    /// Passes on as many launches as the account's token bucket allows.
    pub(super) fn pump_account_launches(&mut self, kind: usize) {
        let now = self.queue.now();
        while let Some(&task) = self.account_queues[kind].front() {
            if self.cluster.task(task).stop_code.is_none() {
                if let Err(next) = self.account_rates[kind].take(now) {
                    self.queue.set_timer(Timer::AccountLaunches(kind as u8), next, Phase::State);
                    return;
                }
                self.apply(Command::Launched { task });
                self.find_capacity(task);
            }
            self.account_queues[kind].pop_front();
        }
    }

    /// vCPUs that a task of a service takes on Fargate: a pod that of the next larger size.
    pub(super) fn vcpus_of(&self, service: ServiceId) -> Cpu {
        let plan = self.services[service.index()].plan;
        if self.is_kube() { crate::scenario::fargate::pod_size(plan).0 } else { plan.task.cpu }
    }

    /// Looks for a micro-VM for a task.
    fn find_capacity(&mut self, task: TaskId) {
        let now = self.queue.now();
        self.choose_zone(task);
        let draw = self.draw_of(task);
        let (zone, capacity) = {
            let t = self.cluster.task(task);
            (t.zone.0, t.capacity)
        };
        let plan = self.capacities[capacity.index()].plan;
        let Some(launch) = plan.fargate() else { return };
        let runtime = &mut self.tasks[task.index()];
        runtime.capacity_attempts += 1;
        let chance = draw.of(purpose::CAPACITY).of(u64::from(runtime.capacity_attempts)).unit();
        let service = self.cluster.task(task).service;
        let cpu = self.vcpus_of(service);
        let kind = usize::from(plan.spot().is_some());
        let over_quota = self.vcpus_in_use[kind] + cpu > self.vcpu_quota(kind);
        let wait = if over_quota {
            Some(LaunchWait::Quota)
        } else if out(&launch.outages, zone, now) || chance < self.unavailable(task, launch.unavailable) {
            Some(LaunchWait::Capacity)
        } else if !self.has_address(task) {
            Some(LaunchWait::Address)
        } else {
            None
        };
        if let Some(wait) = wait {
            let runtime = &mut self.tasks[task.index()];
            let (waited, kind) = match wait {
                LaunchWait::Quota => (&mut runtime.waits.quota, TroubleKind::OverQuota),
                LaunchWait::Capacity if plan.spot().is_some() => (&mut runtime.waits.capacity, TroubleKind::NoSpot),
                LaunchWait::Capacity => (&mut runtime.waits.capacity, TroubleKind::NoCapacity),
                LaunchWait::Address => (&mut runtime.waits.address, TroubleKind::NoAddress),
            };
            *waited += launch.retry_delay;
            runtime.waits_for = Some(kind);
            runtime.start = StartStep::FindCapacity;
            self.services[service.index()].trouble.note(kind, now);
            self.queue.set_timer(Timer::Start(task), now + launch.retry_delay, Phase::State);
            return;
        }
        self.vcpus_in_use[kind] += cpu;
        self.take_address(task);
        let mount = if self.is_kube() { self.mount_time(task) } else { SimDuration::ZERO };
        let wait = draw_time(launch.provisioning.law(), draw, purpose::PROVISIONING)
            + draw_time(launch.eni_attach.law(), draw, purpose::ENI)
            + mount;
        self.tasks[task.index()].start = StartStep::Pending;
        self.queue.set_timer(Timer::Start(task), now + wait, Phase::State);
    }

    /// The start timer of a task rang.
    pub(super) fn on_start(&mut self, task: TaskId) {
        let step = std::mem::take(&mut self.tasks[task.index()].start);
        match step {
            StartStep::None => {}
            StartStep::FargateScheduled => self.on_fargate_scheduled(task),
            StartStep::FindCapacity => self.find_capacity(task),
            StartStep::GiveUp => self.give_up(task),
            StartStep::Sandbox => self.on_sandbox(task),
            StartStep::Restart => self.on_restart(task),
            StartStep::ReadyAgain => self.serve(task),
            StartStep::Pending => self.on_pending(task),
            StartStep::Pulled => self.on_pulled(task),
            StartStep::Running => self.on_running(task),
            StartStep::Ready => self.on_ready(task),
            StartStep::PullAgain => self.try_pull(task),
            StartStep::StartAgain => self.start_containers(task),
            StartStep::Fail if self.is_kube() => self.start_failed(task),
            StartStep::Fail => {
                self.end_task(task, StopCode::TaskFailedToStart);
            }
        }
    }

    pub(super) fn on_pending(&mut self, task: TaskId) {
        let now = self.queue.now();
        self.apply(Command::Advance { task, to: TaskStatus::Pending });
        self.apply(Command::Advance { task, to: TaskStatus::Activating });
        let t = self.cluster.task(task);
        let (service, revision, capacity, node) = (t.service, t.revision, t.capacity, t.node);
        let plan = self.capacities[capacity.index()].plan;
        let (pull, bytes) = match (plan.fargate(), node) {
            (Some(launch), _) => {
                self.meter.task_pull_started(task, service, capacity, now);
                let wanted = self.wanted_images(task);
                let bytes = wanted.iter().map(|w| w.size).sum::<crate::units::Bytes>();
                let images = wanted.into_iter().map(|w| (w.size, w.share));
                (pull_time(images, launch.pull_bandwidth, launch.unpack_bandwidth), bytes)
            }
            (None, Some(node)) => self.pull_onto(task, node),
            (None, None) => (SimDuration::ZERO, crate::units::Bytes::ZERO),
        };
        let faults = self.pull_of(task);
        if self.is_kube() {
            self.services[service.index()].image_bytes += bytes;
            self.pull_images(task, pull.mul_f64(faults.slower));
            return;
        }
        let pull = pull.mul_f64(faults.slower) + faults.lost;
        let r = &self.services[service.index()].revisions[revision as usize];
        let runtime = &mut self.tasks[task.index()];
        runtime.waits.pulls = faults.lost;
        if faults.gives_up {
            runtime.start = StartStep::Fail;
            runtime.stop_reason = "CannotPullContainerError: the image could not be pulled".into();
            runtime.waits_for = Some(TroubleKind::CannotPull);
            self.queue.set_timer(Timer::Start(task), now + faults.lost, Phase::State);
            return;
        }
        if Draw::new(runtime.draw).of(purpose::FAILS_TO_START).unit() < r.fails_to_start {
            runtime.start = StartStep::Fail;
            runtime.stop_reason = "the image or the configuration of the revision is bad".into();
        } else {
            runtime.start = StartStep::Pulled;
        }
        self.services[service.index()].image_bytes += bytes;
        self.queue.set_timer(Timer::Start(task), now + pull, Phase::State);
    }

    fn on_pulled(&mut self, task: TaskId) {
        self.apply(Command::PullEnded { task });
        if self.is_kube()
            && let Some(node) = self.cluster.task(task).node
        {
            self.node_has_images(task, node);
        }
        self.start_containers(task);
    }

    /// The images are there: the containers start, one after the other.
    fn start_containers(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let s = &self.services[t.service.index()];
        let r = &s.revisions[t.revision as usize];
        let container_start = self.capacities[t.capacity.index()].plan.container_start();
        let draw = match self.kube.as_ref().map_or(0, |k| k.restarts_of(task)) {
            0 => Draw::new(self.tasks[task.index()].draw),
            restarts => Draw::new(self.tasks[task.index()].draw).of(purpose::RESTART).of(restarts),
        };
        let start = plan_start(&s.plan.task, &r.startup, container_start, draw);
        let crash = r
            .crashes_after
            .as_ref()
            .map(|law| draw_time(law, draw, purpose::CRASH) + start.running)
            .filter(|_| start.fails.is_none());
        let runtime = &mut self.tasks[task.index()];
        if let Some((at, why)) = start.fails {
            runtime.start = StartStep::Fail;
            runtime.stop_reason = why;
            self.queue.set_timer(Timer::Start(task), now + at, Phase::State);
            return;
        }
        runtime.ready_after = start.ready - start.running;
        runtime.exits_after =
            [start.exits, crash].into_iter().flatten().min().map(|at| at.saturating_sub(start.running));
        runtime.container.checks_from = now + start.main_started;
        runtime.start = StartStep::Running;
        self.queue.set_timer(Timer::Start(task), now + start.running, Phase::State);
    }

    fn on_running(&mut self, task: TaskId) {
        let now = self.queue.now();
        self.apply(Command::Advance { task, to: TaskStatus::Running });
        self.add_server(task);
        if !self.is_kube() {
            self.publish(task, self.services[self.cluster.task(task).service.index()].plan.task.health_check.is_none());
        }
        let runtime = &mut self.tasks[task.index()];
        if let Some(after) = runtime.exits_after {
            self.queue.set_timer(Timer::Exit(task), now + after, Phase::State);
        }
        runtime.start = StartStep::Ready;
        let ready = now + runtime.ready_after;
        self.queue.set_timer(Timer::Start(task), ready, Phase::State);
        if self.is_kube() {
            self.pod_runs(task);
            return;
        }
        self.schedule_interruption(task);
        self.begin_checks(task, false);
        let service = self.cluster.task(task).service;
        if let Some(lb) = &self.services[service.index()].plan.load_balancer {
            let at = now + lb.registration_delay;
            self.queue.schedule(at, Phase::State, ControlEvent::Registered(task).into());
        }
        self.refresh_health(task);
    }

    /// Puts a task's server into the data plane, its application not yet answering.
    pub(super) fn add_server(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let s = &self.services[t.service.index()];
        let spec = &s.plan.task;
        let revision = &s.revisions[t.revision as usize];
        let draw = Draw::new(self.tasks[task.index()].draw);
        let (cpu, capped, memory, weight) = match self.is_kube() {
            true => {
                let (cpu, capped) = self.pod_cpu(task);
                let size = self.size_of(task);
                (cpu, capped, size.memory_limit, size.cpu)
            }
            false => (spec.cpu, spec.cpu_hard_limit, spec.memory, spec.cpu),
        };
        let seat = t.node.and_then(|n| self.nodes[n.index()].slot).map(|node| NodeShare {
            node,
            weight: u32::try_from(weight.units()).unwrap_or(u32::MAX),
            capped,
        });
        let sidecar_memory = spec.containers.values().map(|c| c.memory_burn).sum::<crate::units::Bytes>();
        let server = self.data.add_server(
            &mut self.queue,
            ServerSpec {
                service: t.service,
                cpu,
                model: spec.cpu_model,
                memory,
                memory_idle: spec.memory_idle + sidecar_memory,
                concurrency: s.plan.worker.as_ref().map_or(spec.concurrency, |w| Some(w.concurrency)),
                accept_queue: spec.accept_queue,
                effect: revision.effect,
                group: self.kube.as_ref().and_then(|k| k.group_of(task, t.service)).unwrap_or(revision.group),
                node: seat,
            },
        );
        let burn = spec.startup_cpu + s.sidecar_cpu;
        self.data.set_ready(server, false);
        self.data.set_background(&mut self.queue, server, burn);
        let sick = draw.of(purpose::FAILS_CHECKS).unit() < revision.fails_health_checks;
        let runtime = &mut self.tasks[task.index()];
        runtime.server = Some(server);
        runtime.sick = sick;
        runtime.cpu_seen = 0.0;
        runtime.reserved_from = now;
        if server.index() >= self.task_of_server.len() {
            self.task_of_server.resize(server.index() + 1, None);
        }
        self.task_of_server[server.index()] = Some(task);
        self.fault_new_server(task);
        if self.is_kube() {
            self.tell_side(task, server);
        }
    }

    /// Lets those who look for a task by themselves (service discovery, a mesh) find it, or no longer. ECS registers a task
    /// that runs; one with a container health check once that has passed.
    pub(super) fn publish(&mut self, task: TaskId, found: bool) {
        if let Some(server) = self.tasks[task.index()].server {
            match found {
                true => self.data.publish(&mut self.queue, server),
                false => self.data.unpublish(&mut self.queue, server),
            }
        }
    }

    fn on_ready(&mut self, task: TaskId) {
        self.apply(Command::Ready { task });
        self.serve(task);
    }

    /// The application of a task answers from now on.
    pub(super) fn serve(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let sidecars = self.services[service.index()].sidecar_cpu;
        if let Some(server) = self.tasks[task.index()].server {
            self.data.set_ready(server, true);
            self.data.set_background(&mut self.queue, server, sidecars);
            self.data.start_polling(&mut self.queue, server);
            self.begin_work(task, server);
        }
    }

    /// Draws when Spot capacity under a task is taken back.
    pub(super) fn schedule_interruption(&mut self, task: TaskId) {
        let Some(spot) = self.capacity_of(task).spot() else { return };
        if spot.interruptions_per_hour > 0.0 {
            let mean = 3600.0 / spot.interruptions_per_hour;
            let after = -mean * libm::log(self.draw_of(task).of(purpose::SPOT).unit());
            let at = self.queue.now() + SimDuration::from_secs_f64(after);
            if at <= self.end {
                self.queue.set_timer(Timer::Spot(task), at, Phase::State);
            }
        }
    }

    /// The notice of a Spot interruption: SIGTERM and deregistration at once, the end at the latest with the notice.
    pub(super) fn on_interruption(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        if t.stop_code.is_some() {
            return;
        }
        let service = t.service;
        self.services[service.index()].trouble.note(TroubleKind::Interrupted, self.queue.now());
        self.tasks[task.index()].stop_reason = "Your Spot Task was interrupted.".into();
        self.end_task(task, StopCode::SpotInterruption);
    }

    /// A reclaim of the scenario: the drawn share of running Spot tasks gets its notice.
    pub(super) fn on_reclaim(&mut self, capacity: CapacityId, which: usize) {
        let Some(reclaim) = self.capacities[capacity.index()].plan.spot().and_then(|s| s.reclaims.get(which)) else {
            return;
        };
        let Reclaim { share, zones, .. } = reclaim.clone();
        let hit: Vec<TaskId> = self
            .cluster
            .services()
            .iter()
            .flat_map(|s| s.tasks.iter().copied())
            .filter(|&id| {
                let t = self.cluster.task(id);
                t.capacity == capacity
                    && t.status == TaskStatus::Running
                    && t.stop_code.is_none()
                    && (zones.is_empty() || zones.contains(&t.zone.0))
                    && self.draw_of(id).of(purpose::RECLAIM).of(which as u64).unit() < share
            })
            .collect();
        for task in hit {
            self.on_interruption(task);
        }
    }

    /// The world ends a task.
    pub(super) fn end_task(&mut self, task: TaskId, code: StopCode) {
        if self.cluster.task(task).stop_code.is_none() {
            self.apply(Command::TaskEnds { task, code });
        }
    }

    /// A task is to go: its timers change from start to stop.
    pub(super) fn on_stops(&mut self, task: TaskId, code: StopCode) {
        let now = self.queue.now();
        for timer in [Timer::Start(task), Timer::Exit(task), Timer::Spot(task), Timer::Settle(task)] {
            self.queue.cancel_timer(timer);
        }
        self.queue.cancel_timer(Timer::ContainerCheck(task));
        self.publish(task, false);
        let status = self.cluster.task(task).status;
        if self.is_kube() {
            self.pod_ends(task);
        }
        if status < TaskStatus::Running {
            self.execution_ends(task);
            return;
        }
        match code {
            _ if self.node_is_down(task) => self.cut_off(task),
            _ if self.is_kube() && code != StopCode::EssentialContainerExited => self.pod_terminates(task),
            StopCode::EssentialContainerExited | StopCode::OutOfMemory | StopCode::HostLost => {
                if let Some(server) = self.tasks[task.index()].server {
                    self.data.kill(&mut self.queue, server);
                }
                self.begin_deregistration(task);
                self.execution_ends(task);
            }
            StopCode::SpotInterruption => {
                self.begin_deregistration(task);
                let notice = self.capacity_of(task).spot().map_or(SimDuration::ZERO, |s| s.notice);
                self.begin_stopping(task, now + notice);
            }
            _ => {
                if self.begin_deregistration(task) {
                    self.apply(Command::Advance { task, to: TaskStatus::Deactivating });
                    let service = self.cluster.task(task).service;
                    let wait = self.services[service.index()]
                        .plan
                        .load_balancer
                        .as_ref()
                        .map_or(SimDuration::ZERO, |lb| lb.deregistration_propagation + lb.deregistration_delay);
                    let runtime = &mut self.tasks[task.index()];
                    runtime.deactivating = Some(now);
                    runtime.stop = StopStep::DrainEnds;
                    self.queue.set_timer(Timer::Stop(task), now + wait, Phase::State);
                } else {
                    self.begin_stopping(task, SimTime::MAX);
                }
            }
        }
    }

    /// Tells the balancer that a target leaves; true if it has one.
    fn begin_deregistration(&mut self, task: TaskId) -> bool {
        let service = self.cluster.task(task).service;
        let runtime = &mut self.tasks[task.index()];
        let Some(lb) = &self.services[service.index()].plan.load_balancer else { return false };
        if !runtime.registered || runtime.deregistering {
            return false;
        }
        runtime.deregistering = true;
        let at = self.queue.now() + lb.deregistration_propagation;
        self.queue.schedule(at, Phase::State, ControlEvent::Deregistered(task).into());
        true
    }

    /// Says where a target is, to a load balancer that wants to know.
    pub(super) fn tell_place(&mut self, task: TaskId, server: ServerId) {
        let t = self.cluster.task(task);
        if self.services[t.service.index()].plan.stages() != (false, false) {
            let node = t.node.map_or(u32::MAX - task.0, |n| n.0);
            self.data.set_place(server, t.zone.0, node);
        }
    }

    /// The load balancer has taken notice of a registration.
    pub(super) fn on_registered(&mut self, task: TaskId) {
        if self.cluster.task(task).stop_code.is_some() {
            return;
        }
        let Some(server) = self.tasks[task.index()].server else { return };
        self.tasks[task.index()].registered = true;
        self.tell_place(task, server);
        self.data.register(&mut self.queue, server);
        self.data.set_target(&mut self.queue, server, TargetState::Initial);
        self.show_target(task);
        self.begin_checks(task, true);
    }

    /// The load balancer has taken notice of a deregistration.
    pub(super) fn on_deregistered(&mut self, task: TaskId) {
        self.queue.cancel_timer(Timer::TargetCheck(task));
        let Some(server) = self.tasks[task.index()].server else { return };
        if self.cluster.task(task).status >= TaskStatus::Deprovisioning {
            self.leave_balancer(task, server);
            self.drop_server(task, server);
        } else {
            self.data.set_target(&mut self.queue, server, TargetState::Draining);
        }
    }

    pub(super) fn leave_balancer(&mut self, task: TaskId, server: ServerId) {
        let runtime = &mut self.tasks[task.index()];
        if runtime.registered {
            runtime.registered = false;
            self.data.deregister(&mut self.queue, server);
        }
    }

    pub(super) fn drop_server(&mut self, task: TaskId, server: ServerId) {
        self.tasks[task.index()].server = None;
        self.task_of_server[server.index()] = None;
        self.data.remove_server(&mut self.queue, server);
    }

    /// SIGTERM: no new connections; what is in flight may finish until the stop timeout.
    pub(super) fn begin_stopping(&mut self, task: TaskId, latest: SimTime) {
        let now = self.queue.now();
        self.apply(Command::Advance { task, to: TaskStatus::Stopping });
        let service = self.cluster.task(task).service;
        let plan = self.services[service.index()].plan;
        let timeout = match self.is_kube() {
            true => SimDuration::from_secs(u64::from(plan.kubernetes.termination_grace_period_seconds)),
            false => plan.task.stop_timeout,
        };
        let runtime = &mut self.tasks[task.index()];
        runtime.stopping = Some(now);
        runtime.kill_at = (now + timeout).min(latest);
        runtime.stop = StopStep::Exit;
        let (kill_at, server) = (runtime.kill_at, runtime.server);
        self.queue.set_timer(Timer::Stop(task), kill_at, Phase::State);
        if let Some(server) = server {
            self.data.set_background(&mut self.queue, server, Cpu::ZERO);
            self.data.stop_accepting(&mut self.queue, server);
            if self.data.outstanding(server) == 0 {
                self.on_idle(task);
            }
        }
    }

    /// A stopping task has nothing left to do: it exits after its own shutdown work.
    pub(super) fn on_idle(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        let runtime = &self.tasks[task.index()];
        if t.status != TaskStatus::Stopping || runtime.stop != StopStep::Exit {
            return;
        }
        let law = self.services[t.service.index()].plan.task.shutdown.law();
        let at = self.queue.now() + draw_time(law, Draw::new(runtime.draw), purpose::SHUTDOWN);
        let at = at.min(runtime.kill_at);
        self.queue.set_timer(Timer::Stop(task), at, Phase::State);
    }

    /// The stop timer of a task rang.
    pub(super) fn on_stop(&mut self, task: TaskId) {
        match std::mem::take(&mut self.tasks[task.index()].stop) {
            StopStep::None => {}
            StopStep::PreStop => self.on_pre_stop(task),
            StopStep::DrainEnds => {
                if let Some(server) = self.tasks[task.index()].server {
                    self.data.cut(&mut self.queue, server);
                    self.leave_balancer(task, server);
                }
                self.begin_stopping(task, SimTime::MAX);
            }
            StopStep::Exit => {
                if let Some(server) = self.tasks[task.index()].server
                    && self.data.outstanding(server) > 0
                {
                    self.data.kill(&mut self.queue, server);
                }
                self.execution_ends(task);
            }
            StopStep::Gone => {
                self.give_address(task);
                self.apply(Command::Advance { task, to: TaskStatus::Stopped });
                if self.is_kube() {
                    self.pod_gone(task);
                }
            }
        }
    }

    /// Whether the machine under a task has stopped.
    fn node_is_down(&self, task: TaskId) -> bool {
        self.cluster.task(task).node.is_some_and(|n| self.nodes[n.index()].down)
    }

    /// The machine under a task stops: its requests are lost, and nobody waits for them.
    pub(super) fn cut_off(&mut self, task: TaskId) {
        self.queue.cancel_timer(Timer::Stop(task));
        if let Some(server) = self.tasks[task.index()].server {
            self.data.kill(&mut self.queue, server);
            if self.cluster.task(task).status > TaskStatus::Running {
                // Its way out had begun: the balancer is not waited for once more.
                self.leave_balancer(task, server);
            }
        }
        self.begin_deregistration(task);
        self.execution_ends(task);
    }

    /// A task that is stopping on a machine that is lost is gone at once.
    pub(super) fn abandon_stop(&mut self, task: TaskId) {
        self.queue.cancel_timer(Timer::Stop(task));
        self.tasks[task.index()].stop = StopStep::None;
        if let Some(server) = self.tasks[task.index()].server {
            self.data.kill(&mut self.queue, server);
        }
        self.execution_ends(task);
    }

    /// The containers of a task have ended: billing stops, its place is taken away.
    fn execution_ends(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let (service, capacity, was, node) = (t.service, t.capacity, t.status, t.node);
        let on_fargate = !self.cluster.has_nodes(capacity);
        self.account_cpu(task);
        if node.is_some() || on_fargate && was >= TaskStatus::Activating {
            self.meter.task_stopped(task, now);
        }
        let held = was >= TaskStatus::Pending || self.tasks[task.index()].start == StartStep::Pending;
        if held && on_fargate {
            let kind = usize::from(self.capacities[capacity.index()].plan.spot().is_some());
            let cpu = self.vcpus_of(service);
            self.vcpus_in_use[kind] = self.vcpus_in_use[kind].saturating_sub(cpu);
        }
        self.tasks[task.index()].start = StartStep::None;
        self.apply(Command::Advance { task, to: TaskStatus::Deprovisioning });
        if let Some(server) = self.tasks[task.index()].server {
            let endpoint = self.kube.as_ref().is_some_and(|k| k.is_endpoint_still(task));
            let runtime = &self.tasks[task.index()];
            let waits_for_balancer = (runtime.deregistering || endpoint) && runtime.registered;
            if waits_for_balancer {
                // Still a target: connections to it are refused until the balancer notices.
                self.data.set_ready(server, false);
            } else {
                self.leave_balancer(task, server);
                self.drop_server(task, server);
            }
        }
        let law = self.capacities[capacity.index()].plan.deprovisioning();
        let nothing = self.node_is_down(task) || (!on_fargate && node.is_none());
        let after =
            if nothing { SimDuration::ZERO } else { draw_time(law, self.draw_of(task), purpose::DEPROVISIONING) };
        self.tasks[task.index()].stop = StopStep::Gone;
        self.queue.set_timer(Timer::Stop(task), now + after, Phase::State);
        if let Some(node) = node {
            self.look_at_draining(node);
        }
    }

    /// A container of a task exited by itself.
    pub(super) fn on_exit(&mut self, task: TaskId) {
        if self.is_kube() {
            self.restart_container(task, "its container exited");
            return;
        }
        let service = self.cluster.task(task).service;
        self.services[service.index()].trouble.note(TroubleKind::Exit, self.queue.now());
        self.tasks[task.index()].stop_reason = "Essential container in task exited".into();
        self.end_task(task, StopCode::EssentialContainerExited);
    }

    /// The kernel of a task's node killed it for want of memory.
    pub(super) fn on_out_of_memory(&mut self, server: ServerId) {
        let Some(task) = self.task_of_server.get(server.index()).copied().flatten() else { return };
        let service = self.cluster.task(task).service;
        self.services[service.index()].trouble.note(TroubleKind::OutOfMemory, self.queue.now());
        if self.is_kube() {
            self.pod_out_of_memory(task);
            self.restart_container(task, "OOMKilled: it used more memory than its limit");
            return;
        }
        self.tasks[task.index()].stop_reason = "OutOfMemoryError: Container killed due to memory usage".into();
        self.end_task(task, StopCode::OutOfMemory);
    }

    /// What follows from a fact about a task, in the world.
    pub(super) fn follow(&mut self, fact: &Fact) {
        match *fact {
            Fact::TaskCreated(task) => {
                let t = self.cluster.task(task);
                let root = self.services[t.service.index()].launch_root;
                let draw = Draw::new(root).of(t.launch).bits();
                let waits = self.faults.losses[t.service.index()].requested(self.queue.now());
                self.tasks.push(TaskRuntime { draw, waits, ..TaskRuntime::default() });
                if self.is_kube() {
                    self.pod_created(task);
                }
            }
            Fact::TaskStops(task, code) => self.on_stops(task, code),
            Fact::Traffic(service, _) => self.on_traffic(service),
            Fact::NodeLaunched(_)
            | Fact::NodeLife(..)
            | Fact::NodeStatus(..)
            | Fact::TaskPlaced(..)
            | Fact::NodeHeld(..)
            | Fact::TaskFreed(..) => self.follow_node(fact),
            _ => {}
        }
    }
}
