//! Logarithm, exponential and normal quantile for the request path: a few nanoseconds each, from tables of a few
//! kilobytes, by additions and multiplications only, so with the same bits everywhere.

use std::sync::Arc;

use crate::kernel::standard_normal_quantile;

const LN_BITS: u32 = 7;
const EXP_BITS: u32 = 5;
const CELLS: usize = 1_024;
/// Cells at either end of the normal quantile that are computed exactly.
const EXACT: usize = CELLS / 64;

/// The tables. They are the same for everyone; sharing them keeps them in the cache.
#[derive(Clone, Debug)]
pub(super) struct Fast {
    /// For the upper bits of a mantissa: the inverse of the middle of its cell, and the logarithm of that middle.
    ln: [(f64, f64); 1 << LN_BITS],
    exp: [f64; 1 << EXP_BITS],
    normal: Vec<f64>,
}

impl Fast {
    pub(super) fn new() -> Arc<Self> {
        let middle = |i: usize| 1.0 + (i as f64 + 0.5) / f64::from(1 << LN_BITS);
        Arc::new(Self {
            ln: std::array::from_fn(|i| (1.0 / middle(i), libm::log(middle(i)))),
            exp: std::array::from_fn(|i| libm::exp2(i as f64 / f64::from(1 << EXP_BITS))),
            normal: (0..=CELLS)
                .map(|i| if i == 0 || i == CELLS { 0.0 } else { standard_normal_quantile(i as f64 / CELLS as f64) })
                .collect(),
        })
    }

    /// The natural logarithm of a normal positive number, to 2e-13; next to 1 to a relative 1e-10.
    #[inline]
    pub(super) fn ln(&self, x: f64) -> f64 {
        // Without this the logarithm of what is almost 1 would lose its digits, and could its sign.
        if (x - 1.0).abs() < 1.0 / 256.0 {
            return ln_1p(x - 1.0);
        }
        let bits = x.to_bits();
        let exponent = (bits >> 52) as i64 - 1023;
        let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
        let (inverse, log) = self.ln[(bits >> (52 - LN_BITS)) as usize & ((1 << LN_BITS) - 1)];
        exponent as f64 * std::f64::consts::LN_2 + (log + ln_1p(mantissa * inverse - 1.0))
    }

    /// `e` to the power `y`, to a relative 3e-12; exact where the result is very large or small.
    #[inline]
    pub(super) fn exp(&self, y: f64) -> f64 {
        const STEPS: f64 = (1 << EXP_BITS) as f64;
        if y.is_nan() || y.abs() > 600.0 {
            return libm::exp(y);
        }
        let scaled = y * (STEPS / std::f64::consts::LN_2);
        let whole = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64;
        let r = y - whole as f64 * (std::f64::consts::LN_2 / STEPS);
        let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0))));
        let part = self.exp[(whole & ((1 << EXP_BITS) - 1)) as usize];
        let power = f64::from_bits((((whole >> EXP_BITS) + 1023) << 52) as u64);
        part * series * power
    }

    /// The standard normal quantile of `u`, to 2e-4 standard deviations in the middle and exactly in the outer 1/64 at
    /// either end.
    #[inline]
    pub(super) fn normal(&self, u: f64) -> f64 {
        let x = u * CELLS as f64;
        let cell = x as usize;
        match self.normal.get(cell..cell + 2) {
            Some(&[low, high]) if (EXACT..CELLS - EXACT).contains(&cell) => low + (x - cell as f64) * (high - low),
            _ => normal_tail(u),
        }
    }
}

/// `ln(1 + r)` for an `r` of at most 1/256.
#[inline]
fn ln_1p(r: f64) -> f64 {
    r * (1.0 - r * (0.5 - r * (1.0 / 3.0 - r * 0.25)))
}

#[inline(never)]
fn normal_tail(u: f64) -> f64 {
    standard_normal_quantile(u)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_close_to_the_functions() {
        let fast = Fast::new();
        for i in 0..200_000u32 {
            let u = (f64::from(i) + 0.5) / 200_000.0;
            assert!((fast.ln(u) - libm::log(u)).abs() < 2e-13, "ln {u}");
            let y = (u - 0.5) * 1_300.0;
            assert!((fast.exp(y) / libm::exp(y) - 1.0).abs() < 3e-12, "exp {y}");
            assert!((fast.normal(u) - standard_normal_quantile(u)).abs() < 2e-4, "normal {u}");
        }
        for small in [1e-3, 1e-9, 1e-15] {
            assert!((fast.ln(1.0 - small) / libm::log(1.0 - small) - 1.0).abs() < 1e-10);
        }
        for tiny in [1e-300, 1e-16, f64::MIN_POSITIVE] {
            assert!((fast.ln(tiny) / libm::log(tiny) - 1.0).abs() < 1e-12);
        }
        assert_eq!(fast.exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(fast.exp(1e9), f64::INFINITY);
    }
}
