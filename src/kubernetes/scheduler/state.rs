//! The scheduler's view of the cluster: nodes in slots, pods on them, what is requested of each.

use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use super::cache::{Log, Scratch, ShapeCache};
use super::counts::{Counts, HOSTNAME, NodeView};
use super::profile::{Profile, ScoringStrategy};
use super::shape::Form;
use super::why::Reason;
use crate::kernel::SimTime;
use crate::kubernetes::object::{Effect, Labels, PodSpec, Resources, Symbol, Symbols, Taint};

/// A node of a [`Scheduler`]: a slot, which another node takes after it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// The sort of a pod in a [`Scheduler`]: pods of equal specification have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShapeId(pub u32);

/// A pod, by a number that the caller gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey(pub u64);

impl NodeId {
    pub(super) const fn slot(self) -> usize {
        self.0 as usize
    }
}

impl ShapeId {
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the scheduler knows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Symbol,
    /// Its labels; the zone is that of `topology.kubernetes.io/zone`.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// What pods can request of it, `pods` included.
    pub allocatable: Resources,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// The images it has, by normalised name (see [`super::score::image_name`]), and their sizes in bytes.
    pub images: Vec<(Symbol, i64)>,
}

impl Node {
    /// A node without labels, taints and images.
    #[must_use]
    pub fn new(name: Symbol, allocatable: Resources) -> Self {
        Self {
            name,
            labels: Labels::default(),
            taints: Vec::new(),
            allocatable,
            unschedulable: false,
            images: Vec::new(),
        }
    }
}

/// Whether a pod is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It is not.
    #[default]
    No,
    /// It was deleted and still runs.
    Terminating,
    /// It was deleted by preemption and still runs.
    Preempted,
}

/// A pod on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it is.
    pub shape: ShapeId,
    /// Where it is.
    pub node: NodeId,
    /// When it started; [`SimTime::MAX`] if it has not: preemption prefers the youngest.
    pub start: SimTime,
    /// Whether it is on its way out. Its requests count until it is removed.
    pub ending: Ending,
}

/// A pod on a node, as the node lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// The pod.
    pub pod: PodKey,
    /// What it is.
    pub shape: ShapeId,
}

/// A pod that waits for room that preemption makes on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nomination {
    /// The pod.
    pub pod: PodKey,
    /// What it is.
    pub shape: ShapeId,
    /// Where it is expected.
    pub node: NodeId,
}

/// What a node has and what its pods request, without extended resources.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) has: Amounts,
    pub(super) used: Amounts,
    /// CPU and memory with the defaults for containers that request none.
    pub(super) score_cpu_m: i64,
    pub(super) score_memory: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amounts {
    pub(super) cpu_m: i64,
    pub(super) memory: i64,
    pub(super) storage: i64,
    pub(super) pods: i64,
}

impl Amounts {
    fn of(resources: &Resources) -> Self {
        Self {
            cpu_m: resources.cpu_m,
            memory: resources.memory,
            storage: resources.ephemeral_storage,
            pods: resources.pods,
        }
    }
}

/// A resource as the scores name it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dimension {
    Cpu,
    Memory,
    Storage,
    Extended(usize),
}

/// Symbols of labels that rules name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) zone: Symbol,
    pub(super) hostname: Symbol,
    pub(super) cordon: Symbol,
    pub(super) empty: Symbol,
}

/// The nodes in the order in which they are examined: one of each zone in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    zones: Vec<(Option<Symbol>, Vec<u32>)>,
    pub(super) list: Vec<u32>,
    stale: bool,
    /// Where the next search starts.
    pub(super) next: usize,
}

impl Order {
    fn add(&mut self, zone: Option<Symbol>, slot: u32) {
        match self.zones.iter_mut().find(|(z, _)| *z == zone) {
            Some((_, nodes)) => nodes.push(slot),
            None => self.zones.push((zone, vec![slot])),
        }
        self.stale = true;
    }

    fn remove(&mut self, zone: Option<Symbol>, slot: u32) {
        if let Some(at) = self.zones.iter().position(|(z, _)| *z == zone) {
            self.zones[at].1.retain(|n| *n != slot);
            if self.zones[at].1.is_empty() {
                self.zones.remove(at);
            }
        }
        self.stale = true;
    }

    pub(super) fn refresh(&mut self) {
        if !self.stale {
            return;
        }
        self.stale = false;
        self.list.clear();
        let longest = self.zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
        for row in 0..longest {
            self.list.extend(self.zones.iter().filter_map(|(_, nodes)| nodes.get(row)));
        }
    }
}

/// The scheduler with its cache of the cluster. A clone is a simulation: nothing of it reaches the original.
///
/// Pods go `schedule`, `place` (at once, as the real one assumes a pod on its node before it is bound), and in the
/// end `remove`. Nothing here has randomness or a clock: both are passed in.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub(super) profile: Arc<Profile>,
    pub(super) symbols: Arc<Symbols>,
    pub(super) known: Known,
    /// What the fit score looks at.
    pub(super) scoring: Vec<(Dimension, i64)>,
    /// Whether a node's rank can only fall when a pod comes.
    pub(super) ranks_fall: bool,
    /// The weights of CPU and memory where the fit score is the common one: least allocated by these two alone.
    pub(super) plain_weights: (i64, i64),
    /// Whether it is, and nothing else ranks nodes.
    pub(super) plain: bool,
    /// What is to be balanced.
    pub(super) balanced: Vec<Dimension>,
    /// Extended resources by dimension, and whether the fit filter ignores them.
    pub(super) dimensions: IndexMap<Symbol, bool, FxBuildHasher>,
    pub(super) nodes: Vec<Option<Arc<Node>>>,
    pub(super) loads: Vec<Load>,
    /// Has and used, by slot and dimension.
    pub(super) extended: Vec<(i64, i64)>,
    pub(super) residents: Vec<Vec<Resident>>,
    free: Vec<NodeId>,
    by_name: IndexMap<Symbol, NodeId, FxBuildHasher>,
    pub(super) order: Order,
    pub(super) pods: IndexMap<PodKey, Placed, FxBuildHasher>,
    pub(super) specs: IndexSet<Arc<PodSpec>, FxBuildHasher>,
    pub(super) forms: Vec<Arc<Form>>,
    pub(super) counts: Counts,
    pub(super) nominations: Vec<Nomination>,
    /// Reasons that verdicts name by number.
    pub(super) reasons: IndexSet<Reason, FxBuildHasher>,
    /// Nodes with taints of effect `PreferNoSchedule`.
    pub(super) soft_tainted: usize,
    /// Number of nodes that have an image.
    pub(super) image_nodes: IndexMap<Symbol, u32, FxBuildHasher>,
    /// Counts changes of what image scores depend on.
    pub(super) image_epoch: u64,
    pub(super) log: Log,
    pub(super) caches: Vec<Option<Box<ShapeCache>>>,
    pub(super) cached: usize,
    pub(super) attempts: u64,
    pub(super) scratch: Scratch,
}

impl Scheduler {
    /// A scheduler of an empty cluster.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self::with_symbols(profile, Symbols::default())
    }

    /// The same over a table of symbols that is already in use.
    #[must_use]
    pub fn with_symbols(profile: Profile, mut symbols: Symbols) -> Self {
        let known = Known {
            zone: symbols.intern("topology.kubernetes.io/zone"),
            hostname: symbols.intern(HOSTNAME),
            cordon: symbols.intern("node.kubernetes.io/unschedulable"),
            empty: symbols.intern(""),
        };
        let mut dimensions = IndexMap::default();
        let mut dimension = |name: &str| match name {
            "cpu" => Dimension::Cpu,
            "memory" => Dimension::Memory,
            "ephemeral-storage" => Dimension::Storage,
            other => Dimension::Extended(dimensions.insert_full(symbols.intern(other), profile.ignores(other)).0),
        };
        let scoring: Vec<(Dimension, i64)> =
            profile.scoring_resources.iter().map(|(name, weight)| (dimension(name), *weight)).collect();
        let balanced = profile.balanced_resources.iter().map(|name| dimension(name)).collect();
        let ranks_fall = profile.weights.balanced == 0
            && (profile.weights.fit == 0 || profile.scoring == ScoringStrategy::LeastAllocated);
        let (plain_weights, common) = match scoring[..] {
            [(Dimension::Cpu, cpu), (Dimension::Memory, memory)] => ((cpu, memory), true),
            _ => ((0, 0), false),
        };
        let plain = ranks_fall && common && profile.filters.fit && profile.weights.fit > 0;
        Self {
            ranks_fall,
            plain_weights,
            plain,
            profile: Arc::new(profile),
            symbols: Arc::new(symbols),
            known,
            scoring,
            balanced,
            dimensions,
            nodes: Vec::new(),
            loads: Vec::new(),
            extended: Vec::new(),
            residents: Vec::new(),
            free: Vec::new(),
            by_name: IndexMap::default(),
            order: Order::default(),
            pods: IndexMap::default(),
            specs: IndexSet::default(),
            forms: Vec::new(),
            counts: Counts::default(),
            nominations: Vec::new(),
            reasons: super::cache::fixed_reasons(),
            soft_tainted: 0,
            image_nodes: IndexMap::default(),
            image_epoch: 0,
            log: Log::default(),
            caches: Vec::new(),
            cached: 0,
            attempts: 0,
            scratch: Scratch::default(),
        }
    }

    /// The specification.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The texts that its objects name.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The same, to intern more. The first call after a clone copies the table.
    pub fn symbols_mut(&mut self) -> &mut Symbols {
        Arc::make_mut(&mut self.symbols)
    }

    /// The dimension of an extended resource, made if it is new.
    pub(super) fn dimension(&mut self, name: Symbol) -> usize {
        if let Some(at) = self.dimensions.get_index_of(&name) {
            return at;
        }
        let old = self.dimensions.len();
        let ignored = self.profile.ignores(self.symbols.text(name));
        self.dimensions.insert(name, ignored);
        let mut wider = Vec::with_capacity(self.nodes.len() * (old + 1));
        for slot in 0..self.nodes.len() {
            wider.extend_from_slice(&self.extended[slot * old..(slot + 1) * old]);
            wider.push((0, 0));
        }
        self.extended = wider;
        old
    }

    /// Adds a node. Its slot may have been another's. A second node of one name is allowed, but the name finds
    /// the newer one.
    pub fn add_node(&mut self, node: Node) -> NodeId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            self.loads.push(Load::default());
            self.residents.push(Vec::new());
            self.extended.resize(self.nodes.len() * self.dimensions.len(), (0, 0));
            self.counts.grow();
            NodeId(self.nodes.len() as u32 - 1)
        });
        self.settle(id, Arc::new(node));
        let node = self.nodes[id.slot()].clone().expect("it was just settled");
        self.order.add(node.labels.get(self.known.zone), id.0);
        id
    }

    /// Changes labels, taints, allocatable, images or the cordon of a node; its pods stay. Nothing happens where
    /// there is no such node.
    pub fn update_node(&mut self, id: NodeId, node: Node) {
        let Some(old) = self.node(id).cloned() else { return };
        if old == node {
            return;
        }
        self.count_residents(id, -1);
        let zones = (old.labels.get(self.known.zone), node.labels.get(self.known.zone));
        self.clear(id);
        self.settle(id, Arc::new(node));
        if zones.0 != zones.1 {
            self.order.remove(zones.0, id.0);
            self.order.add(zones.1, id.0);
        }
        self.count_residents(id, 1);
    }

    /// Removes a node with all its pods, which it returns; the pods nominated to it lose that.
    pub fn remove_node(&mut self, id: NodeId) -> Vec<PodKey> {
        let Some(zone) = self.node(id).map(|n| n.labels.get(self.known.zone)) else { return Vec::new() };
        let pods: Vec<PodKey> = self.residents[id.slot()].iter().map(|r| r.pod).collect();
        for pod in &pods {
            self.remove(*pod);
        }
        self.nominations.retain(|n| n.node != id);
        self.clear(id);
        self.order.remove(zone, id.0);
        self.loads[id.slot()] = Load::default();
        self.free.push(id);
        pods
    }

    fn settle(&mut self, id: NodeId, node: Arc<Node>) {
        let slot = id.slot();
        for taint in node.taints.iter().filter(|t| t.effect != Effect::PreferNoSchedule) {
            self.reasons.insert(Reason::Taint { key: taint.key, value: taint.value });
        }
        self.soft_tainted += usize::from(has_soft_taint(&node));
        for (image, _) in &node.images {
            *self.image_nodes.entry(*image).or_insert(0) += 1;
        }
        self.image_epoch += 1;
        self.loads[slot].has = Amounts::of(&node.allocatable);
        let names: Vec<(usize, i64)> =
            node.allocatable.extended.iter().map(|&(name, amount)| (self.dimension(name), amount)).collect();
        for (dimension, amount) in names {
            let at = self.at(slot, dimension);
            self.extended[at].0 = amount;
        }
        self.by_name.insert(node.name, id);
        let view = NodeView { name: node.name, labels: &node.labels, taints: &node.taints };
        self.counts.join(slot, view, &self.symbols);
        self.nodes[slot] = Some(node);
        self.log.node_remade(id.0);
    }

    fn clear(&mut self, id: NodeId) {
        let slot = id.slot();
        let Some(node) = self.nodes[slot].take() else { return };
        self.counts.leave(slot);
        self.soft_tainted -= usize::from(has_soft_taint(&node));
        for (image, _) in &node.images {
            if let Some(nodes) = self.image_nodes.get_mut(image) {
                *nodes -= 1;
            }
        }
        self.image_epoch += 1;
        if self.by_name.get(&node.name) == Some(&id) {
            self.by_name.swap_remove(&node.name);
        }
        for dimension in 0..self.dimensions.len() {
            let at = self.at(slot, dimension);
            self.extended[at].0 = 0;
        }
        self.log.node_remade(id.0);
    }

    fn count_residents(&mut self, id: NodeId, sign: i64) {
        for at in 0..self.residents[id.slot()].len() {
            let resident = self.residents[id.slot()][at];
            let terminating = self.pods.get(&resident.pod).is_some_and(|p| p.ending != Ending::No);
            self.counts.count(resident.shape.index(), id.slot(), terminating, sign);
        }
    }

    pub(super) fn at(&self, slot: usize, dimension: usize) -> usize {
        slot * self.dimensions.len() + dimension
    }

    /// Counts a pod's requests in or out (`sign` 1 or -1), without a trace in the log.
    pub(super) fn weigh(&mut self, shape: ShapeId, slot: usize, terminating: bool, sign: i64) {
        let width = self.dimensions.len();
        let form = &*self.forms[shape.index()];
        let (load, spec) = (&mut self.loads[slot], &form.spec);
        load.used.cpu_m += sign * spec.requests.cpu_m;
        load.used.memory += sign * spec.requests.memory;
        load.used.storage += sign * spec.requests.ephemeral_storage;
        load.used.pods += sign;
        load.score_cpu_m += sign * spec.score_cpu_m;
        load.score_memory += sign * spec.score_memory;
        for &(dimension, amount) in &form.extended {
            self.extended[slot * width + dimension].1 += sign * amount;
        }
        self.counts.count(shape.index(), slot, terminating, sign);
    }

    /// Puts a pod on a node, whether it fits or not; a pod that is elsewhere leaves there. Its nomination ends.
    /// Nothing happens where there is no such node or shape.
    pub fn place(&mut self, pod: PodKey, shape: ShapeId, node: NodeId, start: SimTime) {
        if self.node(node).is_none() || shape.index() >= self.forms.len() {
            return;
        }
        let placed = Placed { shape, node, start, ending: Ending::No };
        if self.pods.contains_key(&pod) {
            self.remove(pod);
        }
        self.pods.insert(pod, placed);
        self.residents[node.slot()].push(Resident { pod, shape });
        self.weigh(shape, node.slot(), false, 1);
        self.log.pod_came(node.0);
        if !self.nominations.is_empty() {
            self.nominations.retain(|n| n.pod != pod);
        }
    }

    /// When a placed pod started, where that became known later.
    pub fn set_start(&mut self, pod: PodKey, start: SimTime) {
        if let Some(placed) = self.pods.get_mut(&pod) {
            placed.start = start;
        }
    }

    /// A pod was deleted and runs out its grace period: topology spread counts it no more, all else does.
    pub fn set_terminating(&mut self, pod: PodKey, by_preemption: bool) {
        let Some(placed) = self.pods.get_mut(&pod) else { return };
        let was = placed.ending;
        if by_preemption {
            placed.ending = Ending::Preempted;
        } else if was == Ending::No {
            placed.ending = Ending::Terminating;
        }
        if was == Ending::No {
            self.counts.terminate(placed.shape.index(), placed.node.slot());
        }
    }

    /// A pod is gone.
    pub fn remove(&mut self, pod: PodKey) -> Option<Placed> {
        let placed = self.pods.swap_remove(&pod)?;
        let slot = placed.node.slot();
        let residents = &mut self.residents[slot];
        if let Some(at) = residents.iter().position(|r| r.pod == pod) {
            residents.swap_remove(at);
        }
        self.weigh(placed.shape, slot, placed.ending != Ending::No, -1);
        self.log.pod_went(placed.node.0);
        Some(placed)
    }

    /// A pod is expected on a node where preemption makes room (`nominatedNodeName`).
    pub fn nominate(&mut self, pod: PodKey, shape: ShapeId, node: NodeId) {
        self.nominations.retain(|n| n.pod != pod);
        if self.node(node).is_some() && shape.index() < self.forms.len() {
            self.nominations.push(Nomination { pod, shape, node });
        }
    }

    /// A pod is not expected anywhere any more.
    pub fn clear_nomination(&mut self, pod: PodKey) {
        self.nominations.retain(|n| n.pod != pod);
    }

    /// The pods that are expected somewhere.
    #[must_use]
    pub fn nominations(&self) -> &[Nomination] {
        &self.nominations
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.slot())?.as_deref()
    }

    /// The node of a name.
    #[must_use]
    pub fn node_named(&self, name: Symbol) -> Option<NodeId> {
        self.by_name.get(&name).copied()
    }

    /// All nodes, in the order of their slots.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(at, n)| Some((NodeId(at as u32), n.as_deref()?)))
    }

    /// The number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// A pod that is on a node.
    #[must_use]
    pub fn pod(&self, pod: PodKey) -> Option<&Placed> {
        self.pods.get(&pod)
    }

    /// The number of pods on nodes.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The pods on a node; the order says nothing.
    #[must_use]
    pub fn pods_on(&self, node: NodeId) -> &[Resident] {
        self.residents.get(node.slot()).map_or(&[], Vec::as_slice)
    }

    /// What the pods of a node request, with their number in `pods`.
    #[must_use]
    pub fn requested(&self, node: NodeId) -> Resources {
        let Some(load) = self.loads.get(node.slot()) else { return Resources::default() };
        let mut resources = Resources {
            cpu_m: load.used.cpu_m,
            memory: load.used.memory,
            ephemeral_storage: load.used.storage,
            pods: load.used.pods,
            extended: Vec::new(),
        };
        for (dimension, name) in self.dimensions.keys().enumerate() {
            let used = self.extended[self.at(node.slot(), dimension)].1;
            if used != 0 {
                resources.set_extended(*name, used);
            }
        }
        resources
    }

    /// What pods can request of a node.
    #[must_use]
    pub fn allocatable(&self, node: NodeId) -> Option<&Resources> {
        self.node(node).map(|n| &n.allocatable)
    }
}

fn has_soft_taint(node: &Node) -> bool {
    node.taints.iter().any(|t| t.effect == Effect::PreferNoSchedule)
}
