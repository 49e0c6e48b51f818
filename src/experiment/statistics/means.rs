//! Moments of a sample, the mean with its interval, correlation.

use super::bootstrap::Studentised;
use super::difference::is_tame;
use super::{Confidence, Interval, Method, RESAMPLES, Refusal};
use crate::kernel::Stream;
use serde::{Deserialize, Serialize};

/// Moments of a sample, computed in two passes, the second about the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// How many values.
    pub count: usize,
    /// The mean; 0 when there is no value.
    pub mean: f64,
    /// The variance with the divisor `count` − 1; 0 below two values.
    pub variance: f64,
    /// Skewness g₁ = m₃ / m₂^1.5; 0 when the values do not vary. For n values it cannot exceed √n.
    pub skewness: f64,
    /// Excess kurtosis g₂ = m₄ / m₂² − 3 (0 for the normal law); 0 when the values do not vary.
    pub excess_kurtosis: f64,
    /// The smallest value; 0 when there is no value.
    pub min: f64,
    /// The largest value; 0 when there is no value.
    pub max: f64,
}

impl Moments {
    /// The moments of `values`, added in the order given.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let (Some(&first), n) = (values.first(), values.len() as f64) else {
            return Self::default();
        };
        // Relative to the first value, so that equal values have exactly their mean, and no spread.
        let mean = first + values.iter().map(|v| v - first).sum::<f64>() / n;
        let (mut residue, mut m2, mut m3, mut m4) = (0.0, 0.0, 0.0, 0.0);
        for v in values {
            let d = v - mean;
            residue += d;
            m2 += d * d;
            m3 += d * d * d;
            m4 += d * d * d * d;
        }
        let spread = (m2 - residue * residue / n).max(0.0);
        let (min, max) = values.iter().fold((first, first), |(low, high), &v| (low.min(v), high.max(v)));
        let varies = spread > 0.0;
        Self {
            count: values.len(),
            mean,
            variance: if values.len() > 1 { spread / (n - 1.0) } else { 0.0 },
            skewness: if varies { (m3 / n) / ((m2 / n) * libm::sqrt(m2 / n)) } else { 0.0 },
            excess_kurtosis: if varies { (m4 / n) / ((m2 / n) * (m2 / n)) - 3.0 } else { 0.0 },
            min,
            max,
        }
    }

    /// The standard deviation.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        libm::sqrt(self.variance)
    }

    /// The standard error of the mean; 0 when there is no value.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        if self.count == 0 { 0.0 } else { libm::sqrt(self.variance / self.count as f64) }
    }
}

/// A figure of one variant over its replications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The point: the mean over replications, or the quantile of the pooled replications.
    pub point: f64,
    /// The interval at the confidence that was asked for.
    pub interval: Interval,
    /// The standard error of the point.
    pub standard_error: f64,
    /// How many replications.
    pub replications: usize,
    /// How the interval was made.
    pub method: Method,
}

impl Estimate {
    /// Half the width of the interval: what a wanted precision is compared with.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        self.interval.half_width()
    }
}

/// The mean of one value per replication with its interval at `level` (such as 0.95): by Student's t or, with
/// resamples from `stream`, by the studentised bootstrap, as [`super::paired`] chooses for differences.
///
/// # Errors
/// Below two values, when a value is not finite, or when `level` is not between 0 and 1.
pub fn mean(values: &[f64], level: f64, stream: &mut Stream) -> Result<Estimate, Refusal> {
    let student = mean_student(values, level)?;
    if student.method == Method::Constant || is_tame(values) {
        return Ok(student);
    }
    let law = Confidence::resampled(Studentised::of(values, RESAMPLES, stream));
    Ok(Estimate { interval: law.interval(level), method: law.method(), ..student })
}

/// The mean of one value per replication with Student's interval, whatever the values look like.
///
/// # Errors
/// As [`mean`].
pub fn mean_student(values: &[f64], level: f64) -> Result<Estimate, Refusal> {
    Refusal::unless_usable(values, 2)?;
    Refusal::unless_level(level)?;
    let m = Moments::of(values);
    let law = Confidence::student(m.mean, m.standard_error(), m.count as f64 - 1.0, m.count);
    Ok(Estimate {
        point: m.mean,
        interval: law.interval(level),
        standard_error: m.standard_error(),
        replications: m.count,
        method: law.method(),
    })
}

/// Pearson's correlation of the pairs, between −1 and 1; `None` when either side does not vary, when
/// there are fewer than two pairs, or when the sides differ in length.
#[must_use]
pub fn correlation(left: &[f64], right: &[f64]) -> Option<f64> {
    if left.len() != right.len() || left.len() < 2 {
        return None;
    }
    let (a, b) = (Moments::of(left), Moments::of(right));
    let both: f64 = left.iter().zip(right).map(|(x, y)| (x - a.mean) * (y - b.mean)).sum();
    let spread = a.deviation() * b.deviation() * (left.len() - 1) as f64;
    (spread > 0.0 && spread.is_finite()).then(|| (both / spread).clamp(-1.0, 1.0))
}

/// The variance of the paired difference as a share of the variance that the difference of independent
/// runs has (the sum of the variances of both sides). Below 1, pairing pays: its inverse is how many times
/// fewer runs the same precision takes. `None` when neither side varies, there are fewer than two pairs,
/// or the sides differ in length.
#[must_use]
pub fn variance_ratio(left: &[f64], right: &[f64]) -> Option<f64> {
    if left.len() != right.len() || left.len() < 2 {
        return None;
    }
    let differences: Vec<f64> = left.iter().zip(right).map(|(a, b)| b - a).collect();
    let unpaired = Moments::of(left).variance + Moments::of(right).variance;
    (unpaired > 0.0 && unpaired.is_finite()).then(|| Moments::of(&differences).variance / unpaired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Streams;

    #[test]
    fn moments_of_known_samples() {
        let m = Moments::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((m.count, m.mean, m.min, m.max), (8, 5.0, 2.0, 9.0));
        assert!((m.variance - 32.0 / 7.0).abs() < 1e-14);
        assert!((m.skewness - 0.65625).abs() < 1e-14, "{}", m.skewness);
        assert!((m.excess_kurtosis - (44.5 / 16.0 - 3.0)).abs() < 1e-14, "{}", m.excess_kurtosis);
        assert_eq!(Moments::of(&[]), Moments::default());
        assert_eq!(Moments::of(&[3.5]).variance, 0.0);
        // Equal values have exactly no spread, even when their sum is not exact.
        assert_eq!(Moments::of(&[0.1; 30]).variance, 0.0);
        assert_eq!(Moments::of(&[0.1; 30]).mean, 0.1);
        // A large offset does not eat the variance.
        let shifted: Vec<f64> = (0..100).map(|i| 1e9 + f64::from(i % 2)).collect();
        assert!((Moments::of(&shifted).variance - 25.0 / 99.0).abs() < 1e-9);
    }

    #[test]
    fn the_interval_of_a_mean() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let mut s = Streams::new(1, 0).stream("mean");
        let e = mean(&values, 0.95, &mut s).unwrap();
        assert_eq!(e, mean_student(&values, 0.95).unwrap());
        let wild: Vec<f64> = values.iter().map(|v| v * v * v).collect();
        let e3 = mean(&wild, 0.95, &mut s).unwrap();
        assert_eq!((e3.method, e3.point), (Method::Bootstrap, 302.5));
        assert!(e3.interval.high > mean_student(&wild, 0.95).unwrap().interval.high);
        let half = 2.262_157_162_798_205 * libm::sqrt(55.0 / 6.0 / 10.0);
        assert!((e.point - 5.5).abs() < 1e-15 && (e.half_width() - half).abs() < 1e-11, "{e:?}");
        assert_eq!(mean(&[1.0], 0.95, &mut s), Err(Refusal::TooFewReplications { got: 1, need: 2 }));
        assert_eq!(mean(&[1.0, f64::NAN], 0.95, &mut s), Err(Refusal::NotFinite { replication: 1 }));
        assert!(matches!(mean(&values, 1.0, &mut s), Err(Refusal::BadParameter { .. })));
        let same = mean(&[4.25; 6], 0.95, &mut s).unwrap();
        assert_eq!((same.interval.low, same.interval.high), (4.25, 4.25));
    }

    #[test]
    fn correlation_and_variance_ratio_of_pairs() {
        let a = [1.0, 2.0, 3.0, 4.0];
        assert!((correlation(&a, &[3.0, 5.0, 7.0, 9.0]).unwrap() - 1.0).abs() < 1e-15);
        assert!((correlation(&a, &[9.0, 7.0, 5.0, 3.0]).unwrap() + 1.0).abs() < 1e-15);
        assert_eq!(correlation(&a, &[1.0; 4]), None);
        assert_eq!(correlation(&a, &[1.0; 3]), None);
        assert_eq!(variance_ratio(&a, &a), Some(0.0));
        assert!((variance_ratio(&a, &[4.0, 3.0, 2.0, 1.0]).unwrap() - 2.0).abs() < 1e-15);
        assert_eq!(variance_ratio(&[1.0; 4], &[2.0; 4]), None);
    }
}
