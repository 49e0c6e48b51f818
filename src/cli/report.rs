//! `simctl report`: shows a result again from what is on disk.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::args::{Format, ReportArgs};
use super::console::Console;
use super::{ExitCode, Failure, run};
use crate::experiment::search::SearchResult;
use crate::experiment::sweep::SweepResult;
use crate::experiment::{Comparison, HOLD, Study};
use crate::output::{OutputError, STUDY_FILE, document, read_mark, read_summary};
use crate::report::{
    overview_path, write_charts, write_comparison, write_comparison_charts, write_comparison_markdown, write_search,
    write_search_charts, write_search_markdown, write_study_charts, write_sweep, write_sweep_charts,
    write_sweep_markdown,
};

/// Name of the file that holds the figures of many replications of one run.
pub(super) const REPLICATIONS: &str = "replications.json";

/// Prints the summary of a result folder and redraws its charts.
pub(crate) fn report(args: &ReportArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let folder = args.folder.as_path();
    if folder.join(STUDY_FILE).exists() {
        return many(args, folder, console);
    }
    let summary = read_summary(folder)?;
    let study: Option<Study> =
        if folder.join(REPLICATIONS).exists() { Some(read(folder, REPLICATIONS)?) } else { None };
    if !args.show.no_charts {
        write_charts(folder, run::scale(args.show.latency_axis))?;
        if let Some(study) = &study {
            write_study_charts(folder, study)?;
        }
    }
    match (&study, args.show.format()) {
        (None, Format::Json) => run::print_json(&[summary.to_json()], console)?,
        (None, _) => run::print(&summary, &args.show, console)?,
        (Some(study), Format::Json) => run::print_json(&[document(study)], console)?,
        (Some(study), _) => run::print_study(study, HOLD, &args.show, console)?,
    }
    if !args.show.no_charts {
        console.say(&format!("drew {}", overview_path(folder).display()));
    }
    let missed = study.map_or_else(|| summary.objectives_missed() > 0, |s| s.missed(HOLD).next().is_some());
    Ok(if args.show.check && missed { ExitCode::ObjectiveMissed } else { ExitCode::Ok })
}

/// A folder that holds a comparison, a sweep or a search.
fn many(args: &ReportArgs, folder: &Path, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let (out, style, format, charts) = (&mut *console.out, console.style, args.show.format(), !args.show.no_charts);
    let text = !console.quiet;
    let mut failed = false;
    match read_mark(folder)?.kind.as_str() {
        "compare" => {
            let found: Comparison = read(folder, "comparison.json")?;
            if charts {
                write_comparison_charts(folder, &found)?;
            }
            failed = !found.fails(HOLD).is_empty();
            match format {
                Format::Json => write!(out, "{}", document(&found)),
                Format::Markdown => write_comparison_markdown(out, &found, HOLD),
                Format::Text if text => write_comparison(out, &found, HOLD, style),
                Format::Text => Ok(()),
            }
        }
        "sweep" => {
            let found: SweepResult = read(folder, "sweep.json")?;
            if charts {
                write_sweep_charts(folder, &found)?;
            }
            match format {
                Format::Json => write!(out, "{}", document(&found)),
                Format::Markdown => write_sweep_markdown(out, &found, HOLD),
                Format::Text if text => write_sweep(out, &found, HOLD, style),
                Format::Text => Ok(()),
            }
        }
        "search" => {
            let found: SearchResult = read(folder, "search.json")?;
            if charts {
                write_search_charts(folder, &found)?;
            }
            failed = found.winner.is_none();
            match format {
                Format::Json => write!(out, "{}", document(&found)),
                Format::Markdown => write_search_markdown(out, &found),
                Format::Text if text => write_search(out, &found, style),
                Format::Text => Ok(()),
            }
        }
        other => {
            let reason = format!("it holds a `{other}`, which this version does not know");
            return Err(OutputError::Malformed { path: folder.join(STUDY_FILE), reason }.into());
        }
    }
    .map_err(Failure::stdout)?;
    Ok(if args.show.check && failed { ExitCode::ObjectiveMissed } else { ExitCode::Ok })
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T, Failure> {
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).map_err(|e| OutputError::io("read", &path, e))?;
    serde_json::from_str(&text).map_err(|e| OutputError::Malformed { path, reason: e.to_string() }.into())
}
