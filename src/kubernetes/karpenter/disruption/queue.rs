//! Carrying out a command: replacements first, then the nodes go.
//!
//! Source: `kubernetes-sigs/karpenter`, `disruption/queue.go` (v1.14).

use crate::kernel::{SimDuration, SimTime};

/// How often it is looked whether the replacements are there.
pub const POLL: SimDuration = SimDuration::from_secs(1);

/// How far a replacement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplacementState {
    /// It launches, registers or is not initialized yet.
    Starting,
    /// It is initialized.
    Initialized,
    /// It is gone: it could not be launched, or was deleted.
    Gone,
}

/// What to do next with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again after [`POLL`].
    Wait,
    /// Delete the NodeClaims of the candidates.
    Delete,
    /// Untaint and unmark the candidates, and forget the command.
    GiveUp(GiveUp),
}

/// Why a command is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// A replacement is gone.
    ReplacementGone,
    /// The replacements took too long.
    Timeout,
}

/// How long a command waits for its replacements when so many commands are in the queue: 80 ms for each, from 10 min to 1 h.
#[must_use]
pub fn timeout(commands: usize) -> SimDuration {
    let each = SimDuration::from_millis(80) * u64::try_from(commands).unwrap_or(u64::MAX);
    each.clamp(SimDuration::from_mins(10), SimDuration::from_mins(60))
}

/// The next step of a command whose execution began at `started`.
#[must_use]
pub fn step(replacements: &[ReplacementState], started: SimTime, commands: usize, now: SimTime) -> Step {
    if replacements.contains(&ReplacementState::Gone) {
        Step::GiveUp(GiveUp::ReplacementGone)
    } else if replacements.iter().all(|r| *r == ReplacementState::Initialized) {
        Step::Delete
    } else if now.since(started) > timeout(commands) {
        Step::GiveUp(GiveUp::Timeout)
    } else {
        Step::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_waits_for_all_and_not_for_ever() {
        use ReplacementState::{Gone, Initialized, Starting};
        let at = |states: &[ReplacementState], secs| step(states, SimTime::ZERO, 1, SimTime::from_secs(secs));
        assert_eq!(at(&[], 0), Step::Delete);
        assert_eq!(at(&[Initialized, Starting], 600), Step::Wait);
        assert_eq!(at(&[Initialized, Starting], 601), Step::GiveUp(GiveUp::Timeout));
        assert_eq!(at(&[Initialized, Gone], 1), Step::GiveUp(GiveUp::ReplacementGone));
        assert_eq!(timeout(100_000), SimDuration::from_mins(60));
    }
}
