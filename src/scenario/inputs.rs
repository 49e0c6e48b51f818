//! The files that a scenario names: found, read and checked.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use super::model::{
    History, Inputs, Interruptions, Plan, PredictiveScaling, ScalingPolicy, SpotPrice, SpotRow, TraceRow,
};
use super::tree::Node;
use crate::catalog::Catalog;
use crate::kernel::{SimDuration, SimTime};

/// A file that a plan names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// The name as the plan writes it.
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    /// BLAKE3 of its content, in hexadecimal.
    pub hash: String,
}

/// Finds and reads files relative to a scenario.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    allow_outside: bool,
    read: IndexMap<String, (InputFile, Arc<str>)>,
    /// The files that a plan needs again: not those that were taken into it.
    needed: indexmap::IndexSet<String>,
}

impl Files {
    pub(crate) fn new(folder: PathBuf, allow_outside: bool) -> Self {
        Self { folder, allow_outside, read: IndexMap::new(), needed: indexmap::IndexSet::new() }
    }

    /// The text of a file, read once.
    pub(crate) fn open(&mut self, name: &str) -> Result<Arc<str>, String> {
        if let Some((_, text)) = self.read.get(name) {
            return Ok(Arc::clone(text));
        }
        let path = self.find(name)?;
        let text: Arc<str> = read_text(&path)?.into();
        let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
        self.read.insert(name.to_owned(), (InputFile { name: name.to_owned(), path, hash }, Arc::clone(&text)));
        Ok(text)
    }

    fn find(&self, name: &str) -> Result<PathBuf, String> {
        let relative = Path::new(name);
        let outside = || {
            format!("`{name}` is outside of the scenario's folder; allow that with --allow-outside, or move it there")
        };
        let climbs = relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir));
        if climbs && !self.allow_outside {
            return Err(outside());
        }
        let path = self.folder.join(relative);
        // A link may still lead away.
        if !self.allow_outside
            && let (Ok(real), Ok(folder)) = (path.canonicalize(), self.folder.canonicalize())
            && !real.starts_with(&folder)
        {
            return Err(outside());
        }
        Ok(path)
    }

    /// Like [`Files::open`], for a file that stays apart from the plan.
    pub(super) fn open_input(&mut self, name: &str) -> Result<Arc<str>, String> {
        let text = self.open(name)?;
        self.needed.insert(name.to_owned());
        Ok(text)
    }

    /// The files that a plan needs.
    pub(crate) fn list(&self) -> impl Iterator<Item = &InputFile> {
        self.read.values().map(|(file, _)| file).filter(|f| self.needed.contains(&f.name))
    }

    pub(crate) fn into_list(self) -> Vec<InputFile> {
        self.list().cloned().collect()
    }
}

/// Reads a text file; every way in which that fails has its own words.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let name = path.display();
    if path.is_dir() {
        return Err(format!("`{name}` is a directory, not a file"));
    }
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{name}`"),
        std::io::ErrorKind::PermissionDenied => format!("`{name}` may not be read: permission denied"),
        _ => format!("`{name}` could not be read: {e}"),
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        format!("`{name}` is not UTF-8 text: invalid byte in line {line}")
    })
}

/// Reads the traces and recordings that a plan names.
pub(crate) fn read_inputs(plan: &Plan, root: &Node, files: &mut Files, found: &mut Diagnostics) -> Inputs {
    let mut inputs = Inputs::default();
    let services = plan.services.iter().map(|(name, s)| ("services", name, &s.traffic));
    let queues = plan.queues.iter().map(|(name, q)| ("queues", name, &q.traffic));
    for (kind_of, name, traffic) in services.chain(queues) {
        let at = |kind: &str| super::locate::value(root, &[kind_of, name, "traffic", kind, "file"]);
        if let Some(trace) = &traffic.trace
            && !inputs.traces.contains_key(&trace.file)
            && let Some(rows) = read_csv(&trace.file, at("trace"), files, found, trace_rows)
        {
            inputs.traces.insert(trace.file.clone(), rows.into());
        }
        if let Some(recorded) = &traffic.recorded
            && !inputs.recordings.contains_key(&recorded.file)
            && let Some(instants) = read_csv(&recorded.file, at("recorded"), files, found, instants)
        {
            inputs.recordings.insert(recorded.file.clone(), instants.into());
        }
    }
    for (name, service) in &plan.services {
        for (policy, rule) in service.scaling.iter().flat_map(|s| &s.policies) {
            if let ScalingPolicy::Predictive(PredictiveScaling { history: History::Trace(past), .. }) = rule
                && !inputs.traces.contains_key(&past.file)
                && let at = ["services", name, "scaling", "policies", policy, "history", "file"]
                && let Some(rows) = read_csv(&past.file, super::locate::value(root, &at), files, found, trace_rows)
            {
                inputs.traces.insert(past.file.clone(), rows.into());
            }
        }
    }
    for (name, capacity) in &plan.capacity {
        let Some(instances) = capacity.instances() else { continue };
        let at = |key: &str| super::locate::value(root, &["capacity", name, "spot", key, "file"]);
        let trace = match &instances.spot.interruptions {
            Interruptions::Trace(trace) => Some((&trace.file, "interruptions", "available")),
            Interruptions::None(_) | Interruptions::Rate(_) | Interruptions::Advisor(_) => None,
        };
        let prices = match &instances.spot.price {
            SpotPrice::Series(series) => Some((&series.file, "price", "usd_per_hour")),
            SpotPrice::Catalog(_) | SpotPrice::Discount(_) => None,
        };
        for (file, key, column) in trace.into_iter().chain(prices) {
            let read = |text: &str| spot_rows(text, column, plan.cluster.zones);
            if !inputs.spot.contains_key(file)
                && let Some(rows) = read_csv(file, at(key), files, found, read)
            {
                inputs.spot.insert(file.clone(), rows.into());
            }
        }
    }
    if let Some(file) = &plan.billing.prices {
        let span = super::locate::value(root, &["billing", "prices"]);
        match files.open_input(file) {
            Ok(text) => inputs.prices = Some(text),
            Err(message) => found.items.push(Diagnostic::error("S2010", message).at(span)),
        }
    }
    inputs
}

/// A cell that is not what it should be: its line's bytes and what was expected.
struct BadRow {
    start: usize,
    end: usize,
    line: u64,
    message: String,
}

fn read_csv<T>(
    file: &str,
    span: Span,
    files: &mut Files,
    found: &mut Diagnostics,
    parse: impl Fn(&str) -> Result<Vec<T>, BadRow>,
) -> Option<Vec<T>> {
    let text = match files.open_input(file) {
        Ok(text) => text,
        Err(message) => {
            found.items.push(Diagnostic::error("S2010", message).at(span).label("named here"));
            return None;
        }
    };
    match parse(&text) {
        Ok(rows) => Some(rows),
        Err(bad) if text.is_empty() => {
            found
                .items
                .push(Diagnostic::error("S2011", format!("`{file}`: {}", bad.message)).at(span).label("named here"));
            None
        }
        Err(bad) => {
            let source = found.sources.len() as u32;
            found.sources.push(Source { name: file.to_owned(), text });
            found.items.push(
                Diagnostic::error("S2011", format!("`{file}` line {}: {}", bad.line, bad.message))
                    .at(Span::new(source, bad.start, bad.end))
                    .related(span, "named here"),
            );
            None
        }
    }
}

/// Reads the named columns of a CSV text row by row.
fn rows(text: &str, columns: &[&str], mut take: impl FnMut(&[f64]) -> Result<(), String>) -> Result<usize, BadRow> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let bad = |position: Option<&csv::Position>, message: String| {
        let start = position.map_or(0, |p| p.byte() as usize).min(text.len());
        let line = position.map_or(1, csv::Position::line);
        let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        BadRow { start, end: start + text[start..end].trim_end().len(), line, message }
    };
    let expected = columns.join(",");
    let headers = match reader.headers() {
        Ok(headers) if text.trim().is_empty() || headers.is_empty() => {
            return Err(bad(None, format!("the file is empty; the columns {expected} were expected")));
        }
        Ok(headers) => headers.clone(),
        Err(e) => return Err(bad(e.position(), format!("this is not CSV: {e}"))),
    };
    let mut at = Vec::new();
    for column in columns {
        match headers.iter().position(|h| h == *column) {
            Some(i) => at.push(i),
            None => {
                let known: Vec<&str> = headers.iter().collect();
                let message = format!("the columns {expected} were expected; there are {}", known.join(","));
                return Err(bad(headers.position(), message));
            }
        }
    }
    let mut count = 0;
    let mut values = vec![0.0; columns.len()];
    for record in reader.records() {
        let record = record.map_err(|e| bad(e.position(), "this row has another number of cells".to_owned()))?;
        for ((column, i), value) in columns.iter().zip(&at).zip(&mut values) {
            let cell = record.get(*i).unwrap_or("");
            *value = match cell.parse::<f64>() {
                Ok(v) if !v.is_finite() => {
                    return Err(bad(record.position(), format!("`{column}` must be a finite number, not {cell}")));
                }
                Ok(v) if v < 0.0 => {
                    return Err(bad(record.position(), format!("`{column}` cannot be negative: {cell}")));
                }
                Ok(v) => v,
                Err(_) => {
                    return Err(bad(record.position(), format!("`{column}` must be a number, not `{cell}`")));
                }
            };
        }
        take(&values).map_err(|message| bad(record.position(), message))?;
        count += 1;
    }
    Ok(count)
}

/// Longest trace time: as long as a simulation can be.
pub(super) const MAX_SECONDS: f64 = 1e9;

fn instant(seconds: f64) -> Result<SimTime, String> {
    if seconds > MAX_SECONDS {
        return Err(format!("`time_s` is more than {MAX_SECONDS} seconds: is it an epoch? it counts from the start"));
    }
    Ok(SimTime::from_nanos(SimDuration::from_secs_f64(seconds).as_nanos()))
}

fn trace_rows(text: &str) -> Result<Vec<TraceRow>, BadRow> {
    let mut trace: Vec<TraceRow> = Vec::new();
    let count = rows(text, &["time_s", "requests"], |cells| {
        let at = instant(cells[0])?;
        match trace.last() {
            Some(last) if at < last.at => {
                return Err(format!("time goes back: {} after {}", cells[0], last.at.as_secs_f64()));
            }
            Some(last) if at == last.at => return Err(format!("this interval has no length: {} twice", cells[0])),
            _ => {}
        }
        trace.push(TraceRow { at, requests: cells[1] });
        Ok(())
    })?;
    if count < 2 {
        return Err(BadRow {
            start: 0,
            end: text.find('\n').unwrap_or(text.len()),
            line: 1,
            message: "a trace needs at least two rows: the last interval is as long as the one before".to_owned(),
        });
    }
    Ok(trace)
}

fn instants(text: &str) -> Result<Vec<SimTime>, BadRow> {
    let mut list: Vec<SimTime> = Vec::new();
    let count = rows(text, &["time_s"], |cells| {
        let at = instant(cells[0])?;
        if let Some(last) = list.last().filter(|last| at < **last) {
            return Err(format!("time goes back: {} after {}", cells[0], last.as_secs_f64()));
        }
        list.push(at);
        Ok(())
    })?;
    if count == 0 {
        return Err(BadRow {
            start: 0,
            end: text.len(),
            line: 1,
            message: "there are no rows below the header".to_owned(),
        });
    }
    Ok(list)
}

/// Rows of Spot availability or prices: `time_s`, the value's column, and where pools differ `zone` and `type`.
fn spot_rows(text: &str, value: &str, zones: u32) -> Result<Vec<SpotRow>, BadRow> {
    let (mut numbers, mut list) = (Vec::new(), Vec::<SpotRow>::new());
    let count = rows(text, &["time_s", value], |cells| {
        numbers.push((instant(cells[0])?, cells[1]));
        Ok(())
    })?;
    if count == 0 {
        let message = "there are no rows below the header".to_owned();
        return Err(BadRow { start: 0, end: text.len(), line: 1, message });
    }
    // The text has been read once: what is left are the two columns of words.
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
    let column = |headers: &csv::StringRecord, name: &str| headers.iter().position(|h| h == name);
    let (zone, kind) = reader.headers().map_or((None, None), |h| (column(h, "zone"), column(h, "type")));
    for (record, (at, value)) in reader.records().flatten().zip(numbers) {
        let bad = |message: String| {
            let start = record.position().map_or(0, |p| p.byte() as usize).min(text.len());
            let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
            BadRow { start, end, line: record.position().map_or(1, csv::Position::line), message }
        };
        let cell = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|c| !c.is_empty());
        let zone = match cell(zone).map(str::parse::<u32>) {
            None => None,
            Some(Ok(zone)) if zone < zones => Some(zone),
            Some(Ok(zone)) => return Err(bad(format!("there is no zone {zone}: the cluster has {zones}, from 0"))),
            Some(Err(_)) => return Err(bad("`zone` must be the number of a zone, from 0".to_owned())),
        };
        let kind = match cell(kind) {
            None => None,
            Some(name) => {
                Catalog::embedded().instance_type(name).map_err(|e| bad(e.to_string()))?;
                Some(name.to_owned())
            }
        };
        let same = |r: &&SpotRow| r.zone == zone && r.instance_type == kind;
        if let Some(last) = list.iter().rfind(same).filter(|last| at < last.at) {
            return Err(bad(format!("time goes back: {} after {}", at.as_secs_f64(), last.at.as_secs_f64())));
        }
        list.push(SpotRow { at, value, zone, instance_type: kind });
    }
    // Pools may stand one after the other in the file.
    list.sort_by_key(|r| r.at);
    Ok(list)
}
