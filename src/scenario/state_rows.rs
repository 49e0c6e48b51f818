//! CSV files of the initial state, row by row, with the place of everything that is wrong.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Source, Span, nearest};
use super::inputs::{Files, MAX_SECONDS};
use super::lang::list;
use super::locate;
use super::model::{InitialState, TaintEffect};
use super::tree::Node;
use crate::kernel::SimDuration;
use crate::units::ResourceQuantity;

/// Findings about rows that are collected before the rest of a file is left alone.
const MOST_FINDINGS: usize = 20;

/// A file that is read row by row.
pub(super) struct Rows {
    file: String,
    pub(super) text: Arc<str>,
    headers: Vec<String>,
    named: Span,
    findings: Vec<Diagnostic>,
    /// The place of the file among the sources of findings, once there is one.
    source: u32,
}

/// One row.
pub(super) struct Row<'r> {
    rows: &'r Rows,
    record: &'r csv::StringRecord,
    start: usize,
    pub(super) line: u64,
}

/// What is wrong with a cell: its column, and what was expected.
pub(super) type Bad = (&'static str, String);

impl Rows {
    pub(super) fn open(
        file: &str,
        key: &str,
        known: &[&'static str],
        settings: &InitialState,
        root: &Node,
        files: &mut Files,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        let named = locate::value(root, &["cluster", "eks", "initial_state", key]);
        let text = match files.open_input(file) {
            Ok(text) => text,
            Err(message) => {
                found.items.push(Diagnostic::error("S2010", message).at(named).label("named here"));
                return None;
            }
        };
        let mut rows = Self {
            file: file.to_owned(),
            text: Arc::clone(&text),
            headers: Vec::new(),
            named,
            findings: Vec::new(),
            source: found.sources.len() as u32,
        };
        let expected = known.join(",");
        match reader(&text).headers() {
            Ok(headers) if !text.trim().is_empty() => rows.headers = headers.iter().map(str::to_owned).collect(),
            Ok(_) => rows.whole(format!("the file is empty; columns of {expected} were expected")),
            Err(e) => rows.whole(format!("this is not CSV: {e}")),
        }
        for (at, header) in rows.headers.clone().iter().enumerate() {
            if rows.headers[..at].contains(header) {
                rows.whole(format!("the column `{header}` stands there twice"));
            } else if !known.contains(&header.as_str()) && !settings.ignored_columns.contains(header) {
                let help = match nearest(header, known.iter().copied()) {
                    Some(near) => format!("there is `{near}`"),
                    None => format!("the columns are {}", list(known)),
                };
                let message = format!(
                    "the column `{header}` is not known: {help}; name it in `ignored_columns` if it is to be left out"
                );
                rows.whole(message);
            }
        }
        if !rows.headers.is_empty() && !rows.headers.iter().any(|h| h == "name") {
            rows.whole("there is no column `name`".to_owned());
        }
        if rows.findings.is_empty() {
            return Some(rows);
        }
        rows.close(found);
        None
    }

    /// A finding about the header.
    fn whole(&mut self, message: String) {
        let end = self.text.find('\n').unwrap_or(self.text.len());
        self.find(0, end, 1, message);
    }

    fn find(&mut self, start: usize, end: usize, line: u64, message: String) {
        if self.findings.len() < MOST_FINDINGS {
            let message = format!("`{}` line {line}: {message}", self.file);
            let finding = Diagnostic::error("S2011", message).at(Span::new(self.source, start, end));
            self.findings.push(finding.related(self.named, "named here"));
        }
    }

    /// Calls `take` for every row, and keeps what it finds wrong.
    pub(super) fn each(&mut self, mut take: impl FnMut(&Row<'_>) -> Result<(), Bad>) {
        let text = Arc::clone(&self.text);
        let mut csv = reader(&text);
        let mut record = csv::StringRecord::new();
        loop {
            match csv.read_record(&mut record) {
                Ok(false) => return,
                Ok(true) => {}
                Err(e) => {
                    let at = e.position().map_or(0, |p| p.byte() as usize).min(text.len());
                    let line = e.position().map_or(1, csv::Position::line);
                    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
                    self.find(at, end, line, "this row has another number of cells than the header".to_owned());
                    return;
                }
            }
            let (start, line) = place_of(&text, &record);
            let row = Row { rows: self, record: &record, start, line };
            if let Err((column, message)) = take(&row) {
                let (from, to) = row.span(column);
                self.find(from, to, line, format!("column `{column}`: {message}"));
            }
            if self.findings.len() >= MOST_FINDINGS {
                return;
            }
        }
    }

    /// Hands on what was found.
    pub(super) fn close(self, found: &mut Diagnostics) {
        if !self.findings.is_empty() {
            found.sources.push(Source { name: self.file, text: self.text });
            found.items.extend(self.findings);
        }
    }
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes())
}

/// Where a row stands, comments and empty lines before it left out: its first byte and its line.
fn place_of(text: &str, record: &csv::StringRecord) -> (usize, u64) {
    let Some(position) = record.position() else { return (0, 1) };
    let (mut at, mut line) = ((position.byte() as usize).min(text.len()), position.line());
    while let Some(end) = text[at..].find('\n') {
        let row = text[at..at + end].trim();
        if !row.is_empty() && !row.starts_with('#') {
            break;
        }
        (at, line) = (at + end + 1, line + 1);
    }
    (at, line)
}

impl Row<'_> {
    /// The text of a cell; `None` where it is empty or the column is not there.
    pub(super) fn cell(&self, column: &str) -> Option<&str> {
        let at = self.rows.headers.iter().position(|h| h == column)?;
        self.record.get(at).filter(|c| !c.is_empty())
    }

    /// The bytes of a cell, or of the row where the cell is not to be found.
    fn span(&self, column: &str) -> (usize, usize) {
        let text = &self.rows.text[self.start..];
        let row = text.split('\n').next().unwrap_or(text).trim_end();
        let whole = (self.start, self.start + row.len());
        let Some(at) = self.rows.headers.iter().position(|h| h == column).filter(|_| !row.contains('"')) else {
            return whole;
        };
        let mut from = self.start;
        for (n, cell) in row.split(',').enumerate() {
            if n == at {
                return if cell.trim().is_empty() { whole } else { (from, from + cell.len()) };
            }
            from += cell.len() + 1;
        }
        whole
    }

    fn whole_number(&self, column: &'static str) -> Result<Option<u64>, Bad> {
        let Some(cell) = self.cell(column) else { return Ok(None) };
        let bad = || (column, format!("a whole number was expected, from 0 on, not `{cell}`"));
        // Figures such as `4.0` are written by many programs.
        let value = cell.parse::<u64>().ok().or_else(|| {
            let float = cell.parse::<f64>().ok()?;
            (float >= 0.0 && float.fract() == 0.0 && float < 1e15).then_some(float as u64)
        });
        value.map(Some).ok_or_else(bad)
    }

    pub(super) fn count(&self, column: &'static str) -> Result<Option<u32>, Bad> {
        let Some(n) = self.whole_number(column)? else { return Ok(None) };
        u32::try_from(n).map(Some).map_err(|_| (column, format!("{n} is too many")))
    }

    pub(super) fn seconds(&self, column: &'static str) -> Result<Option<SimDuration>, Bad> {
        let Some(cell) = self.cell(column) else { return Ok(None) };
        match cell.parse::<f64>() {
            Ok(s) if s.is_finite() && (0.0..=MAX_SECONDS).contains(&s) => Ok(Some(SimDuration::from_secs_f64(s))),
            _ => Err((column, format!("seconds were expected, from 0 to {MAX_SECONDS}, not `{cell}`"))),
        }
    }

    /// An amount, as Kubernetes writes it or as a whole number of a unit of `unit`.
    fn amount(
        &self,
        (plain, of_unit): (&'static str, &'static str),
        unit: u64,
        read: fn(&ResourceQuantity) -> i64,
    ) -> Result<Option<u64>, Bad> {
        match (self.cell(plain), self.whole_number(of_unit)?) {
            (Some(_), Some(_)) => Err((plain, format!("either this or `{of_unit}` is written, not both"))),
            (None, n) => n.map(|n| n.checked_mul(unit).ok_or((of_unit, format!("{n} is too much")))).transpose(),
            (Some(cell), None) => {
                let quantity = cell.parse::<ResourceQuantity>().ok();
                let value = quantity.and_then(|q| u64::try_from(read(&q)).ok());
                let example = if plain == "cpu" { "`500m` or `4`" } else { "`512Mi` or `16Gi`" };
                value
                    .map(Some)
                    .ok_or_else(|| (plain, format!("a quantity such as {example} was expected, not `{cell}`")))
            }
        }
    }

    pub(super) fn cpu(&self) -> Result<Option<u64>, Bad> {
        self.amount(("cpu", "cpu_millis"), 1, ResourceQuantity::milli_value)
    }

    pub(super) fn memory(&self) -> Result<Option<u64>, Bad> {
        self.amount(("memory", "memory_mib"), 1 << 20, ResourceQuantity::value)
    }

    pub(super) fn name(&self) -> Result<&str, Bad> {
        self.cell("name").ok_or_else(|| ("name", "every row has a name".to_owned()))
    }

    /// Pairs `key=value`, parted by `;`.
    pub(super) fn pairs(&self, column: &'static str) -> Result<Vec<(String, String)>, Bad> {
        let parts = self.cell(column).into_iter().flat_map(|c| c.split(';')).map(str::trim).filter(|p| !p.is_empty());
        parts
            .map(|part| match part.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
                _ => Err((column, format!("`key=value` was expected, parted by `;`, not `{part}`"))),
            })
            .collect()
    }

    /// Taints or tolerations: key, value (absent where none is written) and effect, parted by `;`.
    #[allow(clippy::type_complexity, reason = "three parts of one notation")]
    pub(super) fn marks(
        &self,
        column: &'static str,
    ) -> Result<Vec<(String, Option<String>, Option<TaintEffect>)>, Bad> {
        let parts = self.cell(column).into_iter().flat_map(|c| c.split(';')).map(str::trim).filter(|p| !p.is_empty());
        parts
            .map(|part| {
                let (mark, effect) = match part.rsplit_once(':') {
                    None => (part, None),
                    Some((mark, "NoSchedule")) => (mark, Some(TaintEffect::NoSchedule)),
                    Some((mark, "PreferNoSchedule")) => (mark, Some(TaintEffect::PreferNoSchedule)),
                    Some((mark, "NoExecute")) => (mark, Some(TaintEffect::NoExecute)),
                    Some((_, effect)) => {
                        let words = "`NoSchedule`, `PreferNoSchedule` or `NoExecute`";
                        return Err((column, format!("the effect is {words}, not `{effect}`")));
                    }
                };
                let (key, value) = match mark.split_once('=') {
                    Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
                    None => (mark.trim().to_owned(), None),
                };
                match key.is_empty() {
                    true => Err((column, format!("`key=value:Effect` was expected, parted by `;`, not `{part}`"))),
                    false => Ok((key, value, effect)),
                }
            })
            .collect()
    }
}
