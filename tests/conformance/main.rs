//! Runs every case of `tests/vectors` against the code that claims to follow it.
//!
//! `cargo test --test conformance [-- WORD] [-- --long]` prints `folder/family: passed / total` and ends
//! with a line of totals; it exits with 1 if a case failed. WORD runs only cases whose
//! `folder/family/id` contains it. `SIMCTL_VECTORS=DIR` replaces the folder that holds `ecs/`,
//! `kubernetes/`, `karpenter/` and `published/`; a folder that is absent is left out, and a family for
//! which nothing is built yet is counted and does not fail.
//!
//! The queueing cases are long: those that need at most two million arrivals by their own suggestion run
//! always, the rest with `--long` or `SIMCTL_LONG=1`. See `queueing.rs` for how long each runs.
//!
//! This is a program of its own rather than a set of `#[test]` functions, because the cases are data: the
//! other options of Rust's test runner are accepted and have no effect.

mod autoscaling;
mod capacity;
mod ecs;
mod karpenter;
mod kube_control;
mod kube_hpa;
mod kube_scheduler;
mod launches;
mod measured;
mod placement;
mod pricing;
mod published;
mod published_kube;
mod published_kube_curves;
mod published_kube_hpa;
mod published_kube_nodes;
mod published_kube_plane;
mod queueing;
mod spot;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

/// Cases whose expectation we believe to be wrong, with the reason. They count as not passed, and one
/// that passes after all is an error: it must leave the list.
const BELIEVED_WRONG: &[(&str, &str)] = &[];

/// What became of one case.
enum Outcome {
    Passed,
    /// With what was expected and what came.
    Failed(String),
    /// Nothing in the library does this yet.
    NotBuilt,
    /// Too long for the default run.
    Long,
}

/// One case of one family.
struct Case {
    id: String,
    value: Value,
}

struct Options {
    filter: Option<String>,
    long: bool,
    /// Only name the cases.
    list: bool,
    threads: usize,
}

fn main() -> ExitCode {
    let options = options();
    let root = std::env::var_os("SIMCTL_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    if !root.is_dir() {
        eprintln!("error: {} is not a folder", root.display());
        return ExitCode::from(2);
    }
    // A panic inside a case is that case's failure; its message is in the report.
    std::panic::set_hook(Box::new(|_| {}));
    let mut totals = Totals::default();
    for folder in ["ecs", "kubernetes", "karpenter", "published"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        let files: BTreeSet<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .collect();
        for file in files {
            let family = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match cases(&file) {
                Ok(cases) => run_family(folder, &family, cases, &options, &mut totals),
                Err(problem) => {
                    println!("{folder}/{family}: unreadable: {problem}");
                    totals.failed += 1;
                }
            }
        }
    }
    if options.list {
        return ExitCode::SUCCESS;
    }
    print!("{} passed, {} failed", totals.passed, totals.failed);
    if totals.skipped > 0 {
        print!(", {} skipped", totals.skipped);
    }
    if totals.disputed > 0 {
        print!(", {} believed wrong", totals.disputed);
    }
    println!();
    if totals.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
    disputed: usize,
}

fn options() -> Options {
    let mut options = Options {
        filter: None,
        long: std::env::var_os("SIMCTL_LONG").is_some_and(|v| !v.is_empty() && v != "0"),
        list: false,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match name {
            // There are no `#[test]` functions to list.
            "--long" | "--ignored" | "--include-ignored" => options.long = true,
            "--list" => options.list = true,
            "--test-threads" => {
                let count = value.or_else(|| arguments.next()).and_then(|v| v.parse().ok());
                options.threads = count.unwrap_or(options.threads).max(1);
            }
            // Options of Rust's test runner that take a value.
            "--skip" | "--color" | "--format" | "--logfile" | "--shuffle-seed" | "-Z" if value.is_none() => {
                arguments.next();
            }
            _ if name.starts_with('-') => {}
            _ => options.filter = Some(argument),
        }
    }
    options
}

/// The cases of one file: `vectors` or `cases`, in their order. A file with neither is a table that
/// cases refer to and has none itself.
fn cases(file: &Path) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let document: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let Some(list) = document.get("vectors").or_else(|| document.get("cases")).and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    let tolerance = document.get("tolerance");
    list.iter()
        .map(|case| {
            let id = case.get("id").and_then(Value::as_str).ok_or("a case without an id")?;
            let mut value = case.clone();
            // A tolerance given once for the file holds for each of its cases.
            if let (Some(tolerance), Some(object)) = (tolerance, value.as_object_mut()) {
                object.entry("tolerance").or_insert_with(|| tolerance.clone());
            }
            Ok(Case { id: id.to_owned(), value })
        })
        .collect()
}

fn run_family(folder: &str, family: &str, mut cases: Vec<Case>, options: &Options, totals: &mut Totals) {
    if let Some(filter) = &options.filter {
        cases.retain(|case| format!("{folder}/{family}/{}", case.id).contains(filter.as_str()));
    }
    if options.list {
        cases.iter().for_each(|case| println!("{folder}/{family}/{}: test", case.id));
        return;
    }
    if cases.is_empty() {
        return;
    }
    let outcomes = run_all(folder, family, &cases, options);
    let (mut passed, mut not_built, mut long, mut lines) = (0, 0, 0, Vec::new());
    for (case, outcome) in cases.iter().zip(outcomes) {
        let doubt = BELIEVED_WRONG.iter().find(|(id, _)| *id == case.id);
        match (outcome, doubt) {
            (Outcome::Passed, None) => passed += 1,
            (Outcome::Passed, Some((_, reason))) => {
                totals.failed += 1;
                lines.push(format!("  {}: passes, but is listed as believed wrong ({reason})", case.id));
            }
            (Outcome::Failed(how), None) => {
                totals.failed += 1;
                lines.push(format!("  {}: {how}", case.id));
            }
            (Outcome::Failed(how), Some((_, reason))) => {
                totals.disputed += 1;
                lines.push(format!("  {}: believed wrong: {reason}; {how}", case.id));
            }
            (Outcome::NotBuilt, _) => not_built += 1,
            (Outcome::Long, _) => long += 1,
        }
    }
    totals.passed += passed;
    totals.skipped += not_built + long;
    let total = cases.len() - not_built - long;
    if total > 0 {
        print!("{folder}/{family}: {passed} / {total}");
        if not_built > 0 {
            print!(", not built: {not_built}");
        }
        if long > 0 {
            print!(", only with --long: {long}");
        }
        println!();
    } else if not_built > 0 {
        println!("{folder}/{family}: not built: {not_built}");
    } else {
        println!("{folder}/{family}: only with --long: {long}");
    }
    for line in lines {
        println!("{line}");
    }
}

/// Runs the cases on several threads; the outcomes come in the order of the cases.
fn run_all(folder: &str, family: &str, cases: &[Case], options: &Options) -> Vec<Outcome> {
    let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(cases.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    // The longest first, so that no thread begins a long one when the others are done.
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(queueing::size(&cases[i].value)));
    std::thread::scope(|scope| {
        for _ in 0..options.threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some(&at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = &cases[at].value;
                    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(folder, family, case, options)))
                        .unwrap_or_else(|cause| Outcome::Failed(format!("panicked: {}", message(&*cause))));
                    outcomes.lock().unwrap_or_else(|e| e.into_inner())[at] = Some(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(|e| e.into_inner());
    outcomes.into_iter().map(|o| o.unwrap_or_else(|| Outcome::Failed("not run".into()))).collect()
}

fn message(cause: &(dyn std::any::Any + Send)) -> &str {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

fn dispatch(folder: &str, family: &str, case: &Value, options: &Options) -> Outcome {
    match folder {
        "ecs" => capacity::run(family, case)
            .or_else(|| placement::run(family, case))
            .or_else(|| kube_hpa::run_eks(family, case))
            .unwrap_or_else(|| ecs::run(family, case)),
        "kubernetes" => kube_scheduler::run(family, case)
            .or_else(|| kube_control::run(family, case))
            .or_else(|| kube_hpa::run(family, case))
            .unwrap_or(Outcome::NotBuilt),
        "karpenter" => karpenter::run(family, case).unwrap_or(Outcome::NotBuilt),
        "published" => published::run(family, case, options.long),
        _ => Outcome::NotBuilt,
    }
}
