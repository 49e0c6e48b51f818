//! What pods run on: managed node groups, Karpenter's NodePools, Fargate profiles.

use indexmap::IndexMap;

use super::capacity::{
    CapacityOption, Fargate, InstanceLaunch, InstanceOutage, SpotMarket, TaskLaunch, Volume, VolumeType,
};
use super::kubernetes::{IntOrPercent, LabelRequirement, NodeTaint};
use super::law::TimeLaw;
use crate::kernel::SimDuration;
use crate::scenario::lang::KubernetesTable;
use crate::units::{Bytes, Cpu};

table! {
    /// A managed node group of EKS, an Auto Scaling group behind it. Source: EKS API, CreateNodegroup.
    pub struct NodeGroup {
        /// Instance types, the preferred one first. The Cluster Autoscaler takes the first one for its template.
        pub instance_types: Vec<String>,
        /// Fewest nodes.
        pub min_size: u32 = 0,
        /// Most nodes.
        pub max_size: u32,
        /// Nodes at the start. Absent: as many as the pods at the start need, within `min_size` and `max_size`.
        pub desired_size: Option<u32> = None,
        /// On-Demand or Spot.
        pub capacity_type: CapacityOption = CapacityOption::OnDemand,
        /// Zones of the subnets, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// Labels of its nodes, beside those that EKS gives them.
        pub labels: IndexMap<String, String> = IndexMap::new(),
        /// Taints of its nodes.
        pub taints: Vec<NodeTaint> = Vec::new(),
        /// Priority of the group, for the expander `priority`.
        pub priority: i32 = 0,
        /// How an update replaces nodes.
        pub update_config: UpdateConfig = UpdateConfig::default(),
        /// Settings of the kubelet.
        pub kubelet: Kubelet = Kubelet::default(),
        /// How nodes come up and what they are.
        pub nodes: NodeSettings = NodeSettings::default(),
    }
}

table! {
    /// How an update of a managed node group replaces nodes. Source: EKS user guide, `managed-node-update-behavior`.
    pub struct UpdateConfig {
        /// Nodes that are replaced at once, 1 to 100; a share is rounded up.
        pub max_unavailable: IntOrPercent = IntOrPercent::Int(1),
        /// Whether new nodes come before old ones go.
        pub update_strategy: UpdateStrategy = UpdateStrategy::Default,
        /// Whether pods that cannot be evicted within 15 minutes are deleted. Otherwise the update fails.
        pub force: bool = false,
    }
}

words! {
    /// Whether new nodes come before old ones go. Source: EKS API, NodegroupUpdateConfig.
    pub enum UpdateStrategy {
        /// They do: the group grows first.
        Default = "DEFAULT",
        /// Old nodes go first: no more nodes than before.
        Minimal = "MINIMAL",
    }
}

table! {
    /// Settings of the kubelet that decide what a node offers. Source: kubelet.config.k8s.io/v1beta1.
    pub struct Kubelet {
        /// Most pods; absent: as many as the addresses of the instance type allow.
        pub max_pods: Option<u32> = None,
        /// CPU kept for the kubelet; absent: by the rule of the EKS images.
        pub kube_reserved_cpu: Option<Cpu> = None,
        /// Memory kept for the kubelet; absent: by the rule of the EKS images.
        pub kube_reserved_memory: Option<Bytes> as TaskMemory = None,
        /// CPU kept for the system.
        pub system_reserved_cpu: Cpu = Cpu::ZERO,
        /// Memory kept for the system.
        pub system_reserved_memory: Bytes as TaskMemory = Bytes::ZERO,
        /// Free memory below which pods are evicted.
        pub eviction_hard_memory: Bytes as TaskMemory = Bytes::from_mib(100),
    }
}

table! {
    /// How nodes come up and what they are, whoever launches them.
    pub struct NodeSettings {
        /// How long an instance takes until it is a ready node; `agent_registration` is the start of the kubelet until the node is Ready.
        pub launch: InstanceLaunch as OfKubernetes = InstanceLaunch::of_kubernetes(),
        /// How long pods take on it; the time to attach an interface is that of the CNI plugin.
        pub pods: TaskLaunch as OfKubernetes = TaskLaunch::of_kubernetes(),
        /// The root volume.
        pub volume: Volume as OfKubernetes = Volume::of_kubernetes(),
        /// Speed of a vCPU as a factor.
        pub cpu_speed: f64 = 1.0,
        /// Speed by instance type or family, instead of `cpu_speed`.
        pub cpu_speed_of: IndexMap<String, f64> = IndexMap::new(),
        /// Share of launches that find no capacity (InsufficientInstanceCapacity), 0 to 1.
        pub unavailable: f64 as Share = 0.0,
        /// Times at which no capacity is to be had.
        pub outages: Vec<InstanceOutage> = Vec::new(),
        /// Wait before launches are tried again that found no capacity.
        pub retry_delay: SimDuration as Seconds = SimDuration::from_secs(60),
        /// The Spot market.
        pub spot: SpotMarket = SpotMarket::default(),
    }
}

impl KubernetesTable for InstanceLaunch {
    const KUBERNETES_NAME: &'static str = "NodeLaunch";
    const KUBERNETES_DOCS: &'static [(&'static str, &'static str)] = &[
        (
            "request",
            "The call to EC2 until it answers. 1 to 2 s in timelines of nodes of Karpenter: awslabs/node-latency-for-k8s; \
             aws/karpenter-provider-aws, pull request 3827.",
        ),
        (
            "agent_registration",
            "Start of the kubelet until the node is Ready, which takes the CNI plugin. 5 s on Amazon Linux 2: \
             awslabs/node-latency-for-k8s. With the rest it makes the 30 to 40 s that Karpenter's maintainers report (issue 6165).",
        ),
    ];

    /// A Kubernetes node, as [`Self::KUBERNETES_DOCS`] says.
    fn of_kubernetes() -> Self {
        let (request, agent_registration) = (TimeLaw::uniform_secs(1.0, 4.0), TimeLaw::uniform_secs(3.0, 9.0));
        Self { request, agent_registration, ..Self::default() }
    }
}

impl KubernetesTable for TaskLaunch {
    const KUBERNETES_NAME: &'static str = "PodLaunch";
    const KUBERNETES_DOCS: &'static [(&'static str, &'static str)] =
        &[("eni_attach", "Time until the CNI plugin has given the pod an address of its warm pool.")];

    /// A pod: its address comes from the warm pool of the CNI plugin.
    fn of_kubernetes() -> Self {
        Self { eni_attach: TimeLaw::uniform_secs(0.2, 1.0), ..Self::default() }
    }
}

impl KubernetesTable for Volume {
    const KUBERNETES_NAME: &'static str = "NodeVolume";

    /// The root volume of the EKS images and of Karpenter's nodes.
    fn of_kubernetes() -> Self {
        Self { size: Bytes::from_gib(20), volume_type: VolumeType::Gp3 }
    }
}

/// Labels of the domains `karpenter.sh` and `karpenter.k8s.aws` that requirements may name.
pub const LABELS_OF_KARPENTER: [&str; 17] = [
    "karpenter.sh/capacity-type",
    "karpenter.sh/nodepool",
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-generation",
    "karpenter.k8s.aws/instance-size",
    "karpenter.k8s.aws/instance-cpu",
    "karpenter.k8s.aws/instance-cpu-manufacturer",
    "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz",
    "karpenter.k8s.aws/instance-memory",
    "karpenter.k8s.aws/instance-ebs-bandwidth",
    "karpenter.k8s.aws/instance-network-bandwidth",
    "karpenter.k8s.aws/instance-hypervisor",
    "karpenter.k8s.aws/instance-local-nvme",
    "karpenter.k8s.aws/instance-gpu-count",
    "karpenter.k8s.aws/instance-gpu-memory",
    "karpenter.k8s.aws/instance-gpu-manufacturer",
];

table! {
    /// A NodePool of Karpenter with its EC2NodeClass. Source: karpenter.sh/v1, karpenter.k8s.aws/v1.
    pub struct NodePool {
        /// Which nodes it may make. Karpenter's own example takes the categories c, m, r of generations above 2.
        pub requirements: Vec<LabelRequirement> = Vec::new(),
        /// Labels of its nodes.
        pub labels: IndexMap<String, String> = IndexMap::new(),
        /// Taints of its nodes.
        pub taints: Vec<NodeTaint> = Vec::new(),
        /// What all its nodes together may have; absent: no limit.
        pub limits: NodePoolLimits = NodePoolLimits::default(),
        /// Pools of a higher weight are tried first, 0 to 100.
        pub weight: u32 = 0,
        /// Which nodes are taken away when they are not needed.
        pub disruption: Disruption = Disruption::default(),
        /// The age at which a node is replaced.
        pub expire_after: Never = Never::After(SimDuration::from_secs(720 * 3600)),
        /// Time after which a node that drains is terminated whatever still runs on it; absent: it waits.
        pub termination_grace_period: Option<SimDuration> = None,
        /// Zones of the subnets, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// Settings of the kubelet.
        pub kubelet: Kubelet = Kubelet::default(),
        /// How nodes come up and what they are.
        pub nodes: NodeSettings = NodeSettings::default(),
    }
}

table! {
    /// What all nodes of a NodePool together may have.
    pub struct NodePoolLimits {
        /// CPU.
        pub cpu: Option<Cpu> = None,
        /// Memory.
        pub memory: Option<Bytes> as TaskMemory = None,
        /// Nodes.
        pub nodes: Option<u32> = None,
    }
}

table! {
    /// Which nodes of a NodePool are taken away. Source: karpenter.sh/v1 Disruption.
    pub struct Disruption {
        /// Which nodes are candidates.
        pub consolidation_policy: ConsolidationPolicy = ConsolidationPolicy::WhenEmptyOrUnderutilized,
        /// How long a node must have been left alone.
        pub consolidate_after: Never = Never::After(SimDuration::ZERO),
        /// How many nodes may go at once.
        pub budgets: Vec<DisruptionBudgetOfNodes> = vec![DisruptionBudgetOfNodes {
            nodes: IntOrPercent::Percent(10), reasons: Vec::new(), schedule: None, duration: None,
        }],
    }
}

words! {
    /// Which nodes are candidates for consolidation.
    pub enum ConsolidationPolicy {
        /// Those without pods.
        WhenEmpty = "WhenEmpty",
        /// Those whose pods fit elsewhere or on a cheaper node.
        WhenEmptyOrUnderutilized = "WhenEmptyOrUnderutilized",
        /// The same, where the saving outweighs the disruption.
        Balanced = "Balanced",
    }
}

table! {
    /// How many nodes of a NodePool may go at once.
    pub struct DisruptionBudgetOfNodes {
        /// A number, or a share of the pool's nodes, rounded up.
        pub nodes: IntOrPercent,
        /// For which reasons; empty for all.
        pub reasons: Vec<DisruptionReason> = Vec::new(),
        /// When it begins to hold: five fields of cron or a macro, in UTC; absent: it holds always.
        pub schedule: Option<String> = None,
        /// How long it holds from then.
        pub duration: Option<SimDuration> = None,
    }
}

words! {
    /// Why a node is disrupted.
    pub enum DisruptionReason {
        /// Its pods fit elsewhere.
        Underutilized = "Underutilized",
        /// It has no pods.
        Empty = "Empty",
        /// It is no longer as its pool wants it.
        Drifted = "Drifted",
    }
}

table! {
    /// A Fargate profile of EKS: pods that it selects get a micro-VM each. There is no Spot.
    pub struct FargateProfile {
        /// Which pods, at most five.
        pub selectors: Vec<FargateSelector>,
        /// How long a pod waits for its micro-VM, and how long it takes there.
        pub launch: Fargate as OfKubernetes = Fargate::of_kubernetes(),
    }
}

table! {
    /// Which pods a Fargate profile takes.
    pub struct FargateSelector {
        /// The namespace; `*` stands for anything, `?` for one character.
        pub namespace: String,
        /// Labels that the pod must have, with the same wildcards.
        pub labels: IndexMap<String, String> = IndexMap::new(),
    }
}

impl KubernetesTable for Fargate {
    const KUBERNETES_NAME: &'static str = "FargatePodLaunch";
    const KUBERNETES_DOCS: &'static [(&'static str, &'static str)] = &[(
        "provisioning",
        "Time to find a micro-VM for a pod, which joins the cluster as a node. 45 to 60 s until the container runs are commonly seen \
         (Ionescu, 2022: 60 s).",
    )];

    /// A pod: its micro-VM joins the cluster as a node before the pod starts.
    fn of_kubernetes() -> Self {
        Self { provisioning: TimeLaw::uniform_secs(25.0, 40.0), ..Self::default() }
    }
}

/// A length of time, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// After this time.
    After(SimDuration),
    /// Never.
    Never,
}

impl crate::scenario::lang::Lang for Never {
    fn read(node: &crate::scenario::tree::Node, cx: &mut crate::scenario::lang::Reader<'_>) -> Option<Self> {
        match &node.value {
            crate::scenario::tree::Value::Str(text) if text == "Never" => Some(Self::Never),
            _ => SimDuration::read(node, cx).map(Self::After),
        }
    }

    fn write(&self) -> crate::scenario::written::Written {
        match self {
            Self::After(time) => time.write(),
            Self::Never => crate::scenario::written::Written::Str("Never".to_owned()),
        }
    }

    fn schema(defs: &mut crate::scenario::lang::Defs) -> serde_json::Value {
        let duration = SimDuration::schema(defs);
        serde_json::json!({ "anyOf": [{ "const": "Never" }, duration] })
    }
}

table! {
    /// Replaces all nodes of a managed node group by such of a new version of its image.
    pub struct UpdateNodeGroupAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The node group, a capacity of type `node_group`. Its `update_config` says how.
        pub capacity: String,
    }
}

table! {
    /// Changes a NodePool of Karpenter, or its node class, while it runs. What is absent stays as it is.
    pub struct UpdateNodePoolAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The NodePool, a capacity of type `node_pool`.
        pub capacity: String,
        /// Another machine image becomes current for the node class, as where it selects `@latest`: all nodes drift.
        pub new_image: bool = false,
        /// Which nodes the pool may make from now on; nodes that are not such drift.
        pub requirements: Option<Vec<LabelRequirement>> = None,
        /// Labels of its nodes; nodes with others drift.
        pub labels: Option<IndexMap<String, String>> = None,
        /// Taints of its nodes; nodes with others drift.
        pub taints: Option<Vec<NodeTaint>> = None,
        /// What all its nodes together may have. No node drifts of that.
        pub limits: Option<NodePoolLimits> = None,
        /// Pools of a higher weight are tried first, 0 to 100. No node drifts of that.
        pub weight: Option<u32> = None,
        /// Which nodes are taken away when they are not needed. No node drifts of that.
        pub disruption: Option<Disruption> = None,
        /// The age at which a node is replaced that is made from now on; nodes of another drift.
        pub expire_after: Option<Never> = None,
    }
}

impl UpdateNodePoolAction {
    /// Whether nothing but the machine image changes.
    #[must_use]
    pub const fn is_of_image_only(&self) -> bool {
        self.new_image
            && self.requirements.is_none()
            && self.labels.is_none()
            && self.taints.is_none()
            && self.limits.is_none()
            && self.weight.is_none()
            && self.disruption.is_none()
            && self.expire_after.is_none()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { at, capacity, .. } = self;
        let nothing = Self {
            at: *at,
            capacity: capacity.clone(),
            new_image: true,
            requirements: None,
            labels: None,
            taints: None,
            limits: None,
            weight: None,
            disruption: None,
            expire_after: None,
        };
        !self.new_image && Self { new_image: true, ..self.clone() } == nothing
    }
}
