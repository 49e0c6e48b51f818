//! What the process stands in: streams, colour, width, character set. The only place that looks at
//! the environment and the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::AtomicBool;

use super::args::{ColorWhen, Global};
use crate::report::Style;

/// Set by Ctrl-C or a request to terminate; the run looks at it.
pub(crate) static INTERRUPT: AtomicBool = AtomicBool::new(false);

/// Where a command writes, and how.
pub(crate) struct Console<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
    /// Look of what goes to `out`.
    pub(crate) style: Style,
    /// Whether findings on `err` are coloured.
    pub(crate) err_color: bool,
    /// Whether a progress bar can be drawn on standard error.
    pub(crate) bar: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) json_errors: bool,
}

impl Console<'_> {
    /// A line on standard error that `--quiet` leaves out. That nobody reads it is no failure.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.quiet {
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// A line on standard error that only `--verbose` prints.
    pub(crate) fn detail(&mut self, text: &str) {
        if self.verbose {
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// An error message.
    pub(crate) fn error(&mut self, text: &str) {
        let head = if self.err_color { "\u{1b}[1;31merror\u{1b}[0m" } else { "error" };
        let _ = writeln!(self.err, "{head}: {text}");
    }
}

fn set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|v| !v.is_empty())
}

/// Whether a stream is coloured: NO_COLOR and CLICOLOR_FORCE are honoured.
fn color(when: ColorWhen, terminal: bool) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
            !set("NO_COLOR") && (set("CLICOLOR_FORCE") || (terminal && !dumb))
        }
    }
}

/// Whether the locale is one without UTF-8. Nothing said counts as UTF-8.
fn ascii_only() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_lowercase();
            !(value.contains("utf-8") || value.contains("utf8"))
        })
}

/// Columns of the terminal, or of `COLUMNS`.
fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    said.or_else(|| terminal_size::terminal_size().map(|(w, _)| usize::from(w.0))).unwrap_or(Style::WIDE)
}

/// The console of this process.
pub(crate) fn of_process<'a>(global: &Global, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Console<'a> {
    let (out_tty, err_tty) = (io::stdout().is_terminal(), io::stderr().is_terminal());
    let style = Style { ascii: ascii_only(), color: color(global.color, out_tty), ..Style::for_columns(columns()) };
    Console {
        out,
        err,
        style,
        err_color: color(global.color, err_tty),
        bar: err_tty && !global.quiet,
        quiet: global.quiet,
        verbose: global.verbose,
        json_errors: global.error_format == super::args::ErrorFormat::Json,
    }
}

/// Makes Ctrl-C and a request to terminate set [`INTERRUPT`]; a second one ends the process at once.
pub(crate) fn catch_interrupts() {
    use std::sync::atomic::Ordering;
    // Without a handler the process simply ends, as it would have.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPT.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(super::ExitCode::Interrupted.code()));
        }
    });
}
