//! Speed of Karpenter's scheduling simulation, in CPU seconds a pass and as a ratio to a plain form in the same run.
//!
//! `cargo bench --bench karpenter` prints the table; with `-- --check` it fails when the bound is missed.
//!
//! A pass is 10,000 pending pods of 50 shapes (sizes from 50m to 16 cores; selectors on zone, architecture, market and category; spreading
//! over zones and hosts, zonal and host anti-affinity, preferences) against every type of the catalog in three zones of us-east-1,
//! once for an empty cluster and once for one of 1,000 full nodes, two DaemonSets on each. The rival has no topology: on shapes without any, it
//! keeps for each claim a list of types and looks at every requirement of every type for each pod and claim. Both must open the same claims.
//!
//! Bound: 1 s of CPU a pass with 50 shapes, preparation included.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use jiff::Timestamp;
use simctl::catalog::Catalog;
use simctl::kernel::SimTime;
use simctl::kubernetes::karpenter::disruption::{Memory, Method, Observation, candidates_for, disrupt};
use simctl::kubernetes::karpenter::instance::InstanceType;
use simctl::kubernetes::karpenter::labels::WellKnown;
use simctl::kubernetes::karpenter::launch::Unavailable;
use simctl::kubernetes::karpenter::pool::{NodeClass, NodePool, PoolRequirement};
use simctl::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use simctl::kubernetes::karpenter::scheduling::{Scheduler, Simulation, Target};
use simctl::kubernetes::karpenter::table::{ObservedMemory, TypeTable, catalog_types};
use simctl::kubernetes::karpenter::world::{NodeView, Options, Owner, PendingPod, PodView, World};
use simctl::kubernetes::object::{
    NodeSelectorTerm, Operator, PodAffinityTerm, PodSpec, Requirement, Resources, Selector, SpreadConstraint, Symbols,
    Toleration, WhenUnsatisfiable,
};

const SHAPES: usize = 50;
const PODS: usize = 10_000;
const ROUNDS: usize = 5;
const BOUND_S: f64 = 1.0;

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    let mut slowest: f64 = 0.0;
    println!("Karpenter: {PODS} pending pods of {SHAPES} shapes, the catalog in three zones");
    for nodes in [0, 1_000] {
        let parts = Parts::new(nodes, true);
        let pods = parts.pending(PODS);
        let (mut times, mut last) = (Vec::new(), Simulation::default());
        for _ in 0..ROUNDS {
            let start = worked();
            last = Scheduler::new(parts.world(), &Unavailable::default()).provision(&pods);
            times.push(worked() - start);
        }
        times.sort_by(f64::total_cmp);
        let placed = last.targets.iter().flatten().count();
        let here = last.targets.iter().flatten().filter(|t| matches!(t, Target::Node(_))).count();
        println!(
            "  {nodes:>5} nodes, {} types: {:6.3} s of CPU ({placed} placed, {here} of them on nodes, {} claims, {} types a claim)",
            parts.tables[0].types().len(),
            times[ROUNDS / 2],
            last.claims.len(),
            last.claims.iter().map(|c| c.types.len()).sum::<usize>() / last.claims.len().max(1),
        );
        slowest = slowest.max(times[ROUNDS / 2]);
    }
    let (candidates, time) = disruption();
    println!("  a round of disruption over 1,000 nodes of which none can go: {time:.3} s, {candidates} candidates");
    let parts = Parts::new(0, false);
    let pods = parts.pending(PODS);
    let start = worked();
    let ours = black_box(Scheduler::new(parts.world(), &Unavailable::default()).provision(&pods));
    let middle = worked();
    let theirs = black_box(plain(&parts, &pods));
    let end = worked();
    let claims: Vec<usize> = ours.claims.iter().map(|c| c.pods.len()).collect();
    assert_eq!(claims, theirs, "both open the same claims");
    println!(
        "  without topology: {:.3} s, the plain form {:.3} s, {:.0} times",
        middle - start,
        end - middle,
        (end - middle) / (middle - start)
    );
    println!("  bound {BOUND_S} s");
    if check && slowest > BOUND_S {
        eprintln!("a pass takes {slowest:.3} s of CPU");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A round in which every node is looked at in vain: the pods of each fill a node of the cheapest type that takes them.
fn disruption() -> (usize, f64) {
    let mut parts = Parts::new(1_000, false);
    parts.shapes[0].requests = Resources { cpu_m: 7_000, memory: 26 << 30, pods: 1, ..Resources::default() };
    for (key, value) in [(parts.known.instance_type, "m5.2xlarge"), (parts.known.capacity_type, "on-demand")] {
        let requirement = Requirement { key, operator: Operator::In, values: vec![parts.symbols.intern(value)] };
        parts.pools[0].requirements.push(PoolRequirement { requirement, min_values: None });
    }
    parts.pools[0].disruption.budgets[0].nodes = "100%".to_owned();
    for node in &mut parts.nodes {
        node.pods.retain(|p| p.owner == Owner::DaemonSet);
        node.pods.push(PodView::new(u64::MAX, 0, SimTime::ZERO));
    }
    let unavailable = Unavailable::default();
    let seen = Observation { pending: &[], unavailable: &unavailable, queued: &[], version: 1, most_single: None };
    let start = worked();
    let world = parts.world();
    let found = disrupt(&mut Scheduler::new(world, &unavailable), &mut Memory::default(), &seen);
    let time = worked() - start;
    assert!(found.is_none(), "nothing can go");
    (candidates_for(&world, Method::SingleNode, &[]).len(), time)
}

/// Seconds that this thread has been at work, as the kernel of Linux counts them; elsewhere the clock on the wall.
fn worked() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = said.and_then(|s| s.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()));
    ns.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |ns| ns / 1e9)
}

struct Parts {
    symbols: Symbols,
    known: WellKnown,
    shapes: Vec<PodSpec>,
    pools: Vec<NodePool>,
    tables: Vec<TypeTable>,
    nodes: Vec<NodeView>,
    daemons: Vec<usize>,
}

impl Parts {
    fn new(nodes: usize, topology: bool) -> Self {
        let mut symbols = Symbols::default();
        let known = WellKnown::new(&mut symbols);
        let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
        let seen = ObservedMemory::default();
        let table = catalog_types(
            Catalog::embedded(),
            "us-east-1",
            &zones,
            &NodeClass::default(),
            (&seen, SimTime::ZERO),
            &known,
            &mut symbols,
        );
        let mut shapes: Vec<PodSpec> = (0..SHAPES).map(|i| shape(i, topology, &known, &mut symbols)).collect();
        for cpu_m in [50, 100] {
            let mut daemon = PodSpec::new(symbols.intern("kube-system"));
            daemon.requests = Resources { cpu_m, memory: 128 << 20, pods: 1, ..Resources::default() };
            daemon.tolerations.push(Toleration { key: None, value: None, effect: None });
            shapes.push(daemon);
        }
        let pools = vec![NodePool::new(symbols.intern("default"), 0)];
        let mut parts = Self {
            symbols,
            known,
            shapes,
            pools,
            tables: vec![table],
            nodes: Vec::new(),
            daemons: vec![SHAPES, SHAPES + 1],
        };
        parts.fill(nodes, &zones);
        parts
    }

    /// Nodes of eight cores with seven pods each and room for little.
    fn fill(&mut self, nodes: usize, zones: &[&str]) {
        let name = self.symbols.intern("m5.2xlarge");
        let at = self.tables[0].find(name).expect("the catalog has it");
        let of = self.tables[0].types()[at].clone();
        for n in 0..nodes {
            let name = self.symbols.intern(&format!("ip-{n:05}"));
            let mut node = NodeView::new(name);
            for (key, set) in of.requirements.iter() {
                if let Some(value) = set.single() {
                    node.labels.set(key, value);
                }
            }
            let zone = self.symbols.intern(zones[n % zones.len()]);
            node.labels.set(self.known.zone, zone);
            node.labels.set(self.known.hostname, name);
            node.labels.set(self.known.node_pool, self.pools[0].name);
            node.labels.set(self.known.capacity_type, self.known.capacity_types[2]);
            (node.managed, node.pool, node.instance_type) = (true, Some(0), Some(at));
            node.capacity = of.capacity.clone();
            node.allocatable = of.allocatable().clone();
            for k in 0..7 {
                node.pods.push(PodView::new((n * 16 + k) as u64, (n + k * 7) % SHAPES, SimTime::ZERO));
            }
            for daemon in &self.daemons {
                let mut pod = PodView::new((n * 16 + 8 + daemon) as u64, *daemon, SimTime::ZERO);
                pod.owner = Owner::DaemonSet;
                node.pods.push(pod);
            }
            self.nodes.push(node);
        }
    }

    fn pending(&self, number: usize) -> Vec<PendingPod> {
        let one =
            |n: usize| PendingPod { uid: n as u64, shape: n * 7 % SHAPES, created: SimTime::from_secs(n as u64 / 100) };
        (0..number).map(one).collect()
    }

    fn world(&self) -> World<'_> {
        World {
            now: SimTime::from_secs(1_000),
            start: Timestamp::UNIX_EPOCH,
            symbols: &self.symbols,
            known: &self.known,
            shapes: &self.shapes,
            pools: &self.pools,
            tables: &self.tables,
            nodes: &self.nodes,
            daemons: &self.daemons,
            options: Options::default(),
        }
    }
}

fn shape(i: usize, topology: bool, known: &WellKnown, s: &mut Symbols) -> PodSpec {
    let mut spec = PodSpec::new(s.intern("default"));
    let app = s.intern("app");
    let name = s.intern(&format!("app-{i}"));
    spec.labels.set(app, name);
    spec.requests = Resources {
        cpu_m: [50, 100, 250, 250, 500, 1_000, 2_000, 4_000, 16_000, 3_000][i % 10],
        memory: [128, 256, 512, 512, 2_048, 4_096, 8_192, 24_000][i % 8] << 20,
        pods: 1,
        ..Resources::default()
    };
    let mut select = |key, value: &str| {
        let value = s.intern(value);
        spec.node_selector.push((key, value));
    };
    match i % 6 {
        1 => select(known.arch, "arm64"),
        2 => select(known.zone, ["us-east-1a", "us-east-1b", "us-east-1c"][i / 6 % 3]),
        3 => select(known.capacity_type, "on-demand"),
        4 => select(known.instance_category, ["c", "m", "r"][i / 6 % 3]),
        _ => {}
    }
    if i % 9 == 4 {
        let values = vec![s.intern("8")];
        let expressions = vec![Requirement { key: known.instance_generation, operator: Operator::Gte, values }];
        spec.preferred_node_affinity.push((10, NodeSelectorTerm { expressions, names: Vec::new() }));
    }
    if !topology {
        return spec;
    }
    let own = Selector { requirements: vec![Requirement { key: app, operator: Operator::In, values: vec![name] }] };
    let spread = |topology_key, max_skew, when_unsatisfiable| SpreadConstraint {
        max_skew,
        topology_key,
        when_unsatisfiable,
        selector: Some(own.clone()),
        min_domains: None,
        honor_node_affinity: true,
        honor_node_taints: false,
        match_label_keys: Vec::new(),
    };
    let apart = |topology_key| PodAffinityTerm { topology_key, selector: Some(own.clone()), namespaces: Vec::new() };
    match i % 5 {
        0 => spec.spread.push(spread(known.zone, 1, WhenUnsatisfiable::DoNotSchedule)),
        1 => spec.spread.push(spread(known.hostname, 5, WhenUnsatisfiable::ScheduleAnyway)),
        2 if i.is_multiple_of(2) => spec.required_anti_affinity.push(apart(known.hostname)),
        2 => spec.preferred_anti_affinity.push((50, apart(known.zone))),
        3 => spec.spread.extend([
            spread(known.zone, 2, WhenUnsatisfiable::ScheduleAnyway),
            spread(known.hostname, 20, WhenUnsatisfiable::DoNotSchedule),
        ]),
        _ => {}
    }
    spec
}

/// A claim of the plain form.
struct PlainClaim {
    requirements: Requirements,
    types: Vec<usize>,
    requests: Resources,
    pods: usize,
}

/// First fit decreasing without any memory: pods of each claim, in the order in which claims were opened.
fn plain(parts: &Parts, pods: &[PendingPod]) -> Vec<usize> {
    let (s, known, types) = (&parts.symbols, &parts.known, parts.tables[0].types());
    let mut overhead = Resources::default();
    parts.daemons.iter().for_each(|d| overhead.add(&parts.shapes[*d].requests));
    let mut order: Vec<&PendingPod> = pods.iter().collect();
    order.sort_by_key(|p| {
        let r = &parts.shapes[p.shape].requests;
        (std::cmp::Reverse(r.cpu_m), std::cmp::Reverse(r.memory), p.created, p.uid)
    });
    let pool = parts.pools[0].node_requirements(known, s);
    let mut claims: Vec<PlainClaim> = Vec::new();
    for pod in order {
        let spec = &parts.shapes[pod.shape];
        'forms: for preferred in [true, false] {
            let mut wanted = Requirements::default();
            for (key, value) in &spec.node_selector {
                wanted.add(*key, ValueSet::of([*value]), s);
            }
            if let Some((_, term)) = spec.preferred_node_affinity.first().filter(|_| preferred) {
                wanted.add_term(term, known, s);
            }
            let grown = |requirements: &Requirements, requests: &Resources, from: &[usize]| {
                requirements.incompatible(&wanted, |k| known.is_well_known(k), s).is_none().then(|| {
                    let mut both = requirements.clone();
                    both.add_all(&wanted, s);
                    let mut total = requests.clone();
                    total.add(&spec.requests);
                    let mut beside = total.clone();
                    beside.add(&overhead);
                    let has = |key, value| both.get(key).is_none_or(|set: &ValueSet| set.has(value, s));
                    let fits = |t: &InstanceType| {
                        t.requirements.conflict(&both, s).is_none()
                            && beside.fits(t.allocatable())
                            && t.offerings.iter().any(|o| {
                                has(known.zone, o.zone) && has(known.capacity_type, known.value_of(o.capacity_type))
                            })
                    };
                    let left: Vec<usize> = from.iter().copied().filter(|t| fits(&types[*t])).collect();
                    (both, total, left)
                })
            };
            let mut by_age: Vec<usize> = (0..claims.len()).collect();
            by_age.sort_by_key(|c| claims[*c].pods);
            for c in by_age {
                let claim = &claims[c];
                if let Some((requirements, requests, left)) = grown(&claim.requirements, &claim.requests, &claim.types)
                    && !left.is_empty()
                {
                    claims[c] = PlainClaim { requirements, types: left, requests, pods: claim.pods + 1 };
                    break 'forms;
                }
            }
            let all: Vec<usize> = (0..types.len()).collect();
            if let Some((requirements, requests, left)) = grown(&pool, &Resources::default(), &all)
                && !left.is_empty()
            {
                claims.push(PlainClaim { requirements, types: left, requests, pods: 1 });
                break;
            }
        }
    }
    claims.into_iter().map(|c| c.pods).collect()
}
