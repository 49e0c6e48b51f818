//! The objects that the controllers look at: labels and selectors, taints and tolerations, resources, and
//! what a pod asks of a node. Texts are interned, so that the scheduler compares numbers; a pod's
//! specification is a *shape* that all pods of one template share.

use indexmap::IndexSet;

/// An interned text: a label key or value, a namespace, a node's name, an image, an extended resource.
/// Its order is that of interning, never that of the alphabet: where names decide, compare texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

impl Symbol {
    /// The place in the table, from 0: for dense arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The table of interned texts.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    texts: IndexSet<String>,
    /// The value as an integer, where it is one: what `Gt` and `Lt` compare.
    integers: Vec<Option<i64>>,
}

impl Symbols {
    /// The symbol of a text, made if it is new.
    pub fn intern(&mut self, text: &str) -> Symbol {
        if let Some(at) = self.texts.get_index_of(text) {
            return symbol(at);
        }
        self.integers.push(text.parse().ok());
        symbol(self.texts.insert_full(text.to_owned()).0)
    }

    /// The symbol of a text that was interned before.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Symbol> {
        self.texts.get_index_of(text).map(symbol)
    }

    /// The text of a symbol of this table.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &str {
        self.texts.get_index(symbol.index()).map_or("", String::as_str)
    }

    /// The text as a signed integer, if it is one.
    #[must_use]
    pub fn integer(&self, symbol: Symbol) -> Option<i64> {
        self.integers.get(symbol.index()).copied().flatten()
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether nothing was interned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

fn symbol(at: usize) -> Symbol {
    Symbol(u32::try_from(at).expect("fewer texts than 2^32"))
}

/// Labels of an object: pairs in the order of their keys' symbols, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Vec<(Symbol, Symbol)>);

impl Labels {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: Symbol) -> Option<Symbol> {
        self.0.binary_search_by_key(&key, |&(k, _)| k).ok().map(|at| self.0[at].1)
    }

    /// Sets a key, in place of an earlier value.
    pub fn set(&mut self, key: Symbol, value: Symbol) {
        match self.0.binary_search_by_key(&key, |&(k, _)| k) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// All pairs, in the order of their keys' symbols.
    pub fn iter(&self) -> impl Iterator<Item = (Symbol, Symbol)> + '_ {
        self.0.iter().copied()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Symbol, Symbol)> for Labels {
    fn from_iter<I: IntoIterator<Item = (Symbol, Symbol)>>(pairs: I) -> Self {
        let mut labels = Self::default();
        for (key, value) in pairs {
            labels.set(key, value);
        }
        labels
    }
}

/// How a requirement compares. `Gt` and `Lt` compare integers and exist for nodes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The value is one of those given.
    In,
    /// The key is absent, or its value is none of those given.
    NotIn,
    /// The key is there.
    Exists,
    /// The key is absent.
    DoesNotExist,
    /// The value is an integer above the one given.
    Gt,
    /// The value is an integer below the one given.
    Lt,
    /// At least the one given (Karpenter only).
    Gte,
    /// At most the one given (Karpenter only).
    Lte,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Symbol,
    /// How it compares.
    pub operator: Operator,
    /// What it compares with.
    pub values: Vec<Symbol>,
}

impl Requirement {
    /// Whether a value (absent: the key is not there) satisfies it.
    #[must_use]
    pub fn accepts(&self, value: Option<Symbol>, symbols: &Symbols) -> bool {
        let bound = |holds: fn(&i64, &i64) -> bool| {
            let own = value.and_then(|v| symbols.integer(v));
            let other = match self.values[..] {
                [one] => symbols.integer(one),
                _ => None,
            };
            own.zip(other).is_some_and(|(own, other)| holds(&own, &other))
        };
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(&v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(&v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => bound(i64::gt),
            Operator::Lt => bound(i64::lt),
            Operator::Gte => bound(i64::ge),
            Operator::Lte => bound(i64::le),
        }
    }
}

/// A label selector: all requirements must hold. Without any it selects everything; a selector that is
/// absent (`None` where one may stand) selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// What must hold.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// Whether labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels, symbols: &Symbols) -> bool {
        self.requirements.iter().all(|r| r.accepts(labels.get(r.key), symbols))
    }
}

/// A term of node affinity: expressions over labels and over fields (`metadata.name` only), all of which
/// must hold. A term with neither matches no node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSelectorTerm {
    /// Requirements on the node's labels.
    pub expressions: Vec<Requirement>,
    /// Requirements on the node's name; the key is ignored.
    pub names: Vec<Requirement>,
}

impl NodeSelectorTerm {
    /// Whether a node satisfies it.
    #[must_use]
    pub fn matches(&self, name: Symbol, labels: &Labels, symbols: &Symbols) -> bool {
        !(self.expressions.is_empty() && self.names.is_empty())
            && self.expressions.iter().all(|r| r.accepts(labels.get(r.key), symbols))
            && self.names.iter().all(|r| r.accepts(Some(name), symbols))
    }
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// No new pod.
    NoSchedule,
    /// New pods go elsewhere if they can.
    PreferNoSchedule,
    /// No new pod, and those that run are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    /// Its key.
    pub key: Symbol,
    /// Its value; the empty text where it has none.
    pub value: Symbol,
    /// What it does.
    pub effect: Effect,
}

/// A toleration of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// The key it tolerates; absent for every key (then `value` must be absent too).
    pub key: Option<Symbol>,
    /// The value it tolerates (operator Equal); absent for every value (operator Exists).
    pub value: Option<Symbol>,
    /// The effect it tolerates; absent for every effect.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Whether it tolerates a taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && self.key.is_none_or(|k| k == taint.key)
            && self.value.is_none_or(|v| v == taint.value)
    }
}

/// Amounts of the resources that scheduling counts. May be negative where something is overcommitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// CPU in millicores.
    pub cpu_m: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: i64,
    /// Pods.
    pub pods: i64,
    /// Extended resources and huge pages (GPUs, branch interfaces), in the order of their symbols, each once.
    pub extended: Vec<(Symbol, i64)>,
}

impl Resources {
    /// The amount of an extended resource; 0 where it is absent.
    #[must_use]
    pub fn extended(&self, name: Symbol) -> i64 {
        self.extended.binary_search_by_key(&name, |&(n, _)| n).map_or(0, |at| self.extended[at].1)
    }

    /// Sets the amount of an extended resource.
    pub fn set_extended(&mut self, name: Symbol, amount: i64) {
        match self.extended.binary_search_by_key(&name, |&(n, _)| n) {
            Ok(at) => self.extended[at].1 = amount,
            Err(at) => self.extended.insert(at, (name, amount)),
        }
    }

    /// Adds `other` to itself.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, |a, b| a + b);
    }

    /// Takes `other` from itself.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a - b);
    }

    /// The larger of both, resource by resource.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.cpu_m = with(self.cpu_m, other.cpu_m);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = with(self.pods, other.pods);
        for &(name, amount) in &other.extended {
            let own = self.extended(name);
            self.set_extended(name, with(own, amount));
        }
    }

    /// Whether a request of these amounts fits into `room`. A resource of which nothing is requested always fits.
    #[must_use]
    pub fn fits(&self, room: &Self) -> bool {
        let fits = |request: i64, room: i64| request <= 0 || request <= room;
        fits(self.cpu_m, room.cpu_m)
            && fits(self.memory, room.memory)
            && fits(self.ephemeral_storage, room.ephemeral_storage)
            && fits(self.pods, room.pods)
            && self.extended.iter().all(|&(name, amount)| fits(amount, room.extended(name)))
    }
}

/// What happens where a spread constraint cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenUnsatisfiable {
    /// The pod waits.
    DoNotSchedule,
    /// The node only scores lower.
    ScheduleAnyway,
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadConstraint {
    /// By how many pods a domain may lead the emptiest, at least 1.
    pub max_skew: i64,
    /// The label whose values are the domains.
    pub topology_key: Symbol,
    /// What happens where it cannot hold.
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Which pods are counted; absent for none.
    pub selector: Option<Selector>,
    /// With fewer domains than this the emptiest counts as holding none.
    pub min_domains: Option<i64>,
    /// Whether nodes that the pod's node selector and affinity exclude count as domains. `true` is `Honor`, the default.
    pub honor_node_affinity: bool,
    /// Whether nodes whose taints the pod does not tolerate are left out. `false` is `Ignore`, the default.
    pub honor_node_taints: bool,
    /// Keys of the pod's own labels whose values join the selector.
    pub match_label_keys: Vec<Symbol>,
}

/// A term of affinity or anti-affinity between pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodAffinityTerm {
    /// The label whose values are the domains.
    pub topology_key: Symbol,
    /// Which pods it is about; absent for none.
    pub selector: Option<Selector>,
    /// The namespaces of those pods; empty for the pod's own.
    pub namespaces: Vec<Symbol>,
}

/// A port of the node that a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Symbol,
    /// The node's address; absent for 0.0.0.0, all of them.
    pub ip: Option<Symbol>,
    /// 1 to 65535.
    pub port: u16,
}

/// Whether a pod may push out others of lower priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PreemptionPolicy {
    /// It may.
    #[default]
    PreemptLowerPriority,
    /// It waits.
    Never,
}

/// What the pods of one template ask of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodSpec {
    /// The namespace.
    pub namespace: Symbol,
    /// The pod's labels.
    pub labels: Labels,
    /// What it requests: the larger of the sum over containers and the largest init container, plus overhead. `pods` is 1.
    pub requests: Resources,
    /// CPU for scores, in millicores: a container without a request counts 100.
    pub score_cpu_m: i64,
    /// Memory for scores, in bytes: a container without a request counts 200 MiB.
    pub score_memory: i64,
    /// The CPU limit of the pod in millicores: the sum over its containers, absent if one has none.
    pub cpu_limit_m: Option<i64>,
    /// The memory limit of the pod in bytes, absent if a container has none.
    pub memory_limit: Option<i64>,
    /// Labels that the node must have.
    pub node_selector: Vec<(Symbol, Symbol)>,
    /// Required node affinity: one of the terms must match. Absent for no demand; no term matches nothing.
    pub required_node_affinity: Option<Vec<NodeSelectorTerm>>,
    /// Preferred node affinity, with weights 1 to 100.
    pub preferred_node_affinity: Vec<(i64, NodeSelectorTerm)>,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// How its pods spread.
    pub spread: Vec<SpreadConstraint>,
    /// The selector of the services and the controller that own it, joined: what the cluster's default
    /// spread constraints count. Absent for a pod that nobody owns.
    pub owner_selector: Option<Selector>,
    /// Pods it must be near.
    pub required_affinity: Vec<PodAffinityTerm>,
    /// Pods it would be near, with weights 1 to 100.
    pub preferred_affinity: Vec<(i64, PodAffinityTerm)>,
    /// Pods it must not be near.
    pub required_anti_affinity: Vec<PodAffinityTerm>,
    /// Pods it would not be near, with weights 1 to 100.
    pub preferred_anti_affinity: Vec<(i64, PodAffinityTerm)>,
    /// Ports of the node that it takes.
    pub host_ports: Vec<HostPort>,
    /// The images of its containers.
    pub images: Vec<Symbol>,
    /// The zones in which its volumes are: the node must be in one of each list.
    pub volume_zones: Vec<Vec<Symbol>>,
    /// Its priority.
    pub priority: i32,
    /// Whether it may preempt.
    pub preemption_policy: PreemptionPolicy,
    /// The one node it may go to, as DaemonSet pods have it.
    pub node_name: Option<Symbol>,
}

impl PodSpec {
    /// A pod of a namespace that asks for nothing but room for one pod.
    #[must_use]
    pub fn new(namespace: Symbol) -> Self {
        Self {
            namespace,
            labels: Labels::default(),
            requests: Resources { pods: 1, ..Resources::default() },
            score_cpu_m: 0,
            score_memory: 0,
            cpu_limit_m: None,
            memory_limit: None,
            node_selector: Vec::new(),
            required_node_affinity: None,
            preferred_node_affinity: Vec::new(),
            tolerations: Vec::new(),
            spread: Vec::new(),
            owner_selector: None,
            required_affinity: Vec::new(),
            preferred_affinity: Vec::new(),
            required_anti_affinity: Vec::new(),
            preferred_anti_affinity: Vec::new(),
            host_ports: Vec::new(),
            images: Vec::new(),
            volume_zones: Vec::new(),
            priority: 0,
            preemption_policy: PreemptionPolicy::default(),
            node_name: None,
        }
    }

    /// Whether it tolerates a taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| t.tolerates(taint))
    }

    /// Whether a node's labels satisfy the node selector and the required node affinity.
    #[must_use]
    pub fn selects_node(&self, name: Symbol, labels: &Labels, symbols: &Symbols) -> bool {
        self.node_selector.iter().all(|&(key, value)| labels.get(key) == Some(value))
            && self
                .required_node_affinity
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels, symbols)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select_as_the_api_says() {
        let mut symbols = Symbols::default();
        let (key, a, b, five) = (symbols.intern("k"), symbols.intern("a"), symbols.intern("b"), symbols.intern("5"));
        let three = symbols.intern("3");
        let labels = |value| Labels::from_iter([(key, value)]);
        let requirement = |operator, values| Requirement { key, operator, values };
        assert!(requirement(Operator::NotIn, vec![a]).accepts(None, &symbols));
        assert!(requirement(Operator::Gt, vec![three]).accepts(Some(five), &symbols));
        assert!(!requirement(Operator::Gt, vec![three]).accepts(Some(a), &symbols));
        assert!(Selector::default().matches(&labels(a), &symbols));
        let only_b = Selector { requirements: vec![requirement(Operator::In, vec![b])] };
        assert!(only_b.matches(&labels(b), &symbols) && !only_b.matches(&labels(a), &symbols));
        assert!(!NodeSelectorTerm::default().matches(a, &labels(a), &symbols), "an empty term matches nothing");
    }

    #[test]
    fn a_request_of_nothing_fits_even_where_room_is_negative() {
        let room = Resources { cpu_m: -5, memory: 10, pods: 1, ..Resources::default() };
        assert!(Resources { memory: 10, pods: 1, ..Resources::default() }.fits(&room));
        assert!(!Resources { cpu_m: 1, pods: 1, ..Resources::default() }.fits(&room));
    }
}
