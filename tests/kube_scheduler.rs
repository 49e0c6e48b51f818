//! The scheduler against the plain rules: the same decisions as a program that keeps lists, remembers nothing and
//! looks at every node and every pod for each decision.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use simctl::kernel::{Draw, SimTime};
use simctl::kubernetes::object::{
    Effect, HostPort, Labels, NodeSelectorTerm, Operator, PodAffinityTerm, PodSpec, Requirement, Resources, Selector,
    SpreadConstraint, Symbol, Symbols, Taint, Toleration, WhenUnsatisfiable,
};
use simctl::kubernetes::scheduler::score::{self, Share};
use simctl::kubernetes::scheduler::{
    BalancedFormula, Budget, Code, DefaultConstraint, DefaultSpread, Filters, NoPreemption, Node, NodeId, PodKey,
    Profile, Reason, ResourceName, Scheduler, ScoringStrategy, ShapeId, ShapePoint, Weights, WhyNot, filter,
};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// A pod in the plain lists.
#[derive(Clone, Copy, PartialEq)]
struct Pod {
    key: PodKey,
    shape: usize,
    node: usize,
    terminating: bool,
}

/// The plain lists.
struct Plain {
    profile: Profile,
    symbols: Symbols,
    nodes: Vec<Option<Node>>,
    zones: Vec<(Option<Symbol>, Vec<usize>)>,
    next: usize,
    shapes: Vec<PodSpec>,
    pods: Vec<Pod>,
    nominated: Vec<Pod>,
}

impl Plain {
    fn symbol(&self, text: &str) -> Symbol {
        self.symbols.get(text).expect("interned at the start")
    }

    fn requests_on(&self, pods: &[Pod], node: usize) -> (Resources, i64, i64) {
        let (mut sum, mut cpu, mut memory) = (Resources::default(), 0, 0);
        for pod in pods.iter().filter(|p| p.node == node) {
            let spec = &self.shapes[pod.shape];
            sum.add(&spec.requests);
            (cpu, memory) = (cpu + spec.score_cpu_m, memory + spec.score_memory);
        }
        (sum, cpu, memory)
    }

    /// The constraints in force, and whether all labels are needed to score.
    fn constraints(&self, spec: &PodSpec, action: WhenUnsatisfiable) -> (Vec<SpreadConstraint>, bool) {
        let of_list = |list: &[DefaultConstraint]| -> Vec<SpreadConstraint> {
            let Some(selector) = &spec.owner_selector else { return Vec::new() };
            let made = list.iter().map(|c| SpreadConstraint {
                max_skew: c.max_skew,
                topology_key: self.symbol(&c.topology_key),
                when_unsatisfiable: c.when_unsatisfiable,
                selector: Some(selector.clone()),
                min_domains: None,
                honor_node_affinity: true,
                honor_node_taints: false,
                match_label_keys: Vec::new(),
            });
            made.collect()
        };
        let anyway = WhenUnsatisfiable::ScheduleAnyway;
        let (all, needed) = match &self.profile.default_spread {
            _ if !spec.spread.is_empty() => (spec.spread.clone(), true),
            DefaultSpread::List(list) => (of_list(list), true),
            DefaultSpread::System => {
                let default = |max_skew, key: &str| DefaultConstraint {
                    max_skew,
                    topology_key: key.to_owned(),
                    when_unsatisfiable: anyway,
                };
                (of_list(&[default(3, HOST), default(5, ZONE)]), false)
            }
        };
        (all.into_iter().filter(|c| c.when_unsatisfiable == action).collect(), needed)
    }

    fn includes(&self, spec: &PodSpec, c: &SpreadConstraint, node: &Node) -> bool {
        (!c.honor_node_affinity || spec.selects_node(node.name, &node.labels, &self.symbols))
            && (!c.honor_node_taints || filter::untolerated(&spec.tolerations, &node.taints).is_none())
    }

    fn spread_selector(spec: &PodSpec, c: &SpreadConstraint) -> Option<Selector> {
        let mut selector = c.selector.clone()?;
        for key in &c.match_label_keys {
            if let Some(value) = spec.labels.get(*key) {
                selector.requirements.push(Requirement { key: *key, operator: Operator::In, values: vec![value] });
            }
        }
        Some(selector)
    }

    fn spread_count(&self, pods: &[Pod], spec: &PodSpec, c: &SpreadConstraint, node: usize) -> i64 {
        let selector = Self::spread_selector(spec, c);
        let counted = |p: &&Pod| {
            let other = &self.shapes[p.shape];
            p.node == node
                && !p.terminating
                && other.namespace == spec.namespace
                && selector
                    .as_ref()
                    .is_some_and(|s| !s.requirements.is_empty() && s.matches(&other.labels, &self.symbols))
        };
        pods.iter().filter(counted).count() as i64
    }

    fn term_matches(&self, owner: &PodSpec, term: &PodAffinityTerm, other: &PodSpec) -> bool {
        let here = match &term.namespaces[..] {
            [] => other.namespace == owner.namespace,
            some => some.contains(&other.namespace),
        };
        here && term.selector.as_ref().is_some_and(|s| s.matches(&other.labels, &self.symbols))
    }

    fn label(&self, node: usize, key: Symbol) -> Option<Symbol> {
        self.nodes[node].as_ref().and_then(|n| n.labels.get(key))
    }

    /// The first filter that refuses, with its reasons.
    fn verdict(&self, pods: &[Pod], spec: &PodSpec, at: usize) -> (Code, Vec<Reason>) {
        let node = self.nodes[at].as_ref().expect("a node");
        let f = &self.profile.filters;
        let one = |reason| (filter::code_of(reason), vec![reason]);
        let (cordon, empty) = (self.symbol("node.kubernetes.io/unschedulable"), self.symbol(""));
        if f.unschedulable && node.unschedulable && !filter::tolerates_cordon(&spec.tolerations, cordon, empty) {
            return one(Reason::Unschedulable);
        }
        if f.node_name && spec.node_name.is_some_and(|n| n != node.name) {
            return one(Reason::NodeName);
        }
        if let Some(t) = filter::untolerated(&spec.tolerations, &node.taints).filter(|_| f.taints) {
            return one(Reason::Taint { key: t.key, value: t.value });
        }
        if f.node_affinity && !filter::node_affinity(spec, None, node.name, &node.labels, &self.symbols) {
            return one(Reason::NodeAffinity);
        }
        let taken = pods.iter().filter(|p| p.node == at).any(|p| {
            let theirs = &self.shapes[p.shape].host_ports;
            theirs.iter().any(|a| spec.host_ports.iter().any(|b| filter::ports_conflict(a, b)))
        });
        if f.host_ports && taken {
            return one(Reason::HostPorts);
        }
        if f.fit {
            let (used, _, _) = self.requests_on(pods, at);
            let lacking = filter::fit(&spec.requests, &used, &node.allocatable, &self.profile, &self.symbols);
            if !lacking.is_empty() {
                return (
                    filter::fit_code(&lacking),
                    lacking.iter().map(|l| Reason::Insufficient(l.resource)).collect(),
                );
            }
        }
        if f.volume_zone && !filter::volume_zones(&spec.volume_zones, node.labels.get(self.symbol(ZONE))) {
            return one(Reason::VolumeZone);
        }
        if f.spread
            && let Some(reason) = self.spread_refuses(pods, spec, at)
        {
            return one(reason);
        }
        match self.crowd_refuses(pods, spec, at).filter(|_| f.inter_pod_affinity) {
            Some(reason) => one(reason),
            None => (Code::Success, Vec::new()),
        }
    }

    fn spread_refuses(&self, pods: &[Pod], spec: &PodSpec, at: usize) -> Option<Reason> {
        let (constraints, _) = self.constraints(spec, WhenUnsatisfiable::DoNotSchedule);
        for c in &constraints {
            let own = self.label(at, c.topology_key);
            let mut counts: BTreeMap<Symbol, i64> = BTreeMap::new();
            for (n, node) in self.nodes.iter().enumerate().filter_map(|(n, node)| Some((n, node.as_ref()?))) {
                let all = constraints.iter().all(|c| node.labels.get(c.topology_key).is_some());
                if let Some(value) = node.labels.get(c.topology_key).filter(|_| all && self.includes(spec, c, node)) {
                    *counts.entry(value).or_insert(0) += self.spread_count(pods, spec, c, n);
                }
            }
            let Some(own) = own else { return Some(Reason::SpreadLabel) };
            let domains = counts.len() as i64;
            let lowest = match counts.values().min() {
                Some(least) if domains >= c.min_domains.unwrap_or(1) => *least,
                _ => 0,
            };
            let itself = Self::spread_selector(spec, c).is_some_and(|s| s.matches(&spec.labels, &self.symbols));
            if counts.get(&own).copied().unwrap_or(0) + i64::from(itself) - lowest > c.max_skew {
                return Some(Reason::Spread);
            }
        }
        None
    }

    fn crowd_refuses(&self, pods: &[Pod], spec: &PodSpec, at: usize) -> Option<Reason> {
        let all = |other: &PodSpec| spec.required_affinity.iter().all(|t| self.term_matches(spec, t, other));
        let matching: Vec<&Pod> = pods.iter().filter(|p| all(&self.shapes[p.shape])).collect();
        let (mut there, mut anywhere) = (true, false);
        for term in &spec.required_affinity {
            let Some(own) = self.label(at, term.topology_key) else { return Some(Reason::Affinity) };
            there &= matching.iter().any(|p| self.label(p.node, term.topology_key) == Some(own));
            anywhere |= matching.iter().any(|p| self.label(p.node, term.topology_key).is_some());
        }
        if !there && (anywhere || !all(spec)) {
            return Some(Reason::Affinity);
        }
        let near = |p: &Pod, key| self.label(at, key).is_some_and(|own| self.label(p.node, key) == Some(own));
        let refused = |owner: &PodSpec, other: &PodSpec, p: &Pod| {
            owner.required_anti_affinity.iter().any(|t| near(p, t.topology_key) && self.term_matches(owner, t, other))
        };
        if pods.iter().any(|p| refused(spec, &self.shapes[p.shape], p)) {
            return Some(Reason::AntiAffinity);
        }
        pods.iter().any(|p| refused(&self.shapes[p.shape], spec, p)).then_some(Reason::ExistingAntiAffinity)
    }

    /// With the nominated pods and without.
    fn passes(&self, key: PodKey, spec: &PodSpec, at: usize) -> (Code, Vec<Reason>) {
        let beside = |n: &&Pod| n.node == at && n.key != key && self.shapes[n.shape].priority >= spec.priority;
        let mut more = self.pods.clone();
        more.extend(self.nominated.iter().filter(beside));
        if more.len() > self.pods.len() {
            let verdict = self.verdict(&more, spec, at);
            if verdict.0 != Code::Success {
                return verdict;
            }
        }
        self.verdict(&self.pods, spec, at)
    }

    fn order(&self) -> Vec<usize> {
        let longest = self.zones.iter().map(|(_, n)| n.len()).max().unwrap_or(0);
        (0..longest).flat_map(|row| self.zones.iter().filter_map(move |(_, n)| n.get(row).copied())).collect()
    }

    fn schedule(&mut self, key: PodKey, shape: usize, draw: u64) -> Result<NodeId, WhyNot> {
        let spec = self.shapes[shape].clone();
        if let Some(n) = self.nominated.iter().find(|n| n.key == key)
            && self.passes(key, &spec, n.node).0 == Code::Success
        {
            return Ok(NodeId(n.node as u32));
        }
        let order = self.order();
        let pinned = self.profile.filters.node_name && spec.node_name.is_some();
        let enough = match pinned {
            true => order.len(),
            false => score::feasible_nodes_to_find(self.profile.percentage_of_nodes_to_score, order.len()),
        };
        let start = if self.next < order.len() { self.next } else { 0 };
        let (mut feasible, mut examined) = (Vec::new(), 0);
        let mut why = WhyNot { nodes: order.len() as u32, reasons: Vec::new() };
        for at in (0..order.len()).map(|i| order[(start + i) % order.len()]) {
            if feasible.len() >= enough {
                break;
            }
            examined += 1;
            match self.passes(key, &spec, at) {
                (Code::Success, _) => feasible.push(at),
                (_, reasons) => reasons.into_iter().for_each(|r| why.count(r, 1)),
            }
        }
        if !order.is_empty() && !pinned {
            self.next = (start + examined) % order.len();
        }
        let totals = self.totals(&spec, &feasible);
        let best = totals.iter().max().copied();
        let mut ties: Vec<usize> =
            feasible.iter().zip(&totals).filter(|(_, t)| Some(**t) == best).map(|(n, _)| *n).collect();
        ties.sort_unstable();
        ties.get(score::pick(draw, ties.len())).map(|n| NodeId(*n as u32)).ok_or(why)
    }

    fn totals(&self, spec: &PodSpec, feasible: &[usize]) -> Vec<i64> {
        let weights = &self.profile.weights;
        let mut totals = vec![0; feasible.len()];
        let mut add = |weight: u16, scores: Vec<i64>| {
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * i64::from(weight);
            }
        };
        let normalized = |raw: Vec<i64>, reverse| -> Vec<i64> {
            let highest = raw.iter().copied().max().unwrap_or(0);
            raw.iter().map(|r| score::normalized(*r, highest, reverse)).collect()
        };
        let node = |at: &usize| self.nodes[*at].as_ref().expect("a node");
        let raw = feasible.iter().map(|n| filter::disliked_taints(&spec.tolerations, &node(n).taints) as i64);
        add(weights.taints, normalized(raw.collect(), true));
        let raw = feasible
            .iter()
            .map(|n| filter::preferred_node_affinity(spec, node(n).name, &node(n).labels, &self.symbols));
        add(weights.node_affinity, normalized(raw.collect(), false));
        add(weights.fit, feasible.iter().map(|n| self.fit_score(spec, *n)).collect());
        add(weights.balanced, feasible.iter().map(|n| self.balance(spec, *n)).collect());
        add(weights.image_locality, feasible.iter().map(|n| self.images(spec, *n)).collect());
        add(weights.inter_pod_affinity, self.affinity_scores(spec, feasible));
        add(weights.spread, self.spread_scores(spec, feasible));
        totals
    }

    fn fit_score(&self, spec: &PodSpec, at: usize) -> i64 {
        let (used, cpu, memory) = self.requests_on(&self.pods, at);
        let has = &self.nodes[at].as_ref().expect("a node").allocatable;
        let shares = self.profile.scoring_resources.iter().filter_map(|(name, weight)| {
            let (requested, capacity) = match name.as_str() {
                "cpu" => (cpu + spec.score_cpu_m, has.cpu_m),
                "memory" => (memory + spec.score_memory, has.memory),
                other => {
                    let name = self.symbol(other);
                    let own = spec.requests.extended(name);
                    if own == 0 {
                        return None;
                    }
                    (used.extended(name) + own, has.extended(name))
                }
            };
            Some(Share { requested, capacity, weight: *weight })
        });
        score::fit(&self.profile.scoring, shares)
    }

    fn balance(&self, spec: &PodSpec, at: usize) -> i64 {
        let (used, _, _) = self.requests_on(&self.pods, at);
        let has = &self.nodes[at].as_ref().expect("a node").allocatable;
        let own = |name: &str| match name {
            "cpu" => spec.requests.cpu_m,
            "memory" => spec.requests.memory,
            other => spec.requests.extended(self.symbol(other)),
        };
        if self.profile.balanced_resources.iter().all(|r| own(r) == 0) {
            return 0;
        }
        let shares = |times: i64| {
            let own = &own;
            let (used, has) = (&used, has);
            self.profile.balanced_resources.iter().filter_map(move |r| {
                let (requested, capacity) = match r.as_str() {
                    "cpu" => (used.cpu_m, has.cpu_m),
                    "memory" => (used.memory, has.memory),
                    _ if own(r) == 0 => return None,
                    other => (used.extended(self.symbol(other)), has.extended(self.symbol(other))),
                };
                Some(Share { requested: requested + times * own(r), capacity, weight: 1 })
            })
        };
        score::balanced_allocation(self.profile.balanced, score::balance(shares(1)), score::balance(shares(0)))
    }

    fn images(&self, spec: &PodSpec, at: usize) -> i64 {
        let nodes: Vec<&Node> = self.nodes.iter().flatten().collect();
        let of = |node: &Node, image: Symbol| node.images.iter().find(|(i, _)| *i == image).map(|(_, size)| *size);
        let own = self.nodes[at].as_ref().expect("a node");
        let sum = spec.images.iter().filter_map(|image| {
            let with = nodes.iter().filter(|n| of(n, *image).is_some()).count();
            Some(score::image_part(of(own, *image)?, with, nodes.len()))
        });
        score::image_locality(sum.sum(), spec.images.len())
    }

    fn affinity_scores(&self, spec: &PodSpec, feasible: &[usize]) -> Vec<i64> {
        let mut points: BTreeMap<(Symbol, Symbol), i64> = BTreeMap::new();
        for pod in &self.pods {
            let other = &self.shapes[pod.shape];
            let mut process = |owner: &PodSpec, term: &PodAffinityTerm, about: &PodSpec, weight: i64| {
                if let Some(value) = self.label(pod.node, term.topology_key)
                    && self.term_matches(owner, term, about)
                {
                    *points.entry((term.topology_key, value)).or_insert(0) += weight;
                }
            };
            for (owner, about) in [(spec, other), (other, spec)] {
                owner.preferred_affinity.iter().for_each(|(w, t)| process(owner, t, about, *w));
                owner.preferred_anti_affinity.iter().for_each(|(w, t)| process(owner, t, about, -*w));
            }
            let hard = self.profile.hard_pod_affinity_weight;
            other.required_affinity.iter().for_each(|t| process(other, t, spec, hard));
        }
        let raw: Vec<i64> = feasible
            .iter()
            .map(|n| points.iter().filter(|((k, v), _)| self.label(*n, *k) == Some(*v)).map(|(_, p)| p).sum())
            .collect();
        let (low, high) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
        raw.iter().map(|r| score::affinity_normalized(*r, low, high)).collect()
    }

    fn spread_scores(&self, spec: &PodSpec, feasible: &[usize]) -> Vec<i64> {
        let (constraints, needs_all) = self.constraints(spec, WhenUnsatisfiable::ScheduleAnyway);
        if constraints.is_empty() {
            return vec![0; feasible.len()];
        }
        let complete = |n: usize| !needs_all || constraints.iter().all(|c| self.label(n, c.topology_key).is_some());
        let scored: Vec<usize> = feasible.iter().copied().filter(|n| complete(*n)).collect();
        let mut raw = vec![0.0; feasible.len()];
        for c in &constraints {
            let by_host = c.topology_key == self.symbol(HOST);
            let domains: BTreeSet<Option<Symbol>> = scored.iter().map(|n| self.label(*n, c.topology_key)).collect();
            let weight = score::spread_weight(if by_host { scored.len() } else { domains.len() });
            for (raw, n) in raw.iter_mut().zip(feasible) {
                let Some(own) = self.label(*n, c.topology_key) else { continue };
                let pods = if by_host {
                    self.spread_count(&self.pods, spec, c, *n)
                } else {
                    let counts = |m: &usize| {
                        self.nodes[*m].as_ref().is_some_and(|node| {
                            node.labels.get(c.topology_key) == Some(own) && complete(*m) && self.includes(spec, c, node)
                        })
                    };
                    (0..self.nodes.len()).filter(counts).map(|m| self.spread_count(&self.pods, spec, c, m)).sum()
                };
                *raw += score::spread_part(pods, weight, c.max_skew);
            }
        }
        let raw: Vec<i64> = raw.iter().map(|r| r.round() as i64).collect();
        let of_scored = || raw.iter().zip(feasible).filter(|(_, n)| complete(**n)).map(|(r, _)| *r);
        let (low, high) = (of_scored().min().unwrap_or(0), of_scored().max().unwrap_or(0));
        raw.iter()
            .zip(feasible)
            .map(|(r, n)| if complete(*n) { score::spread_normalized(*r, low, high) } else { 0 })
            .collect()
    }
}

/// Both, and what makes random objects.
struct Both {
    fast: Scheduler,
    plain: Plain,
    starts: BTreeMap<PodKey, u64>,
    next: u64,
    draw: Draw,
    drawn: u64,
}

impl Both {
    fn new(profile: Profile, seed: u64) -> Self {
        let mut symbols = Symbols::default();
        let texts = [
            ZONE,
            HOST,
            "node.kubernetes.io/unschedulable",
            "",
            "app",
            "tier",
            "rack",
            "a",
            "b",
            "c",
            "z1",
            "z2",
            "z3",
            "ns1",
            "ns2",
            "TCP",
            "10.0.0.1",
            "gpu/x",
            "image1",
            "image2",
        ];
        for text in texts {
            symbols.intern(text);
        }
        for n in 0..400 {
            symbols.intern(&format!("host-{n}"));
        }
        let plain = Plain {
            profile: profile.clone(),
            symbols: symbols.clone(),
            nodes: Vec::new(),
            zones: Vec::new(),
            next: 0,
            shapes: Vec::new(),
            pods: Vec::new(),
            nominated: Vec::new(),
        };
        let fast = Scheduler::with_symbols(profile, symbols);
        Self { fast, plain, starts: BTreeMap::new(), next: 0, draw: Draw::new(seed), drawn: 0 }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        self.draw.of(self.drawn).bits() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one(&mut self, texts: &[&str]) -> Symbol {
        let at = self.below(texts.len() as u64) as usize;
        self.plain.symbol(texts[at])
    }

    fn labels(&mut self) -> Labels {
        let mut labels = Labels::default();
        for key in ["app", "tier"] {
            if self.chance(70) {
                labels.set(self.plain.symbol(key), self.one(&["a", "b", "c"]));
            }
        }
        labels
    }

    fn requirement(&mut self, keys: &[&str], values: &[&str]) -> Requirement {
        let operator = [Operator::In, Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist];
        let operator = operator[self.below(5) as usize];
        let values = match operator {
            Operator::In | Operator::NotIn => vec![self.one(values)],
            _ => Vec::new(),
        };
        Requirement { key: self.one(keys), operator, values }
    }

    fn selector(&mut self) -> Option<Selector> {
        let many = self.below(3);
        let requirements = (0..many).map(|_| self.requirement(&["app", "tier"], &["a", "b", "c"])).collect();
        self.chance(95).then_some(Selector { requirements })
    }

    fn term(&mut self) -> PodAffinityTerm {
        let namespaces = if self.chance(30) { vec![self.one(&["ns1", "ns2"])] } else { Vec::new() };
        PodAffinityTerm { topology_key: self.one(&[ZONE, HOST, "rack"]), selector: self.selector(), namespaces }
    }

    fn node_term(&mut self) -> NodeSelectorTerm {
        let expressions = vec![self.requirement(&["rack", ZONE], &["a", "b", "z1"])];
        NodeSelectorTerm { expressions, names: Vec::new() }
    }

    fn node(&mut self) -> Node {
        let host = format!("host-{}", self.below(400));
        let mut has = Resources {
            cpu_m: (self.below(4) * 1000) as i64,
            memory: (self.below(5) << 30) as i64,
            pods: 1 + self.below(8) as i64,
            ..Resources::default()
        };
        if self.chance(30) {
            has.set_extended(self.plain.symbol("gpu/x"), 4);
        }
        let mut node = Node::new(self.plain.symbol(&host), has);
        if self.chance(90) {
            node.labels.set(self.plain.symbol(HOST), self.plain.symbol(&host));
        }
        if self.chance(85) {
            node.labels.set(self.plain.symbol(ZONE), self.one(&["z1", "z2", "z3"]));
        }
        if self.chance(60) {
            node.labels.set(self.plain.symbol("rack"), self.one(&["a", "b"]));
        }
        if self.chance(25) {
            let effects = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];
            let effect = effects[self.below(3) as usize];
            node.taints.push(Taint { key: self.one(&["a", "b"]), value: self.one(&["", "a"]), effect });
        }
        node.unschedulable = self.chance(7);
        if self.chance(40) {
            node.images.push((self.one(&["image1", "image2"]), (self.below(900) << 20) as i64));
        }
        node
    }

    fn spec(&mut self) -> PodSpec {
        let mut spec = PodSpec::new(self.one(&["ns1", "ns1", "ns2"]));
        spec.labels = self.labels();
        spec.requests.cpu_m = (self.below(5) * 250) as i64;
        spec.requests.memory = (self.below(4) << 28) as i64;
        spec.score_cpu_m = if spec.requests.cpu_m == 0 { 100 } else { spec.requests.cpu_m };
        spec.score_memory = if spec.requests.memory == 0 { 200 << 20 } else { spec.requests.memory };
        spec.priority = self.below(3) as i32 * 10;
        if self.chance(15) {
            let amount = 1 + self.below(2) as i64;
            spec.requests.set_extended(self.plain.symbol("gpu/x"), amount);
        }
        if self.chance(40) {
            let key = self.chance(70).then(|| self.one(&["a", "b"]));
            let value = key.filter(|_| self.chance(50)).map(|_| self.one(&["", "a"]));
            spec.tolerations.push(Toleration { key, value, effect: None });
        }
        if self.chance(15) {
            spec.node_selector.push((self.plain.symbol("rack"), self.one(&["a", "b"])));
        }
        if self.chance(15) {
            spec.required_node_affinity = Some((0..self.below(3)).map(|_| self.node_term()).collect());
        }
        if self.chance(20) {
            let weight = 1 + self.below(100) as i64;
            spec.preferred_node_affinity.push((weight, self.node_term()));
        }
        for _ in 0..self.below(3) {
            if self.chance(50) {
                let actions = [WhenUnsatisfiable::DoNotSchedule, WhenUnsatisfiable::ScheduleAnyway];
                let constraint = SpreadConstraint {
                    max_skew: 1 + self.below(2) as i64,
                    topology_key: self.one(&[ZONE, HOST, "rack"]),
                    when_unsatisfiable: actions[self.below(2) as usize],
                    selector: self.selector(),
                    min_domains: self.chance(20).then_some(3),
                    honor_node_affinity: self.chance(70),
                    honor_node_taints: self.chance(30),
                    match_label_keys: if self.chance(20) { vec![self.plain.symbol("tier")] } else { Vec::new() },
                };
                spec.spread.push(constraint);
            }
        }
        spec.owner_selector = if self.chance(50) {
            Some(Selector { requirements: vec![self.requirement(&["app"], &["a", "b"])] })
        } else {
            None
        };
        if self.chance(20) {
            spec.required_affinity = (0..=self.below(2)).map(|_| self.term()).collect();
        }
        if self.chance(20) {
            spec.required_anti_affinity = (0..=self.below(2)).map(|_| self.term()).collect();
        }
        if self.chance(20) {
            spec.preferred_affinity.push((1 + self.below(100) as i64, self.term()));
        }
        if self.chance(20) {
            spec.preferred_anti_affinity.push((1 + self.below(100) as i64, self.term()));
        }
        if self.chance(10) {
            let ip = self.chance(50).then(|| self.plain.symbol("10.0.0.1"));
            spec.host_ports.push(HostPort { protocol: self.plain.symbol("TCP"), ip, port: 80 });
        }
        if self.chance(30) {
            spec.images = vec![self.plain.symbol("image1"), self.plain.symbol("image2")];
        }
        if self.chance(10) {
            spec.volume_zones = vec![vec![self.plain.symbol("z1"), self.plain.symbol("z2")]];
        }
        if self.chance(5) {
            let host = format!("host-{}", self.below(400));
            spec.node_name = Some(self.plain.symbol(&host));
        }
        spec
    }

    fn add_shape(&mut self) {
        let spec = self.spec();
        let id = self.fast.add_shape(spec.clone());
        if id.0 as usize == self.plain.shapes.len() {
            self.plain.shapes.push(spec);
        }
    }

    fn add_node(&mut self) {
        let node = self.node();
        if self.plain.nodes.iter().flatten().any(|n| n.name == node.name) {
            return;
        }
        let id = self.fast.add_node(node.clone()).0 as usize;
        if id == self.plain.nodes.len() {
            self.plain.nodes.push(None);
        }
        self.enlist(id, &node);
        self.plain.nodes[id] = Some(node);
    }

    fn enlist(&mut self, id: usize, node: &Node) {
        let zone = node.labels.get(self.plain.symbol(ZONE));
        match self.plain.zones.iter_mut().find(|(z, _)| *z == zone) {
            Some((_, nodes)) => nodes.push(id),
            None => self.plain.zones.push((zone, vec![id])),
        }
    }

    fn delist(&mut self, id: usize) {
        for (_, nodes) in &mut self.plain.zones {
            nodes.retain(|n| *n != id);
        }
        self.plain.zones.retain(|(_, nodes)| !nodes.is_empty());
    }

    fn some_node(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..self.plain.nodes.len()).filter(|n| self.plain.nodes[*n].is_some()).collect();
        (!there.is_empty()).then(|| there[self.below(there.len() as u64) as usize])
    }

    fn update_node(&mut self) {
        let Some(id) = self.some_node() else { return };
        let old = self.plain.nodes[id].clone().expect("a node");
        let mut node = self.node();
        if self.chance(50) {
            node.labels = old.labels.clone();
        }
        node.name = old.name;
        self.fast.update_node(NodeId(id as u32), node.clone());
        let zone = self.plain.symbol(ZONE);
        if node.labels.get(zone) != old.labels.get(zone) {
            self.delist(id);
            self.enlist(id, &node);
        }
        self.plain.nodes[id] = Some(node);
    }

    fn remove_node(&mut self) {
        let Some(id) = self.some_node() else { return };
        let mut gone = self.fast.remove_node(NodeId(id as u32));
        let mut expected: Vec<PodKey> = self.plain.pods.iter().filter(|p| p.node == id).map(|p| p.key).collect();
        gone.sort_unstable();
        expected.sort_unstable();
        assert_eq!(gone, expected);
        self.plain.pods.retain(|p| p.node != id);
        self.plain.nominated.retain(|p| p.node != id);
        self.delist(id);
        self.plain.nodes[id] = None;
    }

    fn schedule(&mut self) {
        if self.plain.shapes.is_empty() {
            return;
        }
        let shape = self.below(self.plain.shapes.len() as u64) as usize;
        let waits = self.plain.nominated.first().copied().filter(|_| self.chance(50));
        let (key, shape) = match waits {
            Some(nominated) => (nominated.key, nominated.shape),
            None => {
                self.next += 1;
                (PodKey(self.next), shape)
            }
        };
        let id = ShapeId(shape as u32);
        let draw = self.draw.of(self.next ^ (1 << 40)).bits();
        let (got, expected) = (self.fast.schedule(key, id, draw), self.plain.schedule(key, shape, draw));
        match (got, expected) {
            (Ok(got), Ok(expected)) => {
                assert_eq!(got, expected, "shape {shape}");
                assert_eq!(self.plain.passes(key, &self.plain.shapes[shape], got.0 as usize).0, Code::Success);
                self.starts.insert(key, self.next);
                self.fast.place(key, id, got, SimTime::from_nanos(self.next));
                self.plain.nominated.retain(|n| n.key != key);
                self.plain.pods.push(Pod { key, shape, node: got.0 as usize, terminating: false });
            }
            (Err(mut got), Err(mut expected)) => {
                got.reasons.sort_unstable();
                expected.reasons.sort_unstable();
                assert_eq!(got, expected, "shape {shape}");
                self.preempt(key, shape, draw);
            }
            (got, expected) => panic!("shape {shape}: {got:?}, expected {expected:?}"),
        }
    }

    /// Preemption leaves the cluster as it was, takes only pods of lower priority, and makes the pod fit.
    fn preempt(&mut self, key: PodKey, shape: usize, draw: u64) {
        let namespace = self.plain.symbol("ns1");
        let budget = Budget {
            namespace,
            selector: self.selector(),
            disruptions_allowed: self.below(3) as i64,
            already_disrupted: Vec::new(),
        };
        let before: Vec<_> = (0..self.plain.nodes.len()).map(|n| self.fast.requested(NodeId(n as u32))).collect();
        let result = self.fast.preempt(key, ShapeId(shape as u32), &[budget], draw);
        let after: Vec<_> = (0..self.plain.nodes.len()).map(|n| self.fast.requested(NodeId(n as u32))).collect();
        assert_eq!(before, after);
        let spec = self.plain.shapes[shape].clone();
        match result {
            Ok(done) => {
                assert!(!done.victims.is_empty());
                let victims = &done.victims;
                let priority = |k: &PodKey| {
                    let pod = self.plain.pods.iter().find(|p| p.key == *k).expect("a placed pod");
                    assert_eq!(pod.node, done.node.0 as usize);
                    self.plain.shapes[pod.shape].priority
                };
                let priorities: Vec<i32> = victims.iter().map(priority).collect();
                assert!(priorities.iter().all(|p| *p < spec.priority) && priorities.is_sorted_by(|a, b| a >= b));
                for gone in &done.displaced {
                    self.plain.nominated.retain(|n| n.key != *gone);
                }
                self.plain.nominated.retain(|n| n.key != key);
                let all = std::mem::take(&mut self.plain.pods);
                self.plain.pods = all.iter().copied().filter(|p| !victims.contains(&p.key)).collect();
                let verdict = self.plain.passes(key, &spec, done.node.0 as usize);
                assert_eq!(verdict.0, Code::Success, "{verdict:?}");
                self.plain.pods = all;
                self.plain.nominated.push(Pod { key, shape, node: done.node.0 as usize, terminating: false });
                for victim in victims {
                    self.fast.set_terminating(*victim, true);
                    for pod in self.plain.pods.iter_mut().filter(|p| p.key == *victim) {
                        pod.terminating = true;
                    }
                }
            }
            Err(NoPreemption::NoCandidate(_)) => {
                self.plain.nominated.retain(|n| n.key != key);
                for (id, node) in self.plain.nodes.iter().enumerate().filter(|(_, n)| n.is_some()) {
                    let lower = |p: &Pod| p.node == id && self.plain.shapes[p.shape].priority < spec.priority;
                    let curable = self.plain.passes(key, &spec, id).0 == Code::Unschedulable;
                    if node.is_none() || !curable || !self.plain.pods.iter().any(lower) {
                        continue;
                    }
                    let rest: Vec<Pod> = self.plain.pods.iter().copied().filter(|p| !lower(p)).collect();
                    let verdict = self.plain.verdict(&rest, &spec, id);
                    // With nominated pods beside, the node may still be too small.
                    let beside = self.plain.nominated.iter().any(|n| n.node == id);
                    assert!(beside || verdict.0 != Code::Success, "node {id} would do");
                }
            }
            Err(NoPreemption::Terminating) => assert!(self.plain.nominated.iter().any(|n| n.key == key)),
            Err(NoPreemption::Never) => panic!("no policy forbids it"),
        }
    }

    fn end(&mut self, terminate: bool) {
        if self.plain.pods.is_empty() {
            return;
        }
        let at = self.below(self.plain.pods.len() as u64) as usize;
        let key = self.plain.pods[at].key;
        if terminate {
            self.plain.pods[at].terminating = true;
            self.fast.set_terminating(key, false);
        } else {
            self.plain.pods.swap_remove(at);
            assert!(self.fast.remove(key).is_some());
        }
    }

    fn agree(&mut self) {
        for id in 0..self.plain.nodes.len() {
            if self.plain.nodes[id].is_none() {
                continue;
            }
            let (requested, _, _) = self.plain.requests_on(&self.plain.pods, id);
            let own = self.fast.requested(NodeId(id as u32));
            assert_eq!((own.cpu_m, own.memory, own.pods), (requested.cpu_m, requested.memory, requested.pods));
            for (shape, spec) in self.plain.shapes.iter().enumerate() {
                let expected = self.plain.verdict(&self.plain.pods, spec, id).0;
                assert_eq!(self.fast.fits(ShapeId(shape as u32), NodeId(id as u32)), expected);
            }
        }
    }

    fn step(&mut self, kind: u8) {
        match kind {
            0..5 => self.add_shape(),
            5..15 => self.add_node(),
            15..20 => self.update_node(),
            20..24 => self.remove_node(),
            24..32 => self.end(true),
            32..42 => self.end(false),
            42..44 => self.agree(),
            // A simulation on a copy says what the original says, and leaves it alone.
            44..46 => {
                let mut copy = self.fast.clone();
                let node = self.node();
                let id = copy.add_node(node.clone());
                for shape in (0..self.plain.shapes.len()).map(|s| ShapeId(s as u32)) {
                    assert_eq!(self.fast.fits_template(shape, &node), copy.fits(shape, id));
                }
            }
            _ => self.schedule(),
        }
    }
}

fn profile(which: u8) -> Profile {
    let anyway = WhenUnsatisfiable::ScheduleAnyway;
    let default = |key: &str, when_unsatisfiable| DefaultConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable,
    };
    let points = [(0, 0), (40, 10), (100, 2)];
    let points = points.map(|(utilization, score)| ShapePoint { utilization, score }).to_vec();
    match which {
        0..4 => Profile::default(),
        4 => Profile::fit_only(),
        5 => {
            Profile { scoring: ScoringStrategy::MostAllocated, percentage_of_nodes_to_score: 100, ..Profile::default() }
        }
        6 => Profile {
            scoring: ScoringStrategy::RequestedToCapacityRatio(points),
            scoring_resources: vec![("cpu".into(), 1), ("gpu/x".into(), 3)],
            balanced_resources: vec!["cpu".into(), "memory".into(), "gpu/x".into()],
            balanced: BalancedFormula::Level,
            ..Profile::default()
        },
        7 => Profile {
            default_spread: DefaultSpread::List(vec![
                default("rack", WhenUnsatisfiable::DoNotSchedule),
                default(ZONE, anyway),
            ]),
            hard_pod_affinity_weight: 7,
            ..Profile::default()
        },
        8 => Profile { ignored_resources: vec!["gpu/x".into()], ..Profile::default() },
        _ => Profile {
            filters: Filters { spread: false, taints: false, ..Filters::default() },
            weights: Weights { image_locality: 50, ..Weights::default() },
            ..Profile::default()
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_scheduler_decides_as_the_plain_rules_do(
        seed in any::<u64>(),
        which in 0_u8..10,
        steps in proptest::collection::vec(0_u8..100, 1..120),
    ) {
        let mut both = Both::new(profile(which), seed);
        for _ in 0..4 {
            both.add_shape();
            both.add_node();
        }
        for kind in steps {
            both.step(kind);
        }
        both.agree();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    /// With more than a hundred nodes not all are examined, and the next search goes on where the last one stopped.
    #[test]
    fn sampling_examines_the_same_nodes(seed in any::<u64>(), percentage in 0_i64..100) {
        let mut both = Both::new(Profile { percentage_of_nodes_to_score: percentage, ..Profile::default() }, seed);
        for _ in 0..5 {
            both.add_shape();
        }
        while both.fast.node_count() < 150 {
            both.add_node();
        }
        for step in 0..60 {
            match step % 12 {
                3 => both.update_node(),
                7 => both.remove_node(),
                9 => both.add_node(),
                11 => both.end(false),
                _ => both.schedule(),
            }
        }
    }
}

#[test]
fn the_reasons_read_as_the_scheduler_says_them() {
    let mut scheduler = Scheduler::new(Profile::default());
    let symbols = scheduler.symbols_mut();
    let [dedicated, gpu, namespace] = ["dedicated", "gpu", "default"].map(|t| symbols.intern(t));
    let names: Vec<Symbol> = (0..12).map(|n| symbols.intern(&format!("node-{n}"))).collect();
    for (n, name) in names.into_iter().enumerate() {
        let has = Resources { cpu_m: 500, memory: 1 << 30, pods: 10, ..Resources::default() };
        let mut node = Node::new(name, has);
        if n >= 3 {
            node.taints.push(Taint { key: dedicated, value: gpu, effect: Effect::NoSchedule });
        }
        scheduler.add_node(node);
    }
    let mut spec = PodSpec::new(namespace);
    (spec.requests.cpu_m, spec.priority) = (400, 5);
    let big = scheduler.add_shape(spec.clone());
    for pod in 0..3 {
        let node = scheduler.schedule(PodKey(pod), big, 0).expect("there is room");
        scheduler.place(PodKey(pod), big, node, SimTime::ZERO);
    }
    let why = scheduler.schedule(PodKey(9), big, 0).expect_err("the nodes are full");
    let none = scheduler.preempt(PodKey(9), big, &[], 0).expect_err("all have the same priority");
    assert_eq!(
        why.text_with(&none, scheduler.symbols()),
        "0/12 nodes are available: 3 Insufficient cpu, 9 node(s) had untolerated taint {dedicated: gpu}. preemption: \
         0/12 nodes are available: 3 No preemption victims found for incoming pod, 9 Preemption is not helpful for \
         scheduling."
    );
    assert_eq!(why.reasons.iter().map(|(_, n)| n).sum::<u32>(), 12);
    assert!(why.reasons.contains(&(Reason::Insufficient(ResourceName::Cpu), 3)));
    spec.priority = 10;
    let important = scheduler.add_shape(spec);
    let done = scheduler.preempt(PodKey(10), important, &[], 0).expect("the others are less important");
    assert_eq!(done.victims.len(), 1);
    assert_eq!(scheduler.nominations().len(), 1);
}
