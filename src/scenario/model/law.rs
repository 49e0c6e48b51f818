//! Laws as the language writes them. The written form is kept, so that a plan reads as it was meant.

use serde_json::{Value as Json, json};

use crate::kernel::{Law, LawError, SimDuration, standard_normal_quantile};
use crate::scenario::diagnostic::{Diagnostic, nearest};
use crate::scenario::lang::{Defs, Lang, Reader, list};
use crate::scenario::tree::{Node, Table, Value};
use crate::scenario::written::Written;
use crate::units::{ByteNotation, Bytes, parse_bytes, parse_duration, print_bytes, print_duration};

/// A law of a length of time; its [`Law`] is in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLaw {
    law: Law,
    written: Written,
}

/// A law of an amount of memory; its [`Law`] is in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ByteLaw {
    law: Law,
    written: Written,
}

impl TimeLaw {
    /// Always `secs` seconds.
    #[must_use]
    pub fn constant_secs(secs: f64) -> Self {
        Self { law: Law::Constant(secs), written: Written::Str(seconds(secs)) }
    }

    /// Uniform between `min` and `max` seconds.
    #[must_use]
    pub fn uniform_secs(min: f64, max: f64) -> Self {
        let pairs = [("distribution", "uniform".to_owned()), ("min", seconds(min)), ("max", seconds(max))];
        let written = pairs.into_iter().map(|(k, v)| (k.to_owned(), Written::Str(v))).collect();
        Self { law: Law::Uniform { min, max }, written: Written::Table(written) }
    }

    /// Exponential with a mean of `mean` seconds.
    #[must_use]
    pub fn exponential_secs(mean: f64) -> Self {
        let pairs = [("distribution", "exponential".to_owned()), ("mean", seconds(mean))];
        let written = pairs.into_iter().map(|(k, v)| (k.to_owned(), Written::Str(v))).collect();
        Self { law: Law::Exponential { mean }, written: Written::Table(written) }
    }

    /// The law, in seconds.
    #[must_use]
    pub fn law(&self) -> &Law {
        &self.law
    }
}

impl ByteLaw {
    /// Always `bytes` bytes.
    #[must_use]
    pub fn constant(bytes: u64) -> Self {
        let written = Written::Str(print_bytes(Bytes::new(bytes), ByteNotation::TaskMemory));
        Self { law: Law::Constant(bytes as f64), written }
    }

    /// The law, in bytes.
    #[must_use]
    pub fn law(&self) -> &Law {
        &self.law
    }
}

fn seconds(secs: f64) -> String {
    print_duration(SimDuration::from_secs_f64(secs))
}

impl Lang for TimeLaw {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        read_law(node, cx, Quantity::Time).map(|(law, written)| Self { law, written })
    }

    fn write(&self) -> Written {
        self.written.clone()
    }

    fn schema(defs: &mut Defs) -> Json {
        law_schema(defs, "TimeLaw", Quantity::Time)
    }
}

impl Lang for ByteLaw {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        read_law(node, cx, Quantity::Memory).map(|(law, written)| Self { law, written })
    }

    fn write(&self) -> Written {
        self.written.clone()
    }

    fn schema(defs: &mut Defs) -> Json {
        law_schema(defs, "MemoryLaw", Quantity::Memory)
    }
}

/// What a law is a law of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Time,
    Memory,
}

impl Quantity {
    fn example(self) -> &'static str {
        match self {
            Self::Time => "a time such as \"20ms\"",
            Self::Memory => "an amount of memory such as \"2 MiB\"",
        }
    }

    /// Reads one quantity, in seconds or bytes.
    fn read(self, node: &Node, cx: &mut Reader<'_>) -> Option<f64> {
        let text = cx.text(node, self.example())?;
        match self {
            Self::Time => cx.quantity(node, parse_duration(&text)).map(SimDuration::as_secs_f64),
            Self::Memory => {
                cx.quantity(node, parse_bytes(&text, ByteNotation::TaskMemory, Some(1 << 20))).map(|b| b.get() as f64)
            }
        }
    }

    /// The size of a unit of a data file.
    fn unit(self, word: &str) -> Option<f64> {
        Some(match (self, word) {
            (Self::Time, "s") => 1.0,
            (Self::Time, "ms") => 1e-3,
            (Self::Time, "us") => 1e-6,
            (Self::Time, "ns") => 1e-9,
            (Self::Memory, "B") => 1.0,
            (Self::Memory, "KiB") => 1024.0,
            (Self::Memory, "MiB") => 1_048_576.0,
            _ => return None,
        })
    }

    fn units(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["s", "ms", "us", "ns"],
            Self::Memory => &["B", "KiB", "MiB"],
        }
    }
}

/// The distributions and what each is given by. A key with `?` may be left out; each row is one way
/// to write the distribution.
const SHAPES: &[(&str, &[&str])] = &[
    ("constant", &["value"]),
    ("uniform", &["min", "max"]),
    ("exponential", &["mean"]),
    ("lognormal", &["mean", "cv"]),
    ("lognormal", &["median", "sigma"]),
    ("lognormal", &["median", "p99"]),
    ("lognormal", &["p50", "p99"]),
    ("normal", &["mean", "sd"]),
    ("gamma", &["mean", "shape"]),
    ("gamma", &["mean", "cv"]),
    ("erlang", &["mean", "k"]),
    ("weibull", &["scale", "shape"]),
    ("weibull", &["mean", "shape"]),
    ("pareto", &["min", "alpha"]),
    ("pareto", &["min", "alpha", "max"]),
    ("triangular", &["min", "mode", "max"]),
    ("hyperexponential", &["mean", "cv"]),
    ("hyperexponential", &["branches"]),
    ("empirical", &["values"]),
    ("empirical", &["values", "unit"]),
    ("empirical", &["file"]),
    ("empirical", &["file", "column"]),
    ("empirical", &["file", "unit"]),
    ("empirical", &["file", "column", "unit"]),
];

fn distributions() -> Vec<&'static str> {
    let mut names: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
    names.dedup();
    names
}

fn read_law(node: &Node, cx: &mut Reader<'_>, quantity: Quantity) -> Option<(Law, Written)> {
    let Some(table) = node.as_table() else {
        if matches!(node.value, Value::Bool(_) | Value::Array(_) | Value::Datetime(_)) {
            cx.wrong_kind(node, &format!("{} or a table with `distribution`", quantity.example()));
            return None;
        }
        return quantity.read(node, cx).map(|value| (Law::Constant(value), Written::from_node(node)));
    };
    let Some(entry) = table.get("distribution") else {
        cx.report(
            Diagnostic::error("S0103", "a law written as a table needs the key `distribution`")
                .at(node.span)
                .label("`distribution` is missing")
                .help(format!("it is one of {}", list(&distributions()))),
        );
        return None;
    };
    let names = distributions();
    let name = names[cx.within("distribution", |cx| cx.word(&entry.node, &names))?];
    check_keys(name, node, table, cx)?;
    let law = build(name, node, table, cx, quantity)?;
    let written = match (&law.1, name) {
        (Some(values), _) => embedded(values, quantity),
        (None, _) => Written::from_node(node),
    };
    Some((law.0, written))
}

/// A law read from a file, carried along so that a plan needs no other file.
fn embedded(values: &[f64], quantity: Quantity) -> Written {
    let mut table = indexmap::IndexMap::new();
    table.insert("distribution".to_owned(), Written::Str("empirical".to_owned()));
    table.insert("values".to_owned(), Written::Array(values.iter().map(|v| Written::Float(*v)).collect()));
    table.insert("unit".to_owned(), Written::Str(quantity.units()[0].to_owned()));
    Written::Table(table)
}

/// Reports keys that the distribution does not have, and ways to write it that are not there.
fn check_keys(name: &str, node: &Node, table: &Table, cx: &mut Reader<'_>) -> Option<()> {
    let ways: Vec<&[&str]> = SHAPES.iter().filter(|(n, _)| *n == name).map(|(_, keys)| *keys).collect();
    let known: Vec<&str> = ways.iter().flat_map(|w| w.iter().copied()).collect();
    let mut sound = true;
    for (key, entry) in table.iter().filter(|(k, _)| *k != "distribution" && !known.contains(&k.as_str())) {
        sound = false;
        let mut d = Diagnostic::error("S0102", format!("unknown key `{key}`"))
            .at(entry.key)
            .label(format!("no such key in a law with distribution `{name}`"));
        d = match nearest(key, known.iter().copied()) {
            Some(near) => d.help("a key with a similar name exists").patch(entry.key, near),
            None => d.help(format!("`{name}` is given by {}", in_words(&ways))),
        };
        cx.report(d);
    }
    let given: Vec<&str> = table.keys().map(String::as_str).filter(|k| *k != "distribution").collect();
    let fits = |way: &&[&str]| way.len() == given.len() && way.iter().all(|k| given.contains(k));
    if sound && !ways.iter().any(fits) {
        sound = false;
        cx.report(
            Diagnostic::error("S0103", format!("the law `{name}` is given by {}", in_words(&ways)))
                .at(node.span)
                .label(if given.is_empty() {
                    "nothing is given".to_owned()
                } else {
                    format!("this gives {}", list(&given))
                }),
        );
    }
    sound.then_some(())
}

fn in_words(ways: &[&[&str]]) -> String {
    ways.iter().map(|w| list(w)).collect::<Vec<_>>().join(", or by ")
}

/// Parameters that are quantities; all others are plain numbers.
const AMOUNTS: &[&str] = &["value", "min", "max", "mode", "mean", "sd", "scale", "median", "p50", "p99"];
/// Plain parameters that must be above zero.
const ABOVE_ZERO: &[&str] = &["shape", "alpha", "k"];

/// Builds the law; the second part holds the values that came from a file.
fn build(
    name: &str,
    node: &Node,
    table: &Table,
    cx: &mut Reader<'_>,
    quantity: Quantity,
) -> Option<(Law, Option<Vec<f64>>)> {
    let result = match name {
        "empirical" => {
            let (values, from_file) = observations(table, cx, quantity)?;
            let kept = from_file.then(|| values.clone());
            Law::empirical(values).map(|law| (law, kept))
        }
        "hyperexponential" if table.contains_key("branches") => {
            branches(&table["branches"].node, cx, quantity)?.map(|law| (law, None))
        }
        _ => parametric(name, &parameters(table, cx, quantity)?).map(|law| (law, None)),
    };
    match result {
        Ok((law, _)) if !law.mean().is_finite() => {
            cx.report(
                Diagnostic::error("S0108", format!("this `{name}` law has no finite mean"))
                    .at(node.span)
                    .help("a Pareto law needs `alpha` above 1, or a `max`"),
            );
            None
        }
        Ok(built) => Some(built),
        Err(e) => {
            cx.report(Diagnostic::error("S0108", e.0).at(node.span));
            None
        }
    }
}

/// Reads the parameters of a law; each failure is reported before the first one counts.
fn parameters(table: &Table, cx: &mut Reader<'_>, quantity: Quantity) -> Option<Vec<(String, f64)>> {
    let read: Vec<Option<(String, f64)>> = table
        .iter()
        .filter(|(key, _)| *key != "distribution")
        .map(|(key, entry)| {
            let value = cx.within(key, |cx| match AMOUNTS.contains(&key.as_str()) {
                true => quantity.read(&entry.node, cx),
                false => cx.number(&entry.node),
            })?;
            let positive = ABOVE_ZERO.contains(&key.as_str());
            if value < 0.0 || (positive && value == 0.0) {
                let bound = if positive { "above 0" } else { "at least 0" };
                cx.report(Diagnostic::error("S0106", format!("`{key}` must be {bound}")).at(entry.node.span));
                return None;
            }
            Some((key.clone(), value))
        })
        .collect();
    read.into_iter().collect()
}

/// A law of its parameters, whose names were checked.
fn parametric(name: &str, given: &[(String, f64)]) -> Result<Law, LawError> {
    let find = |key: &str| given.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
    let get = |key: &str| find(key).unwrap_or(0.0);
    let refuse = |message: String| Err(LawError(message));
    Ok(match name {
        "constant" => Law::Constant(get("value")),
        "uniform" => {
            let (min, max) = (get("min"), get("max"));
            if min > max {
                return refuse("`min` is above `max`".to_owned());
            }
            Law::Uniform { min, max }
        }
        "exponential" => Law::Exponential { mean: get("mean") },
        "lognormal" => match (find("mean"), find("median").or(find("p50")), find("p99")) {
            (Some(mean), ..) => Law::lognormal_mean_cv(mean, get("cv")),
            (_, Some(median), p99) => {
                if median == 0.0 {
                    return refuse("the median of a lognormal law must be above 0".to_owned());
                }
                let sigma = match p99 {
                    Some(p99) if p99 < median => return refuse("`p99` is below the median".to_owned()),
                    Some(p99) => libm::log(p99 / median) / standard_normal_quantile(0.99),
                    None => get("sigma"),
                };
                Law::Lognormal { mu: libm::log(median), sigma }
            }
            _ => return refuse("a lognormal law needs its mean or median".to_owned()),
        },
        "normal" => Law::Normal { mean: get("mean"), sd: get("sd") },
        "gamma" => match (find("shape"), get("cv")) {
            (Some(shape), _) => Law::gamma(shape, get("mean"))?,
            (None, 0.0) => Law::Constant(get("mean")),
            (None, cv) => Law::gamma(1.0 / (cv * cv), get("mean"))?,
        },
        "erlang" => {
            let k = get("k");
            if k.fract() != 0.0 || k > 10_000.0 {
                return refuse("`k` of an Erlang law is a whole number of stages, at most 10,000".to_owned());
            }
            Law::gamma(k, get("mean"))?
        }
        "weibull" => {
            let shape = get("shape");
            let scale = find("scale").unwrap_or_else(|| get("mean") / libm::tgamma(1.0 + 1.0 / shape));
            Law::Weibull { scale, shape }
        }
        "pareto" => {
            let (min, max) = (get("min"), find("max").unwrap_or(f64::INFINITY));
            if min <= 0.0 || max <= min {
                return refuse("a Pareto law needs a `min` above 0 and a `max` above it".to_owned());
            }
            Law::Pareto { min, alpha: get("alpha"), max }
        }
        "triangular" => {
            let (min, mode, max) = (get("min"), get("mode"), get("max"));
            if !(min <= mode && mode <= max) {
                return refuse("a triangular law needs `min` <= `mode` <= `max`".to_owned());
            }
            Law::Triangular { min, mode, max }
        }
        "hyperexponential" => Law::hyperexponential_mean_cv(get("mean"), get("cv"))?,
        other => return refuse(format!("`{other}` is not a distribution")),
    })
}

/// The branches of a hyperexponential law.
fn branches(node: &Node, cx: &mut Reader<'_>, quantity: Quantity) -> Option<Result<Law, LawError>> {
    let Value::Array(items) = &node.value else {
        cx.wrong_kind(node, "an array of { probability, mean }");
        return None;
    };
    let read: Vec<Option<(f64, f64)>> = items
        .iter()
        .enumerate()
        .map(|(i, item)| {
            cx.within(&format!("[{i}]"), |cx| {
                let table = cx.table(item)?;
                cx.unknown_keys(table, &["probability", "mean"], None, "branch");
                for key in ["probability", "mean"].into_iter().filter(|k| !table.contains_key(*k)) {
                    cx.missing_key(item.span, key, "branch");
                }
                let probability = table.get("probability").and_then(|e| cx.number(&e.node));
                let mean = table.get("mean").and_then(|e| quantity.read(&e.node, cx));
                Some((probability?, mean?))
            })
        })
        .collect();
    let pairs: Vec<(f64, f64)> = read.into_iter().collect::<Option<_>>()?;
    let total: f64 = pairs.iter().map(|(p, _)| p).sum();
    if pairs.is_empty() || pairs.iter().any(|(p, _)| *p < 0.0) || (total - 1.0).abs() > 1e-9 {
        return Some(Err(LawError(format!("the probabilities of the branches sum to {total}, not to 1"))));
    }
    Some(Ok(Law::Hyperexponential(pairs.into())))
}

/// The values of an empirical law, and whether they came from a file.
fn observations(table: &Table, cx: &mut Reader<'_>, quantity: Quantity) -> Option<(Vec<f64>, bool)> {
    let unit = match table.get("unit") {
        None => 1.0,
        Some(entry) => {
            let i = cx.within("unit", |cx| cx.word(&entry.node, quantity.units()))?;
            quantity.unit(quantity.units()[i])?
        }
    };
    if let Some(entry) = table.get("values") {
        let Value::Array(items) = &entry.node.value else {
            cx.wrong_kind(&entry.node, "an array");
            return None;
        };
        let read: Vec<Option<f64>> = items
            .iter()
            .enumerate()
            .map(|(i, item)| {
                cx.within(&format!("[{i}]"), |cx| match item.value {
                    Value::Str(_) => quantity.read(item, cx),
                    _ => cx.number(item).map(|v| v * unit),
                })
            })
            .collect();
        return read.into_iter().collect::<Option<Vec<f64>>>().map(|v| (v, false));
    }
    let entry = table.get("file")?;
    let path = cx.within("file", |cx| <String as Lang>::read(&entry.node, cx))?;
    let column = match table.get("column") {
        None => None,
        Some(e) => Some(cx.within("column", |cx| <String as Lang>::read(&e.node, cx))?),
    };
    let read = cx.open(&path).and_then(|text| read_column(&path, &text, column.as_deref()));
    match read {
        Ok(values) => Some((values.into_iter().map(|v| v * unit).collect(), true)),
        Err(message) => {
            cx.report(Diagnostic::error("S2010", message).at(entry.node.span));
            None
        }
    }
}

/// Largest number of values that an empirical law takes; more say nothing new and swell the plan.
const MAX_VALUES: usize = 100_000;

/// Reads one column of numbers of a CSV file with a header.
fn read_column(path: &str, text: &str, column: Option<&str>) -> Result<Vec<f64>, String> {
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let headers = rows.headers().map_err(|e| format!("`{path}` is not readable as CSV: {e}"))?.clone();
    let at = match column {
        Some(name) => headers.iter().position(|h| h == name).ok_or_else(|| {
            let known: Vec<&str> = headers.iter().collect();
            format!("`{path}` has no column `{name}`; it has {}", list(&known))
        })?,
        None if headers.len() == 1 => 0,
        None => return Err(format!("`{path}` has {} columns: say which with `column`", headers.len())),
    };
    let mut values = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|e| format!("`{path}` is not readable as CSV: {e}"))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = row.get(at).unwrap_or("");
        match cell.parse::<f64>() {
            Ok(v) if v.is_finite() && v >= 0.0 => values.push(v),
            _ => return Err(format!("`{path}` line {line}: expected a number of at least 0, not `{cell}`")),
        }
        if values.len() > MAX_VALUES {
            return Err(format!("`{path}` has more than {MAX_VALUES} values: thin it out"));
        }
    }
    if values.is_empty() {
        return Err(format!("`{path}` has no values below its header"));
    }
    Ok(values)
}

fn law_schema(defs: &mut Defs, name: &str, quantity: Quantity) -> Json {
    defs.part(name, |defs| {
        let amount = match quantity {
            Quantity::Time => <SimDuration as Lang>::schema(defs),
            Quantity::Memory => defs.part("Memory", |_| json!({ "type": ["string", "number"] })),
        };
        let mut any = vec![amount.clone()];
        for (distribution, keys) in SHAPES {
            let mut properties = serde_json::Map::new();
            properties.insert("distribution".to_owned(), json!({ "const": distribution }));
            let mut required = vec!["distribution"];
            for key in *keys {
                required.push(key);
                let schema = match *key {
                    key if AMOUNTS.contains(&key) => amount.clone(),
                    "branches" => json!({ "type": "array", "items": {
                        "type": "object",
                        "properties": { "probability": { "type": "number" }, "mean": amount.clone() },
                        "required": ["probability", "mean"],
                        "additionalProperties": false,
                    }}),
                    "values" => {
                        json!({ "type": "array", "items": { "anyOf": [{ "type": "number" }, amount.clone()] } })
                    }
                    "file" | "column" => json!({ "type": "string" }),
                    "unit" => json!({ "enum": quantity.units() }),
                    "k" => json!({ "type": "number", "minimum": 1 }),
                    _ => json!({ "type": "number", "minimum": 0 }),
                };
                properties.insert((*key).to_owned(), schema);
            }
            any.push(json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }));
        }
        json!({ "description": "A constant, or a distribution with its parameters.", "anyOf": any })
    })
}
