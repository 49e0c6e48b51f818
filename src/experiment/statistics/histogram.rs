//! Histograms of finished runs, as they are kept and pooled.

use crate::traffic::Histogram;
use serde::{Deserialize, Serialize};

/// A histogram of nanoseconds with the buckets of [`crate::traffic::Histogram`] (values below 256 each on
/// their own, 128 buckets per octave above), of which only those that hold something are kept.
///
/// It is written as a list of pairs: smallest value of the bucket, count; ascending. A pair that is read
/// is moved to its bucket, and pairs of one bucket are added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct SparseHistogram {
    /// Smallest value of a bucket, count above zero; ascending.
    bins: Vec<(u64, u64)>,
    count: u64,
}

/// The smallest value of the bucket that holds `value`.
fn low_of(value: u64) -> u64 {
    value & !(width_of(value) - 1)
}

/// The width of the bucket that holds `value`.
fn width_of(value: u64) -> u64 {
    if value < 256 { 1 } else { 1 << (56 - value.leading_zeros()) }
}

impl From<Vec<(u64, u64)>> for SparseHistogram {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        Self::from_counts(pairs)
    }
}

impl From<SparseHistogram> for Vec<(u64, u64)> {
    fn from(histogram: SparseHistogram) -> Self {
        histogram.bins
    }
}

impl From<&Histogram> for SparseHistogram {
    fn from(histogram: &Histogram) -> Self {
        Self::from_counts(histogram.buckets().map(|(low, _, count)| (low, count)))
    }
}

impl SparseHistogram {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From pairs of a value in nanoseconds and how often it occurred, in any order.
    #[must_use]
    pub fn from_counts(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut bins: Vec<(u64, u64)> =
            pairs.into_iter().filter(|p| p.1 > 0).map(|(value, count)| (low_of(value), count)).collect();
        bins.sort_unstable_by_key(|bin| bin.0);
        bins.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(later.1);
            }
            same
        });
        let count = bins.iter().fold(0_u64, |sum, bin| sum.saturating_add(bin.1));
        Self { bins, count }
    }

    /// From pairs of a value in seconds and how often it occurred. What is negative or not a number counts
    /// as zero, what is above 584 years as that.
    #[must_use]
    pub fn from_seconds(pairs: impl IntoIterator<Item = (f64, u64)>) -> Self {
        // The conversion of a double to an integer saturates.
        Self::from_counts(pairs.into_iter().map(|(seconds, count)| ((seconds * 1e9) as u64, count)))
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True when it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The buckets that hold something, ascending: smallest value in nanoseconds, width, count.
    pub fn bins(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.bins.iter().map(|&(low, count)| (low, width_of(low), count))
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        *self = Self::pool([&*self, other]);
    }

    /// All of `histograms` in one.
    #[must_use]
    pub fn pool<'a>(histograms: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::from_counts(histograms.into_iter().flat_map(|h| h.bins.iter().copied()))
    }

    /// The value below which a share `q` (0 to 1) of the values lies, in nanoseconds; `None` when empty.
    ///
    /// The bucket is the one that [`crate::traffic::Histogram::quantile`] finds; inside of it the values are
    /// taken as spread evenly. Without that, the quantiles of samples that differ by one run would be the
    /// same or a bucket apart, and an interval made of their differences would be nothing or far too wide.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantile_without(&Self::default(), q)
    }

    /// The quantile of what is left when `part`, which was pooled into this, is taken out again; `None` when
    /// nothing is left.
    #[must_use]
    pub fn quantile_without(&self, part: &Self, q: f64) -> Option<f64> {
        let left = self.count.saturating_sub(part.count);
        if left == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * left as f64;
        let mut taken = part.bins.iter().copied().peekable();
        let mut seen = 0_u64;
        let mut last = None;
        for &(low, count) in &self.bins {
            let mut here = count;
            while let Some((_, out)) = taken.next_if(|bin| bin.0 <= low) {
                here = here.saturating_sub(out);
            }
            if here == 0 {
                continue;
            }
            let width = width_of(low) as f64;
            if (seen + here) as f64 >= rank {
                let inside = ((rank - seen as f64) / here as f64).clamp(0.0, 1.0);
                // A bucket holds whole numbers: it reaches half a unit beyond its first and its last.
                return Some((low as f64 - 0.5 + width * inside).max(0.0));
            }
            seen += here;
            last = Some(low as f64 - 0.5 + width);
        }
        last
    }

    /// How many values lie beyond the quantile `q`, on its thinner side.
    #[must_use]
    pub fn beyond(&self, q: f64) -> u64 {
        let q = q.clamp(0.0, 1.0);
        let below = (q * self.count as f64).ceil() as u64;
        let above = ((1.0 - q) * self.count as f64).ceil() as u64;
        self.count.saturating_sub(below.max(above))
    }

    /// The share (0 to 1) of the values at most `limit` nanoseconds, with the bucket of `limit` in proportion;
    /// `None` when empty.
    #[must_use]
    pub fn share_at_most(&self, limit: u64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let bucket = low_of(limit);
        let mut seen = 0.0;
        for &(low, count) in &self.bins {
            if low < bucket {
                seen += count as f64;
            } else if low == bucket {
                seen += count as f64 * ((limit - low + 1) as f64 / width_of(low) as f64);
            }
        }
        Some(seen / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(values: &[u64]) -> (Histogram, SparseHistogram) {
        let mut h = Histogram::new();
        values.iter().for_each(|&v| h.record(v));
        (h, SparseHistogram::from_counts(values.iter().map(|&v| (v, 1))))
    }

    #[test]
    fn an_empty_histogram_has_nothing() {
        let h = SparseHistogram::new();
        assert_eq!((h.quantile(0.5), h.beyond(0.5), h.share_at_most(9)), (None, 0, None));
        assert_eq!(h.quantile_without(&h, 0.5), None);
        let one = SparseHistogram::from_counts([(7, 1)]);
        assert_eq!(one.quantile_without(&one, 0.5), None);
        assert_eq!(one.quantile(0.5), Some(7.0));
    }

    #[test]
    fn seconds_and_pairs_find_their_buckets() {
        let h = SparseHistogram::from_seconds([(0.25, 3), (-1.0, 2), (f64::NAN, 1), (0.25, 1)]);
        assert_eq!(h.count(), 7);
        assert_eq!(h.bins().next(), Some((0, 1, 3)));
        let text = serde_json::to_string(&h).unwrap();
        assert_eq!(text, "[[0,3],[249561088,4]]");
        assert_eq!(serde_json::from_str::<SparseHistogram>(&text).unwrap(), h);
        assert_eq!(serde_json::from_str::<SparseHistogram>("[[250000000,4],[0,1],[0,2],[5,0]]").unwrap(), h);
    }

    #[test]
    fn beyond_counts_the_thinner_side() {
        let h = SparseHistogram::from_counts((0..10_000).map(|v| (v, 1)));
        assert_eq!((h.beyond(0.99), h.beyond(0.01), h.beyond(0.5), h.beyond(1.0)), (100, 100, 5_000, 0));
    }

    proptest! {
        #[test]
        fn it_has_the_buckets_and_quantiles_of_traffic(v in prop::collection::vec(0u64..20_000_000_000, 1..200), q in 0.0..0.999f64) {
            let (dense, sparse) = both(&v);
            prop_assert_eq!(&SparseHistogram::from(&dense), &sparse);
            prop_assert!(dense.buckets().eq(sparse.bins()));
            let (a, b) = (dense.quantile(q).unwrap() as f64, sparse.quantile(q).unwrap());
            prop_assert!((a - b).abs() <= a / 100.0 + 1.0, "{a} {b}");
        }

        #[test]
        fn taking_out_is_not_having_put_in(a in prop::collection::vec(0u64..1_000_000, 1..80), b in prop::collection::vec(0u64..1_000_000, 0..80), q in 0.0..=1.0f64) {
            let (first, second) = (both(&a).1, both(&b).1);
            let pool = SparseHistogram::pool([&first, &second]);
            prop_assert_eq!(pool.quantile_without(&second, q), first.quantile(q));
            let mut merged = first.clone();
            merged.merge(&second);
            prop_assert_eq!(merged, pool);
        }
    }
}
