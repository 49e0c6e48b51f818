//! The language from outside: the scenarios that come with it, its schema, and what it says when
//! something is wrong.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use simctl::scenario::diagnostic::Severity;
use simctl::scenario::{LoadOptions, Loaded, check, load, load_text, plan_hash, reference, schema, starter};

const GOOD: &str = r#"[simulation]
duration = "45m"

[capacity.fargate]
type = "fargate"

[services.web]
desired_count = 4
capacity.fargate = { weight = 1 }
task = { cpu = 1024, memory = "2 GB" }
requests.page = { cpu_time = "20ms" }
traffic.rate = [{ at = "0s", rps = 60 }, { at = "10m", rps = 420 }]

[services.web.scaling]
min_capacity = 4
max_capacity = 60
[services.web.scaling.policies.cpu60]
type = "target_tracking"
predefined_metric_type = "ECSServiceAverageCPUUtilization"
target_value = 60

[variants.slower]
"services.web.scaling.policies.cpu60.target_value" = 75
"#;

/// The rendered findings of a text and settings.
fn said(text: &str, sets: &[&str]) -> String {
    let options = LoadOptions { sets: sets.iter().map(|s| (*s).to_owned()).collect(), ..LoadOptions::default() };
    match load_text("spike", "scenarios/spike.toml", text, Path::new("."), &options) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(found) => found.render(false),
    }
}

/// The good text with one change.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

/// Asserts that all of `parts` are said about a text.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let said = said(text, &[]);
    for part in parts {
        assert!(said.contains(part), "expected `{part}` in:\n{said}");
    }
}

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 8);
    files
}

fn loaded(path: &Path, variant: Option<&str>) -> Loaded {
    let options = LoadOptions { variant: variant.map(str::to_owned), ..LoadOptions::default() };
    load(path, &options).unwrap_or_else(|d| panic!("{}\n{}", path.display(), d.render(false)))
}

#[test]
fn every_scenario_and_variant_loads_without_a_warning() {
    for path in scenarios() {
        let base = loaded(&path, None);
        for variant in &base.variants {
            let l = loaded(&path, Some(variant));
            assert!(l.warnings.is_empty(), "{} {variant}\n{}", path.display(), l.warnings.render(false));
            assert_eq!(l.variant, *variant);
            let impossible: Vec<_> =
                check::arithmetic(&l.plan, &l.inputs).into_iter().filter(|f| f.severity == Severity::Error).collect();
            assert!(impossible.is_empty(), "{} {variant}: {impossible:#?}", path.display());
        }
    }
}

#[test]
fn a_plan_loads_again_as_the_same_plan() {
    for path in scenarios() {
        for variant in loaded(&path, None).variants {
            let first = loaded(&path, Some(&variant));
            let again =
                load_text("plan", "plan.toml", &first.plan_toml, path.parent().unwrap(), &LoadOptions::default())
                    .unwrap_or_else(|d| panic!("{}\n{}", path.display(), d.render(false)));
            assert_eq!(first.plan, again.plan);
            assert_eq!(first.plan_toml, again.plan_toml);
            assert_eq!((&first.name, &first.variant), (&again.name, &again.variant));
            assert_eq!(plan_hash(&first.plan, &first.inputs), plan_hash(&again.plan, &again.inputs));
        }
    }
}

fn as_json(value: toml::Value) -> Json {
    match value {
        toml::Value::String(s) => Json::from(s),
        toml::Value::Integer(n) => Json::from(n),
        toml::Value::Float(v) => Json::from(v),
        toml::Value::Boolean(b) => Json::from(b),
        toml::Value::Datetime(d) => Json::from(d.to_string()),
        toml::Value::Array(a) => Json::Array(a.into_iter().map(as_json).collect()),
        toml::Value::Table(t) => Json::Object(t.into_iter().map(|(k, v)| (k, as_json(v))).collect()),
    }
}

fn parsed(text: &str) -> Json {
    as_json(toml::Value::Table(text.parse().unwrap()))
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let mut texts: Vec<(String, String)> = vec![("starter".into(), starter().into()), ("good".into(), GOOD.into())];
    for path in scenarios() {
        texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        texts.push((format!("plan of {}", path.display()), loaded(&path, None).plan_toml));
    }
    for (name, text) in texts {
        let errors: Vec<String> =
            validator.iter_errors(&parsed(&text)).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses_for_its_shape() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    for (from, to) in [
        ("target_value = 60", "target_value = 60\nscale_in_coldown = \"5m\""),
        ("cpu = 1024, ", ""),
        ("type = \"fargate\"", "type = \"fargat\""),
        ("type = \"target_tracking\"", ""),
        ("duration = \"45m\"", "duration = 45"),
        ("duration = \"45m\"", "duration = \"45m\"\nseed = -1"),
        ("cpu_time = \"20ms\"", "cpu_time = { distribution = \"lognormal\", mean = \"20ms\" }"),
        ("cpu_time = \"20ms\"", "cpu_time = \"20ms\", error_rate = 1.5"),
        ("rps = 420", "rps = \"many\""),
    ] {
        let text = with(from, to);
        assert!(!validator.is_valid(&parsed(&text)), "the schema takes {to}");
        assert!(said(&text, &[]).contains("error[S0"), "the parser takes {to}:\n{}", said(&text, &[]));
    }
}

#[test]
fn the_starter_loads_and_can_meet_its_objectives() {
    let l = load_text("starter", "starter.toml", starter(), Path::new("."), &LoadOptions::default())
        .unwrap_or_else(|d| panic!("{}", d.render(false)));
    assert!(l.warnings.is_empty(), "{}", l.warnings.render(false));
    let findings = check::arithmetic(&l.plan, &l.inputs);
    assert!(findings.iter().all(|f| f.severity != Severity::Error), "{findings:#?}");
    // Every line with a key says something about it.
    for line in starter().lines().filter(|l| l.contains(" = ") && !l.ends_with('[')) {
        assert!(line.contains('#'), "{line}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenario-reference.md");
    if std::env::var_os("SIMCTL_UPDATE").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference(), "run this test with SIMCTL_UPDATE=1 to write docs/scenario-reference.md anew");
}

#[test]
fn an_unknown_key_looks_like_this() {
    let text = with("target_value = 60", "target_value = 60\nscale_in_coldown = \"5m\"");
    let expected = "\
error[S0102]: unknown key `scale_in_coldown`
  --> scenarios/spike.toml:21:1
   |
21 | scale_in_coldown = \"5m\"
   | ^^^^^^^^^^^^^^^^ no such key in `services.web.scaling.policies.cpu60`
   |
help: a key with a similar name exists
   |
21 | scale_in_cooldown = \"5m\"
   |            +

1 error
";
    assert_eq!(said(&text, &[]), expected);
}

#[test]
fn mistakes_come_all_at_once_in_the_order_of_the_file() {
    let text = with("cpu = 1024", "cpu = 0.5")
        .replace("420", "\"many\"")
        .replace("max_capacity = 60\n", "")
        .replace("duration = \"45m\"", "duration = \"45\"");
    let said = said(&text, &[]);
    let at: Vec<usize> = ["spike.toml:2:", "spike.toml:10:", "spike.toml:12:", "spike.toml:14:"]
        .iter()
        .map(|p| said.find(p).unwrap_or_else(|| panic!("{p} in {said}")))
        .collect();
    assert!(at.is_sorted(), "{said}");
    assert!(said.ends_with("4 errors\n"), "{said}");
}

#[test]
fn more_than_twenty_findings_are_counted() {
    let many: String = (0..30).map(|i| format!("unknown_{i} = 1\n")).collect();
    let text = with("duration = \"45m\"\n", &format!("duration = \"45m\"\n{many}"));
    says(&text, &["... and 10 more", "30 errors"]);
}

#[test]
fn settings_point_into_the_argument() {
    let sets = [
        "services.wbe.task.cpu=2048",
        "services.web.task.cpus=2048",
        "services.web.traffic.rate[7].rps=3",
        "services.web.scaling.policies.cpu60.target=5",
        "nothing",
        "services..web=1",
        "simulation.duration=[1",
    ];
    let said = said(GOOD, &sets);
    for part in [
        "1 | services.wbe.task.cpu=2048\n  |          ^^^ no such key in `services`",
        "1 + services.web.task.cpu=2048",
        "there is no `services.web.traffic.rate[7]`",
        "1 | services.web.scaling.policies.cpu60.target_value=5",
        "a setting is written `address=value`",
        "this is not an address",
        "7 errors",
    ] {
        assert!(said.contains(part), "expected `{part}` in:\n{said}");
    }
}

#[test]
fn settings_and_variants_change_what_they_name() {
    let load = |variant: Option<&str>, sets: &[&str]| {
        let options = LoadOptions {
            sets: sets.iter().map(|s| (*s).to_owned()).collect(),
            variant: variant.map(str::to_owned),
            ..LoadOptions::default()
        };
        load_text("spike", "spike.toml", GOOD, Path::new("."), &options)
            .unwrap_or_else(|d| panic!("{}", d.render(false)))
    };
    let base = load(None, &[]);
    assert_eq!(base.variants, ["base", "slower"]);
    let set = load(
        None,
        &[
            "simulation.duration=10m",
            "services.web.traffic.rate[1].rps=3",
            "services.web.task.stop_timeout=90",
            "services.\"web\".desired_count = 5",
        ],
    );
    assert_eq!(set.plan.simulation.duration.as_secs(), 600);
    assert_eq!(set.plan.services["web"].traffic.rate[1].rps, 3.0);
    assert_eq!(set.plan.services["web"].task.stop_timeout.as_secs(), 90);
    assert_eq!(set.plan.services["web"].desired_count, 5);
    let slower = load(Some("slower"), &[]);
    assert!(slower.plan_toml.contains("target_value = 75.0"));
    // A setting counts more than a variant, and a table replaces the whole table.
    let both = load(Some("slower"), &["services.web.scaling={ min_capacity = 1, max_capacity = 9 }"]);
    assert!(both.plan.services["web"].scaling.as_ref().unwrap().policies.is_empty());
    let without = load(None, &["unset=[\"services.web.scaling\"]"]);
    assert!(without.plan.services["web"].scaling.is_none());
}

#[test]
fn a_variant_with_a_wrong_address_is_found_before_it_is_run() {
    says(
        &with("cpu60.target_value\" = 75", "cpu6.target_value\" = 75"),
        &["error[S0202]", "policies.cpu6`", "23 | \"services.web.scaling.policies.cpu60.target_value\" = 75"],
    );
    says(
        &with("\"services.web.scaling.policies.cpu60.target_value\" = 75", "services.web.desired_count = 3"),
        &["written in quotes"],
    );
    let options = LoadOptions { variant: Some("slowr".into()), ..LoadOptions::default() };
    let found = load_text("spike", "spike.toml", GOOD, Path::new("."), &options).unwrap_err();
    assert!(found.render(false).contains("there is `slower`"));
}

#[test]
fn syntax_errors_come_several_at_once() {
    let said = said("[a\nb = = 3\nc = 4 5\n", &[]);
    assert!(said.contains("spike.toml:1:3") && said.contains("spike.toml:2:5"), "{said}");
    assert!(said.contains("error[S0010]"), "{said}");
}

#[test]
fn files_that_cannot_be_read_have_one_message_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.toml"), " \n").unwrap();
    std::fs::write(path("latin.toml"), b"[simulation]\nname = \"caf\xe9\"\n").unwrap();
    std::fs::write(path("spike.toml"), GOOD).unwrap();
    let said = |name: &str| {
        let found = load(&path(name), &LoadOptions::default()).unwrap_err();
        assert_eq!(found.items.len(), 1, "{}", found.render(false));
        (found.is_unreadable(), found.render(false))
    };
    let (io, text) = said("spke.toml");
    assert!(io && text.contains("there is no file") && text.contains("spike.toml`"), "{text}");
    let (io, text) = said("");
    assert!(io && text.contains("is a directory"), "{text}");
    let (io, text) = said("empty.toml");
    assert!(!io && text.contains("is empty"), "{text}");
    let (io, text) = said("latin.toml");
    assert!(!io && text.contains("not UTF-8") && text.contains("line 2"), "{text}");
}

#[test]
fn includes_stay_inside_and_give_way() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(folder.path().join("outside.toml"), "[simulation]\nseed = 9\n").unwrap();
    std::fs::write(inner.join("common.toml"), "[simulation]\nseed = 9\nduration = \"1h\"\n[cluster]\nzones = 2\n")
        .unwrap();
    std::fs::write(inner.join("loop.toml"), "include = [\"loop.toml\"]\n").unwrap();
    let main = inner.join("main.toml");
    std::fs::write(&main, format!("include = [\"common.toml\"]\n{GOOD}")).unwrap();
    let l = load(&main, &LoadOptions::default()).unwrap();
    assert_eq!((l.plan.simulation.seed, l.plan.simulation.duration.as_secs(), l.plan.cluster.zones), (9, 2700, 2));
    std::fs::write(&main, format!("include = [\"../outside.toml\"]\n{GOOD}")).unwrap();
    let refused = load(&main, &LoadOptions::default()).unwrap_err().render(false);
    assert!(refused.contains("outside of the scenario's folder"), "{refused}");
    let allowed = load(&main, &LoadOptions { allow_outside: true, ..LoadOptions::default() }).unwrap();
    assert_eq!(allowed.plan.simulation.seed, 9);
    std::fs::write(&main, format!("include = [\"loop.toml\"]\n{GOOD}")).unwrap();
    let circle = load(&main, &LoadOptions::default()).unwrap_err().render(false);
    assert!(circle.contains("circle"), "{circle}");
}

#[test]
fn traces_are_checked_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("s.toml");
    let text = with(
        "traffic.rate = [{ at = \"0s\", rps = 60 }, { at = \"10m\", rps = 420 }]",
        "traffic.trace = { file = \"t.csv\" }",
    );
    std::fs::write(&scenario, &text).unwrap();
    let said = |csv: &str| {
        std::fs::write(folder.path().join("t.csv"), csv).unwrap();
        match load(&scenario, &LoadOptions::default()) {
            Ok(l) => format!("{} rows", l.inputs.traces["t.csv"].len()),
            Err(found) => found.render(false),
        }
    };
    assert_eq!(said("# a note\ntime_s,requests\n0,10\n60,12.5\n120,0\n"), "3 rows");
    for (csv, expected) in [
        ("", "the file is empty"),
        ("time_s,requests\n", "at least two rows"),
        ("time,requests\n0,1\n", "line 1: the columns time_s,requests were expected; there are time,requests"),
        ("time_s,requests\n0,10\n60,12\n30,9\n", "line 4: time goes back: 30 after 60"),
        ("time_s,requests\n0,10\n0,12\n", "line 3: this interval has no length"),
        ("time_s,requests\n0,10\n60,-1\n", "line 3: `requests` cannot be negative: -1"),
        ("time_s,requests\n0,NaN\n60,1\n", "line 2: `requests` must be a finite number, not NaN"),
        ("time_s,requests\n0,ten\n60,1\n", "line 2: `requests` must be a number, not `ten`"),
        ("time_s,requests\n0\n60,1\n", "line 2: this row has another number of cells"),
        ("time_s,requests\n1400000000,1\n1400000060,1\n", "is it an epoch?"),
    ] {
        let said = said(csv);
        assert!(said.contains(expected), "expected `{expected}` in:\n{said}");
        assert!(said.contains("named here"), "{said}");
    }
    std::fs::remove_file(folder.path().join("t.csv")).unwrap();
    let missing = load(&scenario, &LoadOptions::default()).unwrap_err().render(false);
    assert!(missing.contains("there is no file") && missing.contains("s.toml:12:"), "{missing}");
}

#[test]
fn the_provider_would_have_refused() {
    says(
        &with("memory = \"2 GB\"", "memory = \"1 GB\""),
        &["error[S1020]", "no task size of 1 vCPU with 1 GB", "cpu = 1024, memory = \"2 GB\""],
    );
    says(&with("weight = 1", "weight = 0"), &["all weights are 0"]);
    says(&with("weight = 1", "weight = 1001"), &["from 0 to 1000, not 1001"]);
    says(&with("capacity.fargate =", "capacity.fargat ="), &["there is no capacity `fargat`", "there is `fargate`"]);
    says(
        &with("memory = \"2 GB\"", "memory = \"2 GB\", stop_timeout = \"3m\""),
        &["Fargate takes a `stop_timeout` from 2 to 120 seconds, not 3m"],
    );
    says(&with("min_capacity = 4", "min_capacity = 61"), &["`min_capacity` is above `max_capacity`"]);
    says(
        &with("ECSServiceAverageCPUUtilization", "ECSServiceAverageCPUUtilizationHighResolution"),
        &["needs `monitoring_resolution = 20`"],
    );
    let balancer = |text: &str| {
        with("[services.web.scaling]\n", &format!("[services.web.load_balancer]\n{text}\n[services.web.scaling]\n"))
    };
    says(
        &balancer("slow_start = 60\nalgorithm = \"least_outstanding_requests\""),
        &["slow start with `round_robin` only"],
    );
    says(&balancer("health_check = { interval = 5 }"), &["whose timeout is not below its interval"]);
    says(&balancer("deregistration_delay = \"2h\""), &["from 0 to 3600 seconds"]);
    let ecs = |text: &str| {
        with(
            "[services.web.scaling]\n",
            &format!("[services.web.ecs.deployment_configuration]\n{text}\n[services.web.scaling]\n"),
        )
    };
    says(&ecs("maximum_percent = 100"), &["both percents are 100", "ECS refuses it"]);
    says(
        &ecs("maximum_percent = 120"),
        &["warning[W0035]", "with 4 tasks a deployment can neither start nor stop one"],
    );
    says(
        &ecs("alarms = { enable = true, alarm_names = [\"errors\"] }"),
        &["there is no alarm of the service `errors`"],
    );
    let action = |schedule: &str| {
        with(
            "[variants.slower]",
            &format!("[services.web.scaling.scheduled_actions.a]\nmin_capacity = 5\n{schedule}\n\n[variants.slower]"),
        )
    };
    says(&action("schedule = \"0 8 * * *\""), &["a schedule is `cron(...)`, `rate(...)` or `at(...)`"]);
    says(
        &action("schedule = \"rate(1 hour)\"\ntimezone = \"Europe/Berln\""),
        &["there is no time zone", "Europe/Berlin"],
    );
}

#[test]
fn deployments_with_a_second_fleet_have_rules_of_their_own() {
    let ecs =
        |text: &str| with("[services.web.scaling]\n", &format!("[services.web.ecs]\n{text}\n[services.web.scaling]\n"));
    let configuration = |text: &str| ecs(&format!("deployment_configuration = {{ {text} }}"));
    says(&ecs("deployment_controller = \"EXTERNAL\""), &["error[S1012]", "EXTERNAL controller cannot be simulated"]);
    says(&ecs("code_deploy = {}"), &["only with `deployment_controller = \"CODE_DEPLOY\"`"]);
    says(&configuration("strategy = \"BLUE_GREEN\""), &["BLUE_GREEN needs `bake_time_in_minutes`"]);
    says(&configuration("strategy = \"BLUE-GREEN\""), &["BLUE_GREEN"]);
    says(
        &configuration("strategy = \"CANARY\", linear_configuration = {}"),
        &["`linear_configuration` is for the strategy LINEAR", "the strategy is CANARY"],
    );
    says(
        &configuration("strategy = \"LINEAR\", linear_configuration = { step_percent = 2.95 }"),
        &["a `step_percent` of 3.0 to 100.0, by tenths, not 2.95"],
    );
    says(
        &configuration("strategy = \"CANARY\", early_success = { healthy_percent = 50 }"),
        &["early success is for rolling updates"],
    );
    let hook = |strategy: &str, text: &str| {
        configuration(&format!("strategy = \"{strategy}\", lifecycle_hooks.look = {{ {text} }}"))
    };
    says(&hook("ROLLING", "lifecycle_stages = [\"POST_SCALE_UP\"]"), &["a rolling update has no stages"]);
    says(&hook("CANARY", "lifecycle_stages = [\"BAKE_TIME\"]"), &["ECS calls no hooks in BAKE_TIME"]);
    says(
        &hook("CANARY", "lifecycle_stages = [\"TEST_TRAFFIC_SHIFT\"], target_type = \"PAUSE\""),
        &["ECS does not pause in TEST_TRAFFIC_SHIFT"],
    );
    says(
        &hook("CANARY", "lifecycle_stages = [\"POST_SCALE_UP\"], alarm = \"errors\""),
        &["there is no alarm of the service `errors`"],
    );
    let group = |text: &str| ecs(&format!("deployment_controller = \"CODE_DEPLOY\"\ncode_deploy = {{ {text} }}"));
    says(&group("termination_wait_time_in_minutes = 2881"), &["from 0 to 2880, not 2881"]);
    says(
        &group("traffic_routing_config = { type = \"TimeBasedLinear\", linear_percentage = 0, linear_interval = 1 }"),
        &["`linear_percentage` from 1 to 99, not 0"],
    );
    says(&group("deployment_ready_option = { rerouted_after = \"5m\" }"), &["waits for nobody"]);
    says(
        &ecs("deployment_controller = \"CODE_DEPLOY\"\ndeployment_configuration.strategy = \"LINEAR\""),
        &["`strategy` is for the controller ECS"],
    );
    says(
        &ecs("deployment_controller = \"CODE_DEPLOY\"")
            .replace("ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"),
        &["tracks ALBRequestCountPerTarget, which does not go with CODE_DEPLOY"],
    );
}

#[test]
fn steps_must_tile() {
    let steps = |list: &str| {
        with(
            "type = \"target_tracking\"\npredefined_metric_type = \"ECSServiceAverageCPUUtilization\"\ntarget_value = 60",
            &format!(
                "type = \"step_scaling\"\nalarm = {{ metric = \"CPUUtilization\", comparison_operator = \"GreaterThanThreshold\", threshold = 70 }}\nstep_adjustments = [{list}]"
            ),
        )
        .replace("\"services.web.scaling.policies.cpu60.target_value\" = 75", "")
    };
    let step = |low: &str, high: &str| {
        let low = if low.is_empty() { String::new() } else { format!("metric_interval_lower_bound = {low}, ") };
        let high = if high.is_empty() { String::new() } else { format!("metric_interval_upper_bound = {high}, ") };
        format!("{{ {low}{high}scaling_adjustment = 1 }}")
    };
    assert_eq!(said(&steps(&format!("{}, {}", step("0", "10"), step("10", ""))), &[]), "");
    says(&steps(&format!("{}, {}", step("0", "10"), step("20", ""))), &["two steps leave a gap"]);
    says(&steps(&format!("{}, {}", step("0", "30"), step("20", ""))), &["two steps overlap"]);
    says(&steps(&step("0", "10")), &["one step needs no upper bound at all"]);
    says(&steps(&step("-10", "")), &["one step needs no lower bound at all"]);
    says(&steps(&step("5", "5")), &["not below its upper bound"]);
    says(&steps(""), &["changes nothing"]);
}

#[test]
fn containers_that_wait_for_one_another() {
    let containers =
        |text: &str| with("memory = \"2 GB\" }", &format!("memory = \"2 GB\", containers = {{ {text} }} }}"));
    says(
        &containers("a = { depends_on = { b = \"START\" } }, b = { depends_on = { a = \"START\" } }"),
        &["`a` and `b` wait for one another"],
    );
    says(
        &containers("a = { depends_on = { main = \"START\" }, main_waits_for = \"START\" }"),
        &["`a` and `main` wait for one another"],
    );
    says(&containers("a = { main_waits_for = \"HEALTHY\" }"), &["`a` has no health check"]);
    says(&containers("a = { main_waits_for = \"SUCCESS\" }"), &["`a` is essential"]);
    says(&containers("a = { essential = false, main_waits_for = \"SUCCESS\" }"), &["never exits by itself"]);
    assert_eq!(
        said(&containers("a = { essential = false, runs_for = \"3s\", main_waits_for = \"SUCCESS\" }"), &[]),
        ""
    );
}

#[test]
fn a_scenario_that_cannot_be_is_told_so() {
    let findings = |text: &str| {
        let l = load_text("s", "s.toml", text, Path::new("."), &LoadOptions::default())
            .unwrap_or_else(|d| panic!("{}", d.render(false)));
        check::arithmetic(&l.plan, &l.inputs)
    };
    let codes = |text: &str| -> Vec<&'static str> {
        findings(text).into_iter().filter(|f| f.severity == Severity::Error).map(|f| f.code).collect()
    };
    let objective = |text: &str| format!("{GOOD}\n[objectives.web]\n{text}\n");
    assert!(codes(&objective("latency_p50 = \"<= 25 ms\"")).is_empty());
    assert_eq!(codes(&objective("latency_p50 = \"<= 15 ms\"")), ["S1102"]);
    // One request in a hundred fails by itself.
    let failing = objective("availability = \">= 99.9 %\"")
        .replace("cpu_time = \"20ms\"", "cpu_time = \"20ms\", error_rate = \"1 %\"");
    assert_eq!(codes(&failing), ["S1101"]);
    assert!(
        codes(&failing.replace("[variants.slower]", "[services.web.client]\nretries = 1\n[variants.slower]"))
            .is_empty()
    );
    // Two tasks of one vCPU for 8.4 vCPU of work.
    let small = objective("availability = \">= 99 %\"")
        .replace("max_capacity = 60", "max_capacity = 2")
        .replace("_count = 4", "_count = 2")
        .replace("min_capacity = 4", "min_capacity = 2");
    assert_eq!(codes(&small), ["S1101"]);
    // 40 ms on half a vCPU: 40 ms under the quota, 80 ms under fluid sharing.
    let half = objective("latency_mean = \"<= 50 ms\"")
        .replace("cpu = 1024, memory = \"2 GB\"", "cpu = 512, memory = \"1 GB\"")
        .replace("20ms", "40ms");
    assert!(codes(&half).is_empty(), "{:?}", findings(&half));
    assert_eq!(codes(&half.replace("cpu = 512", "cpu_model = \"fluid\", cpu = 512")), ["S1102"]);
    // The load at the start and at the peak is said with its numbers.
    let load = findings(GOOD).into_iter().find(|f| f.code == "N0101").unwrap();
    assert_eq!(
        load.message,
        "at the start, 60 requests/s need 1.2 of the 4 vCPU of 4 tasks: 30 % of what they can serve"
    );
}

#[test]
fn findings_are_there_for_programs_too() {
    let text = with("target_value = 60", "target_value = 60\nscale_in_coldown = \"5m\"");
    let found = load_text("spike", "spike.toml", &text, Path::new("."), &LoadOptions::default()).unwrap_err();
    let json = found.to_json();
    assert_eq!(json[0]["code"], "S0102");
    assert_eq!(json[0]["span"]["line"], 21);
    assert_eq!(json[0]["patch"]["text"], "scale_in_cooldown");
    let (start, end) = (json[0]["span"]["byte_start"].as_u64().unwrap(), json[0]["span"]["byte_end"].as_u64().unwrap());
    assert_eq!(&text[start as usize..end as usize], "scale_in_coldown");
}

#[test]
fn a_block_of_the_other_orchestrator_is_listed_as_unused() {
    let text =
        with("[variants.slower]", "[services.web.kubernetes]\nstrategy.max_surge = \"25%\"\n\n[variants.slower]");
    let l = load_text("s", "s.toml", &text, Path::new("."), &LoadOptions::default()).unwrap();
    assert_eq!(l.unused, ["services.web.kubernetes"]);
}

#[test]
fn arithmetic_follows_calls_and_queues() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let of = |file: &str| {
        let loaded = load(&root.join(file), &LoadOptions::default()).unwrap_or_else(|e| panic!("{}", e.render(false)));
        check::arithmetic(&loaded.plan, &loaded.inputs)
    };
    let shop = of("microservices.toml");
    let figure = |address: &str, name: &str| {
        let found = shop.iter().find(|f| f.address.starts_with(address) && f.figures.iter().any(|(n, _)| *n == name));
        let found = found.unwrap_or_else(|| panic!("nothing of {address} in {shop:#?}"));
        found.figures.iter().find(|(n, _)| *n == name).expect("a figure").1
    };
    // 120 pages a second ask the catalogue once each; one in five asks the orders.
    assert!((figure("services.catalogue", "requests_per_second") - 120.0).abs() < 1e-9);
    assert!((figure("services.orders", "requests_per_second") - 24.0).abs() < 1e-9);
    // The head of the file: 336 queries a second keep half of the eight workers busy.
    assert!((figure("dependencies.db", "calls_per_second") - 336.0).abs() < 1e-6);
    assert!((figure("dependencies.db", "busy_workers") / 8.0 - 0.5).abs() < 0.02);
    let orders = of("queue-workers.toml");
    let queue = orders.iter().find(|f| f.code == "N0106").expect("the queue is reckoned");
    assert!(queue.message.contains("messages come, 162/s at the peak"), "{}", queue.message);
}

#[test]
fn schedules_that_aws_refuses_are_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/nightly-batch.toml");
    let text = std::fs::read_to_string(root).expect("the scenario");
    for (cron, why) in [
        ("cron(0 2 * * * *)", "exactly one of day-of-month and day-of-week must be `?`"),
        ("cron(0 25 * * ? *)", "`25` is not a value of hours"),
        ("cron(0 2 * * ?)", "six fields"),
    ] {
        let bad = text.replace("cron(0 2 * * ? *)", cron);
        let options =
            LoadOptions { check_schedule: Some(simctl::experiment::CHECK_SCHEDULE), ..LoadOptions::default() };
        let found = load_text("s", "s.toml", &bad, Path::new("."), &options).expect_err("refused");
        let said = found.render(false);
        assert!(said.contains(why) && said.contains("--> s.toml:"), "{said}");
    }
}
