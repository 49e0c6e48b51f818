//! The bootstrap of a mean, studentised (Efron 1982; Hall, "The Bootstrap and Edgeworth Expansion", 1992).
//!
//! Each resample gives t* = (its mean − the mean) / its own standard error, and the law of t* takes the place
//! of Student's: where the data are skewed it leans with them. The bias-corrected and accelerated bootstrap
//! (BCa), which corrects the resampled means instead, was tried first and dropped: for ten values of an
//! exponential law its 95 % interval held the mean in 91.8 % of cases even with its tails widened for small
//! samples, this one in 93.9 %; for thirty in 92.5 and 94.1 %.
//!
//! From ten values on an end of the interval is the wider one of Student's and the bootstrap's, and a p-value
//! the larger one: symmetric heavy tails look skewed in a small sample, and there Student's t is right.

use super::special::{student_cdf, student_quantile};
use super::{Moments, STUDENT_FROM};
use crate::kernel::Stream;
use rand::Rng;

/// Resamples of one bootstrap: one less than a multiple of the usual levels' denominators. No p-value is
/// smaller than two in this number plus one.
pub const RESAMPLES: usize = 9_999;

/// The fewest values that are resampled: of four, the probability to draw the smallest each time is larger
/// than the tail that is looked for.
pub const BOOTSTRAP_MINIMUM: usize = 5;

/// A resample's variance counts as at least this share, divided by the number of values, of the variance of
/// the sample. A resample of equal values has none of its own, which would make t* infinite.
const VARIANCE_FLOOR: f64 = 0.25;

/// Two values of t are the same when they are this close.
const SAME: f64 = 1e-9;

/// The law of a mean from its resamples.
#[derive(Clone, Debug)]
pub(super) struct Studentised {
    mean: f64,
    error: f64,
    /// t* of each resample, ascending.
    scores: Vec<f64>,
    /// Degrees of freedom of the Student's t that it is never narrower than.
    no_narrower: Option<f64>,
}

impl Studentised {
    /// Resamples `values` (two or more that are not all equal) `resamples` times.
    pub(super) fn of(values: &[f64], resamples: usize, stream: &mut Stream) -> Self {
        let m = Moments::of(values);
        let n = values.len();
        let count = n as f64;
        let deviations: Vec<f64> = values.iter().map(|v| (v - m.mean) / m.deviation()).collect();
        let mut scores: Vec<f64> = (0..resamples.max(1))
            .map(|_| {
                let (mut sum, mut squares) = (0.0, 0.0);
                let mut left = n;
                while left > 0 {
                    // Two indices from each 64 bits.
                    let bits = stream.next_u64();
                    let first = deviations[index(bits as u32, n)];
                    sum += first;
                    squares += first * first;
                    if left > 1 {
                        let second = deviations[index((bits >> 32) as u32, n)];
                        sum += second;
                        squares += second * second;
                    }
                    left = left.saturating_sub(2);
                }
                let variance = (squares - sum * sum / count) / (count - 1.0);
                (sum / count) / libm::sqrt(variance.max(VARIANCE_FLOOR / count) / count)
            })
            .collect();
        scores.sort_unstable_by(f64::total_cmp);
        let no_narrower = (n >= STUDENT_FROM).then_some(count - 1.0);
        Self { mean: m.mean, error: m.standard_error(), scores, no_narrower }
    }

    /// The same law about another point: for a mean of influences, which linear terms leave a little off.
    pub(super) fn about(mut self, point: f64) -> Self {
        self.mean = point;
        self
    }

    /// The p-value of the hypothesis that the truth is `x` or less: how often a resample lies as far above.
    pub(super) fn p_at_most(&self, x: f64) -> f64 {
        let t = (self.mean - x) / self.error;
        let as_far = self.scores.len() - self.scores.partition_point(|s| *s < t - SAME);
        self.share(as_far).max(self.no_narrower.map_or(0.0, |df| student_cdf(df, -t)))
    }

    /// The p-value of the hypothesis that the truth is `x` or more.
    pub(super) fn p_at_least(&self, x: f64) -> f64 {
        let t = (self.mean - x) / self.error;
        let as_far = self.scores.partition_point(|s| *s <= t + SAME);
        self.share(as_far).max(self.no_narrower.map_or(0.0, |df| student_cdf(df, t)))
    }

    /// The sample counts as one of its resamples, so that no p-value is zero.
    fn share(&self, as_far: usize) -> f64 {
        (as_far + 1) as f64 / (self.scores.len() + 1) as f64
    }

    /// All numbers whose two-sided p-value is above 1 − `level`; infinite when there are too few resamples to
    /// tell.
    pub(super) fn interval(&self, level: f64) -> (f64, f64) {
        let (low, high) = self.critical(level);
        (self.mean - high * self.error, self.mean - low * self.error)
    }

    /// The values of t between which the two-sided p-value is above 1 − `level`.
    pub(super) fn critical(&self, level: f64) -> (f64, f64) {
        let tail = (1.0 - level) / 2.0 * (self.scores.len() + 1) as f64;
        // Ranks from either end, counted from 1, that are no longer in the tail.
        let rank = (tail - 1.0 + SAME).floor() + 1.0;
        if rank < 1.0 {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let rank = (rank as usize).min(self.scores.len().div_ceil(2));
        let (low, high) = (self.scores[rank - 1], self.scores[self.scores.len() - rank]);
        match self.no_narrower.map(|df| student_quantile(df, 0.5 + level / 2.0)) {
            Some(student) => (low.min(-student), high.max(student)),
            None => (low, high),
        }
    }
}

/// An index below `n` from 32 random bits; its bias is below n / 2^32.
fn index(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::statistics::student_quantile;
    use crate::kernel::{StreamExt, Streams, standard_normal_quantile};

    fn stream() -> Stream {
        Streams::new(11, 0).stream("bootstrap")
    }

    #[test]
    fn normal_data_give_the_interval_of_student() {
        let mut s = stream();
        let values: Vec<f64> = (0..200).map(|_| standard_normal_quantile(s.unit())).collect();
        let m = Moments::of(&values);
        let law = Studentised::of(&values, RESAMPLES, &mut s);
        for level in [0.5, 0.8, 0.95, 0.99] {
            let half = m.standard_error() * student_quantile(199.0, 0.5 + level / 2.0);
            let (low, high) = law.interval(level);
            assert!((low - m.mean + half).abs() < 0.12 * m.standard_error(), "{level}");
            assert!((high - m.mean - half).abs() < 0.12 * m.standard_error(), "{level}");
        }
    }

    #[test]
    fn skewed_data_lean_to_the_longer_tail() {
        let mut s = stream();
        let (mut below, mut above) = (0.0, 0.0);
        for _ in 0..20 {
            let values: Vec<f64> = (0..30).map(|_| s.exponential()).collect();
            let (low, high) = Studentised::of(&values, 1_999, &mut s).interval(0.95);
            let mean = Moments::of(&values).mean;
            below += mean - low;
            above += high - mean;
        }
        assert!(above > 1.3 * below, "{above} {below}");
    }

    #[test]
    fn an_interval_holds_what_its_test_does_not_reject() {
        let mut s = stream();
        for n in [5_usize, 6, 9, 14, 40] {
            for discrete in [false, true] {
                let mut one = |i: usize| match discrete {
                    true => f64::from(u32::from(i.is_multiple_of(4))),
                    false => s.exponential() * s.exponential(),
                };
                let values: Vec<f64> = (0..n).map(&mut one).collect();
                let law = Studentised::of(&values, 1_999, &mut s);
                let p = |x: f64| 2.0 * law.p_at_most(x).min(law.p_at_least(x));
                for level in [0.5, 0.9, 0.95, 0.99] {
                    let (low, high) = law.interval(level);
                    assert!(low < high && low.is_finite() && high.is_finite(), "{n} {discrete} {level}");
                    let away = (high - low) * 1e-6;
                    for inside in [low, low + away, high - away, high] {
                        assert!(p(inside) > 1.0 - level - 1e-12, "{n} {discrete} {level} {}", p(inside));
                    }
                    for outside in [low - away, high + away] {
                        assert!(p(outside) <= 1.0 - level + 1e-12, "{n} {discrete} {level} {}", p(outside));
                    }
                }
                assert_eq!(law.interval(0.9999), (f64::NEG_INFINITY, f64::INFINITY));
                assert_eq!(p(1e9), 2.0 / 2_000.0);
            }
        }
    }
}
