//! Progressive delivery: a new template gets traffic step by step, and goes back when measurements say so.
//!
//! Two systems: Argo Rollouts ([`rollout`]: canary and blue/green, with analysis runs) and Flagger
//! ([`flagger`]). Each is a state machine: specification, memory and observation in; sizes of sets, shares
//! of traffic, memory and the next wake-up out. Like the Deployment controller they must be called again
//! when a set's counts change and after their own changes were carried out.

pub mod analysis;
mod blue_green;
mod canary;
pub mod flagger;
pub mod rollout;
#[cfg(test)]
mod tests;

use crate::kernel::SimTime;

pub use canary::{approximate_counts, routed_counts};

/// The earlier of two wake-ups.
fn earlier(a: Option<SimTime>, b: Option<SimTime>) -> Option<SimTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
