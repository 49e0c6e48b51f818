//! The law of confidence of one figure: interval, p-value and equivalence from one place.

use super::bootstrap::Studentised;
use super::special::{student_cdf, student_quantile};
use serde::{Deserialize, Serialize};

/// An interval; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The confidence that it was made for, such as 0.95.
    pub level: f64,
}

impl Interval {
    /// Half its width.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Whether `value` lies in it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// How an interval was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Student's t of one value per replication.
    Student,
    /// Welch's t of two independent sets of replications.
    Welch,
    /// Studentised bootstrap of the mean.
    Bootstrap,
    /// The influence of each replication on a pooled quantile, with Student's t.
    Jackknife,
    /// The influence of each replication on a pooled quantile, with the studentised bootstrap.
    JackknifeBootstrap,
    /// Every replication gave the same value: there is no spread to estimate.
    Constant,
}

impl Method {
    /// Its name in a line of text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Student => "t",
            Self::Welch => "Welch t",
            Self::Bootstrap => "bootstrap t",
            Self::Jackknife => "jackknife",
            Self::JackknifeBootstrap => "jackknife, bootstrap t",
            Self::Constant => "constant",
        }
    }
}

/// What the replications say about a true value. Intervals and p-values are two ways of reading it.
#[derive(Clone, Debug)]
pub struct Confidence(Law);

#[derive(Clone, Debug)]
enum Law {
    Student { point: f64, error: f64, df: f64 },
    Constant { point: f64, count: usize },
    Resampled(Box<Studentised>),
}

impl Confidence {
    /// Student's law about `point` with standard error `error` and `df` degrees of freedom, from `count`
    /// replications. Without any error it is the law of a constant.
    ///
    /// A constant that is seen in all of n runs has itself as its interval. Its p-value is the one of the
    /// sign test, 2^(1−n): few runs that agree prove little, however well they agree.
    #[must_use]
    pub fn student(point: f64, error: f64, df: f64, count: usize) -> Self {
        Self(if error > 0.0 { Law::Student { point, error, df } } else { Law::Constant { point, count } })
    }

    pub(super) fn resampled(law: Studentised) -> Self {
        Self(Law::Resampled(Box::new(law)))
    }

    /// Student, bootstrap or constant: where the law comes from.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.0 {
            Law::Student { .. } => Method::Student,
            Law::Constant { .. } => Method::Constant,
            Law::Resampled(_) => Method::Bootstrap,
        }
    }

    /// The one-sided p-value of the hypothesis that the truth is `x` or less.
    #[must_use]
    pub fn p_at_most(&self, x: f64) -> f64 {
        match &self.0 {
            Law::Student { point, error, df } => student_cdf(*df, (x - point) / error),
            Law::Constant { point, count } => sign_test(x >= *point, *count),
            Law::Resampled(law) => law.p_at_most(x),
        }
    }

    /// The one-sided p-value of the hypothesis that the truth is `x` or more.
    #[must_use]
    pub fn p_at_least(&self, x: f64) -> f64 {
        match &self.0 {
            Law::Student { point, error, df } => student_cdf(*df, (point - x) / error),
            Law::Constant { point, count } => sign_test(x <= *point, *count),
            Law::Resampled(law) => law.p_at_least(x),
        }
    }

    /// The two-sided interval with equal tails at `level`: what a two-sided test does not reject. The
    /// ends are infinite where a bootstrap has too few resamples for the level.
    #[must_use]
    pub fn interval(&self, level: f64) -> Interval {
        let (low, high) = match &self.0 {
            Law::Student { point, error, df } => {
                let half = error * student_quantile(*df, 0.5 + level / 2.0);
                (point - half, point + half)
            }
            Law::Constant { point, .. } => (*point, *point),
            Law::Resampled(law) => law.interval(level),
        };
        Interval { low, high, level }
    }

    /// The two-sided p-value of the hypothesis that the truth is `x`; 1 when all replications say exactly `x`.
    #[must_use]
    pub fn p_of(&self, x: f64) -> f64 {
        (2.0 * self.p_at_most(x).min(self.p_at_least(x))).clamp(0.0, 1.0)
    }

    /// The p-value of the hypothesis that the truth lies at least `margin` away from zero: the larger of two
    /// one-sided tests (TOST). Small means that the truth is shown to lie within the margin.
    #[must_use]
    pub fn within(&self, margin: f64) -> f64 {
        self.p_at_most(-margin).max(self.p_at_least(margin))
    }
}

/// All of `count` values agree with a one-sided hypothesis, or none does.
fn sign_test(agree: bool, count: usize) -> f64 {
    if agree { 1.0 } else { libm::exp2(-(count as f64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_tests_agree() {
        let law = Confidence::student(1.2, 0.5, 11.0, 12);
        let i = law.interval(0.95);
        assert!((i.low - (1.2 - 0.5 * 2.200_985_160_082_949)).abs() < 1e-11);
        assert!((law.p_of(i.low) - 0.05).abs() < 1e-12 && (law.p_of(i.high) - 0.05).abs() < 1e-12);
        assert!((law.p_of(1.2) - 1.0).abs() < 1e-12);
        assert!(law.p_of(0.0) < 0.05 && !i.contains(0.0));
        // The 90 % interval reaches to the margin at which equivalence is just shown at 5 %.
        let margin = law.interval(0.9).high;
        assert!((law.within(margin) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn a_constant_is_as_sure_as_its_signs() {
        let zero = Confidence::student(0.0, 0.0, 29.0, 30);
        assert_eq!((zero.interval(0.95).low, zero.interval(0.95).high, zero.p_of(0.0)), (0.0, 0.0, 1.0));
        assert!(zero.within(0.1) < 1e-8);
        let one = Confidence::student(1.0, 0.0, 5.0, 6);
        assert_eq!((one.p_of(0.0), one.p_of(1.0)), (1.0 / 32.0, 1.0));
        assert_eq!(one.method(), Method::Constant);
    }
}
