//! Measured latencies of ECS service auto scaling: a sudden load step on a service that tracks its CPU.
//!
//! Each figure is the mean over thirty runs whose load step falls on thirty phases of the minute and whose
//! alarms are evaluated at thirty phases of theirs. What the source does not say is assumed: Fargate tasks of
//! 1 vCPU with the default launch latencies and image, ten of them, and a step from 30 % CPU to beyond the target.
//!
//! The scale-in of a cluster is one run each by halves and by twentieths of the group.
//!
//! `ecs_tt_standard_60s` is *calibrated*: the default publication delay of ECS metrics was chosen so that its
//! 363 s come out. `ecs_tt_user_report` is then a prediction.

use serde_json::Value;
use simctl::catalog::Catalog;
use simctl::output::RowSink;
use simctl::scaling::target_tracking;
use simctl::scenario::from_text;
use simctl::scenario::model::{Inputs, Plan, ScalingPolicy};
use simctl::simulation::{RunOptions, run};

use crate::Outcome;
use crate::measured::{Standing, column, column_where, judge, run_scenario};
use crate::published::Measured;

const PHASES: u64 = 30;
const STEP_AT_S: u64 = 600;

/// Runs one case of the family.
pub(crate) fn run_case(case: &Value) -> Outcome {
    let mut measured = Measured::default();
    const DELAY: &str = "publication delay of ECS metrics, 150 s";
    const ASSUMED: &[&str] =
        &["ten Fargate tasks of 1 vCPU, CPU from 30 % to beyond a target of 50 %; mean of 30 phases"];
    let standing = match case["id"].as_str().unwrap_or_default() {
        "ecs_tt_standard_60s" => Standing::Fitted(DELAY),
        "ecs_tt_alarm_shape" => Standing::Exact,
        _ => Standing::Calibrated { value: DELAY, on: "ecs_tt_standard_60s" },
    };
    match case["id"].as_str().unwrap_or_default() {
        "ecs_tt_standard_60s" => {
            let latency = mean_latency(&tracking("ECSServiceAverageCPUUtilization", 60));
            measured.figures.insert("load_step_to_scale_out_trigger_s", latency.trigger);
            measured.figures.insert("load_step_to_new_tasks_s", latency.tasks);
            measured.figures.insert("trigger_to_new_tasks_s", latency.tasks - latency.trigger);
            // Nothing published to hold it against in this case: what the calibration says of 20-second metrics.
            let fast = mean_latency(&tracking("ECSServiceAverageCPUUtilizationHighResolution", 20));
            measured.figures.insert("high_resolution_trigger_s", fast.trigger);
        }
        "ecs_tt_user_report" => {
            let detailed = mean_latency(&tracking("ECSServiceAverageCPUUtilization", 60));
            measured.figures.insert("detailed_metrics_trigger_s", detailed.trigger);
            measured.figures.insert("basic_metrics_trigger_s", mean_latency(&five_minute_points()).trigger);
        }
        "ecs_tt_alarm_shape" => {
            let plan = plan(&tracking("ECSServiceAverageCPUUtilization", 60), 0);
            let scaling = plan.services[0].scaling.as_ref();
            let Some(ScalingPolicy::TargetTracking(policy)) = scaling.and_then(|s| s.policies.values().next()) else {
                return Outcome::Failed("the policy is not target tracking".into());
            };
            let alarms = target_tracking::alarms(policy);
            measured.figures.insert("scale_out_datapoints", f64::from(alarms.high.datapoints_to_alarm));
            measured.figures.insert("scale_in_datapoints", f64::from(alarms.low.datapoints_to_alarm));
        }
        "ecs_cas_scale_in_50pct" => return scale_in(case),
        _ => return Outcome::NotBuilt,
    }
    judge(case, &measured, &standing, ASSUMED)
}

/// The scale-in of a cluster by halves, with what was fitted on the same scale-in by twentieths beside it.
fn scale_in(case: &Value) -> Outcome {
    let mut measured = Measured::default();
    let (halves, steps) = cluster_scale_in(&case["setup"], 50);
    measured.figures.insert("scale_in_period_s", halves);
    measured.figures.insert("steps", steps);
    measured.figures.insert("seconds_per_step", halves / steps);
    // Published: 80 minutes.
    measured.figures.insert("by_5_pct_steps_s", cluster_scale_in(&case["setup"], 5).0);
    let standing = Standing::Calibrated {
        value: "the default of `launch.termination`, 20 to 70 s",
        on: "the same test with steps of 5 % of the group, 80 minutes (faster scale-in, AWS 2022)",
    };
    let assumed = [
        "tasks of 1 vCPU and 2 GB in mode awsvpc without trunking, three an instance; placement binpack on memory",
        "managed termination protection; from the first reduction until the last instance is gone",
    ];
    judge(case, &measured, &standing, &assumed)
}

/// Seconds from the first reduction of the group until the last instance is gone, and the reductions.
fn cluster_scale_in(setup: &Value, percent: u32) -> (f64, f64) {
    let (from, to, kind) = (&setup["tasks_from"], &setup["tasks_to"], &setup["instance_type"]);
    let text = format!(
        "[simulation]\nduration = \"160m\"\n[capacity.group]\ntype = \"ec2\"\ninstance_types = [{kind}]\n\
         max_size = 400\nmanaged_termination_protection = \"ENABLED\"\n\
         managed_scaling = {{ maximum_scale_in_percent = {percent} }}\n\
         [services.work]\ndesired_count = {from}\ncapacity.group = {{ weight = 1 }}\n\
         ecs.placement_strategy = [{{ type = \"binpack\", field = \"memory\" }}]\n\
         [services.work.task]\ncpu = 1024\nmemory = \"2 GB\"\n\
         [actions.less]\ntype = \"desired_count\"\nat = \"120s\"\nservice = \"work\"\ndesired_count = {to}\n"
    );
    let folder = run_scenario(&text);
    let reductions = column_where(folder.path(), "decisions.csv", "reason", "scale_in", "time_s");
    let gone = column(folder.path(), "nodes.csv", "terminated_s");
    let last = gone.iter().copied().filter(|t| t.is_finite()).fold(f64::NAN, f64::max);
    let left = gone.iter().filter(|t| !t.is_finite()).count() as u64;
    assert_eq!(Some(left), setup["instances_to"].as_u64(), "instances that stay");
    (last - reductions.first().copied().unwrap_or(f64::NAN), reductions.len() as f64)
}

fn tracking(metric: &str, resolution: u32) -> String {
    format!(
        "monitoring_resolution = {resolution}\n[services.web.scaling]\nmin_capacity = 10\nmax_capacity = 100\n\
         [services.web.scaling.policies.cpu]\ntype = \"target_tracking\"\npredefined_metric_type = \"{metric}\"\n\
         target_value = 50\n"
    )
}

/// Basic metrics have a point every five minutes; three of them, as above.
fn five_minute_points() -> String {
    "[services.web.scaling]\nmin_capacity = 10\nmax_capacity = 100\n[services.web.scaling.policies.cpu]\n\
     type = \"step_scaling\"\nstep_adjustments = [{ metric_interval_lower_bound = 0, scaling_adjustment = 5 }]\n\
     alarm = { metric = \"CPUUtilization\", comparison_operator = \"GreaterThanThreshold\", threshold = 50, \
     period = \"5m\", evaluation_periods = 3 }\n"
        .to_owned()
}

fn plan(service: &str, phase: u64) -> Plan {
    let step = STEP_AT_S + 60 * phase / PHASES;
    let text = format!(
        "[simulation]\nduration = \"45m\"\n[capacity.fargate]\ntype = \"fargate\"\n[services.web]\n\
         desired_count = 10\ncapacity.fargate = {{ weight = 1 }}\n{service}\
         [services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\n\
         [services.web.requests.any]\ncpu_time = \"20ms\"\n\
         [services.web.traffic]\nrate = [{{ at = \"0s\", rps = 150 }}, {{ at = \"{step}s\", rps = 150 }}, \
         {{ at = \"{step}s\", rps = 400 }}]\n"
    );
    from_text("benchmark", &text).unwrap_or_else(|found| panic!("{}", found.render(false)))
}

struct Latency {
    /// From the load step to the decision to scale out.
    trigger: f64,
    /// From the load step until all tasks of that decision run.
    tasks: f64,
}

fn mean_latency(service: &str) -> Latency {
    let mut sum = Latency { trigger: 0.0, tasks: 0.0 };
    for phase in 0..PHASES {
        let plan = plan(service, phase);
        let folder = tempfile::tempdir().expect("a folder");
        let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
        let options = RunOptions { replication: phase, ..RunOptions::default() };
        run(&plan, &Inputs::default(), Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends");
        sink.close().expect("rows are written");
        let step = (STEP_AT_S + 60 * phase / PHASES) as f64;
        let rows = |file: &str| {
            let mut reader = csv::Reader::from_path(folder.path().join(file)).expect("the file is there");
            let head = reader.headers().expect("a header").clone();
            let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("a row")).collect();
            (head, rows)
        };
        let at = |head: &csv::StringRecord, name: &str| {
            head.iter().position(|h| h == name).unwrap_or_else(|| panic!("no column {name}"))
        };
        let (head, decisions) = rows("decisions.csv");
        let (reason, time) = (at(&head, "reason"), at(&head, "time_s"));
        let trigger: f64 =
            decisions.iter().find(|r| &r[reason] == "scale_out").map_or(f64::NAN, |r| r[time].parse().expect("a time"));
        let (head, tasks) = rows("tasks.csv");
        let (decided, running) = (at(&head, "decided_s"), at(&head, "running_s"));
        let asked = tasks.iter().filter(|r| r[decided].parse::<f64>().is_ok_and(|t| (t - trigger).abs() < 1.0));
        let up = asked.map(|r| r[running].parse().unwrap_or(f64::NAN)).fold(f64::NEG_INFINITY, f64::max);
        sum.trigger += trigger - step;
        sum.tasks += up - step;
    }
    Latency { trigger: sum.trigger / PHASES as f64, tasks: sum.tasks / PHASES as f64 }
}
