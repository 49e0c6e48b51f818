//! Reads the files of an initial state: nodes and pods, row by row, with the place of everything that is wrong.

use std::sync::Arc;

use indexmap::IndexMap;

use super::diagnostic::{Diagnostics, nearest};
use super::inputs::Files;
use super::lang::list;
use super::model::{
    Capacity, ClusterState, GivenKind, GivenNode, GivenPod, InitialState, NodeSizes, NodeTaint, Orchestrator, Plan,
    PodOwner, PodTemplate, PodToleration, Preemption, SELF_MANAGED, SelfManaged, SharedState, TolerationOperator,
    WorkloadKind,
};
use super::state_rows::{Bad, Row, Rows};
use super::tree::Node;
use crate::catalog::Catalog;
use crate::kernel::{SimDuration, SimTime};

const NODE_COLUMNS: [&str; 15] = [
    "name",
    "instance_type",
    "cpu",
    "cpu_millis",
    "memory",
    "memory_mib",
    "gpus",
    "gpu_model",
    "pods",
    "zone",
    "market",
    "capacity",
    "labels",
    "taints",
    "age_s",
];

const POD_COLUMNS: [&str; 16] = [
    "name",
    "service",
    "namespace",
    "cpu",
    "cpu_millis",
    "memory",
    "memory_mib",
    "gpus",
    "priority",
    "priority_class",
    "node",
    "submit_s",
    "duration_s",
    "node_selector",
    "tolerations",
    "owner",
];

/// What the kubelet takes where nothing is said. Source: kubelet, `maxPods`.
const MOST_PODS: u32 = 110;

/// Kinds of pod that are compared one by one.
const FEW_KINDS: usize = 16;

/// The label that NVIDIA's feature discovery gives nodes with GPUs.
const GPU_PRODUCT: &str = "nvidia.com/gpu.product";

/// Reads the files of a plan's initial state; the capacity of nodes that name none is added to the plan.
pub(super) fn read_state(
    plan: &mut Plan,
    root: &Node,
    files: &mut Files,
    found: &mut Diagnostics,
) -> Option<SharedState> {
    let settings = plan.cluster.eks.initial_state.clone();
    if plan.cluster.orchestrator != Orchestrator::Eks || (settings.nodes.is_none() && settings.pods.is_none()) {
        return None;
    }
    let mut state = ClusterState::default();
    let mut hash = blake3::Hasher::new();
    if let Some(file) = &settings.nodes {
        let mut rows = Rows::open(file, "nodes", &NODE_COLUMNS, &settings, root, files, found)?;
        hash.update(rows.text.as_bytes());
        let nodes = read_nodes(plan, &mut rows);
        state.nodes = nodes;
        rows.close(found);
    }
    if state.nodes.iter().any(|n| n.capacity == SELF_MANAGED) && !plan.capacity.contains_key(SELF_MANAGED) {
        plan.capacity.insert(SELF_MANAGED.to_owned(), Capacity::SelfManaged(SelfManaged::default()));
    }
    if let Some(file) = &settings.pods {
        let mut rows = Rows::open(file, "pods", &POD_COLUMNS, &settings, root, files, found)?;
        hash.update(rows.text.as_bytes());
        read_pods(plan, &settings, &mut state, &mut rows);
        check_room(plan, &state, &mut rows);
        rows.close(found);
    }
    state.hash = hash.finalize().to_hex().to_string();
    Some(Arc::new(state))
}

fn read_nodes(plan: &Plan, rows: &mut Rows) -> Vec<GivenNode> {
    let mut nodes: IndexMap<String, GivenNode> = IndexMap::new();
    rows.each(|row| {
        let node = read_node(plan, row)?;
        if let Some(other) = nodes.get(&node.name) {
            return Err(("name", format!("the node `{}` is there already, in line {}", node.name, other.line)));
        }
        if let Some(Capacity::NodeGroup(group)) = plan.capacity.get(&node.capacity) {
            let others = nodes.values().filter(|n| n.capacity == node.capacity).count();
            if others as u64 >= u64::from(group.max_size) {
                let text = format!("`{}` has more nodes here than its `max_size` of {}", node.capacity, group.max_size);
                return Err(("capacity", text));
            }
        }
        nodes.insert(node.name.clone(), node);
        Ok(())
    });
    nodes.into_values().collect()
}

fn read_node(plan: &Plan, row: &Row<'_>) -> Result<GivenNode, Bad> {
    let name = row.name()?.to_owned();
    let (cpu, memory, gpus, pods) = (row.cpu()?, row.memory()?, row.count("gpus")?, row.count("pods")?);
    let standing = || plan.capacity.iter().find(|(_, c)| matches!(c, Capacity::SelfManaged(_)));
    let (capacity, of) = match row.cell("capacity") {
        None => standing().map_or((SELF_MANAGED, None), |(name, c)| (name.as_str(), Some(c))),
        Some(name) => match plan.capacity.get(name) {
            Some(Capacity::FargateProfile(_)) => {
                return Err(("capacity", format!("`{name}` is a Fargate profile, which has no nodes of its own")));
            }
            Some(c) => (name, Some(c)),
            None => {
                let names: Vec<&str> = plan.capacity.keys().map(String::as_str).collect();
                return Err(("capacity", format!("there is no capacity `{name}`; there are {}", list(&names))));
            }
        },
    };
    let managed = of.filter(|c| !matches!(c, Capacity::SelfManaged(_)));
    let kind = match row.cell("instance_type") {
        Some(of) => {
            for (column, written) in [
                ("cpu", cpu.is_some()),
                ("memory", memory.is_some()),
                ("gpus", gpus.is_some()),
                ("pods", pods.is_some()),
            ] {
                if written {
                    return Err((
                        column,
                        format!("the sizes of `{name}` are those of its instance type: leave them out"),
                    ));
                }
            }
            Catalog::embedded().instance_type(of).map_err(|e| ("instance_type", e.to_string()))?;
            GivenKind::Instance(of.to_owned())
        }
        None if managed.is_some() => {
            return Err((
                "instance_type",
                format!("a node of `{capacity}` is an EC2 instance: its instance type was expected"),
            ));
        }
        None => {
            let what = |column, what: &str| (column, format!("`{name}` needs an instance type, or {what} of its own"));
            let cpu_m = cpu.filter(|c| *c > 0).ok_or_else(|| what("cpu", "CPU"))?;
            let memory = memory.filter(|m| *m > 0).ok_or_else(|| what("memory", "memory"))?;
            let (gpus, pods) = (gpus.unwrap_or(0), pods.unwrap_or(MOST_PODS));
            GivenKind::Machine(NodeSizes { cpu_m, memory, gpus, pods })
        }
    };
    if let (Some(Capacity::NodeGroup(group)), GivenKind::Instance(of)) = (managed, &kind)
        && !group.instance_types.contains(of)
    {
        let types: Vec<&str> = group.instance_types.iter().map(String::as_str).collect();
        return Err(("instance_type", format!("the node group `{capacity}` has no `{of}`; it has {}", list(&types))));
    }
    let zone = match row.count("zone")? {
        Some(z) if z >= plan.cluster.zones => {
            return Err(("zone", format!("there is no zone {z}: the cluster has {}, from 0", plan.cluster.zones)));
        }
        zone => zone.unwrap_or(0),
    };
    if let Some(instances) = of.and_then(Capacity::instances)
        && !instances.has_zone(zone)
    {
        return Err(("zone", format!("`{capacity}` has no subnet in zone {zone}")));
    }
    let spot = match (row.cell("market"), managed) {
        (None | Some("on-demand"), Some(Capacity::NodeGroup(g))) if of.is_some_and(Capacity::buys_spot) => {
            let _ = g;
            return Err(("market", format!("the node group `{capacity}` buys Spot: `spot` was expected")));
        }
        (None | Some("on-demand"), _) => false,
        (Some("spot"), Some(c)) if c.buys_spot() => true,
        (Some("spot"), Some(_)) => {
            return Err(("market", format!("the node group `{capacity}` buys On-Demand: `on-demand` was expected")));
        }
        (Some("spot"), None) => {
            return Err(("market", "a Spot node belongs to a node group or a NodePool".to_owned()));
        }
        (Some(other), _) => return Err(("market", format!("`on-demand` or `spot` was expected, not `{other}`"))),
    };
    let age = row.seconds("age_s")?.unwrap_or(SimDuration::ZERO);
    if !age.is_zero() && !matches!(managed, Some(Capacity::NodePool(_))) {
        return Err(("age_s", "only nodes of a NodePool expire: leave the age out elsewhere".to_owned()));
    }
    let mut labels = row.pairs("labels")?;
    if let Some(model) = row.cell("gpu_model").filter(|m| *m != "none") {
        labels.push((GPU_PRODUCT.to_owned(), model.to_owned()));
    }
    let taints = row.marks("taints")?.into_iter().map(|(key, value, effect)| match effect {
        Some(effect) => Ok(NodeTaint { key, value: value.unwrap_or_default(), effect }),
        None => Err(("taints", format!("a taint has an effect, as in `{key}=value:NoSchedule`"))),
    });
    Ok(GivenNode {
        name,
        line: row.line,
        capacity: capacity.to_owned(),
        kind,
        zone,
        spot,
        labels,
        taints: taints.collect::<Result<_, _>>()?,
        age,
    })
}

fn read_pods(plan: &Plan, settings: &InitialState, state: &mut ClusterState, rows: &mut Rows) {
    let mut names: indexmap::IndexSet<u128, rustc_hash::FxBuildHasher> = indexmap::IndexSet::default();
    let mut templates: IndexMap<String, u32> = IndexMap::new();
    let nodes: IndexMap<String, u32> =
        state.nodes.iter().enumerate().map(|(at, n)| (n.name.clone(), at as u32)).collect();
    let mut replicas: IndexMap<String, u32> = IndexMap::new();
    let mut next = SimTime::ZERO;
    rows.each(|row| {
        let (name, template) = (row.name()?, read_template(plan, row)?);
        // Names may be many: their hashes take less room, and are as good.
        let mut hash = blake3::Hasher::new();
        hash.update(template.namespace.as_bytes()).update(b"/").update(name.as_bytes());
        let hash = hash.finalize();
        let (half, _) = hash.as_bytes().split_at(16);
        if !names.insert(half.iter().fold(0, |n, b| n << 8 | u128::from(*b))) {
            return Err((
                "name",
                format!("the pod `{name}` is there already in the namespace `{}`", template.namespace),
            ));
        }
        let node = match row.cell("node") {
            None => None,
            Some(node) => match nodes.get(node) {
                Some(at) => Some(*at),
                None => {
                    let near = nearest(node, nodes.keys().map(String::as_str));
                    let help = near.map(|n| format!("; there is `{n}`")).unwrap_or_default();
                    return Err(("node", format!("there is no node `{node}` in the file of nodes{help}")));
                }
            },
        };
        let written = row.seconds("submit_s")?.map_or(SimTime::ZERO, |s| SimTime::ZERO + s);
        let submit = match settings.submit_interval.filter(|_| node.is_none()) {
            None => written,
            Some(interval) => {
                let at = next;
                next = next.saturating_add(interval);
                at
            }
        };
        let duration = row.seconds("duration_s")?.filter(|_| settings.departures).unwrap_or(SimDuration::MAX);
        if let Some(service) = &template.service {
            let count = replicas.entry(service.clone()).or_insert(0);
            *count += 1;
            let desired = plan.services.get(service).map_or(0, |s| s.desired_count);
            if *count > desired {
                let message = format!("`services.{service}.desired_count` is {desired}: this would be one pod more");
                return Err(("service", message));
            }
            for (column, written) in [("submit_s", submit > SimTime::ZERO), ("duration_s", duration < SimDuration::MAX)]
            {
                if written {
                    return Err((column, format!("a replica of `{service}` is there from the start to its end")));
                }
            }
        }
        if node.is_some() && submit > SimTime::ZERO {
            return Err(("node", "a pod that is submitted later is not bound yet: the scheduler chooses".to_owned()));
        }
        // Most files have few kinds of pod: those are found without making a text of each row.
        let at = match state.templates.iter().take(FEW_KINDS).position(|t| *t == template) {
            Some(at) => at as u32,
            None => *templates.entry(format!("{template:?}")).or_insert_with(|| {
                state.templates.push(template);
                state.templates.len() as u32 - 1
            }),
        };
        let line = u32::try_from(row.line).unwrap_or(u32::MAX);
        let pod = GivenPod::new(state, name, (line, at, node), (submit, duration));
        state.pods.push(pod);
        Ok(())
    });
    state.pods.sort_by_key(|p| p.submit);
}

fn read_template(plan: &Plan, row: &Row<'_>) -> Result<PodTemplate, Bad> {
    let (cpu, memory, gpus) = (row.cpu()?, row.memory()?, row.count("gpus")?);
    let owner = match row.cell("owner") {
        None => PodOwner::Nobody,
        Some(word) => PodOwner::WORDS.iter().find(|(w, _)| *w == word).map(|(_, o)| *o).ok_or_else(|| {
            let words: Vec<&str> = PodOwner::WORDS.iter().map(|(w, _)| *w).collect();
            ("owner", format!("{} were expected, not `{word}`", list(&words)))
        })?,
    };
    let mut template = PodTemplate {
        service: None,
        namespace: row.cell("namespace").unwrap_or("default").to_owned(),
        cpu_m: cpu.unwrap_or(0),
        memory: memory.unwrap_or(0),
        gpus: gpus.unwrap_or(0),
        priority: 0,
        preemption: Preemption::PreemptLowerPriority,
        owner,
        node_selector: row.pairs("node_selector")?,
        tolerations: row
            .marks("tolerations")?
            .into_iter()
            .map(|(key, value, effect)| PodToleration {
                key: Some(key),
                operator: if value.is_some() { TolerationOperator::Equal } else { TolerationOperator::Exists },
                value: value.unwrap_or_default(),
                effect,
            })
            .collect(),
    };
    if let Some(name) = row.cell("service") {
        let Some(service) = plan.services.get(name) else {
            let names: Vec<&str> = plan.services.keys().map(String::as_str).collect();
            return Err(("service", format!("there is no service `{name}`; there are {}", list(&names))));
        };
        if service.kubernetes.kind == WorkloadKind::DaemonSet {
            return Err(("service", format!("`{name}` is a DaemonSet: its pods come with the nodes")));
        }
        let own = ["cpu", "cpu_millis", "memory", "memory_mib", "gpus", "priority", "priority_class", "namespace"];
        for column in own.into_iter().chain(["node_selector", "tolerations", "owner"]) {
            if row.cell(column).is_some() {
                return Err((column, format!("that of the service `{name}` counts: leave it out")));
            }
        }
        template.namespace = service.kubernetes.namespace.clone();
        template.service = Some(name.to_owned());
        return Ok(template);
    }
    let limited = plan.cluster.eks.namespaces.get(&template.namespace).is_some_and(|n| n.resource_quota.is_some());
    if limited {
        let message =
            format!("the quota of `{}` counts pods of services only: take another namespace", template.namespace);
        return Err(("namespace", message));
    }
    match (row.cell("priority"), row.cell("priority_class")) {
        (Some(_), Some(_)) => {
            return Err(("priority_class", "either this or `priority` is written, not both".to_owned()));
        }
        (Some(text), None) => {
            template.priority =
                text.parse().map_err(|_| ("priority", format!("a whole number was expected, not `{text}`")))?;
        }
        (None, Some(name)) => {
            let classes = &plan.cluster.eks.priority_classes;
            let Some(class) = classes.get(name) else {
                let names: Vec<&str> = classes.keys().map(String::as_str).collect();
                return Err((
                    "priority_class",
                    format!("there is no priority class `{name}`; there are {}", list(&names)),
                ));
            };
            template.priority = class.value;
            template.preemption = class.preemption_policy;
        }
        (None, None) => {}
    }
    Ok(template)
}

/// Whether the pods that are bound at the start fit on the machines whose sizes the file gives. Those on instances of EC2 are
/// checked when the cluster is built, with what the kubelet of their type offers.
fn check_room(plan: &Plan, state: &ClusterState, rows: &mut Rows) {
    let eks = &plan.cluster.eks;
    let (cpu, memory) = eks.system_requests();
    let mut left: Vec<Option<[u64; 4]>> = state
        .nodes
        .iter()
        .map(|n| match n.kind {
            GivenKind::Machine(s) => Some([
                s.cpu_m.saturating_sub(cpu.parts().div_ceil(128)),
                s.memory.saturating_sub(memory.get()),
                u64::from(s.gpus),
                u64::from(s.pods.saturating_sub(eks.system_pods)),
            ]),
            GivenKind::Instance(_) => None,
        })
        .collect();
    let mut bad: Vec<(u32, String)> = Vec::new();
    for pod in &state.pods {
        let (Some(node), Some(template)) = (pod.node, state.template_of(pod)) else { continue };
        let Some(Some(room)) = left.get_mut(node as usize) else { continue };
        let asks = match template.service.as_ref().and_then(|s| plan.services.get(s)) {
            Some(s) => [s.task.cpu.parts().div_ceil(128), s.task.memory.get(), u64::from(s.task.gpus), 1],
            None => [template.cpu_m, template.memory, u64::from(template.gpus), 1],
        };
        let short = room.iter().zip(asks).position(|(room, asks)| asks > *room);
        let name = &state.nodes[node as usize].name;
        match short {
            None => room.iter_mut().zip(asks).for_each(|(room, asks)| *room -= asks),
            Some(at) => {
                let (what, unit) = [("CPU", "m"), ("memory", " bytes"), ("GPUs", ""), ("pods", "")][at];
                let (asks, room) = (asks[at], room[at]);
                bad.push((
                    pod.line,
                    format!("`{name}` has no room: {room}{unit} of {what} are left, {asks}{unit} asked for"),
                ));
            }
        }
    }
    if bad.is_empty() {
        return;
    }
    rows.each(|row| match bad.iter().find(|(line, _)| u64::from(*line) == row.line) {
        Some((_, message)) => Err(("node", message.clone())),
        None => Ok(()),
    });
}
