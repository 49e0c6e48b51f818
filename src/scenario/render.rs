//! Findings as people and programs read them.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};
use serde_json::{Value as Json, json};

use super::diagnostic::{Diagnostic, Diagnostics, Severity, Source, Span};

/// Findings that are shown in full; the rest is counted.
pub const SHOWN: usize = 20;

impl Diagnostics {
    /// Sorts the findings by position: what concerns a file as a whole comes first.
    pub fn sort(&mut self) {
        self.items.sort_by_key(|d| (d.span, d.severity));
        self.items.dedup_by(|a, b| a.span == b.span && a.code == b.code && a.message == b.message);
    }

    /// All findings of a severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter().filter(move |d| d.severity == severity)
    }

    /// Whether a file could not be read at all, which is not the scenario's fault.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.items.iter().any(|d| d.code == "S0001")
    }

    /// The findings in rustc's look, in the order they stand in, at most [`SHOWN`] of them.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for d in self.items.iter().take(SHOWN) {
            text.push_str(&renderer.render(&self.groups(d)));
            text.push_str("\n\n");
        }
        let errors = self.of(Severity::Error).count();
        let warnings = self.of(Severity::Warning).count();
        if self.items.len() > SHOWN {
            text.push_str(&format!("... and {} more\n\n", self.items.len() - SHOWN));
        }
        let mut counts = Vec::new();
        for (n, one) in [(errors, "error"), (warnings, "warning")] {
            if n > 0 {
                counts.push(format!("{n} {one}{}", if n == 1 { "" } else { "s" }));
            }
        }
        if !counts.is_empty() {
            text.push_str(&format!("{}\n", counts.join(", ")));
        }
        text
    }

    fn groups<'a>(&'a self, d: &'a Diagnostic) -> Vec<Group<'a>> {
        let level = match d.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let mut main = Group::with_title(level.primary_title(d.message.as_str()).id(d.code));
        match d.span.and_then(|s| Some((s, self.source(s)?))) {
            Some((span, source)) if !source.text.is_empty() => {
                let range = clamp(span, source);
                let mut snippet = snippet(source).annotation(
                    AnnotationKind::Primary.span(range).label((!d.label.is_empty()).then_some(d.label.as_str())),
                );
                let mut elsewhere: Vec<(&Source, Span, &str)> = Vec::new();
                for (other, label) in &d.related {
                    match self.source(*other) {
                        Some(s) if other.source == span.source => {
                            snippet = snippet
                                .annotation(AnnotationKind::Context.span(clamp(*other, s)).label(label.as_str()));
                        }
                        Some(s) => elsewhere.push((s, *other, label)),
                        None => {}
                    }
                }
                main = main.element(snippet);
                for (source, span, label) in elsewhere {
                    let place = AnnotationKind::Context.span(clamp(span, source)).label(label);
                    main = main.element(self::snippet(source).annotation(place));
                }
            }
            Some((_, source)) => main = main.element(Origin::path(source.name.as_str())),
            None => {}
        }
        let mut help = d.help.iter();
        let mut groups = Vec::new();
        let patch = d.patch.as_ref().and_then(|(span, text)| Some((*span, text, self.source(*span)?)));
        if let Some((span, replacement, source)) = patch {
            let title = help.next().map_or("this would be right", String::as_str);
            groups.push(
                Group::with_title(Level::HELP.secondary_title(title))
                    .element(snippet_of_patch(source).patch(Patch::new(clamp(span, source), replacement.as_str()))),
            );
        }
        for line in help {
            main = main.element(Level::HELP.message(line.as_str()));
        }
        groups.insert(0, main);
        groups
    }

    fn source(&self, span: Span) -> Option<&Source> {
        self.sources.get(span.source as usize)
    }

    /// The findings for programs: positions are 1-based lines and columns (in characters), and bytes.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json::Array(self.items.iter().map(|d| self.item_json(d)).collect())
    }

    fn item_json(&self, d: &Diagnostic) -> Json {
        let mut item = json!({
            "code": d.code,
            "severity": match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            },
            "message": d.message,
        });
        if let Some(address) = &d.address {
            item["address"] = json!(address);
        }
        if let Some(place) = d.span.and_then(|s| self.place(s)) {
            item["span"] = place;
        }
        if !d.label.is_empty() {
            item["label"] = json!(d.label);
        }
        if !d.related.is_empty() {
            let related: Vec<Json> =
                d.related.iter().map(|(s, label)| json!({ "label": label, "span": self.place(*s) })).collect();
            item["related"] = Json::Array(related);
        }
        if !d.help.is_empty() {
            item["help"] = json!(d.help);
        }
        if let Some((span, text)) = &d.patch {
            item["patch"] = json!({ "span": self.place(*span), "text": text });
        }
        item
    }

    fn place(&self, span: Span) -> Option<Json> {
        let source = self.source(span)?;
        let range = clamp(span, source);
        let (line, column) = line_column(&source.text, range.start);
        let (end_line, end_column) = line_column(&source.text, range.end);
        Some(json!({
            "file": source.name, "byte_start": range.start, "byte_end": range.end,
            "line": line, "column": column, "end_line": end_line, "end_column": end_column,
        }))
    }
}

fn snippet<'a>(source: &'a Source) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    Snippet::source(&*source.text).path(source.name.as_str())
}

fn snippet_of_patch<'a>(source: &'a Source) -> Snippet<'a, Patch<'a>> {
    Snippet::source(&*source.text).path(source.name.as_str())
}

/// The bytes of a span, kept inside the text and on character boundaries.
fn clamp(span: Span, source: &Source) -> std::ops::Range<usize> {
    let boundary = |at: u32| {
        let mut at = (at as usize).min(source.text.len());
        while !source.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (boundary(span.start), boundary(span.end));
    start..end.max(start)
}

/// Line and column, from 1, of a byte.
fn line_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}
