//! Drift: nodes that are not as their NodePool or NodeClass now says.
//!
//! Source: `kubernetes-sigs/karpenter`, `nodeclaim/disruption/drift.go`, and the AWS provider's `drift.go` (v1.14).

/// Why a node has drifted, in the order in which reasons are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriftReason {
    /// The pool's template differs from the one that the node was made of.
    NodePool,
}
