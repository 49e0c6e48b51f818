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

mod never_panics {
    use proptest::prelude::*;

    use super::super::from_text;
    use super::super::{LoadOptions, load_text, parse_address};
    use super::DESIGN;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// One character of a good scenario is changed, removed or doubled.
        #[test]
        fn on_a_damaged_scenario(at in 0usize..1_000, c in "\\PC|[\\[\\]{}=\".#\n0-9-]", cut in 0usize..3) {
            let at = DESIGN.char_indices().map(|(i, _)| i).nth(at % DESIGN.len()).unwrap_or(0);
            let text = format!("{}{c}{}", &DESIGN[..at], &DESIGN[(at + cut).min(DESIGN.len())..]);
            if let Err(found) = from_text("damaged", &text) {
                prop_assert!(!found.render(false).is_empty());
                let _ = found.to_json();
            }
        }

        #[test]
        fn on_any_setting(set in "\\PC{0,30}|(services|simulation|capacity)[.]?[a-z\\[\\]\".0-9]{0,12}=[0-9a-z\\[{\" ]{0,6}") {
            let _ = parse_address(&set);
            let options = LoadOptions { sets: vec![set], ..LoadOptions::default() };
            if let Err(found) = load_text("s", "s.toml", DESIGN, std::path::Path::new("."), &options) {
                prop_assert!(!found.render(false).is_empty());
            }
        }
    }
}

#[test]
fn laws_as_people_write_them() {
    let law = |text: &str| {
        let text = DESIGN.replace(
            "startup = { distribution = \"lognormal\", mean = \"18s\", cv = 0.3 }",
            &format!("startup = {text}"),
        );
        from_text("law", &text).map(|p| p.services["web"].task.startup.clone()).map_err(|d| d.render(false))
    };
    let d = |rest: &str| format!("{{ distribution = {rest} }}");
    for (text, mean) in [
        ("\"18s\"".to_owned(), 18.0),
        ("0".to_owned(), 0.0),
        (d("\"constant\", value = \"18s\""), 18.0),
        (d("\"uniform\", min = \"1s\", max = \"3s\""), 2.0),
        (d("\"exponential\", mean = \"2s\""), 2.0),
        (d("\"lognormal\", mean = \"2s\", cv = 0.5"), 2.0),
        (d("\"lognormal\", mean = \"2s\", cv = 0"), 2.0),
        (d("\"lognormal\", median = \"1s\", sigma = 1.0"), 0.5f64.exp()),
        (d("\"gamma\", mean = \"2s\", shape = 3"), 2.0),
        (d("\"gamma\", mean = \"2s\", cv = 0.5"), 2.0),
        (d("\"erlang\", mean = \"2s\", k = 4"), 2.0),
        (d("\"weibull\", mean = \"2s\", shape = 1.5"), 2.0),
        (d("\"weibull\", scale = \"2s\", shape = 1"), 2.0),
        (d("\"pareto\", min = \"1s\", alpha = 2"), 2.0),
        (d("\"triangular\", min = \"1s\", mode = \"2s\", max = \"3s\""), 2.0),
        (d("\"hyperexponential\", mean = \"2s\", cv = 2"), 2.0),
        (
            d(
                "\"hyperexponential\", branches = [{ probability = 0.5, mean = \"1s\" }, { probability = 0.5, mean = \"3s\" }]",
            ),
            2.0,
        ),
        (d("\"empirical\", values = [\"1s\", \"2s\", \"3s\"]"), 2.0),
        (d("\"empirical\", values = [1000, 2000, 3000], unit = \"ms\""), 2.0),
    ] {
        let law = law(&text).unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert!((law.law().mean() - mean).abs() < 1e-9 * mean.max(1.0), "{text}: {}", law.law().mean());
    }
    let p99 = law(&d("\"lognormal\", p50 = \"1s\", p99 = \"4s\"")).unwrap();
    assert!((p99.law().quantile(0.99) - 4.0).abs() < 1e-9 && (p99.law().quantile(0.5) - 1.0).abs() < 1e-9);
    for (text, part) in [
        ("20".to_owned(), "no unit of time"),
        ("true".to_owned(), "not a boolean"),
        ("{ mean = \"2s\" }".to_owned(), "needs the key `distribution`"),
        (d("\"lognormale\", mean = \"2s\", cv = 1"), "a similar value exists"),
        (d("\"lognormal\", mean = \"2s\""), "`mean` and `cv`, or by `median` and `sigma`"),
        (d("\"lognormal\", mean = \"2s\", cv = -1"), "`cv` must be at least 0"),
        (d("\"lognormal\", mean = \"2s\", cvv = 1"), "unknown key `cvv`"),
        (d("\"uniform\", min = \"3s\", max = \"1s\""), "`min` is above `max`"),
        (d("\"pareto\", min = \"1s\", alpha = 0.5"), "no finite mean"),
        (d("\"erlang\", mean = \"1s\", k = 1.5"), "whole number of stages"),
        (d("\"hyperexponential\", mean = \"1s\", cv = 0.5"), "at least 1"),
        (d("\"hyperexponential\", branches = [{ probability = 0.5, mean = \"1s\" }]"), "sum to 0.5"),
        (d("\"empirical\", values = []"), "at least one value"),
        (d("\"empirical\", file = \"nowhere.csv\""), "there is no file"),
        (d("\"gamma\", mean = \"1s\", shape = nan"), "finite number"),
    ] {
        let said = law(&text).unwrap_err();
        assert!(said.contains(part), "expected `{part}`:\n{said}");
    }
}

#[test]
fn a_law_from_a_file_is_carried_in_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("boot.csv"), "task,boot_ms\na,900\nb,1100\n").unwrap();
    let law = "{ distribution = \"empirical\", file = \"boot.csv\", column = \"boot_ms\", unit = \"ms\" }";
    let text = DESIGN
        .replace("startup = { distribution = \"lognormal\", mean = \"18s\", cv = 0.3 }", &format!("startup = {law}"));
    let l = load_text("s", "s.toml", &text, folder.path(), &LoadOptions::default()).unwrap();
    let alone =
        load_text("p", "plan.toml", &l.plan_toml, std::path::Path::new("/nowhere"), &LoadOptions::default()).unwrap();
    assert_eq!(l.plan, alone.plan);
    assert!((alone.plan.services["web"].task.startup.law().mean() - 1.0).abs() < 1e-12);
}
