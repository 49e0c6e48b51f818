//! What is remembered of a shape and a node between attempts: whether its filters pass as far as they look at
//! that node alone, and what its scores are. A log of changed nodes says what has to be computed anew.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use super::filter::{self, Code, ResourceName};
use super::score::{self, Share};
use super::shape::Form;
use super::state::{Dimension, Load, Scheduler, ShapeId};
use super::why::{Reason, WhyNot};
use crate::kubernetes::object::PodSpec;

/// Nodes in a block of ranks.
const BLOCK: usize = 64;
/// So many nodes are few.
const FEW: usize = if cfg!(test) { 40 } else { 2048 };
/// The rank of a node that does not fit.
pub(super) const UNFIT: i32 = -1;
/// The best rank of a block has to be looked for.
const STALE: i32 = i32::MIN;
/// Changes that the log keeps.
const LOG: usize = if cfg!(test) { 40 } else { 1 << 15 };
/// Entries (shape, node) that all caches may hold together; beyond it the one not used for longest goes.
const MOST_CACHED: usize = if cfg!(test) { 150 } else { 6_000_000 };

/// The result of the filters for one node, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict(u32);

const HOPELESS: u32 = 1 << 31;
const LACKING: u32 = 1 << 30;
const REASON: u32 = 1 << 29;
/// Bits for resources that are lacking: pods, CPU, memory, storage, then extended ones.
const FIRST_EXTENDED: usize = 4;
const LAST_EXTENDED: usize = 23;

/// Reasons that have a fixed number.
const FIXED: [Reason; 10] = [
    Reason::Unschedulable,
    Reason::NodeName,
    Reason::NodeAffinity,
    Reason::HostPorts,
    Reason::VolumeZone,
    Reason::SpreadLabel,
    Reason::Spread,
    Reason::Affinity,
    Reason::AntiAffinity,
    Reason::ExistingAntiAffinity,
];

/// The table of reasons, with those that have a fixed number.
pub(super) fn fixed_reasons() -> IndexSet<Reason, FxBuildHasher> {
    FIXED.into_iter().collect()
}

impl Verdict {
    pub(super) const FITS: Self = Self(0);
    const CORDONED: Self = Self::fixed(0);
    const NODE_NAME: Self = Self::fixed(1);
    const NODE_AFFINITY: Self = Self::fixed(2);
    const HOST_PORTS: Self = Self::fixed(3);
    const VOLUME_ZONE: Self = Self::fixed(4);
    pub(super) const SPREAD_LABEL: Self = Self::fixed(5);
    pub(super) const SPREAD: Self = Self::fixed(6);
    pub(super) const AFFINITY: Self = Self::fixed(7);
    pub(super) const ANTI_AFFINITY: Self = Self::fixed(8);
    pub(super) const EXISTING_ANTI_AFFINITY: Self = Self::fixed(9);
    /// No node is there.
    const GONE: Self = Self(u32::MAX);

    const fn fixed(at: usize) -> Self {
        let hopeless = if matches!(filter::code_of(FIXED[at]), Code::Unresolvable) { HOPELESS } else { 0 };
        Self(REASON | at as u32 | hopeless)
    }

    pub(super) const fn fits(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn code(self) -> Code {
        match self.0 {
            0 => Code::Success,
            v if v & HOPELESS != 0 => Code::Unresolvable,
            _ => Code::Unschedulable,
        }
    }
}

/// What is remembered of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Filters that look at this node alone.
    pub(super) verdict: Verdict,
    /// Weights of the preferred node affinity terms that match.
    pub(super) affinity: i32,
    /// `PreferNoSchedule` taints that are not tolerated.
    pub(super) taints: u16,
    /// Whether the volumes are in the node's zone: a filter that comes after fit.
    zone: bool,
}

/// What is remembered of a shape.
#[derive(Clone, Debug, Default)]
pub(super) struct ShapeCache {
    pub(super) entries: Vec<Entry>,
    /// By node: the weighted scores that look at this node alone, or [`UNFIT`].
    pub(super) ranks: Vec<i32>,
    /// The best rank of each block of nodes, or [`STALE`].
    best: Vec<i32>,
    /// By node: what happened to it since its entry and rank were computed (0, [`FELL`], [`CHANGED`], [`REMADE`]).
    pub(super) stale: Vec<u8>,
    /// Position in the log up to which changes are known.
    seen: u64,
    /// Weighted image scores by node; empty where they are all alike.
    pub(super) images: Vec<i32>,
    image_epoch: u64,
    used: u64,
}

impl ShapeCache {
    fn rank(&mut self, slot: usize, rank: i32) {
        let old = std::mem::replace(&mut self.ranks[slot], rank);
        let best = &mut self.best[slot / BLOCK];
        if rank >= *best && *best != STALE {
            *best = rank;
        } else if old == *best {
            *best = STALE;
        }
    }

    /// The best rank; [`UNFIT`] if no node fits.
    fn highest(&mut self) -> i32 {
        let mut highest = UNFIT;
        for (best, ranks) in self.best.iter_mut().zip(self.ranks.chunks(BLOCK)) {
            if *best == STALE {
                *best = ranks.iter().copied().max().unwrap_or(UNFIT);
            }
            highest = highest.max(*best);
        }
        highest
    }

    /// One of the nodes of the best rank, the draw deciding between them in the order of slots.
    fn pick(&self, highest: i32, draw: u64) -> Option<usize> {
        let blocks = || self.best.iter().zip(self.ranks.chunks(BLOCK)).enumerate().filter(|(_, (b, _))| **b == highest);
        let equals = |ranks: &[i32]| ranks.iter().filter(|r| **r == highest).count();
        let ties = blocks().map(|(_, (_, ranks))| equals(ranks)).sum();
        let mut left = score::pick(draw, ties);
        for (block, (_, ranks)) in blocks() {
            let here = equals(ranks);
            if left < here {
                let at = ranks.iter().enumerate().filter(|(_, r)| **r == highest).nth(left);
                return at.map(|(at, _)| block * BLOCK + at);
            }
            left -= here;
        }
        None
    }
}

/// The nodes that changed, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Slots; the two highest bits say what happened.
    changes: Vec<u32>,
    /// Changes that were dropped before these.
    start: u64,
}

/// A pod came. Where ranks only fall with that, the old rank is a bound.
const FELL: u8 = 1;
/// A pod went, or a pod came and the rank may have risen.
const CHANGED: u8 = 2;
/// The node is another, or has other labels, taints or resources.
const REMADE: u8 = 3;
const KIND: u32 = 30;
const SLOT: u32 = (1 << KIND) - 1;

impl Log {
    pub(super) fn pod_came(&mut self, slot: u32) {
        self.push(slot | u32::from(FELL) << KIND);
    }

    pub(super) fn pod_went(&mut self, slot: u32) {
        self.push(slot | u32::from(CHANGED) << KIND);
    }

    pub(super) fn node_remade(&mut self, slot: u32) {
        self.push(slot | u32::from(REMADE) << KIND);
    }

    fn push(&mut self, change: u32) {
        if self.changes.len() >= LOG {
            self.changes.drain(..LOG / 2);
            self.start += (LOG / 2) as u64;
        }
        self.changes.push(change);
    }

    fn end(&self) -> u64 {
        self.start + self.changes.len() as u64
    }
}

/// Room for one attempt, kept from one to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// The nodes that passed, in the order in which they were examined.
    pub(super) feasible: Vec<u32>,
    pub(super) totals: Vec<i64>,
    pub(super) raw: Vec<i64>,
    pub(super) ties: Vec<u32>,
    /// The smallest count of each spread constraint that filters.
    pub(super) lowest: Vec<i64>,
    /// The weight of each spread constraint that scores.
    pub(super) weights: Vec<f64>,
    /// By domain: when it was last seen.
    pub(super) seen: Vec<u64>,
    pub(super) stamp: u64,
    pub(super) verdicts: Vec<(u32, u32)>,
}

impl Scheduler {
    /// Takes the cache of a shape out of its place, up to date.
    pub(super) fn take_cache(&mut self, shape: ShapeId, form: &Form) -> Box<ShapeCache> {
        self.attempts += 1;
        let mut cache = self.caches[shape.index()].take().unwrap_or_default();
        self.cached -= cache.entries.len();
        cache.used = self.attempts;
        let slots = self.nodes.len();
        if self.cached + slots > MOST_CACHED {
            self.forget_oldest();
        }
        let gone = Entry { verdict: Verdict::GONE, affinity: 0, taints: 0, zone: true };
        let new = cache.entries.is_empty();
        cache.entries.resize(slots, gone);
        cache.ranks.resize(slots, UNFIT);
        cache.best.resize(slots.div_ceil(BLOCK), STALE);
        cache.stale.resize(slots, 0);
        let end = self.log.end();
        if new || cache.seen < self.log.start || end - cache.seen > 8 * slots as u64 {
            cache.stale.fill(REMADE);
            self.freshen(form, &mut cache, FELL);
        } else {
            let least = if self.ranks_fall { FELL } else { CHANGED };
            for change in &self.log.changes[(cache.seen - self.log.start) as usize..] {
                let stale = &mut cache.stale[(change & SLOT) as usize];
                *stale = (*stale).max((change >> KIND) as u8).max(least);
            }
        }
        cache.seen = end;
        self.refresh_images(form, &mut cache);
        cache
    }

    /// Puts it back.
    pub(super) fn return_cache(&mut self, shape: ShapeId, cache: Box<ShapeCache>) {
        self.cached += cache.entries.len();
        self.caches[shape.index()] = Some(cache);
    }

    fn forget_oldest(&mut self) {
        let oldest = self.caches.iter_mut().flatten().min_by_key(|c| c.used).map(|c| c.used);
        for cache in &mut self.caches {
            if let Some(c) = cache.as_ref().filter(|c| Some(c.used) == oldest) {
                self.cached -= c.entries.len();
                *cache = None;
            }
        }
    }

    /// Computes anew what is stale at least so much.
    pub(super) fn freshen(&self, form: &Form, cache: &mut ShapeCache, least: u8) {
        for block in 0..cache.best.len() {
            let slots = block * BLOCK..((block + 1) * BLOCK).min(cache.stale.len());
            if cache.stale[slots.clone()].iter().copied().max().unwrap_or(0) < least {
                continue;
            }
            for slot in slots {
                if cache.stale[slot] >= least {
                    self.refresh(form, cache, slot);
                }
            }
        }
    }

    /// Computes anew all that is stale.
    pub(super) fn freshen_all(&self, form: &Form, cache: &mut ShapeCache) {
        self.freshen(form, cache, FELL);
    }

    /// One of the nodes of the best rank. Nodes to which pods came keep their old rank as a bound, and are looked at
    /// again only when they would be the best.
    pub(super) fn best(&self, form: &Form, cache: &mut ShapeCache, draw: u64) -> Option<usize> {
        // With few nodes looking for contenders costs more than looking at all that changed.
        self.freshen(form, cache, if cache.ranks.len() <= FEW { FELL } else { CHANGED });
        loop {
            let highest = cache.highest();
            if highest == UNFIT {
                return None;
            }
            let mut sure = true;
            for block in 0..cache.best.len() {
                if cache.best[block] != highest {
                    continue;
                }
                for slot in block * BLOCK..((block + 1) * BLOCK).min(cache.ranks.len()) {
                    if cache.ranks[slot] == highest && cache.stale[slot] != 0 {
                        self.refresh(form, cache, slot);
                        sure = false;
                    }
                }
            }
            if sure {
                return cache.pick(highest, draw);
            }
        }
    }

    /// Computes a node's entry and rank anew.
    pub(super) fn refresh(&self, form: &Form, cache: &mut ShapeCache, slot: usize) {
        let remade = std::mem::take(&mut cache.stale[slot]) == REMADE;
        let entry = &mut cache.entries[slot];
        if remade {
            *entry = self.fixed_entry(form, slot);
        }
        // What fails for good is not looked at again when pods come and go.
        if entry.verdict == Verdict::GONE || !entry.verdict.fits() && entry.is_fixed() {
            cache.rank(slot, UNFIT);
            return;
        }
        if form.is_plain
            && entry.zone
            && let Some(rank) = self.plain_rank(&form.spec, slot)
        {
            entry.verdict = Verdict::FITS;
            cache.rank(slot, rank);
            return;
        }
        entry.verdict = self.load_verdict(form, slot, entry.zone);
        let rank = if entry.verdict.fits() { self.local_score(form, slot) } else { UNFIT };
        cache.rank(slot, rank);
    }

    /// The rank of a node that fits, where the profile and the shape ask for nothing but the common case: CPU and
    /// memory, the emptiest first. The same as the general rules give.
    #[inline]
    fn plain_rank(&self, spec: &PodSpec, slot: usize) -> Option<i32> {
        let load = &self.loads[slot];
        let (request, has, used) = (&spec.requests, &load.has, &load.used);
        let fits = |requested: i64, has: i64, used: i64| requested <= 0 || requested <= has.saturating_sub(used);
        if used.pods >= has.pods
            || !fits(request.cpu_m, has.cpu_m, used.cpu_m)
            || !fits(request.memory, has.memory, used.memory)
            || !fits(request.ephemeral_storage, has.storage, used.storage)
        {
            return None;
        }
        let shares = [
            Share { requested: load.score_cpu_m + spec.score_cpu_m, capacity: has.cpu_m, weight: self.plain_weights.0 },
            Share {
                requested: load.score_memory + spec.score_memory,
                capacity: has.memory,
                weight: self.plain_weights.1,
            },
        ];
        let score = score::least_allocated(shares.into_iter()) * i64::from(self.profile.weights.fit);
        Some(i32::try_from(score.max(0)).unwrap_or(i32::MAX))
    }

    /// What does not depend on the pods of a node.
    fn fixed_entry(&self, form: &Form, slot: usize) -> Entry {
        let mut entry = Entry { verdict: Verdict::GONE, affinity: 0, taints: 0, zone: true };
        let Some(node) = &self.nodes[slot] else { return entry };
        entry.verdict = self.fixed_verdict(form, slot);
        entry.zone = self.in_zone(form, slot);
        let spec = &form.spec;
        if self.profile.weights.node_affinity > 0 && !spec.preferred_node_affinity.is_empty() {
            let sum = filter::preferred_node_affinity(spec, node.name, &node.labels, &self.symbols);
            entry.affinity = i32::try_from(sum).unwrap_or(i32::MAX);
        }
        if self.profile.weights.taints > 0 {
            entry.taints = u16::try_from(filter::disliked_taints(&spec.tolerations, &node.taints)).unwrap_or(u16::MAX);
        }
        entry
    }

    fn in_zone(&self, form: &Form, slot: usize) -> bool {
        let Some(node) = &self.nodes[slot] else { return false };
        !self.profile.filters.volume_zone
            || filter::volume_zones(&form.spec.volume_zones, node.labels.get(self.known.zone))
    }

    /// The filters that do not look at the pods of a node and come before those that do.
    fn fixed_verdict(&self, form: &Form, slot: usize) -> Verdict {
        let Some(node) = &self.nodes[slot] else { return Verdict::GONE };
        let (filters, spec) = (&self.profile.filters, &form.spec);
        if filters.unschedulable
            && node.unschedulable
            && !filter::tolerates_cordon(&spec.tolerations, self.known.cordon, self.known.empty)
        {
            return Verdict::CORDONED;
        }
        if filters.node_name && spec.node_name.is_some_and(|name| name != node.name) {
            return Verdict::NODE_NAME;
        }
        if filters.taints
            && let Some(taint) = filter::untolerated(&spec.tolerations, &node.taints)
        {
            let reason = Reason::Taint { key: taint.key, value: taint.value };
            let at = self.reasons.get_index_of(&reason).unwrap_or(0);
            return Verdict(REASON | HOPELESS | at as u32);
        }
        let added = self.profile.added_affinity.as_deref();
        if filters.node_affinity && !filter::node_affinity(spec, added, node.name, &node.labels, &self.symbols) {
            return Verdict::NODE_AFFINITY;
        }
        Verdict::FITS
    }

    /// The filters that look at what is on this node, and the zone of volumes, which comes after.
    fn load_verdict(&self, form: &Form, slot: usize, in_zone: bool) -> Verdict {
        let filters = &self.profile.filters;
        if filters.host_ports && !form.spec.host_ports.is_empty() && self.ports_taken(form, slot) {
            return Verdict::HOST_PORTS;
        }
        if filters.fit {
            let lacking = self.lacking(form, slot);
            if lacking != 0 {
                return Verdict(lacking);
            }
        }
        if in_zone { Verdict::FITS } else { Verdict::VOLUME_ZONE }
    }

    fn ports_taken(&self, form: &Form, slot: usize) -> bool {
        self.residents[slot].iter().any(|r| {
            let theirs = &self.forms[r.shape.index()].spec.host_ports;
            theirs.iter().any(|a| form.spec.host_ports.iter().any(|b| filter::ports_conflict(a, b)))
        })
    }

    /// The fit filter over dense numbers: 0, or what is lacking.
    fn lacking(&self, form: &Form, slot: usize) -> u32 {
        let (load, request) = (&self.loads[slot], &form.spec.requests);
        let mut lacking = 0;
        if load.used.pods >= load.has.pods {
            lacking |= LACKING | 1;
        }
        let mut check = |bit: usize, requested: i64, has: i64, used: i64| {
            if requested > 0 && requested > has.saturating_sub(used) {
                lacking |= LACKING | 1 << bit;
                if requested > has {
                    lacking |= HOPELESS;
                }
            }
        };
        check(1, request.cpu_m, load.has.cpu_m, load.used.cpu_m);
        check(2, request.memory, load.has.memory, load.used.memory);
        check(3, request.ephemeral_storage, load.has.storage, load.used.storage);
        for &(dimension, amount) in &form.extended {
            if !self.dimensions[dimension] {
                let (has, used) = self.extended[self.at(slot, dimension)];
                check((FIRST_EXTENDED + dimension).min(LAST_EXTENDED), amount, has, used);
            }
        }
        lacking
    }

    /// The filters that look at one node alone, computed anew.
    pub(super) fn own_verdict(&self, form: &Form, slot: usize) -> Verdict {
        let fixed = self.fixed_verdict(form, slot);
        if fixed.fits() { self.load_verdict(form, slot, self.in_zone(form, slot)) } else { fixed }
    }

    /// The weighted scores that look at one node alone: fit and balance.
    fn local_score(&self, form: &Form, slot: usize) -> i32 {
        let weights = &self.profile.weights;
        let load = &self.loads[slot];
        let mut sum = 0;
        if weights.fit > 0 {
            let shares =
                self.scoring.iter().filter_map(|&(dimension, weight)| self.share(form, slot, load, dimension, weight));
            sum += score::fit(&self.profile.scoring, shares) * i64::from(weights.fit);
        }
        if weights.balanced > 0 && self.requests_balanced(form) {
            let shares = |own: i64| {
                self.balanced.iter().filter_map(move |&dimension| self.real_share(form, slot, load, dimension, own))
            };
            let with = score::balance(shares(1));
            let without = match self.profile.balanced {
                super::profile::BalancedFormula::Level => 0,
                super::profile::BalancedFormula::Change => score::balance(shares(0)),
            };
            sum += score::balanced_allocation(self.profile.balanced, with, without) * i64::from(weights.balanced);
        }
        i32::try_from(sum.max(0)).unwrap_or(i32::MAX)
    }

    /// Whether a pod requests any of the resources that are to be balanced; the plugin skips it otherwise.
    pub(super) fn requests_balanced(&self, form: &Form) -> bool {
        let requests = &form.spec.requests;
        self.balanced.iter().any(|dimension| match *dimension {
            Dimension::Cpu => requests.cpu_m > 0,
            Dimension::Memory => requests.memory > 0,
            Dimension::Storage => requests.ephemeral_storage > 0,
            Dimension::Extended(d) => form.extended.iter().any(|&(e, _)| e == d),
        })
    }

    fn share(&self, form: &Form, slot: usize, load: &Load, dimension: Dimension, weight: i64) -> Option<Share> {
        let spec = &form.spec;
        Some(match dimension {
            Dimension::Cpu => {
                Share { requested: load.score_cpu_m + spec.score_cpu_m, capacity: load.has.cpu_m, weight }
            }
            Dimension::Memory => {
                Share { requested: load.score_memory + spec.score_memory, capacity: load.has.memory, weight }
            }
            other => Share { weight, ..self.real_share(form, slot, load, other, 1)? },
        })
    }

    /// A resource by real requests, with the pod's own or without (`own` 1 or 0).
    fn real_share(&self, form: &Form, slot: usize, load: &Load, dimension: Dimension, own: i64) -> Option<Share> {
        let request = &form.spec.requests;
        let (requested, capacity) = match dimension {
            Dimension::Cpu => (load.used.cpu_m + own * request.cpu_m, load.has.cpu_m),
            Dimension::Memory => (load.used.memory + own * request.memory, load.has.memory),
            Dimension::Storage => (load.used.storage + own * request.ephemeral_storage, load.has.storage),
            Dimension::Extended(d) => {
                let amount = form.extended.iter().find(|(e, _)| *e == d)?.1;
                let (has, used) = self.extended[self.at(slot, d)];
                (used + own * amount, has)
            }
        };
        Some(Share { requested, capacity, weight: 1 })
    }

    fn refresh_images(&self, form: &Form, cache: &mut ShapeCache) {
        let weight = i64::from(self.profile.weights.image_locality);
        if weight == 0 || form.spec.images.is_empty() || cache.image_epoch == self.image_epoch {
            return;
        }
        cache.image_epoch = self.image_epoch;
        cache.images.clear();
        if !form.spec.images.iter().any(|i| self.image_nodes.get(i).is_some_and(|n| *n > 0)) {
            return;
        }
        let all = self.node_count();
        cache.images.extend(self.nodes.iter().map(|node| {
            let Some(node) = node else { return 0 };
            let part = |image| {
                let (_, bytes) = node.images.iter().find(|(i, _)| i == image)?;
                let with = self.image_nodes.get(image).copied().unwrap_or(0);
                Some(score::image_part(*bytes, with as usize, all))
            };
            let sum = form.spec.images.iter().filter_map(part).fold(0_i64, i64::saturating_add);
            (score::image_locality(sum, form.spec.images.len()) * weight) as i32
        }));
    }

    /// Counts a verdict into a why-not.
    pub(super) fn explain(&self, why: &mut WhyNot, verdict: Verdict, times: u32, form: &Form) {
        if verdict.0 & REASON != 0 && verdict.0 & LACKING == 0 {
            let at = (verdict.0 & !(HOPELESS | REASON)) as usize;
            if let Some(reason) = self.reasons.get_index(at) {
                why.count(*reason, times);
            }
            return;
        }
        let names = [ResourceName::Pods, ResourceName::Cpu, ResourceName::Memory, ResourceName::EphemeralStorage];
        for (bit, name) in names.into_iter().enumerate() {
            if verdict.0 & (1 << bit) != 0 {
                why.count(Reason::Insufficient(name), times);
            }
        }
        for &(dimension, _) in &form.extended {
            let bit = (FIRST_EXTENDED + dimension).min(LAST_EXTENDED);
            // Resources beyond the last bit share it and are named together.
            if verdict.0 & (1 << bit) != 0
                && let Some((name, _)) = self.dimensions.get_index(dimension)
            {
                why.count(Reason::Insufficient(ResourceName::Extended(*name)), times);
            }
        }
    }
}

impl Verdict {
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn of_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl Entry {
    /// Whether the verdict came from filters that do not look at pods.
    fn is_fixed(&self) -> bool {
        let Verdict(bits) = self.verdict;
        bits & LACKING == 0
            && self.verdict != Verdict::HOST_PORTS
            && self.verdict != Verdict::VOLUME_ZONE
            && bits & REASON != 0
    }
}
