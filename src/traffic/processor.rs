//! The CPU of a task server, as attained service.
//!
//! All requests on the CPU run at one rate, so one number suffices: the service that a request attained since the
//! server was last empty. A request that arrives with work `w` leaves when it has grown by `w`. Nothing is done per
//! request when the number of requests changes, and nothing at all while nothing changes: the quota of a hundred
//! periods is passed in one step.
//!
//! What servers have in common ([`Cores`]), what every event needs ([`Clock`]) and what few need ([`Slow`])
//! lie apart, because memory traffic is what a request costs.

use crate::scenario::model::CpuModel;
use crate::units::Cpu;

/// Length of a CFS bandwidth period in nanoseconds: the kernel's default of 100 ms.
pub(super) const PERIOD: u64 = 100_000_000;

/// The CPU of a kind of servers, and how it is shared.
///
/// * `fluid`: `n` requests run at `min(1, c / n)` cores each.
/// * `quota`: they run at `min(1, k / n)` cores each on the `k` visible cores, `c` rounded up, until `c` x 100 ms of CPU of
///   the period are used; then all stall until the next period. Periods begin with the server. Without a fraction
///   in `c` the quota never binds and nothing is spent on it.
///
/// The background (start-up, sidecars) is a group of threads with a given demand. All threads get the same share
/// of the CPU; what one does not use the others get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    /// Cores that are shared.
    cores: f64,
    inverse: f64,
    /// CPU of a full period, vCPU-nanoseconds.
    quota: f64,
    throttled: bool,
}

impl Cores {
    pub(super) fn new(cpu: Cpu, model: CpuModel) -> Self {
        // A task without any CPU would never finish anything; one part in 128,000 stands for it.
        let c = cpu.vcpus().max(1.0 / Cpu::PER_VCPU as f64);
        let cores = if model == CpuModel::Quota { c.ceil() } else { c };
        Self { cores, inverse: 1.0 / cores, quota: c * PERIOD as f64, throttled: cores > c }
    }

    /// No limit but that of the node: the cores are those that the node has.
    pub(super) fn unlimited() -> Self {
        Self { cores: f64::INFINITY, inverse: 0.0, quota: f64::INFINITY, throttled: false }
    }

    /// The cores that are visible, not above those of a node.
    pub(super) fn visible(&self, node: f64) -> f64 {
        self.cores.min(node)
    }

    /// A quota may bind.
    #[inline]
    pub(super) fn throttled(&self) -> bool {
        self.throttled
    }
}

/// The state that every event of a server needs. Before anything changes, the time until then is
/// accounted with [`Clock::advance`]; after it, [`Clock::share`] sets the new rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Nanoseconds of CPU at normal speed that a request present all the time would have had.
    pub(super) attained: f64,
    /// The instant up to which everything is accounted, nanoseconds.
    last: u64,
    /// Growth of `attained` while running.
    rate: f64,
    /// CPU used so far, vCPU-nanoseconds.
    used: f64,
    /// Requests on the CPU.
    pub(super) running: u32,
    /// The kind of server, and [`ODD`] when it is throttled, has a background or another speed than normal. With [`ODD`]
    /// also [`SHARED`] when it is on a node, and [`FLOWING`] while its time is the node's.
    tag: u32,
}

const ODD: u32 = 1 << 31;
const SHARED: u32 = 1 << 30;
const FLOWING: u32 = 1 << 29;
/// A quota with less than this left is used up, vCPU-nanoseconds: what rounding may leave of it.
const NOTHING: f64 = 1e-3;

/// The state of throttled servers, of those with a background or at another speed, and of those on a node.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Slow {
    /// CPU left in this period, and its end.
    left: f64,
    period_end: u64,
    /// Cores in use while running, background included, and their inverse.
    busy: f64,
    inverse_busy: f64,
    speed: f64,
    background: f64,
    /// Cores that may be used now: those of the task, fewer while a node's other tasks leave fewer.
    room: f64,
    /// Time that the quota kept the CPU from those who wanted it, nanoseconds.
    stalled: f64,
}

/// The smallest whole number at least `x`; zero for what is negative.
#[inline]
pub(super) fn round_up(x: f64) -> u64 {
    // Through i64: the conversion is one instruction, and 292 years suffice for a step.
    let whole = x as i64;
    let up = whole + i64::from((whole as f64) < x);
    up.max(0) as u64
}

impl Clock {
    /// `kind` is a number that is kept for the caller.
    pub(super) fn new(kind: u32, cores: &Cores, now: u64) -> (Self, Slow) {
        let tag = if cores.throttled { kind | ODD } else { kind };
        (
            Self { attained: 0.0, last: now, rate: 0.0, used: 0.0, running: 0, tag },
            Slow {
                left: cores.quota,
                period_end: now + PERIOD,
                busy: 0.0,
                inverse_busy: f64::INFINITY,
                speed: 1.0,
                background: 0.0,
                room: cores.cores,
                stalled: 0.0,
            },
        )
    }

    /// From now on the server is on a node that has this many cores for it.
    pub(super) fn seat(&mut self, slow: &mut Slow, room: f64) {
        self.tag |= SHARED | ODD;
        slow.room = room;
    }

    /// From now on time passes as the node's does: `weight` cores for a unit of it, which only [`Clock::flow`] accounts for.
    /// Returns the node's time that work up to `mark` takes. Everything until now must be accounted.
    #[inline]
    pub(super) fn begin_flow(&mut self, slow: &mut Slow, weight: f64, mark: f64) -> f64 {
        self.tag |= FLOWING;
        self.rate = weight * slow.speed / f64::from(self.running);
        slow.busy = weight;
        let want = (mark - self.attained) / self.rate;
        if want.is_nan() { 0.0 } else { want.max(0.0) }
    }

    /// Time passes as usual again. Everything until now must be accounted, and the rate set anew.
    #[inline]
    pub(super) fn end_flow(&mut self) {
        self.tag &= !FLOWING;
    }

    /// Whether its time is the node's.
    #[inline]
    pub(super) fn flowing(&self) -> bool {
        self.tag & FLOWING != 0
    }

    /// Accounts for a length of the node's time, which ends at `now`.
    #[inline]
    pub(super) fn flow(&mut self, slow: &Slow, length: f64, now: u64) {
        self.attained += length * self.rate;
        self.used += length * slow.busy;
        self.last = now;
    }

    /// Whether the server is on a node.
    #[inline]
    pub(super) fn shared(&self) -> bool {
        self.tag & SHARED != 0
    }

    /// The kind of the server.
    #[inline]
    pub(super) fn kind(&self) -> usize {
        (self.tag & !(ODD | SHARED | FLOWING)) as usize
    }

    /// Changes the kind of the server; the cores of both must be the same.
    pub(super) fn set_kind(&mut self, kind: u32) {
        self.tag = (self.tag & (ODD | SHARED | FLOWING)) | kind;
    }

    #[inline]
    fn plain(&self) -> bool {
        self.tag & ODD == 0
    }

    /// Accounts for the time until `now`, which is the server's own.
    #[inline]
    pub(super) fn advance(&mut self, cores: &Cores, slow: &mut Slow, now: u64) {
        let length = now - self.last;
        if self.plain() {
            let attained = length as f64 * self.rate;
            self.attained += attained;
            self.used += attained * f64::from(self.running);
        } else {
            let mut run = length as f64;
            if cores.throttled {
                run = slow.run(cores, self.last, now);
                slow.stalled += length as f64 - run;
            }
            self.attained += run * self.rate;
            self.used += run * slow.busy;
        }
        self.last = now;
    }

    /// Sets the rate for the requests that are on the CPU from now on.
    #[inline]
    pub(super) fn share(&mut self, cores: &Cores, slow: &mut Slow) {
        let n = f64::from(self.running);
        // Everywhere values instead of branches: how many are on the CPU is nothing that the processor could guess.
        let rate = if self.plain() {
            (cores.cores / n).min(1.0)
        } else {
            let (share, busy) = if slow.background == 0.0 {
                ((slow.room / n).min(1.0), n.min(slow.room))
            } else {
                with_background(slow.room, n, slow.background)
            };
            slow.busy = busy;
            slow.inverse_busy = 1.0 / busy;
            share * slow.speed
        };
        // With nobody here nobody looks at it; from zero on it keeps its precision.
        let some = f64::from(u8::from(self.running > 0));
        self.rate = rate * some;
        self.attained *= some;
    }

    /// When a request with this mark is done, if nothing changes; never before now. `None` when nothing moves.
    #[inline]
    pub(super) fn finish(&self, cores: &Cores, slow: &Slow, mark: f64) -> Option<u64> {
        let work = mark - self.attained;
        if self.plain() {
            let want = work * (f64::from(self.running) * cores.inverse).max(1.0);
            return Some(self.last.saturating_add(round_up(want)));
        }
        let mut want = work / self.rate;
        if cores.throttled {
            let room = ((slow.period_end - self.last) as f64).min(slow.left * slow.inverse_busy);
            if want > room {
                want -= room;
                let stretch = slow.stretch(cores);
                let periods = round_up(want / stretch).saturating_sub(1);
                let part = round_up(want - periods as f64 * stretch);
                return Some(slow.period_end.saturating_add(periods.saturating_mul(PERIOD)).saturating_add(part));
            }
        }
        // Nothing moves at no speed; no work at no speed is not a number, and is done.
        (want != f64::INFINITY).then(|| self.last.saturating_add(round_up(want)))
    }

    /// A request has just reached its mark: takes the rounding of its completion to a whole nanosecond away.
    #[inline]
    pub(super) fn reached(&mut self, mark: f64) {
        self.attained = self.attained.max(mark);
    }

    /// Changes the speed: 1 is normal. Everything until now must be accounted.
    pub(super) fn set_speed(&mut self, cores: &Cores, slow: &mut Slow, speed: f64) {
        slow.speed = if speed.is_finite() { speed.max(0.0) } else { 1.0 };
        self.changed(cores, slow);
    }

    /// Changes the background's demand. Everything until now must be accounted.
    pub(super) fn set_background(&mut self, cores: &Cores, slow: &mut Slow, cpu: Cpu) {
        slow.background = cpu.vcpus();
        self.changed(cores, slow);
    }

    fn changed(&mut self, cores: &Cores, slow: &mut Slow) {
        let plain = !cores.throttled && slow.speed == 1.0 && slow.background == 0.0 && !self.shared();
        self.tag = if plain { self.tag & !ODD } else { self.tag | ODD };
        self.share(cores, slow);
    }

    /// Until `now`: CPU used, and time in which the quota was used up and somebody wanted CPU, in vCPU-seconds and seconds.
    /// `flow` is the length of the node's time when that counts.
    pub(super) fn used(&self, cores: &Cores, slow: &Slow, now: u64, flow: f64) -> (f64, f64) {
        let (mut then, mut slow) = (*self, *slow);
        if self.flowing() {
            then.flow(&slow, flow, now);
        } else {
            then.advance(cores, &mut slow, now.max(self.last));
        }
        (then.used / 1e9, slow.stalled / 1e9)
    }

    /// Somebody wants CPU beside the requests.
    #[inline]
    pub(super) fn accompanied(slow: &Slow) -> bool {
        slow.background > 0.0
    }

    /// What the server would use if it were alone, in cores: a core a request and the background, not above `most`.
    #[inline]
    pub(super) fn demand(&self, slow: &Slow, most: f64) -> f64 {
        (f64::from(self.running) + slow.background).min(most)
    }

    /// The quota is used up. Everything until now must be accounted.
    #[inline]
    pub(super) fn exhausted(&self, cores: &Cores, slow: &Slow) -> bool {
        cores.throttled && slow.left <= NOTHING
    }

    /// When the quota will next be used up, or be there again, at the present rate; `u64::MAX` for never.
    pub(super) fn turn(&self, cores: &Cores, slow: &Slow) -> u64 {
        if !cores.throttled || slow.busy <= 0.0 {
            return u64::MAX;
        }
        if slow.left <= NOTHING {
            return slow.period_end;
        }
        let now = self.last.saturating_add(round_up(slow.left * slow.inverse_busy).max(1));
        if now < slow.period_end {
            return now;
        }
        let next = round_up(cores.quota * slow.inverse_busy);
        if next < PERIOD { slow.period_end + next } else { u64::MAX }
    }
}

impl Slow {
    /// Changes the cores that may be used. Everything until now must be accounted.
    #[inline]
    pub(super) fn set_room(&mut self, cores: f64) {
        self.room = cores;
    }
}

impl Slow {
    /// Running time that a full period gives, nanoseconds.
    #[inline]
    fn stretch(&self, cores: &Cores) -> f64 {
        (PERIOD as f64).min(cores.quota * self.inverse_busy)
    }

    /// Running time between two instants under the quota, in nanoseconds; takes its CPU out of it.
    #[inline]
    fn run(&mut self, cores: &Cores, last: u64, now: u64) -> f64 {
        let limit = self.left * self.inverse_busy;
        if now < self.period_end {
            let run = ((now - last) as f64).min(limit);
            self.left -= run * self.busy;
            return run;
        }
        let run = ((self.period_end - last) as f64).min(limit);
        let rest = now - self.period_end;
        let (periods, part) = if rest < PERIOD { (0, rest) } else { (rest / PERIOD, rest % PERIOD) };
        let stretch = self.stretch(cores);
        let partial = (part as f64).min(stretch);
        self.left = cores.quota - partial * self.busy;
        self.period_end += (periods + 1) * PERIOD;
        run + periods as f64 * stretch + partial
    }
}

/// The share of each of `n` requests beside a background that demands `b` of `c` cores, and the cores in use.
#[cold]
fn with_background(c: f64, n: f64, b: f64) -> (f64, f64) {
    if n + b <= c {
        return (1.0, n + b);
    }
    let threads = b.ceil();
    let level = c / (n + threads);
    // The background's threads get an even share each, and less only if they want less.
    if level * threads <= b { (level, c) } else { ((c - b) / n, c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn vcpu(x: f64) -> Cpu {
        Cpu::from_parts((x * Cpu::PER_VCPU as f64) as u64)
    }

    struct Processor(Cores, Clock, Slow);

    impl Processor {
        fn new(cpu: f64, model: CpuModel) -> Self {
            let cores = Cores::new(vcpu(cpu), model);
            let (clock, slow) = Clock::new(3, &cores, 0);
            Self(cores, clock, slow)
        }

        fn advance(&mut self, now: u64) {
            self.1.advance(&self.0, &mut self.2, now);
        }

        fn set_requests(&mut self, n: usize) {
            self.1.running = n as u32;
            self.1.share(&self.0, &mut self.2);
        }

        fn finish(&self, mark: f64) -> Option<u64> {
            self.1.finish(&self.0, &self.2, mark)
        }

        fn used(&self, now: u64) -> f64 {
            self.1.used(&self.0, &self.2, now, 0.0).0
        }

        fn set_background(&mut self, b: f64) {
            self.1.set_background(&self.0, &mut self.2, vcpu(b));
        }

        fn set_speed(&mut self, speed: f64) {
            self.1.set_speed(&self.0, &mut self.2, speed);
        }
    }

    /// Runs jobs of (arrival, work) in ms alone on a processor; their completion times in ms.
    fn run(cpu: f64, model: CpuModel, jobs: &[(f64, f64)], background: f64) -> (Vec<f64>, f64) {
        let mut p = Processor::new(cpu, model);
        p.set_background(background);
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
                p.1.reached(mark);
                active.retain(|a| a.1 != job);
                done[job] = now as f64 / 1e6;
            } else {
                active.push((p.1.attained + jobs[next].1 * 1e6, next));
                next += 1;
            }
            p.set_requests(active.len());
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
        let mut jobs: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i * 7 % 40), f64::from(i * 13 % 29))).collect();
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
        let mut p = Processor::new(0.25, CpuModel::Quota);
        p.set_background(1.0);
        assert!((p.used(1_000 * MS) - 0.25).abs() < 1e-9);
        p.advance(1_010 * MS);
        p.set_background(0.0);
        assert!((p.used(5_000 * MS) - 0.26).abs() < 1e-9);
    }

    #[test]
    fn speed_scales_progress_but_not_use() {
        let mut p = Processor::new(1.0, CpuModel::Fluid);
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
