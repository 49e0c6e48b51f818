//! When a task counts as healthy, and when the scheduler takes it for unhealthy.
//!
//! Rule: without load balancer and container check a task counts as healthy once it has been RUNNING for
//! 40 s; with a container check once it is HEALTHY; behind a load balancer once its target is healthy;
//! with both, once both are. During the grace period after a task first started the scheduler ignores
//! failing checks of either kind (the load balancer still refuses such a target traffic). After it, a
//! task whose container check or target fails is unhealthy and will be replaced.
//!
//! Source: ECS developer guide, `deployment-type-ecs`, `service_definition_parameters`
//! (`healthCheckGracePeriodSeconds`). No known departure.

use serde::{Deserialize, Serialize};

use crate::cluster::health::Health;
use crate::cluster::target_health::TargetState;
use crate::kernel::{SimDuration, SimTime};

/// What decides about a task's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskChecks {
    /// When the task became RUNNING; `None` before.
    pub running_since: Option<SimTime>,
    /// The verdict of its container checks; `None` when no essential container has one.
    pub container: Option<Health>,
    /// The state of its target; `None` without a load balancer.
    pub target: Option<TargetState>,
}

/// What the scheduler makes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskVerdict {
    /// Not yet healthy, but nothing held against it.
    NotYet,
    /// Counts as healthy.
    Healthy,
    /// To be replaced.
    Unhealthy(Check),
}

/// The check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The container health check.
    Container,
    /// The load balancer's.
    LoadBalancer,
}

/// The verdict on a task at `now`, and the instant at which time alone changes it, if there is one.
#[must_use]
pub fn verdict(
    checks: &TaskChecks,
    now: SimTime,
    grace_period: SimDuration,
    running_before_healthy: SimDuration,
) -> (TaskVerdict, Option<SimTime>) {
    let Some(since) = checks.running_since else { return (TaskVerdict::NotYet, None) };
    let failed = if checks.container == Some(Health::Unhealthy) {
        Some(Check::Container)
    } else if checks.target == Some(TargetState::Unhealthy) {
        Some(Check::LoadBalancer)
    } else {
        None
    };
    if let Some(check) = failed {
        let grace_ends = since + grace_period;
        return if now < grace_ends {
            (TaskVerdict::NotYet, Some(grace_ends))
        } else {
            (TaskVerdict::Unhealthy(check), None)
        };
    }
    if checks.container.is_none() && checks.target.is_none() {
        let healthy_at = since + running_before_healthy;
        return if now < healthy_at { (TaskVerdict::NotYet, Some(healthy_at)) } else { (TaskVerdict::Healthy, None) };
    }
    let good = checks.container.is_none_or(|h| h == Health::Healthy)
        && checks.target.is_none_or(|t| t == TargetState::Healthy);
    (if good { TaskVerdict::Healthy } else { TaskVerdict::NotYet }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: SimDuration = SimDuration::from_secs(60);
    const FORTY: SimDuration = SimDuration::from_secs(40);

    fn at(secs: u64, container: Option<Health>, target: Option<TargetState>) -> TaskVerdict {
        let checks = TaskChecks { running_since: Some(SimTime::ZERO), container, target };
        verdict(&checks, SimTime::from_secs(secs), GRACE, FORTY).0
    }

    #[test]
    fn without_any_check_forty_seconds_decide() {
        assert_eq!((at(39, None, None), at(40, None, None)), (TaskVerdict::NotYet, TaskVerdict::Healthy));
        let starting = TaskChecks { running_since: None, container: None, target: None };
        assert_eq!(verdict(&starting, SimTime::from_secs(99), GRACE, FORTY), (TaskVerdict::NotYet, None));
    }

    #[test]
    fn with_both_checks_both_must_pass() {
        use Health::{Healthy, Unknown};
        assert_eq!(at(1, Some(Healthy), None), TaskVerdict::Healthy);
        assert_eq!(at(1, Some(Unknown), Some(TargetState::Healthy)), TaskVerdict::NotYet);
        assert_eq!(at(1, Some(Healthy), Some(TargetState::Initial)), TaskVerdict::NotYet);
        assert_eq!(at(1, Some(Healthy), Some(TargetState::Healthy)), TaskVerdict::Healthy);
    }

    #[test]
    fn the_grace_period_holds_failures_back() {
        let failing =
            TaskChecks { running_since: Some(SimTime::ZERO), container: None, target: Some(TargetState::Unhealthy) };
        let (v, next) = verdict(&failing, SimTime::from_secs(59), GRACE, FORTY);
        assert_eq!((v, next), (TaskVerdict::NotYet, Some(SimTime::from_secs(60))));
        assert_eq!(at(60, None, Some(TargetState::Unhealthy)), TaskVerdict::Unhealthy(Check::LoadBalancer));
        assert_eq!(at(60, Some(Health::Unhealthy), None), TaskVerdict::Unhealthy(Check::Container));
    }
}
