//! Capacity provider strategies: which capacity the next task goes to.
//!
//! Rule: up to 20 capacities, at most one with a base; the base is filled first, the rest is shared by
//! weight. A weight of 0 takes no task beyond the base; several capacities all of weight 0 are refused.
//! What runs already is not moved when the ratio drifts, but shares are reckoned from what runs now, so
//! that replacements bring the ratio back.
//!
//! Source: ECS API, `CapacityProviderStrategyItem`; ECS developer guide, `cluster-capacity-providers`,
//! `fargate-capacity-providers`. The arithmetic, with what is not documented of it, stands in
//! [`crate::cluster::spread`].
//!
//! Known departure: a single capacity of weight 0 takes every task.

use serde::{Deserialize, Serialize};

use crate::cluster::spread::{next_share, surplus_share};
use crate::units::CapacityId;

pub use crate::cluster::spread::Share as StrategyItem;

/// Why a strategy is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// No capacity at all.
    #[error("a capacity provider strategy needs at least one capacity")]
    Empty,
    /// More than 20.
    #[error("a capacity provider strategy takes at most 20 capacities, this one has {0}")]
    TooMany(usize),
    /// More than one base.
    #[error("only one capacity of a strategy may have a base")]
    SeveralBases,
    /// A base above 100,000.
    #[error("a base is at most 100000, this one is {0}")]
    Base(u32),
    /// A weight above 1,000.
    #[error("a weight is at most 1000, this one is {0}")]
    Weight(u32),
    /// Several capacities, and none has a weight.
    #[error("at least one capacity of a strategy needs a weight above 0")]
    NoWeight,
}

/// Tasks on each capacity when `tasks` are placed from nothing under a strategy that was checked.
#[must_use]
pub fn split(tasks: u32, strategy: &[StrategyItem]) -> Vec<u32> {
    let mut counts = vec![0; strategy.len()];
    for _ in 0..tasks {
        let Some(i) = next_share(strategy, &counts) else { break };
        counts[i] += 1;
    }
    counts
}

/// A checked strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    shares: Vec<StrategyItem>,
}

/// Why a capacity was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ShareReason {
    /// Its base is not yet filled.
    Base {
        /// The base.
        base: u32,
    },
    /// It is furthest below its share.
    BelowShare {
        /// Its weight.
        weight: u32,
        /// The sum of weights.
        of: u32,
    },
    /// It is furthest above its share.
    AboveShare {
        /// Its weight.
        weight: u32,
        /// The sum of weights.
        of: u32,
    },
}

impl Strategy {
    /// Checks a strategy.
    ///
    /// # Errors
    /// What ECS would refuse it for.
    pub fn new(shares: Vec<StrategyItem>) -> Result<Self, StrategyError> {
        match shares.len() {
            0 => return Err(StrategyError::Empty),
            1..=20 => {}
            n => return Err(StrategyError::TooMany(n)),
        }
        for share in &shares {
            if share.base > 100_000 {
                return Err(StrategyError::Base(share.base));
            }
            if share.weight > 1_000 {
                return Err(StrategyError::Weight(share.weight));
            }
        }
        if shares.iter().filter(|s| s.base > 0).count() > 1 {
            return Err(StrategyError::SeveralBases);
        }
        if shares.len() > 1 && shares.iter().all(|s| s.weight == 0) {
            return Err(StrategyError::NoWeight);
        }
        Ok(Self { shares })
    }

    /// The capacities, in order.
    #[must_use]
    pub fn shares(&self) -> &[StrategyItem] {
        &self.shares
    }

    /// The capacity of the next task when `counts[i]` tasks run on the i-th, and why.
    #[must_use]
    pub fn next(&self, counts: &[u32]) -> (CapacityId, ShareReason) {
        let i = next_share(&self.shares, counts).unwrap_or(0);
        let share = self.shares[i];
        let reason = if counts.get(i).is_some_and(|n| *n < share.base) {
            ShareReason::Base { base: share.base }
        } else {
            ShareReason::BelowShare { weight: share.weight, of: self.sum() }
        };
        (share.capacity, reason)
    }

    /// The capacity that gives a task up when `counts[i]` tasks run on the i-th, and why; `None` when
    /// none runs.
    #[must_use]
    pub fn surplus(&self, counts: &[u32]) -> Option<(CapacityId, ShareReason)> {
        let share = self.shares[surplus_share(&self.shares, counts, counts)?];
        Some((share.capacity, ShareReason::AboveShare { weight: share.weight, of: self.sum() }))
    }

    /// Tasks on each capacity when `tasks` are placed from nothing.
    #[must_use]
    pub fn split(&self, tasks: u32) -> Vec<u32> {
        split(tasks, &self.shares)
    }

    fn sum(&self) -> u32 {
        self.shares.iter().map(|s| s.weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(list: &[(u32, u32)]) -> Result<Strategy, StrategyError> {
        let share = |(i, (base, weight)): (usize, &(u32, u32))| StrategyItem {
            capacity: i.into(),
            base: *base,
            weight: *weight,
        };
        Strategy::new(list.iter().enumerate().map(share).collect())
    }

    #[test]
    fn splits_of_whole_and_broken_shares() {
        let split = |list: &[(u32, u32)], tasks| strategy(list).unwrap().split(tasks);
        assert_eq!(split(&[(2, 1), (0, 3)], 10), [4, 6]);
        assert_eq!(split(&[(10, 1), (0, 2), (0, 6)], 100), [20, 20, 60]);
        assert_eq!(split(&[(5, 0), (0, 1)], 20), [5, 15]);
        assert_eq!(split(&[(0, 1), (0, 1)], 3), [2, 1]);
        assert_eq!(split(&[(0, 0)], 3), [3]);
    }

    #[test]
    fn what_ecs_refuses() {
        assert_eq!(strategy(&[]), Err(StrategyError::Empty));
        assert_eq!(strategy(&[(1, 1), (1, 1)]), Err(StrategyError::SeveralBases));
        assert_eq!(strategy(&[(0, 0), (0, 0)]), Err(StrategyError::NoWeight));
        assert_eq!(strategy(&[(0, 1001)]), Err(StrategyError::Weight(1001)));
        assert_eq!(strategy(&[(0, 1); 21]), Err(StrategyError::TooMany(21)));
    }

    #[test]
    fn choices_say_why() {
        let s = strategy(&[(1, 1), (0, 3)]).unwrap();
        assert_eq!(s.next(&[0, 0]), (CapacityId(0), ShareReason::Base { base: 1 }));
        assert_eq!(s.next(&[1, 0]), (CapacityId(1), ShareReason::BelowShare { weight: 3, of: 4 }));
        assert_eq!(s.surplus(&[1, 2]), Some((CapacityId(1), ShareReason::AboveShare { weight: 3, of: 4 })));
        assert_eq!(s.surplus(&[0, 0]), None);
    }
}
