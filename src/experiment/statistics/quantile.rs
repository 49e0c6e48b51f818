//! Quantiles over replications.
//!
//! The point is the quantile of all runs pooled, which is what a user meets; the mean of each run's own
//! quantile would be something else. Values inside of a run depend on each other, so the error comes from
//! whole runs. Run i holds e_i = (its values above x) − (1 − q) · (its values); at the true quantile x the
//! mean of the e_i is zero, and the e_i are independent. Runs may hold different numbers of values.
//!
//! For one variant the interval holds each x at which a t-test of the e_i does not reject zero (Woodruff 1952,
//! for clusters). For a difference each run's influence on the pooled quantile is e_i times the slope of the
//! quantile function over the mean number of values: the infinitesimal jackknife (Jaeckel 1972), with the slope
//! taken across the interval and not across one run. The jackknife that leaves one run out takes the slope
//! so locally that for p99 of 30 runs with 120 values beyond its 95 % interval held the truth in only 88 % of
//! experiments.

use super::bootstrap::Studentised;
use super::difference::{is_tame, of_sides};
use super::special::student_quantile;
use super::{BOOTSTRAP_MINIMUM, RESAMPLES};
use super::{Confidence, Difference, Estimate, Interval, Method, Moments, Refusal, SparseHistogram};
use super::{correlation, variance_ratio};
use crate::kernel::Stream;
use serde::Serialize;

/// The fewest replications that give a quantile an interval.
pub const REPLICATIONS_MINIMUM: usize = BOOTSTRAP_MINIMUM;

/// The fewest pooled values beyond a quantile.
pub const BEYOND_MINIMUM: u64 = 100;

/// A quantile of the pooled replications of one variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PooledQuantile {
    /// Point, interval and standard error, in nanoseconds.
    pub estimate: Estimate,
    /// How many pooled values lie beyond it.
    pub beyond: u64,
    /// The largest share (0 to 1) of the values beyond the quantile that one replication holds. Near 1/n all
    /// runs say the same; where it is above a half, one run decides the quantile, and the interval is
    /// not to be relied upon.
    pub concentration: f64,
    /// The influence of each replication on the point, in nanoseconds; their mean is zero.
    #[serde(skip)]
    pub influences: Vec<f64>,
}

/// The quantile `q` (strictly between 0 and 1) of the pooled `runs`, with an interval at `level`: Student's t
/// of the runs, or the studentised bootstrap with resamples from `stream` when they are few or wild as in
/// [`super::paired`].
///
/// # Errors
/// Below [`REPLICATIONS_MINIMUM`] runs, with fewer than [`BEYOND_MINIMUM`] pooled values beyond the quantile,
/// when one run holds all values, or when `q` or `level` is not between 0 and 1.
pub fn pooled_quantile(
    runs: &[SparseHistogram],
    q: f64,
    level: f64,
    stream: &mut Stream,
) -> Result<PooledQuantile, Refusal> {
    Refusal::unless_level(level)?;
    let side = Side::of(runs, q)?;
    let m = Moments::of(&side.influences);
    let (method, ends) = side.ends(q, level, stream);
    Ok(PooledQuantile {
        estimate: Estimate {
            point: side.point,
            interval: Interval { low: ends.0, high: ends.1, level },
            standard_error: m.standard_error(),
            replications: runs.len(),
            method,
        },
        beyond: side.beyond,
        concentration: side.concentration,
        influences: side.influences,
    })
}

/// The difference of the quantiles `q` of two variants whose runs are paired, in nanoseconds, from the paired
/// difference of the influences of runs: Student's t, or the studentised bootstrap with resamples from
/// `stream`, as [`super::paired`] chooses. Correlation and variance ratio are those of the influences.
///
/// # Errors
/// As [`pooled_quantile`] for either side, and when the sides have different numbers of runs.
pub fn paired_quantile(
    base: &[SparseHistogram],
    other: &[SparseHistogram],
    q: f64,
    level: f64,
    stream: &mut Stream,
) -> Result<Difference, Refusal> {
    if base.len() != other.len() {
        return Err(Refusal::NotPaired { left: base.len(), right: other.len() });
    }
    Refusal::unless_level(level)?;
    let (a, b) = (Side::of(base, q)?, Side::of(other, q)?);
    let difference = b.point - a.point;
    let each: Vec<f64> = a.influences.iter().zip(&b.influences).map(|(x, y)| difference + (y - x)).collect();
    let m = Moments::of(&each);
    let law = if m.variance == 0.0 || is_tame(&each) {
        Confidence::student(difference, m.standard_error(), m.count as f64 - 1.0, m.count)
    } else {
        Confidence::resampled(Studentised::of(&each, RESAMPLES, stream).about(difference))
    };
    Ok(Difference {
        base: a.point,
        other: b.point,
        difference,
        interval: law.interval(level),
        standard_error: m.standard_error(),
        p: law.p_of(0.0),
        method: named(law.method()),
        replications: (base.len(), other.len()),
        correlation: correlation(&a.influences, &b.influences),
        variance_ratio: variance_ratio(&a.influences, &b.influences),
        skewness: m.skewness,
        confidence: law,
    })
}

/// The difference of the quantiles `q` of two variants with independent runs, in nanoseconds: Welch's t of
/// the influences of runs on both sides.
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
    let moments = (Moments::of(&a.influences), Moments::of(&b.influences));
    Ok(of_sides(&moments.0, &moments.1, (a.point, b.point), level, Method::Jackknife))
}

fn named(method: Method) -> Method {
    match method {
        Method::Student => Method::Jackknife,
        Method::Bootstrap => Method::JackknifeBootstrap,
        other => other,
    }
}

/// One variant's pooled quantile with what each run does to it.
struct Side {
    point: f64,
    influences: Vec<f64>,
    beyond: u64,
    concentration: f64,
    tables: Vec<Table>,
    /// All values lie between these.
    range: (f64, f64),
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
        if let Some(replication) = runs.iter().position(|run| run.count() == pool.count()) {
            return Err(Refusal::OneHoldsAll { replication });
        }
        let point = pool.quantile(q).ok_or(too_few)?;
        let tables: Vec<Table> = runs.iter().map(Table::of).collect();
        let excess = excesses(&tables, point, q);
        let per_run = pool.count() as f64 / n as f64;
        // The window of the slope, in probability: 1.4 standard errors of the share above the point to either
        // side, and no less than the next values. Twice as wide it would lay a chord across the bend of the
        // tail, and tests would reject in 4.3 % of cases what they should reject in 5 %.
        let share = Moments::of(&excess).standard_error() / per_run;
        let one = 1.0 / pool.count() as f64;
        let reach = (1.4 * share).max(one);
        let (from, to) = ((q - reach).max(one), (q + reach).min(1.0 - one));
        let at = |p| pool.quantile(p).unwrap_or(point);
        let slope = (at(to) - at(from)) / (to - from);
        let beyond_of = |t: &Table| if q < 0.5 { t.at_most(point) } else { t.count - t.at_most(point) };
        let (largest, all) = tables.iter().map(beyond_of).fold((0.0_f64, 0.0), |(most, sum), x| (most.max(x), sum + x));
        let range = pool.bins().fold((f64::INFINITY, 0.0_f64), |(low, high), (first, width, _)| {
            (low.min(first as f64 - 0.5), high.max(first as f64 - 0.5 + width as f64))
        });
        Ok(Self {
            point,
            influences: excess.iter().map(|e| e / per_run * slope).collect(),
            beyond,
            concentration: if all > 0.0 { largest / all } else { 0.0 },
            tables,
            range,
        })
    }

    /// The ends of the interval: where t of the excesses reaches its critical values.
    fn ends(&self, q: f64, level: f64, stream: &mut Stream) -> (Method, (f64, f64)) {
        let excess = excesses(&self.tables, self.point, q);
        let m = Moments::of(&excess);
        if m.variance == 0.0 {
            return (Method::Constant, (self.point, self.point));
        }
        let (method, (low, high)) = if is_tame(&excess) {
            let t = student_quantile(excess.len() as f64 - 1.0, 0.5 + level / 2.0);
            (Method::Jackknife, (-t, t))
        } else {
            (Method::JackknifeBootstrap, Studentised::of(&excess, RESAMPLES, stream).critical(level))
        };
        let t_at = |x: f64| {
            let m = Moments::of(&excesses(&self.tables, x, q));
            let error = m.standard_error();
            if error > 0.0 { m.mean / error } else { m.mean * f64::INFINITY }
        };
        // The larger x, the fewer values above it, and the lower t.
        let reaches = |t: f64, mut from: f64, mut to: f64| {
            for _ in 0..60 {
                let middle = f64::midpoint(from, to);
                if t_at(middle) > t {
                    from = middle;
                } else {
                    to = middle;
                }
            }
            f64::midpoint(from, to)
        };
        (method, (reaches(high, self.range.0, self.point).max(0.0), reaches(low, self.point, self.range.1)))
    }
}

/// How many values of each run lie above `x`, less the share 1 − q of all its values.
fn excesses(tables: &[Table], x: f64, q: f64) -> Vec<f64> {
    tables.iter().map(|t| q * t.count - t.at_most(x)).collect()
}

/// A run with its counts added up, for fast look-ups.
struct Table {
    /// Lower edge of a bucket, its width, how many values lie below it, how many in it.
    rows: Vec<(f64, f64, f64, f64)>,
    count: f64,
}

impl Table {
    fn of(run: &SparseHistogram) -> Self {
        let mut below = 0.0;
        let rows = run
            .bins()
            .map(|(low, width, count)| {
                let row = (low as f64 - 0.5, width as f64, below, count as f64);
                below += count as f64;
                row
            })
            .collect();
        Self { rows, count: below }
    }

    /// How many values are at most `x`, those of a bucket spread evenly.
    fn at_most(&self, x: f64) -> f64 {
        match self.rows.partition_point(|row| row.0 <= x).checked_sub(1).and_then(|i| self.rows.get(i)) {
            None => 0.0,
            Some((low, width, below, count)) => below + count * ((x - low) / width).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Streams;

    fn stream() -> Stream {
        Streams::new(6, 0).stream("quantile")
    }

    fn runs(n: u64, of: impl Fn(u64, u64) -> u64) -> Vec<SparseHistogram> {
        (0..n).map(|run| SparseHistogram::from_counts((0..2_000).map(|i| (of(run, i), 1)))).collect()
    }

    #[test]
    fn the_point_is_the_quantile_of_the_pool() {
        // Run r holds 0..2000 shifted by 1000·r: the pool is a staircase, its median is known.
        let set = runs(5, |r, i| 1_000_000 + 1_000 * (i + 1_000 * r));
        let got = pooled_quantile(&set, 0.5, 0.95, &mut stream()).unwrap();
        assert!((got.estimate.point - 4e6).abs() < 3e4, "{}", got.estimate.point);
        assert_eq!((got.beyond, got.influences.len()), (5_000, 5));
        assert!(got.estimate.interval.contains(4e6));
        // The last run lies wholly above the median, and holds two of the five thousand values above it.
        assert!((got.concentration - 0.4).abs() < 0.01, "{}", got.concentration);
    }

    #[test]
    fn a_pair_of_copies_differs_by_exactly_nothing() {
        let set = runs(6, |r, i| 5_000_000 + i * i * (r + 7));
        let d = paired_quantile(&set, &set, 0.9, 0.95, &mut stream()).unwrap();
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
            paired_quantile(&base, &other, 0.95, 0.95, &mut stream()).unwrap(),
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
            pooled_quantile(&set[..4], 0.5, 0.95, &mut stream()),
            Err(Refusal::TooFewReplications { got: 4, need: REPLICATIONS_MINIMUM })
        );
        assert_eq!(
            pooled_quantile(&set, 0.999, 0.95, &mut stream()),
            Err(Refusal::TooFewBeyond { quantile: 0.999, got: 10, need: BEYOND_MINIMUM })
        );
        assert!(pooled_quantile(&set, 0.99, 0.95, &mut stream()).is_ok());
        let mut alone = vec![SparseHistogram::new(); 5];
        alone[2] = set[0].clone();
        assert_eq!(pooled_quantile(&alone, 0.5, 0.95, &mut stream()), Err(Refusal::OneHoldsAll { replication: 2 }));
        assert!(
            pooled_quantile(&set, 1.0, 0.95, &mut stream()).is_err()
                && pooled_quantile(&set, f64::NAN, 0.95, &mut stream()).is_err()
        );
        assert!(matches!(
            paired_quantile(&set, &set[..4], 0.5, 0.95, &mut stream()),
            Err(Refusal::NotPaired { left: 5, right: 4 })
        ));
    }
}
