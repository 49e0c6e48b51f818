//! Fleets of several revisions side by side, each kept at its own count.
//!
//! Rule: each revision is a service of its own to the scheduler ([`super::scheduler`]), in the steady
//! state: missing tasks start, failing ones are replaced, surplus ones stop, within the percents of that
//! fleet's count. Launch quotas are shared. Over all fleets together no stop lowers the healthy tasks
//! below minimumHealthyPercent of the desired count.

use serde::{Deserialize, Serialize};

use super::rolling;
use super::scheduler::{
    self, DeploymentView, FailReason, RolloutState, SchedulerCommand, SchedulerMemory, SchedulerObservation,
    SchedulerSpec, TaskEvent, TaskView,
};
use crate::cluster::health::Health;
use crate::cluster::task_status::TaskStatus;
use crate::kernel::SimDuration;
use crate::scenario::model::{CircuitBreaker, DeploymentAlarms, DeploymentConfiguration};
use crate::units::TaskId;

/// What is remembered of the fleet of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The revision.
    pub revision: u32,
    /// What the scheduler remembers of it.
    pub scheduler: SchedulerMemory,
}

/// What a fleet is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetTarget {
    /// The revision.
    pub revision: u32,
    /// Tasks.
    pub wanted: u32,
    /// IN_PROGRESS while the circuit breaker counts its failures; FAILED when nothing more is launched.
    pub state: RolloutState,
}

/// The rules of one fleet: those of the service without what acts on the whole deployment.
fn rules(spec: &SchedulerSpec<'_>) -> DeploymentConfiguration {
    let of = spec.deployment;
    DeploymentConfiguration {
        minimum_healthy_percent: of.minimum_healthy_percent,
        maximum_percent: of.maximum_percent,
        deployment_circuit_breaker: CircuitBreaker { rollback: false, ..of.deployment_circuit_breaker.clone() },
        alarms: DeploymentAlarms::default(),
        ..DeploymentConfiguration::default()
    }
}

/// Remembers what happened to a task of a fleet.
pub fn note(spec: &SchedulerSpec<'_>, fleets: &mut [Fleet], desired: u32, event: TaskEvent) {
    if let Some(fleet) = fleets.iter_mut().find(|f| f.revision == event.revision) {
        fleet.scheduler = scheduler::note(spec, &fleet.scheduler, desired, event);
    }
}

/// One pass over all fleets: what is to be done, and why the circuit breaker opened if it did.
pub fn keep(
    spec: &SchedulerSpec<'_>,
    fleets: &mut Vec<Fleet>,
    obs: &SchedulerObservation,
    targets: &[FleetTarget],
) -> (Vec<SchedulerCommand>, Option<FailReason>) {
    let rules = rules(spec);
    let one = SchedulerSpec { deployment: &rules, rebalance: false, bake_time: SimDuration::ZERO, ..*spec };
    let healthy = obs.tasks.iter().filter(|t| is_healthy(t)).count() as u32;
    let floor = rolling::bounds(obs.desired, rules.minimum_healthy_percent, rules.maximum_percent).min_healthy;
    let mut may_stop = healthy.saturating_sub(floor);
    let (mut slots, mut tokens) = (obs.provisioning_slots, obs.launch_tokens);
    let (mut commands, mut opened) = (Vec::new(), None);
    for target in targets {
        let of = |t: &&TaskView| t.revision == target.revision && t.status != TaskStatus::Stopped;
        let tasks: Vec<TaskView> = obs.tasks.iter().filter(of).copied().collect();
        if tasks.is_empty() && target.wanted == 0 {
            fleets.retain(|f| f.revision != target.revision);
            continue;
        }
        let Some(deployment) = obs.deployments.iter().rev().find(|d| d.revision == target.revision) else { continue };
        let view = SchedulerObservation {
            now: obs.now,
            desired: target.wanted,
            deployments: vec![DeploymentView { state: target.state, ..*deployment }],
            tasks,
            provisioning_slots: slots,
            launch_tokens: tokens,
            alarms: Vec::new(),
            nodes: obs.nodes.clone(),
            room: Vec::new(),
        };
        let at = fleets.iter().position(|f| f.revision == target.revision).unwrap_or_else(|| {
            fleets.push(Fleet { revision: target.revision, scheduler: SchedulerMemory::default() });
            fleets.len() - 1
        });
        let (mine, after) = scheduler::decide(&one, &fleets[at].scheduler, &view);
        fleets[at].scheduler = after;
        for command in mine {
            match command {
                SchedulerCommand::Start { .. } => {
                    slots = slots.saturating_sub(1);
                    tokens = tokens.saturating_sub(1);
                    commands.push(command);
                }
                SchedulerCommand::Stop { task, .. } => {
                    if view_of(obs, task).is_some_and(is_healthy) {
                        // Said again in the next pass when there is no room now.
                        if may_stop == 0 {
                            continue;
                        }
                        may_stop -= 1;
                    }
                    commands.push(command);
                }
                SchedulerCommand::FailDeployment { reason, .. } => opened = opened.or(Some(reason)),
                SchedulerCommand::Held { .. } if target.state == RolloutState::Failed => {}
                SchedulerCommand::Held { .. } | SchedulerCommand::Wake { .. } => commands.push(command),
                // Whether the deployment is done is not for a fleet to say.
                _ => {}
            }
        }
    }
    (commands, opened)
}

fn view_of(obs: &SchedulerObservation, task: TaskId) -> Option<&TaskView> {
    obs.tasks.iter().find(|t| t.id == task)
}

fn is_healthy(task: &TaskView) -> bool {
    task.status == TaskStatus::Running && !task.stopping && task.health == Health::Healthy
}
