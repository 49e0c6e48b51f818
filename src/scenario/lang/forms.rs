//! Quantities: the types' own notations, and those of single keys.

use serde_json::{Value as Json, json};

use super::{Defs, Diagnostic, Form, Lang, Node, Reader, Value, Written};
use crate::kernel::SimDuration;
use crate::scenario::model::{Bound, Sense};
use crate::units::{
    ByteNotation, Bytes, Cpu, QuantityError, Usd, parse_bytes, parse_cpu, parse_duration, parse_number, parse_percent,
    parse_usd, print_bytes, print_duration, print_usd,
};

impl Reader<'_> {
    /// Takes the result of reading a quantity; a refusal is reported at the node.
    pub fn quantity<T>(&mut self, node: &Node, result: Result<T, QuantityError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                let subject = self.last().to_owned();
                let mut d =
                    Diagnostic::error("S0105", format!("`{subject}` is not understood: {}", e.message)).at(node.span);
                if let Some(help) = e.help {
                    d = d.help(help);
                }
                self.report(d);
                None
            }
        }
    }

    /// The text of a quantity: a string, or a number as its digits. Anything else is reported.
    pub fn text(&mut self, node: &Node, expected: &str) -> Option<String> {
        match &node.value {
            Value::Str(s) => Some(s.clone()),
            Value::Int(n) => Some(n.to_string()),
            Value::Float(v) => Some(v.to_string()),
            _ => {
                self.wrong_kind(node, expected);
                None
            }
        }
    }

    fn bytes(&mut self, node: &Node, notation: ByteNotation, bare: Option<u64>) -> Option<Bytes> {
        let text = self.text(node, "an amount of data such as \"512 MiB\"")?;
        self.quantity(node, parse_bytes(&text, notation, bare))
    }

    fn duration(&mut self, node: &Node, bare_seconds: bool) -> Option<SimDuration> {
        let mut text = self.text(node, "a time such as \"90s\"")?;
        if bare_seconds && !matches!(node.value, Value::Str(_)) {
            text.push('s');
        }
        self.quantity(node, parse_duration(&text))
    }
}

/// Numbers that some keys take without a unit.
fn or_number(text: Json, number: Json) -> Json {
    json!({ "anyOf": [text, number] })
}

fn duration_text() -> Json {
    json!({ "type": "string", "pattern": r"^\s*\+?[0-9.][0-9._]*\s*([a-zµμ]+|$)", "examples": ["90s", "1h30m", "500ms"] })
}

fn bytes_text() -> Json {
    json!({ "type": "string", "pattern": r"^\s*\+?[0-9.]", "examples": ["350 MB", "512 MiB", "1Gi"] })
}

impl Lang for SimDuration {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.duration(node, false)
    }

    fn write(&self) -> Written {
        Written::Str(print_duration(*self))
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("Duration", |_| or_number(duration_text(), json!({ "const": 0 })))
    }
}

impl Lang for Bytes {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.bytes(node, ByteNotation::Decimal, None)
    }

    fn write(&self) -> Written {
        Written::Str(print_bytes(*self, ByteNotation::Decimal))
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("Bytes", |_| or_number(bytes_text(), json!({ "const": 0 })))
    }
}

impl Lang for Cpu {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = cx.text(node, "an amount of CPU such as 512 or \"0.5 vCPU\"")?;
        cx.quantity(node, parse_cpu(&text))
    }

    fn write(&self) -> Written {
        let parts = self.parts();
        if parts.is_multiple_of(125) {
            Written::Int(i128::from(parts / 125))
        } else if parts.is_multiple_of(128) {
            Written::Str(format!("{}m", parts / 128))
        } else {
            Written::Str(crate::units::print_cpu(*self))
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("Cpu", |_| {
            or_number(
                json!({ "type": "string", "pattern": r"^\s*\+?[0-9.]", "examples": ["0.5 vCPU", "500m"] }),
                json!({ "type": "integer", "minimum": 0, "description": "ECS CPU units: 1024 is one vCPU." }),
            )
        })
    }
}

impl Lang for Usd {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = cx.text(node, "money such as \"$4\"")?;
        cx.quantity(node, parse_usd(&text))
    }

    fn write(&self) -> Written {
        Written::Str(print_usd(*self))
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("Usd", |_| {
            or_number(
                json!({ "type": "string", "pattern": r"^\s*\$?\s*[0-9.]", "examples": ["$4", "$0.04/h"] }),
                json!({ "type": "number", "minimum": 0 }),
            )
        })
    }
}

impl Lang for jiff::Timestamp {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let (Value::Str(text) | Value::Datetime(text)) = &node.value else {
            cx.wrong_kind(node, "an instant such as 2026-01-05T00:00:00Z");
            return None;
        };
        match text.parse() {
            Ok(instant) => Some(instant),
            Err(_) => {
                let subject = cx.last().to_owned();
                cx.report(
                    Diagnostic::error("S0105", format!("`{subject}` is not understood as an instant"))
                        .at(node.span)
                        .help("write date, time and offset: 2026-01-05T00:00:00Z"),
                );
                None
            }
        }
    }

    fn write(&self) -> Written {
        Written::Datetime(self.to_string())
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "string", "format": "date-time" })
    }
}

/// Declares a form for a type and for an optional value of that type.
macro_rules! forms {
    ($($(#[$meta:meta])* $form:ident for $ty:ty { read($node:ident, $cx:ident) $read:block write($value:ident) $write:block schema($defs:ident) $schema:block })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub enum $form {}

        impl Form<$ty> for $form {
            fn read($node: &Node, $cx: &mut Reader<'_>) -> Option<$ty> $read
            fn write($value: &$ty) -> Written $write
            fn schema($defs: &mut Defs) -> Json $schema
        }

        impl Form<Option<$ty>> for $form {
            fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Option<$ty>> {
                <Self as Form<$ty>>::read(node, cx).map(Some)
            }
            fn write(value: &Option<$ty>) -> Written {
                value.as_ref().map_or(Written::Absent, <Self as Form<$ty>>::write)
            }
            fn schema(defs: &mut Defs) -> Json {
                <Self as Form<$ty>>::schema(defs)
            }
        }
    )*};
}

forms! {
    /// A time; a bare number counts seconds, as in the AWS API.
    Seconds for SimDuration {
        read(node, cx) { cx.duration(node, true) }
        write(value) { value.write() }
        schema(defs) {
            defs.part("Seconds", |_| or_number(
                duration_text(),
                json!({ "type": "number", "minimum": 0, "description": "Seconds." }),
            ))
        }
    }

    /// A whole number of seconds; a time with a unit is taken too.
    WholeSeconds for u32 {
        read(node, cx) {
            if node.as_str().is_none() {
                return <u32 as Lang>::read(node, cx);
            }
            let time = cx.duration(node, true)?;
            let secs = u32::try_from(time.as_secs()).ok().filter(|s| SimDuration::from_secs(u64::from(*s)) == time);
            if secs.is_none() {
                cx.report(Diagnostic::error("S0105", "this takes whole seconds").at(node.span));
            }
            secs
        }
        write(value) { value.write() }
        schema(defs) {
            let number = <u32 as Lang>::schema(defs);
            or_number(duration_text(), number)
        }
    }

    /// Memory of a task: a bare number counts MiB, and GB means GiB, as in ECS.
    TaskMemory for Bytes {
        read(node, cx) { cx.bytes(node, ByteNotation::TaskMemory, Some(1 << 20)) }
        write(value) { Written::Str(print_bytes(*value, ByteNotation::TaskMemory)) }
        schema(defs) {
            defs.part("TaskMemory", |_| or_number(
                bytes_text(),
                json!({ "type": "number", "minimum": 0, "description": "MiB." }),
            ))
        }
    }

    /// Storage: a bare number counts GiB, as in ECS.
    Storage for Bytes {
        read(node, cx) { cx.bytes(node, ByteNotation::TaskMemory, Some(1 << 30)) }
        write(value) { Written::Str(print_bytes(*value, ByteNotation::TaskMemory)) }
        schema(defs) {
            defs.part("Storage", |_| or_number(
                bytes_text(),
                json!({ "type": "number", "minimum": 0, "description": "GiB." }),
            ))
        }
    }

    /// Bytes on the wire: a bare number counts bytes.
    ByteCount for Bytes {
        read(node, cx) { cx.bytes(node, ByteNotation::Decimal, Some(1)) }
        write(value) { value.write() }
        schema(defs) {
            defs.part("ByteCount", |_| or_number(
                bytes_text(),
                json!({ "type": "integer", "minimum": 0, "description": "Bytes." }),
            ))
        }
    }

    /// Bytes a second: `"80 MB/s"`.
    ByteRate for Bytes {
        read(node, cx) {
            let text = cx.text(node, "a rate such as \"80 MB/s\"")?;
            let amount = text.trim().strip_suffix("/s").unwrap_or(text.trim());
            cx.quantity(node, parse_bytes(amount, ByteNotation::Decimal, None))
        }
        write(value) { Written::Str(format!("{}/s", print_bytes(*value, ByteNotation::Decimal))) }
        schema(defs) {
            defs.part("ByteRate", |_| json!({ "type": "string", "pattern": r"^\s*\+?[0-9.]", "examples": ["80 MB/s"] }))
        }
    }

    /// A share from 0 to 1; `"5 %"` is taken too.
    Share for f64 {
        read(node, cx) {
            let share = match &node.value {
                Value::Str(text) if text.trim_end().ends_with('%') => cx.quantity(node, parse_percent(text))? / 100.0,
                Value::Str(text) => cx.quantity(node, parse_number(text))?,
                _ => cx.number(node)?,
            };
            if (0.0..=1.0).contains(&share) {
                return Some(share);
            }
            let subject = cx.last().to_owned();
            let mut d = Diagnostic::error("S0106", format!("`{subject}` is a share from 0 to 1")).at(node.span);
            if share > 1.0 && share <= 100.0 {
                d = d.help("for a percentage, write the sign").patch(node.span, format!("\"{share} %\""));
            }
            cx.report(d);
            None
        }
        write(value) { value.write() }
        schema(defs) {
            defs.part("Share", |_| or_number(
                json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$" }),
                json!({ "type": "number", "minimum": 0, "maximum": 1 }),
            ))
        }
    }

    /// A percentage; the sign may be written.
    Percent for f64 {
        read(node, cx) {
            let percent = match &node.value {
                Value::Str(text) => cx.quantity(node, parse_percent(text))?,
                _ => cx.number(node)?,
            };
            if (0.0..=100.0).contains(&percent) {
                return Some(percent);
            }
            let subject = cx.last().to_owned();
            cx.report(Diagnostic::error("S0106", format!("`{subject}` is a percentage from 0 to 100")).at(node.span));
            None
        }
        write(value) { value.write() }
        schema(defs) {
            defs.part("Percent", |_| or_number(
                json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*%?\s*$" }),
                json!({ "type": "number", "minimum": 0, "maximum": 100 }),
            ))
        }
    }

    /// A bound on a latency: `"<= 400 ms"`.
    LatencyBound for Bound {
        read(node, cx) { bound(node, cx, Sense::AtMost, "<= 400 ms", |t| parse_duration(t).map(SimDuration::as_secs_f64)) }
        write(value) { write_bound(value, &print_duration(SimDuration::from_secs_f64(value.value))) }
        schema(defs) { bound_schema(defs, "LatencyBound", "<= 400 ms") }
    }

    /// A bound on an availability: `">= 99.9 %"`.
    AvailabilityBound for Bound {
        read(node, cx) { bound(node, cx, Sense::AtLeast, ">= 99.9 %", parse_percent) }
        write(value) { write_bound(value, &format!("{} %", value.value)) }
        schema(defs) { bound_schema(defs, "AvailabilityBound", ">= 99.9 %") }
    }

    /// A bound on dollars: `"<= $4"`.
    DollarBound for Bound {
        read(node, cx) { bound(node, cx, Sense::AtMost, "<= $4", |t| parse_usd(t).map(Usd::dollars)) }
        write(value) { write_bound(value, &format!("${}", value.value)) }
        schema(defs) { bound_schema(defs, "DollarBound", "<= $4") }
    }

    /// A bound on a number of minutes: `"<= 5"` or `"<= 5 min"`.
    MinuteBound for Bound {
        read(node, cx) {
            bound(node, cx, Sense::AtMost, "<= 5", |t| {
                parse_number(t).or_else(|_| parse_duration(t).map(|d| d.as_secs_f64() / 60.0))
            })
        }
        write(value) { write_bound(value, &value.value.to_string()) }
        schema(defs) { bound_schema(defs, "MinuteBound", "<= 5") }
    }
}

fn write_bound(bound: &Bound, limit: &str) -> Written {
    let sign = match bound.sense {
        Sense::AtMost => "<=",
        Sense::AtLeast => ">=",
    };
    Written::Str(format!("{sign} {limit}"))
}

fn bound_schema(defs: &mut Defs, name: &str, example: &str) -> Json {
    defs.part(
        name,
        |_| json!({ "type": "string", "pattern": r"^\s*(<=|>=|<|>|≤|≥)\s*\$?[0-9.]", "examples": [example] }),
    )
}

/// Reads one side of an objective. A bound that points the other way is reported: it would pass the
/// worse a run is.
fn bound(
    node: &Node,
    cx: &mut Reader<'_>,
    sense: Sense,
    example: &str,
    limit: impl Fn(&str) -> Result<f64, QuantityError>,
) -> Option<Bound> {
    let Some(text) = node.as_str() else {
        cx.wrong_kind(node, &format!("a bound such as \"{example}\""));
        return None;
    };
    let text = text.trim();
    let (found, rest) = if let Some(rest) = text.strip_prefix("<=").or_else(|| text.strip_prefix('≤')) {
        (Sense::AtMost, rest)
    } else if let Some(rest) = text.strip_prefix(">=").or_else(|| text.strip_prefix('≥')) {
        (Sense::AtLeast, rest)
    } else if let Some(rest) = text.strip_prefix('<') {
        (Sense::AtMost, rest)
    } else if let Some(rest) = text.strip_prefix('>') {
        (Sense::AtLeast, rest)
    } else {
        let subject = cx.last().to_owned();
        let sign = if sense == Sense::AtMost { "<=" } else { ">=" };
        let mut d = Diagnostic::error("S0105", format!("`{subject}` needs `<=` or `>=` before its limit"))
            .at(node.span)
            .label(format!("expected a bound such as \"{example}\""));
        if limit(text).is_ok() {
            d = d.help("say which way the bound holds").patch(node.span, format!("\"{sign} {text}\""));
        }
        cx.report(d);
        return None;
    };
    let value = cx.quantity(node, limit(rest))?;
    if found != sense {
        let subject = cx.last().to_owned();
        let better =
            if sense == Sense::AtMost { "lower is better: write `<=`" } else { "higher is better: write `>=`" };
        cx.report(
            Diagnostic::error("S1001", format!("the bound of `{subject}` points the wrong way"))
                .at(node.span)
                .label(better),
        );
        return None;
    }
    Some(Bound { sense, value })
}
