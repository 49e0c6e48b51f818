//! Differences of means between two variants.

use super::bootstrap::Studentised;
use super::{BOOTSTRAP_MINIMUM, Confidence, Estimate, Interval, Method, Moments, RESAMPLES, Refusal};
use super::{correlation, variance_ratio};
use crate::kernel::Stream;
use serde::Serialize;

/// A difference between two variants, other minus base.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The figure of the base.
    pub base: f64,
    /// The figure of the other.
    pub other: f64,
    /// Other minus base.
    pub difference: f64,
    /// Its interval at the confidence that was asked for.
    pub interval: Interval,
    /// Its standard error.
    pub standard_error: f64,
    /// Two-sided p-value of the hypothesis that there is no difference; not corrected for other figures.
    pub p: f64,
    /// How interval and p-value were made.
    pub method: Method,
    /// Replications of the base and of the other; equal when paired.
    pub replications: (usize, usize),
    /// Correlation of the pairs; `None` when not paired, or when a side does not vary.
    pub correlation: Option<f64>,
    /// Variance of the paired difference as a share of the unpaired one (see [`variance_ratio`]).
    pub variance_ratio: Option<f64>,
    /// Skewness of the differences; 0 where they do not vary, and when not paired.
    pub skewness: f64,
    /// The law from which interval and p-value were read: ask it for other levels and for equivalence.
    #[serde(skip)]
    pub confidence: Confidence,
}

/// From how many pairs on Student's t is used, unless the differences are [`is_wild`].
pub const STUDENT_FROM: usize = 10;

/// Absolute skewness above which a sample is wild.
pub const WILD_SKEWNESS: f64 = 0.6;

/// Whether a sample is too skewed for Student's t: |g₁| above [`WILD_SKEWNESS`]. An exponential law has 2.
/// Heavy tails are no reason: when they are as heavy on both sides Student's t errs to the safe side, and
/// the bootstrap does not.
#[must_use]
pub fn is_wild(values: &[f64]) -> bool {
    Moments::of(values).skewness.abs() > WILD_SKEWNESS
}

/// Whether Student's t is used for such a sample.
pub(super) fn is_tame(values: &[f64]) -> bool {
    values.len() < BOOTSTRAP_MINIMUM || (values.len() >= STUDENT_FROM && !is_wild(values))
}

/// The paired difference of means: value i of `other` minus value i of `base`, which ran with the same draws.
///
/// Student's t from [`STUDENT_FROM`] pairs on unless the differences are wild ([`is_wild`]), else the studentised
/// bootstrap with resamples from `stream`; below [`BOOTSTRAP_MINIMUM`] pairs Student's t again, which is
/// then all there is. Without any difference in any pair the interval is [0, 0] and p is 1.
///
/// # Errors
/// Below two pairs, when the sides differ in length, a value is not finite, or `level` is not between 0 and 1.
pub fn paired(base: &[f64], other: &[f64], level: f64, stream: &mut Stream) -> Result<Difference, Refusal> {
    if is_tame(&differences(base, other)?) {
        paired_student(base, other, level)
    } else {
        paired_bootstrap(base, other, level, stream)
    }
}

/// The paired difference of means by Student's t, whatever the differences look like.
///
/// # Errors
/// As [`paired`].
pub fn paired_student(base: &[f64], other: &[f64], level: f64) -> Result<Difference, Refusal> {
    let m = Moments::of(&differences(base, other)?);
    Refusal::unless_level(level)?;
    let law = Confidence::student(m.mean, m.standard_error(), m.count as f64 - 1.0, m.count);
    Ok(of_pairs(base, other, &m, law, level))
}

/// The paired difference of means by the studentised bootstrap, whatever the differences look like; the law of a
/// constant when they do not vary.
///
/// # Errors
/// As [`paired`], and below [`BOOTSTRAP_MINIMUM`] pairs.
pub fn paired_bootstrap(base: &[f64], other: &[f64], level: f64, stream: &mut Stream) -> Result<Difference, Refusal> {
    let differences = differences(base, other)?;
    Refusal::unless_usable(&differences, BOOTSTRAP_MINIMUM)?;
    Refusal::unless_level(level)?;
    let m = Moments::of(&differences);
    let law = if m.variance > 0.0 {
        Confidence::resampled(Studentised::of(&differences, RESAMPLES, stream))
    } else {
        Confidence::student(m.mean, 0.0, m.count as f64 - 1.0, m.count)
    };
    Ok(of_pairs(base, other, &m, law, level))
}

fn differences(base: &[f64], other: &[f64]) -> Result<Vec<f64>, Refusal> {
    if base.len() != other.len() {
        return Err(Refusal::NotPaired { left: base.len(), right: other.len() });
    }
    Refusal::unless_usable(base, 2)?;
    Refusal::unless_usable(other, 2)?;
    let differences: Vec<f64> = base.iter().zip(other).map(|(a, b)| b - a).collect();
    Refusal::unless_usable(&differences, 2)?;
    Ok(differences)
}

fn of_pairs(base: &[f64], other: &[f64], m: &Moments, law: Confidence, level: f64) -> Difference {
    Difference {
        base: Moments::of(base).mean,
        other: Moments::of(other).mean,
        difference: m.mean,
        interval: law.interval(level),
        standard_error: m.standard_error(),
        p: law.p_of(0.0),
        method: law.method(),
        replications: (base.len(), other.len()),
        correlation: correlation(base, other),
        variance_ratio: variance_ratio(base, other),
        skewness: m.skewness,
        confidence: law,
    }
}

/// The difference of means of two independent sets of replications: Welch's t with the degrees of freedom
/// of Satterthwaite.
///
/// # Errors
/// Below two values on a side, when a value is not finite, or when `level` is not between 0 and 1.
pub fn welch(base: &[f64], other: &[f64], level: f64) -> Result<Difference, Refusal> {
    Refusal::unless_usable(base, 2)?;
    Refusal::unless_usable(other, 2)?;
    Refusal::unless_level(level)?;
    let (a, b) = (Moments::of(base), Moments::of(other));
    Ok(of_sides(&a, &b, (a.mean, b.mean), level, Method::Welch))
}

/// Welch's difference of two points whose errors come from the moments of both sides.
pub(super) fn of_sides(a: &Moments, b: &Moments, points: (f64, f64), level: f64, method: Method) -> Difference {
    let (va, vb) = (a.variance / a.count as f64, b.variance / b.count as f64);
    let error = libm::sqrt(va + vb);
    let (na, nb) = (a.count as f64, b.count as f64);
    let df = if error > 0.0 {
        // Shares of the variance, so that its square can neither overflow nor vanish.
        let (sa, sb) = (va / (va + vb), vb / (va + vb));
        1.0 / (sa * sa / (na - 1.0) + sb * sb / (nb - 1.0))
    } else {
        na.min(nb) - 1.0
    };
    let law = Confidence::student(points.1 - points.0, error, df, a.count.min(b.count));
    Difference {
        base: points.0,
        other: points.1,
        difference: points.1 - points.0,
        interval: law.interval(level),
        standard_error: error,
        p: law.p_of(0.0),
        method: if error > 0.0 { method } else { Method::Constant },
        replications: (a.count, b.count),
        correlation: None,
        variance_ratio: None,
        skewness: 0.0,
        confidence: law,
    }
}

/// The ratio of means, other over base, of paired replications: jackknife of its logarithm with Student's t,
/// so that the interval is above zero and the ratio turned round has the interval turned round. A ratio of
/// 0.82 is a change of −18 %.
///
/// # Errors
/// As [`paired`], and when a mean, or a mean without one replication, is not above zero.
pub fn ratio_of_means(base: &[f64], other: &[f64], level: f64) -> Result<Estimate, Refusal> {
    differences(base, other)?;
    Refusal::unless_level(level)?;
    let n = base.len() as f64;
    let (a, b): (f64, f64) = (base.iter().sum(), other.iter().sum());
    let log_ratio = |a: f64, b: f64| {
        let ratio = b / a;
        (a > 0.0 && b > 0.0 && ratio > 0.0 && ratio.is_finite()).then(|| libm::log(ratio)).ok_or(Refusal::NotPositive)
    };
    let whole = log_ratio(a, b)?;
    let pseudo = base
        .iter()
        .zip(other)
        .map(|(x, y)| Ok(n * whole - (n - 1.0) * log_ratio(a - x, b - y)?))
        .collect::<Result<Vec<f64>, Refusal>>()?;
    let error = Moments::of(&pseudo).standard_error();
    let law = Confidence::student(whole, error, n - 1.0, base.len());
    let logs = law.interval(level);
    let point = libm::exp(whole);
    Ok(Estimate {
        point,
        interval: Interval { low: libm::exp(logs.low), high: libm::exp(logs.high), level },
        standard_error: point * error,
        replications: base.len(),
        method: if error > 0.0 { Method::Jackknife } else { Method::Constant },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Streams;

    fn stream() -> Stream {
        Streams::new(5, 0).stream("difference")
    }

    #[test]
    fn welch_of_a_worked_example() {
        // t = 2.94924 with 27.3116 degrees of freedom, p from a numerical integral of the density.
        let a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
        let b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 31.3];
        let d = welch(&a, &b, 0.95).unwrap();
        assert!((d.difference - 3.293_333_333).abs() < 1e-8, "{}", d.difference);
        assert!((d.difference / d.standard_error - 2.949_236_837).abs() < 1e-8, "{}", d.difference / d.standard_error);
        assert!((d.p - 0.006_460_408).abs() < 1e-8, "{}", d.p);
        assert_eq!((d.method, d.correlation, d.replications), (Method::Welch, None, (15, 15)));
    }

    #[test]
    fn the_paired_test_of_a_worked_example() {
        // Student's own sleep data (1908): t = 4.0621, p = 0.002833, interval 0.70 to 2.46.
        let a = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let b = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let d = paired_student(&a, &b, 0.95).unwrap();
        assert!((d.difference / d.standard_error - 4.062_13).abs() < 1e-5);
        assert!((d.p - 0.002_833).abs() < 1e-6, "{}", d.p);
        assert!((d.interval.low - 0.700_114).abs() < 1e-6 && (d.interval.high - 2.459_886).abs() < 1e-6);
        assert!((d.correlation.unwrap() - 0.795_17).abs() < 1e-5);
        let boot = paired(&a, &b, 0.95, &mut stream()).unwrap();
        assert!(boot.method == Method::Bootstrap && (boot.skewness - 1.472).abs() < 1e-3, "{}", boot.skewness);
        assert!(boot.interval.low > 0.5 && boot.interval.high < 3.6, "{:?}", boot.interval);
        assert_eq!(boot.p < 0.05, !boot.interval.contains(0.0));
    }

    #[test]
    fn ten_tame_pairs_get_student_and_wild_ones_the_bootstrap() {
        let base: Vec<f64> = (0..20).map(f64::from).collect();
        let tame: Vec<f64> = (0..20).map(|i| f64::from(i) + f64::from(i * 7 % 5)).collect();
        let method = |other: &[f64], n: usize| paired(&base[..n], &other[..n], 0.95, &mut stream()).unwrap().method;
        assert_eq!((method(&tame, 20), method(&tame, 10)), (Method::Student, Method::Student));
        let mut wild = tame.clone();
        wild[3] += 60.0;
        assert_eq!((method(&wild, 20), method(&tame, 9)), (Method::Bootstrap, Method::Bootstrap));
        assert_eq!(method(&wild, 4), Method::Student);
    }

    #[test]
    fn pairs_without_difference_are_exactly_zero() {
        let values: Vec<f64> = (0..12).map(|i| 0.1 * f64::from(i)).collect();
        for n in [2, 5, 12] {
            let d = paired(&values[..n], &values[..n], 0.95, &mut stream()).unwrap();
            assert_eq!((d.difference, d.interval.low, d.interval.high, d.p), (0.0, 0.0, 0.0, 1.0));
            assert_eq!((d.method, d.variance_ratio), (Method::Constant, Some(0.0)));
        }
        // One and the same difference in all pairs is certain in size, but only as sure as its count.
        let more: Vec<f64> = (0..12).map(|i| f64::from(i) + 2.0).collect();
        let base: Vec<f64> = (0..12).map(f64::from).collect();
        let d = paired(&base, &more, 0.95, &mut stream()).unwrap();
        assert_eq!((d.interval.low, d.interval.high, d.p), (2.0, 2.0, 1.0 / 2048.0));
    }

    #[test]
    fn what_cannot_be_paired_is_refused() {
        let a = [1.0, 2.0, 3.0];
        assert_eq!(paired(&a, &a[..2], 0.95, &mut stream()).unwrap_err(), Refusal::NotPaired { left: 3, right: 2 });
        assert_eq!(
            paired(&a, &[1.0, f64::INFINITY, 2.0], 0.95, &mut stream()).unwrap_err(),
            Refusal::NotFinite { replication: 1 }
        );
        assert_eq!(
            paired(&a[..1], &a[..1], 0.95, &mut stream()).unwrap_err(),
            Refusal::TooFewReplications { got: 1, need: 2 }
        );
        assert!(matches!(paired_student(&a, &a, 0.0), Err(Refusal::BadParameter { .. })));
    }

    #[test]
    fn a_ratio_turned_round_has_its_interval_turned_round() {
        let a = [10.0, 12.0, 9.0, 11.0, 13.0];
        let b = [8.0, 9.5, 7.0, 9.0, 10.5];
        let (r, back) = (ratio_of_means(&a, &b, 0.95).unwrap(), ratio_of_means(&b, &a, 0.95).unwrap());
        assert!((r.point - 0.8).abs() < 1e-12);
        assert!((r.interval.low * back.interval.high - 1.0).abs() < 1e-12);
        assert!(r.interval.high < 0.85 && r.interval.low > 0.75, "{r:?}");
        assert_eq!(ratio_of_means(&[0.0, 0.0], &[1.0, 2.0], 0.95).unwrap_err(), Refusal::NotPositive);
    }
}
