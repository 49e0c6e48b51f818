//! What a user writes for Karpenter: NodePools, their disruption budgets, and EC2NodeClasses.
//!
//! Source: `karpenter.sh/v1` and `karpenter.k8s.aws/v1` API types; defaults are theirs.

use super::instance::{GIB, VM_MEMORY_OVERHEAD_MILLIONTHS};
use super::labels::WellKnown;
use super::requirements::{Requirements, ValueSet};
use crate::kernel::SimDuration;
use crate::kubernetes::object::{Labels, Requirement, Resources, Symbol, Symbols, Taint};

/// A requirement of a NodePool with its demand for flexibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRequirement {
    /// The requirement.
    pub requirement: Requirement,
    /// `minValues`: how many values must remain to choose from, 1 to 50.
    pub min_values: Option<u32>,
}

/// When nodes of a pool are consolidated: `disruption.consolidationPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsolidationPolicy {
    /// Only nodes without pods that would have to move.
    WhenEmpty,
    /// Whenever the pods fit elsewhere or on something cheaper.
    #[default]
    WhenEmptyOrUnderutilized,
    /// The same, where the saving is worth the disturbance.
    Balanced,
}

/// Why a node is disrupted of free will, as budgets tell reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It is not as its NodePool or NodeClass now says.
    Drifted,
    /// Its pods fit elsewhere or on something cheaper.
    Underutilized,
    /// It has no pods that would have to move.
    Empty,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Drifted, Self::Underutilized, Self::Empty];

    /// The API's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drifted => "Drifted",
            Self::Underutilized => "Underutilized",
            Self::Empty => "Empty",
        }
    }
}

/// A disruption budget: how many nodes of the pool may be disrupted at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `nodes`: a number or a percentage of the pool's nodes, such as `10%`.
    pub nodes: String,
    /// `reasons`: what it limits; empty for every reason.
    pub reasons: Vec<Reason>,
    /// `schedule`: cron in UTC or `@daily` and the like; always active without.
    pub schedule: Option<String>,
    /// `duration`: how long it is active from each hit of the schedule.
    pub duration: Option<SimDuration>,
}

impl Default for Budget {
    /// A tenth of the nodes, always.
    fn default() -> Self {
        Self { nodes: "10%".to_owned(), reasons: Vec::new(), schedule: None, duration: None }
    }
}

/// `disruption` of a NodePool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disruption {
    /// `consolidationPolicy`.
    pub consolidation_policy: ConsolidationPolicy,
    /// `consolidateAfter`: how long after the last pod came or went; `None` is `Never`.
    pub consolidate_after: Option<SimDuration>,
    /// `budgets`.
    pub budgets: Vec<Budget>,
}

impl Default for Disruption {
    fn default() -> Self {
        Self {
            consolidation_policy: ConsolidationPolicy::default(),
            consolidate_after: Some(SimDuration::ZERO),
            budgets: vec![Budget::default()],
        }
    }
}

/// `limits` of a NodePool; what is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Millicores.
    pub cpu_m: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes.
    pub ephemeral_storage: Option<i64>,
    /// Pods that the nodes could take.
    pub pods: Option<i64>,
    /// Nodes.
    pub nodes: Option<i64>,
    /// Extended resources.
    pub extended: Vec<(Symbol, i64)>,
}

impl Limits {
    /// Takes the capacity of `nodes` nodes from what is left.
    pub fn take(&mut self, capacity: &Resources, nodes: i64) {
        let less = |limit: &mut Option<i64>, by: i64| *limit = limit.map(|l| l.saturating_sub(by));
        less(&mut self.cpu_m, capacity.cpu_m);
        less(&mut self.memory, capacity.memory);
        less(&mut self.ephemeral_storage, capacity.ephemeral_storage);
        less(&mut self.pods, capacity.pods);
        less(&mut self.nodes, nodes);
        for (name, left) in &mut self.extended {
            *left = left.saturating_sub(capacity.extended(*name));
        }
    }

    /// Whether a machine of this capacity stays within what is left; the number of nodes is not looked at.
    #[must_use]
    pub fn allow(&self, capacity: &Resources) -> bool {
        let within = |limit: Option<i64>, amount: i64| limit.is_none_or(|l| amount <= l);
        within(self.cpu_m, capacity.cpu_m)
            && within(self.memory, capacity.memory)
            && within(self.ephemeral_storage, capacity.ephemeral_storage)
            && within(self.pods, capacity.pods)
            && self.extended.iter().all(|(name, left)| capacity.extended(*name) <= *left)
    }

    /// Whether one more node stays within the number of nodes.
    #[must_use]
    pub fn allow_node(&self) -> bool {
        self.nodes.is_none_or(|n| n >= 1)
    }

    /// Whether anything is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A NodePool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePool {
    /// Its name.
    pub name: Symbol,
    /// `weight`, 1 to 100; 0 where it is absent. The heaviest is tried first, equal ones from the end of the alphabet.
    pub weight: i32,
    /// `template.spec.requirements`.
    pub requirements: Vec<PoolRequirement>,
    /// `template.metadata.labels`.
    pub labels: Labels,
    /// `template.spec.taints`.
    pub taints: Vec<Taint>,
    /// `template.spec.startupTaints`: pods need not tolerate them; a node is initialized once they are gone.
    pub startup_taints: Vec<Taint>,
    /// `template.spec.expireAfter`; `None` is `Never`.
    pub expire_after: Option<SimDuration>,
    /// `template.spec.terminationGracePeriod`; absent: drains wait for ever.
    pub termination_grace_period: Option<SimDuration>,
    /// `disruption`.
    pub disruption: Disruption,
    /// `limits`.
    pub limits: Limits,
    /// `replicas`: a fixed number of nodes, without consolidation (alpha).
    pub replicas: Option<u32>,
    /// Whether it can be used: ready, and not being deleted.
    pub ready: bool,
    /// Which table of instance types belongs to it, by its NodeClass: an index into [`super::world::World::tables`].
    pub table: usize,
}

impl NodePool {
    /// A pool of a name with every default: no requirement, `expireAfter` of 720 h, a budget of 10 %.
    #[must_use]
    pub fn new(name: Symbol, table: usize) -> Self {
        Self {
            name,
            weight: 0,
            requirements: Vec::new(),
            labels: Labels::default(),
            taints: Vec::new(),
            startup_taints: Vec::new(),
            expire_after: Some(SimDuration::from_secs(720 * 3_600)),
            termination_grace_period: None,
            disruption: Disruption::default(),
            limits: Limits::default(),
            replicas: None,
            ready: true,
            table,
        }
    }

    /// What its nodes satisfy: requirements, labels and the pool's own name.
    #[must_use]
    pub fn node_requirements(&self, known: &WellKnown, symbols: &Symbols) -> Requirements {
        let mut all = Requirements::default();
        for PoolRequirement { requirement: r, min_values } in &self.requirements {
            let set = ValueSet::from_operator(r.operator, &r.values, symbols).with_min_values(*min_values);
            all.add(known.current(r.key), set, symbols);
        }
        all.add_all(&Requirements::from_labels(&self.labels), symbols);
        all.add(known.node_pool, ValueSet::of([self.name]), symbols);
        all
    }

    /// Whether the scheduler may use it.
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        self.ready && self.replicas.is_none()
    }
}

/// The family of the machine image: `amiFamily`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmiFamily {
    /// Amazon Linux 2023.
    #[default]
    Al2023,
    /// Bottlerocket.
    Bottlerocket,
    /// Windows Server.
    Windows,
    /// One's own.
    Custom,
}

impl AmiFamily {
    /// Whether the number of pods follows from network interfaces; 110 else.
    #[must_use]
    pub const fn limits_pods_by_eni(self) -> bool {
        !matches!(self, Self::Windows)
    }

    /// Whether `podsPerCore` has an effect.
    #[must_use]
    pub const fn supports_pods_per_core(self) -> bool {
        !matches!(self, Self::Bottlerocket)
    }

    /// Whether reserved memory counts the pods that the node takes, rather than those that its interfaces would.
    #[must_use]
    pub const fn reserves_by_max_pods(self) -> bool {
        matches!(self, Self::Bottlerocket | Self::Windows)
    }
}

/// Amounts that are configured; what is absent follows a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Millicores.
    pub cpu_m: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes.
    pub ephemeral_storage: Option<i64>,
}

/// A threshold of `evictionHard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionThreshold {
    /// Bytes.
    Bytes(i64),
    /// A share of capacity in millionths. The whole means that the signal is off.
    Millionths(i64),
}

impl EvictionThreshold {
    /// Reads a percentage such as `10%` or `7.5%`; `None` where it is none between 0 and 100.
    #[must_use]
    pub fn percent(text: &str) -> Option<Self> {
        let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then(|| Self::Millionths((percent * 10_000.0).round() as i64))
    }

    /// Bytes, of a capacity in bytes; a share is rounded up.
    #[must_use]
    pub fn amount(self, capacity: i64) -> i64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Millionths(1_000_000..) => 0,
            Self::Millionths(share) => {
                let part = (i128::from(capacity) * i128::from(share) + 999_999).div_euclid(1_000_000);
                i64::try_from(part).unwrap_or(i64::MAX)
            }
        }
    }
}

/// `kubelet` of an EC2NodeClass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kubelet {
    /// `maxPods`.
    pub max_pods: Option<i64>,
    /// `podsPerCore`.
    pub pods_per_core: Option<i64>,
    /// `kubeReserved`.
    pub kube_reserved: Reserved,
    /// `systemReserved`.
    pub system_reserved: Reserved,
    /// `evictionHard`, `memory.available`.
    pub eviction_hard_memory: Option<EvictionThreshold>,
    /// `evictionHard`, `nodefs.available`.
    pub eviction_hard_storage: Option<EvictionThreshold>,
}

/// A subnet that a NodeClass selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its zone.
    pub zone: Symbol,
    /// Free IPv4 addresses, those of instances on their way taken off.
    pub free_addresses: u64,
}

/// An EC2NodeClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClass {
    /// `amiFamily`.
    pub ami_family: AmiFamily,
    /// `kubelet`.
    pub kubelet: Kubelet,
    /// Size of the root volume in bytes, from `blockDeviceMappings`; 20 GiB of gp3.
    pub root_volume: i64,
    /// `instanceStorePolicy: RAID0`: local disks are the ephemeral storage.
    pub instance_store_raid0: bool,
    /// The subnets; their zones are the zones in which nodes can be.
    pub subnets: Vec<Subnet>,
    /// EFA-only interfaces on the default network card, from `networkInterfaces`.
    pub efa_only_interfaces: i64,
    /// Interfaces kept from pods: flag `reserved-enis`.
    pub reserved_enis: i64,
    /// The share of memory that the hypervisor is taken to keep, in millionths: flag `vm-memory-overhead-percent`.
    pub vm_memory_overhead_millionths: i64,
}

impl Default for NodeClass {
    fn default() -> Self {
        Self {
            ami_family: AmiFamily::default(),
            kubelet: Kubelet::default(),
            root_volume: 20 * GIB,
            instance_store_raid0: false,
            subnets: Vec::new(),
            efa_only_interfaces: 0,
            reserved_enis: 0,
            vm_memory_overhead_millionths: VM_MEMORY_OVERHEAD_MILLIONTHS,
        }
    }
}
