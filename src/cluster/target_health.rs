//! Health of a target of an Application Load Balancer, and what a request meets.
//!
//! Rule: a newly registered target is `initial` and becomes healthy with its first successful check.
//! `unhealthy_threshold` failures in a row make a target unhealthy; `healthy_threshold` successes in a
//! row make it healthy again. Requests go to healthy targets only. When fewer than the minimum of a
//! group's targets are healthy, the group fails open: every registered healthy or unhealthy target gets
//! requests. Targets in `initial` and `draining` get no new ones. A group without any target that could
//! take a request answers 503. A listener shares requests among target groups by weight.
//!
//! Source: ELB guide, `target-group-health-checks`, `load-balancer-troubleshooting`,
//! `load-balancer-listeners`; ECS guide, `load-balancer-healthcheck`.
//!
//! Known departure: a group that has only `initial` targets is not spoken of; here it answers 503.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::scenario::model::TargetHealthCheck;

/// The state of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Registered, no verdict yet.
    Initial,
    /// Takes requests.
    Healthy,
    /// Takes requests only when the group fails open.
    Unhealthy,
    /// Not registered with a group that is in use.
    Unused,
    /// Being deregistered: requests in flight may end, no new ones come.
    Draining,
}

/// What is remembered of a target between its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealthMemory {
    /// The state so far.
    pub state: TargetState,
    /// Results in a row that speak against the state.
    pub run: u32,
}

impl Default for TargetHealthMemory {
    fn default() -> Self {
        Self { state: TargetState::Initial, run: 0 }
    }
}

/// The memory after a check. Checks of a target that is draining or unused change nothing.
#[must_use]
pub fn target_check(spec: &TargetHealthCheck, memory: TargetHealthMemory, success: bool) -> TargetHealthMemory {
    let turn = |needed: u32, to: TargetState| {
        let run = memory.run.saturating_add(1);
        if run >= needed.max(1) {
            TargetHealthMemory { state: to, run: 0 }
        } else {
            TargetHealthMemory { state: memory.state, run }
        }
    };
    match (memory.state, success) {
        (TargetState::Initial, true) => TargetHealthMemory { state: TargetState::Healthy, run: 0 },
        (TargetState::Initial | TargetState::Healthy, false) => turn(spec.unhealthy_threshold, TargetState::Unhealthy),
        (TargetState::Unhealthy, true) => turn(spec.healthy_threshold, TargetState::Healthy),
        (TargetState::Healthy, true) | (TargetState::Unhealthy, false) => TargetHealthMemory { run: 0, ..memory },
        (TargetState::Unused | TargetState::Draining, _) => memory,
    }
}

/// Time from the first good check's interval until an unhealthy target is healthy again.
#[must_use]
pub fn recovery_time(spec: &TargetHealthCheck) -> SimDuration {
    spec.interval * u64::from(spec.healthy_threshold)
}

/// Which targets of a group a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// The healthy ones.
    Healthy,
    /// Fail open: every healthy or unhealthy one.
    FailOpen,
    /// None: the load balancer answers with this status.
    Status(u16),
}

/// Where a request goes, from the number of healthy and unhealthy targets and the minimum of healthy
/// ones below which a group fails open (at least 1).
#[must_use]
pub fn route(healthy: u32, unhealthy: u32, minimum_healthy: u32) -> Route {
    if healthy >= minimum_healthy.max(1) {
        Route::Healthy
    } else if unhealthy > 0 {
        Route::FailOpen
    } else if healthy > 0 {
        // Below the minimum, but there is nobody else to open to.
        Route::Healthy
    } else {
        Route::Status(503)
    }
}

/// [`route`] from the states of a group's targets.
#[must_use]
pub fn route_states(targets: impl IntoIterator<Item = TargetState>, minimum_healthy: u32) -> Route {
    let (mut healthy, mut unhealthy) = (0, 0);
    for state in targets {
        match state {
            TargetState::Healthy => healthy += 1,
            TargetState::Unhealthy => unhealthy += 1,
            TargetState::Initial | TargetState::Unused | TargetState::Draining => {}
        }
    }
    route(healthy, unhealthy, minimum_healthy)
}

/// Share of each target group from the weights (0 to 999 each). `None` when no weight is above zero:
/// then there is nowhere to send a request.
#[must_use]
pub fn weighted_shares(weights: &[u32]) -> Option<Vec<f64>> {
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    (sum > 0).then(|| weights.iter().map(|w| f64::from(*w) / sum as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(healthy: u32, unhealthy: u32) -> TargetHealthCheck {
        TargetHealthCheck {
            interval: SimDuration::from_secs(30),
            timeout: SimDuration::from_secs(5),
            healthy_threshold: healthy,
            unhealthy_threshold: unhealthy,
            cpu_time: SimDuration::ZERO,
        }
    }

    #[test]
    fn the_first_success_is_enough_for_a_new_target_only() {
        use TargetState::{Healthy, Unhealthy};
        let spec = check(3, 2);
        let mut memory = TargetHealthMemory::default();
        let states: Vec<_> = [true, false, false, true, true, true]
            .into_iter()
            .map(|ok| {
                memory = target_check(&spec, memory, ok);
                memory.state
            })
            .collect();
        assert_eq!(states, [Healthy, Healthy, Unhealthy, Unhealthy, Unhealthy, Healthy]);
        assert_eq!(recovery_time(&check(5, 2)), SimDuration::from_secs(150));
    }

    #[test]
    fn a_group_fails_open_before_it_gives_up() {
        use TargetState::{Draining, Healthy, Initial, Unhealthy, Unused};
        assert_eq!(route_states([], 1), Route::Status(503));
        assert_eq!(route_states([Unused, Initial], 1), Route::Status(503));
        assert_eq!(route_states([Healthy, Unhealthy], 1), Route::Healthy);
        assert_eq!(route_states([Healthy, Unhealthy], 2), Route::FailOpen);
        assert_eq!(route_states([Unhealthy, Draining], 1), Route::FailOpen);
        assert_eq!(route_states([Healthy], 2), Route::Healthy);
    }

    #[test]
    fn shares_are_weights_over_their_sum() {
        assert_eq!(weighted_shares(&[1, 3]), Some(vec![0.25, 0.75]));
        assert_eq!(weighted_shares(&[0, 0]), None);
    }
}
