//! What holds for every decision, whatever is observed.

use croner::parser::{CronParser, Seconds, Year};
use proptest::prelude::*;

use simctl::capacity::bucket::{MinuteLimit, TokenBucket};
use simctl::capacity::strategy::{Strategy as Shares, StrategyItem};
use simctl::cluster::health::Health;
use simctl::cluster::nodes::Resources;
use simctl::cluster::spread::{next_share, surplus_share};
use simctl::cluster::task_status::TaskStatus;
use simctl::kernel::{SimDuration, SimTime};
use simctl::placement::zones::{balanced, moves};
use simctl::rollout::rolling::bounds;
use simctl::rollout::scheduler::{
    DeploymentView, RolloutState, SchedulerCommand, SchedulerMemory, SchedulerObservation, SchedulerSpec, TaskEvent,
    TaskEventKind, TaskView, decide, note,
};
use simctl::scaling::schedule::Schedule;
use simctl::scaling::service::{self, PolicyAlarms, PolicyView, ScalingMemory, ScalingObservation, SuspendedKinds};
use simctl::scaling::target_tracking::proportional;
use simctl::scenario::from_text;
use simctl::scenario::model::{
    CircuitBreaker, Cleanup, Comparison, DeploymentAlarms, DeploymentConfiguration, EarlySuccess, RestartThrottle,
    Scaling, TreatMissingData,
};
use simctl::telemetry::alarm::{AlarmSpec, AlarmState, evaluate};
use simctl::units::{CapacityId, TaskId, ZoneId};

// --- the service scheduler -------------------------------------------------------------------

/// A step of the world around the scheduler.
#[derive(Clone, Debug)]
enum Step {
    /// The n-th task moves on in its life.
    Advance(usize),
    /// The n-th task's health becomes this.
    Health(usize, Health),
    /// The n-th task is lost.
    Lose(usize),
    Desired(u32),
    Deploy,
    Alarm(bool),
    Tokens(u32),
    /// So many seconds pass.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Unhealthy), Just(Health::Unknown)];
    prop_oneof![
        12 => any::<usize>().prop_map(Step::Advance),
        6 => (any::<usize>(), health).prop_map(|(i, h)| Step::Health(i, h)),
        2 => any::<usize>().prop_map(Step::Lose),
        2 => (0_u32..14).prop_map(Step::Desired),
        1 => Just(Step::Deploy),
        1 => any::<bool>().prop_map(Step::Alarm),
        1 => (0_u32..6).prop_map(Step::Tokens),
        2 => (1_u64..400).prop_map(Step::Wait),
    ]
}

fn configuration() -> impl Strategy<Value = DeploymentConfiguration> {
    let early = prop_oneof![
        2 => Just(None),
        1 => (0_u32..=100, any::<bool>()).prop_map(|(healthy_percent, deferred)| Some(EarlySuccess {
            healthy_percent,
            cleanup: if deferred { Cleanup::Deferred } else { Cleanup::Blocking },
        })),
    ];
    (0_u32..=100, 100_u32..=250, any::<bool>(), any::<bool>(), early).prop_map(|(min, max, enable, rollback, early)| {
        DeploymentConfiguration {
            minimum_healthy_percent: min,
            maximum_percent: max,
            deployment_circuit_breaker: CircuitBreaker { enable, rollback, ..CircuitBreaker::default() },
            alarms: DeploymentAlarms { alarm_names: vec!["a".into()], enable, rollback },
            early_success: early,
            ..DeploymentConfiguration::default()
        }
    })
}

struct World {
    rules: DeploymentConfiguration,
    throttle: RestartThrottle,
    shares: Vec<StrategyItem>,
    stopping_counts: bool,
    now: u64,
    desired: u32,
    deployments: Vec<DeploymentView>,
    tasks: Vec<TaskView>,
    alarm: AlarmState,
    tokens: u32,
    memory: SchedulerMemory,
}

impl World {
    fn deployment(&self, revision: u32, state: RolloutState) -> DeploymentView {
        let id = self.deployments.len() as u32;
        DeploymentView { id, revision, state, rollback: false, started_at: SimTime::from_secs(self.now) }
    }

    fn with_spec<T>(&self, f: impl FnOnce(&SchedulerSpec<'_>) -> T) -> T {
        f(&SchedulerSpec {
            deployment: &self.rules,
            throttle: &self.throttle,
            stopping_counts: self.stopping_counts,
            shares: &self.shares,
            zones: 3,
            rebalance: self.rules.maximum_percent > 100,
            bake_time: SimDuration::from_secs(60),
            tie_seed: Some(1),
            placement: &[],
            needs: Resources::ZERO,
            daemon: false,
        })
    }

    fn healthy(&self) -> u32 {
        let counts = |t: &&TaskView| t.status == TaskStatus::Running && !t.stopping && t.health == Health::Healthy;
        self.tasks.iter().filter(counts).count() as u32
    }

    fn total(&self) -> u32 {
        let counts = |t: &&TaskView| {
            t.status != TaskStatus::Stopped && (self.stopping_counts || !(t.stopping || t.status.is_stopping()))
        };
        self.tasks.iter().filter(counts).count() as u32
    }

    fn note(&mut self, revision: u32, kind: TaskEventKind) {
        let event = TaskEvent { now: SimTime::from_secs(self.now), revision, kind };
        self.memory = self.with_spec(|spec| note(spec, &self.memory, self.desired, event));
    }

    fn live(&mut self, step: &Step) {
        let at = |i: usize, n: usize| (n > 0).then(|| i % n);
        match step {
            Step::Advance(i) => {
                let Some(i) = at(*i, self.tasks.len()) else { return };
                let t = &mut self.tasks[i];
                let next = TaskStatus::ALL[(t.status as usize + 1).min(7)];
                if next <= TaskStatus::Running || t.stopping {
                    t.status = next;
                    let revision = t.revision;
                    if next == TaskStatus::Running {
                        self.note(revision, TaskEventKind::Running);
                    }
                }
            }
            Step::Health(i, health) => {
                let Some(i) = at(*i, self.tasks.len()) else { return };
                if self.tasks[i].status == TaskStatus::Running {
                    self.tasks[i].health = *health;
                    if *health == Health::Healthy {
                        self.note(self.tasks[i].revision, TaskEventKind::Healthy);
                    }
                }
            }
            Step::Lose(i) => {
                let Some(i) = at(*i, self.tasks.len()) else { return };
                let lost = self.tasks[i];
                self.tasks[i].status = TaskStatus::Stopped;
                if lost.status.is_pending() && !lost.stopping {
                    self.note(lost.revision, TaskEventKind::FailedToStart { launched: SimTime::from_secs(self.now) });
                }
            }
            Step::Desired(n) => self.desired = *n,
            Step::Deploy => {
                if let Some(last) = self.deployments.last_mut().filter(|d| d.state == RolloutState::InProgress) {
                    last.state = RolloutState::Superseded;
                }
                let revision = self.deployments.iter().map(|d| d.revision).max().unwrap_or(0) + 1;
                self.deployments.push(self.deployment(revision, RolloutState::InProgress));
            }
            Step::Alarm(on) => self.alarm = if *on { AlarmState::Alarm } else { AlarmState::Ok },
            Step::Tokens(n) => self.tokens = *n,
            Step::Wait(secs) => self.now += secs,
        }
    }

    /// One pass, with everything checked that must hold. True when it started or stopped anything.
    fn pass(&mut self) -> bool {
        let obs = SchedulerObservation {
            now: SimTime::from_secs(self.now),
            desired: self.desired,
            deployments: self.deployments.clone(),
            tasks: self.tasks.clone(),
            provisioning_slots: 10,
            launch_tokens: self.tokens,
            alarms: vec![self.alarm],
            nodes: Vec::new(),
            room: Vec::new(),
        };
        let (commands, memory) = self.with_spec(|spec| decide(spec, &self.memory, &obs));
        let again = self.with_spec(|spec| decide(spec, &self.memory, &obs));
        assert_eq!(again, (commands.clone(), memory.clone()), "a decision is a function of what it is given");
        self.memory = memory;
        let bounds = bounds(self.desired, self.rules.minimum_healthy_percent, self.rules.maximum_percent);
        let (healthy, total) = (self.healthy(), self.total());
        let (mut starts, mut acted) = (0, false);
        for command in &commands {
            match *command {
                SchedulerCommand::Start { deployment, revision, capacity, zone, .. } => {
                    acted = true;
                    starts += 1;
                    let of = self.deployments[deployment as usize];
                    assert_eq!(of.revision, revision);
                    assert_ne!(of.state, RolloutState::Failed, "a failed deployment launches nothing");
                    assert!(zone.0 < 3 && capacity.index() < self.shares.len());
                    self.tasks.push(TaskView {
                        id: TaskId::from(self.tasks.len()),
                        revision,
                        capacity,
                        zone,
                        status: TaskStatus::Provisioning,
                        stopping: false,
                        health: Health::Unknown,
                        node: None,
                        draining: false,
                        protected: false,
                    });
                    assert!(self.total() <= bounds.max_total, "{commands:?}");
                }
                SchedulerCommand::Stop { task, .. } => {
                    acted = true;
                    let t = &mut self.tasks[task.index()];
                    assert!(!t.stopping && t.status <= TaskStatus::Running, "{command:?}: {t:?}");
                    t.stopping = true;
                }
                SchedulerCommand::CompleteDeployment { deployment, .. } => {
                    self.deployments[deployment as usize].state = RolloutState::Completed;
                }
                SchedulerCommand::FailDeployment { deployment, .. } => {
                    self.deployments[deployment as usize].state = RolloutState::Failed;
                }
                SchedulerCommand::Rollback { revision, .. } => {
                    self.deployments.push(self.deployment(revision, RolloutState::InProgress));
                }
                SchedulerCommand::Wake { at } => assert!(at > obs.now),
                SchedulerCommand::Stuck { .. } | SchedulerCommand::Held { .. } => {}
                SchedulerCommand::EnterStage { .. }
                | SchedulerCommand::Shift { .. }
                | SchedulerCommand::Waits { .. } => panic!("a rolling update has no stages: {command:?}"),
            }
        }
        assert!(starts <= self.tokens.min(10), "{commands:?}");
        assert!(self.total() <= total.max(bounds.max_total), "{commands:?}");
        assert!(self.healthy() >= healthy.min(bounds.min_healthy), "{commands:?}");
        acted
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_scheduler_keeps_its_bounds_and_comes_to_rest(
        rules in configuration(),
        spot in 0_u32..4,
        base in 0_u32..3,
        stopping_counts in any::<bool>(),
        desired in 0_u32..10,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World {
            rules,
            throttle: RestartThrottle::default(),
            shares: vec![
                StrategyItem { capacity: CapacityId(0), base, weight: 1 },
                StrategyItem { capacity: CapacityId(1), base: 0, weight: spot },
            ],
            stopping_counts,
            now: 0,
            desired,
            deployments: Vec::new(),
            tasks: Vec::new(),
            alarm: AlarmState::Ok,
            tokens: 5,
            memory: SchedulerMemory::default(),
        };
        world.deployments.push(world.deployment(0, RolloutState::Completed));
        for i in 0..desired {
            world.tasks.push(TaskView {
                id: TaskId(i),
                revision: 0,
                capacity: CapacityId(i % 2),
                zone: ZoneId(i % 2),
                status: TaskStatus::Running,
                stopping: false,
                health: Health::Healthy,
                node: None,
                draining: false,
                protected: false,
            });
        }
        for step in steps {
            world.live(&step);
            // Whoever wakes the scheduler after each of its own commands must see it come to rest.
            let mut passes = 0;
            while world.pass() {
                passes += 1;
                prop_assert!(passes < 60, "still at it: {:?}", world.memory);
            }
        }
    }

    #[test]
    fn left_alone_a_deployment_of_good_tasks_completes(
        rules in configuration(),
        desired in 0_u32..12,
        stopping_counts in any::<bool>(),
    ) {
        let mut world = World {
            rules,
            throttle: RestartThrottle::default(),
            shares: vec![StrategyItem { capacity: CapacityId(0), base: 0, weight: 1 }],
            stopping_counts,
            now: 0,
            desired,
            deployments: Vec::new(),
            tasks: Vec::new(),
            alarm: AlarmState::Ok,
            tokens: 5,
            memory: SchedulerMemory::default(),
        };
        world.deployments.push(world.deployment(0, RolloutState::Completed));
        for i in 0..desired {
            world.tasks.push(TaskView {
                id: TaskId(i),
                revision: 0,
                capacity: CapacityId(0),
                zone: ZoneId(i % 3),
                status: TaskStatus::Running,
                stopping: false,
                health: Health::Healthy,
                node: None,
                draining: false,
                protected: false,
            });
        }
        world.pass();
        world.live(&Step::Deploy);
        let limits = bounds(desired, world.rules.minimum_healthy_percent, world.rules.maximum_percent);
        let stuck = limits.max_total <= desired && limits.min_healthy >= desired && desired > 0;
        for _ in 0..400 {
            while world.pass() {}
            for i in 0..world.tasks.len() {
                world.live(&Step::Advance(i));
                if world.tasks[i].status == TaskStatus::Running && world.tasks[i].health != Health::Healthy {
                    world.live(&Step::Health(i, Health::Healthy));
                }
            }
            world.now += 5;
        }
        let state = world.deployments[1].state;
        prop_assert_eq!(state, if stuck { RolloutState::InProgress } else { RolloutState::Completed });
        let new = world.tasks.iter().filter(|t| t.revision == 1 && t.status == TaskStatus::Running).count() as u32;
        prop_assert_eq!(new, if stuck { 0 } else { desired });
    }
}

// --- scaling ---------------------------------------------------------------------------------

fn scaling() -> Scaling {
    let text = r#"
        [simulation]
        duration = "1h"
        [services.web]
        task = { cpu = 1024, memory = "2 GB" }
        requests.page = { cpu_time = "20ms" }
        traffic.rate = [{ at = "0s", rps = 60 }]
        [services.web.scaling]
        min_capacity = 3
        max_capacity = 12
        [services.web.scaling.policies.cpu]
        type = "target_tracking"
        predefined_metric_type = "ECSServiceAverageCPUUtilization"
        target_value = 60
        [services.web.scaling.policies.memory]
        type = "target_tracking"
        predefined_metric_type = "ECSServiceAverageMemoryUtilization"
        target_value = 50
        scale_in_cooldown = "60s"
        [services.web.scaling.policies.out]
        type = "step_scaling"
        alarm = { metric = "CPUUtilization", comparison_operator = "GreaterThanThreshold", threshold = 80 }
        adjustment_type = "PercentChangeInCapacity"
        step_adjustments = [{ metric_interval_lower_bound = 0, scaling_adjustment = 30 }]
    "#;
    let plan = from_text("decisions", text).unwrap_or_else(|found| panic!("{}", found.render(false)));
    plan.services["web"].scaling.clone().expect("the service scales")
}

fn alarm_state() -> impl Strategy<Value = AlarmState> {
    prop_oneof![Just(AlarmState::Ok), Just(AlarmState::Alarm), Just(AlarmState::InsufficientData)]
}

fn view(step: bool) -> impl Strategy<Value = PolicyView> {
    (alarm_state(), alarm_state(), any::<bool>(), proptest::option::weighted(0.9, 0.0_f64..250.0)).prop_map(
        move |(high, low, called, metric)| PolicyView {
            alarms: if step { PolicyAlarms::Step(high) } else { PolicyAlarms::TargetTracking { high, low } },
            called,
            metric,
            metric_age: SimDuration::from_secs(60),
        },
    )
}

proptest! {
    #[test]
    fn scaling_stays_between_minimum_and_maximum_and_asks_nobody_twice(
        suspended in (any::<bool>(), any::<bool>()),
        calls in proptest::collection::vec(
            (1_u64..200, any::<bool>(), -2_i64..3, view(false), view(false), view(true)), 1..40),
    ) {
        let spec = scaling();
        let kinds = SuspendedKinds { scale_in: suspended.0, scale_out: suspended.1, scheduled: false };
        let mut memory = service::suspend(&ScalingMemory::new(&spec), kinds);
        let (mut desired, mut now) = (5_u32, SimTime::ZERO);
        for (wait, deploying, off, a, b, c) in calls {
            now += SimDuration::from_secs(wait);
            let running = u32::try_from((i64::from(desired) + off).max(0)).unwrap_or(0);
            let obs = ScalingObservation {
                now, running, desired, deployment_in_progress: deploying, policies: vec![a, b, c],
            };
            let (decision, next) = service::decide(&spec, &memory, &obs);
            if let Some(to) = decision.desired {
                prop_assert_ne!(to, desired);
                prop_assert!((3..=12).contains(&to), "{:?}", decision);
                if to > desired {
                    prop_assert!(!suspended.1);
                } else {
                    prop_assert!(!suspended.0 && !deploying, "{:?}", decision);
                    // Both target tracking policies had to be ready.
                    let ready = |v: &PolicyView| matches!(
                        v.alarms, PolicyAlarms::TargetTracking { low: AlarmState::Alarm, .. });
                    prop_assert!(ready(&a) && ready(&b), "{:?}", decision);
                }
                prop_assert!([a, b, c].iter().any(|v| v.called));
                desired = to;
                // The same call at the same instant has nothing left to ask for.
                let (again, _) = service::decide(&spec, &next, &ScalingObservation { desired, ..obs });
                prop_assert_eq!(again.desired, None, "{:?} then {:?}", decision, again);
            } else {
                prop_assert_eq!(&next, &memory);
            }
            memory = next;
        }
    }

    #[test]
    fn proportional_capacity_holds_the_target_and_not_one_task_more(
        running in 1_u32..5000, metric in 0.0_f64..400.0, target in 1.0_f64..100.0,
    ) {
        let n = proportional(running, metric, target);
        let load = f64::from(running) * metric;
        prop_assert!(load <= f64::from(n) * target * (1.0 + 1e-9) + 1e-6);
        prop_assert!(n == 0 || load > f64::from(n - 1) * target * (1.0 - 1e-9) - 1e-6);
    }

    #[test]
    fn an_alarm_without_gaps_counts_breaches(
        values in proptest::collection::vec(0.0_f64..2.0, 1..30), n in 1_u32..6, m in 1_u32..6,
    ) {
        let spec = AlarmSpec {
            comparison: Comparison::GreaterThanThreshold,
            threshold: 1.0,
            period: SimDuration::from_secs(60),
            evaluation_periods: n,
            datapoints_to_alarm: m,
            treat_missing: TreatMissingData::Missing,
        };
        prop_assume!(values.len() >= n as usize);
        let points: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        let breaching = values.iter().rev().take(n as usize).filter(|v| **v > 1.0).count() as u32;
        let expected = if breaching >= m.min(n) { AlarmState::Alarm } else { AlarmState::Ok };
        for previous in [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData] {
            prop_assert_eq!(evaluate(&spec, previous, &points).0, expected);
        }
    }
}

// --- schedules -------------------------------------------------------------------------------

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (low..=high).prop_map(|n| n.to_string()),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (low..=high, 1_u32..7).prop_map(|(a, n)| format!("{a}/{n}")),
    ]
}

fn days() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        field(1, 28).prop_map(|d| (d, "?".to_owned())),
        Just(("L".to_owned(), "?".to_owned())),
        (1_u32..=28).prop_map(|d| (format!("{d}W"), "?".to_owned())),
        field(1, 7).prop_map(|d| ("?".to_owned(), d)),
        (1_u32..=7, 1_u32..=4).prop_map(|(d, n)| ("?".to_owned(), format!("{d}#{n}"))),
        (1_u32..=7).prop_map(|d| ("?".to_owned(), format!("{d}L"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Without daylight saving another reader of the same notation agrees.
    #[test]
    fn cron_in_utc_agrees_with_croner(
        minutes in field(0, 59), hours in field(0, 23), month in field(1, 12), (dom, dow) in days(),
        start in 1_767_000_000_i64..1_800_000_000,
    ) {
        let fields = format!("{minutes} {hours} {dom} {month} {dow}");
        let ours = Schedule::parse(&format!("cron({fields} *)"), "UTC").expect("a good expression");
        let theirs = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .alternative_weekdays(true)
            .sloppy_ranges(true)
            .build()
            .parse(&fields)
            .expect("a good expression");
        let mut at = jiff::Timestamp::from_second(start).expect("in range");
        for _ in 0..5 {
            let expected = theirs
                .find_next_occurrence(&at.to_zoned(jiff::tz::TimeZone::UTC), false)
                .expect("there is one")
                .timestamp();
            let got = ours.next_after(at).expect("there is one");
            prop_assert_eq!(got, expected, "{}", fields);
            at = got;
        }
    }

    #[test]
    fn schedules_move_forward_in_every_zone(
        minutes in field(0, 59), hours in field(0, 23), start in 1_700_000_000_i64..1_900_000_000,
        zone in prop_oneof![
            Just("America/Los_Angeles"), Just("Europe/Berlin"), Just("Australia/Lord_Howe"),
            Just("Pacific/Apia"), Just("Africa/Casablanca"),
        ],
    ) {
        let schedule = Schedule::parse(&format!("cron({minutes} {hours} * * ? *)"), zone).expect("a good expression");
        let tz = jiff::tz::TimeZone::get(zone).expect("a zone");
        let mut at = jiff::Timestamp::from_second(start).expect("in range");
        let mut last_local = None;
        for _ in 0..20 {
            let next = schedule.next_after(at).expect("it fires every day");
            prop_assert!(next > at);
            // A local time never comes twice.
            let local = tz.to_datetime(next);
            prop_assert!(last_local.is_none_or(|l| local > l), "{local} after {last_local:?}");
            prop_assert_eq!((local.second(), local.subsec_nanosecond()), (0, 0));
            (at, last_local) = (next, Some(local));
        }
    }
}

// --- shares, zones, buckets ------------------------------------------------------------------

proptest! {
    #[test]
    fn two_shares_are_within_one_task_of_exact(base in 0_u32..10, a in 0_u32..50, b in 1_u32..50, tasks in 0_u32..300) {
        let items = vec![
            StrategyItem { capacity: CapacityId(0), base, weight: a },
            StrategyItem { capacity: CapacityId(1), base: 0, weight: b },
        ];
        let split = Shares::new(items).expect("a good strategy").split(tasks);
        prop_assert_eq!(split.iter().sum::<u32>(), tasks);
        let beyond = f64::from(tasks.saturating_sub(base));
        let exact = f64::from(base.min(tasks)) + beyond * f64::from(a) / f64::from(a + b);
        prop_assert!((f64::from(split[0]) - exact).abs() < 1.0, "{split:?}, exact {exact}");
    }

    #[test]
    fn what_is_started_and_stopped_again_leaves_the_shares_right(
        weights in proptest::collection::vec(1_u32..20, 1..5), base in 0_u32..6, up in 1_u32..80, down in 0_u32..80,
    ) {
        let shares: Vec<StrategyItem> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| StrategyItem { capacity: i.into(), base: if i == 0 { base } else { 0 }, weight: *w })
            .collect();
        let mut counts = vec![0; shares.len()];
        for _ in 0..up {
            let i = next_share(&shares, &counts).expect("a share");
            counts[i] += 1;
        }
        for _ in 0..down.min(up) {
            let i = surplus_share(&shares, &counts, &counts).expect("a task");
            // The base is spared while anything stands above it.
            let others = counts.iter().zip(&shares).any(|(n, s)| *n > s.base);
            prop_assert!(counts[i] > shares[i].base || !others);
            counts[i] -= 1;
        }
        prop_assert_eq!(counts.iter().sum::<u32>(), up - down.min(up));
    }

    #[test]
    fn moves_balance_any_zones(counts in proptest::collection::vec(0_u32..30, 1..6)) {
        let mut after = counts.clone();
        for m in moves(&counts) {
            after[m.to.index()] += 1;
            after[m.from.index()] -= 1;
        }
        prop_assert!(balanced(&after));
        prop_assert_eq!(after.iter().sum::<u32>(), counts.iter().sum::<u32>());
    }

    #[test]
    fn a_bucket_never_gives_more_than_its_burst_and_rate(
        burst in 1_u32..50, rate in 0.01_f64..100.0, waits in proptest::collection::vec(0_u64..3_000_000_000, 1..200),
    ) {
        let mut bucket = TokenBucket::new(burst, rate);
        let mut limit = MinuteLimit::new(burst);
        let mut now = SimTime::ZERO;
        let (mut taken, mut passed) = (0_u32, Vec::new());
        for wait in waits {
            now += SimDuration::from_nanos(wait);
            let available = bucket.available(now);
            match bucket.take(now) {
                Ok(()) => {
                    taken += 1;
                    prop_assert!(available > 0);
                }
                Err(next) => {
                    prop_assert!(available == 0 && next > now);
                    prop_assert_eq!(bucket.available(next), 1);
                    prop_assert_eq!(bucket.available(SimTime::from_nanos(next.as_nanos() - 1)), 0);
                }
            }
            if limit.take(now).is_ok() {
                passed.push(now);
            }
            let most = f64::from(burst) + (rate * 1000.0).round() / 1000.0 * now.as_secs_f64();
            prop_assert!(f64::from(taken) <= most + 1e-6);
        }
        // In a fixed minute from any first launch there are at most `burst`; in a sliding one twice that.
        for (i, from) in passed.iter().enumerate() {
            let inside = passed[i..].iter().take_while(|t| **t < *from + SimDuration::from_mins(1)).count();
            prop_assert!(inside <= 2 * burst as usize);
        }
    }
}
