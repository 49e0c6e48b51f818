//! The cooldown memory of a scaling policy.
//!
//! Rule: inside the scale-out cooldown an earlier increase counts: a new request is measured from the
//! capacity before the first increase, so it acts only when it is larger, and then adds the difference.
//! Each increase that acts starts the cooldown again. A scale-in acts only when neither cooldown runs.
//! A scale-out acts during a scale-in cooldown at once, and ends it. Scheduled actions neither wait for
//! a cooldown nor start one.
//!
//! Source: Application Auto Scaling user guide, `step-scaling-policy-overview`,
//! `target-tracking-scaling-policy-overview` (cooldown periods).
//!
//! Known departure: whether a running scale-out cooldown also blocks a scale-in is not documented; here
//! it does, for the same policy.

use serde::{Deserialize, Serialize};

use super::target_tracking::Direction;
use crate::kernel::{SimDuration, SimTime};

/// What a policy remembers of its last activities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CooldownMemory {
    /// The chain of increases whose cooldown runs.
    pub scale_out: Option<ScaleOut>,
    /// When the scale-in cooldown ends.
    pub scale_in_until: Option<SimTime>,
}

/// A chain of increases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleOut {
    /// The capacity before the first increase of the chain.
    pub base: u32,
    /// When the cooldown ends.
    pub until: SimTime,
}

/// A request of a policy to change the capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CooldownRequest {
    /// Now.
    pub now: SimTime,
    /// The capacity from which the policy reckoned (for ECS: running tasks).
    pub start: u32,
    /// The capacity as it is set (for ECS: the desired count).
    pub current: u32,
    /// The capacity asked for, reckoned from `start`.
    pub wanted: u32,
    /// Which way. Asking for more than `start` to remove, or for less to add, changes nothing.
    pub direction: Direction,
    /// Length of the scale-out cooldown.
    pub scale_out_cooldown: SimDuration,
    /// Length of the scale-in cooldown.
    pub scale_in_cooldown: SimDuration,
}

/// What the cooldown made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum CooldownVerdict {
    /// No cooldown was in the way.
    Free,
    /// Measured from the capacity before an earlier increase.
    EarlierIncreaseCounts {
        /// That capacity.
        base: u32,
        /// When the cooldown ends.
        until: SimTime,
    },
    /// A scale-in has to wait.
    Blocked {
        /// Until when.
        until: SimTime,
    },
}

/// The capacity that results from a request, why, and the memory if that capacity is then set.
///
/// A scale-out never results in less than `current`, a scale-in never in more.
#[must_use]
pub fn request(memory: CooldownMemory, req: &CooldownRequest) -> (u32, CooldownVerdict, CooldownMemory) {
    let scale_out = memory.scale_out.filter(|s| req.now < s.until);
    if req.direction == Direction::Out {
        let added = req.wanted.saturating_sub(req.start);
        let (base, verdict) = match scale_out {
            Some(ScaleOut { base, until }) => (base, CooldownVerdict::EarlierIncreaseCounts { base, until }),
            None => (req.start, CooldownVerdict::Free),
        };
        let capacity = if added == 0 { req.current } else { base.saturating_add(added).max(req.current) };
        let memory = if capacity > req.current {
            let until = req.now + req.scale_out_cooldown;
            CooldownMemory { scale_out: Some(ScaleOut { base, until }), scale_in_until: None }
        } else {
            CooldownMemory { scale_out, ..memory }
        };
        return (capacity, verdict, memory);
    }
    let waits = scale_out.map(|s| s.until).max(memory.scale_in_until.filter(|t| req.now < *t));
    if let Some(until) = waits {
        return (req.current, CooldownVerdict::Blocked { until }, memory);
    }
    let capacity = req.wanted.min(req.current);
    let memory = if capacity < req.current {
        CooldownMemory { scale_out: None, scale_in_until: Some(req.now + req.scale_in_cooldown) }
    } else {
        memory
    };
    (capacity, CooldownVerdict::Free, memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(capacity: u32, out: u64, in_: u64, requests: &[(u64, i64)]) -> Vec<u32> {
        let (mut capacity, mut memory) = (capacity, CooldownMemory::default());
        requests
            .iter()
            .map(|(t, change)| {
                let req = CooldownRequest {
                    now: SimTime::from_secs(*t),
                    start: capacity,
                    current: capacity,
                    wanted: u32::try_from(i64::from(capacity) + change).unwrap(),
                    direction: if *change > 0 { Direction::Out } else { Direction::In },
                    scale_out_cooldown: SimDuration::from_secs(out),
                    scale_in_cooldown: SimDuration::from_secs(in_),
                };
                (capacity, _, memory) = request(memory, &req);
                capacity
            })
            .collect()
    }

    #[test]
    fn an_earlier_increase_counts_until_the_cooldown_ends() {
        assert_eq!(run(10, 300, 300, &[(0, 2), (60, 3)]), [12, 13]);
        assert_eq!(run(10, 300, 300, &[(0, 2), (60, 2)]), [12, 12]);
        assert_eq!(run(10, 300, 300, &[(0, 2), (300, 2)]), [12, 14]);
        // The base stays that of the first increase, and each that acts starts the cooldown again.
        assert_eq!(run(10, 60, 300, &[(0, 2), (30, 5), (80, 6), (150, 1)]), [12, 15, 16, 17]);
    }

    #[test]
    fn scale_in_waits_and_a_scale_out_ends_its_cooldown() {
        assert_eq!(run(10, 300, 300, &[(0, -2), (120, -1), (300, -1)]), [8, 8, 7]);
        assert_eq!(run(10, 60, 300, &[(0, -2), (30, 1), (95, -1)]), [8, 9, 8]);
        assert_eq!(run(10, 300, 300, &[(0, 2), (60, -1)]), [12, 12]);
    }

    #[test]
    fn requests_are_reckoned_from_what_runs() {
        // Desired is already 15, 10 run: asking for 15 again changes nothing.
        let req = CooldownRequest {
            now: SimTime::from_secs(60),
            start: 10,
            current: 15,
            wanted: 15,
            direction: Direction::Out,
            scale_out_cooldown: SimDuration::from_secs(300),
            scale_in_cooldown: SimDuration::from_secs(300),
        };
        let (capacity, verdict, memory) = request(CooldownMemory::default(), &req);
        assert_eq!((capacity, verdict, memory), (15, CooldownVerdict::Free, CooldownMemory::default()));
    }
}
