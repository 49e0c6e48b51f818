//! A histogram that forgets: buckets that grow by 5 %, weights that halve with each half-life.
//!
//! Source: `pkg/recommender/util/histogram.go`, `histogram_options.go` and `decaying_histogram.go` of the
//! Vertical Pod Autoscaler.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// Each bucket is wider than the one before by this factor.
const RATIO: f64 = 1.05;
/// Less weight than this is none.
const EPSILON: f64 = 0.000_1;
/// Half-lives after which the weights are scaled down, so that they stay finite.
const MAX_EXPONENT: u64 = 100;

/// The histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecayingHistogram {
    first_bucket: f64,
    half_life: SimDuration,
    /// The instant at which a sample weighs what it is given: a multiple of the half-life.
    reference: SimTime,
    weights: Vec<f64>,
    total: f64,
}

impl DecayingHistogram {
    /// An empty one, whose first bucket goes from 0 to `first_bucket` and whose last begins at about `max`. A half-life
    /// is at least a second.
    #[must_use]
    pub fn new(max: f64, first_bucket: f64, half_life: SimDuration) -> Self {
        let half_life = half_life.max(SimDuration::from_secs(1));
        let buckets = log_ratio(max * (RATIO - 1.0) / first_bucket + 1.0).ceil().clamp(1.0, 10_000.0) as usize + 1;
        Self { first_bucket, half_life, reference: SimTime::ZERO, weights: vec![0.0; buckets], total: 0.0 }
    }

    fn bucket(&self, value: f64) -> usize {
        if value < self.first_bucket {
            return 0;
        }
        let bucket = log_ratio(value * (RATIO - 1.0) / self.first_bucket + 1.0).floor();
        (bucket.max(0.0) as usize).min(self.weights.len() - 1)
    }

    fn start(&self, bucket: usize) -> f64 {
        self.first_bucket * (libm::pow(RATIO, bucket as f64) - 1.0) / (RATIO - 1.0)
    }

    fn decay(&mut self, at: SimTime) -> f64 {
        let half_life = self.half_life.as_nanos();
        if at - self.reference > SimDuration::from_nanos(half_life) * MAX_EXPONENT {
            let shifts = (at - self.reference).as_nanos() / half_life;
            let factor = libm::exp2(-(shifts as f64));
            self.weights.iter_mut().for_each(|w| *w *= factor);
            self.total *= factor;
            self.reference += SimDuration::from_nanos(half_life) * shifts;
        }
        // A sample from before the reference weighs less than it is given.
        let age = (at - self.reference).as_secs_f64() - (self.reference - at).as_secs_f64();
        libm::exp2(age / self.half_life.as_secs_f64())
    }

    /// Adds a sample.
    pub fn add(&mut self, value: f64, weight: f64, at: SimTime) {
        let weight = weight * self.decay(at);
        let bucket = self.bucket(value);
        self.weights[bucket] += weight;
        self.total += weight;
    }

    /// Takes a sample away that was added before.
    pub fn subtract(&mut self, value: f64, weight: f64, at: SimTime) {
        let weight = weight * self.decay(at);
        let bucket = self.bucket(value);
        self.weights[bucket] = (self.weights[bucket] - weight).max(0.0);
        self.total = (self.total - weight).max(0.0);
    }

    /// The end of the bucket in which a share of the weight is reached; 0 if it is empty.
    #[must_use]
    pub fn percentile(&self, share: f64) -> f64 {
        let Some(first) = self.weights.iter().position(|w| *w >= EPSILON) else { return 0.0 };
        let last = self.weights.iter().rposition(|w| *w >= EPSILON).unwrap_or(first);
        let threshold = share * self.total;
        let mut sum = 0.0;
        let reached = (first..last).find(|&bucket| {
            sum += self.weights[bucket];
            sum >= threshold
        });
        let bucket = reached.unwrap_or(last);
        // The last of all buckets has no end.
        self.start(if bucket + 1 < self.weights.len() { bucket + 1 } else { bucket })
    }
}

fn log_ratio(x: f64) -> f64 {
    libm::log(x) / libm::log(RATIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SimDuration = SimDuration::from_secs(86_400);

    #[test]
    fn percentiles_are_ends_of_buckets() {
        let mut histogram = DecayingHistogram::new(1_000.0, 0.01, DAY);
        assert_eq!(histogram.percentile(0.9), 0.0);
        assert_eq!(histogram.weights.len(), 176);
        for n in 1..=100 {
            histogram.add(f64::from(n) / 100.0, 1.0, SimTime::ZERO);
        }
        let p90 = histogram.percentile(0.9);
        assert!((0.9..0.9 * 1.06).contains(&p90), "{p90}");
        assert!(histogram.percentile(1.0) >= 1.0);
    }

    #[test]
    fn old_samples_lose_half_their_weight_each_day() {
        let mut histogram = DecayingHistogram::new(1_000.0, 0.01, DAY);
        histogram.add(4.0, 2.0, SimTime::ZERO);
        histogram.add(0.5, 1.0, SimTime::ZERO + DAY * 2);
        // 2 * 1/4 against 1: two thirds of the weight is low.
        assert!(histogram.percentile(0.66) < 0.6 && histogram.percentile(0.67) > 3.9);
        histogram.add(0.5, 1.0, SimTime::ZERO + DAY * 150);
        assert!(histogram.percentile(0.99) < 0.6, "scaled, and still the same order");
        histogram.subtract(0.5, 1.0, SimTime::ZERO + DAY * 150);
        assert_eq!(histogram.percentile(0.9), 0.0);
    }
}
