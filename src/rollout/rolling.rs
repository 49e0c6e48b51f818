//! The arithmetic of a rolling update.
//!
//! Rule: at least `ceil(desired * minimumHealthyPercent / 100)` healthy tasks, at most
//! `floor(desired * maximumPercent / 100)` tasks in all. As many may start as the maximum leaves above
//! those that are running, pending or stopping; as many healthy ones may stop as there are above the
//! minimum. When neither may happen, old tasks are left and nothing is under way, the deployment is
//! stuck.
//!
//! Source: ECS developer guide, `deployment-type-ecs`, `service_definition_parameters`; ECS API,
//! `DeploymentConfiguration`.
//!
//! Known departure: guide and API differ on whether stopping tasks count against the maximum. The guide
//! says yes; that is the default and a setting.

use serde::{Deserialize, Serialize};

/// The bounds of a service at a desired count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Healthy tasks that must remain.
    pub min_healthy: u32,
    /// Tasks that there may be.
    pub max_total: u32,
}

/// The bounds at `desired` tasks.
#[must_use]
pub fn bounds(desired: u32, minimum_healthy_percent: u32, maximum_percent: u32) -> Bounds {
    let product = |percent: u32| u64::from(desired) * u64::from(percent);
    Bounds {
        min_healthy: clamp(product(minimum_healthy_percent).div_ceil(100)),
        max_total: clamp(product(maximum_percent) / 100),
    }
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Tasks of a service, of every revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// RUNNING and healthy.
    pub healthy: u32,
    /// RUNNING and not healthy, or not yet.
    pub unhealthy: u32,
    /// Before RUNNING.
    pub pending: u32,
    /// After RUNNING, not yet STOPPED.
    pub stopping: u32,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Tasks that may start.
    pub may_start: u32,
    /// Healthy tasks that may stop.
    pub may_stop_healthy: u32,
}

/// What may be done at these counts.
#[must_use]
pub fn budget(bounds: Bounds, counts: Counts, stopping_counts: bool) -> Budget {
    let stopping = if stopping_counts { counts.stopping } else { 0 };
    let total = [counts.healthy, counts.unhealthy, counts.pending, stopping].iter().map(|n| u64::from(*n)).sum();
    Budget {
        may_start: clamp(u64::from(bounds.max_total).saturating_sub(total)),
        may_stop_healthy: counts.healthy.saturating_sub(bounds.min_healthy),
    }
}

/// True when a deployment with old tasks left can neither start nor stop anything, and nothing is under
/// way that could change that: a task that is not healthy yet will be, or is replaced.
#[must_use]
pub fn stuck(budget: Budget, counts: Counts, old_left: bool) -> bool {
    let under_way = counts.pending + counts.stopping + counts.unhealthy > 0;
    old_left && budget.may_start == 0 && budget.may_stop_healthy == 0 && !under_way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(desired: u32, min: u32, max: u32) -> (Bounds, Budget, bool) {
        let b = bounds(desired, min, max);
        let counts = Counts { healthy: desired, ..Counts::default() };
        let budget = budget(b, counts, true);
        (b, budget, stuck(budget, counts, true))
    }

    #[test]
    fn minimum_rounds_up_and_maximum_down() {
        let (b, budget, stuck) = steady(7, 85, 115);
        assert_eq!((b.min_healthy, b.max_total), (6, 8));
        assert_eq!((budget.may_start, budget.may_stop_healthy, stuck), (1, 1, false));
        assert!(steady(3, 100, 125).2);
        assert!(steady(1, 50, 100).2);
    }

    #[test]
    fn stopping_tasks_hold_their_place_under_the_maximum() {
        let b = bounds(6, 100, 150);
        let counts = Counts { healthy: 6, stopping: 3, ..Counts::default() };
        assert_eq!(budget(b, counts, true).may_start, 0);
        assert_eq!(budget(b, counts, false).may_start, 3);
        assert!(!stuck(budget(b, counts, true), counts, true));
        // New tasks that run and are not healthy yet: the update only waits for their checks.
        let b = bounds(4, 100, 150);
        let counts = Counts { healthy: 4, unhealthy: 2, ..Counts::default() };
        assert!(!stuck(budget(b, counts, true), counts, true));
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        assert_eq!(bounds(u32::MAX, 200, 200).max_total, u32::MAX);
    }
}
