//! What a second core gives: a sweep of 200 runs with two threads against the same with one.
//!
//! `cargo bench --bench runs` does five rounds, in turn with one and with two threads, each from reading the
//! configurations to the finished tables, with a store on disk; it prints the median of the five ratios and how far they
//! spread. With `-- --check` it fails below 1.9, which only says something on two cores that nobody else uses; what the
//! machine itself gives to two threads that share nothing is measured between the rounds and stands beside it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use simctl::experiment::sweep::{Design, PointRuns, run_table, sweep};
use simctl::experiment::{CHECK_SCHEDULE, LEVEL, Runner, Space, Store, Unwatched, all_of};
use simctl::scenario::axis::Axis;
use simctl::scenario::{LoadOptions, load_text};

const SPIKE: &str = include_str!("../scenarios/spike.toml");
const AXES: [&str; 2] =
    ["services.web.scaling.policies.cpu60.target_value=40..85:10", "services.web.scaling.min_capacity=1,2,3,4"];
const REPLICATIONS: u32 = 5;
const ROUNDS: usize = 5;
const WANTED: f64 = 1.9;

/// Seconds that a whole sweep takes, and its table.
fn whole_sweep(jobs: usize) -> (f64, Vec<Vec<String>>) {
    let root = tempfile::tempdir().expect("temporary folder");
    let started = Instant::now();
    let axes = AXES.map(|a| Axis::parse(a, "--vary").expect("an axis")).to_vec();
    let values = Design::Grid.points(&axes, 42).expect("a grid");
    let load = |sets: &[String]| {
        let options =
            LoadOptions { sets: sets.to_vec(), check_schedule: Some(CHECK_SCHEDULE), ..LoadOptions::default() };
        load_text("spike", "spike.toml", SPIKE, Path::new("."), &options)
    };
    let command = |_: &simctl::scenario::Loaded, _: &[String]| "simctl run spike.toml".to_owned();
    let space = Space::load(axes, values, jobs, load, command).expect("a space");
    let wanted = all_of(space.points.len(), 0..REPLICATIONS);
    assert_eq!(wanted.len(), 200);
    let runner = Runner { jobs, store: Some(Store::new(root.path())), ..Runner::default() };
    let done = runner.run(&space.points, &wanted, &Unwatched, |_, record| record);
    let mut points: Vec<PointRuns> = space
        .values
        .iter()
        .map(|values| PointRuns { values: values.clone(), invalid: None, runs: Vec::new(), failures: Vec::new() })
        .collect();
    for (want, result) in wanted.iter().zip(done.results) {
        points[want.point].runs.push(result.expect("a run"));
    }
    let result = sweep("spike", Design::Grid, &space.axes, REPLICATIONS, &points, LEVEL);
    assert_eq!(result.points.len(), 40);
    let table = run_table(&space.axes, &points).1;
    (started.elapsed().as_secs_f64(), table)
}

/// Rounds of arithmetic in registers, for which threads share nothing at all.
fn spin() -> u64 {
    (0..400_000_000_u64).fold(1, |x, i| std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005) ^ i))
}

/// How many times the throughput of one thread two have on this machine just now.
fn machine() -> f64 {
    let started = Instant::now();
    std::hint::black_box(spin());
    let one = started.elapsed().as_secs_f64();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let other = scope.spawn(spin);
        std::hint::black_box(spin());
        std::hint::black_box(other.join().expect("it ends"));
    });
    2.0 * one / started.elapsed().as_secs_f64()
}

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    let mut ratios = Vec::new();
    let mut bare = Vec::new();
    for round in 1..=ROUNDS {
        let (one, table) = whole_sweep(1);
        let (two, same) = whole_sweep(2);
        assert!(table == same, "the table does not depend on the number of threads");
        bare.push(machine());
        ratios.push(one / two);
        println!(
            "round {round}: {:6.1} runs/s on one thread, {:6.1} on two: {:.3} times (bare threads {:.3})",
            200.0 / one,
            200.0 / two,
            one / two,
            bare[round - 1]
        );
    }
    ratios.sort_by(f64::total_cmp);
    bare.sort_by(f64::total_cmp);
    let median = ratios[ROUNDS / 2];
    println!(
        "a sweep of 200 runs: two threads {median:.3} times as fast as one (from {:.3} to {:.3}); bare threads {:.3} \
         (from {:.3} to {:.3})",
        ratios[0],
        ratios[ROUNDS - 1],
        bare[ROUNDS / 2],
        bare[0],
        bare[ROUNDS - 1]
    );
    if check && median < WANTED {
        println!("below {WANTED}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
