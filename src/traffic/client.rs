//! What clients do when an attempt fails: backoff and retry budget.

use crate::kernel::Draw;
use crate::scenario::model::{Backoff, Call, Client};

const SLOTS: usize = 10;
const SLOT_NANOS: u64 = 1_000_000_000;

/// Retries allowed as a share of the first attempts of the last ten seconds, in slots of one second.
#[derive(Clone, Debug)]
pub(super) struct RetryBudget {
    share: f64,
    firsts: [u64; SLOTS],
    retries: [u64; SLOTS],
    firsts_sum: u64,
    retries_sum: u64,
    /// The second of the newest slot.
    second: u64,
    /// Its end, nanoseconds.
    slot_end: u64,
}

impl RetryBudget {
    pub(super) fn new(share: f64) -> Self {
        Self {
            share,
            firsts: [0; SLOTS],
            retries: [0; SLOTS],
            firsts_sum: 0,
            retries_sum: 0,
            second: 0,
            slot_end: SLOT_NANOS,
        }
    }

    #[inline]
    fn turn(&mut self, now: u64) -> usize {
        if now >= self.slot_end {
            let second = now / SLOT_NANOS;
            for passed in 1..=(second - self.second).min(SLOTS as u64) {
                let slot = ((self.second + passed) % SLOTS as u64) as usize;
                self.firsts_sum -= std::mem::take(&mut self.firsts[slot]);
                self.retries_sum -= std::mem::take(&mut self.retries[slot]);
            }
            // After a long gap every slot was emptied, whichever were named.
            self.second = second;
            self.slot_end = (second + 1).saturating_mul(SLOT_NANOS);
        }
        (self.second % SLOTS as u64) as usize
    }

    /// A first attempt is sent.
    #[inline]
    pub(super) fn first(&mut self, now: u64) {
        let slot = self.turn(now);
        self.firsts[slot] += 1;
        self.firsts_sum += 1;
    }

    /// Takes one retry out of the budget, if there is one.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let slot = self.turn(now);
        let allowed = (self.retries_sum + 1) as f64 <= self.share * self.firsts_sum as f64;
        if allowed {
            self.retries[slot] += 1;
            self.retries_sum += 1;
        }
        allowed
    }
}

/// The behaviour of a service's clients, ready for the request path. Times in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct ClientRules {
    pub(super) timeout: Option<u64>,
    pub(super) retries: u16,
    pub(super) backoff: Backoff,
    pub(super) budget: Option<RetryBudget>,
    pub(super) cancel: bool,
}

impl ClientRules {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            timeout: client.timeout.map(|t| t.as_nanos()),
            retries: u16::try_from(client.retries).unwrap_or(u16::MAX),
            backoff: client.backoff.clone(),
            budget: client.retry_budget.map(RetryBudget::new),
            cancel: client.cancel_on_timeout,
        }
    }

    /// The behaviour of a service that calls another.
    pub(super) fn of_call(call: &Call) -> Self {
        Self {
            timeout: call.timeout.map(|t| t.as_nanos()),
            retries: u16::try_from(call.retries).unwrap_or(u16::MAX),
            backoff: call.backoff.clone(),
            budget: call.retry_budget.map(RetryBudget::new),
            cancel: call.cancel_on_timeout,
        }
    }

    /// The wait before retry number `n` (1 for the first), nanoseconds.
    pub(super) fn backoff(&self, n: u16, draw: Draw) -> u64 {
        let b = &self.backoff;
        let grown = b.base.as_nanos() as f64 * libm::pow(b.multiplier, f64::from(n) - 1.0);
        let factor = 1.0 - b.jitter.clamp(0.0, 1.0) * draw.unit();
        (grown.min(b.max.as_nanos() as f64) * factor + 0.5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SimDuration;

    #[test]
    fn backoff_grows_to_its_maximum_and_jitters() {
        let mut rules = ClientRules::new(&Client {
            timeout: None,
            patience: None,
            retries: 9,
            backoff: Backoff {
                base: SimDuration::from_millis(100),
                multiplier: 2.0,
                max: SimDuration::from_millis(500),
                jitter: 0.0,
            },
            retry_budget: None,
            cancel_on_timeout: false,
            connections: None,
            sessions: None,
        });
        let ms: Vec<u64> = (1..=5).map(|n| rules.backoff(n, Draw::new(1)) / 1_000_000).collect();
        assert_eq!(ms, [100, 200, 400, 500, 500]);
        rules.backoff.jitter = 0.5;
        for i in 0..100 {
            let wait = rules.backoff(1, Draw::new(1).of(i));
            assert!((50_000_000..=100_000_000).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn the_budget_is_a_share_of_ten_seconds() {
        let mut b = RetryBudget::new(0.2);
        assert!(!b.take(0), "nothing was sent yet");
        for i in 0..100 {
            b.first(i * 10_000_000);
        }
        assert_eq!((0..50).filter(|_| b.take(1_500_000_000)).count(), 20);
        // The retries of second 1 leave the window with second 11, the first attempts of second 0 with second 10.
        assert!(!b.take(9_999_999_999));
        assert!(!b.take(10_000_000_000));
        for _ in 0..10 {
            b.first(11_000_000_000);
        }
        assert_eq!((0..50).filter(|_| b.take(11_000_000_000)).count(), 2);
        b.first(1_000_000_000_000);
        assert!(!b.take(1_000_000_000_000));
        assert_eq!((b.firsts_sum, b.retries_sum), (1, 0));
    }
}
