//! `simctl sweep`: a grid or a sample of settings, every point with its replications.

use std::path::{Path, PathBuf};

use super::args::{Format, Patch, SweepArgs};
use super::compare::{mark, print, usage};
use super::console::Console;
use super::many::{Session, found_warm_up, reserve, shown};
use super::run::{Origin, load_one, load_variants, reproduce};
use super::{ExitCode, Failure, examples};
use crate::experiment::sweep::{
    Design, PointRuns, SweepResult, point_table, run_table, sensitivity_table, sweep as judge,
};
use crate::experiment::{Engine, LEVEL, Space, SpaceError};
use crate::output::{OutputFolder, STUDY_FILE, StudyMark};
use crate::report::{write_sweep, write_sweep_charts, write_sweep_markdown};
use crate::scenario::Loaded;
use crate::scenario::axis::Axis;
use crate::scenario::diagnostic::Diagnostics;

/// Replications of each point, unless somebody says otherwise.
const REPLICATIONS: u32 = 5;

/// Most runs that a sweep makes without being told in so many words.
const MOST_RUNS: usize = 1_000_000;

/// Sweeps.
pub(crate) fn sweep(args: &SweepArgs, console: &mut Console<'_>, engine: Engine) -> Result<ExitCode, Failure> {
    let (origin, _unpacked) = origin(args.file.as_deref(), args.example.as_deref())?;
    let axes = axes(&args.vary)?;
    let mut patch = args.study.patch.clone();
    patch.sets.extend(args.study.seed.map(|seed| format!("simulation.seed={seed}")));
    let mut base = load_variants(&origin.path, &patch)?;
    if let Some(set) = found_warm_up(&args.study.many, &base, console, engine)? {
        patch.sets.push(set);
        base = load_variants(&origin.path, &patch)?;
    }
    let [base] = base.as_slice() else {
        return Err(usage("a sweep is of one variant: name one with --variant".to_owned()));
    };
    let design = args.sample.unwrap_or(Design::Grid);
    let places = design.points(&axes, base.plan.simulation.seed).map_err(|e| usage(format!("--vary: {e}")))?;
    let replications = args.study.many.replications.unwrap_or(REPLICATIONS);
    if places.len().saturating_mul(replications as usize) > MOST_RUNS {
        return Err(usage(format!(
            "{} points with {replications} replications are more than {MOST_RUNS} runs: take fewer values, or a --sample",
            places.len()
        )));
    }
    let space = load_space(&origin, &patch, &args.vary, axes, places, args.study.many.jobs(), console)?;

    let root = Path::new("output").join(&base.name);
    let place = args.study.out.clone().unwrap_or_else(|| root.join("sweep"));
    let plans: Vec<(String, String)> = space.points.iter().map(|p| (p.label.clone(), p.hash.clone())).collect();
    let mark = mark("sweep", plans, &format!("{design:?} {replications} {:?}", args.vary));
    reserve(&place, &mark.hash, args.study.force)?;
    let n = space.points.len();
    let title = format!("{}: {n} point{}", base.name, if n == 1 { "" } else { "s" });
    let Space { axes, values, points, of_point, invalid } = space;
    let mut session = Session::new(points, &args.study.many, store_of(&root), engine);
    session.extend(0, replications, &title, console)?;
    session.say_reused(console);
    session.say_failures(console);

    let mut runs = std::mem::take(&mut session.runs).into_iter();
    let points: Vec<PointRuns> = values
        .into_iter()
        .zip(&invalid)
        .enumerate()
        .map(|(i, (values, invalid))| PointRuns {
            values,
            invalid: invalid.clone(),
            runs: if invalid.is_none() { runs.next().unwrap_or_default() } else { Vec::new() },
            failures: session.failures.iter().filter(|f| of_point[f.wanted.point] == i).cloned().collect(),
        })
        .collect();
    let mut result = judge(&base.name, design, &axes, replications, &points, LEVEL);
    result.notes.splice(0..0, invalid_note(&invalid));
    let place = session.or_kept(write(&place, &mark, &axes, &points, &result, args))?;
    let hold = args.study.many.hold();
    match args.study.show.format() {
        Format::Json => print(console, &crate::output::document(&result))?,
        Format::Markdown => write_sweep_markdown(console.out, &result, hold).map_err(Failure::stdout)?,
        Format::Text if console.quiet => {}
        Format::Text => {
            write_sweep(console.out, &result, hold, console.style).map_err(Failure::stdout)?;
            let first = if args.study.show.no_charts { "" } else { "charts/, " };
            print(
                console,
                &format!("\nwrote {}/ ({first}sweep.csv, points.csv, sensitivity.csv, sweep.json)\n", shown(&place)),
            )?;
        }
    }
    let invalid = invalid.iter().any(Option::is_some);
    let mut end = if invalid { session.end().worst(ExitCode::SomeFailed) } else { session.end() };
    if args.study.show.check
        && !result.points.iter().any(|p| p.invalid.is_none() && p.study.missed(hold).next().is_none())
    {
        end = end.worst(ExitCode::ObjectiveMissed);
    }
    Ok(end)
}

/// Writes the folder.
fn write(
    place: &Path,
    mark: &StudyMark,
    axes: &[Axis],
    points: &[PointRuns],
    result: &SweepResult,
    args: &SweepArgs,
) -> Result<PathBuf, Failure> {
    let folder = OutputFolder::create(place, &mark.hash, args.study.force)?;
    folder.write_json(STUDY_FILE, mark)?;
    folder.write_json("sweep.json", result)?;
    let (header, rows) = run_table(axes, points);
    folder.write_table("sweep.csv", &header, &rows)?;
    #[cfg(feature = "parquet")]
    folder.write(
        "sweep.parquet",
        &crate::output::parquet(&header, &rows).map_err(|e| Failure::Other(ExitCode::Io, e))?,
    )?;
    let (header, rows) = point_table(result);
    folder.write_table("points.csv", &header, &rows)?;
    let (header, rows) = sensitivity_table(result);
    folder.write_table("sensitivity.csv", &header, &rows)?;
    if !args.study.show.no_charts {
        write_sweep_charts(folder.path(), result)?;
    }
    Ok(folder.finish()?)
}

/// The scenario: a file, or one that comes with simctl.
pub(super) fn origin(file: Option<&Path>, example: Option<&str>) -> Result<(Origin, examples::Unpacked), Failure> {
    let names: Vec<String> = example.map(ToOwned::to_owned).into_iter().collect();
    let mut unpacked = examples::unpack(&names)?;
    let origin = match (unpacked.origins.pop(), file) {
        (Some(origin), _) => origin,
        (None, Some(path)) => Origin { path: path.to_path_buf(), said: path.display().to_string() },
        (None, None) => return Err(usage("name a scenario file".to_owned())),
    };
    Ok((origin, unpacked))
}

/// The axes; an address may stand only once.
pub(super) fn axes(texts: &[String]) -> Result<Vec<Axis>, Failure> {
    let mut axes: Vec<Axis> = Vec::new();
    let mut found = Diagnostics::default();
    for text in texts {
        match Axis::parse(text, "--vary") {
            Ok(axis) if axes.iter().any(|a| a.address == axis.address) => {
                return Err(usage(format!("--vary: `{}` stands there twice", axis.address)));
            }
            Ok(axis) => axes.push(axis),
            Err(wrong) => {
                let base = u32::try_from(found.sources.len()).unwrap_or(u32::MAX);
                found.sources.extend(wrong.sources);
                found.items.extend(wrong.items.into_iter().map(|mut d| {
                    if let Some(span) = &mut d.span {
                        span.source += base;
                    }
                    d
                }));
            }
        }
    }
    if found.items.is_empty() { Ok(axes) } else { Err(found.into()) }
}

/// Loads every point of a space.
///
/// # Errors
/// When an address or the kind of a value is wrong, or no combination can run: then with the findings.
pub(super) fn load_space(
    origin: &Origin,
    patch: &Patch,
    vary: &[String],
    axes: Vec<Axis>,
    values: Vec<Vec<String>>,
    jobs: usize,
    console: &mut Console<'_>,
) -> Result<Space, Failure> {
    if values.len() > 2_000 {
        console.say(&format!("reading {} configurations", values.len()));
    }
    let addresses: Vec<String> = axes.iter().map(|a| a.address.clone()).collect();
    let here = |sets: &[String]| {
        let mut here = patch.clone();
        here.sets.extend_from_slice(sets);
        here
    };
    let load = |sets: &[String]| load_one(&origin.path, &here(sets), patch.variants.first().map(String::as_str));
    let command = |loaded: &Loaded, sets: &[String]| reproduce(&origin.said, loaded, &here(sets), None);
    Space::load(axes, values, jobs, load, command).map_err(|e| match e {
        SpaceError::Scenario(mut found) => {
            // Where the values really stand.
            for source in found.sources.iter_mut().filter(|s| s.name == "--set") {
                let is_of =
                    |address: &&String| source.text.strip_prefix(address.as_str()).is_some_and(|t| t.starts_with('='));
                if let Some(address) = addresses.iter().find(is_of) {
                    let said = vary.iter().any(|v| v.trim_start().starts_with(address.as_str()));
                    source.name = if said { "--vary" } else { "[search.space]" }.to_owned();
                }
            }
            found.into()
        }
        SpaceError::Hopeless(why) => usage(format!("no point can meet its objectives: {why}")),
    })
}

/// Says how many points could not run, and why the first could not.
pub(super) fn invalid_note(invalid: &[Option<String>]) -> Option<String> {
    let n = invalid.iter().flatten().count();
    let first = invalid.iter().flatten().next()?;
    Some(format!("{n} of {} points cannot run, for example because {first}", invalid.len()))
}

/// Where the store of a scenario is.
pub(super) fn store_of(root: &Path) -> PathBuf {
    root.join(".runs")
}
