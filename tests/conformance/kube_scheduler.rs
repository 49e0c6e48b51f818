//! The families of `tests/vectors/kubernetes` about the scheduler: filters, scores, spread, preemption. Where the
//! scheduler with its memory gives an answer, it is asked, so that what runs is what is checked.

use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::object::{
    Effect, HostPort, Labels, NodeSelectorTerm, Operator, PodAffinityTerm, PodSpec, PreemptionPolicy, Requirement,
    Resources, Selector, SpreadConstraint, Symbols, Taint, Toleration, WhenUnsatisfiable,
};
use simctl::kubernetes::scheduler::{
    BalancedFormula, Budget, Candidate, Code, Filters, Node, NodeId, PodKey, Profile, QueueSpec, Scheduler,
    ScoringStrategy, ShapeId, ShapePoint, Weights, filter, score,
};

use crate::Outcome;

type Got = Result<Value, String>;

/// Runs a case; `None` where nothing is built for its family.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    if !matches!(family, "scheduler_filter" | "scheduler_score" | "topology_spread" | "preemption") {
        return None;
    }
    let kind = case["kind"].as_str().unwrap_or_default();
    let (input, expected) = (&case["input"], &case["expected"]);
    let got = match kind {
        "resource_fit" => resource_fit(input, expected),
        "taint_toleration" if family == "scheduler_filter" => taints(input),
        "node_affinity" if family == "scheduler_filter" => affinity(input),
        "host_ports" => ports(input),
        "unschedulable" => cordon(input),
        "node_name" => node_name(input),
        "least_allocated" | "most_allocated" | "requested_to_capacity_ratio" | "balanced_allocation" => {
            resource_score(kind, input)
        }
        "piecewise_linear" => piecewise(input),
        "taint_toleration" | "node_affinity" | "image_locality" => node_score(kind, input),
        "normalize" => normalize(input),
        "feasible_nodes" => feasible(input),
        "queue_backoff" => backoff(input),
        "select_host" => select_host(input, expected),
        "spread_filter" => spread_filter(input),
        "spread_score" => spread_score(input),
        "candidates" | "choose_node" | "post_filter" => preemption(kind, input, expected),
        "eligible" => eligible(input),
        other => Err(format!("the kind `{other}` is not known")),
    };
    Some(match got {
        Err(problem) => Outcome::Failed(problem),
        Ok(got) if got == *expected => Outcome::Passed,
        Ok(got) => Outcome::Failed(format!("expected {expected}, got {got}")),
    })
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn whole(value: &Value, key: &str) -> Result<i64, String> {
    value[key].as_i64().ok_or_else(|| format!("`{key}` is not a whole number"))
}

fn resources(value: &Value, symbols: &mut Symbols) -> Resources {
    let mut all = Resources::default();
    for (name, amount) in value.as_object().into_iter().flatten() {
        let amount = amount.as_i64().unwrap_or(0);
        match name.as_str() {
            "cpu" => all.cpu_m = amount,
            "memory" => all.memory = amount,
            "ephemeral-storage" => all.ephemeral_storage = amount,
            "pods" => all.pods = amount,
            other => {
                let name = symbols.intern(other);
                all.set_extended(name, amount);
            }
        }
    }
    all
}

fn labels(value: &Value, symbols: &mut Symbols) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(k, v)| (symbols.intern(k), symbols.intern(v.as_str().unwrap_or_default()))).collect()
}

fn requirements(value: &[Value], symbols: &mut Symbols) -> Vec<Requirement> {
    let operator = |text: &str| match text {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        _ => Operator::Lt,
    };
    let mut made = Vec::new();
    for r in value {
        made.push(Requirement {
            key: symbols.intern(text(r, "key")),
            operator: operator(text(r, "op")),
            values: list(r, "values").iter().map(|v| symbols.intern(v.as_str().unwrap_or_default())).collect(),
        });
    }
    made
}

fn selector(value: &Value, symbols: &mut Symbols) -> Option<Selector> {
    value.as_array().map(|r| Selector { requirements: requirements(r, symbols) })
}

fn terms(value: &Value, symbols: &mut Symbols) -> Option<Vec<NodeSelectorTerm>> {
    Some(value.as_array()?.iter().map(|t| term(t, symbols)).collect())
}

fn term(value: &Value, symbols: &mut Symbols) -> NodeSelectorTerm {
    NodeSelectorTerm {
        expressions: requirements(list(value, "expressions"), symbols),
        names: requirements(list(value, "fields"), symbols),
    }
}

fn effect(text: &str) -> Option<Effect> {
    match text {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

fn node_taints(value: &[Value], symbols: &mut Symbols) -> Vec<Taint> {
    value
        .iter()
        .map(|t| Taint {
            key: symbols.intern(text(t, "key")),
            value: symbols.intern(text(t, "value")),
            effect: effect(text(t, "effect")).unwrap_or(Effect::NoSchedule),
        })
        .collect()
}

fn tolerations(value: &[Value], symbols: &mut Symbols) -> Vec<Toleration> {
    value
        .iter()
        .map(|t| Toleration {
            key: Some(text(t, "key")).filter(|k| !k.is_empty()).map(|k| symbols.intern(k)),
            value: (text(t, "operator") != "Exists").then(|| symbols.intern(text(t, "value"))),
            effect: effect(text(t, "effect")),
        })
        .collect()
}

/// What the containers of a pod request: really, and as scores see it.
fn requests(pod: &Value, symbols: &mut Symbols) -> (Resources, i64, i64) {
    let (mut sum, mut most) = (Resources::default(), Resources::default());
    let (mut score, mut score_most) = ([0, 0], [0_i64, 0]);
    let defaults = |c: &Value| {
        [c["requests"]["cpu"].as_i64().unwrap_or(100), c["requests"]["memory"].as_i64().unwrap_or(200 * 1024 * 1024)]
    };
    for container in list(pod, "containers") {
        sum.add(&resources(&container["requests"], symbols));
        let own = defaults(container);
        score = [score[0] + own[0], score[1] + own[1]];
    }
    for container in list(pod, "init_containers") {
        most.raise_to(&resources(&container["requests"], symbols));
        let own = defaults(container);
        score_most = [score_most[0].max(own[0]), score_most[1].max(own[1])];
    }
    sum.raise_to(&most);
    let overhead = resources(&pod["overhead"], symbols);
    sum.add(&overhead);
    sum.pods = 1;
    (sum, score[0].max(score_most[0]) + overhead.cpu_m, score[1].max(score_most[1]) + overhead.memory)
}

fn pod_spec(pod: &Value, symbols: &mut Symbols) -> PodSpec {
    let mut spec = PodSpec::new(symbols.intern(text(pod, "namespace")));
    spec.labels = labels(&pod["labels"], symbols);
    (spec.requests, spec.score_cpu_m, spec.score_memory) = requests(pod, symbols);
    spec.node_selector = labels(&pod["node_selector"], symbols).iter().collect();
    spec.required_node_affinity = terms(&pod["required_node_terms"], symbols);
    spec.tolerations = tolerations(list(pod, "tolerations"), symbols);
    spec.priority = pod["priority"].as_i64().unwrap_or(0) as i32;
    if text(pod, "preemption_policy") == "Never" {
        spec.preemption_policy = PreemptionPolicy::Never;
    }
    for c in list(pod, "constraints") {
        spec.spread.push(SpreadConstraint {
            max_skew: c["max_skew"].as_i64().unwrap_or(1),
            topology_key: symbols.intern(text(c, "topology_key")),
            when_unsatisfiable: match text(c, "when_unsatisfiable") {
                "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
                _ => WhenUnsatisfiable::DoNotSchedule,
            },
            selector: selector(&c["selector"], symbols),
            min_domains: c["min_domains"].as_i64(),
            honor_node_affinity: text(c, "node_affinity_policy") != "Ignore",
            honor_node_taints: text(c, "node_taints_policy") == "Honor",
            match_label_keys: list(c, "match_label_keys")
                .iter()
                .map(|k| symbols.intern(k.as_str().unwrap_or_default()))
                .collect(),
        });
    }
    for t in list(pod, "required_anti_affinity") {
        spec.required_anti_affinity.push(PodAffinityTerm {
            topology_key: symbols.intern(text(t, "topology_key")),
            selector: selector(&t["selector"], symbols),
            namespaces: Vec::new(),
        });
    }
    spec
}

fn node(value: &Value, symbols: &mut Symbols) -> Node {
    let mut node = Node::new(symbols.intern(text(value, "name")), resources(&value["allocatable"], symbols));
    node.labels = labels(&value["labels"], symbols);
    node.taints = node_taints(list(value, "taints"), symbols);
    for image in list(value, "images") {
        let mut names: Vec<_> = list(image, "names").iter().filter_map(Value::as_str).map(score::image_name).collect();
        names.sort();
        names.dedup();
        let size = image["size_bytes"].as_i64().unwrap_or(0);
        node.images.extend(names.iter().map(|n| (symbols.intern(n), size)));
    }
    node
}

/// A scheduler with the nodes and pods of a case, and their names.
struct World {
    scheduler: Scheduler,
    nodes: Vec<(String, NodeId)>,
    pods: Vec<String>,
}

impl World {
    fn new(profile: Profile, nodes: &[&[Value]], pods: &[Value]) -> Self {
        let mut scheduler = Scheduler::new(profile);
        let mut ids = Vec::new();
        for value in nodes.iter().copied().flatten() {
            let node = node(value, scheduler.symbols_mut());
            ids.push((text(value, "name").to_owned(), scheduler.add_node(node)));
        }
        let mut world = Self { scheduler, nodes: ids, pods: Vec::new() };
        for pod in pods {
            let spec = pod_spec(pod, world.scheduler.symbols_mut());
            let shape = world.scheduler.add_shape(spec);
            let key = PodKey(world.pods.len() as u64);
            world.pods.push(text(pod, "name").to_owned());
            let Some(node) = world.id(text(pod, "node")) else { continue };
            let start = pod["start_time_ns"].as_i64().map_or(SimTime::MAX, |ns| {
                SimTime::from_nanos((i128::from(ns) + (1 << 63)).clamp(0, i128::from(u64::MAX - 1)) as u64)
            });
            world.scheduler.place(key, shape, node, start);
            if pod["deleting"] == true {
                world.scheduler.set_terminating(key, pod["terminating_by_preemption"] == true);
            }
        }
        world
    }

    fn id(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(n, _)| n == name).map(|(_, id)| *id)
    }

    fn shape(&mut self, pod: &Value) -> ShapeId {
        let spec = pod_spec(pod, self.scheduler.symbols_mut());
        self.scheduler.add_shape(spec)
    }

    /// The scores of the first nodes by name.
    fn scores(&mut self, shape: ShapeId, first: usize) -> Got {
        let ids: Vec<NodeId> = self.nodes[..first].iter().map(|(_, id)| *id).collect();
        let scores = self.scheduler.scores(shape, &ids);
        let names = self.nodes[..first].iter().map(|(n, _)| n.clone());
        Ok(json!({"scores": names.zip(scores).map(|(n, s)| (n, json!(s))).collect::<serde_json::Map<_, _>>()}))
    }
}

fn only(filters: Filters) -> Profile {
    Profile { filters, weights: Weights::NONE, ..Profile::default() }
}

fn verdict(code: Code) -> Got {
    Ok(json!({"fits": code == Code::Success, "code": code.name()}))
}

fn resource_fit(input: &Value, expected: &Value) -> Got {
    let words = |key| list(input, key).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut profile = only(Filters { fit: true, ..Filters::NONE });
    profile.ignored_resources = words("ignored_resources");
    profile.ignored_resource_groups = words("ignored_resource_groups");
    let name = json!({"name": "n", "allocatable": input["allocatable"]});
    let mut pods = list(input, "existing_pods").to_vec();
    for pod in &mut pods {
        pod["node"] = json!("n");
    }
    let mut world = World::new(profile.clone(), &[&[name]], &pods);
    let shape = world.shape(&input["pod"]);
    let node = world.nodes[0].1;
    let spec = world.scheduler.shape(shape).ok_or("the shape is there")?;
    let allocatable = world.scheduler.allocatable(node).ok_or("the node is there")?;
    let symbols = world.scheduler.symbols();
    let lacking = filter::fit(&spec.requests, &world.scheduler.requested(node), allocatable, &profile, symbols);
    let code = filter::fit_code(&lacking);
    if code != world.scheduler.fits(shape, node) {
        return Err(format!("the scheduler says {:?}, the rule {code:?}", world.scheduler.fits(shape, node)));
    }
    let mut names: Vec<&str> = lacking.iter().map(|l| l.resource.text(symbols)).collect();
    names.sort_unstable();
    let mut got = json!({"fits": lacking.is_empty(), "insufficient": names});
    if let Some(details) = expected["details"].as_array() {
        let order = |d: &Value| details.iter().position(|e| e["resource"] == d["resource"]);
        let mut own: Vec<Value> = lacking
            .iter()
            .map(|l| {
                json!({"resource": l.resource.text(symbols), "requested": l.requested, "used": l.used,
                    "capacity": l.capacity})
            })
            .collect();
        own.sort_by_key(order);
        got["details"] = json!(own);
    }
    Ok(got)
}

fn taints(input: &Value) -> Got {
    let profile = only(Filters { taints: true, ..Filters::NONE });
    let mut world = World::new(profile, &[&[json!({"name": "n", "taints": input["taints"]})]], &[]);
    let shape = world.shape(&json!({"tolerations": input["tolerations"]}));
    verdict(world.scheduler.fits(shape, world.nodes[0].1))
}

fn affinity(input: &Value) -> Got {
    let mut symbols = Symbols::default();
    let added_affinity = terms(&input["added_required_terms"], &mut symbols);
    let profile = Profile { added_affinity, ..only(Filters { node_affinity: true, ..Filters::NONE }) };
    let mut scheduler = Scheduler::with_symbols(profile, symbols);
    let node = node(&input["node"], scheduler.symbols_mut());
    let mut spec = pod_spec(&json!({"node_selector": input["node_selector"]}), scheduler.symbols_mut());
    spec.required_node_affinity = terms(&input["required_terms"], scheduler.symbols_mut());
    let (shape, node) = (scheduler.add_shape(spec), scheduler.add_node(node));
    verdict(scheduler.fits(shape, node))
}

fn host_ports(value: &[Value], symbols: &mut Symbols) -> Vec<HostPort> {
    value
        .iter()
        .map(|p| HostPort {
            protocol: symbols.intern(match text(p, "protocol") {
                "" => "TCP",
                protocol => protocol,
            }),
            ip: Some(text(p, "host_ip")).filter(|ip| !matches!(*ip, "" | "0.0.0.0")).map(|ip| symbols.intern(ip)),
            port: p["port"].as_u64().unwrap_or(0) as u16,
        })
        .collect()
}

fn ports(input: &Value) -> Got {
    let mut scheduler = Scheduler::new(only(Filters { host_ports: true, ..Filters::NONE }));
    let namespace = scheduler.symbols_mut().intern("");
    let mut shape = |key| {
        let mut spec = PodSpec::new(namespace);
        spec.host_ports = host_ports(list(input, key), scheduler.symbols_mut());
        scheduler.add_shape(spec)
    };
    let (wanted, used) = (shape("wanted"), shape("used"));
    let node = scheduler.add_node(Node::new(namespace, Resources::default()));
    scheduler.place(PodKey(1), used, node, SimTime::ZERO);
    verdict(scheduler.fits(wanted, node))
}

fn cordon(input: &Value) -> Got {
    let profile = only(Filters { unschedulable: true, ..Filters::NONE });
    let mut world = World::new(profile, &[&[json!({"name": "n"})]], &[]);
    let shape = world.shape(&json!({"tolerations": input["tolerations"]}));
    let id = world.nodes[0].1;
    let mut node = world.scheduler.node(id).ok_or("the node is there")?.clone();
    node.unschedulable = input["node_unschedulable"] == true;
    world.scheduler.update_node(id, node);
    verdict(world.scheduler.fits(shape, id))
}

fn node_name(input: &Value) -> Got {
    let profile = only(Filters { node_name: true, ..Filters::NONE });
    let mut world = World::new(profile, &[&[json!({"name": input["node"]})]], &[]);
    let symbols = world.scheduler.symbols_mut();
    let mut spec = PodSpec::new(symbols.intern(""));
    spec.node_name = Some(text(input, "pod_node_name")).filter(|n| !n.is_empty()).map(|n| symbols.intern(n));
    let shape = world.scheduler.add_shape(spec);
    verdict(world.scheduler.fits(shape, world.nodes[0].1))
}

fn resource_score(kind: &str, input: &Value) -> Got {
    let mut profile = only(Filters::NONE);
    let configured = list(input, "resources");
    let weights: Vec<(String, i64)> =
        configured.iter().map(|r| (text(r, "name").to_owned(), r["weight"].as_i64().unwrap_or(1))).collect();
    if kind == "balanced_allocation" {
        profile.weights.balanced = 1;
        profile.balanced = BalancedFormula::Level;
        profile.balanced_resources = weights.into_iter().map(|(n, _)| n).collect();
    } else {
        profile.weights.fit = 1;
        profile.scoring_resources = weights;
        profile.scoring = match kind {
            "least_allocated" => ScoringStrategy::LeastAllocated,
            "most_allocated" => ScoringStrategy::MostAllocated,
            _ => ScoringStrategy::RequestedToCapacityRatio(
                list(input, "shape")
                    .iter()
                    .map(|p| Ok(ShapePoint { utilization: whole(p, "utilization")?, score: whole(p, "score")? }))
                    .collect::<Result<_, String>>()?,
            ),
        };
    }
    let nodes = list(input, "nodes");
    let mut world = World::new(profile, &[nodes], list(input, "existing_pods"));
    let shape = world.shape(&input["pod"]);
    if kind == "balanced_allocation" && !world.scheduler.is_balanced(shape) {
        return Ok(json!({"skip": true}));
    }
    world.scores(shape, nodes.len())
}

fn piecewise(input: &Value) -> Got {
    let points: Vec<(i64, i64)> =
        list(input, "points").iter().map(|p| Ok((whole(p, "x")?, whole(p, "y")?))).collect::<Result<_, String>>()?;
    Ok(json!({"y": score::broken_line(points.into_iter(), whole(input, "x")?)}))
}

fn node_score(kind: &str, input: &Value) -> Got {
    let mut profile = only(Filters::NONE);
    match kind {
        "taint_toleration" => profile.weights.taints = 1,
        "node_affinity" => profile.weights.node_affinity = 1,
        _ => profile.weights.image_locality = 1,
    }
    let nodes = list(input, "nodes");
    let mut world = World::new(profile, &[nodes], &[]);
    let symbols = world.scheduler.symbols_mut();
    let mut spec = pod_spec(&json!({"tolerations": input["tolerations"]}), symbols);
    for preferred in list(input, "preferred_terms") {
        spec.preferred_node_affinity.push((whole(preferred, "weight")?, term(preferred, symbols)));
    }
    let images = list(input, "container_images").iter().filter_map(Value::as_str);
    spec.images = images.map(|i| symbols.intern(&score::image_name(i))).collect();
    let shape = world.scheduler.add_shape(spec);
    world.scores(shape, nodes.len())
}

fn normalize(input: &Value) -> Got {
    let scores: Vec<i64> = list(input, "scores").iter().filter_map(Value::as_i64).collect();
    let highest = scores.iter().copied().max().unwrap_or(0);
    let (top, reverse) = (whole(input, "max")?, input["reverse"] == true);
    let done: Vec<i64> = scores.iter().map(|s| score::normalized_to(*s, highest, top, reverse)).collect();
    Ok(json!({"scores": done}))
}

fn feasible(input: &Value) -> Got {
    let nodes = usize::try_from(whole(input, "nodes")?).map_err(|e| e.to_string())?;
    let percentage = input["percentage_of_nodes_to_score"].as_i64().unwrap_or(0);
    Ok(json!({"nodes_to_find": score::feasible_nodes_to_find(percentage, nodes)}))
}

fn backoff(input: &Value) -> Got {
    let nanos = |key| Ok::<_, String>(SimDuration::from_nanos(whole(input, key)? as u64));
    let spec =
        QueueSpec { initial_backoff: nanos("initial_ns")?, max_backoff: nanos("max_ns")?, ..QueueSpec::default() };
    Ok(json!({"backoff_ns": spec.backoff(whole(input, "attempts")? as u32).as_nanos()}))
}

/// Every draw picks one of those expected, and each of them is picked by some draw.
fn select_host(input: &Value, expected: &Value) -> Got {
    let pairs: Vec<(&String, i64)> =
        input["scores"].as_object().into_iter().flatten().map(|(n, s)| (n, s.as_i64().unwrap_or(0))).collect();
    let scores: Vec<i64> = pairs.iter().map(|(_, s)| *s).collect();
    let draws = (0..64_u64).map(|d| d << 58);
    let mut picked: Vec<&String> = draws.filter_map(|d| score::select_host(&scores, d)).map(|at| pairs[at].0).collect();
    picked.sort();
    picked.dedup();
    let mut names: Vec<&str> = list(expected, "any_of").iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    if picked == names { Ok(expected.clone()) } else { Ok(json!({"any_of": picked})) }
}

fn spread_filter(input: &Value) -> Got {
    let profile = only(Filters { spread: true, ..Filters::NONE });
    let mut world = World::new(profile, &[list(input, "nodes")], list(input, "existing_pods"));
    let shape = world.shape(&input["pod"]);
    let codes = world.nodes.iter().map(|(n, id)| (n.clone(), json!(world.scheduler.fits(shape, *id).name())));
    Ok(json!({"code": codes.collect::<serde_json::Map<_, _>>()}))
}

fn spread_score(input: &Value) -> Got {
    let profile = Profile { weights: Weights { spread: 1, ..Weights::NONE }, ..only(Filters::NONE) };
    let candidates = list(input, "candidate_nodes");
    let mut world = World::new(profile, &[candidates, list(input, "other_nodes")], list(input, "existing_pods"));
    let symbols = world.scheduler.symbols_mut();
    let mut spec = pod_spec(&input["pod"], symbols);
    if input["require_all_topologies"] == false {
        // The scheduler makes the cluster's default constraints itself.
        let own = std::mem::take(&mut spec.spread);
        let said: Vec<_> = own.iter().map(|c| (c.max_skew, symbols.text(c.topology_key))).collect();
        if said != [(3, "kubernetes.io/hostname"), (5, "topology.kubernetes.io/zone")] {
            return Err("the constraints are not the cluster's default".into());
        }
        spec.owner_selector = own.into_iter().next().and_then(|c| c.selector);
    }
    let shape = world.scheduler.add_shape(spec);
    world.scores(shape, candidates.len())
}

fn filters(input: &Value) -> Result<Filters, String> {
    let mut filters = Filters::NONE;
    for name in list(input, "filters") {
        match name.as_str().unwrap_or_default() {
            "NodeResourcesFit" => filters.fit = true,
            "PodTopologySpread" => filters.spread = true,
            "InterPodAffinity" => filters.inter_pod_affinity = true,
            "NodeAffinity" => filters.node_affinity = true,
            "TaintToleration" => filters.taints = true,
            "NodeUnschedulable" => filters.unschedulable = true,
            "NodeName" => filters.node_name = true,
            "NodePorts" => filters.host_ports = true,
            other => return Err(format!("the filter `{other}` is not known")),
        }
    }
    Ok(filters)
}

fn preemption(kind: &str, input: &Value, expected: &Value) -> Got {
    let mut world = World::new(only(filters(input)?), &[list(input, "nodes")], list(input, "existing_pods"));
    let shape = world.shape(&input["pod"]);
    let namespace = world.scheduler.shape(shape).ok_or("the shape is there")?.namespace;
    let mut budgets = Vec::new();
    for budget in list(input, "pdbs") {
        let key = |name: &Value| world.pods.iter().position(|p| Some(p.as_str()) == name.as_str());
        budgets.push(Budget {
            namespace,
            selector: selector(&budget["selector"], world.scheduler.symbols_mut()),
            disruptions_allowed: whole(budget, "disruptions_allowed")?,
            already_disrupted: list(budget, "already_disrupted")
                .iter()
                .filter_map(key)
                .map(|at| PodKey(at as u64))
                .collect(),
        });
    }
    let unschedulable = |name: &str| {
        input["filter_status"].as_object().is_none_or(|s| s.get(name).is_some_and(|c| c == "Unschedulable"))
    };
    let nodes: Vec<NodeId> = world.nodes.iter().filter(|(n, _)| unschedulable(n)).map(|(_, id)| *id).collect();
    let limit = input["candidate_limit"].as_u64().map_or(nodes.len(), |l| l as usize);
    let offset = input["start_offset"].as_u64().unwrap_or(0) as usize;
    let incoming = PodKey(u64::MAX);
    let before = format!("{:?}", world.nodes.iter().map(|(_, id)| world.scheduler.requested(*id)).collect::<Vec<_>>());
    let (candidates, _) = world.scheduler.candidates(incoming, shape, &nodes, &budgets, offset, limit);
    let after = format!("{:?}", world.nodes.iter().map(|(_, id)| world.scheduler.requested(*id)).collect::<Vec<_>>());
    if before != after {
        return Err("the search changed the cluster".into());
    }
    let name = |id: NodeId| world.nodes.iter().find(|(_, i)| *i == id).map_or("", |(n, _)| n.as_str());
    let best = world.scheduler.best_candidate(&candidates).map(|at| name(candidates[at].node));
    match kind {
        "candidates" => {
            let show = |c: &Candidate| {
                let victims: Vec<&str> = c.victims.iter().map(|v| world.pods[v.0 as usize].as_str()).collect();
                json!({"node": name(c.node), "victims": victims, "pdb_violations": c.violations})
            };
            let mut got: Vec<Value> = candidates.iter().map(show).collect();
            let position = |c: &Value| list(expected, "candidates").iter().position(|e| e["node"] == c["node"]);
            got.sort_by_key(position);
            for (own, expected) in got.iter_mut().zip(list(expected, "candidates")) {
                let order = |v: &Value| list(expected, "victims").iter().position(|e| e == v);
                if let Some(victims) = own["victims"].as_array_mut() {
                    victims.sort_by_key(order);
                }
            }
            Ok(json!({"candidates": got}))
        }
        "choose_node" => match best {
            Some(best) if list(expected, "any_of").iter().any(|n| n == best) => Ok(expected.clone()),
            other => Ok(json!({"any_of": [other]})),
        },
        _ => Ok(json!({"nominated_node": best, "code": if best.is_some() { "Success" } else { "Unschedulable" }})),
    }
}

fn eligible(input: &Value) -> Got {
    let nominated = text(&input["pod"], "nominated_node");
    let nodes: Vec<Value> = list(input, "existing_pods").iter().map(|p| json!({"name": p["node"]})).collect();
    let mut world = World::new(only(Filters::NONE), &[&nodes], list(input, "existing_pods"));
    let shape = world.shape(&input["pod"]);
    let pod = PodKey(u64::MAX);
    if let Some(node) = world.id(nominated) {
        world.scheduler.nominate(pod, shape, node);
    }
    let status = match input["nominated_node_status"].as_str() {
        Some("UnschedulableAndUnresolvable") => Some(Code::Unresolvable),
        Some("Unschedulable") => Some(Code::Unschedulable),
        Some(_) => Some(Code::Success),
        None => None,
    };
    Ok(json!({"eligible": world.scheduler.eligible(pod, shape, status).is_ok()}))
}
