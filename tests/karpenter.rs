//! Karpenter held against its own rules, in worlds drawn at random: every place is checked by plain code, every pod without a place
//! has a reason that is checked again, and consolidation never makes the cluster dearer.

use jiff::Timestamp;
use proptest::prelude::*;
use simctl::kernel::{Draw, SimTime};
use simctl::kubernetes::karpenter::disruption::{Command, Memory, Method, Observation, disrupt, validate};
use simctl::kubernetes::karpenter::instance::{CapacityType, InstanceType, Offering, Overhead};
use simctl::kubernetes::karpenter::labels::WellKnown;
use simctl::kubernetes::karpenter::launch::{Depth, Unavailable, launch, node_labels};
use simctl::kubernetes::karpenter::pool::{Budget, ConsolidationPolicy, NodePool, PoolRequirement};
use simctl::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use simctl::kubernetes::karpenter::scheduling::{
    Refusal, Scheduler, Simulation, Target, TopologyKind, Unplaced, relaxations,
};
use simctl::kubernetes::karpenter::table::TypeTable;
use simctl::kubernetes::karpenter::world::{NodeView, Options, PendingPod, PodView, World};
use simctl::kubernetes::object::{
    Effect, Operator, PodAffinityTerm, PodSpec, Requirement, Resources, Selector, SpreadConstraint, Symbol, Symbols,
    Taint, Toleration, WhenUnsatisfiable,
};
use simctl::units::Usd;

struct Parts {
    symbols: Symbols,
    known: WellKnown,
    shapes: Vec<PodSpec>,
    pools: Vec<NodePool>,
    tables: Vec<TypeTable>,
    nodes: Vec<NodeView>,
    daemons: Vec<usize>,
    pending: Vec<PendingPod>,
    unavailable: Unavailable,
    options: Options,
    /// Nodes that were ever named.
    named: usize,
}

/// Numbers drawn one after the other.
struct Dice(u64, u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.1 += 1;
        Draw::new(self.0).of(self.1).bits() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const ZONES: [&str; 3] = ["za", "zb", "zc"];

impl Parts {
    fn drawn(seed: u64) -> Self {
        let (mut s, mut dice) = (Symbols::default(), Dice(seed, 0));
        let known = WellKnown::new(&mut s);
        let zones = ZONES.map(|z| s.intern(z));
        let mut types = Vec::new();
        for n in 0..4 + dice.below(8) {
            let cores = [1, 2, 4, 8, 16][dice.below(5) as usize];
            let name = s.intern(&format!("type-{n:02}"));
            let arch = s.intern(if dice.one_in(3) { "arm64" } else { "amd64" });
            let mut offerings = Vec::new();
            for zone in zones {
                for capacity_type in [CapacityType::Spot, CapacityType::OnDemand] {
                    let share = if capacity_type == CapacityType::Spot { 30 + dice.below(60) as i64 } else { 100 };
                    let price = Usd::from_nanos(cores * 500_000 * share + dice.below(1_000) as i64);
                    if !dice.one_in(5) {
                        offerings.push(Offering { zone, capacity_type, price, available: !dice.one_in(8) });
                    }
                }
            }
            let mut labels = Requirements::default();
            labels.set(known.instance_type, ValueSet::of([name]));
            labels.set(known.arch, ValueSet::of([arch]));
            labels.set(known.zone, ValueSet::of(offerings.iter().map(|o| o.zone)));
            labels.set(known.capacity_type, ValueSet::of(offerings.iter().map(|o| known.value_of(o.capacity_type))));
            let capacity = Resources {
                cpu_m: cores * 1_000,
                memory: cores << 32,
                pods: 3 + dice.below(20) as i64,
                ..Resources::default()
            };
            let kube_reserved = Resources { cpu_m: 80, memory: 1 << 28, ..Resources::default() };
            let overhead = Overhead { kube_reserved, ..Overhead::default() };
            types.push(InstanceType::new(name, labels, capacity, overhead, offerings, &s));
        }
        let tables = vec![TypeTable::new(types, &s)];
        let red = Taint { key: s.intern("colour"), value: s.intern("red"), effect: Effect::NoSchedule };
        let mut pools = Vec::new();
        for n in 0..1 + dice.below(3) {
            let mut pool = NodePool::new(s.intern(&format!("pool-{n}")), 0);
            pool.weight = dice.below(3) as i32;
            if dice.one_in(4) {
                pool.taints
                    .push(Taint { effect: if dice.one_in(2) { Effect::PreferNoSchedule } else { red.effect }, ..red });
            }
            let mut require = |key, values: Vec<Symbol>, min_values| {
                let requirement = Requirement { key, operator: Operator::In, values };
                pool.requirements.push(PoolRequirement { requirement, min_values });
            };
            match dice.below(5) {
                0 => require(known.arch, vec![s.intern("amd64")], None),
                1 => require(known.zone, vec![zones[0], zones[1]], None),
                2 => require(known.capacity_type, vec![known.value_of(CapacityType::OnDemand)], None),
                3 if dice.one_in(3) => {
                    let all = tables[0].types().iter().map(|t| t.name).collect();
                    require(known.instance_type, all, Some(2));
                }
                _ => {}
            }
            if dice.one_in(4) {
                pool.limits.cpu_m = Some(4_000 + 1_000 * dice.below(40) as i64);
            }
            if dice.one_in(5) {
                pool.limits.nodes = Some(dice.below(4) as i64);
            }
            pool.disruption.budgets = vec![Budget { nodes: "100%".to_owned(), ..Budget::default() }];
            pool.disruption.consolidation_policy = match dice.below(4) {
                0 => ConsolidationPolicy::Balanced,
                _ => ConsolidationPolicy::WhenEmptyOrUnderutilized,
            };
            pools.push(pool);
        }
        let mut shapes: Vec<PodSpec> = (0..6).map(|n| drawn_shape(n, &known, red, &mut s, &mut dice)).collect();
        let mut daemons = Vec::new();
        if dice.one_in(2) {
            let mut daemon = PodSpec::new(s.intern("kube-system"));
            daemon.requests.cpu_m = 100;
            daemon.tolerations.push(Toleration { key: None, value: None, effect: None });
            daemons.push(shapes.len());
            shapes.push(daemon);
        }
        let pending = (0..dice.below(60))
            .map(|uid| PendingPod { uid, shape: dice.below(6) as usize, created: SimTime::from_secs(uid / 7) })
            .collect();
        let mut unavailable = Unavailable::default();
        for t in tables[0].types() {
            if dice.one_in(6) {
                unavailable.mark(CapacityType::Spot, t.name, zones[dice.below(3) as usize], SimTime::from_secs(90));
            }
        }
        let options = Options { spot_to_spot: dice.one_in(2), ..Options::default() };
        Self {
            symbols: s,
            known,
            shapes,
            pools,
            tables,
            nodes: Vec::new(),
            daemons,
            pending,
            unavailable,
            options,
            named: 0,
        }
    }

    fn world(&self) -> World<'_> {
        World {
            now: SimTime::from_secs(100),
            start: Timestamp::UNIX_EPOCH,
            symbols: &self.symbols,
            known: &self.known,
            shapes: &self.shapes,
            pools: &self.pools,
            tables: &self.tables,
            nodes: &self.nodes,
            daemons: &self.daemons,
            options: self.options,
        }
    }

    fn provision(&self, pending: &[PendingPod]) -> Simulation {
        Scheduler::new(self.world(), &self.unavailable).provision(pending)
    }

    /// Launches the claims and binds the pods, as the cluster would; pods without a place are left out.
    fn carry_out(&mut self, simulation: &Simulation, dice: &mut Dice) {
        let mut names = Vec::new();
        for n in 0..simulation.claims.len() {
            names.push(self.symbols.intern(&format!("node-{:04}", self.named + n)));
        }
        self.named += names.len();
        let first = self.nodes.len();
        let mut unavailable = self.unavailable.clone();
        let mut made = Vec::new();
        let world = self.world();
        for (claim, name) in simulation.claims.iter().zip(names) {
            let depth = |_: usize, _: Symbol, _: CapacityType| if dice.one_in(4) { Depth::Empty } else { Depth::Deep };
            made.push(launch(&world, claim, &mut unavailable, depth).ok().map(|got| {
                let of = &world.tables[0].types()[got.instance_type];
                let mut node = NodeView::new(name);
                node.labels = node_labels(&world, claim, &got, name);
                (node.capacity, node.allocatable) = (of.capacity.clone(), of.allocatable().clone());
                (node.managed, node.pool, node.taints) = (true, Some(claim.pool), claim.taints.clone());
                (node.instance_type, node.capacity_type) = (Some(got.instance_type), got.capacity_type);
                assert_eq!(world.node_price(&node), got.price, "a node costs what was launched");
                node
            }));
        }
        let mut place = Vec::new();
        for node in made {
            place.push(node.map(|node| {
                self.nodes.push(node);
                self.nodes.len() - 1
            }));
        }
        self.unavailable = unavailable;
        for (pod, target) in simulation.pods.iter().zip(&simulation.targets) {
            let at = match target {
                Some(Target::Node(n)) => Some(*n),
                Some(Target::Claim(c)) => place[*c],
                None => None,
            };
            if let Some(at) = at {
                assert!(at < first || at < self.nodes.len());
                self.nodes[at].pods.push(PodView::new(pod.uid, pod.shape, pod.created));
            }
        }
    }
}

fn drawn_shape(n: usize, known: &WellKnown, red: Taint, s: &mut Symbols, dice: &mut Dice) -> PodSpec {
    let mut spec = PodSpec::new(s.intern("default"));
    let app = s.intern("app");
    let name = s.intern(&format!("app-{}", n % 3));
    spec.labels.set(app, name);
    spec.requests.cpu_m = [100, 300, 900, 2_000, 5_000, 40_000][dice.below(6) as usize];
    spec.requests.memory = (1 << 28) * (1 + dice.below(12) as i64);
    if dice.one_in(3) {
        spec.tolerations.push(Toleration { key: Some(red.key), value: None, effect: None });
    }
    match dice.below(8) {
        0 => spec.node_selector.push((known.arch, s.intern("arm64"))),
        1 => spec.node_selector.push((known.zone, s.intern(ZONES[dice.below(3) as usize]))),
        2 => spec.node_selector.push((known.capacity_type, s.intern("spot"))),
        3 if dice.one_in(2) => spec.node_selector.push((s.intern("team"), s.intern("blue"))),
        4 if dice.one_in(2) => spec.node_selector.push((known.hostname, s.intern("node-0000"))),
        _ => {}
    }
    let own = Selector { requirements: vec![Requirement { key: app, operator: Operator::In, values: vec![name] }] };
    let other = s.intern(&format!("app-{}", (n + 1) % 3));
    let others = Selector { requirements: vec![Requirement { key: app, operator: Operator::In, values: vec![other] }] };
    let term = |topology_key, selector: &Selector| PodAffinityTerm {
        topology_key,
        selector: Some(selector.clone()),
        namespaces: Vec::new(),
    };
    match dice.below(9) {
        0 | 1 => spec.spread.push(SpreadConstraint {
            max_skew: 1 + dice.below(2) as i64,
            topology_key: if dice.one_in(3) { known.hostname } else { known.zone },
            when_unsatisfiable: if dice.one_in(3) {
                WhenUnsatisfiable::ScheduleAnyway
            } else {
                WhenUnsatisfiable::DoNotSchedule
            },
            selector: Some(own),
            min_domains: dice.one_in(4).then_some(3),
            honor_node_affinity: true,
            honor_node_taints: false,
            match_label_keys: Vec::new(),
        }),
        2 => spec.required_anti_affinity.push(term(known.hostname, &own)),
        3 => spec.required_anti_affinity.push(term(known.zone, &own)),
        4 => spec.required_affinity.push(term(known.zone, &others)),
        5 => spec.required_affinity.push(term(known.hostname, &own)),
        6 => spec.preferred_anti_affinity.push((10, term(known.zone, &others))),
        _ => {}
    }
    spec
}

/// What a pod demands of labels in one of its forms, the way the API says it, preferences left out: these worlds draw none.
fn demands(parts: &Parts, spec: &PodSpec) -> Requirements {
    let mut all = Requirements::default();
    for (key, value) in &spec.node_selector {
        all.add(*key, ValueSet::of([*value]), &parts.symbols);
    }
    all
}

fn daemon_overhead(parts: &Parts) -> Resources {
    let mut all = Resources::default();
    parts.daemons.iter().for_each(|d| all.add(&parts.shapes[*d].requests));
    all
}

/// Whether a type can be had under requirements.
fn offered(parts: &Parts, of: &InstanceType, wanted: &Requirements) -> bool {
    let has = |key, value| wanted.get(key).is_none_or(|set: &ValueSet| set.has(value, &parts.symbols));
    of.offerings.iter().any(|o| {
        o.available
            && has(parts.known.zone, o.zone)
            && has(parts.known.capacity_type, parts.known.value_of(o.capacity_type))
            && !parts.unavailable.is_unavailable(o.capacity_type, of.name, o.zone, parts.world().now)
    })
}

/// Types that a new node of a pool could be of for one pod: labels, offering and room are right.
fn fitting(parts: &Parts, wanted: &Requirements, spec: &PodSpec) -> Vec<usize> {
    let mut requests = daemon_overhead(parts);
    requests.add(&spec.requests);
    let suits = |t: &InstanceType| {
        t.requirements.conflict(wanted, &parts.symbols).is_none()
            && offered(parts, t, wanted)
            && requests.fits(t.allocatable())
    };
    let types = parts.tables[0].types().iter().enumerate();
    types.filter(|(_, t)| suits(t)).map(|(at, _)| at).collect()
}

/// Where a pod is, by the domains of a label.
struct Whereabouts {
    shape: usize,
    /// All domains in which it may be.
    may: Vec<Symbol>,
    /// The one in which it is, if that is known. Pods on a claim that was pinned only after they had come are not counted, so that
    /// for claims this is an upper bound.
    at: Option<Symbol>,
    /// Whether it is on a node, where there is no doubt.
    on_node: bool,
}

fn whereabouts(parts: &Parts, simulation: &Simulation, key: Symbol) -> Vec<Whereabouts> {
    let mut all = Vec::new();
    let on = |shape: usize, node: &NodeView| {
        let at = node.labels.get(key);
        Whereabouts { shape, may: at.into_iter().collect(), at, on_node: true }
    };
    for node in &parts.nodes {
        all.extend(node.pods.iter().map(|p| on(p.shape, node)));
    }
    for (pod, target) in simulation.pods.iter().zip(&simulation.targets) {
        match target {
            Some(Target::Node(n)) => all.push(on(pod.shape, &parts.nodes[*n])),
            Some(Target::Claim(c)) => {
                let at = simulation.claims[*c].requirements.get(key).and_then(ValueSet::single);
                // When the pod came the claim could have ended anywhere, whatever came to it since.
                let may = parts.tables[0].zones().to_vec();
                all.push(Whereabouts { shape: pod.shape, may, at, on_node: false });
            }
            None => {}
        }
    }
    all
}

/// Whether a refusal of a pool is true of the state that the simulation ended in.
fn holds(parts: &Parts, simulation: &Simulation, spec: &PodSpec, pool: usize, refusal: &Refusal) -> Result<(), String> {
    let of = &parts.pools[pool];
    let own = of.node_requirements(&parts.known, &parts.symbols);
    let wanted = demands(parts, spec);
    let mut both = own.clone();
    both.add_all(&wanted, &parts.symbols);
    let left = &simulation.remaining[pool];
    let in_limits = |at: &usize| left.allow(&parts.tables[0].types()[*at].capacity);
    let has_topology = !spec.spread.is_empty()
        || !spec.required_affinity.is_empty()
        || !spec.preferred_anti_affinity.is_empty()
        || parts.shapes.iter().any(|s| !s.required_anti_affinity.is_empty());
    let yes = match refusal {
        Refusal::Taint(taint) => of.taints.contains(taint) && !spec.tolerates(taint),
        Refusal::Requirement(key) => {
            let undefined = own.get(*key).is_none() && !parts.known.is_well_known(*key);
            let apart =
                own.get(*key).zip(wanted.get(*key)).is_some_and(|(a, b)| a.intersection(b, &parts.symbols).is_empty());
            wanted.get(*key).is_some() && (undefined || apart)
        }
        Refusal::NodeLimit => left.nodes.is_some_and(|n| n < 1),
        Refusal::Limits => !(0..parts.tables[0].types().len()).any(|at| {
            in_limits(&at) && {
                let t = &parts.tables[0].types()[at];
                t.requirements.conflict(&own, &parts.symbols).is_none() && offered(parts, t, &own)
            }
        }),
        Refusal::NoType { .. } => !fitting(parts, &both, spec).iter().any(in_limits),
        Refusal::NoTypeInDomain => {
            let zones = parts.tables[0].zones();
            has_topology
                && zones.iter().any(|zone| {
                    let mut here = both.clone();
                    here.add(parts.known.zone, ValueSet::of([*zone]), &parts.symbols);
                    !fitting(parts, &here, spec).iter().any(in_limits)
                })
        }
        Refusal::MinValues(key) => {
            let min = own.get(*key).and_then(ValueSet::min_values).unwrap_or(0);
            // With a domain pinned by topology fewer may remain than these.
            fitting(parts, &both, spec).into_iter().filter(|at| in_limits(at)).count() < min as usize || has_topology
        }
        Refusal::HostPorts => false,
        // One group leaves no domain of those that the groups before it leave.
        Refusal::Topology { kind, key, .. } => {
            let zones: Vec<Symbol> = parts.tables[0].zones().to_vec();
            let whereabouts = whereabouts(parts, simulation, *key);
            let selects = |of: &Option<Selector>, shape: usize| {
                of.as_ref().is_some_and(|sel| sel.matches(&parts.shapes[shape].labels, &parts.symbols))
            };
            let mine = |of: &Option<Selector>| of.as_ref().is_some_and(|sel| sel.matches(&spec.labels, &parts.symbols));
            let affine = |at: &dyn Fn(Symbol) -> bool| {
                spec.required_affinity.iter().any(|t| {
                    let there = |w: &Whereabouts| selects(&t.selector, w.shape) && w.on_node && w.at.is_some_and(at);
                    let any = whereabouts.iter().any(|w| selects(&t.selector, w.shape));
                    t.topology_key == *key && !whereabouts.iter().any(there) && (any || !mine(&t.selector))
                })
            };
            let leaning = |z: Symbol| {
                spec.spread.iter().any(|c| {
                    let count = |z: Symbol, sure: bool| {
                        let here =
                            |w: &&Whereabouts| selects(&c.selector, w.shape) && w.at == Some(z) && (w.on_node || !sure);
                        whereabouts.iter().filter(here).count() as i64
                    };
                    let of_pod = |z: &Symbol| wanted.get(*key).is_none_or(|s| s.has(*z, &parts.symbols));
                    let counts: Vec<i64> = zones.iter().copied().filter(of_pod).map(|z| count(z, true)).collect();
                    let short = c.min_domains.is_some_and(|m| (counts.len() as i64) < m);
                    let least = if short { 0 } else { counts.iter().copied().min().unwrap_or(0) };
                    // Nodes that the pod's selector leaves out do not count, which only pods with one can tell.
                    let narrow = !spec.node_selector.is_empty() || zones.len() < 3;
                    c.topology_key == *key
                        && (narrow || count(z, false) + i64::from(mine(&c.selector)) - least > c.max_skew)
                })
            };
            let taken = |z: Symbol| {
                let preferred = spec.preferred_anti_affinity.iter().map(|(_, t)| t);
                let by_own = spec.required_anti_affinity.iter().chain(preferred).any(|t| {
                    t.topology_key == *key
                        && whereabouts.iter().any(|w| selects(&t.selector, w.shape) && w.may.contains(&z))
                });
                by_own
                    || whereabouts.iter().any(|w| {
                        let terms = &parts.shapes[w.shape].required_anti_affinity;
                        w.may.contains(&z) && terms.iter().any(|t| t.topology_key == *key && mine(&t.selector))
                    })
            };
            let open = |z: &Symbol| both.get(*key).is_none_or(|s| s.has(*z, &parts.symbols));
            if *key == parts.known.hostname {
                // A new node is empty: only the wish to be near others can speak against it.
                *kind == TopologyKind::Affinity && affine(&|_| false)
            } else {
                let blocked = |z: Symbol| leaning(z) || taken(z) || affine(&|at| at == z);
                // Spreading pins the emptiest domain first: another group need only refuse that one.
                let pins = *kind != TopologyKind::Spread && spec.spread.iter().any(|c| c.topology_key == *key);
                let mut open = zones.iter().copied().filter(open);
                if pins { open.any(blocked) } else { open.all(blocked) }
            }
        }
    };
    if yes { Ok(()) } else { Err(format!("{refusal:?} of pool {pool} is not so for {spec:?}")) }
}

fn check(parts: &Parts, simulation: &Simulation) -> Result<(), TestCaseError> {
    let overhead = daemon_overhead(parts);
    let s = &parts.symbols;
    let prefer = parts.pools.iter().any(|p| p.taints.iter().any(|t| t.effect == Effect::PreferNoSchedule));
    let forms = |shape: usize| relaxations(&parts.shapes[shape], true, prefer);
    // Every pod is somewhere or has a reason.
    for (at, target) in simulation.targets.iter().enumerate() {
        let told = simulation.unplaced.iter().filter(|(pod, _)| *pod == at).count();
        prop_assert_eq!(told, usize::from(target.is_none()));
    }
    // Nodes that are there have room and are what the pods demand.
    for (n, node) in parts.nodes.iter().enumerate() {
        let mut used = overhead.clone();
        node.pods.iter().for_each(|p| used.add(&parts.shapes[p.shape].requests));
        for pod in simulation.pods_on(n) {
            let spec = &parts.shapes[simulation.pods[pod].shape];
            used.add(&spec.requests);
            prop_assert!(spec.selects_node(node.name, &node.labels, s));
            let last = forms(simulation.pods[pod].shape);
            prop_assert!(node.taints.iter().all(|t| last.iter().any(|f| f.tolerates(t))));
        }
        prop_assert!(simulation.pods_on(n).next().is_none() || used.fits(&node.allocatable), "node {} is too full", n);
    }
    // Claims: each type that is left could be launched and take all of the pods.
    for claim in &simulation.claims {
        let mut used = overhead.clone();
        for pod in &claim.pods {
            let spec = &parts.shapes[simulation.pods[*pod].shape];
            used.add(&spec.requests);
            let wanted = demands(parts, spec);
            prop_assert!(
                claim.requirements.incompatible(&wanted, |_| false, s).is_none()
                    || wanted.iter().all(|(k, _)| parts.known.is_well_known(k))
            );
            let last = forms(simulation.pods[*pod].shape);
            prop_assert!(claim.taints.iter().all(|t| last.iter().any(|f| f.tolerates(t))));
        }
        prop_assert_eq!(&used, &claim.requests);
        prop_assert!(!claim.types.is_empty());
        for at in &claim.types {
            let of = &parts.tables[0].types()[*at];
            prop_assert!(used.fits(of.allocatable()));
            prop_assert!(of.requirements.conflict(&claim.requirements, s).is_none());
            prop_assert!(offered(parts, of, &claim.requirements));
        }
    }
    for left in &simulation.remaining {
        prop_assert!(left.nodes.is_none_or(|n| n >= 0) && left.cpu_m.is_none_or(|c| c >= 0));
    }
    // Pods that must be apart are, pods on one host do not lean too far.
    for (at, a) in simulation.targets.iter().enumerate() {
        for (other, b) in
            simulation.targets.iter().enumerate().filter(|(other, b)| *other != at && *b == a && a.is_some())
        {
            let (own, theirs) = (&parts.shapes[simulation.pods[at].shape], &parts.shapes[simulation.pods[other].shape]);
            for term in own.required_anti_affinity.iter().filter(|t| t.topology_key == parts.known.hostname) {
                let hit = term.selector.as_ref().is_some_and(|sel| sel.matches(&theirs.labels, s));
                prop_assert!(!hit, "two pods that must be apart share {:?}, {:?}", a, b);
            }
        }
    }
    for (at, why) in &simulation.unplaced {
        let shape = simulation.pods[*at].shape;
        match why {
            Unplaced::Refused { given_up, pools } => {
                let forms = forms(shape);
                prop_assert_eq!(*given_up + 1, forms.len(), "everything was given up first");
                prop_assert!(!pools.is_empty());
                for refused in pools {
                    let held = holds(parts, simulation, &forms[*given_up], refused.pool, &refused.refusal);
                    prop_assert!(held.is_ok(), "{}", held.unwrap_err());
                }
            }
            Unplaced::NoNodePool => {
                for pool in &parts.pools {
                    let own = pool.node_requirements(&parts.known, s);
                    let min = own.iter().filter_map(|(_, set)| set.min_values()).max().unwrap_or(1);
                    let suits =
                        |t: &&InstanceType| t.requirements.conflict(&own, s).is_none() && offered(parts, t, &own);
                    let some = parts.tables[0].types().iter().filter(suits).count();
                    prop_assert!(some < min as usize, "{} types could be had", some);
                }
            }
            Unplaced::Ignored => prop_assert!(false, "no shape asks for this"),
            Unplaced::CutTooShort(_) => prop_assert!(parts.tables[0].types().len() > 600),
        }
    }
    Ok(())
}

/// The price of the cluster once a command is carried out, its replacements being what EC2 happens to have.
fn after(parts: &Parts, command: &Command, dice: &mut Dice) -> i64 {
    let world = parts.world();
    let gone: Vec<usize> = command.candidates.iter().map(|c| c.node).collect();
    let stay = world.nodes.iter().enumerate().filter(|(n, _)| !gone.contains(n));
    let mut price: i64 = stay.map(|(_, n)| world.node_price(n).nanos()).sum();
    for claim in &command.replacements {
        let mut unavailable = parts.unavailable.clone();
        let depth = |_: usize, _: Symbol, _: CapacityType| if dice.one_in(3) { Depth::Empty } else { Depth::Shallow };
        if let Ok(got) = launch(&world, claim, &mut unavailable, depth) {
            price += got.price.nanos();
        }
    }
    price
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pod_has_a_place_that_suits_or_a_reason_that_holds(seed in any::<u64>()) {
        let mut parts = Parts::drawn(seed);
        let mut dice = Dice(seed ^ 1, 0);
        let half = parts.pending.len() / 2;
        let (first, second): (Vec<PendingPod>, Vec<PendingPod>) =
            (parts.pending[..half].to_vec(), parts.pending[half..].to_vec());
        let simulation = parts.provision(&first);
        check(&parts, &simulation)?;
        prop_assert_eq!(&simulation, &parts.provision(&first), "the same again");
        parts.carry_out(&simulation, &mut dice);
        let again = parts.provision(&second);
        check(&parts, &again)?;
    }

    #[test]
    fn consolidation_never_makes_the_cluster_dearer(seed in any::<u64>()) {
        let mut parts = Parts::drawn(seed);
        let mut dice = Dice(seed ^ 2, 0);
        let pending = std::mem::take(&mut parts.pending);
        let simulation = parts.provision(&pending);
        parts.carry_out(&simulation, &mut dice);
        // Some pods end, so that there is something to gain.
        for node in &mut parts.nodes {
            node.pods.retain(|_| !dice.one_in(2));
        }
        let mut memory = Memory::default();
        for version in 0..20 {
            let seen = Observation {
                pending: &[],
                unavailable: &parts.unavailable,
                queued: &[],
                version,
                most_single: None,
            };
            let mut scheduler = Scheduler::new(parts.world(), &parts.unavailable);
            let Some(command) = disrupt(&mut scheduler, &mut memory, &seen) else { break };
            let before = parts.world().price().nanos();
            prop_assert!(command.method != Method::Drift);
            prop_assert!(command.replacements.len() <= 1);
            prop_assert!(command.replacements.is_empty() || command.worst_replacement_price < command.price);
            let later = after(&parts, &command, &mut dice);
            prop_assert!(later <= before, "from {} to {}: {:?}", before, later, command);
            prop_assert!(command.replacements.is_empty() || later < before);
            let again = validate(&mut scheduler, command.clone(), &seen);
            prop_assert!(again.is_ok(), "nothing has changed: {:?}, {:?}", again, command);
            // Carried out: the pods are pending, the nodes gone.
            let gone: Vec<usize> = command.candidates.iter().map(|c| c.node).collect();
            let moved = scheduler.simulate(&[], &gone);
            prop_assert!(moved.unplaced.is_empty());
            parts.carry_out(&moved, &mut dice);
            let mut at = 0;
            parts.nodes.retain(|_| {
                at += 1;
                !gone.contains(&(at - 1))
            });
        }
    }
}
