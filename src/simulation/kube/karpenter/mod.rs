//! Karpenter at work: pods that wait are batched, nodes are made for them, and nodes that are not needed go.

mod disrupt;
mod drift;
mod pools;
mod provision;
mod terminate;
mod views;
mod words;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::super::{Simulation, Timer};
use crate::catalog::Catalog;
use crate::cluster::NodeEnd;
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::karpenter::disruption::drift::RECHECK;
use crate::kubernetes::karpenter::disruption::{self, Command, PERIOD};
use crate::kubernetes::karpenter::labels::WellKnown;
use crate::kubernetes::karpenter::launch::Unavailable;
use crate::kubernetes::karpenter::pool::NodePool;
use crate::kubernetes::karpenter::table::{ObservedMemory, TypeTable, catalog_types};
use crate::kubernetes::karpenter::termination::Termination;
use crate::kubernetes::karpenter::timers::{BatchSpec, Batcher, record_pod_event};
use crate::kubernetes::karpenter::world::{Drift, NodeView, Options, World};
use crate::kubernetes::object::{Labels, PodSpec, Symbols, Taint};
use crate::kubernetes::scheduler::{Scheduler as KubeScheduler, ShapeId};
use crate::scenario::model::{Capacity, NodePool as WrittenPool, Plan};
use crate::units::{CapacityId, NodeId};
pub(in crate::simulation) use pools::types_of_pool;
use pools::{class_of, pool_of, zone_names};

/// A node of Karpenter.
#[derive(Clone, Debug)]
struct Claim {
    /// The pool, by its place in [`Karpenter::pools`].
    pool: usize,
    /// The type, by its place in the pool's table.
    of: usize,
    labels: Labels,
    taints: Vec<Taint>,
    /// The hash of the template that it was made of.
    made_of: u64,
    /// Which machine image of its class it has, counted from the start.
    image: u32,
    drift: Option<Drift>,
    /// What was said last of what keeps it from being replaced.
    held: Option<String>,
    /// When it is next compared with its pool.
    drift_due: SimTime,
    created: SimTime,
    /// How old it was when it was created here.
    age: SimDuration,
    /// `expireAfter` of the template that it was made of.
    expire_after: Option<SimDuration>,
    nominated_until: SimTime,
    last_pod_event: Option<SimTime>,
    /// A command wants it to go.
    marked: bool,
    /// Its end has begun.
    termination: Option<Termination>,
    why: NodeEnd,
}

impl Claim {
    /// A node of a pool and a type, with its labels, made now of the current image.
    fn new((at, of): (usize, usize), labels: Labels, pool: &NodePool, image: u32, now: SimTime) -> Self {
        Self {
            pool: at,
            of,
            labels,
            taints: pool.taints.clone(),
            made_of: 0,
            image,
            drift: None,
            held: None,
            drift_due: now + RECHECK,
            created: now,
            age: SimDuration::ZERO,
            expire_after: pool.expire_after,
            nominated_until: now,
            last_pod_event: None,
            marked: false,
            termination: None,
            why: NodeEnd::Idle,
        }
    }
}

/// A command that waits for its replacements.
#[derive(Clone, Debug)]
struct Queued {
    command: Command,
    nodes: Vec<NodeId>,
    replacements: Vec<NodeId>,
    started: SimTime,
    /// Why its nodes go.
    end: NodeEnd,
}

/// Karpenter while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Karpenter {
    known: WellKnown,
    pools: Vec<NodePool>,
    /// The pools as the scenario, or the last change, wrote them.
    written: Vec<WrittenPool>,
    /// Which machine image is current, by pool.
    images: Vec<u32>,
    /// How often a pool was changed.
    changes: u32,
    capacities: Vec<CapacityId>,
    tables: Vec<TypeTable>,
    /// By pool and type, the group's number for the type.
    kinds: Vec<Vec<Option<u32>>>,
    /// Shapes of the pods that every node of a pool gets.
    daemons: Vec<usize>,
    options: Options,
    batch: BatchSpec,
    batcher: Batcher,
    unavailable: Unavailable,
    memory: disruption::Memory,
    claims: IndexMap<NodeId, Claim>,
    /// The claim of the node that is being made.
    coming: Option<Claim>,
    validating: Option<(Command, SimTime)>,
    queue: Vec<Queued>,
    version: u64,
    /// The version at which a round found nothing to do, and when.
    quiet: Option<(u64, SimTime)>,
    /// What was said last of pods that no pool helps.
    said: Option<String>,
    /// The same of nodes that EC2 had no capacity for.
    refused: Option<String>,
}

impl Karpenter {
    pub(in crate::simulation) fn new(
        plan: &Plan,
        scheduler: &mut KubeScheduler,
        daemon_sets: &[ShapeId],
        system: ShapeId,
    ) -> Option<Self> {
        if !plan.capacity.values().any(|c| matches!(c, Capacity::NodePool(_))) {
            return None;
        }
        let catalog = Catalog::embedded();
        let symbols = scheduler.symbols_mut();
        let known = WellKnown::new(symbols);
        let (mut pools, mut written) = (Vec::new(), Vec::new());
        let (mut tables, mut capacities) = (Vec::new(), Vec::new());
        for (at, (name, capacity)) in plan.capacity.iter().enumerate() {
            let Capacity::NodePool(p) = capacity else { continue };
            let zones = zone_names(plan, p);
            let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
            let seen = (&ObservedMemory::default(), SimTime::ZERO);
            let region = &plan.cluster.region;
            tables.push(catalog_types(catalog, region, &zones, &class_of(plan, p), seen, &known, symbols));
            pools.push(pool_of(name, p, pools.len(), symbols));
            written.push(p.clone());
            capacities.push(CapacityId::from(at));
        }
        let flags = &plan.cluster.eks.karpenter;
        let mut daemons: Vec<usize> = daemon_sets.iter().map(|s| s.0 as usize).collect();
        // One shape stands for all of them.
        if plan.cluster.eks.system_pods > 0 {
            daemons.push(system.0 as usize);
        }
        Some(Self {
            known,
            kinds: vec![Vec::new(); pools.len()],
            images: vec![0; pools.len()],
            changes: 0,
            written,
            pools,
            capacities,
            tables,
            daemons,
            options: Options { spot_to_spot: flags.spot_to_spot_consolidation, ..Options::default() },
            batch: BatchSpec { idle: flags.batch_idle_duration, max: flags.batch_max_duration },
            batcher: Batcher::default(),
            unavailable: Unavailable::default(),
            memory: disruption::Memory::default(),
            claims: IndexMap::new(),
            coming: None,
            validating: None,
            queue: Vec::new(),
            version: 0,
            quiet: None,
            said: None,
            refused: None,
        })
    }

    fn world<'a>(
        &'a self,
        (now, start): (SimTime, Timestamp),
        symbols: &'a Symbols,
        shapes: &'a [PodSpec],
        nodes: &'a [NodeView],
    ) -> World<'a> {
        World {
            now,
            start,
            symbols,
            known: &self.known,
            shapes,
            pools: &self.pools,
            tables: &self.tables,
            nodes,
            daemons: &self.daemons,
            options: self.options,
        }
    }
}

impl Simulation<'_> {
    /// The world as Karpenter sees it, with the nodes of [`Simulation::node_views`].
    fn world_of<'a>(&'a self, k: &'a Karpenter, nodes: &'a [NodeView]) -> World<'a> {
        let kube = self.kube();
        k.world((self.queue.now(), self.plan.simulation.start), kube.scheduler.symbols(), &kube.shapes, nodes)
    }

    /// Time zero: which of the group's types are those of the tables, and the first round of the loop.
    pub(in crate::simulation) fn start_karpenter(&mut self) {
        let Some(k) = &self.kube().karpenter else { return };
        let symbols = self.kube().scheduler.symbols();
        let kinds = k.capacities.iter().zip(&k.tables).map(|(capacity, table)| {
            let types = self.group(*capacity).map_or(&[][..], |g| g.types.as_slice());
            let names = table.types().iter().map(|t| symbols.text(t.name));
            names.map(|name| types.iter().position(|g| g.of.name == name).map(|at| at as u32)).collect()
        });
        let kinds = kinds.collect();
        if let Some(k) = &mut self.kube_mut().karpenter {
            k.kinds = kinds;
        }
        self.schedule_timer_if_due(Timer::Karpenter, SimTime::ZERO + PERIOD, Phase::Decision);
    }

    fn record_karpenter(
        &mut self,
        capacity: CapacityId,
        sizes: Option<(i64, i64)>,
        reason: &'static str,
        text: String,
    ) {
        self.record_on_nodes("karpenter", capacity, sizes, reason, text, None);
    }

    /// Labels that a node of Karpenter has beside the known ones, and its taints; its claim is found or made here.
    pub(in crate::simulation) fn claim_template(&mut self, node: NodeId) -> Option<(Labels, Vec<Taint>)> {
        let k = self.kube_mut().karpenter.as_mut()?;
        if let Some(claim) = k.coming.take() {
            k.claims.entry(node).or_insert(claim);
        }
        k.claims.get(&node).map(|c| (c.labels.clone(), c.taints.clone()))
    }

    /// Pods came to a node, or left it.
    pub(in crate::simulation) fn pod_event(&mut self, node: NodeId) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        k.version += 1;
        if let Some(claim) = k.claims.get_mut(&node) {
            claim.last_pod_event = Some(record_pod_event(claim.last_pod_event, now));
        }
    }

    /// A node is gone.
    pub(in crate::simulation) fn claim_is_gone(&mut self, node: NodeId) {
        if let Some(k) = &mut self.kube_mut().karpenter {
            k.version += 1;
            k.claims.shift_remove(&node);
        }
    }
}
