//! Launch-rate limits: token buckets and limits per minute.
//!
//! Rule: Fargate launches of an account take a token each from a bucket that holds a burst and refills
//! at a steady rate (100 and 20 a second in large regions, on-demand and Spot counted separately). The
//! service scheduler launches a limited number of tasks of one service in a minute.
//!
//! Source: ECS developer guide, `throttling`; ECS service quotas.
//!
//! Known departures: the refill is even over the second, the guide only gives its rate; the minute of
//! the per-service limit begins with its first launch.
//!
//! Tokens are whole: the count of 10^-12 tokens is an integer, so that no sequence of steps loses one.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

const TOKEN: u64 = 1_000_000_000_000;

/// A bucket of tokens that refills evenly.
///
/// ```
/// use simctl::capacity::bucket::TokenBucket;
/// use simctl::kernel::SimTime;
///
/// let mut bucket = TokenBucket::new(2, 4.0);
/// assert_eq!(bucket.take(SimTime::ZERO), Ok(()));
/// assert_eq!(bucket.take(SimTime::ZERO), Ok(()));
/// assert_eq!(bucket.take(SimTime::ZERO), Err(SimTime::from_nanos(250_000_000)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    burst: u64,
    /// 10^-12 tokens a nanosecond.
    rate: u64,
    held: u64,
    at: SimTime,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that refills at `per_second` tokens a second, in steps of a
    /// thousandth of a token a second. A rate that is not above zero never refills.
    #[must_use]
    pub fn new(burst: u32, per_second: f64) -> Self {
        let burst = u64::from(burst) * TOKEN;
        // A float-to-integer cast saturates and sends NaN to zero.
        Self { burst, rate: (per_second * 1_000.0).round() as u64, held: burst, at: SimTime::ZERO }
    }

    /// Changes burst and rate from `now` on; what is held beyond the new burst is lost.
    pub fn retune(&mut self, now: SimTime, burst: u32, per_second: f64) {
        self.refill(now);
        let changed = Self::new(burst, per_second);
        (self.burst, self.rate) = (changed.burst, changed.rate);
        self.held = self.held.min(self.burst);
    }

    fn refill(&mut self, now: SimTime) {
        if now <= self.at {
            return;
        }
        let added = u128::from(now.since(self.at).as_nanos()) * u128::from(self.rate);
        let held = u128::from(self.held) + added;
        self.held = u64::try_from(held).unwrap_or(u64::MAX).min(self.burst);
        self.at = now;
    }

    /// Whole tokens in the bucket at `now`.
    #[must_use]
    pub fn available(&self, now: SimTime) -> u32 {
        let mut copy = *self;
        copy.refill(now);
        u32::try_from(copy.held / TOKEN).unwrap_or(u32::MAX)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The instant at which there will be one; [`SimTime::MAX`] when there never will.
    pub fn take(&mut self, now: SimTime) -> Result<(), SimTime> {
        self.refill(now);
        if self.held >= TOKEN {
            self.held -= TOKEN;
            return Ok(());
        }
        if self.rate == 0 || self.burst < TOKEN {
            return Err(SimTime::MAX);
        }
        Err(self.at + SimDuration::from_nanos((TOKEN - self.held).div_ceil(self.rate)))
    }
}

/// At most so many in any minute that begins with a first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteLimit {
    per_minute: u32,
    begun: Option<SimTime>,
    used: u32,
}

impl MinuteLimit {
    /// A limit of `per_minute`.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, begun: None, used: 0 }
    }

    fn current(&self, now: SimTime) -> Option<SimTime> {
        self.begun.filter(|b| now < *b + SimDuration::from_mins(1))
    }

    /// How many more this minute allows at `now`.
    #[must_use]
    pub fn available(&self, now: SimTime) -> u32 {
        if self.current(now).is_some() { self.per_minute - self.used } else { self.per_minute }
    }

    /// Takes one.
    ///
    /// # Errors
    /// The instant at which the next minute begins; [`SimTime::MAX`] when the limit is zero.
    pub fn take(&mut self, now: SimTime) -> Result<(), SimTime> {
        if self.per_minute == 0 {
            return Err(SimTime::MAX);
        }
        match self.current(now) {
            Some(begun) if self.used >= self.per_minute => Err(begun + SimDuration::from_mins(1)),
            Some(_) => {
                self.used += 1;
                Ok(())
            }
            None => {
                (self.begun, self.used) = (Some(now), 1);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of `n` launches asked for at once leaves.
    fn launches(n: u32, burst: u32, rate: f64, per_minute: Option<u32>) -> Vec<f64> {
        let mut bucket = TokenBucket::new(burst, rate);
        let mut limit = MinuteLimit::new(per_minute.unwrap_or(u32::MAX));
        let mut now = SimTime::ZERO;
        (0..n)
            .map(|_| {
                while let Err(next) = limit.take(now) {
                    now = next;
                }
                while let Err(next) = bucket.take(now) {
                    now = next;
                }
                now.as_secs_f64()
            })
            .collect()
    }

    #[test]
    fn launch_k_leaves_when_the_bucket_has_refilled_for_it() {
        for (n, burst, rate, last, median) in
            [(100, 100, 20.0, 0.0, 0.0), (3500, 100, 20.0, 170.0, 82.5), (3500, 10, 1.0, 3490.0, 1740.0)]
        {
            let times = launches(n, burst, rate, None);
            assert_eq!((times[n as usize - 1], times[n as usize / 2 - 1]), (last, median), "{n}");
        }
    }

    #[test]
    fn a_service_launches_500_a_minute() {
        let times = launches(2000, 100, 20.0, Some(500));
        assert!((180.0..=300.0).contains(&times[1999]), "{}", times[1999]);
        assert!(times[499] < 60.0 && times[500] >= 60.0);
    }

    #[test]
    fn what_never_refills_says_so() {
        let mut dry = TokenBucket::new(0, 20.0);
        assert_eq!(dry.take(SimTime::ZERO), Err(SimTime::MAX));
        let mut once = TokenBucket::new(1, 0.0);
        assert_eq!((once.take(SimTime::ZERO), once.take(SimTime::from_secs(9))), (Ok(()), Err(SimTime::MAX)));
        assert_eq!(MinuteLimit::new(0).take(SimTime::ZERO), Err(SimTime::MAX));
        assert_eq!(TokenBucket::new(5, f64::NAN).available(SimTime::MAX), 5);
    }
}
