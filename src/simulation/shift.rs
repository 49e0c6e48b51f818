//! Deployments with a second fleet: what their controller is told, and what its words mean here.

use super::Simulation;
use super::schedule::alarm_specs;
use crate::cluster::{Command, DeploymentOutcome};
use crate::kernel::SimDuration;
use crate::rollout::deployment_alarms::bake_time;
use crate::rollout::hooks::HookSpec;
use crate::rollout::scheduler::{SchedulerCommand, SchedulerObservation};
use crate::rollout::shift::{Shift, WHOLE};
use crate::rollout::stages::{
    self, CodeDeployRules, Controller, Rollback, ShiftMemory, ShiftObservation, ShiftSpec, Stage, Wait,
};
use crate::scenario::model::{CodeDeploy, DeploymentController, EcsService, ReadyAction, RollbackEvent};
use crate::traffic::OWN_GROUPS;
use crate::units::ServiceId;

/// A share of traffic as people write it.
pub(super) fn percent(tenths: u32) -> String {
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        rest => format!("{}.{rest} %", tenths / 10),
    }
}

/// The name of a stage as its controller writes it.
pub(super) fn stage_name(ecs: &EcsService, stage: Stage) -> &'static str {
    match ecs.deployment_controller {
        DeploymentController::CodeDeploy => stage.event(),
        DeploymentController::Ecs | DeploymentController::External => stage.name(),
    }
}

/// The name of a stage as a row's step.
pub(super) fn step_name(ecs: &EcsService, stage: Stage) -> &'static str {
    if ecs.deployment_controller == DeploymentController::CodeDeploy {
        return match stage {
            Stage::ReconcileService => "reconcile",
            Stage::PreScaleUp => "before_install",
            Stage::ScaleUp => "install",
            Stage::PostScaleUp => "after_install",
            Stage::TestTrafficShift => "allow_test_traffic",
            Stage::PostTestTrafficShift => "after_allow_test_traffic",
            Stage::PreProductionTrafficShift => "before_allow_traffic",
            Stage::ProductionTrafficShift => "allow_traffic",
            Stage::PostProductionTrafficShift => "after_allow_traffic",
            Stage::BakeTime => "termination_wait",
            Stage::CleanUp => "terminate",
        };
    }
    match stage {
        Stage::ReconcileService => "reconcile_service",
        Stage::PreScaleUp => "pre_scale_up",
        Stage::ScaleUp => "scale_up",
        Stage::PostScaleUp => "post_scale_up",
        Stage::TestTrafficShift => "test_traffic_shift",
        Stage::PostTestTrafficShift => "post_test_traffic_shift",
        Stage::PreProductionTrafficShift => "pre_production_traffic_shift",
        Stage::ProductionTrafficShift => "production_traffic_shift",
        Stage::PostProductionTrafficShift => "post_production_traffic_shift",
        Stage::BakeTime => "bake_time",
        Stage::CleanUp => "clean_up",
    }
}

/// The names of the hooks, in the order of their positions.
fn hook_names(ecs: &EcsService) -> Vec<&str> {
    match ecs.deployment_controller {
        DeploymentController::CodeDeploy => {
            ecs.code_deploy.iter().flat_map(|c| c.hooks.keys().map(String::as_str)).collect()
        }
        _ => ecs.deployment_configuration.lifecycle_hooks.keys().map(String::as_str).collect(),
    }
}

/// The name of a hook by its position.
pub(super) fn hook_name(ecs: &EcsService, hook: usize) -> &str {
    hook_names(ecs).get(hook).copied().unwrap_or_default()
}

/// What a deployment waits for, in words.
pub(super) fn wait_text(ecs: &EcsService, on: Wait) -> String {
    let code_deploy = ecs.deployment_controller == DeploymentController::CodeDeploy;
    match on {
        Wait::Healthy { healthy, wanted } => format!("healthy tasks of the new revision: {healthy} of {wanted}"),
        Wait::Hook { hook } => format!("hook {}", hook_name(ecs, hook)),
        Wait::Step { until } => format!("the next step at {:.0} s", until.as_secs_f64()),
        Wait::Bake { until } if code_deploy => format!("the termination wait until {:.0} s", until.as_secs_f64()),
        Wait::Bake { until } => format!("the bake time until {:.0} s", until.as_secs_f64()),
        Wait::Reroute { until } => format!("somebody who reroutes the traffic, until {:.0} s", until.as_secs_f64()),
        Wait::Gone { left } => format!("{left} tasks of the other revision to stop"),
    }
}

impl Simulation<'_> {
    /// Whether the newest deployment of a service is a matter of stages: it is at work, or it failed and
    /// left two fleets.
    pub(super) fn in_stages(&self, service: ServiceId) -> bool {
        let s = self.cluster.service(service);
        let over = |d: &crate::cluster::Deployment| d.outcome == DeploymentOutcome::Completed;
        s.fleets && !s.primary().is_none_or(over)
    }

    /// One look at a deployment with a second fleet; the memory before it is for the decision's record.
    pub(super) fn stages_pass(
        &mut self,
        service: ServiceId,
        observation: &SchedulerObservation,
    ) -> (Vec<SchedulerCommand>, ShiftMemory) {
        let s = &self.services[service.index()];
        let ecs = &s.plan.ecs;
        let group;
        let code_deploy = match (&ecs.code_deploy, ecs.deployment_controller) {
            (Some(group), DeploymentController::CodeDeploy) => Some(group),
            (None, DeploymentController::CodeDeploy) => {
                group = CodeDeploy::default();
                Some(&group)
            }
            _ => None,
        };
        let watched: Vec<Option<&String>> = match code_deploy {
            Some(c) => c.hooks.values().map(|h| h.alarm.as_ref()).collect(),
            None => ecs.deployment_configuration.lifecycle_hooks.values().map(|h| h.alarm.as_ref()).collect(),
        };
        let hook_alarms = watched.iter().map(|name| name.map(|n| self.alarm_state(service, n))).collect();
        let alarms = alarm_specs(s.plan);
        let scheduler = self.scheduler_spec(service, &alarms);
        let configuration = &ecs.deployment_configuration;
        let shift = Shift::of(ecs).unwrap_or(Shift::AllAtOnce);
        let spec = match code_deploy {
            None => ShiftSpec {
                scheduler,
                controller: Controller::Ecs,
                shift,
                bake_time: bake_time(configuration.bake_time_in_minutes, &alarms),
                hooks: configuration.lifecycle_hooks.values().map(HookSpec::from).collect(),
                rollback: Rollback {
                    alarm: configuration.alarms.rollback,
                    circuit_breaker: configuration.deployment_circuit_breaker.rollback,
                    failure: true,
                },
            },
            Some(c) => {
                let ready = &c.deployment_ready_option;
                let minutes = |n: u32| SimDuration::from_mins(u64::from(n));
                let rolls_back = &c.auto_rollback_configuration;
                let on = |event| rolls_back.enabled && rolls_back.events.contains(&event);
                ShiftSpec {
                    scheduler,
                    controller: Controller::CodeDeploy(CodeDeployRules {
                        reroute_within: (ready.action_on_timeout == ReadyAction::StopDeployment)
                            .then(|| minutes(ready.wait_time_in_minutes)),
                        rerouted_after: ready.rerouted_after,
                        scales: s.plan.scaling.is_some(),
                    }),
                    shift,
                    bake_time: minutes(c.termination_wait_time_in_minutes),
                    hooks: c.hooks.values().map(HookSpec::from).collect(),
                    rollback: Rollback {
                        alarm: on(RollbackEvent::DeploymentStopOnAlarm),
                        circuit_breaker: false,
                        failure: on(RollbackEvent::DeploymentFailure),
                    },
                }
            }
        };
        let seen = ShiftObservation { service: observation.clone(), hook_alarms };
        let (commands, after) = stages::decide(&spec, &s.shift, &seen);
        let before = std::mem::replace(&mut self.services[service.index()].shift, after);
        (commands, before)
    }

    /// Production traffic is shared anew: the weights of the target groups that the revisions are in.
    pub(super) fn on_traffic(&mut self, service: ServiceId) {
        let mut weights = [0.0; OWN_GROUPS];
        let s = &self.services[service.index()];
        for (revision, tenths) in &self.cluster.service(service).traffic {
            let group = s.revisions.get(*revision as usize).map_or(0, |r| usize::from(r.group));
            weights[group] += f64::from(*tenths);
        }
        if let Some(flagger) = self.kube.as_ref().and_then(|k| k.flagger_weights(service)) {
            weights = flagger;
        }
        self.data.set_weights(service, weights);
    }

    /// Says at the door who gets production traffic.
    pub(super) fn shift_traffic(&mut self, service: ServiceId, revision: u32, other: u32, tenths: u32) {
        let shares = [(revision, tenths), (other, WHOLE - tenths.min(WHOLE))];
        let shares = shares.into_iter().filter(|(_, share)| *share > 0).collect();
        self.apply(Command::SetTraffic { service, shares });
    }

    /// The target group of the revision that comes: the one that the present revision is not in.
    pub(super) fn next_group(&self, service: ServiceId) -> u8 {
        let s = &self.services[service.index()];
        let state = self.cluster.service(service);
        let done = state.deployments.iter().rev().find(|d| d.outcome == DeploymentOutcome::Completed);
        let blue = s.shift.blue(done.map_or(0, |d| d.revision));
        let group = s.revisions.get(blue as usize).map_or(0, |r| r.group);
        if state.fleets { 1 - group.min(1) } else { group }
    }
}
