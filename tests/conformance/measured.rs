//! What was measured on AWS, against scenarios that are built from a case's own set-up.
//!
//! Each case has a [`Standing`]: *exact* (it follows from documented rules), *blind* (documented defaults only,
//! `tol_rel_blind`), *calibrated* (a named value was fitted on a named other case, `tol_rel`), *fitted* (the case
//! on which the value was fitted: it must lie within its tolerance, but proves nothing) or *underdetermined* (the
//! source leaves out what decides: printed, not gated). Each prints what it assumed and, per metric, predicted,
//! published and tolerance.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use simctl::catalog::Catalog;
use simctl::output::{RowSink, Summary};
use simctl::scenario::from_text;
use simctl::scenario::model::{Inputs, Plan, TargetHealthCheck};
use simctl::simulation::{RunOptions, run};

use crate::Outcome;
use crate::published::{Measured, agrees_within};

/// How far a case may be trusted to test the simulator.
pub(crate) enum Standing {
    /// Follows from documented rules.
    Exact,
    /// Documented defaults only.
    Blind,
    /// A value was fitted on another case.
    Calibrated {
        /// Which value.
        value: &'static str,
        /// On which case.
        on: &'static str,
    },
    /// The case that a value was fitted on.
    Fitted(&'static str),
    /// What decides is not in the source.
    Underdetermined(&'static str),
}

impl Standing {
    /// The standing in words.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Exact => "exact".to_owned(),
            Self::Blind => "blind".to_owned(),
            Self::Calibrated { value, on } => format!("calibrated: {value}, fitted on {on}"),
            Self::Fitted(value) => format!("fitted: {value}"),
            Self::Underdetermined(why) => format!("underdetermined, not gated: {why}"),
        }
    }
}

/// Holds what was measured against a case and says it all in one block of lines.
pub(crate) fn judge(case: &Value, measured: &Measured, standing: &Standing, assumed: &[&str]) -> Outcome {
    let mut text = format!("  {} ({})\n", case["id"].as_str().unwrap_or("?"), standing.text());
    for line in assumed {
        let _ = writeln!(text, "    assumed: {line}");
    }
    let mut failures = Vec::new();
    for expectation in case["expect"].as_array().map_or(&[][..], Vec::as_slice) {
        let metric = expectation["metric"].as_str().unwrap_or("?");
        let mut held = expectation.clone();
        if matches!(standing, Standing::Blind)
            && let Some(blind) = expectation.get("tol_rel_blind")
        {
            held["tol_rel"] = blind.clone();
        }
        let Some(got) = measured.figures.get(metric) else {
            failures.push(format!("{metric}: not measured"));
            continue;
        };
        let verdict = agrees_within(&held, case, measured);
        let slack = match (held["tol_rel"].as_f64(), held["tol_abs"].as_f64()) {
            (Some(r), _) => format!("+- {:.0} %", 100.0 * r),
            (None, Some(a)) => format!("+- {a}"),
            (None, None) => "exactly".to_owned(),
        };
        let mark = if verdict.is_ok() { "" } else { "  <- outside" };
        let _ = writeln!(text, "    {metric}: predicted {got:.1}, published {}, {slack}{mark}", expectation["value"]);
        failures.extend(verdict.err());
    }
    for (metric, got) in &measured.figures {
        let known = case["expect"].as_array().is_some_and(|list| list.iter().any(|e| e["metric"] == **metric));
        if !known {
            let _ = writeln!(text, "    {metric}: {got:.3} (beside what is published)");
        }
    }
    print!("{text}");
    if failures.is_empty() || matches!(standing, Standing::Underdetermined(_)) {
        Outcome::Passed
    } else {
        Outcome::Failed(failures.join("; "))
    }
}

/// The folder of a finished run.
pub(crate) fn run_scenario(text: &str) -> tempfile::TempDir {
    run_whole(text).0
}

/// The folder and the summary of a finished run.
pub(crate) fn run_whole(text: &str) -> (tempfile::TempDir, Summary) {
    let plan: Plan = from_text("published", text).unwrap_or_else(|found| panic!("{}", found.render(false)));
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
    let outcome = run(&plan, &Inputs::default(), Catalog::embedded(), RunOptions::default(), &mut sink, &mut |_| {})
        .unwrap_or_else(|e| panic!("{e}"));
    sink.close().expect("rows are written");
    (folder, outcome.summary)
}

/// One column of a table of a run, absent values as NaN.
pub(crate) fn column(folder: &Path, file: &str, name: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let at = reader.headers().expect("a header").iter().position(|h| h == name).expect("the column is there");
    reader.records().map(|r| r.expect("a row")[at].parse().unwrap_or(f64::NAN)).collect()
}

/// Rows of a table whose column `name` is `value`: the column `of`, absent values as NaN.
pub(crate) fn column_where(folder: &Path, file: &str, name: &str, value: &str, of: &str) -> Vec<f64> {
    texts_where(folder, file, name, value, of).iter().map(|t| t.parse().unwrap_or(f64::NAN)).collect()
}

/// Rows of a table whose column `name` is `value`: the column `of`.
pub(crate) fn texts_where(folder: &Path, file: &str, name: &str, value: &str, of: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let head = reader.headers().expect("a header").clone();
    let at = |name: &str| head.iter().position(|h| h == name).expect("the column is there");
    let (key, of) = (at(name), at(of));
    let rows = reader.records().map(|r| r.expect("a row"));
    rows.filter(|r| &r[key] == value).map(|r| r[of].to_owned()).collect()
}

/// What a task that pulls 413 MB in 57 s from its creation to its start pulls a second (data/launch_latency.csv),
/// when 15 s of these are the default latencies beside the pull.
const PULL: &str = "images come at 9.8 MB/s, unpacking included: 57 s were measured for a task of 413 MB";

/// A published curve of running containers, from nothing to a target.
pub(crate) fn scale_out(case: &Value) -> Outcome {
    let setup = &case["setup"];
    let (scenario, standing, assumed): (String, Standing, &[&str]) = match case["id"].as_str().unwrap_or_default() {
        "s2020_ecs_fargate" => (
            fargate(setup, "fargate_launch_burst = 10\nfargate_launch_rate = 1.0\n"),
            Standing::Blind,
            &[
                "launch bucket and refill as the case gives them; default launch latencies of today",
                PULL,
                "an image of 350 MB, an application that starts in 5 s",
            ],
        ),
        "s2022_ecs_fargate" => (
            fargate(setup, ""),
            Standing::Blind,
            &[
                "default quotas and launch latencies",
                PULL,
                "an image of 350 MB (python:3.10), an application that starts in 5 s",
            ],
        ),
        "s2022_ecs_ec2" => (
            group(setup),
            Standing::Blind,
            &[
                "300 tasks in PROVISIONING in a cluster: so lists of quotas of those years have it; today it is 500",
                "one instance at the start, the minimum of the group; trunking, without which 3,500 tasks do not fit 250 instances",
                "default launch latencies, publication delay and pulls; an image of 350 MB, an application that starts in 5 s",
            ],
        ),
        _ => return Outcome::NotBuilt,
    };
    let folder = run_scenario(&scenario);
    let mut up = column(folder.path(), "tasks.csv", "running_s");
    let asked = 60.0;
    up.retain(|t| t.is_finite() && *t > asked);
    up.sort_by(f64::total_cmp);
    let target = case["target"].as_f64().unwrap_or(f64::NAN);
    let mut measured = Measured::default();
    let reach = |share: f64| up.get((share * target).ceil() as usize - 1).map_or(f64::NAN, |t| t - asked);
    measured.figures.insert("time_to_10pct_s", reach(0.1));
    measured.figures.insert("time_to_50pct_s", reach(0.5));
    measured.figures.insert("time_to_90pct_s", reach(0.9));
    if let Some(range) = case["expect"].as_array().into_iter().flatten().find_map(|e| e["between_counts"].as_array()) {
        let [from, to] = [0, 1].map(|i| range[i].as_u64().unwrap_or(1) as usize);
        let rate = (to - from) as f64 / (up[to - 1] - up[from - 1]);
        measured.figures.insert("middle_launch_rate_per_s", rate);
    }
    // The treads of the staircase: minutes between the scale-outs of the group.
    let decided = column_where(folder.path(), "decisions.csv", "controller", "managed_scaling", "time_s");
    let reasons = texts_where(folder.path(), "decisions.csv", "controller", "managed_scaling", "reason");
    let outs: Vec<f64> = decided.iter().zip(&reasons).filter(|(_, r)| *r == "scale_out").map(|(t, _)| *t).collect();
    if outs.len() > 1 {
        measured.figures.insert("treads", outs.len() as f64);
        measured.figures.insert("seconds_per_tread", (outs[outs.len() - 1] - outs[0]) / (outs.len() - 1) as f64);
    }
    // The whole curve: the largest vertical distance.
    let curve = case["curve_points"].as_array().map_or(&[][..], Vec::as_slice);
    let apart = curve.iter().map(|point| {
        let [at, running] = [0, 1].map(|i| point[i].as_f64().unwrap_or(f64::NAN));
        let predicted = up.partition_point(|t| t - asked <= at) as f64;
        (predicted - running).abs() / target
    });
    let apart = apart.fold(0.0, f64::max);
    measured.figures.insert("largest_distance_of_curves", apart);
    let outcome = judge(case, &measured, &standing, assumed);
    let bound = if matches!(standing, Standing::Calibrated { .. }) { 0.08 } else { 0.2 };
    match outcome {
        Outcome::Passed if apart > bound => {
            Outcome::Failed(format!("the curves are {apart:.3} of the target apart, more than {bound}"))
        }
        other => other,
    }
}

fn fargate(setup: &Value, quotas: &str) -> String {
    let text = format!(
        "[simulation]\nduration = \"70m\"\n[cluster.quotas]\nfargate_spot_vcpus = 4000\n{quotas}\
         [capacity.spot]\ntype = \"fargate_spot\"\n\
         launch.pull_bandwidth = \"9.8 MB/s\"\nlaunch.unpack_bandwidth = \"10 GB/s\"\n"
    );
    services(setup, text, "")
}

/// A group of Spot instances behind a capacity provider, as a case sets it up.
fn group(setup: &Value) -> String {
    let (kind, least, most) = (&setup["node_type"], &setup["asg_min"], &setup["asg_max"]);
    let (target, warmup) = (&setup["target_capacity_pct"], &setup["instance_warmup_s"]);
    let protection = if setup["managed_termination_protection"] == true { "ENABLED" } else { "DISABLED" };
    let text = format!(
        "[simulation]\nduration = \"30m\"\n[cluster.quotas]\nprovisioning_tasks = 300\n\
         [capacity.spot]\ntype = \"ec2\"\ninstance_types = [{kind}]\nmin_size = {least}\nmax_size = {most}\n\
         desired_capacity = {least}\nmanaged_termination_protection = \"{protection}\"\n\
         managed_scaling = {{ target_capacity = {target}, instance_warmup_period = {warmup} }}\n\
         mixed_instances = {{ on_demand_base_capacity = 0, on_demand_percentage_above_base_capacity = 0 }}\n\
         ecs_agent = {{ awsvpc_trunking = true }}\n"
    );
    services(setup, text, "architecture = \"ARM64\"\n")
}

/// The services of a case, each of which goes from nothing to its count after a minute.
fn services(setup: &Value, mut text: String, task: &str) -> String {
    for (i, tasks) in setup["services"].as_array().into_iter().flatten().enumerate() {
        let _ = write!(
            text,
            "[services.s{i}]\ndesired_count = 0\ncapacity.spot = {{ weight = 1 }}\n\
             [services.s{i}.task]\ncpu = 1024\nmemory = \"2 GB\"\nimage.size = \"350 MB\"\nstartup = \"5s\"\n{task}\
             [actions.up{i}]\ntype = \"desired_count\"\nat = \"60s\"\nservice = \"s{i}\"\ndesired_count = {tasks}\n"
        );
    }
    text
}

/// A measured deployment, or a documented part of one.
pub(crate) fn deployment(case: &Value) -> Outcome {
    let mut measured = Measured::default();
    let figures = &mut measured.figures;
    const BATCHES: &str = "maximumPercent 120";
    const REFRESH: &[&str] = &[
        "one service of 500 tasks behind one load balancer, minimumHealthyPercent 100, maximumPercent 120",
        "23 launches a minute for one service, as reported beside scaleout_curves/s2020_ecs_fargate",
        "health checks every 30 s, five successes; an application that starts in 10 s",
    ];
    let (standing, assumed): (Standing, &[&str]) = match case["id"].as_str().unwrap_or_default() {
        "scribd_baseline" => {
            figures.insert("service_refresh_s", refresh(500, 300, 30, 5));
            (Standing::Fitted(BATCHES), REFRESH)
        }
        "scribd_dereg_17s" => {
            let tuned = refresh(500, 17, 30, 5);
            figures.insert("service_refresh_s", tuned);
            figures.insert("saving_vs_baseline_s", refresh(500, 300, 30, 5) - tuned);
            (Standing::Calibrated { value: BATCHES, on: "scribd_baseline" }, REFRESH)
        }
        "scribd_nlb_health" => {
            let (before, after) = (refresh(40, 300, 30, 5), refresh(40, 300, 10, 2));
            figures.insert("staging_before_s", before);
            figures.insert("staging_after_s", after);
            figures.insert("production_saving_s", refresh(500, 17, 30, 5) - refresh(500, 17, 10, 2));
            (
                Standing::Underdetermined("neither the size of staging nor either health check is stated"),
                &["staging has 40 tasks; health checks go from 30 s and five successes to 10 s and two"],
            )
        }
        "health_default" => {
            figures.insert("time_to_healthy_s", time_to_healthy());
            (Standing::Exact, &["the mean over all phases of the first check within its interval"])
        }
        "drain_default_vs_tuned" => {
            let (slow, fast) = (leave(300, 30), leave(5, 2));
            figures.insert("drain_saving_s", slow.0 - fast.0);
            figures.insert("stop_timeout_saving_max_s", slow.1 - fast.1);
            (Standing::Exact, &["a process that ignores SIGTERM: it works for longer than the stop timeout"])
        }
        _ => return Outcome::NotBuilt,
    };
    judge(case, &measured, &standing, assumed)
}

/// Seconds from the start of a deployment until its last old task is gone.
fn refresh(tasks: u32, deregistration_s: u32, interval_s: u32, threshold: u32) -> f64 {
    let text = format!(
        "[simulation]\nduration = \"75m\"\n[cluster.quotas]\nservice_launch_rate_per_minute = 23\n\
         [capacity.fargate]\ntype = \"fargate\"\n[services.web]\ndesired_count = {tasks}\n\
         capacity.fargate = {{ weight = 1 }}\n\
         ecs.deployment_configuration.maximum_percent = 120\n\
         [services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\nimage.size = \"900 MB\"\nstartup = \"10s\"\n\
         [services.web.load_balancer]\nderegistration_delay = {deregistration_s}\n\
         health_check.interval = {interval_s}\nhealth_check.healthy_threshold = {threshold}\n\
         [services.web.requests.any]\ncpu_time = \"5ms\"\n\
         [services.web.traffic]\nrate = [{{ at = \"0s\", rps = 1 }}]\n\
         [actions.release]\ntype = \"deploy\"\nat = \"120s\"\nservice = \"web\"\n"
    );
    let folder = run_scenario(&text);
    let ends = column_where(folder.path(), "deployments.csv", "step", "completed", "time_s");
    ends.first().map_or(f64::NAN, |t| t - 120.0)
}

/// Mean seconds from the end of a trouble until a target with the default health check is healthy again.
fn time_to_healthy() -> f64 {
    use simctl::cluster::target_health::{TargetHealthMemory, TargetState, target_check};
    let rule = TargetHealthCheck { healthy_threshold: 5, ..TargetHealthCheck::default() };
    let mut memory = TargetHealthMemory { state: TargetState::Unhealthy, run: 0 };
    let mut checks = 0_u32;
    while memory.state != TargetState::Healthy {
        memory = target_check(&rule, memory, true);
        checks += 1;
    }
    // The first check falls anywhere into the first interval.
    30.0 * (f64::from(checks) - 0.5)
}

/// Seconds that a task spends in deregistration and between SIGTERM and its end.
fn leave(deregistration_s: u32, stop_timeout_s: u32) -> (f64, f64) {
    let text = format!(
        "[simulation]\nduration = \"30m\"\n[capacity.fargate]\ntype = \"fargate\"\n[services.web]\n\
         desired_count = 2\ncapacity.fargate = {{ weight = 1 }}\n\
         [services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\nstop_timeout = {stop_timeout_s}\nshutdown = \"10m\"\n\
         [services.web.load_balancer]\nderegistration_delay = {deregistration_s}\n\
         [services.web.requests.any]\ncpu_time = \"5ms\"\n\
         [services.web.traffic]\nrate = [{{ at = \"0s\", rps = 1 }}]\n\
         [actions.less]\ntype = \"desired_count\"\nat = \"120s\"\nservice = \"web\"\ndesired_count = 1\n"
    );
    let folder = run_scenario(&text);
    let first = |name: &str| {
        let values = column(folder.path(), "tasks.csv", name);
        values.into_iter().find(|t| t.is_finite()).unwrap_or(f64::NAN)
    };
    let stopping = first("stopping_s");
    (stopping - first("deactivating_s"), first("execution_stopped_s") - stopping)
}

/// Closed-loop clients on one task with a CPU limit.
pub(crate) fn cpu_limit(case: &Value) -> Outcome {
    let setup = &case["setup"];
    let (limit, work) = (setup["cpu_limit"].as_f64().unwrap_or(1.0), setup["cpu_work_ms"].as_f64().unwrap_or(1.0));
    let mut measured = Measured::default();
    let figures = &mut measured.figures;
    if case["id"] == "cpu_limit_concurrency" {
        let names = [("mean_ms_c1", 1), ("mean_ms_c2", 2), ("mean_ms_c4", 4), ("mean_ms_c8", 8)];
        for (name, clients) in names {
            figures.insert(name, closed_loop(limit, work, clients).0);
        }
        figures.insert("latency_ratio_c8_over_c4", figures["mean_ms_c8"] / figures["mean_ms_c4"]);
    } else {
        let (mean, rps) = closed_loop(limit, work, setup["clients"].as_u64().unwrap_or(1));
        figures.insert("mean_ms", mean);
        figures.insert("mean_ms_at_least", mean);
        figures.insert("throughput_rps", rps);
    }
    let assumed = [
        "a task of the limit's CPU with the quota of the default CPU model: full speed until its share of each 100 ms is spent",
        "constant work, no think time, no network time; every client in service at once",
    ];
    judge(case, &measured, &Standing::Underdetermined("what else ran on the small cluster is not said"), &assumed)
}

/// Mean latency in milliseconds and requests a second of so many clients that wait for each answer.
fn closed_loop(limit: f64, work_ms: f64, clients: u64) -> (f64, f64) {
    let text = format!(
        "[simulation]\nduration = \"30m\"\nwarm_up = \"5m\"\n[capacity.fargate]\ntype = \"fargate\"\n\
         [services.web]\ndesired_count = 1\ncapacity.fargate = {{ weight = 1 }}\n\
         [services.web.task]\ncpu = {}\nmemory = \"2 GB\"\nconcurrency = 64\n\
         [services.web.requests.any]\ncpu_time = \"{work_ms}ms\"\n\
         [services.web.traffic]\nusers = {{ count = {clients}, think = \"0s\" }}\n",
        1024.0 * limit
    );
    let (_, summary) = run_whole(&text);
    let service = &summary.services["web"];
    let mean = service.latency.as_ref().map_or(f64::NAN, |l| l.mean_ms);
    (mean, service.requests.succeeded as f64 / (25.0 * 60.0))
}
