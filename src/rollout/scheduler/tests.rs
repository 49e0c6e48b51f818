//! The scheduler in a small world: tasks take a while to start, to become healthy and to stop.

use super::*;
use crate::rollout::throttle;
use crate::scenario::model::{CircuitBreaker, DeploymentAlarms, EarlySuccess, ThresholdConfiguration, ThresholdType};
use crate::telemetry::alarm::AlarmState;
use crate::units::{CapacityId, ZoneId};

const START: u64 = 20;
const HEALTHY: u64 = 10;
const STOP: u64 = 30;

fn rules(min: u32, max: u32) -> DeploymentConfiguration {
    DeploymentConfiguration {
        minimum_healthy_percent: min,
        maximum_percent: max,
        deployment_circuit_breaker: CircuitBreaker {
            enable: true,
            rollback: true,
            threshold_configuration: ThresholdConfiguration { r#type: ThresholdType::BoundedPercent, value: 50 },
            reset_on_healthy_task: true,
        },
        alarms: DeploymentAlarms { alarm_names: Vec::new(), enable: true, rollback: true },
        bake_time_in_minutes: None,
        ..DeploymentConfiguration::default()
    }
}

fn throttle_rule() -> RestartThrottle {
    RestartThrottle { free_failures: 3, first_delay: SimDuration::from_mins(1), max_delay: SimDuration::from_mins(27) }
}

/// How tasks of a revision fare.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Good,
    FailsToStart,
    Sick,
}

#[derive(Clone, Copy)]
struct Life {
    view: TaskView,
    /// When the next thing happens to it.
    next: u64,
    launched: u64,
    was_healthy: bool,
}

struct World {
    rules: DeploymentConfiguration,
    throttle: RestartThrottle,
    shares: Vec<Share>,
    zones: u32,
    rebalance: bool,
    bake: u64,
    now: u64,
    desired: u32,
    deployments: Vec<DeploymentView>,
    tasks: Vec<Life>,
    fates: Vec<Fate>,
    memory: SchedulerMemory,
    alarms: Vec<AlarmState>,
    log: Vec<(u64, SchedulerCommand)>,
    tokens: u32,
}

impl World {
    fn new(desired: u32, rules: DeploymentConfiguration) -> Self {
        let mut world = Self {
            rules,
            throttle: throttle_rule(),
            shares: vec![Share { capacity: CapacityId(0), base: 0, weight: 1 }],
            zones: 3,
            rebalance: true,
            bake: 0,
            now: 0,
            desired,
            deployments: Vec::new(),
            tasks: Vec::new(),
            fates: vec![Fate::Good],
            memory: SchedulerMemory::default(),
            alarms: Vec::new(),
            log: Vec::new(),
            tokens: u32::MAX,
        };
        world.deployments.push(world.deployment(0, RolloutState::Completed, false));
        for i in 0..desired {
            world.add(0, CapacityId(0), ZoneId(i % 3), TaskStatus::Running, Health::Healthy);
        }
        world
    }

    fn deployment(&self, revision: u32, state: RolloutState, rollback: bool) -> DeploymentView {
        let id = self.deployments.len() as u32;
        DeploymentView { id, revision, state, rollback, started_at: SimTime::from_secs(self.now) }
    }

    fn add(&mut self, revision: u32, capacity: CapacityId, zone: ZoneId, status: TaskStatus, health: Health) {
        let id = TaskId::from(self.tasks.len());
        let view = TaskView {
            id,
            revision,
            capacity,
            zone,
            status,
            stopping: false,
            health,
            node: None,
            draining: false,
            protected: false,
        };
        let next = if status == TaskStatus::Running { u64::MAX } else { self.now + START };
        self.tasks.push(Life { view, next, launched: self.now, was_healthy: health == Health::Healthy });
    }

    fn deploy(&mut self, fate: Fate) {
        let revision = self.fates.len() as u32;
        self.fates.push(fate);
        self.supersede();
        self.deployments.push(self.deployment(revision, RolloutState::InProgress, false));
    }

    fn supersede(&mut self) {
        if let Some(last) = self.deployments.last_mut().filter(|d| d.state == RolloutState::InProgress) {
            last.state = RolloutState::Superseded;
        }
    }

    fn pass(&mut self) -> Vec<SchedulerCommand> {
        let tasks: Vec<TaskView> =
            self.tasks.iter().map(|t| t.view).filter(|t| t.status != TaskStatus::Stopped).collect();
        let obs = SchedulerObservation {
            now: SimTime::from_secs(self.now),
            desired: self.desired,
            deployments: self.deployments.clone(),
            tasks,
            provisioning_slots: 500,
            launch_tokens: self.tokens,
            alarms: self.alarms.clone(),
            nodes: Vec::new(),
            room: Vec::new(),
        };
        let memory = self.memory.clone();
        let (commands, memory) = self.with_spec(|spec| decide(spec, &memory, &obs));
        self.memory = memory;
        let before = self.counts();
        for command in &commands {
            self.log.push((self.now, *command));
            self.carry_out(*command);
        }
        self.check_bounds(before, &commands);
        commands
    }

    fn with_spec<T>(&self, f: impl FnOnce(&SchedulerSpec<'_>) -> T) -> T {
        f(&SchedulerSpec {
            deployment: &self.rules,
            throttle: &self.throttle,
            stopping_counts: true,
            shares: &self.shares,
            zones: self.zones,
            rebalance: self.rebalance,
            bake_time: SimDuration::from_secs(self.bake),
            tie_seed: Some(7),
            placement: &[],
            needs: Resources::ZERO,
            daemon: false,
        })
    }

    /// Healthy tasks and tasks in all.
    fn counts(&self) -> (u32, u32) {
        let alive = self.tasks.iter().filter(|t| t.view.status != TaskStatus::Stopped);
        let healthy = alive
            .clone()
            .filter(|t| t.view.status == TaskStatus::Running && !t.view.stopping && t.view.health == Health::Healthy);
        (healthy.count() as u32, alive.count() as u32)
    }

    fn check_bounds(&self, before: (u32, u32), commands: &[SchedulerCommand]) {
        let bounds = rolling::bounds(self.desired, self.rules.minimum_healthy_percent, self.rules.maximum_percent);
        let after = self.counts();
        assert!(after.0 >= before.0.min(bounds.min_healthy), "{before:?} {after:?} {commands:?}");
        assert!(after.1 <= before.1.max(bounds.max_total), "{before:?} {after:?} {commands:?}");
    }

    fn carry_out(&mut self, command: SchedulerCommand) {
        match command {
            SchedulerCommand::Start { revision, capacity, zone, deployment, .. } => {
                assert_eq!(self.deployments[deployment as usize].revision, revision);
                self.add(revision, capacity, zone, TaskStatus::Provisioning, Health::Unknown);
            }
            SchedulerCommand::Stop { task, .. } => {
                let life = &mut self.tasks[task.index()];
                assert!(!life.view.stopping);
                life.view.stopping = true;
                life.next = self.now + STOP;
            }
            SchedulerCommand::CompleteDeployment { deployment, .. } => {
                self.deployments[deployment as usize].state = RolloutState::Completed;
            }
            SchedulerCommand::FailDeployment { deployment, .. } => {
                self.deployments[deployment as usize].state = RolloutState::Failed;
            }
            SchedulerCommand::Rollback { revision, .. } => {
                let next = self.deployment(revision, RolloutState::InProgress, true);
                self.deployments.push(next);
            }
            _ => {}
        }
    }

    /// Lets `secs` seconds pass, with a pass whenever something happened and every five seconds.
    fn run(&mut self, secs: u64) {
        let end = self.now + secs;
        while self.now < end {
            let mut happened = self.now.is_multiple_of(5);
            for i in 0..self.tasks.len() {
                happened |= self.live(i);
            }
            if happened {
                self.pass();
            }
            self.now += 1;
        }
    }

    fn live(&mut self, i: usize) -> bool {
        let now = self.now;
        let life = &mut self.tasks[i];
        if life.next > now {
            return false;
        }
        let (revision, launched) = (life.view.revision, SimTime::from_secs(life.launched));
        let fate = self.fates[revision as usize];
        life.next = u64::MAX;
        let kind = if life.view.stopping {
            life.view.status = TaskStatus::Stopped;
            None
        } else if life.view.status < TaskStatus::Running {
            if fate == Fate::FailsToStart {
                life.view.status = TaskStatus::Stopped;
                Some(TaskEventKind::FailedToStart { launched })
            } else {
                life.view.status = TaskStatus::Running;
                life.next = now + HEALTHY;
                Some(TaskEventKind::Running)
            }
        } else if fate == Fate::Sick {
            life.view.health = Health::Unhealthy;
            None
        } else {
            life.view.health = Health::Healthy;
            life.was_healthy = true;
            Some(TaskEventKind::Healthy)
        };
        if let Some(kind) = kind {
            let event = TaskEvent { now: SimTime::from_secs(now), revision, kind };
            let (memory, desired) = (self.memory.clone(), self.desired);
            self.memory = self.with_spec(|spec| note(spec, &memory, desired, event));
        }
        true
    }

    fn zones_of(&self, revision: u32) -> Vec<u32> {
        let mut zones = vec![0; self.zones as usize];
        for t in self.tasks.iter().filter(|t| t.view.revision == revision && t.view.status == TaskStatus::Running) {
            zones[t.view.zone.index()] += 1;
        }
        zones
    }

    fn running(&self, revision: u32) -> u32 {
        self.zones_of(revision).iter().sum()
    }

    fn starts(&self) -> usize {
        self.log.iter().filter(|(_, c)| matches!(c, SchedulerCommand::Start { .. })).count()
    }

    fn state(&self) -> RolloutState {
        self.deployments.last().unwrap().state
    }
}

#[test]
fn a_steady_service_is_left_alone() {
    let mut w = World::new(6, rules(100, 200));
    w.run(60);
    assert!(w.log.is_empty(), "{:?}", w.log);
}

#[test]
fn the_default_update_starts_all_new_tasks_before_it_stops_an_old_one() {
    let mut w = World::new(6, rules(100, 200));
    w.pass();
    w.deploy(Fate::Good);
    let first = w.pass();
    assert_eq!(first.len(), 6);
    assert!(first.iter().all(|c| matches!(c, SchedulerCommand::Start { reason: StartReason::NewRevision, .. })));
    w.run(200);
    assert_eq!((w.state(), w.running(0), w.running(1)), (RolloutState::Completed, 0, 6));
    assert_eq!((w.zones_of(1), w.starts()), (vec![2, 2, 2], 6));
    assert_eq!(w.memory.last_completed, Some(1));
}

#[test]
fn without_room_above_old_tasks_stop_first() {
    let mut w = World::new(4, rules(50, 100));
    w.pass();
    w.deploy(Fate::Good);
    let first = w.pass();
    assert_eq!(first.iter().filter(|c| matches!(c, SchedulerCommand::Stop { .. })).count(), 2);
    w.run(300);
    assert_eq!((w.state(), w.running(0), w.running(1)), (RolloutState::Completed, 0, 4));
}

#[test]
fn an_update_that_can_do_nothing_is_stuck_and_says_so_once() {
    let mut w = World::new(3, rules(100, 125));
    w.pass();
    w.deploy(Fate::Good);
    w.run(60);
    let stuck = |(_, c): &&(u64, SchedulerCommand)| matches!(c, SchedulerCommand::Stuck { .. });
    assert_eq!((w.log.iter().filter(stuck).count(), w.starts()), (1, 0));
}

#[test]
fn scale_out_and_in_keep_the_zones_even() {
    let mut w = World::new(6, rules(100, 200));
    w.desired = 10;
    w.run(60);
    let mut zones = w.zones_of(0);
    zones.sort_unstable();
    assert_eq!(zones, [3, 3, 4]);
    w.desired = 5;
    w.run(60);
    let mut zones = w.zones_of(0);
    zones.sort_unstable();
    assert_eq!(zones, [1, 2, 2]);
}

#[test]
fn surplus_takes_pending_tasks_first() {
    let mut w = World::new(4, rules(100, 200));
    w.desired = 6;
    w.pass();
    w.desired = 5;
    let commands = w.pass();
    let [SchedulerCommand::Stop { task, reason: StopReason::Surplus }] = commands[..] else { panic!("{commands:?}") };
    assert!(w.tasks[task.index()].view.status.is_pending());
}

#[test]
fn an_unhealthy_task_is_replaced_before_it_stops_if_there_is_room() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.tasks[1].view.health = Health::Unhealthy;
    let commands = w.pass();
    assert!(matches!(commands[..], [SchedulerCommand::Start { reason: StartReason::ReplaceUnhealthy, .. }]));
    w.run(20);
    assert!(!w.tasks[1].view.stopping);
    w.run(15);
    assert!(w.tasks[1].view.stopping);
    w.run(60);
    assert_eq!((w.running(0), w.starts()), (4, 1));
}

#[test]
fn an_unhealthy_task_that_recovers_leaves_a_surplus_of_one() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.tasks[1].view.health = Health::Unhealthy;
    w.pass();
    w.tasks[1].view.health = Health::Healthy;
    let commands = w.pass();
    assert!(matches!(commands[..], [SchedulerCommand::Stop { reason: StopReason::Surplus, .. }]));
    assert_eq!(w.counts().0, 4);
}

#[test]
fn without_room_unhealthy_tasks_stop_one_at_a_time() {
    let mut w = World::new(4, rules(50, 100));
    w.pass();
    for i in 0..3 {
        w.tasks[i].view.health = Health::Unhealthy;
    }
    w.pass();
    w.run(10);
    assert_eq!(w.tasks.iter().filter(|t| t.view.stopping).count(), 1);
    w.run(300);
    assert_eq!(w.counts(), (4, 4));
}

#[test]
fn a_revision_that_does_not_start_opens_the_breaker_and_is_rolled_back() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.deploy(Fate::FailsToStart);
    w.run(60);
    assert_eq!(w.deployments[1].state, RolloutState::Failed);
    assert_eq!((w.deployments[2].revision, w.deployments[2].rollback), (0, true));
    w.run(120);
    // The old tasks had never been touched, so that the rollback is done as soon as the new ones are gone.
    assert_eq!((w.state(), w.running(0), w.starts()), (RolloutState::Completed, 4, 4));
}

#[test]
fn a_sick_revision_fails_in_the_second_stage() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.deploy(Fate::Sick);
    w.run(600);
    assert_eq!(w.deployments[1].state, RolloutState::Failed);
    let failed = w.log.iter().find_map(|(at, c)| match c {
        SchedulerCommand::FailDeployment { reason, .. } => Some((*at, *reason)),
        _ => None,
    });
    let Some((at, FailReason::CircuitBreaker { failures: 3, threshold: 3 })) = failed else { panic!("{failed:?}") };
    // Three tasks were stopped, one after the other.
    assert!(at > START + HEALTHY + 2 * STOP, "{at}");
    assert_eq!((w.state(), w.running(0), w.running(1)), (RolloutState::Completed, 4, 0));
}

#[test]
fn without_anything_to_go_back_to_a_failed_deployment_stalls() {
    let mut w = World::new(2, rules(100, 200));
    w.deployments[0].state = RolloutState::InProgress;
    w.fates[0] = Fate::FailsToStart;
    w.tasks.clear();
    w.run(900);
    assert_eq!((w.state(), w.deployments.len(), w.running(0)), (RolloutState::Failed, 1, 0));
    assert!(w.log.iter().any(|(_, c)| matches!(c, SchedulerCommand::Held { by: Hold::Failed, .. })));
    let starts = w.starts();
    w.run(900);
    assert_eq!(w.starts(), starts);
}

#[test]
fn tasks_that_never_run_are_throttled_and_a_new_revision_ends_it() {
    let mut w = World::new(2, rules(100, 200));
    w.rules.deployment_circuit_breaker.enable = false;
    w.pass();
    w.deploy(Fate::FailsToStart);
    w.run(3600);
    let mut waves: Vec<u64> = w
        .log
        .iter()
        .filter(|(_, c)| matches!(c, SchedulerCommand::Start { revision: 1, .. }))
        .map(|(at, _)| *at)
        .collect();
    waves.dedup();
    let gaps: Vec<u64> = waves.windows(2).map(|w| (w[1] - w[0] - START) / 60).collect();
    assert_eq!(gaps, [0, 0, 1, 2, 4, 8, 16]);
    assert_eq!(w.running(0), 2);
    assert!(throttle::blocked_until(w.memory.throttle, SimTime::from_secs(w.now)).is_some());
    w.deploy(Fate::Good);
    w.run(300);
    assert_eq!((w.state(), w.running(2)), (RolloutState::Completed, 2));
}

#[test]
fn an_alarm_fails_the_deployment_unless_it_stood_before() {
    let mut w = World::new(4, rules(100, 200));
    w.bake = 120;
    w.alarms = vec![AlarmState::Ok];
    w.pass();
    w.deploy(Fate::Good);
    w.run(100);
    assert_eq!((w.state(), w.running(0)), (RolloutState::InProgress, 0));
    w.alarms[0] = AlarmState::Alarm;
    w.pass();
    assert_eq!(w.deployments[1].state, RolloutState::Failed);
    assert_eq!(w.deployments[2].revision, 0);

    let mut w = World::new(4, rules(100, 200));
    w.alarms = vec![AlarmState::Alarm];
    w.pass();
    w.deploy(Fate::Good);
    w.run(200);
    assert_eq!((w.state(), w.deployments.len()), (RolloutState::Completed, 2));
}

#[test]
fn the_bake_time_runs_after_the_old_tasks_are_gone() {
    let done = |bake| {
        let mut w = World::new(4, rules(100, 200));
        w.bake = bake;
        w.pass();
        w.deploy(Fate::Good);
        w.run(600);
        w.log.iter().find(|(_, c)| matches!(c, SchedulerCommand::CompleteDeployment { .. })).unwrap().0
    };
    let plain = done(0);
    assert!(plain >= START + HEALTHY + STOP);
    assert_eq!(done(120), plain + 120);
}

#[test]
fn early_success_completes_before_or_after_the_old_tasks_are_gone() {
    let run = |cleanup| {
        let mut w = World::new(10, rules(80, 200));
        w.rules.early_success = Some(EarlySuccess { healthy_percent: 80, cleanup });
        w.pass();
        w.deploy(Fate::Good);
        w.run(600);
        let at = |w: &World| {
            w.log.iter().find_map(|(at, c)| match c {
                SchedulerCommand::CompleteDeployment { early, .. } => Some((*at, *early)),
                _ => None,
            })
        };
        assert_eq!((w.running(0), w.running(1)), (0, 10));
        at(&w).unwrap()
    };
    let (deferred, blocking) = (run(Cleanup::Deferred), run(Cleanup::Blocking));
    assert!(deferred.1 && deferred.0 < blocking.0, "{deferred:?} {blocking:?}");
}

#[test]
fn an_old_task_lost_during_a_deployment_is_replaced_by_its_own_revision() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.deploy(Fate::Good);
    w.pass();
    w.tasks[0].view.status = TaskStatus::Stopped;
    let commands = w.pass();
    assert!(
        matches!(
            commands[0],
            SchedulerCommand::Start { revision: 0, deployment: 0, reason: StartReason::ReplaceOld, .. }
        ),
        "{commands:?}"
    );
    w.run(300);
    assert_eq!((w.state(), w.running(0), w.running(1)), (RolloutState::Completed, 0, 4));
}

#[test]
fn a_deployment_may_take_the_place_of_another() {
    let mut w = World::new(6, rules(50, 150));
    w.pass();
    w.deploy(Fate::Good);
    w.run(25);
    w.deploy(Fate::Good);
    w.run(600);
    assert_eq!((w.state(), w.running(0), w.running(1), w.running(2)), (RolloutState::Completed, 0, 0, 6));
}

#[test]
fn uneven_zones_are_balanced_from_the_steady_state() {
    let mut w = World::new(6, rules(100, 200));
    for t in &mut w.tasks {
        t.view.zone = ZoneId(0);
    }
    w.run(120);
    assert_eq!(w.zones_of(0), [2, 2, 2]);
    assert_eq!((w.counts().0, w.memory.rebalance), (6, None));
    let mut off = World::new(6, rules(100, 200));
    off.rebalance = false;
    off.tasks.iter_mut().for_each(|t| t.view.zone = ZoneId(0));
    off.run(120);
    assert_eq!(off.zones_of(0), [6, 0, 0]);
}

#[test]
fn spot_losses_come_back_as_spot_and_scale_in_keeps_the_base() {
    let mut w = World::new(0, rules(100, 200));
    w.shares = vec![
        Share { capacity: CapacityId(0), base: 2, weight: 1 },
        Share { capacity: CapacityId(1), base: 0, weight: 3 },
    ];
    w.desired = 10;
    w.run(60);
    let of = |w: &World, c: u32| {
        let on =
            |t: &&Life| t.view.capacity == CapacityId(c) && t.view.status == TaskStatus::Running && !t.view.stopping;
        w.tasks.iter().filter(on).count()
    };
    assert_eq!((of(&w, 0), of(&w, 1)), (4, 6));
    for t in w.tasks.iter_mut().filter(|t| t.view.capacity == CapacityId(1)).take(3) {
        t.view.status = TaskStatus::Stopped;
    }
    w.run(60);
    assert_eq!((of(&w, 0), of(&w, 1)), (4, 6));
    w.desired = 3;
    w.run(60);
    assert_eq!(of(&w, 0) + of(&w, 1), 3);
    assert!(of(&w, 0) >= 2);
}

#[test]
fn quotas_hold_launches_and_say_so() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.desired = 8;
    w.tokens = 1;
    let commands = w.pass();
    assert!(matches!(commands[0], SchedulerCommand::Start { .. }));
    assert_eq!(commands[1], SchedulerCommand::Held { tasks: 3, by: Hold::LaunchRate });
    let mut w = World::new(4, rules(100, 100));
    w.pass();
    w.tasks[0].view.stopping = true;
    let commands = w.pass();
    assert_eq!(commands, [SchedulerCommand::Held { tasks: 1, by: Hold::Maximum { max_total: 4 } }]);
}

#[test]
fn five_thousand_tasks_take_one_pass() {
    let mut w = World::new(5000, rules(100, 200));
    w.pass();
    w.desired = 3000;
    let commands = w.pass();
    assert_eq!(commands.len(), 2000);
    let zones = w.tasks.iter().filter(|t| !t.view.stopping).fold([0; 3], |mut z, t| {
        z[t.view.zone.index()] += 1;
        z
    });
    assert_eq!(zones, [1000, 1000, 1000]);
}

#[test]
fn commands_and_memories_can_be_written_and_read() {
    let mut w = World::new(4, rules(100, 200));
    w.pass();
    w.deploy(Fate::Sick);
    w.run(300);
    let commands: Vec<SchedulerCommand> = w.log.iter().map(|(_, c)| *c).collect();
    let text = serde_json::to_string(&commands).unwrap();
    assert_eq!(serde_json::from_str::<Vec<SchedulerCommand>>(&text).unwrap(), commands);
    let text = serde_json::to_string(&w.memory).unwrap();
    assert_eq!(serde_json::from_str::<SchedulerMemory>(&text).unwrap(), w.memory);
}
