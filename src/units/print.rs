//! Writing quantities so that reading them gives the same quantity again.

use crate::kernel::SimDuration;
use crate::units::{ByteNotation, Bytes, Cpu, Usd};

/// Writes `whole / 10^places` without trailing zeros.
fn decimal(value: u128, places: u32) -> String {
    let base = 10u128.pow(places);
    let (whole, fraction) = (value / base, value % base);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:0width$}", width = places as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// A length of time in the notation of the language: `45m`, `1h30m`, `0.5s` as `500ms`, `1.25s`.
#[must_use]
pub fn print_duration(d: SimDuration) -> String {
    let nanos = d.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if !nanos.is_multiple_of(1_000_000_000) {
        return if nanos >= 1_000_000_000 {
            format!("{}s", decimal(u128::from(nanos), 9))
        } else if nanos >= 1_000_000 {
            format!("{}ms", decimal(u128::from(nanos), 6))
        } else if nanos >= 1_000 {
            format!("{}us", decimal(u128::from(nanos), 3))
        } else {
            format!("{nanos}ns")
        };
    }
    let secs = nanos / 1_000_000_000;
    let mut text = String::new();
    let mut rest = secs;
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
        let n = rest / size;
        rest %= size;
        if n > 0 {
            text.push_str(&format!("{n}{unit}"));
        }
    }
    text
}

/// An amount of CPU for people: `0.5 vCPU`.
#[must_use]
pub fn print_cpu(cpu: Cpu) -> String {
    // 128,000 = 2^10 * 5^3, so at most ten decimals are exact.
    format!("{} vCPU", decimal(u128::from(cpu.parts()) * 10u128.pow(10) / u128::from(Cpu::PER_VCPU), 10))
}

/// An amount of data: the largest unit that divides it exactly.
#[must_use]
pub fn print_bytes(bytes: Bytes, notation: ByteNotation) -> String {
    let n = bytes.get();
    let decimal: &[(u64, &str)] = match notation {
        ByteNotation::Decimal => &[(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")],
        ByteNotation::TaskMemory => &[],
    };
    let binary: &[(u64, &str)] = match notation {
        ByteNotation::Decimal => &[(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        ByteNotation::TaskMemory => &[(1 << 30, "GB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
    };
    if n == 0 {
        return "0 B".to_owned();
    }
    let fit = |units: &[(u64, &'static str)]| units.iter().find(|(size, _)| n.is_multiple_of(*size)).copied();
    match (fit(decimal), fit(binary)) {
        (Some((size, unit)), Some((other, _))) if n / size <= n / other => format!("{} {unit}", n / size),
        (Some((size, unit)), None) | (_, Some((size, unit))) => format!("{} {unit}", n / size),
        (None, None) => format!("{n} B"),
    }
}

/// Money to the nano-dollar: `$0.04048`.
#[must_use]
pub fn print_usd(usd: Usd) -> String {
    let sign = if usd.nanos() < 0 { "-" } else { "" };
    format!("{sign}${}", decimal(u128::from(usd.nanos().unsigned_abs()), 9))
}
