//! How the pieces of the language are read, written and described.
//!
//! [`Lang`] is a type's own notation. A [`Form`] is a notation of one key: `memory = 512` counts MiB
//! because the key says so, not because bytes do.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::diagnostic::{Diagnostic, Span, nearest};
use super::tree::{Entry, Node, Table, Value};
use super::written::Written;

mod forms;
mod kubernetes;

pub use forms::*;
pub use kubernetes::*;

/// A type that the language can read, write and describe.
pub trait Lang: Sized {
    /// Reads a value. Every mistake is reported to `cx`; none means that there was one.
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self>;

    /// The value as the language writes it: reading it again gives an equal value.
    fn write(&self) -> Written;

    /// The JSON Schema of what [`Lang::read`] takes. Named parts are put into `defs`.
    fn schema(defs: &mut Defs) -> Json;
}

/// A notation of one key for values of type `T`.
pub trait Form<T> {
    /// Reads a value.
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<T>;
    /// Writes a value.
    fn write(value: &T) -> Written;
    /// Describes the notation.
    fn schema(defs: &mut Defs) -> Json;
}

/// The notation of the type itself.
#[derive(Clone, Copy, Debug)]
pub enum Plain {}

impl<T: Lang> Form<T> for Plain {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<T> {
        T::read(node, cx)
    }

    fn write(value: &T) -> Written {
        value.write()
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

/// A table with declared keys.
pub trait TableLang: Sized {
    /// Its name among the types.
    const NAME: &'static str;
    /// What it is.
    const DOC: &'static str;

    /// The keys, in the order of their declaration.
    fn keys() -> &'static [&'static str];

    /// Reads the keys of a table. `tag` is a key that was already read.
    fn read_fields(span: Span, table: &Table, tag: Option<&str>, cx: &mut Reader<'_>) -> Option<Self>;

    /// Writes the keys.
    fn write_fields(&self) -> IndexMap<String, Written>;

    /// Describes the keys.
    fn fields(defs: &mut Defs) -> Vec<Field>;

    /// The default of a key as the language writes it. None when the key is unknown or required;
    /// [`Written::Absent`] when the default is to leave it out.
    #[must_use]
    fn default_of(key: &str) -> Option<Written> {
        Self::fields(&mut Defs::default()).into_iter().find(|f| f.key == key)?.default
    }
}

/// A key of a table.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub key: &'static str,
    /// Its documentation.
    pub doc: &'static str,
    /// Its default; none when it is required.
    pub default: Option<Written>,
    /// The schema of its values.
    pub schema: Json,
}

/// Named parts of a JSON Schema.
#[derive(Clone, Debug, Default)]
pub struct Defs {
    /// By name, in the order of first use.
    pub map: serde_json::Map<String, Json>,
}

impl Defs {
    /// A reference to the part `name`, which is made on first use.
    pub fn part(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Json) -> Json {
        if !self.map.contains_key(name) {
            self.map.insert(name.to_owned(), Json::Null);
            let schema = make(self);
            self.map.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

/// A field's name as a key: without the mark of a raw identifier.
#[must_use]
pub const fn key(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Joins documentation lines to one paragraph.
#[must_use]
pub fn paragraph(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a file that the scenario names is read: the text, or why not.
pub type OpenFile<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// Carries the findings and the address while a scenario is read.
pub struct Reader<'a> {
    out: &'a mut Vec<Diagnostic>,
    path: Vec<String>,
    open: Option<&'a mut OpenFile<'a>>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// A reader that reports to `out` and opens files through `open`.
    pub fn new(out: &'a mut Vec<Diagnostic>, open: Option<&'a mut OpenFile<'a>>) -> Self {
        Self { out, path: Vec::new(), open }
    }

    /// Reports a finding at the present address.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        let address = address(&self.path);
        self.out.push(match (diagnostic.address.is_none(), address.is_empty()) {
            (true, false) => diagnostic.address(address),
            _ => diagnostic,
        });
    }

    /// Reads below a key or element.
    pub fn within<T>(&mut self, segment: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(segment.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    /// The last name of the present address.
    #[must_use]
    pub fn last(&self) -> &str {
        self.path.last().map_or("scenario", String::as_str)
    }

    /// Opens a file that the scenario names.
    ///
    /// # Errors
    /// Why it could not be read, in words.
    pub fn open(&mut self, path: &str) -> Result<String, String> {
        match &mut self.open {
            Some(open) => open(path),
            None => Err("files cannot be read here".to_owned()),
        }
    }

    /// Reports a value of the wrong kind.
    pub fn wrong_kind(&mut self, node: &Node, expected: &str) {
        let subject = self.last().to_owned();
        self.report(
            Diagnostic::error("S0101", format!("`{subject}` takes {expected}, not {}", node.kind()))
                .at(node.span)
                .label(format!("expected {expected}")),
        );
    }

    /// The table of a node; anything else is reported.
    pub fn table<'n>(&mut self, node: &'n Node) -> Option<&'n Table> {
        let table = node.as_table();
        if table.is_none() {
            self.wrong_kind(node, "a table");
        }
        table
    }

    /// Reports keys that a table does not have.
    pub fn unknown_keys(&mut self, table: &Table, keys: &[&str], tag: Option<&str>, name: &str) {
        for (key, entry) in table {
            if keys.contains(&key.as_str()) || tag == Some(key.as_str()) {
                continue;
            }
            let place = match address(&self.path) {
                a if a.is_empty() => "at the top of a scenario".to_owned(),
                a => format!("in `{a}`"),
            };
            let mut d = Diagnostic::error("S0102", format!("unknown key `{key}`"))
                .at(entry.key)
                .label(format!("no such key {place}"));
            d = match nearest(key, keys.iter().copied()) {
                Some(near) => d.help("a key with a similar name exists").patch(entry.key, near),
                None if keys.is_empty() => d.help(format!("`{name}` has no keys")),
                None => d.help(format!("the keys here are {}", list(keys))),
            };
            self.report(d);
        }
    }

    /// Reports a key that is required and not there.
    pub fn missing_key(&mut self, span: Span, key: &str, name: &str) {
        let place = match address(&self.path) {
            a if a.is_empty() => "the scenario".to_owned(),
            a => format!("`{a}`"),
        };
        let mut d = Diagnostic::error("S0103", format!("{place} needs the key `{key}`"))
            .at(span)
            .label(format!("`{key}` is missing"));
        if let Some(example) = example(name, key) {
            d = d.help(format!("for example `{example}`"));
        }
        self.report(d);
    }

    /// The position of a node's word in a closed set.
    pub fn word(&mut self, node: &Node, words: &[&str]) -> Option<usize> {
        let Some(word) = node.as_str() else {
            self.wrong_kind(node, &format!("one of {}", list(words)));
            return None;
        };
        let found = words.iter().position(|w| *w == word);
        if found.is_none() {
            self.unknown_word(node.span, word, words);
        }
        found
    }

    fn unknown_word(&mut self, span: Span, word: &str, words: &[&str]) {
        let subject = self.last().to_owned();
        let mut d = Diagnostic::error("S0104", format!("`{word}` is not a value of `{subject}`"))
            .at(span)
            .label(format!("expected one of {}", list(words)));
        if let Some(near) = nearest(word, words.iter().copied()) {
            d = d.help("a similar value exists").patch(span, format!("\"{near}\""));
        }
        self.report(d);
    }

    /// The table of a tagged node and the word of its tag.
    pub fn tag<'n>(
        &mut self,
        node: &'n Node,
        tag: &str,
        words: &'static [&'static str],
    ) -> Option<(std::borrow::Cow<'n, Table>, &'static str)> {
        use std::borrow::Cow;
        if node.as_str().is_some() {
            return self.word(node, words).map(|i| (Cow::Owned(Table::new()), words[i]));
        }
        let table = self.table(node)?;
        let Some(entry) = table.get(tag) else {
            let place = address(&self.path);
            self.report(
                Diagnostic::error("S0103", format!("`{place}` needs the key `{tag}`"))
                    .at(node.span)
                    .label(format!("`{tag}` is missing"))
                    .help(format!("`{tag}` is one of {}", list(words))),
            );
            return None;
        };
        let at = self.within(tag, |cx| cx.word(&entry.node, words))?;
        Some((Cow::Borrowed(table), words[at]))
    }
}

/// An example of a required key, for the message that it is missing.
fn example(table: &str, key: &str) -> Option<&'static str> {
    Some(match (table, key) {
        ("Plan", "simulation") => "simulation = { duration = \"45m\" }",
        ("Simulation", "duration") => "duration = \"45m\"",
        ("Service", "task") => "task = { cpu = 1024, memory = \"2 GB\" }",
        ("Task", "cpu") => "cpu = 1024",
        ("Task", "memory") => "memory = \"2 GB\"",
        ("RequestClass", "cpu_time") => "cpu_time = \"20ms\"",
        (_, "at") => "at = \"10m\"",
        (_, "min_capacity") => "min_capacity = 2",
        (_, "max_capacity") => "max_capacity = 20",
        (_, "target_value") => "target_value = 60",
        _ => return None,
    })
}

/// Words as a list in a sentence.
#[must_use]
pub fn list(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(|w| format!("`{w}`")).collect();
            format!("{} and `{last}`", head.join(", "))
        }
    }
}

/// An address from its segments: `services."a.b".rate[2]`.
#[must_use]
pub fn address<S: AsRef<str>>(path: &[S]) -> String {
    let mut text = String::new();
    for segment in path {
        let segment = segment.as_ref();
        let element = segment.starts_with('[');
        if !text.is_empty() && !element {
            text.push('.');
        }
        let bare = element
            || (!segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        if bare {
            text.push_str(segment);
        } else {
            text.push_str(&format!("{segment:?}"));
        }
    }
    text
}

/// The schema of a table.
pub fn table_schema<T: TableLang>(defs: &mut Defs) -> Json {
    defs.part(T::NAME, |defs| object::<T>(defs, None))
}

/// The schema of a variant's table with its tag.
pub fn variant_schema<T: TableLang>(defs: &mut Defs, tag: &str, word: &str) -> Json {
    object::<T>(defs, Some((tag, word)))
}

fn object<T: TableLang>(defs: &mut Defs, tag: Option<(&str, &str)>) -> Json {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    if let Some((tag, word)) = tag {
        properties.insert(tag.to_owned(), json!({ "const": word }));
        required.push(tag.to_owned());
    }
    for field in T::fields(defs) {
        let mut schema = match field.schema {
            Json::Object(map) => map,
            _ => serde_json::Map::new(),
        };
        schema.insert("description".to_owned(), Json::from(paragraph(field.doc)));
        match field.default {
            None => required.push(field.key.to_owned()),
            Some(Written::Absent) => {}
            Some(default) => {
                schema.insert("default".to_owned(), default.to_json());
            }
        }
        properties.insert(field.key.to_owned(), Json::Object(schema));
    }
    let mut schema = json!({
        "type": "object",
        "description": paragraph(T::DOC),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = Json::from(required);
    }
    schema
}

/// The schema of a closed set of words.
pub fn words_schema(defs: &mut Defs, name: &str, doc: &str, words: &[(&str, &str)]) -> Json {
    defs.part(name, |_| {
        let variants: Vec<Json> =
            words.iter().map(|(word, doc)| json!({ "const": word, "description": paragraph(doc) })).collect();
        json!({ "description": paragraph(doc), "oneOf": variants })
    })
}

/// The schema of a set of tagged tables.
pub fn tagged_schema(defs: &mut Defs, name: &str, doc: &str, variants: Vec<(&str, &str, Json)>) -> Json {
    defs.part(name, |_| {
        let mut bare = Vec::new();
        let mut any = Vec::new();
        for (word, doc, mut schema) in variants {
            if schema["required"].as_array().is_none_or(|r| r.len() == 1) {
                bare.push(Json::from(word));
            }
            schema["description"] = Json::from(paragraph(doc));
            any.push(schema);
        }
        if !bare.is_empty() {
            any.push(json!({ "enum": bare, "description": "One without further keys, by its name." }));
        }
        json!({ "description": paragraph(doc), "oneOf": any })
    })
}

impl<T: Lang> Lang for Option<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        T::read(node, cx).map(Some)
    }

    fn write(&self) -> Written {
        self.as_ref().map_or(Written::Absent, T::write)
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

impl<T: Lang> Lang for Vec<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            cx.wrong_kind(node, "an array");
            return None;
        };
        // All elements are read before the first failure counts, so that each is reported.
        let read: Vec<Option<T>> =
            items.iter().enumerate().map(|(i, item)| cx.within(&format!("[{i}]"), |cx| T::read(item, cx))).collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Written {
        Written::Array(self.iter().map(T::write).collect())
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "type": "array", "items": T::schema(defs) })
    }
}

impl<T: Lang> Lang for IndexMap<String, T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let table = cx.table(node)?;
        let read: Vec<Option<(String, T)>> = table
            .iter()
            .map(|(name, entry)| {
                let sound = !name.trim().is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
                if !sound {
                    cx.report(
                        Diagnostic::error(
                            "S0107",
                            "a name needs 1 to 200 characters, none of them a control character",
                        )
                        .at(entry.key),
                    );
                }
                let value = cx.within(name, |cx| T::read(&entry.node, cx));
                value.filter(|_| sound).map(|v| (name.clone(), v))
            })
            .collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Written {
        Written::Table(self.iter().map(|(k, v)| (k.clone(), v.write())).collect())
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "type": "object", "additionalProperties": T::schema(defs) })
    }
}

impl Lang for bool {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if let Value::Bool(b) = node.value {
            return Some(b);
        }
        cx.wrong_kind(node, "`true` or `false`");
        None
    }

    fn write(&self) -> Written {
        Written::Bool(*self)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "boolean" })
    }
}

impl Lang for String {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if node.as_str().is_none() {
            cx.wrong_kind(node, "a string");
        }
        node.as_str().map(str::to_owned)
    }

    fn write(&self) -> Written {
        Written::Str(self.clone())
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "string" })
    }
}

macro_rules! whole_numbers {
    ($($ty:ty)*) => {$(
        impl Lang for $ty {
            fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
                cx.whole(node, i128::from(<$ty>::MIN), i128::from(<$ty>::MAX)).and_then(|n| <$ty>::try_from(n).ok())
            }

            fn write(&self) -> Written {
                Written::Int(i128::from(*self))
            }

            fn schema(_: &mut Defs) -> Json {
                // Editors count in doubles: bounds beyond 2^53 would be rounded.
                let mut schema = json!({ "type": "integer", "minimum": i64::try_from(<$ty>::MIN).unwrap_or(0) });
                if i128::from(<$ty>::MAX) < 1 << 53 {
                    schema["maximum"] = json!(<$ty>::MAX);
                }
                schema
            }
        }
    )*};
}
whole_numbers! { u32 u64 i32 i64 }

impl Lang for f64 {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        cx.number(node)
    }

    fn write(&self) -> Written {
        Written::Float(*self)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "number" })
    }
}

impl Reader<'_> {
    /// A whole number within bounds.
    pub fn whole(&mut self, node: &Node, min: i128, max: i128) -> Option<i128> {
        let value = match node.value {
            Value::Int(n) => n,
            // `3.0` is meant as 3.
            Value::Float(v) if v.fract() == 0.0 && v.abs() < 9e15 => v as i128,
            _ => {
                self.wrong_kind(node, "a whole number");
                return None;
            }
        };
        if (min..=max).contains(&value) {
            return Some(value);
        }
        let subject = self.last().to_owned();
        let problem = if value < 0 && min == 0 {
            format!("`{subject}` cannot be negative")
        } else {
            format!("`{subject}` is out of range")
        };
        self.report(
            Diagnostic::error("S0106", problem)
                .at(node.span)
                .label(format!("expected a whole number from {min} to {max}")),
        );
        None
    }

    /// A finite number.
    pub fn number(&mut self, node: &Node) -> Option<f64> {
        match node.value {
            Value::Int(n) => Some(n as f64),
            Value::Float(v) if v.is_finite() => Some(v),
            Value::Float(_) => {
                let subject = self.last().to_owned();
                self.report(
                    Diagnostic::error("S0106", format!("`{subject}` takes a finite number"))
                        .at(node.span)
                        .label("not a finite number"),
                );
                None
            }
            _ => {
                self.wrong_kind(node, "a number");
                None
            }
        }
    }
}
