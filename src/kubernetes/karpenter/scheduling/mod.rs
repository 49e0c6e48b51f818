//! The scheduling simulation: which pods go on which nodes, and which nodes would have to be made for the rest.
//!
//! Source: `kubernetes-sigs/karpenter`, `provisioning/scheduling` (v1.14). The simulation is the same for
//! provisioning and for disruption; the latter leaves nodes out and asks whether the answer is cheaper. Left
//! out: volume limits of nodes, dynamic resource allocation, bookkeeping of capacity reservations.
//!
//! Pods are many and kinds of pods few, so that everything that depends only on the kind is remembered: requirements are
//! numbers, instance types are bits, and what a claim or a node has refused to a kind for good is not asked again.

mod outcome;
mod prepare;
mod relax;
mod reqs;
mod solve;
mod topology;

pub use outcome::{NodeClaim, Origin, PodToPlace, PoolRefusal, Refusal, Simulation, Target, Unplaced};
pub use prepare::Scheduler;
pub use relax::relaxations;
pub use topology::TopologyKind;
