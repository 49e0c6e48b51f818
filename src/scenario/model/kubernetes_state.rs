//! What a cluster holds when the simulation starts: nodes and pods from files.

use std::sync::{Arc, LazyLock};

use super::capacity::{Instances, SpotMarket, TaskLaunch, Volume};
use super::kubernetes::{NodeTaint, PodToleration, Preemption};
use super::kubernetes_nodes::{Kubelet, NodeSettings};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::lang::KubernetesTable;

table! {
    /// Nodes and pods that are there when the simulation starts, and pods that are submitted later on. Both are CSV files
    /// with a header; a column that is not known is refused unless `ignored_columns` names it.
    pub struct InitialState {
        /// File of nodes: `name`, then `instance_type` or sizes of their own (`cpu` and `memory` as Kubernetes writes
        /// them, or `cpu_millis` and `memory_mib`; `gpus`, `gpu_model`, `pods`); `zone` by number from 0, `market`
        /// (`on-demand`, `spot`), `capacity` (the node group or NodePool that it belongs to), `labels` and `taints`
        /// (`key=value:Effect`, parted by `;`), `age_s`. Absent: nodes come as the capacities say.
        pub nodes: Option<String> = None,
        /// File of pods: `name`, then `service` (a replica of it) or requests of its own (`cpu`, `memory`, `gpus`, written as
        /// those of nodes); `namespace`, `priority` or `priority_class`, `node` (absent: Pending), `submit_s`, `duration_s`
        /// (absent: it runs to the end), `node_selector`, `tolerations` (`key=value:Effect`, parted by `;`), `owner` (`none`,
        /// `ReplicaSet`, `StatefulSet`, `Job`, `DaemonSet`). Absent: there are only the services' own.
        pub pods: Option<String> = None,
        /// Columns of both files that mean nothing here.
        pub ignored_columns: Vec<String> = Vec::new(),
        /// Pods are submitted one after the other in the order of the file, so far apart, instead of at `submit_s`; absent: as the
        /// file says.
        pub submit_interval: Option<SimDuration> = None,
        /// Whether pods end after `duration_s`. Otherwise all of them run to the end.
        pub departures: bool = true,
    }
}

table! {
    /// Nodes that neither a node group nor a NodePool owns: those of `cluster.eks.initial_state` that name no capacity. Nobody
    /// adds any and nobody removes one.
    pub struct SelfManaged {
        /// Settings of the kubelet, for nodes of an EC2 instance type.
        pub kubelet: Kubelet = Kubelet::default(),
        /// How long pods take on them; the time to attach an interface is that of the CNI plugin.
        pub pods: TaskLaunch as OfKubernetes = TaskLaunch::of_kubernetes(),
        /// The root volume of nodes of an EC2 instance type.
        pub volume: Volume as OfKubernetes = Volume::of_kubernetes(),
        /// Speed of a vCPU as a factor.
        pub cpu_speed: f64 = 1.0,
    }
}

/// The name of the capacity that holds nodes which name none, where the scenario has no capacity `self_managed`.
pub const SELF_MANAGED: &str = "self-managed";

impl SelfManaged {
    /// Its machines in the terms of all capacities of machines. They are there from the start: nothing is ever launched.
    #[must_use]
    pub fn instances(&self) -> Instances<'_> {
        static NEVER: LazyLock<NodeSettings> = LazyLock::new(NodeSettings::default);
        static NO_MARKET: LazyLock<SpotMarket> = LazyLock::new(SpotMarket::default);
        Instances {
            zones: &[],
            launch: &NEVER.launch,
            tasks: &self.pods,
            attributes: no_labels(),
            cpu_speed: self.cpu_speed,
            cpu_speed_of: no_speeds(),
            unavailable: 0.0,
            outages: &[],
            retry_delay: NEVER.retry_delay,
            provisioning_timeout: SimDuration::MAX,
            spot: &NO_MARKET,
            volume: Volume { size: self.volume.size, volume_type: self.volume.volume_type },
        }
    }
}

fn no_labels() -> &'static indexmap::IndexMap<String, String> {
    static NONE: LazyLock<indexmap::IndexMap<String, String>> = LazyLock::new(indexmap::IndexMap::new);
    &NONE
}

fn no_speeds() -> &'static indexmap::IndexMap<String, f64> {
    static NONE: LazyLock<indexmap::IndexMap<String, f64>> = LazyLock::new(indexmap::IndexMap::new);
    &NONE
}

/// What the files of an initial state hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterState {
    /// The nodes, in the order of the file.
    pub nodes: Vec<GivenNode>,
    /// The pods, by time of submission, then in the order of the file.
    pub pods: Vec<GivenPod>,
    /// What the pods ask for, each once.
    pub templates: Vec<PodTemplate>,
    /// The names of the pods, one after the other.
    names: String,
    /// BLAKE3 of both files.
    pub hash: String,
}

/// The sizes of a node that is no EC2 instance: what it offers to pods, the system's included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeSizes {
    /// CPU in millicores.
    pub cpu_m: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Whole GPUs.
    pub gpus: u32,
    /// Most pods.
    pub pods: u32,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenKind {
    /// An EC2 instance of a type of the catalog.
    Instance(String),
    /// A machine with sizes of its own, without a price.
    Machine(NodeSizes),
}

/// A row of the file of nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenNode {
    /// Its name, used once.
    pub name: String,
    /// The line of the file.
    pub line: u64,
    /// The capacity that it belongs to.
    pub capacity: String,
    /// What it is.
    pub kind: GivenKind,
    /// Its zone, by number from 0.
    pub zone: u32,
    /// Whether it was bought on the Spot market.
    pub spot: bool,
    /// Its labels, beside those that it has by itself.
    pub labels: Vec<(String, String)>,
    /// Its taints, beside those of its capacity.
    pub taints: Vec<NodeTaint>,
    /// How long it has been there. Only NodePools look at it.
    pub age: SimDuration,
}

/// Who keeps a pod, which decides what becomes of it when it has to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PodOwner {
    /// Nobody: it is not made anew, and holds its node against the Cluster Autoscaler.
    #[default]
    Nobody,
    /// A ReplicaSet: made anew.
    ReplicaSet,
    /// A StatefulSet: made anew.
    StatefulSet,
    /// A Job: made anew, from the beginning.
    Job,
    /// A DaemonSet: it goes with its node.
    DaemonSet,
}

impl PodOwner {
    /// Its words in the file.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("none", Self::Nobody),
        ("ReplicaSet", Self::ReplicaSet),
        ("StatefulSet", Self::StatefulSet),
        ("Job", Self::Job),
        ("DaemonSet", Self::DaemonSet),
    ];

    /// Whether its pods are made anew when they had to go.
    #[must_use]
    pub const fn replaces(self) -> bool {
        matches!(self, Self::ReplicaSet | Self::StatefulSet | Self::Job)
    }
}

/// What pods of the file have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTemplate {
    /// The service of which they are replicas; then all else is the service's.
    pub service: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// CPU requested, in millicores.
    pub cpu_m: u64,
    /// Memory requested, in bytes.
    pub memory: u64,
    /// Whole GPUs.
    pub gpus: u32,
    /// The priority.
    pub priority: i32,
    /// Whether they push others out.
    pub preemption: Preemption,
    /// Who keeps them.
    pub owner: PodOwner,
    /// Labels that the node must have.
    pub node_selector: Vec<(String, String)>,
    /// Taints that are tolerated.
    pub tolerations: Vec<PodToleration>,
}

/// A row of the file of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenPod {
    /// Where its name stands among the names: the first byte and the one behind the last.
    name: (u32, u32),
    /// The line of the file.
    pub line: u32,
    /// What it asks for, by its place among the templates.
    pub template: u32,
    /// The node that it is bound to at the start, by its place among the nodes.
    pub node: Option<u32>,
    /// When it is submitted.
    pub submit: SimTime,
    /// How long it runs; [`SimDuration::MAX`] to the end.
    pub duration: SimDuration,
}

impl GivenPod {
    /// A pod of these properties, whose name is added to `state`.
    #[must_use]
    pub fn new(
        state: &mut ClusterState,
        name: &str,
        (line, template, node): (u32, u32, Option<u32>),
        (submit, duration): (SimTime, SimDuration),
    ) -> Self {
        let from = state.names.len() as u32;
        state.names.push_str(name);
        Self { name: (from, state.names.len() as u32), line, template, node, submit, duration }
    }
}

impl ClusterState {
    /// The name of a pod.
    #[must_use]
    pub fn name_of(&self, pod: &GivenPod) -> &str {
        self.names.get(pod.name.0 as usize..pod.name.1 as usize).unwrap_or("")
    }

    /// What a pod asks for.
    #[must_use]
    pub fn template_of(&self, pod: &GivenPod) -> Option<&PodTemplate> {
        self.templates.get(pod.template as usize)
    }

    /// The nodes of a capacity, with their places in the file.
    pub fn nodes_of<'a>(&'a self, capacity: &'a str) -> impl Iterator<Item = (usize, &'a GivenNode)> {
        self.nodes.iter().enumerate().filter(move |(_, n)| n.capacity == capacity)
    }

    /// How many pods there are that are replicas of no service.
    #[must_use]
    pub fn own_pods(&self) -> usize {
        self.pods.iter().filter(|p| self.template_of(p).is_some_and(|t| t.service.is_none())).count()
    }
}

/// The state of a cluster, shared by the runs of a study.
pub type SharedState = Arc<ClusterState>;
