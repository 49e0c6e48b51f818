//! An address and the values it is to take: an axis of a sweep (`--vary`), or of a search space.
//!
//! Values are a list (`256,512,1024`), or a range: `50..90:5` is five values evenly spaced, `50..90/10` every
//! tenth from 50 on, `10..1000:5:log` five values with a constant ratio. A unit stands at both ends or at
//! the second: `30s..120s:4`, `1..4 GB:4`. Whole ends make whole values.

use super::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use super::patch::parse_address;
use super::tree::{Node, Value};

/// An address and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The address.
    pub address: String,
    /// The values.
    pub values: AxisValues,
}

/// The values of an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisValues {
    /// These, as they would be written after `--set ADDRESS=`.
    List(Vec<String>),
    /// Numbers between two ends, which are among them.
    Range(Range),
}

/// Numbers between two ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// First.
    pub from: f64,
    /// Last, greater than the first.
    pub to: f64,
    /// What stands before each number: a dollar sign, or nothing.
    pub prefix: String,
    /// What stands after each number: its unit, or nothing.
    pub suffix: String,
    /// Whether only whole numbers are taken: both ends are written without a point.
    pub whole: bool,
    /// Whether ratios rather than differences are even.
    pub log: bool,
    /// How many values a grid takes; none when it is left to a sample.
    pub points: Option<usize>,
}

/// Most values of one axis.
pub const MOST_VALUES: usize = 10_000;

/// What is wrong with an axis, at which byte of its text, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisError {
    /// What is wrong.
    pub message: String,
    /// First byte of what is meant.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What helps.
    pub help: &'static str,
}

const HELP: &str = "values are a list `a,b,c`, or a range `50..90:5` (five values), `50..90/10` (every tenth), \
                    `10..1000:5:log` (five values, even ratios)";

impl Axis {
    /// Reads `ADDRESS=VALUES`.
    ///
    /// # Errors
    /// A finding that points into the argument.
    pub fn parse(argument: &str, option: &str) -> Result<Self, Diagnostics> {
        let wrong = |message: &str, start: usize, end: usize, help: &str| {
            let source = Source { name: option.to_owned(), text: argument.into() };
            let found = Diagnostic::error("S0204", message.to_owned()).at(Span::new(0, start, end)).help(help);
            Err(Diagnostics { sources: vec![source], items: vec![found] })
        };
        let Some(equals) = argument.find('=') else {
            return wrong("an axis is written `address=values`", 0, argument.len(), HELP);
        };
        let address = argument[..equals].trim();
        if let Err((message, at)) = parse_address(address) {
            let end = (at + 1).min(argument.len());
            return wrong(&format!("this is not an address: {message}"), at.min(end), end, HELP);
        }
        match AxisValues::parse(&argument[equals + 1..]) {
            Ok(values) => Ok(Self { address: address.to_owned(), values }),
            Err(e) => wrong(&e.message, equals + 1 + e.start, equals + 1 + e.end, e.help),
        }
    }

    /// The last names of the address, enough to be told apart by eye: `cpu60.target_value`.
    #[must_use]
    pub fn short(&self) -> &str {
        let from = self.address.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.address[from..]
    }
}

impl AxisValues {
    /// Reads the values as they are written on the command line.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, AxisError> {
        let error = |message: String, start, end| Err(AxisError { message, start, end, help: HELP });
        if text.trim().is_empty() {
            return error("there are no values".into(), 0, text.len());
        }
        if let Some(dots) = text.find("..").filter(|_| !text.starts_with(['"', '\'', '['])) {
            return Range::parse(text, dots).map(Self::Range);
        }
        let mut values = Vec::new();
        let mut start = 0;
        for end in splits(text) {
            let item = text[start..end].trim();
            if item.is_empty() {
                return error("a value is missing between the commas".into(), start, (end + 1).min(text.len()));
            }
            if values.iter().any(|v| v == item) {
                return error(format!("`{item}` stands here twice"), start, end);
            }
            values.push(item.to_owned());
            start = end + 1;
        }
        Ok(Self::List(values))
    }

    /// Reads the values as they are written in a scenario: an array, or a range as a string.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_node(node: &Node) -> Result<Self, String> {
        match &node.value {
            Value::Str(text) if text.contains("..") => Self::parse(text).map_err(|e| e.message),
            Value::Array(items) if items.is_empty() => Err("there are no values".to_owned()),
            Value::Array(items) => {
                let values = items.iter().map(literal).collect::<Option<Vec<_>>>().ok_or_else(|| {
                    "the values of an axis are numbers, strings or booleans; for tables, use variants".to_owned()
                })?;
                match (1..values.len()).find(|&i| values[..i].contains(&values[i])) {
                    Some(i) => Err(format!("`{}` stands here twice", values[i])),
                    None => Ok(Self::List(values)),
                }
            }
            _ => Err("values are an array, or a range in quotes such as \"50..90:5\"".to_owned()),
        }
    }

    /// All values of a grid; none for a range that does not say how many it has.
    #[must_use]
    pub fn grid(&self) -> Option<Vec<String>> {
        match self {
            Self::List(values) => Some(values.clone()),
            Self::Range(range) => {
                let n = range.points?;
                let mut values: Vec<String> =
                    (0..n).map(|i| range.text(range.at(i as f64 / (n - 1).max(1) as f64))).collect();
                values.dedup();
                Some(values)
            }
        }
    }

    /// The value at a share `u` (0 to 1) of the axis, for samples.
    #[must_use]
    pub fn at(&self, u: f64) -> String {
        match self {
            Self::List(values) => {
                let i = ((u * values.len() as f64) as usize).min(values.len().saturating_sub(1));
                values.get(i).cloned().unwrap_or_default()
            }
            // Every whole value has the same share.
            Self::Range(r) if r.whole && !r.log => r.text((r.from + u * (r.to - r.from + 1.0)).floor().min(r.to)),
            Self::Range(r) => r.text(r.at(u)),
        }
    }
}

/// The number that a value begins with, for axes of charts: `30s` is 30.
#[must_use]
pub fn number_of(value: &str) -> Option<f64> {
    split_number(value.trim().trim_matches('"')).map(|(_, number, _)| number)
}

/// A scalar as it would be written after `--set ADDRESS=`.
fn literal(node: &Node) -> Option<String> {
    match &node.value {
        Value::Str(s) => Some(serde_json::Value::from(s.as_str()).to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::Float(v) => Some(format!("{v:?}")),
        Value::Bool(b) => Some(b.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Where the commas are that part values, and the end.
fn splits(text: &str) -> Vec<usize> {
    let (mut depth, mut quote) = (0_i32, None);
    let mut at = Vec::new();
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => at.push(i),
            _ => {}
        }
    }
    at.push(text.len());
    at
}

/// Parts `$0.5`, `30s` or `1.5 GB` into what stands before the number, the number, and what stands after.
fn split_number(text: &str) -> Option<(&str, f64, &str)> {
    let start = text.find(|c: char| c.is_ascii_digit() || c == '-' || c == '.')?;
    let digits = text[start..]
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '_')))
        .map_or(text.len(), |n| start + n);
    let number: f64 = text[start..digits].replace('_', "").parse().ok()?;
    number.is_finite().then_some((&text[..start], number, &text[digits..]))
}

impl Range {
    fn parse(text: &str, dots: usize) -> Result<Self, AxisError> {
        let error = |message: String, start, end| Err(AxisError { message, start, end, help: HELP });
        let rest_at = dots + 2;
        let rest = &text[rest_at..];
        let end_at = rest.find([':', '/']).map_or(text.len(), |n| rest_at + n);
        let (first, second) = (text[..dots].trim(), text[rest_at..end_at].trim());
        let Some((prefix, from, unit)) = split_number(first) else {
            return error(format!("`{first}` is not a number"), 0, dots);
        };
        let Some((prefix2, to, suffix)) = split_number(second) else {
            return error(format!("`{second}` is not a number"), rest_at, end_at);
        };
        if prefix != prefix2 || (!unit.is_empty() && unit.trim() != suffix.trim()) {
            return error(format!("`{first}` and `{second}` have different units"), 0, end_at);
        }
        if from >= to {
            return error(format!("the range is empty: {first} is not below {second}"), 0, end_at);
        }
        let whole = !first.contains('.') && !second.contains('.');
        let mut range =
            Self { from, to, prefix: prefix.into(), suffix: suffix.into(), whole, log: false, points: None };
        let mut tail = &text[end_at..];
        let mut tail_at = end_at;
        if let Some(step) = tail.strip_prefix('/') {
            let span = (end_at + 1, text.len());
            let Some((_, step, _)) = split_number(step.trim()).filter(|s| s.1 > 0.0) else {
                return error("the step is a number above 0".into(), span.0, span.1);
            };
            // The last value is the last step that does not go beyond the end.
            let n = ((to - from) / step + 1e-9).floor();
            if n >= MOST_VALUES as f64 {
                return error(format!("an axis has at most {MOST_VALUES} values"), span.0, span.1);
            }
            range.to = from + n * step;
            range.whole &= step.fract() == 0.0;
            range.points = Some(n as usize + 1);
            if range.points == Some(1) {
                return error("the step is longer than the range".into(), span.0, span.1);
            }
            return Ok(range);
        }
        while let Some(word) = tail.strip_prefix(':') {
            let length = word.find(':').unwrap_or(word.len());
            let (word, at) = (word[..length].trim(), tail_at + 1);
            match word.parse::<usize>() {
                Ok(n) if (2..=MOST_VALUES).contains(&n) => range.points = Some(n),
                Ok(_) => return error(format!("a range has 2 to {MOST_VALUES} values"), at, at + length),
                Err(_) if word == "log" && from > 0.0 => range.log = true,
                Err(_) if word == "log" => {
                    return error("even ratios need ends above 0".into(), 0, end_at);
                }
                Err(_) => return error(format!("`{word}` is neither a number of values nor `log`"), at, at + length),
            }
            tail_at += 1 + length;
            tail = &text[tail_at..];
        }
        Ok(range)
    }

    /// The number at a share of the range.
    fn at(&self, u: f64) -> f64 {
        if self.log { self.from * libm::pow(self.to / self.from, u) } else { self.from + (self.to - self.from) * u }
    }

    fn text(&self, number: f64) -> String {
        let number = if self.whole { libm::round(number) } else { number };
        // Six digits say all that a range means.
        let short: f64 = format!("{number:.5e}").parse().unwrap_or(number);
        format!("{}{}{}", self.prefix, if self.whole { number } else { short }, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(text: &str) -> Vec<String> {
        AxisValues::parse(text).expect("well-formed").grid().expect("a grid")
    }

    #[test]
    fn lists_and_ranges() {
        assert_eq!(grid("256, 512,1024"), ["256", "512", "1024"]);
        assert_eq!(grid("\"a,b\",[1,2]"), ["\"a,b\"", "[1,2]"]);
        assert_eq!(grid("50..90:5"), ["50", "60", "70", "80", "90"]);
        assert_eq!(grid("50..95/20"), ["50", "70", "90"]);
    }

    #[test]
    fn units_and_ratios() {
        assert_eq!(grid("30s..120s:4"), ["30s", "60s", "90s", "120s"]);
        assert_eq!(grid("1..4 GB:4"), ["1 GB", "2 GB", "3 GB", "4 GB"]);
        assert_eq!(grid("$0.5..$1.5:3"), ["$0.5", "$1", "$1.5"]);
        assert_eq!(grid("10..1000:3:log"), ["10", "100", "1000"]);
        assert_eq!(grid("1..3:10"), ["1", "2", "3"], "whole values are not repeated");
        let sample = AxisValues::parse("1..4").expect("a range");
        assert_eq!(sample.grid(), None);
        assert_eq!([0.0, 0.24, 0.26, 0.99].map(|u| sample.at(u)), ["1", "1", "2", "4"]);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, message) in [
            ("", "there are no values"),
            ("1,,2", "a value is missing between the commas"),
            ("1,2,1", "`1` stands here twice"),
            ("9..3:4", "the range is empty: 9 is not below 3"),
            ("3s..9m:4", "`3s` and `9m` have different units"),
            ("a..9:4", "`a` is not a number"),
            ("1..9:1", "a range has 2 to 10000 values"),
            ("1..9:x", "`x` is neither a number of values nor `log`"),
            ("0..9:3:log", "even ratios need ends above 0"),
            ("1..9/0", "the step is a number above 0"),
            ("1..9/20", "the step is longer than the range"),
            ("1..1e99/1e-9", "an axis has at most 10000 values"),
        ] {
            match AxisValues::parse(text) {
                Err(e) => {
                    assert!(e.start <= e.end && e.end <= text.len(), "{text}: {e:?}");
                    if !text.contains("1e99") {
                        assert_eq!(e.message, message, "{text}");
                    }
                }
                Ok(values) => panic!("{text}: {values:?}"),
            }
        }
        let e = Axis::parse("services..x=1", "--vary").expect_err("no address");
        assert!(e.items[0].message.contains("not an address"), "{}", e.items[0].message);
        assert!(Axis::parse("services.web.task.cpu", "--vary").is_err());
    }
}
