//! The kube-scheduler: its queue, filters, scores, preemption, and the cache of the cluster that they look at.
//!
//! [`filter`] and [`score`] hold the pure rules. [`Scheduler`] applies them to many nodes at a speed that does
//! not look at everything: scores that look at one node alone are remembered and computed anew only for nodes
//! that changed since; counts of pods by domain (topology spread, affinity between pods) follow every pod that
//! comes or goes. The answers are those of the plain rules over all nodes, which tests hold against it.

mod attempt;
mod cache;
mod counts;
pub mod filter;
mod preempt;
pub mod profile;
pub mod queue;
pub mod score;
mod shape;
mod state;
#[cfg(test)]
mod tests;
mod why;

pub use filter::{Code, Insufficient, ResourceName};
pub use preempt::{Budget, Candidate, Preemption};
pub use profile::{
    BalancedFormula, DefaultConstraint, DefaultSpread, Filters, Profile, ScoringStrategy, ShapePoint, Weights,
};
pub use queue::{Attempt, ClusterEvent, QueueSpec, SchedulingQueue};
pub use state::{Ending, Node, NodeId, Nomination, Placed, PodKey, Resident, Scheduler, ShapeId};
pub use why::{NoPreemption, Plugins, Reason, WhyNot};
