//! The scheduler on container instances: draining, protection, the choice of what stops, daemons.

use super::*;
use crate::scenario::model::{Binpack, BinpackField, DeploymentConfiguration};
use crate::units::{CapacityId, NodeId, ZoneId};

/// Tasks on instances that are there, one pass at a time.
struct World {
    rules: DeploymentConfiguration,
    placement: Vec<PlacementStrategy>,
    daemon: bool,
    rebalance: bool,
    state: RolloutState,
    obs: SchedulerObservation,
}

impl World {
    /// So many instances in three zones, with one healthy task of revision 0 on each of the first `tasks`.
    fn new(nodes: u32, tasks: u32, minimum: u32, maximum: u32) -> Self {
        let rules = DeploymentConfiguration {
            minimum_healthy_percent: minimum,
            maximum_percent: maximum,
            ..DeploymentConfiguration::default()
        };
        let obs = SchedulerObservation {
            now: SimTime::from_secs(100),
            desired: tasks,
            deployments: Vec::new(),
            tasks: (0..tasks).map(task).collect(),
            provisioning_slots: 100,
            launch_tokens: 100,
            alarms: Vec::new(),
            nodes: (0..nodes).map(node).collect(),
            room: Vec::new(),
        };
        Self { rules, placement: Vec::new(), daemon: false, rebalance: false, state: RolloutState::Completed, obs }
    }

    fn daemon(nodes: u32, tasks: u32) -> Self {
        let mut world = Self::new(nodes, tasks, 0, 200);
        (world.daemon, world.obs.desired) = (true, nodes);
        world
    }

    /// Revision 1 is to take over.
    fn deploy(&mut self) {
        self.state = RolloutState::InProgress;
    }

    fn drain(&mut self, node: u32) {
        for t in self.obs.tasks.iter_mut().filter(|t| t.node == Some(NodeId(node))) {
            t.draining = true;
        }
        self.obs.nodes[node as usize].active = false;
        if self.daemon {
            self.obs.desired -= 1;
        }
    }

    fn pass(&mut self) -> Vec<SchedulerCommand> {
        let at =
            |id, state| DeploymentView { id, revision: id, state, rollback: false, started_at: SimTime::from_secs(10) };
        self.obs.deployments = match self.state {
            RolloutState::Completed => vec![at(0, RolloutState::Completed)],
            state => vec![at(0, RolloutState::Completed), at(1, state)],
        };
        let throttle = RestartThrottle::default();
        let spec = SchedulerSpec {
            deployment: &self.rules,
            throttle: &throttle,
            stopping_counts: true,
            shares: &[Share { capacity: CapacityId(0), base: 0, weight: 1 }],
            zones: 3,
            rebalance: self.rebalance,
            bake_time: SimDuration::ZERO,
            tie_seed: None,
            placement: &self.placement,
            needs: Resources::ZERO,
            daemon: self.daemon,
        };
        decide(&spec, &SchedulerMemory::default(), &self.obs).0
    }
}

fn node(id: u32) -> NodeView {
    NodeView {
        id: NodeId(id),
        capacity: CapacityId(0),
        zone: ZoneId(id % 3),
        active: true,
        others: 0,
        cpu_left: 0,
        memory_left: u64::from(id) * 100,
    }
}

fn task(id: u32) -> TaskView {
    TaskView {
        id: TaskId(id),
        revision: 0,
        capacity: CapacityId(0),
        zone: ZoneId(id % 3),
        status: TaskStatus::Running,
        stopping: false,
        health: Health::Healthy,
        node: Some(NodeId(id)),
        draining: false,
        protected: false,
    }
}

fn stops(commands: &[SchedulerCommand]) -> Vec<(u32, StopReason)> {
    let of = |c: &SchedulerCommand| match c {
        SchedulerCommand::Stop { task, reason } => Some((task.0, *reason)),
        _ => None,
    };
    commands.iter().filter_map(of).collect()
}

/// The instances of the tasks that start; those without one as `None`.
fn starts(commands: &[SchedulerCommand]) -> Vec<Option<u32>> {
    let of = |c: &SchedulerCommand| match c {
        SchedulerCommand::Start { node, .. } => Some(node.map(|n| n.0)),
        _ => None,
    };
    commands.iter().filter_map(of).collect()
}

#[test]
fn a_drain_starts_first_where_nothing_may_be_missing() {
    let mut world = World::new(6, 4, 100, 200);
    world.drain(0);
    world.drain(1);
    let commands = world.pass();
    assert_eq!((starts(&commands).len(), stops(&commands)), (2, vec![]));
    world.obs.tasks.extend([task(4), task(5)]);
    let commands = world.pass();
    assert_eq!(starts(&commands).len(), 0);
    assert_eq!(stops(&commands), [(0, StopReason::Draining), (1, StopReason::Draining)]);
}

#[test]
fn a_drain_stops_first_where_there_is_no_room_for_more() {
    let mut world = World::new(6, 4, 50, 100);
    (0..3).for_each(|n| world.drain(n));
    let commands = world.pass();
    assert_eq!((starts(&commands).len(), stops(&commands).len()), (0, 2));
    world.obs.tasks.retain(|t| t.id.0 > 1);
    assert_eq!(starts(&world.pass()).len(), 2);
}

#[test]
fn pending_tasks_leave_a_draining_instance_at_once_and_protected_ones_stay() {
    let mut world = World::new(4, 4, 0, 200);
    world.obs.tasks[0].status = TaskStatus::Pending;
    world.obs.tasks[1].protected = true;
    (0..3).for_each(|n| world.drain(n));
    let commands = world.pass();
    assert_eq!(stops(&commands), [(0, StopReason::Draining), (2, StopReason::Draining)]);
    assert!(commands.contains(&SchedulerCommand::Held { tasks: 1, by: Hold::Protection }));
    assert_eq!(starts(&commands).len(), 3);
}

#[test]
fn scale_in_and_deployments_pass_protected_tasks_by() {
    let mut world = World::new(4, 4, 0, 200);
    world.obs.desired = 1;
    world.obs.tasks[0].protected = true;
    world.obs.tasks[1].protected = true;
    let commands = world.pass();
    assert_eq!(stops(&commands).iter().map(|s| s.0).collect::<Vec<_>>(), [2, 3]);
    assert!(commands.contains(&SchedulerCommand::Held { tasks: 1, by: Hold::Protection }));

    let mut world = World::new(4, 2, 0, 200);
    world.deploy();
    world.obs.tasks[0].protected = true;
    world.obs.tasks.extend([2, 3].map(|i| TaskView { revision: 1, ..task(i) }));
    let commands = world.pass();
    assert_eq!(stops(&commands), [(1, StopReason::OldRevision)]);
    assert!(commands.contains(&SchedulerCommand::Held { tasks: 1, by: Hold::Protection }));
    world.obs.tasks.remove(1);
    let commands = world.pass();
    assert!(!commands.iter().any(|c| matches!(c, SchedulerCommand::CompleteDeployment { .. })), "{commands:?}");
    world.obs.tasks[0].protected = false;
    assert_eq!(stops(&world.pass()), [(0, StopReason::OldRevision)]);
}

#[test]
fn the_strategy_chooses_what_stops() {
    let mut world = World::new(4, 4, 0, 200);
    world.obs.desired = 2;
    world.placement = vec![PlacementStrategy::Binpack(Binpack { field: BinpackField::Memory })];
    // Where most is left: the instances are numbered by it.
    assert_eq!(stops(&world.pass()), [(3, StopReason::Surplus), (2, StopReason::Surplus)]);
    // Without a strategy the fullest zone, and there the fullest instance.
    world.placement.clear();
    world.obs.desired = 4;
    world.obs.tasks.push(TaskView { id: TaskId(9), node: Some(NodeId(3)), ..task(3) });
    world.obs.tasks[0].zone = ZoneId(0);
    assert_eq!(stops(&world.pass()), [(3, StopReason::Surplus)]);
}

#[test]
fn zones_are_balanced_where_existing_instances_have_room() {
    let mut world = World::new(6, 3, 100, 200);
    world.rebalance = true;
    world.obs.tasks.iter_mut().for_each(|t| t.zone = ZoneId(0));
    assert_eq!(starts(&world.pass()).len(), 2);
    let room = |zone, tasks| ZoneRoom { capacity: CapacityId(0), zone: ZoneId(zone), tasks };
    world.obs.room = vec![room(0, 5), room(1, 1), room(2, 0)];
    assert_eq!(starts(&world.pass()).len(), 1);
    world.obs.room = vec![room(0, 5)];
    assert_eq!(starts(&world.pass()).len(), 0);
    world.obs.room.clear();
    world.obs.tasks[0].protected = true;
    assert_eq!(starts(&world.pass()).len(), 0);
}

#[test]
fn a_daemon_runs_on_each_active_instance() {
    let mut world = World::daemon(3, 2);
    assert_eq!(starts(&world.pass()), [Some(2)]);
    // On a draining one it stops last.
    world.drain(0);
    world.obs.nodes[0].others = 1;
    assert_eq!((stops(&world.pass()), starts(&world.pass())), (vec![], vec![Some(2)]));
    world.obs.nodes[0].others = 0;
    assert_eq!(stops(&world.pass()), [(0, StopReason::Draining)]);
    // A task that is stopping holds its place.
    let mut world = World::daemon(2, 2);
    world.obs.tasks[1].stopping = true;
    assert_eq!(starts(&world.pass()), []);
    world.obs.tasks.pop();
    assert_eq!(starts(&world.pass()), [Some(1)]);
    world.obs.tasks[0].health = Health::Unhealthy;
    assert_eq!(stops(&world.pass()), [(0, StopReason::Unhealthy)]);
}

#[test]
fn a_daemon_is_deployed_by_stopping_first() {
    let mut world = World::daemon(4, 4);
    world.rules.minimum_healthy_percent = 50;
    world.deploy();
    let commands = world.pass();
    assert_eq!((stops(&commands).len(), starts(&commands)), (2, vec![]));
    world.obs.tasks.drain(..2);
    assert_eq!(starts(&world.pass()), [Some(0), Some(1)]);
    world.obs.tasks = (0..4).map(|i| TaskView { revision: 1, ..task(i) }).collect();
    assert!(matches!(world.pass()[..], [SchedulerCommand::CompleteDeployment { deployment: 1, early: false }]));
    // An old task on a draining instance does not hold the deployment up.
    world.obs.tasks[0].revision = 0;
    world.drain(0);
    world.obs.nodes[0].others = 1;
    assert!(matches!(world.pass()[..], [SchedulerCommand::CompleteDeployment { deployment: 1, early: false }]));
}
