//! What a simulation answers.

use super::topology::TopologyKind;
use crate::kernel::SimTime;
use crate::kubernetes::karpenter::pool::Limits;
use crate::kubernetes::karpenter::requirements::Requirements;
use crate::kubernetes::object::{Labels, Resources, Symbol, Taint};

/// Why a pod is to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The kube-scheduler found no node.
    Pending,
    /// Its node is being deleted.
    Deleting,
    /// Its node is a candidate for disruption.
    Candidate,
}

/// A pod to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodToPlace {
    /// Names the pod; ties are broken by it.
    pub uid: u64,
    /// What it asks for: an index into the world's shapes.
    pub shape: usize,
    /// When it was created.
    pub created: SimTime,
    /// Why it is here.
    pub origin: Origin,
}

/// Where a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On a node that is there or on its way: an index into the world's nodes.
    Node(usize),
    /// On a new NodeClaim: an index into [`Simulation::claims`].
    Claim(usize),
}

/// Why a NodePool could not make a node for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pod does not tolerate a taint of the pool.
    Taint(Taint),
    /// The pod's demand on this label and the pool's share no value, or the pool does not define the label.
    Requirement(Symbol),
    /// The pool's number of nodes is used up.
    NodeLimit,
    /// Every type that the pool allows has more of something than its limits leave.
    Limits,
    /// No type that the pool allows satisfies pod and pool, is offered where they allow it, and has room for the pod beside the
    /// DaemonSets' pods.
    NoType {
        /// Types whose labels satisfy pod and pool.
        labels: u32,
        /// Of these, those of which a compatible offering can be had and that the limits allow.
        offered: u32,
    },
    /// There are types with room, but none in the domain that spreading or affinity leaves.
    NoTypeInDomain,
    /// No type is left on which the pod's host ports are free.
    HostPorts,
    /// Spreading, affinity or anti-affinity over this label leaves no domain.
    Topology {
        /// Which of them.
        kind: TopologyKind,
        /// The label.
        key: Symbol,
        /// Whether it is another pod's anti-affinity that keeps the pod away.
        inverse: bool,
    },
    /// Fewer values of this label would remain than the pool demands.
    MinValues(Symbol),
}

/// A pool with the reason of its refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRefusal {
    /// The pool: an index into the world's pools.
    pub pool: usize,
    /// Why.
    pub refusal: Refusal,
}

/// Why a pod found no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// No NodePool can be used: none is ready and dynamic, or none has a type that can be had.
    NoNodePool,
    /// The pod asks for nodes that are not Karpenter's.
    Ignored,
    /// Every pool refused, in the order in which they were tried, after `given_up` preferences were given up.
    Refused {
        /// Steps of [`super::relaxations`] that were taken before the last attempt.
        given_up: usize,
        /// One reason for each pool.
        pools: Vec<PoolRefusal>,
    },
    /// It had a place on a new NodeClaim whose cheapest types, cut to the number that is kept, do not satisfy `minValues` of this label.
    CutTooShort(Symbol),
}

/// A node that is to be made: everything that is decided before the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaim {
    /// The pool: an index into the world's pools.
    pub pool: usize,
    /// What it must satisfy, with the instance types and capacity types that remain.
    pub requirements: Requirements,
    /// The types that remain, cheapest first, ties by name: indices into the pool's table. At most 600.
    pub types: Vec<usize>,
    /// What its pods and the DaemonSets' pods request.
    pub requests: Resources,
    /// Labels of the pool.
    pub labels: Labels,
    /// Taints of the pool.
    pub taints: Vec<Taint>,
    /// Startup taints of the pool.
    pub startup_taints: Vec<Taint>,
    /// Its pods: indices into the pods that were to be placed.
    pub pods: Vec<usize>,
    /// Whether a demand for flexibility was lowered (`min-values-policy: BestEffort`).
    pub min_values_relaxed: bool,
}

/// What a simulation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// The pods, in the order in which they were given, those of deleting nodes and candidates after the pending ones.
    pub pods: Vec<PodToPlace>,
    /// Nodes to be made.
    pub claims: Vec<NodeClaim>,
    /// Where each pod goes, by the order of `pods`; `None` for one without a place.
    pub targets: Vec<Option<Target>>,
    /// Pods without a place, with the reason. It holds in the state that the simulation ended in.
    pub unplaced: Vec<(usize, Unplaced)>,
    /// By pool: what its limits leave after this. A new claim counts as the largest of the types that it had when it was opened.
    pub remaining: Vec<Limits>,
}

impl Simulation {
    /// The existing nodes that got pods, each once, ascending.
    #[must_use]
    pub fn used_nodes(&self) -> Vec<usize> {
        let node = |t: &Option<Target>| match t {
            Some(Target::Node(n)) => Some(*n),
            _ => None,
        };
        let mut nodes: Vec<usize> = self.targets.iter().filter_map(node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The pods that an existing node got, in their order.
    pub fn pods_on(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let here = move |t: &Option<Target>| *t == Some(Target::Node(node));
        self.targets.iter().enumerate().filter(move |(_, t)| here(t)).map(|(at, _)| at)
    }
}
