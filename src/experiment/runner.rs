//! Does many runs on all cores. What comes back is in the order that was asked for, whatever finished first,
//! and does not depend on the number of threads.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::engine::{Engine, EngineError, Job};
use super::record::RunRecord;
use super::store::Store;
use crate::kernel::SimTime;
use crate::output::{OutputError, RowSink};
use crate::scenario::{Loaded, plan_hash};
use crate::simulation::run_id;

/// A configuration that runs are made of.
#[derive(Clone, Debug)]
pub struct Point {
    /// The scenario, with the variant and the settings of this point.
    pub loaded: Loaded,
    /// Hash of the plan and its inputs.
    pub hash: String,
    /// What it is called in tables and charts.
    pub label: String,
    /// The command that runs it, to which the replication is added.
    pub command: String,
}

impl Point {
    /// A point of a loaded scenario.
    #[must_use]
    pub fn new(loaded: Loaded, label: impl Into<String>, command: impl Into<String>) -> Self {
        let hash = plan_hash(&loaded.plan, &loaded.inputs);
        Self { loaded, hash, label: label.into(), command: command.into() }
    }
}

/// A run that is wanted: a point by its place in the list of points, and a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the point.
    pub point: usize,
    /// Number of the replication, from 0.
    pub replication: u32,
}

/// All replications of all points: the first replication of each point, then the second, and so on, so that an
/// interrupted study has something of everything.
#[must_use]
pub fn all_of(points: usize, replications: std::ops::Range<u32>) -> Vec<Wanted> {
    replications.flat_map(|replication| (0..points).map(move |point| Wanted { point, replication })).collect()
}

/// A run that did not come to its end. The others are not touched by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{label}, replication {}: {why}", wanted.replication)]
pub struct RunFailure {
    /// The run.
    pub wanted: Wanted,
    /// Label of the point.
    pub label: String,
    /// Why, in words.
    pub why: String,
    /// The command that repeats it alone.
    pub command: String,
    /// Whether it was only not begun, because somebody interrupted the study.
    pub interrupted: bool,
}

/// Hears how far the runs are; called from the threads that do them.
pub trait Watch: Sync {
    /// A thread begins a run.
    fn begins(&self, thread: usize, point: &Point, replication: u32) {
        let _ = (thread, point, replication);
    }
    /// The simulated time of the run that a thread does.
    fn at(&self, thread: usize, point: &Point, now: SimTime) {
        let _ = (thread, point, now);
    }
    /// A run is finished, taken from the store (then no events were simulated) or failed.
    fn ends(&self, thread: usize, point: &Point, events: u64, failed: bool) {
        let _ = (thread, point, events, failed);
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// Does runs.
#[derive(Clone, Debug)]
pub struct Runner<'a> {
    /// How one run is done.
    pub engine: Engine,
    /// Threads; at least one is used.
    pub jobs: usize,
    /// Where finished runs are kept, if anywhere.
    pub store: Option<Store>,
    /// Whether runs are taken from the store instead of being done again.
    pub resume: bool,
    /// When set by somebody else, no further run is begun; those under way are finished.
    pub interrupt: Option<&'a AtomicBool>,
}

/// What came of a list of runs.
#[derive(Debug)]
pub struct Done<T> {
    /// One entry for each wanted run, in their order.
    pub results: Vec<Result<T, RunFailure>>,
    /// Why the store could not keep a run, if so: the results are good, but cannot be resumed from.
    pub store_failure: Option<OutputError>,
    /// Runs that were taken from the store.
    pub reused: usize,
}

impl<T> Done<T> {
    /// The failures, without runs that were not begun.
    pub fn failures(&self) -> impl Iterator<Item = &RunFailure> {
        self.results.iter().filter_map(|r| r.as_ref().err()).filter(|f| !f.interrupted)
    }

    /// Whether some runs were not begun because of an interrupt.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.results.iter().any(|r| matches!(r, Err(f) if f.interrupted))
    }
}

impl Default for Runner<'_> {
    /// Simulates on all cores, keeps nothing.
    fn default() -> Self {
        Self { engine: super::engine::simulate, jobs: all_cores(), store: None, resume: false, interrupt: None }
    }
}

/// How many threads the machine has for us.
#[must_use]
pub fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Runner<'_> {
    /// Does the wanted runs and keeps of each what `keep` makes of its record, on the thread that did it.
    pub fn run<T: Send>(
        &self,
        points: &[Point],
        wanted: &[Wanted],
        watch: &dyn Watch,
        keep: impl Fn(&Point, RunRecord) -> T + Sync,
    ) -> Done<T> {
        let pass = Pass { runner: self, points, watch, reused: AtomicUsize::new(0), store_failure: Mutex::new(None) };
        let next = AtomicUsize::new(0);
        let work = |thread: usize| {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(&want) = wanted.get(index) else { return done };
                done.push((index, pass.one(want, thread, &keep)));
            }
        };
        let threads = self.jobs.max(1).min(wanted.len().max(1));
        let mut slots: Vec<Option<Result<T, RunFailure>>> = wanted.iter().map(|_| None).collect();
        std::thread::scope(|scope| {
            let work = &work;
            let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread))).collect();
            let mine = work(0);
            let parts = others.into_iter().map(|thread| thread.join().unwrap_or_default());
            for (index, result) in std::iter::once(mine).chain(parts).flatten() {
                slots[index] = Some(result);
            }
        });
        let lost = |want: Wanted| Err(pass.failure(want, "the thread that did it failed".to_owned(), false));
        let results = slots.into_iter().zip(wanted).map(|(slot, want)| slot.unwrap_or_else(|| lost(*want))).collect();
        let reused = pass.reused.load(Ordering::Relaxed);
        Done { results, store_failure: pass.store_failure.into_inner().unwrap_or_default(), reused }
    }
}

impl Runner<'_> {
    /// Replications 0 to `replications` of every point: one list of runs for each, in that order.
    ///
    /// # Errors
    /// The first run that failed. [`Runner::run`] tells of all, and keeps the others.
    pub fn replicate(&self, points: &[Point], replications: u32) -> Result<Vec<Vec<RunRecord>>, RunFailure> {
        let wanted = all_of(points.len(), 0..replications);
        let done = self.run(points, &wanted, &Unwatched, |_, record| record);
        let mut runs: Vec<Vec<RunRecord>> = points.iter().map(|_| Vec::new()).collect();
        for (want, result) in wanted.iter().zip(done.results) {
            runs[want.point].push(result?);
        }
        Ok(runs)
    }
}

/// What the threads of one call share.
struct Pass<'a> {
    runner: &'a Runner<'a>,
    points: &'a [Point],
    watch: &'a dyn Watch,
    reused: AtomicUsize,
    store_failure: Mutex<Option<OutputError>>,
}

impl Pass<'_> {
    fn failure(&self, wanted: Wanted, why: String, interrupted: bool) -> RunFailure {
        let point = &self.points[wanted.point];
        let command = format!("{} --replication {}", point.command, wanted.replication);
        RunFailure { wanted, label: point.label.clone(), why, command, interrupted }
    }

    fn one<T>(
        &self,
        want: Wanted,
        thread: usize,
        keep: &(impl Fn(&Point, RunRecord) -> T + Sync),
    ) -> Result<T, RunFailure> {
        let Runner { engine, store, resume, interrupt, .. } = self.runner;
        let point = &self.points[want.point];
        if interrupt.is_some_and(|flag| flag.load(Ordering::SeqCst)) {
            return Err(self.failure(want, "not begun: interrupted".to_owned(), true));
        }
        let id = run_id(&point.hash, u64::from(want.replication));
        if let (true, Some(store)) = (resume, store)
            && let Some(record) = store.get(&id)
        {
            self.reused.fetch_add(1, Ordering::Relaxed);
            self.watch.ends(thread, point, 0, false);
            return Ok(keep(point, record));
        }
        self.watch.begins(thread, point, want.replication);
        let job = Job { loaded: &point.loaded, plan_hash: &point.hash, replication: want.replication, interrupt: None };
        // A mistake of simctl in one run is no reason to lose the others.
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            engine(&job, &mut RowSink::null(), &mut |now| self.watch.at(thread, point, now))
        }));
        let result = match ended {
            Ok(Ok(record)) => Ok(record),
            Ok(Err(EngineError::Interrupted(at))) => Err(self.failure(want, format!("interrupted {at}"), true)),
            Ok(Err(e)) => Err(self.failure(want, e.to_string(), false)),
            Err(_) => Err(self.failure(want, "simctl failed; the message stands above".to_owned(), false)),
        };
        self.watch.ends(thread, point, result.as_ref().map_or(0, |r| r.summary.meta.events), result.is_err());
        let record = result?;
        if let Some(Err(e)) = store.as_ref().map(|s| s.put(&record))
            && let Ok(mut failure) = self.store_failure.lock()
        {
            failure.get_or_insert(e);
        }
        Ok(keep(point, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SimDuration;
    use crate::output::{Meta, Summary};
    use crate::scenario::{LoadOptions, load_text, starter};

    fn point(seed: u64) -> Point {
        let options = LoadOptions { sets: vec![format!("simulation.seed={seed}")], ..LoadOptions::default() };
        let loaded = load_text("s", "s.toml", starter(), std::path::Path::new("."), &options).expect("loads");
        Point::new(loaded, format!("seed {seed}"), format!("simctl run s.toml --seed {seed}"))
    }

    /// An engine that makes its record up; replication 3 is refused, 4 panics.
    fn made_up(job: &Job<'_>, _: &mut RowSink, at: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
        at(SimTime::ZERO + SimDuration::from_secs(1));
        match job.replication {
            3 => return Err(EngineError::Invalid("too hot".into())),
            4 => panic!("a mistake"),
            _ => {}
        }
        let meta = Meta {
            replication: job.replication,
            seed: job.loaded.plan.simulation.seed,
            run_id: run_id(job.plan_hash, u64::from(job.replication)),
            simctl_version: env!("CARGO_PKG_VERSION").into(),
            events: 10,
            ..Meta::default()
        };
        Ok(RunRecord::new(Summary { meta, ..Summary::default() }, &[]))
    }

    fn must_not_run(_: &Job<'_>, _: &mut RowSink, _: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
        Err(EngineError::Invalid("done again".into()))
    }

    #[test]
    fn results_come_in_order_and_failures_stay_alone() {
        let points = [point(1), point(2)];
        let wanted = all_of(2, 0..6);
        for jobs in [1, 3, 40] {
            let runner = Runner { engine: made_up, jobs, ..Runner::default() };
            let done =
                runner.run(&points, &wanted, &Unwatched, |_, r| (r.summary.meta.seed, r.summary.meta.replication));
            for (want, result) in wanted.iter().zip(&done.results) {
                let seed = want.point as u64 + 1;
                match (want.replication, result) {
                    (3, Err(f)) => {
                        assert_eq!((f.why.as_str(), f.wanted), ("too hot", *want));
                        assert_eq!(f.command, format!("simctl run s.toml --seed {seed} --replication 3"));
                    }
                    (4, Err(f)) => assert!(f.why.contains("failed"), "{f:?}"),
                    (n, Ok(got)) => assert_eq!(*got, (seed, n)),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(done.failures().count(), 4);
        }
    }

    #[test]
    fn what_is_in_the_store_is_not_done_again() {
        let root = tempfile::tempdir().expect("temporary folder");
        let store = Some(Store::new(root.path().join("runs")));
        let points = [point(1)];
        let first = Runner { engine: made_up, store: store.clone(), ..Runner::default() };
        let records = first.run(&points, &all_of(1, 0..3), &Unwatched, |_, r| r).results;
        let again = Runner { engine: must_not_run, store: store.clone(), resume: true, ..Runner::default() };
        let done = again.run(&points, &all_of(1, 0..3), &Unwatched, |_, r| r);
        assert_eq!((done.reused, &done.results), (3, &records));
        let anew = Runner { engine: must_not_run, store, ..Runner::default() };
        assert_eq!(anew.run(&points, &all_of(1, 0..3), &Unwatched, |_, r| r).failures().count(), 3);
    }

    #[test]
    fn an_interrupt_begins_nothing_more_and_a_full_store_loses_nothing() {
        static STOP: AtomicBool = AtomicBool::new(true);
        let root = tempfile::tempdir().expect("temporary folder");
        std::fs::write(root.path().join("file"), "").expect("file");
        let runner = Runner { engine: made_up, interrupt: Some(&STOP), ..Runner::default() };
        let done = runner.run(&[point(1)], &all_of(1, 0..3), &Unwatched, |_, r| r);
        assert!(done.interrupted() && done.failures().count() == 0);
        let store = Some(Store::new(root.path().join("file/runs")));
        let done = Runner { engine: made_up, store, ..Runner::default() }.run(
            &[point(1)],
            &all_of(1, 0..2),
            &Unwatched,
            |_, r| r,
        );
        assert!(done.results.iter().all(Result::is_ok) && done.store_failure.is_some());
    }
}
