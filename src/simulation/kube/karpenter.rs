//! Karpenter at work: pods that wait are batched, nodes are made for them, and nodes that are not needed go.

use indexmap::IndexMap;

use super::super::{Simulation, Timer};
use super::schedule::task_of;
use super::shapes::{self, millicores};
use crate::catalog::{Catalog, InstanceType};
use crate::cluster::{LifeCycle, Market, NodeEnd, NodeStatus, StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::disruption_budget::Demand;
use crate::kubernetes::karpenter::disruption::queue::{self, ReplacementState};
use crate::kubernetes::karpenter::disruption::{
    self, Command, Decision, Method, Observation, PERIOD, VALIDATION_DELAY,
};
use crate::kubernetes::karpenter::instance::CapacityType;
use crate::kubernetes::karpenter::labels::WellKnown;
use crate::kubernetes::karpenter::launch::{Depth, Launch, Unavailable, launch, node_labels};
use crate::kubernetes::karpenter::pool::{
    Budget, ConsolidationPolicy, Disruption, EvictionThreshold, Kubelet, Limits, NodeClass, NodePool, PoolRequirement,
    Reason, Reserved,
};
use crate::kubernetes::karpenter::scheduling::{NodeClaim, Scheduler, Target};
use crate::kubernetes::karpenter::table::{ObservedMemory, TypeTable, catalog_types};
use crate::kubernetes::karpenter::termination::{self, Step, Termination};
use crate::kubernetes::karpenter::timers::{BatchSpec, Batcher, expires, record_pod_event};
use crate::kubernetes::karpenter::world::{
    DoNotDisrupt, NodeView, Options, Owner, PendingPod, PodBudgets, PodPhase, PodView, World,
};
use crate::kubernetes::object::{Labels, PodSpec, Symbol, Symbols};
use crate::kubernetes::scheduler::{PodKey, Scheduler as KubeScheduler};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{
    Capacity, ConsolidationPolicy as Policy, DisruptionReason, IntOrPercent, Kubelet as WrittenKubelet, Never,
    NodePool as Written, Plan, WorkloadKind,
};
use crate::units::{CapacityId, IntOrPercent as Field, NodeId, ServiceId, TaskId, ZoneId};

/// Pods of the system that a node runs have keys beside all tasks.
const SYSTEM: u64 = 1 << 40;

/// A round that found nothing is believed no longer than this. Source: the cluster state of Karpenter, five minutes.
const LOOK_ANYWAY: SimDuration = SimDuration::from_mins(5);

/// A node of Karpenter.
#[derive(Clone, Debug)]
struct Claim {
    /// The pool, by its place in [`Karpenter::pools`].
    pool: usize,
    /// The type, by its place in the pool's table.
    of: usize,
    labels: Labels,
    created: SimTime,
    nominated_until: SimTime,
    last_pod_event: Option<SimTime>,
    /// A command wants it to go.
    marked: bool,
    /// Its end has begun.
    termination: Option<Termination>,
    why: NodeEnd,
}

/// A command that waits for its replacements.
#[derive(Clone, Debug)]
struct Queued {
    command: Command,
    nodes: Vec<NodeId>,
    replacements: Vec<NodeId>,
    started: SimTime,
}

/// Karpenter while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Karpenter {
    known: WellKnown,
    pools: Vec<NodePool>,
    capacities: Vec<CapacityId>,
    tables: Vec<TypeTable>,
    /// By pool and type, the group's number for the type.
    kinds: Vec<Vec<Option<u32>>>,
    /// By service, then the system's.
    shapes: Vec<PodSpec>,
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
}

fn after(time: Never) -> Option<SimDuration> {
    match time {
        Never::After(time) => Some(time),
        Never::Never => None,
    }
}

fn percent_or_number(value: IntOrPercent) -> String {
    match value {
        IntOrPercent::Int(n) => n.to_string(),
        IntOrPercent::Percent(p) => format!("{p}%"),
    }
}

fn kubelet(k: &WrittenKubelet) -> Kubelet {
    let bytes = |b: crate::units::Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
    Kubelet {
        max_pods: k.max_pods.map(i64::from),
        pods_per_core: None,
        kube_reserved: Reserved {
            cpu_m: k.kube_reserved_cpu.map(millicores),
            memory: k.kube_reserved_memory.map(bytes),
            ephemeral_storage: None,
        },
        system_reserved: Reserved {
            cpu_m: Some(millicores(k.system_reserved_cpu)),
            memory: Some(bytes(k.system_reserved_memory)),
            ephemeral_storage: None,
        },
        eviction_hard_memory: Some(EvictionThreshold::Bytes(bytes(k.eviction_hard_memory))),
        eviction_hard_storage: None,
    }
}

fn pool_of(name: &str, p: &Written, table: usize, symbols: &mut Symbols) -> NodePool {
    let bytes = |b: crate::units::Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
    let mut pool = NodePool::new(symbols.intern(name), table);
    pool.weight = i32::try_from(p.weight).unwrap_or(100);
    pool.requirements = p
        .requirements
        .iter()
        .map(|r| PoolRequirement { requirement: shapes::requirement(r, symbols), min_values: r.min_values })
        .collect();
    pool.labels = p.labels.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
    pool.taints = p.taints.iter().map(|t| shapes::taint(t, symbols)).collect();
    pool.expire_after = after(p.expire_after);
    pool.termination_grace_period = p.termination_grace_period;
    pool.limits = Limits {
        cpu_m: p.limits.cpu.map(millicores),
        memory: p.limits.memory.map(bytes),
        nodes: p.limits.nodes.map(i64::from),
        ..Limits::default()
    };
    pool.disruption = Disruption {
        consolidation_policy: match p.disruption.consolidation_policy {
            Policy::WhenEmpty => ConsolidationPolicy::WhenEmpty,
            Policy::WhenEmptyOrUnderutilized => ConsolidationPolicy::WhenEmptyOrUnderutilized,
            Policy::Balanced => ConsolidationPolicy::Balanced,
        },
        consolidate_after: after(p.disruption.consolidate_after),
        budgets: p
            .disruption
            .budgets
            .iter()
            .map(|b| Budget {
                nodes: percent_or_number(b.nodes),
                reasons: b
                    .reasons
                    .iter()
                    .map(|r| match r {
                        DisruptionReason::Underutilized => Reason::Underutilized,
                        DisruptionReason::Empty => Reason::Empty,
                        DisruptionReason::Drifted => Reason::Drifted,
                    })
                    .collect(),
                schedule: b.schedule.clone(),
                duration: b.duration,
            })
            .collect(),
    };
    pool
}

fn zone_names(plan: &Plan, pool: &Written) -> Vec<String> {
    let here = |z: &u32| pool.zones.is_empty() || pool.zones.contains(z);
    (0..plan.cluster.zones)
        .filter(here)
        .map(|z| format!("{}{}", plan.cluster.region, char::from(b'a' + z.min(25) as u8)))
        .collect()
}

fn class_of(plan: &Plan, pool: &Written) -> NodeClass {
    NodeClass {
        kubelet: kubelet(&pool.kubelet),
        root_volume: i64::try_from(pool.nodes.volume.size.get()).unwrap_or(i64::MAX),
        vm_memory_overhead_millionths: (plan.cluster.eks.karpenter.vm_memory_overhead_percent * 1e6).round() as i64,
        ..NodeClass::default()
    }
}

/// The types of which a NodePool may make nodes.
pub(in crate::simulation) fn types_of_pool(
    plan: &Plan,
    catalog: &Catalog,
    name: &str,
    pool: &Written,
) -> Vec<&'static InstanceType> {
    let mut symbols = Symbols::default();
    let known = WellKnown::new(&mut symbols);
    let zones = zone_names(plan, pool);
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let seen = (&ObservedMemory::default(), SimTime::ZERO);
    let table = catalog_types(catalog, &plan.cluster.region, &zones, &class_of(plan, pool), seen, &known, &mut symbols);
    let wanted = pool_of(name, pool, 0, &mut symbols).node_requirements(&known, &symbols);
    let fits = |t: &&crate::kubernetes::karpenter::instance::InstanceType| {
        wanted.conflict(&t.requirements, &symbols).is_none()
    };
    let names = table.types().iter().filter(fits).map(|t| symbols.text(t.name).to_string());
    names.filter_map(|n| catalog.instance_type(&n).ok()).collect()
}

impl Karpenter {
    pub(super) fn new(
        plan: &Plan,
        scheduler: &mut KubeScheduler,
        shapes: Vec<PodSpec>,
        system: &PodSpec,
    ) -> Option<Self> {
        if !plan.capacity.values().any(|c| matches!(c, Capacity::NodePool(_))) {
            return None;
        }
        let catalog = Catalog::embedded();
        let symbols = scheduler.symbols_mut();
        let known = WellKnown::new(symbols);
        let (mut pools, mut tables, mut capacities) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (name, capacity)) in plan.capacity.iter().enumerate() {
            let Capacity::NodePool(p) = capacity else { continue };
            let zones = zone_names(plan, p);
            let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
            let seen = (&ObservedMemory::default(), SimTime::ZERO);
            let region = &plan.cluster.region;
            tables.push(catalog_types(catalog, region, &zones, &class_of(plan, p), seen, &known, symbols));
            pools.push(pool_of(name, p, pools.len(), symbols));
            capacities.push(CapacityId::from(at));
        }
        let flags = &plan.cluster.eks.karpenter;
        let daemon_sets = plan.services.values().enumerate();
        let mut daemons: Vec<usize> =
            daemon_sets.filter(|(_, s)| s.kubernetes.kind == WorkloadKind::DaemonSet).map(|(at, _)| at).collect();
        let mut shapes = shapes;
        // One shape stands for all of them: it asks for what they ask for together.
        daemons.extend((plan.cluster.eks.system_pods > 0).then_some(shapes.len()));
        shapes.push(system.clone());
        Some(Self {
            known,
            kinds: vec![Vec::new(); pools.len()],
            pools,
            capacities,
            tables,
            shapes,
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
        })
    }

    /// Whether time alone has made a node a candidate since the last look: it has been left alone for long enough, or is no
    /// longer nominated.
    fn ripens(&self, simulation: &Simulation<'_>, from: SimTime, to: SimTime) -> bool {
        let within = |at: SimTime| from < at && at <= to;
        self.claims.iter().any(|(node, c)| {
            let initialized = simulation.cluster.node(*node).times.registered;
            let quiet_since = c.last_pod_event.or(initialized);
            let after = self.pools[c.pool].disruption.consolidate_after;
            within(c.nominated_until) || quiet_since.zip(after).is_some_and(|(at, after)| within(at + after))
        }) || self.pools.iter().any(|p| p.disruption.budgets.iter().any(|b| b.schedule.is_some()))
    }

    fn claim_of(&self, name: Symbol, views: &[(NodeId, NodeView)]) -> Option<NodeId> {
        views.iter().find(|(_, v)| v.name == name).map(|(n, _)| *n)
    }
}

/// Draws a world from what Karpenter remembers and what the simulation shows it.
macro_rules! world {
    ($sim:expr, $k:expr, $nodes:expr) => {
        World {
            now: $sim.queue.now(),
            start: $sim.plan.simulation.start,
            symbols: $sim.kube().scheduler.symbols(),
            known: &$k.known,
            shapes: &$k.shapes,
            pools: &$k.pools,
            tables: &$k.tables,
            nodes: $nodes,
            daemons: &$k.daemons,
            options: $k.options,
        }
    };
}

impl Simulation<'_> {
    /// Time zero: which of the group's types are those of the tables, and the first round of the loop.
    pub(super) fn start_karpenter(&mut self) {
        let Some(mut k) = self.kube_mut().karpenter.take() else { return };
        for (pool, capacity) in k.capacities.clone().into_iter().enumerate() {
            let Some(group) = self.group(capacity) else { continue };
            let symbols = self.kube().scheduler.symbols();
            let kind = |t: &crate::kubernetes::karpenter::instance::InstanceType| {
                let name = symbols.text(t.name);
                group.types.iter().position(|g| g.of.name == name).map(|at| at as u32)
            };
            k.kinds[pool] = k.tables[pool].types().iter().map(kind).collect();
        }
        self.kube_mut().karpenter = Some(k);
        self.schedule_timer_if_due(Timer::Karpenter, SimTime::ZERO + PERIOD, Phase::Decision);
    }

    /// Nodes for the pods of the start, which have run for long.
    pub(super) fn provision_at_start(&mut self, waiting: &[TaskId]) {
        let pending: Vec<PendingPod> = waiting
            .iter()
            .map(|&t| PendingPod {
                uid: u64::from(t.0),
                shape: self.cluster.task(t).service.index(),
                created: SimTime::ZERO,
            })
            .collect();
        self.provision(&pending, true);
    }

    /// A pod has no node: the batch waits a little for others.
    pub(super) fn pod_needs_a_node(&mut self, task: TaskId) {
        self.trigger_batch(u64::from(task.0));
    }

    fn trigger_batch(&mut self, uid: u64) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        let at = k.batcher.trigger(&k.batch, uid, now);
        self.schedule_timer_if_due(Timer::KarpenterBatch, at, Phase::Decision);
    }

    /// The window of a batch may close.
    pub(in crate::simulation) fn on_karpenter_batch(&mut self) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        if !k.batcher.close(&k.batch, now) {
            if let Some(at) = k.batcher.closes(&k.batch) {
                self.schedule_timer_if_due(Timer::KarpenterBatch, at, Phase::Decision);
            }
            return;
        }
        let pending = self.pods_for_karpenter();
        self.provision(&pending, false);
    }

    fn pods_for_karpenter(&self) -> Vec<PendingPod> {
        self.pending_pods()
            .into_iter()
            .filter(|p| p.nominated.is_none())
            .filter_map(|p| {
                let task = task_of(p.pod)?;
                let shape = self.cluster.task(task).service.index();
                Some(PendingPod { uid: p.pod.0, shape, created: p.created })
            })
            .collect()
    }

    /// One pass of provisioning.
    fn provision(&mut self, pending: &[PendingPod], at_start: bool) {
        let now = self.queue.now();
        let Some(mut k) = self.kube_mut().karpenter.take() else { return };
        let views = self.node_views(&k);
        let nodes: Vec<NodeView> = views.iter().map(|(_, v)| v.clone()).collect();
        let found = {
            let world = world!(self, k, &nodes);
            Scheduler::new(world, &k.unavailable).provision(pending)
        };
        for target in found.targets.iter().zip(&found.pods) {
            if let (Some(Target::Node(n)), pod) = target
                && pod.origin == crate::kubernetes::karpenter::scheduling::Origin::Pending
                && let Some(claim) = k.claims.get_mut(&views[*n].0)
            {
                claim.nominated_until = now + k.batch.nomination();
            }
        }
        let why: Vec<String> = found.unplaced.iter().map(|(_, u)| format!("{u:?}")).take(1).collect();
        let (waits, unplaced) = (pending.len(), found.unplaced.len());
        let mut again = false;
        for claim in &found.claims {
            if self.launch_claim(&mut k, claim, &nodes, at_start, None).is_none() {
                again = true;
            }
        }
        if let Some(text) = why.first()
            && k.said.as_deref() != Some(text.as_str())
        {
            k.said = Some(text.clone());
            let capacity = k.capacities[0];
            let text = format!("{unplaced} of {waits} pods find no place: {text}");
            self.record_karpenter(capacity, None, "unplaced", text);
        }
        self.kube_mut().karpenter = Some(k);
        if again {
            for pod in pending {
                self.trigger_batch(pod.uid);
            }
        }
    }

    /// Launches the node of a claim. `None` when EC2 has nothing that it allows.
    fn launch_claim(
        &mut self,
        k: &mut Karpenter,
        claim: &NodeClaim,
        nodes: &[NodeView],
        at_start: bool,
        replaces: Option<&Command>,
    ) -> Option<NodeId> {
        let now = self.queue.now();
        let capacity = k.capacities[claim.pool];
        // EC2 is asked while the world is looked at: the texts are copied, which is cheap beside a launch.
        let symbols = self.kube().scheduler.symbols().clone();
        let zones: Vec<(Symbol, ZoneId)> = (0..self.plan.cluster.zones)
            .filter_map(|z| {
                let name = format!("{}{}", self.plan.cluster.region, char::from(b'a' + z.min(25) as u8));
                Some((symbols.get(&name)?, ZoneId(z)))
            })
            .collect();
        let zone_of = |zone: Symbol| zones.iter().find(|(s, _)| *s == zone).map(|(_, z)| *z);
        let kinds = k.kinds[claim.pool].clone();
        let mut unavailable = std::mem::take(&mut k.unavailable);
        let launched = {
            let world = World {
                now,
                start: self.plan.simulation.start,
                symbols: &symbols,
                known: &k.known,
                shapes: &k.shapes,
                pools: &k.pools,
                tables: &k.tables,
                nodes,
                daemons: &k.daemons,
                options: k.options,
            };
            let result = launch(&world, claim, &mut unavailable, |of, zone, market| {
                let (Some(kind), Some(zone)) = (kinds.get(of).copied().flatten(), zone_of(zone)) else {
                    return Depth::Empty;
                };
                let market = market_of(market);
                if at_start {
                    let sells = self.group(capacity).is_some_and(|g| g.sells(kind, zone, market));
                    return if sells { Depth::Deep } else { Depth::Empty };
                }
                if !self.has_capacity(capacity, kind, zone, market) {
                    return Depth::Empty;
                }
                match market {
                    Market::OnDemand => Depth::Deep,
                    Market::Spot if self.spot_depth(capacity, kind, zone) > 1 => Depth::Deep,
                    Market::Spot => Depth::Shallow,
                }
            });
            result.map(|l| {
                let labels = node_labels(&world, claim, &l, symbols.get("").unwrap_or(k.known.hostname));
                (l, labels)
            })
        };
        k.unavailable = unavailable;
        let (Launch { instance_type, zone, capacity_type, price, failed }, labels) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                let text = format!("no capacity for {} pods: {error:?}", claim.pods.len());
                self.record_karpenter(capacity, None, "insufficient_capacity", text);
                return None;
            }
        };
        let (Some(kind), Some(zone)) = (kinds.get(instance_type).copied().flatten(), zone_of(zone)) else {
            return None;
        };
        let market = market_of(capacity_type);
        k.coming = Some(Claim {
            pool: claim.pool,
            of: instance_type,
            labels,
            created: now,
            nominated_until: now + k.batch.nomination(),
            last_pod_event: None,
            marked: false,
            termination: None,
            why: NodeEnd::Idle,
        });
        k.version += 1;
        // The node's facts look for Karpenter's memory.
        let mut lent = k.clone();
        std::mem::swap(&mut lent, k);
        self.kube_mut().karpenter = Some(lent);
        let node = match at_start {
            true => self.place_running_node(capacity, kind, zone, market),
            false => self.launch_node(capacity, kind, zone, market, false),
        };
        if let Some(back) = self.kube_mut().karpenter.take() {
            *k = back;
        }
        if let (Some(node), Some(claim)) = (node, k.coming.take()) {
            k.claims.entry(node).or_insert(claim);
        }
        if let Some(node) = node
            && !at_start
        {
            let name = self.group(capacity).and_then(|g| g.types.get(kind as usize)).map_or("", |t| t.of.name);
            let letter = super::super::intervals::zone_letter(zone.0);
            let refused =
                if failed.is_empty() { String::new() } else { format!(", {} offerings refused before", failed.len()) };
            let text = match replaces {
                None => format!(
                    "{} pods wait: node {} of type {name} ({capacity_type}) in zone {letter} at ${:.4} an hour, the best of {} types{refused}",
                    claim.pods.len(),
                    node.0,
                    price.dollars(),
                    claim.types.len(),
                ),
                Some(command) => format!(
                    "replaces {} nodes that cost ${:.4} an hour: node {} of type {name} ({capacity_type}) in zone {letter} at ${:.4}{refused}",
                    command.candidates.len(),
                    command.price.dollars(),
                    node.0,
                    price.dollars(),
                ),
            };
            self.record_karpenter(capacity, None, if replaces.is_some() { "replace" } else { "provision" }, text);
        }
        node
    }

    fn spot_depth(&self, capacity: CapacityId, kind: u32, zone: ZoneId) -> u32 {
        let now = self.queue.now();
        let Some(group) = self.group(capacity) else { return 0 };
        let pool = group.pools.iter().position(|p| p.kind == kind && p.zone == zone);
        pool.zip(group.market.as_ref()).map_or(0, |(at, m)| m.depth(at, now))
    }

    fn record_karpenter(
        &mut self,
        capacity: CapacityId,
        sizes: Option<(i64, i64)>,
        reason: &'static str,
        text: String,
    ) {
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "karpenter".into(),
            subject: format!("capacity.{}", self.capacities[capacity.index()].name).into(),
            from: sizes.map(|s| s.0),
            result: sizes.map(|s| s.1),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let null = serde_json::Value::Null;
        self.recorder.decision(&row, &DecisionDetail { observation: null.clone(), memory: null });
    }

    /// Labels that a node of Karpenter has beside the known ones; its claim is found or made here.
    pub(super) fn claim_labels(&mut self, node: NodeId) -> Option<Labels> {
        let k = self.kube_mut().karpenter.as_mut()?;
        if let Some(claim) = k.coming.take() {
            k.claims.entry(node).or_insert(claim);
        }
        k.claims.get(&node).map(|c| c.labels.clone())
    }

    /// Pods came to a node, or left it.
    pub(super) fn pod_event(&mut self, node: NodeId) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        k.version += 1;
        if let Some(claim) = k.claims.get_mut(&node) {
            claim.last_pod_event = Some(record_pod_event(claim.last_pod_event, now));
        }
    }

    /// A node is gone.
    pub(super) fn claim_is_gone(&mut self, node: NodeId) {
        if let Some(k) = &mut self.kube_mut().karpenter {
            k.version += 1;
            k.claims.shift_remove(&node);
        }
    }

    /// All nodes as Karpenter sees them.
    fn node_views(&self, k: &Karpenter) -> Vec<(NodeId, NodeView)> {
        let mut views = Vec::new();
        let budgets: Vec<PodBudgets> = (0..self.services.len()).map(|s| self.pod_budgets(ServiceId::from(s))).collect();
        for capacity in self.node_capacities() {
            for n in self.cluster.nodes_of(capacity) {
                let seat = self.kube().seat_of(n.id);
                let claim = k.claims.get(&n.id);
                let seen = seat.and_then(|s| self.kube().scheduler.node(s));
                let Some(name) = seen.map(|s| s.name).or(claim.map(|_| k.known.hostname)) else { continue };
                let mut view = NodeView::new(name);
                if let Some(seen) = seen {
                    view.labels = seen.labels.clone();
                    view.taints = seen.taints.clone();
                    view.allocatable = seen.allocatable.clone();
                    view.capacity = seen.allocatable.clone();
                }
                view.has_node = seat.is_some();
                view.created = n.times.launched;
                view.initialized = n.times.registered;
                view.ready = seat.is_some() && !self.nodes[n.id.index()].lost;
                view.terminating_instance = n.life >= LifeCycle::Terminating;
                view.deleting = n.life >= LifeCycle::Terminating || self.leaves(n.id);
                if let Some(claim) = claim {
                    let of = &k.tables[claim.pool].types()[claim.of];
                    if seat.is_none() {
                        view.labels = claim.labels.clone();
                        view.allocatable = of.allocatable().clone();
                    }
                    view.capacity = of.capacity.clone();
                    view.pool = Some(claim.pool);
                    view.managed = true;
                    view.created = claim.created;
                    view.instance_type = Some(claim.of);
                    view.capacity_type = match n.spec.market {
                        Market::OnDemand => CapacityType::OnDemand,
                        Market::Spot => CapacityType::Spot,
                    };
                    view.deleting |= claim.termination.is_some();
                    view.marked = claim.marked;
                    view.nominated_until = claim.nominated_until;
                    view.last_pod_event = claim.last_pod_event;
                    view.termination_grace_period = k.pools[claim.pool].termination_grace_period;
                }
                view.pods = self.cluster.tasks_on(n.id).map(|t| self.pod_view(t.id, &budgets)).collect();
                if seat.is_some() && self.kube().settings.system_pods > 0 {
                    let system = k.shapes.len() - 1;
                    let uid = SYSTEM | u64::from(n.id.0) << 8;
                    let pod = PodView::new(uid, system, n.times.launched);
                    view.pods.push(PodView { owner: Owner::DaemonSet, ..pod });
                }
                views.push((n.id, view));
            }
        }
        views
    }

    fn pod_view(&self, task: TaskId, budgets: &[PodBudgets]) -> PodView {
        let t = self.cluster.task(task);
        let (pod, w) = (&self.kube().pods[task.index()], &self.kube().workloads[t.service.index()]);
        PodView {
            started: t.times.started,
            owner: match w.plan.kind {
                WorkloadKind::DaemonSet => Owner::DaemonSet,
                WorkloadKind::Deployment => Owner::ReplicaSet,
            },
            phase: match (t.status, t.stop_code) {
                (s, _) if s >= TaskStatus::Deprovisioning => PodPhase::Finished,
                (_, Some(_)) => PodPhase::Terminating { deadline: pod.kill_at.unwrap_or(self.queue.now()) },
                _ => PodPhase::Active,
            },
            do_not_disrupt: w.plan.do_not_disrupt.then_some(DoNotDisrupt::Always),
            budgets: budgets[t.service.index()],
            grace_period: SimDuration::from_secs(u64::from(w.plan.termination_grace_period_seconds)),
            ..PodView::new(u64::from(task.0), t.service.index(), t.times.requested)
        }
    }

    fn pod_budgets(&self, service: ServiceId) -> PodBudgets {
        let Some(status) = self.budget_of(service) else { return PodBudgets::default() };
        let never = match self.kube().workloads[service.index()].budget.spec.map(|s| s.demand) {
            Some(Demand::MaxUnavailable(Field::Int(0) | Field::Percent(0))) => true,
            Some(Demand::MinAvailable(Field::Percent(p))) => p >= 100,
            _ => false,
        };
        PodBudgets { count: 1, blocked: status.disruptions_allowed <= 0, never }
    }

    /// One round of Karpenter's loops: expiry, commands that wait, disruption.
    pub(in crate::simulation) fn on_karpenter(&mut self) {
        let now = self.queue.now();
        let Some(mut k) = self.kube_mut().karpenter.take() else { return };
        k.unavailable.sweep(now);
        let old: Vec<NodeId> = k
            .claims
            .iter()
            .filter(|(_, c)| {
                c.termination.is_none() && expires(c.created, k.pools[c.pool].expire_after).is_some_and(|at| at <= now)
            })
            .map(|(n, _)| *n)
            .collect();
        let mut going: Vec<(NodeId, NodeEnd)> = old.into_iter().map(|n| (n, NodeEnd::MaxLifetime)).collect();
        going.extend(self.replacements_ready(&mut k));
        let mut next = now + PERIOD;
        if !k.queue.is_empty() {
            next = now + queue::POLL;
        }
        let mut done = false;
        match k.validating.take() {
            Some((command, due)) if due > now => {
                next = next.min(due);
                k.validating = Some((command, due));
            }
            Some((command, _)) => {
                going.extend(self.validate_command(&mut k, command));
                done = true;
            }
            None => {
                if let Some(command) = self.find_disruption(&mut k) {
                    if command.method.is_validated() {
                        next = next.min(now + VALIDATION_DELAY);
                        k.validating = Some((command, now + VALIDATION_DELAY));
                    } else {
                        going.extend(self.execute(&mut k, command));
                        done = true;
                    }
                }
            }
        }
        if done {
            // After a success the loop runs again at once.
            next = next.min(now + SimDuration::from_secs(1));
        }
        self.kube_mut().karpenter = Some(k);
        for (node, why) in going {
            self.delete_claim(node, why);
        }
        self.schedule_timer_if_due(Timer::Karpenter, next, Phase::Decision);
    }

    fn find_disruption(&self, k: &mut Karpenter) -> Option<Command> {
        let now = self.queue.now();
        if let Some((version, at)) = k.quiet
            && version == k.version
            && now.since(at) < LOOK_ANYWAY
            && !k.ripens(self, at, now)
        {
            return None;
        }
        let pending = self.pods_for_karpenter();
        let views = self.node_views(k);
        let nodes: Vec<NodeView> = views.iter().map(|(_, v)| v.clone()).collect();
        let queued = queued_names(k, &views);
        let mut memory = std::mem::take(&mut k.memory);
        let command = {
            let world = world!(self, k, &nodes);
            let seen = Observation {
                pending: &pending,
                unavailable: &k.unavailable,
                queued: &queued,
                version: k.version,
                most_single: None,
            };
            disruption::disrupt(&mut Scheduler::new(world, &k.unavailable), &mut memory, &seen)
        };
        k.memory = memory;
        k.quiet = command.is_none().then_some((k.version, now));
        command
    }

    /// A decision is looked at again, fifteen seconds after it was made.
    fn validate_command(&mut self, k: &mut Karpenter, command: Command) -> Vec<(NodeId, NodeEnd)> {
        let pending = self.pods_for_karpenter();
        let views = self.node_views(k);
        let nodes: Vec<NodeView> = views.iter().map(|(_, v)| v.clone()).collect();
        let queued = queued_names(k, &views);
        let (method, pool) = (command.method, command.candidates.first().map_or(0, |c| c.pool));
        let result = {
            let world = world!(self, k, &nodes);
            let seen = Observation {
                pending: &pending,
                unavailable: &k.unavailable,
                queued: &queued,
                version: k.version,
                most_single: None,
            };
            disruption::validate(&mut Scheduler::new(world, &k.unavailable), command, &seen)
        };
        match result {
            Ok(command) => self.execute(k, command),
            Err(why) => {
                let text = format!("{}: the decision no longer holds after 15 s: {why:?}", method_name(method));
                self.record_karpenter(k.capacities[pool], None, "abandoned", text);
                Vec::new()
            }
        }
    }

    /// Carries a command out: replacements first. The nodes that may go at once are given back.
    fn execute(&mut self, k: &mut Karpenter, command: Command) -> Vec<(NodeId, NodeEnd)> {
        let now = self.queue.now();
        let views = self.node_views(k);
        let nodes: Vec<NodeView> = views.iter().map(|(_, v)| v.clone()).collect();
        let going: Vec<NodeId> = command.candidates.iter().filter_map(|c| k.claim_of(c.name, &views)).collect();
        let pool = command.candidates.first().map_or(0, |c| c.pool);
        let names: Vec<String> = going.iter().map(|n| n.0.to_string()).collect();
        let what = match command.decision() {
            Decision::Delete => "delete",
            Decision::Replace => "replace",
        };
        let count = k.claims.values().filter(|c| c.pool == pool).count() as i64;
        let text = format!(
            "{}: {what} node{} {} of ${:.4} an hour",
            method_name(command.method),
            if names.len() == 1 { "" } else { "s" },
            names.join(", "),
            command.price.dollars(),
        );
        let after = count - going.len() as i64 + command.replacements.len() as i64;
        self.record_karpenter(k.capacities[pool], Some((count, after)), method_name(command.method), text);
        for &node in &going {
            if let Some(claim) = k.claims.get_mut(&node) {
                claim.marked = true;
            }
        }
        k.version += 1;
        let mut replacements = Vec::new();
        for claim in &command.replacements.clone() {
            match self.launch_claim(k, claim, &nodes, false, Some(&command)) {
                Some(node) => replacements.push(node),
                None => {
                    // Without its replacement the command is given up.
                    for node in &going {
                        if let Some(claim) = k.claims.get_mut(node) {
                            claim.marked = false;
                        }
                    }
                    return Vec::new();
                }
            }
        }
        let lent = k.clone();
        self.kube_mut().karpenter = Some(lent);
        for &node in &going {
            self.cordon(node);
        }
        if let Some(back) = self.kube_mut().karpenter.take() {
            *k = back;
        }
        if replacements.is_empty() {
            return going.into_iter().map(|n| (n, NodeEnd::Idle)).collect();
        }
        k.queue.push(Queued { command, nodes: going, replacements, started: now });
        Vec::new()
    }

    /// Commands whose replacements are ready: their nodes go.
    fn replacements_ready(&mut self, k: &mut Karpenter) -> Vec<(NodeId, NodeEnd)> {
        let now = self.queue.now();
        let commands = k.queue.len();
        let mut going = Vec::new();
        let mut left = Vec::new();
        for queued in std::mem::take(&mut k.queue) {
            let states: Vec<ReplacementState> = queued
                .replacements
                .iter()
                .map(|n| match self.cluster.node(*n) {
                    n if n.life >= LifeCycle::Terminating => ReplacementState::Gone,
                    n if n.times.registered.is_some() => ReplacementState::Initialized,
                    _ => ReplacementState::Starting,
                })
                .collect();
            match queue::step(&states, queued.started, commands, now) {
                queue::Step::Wait => left.push(queued),
                queue::Step::Delete => going.extend(queued.nodes.iter().map(|n| (*n, NodeEnd::Idle))),
                queue::Step::GiveUp(why) => {
                    let pool = queued.command.candidates.first().map_or(0, |c| c.pool);
                    self.record_karpenter(
                        k.capacities[pool],
                        None,
                        "given_up",
                        format!("a command is given up: {why:?}"),
                    );
                    for node in queued.nodes {
                        if let Some(claim) = k.claims.get_mut(&node) {
                            claim.marked = false;
                        }
                        if self.cluster.node(node).status == NodeStatus::Draining {
                            let lent = k.clone();
                            self.kube_mut().karpenter = Some(lent);
                            self.uncordon(node);
                            if let Some(back) = self.kube_mut().karpenter.take() {
                                *k = back;
                            }
                        }
                    }
                }
            }
        }
        k.queue = left;
        going
    }

    /// A NodeClaim is deleted: its node is drained in waves, then terminated.
    pub(super) fn delete_claim(&mut self, node: NodeId, why: NodeEnd) {
        let now = self.queue.now();
        if self.cluster.node(node).life >= LifeCycle::Terminating {
            return;
        }
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        let Some(claim) = k.claims.get_mut(&node) else { return };
        if claim.termination.is_some() {
            return;
        }
        let grace = k.pools[claim.pool].termination_grace_period;
        claim.termination = Some(Termination::new(now, grace));
        claim.why = why;
        k.version += 1;
        self.cordon(node);
        self.trigger_batch(SYSTEM | u64::from(node.0));
        self.go_on_terminating(node);
    }

    /// The next step of a termination. False where none is under way.
    pub(super) fn go_on_terminating(&mut self, node: NodeId) -> bool {
        let now = self.queue.now();
        let Some(k) = &self.kube().karpenter else { return false };
        let Some(claim) = k.claims.get(&node) else { return false };
        let (Some(mut memory), why) = (claim.termination, claim.why) else { return false };
        if self.cluster.node(node).life >= LifeCycle::Terminating {
            return true;
        }
        let views = self.node_views(k);
        let nodes: Vec<NodeView> = views.iter().map(|(_, v)| v.clone()).collect();
        let Some(at) = views.iter().position(|(n, _)| *n == node) else { return false };
        // Pods of the system go with the machine.
        let mut own = nodes[at].clone();
        own.pods.retain(|p| p.uid < SYSTEM && p.owner != Owner::DaemonSet);
        let step = {
            let world = world!(self, k, &nodes);
            termination::step(&world, &own, &mut memory, 0)
        };
        if let Some(claim) = self.kube_mut().karpenter.as_mut().and_then(|k| k.claims.get_mut(&node)) {
            claim.termination = Some(memory);
        }
        match step {
            Step::Drain { evict, force, .. } => {
                let pods = own.pods.len();
                let mut refused = 0_u32;
                for task in evict.into_iter().filter_map(|uid| task_of(PodKey(uid))).collect::<Vec<_>>() {
                    refused += u32::from(!self.evict(task, "Evicted: Karpenter drains its node").granted());
                }
                for task in force.into_iter().filter_map(|uid| task_of(PodKey(uid))).collect::<Vec<_>>() {
                    self.delete_pod(task, StopCode::Evicted, "Deleted: the grace period of its node is over");
                }
                if refused > 0 {
                    self.note_refused(node, refused, pods);
                }
                let again = now + SimDuration::from_secs(if refused > 0 { 5 } else { 1 });
                self.schedule_timer_if_due(Timer::Drain(node), again, Phase::Decision);
            }
            Step::Settle(at) => self.schedule_timer_if_due(Timer::Drain(node), at, Phase::Decision),
            Step::DetachVolumes | Step::TerminateInstance => self.terminate_node(node, why),
        }
        true
    }

    /// A Spot node of Karpenter has its notice.
    pub(super) fn claim_has_notice(&mut self, node: NodeId) {
        let now = self.queue.now();
        let spec = self.cluster.node(node).spec;
        let name = self.group(spec.capacity).and_then(|g| g.types.get(spec.kind as usize)).map(|t| t.of.name);
        let zone = format!("{}{}", self.plan.cluster.region, char::from(b'a' + spec.zone.0.min(25) as u8));
        let kube = self.kube_mut();
        let symbols = kube.scheduler.symbols();
        let pair = name.and_then(|n| symbols.get(n)).zip(symbols.get(&zone));
        if let (Some(k), Some((of, zone))) = (&mut kube.karpenter, pair) {
            k.unavailable.mark(CapacityType::Spot, of, zone, now);
        }
        self.delete_claim(node, NodeEnd::SpotInterruption);
    }
}

const fn market_of(capacity_type: CapacityType) -> Market {
    match capacity_type {
        CapacityType::Spot => Market::Spot,
        CapacityType::OnDemand | CapacityType::Reserved => Market::OnDemand,
    }
}

const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Emptiness => "emptiness",
        Method::Drift => "drift",
        Method::MultiNode => "multi_node_consolidation",
        Method::SingleNode => "single_node_consolidation",
    }
}

fn queued_names(k: &Karpenter, views: &[(NodeId, NodeView)]) -> Vec<Symbol> {
    let concerned = |n: &NodeId| k.queue.iter().any(|q| q.nodes.contains(n) || q.replacements.contains(n));
    views.iter().filter(|(n, _)| concerned(n)).map(|(_, v)| v.name).collect()
}
