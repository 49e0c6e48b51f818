//! The simulation itself: pods in order, existing nodes first, then the claims of this pass, then new ones.

use std::collections::VecDeque;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::outcome::{NodeClaim, Origin, PodToPlace, PoolRefusal, Refusal, Simulation, Target, Unplaced};
use super::prepare::{Form, Scheduler, Template, ports_clash};
use super::reqs::ReqId;
use super::topology::{Counts, Narrowing};
use crate::kubernetes::karpenter::bits::Bits;
use crate::kubernetes::karpenter::pool::Limits;
use crate::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use crate::kubernetes::karpenter::world::{PendingPod, PodPhase, World};
use crate::kubernetes::object::{HostPort, Resources, Symbol};

/// Instance types that a NodeClaim keeps.
pub(crate) const MAX_TYPES: usize = 600;

/// A claim of this pass.
struct Claim {
    template: usize,
    reqs: ReqId,
    types: Bits,
    requests: Resources,
    ports: Vec<HostPort>,
    pods: Vec<usize>,
    /// Forms that it refused for good.
    dead: Bits,
}

/// What a simulation changes.
struct Run {
    free: Vec<Resources>,
    ports: IndexMap<usize, Vec<HostPort>, FxBuildHasher>,
    counts: Vec<Counts>,
    limits: Vec<Limits>,
    /// By template: the types that the limits still allow; absent where the pool has none.
    within_limits: Vec<Option<Bits>>,
    gone: Bits,
    claims: Vec<Claim>,
    /// Claims by number of pods, then age.
    order: Vec<(usize, usize)>,
    /// By form: existing nodes that refused it for good, and the first in the order that did not.
    dead: Vec<(Bits, usize)>,
    /// What templates refused for good.
    refused: IndexMap<(usize, usize), Refusal, FxBuildHasher>,
    /// Rises with each placement.
    version: u64,
    targets: Vec<Option<Target>>,
}

/// The first label of which too few values remain among types, with how many there are.
pub(super) fn too_few_values(
    world: &World<'_>,
    table: usize,
    requirements: &Requirements,
    types: &Bits,
) -> Option<(Symbol, u32)> {
    let rows = world.tables[table].types();
    requirements.iter().find_map(|(key, set)| {
        let wanted = set.min_values()?;
        let sets = types.iter().filter_map(|t| rows[t].requirements.get(key)).filter(|s| !s.is_complement());
        let mut values: Vec<Symbol> = sets.flat_map(|s| s.values().iter().copied()).collect();
        values.sort_unstable();
        values.dedup();
        let have = u32::try_from(values.len()).unwrap_or(u32::MAX);
        (have < wanted).then_some((key, have))
    })
}

fn room_for(requests: &Resources, room: &Resources) -> bool {
    requests.cpu_m <= room.cpu_m
        && requests.memory <= room.memory
        && requests.pods <= room.pods
        && requests.ephemeral_storage <= room.ephemeral_storage
        && requests.extended.iter().all(|(name, amount)| *amount <= room.extended(*name))
}

fn clash(ports: &[HostPort], wanted: &[HostPort]) -> bool {
    wanted.iter().any(|w| ports.iter().any(|p| ports_clash(p, w)))
}

/// What a claim would become with a pod more.
struct Addition {
    reqs: ReqId,
    types: Bits,
}

/// A refusal, and whether it will hold for the rest of the pass.
type Refused = (Refusal, bool);

impl Scheduler<'_> {
    /// One pass of provisioning: the pending pods and those of nodes that are going.
    pub fn provision(&mut self, pending: &[PendingPod]) -> Simulation {
        self.simulate(pending, &[])
    }

    /// The same with the nodes `candidates` (indices into the world's nodes) gone and their pods to be placed too.
    pub fn simulate(&mut self, pending: &[PendingPod], candidates: &[usize]) -> Simulation {
        let world = self.world;
        let of = |uid, shape, created, origin| PodToPlace { uid, shape, created, origin };
        let mut pods: Vec<PodToPlace> =
            pending.iter().map(|p| of(p.uid, p.shape, p.created, Origin::Pending)).collect();
        for node in world.nodes.iter().filter(|n| n.is_going()) {
            let leaving = node.pods.iter().filter(|p| p.is_currently_reschedulable(world.now));
            pods.extend(leaving.map(|p| of(p.uid, p.shape, p.created, Origin::Deleting)));
        }
        for &n in candidates {
            let leaving = world.nodes[n].pods.iter().filter(|p| p.is_reschedulable());
            pods.extend(leaving.map(|p| of(p.uid, p.shape, p.created, Origin::Candidate)));
        }
        self.place_all(pods, candidates)
    }

    fn place_all(&mut self, pods: Vec<PodToPlace>, candidates: &[usize]) -> Simulation {
        let groups = self.groups.len();
        let known_kinds = self.kinds.len();
        let kinds: Vec<usize> = pods.iter().map(|p| self.kind(p.shape)).collect();
        if self.groups.len() != groups || self.kinds.len() != known_kinds {
            self.settle_memberships();
        }
        let mut run = self.run(pods.len(), candidates);
        let mut simulation = Simulation { pods, ..Simulation::default() };
        let pods = &simulation.pods;
        let mut order: Vec<usize> = (0..pods.len()).collect();
        order.sort_by_key(|&at| {
            let requests = &self.world.shapes[pods[at].shape].requests;
            (std::cmp::Reverse(requests.cpu_m), std::cmp::Reverse(requests.memory), pods[at].created, pods[at].uid)
        });
        let mut queue: VecDeque<usize> = order.into();
        let mut length_when_pushed = vec![usize::MAX; pods.len()];
        // A pod that finds nothing while nothing has changed since another like it found nothing need not look.
        let mut failed: IndexMap<(usize, Origin), (u64, Unplaced), FxBuildHasher> = IndexMap::default();
        while let Some(&at) = queue.front() {
            if length_when_pushed[at] == queue.len() {
                break;
            }
            queue.pop_front();
            let key = (kinds[at], pods[at].origin);
            if failed.get(&key).is_none_or(|(version, _)| *version != run.version) {
                match self.place(&mut run, at, kinds[at], pods[at].origin) {
                    Ok(target) => {
                        run.targets[at] = Some(target);
                        run.version += 1;
                        continue;
                    }
                    Err(why) => {
                        failed.insert(key, (run.version, why));
                    }
                }
            }
            queue.push_back(at);
            length_when_pushed[at] = queue.len();
        }
        let mut unplaced: Vec<(usize, Unplaced)> = queue
            .into_iter()
            .filter_map(|at| failed.get(&(kinds[at], pods[at].origin)).map(|(_, why)| (at, why.clone())))
            .collect();
        let mut targets = std::mem::take(&mut run.targets);
        for claim in std::mem::take(&mut run.claims) {
            match self.finish(claim) {
                Ok(claim) => simulation.claims.push(claim),
                Err((pods, key)) => {
                    // Claims after this one move up by one place.
                    let gone = simulation.claims.len();
                    for target in &mut targets {
                        *target = match *target {
                            Some(Target::Claim(c)) if c == gone => None,
                            Some(Target::Claim(c)) if c > gone => Some(Target::Claim(c - 1)),
                            other => other,
                        };
                    }
                    unplaced.extend(pods.into_iter().map(|at| (at, Unplaced::CutTooShort(key))));
                }
            }
        }
        unplaced.sort_by_key(|(at, _)| *at);
        simulation.targets = targets;
        simulation.unplaced = unplaced;
        simulation.remaining = run.limits;
        simulation
    }

    fn run(&self, pods: usize, candidates: &[usize]) -> Run {
        let world = self.world;
        let mut counts = self.groups.base.clone();
        let mut gone = Bits::empty(world.nodes.len());
        let mut limits = self.limits.clone();
        for &n in candidates {
            gone.set(n);
            let node = &world.nodes[n];
            if let Some(pool) = node.pool.filter(|_| node.managed) {
                let mut back = Resources::default();
                back.subtract(&node.capacity);
                limits[pool].take(&back, -1);
            }
            for pod in node.pods.iter().filter(|p| p.is_reschedulable() && p.phase == PodPhase::Active) {
                let spec = &world.shapes[pod.shape];
                let keeps = super::topology::Group::inverse_of(spec, world.known);
                for (at, counts) in counts.iter_mut().enumerate() {
                    let group = self.groups.get(at);
                    let counted = match group.inverse {
                        true => keeps.contains(group),
                        false => self.groups.selects[at].has(pod.shape),
                    };
                    if !counted || !self.groups.on_node[at].has(n) {
                        continue;
                    }
                    if group.key == world.known.hostname {
                        counts.take_host(n);
                    } else if let Some(domain) = node.labels.get(group.key) {
                        counts.take(domain, world.symbols);
                    }
                }
            }
        }
        let within_limits = self.templates.iter().map(|t| within_limits(&world, t, &limits[t.pool])).collect();
        Run {
            free: self.nodes.iter().map(|n| n.room.clone()).collect(),
            ports: IndexMap::default(),
            counts,
            limits,
            within_limits,
            gone,
            claims: Vec::new(),
            order: Vec::new(),
            dead: vec![(Bits::empty(world.nodes.len()), 0); self.forms.len()],
            refused: IndexMap::default(),
            version: 0,
            targets: vec![None; pods],
        }
    }

    /// Places one pod, giving up preference after preference.
    fn place(&mut self, run: &mut Run, at: usize, kind: usize, origin: Origin) -> Result<Target, Unplaced> {
        let forms = self.kinds[kind].clone();
        let strict = &self.forms[forms.start];
        if self.reqs.get(strict.strict).get(self.world.known.node_pool).is_some_and(ValueSet::is_empty) {
            return Err(Unplaced::Ignored);
        }
        let mut last = Unplaced::NoNodePool;
        for (given_up, form) in forms.enumerate() {
            match self.place_form(run, at, form, origin) {
                Ok(target) => return Ok(target),
                Err(pools) if pools.is_empty() => {}
                Err(pools) => last = Unplaced::Refused { given_up, pools },
            }
        }
        Err(last)
    }

    fn place_form(
        &mut self,
        run: &mut Run,
        at: usize,
        form: usize,
        origin: Origin,
    ) -> Result<Target, Vec<PoolRefusal>> {
        if let Some(node) = self.existing(run, form, origin) {
            return Ok(Target::Node(node));
        }
        let mut moved = None;
        for (place, &(_, claim)) in run.order.iter().enumerate() {
            if run.claims[claim].dead.has(form) {
                continue;
            }
            let own = &run.claims[claim];
            let host = self.world.nodes.len() + claim;
            let (types, base) = (&own.types, (own.reqs, &own.requests, &own.ports[..]));
            match self.addition(&run.counts, form, own.template, base, types, host) {
                Ok(addition) => {
                    moved = Some((place, claim, addition));
                    break;
                }
                Err((_, true)) => run.claims[claim].dead.set(form),
                Err((_, false)) => {}
            }
        }
        if let Some((place, claim, addition)) = moved {
            self.put_on_claim(run, at, form, claim, addition);
            let (pods, _) = run.order.remove(place);
            let key = (pods + 1, claim);
            let to = run.order.partition_point(|entry| *entry < key);
            run.order.insert(to, key);
            return Ok(Target::Claim(claim));
        }
        let mut refusals = Vec::new();
        for template in 0..self.templates.len() {
            match self.open(run, form, template) {
                Ok(addition) => {
                    let claim = run.claims.len();
                    let t = &self.templates[template];
                    run.limits[t.pool].take(&self.largest(template, &addition.types), 1);
                    for (other, of) in self.templates.iter().enumerate() {
                        if of.pool == t.pool {
                            run.within_limits[other] = within_limits(&self.world, of, &run.limits[of.pool]);
                        }
                    }
                    run.claims.push(Claim {
                        template,
                        reqs: addition.reqs,
                        types: Bits::default(),
                        requests: Resources::default(),
                        ports: Vec::new(),
                        pods: Vec::new(),
                        dead: Bits::empty(self.forms.len()),
                    });
                    let key = (1, claim);
                    let to = run.order.partition_point(|entry| *entry < key);
                    run.order.insert(to, key);
                    self.put_on_claim(run, at, form, claim, addition);
                    return Ok(Target::Claim(claim));
                }
                Err((refusal, for_good)) => {
                    if for_good {
                        run.refused.insert((form, template), refusal.clone());
                    }
                    refusals.push(PoolRefusal { pool: self.templates[template].pool, refusal });
                }
            }
        }
        Err(refusals)
    }

    /// The first existing node that takes the pod, which is put there.
    fn existing(&mut self, run: &mut Run, form: usize, origin: Origin) -> Option<usize> {
        let mut place = run.dead[form].1;
        let mut prefix = true;
        let found = loop {
            let &n = self.order.get(place)?;
            let dead = run.dead[form].0.has(n) || run.gone.has(n);
            if dead {
                run.dead[form].1 += usize::from(prefix);
                place += 1;
                continue;
            }
            if origin == Origin::Candidate && !self.nodes[n].settled {
                prefix = false;
                place += 1;
                continue;
            }
            match self.admits(run, form, n) {
                Ok(()) => break n,
                Err(true) => run.dead[form].0.set(n),
                Err(false) => {
                    prefix = false;
                    place += 1;
                }
            }
        };
        let of = &self.forms[form];
        run.free[found].subtract(&of.spec.requests);
        if of.has_ports {
            run.ports.entry(found).or_default().extend_from_slice(&of.spec.host_ports);
        }
        let world = self.world;
        let place = |at: usize, counts: &mut Counts| {
            let group = self.groups.get(at);
            if group.key == world.known.hostname {
                counts.add_host(found);
            } else if let Some(domain) = world.nodes[found].labels.get(group.key) {
                counts.add(domain, world.symbols);
            }
        };
        for &at in of.member.counted.iter().filter(|at| self.groups.on_node[**at].has(found)) {
            place(at, &mut run.counts[at]);
        }
        for &at in &of.member.keeps_away {
            place(at, &mut run.counts[at]);
        }
        Some(found)
    }

    /// Whether an existing node takes a pod; an error tells whether it will never do so in this pass.
    fn admits(&mut self, run: &Run, form: usize, n: usize) -> Result<(), bool> {
        let World { symbols, known, .. } = self.world;
        let node = &self.nodes[n];
        let of = &mut self.forms[form];
        if of.suits[n] == 0 {
            let suits = node.taints.iter().all(|t| of.spec.tolerates(t))
                && node.reqs.incompatible(&of.on_nodes, |_| false, symbols).is_none();
            of.suits[n] = if suits { 1 } else { 2 };
        }
        if of.suits[n] == 2 || !room_for(&of.spec.requests, &run.free[n]) {
            return Err(true);
        }
        if of.has_ports {
            let taken = run.ports.get(&n).map_or(&[][..], Vec::as_slice);
            if clash(&node.ports, &of.spec.host_ports) || clash(taken, &of.spec.host_ports) {
                return Err(true);
            }
        }
        let of = &self.forms[form];
        for &(at, selects_itself) in &of.member.matching {
            let (group, counts) = (self.groups.get(at), &run.counts[at]);
            let allowed = if group.key == known.hostname {
                counts.allows_host(group, n, selects_itself, |c| self.occupied_elsewhere(of, c))
            } else {
                let own = node.reqs.get(group.key);
                let pod = self.reqs.get(of.strict).get(group.key);
                let next = own.and_then(|own| counts.next_domain(group, pod, Some(own), selects_itself, symbols));
                next.zip(own).is_some_and(|(next, own)| next.intersects(own, symbols))
            };
            if !allowed {
                return Err(false);
            }
        }
        Ok(())
    }

    /// Whether a host that the pod's own demands allow holds a pod of a group.
    fn occupied_elsewhere(&self, form: &Form, counts: &Counts) -> bool {
        match &form.host {
            None => counts.occupied_hosts() > 0,
            Some(set) => {
                let named = |n: &usize| {
                    let host = self.nodes[*n].reqs.get(self.world.known.hostname);
                    host.is_some_and(|h| h.intersects(set, self.world.symbols))
                };
                counts.any_host((0..self.nodes.len()).filter(named))
            }
        }
    }

    /// A new claim of a template for a pod.
    fn open(&mut self, run: &Run, form: usize, template: usize) -> Result<Addition, Refused> {
        if let Some(refusal) = run.refused.get(&(form, template)) {
            return Err((refusal.clone(), true));
        }
        let t = &self.templates[template];
        if !run.limits[t.pool].allow_node() {
            return Err((Refusal::NodeLimit, true));
        }
        let host = self.world.nodes.len() + run.claims.len();
        let types = match &run.within_limits[template] {
            Some(types) if types.is_empty() => return Err((Refusal::Limits, true)),
            Some(types) => types.clone(),
            None => t.types.clone(),
        };
        let base = (t.reqs, &Resources::default(), &[][..]);
        self.addition(&run.counts, form, template, base, &types, host)
    }

    /// What a claim with these requirements, requests and ports becomes with a pod more.
    fn addition(
        &mut self,
        counts: &[Counts],
        form: usize,
        template: usize,
        (own, requests, ports): (ReqId, &Resources, &[HostPort]),
        types: &Bits,
        host: usize,
    ) -> Result<Addition, Refused> {
        let (world, hostname) = (self.world, self.world.known.hostname);
        let (of, t) = (&self.forms[form], &self.templates[template]);
        if let Some(taint) = t.taints.iter().find(|taint| !of.spec.tolerates(taint)) {
            return Err((Refusal::Taint(*taint), true));
        }
        // The name of a node that is not there yet is like no other: only demands on what it must not be can hold.
        if of.host.as_ref().is_some_and(|set| !set.is_complement() || set.bounds() != (None, None)) {
            return Err((Refusal::Requirement(hostname), true));
        }
        let mut reqs = self.reqs.join(own, of.reqs).map_err(|key| (Refusal::Requirement(key), true))?;
        if let Some(volumes) = of.volumes {
            reqs = self.reqs.join(reqs, volumes).map_err(|key| (Refusal::Requirement(key), true))?;
        }
        let mut fitting = types.clone();
        fitting.and(self.reqs.mask(t.table, reqs));
        let total = |request: fn(&Resources) -> i64| request(requests) + request(&of.spec.requests);
        let (cpu, memory) = (total(|r| r.cpu_m), total(|r| r.memory));
        let (pods, storage) = (total(|r| r.pods), total(|r| r.ephemeral_storage));
        let mut extended = requests.extended.clone();
        for (name, amount) in &of.spec.requests.extended {
            match extended.iter_mut().find(|(n, _)| n == name) {
                Some((_, own)) => *own += amount,
                None => extended.push((*name, *amount)),
            }
        }
        fitting.retain(|at| {
            let room = &t.room[at];
            cpu <= room.cpu_m
                && memory <= room.memory
                && pods <= room.pods
                && storage <= room.ephemeral_storage
                && extended.iter().all(|(name, amount)| *amount <= room.extended(*name))
        });
        if fitting.is_empty() {
            return Err((no_type(&mut self.reqs, t, types, reqs), true));
        }
        if of.has_ports {
            if clash(ports, &of.spec.host_ports) {
                return Err((Refusal::HostPorts, true));
            }
            for group in t.groups.iter().filter(|g| clash(&g.ports, &of.spec.host_ports)) {
                fitting.retain(|at| !group.types.has(at));
            }
            if fitting.is_empty() {
                return Err((Refusal::HostPorts, true));
            }
        }
        let before = reqs;
        if !of.member.matching.is_empty() {
            let elsewhere = |c: &Counts| match &of.host {
                None => c.occupied_hosts() > 0,
                Some(set) => {
                    let named = |n: &usize| {
                        let host = self.nodes[*n].reqs.get(hostname);
                        host.is_some_and(|h| h.intersects(set, world.symbols))
                    };
                    c.any_host((0..self.nodes.len()).filter(named))
                }
            };
            let symbols = world.symbols;
            let narrowing = Narrowing {
                groups: &self.groups,
                counts,
                member: &of.member,
                strict: of.strict,
                host,
                hostname,
                symbols,
            };
            reqs = narrowing.narrow(reqs, elsewhere, &mut self.reqs).map_err(|(at, for_good)| {
                let group = self.groups.get(at);
                (Refusal::Topology { kind: group.kind, key: group.key, inverse: group.inverse }, for_good)
            })?;
        }
        if reqs != before {
            fitting.and(self.reqs.mask(t.table, reqs));
            if fitting.is_empty() {
                return Err((Refusal::NoTypeInDomain, false));
            }
        }
        if world.options.strict_min_values
            && (t.has_min_values)
            && let Some((key, _)) = too_few_values(&world, t.table, self.reqs.get(reqs), &fitting)
        {
            return Err((Refusal::MinValues(key), reqs == before));
        }
        Ok(Addition { reqs, types: fitting })
    }

    fn put_on_claim(&mut self, run: &mut Run, at: usize, form: usize, claim: usize, addition: Addition) {
        let World { symbols, known, .. } = self.world;
        let of = &self.forms[form];
        let own = &mut run.claims[claim];
        own.reqs = addition.reqs;
        own.types = addition.types;
        own.requests.add(&of.spec.requests);
        own.ports.extend_from_slice(&of.spec.host_ports);
        own.pods.push(at);
        let host = self.world.nodes.len() + claim;
        let reqs = self.reqs.get(own.reqs);
        let taints = &self.templates[own.template].taints;
        for &at in &of.member.counted {
            let (group, counts) = (self.groups.get(at), &mut run.counts[at]);
            if !group.is_trivial() && !group.counts_on(taints, reqs, |key| known.is_well_known(key), symbols) {
                continue;
            }
            let set = reqs.get(group.key);
            if group.key == known.hostname {
                counts.add_host(host);
            } else if group.kind == super::TopologyKind::AntiAffinity {
                counts.add_possible(set, symbols);
            } else if let Some(domain) = set.and_then(ValueSet::single) {
                counts.add(domain, symbols);
            }
        }
        for &at in &of.member.keeps_away {
            let (group, counts) = (self.groups.get(at), &mut run.counts[at]);
            match group.key == known.hostname {
                true => counts.add_host(host),
                false => counts.add_possible(reqs.get(group.key), symbols),
            }
        }
    }

    /// The largest capacity among types, resource by resource.
    fn largest(&self, template: usize, types: &Bits) -> Resources {
        let rows = self.world.tables[self.templates[template].table].types();
        let mut largest = Resources::default();
        types.iter().for_each(|at| largest.raise_to(&rows[at].capacity));
        largest
    }

    /// A claim as it leaves the pass: types cheapest first and cut. The pods come back if the cut leaves too few values.
    fn finish(&self, claim: Claim) -> Result<NodeClaim, (Vec<usize>, Symbol)> {
        let World { symbols, known, .. } = self.world;
        let t = &self.templates[claim.template];
        let rows = self.world.tables[t.table].types();
        let mut requirements = self.reqs.get(claim.reqs).clone();
        let mut types: Vec<(i64, usize)> =
            claim.types.iter().map(|at| (self.reqs.cheapest(t.table, claim.reqs, at), at)).collect();
        types.sort_unstable();
        types.truncate(MAX_TYPES);
        let types: Vec<usize> = types.into_iter().map(|(_, at)| at).collect();
        let kept = Bits::of(rows.len(), types.iter().copied());
        let short = too_few_values(&self.world, t.table, &requirements, &kept);
        if let Some((key, _)) = short.filter(|_| self.world.options.strict_min_values) {
            return Err((claim.pods, key));
        }
        if let Some((key, have)) = short
            && let Some(set) = requirements.get(key)
        {
            let lowered = set.clone().with_min_values(Some(have));
            requirements.set(key, lowered);
        }
        let offered = types.iter().fold(0, |all, at| all | self.reqs.open_offerings(t.table, claim.reqs, *at));
        let kinds = crate::kubernetes::karpenter::instance::CapacityType::ALL.into_iter().filter(|c| {
            let bit = crate::kubernetes::karpenter::table::TypeTable::bit;
            (0..self.world.tables[t.table].zones().len()).any(|zone| offered & bit(zone, *c) != 0)
        });
        requirements.add(known.instance_type, ValueSet::of(types.iter().map(|at| rows[*at].name)), symbols);
        requirements.add(known.capacity_type, ValueSet::of(kinds.map(|c| known.value_of(c))), symbols);
        let here = t.groups.iter().filter(|g| types.iter().any(|at| g.types.has(*at)));
        let least = here.map(|g| g.overhead.clone()).reduce(|a, b| Resources {
            cpu_m: a.cpu_m.min(b.cpu_m),
            memory: a.memory.min(b.memory),
            ephemeral_storage: a.ephemeral_storage.min(b.ephemeral_storage),
            pods: a.pods.min(b.pods),
            extended: a.extended.iter().map(|(n, amount)| (*n, (*amount).min(b.extended(*n)))).collect(),
        });
        let mut requests = claim.requests;
        requests.add(&least.unwrap_or_default());
        let pool = &self.world.pools[t.pool];
        Ok(NodeClaim {
            pool: t.pool,
            requirements,
            types,
            requests,
            labels: pool.labels.clone(),
            taints: pool.taints.clone(),
            startup_taints: pool.startup_taints.clone(),
            pods: claim.pods,
            min_values_relaxed: short.is_some(),
        })
    }
}

/// The types of a template that its pool's limits still allow; `None` where nothing is limited.
fn within_limits(world: &World<'_>, template: &Template, limits: &Limits) -> Option<Bits> {
    (!limits.is_unlimited()).then(|| {
        let rows = world.tables[template.table].types();
        let mut types = template.types.clone();
        types.retain(|at| limits.allow(&rows[at].capacity));
        types
    })
}

fn no_type(table: &mut super::reqs::ReqTable<'_>, template: &Template, types: &Bits, reqs: ReqId) -> Refusal {
    let count = |bits: &Bits| u32::try_from(bits.count()).unwrap_or(u32::MAX);
    let labels = count(table.label_mask(template.table, reqs));
    let mut offered = types.clone();
    offered.and(table.mask(template.table, reqs));
    Refusal::NoType { labels, offered: count(&offered) }
}
