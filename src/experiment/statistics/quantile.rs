//! Quantiles over replications.
//!
//! The point is the quantile of all runs pooled, which is what a user meets; the mean of each run's own
//! quantile would be something else. Values inside of a run depend on each other, so the error comes from
//! the jackknife over whole runs: run i's pseudo-value is n·θ − (n − 1)·θ₍₋ᵢ₎, with θ₍₋ᵢ₎ the quantile of
//! the pool without run i, and Student's t of the n pseudo-values gives the interval about the point. Runs may
//! hold different numbers of values: the run with all that it holds is the unit that was drawn.

use super::difference::of_sides;
use super::{Confidence, Difference, Estimate, Method, Moments, Refusal, SparseHistogram, correlation, variance_ratio};
use serde::Serialize;

/// The fewest replications that give a quantile an interval.
pub const REPLICATIONS_MINIMUM: usize = 5;

/// The fewest pooled values beyond a quantile.
pub const BEYOND_MINIMUM: u64 = 100;

/// A quantile of the pooled replications of one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PooledQuantile {
    /// Point, interval and standard error, in nanoseconds.
    pub estimate: Estimate,
    /// How many pooled values lie beyond it.
    pub beyond: u64,
    /// The largest share (0 to 1) of the values above the quantile that one replication holds. Near 1/n all
    /// runs say the same; where it is above a half, one run decides the quantile and the interval is
    /// not to be relied upon.
    pub concentration: f64,
    /// The pseudo-value of each replication, in nanoseconds.
    #[serde(skip)]
    pub pseudo_values: Vec<f64>,
}

/// The quantile `q` (strictly between 0 and 1) of the pooled `runs`, with an interval at `level`.
///
/// # Errors
/// Below [`REPLICATIONS_MINIMUM`] runs, with fewer than [`BEYOND_MINIMUM`] pooled values beyond the quantile,
/// when one run holds all values, or when `q` or `level` is not between 0 and 1.
pub fn pooled_quantile(runs: &[SparseHistogram], q: f64, level: f64) -> Result<PooledQuantile, Refusal> {
    Refusal::unless_level(level)?;
    let side = Side::of(runs, q)?;
    let error = Moments::of(&side.pseudo).standard_error();
    let law = Confidence::student(side.point, error, runs.len() as f64 - 1.0, runs.len());
    Ok(PooledQuantile {
        estimate: Estimate {
            point: side.point,
            interval: law.interval(level),
            standard_error: error,
            replications: runs.len(),
            method: jackknife_unless_constant(&law),
        },
        beyond: side.beyond,
        concentration: side.concentration,
        pseudo_values: side.pseudo,
    })
}

/// The difference of the quantiles `q` of two variants whose runs are paired, in nanoseconds: the same run
/// is left out on both sides. Correlation and variance ratio are those of the pseudo-values.
///
/// # Errors
/// As [`pooled_quantile`] for either side, and when the sides have different numbers of runs.
pub fn paired_quantile(
    base: &[SparseHistogram],
    other: &[SparseHistogram],
    q: f64,
    level: f64,
) -> Result<Difference, Refusal> {
    if base.len() != other.len() {
        return Err(Refusal::NotPaired { left: base.len(), right: other.len() });
    }
    Refusal::unless_level(level)?;
    let (a, b) = (Side::of(base, q)?, Side::of(other, q)?);
    let differences: Vec<f64> = a.pseudo.iter().zip(&b.pseudo).map(|(x, y)| y - x).collect();
    let error = Moments::of(&differences).standard_error();
    let law = Confidence::student(b.point - a.point, error, base.len() as f64 - 1.0, base.len());
    Ok(Difference {
        base: a.point,
        other: b.point,
        difference: b.point - a.point,
        interval: law.interval(level),
        standard_error: error,
        p: law.p_of(0.0),
        method: jackknife_unless_constant(&law),
        replications: (base.len(), other.len()),
        correlation: correlation(&a.pseudo, &b.pseudo),
        variance_ratio: variance_ratio(&a.pseudo, &b.pseudo),
        skewness: Moments::of(&differences).skewness,
        confidence: law,
    })
}

/// The difference of the quantiles `q` of two variants with independent runs, in nanoseconds: Welch's t of
/// the pseudo-values of both sides.
///
/// # Errors
/// As [`pooled_quantile`] for either side.
pub fn unpaired_quantile(
    base: &[SparseHistogram],
    other: &[SparseHistogram],
    q: f64,
    level: f64,
) -> Result<Difference, Refusal> {
    Refusal::unless_level(level)?;
    let (a, b) = (Side::of(base, q)?, Side::of(other, q)?);
    let moments = (Moments::of(&a.pseudo), Moments::of(&b.pseudo));
    Ok(of_sides(&moments.0, &moments.1, (a.point, b.point), level, Method::Jackknife))
}

fn jackknife_unless_constant(law: &Confidence) -> Method {
    if law.method() == Method::Constant { Method::Constant } else { Method::Jackknife }
}

/// One variant's pooled quantile with its pseudo-values.
struct Side {
    point: f64,
    pseudo: Vec<f64>,
    beyond: u64,
    concentration: f64,
}

impl Side {
    fn of(runs: &[SparseHistogram], q: f64) -> Result<Self, Refusal> {
        if !(q > 0.0 && q < 1.0) {
            return Err(Refusal::parameter("the quantile", "between 0 and 1"));
        }
        let n = runs.len();
        if n < REPLICATIONS_MINIMUM {
            return Err(Refusal::TooFewReplications { got: n, need: REPLICATIONS_MINIMUM });
        }
        let pool = SparseHistogram::pool(runs);
        let beyond = pool.beyond(q);
        let too_few = Refusal::TooFewBeyond { quantile: q, got: beyond, need: BEYOND_MINIMUM };
        if beyond < BEYOND_MINIMUM {
            return Err(too_few);
        }
        let point = pool.quantile(q).ok_or(too_few)?;
        let pseudo = runs
            .iter()
            .enumerate()
            .map(|(replication, run)| {
                let without = pool.quantile_without(run, q).ok_or(Refusal::OneHoldsAll { replication })?;
                // About the point, so that runs that change nothing give exactly the point.
                Ok(point + (n - 1) as f64 * (point - without))
            })
            .collect::<Result<Vec<f64>, Refusal>>()?;
        let above = |run: &SparseHistogram| {
            let share = run.share_at_most(point as u64).unwrap_or(0.0);
            run.count() as f64 * if q < 0.5 { share } else { 1.0 - share }
        };
        let (largest, all) = runs.iter().map(above).fold((0.0_f64, 0.0), |(most, sum), x| (most.max(x), sum + x));
        Ok(Self { point, pseudo, beyond, concentration: if all > 0.0 { largest / all } else { 0.0 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(n: u64, of: impl Fn(u64, u64) -> u64) -> Vec<SparseHistogram> {
        (0..n).map(|run| SparseHistogram::from_counts((0..2_000).map(|i| (of(run, i), 1)))).collect()
    }

    #[test]
    fn the_point_is_the_quantile_of_the_pool() {
        // Run r holds 0..2000 shifted by 1000·r: the pool is a staircase, its median is known.
        let set = runs(5, |r, i| 1_000_000 + 1_000 * (i + 1_000 * r));
        let got = pooled_quantile(&set, 0.5, 0.95).unwrap();
        assert!((got.estimate.point - 4e6).abs() < 3e4, "{}", got.estimate.point);
        assert_eq!((got.beyond, got.pseudo_values.len()), (5_000, 5));
        assert!(got.estimate.interval.contains(4e6));
        // The last run lies wholly above the median, and holds two of the five thousand values above it.
        assert!((got.concentration - 0.4).abs() < 0.01, "{}", got.concentration);
    }

    #[test]
    fn a_pair_of_copies_differs_by_exactly_nothing() {
        let set = runs(6, |r, i| 5_000_000 + i * i * (r + 7));
        let d = paired_quantile(&set, &set, 0.9, 0.95).unwrap();
        assert_eq!((d.difference, d.interval.low, d.interval.high, d.p), (0.0, 0.0, 0.0, 1.0));
        assert_eq!(d.method, Method::Constant);
        assert!((d.correlation.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(d.variance_ratio, Some(0.0));
    }

    #[test]
    fn a_common_shift_is_sharper_in_pairs() {
        let base = runs(8, |r, i| 10_000_000 + 2_000 * i + 300_000 * (r * 5 % 8));
        let other = runs(8, |r, i| 10_500_000 + 2_000 * i + 300_000 * (r * 5 % 8));
        let (pairs, apart) = (
            paired_quantile(&base, &other, 0.95, 0.95).unwrap(),
            unpaired_quantile(&base, &other, 0.95, 0.95).unwrap(),
        );
        assert_eq!(pairs.difference, apart.difference);
        assert!((pairs.difference - 5e5).abs() < 2e4, "{}", pairs.difference);
        assert!(pairs.standard_error < apart.standard_error / 5.0, "{} {}", pairs.standard_error, apart.standard_error);
    }

    #[test]
    fn too_little_is_refused_with_the_reason() {
        let set = runs(5, |_, i| 1_000 + i);
        assert_eq!(
            pooled_quantile(&set[..4], 0.5, 0.95),
            Err(Refusal::TooFewReplications { got: 4, need: REPLICATIONS_MINIMUM })
        );
        assert_eq!(
            pooled_quantile(&set, 0.999, 0.95),
            Err(Refusal::TooFewBeyond { quantile: 0.999, got: 10, need: BEYOND_MINIMUM })
        );
        assert!(pooled_quantile(&set, 0.99, 0.95).is_ok());
        let mut alone = vec![SparseHistogram::new(); 5];
        alone[2] = set[0].clone();
        assert_eq!(pooled_quantile(&alone, 0.5, 0.95), Err(Refusal::OneHoldsAll { replication: 2 }));
        assert!(pooled_quantile(&set, 1.0, 0.95).is_err() && pooled_quantile(&set, f64::NAN, 0.95).is_err());
        assert!(matches!(paired_quantile(&set, &set[..4], 0.5, 0.95), Err(Refusal::NotPaired { left: 5, right: 4 })));
    }
}
