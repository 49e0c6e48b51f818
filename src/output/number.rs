//! Numbers as the result files print them: fixed decimals, the same text for the same value everywhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kernel::{SimDuration, SimTime};
use crate::units::Usd;

/// A rate, ratio or other float, printed with `D` decimals; what is not finite prints as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Fixed<const D: usize>(pub f64);

/// A time or duration in seconds, printed with three decimals (rounded half up from nanoseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secs(pub u64);

/// A latency in milliseconds, printed with three decimals (rounded half up from nanoseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// Dollars, printed exactly, with nine decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub Usd);

impl Secs {
    /// The value in seconds, rounded as it is printed.
    #[must_use]
    pub fn value(self) -> f64 {
        (rounded(self.0, 1_000_000)) as f64 / 1e3
    }
}

impl Millis {
    /// The value in milliseconds, rounded as it is printed.
    #[must_use]
    pub fn value(self) -> f64 {
        (rounded(self.0, 1_000)) as f64 / 1e3
    }
}

impl Money {
    /// The value in dollars.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0.dollars()
    }
}

impl From<SimTime> for Secs {
    fn from(t: SimTime) -> Self {
        Self(t.as_nanos())
    }
}

impl From<SimDuration> for Secs {
    fn from(d: SimDuration) -> Self {
        Self(d.as_nanos())
    }
}

impl From<SimDuration> for Millis {
    fn from(d: SimDuration) -> Self {
        Self(d.as_nanos())
    }
}

impl From<Usd> for Money {
    fn from(usd: Usd) -> Self {
        Self(usd)
    }
}

impl<const D: usize> From<f64> for Fixed<D> {
    fn from(x: f64) -> Self {
        Self(x)
    }
}

/// `nanos` in units of `unit` nanoseconds, rounded half up.
const fn rounded(nanos: u64, unit: u64) -> u64 {
    nanos / unit + (nanos % unit >= unit / 2) as u64
}

impl<const D: usize> fmt::Display for Fixed<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() {
            return Ok(());
        }
        // What rounds to zero must not keep its sign: "-0.00" and "0.00" are one value.
        let zero = self.0.abs() < 0.5 * 0.1f64.powi(D as i32);
        write!(f, "{:.D$}", if zero { 0.0 } else { self.0 })
    }
}

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = rounded(self.0, 1_000_000);
        write!(f, "{}.{:03}", ms / 1_000, ms % 1_000)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = rounded(self.0, 1_000);
        write!(f, "{}.{:03}", us / 1_000, us % 1_000)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.nanos();
        let sign = if nanos < 0 { "-" } else { "" };
        let n = nanos.unsigned_abs();
        write!(f, "{sign}{}.{:09}", n / 1_000_000_000, n % 1_000_000_000)
    }
}

macro_rules! as_text {
    ($([$($generics:tt)*] $name:ty;)*) => {$(
        impl<$($generics)*> Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    )*};
}
as_text! {
    [const D: usize] Fixed<D>;
    [] Secs;
    [] Millis;
    [] Money;
}

impl<'de, const D: usize> Deserialize<'de> for Fixed<D> {
    fn deserialize<T: Deserializer<'de>>(d: T) -> Result<Self, T::Error> {
        Ok(Self(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN)))
    }
}

impl<'de> Deserialize<'de> for Secs {
    fn deserialize<T: Deserializer<'de>>(d: T) -> Result<Self, T::Error> {
        Ok(Self(((f64::deserialize(d)? * 1e3).round() as u64).saturating_mul(1_000_000)))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<T: Deserializer<'de>>(d: T) -> Result<Self, T::Error> {
        Ok(Self(((f64::deserialize(d)? * 1e3).round() as u64).saturating_mul(1_000)))
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<T: Deserializer<'de>>(d: T) -> Result<Self, T::Error> {
        Ok(Self(Usd::from_nanos((f64::deserialize(d)? * 1e9).round() as i64)))
    }
}

/// Rounds every float of a JSON value to nine significant digits, so that no arithmetic noise
/// (`0.30000000000000004`) is printed.
pub fn tidy(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(n) if n.is_f64() => {
            let x = n.as_f64().unwrap_or_default();
            let short: f64 = format!("{x:.8e}").parse().unwrap_or(x);
            // A negative zero would print its sign.
            if let Some(number) = serde_json::Number::from_f64(if short == 0.0 { 0.0 } else { short }) {
                *n = number;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => map.values_mut().for_each(tidy),
        _ => {}
    }
}

/// A value as one line of JSON, its floats rounded as [`tidy`] does.
///
/// # Panics
/// When the value has keys that are no strings, which no type of simctl has.
#[must_use]
pub fn tidied(value: &impl Serialize) -> String {
    let mut value = serde_json::to_value(value).expect("only string keys and finite shapes");
    tidy(&mut value);
    value.to_string()
}

/// A value as an indented JSON document with a newline at its end, its floats rounded as [`tidy`] does.
///
/// # Panics
/// As [`tidied`].
#[must_use]
pub fn document(value: &impl Serialize) -> String {
    let mut value = serde_json::to_value(value).expect("only string keys and finite shapes");
    tidy(&mut value);
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_fixed_decimals() {
        assert_eq!(Fixed::<2>(0.1 + 0.2).to_string(), "0.30");
        assert_eq!(Fixed::<2>(-0.001).to_string(), "0.00");
        assert_eq!(Fixed::<1>(-0.05).to_string(), "-0.1");
        assert_eq!(Fixed::<3>(f64::NAN).to_string(), "");
        assert_eq!(Secs(90_000_499_999).to_string(), "90.000");
        assert_eq!(Secs(90_000_500_000).to_string(), "90.001");
        assert_eq!(Millis(1_234_567).to_string(), "1.235");
        assert_eq!(Money(Usd::from_nanos(-1_000_000_001)).to_string(), "-1.000000001");
        assert_eq!(Money(Usd::from_nanos(11_244)).to_string(), "0.000011244");
    }

    #[test]
    fn json_floats_lose_their_noise() {
        let mut v = serde_json::json!({"a": 0.1 + 0.2, "b": [-0.0, 7, 1e-17], "c": "0.30000000000000004"});
        tidy(&mut v);
        assert_eq!(v.to_string(), r#"{"a":0.3,"b":[0.0,7,1e-17],"c":"0.30000000000000004"}"#);
    }
}
