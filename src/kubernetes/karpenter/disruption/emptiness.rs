//! Emptiness: nodes without pods that would have to move are deleted together.
//!
//! Source: `kubernetes-sigs/karpenter`, `disruption/emptiness.go` (v1.14).

use super::candidates::Candidate;
use super::{Command, Method};
use crate::kubernetes::karpenter::pool::Reason;
use crate::kubernetes::karpenter::world::World;

/// The empty nodes among ranked candidates that the budgets let go, and whether a budget held one back.
pub(super) fn decide(world: &World<'_>, ranked: &[Candidate], left: &mut [Option<u32>]) -> (Option<Command>, bool) {
    let (mut chosen, mut held) = (Vec::new(), false);
    for c in ranked.iter().filter(|c| c.is_empty()) {
        match super::budgets::take(left, c.pool) {
            true => chosen.push(*c),
            false => held = true,
        }
    }
    let command =
        (!chosen.is_empty()).then(|| Command::new(Method::Emptiness, Reason::Empty, chosen, Vec::new(), world.now));
    (command, held)
}
