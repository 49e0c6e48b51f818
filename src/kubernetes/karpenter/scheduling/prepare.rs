//! What is computed once for a pass: templates, the room of nodes, the forms of pods, the groups of topology.

use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use super::relax::{heaviest, relaxations};
use super::reqs::{ReqId, ReqTable};
use super::topology::{Counts, Group, Groups, Membership};
use crate::kubernetes::karpenter::bits::Bits;
use crate::kubernetes::karpenter::launch::Unavailable;
use crate::kubernetes::karpenter::pool::{Limits, NodePool};
use crate::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use crate::kubernetes::karpenter::world::{Owner, PodPhase, PodView, World};
use crate::kubernetes::object::{Effect, HostPort, PodSpec, Resources, Symbol, Taint};

/// Whether two ports of one node are in each other's way.
pub(super) fn ports_clash(a: &HostPort, b: &HostPort) -> bool {
    a.port == b.port && a.protocol == b.protocol && (a.ip.is_none() || b.ip.is_none() || a.ip == b.ip)
}

/// The types of a template on which the same DaemonSets run.
pub(super) struct DaemonGroup {
    pub(super) types: Bits,
    pub(super) overhead: Resources,
    pub(super) ports: Vec<HostPort>,
}

/// What new nodes of a pool are made of.
pub(super) struct Template {
    pub(super) pool: usize,
    pub(super) table: usize,
    pub(super) reqs: ReqId,
    /// Types that can be had.
    pub(super) types: Bits,
    pub(super) groups: Vec<DaemonGroup>,
    /// Allocatable less the DaemonSets' requests, by type.
    pub(super) room: Vec<Resources>,
    pub(super) taints: Vec<Taint>,
    pub(super) has_min_values: bool,
}

/// An existing node before the pass.
pub(super) struct BaseNode {
    pub(super) room: Resources,
    pub(super) ports: Vec<HostPort>,
    pub(super) reqs: Requirements,
    pub(super) taints: Vec<Taint>,
    /// Whether it may take pods that only consolidation would move.
    pub(super) settled: bool,
}

/// One form of a shape: the pod after so many relaxations.
pub(super) struct Form {
    pub(super) spec: PodSpec,
    /// With the heaviest preference.
    pub(super) reqs: ReqId,
    /// Without preferences.
    pub(super) strict: ReqId,
    /// Zones of volumes.
    pub(super) volumes: Option<ReqId>,
    /// Demands on the host name.
    pub(super) host: Option<ValueSet>,
    /// All of them, for existing nodes.
    pub(super) on_nodes: Requirements,
    pub(super) member: Membership,
    /// Host ports are rare.
    pub(super) has_ports: bool,
    /// By node: 0 not looked at, 1 suits by labels and taints, 2 does not.
    pub(super) suits: Vec<u8>,
}

/// A scheduler over one world: made once for a pass, asked as often as needed.
pub struct Scheduler<'a> {
    pub(super) world: World<'a>,
    pub(super) reqs: ReqTable<'a>,
    pub(super) templates: Vec<Template>,
    pub(super) limits: Vec<Limits>,
    pub(super) nodes: Vec<BaseNode>,
    /// Existing nodes in the order in which they are tried.
    pub(super) order: Vec<usize>,
    pub(super) groups: Groups,
    pub(super) forms: Vec<Form>,
    /// By kind of pod: its forms.
    pub(super) kinds: Vec<std::ops::Range<usize>>,
    /// By shape: its kind, once it is known.
    kind_of: Vec<Option<usize>>,
    specs: IndexMap<&'a PodSpec, usize, FxBuildHasher>,
    prefer_no_schedule: bool,
}

impl<'a> Scheduler<'a> {
    /// Prepares a pass: nodes that are going are no capacity, and offerings in `unavailable` cannot be had.
    #[must_use]
    pub fn new(world: World<'a>, unavailable: &Unavailable) -> Self {
        let now = world.now;
        let mut reqs = ReqTable::new(world.symbols, world.known, world.tables, |name, o| {
            !unavailable.is_unavailable(o.capacity_type, name, o.zone, now)
        });
        let templates = templates(&world, &mut reqs);
        let mut limits: Vec<Limits> = world.pools.iter().map(|p| p.limits.clone()).collect();
        for node in world.nodes.iter().filter(|n| n.managed) {
            if let Some(pool) = node.pool {
                limits[pool].take(&node.capacity, 1);
            }
        }
        let nodes = world.nodes.iter().map(|n| base_node(&world, n)).collect();
        let mut order: Vec<usize> = (0..world.nodes.len()).filter(|n| !world.nodes[*n].is_going()).collect();
        let name = |n: usize| world.symbols.text(world.nodes[n].name);
        order.sort_by(|a, b| {
            let late = |n: usize| world.nodes[n].managed && world.nodes[n].initialized.is_none();
            late(*a).cmp(&late(*b)).then_with(|| name(*a).cmp(name(*b)))
        });
        let tainted = |p: &NodePool| p.is_dynamic() && p.taints.iter().any(|t| t.effect == Effect::PreferNoSchedule);
        let prefer_no_schedule = world.pools.iter().any(tainted);
        let mut scheduler = Self {
            world,
            reqs,
            templates,
            limits,
            nodes,
            order,
            groups: Groups::default(),
            forms: Vec::new(),
            kinds: Vec::new(),
            kind_of: vec![None; world.shapes.len()],
            specs: IndexMap::default(),
            prefer_no_schedule,
        };
        scheduler.keep_away();
        scheduler
    }

    /// The groups by which pods that run keep others away.
    fn keep_away(&mut self) {
        let pods = self.world.nodes.iter().flat_map(|n| &n.pods);
        let shapes: IndexSet<usize, FxBuildHasher> = pods.map(|p| p.shape).collect();
        for shape in shapes {
            for group in Group::inverse_of(&self.world.shapes[shape], self.world.known) {
                self.group(group);
            }
        }
    }

    /// Makes the forms of a shape, and the groups that they need.
    pub(super) fn kind(&mut self, shape: usize) -> usize {
        if let Some(kind) = self.kind_of[shape] {
            return kind;
        }
        let spec = &self.world.shapes[shape];
        if let Some(kind) = self.specs.get(spec) {
            self.kind_of[shape] = Some(*kind);
            return *kind;
        }
        let from = self.forms.len();
        for form in relaxations(spec, self.world.options.respect_preferences, self.prefer_no_schedule) {
            let form = self.form(form);
            self.forms.push(form);
        }
        let kind = self.kinds.len();
        self.kinds.push(from..self.forms.len());
        self.specs.insert(spec, kind);
        self.kind_of[shape] = Some(kind);
        kind
    }

    fn form(&mut self, spec: PodSpec) -> Form {
        let World { symbols, known, .. } = self.world;
        let mut strict = Requirements::default();
        for (key, value) in &spec.node_selector {
            strict.add(known.current(*key), ValueSet::of([*value]), symbols);
        }
        if let Some(name) = spec.node_name {
            strict.add(known.hostname, ValueSet::of([name]), symbols);
        }
        match spec.required_node_affinity.as_deref() {
            None => {}
            Some([]) => {
                // No term matches nothing: no node has a name that is not.
                strict.add(known.hostname, ValueSet::none(), symbols);
            }
            Some([term, ..]) => strict.add_term(term, known, symbols),
        }
        let mut all = strict.clone();
        if let Some(at) = heaviest(&spec.preferred_node_affinity) {
            all.add_term(&spec.preferred_node_affinity[at].1, known, symbols);
        }
        let mut on_nodes = all.clone();
        let mut volumes = Requirements::default();
        for zones in &spec.volume_zones {
            volumes.add(known.zone, ValueSet::of(zones.iter().copied()), symbols);
        }
        on_nodes.add_all(&volumes, symbols);
        let host = all.remove(known.hostname);
        strict.remove(known.hostname);
        for group in Group::of(&spec, known, symbols) {
            self.group(group);
        }
        Form {
            reqs: self.reqs.intern(all),
            strict: self.reqs.intern(strict),
            volumes: (!volumes.is_empty()).then(|| self.reqs.intern(volumes)),
            host,
            on_nodes,
            member: Membership::default(),
            has_ports: !spec.host_ports.is_empty(),
            suits: vec![0; self.world.nodes.len()],
            spec,
        }
    }

    /// The place of a group, which is made and counted if it is new.
    fn group(&mut self, group: Group) -> usize {
        if let Some(at) = self.groups.find(&group) {
            return at;
        }
        let world = self.world;
        let World { symbols, known, .. } = world;
        let selects = Bits::where_true(world.shapes.len(), |s| group.selects(&world.shapes[s], symbols));
        let on_node = Bits::where_true(world.nodes.len(), |n| {
            group.counts_on(&self.nodes[n].taints, &self.nodes[n].reqs, |_| false, symbols)
        });
        let keeps = |pod: &PodView| match group.inverse {
            true => Group::inverse_of(&world.shapes[pod.shape], known).contains(&group),
            false => selects.has(pod.shape),
        };
        // Whether a shape keeps others away by this very group is the same for all its pods.
        let mut keeping: Vec<Option<bool>> = vec![None; world.shapes.len()];
        let mut counts = Counts::default();
        if group.key != known.hostname {
            for domain in domains(&world, group.key) {
                counts.register(domain, symbols);
            }
        }
        for (n, node) in world.nodes.iter().enumerate() {
            let domain = node.labels.get(group.key);
            if !on_node.has(n) {
                continue;
            }
            if node.has_node
                && group.key != known.hostname
                && !node.is_going()
                && let Some(domain) = domain
            {
                counts.register(domain, symbols);
            }
            for pod in node.pods.iter().filter(|p| p.phase == PodPhase::Active) {
                if node.is_going() && pod.is_currently_reschedulable(world.now) {
                    continue;
                }
                if *keeping[pod.shape].get_or_insert_with(|| keeps(pod)) {
                    match (group.key == known.hostname, domain) {
                        (true, _) => counts.add_host(n),
                        (false, Some(domain)) => counts.add(domain, symbols),
                        (false, None) => {}
                    }
                }
            }
        }
        self.groups.insert(group, counts, selects, on_node)
    }

    /// Brings the memberships of the forms up to date with the groups there are.
    pub(super) fn settle_memberships(&mut self) {
        let World { symbols, known, .. } = self.world;
        for form in &mut self.forms {
            let selects = |g: &Group| g.selects(&form.spec, symbols);
            let mut member = Membership::default();
            let own = Group::of(&form.spec, known, symbols);
            for group in own.iter().filter(|g| !g.inverse) {
                if let Some(at) = self.groups.find(group) {
                    let entry = (at, selects(group));
                    if !member.matching.contains(&entry) {
                        member.matching.push(entry);
                    }
                }
            }
            member.keeps_away = own.iter().filter(|g| g.inverse).filter_map(|g| self.groups.find(g)).collect();
            member.keeps_away.sort_unstable();
            member.keeps_away.dedup();
            for at in 0..self.groups.len() {
                let group = self.groups.get(at);
                if selects(group) {
                    match group.inverse {
                        true => member.matching.push((at, true)),
                        false => member.counted.push(at),
                    }
                }
            }
            form.member = member;
        }
    }

    /// The world that it looks at.
    #[must_use]
    pub const fn world(&self) -> &World<'a> {
        &self.world
    }

    /// What is left of a pool's limits.
    #[must_use]
    pub fn remaining(&self, pool: usize) -> &Limits {
        &self.limits[pool]
    }
}

/// The values that a label can take on new nodes, in no order that matters.
fn domains(world: &World<'_>, key: Symbol) -> IndexSet<Symbol, FxBuildHasher> {
    let mut all = IndexSet::default();
    for pool in world.pools.iter().filter(|p| p.is_dynamic()) {
        let own = pool.node_requirements(world.known, world.symbols);
        let own = own.get(key);
        let of_pool = own.filter(|set| !set.is_complement()).into_iter().flat_map(|set| set.values().iter().copied());
        let mut of_types: IndexSet<Symbol, FxBuildHasher> = IndexSet::default();
        let mut defined = false;
        for set in world.tables[pool.table].types().iter().filter_map(|t| t.requirements.get(key)) {
            defined = true;
            if !set.is_complement() {
                of_types.extend(set.values());
            }
        }
        if defined {
            all.extend(of_types.into_iter().filter(|v| own.is_none_or(|s| s.has(*v, world.symbols))));
        }
        all.extend(of_pool);
    }
    all
}

fn templates(world: &World<'_>, reqs: &mut ReqTable<'_>) -> Vec<Template> {
    let text = |p: &NodePool| world.symbols.text(p.name);
    let mut pools: Vec<usize> = (0..world.pools.len()).filter(|p| world.pools[*p].is_dynamic()).collect();
    pools.sort_by(|a, b| {
        let (a, b) = (&world.pools[*a], &world.pools[*b]);
        b.weight.cmp(&a.weight).then_with(|| text(b).cmp(text(a)))
    });
    let mut all = Vec::new();
    for pool in pools {
        let of = &world.pools[pool];
        let own = of.node_requirements(world.known, world.symbols);
        let has_min_values = own.iter().any(|(_, set)| set.min_values().is_some());
        let id = reqs.intern(own);
        let types = reqs.mask(of.table, id).clone();
        if types.is_empty() {
            continue;
        }
        if world.options.strict_min_values
            && has_min_values
            && super::solve::too_few_values(world, of.table, reqs.get(id), &types).is_some()
        {
            continue;
        }
        let groups = daemon_groups(world, reqs, of, id);
        let table = world.tables[of.table].types();
        let mut room: Vec<Resources> = table.iter().map(|t| t.allocatable().clone()).collect();
        for group in &groups {
            group.types.iter().for_each(|t| room[t].subtract(&group.overhead));
        }
        all.push(Template {
            pool,
            table: of.table,
            reqs: id,
            types,
            groups,
            room,
            taints: of.taints.clone(),
            has_min_values,
        });
    }
    all
}

/// Requirements of each alternative of a pod's required node affinity, the preferred left out. The host name is not looked at.
fn alternatives(world: &World<'_>, spec: &PodSpec) -> Vec<Requirements> {
    let World { symbols, known, .. } = *world;
    let mut selector = Requirements::default();
    for (key, value) in &spec.node_selector {
        selector.add(known.current(*key), ValueSet::of([*value]), symbols);
    }
    let mut all: Vec<Requirements> = match &spec.required_node_affinity {
        None => vec![selector],
        Some(terms) => terms
            .iter()
            .map(|term| {
                let mut both = selector.clone();
                both.add_term(term, known, symbols);
                both
            })
            .collect(),
    };
    all.iter_mut().for_each(|r| {
        r.remove(known.hostname);
    });
    all
}

fn daemon_tolerates(spec: &PodSpec, taints: &[Taint]) -> bool {
    taints.iter().all(|t| t.effect == Effect::PreferNoSchedule || spec.tolerates(t))
}

fn daemon_groups(world: &World<'_>, reqs: &mut ReqTable<'_>, pool: &NodePool, own: ReqId) -> Vec<DaemonGroup> {
    let types = world.tables[pool.table].types().len();
    let mut running: Vec<Vec<usize>> = vec![Vec::new(); types];
    for &shape in world.daemons {
        let spec = &world.shapes[shape];
        if !daemon_tolerates(spec, &pool.taints) {
            continue;
        }
        let mut on = Bits::empty(types);
        for alternative in alternatives(world, spec) {
            let id = reqs.intern(alternative);
            if reqs.join(own, id).is_ok() {
                reqs.label_mask(pool.table, id).iter().for_each(|t| on.set(t));
            }
        }
        on.iter().for_each(|t| running[t].push(shape));
    }
    let mut groups: IndexMap<Vec<usize>, DaemonGroup, FxBuildHasher> = IndexMap::default();
    for (at, daemons) in running.into_iter().enumerate() {
        let make = |daemons: &Vec<usize>| {
            let mut overhead = Resources::default();
            daemons.iter().for_each(|d| overhead.add(&world.shapes[*d].requests));
            let ports = daemons.iter().flat_map(|d| world.shapes[*d].host_ports.iter().copied()).collect();
            DaemonGroup { types: Bits::empty(types), overhead, ports }
        };
        let group = make(&daemons);
        groups.entry(daemons).or_insert(group).types.set(at);
    }
    groups.into_values().collect()
}

fn base_node(world: &World<'_>, node: &crate::kubernetes::karpenter::world::NodeView) -> BaseNode {
    let World { symbols, known, .. } = *world;
    let mut reqs = Requirements::from_labels(&node.labels);
    if node.labels.get(known.hostname).is_none() {
        reqs.set(known.hostname, ValueSet::of([node.name]));
    }
    let taints = node.lasting_taints(symbols);
    let mut room = node.allocatable.clone();
    let (mut bound, mut ports) = (Resources::default(), Vec::new());
    for pod in node.pods.iter().filter(|p| p.phase != PodPhase::Finished) {
        let spec = &world.shapes[pod.shape];
        room.subtract(&spec.requests);
        ports.extend_from_slice(&spec.host_ports);
        if pod.owner == Owner::DaemonSet {
            bound.add(&spec.requests);
        }
    }
    let mut expected = Resources::default();
    for &shape in world.daemons {
        let spec = &world.shapes[shape];
        let suits = |r: &Requirements| reqs.incompatible(r, |_| false, symbols).is_none();
        if daemon_tolerates(spec, &taints) && alternatives(world, spec).iter().any(suits) {
            expected.add(&spec.requests);
        }
    }
    expected.subtract(&bound);
    expected.raise_to(&Resources::default());
    expected.extended.iter_mut().for_each(|(_, amount)| *amount = (*amount).max(0));
    room.subtract(&expected);
    let after = node.pool.map(|p| world.pools[p].disruption.consolidate_after);
    let settled = match after {
        Some(Some(after)) if node.managed => {
            node.initialized.is_none() || node.is_consolidatable(Some(after), world.now)
        }
        _ => true,
    };
    BaseNode { room, ports, reqs, taints, settled }
}
