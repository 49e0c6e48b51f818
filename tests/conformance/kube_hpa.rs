//! The cases of the Horizontal Pod Autoscaler, of quantities, and of EKS's own rules, on the decision functions.

use std::fmt::Debug;

use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::fargate::{self, FargateProfile, FargateSelector};
use simctl::kubernetes::hpa::limits::{self, change_in};
use simctl::kubernetes::hpa::replicas::{self, Group, Sums, group, pod_request};
use simctl::kubernetes::hpa::{
    Behavior, HpaMemory, HpaSettings, HpaSpec, MetricError, MetricSpec, Observation, PodReading, PodState, PodTarget,
    PolicyKind, Reading, Recommendation, Replicas, ResourceName, Rules, Sample, ScaleEvent, ScalingPolicy,
    ScalingRules, SelectPolicy, Tolerances, TotalTarget, sync,
};
use simctl::kubernetes::kubelet::{PodPhase, ReadyCondition};
use simctl::kubernetes::node_group;
use simctl::units::{Bytes, Cpu, IntOrPercent, QuantityFormat, ResourceQuantity, Rounding};

use crate::Outcome;

type Got = Result<Value, String>;

/// Instants of the cases count from here; early enough for "very long ago".
const NOW: SimTime = SimTime::from_secs(2_000_000_000);

/// Runs a case of one of the families told of here; `None` for another's.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    let got = match family {
        "quantities" => quantities(case),
        "hpa_behavior" => behavior(case),
        "hpa_replicas" => hpa(case),
        _ => return None,
    };
    Some(match got {
        Err(problem) => Outcome::Failed(problem),
        Ok(got) => agree(&case["expected"], &got),
    })
}

/// Every key that is expected and not null must be equal; numbers compare as numbers.
fn agree(expected: &Value, got: &Value) -> Outcome {
    let Some(keys) = expected.as_object() else { return Outcome::Failed("the case expects nothing".into()) };
    let same = |key: &str, value: &Value| match (key, value) {
        ("error", Value::Bool(true)) => got.get("error").is_some(),
        ("log_after", Value::Null) => true,
        _ => got.get(key).is_some_and(|g| g == value || g.as_f64().is_some_and(|g| Some(g) == value.as_f64())),
    };
    let all = keys.iter().all(|(key, value)| same(key, value));
    let no_more = expected.get("error").is_some() || got.get("error").is_none();
    if all && no_more { Outcome::Passed } else { Outcome::Failed(format!("expected {expected}, got {got}")) }
}

fn text<'a>(of: &'a Value, key: &str) -> Result<&'a str, String> {
    of[key].as_str().ok_or_else(|| format!("`{key}` is no text"))
}

fn whole(of: &Value, key: &str) -> Result<i64, String> {
    of[key].as_i64().ok_or_else(|| format!("`{key}` is not a whole number"))
}

fn count(of: &Value, key: &str) -> Result<u32, String> {
    u32::try_from(whole(of, key)?).map_err(|e| format!("`{key}`: {e}"))
}

fn number(of: &Value, key: &str) -> Result<f64, String> {
    of[key].as_f64().ok_or_else(|| format!("`{key}` is no number"))
}

fn list<'a>(of: &'a Value, key: &str) -> Result<&'a [Value], String> {
    of[key].as_array().map(Vec::as_slice).ok_or_else(|| format!("`{key}` is no list"))
}

fn span(of: &Value, key: &str) -> Result<SimDuration, String> {
    u64::try_from(whole(of, key)?).map(SimDuration::from_secs).map_err(|e| format!("`{key}`: {e}"))
}

/// An instant relative to now.
fn instant(of: &Value, key: &str) -> Result<SimTime, String> {
    let seconds = NOW.as_nanos() as i64 / 1_000_000_000 + whole(of, key)?;
    u64::try_from(seconds).map(SimTime::from_secs).map_err(|e| format!("`{key}`: {e}"))
}

fn word(value: impl Debug) -> Value {
    Value::String(format!("{value:?}"))
}

// Quantities.

fn quantities(case: &Value) -> Got {
    let input = &case["input"];
    let parse = |key: &str| -> Result<ResourceQuantity, Value> {
        input[key].as_str().unwrap_or_default().parse().map_err(|e| json!({ "error": format!("{e}") }))
    };
    let quantity = |key: &str| parse(key).map_err(|e| e.to_string());
    Ok(match text(case, "kind")? {
        "parse" => match parse("text") {
            Ok(q) => json!({ "value": q.plain(), "format": word(q.format()) }),
            Err(error) => error,
        },
        "round_up" => {
            let (rounded, exact) = quantity("text")?.round_up(whole(input, "scale")? as i32);
            json!({ "value": rounded.plain(), "exact": exact })
        }
        "canonical" => json!({ "text": quantity("text")?.to_string() }),
        "format" => {
            let format = match text(input, "format")? {
                "DecimalSI" => QuantityFormat::DecimalSI,
                "BinarySI" => QuantityFormat::BinarySI,
                "DecimalExponent" => QuantityFormat::DecimalExponent,
                other => return Err(format!("no format {other}")),
            };
            json!({ "text": quantity("value")?.with_format(format).to_string() })
        }
        "compare" => json!({ "order": quantity("a")?.compare(&quantity("b")?) as i8 }),
        "scaled_value" => json!({ "scaled": quantity("value")?.scaled(whole(input, "scale")? as i32) }),
        kind @ ("int_or_percent" | "int_or_percent_form") => {
            let value = match (input["text"].as_str(), input["number"].as_i64()) {
                (Some(text), _) => match text.parse() {
                    Ok(value) => value,
                    Err(_) => return Ok(json!({ "error": "format" })),
                },
                (None, Some(number)) => IntOrPercent::Int(number),
                (None, None) => return Err("neither text nor number".into()),
            };
            if kind == "int_or_percent" {
                let round = if input["round_up"] == true { Rounding::Up } else { Rounding::Down };
                json!({ "value": value.of(whole(input, "total")?, round) })
            } else {
                match value {
                    IntOrPercent::Int(n) => json!({ "value": n, "is_percent": false }),
                    IntOrPercent::Percent(n) => json!({ "value": n, "is_percent": true }),
                }
            }
        }
        other => return Err(format!("no kind {other}")),
    })
}

// Behavior of the HPA.

fn rules(of: &Value) -> Result<Option<ScalingRules>, String> {
    if of.is_null() {
        return Ok(None);
    }
    let policy = |p: &Value| -> Result<ScalingPolicy, String> {
        let kind = match text(p, "type")? {
            "Pods" => PolicyKind::Pods,
            "Percent" => PolicyKind::Percent,
            other => return Err(format!("no policy type {other}")),
        };
        Ok(ScalingPolicy { kind, value: count(p, "value")?, period: span(p, "period_s")? })
    };
    let select_policy = match of["select_policy"].as_str() {
        None => None,
        Some("Max") => Some(SelectPolicy::Max),
        Some("Min") => Some(SelectPolicy::Min),
        Some("Disabled") => Some(SelectPolicy::Disabled),
        Some(other) => return Err(format!("no select policy {other}")),
    };
    let window = of.get("stabilization_window_s").filter(|w| !w.is_null());
    let policies = of["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Some(ScalingRules {
        stabilization_window: window.map(|_| span(of, "stabilization_window_s")).transpose()?,
        select_policy,
        policies: policies.iter().map(policy).collect::<Result<_, _>>()?,
        tolerance: None,
    }))
}

fn print_rules(rules: &Rules<'_>) -> Value {
    let policies: Vec<Value> = rules
        .policies
        .iter()
        .map(|p| json!({ "type": word(p.kind), "value": p.value, "period_s": p.period.as_secs() }))
        .collect();
    json!({
        "stabilization_window_s": rules.stabilization_window.map(SimDuration::as_secs),
        "select_policy": word(rules.select_policy),
        "policies": policies,
    })
}

fn ago(of: &Value) -> Result<SimTime, String> {
    Ok(NOW.saturating_sub(span(of, "age_s")?))
}

fn events(of: &Value, key: &str) -> Result<Vec<ScaleEvent>, String> {
    list(of, key)?
        .iter()
        .map(|e| Ok(ScaleEvent { at: ago(e)?, change: count(e, "change")?, outdated: false }))
        .collect()
}

fn recommendations(of: &Value) -> Result<Vec<Recommendation>, String> {
    let one = |r: &Value| Ok(Recommendation { at: ago(r)?, replicas: count(r, "replicas")? });
    list(of, "recommendations")?.iter().map(one).collect()
}

fn behavior(case: &Value) -> Got {
    let input = &case["input"];
    let current = || count(input, "current_replicas");
    let desired = || count(input, "desired_replicas");
    let bounds =
        || -> Result<(u32, u32), String> { Ok((count(input, "min_replicas")?, count(input, "max_replicas")?)) };
    Ok(match text(case, "kind")? {
        "legacy_limits" => {
            let settings = HpaSettings {
                scale_up_limit_factor: number(input, "scale_up_factor")?,
                scale_up_limit_minimum: number(input, "scale_up_minimum")?,
                ..HpaSettings::default()
            };
            let (min, max) = bounds()?;
            let (replicas, limit) = limits::limit_legacy(current()?, desired()?, min, max, &settings);
            json!({ "replicas": replicas, "condition": word(limit) })
        }
        "legacy_stabilization" => {
            let mut log = recommendations(input)?;
            let replicas = limits::stabilize_legacy(&mut log, desired()?, span(input, "window_s")?, NOW);
            json!({ "replicas": replicas, "log_length": log.len() })
        }
        kind @ ("scale_up_limit" | "scale_down_limit") => {
            let given = rules(&input["rules"])?;
            let (ups, downs) = (events(input, "scale_up_events")?, events(input, "scale_down_events")?);
            let limit = if kind == "scale_up_limit" {
                limits::up_limit(current()?, &Rules::up(given.as_ref()), &ups, &downs, NOW)
            } else {
                limits::down_limit(current()?, &Rules::down(given.as_ref()), &ups, &downs, NOW)
            };
            json!({ "limit": limit })
        }
        "rate_limits" => {
            let (up, down) = (rules(&input["scale_up"])?, rules(&input["scale_down"])?);
            let (ups, downs) = (events(input, "scale_up_events")?, events(input, "scale_down_events")?);
            let (up, down) = (Rules::up(up.as_ref()), Rules::down(down.as_ref()));
            let (replicas, limit) = limits::limit(current()?, desired()?, bounds()?, &up, &down, &ups, &downs, NOW);
            json!({ "replicas": replicas, "condition": word(limit) })
        }
        "scale_event_log" => {
            let mut log = events(input, "events")?;
            let given = rules(&input["rules"])?;
            let change = given.as_ref().map_or(0, |_| {
                change_in(&log, SimDuration::from_secs(input["query_period_s"].as_u64().unwrap_or(0)), NOW)
            });
            if let Some(given) = &given {
                limits::record(&mut log, count(input, "replica_change")?, Rules::up(Some(given)).longest_period(), NOW);
            }
            let log: Vec<Value> = log.iter().map(|e| json!({ "change": e.change, "outdated": e.outdated })).collect();
            json!({ "change_in_period": change, "log_after": log })
        }
        "stabilization" => {
            let mut log = recommendations(input)?;
            let (up, down) = (span(input, "scale_up_window_s")?, span(input, "scale_down_window_s")?);
            let replicas = limits::stabilize(&mut log, current()?, desired()?, up, down, NOW);
            json!({ "replicas": replicas, "log_after": log.iter().map(|r| r.replicas).collect::<Vec<_>>() })
        }
        "default_scale_up" => print_rules(&Rules::up(rules(input)?.as_ref())),
        "default_scale_down" => print_rules(&Rules::down(rules(input)?.as_ref())),
        other => return Err(format!("no kind {other}")),
    })
}

// Replicas.

fn settings(input: &Value) -> Result<HpaSettings, String> {
    Ok(HpaSettings {
        cpu_initialization_period: span(input, "cpu_initialization_period_s")?,
        initial_readiness_delay: span(input, "initial_readiness_delay_s")?,
        ..HpaSettings::default()
    })
}

fn tolerances(input: &Value) -> Result<Tolerances, String> {
    Ok(Tolerances { down: number(input, "tolerance_scale_down")?, up: number(input, "tolerance_scale_up")? })
}

fn pod(of: &Value) -> Result<PodState, String> {
    let phase = match text(of, "phase")? {
        "Pending" => PodPhase::Pending,
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        "Unknown" => PodPhase::Unknown,
        other => return Err(format!("no phase {other}")),
    };
    let ready = match of["ready"].as_str() {
        None => None,
        Some(status) => {
            Some(ReadyCondition { status: status == "True", since: instant(of, "ready_transition_time_s")? })
        }
    };
    let start = if of["start_time_s"].is_null() { None } else { Some(instant(of, "start_time_s")?) };
    Ok(PodState { phase, deleting: of["deleting"] == true, ready, start })
}

fn pods(input: &Value) -> Result<Vec<PodState>, String> {
    list(input, "pods")?.iter().map(pod).collect()
}

fn resource(of: &Value) -> Result<ResourceName, String> {
    match text(of, "resource")? {
        "cpu" => Ok(ResourceName::Cpu),
        "memory" => Ok(ResourceName::Memory),
        other => Err(format!("no resource {other}")),
    }
}

/// The metric; `None` for the source type that does not exist.
fn metric(of: &Value) -> Result<Option<MetricSpec>, String> {
    let target = || whole(of, "target");
    let pod_target = || -> Result<PodTarget, String> {
        match text(of, "target_type")? {
            "utilization_percent" => Ok(PodTarget::Utilization(target()?)),
            "average_value_milli" => Ok(PodTarget::AverageValue(target()?)),
            other => Err(format!("no target type {other}")),
        }
    };
    let total = || -> Result<TotalTarget, String> {
        match text(of, "target_type")? {
            "value_milli" => Ok(TotalTarget::Value(target()?)),
            "average_value_milli" => Ok(TotalTarget::AverageValue(target()?)),
            other => Err(format!("no target type {other}")),
        }
    };
    let name = String::from("metric");
    Ok(Some(match text(of, "source")? {
        "resource" => match of["container"].as_str() {
            Some(container) => MetricSpec::ContainerResource {
                resource: resource(of)?,
                container: container.to_owned(),
                target: pod_target()?,
            },
            None => MetricSpec::Resource { resource: resource(of)?, target: pod_target()? },
        },
        "pods" => MetricSpec::Pods { name, average_value: target()? },
        "object" => MetricSpec::Object { name, target: total()? },
        "external" => MetricSpec::External { name, target: total()? },
        "invalid" => return Ok(None),
        other => return Err(format!("no source {other}")),
    }))
}

fn integers(of: &Value, key: &str) -> Result<Vec<i64>, String> {
    list(of, key)?.iter().map(|v| v.as_i64().ok_or_else(|| format!("`{key}` holds no whole numbers"))).collect()
}

/// The value of a sample: that of the named container, or of all.
fn sample_value(sample: &Value, container: Option<&str>) -> Result<Option<i64>, String> {
    let direct = ["value_milli", "usage_milli"].iter().find_map(|key| sample.get(key)).and_then(Value::as_i64);
    if direct.is_some() {
        return Ok(direct);
    }
    let containers = list(sample, "containers")?;
    let mut chosen = containers.iter().filter(|c| container.is_none_or(|name| c["name"] == name)).peekable();
    if chosen.peek().is_none() {
        return Ok(None);
    }
    chosen.map(|c| whole(c, "usage_milli")).sum::<Result<i64, _>>().map(Some)
}

/// Readings of the pods and the samples of pods that are not among them.
fn readings(pods: &[Value], samples: &[Value], container: Option<&str>) -> Result<(Vec<PodReading>, Vec<i64>), String> {
    let mut readings = Vec::new();
    for pod in pods {
        let requests = pod["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let requests = requests.iter().filter(|c| container.is_none_or(|name| c["name"] == name));
        let mut reading =
            PodReading { sample: None, request: pod_request(None, requests.map(|c| c["request_milli"].as_i64()), []) };
        if let Some(sample) = samples.iter().find(|s| s["pod"] == pod["name"])
            && let Some(value) = sample_value(sample, container)?
        {
            let at = if sample["time_s"].is_null() { NOW } else { instant(sample, "time_s")? };
            let window = if sample["window_s"].is_null() { SimDuration::ZERO } else { span(sample, "window_s")? };
            reading.sample = Some(Sample { at, window, value });
        }
        readings.push(reading);
    }
    let known = |sample: &Value| pods.iter().any(|p| p["name"] == sample["pod"]);
    let strangers: Vec<i64> = samples
        .iter()
        .filter(|s| !known(s))
        .filter_map(|s| sample_value(s, container).transpose())
        .collect::<Result<_, _>>()?;
    Ok((readings, strangers))
}

fn code(error: MetricError) -> &'static str {
    match error {
        MetricError::MissingRequest => "missing_request",
        MetricError::NoMetricsReturned => "no_metrics_returned",
        MetricError::NoMetricsMatchKnownPods => "no_metrics_match_known_pods",
        MetricError::NoPods => "no_pods",
        MetricError::Unavailable => "unavailable",
        MetricError::InvalidSource => "invalid_source",
    }
}

fn hpa(case: &Value) -> Got {
    let input = &case["input"];
    match text(case, "kind")? {
        "replica_calculation" => replica_calculation(input),
        "pod_classification" => classification(input),
        "pod_request" => {
            let requests = |key: &str, only_restarting: bool| -> Result<Vec<Option<i64>>, String> {
                let all = list(input, key)?.iter().filter(|c| !only_restarting || c["restart_always"] == true);
                let named = all.filter(|c| input["container"].as_str().is_none_or(|name| c["name"] == name));
                Ok(named.map(|c| c["request_milli"].as_i64()).collect())
            };
            let (containers, init) = (requests("containers", false)?, requests("init_containers", true)?);
            if input["container"].is_string() && containers.is_empty() && init.is_empty() {
                return Ok(json!({ "error": "container_not_found" }));
            }
            let pod_level = (input["pod_level_resources_enabled"] == true && input["container"].is_null())
                .then(|| input["pod_level_request_milli"].as_i64())
                .flatten();
            Ok(match pod_request(pod_level, containers, init) {
                Some(request) => json!({ "request_milli": request }),
                None => json!({ "error": "missing_request" }),
            })
        }
        kind @ ("resource_utilization_ratio" | "metric_usage_ratio") => {
            let usage = input["usage_milli"].as_object().ok_or("`usage_milli` is no map")?;
            let mut sums = Sums::default();
            for (pod, value) in usage {
                sums.add(value.as_i64().ok_or("a usage is no number")?, input["request_milli"][pod].as_i64());
            }
            Ok(if kind == "metric_usage_ratio" {
                let average = sums.average();
                json!({ "ratio": replicas::ratio(average, whole(input, "target_milli")?), "usage_milli": average })
            } else {
                match sums.utilization() {
                    Err(error) => json!({ "error": code(error) }),
                    Ok((utilization, average)) => json!({
                        "ratio": replicas::ratio(utilization, whole(input, "target_percent")?),
                        "utilization_percent": utilization,
                        "average_value_milli": average,
                    }),
                }
            })
        }
        "controller_sync" => controller_sync(input),
        other => Err(format!("no kind {other}")),
    }
}

fn replica_calculation(input: &Value) -> Got {
    let metric = metric(&input["metric"])?.ok_or("no such source")?;
    let pods = pods(input)?;
    let samples = input["pod_samples"].as_array().map(Vec::as_slice).unwrap_or_default();
    let container = input["metric"]["container"].as_str();
    let (readings, strangers) = readings(list(input, "pods")?, samples, container)?;
    let series;
    let reading = match &metric {
        MetricSpec::Object { .. } => Reading::Object(whole(input, "object_value_milli")?),
        MetricSpec::External { .. } => {
            series = integers(input, "external_values_milli")?;
            Reading::External(&series)
        }
        _ => Reading::Pods { readings: &readings, strangers: &strangers },
    };
    let current = count(input, "current_replicas")?;
    let current = Replicas { spec: current, status: current };
    let proposal = replicas::propose(&metric, &reading, &pods, current, tolerances(input)?, &settings(input)?, NOW);
    Ok(match (proposal, &metric) {
        (Err(error), _) => json!({ "error": code(error) }),
        (Ok(p), MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. }) => json!({
            "replicas": p.replicas, "utilization_percent": p.utilization, "average_value_milli": p.value,
        }),
        (Ok(p), _) => json!({ "replicas": p.replicas, "usage_milli": p.value }),
    })
}

fn classification(input: &Value) -> Got {
    let resource = match text(input, "resource")? {
        "cpu" => Some(ResourceName::Cpu),
        "memory" => Some(ResourceName::Memory),
        _ => None,
    };
    let samples = list(input, "samples")?;
    let (mut ready, mut unready, mut missing, mut ignored) = (0, Vec::new(), Vec::new(), Vec::new());
    for of in list(input, "pods")? {
        let sample = match samples.iter().find(|s| s["pod"] == of["name"]) {
            None => None,
            Some(s) => Some(Sample { at: instant(s, "time_s")?, window: span(s, "window_s")?, value: 1 }),
        };
        let name = of["name"].clone();
        match group(&pod(of)?, sample.as_ref(), resource, &settings(input)?, NOW) {
            Group::Ready => ready += 1,
            Group::Unready => unready.push(name),
            Group::Missing => missing.push(name),
            Group::Ignored => ignored.push(name),
        }
    }
    Ok(json!({ "ready_count": ready, "unready": unready, "missing": missing, "ignored": ignored }))
}

/// What a metric of a sync reads, owned.
enum Owned {
    Pods(Vec<PodReading>, Vec<i64>),
    Object(i64),
    External(Vec<i64>),
    Unavailable,
    /// A source type that does not exist.
    Invalid,
}

fn owned(of: &Value, input: &Value, metric: Option<&MetricSpec>) -> Result<Owned, String> {
    let pods = list(input, "pods")?;
    let per_pod = |samples: &[Value]| {
        if samples.is_empty() {
            return Ok(Owned::Unavailable);
        }
        readings(pods, samples, of["container"].as_str()).map(|(r, s)| Owned::Pods(r, s))
    };
    match metric {
        None => Ok(Owned::Invalid),
        Some(MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. }) => {
            per_pod(list(input, "cpu_samples")?)
        }
        Some(MetricSpec::Pods { .. }) if of["pod_values"].is_null() => Ok(Owned::Unavailable),
        Some(MetricSpec::Pods { .. }) => per_pod(list(of, "pod_values")?),
        Some(MetricSpec::Object { .. }) if of["value_milli"].is_null() => Ok(Owned::Unavailable),
        Some(MetricSpec::Object { .. }) => whole(of, "value_milli").map(Owned::Object),
        Some(MetricSpec::External { .. }) if of["values_milli"].is_null() => Ok(Owned::Unavailable),
        Some(MetricSpec::External { .. }) => integers(of, "values_milli").map(Owned::External),
    }
}

fn controller_sync(input: &Value) -> Got {
    let tolerances = tolerances(input)?;
    let with = |tolerance: f64, rules: Option<ScalingRules>| {
        Some(ScalingRules { tolerance: Some(tolerance), ..rules.unwrap_or_default() })
    };
    let behavior = match &input["behavior"] {
        Value::Null => None,
        b => Some(Behavior {
            scale_up: with(tolerances.up, rules(&b["scale_up"])?),
            scale_down: with(tolerances.down, rules(&b["scale_down"])?),
        }),
    };
    let (mut metrics, mut read) = (Vec::new(), Vec::new());
    for of in list(input, "metrics")? {
        let metric = metric(of)?;
        read.push(owned(of, input, metric.as_ref())?);
        // A source that does not exist is an object metric that gets a reading of another sort.
        metrics.push(metric.unwrap_or(MetricSpec::Object { name: String::new(), target: TotalTarget::Value(1) }));
    }
    let spec = HpaSpec {
        min_replicas: count(input, "min_replicas")?,
        max_replicas: count(input, "max_replicas")?,
        metrics,
        behavior,
    };
    if spec.behavior.is_none() && tolerances.down != tolerances.up {
        return Err("tolerances can differ only with a behavior".into());
    }
    let settings = HpaSettings {
        tolerance: tolerances.up,
        downscale_stabilization: span(input, "downscale_stabilization_window_s")?,
        scale_up_limit_factor: number(input, "legacy_scale_up_factor")?,
        scale_up_limit_minimum: number(input, "legacy_scale_up_minimum")?,
        ..settings(input)?
    };
    let prior = match &input["prior_recommendations"] {
        Value::Null => None,
        list => {
            let one = |r: &Value| -> Result<Recommendation, String> {
                Ok(Recommendation { at: instant(r, "time_s")?, replicas: count(r, "replicas")? })
            };
            Some(list.as_array().ok_or("no list")?.iter().map(one).collect::<Result<Vec<_>, _>>()?)
        }
    };
    let memory = HpaMemory { recommendations: prior, ..HpaMemory::default() };
    let readings: Vec<Reading<'_>> = read
        .iter()
        .map(|owned| match owned {
            Owned::Pods(readings, strangers) => Reading::Pods { readings, strangers },
            Owned::Object(value) => Reading::Object(*value),
            Owned::External(series) => Reading::External(series),
            Owned::Unavailable => Reading::Unavailable,
            Owned::Invalid => Reading::External(&[]),
        })
        .collect();
    let pods = pods(input)?;
    let replicas = Replicas { spec: count(input, "spec_replicas")?, status: count(input, "status_replicas")? };
    let seen = Observation { replicas, pods: &pods, readings: &readings };
    let (decision, _) = sync(&spec, &settings, memory, &seen, NOW);
    let condition =
        |status: bool, reason: Value| json!({ "status": if status { "True" } else { "False" }, "reason": reason });
    let mut conditions = serde_json::Map::new();
    conditions.insert("AbleToScale".into(), condition(true, word(decision.able_to_scale)));
    if let Some(reason) = decision.scaling_active {
        let active = format!("{reason:?}") == "ValidMetricFound";
        conditions.insert("ScalingActive".into(), condition(active, word(reason)));
    }
    if let (Some(limited), Some(reason)) = (decision.scaling_limited(), decision.limit) {
        conditions.insert("ScalingLimited".into(), condition(limited, word(reason)));
    }
    Ok(json!({ "desired_replicas": decision.replicas, "conditions": conditions }))
}

// What EKS adds.

/// Runs a case of one of the families about EKS that stand among those of ECS; `None` for another's.
pub(crate) fn run_eks(family: &str, case: &Value) -> Option<Outcome> {
    let input = &case["input"];
    let got = match family {
        "eks_fargate_pod" => fargate_pod(input),
        "eks_nodegroup_surge" => node_group_surge(input),
        "fargate_profile_match" => profile_match(input),
        _ => return None,
    };
    Some(match got {
        Err(problem) => Outcome::Failed(problem),
        Ok(got) if got == case["expect"] => Outcome::Passed,
        Ok(got) => Outcome::Failed(format!("expected {}, got {got}", case["expect"])),
    })
}

fn fargate_pod(input: &Value) -> Got {
    let sizes = |key: &str| -> Result<Vec<(Cpu, Bytes)>, String> {
        // Memory of a container that states none is none.
        let amount = |c: &Value, key: &str| c[key].as_u64().unwrap_or(0);
        let one = |c: &Value| (Cpu::from_units(amount(c, "cpu")), Bytes::from_mib(amount(c, "memory")));
        Ok(list(input, key)?.iter().map(one).collect())
    };
    Ok(match fargate::pod_size(&sizes("containers")?, &sizes("init_containers")?) {
        Some(size) => json!({ "cpu": size.cpu_units, "memory": size.memory_mib }),
        None => json!({ "error": true }),
    })
}

fn node_group_surge(input: &Value) -> Got {
    Ok(json!({ "surge": node_group::surge(count(input, "zones")?, count(input, "max_unavailable")?) }))
}

fn profile_match(input: &Value) -> Got {
    let pairs = |of: &Value| -> Result<Vec<(String, String)>, String> {
        let map = of.as_object().ok_or("labels are no map")?;
        map.iter().map(|(k, v)| Ok((k.clone(), v.as_str().ok_or("a label is no text")?.to_owned()))).collect()
    };
    let selector = |of: &Value| -> Result<FargateSelector, String> {
        Ok(FargateSelector { namespace: text(of, "namespace")?.to_owned(), labels: pairs(&of["labels"])? })
    };
    let profile = |of: &Value| -> Result<FargateProfile, String> {
        let selectors = list(of, "selectors")?.iter().map(selector).collect::<Result<_, _>>()?;
        Ok(FargateProfile { name: text(of, "name")?.to_owned(), selectors })
    };
    let profiles: Vec<FargateProfile> = list(input, "profiles")?.iter().map(profile).collect::<Result<_, _>>()?;
    let labels = pairs(&input["labels"])?;
    let label = |key: &str| labels.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let taken = fargate::profile_of(&profiles, text(input, "namespace")?, label);
    Ok(json!({ "profile": taken.map(|p| p.name.clone()) }))
}
