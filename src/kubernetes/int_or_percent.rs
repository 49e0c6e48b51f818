//! Fields that are a number or a percentage, for counts of pods.

use crate::units::{IntOrPercent, Rounding};

/// The number of pods that a field stands for, given the pods it is a percentage of.
pub(super) fn pods(field: IntOrPercent, total: i32, rounding: Rounding) -> i32 {
    let value = field.of(i64::from(total), rounding);
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}
