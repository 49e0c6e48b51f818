//! Early success: a deployment completes before every task is replaced.
//!
//! Rule: it completes at `ceil(desired * healthyPercent / 100)` healthy new tasks, at least one. With
//! BLOCKING the old tasks are cleaned up before it completes, with DEFERRED afterwards. Once it has
//! completed, neither breaker nor alarm acts. The percentage may not be below minimumHealthyPercent.
//!
//! Source: ECS developer guide, `early-success-criteria`. Known departure: cleaning up under DEFERRED
//! begins at once, where the guide allows it to take up to two weeks.

/// Healthy new tasks that complete a deployment early.
#[must_use]
pub fn required(desired: u32, healthy_percent: u32) -> u32 {
    let exact = (u64::from(desired) * u64::from(healthy_percent)).div_ceil(100);
    u32::try_from(exact).unwrap_or(u32::MAX).max(1)
}

/// Whether a percentage may be used with this minimumHealthyPercent.
#[must_use]
pub fn allowed(healthy_percent: u32, minimum_healthy_percent: u32) -> bool {
    healthy_percent <= 100 && healthy_percent >= minimum_healthy_percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_wants_at_least_one() {
        assert_eq!((required(3, 34), required(10, 80), required(5, 0), required(0, 50)), (2, 8, 1, 1));
        assert!(allowed(100, 100) && !allowed(90, 100) && !allowed(101, 0));
    }
}
