//! The restart throttle.
//!
//! Rule: after tasks that went to STOPPED without ever being RUNNING, launches of the service are put
//! off by growing waits, up to 27 minutes; retries never end. A task that reaches RUNNING ends the
//! throttle, and so does a new task definition. Tasks that ran and then died or failed health checks do
//! not cause it.
//!
//! Source: ECS developer guide, `service-throttle-logic`.
//!
//! Known departures: the growth is not published. The first wait comes after three failures in a row
//! and each further one doubles it (1, 2, 4, 8, 16, 27 minutes). Tasks launched together count once:
//! only the failure of a task that was launched after the last counted failure is a further one.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::RestartThrottle;

/// What the throttle remembers of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleMemory {
    /// Failures in a row.
    pub failures: u32,
    /// When the last of them was counted.
    pub counted_at: Option<SimTime>,
    /// No launch before this instant.
    pub until: Option<SimTime>,
}

/// The wait after this many failures in a row.
#[must_use]
pub fn delay(spec: &RestartThrottle, failures: u32) -> SimDuration {
    let free = spec.free_failures.max(1);
    if failures < free || spec.first_delay.is_zero() {
        return SimDuration::ZERO;
    }
    let doublings = (failures - free).min(40);
    (spec.first_delay * (1u64 << doublings)).min(spec.max_delay)
}

/// A task that was launched at `launched` stopped at `now` without having been RUNNING.
#[must_use]
pub fn failed_to_start(
    spec: &RestartThrottle,
    memory: ThrottleMemory,
    launched: SimTime,
    now: SimTime,
) -> ThrottleMemory {
    if memory.counted_at.is_some_and(|t| launched < t) {
        return memory;
    }
    let failures = memory.failures.saturating_add(1);
    let wait = delay(spec, failures);
    ThrottleMemory { failures, counted_at: Some(now), until: (!wait.is_zero()).then(|| now + wait) }
}

/// The instant before which nothing may be launched, if it is still to come.
#[must_use]
pub fn blocked_until(memory: ThrottleMemory, now: SimTime) -> Option<SimTime> {
    memory.until.filter(|t| now < *t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RestartThrottle {
        RestartThrottle {
            free_failures: 3,
            first_delay: SimDuration::from_mins(1),
            max_delay: SimDuration::from_mins(27),
        }
    }

    #[test]
    fn waits_grow_to_27_minutes() {
        let minutes: Vec<u64> = (1..=10).map(|n| delay(&spec(), n).as_secs() / 60).collect();
        assert_eq!(minutes, [0, 0, 1, 2, 4, 8, 16, 27, 27, 27]);
        assert_eq!(delay(&spec(), u32::MAX), SimDuration::from_mins(27));
    }

    #[test]
    fn tasks_launched_together_count_once() {
        let t = SimTime::from_secs;
        let mut memory = ThrottleMemory::default();
        for n in 0..5 {
            memory = failed_to_start(&spec(), memory, t(0), t(10 + n));
        }
        assert_eq!((memory.failures, memory.until), (1, None));
        memory = failed_to_start(&spec(), memory, t(20), t(30));
        memory = failed_to_start(&spec(), memory, t(40), t(50));
        assert_eq!(blocked_until(memory, t(50)), Some(t(110)));
        assert_eq!(blocked_until(memory, t(110)), None);
    }
}
