//! The bootstrap of a mean: bias-corrected and accelerated (Efron 1987), widened for small samples.
//!
//! The mean of resamples of n values spreads by the divisor n instead of n − 1 and has normal tails, so
//! that plain bootstrap intervals are too narrow when n is small. Each normal score is therefore replaced by
//! √(n/(n−1)) times Student's score with n − 1 degrees of freedom before the correction for bias and
//! acceleration (the expansion of Hesterberg, "What Teachers Should Know About the Bootstrap", 2015). For
//! normal data the interval is then that of Student; for skewed data it leans to the longer tail.

use super::Moments;
use super::special::{normal_cdf, normal_quantile, student_cdf, student_quantile};
use crate::kernel::Stream;
use rand::Rng;

/// Resamples of one bootstrap. An odd number of thousands less one puts the usual levels on exact ranks.
pub const RESAMPLES: usize = 9_999;

/// The fewest values that are resampled. Resamples of fewer values have too few distinct means: the
/// probability to draw the smallest value each time is larger than the tail that is looked for.
pub const BCA_MINIMUM: usize = 5;

/// The means of resamples, with what it takes to read a level of confidence from them.
#[derive(Clone, Debug)]
pub(super) struct Resampled {
    /// Ascending.
    means: Vec<f64>,
    /// Standard deviation of the resampled means.
    spread: f64,
    /// Normal score of the share of resampled means below the mean.
    bias: f64,
    acceleration: f64,
    /// Degrees of freedom, n − 1.
    df: f64,
    /// √(n/(n−1)).
    widening: f64,
}

/// The correction is applied up to here and continued as a straight line beyond, so that it increases
/// everywhere: 1 − a·v is not let below this.
const SLOPE_END: f64 = 0.05;

impl Resampled {
    /// Resamples `values` (two or more that are not all equal) `resamples` times.
    pub(super) fn of(values: &[f64], resamples: usize, stream: &mut Stream) -> Self {
        let m = Moments::of(values);
        let n = values.len();
        let deviations: Vec<f64> = values.iter().map(|v| v - m.mean).collect();
        let spread = m.standard_error() * libm::sqrt((n as f64 - 1.0) / n as f64);
        let grain = spread * 1e-9;
        let mut means: Vec<f64> = (0..resamples.max(1))
            .map(|_| {
                let mut sum = 0.0;
                let mut left = n;
                while left > 0 {
                    // Two indices from each 64 bits.
                    let bits = stream.next_u64();
                    sum += deviations[index(bits as u32, n)];
                    if left > 1 {
                        sum += deviations[index((bits >> 32) as u32, n)];
                    }
                    left = left.saturating_sub(2);
                }
                // The same values drawn in another order give a sum that differs in its last digits. It is
                // the same mean: what differs by less than a billionth of the spread is put together.
                m.mean + libm::round(sum / n as f64 / grain) * grain
            })
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let share = share_below(&means, m.mean);
        Self {
            spread,
            bias: normal_quantile(share),
            acceleration: m.skewness / (6.0 * libm::sqrt(n as f64)),
            df: n as f64 - 1.0,
            widening: libm::sqrt(n as f64 / (n as f64 - 1.0)),
            means,
        }
    }

    pub(super) fn below(&self, x: f64) -> f64 {
        let u = self.score_of(x) - self.bias;
        // The inverse of the correction in `quantile`.
        let slope = 1.0 + self.acceleration * u;
        let v = if slope > 0.0 && 1.0 / slope >= SLOPE_END { u / slope } else { u * SLOPE_END };
        student_cdf(self.df, (v - self.bias) / self.widening)
    }

    pub(super) fn quantile(&self, c: f64) -> f64 {
        let v = self.bias + self.widening * student_quantile(self.df, c);
        let w = self.bias + v / (1.0 - self.acceleration * v).max(SLOPE_END);
        self.at_score(w)
    }

    /// The normal score of `x` among the resampled means. Between the middle ranks of the smallest and the
    /// largest it follows them; outside it continues with the slope of a normal law with their spread.
    fn score_of(&self, x: f64) -> f64 {
        let (first, last) = self.ends();
        if x <= first.0 {
            return first.1 + (x - first.0) / self.spread;
        }
        if x >= last.0 {
            return last.1 + (x - last.0) / self.spread;
        }
        let count = self.means.len() as f64;
        // Ties share the middle of their ranks; between two neighbours the rank is interpolated.
        let low = self.means.partition_point(|m| *m < x);
        let high = self.means.partition_point(|m| *m <= x);
        let rank = if high > low {
            (low + high) as f64 / 2.0
        } else {
            let (a, b) = (self.means[low - 1], self.means[low]);
            let (of_a, of_b) = (self.middle_rank(a), self.middle_rank(b));
            of_a + (of_b - of_a) * ((x - a) / (b - a))
        };
        normal_quantile(rank / count)
    }

    /// The mean at the normal score `w`: the inverse of `score_of`.
    fn at_score(&self, w: f64) -> f64 {
        let (first, last) = self.ends();
        if w <= first.1 {
            return first.0 + (w - first.1) * self.spread;
        }
        if w >= last.1 {
            return last.0 + (w - last.1) * self.spread;
        }
        let rank = normal_cdf(w) * self.means.len() as f64;
        // The neighbours in value whose middle ranks enclose this rank.
        let at = (rank as usize).min(self.means.len() - 1);
        let value = self.means[at];
        let middle = self.middle_rank(value);
        let (a, b) = if rank < middle {
            let low = self.means.partition_point(|m| *m < value);
            if low == 0 {
                return value;
            }
            (self.means[low - 1], value)
        } else {
            let high = self.means.partition_point(|m| *m <= value);
            if high == self.means.len() {
                return value;
            }
            (value, self.means[high])
        };
        let (of_a, of_b) = (self.middle_rank(a), self.middle_rank(b));
        a + (b - a) * ((rank - of_a) / (of_b - of_a)).clamp(0.0, 1.0)
    }

    fn middle_rank(&self, value: f64) -> f64 {
        share_below(&self.means, value) * self.means.len() as f64
    }

    /// The smallest and the largest mean, each with the normal score of its middle rank.
    fn ends(&self) -> ((f64, f64), (f64, f64)) {
        let scored = |mean: f64| (mean, normal_quantile(share_below(&self.means, mean)));
        (scored(self.means[0]), scored(self.means[self.means.len() - 1]))
    }
}

/// An index below `n` from 32 random bits; its bias is below n / 2^32.
fn index(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}

/// The share of `sorted` below `x`, values equal to it counted by half.
fn share_below(sorted: &[f64], x: f64) -> f64 {
    let low = sorted.partition_point(|m| *m < x);
    let high = sorted.partition_point(|m| *m <= x);
    let edge = 0.5 / sorted.len() as f64;
    ((low + high) as f64 / 2.0 / sorted.len() as f64).clamp(edge, 1.0 - edge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{StreamExt, Streams, standard_normal_quantile};

    fn stream() -> Stream {
        Streams::new(11, 0).stream("bootstrap")
    }

    #[test]
    fn normal_data_give_the_interval_of_student() {
        let mut s = stream();
        let values: Vec<f64> = (0..200).map(|_| standard_normal_quantile(s.unit())).collect();
        let m = Moments::of(&values);
        let law = Resampled::of(&values, RESAMPLES, &mut s);
        for c in [0.005, 0.025, 0.5, 0.9, 0.975] {
            let student = m.mean + m.standard_error() * student_quantile(199.0, c);
            assert!((law.quantile(c) - student).abs() < 0.12 * m.standard_error(), "{c}");
        }
    }

    #[test]
    fn skewed_data_lean_to_the_longer_tail() {
        let mut s = stream();
        let values: Vec<f64> = (0..30).map(|_| s.exponential()).collect();
        let law = Resampled::of(&values, RESAMPLES, &mut s);
        let mean = Moments::of(&values).mean;
        assert!(law.quantile(0.975) - mean > 1.2 * (mean - law.quantile(0.025)));
    }

    #[test]
    fn confidence_and_quantile_are_inverse_and_increase() {
        let mut s = stream();
        for n in [5_usize, 6, 9, 14, 40] {
            for discrete in [false, true] {
                let values: Vec<f64> = (0..n)
                    .map(
                        |i| if discrete { f64::from(u32::from(i % 4 == 0)) } else { s.exponential() * s.exponential() },
                    )
                    .collect();
                let law = Resampled::of(&values, 1_999, &mut s);
                let mut last = f64::NEG_INFINITY;
                for i in 1..400 {
                    let c = f64::from(i) / 400.0;
                    let x = law.quantile(c);
                    assert!(x >= last && x.is_finite(), "{n} {c}");
                    last = x;
                    assert!((law.below(x) - c).abs() < 1e-9, "{n} {discrete} {c} {x} {}", law.below(x));
                }
                // Far outside of the resamples confidence still falls.
                let far = law.quantile(1e-6);
                assert!((law.below(far) / 1e-6 - 1.0).abs() < 1e-6, "{n} {discrete}");
            }
        }
    }
}
