//! Specifications of pods made ready for the scheduler: equal ones share a shape, and what a shape asks about
//! other pods becomes counters.

use std::sync::Arc;

use super::counts::{Asked, Group, NodeView, Rule, Sort};
use super::filter;
use super::profile::DefaultSpread;
use super::state::{Node, Scheduler, ShapeId};
use crate::kubernetes::object::{
    Operator, PodAffinityTerm, PodSpec, Requirement, Selector, SpreadConstraint, Symbols, WhenUnsatisfiable,
};

/// A spread constraint that filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct HardSpread {
    pub(super) asked: Asked,
    pub(super) max_skew: i64,
    /// 1 if the pod is itself counted.
    pub(super) own: i64,
    pub(super) min_domains: i64,
}

/// A spread constraint that scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoftSpread {
    pub(super) asked: Asked,
    pub(super) max_skew: i64,
    /// Whether the counter counts by node (the label is the host name).
    pub(super) by_node: bool,
}

/// A shape.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) spec: Arc<PodSpec>,
    /// Extended resources that it requests, by dimension.
    pub(super) extended: Vec<(usize, i64)>,
    /// Whether a node's rank needs nothing but CPU, memory, storage and room for a pod.
    pub(super) is_plain: bool,
    pub(super) hard: Vec<HardSpread>,
    pub(super) soft: Vec<SoftSpread>,
    /// Whether nodes must carry the labels of all soft constraints to score.
    pub(super) soft_needs_all: bool,
    /// Pods it must be near: each counter counts those that match all its terms.
    pub(super) near: Vec<Asked>,
    /// Whether it matches all its own terms.
    pub(super) near_itself: bool,
    /// Pods it must not be near.
    pub(super) apart: Vec<Asked>,
    /// Placed pods that must not be near it.
    pub(super) avoided: Vec<Asked>,
    /// What makes nodes more or less attractive, by weight.
    pub(super) drawn: Vec<(Asked, i64)>,
}

impl Form {
    /// Whether filters have to look at pods of other nodes.
    pub(super) fn is_crowd_bound(&self) -> bool {
        !(self.hard.is_empty() && self.near.is_empty() && self.apart.is_empty() && self.avoided.is_empty())
    }
}

/// The nodes there are, with what counters ask of them.
fn views(nodes: &[Option<Arc<Node>>]) -> impl Iterator<Item = (usize, NodeView<'_>)> {
    nodes.iter().enumerate().filter_map(|(slot, node)| {
        let node = node.as_deref()?;
        Some((slot, NodeView { name: node.name, labels: &node.labels, taints: &node.taints }))
    })
}

/// The selector with the pod's own values of the constraint's `matchLabelKeys`.
fn effective(constraint: &SpreadConstraint, pod: &PodSpec) -> Option<Selector> {
    let mut selector = constraint.selector.clone()?;
    for key in &constraint.match_label_keys {
        if let Some(value) = pod.labels.get(*key) {
            selector.requirements.push(Requirement { key: *key, operator: Operator::In, values: vec![value] });
        }
    }
    Some(selector)
}

impl Scheduler {
    /// The shape of a specification, made if it is new.
    pub fn add_shape(&mut self, spec: PodSpec) -> ShapeId {
        if let Some(at) = self.specs.get_index_of(&spec) {
            return ShapeId(at as u32);
        }
        let mut spec = Arc::new(spec);
        let id = ShapeId(self.specs.insert_full(spec.clone()).0 as u32);
        if let Some(terms) = &spec.required_node_affinity {
            let parsed = filter::parsed_terms(terms, &self.symbols);
            if parsed.len() < terms.len() {
                Arc::make_mut(&mut spec).required_node_affinity = Some(parsed);
            }
        }
        let extended = spec.requests.extended.iter().filter(|(_, amount)| *amount != 0);
        let extended: Vec<_> = extended.map(|&(name, amount)| (self.dimension(name), amount)).collect();
        let is_plain = self.plain && extended.is_empty() && spec.host_ports.is_empty();
        let form = Form {
            spec: spec.clone(),
            extended,
            is_plain,
            hard: Vec::new(),
            soft: Vec::new(),
            soft_needs_all: true,
            near: Vec::new(),
            near_itself: false,
            apart: Vec::new(),
            avoided: self.counts.avoiding(&spec, &self.symbols),
            drawn: self.counts.drawn(&spec, &self.symbols),
        };
        self.counts.new_shape(&spec, self.profile.hard_pod_affinity_weight, &self.symbols);
        self.forms.push(Arc::new(form));
        self.caches.push(None);
        self.add_spread(id, &spec);
        self.add_affinity(id, &spec);
        id
    }

    /// The specification of a shape.
    #[must_use]
    pub fn shape(&self, shape: ShapeId) -> Option<&PodSpec> {
        self.specs.get_index(shape.index()).map(|s| &**s)
    }

    /// The number of shapes.
    #[must_use]
    pub fn shape_count(&self) -> usize {
        self.specs.len()
    }

    /// The constraints in force, and whether nodes must carry all labels to score.
    fn constraints(&mut self, spec: &PodSpec) -> (Vec<SpreadConstraint>, bool) {
        if !spec.spread.is_empty() {
            return (spec.spread.clone(), true);
        }
        let Some(selector) = spec.owner_selector.clone().filter(|s| !s.requirements.is_empty()) else {
            return (Vec::new(), true);
        };
        let constraint = |max_skew, topology_key, when_unsatisfiable| SpreadConstraint {
            max_skew,
            topology_key,
            when_unsatisfiable,
            selector: Some(selector.clone()),
            min_domains: None,
            honor_node_affinity: true,
            honor_node_taints: false,
            match_label_keys: Vec::new(),
        };
        let profile = self.profile.clone();
        match &profile.default_spread {
            DefaultSpread::System => {
                let anyway = WhenUnsatisfiable::ScheduleAnyway;
                let (hostname, zone) = (self.known.hostname, self.known.zone);
                (vec![constraint(3, hostname, anyway), constraint(5, zone, anyway)], false)
            }
            DefaultSpread::List(list) => {
                let made = list.iter().map(|c| {
                    let key = self.symbols_mut().intern(&c.topology_key);
                    constraint(c.max_skew, key, c.when_unsatisfiable)
                });
                (made.collect(), true)
            }
        }
    }

    fn add_spread(&mut self, id: ShapeId, spec: &PodSpec) {
        let (constraints, needs_all) = self.constraints(spec);
        Arc::make_mut(&mut self.forms[id.index()]).soft_needs_all = needs_all;
        for action in [WhenUnsatisfiable::DoNotSchedule, WhenUnsatisfiable::ScheduleAnyway] {
            let filters = action == WhenUnsatisfiable::DoNotSchedule;
            if filters && !self.profile.filters.spread || !filters && self.profile.weights.spread == 0 {
                continue;
            }
            let these: Vec<&SpreadConstraint> = constraints.iter().filter(|c| c.when_unsatisfiable == action).collect();
            let mut keys: Vec<_> = these.iter().map(|c| c.topology_key).collect();
            keys.sort_unstable();
            keys.dedup();
            for constraint in these {
                let rule = Rule {
                    keys: if filters || needs_all { keys.clone() } else { Vec::new() },
                    affinity: (constraint.honor_node_affinity
                        && (!spec.node_selector.is_empty() || spec.required_node_affinity.is_some()))
                    .then(|| (spec.node_selector.clone(), spec.required_node_affinity.clone())),
                    tolerations: constraint.honor_node_taints.then(|| spec.tolerations.clone()),
                };
                let by_node = !filters && constraint.topology_key == self.known.hostname;
                // Spread scores count the pods of a host whatever its labels are.
                let rule = if by_node { Rule::default() } else { rule };
                let selector = effective(constraint, spec);
                let own = selector.as_ref().is_some_and(|s| s.matches(&spec.labels, &self.symbols));
                let topology = self.counts.topology(constraint.topology_key, views(&self.nodes));
                let rule = self.counts.rule(rule, views(&self.nodes), &self.symbols);
                let sort = Sort::Spread(spec.namespace, selector);
                let counter = self.counter(sort, topology, rule, by_node, filters);
                let asked = Asked { counter, topology };
                let form = Arc::make_mut(&mut self.forms[id.index()]);
                if filters {
                    form.hard.push(HardSpread {
                        asked,
                        max_skew: constraint.max_skew,
                        own: i64::from(own),
                        min_domains: constraint.min_domains.unwrap_or(1),
                    });
                } else {
                    form.soft.push(SoftSpread { asked, max_skew: constraint.max_skew, by_node });
                }
            }
        }
    }

    fn add_affinity(&mut self, id: ShapeId, spec: &PodSpec) {
        let (filters, scores) = (self.profile.filters.inter_pod_affinity, self.profile.weights.inter_pod_affinity > 0);
        let group = |term: &PodAffinityTerm| Group::of_term(term, spec.namespace);
        if filters {
            let all: Vec<Group> = spec.required_affinity.iter().map(group).collect();
            for term in &spec.required_affinity {
                let asked = self.ask(Sort::Matching(all.clone()), term);
                Arc::make_mut(&mut self.forms[id.index()]).near.push(asked);
            }
            Arc::make_mut(&mut self.forms[id.index()]).near_itself = all.iter().all(|g| g.matches(spec, &self.symbols));
            for term in &spec.required_anti_affinity {
                let asked = self.ask(Sort::Matching(vec![group(term)]), term);
                Arc::make_mut(&mut self.forms[id.index()]).apart.push(asked);
                self.announce(Sort::Avoiding(group(term)), term);
            }
        }
        if scores {
            let preferred = spec.preferred_affinity.iter().map(|(w, t)| (*w, t));
            let shunned = spec.preferred_anti_affinity.iter().map(|(w, t)| (-*w, t));
            for (weight, term) in preferred.chain(shunned) {
                let asked = self.ask(Sort::Matching(vec![group(term)]), term);
                Arc::make_mut(&mut self.forms[id.index()]).drawn.push((asked, weight));
                self.announce(Sort::Drawn(group(term)), term);
            }
            if self.profile.hard_pod_affinity_weight > 0 {
                for term in &spec.required_affinity {
                    self.announce(Sort::Drawn(group(term)), term);
                }
            }
        }
    }

    /// A counter of pods by a term's domains.
    fn ask(&mut self, sort: Sort, term: &PodAffinityTerm) -> Asked {
        let topology = self.counts.topology(term.topology_key, views(&self.nodes));
        let rule = self.counts.rule(Rule::default(), views(&self.nodes), &self.symbols);
        Asked { counter: self.counter(sort, topology, rule, false, false), topology }
    }

    /// A counter of the pods that have a term; every shape that the term matches looks at it.
    fn announce(&mut self, sort: Sort, term: &PodAffinityTerm) {
        let before = self.counts.len();
        let asked = self.ask(sort.clone(), term);
        if self.counts.len() == before {
            return;
        }
        let symbols: &Symbols = &self.symbols;
        for form in &mut self.forms {
            match &sort {
                Sort::Avoiding(group) if group.matches(&form.spec, symbols) => Arc::make_mut(form).avoided.push(asked),
                Sort::Drawn(group) if group.matches(&form.spec, symbols) => Arc::make_mut(form).drawn.push((asked, 1)),
                _ => {}
            }
        }
    }

    /// A counter; one that is new counts all pods there are.
    fn counter(&mut self, sort: Sort, topology: u32, rule: u32, by_node: bool, lowest: bool) -> u32 {
        let (counter, new) = self.counts.counter(sort, topology, rule, by_node, lowest);
        if new {
            for (shape, form) in self.forms.iter().enumerate() {
                let weight = self.profile.hard_pod_affinity_weight;
                self.counts.admit(counter, shape, &form.spec, weight, &self.symbols);
            }
            for placed in self.pods.values() {
                let terminating = placed.ending != super::state::Ending::No;
                self.counts.count_in(counter, placed.shape.index(), placed.node.slot(), terminating);
            }
        }
        counter
    }
}
