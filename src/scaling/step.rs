//! Step scaling: which step applies, and what it makes of the capacity.
//!
//! Rule: the distance of the metric from the alarm's threshold chooses the step. At or above the
//! threshold a step holds from its lower bound (included) to its upper one (excluded); below it, from
//! its lower bound (excluded) to its upper one (included). An absent bound is infinite. No step that
//! holds: no change, and an error in the service's log. ChangeInCapacity adds, ExactCapacity sets,
//! PercentChangeInCapacity adds a percentage of the capacity: above 1 rounded down, between 0 and 1
//! to 1, between -1 and 0 to -1, below -1 toward zero; a change that is not zero is at least the
//! minimum magnitude. The result stays within minimum and maximum.
//!
//! A set of steps is accepted when every step has at least one bound and its upper one above its lower
//! one, the steps in order have neither gap nor overlap, a negative lower bound comes with a step that
//! has none, and a positive upper bound likewise.
//!
//! Source: Application Auto Scaling user guide, `step-scaling-policy-overview`; API, `StepAdjustment`.
//! A metric exactly at the threshold belongs to the side that the alarm's comparison looks at. No known
//! departure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::target_tracking::{Direction, bounded};
use crate::scenario::model::{AdjustmentType, Comparison, StepAdjustment};

/// What a set of steps lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// There is no step.
    #[error("a step policy needs at least one step adjustment")]
    Empty,
    /// A step has no bound at all.
    #[error("step {0} has neither a lower nor an upper bound")]
    Unbounded(usize),
    /// A bound is not a finite number.
    #[error("a bound of step {0} is not a finite number")]
    NotFinite(usize),
    /// A step's upper bound is not above its lower one.
    #[error("the upper bound of step {0} is not above its lower bound")]
    Reversed(usize),
    /// Two steps hold for the same distance.
    #[error("steps {0} and {1} overlap")]
    Overlap(usize, usize),
    /// There is a distance between two steps at which none holds.
    #[error("there is a gap between steps {0} and {1}")]
    Gap(usize, usize),
    /// A negative lower bound without a step that has no lower bound.
    #[error("a negative lower bound needs a step without a lower bound")]
    NoLowest,
    /// A positive upper bound without a step that has no upper bound.
    #[error("a positive upper bound needs a step without an upper bound")]
    NoHighest,
}

/// Checks a set of steps. Steps are numbered in the order in which they are written, from 0.
///
/// # Errors
/// The first thing that the set lacks.
pub fn validate(steps: &[StepAdjustment]) -> Result<(), StepError> {
    if steps.is_empty() {
        return Err(StepError::Empty);
    }
    for (i, step) in steps.iter().enumerate() {
        let (lower, upper) = (step.metric_interval_lower_bound, step.metric_interval_upper_bound);
        match (lower, upper) {
            (None, None) => return Err(StepError::Unbounded(i)),
            (Some(l), _) if !l.is_finite() => return Err(StepError::NotFinite(i)),
            (_, Some(u)) if !u.is_finite() => return Err(StepError::NotFinite(i)),
            (Some(l), Some(u)) if l >= u => return Err(StepError::Reversed(i)),
            _ => {}
        }
    }
    let mut order: Vec<usize> = (0..steps.len()).collect();
    let lower = |i: usize| steps[i].metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
    let upper = |i: usize| steps[i].metric_interval_upper_bound.unwrap_or(f64::INFINITY);
    order.sort_by(|a, b| lower(*a).total_cmp(&lower(*b)));
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if upper(a) > lower(b) {
            return Err(StepError::Overlap(a, b));
        }
        if upper(a) < lower(b) {
            return Err(StepError::Gap(a, b));
        }
    }
    let (first, last) = (order[0], order[order.len() - 1]);
    if lower(first) < 0.0 && lower(first).is_finite() {
        return Err(StepError::NoLowest);
    }
    if upper(last) > 0.0 && upper(last).is_finite() {
        return Err(StepError::NoHighest);
    }
    Ok(())
}

/// The way in which an alarm with this comparison asks for change.
#[must_use]
pub fn direction(comparison: Comparison) -> Direction {
    match comparison {
        Comparison::GreaterThanThreshold | Comparison::GreaterThanOrEqualToThreshold => Direction::Out,
        Comparison::LessThanThreshold | Comparison::LessThanOrEqualToThreshold => Direction::In,
    }
}

/// The step that holds at `metric`, as a position in `steps`. `direction` is that of the alarm: it says
/// to which side a metric exactly at the threshold belongs.
#[must_use]
pub fn choose(steps: &[StepAdjustment], metric: f64, threshold: f64, direction: Direction) -> Option<usize> {
    let delta = metric - threshold;
    let above = delta > 0.0 || (delta == 0.0 && direction == Direction::Out);
    steps.iter().position(|step| {
        let lower = step.metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
        let upper = step.metric_interval_upper_bound.unwrap_or(f64::INFINITY);
        if above { lower <= delta && delta < upper } else { lower < delta && delta <= upper }
    })
}

/// The whole change for an exact change in percent of the capacity.
#[must_use]
pub fn round_percent(exact: f64) -> i64 {
    if exact == 0.0 || exact.is_nan() {
        0
    } else if exact.abs() < 1.0 {
        exact.signum() as i64
    } else {
        exact.trunc() as i64
    }
}

/// The capacity that an adjustment makes of `capacity`, before minimum and maximum.
#[must_use]
pub fn adjust(capacity: u32, kind: AdjustmentType, adjustment: i64, min_magnitude: u32) -> u32 {
    let capacity = i64::from(capacity);
    let wanted = match kind {
        AdjustmentType::ChangeInCapacity => capacity.saturating_add(adjustment),
        AdjustmentType::ExactCapacity => adjustment,
        AdjustmentType::PercentChangeInCapacity => {
            let change = round_percent(capacity as f64 * adjustment as f64 / 100.0);
            let magnitude = change.abs().max(if change == 0 { 0 } else { i64::from(min_magnitude) });
            capacity.saturating_add(change.signum().saturating_mul(magnitude))
        }
    };
    u32::try_from(wanted.max(0)).unwrap_or(u32::MAX)
}

/// What a step policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// The step that holds, by position; `None` when none does: then nothing changes.
    pub step: Option<usize>,
    /// The step's number.
    pub adjustment: Option<i64>,
    /// The capacity asked for, within minimum and maximum.
    pub capacity: u32,
}

/// The values that a step policy is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepInput<'a> {
    /// The steps.
    pub steps: &'a [StepAdjustment],
    /// What a step's number means.
    pub adjustment_type: AdjustmentType,
    /// Smallest change of a percent adjustment.
    pub min_magnitude: u32,
    /// The alarm's threshold.
    pub threshold: f64,
    /// The way in which the alarm asks for change.
    pub direction: Direction,
    /// Smallest capacity.
    pub min: u32,
    /// Largest capacity.
    pub max: u32,
}

/// The capacity that a step policy asks for at `metric` when the capacity is `capacity`.
#[must_use]
pub fn evaluate(input: &StepInput<'_>, capacity: u32, metric: f64) -> StepOutcome {
    let step = choose(input.steps, metric, input.threshold, input.direction);
    let Some(adjustment) = step.map(|i| input.steps[i].scaling_adjustment) else {
        return StepOutcome { step: None, adjustment: None, capacity };
    };
    let wanted = adjust(capacity, input.adjustment_type, adjustment, input.min_magnitude);
    let way = match wanted.cmp(&capacity) {
        std::cmp::Ordering::Greater => Direction::Out,
        std::cmp::Ordering::Less => Direction::In,
        std::cmp::Ordering::Equal => return StepOutcome { step, adjustment: Some(adjustment), capacity },
    };
    StepOutcome { step, adjustment: Some(adjustment), capacity: bounded(way, capacity, wanted, input.min, input.max) }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(lower: Option<f64>, upper: Option<f64>, adjustment: i64) -> StepAdjustment {
        StepAdjustment {
            metric_interval_lower_bound: lower,
            metric_interval_upper_bound: upper,
            scaling_adjustment: adjustment,
        }
    }

    #[test]
    fn the_guides_run() {
        let out = [step(Some(0.0), Some(10.0), 0), step(Some(10.0), Some(20.0), 10), step(Some(20.0), None, 30)];
        let low = [step(Some(-10.0), Some(0.0), 0), step(Some(-20.0), Some(-10.0), -10), step(None, Some(-20.0), -30)];
        assert_eq!((validate(&out), validate(&low)), (Ok(()), Ok(())));
        let mut capacity = 10;
        for (metric, expected) in [(60.0, 11), (70.0, 14), (40.0, 13), (30.0, 10)] {
            let direction = if metric > 50.0 { Direction::Out } else { Direction::In };
            let input = StepInput {
                steps: if direction == Direction::Out { &out } else { &low },
                adjustment_type: AdjustmentType::PercentChangeInCapacity,
                min_magnitude: 0,
                threshold: 50.0,
                direction,
                min: 0,
                max: 100,
            };
            capacity = evaluate(&input, capacity, metric).capacity;
            assert_eq!(capacity, expected);
        }
    }

    #[test]
    fn a_zero_percent_step_stays_zero_whatever_the_magnitude() {
        assert_eq!(adjust(10, AdjustmentType::PercentChangeInCapacity, 0, 5), 10);
        assert_eq!(adjust(4, AdjustmentType::PercentChangeInCapacity, 25, 2), 6);
        assert_eq!(adjust(2, AdjustmentType::ChangeInCapacity, -5, 0), 0);
    }

    #[test]
    fn what_a_set_of_steps_lacks_is_named() {
        assert_eq!(validate(&[]), Err(StepError::Empty));
        assert_eq!(validate(&[step(None, None, 1)]), Err(StepError::Unbounded(0)));
        assert_eq!(validate(&[step(Some(f64::NAN), None, 1)]), Err(StepError::NotFinite(0)));
        assert_eq!(validate(&[step(Some(1.0), Some(1.0), 1)]), Err(StepError::Reversed(0)));
        assert_eq!(validate(&[step(Some(0.0), None, 1), step(Some(10.0), None, 2)]), Err(StepError::Overlap(0, 1)));
        assert_eq!(validate(&[step(Some(12.0), None, 1), step(Some(0.0), Some(10.0), 2)]), Err(StepError::Gap(1, 0)));
        assert_eq!(validate(&[step(Some(-10.0), Some(0.0), -1)]), Err(StepError::NoLowest));
        assert_eq!(validate(&[step(Some(0.0), Some(10.0), 1)]), Err(StepError::NoHighest));
    }
}
