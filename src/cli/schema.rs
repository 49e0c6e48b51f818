//! `simctl schema`: the JSON Schema of the scenario language.

use super::console::Console;
use super::{ExitCode, Failure};

/// Prints the schema.
pub(crate) fn schema(console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    writeln!(console.out, "{:#}", crate::scenario::schema()).map_err(Failure::stdout)?;
    Ok(ExitCode::Ok)
}
