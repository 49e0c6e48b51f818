//! Random commands at the cluster's door: whatever is asked, no invariant breaks.

use proptest::prelude::*;
use simctl::cluster::{Cluster, Command, DeploymentOutcome, Fact, Health, Refusal, StopCode, Task, TaskStatus};
use simctl::kernel::SimTime;
use simctl::units::{CapacityId, Cpu, ServiceId, TaskId, ZoneId};

/// What is asked, with raw numbers that are folded into the ids that exist.
#[derive(Clone, Debug)]
enum Ask {
    Start { deployment: u32, zone: u32 },
    Stop { task: u32 },
    Ends { task: u32 },
    Launched { task: u32 },
    Advance { task: u32, to: usize },
    Pulled { task: u32 },
    Ready { task: u32 },
    Healthy { task: u32, health: u8 },
    Desired { n: u32 },
    Deploy { revision: u32 },
    EndDeployment { failed: bool },
    Traffic { revision: u32, share: u32, rest: bool },
}

const STATES: [TaskStatus; 8] = [
    TaskStatus::Provisioning,
    TaskStatus::Pending,
    TaskStatus::Activating,
    TaskStatus::Running,
    TaskStatus::Deactivating,
    TaskStatus::Stopping,
    TaskStatus::Deprovisioning,
    TaskStatus::Stopped,
];

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => (0..4_u32, 0..4_u32).prop_map(|(deployment, zone)| Ask::Start { deployment, zone }),
        3 => any::<u32>().prop_map(|task| Ask::Stop { task }),
        1 => any::<u32>().prop_map(|task| Ask::Ends { task }),
        1 => any::<u32>().prop_map(|task| Ask::Launched { task }),
        8 => (any::<u32>(), 0..8_usize).prop_map(|(task, to)| Ask::Advance { task, to }),
        1 => any::<u32>().prop_map(|task| Ask::Pulled { task }),
        1 => any::<u32>().prop_map(|task| Ask::Ready { task }),
        4 => (any::<u32>(), 0..3_u8).prop_map(|(task, health)| Ask::Healthy { task, health }),
        1 => (0..12_u32).prop_map(|n| Ask::Desired { n }),
        1 => (0..5_u32).prop_map(|revision| Ask::Deploy { revision }),
        1 => any::<bool>().prop_map(|failed| Ask::EndDeployment { failed }),
        1 => (0..5_u32, 0..1100_u32, any::<bool>())
            .prop_map(|(revision, share, rest)| Ask::Traffic { revision, share, rest }),
    ]
}

fn command(ask: &Ask, cluster: &Cluster) -> Option<Command> {
    let service = ServiceId(0);
    let made = cluster.tasks_created() as u32;
    let id = |raw: u32| (made > 0).then(|| TaskId(raw % made));
    Some(match *ask {
        Ask::Start { deployment, zone } => {
            Command::StartTask { service, deployment, capacity: CapacityId(0), zone: ZoneId(zone) }
        }
        Ask::Stop { task } => Command::StopTask { task: id(task)?, code: StopCode::ServiceSchedulerInitiated },
        Ask::Ends { task } => Command::TaskEnds { task: id(task)?, code: StopCode::EssentialContainerExited },
        Ask::Launched { task } => Command::Launched { task: id(task)? },
        Ask::Advance { task, to } => Command::Advance { task: id(task)?, to: STATES[to] },
        Ask::Pulled { task } => Command::PullEnded { task: id(task)? },
        Ask::Ready { task } => Command::Ready { task: id(task)? },
        Ask::Healthy { task, health } => Command::SetHealth {
            task: id(task)?,
            health: [Health::Unknown, Health::Healthy, Health::Unhealthy][usize::from(health)],
        },
        Ask::Desired { n } => Command::SetDesired { service, desired: n },
        Ask::Deploy { revision } => Command::CreateDeployment { service, revision, rolls_back: None },
        Ask::Traffic { revision, share, rest } => {
            let rest = (0, if rest { 1000_u32.saturating_sub(share) } else { 0 });
            Command::SetTraffic { service, shares: vec![(revision, share), rest] }
        }
        Ask::EndDeployment { failed } => Command::EndDeployment {
            service,
            outcome: if failed { DeploymentOutcome::Failed("asked".into()) } else { DeploymentOutcome::Completed },
        },
    })
}

fn is_healthy(t: &Task) -> bool {
    t.status == TaskStatus::Running && t.stop_code.is_none() && t.health == Health::Healthy
}

fn healthy(cluster: &Cluster) -> u32 {
    cluster.count(ServiceId(0), is_healthy)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_command_breaks_an_invariant(
        asks in proptest::collection::vec(ask(), 1..120),
        desired in 1..10_u32,
        minimum in prop_oneof![Just(0_u32), Just(50), Just(75), Just(100)],
        maximum in prop_oneof![Just(100_u32), Just(125), Just(150), Just(200)],
        stopping_counts in any::<bool>(),
        fleets in any::<bool>(),
    ) {
        let service = ServiceId(0);
        let mut cluster = Cluster::new(3, 1);
        cluster.add_service(desired, minimum, maximum, stopping_counts, Cpu::from_units(256));
        if fleets {
            cluster.use_fleets(service);
        }
        for (step, ask) in asks.iter().enumerate() {
            let Some(command) = command(ask, &cluster) else { continue };
            let before = cluster.clone();
            let mut facts = Vec::new();
            let now = SimTime::from_secs(step as u64);
            let answer = cluster.apply(now, command.clone(), &mut facts);
            if answer.is_err() {
                prop_assert!(facts.is_empty(), "a refused command has no facts");
                prop_assert_eq!(cluster.tasks_created(), before.tasks_created(), "a refused command changes nothing");
                prop_assert_eq!(cluster.services(), before.services());
                continue;
            }
            prop_assert_eq!(cluster.check(), Ok(()));
            let s = cluster.service(service);
            prop_assert_eq!(s.traffic.iter().map(|(_, share)| share).sum::<u32>(), 1000);
            match command {
                // No scheduler action raises the total above the maximum of that instant...
                Command::StartTask { .. } => {
                    let newest = cluster.task(TaskId(cluster.tasks_created() as u32 - 1)).revision;
                    let total = cluster.count(service, |t| {
                        (!fleets || t.revision == newest) && (stopping_counts || t.stop_code.is_none())
                    });
                    prop_assert!(total <= s.max_total(), "{total} tasks, at most {}", s.max_total());
                }
                // ... or lowers the healthy ones below the minimum of that instant.
                Command::StopTask { task, .. } if healthy(&cluster) < healthy(&before) => {
                    prop_assert!(healthy(&cluster) >= s.min_healthy());
                    // Nor those that get traffic, where revisions stand side by side.
                    let serves = |t: &Task| s.share_of(t.revision) > 0;
                    if fleets && serves(cluster.task(task)) {
                        prop_assert!(cluster.count(service, |t| serves(t) && is_healthy(t)) >= s.min_healthy());
                    }
                }
                _ => {}
            }
        }
    }
}

fn go(cluster: &mut Cluster, command: Command) -> Result<Vec<Fact>, Refusal> {
    let mut facts = Vec::new();
    cluster.apply(SimTime::from_secs(1), command, &mut facts).map(|_| facts)
}

fn one_task() -> (Cluster, TaskId) {
    let mut cluster = Cluster::new(3, 1);
    let service = cluster.add_service(1, 100, 200, true, Cpu::from_units(256));
    let start = Command::StartTask { service, deployment: 0, capacity: CapacityId(0), zone: ZoneId(0) };
    go(&mut cluster, start).expect("the first task fits");
    (cluster, TaskId(0))
}

fn walk_up(cluster: &mut Cluster, task: TaskId) {
    for command in [
        Command::Launched { task },
        Command::Advance { task, to: TaskStatus::Pending },
        Command::Advance { task, to: TaskStatus::Activating },
        Command::PullEnded { task },
        Command::Advance { task, to: TaskStatus::Running },
    ] {
        go(cluster, command).expect("one step up");
    }
}

#[test]
fn a_task_walks_up_step_by_step() {
    let (mut cluster, task) = one_task();
    let skip = go(&mut cluster, Command::Advance { task, to: TaskStatus::Running });
    assert_eq!(skip, Err(Refusal::Transition(TaskStatus::Provisioning, TaskStatus::Running)));
    walk_up(&mut cluster, task);
    let out = go(&mut cluster, Command::Advance { task, to: TaskStatus::Stopping });
    assert_eq!(out, Err(Refusal::Transition(TaskStatus::Running, TaskStatus::Stopping)), "no way out without a stop");
}

#[test]
fn the_last_healthy_task_is_not_stopped_at_minimum_100() {
    let (mut cluster, task) = one_task();
    walk_up(&mut cluster, task);
    go(&mut cluster, Command::SetHealth { task, health: Health::Healthy }).expect("known");
    let stop = Command::StopTask { task, code: StopCode::ServiceSchedulerInitiated };
    assert_eq!(go(&mut cluster, stop.clone()), Err(Refusal::BelowMinimum { healthy: 0, min: 1 }));
    go(&mut cluster, Command::SetDesired { service: ServiceId(0), desired: 0 }).expect("known");
    assert!(go(&mut cluster, stop.clone()).is_ok());
    assert_eq!(go(&mut cluster, stop), Err(Refusal::AlreadyStopping));
}
