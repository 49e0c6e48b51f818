//! The CPU of a task server, as attained service.
//!
//! All requests on the CPU run at one rate, so one number suffices: the service that a request attained since the
//! server was last empty. A request that arrives with work `w` leaves when it has grown by `w`. Nothing is done per
//! request when the number of requests changes, and nothing at all while nothing changes: the quota of a hundred
//! periods is passed in one step.

use crate::scenario::model::CpuModel;
use crate::units::Cpu;

/// Length of a CFS bandwidth period in nanoseconds: the kernel's default of 100 ms.
pub(super) const PERIOD: u64 = 100_000_000;

/// Shares the CPU of one task among its requests and a background demand.
///
/// * `fluid`: `n` requests run at `min(1, c / n)` cores each.
/// * `quota`: they run at `min(1, k / n)` cores each on the `k` visible cores, `c` rounded up, until `c` x 100 ms of CPU of
///   the period are used; then all stall until the next period. Periods begin with the server. Without a fraction
///   in `c` the quota never binds and nothing is spent on it.
///
/// The background (start-up, sidecars) is a group of threads with a given demand. All threads get the same share
/// of the CPU; what one does not use the others get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor {
    /// Nanoseconds of CPU at normal speed that a request present all the time would have had.
    pub(super) attained: f64,
    /// The instant up to which everything is accounted, nanoseconds.
    last: u64,
    /// Growth of `attained` while running, and its inverse.
    rate: f64,
    pace: f64,
    /// Cores in use while running, background included.
    busy: f64,
    /// CPU used so far, vCPU-nanoseconds.
    used: f64,
    /// Cores that are shared.
    cores: f64,
    inverse_cores: f64,
    requests: u32,
    /// Normal speed and no background.
    plain: bool,
    throttled: bool,
    /// CPU left in this period, and its end.
    left: f64,
    period_end: u64,
    /// Running time that a full period gives, nanoseconds.
    stretch: f64,
    inverse_busy: f64,
    /// CPU of a full period, vCPU-nanoseconds.
    quota: f64,
    speed: f64,
    background: f64,
}

/// The smallest whole number at least `x`; zero for what is negative.
#[inline]
fn round_up(x: f64) -> u64 {
    let whole = x as u64;
    whole + u64::from((whole as f64) < x)
}

impl Processor {
    pub(super) fn new(cpu: Cpu, model: CpuModel, now: u64) -> Self {
        // A task without any CPU would never finish anything; one part in 128,000 stands for it.
        let c = cpu.vcpus().max(1.0 / Cpu::PER_VCPU as f64);
        let cores = if model == CpuModel::Quota { c.ceil() } else { c };
        Self {
            attained: 0.0,
            last: now,
            rate: 0.0,
            pace: f64::INFINITY,
            busy: 0.0,
            used: 0.0,
            cores,
            inverse_cores: 1.0 / cores,
            requests: 0,
            plain: true,
            throttled: cores > c,
            left: c * PERIOD as f64,
            period_end: now + PERIOD,
            stretch: 0.0,
            inverse_busy: 0.0,
            quota: c * PERIOD as f64,
            speed: 1.0,
            background: 0.0,
        }
    }

    /// Accounts for the time until `now`.
    #[inline]
    pub(super) fn advance(&mut self, now: u64) {
        let run = if self.throttled { self.run_under_quota(now) } else { (now - self.last) as f64 };
        self.last = now;
        self.attained += run * self.rate;
        self.used += run * self.busy;
    }

    /// Running time until `now`, in nanoseconds; takes its CPU out of the quota.
    #[inline]
    fn run_under_quota(&mut self, now: u64) -> f64 {
        let limit = self.left * self.inverse_busy;
        if now < self.period_end {
            let run = ((now - self.last) as f64).min(limit);
            self.left -= run * self.busy;
            return run;
        }
        let mut run = ((self.period_end - self.last) as f64).min(limit);
        let rest = now - self.period_end;
        let (periods, part) = if rest < PERIOD { (0, rest) } else { (rest / PERIOD, rest % PERIOD) };
        let partial = (part as f64).min(self.stretch);
        run += periods as f64 * self.stretch + partial;
        self.left = self.quota - partial * self.busy;
        self.period_end += (periods + 1) * PERIOD;
        run
    }

    /// Sets how many requests are on the CPU from now on; everything until now must be accounted.
    #[inline]
    pub(super) fn set_requests(&mut self, n: u32) {
        if n != self.requests {
            self.requests = n;
            self.share();
        }
    }

    #[inline]
    fn share(&mut self) {
        let n = f64::from(self.requests);
        if self.plain {
            if n <= self.cores {
                (self.rate, self.pace, self.busy) = (1.0, 1.0, n);
            } else {
                (self.rate, self.pace, self.busy) = (self.cores / n, n * self.inverse_cores, self.cores);
            }
        } else {
            self.share_with_background(n);
        }
        if self.requests == 0 {
            // Nobody looks at it; from zero on it keeps its precision.
            (self.attained, self.rate, self.pace) = (0.0, 0.0, f64::INFINITY);
        }
        if self.throttled {
            self.inverse_busy = if self.busy > 0.0 { 1.0 / self.busy } else { f64::INFINITY };
            self.stretch = (PERIOD as f64).min(self.quota * self.inverse_busy);
        }
    }

    #[cold]
    fn share_with_background(&mut self, n: f64) {
        let (c, b) = (self.cores, self.background);
        let (share, busy) = if n + b <= c {
            (1.0, n + b)
        } else {
            let threads = b.ceil();
            let level = c / (n + threads);
            // The background's threads get an even share each, and less only if they want less.
            if level * threads <= b { (level, c) } else { ((c - b) / n, c) }
        };
        self.busy = busy;
        self.rate = share.min(1.0) * self.speed;
        self.pace = 1.0 / self.rate;
    }

    /// When a request with this mark is done, if nothing changes; never before now. `None` when nothing moves.
    #[inline]
    pub(super) fn finish(&self, mark: f64) -> Option<u64> {
        let mut want = (mark - self.attained) * self.pace;
        if self.throttled {
            let room = ((self.period_end - self.last) as f64).min(self.left * self.inverse_busy);
            if want > room {
                want -= room;
                let periods = round_up(want / self.stretch).saturating_sub(1);
                let part = want - periods as f64 * self.stretch;
                return Some(
                    self.period_end.saturating_add(periods.saturating_mul(PERIOD)).saturating_add(round_up(part)),
                );
            }
        }
        // Nothing moves at no speed; no work at no speed is not a number, and is done.
        (want != f64::INFINITY).then(|| self.last.saturating_add(round_up(want)))
    }

    /// A request has just reached its mark: takes the rounding of its completion to a whole nanosecond away.
    #[inline]
    pub(super) fn reached(&mut self, mark: f64) {
        if self.attained < mark {
            self.attained = mark;
        }
    }

    /// Changes the speed: 1 is normal. Everything until now must be accounted.
    pub(super) fn set_speed(&mut self, speed: f64) {
        self.speed = if speed.is_finite() { speed.max(0.0) } else { 1.0 };
        self.plain = self.speed == 1.0 && self.background == 0.0;
        self.share();
    }

    /// Changes the background's demand. Everything until now must be accounted.
    pub(super) fn set_background(&mut self, cpu: Cpu) {
        self.background = cpu.vcpus();
        self.plain = self.speed == 1.0 && self.background == 0.0;
        self.share();
    }

    /// CPU used until `now`, in vCPU-seconds.
    pub(super) fn used(&self, now: u64) -> f64 {
        let mut then = *self;
        then.advance(now.max(self.last));
        then.used / 1e9
    }

    /// Stops for good: no background, no requests.
    pub(super) fn stop(&mut self) {
        self.background = 0.0;
        self.requests = 0;
        self.plain = self.speed == 1.0;
        self.share();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn vcpu(x: f64) -> Cpu {
        Cpu::from_parts((x * Cpu::PER_VCPU as f64) as u64)
    }

    /// Runs jobs of (arrival, work) in ms alone on a processor; their completion times in ms.
    fn run(cpu: f64, model: CpuModel, jobs: &[(f64, f64)], background: f64) -> (Vec<f64>, f64) {
        let mut p = Processor::new(vcpu(cpu), model, 0);
        p.set_background(vcpu(background));
        let mut done = vec![0.0; jobs.len()];
        let mut active: Vec<(f64, usize)> = Vec::new();
        let mut next = 0;
        let mut now = 0;
        loop {
            let first = active.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0));
            let finish = first.and_then(|f| p.finish(f.0)).unwrap_or(u64::MAX);
            let arrival = jobs.get(next).map_or(u64::MAX, |j| (j.0 * 1e6) as u64);
            if finish == u64::MAX && arrival == u64::MAX {
                return (done, p.used(now));
            }
            now = finish.min(arrival);
            p.advance(now);
            if finish <= arrival {
                let (mark, job) = first.unwrap();
                p.reached(mark);
                active.retain(|a| a.1 != job);
                done[job] = now as f64 / 1e6;
            } else {
                active.push((p.attained + jobs[next].1 * 1e6, next));
                next += 1;
            }
            p.set_requests(active.len() as u32);
        }
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-4), "{got:?} is not {want:?}");
    }

    #[test]
    fn a_lone_request_on_half_a_core() {
        close(&run(0.5, CpuModel::Quota, &[(0.0, 40.0)], 0.0).0, &[40.0]);
        close(&run(0.5, CpuModel::Fluid, &[(0.0, 40.0)], 0.0).0, &[80.0]);
        // 50 ms a period: 120 ms of work need two whole periods and 20 ms.
        close(&run(0.5, CpuModel::Quota, &[(0.0, 120.0)], 0.0).0, &[220.0]);
        // Work that uses a period's quota up exactly ends with it.
        close(&run(0.5, CpuModel::Quota, &[(0.0, 50.0)], 0.0).0, &[50.0]);
        close(&run(0.5, CpuModel::Quota, &[(0.0, 100.0)], 0.0).0, &[150.0]);
    }

    #[test]
    fn ten_at_once_take_what_the_periods_allow() {
        // 400 ms of CPU at 50 ms a period: the last CPU is spent 50 ms into the eighth period. The ten share one
        // core, so all end together.
        close(&run(0.5, CpuModel::Quota, &[(0.0, 40.0); 10], 0.0).0, &[750.0; 10]);
        close(&run(0.5, CpuModel::Fluid, &[(0.0, 40.0); 10], 0.0).0, &[800.0; 10]);
    }

    #[test]
    fn quota_left_over_is_lost_and_a_new_period_refills() {
        // 30 ms of the first period used, the rest lost; at 80 ms 20 ms are left, then the stall until 100.
        close(&run(0.5, CpuModel::Quota, &[(0.0, 30.0), (80.0, 40.0)], 0.0).0, &[30.0, 120.0]);
        // A request that begins 10 ms before the boundary runs through it.
        close(&run(0.5, CpuModel::Quota, &[(90.0, 60.0)], 0.0).0, &[150.0]);
        // Idle periods cost nothing and change nothing.
        close(&run(0.5, CpuModel::Quota, &[(100_000_090.0, 60.0)], 0.0).0, &[100_000_150.0]);
    }

    #[test]
    fn one_and_a_half_cores_throttle_only_when_two_run() {
        close(&run(1.5, CpuModel::Quota, &[(0.0, 500.0)], 0.0).0, &[500.0]);
        // Two on two cores: 75 ms, then a stall until 100, then the last 25 ms.
        close(&run(1.5, CpuModel::Quota, &[(0.0, 100.0), (0.0, 100.0)], 0.0).0, &[125.0, 125.0]);
        // Two for 70 ms use 140 of 150; the one left has 10 ms until the stall.
        close(&run(1.5, CpuModel::Quota, &[(0.0, 70.0), (0.0, 100.0)], 0.0).0, &[70.0, 120.0]);
        // Three share two cores: 2/3 each; 75 ms give 50 ms of work.
        close(&run(1.5, CpuModel::Quota, &[(0.0, 60.0); 3], 0.0).0, &[115.0; 3]);
    }

    #[test]
    fn whole_cores_are_the_same_under_both_models() {
        let jobs: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i * 7 % 40), f64::from(i * 13 % 29))).collect();
        let mut jobs = jobs;
        jobs.sort_by(|a, b| a.0.total_cmp(&b.0));
        for c in [1.0, 2.0, 4.0] {
            assert_eq!(run(c, CpuModel::Quota, &jobs, 0.0).0, run(c, CpuModel::Fluid, &jobs, 0.0).0);
        }
    }

    #[test]
    fn background_shares_the_cpu() {
        // One thread of background and one request on one core: half each.
        close(&run(1.0, CpuModel::Fluid, &[(0.0, 40.0)], 1.0).0, &[80.0]);
        // A background that wants a quarter gets it; the request has the rest.
        close(&run(1.0, CpuModel::Fluid, &[(0.0, 30.0)], 0.25).0, &[40.0]);
        // Two threads' worth beside one request on one core: a third each.
        close(&run(1.0, CpuModel::Fluid, &[(0.0, 10.0)], 2.0).0, &[30.0]);
        // Enough cores for both.
        close(&run(2.0, CpuModel::Fluid, &[(0.0, 40.0)], 1.0).0, &[40.0]);
        // Under the quota of half a core both use it up: 50 ms shared, 25 ms each.
        close(&run(0.5, CpuModel::Quota, &[(0.0, 40.0)], 1.0).0, &[130.0]);
    }

    #[test]
    fn cpu_is_accounted() {
        let (_, used) = run(0.5, CpuModel::Quota, &[(0.0, 40.0); 10], 0.0);
        assert!((used - 0.4).abs() < 1e-6, "{used}");
        let (done, used) = run(0.5, CpuModel::Quota, &[(3.0, 333.0), (17.0, 40.0), (250.0, 1.0)], 0.0);
        assert!((used - 0.374).abs() < 1e-6, "{used} {done:?}");
        let mut p = Processor::new(vcpu(0.25), CpuModel::Quota, 0);
        p.set_background(vcpu(1.0));
        assert!((p.used(1_000 * MS) - 0.25).abs() < 1e-9);
        p.advance(1_010 * MS);
        p.set_background(Cpu::ZERO);
        assert!((p.used(5_000 * MS) - 0.26).abs() < 1e-9);
    }

    #[test]
    fn speed_scales_progress_but_not_use() {
        let mut p = Processor::new(vcpu(1.0), CpuModel::Fluid, 0);
        p.set_requests(1);
        p.set_speed(0.5);
        assert_eq!(p.finish(10e6), Some(20 * MS));
        p.advance(10 * MS);
        p.set_speed(0.0);
        assert_eq!(p.finish(10e6), None);
        p.advance(30 * MS);
        p.set_speed(2.0);
        assert_eq!(p.finish(10e6), Some(32_500_000));
        assert!((p.used(30 * MS) - 0.03).abs() < 1e-9);
    }
}
