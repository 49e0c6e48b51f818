//! Where the warm-up of a steady run ends.

use serde::{Deserialize, Serialize};

/// Values in one batch.
const BATCH: usize = 5;
/// The fewest batches in which a warm-up is looked for.
const BATCHES_MINIMUM: usize = 10;

/// What MSER-5 says about a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// This many values at the beginning, a multiple of five, are warm-up.
    After(usize),
    /// The best truncation would remove half of the series or more: the run is too short, or not steady.
    NotFound,
    /// Fewer than fifty values, or one of them is not finite.
    TooShort,
}

/// The warm-up of a series of interval means by MSER-5 (White, Cobb and Spratt 2000): of all truncations of
/// up to half the series, in steps of five values, the one whose remaining batch means have the smallest
/// squared standard error. The first of equals is taken. What is left of an incomplete last batch is ignored.
///
/// Only for runs with constant rate and capacity: in any other run the change itself would be taken for
/// warm-up.
#[must_use]
pub fn mser5(series: &[f64]) -> Truncation {
    let batches: Vec<f64> = series.chunks_exact(BATCH).map(|c| c.iter().sum::<f64>() / BATCH as f64).collect();
    if batches.len() < BATCHES_MINIMUM || batches.iter().any(|b| !b.is_finite()) {
        return Truncation::TooShort;
    }
    let half = batches.len() / 2;
    let mut best = (f64::INFINITY, half);
    // Mean and squared deviations of the end of the series, grown backwards one batch at a time.
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for (at, &batch) in batches.iter().enumerate().rev() {
        count += 1.0;
        let away = batch - mean;
        mean += away / count;
        squares += away * (batch - mean);
        // Later positions come first: an earlier one as good replaces them.
        let error = squares / (count * count);
        if at <= half && error <= best.0 {
            best = (error, at);
        }
    }
    if best.1 >= half { Truncation::NotFound } else { Truncation::After(best.1 * BATCH) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{StreamExt, Streams};

    #[test]
    fn a_step_is_cut_where_it_ends() {
        let mut s = Streams::new(3, 0).stream("warm-up");
        let series: Vec<f64> = (0..400).map(|i| if i < 60 { 8.0 } else { 2.0 } + f64::from(i % 5)).collect();
        assert_eq!(mser5(&series), Truncation::After(60));
        // A decay is cut before what is left of it matters.
        let decay: Vec<f64> = (0..400).map(|i| 10.0 * libm::exp(-f64::from(i) / 20.0) + s.unit()).collect();
        let Truncation::After(cut) = mser5(&decay) else { panic!("no warm-up found") };
        assert!((40..=120).contains(&cut), "{cut}");
    }

    #[test]
    fn a_steady_series_keeps_everything() {
        assert_eq!(mser5(&[3.0; 100]), Truncation::After(0));
        let mut s = Streams::new(4, 0).stream("warm-up");
        let kept = (0..200)
            .filter(|_| {
                let series: Vec<f64> = (0..300).map(|_| s.unit()).collect();
                matches!(mser5(&series), Truncation::After(cut) if cut <= 50)
            })
            .count();
        assert!(kept > 120, "{kept}");
    }

    #[test]
    fn a_drift_and_a_short_series_have_no_answer() {
        let drift: Vec<f64> = (0..200).map(f64::from).collect();
        assert_eq!(mser5(&drift), Truncation::NotFound);
        assert_eq!(mser5(&[1.0; 49]), Truncation::TooShort);
        assert_eq!(mser5(&[f64::NAN; 80]), Truncation::TooShort);
    }
}
