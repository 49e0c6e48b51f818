//! Nodes that come from a file: they are there when the simulation starts.

use super::super::nodes::NodeType;
use super::super::{RunError, Simulation};
use super::shapes::{self, label};
use crate::catalog::{Catalog, CatalogError, MACHINE};
use crate::cluster::{Market, Resources};
use crate::kubernetes::object::{Resources as Amounts, Taint};
use crate::kubernetes::scheduler::Node as KubeNode;
use crate::scenario::model::{Capacity, ClusterState, Eks, GivenKind, GivenNode, NodeSizes, SelfManaged};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ZoneId};

impl NodeType {
    /// A machine with sizes of its own, with what is left on it for pods beside the system's.
    fn of_machine(sizes: NodeSizes, settings: &Eks, speed: f64) -> Self {
        let (cpu, memory) = settings.system_requests();
        let offers = Resources {
            cpu: Cpu::from_millicores(sizes.cpu_m).saturating_sub(cpu),
            memory: Bytes::new(sizes.memory.saturating_sub(memory.get())),
            gpus: sizes.gpus,
            enis: sizes.pods.saturating_sub(settings.system_pods),
        };
        Self { of: &MACHINE, own: Some(sizes), offers, speed }
    }
}

/// The kinds of machine that belong to a capacity of nodes without an owner.
pub(in crate::simulation) fn types_of_state(
    state: Option<&ClusterState>,
    settings: &Eks,
    catalog: &Catalog,
    (name, plan): (&str, &SelfManaged),
) -> Result<Vec<NodeType>, CatalogError> {
    let mut types: Vec<NodeType> = Vec::new();
    for (_, node) in state.into_iter().flat_map(|s| s.nodes_of(name)) {
        if types.iter().any(|t| is_kind(t, &node.kind)) {
            continue;
        }
        types.push(match &node.kind {
            GivenKind::Machine(sizes) => NodeType::of_machine(*sizes, settings, plan.cpu_speed),
            GivenKind::Instance(of) => {
                NodeType::of_node(catalog.instance_type(of)?, &plan.kubelet, settings, &plan.instances())
            }
        });
    }
    Ok(types)
}

fn is_kind(t: &NodeType, kind: &GivenKind) -> bool {
    match kind {
        GivenKind::Machine(sizes) => t.own == Some(*sizes),
        GivenKind::Instance(of) => t.own.is_none() && t.of.name == of,
    }
}

impl Simulation<'_> {
    /// Time zero: the nodes of the file, each in its capacity.
    pub(super) fn start_given_nodes(&mut self) -> Result<(), RunError> {
        let Some(given) = &self.kube().given else { return Ok(()) };
        let state = given.state.clone();
        for (row, node) in state.nodes.iter().enumerate() {
            let capacity = self.plan.capacity.get_index_of(&node.capacity).map(CapacityId::from);
            let kind = capacity
                .and_then(|c| self.group(c))
                .and_then(|g| g.types.iter().position(|t| is_kind(t, &node.kind)))
                .map(|k| k as u32);
            let (Some(capacity), Some(kind)) = (capacity, kind) else {
                return Err(RunError::State(self.not_of_its_capacity(node)));
            };
            let market = if node.spot { Market::Spot } else { Market::OnDemand };
            if let Some(given) = &mut self.kube_mut().given {
                given.coming = Some(row);
            }
            self.claim_at_start(capacity, kind, ZoneId(node.zone), market, node.age);
            let placed = self.place_running_node(capacity, kind, ZoneId(node.zone), market);
            if let Some(given) = &mut self.kube_mut().given {
                given.coming = None;
                given.nodes[row] = placed;
            }
        }
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let here = state.nodes_of(self.capacities[index].name).count() as u32;
            let wanted = match self.capacities[index].plan {
                Capacity::NodeGroup(g) => g.desired_size.unwrap_or(here).clamp(g.min_size, g.max_size),
                Capacity::SelfManaged(_) => here,
                _ => continue,
            };
            if let Some(group) = self.group_mut(capacity).filter(|_| !state.nodes.is_empty()) {
                group.desired = wanted;
            }
        }
        Ok(())
    }

    fn not_of_its_capacity(&self, node: &GivenNode) -> String {
        let file = self.plan.cluster.eks.initial_state.nodes.as_deref().unwrap_or("");
        let of = match &node.kind {
            GivenKind::Instance(of) => of.as_str(),
            GivenKind::Machine(_) => "a machine of its own sizes",
        };
        format!(
            "`{file}` line {}, column `instance_type`: the requirements of `{}` do not allow {of}",
            node.line, node.capacity
        )
    }

    /// What a node of the file is beside its type: its name, its labels and taints. `None` for a node that was launched.
    pub(super) fn given_node(&mut self, node: NodeId) -> Option<GivenNode> {
        let given = self.kube_mut().given.as_mut()?;
        if let Some(row) = given.coming.take() {
            given.rows.insert(node, row);
        }
        let row = *given.rows.get(&node)?;
        given.state.nodes.get(row).cloned()
    }

    /// Whether a node comes from the file.
    pub(super) fn is_given(&self, node: NodeId) -> bool {
        self.kube().given.as_ref().is_some_and(|g| g.rows.contains_key(&node))
    }

    /// The name by which Kubernetes knows a node.
    pub(super) fn node_name(&self, node: NodeId) -> String {
        let given = self.kube().given.as_ref();
        let row = given.and_then(|g| g.state.nodes.get(*g.rows.get(&node)?));
        row.map_or_else(
            || {
                let n = self.cluster.node(node);
                format!("{}-{}", self.capacities[n.spec.capacity.index()].name, n.launch)
            },
            |row| row.name.clone(),
        )
    }

    /// A machine with sizes of its own, as the scheduler sees it.
    pub(super) fn machine_node(&mut self, sizes: NodeSizes, zone: ZoneId, name: &str) -> KubeNode {
        let region = self.plan.cluster.region.clone();
        let zone_name = super::nodes::zone_name(&region, zone);
        let symbols = self.kube_mut().scheduler.symbols_mut();
        let mut allocatable = Amounts {
            cpu_m: i64::try_from(sizes.cpu_m).unwrap_or(i64::MAX),
            memory: i64::try_from(sizes.memory).unwrap_or(i64::MAX),
            pods: i64::from(sizes.pods),
            ..Amounts::default()
        };
        if sizes.gpus > 0 {
            allocatable.set_extended(symbols.intern(shapes::GPU), i64::from(sizes.gpus));
        }
        let labels = [
            (label::HOSTNAME, name),
            (label::ZONE, zone_name.as_str()),
            (label::REGION, region.as_str()),
            (label::ARCH, "amd64"),
            (label::OS, "linux"),
        ];
        let labels = labels.into_iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
        KubeNode { labels, ..KubeNode::new(symbols.intern(name), allocatable) }
    }

    /// Puts what the file says of a node upon what its type says.
    pub(super) fn dress(&mut self, given: &GivenNode, mut node: KubeNode) -> KubeNode {
        let symbols = self.kube_mut().scheduler.symbols_mut();
        for (key, value) in &given.labels {
            node.labels.set(symbols.intern(key), symbols.intern(value));
        }
        let taints: Vec<Taint> = given.taints.iter().map(|t| shapes::taint(t, symbols)).collect();
        node.taints.extend(taints);
        node
    }

    /// How many nodes stand there without a price.
    pub(in crate::simulation) fn nodes_without_price(&self) -> usize {
        let given = self.kube.as_ref().and_then(|k| k.given.as_ref());
        let machine = |n: &&GivenNode| matches!(n.kind, GivenKind::Machine(_));
        given.map_or(0, |g| g.state.nodes.iter().filter(machine).count())
    }
}
