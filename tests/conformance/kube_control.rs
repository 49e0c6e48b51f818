//! The families of `tests/vectors/kubernetes` about sizes of workloads: Deployments, ReplicaSets and
//! disruption budgets.

use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::deployment::{
    self, Condition, ConditionStatus, DeploymentSpec, DeploymentStatus, PodReplacementPolicy, Reason, ReplicaSet,
    SetId, Strategy, Template,
};
use simctl::kubernetes::disruption_budget::{
    self, BudgetPod, BudgetSpec, BudgetStatus, Demand, EvictionPod, Granted, UnhealthyPodEvictionPolicy,
};
use simctl::kubernetes::replica_set::{self, ActivePhase, Candidate, RankingFeatures};
use simctl::units::IntOrPercent;

use crate::Outcome;

/// What a case gives, or why it cannot be read.
type Got = Result<Value, String>;

/// The instant at which cases are evaluated; instants of a case are relative to it.
const NOW: SimTime = SimTime::from_secs(100_000_000);

/// Runs a case; `None` where nothing is built for its family.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    let kind = case["kind"].as_str().unwrap_or_default();
    let run: fn(&Value) -> Got = match (family, kind) {
        ("deployment_rolling", "fenceposts") => fenceposts,
        ("deployment_rolling", "max_unavailable") => max_unavailable,
        ("deployment_rolling", "new_replica_set_size") => new_replica_set_size,
        ("deployment_rolling", "reconcile_new") => reconcile_new,
        ("deployment_rolling", "reconcile_old") => reconcile_old,
        ("deployment_rolling", "scale_down_old") => scale_down_old,
        ("deployment_rolling", "cleanup_unhealthy") => cleanup_unhealthy,
        ("deployment_rolling", "proportional_scale") => proportional_scale,
        ("deployment_rolling", "complete") => complete,
        ("deployment_rolling", "progressing") => progressing,
        ("deployment_rolling", "timed_out") => timed_out,
        ("deployment_rolling", "requeue_delay") => requeue_delay,
        ("deployment_rolling", "rollout_condition") => rollout_condition,
        ("deployment_rolling", "pod_deletion_order") => pod_deletion_order,
        ("pdb", "status") => budget_status,
        ("pdb", "eviction") => eviction,
        ("deployment_rolling" | "pdb", _) => return Some(Outcome::Failed(format!("unknown kind `{kind}`"))),
        _ => return None,
    };
    let expected = &case["expected"];
    let got = run(&case["input"]);
    Some(match (got, expected.get("error").is_some(), expected.as_object()) {
        (Err(_), true, _) => Outcome::Passed,
        (Err(problem), false, _) => Outcome::Failed(problem),
        (Ok(got), false, Some(keys)) if keys.iter().all(|(k, v)| got.get(k) == Some(v)) => Outcome::Passed,
        (Ok(got), ..) => Outcome::Failed(format!("expected {expected}, got {got}")),
    })
}

fn int(value: &Value, key: &str) -> Result<i32, String> {
    let number = value.get(key).and_then(Value::as_i64).ok_or_else(|| format!("`{key}` is not a whole number"))?;
    i32::try_from(number).map_err(|e| format!("`{key}`: {e}"))
}

/// A number that may be null or left out.
fn optional(value: &Value, key: &str) -> Result<Option<i32>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => int(value, key).map(Some),
    }
}

fn flag(value: &Value, key: &str) -> Result<bool, String> {
    value.get(key).and_then(Value::as_bool).ok_or_else(|| format!("`{key}` is neither true nor false"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| format!("`{key}` is not a list"))
}

/// A number or a percentage, or nothing.
fn int_or_percent(value: &Value, key: &str) -> Result<Option<IntOrPercent>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => IntOrPercent::parse_percent(text).map(Some).map_err(|e| e.to_string()),
        Some(_) => int(value, key).map(|n| Some(IntOrPercent::Int(n))),
    }
}

/// An instant of a case. The marker for very long ago becomes the start of time.
fn instant(value: &Value, key: &str) -> Result<Option<SimTime>, String> {
    Ok(match value.get(key).and_then(Value::as_i64) {
        None => None,
        Some(s) => Some(SimTime::from_secs(u64::try_from(100_000_000 + s).unwrap_or(0))),
    })
}

fn deployment(input: &Value, replicas: &str) -> Result<DeploymentSpec, String> {
    let bound = |key| int_or_percent(input, key).map(|b| b.unwrap_or(IntOrPercent::Int(0)));
    let rolling =
        Strategy::RollingUpdate { max_surge: bound("max_surge")?, max_unavailable: bound("max_unavailable")? };
    let strategy = match input.get("strategy").and_then(Value::as_str) {
        Some("Recreate") => Strategy::Recreate,
        _ => rolling,
    };
    let pod_replacement_policy = match input.get("pod_replacement_policy").and_then(Value::as_str) {
        Some("TerminationComplete") => PodReplacementPolicy::TerminationComplete,
        _ => PodReplacementPolicy::TerminationStarted,
    };
    let replicas = optional(input, replicas)?.unwrap_or(0);
    Ok(DeploymentSpec { replicas, strategy, pod_replacement_policy, ..DeploymentSpec::new(Template(NEW)) })
}

const NEW: u32 = 1;
const OLD: u32 = 0;

/// A set of the new or the old template that was last sized by the given Deployment.
fn set(spec: &DeploymentSpec, template: u32, replicas: i32, available: i32) -> ReplicaSet {
    ReplicaSet {
        id: SetId(template),
        template: Template(template),
        revision: u64::from(template) + 1,
        created: SimTime::from_secs(u64::from(template)),
        replicas,
        current: replicas,
        ready: available,
        available,
        terminating: 0,
        annotated_desired: Some(spec.replicas),
        annotated_max: Some(spec.replicas + deployment::max_surge(spec)),
        failing: false,
    }
}

/// One pass of the controller: the sizes of both sets, and whether that of `watched` changed.
fn pass(spec: &DeploymentSpec, old: ReplicaSet, new: ReplicaSet, watched: u32, key: &str) -> Value {
    let sync = deployment::sync(spec, &DeploymentStatus::default(), &[old, new], NOW);
    let scale = sync.scales.iter().find(|s| s.set == SetId(watched));
    let before = if watched == NEW { new.replicas } else { old.replicas };
    json!({ "scaled": scale.is_some(), key: scale.map_or(before, |s| s.replicas) })
}

fn fenceposts(input: &Value) -> Got {
    let bound = |key| int_or_percent(input, key).map(|b| b.unwrap_or(IntOrPercent::Int(0)));
    let posts = deployment::fenceposts(bound("max_surge")?, bound("max_unavailable")?, int(input, "desired")?);
    Ok(json!({ "surge": posts.surge, "unavailable": posts.unavailable }))
}

fn max_unavailable(input: &Value) -> Got {
    Ok(json!({ "max_unavailable": deployment::max_unavailable(&deployment(input, "deployment_replicas")?) }))
}

fn new_replica_set_size(input: &Value) -> Got {
    let spec = deployment(input, "deployment_replicas")?;
    let counted = list(input, "all_spec_replicas")?.iter().filter_map(Value::as_i64).sum::<i64>() as i32;
    let size = deployment::new_set_size(&spec, int(input, "new_spec_replicas")?, counted);
    Ok(json!({ "new_spec_replicas": size }))
}

fn reconcile_new(input: &Value) -> Got {
    let spec = deployment(input, "deployment_replicas")?;
    let one = |template, name: &str| -> Result<ReplicaSet, String> {
        let set = set(&spec, template, int(input, &format!("{name}_spec_replicas"))?, 0);
        let current = int(input, &format!("{name}_status_replicas"))?;
        let terminating = optional(input, &format!("{name}_terminating"))?.unwrap_or(0);
        Ok(ReplicaSet { current, terminating, ..set })
    };
    Ok(pass(&spec, one(OLD, "old")?, one(NEW, "new")?, NEW, "new_spec_replicas"))
}

fn reconcile_old(input: &Value) -> Got {
    let spec = deployment(input, "deployment_replicas")?;
    let old = set(&spec, OLD, int(input, "old_spec_replicas")?, int(input, "old_available")?);
    let new = set(&spec, NEW, int(input, "new_spec_replicas")?, int(input, "new_available")?);
    Ok(pass(&spec, old, new, OLD, "old_spec_replicas"))
}

fn scale_down_old(input: &Value) -> Got {
    let spec = deployment(input, "deployment_replicas")?;
    let mut old = [set(&spec, OLD, int(input, "old_spec_replicas")?, int(input, "old_available")?)];
    let removed = deployment::scale_down_old(&spec, &mut old, 0);
    Ok(json!({ "scaled": removed > 0, "old_spec_replicas": old[0].replicas }))
}

fn cleanup_unhealthy(input: &Value) -> Got {
    let spec = DeploymentSpec::new(Template(NEW));
    let mut old = [set(&spec, OLD, int(input, "old_spec_replicas")?, int(input, "old_available")?)];
    Ok(json!({ "cleaned": deployment::cleanup_unhealthy(&mut old, int(input, "max_cleanup")?) }))
}

fn proportional_scale(input: &Value) -> Got {
    let spec = deployment(&input["deployment"], "replicas")?;
    let mut names = Vec::new();
    let mut sets = Vec::new();
    // Old sets first: where ages are equal, the number decides as the name would.
    for (value, template) in list(input, "old")?.iter().rev().map(|v| (v, OLD)).chain([(&input["new"], NEW)]) {
        if value.is_null() {
            continue;
        }
        let id = SetId(u32::try_from(sets.len()).map_err(|e| e.to_string())?);
        sets.push(ReplicaSet {
            id,
            created: instant(value, "created_s")?.ok_or("a set without an age")?,
            annotated_desired: optional(value, "annotated_desired")?,
            annotated_max: optional(value, "annotated_max")?,
            ..set(&spec, template, int(value, "replicas")?, int(value, "available")?)
        });
        names.push(value["name"].as_str().unwrap_or_default().to_owned());
    }
    let mut sizes: Vec<i32> = sets.iter().map(|s| s.replicas).collect();
    // A pass that only resizes: with a paused Deployment no rollout follows.
    let spec = DeploymentSpec { paused: true, ..spec };
    for scale in deployment::sync(&spec, &DeploymentStatus::default(), &sets, NOW).scales {
        sizes[scale.set.0 as usize] = scale.replicas;
    }
    Ok(json!({ "replicas": names.into_iter().zip(sizes).collect::<std::collections::BTreeMap<_, _>>() }))
}

fn complete(input: &Value) -> Got {
    let status = DeploymentStatus {
        replicas: int(input, "status_replicas")?,
        updated: int(input, "updated")?,
        available: int(input, "available")?,
        ..DeploymentStatus::default()
    };
    Ok(json!({ "complete": deployment::is_complete(int(input, "desired")?, &status) }))
}

fn progressing(input: &Value) -> Got {
    let status = |key: &str| -> Result<DeploymentStatus, String> {
        let counts = &input[key];
        Ok(DeploymentStatus {
            replicas: int(counts, "replicas")?,
            updated: int(counts, "updated")?,
            ready: int(counts, "ready")?,
            available: int(counts, "available")?,
            ..DeploymentStatus::default()
        })
    };
    Ok(json!({ "progressing": deployment::is_progressing(&status("before")?, &status("after")?) }))
}

fn deadline(input: &Value) -> Result<Option<SimDuration>, String> {
    Ok(optional(input, "progress_deadline_s")?.map(|s| SimDuration::from_secs(u64::try_from(s).unwrap_or(0))))
}

fn reason(text: &str) -> Result<Reason, String> {
    Ok(match text {
        "" => Reason::None,
        "ReplicaSetUpdated" => Reason::ReplicaSetUpdated,
        "NewReplicaSetAvailable" => Reason::NewReplicaSetAvailable,
        "ProgressDeadlineExceeded" => Reason::ProgressDeadlineExceeded,
        other => return Err(format!("unknown reason `{other}`")),
    })
}

fn condition(status: ConditionStatus, reason: Reason, age_s: i32) -> Condition {
    let at = NOW.saturating_sub(SimDuration::from_secs(u64::try_from(age_s).unwrap_or(0)));
    Condition { status, reason, last_update: at, last_transition: at }
}

fn read_condition(value: &Value, age_s: i32) -> Result<Option<Condition>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let status = match value["status"].as_str() {
        Some("True") => ConditionStatus::True,
        Some("False") => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    };
    Ok(Some(condition(status, reason(value["reason"].as_str().unwrap_or_default())?, age_s)))
}

fn timed_out(input: &Value) -> Got {
    let spec = DeploymentSpec { progress_deadline: deadline(input)?, ..DeploymentSpec::new(Template(NEW)) };
    let reason = reason(input["progressing_reason"].as_str().unwrap_or_default())?;
    let condition = condition(ConditionStatus::True, reason, optional(input, "since_last_update_s")?.unwrap_or(0));
    Ok(json!({ "timed_out": deployment::timed_out(&spec, Some(&condition), NOW) }))
}

fn requeue_delay(input: &Value) -> Got {
    let spec = DeploymentSpec {
        replicas: int(input, "spec_replicas")?,
        progress_deadline: deadline(input)?,
        ..DeploymentSpec::new(Template(NEW))
    };
    let status = DeploymentStatus {
        replicas: int(input, "status_replicas")?,
        updated: int(input, "updated")?,
        available: int(input, "available")?,
        progressing: read_condition(
            &input["progressing_condition"],
            optional(input, "since_last_update_s")?.unwrap_or(0),
        )?,
        ..DeploymentStatus::default()
    };
    let delay = deployment::recheck_after(&spec, &status, NOW);
    Ok(json!({ "delay_s": delay.map_or(-1, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)) }))
}

fn rollout_condition(input: &Value) -> Got {
    let given = &input["deployment_before"];
    let spec = DeploymentSpec {
        replicas: int(given, "spec_replicas")?,
        progress_deadline: deadline(given)?,
        strategy: deployment(input, "")?.strategy,
        ..DeploymentSpec::new(Template(NEW))
    };
    let age_s = if flag(input, "progressing_last_update_is_long_past")? { 1_000_000 } else { 0 };
    let before = DeploymentStatus {
        replicas: int(given, "status_replicas")?,
        updated: int(given, "updated")?,
        available: int(given, "available")?,
        progressing: read_condition(&given["progressing_condition"], age_s)?,
        ..DeploymentStatus::default()
    };
    let (mut sets, mut new) = (Vec::new(), None);
    for value in list(input, "replica_sets")? {
        let is_new = value["name"] == input["new_replica_set"];
        let size = int(value, "spec_replicas")?;
        let mut one = set(&spec, if is_new { NEW } else { OLD }, size, int(value, "available")?);
        (one.current, one.ready) = (int(value, "status_replicas")?, 0);
        sets.push(one);
        new = if is_new { Some(one) } else { new };
    }
    let after = deployment::rollout_status(&spec, &before, &before, &sets, new.as_ref(), NOW);
    let written =
        after.progressing.map(|c| json!({ "status": format!("{:?}", c.status), "reason": format!("{:?}", c.reason) }));
    Ok(json!({ "progressing_condition": written }))
}

fn pod_deletion_order(input: &Value) -> Got {
    let pod = |key: &str| -> Result<Candidate, String> {
        let pod = &input[key];
        Ok(Candidate {
            assigned: !pod["node"].is_null(),
            phase: match pod["phase"].as_str() {
                Some("Pending") => ActivePhase::Pending,
                Some("Running") => ActivePhase::Running,
                _ => ActivePhase::Unknown,
            },
            ready: flag(pod, "ready")?,
            deletion_cost: optional(pod, "deletion_cost")?.unwrap_or(0),
            rank: u32::try_from(int(pod, "rank")?).map_err(|e| e.to_string())?,
            ready_for: replica_set::age(instant(pod, "ready_since_s")?, NOW),
            restarts: u32::try_from(int(pod, "restarts")?).map_err(|e| e.to_string())?,
            age: replica_set::age(instant(pod, "created_s")?, NOW),
            uid: 0,
        })
    };
    let features = RankingFeatures {
        pod_deletion_cost: flag(input, "pod_deletion_cost_enabled")?,
        logarithmic_scale_down: flag(input, "logarithmic_scale_down_enabled")?,
    };
    let (first, second) = (pod("first")?, pod("second")?);
    let order = match replica_set::compare_for_deletion(&first, &second, features) {
        std::cmp::Ordering::Less => "first_deleted_first",
        std::cmp::Ordering::Greater => "second_deleted_first",
        std::cmp::Ordering::Equal => "equal",
    };
    // The order of the whole list must agree where the pair decides.
    let ranked = replica_set::rank_for_deletion(&[first, second], features);
    match (order, &ranked[..]) {
        ("first_deleted_first", [0, 1]) | ("second_deleted_first", [1, 0]) | ("equal", _) => {}
        _ => return Err(format!("the pair is {order}, the list {ranked:?}")),
    }
    Ok(json!({ "order": order }))
}

fn budget_status(input: &Value) -> Got {
    let demand = match (int_or_percent(input, "min_available")?, int_or_percent(input, "max_unavailable")?) {
        (Some(least), None) => Demand::MinAvailable(least),
        (None, Some(most)) => Demand::MaxUnavailable(most),
        _ => return Err("one of both bounds must be given".to_owned()),
    };
    let spec = BudgetSpec { demand, unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy::default() };
    let mut pods: Vec<BudgetPod<&str, &str>> = Vec::new();
    for pod in list(input, "pods")? {
        pods.push(BudgetPod {
            pod: pod["name"].as_str().unwrap_or_default(),
            ready: flag(pod, "ready")?,
            terminating: flag(pod, "deleting")?,
            controller: pod["controller"].as_str(),
        });
    }
    let mut granted = Vec::new();
    for entry in list(input, "disrupted")? {
        let age = SimDuration::from_secs(u64::try_from(int(entry, "age_s")?).map_err(|e| e.to_string())?);
        granted.push(Granted { pod: entry["pod"].as_str().unwrap_or_default(), at: NOW.saturating_sub(age) });
    }
    let controllers = list(input, "controllers")?;
    let scale = |name: &str| {
        let found = controllers.iter().find(|c| c["name"].as_str() == Some(name));
        found.and_then(|c| int(c, "replicas").ok()).unwrap_or(0)
    };
    let status = disruption_budget::status(&spec, &granted, &pods, scale, NOW).status;
    let disrupted: Vec<&str> = status.disrupted.iter().map(|g| g.pod).collect();
    Ok(json!({
        "disruptions_allowed": status.disruptions_allowed,
        "current_healthy": status.current_healthy,
        "desired_healthy": status.desired_healthy,
        "expected_pods": status.expected_pods,
        "disrupted": disrupted,
    }))
}

fn eviction(input: &Value) -> Got {
    let policy = match input["unhealthy_pod_eviction_policy"].as_str() {
        Some("AlwaysAllow") => UnhealthyPodEvictionPolicy::AlwaysAllow,
        _ => UnhealthyPodEvictionPolicy::IfHealthyBudget,
    };
    let spec = BudgetSpec { demand: Demand::MinAvailable(IntOrPercent::Int(0)), unhealthy_pod_eviction_policy: policy };
    let mut statuses = Vec::new();
    for budget in list(input, "budgets")?.iter().filter(|b| b["matches"] == json!(true)) {
        statuses.push(BudgetStatus {
            disruptions_allowed: int(budget, "disruptions_allowed")?,
            current_healthy: int(budget, "current_healthy")?,
            desired_healthy: int(budget, "desired_healthy")?,
            ..BudgetStatus::<u32>::default()
        });
    }
    let pod = &input["pod"];
    let state = EvictionPod {
        idle: pod["phase"] != "Running",
        ready: flag(pod, "ready")?,
        terminating: flag(pod, "deleting")?,
    };
    let mut budgets: Vec<(&BudgetSpec, &mut BudgetStatus<u32>)> = statuses.iter_mut().map(|s| (&spec, s)).collect();
    Ok(json!({ "evicted": disruption_budget::evict(0, state, &mut budgets, NOW).granted() }))
}
