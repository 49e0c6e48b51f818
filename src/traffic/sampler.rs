//! A law made ready for the request path.

use std::cell::RefCell;
use std::sync::Arc;

use crate::kernel::{Draw, Law};

/// Halvings of a tail that have a table of their own. What lies beyond, one draw in 2^16, is computed exactly.
const OCTAVES: usize = 16;
const CELL_BITS: u32 = 6;
const CELLS: usize = 1 << CELL_BITS;
const HALF: usize = OCTAVES * CELLS;

/// Samples a law by inversion, fast.
///
/// Laws whose quantile function is costly are tables, see [`Table`]. A draw is within 0.1 % of the exact one for
/// the laws that are tested, and within a few millionths where the law is an ordinary one; the mean within 0.01 %.
#[derive(Clone, Debug)]
pub(super) enum Sampler {
    Constant(f64),
    Scaled(f64, Arc<Table>),
    Exact(Box<Law>),
}

/// A quantile function as straight lines between exact knots: 64 in each halving of the smaller of `u` and `1 - u`, so
/// that a tail is as true as the middle, and half of all draws look at the same kilobyte or two. Only
/// additions and multiplications when it is asked, so the same bits everywhere.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Without its scale.
    law: Law,
    /// The value at which a cell begins and what it grows by: the lower half from the smallest on, then the upper half from
    /// the largest on.
    cells: [(f64, f64); 2 * HALF],
}

impl Table {
    fn new(law: Law) -> Self {
        // The share of the law's mass beyond a knot: below it in the lower half, above it in the upper one.
        let share = |i: usize| {
            let whole = (1 + i / CELLS) as i32 - OCTAVES as i32 - 2;
            libm::ldexp(1.0 + (i % CELLS) as f64 / CELLS as f64, whole)
        };
        let knot = |at: usize| {
            let (upper, i) = (at >= HALF, at % HALF);
            let value = |i| law.quantile(if upper { 1.0 - share(i) } else { share(i) });
            (value(i), value(i + 1) - value(i))
        };
        Self { cells: std::array::from_fn(knot), law }
    }

    #[inline]
    fn at(&self, draw: Draw) -> f64 {
        // The upper half is the lower one in a mirror: `all` is all ones for it.
        let all = ((draw.bits() as i64) >> 63) as u64;
        let share = ((draw.bits() ^ all) << 1) | 1;
        let octave = share.leading_zeros() as usize;
        if octave >= OCTAVES {
            return self.tail(draw);
        }
        let fraction = (share << octave) << 1;
        let half = (all & HALF as u64) as usize;
        let cell = half | ((OCTAVES - 1 - octave) << CELL_BITS) | (fraction >> (64 - CELL_BITS)) as usize;
        let (value, growth) = self.cells[cell & (2 * HALF - 1)];
        let part = ((fraction << CELL_BITS) >> 12) as i64 as f64 * (1.0 / (1u64 << 52) as f64);
        value + growth * part
    }

    #[cold]
    #[inline(never)]
    fn tail(&self, draw: Draw) -> f64 {
        self.law.quantile(draw.unit())
    }
}

/// The tables that were made: laws of one shape share theirs, whatever their scale, which keeps it in the cache.
#[derive(Debug, Default)]
pub(super) struct Tables(RefCell<Vec<Arc<Table>>>);

impl Tables {
    fn of(&self, law: Law) -> Arc<Table> {
        let mut made = self.0.borrow_mut();
        if let Some(table) = made.iter().find(|t| t.law == law) {
            return table.clone();
        }
        let table = Arc::new(Table::new(law));
        made.push(table.clone());
        table
    }
}

impl Sampler {
    /// Samples `law` times `unit`.
    pub(super) fn new(law: &Law, unit: f64, tables: &Tables) -> Self {
        match law.scaled(unit) {
            Law::Constant(v) => Self::Constant(v),
            Law::Exponential { mean } => Self::Scaled(mean, tables.of(Law::Exponential { mean: 1.0 })),
            Law::Lognormal { mu, sigma } => Self::Scaled(libm::exp(mu), tables.of(Law::Lognormal { mu: 0.0, sigma })),
            Law::Weibull { scale, shape } => Self::Scaled(scale, tables.of(Law::Weibull { scale: 1.0, shape })),
            law @ (Law::Normal { .. } | Law::Pareto { .. }) => Self::Scaled(1.0, tables.of(law)),
            law => Self::Exact(Box::new(law)),
        }
    }

    /// The value for a draw, which is made only if it matters.
    #[inline]
    pub(super) fn draw(&self, draw: impl FnOnce() -> Draw) -> f64 {
        match self {
            Self::Scaled(scale, table) => scale * table.at(draw()),
            Self::Constant(v) => *v,
            Self::Exact(law) => law.quantile(draw().unit()),
        }
    }

    /// The same, as whole nanoseconds, when the law is one of nanoseconds.
    #[inline]
    pub(super) fn nanos(&self, draw: impl FnOnce() -> Draw) -> u64 {
        (self.draw(draw) + 0.5) as u64
    }

    /// True when every draw is zero.
    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Self::Constant(v) if *v == 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_close_to_the_law() {
        let tables = Tables::default();
        let laws = [
            Law::Exponential { mean: 0.3 },
            Law::lognormal_mean_cv(0.02, 0.3),
            Law::lognormal_mean_cv(0.02, 1.0),
            Law::lognormal_mean_cv(0.02, 3.0),
            Law::Normal { mean: 5.0, sd: 1.0 },
            Law::Weibull { scale: 1.0, shape: 0.7 },
            Law::Weibull { scale: 1.0, shape: 2.0 },
            Law::Pareto { min: 1.0, alpha: 1.5, max: f64::INFINITY },
            Law::Pareto { min: 1.0, alpha: 2.5, max: 100.0 },
            Law::Uniform { min: 1.0, max: 2.0 },
        ];
        for law in laws {
            let sampler = Sampler::new(&law, 1e9, &tables);
            let n = 1_000_003u64;
            let (mut sum, mut exact, mut worst, mut last) = (0.0, 0.0, 0.0_f64, 0.0);
            for i in 0..n {
                let draw = Draw::new(u64::MAX / n * i + u64::MAX / n / 2);
                let (a, b) = (sampler.draw(|| draw), law.quantile(draw.unit()) * 1e9);
                assert!(a >= last, "{law:?} falls at {i}");
                last = a;
                worst = worst.max((a / b - 1.0).abs());
                sum += a;
                exact += b;
            }
            assert!(worst < 3e-4, "{law:?}: {worst}");
            assert!((sum / exact - 1.0).abs() < 4e-5, "{law:?}: mean {}", sum / exact);
            for bits in [0, 1, 1 << 40, 1 << 50, (1 << 63) - 1, 1 << 63, !(1 << 50), !0] {
                let (a, b) = (sampler.draw(|| Draw::new(bits)), law.quantile(Draw::new(bits).unit()) * 1e9);
                assert!((a - b).abs() <= 3e-4 * b, "{law:?} at {bits:x}: {a} {b}");
            }
        }
    }

    #[test]
    fn constants_are_seen_as_such() {
        let tables = Tables::default();
        assert!(Sampler::new(&Law::Constant(0.0), 1e9, &tables).is_zero());
        assert!(!Sampler::new(&Law::Exponential { mean: 1.0 }, 1e9, &tables).is_zero());
        assert_eq!(Sampler::new(&Law::Constant(0.5), 1e9, &tables).draw(|| Draw::new(7)), 5e8);
    }

    #[test]
    fn laws_of_one_shape_share_a_table() {
        let tables = Tables::default();
        for mean in [0.1, 0.2] {
            let _ = Sampler::new(&Law::lognormal_mean_cv(mean, 1.0), 1e9, &tables);
            let _ = Sampler::new(&Law::Exponential { mean }, 1e9, &tables);
        }
        assert_eq!(tables.0.borrow().len(), 2);
    }
}
