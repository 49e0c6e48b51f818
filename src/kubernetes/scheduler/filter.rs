//! The filters that look at one node: pure functions. Those that look at the pods of a domain (spread,
//! affinity between pods) need counts over the cluster and live with the [`Scheduler`](super::Scheduler).

use super::profile::Profile;
use super::why::Reason;
use crate::kubernetes::object::{
    Effect, HostPort, Labels, NodeSelectorTerm, PodSpec, Requirement, Resources, Symbol, Symbols, Taint, Toleration,
};

/// The result of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The node passes.
    Success,
    /// It does not; taking pods away may help.
    Unschedulable,
    /// It does not, and preemption cannot help (`UnschedulableAndUnresolvable`).
    Unresolvable,
}

impl Code {
    /// The real name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Unschedulable => "Unschedulable",
            Self::Unresolvable => "UnschedulableAndUnresolvable",
        }
    }
}

/// A resource that a node may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceName {
    /// Room for one more pod.
    Pods,
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Ephemeral storage.
    EphemeralStorage,
    /// An extended resource or huge pages.
    Extended(Symbol),
}

impl ResourceName {
    /// The real name.
    #[must_use]
    pub fn text(self, symbols: &Symbols) -> &str {
        match self {
            Self::Pods => "pods",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Extended(name) => symbols.text(name),
        }
    }
}

/// A resource of which a node has too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insufficient {
    /// Which.
    pub resource: ResourceName,
    /// What the pod requests; 1 of pods.
    pub requested: i64,
    /// What the pods of the node request.
    pub used: i64,
    /// What the node has.
    pub capacity: i64,
}

impl Insufficient {
    /// Whether even the empty node has too little. Never said of pods.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.resource != ResourceName::Pods && self.requested > self.capacity
    }
}

/// `NodeResourcesFit`: the resources of which a node has too little for one more pod. `used` is the sum over its
/// pods, with their number in `pods`.
#[must_use]
pub fn fit(
    request: &Resources,
    used: &Resources,
    allocatable: &Resources,
    profile: &Profile,
    symbols: &Symbols,
) -> Vec<Insufficient> {
    let mut lacking = Vec::new();
    let mut check = |resource, requested: i64, used: i64, capacity: i64| {
        if requested > 0 && requested > capacity.saturating_sub(used) {
            lacking.push(Insufficient { resource, requested, used, capacity });
        }
    };
    check(ResourceName::Pods, 1, used.pods, allocatable.pods);
    check(ResourceName::Cpu, request.cpu_m, used.cpu_m, allocatable.cpu_m);
    check(ResourceName::Memory, request.memory, used.memory, allocatable.memory);
    check(
        ResourceName::EphemeralStorage,
        request.ephemeral_storage,
        used.ephemeral_storage,
        allocatable.ephemeral_storage,
    );
    for &(name, amount) in &request.extended {
        if !profile.ignores(symbols.text(name)) {
            check(ResourceName::Extended(name), amount, used.extended(name), allocatable.extended(name));
        }
    }
    lacking
}

/// The result of the fit filter.
#[must_use]
pub fn fit_code(lacking: &[Insufficient]) -> Code {
    match lacking {
        [] => Code::Success,
        some if some.iter().any(Insufficient::is_hopeless) => Code::Unresolvable,
        _ => Code::Unschedulable,
    }
}

/// `TaintToleration`: the first taint that keeps pods away and is not tolerated.
#[must_use]
pub fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect != Effect::PreferNoSchedule)
        .find(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
}

/// The raw score of `TaintToleration`: `PreferNoSchedule` taints that are not tolerated.
#[must_use]
pub fn disliked_taints(tolerations: &[Toleration], taints: &[Taint]) -> usize {
    taints
        .iter()
        .filter(|taint| taint.effect == Effect::PreferNoSchedule)
        .filter(|taint| !tolerations.iter().any(|t| t.tolerates(taint)))
        .count()
}

/// `NodeUnschedulable`: whether a cordoned node takes the pod after all. `key` is the symbol of
/// `node.kubernetes.io/unschedulable`, `empty` that of the empty text.
#[must_use]
pub fn tolerates_cordon(tolerations: &[Toleration], key: Symbol, empty: Symbol) -> bool {
    let taint = Taint { key, value: empty, effect: Effect::NoSchedule };
    tolerations.iter().any(|t| t.tolerates(&taint))
}

/// `NodeAffinity`: node selector, required terms, and those that the scheduler adds for every pod.
#[must_use]
pub fn node_affinity(
    pod: &PodSpec,
    added: Option<&[NodeSelectorTerm]>,
    name: Symbol,
    labels: &Labels,
    symbols: &Symbols,
) -> bool {
    added.is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels, symbols)))
        && pod.selects_node(name, labels, symbols)
}

/// Terms of node affinity as the scheduler parses them: one with a value that cannot be a label's never matches, so
/// it is left out of the terms joined by OR.
#[must_use]
pub fn parsed_terms(terms: &[NodeSelectorTerm], symbols: &Symbols) -> Vec<NodeSelectorTerm> {
    let parses = |r: &Requirement| r.values.iter().all(|v| is_label_value(symbols.text(*v)));
    terms.iter().filter(|t| t.expressions.iter().all(parses)).cloned().collect()
}

/// Whether a text can be a label's value: empty, or at most 63 letters, digits, `-`, `_` and `.` that begin and end
/// with a letter or digit.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.is_empty()
        || bytes.len() <= 63
            && ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

/// The raw score of `NodeAffinity`: the weights of the preferred terms that match.
#[must_use]
pub fn preferred_node_affinity(pod: &PodSpec, name: Symbol, labels: &Labels, symbols: &Symbols) -> i64 {
    pod.preferred_node_affinity.iter().filter(|(_, t)| t.matches(name, labels, symbols)).map(|(w, _)| w).sum()
}

/// `NodePorts`: whether two ports of one node exclude each other.
#[must_use]
pub fn ports_conflict(a: &HostPort, b: &HostPort) -> bool {
    a.protocol == b.protocol && a.port == b.port && (a.ip == b.ip || a.ip.is_none() || b.ip.is_none())
}

/// `VolumeZone`: whether the node stands in a zone of every volume. A node without a zone takes every pod.
#[must_use]
pub fn volume_zones(zones: &[Vec<Symbol>], zone: Option<Symbol>) -> bool {
    zone.is_none_or(|zone| zones.iter().all(|allowed| allowed.contains(&zone)))
}

/// What a reason means for preemption.
#[must_use]
pub const fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::Unschedulable
        | Reason::NodeName
        | Reason::Taint { .. }
        | Reason::NodeAffinity
        | Reason::VolumeZone
        | Reason::SpreadLabel
        | Reason::Affinity
        | Reason::NoVictims
        | Reason::NotHelpful => Code::Unresolvable,
        Reason::HostPorts
        | Reason::Insufficient(_)
        | Reason::Spread
        | Reason::AntiAffinity
        | Reason::ExistingAntiAffinity => Code::Unschedulable,
    }
}
