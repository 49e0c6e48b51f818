//! The cases of Auto Scaling groups, warm pools and ECS managed scaling, on the decision functions.

use serde_json::{Value, json};
use simctl::capacity::managed_scaling::{TaskGroup, aim, instances_for, per_instance, reservation};
use simctl::capacity::{auto_scaling_group, mixed_instances, warm_pool};
use simctl::cluster::Resources;
use simctl::scenario::model::{
    Capacity, Ec2, InstancesDistribution, ManagedScaling, PredictiveScaling, ScalingPolicy, Service,
};
use simctl::units::{Bytes, Cpu};

use crate::Outcome;

/// What a case gives, or why it cannot be read.
type Got = Result<Value, String>;

/// Runs a case of one of the families told of here; `None` for another's.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    let got = match family {
        "asg_mixed" => asg_mixed,
        "asg_overshoot" => asg_overshoot,
        "cas_needed" => cas_needed,
        "cas_reservation" => cas_reservation,
        "cas_scale" => cas_scale,
        "warm_pool" => warm_pool_size,
        "defaults" => return defaults(case),
        _ => return None,
    };
    Some(compare(case, got(&case["input"])))
}

fn compare(case: &Value, got: Got) -> Outcome {
    let tolerance = case.get("tolerance").and_then(Value::as_f64).unwrap_or(0.0);
    let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance,
        _ => a == b,
    };
    let expect = &case["expect"];
    match (got, expect.as_object()) {
        (Err(problem), _) => Outcome::Failed(problem),
        (_, None) => Outcome::Failed("the case expects nothing".into()),
        (Ok(got), Some(keys)) => match keys.iter().all(|(k, v)| got.get(k).is_some_and(|g| same(v, g))) {
            true => Outcome::Passed,
            false => Outcome::Failed(format!("expected {expect}, got {got}")),
        },
    }
}

fn whole(value: &Value, key: &str) -> Result<u64, String> {
    value.get(key).and_then(Value::as_u64).ok_or_else(|| format!("`{key}` is not a whole number"))
}

fn count(value: &Value, key: &str) -> Result<u32, String> {
    u32::try_from(whole(value, key)?).map_err(|e| format!("`{key}`: {e}"))
}

/// A number that may be null.
fn optional(value: &Value, key: &str) -> Result<Option<u32>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => count(value, key).map(Some),
    }
}

fn asg_mixed(input: &Value) -> Got {
    let base = count(input, "on_demand_base")?;
    let percent = count(input, "on_demand_percent_above_base")?;
    let split = mixed_instances::split(count(input, "capacity")?, base, percent);
    Ok(json!({ "on_demand": split.on_demand, "spot": split.spot }))
}

fn asg_overshoot(input: &Value) -> Got {
    Ok(json!({ "extra": auto_scaling_group::overshoot(count(input, "max")?) }))
}

fn cas_needed(input: &Value) -> Got {
    let (task, instance) = (&input["task"], &input["instance"]);
    let enis = optional(instance, "eni")?;
    let size = |v: &Value, enis: u32| -> Result<Resources, String> {
        let (cpu, memory) = (Cpu::from_units(whole(v, "cpu")?), Bytes::from_mib(whole(v, "memory")?));
        Ok(Resources { cpu, memory, gpus: 0, enis })
    };
    // Where the case counts interfaces, each task takes one.
    let needs = size(task, u32::from(enis.is_some()))?;
    let group = TaskGroup { needs, one_each: false, tasks: count(input, "tasks")? };
    let instance = size(instance, enis.unwrap_or(0))?;
    Ok(json!({ "per_instance": per_instance(&group, instance), "needed": instances_for(&group, &[instance]) }))
}

fn cas_reservation(input: &Value) -> Got {
    Ok(json!({ "reservation": reservation(count(input, "needed")?, count(input, "running")?) }))
}

fn cas_scale(input: &Value) -> Got {
    let spec = ManagedScaling {
        target_capacity: count(input, "target_capacity")?,
        minimum_scaling_step_size: count(input, "minimum_scaling_step_size")?,
        maximum_scaling_step_size: count(input, "maximum_scaling_step_size")?,
        ..ManagedScaling::default()
    };
    let waiting = input.get("provisioning_tasks").and_then(Value::as_bool).ok_or("`provisioning_tasks` is missing")?;
    let (running, needed) = (count(input, "running")?, count(input, "needed")?);
    let bounds = (count(input, "group_min")?, count(input, "group_max")?);
    Ok(json!({ "desired": aim(&spec, running, needed, waiting, bounds.0, bounds.1) }))
}

fn warm_pool_size(input: &Value) -> Got {
    let prepared = optional(input, "max_prepared")?;
    let size = warm_pool::size(count(input, "desired")?, count(input, "max")?, prepared, count(input, "min_size")?);
    Ok(json!({ "size": size }))
}

/// Defaults of groups and of managed scaling; `None` for other settings.
fn defaults(case: &Value) -> Option<Outcome> {
    let group = Ec2::of_types(&["m7g.large"], 10);
    let InstancesDistribution { on_demand_base_capacity, on_demand_percentage_above_base_capacity, .. } =
        group.mixed_instances;
    let scaling = &group.managed_scaling;
    let value = match case["input"]["setting"].as_str()? {
        "ecs.managedScaling.minimumScalingStepSize" => json!(scaling.minimum_scaling_step_size),
        "ecs.managedScaling.maximumScalingStepSize" => json!(scaling.maximum_scaling_step_size),
        "ecs.managedScaling.targetCapacity" => json!(scaling.target_capacity),
        "ecs.managedScaling.instanceWarmupPeriod" => json!(scaling.instance_warmup_period.as_secs()),
        "asg.onDemandBaseCapacity" => json!(on_demand_base_capacity),
        "asg.onDemandPercentageAboveBaseCapacity" => json!(on_demand_percentage_above_base_capacity),
        "ec2.spot.noticeSeconds" => {
            let capacity = Capacity::Ec2(group);
            json!(capacity.instances().map(|i| i.spot.notice.as_secs()))
        }
        // What is left out of a scenario, or the little that must be said.
        "ecs.service.daemon.minimumHealthyPercent.api" => {
            json!(daemon()?.ecs.deployment_configuration.minimum_healthy_percent)
        }
        "ecs.service.daemon.maximumPercent" => json!(daemon()?.ecs.deployment_configuration.maximum_percent),
        "ecs.capacityProviderStrategy.weight.console" => json!(daemon()?.capacity.values().next()?.weight),
        "ecs.taskProtection.defaultMinutes" => {
            let protection = simctl::scenario::from_text("defaults", &text("task_protection = {}"));
            let plan = protection.unwrap_or_else(|d| panic!("{}", d.render(false)));
            json!(plan.services["web"].ecs.task_protection.as_ref()?.expires_in_minutes)
        }
        "aas.predictive.mode" => json!(forecast()?.mode.as_str()),
        "aas.predictive.schedulingBufferTime" => json!(forecast()?.scheduling_buffer_time.as_secs()),
        _ => return None,
    };
    Some(compare(case, Ok(json!({ "value": value }))))
}

/// A service on the one capacity that there is, with these lines in its `ecs` block.
fn text(ecs: &str) -> String {
    format!(
        "[simulation]\nduration = \"1h\"\n[capacity.group]\ntype = \"ec2\"\ninstance_types = [\"m7g.large\"]\nmax_size = 4\n\
         [services.web]\ntask = {{ cpu = 256, memory = \"512 MiB\", architecture = \"ARM64\" }}\n[services.web.ecs]\n{ecs}\n"
    )
}

/// A service with a task on each instance, of which nothing else is said.
fn daemon() -> Option<Service> {
    let plan = simctl::scenario::from_text("defaults", &text("scheduling_strategy = \"DAEMON\""));
    plan.unwrap_or_else(|d| panic!("{}", d.render(false))).services.shift_remove("web")
}

/// A predictive policy of which only what is required is said.
fn forecast() -> Option<PredictiveScaling> {
    let policy = "[services.web.scaling]\nmin_capacity = 1\nmax_capacity = 9\n[services.web.scaling.policies.ahead]\n\
                  type = \"predictive\"\npredefined_metric_pair_type = \"ECSServiceCPUUtilization\"\ntarget_value = 60\n";
    let plan = simctl::scenario::from_text("defaults", &format!("{}{policy}", text("")));
    let service = plan.unwrap_or_else(|d| panic!("{}", d.render(false))).services.shift_remove("web")?;
    service.scaling?.policies.into_values().find_map(|policy| match policy {
        ScalingPolicy::Predictive(p) => Some(p),
        _ => None,
    })
}
