//! Disruption: scores, budgets, candidates, emptiness, drift, consolidation.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::karpenter::disruption::balanced::{K, PoolTotals, approves, score, scores, totals};
use simctl::kubernetes::karpenter::disruption::budgets::{allowed, left};
use simctl::kubernetes::karpenter::disruption::candidates::{
    Candidate, DisruptionClass, candidate, eviction_cost as pod_cost, rank,
};
use simctl::kubernetes::karpenter::disruption::consolidation::same_type_bound;
use simctl::kubernetes::karpenter::disruption::drift::DriftReason;
use simctl::kubernetes::karpenter::disruption::{
    Command, Decision, Memory, Method, Observation, candidates_for, disrupt, validate,
};
use simctl::kubernetes::karpenter::instance::{CapacityType, InstanceType};
use simctl::kubernetes::karpenter::launch::Unavailable;
use simctl::kubernetes::karpenter::pool::{Budget, ConsolidationPolicy, NodePool, Reason};
use simctl::kubernetes::karpenter::scheduling::Scheduler;
use simctl::kubernetes::karpenter::table::TypeTable;
use simctl::kubernetes::karpenter::world::{
    DISRUPTED_TAINT, DoNotDisrupt, Drift, NodeView, Owner, PendingPod, PodBudgets, PodPhase, PodView,
};
use simctl::kubernetes::object::{PodSpec, Toleration};
use simctl::units::Usd;

use super::spec::{COMMON, Parts, budget, kind, policy, pool_requirements, usd};
use super::{Got, near, same};

fn number(of: &Value, key: &str) -> Option<u64> {
    of[key].as_u64()
}

/// Adds a node of a pool with so many pods of a shape.
fn add_node(
    parts: &mut Parts,
    name: &str,
    pool: usize,
    type_at: usize,
    kind: CapacityType,
    pods: u64,
    shape: usize,
) -> usize {
    let name = parts.symbols.intern(name);
    let mut node = NodeView::new(name);
    let of = &parts.tables[0].types()[type_at];
    let offering = of.offerings.iter().find(|o| o.capacity_type == kind).or(of.offerings.first());
    let zone = offering.map(|o| o.zone);
    node.capacity = of.capacity.clone();
    node.allocatable = of.allocatable().clone();
    for (key, set) in of.requirements.iter() {
        if let Some(value) = set.single() {
            node.labels.set(key, value);
        }
    }
    if let Some(zone) = zone {
        node.labels.set(parts.known.zone, zone);
    }
    node.labels.set(parts.known.capacity_type, parts.known.value_of(kind));
    node.labels.set(parts.known.node_pool, parts.pools[pool].name);
    node.labels.set(parts.known.hostname, name);
    (node.managed, node.pool) = (true, Some(pool));
    (node.instance_type, node.capacity_type) = (Some(type_at), kind);
    for n in 0..pods {
        node.pods.push(PodView::new((parts.nodes.len() as u64) * 1_000 + n, shape, SimTime::ZERO));
    }
    parts.nodes.push(node);
    parts.nodes.len() - 1
}

/// A world with one priced type and one pool whose budget allows everything.
fn small_world(prices: &[Usd]) -> Parts {
    let mut parts = Parts::new();
    let mut types = Vec::new();
    for (n, price) in prices.iter().enumerate() {
        let dollars = price.dollars();
        types.push(parts.fake_type(&json!({
            "name": format!("type-{n:03}"), "capacity": {"cpu_m": 32_000, "memory_bytes": 1_i64 << 36, "pods": 100},
            "offerings": [{"zone": "test-zone-1", "capacity_type": "on-demand", "price": dollars, "available": true}],
        })));
    }
    parts.tables = vec![TypeTable::new(types, &parts.symbols)];
    open_pool(&mut parts, "default");
    parts.shapes.push(PodSpec::new(parts.symbols.intern("default")));
    parts
}

fn open_pool(parts: &mut Parts, name: &str) -> usize {
    let mut pool = NodePool::new(parts.symbols.intern(name), 0);
    pool.disruption.budgets = vec![Budget { nodes: "100%".to_owned(), ..Budget::default() }];
    parts.pools.push(pool);
    parts.pools.len() - 1
}

fn decide(parts: &Parts, pending: &[PendingPod]) -> Option<Command> {
    let unavailable = Unavailable::default();
    let seen = Observation { pending, unavailable: &unavailable, queued: &[], version: 1, most_single: None };
    let mut scheduler = Scheduler::new(parts.world(), &unavailable);
    let command = disrupt(&mut scheduler, &mut Memory::default(), &seen)?;
    // Nothing has changed in between, so that the decision must stand.
    if command.method.is_validated() {
        validate(&mut scheduler, command.clone(), &seen).expect("a decision stands while nothing changes");
    }
    Some(command)
}

pub(super) fn balanced(case: &Value) -> Got {
    let expect = &case["expect"];
    let k = case["k"].as_f64().unwrap_or(K);
    if let Some(savings) = case["savings"].as_f64() {
        let of = |key: &str| case["totals"][key].as_f64().unwrap_or(0.0);
        let totals = PoolTotals { cost: of("total_cost"), disruption: of("total_disruption") };
        let got = score(savings, case["disruption"].as_f64().unwrap_or(0.0), totals);
        match expect["score"].as_f64() {
            Some(wanted) => near("score", wanted, got)?,
            None => same("infinite", expect["score"] == "inf", got == f64::INFINITY)?,
        }
        return same("approved", expect["approved"].as_bool(), Some(approves(got, k)));
    }
    if let Some(list) = case["candidates"].as_array() {
        let mut parts = small_world(&[Usd::ZERO]);
        let mut all = Vec::new();
        for (at, of) in list.iter().enumerate() {
            let cost = of["disruption_cost"].as_f64().unwrap_or_else(|| 1.0 + of["pods"].as_f64().unwrap_or(0.0));
            let name = parts.symbols.intern(of["name"].as_str().unwrap_or_default());
            all.push(Candidate { node: at, name, pool: 0, price: usd(&of["price"]), disruption_cost: cost });
        }
        rank(&mut all, &parts.symbols);
        let got: Vec<&str> = all.iter().map(|c| parts.symbols.text(c.name)).collect();
        let wanted: Vec<&str> = expect["order"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        return same("order", wanted, got);
    }
    if !case["candidate"].is_null() {
        let of = &case["candidate"];
        let mut parts = small_world(&[usd(&of["price"])]);
        add_node(&mut parts, "n", 0, 0, CapacityType::OnDemand, number(of, "pods").unwrap_or(0), 0);
        let got = candidate(&parts.world(), 0, DisruptionClass::Graceful, false).map_err(|e| format!("{e:?}"))?;
        return near("savings ratio", expect["savings_ratio"].as_f64().unwrap_or(0.0), got.savings_ratio());
    }
    let pools: Vec<(String, Value)> = match case["pools"].as_object() {
        Some(all) => all.iter().map(|(name, of)| (name.clone(), of.clone())).collect(),
        None => vec![("balanced".to_owned(), case["pool"].clone())],
    };
    let price_of = |of: &Value, n: usize| match of["node_prices"].as_array() {
        Some(list) => list.get(n).map_or(Usd::ZERO, usd),
        None => usd(&of["node_price"]),
    };
    let count = |of: &Value| number(of, "nodes").unwrap_or(0) as usize;
    let prices: Vec<Usd> = pools.iter().flat_map(|(_, of)| (0..count(of)).map(move |n| price_of(of, n))).collect();
    let mut parts = small_world(&prices);
    parts.pools.clear();
    let mut moved = Vec::new();
    for (name, of) in &pools {
        let pool = open_pool(&mut parts, name);
        let own = if of["policy"].is_null() { ConsolidationPolicy::Balanced } else { policy(&of["policy"]) };
        parts.pools[pool].disruption.consolidation_policy = own;
        let goes = &case["move"]["delete_nodes"];
        let goes = goes.as_u64().or_else(|| goes[name.as_str()].as_u64()).unwrap_or(0) as usize;
        for n in 0..count(of) {
            let at = parts.nodes.len();
            add_node(
                &mut parts,
                &format!("n{at:03}"),
                pool,
                at,
                CapacityType::OnDemand,
                number(of, "pods_per_node").unwrap_or(0),
                0,
            );
            if n < goes {
                moved.push(at);
            }
        }
    }
    let world = parts.world();
    let all = totals(&world);
    if !expect["total_cost"].is_null() {
        near("total cost", expect["total_cost"].as_f64().unwrap_or(0.0), all[0].cost)?;
        near("total disruption", expect["total_disruption"].as_f64().unwrap_or(0.0), all[0].disruption)?;
    }
    if moved.is_empty() {
        return Ok(());
    }
    let moved: Result<Vec<Candidate>, _> =
        moved.into_iter().map(|n| candidate(&world, n, DisruptionClass::Graceful, false)).collect();
    let replacement = usd(&case["move"]["replacement_price"]);
    let got = scores(&world, &moved.map_err(|e| format!("{e:?}"))?, replacement, &all);
    for (key, want) in expect.as_object().into_iter().flatten() {
        let of_pool = |name: &str| pools.iter().position(|(n, _)| n == name);
        match key.as_str() {
            "total_cost" | "total_disruption" => {}
            "approved" => same(key, want.as_bool(), Some(got.iter().all(|s| s.approved)))?,
            "score" => near(key, want.as_f64().unwrap_or(0.0), got.first().map_or(f64::NAN, |s| s.score))?,
            _ => {
                let pool = key.strip_prefix("score_").and_then(of_pool).ok_or_else(|| format!("what is `{key}`?"))?;
                let own = got.iter().find(|s| s.pool == pool).map_or(f64::NAN, |s| s.score);
                near(key, want.as_f64().unwrap_or(0.0), own)?;
            }
        }
    }
    Ok(())
}

pub(super) fn budgets(case: &Value) -> Got {
    let expect = &case["expect"];
    if !case["mapping"].is_null() {
        return mapping(case);
    }
    if !case["scenario"].is_null() {
        return budget_scenario(case);
    }
    let list = case["budgets"].as_array().into_iter().flatten().map(budget).collect::<Result<Vec<_>, _>>()?;
    let now: Timestamp = case["now"].as_str().ok_or("no instant")?.parse().map_err(|e| format!("{e}"))?;
    let nodes = number(case, "num_nodes").unwrap_or(0) as u32;
    let first = || list.first().ok_or("no budget");
    for (key, want) in expect.as_object().into_iter().flatten() {
        match key.as_str() {
            "value" => {
                let got = first()?.allowed(nodes, now).unwrap_or(Some(0));
                same(key, want.as_u64(), got.map(u64::from))?;
            }
            "active" => same(key, want.as_bool(), Some(first()?.is_active(now).unwrap_or(false)))?,
            "error" => {
                let failed = first()?.allowed(nodes, now).is_err() || first()?.is_active(now).is_err();
                same(key, want.as_bool(), Some(failed))?;
            }
            _ => {
                let reason =
                    Reason::ALL.into_iter().find(|r| r.name() == key).ok_or_else(|| format!("what is `{key}`?"))?;
                same(key, want.as_u64(), allowed(&list, reason, nodes, now).map(u64::from))?;
            }
        }
    }
    Ok(())
}

fn mapping(case: &Value) -> Got {
    let mut parts = small_world(&[usd(&json!(1.0))]);
    let of = &case["mapping"];
    parts.pools[0].disruption.budgets =
        vec![Budget { nodes: of["budget"].as_str().unwrap_or("10%").to_owned(), ..Budget::default() }];
    for group in of["nodes"].as_array().into_iter().flatten() {
        for _ in 0..number(group, "count").unwrap_or(1) {
            let name = format!("n{:03}", parts.nodes.len());
            let at = add_node(&mut parts, &name, 0, 0, CapacityType::OnDemand, 0, 0);
            let node = &mut parts.nodes[at];
            node.managed = group["managed"] != json!(false);
            if group["initialized"] == json!(false) {
                node.initialized = None;
            }
            match group["state"].as_str().unwrap_or("ready") {
                "ready" => {}
                "deleting" => node.deleting = true,
                "marked" | "marked_for_deletion" => node.marked = true,
                "not ready" | "notready" | "not_ready" | "not-ready" => node.ready = false,
                "uninitialized" => node.initialized = None,
                state if state.contains("terminating") => node.terminating_instance = true,
                state => return Err(format!("what is `{state}`?")),
            }
        }
    }
    let got = left(&parts.world(), Reason::Underutilized)[0];
    same("allowed", number(&case["expect"], "allowed"), got.map(u64::from))
}

fn budget_scenario(case: &Value) -> Got {
    let of = &case["scenario"];
    let method = of["method"].as_str().unwrap_or_default();
    let mut parts = small_world(&[usd(&json!(1.0))]);
    parts.pools[0].disruption.budgets =
        vec![Budget { nodes: of["budget"].as_str().unwrap_or("10%").to_owned(), ..Budget::default() }];
    let pods = u64::from(!method.contains("empty"));
    let (nodes, candidates) = (number(of, "nodes").unwrap_or(0), number(of, "candidates").unwrap_or(0));
    for n in 0..nodes {
        let at = add_node(&mut parts, &format!("n{n:03}"), 0, 0, CapacityType::OnDemand, pods, 0);
        // Those that are no candidates hold pods that must not be disturbed.
        if n >= candidates {
            parts.nodes[at].do_not_disrupt = true;
        }
        if method.contains("drift") {
            parts.nodes[at].drift = Some(Drift { since: SimTime::ZERO, reason: DriftReason::NodePool });
            parts.pools[0].disruption.consolidate_after = None;
        }
    }
    // Pods may go here, so that nodes can be deleted.
    let mut other = NodeView::new(parts.symbols.intern("unmanaged"));
    other.allocatable = parts.tables[0].types()[0].capacity.clone();
    parts.nodes.push(other);
    let got = decide(&parts, &[]).map_or(0, |c| c.candidates.len() as u64);
    same("disrupted", number(&case["expect"], "disrupted_in_first_command"), Some(got))
}

pub(super) fn eviction_cost(case: &Value) -> Got {
    let int = |of: &Value| of.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    let expect = &case["expect"];
    if !expect["strictly_decreasing"].is_null() {
        let (key, by_priority) = match case["deletion_costs"].is_null() {
            true => ("priorities", true),
            false => ("deletion_costs", false),
        };
        let list = case[key].as_array().into_iter().flatten();
        let costs: Vec<f64> =
            list.map(|c| if by_priority { pod_cost(0, int(c)) } else { pod_cost(int(c), 0) }).collect();
        return same("strictly decreasing", true, costs.windows(2).all(|w| w[0] > w[1]));
    }
    let got = pod_cost(int(&case["deletion_cost"]), int(&case["priority"]));
    let wanted = expect["cost"].as_f64().ok_or("no cost")?;
    same("cost to twelve digits", true, (got - wanted).abs() < 1e-12)?;
    let relation = match got.total_cmp(&1.0) {
        std::cmp::Ordering::Less => "<",
        std::cmp::Ordering::Equal => "==",
        std::cmp::Ordering::Greater => ">",
    };
    same("relation to one", expect["relation_to_one"].as_str(), Some(relation))
}

fn pod_view(of: &Value, uid: u64, shape: usize, now: SimTime) -> Result<PodView, String> {
    let ran = of["running_for_s"].as_u64().or(of["age_s"].as_u64()).or(of["running_s"].as_u64());
    let started = SimTime::from_nanos(now.as_nanos().saturating_sub(ran.unwrap_or(0) * 1_000_000_000));
    let mut pod = PodView::new(uid, shape, started);
    pod.owner = match of["owner"].as_str().unwrap_or("ReplicaSet") {
        "DaemonSet" => Owner::DaemonSet,
        "Node" => Owner::Node,
        "StatefulSet" => Owner::StatefulSet,
        _ => Owner::ReplicaSet,
    };
    pod.phase = match of["phase"].as_str().unwrap_or("Running") {
        "Succeeded" | "Failed" => PodPhase::Finished,
        "Terminating" => PodPhase::Terminating { deadline: now + SimDuration::from_secs(30) },
        _ => PodPhase::Active,
    };
    pod.do_not_disrupt = of["do_not_disrupt"].as_str().and_then(DoNotDisrupt::parse);
    pod.deletion_cost = of["deletion_cost"].as_i64().and_then(|c| i32::try_from(c).ok()).unwrap_or(0);
    let blocked = of["pdb"] == "blocking";
    let count = number(of, "pdb_count").unwrap_or(u64::from(!of["pdb"].is_null())) as u32;
    pod.budgets = PodBudgets { count, blocked, never: false };
    Ok(pod)
}

pub(super) fn candidates(case: &Value) -> Got {
    let mut parts = small_world(&[usd(&json!(1.0))]);
    let at = add_node(&mut parts, "n", 0, 0, CapacityType::OnDemand, 0, 0);
    let mut tolerant = PodSpec::new(parts.symbols.intern("default"));
    let key = parts.symbols.intern(DISRUPTED_TAINT);
    parts.symbols.intern("");
    tolerant.tolerations.push(Toleration { key: Some(key), value: None, effect: None });
    parts.shapes.push(tolerant);
    let now = parts.now;
    let mut queued = false;
    if case["tgp"] == json!(true) {
        parts.nodes[at].termination_grace_period = Some(SimDuration::from_mins(5));
    }
    for (key, value) in case["node"].as_object().into_iter().flatten() {
        let node = &mut parts.nodes[at];
        let yes = value == &json!(true) || value == &json!("true");
        match key.as_str() {
            "pods" => {
                for (n, of) in value.as_array().into_iter().flatten().enumerate() {
                    let tolerates = of
                        .as_object()
                        .is_some_and(|o| o.iter().any(|(k, v)| k.contains("tolerates") && *v == json!(true)));
                    node.pods.push(pod_view(of, n as u64, usize::from(tolerates), now)?);
                }
            }
            "managed" | "nodeclaim" => node.managed = yes,
            "node_object" => node.has_node = yes,
            "nominated" if yes => node.nominated_until = now + SimDuration::from_secs(1),
            "deleting" => node.deleting = yes,
            "marked_for_deletion" => node.marked = yes,
            "initialized" if !yes => node.initialized = None,
            "in_queue" | "already_in_queue" => queued = yes,
            "do_not_disrupt" | "node_do_not_disrupt" | "nodeclaim_do_not_disrupt" => node.do_not_disrupt = yes,
            "nodepool_label" | "nodepool" | "nodepool_exists" | "has_nodepool_label" if !yes => node.pool = None,
            "instance_type_label" | "instance_type_known" | "instance_type" | "capacity_type_label" | "zone_label" => {}
            "nominated" | "initialized" | "nodepool_label" | "nodepool" | "nodepool_exists" => {}
            _ => return Err(format!("what is `{key}`?")),
        }
    }
    let class = match case["disruption_class"].as_str() {
        Some("eventual") => DisruptionClass::Eventual,
        _ => DisruptionClass::Graceful,
    };
    let got = candidate(&parts.world(), at, class, queued);
    let wanted = case["expect"]["candidate"].as_bool();
    if wanted == Some(got.is_ok()) { Ok(()) } else { Err(format!("expected {wanted:?}, got {got:?}")) }
}

pub(super) fn emptiness_drift(case: &Value) -> Got {
    let mut parts = small_world(&[usd(&json!(1.0))]);
    let now = parts.now;
    let expect = &case["expect"];
    if !expect["empty"].is_null() {
        add_node(&mut parts, "n", 0, 0, CapacityType::OnDemand, 0, 0);
        for (n, of) in case["pods"].as_array().into_iter().flatten().enumerate() {
            parts.nodes[0].pods.push(pod_view(of, n as u64, 0, now)?);
        }
        let got = candidate(&parts.world(), 0, DisruptionClass::Graceful, false);
        return same("empty", expect["empty"].as_bool(), got.ok().map(|c| c.is_empty()));
    }
    if let Some(pools) = number(case, "pools") {
        parts.pools.clear();
        for p in 0..pools {
            let pool = open_pool(&mut parts, &format!("pool-{p}"));
            parts.pools[pool].disruption.budgets[0].nodes = case["budget"].as_str().unwrap_or("10%").to_owned();
            for n in 0..number(case, "nodes_per_pool").unwrap_or(1) {
                add_node(&mut parts, &format!("n{p}-{n}"), pool, 0, CapacityType::OnDemand, 0, 0);
            }
        }
        let command = decide(&parts, &[]).ok_or("nothing was decided")?;
        for pool in 0..parts.pools.len() {
            let got = command.candidates.iter().filter(|c| c.pool == pool).count() as u64;
            same("deleted of a pool", number(expect, "deleted_per_pool"), Some(got))?;
        }
        return Ok(());
    }
    if let Some(list) = case["drifted"].as_array() {
        // Without consolidation, so that drift is alone.
        parts.pools[0].disruption.consolidate_after = None;
        let needed = number(case, "replacements_needed").unwrap_or(0);
        if needed > 0 {
            let spread = json!({
                "labels": { COMMON.0: COMMON.1 },
                "anti_affinity": [{"topology_key": "kubernetes.io/hostname", "selector": { COMMON.0: COMMON.1 }}],
            });
            parts.shapes[0] = super::spec::pod(&spread, &mut parts.symbols)?;
        }
        for of in list {
            let name = of["name"].as_str().unwrap_or_default();
            let at = add_node(&mut parts, name, 0, 0, CapacityType::OnDemand, number(of, "pods").unwrap_or(0), 0);
            let since = SimTime::from_secs(number(of, "drifted_at").unwrap_or(0));
            parts.nodes[at].drift = Some(Drift { since, reason: DriftReason::NodePool });
            if of["do_not_disrupt"] == json!(true) || of["do_not_disrupt"] == "true" {
                parts.nodes[at].do_not_disrupt = true;
            }
        }
        if !case["budget"].is_null() {
            parts.pools[0].disruption.budgets[0].nodes = case["budget"].as_str().unwrap_or("10%").to_owned();
        }
        let command = decide(&parts, &[]);
        for (key, want) in expect.as_object().into_iter().flatten() {
            let command = command.as_ref();
            match key.as_str() {
                "first" => {
                    let first = command.and_then(|c| c.candidates.first()).map(|c| parts.symbols.text(c.name));
                    same(key, want.as_str(), first)?;
                }
                "per_command" | "removed" | "disrupted" | "deleted" => {
                    same(key, want.as_u64(), Some(command.map_or(0, |c| c.candidates.len() as u64)))?;
                }
                "new_nodes" => same(key, want.as_u64(), Some(command.map_or(0, |c| c.replacements.len() as u64)))?,
                "decision" => same(key, want.as_str(), Some(word(command)))?,
                _ => return Err(format!("what is `{key}`?")),
            }
        }
        return Ok(());
    }
    for n in 0..number(case, "empty_nodes").unwrap_or(1) {
        let at = add_node(&mut parts, &format!("n{n}"), 0, 0, CapacityType::OnDemand, 0, 0);
        let node = &mut parts.nodes[at];
        for (key, value) in case["node"].as_object().into_iter().flatten() {
            match key.as_str() {
                "node_do_not_disrupt" | "nodeclaim_do_not_disrupt" | "do_not_disrupt" => {
                    node.do_not_disrupt = value == &json!("true") || value == &json!(true);
                }
                "consolidatable" if value == &json!(false) => {
                    parts.pools[0].disruption.consolidate_after = Some(SimDuration::from_mins(5));
                    node.last_pod_event = Some(now);
                }
                "consolidatable" => {}
                "initialized" if value == &json!(false) => node.initialized = None,
                "nominated" if value == &json!(true) => node.nominated_until = now + SimDuration::from_secs(20),
                _ => return Err(format!("what is `{key}`?")),
            }
        }
    }
    if case["consolidate_after"] == "Never" {
        parts.pools[0].disruption.consolidate_after = None;
    }
    parts.pools[0].disruption.consolidation_policy = policy(&case["policy"]);
    let got = decide(&parts, &[]).map_or(0, |c| c.candidates.len() as u64);
    same("deleted", number(expect, "deleted"), Some(got))
}

fn word(command: Option<&Command>) -> &'static str {
    match command.map(Command::decision) {
        None => "no-op",
        Some(Decision::Delete) => "delete",
        Some(Decision::Replace) => "replace",
    }
}

fn same_type_filter(case: &Value) -> Got {
    let names =
        |key: &str| -> Vec<&str> { case[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let price = |name: &str| usd(&case["prices"][name]);
    let own: Vec<(&str, Usd)> = names("candidate_types").into_iter().map(|n| (n, price(n))).collect();
    let options = names("replacement_types_in");
    let bound = same_type_bound(&own, &options);
    let left: BTreeSet<&str> = options.into_iter().filter(|n| bound.is_none_or(|b| price(n) < b)).collect();
    if !case["expect"]["replacement_types_out"].is_null() {
        let wanted = case["expect"]["replacement_types_out"].as_array().into_iter().flatten();
        same("types left", wanted.filter_map(Value::as_str).collect(), left.clone())?;
    }
    same("valid", case["expect"]["valid"].as_bool(), Some(!left.is_empty()))
}

/// The types of a case, and which of them a candidate is of.
fn consolidation_types(parts: &mut Parts, case: &Value) -> Result<(), String> {
    let mut types: Vec<InstanceType> = Vec::new();
    let own = |n: u64, of: u64| {
        json!({
            "name": format!("spot-{n:03}"),
            "capacity": {"cpu_m": 32_000, "memory_bytes": 1_i64 << 36, "pods": 100},
            "offerings": [{"zone": "test-zone-1", "capacity_type": "spot", "price": (n + 1) as f64 / of as f64, "available": true}],
        })
    };
    if let Some(number) = number(case, "catalog_size").or(number(case, "cheaper_spot_types").map(|n| n + 1)) {
        for n in 0..number {
            types.push(parts.fake_type(&own(n, number)));
        }
    } else if let Some(list) = case["replacement_types"].as_array() {
        for of in list {
            let mut full = of.clone();
            full["capacity"] = json!({"cpu_m": 32_000, "memory_bytes": 1_i64 << 36, "pods": 100});
            types.push(parts.fake_type(&full));
        }
    } else {
        let named = json!({"catalog": case["catalog"].as_str().unwrap_or("fake_assorted_rule")});
        parts.catalog(&named)?;
        types = parts.tables[0].types().to_vec();
    }
    for of in case["candidates"].as_array().into_iter().flatten() {
        let (Some(name), Some(price)) = (of["type"].as_str(), of["price"].as_f64()) else { continue };
        if parts.symbols.get(name).is_none_or(|n| types.iter().all(|t| t.name != n)) {
            types.push(parts.fake_type(&json!({
                "name": name, "capacity": {"cpu_m": 32_000, "memory_bytes": 1_i64 << 36, "pods": 100},
                "offerings": [{"zone": "test-zone-1", "capacity_type": of["capacity_type"], "price": price, "available": false}],
            })));
        }
    }
    parts.tables = vec![TypeTable::new(types, &parts.symbols)];
    Ok(())
}

/// The type of a candidate: named, by rank among those of its capacity type, or the cheapest.
fn type_of(parts: &Parts, case: &Value, of: &Value) -> usize {
    let types = parts.tables[0].types();
    let named = of["type"].as_str().and_then(|n| parts.symbols.get(n)).and_then(|n| parts.tables[0].find(n));
    let wanted = kind(&of["capacity_type"]);
    let mut ranked: Vec<(Usd, usize)> = types
        .iter()
        .enumerate()
        .filter_map(|(at, t)| {
            let own = t.offerings.iter().filter(|o| o.capacity_type == wanted).map(|o| o.price).min();
            own.map(|p| (p, at))
        })
        .collect();
    ranked.sort_unstable();
    let rank = of["rank"].as_str().unwrap_or_default();
    let within = !case["catalog_size"].is_null() && rank.is_empty();
    let chosen = match () {
        () if within => ranked.get(ranked.len().min(15) - 1),
        () if rank.contains("most expensive") => ranked.last(),
        () => ranked.first(),
    };
    named.or(chosen.map(|(_, at)| *at)).unwrap_or(0)
}

pub(super) fn consolidation(case: &Value) -> Got {
    if !case["replacement_types_in"].is_null() {
        return same_type_filter(case);
    }
    let mut parts = Parts::new();
    consolidation_types(&mut parts, case)?;
    let pool = open_pool(&mut parts, "default");
    if !case["nodepool_requirements"].is_null() {
        parts.pools[pool].requirements = pool_requirements(&case["nodepool_requirements"], &mut parts.symbols)?;
    }
    parts.options.spot_to_spot = case["spot_to_spot_gate"] == json!(true);
    if case["static_pool"] == json!(true) {
        parts.pools[pool].replicas = Some(2);
    }
    let fit = case["pods_fit"].as_str().unwrap_or_default();
    let mut spec = json!({"labels": { COMMON.0: COMMON.1 }});
    if fit.contains("anti-affinity") || fit.contains("two new") || fit.contains("more than one") {
        spec["anti_affinity"] = json!([{"topology_key": "kubernetes.io/hostname", "selector": { COMMON.0: COMMON.1 }}]);
    }
    if fit.contains("nowhere") {
        spec["node_selector"] = json!({"only": "here"});
    }
    let shape = parts.shape(&spec)?;
    let (only, here) = (parts.symbols.intern("only"), parts.symbols.intern("here"));
    let list = match case["candidates"].as_array() {
        Some(list) => list.clone(),
        None => {
            let number = number(case, "nodes").unwrap_or(2);
            (0..number).map(|n| json!({"name": format!("n{n}"), "pods": if number == 2 { 2 - n } else { 1 }})).collect()
        }
    };
    let total = number(case, "pods").unwrap_or(list.len() as u64);
    let told: u64 = list.iter().filter_map(|c| number(c, "pods")).sum();
    let each = |of: &Value| number(of, "pods").unwrap_or(total.saturating_sub(told) / list.len().max(1) as u64);
    let single = fit.contains("only a node whose pool");
    for (n, of) in list.iter().enumerate().take(if single { 1 } else { list.len() }) {
        let at = type_of(&parts, case, of);
        let name = of["name"].as_str().map_or_else(|| format!("n{n}"), str::to_owned);
        let pods = each(of).max(1);
        let node = add_node(&mut parts, &name, pool, at, kind(&of["capacity_type"]), pods, shape);
        // Nodes of no particular type are large, whatever their type is said to be.
        if of["type"].is_null() && of["rank"].is_null() {
            let large = parts.fake_type(
                &json!({"name": "-", "capacity": {"cpu_m": 32_000, "memory_bytes": 1_i64 << 36, "pods": 100}}),
            );
            parts.nodes[node].allocatable = large.capacity;
        }
        if fit.contains("nowhere") && n == 0 {
            parts.nodes[node].labels.set(only, here);
        }
        if fit.contains("nowhere") && n > 0 {
            parts.nodes[node].do_not_disrupt = true;
        }
    }
    for of in case["unmanaged_nodes"].as_array().into_iter().flatten() {
        let mut node = NodeView::new(parts.symbols.intern("unmanaged"));
        node.allocatable = super::spec::resources(of, &mut parts.symbols);
        parts.nodes.push(node);
    }
    if single || fit.contains("uninitialized") || fit.contains("not initialized") {
        let other = if single { open_pool(&mut parts, "never") } else { pool };
        if single {
            parts.pools[other].disruption.consolidate_after = None;
        }
        let at = type_of(&parts, case, &Value::Null);
        let node = add_node(&mut parts, "other", other, at, CapacityType::OnDemand, 0, shape);
        if !single {
            parts.nodes[node].initialized = None;
        }
    }
    let mut pending = Vec::new();
    if !case["other_pending_pod"].is_null() {
        let shape = parts.shape(&json!({"node_selector": {"no-such-label": "at all"}}))?;
        pending.push(PendingPod { uid: 1_000_000, shape, created: SimTime::ZERO });
    }
    let before = parts.world().price();
    let command = decide(&parts, &pending);
    if let Some(c) = &command {
        same("dearer than before", false, c.worst_replacement_price >= c.price || c.price > before)?;
        same(
            "candidates twice",
            true,
            candidates_for(&parts.world(), Method::SingleNode, &[]).len() >= c.candidates.len(),
        )?;
    }
    for (key, want) in case["expect"].as_object().into_iter().flatten() {
        let own = command.as_ref();
        match key.as_str() {
            "decision" => same(key, want.as_str(), Some(word(own)))?,
            "removed" => same(key, want.as_u64(), Some(own.map_or(0, |c| c.candidates.len() as u64)))?,
            "new_nodes" => same(key, want.as_u64(), Some(own.map_or(0, |c| c.replacements.len() as u64)))?,
            "removed_nodes" => {
                let wanted: BTreeSet<&str> = want.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let got = own.into_iter().flat_map(|c| &c.candidates).map(|c| parts.symbols.text(c.name));
                same(key, wanted, got.collect())?;
            }
            "excludes_candidate_type" => {
                let gone: Vec<Option<usize>> =
                    own.into_iter().flat_map(|c| &c.candidates).map(|c| parts.nodes[c.node].instance_type).collect();
                let kept = own.into_iter().flat_map(|c| &c.replacements).flat_map(|r| &r.types);
                same(key, want.as_bool(), Some(kept.into_iter().all(|t| !gone.contains(&Some(*t)))))?;
            }
            "capacity_type" | "replacement_capacity_type" => {
                let set = own
                    .and_then(|c| c.replacements.first())
                    .and_then(|r| r.requirements.get(parts.known.capacity_type));
                let got = set.and_then(|s| s.single()).map(|v| parts.symbols.text(v));
                same(key, want.as_str(), got)?;
            }
            _ => return Err(format!("what is `{key}`?")),
        }
    }
    Ok(())
}
