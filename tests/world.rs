//! Random whole scenarios: requests, capacity and money are conserved, deployments keep their bounds
//! and end in exactly one way, and equal seeds give equal bytes.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use simctl::catalog::Catalog;
use simctl::output::{DeploymentOutcome, RowSink, Summary};
use simctl::scenario::{from_text, model::Inputs, plan_hash};
use simctl::simulation::{RunOptions, run};

/// What varies between scenarios.
#[derive(Clone, Debug)]
struct World {
    seed: u64,
    warm_up_s: u32,
    desired: u32,
    minimum: u32,
    maximum: u32,
    rps: f64,
    peak: f64,
    cpu_ms: u32,
    model: &'static str,
    algorithm: &'static str,
    spot: bool,
    reclaim: bool,
    container_check: bool,
    deregistration_s: u32,
    scaling: bool,
    deploy: Option<Fault>,
    /// How a new revision takes over.
    how: How,
    concurrency: Option<u32>,
    retries: u32,
    crashes: bool,
    memory_per_request_mb: u32,
}

/// How a new revision takes over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Rolling,
    BlueGreen,
    Linear,
    Canary,
    CodeDeploy,
}

impl How {
    /// What goes below `services.web.ecs`, beside the percents.
    fn text(self) -> &'static str {
        match self {
            Self::Rolling => "deployment_circuit_breaker = { enable = true, rollback = true }\n",
            Self::BlueGreen => {
                "strategy = \"BLUE_GREEN\"\nbake_time_in_minutes = 1\n\
                 deployment_circuit_breaker = { enable = true, rollback = true }\n"
            }
            Self::Linear => {
                "strategy = \"LINEAR\"\nbake_time_in_minutes = 1\n\
                 linear_configuration = { step_percent = 33.3, step_bake_time_in_minutes = 1 }\n\
                 deployment_circuit_breaker = { enable = true, rollback = false }\n\
                 lifecycle_hooks.look = { lifecycle_stages = [\"PRODUCTION_TRAFFIC_SHIFT\"], takes = \"40s\", alarm = \"errors\" }\n"
            }
            Self::Canary => {
                "strategy = \"CANARY\"\nbake_time_in_minutes = 1\n\
                 canary_configuration = { canary_percent = 20, canary_bake_time_in_minutes = 2 }\n\
                 alarms = { alarm_names = [\"errors\"], enable = true, rollback = true }\n"
            }
            Self::CodeDeploy => {
                "[services.web.ecs.code_deploy]\n\
                 traffic_routing_config = { type = \"TimeBasedLinear\", linear_percentage = 30, linear_interval = 1 }\n\
                 termination_wait_time_in_minutes = 1\n\
                 alarm_configuration = { enabled = true, alarms = [\"errors\"] }\n\
                 auto_rollback_configuration = { enabled = true, events = [\"DEPLOYMENT_STOP_ON_ALARM\"] }\n\
                 hooks.smoke = { events = [\"AfterAllowTestTraffic\"], takes = \"20s\" }\n"
            }
        }
    }
}

/// How the new revision differs.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Slow,
    FailsToStart,
    Crashes,
    FailsChecks,
    Errors,
}

fn world() -> impl Strategy<Value = World> {
    let sizes =
        (1..8_u32, prop_oneof![Just(0_u32), Just(50), Just(100)], prop_oneof![Just(100_u32), Just(150), Just(200)]);
    let load = (1.0..60.0_f64, 0.0..200.0_f64, 5..60_u32);
    let words = (
        prop_oneof![Just("quota"), Just("fluid")],
        prop_oneof![
            Just("round_robin"),
            Just("least_outstanding_requests"),
            Just("weighted_random"),
            Just("power_of_choices")
        ],
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let deploy = prop_oneof![
        Just(None),
        Just(Some(Fault::None)),
        Just(Some(Fault::Slow)),
        Just(Some(Fault::FailsToStart)),
        Just(Some(Fault::Crashes)),
        Just(Some(Fault::FailsChecks)),
        Just(Some(Fault::Errors)),
    ];
    let how = prop_oneof![
        Just(How::Rolling),
        Just(How::BlueGreen),
        Just(How::Linear),
        Just(How::Canary),
        Just(How::CodeDeploy)
    ];
    let rest = (0..120_u32, prop_oneof![Just(None), (1..20_u32).prop_map(Some)], 0..3_u32, 0..20_u32);
    (any::<u32>(), sizes, load, words, flags, (deploy, how), rest).prop_map(
        |(seed, sizes, load, words, flags, (deploy, how), rest)| World {
            seed: u64::from(seed),
            warm_up_s: seed % 3 * 95,
            desired: sizes.0,
            // Percents that leave a deployment no room at all are refused by the language.
            minimum: if sizes.0 * sizes.2 / 100 == sizes.0 { 0 } else { sizes.1 },
            maximum: sizes.2,
            rps: load.0,
            peak: load.1,
            cpu_ms: load.2,
            model: words.0,
            algorithm: words.1,
            spot: flags.0,
            reclaim: flags.1,
            container_check: flags.2,
            scaling: flags.3,
            crashes: flags.4,
            deploy,
            how,
            deregistration_s: rest.0,
            concurrency: rest.1,
            retries: rest.2,
            memory_per_request_mb: rest.3,
        },
    )
}

fn text(w: &World) -> String {
    let mut t = String::new();
    let _ = writeln!(t, "[simulation]\nduration = \"20m\"\nwarm_up = \"{}s\"\nseed = {}\n", w.warm_up_s, w.seed);
    t.push_str("[capacity.od]\ntype = \"fargate\"\n\n");
    if w.spot {
        t.push_str("[capacity.spot]\ntype = \"fargate_spot\"\ninterruptions_per_hour = 2.0\n");
        if w.reclaim {
            t.push_str("reclaims = [{ at = \"5m\", share = 0.5 }]\n");
        }
        t.push('\n');
    }
    let _ = writeln!(t, "[services.web]\ndesired_count = {}\ncapacity.od = {{ base = 1, weight = 1 }}", w.desired);
    if w.spot {
        t.push_str("capacity.spot = { weight = 3 }\n");
    }
    let _ = writeln!(
        t,
        "[services.web.ecs]\nhealth_check_grace_period_seconds = 60\n{}[services.web.ecs.deployment_configuration]\n\
         minimum_healthy_percent = {}\nmaximum_percent = {}\n{}\
         [services.web.alarms]\n\
         errors = {{ metric = \"ErrorRate\", comparison_operator = \"GreaterThanThreshold\", threshold = 5 }}",
        if w.how == How::CodeDeploy { "deployment_controller = \"CODE_DEPLOY\"\n" } else { "" },
        w.minimum,
        w.maximum,
        w.how.text()
    );
    let _ = writeln!(
        t,
        "[services.web.task]\ncpu = 512\nmemory = \"1 GB\"\nimage.size = \"120 MB\"\nstartup = \"6s\"\n\
         startup_cpu = \"250m\"\nmemory_idle = \"200 MiB\"\ncpu_model = \"{}\"",
        w.model
    );
    if let Some(n) = w.concurrency {
        let _ = writeln!(t, "concurrency = {n}\naccept_queue = 50");
    }
    if w.container_check {
        t.push_str("health_check = { interval = \"10s\", timeout = \"5s\", start_period = \"20s\" }\n");
    }
    let _ = writeln!(
        t,
        "[services.web.requests.page]\ncpu_time = {{ distribution = \"lognormal\", mean = \"{}ms\", cv = 1.0 }}\n\
         wait = \"10ms\"\nmemory = \"{} MB\"",
        w.cpu_ms, w.memory_per_request_mb
    );
    let _ = writeln!(t, "[services.web.client]\ntimeout = \"2s\"\nretries = {}", w.retries);
    let _ = writeln!(
        t,
        "[services.web.traffic]\nrate = [{{ at = \"0s\", rps = {r} }}, {{ at = \"6m\", rps = {r} }}, \
         {{ at = \"7m\", rps = {p} }}, {{ at = \"12m\", rps = {p} }}, {{ at = \"12m\", rps = {r} }}]",
        r = w.rps,
        p = w.peak
    );
    let _ = writeln!(
        t,
        "[services.web.load_balancer]\nalgorithm = \"{}\"\nderegistration_delay = \"{}s\"\n\
         health_check = {{ interval = \"10s\" }}",
        w.algorithm, w.deregistration_s
    );
    if w.scaling {
        t.push_str(
            "[services.web.scaling]\nmin_capacity = 1\nmax_capacity = 12\n[services.web.scaling.policies.cpu]\n\
             type = \"target_tracking\"\npredefined_metric_type = \"ECSServiceAverageCPUUtilization\"\n\
             target_value = 50\nscale_in_cooldown = \"60s\"\n",
        );
    }
    if let Some(fault) = w.deploy {
        t.push_str("[actions.ship]\ntype = \"deploy\"\nat = \"3m\"\nservice = \"web\"\n");
        t.push_str(match fault {
            Fault::None => "revision = {}\n",
            Fault::Slow => "revision = { startup = \"90s\", cpu_time_factor = 1.5 }\n",
            Fault::FailsToStart => "revision = { fails_to_start = 0.9 }\n",
            Fault::Crashes => "revision = { crashes_after = \"15s\" }\n",
            Fault::FailsChecks => "revision = { fails_health_checks = 1.0 }\n",
            Fault::Errors => "revision = { error_rate = 0.5 }\n",
        });
    }
    if w.crashes {
        t.push_str("[objectives.web]\nlatency_p99 = \"<= 500 ms\"\navailability = \">= 99 %\"\n");
    }
    t
}

fn simulate(w: &World, folder: Option<&Path>) -> (Summary, Vec<String>) {
    let text = text(w);
    let plan = from_text("world", &text).unwrap_or_else(|d| panic!("{}\n{text}", d.render(false)));
    let inputs = Inputs::default();
    let hash = plan_hash(&plan, &inputs);
    let mut sink = folder.map_or(RowSink::null(), |f| RowSink::folder(f).expect("a fresh folder"));
    let options = RunOptions { name: "world", plan_hash: &hash, minute_hashes: true, ..RunOptions::default() };
    let outcome = run(&plan, &inputs, Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends");
    sink.close().expect("rows are written");
    (outcome.summary, outcome.minute_hashes)
}

fn rows(folder: &Path, file: &str) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    reader.records().map(|r| r.expect("a row")).collect()
}

fn column(folder: &Path, file: &str, name: &str) -> usize {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    reader.headers().expect("a header").iter().position(|h| h == name).unwrap_or_else(|| panic!("no column {name}"))
}

fn check(w: &World) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (s, minutes) = simulate(w, Some(path));
    let defects: Vec<_> = s.notes.iter().filter(|n| n.contains("defect")).collect();
    prop_assert!(defects.is_empty(), "{defects:?}");

    // Requests: each one begun has succeeded, failed or is under way.
    let r = &s.services["web"].requests;
    prop_assert_eq!(r.started, r.succeeded + r.failed + r.unfinished);
    prop_assert_eq!(r.failed, r.failed_by_kind.values().sum::<u64>());
    let answered = r.balancer_errors.values().sum::<u64>();
    prop_assert!(answered + r.succeeded <= r.attempts + r.unfinished, "{r:?}");
    let in_warm_up =
        |row: &csv::StringRecord, time: usize| row[time].parse::<f64>().expect("a time") < f64::from(w.warm_up_s);
    let sum = |name: &str, warm_up: bool| {
        let (at, time) = (column(path, "services.csv", name), column(path, "services.csv", "time_s"));
        let all = rows(path, "services.csv");
        let counted = all.iter().filter(|row| in_warm_up(row, time) == warm_up);
        counted.map(|row| row[at].parse::<u64>().expect("a count")).sum::<u64>()
    };
    // What the warm-up leaves under way counts as begun at its end.
    let left = sum("started", true) - sum("succeeded", true) - sum("failed", true);
    prop_assert_eq!(left + sum("started", false), r.started);
    prop_assert_eq!(sum("succeeded", false), r.succeeded);
    prop_assert_eq!(sum("failed", false), r.failed);

    // Money: the intervals sum to the total, to the nano-dollar.
    let at = column(path, "costs.csv", "cost_usd");
    let time = column(path, "costs.csv", "time_s");
    let nanos: i64 =
        rows(path, "costs.csv").iter().filter(|row| !in_warm_up(row, time)).map(|row| nano(&row[at])).sum();
    prop_assert_eq!(nanos, (s.cost.total_usd * 1e9).round() as i64);
    let items: f64 = s.cost.items.iter().map(|i| i.cost_usd).sum();
    prop_assert!((items - s.cost.total_usd).abs() < 1e-6);

    // Capacity: no task uses more CPU than it has, and its life goes forwards.
    let task_rows = rows(path, "tasks.csv");
    let (used, running, stopped) = (
        column(path, "tasks.csv", "cpu_used_s"),
        column(path, "tasks.csv", "running_s"),
        column(path, "tasks.csv", "execution_stopped_s"),
    );
    for row in &task_rows {
        let number = |i: usize| row[i].parse::<f64>().ok();
        if let Some(from) = number(running) {
            let ran = number(stopped).unwrap_or(1200.0) - from;
            // A period's quota may be used up in the first part of the last period.
            prop_assert!(number(used).unwrap_or(0.0) <= 0.5 * (ran + 0.2) + 1e-3, "{row:?}");
        }
        let times: Vec<f64> = ["decided_s", "pending_s", "pull_started_s", "pull_stopped_s", "running_s", "stopped_s"]
            .iter()
            .filter_map(|name| number(column(path, "tasks.csv", name)))
            .collect();
        prop_assert!(times.windows(2).all(|p| p[0] <= p[1]), "{row:?}");
    }

    // A deployment ends in exactly one way, and the links of an incident sum to the whole.
    for d in &s.services["web"].deployments {
        match &d.outcome {
            DeploymentOutcome::Completed | DeploymentOutcome::RolledBack { .. } => prop_assert!(d.ended_s.is_some()),
            DeploymentOutcome::Stalled { reason } => prop_assert!(!reason.is_empty()),
            DeploymentOutcome::InProgress => prop_assert!(d.ended_s.is_none()),
        }
    }
    let (step, weight) = (column(path, "deployments.csv", "step"), column(path, "deployments.csv", "new_weight_pct"));
    for row in rows(path, "deployments.csv") {
        let share: f64 = row[weight].parse().expect("a share");
        prop_assert!((0.0..=100.0).contains(&share), "{row:?}");
        // A second fleet has it all before the first one goes.
        if w.how != How::Rolling && ["completed", "clean_up", "terminate", "bake_time"].contains(&&row[step]) {
            prop_assert_eq!(share, 100.0, "{:?}", row);
        }
    }
    for i in &s.incidents {
        prop_assert!((i.links.total_s() - i.duration_s).abs() < 1e-6, "{i:?}");
    }

    // The same again gives the same bytes.
    let again = tempfile::tempdir().expect("a folder");
    let (t, other_minutes) = simulate(w, Some(again.path()));
    let parted = minutes.iter().zip(&other_minutes).position(|(a, b)| a != b);
    prop_assert_eq!(parted, None, "two equal runs part in this minute");
    prop_assert_eq!(s.to_json(), t.to_json());
    for file in ["services.csv", "tasks.csv", "decisions.jsonl", "costs.csv", "deployments.csv"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).expect("the file is there");
        prop_assert!(read(path) == read(again.path()), "{file} differs");
    }
    Ok(())
}

/// Money as it stands in a file, in nano-dollars.
fn nano(text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |d| (-1, d));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    sign * (whole.parse::<i64>().expect("dollars") * 1_000_000_000
        + format!("{part:0<9}").parse::<i64>().expect("nanos"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_random_scenario_keeps_every_promise(w in world()) {
        check(&w)?;
    }
}
