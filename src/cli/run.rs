//! `simctl run`: loads scenarios, simulates them, writes and prints the results.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::args::{Format, LatencyAxis, Patch, RunArgs, Show};
use super::console::{Console, INTERRUPT};
use super::many::{Session, found_warm_up, wish};
use super::progress::Progress;
use super::{ExitCode, Failure, examples, panic};
use crate::experiment::{CHECK_SCHEDULE, Engine, EngineError, Job, LEVEL, Point, Study};
use crate::output::{OutputFolder, Summary};
use crate::report::{
    LatencyScale, write_charts, write_markdown, write_study, write_study_charts, write_study_markdown, write_summary,
};
use crate::scenario::diagnostic::Diagnostics;
use crate::scenario::{BASE, LoadOptions, Loaded, load, plan_hash};

/// One scenario file, with the name that people gave it.
pub(crate) struct Origin {
    pub(crate) path: PathBuf,
    /// What reproduces it on the command line.
    pub(crate) said: String,
}

/// Runs every variant of every scenario that was asked for, one after the other.
pub(crate) fn run(args: &RunArgs, console: &mut Console<'_>, engine: Engine) -> Result<ExitCode, Failure> {
    if args.examples.iter().any(|e| e == "list") {
        for example in examples::ALL {
            writeln!(console.out, "{:<20} {}", example.name, example.about()).map_err(Failure::stdout)?;
        }
        return Ok(ExitCode::Ok);
    }
    // Kept until the end: examples are read from there.
    let unpacked = examples::unpack(&args.examples)?;
    let mut origins: Vec<Origin> = unpacked.origins;
    origins.extend(args.files.iter().map(|path| Origin { path: path.clone(), said: path.display().to_string() }));

    let mut patch = args.patch.clone();
    patch.sets.extend(args.seed.map(|seed| format!("simulation.seed={seed}")));
    let mut jobs = Vec::new();
    for origin in &origins {
        let mut all = load_variants(&origin.path, &patch)?;
        if let Some(set) = found_warm_up(&args.many, &all, console, engine)? {
            let mut settled = patch.clone();
            settled.sets.push(set);
            all = load_variants(&origin.path, &settled)?;
        }
        jobs.extend(all.into_iter().map(|loaded| (origin, loaded)));
    }
    let many_files = origins.len() > 1;
    let many = jobs.len() > 1;
    let mut documents = Vec::new();
    let mut end = ExitCode::Ok;
    for (origin, loaded) in &jobs {
        super::check::refuse_impossible(loaded, console)?;
        let folder = match &args.out {
            None => match args.replication {
                Some(k) if k > 0 => {
                    Path::new("output").join(&loaded.name).join(format!("{}-replication-{k}", loaded.variant))
                }
                _ => Path::new("output").join(&loaded.name).join(&loaded.variant),
            },
            Some(out) if many_files => out.join(&loaded.name).join(&loaded.variant),
            Some(out) if many => out.join(&loaded.variant),
            Some(out) => out.clone(),
        };
        let ran = one(args, loaded, &origin.said, &folder, console, engine)?;
        end = end.worst(ran.end);
        documents.push(ran.json);
    }
    if args.show.format() == Format::Json {
        print_json(&documents, console)?;
    }
    Ok(end)
}

/// Loads the variants that were asked for.
pub(crate) fn load_variants(path: &Path, patch: &Patch) -> Result<Vec<Loaded>, Failure> {
    if patch.variants.is_empty() {
        return Ok(vec![load_one(path, patch, None)?]);
    }
    let mut loaded = Vec::new();
    for name in &patch.variants {
        if name == "all" {
            let base = load_one(path, patch, None)?;
            let others = base.variants.iter().filter(|v| *v != BASE).cloned().collect::<Vec<_>>();
            loaded.push(base);
            for other in others {
                loaded.push(load_one(path, patch, Some(&other))?);
            }
        } else {
            loaded.push(load_one(path, patch, Some(name))?);
        }
    }
    Ok(loaded)
}

/// Loads one variant.
pub(crate) fn load_one(path: &Path, patch: &Patch, variant: Option<&str>) -> Result<Loaded, Diagnostics> {
    let options = LoadOptions {
        sets: patch.sets.clone(),
        variant: variant.filter(|v| *v != BASE).map(ToOwned::to_owned),
        allow_outside: patch.allow_outside,
        check_schedule: Some(CHECK_SCHEDULE),
        header: vec![format!("prices of {}", super::catalog_date())],
    };
    load(path, &options)
}

/// Runs one plan into its folder and prints what it showed. True when an objective is missed.
fn one(
    args: &RunArgs,
    loaded: &Loaded,
    said: &str,
    place: &Path,
    console: &mut Console<'_>,
    engine: Engine,
) -> Result<Ran, Failure> {
    if !loaded.warnings.is_empty() && !console.quiet {
        let text = if console.json_errors {
            format!("{:#}\n", loaded.warnings.to_json())
        } else {
            loaded.warnings.render(console.err_color)
        };
        let _ = write!(console.err, "{text}");
    }
    for file in &loaded.files {
        console.detail(&format!("read {} ({})", file.path.display(), file.hash.chars().take(8).collect::<String>()));
    }
    let hash = plan_hash(&loaded.plan, &loaded.inputs);
    let again = reproduce(said, loaded, &args.patch, args.seed);
    panic::running(&hash, loaded.plan.simulation.seed, &again);
    let replication = args.replication.unwrap_or(0);
    let create = || OutputFolder::of_replication(place, &hash, replication, args.force);
    // Made and dropped: what may not stand there is told before the runs, and a kill during them leaves no trace.
    drop(create()?);
    let others = replicate(args, loaded, &again, &hash, console, engine)?;

    let folder = create()?;
    let mut rows = folder.rows()?;
    let label = format!("{}/{}", loaded.name, loaded.variant);
    let simulation = &loaded.plan.simulation;
    let mut progress = Progress::start(console, &label, simulation.duration, simulation.seed, &hash);
    let job = Job { loaded, plan_hash: &hash, replication, interrupt: Some(&INTERRUPT) };
    panic::running(&hash, loaded.plan.simulation.seed, &again);
    let record = match engine(&job, &mut rows, &mut |now| progress.at(now)) {
        Ok(record) => record,
        Err(e) => {
            progress.abandon();
            return Err(e.into());
        }
    };
    progress.done(console, record.summary.meta.events);
    rows.close()?;
    folder.write_plan(&loaded.plan_toml)?;
    let (runs, others) = match others {
        None => (vec![record], None),
        Some((session, precise)) => {
            let mut runs = vec![record];
            runs.extend(session.runs.iter().flatten().cloned());
            (runs, Some((session, precise)))
        }
    };
    let summaries: Vec<Summary> = runs.iter().map(|r| r.summary.clone()).collect();
    folder.write_summary(&summaries[0], &summaries)?;
    let study = others.as_ref().map(|_| Study::of(&label, &runs, LEVEL));
    if let Some(study) = &study {
        folder.write_json(super::report::REPLICATIONS, study)?;
    }
    if !args.show.no_charts {
        let started = Instant::now();
        let mut names = write_charts(folder.path(), scale(args.show.latency_axis))?;
        if let Some(study) = &study {
            names.extend(write_study_charts(folder.path(), study)?);
        }
        let seconds = started.elapsed().as_secs_f64();
        console.detail(&format!("drew {} charts in {seconds:.2} s: {}", names.len(), names.join(", ")));
    }
    if INTERRUPT.load(Ordering::SeqCst) {
        return Err(EngineError::Interrupted("after the simulation".into()).into());
    }
    let place = folder.finish()?;
    panic::done();
    let hold = args.many.hold();
    let [summary, ..] = &summaries[..] else { return Err(Failure::Other(ExitCode::Unexpected, "no run".into())) };
    match &study {
        None => print(summary, &args.show, console)?,
        Some(study) => print_study(study, hold, &args.show, console)?,
    }
    if args.show.format() == Format::Text {
        wrote(&place, !args.show.no_charts, console)?;
    }
    let missed = match &study {
        None => summary.objectives_missed() > 0,
        Some(study) => study.missed(hold).next().is_some(),
    };
    let mut end = ExitCode::Ok;
    if let Some((session, precise)) = &others {
        session.say_reused(console);
        session.say_failures(console);
        end = session.end();
        if !precise {
            end = end.worst(ExitCode::Undecided);
        }
    }
    if args.show.check && missed {
        end = end.worst(ExitCode::ObjectiveMissed);
    }
    let json = match &study {
        None => summary.to_json(),
        Some(study) => crate::output::document(study),
    };
    Ok(Ran { json, end })
}

/// What is left of a run when its folder is written.
struct Ran {
    /// Its document.
    json: String,
    end: ExitCode,
}

/// Makes the replications beyond the first, if there are to be any; whether they are as many as the wanted
/// precision needs stands beside them.
fn replicate<'e>(
    args: &RunArgs,
    loaded: &Loaded,
    again: &str,
    hash: &str,
    console: &mut Console<'_>,
    engine: Engine,
) -> Result<Option<(Session<'e>, bool)>, Failure> {
    let n = args.many.replications.unwrap_or(1);
    let wish = wish(&args.until, loaded)?;
    if n < 2 && wish.is_none() {
        return Ok(None);
    }
    let label = format!("{}/{}", loaded.name, loaded.variant);
    let point =
        Point { loaded: loaded.clone(), hash: hash.to_owned(), label: label.clone(), command: again.to_owned() };
    let store = Path::new("output").join(&loaded.name).join(".runs");
    let mut session = Session::new(vec![point], &args.many, store, engine);
    let precise = session.replicate(n, wish.as_ref(), &label, console, |session, figure| {
        let study = Study::of("", &session.runs[0], LEVEL);
        let found = study.figure(&figure.address())?;
        Some((found.point?, found.interval.map(|(low, high)| (high - low) / 2.0)?))
    })?;
    // The first is run once more, in detail.
    if session.runs[0].first().is_some_and(|r| r.summary.meta.replication == 0) {
        session.runs[0].remove(0);
    }
    Ok(Some((session, precise)))
}

/// Prints a study as text or Markdown.
pub(super) fn print_study(study: &Study, hold: f64, show: &Show, console: &mut Console<'_>) -> Result<(), Failure> {
    match show.format() {
        Format::Text if console.quiet => Ok(()),
        Format::Text => write_study(console.out, study, hold, console.style).map_err(Failure::stdout),
        Format::Markdown => write_study_markdown(console.out, study, hold).map_err(Failure::stdout),
        Format::Json => Ok(()),
    }
}

/// The command that gives the same result again.
pub(super) fn reproduce(said: &str, loaded: &Loaded, patch: &Patch, seed: Option<u64>) -> String {
    // What is said of an example is an option and its value.
    let mut command = match said.strip_prefix("--example ") {
        Some(name) => format!("simctl run --example {}", quoted(name)),
        None => format!("simctl run {}", quoted(said)),
    };
    if loaded.variant != BASE {
        command += &format!(" --variant {}", quoted(&loaded.variant));
    }
    for set in &patch.sets {
        command += &format!(" --set {}", quoted(set));
    }
    if let Some(seed) = seed {
        command += &format!(" --seed {seed}");
    }
    if patch.allow_outside {
        command += " --allow-outside";
    }
    command
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The axis of the arguments as that of the charts.
pub(crate) const fn scale(axis: LatencyAxis) -> LatencyScale {
    match axis {
        LatencyAxis::Auto => LatencyScale::Auto,
        LatencyAxis::Linear => LatencyScale::Linear,
        LatencyAxis::Log => LatencyScale::Log,
    }
}

/// Prints a summary as text or Markdown.
pub(crate) fn print(summary: &Summary, show: &Show, console: &mut Console<'_>) -> Result<(), Failure> {
    match show.format() {
        Format::Text if console.quiet => Ok(()),
        Format::Text => write_summary(console.out, summary, console.style).map_err(Failure::stdout),
        Format::Markdown => write_markdown(console.out, summary).map_err(Failure::stdout),
        Format::Json => Ok(()),
    }
}

/// Prints JSON documents as one: as it is, or an array of several.
pub(crate) fn print_json(documents: &[String], console: &mut Console<'_>) -> Result<(), Failure> {
    let text = match documents {
        [one] => one.clone(),
        many => {
            let parts: Vec<&str> = many.iter().map(|d| d.trim_end()).collect();
            format!("[\n{}\n]\n", parts.join(",\n"))
        }
    };
    console.out.write_all(text.as_bytes()).and_then(|()| console.out.flush()).map_err(Failure::stdout)
}

/// Says where a result is and what to look at first.
fn wrote(place: &Path, charts: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    if console.quiet {
        return Ok(());
    }
    // Paths below the current folder are shorter from there.
    let here = std::env::current_dir().unwrap_or_default();
    let place = place.strip_prefix(&here).unwrap_or(place);
    let first = if charts { "charts/overview.svg, " } else { "" };
    writeln!(
        console.out,
        "\nwrote {}/ ({first}summary.json, services.csv, decisions.csv, costs.csv...)",
        place.display()
    )
    .and_then(|()| console.out.flush())
    .map_err(Failure::stdout)
}

#[cfg(test)]
mod tests;
