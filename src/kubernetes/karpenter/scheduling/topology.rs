//! Groups of pods that spread, keep together or keep apart, and how many of them each domain holds.
//!
//! Source: `kubernetes-sigs/karpenter`, `provisioning/scheduling/topology*.go` (v1.14). Where the source iterates over a
//! map, the domain whose name comes first is taken.

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use super::reqs::{ReqId, ReqTable};
use crate::kubernetes::karpenter::bits::Bits;
use crate::kubernetes::karpenter::labels::WellKnown;
use crate::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use crate::kubernetes::object::{
    Operator, PodAffinityTerm, PodSpec, Requirement, Selector, Symbol, Symbols, Taint, Toleration,
};

/// What a group does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopologyKind {
    /// Pods spread over domains.
    Spread,
    /// Pods go where others are.
    Affinity,
    /// Pods go where others are not.
    AntiAffinity,
}

/// Which nodes count for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct NodeFilter {
    /// One of these must be compatible; none for every node.
    terms: Vec<Requirements>,
    /// Where taints are honoured, what is tolerated.
    tolerations: Option<Vec<Toleration>>,
}

/// What makes two groups the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) kind: TopologyKind,
    pub(super) key: Symbol,
    namespaces: Vec<Symbol>,
    selector: Option<Selector>,
    max_skew: i64,
    min_domains: Option<i64>,
    filter: NodeFilter,
    /// Counts the pods that have the anti-affinity rather than those that it selects.
    pub(super) inverse: bool,
}

impl Group {
    pub(super) fn selects(&self, pod: &PodSpec, symbols: &Symbols) -> bool {
        self.namespaces.contains(&pod.namespace)
            && self.selector.as_ref().is_some_and(|s| s.matches(&pod.labels, symbols))
    }

    /// Whether a node counts. `exempt`: keys that it need not define.
    pub(super) fn counts_on(
        &self,
        taints: &[Taint],
        node: &Requirements,
        exempt: impl Fn(Symbol) -> bool + Copy,
        symbols: &Symbols,
    ) -> bool {
        let suits = |term: &Requirements| node.incompatible(term, exempt, symbols).is_none();
        (self.filter.terms.is_empty() || self.filter.terms.iter().any(suits))
            && self
                .filter
                .tolerations
                .as_ref()
                .is_none_or(|own| taints.iter().all(|t| own.iter().any(|o| o.tolerates(t))))
    }

    pub(super) fn is_trivial(&self) -> bool {
        self.filter == NodeFilter::default()
    }

    fn affinity(term: &PodAffinityTerm, pod: &PodSpec, kind: TopologyKind, inverse: bool, known: &WellKnown) -> Self {
        let mut namespaces = term.namespaces.clone();
        if namespaces.is_empty() {
            namespaces.push(pod.namespace);
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        Self {
            kind,
            key: known.current(term.topology_key),
            namespaces,
            selector: term.selector.clone(),
            max_skew: i64::MAX,
            min_domains: None,
            filter: NodeFilter::default(),
            inverse,
        }
    }

    /// The groups that a pod belongs to, those that only its anti-affinity towards others makes at the end.
    pub(super) fn of(pod: &PodSpec, known: &WellKnown, symbols: &Symbols) -> Vec<Self> {
        let mut all = Vec::new();
        for c in &pod.spread {
            let mut selector = c.selector.clone();
            if let Some(selector) = &mut selector {
                for key in &c.match_label_keys {
                    if let Some(value) = pod.labels.get(*key) {
                        let values = vec![value];
                        selector.requirements.push(Requirement { key: *key, operator: Operator::In, values });
                    }
                }
            }
            let filter = NodeFilter {
                terms: if c.honor_node_affinity { filter_terms(pod, known, symbols) } else { Vec::new() },
                tolerations: c.honor_node_taints.then(|| pod.tolerations.clone()),
            };
            all.push(Self {
                kind: TopologyKind::Spread,
                key: known.current(c.topology_key),
                namespaces: vec![pod.namespace],
                selector,
                max_skew: c.max_skew,
                min_domains: c.min_domains,
                filter,
                inverse: false,
            });
        }
        let affinity = pod.required_affinity.iter().chain(pod.preferred_affinity.iter().map(|(_, t)| t));
        all.extend(affinity.map(|t| Self::affinity(t, pod, TopologyKind::Affinity, false, known)));
        let anti = pod.required_anti_affinity.iter().chain(pod.preferred_anti_affinity.iter().map(|(_, t)| t));
        all.extend(anti.map(|t| Self::affinity(t, pod, TopologyKind::AntiAffinity, false, known)));
        all.extend(Self::inverse_of(pod, known));
        all
    }

    /// The groups by which a pod keeps others away. Its preferences do not: the pod that would have to give in is another.
    pub(super) fn inverse_of(pod: &PodSpec, known: &WellKnown) -> Vec<Self> {
        let terms = pod.required_anti_affinity.iter();
        terms.map(|t| Self::affinity(t, pod, TopologyKind::AntiAffinity, true, known)).collect()
    }
}

/// Node selector and each required term of node affinity, as alternatives.
fn filter_terms(pod: &PodSpec, known: &WellKnown, symbols: &Symbols) -> Vec<Requirements> {
    let mut selector = Requirements::default();
    for (key, value) in &pod.node_selector {
        selector.add(known.current(*key), ValueSet::of([*value]), symbols);
    }
    match &pod.required_node_affinity {
        None if selector.is_empty() => Vec::new(),
        None => vec![selector],
        Some(terms) => terms
            .iter()
            .map(|term| {
                let mut both = selector.clone();
                both.add_term(term, known, symbols);
                both
            })
            .collect(),
    }
}

/// How many pods of a group are where.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Domains by name, for keys other than the host name.
    domains: Vec<(Symbol, u32)>,
    /// For the host name: by host, existing nodes first, then the claims of this pass.
    hosts: Vec<u32>,
    occupied_hosts: u32,
}

impl Counts {
    pub(super) fn register(&mut self, domain: Symbol, symbols: &Symbols) {
        self.entry(domain, symbols);
    }

    fn entry(&mut self, domain: Symbol, symbols: &Symbols) -> &mut u32 {
        let at = match self.domains.iter().position(|(d, _)| *d == domain) {
            Some(at) => at,
            None => {
                let at = self.domains.partition_point(|(d, _)| symbols.text(*d) < symbols.text(domain));
                self.domains.insert(at, (domain, 0));
                at
            }
        };
        &mut self.domains[at].1
    }

    pub(super) fn add(&mut self, domain: Symbol, symbols: &Symbols) {
        *self.entry(domain, symbols) += 1;
    }

    pub(super) fn take(&mut self, domain: Symbol, symbols: &Symbols) {
        let count = self.entry(domain, symbols);
        *count = count.saturating_sub(1);
    }

    pub(super) fn add_host(&mut self, host: usize) {
        if self.hosts.len() <= host {
            self.hosts.resize(host + 1, 0);
        }
        self.occupied_hosts += u32::from(self.hosts[host] == 0);
        self.hosts[host] += 1;
    }

    pub(super) fn take_host(&mut self, host: usize) {
        if let Some(count) = self.hosts.get_mut(host).filter(|c| **c > 0) {
            *count -= 1;
            self.occupied_hosts -= u32::from(*count == 0);
        }
    }

    /// Adds one to each domain in which a node of these requirements could end.
    pub(super) fn add_possible(&mut self, set: Option<&ValueSet>, symbols: &Symbols) {
        if let Some(set) = set.filter(|s| !s.is_complement()) {
            for value in set.values() {
                self.add(*value, symbols);
            }
            return;
        }
        for (domain, count) in &mut self.domains {
            if set.is_none_or(|s| s.has(*domain, symbols)) {
                *count += 1;
            }
        }
    }

    fn host(&self, host: usize) -> u32 {
        self.hosts.get(host).copied().unwrap_or(0)
    }

    fn minimum(&self, group: &Group, pod: Option<&ValueSet>, symbols: &Symbols) -> i64 {
        let allowed = self.domains.iter().filter(|(d, _)| pod.is_none_or(|s| s.has(*d, symbols)));
        let (mut least, mut number) = (i64::MAX, 0);
        for (_, count) in allowed {
            number += 1;
            least = least.min(i64::from(*count));
        }
        if number == 0 || group.min_domains.is_some_and(|min| number < min) { 0 } else { least }
    }

    /// Whether a pod may go on a host, for groups over host names. `elsewhere`: whether a host that the pod's own
    /// requirements allow holds a pod of the group.
    pub(super) fn allows_host(
        &self,
        group: &Group,
        host: usize,
        selects_itself: bool,
        elsewhere: impl Fn(&Self) -> bool,
    ) -> bool {
        match group.kind {
            TopologyKind::Spread => i64::from(self.host(host)) + i64::from(selects_itself) <= group.max_skew,
            TopologyKind::AntiAffinity => self.host(host) == 0,
            TopologyKind::Affinity => self.host(host) > 0 || (selects_itself && !elsewhere(self)),
        }
    }

    pub(super) fn occupied_hosts(&self) -> u32 {
        self.occupied_hosts
    }

    /// Whether any of these hosts holds a pod.
    pub(super) fn any_host(&self, mut hosts: impl Iterator<Item = usize>) -> bool {
        hosts.any(|h| self.host(h) > 0)
    }

    /// The domains to which a pod may go on a node: `None` if there is none. `pod` is what the pod itself demands of the
    /// key, `node` what is known of the node.
    pub(super) fn next_domain(
        &self,
        group: &Group,
        pod: Option<&ValueSet>,
        node: Option<&ValueSet>,
        selects_itself: bool,
        symbols: &Symbols,
    ) -> Option<ValueSet> {
        let pod_has = |d: Symbol| pod.is_none_or(|s| s.has(d, symbols));
        let node_has = |d: Symbol| node.is_none_or(|s| s.has(d, symbols));
        let some = |domains: Vec<Symbol>| (!domains.is_empty()).then(|| ValueSet::of(domains));
        match group.kind {
            TopologyKind::Spread => {
                let least = self.minimum(group, pod, symbols);
                let after = |count: u32| i64::from(count) + i64::from(selects_itself);
                let fits =
                    self.domains.iter().filter(|(d, count)| node_has(*d) && after(*count) - least <= group.max_skew);
                fits.min_by_key(|(_, count)| *count).map(|(d, _)| ValueSet::of([*d]))
            }
            TopologyKind::Affinity => {
                let with = |d: &&(Symbol, u32)| d.1 > 0 && pod_has(d.0);
                let here = self.domains.iter().filter(with).filter(|d| node_has(d.0)).map(|d| d.0).collect();
                if let Some(set) = some(here) {
                    return Some(set);
                }
                if !selects_itself || self.domains.iter().any(|d| with(&d)) {
                    return None;
                }
                let mut open = self.domains.iter().map(|d| d.0).filter(|d| pod_has(*d));
                let inside = open.clone().find(|d| node_has(*d));
                inside.or_else(|| open.next()).map(|d| ValueSet::of([d]))
            }
            TopologyKind::AntiAffinity => {
                let empty = self.domains.iter().filter(|(d, count)| *count == 0 && pod_has(*d) && node_has(*d));
                some(empty.map(|(d, _)| *d).collect())
            }
        }
    }
}

/// The groups of one pass, with the counts at its beginning.
#[derive(Default)]
pub(super) struct Groups {
    all: IndexSet<Group, FxBuildHasher>,
    pub(super) base: Vec<Counts>,
    /// Shapes that each selects.
    pub(super) selects: Vec<Bits>,
    /// Existing nodes that count for each.
    pub(super) on_node: Vec<Bits>,
}

impl Groups {
    pub(super) fn find(&self, group: &Group) -> Option<usize> {
        self.all.get_index_of(group)
    }

    pub(super) fn get(&self, at: usize) -> &Group {
        self.all.get_index(at).expect("groups are named by their place")
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn insert(&mut self, group: Group, base: Counts, selects: Bits, on_node: Bits) -> usize {
        let (at, new) = self.all.insert_full(group);
        if new {
            self.base.push(base);
            self.selects.push(selects);
            self.on_node.push(on_node);
        }
        at
    }
}

/// The groups that decide about one form of a pod, and those that it counts for.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    /// Groups to which the pod must be admitted, with whether the group selects the pod.
    pub(super) matching: Vec<(usize, bool)>,
    /// Groups that count the pod wherever it goes.
    pub(super) counted: Vec<usize>,
    /// Groups by which it keeps others away.
    pub(super) keeps_away: Vec<usize>,
}

/// What decides about the domains of a claim.
pub(super) struct Narrowing<'a> {
    pub(super) groups: &'a Groups,
    pub(super) counts: &'a [Counts],
    pub(super) member: &'a Membership,
    /// What the pod itself demands, without preferences.
    pub(super) strict: ReqId,
    /// The claim's place among hosts.
    pub(super) host: usize,
    /// The label of host names.
    pub(super) hostname: Symbol,
    pub(super) symbols: &'a Symbols,
}

impl Narrowing<'_> {
    /// Narrows the requirements of a claim to the domains that every group allows. The group that refuses comes back,
    /// with whether it will never again admit the pod in this pass. `elsewhere`: see [`Counts::allows_host`].
    pub(super) fn narrow(
        &self,
        reqs: ReqId,
        elsewhere: impl Fn(&Counts) -> bool,
        table: &mut ReqTable<'_>,
    ) -> Result<ReqId, (usize, bool)> {
        let mut now = reqs;
        for &(at, selects_itself) in &self.member.matching {
            let (group, counts) = (self.groups.get(at), &self.counts[at]);
            if group.key == self.hostname {
                if !counts.allows_host(group, self.host, selects_itself, &elsewhere) {
                    // Pods only come in a pass: a host that is full or occupied stays so.
                    return Err((at, group.kind != TopologyKind::Affinity));
                }
                continue;
            }
            let pod = table.get(self.strict).get(group.key);
            let node = table.get(now).get(group.key);
            let Some(set) = counts.next_domain(group, pod, node, selects_itself, self.symbols) else {
                return Err((at, group.kind == TopologyKind::AntiAffinity));
            };
            let one = table.single(group.key, set);
            now = table.join(now, one).map_err(|_| (at, false))?;
        }
        Ok(now)
    }
}
