//! `simctl search`: the cheapest configuration that keeps the objectives.

use std::path::Path;

use super::args::{Format, SearchArgs};
use super::compare::{mark, print, usage};
use super::console::Console;
use super::many::{Session, find_figure, found_warm_up, shown};
use super::run::load_variants;
use super::sweep::{axes, invalid_note, load_space, origin, store_of};
use super::{ExitCode, Failure};
use crate::experiment::search::{Goal, SEARCH_SCHEMA, Search, SearchResult, Trial, patch, shown_share};
use crate::experiment::statistics::{factorial, latin_hypercube};
use crate::experiment::sweep::number;
use crate::experiment::{CompareOptions, Engine, LEVEL, Study, Variant, Wanted, compare};
use crate::kernel::Streams;
use crate::output::{OutputFolder, STUDY_FILE};
use crate::report::{write_search, write_search_charts, write_search_markdown};
use crate::scenario::axis::Axis;
use crate::scenario::model::Search as Asked;

/// Most configurations of a space.
const MOST: usize = 100_000;

/// The first replication of those that confirm: far from all that were used to choose.
const FRESH_FROM: u32 = 1_000_000;

/// Searches.
pub(crate) fn search(args: &SearchArgs, console: &mut Console<'_>, engine: Engine) -> Result<ExitCode, Failure> {
    let (origin, _unpacked) = origin(args.file.as_deref(), args.example.as_deref())?;
    let mut patched = args.patch.clone();
    patched.sets.extend(args.seed.map(|seed| format!("simulation.seed={seed}")));
    let mut base = load_variants(&origin.path, &patched)?;
    if let Some(set) = found_warm_up(&args.many, &base, console, engine)? {
        patched.sets.push(set);
        base = load_variants(&origin.path, &patched)?;
    }
    let [base] = base.as_slice() else {
        return Err(usage("a search is in one variant: name one with --variant".to_owned()));
    };
    if base.plan.objectives.is_empty() {
        return Err(usage(format!("{} has no [objectives]: without them nothing is the cheapest", origin.said)));
    }
    let asked = base.search.clone();
    let axes = space(asked.as_ref(), &args.vary)?;
    let grids = axes.iter().map(|axis| {
        axis.values.grid().ok_or_else(|| {
            usage(format!("a search needs to know how many values `{}` takes: write FROM..TO:N", axis.address))
        })
    });
    let grids: Vec<Vec<String>> = grids.collect::<Result<_, _>>()?;
    let levels: Vec<usize> = grids.iter().map(Vec::len).collect();
    let size = levels.iter().try_fold(1_usize, |n, &l| n.checked_mul(l)).unwrap_or(usize::MAX);
    if size > MOST {
        return Err(usage(format!("the space has more than {MOST} configurations: take fewer values")));
    }
    let places = factorial(&levels).map_err(|e| usage(format!("[search.space]: {e}")))?;
    let values: Vec<Vec<String>> =
        places.iter().map(|p| p.iter().zip(&grids).map(|(&level, grid)| grid[level].clone()).collect()).collect();
    let goal = goal(args, asked.as_ref(), base)?;
    let space = load_space(&origin, &patched, &axes, &values)?;

    let root = Path::new("output").join(&base.name);
    let place = args.out.clone().unwrap_or_else(|| root.join("search"));
    let plans: Vec<(String, String)> = space.points.iter().map(|p| (p.label.clone(), p.hash.clone())).collect();
    let asked_for =
        format!("{} {} {} {} {}", goal.minimise.address(), goal.hold, goal.confidence, goal.replications, args.first);
    let mark = mark("search", plans, &asked_for);
    let folder = OutputFolder::create(&place, &mark.hash, args.force)?;

    let first = first(&levels, args.first as usize, base.plan.simulation.seed, &places);
    let mut state = Search::new(goal, levels, places, &first).map_err(|e| usage(e.to_string()))?;
    let mut point_of: Vec<Option<usize>> = vec![None; values.len()];
    for (point, &candidate) in space.of_point.iter().enumerate() {
        point_of[candidate] = Some(point);
    }
    for (candidate, why) in state.candidates.iter_mut().zip(&space.invalid) {
        candidate.invalid.clone_from(why);
    }
    let mut session = Session::new(space.points, &args.many, store_of(&root), engine);
    let mut round = 0;
    loop {
        let wanted = state.next();
        if wanted.is_empty() {
            break;
        }
        round += 1;
        let runs: Vec<Wanted> = wanted
            .iter()
            .map(|w| Wanted { point: point_of[w.point].unwrap_or_default(), replication: w.replication })
            .collect();
        let title = format!("{}: round {round}", base.name);
        let results = session.make(&runs, &title, console)?;
        let goal = state.goal().clone();
        for (want, record) in wanted.into_iter().zip(results) {
            state.add(want, record.map(|r| Trial::of(&r, &goal)));
        }
    }
    let shown_to_keep = state.shown();
    let nearest = if shown_to_keep.is_empty() { state.nearest() } else { None };
    let finalists: Vec<usize> = match nearest {
        Some(one) => vec![one],
        None => shown_to_keep.iter().take(2).copied().collect(),
    };
    let mut fresh: Vec<Variant> = Vec::new();
    let fresh_runs = state.goal().replications;
    if !finalists.is_empty() {
        let wanted: Vec<Wanted> = (FRESH_FROM..FRESH_FROM + fresh_runs)
            .flat_map(|replication| {
                let of = |&c: &usize| Wanted { point: point_of[c].unwrap_or_default(), replication };
                finalists.iter().map(of).collect::<Vec<_>>()
            })
            .collect();
        let results = session.make(&wanted, &format!("{}: fresh replications", base.name), console)?;
        for (i, &candidate) in finalists.iter().enumerate() {
            let point = point_of[candidate].unwrap_or_default();
            let runs = wanted.iter().zip(&results).filter(|(w, _)| w.point == point).filter_map(|(_, r)| r.clone());
            let name = ["winner", "runner-up"][i.min(1)];
            let name = if nearest.is_some() { "nearest" } else { name };
            fresh.push(Variant { label: format!("{name} ({})", session.points[point].label), runs: runs.collect() });
        }
    }
    session.say_reused(console);
    let studies: Vec<Study> = fresh
        .iter()
        .map(|v| {
            let mut study = Study::of(&v.label, &v.runs, LEVEL);
            study.trends.clear();
            study
        })
        .collect();
    let sentence = match fresh.len() {
        2 => {
            compare(&fresh, &CompareOptions::default()).against.first().map(|a| a.sentence.clone()).unwrap_or_default()
        }
        _ => String::new(),
    };
    let goal = state.goal();
    let addresses: Vec<String> = axes.iter().map(|a| a.address.clone()).collect();
    let winner = shown_to_keep.first().copied();
    let mut notes: Vec<String> = invalid_note(&space.invalid).into_iter().collect();
    let tried = state.candidates.iter().filter(|c| c.tried).count();
    if tried < size {
        notes.push(format!("{} of {size} configurations were not tried", size - tried));
    }
    notes.push(crate::output::NOTE_UNCALIBRATED.to_owned());
    let result = SearchResult {
        schema: SEARCH_SCHEMA.to_owned(),
        scenario: base.name.clone(),
        minimise: goal.minimise.address(),
        unit: goal.minimise.measure.unit.to_owned(),
        hold: goal.hold,
        confidence: goal.confidence,
        replications: goal.replications,
        short: axes.iter().map(|a| a.short().to_owned()).collect(),
        size,
        spent: state.spent(),
        fresh_runs: fresh_runs as usize * finalists.len(),
        candidates: state.table(&values),
        winner,
        runner_up: shown_to_keep.get(1).copied(),
        nearest,
        shown_share: studies.iter().map(|s| shown_share(s, goal.confidence).ok()).collect(),
        fresh: studies,
        sentence,
        patch: winner.map_or_else(String::new, |w| patch("found", &addresses, &values[w])),
        axes: addresses,
        notes,
    };
    folder.write_json(STUDY_FILE, &mark)?;
    folder.write_json("search.json", &result)?;
    let (header, rows) = candidate_table(&result);
    folder.write_table("candidates.csv", &header, &rows)?;
    if winner.is_some() {
        folder.write("found.toml", result.patch.as_bytes())?;
    }
    if !args.show.no_charts {
        write_search_charts(folder.path(), &result)?;
    }
    let place = folder.finish()?;
    match args.show.format() {
        Format::Json => print(console, &crate::output::document(&result))?,
        Format::Markdown => write_search_markdown(console.out, &result).map_err(Failure::stdout)?,
        Format::Text if console.quiet => {}
        Format::Text => {
            write_search(console.out, &result, console.style).map_err(Failure::stdout)?;
            let first = if args.show.no_charts { "" } else { "charts/, " };
            let found = if winner.is_some() { "found.toml, " } else { "" };
            print(console, &format!("\nwrote {}/ ({first}{found}candidates.csv, search.json)\n", shown(&place)))?;
        }
    }
    session.say_failures(console);
    // Without a winner there is no answer, whoever asks.
    Ok(if winner.is_some() { session.end() } else { session.end().worst(ExitCode::ObjectiveMissed) })
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
        hold: args.many.hold.or(asked.map(|a| a.hold)).unwrap_or(crate::experiment::HOLD),
        confidence: asked.map_or(0.95, |a| a.confidence),
        replications: args.many.replications.or(asked.map(|a| a.replications)).unwrap_or(30),
    })
}

/// The candidates that are run first: all, or a Latin hypercube over the grid.
fn first(levels: &[usize], most: usize, seed: u64, places: &[Vec<usize>]) -> Vec<usize> {
    if places.len() <= most {
        return (0..places.len()).collect();
    }
    let mut stream = Streams::new(seed, 0).stream("search/first");
    let sample = latin_hypercube(most, levels.len(), &mut stream).unwrap_or_default();
    let mut first: Vec<usize> = sample
        .iter()
        .map(|u| u.iter().zip(levels).fold(0, |index, (u, &n)| index * n + ((u * n as f64) as usize).min(n - 1)))
        .collect();
    first.sort_unstable();
    first.dedup();
    first
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
