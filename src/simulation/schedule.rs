//! The ECS service scheduler at work: what it sees, and what its commands do.

use super::{RunError, Simulation, Timer};
use crate::cluster::{Command, DeploymentOutcome, StopCode, TaskStatus};
use crate::kernel::{Phase, SimTime};
use crate::output::{DecisionDetail, DecisionRow};
use crate::placement::zones::{Eligibility, eligible};
use crate::rollout::deployment_alarms::bake_time;
use crate::rollout::scheduler::{
    self, DeploymentView, FailReason, Hold, RolloutState, SchedulerCommand, SchedulerObservation, SchedulerSpec,
    StartReason, StopReason, TaskEvent, TaskEventKind, TaskView,
};
use crate::scenario::model::Switch;
use crate::telemetry::alarm::{AlarmSpec, AlarmState};
use crate::units::{ServiceId, TaskId};

use super::scale::to_json;

impl Simulation<'_> {
    /// The states of a service's deployment alarms, in the order of their names; none when they are off.
    fn deployment_alarms(&self, service: ServiceId) -> Vec<AlarmState> {
        let alarms = &self.services[service.index()].plan.ecs.deployment_configuration.alarms;
        if !alarms.enable {
            return Vec::new();
        }
        let state = |name: &String| {
            self.alarms
                .iter()
                .find(|a| a.service == service && a.is_deployment_alarm(name))
                .map_or(AlarmState::InsufficientData, |a| a.state)
        };
        alarms.alarm_names.iter().map(state).collect()
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
                })
                .collect(),
            provisioning_slots: quotas.provisioning_tasks.saturating_sub(provisioning).min(room),
            launch_tokens: runtime.launch_rate.available(now),
            alarms: self.deployment_alarms(service),
        }
    }

    /// One pass of the scheduler over a service.
    pub(super) fn on_scheduler(&mut self, service: ServiceId) -> Result<(), RunError> {
        let now = self.queue.now();
        let observation = self.observe_service(service);
        let s = &self.services[service.index()];
        let plan = s.plan;
        let alarms: Vec<AlarmSpec> = plan
            .ecs
            .deployment_configuration
            .alarms
            .alarm_names
            .iter()
            .filter(|_| plan.ecs.deployment_configuration.alarms.enable)
            .filter_map(|name| plan.alarms.get(name).map(AlarmSpec::from))
            .collect();
        let spec = self.scheduler_spec(service, &alarms);
        let (commands, after) = scheduler::decide(&spec, &s.scheduler, &observation);
        let before = std::mem::replace(&mut self.services[service.index()].scheduler, after);
        let mut wake: Option<SimTime> = None;
        let mut waits_for = String::new();
        let mut acted = false;
        for command in &commands {
            match command {
                SchedulerCommand::Wake { at } => wake = Some(wake.map_or(*at, |w| w.min(*at))),
                SchedulerCommand::Held { by, .. } => waits_for = hold_text(*by),
                _ => acted = true,
            }
            self.obey(service, command);
        }
        if acted {
            self.record_pass(service, &commands, &observation, &to_json(&before));
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

    fn scheduler_spec<'a>(&'a self, service: ServiceId, alarms: &'a [AlarmSpec]) -> SchedulerSpec<'a> {
        let s = &self.services[service.index()];
        let configuration = &s.plan.ecs.deployment_configuration;
        let rebalance = eligible(&Eligibility {
            enabled: s.plan.ecs.availability_zone_rebalancing == Switch::Enabled,
            replica: true,
            external: false,
            maximum_percent: configuration.maximum_percent,
            first_strategy_spreads_zones: None,
            classic_load_balancer: false,
            zone_constraint: false,
        });
        SchedulerSpec {
            deployment: configuration,
            throttle: &s.plan.ecs.restart_throttle,
            stopping_counts: s.plan.ecs.stopping_counts,
            shares: s.strategy.shares(),
            zones: self.plan.cluster.zones,
            rebalance: rebalance.is_ok(),
            bake_time: bake_time(configuration.bake_time_in_minutes, alarms),
            tie_seed: Some(s.tie_seed),
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
            SchedulerCommand::Start { deployment, capacity, zone, reason, .. } => {
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
                    };
                    runtime.cause = cause;
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
                if let Some(d) = self.services[service.index()].deployments.last_mut() {
                    d.rolled_back = true;
                }
                self.deployment_row(service, "rolling_back", "");
                self.create_deployment(service, revision, Some(deployment));
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
            SchedulerCommand::Held { .. } | SchedulerCommand::Wake { .. } => {}
        }
    }

    fn fail_text(&self, service: ServiceId, reason: FailReason) -> String {
        match reason {
            FailReason::CircuitBreaker { failures, threshold } => {
                format!("deployment circuit breaker: {failures} tasks failed, the threshold is {threshold}")
            }
            FailReason::Alarm { alarm } => {
                let names = &self.services[service.index()].plan.ecs.deployment_configuration.alarms.alarm_names;
                format!("deployment alarm {} is in ALARM", names.get(alarm).map_or("", String::as_str))
            }
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
        let mut first: Option<(&'static str, String)> = None;
        for command in commands {
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
                    ("circuit_breaker", "too many tasks of the new revision failed")
                }
                SchedulerCommand::FailDeployment { .. } => ("deployment_alarm", "a deployment alarm stands"),
                SchedulerCommand::Rollback { .. } => ("rollback", "the last completed revision comes back"),
                SchedulerCommand::Stuck { .. } => ("stuck", "nothing can be started and nothing stopped"),
                SchedulerCommand::Held { .. } | SchedulerCommand::Wake { .. } => continue,
            };
            // The end of a deployment says more than the starts and stops of the same pass.
            let outranks = !matches!(command, SchedulerCommand::Start { .. } | SchedulerCommand::Stop { .. });
            if first.is_none() || outranks {
                first = Some((reason, text.to_string()));
            }
        }
        let Some((reason, text)) = first else { return };
        let running =
            observation.tasks.iter().filter(|t| t.status == TaskStatus::Running && !t.stopping).count() as i64;
        let controller = match reason {
            "circuit_breaker" => "circuit_breaker",
            "deployment_completed" | "deployment_alarm" | "rollback" | "stuck" => "deployment",
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
            explanation: format!("starts {starts}, stops {stops}: {text}").into(),
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
        self.services[service.index()].scheduler = after;
    }
}

fn start_words(reason: StartReason) -> (&'static str, &'static str) {
    match reason {
        StartReason::BelowDesired => ("below_desired", "fewer tasks run than desired"),
        StartReason::NewRevision => ("new_revision", "the deployment brings its revision"),
        StartReason::ReplaceUnhealthy => ("replace_unhealthy", "an unhealthy task gets a replacement first"),
        StartReason::ReplaceOld => ("replace_old", "an old task was lost during the deployment"),
        StartReason::Rebalance => ("rebalance", "zones are uneven"),
    }
}

fn stop_words(reason: StopReason) -> (&'static str, &'static str) {
    match reason {
        StopReason::Surplus => ("surplus", "more tasks run than desired"),
        StopReason::OldRevision => ("old_revision", "new tasks have taken the place of old ones"),
        StopReason::Unhealthy => ("unhealthy", "tasks failed their health checks"),
        StopReason::Rebalance => ("rebalance", "zones are uneven"),
    }
}

fn hold_text(by: Hold) -> String {
    match by {
        Hold::Maximum { max_total } => format!("maximum of {max_total} tasks"),
        Hold::LaunchRate => "launch rate of the service".to_string(),
        Hold::Provisioning => "quota of tasks in PROVISIONING or of the service".to_string(),
        Hold::Throttle { until } => format!("restart throttle until {:.0} s", until.as_secs_f64()),
        Hold::Failed => "the failed deployment".to_string(),
    }
}
