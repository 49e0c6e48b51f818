//! The ECS service scheduler at work: what it sees, and what its commands do.

use super::{RunError, Simulation, Timer};
use crate::capacity::managed_scaling::{TaskGroup, per_instance};
use crate::cluster::nodes::NodeStatus;
use crate::cluster::{Command, DeploymentOutcome, StopCode, TaskStatus};
use crate::kernel::{Phase, SimTime};
use crate::output::{DecisionDetail, DecisionRow};
use crate::placement::zones::{Eligibility, eligible};
use crate::rollout::deployment_alarms::bake_time;
use crate::rollout::fleets;
use crate::rollout::scheduler::{
    self, DeploymentView, FailReason, Hold, RolloutState, SchedulerCommand, SchedulerMemory, SchedulerObservation,
    SchedulerSpec, StartReason, StopReason, TaskEvent, TaskEventKind, TaskView,
};
use crate::rollout::scheduler::{NodeView, ZoneRoom};
use crate::rollout::stages::ShiftMemory;
use crate::scenario::model::{
    DeploymentController, EcsService, PlacementConstraint, PlacementStrategy, SchedulingStrategy, Service, Switch,
};
use crate::telemetry::alarm::{AlarmSpec, AlarmState};
use crate::units::{NodeId, ServiceId, TaskId, ZoneId};

use super::scale::to_json;
use super::shift::{hook_name, percent, stage_name, step_name, wait_text};

impl Simulation<'_> {
    /// The states of a service's deployment alarms, in the order of their names; none when they are off.
    fn deployment_alarms(&self, service: ServiceId) -> Vec<AlarmState> {
        let names = deployment_alarm_names(&self.services[service.index()].plan.ecs);
        names.iter().map(|name| self.alarm_state(service, name)).collect()
    }

    /// The state of an alarm of a service's own.
    pub(super) fn alarm_state(&self, service: ServiceId, name: &str) -> AlarmState {
        self.alarms
            .iter()
            .find(|a| a.service == service && a.is_deployment_alarm(name))
            .map_or(AlarmState::InsufficientData, |a| a.state)
    }

    fn observe_service(&self, service: ServiceId) -> SchedulerObservation {
        let now = self.queue.now();
        let s = self.cluster.service(service);
        let provisioning: u32 = self
            .cluster
            .services()
            .iter()
            .map(|s| self.cluster.count(s.id, |t| t.status == TaskStatus::Provisioning && t.stop_code.is_none()))
            .sum();
        let quotas = &self.plan.cluster.quotas;
        let runtime = &self.services[service.index()];
        let room = (quotas.tasks_per_service as usize).saturating_sub(s.tasks.len()) as u32;
        SchedulerObservation {
            now,
            desired: s.desired,
            deployments: s
                .deployments
                .iter()
                .map(|d| DeploymentView {
                    id: d.id,
                    revision: d.revision,
                    state: match d.outcome {
                        DeploymentOutcome::InProgress => RolloutState::InProgress,
                        DeploymentOutcome::Completed => RolloutState::Completed,
                        DeploymentOutcome::Failed(_) => RolloutState::Failed,
                        DeploymentOutcome::Superseded => RolloutState::Superseded,
                    },
                    rollback: d.rolls_back.is_some(),
                    started_at: d.created,
                })
                .collect(),
            tasks: self
                .cluster
                .tasks_of(service)
                .map(|t| TaskView {
                    id: t.id,
                    revision: t.revision,
                    capacity: t.capacity,
                    zone: t.zone,
                    status: t.status,
                    stopping: t.stop_code.is_some(),
                    health: t.health,
                    // A daemon on its way has its instance already.
                    node: t.node.or(self.tasks[t.id.index()].pinned),
                    draining: t.node.is_some_and(|n| self.cluster.node(n).status == NodeStatus::Draining),
                    protected: self.is_protected(t.id),
                })
                .collect(),
            provisioning_slots: quotas.provisioning_tasks.saturating_sub(provisioning).min(room),
            launch_tokens: runtime.launch_rate.available(now),
            alarms: self.deployment_alarms(service),
            nodes: self.nodes_seen(service),
            room: self.room_seen(service),
        }
    }

    /// The instances that matter to a service.
    fn nodes_seen(&self, service: ServiceId) -> Vec<NodeView> {
        let s = &self.services[service.index()];
        if !s.strategy.shares().iter().any(|share| self.cluster.has_nodes(share.capacity)) {
            return Vec::new();
        }
        let mut ids: Vec<NodeId> = self.cluster.tasks_of(service).filter_map(|t| t.node).collect();
        if self.is_daemon(service) {
            ids.extend(self.daemon_nodes(service));
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| {
                let n = self.cluster.node(id);
                let left = n.remaining();
                let others = self.cluster.tasks_on(id).filter(|t| t.service != service).count() as u32;
                NodeView {
                    id,
                    capacity: n.spec.capacity,
                    zone: n.spec.zone,
                    active: n.takes_tasks(),
                    others,
                    cpu_left: left.cpu.parts(),
                    memory_left: left.memory.get(),
                }
            })
            .collect()
    }

    /// Room for more tasks of a service, which only the balance of zones asks for.
    fn room_seen(&self, service: ServiceId) -> Vec<ZoneRoom> {
        let zones = self.plan.cluster.zones;
        let mut counts = vec![0_u32; zones as usize];
        for t in self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()) {
            counts[t.zone.index()] += 1;
        }
        let s = &self.services[service.index()];
        let balanced = crate::cluster::spread::zones_balanced(&counts);
        if balanced || s.plan.ecs.availability_zone_rebalancing != Switch::Enabled {
            return Vec::new();
        }
        let needs = &self.cluster.service(service).needs;
        let mut room = Vec::new();
        for share in s.strategy.shares().iter().filter(|share| self.cluster.has_nodes(share.capacity)) {
            for zone in (0..zones).map(ZoneId) {
                let fits = |n: &&crate::cluster::Node| {
                    n.spec.zone == zone && n.takes_tasks() && self.pool.obstacle(n.id, s.shape).is_none()
                };
                let each = |n: &crate::cluster::Node| {
                    let one = needs.distinct || !needs.ports.is_empty();
                    per_instance(&TaskGroup { needs: needs.resources, one_each: one, tasks: 1 }, n.remaining())
                };
                let tasks = self.cluster.nodes_of(share.capacity).filter(fits).map(each).fold(0, u32::saturating_add);
                room.push(ZoneRoom { capacity: share.capacity, zone, tasks });
            }
        }
        room
    }

    /// One pass of the scheduler over a service.
    pub(super) fn on_scheduler(&mut self, service: ServiceId) -> Result<(), RunError> {
        if self.is_kube() {
            self.sync_workload(service);
            return Ok(());
        }
        if let Some(job) = self.job_of(service) {
            self.pump_job(job);
            return Ok(());
        }
        let now = self.queue.now();
        self.refresh_work(service);
        let observation = self.observe_service(service);
        let plan = self.services[service.index()].plan;
        let (commands, before) = if self.in_stages(service) {
            let (commands, before) = self.stages_pass(service, &observation);
            (commands, Before::Stages(before))
        } else {
            let s = &self.services[service.index()];
            let alarms = alarm_specs(plan);
            let spec = self.scheduler_spec(service, &alarms);
            let (commands, after) = scheduler::decide(&spec, &s.scheduler, &observation);
            (commands, Before::Scheduler(std::mem::replace(&mut self.services[service.index()].scheduler, after)))
        };
        let mut wake: Option<SimTime> = None;
        let mut waits: Vec<String> = Vec::new();
        let mut acted = false;
        for command in &commands {
            match command {
                SchedulerCommand::Wake { at } => wake = Some(wake.map_or(*at, |w| w.min(*at))),
                SchedulerCommand::Held { by, .. } => waits.push(hold_text(*by)),
                SchedulerCommand::Waits { on } => waits.push(wait_text(&plan.ecs, *on)),
                _ => acted = true,
            }
        }
        for command in &commands {
            if let SchedulerCommand::Held { by: Hold::Throttle { until }, .. } = command {
                self.services[service.index()].trouble.throttled(now, *until);
            }
        }
        let waits_for = waits.join("; ");
        let waiting = self.cluster.service(service).deploying() && !acted;
        self.services[service.index()].trouble.deployment_waits(now, if waiting { &waits_for } else { "" });
        let last_stage = commands.iter().rposition(|c| matches!(c, SchedulerCommand::EnterStage { .. }));
        for (i, command) in commands.iter().enumerate() {
            match *command {
                SchedulerCommand::EnterStage { stage, .. } => {
                    let waits_for = if last_stage == Some(i) { waits_for.as_str() } else { "" };
                    self.deployment_row(service, step_name(&plan.ecs, stage), waits_for);
                }
                _ => self.obey(service, command),
            }
        }
        if acted {
            let before = match &before {
                Before::Scheduler(memory) => to_json(memory),
                Before::Stages(memory) => to_json(memory),
            };
            self.record_pass(service, &commands, &observation, &before);
        }
        if self.cluster.service(service).deploying() {
            self.deployment_row(service, "progress", &waits_for);
        }
        // Besides events, the scheduler looks at a service that is not steady every few seconds.
        let steady = commands.is_empty() && !self.cluster.service(service).deploying();
        if !steady {
            let regular = now + plan.ecs.scheduler_period;
            let at = wake.map_or(regular, |w| w.min(regular)).max(now + crate::kernel::SimDuration::from_millis(1));
            if self.queue.timer(Timer::Scheduler(service)).is_none_or(|set| set > at) {
                self.schedule_timer_if_due(Timer::Scheduler(service), at, Phase::Decision);
            }
        }
        Ok(())
    }

    pub(super) fn scheduler_spec<'a>(&'a self, service: ServiceId, alarms: &'a [AlarmSpec]) -> SchedulerSpec<'a> {
        let s = &self.services[service.index()];
        let configuration = &s.plan.ecs.deployment_configuration;
        let rebalance = eligible(&Eligibility {
            enabled: s.plan.ecs.availability_zone_rebalancing == Switch::Enabled,
            replica: s.plan.ecs.scheduling_strategy == SchedulingStrategy::Replica,
            external: false,
            maximum_percent: configuration.maximum_percent,
            first_strategy_spreads_zones: s.plan.ecs.placement_strategy.first().map(PlacementStrategy::spreads_zones),
            classic_load_balancer: false,
            zone_constraint: s.plan.ecs.placement_constraints.iter().any(PlacementConstraint::names_zone),
        });
        SchedulerSpec {
            deployment: configuration,
            throttle: &s.plan.ecs.restart_throttle,
            stopping_counts: s.plan.ecs.stopping_counts,
            shares: s.strategy.shares(),
            zones: self.plan.cluster.zones,
            // A zone that is out cannot be filled: balance waits until it is back.
            rebalance: rebalance.is_ok() && !self.faults.any_shut(),
            bake_time: bake_time(configuration.bake_time_in_minutes, alarms),
            tie_seed: Some(s.tie_seed),
            placement: &s.plan.ecs.placement_strategy,
            needs: self.cluster.service(service).needs.resources,
            daemon: s.plan.ecs.scheduling_strategy == SchedulingStrategy::Daemon,
        }
    }

    /// Does what the scheduler says.
    fn obey(&mut self, service: ServiceId, command: &SchedulerCommand) {
        if matches!(command, SchedulerCommand::Start { .. } | SchedulerCommand::Stop { .. })
            && let Some(d) = self.services[service.index()].deployments.last_mut()
        {
            d.stalled = None; // it goes on after all
        }
        match *command {
            SchedulerCommand::Start { deployment, capacity, zone, node, reason, .. } => {
                if let Some(task) = self.try_apply(Command::StartTask { service, deployment, capacity, zone }) {
                    let s = &self.services[service.index()];
                    let cause = (reason == StartReason::BelowDesired && !s.scale_outs.is_empty())
                        .then(|| s.scale_outs.len() as u32 - 1);
                    let runtime = &mut self.tasks[task.index()];
                    runtime.started_by = match reason {
                        StartReason::BelowDesired if cause.is_some() => "scaling",
                        StartReason::BelowDesired => "desired count",
                        StartReason::NewRevision => "deployment",
                        StartReason::ReplaceUnhealthy | StartReason::ReplaceOld => "replacement",
                        StartReason::Rebalance => "rebalancing",
                        StartReason::Daemon => "new instance",
                    };
                    runtime.cause = cause;
                    runtime.pinned = node;
                    self.enqueue_launch(task);
                }
            }
            SchedulerCommand::Stop { task, reason } => {
                let code = match reason {
                    StopReason::Unhealthy => StopCode::Unhealthy,
                    _ => StopCode::ServiceSchedulerInitiated,
                };
                let runtime = &mut self.tasks[task.index()];
                if reason != StopReason::Unhealthy || runtime.stop_reason.is_empty() {
                    runtime.stop_reason = match reason {
                        StopReason::Surplus => "Scaling activity initiated by the service scheduler",
                        StopReason::OldRevision => "Replaced by a task of the new revision",
                        StopReason::Unhealthy => "Task failed health checks",
                        StopReason::Rebalance => "Availability Zone rebalancing",
                        StopReason::Draining => "Its container instance is DRAINING",
                    }
                    .to_string();
                }
                self.apply(Command::StopTask { task, code });
            }
            SchedulerCommand::CompleteDeployment { .. } => {
                self.end_deployment(service, DeploymentOutcome::Completed);
            }
            SchedulerCommand::FailDeployment { reason, .. } => {
                let text = self.fail_text(service, reason);
                self.end_deployment(service, DeploymentOutcome::Failed(text));
            }
            SchedulerCommand::Rollback { deployment, revision } => {
                self.roll_back(service, deployment, revision);
            }
            SchedulerCommand::Stuck { bounds, .. } => {
                let why = format!(
                    "the deployment can neither start nor stop a task: at least {} healthy and at most {} tasks are allowed",
                    bounds.min_healthy, bounds.max_total
                );
                if let Some(d) = self.services[service.index()].deployments.last_mut() {
                    d.stalled = Some(why.clone());
                }
                self.deployment_row(service, "stalled", &why);
            }
            SchedulerCommand::Shift { revision, other, tenths, .. } => {
                self.shift_traffic(service, revision, other, tenths);
            }
            SchedulerCommand::EnterStage { .. }
            | SchedulerCommand::Waits { .. }
            | SchedulerCommand::Held { .. }
            | SchedulerCommand::Wake { .. } => {}
        }
    }

    fn fail_text(&self, service: ServiceId, reason: FailReason) -> String {
        let ecs = &self.services[service.index()].plan.ecs;
        match reason {
            FailReason::CircuitBreaker { failures, threshold } => {
                format!("deployment circuit breaker: {failures} tasks failed, the threshold is {threshold}")
            }
            FailReason::Alarm { alarm } => {
                let names = deployment_alarm_names(ecs);
                format!("deployment alarm {} is in ALARM", names.get(alarm).map_or("", String::as_str))
            }
            FailReason::Hook { hook, timed_out: false } => format!("hook {} failed", hook_name(ecs, hook)),
            FailReason::Hook { hook, timed_out: true } => {
                format!("hook {} did not answer in time", hook_name(ecs, hook))
            }
            FailReason::TooLong { stage } => format!("{} took longer than ECS allows", stage_name(ecs, stage)),
            FailReason::NotSteady { stage } => {
                format!("the new task set was not steady in time during {}", stage_name(ecs, stage))
            }
            FailReason::NotRerouted => "nobody rerouted the traffic in time".to_string(),
        }
    }

    /// Writes a pass that did something down, as one decision.
    fn record_pass(
        &mut self,
        service: ServiceId,
        commands: &[SchedulerCommand],
        observation: &SchedulerObservation,
        memory: &serde_json::Value,
    ) {
        let (mut starts, mut stops) = (0_i64, 0_i64);
        let ecs = &self.services[service.index()].plan.ecs;
        let mut staged: Vec<String> = Vec::new();
        let mut first: Option<(u8, &'static str, String)> = None;
        for command in commands {
            if let SchedulerCommand::FailDeployment { reason, .. } = *command {
                staged.push(self.fail_text(service, reason));
            }
            let (reason, text) = match *command {
                SchedulerCommand::Start { reason, .. } => {
                    starts += 1;
                    start_words(reason)
                }
                SchedulerCommand::Stop { reason, .. } => {
                    stops += 1;
                    stop_words(reason)
                }
                SchedulerCommand::CompleteDeployment { early, .. } => (
                    "deployment_completed",
                    if early { "the deployment succeeded early" } else { "the deployment is done" },
                ),
                SchedulerCommand::FailDeployment { reason: FailReason::CircuitBreaker { .. }, .. } => {
                    ("circuit_breaker", "")
                }
                SchedulerCommand::FailDeployment { reason: FailReason::Alarm { .. }, .. } => ("deployment_alarm", ""),
                SchedulerCommand::FailDeployment { reason: FailReason::Hook { .. }, .. } => ("lifecycle_hook", ""),
                SchedulerCommand::FailDeployment { .. } => ("time_out", ""),
                SchedulerCommand::EnterStage { stage, .. } => {
                    staged.push(format!("enters {}", stage_name(ecs, stage)));
                    ("stage", "")
                }
                // Nothing moves yet.
                SchedulerCommand::Shift { tenths: 0, .. } => continue,
                SchedulerCommand::Shift { revision, tenths, .. } => {
                    staged.push(format!("{} of the traffic to revision {}", percent(tenths), revision + 1));
                    ("traffic_shift", "")
                }
                SchedulerCommand::Rollback { .. } => ("rollback", "the last completed revision comes back"),
                SchedulerCommand::Stuck { .. } => ("stuck", "nothing can be started and nothing stopped"),
                SchedulerCommand::Waits { .. } | SchedulerCommand::Held { .. } | SchedulerCommand::Wake { .. } => {
                    continue;
                }
            };
            // The end of a deployment says more than the starts and stops of the same pass, and so does a stage.
            let rank = match reason {
                "stage" => 1,
                "traffic_shift" => 2,
                _ if matches!(command, SchedulerCommand::Start { .. } | SchedulerCommand::Stop { .. }) => 0,
                _ => 3,
            };
            if first.as_ref().is_none_or(|f| rank > f.0 || rank == 3) {
                first = Some((rank, reason, text.to_string()));
            }
        }
        let Some((_, reason, text)) = first else { return };
        staged.extend((!text.is_empty()).then_some(text));
        let text = staged.join(", ");
        // A stage that neither starts nor stops a task says only what it is.
        let explanation = match (starts, stops) {
            (0, 0) => text,
            _ => format!("starts {starts}, stops {stops}: {text}"),
        };
        let running =
            observation.tasks.iter().filter(|t| t.status == TaskStatus::Running && !t.stopping).count() as i64;
        let controller = match reason {
            "circuit_breaker" => "circuit_breaker",
            "deployment_completed"
            | "deployment_alarm"
            | "rollback"
            | "stuck"
            | "stage"
            | "traffic_shift"
            | "lifecycle_hook"
            | "time_out" => "deployment",
            _ => "service_scheduler",
        };
        let held: Vec<String> = commands
            .iter()
            .filter_map(|c| match c {
                SchedulerCommand::Held { by, .. } => Some(hold_text(*by)),
                _ => None,
            })
            .collect();
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: controller.into(),
            subject: format!("services.{}", self.services[service.index()].name).into(),
            service: self.services[service.index()].name.into(),
            observed: None,
            observed_metric: "".into(),
            observed_age_s: None,
            from: Some(running),
            computed: Some(i64::from(observation.desired)),
            bounded_by: held.join("+").into(),
            result: Some(running + starts - stops),
            reason: reason.into(),
            explanation: explanation.into(),
        };
        let observation = if self.recorder.sink.writes() { to_json(observation) } else { serde_json::Value::Null };
        let detail = DecisionDetail { observation, memory: memory.clone() };
        self.recorder.decision(&row, &detail);
    }

    /// Tells the scheduler's memory what happened to a task.
    pub(super) fn tell_scheduler(&mut self, task: TaskId, kind: TaskEventKind) {
        let t = self.cluster.task(task);
        let service = t.service;
        let event = TaskEvent { now: self.queue.now(), revision: t.revision, kind };
        let desired = self.cluster.service(service).desired;
        let spec = self.scheduler_spec(service, &[]);
        let after = scheduler::note(&spec, &self.services[service.index()].scheduler, desired, event);
        // A fleet beside the first one has a memory of its own.
        let mut fleets = std::mem::take(&mut self.services[service.index()].shift.fleets);
        let spec = self.scheduler_spec(service, &[]);
        fleets::note(&spec, &mut fleets, desired, event);
        let s = &mut self.services[service.index()];
        s.shift.fleets = fleets;
        s.scheduler = after;
    }
}

/// What the controller remembered before a pass.
enum Before {
    Scheduler(SchedulerMemory),
    Stages(ShiftMemory),
}

/// The names of the alarms that act on a service's deployments; none when they are off.
pub(super) fn deployment_alarm_names(ecs: &EcsService) -> &[String] {
    let native = &ecs.deployment_configuration.alarms;
    match (ecs.deployment_controller, &ecs.code_deploy) {
        (DeploymentController::CodeDeploy, Some(c)) if c.alarm_configuration.enabled => &c.alarm_configuration.alarms,
        (DeploymentController::CodeDeploy, _) => &[],
        _ if native.enable => &native.alarm_names,
        _ => &[],
    }
}

/// These alarms.
pub(super) fn alarm_specs(service: &Service) -> Vec<AlarmSpec> {
    let names = deployment_alarm_names(&service.ecs).iter();
    names.filter_map(|name| service.alarms.get(name).map(AlarmSpec::from)).collect()
}

fn start_words(reason: StartReason) -> (&'static str, &'static str) {
    match reason {
        StartReason::BelowDesired => ("below_desired", "fewer tasks run than desired"),
        StartReason::NewRevision => ("new_revision", "the deployment brings its revision"),
        StartReason::ReplaceUnhealthy => ("replace_unhealthy", "an unhealthy task gets a replacement first"),
        StartReason::ReplaceOld => ("replace_old", "an old task was lost during the deployment"),
        StartReason::Rebalance => ("rebalance", "zones are uneven"),
        StartReason::Daemon => ("daemon", "an instance has no task of the service"),
    }
}

fn stop_words(reason: StopReason) -> (&'static str, &'static str) {
    match reason {
        StopReason::Surplus => ("surplus", "more tasks run than desired"),
        StopReason::OldRevision => ("old_revision", "new tasks have taken the place of old ones"),
        StopReason::Unhealthy => ("unhealthy", "tasks failed their health checks"),
        StopReason::Rebalance => ("rebalance", "zones are uneven"),
        StopReason::Draining => ("draining", "its instance is draining"),
    }
}

fn hold_text(by: Hold) -> String {
    match by {
        Hold::Maximum { max_total } => format!("maximum of {max_total} tasks"),
        Hold::LaunchRate => "launch rate of the service".to_string(),
        Hold::Provisioning => "quota of tasks in PROVISIONING or of the service".to_string(),
        Hold::Throttle { until } => format!("restart throttle until {:.0} s", until.as_secs_f64()),
        Hold::Failed => "the failed deployment".to_string(),
        Hold::Protection => "task scale-in protection".to_string(),
    }
}
