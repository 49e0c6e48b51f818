//! Deployments with a second fleet: blue/green, linear and canary of ECS itself, and CodeDeploy's.
//!
//! Rule: the new revision (green) is created in full beside the old one (blue), and traffic moves by the
//! weights of two target groups. Stages in their order: RECONCILE_SERVICE (only when an earlier
//! deployment was not over), PRE_SCALE_UP, SCALE_UP, POST_SCALE_UP, TEST_TRAFFIC_SHIFT,
//! POST_TEST_TRAFFIC_SHIFT, then PRE_PRODUCTION_TRAFFIC_SHIFT and PRODUCTION_TRAFFIC_SHIFT for each step
//! of the shift, POST_PRODUCTION_TRAFFIC_SHIFT, BAKE_TIME and CLEAN_UP. A stage calls its hooks; one that
//! fails, an alarm before CLEAN_UP, the circuit breaker or a limit of time fails the deployment. With
//! rollback all traffic goes back to blue at once, the hooks of the two shift stages are called again,
//! and green is removed. CodeDeploy's events are the same stages under other names, with a wait for
//! somebody to reroute the traffic and one before blue is terminated; its hooks are called once.
//!
//! Source: ECS developer guide, `deployment-type-blue-green`, `canary-deployment`,
//! `deployment-type-linear`, `deployment-lifecycle-hooks`, `deployment-type-bluegreen` (CodeDeploy); API,
//! `ServiceDeployment`; CodeDeploy user guide, `deployment-steps-ecs`.
//!
//! Known departures: each fleet keeps its count as a service in the steady state would, within
//! minimumHealthyPercent and maximumPercent of its own; a change of the desired count changes both
//! fleets; alarms are watched from the start of a deployment until CLEAN_UP; hooks of a step come before
//! its wait. The guide speaks of the circuit breaker for rolling updates only: here it counts failures of
//! green tasks, if it is on.

use serde::{Deserialize, Serialize};

use super::deployment_alarms::{self, AlarmsMemory};
use super::fleets::{self, Fleet, FleetTarget};
use super::hooks::{self, Answer, HookMemory, HookSpec};
use super::scheduler::{
    DeploymentView, FailReason, RolloutState, SchedulerCommand, SchedulerObservation, SchedulerSpec, TaskView,
};
use super::shift::{Shift, WHOLE};
use crate::cluster::health::Health;
use crate::cluster::task_status::TaskStatus;
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{AppSpecEvent, LifecycleStage};
use crate::telemetry::alarm::AlarmState;

/// A stage of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// What an earlier deployment left is taken away.
    ReconcileService,
    /// Hooks before the first green task.
    PreScaleUp,
    /// Green tasks start and become healthy.
    ScaleUp,
    /// Hooks after that.
    PostScaleUp,
    /// The test listener sends its traffic to green.
    TestTrafficShift,
    /// Hooks after that.
    PostTestTrafficShift,
    /// Hooks before a step of production traffic; CodeDeploy's wait for somebody to reroute it.
    PreProductionTrafficShift,
    /// A step of production traffic, its hooks and its wait.
    ProductionTrafficShift,
    /// Hooks after the last step.
    PostProductionTrafficShift,
    /// Both fleets run.
    BakeTime,
    /// The other revisions are removed.
    CleanUp,
}

impl From<LifecycleStage> for Stage {
    fn from(stage: LifecycleStage) -> Self {
        match stage {
            LifecycleStage::ReconcileService => Self::ReconcileService,
            LifecycleStage::PreScaleUp => Self::PreScaleUp,
            LifecycleStage::ScaleUp => Self::ScaleUp,
            LifecycleStage::PostScaleUp => Self::PostScaleUp,
            LifecycleStage::TestTrafficShift => Self::TestTrafficShift,
            LifecycleStage::PostTestTrafficShift => Self::PostTestTrafficShift,
            LifecycleStage::PreProductionTrafficShift => Self::PreProductionTrafficShift,
            LifecycleStage::ProductionTrafficShift => Self::ProductionTrafficShift,
            LifecycleStage::PostProductionTrafficShift => Self::PostProductionTrafficShift,
            LifecycleStage::BakeTime => Self::BakeTime,
            LifecycleStage::CleanUp => Self::CleanUp,
        }
    }
}

impl From<AppSpecEvent> for Stage {
    fn from(event: AppSpecEvent) -> Self {
        match event {
            AppSpecEvent::BeforeInstall => Self::PreScaleUp,
            AppSpecEvent::AfterInstall => Self::PostScaleUp,
            AppSpecEvent::AfterAllowTestTraffic => Self::PostTestTrafficShift,
            AppSpecEvent::BeforeAllowTraffic => Self::PreProductionTrafficShift,
            AppSpecEvent::AfterAllowTraffic => Self::PostProductionTrafficShift,
        }
    }
}

impl Stage {
    /// Its name as ECS writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReconcileService => "RECONCILE_SERVICE",
            Self::PreScaleUp => "PRE_SCALE_UP",
            Self::ScaleUp => "SCALE_UP",
            Self::PostScaleUp => "POST_SCALE_UP",
            Self::TestTrafficShift => "TEST_TRAFFIC_SHIFT",
            Self::PostTestTrafficShift => "POST_TEST_TRAFFIC_SHIFT",
            Self::PreProductionTrafficShift => "PRE_PRODUCTION_TRAFFIC_SHIFT",
            Self::ProductionTrafficShift => "PRODUCTION_TRAFFIC_SHIFT",
            Self::PostProductionTrafficShift => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Self::BakeTime => "BAKE_TIME",
            Self::CleanUp => "CLEAN_UP",
        }
    }

    /// The event of CodeDeploy that it stands for.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::ReconcileService => "Reconcile",
            Self::PreScaleUp => "BeforeInstall",
            Self::ScaleUp => "Install",
            Self::PostScaleUp => "AfterInstall",
            Self::TestTrafficShift => "AllowTestTraffic",
            Self::PostTestTrafficShift => "AfterAllowTestTraffic",
            Self::PreProductionTrafficShift => "BeforeAllowTraffic",
            Self::ProductionTrafficShift => "AllowTraffic",
            Self::PostProductionTrafficShift => "AfterAllowTraffic",
            Self::BakeTime => "TerminationWait",
            Self::CleanUp => "Terminate",
        }
    }

    /// Stages that are nothing but their hooks.
    const fn only_hooks(self) -> bool {
        matches!(
            self,
            Self::PreScaleUp
                | Self::PostScaleUp
                | Self::PostTestTrafficShift
                | Self::PreProductionTrafficShift
                | Self::PostProductionTrafficShift
        )
    }
}

/// What differs between ECS and CodeDeploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// ECS itself.
    Ecs,
    /// CodeDeploy.
    CodeDeploy(CodeDeployRules),
}

/// Rules that only CodeDeploy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeDeployRules {
    /// Traffic waits for somebody to reroute it, at most so long.
    pub reroute_within: Option<SimDuration>,
    /// When somebody does, from the time that green is ready.
    pub rerouted_after: Option<SimDuration>,
    /// The service scales by itself: green must be steady within an hour, and within five minutes of a change.
    pub scales: bool,
}

/// Which failures are rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// An alarm.
    pub alarm: bool,
    /// The circuit breaker.
    pub circuit_breaker: bool,
    /// A hook, or a limit of time.
    pub failure: bool,
}

/// What is known of a service's deployments.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftSpec<'a> {
    /// What the service scheduler is told. Its bounds hold for each fleet.
    pub scheduler: SchedulerSpec<'a>,
    /// Who carries the deployment out.
    pub controller: Controller,
    /// How traffic moves.
    pub shift: Shift,
    /// Time in which both fleets run after all traffic has moved.
    pub bake_time: SimDuration,
    /// The hooks.
    pub hooks: Vec<HookSpec>,
    /// Which failures are rolled back.
    pub rollback: Rollback,
}

/// Longest time in one stage of ECS.
const STAGE_LIMIT: SimDuration = SimDuration::from_secs(24 * 3600);
/// Longest deployment of ECS.
const DEPLOYMENT_LIMIT: SimDuration = SimDuration::from_secs(30 * 86_400);
/// Longest time from the start of CodeDeploy's deployment until traffic moves.
const CODE_DEPLOY_LIMIT: SimDuration = SimDuration::from_secs(120 * 3600);
/// How long CodeDeploy waits for a green fleet that scales by itself.
const STEADY_LIMIT: SimDuration = SimDuration::from_secs(3600);
/// The same after a scaling event during the deployment.
const STEADY_AGAIN_LIMIT: SimDuration = SimDuration::from_secs(300);

/// What is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShiftObservation {
    /// What the service scheduler sees.
    pub service: SchedulerObservation,
    /// The alarms that hooks look at, by hook; absent for a hook without one.
    pub hook_alarms: Vec<Option<AlarmState>>,
}

/// What is remembered of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShiftMemory {
    /// The newest deployment.
    pub deployment: Option<StageMemory>,
    /// The fleets.
    pub fleets: Vec<Fleet>,
}

/// What is remembered of the newest deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMemory {
    /// Its number.
    pub id: u32,
    /// The revision that comes.
    pub green: u32,
    /// The revision that goes, and to which a rollback leads.
    pub blue: u32,
    /// It rolls another one back: `green` is the revision that comes back.
    pub rolls_back: bool,
    /// Where it is.
    pub stage: Stage,
    /// Since when.
    pub entered: SimTime,
    /// Since when it is at work.
    pub started: SimTime,
    /// The step of the shift.
    pub step: u32,
    /// Green's share of production traffic, in tenths of a percent.
    pub tenths: u32,
    /// The stage's hooks.
    pub hooks: Vec<HookMemory>,
    /// Since when nothing but time is waited for.
    pub waits_since: Option<SimTime>,
    /// The alarms.
    pub alarms: AlarmsMemory,
    /// The desired count that was seen last.
    pub desired: u32,
    /// Since when a change of it has left green without enough healthy tasks.
    pub unsteady: Option<SimTime>,
}

/// What a deployment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "wait")]
pub enum Wait {
    /// Green tasks.
    Healthy {
        /// So many are.
        healthy: u32,
        /// So many have to be.
        wanted: u32,
    },
    /// A hook, by its position.
    Hook {
        /// The first that has not answered.
        hook: usize,
    },
    /// The next step.
    Step {
        /// When it comes.
        until: SimTime,
    },
    /// The bake time, or the wait before the termination.
    Bake {
        /// Its end.
        until: SimTime,
    },
    /// Somebody who reroutes the traffic.
    Reroute {
        /// At the latest.
        until: SimTime,
    },
    /// Tasks of other revisions.
    Gone {
        /// So many are left.
        left: u32,
    },
}

impl ShiftMemory {
    /// The revision that a new deployment calls blue: what the newest one has brought if it was cleaning up
    /// already or rolled another one back, else what it was to replace. `completed` is the last revision
    /// that completed, for a service without any such deployment.
    #[must_use]
    pub fn blue(&self, completed: u32) -> u32 {
        let of = |d: &StageMemory| if d.rolls_back || d.stage == Stage::CleanUp { d.green } else { d.blue };
        self.deployment.as_ref().map_or(completed, of)
    }
}

/// One pass over a service whose newest deployment is at work, or has failed and stands where it was.
#[must_use]
pub fn decide(
    spec: &ShiftSpec<'_>,
    memory: &ShiftMemory,
    obs: &ShiftObservation,
) -> (Vec<SchedulerCommand>, ShiftMemory) {
    let mut memory = memory.clone();
    let Some(primary) = obs.service.deployments.last().copied() else { return (Vec::new(), memory) };
    let mut pass = Pass { spec, obs, now: obs.service.now, d: None, commands: Vec::new(), wake: None, ended: false };
    let deployment = match &memory.deployment {
        Some(d) if d.id == primary.id => d.clone(),
        _ => pass.begin(primary, &memory),
    };
    pass.d = Some(deployment);
    if primary.state == RolloutState::InProgress {
        pass.run();
    }
    let Pass { d, mut commands, wake, ended, .. } = pass;
    let Some(d) = d else { return (commands, memory) };
    if !ended {
        let (more, opened) =
            fleets::keep(&spec.scheduler, &mut memory.fleets, &obs.service, &targets(&d, primary, obs));
        commands.extend(more);
        if let Some(reason) = opened.filter(|_| primary.state == RolloutState::InProgress && !d.rolls_back) {
            fail(&mut commands, &d, reason, spec.rollback.circuit_breaker);
        }
        if let Some(at) = wake {
            commands.push(SchedulerCommand::Wake { at });
        }
    }
    memory.deployment = Some(d);
    (commands, memory)
}

/// What each revision is to have.
fn targets(d: &StageMemory, primary: DeploymentView, obs: &ShiftObservation) -> Vec<FleetTarget> {
    let desired = obs.service.desired;
    let mut revisions: Vec<u32> = vec![d.green, d.blue];
    revisions.extend(obs.service.tasks.iter().map(|t| t.revision));
    revisions.sort_unstable();
    revisions.dedup();
    let of = |revision: u32| {
        let (wanted, state) = if d.rolls_back {
            // What failed is launched no more, and goes when the hooks are done.
            match (revision == d.green, d.stage >= Stage::CleanUp) {
                (true, _) => (desired, RolloutState::Completed),
                (false, false) => (desired, RolloutState::Failed),
                (false, true) => (0, RolloutState::Completed),
            }
        } else if revision == d.green {
            (if d.stage >= Stage::ScaleUp { desired } else { 0 }, primary.state)
        } else if revision == d.blue && d.stage < Stage::CleanUp {
            (desired, RolloutState::Completed)
        } else {
            (0, RolloutState::Completed)
        };
        FleetTarget { revision, wanted, state }
    };
    revisions.into_iter().map(of).collect()
}

fn fail(commands: &mut Vec<SchedulerCommand>, d: &StageMemory, reason: FailReason, rollback: bool) {
    commands.push(SchedulerCommand::FailDeployment { deployment: d.id, reason });
    if rollback {
        commands.push(SchedulerCommand::Rollback { deployment: d.id, revision: d.blue });
    }
}

/// What a stage says when it has been looked at.
enum Next {
    Go(Stage),
    Wait(Wait),
    Fail(FailReason),
    Done,
}

struct Pass<'a> {
    spec: &'a ShiftSpec<'a>,
    obs: &'a ShiftObservation,
    now: SimTime,
    d: Option<StageMemory>,
    commands: Vec<SchedulerCommand>,
    wake: Option<SimTime>,
    /// The deployment ended in this pass; its successor, or the steady state, takes over at once.
    ended: bool,
}

impl Pass<'_> {
    fn begin(&mut self, primary: DeploymentView, before: &ShiftMemory) -> StageMemory {
        let earlier = before.deployment.as_ref();
        let completed = |d: &&DeploymentView| d.state == RolloutState::Completed;
        let last = self.obs.service.deployments.iter().rev().find(completed).map_or(0, |d| d.revision);
        let blue = before.blue(last);
        let strays = self.count(|t| t.revision != blue && t.revision != primary.revision) > 0;
        let (stage, tenths) = match (primary.rollback, strays) {
            (true, _) => (Stage::ProductionTrafficShift, WHOLE),
            (false, true) => (Stage::ReconcileService, 0),
            (false, false) => (Stage::PreScaleUp, 0),
        };
        let d = StageMemory {
            id: primary.id,
            green: primary.revision,
            blue: if primary.rollback { earlier.map_or(blue, |e| e.green) } else { blue },
            rolls_back: primary.rollback,
            stage,
            entered: self.now,
            started: self.now,
            step: 0,
            tenths,
            hooks: Vec::new(),
            waits_since: None,
            alarms: match self.spec.controller {
                Controller::Ecs => deployment_alarms::start(&self.obs.service.alarms),
                Controller::CodeDeploy(_) => AlarmsMemory::default(),
            },
            desired: self.obs.service.desired,
            unsteady: None,
        };
        self.commands.push(SchedulerCommand::Shift {
            deployment: d.id,
            revision: d.green,
            other: d.blue,
            tenths: d.tenths,
        });
        let mut d = d;
        // A rollback calls the hooks of the two shifts again, of those that were reached.
        let reached = earlier.map_or(Stage::PreScaleUp, |e| e.stage);
        let again = [Stage::TestTrafficShift, Stage::ProductionTrafficShift];
        match (primary.rollback, self.spec.controller) {
            (true, Controller::Ecs) => self.call(&mut d, |s| again.contains(&s) && s <= reached),
            (true, Controller::CodeDeploy(_)) => {}
            (false, _) => self.call(&mut d, |s| s == stage),
        }
        if !stage.only_hooks() || !d.hooks.is_empty() {
            self.commands.push(SchedulerCommand::EnterStage { deployment: d.id, stage });
        }
        d
    }

    fn call(&self, d: &mut StageMemory, when: impl Fn(Stage) -> bool) {
        let called = self.spec.hooks.iter().enumerate().filter(|(_, h)| h.stages.iter().any(|s| when(*s)));
        d.hooks = called.map(|(i, _)| hooks::call(i, self.now)).collect();
    }

    fn count(&self, of: impl Fn(&TaskView) -> bool) -> u32 {
        self.obs.service.tasks.iter().filter(|t| t.status != TaskStatus::Stopped && of(t)).count() as u32
    }

    fn healthy(&self, revision: u32) -> u32 {
        self.count(|t| {
            t.revision == revision && t.status == TaskStatus::Running && !t.stopping && t.health == Health::Healthy
        })
    }

    fn wake_at(&mut self, at: SimTime) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    /// Goes from stage to stage as far as it can.
    fn run(&mut self) {
        let Some(mut d) = self.d.take() else { return };
        loop {
            let next = match self.stopped(&mut d) {
                Some((reason, rollback)) => {
                    fail(&mut self.commands, &d, reason, rollback);
                    self.ended = true;
                    break;
                }
                None => self.look(&mut d),
            };
            match next {
                Next::Go(stage) => self.enter(&mut d, stage),
                Next::Wait(on) => {
                    self.commands.push(SchedulerCommand::Waits { on });
                    break;
                }
                Next::Fail(reason) => {
                    fail(&mut self.commands, &d, reason, self.spec.rollback.failure);
                    self.ended = true;
                    break;
                }
                Next::Done => {
                    self.commands.push(SchedulerCommand::CompleteDeployment { deployment: d.id, early: false });
                    self.ended = true;
                    break;
                }
            }
        }
        self.d = Some(d);
    }

    /// What ends a deployment whatever its stage: alarms and limits of time.
    fn stopped(&mut self, d: &mut StageMemory) -> Option<(FailReason, bool)> {
        if d.rolls_back || d.stage == Stage::CleanUp {
            return None;
        }
        if let Some(alarm) = deployment_alarms::failing(d.alarms, &self.obs.service.alarms) {
            return Some((FailReason::Alarm { alarm }, self.spec.rollback.alarm));
        }
        let failure = self.spec.rollback.failure;
        let late = match self.spec.controller {
            Controller::Ecs => {
                let at = (d.entered + STAGE_LIMIT).min(d.started + DEPLOYMENT_LIMIT);
                self.wake_at(at);
                (self.now >= at).then_some(FailReason::TooLong { stage: d.stage })
            }
            Controller::CodeDeploy(rules) => self.code_deploy_late(d, rules),
        };
        late.map(|reason| (reason, failure))
    }

    fn code_deploy_late(&mut self, d: &mut StageMemory, rules: CodeDeployRules) -> Option<FailReason> {
        let mut limits = Vec::new();
        if d.stage < Stage::ProductionTrafficShift {
            limits.push(d.started + CODE_DEPLOY_LIMIT);
        }
        if rules.scales && d.stage == Stage::ScaleUp {
            limits.push(d.entered + STEADY_LIMIT);
        }
        if rules.scales && d.stage > Stage::ScaleUp {
            let steady = self.healthy(d.green) >= self.obs.service.desired;
            if steady {
                d.unsteady = None;
            } else if d.desired != self.obs.service.desired && d.unsteady.is_none() {
                d.unsteady = Some(self.now);
            }
            limits.extend(d.unsteady.map(|since| since + STEADY_AGAIN_LIMIT));
        }
        d.desired = self.obs.service.desired;
        let at = limits.into_iter().min()?;
        self.wake_at(at);
        (self.now >= at).then_some(FailReason::NotSteady { stage: d.stage })
    }

    fn enter(&mut self, d: &mut StageMemory, stage: Stage) {
        d.stage = stage;
        d.entered = self.now;
        d.waits_since = None;
        if stage == Stage::ProductionTrafficShift {
            d.tenths = self.spec.shift.share(d.step);
            self.commands.push(SchedulerCommand::Shift {
                deployment: d.id,
                revision: d.green,
                other: d.blue,
                tenths: d.tenths,
            });
        }
        let once = matches!(self.spec.controller, Controller::CodeDeploy(_)) && d.step > 0;
        self.call(d, |s| s == stage && !(once && stage <= Stage::ProductionTrafficShift));
        let reroutes = stage == Stage::PreProductionTrafficShift && self.reroute(d).is_some();
        if !stage.only_hooks() || !d.hooks.is_empty() || reroutes {
            self.commands.push(SchedulerCommand::EnterStage { deployment: d.id, stage });
        }
    }

    /// When somebody reroutes the traffic at the latest, and when somebody does; before the first step.
    fn reroute(&self, d: &StageMemory) -> Option<(SimTime, Option<SimTime>)> {
        match self.spec.controller {
            Controller::CodeDeploy(CodeDeployRules { reroute_within: Some(within), rerouted_after, .. })
                if d.step == 0 =>
            {
                Some((d.entered + within, rerouted_after.map(|after| d.entered + after)))
            }
            _ => None,
        }
    }

    fn look(&mut self, d: &mut StageMemory) -> Next {
        match self.ask(d) {
            Ok(None) => {}
            Ok(Some(wait)) => return Next::Wait(wait),
            // A rollback is not stopped by its own hooks.
            Err(_) if d.rolls_back => {}
            Err(reason) => return Next::Fail(reason),
        }
        let others =
            |revision: u32| revision != d.green && (d.rolls_back || d.stage == Stage::CleanUp || revision != d.blue);
        match d.stage {
            Stage::ReconcileService => match self.count(|t| others(t.revision)) {
                0 => Next::Go(Stage::PreScaleUp),
                left => Next::Wait(Wait::Gone { left }),
            },
            Stage::PreScaleUp => Next::Go(Stage::ScaleUp),
            Stage::ScaleUp => {
                let (healthy, wanted) = (self.healthy(d.green), self.obs.service.desired);
                if healthy >= wanted {
                    Next::Go(Stage::PostScaleUp)
                } else {
                    Next::Wait(Wait::Healthy { healthy, wanted })
                }
            }
            Stage::PostScaleUp => Next::Go(Stage::TestTrafficShift),
            Stage::TestTrafficShift => Next::Go(Stage::PostTestTrafficShift),
            Stage::PostTestTrafficShift => Next::Go(Stage::PreProductionTrafficShift),
            Stage::PreProductionTrafficShift => match self.reroute(d) {
                Some((_, Some(at))) if self.now >= at => Next::Go(Stage::ProductionTrafficShift),
                Some((latest, _)) if self.now >= latest => Next::Fail(FailReason::NotRerouted),
                Some((until, at)) => {
                    self.wake_at(at.map_or(until, |at| at.min(until)));
                    Next::Wait(Wait::Reroute { until })
                }
                None => Next::Go(Stage::ProductionTrafficShift),
            },
            Stage::ProductionTrafficShift if d.rolls_back => Next::Go(Stage::CleanUp),
            Stage::ProductionTrafficShift if d.tenths >= WHOLE => Next::Go(Stage::PostProductionTrafficShift),
            Stage::ProductionTrafficShift => {
                let until = *d.waits_since.get_or_insert(self.now) + self.spec.shift.wait();
                if self.now >= until {
                    d.step += 1;
                    return Next::Go(Stage::PreProductionTrafficShift);
                }
                self.wake_at(until);
                Next::Wait(Wait::Step { until })
            }
            Stage::PostProductionTrafficShift => Next::Go(Stage::BakeTime),
            Stage::BakeTime => {
                let until = d.entered + self.spec.bake_time;
                if self.now >= until {
                    return Next::Go(Stage::CleanUp);
                }
                self.wake_at(until);
                Next::Wait(Wait::Bake { until })
            }
            Stage::CleanUp => match self.count(|t| others(t.revision)) {
                0 => Next::Done,
                left => Next::Wait(Wait::Gone { left }),
            },
        }
    }

    /// Asks the stage's hooks: what is waited for, or why the deployment fails.
    fn ask(&mut self, d: &mut StageMemory) -> Result<Option<Wait>, FailReason> {
        let mut waits = None;
        for memory in &mut d.hooks {
            let hook = memory.hook;
            let Some(spec) = self.spec.hooks.get(hook) else { continue };
            let alarm = self.obs.hook_alarms.get(hook).copied().flatten();
            let (answer, after) = hooks::ask(spec, *memory, self.now, alarm);
            *memory = after;
            match answer {
                Answer::Succeeded => {}
                Answer::InProgress(at) => {
                    self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
                    waits = waits.or(Some(Wait::Hook { hook }));
                }
                Answer::Failed => return Err(FailReason::Hook { hook, timed_out: false }),
                Answer::TimedOut => return Err(FailReason::Hook { hook, timed_out: true }),
            }
        }
        Ok(waits)
    }
}

#[cfg(test)]
mod tests;
