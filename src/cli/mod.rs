//! Floor 9: the command line. One file per command, thin: parse arguments, call below, print.
//!
//! Results go to standard output, everything else to standard error. How it ends is an [`ExitCode`].

mod args;
pub mod catalog;
mod check;
mod compare;
mod completions;
mod console;
mod examples;
mod exit;
mod explain;
mod init;
mod many;
mod panic;
mod progress;
mod report;
mod run;
mod schema;
mod search;
mod sweep;

use std::io::{self, BufWriter};
use std::panic::AssertUnwindSafe;

use clap::Parser;

pub use args::{Cli, Command};
pub use exit::ExitCode;

use crate::experiment::{Engine, EngineError, simulate};
use crate::output::OutputError;
use crate::scenario::diagnostic::Diagnostics;
use console::Console;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Findings about a scenario.
    #[error("the scenario is not valid")]
    Scenario(Diagnostics),
    /// Files.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
    /// Something else, with its exit code.
    #[error("{1}")]
    Other(ExitCode, String),
}

impl From<Diagnostics> for Failure {
    fn from(d: Diagnostics) -> Self {
        Self::Scenario(d)
    }
}

impl Failure {
    fn stdout(e: io::Error) -> Self {
        Self::Stdout(e)
    }

    /// Says what is wrong, and with which code simctl ends.
    fn report(&self, console: &mut Console<'_>) -> ExitCode {
        match self {
            Self::Scenario(found) => {
                let text = if console.json_errors {
                    format!("{:#}\n", found.to_json())
                } else {
                    found.render(console.err_color)
                };
                let _ = write!(console.err, "{text}");
                if found.is_unreadable() { ExitCode::Io } else { ExitCode::Usage }
            }
            // Whoever closed the pipe has read enough.
            Self::Stdout(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::Ok,
            other => {
                console.error(&other.to_string());
                match other {
                    Self::Output(_) | Self::Stdout(_) | Self::Engine(EngineError::Output(_)) => ExitCode::Io,
                    Self::Engine(EngineError::Interrupted(_)) => ExitCode::Interrupted,
                    Self::Other(code, _) => *code,
                    _ => ExitCode::Usage,
                }
            }
        }
    }
}

/// The newest date of a price in the catalog.
fn catalog_date() -> String {
    let newest = crate::catalog::Catalog::embedded().prices().filter_map(|p| p.as_of).max();
    newest.map_or_else(|| "no date".into(), |d| d.to_string())
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> std::process::ExitCode {
    panic::install();
    let cli = Cli::parse();
    console::catch_interrupts();
    // What was printed before a failure of simctl itself still comes out.
    let code = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut err = io::stderr().lock();
        let mut console = console::of_process(&cli.global, &mut out, &mut err);
        dispatch(&cli.command, &mut console, simulate)
    }));
    code.unwrap_or(ExitCode::Unexpected).into()
}

/// Runs one command and says what went wrong.
fn dispatch(command: &Command, console: &mut Console<'_>, engine: Engine) -> ExitCode {
    let result = match command {
        Command::Run(args) => run::run(args, console, engine),
        Command::Compare(args) => compare::compare(args, console, engine),
        Command::Sweep(args) => sweep::sweep(args, console, engine),
        Command::Search(args) => search::search(args, console, engine),
        Command::Check(args) => check::check(args, console),
        Command::Report(args) => report::report(args, console),
        Command::Init(args) => init::init(args, console),
        Command::Schema => schema::schema(console),
        Command::Catalog(args) => {
            let json = args.format == args::PlainFormat::Json;
            catalog::run(&args.search, json, console.out).map(|()| ExitCode::Ok).map_err(catalog_failure)
        }
        Command::Explain(args) => explain::explain(args, console),
        Command::Completions(args) => completions::completions(args, console),
    };
    let flushed = |code: ExitCode, console: &mut Console<'_>| match console.out.flush() {
        Ok(()) => Ok(code),
        Err(e) => Err(Failure::Stdout(e)),
    };
    match result.and_then(|code| flushed(code, console)) {
        Ok(code) => code,
        Err(failure) => {
            let code = failure.report(console);
            let _ = console.out.flush();
            code
        }
    }
}

/// A failure of `catalog` with its exit code.
fn catalog_failure(e: catalog::CatalogCommandError) -> Failure {
    use catalog::CatalogCommandError as E;
    match e {
        E::Write(e) => Failure::Stdout(e),
        E::Read { .. } => Failure::Other(ExitCode::Io, e.to_string()),
        E::Catalog(_) => Failure::Other(ExitCode::Usage, e.to_string()),
    }
}
