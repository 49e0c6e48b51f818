//! A rate over time with its cumulative rate in closed form: straight pieces and sine waves.

use std::f64::consts::TAU;

use crate::scenario::model::{RatePoint, Shape};

use crate::kernel::SimDuration;

/// Requests a nanosecond per request a second.
const PER_NANO: f64 = 1e-9;
const DAY_NANOS: f64 = 86_400e9;

/// A straight piece of the rate, up to the start of the next one. The last piece goes on for ever.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Nanoseconds.
    start: f64,
    /// Requests a nanosecond at the start.
    rate: f64,
    /// Growth of the rate, requests a nanosecond².
    slope: f64,
}

/// `max(0, mean + amplitude * sin(2 pi (t - phase) / period))`, amplitude not negative.
#[derive(Clone, Copy, Debug)]
struct Wave {
    mean: f64,
    amplitude: f64,
    period: f64,
    phase: f64,
    /// The angles between which the wave is positive; `None` when it never falls below zero.
    positive: Option<(f64, f64)>,
}

impl Wave {
    /// Rates in requests a nanosecond, times in nanoseconds.
    fn new(mean: f64, amplitude: f64, period: f64, phase: f64) -> Self {
        let (amplitude, phase) = if amplitude < 0.0 { (-amplitude, phase + period / 2.0) } else { (amplitude, phase) };
        let positive = (amplitude > mean).then(|| {
            let zero = libm::asin((-mean / amplitude).min(1.0));
            (zero, TAU / 2.0 - zero)
        });
        Self { mean, amplitude, period, phase, positive }
    }

    fn cycles(&self, t: f64) -> (f64, f64) {
        let x = (t - self.phase) / self.period;
        let whole = x.floor();
        (whole, (x - whole) * TAU)
    }

    fn rate(&self, t: f64) -> f64 {
        (self.mean + self.amplitude * libm::sin(self.cycles(t).1)).max(0.0)
    }

    /// Integral of the wave over angles from 0 to `angle`, 0 to 2 pi.
    fn angular(&self, angle: f64) -> f64 {
        let stretch = |from: f64, to: f64| {
            if to <= from {
                return 0.0;
            }
            self.mean * (to - from) + self.amplitude * (libm::cos(from) - libm::cos(to))
        };
        match self.positive {
            None => self.mean * angle + self.amplitude * (1.0 - libm::cos(angle)),
            Some((low, high)) => stretch(low.max(0.0), high.min(angle)) + stretch(low + TAU, angle.min(high + TAU)),
        }
    }

    /// Requests from the start of the wave's cycle 0 until `t`.
    fn cumulative(&self, t: f64) -> f64 {
        let (whole, angle) = self.cycles(t);
        (whole * self.angular(TAU) + self.angular(angle)) * self.period / TAU
    }
}

/// The sum of a curve and shapes.
#[derive(Clone, Debug)]
pub(super) struct RateCurve {
    pieces: Vec<Piece>,
    waves: Vec<Wave>,
}

/// Where a reader of a curve stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    piece: usize,
    /// Nanoseconds, not rounded.
    at: f64,
}

/// A piecewise linear function of time by its points: nanoseconds, requests a second.
type Points = Vec<(f64, f64)>;

/// The value of a function by points just before (`left`) or from `t` on.
fn value(points: &Points, t: f64, left: bool) -> f64 {
    let after = points.partition_point(|p| if left { p.0 < t } else { p.0 <= t });
    match (after.checked_sub(1).map(|i| points[i]), points.get(after)) {
        (None, None) => 0.0,
        (None, Some(p)) => p.1,
        (Some(p), None) => p.1,
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * ((t - a.0) / (b.0 - a.0)),
    }
}

impl RateCurve {
    /// `day_offset` is the time of day (UTC) at which the simulation starts.
    ///
    /// # Errors
    /// When a rate is negative or not finite, a period is zero, or points go back in time.
    pub(super) fn new<'a>(
        rate: &[RatePoint],
        shapes: impl Iterator<Item = &'a Shape>,
        day_offset: SimDuration,
    ) -> Result<Self, String> {
        let nanos = |d: SimDuration| d.as_nanos() as f64;
        let mut lines: Vec<Points> = vec![rate.iter().map(|p| (nanos(p.at), p.rps)).collect()];
        let mut waves = Vec::new();
        for shape in shapes {
            match shape {
                Shape::Sine(s) => {
                    if s.period.is_zero() {
                        return Err("the period of a sine is zero".into());
                    }
                    waves.push(Wave::new(
                        s.mean_rps * PER_NANO,
                        s.amplitude_rps * PER_NANO,
                        nanos(s.period),
                        nanos(s.phase),
                    ));
                }
                Shape::Daily(d) => {
                    // Lowest at low_at: a quarter of a day before the sine's rising zero.
                    let (mean, half) = ((d.low_rps + d.high_rps) / 2.0, (d.high_rps - d.low_rps) / 2.0);
                    let phase = nanos(d.low_at) - nanos(day_offset) + DAY_NANOS / 4.0;
                    waves.push(Wave::new(mean * PER_NANO, half * PER_NANO, DAY_NANOS, phase));
                }
                Shape::Spike(s) => {
                    let up = nanos(s.at) + nanos(s.rise);
                    let down = up + nanos(s.hold);
                    lines.push(vec![(nanos(s.at), 0.0), (up, s.rps), (down, s.rps), (down + nanos(s.fall), 0.0)]);
                }
                Shape::Step(s) => lines.push(vec![(nanos(s.at), 0.0), (nanos(s.at), s.rps)]),
            }
        }
        if lines.iter().flatten().any(|p| !(p.1.is_finite() && p.1 >= 0.0))
            || waves.iter().any(|w: &Wave| !(w.mean.is_finite() && w.amplitude.is_finite()))
        {
            return Err("a rate is negative or not finite".into());
        }
        if lines.iter().any(|l| l.windows(2).any(|w| w[1].0 < w[0].0)) {
            return Err("the points of a rate go back in time".into());
        }
        let mut breaks: Vec<f64> = lines.iter().flatten().map(|p| p.0).chain([0.0]).collect();
        breaks.sort_by(f64::total_cmp);
        breaks.dedup();
        let pieces = breaks
            .iter()
            .enumerate()
            .map(|(i, &start)| {
                let here: f64 = lines.iter().map(|l| value(l, start, false)).sum();
                let slope = breaks.get(i + 1).map_or(0.0, |&end| {
                    let there: f64 = lines.iter().map(|l| value(l, end, true)).sum();
                    (there - here) / (end - start)
                });
                Piece { start, rate: here * PER_NANO, slope: slope * PER_NANO }
            })
            .collect();
        waves.retain(|w| w.angular(TAU) > 0.0);
        Ok(Self { pieces, waves })
    }

    /// True when no request ever comes.
    pub(super) fn is_zero(&self) -> bool {
        self.waves.is_empty() && self.pieces.iter().all(|p| p.rate == 0.0 && p.slope == 0.0)
    }

    /// Requests expected between two instants, nanoseconds.
    pub(super) fn between(&self, from: f64, to: f64) -> f64 {
        let mut sum: f64 = self.waves.iter().map(|w| w.cumulative(to) - w.cumulative(from)).sum();
        for (i, piece) in self.pieces.iter().enumerate() {
            let end = self.pieces.get(i + 1).map_or(f64::INFINITY, |p| p.start).min(to) - piece.start;
            let begin = from.max(piece.start) - piece.start;
            if end > begin {
                sum += (piece.rate + piece.slope * f64::midpoint(begin, end)) * (end - begin);
            }
        }
        sum
    }

    /// The beginning of the simulation.
    pub(super) fn start() -> Cursor {
        Cursor { piece: 0, at: 0.0 }
    }

    /// Moves the cursor to the instant by which `mass` more requests are expected, and returns it in nanoseconds;
    /// `None` when that never happens.
    #[inline]
    pub(super) fn advance(&self, cursor: &mut Cursor, mut mass: f64) -> Option<f64> {
        loop {
            let piece = self.pieces[cursor.piece];
            let end = self.pieces.get(cursor.piece + 1).map_or(f64::INFINITY, |p| p.start);
            let rate = piece.rate + piece.slope * (cursor.at - piece.start);
            let step = if !self.waves.is_empty() {
                self.through_waves(piece, cursor.at, end, mass)
            } else if piece.slope == 0.0 {
                Ok(cursor.at + mass / rate)
            } else {
                // The root of slope/2 x² + rate x = mass in the form that does not cancel.
                let root = rate * rate + 2.0 * piece.slope * mass;
                Ok(if root < 0.0 { f64::INFINITY } else { cursor.at + 2.0 * mass / (rate + root.sqrt()) })
            };
            match step {
                Ok(at) if at < end => {
                    cursor.at = at;
                    return Some(at);
                }
                Ok(_) => {
                    if end == f64::INFINITY {
                        return None;
                    }
                    let length = end - cursor.at;
                    mass -= (rate + piece.slope * length / 2.0) * length;
                }
                Err(passed) => mass -= passed,
            }
            mass = mass.max(0.0);
            cursor.at = end;
            cursor.piece += 1;
        }
    }

    /// The instant in `from..end` at which `mass` requests have come since `from`, or as an error how many come
    /// until `end`. Newton's method, kept inside a shrinking bracket.
    fn through_waves(&self, piece: Piece, from: f64, end: f64, mass: f64) -> Result<f64, f64> {
        let base = piece.rate + piece.slope * (from - piece.start);
        let begin: f64 = self.waves.iter().map(|w| w.cumulative(from)).sum();
        let passed = |t: f64| {
            let length = t - from;
            let line = (base + piece.slope * length / 2.0) * length;
            line + self.waves.iter().map(|w| w.cumulative(t)).sum::<f64>() - begin
        };
        let rate = |t: f64| base + piece.slope * (t - from) + self.waves.iter().map(|w| w.rate(t)).sum::<f64>();
        let (mut low, mut high) = (from, end);
        let mut guess = from + mass / rate(from);
        let mut reach = 1e6;
        // Whether it is known that `mass` is reached before the end.
        let mut inside = end == f64::INFINITY;
        for _ in 0..400 {
            let narrow = high - low < 0.25;
            if !inside && (narrow || guess.is_nan() || guess >= f64::midpoint(low, end)) {
                let whole = passed(end);
                if whole <= mass {
                    return Err(whole);
                }
                inside = true;
            }
            if narrow {
                return Ok(high.min(low + 0.25));
            }
            if !(guess > low && guess < high) {
                guess = if high.is_finite() { f64::midpoint(low, high) } else { low + reach };
                reach *= 2.0;
            }
            let error = passed(guess) - mass;
            let slope = rate(guess);
            if error.abs() <= slope * 0.25 {
                return Ok(guess);
            }
            if error < 0.0 {
                low = guess;
            } else {
                high = guess;
            }
            guess -= error / slope;
        }
        Ok(guess.clamp(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{Daily, Sine, Spike, Step};

    const S: f64 = 1e9;

    fn secs(s: u64) -> SimDuration {
        SimDuration::from_secs(s)
    }

    fn instants(curve: &RateCurve, mass: f64, n: usize) -> Vec<f64> {
        let mut cursor = RateCurve::start();
        (0..n).map_while(|_| curve.advance(&mut cursor, mass)).map(|t| t / S).collect()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    #[test]
    fn steps_ramps_and_held_ends() {
        let points = |v: &[(u64, f64)]| v.iter().map(|&(s, rps)| RatePoint { at: secs(s), rps }).collect::<Vec<_>>();
        // 2 a second held until 10 s, a ramp to 4 at 12 s (6 requests), a step to 0 at 12 s.
        let curve = RateCurve::new(&points(&[(10, 2.0), (12, 4.0), (12, 0.0)]), [].iter(), secs(0)).unwrap();
        close(&instants(&curve, 10.0, 9), &[5.0, 10.0]);
        // Within the ramp: 2 x + x²/2 = 3 at x = -2 + sqrt(10).
        close(&instants(&curve, 23.0, 9), &[8.0 + 10f64.sqrt()]);
        assert!(!curve.is_zero());
        assert!(RateCurve::new(&points(&[(0, 0.0)]), [].iter(), secs(0)).unwrap().is_zero());
        assert!(RateCurve::new(&points(&[(5, 1.0), (3, 1.0)]), [].iter(), secs(0)).is_err());
        assert!(RateCurve::new(&points(&[(5, -1.0)]), [].iter(), secs(0)).is_err());
    }

    #[test]
    fn shapes_add_up() {
        let shapes = [
            Shape::Step(Step { at: secs(2), rps: 1.0 }),
            Shape::Spike(Spike { at: secs(10), rps: 4.0, rise: secs(2), hold: secs(1), fall: secs(2) }),
        ];
        let curve = RateCurve::new(&[], shapes.iter(), secs(0)).unwrap();
        // 8 until 10 s; the spike adds 4 + 4 + 4 and the step 5 until 15 s: 25.
        close(&instants(&curve, 8.0, 1), &[10.0]);
        close(&instants(&curve, 25.0, 1), &[15.0]);
        close(&instants(&curve, 35.0, 1), &[25.0]);
        for (from, to, requests) in
            [(0.0, 25.0, 35.0), (0.0, 10.0, 8.0), (10.0, 11.0, 2.0), (11.0, 13.0, 2.0 + 3.0 + 4.0), (0.0, 1.0, 0.0)]
        {
            assert!((curve.between(from * S, to * S) - requests).abs() < 1e-9);
        }
    }

    #[test]
    fn waves_are_inverted() {
        let sine = |mean, amplitude| {
            [Shape::Sine(Sine { mean_rps: mean, amplitude_rps: amplitude, period: secs(600), phase: secs(30) })]
        };
        let gentle = RateCurve::new(&[], sine(100.0, 50.0).iter(), secs(0)).unwrap();
        // Whole periods hold the mean.
        close(&instants(&gentle, 60_000.0, 3), &[600.0, 1200.0, 1800.0]);
        let mut cursor = RateCurve::start();
        let mut last = 0.0;
        let wave = gentle.waves[0];
        for _ in 0..10_000 {
            let at = gentle.advance(&mut cursor, 1.0).unwrap();
            assert!(at > last);
            assert!((wave.cumulative(at) - wave.cumulative(last) - 1.0).abs() < 1e-6);
            last = at;
        }
        // Clipped at zero: only the half wave above zero counts, 2 A / omega a period.
        let clipped = RateCurve::new(&[], sine(0.0, 10.0).iter(), secs(0)).unwrap();
        let per_period = 2.0 * 10.0 * 600.0 / TAU;
        let got = instants(&clipped, per_period, 2);
        // Whole half waves end at 330 + 600 k; any instant of the dark half that follows is as good.
        assert!(got.iter().all(|t| ((t - 329.0) / 600.0).fract() < 0.51), "{got:?}");
        let mut cursor = RateCurve::start();
        for _ in 0..20_000 {
            let at = clipped.advance(&mut cursor, 0.7).unwrap() / S;
            let angle = ((at - 30.0) / 600.0).rem_euclid(1.0);
            assert!(angle <= 0.5 + 1e-6, "an arrival in the dark half: {at}");
        }
    }

    #[test]
    fn a_wave_on_a_ramp_and_past_it() {
        let points = [(0, 0.0), (100, 10.0), (200, 0.0)].map(|(s, rps)| RatePoint { at: secs(s), rps });
        let shapes = [Shape::Sine(Sine { mean_rps: 5.0, amplitude_rps: 5.0, period: secs(50), phase: secs(0) })];
        let curve = RateCurve::new(&points, shapes.iter(), secs(0)).unwrap();
        // 500 of the wave each 100 s, and 500 of each ramp.
        close(&instants(&curve, 1000.0, 2), &[100.0, 200.0]);
        close(&instants(&curve, 2500.0, 1), &[300.0]);
        assert!((curve.between(100.0 * S, 300.0 * S) - 1500.0).abs() < 1e-6);
    }

    #[test]
    fn a_day_is_lowest_at_its_hour() {
        let daily = [Shape::Daily(Daily { low_rps: 10.0, high_rps: 30.0, low_at: secs(4 * 3600) })];
        let curve = RateCurve::new(&[], daily.iter(), secs(3600)).unwrap();
        let at = |hour: f64| curve.waves[0].rate(hour * 3600.0 * S) / PER_NANO;
        assert!((at(3.0) - 10.0).abs() < 1e-9 && (at(15.0) - 30.0).abs() < 1e-9 && (at(9.0) - 20.0).abs() < 1e-9);
    }
}
