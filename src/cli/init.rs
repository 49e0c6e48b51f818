//! `simctl init`: a commented scenario to start from.

use std::fs::File;
use std::io::{self, Write};

use super::args::InitArgs;
use super::console::Console;
use super::{ExitCode, Failure};
use crate::output::OutputError;
use crate::scenario::starter;

/// Writes the starter to a new file, or to standard output.
pub(crate) fn init(args: &InitArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let Some(path) = &args.path else {
        console.out.write_all(starter().as_bytes()).map_err(Failure::stdout)?;
        return Ok(ExitCode::Ok);
    };
    let mut file = File::create_new(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = format!("{} exists and is left as it is; name a file that does not", path.display());
            Failure::Other(ExitCode::Io, message)
        }
        _ => OutputError::io("create", path, e).into(),
    })?;
    if let Err(e) = file.write_all(starter().as_bytes()) {
        drop(file);
        // Half a scenario is worse than none.
        let _ = std::fs::remove_file(path);
        return Err(OutputError::io("write", path, e).into());
    }
    console.say(&format!("wrote {}; next: simctl run {}", path.display(), path.display()));
    Ok(ExitCode::Ok)
}
