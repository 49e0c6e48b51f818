//! `simctl report`: shows a result again from what is on disk.

use super::args::{Format, ReportArgs};
use super::console::Console;
use super::{ExitCode, Failure, run};
use crate::output::read_summary;
use crate::report::{overview_path, write_charts};

/// Prints the summary of a result folder and redraws its charts.
pub(crate) fn report(args: &ReportArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let summary = read_summary(&args.folder)?;
    if !args.show.no_charts {
        write_charts(&args.folder, run::scale(args.show.latency_axis))?;
    }
    if args.show.format() == Format::Json {
        run::print_json(std::slice::from_ref(&summary), console)?;
    } else {
        run::print(&summary, &args.show, console)?;
    }
    if !args.show.no_charts {
        console.say(&format!("drew {}", overview_path(&args.folder).display()));
    }
    let missed = args.show.check && summary.objectives_missed() > 0;
    Ok(if missed { ExitCode::ObjectiveMissed } else { ExitCode::Ok })
}
