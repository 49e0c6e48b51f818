//! A log-linear histogram of nanoseconds.

/// Steps per octave: a bucket is at most 1/128 (0.78 %) as wide as the values in it.
const STEPS: usize = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts of durations in nanoseconds, in buckets of at most 0.8 % relative width over the whole
/// range of `u64`. Values below 128 ns are exact.
///
/// Recording costs a few nanoseconds and allocates only when a value lies outside of the range
/// seen so far. The mean is exact; a quantile is off by at most half a bucket.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Bucket number of `counts[0]`.
    base: usize,
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = 63 - STEP_BITS - value.leading_zeros();
    ((shift as usize) << STEP_BITS) + (value >> shift) as usize
}

/// Smallest value of a bucket and the bucket's width.
fn bounds(bucket: usize) -> (u64, u64) {
    if bucket < 2 * STEPS {
        return (bucket as u64, 1);
    }
    let shift = (bucket >> STEP_BITS) - 1;
    (((STEPS + bucket % STEPS) as u64) << shift, 1 << shift)
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one value, in nanoseconds.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let at = bucket(value);
        match self.counts.get_mut(at.wrapping_sub(self.base)) {
            Some(n) => *n += 1,
            None => *self.grown(at, at) += 1,
        }
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    /// Widens the range to hold the buckets `low..=high` and returns the counter of `low`.
    #[cold]
    fn grown(&mut self, low: usize, high: usize) -> &mut u64 {
        if self.counts.is_empty() {
            // Half an octave on either side saves most later growth.
            self.base = low.saturating_sub(STEPS / 2);
            self.counts = vec![0; high + STEPS / 2 - self.base + 1];
        } else {
            if low < self.base {
                let base = low.saturating_sub(STEPS / 2);
                self.counts.splice(0..0, std::iter::repeat_n(0, self.base - base));
                self.base = base;
            }
            if high >= self.base + self.counts.len() {
                self.counts.resize(high + STEPS / 2 - self.base + 1, 0);
            }
        }
        &mut self.counts[low - self.base]
    }

    /// Adds everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        let (Some(first), Some(last)) =
            (other.counts.iter().position(|&n| n > 0), other.counts.iter().rposition(|&n| n > 0))
        else {
            return;
        };
        let low = other.base + first;
        self.grown(low, other.base + last);
        let from = low - self.base;
        for (into, &n) in self.counts[from..].iter_mut().zip(&other.counts[first..=last]) {
            *into += n;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        if self.count > 0 {
            self.counts.fill(0);
            (self.count, self.sum, self.max) = (0, 0, 0);
        }
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True when nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The sum of all values in nanoseconds, exact.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The largest value in nanoseconds, exact; 0 when empty.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean in nanoseconds, from the exact sum; `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The value below or at which a share `q` (0 to 1) of the values lies, in nanoseconds: the middle of
    /// the bucket that holds the value of that rank, never above the largest value; `None` when empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        if rank == self.count {
            return Some(self.max);
        }
        let mut seen = 0;
        for (i, &n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                let (low, width) = bounds(self.base + i);
                return Some((low + (width - 1) / 2).min(self.max));
            }
        }
        Some(self.max)
    }

    /// Share of the values (0 to 1) that are at most `limit` nanoseconds, to the resolution of a bucket;
    /// `None` when empty.
    #[must_use]
    pub fn share_at_most(&self, limit: u64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let end = (bucket(limit) + 1).saturating_sub(self.base).min(self.counts.len());
        Some(self.counts[..end].iter().sum::<u64>() as f64 / self.count as f64)
    }

    /// The non-empty buckets, in ascending order: smallest value, width (both in nanoseconds), count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|&(_, &n)| n > 0).map(|(i, &n)| {
            let (low, width) = bounds(self.base + i);
            (low, width, n)
        })
    }
}

impl PartialEq for Histogram {
    /// Equal when the same values were counted; how much memory was reserved does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && self.sum == other.sum
            && self.max == other.max
            && self.buckets().eq(other.buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_tile_the_range() {
        let mut expected = 0;
        for i in 0..bucket(u64::MAX) {
            let (low, width) = bounds(i);
            assert_eq!(low, expected, "bucket {i}");
            assert_eq!(bucket(low), i);
            assert_eq!(bucket(low + width - 1), i);
            assert!(width == 1 || width * 128 <= low, "bucket {i} is wider than 1/128");
            expected = low + width;
        }
        assert_eq!(bucket(u64::MAX), 57 * 128 + 127);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        let h = Histogram::new();
        assert_eq!((h.quantile(0.5), h.mean(), h.max(), h.share_at_most(3)), (None, None, 0, None));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_half_a_bucket(mut v in prop::collection::vec(0u64..10_000_000_000, 1..300), q in 0.0..=1.0f64) {
            let mut h = Histogram::new();
            v.iter().for_each(|&x| h.record(x));
            v.sort_unstable();
            let rank = ((q * v.len() as f64).ceil() as usize).clamp(1, v.len());
            let (truth, got) = (v[rank - 1] as f64, h.quantile(q).unwrap() as f64);
            prop_assert!((got - truth).abs() <= truth / 128.0 + 1.0, "{got} {truth}");
            prop_assert_eq!(h.sum(), v.iter().map(|&x| u128::from(x)).sum::<u128>());
            prop_assert_eq!(h.max(), *v.last().unwrap());
        }

        #[test]
        fn merging_is_counting_together(a in prop::collection::vec(any::<u64>(), 0..50), b in prop::collection::vec(0u64..1_000_000, 0..50)) {
            let of = |v: &[u64]| { let mut h = Histogram::new(); v.iter().for_each(|&x| h.record(x)); h };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all: Vec<u64> = a.iter().chain(&b).copied().collect();
            prop_assert!(merged == of(&all));
            merged.clear();
            prop_assert!(merged == Histogram::new());
        }
    }
}
