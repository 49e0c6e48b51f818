//! What the commands over many runs share: loading points, running them with a display, saying what failed.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Many, Until, WarmUp};
use super::console::{Console, INTERRUPT};
use super::progress::{short, spoken};
use super::{ExitCode, Failure, panic};
use crate::experiment::statistics::{Precision, SequentialRule, Step};
use crate::experiment::{Done, Engine, Figure, MEASURES, Point, RunFailure, RunRecord, Runner, Store, Wanted, Watch};
use crate::kernel::SimTime;
use crate::output::{OutputError, OutputFolder};
use crate::scenario::Loaded;

/// Runs of some points, as far as they have been made.
pub(crate) struct Session<'a> {
    pub(crate) points: Vec<Point>,
    runner: Runner<'a>,
    /// The finished runs of each point, by replication.
    pub(crate) runs: Vec<Vec<RunRecord>>,
    pub(crate) failures: Vec<RunFailure>,
    store_failure: Option<OutputError>,
    reused: usize,
    made: usize,
}

impl Session<'_> {
    /// A session of points whose runs are kept in `store` unless `many` names another.
    pub(crate) fn new(points: Vec<Point>, many: &Many, store: PathBuf, engine: Engine) -> Self {
        let runner = Runner {
            engine,
            jobs: many.jobs(),
            store: Some(Store::new(many.store.clone().unwrap_or(store))),
            resume: many.resume,
            interrupt: Some(&INTERRUPT),
        };
        let runs = points.iter().map(|_| Vec::new()).collect();
        Self { points, runner, runs, failures: Vec::new(), store_failure: None, reused: 0, made: 0 }
    }

    /// Makes runs and returns them in the order that was asked for; a failed one is none.
    ///
    /// # Errors
    /// When somebody interrupted.
    pub(crate) fn make(
        &mut self,
        wanted: &[Wanted],
        title: &str,
        console: &mut Console<'_>,
    ) -> Result<Vec<Option<RunRecord>>, Failure> {
        let display = Display::new(console, title, wanted.len(), self.runner.jobs.min(wanted.len()));
        let done: Done<RunRecord> = self.runner.run(&self.points, wanted, &display, |_, record| record);
        display.finish();
        panic::done();
        self.reused += done.reused;
        let interrupted = done.interrupted();
        self.failures.extend(done.failures().cloned());
        if self.store_failure.is_none() {
            self.store_failure = done.store_failure;
        }
        let results: Vec<Option<RunRecord>> = done.results.into_iter().map(Result::ok).collect();
        let finished = results.iter().flatten().count();
        self.made += finished;
        if interrupted {
            let kept = match (&self.store_failure, &self.runner.store) {
                (None, Some(store)) => {
                    format!("are kept in {}; the same command with --resume goes on from there", shown(store.folder()))
                }
                _ => "could not be kept".to_owned(),
            };
            let all = self.made + wanted.len() - finished;
            self.say_failures(console);
            let message = format!("interrupted: {} of {all} runs were finished and {kept}", self.made);
            return Err(Failure::Other(ExitCode::Interrupted, message));
        }
        Ok(results)
    }

    /// Makes replications of every point until each has this many.
    ///
    /// # Errors
    /// As [`Session::make`].
    pub(crate) fn extend(&mut self, from: u32, to: u32, title: &str, console: &mut Console<'_>) -> Result<(), Failure> {
        let wanted = crate::experiment::all_of(self.points.len(), from..to);
        let results = self.make(&wanted, title, console)?;
        for (want, record) in wanted.iter().zip(results) {
            self.runs[want.point].extend(record);
        }
        Ok(())
    }

    /// Makes replications until a rule is satisfied, or `n` of them without one. `look` gives point and half of
    /// the interval of what the rule is about.
    ///
    /// # Errors
    /// As [`Session::make`].
    pub(crate) fn replicate(
        &mut self,
        n: u32,
        rule: Option<&Wish>,
        title: &str,
        console: &mut Console<'_>,
        look: impl Fn(&Self, &Figure) -> Option<(f64, f64)>,
    ) -> Result<bool, Failure> {
        let Some(wish) = rule else {
            self.extend(0, n, title, console)?;
            return Ok(true);
        };
        let mut have = 0;
        let mut next = u32::try_from(wish.rule.minimum).unwrap_or(u32::MAX);
        loop {
            self.extend(have, next, title, console)?;
            have = next;
            let (point, half) = look(self, &wish.figure).unwrap_or((f64::NAN, f64::INFINITY));
            match wish.rule.judge(have as usize, point, half) {
                Step::RunTo(more) => next = u32::try_from(more).unwrap_or(u32::MAX),
                Step::Reached => {
                    console.say(&format!("{} is precise enough after {have} replications", wish.figure.address()));
                    return Ok(true);
                }
                Step::Exhausted => {
                    console.say(&format!(
                        "{} is not as precise as was asked for after {have} replications (half of its interval is {})",
                        wish.figure.address(),
                        crate::experiment::words::amount(half, wish.figure.measure.unit)
                    ));
                    return Ok(false);
                }
            }
        }
    }

    /// Says which runs failed, each with the command that repeats it, and that the store could not keep runs.
    pub(crate) fn say_failures(&self, console: &mut Console<'_>) {
        for f in self.failures.iter().take(10) {
            console.error(&format!("{}, replication {}: {}", f.label, f.wanted.replication, f.why));
            let _ = writeln!(console.err, "    to repeat it: {}", f.command);
        }
        if self.failures.len() > 10 {
            let _ = writeln!(console.err, "    and {} more runs failed", self.failures.len() - 10);
        }
        if let Some(e) = &self.store_failure {
            console.error(&format!("finished runs are not kept, so that this cannot be resumed: {e}"));
        }
    }

    /// What came of writing the result; when that failed, with the word that the runs are not lost.
    pub(crate) fn or_kept<T>(&self, written: Result<T, Failure>) -> Result<T, Failure> {
        match (written, &self.store_failure, &self.runner.store) {
            (Err(Failure::Output(e)), None, Some(store)) => {
                let place = shown(store.folder());
                let message = format!("{e}; the finished runs are kept in {place}, --resume takes them from there");
                Err(Failure::Other(ExitCode::Io, message))
            }
            (written, ..) => written,
        }
    }

    /// How it ends, as far as the runs are concerned.
    pub(crate) fn end(&self) -> ExitCode {
        let failed = if self.failures.is_empty() { ExitCode::Ok } else { ExitCode::SomeFailed };
        if self.store_failure.is_some() { failed.worst(ExitCode::Io) } else { failed }
    }

    /// Says how many runs were taken from the store.
    pub(crate) fn say_reused(&self, console: &mut Console<'_>) {
        if self.reused > 0 {
            console.say(&format!("{} of {} runs were taken from the store", self.reused, self.made));
        }
    }
}

/// Makes sure that a result may stand at a place and can be written there, and leaves nothing: what is killed
/// during its runs has no half of a result.
///
/// # Errors
/// As [`OutputFolder::create`].
pub(crate) fn reserve(place: &Path, hash: &str, force: bool) -> Result<(), Failure> {
    Ok(OutputFolder::create(place, hash, force).map(drop)?)
}

/// Finds the warm-up that all of these need, if that was asked for, as the setting that makes it so.
///
/// # Errors
/// When one of them changes over time, or does not settle.
pub(crate) fn found_warm_up(
    many: &Many,
    loaded: &[Loaded],
    console: &mut Console<'_>,
    engine: Engine,
) -> Result<Option<String>, Failure> {
    if many.warm_up == WarmUp::Scenario {
        return Ok(None);
    }
    let mut longest = 0.0_f64;
    for one in loaded {
        let label = format!("{}/{}", one.name, one.variant);
        let found = crate::experiment::warm_up::find(&Point::new(one.clone(), label.clone(), String::new()), engine);
        longest = longest.max(
            found.map_err(|e| Failure::Other(ExitCode::Usage, format!("--warm-up auto: {label}: {e}")))?.as_secs_f64(),
        );
    }
    console.say(&format!("warm-up found in a pilot run (MSER-5): {longest} s"));
    Ok(Some(format!("simulation.warm_up=\"{longest}s\"")))
}

/// A path as it is shorter to read: relative to the current folder if it is below.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// A figure and how precise it has to be.
pub(crate) struct Wish {
    pub(crate) figure: Figure,
    rule: SequentialRule,
}

/// The address of the cost of a whole run. Comparisons have that of an hour instead, which says the same.
pub(crate) const COST: &str = "cluster.cost_usd";

/// What helps who asks for the other.
pub(crate) const BY_THE_HOUR: &str = "a comparison has the cost by the hour: cost_per_hour=AMOUNT";

impl Wish {
    /// The same in the figures of a comparison.
    ///
    /// # Errors
    /// When an amount would be another by the hour.
    pub(crate) fn of_comparison(mut self) -> Result<Self, Failure> {
        if self.figure.address() == COST {
            if matches!(self.rule.precision, Precision::Absolute(_)) {
                return Err(Failure::Other(ExitCode::Usage, format!("--until: {BY_THE_HOUR}")));
            }
            let hourly = MEASURES.iter().find(|m| m.name == "cost_per_hour_usd");
            self.figure.measure = hourly.unwrap_or(self.figure.measure);
        }
        Ok(self)
    }
}

/// Reads `p99=5ms` or `cost=2%`, for figures of a plan.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn wish(until: &Until, loaded: &Loaded) -> Result<Option<Wish>, Failure> {
    let Some(text) = &until.until else { return Ok(None) };
    let (figure, amount) = figure_and_amount(text, "--until", loaded)?;
    let precision = match amount {
        Amount::Share(share) => Precision::Relative(share),
        Amount::Value(value) => Precision::Absolute(value),
    };
    let rule = SequentialRule::new(precision, crate::experiment::LEVEL, until.max_replications as usize);
    rule.check().map_err(|e| Failure::Other(ExitCode::Usage, format!("--until {text}: {e}")))?;
    Ok(Some(Wish { figure, rule }))
}

pub(crate) enum Amount {
    Share(f64),
    Value(f64),
}

/// Reads `FIGURE=AMOUNT`, the amount in the unit of the figure or in percent of it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn figure_and_amount(text: &str, option: &str, loaded: &Loaded) -> Result<(Figure, Amount), Failure> {
    let wrong = |why: String| Failure::Other(ExitCode::Usage, format!("{option} {text}: {why}"));
    let Some((name, amount)) = text.split_once('=') else {
        return Err(wrong("expected FIGURE=AMOUNT, such as p99=5ms or cost=2%".to_owned()));
    };
    let figure = find_figure(name.trim(), loaded).map_err(wrong)?;
    let amount = amount.trim().trim_start_matches(['±', '$', '+', '-']);
    let end = amount.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(amount.len());
    let (number, unit) = (amount[..end].parse::<f64>(), amount[end..].trim());
    let own = figure.measure.unit.trim_start_matches('$').trim_start_matches('/');
    match number {
        Ok(n) if n > 0.0 && unit == "%" && figure.measure.unit != "%" => Ok((figure, Amount::Share(n / 100.0))),
        Ok(n) if n > 0.0 && (unit.is_empty() || unit.trim_start_matches('/') == own) => Ok((figure, Amount::Value(n))),
        Ok(n) if n > 0.0 && unit == "s" && own == "ms" => Ok((figure, Amount::Value(1_000.0 * n))),
        _ => Err(wrong(format!(
            "expected an amount above 0 in {} or in %, not `{amount}`",
            if own.is_empty() { "its unit" } else { own }
        ))),
    }
}

/// Finds a figure of a plan by what a user calls it.
///
/// # Errors
/// What figures there are.
pub(crate) fn find_figure(name: &str, loaded: &Loaded) -> Result<Figure, String> {
    let mut figures = Figure::all(loaded.plan.services.keys().map(String::as_str));
    figures.extend(loaded.inputs.state.iter().filter(|s| s.own_pods() > 0).flat_map(|_| Figure::of_pods()));
    if let Some(figure) = Figure::find(&figures, name) {
        return Ok(figure.clone());
    }
    let said: Vec<String> = figures.iter().flat_map(Figure::names).collect();
    let near = crate::scenario::diagnostic::nearest(name, said.iter().map(String::as_str));
    let names: Vec<String> = figures.iter().map(Figure::address).collect();
    Err(match near {
        Some(near) => format!("there is no figure `{name}`; the nearest is `{near}`"),
        None => format!("there is no figure `{name}`; there are {}", names.join(", ")),
    })
}

/// Shows many runs: a bar for all of them and a line for each thread on a terminal, else a line at the start and one at
/// the end.
struct Display {
    started: Instant,
    whole: Option<ProgressBar>,
    lines: Vec<ProgressBar>,
    last: Vec<Mutex<Instant>>,
    _all: Option<MultiProgress>,
    events: AtomicU64,
    failed: AtomicUsize,
    total: usize,
    quiet: bool,
}

impl Display {
    fn new(console: &mut Console<'_>, title: &str, total: usize, threads: usize) -> Self {
        let now = Instant::now();
        let mut display = Self {
            started: now,
            whole: None,
            lines: Vec::new(),
            last: (0..threads.max(1)).map(|_| Mutex::new(now)).collect(),
            _all: None,
            events: AtomicU64::new(0),
            failed: AtomicUsize::new(0),
            total,
            quiet: console.quiet,
        };
        if total == 0 {
            return display;
        }
        if !console.bar {
            let plural = if total == 1 { "run" } else { "runs" };
            let on = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
            console.say(&format!("{title}: {total} {plural} on {on}"));
            return display;
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let chars = if console.style.ascii { "=> " } else { "━╸ " };
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars(chars)
        };
        let whole = all.add(ProgressBar::new(total as u64));
        whole.set_style(style("{prefix}  {bar:26} {pos}/{len}  {wide_msg}"));
        whole.set_prefix(title.to_owned());
        for _ in 0..threads {
            let line = all.add(ProgressBar::new(1_000));
            line.set_style(style("  {bar:12} {percent:>3} %  {wide_msg}"));
            display.lines.push(line);
        }
        display.whole = Some(whole);
        display._all = Some(all);
        display
    }

    fn message(&self) -> String {
        let wall = self.started.elapsed().as_secs_f64().max(1e-3);
        let done = self.whole.as_ref().map_or(0, ProgressBar::position) as f64;
        let left = if done > 0.0 { spoken((self.total as f64 - done) * wall / done) } else { "?".into() };
        let rate = short(self.events.load(Ordering::Relaxed) as f64 / wall);
        let failed = self.failed.load(Ordering::Relaxed);
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        let stop =
            if INTERRUPT.load(Ordering::Relaxed) { ", finishing what runs; Ctrl-C again stops at once" } else { "" };
        format!("{rate} events/s, {left} left{failed}{stop}")
    }

    fn finish(&self) {
        for line in &self.lines {
            line.finish_and_clear();
        }
        if let Some(whole) = &self.whole {
            whole.finish_and_clear();
        }
        if self.quiet || self.total == 0 {
            return;
        }
        let wall = self.started.elapsed().as_secs_f64().max(1e-3);
        let rate = short(self.events.load(Ordering::Relaxed) as f64 / wall);
        let plural = if self.total == 1 { "run" } else { "runs" };
        eprintln!("{} {plural} in {wall:.1} s, {rate} events/s", self.total);
    }
}

impl Watch for Display {
    fn begins(&self, thread: usize, point: &Point, replication: u32) {
        let command = format!("{} --replication {replication}", point.command);
        panic::running(&point.hash, point.loaded.plan.simulation.seed, &command);
        if let Some(line) = self.lines.get(thread) {
            line.set_position(0);
            line.set_message(format!("{}, replication {replication}", point.label));
        }
    }

    fn at(&self, thread: usize, point: &Point, now: SimTime) {
        let (Some(line), Some(last)) = (self.lines.get(thread), self.last.get(thread)) else { return };
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() < Duration::from_millis(100) {
            return;
        }
        *last = Instant::now();
        let whole = point.loaded.plan.simulation.duration.as_secs_f64().max(1e-9);
        line.set_position((now.as_secs_f64() / whole * 1_000.0) as u64);
        if let Some(whole) = &self.whole {
            whole.set_message(self.message());
        }
    }

    fn ends(&self, thread: usize, _: &Point, events: u64, failed: bool) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.failed.fetch_add(usize::from(failed), Ordering::Relaxed);
        if let Some(line) = self.lines.get(thread) {
            line.set_position(1_000);
        }
        if let Some(whole) = &self.whole {
            whole.inc(1);
            whole.set_message(self.message());
        }
    }
}
