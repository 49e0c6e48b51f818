//! What only Kubernetes has: the cluster's control plane, and what a workload says beside its task.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::{
    ClaimRetention, EbsCsi, FileSystem, InitialState, Ordinals, PodManagementPolicy, PodUpdateStrategy, Rollout,
    Switch, TimeLaw, VerticalPodAutoscaler, VolumeClaim, WorkloadKind,
};
use crate::kernel::SimDuration;
use crate::scenario::lang::{Defs, Lang, Reader};
use crate::scenario::tree::{Node, Value};
use crate::scenario::written::Written;
use crate::units::{Bytes, Cpu};

/// A number of pods, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent {
    /// A number.
    Int(u32),
    /// A share, in percent.
    Percent(u32),
}

impl IntOrPercent {
    /// The number that it means of `total`, a share rounded up or down.
    #[must_use]
    pub const fn of(self, total: u32, up: bool) -> u32 {
        match self {
            Self::Int(n) => n,
            Self::Percent(p) => {
                let parts = p as u64 * total as u64;
                let n = if up { parts.div_ceil(100) } else { parts / 100 };
                if n > u32::MAX as u64 { u32::MAX } else { n as u32 }
            }
        }
    }
}

impl Lang for IntOrPercent {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let read = match &node.value {
            Value::Int(n) => u32::try_from(*n).ok().map(Self::Int),
            Value::Str(text) => match text.trim().strip_suffix('%') {
                Some(percent) => percent.trim().parse().ok().map(Self::Percent),
                // As Kubernetes' YAML has it.
                None => text.trim().parse().ok().map(Self::Int),
            },
            _ => None,
        };
        if read.is_none() {
            cx.wrong_kind(node, "a number such as 1, or a share such as \"25%\"");
        }
        read
    }

    fn write(&self) -> Written {
        match self {
            Self::Int(n) => Written::Int(i128::from(*n)),
            Self::Percent(p) => Written::Str(format!("{p}%")),
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("IntOrPercent", |_| {
            json!({ "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                { "type": "string", "pattern": r"^\s*[0-9]+\s*%\s*$", "examples": ["25%"] },
            ] })
        })
    }
}

table! {
    /// The Kubernetes control plane of an EKS cluster, and its add-ons.
    pub struct Eks {
        /// What an hour of the control plane costs: versions out of standard support cost more.
        pub support: EksSupport = EksSupport::Standard,
        /// The scheduler's profile.
        pub scheduler: KubeScheduler = KubeScheduler::default(),
        /// The flags of the Horizontal Pod Autoscaler's controller.
        pub horizontal_pod_autoscaler: HpaController = HpaController::default(),
        /// When usage of pods can be seen.
        pub metrics_server: MetricsServer = MetricsServer::default(),
        /// The Cluster Autoscaler, which sizes `node_group` capacities; absent where none is installed.
        pub cluster_autoscaler: Option<ClusterAutoscaler> = None,
        /// Karpenter's settings, which launches nodes for `node_pool` capacities.
        pub karpenter: Karpenter = Karpenter::default(),
        /// The VPC CNI plugin: addresses of pods.
        pub vpc_cni: VpcCni = VpcCni::default(),
        /// Priority classes, by name, beside `system-cluster-critical` and `system-node-critical`.
        pub priority_classes: IndexMap<String, PriorityClass> = IndexMap::new(),
        /// Namespaces with limits of their own.
        pub namespaces: IndexMap<String, Namespace> = IndexMap::new(),
        /// Nodes and pods that are there at the start.
        pub initial_state: InitialState = InitialState::default(),
        /// Time from a change of a pod's readiness until every kube-proxy and the load balancer's controller has
        /// learned of it. Kubernetes promises none: an assumption, of the order that its own scalability tests allow.
        pub endpoint_propagation: TimeLaw = TimeLaw::uniform_secs(0.2, 1.5),
        /// Time that the Fargate scheduler takes for one pod, one after the other, beside the launch rate of the account. Not published: fitted on
        /// a Deployment of 3,500 pods, of which 8.7 a second came (Ionescu, 2022).
        pub fargate_scheduler_latency: SimDuration = SimDuration::from_millis(115),
        /// Time from a pod's binding until its node's kubelet begins to start it: a watch and a sync of the kubelet.
        pub kubelet_sync: TimeLaw = TimeLaw::uniform_secs(0.1, 1.0),
        /// CPU that system pods (kube-proxy, the CNI, log agents) request on each node.
        pub system_pods_cpu: Cpu = Cpu::from_parts(150 * 128),
        /// Memory that system pods request on each node.
        pub system_pods_memory: Bytes as TaskMemory = Bytes::from_mib(200),
        /// How many system pods each node runs.
        pub system_pods: u32 = 3,
        /// Time without a heartbeat after which a node is not ready. 50 s since v1.32, 40 s before.
        pub node_monitor_grace_period: SimDuration as Seconds = SimDuration::from_secs(50),
        /// Times of the EBS CSI driver.
        pub ebs_csi: EbsCsi = EbsCsi::default(),
        /// File systems of EFS that pods mount, by name.
        pub file_systems: IndexMap<String, FileSystem> = IndexMap::new(),
        /// How long pods stay on a node that is not ready (`tolerationSeconds` of the default tolerations).
        pub unreachable_toleration: SimDuration as Seconds = SimDuration::from_secs(300),
    }
}

impl Eks {
    /// CPU and memory that the system pods of a node request together: nothing where it runs none.
    #[must_use]
    pub fn system_requests(&self) -> (Cpu, Bytes) {
        match self.system_pods {
            0 => (Cpu::ZERO, Bytes::ZERO),
            _ => (self.system_pods_cpu, self.system_pods_memory),
        }
    }
}

words! {
    /// The support of a cluster's version. Source: Amazon EKS pricing.
    pub enum EksSupport {
        /// Standard support: 14 months from the release.
        Standard = "STANDARD",
        /// Extended support: the 12 months after.
        Extended = "EXTENDED",
    }
}

table! {
    /// The scheduler's profile. Source: KubeSchedulerConfiguration v1.
    pub struct KubeScheduler {
        /// Share of the nodes that are looked at before the best is taken, in percent; 0 adapts to the size of the cluster.
        pub percentage_of_nodes_to_score: u32 = 0,
        /// How free resources count.
        pub scoring_strategy: ScoringStrategy = ScoringStrategy::LeastAllocated,
        /// Resources that count in it, with their weights.
        pub resources: Vec<ScoredResource> = vec![
            ScoredResource { name: "cpu".to_string(), weight: 1 },
            ScoredResource { name: "memory".to_string(), weight: 1 },
        ],
        /// Time that one pod takes from the head of the queue until it is bound. One pod is looked at at a time. 833 pods a second: the scheduler's
        /// own tests demand 570 to 810 (kubernetes, scheduler_perf, on 5,000 nodes). A busy API server is slower.
        pub latency: SimDuration = SimDuration::from_micros(1_200),
    }
}

table! {
    /// A resource in a node's score. Source: NodeResourcesFitArgs, ResourceSpec.
    pub struct ScoredResource {
        /// `cpu`, `memory`, `ephemeral-storage`, or an extended resource such as `nvidia.com/gpu`.
        pub name: String,
        /// Its weight, 1 to 100.
        pub weight: u32 = 1,
    }
}

words! {
    /// How free resources count in a node's score. Source: NodeResourcesFitArgs.
    pub enum ScoringStrategy {
        /// Free nodes first: pods spread.
        LeastAllocated = "LeastAllocated",
        /// Full nodes first: pods are packed.
        MostAllocated = "MostAllocated",
    }
}

table! {
    /// Flags of the Horizontal Pod Autoscaler's controller. Source: kube-controller-manager.
    pub struct HpaController {
        /// Time between two looks at one autoscaler.
        pub sync_period: SimDuration as Seconds = SimDuration::from_secs(15),
        /// Deviation from the target that is let be, as a share: 0.1 is 10 %.
        pub tolerance: f64 as Share = 0.1,
        /// Time after a pod's start in which CPU samples count only once it is ready.
        pub cpu_initialization_period: SimDuration as Seconds = SimDuration::from_secs(300),
        /// Time after a pod's start in which a change to not ready counts as never having been ready.
        pub initial_readiness_delay: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Window of the highest recommendation when scaling down.
        pub downscale_stabilization: SimDuration as Seconds = SimDuration::from_secs(300),
    }
}

table! {
    /// When usage of pods can be seen through the Metrics API. Source: metrics-server.
    pub struct MetricsServer {
        /// Time between two collections.
        pub metric_resolution: SimDuration as Seconds = SimDuration::from_secs(15),
        /// Time from a collection until its figures can be seen, and over which kubelet figures are old already. An assumption.
        pub lag: SimDuration as Seconds = SimDuration::from_secs(5),
    }
}

table! {
    /// Flags of the Cluster Autoscaler. Source: kubernetes/autoscaler, cluster-autoscaler 1.36.
    pub struct ClusterAutoscaler {
        /// Time between two scans.
        pub scan_interval: SimDuration as Seconds = SimDuration::from_secs(10),
        /// Age of a pod before it counts as one that needs a node.
        pub new_pod_scale_up_delay: SimDuration as Seconds = SimDuration::ZERO,
        /// How a group is chosen among several that would help.
        pub expander: Expander = Expander::LeastWaste,
        /// Longest wait for a node to come up.
        pub max_node_provision_time: SimDuration as Seconds = SimDuration::from_secs(15 * 60),
        /// Most nodes of the cluster; 0 for no limit.
        pub max_nodes_total: u32 = 0,
        /// Whether groups that are alike are kept equal in size.
        pub balance_similar_node_groups: bool = false,
        /// Whether nodes are removed at all.
        pub scale_down_enabled: bool = true,
        /// Requests over allocatable at or below which a node may go.
        pub scale_down_utilization_threshold: f64 as Share = 0.5,
        /// How long a node must have been unneeded before it goes.
        pub scale_down_unneeded_time: SimDuration as Seconds = SimDuration::from_secs(600),
        /// Time after a scale-up in which no node is removed.
        pub scale_down_delay_after_add: SimDuration as Seconds = SimDuration::from_secs(600),
        /// Time after a removal in which no further node is removed.
        pub scale_down_delay_after_delete: SimDuration as Seconds = SimDuration::ZERO,
        /// Time after a failed removal in which no further node is removed.
        pub scale_down_delay_after_failure: SimDuration as Seconds = SimDuration::from_secs(180),
        /// Longest wait for the pods of a node to end when it is removed.
        pub max_graceful_termination_sec: SimDuration as Seconds = SimDuration::from_secs(600),
        /// Pods of lower priority neither bring nodes nor hold them.
        pub expendable_pods_priority_cutoff: i32 = -10,
        /// Whether the pods of DaemonSets count in a node's utilisation.
        pub ignore_daemonsets_utilization: bool = false,
    }
}

words! {
    /// How the Cluster Autoscaler chooses a group.
    pub enum Expander {
        /// The one that leaves the least CPU and memory unused.
        LeastWaste = "least-waste",
        /// At random (older releases).
        Random = "random",
        /// The one that takes most pods.
        MostPods = "most-pods",
        /// The one that needs the fewest nodes.
        LeastNodes = "least-nodes",
        /// The cheapest.
        Price = "price",
        /// The one with the highest `priority`.
        Priority = "priority",
    }
}

table! {
    /// Karpenter's own settings. Source: karpenter v1.14, settings.
    pub struct Karpenter {
        /// A pass begins when no new pod has come for this long,
        pub batch_idle_duration: SimDuration as Seconds = SimDuration::from_secs(1),
        /// and at the latest this long after the first one.
        pub batch_max_duration: SimDuration as Seconds = SimDuration::from_secs(10),
        /// Whether a Spot node may be replaced by a cheaper Spot node.
        pub spot_to_spot_consolidation: bool = false,
        /// Share of an instance's memory that its virtual machine takes.
        pub vm_memory_overhead_percent: f64 as Share = 0.075,
        /// Whether interruption notices are acted upon (the interruption queue is set up).
        pub interruption_queue: Switch = Switch::Enabled,
    }
}

table! {
    /// The VPC CNI plugin. Source: aws/amazon-vpc-cni-k8s.
    pub struct VpcCni {
        /// Whether interfaces get prefixes of 16 addresses instead of single ones.
        pub enable_prefix_delegation: bool = false,
    }
}

table! {
    /// A priority class. Source: scheduling.k8s.io/v1.
    pub struct PriorityClass {
        /// The priority, up to 1,000,000,000.
        pub value: i32,
        /// Whether pods of it push others out.
        pub preemption_policy: Preemption = Preemption::PreemptLowerPriority,
    }
}

words! {
    /// Whether pods push others out.
    pub enum Preemption {
        /// They do.
        PreemptLowerPriority = "PreemptLowerPriority",
        /// They wait.
        Never = "Never",
    }
}

table! {
    /// A namespace with limits of its own.
    pub struct Namespace {
        /// What all its pods together may ask for; absent: no limit.
        pub resource_quota: Option<ResourceQuota> = None,
    }
}

table! {
    /// What the pods of a namespace may ask for together. Source: v1 ResourceQuota.
    pub struct ResourceQuota {
        /// CPU requested; absent: no limit.
        pub requests_cpu: Option<Cpu> = None,
        /// Memory requested; absent: no limit.
        pub requests_memory: Option<Bytes> as TaskMemory = None,
        /// Limits of CPU; absent: no limit. With one, a pod without a limit of CPU is refused.
        pub limits_cpu: Option<Cpu> = None,
        /// Limits of memory; absent: no limit.
        pub limits_memory: Option<Bytes> as TaskMemory = None,
        /// Pods; absent: no limit.
        pub pods: Option<u32> = None,
    }
}

table! {
    /// What only a Kubernetes workload has. CPU and memory of `task` are its requests.
    pub struct KubernetesService {
        /// Which controller keeps its pods.
        pub kind: WorkloadKind = WorkloadKind::Deployment,
        /// The namespace.
        pub namespace: String = "default".to_string(),
        /// Labels of its pods, beside `app`, which is the name of the service.
        pub labels: IndexMap<String, String> = IndexMap::new(),
        /// How a new revision of a Deployment takes over.
        pub strategy: RolloutStrategy = RolloutStrategy::default(),
        /// How a new revision of a StatefulSet or a DaemonSet takes over.
        pub update_strategy: PodUpdateStrategy = PodUpdateStrategy::default(),
        /// Whether the pods of a StatefulSet wait for one another.
        pub pod_management_policy: PodManagementPolicy = PodManagementPolicy::OrderedReady,
        /// The numbers of the pods of a StatefulSet.
        pub ordinals: Ordinals = Ordinals::default(),
        /// What becomes of the volumes of a StatefulSet's pods.
        pub persistent_volume_claim_retention_policy: ClaimRetention = ClaimRetention::default(),
        /// Progressive delivery by Argo Rollouts or Flagger, instead of `strategy`.
        pub rollout: Option<Rollout> = None,
        /// How long a pod must be ready before it counts as available.
        pub min_ready_seconds: u32 as WholeSeconds = 0,
        /// Time without progress after which a rollout of a Deployment is reported as failed.
        pub progress_deadline_seconds: u32 as WholeSeconds = 600,
        /// What the pod may use at most.
        pub limits: PodLimits = PodLimits::default(),
        /// Labels that the node must have.
        pub node_selector: IndexMap<String, String> = IndexMap::new(),
        /// Taints that are tolerated.
        pub tolerations: Vec<PodToleration> = Vec::new(),
        /// Nodes and pods that it must or would be near, or not.
        pub affinity: Affinity = Affinity::default(),
        /// How pods spread over zones and nodes.
        pub topology_spread_constraints: Vec<TopologySpread> = Vec::new(),
        /// The priority class; absent: priority 0.
        pub priority_class_name: Option<String> = None,
        /// When a pod takes traffic; absent: as soon as its containers run.
        pub readiness_probe: Option<Probe> = None,
        /// When a container is restarted.
        pub liveness_probe: Option<Probe> = None,
        /// What must succeed before the other probes begin.
        pub startup_probe: Option<Probe> = None,
        /// Time from the deletion of a pod until it is killed.
        pub termination_grace_period_seconds: u32 as WholeSeconds = 30,
        /// How long the preStop hook takes, during which the application still answers: `sleep` in most cases.
        pub pre_stop: SimDuration as Seconds = SimDuration::ZERO,
        /// How many pods evictions must leave; absent: none.
        pub pod_disruption_budget: Option<DisruptionBudget> = None,
        /// The Service in front: how connections reach pods.
        pub service: KubeService = KubeService::default(),
        /// The autoscaler of its replicas; absent for a fixed number.
        pub horizontal_pod_autoscaler: Option<Hpa> = None,
        /// KEDA in front of its replicas, instead of an autoscaler of one's own; absent: none.
        pub scaled_object: Option<ScaledObject> = None,
        /// Who says what its pods should request; absent: nobody.
        pub vertical_pod_autoscaler: Option<VerticalPodAutoscaler> = None,
        /// `karpenter.sh/do-not-disrupt`: pods keep their node from being disrupted.
        pub do_not_disrupt: bool = false,
        /// `cluster-autoscaler.kubernetes.io/safe-to-evict`: `false` keeps the node from being removed.
        pub safe_to_evict: Option<bool> = None,
        /// The EBS volume that its pods claim; absent: none. Each pod of a StatefulSet has one of its own.
        pub volume_claim: Option<VolumeClaim> = None,
        /// File systems of `cluster.eks.file_systems` that its pods mount, from any zone and any number at once.
        pub file_systems: Vec<String> = Vec::new(),
    }
}

table! {
    /// How a new revision takes over. Source: apps/v1 DeploymentStrategy.
    pub struct RolloutStrategy {
        /// Step by step, or all at once after the old ones have gone.
        pub r#type: RolloutType = RolloutType::RollingUpdate,
        /// Pods above the replicas, a share rounded up.
        pub max_surge: IntOrPercent = IntOrPercent::Percent(25),
        /// Pods below the replicas, a share rounded down.
        pub max_unavailable: IntOrPercent = IntOrPercent::Percent(25),
    }
}

words! {
    /// The type of a Deployment's strategy.
    pub enum RolloutType {
        /// Step by step.
        RollingUpdate = "RollingUpdate",
        /// The old pods go first.
        Recreate = "Recreate",
    }
}

table! {
    /// What a pod may use at most.
    pub struct PodLimits {
        /// CPU; absent: what the node has left, shared by requests.
        pub cpu: Option<Cpu> = None,
        /// Memory; absent: its request.
        pub memory: Option<Bytes> as TaskMemory = None,
    }
}

table! {
    /// A taint of a node.
    pub struct NodeTaint {
        /// Its key.
        pub key: String,
        /// Its value.
        pub value: String = String::new(),
        /// What it does to pods that do not tolerate it.
        pub effect: TaintEffect = TaintEffect::NoSchedule,
    }
}

words! {
    /// What a taint does.
    pub enum TaintEffect {
        /// No new pod.
        NoSchedule = "NoSchedule",
        /// New pods go elsewhere if they can.
        PreferNoSchedule = "PreferNoSchedule",
        /// No new pod, and those that run are evicted.
        NoExecute = "NoExecute",
    }
}

table! {
    /// A toleration.
    pub struct PodToleration {
        /// The key that is tolerated; absent for all.
        pub key: Option<String> = None,
        /// `Equal` compares the value, `Exists` does not.
        pub operator: TolerationOperator = TolerationOperator::Equal,
        /// The value that is tolerated.
        pub value: String = String::new(),
        /// The effect that is tolerated; absent for all.
        pub effect: Option<TaintEffect> = None,
    }
}

words! {
    /// How a toleration compares.
    pub enum TolerationOperator {
        /// Key and value.
        Equal = "Equal",
        /// The key only.
        Exists = "Exists",
    }
}

table! {
    /// Nodes and pods that a pod must or would be near, or not.
    pub struct Affinity {
        /// Required node affinity: one of these terms must match.
        pub required_nodes: Vec<NodeTerm> = Vec::new(),
        /// Preferred node affinity.
        pub preferred_nodes: Vec<PreferredNodes> = Vec::new(),
        /// Pods that it must be near.
        pub required_pods: Vec<PodTerm> = Vec::new(),
        /// Pods that it would be near, with a weight.
        pub preferred_pods: Vec<PodTerm> = Vec::new(),
        /// Pods that it must not be near.
        pub anti_required_pods: Vec<PodTerm> = Vec::new(),
        /// Pods that it would not be near, with a weight.
        pub anti_preferred_pods: Vec<PodTerm> = Vec::new(),
    }
}

table! {
    /// Requirements on a node's labels, all of which must hold.
    pub struct NodeTerm {
        /// The requirements.
        pub match_expressions: Vec<LabelRequirement>,
    }
}

table! {
    /// A preference for nodes.
    pub struct PreferredNodes {
        /// 1 to 100.
        pub weight: u32,
        /// The requirements.
        pub match_expressions: Vec<LabelRequirement>,
    }
}

table! {
    /// Pods in a domain.
    pub struct PodTerm {
        /// The label of nodes whose values are the domains.
        pub topology_key: String = "kubernetes.io/hostname".to_string(),
        /// The service whose pods are meant; absent: its own.
        pub service: Option<String> = None,
        /// 1 to 100, for preferences.
        pub weight: u32 = 100,
    }
}

table! {
    /// A requirement on a label.
    pub struct LabelRequirement {
        /// The label.
        pub key: String,
        /// How it compares.
        pub operator: LabelOperator,
        /// With what.
        pub values: Vec<String> = Vec::new(),
        /// Karpenter only: fewest different values that must stay possible.
        pub min_values: Option<u32> = None,
    }
}

words! {
    /// How a requirement compares.
    pub enum LabelOperator {
        /// One of the values.
        In = "In",
        /// None of the values, or absent.
        NotIn = "NotIn",
        /// There.
        Exists = "Exists",
        /// Absent.
        DoesNotExist = "DoesNotExist",
        /// An integer above the value.
        Gt = "Gt",
        /// An integer below the value.
        Lt = "Lt",
    }
}

table! {
    /// How pods of the service spread. Source: v1 TopologySpreadConstraint.
    pub struct TopologySpread {
        /// By how many pods a domain may lead.
        pub max_skew: u32 = 1,
        /// The label of nodes whose values are the domains.
        pub topology_key: String,
        /// What happens where it cannot hold.
        pub when_unsatisfiable: WhenUnsatisfiable = WhenUnsatisfiable::DoNotSchedule,
        /// With fewer domains the emptiest counts as holding none.
        pub min_domains: Option<u32> = None,
    }
}

words! {
    /// What happens where a spread constraint cannot hold.
    pub enum WhenUnsatisfiable {
        /// The pod waits.
        DoNotSchedule = "DoNotSchedule",
        /// The node scores lower.
        ScheduleAnyway = "ScheduleAnyway",
    }
}

table! {
    /// A probe of the kubelet. Source: v1 Probe.
    pub struct Probe {
        /// Seconds after the container's start before it begins.
        pub initial_delay_seconds: u32 as WholeSeconds = 0,
        /// Time between two probes.
        pub period_seconds: u32 as WholeSeconds = 10,
        /// Time after which a probe has failed.
        pub timeout_seconds: u32 as WholeSeconds = 1,
        /// Successes in a row that count as success.
        pub success_threshold: u32 = 1,
        /// Failures in a row that count as failure.
        pub failure_threshold: u32 = 3,
        /// CPU work of one probe.
        pub cpu_time: SimDuration = SimDuration::from_millis(1),
    }
}

table! {
    /// How many pods evictions must leave. One of both. Source: policy/v1 PodDisruptionBudget.
    pub struct DisruptionBudget {
        /// Pods that must stay, a share rounded up.
        pub min_available: Option<IntOrPercent> = None,
        /// Pods that may be away, a share rounded up.
        pub max_unavailable: Option<IntOrPercent> = None,
        /// Whether pods that are not ready may always be evicted.
        pub unhealthy_pod_eviction_policy: UnhealthyEviction = UnhealthyEviction::IfHealthyBudget,
    }
}

words! {
    /// Whether pods that are not ready may be evicted.
    pub enum UnhealthyEviction {
        /// When the budget holds.
        IfHealthyBudget = "IfHealthyBudget",
        /// Always.
        AlwaysAllow = "AlwaysAllow",
    }
}

table! {
    /// How connections reach pods.
    pub struct KubeService {
        /// What stands in front. Absent: a load balancer where `load_balancer` is written, else kube-proxy.
        pub r#type: Option<KubeServiceType> = None,
        /// Where the load balancer sends. Source: AWS Load Balancer Controller, `target-type`.
        pub target_type: TargetType = TargetType::Ip,
        /// To which pods a node passes on what the load balancer sends it; with the target type `instance`.
        pub external_traffic_policy: ExternalTrafficPolicy = ExternalTrafficPolicy::Cluster,
    }
}

words! {
    /// What stands in front of pods.
    pub enum KubeServiceType {
        /// kube-proxy: each connection goes to a ready pod at random.
        ClusterIp = "ClusterIP",
        /// The load balancer that `load_balancer` describes: an Application one as an Ingress has it, a Network one as a
        /// Service of this type has it.
        LoadBalancer = "LoadBalancer",
    }
}

words! {
    /// What the targets of a load balancer are.
    pub enum TargetType {
        /// The pods themselves, with readiness gates.
        Ip = "ip",
        /// The nodes, whose kube-proxy passes it on to a ready pod at random: no health check of the load balancer
        /// sees a pod, and a pod leaves when the proxies know.
        Instance = "instance",
    }
}

words! {
    /// To which pods a node passes on what comes from outside.
    pub enum ExternalTrafficPolicy {
        /// To any, most of them on other nodes.
        Cluster = "Cluster",
        /// To its own: nodes without a pod get nothing, and each node the same, however many pods it has.
        Local = "Local",
    }
}

table! {
    /// A Horizontal Pod Autoscaler. Source: autoscaling/v2.
    pub struct Hpa {
        /// Fewest replicas.
        pub min_replicas: u32 = 1,
        /// Most replicas.
        pub max_replicas: u32,
        /// What is looked at; none: CPU at 80 % of its request.
        pub metrics: Vec<HpaMetric> = Vec::new(),
        /// How fast it may go; absent: the controller's own rules.
        pub behavior: Option<HpaBehavior> = None,
    }
}

tagged! {
    /// A metric of a Horizontal Pod Autoscaler.
    by "type"
    pub enum HpaMetric {
        /// CPU or memory of the pods.
        Resource(ResourceMetric) = "Resource",
        /// Requests a second of each pod, by a metrics adapter.
        Pods(PodsMetric) = "Pods",
        /// The length of a queue, by a metrics adapter.
        External(ExternalMetric) = "External",
        /// Requests a second that reach another object: the Service or Ingress of a service, by a metrics adapter.
        Object(ObjectMetric) = "Object",
    }
}

table! {
    /// CPU or memory of the pods.
    pub struct ResourceMetric {
        /// Which.
        pub name: ResourceName = ResourceName::Cpu,
        /// Use over request, in percent; for memory, too.
        pub average_utilization: u32,
    }
}

words! {
    /// A resource of pods.
    pub enum ResourceName {
        /// CPU.
        Cpu = "cpu",
        /// Memory.
        Memory = "memory",
    }
}

table! {
    /// Requests a second of each pod.
    pub struct PodsMetric {
        /// The aim: requests a second of one pod.
        pub average_value: f64,
    }
}

table! {
    /// Requests a second that reach the Service or Ingress of a service. Either `value` or `average_value`.
    pub struct ObjectMetric {
        /// The service whose Service or Ingress it is; absent: its own.
        pub described_object: Option<String> = None,
        /// The aim: requests a second in all. Replicas grow in proportion.
        pub value: Option<f64> = None,
        /// The aim: requests a second for each pod.
        pub average_value: Option<f64> = None,
    }
}

table! {
    /// The length of a queue.
    pub struct ExternalMetric {
        /// The queue.
        pub queue: String,
        /// The aim: messages for each pod.
        pub average_value: f64,
    }
}

table! {
    /// How fast an autoscaler may go. Source: autoscaling/v2 HorizontalPodAutoscalerBehavior.
    pub struct HpaBehavior {
        /// Upwards; absent: the defaults.
        pub scale_up: Option<HpaRules> = None,
        /// Downwards; absent: the defaults.
        pub scale_down: Option<HpaRules> = None,
    }
}

table! {
    /// Rules for one direction.
    pub struct HpaRules {
        /// Window over which the most careful recommendation counts; absent: the default of the direction.
        pub stabilization_window_seconds: Option<u32> = None,
        /// Which policy counts.
        pub select_policy: SelectPolicy = SelectPolicy::Max,
        /// Limits of the change; empty: the defaults of the direction.
        pub policies: Vec<HpaPolicy> = Vec::new(),
    }
}

words! {
    /// Which policy counts.
    pub enum SelectPolicy {
        /// The one that allows most.
        Max = "Max",
        /// The one that allows least.
        Min = "Min",
        /// No change in this direction.
        Disabled = "Disabled",
    }
}

table! {
    /// A limit of the change within a period.
    pub struct HpaPolicy {
        /// Pods, or percent of the replicas.
        pub r#type: HpaPolicyType,
        /// How many.
        pub value: u32,
        /// Within which time, 1 to 1,800 s.
        pub period_seconds: u32 as WholeSeconds,
    }
}

words! {
    /// The unit of a policy.
    pub enum HpaPolicyType {
        /// Pods.
        Pods = "Pods",
        /// Percent of the replicas.
        Percent = "Percent",
    }
}

table! {
    /// A ScaledObject of KEDA: it takes the workload to nothing and back, and makes the autoscaler for what lies between.
    /// Source: keda.sh/v1alpha1.
    pub struct ScaledObject {
        /// Time between two looks at the triggers.
        pub polling_interval: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Time since a trigger was last active, after which the workload may go to nothing.
        pub cooldown_period: SimDuration as Seconds = SimDuration::from_secs(300),
        /// The same from the start on, while no trigger has been active yet.
        pub initial_cooldown_period: SimDuration as Seconds = SimDuration::ZERO,
        /// Replicas while no trigger is active, where that is fewer than `min_replica_count`.
        pub idle_replica_count: Option<u32> = None,
        /// Fewest replicas; with 0 the workload goes to nothing.
        pub min_replica_count: u32 = 0,
        /// Most replicas.
        pub max_replica_count: u32 = 100,
        /// What is looked at.
        pub triggers: Vec<QueueTrigger>,
        /// How fast the autoscaler may go; absent: its own rules.
        pub behavior: Option<HpaBehavior> = None,
    }
}

table! {
    /// A trigger on a queue. Source: KEDA, scaler `aws-sqs-queue`.
    pub struct QueueTrigger {
        /// The queue.
        pub queue: String,
        /// The aim: messages for each replica.
        pub queue_length: u32 = 5,
        /// Messages above which it is active.
        pub activation_queue_length: u64 = 0,
        /// Whether messages count that a consumer has and has not deleted.
        pub scale_on_in_flight: bool = true,
        /// Whether messages count that may not be received yet.
        pub scale_on_delayed: bool = false,
    }
}
