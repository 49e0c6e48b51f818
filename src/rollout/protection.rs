//! Task scale-in protection.
//!
//! Rule: a task asks for protection through the agent's endpoint, for 1 to 2880 minutes. While it is
//! protected, scale-in, deployments, zone rebalancing and draining pass it by; failed health checks, a Spot
//! interruption and the end of its instance do not.
//!
//! Source: ECS developer guide, `task-scale-in-protection`, `task-scale-in-protection-endpoint`. When an
//! application asks is its own affair: here once it runs, or whenever it starts to work.

use crate::kernel::SimTime;
use crate::scenario::model::{ProtectionTrigger, TaskProtection};

/// Until when a task is protected; `None` when it is not. `draw` is the task's own number between 0 and 1,
/// which decides whether it is among those that ask.
#[must_use]
pub fn protected_until(
    rule: &TaskProtection,
    draw: f64,
    running_since: Option<SimTime>,
    working_since: Option<SimTime>,
) -> Option<SimTime> {
    let since = match rule.from {
        ProtectionTrigger::Start => running_since,
        ProtectionTrigger::Work => working_since,
    };
    since.filter(|_| draw < rule.share).map(|at| at + rule.expires_in())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_start_or_while_at_work() {
        let at = |s| Some(SimTime::from_secs(s));
        let mut rule = TaskProtection { from: ProtectionTrigger::Start, share: 0.5, expires_in_minutes: 1 };
        assert_eq!(protected_until(&rule, 0.4, at(10), None), at(70));
        assert_eq!(protected_until(&rule, 0.6, at(10), None), None);
        rule.from = ProtectionTrigger::Work;
        assert_eq!(protected_until(&rule, 0.4, at(10), None), None);
        assert_eq!(protected_until(&rule, 0.4, at(10), at(30)), at(90));
    }
}
