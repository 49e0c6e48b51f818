//! A unit price as an exact integer.

use std::fmt;
use std::str::FromStr;

use crate::units::Usd;

/// Dollars for one unit, as whole pico-dollars: every listed price is exact (a per-second storage price
/// has ten decimals, one more than a nano-dollar holds). At most about 9.2 million dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Price(i64);

/// Why a text is not a price.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PriceError {
    /// Not a plain decimal number.
    #[error("expected a plain decimal number of dollars, such as 0.04048, not `{0}`")]
    NotANumber(String),
    /// Below zero.
    #[error("a price cannot be negative, not `{0}`")]
    Negative(String),
    /// More than twelve decimals: it would not be exact.
    #[error("`{0}` has more than 12 decimals; prices are kept to a millionth of a micro-dollar")]
    TooFine(String),
    /// Above the largest price.
    #[error("`{0}` is above the largest price of $1000000 for one unit")]
    TooLarge(String),
}

impl Price {
    /// Free of charge.
    pub const ZERO: Self = Self(0);
    /// Pico-dollars of one dollar.
    pub const PER_DOLLAR: i64 = 1_000_000_000_000;
    /// Decimals that a price can have.
    const DECIMALS: usize = 12;
    /// The largest price that is read from a text, in dollars.
    const MAX_DOLLARS: i64 = 1_000_000;

    /// From pico-dollars.
    #[must_use]
    pub const fn from_picos(picos: i64) -> Self {
        Self(picos)
    }

    /// In pico-dollars.
    #[must_use]
    pub const fn picos(self) -> i64 {
        self.0
    }

    /// In dollars, for output and ratios.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / Self::PER_DOLLAR as f64
    }

    /// This price times a whole number, for example a price per second times 3,600; `None` when it is too large.
    #[must_use]
    pub fn times(self, n: u64) -> Option<Self> {
        self.0.checked_mul(i64::try_from(n).ok()?).map(Self)
    }

    /// This price in nano-dollars, rounded half to even: for a column of money.
    #[must_use]
    pub fn to_usd(self) -> Usd {
        let (quotient, remainder) = (self.0.div_euclid(1_000), self.0.rem_euclid(1_000));
        let up = remainder > 500 || (remainder == 500 && quotient % 2 != 0);
        Usd::from_nanos(quotient + i64::from(up))
    }

    /// This price less a share given in millionths (200,000 is 20 %), rounded half to even to a
    /// pico-dollar. A share above one million counts as one million.
    #[must_use]
    pub fn less_millionths(self, share: u32) -> Self {
        let rest = i128::from(1_000_000 - share.min(1_000_000));
        let product = i128::from(self.0) * rest;
        let (quotient, remainder) = (product.div_euclid(1_000_000), product.rem_euclid(1_000_000));
        let up = remainder > 500_000 || (remainder == 500_000 && quotient % 2 != 0);
        // The result is not larger in size than `self`, so it fits.
        Self((quotient + i128::from(up)) as i64)
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads a plain decimal number: digits, at most one point, no sign, no exponent.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let trimmed = text.trim();
        let owned = || trimmed.to_string();
        if let Some(rest) = trimmed.strip_prefix('-') {
            let digits = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !rest.is_empty();
            return Err(if digits { PriceError::Negative(owned()) } else { PriceError::NotANumber(owned()) });
        }
        let (whole, fraction) = trimmed.split_once('.').unwrap_or((trimmed, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
            return Err(PriceError::NotANumber(owned()));
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > Self::DECIMALS {
            return Err(PriceError::TooFine(owned()));
        }
        let whole: i64 = match whole.trim_start_matches('0') {
            "" => 0,
            w => w.parse().map_err(|_| PriceError::TooLarge(owned()))?,
        };
        let padded = format!("{fraction:0<width$}", width = Self::DECIMALS);
        let picos: i64 = padded.parse().map_err(|_| PriceError::NotANumber(owned()))?;
        if whole > Self::MAX_DOLLARS || (whole == Self::MAX_DOLLARS && picos > 0) {
            return Err(PriceError::TooLarge(owned()));
        }
        Ok(Self(whole * Self::PER_DOLLAR + picos))
    }
}

impl fmt::Display for Price {
    /// The exact decimal number, without needless zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per, size) = (Self::PER_DOLLAR as u64, self.0.unsigned_abs());
        let digits = format!("{}.{:012}", size / per, size % per);
        let short = digits.trim_end_matches('0').trim_end_matches('.');
        f.pad_integral(self.0 >= 0, "", short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_exactly() {
        for (text, picos) in
            [("0.04048", 40_480_000_000), ("0.0000000308", 30_800), ("1", 1_000_000_000_000), (".5", 500_000_000_000)]
        {
            let price: Price = text.parse().unwrap();
            assert_eq!(price.picos(), picos);
            assert_eq!(price.to_string().parse::<Price>().unwrap(), price);
        }
        assert_eq!("0.0450".parse::<Price>().unwrap().to_string(), "0.045");
        assert_eq!(Price::from_picos(-500_000_000_000).to_string(), "-0.5");
    }

    #[test]
    fn refuses_what_is_no_price() {
        for text in ["", ".", "1e3", "NaN", "0,5", "1.2.3", "$1", "-", "--1"] {
            assert!(matches!(text.parse::<Price>(), Err(PriceError::NotANumber(_))), "{text}");
        }
        assert!(matches!("-0.1".parse::<Price>(), Err(PriceError::Negative(_))));
        assert!(matches!("0.0000000000001".parse::<Price>(), Err(PriceError::TooFine(_))));
        for text in ["1000000.1", "99999999999999999999999"] {
            assert!(matches!(text.parse::<Price>(), Err(PriceError::TooLarge(_))), "{text}");
        }
        assert_eq!("1000000".parse::<Price>().unwrap().dollars(), 1e6);
    }

    #[test]
    fn discounts_round_half_to_even() {
        assert_eq!(Price::from_picos(40_480_000_000).less_millionths(200_000).picos(), 32_384_000_000);
        assert_eq!(Price::from_picos(1).less_millionths(500_000).picos(), 0);
        assert_eq!(Price::from_picos(3).less_millionths(500_000).picos(), 2);
        assert_eq!(Price::from_picos(7).less_millionths(2_000_000).picos(), 0);
    }
}
