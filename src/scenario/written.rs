//! Values on their way out: into `plan.toml` and into JSON.

use indexmap::IndexMap;

use super::diagnostic::Span;
use super::tree::{Entry, Node, Value};

/// A value as the language writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Nothing: the key is left out.
    Absent,
    /// A string.
    Str(String),
    /// A whole number.
    Int(i128),
    /// A number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// An instant, written without quotes.
    Datetime(String),
    /// An array.
    Array(Vec<Written>),
    /// A table.
    Table(IndexMap<String, Written>),
}

impl Written {
    /// A value as it was written.
    #[must_use]
    pub fn from_node(node: &Node) -> Self {
        match &node.value {
            Value::Str(s) => Self::Str(s.clone()),
            Value::Int(n) => Self::Int(*n),
            Value::Float(v) => Self::Float(*v),
            Value::Bool(b) => Self::Bool(*b),
            Value::Datetime(d) => Self::Datetime(d.clone()),
            Value::Array(items) => Self::Array(items.iter().map(Self::from_node).collect()),
            Value::Table(t) => Self::Table(t.iter().map(|(k, e)| (k.clone(), Self::from_node(&e.node))).collect()),
        }
    }

    /// The value as if it had been written at a place; `None` for nothing.
    #[must_use]
    pub fn to_node(&self, span: Span) -> Option<Node> {
        let value = match self {
            Self::Absent => return None,
            Self::Str(s) => Value::Str(s.clone()),
            Self::Int(n) => Value::Int(*n),
            Self::Float(v) => Value::Float(*v),
            Self::Bool(b) => Value::Bool(*b),
            Self::Datetime(d) => Value::Datetime(d.clone()),
            Self::Array(items) => Value::Array(items.iter().filter_map(|i| i.to_node(span)).collect()),
            Self::Table(t) => {
                let entry = |v: &Self| Some(Entry { key: span, node: v.to_node(span)? });
                Value::Table(t.iter().filter_map(|(k, v)| Some((k.clone(), entry(v)?))).collect())
            }
        };
        Some(Node { span, value })
    }

    /// The value as JSON; nothing becomes `null`, an instant a string.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Absent => Json::Null,
            Self::Str(s) | Self::Datetime(s) => Json::from(s.as_str()),
            Self::Int(n) => i64::try_from(*n).map_or_else(|_| Json::from(*n as f64), Json::from),
            // 60.0 reads better as 60, and both are the same number to JSON.
            Self::Float(v) if v.fract() == 0.0 && v.abs() < 1e15 => Json::from(*v as i64),
            Self::Float(v) => Json::from(*v),
            Self::Bool(b) => Json::from(*b),
            Self::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Table(t) => Json::Object(
                t.iter().filter(|(_, v)| **v != Self::Absent).map(|(k, v)| (k.clone(), v.to_json())).collect(),
            ),
        }
    }

    /// The entry of a table.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Table(t) => t.get(key).filter(|v| **v != Self::Absent),
            _ => None,
        }
    }

    /// The value as a TOML document. What is not a table gives an empty text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        if let Self::Table(t) = self {
            document(t, &mut Vec::new(), &mut text);
        }
        text
    }
}

/// Writes the plain entries of a table, then its sub-tables under headers.
fn document(table: &IndexMap<String, Written>, path: &mut Vec<String>, text: &mut String) {
    for (key, value) in table {
        if *value != Written::Absent && !has_header(value) {
            text.push_str(&quoted_key(key));
            text.push_str(" = ");
            inline(value, text);
            text.push('\n');
        }
    }
    for (key, value) in table {
        if let (true, Written::Table(inner)) = (has_header(value), value) {
            path.push(quoted_key(key));
            // A header is only needed where something plain stands under it, or nothing at all.
            if inner.is_empty() || inner.values().any(|v| *v != Written::Absent && !has_header(v)) {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&format!("[{}]\n", path.join(".")));
            }
            document(inner, path, text);
            path.pop();
        }
    }
}

/// Tables stand under a header, except laws and other small ones that hold `distribution`.
fn has_header(value: &Written) -> bool {
    matches!(value, Written::Table(t) if !t.contains_key("distribution"))
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { quoted(key) }
}

fn quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn inline(value: &Written, text: &mut String) {
    match value {
        Written::Absent => {}
        Written::Str(s) => text.push_str(&quoted(s)),
        Written::Datetime(s) => text.push_str(s),
        Written::Int(n) => text.push_str(&n.to_string()),
        // `{:?}` keeps the point, so that a float stays a float.
        Written::Float(v) => text.push_str(&format!("{v:?}")),
        Written::Bool(b) => text.push_str(if *b { "true" } else { "false" }),
        Written::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push_str(", ");
                }
                inline(item, text);
            }
            text.push(']');
        }
        Written::Table(t) => {
            text.push('{');
            let mut first = true;
            for (key, value) in t.iter().filter(|(_, v)| **v != Written::Absent) {
                text.push_str(if first { " " } else { ", " });
                first = false;
                text.push_str(&quoted_key(key));
                text.push_str(" = ");
                inline(value, text);
            }
            text.push_str(if first { "}" } else { " }" });
        }
    }
}
