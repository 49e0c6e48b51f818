//! Changing a scenario by address: `--set`, variants, sweeps.

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, Source, Span, nearest};
use super::lang::{Defs, Lang, address, list};
use super::model::Plan;
use super::tree::{Entry, Node, Table, Value, parse_value};

/// One step of an address, with its place in the text of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The key, or the position in an array as `[2]`.
    pub name: String,
    /// The position in an array.
    pub index: Option<usize>,
    /// First byte in the address.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// Splits an address such as `services."a.b".traffic.rate[2].rps`.
///
/// # Errors
/// What is wrong and at which byte.
pub fn parse_address(text: &str) -> Result<Vec<Segment>, (String, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut segments = Vec::new();
    loop {
        let start = at;
        let name = match bytes.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let inner = &text[at + 1..];
                let Some(length) = inner.find(char::from(*quote)) else {
                    return Err(("the quote is not closed".to_owned(), start));
                };
                at += length + 2;
                inner[..length].to_owned()
            }
            _ => {
                let length = text[at..].find(['.', '[', ']', '"', '\'', '=', ' ']).unwrap_or(text.len() - at);
                at += length;
                text[start..at].to_owned()
            }
        };
        if name.is_empty() {
            return Err(("a name was expected here".to_owned(), start));
        }
        segments.push(Segment { name, index: None, start, end: at });
        while bytes.get(at) == Some(&b'[') {
            let start = at;
            let length = text[at..].find(']').ok_or(("the bracket is not closed".to_owned(), start))?;
            let digits = &text[at + 1..at + length];
            let index = digits.parse().map_err(|_| (format!("`{digits}` is not a position in an array"), start))?;
            at += length + 1;
            segments.push(Segment { name: format!("[{index}]"), index: Some(index), start, end: at });
        }
        match bytes.get(at) {
            None => return Ok(segments),
            Some(b'.') => at += 1,
            Some(_) => return Err(("a dot was expected here".to_owned(), at)),
        }
    }
}

/// What is done at an address.
pub(crate) enum Change {
    /// The value is put there; a table replaces the whole table.
    Set(Node),
    /// What is there is removed.
    Unset,
}

/// Knows which addresses the language has.
pub(crate) struct Addresses {
    defs: serde_json::Map<String, Json>,
    root: Json,
}

impl Addresses {
    pub(crate) fn new() -> Self {
        let mut defs = Defs::default();
        let root = Plan::schema(&mut defs);
        Self { defs: defs.map, root }
    }

    /// Follows references.
    fn target<'a>(&'a self, mut schema: &'a Json) -> &'a Json {
        while let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
            schema = &self.defs[name];
        }
        schema
    }

    /// The schema below `segment`. The error holds the names that would be there.
    fn step<'a>(
        &'a self,
        schema: &'a Json,
        segment: &Segment,
        here: &Node,
        last: bool,
    ) -> Result<&'a Json, Vec<String>> {
        let schema = self.target(schema);
        if let Some(variants) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
            let fitting = variants.iter().map(|v| self.target(v)).filter(|v| fits(v, here));
            let mut names = Vec::new();
            for variant in fitting {
                match self.step(variant, segment, here, last) {
                    Ok(found) => return Ok(found),
                    Err(more) => names.extend(more),
                }
            }
            names.sort();
            names.dedup();
            return Err(names);
        }
        if let Some(index) = segment.index {
            let items = &schema["items"];
            return match &here.value {
                Value::Array(elements) if items.is_object() && index < elements.len() => Ok(items),
                Value::Array(elements) => Err((0..elements.len()).map(|i| format!("[{i}]")).collect()),
                _ => Err(Vec::new()),
            };
        }
        if let Some(found) = schema["properties"].get(&segment.name) {
            return Ok(found);
        }
        if schema["additionalProperties"].is_object() {
            let names = here.as_table().map(|t| t.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
            return if last || names.contains(&segment.name) {
                Ok(&schema["additionalProperties"])
            } else {
                Err(names)
            };
        }
        Err(schema["properties"].as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default())
    }

    /// Makes a change. `place` gives the span of a segment.
    pub(crate) fn apply(
        &self,
        root: &mut Node,
        segments: &[Segment],
        place: impl Fn(&Segment) -> Span,
        change: Change,
        out: &mut Vec<Diagnostic>,
    ) {
        let mut schema = &self.root;
        let mut node = root;
        let names: Vec<&str> = segments.iter().map(|s| s.name.as_str()).collect();
        for (i, segment) in segments.iter().enumerate() {
            let last = i + 1 == segments.len();
            let so_far = address(&names[..i]);
            match self.step(schema, segment, node, last) {
                Ok(next) => schema = next,
                Err(known) => {
                    let whole = address(&names[..=i]);
                    let mut d = Diagnostic::error("S0202", format!("there is no `{whole}`")).at(place(segment)).label(
                        if so_far.is_empty() {
                            "no such key in a scenario".to_owned()
                        } else {
                            format!("no such key in `{so_far}`")
                        },
                    );
                    let known: Vec<&str> = known.iter().map(String::as_str).collect();
                    d = match nearest(&segment.name, known.iter().copied()) {
                        Some(near) => d.help("the nearest address").patch(place(segment), near),
                        None if known.is_empty() => d.help(format!("`{so_far}` holds a single value: set it whole")),
                        None => d.help(format!("what is there: {}", list(&known))),
                    };
                    out.push(d);
                    return;
                }
            }
            if last {
                finish(node, segment, place(segment), change, &address(&names), out);
                return;
            }
            node = match descend(node, segment, place(segment)) {
                Some(next) => next,
                None => {
                    out.push(
                        Diagnostic::error("S0203", format!("`{}` is not a table here", address(&names[..=i])))
                            .at(place(segment))
                            .label("it holds a single value: set it whole"),
                    );
                    return;
                }
            };
        }
    }
}

/// Whether a variant of a schema can describe what stands here: its tag and kind agree.
fn fits(variant: &Json, here: &Node) -> bool {
    let Some(properties) = variant["properties"].as_object() else { return variant["type"] != "object" };
    let Some(table) = here.as_table() else { return true };
    properties.iter().all(|(key, schema)| match (schema["const"].as_str(), table.get(key)) {
        (Some(word), Some(entry)) => entry.node.as_str() == Some(word),
        _ => true,
    })
}

fn finish(node: &mut Node, segment: &Segment, span: Span, change: Change, whole: &str, out: &mut Vec<Diagnostic>) {
    match (segment.index, &mut node.value, change) {
        (None, Value::Table(table), Change::Set(value)) => {
            // The place in the order of the table is kept, so that ids by position stay.
            match table.get_mut(&segment.name) {
                Some(entry) => *entry = Entry { key: span, node: value },
                None => {
                    table.insert(segment.name.clone(), Entry { key: span, node: value });
                }
            }
        }
        (Some(index), Value::Array(items), Change::Set(value)) => items[index] = value,
        (None, Value::Table(table), Change::Unset) => {
            if table.shift_remove(&segment.name).is_none() {
                out.push(
                    Diagnostic::warning("W0201", format!("`{whole}` is not set, so there is nothing to remove"))
                        .at(span),
                );
            }
        }
        (Some(index), Value::Array(items), Change::Unset) => {
            items.remove(index);
        }
        _ => out.push(
            Diagnostic::error("S0203", format!("`{whole}` is below something that holds a single value")).at(span),
        ),
    }
}

fn descend<'n>(node: &'n mut Node, segment: &Segment, span: Span) -> Option<&'n mut Node> {
    match (&mut node.value, segment.index) {
        (Value::Table(table), None) => {
            let empty = || Entry { key: span, node: Node { span, value: Value::Table(Table::new()) } };
            Some(&mut table.entry(segment.name.clone()).or_insert_with(empty).node)
        }
        (Value::Array(items), Some(index)) => items.get_mut(index),
        _ => None,
    }
}

/// Applies one argument of `--set`: `address=value`, or `unset=[...]`. The value is TOML; a bare word
/// that is no TOML, such as `10m`, is taken as a string.
pub(crate) fn apply_set(
    addresses: &Addresses,
    root: &mut Node,
    argument: &str,
    sources: &mut Vec<Source>,
    out: &mut Vec<Diagnostic>,
) {
    let source = sources.len() as u32;
    sources.push(Source { name: "--set".to_owned(), text: argument.into() });
    let whole = Span::new(source, 0, argument.len());
    let Some(equals) = position_of_equals(argument) else {
        out.push(
            Diagnostic::error("S0201", "a setting is written `address=value`")
                .at(whole)
                .label("no `=` here")
                .help("for example --set services.web.task.cpu=2048"),
        );
        return;
    };
    let name = argument[..equals].trim_end();
    let value_at = equals + 1 + (argument[equals + 1..].len() - argument[equals + 1..].trim_start().len());
    let text = argument[value_at..].trim_end();
    let value_span = Span::new(source, value_at, value_at + text.len());
    let structured = text.starts_with(['"', '\'', '[', '{']);
    let mut trouble = Vec::new();
    let value = match parse_value(text, source, value_at, &mut trouble) {
        Some(node) => node,
        None if structured => {
            out.append(&mut trouble);
            return;
        }
        None if text.is_empty() => {
            out.push(Diagnostic::error("S0201", "there is no value").at(whole).label("nothing after `=`"));
            return;
        }
        None => Node { span: value_span, value: Value::Str(text.to_owned()) },
    };
    if name == "unset" {
        unset(addresses, root, &value, out);
        return;
    }
    match parse_address(name) {
        Ok(segments) => {
            addresses.apply(root, &segments, |s| Span::new(source, s.start, s.end), Change::Set(value), out)
        }
        Err((message, at)) => {
            out.push(Diagnostic::error("S0201", format!("this is not an address: {message}")).at(Span::new(
                source,
                at,
                (at + 1).min(argument.len()),
            )))
        }
    }
}

/// The `=` that ends the address: not one inside quotes.
fn position_of_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(i),
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

/// Applies a variant: a table of addresses and values, with `unset` for what goes.
pub(crate) fn apply_variant(addresses: &Addresses, root: &mut Node, variant: &Node, out: &mut Vec<Diagnostic>) {
    let Some(table) = variant.as_table() else {
        out.push(
            Diagnostic::error("S0101", "a variant is a table of addresses and values")
                .at(variant.span)
                .label("expected a table"),
        );
        return;
    };
    for (name, entry) in table {
        if name == "unset" {
            unset(addresses, root, &entry.node, out);
            continue;
        }
        let segments = match parse_address(name) {
            Ok(segments) => segments,
            Err((message, _)) => {
                out.push(Diagnostic::error("S0201", format!("this is not an address: {message}")).at(entry.key));
                continue;
            }
        };
        if let ([_], Value::Table(inner)) = (segments.as_slice(), &entry.node.value) {
            let example = inner.keys().next().map_or_else(|| format!("{name}.key"), |k| format!("{name}.{k}..."));
            out.push(
                Diagnostic::error("S0201", "an address in a variant is written in quotes")
                    .at(entry.key)
                    .label("without quotes, TOML makes a table of it that would replace everything")
                    .help(format!("write \"{example}\" = value")),
            );
            continue;
        }
        let place = |s: &Segment| inside(entry.key, name, s);
        addresses.apply(root, &segments, place, Change::Set(entry.node.clone()), out);
    }
}

/// The place of a segment of an address that is written as a string; of the whole string when escapes
/// make that uncertain.
fn inside(string: Span, name: &str, segment: &Segment) -> Span {
    if (string.end - string.start) as usize == name.len() + 2 {
        let first = string.start as usize + 1;
        Span::new(string.source, first + segment.start, first + segment.end)
    } else {
        string
    }
}

fn unset(addresses: &Addresses, root: &mut Node, list: &Node, out: &mut Vec<Diagnostic>) {
    let items = match &list.value {
        Value::Array(items) => items.as_slice(),
        Value::Str(_) => std::slice::from_ref(list),
        _ => &[],
    };
    if items.is_empty() || items.iter().any(|i| i.as_str().is_none()) {
        out.push(Diagnostic::error("S0201", "`unset` is an array of addresses").at(list.span));
        return;
    }
    for item in items {
        let name = item.as_str().unwrap_or("");
        match parse_address(name) {
            Ok(segments) => addresses.apply(root, &segments, |s| inside(item.span, name, s), Change::Unset, out),
            Err((message, _)) => {
                out.push(Diagnostic::error("S0201", format!("this is not an address: {message}")).at(item.span));
            }
        }
    }
}
