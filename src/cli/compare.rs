//! `simctl compare`: variants side by side over many replications, with a verdict.

use std::path::{Path, PathBuf};

use super::args::{CompareArgs, Format, Patch};
use super::console::Console;
use super::many::{Amount, BY_THE_HOUR, COST, Session, Wish, figure_and_amount, found_warm_up, reserve, shown, wish};
use super::run::{Origin, load_variants, reproduce};
use super::{ExitCode, Failure, examples};
use crate::experiment::compare::tables;
use crate::experiment::{CompareOptions, Comparison, Engine, Figure, Point, Variant, compare as judge};
use crate::output::{OutputFolder, STUDY_SCHEMA, StudyMark};
use crate::report::{write_comparison, write_comparison_charts, write_comparison_markdown};
use crate::scenario::diagnostic::nearest;
use crate::scenario::{BASE, Loaded};

/// Replications, unless somebody says otherwise.
const REPLICATIONS: u32 = 30;

/// Compares.
pub(crate) fn compare(args: &CompareArgs, console: &mut Console<'_>, engine: Engine) -> Result<ExitCode, Failure> {
    let unpacked = examples::unpack(&args.examples)?;
    let mut origins: Vec<Origin> = unpacked.origins;
    origins.extend(args.files.iter().map(|path| Origin { path: path.clone(), said: path.display().to_string() }));
    let mut points = load_points(args, &args.study.patch, &origins, console)?;
    let all: Vec<Loaded> = points.iter().map(|p| p.loaded.clone()).collect();
    if let Some(set) = found_warm_up(&args.study.many, &all, console, engine)? {
        let mut settled = args.study.patch.clone();
        settled.sets.push(set);
        points = load_points(args, &settled, &origins, console)?;
    }
    let first = &points[0].loaded;
    let wish = wish(&args.until, first)?.map(Wish::of_comparison).transpose()?;
    let reference = match &args.reference {
        None => 0,
        Some(name) => points.iter().position(|p| p.label == *name).ok_or_else(|| {
            let labels: Vec<&str> = points.iter().map(|p| p.label.as_str()).collect();
            let near = nearest(name, labels.iter().copied()).map(|near| format!("; the nearest is `{near}`"));
            let all = || format!("; there are {}", labels.join(", "));
            usage(format!("there is no variant `{name}` to compare with{}", near.unwrap_or_else(all)))
        })?,
    };
    let margins = args.margins.iter().map(|text| match figure_and_amount(text, "--margin", first)? {
        (figure, Amount::Value(_)) if figure.address() == COST => Err(usage(format!("--margin {text}: {BY_THE_HOUR}"))),
        (figure, Amount::Value(margin)) => Ok((figure.address(), margin)),
        (_, Amount::Share(_)) => Err(usage(format!("--margin {text}: a margin is in the unit of the figure"))),
    });
    let options = CompareOptions {
        reference,
        unpaired: args.unpaired,
        margins: margins.collect::<Result<_, _>>()?,
        ..CompareOptions::default()
    };
    let mut notes = fit_to_pair(&points, &options)?;

    let root = root(&origins, first);
    let place = args.study.out.clone().unwrap_or_else(|| root.join("compare"));
    let plans: Vec<(String, String)> = points.iter().map(|p| (p.label.clone(), p.hash.clone())).collect();
    let asked = format!("{:?} {:?} {:?}", args.study.many.replications, args.until.until, args.reference);
    let mark = mark("compare", plans, &asked);
    reserve(&place, &mark.hash, args.study.force)?;

    let title = format!("{}: {} variants", first.name, points.len());
    let mut session = Session::new(points, &args.study.many, root.join(".runs"), engine);
    let n = args.study.many.replications.unwrap_or(REPLICATIONS);
    let precise = session
        .replicate(n, wish.as_ref(), &title, console, |session, figure| widest(&judged(session, &options), figure))?;
    session.say_reused(console);
    session.say_failures(console);
    let mut comparison = judged(&session, &options);
    comparison.notes.append(&mut notes);
    let place = session.or_kept(write(&place, &mark, &session, &comparison, args))?;
    let hold = args.study.many.hold();
    match args.study.show.format() {
        Format::Json => print(console, &crate::output::document(&comparison))?,
        Format::Markdown => write_comparison_markdown(console.out, &comparison, hold).map_err(Failure::stdout)?,
        Format::Text if console.quiet => {}
        Format::Text => {
            write_comparison(console.out, &comparison, hold, console.style).map_err(Failure::stdout)?;
            let first = if args.study.show.no_charts { "" } else { "charts/, " };
            print(
                console,
                &format!(
                    "\nwrote {}/ ({first}comparison.json, figures.csv, differences.csv, replications.csv)\n",
                    shown(&place)
                ),
            )?;
        }
    }
    let mut end = session.end();
    if !precise {
        end = end.worst(ExitCode::Undecided);
    }
    if args.study.show.check {
        let reasons = comparison.fails(hold);
        for reason in &reasons {
            console.error(reason);
        }
        if !reasons.is_empty() {
            end = end.worst(ExitCode::ObjectiveMissed);
        }
    }
    Ok(end)
}

pub(super) fn usage(message: String) -> Failure {
    Failure::Other(ExitCode::Usage, message)
}

pub(super) fn print(console: &mut Console<'_>, text: &str) -> Result<(), Failure> {
    console.out.write_all(text.as_bytes()).and_then(|()| console.out.flush()).map_err(Failure::stdout)
}

/// Where the results of a scenario are.
fn root(origins: &[Origin], first: &Loaded) -> PathBuf {
    let mut name = first.name.clone();
    if origins.len() > 1 {
        let stems =
            origins.iter().map(|o| o.path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned()));
        name = stems.collect::<Vec<_>>().join("-vs-");
    }
    Path::new("output").join(name)
}

/// The mark of a folder of many runs.
pub(super) fn mark(kind: &str, plans: Vec<(String, String)>, asked: &str) -> StudyMark {
    let mut hash = blake3::Hasher::new();
    for text in plans.iter().flat_map(|(label, plan)| [label, plan]).map(String::as_str).chain([kind, asked]) {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    }
    StudyMark {
        schema: STUDY_SCHEMA.to_owned(),
        kind: kind.to_owned(),
        hash: hash.finalize().to_hex().to_string(),
        plans,
        simctl_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The variants that are compared: those of one file, or one of each of several files, unless they are named.
fn load_points(
    args: &CompareArgs,
    patch: &Patch,
    origins: &[Origin],
    console: &mut Console<'_>,
) -> Result<Vec<Point>, Failure> {
    let mut patch = patch.clone();
    patch.sets.extend(args.study.seed.map(|seed| format!("simulation.seed={seed}")));
    let single = origins.len() == 1;
    if single && patch.variants.is_empty() {
        patch.variants.push("all".to_owned());
    }
    let mut points: Vec<Point> = Vec::new();
    for origin in origins {
        for loaded in load_variants(&origin.path, &patch)? {
            if !loaded.warnings.is_empty() && !console.quiet && loaded.variant == BASE {
                let _ = console.err.write_all(loaded.warnings.render(console.err_color).as_bytes());
            }
            super::check::refuse_impossible(&loaded, console)?;
            let label = match (single, loaded.variant == BASE) {
                (true, _) => loaded.variant.clone(),
                (false, true) => loaded.name.clone(),
                (false, false) => format!("{}/{}", loaded.name, loaded.variant),
            };
            let command = reproduce(&origin.said, &loaded, &patch, None);
            points.push(Point::new(loaded, label, command));
        }
    }
    for i in 1..points.len() {
        if points[..i].iter().any(|p| p.label == points[i].label) {
            points[i].label = format!("{} ({})", points[i].label, i + 1);
        }
    }
    if points.len() < 2 {
        return Err(usage(format!(
            "{} has no variants to compare: add [variants.NAME] to it, or name a second scenario",
            origins.first().map_or("the scenario", |o| &o.said)
        )));
    }
    Ok(points)
}

/// Refuses to pair what does not fit together, and notes what makes pairs of little use.
fn fit_to_pair(points: &[Point], options: &CompareOptions) -> Result<Vec<String>, Failure> {
    let first = &points[options.reference];
    let mut notes = Vec::new();
    for other in points {
        let (a, b) = (&first.loaded.plan, &other.loaded.plan);
        let differ = |what: &str, address: &str, value: String| {
            let (one, two) = (&first.label, &other.label);
            Err(usage(format!(
                "{one} and {two} differ in {what}, so their runs cannot be paired: --set {address}={value} makes them \
                 match{}",
                if address == "simulation.seed" { ", --unpaired treats them as independent" } else { "" }
            )))
        };
        if a.simulation.duration != b.simulation.duration {
            return differ(
                "their duration",
                "simulation.duration",
                format!("{}s", a.simulation.duration.as_secs_f64()),
            );
        }
        if a.simulation.warm_up != b.simulation.warm_up {
            return differ("their warm-up", "simulation.warm_up", format!("{}s", a.simulation.warm_up.as_secs_f64()));
        }
        if !options.unpaired && a.simulation.seed != b.simulation.seed {
            return differ("their seed", "simulation.seed", a.simulation.seed.to_string());
        }
        let load = |p: &crate::scenario::model::Plan| {
            p.services.iter().map(|(name, s)| (name.clone(), s.traffic.clone(), s.requests.clone())).collect::<Vec<_>>()
        };
        if load(a) != load(b) {
            notes.push(format!(
                "{} does not get the same load as {}: the difference shows both",
                other.label, first.label
            ));
        }
    }
    Ok(notes)
}

fn judged(session: &Session<'_>, options: &CompareOptions) -> Comparison {
    let variants: Vec<Variant> = session
        .points
        .iter()
        .zip(&session.runs)
        .map(|(point, runs)| Variant { label: point.label.clone(), runs: runs.clone() })
        .collect();
    judge(&variants, options)
}

/// The difference of a figure that is known least.
fn widest(comparison: &Comparison, figure: &Figure) -> Option<(f64, f64)> {
    let address = figure.address();
    let rows = comparison.against.iter().flat_map(|a| &a.differences).filter(|d| d.address == address);
    let known = rows.filter_map(|d| Some((d.reference?, d.interval.map(|(low, high)| (high - low) / 2.0)?)));
    known.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Writes the folder.
fn write(
    place: &Path,
    mark: &StudyMark,
    session: &Session<'_>,
    comparison: &Comparison,
    args: &CompareArgs,
) -> Result<PathBuf, Failure> {
    let folder = OutputFolder::create(place, &mark.hash, args.study.force)?;
    folder.write_json(crate::output::STUDY_FILE, mark)?;
    folder.write_json("comparison.json", comparison)?;
    let (header, rows) = tables::figures(comparison);
    folder.write_table("figures.csv", &header, &rows)?;
    let (header, rows) = tables::differences(comparison);
    folder.write_table("differences.csv", &header, &rows)?;
    let (header, rows) = tables::runs(session.points.iter().map(|p| p.label.as_str()).zip(&session.runs));
    folder.write_table("replications.csv", &header, &rows)?;
    if !args.study.show.no_charts {
        write_comparison_charts(folder.path(), comparison)?;
    }
    Ok(folder.finish()?)
}
