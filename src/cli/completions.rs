//! `simctl completions`: a completion script for a shell.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::console::Console;
use super::{ExitCode, Failure};

/// Prints the script.
pub(crate) fn completions(args: &CompletionsArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "simctl", &mut script);
    console.out.write_all(&script).map_err(Failure::stdout)?;
    Ok(ExitCode::Ok)
}
