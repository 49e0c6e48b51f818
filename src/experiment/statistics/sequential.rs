//! When enough runs have been made.

use super::special::student_quantile;
use super::{Moments, Refusal};
use serde::{Deserialize, Serialize};

/// How precise a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Half the width of the interval is at most this, in the unit of the figure.
    Absolute(f64),
    /// The point is off by at most this share of the truth (above 0, below 1). Half the width is compared
    /// with γ/(1 + γ) of the point, which is a share of the estimate, not of the truth.
    Relative(f64),
}

impl Precision {
    /// Whether a figure at `point` with `half_width` is precise enough.
    #[must_use]
    pub fn is_met(self, point: f64, half_width: f64) -> bool {
        match self {
            Self::Absolute(wanted) => half_width <= wanted,
            Self::Relative(wanted) => half_width <= wanted / (1.0 + wanted) * point.abs(),
        }
    }
}

/// A rule, fixed before the first run, that says after how many runs the precision is looked at.
///
/// It is the sequential procedure of Law ("Simulation Modeling and Analysis", section on sequential
/// procedures) with looks only at `minimum`, `minimum + batch`, … and at `maximum`. To stop when an
/// interval happens to be narrow costs a little coverage; a minimum of ten runs and looks a whole batch
/// apart keep that loss small, and `tests/statistics.rs` shows how small.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequentialRule {
    /// The wanted precision.
    pub precision: Precision,
    /// Confidence of the interval, such as 0.95.
    pub level: f64,
    /// Runs before the first look; ten or more.
    pub minimum: usize,
    /// Runs between looks; one or more.
    pub batch: usize,
    /// No more runs than this; at least `minimum`.
    pub maximum: usize,
}

/// What a rule says after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Go on until there are this many runs, and look again.
    RunTo(usize),
    /// The precision is reached.
    Reached,
    /// The maximum is reached and the precision is not.
    Exhausted,
}

impl SequentialRule {
    /// A rule with ten runs before the first look, ten between looks, and at most `maximum`.
    #[must_use]
    pub fn new(precision: Precision, level: f64, maximum: usize) -> Self {
        Self { precision, level, minimum: 10, batch: 10, maximum }
    }

    /// Refuses a rule that cannot be followed.
    ///
    /// # Errors
    /// When a parameter is outside of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        Refusal::unless_level(self.level)?;
        let wanted = match self.precision {
            Precision::Absolute(wanted) => wanted > 0.0 && wanted.is_finite(),
            Precision::Relative(wanted) => wanted > 0.0 && wanted < 1.0,
        };
        if !wanted {
            return Err(Refusal::parameter("the precision", "above zero, and below 1 when relative"));
        }
        if self.minimum < 10 {
            return Err(Refusal::parameter("the runs before the first look", "ten or more"));
        }
        if self.batch == 0 {
            return Err(Refusal::parameter("the runs between looks", "one or more"));
        }
        if self.maximum < self.minimum {
            return Err(Refusal::parameter("the most runs", "at least the runs before the first look"));
        }
        Ok(())
    }

    /// The numbers of runs at which there is a look, in order.
    pub fn looks(&self) -> impl Iterator<Item = usize> + '_ {
        let regular = (self.minimum..self.maximum).step_by(self.batch.max(1));
        regular.chain(std::iter::once(self.maximum))
    }

    /// What to do with `runs` finished runs, a figure at `point` and half the width of its interval. Between
    /// two looks it says to run on to the next one, whatever the figure.
    #[must_use]
    pub fn judge(&self, runs: usize, point: f64, half_width: f64) -> Step {
        let next = self.looks().find(|&look| look >= runs);
        match next {
            Some(look) if look > runs => Step::RunTo(look),
            _ if self.precision.is_met(point, half_width) => Step::Reached,
            _ => self.looks().find(|&look| look > runs).map_or(Step::Exhausted, Step::RunTo),
        }
    }

    /// [`SequentialRule::judge`] of the mean of `values` with Student's interval, as far as there are values.
    #[must_use]
    pub fn judge_mean(&self, values: &[f64]) -> Step {
        let m = Moments::of(values);
        let half = if m.count < 2 {
            f64::INFINITY
        } else {
            student_quantile(m.count as f64 - 1.0, 0.5 + self.level / 2.0) * m.standard_error()
        };
        self.judge(m.count, m.mean, half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_fixed_beforehand() {
        let rule = SequentialRule::new(Precision::Absolute(0.5), 0.95, 45);
        assert_eq!(rule.looks().collect::<Vec<_>>(), [10, 20, 30, 40, 45]);
        assert!(rule.check().is_ok());
        assert_eq!(rule.judge(0, 0.0, 0.0), Step::RunTo(10));
        assert_eq!(rule.judge(10, 3.0, 0.6), Step::RunTo(20));
        // A precision that is met between looks is not looked at.
        assert_eq!(rule.judge(15, 3.0, 0.1), Step::RunTo(20));
        assert_eq!(rule.judge(20, 3.0, 0.5), Step::Reached);
        assert_eq!(rule.judge(45, 3.0, 0.6), Step::Exhausted);
        assert_eq!(rule.judge(60, 3.0, 0.6), Step::Exhausted);
        let once = SequentialRule { maximum: 10, ..rule };
        assert_eq!(once.looks().collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn a_relative_precision_is_of_the_truth() {
        let p = Precision::Relative(0.25);
        assert!(p.is_met(-10.0, 2.0) && !p.is_met(10.0, 2.1));
    }

    #[test]
    fn values_without_spread_stop_at_the_first_look() {
        let rule = SequentialRule::new(Precision::Relative(0.05), 0.95, 100);
        assert_eq!(rule.judge_mean(&[3.0; 9]), Step::RunTo(10));
        assert_eq!(rule.judge_mean(&[3.0; 10]), Step::Reached);
        let noisy: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(rule.judge_mean(&noisy), Step::RunTo(20));
    }

    #[test]
    fn rules_that_cannot_be_followed_are_refused() {
        let rule = SequentialRule::new(Precision::Relative(0.1), 0.95, 100);
        for wrong in [
            SequentialRule { level: 1.0, ..rule },
            SequentialRule { minimum: 5, ..rule },
            SequentialRule { batch: 0, ..rule },
            SequentialRule { maximum: 9, ..rule },
            SequentialRule { precision: Precision::Relative(1.0), ..rule },
            SequentialRule { precision: Precision::Absolute(0.0), ..rule },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
