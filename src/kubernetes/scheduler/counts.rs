//! How many pods of a sort are in each domain, kept as pods come and go: what topology spread and affinity
//! between pods ask for. A counter is about one sort of pods, one label whose values are the domains, and
//! the nodes that count; shapes that ask the same share it.

use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use super::filter;
use crate::kubernetes::object::{
    Labels, NodeSelectorTerm, PodAffinityTerm, PodSpec, Selector, Symbol, Symbols, Taint, Toleration,
};

/// No domain: the node lacks the label.
pub(super) const NOWHERE: u32 = u32::MAX;
/// In place of a rule: every node counts.
const EVERY: u32 = u32::MAX;
/// In place of a label: every node is its own domain.
const SELF: u32 = u32::MAX;

/// What is known of a node here.
#[derive(Clone, Copy)]
pub(super) struct NodeView<'a> {
    pub(super) name: Symbol,
    pub(super) labels: &'a Labels,
    pub(super) taints: &'a [Taint],
}

/// A label and the domains that it makes of the nodes.
#[derive(Clone, Debug)]
struct Topology {
    key: Symbol,
    domains: IndexMap<Symbol, u32, FxBuildHasher>,
    /// By node; [`NOWHERE`] where the label is missing.
    domain_of: Vec<u32>,
    /// Nodes of each domain.
    members: Vec<u32>,
    /// The value of each domain.
    values: Vec<Symbol>,
    free: Vec<u32>,
}

/// Which nodes count for a spread constraint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    /// Labels that they must carry.
    pub(super) keys: Vec<Symbol>,
    /// Their labels must satisfy a pod's node selector and required affinity.
    #[allow(clippy::type_complexity)]
    pub(super) affinity: Option<(Vec<(Symbol, Symbol)>, Option<Vec<NodeSelectorTerm>>)>,
    /// Their taints must be tolerated.
    pub(super) tolerations: Option<Vec<Toleration>>,
}

impl Rule {
    fn holds(&self, node: NodeView<'_>, symbols: &Symbols) -> bool {
        self.keys.iter().all(|k| node.labels.get(*k).is_some())
            && self.affinity.as_ref().is_none_or(|(selector, required)| {
                selector.iter().all(|&(k, v)| node.labels.get(k) == Some(v))
                    && required.as_ref().is_none_or(|t| t.iter().any(|t| t.matches(node.name, node.labels, symbols)))
            })
            && self.tolerations.as_ref().is_none_or(|t| filter::untolerated(t, node.taints).is_none())
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.affinity.is_none() && self.tolerations.is_none()
    }
}

/// A selector of pods with the namespaces it looks into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// In the order of their symbols.
    namespaces: Vec<Symbol>,
    selector: Option<Selector>,
}

impl Group {
    pub(super) fn of_term(term: &PodAffinityTerm, own: Symbol) -> Self {
        let mut namespaces = term.namespaces.clone();
        if namespaces.is_empty() {
            namespaces.push(own);
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        Self { namespaces, selector: term.selector.clone() }
    }

    pub(super) fn matches(&self, pod: &PodSpec, symbols: &Symbols) -> bool {
        self.namespaces.contains(&pod.namespace)
            && self.selector.as_ref().is_some_and(|s| s.matches(&pod.labels, symbols))
    }
}

/// Which pods a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    /// Pods of a namespace that a spread selector matches and that are not terminating. A selector without
    /// requirements counts none, as the real one has it.
    Spread(Symbol, Option<Selector>),
    /// Pods that match all of these.
    Matching(Vec<Group>),
    /// Pods that themselves must not be near pods of this group.
    Avoiding(Group),
    /// Pods by the weight with which they would be near pods of this group.
    Drawn(Group),
}

/// What decides that two counters are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    sort: Sort,
    topology: u32,
    rule: u32,
}

/// The smallest count over the domains that have a node which counts.
#[derive(Clone, Debug, Default)]
struct Lowest {
    /// Nodes that count, by domain.
    nodes_in: Vec<u32>,
    /// How many domains hold so many pods.
    holding: Vec<u32>,
    domains: u32,
    lowest: usize,
}

impl Lowest {
    fn enter(&mut self, count: i64, by: i32) {
        let count = usize::try_from(count).unwrap_or(0);
        if self.holding.len() <= count {
            self.holding.resize(count + 1, 0);
        }
        self.holding[count] = self.holding[count].wrapping_add_signed(by);
        self.domains = self.domains.wrapping_add_signed(by);
        if by > 0 {
            self.lowest = if self.domains == 1 { count } else { self.lowest.min(count) };
        } else {
            self.climb();
        }
    }

    fn climb(&mut self) {
        if self.domains == 0 {
            self.lowest = 0;
            return;
        }
        while self.holding[self.lowest] == 0 {
            self.lowest += 1;
        }
    }
}

#[derive(Clone, Debug)]
struct Counter {
    question: Arc<Question>,
    counts: Vec<i64>,
    total: i64,
    lowest: Option<Lowest>,
}

/// What one pod of a shape adds to a counter.
#[derive(Clone, Copy, Debug)]
struct Addition {
    counter: u32,
    by: i64,
    /// Not while the pod terminates.
    living: bool,
}

/// A counter and the label whose value finds the domain in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) counter: u32,
    pub(super) topology: u32,
}

/// All counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    topologies: Vec<Topology>,
    rules: IndexSet<Rule, FxBuildHasher>,
    /// By rule and node: whether it counts.
    holds: Vec<Vec<bool>>,
    counters: Vec<Counter>,
    index: IndexMap<Arc<Question>, u32, FxBuildHasher>,
    /// By shape.
    additions: Vec<Vec<Addition>>,
    /// Slots of nodes.
    slots: usize,
}

/// The label of a node's own name: spread scores count its pods node by node.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

impl Counts {
    /// The topology of a label; the nodes are those there are.
    pub(super) fn topology<'a>(&mut self, key: Symbol, nodes: impl Iterator<Item = (usize, NodeView<'a>)>) -> u32 {
        if let Some(at) = self.topologies.iter().position(|t| t.key == key) {
            return at as u32;
        }
        let mut topology = Topology {
            key,
            domains: IndexMap::default(),
            domain_of: vec![NOWHERE; self.slots],
            members: Vec::new(),
            values: Vec::new(),
            free: Vec::new(),
        };
        for (slot, node) in nodes {
            topology.join(slot, node.labels);
        }
        self.topologies.push(topology);
        self.topologies.len() as u32 - 1
    }

    /// The rule's number.
    pub(super) fn rule<'a>(
        &mut self,
        rule: Rule,
        nodes: impl Iterator<Item = (usize, NodeView<'a>)>,
        symbols: &Symbols,
    ) -> u32 {
        if rule.is_empty() {
            return EVERY;
        }
        let (at, new) = self.rules.insert_full(rule);
        if new {
            let mut holds = vec![false; self.slots];
            for (slot, node) in nodes {
                holds[slot] = self.rules[at].holds(node, symbols);
            }
            self.holds.push(holds);
        }
        at as u32
    }

    /// The counter that answers a question, and whether it is new: then [`Self::admit`] has to be called for every
    /// shape and [`Self::count_in`] for every pod. `own` counts by node instead of by domain.
    pub(super) fn counter(&mut self, sort: Sort, topology: u32, rule: u32, own: bool, lowest: bool) -> (u32, bool) {
        let question = Arc::new(Question { sort, topology: if own { SELF } else { topology }, rule });
        if let Some(&at) = self.index.get(&question) {
            if lowest && self.counters[at as usize].lowest.is_none() {
                self.track(at);
            }
            return (at, false);
        }
        let at = self.counters.len() as u32;
        let domains = if own { self.slots } else { self.topologies[topology as usize].members.len() };
        self.counters.push(Counter { question: question.clone(), counts: vec![0; domains], total: 0, lowest: None });
        self.index.insert(question, at);
        if lowest {
            self.track(at);
        }
        (at, true)
    }

    /// From now on the counter knows its smallest count.
    fn track(&mut self, counter: u32) {
        let own = &mut self.counters[counter as usize];
        let mut lowest = Lowest { nodes_in: vec![0; own.counts.len()], ..Lowest::default() };
        if let Some(topology) = self.topologies.get(own.question.topology as usize) {
            for (slot, domain) in topology.domain_of.iter().enumerate() {
                if *domain != NOWHERE && (own.question.rule == EVERY || self.holds[own.question.rule as usize][slot]) {
                    lowest.nodes_in[*domain as usize] += 1;
                }
            }
        }
        for (domain, nodes) in lowest.nodes_in.clone().into_iter().enumerate() {
            if nodes > 0 {
                lowest.enter(own.counts[domain], 1);
            }
        }
        own.lowest = Some(lowest);
    }

    /// Makes room for a new shape: what its pods add to the counters that are there.
    pub(super) fn new_shape(&mut self, pod: &PodSpec, hard_weight: i64, symbols: &Symbols) {
        let additions =
            (0..self.counters.len() as u32).filter_map(|c| self.addition(c, pod, hard_weight, symbols)).collect();
        self.additions.push(additions);
    }

    /// Says what the pods of a shape add to a new counter.
    pub(super) fn admit(&mut self, counter: u32, shape: usize, pod: &PodSpec, hard_weight: i64, symbols: &Symbols) {
        if let Some(addition) = self.addition(counter, pod, hard_weight, symbols) {
            self.additions[shape].push(addition);
        }
    }

    fn addition(&self, counter: u32, pod: &PodSpec, hard_weight: i64, symbols: &Symbols) -> Option<Addition> {
        let is = |group: &Group, term: &PodAffinityTerm| *group == Group::of_term(term, pod.namespace);
        let topology = self.counters[counter as usize].question.topology;
        let key = self.topologies.get(topology as usize).map(|t| t.key);
        let at = |term: &PodAffinityTerm| Some(term.topology_key) == key;
        let (by, living) = match &self.counters[counter as usize].question.sort {
            Sort::Spread(namespace, selector) => {
                let counted = pod.namespace == *namespace
                    && selector.as_ref().is_some_and(|s| !s.requirements.is_empty() && s.matches(&pod.labels, symbols));
                (i64::from(counted), true)
            }
            Sort::Matching(groups) => (i64::from(groups.iter().all(|g| g.matches(pod, symbols))), false),
            Sort::Avoiding(group) => {
                let terms = pod.required_anti_affinity.iter().filter(|t| at(t) && is(group, t)).count();
                (terms as i64, false)
            }
            Sort::Drawn(group) => {
                let sum = |terms: &[(i64, PodAffinityTerm)]| -> i64 {
                    terms.iter().filter(|(_, t)| at(t) && is(group, t)).map(|(w, _)| w).sum()
                };
                let required = pod.required_affinity.iter().filter(|t| at(t) && is(group, t)).count() as i64;
                let weight = required * hard_weight + sum(&pod.preferred_affinity) - sum(&pod.preferred_anti_affinity);
                (weight, false)
            }
        };
        (by != 0).then_some(Addition { counter, by, living })
    }

    /// Counts a pod into one new counter.
    pub(super) fn count_in(&mut self, counter: u32, shape: usize, slot: usize, terminating: bool) {
        let addition = self.additions[shape].iter().find(|a| a.counter == counter).copied();
        if let Some(addition) = addition.filter(|a| !(a.living && terminating)) {
            self.add(addition.counter, slot, addition.by);
        }
    }

    /// Counts a pod in or out (`sign` 1 or -1).
    pub(super) fn count(&mut self, shape: usize, slot: usize, terminating: bool, sign: i64) {
        for at in 0..self.additions[shape].len() {
            let addition = self.additions[shape][at];
            if !(addition.living && terminating) {
                self.add(addition.counter, slot, sign * addition.by);
            }
        }
    }

    /// A counted pod begins to terminate: spread forgets it.
    pub(super) fn terminate(&mut self, shape: usize, slot: usize) {
        for at in 0..self.additions[shape].len() {
            let addition = self.additions[shape][at];
            if addition.living {
                self.add(addition.counter, slot, -addition.by);
            }
        }
    }

    fn add(&mut self, counter: u32, slot: usize, by: i64) {
        let counter = &mut self.counters[counter as usize];
        let question = &*counter.question;
        let domain = match self.topologies.get(question.topology as usize) {
            Some(topology) => topology.domain_of[slot],
            None => slot as u32,
        };
        if domain == NOWHERE || question.rule != EVERY && !self.holds[question.rule as usize][slot] {
            return;
        }
        let count = &mut counter.counts[domain as usize];
        if let Some(lowest) = &mut counter.lowest {
            lowest.enter(*count, -1);
            lowest.enter(*count + by, 1);
        }
        *count += by;
        counter.total += by;
    }

    /// A slot without a node more.
    pub(super) fn grow(&mut self) {
        self.slots += 1;
        for topology in &mut self.topologies {
            topology.domain_of.push(NOWHERE);
        }
        for holds in &mut self.holds {
            holds.push(false);
        }
        for counter in self.counters.iter_mut().filter(|c| c.question.topology == SELF) {
            counter.counts.push(0);
        }
    }

    /// A node without pods takes a slot.
    pub(super) fn join(&mut self, slot: usize, node: NodeView<'_>, symbols: &Symbols) {
        for topology in &mut self.topologies {
            topology.join(slot, node.labels);
        }
        for (rule, holds) in self.rules.iter().zip(&mut self.holds) {
            holds[slot] = rule.holds(node, symbols);
        }
        for counter in &mut self.counters {
            let question = &*counter.question;
            let Some(topology) = self.topologies.get(question.topology as usize) else { continue };
            if counter.counts.len() < topology.members.len() {
                counter.counts.resize(topology.members.len(), 0);
            }
            let Some(lowest) = &mut counter.lowest else { continue };
            lowest.nodes_in.resize(counter.counts.len(), 0);
            let domain = topology.domain_of[slot];
            if domain != NOWHERE && (question.rule == EVERY || self.holds[question.rule as usize][slot]) {
                let nodes = &mut lowest.nodes_in[domain as usize];
                *nodes += 1;
                if *nodes == 1 {
                    lowest.enter(counter.counts[domain as usize], 1);
                }
            }
        }
    }

    /// A node leaves its slot; its pods have been counted out.
    pub(super) fn leave(&mut self, slot: usize) {
        for counter in &mut self.counters {
            let question = &*counter.question;
            let Some(topology) = self.topologies.get(question.topology as usize) else { continue };
            let domain = topology.domain_of[slot];
            let Some(lowest) = &mut counter.lowest else { continue };
            if domain != NOWHERE && (question.rule == EVERY || self.holds[question.rule as usize][slot]) {
                let nodes = &mut lowest.nodes_in[domain as usize];
                *nodes -= 1;
                if *nodes == 0 {
                    lowest.enter(counter.counts[domain as usize], -1);
                }
            }
        }
        for topology in &mut self.topologies {
            topology.leave(slot);
        }
        for holds in &mut self.holds {
            holds[slot] = false;
        }
    }

    /// The number of counters.
    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    /// The counters of pods that must not be near a pod like this.
    pub(super) fn avoiding(&self, pod: &PodSpec, symbols: &Symbols) -> Vec<Asked> {
        self.owners(|sort| matches!(sort, Sort::Avoiding(g) if g.matches(pod, symbols))).collect()
    }

    /// The counters of pods that would be near a pod like this, or far.
    pub(super) fn drawn(&self, pod: &PodSpec, symbols: &Symbols) -> Vec<(Asked, i64)> {
        self.owners(|sort| matches!(sort, Sort::Drawn(g) if g.matches(pod, symbols))).map(|a| (a, 1)).collect()
    }

    fn owners(&self, which: impl Fn(&Sort) -> bool) -> impl Iterator<Item = Asked> {
        self.counters
            .iter()
            .enumerate()
            .filter(move |(_, c)| which(&c.question.sort))
            .map(|(at, c)| Asked { counter: at as u32, topology: c.question.topology })
    }

    /// The domain of a node; [`NOWHERE`] without the label.
    #[inline]
    pub(super) fn domain(&self, topology: u32, slot: usize) -> u32 {
        self.topologies[topology as usize].domain_of[slot]
    }

    /// How many domains a label has had at once; domains are numbered below it.
    pub(super) fn domains(&self, topology: u32) -> usize {
        self.topologies[topology as usize].members.len()
    }

    /// The counts of a counter, by domain or node.
    #[inline]
    pub(super) fn counts(&self, counter: u32) -> &[i64] {
        &self.counters[counter as usize].counts
    }

    /// The sum over all domains.
    #[inline]
    pub(super) fn total(&self, counter: u32) -> i64 {
        self.counters[counter as usize].total
    }

    /// The smallest count over the domains that count, 0 with fewer than `min_domains`.
    #[inline]
    pub(super) fn lowest(&self, counter: u32, min_domains: i64) -> i64 {
        match &self.counters[counter as usize].lowest {
            Some(l) if i64::from(l.domains) < min_domains => 0,
            Some(l) => l.lowest as i64,
            None => 0,
        }
    }
}

impl Topology {
    fn join(&mut self, slot: usize, labels: &Labels) {
        let Some(value) = labels.get(self.key) else { return };
        let domain = match self.domains.get(&value) {
            Some(domain) => *domain,
            None => {
                let domain = self.free.pop().unwrap_or_else(|| {
                    self.members.push(0);
                    self.values.push(value);
                    self.members.len() as u32 - 1
                });
                self.values[domain as usize] = value;
                self.domains.insert(value, domain);
                domain
            }
        };
        self.members[domain as usize] += 1;
        self.domain_of[slot] = domain;
    }

    fn leave(&mut self, slot: usize) {
        let domain = std::mem::replace(&mut self.domain_of[slot], NOWHERE);
        if domain == NOWHERE {
            return;
        }
        self.members[domain as usize] -= 1;
        if self.members[domain as usize] == 0 {
            self.free.push(domain);
            self.domains.swap_remove(&self.values[domain as usize]);
        }
    }
}
