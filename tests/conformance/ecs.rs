//! The rule-level cases of ECS, load balancing, alarms and scaling, on the decision functions.

use serde_json::{Value, json};
use simctl::capacity::strategy::{Strategy, StrategyItem};
use simctl::catalog::Catalog;
use simctl::cluster::health::{ContainerHealthMemory, Health, container_check, task_health};
use simctl::cluster::target_health::{
    Route, TargetHealthMemory, TargetState, recovery_time, route_states, target_check, weighted_shares,
};
use simctl::kernel::{SimDuration, SimTime};
use simctl::placement::zones::{Eligibility, balanced, eligible, target_sorted};
use simctl::rollout::circuit_breaker::{BreakerEvent, BreakerMemory, record, threshold};
use simctl::rollout::shift::Shift;
use simctl::rollout::{early_success, rolling};
use simctl::scaling::combine::{PolicyKind, Proposal, combine};
use simctl::scaling::cooldown::{self, CooldownMemory, CooldownRequest};
use simctl::scaling::predictive;
use simctl::scaling::schedule::{self, Schedule};
use simctl::scaling::service::{self, PolicyAlarms, PolicyView, ScalingMemory, ScalingObservation, SuspendedKinds};
use simctl::scaling::step::{self, StepInput};
use simctl::scaling::target_tracking::{Direction, alarms, round_change};
use simctl::scenario::from_text;
use simctl::scenario::model::{
    AdjustmentType, CanaryConfiguration, CodeDeploy, Comparison, ContainerHealthCheck, DeploymentConfigName,
    DeploymentConfiguration, DeploymentStrategy, LifecycleHook, LinearConfiguration, MaxCapacityBreach, Plan,
    ScalingPolicy, ScheduledAction, StepAdjustment, TargetHealthCheck, TargetTracking, ThresholdConfiguration,
    ThresholdType, TimeBasedCanary, TimeBasedLinear, TrafficRoutingConfig, TreatMissingData,
};
use simctl::telemetry::alarm::{AlarmSpec, AlarmState, evaluate};
use simctl::telemetry::utilization;
use simctl::units::CapacityId;

use crate::Outcome;

/// Why a case was not passed.
enum Stop {
    Fails(String),
    NotBuilt,
}

type Check = Result<(), Stop>;

pub(crate) fn run(family: &str, case: &Value) -> Outcome {
    let check: fn(&Value, &Value) -> Check = match family {
        "alarm_m_of_n" => alarm_m_of_n,
        "alarm_missing_data" => alarm_missing_data,
        "alb_recovery_time" => alb_recovery_time,
        "alb_route_outcome" => alb_route_outcome,
        "alb_target_health" => alb_target_health,
        "az_balance" => az_balance,
        "az_rebalance_eligible" => az_rebalance_eligible,
        "capacity_provider_split" => capacity_provider_split,
        "circuit_breaker_sequence" => circuit_breaker_sequence,
        "circuit_breaker_threshold" => circuit_breaker_threshold,
        "codedeploy_shift" => codedeploy_shift,
        "container_health" => container_health,
        "cooldown" => cooldowns,
        "cron_next" => cron_next,
        "cron_valid" => cron_valid,
        "defaults" => defaults,
        "early_success" => early,
        "ecs_native_shift" => ecs_native_shift,
        "fargate_size" => fargate_size,
        "multi_policy" => multi_policy,
        "percent_rounding" => percent_rounding,
        "predictive_max" => predictive_max,
        "rolling_counts" => rolling_counts,
        "scheduled_action" => scheduled_action,
        "step_definition_valid" => step_definition_valid,
        "step_scaling" => step_scaling,
        "target_tracking_alarms" => target_tracking_alarms,
        "target_tracking_capacity" => target_tracking_capacity,
        "target_tracking_rounding" => target_tracking_rounding,
        "task_health" => tasks_health,
        "utilization" => utilizations,
        "weighted_target_groups" => weighted_target_groups,
        _ => return Outcome::NotBuilt,
    };
    let mut expect = case["expect"].clone();
    // The tolerance of the file travels with each expectation.
    if let (Some(tolerance), Some(object)) = (case.get("tolerance"), expect.as_object_mut()) {
        object.insert("tolerance".to_owned(), tolerance.clone());
    }
    match check(&case["input"], &expect) {
        Ok(()) => Outcome::Passed,
        Err(Stop::Fails(how)) => Outcome::Failed(how),
        Err(Stop::NotBuilt) => Outcome::NotBuilt,
    }
}

fn fails(text: impl Into<String>) -> Stop {
    Stop::Fails(text.into())
}

/// Compares a result with the expected value of a key; numbers within the tolerance, if there is one.
fn agree(expect: &Value, key: &str, got: Value) -> Check {
    let wanted = expect.get(key).ok_or_else(|| fails(format!("the case expects no `{key}`")))?;
    let tolerance = expect.get("tolerance").and_then(Value::as_f64).unwrap_or(0.0);
    if equal(wanted, &got, tolerance) { Ok(()) } else { Err(fails(format!("{key}: expected {wanted}, got {got}"))) }
}

fn equal(wanted: &Value, got: &Value, tolerance: f64) -> bool {
    match (wanted, got) {
        (Value::Number(a), Value::Number(b)) => {
            matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= tolerance)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| equal(a, b, tolerance)))
        }
        _ => wanted == got,
    }
}

fn number(input: &Value, key: &str) -> Result<f64, Stop> {
    input[key].as_f64().ok_or_else(|| fails(format!("`{key}` is no number")))
}

fn count(input: &Value, key: &str) -> Result<u32, Stop> {
    input[key].as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| fails(format!("`{key}` is no count")))
}

fn flag(input: &Value, key: &str) -> Result<bool, Stop> {
    input[key].as_bool().ok_or_else(|| fails(format!("`{key}` is not true or false")))
}

fn text<'a>(input: &'a Value, key: &str) -> Result<&'a str, Stop> {
    input[key].as_str().ok_or_else(|| fails(format!("`{key}` is no text")))
}

fn items<'a>(input: &'a Value, key: &str) -> Result<&'a [Value], Stop> {
    input[key].as_array().map(Vec::as_slice).ok_or_else(|| fails(format!("`{key}` is no list")))
}

fn secs(n: u32) -> SimDuration {
    SimDuration::from_secs(u64::from(n))
}

/// The word of a closed set of the language.
fn word<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Result<T, Stop> {
    all.iter()
        .copied()
        .find(|w| name(*w) == text)
        .ok_or_else(|| fails(format!("`{text}` is not a word of the language")))
}

/// What is serialised as one word, from and to it.
fn named<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Stop> {
    serde_json::from_value(value.clone()).map_err(|e| fails(format!("{value}: {e}")))
}

fn name<T: serde::Serialize>(value: T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn alarm_spec(input: &Value, threshold: f64, comparison: Comparison) -> Result<AlarmSpec, Stop> {
    let treat = input["treat_missing"].as_str().unwrap_or("missing");
    Ok(AlarmSpec {
        comparison,
        threshold,
        period: secs(60),
        evaluation_periods: count(input, "evaluation_periods")?,
        datapoints_to_alarm: count(input, "datapoints_to_alarm")?,
        treat_missing: word(TreatMissingData::ALL, TreatMissingData::as_str, treat)?,
    })
}

fn alarm_m_of_n(input: &Value, expect: &Value) -> Check {
    let comparison = word(Comparison::ALL, Comparison::as_str, text(input, "comparison")?)?;
    let spec = alarm_spec(input, number(input, "threshold")?, comparison)?;
    let values: Vec<Option<f64>> = items(input, "values")?.iter().map(Value::as_f64).collect();
    let n = spec.evaluation_periods as usize;
    let mut state = AlarmState::InsufficientData;
    let mut states = Vec::new();
    for k in n..=values.len() {
        let from = k.saturating_sub(spec.evaluation_range());
        state = evaluate(&spec, state, &values[from..k]).0;
        states.push(name(state));
    }
    agree(expect, "states_from_period_n", states.into())
}

fn alarm_missing_data(input: &Value, expect: &Value) -> Check {
    let spec = alarm_spec(input, 0.5, Comparison::GreaterThanThreshold)?;
    let points: Vec<Option<f64>> = text(input, "points")?
        .split_whitespace()
        .map(|p| match p {
            "X" => Ok(Some(1.0)),
            "0" => Ok(Some(0.0)),
            "-" => Ok(None),
            other => Err(fails(format!("`{other}` is no point"))),
        })
        .collect::<Result<_, _>>()?;
    let all = [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData];
    let states = all.map(|previous| evaluate(&spec, previous, &points).0);
    // A state that is kept is whatever it was; every other state does not depend on what was before.
    let got = if states == all {
        json!("retain")
    } else if states[0] == states[1] && states[1] == states[2] {
        name(states[0])
    } else {
        json!("depends on the state before")
    };
    match expect.get("not_state") {
        Some(not) if *not == got => Err(fails(format!("state: expected anything but {not}"))),
        Some(_) => Ok(()),
        None => agree(expect, "state", got),
    }
}

fn target_check_spec(input: &Value) -> Result<TargetHealthCheck, Stop> {
    let or = |key: &str, default: u32| if input.get(key).is_some() { count(input, key) } else { Ok(default) };
    let given = TargetHealthCheck::default();
    Ok(TargetHealthCheck {
        interval: secs(or("interval", given.interval.as_secs() as u32)?),
        healthy_threshold: or("healthy_threshold", given.healthy_threshold)?,
        unhealthy_threshold: or("unhealthy_threshold", given.unhealthy_threshold)?,
        ..given
    })
}

fn alb_recovery_time(input: &Value, expect: &Value) -> Check {
    agree(expect, "seconds", recovery_time(&target_check_spec(input)?).as_secs_f64().into())
}

fn alb_route_outcome(input: &Value, expect: &Value) -> Check {
    let targets: Vec<TargetState> = items(input, "targets")?.iter().map(named).collect::<Result<_, _>>()?;
    match route_states(targets, 1) {
        Route::Healthy => agree(expect, "to", json!("healthy")),
        Route::FailOpen => agree(expect, "to", json!("all_unhealthy_fail_open")),
        Route::Status(status) => agree(expect, "status", status.into()),
    }
}

fn alb_target_health(input: &Value, expect: &Value) -> Check {
    let spec = target_check_spec(input)?;
    let mut memory = TargetHealthMemory::default();
    let mut states = Vec::new();
    for probe in items(input, "probes")? {
        memory = target_check(&spec, memory, probe.as_bool().ok_or_else(|| fails("a probe is true or false"))?);
        states.push(name(memory.state));
    }
    agree(expect, "states", states.into())
}

fn az_balance(input: &Value, expect: &Value) -> Check {
    agree(expect, "target_sorted", target_sorted(count(input, "desired")?, count(input, "zones")?).into())?;
    if input.get("actual").is_none() {
        return Ok(());
    }
    let actual: Vec<u32> = named(&input["actual"])?;
    agree(expect, "balanced", balanced(&actual).into())
}

fn az_rebalance_eligible(input: &Value, expect: &Value) -> Check {
    let first = items(input, "placement_strategy")?.first();
    let spreads = |s: &Value| {
        s["type"] == "spread"
            && ["attribute:ecs.availability-zone", "ecs.availability-zone"].contains(&s["field"].as_str().unwrap_or(""))
    };
    let settings = Eligibility {
        enabled: flag(input, "enabled")?,
        replica: text(input, "scheduling")? == "REPLICA",
        external: text(input, "launch")? == "EXTERNAL",
        maximum_percent: count(input, "maximum_percent")?,
        first_strategy_spreads_zones: first.map(spreads),
        classic_load_balancer: flag(input, "classic_load_balancer")?,
        zone_constraint: flag(input, "zone_constraint")?,
    };
    agree(expect, "eligible", eligible(&settings).is_ok().into())
}

fn capacity_provider_split(input: &Value, expect: &Value) -> Check {
    let mut names = Vec::new();
    let mut shares = Vec::new();
    for (i, item) in items(input, "strategy")?.iter().enumerate() {
        names.push(text(item, "name")?);
        shares.push(StrategyItem {
            capacity: CapacityId::from(i),
            base: count(item, "base")?,
            weight: count(item, "weight")?,
        });
    }
    let refused = expect["error"] == json!(true);
    let strategy = match Strategy::new(shares) {
        Ok(strategy) => strategy,
        Err(_) if refused => return Ok(()),
        Err(error) => return Err(fails(format!("refused: {error}"))),
    };
    let split = strategy.split(count(input, "tasks")?);
    let got: Value = names.iter().zip(&split).map(|(name, n)| ((*name).to_owned(), json!(n))).collect();
    if refused {
        return Err(fails(format!("expected a refusal, got {got}")));
    }
    if expect.get("exact").is_some() {
        return agree(expect, "exact", got);
    }
    let allowed = |name: &str, n: &u32| expect["allowed"][name].as_array().is_some_and(|list| list.contains(&json!(n)));
    if !names.iter().zip(&split).all(|(name, n)| allowed(name, n)) {
        return Err(fails(format!("expected one of {}, got {got}", expect["allowed"])));
    }
    agree(expect, "total", split.iter().sum::<u32>().into())?;
    agree(expect, "recommended", got)
}

fn circuit_breaker_sequence(input: &Value, expect: &Value) -> Check {
    let (limit, reset) = (count(input, "threshold")?, flag(input, "reset_on_healthy_task")?);
    let mut memory = BreakerMemory::default();
    let mut failed_at = None;
    for (i, event) in items(input, "events")?.iter().enumerate() {
        let event = match (event.as_str(), memory.reached_running) {
            (Some("fail"), false) => BreakerEvent::FailedToStart,
            (Some("fail"), true) => BreakerEvent::FailedHealthCheck,
            (Some("healthy"), _) => BreakerEvent::Healthy,
            _ => return Err(fails(format!("{event} is no event"))),
        };
        memory = record(memory, event, limit, reset);
        if memory.open && failed_at.is_none() {
            failed_at = Some(i + 1);
        }
    }
    agree(expect, "failed_at", failed_at.into())?;
    agree(expect, "count", memory.count.into())
}

fn circuit_breaker_threshold(input: &Value, expect: &Value) -> Check {
    let configuration = ThresholdConfiguration {
        r#type: word(ThresholdType::ALL, ThresholdType::as_str, text(input, "type")?)?,
        value: count(input, "value")?,
    };
    agree(expect, "threshold", threshold(&configuration, count(input, "desired")?).into())
}

fn container_health(input: &Value, expect: &Value) -> Check {
    let check = ContainerHealthCheck {
        retries: count(input, "retries")?,
        start_period: secs(count(input, "start_period")?),
        ..ContainerHealthCheck::default()
    };
    let mut memory = ContainerHealthMemory::default();
    let mut states = Vec::new();
    for pair in items(input, "checks")? {
        let (at, ok): (f64, bool) = named(pair)?;
        memory = container_check(&check, memory, SimDuration::from_secs_f64(at), ok);
        states.push(name(memory.health));
    }
    agree(expect, "states", states.into())
}

fn cooldowns(input: &Value, expect: &Value) -> Check {
    let mut capacity = count(input, "capacity")?;
    let mut memory = CooldownMemory::default();
    let mut after = Vec::new();
    for request in items(input, "requests")? {
        let change = request["change"].as_i64().ok_or_else(|| fails("`change` is no number"))?;
        let wanted = u32::try_from((i64::from(capacity) + change).max(0)).unwrap_or(u32::MAX);
        if request["scheduled"] == json!(true) {
            // A scheduled action sets the bounds and asks nobody.
            let action = ScheduledAction {
                min_capacity: Some(wanted),
                max_capacity: Some(wanted),
                ..action("at(2026-01-01T00:00:00)")?
            };
            (_, _, capacity) = schedule::apply(&action, 0, u32::MAX, capacity);
        } else {
            let request = CooldownRequest {
                now: SimTime::ZERO + SimDuration::from_secs_f64(number(request, "t")?),
                start: capacity,
                current: capacity,
                wanted,
                direction: if change > 0 { Direction::Out } else { Direction::In },
                scale_out_cooldown: secs(count(input, "scale_out_cooldown")?),
                scale_in_cooldown: secs(count(input, "scale_in_cooldown")?),
            };
            (capacity, _, memory) = cooldown::request(memory, &request);
        }
        after.push(capacity);
    }
    agree(expect, "capacity_after", after.into())
}

/// A scheduled action as the language reads it when only its schedule is given.
fn action(schedule: &str) -> Result<ScheduledAction, Stop> {
    let plan = plan(&format!("scheduled_actions.x = {{ schedule = \"{schedule}\", min_capacity = 1 }}"))?;
    let scaling = plan.services["web"].scaling.as_ref().ok_or_else(|| fails("no scaling in the scenario"))?;
    Ok(scaling.scheduled_actions["x"].clone())
}

/// The smallest scenario that has everything, with all else left to its default; `scaling` is added to
/// the scaling of its service.
fn plan(scaling: &str) -> Result<Plan, Stop> {
    let text = format!(
        r#"
        [simulation]
        duration = "1h"
        [capacity.fargate]
        type = "fargate"
        [capacity.spot]
        type = "fargate_spot"
        [services.web]
        capacity.fargate = {{ weight = 1 }}
        capacity.spot = {{}}
        task = {{ cpu = 1024, memory = "2 GB", health_check = {{}} }}
        requests.page = {{ cpu_time = "20ms" }}
        traffic.rate = [{{ at = "0s", rps = 60 }}]
        load_balancer = {{}}
        [services.web.scaling]
        min_capacity = 1
        max_capacity = 10
        {scaling}
        [services.web.scaling.policies.track]
        type = "target_tracking"
        predefined_metric_type = "ECSServiceAverageCPUUtilization"
        target_value = 60
        [services.web.scaling.policies.step]
        type = "step_scaling"
        alarm = {{ metric = "CPUUtilization", comparison_operator = "GreaterThanThreshold", threshold = 50 }}
        step_adjustments = [{{ metric_interval_lower_bound = 0, scaling_adjustment = 1 }}]
        "#
    );
    from_text("defaults", &text).map_err(|found| fails(found.render(false)))
}

/// The target tracking policy of that scenario.
fn tracking(plan: &Plan) -> Result<TargetTracking, Stop> {
    let scaling = plan.services["web"].scaling.as_ref().ok_or_else(|| fails("no scaling in the scenario"))?;
    match &scaling.policies["track"] {
        ScalingPolicy::TargetTracking(policy) => Ok(policy.clone()),
        _ => Err(fails("the policy is of another type")),
    }
}

fn cron_next(input: &Value, expect: &Value) -> Check {
    let schedule = Schedule::parse(text(input, "expression")?, text(input, "timezone")?)
        .map_err(|e| fails(format!("refused: {e}")))?;
    let mut at: jiff::Timestamp =
        text(input, "start")?.parse().map_err(|e| fails(format!("`start` is no instant: {e}")))?;
    let mut next = Vec::new();
    for _ in 0..count(input, "count")? {
        let Some(following) = schedule.next_after(at) else { break };
        at = following;
        next.push(at.to_string());
    }
    agree(expect, "next", next.into())
}

fn cron_valid(input: &Value, expect: &Value) -> Check {
    agree(expect, "valid", Schedule::parse(text(input, "expression")?, "UTC").is_ok().into())
}

fn defaults(input: &Value, expect: &Value) -> Check {
    let plan = plan("")?;
    let service = &plan.services["web"];
    let ecs = &service.ecs;
    let deployment = &ecs.deployment_configuration;
    let missing = || fails("not in the scenario");
    let check = service.task.health_check.as_ref().ok_or_else(missing)?;
    let balancer = service.load_balancer.as_ref().ok_or_else(missing)?;
    let scaling = service.scaling.as_ref().ok_or_else(missing)?;
    let tracking = tracking(&plan)?;
    let ScalingPolicy::Step(step) = &scaling.policies["step"] else { return Err(missing()) };
    let seconds = |d: SimDuration| json!(d.as_secs_f64());
    let got = match text(input, "setting")? {
        "ecs.service.replica.minimumHealthyPercent" => deployment.minimum_healthy_percent.into(),
        "ecs.service.replica.maximumPercent" => deployment.maximum_percent.into(),
        "ecs.service.healthCheckGracePeriodSeconds" => ecs.health_check_grace_period_seconds.into(),
        "ecs.service.availabilityZoneRebalancing" => ecs.availability_zone_rebalancing.as_str().into(),
        "ecs.service.seconds_running_before_counted_healthy_without_checks" => {
            ecs.seconds_running_before_healthy.into()
        }
        "ecs.throttle.maxDelayMinutes" => (ecs.restart_throttle.max_delay.as_secs_f64() / 60.0).into(),
        "ecs.container.healthCheck.interval" => seconds(check.interval),
        "ecs.container.healthCheck.timeout" => seconds(check.timeout),
        "ecs.container.healthCheck.retries" => check.retries.into(),
        "ecs.container.healthCheck.startPeriod" => seconds(check.start_period),
        "ecs.container.stopTimeout" => seconds(service.task.stop_timeout),
        "ecs.deploymentCircuitBreaker.enable" => deployment.deployment_circuit_breaker.enable.into(),
        "ecs.deploymentCircuitBreaker.rollback" => deployment.deployment_circuit_breaker.rollback.into(),
        "ecs.deploymentCircuitBreaker.resetOnHealthyTask" => {
            deployment.deployment_circuit_breaker.reset_on_healthy_task.into()
        }
        "ecs.deploymentCircuitBreaker.threshold.type" => {
            deployment.deployment_circuit_breaker.threshold_configuration.r#type.as_str().into()
        }
        "ecs.deploymentCircuitBreaker.threshold.value" => {
            deployment.deployment_circuit_breaker.threshold_configuration.value.into()
        }
        "ecs.capacityProviderStrategy.base" => service.capacity["spot"].base.into(),
        "ecs.capacityProviderStrategy.weight" | "ecs.capacityProviderStrategy.weight.api" => {
            service.capacity["spot"].weight.into()
        }
        "aas.targetTracking.ecs.cooldown" if tracking.scale_in_cooldown != tracking.scale_out_cooldown => {
            return Err(fails("the two cooldowns of target tracking differ"));
        }
        "aas.targetTracking.ecs.cooldown" => seconds(tracking.scale_out_cooldown),
        "aas.targetTracking.disableScaleIn" => tracking.disable_scale_in.into(),
        "aas.step.cooldown" => seconds(step.cooldown),
        "aas.step.metricAggregationType" => step.metric_aggregation_type.as_str().into(),
        "elbv2.healthCheckIntervalSeconds" => seconds(balancer.health_check.interval),
        "elbv2.healthyThresholdCount" => balancer.health_check.healthy_threshold.into(),
        "elbv2.unhealthyThresholdCount" => balancer.health_check.unhealthy_threshold.into(),
        "elbv2.deregistrationDelaySeconds" => seconds(balancer.deregistration_delay),
        "elbv2.slowStartSeconds" => seconds(balancer.slow_start),
        "elbv2.alb.idleTimeoutSeconds" => seconds(balancer.idle_timeout),
        "ec2.spot.noticeSeconds" => match &plan.capacity["spot"] {
            simctl::scenario::model::Capacity::FargateSpot(spot) => seconds(spot.notice),
            _ => return Err(missing()),
        },
        "ecs.canary.canaryPercent" => shifting(&shifting_plan()?).0.canary_percent.into(),
        "ecs.linear.stepPercent" => LinearConfiguration::default().step_percent.into(),
        "ecs.linear.stepBakeTimeInMinutes" => LinearConfiguration::default().step_bake_time_in_minutes.into(),
        "ecs.hook.callBackDelaySeconds" => seconds(shifting(&shifting_plan()?).1.call_back_delay),
        // The console's preset, daemons, managed scaling, predictive scaling, EC2 groups.
        _ => return Err(Stop::NotBuilt),
    };
    agree(expect, "value", got)
}

/// A service that shifts traffic, with nothing written that may be left out.
fn shifting_plan() -> Result<Plan, Stop> {
    let text = r#"
        [simulation]
        duration = "1h"
        [capacity.fargate]
        type = "fargate"
        [services.web]
        capacity.fargate = { weight = 1 }
        task = { cpu = 1024, memory = "2 GB" }
        requests.page = { cpu_time = "20ms" }
        traffic.rate = [{ at = "0s", rps = 60 }]
        load_balancer = {}
        [services.web.ecs.deployment_configuration]
        strategy = "CANARY"
        canary_configuration = {}
        lifecycle_hooks.smoke = { lifecycle_stages = ["POST_SCALE_UP"] }
        "#;
    from_text("defaults", text).map_err(|found| fails(found.render(false)))
}

/// The canary's steps and the hook of that scenario.
fn shifting(plan: &Plan) -> (CanaryConfiguration, LifecycleHook) {
    let configuration = &plan.services["web"].ecs.deployment_configuration;
    (configuration.canary_configuration.clone().unwrap_or_default(), configuration.lifecycle_hooks["smoke"].clone())
}

fn early(input: &Value, expect: &Value) -> Check {
    let required = early_success::required(count(input, "desired")?, count(input, "healthy_percent")?);
    agree(expect, "required", required.into())
}

/// The steps of a shift, as minutes and percents.
fn shift_schedule(shift: &Shift) -> Value {
    let steps = shift.schedule();
    steps.iter().map(|s| json!([s.after.as_secs_f64() / 60.0, f64::from(s.tenths) / 10.0])).collect()
}

fn ecs_native_shift(input: &Value, expect: &Value) -> Check {
    let strategy = word(DeploymentStrategy::ALL, DeploymentStrategy::as_str, text(input, "strategy")?)?;
    let mut configuration = DeploymentConfiguration { strategy, ..DeploymentConfiguration::default() };
    match strategy {
        DeploymentStrategy::Linear => {
            configuration.linear_configuration = Some(LinearConfiguration {
                step_percent: number(input, "percent")?,
                step_bake_time_in_minutes: count(input, "step_bake_minutes")?,
            });
        }
        DeploymentStrategy::Canary => {
            configuration.canary_configuration = Some(CanaryConfiguration {
                canary_percent: number(input, "percent")?,
                canary_bake_time_in_minutes: count(input, "step_bake_minutes")?,
            });
        }
        DeploymentStrategy::Rolling | DeploymentStrategy::BlueGreen => {}
    }
    let shift = Shift::native(&configuration).ok_or_else(|| fails("this strategy shifts no traffic"))?;
    agree(expect, "schedule", shift_schedule(&shift))?;
    let bake = SimDuration::from_mins(u64::from(count(input, "bake_time_minutes")?));
    agree(expect, "cleanup_at", (shift.clean_up_at(bake).as_secs_f64() / 60.0).into())
}

fn codedeploy_shift(input: &Value, expect: &Value) -> Check {
    let config = text(input, "config")?;
    let mut group = CodeDeploy::default();
    if config == "custom" {
        let (percentage, interval) = (count(input, "percent")?, count(input, "interval_minutes")?);
        group.traffic_routing_config = Some(match text(input, "type")? {
            "Canary" => TrafficRoutingConfig::TimeBasedCanary(TimeBasedCanary {
                canary_percentage: percentage,
                canary_interval: interval,
            }),
            "Linear" => TrafficRoutingConfig::TimeBasedLinear(TimeBasedLinear {
                linear_percentage: percentage,
                linear_interval: interval,
            }),
            other => return Err(fails(format!("`{other}` is no type"))),
        });
    } else {
        group.deployment_config_name = word(DeploymentConfigName::ALL, DeploymentConfigName::as_str, config)?;
    }
    agree(expect, "schedule", shift_schedule(&Shift::code_deploy(&group)))
}

fn fargate_size(input: &Value, expect: &Value) -> Check {
    let catalog = Catalog::embedded();
    let windows = text(input, "os")? == "WINDOWS";
    let (cpu, memory) = (u64::from(count(input, "cpu")?), u64::from(count(input, "memory")?));
    agree(expect, "valid", catalog.valid_fargate_size(cpu, memory, windows).into())
}

fn multi_policy(input: &Value, expect: &Value) -> Check {
    let current = count(input, "current")?;
    let mut proposals = Vec::new();
    for policy in items(input, "policies")? {
        let kind = if flag(policy, "disable_scale_in")? {
            PolicyKind::TargetTrackingOutOnly
        } else {
            PolicyKind::TargetTracking
        };
        proposals.push(Proposal { capacity: count(policy, "proposal")?, kind });
    }
    agree(expect, "desired", combine(current, &proposals).capacity(current).into())
}

fn percent_rounding(input: &Value, expect: &Value) -> Check {
    agree(expect, "change", step::round_percent(number(input, "raw")?).into())
}

fn rolling_counts(input: &Value, expect: &Value) -> Check {
    let desired = count(input, "desired")?;
    let bounds = rolling::bounds(desired, count(input, "minimum_healthy_percent")?, count(input, "maximum_percent")?);
    let counts = match input.get("state") {
        None => rolling::Counts { healthy: desired, ..rolling::Counts::default() },
        Some(state) => rolling::Counts {
            healthy: count(state, "running_healthy")?,
            unhealthy: count(state, "running_unhealthy")?,
            pending: count(state, "pending")?,
            stopping: count(state, "stopping")?,
        },
    };
    let budget = rolling::budget(bounds, counts, true);
    agree(expect, "min_healthy", bounds.min_healthy.into())?;
    agree(expect, "max_total", bounds.max_total.into())?;
    agree(expect, "may_start", budget.may_start.into())?;
    agree(expect, "may_stop_healthy", budget.may_stop_healthy.into())?;
    agree(expect, "stuck", rolling::stuck(budget, counts, true).into())
}

fn predictive_max(input: &Value, expect: &Value) -> Check {
    let (forecast, max) = (count(input, "forecast")?, count(input, "max")?);
    let raise = MaxCapacityBreach::IncreaseMaxCapacity;
    let effective = predictive::effective_max(forecast, max, raise, count(input, "buffer_percent")?);
    agree(expect, "effective_max", effective.into())
}

fn scheduled_action(input: &Value, expect: &Value) -> Check {
    let given = |key: &str| if input[key].is_null() { Ok(None) } else { count(input, key).map(Some) };
    let action = ScheduledAction {
        min_capacity: given("action_min")?,
        max_capacity: given("action_max")?,
        ..action("at(2026-01-01T00:00:00)")?
    };
    let (min, max, capacity) = schedule::apply(
        &action,
        count(input, "min_capacity")?,
        count(input, "max_capacity")?,
        count(input, "capacity")?,
    );
    agree(expect, "min", min.into())?;
    agree(expect, "max", max.into())?;
    agree(expect, "capacity", capacity.into())
}

fn steps(input: &Value) -> Result<Vec<StepAdjustment>, Stop> {
    let step = |s: &Value| {
        Ok(StepAdjustment {
            metric_interval_lower_bound: s["lower"].as_f64(),
            metric_interval_upper_bound: s["upper"].as_f64(),
            scaling_adjustment: s["adjustment"].as_i64().ok_or_else(|| fails("`adjustment` is no number"))?,
        })
    };
    items(input, "steps")?.iter().map(step).collect()
}

fn step_definition_valid(input: &Value, expect: &Value) -> Check {
    agree(expect, "valid", step::validate(&steps(input)?).is_ok().into())
}

fn step_scaling(input: &Value, expect: &Value) -> Check {
    let steps = steps(input)?;
    let input_of_step = StepInput {
        steps: &steps,
        adjustment_type: word(AdjustmentType::ALL, AdjustmentType::as_str, text(input, "adjustment_type")?)?,
        min_magnitude: count(input, "min_adjustment_magnitude")?,
        threshold: number(input, "threshold")?,
        direction: named(&input["direction"])?,
        min: count(input, "min_capacity")?,
        max: count(input, "max_capacity")?,
    };
    let outcome = step::evaluate(&input_of_step, count(input, "capacity")?, number(input, "metric")?);
    agree(expect, "adjustment", outcome.adjustment.into())?;
    agree(expect, "new_capacity", outcome.capacity.into())
}

fn target_tracking_alarms(input: &Value, expect: &Value) -> Check {
    let policy = TargetTracking { target_value: number(input, "target")?, ..tracking(&plan("")?)? };
    let made = alarms(&policy);
    for (key, alarm) in [("high", made.high), ("low", made.low)] {
        let got = json!({
            "comparison": alarm.comparison.as_str(),
            "threshold": alarm.threshold,
            "period": alarm.period.as_secs_f64(),
            "evaluation_periods": alarm.evaluation_periods,
            "datapoints_to_alarm": alarm.datapoints_to_alarm,
        });
        agree(expect, key, got)?;
    }
    Ok(())
}

fn target_tracking_capacity(input: &Value, expect: &Value) -> Check {
    let mut spec = plan("")?.services["web"].scaling.clone().ok_or_else(|| fails("no scaling in the scenario"))?;
    spec.policies.shift_remove("step");
    (spec.min_capacity, spec.max_capacity) = (count(input, "min_capacity")?, count(input, "max_capacity")?);
    if let Some(ScalingPolicy::TargetTracking(policy)) = spec.policies.get_mut("track") {
        policy.target_value = number(input, "target")?;
        policy.disable_scale_in = flag(input, "disable_scale_in")?;
    }
    let (high, low) = match text(input, "alarm")? {
        "HIGH" => (AlarmState::Alarm, AlarmState::Ok),
        "LOW" => (AlarmState::Ok, AlarmState::Alarm),
        "INSUFFICIENT_DATA" => (AlarmState::InsufficientData, AlarmState::InsufficientData),
        _ => (AlarmState::Ok, AlarmState::Ok),
    };
    let memory = service::suspend(
        &ScalingMemory::new(&spec),
        SuspendedKinds {
            scale_in: flag(input, "scale_in_suspended")?,
            scale_out: flag(input, "scale_out_suspended")?,
            scheduled: false,
        },
    );
    let running = count(input, "running")?;
    let observation = ScalingObservation {
        now: SimTime::ZERO,
        running,
        desired: running,
        deployment_in_progress: flag(input, "deployment_in_progress")?,
        policies: vec![PolicyView {
            alarms: PolicyAlarms::TargetTracking { high, low },
            called: high == AlarmState::Alarm || low == AlarmState::Alarm,
            metric: input["metric"].as_f64(),
            metric_age: SimDuration::ZERO,
        }],
    };
    let (decision, _) = service::decide(&spec, &memory, &observation);
    agree(expect, "desired", decision.desired.unwrap_or(running).into())
}

fn target_tracking_rounding(input: &Value, expect: &Value) -> Check {
    agree(expect, "change", round_change(number(input, "exact_change")?).into())
}

fn tasks_health(input: &Value, expect: &Value) -> Check {
    let essential: Vec<Health> = items(input, "essential")?.iter().map(named).collect::<Result<_, _>>()?;
    agree(expect, "health", name(task_health(essential)))
}

fn utilizations(input: &Value, expect: &Value) -> Check {
    let (used, reserved) = (number(input, "used")?, number(input, "denominator")?);
    agree(expect, "percent", utilization::percent(used, reserved).into())
}

fn weighted_target_groups(input: &Value, expect: &Value) -> Check {
    let weights: Vec<u32> = named(&input["weights"])?;
    agree(expect, "shares", weighted_shares(&weights).into())
}
