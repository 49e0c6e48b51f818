//! Shares of runs: how often an objective was kept.

use super::special::{beta_quantile, normal_quantile};
use super::{Interval, Refusal};
use serde::{Deserialize, Serialize};

/// A share of runs with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// How many runs did.
    pub hits: u64,
    /// Out of how many.
    pub runs: u64,
    /// Hits over runs.
    pub point: f64,
    /// The interval, within 0 and 1.
    pub interval: Interval,
}

fn checked(hits: u64, runs: u64, level: f64) -> Result<(), Refusal> {
    Refusal::unless_level(level)?;
    if runs == 0 {
        return Err(Refusal::TooFewReplications { got: 0, need: 1 });
    }
    if hits > runs {
        return Err(Refusal::parameter("the hits", "at most the runs"));
    }
    Ok(())
}

/// Wilson's score interval (1927) at `level` for `hits` of `runs`: right on average over true shares, a
/// little more or less than the level at each. It never leaves 0 to 1 and has a width even when all runs agree.
///
/// # Errors
/// Without a run, with more hits than runs, or when `level` is not between 0 and 1.
pub fn wilson(hits: u64, runs: u64, level: f64) -> Result<Share, Refusal> {
    checked(hits, runs, level)?;
    let (n, p) = (runs as f64, hits as f64 / runs as f64);
    let z = normal_quantile(0.5 + level / 2.0);
    let (scale, middle) = (1.0 + z * z / n, p + z * z / (2.0 * n));
    let half = z * libm::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
    let low = if hits == 0 { 0.0 } else { ((middle - half) / scale).max(0.0) };
    let high = if hits == runs { 1.0 } else { ((middle + half) / scale).min(1.0) };
    Ok(Share { hits, runs, point: p, interval: Interval { low, high, level } })
}

/// The exact interval of Clopper and Pearson (1934): it holds the true share with at least the confidence
/// `level`, whatever the share is, and is wider than [`wilson`] for it.
///
/// # Errors
/// As [`wilson`].
pub fn clopper_pearson(hits: u64, runs: u64, level: f64) -> Result<Share, Refusal> {
    checked(hits, runs, level)?;
    let one_sided = f64::midpoint(1.0, level);
    let interval = Interval { low: at_least(hits, runs, one_sided)?, high: at_most(hits, runs, one_sided)?, level };
    Ok(Share { hits, runs, point: hits as f64 / runs as f64, interval })
}

/// The share that is kept at least, with the confidence `confidence` (exact, one-sided): an objective kept in
/// 29 of 29 runs is kept in at least 90 % of all runs with 95 % confidence.
///
/// # Errors
/// As [`wilson`].
pub fn at_least(hits: u64, runs: u64, confidence: f64) -> Result<f64, Refusal> {
    checked(hits, runs, confidence)?;
    Ok(match hits {
        0 => 0.0,
        _ => beta_quantile(hits as f64, (runs - hits) as f64 + 1.0, 1.0 - confidence),
    })
}

/// The share that is kept at most, with the confidence `confidence` (exact, one-sided).
///
/// # Errors
/// As [`wilson`].
pub fn at_most(hits: u64, runs: u64, confidence: f64) -> Result<f64, Refusal> {
    checked(hits, runs, confidence)?;
    Ok(1.0 - at_least(runs - hits, runs, confidence)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_of_known_values() {
        let s = wilson(29, 30, 0.95).unwrap();
        assert!((s.interval.low - 0.833_296).abs() < 1e-5 && (s.interval.high - 0.994_091).abs() < 1e-5, "{s:?}");
        let s = wilson(81, 263, 0.95).unwrap();
        assert!((s.interval.low - 0.2553).abs() < 5e-5 && (s.interval.high - 0.3662).abs() < 5e-5, "{s:?}");
        let s = wilson(0, 20, 0.95).unwrap();
        assert!(s.interval.low == 0.0 && (s.interval.high - 0.1611).abs() < 5e-5, "{s:?}");
        assert_eq!(wilson(20, 20, 0.95).unwrap().interval.high, 1.0);
        assert!(wilson(1, 0, 0.95).is_err() && wilson(3, 2, 0.95).is_err() && wilson(1, 2, 1.5).is_err());
    }

    #[test]
    fn clopper_pearson_of_known_values() {
        let s = clopper_pearson(81, 263, 0.95).unwrap();
        assert!((s.interval.low - 0.2527).abs() < 5e-5 && (s.interval.high - 0.3676).abs() < 5e-5, "{s:?}");
        let s = clopper_pearson(0, 20, 0.95).unwrap();
        assert!(s.interval.low == 0.0 && (s.interval.high - 0.1684).abs() < 5e-5, "{s:?}");
        // All of n: the n-th root of what is left of the confidence.
        let low = at_least(29, 29, 0.95).unwrap();
        assert!((low - libm::pow(0.05, 1.0 / 29.0)).abs() < 1e-12 && low > 0.9);
        assert!(at_least(28, 28, 0.95).unwrap() < 0.9);
        assert!((at_most(0, 29, 0.95).unwrap() - (1.0 - low)).abs() < 1e-12);
        assert_eq!((at_least(0, 5, 0.9).unwrap(), at_most(5, 5, 0.9).unwrap()), (0.0, 1.0));
        assert!(at_most(6, 5, 0.9).is_err());
    }
}
