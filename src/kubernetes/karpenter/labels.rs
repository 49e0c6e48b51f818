//! The labels that Karpenter knows: their keys, and the values that it compares itself.
//!
//! Source: `karpenter.sh` and `karpenter.k8s.aws` API packages (v1.14).

use super::instance::CapacityType;
use crate::kubernetes::object::{Symbol, Symbols};

macro_rules! well_known {
    ($($(#[$doc:meta])* $field:ident = $text:literal),+ $(,)?) => {
        /// The symbols of the labels that Karpenter knows.
        #[derive(Clone, Debug)]
        pub struct WellKnown {
            $($(#[$doc])* pub $field: Symbol,)+
            /// The values of `karpenter.sh/capacity-type`, in the order of [`CapacityType`].
            pub capacity_types: [Symbol; 3],
            keys: Vec<Symbol>,
            aliases: Vec<(Symbol, Symbol)>,
        }

        impl WellKnown {
            /// Interns them.
            #[must_use]
            pub fn new(symbols: &mut Symbols) -> Self {
                $(let $field = symbols.intern($text);)+
                let keys = vec![$($field),+];
                let capacity_types = CapacityType::ALL.map(|c| symbols.intern(c.label()));
                let own = Self { $($field,)+ capacity_types, keys, aliases: Vec::new() };
                own.completed(symbols)
            }
        }
    };
}

well_known! {
    /// The node's own name.
    hostname = "kubernetes.io/hostname",
    /// The availability zone.
    zone = "topology.kubernetes.io/zone",
    /// The region.
    region = "topology.kubernetes.io/region",
    /// The instance type's name.
    instance_type = "node.kubernetes.io/instance-type",
    /// `amd64` or `arm64`.
    arch = "kubernetes.io/arch",
    /// `linux` or `windows`.
    os = "kubernetes.io/os",
    /// `on-demand`, `spot` or `reserved`.
    capacity_type = "karpenter.sh/capacity-type",
    /// The NodePool's name.
    node_pool = "karpenter.sh/nodepool",
    /// The first letter or letters of the family: `m` of `m7g`.
    instance_category = "karpenter.k8s.aws/instance-category",
    /// The family: `m7g`.
    instance_family = "karpenter.k8s.aws/instance-family",
    /// The generation: `7`.
    instance_generation = "karpenter.k8s.aws/instance-generation",
    /// The size: `large`.
    instance_size = "karpenter.k8s.aws/instance-size",
    /// vCPUs.
    instance_cpu = "karpenter.k8s.aws/instance-cpu",
    /// `intel`, `amd` or `aws`.
    instance_cpu_manufacturer = "karpenter.k8s.aws/instance-cpu-manufacturer",
    /// Sustained clock in MHz.
    instance_cpu_clock = "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz",
    /// Nominal memory in MiB.
    instance_memory = "karpenter.k8s.aws/instance-memory",
    /// EBS bandwidth at its peak in Mbit/s.
    instance_ebs_bandwidth = "karpenter.k8s.aws/instance-ebs-bandwidth",
    /// Network bandwidth that lasts in Mbit/s.
    instance_network_bandwidth = "karpenter.k8s.aws/instance-network-bandwidth",
    /// `nitro`, or empty on bare metal.
    instance_hypervisor = "karpenter.k8s.aws/instance-hypervisor",
    /// Instance store in GB.
    instance_local_nvme = "karpenter.k8s.aws/instance-local-nvme",
    /// GPUs.
    instance_gpu_count = "karpenter.k8s.aws/instance-gpu-count",
    /// Memory of a GPU in MiB.
    instance_gpu_memory = "karpenter.k8s.aws/instance-gpu-memory",
    /// `nvidia` or `amd`.
    instance_gpu_manufacturer = "karpenter.k8s.aws/instance-gpu-manufacturer",
}

impl WellKnown {
    fn completed(mut self, symbols: &mut Symbols) -> Self {
        // The name of a node that is not there yet cannot be asked for.
        let hostname = self.hostname;
        self.keys.retain(|k| *k != hostname);
        self.keys.sort_unstable();
        self.aliases = vec![
            (symbols.intern("failure-domain.beta.kubernetes.io/zone"), self.zone),
            (symbols.intern("failure-domain.beta.kubernetes.io/region"), self.region),
            (symbols.intern("topology.ebs.csi.aws.com/zone"), self.zone),
            (symbols.intern("beta.kubernetes.io/arch"), self.arch),
            (symbols.intern("beta.kubernetes.io/os"), self.os),
            (symbols.intern("beta.kubernetes.io/instance-type"), self.instance_type),
        ];
        self
    }

    /// Whether a NodeClaim that is still to be launched may be asked for a key that its NodePool does not define.
    #[must_use]
    pub fn is_well_known(&self, key: Symbol) -> bool {
        self.keys.binary_search(&key).is_ok()
    }

    /// The key that took the place of a deprecated one; the key itself else.
    #[must_use]
    pub fn current(&self, key: Symbol) -> Symbol {
        self.aliases.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| *new)
    }

    /// The value of a capacity type.
    #[must_use]
    pub fn value_of(&self, capacity_type: CapacityType) -> Symbol {
        self.capacity_types[capacity_type as usize]
    }

    /// The capacity type of a value.
    #[must_use]
    pub fn capacity_type_of(&self, value: Symbol) -> Option<CapacityType> {
        CapacityType::ALL.into_iter().find(|c| self.value_of(*c) == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::LABELS_OF_KARPENTER;

    #[test]
    fn the_language_knows_the_labels_of_karpenter() {
        let mut symbols = Symbols::default();
        let known = WellKnown::new(&mut symbols);
        let own = known.keys.iter().filter(|k| symbols.text(**k).starts_with("karpenter."));
        assert_eq!(own.count(), LABELS_OF_KARPENTER.len());
        assert!(LABELS_OF_KARPENTER.iter().all(|l| known.is_well_known(symbols.intern(l))));
    }
}
