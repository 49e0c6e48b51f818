//! CPU credits of burstable instances (T2, T3, T3a, T4g).
//!
//! A credit is one vCPU at full speed for a minute. Credits are earned all the time at the baseline's rate and every use of
//! CPU spends them; what is earned in 24 hours is the most that is kept. Rules: the EC2 user guide on burstable
//! performance instances (key concepts, standard mode, unlimited mode), read in 2026.

use crate::units::Cpu;

/// One credit in vCPU-nanoseconds.
const CREDIT: f64 = 60e9;
/// Time after which nothing more is added to the balance, hours.
const KEPT_HOURS: f64 = 24.0;
/// When credits run low the speed is brought down gradually, so that there is no sharp drop (EC2 user guide, standard
/// mode). The guide of T2 gave a quarter of an hour for it; the line between is an assumption. Nanoseconds.
const DESCENT: f64 = 900e9;
/// Steps in which the speed comes down, nanoseconds.
const STEP: f64 = 15e9;
/// Balances are looked at no more often than this, nanoseconds; what is overspent until then is owed.
const LOOK: f64 = 100e6;

/// What happens when the credits are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurstMode {
    /// The CPU is held at the baseline (the default of T2).
    Standard,
    /// Surplus credits are spent and paid back from later earnings; what exceeds a day's earnings, and what is owed at
    /// the end of the instance, is charged per vCPU-hour (the default of T3, T3a and T4g).
    Unlimited,
}

/// The credits of a burstable node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstSpec {
    /// The baseline: what may be used for ever, as a share of each vCPU, above 0 to 1. An hour earns 60 credits times
    /// this for each vCPU.
    pub baseline: f64,
    /// Credits at launch: spent first, beside the day's maximum. Only T2 in standard mode gets any: 30 for each vCPU.
    pub launch_credits: f64,
    /// What happens when they are spent.
    pub mode: BurstMode,
}

/// The account of one node, settled whenever its use of CPU changes. Amounts in vCPU-nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Credits {
    mode: BurstMode,
    vcpus: f64,
    /// Cores that are earned all the time.
    baseline: f64,
    most: f64,
    /// What has been earned and not spent; below zero it is owed.
    balance: f64,
    launch: f64,
    charged: f64,
    /// Time below full speed with more wanted, nanoseconds.
    held: f64,
    last: u64,
    /// Cores in use since then, and whether more were wanted.
    busy: f64,
    wanting: bool,
    /// Cores that may be used, as was last said.
    cap: f64,
    /// An event will look at the balance.
    pub(super) armed: bool,
}

impl Credits {
    pub(super) fn new(spec: &BurstSpec, cores: Cpu, now: u64) -> Self {
        let vcpus = cores.vcpus();
        let share = if spec.baseline.is_finite() { spec.baseline.clamp(0.0, 1.0) } else { 1.0 };
        let baseline = share * vcpus;
        let launch = if spec.launch_credits.is_finite() { spec.launch_credits.max(0.0) * CREDIT } else { 0.0 };
        let mut new = Self {
            mode: spec.mode,
            vcpus,
            baseline,
            most: baseline * KEPT_HOURS * 3600e9,
            balance: 0.0,
            launch,
            charged: 0.0,
            held: 0.0,
            last: now,
            busy: 0.0,
            wanting: false,
            cap: vcpus,
            armed: false,
        };
        new.cap = new.allowed();
        new
    }

    /// Accounts for the time until `now`.
    pub(super) fn settle(&mut self, now: u64) {
        let mut length = (now - self.last) as f64;
        self.last = now;
        if self.cap < self.vcpus && self.wanting {
            self.held += length;
        }
        if self.launch > 0.0 {
            let spent = self.busy * length;
            if spent <= self.launch {
                self.launch -= spent;
                self.balance = (self.balance + self.baseline * length).min(self.most);
                return;
            }
            let part = self.launch / self.busy;
            self.launch = 0.0;
            self.balance = (self.balance + self.baseline * part).min(self.most);
            length -= part;
        }
        self.balance = (self.balance + (self.baseline - self.busy) * length).min(self.most);
        if self.mode == BurstMode::Unlimited && self.balance < -self.most {
            self.charged -= self.balance + self.most;
            self.balance = -self.most;
        }
    }

    /// From now on `busy` cores are used. Everything until now must be settled.
    pub(super) fn set_busy(&mut self, busy: f64, wanting: bool) {
        (self.busy, self.wanting) = (busy, wanting);
    }

    fn left(&self) -> f64 {
        self.balance + self.launch
    }

    /// The balance at which the descent begins: what a straight line from full speed to the baseline spends.
    fn low(&self) -> f64 {
        (self.vcpus - self.baseline) * DESCENT / 2.0
    }

    /// Cores that the balance allows: all, or with a low one so many that a node that uses them all comes down to the
    /// baseline on a straight line, within [`DESCENT`].
    fn allowed(&self) -> f64 {
        let left = self.left();
        if self.mode == BurstMode::Unlimited || left >= self.low() {
            return self.vcpus;
        }
        let above = 2.0 * (self.vcpus - self.baseline) * left.max(0.0) / DESCENT;
        self.baseline + above.sqrt()
    }

    /// Cores that may be used now.
    pub(super) fn capacity(&mut self) -> f64 {
        self.cap = self.allowed();
        self.cap
    }

    /// When the balance must be looked at, nanoseconds from now; `None` while it cannot run low.
    pub(super) fn look(&self) -> Option<u64> {
        let drain = self.busy - self.baseline;
        if self.mode == BurstMode::Unlimited || drain <= 0.0 || self.left() <= 0.0 {
            return None;
        }
        let low = self.low();
        let after = match self.left() {
            left if left > low => (left - low) / (self.vcpus - self.baseline),
            left => STEP.min(left / drain),
        };
        Some(after.max(LOOK) as u64)
    }

    /// The balance is looked at; true when another speed holds from now on.
    pub(super) fn check(&mut self) -> bool {
        self.allowed() < self.cap
    }

    /// The instance ends: what is owed is charged.
    pub(super) fn close(&mut self) {
        if self.mode == BurstMode::Unlimited && self.balance < 0.0 {
            self.charged -= self.balance;
            self.balance = 0.0;
        }
    }

    /// Credits in the balance, launch credits included; zero while some are owed.
    pub(super) fn balance(&self) -> f64 {
        self.left().max(0.0) / CREDIT
    }

    /// Surplus credits that are owed and not charged yet.
    pub(super) fn owed(&self) -> f64 {
        (-self.balance).max(0.0) / CREDIT
    }

    /// Surplus that was charged, vCPU-hours.
    pub(super) fn charged(&self) -> f64 {
        self.charged / 3600e9
    }

    /// Time below full speed with more wanted, seconds.
    pub(super) fn held(&self) -> f64 {
        self.held / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;
    const MINUTE: u64 = HOUR / 60;

    /// An instance with a baseline and launch credits.
    fn credits(vcpus: u64, baseline: f64, launch_credits: f64, mode: BurstMode) -> Credits {
        Credits::new(&BurstSpec { baseline, launch_credits, mode }, Cpu::from_vcpus(vcpus), 0)
    }

    fn t3_nano() -> Credits {
        credits(2, 0.05, 0.0, BurstMode::Unlimited)
    }

    fn t2_micro() -> Credits {
        credits(1, 0.1, 30.0, BurstMode::Standard)
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn an_idle_instance_keeps_a_days_credits() {
        let mut c = t3_nano();
        c.settle(10 * HOUR);
        close(c.balance(), 60.0);
        c.settle(100 * HOUR);
        close(c.balance(), 144.0);
        // 2.5 % of two vCPUs for twelve hours spend 36 while 72 are earned: the balance stays full.
        c.set_busy(0.05, false);
        c.settle(112 * HOUR);
        close(c.balance(), 144.0);
        // 7 % of both spend 100.8 and earn 72.
        c.set_busy(0.14, false);
        c.settle(124 * HOUR);
        close(c.balance(), 144.0 - 28.8);
    }

    #[test]
    fn surplus_beyond_a_day_is_charged_and_the_rest_at_the_end() {
        let mut c = t3_nano();
        // Both vCPUs: 114 credits an hour net; a day's 144 may be owed.
        c.set_busy(2.0, false);
        c.settle(HOUR);
        close(c.owed(), 114.0);
        close(c.charged(), 0.0);
        c.settle(2 * HOUR);
        close(c.owed(), 144.0);
        close(c.charged(), 84.0 / 60.0);
        // Idle time pays back.
        c.set_busy(0.0, false);
        c.settle(14 * HOUR);
        close(c.owed(), 72.0);
        close(c.charged(), 84.0 / 60.0);
        c.close();
        close(c.charged(), (84.0 + 72.0) / 60.0);
        close(c.owed(), 0.0);
    }

    #[test]
    fn standard_comes_down_to_the_baseline_and_rises_again() {
        let mut c = t2_micro();
        close(c.balance(), 30.0);
        close(c.capacity(), 1.0);
        c.set_busy(1.0, false);
        let (mut now, mut speeds) = (0, Vec::new());
        while let Some(next) = c.look() {
            now += next;
            c.settle(now);
            let _ = c.check();
            let cap = c.capacity();
            speeds.push((now as f64 / MINUTE as f64, cap));
            c.set_busy(cap, true);
        }
        // 30 launch credits and what is earned meanwhile, but for the last 0.9 * 15 / 2, at full speed; then a quarter
        // of an hour on a line down to the baseline.
        let full = (30.0 - 0.9 * 15.0 / 2.0) / 0.9;
        for (minutes, speed) in speeds {
            let line = (1.0 - 0.9 * (minutes - full) / 15.0).clamp(0.1, 1.0);
            assert!((speed - line).abs() < 0.04, "{speed} at {minutes} min is not {line}");
        }
        let minutes = now as f64 / MINUTE as f64;
        assert!((minutes - full - 15.0).abs() < 1.0, "{minutes}");
        close(c.capacity(), 0.1);
        c.set_busy(0.1, true);
        let before = c.held();
        c.settle(now + HOUR);
        close(c.capacity(), 0.1);
        close(c.held(), before + 3600.0);
        // An idle hour earns 6 credits: not quite the 6.75 that full speed needs.
        c.set_busy(0.0, false);
        c.settle(now + 2 * HOUR);
        assert!((c.balance() - 6.0).abs() < 0.05, "{}", c.balance());
        let speed = 0.1 + (2.0 * 0.9 * 6.0 / 15.0_f64).sqrt();
        assert!((c.capacity() - speed).abs() < 0.01);
        c.settle(now + 3 * HOUR);
        close(c.capacity(), 1.0);
    }

    #[test]
    fn launch_credits_are_spent_first_and_beside_the_maximum() {
        let mut c = t2_micro();
        c.settle(48 * HOUR);
        close(c.balance(), 144.0 + 30.0);
        c.set_busy(0.5, false);
        c.settle(49 * HOUR);
        // 30 came from the launch credits while what was earned found no room.
        close(c.balance(), 144.0);
        c.settle(50 * HOUR);
        close(c.balance(), 144.0 - 30.0 + 6.0);
    }
}
