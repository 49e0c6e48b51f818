//! `simctl search`: the cheapest configuration that keeps the objectives.

use std::path::Path;

use super::args::{Format, SearchArgs};
use super::compare::{mark, print, usage};
use super::console::Console;
use super::many::{Session, find_figure, found_warm_up, reserve, shown};
use super::run::load_variants;
use super::sweep::{axes, invalid_note, load_space, origin, store_of};
use super::{ExitCode, Failure};
use crate::experiment::Engine;
use crate::experiment::search::{Goal, Search, SearchResult, run_search};
use crate::experiment::sweep::{Design, number};
use crate::output::{OutputFolder, STUDY_FILE, StudyMark};
use crate::report::{write_search, write_search_charts, write_search_markdown};
use crate::scenario::axis::Axis;
use crate::scenario::model::Search as Asked;

/// Most configurations of a space.
const MOST: usize = 100_000;

/// Searches.
pub(crate) fn search(args: &SearchArgs, console: &mut Console<'_>, engine: Engine) -> Result<ExitCode, Failure> {
    let (origin, _unpacked) = origin(args.file.as_deref(), args.example.as_deref())?;
    let mut patched = args.study.patch.clone();
    patched.sets.extend(args.study.seed.map(|seed| format!("simulation.seed={seed}")));
    let mut base = load_variants(&origin.path, &patched)?;
    if let Some(set) = found_warm_up(&args.study.many, &base, console, engine)? {
        patched.sets.push(set);
        base = load_variants(&origin.path, &patched)?;
    }
    let [base] = base.as_slice() else {
        return Err(usage("a search is in one variant: name one with --variant".to_owned()));
    };
    if base.plan.objectives.is_empty() {
        return Err(usage(format!("{} has no [objectives]: without them nothing is the cheapest", origin.said)));
    }
    let axes = space(base.search.as_ref(), &args.vary)?;
    if let Some(open) = axes.iter().find(|axis| axis.values.grid().is_none()) {
        let message = "a search needs to know how many values";
        return Err(usage(format!("{message} `{}` takes: write FROM..TO:N or FROM..TO/STEP", open.address)));
    }
    let goal = goal(args, base.search.as_ref(), base)?;
    goal.affordable().map_err(|e| usage(e.to_string()))?;
    let seed = base.plan.simulation.seed;
    let values = Design::Grid.points(&axes, seed).ok().filter(|values| values.len() <= MOST);
    let values =
        values.ok_or_else(|| usage(format!("the space has more than {MOST} configurations: take fewer values")))?;
    let mut space = load_space(&origin, &patched, &args.vary, axes, values, args.study.many.jobs(), console)?;

    let root = Path::new("output").join(&base.name);
    let place = args.study.out.clone().unwrap_or_else(|| root.join("search"));
    let points = std::mem::take(&mut space.points);
    let plans: Vec<(String, String)> = points.iter().map(|p| (p.label.clone(), p.hash.clone())).collect();
    let asked_for =
        format!("{} {} {} {} {}", goal.minimise.address(), goal.hold, goal.confidence, goal.replications, args.first);
    let mark = mark("search", plans, &asked_for);
    reserve(&place, &mark.hash, args.study.force)?;

    let state = Search::over(goal, &space, args.first as usize, seed).map_err(|e| usage(e.to_string()))?;
    let mut session = Session::new(points, &args.study.many, store_of(&root), engine);
    let mut result = run_search(state, &space, &base.name, |wanted, what| {
        session.make(wanted, &format!("{}: {what}", base.name), console)
    })?;
    result.notes.splice(0..0, invalid_note(&space.invalid));
    session.say_reused(console);
    session.say_failures(console);
    let place = session.or_kept(write(&place, &mark, &result, args))?;
    match args.study.show.format() {
        Format::Json => print(console, &crate::output::document(&result))?,
        Format::Markdown => write_search_markdown(console.out, &result).map_err(Failure::stdout)?,
        Format::Text if console.quiet => {}
        Format::Text => {
            write_search(console.out, &result, console.style).map_err(Failure::stdout)?;
            let first = if args.study.show.no_charts { "" } else { "charts/, " };
            let found = if result.winner.is_some() { "found.toml, " } else { "" };
            print(console, &format!("\nwrote {}/ ({first}{found}candidates.csv, search.json)\n", shown(&place)))?;
        }
    }
    // Without a winner there is no answer, whoever asks.
    Ok(if result.winner.is_some() { session.end() } else { session.end().worst(ExitCode::ObjectiveMissed) })
}

/// Writes the folder.
fn write(
    place: &Path,
    mark: &StudyMark,
    result: &SearchResult,
    args: &SearchArgs,
) -> Result<std::path::PathBuf, Failure> {
    let folder = OutputFolder::create(place, &mark.hash, args.study.force)?;
    folder.write_json(STUDY_FILE, mark)?;
    folder.write_json("search.json", result)?;
    let (header, rows) = candidate_table(result);
    folder.write_table("candidates.csv", &header, &rows)?;
    if result.winner.is_some() {
        folder.write("found.toml", result.patch.as_bytes())?;
    }
    if !args.study.show.no_charts {
        write_search_charts(folder.path(), result)?;
    }
    Ok(folder.finish()?)
}

/// The axes of the scenario's space, with those of the command line in their place or after them.
fn space(asked: Option<&Asked>, vary: &[String]) -> Result<Vec<Axis>, Failure> {
    let mut all: Vec<Axis> = asked
        .map(|s| s.space.iter().map(|(a, v)| Axis { address: a.clone(), values: v.values.clone() }).collect())
        .unwrap_or_default();
    for axis in axes(vary)? {
        match all.iter_mut().find(|a| a.address == axis.address) {
            Some(place) => *place = axis,
            None => all.push(axis),
        }
    }
    if all.is_empty() {
        return Err(usage(
            "the search space is empty: add [search.space] with addresses and their values to the scenario, for example\n    \
             [search.space]\n    \"services.web.task.cpu\" = [512, 1024, 2048]\nor --vary ADDRESS=VALUES"
                .to_owned(),
        ));
    }
    Ok(all)
}

/// What is looked for, from the scenario and the command line.
fn goal(args: &SearchArgs, asked: Option<&Asked>, base: &crate::scenario::Loaded) -> Result<Goal, Failure> {
    let minimise = asked.map_or("cost_per_hour", |a| &a.minimise);
    let figure = find_figure(minimise, base).map_err(|e| usage(format!("search.minimise: {e}")))?;
    Ok(Goal {
        minimise: figure,
        hold: args.study.many.hold.or(asked.map(|a| a.hold)).unwrap_or(crate::experiment::HOLD),
        confidence: asked.map_or(0.95, |a| a.confidence),
        replications: args.study.many.replications.or(asked.map(|a| a.replications)).unwrap_or(30),
    })
}

/// One row per configuration that was tried.
fn candidate_table(result: &SearchResult) -> (Vec<String>, Vec<Vec<String>>) {
    let mut header = vec!["candidate".to_owned()];
    header.extend(result.axes.iter().cloned());
    let rest = ["runs", "broken", "excess", "breach_minutes", "tasks_started", "on_front", "outcome"];
    header.push(result.minimise.clone());
    header.extend(rest.map(ToOwned::to_owned));
    let text = |v: Option<f64>| v.map_or(String::new(), number);
    let rows = result.candidates.iter().map(|c| {
        let mut row = vec![c.index.to_string()];
        row.extend(c.values.iter().map(|v| v.trim_matches('"').to_owned()));
        row.extend([
            text(c.cost),
            c.runs.to_string(),
            c.broken.to_string(),
            text(c.excess),
            text(c.breach_minutes),
            text(c.churn),
            c.on_front.to_string(),
            c.outcome.clone(),
        ]);
        row
    });
    let rows = rows.collect();
    (header, rows)
}
