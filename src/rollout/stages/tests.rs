//! Deployments with a second fleet in a small world: green tasks take a minute to become healthy, stopped
//! ones another to go.

use super::*;
use crate::cluster::nodes::Resources;
use crate::cluster::spread::Share;
use crate::scenario::model::{CircuitBreaker, DeploymentConfiguration, HookStatus, RestartThrottle, TimeoutAction};
use crate::units::{CapacityId, TaskId, ZoneId};

const MINUTE: SimDuration = SimDuration::from_secs(60);

struct World {
    rules: DeploymentConfiguration,
    throttle: RestartThrottle,
    shares: Vec<Share>,
    controller: Controller,
    shift: Shift,
    hooks: Vec<HookSpec>,
    rollback: Rollback,
    now: SimTime,
    desired: u32,
    deployments: Vec<DeploymentView>,
    tasks: Vec<(TaskView, SimTime)>,
    /// Green tasks become unhealthy instead of healthy.
    sick: bool,
    alarm: AlarmState,
    traffic: Vec<(u32, u32)>,
    memory: ShiftMemory,
    log: Vec<(u64, String)>,
}

impl World {
    fn new(shift: Shift) -> Self {
        let mut world = Self {
            rules: DeploymentConfiguration {
                deployment_circuit_breaker: CircuitBreaker {
                    enable: true,
                    rollback: true,
                    ..CircuitBreaker::default()
                },
                ..DeploymentConfiguration::default()
            },
            throttle: RestartThrottle::default(),
            shares: vec![Share { capacity: CapacityId(0), base: 0, weight: 1 }],
            controller: Controller::Ecs,
            shift,
            hooks: Vec::new(),
            rollback: Rollback { alarm: true, circuit_breaker: true, failure: true },
            now: SimTime::ZERO,
            desired: 4,
            deployments: Vec::new(),
            tasks: Vec::new(),
            sick: false,
            alarm: AlarmState::Ok,
            traffic: vec![(0, WHOLE)],
            memory: ShiftMemory::default(),
            log: Vec::new(),
        };
        world.deploy(0, RolloutState::Completed, false);
        for _ in 0..4 {
            world.start(0, TaskStatus::Running, Health::Healthy);
        }
        world
    }

    fn deploy(&mut self, revision: u32, state: RolloutState, rollback: bool) {
        for d in self.deployments.iter_mut().filter(|d| d.state == RolloutState::InProgress) {
            d.state = RolloutState::Superseded;
        }
        let id = self.deployments.len() as u32;
        self.deployments.push(DeploymentView { id, revision, state, rollback, started_at: self.now });
    }

    fn start(&mut self, revision: u32, status: TaskStatus, health: Health) {
        let id = TaskId::from(self.tasks.len());
        let view = TaskView {
            id,
            revision,
            capacity: CapacityId(0),
            zone: ZoneId(0),
            status,
            stopping: false,
            health,
            node: None,
            draining: false,
            protected: false,
        };
        self.tasks.push((view, self.now + MINUTE));
    }

    fn healthy(&self, revision: u32) -> u32 {
        let is = |t: &TaskView| t.status == TaskStatus::Running && !t.stopping && t.health == Health::Healthy;
        self.tasks.iter().filter(|(t, _)| t.revision == revision && is(t)).count() as u32
    }

    fn alive(&self, revision: u32) -> u32 {
        self.tasks.iter().filter(|(t, _)| t.revision == revision && t.status != TaskStatus::Stopped).count() as u32
    }

    fn live(&mut self) {
        let now = self.now;
        for (t, at) in self.tasks.iter_mut().filter(|(t, at)| *at <= now && t.status != TaskStatus::Stopped) {
            if t.stopping {
                t.status = TaskStatus::Stopped;
            } else if t.status < TaskStatus::Running {
                t.status = TaskStatus::Running;
                t.health = if self.sick && t.revision > 0 { Health::Unhealthy } else { Health::Healthy };
            }
            *at = SimTime::MAX;
        }
    }

    fn pass(&mut self) {
        let spec = ShiftSpec {
            scheduler: SchedulerSpec {
                deployment: &self.rules,
                throttle: &self.throttle,
                stopping_counts: true,
                shares: &self.shares,
                zones: 1,
                rebalance: true,
                bake_time: SimDuration::ZERO,
                tie_seed: None,
                placement: &[],
                needs: Resources::ZERO,
                daemon: false,
            },
            controller: self.controller,
            shift: self.shift,
            bake_time: MINUTE * 5,
            hooks: self.hooks.clone(),
            rollback: self.rollback,
        };
        let obs = ShiftObservation {
            service: SchedulerObservation {
                now: self.now,
                desired: self.desired,
                deployments: self.deployments.clone(),
                tasks: self.tasks.iter().map(|t| t.0).collect(),
                provisioning_slots: 100,
                launch_tokens: 100,
                alarms: vec![self.alarm],
                nodes: Vec::new(),
                room: Vec::new(),
            },
            hook_alarms: vec![None; self.hooks.len()],
        };
        let before: u32 = self.traffic.iter().map(|(r, _)| self.healthy(*r)).sum();
        let (commands, after) = decide(&spec, &self.memory, &obs);
        assert_eq!(decide(&spec, &self.memory, &obs), (commands.clone(), after.clone()), "a decision is pure");
        self.memory = after;
        for command in commands {
            self.carry_out(command);
        }
        let after: u32 = self.traffic.iter().map(|(r, _)| self.healthy(*r)).sum();
        assert!(after >= before.min(self.desired), "{before} -> {after}: {:?}", self.log);
    }

    fn carry_out(&mut self, command: SchedulerCommand) {
        let minute = self.now.as_nanos() / 60_000_000_000;
        match command {
            SchedulerCommand::Start { revision, .. } => {
                self.start(revision, TaskStatus::Provisioning, Health::Unknown);
            }
            SchedulerCommand::Stop { task, .. } => {
                let (t, at) = &mut self.tasks[task.index()];
                t.stopping = true;
                *at = self.now + MINUTE;
            }
            SchedulerCommand::Shift { revision, other, tenths, .. } => {
                self.traffic = [(revision, tenths), (other, WHOLE - tenths)].into_iter().filter(|s| s.1 > 0).collect();
                assert_eq!(self.traffic.iter().map(|s| s.1).sum::<u32>(), WHOLE);
                self.log.push((minute, format!("{revision}: {tenths}")));
            }
            SchedulerCommand::EnterStage { stage, .. } => self.log.push((minute, stage.name().into())),
            SchedulerCommand::CompleteDeployment { deployment, .. } => {
                self.deployments[deployment as usize].state = RolloutState::Completed;
                self.log.push((minute, "completed".into()));
            }
            SchedulerCommand::FailDeployment { deployment, reason } => {
                self.deployments[deployment as usize].state = RolloutState::Failed;
                self.log.push((minute, reason.to_string()));
            }
            SchedulerCommand::Rollback { revision, .. } => self.deploy(revision, RolloutState::InProgress, true),
            _ => {}
        }
    }

    /// Minute by minute, several passes in each.
    fn run(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.live();
            for _ in 0..4 {
                if self.deployments.last().is_some_and(|d| d.state != RolloutState::Completed) {
                    self.pass();
                }
            }
            self.now += MINUTE;
        }
    }

    fn said(&self) -> Vec<(u64, &str)> {
        self.log.iter().map(|(at, what)| (*at, what.as_str())).collect()
    }
}

fn canary() -> Shift {
    Shift::Canary { tenths: 100, wait: MINUTE * 10 }
}

fn hook(stage: Stage, takes: u64, status: HookStatus) -> HookSpec {
    HookSpec {
        stages: vec![stage],
        takes: MINUTE * takes,
        status,
        call_back_delay: Some(SimDuration::from_secs(30)),
        timeout: MINUTE * 30,
        timeout_action: TimeoutAction::Rollback,
    }
}

#[test]
fn a_canary_goes_through_its_stages() {
    let mut world = World::new(canary());
    world.deploy(1, RolloutState::InProgress, false);
    world.run(30);
    assert_eq!(
        world.said(),
        [
            (0, "1: 0"),
            (0, "SCALE_UP"),
            (1, "TEST_TRAFFIC_SHIFT"),
            (1, "1: 100"),
            (1, "PRODUCTION_TRAFFIC_SHIFT"),
            (11, "1: 1000"),
            (11, "PRODUCTION_TRAFFIC_SHIFT"),
            (11, "BAKE_TIME"),
            (16, "CLEAN_UP"),
            (17, "completed"),
        ]
    );
    assert_eq!((world.healthy(1), world.alive(0), &world.traffic), (4, 0, &vec![(1, WHOLE)]));
}

#[test]
fn an_alarm_brings_all_traffic_back_at_once() {
    let mut world = World::new(canary());
    world.deploy(1, RolloutState::InProgress, false);
    world.run(4);
    assert_eq!(world.traffic, [(1, 100), (0, 900)]);
    world.alarm = AlarmState::Alarm;
    world.run(5);
    let said = world.said();
    assert_eq!(
        said[5..],
        [
            (4, "deployment alarm 0 is in ALARM"),
            (4, "0: 1000"),
            (4, "PRODUCTION_TRAFFIC_SHIFT"),
            (4, "CLEAN_UP"),
            (5, "completed")
        ]
    );
    assert_eq!((world.healthy(0), world.alive(1), &world.traffic), (4, 0, &vec![(0, WHOLE)]));
}

#[test]
fn without_rollback_both_fleets_stand_where_they_are() {
    let mut world = World::new(canary());
    world.rollback.alarm = false;
    world.deploy(1, RolloutState::InProgress, false);
    world.run(4);
    world.alarm = AlarmState::Alarm;
    world.run(20);
    assert_eq!((world.healthy(0), world.healthy(1)), (4, 4));
    assert_eq!(world.traffic, [(1, 100), (0, 900)]);
    // The next deployment takes away what is left before it begins.
    world.alarm = AlarmState::Ok;
    world.deploy(2, RolloutState::InProgress, false);
    world.run(40);
    let said = world.said();
    let (_, later) = said.split_at(6);
    assert_eq!(later[..4], [(24, "2: 0"), (24, "RECONCILE_SERVICE"), (25, "SCALE_UP"), (26, "TEST_TRAFFIC_SHIFT")]);
    assert_eq!((world.healthy(2), world.alive(0), world.alive(1)), (4, 0, 0));
}

#[test]
fn hooks_hold_a_stage_and_fail_it() {
    let mut world = World::new(Shift::AllAtOnce);
    world.hooks = vec![hook(Stage::PostScaleUp, 3, HookStatus::Succeeded)];
    world.deploy(1, RolloutState::InProgress, false);
    world.run(20);
    let said = world.said();
    assert_eq!(said[2..4], [(1, "POST_SCALE_UP"), (4, "TEST_TRAFFIC_SHIFT")]);
    assert_eq!(said.last(), Some(&(10, "completed")));

    let mut world = World::new(Shift::AllAtOnce);
    world.hooks = vec![hook(Stage::PostTestTrafficShift, 3, HookStatus::Failed)];
    world.deploy(1, RolloutState::InProgress, false);
    world.run(20);
    assert!(world.said().contains(&(4, "hook 0 failed")), "{:?}", world.said());
    assert_eq!((world.healthy(0), world.alive(1)), (4, 0));
}

#[test]
fn hooks_of_each_step_are_called_at_each_step() {
    let mut world = World::new(Shift::Linear { tenths: 500, wait: MINUTE * 2 });
    world.hooks = vec![hook(Stage::PreProductionTrafficShift, 1, HookStatus::Succeeded)];
    world.deploy(1, RolloutState::InProgress, false);
    world.run(20);
    let steps: Vec<_> = world.said().into_iter().filter(|s| s.1.starts_with("1: ")).collect();
    assert_eq!(steps, [(0, "1: 0"), (2, "1: 500"), (5, "1: 1000")]);
}

#[test]
fn sick_green_tasks_open_the_breaker() {
    let mut world = World::new(Shift::AllAtOnce);
    world.sick = true;
    world.deploy(1, RolloutState::InProgress, false);
    world.run(20);
    let said = world.said();
    assert!(said.iter().any(|s| s.1.starts_with("circuit breaker")), "{said:?}");
    assert_eq!((world.healthy(0), world.alive(1)), (4, 0));
    assert_eq!(world.traffic, [(0, WHOLE)]);
}

#[test]
fn code_deploy_waits_for_somebody_and_stops_when_nobody_comes() {
    let rules = CodeDeployRules { reroute_within: Some(MINUTE * 10), rerouted_after: Some(MINUTE * 3), scales: true };
    let mut world = World::new(Shift::Linear { tenths: 100, wait: MINUTE });
    world.controller = Controller::CodeDeploy(rules);
    world.deploy(1, RolloutState::InProgress, false);
    world.run(40);
    let steps: Vec<_> = world.said().into_iter().filter(|s| s.1.starts_with("1: ")).collect();
    assert_eq!((steps[1], steps[10]), ((4, "1: 100"), (13, "1: 1000")));

    let mut world = World::new(Shift::AllAtOnce);
    world.controller = Controller::CodeDeploy(CodeDeployRules { rerouted_after: None, ..rules });
    world.rollback.failure = false;
    world.deploy(1, RolloutState::InProgress, false);
    world.run(40);
    assert!(world.said().contains(&(11, "nobody rerouted the traffic in time")), "{:?}", world.said());
    assert_eq!(world.traffic, [(0, WHOLE)]);
}

#[test]
fn code_deploy_gives_a_scaled_fleet_five_minutes() {
    let rules = CodeDeployRules { reroute_within: None, rerouted_after: None, scales: true };
    let mut world = World::new(canary());
    world.controller = Controller::CodeDeploy(rules);
    world.deploy(1, RolloutState::InProgress, false);
    world.run(4);
    world.desired = 6;
    world.sick = true;
    world.rules.deployment_circuit_breaker.enable = false;
    world.run(10);
    assert!(world.said().iter().any(|s| s.1.starts_with("no steady fleet")), "{:?}", world.said());
}

#[test]
fn a_deployment_during_the_clean_up_keeps_the_winner() {
    let mut world = World::new(Shift::AllAtOnce);
    world.deploy(1, RolloutState::InProgress, false);
    world.run(7);
    assert_eq!(world.said().last(), Some(&(6, "CLEAN_UP")));
    world.deploy(2, RolloutState::InProgress, false);
    world.run(1);
    assert_eq!(world.traffic, [(1, WHOLE)]);
    world.run(20);
    assert_eq!((world.healthy(2), world.alive(0), world.alive(1)), (4, 0, 0));
}
