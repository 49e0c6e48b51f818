//! A scenario as it was written: TOML values that know where they stand.

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands; for a table with a header, the header.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Str(String),
    /// A whole number.
    Int(i128),
    /// A number with a point or an exponent.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date or time, as text.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
}

/// The entries of a table, in the order of the file.
pub type Table = IndexMap<String, Entry>;

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the key stands.
    pub key: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What kind of value it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Str(_) => "a string",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// The table, if it is one.
    #[must_use]
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(t) => Some(t),
            _ => None,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
}

/// Parses a TOML document; every syntax error becomes a finding, and what could be read is returned.
pub(crate) fn parse_document(text: &str, source: u32, out: &mut Vec<Diagnostic>) -> Node {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        syntax_error(error, text, source, out);
    }
    let range = document.span();
    let span = Span::new(source, range.start.min(text.len()), range.start.min(text.len()));
    Node { span, value: Value::Table(table(document.into_inner(), source, out)) }
}

/// Parses one TOML value; `base` is where it starts in its source.
pub(crate) fn parse_value(text: &str, source: u32, base: usize, out: &mut Vec<Diagnostic>) -> Option<Node> {
    let (value, errors) = DeValue::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let span = error.span().unwrap_or(0..text.len());
        out.push(Diagnostic::error("S0010", format!("this is not a TOML value: {}", error.message())).at(Span::new(
            source,
            base + span.start,
            base + span.end,
        )));
        return None;
    }
    let mut node = node(value, source, out);
    shift(&mut node, base as u32);
    Some(node)
}

fn shift(node: &mut Node, by: u32) {
    let moved = |s: Span| Span { source: s.source, start: s.start + by, end: s.end + by };
    node.span = moved(node.span);
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|n| shift(n, by)),
        Value::Table(t) => t.values_mut().for_each(|e| {
            e.key = moved(e.key);
            shift(&mut e.node, by);
        }),
        _ => {}
    }
}

fn syntax_error(error: &toml::de::Error, text: &str, source: u32, out: &mut Vec<Diagnostic>) {
    let span = error.span().unwrap_or(0..0);
    let (start, end) = (span.start.min(text.len()), span.end.min(text.len()));
    let message = error.message().lines().next().unwrap_or("invalid TOML").to_owned();
    let mut d = Diagnostic::error("S0010", message).at(Span::new(source, start, end));
    for line in error.message().lines().skip(1).filter(|l| !l.trim().is_empty()) {
        d = d.help(line.trim());
    }
    out.push(d);
}

fn table(table: DeTable<'_>, source: u32, out: &mut Vec<Diagnostic>) -> Table {
    let mut entries: Vec<(Span, String, Node)> = table
        .into_iter()
        .map(|(key, value)| {
            let range = key.span();
            (Span::new(source, range.start, range.end), key.into_inner().into_owned(), node(value, source, out))
        })
        .collect();
    // The parser sorts by name; people think in the order of the file.
    entries.sort_by_key(|(span, ..)| *span);
    entries.into_iter().map(|(key, name, node)| (name, Entry { key, node })).collect()
}

fn node(value: toml::Spanned<DeValue<'_>>, source: u32, out: &mut Vec<Diagnostic>) -> Node {
    let range = value.span();
    let span = Span::new(source, range.start, range.end);
    let value = match value.into_inner() {
        DeValue::String(s) => Value::Str(s.into_owned()),
        DeValue::Integer(i) => match i128::from_str_radix(i.as_str(), i.radix()) {
            Ok(n) => Value::Int(n),
            Err(_) => {
                out.push(Diagnostic::error("S0106", "this number is too large to be meant").at(span));
                Value::Int(0)
            }
        },
        DeValue::Float(f) => match f.as_str().parse::<f64>() {
            Ok(v) => Value::Float(v),
            Err(_) => {
                out.push(Diagnostic::error("S0010", "this is not a number").at(span));
                Value::Float(0.0)
            }
        },
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|v| node(v, source, out)).collect()),
        DeValue::Table(t) => Value::Table(table(t, source, out)),
    };
    Node { span, value }
}
