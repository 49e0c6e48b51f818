use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command};
use crate::experiment::RunRecord;
use crate::kernel::SimTime;
use crate::output::{Meta, ObjectiveResult, OutputError, RowSink, SUMMARY_SCHEMA, ServiceRow, ServiceSummary};
use crate::report::Style;

/// An engine that makes up one row and misses its objective.
fn made_up(job: &Job<'_>, rows: &mut RowSink, progress: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
    progress(SimTime::from_secs(1));
    rows.service(&ServiceRow { service: "web".into(), ..ServiceRow::default() })?;
    let mut summary = Summary {
        schema: SUMMARY_SCHEMA.into(),
        meta: Meta {
            name: job.loaded.name.clone(),
            variant: job.loaded.variant.clone(),
            plan_hash: job.plan_hash.into(),
            seed: job.loaded.plan.simulation.seed,
            duration_s: 10.0,
            interval_s: 10.0,
            ..Meta::default()
        },
        objectives: vec![ObjectiveResult { subject: "web".into(), held: Some(false), ..ObjectiveResult::default() }],
        ..Summary::default()
    };
    summary.services.insert("web".into(), ServiceSummary::default());
    Ok(RunRecord::new(summary, &[]))
}

fn full_disk(_: &Job<'_>, _: &mut RowSink, _: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    Err(OutputError::io("write", "output/x/services.csv", full).into())
}

fn interrupted(_: &Job<'_>, _: &mut RowSink, _: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
    Err(EngineError::Interrupted("at 20 min".into()))
}

struct Ended {
    code: u8,
    out: String,
    err: String,
}

/// Runs a command line with an engine.
fn simctl(engine: Engine, args: &[&str]) -> Ended {
    let cli = Cli::try_parse_from(std::iter::once(&"simctl").chain(args)).expect("well-formed arguments");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        style: Style::default(),
        err_color: false,
        bar: false,
        quiet: cli.global.quiet,
        verbose: cli.global.verbose,
        json_errors: false,
    };
    let code = crate::cli::dispatch(&cli.command, &mut console, engine).code();
    assert!(matches!(cli.command, Command::Run(_) | Command::Report(_) | Command::Sweep(_)));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code, out: text(out), err: text(err) }
}

#[test]
fn a_run_ends_in_a_folder_or_in_nothing() {
    let root = tempfile::tempdir().expect("temporary folder");
    let scenario = root.path().join("spike.toml");
    std::fs::write(&scenario, crate::scenario::starter()).expect("scenario");
    let (file, out) = (scenario.display().to_string(), root.path().join("result"));
    let place = out.display().to_string();
    let run = |engine: Engine, more: &[&str]| {
        let args: Vec<&str> = ["run", &file, "--out", &place].iter().chain(more).copied().collect();
        simctl(engine, &args)
    };

    for engine in [full_disk as Engine, interrupted] {
        let ended = run(engine, &[]);
        assert_eq!(ended.code, if engine as usize == full_disk as Engine as usize { 3 } else { 130 }, "{}", ended.err);
        assert_eq!(std::fs::read_dir(root.path()).expect("folder").count(), 1, "nothing is left: {}", ended.err);
        assert_eq!(ended.out, "");
        assert_eq!(ended.err.lines().filter(|l| l.starts_with("error")).count(), 1, "{}", ended.err);
    }

    let ended = run(made_up, &[]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("✗ web") && ended.out.contains("charts/overview.svg"), "{}", ended.out);
    assert!(ended.err.contains("simulating spike/base: 45 min, seed 42, plan "), "{}", ended.err);
    for name in ["plan.toml", "summary.json", "services.csv", "replications.csv", "charts/overview.png"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert_eq!(run(made_up, &["--check"]).code, 10, "the same plan replaces its result");

    let other = run(made_up, &["--seed", "7"]);
    assert_eq!(other.code, 3, "{}", other.err);
    assert!(other.err.contains("--force"), "{}", other.err);
    let forced = run(made_up, &["--seed", "7", "--force", "--json", "--quiet", "--no-charts"]);
    assert_eq!((forced.code, forced.err.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&forced.out).expect("JSON");
    assert_eq!(json["meta"]["seed"], 7);
    let quiet = run(made_up, &["--seed", "7", "--quiet"]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));

    let report = simctl(made_up, &["report", &place, "--format", "markdown", "--check"]);
    assert_eq!(report.code, 10, "{}", report.err);
    assert!(report.out.starts_with("## spike / base"), "{}", report.out);
    assert_eq!(simctl(made_up, &["report", &file]).code, 3);
    assert_eq!(simctl(made_up, &["run", &format!("{file}x")]).code, 3);
    assert_eq!(simctl(made_up, &["run", &file, "--set", "services.web.task.cpus=1"]).code, 2);
}

#[test]
fn what_reproduces_a_run_is_said_as_it_is_typed() {
    let root = tempfile::tempdir().expect("temporary folder");
    let scenario = root.path().join("spike.toml");
    std::fs::write(&scenario, crate::scenario::starter()).expect("scenario");
    let patch = Patch { sets: vec!["simulation.duration=\"50m\"".into()], variants: Vec::new(), allow_outside: false };
    let loaded = load_variants(&scenario, &patch).expect("loads").remove(0);
    let command = reproduce("spike.toml", &loaded, &patch, Some(3));
    assert_eq!(command, "simctl run spike.toml --set 'simulation.duration=\"50m\"' --seed 3");
}

/// Simulates nothing in replication 1 of a service with 1 vCPU: there it fails.
fn sometimes(job: &Job<'_>, rows: &mut RowSink, at: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
    let unlucky = job.replication == 1 && job.loaded.plan.services["web"].task.cpu.units() == 1024;
    if unlucky { Err(EngineError::Invalid("out of luck".into())) } else { made_up(job, rows, at) }
}

#[cfg(unix)]
#[test]
fn a_failed_run_leaves_the_others_and_the_printed_command_repeats_it() {
    let root = tempfile::tempdir().expect("temporary folder");
    let scenario = root.path().join("it's a spike.toml");
    std::fs::write(&scenario, crate::scenario::starter()).expect("scenario");
    let at = |name: &str| root.path().join(name).display().to_string();
    let (file, out, store) = (scenario.display().to_string(), at("out"), at("store"));
    let set = "objectives.web.latency_p99=\"<= 0.9 s\"";
    let args = ["sweep", &file, "--vary", "services.web.task.cpu=512,1024", "-n", "3", "--set", set, "--seed", "9"];
    let ended = simctl(sometimes, &[&args[..], &["--no-charts", "--out", &out, "--store", &store]].concat());
    assert_eq!(ended.code, 20, "{}", ended.err);
    assert!(ended.err.contains("error: task.cpu=1024, replication 1: out of luck\n"), "{}", ended.err);
    let table = std::fs::read_to_string(root.path().join("out/sweep.csv")).expect("rows");
    assert_eq!((table.matches(",ok,").count(), table.matches(",failed,").count()), (5, 1), "{table}");

    // The shell takes the command apart.
    let said = ended.err.lines().find_map(|l| l.trim().strip_prefix("to repeat it: simctl ")).expect("a command");
    let script = format!("for word in {said}; do printf '%s\\n' \"$word\"; done");
    let words = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh starts").stdout;
    let words = String::from_utf8(words).expect("UTF-8");
    let again: Vec<&str> = words.lines().collect();
    let ended = simctl(sometimes, &[&again[..], &["--out", &at("again")]].concat());
    assert_eq!((ended.code, ended.err.contains("error: out of luck")), (2, true), "{}", ended.err);
    assert!(!root.path().join("again").exists());
}
