//! Axes of values: from where to where, and round ticks.

use crate::report::style::sig3;

/// How an axis reaches around its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Extent {
    /// From zero.
    Zero,
    /// Around the values.
    Close,
    /// Around the values, by decades.
    Log,
}

/// An axis.
#[derive(Clone, Debug)]
pub(in crate::report) struct Axis {
    pub(in crate::report) from: f64,
    pub(in crate::report) to: f64,
    pub(in crate::report) ticks: Vec<f64>,
    log: bool,
}

impl Axis {
    /// An axis around values, those that are not finite left out, with about so many ticks at most.
    pub(in crate::report) fn around(values: impl Iterator<Item = f64>, extent: Extent, ticks: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.filter(|v| v.is_finite() && (extent != Extent::Log || *v > 0.0)) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        match extent {
            Extent::Log => return Self::decades(if low > 0.0 { low } else { 1.0 }, high.max(1e-9), ticks),
            Extent::Zero => (low, high) = (low.min(0.0), high.max(0.0)),
            Extent::Close => {}
        }
        if high - low <= 1e-12 * high.abs().max(1e-9) {
            let half = if high == 0.0 { 0.5 } else { 0.02 * high.abs() };
            (low, high) = (low - half, high + half);
        }
        let step = round_step((high - low) / ticks.max(1) as f64);
        let margin = 0.06 * (high - low);
        let from = if extent == Extent::Zero && low == 0.0 { 0.0 } else { low - margin };
        let to = high + margin;
        let first = (from / step).ceil() as i64;
        let ticks = (first..first + 40).map(|i| i as f64 * step).take_while(|t| *t <= to).collect();
        Self { from, to, ticks, log: false }
    }

    fn decades(low: f64, high: f64, most: usize) -> Self {
        let (from, to) = (low * 0.85, high.max(low * 1.5) * 1.15);
        let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
        let of = |steps: &[f64]| -> Vec<f64> {
            (first..=last)
                .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)))
                .filter(|t| (from..=to).contains(t))
                .collect()
        };
        let all = [of(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]), of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0]), of(&[1.0])];
        let ticks = all.into_iter().find(|t| t.len() <= most.max(2)).unwrap_or_default();
        Self { from, to, ticks, log: true }
    }

    /// Where a value stands: 0 at the lower end, 1 at the upper.
    pub(in crate::report) fn share(&self, v: f64) -> f64 {
        let share = if self.log {
            (v.max(1e-12) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (v - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// The words of a tick: as many decimals as the step needs.
    pub(in crate::report) fn label(&self, tick: f64, prefix: &str) -> String {
        let step = self.ticks.windows(2).map(|t| t[1] - t[0]).fold(f64::INFINITY, f64::min);
        let text = if self.log || !step.is_finite() || tick.abs() >= 1e5 {
            sig3(tick.abs())
        } else {
            let decimals = (0..9).find(|d| {
                let scaled = step * 10f64.powi(*d);
                (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1e-9)
            });
            // Money has cents or none.
            let decimals = decimals.map(|d| if prefix == "$" && d == 1 { 2 } else { d });
            let text = format!("{:.*}", decimals.unwrap_or(2) as usize, tick.abs());
            match text.split_once('.') {
                None => crate::report::style::grouped(&text),
                Some((whole, fraction)) => format!("{}.{fraction}", crate::report::style::grouped(whole)),
            }
        };
        let sign = if tick < 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) { "−" } else { "" };
        format!("{sign}{prefix}{text}")
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, at least as large.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999_999).unwrap_or(raw)
}
