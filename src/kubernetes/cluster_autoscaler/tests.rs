//! Loops over small clusters.

use super::drain::{Drain, DrainFailure, DrainStep, Remaining};
use super::*;
use crate::kubernetes::object::PodSpec;
use crate::kubernetes::scheduler::Profile;

const GIB: i64 = 1 << 30;

/// A cluster of two node groups (4 and 16 cores) and pods of one core.
struct World {
    scheduler: Scheduler,
    groups: Vec<NodeGroup>,
    nodes: Vec<NodeState>,
    pending: Vec<PendingPod>,
    unregistered: Vec<Unregistered>,
    budgets: Vec<i32>,
    facts: BTreeMap<PodKey, PodFacts>,
    memory: Memory,
    settings: Settings,
    shape: ShapeId,
    next_pod: u64,
    now: SimTime,
}

fn amounts(cores: i64) -> Resources {
    Resources { cpu_m: cores * 1000, memory: cores * 4 * GIB, pods: 110, ..Resources::default() }
}

impl World {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(Profile::default());
        let symbols = scheduler.symbols_mut();
        let namespace = symbols.intern("default");
        let names = [symbols.intern("small"), symbols.intern("large")];
        let mut spec = PodSpec::new(namespace);
        (spec.requests.cpu_m, spec.requests.memory) = (1000, GIB);
        (spec.score_cpu_m, spec.score_memory) = (1000, GIB);
        let shape = scheduler.add_shape(spec);
        let group = |id: u32, cores: i64| NodeGroup {
            id: GroupId(id),
            name: ["small", "large"][id as usize].to_owned(),
            min_size: 0,
            max_size: 10,
            target_size: 0,
            template: Node::new(names[id as usize], amounts(cores)),
            capacity: amounts(cores),
            daemon_pods: Vec::new(),
            price_per_hour: cores as f64 * 0.05,
            gpu: None,
        };
        let groups = vec![group(0, 4), group(1, 16)];
        Self {
            scheduler,
            groups,
            nodes: Vec::new(),
            pending: Vec::new(),
            unregistered: Vec::new(),
            budgets: Vec::new(),
            facts: BTreeMap::new(),
            memory: Memory::default(),
            settings: Settings::default(),
            shape,
            next_pod: 0,
            now: SimTime::from_secs(10_000),
        }
    }

    fn node(&mut self, group: u32, pods: u32) -> NodeKey {
        let key = NodeKey(self.nodes.len() as u64);
        let name = self.scheduler.symbols_mut().intern(&format!("node-{}", key.0));
        let node = Node { name, ..self.groups[group as usize].template.clone() };
        let id = self.scheduler.add_node(node);
        for _ in 0..pods {
            self.next_pod += 1;
            self.scheduler.place(PodKey(self.next_pod), self.shape, id, SimTime::ZERO);
        }
        self.groups[group as usize].target_size += 1;
        self.nodes.push(NodeState {
            key,
            node: id,
            group: Some(GroupId(group)),
            ready: true,
            created: SimTime::ZERO,
            deleted: false,
            scale_down_disabled: false,
        });
        key
    }

    fn wait(&mut self, pods: u32, age_s: u64) {
        for _ in 0..pods {
            self.next_pod += 1;
            let created = self.now.saturating_sub(SimDuration::from_secs(age_s));
            self.pending.push(PendingPod { pod: PodKey(self.next_pod), shape: self.shape, created, nominated: None });
        }
    }

    fn scan(&mut self) -> Scan {
        let facts = |pod: PodKey| self.facts.get(&pod).cloned().unwrap_or_default();
        let see = Observation {
            scheduler: &self.scheduler,
            groups: &self.groups,
            nodes: &self.nodes,
            unregistered: &self.unregistered,
            creation_errors: &[],
            pending: &self.pending,
            facts: &facts,
            budgets: &self.budgets,
            draw: 7,
            now: self.now,
        };
        let scan = scan(&self.settings, &self.memory, &see);
        self.memory = scan.memory.clone();
        for resize in &scan.resizes {
            self.groups[resize.group.0 as usize].target_size = resize.to;
        }
        scan
    }

    fn pass(&mut self, time: SimDuration) {
        self.now = self.now.saturating_add(time);
    }
}

#[test]
fn the_group_that_wastes_least_grows_and_upcoming_nodes_are_counted() {
    let mut world = World::new();
    world.wait(8, 60);
    let scan = world.scan();
    // Eight pods of one core: two nodes of four cores, or half of one of sixteen.
    let Scan { scale_up: ScaleUpResult::Grown { group, nodes, pods, .. }, resizes, .. } = &scan else {
        panic!("{scan:?}")
    };
    assert_eq!((*group, *nodes, *pods), (GroupId(0), 2, 8));
    assert_eq!(resizes[..], [Resize { group: GroupId(0), from: 0, to: 2, why: ResizeReason::Pods }]);
    world.pass(world.settings.scan_interval);
    assert_eq!(world.scan().scale_up, ScaleUpResult::NotNeeded, "they will fit the awaited nodes");
    world.wait(3, 1);
    assert_eq!(world.scan().scale_up, ScaleUpResult::PodsTooNew(3));
}

#[test]
fn each_expander_chooses_by_its_own_measure() {
    let grown = |expander: Expander| {
        let mut world = World::new();
        world.settings.expanders = vec![expander];
        world.wait(8, 60);
        match world.scan().scale_up {
            ScaleUpResult::Grown { group, nodes, .. } => (group.0, nodes),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(grown(Expander::LeastNodes), (1, 1));
    assert_eq!(grown(Expander::Price(PodPrices::default())).0, 0);
    assert_eq!(
        grown(Expander::Priority(Priorities(vec![(10, vec!["^la".to_owned()]), (1, vec![".*".to_owned()])]))),
        (1, 1)
    );
    // Both groups help all pods: the draw decides.
    assert_eq!(grown(Expander::MostPods).0, 0);
    assert!(pattern_is_valid("^a.*$") && !pattern_is_valid("("));
}

#[test]
fn limits_and_similar_groups() {
    let mut world = World::new();
    world.groups[1] = NodeGroup { id: GroupId(1), name: "twin".to_owned(), ..world.groups[0].clone() };
    world.settings.balance_similar_node_groups = true;
    world.wait(16, 60);
    let scan = world.scan();
    assert_eq!(scan.resizes.iter().map(|r| r.to).collect::<Vec<_>>(), [2, 2], "{scan:?}");
    let mut limited = World::new();
    limited.settings.max_nodes_total = 1;
    limited.wait(16, 60);
    let scan = limited.scan();
    assert_eq!(scan.resizes.iter().map(|r| r.to - r.from).sum::<u32>(), 1);
    let mut full = World::new();
    full.groups.iter_mut().for_each(|g| g.max_size = 0);
    full.wait(1, 60);
    let considered = vec![(GroupId(0), Considered::MaxSizeReached), (GroupId(1), Considered::MaxSizeReached)];
    assert_eq!(full.scan().scale_up, ScaleUpResult::NoOptions { pods: 1, considered });
}

#[test]
fn a_group_whose_nodes_never_come_rests_and_another_grows() {
    let mut world = World::new();
    world.settings.expanders = vec![Expander::LeastNodes];
    world.wait(8, 60);
    world.scan();
    assert_eq!(world.groups[1].target_size, 1);
    world.pass(world.settings.scan_interval);
    world.scan();
    world.pass(SimDuration::from_secs(15 * 60 + 1));
    let scan = world.scan();
    assert_eq!(scan.resizes[0], Resize { group: GroupId(1), from: 1, to: 0, why: ResizeReason::NeverCame });
    let ScaleUpResult::Grown { group, considered, .. } = scan.scale_up else { panic!("{scan:?}") };
    assert_eq!((group, considered[1]), (GroupId(0), (GroupId(1), Considered::Backoff)));
    assert_eq!(world.memory.backoff[&GroupId(1)].duration, SimDuration::from_mins(5));
}

#[test]
fn empty_nodes_go_together_and_full_ones_one_by_one_after_ten_minutes() {
    let mut world = World::new();
    let (empty_a, empty_b) = (world.node(0, 0), world.node(0, 0));
    let (light, other) = (world.node(0, 1), world.node(0, 1));
    let busy = world.node(0, 3);
    let first = world.scan();
    assert_eq!(first.scale_down, ScaleDownResult::NothingToDelete);
    assert!(world.memory.unneeded.contains_key(&empty_a), "{first:?}");
    world.pass(SimDuration::from_secs(601));
    let scan = world.scan();
    assert_eq!(scan.scale_down, ScaleDownResult::Started);
    let gone: Vec<NodeKey> = scan.deletions.iter().map(|d| d.node).collect();
    assert_eq!(gone[..2], [empty_a, empty_b]);
    assert_eq!(gone.len(), 3, "one drain at a time: {scan:?}");
    assert!([light, other].contains(&gone[2]) && scan.deletions[2].pods.len() == 1);
    let why = scan.unremovable.iter().find(|(node, _)| *node == busy).map(|(_, why)| why);
    assert!(matches!(why, Some(Unremovable::NotUnderutilized(u)) if u.value() == 0.75), "{why:?}");
    world.pass(world.settings.scan_interval);
    assert!(world.scan().deletions.is_empty(), "the drain goes on");
}

#[test]
fn pods_hold_their_nodes_and_interruptions_reset_the_clock() {
    let mut world = World::new();
    let held = world.node(0, 1);
    world.node(0, 3);
    let reason = |world: &mut World| {
        world.memory.unremovable.clear();
        world.scan().unremovable.into_iter().find(|(node, _)| *node == held).map(|(_, why)| why)
    };
    let pod = PodKey(1);
    let facts =
        |owner, local_storage, budgets: Vec<usize>| PodFacts { owner, local_storage, budgets, ..PodFacts::default() };
    world.facts.insert(pod, facts(Owner::Nobody, false, vec![]));
    assert_eq!(reason(&mut world), Some(Unremovable::BlockedByPod(pod, Blocking::NotReplicated)));
    world.facts.insert(pod, facts(Owner::Controller, true, vec![]));
    assert_eq!(reason(&mut world), Some(Unremovable::BlockedByPod(pod, Blocking::LocalStorage)));
    world.budgets = vec![0];
    world.facts.insert(pod, facts(Owner::Controller, false, vec![0]));
    assert_eq!(reason(&mut world), Some(Unremovable::BlockedByPod(pod, Blocking::NotEnoughPdb)));
    world.budgets = vec![1];
    let since = world.now;
    assert_eq!(reason(&mut world), Some(Unremovable::NotUnneededLongEnough(since)));
    world.budgets = vec![0];
    world.pass(SimDuration::from_secs(300));
    reason(&mut world);
    world.budgets = vec![1];
    let later = world.now;
    assert_eq!(reason(&mut world), Some(Unremovable::NotUnneededLongEnough(later)));
    world.groups[0].min_size = 2;
    world.pass(SimDuration::from_secs(601));
    assert_eq!(reason(&mut world), Some(Unremovable::NodeGroupMinSizeReached));
}

#[test]
fn a_node_stays_where_its_pods_have_no_other_place() {
    let mut world = World::new();
    let (a, b) = (world.node(0, 2), world.node(0, 2));
    world.settings.scale_down_utilization_threshold = 0.6;
    let scan = world.scan();
    // Either could take the other's pods, but not both.
    assert_eq!(world.memory.unneeded.len(), 1, "{scan:?}");
    let stays = if world.memory.unneeded.contains_key(&a) { b } else { a };
    assert!(
        scan.unremovable.iter().any(|(node, why)| *node == stays && matches!(why, Unremovable::NoPlaceToMovePods(_)))
    );
}

#[test]
fn too_many_unready_nodes_stop_everything() {
    let mut world = World::new();
    for _ in 0..8 {
        world.node(0, 0);
    }
    world.nodes[..4].iter_mut().for_each(|n| n.ready = false);
    world.wait(40, 60);
    let scan = world.scan();
    assert!(scan.unhealthy && scan.resizes.is_empty());
    world.nodes[0].ready = true;
    assert!(!world.scan().unhealthy, "three may be unready in any case");
}

#[test]
fn a_drain_asks_again_and_gives_up() {
    let settings = Settings::default();
    let at = SimTime::from_secs;
    let remaining = |terminating| [Remaining { pod: PodKey(1), terminating, grace: SimDuration::from_secs(30) }];
    let mut drain = Drain::new(false, at(0));
    assert_eq!(drain.step(&settings, &remaining(false), at(0)), DrainStep::Wait(at(5)));
    assert_eq!(drain.step(&settings, &remaining(false), at(5)), DrainStep::Evict(vec![PodKey(1)], at(15)));
    assert_eq!(drain.step(&settings, &remaining(false), at(6)), DrainStep::Wait(at(15)));
    assert_eq!(drain.step(&settings, &remaining(false), at(15)), DrainStep::Evict(vec![PodKey(1)], at(25)));
    let mut refused = drain.clone();
    let failed = DrainStep::Fail(DrainFailure::EvictionRefused(PodKey(1)));
    assert_eq!(refused.step(&settings, &remaining(false), at(125)), failed);
    assert_eq!(drain.step(&settings, &remaining(true), at(16)), DrainStep::Wait(at(76)));
    assert_eq!(drain.step(&settings, &[], at(50)), DrainStep::Delete);
    assert_eq!(Drain::new(true, at(0)).step(&settings, &[], at(5)), DrainStep::Delete);
}
