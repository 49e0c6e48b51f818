//! From a plan to a world at time zero.

use std::collections::VecDeque;

use super::batch::JobRuntime;
use super::groups::Group;
use super::queues::QueueRuntime;
use super::scale::{AlarmRuntime, LbWindow, ScaleOut, Watch};
use super::{ControlEvent, RunError, RunOptions, Simulation, Timer};
use crate::billing::Meter;
use crate::capacity::bucket::{MinuteLimit, TokenBucket};
use crate::capacity::strategy::Strategy;
use crate::catalog::Catalog;
use crate::cluster::spread::Share;
use crate::cluster::{Cluster, Command, Health, TaskStatus};
use crate::kernel::{EventQueue, Law, Phase, SimDuration, SimTime, Streams};
use crate::output::RowSink;
use crate::placement::pool::{NodePool, ShapeId};
use crate::placement::spec::PlacementSpec;
use crate::rollout::scheduler::SchedulerMemory;
use crate::rollout::shift::Shift;
use crate::rollout::stages::ShiftMemory;
use crate::scaling::service::ScalingMemory;
use crate::scenario::model::{
    Capacity, Inputs, Orchestrator, Plan, Revision, SchedulingStrategy, Service, WorkloadKind,
};
use crate::traffic::{DataPlane, RevisionEffect, TargetState};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, ZoneId};

/// A revision of a task definition, with what it inherits filled in.
#[derive(Clone, Debug)]
pub(super) struct RevisionRuntime {
    pub(super) image_size: Bytes,
    pub(super) startup: Law,
    pub(super) effect: RevisionEffect,
    pub(super) fails_to_start: f64,
    pub(super) crashes_after: Option<Law>,
    pub(super) fails_health_checks: f64,
    /// Which of the service's target groups its tasks are in.
    pub(super) group: u8,
}

impl RevisionRuntime {
    pub(super) fn first(service: &Service) -> Self {
        Self {
            image_size: service.task.image.size,
            startup: service.task.startup.law().clone(),
            effect: RevisionEffect::default(),
            fails_to_start: 0.0,
            crashes_after: None,
            fails_health_checks: 0.0,
            group: 0,
        }
    }

    /// The revision that replaces this one; what `change` leaves out stays.
    pub(super) fn next(&self, change: &Revision) -> Self {
        Self {
            image_size: change.image_size.unwrap_or(self.image_size),
            startup: change.startup.as_ref().map_or_else(|| self.startup.clone(), |l| l.law().clone()),
            effect: RevisionEffect {
                cpu_factor: change.cpu_time_factor,
                wait_factor: change.wait_factor,
                memory_factor: change.memory_factor,
                error_rate: change.error_rate,
                latency: SimDuration::ZERO,
            },
            fails_to_start: change.fails_to_start,
            crashes_after: change.crashes_after.as_ref().map(|l| l.law().clone()),
            fails_health_checks: change.fails_health_checks,
            group: self.group,
        }
    }
}

/// A capacity of the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct CapacityRuntime<'p> {
    pub(super) name: &'p str,
    pub(super) plan: &'p Capacity,
}

/// CPU that was used and reserved, summed over time, in vCPU-seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CpuAccount {
    pub(super) used: f64,
    pub(super) reserved: f64,
}

/// A service of the plan while it runs.
pub(super) struct ServiceRuntime<'p> {
    pub(super) name: &'p str,
    pub(super) plan: &'p Service,
    pub(super) revisions: Vec<RevisionRuntime>,
    pub(super) launch_root: u64,
    pub(super) strategy: Strategy,
    /// What a task of it is to placement.
    pub(super) shape: ShapeId,
    pub(super) sidecar_cpu: Cpu,
    pub(super) launch_queue: VecDeque<crate::units::TaskId>,
    pub(super) launch_rate: MinuteLimit,
    pub(super) scheduler: SchedulerMemory,
    /// Deployments with a second fleet.
    pub(super) shift: ShiftMemory,
    /// Decides between tasks that are equal to the scheduler.
    pub(super) tie_seed: u64,
    pub(super) scaling: Option<ScalingMemory>,
    pub(super) predictive: Option<super::forecast::PredictiveRuntime>,
    /// The job that it stands for, by its position.
    pub(super) job: Option<usize>,
    pub(super) cpu: CpuAccount,
    pub(super) cpu_at_sample: CpuAccount,
    pub(super) cpu_at_interval: CpuAccount,
    pub(super) memory_last: Option<f64>,
    pub(super) windows: Vec<LbWindow>,
    pub(super) watches: Vec<Watch>,
    pub(super) scale_outs: Vec<ScaleOut>,
    pub(super) image_bytes: Bytes,
    pub(super) trouble: super::trouble::Troubles,
    pub(super) deployments: Vec<super::deploy::DeploymentRuntime>,
}

impl<'p> Simulation<'p> {
    /// Builds the world of a plan. Nothing is scheduled yet.
    pub(super) fn build(
        plan: &'p Plan,
        inputs: &Inputs,
        catalog: &Catalog,
        options: RunOptions<'p>,
        sink: &'p mut RowSink,
    ) -> Result<Self, RunError> {
        let streams = Streams::new(plan.simulation.seed, options.replication);
        let data = DataPlane::new(plan, inputs, &streams)?;
        let meter = Meter::new(plan, catalog)?;
        let mut cluster = Cluster::new(plan.cluster.zones, plan.capacity.len() as u32);
        let capacities: Vec<_> = plan.capacity.iter().map(|(name, plan)| CapacityRuntime { name, plan }).collect();
        let mut places = NodePool::new(plan.cluster.zones);
        let mut services = Vec::new();
        let mut alarms = Vec::new();
        for (name, service) in &plan.services {
            let configuration = &service.ecs.deployment_configuration;
            let id = cluster.add_service(
                service.desired_count,
                configuration.minimum_healthy_percent,
                configuration.maximum_percent,
                service.ecs.stopping_counts,
                service.task.cpu,
            );
            if Shift::of(&service.ecs).is_some() {
                cluster.use_fleets(id);
            }
            if service.ecs.scheduling_strategy == SchedulingStrategy::Daemon {
                cluster.run_daemon(id);
            }
            if plan.jobs.contains_key(name) {
                cluster.run_standalone(id);
            }
            if super::kube::shifts_traffic(&service.kubernetes) {
                cluster.use_fleets(id);
            }
            if plan.cluster.orchestrator == Orchestrator::Eks {
                cluster.run_pods(id, super::kube::bounds(&service.kubernetes, service.desired_count));
                if service.kubernetes.kind == WorkloadKind::DaemonSet {
                    cluster.run_daemon(id);
                }
            }
            let mut runtime = service_runtime(plan, name, service, &streams, &mut places)?;
            AlarmRuntime::make_all(plan, id, service, &mut runtime, &streams, &mut alarms);
            cluster.set_needs(id, places.spec(runtime.shape).needs.clone());
            services.push(runtime);
        }
        let mut groups = Vec::new();
        for (index, (name, capacity)) in plan.capacity.iter().enumerate() {
            let group =
                Group::new((plan, inputs, catalog), name, capacity, &streams, CapacityId::from(index), &mut places)?;
            if group.is_some() {
                cluster.use_nodes(CapacityId::from(index));
            }
            groups.push(group);
        }
        let quotas = &plan.cluster.quotas;
        let bucket = || TokenBucket::new(quotas.fargate_launch_burst, quotas.fargate_launch_rate);
        let recorder = super::recorder::Recorder::new(plan, options, sink);
        let calls = super::CallRecords::new(data.call_edges().count(), data.dependency_count());
        Ok(Self {
            plan,
            options,
            queue: EventQueue::new(),
            data,
            cluster,
            meter,
            services,
            capacities,
            tasks: Vec::new(),
            groups,
            pool: places,
            unpriced: None,
            nodes: Vec::new(),
            task_of_server: Vec::new(),
            alarms,
            calls,
            queues: QueueRuntime::all(plan),
            jobs: JobRuntime::all(plan, &streams)?,
            kube: super::kube::Kube::new(plan, inputs, &streams)?,
            account_queues: [VecDeque::new(), VecDeque::new()],
            account_rates: [bucket(), bucket()],
            vcpus_in_use: [Cpu::ZERO; 2],
            faults: super::faults::Faults::new(plan, &streams),
            recorder,
            drained: crate::traffic::ServiceTotals::default(),
            end: SimTime::ZERO + plan.simulation.duration,
            warm_up: SimTime::ZERO + plan.simulation.warm_up,
            events: 0,
        })
    }

    /// Time zero: the desired tasks run and are healthy; everything periodic is scheduled.
    ///
    /// # Errors
    /// When nodes and pods that the scenario gives do not fit together.
    pub(super) fn start(&mut self, inputs: &Inputs) -> Result<(), RunError> {
        self.start_groups();
        if self.is_kube() {
            self.start_kube()?;
        } else {
            for index in 0..self.services.len() {
                self.place_initial_tasks(ServiceId::from(index));
            }
        }
        self.settle_groups();
        if self.warm_up.as_nanos() == 0 {
            self.meter.start_counting(SimTime::ZERO);
        } else {
            self.queue.schedule(self.warm_up, Phase::Record, ControlEvent::WarmUpEnds.into());
        }
        let first = |period: SimDuration| SimTime::ZERO + period;
        self.queue.schedule(first(super::scale::SAMPLE_PERIOD), Phase::Scrape, ControlEvent::Sample.into());
        self.queue.schedule(first(self.plan.simulation.interval), Phase::Record, ControlEvent::Interval.into());
        self.queue.schedule(first(SimDuration::from_secs(60)), Phase::Record, ControlEvent::Minute.into());
        for (index, action) in self.plan.actions.values().enumerate() {
            self.queue.schedule(
                SimTime::ZERO + action.at(),
                Phase::Decision,
                ControlEvent::Action(index as u32).into(),
            );
        }
        for (index, capacity) in self.capacities.iter().enumerate() {
            for (which, reclaim) in capacity.plan.spot().iter().flat_map(|s| s.reclaims.iter().enumerate()) {
                let event = ControlEvent::Reclaim(index as u16, which as u16);
                self.queue.schedule(SimTime::ZERO + reclaim.at, Phase::State, event.into());
            }
        }
        if !self.is_kube() && self.groups.iter().any(Option::is_some) {
            self.queue.schedule(first(SimDuration::from_secs(60)), Phase::Scrape, ControlEvent::Reservation.into());
        }
        self.start_spot();
        self.start_faults();
        self.start_alarms();
        self.start_forecasts(inputs);
        self.start_jobs();
        self.data.start(&mut self.queue);
        Ok(())
    }

    fn place_initial_tasks(&mut self, service: ServiceId) {
        if self.is_daemon(service) {
            return; // they come with the instances
        }
        let desired = self.cluster.service(service).desired;
        let zones = self.plan.cluster.zones;
        let zone_of = (0..desired).map(|i| i % zones);
        let strategy = &self.services[service.index()].strategy;
        let split = strategy.split(desired);
        let capacity_of: Vec<CapacityId> = strategy
            .shares()
            .iter()
            .zip(split)
            .flat_map(|(share, n)| std::iter::repeat_n(share.capacity, n as usize))
            .collect();
        for (zone, capacity) in zone_of.zip(capacity_of) {
            self.place_running_task(service, capacity, ZoneId(zone), None);
        }
    }

    /// A task that has run for long when the simulation starts.
    pub(super) fn place_running_task(
        &mut self,
        service: ServiceId,
        capacity: CapacityId,
        zone: ZoneId,
        on: Option<NodeId>,
    ) {
        let now = self.queue.now();
        let Some(task) = self.try_apply(Command::StartTask { service, deployment: 0, capacity, zone }) else { return };
        self.tasks[task.index()].pinned = on;
        self.tasks[task.index()].started_by = "initial";
        self.apply(Command::Launched { task });
        let on_fargate = !self.cluster.has_nodes(capacity);
        if !on_fargate && !self.place_at_start(task) {
            // No instance has room for it, and none may be added: it waits like any other task.
            self.await_node(task);
            return;
        }
        self.apply(Command::Advance { task, to: TaskStatus::Pending });
        self.apply(Command::Advance { task, to: TaskStatus::Activating });
        self.apply(Command::PullEnded { task });
        if on_fargate {
            self.meter.task_pull_started(task, service, capacity, now);
            let kind = usize::from(self.capacities[capacity.index()].plan.spot().is_some());
            self.vcpus_in_use[kind] += self.services[service.index()].plan.task.cpu;
        }
        self.take_address(task);
        self.apply(Command::Advance { task, to: TaskStatus::Running });
        self.add_server(task);
        self.publish(task, true);
        self.tasks[task.index()].sick = false;
        self.apply(Command::Ready { task });
        self.serve(task);
        self.schedule_interruption(task);
        if let Some(server) = self.tasks[task.index()].server
            && self.services[service.index()].plan.load_balancer.is_some()
        {
            self.tasks[task.index()].registered = true;
            self.tell_place(task, server);
            self.data.register(&mut self.queue, server);
            self.data.set_target(&mut self.queue, server, TargetState::Healthy);
            self.tasks[task.index()].target.start_healthy();
        }
        self.tasks[task.index()].container.start_healthy();
        self.apply(Command::SetHealth { task, health: Health::Healthy });
        self.begin_checks(task, false);
        self.begin_checks(task, true);
    }

    pub(super) fn schedule_timer_if_due(&mut self, timer: Timer, at: SimTime, phase: Phase) {
        if at <= self.end {
            self.queue.set_timer(timer, at, phase);
        }
    }
}

fn service_runtime<'p>(
    plan: &Plan,
    name: &'p str,
    service: &'p Service,
    streams: &Streams,
    places: &mut NodePool,
) -> Result<ServiceRuntime<'p>, RunError> {
    let shares: Vec<Share> = service
        .capacity
        .iter()
        .filter_map(|(capacity, item)| {
            let capacity = CapacityId::from(plan.capacity.get_index_of(capacity)?);
            Some(Share { capacity, base: item.base, weight: item.weight })
        })
        .collect();
    let shares = match plan.cluster.orchestrator {
        Orchestrator::Ecs => shares,
        // The scheduler decides; the strategy is never asked.
        Orchestrator::Eks => vec![Share { capacity: CapacityId(0), base: 0, weight: 1 }],
    };
    let strategy = Strategy::new(shares).map_err(|why| RunError::Strategy { service: name.to_string(), why })?;
    let group = places.group(&format!("service:{name}"));
    let capacities = strategy.shares().iter().map(|s| s.capacity).collect();
    let (constraints, strategies) = (&service.ecs.placement_constraints, &service.ecs.placement_strategy);
    let spec = PlacementSpec::new(group, capacities, &service.task, constraints, strategies, false)
        .map_err(|why| RunError::Placement { service: name.to_string(), why: why.to_string() })?;
    Ok(ServiceRuntime {
        name,
        plan: service,
        revisions: vec![RevisionRuntime::first(service)],
        launch_root: streams.root(&format!("launch/{name}")),
        strategy,
        shape: places.shape(spec),
        sidecar_cpu: service.task.containers.values().map(|c| c.cpu_burn).sum(),
        launch_queue: VecDeque::new(),
        launch_rate: MinuteLimit::new(plan.cluster.quotas.service_launch_rate_per_minute),
        scheduler: SchedulerMemory::default(),
        shift: ShiftMemory::default(),
        tie_seed: streams.root(&format!("scheduler/{name}")),
        scaling: service.scaling.as_ref().map(ScalingMemory::new),
        predictive: None,
        job: plan.jobs.get_index_of(name),
        cpu: CpuAccount::default(),
        cpu_at_sample: CpuAccount::default(),
        cpu_at_interval: CpuAccount::default(),
        memory_last: None,
        windows: Vec::new(),
        watches: Vec::new(),
        scale_outs: Vec::new(),
        image_bytes: Bytes::ZERO,
        trouble: super::trouble::Troubles::default(),
        deployments: Vec::new(),
    })
}
