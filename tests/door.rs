//! Random commands at the cluster's door: whatever is asked, no invariant breaks.

use proptest::prelude::*;
use simctl::cluster::{
    Cluster, Command, DeploymentOutcome, Fact, Health, Lack, LifeCycle, Market, Needs, NodeEnd, NodeSpec, NodeStatus,
    NodeStep, Refusal, Resources, StopCode, Task, TaskStatus,
};
use simctl::kernel::SimTime;
use simctl::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, TaskId, ZoneId};

/// What is asked, with raw numbers that are folded into the ids that exist.
#[derive(Clone, Debug)]
enum Ask {
    Start { deployment: u32, zone: u32, capacity: u32 },
    Place { task: u32, node: u32 },
    Launch { zone: u32, cpu: u64, memory: u64, enis: u32 },
    Node { node: u32, step: usize },
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

const STEPS: [NodeStep; 11] = [
    NodeStep::InService,
    NodeStep::Register,
    NodeStep::Register,
    NodeStep::Register,
    NodeStep::Warm,
    NodeStep::Wake,
    NodeStep::Drain,
    NodeStep::Activate,
    NodeStep::Protect(true),
    NodeStep::Terminate(NodeEnd::ScaleIn),
    NodeStep::Gone,
];

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        4 => (0..4_u32, 0..4_u32, 0..3_u32)
            .prop_map(|(deployment, zone, capacity)| Ask::Start { deployment, zone, capacity }),
        8 => (any::<u32>(), any::<u32>()).prop_map(|(task, node)| Ask::Place { task, node }),
        2 => (0..4_u32, 1..6_u64, 1..6_u64, 0..4_u32)
            .prop_map(|(zone, cpu, memory, enis)| Ask::Launch { zone, cpu, memory, enis }),
        6 => (any::<u32>(), 0..STEPS.len()).prop_map(|(node, step)| Ask::Node { node, step }),
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
    let nodes = cluster.nodes_launched() as u32;
    let node_id = |raw: u32| (nodes > 0).then(|| NodeId(raw % nodes));
    Some(match *ask {
        Ask::Start { deployment, zone, capacity } => {
            Command::StartTask { service, deployment, capacity: CapacityId(capacity), zone: ZoneId(zone) }
        }
        Ask::Place { task, node } => Command::PlaceTask { task: id(task)?, node: node_id(node)? },
        Ask::Launch { zone, cpu, memory, enis } => Command::LaunchNode(NodeSpec {
            capacity: CapacityId(1),
            zone: ZoneId(zone),
            kind: 0,
            market: Market::Spot,
            offers: Resources { cpu: Cpu::from_units(cpu * 256), memory: Bytes::from_mib(memory * 512), gpus: 1, enis },
        }),
        Ask::Node { node, step } => Command::Node { node: node_id(node)?, step: STEPS[step] },
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
        ports in prop_oneof![Just(vec![]), Just(vec![80]), Just(vec![443, 80])],
        distinct in any::<bool>(),
    ) {
        let service = ServiceId(0);
        let mut cluster = Cluster::new(3, 2);
        cluster.use_nodes(CapacityId(1));
        cluster.add_service(desired, minimum, maximum, stopping_counts, Cpu::from_units(256));
        let resources = Resources { cpu: Cpu::from_units(256), memory: Bytes::from_mib(512), gpus: 0, enis: 1 };
        cluster.set_needs(service, Needs { resources, ports, distinct });
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
                prop_assert_eq!(cluster.nodes_launched(), before.nodes_launched());
                for node in 0..before.nodes_launched() {
                    prop_assert_eq!(cluster.node(node.into()), before.node(node.into()));
                }
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

/// A capacity with one instance of 1 vCPU, 1 GiB and one interface, and a service of small tasks.
fn one_node(ports: Vec<u16>, distinct: bool) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(3, 1);
    cluster.use_nodes(CapacityId(0));
    let service = cluster.add_service(9, 0, 200, true, Cpu::from_units(256));
    let resources = Resources { cpu: Cpu::from_units(256), memory: Bytes::from_mib(300), gpus: 0, enis: 1 };
    cluster.set_needs(service, Needs { resources, ports, distinct });
    let offers = Resources { cpu: Cpu::from_vcpus(1), memory: Bytes::from_gib(1), gpus: 0, enis: 2 };
    let spec = NodeSpec { capacity: CapacityId(0), zone: ZoneId(2), kind: 0, market: Market::OnDemand, offers };
    go(&mut cluster, Command::LaunchNode(spec)).expect("it is launched");
    (cluster, NodeId(0))
}

fn waiting(cluster: &mut Cluster) -> TaskId {
    let start = Command::StartTask { service: ServiceId(0), deployment: 0, capacity: CapacityId(0), zone: ZoneId(0) };
    go(cluster, start).expect("below the maximum");
    let task = TaskId::from(cluster.tasks_created() - 1);
    go(cluster, Command::Launched { task }).expect("it has its slot");
    task
}

fn step(cluster: &mut Cluster, step: NodeStep) -> Result<Vec<Fact>, Refusal> {
    go(cluster, Command::Node { node: NodeId(0), step })
}

#[test]
fn a_task_is_placed_only_where_there_is_room() {
    let (mut cluster, node) = one_node(Vec::new(), false);
    let task = waiting(&mut cluster);
    let place = |task| Command::PlaceTask { task, node };
    assert_eq!(go(&mut cluster, place(task)), Err(Refusal::OutOfTurn), "the agent has not registered");
    let early = go(&mut cluster, Command::Advance { task, to: TaskStatus::Pending });
    assert_eq!(early, Err(Refusal::Transition(TaskStatus::Provisioning, TaskStatus::Pending)), "nowhere to run");
    step(&mut cluster, NodeStep::Register).expect("pending instances register");
    assert_eq!(go(&mut cluster, place(task)), Ok(vec![Fact::TaskPlaced(task, node)]));
    assert_eq!(cluster.task(task).zone, ZoneId(2), "a task is where its instance is");
    let second = waiting(&mut cluster);
    go(&mut cluster, place(second)).expect("there are two interfaces");
    let third = waiting(&mut cluster);
    assert_eq!(go(&mut cluster, place(third)), Err(Refusal::NoRoom(Lack::Eni)));
    // What a task holds is free again when it is STOPPED.
    go(&mut cluster, Command::TaskEnds { task, code: StopCode::TaskFailedToStart }).expect("it runs");
    assert_eq!(go(&mut cluster, place(third)), Err(Refusal::NoRoom(Lack::Eni)));
    let gone = go(&mut cluster, Command::Advance { task, to: TaskStatus::Stopped }).expect("it stops");
    assert_eq!(gone, [Fact::TaskStatus(task, TaskStatus::Stopped), Fact::TaskFreed(task, node)]);
    assert!(go(&mut cluster, place(third)).is_ok());
    assert_eq!(cluster.check(), Ok(()));
}

#[test]
fn ports_and_distinct_instances_are_kept() {
    for (ports, distinct, lack) in [(vec![80], false, Lack::Ports), (Vec::new(), true, Lack::Distinct)] {
        let (mut cluster, node) = one_node(ports, distinct);
        step(&mut cluster, NodeStep::Register).expect("it registers");
        let (first, second) = (waiting(&mut cluster), waiting(&mut cluster));
        go(&mut cluster, Command::PlaceTask { task: first, node }).expect("the first fits");
        assert_eq!(go(&mut cluster, Command::PlaceTask { task: second, node }), Err(Refusal::NoRoom(lack)));
    }
}

#[test]
fn an_instance_is_gone_only_when_its_containers_have_ended() {
    let (mut cluster, node) = one_node(Vec::new(), false);
    step(&mut cluster, NodeStep::InService).expect("it was pending");
    step(&mut cluster, NodeStep::Register).expect("once");
    assert_eq!(step(&mut cluster, NodeStep::Register), Err(Refusal::OutOfTurn));
    let task = waiting(&mut cluster);
    go(&mut cluster, Command::PlaceTask { task, node }).expect("it fits");
    step(&mut cluster, NodeStep::Drain).expect("it was ACTIVE");
    let late = waiting(&mut cluster);
    assert_eq!(go(&mut cluster, Command::PlaceTask { task: late, node }), Err(Refusal::OutOfTurn));
    assert_eq!(step(&mut cluster, NodeStep::Gone), Err(Refusal::OutOfTurn), "not terminating");
    step(&mut cluster, NodeStep::Terminate(NodeEnd::ScaleIn)).expect("it was in service");
    assert_eq!(step(&mut cluster, NodeStep::Gone), Err(Refusal::OutOfTurn), "a task runs there");
    go(&mut cluster, Command::TaskEnds { task, code: StopCode::TerminationNotice }).expect("it runs");
    go(&mut cluster, Command::Advance { task, to: TaskStatus::Stopped }).expect("it stops");
    step(&mut cluster, NodeStep::Gone).expect("nothing runs there any more");
    let n = cluster.node(node);
    assert_eq!((n.life, n.status, n.end), (LifeCycle::Terminated, NodeStatus::Inactive, Some(NodeEnd::ScaleIn)));
    assert_eq!(cluster.nodes_of(CapacityId(0)).count(), 0);
    assert_eq!(cluster.check(), Ok(()));
}
