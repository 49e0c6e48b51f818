//! How values lie over replications: quantiles at each instant, and of one value a run.

use crate::output::Trend;

/// The quantile `q` (0 to 1) of ascending values, between neighbours in proportion; `None` of nothing.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (a, b) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(a + (b - a) * (place - below as f64))
}

/// From this many runs on, the outer band leaves the outermost twentieth out on either side.
pub(super) const BANDS_FROM: usize = 20;

/// One instant of many runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Instant {
    /// Seconds since the start.
    pub(super) time: f64,
    /// 5 to 95 % of the runs, or all of them when they are few.
    pub(super) outer: (f64, f64),
    /// 25 to 75 % of the runs.
    pub(super) inner: (f64, f64),
    /// The median run.
    pub(super) median: f64,
}

/// The fan of a series over runs; where no run has a value, every figure is not a number, so that lines break there.
pub(super) fn fan<'a>(runs: impl Iterator<Item = &'a Trend> + Clone) -> Vec<Instant> {
    let Some(first) = runs.clone().find(|t| !t.values.is_empty()) else { return Vec::new() };
    let length = runs.clone().map(|t| t.values.len()).max().unwrap_or(0);
    let count = runs.clone().count();
    let (low, high) = if count >= BANDS_FROM { (0.05, 0.95) } else { (0.0, 1.0) };
    (0..length)
        .map(|i| {
            let mut at: Vec<f64> = runs.clone().filter_map(|t| t.values.get(i).copied().flatten()).collect();
            at.retain(|x| x.is_finite());
            at.sort_by(f64::total_cmp);
            let q = |q| quantile(&at, q).unwrap_or(f64::NAN);
            Instant {
                time: first.start_s + (i as f64 + 0.5) * first.step_s,
                outer: (q(low), q(high)),
                inner: (q(0.25), q(0.75)),
                median: q(0.5),
            }
        })
        .collect()
}

/// What the outer band of so many runs shows.
pub(super) fn outer_band(runs: usize) -> &'static str {
    if runs >= BANDS_FROM { "5 to 95 % of the runs" } else { "least to most of the runs" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
    }

    #[test]
    fn a_fan_of_few_runs_goes_from_the_least_to_the_most() {
        let trend =
            |k: f64| Trend { start_s: 10.0, step_s: 20.0, max: None, values: vec![Some(k), None, Some(2.0 * k)] };
        let few: Vec<Trend> = (0..5).map(|k| trend(f64::from(k))).collect();
        let got = fan(few.iter());
        assert_eq!((got[0].time, got[0].outer, got[0].median), (20.0, (0.0, 4.0), 2.0));
        assert!(got[1].median.is_nan());
        let many: Vec<Trend> = (0..21).map(|k| trend(f64::from(k))).collect();
        assert_eq!(fan(many.iter())[2].outer, (2.0, 38.0));
        assert_eq!(outer_band(21), "5 to 95 % of the runs");
    }
}
