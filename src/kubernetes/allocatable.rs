//! What a node offers to pods: its capacity less what the kubelet keeps.
//!
//! Rule: allocatable = capacity - kube-reserved - system-reserved - eviction threshold. EKS reserves 6 % of
//! the first core, 1 % of the second, 0.5 % of the next two and 0.25 % of the rest, each part cut to whole
//! millicores; 255 MiB of memory and 11 MiB for each pod that the node may hold; 1 GiB of ephemeral
//! storage. The kubelet keeps 100 MiB of memory and 10 % of ephemeral storage free.
//!
//! Source: `nodeadm/internal/kubelet/config.go` of amazon-eks-ami; `pkg/providers/instancetype/types.go` of
//! karpenter-provider-aws, which agree.
//!
//! Known departure: the memory that a node registers is not published by type. The estimate is Karpenter's,
//! 7.5 % less than nominal; real nodes register a little more (an m5.large 5.7 % less).

use serde::{Deserialize, Serialize};

use super::object::Resources;

const MIB: i64 = 1 << 20;
/// Ephemeral storage of a node without another root volume: 20 GiB.
pub const DEFAULT_EPHEMERAL_STORAGE: i64 = 20 << 30;
/// Karpenter's `--vm-memory-overhead-percent`.
pub const VM_MEMORY_OVERHEAD: f64 = 0.075;
/// What arm64 types lose before that.
const ARM_MEMORY_MIB: i64 = 64;

/// Amounts of what is reserved; absent for the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// CPU in millicores.
    pub cpu_m: Option<i64>,
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Ephemeral storage in bytes.
    pub ephemeral_storage: Option<i64>,
}

/// A hard eviction threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Threshold {
    /// So many bytes.
    Bytes(i64),
    /// A share of the capacity in percent; 100 switches it off.
    Percent(f64),
}

impl Threshold {
    /// In bytes, rounded up.
    #[must_use]
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) if percent >= 100.0 => 0,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0).ceil() as i64,
        }
    }
}

/// The part of the kubelet's configuration that decides what a node offers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KubeletConfiguration {
    /// `maxPods`; absent for the number of addresses (see [`super::cni::EniLimits::max_pods`]).
    pub max_pods: Option<u32>,
    /// `podsPerCore`; absent or 0 for no such limit.
    pub pods_per_core: Option<u32>,
    /// `kubeReserved`.
    pub kube_reserved: Reserved,
    /// `systemReserved`: nothing.
    pub system_reserved: Reserved,
    /// `evictionHard["memory.available"]`: 100Mi.
    pub eviction_memory: Threshold,
    /// `evictionHard["nodefs.available"]`: 10 %.
    pub eviction_nodefs: Threshold,
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        Self {
            max_pods: None,
            pods_per_core: None,
            kube_reserved: Reserved::default(),
            system_reserved: Reserved::default(),
            eviction_memory: Threshold::Bytes(100 * MIB),
            eviction_nodefs: Threshold::Percent(10.0),
        }
    }
}

impl KubeletConfiguration {
    /// The pods that a node may hold, given how many its addresses allow.
    #[must_use]
    pub fn pods(&self, by_addresses: u32, vcpus: u32) -> u32 {
        let most = self.max_pods.unwrap_or(by_addresses);
        match self.pods_per_core {
            None | Some(0) => most,
            Some(each) => most.min(each.saturating_mul(vcpus)),
        }
    }

    /// What it keeps of a capacity for Kubernetes and for the system, and so as not to have to evict.
    #[must_use]
    pub fn overhead(&self, capacity: &Resources) -> Resources {
        let kube = &self.kube_reserved;
        let system = &self.system_reserved;
        let both = |kube: i64, system: Option<i64>| kube.saturating_add(system.unwrap_or(0));
        Resources {
            cpu_m: both(kube.cpu_m.unwrap_or_else(|| kube_reserved_cpu_m(capacity.cpu_m)), system.cpu_m),
            memory: both(kube.memory.unwrap_or_else(|| kube_reserved_memory(capacity.pods)), system.memory)
                .saturating_add(self.eviction_memory.of(capacity.memory)),
            ephemeral_storage: both(kube.ephemeral_storage.unwrap_or(1 << 30), system.ephemeral_storage)
                .saturating_add(self.eviction_nodefs.of(capacity.ephemeral_storage)),
            pods: 0,
            extended: Vec::new(),
        }
    }

    /// What it offers of a capacity; never less than nothing.
    #[must_use]
    pub fn allocatable(&self, capacity: &Resources) -> Resources {
        let overhead = self.overhead(capacity);
        Resources {
            cpu_m: (capacity.cpu_m - overhead.cpu_m).max(0),
            memory: (capacity.memory - overhead.memory).max(0),
            ephemeral_storage: (capacity.ephemeral_storage - overhead.ephemeral_storage).max(0),
            pods: capacity.pods,
            extended: capacity.extended.clone(),
        }
    }
}

/// CPU that EKS reserves of a node with so many millicores, in millicores.
#[must_use]
pub fn kube_reserved_cpu_m(capacity_m: i64) -> i64 {
    // Ranges of millicores, each with its share in ten-thousandths.
    const RANGES: [(i64, i64, i64); 4] =
        [(0, 1_000, 600), (1_000, 2_000, 100), (2_000, 4_000, 50), (4_000, i64::MAX, 25)];
    RANGES.iter().map(|&(from, to, share)| (capacity_m.min(to) - from).max(0) * share / 10_000).sum()
}

/// Memory that EKS reserves of a node with room for so many pods, in bytes. (With Karpenter and an AL2
/// family image the pods are those that the interfaces allow, whatever `maxPods` says.)
#[must_use]
pub fn kube_reserved_memory(max_pods: i64) -> i64 {
    (11 * max_pods.clamp(0, i64::from(u32::MAX)) + 255) * MIB
}

/// Memory in bytes that a node of a nominal size is estimated to register.
#[must_use]
pub fn estimated_memory(nominal_mib: u64, arm: bool, overhead: f64) -> i64 {
    let nominal = i64::try_from(nominal_mib).unwrap_or(i64::MAX / MIB) - if arm { ARM_MEMORY_MIB } else { 0 };
    (nominal - (nominal as f64 * overhead).ceil() as i64).max(0) * MIB
}

/// A DaemonSet that EKS clusters usually run on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemDaemon {
    /// Its name.
    pub name: &'static str,
    /// What a pod requests in millicores.
    pub cpu_m: i64,
    /// What a pod requests in bytes.
    pub memory: i64,
    /// Whether it uses the node's own address.
    pub host_network: bool,
}

/// The usual system DaemonSets with the requests of their add-ons (from memory of the manifests; they change with versions).
pub const SYSTEM_DAEMONS: [SystemDaemon; 4] = [
    SystemDaemon { name: "aws-node", cpu_m: 50, memory: 0, host_network: true },
    SystemDaemon { name: "kube-proxy", cpu_m: 100, memory: 0, host_network: true },
    SystemDaemon { name: "ebs-csi-node", cpu_m: 30, memory: 120 * MIB, host_network: false },
    SystemDaemon { name: "eks-pod-identity-agent", cpu_m: 0, memory: 0, host_network: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_those_of_the_image() {
        assert_eq!(kube_reserved_cpu_m(4_000), 80);
        assert_eq!(kube_reserved_cpu_m(96_000), 310);
        assert_eq!(kube_reserved_cpu_m(2_000), 70);
        assert_eq!(kube_reserved_memory(58), 893 * MIB);
    }

    #[test]
    fn a_node_offers_what_karpenter_documents() {
        let node = |vcpus: i64, mib: u64, arm, pods| {
            let capacity = Resources {
                cpu_m: vcpus * 1_000,
                memory: estimated_memory(mib, arm, VM_MEMORY_OVERHEAD),
                ephemeral_storage: DEFAULT_EPHEMERAL_STORAGE,
                pods,
                extended: Vec::new(),
            };
            let offered = KubeletConfiguration::default().allocatable(&capacity);
            (offered.cpu_m, offered.memory / MIB, offered.ephemeral_storage >> 30)
        };
        assert_eq!(node(8, 7_168, false, 58), (7_910, 5_637, 17));
        assert_eq!(node(64, 131_072, true, 737), (63_770, 112_720, 17));
        // A t4g.small is thought to offer less than it does (1,375 MiB).
        assert!(node(2, 2_048, true, 11).1 <= 1_375);
    }

    #[test]
    fn settings_replace_the_defaults() {
        let config = KubeletConfiguration {
            pods_per_core: Some(4),
            max_pods: Some(20),
            eviction_memory: Threshold::Percent(100.0),
            ..KubeletConfiguration::default()
        };
        assert_eq!((config.pods(737, 2), config.pods(737, 8)), (8, 20));
        assert_eq!(config.eviction_memory.of(16 << 30), 0);
        assert_eq!(Threshold::Percent(10.0).of(1_001), 101);
    }
}
