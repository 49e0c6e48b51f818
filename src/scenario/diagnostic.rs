//! What is wrong with a scenario, and where: everything at once, with the text that is meant.

/// A range of bytes in one of the sources of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Position in [`Diagnostics::sources`].
    pub source: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// A span from byte positions.
    #[must_use]
    pub fn new(source: u32, start: usize, end: usize) -> Self {
        Self { source, start: start as u32, end: end.max(start) as u32 }
    }
}

/// A text that was read: a file, or an argument of the command line.
#[derive(Clone, Debug)]
pub struct Source {
    /// How people call it: a path as it was given, or the argument.
    pub name: String,
    /// Its text.
    pub text: std::sync::Arc<str>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The scenario cannot run.
    Error,
    /// It runs, but probably does not say what was meant.
    Warning,
    /// For information.
    Note,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// A stable code: S0xxx shape, S1xxx meaning, S2xxx references, W0xxx doubtful.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// Where; none when it is about a file as a whole.
    pub span: Option<Span>,
    /// What stands beside the underline.
    pub label: String,
    /// Other places that matter, with what to say about them.
    pub related: Vec<(Span, String)>,
    /// What could be done.
    pub help: Vec<String>,
    /// Text that would be right in place of a span.
    pub patch: Option<(Span, String)>,
    /// The address in the scenario, where there is one.
    pub address: Option<String>,
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            related: Vec::new(),
            help: Vec::new(),
            patch: None,
            address: None,
        }
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Points at a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Says something beside the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at a further place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Shows the corrected text.
    #[must_use]
    pub fn patch(mut self, span: Span, text: impl Into<String>) -> Self {
        self.patch = Some((span, text.into()));
        self
    }

    /// Names the address in the scenario.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }
}

/// All findings about one scenario, with the texts that they point into.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The texts that were read, in the order of reading.
    pub sources: Vec<Source>,
    /// The findings.
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// The candidate most like `word`, if one is alike at all.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&wanted, &plain(c)), strsim::damerau_levenshtein(&wanted, &plain(c)), c))
        .filter(|(likeness, edits, c)| *likeness > 0.86 || *edits <= (c.len() / 3).clamp(1, 3))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, _, c)| c)
}
