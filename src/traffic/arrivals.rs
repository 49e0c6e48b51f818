//! When requests arrive: one process per source, which knows the next instant only.

use std::sync::Arc;

use rand::Rng;

use super::curve::{Cursor, RateCurve};
use super::sampler::{Sampler, Tables};
use crate::kernel::{Draw, Law, SimTime, Stream, StreamExt};
use crate::scenario::model::{Arrivals, Placement, Recorded, Trace, TraceRow};

/// The next instants of one source, in nanoseconds from the start of the simulation.
#[derive(Clone, Debug)]
pub(super) enum Process {
    Rate(RateProcess),
    Trace(TraceProcess),
    Recorded(RecordedProcess),
}

impl Process {
    /// The next arrival, not before the one before it; `None` when there is no further one.
    #[inline]
    pub(super) fn next(&mut self, stream: &mut Stream) -> Option<SimTime> {
        let nanos = match self {
            Self::Rate(p) => p.next(stream)?,
            Self::Trace(p) => p.next(stream)?,
            Self::Recorded(p) => p.next()?,
        };
        // Half a millennium is beyond any simulation.
        (nanos < u64::MAX as f64).then(|| SimTime::from_nanos((nanos + 0.5) as u64))
    }
}

impl Process {
    /// Requests expected between two instants, nanoseconds; `None` for recorded ones.
    pub(super) fn expected(&self, from: f64, to: f64) -> Option<f64> {
        match self {
            Self::Rate(p) => Some(p.curve.between(from, to)),
            Self::Trace(p) => Some(p.cumulative(to) - p.cumulative(from)),
            Self::Recorded(_) => None,
        }
    }
}

/// Gaps between arrivals in the time of the cumulative rate: of mean one.
#[derive(Clone, Debug)]
enum Gaps {
    Exponential(Sampler),
    Even,
    Law(Law),
}

impl Gaps {
    #[inline]
    fn next(&self, stream: &mut Stream) -> f64 {
        match self {
            Self::Exponential(law) => law.draw(|| Draw::new(stream.next_u64())),
            Self::Even => 1.0,
            Self::Law(law) => law.quantile(stream.unit()),
        }
    }
}

/// Arrivals of a rate curve: gaps of mean one, mapped through the inverse of the cumulative rate.
#[derive(Clone, Debug)]
pub(super) struct RateProcess {
    curve: RateCurve,
    cursor: Cursor,
    gaps: Gaps,
}

impl RateProcess {
    /// # Errors
    /// When the variation of bursty arrivals is negative or not finite.
    pub(super) fn new(curve: RateCurve, arrivals: &Arrivals, tables: &Tables) -> Result<Self, String> {
        let gaps = match arrivals {
            Arrivals::Poisson(_) => Gaps::Exponential(Sampler::new(&Law::Exponential { mean: 1.0 }, 1.0, tables)),
            Arrivals::Deterministic(_) => Gaps::Even,
            Arrivals::Bursty(b) => {
                let law = if b.cv == 0.0 {
                    return Ok(Self { curve, cursor: RateCurve::start(), gaps: Gaps::Even });
                } else if b.cv >= 1.0 {
                    Law::hyperexponential_mean_cv(1.0, b.cv)
                } else {
                    Law::gamma(1.0 / (b.cv * b.cv), 1.0)
                };
                Gaps::Law(law.map_err(|e| e.to_string())?)
            }
        };
        Ok(Self { curve, cursor: RateCurve::start(), gaps })
    }

    #[inline]
    fn next(&mut self, stream: &mut Stream) -> Option<f64> {
        let mass = self.gaps.next(stream);
        self.curve.advance(&mut self.cursor, mass)
    }
}

/// Arrivals of counts per interval.
#[derive(Clone, Debug)]
pub(super) struct TraceProcess {
    rows: Arc<[TraceRow]>,
    placement: Placement,
    scale: f64,
    time_scale: f64,
    /// Start in the trace's own time, nanoseconds.
    from: f64,
    repeat: bool,
    /// The row that is read next.
    row: usize,
    /// Simulated time at which this round through the trace began, nanoseconds.
    round: f64,
    /// Where the reader stands, and the end of its interval, in simulated nanoseconds.
    at: f64,
    end: f64,
    /// Exact: requests left in the interval. Poisson: requests a nanosecond in it.
    left: f64,
    /// Exact: the part of a request carried on.
    carry: f64,
}

impl TraceProcess {
    /// # Errors
    /// When the rows go back in time, are fewer than two, hold negative counts, or lie before the start wanted.
    pub(super) fn new(trace: &Trace, rows: Arc<[TraceRow]>) -> Result<Self, String> {
        if rows.len() < 2 {
            return Err("a trace needs at least two rows".into());
        }
        if rows.windows(2).any(|w| w[1].at <= w[0].at) {
            return Err("the rows of the trace do not go forward in time".into());
        }
        if rows.iter().any(|r| !(r.requests.is_finite() && r.requests >= 0.0)) {
            return Err("a count of the trace is negative or not finite".into());
        }
        if !(trace.scale.is_finite() && trace.scale >= 0.0 && trace.time_scale.is_finite() && trace.time_scale > 0.0) {
            return Err("scale must be at least 0 and time_scale above 0".into());
        }
        let mut p = Self {
            rows,
            placement: trace.placement,
            scale: trace.scale,
            time_scale: trace.time_scale,
            from: trace.from.as_nanos() as f64,
            repeat: trace.repeat,
            row: 0,
            round: 0.0,
            at: 0.0,
            end: 0.0,
            left: 0.0,
            carry: 0.0,
        };
        if p.row_end(p.rows.len() - 1) <= p.from {
            return Err("the trace ends before `from`".into());
        }
        p.row = p.first_row();
        let total: f64 = p.rows[p.row..].iter().map(|r| r.requests * p.scale).sum();
        // A trace without requests must not be read round and round.
        p.repeat &= total > 1e-3;
        Ok(p)
    }

    fn first_row(&self) -> usize {
        (0..self.rows.len()).find(|&i| self.row_end(i) > self.from).unwrap_or(0)
    }

    /// End of a row's interval in the trace's own time; the last is as long as the one before it.
    fn row_end(&self, i: usize) -> f64 {
        let at = |i: usize| self.rows[i].at.as_nanos() as f64;
        if i + 1 < self.rows.len() { at(i + 1) } else { 2.0 * at(i) - at(i - 1) }
    }

    /// Requests expected from the start of the simulation until `t`, nanoseconds.
    fn cumulative(&self, t: f64) -> f64 {
        let last = self.row_end(self.rows.len() - 1);
        let whole = (last - self.from) * self.time_scale;
        let upto = |t: f64| -> f64 {
            let end = self.from + t / self.time_scale;
            let of_row = |(i, row): (usize, &TraceRow)| {
                let (start, stop) = (row.at.as_nanos() as f64, self.row_end(i));
                let inside = end.min(stop) - start.max(self.from);
                row.requests * self.scale * (inside.max(0.0) / (stop - start))
            };
            self.rows.iter().enumerate().map(of_row).sum()
        };
        if !self.repeat {
            return upto(t);
        }
        let rounds = (t / whole).floor();
        rounds * upto(whole) + upto(t - rounds * whole)
    }

    /// Goes to the next interval; false at the end of the trace.
    fn next_interval(&mut self) -> bool {
        if self.row == self.rows.len() {
            if !self.repeat {
                return false;
            }
            self.round = self.end;
            self.row = self.first_row();
        }
        let (start, end) = (self.rows[self.row].at.as_nanos() as f64, self.row_end(self.row));
        let begin = start.max(self.from);
        let requests = self.rows[self.row].requests * self.scale * ((end - begin) / (end - start));
        self.at = self.round + (begin - self.from) * self.time_scale;
        self.end = self.round + (end - self.from) * self.time_scale;
        self.row += 1;
        match self.placement {
            Placement::Exact => {
                // The small addition keeps sums of binary fractions from losing a whole request.
                let due = self.carry + requests;
                self.left = (due + 1e-6).floor();
                self.carry = (due - self.left).max(0.0);
            }
            Placement::Poisson => self.left = requests / (self.end - self.at),
        }
        true
    }

    fn next(&mut self, stream: &mut Stream) -> Option<f64> {
        match self.placement {
            Placement::Exact => {
                while self.left < 1.0 {
                    if !self.next_interval() {
                        return None;
                    }
                }
                // The first of `left` uniform instants in what remains of the interval: 1 - U^(1/left).
                let share = -libm::expm1(libm::log(stream.unit()) / self.left);
                self.at += (self.end - self.at) * share;
                self.left -= 1.0;
                Some(self.at)
            }
            Placement::Poisson => {
                let mut mass = stream.exponential();
                loop {
                    let room = self.left * (self.end - self.at);
                    if mass < room {
                        self.at += mass / self.left;
                        return Some(self.at);
                    }
                    mass -= room;
                    self.at = self.end;
                    if !self.next_interval() {
                        self.left = 0.0;
                        return None;
                    }
                }
            }
        }
    }
}

/// Recorded instants.
#[derive(Clone, Debug)]
pub(super) struct RecordedProcess {
    instants: Arc<[SimTime]>,
    next: usize,
    from: f64,
    time_scale: f64,
}

impl RecordedProcess {
    /// # Errors
    /// When the instants go back in time or the time scale is not positive.
    pub(super) fn new(recorded: &Recorded, instants: Arc<[SimTime]>) -> Result<Self, String> {
        if instants.windows(2).any(|w| w[1] < w[0]) {
            return Err("the recorded instants go back in time".into());
        }
        if !(recorded.time_scale.is_finite() && recorded.time_scale > 0.0) {
            return Err("time_scale must be above 0".into());
        }
        let from = SimTime::ZERO + recorded.from;
        let next = instants.partition_point(|&t| t < from);
        Ok(Self { instants, next, from: from.as_nanos() as f64, time_scale: recorded.time_scale })
    }

    fn next(&mut self) -> Option<f64> {
        let at = self.instants.get(self.next)?.as_nanos() as f64;
        self.next += 1;
        Some((at - self.from) * self.time_scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SimDuration, Streams};
    use crate::scenario::model::{Bursty, Deterministic, Poisson, RatePoint};

    fn all(mut p: Process, seed: u64, n: usize) -> Vec<f64> {
        let mut stream = Streams::new(seed, 0).stream("test");
        (0..n).map_while(|_| p.next(&mut stream)).map(SimTime::as_secs_f64).collect()
    }

    fn constant(rps: f64, arrivals: &Arrivals) -> Process {
        let curve = RateCurve::new(&[RatePoint { at: SimDuration::ZERO, rps }], [].iter(), SimDuration::ZERO).unwrap();
        Process::Rate(RateProcess::new(curve, arrivals, &Tables::default()).unwrap())
    }

    #[test]
    fn gaps_have_mean_and_variation() {
        for (arrivals, cv) in [
            (Arrivals::Poisson(Poisson {}), 1.0),
            (Arrivals::Deterministic(Deterministic {}), 0.0),
            (Arrivals::Bursty(Bursty { cv: 3.0 }), 3.0),
            (Arrivals::Bursty(Bursty { cv: 0.4 }), 0.4),
            (Arrivals::Bursty(Bursty { cv: 1.0 }), 1.0),
            (Arrivals::Bursty(Bursty { cv: 0.0 }), 0.0),
        ] {
            let t = all(constant(50.0, &arrivals), 7, 200_000);
            let gaps: Vec<f64> = t.windows(2).map(|w| w[1] - w[0]).collect();
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let sd = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!((mean * 50.0 - 1.0).abs() < 0.02, "{arrivals:?}: mean {mean}");
            assert!((sd / mean - cv).abs() < 0.05 * (1.0 + cv), "{arrivals:?}: cv {}", sd / mean);
        }
    }

    fn trace(placement: Placement, scale: f64) -> Trace {
        Trace { file: "t".into(), placement, scale, time_scale: 1.0, from: SimDuration::ZERO, repeat: false }
    }

    fn rows(counts: &[f64]) -> Arc<[TraceRow]> {
        counts
            .iter()
            .enumerate()
            .map(|(i, &requests)| TraceRow { at: SimTime::from_secs(10 * i as u64), requests })
            .collect()
    }

    fn per_interval(t: &[f64], n: usize) -> Vec<usize> {
        (0..n).map(|i| t.iter().filter(|&&x| (x / 10.0) as usize == i).count()).collect()
    }

    #[test]
    fn an_exact_trace_gives_the_numbers() {
        let process = |t: &Trace, c: &[f64]| Process::Trace(TraceProcess::new(t, rows(c)).expect("a valid trace"));
        let t = all(process(&trace(Placement::Exact, 1.0), &[3.0, 0.0, 500.0, 1.0]), 1, 10_000);
        assert_eq!(per_interval(&t, 5), [3, 0, 500, 1, 0]);
        assert!(t.windows(2).all(|w| w[0] <= w[1]));
        // Uniform inside the interval.
        let mean = t[3..503].iter().sum::<f64>() / 500.0;
        assert!((mean - 25.0).abs() < 4.0 * 10.0 / 12f64.sqrt() / 500f64.sqrt(), "{mean}");
        // Half of 3, 3, 3, 3: the remainder is carried.
        let t = all(process(&trace(Placement::Exact, 0.5), &[3.0; 4]), 1, 100);
        assert_eq!(per_interval(&t, 4), [1, 2, 1, 2]);
        // Twice as fast, from the middle of the first interval, again and again.
        let again =
            Trace { time_scale: 0.5, from: SimDuration::from_secs(5), repeat: true, ..trace(Placement::Exact, 1.0) };
        let expected = process(&again, &[8.0, 6.0]);
        for (to, n) in [(2.5, 4.0), (5.0, 7.0), (7.5, 10.0), (15.0, 20.0)] {
            assert!((expected.expected(0.0, to * 1e9).unwrap() - n).abs() < 1e-9);
        }
        let t = all(process(&again, &[8.0, 6.0]), 1, 25);
        let in_ranges: Vec<usize> = [(0.0, 2.5), (2.5, 7.5), (7.5, 10.0), (10.0, 15.0)]
            .iter()
            .map(|&(a, b)| t.iter().filter(|&&x| x >= a && x < b).count())
            .collect();
        assert_eq!(in_ranges, [4, 6, 4, 6]);
    }

    #[test]
    fn a_poisson_trace_has_the_means() {
        let p = TraceProcess::new(&trace(Placement::Poisson, 2.0), rows(&[2_000.0, 0.0, 10_000.0])).unwrap();
        let counts = per_interval(&all(Process::Trace(p), 3, 100_000), 3);
        assert!((counts[0] as f64 - 4_000.0).abs() < 5.0 * 4_000f64.sqrt());
        assert_eq!(counts[1], 0);
        assert!((counts[2] as f64 - 20_000.0).abs() < 5.0 * 20_000f64.sqrt());
    }

    #[test]
    fn bad_traces_are_refused() {
        let t = trace(Placement::Exact, 1.0);
        assert!(TraceProcess::new(&t, rows(&[1.0])).is_err());
        assert!(TraceProcess::new(&t, rows(&[1.0, -1.0])).is_err());
        let back: Arc<[TraceRow]> = rows(&[1.0, 2.0]).iter().rev().copied().collect();
        assert!(TraceProcess::new(&t, back).is_err());
        let late = Trace { from: SimDuration::from_secs(20), ..t };
        assert!(TraceProcess::new(&late, rows(&[1.0, 2.0])).is_err());
        let nothing = Trace { repeat: true, ..trace(Placement::Exact, 1.0) };
        let p = TraceProcess::new(&nothing, rows(&[0.0, 0.0])).unwrap();
        assert_eq!(all(Process::Trace(p), 1, 10), Vec::<f64>::new());
    }

    #[test]
    fn recorded_instants_are_played() {
        let instants: Arc<[SimTime]> = [1, 5, 5, 9].map(SimTime::from_secs).into_iter().collect();
        let r = Recorded { file: "r".into(), time_scale: 2.0, from: SimDuration::from_secs(2) };
        let p = RecordedProcess::new(&r, instants).unwrap();
        assert_eq!(all(Process::Recorded(p), 1, 10), [6.0, 6.0, 14.0]);
    }
}
