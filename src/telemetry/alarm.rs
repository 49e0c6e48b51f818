//! The state of a CloudWatch metric alarm.
//!
//! Rule: an alarm looks at the newest N points (evaluation periods) and is in ALARM when at least M of
//! them (datapoints to alarm) breach the threshold, else OK. When points are missing it looks back over
//! a longer range. If that range holds N real points, the newest N of them decide and the treatment of
//! missing data plays no part. If it holds fewer:
//!
//! - `breaching` and `notBreaching` fill the gap up to N points;
//! - with `missing` and `ignore` the real points alone decide, and none at all gives
//!   INSUFFICIENT_DATA or keeps the state;
//! - one exception, against alarms that would come too late: if no real point in the range is good and
//!   the oldest breaching one lies at least M points back, `missing` goes to ALARM and `ignore` keeps
//!   its state.
//!
//! Source: CloudWatch user guide, `AlarmThatSendsEmail` (evaluating an alarm; missing data).
//!
//! Known departures: the length of the longer range is documented only for N = 3 (5 points); here it is
//! N + 2. The guide's text would let a good point stand before the breaching one in the exception, its
//! table does not; the table is followed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::scenario::model;

pub use crate::scenario::model::{Comparison, TreatMissingData};

/// What an alarm watches for.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmSpec {
    /// How a point is compared with the threshold.
    pub comparison: Comparison,
    /// The threshold, in the metric's unit.
    pub threshold: f64,
    /// Length of one period.
    pub period: SimDuration,
    /// Points that are looked at (N), at least 1.
    pub evaluation_periods: u32,
    /// Breaching points that raise the alarm (M), 1 to N.
    pub datapoints_to_alarm: u32,
    /// How missing points are treated.
    pub treat_missing: TreatMissingData,
}

/// The state of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlarmState {
    /// Too little data to judge; the state in which an alarm is born.
    InsufficientData,
    /// Not breaching.
    Ok,
    /// Breaching.
    Alarm,
}

/// Why an alarm is in its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AlarmReason {
    /// Real points decided.
    Points {
        /// Points that breach.
        breaching: u32,
        /// Points looked at.
        of: u32,
        /// Breaching points it takes.
        needed: u32,
    },
    /// Too few real points: missing ones were filled in.
    Filled {
        /// Points that breach, filled ones included.
        breaching: u32,
        /// Points filled in.
        filled: u32,
        /// Breaching points it takes.
        needed: u32,
    },
    /// Only breaching points, the oldest far enough back that waiting for more would be too late.
    Premature {
        /// How far back the oldest breaching point lies: 1 is the newest point.
        oldest_back: u32,
        /// How far back it must lie.
        needed: u32,
        /// True when the state was kept (`ignore`).
        kept: bool,
    },
    /// No point at all.
    NoData {
        /// True when the state was kept (`ignore`).
        kept: bool,
    },
}

impl From<&model::Alarm> for AlarmSpec {
    fn from(alarm: &model::Alarm) -> Self {
        let n = alarm.evaluation_periods.max(1);
        Self {
            comparison: alarm.comparison_operator,
            threshold: alarm.threshold,
            period: alarm.period,
            evaluation_periods: n,
            datapoints_to_alarm: alarm.datapoints_to_alarm.unwrap_or(n).clamp(1, n),
            treat_missing: alarm.treat_missing_data,
        }
    }
}

impl AlarmSpec {
    /// True when `value` breaches the threshold. A NaN never does.
    #[must_use]
    pub fn breaches(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::GreaterThanThreshold => value > self.threshold,
            Comparison::GreaterThanOrEqualToThreshold => value >= self.threshold,
            Comparison::LessThanThreshold => value < self.threshold,
            Comparison::LessThanOrEqualToThreshold => value <= self.threshold,
        }
    }

    /// How many points, up to the newest, [`evaluate`] should be given.
    #[must_use]
    pub fn evaluation_range(&self) -> usize {
        evaluation_range(self.evaluation_periods)
    }

    /// How often the alarm is evaluated: every minute, every 10 s when its period is shorter than one.
    #[must_use]
    pub fn evaluation_interval(&self) -> SimDuration {
        if self.period < SimDuration::from_secs(60) { SimDuration::from_secs(10) } else { SimDuration::from_secs(60) }
    }
}

/// Points of the range over which missing data is looked past: 5 for three evaluation periods, as the
/// guide says, and in general two more than the evaluation periods.
#[must_use]
pub fn evaluation_range(evaluation_periods: u32) -> usize {
    evaluation_periods.max(1) as usize + 2
}

/// The state of an alarm that was in `previous`, from the points of its evaluation range, oldest first;
/// `None` is a missing point.
///
/// ```
/// use simctl::kernel::SimDuration;
/// use simctl::telemetry::alarm::{AlarmSpec, AlarmState, Comparison, TreatMissingData, evaluate};
///
/// let spec = AlarmSpec {
///     comparison: Comparison::GreaterThanThreshold,
///     threshold: 70.0,
///     period: SimDuration::from_secs(60),
///     evaluation_periods: 3,
///     datapoints_to_alarm: 2,
///     treat_missing: TreatMissingData::Missing,
/// };
/// let (state, reason) = evaluate(&spec, AlarmState::Ok, &[Some(60.0), Some(80.0), None, Some(75.0)]);
/// assert_eq!(state, AlarmState::Alarm);
/// assert_eq!(reason.to_string(), "2 of 3 points breach (2 needed)");
/// ```
#[must_use]
pub fn evaluate(spec: &AlarmSpec, previous: AlarmState, points: &[Option<f64>]) -> (AlarmState, AlarmReason) {
    let n = spec.evaluation_periods.max(1);
    let needed = spec.datapoints_to_alarm.clamp(1, n);
    let state = |breaching: u32| if breaching >= needed { AlarmState::Alarm } else { AlarmState::Ok };

    // The newest N real points, and over the whole range what the exception asks for.
    let (mut real, mut breaching, mut good, mut oldest_back) = (0, 0, false, 0);
    for (back, point) in points.iter().rev().enumerate() {
        let Some(value) = point else { continue };
        real += 1;
        if spec.breaches(*value) {
            breaching += 1;
            oldest_back = back as u32 + 1;
        } else {
            good = true;
        }
        if real == n {
            return (state(breaching), AlarmReason::Points { breaching, of: n, needed });
        }
    }

    let filled = n - real;
    match spec.treat_missing {
        TreatMissingData::Breaching => {
            let breaching = breaching + filled;
            (state(breaching), AlarmReason::Filled { breaching, filled, needed })
        }
        TreatMissingData::NotBreaching => (state(breaching), AlarmReason::Filled { breaching, filled, needed }),
        TreatMissingData::Missing | TreatMissingData::Ignore => {
            let ignore = spec.treat_missing == TreatMissingData::Ignore;
            if real == 0 {
                let state = if ignore { previous } else { AlarmState::InsufficientData };
                (state, AlarmReason::NoData { kept: ignore })
            } else if breaching < needed && !good && oldest_back >= needed {
                let state = if ignore { previous } else { AlarmState::Alarm };
                (state, AlarmReason::Premature { oldest_back, needed, kept: ignore })
            } else {
                (state(breaching), AlarmReason::Points { breaching, of: real, needed })
            }
        }
    }
}

impl fmt::Display for AlarmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InsufficientData => "INSUFFICIENT_DATA",
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
        })
    }
}

impl fmt::Display for AlarmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points { breaching, of, needed } => {
                write!(f, "{breaching} of {of} points breach ({needed} needed)")
            }
            Self::Filled { breaching, filled, needed } => {
                write!(f, "{breaching} points breach with {filled} missing filled in ({needed} needed)")
            }
            Self::Premature { oldest_back, needed, kept } => {
                write!(f, "only breaching points, the oldest {oldest_back} back ({needed} needed)")?;
                if *kept { f.write_str(": state kept") } else { Ok(()) }
            }
            Self::NoData { kept: true } => f.write_str("no data: state kept"),
            Self::NoData { kept: false } => f.write_str("no data"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(m: u32, n: u32, treat_missing: TreatMissingData) -> AlarmSpec {
        AlarmSpec {
            comparison: Comparison::GreaterThanThreshold,
            threshold: 0.5,
            period: SimDuration::from_secs(60),
            evaluation_periods: n,
            datapoints_to_alarm: m,
            treat_missing,
        }
    }

    fn points(text: &str) -> Vec<Option<f64>> {
        text.split(' ').map(|p| p.replace('X', "1").parse().ok()).collect()
    }

    #[test]
    fn the_table_of_the_guide_for_three_of_three() {
        use AlarmState::{Alarm, InsufficientData, Ok};
        use TreatMissingData::{Breaching, Ignore, Missing, NotBreaching};
        // The previous state is one that no row gives by itself, so that "kept" shows.
        for (m, text, missing, ignore, breaching, not_breaching) in [
            (3, "0 - X - X", Ok, Ok, Ok, Ok),
            (3, "0 - - - -", Ok, Ok, Ok, Ok),
            (3, "- - - - -", InsufficientData, Alarm, Alarm, Ok),
            (3, "0 X X - X", Alarm, Alarm, Alarm, Alarm),
            (3, "- - X - -", Alarm, Alarm, Alarm, Ok),
            (2, "0 - X - X", Alarm, Alarm, Alarm, Alarm),
            (2, "0 0 X 0 X", Alarm, Alarm, Alarm, Alarm),
            (2, "0 - X - -", Ok, Ok, Alarm, Ok),
            (2, "- - - - 0", Ok, Ok, Alarm, Ok),
            (2, "- - - X -", Alarm, Alarm, Alarm, Ok),
        ] {
            for (treat, expected) in
                [(Missing, missing), (Ignore, ignore), (Breaching, breaching), (NotBreaching, not_breaching)]
            {
                let (state, reason) = evaluate(&spec(m, 3, treat), Alarm, &points(text));
                assert_eq!(state, expected, "{m} of 3, {text}, {treat:?}: {reason}");
            }
        }
    }

    #[test]
    fn ignore_keeps_an_ok_state_too() {
        let (state, reason) = evaluate(&spec(3, 3, TreatMissingData::Ignore), AlarmState::Ok, &points("- - X - -"));
        assert_eq!(state, AlarmState::Ok);
        assert!(matches!(reason, AlarmReason::Premature { kept: true, .. }));
    }

    #[test]
    fn a_single_new_breach_does_not_raise_three_of_three() {
        let (state, _) = evaluate(&spec(3, 3, TreatMissingData::Missing), AlarmState::Ok, &points("- - - X -"));
        assert_eq!(state, AlarmState::Ok);
    }

    #[test]
    fn short_periods_are_evaluated_every_ten_seconds() {
        let mut s = spec(3, 3, TreatMissingData::Missing);
        assert_eq!(s.evaluation_interval(), SimDuration::from_secs(60));
        s.period = SimDuration::from_secs(20);
        assert_eq!(s.evaluation_interval(), SimDuration::from_secs(10));
        assert_eq!(s.evaluation_range(), 5);
    }
}
