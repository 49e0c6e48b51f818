//! Launches, messages about instances, and timers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::karpenter::instance::CapacityType;
use simctl::kubernetes::karpenter::interruption::{InstanceState, Message, Reaction, react};
use simctl::kubernetes::karpenter::launch::{Unavailable, compatible, drop_dear_spot, drop_exotic, fleet_request};
use simctl::kubernetes::karpenter::pool::NodePool;
use simctl::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use simctl::kubernetes::karpenter::scheduling::Scheduler;
use simctl::kubernetes::karpenter::table::TypeTable;
use simctl::kubernetes::karpenter::timers::{BatchSpec, Batcher, expires, liveness};
use simctl::kubernetes::karpenter::world::{NodeView, PendingPod};
use simctl::kubernetes::object::{PodSpec, Resources};

use super::spec::{Parts, kind, requirement, seconds};
use super::{Got, same};

pub(super) fn run(case: &Value) -> Got {
    if let Some(message) = case["message"].as_str() {
        return interruption(case, message);
    }
    if !case["types"].is_null() {
        return filters(case);
    }
    request(case)
}

/// A type with whatever the case does not say filled in.
fn full(of: &Value) -> Value {
    let zone = of["zone"].as_str().unwrap_or("test-zone-1");
    let cpu = of["cpu_m"].as_i64().unwrap_or(4_000);
    let offerings = match &of["offerings"] {
        Value::Null => json!([{"zone": zone, "capacity_type": "on-demand", "price": 1.0, "available": true}]),
        list => list.clone(),
    };
    json!({
        "name": of["name"], "arch": "amd64", "os": ["linux"], "offerings": offerings,
        "capacity": {"cpu_m": cpu, "memory_bytes": 1_i64 << 34, "pods": 110}, "overhead": {},
    })
}

fn is_exotic(of: &Value) -> bool {
    ["metal", "gpu", "gpus", "accelerator", "accelerators", "neuron", "gaudi", "exotic"].iter().any(|k| match &of[*k] {
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_f64().is_some_and(|n| n > 0.0),
        _ => false,
    })
}

fn filters(case: &Value) -> Got {
    let mut parts = Parts::new();
    let list = case["types"].as_array().ok_or("no types")?;
    let types: Vec<_> = list.iter().map(|t| parts.fake_type(&full(t))).collect();
    let mut requirements = Requirements::default();
    for r in case["requirements"].as_array().into_iter().flatten() {
        let r = requirement(r, &mut parts.symbols)?;
        requirements.add(r.key, ValueSet::from_operator(r.operator, &r.values, &parts.symbols), &parts.symbols);
    }
    if let Some(kinds) = case["capacity_types"].as_array() {
        let set = ValueSet::of(kinds.iter().map(|k| parts.known.value_of(kind(k))));
        requirements.set(parts.known.capacity_type, set);
    }
    let requests = Resources { cpu_m: case["requests_cpu_m"].as_i64().unwrap_or(0), ..Resources::default() };
    let numbered = types.iter().enumerate();
    let mut kept = compatible(numbered, &requirements, &requests, &parts.known, &parts.symbols, |_, _| true);
    if case["min_values"].is_null() || case["min_values"] == json!(false) {
        drop_exotic(&mut kept, |at| is_exotic(&list[at]));
        drop_dear_spot(&mut kept);
    }
    let name = |at: usize| list[at]["name"].as_str().unwrap_or_default().to_owned();
    let got: BTreeMap<String, u64> = kept.iter().map(|t| (name(t.instance_type), t.offerings.len() as u64)).collect();
    match &case["expect"]["kept"] {
        Value::Object(counts) => {
            let wanted = counts.iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap_or(0))).collect();
            same("kept", wanted, got.clone())?;
        }
        Value::Array(names) => {
            let wanted: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
            same("kept", wanted, got.keys().map(String::as_str).collect())?;
        }
        _ => {}
    }
    if let Some(names) = case["expect"]["rejected"].as_array() {
        let wanted: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
        let rejected = list.iter().filter_map(|t| t["name"].as_str()).filter(|n| !got.contains_key(*n));
        same("rejected", wanted, rejected.collect())?;
    }
    Ok(())
}

/// A pod that any type takes, and what EC2 is asked for.
fn request(case: &Value) -> Got {
    let mut parts = Parts::new();
    let number = case["candidate_types"].as_u64().unwrap_or(8);
    let mut types = Vec::new();
    for n in 0..number {
        // Names and prices run against each other, so that an order by name shows.
        let offerings: Vec<Value> = [("spot", 0.03), ("on-demand", 0.1)]
            .iter()
            .map(|(c, base)| {
                let price = base + (number - n) as f64 * 0.0001;
                json!({"zone": "test-zone-1", "capacity_type": c, "price": price, "available": true})
            })
            .collect();
        types.push(parts.fake_type(&full(&json!({"name": format!("type-{n:03}"), "offerings": offerings}))));
    }
    parts.tables = vec![TypeTable::new(types, &parts.symbols)];
    let mut pool = NodePool::new(parts.symbols.intern("default"), 0);
    if let Some(kinds) = case["capacity_types"].as_array() {
        let list: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
        let key = json!([{"key": "karpenter.sh/capacity-type", "op": "In", "values": list}]);
        pool.requirements = super::spec::pool_requirements(&key, &mut parts.symbols)?;
    }
    parts.pools.push(pool);
    parts.shapes.push(PodSpec::new(parts.symbols.intern("default")));
    let world = parts.world();
    let claim = Scheduler::new(world, &Unavailable::default())
        .provision(&[PendingPod { uid: 1, shape: 0, created: SimTime::ZERO }])
        .claims
        .pop()
        .ok_or("no claim")?;
    let mut unavailable = Unavailable::default();
    for gone in case["unavailable"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        match gone.strip_prefix("all ").map(|k| kind(&json!(k))) {
            Some(kind) => {
                for t in world.tables[0].types() {
                    unavailable.mark(kind, t.name, world.tables[0].zones()[0], world.now);
                }
            }
            None => return Err(format!("what is `{gone}`?")),
        }
    }
    let got = fleet_request(&world, &claim, &unavailable);
    for (key, want) in case["expect"].as_object().into_iter().flatten() {
        match key.as_str() {
            "capacity_type" => {
                let got = got.as_ref().map_err(|e| format!("{e:?}"))?;
                same(key, want.as_str(), Some(got.capacity_type.label()))?;
            }
            "sent_to_fleet" => {
                let got = got.as_ref().map_err(|e| format!("{e:?}"))?;
                same(key, want.as_u64(), Some(got.types as u64))?;
            }
            "order" if want == "cheapest first" => {
                let got = got.as_ref().map_err(|e| format!("{e:?}"))?;
                let prices: Vec<_> = got.overrides.iter().map(|o| o.price).collect();
                let all = world.tables[0]
                    .types()
                    .iter()
                    .flat_map(|t| &t.offerings)
                    .filter(|o| o.capacity_type == got.capacity_type);
                let mut cheapest: Vec<_> = all.map(|o| o.price).collect();
                cheapest.sort_unstable();
                cheapest.truncate(prices.len());
                same(key, cheapest, prices)?;
            }
            "error" | "launched" => same(key, want.as_bool(), Some(got.is_err() == (key == "error")))?,
            _ => return Err(format!("what is `{key}`?")),
        }
    }
    Ok(())
}

fn interruption(case: &Value, message: &str) -> Got {
    let one = |text: &str| -> Result<Message, String> {
        let text = text.to_lowercase();
        let has = |word: &str| text.contains(word);
        Ok(if has("rebalance") {
            Message::RebalanceRecommendation
        } else if has("reservation") {
            Message::CapacityReservationInterruption
        } else if has("spot") {
            Message::SpotInterruption
        } else if has("scheduled") {
            Message::ScheduledChange
        } else if has("status check") || has("failure") || has("impaired") || has("unhealthy") {
            Message::StatusCheckFailed(SimDuration::from_secs(case["failing_for_s"].as_u64().unwrap_or(300)))
        } else if has("stopping") {
            Message::StateChange(InstanceState::Stopping)
        } else if has("stopped") {
            Message::StateChange(InstanceState::Stopped)
        } else if has("shutting") {
            Message::StateChange(InstanceState::ShuttingDown)
        } else if has("terminat") {
            Message::StateChange(InstanceState::Terminated)
        } else if has("running") {
            Message::StateChange(InstanceState::Running)
        } else if has("pending") {
            Message::StateChange(InstanceState::Pending)
        } else if has("unknown") || has("noop") || has("no-op") || has("other") || has("malformed") || has("empty") {
            Message::Other
        } else {
            return Err(format!("what is `{text}`?"));
        })
    };
    let mut all = Reaction::default();
    for part in message.split(" and ") {
        all = all.and(react(one(part)?));
    }
    for (key, want) in case["expect"].as_object().into_iter().flatten() {
        match key.as_str() {
            "nodeclaim_deleted" => same(key, want.as_bool(), Some(all.delete))?,
            "forced" => same(key, want.as_bool(), Some(all.forced))?,
            "offering_unavailable" => {
                let mut parts = Parts::new();
                let text = |k: &str| case["offering"][k].as_str().unwrap_or_default();
                let name = parts.symbols.intern(text("instance_type"));
                let zone = parts.symbols.intern(text("zone"));
                let mut unavailable = Unavailable::default();
                all.remember(&mut unavailable, name, zone, parts.now);
                let marked = |c| unavailable.is_unavailable(c, name, zone, parts.now);
                let wanted = match want {
                    Value::Bool(yes) => (*yes, CapacityType::Spot),
                    other => (true, kind(&other["capacity_type"])),
                };
                same(key, wanted.0, marked(wanted.1))?;
            }
            _ => return Err(format!("what is `{key}`?")),
        }
    }
    Ok(())
}

fn at(of: &Value) -> SimTime {
    SimTime::ZERO + seconds(of).unwrap_or(SimDuration::ZERO)
}

pub(super) fn timers(case: &Value) -> Got {
    let expect = &case["expect"];
    if !case["triggers"].is_null() {
        return batch(case);
    }
    if !case["consolidate_after_s"].is_null() || expect.is_array() {
        return consolidatable(case);
    }
    let age = at(&case["age_s"]);
    let deleted = if case.get("expire_after_s").is_some() {
        expires(SimTime::ZERO, seconds(&case["expire_after_s"])).is_some_and(|end| end <= age)
    } else {
        let registered = case["registered"] == json!(true);
        let launched = case["launched"] == json!(true) || registered;
        liveness(SimTime::ZERO, launched.then_some(SimTime::ZERO), registered, age).is_some()
    };
    same("deleted", expect["deleted"].as_bool(), Some(deleted))
}

fn batch(case: &Value) -> Got {
    let default = BatchSpec::default();
    let spec = BatchSpec {
        idle: seconds(&case["batch"]["idle"]).unwrap_or(default.idle),
        max: seconds(&case["batch"]["max"]).unwrap_or(default.max),
    };
    let (mut batcher, mut names) = (Batcher::default(), Vec::new());
    let mut closed = None;
    for trigger in case["triggers"].as_array().into_iter().flatten() {
        let now = at(&trigger["t"]);
        if let Some(due) = batcher.closes(&spec).filter(|due| *due < now) {
            closed = closed.or(Some(due));
            continue;
        }
        let name = trigger["pod"].as_str().unwrap_or_default();
        let uid = names.iter().position(|n| *n == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        batcher.trigger(&spec, uid as u64, now);
    }
    let closes = closed.or_else(|| batcher.closes(&spec)).ok_or("the window never opened")?;
    for (key, want) in case["expect"].as_object().into_iter().flatten() {
        let time = at(want);
        match key.as_str() {
            "closes_at" => same(key, time, closes)?,
            "closed_by" => same(key, true, closes <= time)?,
            "still_open_at" => same(key, true, closes > time)?,
            _ => return Err(format!("what is `{key}`?")),
        }
    }
    Ok(())
}

fn consolidatable(case: &Value) -> Got {
    let mut parts = Parts::new();
    let mut node = NodeView::new(parts.symbols.intern("n"));
    node.initialized = (!case["initialized_s"].is_null()).then(|| at(&case["initialized_s"]));
    node.last_pod_event = (!case["last_pod_event_s"].is_null()).then(|| at(&case["last_pod_event_s"]));
    let after = seconds(&case["consolidate_after_s"]);
    let points = match &case["expect"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    for point in points {
        let got = node.is_consolidatable(after, at(&point["t"]));
        same(&format!("consolidatable at {}", point["t"]), point["consolidatable"].as_bool(), Some(got))?;
    }
    Ok(())
}
