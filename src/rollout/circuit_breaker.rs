//! The deployment circuit breaker.
//!
//! Rule: the threshold is half of the desired count (or another percentage), rounded up, at least 3 and
//! at most 200; or a percentage without those limits; or a number. As long as no task of the deployment
//! has reached RUNNING, each one that stops before that adds 1 (stage 1). From the first RUNNING task on
//! each one that is replaced because a health check failed adds 1 (stage 2). A task that becomes healthy
//! sets the count back to 0, unless that is switched off. When the count reaches the threshold the
//! deployment has failed: nothing more is launched, and with rollback on a deployment of the last
//! completed revision follows.
//!
//! Source: ECS developer guide, `deployment-circuit-breaker`; ECS API, `DeploymentCircuitBreaker`,
//! `ThresholdConfiguration`.
//!
//! Known departures: how UNBOUNDED_PERCENT rounds is not documented, here up and at least 1; a task that
//! exits after RUNNING counts in stage 2 if it never counted as healthy, which the guide does not say.

use serde::{Deserialize, Serialize};

use crate::scenario::model::{ThresholdConfiguration, ThresholdType};

/// Failures that open the breaker, at the latest desired count.
#[must_use]
pub fn threshold(configuration: &ThresholdConfiguration, desired: u32) -> u32 {
    let percent = (u64::from(desired) * u64::from(configuration.value)).div_ceil(100);
    let percent = u32::try_from(percent).unwrap_or(u32::MAX);
    match configuration.r#type {
        ThresholdType::BoundedPercent => percent.clamp(3, 200),
        ThresholdType::UnboundedPercent => percent.max(1),
        ThresholdType::Count => configuration.value.max(1),
    }
}

/// What the breaker remembers of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerMemory {
    /// Failures so far, in a row or in all.
    pub count: u32,
    /// A task of the deployment has reached RUNNING: stage 2.
    pub reached_running: bool,
    /// The breaker has opened; it does not close again.
    pub open: bool,
}

/// Something that happened to a task of the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerEvent {
    /// It reached RUNNING.
    Running,
    /// It counts as healthy.
    Healthy,
    /// It stopped before RUNNING.
    FailedToStart,
    /// It is replaced because a health check failed.
    FailedHealthCheck,
    /// It exited after RUNNING without ever having counted as healthy.
    ExitedBeforeHealthy,
}

/// The memory after an event, under a threshold of failures. The breaker is open when the memory says so.
#[must_use]
pub fn record(
    memory: BreakerMemory,
    event: BreakerEvent,
    threshold: u32,
    reset_on_healthy_task: bool,
) -> BreakerMemory {
    if memory.open {
        return memory;
    }
    let mut next = memory;
    match event {
        BreakerEvent::Running => next.reached_running = true,
        BreakerEvent::Healthy => {
            next.reached_running = true;
            if reset_on_healthy_task {
                next.count = 0;
            }
        }
        BreakerEvent::FailedToStart if !memory.reached_running => next.count += 1,
        BreakerEvent::FailedToStart => {}
        BreakerEvent::FailedHealthCheck | BreakerEvent::ExitedBeforeHealthy => {
            next.reached_running = true;
            next.count += 1;
        }
    }
    next.open = next.count >= threshold;
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(threshold: u32, reset: bool, events: &[BreakerEvent]) -> BreakerMemory {
        events.iter().fold(BreakerMemory::default(), |m, e| record(m, *e, threshold, reset))
    }

    #[test]
    fn thresholds_are_half_between_3_and_200() {
        let of = |kind, value, desired| threshold(&ThresholdConfiguration { r#type: kind, value }, desired);
        let bounded = |desired| of(ThresholdType::BoundedPercent, 50, desired);
        assert_eq!([1, 3, 7, 25, 400, 5000].map(bounded), [3, 3, 4, 13, 200, 200]);
        assert_eq!(of(ThresholdType::UnboundedPercent, 25, 4), 1);
        assert_eq!(of(ThresholdType::Count, 7, 1000), 7);
    }

    #[test]
    fn a_healthy_task_forgives_unless_told_not_to() {
        use BreakerEvent::{FailedHealthCheck, Healthy};
        let events = [FailedHealthCheck, FailedHealthCheck, Healthy, FailedHealthCheck];
        assert_eq!((run(3, true, &events).count, run(3, true, &events).open), (1, false));
        assert_eq!((run(3, false, &events).count, run(3, false, &events).open), (3, true));
    }

    #[test]
    fn failures_to_start_count_in_the_first_stage_only() {
        use BreakerEvent::{ExitedBeforeHealthy, FailedToStart, Running};
        assert!(run(3, true, &[FailedToStart; 3]).open);
        let later = run(3, true, &[FailedToStart, Running, FailedToStart, FailedToStart]);
        assert_eq!((later.count, later.open), (1, false));
        assert!(run(3, true, &[FailedToStart, Running, ExitedBeforeHealthy, ExitedBeforeHealthy]).open);
    }

    #[test]
    fn an_open_breaker_stays_open() {
        use BreakerEvent::{FailedToStart, Healthy};
        assert!(run(1, true, &[FailedToStart, Healthy]).open);
    }
}
