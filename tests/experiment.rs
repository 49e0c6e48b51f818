//! Many runs: the same bytes whatever the number of threads and whatever interrupted them, common draws that pay, and
//! a search that finds what an exhaustive sweep knows.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use simctl::experiment::search::{Goal, Search, SearchResult, run_search};
use simctl::experiment::sweep::Design;
use simctl::experiment::{
    CHECK_SCHEDULE, CompareOptions, Engine, EngineError, Figure, Job, Point, RunRecord, Runner, Space, Store,
    Unwatched, Variant, Wanted, all_of, compare, simulate,
};
use simctl::kernel::SimTime;
use simctl::output::RowSink;
use simctl::scenario::axis::Axis;
use simctl::scenario::{LoadOptions, Loaded, load_text};

const SPIKE: &str = include_str!("../scenarios/spike.toml");

/// A scenario of milliseconds, in which a burst needs either size or many small tasks. On the axes of [`space`] what keeps
/// its objectives and what does not lie far enough apart for the answer not to depend on the seed.
const BURST: &str = r#"
[simulation]
duration = "12m"
warm_up  = "2m"

[cluster]
orchestrator = "ecs"

[capacity.fargate]
type = "fargate"

[services.web]
desired_count = 2
capacity.fargate = { base = 1, weight = 1 }
monitoring_resolution = 20

[services.web.task]
cpu         = 512
memory      = "4 GB"
image.size  = "50 MB"
startup     = "5s"
concurrency = 16

[services.web.requests.page]
cpu_time = { distribution = "exponential", mean = "60ms" }

[services.web.client]
timeout = "10s"

[services.web.traffic]
rate = [{ at = "0s", rps = 4 }, { at = "4m", rps = 4 }, { at = "4m30s", rps = 12 }]

[services.web.scaling]
min_capacity = 1
max_capacity = 20

[services.web.scaling.policies.cpu]
type = "target_tracking"
predefined_metric_type = "ECSServiceAverageCPUUtilizationHighResolution"
target_value = 60
scale_out_cooldown = "60s"

[objectives.web]
latency_p95  = "<= 560 ms"
availability = ">= 99 %"
"#;

/// 108 configurations.
const AXES: [&str; 3] = [
    "services.web.desired_count=1..9:9",
    "services.web.task.cpu=512,1024",
    "services.web.scaling.policies.cpu.target_value=30..80:6",
];

fn scenario(text: &str, variant: Option<&str>, sets: &[String]) -> Loaded {
    let options = LoadOptions {
        sets: sets.to_vec(),
        variant: variant.map(ToOwned::to_owned),
        check_schedule: Some(CHECK_SCHEDULE),
        ..LoadOptions::default()
    };
    load_text("s", "s.toml", text, Path::new("."), &options).expect("a valid scenario")
}

fn space(seed: u64) -> Space {
    let axes: Vec<Axis> = AXES.map(|a| Axis::parse(a, "--vary").expect("an axis")).to_vec();
    let values = Design::Grid.points(&axes, seed).expect("a grid");
    let load = |sets: &[String]| {
        let sets = [sets, &[format!("simulation.seed={seed}")]].concat();
        let options = LoadOptions { sets, check_schedule: Some(CHECK_SCHEDULE), ..LoadOptions::default() };
        load_text("burst", "burst.toml", BURST, Path::new("."), &options)
    };
    Space::load(axes, values, 2, load, |_, _| "simctl run burst.toml".to_owned()).expect("a space")
}

// ---- The program

/// simctl in a folder, without anything of the environment that it listens to.
fn simctl(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simctl"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIMCTL_")) {
        command.env_remove(name);
    }
    command
}

fn end(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = simctl(folder, args).output().expect("simctl starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("burst.toml"), BURST).expect("file");
    std::fs::write(folder.path().join("spike.toml"), SPIKE).expect("file");
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every file below a folder, with its bytes.
fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            files.extend(tree(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.push((name, std::fs::read(path).expect("file")));
        }
    }
    files
}

#[track_caller]
fn assert_equal_trees(a: &Path, b: &Path) {
    let (a, b) = (tree(a), tree(b));
    let have = |t: &[(String, Vec<u8>)]| t.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert!(a.len() >= 3, "{:?}", have(&a));
    assert_eq!(have(&a), have(&b));
    for (left, right) in a.iter().zip(&b) {
        assert!(left.1 == right.1, "{} differs", left.0);
    }
}

const COMPARE: [&str; 7] =
    ["compare", "spike.toml", "--replications", "6", "--set", "simulation.duration=7m", "--quiet"];
const SWEEP: [&str; 9] = [
    "sweep",
    "spike.toml",
    "--vary",
    "services.web.task.cpu=512,1024",
    "--vary",
    "services.web.scaling.policies.cpu60.target_value=50..70:3",
    "--set",
    "simulation.duration=12m",
    "--quiet",
];
const SEARCH: [&str; 9] = [
    "search",
    "burst.toml",
    "--vary",
    "services.web.desired_count=1..4:4",
    "--vary",
    "services.web.task.cpu=512,1024",
    "--set",
    "simulation.duration=6m",
    "--quiet",
];

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let folder = folder();
    let at = folder.path();
    for command in [&COMPARE[..], &SWEEP, &SEARCH] {
        for jobs in ["1", "2", "5"] {
            let (out, store) = (format!("{}-{jobs}", command[0]), format!("store-{}-{jobs}", command[0]));
            let more = ["--jobs", jobs, "--out", &out, "--store", &store];
            let (code, stdout, err) = end(at, &[command, &more].concat());
            assert_eq!((code, stdout.as_str(), err.as_str()), (0, "", ""), "{} {jobs}", command[0]);
            if jobs != "1" {
                assert_equal_trees(&at.join(format!("{}-1", command[0])), &at.join(&out));
                assert_equal_trees(&at.join(format!("store-{}-1", command[0])), &at.join(&store));
            }
        }
    }
}

/// A sweep of some seconds.
const LONG: [&str; 15] = [
    "sweep",
    "spike.toml",
    "--vary",
    "services.web.scaling.policies.cpu60.target_value=50..75:6",
    "--vary",
    "services.web.task.image.size=100 MB,350 MB",
    "--replications",
    "5",
    "--jobs",
    "2",
    "--set",
    "simulation.duration=20m",
    "--no-charts",
    "--store",
    "store",
];

/// Begins the sweep and returns when its store holds some runs.
fn begun(at: &Path, runs: usize) -> Child {
    let mut command = simctl(at, &[&LONG[..], &["--out", "result"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let whole = || names(&at.join("store")).iter().filter(|n| n.ends_with(".json")).count();
    while whole() < runs {
        assert!(child.try_wait().expect("waits").is_none(), "it ended before it could be disturbed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child
}

#[cfg(unix)]
#[test]
fn a_killed_sweep_goes_on_and_ends_in_the_same_bytes() {
    let folder = folder();
    let at = folder.path();
    let (code, _, err) = end(at, &[&LONG[..14], &["undisturbed-store", "--out", "undisturbed"]].concat());
    assert_eq!(code, 0, "{err}");
    // Killed twice, at different places.
    for runs in [3, 20] {
        let mut child = begun(at, runs);
        child.kill().expect("SIGKILL");
        let status = child.wait().expect("ends");
        assert_eq!(status.code(), None, "killed by the signal");
        assert_eq!(names(at), ["burst.toml", "spike.toml", "store", "undisturbed", "undisturbed-store"]);
        if runs == 3 {
            // Worse than a kill: one of the runs is cut in half, the others are lost.
            let store = at.join("store");
            let one = names(&store).into_iter().find(|n| n.ends_with(".json")).expect("a run");
            let text = std::fs::read(store.join(&one)).expect("run");
            std::fs::remove_dir_all(&store).expect("removed");
            std::fs::create_dir(&store).expect("made");
            std::fs::write(store.join(&one), &text[..text.len() / 2]).expect("cut");
        }
    }
    let (code, _, err) = end(at, &[&LONG[..], &["--out", "result", "--resume"]].concat());
    assert_eq!(code, 0, "{err}");
    let taken: usize = err
        .lines()
        .find_map(|l| l.strip_suffix(" of 60 runs were taken from the store"))
        .unwrap_or_else(|| panic!("{err}"))
        .parse()
        .expect("a number");
    assert!((19..60).contains(&taken), "{taken} runs were taken");
    assert_equal_trees(&at.join("undisturbed"), &at.join("result"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_sweep_keeps_its_runs_and_says_how_to_go_on() {
    let folder = folder();
    let at = folder.path();
    let child = begun(at, 4);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let ended = child.wait_with_output().expect("ends");
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{err}");
    assert!(err.contains("error: interrupted: ") && err.contains(" of 60 runs were finished"), "{err}");
    assert!(err.contains("are kept in store; the same command with --resume goes on from there"), "{err}");
    assert_eq!(names(at), ["burst.toml", "spike.toml", "store"]);
    let kept = names(&at.join("store")).len();
    assert!(kept >= 4 && names(&at.join("store")).iter().all(|n| n.ends_with(".json")), "{kept}");
    let (code, _, err) = end(at, &[&LONG[..], &["--out", "result", "--resume"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(&format!("{kept} of 60 runs were taken from the store")), "{err}");
    let (code, ..) = end(at, &[&LONG[..14], &["other-store", "--out", "undisturbed"]].concat());
    assert_eq!(code, 0);
    assert_equal_trees(&at.join("undisturbed"), &at.join("result"));
}

// ---- Statistics that only whole runs show

fn runs_of(points: &[Point], replications: u32) -> Vec<Variant> {
    let runs = Runner::default().replicate(points, replications).expect("all runs end");
    points.iter().zip(runs).map(|(point, runs)| Variant { label: point.label.clone(), runs }).collect()
}

#[test]
fn equal_settings_differ_by_nothing_at_all() {
    let point = |label| Point::new(scenario(BURST, None, &[]), label, "");
    let comparison = compare(&runs_of(&[point("one"), point("two")], 10), &CompareOptions::default());
    let against = &comparison.against[0];
    assert!(against.differences.iter().filter(|d| d.difference.is_some()).count() > 10);
    for d in against.differences.iter().filter(|d| d.difference.is_some()) {
        assert_eq!((d.difference, d.interval), (Some(0.0), Some((0.0, 0.0))), "{}", d.address);
        assert_eq!(
            (d.shown, d.verdict.as_str(), d.corrected_p),
            (false, "no difference shown", Some(1.0)),
            "{}",
            d.address
        );
    }
    assert!(against.sentence.contains("no significant difference"), "{}", against.sentence);
}

#[test]
fn common_draws_pay_between_two_variants_of_the_spike() {
    let point = |variant| Point::new(scenario(SPIKE, Some(variant), &[]), variant, "");
    let variants = runs_of(&[point("headroom"), point("headroom-slim-image")], 30);
    let figures = Figure::all(["web"]);
    println!("variance of the paired difference / of independent runs, 30 replications of spike.toml:");
    let mut shown = Vec::new();
    for figure in &figures {
        let values = |v: &Variant| v.runs.iter().filter_map(|r| figure.of(r)).collect::<Vec<f64>>();
        let (a, b) = (values(&variants[0]), values(&variants[1]));
        let difference: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
        let (apart, paired) = (variance(&a) + variance(&b), variance(&difference));
        if a.len() == 30 && b.len() == 30 && apart > 0.0 {
            println!("  {:<26} {:>7.4}", figure.address(), paired / apart);
            shown.push((figure.address(), paired / apart));
        } else {
            println!("  {:<26} does not vary", figure.address());
        }
    }
    for address in ["web.latency_mean_ms", "cluster.cost_per_hour_usd"] {
        let (_, ratio) = shown.iter().find(|(a, _)| a == address).expect("it varies");
        assert!(*ratio <= 0.25, "{address}: {ratio}");
    }
}

fn variance(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (x.len() - 1) as f64
}

// ---- Failures

/// Fails in replication 1 of the points with 512 units of CPU.
fn sometimes(job: &Job<'_>, rows: &mut RowSink, at: &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError> {
    let small = job.loaded.plan.services["web"].task.cpu.units() == 512;
    if small && job.replication == 1 {
        Err(EngineError::Invalid("out of luck".into()))
    } else {
        simulate(job, rows, at)
    }
}

#[test]
fn a_failed_run_costs_no_other_and_no_wrong_answer() {
    let points: Vec<Point> = [512, 1024]
        .map(|cpu| {
            let set = format!("services.web.task.cpu={cpu}");
            Point::new(
                scenario(BURST, None, std::slice::from_ref(&set)),
                set.clone(),
                format!("simctl run burst.toml --set {set}"),
            )
        })
        .to_vec();
    let root = tempfile::tempdir().expect("temporary folder");
    let store = Some(Store::new(root.path()));
    let wanted = all_of(2, 0..3);
    let run = |engine: Engine, resume| {
        let runner = Runner { engine, store: store.clone(), resume, ..Runner::default() };
        runner.run(&points, &wanted, &Unwatched, |_, r| r)
    };
    let done = run(sometimes, false);
    let failed: Vec<_> = done.failures().collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].command, "simctl run burst.toml --set services.web.task.cpu=512 --replication 1");
    assert_eq!(failed[0].to_string(), "services.web.task.cpu=512, replication 1: out of luck");
    assert_eq!(done.results.iter().filter(|r| r.is_ok()).count(), 5);
    // Only the failed one is left to do.
    let again = run(simulate, true);
    assert_eq!((again.reused, again.failures().count()), (5, 0));
    // What is compared is paired by replication, so that the gap is on both sides.
    let of = |point: usize| -> Vec<RunRecord> {
        wanted.iter().zip(&done.results).filter(|(w, _)| w.point == point).filter_map(|(_, r)| r.clone().ok()).collect()
    };
    let variants = [0, 1].map(|i| Variant { label: points[i].label.clone(), runs: of(i) });
    assert_eq!(compare(&variants, &CompareOptions::default()).against[0].replications, 2);
}

// ---- Search

fn goal(replications: u32) -> Goal {
    let figures = Figure::all(["web"]);
    let minimise = Figure::find(&figures, "cost_per_hour").expect("a figure").clone();
    Goal { minimise, hold: 0.9, confidence: 0.95, replications }
}

/// The cost of every configuration that keeps the objectives in all of `replications` runs of this seed.
fn exhaustive(seed: u64, replications: u32) -> Vec<Option<f64>> {
    let space = space(seed);
    let goal = goal(30);
    let runs = Runner::default().replicate(&space.points, replications).expect("all runs end");
    let mut costs = vec![None; space.values.len()];
    for (runs, &candidate) in runs.iter().zip(&space.of_point) {
        let kept = runs.iter().all(|r| r.summary.objectives_missed() == 0);
        let cost = |r: &RunRecord| goal.minimise.of(r).expect("a cost");
        costs[candidate] = kept.then(|| runs.iter().map(cost).sum::<f64>() / runs.len() as f64);
    }
    costs
}

fn searched(seed: u64) -> SearchResult {
    let space = space(seed);
    let search = Search::over(goal(30), &space, 400, seed).expect("can be shown");
    let runner = Runner::default();
    let make = |wanted: &[Wanted], _: &str| -> Result<Vec<Option<RunRecord>>, std::convert::Infallible> {
        let done = runner.run(&space.points, wanted, &Unwatched, |_, r| r);
        Ok(done.results.into_iter().map(Result::ok).collect())
    };
    run_search(search, &space, "burst", make).unwrap_or_else(|never| match never {})
}

/// Searches with each seed; returns how many found the truth, or what costs at most 1 % more, with a tenth of the runs.
fn found(truth: &[Option<f64>], seeds: std::ops::Range<u64>) -> usize {
    let best = truth.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let kept = truth.iter().flatten().count();
    println!("{} configurations, {kept} keep the objectives, the best costs ${best:.5} an hour", truth.len());
    let mut good = 0;
    for seed in seeds {
        let r = searched(seed);
        let runs = r.spent + r.fresh_runs;
        let cost = r.winner.and_then(|w| truth[w]);
        let is_good = cost.is_some_and(|c| c <= 1.01 * best) && 10 * runs <= 30 * truth.len();
        good += usize::from(is_good);
        let above = cost.map_or("breaks the objectives".to_owned(), |c| format!("{:+.2} %", 100.0 * (c / best - 1.0)));
        println!("  seed {seed:>3}: configuration {:?}, {above}, {} + {} runs", r.winner, r.spent, r.fresh_runs);
    }
    good
}

#[test]
fn search_finds_what_an_exhaustive_sweep_knows() {
    let truth = exhaustive(1_000, 10);
    assert!(truth.len() >= 100);
    assert_eq!(found(&truth, 1..4), 3);
}

/// The full measure: thirty replications of every configuration, twenty seeds.
#[test]
#[ignore = "some minutes; see CONTRIBUTING.md"]
fn search_finds_what_an_exhaustive_sweep_knows_with_twenty_seeds() {
    let truth = exhaustive(1_000, 30);
    let good = found(&truth, 1..21);
    println!("{good} of 20");
    assert!(good >= 18, "{good} of 20");
}

#[test]
fn a_search_in_which_nothing_keeps_the_objectives_says_how_near_it_came() {
    let folder = folder();
    let at = folder.path();
    let hopeless = ["--set", "objectives.web.latency_p95=<= 340 ms", "--vary", "services.web.desired_count=1..2:2"];
    let args = [&["search", "burst.toml", "--no-charts", "--format", "json", "--quiet"], &hopeless[..]].concat();
    let (code, out, err) = end(at, &args);
    assert_eq!(code, 10, "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(json["winner"].is_null() && json["patch"] == "", "{out}");
    let nearest = json["nearest"].as_u64().expect("the nearest") as usize;
    let rows = json["candidates"].as_array().expect("rows");
    let excess = |i: usize| rows[i]["excess"].as_f64().expect("an excess");
    assert!(excess(nearest) > 0.0 && (0..2).all(|i| excess(i) >= excess(nearest)));
    assert_eq!(json["fresh"][0]["label"], "nearest (web.desired_count=2)");
    assert!(!at.join("output/burst/search/found.toml").exists());
}
