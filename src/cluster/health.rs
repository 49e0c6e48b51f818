//! Health of containers and tasks from container health checks.
//!
//! Rule: a container is UNKNOWN until the first verdict. A check that succeeds makes it HEALTHY and
//! clears the run of failures. `retries` counted failures in a row make it UNHEALTHY. Failures inside
//! `start_period` do not count, unless a success has already come. A task is UNHEALTHY when any of its
//! essential containers is, else UNKNOWN when any is, else HEALTHY; other containers play no part.
//!
//! Source: ECS API, `HealthCheck`. A failure at the very instant at which the start period ends counts;
//! the documentation leaves that instant open.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::scenario::model::ContainerHealthCheck;

/// Health of a container or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// No verdict yet.
    Unknown,
    /// The checks succeed.
    Healthy,
    /// The checks fail.
    Unhealthy,
}

/// What is remembered of a container between its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerHealthMemory {
    /// The verdict so far.
    pub health: Health,
    /// Counted failures in a row.
    pub failures: u32,
}

impl Default for ContainerHealthMemory {
    fn default() -> Self {
        Self { health: Health::Unknown, failures: 0 }
    }
}

/// The memory after a check that ended `since_start` after the container started, with or without
/// success. The health is the memory's.
#[must_use]
pub fn container_check(
    spec: &ContainerHealthCheck,
    memory: ContainerHealthMemory,
    since_start: SimDuration,
    success: bool,
) -> ContainerHealthMemory {
    if success {
        return ContainerHealthMemory { health: Health::Healthy, failures: 0 };
    }
    // UNKNOWN means that no success has come yet: only then does the start period forgive.
    if memory.health == Health::Unknown && since_start < spec.start_period {
        return memory;
    }
    let failures = memory.failures.saturating_add(1);
    let health = if failures >= spec.retries.max(1) { Health::Unhealthy } else { memory.health };
    ContainerHealthMemory { health, failures }
}

/// Health of a task from its essential containers that have a health check. With none there is no
/// verdict: UNKNOWN.
#[must_use]
pub fn task_health(essential: impl IntoIterator<Item = Health>) -> Health {
    let mut result = None;
    for health in essential {
        match health {
            Health::Unhealthy => return Health::Unhealthy,
            Health::Unknown => result = Some(Health::Unknown),
            Health::Healthy => result = result.or(Some(Health::Healthy)),
        }
    }
    result.unwrap_or(Health::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(retries: u32, start_period: u64, checks: &[(u64, bool)]) -> Vec<Health> {
        let spec = ContainerHealthCheck {
            interval: SimDuration::from_secs(30),
            timeout: SimDuration::from_secs(5),
            retries,
            start_period: SimDuration::from_secs(start_period),
            cpu_time: SimDuration::ZERO,
        };
        let mut memory = ContainerHealthMemory::default();
        checks
            .iter()
            .map(|(at, ok)| {
                memory = container_check(&spec, memory, SimDuration::from_secs(*at), *ok);
                memory.health
            })
            .collect()
    }

    #[test]
    fn failures_in_the_start_period_are_forgiven_until_a_success() {
        use Health::{Healthy, Unhealthy, Unknown};
        let fails = [(30, false), (60, false), (90, false), (120, false)];
        assert_eq!(run(3, 60, &fails), [Unknown, Unknown, Unknown, Unhealthy]);
        let after_success = [(30, true), (60, false), (90, false), (120, false)];
        assert_eq!(run(3, 120, &after_success), [Healthy, Healthy, Healthy, Unhealthy]);
    }

    #[test]
    fn the_worst_essential_container_decides() {
        use Health::{Healthy, Unhealthy, Unknown};
        assert_eq!(task_health([Healthy, Unknown, Unhealthy]), Unhealthy);
        assert_eq!(task_health([Unknown, Healthy]), Unknown);
        assert_eq!(task_health([Healthy, Unknown]), Unknown);
        assert_eq!(task_health([Healthy, Healthy]), Healthy);
        assert_eq!(task_health([]), Unknown);
    }
}
