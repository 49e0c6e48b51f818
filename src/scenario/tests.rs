//! The language as a whole: reading, defaults, writing back.

use super::lang::{Defs, Lang, TableLang};
use super::model::*;
use super::written::Written;
use super::*;
use crate::kernel::{Law, SimDuration};
use crate::units::{Bytes, Cpu};

const DESIGN: &str = r#"
[simulation]
duration = "45m"
warm_up  = "5m"
seed     = 42

[cluster]
orchestrator = "ecs"
region       = "us-east-1"
zones        = 3

[capacity.fargate]
type = "fargate"

[services.web]
desired_count = 4
capacity.fargate = { base = 2, weight = 1 }
[services.web.task]
cpu    = 1024
memory = "2 GB"
image.size = "350 MB"
startup = { distribution = "lognormal", mean = "18s", cv = 0.3 }
[services.web.requests.page]
cpu_time = { distribution = "lognormal", mean = "20ms", cv = 1.0 }
[services.web.client]
timeout = "2s"
[services.web.traffic]
rate = [{ at = "0s", rps = 60 }, { at = "10m", rps = 60 }, { at = "11m", rps = 420 }]
[services.web.scaling]
min_capacity = 4
max_capacity = 60
[services.web.scaling.policies.cpu60]
type = "target_tracking"
predefined_metric_type = "ECSServiceAverageCPUUtilization"
target_value = 60

[objectives.web]
latency_p99   = "<= 400 ms"
availability  = ">= 99.9 %"
[objectives.cluster]
cost_per_hour = "<= $4"
"#;

#[test]
fn the_example_reads() {
    let plan = from_text("example", DESIGN).unwrap();
    let web = &plan.services["web"];
    assert_eq!(web.task.cpu, Cpu::from_vcpus(1));
    assert_eq!(web.task.memory, Bytes::from_gib(2));
    assert_eq!(web.task.image.size, Bytes::from_mb(350));
    assert!((web.task.startup.law().mean() - 18.0).abs() < 1e-9);
    assert_eq!(web.client.timeout, Some(SimDuration::from_secs(2)));
    assert_eq!(web.traffic.rate.len(), 3);
    assert!(web.load_balancer.is_some());
    assert_eq!(plan.objectives["web"].latency_p99, Some(Bound { sense: Sense::AtMost, value: 0.4 }));
    assert_eq!(plan.objectives["cluster"].cost_per_hour, Some(Bound { sense: Sense::AtMost, value: 4.0 }));
    let ScalingPolicy::TargetTracking(cpu60) = &web.scaling.as_ref().unwrap().policies["cpu60"] else { panic!() };
    assert_eq!(cpu60.scale_in_cooldown, SimDuration::from_secs(300));
    assert_eq!(web.requests["page"].wait.law(), &Law::Constant(0.0));
}

#[test]
fn what_is_written_reads_back_equal() {
    let plan = from_text("example", DESIGN).unwrap();
    let text = plan.write().to_toml();
    let again = from_text("plan.toml", &text).unwrap_or_else(|d| panic!("{:#?}\n{text}", d.items));
    assert_eq!(plan, again);
    assert_eq!(text, again.write().to_toml());
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = DESIGN
        .replace("warm_up  = \"5m\"", "warmup  = \"5m\"")
        .replace("cpu    = 1024", "cpu    = \"1 vCPUx\"")
        .replace("target_value = 60\n", "")
        .replace("timeout = \"2s\"", "timeout = \"2\"");
    let found = from_text("example", &text).unwrap_err();
    let codes: Vec<&str> = found.items.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["S0102", "S0105", "S0105", "S0103"], "{:#?}", found.items);
    let patch = found.items[0].patch.as_ref().unwrap();
    assert_eq!(patch.1, "warm_up");
    assert_eq!(&text[patch.0.start as usize..patch.0.end as usize], "warmup");
    let header = found.items[3].span.unwrap();
    assert_eq!(&text[header.start as usize..header.end as usize], "[services.web.scaling.policies.cpu60]");
}

#[test]
fn defaults_can_be_read_from_the_types() {
    assert_eq!(TargetTracking::default_of("scale_out_cooldown"), Some(Written::Str("5m".into())));
    assert_eq!(DeploymentConfiguration::default_of("maximum_percent"), Some(Written::Int(200)));
    assert_eq!(TargetTracking::default_of("target_value"), None);
    assert_eq!(Alarm::default_of("datapoints_to_alarm"), Some(Written::Absent));
    assert_eq!(DeploymentConfiguration::default().minimum_healthy_percent, 100);
}

#[test]
fn a_word_stands_for_a_variant_without_keys() {
    let text = DESIGN.replace("[services.web.traffic]", "[services.web.traffic]\narrivals = \"deterministic\"");
    let plan = from_text("example", &text).unwrap();
    assert_eq!(plan.services["web"].traffic.arrivals, Arrivals::Deterministic(Deterministic {}));
}

#[test]
fn the_schema_is_made_from_the_types() {
    let mut defs = Defs::default();
    let schema = Plan::schema(&mut defs);
    assert_eq!(schema["$ref"], "#/$defs/Plan");
    let task = &defs.map["Task"];
    assert_eq!(task["required"], serde_json::json!(["cpu", "memory"]));
    assert_eq!(task["properties"]["stop_timeout"]["default"], "30s");
    assert_eq!(task["properties"]["cpu"]["description"], "CPU of the task.");
}
