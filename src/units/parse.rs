//! Reading quantities as people write them, in both worlds' notations.
//!
//! Numbers are read as exact decimals, so `"0.1 vCPU"` is 12,800 parts and not a float near it.

use crate::kernel::SimDuration;
use crate::units::{Bytes, Cpu, Usd};

/// Why a quantity was refused, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QuantityError {
    /// What is wrong.
    pub message: String,
    /// What could be written instead, when that is clear.
    pub help: Option<String>,
}

impl QuantityError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Which family of prefixes the decimal-looking byte units belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteNotation {
    /// `MB` is 10^6 bytes: images, network, logs.
    Decimal,
    /// `MB` is 2^20 bytes: task memory, as ECS writes it.
    TaskMemory,
}

/// An exact non-negative decimal: `mantissa / 10^scale`.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    mantissa: u128,
    scale: u32,
}

impl Decimal {
    /// This number times `factor`, rounded to the nearest integer; none when it does not fit 64 bits.
    fn times(self, factor: u64) -> Option<u64> {
        let divisor = 10u128.checked_pow(self.scale)?;
        let product = self.mantissa.checked_mul(u128::from(factor))?;
        u64::try_from(product.checked_add(divisor / 2)? / divisor).ok()
    }

    fn is_zero(self) -> bool {
        self.mantissa == 0
    }
}

/// Splits a leading decimal number from what follows it.
fn number(text: &str) -> Result<(Decimal, &str), QuantityError> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix(['-', '\u{2212}']) {
        let negative = rest.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '.');
        return Err(QuantityError::new(if negative {
            "a negative amount has no meaning here".to_owned()
        } else {
            format!("`{text}` does not start with a number")
        }));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let mut digits = 0usize;
    let (mut mantissa, mut scale) = (0u128, 0u32);
    let mut point = false;
    let mut end = text.len();
    for (i, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                digits += 1;
                mantissa = mantissa
                    .checked_mul(10)
                    .and_then(|m| m.checked_add(u128::from(c as u8 - b'0')))
                    .filter(|m| *m < 1 << 100)
                    .ok_or_else(|| QuantityError::new("the number has too many digits"))?;
                scale += u32::from(point);
            }
            '_' if digits > 0 => {}
            '.' if !point => point = true,
            _ => {
                end = i;
                break;
            }
        }
    }
    if digits == 0 {
        let word = text.split_whitespace().next().unwrap_or("");
        return Err(match word.to_ascii_lowercase().as_str() {
            "" => QuantityError::new("the text is empty; a number with a unit was expected"),
            "nan" | "inf" | "infinity" => QuantityError::new(format!("`{word}` is not a finite number")),
            _ => QuantityError::new(format!("`{text}` does not start with a number")),
        });
    }
    // Trailing zeros of the fraction carry nothing.
    while scale > 0 && mantissa.is_multiple_of(10) {
        mantissa /= 10;
        scale -= 1;
    }
    Ok((Decimal { mantissa, scale }, text[end..].trim_start()))
}

/// Reads a length of time: `"90s"`, `"1h30m"`, `"1.5h"`, `"500ms"`, `"2d"`, `"5 minutes"`.
///
/// Units are `ns`, `us`, `ms`, `s`, `m`, `h`, `d` (24 hours), `w` and their long names, largest first.
///
/// # Errors
/// When there is no unit, an unknown one, a negative or empty number, or more than 584 years.
pub fn parse_duration(text: &str) -> Result<SimDuration, QuantityError> {
    const TOO_LONG: &str = "the time is too long: at most 584 years can be told apart in nanoseconds";
    let mut rest = text.trim();
    let mut total = 0u64;
    let mut last = u64::MAX;
    loop {
        let (value, tail) = number(rest)?;
        let end = tail.find(|c: char| !(c.is_alphabetic() || c == 'µ' || c == 'μ')).unwrap_or(tail.len());
        let unit = &tail[..end];
        let nanos = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            "w" | "week" | "weeks" => 604_800_000_000_000,
            "" if value.is_zero() && total == 0 && tail.is_empty() => return Ok(SimDuration::ZERO),
            "" => {
                return Err(QuantityError::new(format!("`{text}` has no unit of time")).help(format!(
                    "write `{0}s` for seconds, `{0}ms` for milliseconds or `{0}m` for minutes",
                    rest.trim()
                )));
            }
            "M" | "mo" | "month" | "months" | "y" | "year" | "years" => {
                return Err(QuantityError::new(format!("`{unit}` has no fixed length"))
                    .help("the units of time are ns, us, ms, s, m (minutes), h, d (24 hours) and w"));
            }
            _ => {
                return Err(QuantityError::new(format!("`{unit}` is not a unit of time"))
                    .help("the units of time are ns, us, ms, s, m (minutes), h, d (24 hours) and w"));
            }
        };
        if nanos >= last {
            return Err(QuantityError::new(format!("the units in `{text}` do not go from large to small")));
        }
        last = nanos;
        total = value.times(nanos).and_then(|n| total.checked_add(n)).ok_or_else(|| QuantityError::new(TOO_LONG))?;
        rest = tail[end..].trim_start();
        if rest.is_empty() {
            return Ok(SimDuration::from_nanos(total));
        }
    }
}

/// Reads an amount of CPU: `"0.5 vCPU"`, `"500m"` (millicores), `"512"` or `"512 units"` (ECS CPU units).
///
/// # Errors
/// When the unit is unknown, or the number negative, fractional without a unit, or too large.
pub fn parse_cpu(text: &str) -> Result<Cpu, QuantityError> {
    let (value, unit) = number(text)?;
    let factor = match unit.trim_end() {
        "vCPU" | "vCPUs" | "vcpu" | "vcpus" | "VCPU" | "cores" | "core" | "cpu" | "cpus" | "CPU" => Cpu::PER_VCPU,
        "m" => 128,
        "" | "units" | "unit" => {
            if value.scale > 0 {
                return Err(QuantityError::new(format!(
                    "`{}` is a fraction of an ECS CPU unit: a bare number counts units, 1024 to a vCPU",
                    text.trim()
                ))
                .help(format!("for cores, write \"{} vCPU\"", text.trim())));
            }
            125
        }
        other => {
            return Err(QuantityError::new(format!("`{other}` is not a unit of CPU"))
                .help("CPU is written as ECS units (512), \"0.5 vCPU\" or \"500m\""));
        }
    };
    value
        .times(factor)
        .filter(|parts| *parts <= MAX_CPU_PARTS)
        .map(Cpu::from_parts)
        .ok_or_else(|| QuantityError::new("that is more than a million vCPUs"))
}

const MAX_CPU_PARTS: u64 = 1_000_000 * Cpu::PER_VCPU;

/// The factor of a byte unit, if it is one.
fn byte_unit(unit: &str, notation: ByteNotation) -> Option<u64> {
    let decimal_or = |decimal: u64, shift: u32| match notation {
        ByteNotation::Decimal => decimal,
        ByteNotation::TaskMemory => 1 << shift,
    };
    Some(match unit {
        "B" | "byte" | "bytes" => 1,
        // Kubernetes: without `i` a power of ten, whatever it measures.
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        "Ti" | "TiB" => 1 << 40,
        "kB" | "KB" => decimal_or(1_000, 10),
        "MB" => decimal_or(1_000_000, 20),
        "GB" => decimal_or(1_000_000_000, 30),
        "TB" => decimal_or(1_000_000_000_000, 40),
        _ => return None,
    })
}

/// Reads an amount of data: `"350 MB"`, `"1Gi"`, `"512 MiB"`, `"1 GB"`. What `GB` means depends on
/// `notation`; a number without unit is multiplied by `bare`, or refused when there is no such unit.
///
/// # Errors
/// When the unit is missing or unknown, or the number negative or beyond 8 EiB.
pub fn parse_bytes(text: &str, notation: ByteNotation, bare: Option<u64>) -> Result<Bytes, QuantityError> {
    let (value, unit) = number(text)?;
    let unit = unit.trim_end();
    let factor = match (byte_unit(unit, notation), unit, bare) {
        (Some(factor), ..) => factor,
        (None, "", Some(factor)) => factor,
        (None, "", None) if value.is_zero() => 1,
        (None, "", None) => {
            return Err(QuantityError::new(format!("`{}` has no unit", text.trim()))
                .help(format!("write \"{0} MB\" or \"{0} MiB\"", text.trim())));
        }
        (None, "m", _) => {
            return Err(QuantityError::new("`m` means thousandths, and there is no thousandth of a byte")
                .help("write M or MB for megabytes, Mi or MiB for mebibytes"));
        }
        (None, other, _) => {
            return Err(QuantityError::new(format!("`{other}` is not a unit of data")).help(
                "the units are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB (Kubernetes: k, M, G, T and Ki, Mi, Gi, Ti)",
            ));
        }
    };
    value
        .times(factor)
        .filter(|n| *n <= 1 << 63)
        .map(Bytes::new)
        .ok_or_else(|| QuantityError::new("that is more than 8 EiB"))
}

/// Reads money: `"$4"`, `"$0.04/h"`, `"4 USD"`, to the nano-dollar. A rate by the hour is returned
/// as the dollars of one hour.
///
/// # Errors
/// When it is negative, too large, or per anything but an hour.
pub fn parse_usd(text: &str) -> Result<Usd, QuantityError> {
    let text = text.trim();
    let (value, unit) = number(text.strip_prefix('$').unwrap_or(text))?;
    let unit = unit.trim().strip_prefix("USD").unwrap_or(unit.trim()).trim();
    match unit {
        "" | "/h" | "/hour" | "/ h" | "/ hour" | "an hour" | "per hour" => {}
        "/day" | "/d" | "/month" | "/mo" => {
            return Err(QuantityError::new(format!("`{unit}` is not taken: money is counted by the hour or in all"))
                .help("divide it to an hourly rate such as \"$4/h\""));
        }
        other => {
            return Err(
                QuantityError::new(format!("`{other}` is not a unit of money")).help("write \"$4\" or \"$0.04/h\"")
            );
        }
    }
    value
        .times(1_000_000_000)
        .and_then(|n| i64::try_from(n).ok())
        .map(Usd::from_nanos)
        .ok_or_else(|| QuantityError::new("that is more than nine billion dollars"))
}

/// Reads a percentage: `"99.9 %"` or `"99.9"` give 99.9.
///
/// # Errors
/// When it is no number, negative, or has another unit.
pub fn parse_percent(text: &str) -> Result<f64, QuantityError> {
    let (value, unit) = number(text)?;
    match unit.trim() {
        "%" | "" | "percent" => Ok(value.mantissa as f64 / 10f64.powi(value.scale as i32)),
        other => Err(QuantityError::new(format!("`{other}` is not a percentage")).help("write it like \"99.9 %\"")),
    }
}

/// Reads a plain non-negative number.
///
/// # Errors
/// When anything but a number is there.
pub fn parse_number(text: &str) -> Result<f64, QuantityError> {
    let (value, unit) = number(text)?;
    if unit.trim().is_empty() {
        Ok(value.mantissa as f64 / 10f64.powi(value.scale as i32))
    } else {
        Err(QuantityError::new(format!("`{}` is a unit where a plain number was expected", unit.trim())))
    }
}
