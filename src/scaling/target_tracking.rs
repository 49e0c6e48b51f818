//! Target tracking: the alarms that a policy makes, and the capacity that it asks for.
//!
//! Rule: a policy makes two alarms. The high one stands when the metric is above the target for 3 of 3
//! points; the low one when it is below 0.9 of the target for 15 of 15 one-minute points (45 of 45 at
//! 20 seconds). Either calls the policy, which asks for `ceil(running * metric / target)`: at least what
//! runs when the high alarm calls, at most what runs when the low one does. Additions round up, removals
//! down. From zero tasks the least possible amount is added. The result stays within minimum and
//! maximum: adding lifts to the minimum but does nothing above the maximum; removing lowers to the
//! maximum but does nothing below the minimum.
//!
//! Source: Application Auto Scaling user guide, `target-tracking-scaling-policy-overview`; ECS developer
//! guide, `service-auto-scaling`. The factor 0.9 and the numbers of points are those seen in listings of
//! real alarms; they are settings of the policy.
//!
//! Known departures: AWS prints no formula, the proportional one is the usual reading of "proportional";
//! scale-in is said to be more gradual without a figure, here it goes all the way down at once. How many
//! 20-second points the alarms of high-resolution metrics need is not documented.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::scenario::model::{Comparison, Metric, PredefinedMetric, TargetTracking, TreatMissingData};
use crate::telemetry::alarm::AlarmSpec;

/// The two alarms of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackingAlarms {
    /// The metric that both watch.
    pub metric: Metric,
    /// Above the target: calls for more tasks.
    pub high: AlarmSpec,
    /// Below the low threshold: calls for fewer.
    pub low: AlarmSpec,
}

/// Which way a policy was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To add tasks.
    Out,
    /// To remove tasks.
    In,
}

/// The CloudWatch metric behind a predefined one.
#[must_use]
pub fn metric(predefined: PredefinedMetric) -> Metric {
    match predefined {
        PredefinedMetric::EcsServiceAverageCpuUtilization
        | PredefinedMetric::EcsServiceAverageCpuUtilizationHighResolution => Metric::CpuUtilization,
        PredefinedMetric::EcsServiceAverageMemoryUtilization
        | PredefinedMetric::EcsServiceAverageMemoryUtilizationHighResolution => Metric::MemoryUtilization,
        PredefinedMetric::AlbRequestCountPerTarget => Metric::RequestCountPerTarget,
    }
}

/// Length of the metric's periods: 20 s for high-resolution metrics, else 60 s.
#[must_use]
pub fn period(predefined: PredefinedMetric) -> SimDuration {
    match predefined {
        PredefinedMetric::EcsServiceAverageCpuUtilizationHighResolution
        | PredefinedMetric::EcsServiceAverageMemoryUtilizationHighResolution => SimDuration::from_secs(20),
        PredefinedMetric::EcsServiceAverageCpuUtilization
        | PredefinedMetric::EcsServiceAverageMemoryUtilization
        | PredefinedMetric::AlbRequestCountPerTarget => SimDuration::from_secs(60),
    }
}

/// The alarms that a policy makes. A metric of one's own has periods of 60 s.
#[must_use]
pub fn alarms(policy: &TargetTracking) -> TrackingAlarms {
    let period = policy.predefined_metric_type.map_or(SimDuration::from_secs(60), period);
    // Fifteen minutes of points below the low threshold, whatever their length.
    let low_points = policy
        .scale_in_datapoints
        .unwrap_or_else(|| (SimDuration::from_mins(15).as_nanos() / period.as_nanos()) as u32);
    let alarm = |comparison, threshold, points: u32| AlarmSpec {
        comparison,
        threshold,
        period,
        evaluation_periods: points.max(1),
        datapoints_to_alarm: points.max(1),
        treat_missing: TreatMissingData::Missing,
    };
    TrackingAlarms {
        metric: policy.predefined_metric_type.map_or(Metric::Expression, metric),
        high: alarm(Comparison::GreaterThanThreshold, policy.target_value, policy.scale_out_datapoints),
        low: alarm(Comparison::LessThanThreshold, policy.target_value * policy.scale_in_factor, low_points),
    }
}

/// The whole change for an exact one: additions round up, removals down.
#[must_use]
pub fn round_change(exact: f64) -> i64 {
    ceil(exact) as i64
}

/// The proportional capacity `ceil(running * metric / target)`, before any bound. A target that is not
/// above zero, or a metric that is no number, leaves the capacity as it is.
#[must_use]
pub fn proportional(running: u32, metric: f64, target: f64) -> u32 {
    let exact = f64::from(running) * metric / target;
    if target > 0.0 && exact.is_finite() { ceil(exact).max(0.0) as u32 } else { running }
}

/// Rounds up, forgiving the last bits of a product that should have been whole.
fn ceil(x: f64) -> f64 {
    (x - x.abs().max(1.0) * 1e-12).ceil()
}

/// The capacity that a called policy asks for when `running` tasks run, before minimum, maximum,
/// cooldown and whatever else may forbid it.
#[must_use]
pub fn proposal(direction: Direction, running: u32, metric: f64, target: f64) -> u32 {
    match direction {
        Direction::Out if running == 0 => 1,
        Direction::Out => proportional(running, metric, target).max(running),
        Direction::In => proportional(running, metric, target).min(running),
    }
}

/// Keeps a proposal between minimum and maximum, seen from `current` tasks.
///
/// ```
/// use simctl::scaling::target_tracking::{Direction, bounded};
///
/// assert_eq!(bounded(Direction::Out, 7, 10, 1, 9), 9);
/// assert_eq!(bounded(Direction::Out, 12, 22, 1, 10), 12); // above the maximum: adding does nothing
/// assert_eq!(bounded(Direction::In, 12, 11, 1, 10), 10); // removing lowers to the maximum first
/// ```
#[must_use]
pub fn bounded(direction: Direction, current: u32, proposal: u32, min: u32, max: u32) -> u32 {
    match direction {
        Direction::Out => proposal.max(min).min(max).max(current),
        Direction::In => proposal.min(max).max(min).min(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: PredefinedMetric, target: f64) -> TargetTracking {
        TargetTracking {
            predefined_metric_type: Some(kind),
            customized_metric_specification: None,
            target_value: target,
            scale_out_cooldown: SimDuration::from_secs(300),
            scale_in_cooldown: SimDuration::from_secs(300),
            disable_scale_in: false,
            scale_out_datapoints: 3,
            scale_in_datapoints: None,
            scale_in_factor: 0.9,
            metric_sample: crate::scenario::model::MetricSample::Latest,
        }
    }

    #[test]
    fn alarms_of_minute_and_high_resolution_metrics() {
        let minute = alarms(&policy(PredefinedMetric::EcsServiceAverageCpuUtilization, 75.0));
        assert_eq!((minute.high.threshold, minute.low.threshold), (75.0, 67.5));
        assert_eq!((minute.high.evaluation_periods, minute.low.evaluation_periods), (3, 15));
        let fine = alarms(&policy(PredefinedMetric::EcsServiceAverageCpuUtilizationHighResolution, 75.0));
        assert_eq!(fine.high.period, SimDuration::from_secs(20));
        assert_eq!((fine.high.evaluation_periods, fine.low.datapoints_to_alarm), (3, 45));
        assert_eq!(fine.metric, Metric::CpuUtilization);
    }

    #[test]
    fn whole_products_do_not_round_up_once_more() {
        assert_eq!(proportional(3, 70.0, 70.0), 3);
        for running in 1..=2000 {
            assert_eq!(proportional(running, 0.1 * 3.0, 0.3), running);
        }
        assert_eq!(round_change(1.5), 2);
        assert_eq!(round_change(-1.5), -1);
        assert_eq!(round_change(-0.5), 0);
    }

    #[test]
    fn nonsense_changes_nothing() {
        assert_eq!(proportional(5, f64::NAN, 60.0), 5);
        assert_eq!(proportional(5, 60.0, 0.0), 5);
        assert_eq!(proposal(Direction::Out, 0, 0.0, 60.0), 1);
    }

    #[test]
    fn adding_lifts_to_the_minimum_and_removing_does_not() {
        assert_eq!(bounded(Direction::Out, 1, 2, 4, 10), 4);
        assert_eq!(bounded(Direction::In, 1, 1, 4, 10), 1);
    }
}
