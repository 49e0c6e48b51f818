//! Several policies at one instant.
//!
//! Rule: if any policy asks for more than there is, the largest request wins. Otherwise tasks are
//! removed only when every target tracking policy that may remove any is ready to, and then down to the
//! largest request. A policy with scale-in disabled has no say in removing. A step policy's scale-in is
//! not held back by target tracking policies that are not ready, but where several ask the largest
//! still wins.
//!
//! Source: Application Auto Scaling user guide, `target-tracking-scaling-policy-overview`; ECS developer
//! guide, `service-autoscaling-targettracking`. No known departure.

use serde::{Deserialize, Serialize};

/// What one policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The capacity asked for; the current one for no change, which for target tracking means that it
    /// is not ready to remove tasks.
    pub capacity: u32,
    /// The kind of policy.
    pub kind: PolicyKind,
}

/// How a policy takes part in removing tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Target tracking: all of these must be ready.
    TargetTracking,
    /// Target tracking with scale-in disabled: has no say.
    TargetTrackingOutOnly,
    /// A step policy: held back by none.
    Step,
}

/// What several policies come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Combined {
    /// The largest request to add tasks.
    Out {
        /// The capacity.
        capacity: u32,
        /// Whose it is, by position.
        by: usize,
    },
    /// The largest request to remove tasks.
    In {
        /// The capacity.
        capacity: u32,
        /// Whose it is, by position.
        by: usize,
    },
    /// No change, because a target tracking policy is not ready to remove tasks.
    NotReady {
        /// The first that is not, by position.
        by: usize,
    },
    /// No change: nobody asked for one.
    Unchanged,
}

impl Combined {
    /// The resulting capacity when there is `current`.
    #[must_use]
    pub fn capacity(self, current: u32) -> u32 {
        match self {
            Self::Out { capacity, .. } | Self::In { capacity, .. } => capacity,
            Self::NotReady { .. } | Self::Unchanged => current,
        }
    }
}

/// Combines the requests of all policies of a target that has `current`. The earlier policy wins a tie.
#[must_use]
pub fn combine(current: u32, proposals: &[Proposal]) -> Combined {
    let largest = |of: &dyn Fn(&Proposal) -> bool| {
        let mut best: Option<(u32, usize)> = None;
        for (by, p) in proposals.iter().enumerate() {
            if of(p) && best.is_none_or(|(c, _)| p.capacity > c) {
                best = Some((p.capacity, by));
            }
        }
        best
    };
    if let Some((capacity, by)) = largest(&|p| p.capacity > current) {
        return Combined::Out { capacity, by };
    }
    let tracking = |p: &Proposal| p.kind == PolicyKind::TargetTracking;
    let step_in = |p: &Proposal| p.kind == PolicyKind::Step && p.capacity < current;
    let not_ready = proposals.iter().position(|p| tracking(p) && p.capacity >= current);
    let found = match not_ready {
        Some(_) => largest(&step_in),
        None => largest(&|p| tracking(p) || step_in(p)),
    };
    match (found, not_ready) {
        (Some((capacity, by)), _) => Combined::In { capacity, by },
        (None, Some(by)) => {
            let asked = proposals.iter().any(|p| tracking(p) && p.capacity < current);
            if asked { Combined::NotReady { by } } else { Combined::Unchanged }
        }
        (None, None) => Combined::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tt(capacity: u32) -> Proposal {
        Proposal { capacity, kind: PolicyKind::TargetTracking }
    }

    fn step(capacity: u32) -> Proposal {
        Proposal { capacity, kind: PolicyKind::Step }
    }

    #[test]
    fn the_largest_wins_both_ways() {
        assert_eq!(combine(5, &[tt(3), tt(8), tt(7)]), Combined::Out { capacity: 8, by: 1 });
        assert_eq!(combine(5, &[tt(3), tt(4)]), Combined::In { capacity: 4, by: 1 });
        assert_eq!(combine(5, &[tt(3), tt(5)]), Combined::NotReady { by: 1 });
        assert_eq!(combine(5, &[tt(5)]), Combined::Unchanged);
        assert_eq!(combine(5, &[]), Combined::Unchanged);
    }

    #[test]
    fn a_step_is_not_held_back_and_an_out_only_policy_has_no_say() {
        assert_eq!(combine(5, &[tt(5), step(3)]), Combined::In { capacity: 3, by: 1 });
        assert_eq!(combine(5, &[tt(4), step(3)]), Combined::In { capacity: 4, by: 0 });
        let out_only = Proposal { capacity: 2, kind: PolicyKind::TargetTrackingOutOnly };
        assert_eq!(combine(5, &[out_only]), Combined::Unchanged);
        assert_eq!(combine(5, &[out_only, tt(3)]), Combined::In { capacity: 3, by: 1 });
    }
}
