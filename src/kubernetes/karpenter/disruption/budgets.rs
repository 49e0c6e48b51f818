//! Disruption budgets: how many nodes of a pool may be disrupted now, by reason.
//!
//! Source: `kubernetes-sigs/karpenter`, `apis/v1/nodepool.go` and `disruption/helpers.go` (v1.14).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::kubernetes::karpenter::pool::{Budget, Reason};
use crate::kubernetes::karpenter::world::World;
use crate::scenario::cron_schedule::{CronSchedule, CronScheduleError};

/// A budget that cannot be read: it blocks every disruption of its pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// `nodes` is neither a number nor a percentage up to 100 %.
    #[error("`{0}` is neither a number of nodes nor a percentage")]
    Nodes(String),
    /// `schedule` cannot be read.
    #[error(transparent)]
    Schedule(#[from] CronScheduleError),
}

impl Budget {
    /// Whether it counts at an instant: always without a schedule, else from each hit for `duration`.
    ///
    /// # Errors
    /// When the schedule cannot be read.
    pub fn is_active(&self, now: Timestamp) -> Result<bool, BudgetError> {
        let (Some(schedule), Some(duration)) = (&self.schedule, self.duration) else {
            return match &self.schedule {
                Some(text) => Ok(CronSchedule::parse(text).map(|_| true)?),
                None => Ok(true),
            };
        };
        let schedule = CronSchedule::parse(schedule)?;
        let back = SignedDuration::from_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
        let from = now.checked_sub(back).unwrap_or(Timestamp::MIN);
        // A schedule without a hit in years is taken as hit long ago: the library gives back the zero instant, which is not after now.
        Ok(schedule.next_after(from, &TimeZone::UTC).is_none_or(|hit| hit <= now))
    }

    /// Nodes that it lets be disrupted of so many; `None` for no limit, while it is not active.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn allowed(&self, nodes: u32, now: Timestamp) -> Result<Option<u32>, BudgetError> {
        if !self.is_active(now)? {
            return Ok(None);
        }
        let bad = || BudgetError::Nodes(self.nodes.clone());
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if plain { text.parse::<u32>().map_err(|_| bad()) } else { Err(bad()) }
        };
        match self.nodes.strip_suffix('%') {
            None => digits(&self.nodes).map(Some),
            Some(percent) => {
                let percent = digits(percent)?;
                if percent > 100 {
                    return Err(bad());
                }
                let share = (u64::from(nodes) * u64::from(percent)).div_ceil(100);
                Ok(Some(u32::try_from(share).unwrap_or(u32::MAX)))
            }
        }
    }
}

/// Nodes that the budgets of a pool with so many let be disrupted for a reason: the least of those that are active and
/// name the reason or none; `None` without such a budget. A budget that cannot be read blocks.
#[must_use]
pub fn allowed(budgets: &[Budget], reason: Reason, nodes: u32, now: Timestamp) -> Option<u32> {
    let mut least = None;
    for budget in budgets {
        let here = budget.allowed(nodes, now).unwrap_or(Some(0));
        let blocks = budget.allowed(nodes, now).is_err();
        if blocks || budget.reasons.is_empty() || budget.reasons.contains(&reason) {
            least = match (least, here) {
                (Some(a), Some(b)) => Some(b.min(a)),
                (a, b) => a.or(b),
            };
        }
    }
    least
}

/// How many more nodes of each pool may be disrupted for a reason: what the budgets allow of the pool's managed, initialized
/// nodes whose instances do not terminate yet, less those that are not Ready or on their way out. `None` for no limit.
#[must_use]
pub fn left(world: &World<'_>, reason: Reason) -> Vec<Option<u32>> {
    let now = world.utc();
    let mut counts = vec![(0_u32, 0_u32); world.pools.len()];
    for node in world.nodes {
        let Some(pool) = node.pool.filter(|_| node.managed && node.initialized.is_some()) else { continue };
        if node.terminating_instance {
            continue;
        }
        counts[pool].0 += 1;
        counts[pool].1 += u32::from(!node.ready || node.is_going());
    }
    let of = |(pool, (nodes, disrupted)): (&crate::kubernetes::karpenter::pool::NodePool, (u32, u32))| {
        allowed(&pool.disruption.budgets, reason, nodes, now).map(|a| a.saturating_sub(disrupted))
    };
    world.pools.iter().zip(counts).map(of).collect()
}

/// Takes one from what is left of a pool; `false` where nothing is.
pub(super) fn take(left: &mut [Option<u32>], pool: usize) -> bool {
    match &mut left[pool] {
        None => true,
        Some(0) => false,
        Some(n) => {
            *n -= 1;
            true
        }
    }
}
