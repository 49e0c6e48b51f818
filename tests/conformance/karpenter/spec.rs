//! Pods, pools and catalogs of the vectors as the library's own types.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::karpenter::instance::{CapacityType, InstanceType, MIB, Offering, Overhead};
use simctl::kubernetes::karpenter::labels::WellKnown;
use simctl::kubernetes::karpenter::pool::{Budget, ConsolidationPolicy, Limits, NodePool, PoolRequirement, Reason};
use simctl::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use simctl::kubernetes::karpenter::table::TypeTable;
use simctl::kubernetes::karpenter::world::{NodeView, Options, World};
use simctl::kubernetes::object::{
    Effect, HostPort, Labels, NodeSelectorTerm, Operator, PodAffinityTerm, PodSpec, Requirement, Resources, Selector,
    SpreadConstraint, Symbols, Taint, Toleration, WhenUnsatisfiable,
};
use simctl::units::Usd;

/// The label that pods of the topology families carry.
pub(super) const COMMON: (&str, &str) = ("common", "true");

/// Everything that a world is made of.
pub(super) struct Parts {
    pub(super) symbols: Symbols,
    pub(super) known: WellKnown,
    pub(super) shapes: Vec<PodSpec>,
    pub(super) pools: Vec<NodePool>,
    pub(super) tables: Vec<TypeTable>,
    pub(super) nodes: Vec<NodeView>,
    pub(super) daemons: Vec<usize>,
    pub(super) options: Options,
    pub(super) now: SimTime,
}

impl Parts {
    pub(super) fn new() -> Self {
        let mut symbols = Symbols::default();
        let known = WellKnown::new(&mut symbols);
        Self {
            symbols,
            known,
            shapes: Vec::new(),
            pools: Vec::new(),
            tables: Vec::new(),
            nodes: Vec::new(),
            daemons: Vec::new(),
            options: Options::default(),
            now: SimTime::from_secs(3_600),
        }
    }

    pub(super) fn world(&self) -> World<'_> {
        World {
            now: self.now,
            start: Timestamp::UNIX_EPOCH,
            symbols: &self.symbols,
            known: &self.known,
            shapes: &self.shapes,
            pools: &self.pools,
            tables: &self.tables,
            nodes: &self.nodes,
            daemons: &self.daemons,
            options: self.options,
        }
    }

    /// A pod's shape, kept.
    pub(super) fn shape(&mut self, of: &Value) -> Result<usize, String> {
        let spec = pod(of, &mut self.symbols)?;
        let at = self.shapes.iter().position(|s| *s == spec);
        Ok(at.unwrap_or_else(|| {
            self.shapes.push(spec);
            self.shapes.len() - 1
        }))
    }

    /// The catalog that a case names or gives.
    pub(super) fn catalog(&mut self, case: &Value) -> Result<(), String> {
        let types = match (case["catalog"].as_str(), case["catalog_inline"].as_array()) {
            (_, Some(list)) => list.iter().map(|t| self.fake_type(t)).collect(),
            (Some("fake_assorted_rule"), _) => self.assorted(),
            (Some(name), _) => {
                let all = catalogs()?;
                let list = all[name].as_array().ok_or_else(|| format!("no catalog {name}"))?;
                list.iter().map(|t| self.fake_type(t)).collect()
            }
            (None, None) => {
                let all = catalogs()?;
                all["fake_default"].as_array().into_iter().flatten().map(|t| self.fake_type(t)).collect()
            }
        };
        self.tables = vec![TypeTable::new(types, &self.symbols)];
        Ok(())
    }

    pub(super) fn fake_type(&mut self, of: &Value) -> InstanceType {
        let s = &mut self.symbols;
        let name = s.intern(of["name"].as_str().unwrap_or_default());
        let offerings: Vec<Offering> =
            of["offerings"].as_array().into_iter().flatten().map(|o| offering(o, s)).collect();
        let capacity = resources(&of["capacity"], s);
        let overhead = Overhead { kube_reserved: resources(&of["overhead"], s), ..Overhead::default() };
        let mut labels = Requirements::default();
        labels.set(self.known.instance_type, ValueSet::of([name]));
        labels.set(self.known.arch, ValueSet::of([s.intern(of["arch"].as_str().unwrap_or("amd64"))]));
        let os: Vec<&str> = of["os"].as_array().map_or(vec!["linux"], |l| l.iter().filter_map(Value::as_str).collect());
        labels.set(self.known.os, ValueSet::of(os.into_iter().map(|o| s.intern(o))));
        labels.set(self.known.zone, ValueSet::of(offerings.iter().map(|o| o.zone)));
        let kinds = offerings.iter().map(|o| self.known.value_of(o.capacity_type));
        labels.set(self.known.capacity_type, ValueSet::of(kinds));
        InstanceType::new(name, labels, capacity, overhead, offerings, s)
    }

    fn assorted(&mut self) -> Vec<InstanceType> {
        let mut all = Vec::new();
        for cpu in [1_i64, 2, 4, 8, 16, 32, 64] {
            for gib in [1_i64, 2, 4, 8, 16, 32, 64, 128] {
                for zone in ["test-zone-1", "test-zone-2", "test-zone-3"] {
                    for kind in ["spot", "on-demand"] {
                        for os in ["linux", "windows"] {
                            for arch in ["amd64", "arm64"] {
                                let memory = gib << 30;
                                let price = 0.1 * cpu as f64 + 0.1 * memory as f64 / 1e9;
                                all.push(self.fake_type(&json!({
                                    "name": format!("{cpu}-cpu-{gib}-mem-{arch}-{os}-{zone}-{kind}"),
                                    "arch": arch, "os": [os],
                                    "capacity": {"cpu_m": cpu * 1_000, "memory_bytes": memory, "pods": 5},
                                    "overhead": {"cpu_m": 100, "memory_bytes": 10 * MIB},
                                    "offerings": [
                                        {"zone": zone, "capacity_type": kind, "price": price, "available": true}
                                    ],
                                })));
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// The pools of a case, or the default one.
    pub(super) fn pools(&mut self, case: &Value) -> Result<(), String> {
        match case["nodepools"].as_array() {
            Some(list) => {
                for of in list {
                    let pool = self.pool(of)?;
                    if !of["existing_usage"].is_null() {
                        // Capacity that is used up: a node without room.
                        let mut node = NodeView::new(self.symbols.intern("earlier"));
                        node.capacity = resources(&of["existing_usage"], &mut self.symbols);
                        (node.managed, node.pool) = (true, Some(self.pools.len()));
                        self.nodes.push(node);
                    }
                    self.pools.push(pool);
                }
            }
            None => {
                let mut pool = NodePool::new(self.symbols.intern("default"), 0);
                pool.limits.cpu_m = Some(2_000_000);
                self.pools.push(pool);
            }
        }
        Ok(())
    }

    fn pool(&mut self, of: &Value) -> Result<NodePool, String> {
        let mut pool = NodePool::new(self.symbols.intern(of["name"].as_str().unwrap_or("default")), 0);
        for (key, value) in of.as_object().into_iter().flatten() {
            match key.as_str() {
                "name" | "existing_usage" => {}
                "weight" => pool.weight = value.as_i64().and_then(|w| i32::try_from(w).ok()).unwrap_or(0),
                "requirements" => pool.requirements = pool_requirements(value, &mut self.symbols)?,
                "limits" => pool.limits = limits(value, &mut self.symbols),
                "labels" => pool.labels = labels(value, &mut self.symbols),
                "taints" => pool.taints = taints(value, &mut self.symbols),
                "policy" => pool.disruption.consolidation_policy = policy(value),
                _ => return Err(format!("unknown key of a pool: {key}")),
            }
        }
        Ok(pool)
    }
}

pub(super) fn policy(of: &Value) -> ConsolidationPolicy {
    match of.as_str() {
        Some("Balanced") => ConsolidationPolicy::Balanced,
        Some("WhenEmpty") => ConsolidationPolicy::WhenEmpty,
        _ => ConsolidationPolicy::WhenEmptyOrUnderutilized,
    }
}

pub(super) fn catalogs() -> Result<Value, String> {
    let root =
        std::env::var_os("SIMCTL_VECTORS").map(PathBuf::from).filter(|r| r.join("karpenter/catalogs.json").is_file());
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let file = root.unwrap_or_else(own).join("karpenter/catalogs.json");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    serde_json::from_str(&text).map_err(|e| e.to_string())
}

pub(super) fn usd(of: &Value) -> Usd {
    Usd::from_nanos((of.as_f64().unwrap_or(0.0) * 1e9).round() as i64)
}

pub(super) fn kind(of: &Value) -> CapacityType {
    match of.as_str() {
        Some("spot") => CapacityType::Spot,
        Some("reserved") => CapacityType::Reserved,
        _ => CapacityType::OnDemand,
    }
}

pub(super) fn offering(of: &Value, s: &mut Symbols) -> Offering {
    Offering {
        zone: s.intern(of["zone"].as_str().unwrap_or("test-zone-1")),
        capacity_type: kind(&of["capacity_type"]),
        price: usd(&of["price"]),
        available: of["available"] != json!(false),
    }
}

pub(super) fn resources(of: &Value, s: &mut Symbols) -> Resources {
    let mut all = Resources::default();
    for (key, value) in of.as_object().into_iter().flatten() {
        let amount = value.as_i64().unwrap_or(0);
        match key.as_str() {
            "cpu_m" => all.cpu_m = amount,
            "memory_bytes" => all.memory = amount,
            "memory_mib" => all.memory = amount * MIB,
            "pods" => all.pods = amount,
            name => {
                let name = s.intern(name);
                all.set_extended(name, amount);
            }
        }
    }
    all
}

fn limits(of: &Value, s: &mut Symbols) -> Limits {
    let mut all = Limits::default();
    for (key, value) in of.as_object().into_iter().flatten() {
        let amount = value.as_i64();
        match key.as_str() {
            "cpu_m" => all.cpu_m = amount,
            "memory_bytes" => all.memory = amount,
            "pods" => all.pods = amount,
            "nodes" => all.nodes = amount,
            name => all.extended.push((s.intern(name), amount.unwrap_or(0))),
        }
    }
    all
}

pub(super) fn labels(of: &Value, s: &mut Symbols) -> Labels {
    let pairs = of.as_object().into_iter().flatten();
    pairs.map(|(k, v)| (s.intern(k), s.intern(v.as_str().unwrap_or_default()))).collect()
}

fn effect(of: &Value) -> Effect {
    match of.as_str() {
        Some("PreferNoSchedule") => Effect::PreferNoSchedule,
        Some("NoExecute") => Effect::NoExecute,
        _ => Effect::NoSchedule,
    }
}

fn taints(of: &Value, s: &mut Symbols) -> Vec<Taint> {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let one = |t: &Value, s: &mut Symbols| Taint {
        key: s.intern(&text(&t["key"])),
        value: s.intern(&text(&t["value"])),
        effect: effect(&t["effect"]),
    };
    of.as_array().into_iter().flatten().map(|t| one(t, s)).collect()
}

fn operator(of: &Value) -> Result<Operator, String> {
    Ok(match of.as_str().unwrap_or_default() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        "Gte" => Operator::Gte,
        "Lte" => Operator::Lte,
        other => return Err(format!("unknown operator {other}")),
    })
}

pub(super) fn requirement(of: &Value, s: &mut Symbols) -> Result<Requirement, String> {
    let operator = operator(if of["op"].is_null() { &of["operator"] } else { &of["op"] })?;
    let values = of["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|v| s.intern(v)).collect();
    Ok(Requirement { key: s.intern(of["key"].as_str().ok_or("a requirement without a key")?), operator, values })
}

pub(super) fn pool_requirements(of: &Value, s: &mut Symbols) -> Result<Vec<PoolRequirement>, String> {
    let list = of.as_array().into_iter().flatten();
    list.map(|r| {
        let min_values = r["min_values"].as_u64().and_then(|m| u32::try_from(m).ok());
        Ok(PoolRequirement { requirement: requirement(r, s)?, min_values })
    })
    .collect()
}

fn term(of: &Value, s: &mut Symbols) -> Result<NodeSelectorTerm, String> {
    let list = of.as_array().into_iter().flatten();
    let expressions = list.map(|r| requirement(r, s)).collect::<Result<_, _>>()?;
    Ok(NodeSelectorTerm { expressions, names: Vec::new() })
}

fn selector(of: &Value, s: &mut Symbols) -> Selector {
    let pairs = of.as_object().into_iter().flatten();
    let one = |(k, v): (&String, &Value), s: &mut Symbols| Requirement {
        key: s.intern(k),
        operator: Operator::In,
        values: vec![s.intern(v.as_str().unwrap_or_default())],
    };
    Selector { requirements: pairs.map(|p| one(p, s)).collect() }
}

fn affinity_term(of: &Value, s: &mut Symbols) -> PodAffinityTerm {
    let selector = (!of["selector"].is_null()).then(|| selector(&of["selector"], s));
    PodAffinityTerm {
        topology_key: s.intern(of["topology_key"].as_str().unwrap_or_default()),
        selector,
        namespaces: Vec::new(),
    }
}

fn affinity_terms(of: &Value, s: &mut Symbols) -> Vec<PodAffinityTerm> {
    of.as_array().into_iter().flatten().map(|t| affinity_term(t, s)).collect()
}

fn weighted(of: &Value, s: &mut Symbols) -> Vec<(i64, PodAffinityTerm)> {
    let list = of.as_array().into_iter().flatten();
    list.map(|t| (t["weight"].as_i64().unwrap_or(1), affinity_term(t, s))).collect()
}

fn spread(of: &Value, s: &mut Symbols) -> Result<SpreadConstraint, String> {
    for key in of.as_object().into_iter().flatten().map(|(k, _)| k.as_str()) {
        let known = [
            "key",
            "max_skew",
            "when",
            "min_domains",
            "match_label_keys",
            "selector",
            "node_affinity_policy",
            "node_taints_policy",
        ];
        if !known.contains(&key) {
            return Err(format!("unknown key of a spread constraint: {key}"));
        }
    }
    let common = json!({ COMMON.0: COMMON.1 });
    let chosen = if of["selector"].is_null() { &common } else { &of["selector"] };
    let keys = of["match_label_keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(SpreadConstraint {
        max_skew: of["max_skew"].as_i64().unwrap_or(1),
        topology_key: s.intern(of["key"].as_str().unwrap_or_default()),
        when_unsatisfiable: match of["when"].as_str() {
            Some("ScheduleAnyway") => WhenUnsatisfiable::ScheduleAnyway,
            _ => WhenUnsatisfiable::DoNotSchedule,
        },
        match_label_keys: keys.map(|k| s.intern(k)).collect(),
        selector: Some(selector(chosen, s)),
        min_domains: of["min_domains"].as_i64(),
        honor_node_affinity: of["node_affinity_policy"] != "Ignore",
        honor_node_taints: of["node_taints_policy"] == "Honor",
    })
}

fn host_port(of: &Value, s: &mut Symbols) -> HostPort {
    let first = |keys: &[&str]| keys.iter().map(|k| &of[*k]).find(|v| !v.is_null()).cloned().unwrap_or(Value::Null);
    let port = of.as_u64().or_else(|| first(&["port", "host_port"]).as_u64()).unwrap_or(0);
    let protocol = first(&["protocol"]);
    let ip = first(&["ip", "host_ip"]);
    HostPort {
        protocol: s.intern(protocol.as_str().unwrap_or("TCP")),
        ip: ip.as_str().filter(|i| *i != "0.0.0.0").map(|i| s.intern(i)),
        port: u16::try_from(port).unwrap_or(0),
    }
}

/// A pod of the vectors.
pub(super) fn pod(of: &Value, s: &mut Symbols) -> Result<PodSpec, String> {
    let mut spec = PodSpec::new(s.intern("default"));
    if of["labelled"] != json!(false) && of["labels"].is_null() {
        spec.labels = labels(&json!({ COMMON.0: COMMON.1 }), s);
    }
    let (mut init, mut overhead) = (Resources::default(), Resources::default());
    for (key, value) in of.as_object().into_iter().flatten() {
        let amount = value.as_i64().unwrap_or(0);
        let list = value.as_array().into_iter().flatten();
        match key.as_str() {
            "name" | "count" | "labelled" | "note" => {}
            "cpu_m" => spec.requests.cpu_m = amount,
            "memory_bytes" => spec.requests.memory = amount,
            "extended" => {
                for (name, n) in value.as_object().into_iter().flatten() {
                    let name = s.intern(name);
                    spec.requests.set_extended(name, n.as_i64().unwrap_or(0));
                }
            }
            "init_cpu_m" => init.cpu_m = amount,
            "init_memory_bytes" => init.memory = amount,
            "pod_overhead_cpu_m" => overhead.cpu_m = amount,
            "pod_overhead_memory_bytes" => overhead.memory = amount,
            "labels" => spec.labels = labels(value, s),
            "node_selector" => spec.node_selector = labels(value, s).iter().collect(),
            "requirements" => spec.required_node_affinity = Some(vec![term(value, s)?]),
            "required_terms" => {
                spec.required_node_affinity = Some(list.map(|t| term(t, s)).collect::<Result<_, _>>()?);
            }
            "preferred_terms" => {
                let one = |t: &Value, s: &mut Symbols| {
                    Ok::<_, String>((t["weight"].as_i64().unwrap_or(1), term(&t["terms"], s)?))
                };
                spec.preferred_node_affinity = list.map(|t| one(t, s)).collect::<Result<_, _>>()?;
            }
            "host_ports" => spec.host_ports = list.map(|p| host_port(p, s)).collect(),
            "affinity" => spec.required_affinity = affinity_terms(value, s),
            "anti_affinity" => spec.required_anti_affinity = affinity_terms(value, s),
            "preferred_affinity" => spec.preferred_affinity = weighted(value, s),
            "preferred_anti_affinity" => spec.preferred_anti_affinity = weighted(value, s),
            "spread" => spec.spread = list.map(|c| spread(c, s)).collect::<Result<_, _>>()?,
            "tolerations" => {
                let text = |of: &Value, s: &mut Symbols| of.as_str().map(|t| s.intern(t));
                let one = |t: &Value, s: &mut Symbols| Toleration {
                    key: text(&t["key"], s),
                    value: text(&t["value"], s),
                    effect: (!t["effect"].is_null()).then(|| effect(&t["effect"])),
                };
                spec.tolerations = list.map(|t| one(t, s)).collect();
            }
            _ => return Err(format!("unknown key of a pod: {key}")),
        }
    }
    let pods = spec.requests.pods;
    spec.requests.raise_to(&init);
    spec.requests.add(&overhead);
    spec.requests.pods = pods;
    Ok(spec)
}

/// A budget of the vectors.
pub(super) fn budget(of: &Value) -> Result<Budget, String> {
    let reason = |r: &Value| Reason::ALL.into_iter().find(|k| r.as_str() == Some(k.name()));
    let duration = of["duration"].as_str().map(simctl::units::parse_duration).transpose().map_err(|e| e.to_string())?;
    Ok(Budget {
        nodes: of["nodes"].as_str().ok_or("a budget without nodes")?.to_owned(),
        reasons: of["reasons"].as_array().into_iter().flatten().filter_map(reason).collect(),
        schedule: of["schedule"].as_str().map(str::to_owned),
        duration,
    })
}

pub(super) fn seconds(of: &Value) -> Option<SimDuration> {
    of.as_f64().map(SimDuration::from_secs_f64)
}
