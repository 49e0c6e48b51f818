//! Utilisation percentages as ECS publishes them.
//!
//! Rule: a service's CPU or memory utilisation is what its tasks used over what they reserve, in
//! percent; a cluster's is over what its instances have registered. Reserved memory is the soft limit
//! where one is given, else the hard limit. Values above 100 are real: a container with a soft limit
//! or a CPU share may use more than it reserves. On Fargate, and with a task-level CPU limit, CPU
//! cannot exceed 100.
//!
//! Source: ECS developer guide, `service_utilization` and `cluster_utilization`. No known departure.

/// `100 * used / reserved`, or `None` when nothing is reserved (no running task: no data point).
#[must_use]
pub fn percent(used: f64, reserved: f64) -> Option<f64> {
    (reserved > 0.0).then(|| 100.0 * used / reserved)
}

/// Utilisation of a service: use of all its tasks over the reservation of one task times their number.
#[must_use]
pub fn service_percent(used: f64, reserved_per_task: f64, tasks: u32) -> Option<f64> {
    percent(used, reserved_per_task * f64::from(tasks))
}

/// The memory that a container reserves: the soft limit if given, else the hard limit.
#[must_use]
pub fn reserved_memory(soft_limit: Option<u64>, hard_limit: u64) -> u64 {
    soft_limit.unwrap_or(hard_limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_above_the_reservation_exceeds_100() {
        assert_eq!(percent(2048.0, 512.0), Some(400.0));
        assert_eq!(service_percent(512.0, 512.0, 4), Some(25.0));
        assert_eq!(percent(1.0, 0.0), None);
        assert_eq!(reserved_memory(Some(128), 256), 128);
        assert_eq!(reserved_memory(None, 256), 256);
    }
}
