//! Deployments and the timed actions of the scenario.

use super::finish::{deployment_summary, outcome};
use super::scale::to_json;
use super::schedule::deployment_alarm_names;
use super::{RunError, Simulation, Timer};
use crate::cluster::health::Health;
use crate::cluster::{Command, DeploymentOutcome, TaskStatus};
use crate::kernel::{Phase, SimTime};
use crate::output::{DecisionDetail, DecisionRow, DeploymentRow, DeploymentSummary, Fixed};
use crate::rollout::stages::Stage;
use crate::scaling::service::{self as target, SuspendedKinds};
use crate::scenario::model::{Action, DeploymentController, RollbackEvent, StopType};
use crate::units::{ServiceId, TaskId};

/// What is gathered of one deployment, in the order of their creation.
#[derive(Clone, Debug)]
pub(super) struct DeploymentRuntime {
    pub(super) id: u32,
    pub(super) revision: u32,
    pub(super) previous: u32,
    pub(super) started: SimTime,
    pub(super) ended: Option<SimTime>,
    pub(super) outcome: DeploymentOutcome,
    pub(super) failed_tasks: u32,
    pub(super) rolled_back: bool,
    pub(super) stalled: Option<String>,
    last_row: Option<[u32; 8]>,
}

impl DeploymentRuntime {
    pub(super) fn summary(&self) -> DeploymentSummary {
        deployment_summary(
            self.id,
            self.revision + 1,
            self.started,
            self.ended,
            outcome(&self.outcome, self.stalled.as_deref(), self.rolled_back),
            self.failed_tasks,
        )
    }
}

impl Simulation<'_> {
    /// A timed action of the scenario.
    pub(super) fn on_action(&mut self, index: usize) -> Result<(), RunError> {
        let plan = self.plan;
        let Some((name, action)) = plan.actions.get_index(index) else { return Ok(()) };
        let Some(wanted) = action.service() else {
            self.on_node_action(name, action);
            return Ok(());
        };
        let Some(position) = plan.services.get_index_of(wanted) else { return Ok(()) };
        let service = ServiceId::from(position);
        let before = self.cluster.service(service).desired;
        let (controller, result, why) = match action {
            Action::Deploy(_)
                if self.services[position].plan.ecs.deployment_controller == DeploymentController::CodeDeploy
                    && self.cluster.service(service).deploying() =>
            {
                let why = "CodeDeploy refuses a deployment while another one is in progress";
                ("deployment", before, why.to_string())
            }
            Action::Deploy(a) => {
                let group = self.next_group(service);
                let s = &mut self.services[position];
                let mut next = s.revisions[self.cluster.service(service).primary().map_or(0, |d| d.revision) as usize]
                    .next(&a.revision);
                next.group = group;
                s.revisions.push(next);
                let revision = s.revisions.len() as u32 - 1;
                self.create_deployment(service, revision, None);
                ("deployment", before, format!("revision {} is to replace the running one", revision + 1))
            }
            Action::StopDeployment(_) if self.is_kube() => ("deployment", before, self.stop_rollout(service)),
            Action::StopDeployment(a) => ("deployment", before, self.stop_deployment(service, a.stop_type).to_string()),
            Action::Promote(a) => ("rollout", before, self.promote_rollout(service, a.full).to_string()),
            Action::DesiredCount(a) => {
                self.apply(Command::SetDesired { service, desired: a.desired_count });
                ("update_service", a.desired_count, "the desired count was set by hand".to_string())
            }
            Action::Suspend(a) => {
                let s = &mut self.services[position];
                if let Some(memory) = &s.scaling {
                    s.scaling = Some(target::suspend(memory, SuspendedKinds::from(&a.suspended)));
                }
                ("scalable_target", before, "kinds of scaling were suspended or resumed".to_string())
            }
            Action::UpdateNodeGroup(_) | Action::UpdateNodePool(_) => return Ok(()),
        };
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: controller.into(),
            subject: format!("actions.{name}").into(),
            service: wanted.as_str().into(),
            from: Some(i64::from(before)),
            result: Some(i64::from(result)),
            reason: "action".into(),
            explanation: why.into(),
            ..DecisionRow::default()
        };
        let detail = DecisionDetail { observation: serde_json::json!({ "action": name }), memory: to_json(&()) };
        self.recorder.decision(&row, &detail);
        Ok(())
    }

    /// A timed action on nodes.
    fn on_node_action(&mut self, name: &str, action: &Action) {
        if !self.is_kube() {
            return;
        }
        let (controller, why) = match action {
            Action::UpdateNodeGroup(update) => ("node_group_update", self.update_node_group(update)),
            Action::UpdateNodePool(update) => ("karpenter", self.update_node_pool(update)),
            _ => return,
        };
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: controller.into(),
            subject: format!("actions.{name}").into(),
            reason: "action".into(),
            explanation: why.into(),
            ..DecisionRow::default()
        };
        let detail = DecisionDetail { observation: serde_json::json!({ "action": name }), memory: to_json(&()) };
        self.recorder.decision(&row, &detail);
    }

    /// Somebody stops the deployment at work. Says what became of it.
    fn stop_deployment(&mut self, service: ServiceId, stop_type: StopType) -> &'static str {
        let state = self.cluster.service(service);
        let Some((id, revision)) = state
            .primary()
            .filter(|d| d.outcome == DeploymentOutcome::InProgress && d.rolls_back.is_none())
            .map(|d| (d.id, d.revision))
        else {
            return "no deployment is in progress that could be stopped";
        };
        let s = &self.services[service.index()];
        let staged = s.shift.deployment.as_ref().filter(|d| state.fleets && d.id == id);
        if staged.is_some_and(|d| d.stage == Stage::CleanUp) {
            return "the deployment is past its bake time and cannot be stopped any more";
        }
        let completed = state.deployments.iter().rev().find(|d| d.outcome == DeploymentOutcome::Completed);
        let back = staged.map(|d| d.blue).or(completed.map(|d| d.revision)).filter(|r| *r != revision);
        let rolls_back = match (s.plan.ecs.deployment_controller, &s.plan.ecs.code_deploy) {
            (DeploymentController::CodeDeploy, group) => group.as_ref().is_some_and(|c| {
                let rules = &c.auto_rollback_configuration;
                rules.enabled && rules.events.contains(&RollbackEvent::DeploymentStopOnRequest)
            }),
            _ => stop_type == StopType::Rollback,
        };
        self.end_deployment(service, DeploymentOutcome::Failed("stopped on request".to_string()));
        match back.filter(|_| rolls_back) {
            Some(revision) => {
                self.roll_back(service, id, revision);
                "the deployment is stopped and rolled back"
            }
            None => "the deployment is stopped, and everything stays as it is",
        }
    }

    /// A deployment that failed is followed by one of an earlier revision.
    pub(super) fn roll_back(&mut self, service: ServiceId, failed: u32, revision: u32) {
        if let Some(d) = self.services[service.index()].deployments.last_mut() {
            d.rolled_back = true;
        }
        self.deployment_row(service, "rolling_back", "");
        self.create_deployment(service, revision, Some(failed));
    }

    /// Creates a deployment of a revision, or a rollback to one.
    pub(super) fn create_deployment(&mut self, service: ServiceId, revision: u32, rolls_back: Option<u32>) {
        let previous = self.cluster.service(service).primary().map_or(0, |d| d.revision);
        let now = self.queue.now();
        self.apply(Command::CreateDeployment { service, revision, rolls_back });
        let id = self.cluster.service(service).primary().map_or(0, |d| d.id);
        let s = &mut self.services[service.index()];
        for d in s.deployments.iter_mut().filter(|d| d.outcome == DeploymentOutcome::InProgress) {
            d.outcome = DeploymentOutcome::Superseded;
            d.ended = Some(now);
        }
        s.deployments.push(DeploymentRuntime {
            id,
            revision,
            previous,
            started: now,
            ended: None,
            outcome: DeploymentOutcome::InProgress,
            failed_tasks: 0,
            rolled_back: false,
            stalled: None,
            last_row: None,
        });
        let poll = now + self.plan.cluster.telemetry.deployment_alarm_poll;
        if self.watches_alarms(service) {
            self.schedule_timer_if_due(Timer::DeploymentAlarms(service), poll, Phase::Decision);
        }
        self.deployment_row(service, "started", "");
    }

    fn watches_alarms(&self, service: ServiceId) -> bool {
        !deployment_alarm_names(&self.services[service.index()].plan.ecs).is_empty()
    }

    /// ECS asks CloudWatch for the states of the deployment's alarms.
    pub(super) fn on_deployment_alarms(&mut self, service: ServiceId) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        self.wake_scheduler(service);
        let next = self.queue.now() + self.plan.cluster.telemetry.deployment_alarm_poll;
        self.schedule_timer_if_due(Timer::DeploymentAlarms(service), next, Phase::Decision);
    }

    /// Ends the deployment that is at work.
    pub(super) fn end_deployment(&mut self, service: ServiceId, ended: DeploymentOutcome) {
        let now = self.queue.now();
        let step = match &ended {
            DeploymentOutcome::Completed => "completed",
            _ => "failed",
        };
        let why = match &ended {
            DeploymentOutcome::Failed(reason) => reason.clone(),
            _ => String::new(),
        };
        self.deployment_row(service, step, &why);
        self.apply(Command::EndDeployment { service, outcome: ended.clone() });
        if let Some(d) = self.services[service.index()].deployments.last_mut() {
            d.outcome = ended;
            d.ended = Some(now);
            d.stalled = None;
        }
    }

    /// A task failed: its deployment counts it.
    pub(super) fn note_deployment_failure(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        let s = &mut self.services[t.service.index()];
        if let Some(d) = s.deployments.iter_mut().find(|d| d.id == t.deployment) {
            d.failed_tasks += 1;
        }
    }

    /// Writes a step of the deployment at work down, if anything changed.
    pub(super) fn deployment_row(&mut self, service: ServiceId, step: &'static str, waits_for: &str) {
        let now = self.queue.now();
        let Some(d) = self.services[service.index()].deployments.last() else { return };
        let (id, revision, previous, failed) = (d.id, d.revision, d.previous, d.failed_tasks);
        let state = self.cluster.service(service);
        // Between two target groups weights decide, within one the number of healthy targets.
        let weight = state.fleets.then(|| state.share_of(revision));
        let mut counts = [0_u32; 5];
        for t in self.cluster.tasks_of(service) {
            // Pods belong to the ReplicaSet of their revision, whichever rollout made them.
            let by_revision = state.fleets || state.pods.is_some();
            let new = if by_revision { t.revision == revision } else { t.deployment == id };
            match (new, t.status) {
                (true, s) if s < TaskStatus::Running => counts[0] += 1,
                (true, TaskStatus::Running) => {
                    counts[1] += 1;
                    counts[2] += u32::from(t.health == Health::Healthy);
                }
                (false, TaskStatus::Running) => {
                    counts[3] += 1;
                    counts[4] += u32::from(t.health == Health::Healthy);
                }
                _ => {}
            }
        }
        let desired = self.cluster.service(service).desired;
        let [new_pending, new_running, new_healthy, old_running, old_healthy] = counts;
        let tenths = weight.unwrap_or(0);
        let state = [desired, new_pending, new_running, new_healthy, old_running, old_healthy, failed, tenths];
        let s = &mut self.services[service.index()];
        let name = s.name;
        let Some(d) = s.deployments.last_mut() else { return };
        if step == "progress" && d.last_row == Some(state) {
            return;
        }
        d.last_row = Some(state);
        let taking = new_healthy + old_healthy;
        let row = DeploymentRow {
            time_s: now.into(),
            deployment: id,
            service: name.into(),
            revision: revision + 1,
            previous_revision: previous + 1,
            step: step.into(),
            new_weight_pct: Fixed(match weight {
                Some(tenths) => f64::from(tenths) / 10.0,
                None if taking > 0 => 100.0 * f64::from(new_healthy) / f64::from(taking),
                None => 0.0,
            }),
            desired,
            new_pending,
            new_running,
            new_healthy,
            old_running,
            old_healthy,
            failed_tasks: failed,
            waits_for: waits_for.into(),
        };
        let written = self.recorder.sink.deployment(&row);
        self.recorder.keep_failure(written);
    }
}
