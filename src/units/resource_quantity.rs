//! Kubernetes resource quantities (`500m`, `1.5Gi`, `3e6`) and int-or-percent fields.
//!
//! Rule: a value is an exact decimal, rounded away from zero to a multiple of 10^-9; whoever reads it as an
//! integer rounds away from zero again. The way it was written (powers of 1000, powers of 1024, exponent)
//! is kept and decides how it is printed. Source: `k8s.io/apimachinery/pkg/api/resource` and
//! `pkg/util/intstr`.
//!
//! Known departure: decimal values of more than 38 significant digits and exponents beyond a million are refused.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// In which notation a quantity was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QuantityFormat {
    /// `n u m`, none, `k M G T P E`.
    #[default]
    DecimalSI,
    /// `Ki Mi Gi Ti Pi Ei`.
    BinarySI,
    /// `e` and an exponent.
    DecimalExponent,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceQuantityError {
    /// It has not the form of one.
    #[error(
        "a quantity is a number with at most one suffix: n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent such as e3"
    )]
    Format,
    /// It has more digits than can be held.
    #[error("this quantity has more digits than can be held")]
    TooLarge,
}

/// A resource quantity. Equality is of value and notation; [`ResourceQuantity::compare`] looks at the value alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceQuantity {
    /// Without trailing zeros; the value is this times ten to the exponent.
    mantissa: i128,
    /// At least -9; 0 if the value is 0.
    exponent: i32,
    format: QuantityFormat,
}

const NANO: i32 = -9;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Digits of a fraction that take part in exact binary arithmetic: times 1,024 they still fit.
const FRACTION_DIGITS: usize = 34;
/// Decimal digits that a mantissa holds.
const DIGITS: usize = 38;

enum Suffix {
    /// A power of ten.
    Ten(i32, QuantityFormat),
    /// A power of 1,024.
    Kibi(u32),
}

fn suffix(text: &str) -> Result<Suffix, ResourceQuantityError> {
    if let Some(&(_, power)) = DECIMAL.iter().find(|(name, _)| *name == text) {
        return Ok(Suffix::Ten(power, QuantityFormat::DecimalSI));
    }
    if let Some(power) = (1..).zip(BINARY).find_map(|(power, name)| (name == text).then_some(power)) {
        return Ok(Suffix::Kibi(power));
    }
    let exponent = text.strip_prefix(['e', 'E']).ok_or(ResourceQuantityError::Format)?;
    if !exponent.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()) {
        return Err(ResourceQuantityError::Format);
    }
    let power: i64 = exponent.parse().map_err(|_| ResourceQuantityError::Format)?;
    if power.abs() > 1_000_000 {
        return Err(ResourceQuantityError::TooLarge);
    }
    Ok(Suffix::Ten(power as i32, QuantityFormat::DecimalExponent))
}

impl FromStr for ResourceQuantity {
    type Err = ResourceQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let negative = text.starts_with('-');
        let body = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, rest) = body.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ResourceQuantityError::Format);
        }
        let mut quantity = match suffix(rest)? {
            Suffix::Ten(power, format) => decimal(whole, fraction, power, format)?,
            Suffix::Kibi(power) => binary(whole, fraction, power),
        };
        if negative {
            quantity.mantissa = -quantity.mantissa;
        }
        Ok(quantity)
    }
}

/// The digits as an integer, and whether any that did not fit was not zero.
fn digits(text: &str, most: usize) -> (i128, bool) {
    let (kept, dropped) = text.split_at(text.len().min(most));
    let value = kept.bytes().fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    (value, dropped.bytes().any(|b| b != b'0'))
}

fn decimal(
    whole: &str,
    fraction: &str,
    power: i32,
    format: QuantityFormat,
) -> Result<ResourceQuantity, ResourceQuantityError> {
    let all = [whole, fraction].concat();
    let all = all.trim_start_matches('0');
    let places = i32::try_from(fraction.len()).map_err(|_| ResourceQuantityError::TooLarge)?;
    // Digits beyond the mantissa are of use only to round by.
    let spare = all.len().saturating_sub(DIGITS);
    let (mantissa, rest) = digits(all, DIGITS);
    let exponent = power - places + i32::try_from(spare).map_err(|_| ResourceQuantityError::TooLarge)?;
    if rest && exponent > NANO {
        return Err(ResourceQuantityError::TooLarge);
    }
    let (mantissa, exponent) = if exponent < NANO {
        let (nanos, exact) = divide_up(mantissa, i64::from(NANO) - i64::from(exponent));
        (nanos + i128::from(exact && rest), NANO)
    } else {
        (mantissa, exponent)
    };
    Ok(ResourceQuantity::normal(mantissa, exponent, format))
}

fn binary(whole: &str, fraction: &str, power: u32) -> ResourceQuantity {
    let most = i128::from(i64::MAX);
    let one = 10i128.pow(FRACTION_DIGITS as u32);
    let whole = whole.trim_start_matches('0');
    let mut integer = if whole.len() > 19 { most + 1 } else { digits(whole, 19).0 };
    let padded = format!("{fraction:0<FRACTION_DIGITS$}");
    let (mut part, rest) = digits(&padded, FRACTION_DIGITS);
    for _ in 0..power {
        part *= 1_024;
        integer = (integer * 1_024 + part / one).min(most + 1);
        part %= one;
    }
    if integer > most || (integer == most && (part > 0 || rest)) {
        return ResourceQuantity::normal(most, 0, QuantityFormat::BinarySI);
    }
    let per_nano = 10i128.pow(FRACTION_DIGITS as u32 - 9);
    let round_up = part % per_nano != 0 || rest;
    let nanos = integer * 1_000_000_000 + part / per_nano + i128::from(round_up);
    // What is between 0 and 1 cannot be written with a binary suffix.
    let format = if integer == 0 && (part > 0 || rest) { QuantityFormat::DecimalSI } else { QuantityFormat::BinarySI };
    ResourceQuantity::normal(nanos, NANO, format)
}

/// Divides by a power of ten, away from zero, and whether it came out even.
fn divide_up(value: i128, power: i64) -> (i128, bool) {
    let Some(divisor) = u32::try_from(power).ok().and_then(|p| 10i128.checked_pow(p)) else {
        return (value.signum(), value == 0);
    };
    let (quotient, rest) = (value / divisor, value % divisor);
    (quotient + rest.signum(), rest == 0)
}

impl ResourceQuantity {
    fn normal(mut mantissa: i128, mut exponent: i32, format: QuantityFormat) -> Self {
        if mantissa == 0 {
            exponent = 0;
        }
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Self { mantissa, exponent, format }
    }

    /// A whole number of units.
    #[must_use]
    pub fn new(value: i64, format: QuantityFormat) -> Self {
        Self::normal(i128::from(value), 0, format)
    }

    /// A number of thousandths, such as millicores.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self::normal(i128::from(millis), -3, QuantityFormat::DecimalSI)
    }

    /// The same value in another notation.
    #[must_use]
    pub fn with_format(self, format: QuantityFormat) -> Self {
        Self { format, ..self }
    }

    /// The notation.
    #[must_use]
    pub const fn format(&self) -> QuantityFormat {
        self.format
    }

    /// The value in units of ten to the power of `scale`, rounded away from zero; cut to what 64 bits hold.
    #[must_use]
    pub fn scaled(&self, scale: i32) -> i64 {
        let shift = i64::from(self.exponent) - i64::from(scale);
        let value = if shift < 0 {
            divide_up(self.mantissa, -shift).0
        } else {
            let factor = u32::try_from(shift).ok().and_then(|s| 10i128.checked_pow(s));
            let product = factor.and_then(|f| self.mantissa.checked_mul(f));
            product.unwrap_or(if self.mantissa == 0 { 0 } else { self.mantissa.signum() * i128::MAX })
        };
        value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Whole units, rounded away from zero: bytes, pods.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// Thousandths, rounded away from zero: millicores.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    /// The next multiple of ten to the power of `scale` away from zero, and whether it was one already.
    #[must_use]
    pub fn round_up(&self, scale: i32) -> (Self, bool) {
        let shift = i64::from(scale) - i64::from(self.exponent);
        if shift <= 0 {
            return (*self, true);
        }
        let (mantissa, exact) = divide_up(self.mantissa, shift);
        (Self::normal(mantissa, scale, self.format), exact)
    }

    /// The order of the values; the notation plays no part.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if sign != Ordering::Equal || self.mantissa == 0 {
            return sign;
        }
        let digits = |q: &Self| i64::from(q.mantissa.unsigned_abs().ilog10()) + i64::from(q.exponent);
        let order = digits(self).cmp(&digits(other)).then_with(|| {
            // Equal leading powers: the exponents are less than 39 apart, and the aligned mantissas have equal length.
            let least = self.exponent.min(other.exponent);
            let align = |q: &Self| q.mantissa.unsigned_abs().checked_mul(10u128.pow((q.exponent - least) as u32));
            align(self).cmp(&align(other))
        });
        if self.mantissa < 0 { order.reverse() } else { order }
    }

    /// The value as a plain decimal, without suffix or exponent.
    #[must_use]
    pub fn plain(&self) -> String {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs().to_string();
        match usize::try_from(self.exponent) {
            Ok(zeros) => format!("{sign}{digits}{}", "0".repeat(zeros)),
            Err(_) => {
                let places = self.exponent.unsigned_abs() as usize;
                let digits = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = digits.split_at(digits.len() - places);
                format!("{sign}{whole}.{fraction}")
            }
        }
    }

    /// The whole value, if it is one and 128 bits hold it.
    fn integer(&self) -> Option<i128> {
        let power = u32::try_from(self.exponent).ok()?;
        self.mantissa.checked_mul(10i128.checked_pow(power)?)
    }
}

impl fmt::Display for ResourceQuantity {
    /// The canonical text: the largest suffix that leaves an integer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format == QuantityFormat::BinarySI
            && let Some(mut value) = self.integer().filter(|v| v.unsigned_abs() >= 1_024)
        {
            let mut power = 0;
            while power < BINARY.len() && value % 1_024 == 0 {
                value /= 1_024;
                power += 1;
            }
            let suffix = if power == 0 { "" } else { BINARY[power - 1] };
            return write!(f, "{value}{suffix}");
        }
        let exponent = self.exponent.div_euclid(3) * 3;
        let exponent = if self.format == QuantityFormat::DecimalExponent { exponent } else { exponent.min(18) };
        let zeros = "0".repeat((self.exponent - exponent).unsigned_abs() as usize);
        write!(f, "{}{zeros}", self.mantissa)?;
        match (self.format, exponent) {
            (_, 0) => Ok(()),
            (QuantityFormat::DecimalExponent, exponent) => write!(f, "e{exponent}"),
            (_, exponent) => {
                let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |s| s.0);
                f.write_str(suffix)
            }
        }
    }
}

/// A field that is a number or a percentage of another, such as `maxSurge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IntOrPercent {
    /// A number.
    Int(i64),
    /// Percent.
    Percent(i64),
}

impl FromStr for IntOrPercent {
    type Err = ResourceQuantityError;

    /// Digits and a percent sign; a number is not written as a text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_suffix('%').ok_or(ResourceQuantityError::Format)?;
        digits.parse().map(Self::Percent).map_err(|_| ResourceQuantityError::Format)
    }
}

impl IntOrPercent {
    /// The number it stands for, given what it is a percentage of.
    #[must_use]
    pub fn of(self, total: i64, round: Rounding) -> i64 {
        match self {
            Self::Int(value) => value,
            Self::Percent(percent) => {
                let share = i128::from(percent) * i128::from(total);
                let below = share.div_euclid(100);
                let value = below + i128::from(round == Rounding::Up && share.rem_euclid(100) != 0);
                i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
            }
        }
    }
}

/// Which way a share of a total is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the next integer above.
    Up,
    /// To the next integer below.
    Down,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> ResourceQuantity {
        text.parse().unwrap()
    }

    #[test]
    fn odd_texts() {
        for bad in ["", ".", "-", "1K", "1mi", "1i", "1e", "1e1.5", "e3", "1 Ki", "--1", "1..2", "0x1", "1e+-3", "١"] {
            assert!(bad.parse::<ResourceQuantity>().is_err(), "{bad}");
        }
        assert_eq!(parse("1E").plain(), "1000000000000000000");
        assert_eq!(parse("1E6").plain(), "1000000");
        assert_eq!(parse("+.5").to_string(), "500m");
        assert_eq!(parse("-0.0000000001").to_string(), "-1n");
        assert_eq!(parse("-9223372036854775808Ki").plain(), "-9223372036854775807");
        assert_eq!(parse("99999999999999999999999999999999999999999Ki").plain(), "9223372036854775807");
        assert_eq!(parse("1e40").to_string(), "10e39");
        assert_eq!(parse("0.00000000000000000000000000000000000000000000000001").to_string(), "1n");
        assert_eq!(parse(&format!("1.{}1", "0".repeat(60))).plain(), "1.000000001");
        assert!(format!("{}1", "1".repeat(60)).parse::<ResourceQuantity>().is_err());
        assert_eq!(parse("1e-999999").milli_value(), 1);
        assert_eq!(parse("1e999999").value(), i64::MAX);
        assert_eq!(parse("1e19").compare(&parse("12E")), Ordering::Less);
        assert_eq!(parse("-1e19").compare(&parse("-12E")), Ordering::Greater);
        assert_eq!(parse("1024").compare(&parse("1Ki")), Ordering::Equal);
    }

    #[test]
    fn percentages_round_as_asked() {
        let quarter: IntOrPercent = "25%".parse().unwrap();
        assert_eq!((quarter.of(10, Rounding::Up), quarter.of(10, Rounding::Down)), (3, 2));
        assert_eq!(IntOrPercent::Int(7).of(10, Rounding::Up), 7);
        assert!("25".parse::<IntOrPercent>().is_err());
    }

    proptest! {
        #[test]
        fn canonical_text_reads_back(millis in -1_000_000_000_000i64..1_000_000_000_000, format in 0..3usize) {
            let format = [QuantityFormat::DecimalSI, QuantityFormat::BinarySI, QuantityFormat::DecimalExponent][format];
            let quantity = ResourceQuantity::from_millis(millis).with_format(format);
            let back = parse(&quantity.to_string());
            prop_assert_eq!(back.compare(&quantity), Ordering::Equal);
            prop_assert_eq!(back.to_string(), quantity.to_string());
            prop_assert_eq!(back.milli_value(), millis);
        }

        #[test]
        fn no_text_panics(text in "[+-]?[0-9.]{0,50}[eEinumkKMGTP]{0,2}[+-]?[0-9]{0,8}") {
            if let Ok(quantity) = text.parse::<ResourceQuantity>() {
                prop_assert!(quantity.exponent >= NANO);
                prop_assert_eq!(quantity.compare(&quantity), Ordering::Equal);
                let _ = (quantity.to_string().len(), quantity.value(), quantity.round_up(2));
            }
        }
    }
}
