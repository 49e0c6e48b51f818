//! How numbers and marks look in text: three significant digits, thin spaces, and an ASCII form of everything.

/// The look of a text: its width, its character set and whether marks are coloured as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Most columns of a line. Kept between [`Style::NARROW`] and [`Style::WIDE`].
    pub width: usize,
    /// Only ASCII characters, for terminals without UTF-8.
    pub ascii: bool,
    /// Colour on marks and headings; every mark also has a word.
    pub color: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: Self::WIDE, ascii: false, color: false }
    }
}

/// Colours of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Bad,
    Warn,
    Bold,
}

impl Style {
    /// The narrowest page.
    pub const NARROW: usize = 72;
    /// The widest page.
    pub const WIDE: usize = 100;

    /// A style for a terminal of so many columns.
    #[must_use]
    pub fn for_columns(columns: usize) -> Self {
        Self { width: columns.clamp(Self::NARROW, Self::WIDE), ..Self::default() }
    }

    /// Replaces characters outside of ASCII, if the style wants that.
    pub(crate) fn text(self, s: &str) -> String {
        if !self.ascii || s.is_ascii() {
            return s.to_owned();
        }
        let mut out = String::with_capacity(s.len());
        for c in s.chars() {
            match c {
                '\u{202f}' | '\u{2009}' | '\u{a0}' => out.push(' '),
                '≤' => out.push_str("<="),
                '≥' => out.push_str(">="),
                '✓' => out.push('+'),
                '✗' => out.push('x'),
                '–' | '−' | '—' => out.push('-'),
                '×' => out.push('x'),
                // One column, so that what was cut to a width keeps it.
                '…' => out.push('~'),
                '±' => out.push_str("+/-"),
                '●' => out.push('*'),
                '·' => out.push('-'),
                '→' => out.push_str("->"),
                'µ' => out.push('u'),
                '█' | '▌' => out.push('#'),
                other => out.push(other),
            }
        }
        out
    }

    pub(crate) fn paint(self, s: &str, paint: Paint) -> String {
        if !self.color {
            return s.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Warn => "33",
            Paint::Bold => "1",
        };
        format!("\u{1b}[{code}m{s}\u{1b}[0m")
    }

    /// A sparkline of at most `width` marks; an absent value is a blank.
    pub(crate) fn sparkline(self, values: &[Option<f64>], width: usize, peaks: bool) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const PLAIN: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];
        let levels = if self.ascii { PLAIN } else { BLOCKS };
        let marks = values.len().min(width);
        let folded: Vec<Option<f64>> = (0..marks)
            .map(|i| {
                let group = &values[i * values.len() / marks..(i + 1) * values.len() / marks];
                let present: Vec<f64> = group.iter().flatten().copied().filter(|x| x.is_finite()).collect();
                if present.is_empty() {
                    None
                } else if peaks {
                    present.iter().copied().reduce(f64::max)
                } else {
                    Some(present.iter().sum::<f64>() / present.len() as f64)
                }
            })
            .collect();
        let top = folded.iter().flatten().copied().fold(0.0, f64::max);
        folded
            .iter()
            .map(|v| match v {
                None => ' ',
                Some(_) if top <= 0.0 => levels[0],
                Some(v) => levels[((v / top * 8.0).ceil() as usize).clamp(1, 8) - 1],
            })
            .collect()
    }
}

/// Groups the digits of an integer by thousands with narrow no-break spaces.
pub(crate) fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("−", d));
    let mut out = String::from(sign);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// An exact count.
pub(crate) fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// A count with its noun, which gets an `s` unless it is one.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `x` with so many significant digits, thousands grouped, no zeros at the end of the decimals; large ones with k, M, G.
pub(crate) fn significant(x: f64, digits: usize) -> String {
    if !x.is_finite() {
        return "–".into();
    }
    if x == 0.0 {
        return "0".into();
    }
    // The exponent after rounding: 999.7 with three digits is 1 000.
    let scientific = format!("{:.*e}", digits - 1, x);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let rounded: f64 = scientific.parse().unwrap_or(x);
    if exponent >= 6 {
        let (unit, scale) =
            [(" M", 6), (" G", 9), (" T", 12)].into_iter().rfind(|(_, e)| exponent >= *e).unwrap_or((" M", 6));
        if exponent - scale < 3 {
            return format!("{}{unit}", significant(rounded / 10f64.powi(scale), digits));
        }
    }
    if exponent < -6 {
        return format!("{mantissa}e{exponent}");
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{rounded:.decimals$}");
    match text.split_once('.') {
        None => grouped(&text),
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { grouped(whole) } else { format!("{}.{fraction}", grouped(whole)) }
        }
    }
}

/// Three significant digits.
pub(crate) fn sig3(x: f64) -> String {
    significant(x, 3)
}

/// A quantity of the bill: precise enough that it times the unit price is the cost to the cent.
pub(crate) fn quantity(x: f64) -> String {
    if x.abs() >= 1000.0 { grouped(&format!("{x:.0}")) } else { significant(x, 4) }
}

/// Dollars: cents from ten cents on, three significant digits below.
pub(crate) fn dollars(x: f64) -> String {
    let sign = if x < 0.0 { "−" } else { "" };
    let x = x.abs();
    if x == 0.0 {
        "$0".into()
    } else if x < 0.1 {
        format!("{sign}${}", sig3(x))
    } else {
        let cents = format!("{x:.2}");
        let (whole, fraction) = cents.split_once('.').unwrap_or((&cents, "00"));
        format!("{sign}${}.{fraction}", grouped(whole))
    }
}

/// A share in percent such that what is missing from 100 keeps two significant digits: 99.95, 99.9987.
pub(crate) fn percent(x: f64) -> String {
    let missing = 100.0 - x;
    if !x.is_finite() || missing <= 0.0 || missing > 1.0 {
        return sig3(x);
    }
    let decimals = ((1 - missing.log10().floor() as i32).clamp(1, 7)) as usize;
    let text = format!("{x:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration in the two largest fitting units: `7 min 3 s`, `2 h 30 min`, `1.5 s`, `40 ms`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".into();
    }
    if seconds.abs() < 1.0 {
        return format!("{} ms", sig3(seconds * 1e3));
    }
    if seconds < 59.5 {
        // Tenths only where they can matter.
        return if seconds < 9.95 { format!("{} s", significant(seconds, 2)) } else { format!("{seconds:.0} s") };
    }
    let whole = seconds.round() as u64;
    let two = |a: u64, unit: &str, b: u64, small: &str| {
        if b == 0 { format!("{a} {unit}") } else { format!("{a} {unit} {b} {small}") }
    };
    if whole < 3_600 {
        two(whole / 60, "min", whole % 60, "s")
    } else if whole < 86_400 {
        let minutes = (whole + 30) / 60;
        two(minutes / 60, "h", minutes % 60, "min")
    } else {
        let hours = (whole + 1_800) / 3_600;
        two(hours / 24, "d", hours % 24, "h")
    }
}

/// A value with the unit that the summary gives it.
pub(crate) fn value(x: f64, unit: &str) -> String {
    match unit {
        "usd" => dollars(x),
        "usd/h" => format!("{}/h", dollars(x)),
        "%" => format!("{} %", percent(x)),
        unit => format!("{} {unit}", sig3(x)),
    }
}

/// A measured value so exact that it does not read as its limit unless it is its limit.
pub(crate) fn value_beside(x: f64, limit: f64, unit: &str) -> String {
    let text = value(x, unit);
    if x == limit || text != value(limit, unit) {
        return text;
    }
    for digits in 4..=9 {
        let finer = significant(x, digits);
        if finer != significant(limit, digits) {
            return match unit {
                "usd" => format!("${finer}"),
                "usd/h" => format!("${finer}/h"),
                unit => format!("{finer} {unit}"),
            };
        }
    }
    text
}

/// The name of an objective's key in words.
pub(crate) fn key_words(key: &str) -> String {
    key.replace('_', " ")
}

/// At most `width` characters, the cut marked.
pub(crate) fn clipped(s: &str, width: usize) -> String {
    if s.chars().count() <= width {
        return s.to_owned();
    }
    let mut out: String = s.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(s: &str) -> String {
        s.replace('\u{202f}', " ")
    }

    #[test]
    fn numbers_have_three_digits() {
        for (x, text) in [
            (0.0, "0"),
            (118.2, "118"),
            (11.44, "11.4"),
            (0.04, "0.04"),
            (2_310.4, "2 310"),
            (999.7, "1 000"),
            (12_345.0, "12 300"),
            (123_456.0, "123 000"),
            (1_234_567.0, "1.23 M"),
            (9.99e8, "999 M"),
            (1e9, "1 G"),
            (4.0, "4"),
            (-2.5, "−2.5"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(plain(&sig3(x)).replace('-', "−"), text, "{x}");
        }
        assert_eq!(plain(&count(1_234_567)), "1 234 567");
    }

    #[test]
    fn shares_money_and_durations() {
        assert_eq!(percent(99.95), "99.95");
        assert_eq!(percent(99.998_7), "99.9987");
        assert_eq!(percent(100.0), "100");
        assert_eq!(percent(42.123), "42.1");
        assert_eq!(dollars(31.874), "$31.87");
        assert_eq!(dollars(0.0123), "$0.0123");
        assert_eq!(plain(&dollars(12_345.6)), "$12 345.60");
        assert_eq!(duration(423.0), "7 min 3 s");
        assert_eq!(duration(9_000.0), "2 h 30 min");
        assert_eq!(duration(59.7), "1 min");
        assert_eq!(duration(0.04), "40 ms");
        assert_eq!(duration(1.54), "1.5 s");
        assert_eq!(duration(1_209_600.0), "14 d");
    }

    #[test]
    fn a_missed_limit_never_reads_as_the_limit() {
        assert_eq!(value_beside(400.4, 400.0, "ms"), "400.4 ms");
        assert_eq!(value_beside(400.0, 400.0, "ms"), "400 ms");
        assert_eq!(value_beside(4.001, 4.0, "usd/h"), "$4.001/h");
        assert_eq!(value_beside(99.899_96, 99.9, "%"), "99.89996 %");
    }

    #[test]
    fn sparklines_fold_and_scale() {
        let style = Style::default();
        let values: Vec<Option<f64>> = (0..=8).map(|i| Some(f64::from(i))).collect();
        assert_eq!(style.sparkline(&values, 20, false), "▁▁▂▃▄▅▆▇█");
        assert_eq!(style.sparkline(&[Some(1.0), None, Some(0.0)], 20, false), "█ ▁");
        assert_eq!(style.sparkline(&values, 3, true), "▂▅█");
        assert_eq!(Style { ascii: true, ..style }.sparkline(&values, 20, false), "__.:-=+*#");
        assert_eq!(style.sparkline(&[], 20, false), "");
    }
}
