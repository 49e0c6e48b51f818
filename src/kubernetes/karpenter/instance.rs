//! Instance types and offerings, and the arithmetic of what a node of a type has to give.
//!
//! Source: `aws/karpenter-provider-aws`, `pkg/providers/instancetype/types.go` (v1.14).

use std::fmt;

use super::pool::{AmiFamily, EvictionThreshold, Kubelet, NodeClass, Reserved};
use super::requirements::Requirements;
use crate::kubernetes::object::{Resources, Symbol, Symbols};
use crate::units::Usd;

/// Bytes of a MiB.
pub const MIB: i64 = 1 << 20;
/// Bytes of a GiB.
pub const GIB: i64 = 1 << 30;
/// The share of memory that the hypervisor is taken to keep, in millionths (7.5 %): flag `vm-memory-overhead-percent`.
pub const VM_MEMORY_OVERHEAD_MILLIONTHS: i64 = 75_000;
/// Memory that the kernel sets aside on arm64.
const ARM_RESERVED_MIB: i64 = 64;

/// How an instance is paid for, in the order in which Karpenter prefers them at launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CapacityType {
    /// From a capacity reservation.
    Reserved,
    /// On the Spot market.
    Spot,
    /// On demand.
    OnDemand,
}

impl CapacityType {
    /// All, in the order of preference.
    pub const ALL: [Self; 3] = [Self::Reserved, Self::Spot, Self::OnDemand];

    /// The value of label `karpenter.sh/capacity-type`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }
}

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Where and how a type can be had, at what price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offering {
    /// The zone.
    pub zone: Symbol,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// Dollars an hour.
    pub price: Usd,
    /// Whether it can be had as far as the NodeClass and the catalog know. Shortages seen lately are in
    /// [`super::launch::Unavailable`].
    pub available: bool,
}

/// What a node keeps from pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// For kubelet and runtime.
    pub kube_reserved: Resources,
    /// For the operating system.
    pub system_reserved: Resources,
    /// Where the kubelet begins to evict.
    pub eviction_threshold: Resources,
}

impl Overhead {
    /// All three together.
    #[must_use]
    pub fn total(&self) -> Resources {
        let mut total = self.kube_reserved.clone();
        total.add(&self.system_reserved);
        total.add(&self.eviction_threshold);
        total
    }
}

/// An instance type as Karpenter sees it for one NodeClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name.
    pub name: Symbol,
    /// Its labels as requirements: zone and capacity type list what is offered, labels it cannot have do not exist.
    pub requirements: Requirements,
    /// What the machine has.
    pub capacity: Resources,
    /// What of it is kept from pods.
    pub overhead: Overhead,
    /// Where it can be had.
    pub offerings: Vec<Offering>,
    /// Bare metal, GPU or accelerator: launched only where nothing else will do.
    pub exotic: bool,
    allocatable: Resources,
}

impl InstanceType {
    /// A type from its parts.
    #[must_use]
    pub fn new(
        name: Symbol,
        requirements: Requirements,
        capacity: Resources,
        overhead: Overhead,
        offerings: Vec<Offering>,
        symbols: &Symbols,
    ) -> Self {
        let allocatable = allocatable(&capacity, &overhead, symbols);
        Self { name, requirements, capacity, overhead, offerings, exotic: false, allocatable }
    }

    /// The same type, marked as exotic or not.
    #[must_use]
    pub fn with_exotic(mut self, exotic: bool) -> Self {
        self.exotic = exotic;
        self
    }

    /// What pods may use: capacity less overhead.
    #[must_use]
    pub const fn allocatable(&self) -> &Resources {
        &self.allocatable
    }

    /// The price of an offering, available or not; `None` where there is none.
    #[must_use]
    pub fn price(&self, zone: Symbol, capacity_type: CapacityType) -> Option<Usd> {
        let here = |o: &&Offering| o.zone == zone && o.capacity_type == capacity_type;
        self.offerings.iter().find(here).map(|o| o.price)
    }
}

/// What pods may use of a machine: capacity less overhead, and memory further less declared huge pages, not below zero.
#[must_use]
pub fn allocatable(capacity: &Resources, overhead: &Overhead, symbols: &Symbols) -> Resources {
    let mut left = capacity.clone();
    left.subtract(&overhead.total());
    let huge = capacity.extended.iter().filter(|(name, _)| symbols.text(*name).starts_with("hugepages-"));
    let huge: i64 = huge.map(|(_, bytes)| bytes).sum();
    if huge > 0 {
        left.memory = (left.memory - huge).max(0);
    }
    left
}

/// Memory that a node is expected to show, in MiB, of a nominal amount in MiB: 64 MiB less on arm64, then
/// less the share that the hypervisor keeps, rounded up to whole MiB.
#[must_use]
pub fn expected_memory_mib(nominal_mib: i64, arm64: bool, overhead_millionths: i64) -> i64 {
    let own = nominal_mib - if arm64 { ARM_RESERVED_MIB } else { 0 };
    let kept = i128::from(own) * i128::from(overhead_millionths);
    own - i64::try_from((kept + 999_999).div_euclid(1_000_000)).unwrap_or(own)
}

/// What decides how many pods a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Density {
    /// Network interfaces of the default network card.
    pub enis: i64,
    /// IPv4 addresses of each.
    pub ipv4_per_eni: i64,
    /// Interfaces kept from pods: flag `reserved-enis`.
    pub reserved_enis: i64,
    /// EFA-only interfaces on the default card.
    pub efa_only: i64,
    /// vCPUs.
    pub vcpus: i64,
}

impl Density {
    /// Pods by network addresses: each interface's, less its own, plus two on the host's network. Zero if no interface is left.
    #[must_use]
    pub fn by_eni(&self) -> i64 {
        let usable = (self.enis - self.reserved_enis - self.efa_only).max(0);
        if usable == 0 { 0 } else { usable * (self.ipv4_per_eni - 1).max(0) + 2 }
    }

    /// Pods that a node takes.
    #[must_use]
    pub fn max_pods(&self, family: AmiFamily, kubelet: &Kubelet) -> i64 {
        let count = match kubelet.max_pods {
            Some(given) => given,
            None if family.limits_pods_by_eni() => self.by_eni(),
            None => 110,
        };
        match kubelet.pods_per_core {
            Some(per_core) if per_core > 0 && family.supports_pods_per_core() => {
                per_core.saturating_mul(self.vcpus).min(count)
            }
            _ => count,
        }
    }

    /// What nodeadm makes of an expression over `default_enis`, `ips_per_eni` and `max_pods` (the number by the formula), with
    /// `+ - * /` and brackets; the formula's number where the expression does not parse or is not positive.
    /// Source: `awslabs/amazon-eks-ami`, `nodeadm`, kubelet `maxPodsExpression`.
    #[must_use]
    pub fn by_expression(&self, expression: &str) -> i64 {
        let formula = self.by_eni();
        let mut reader = Sum {
            rest: expression,
            names: [("default_enis", self.enis), ("ips_per_eni", self.ipv4_per_eni), ("max_pods", formula)],
        };
        let value = reader.sum().filter(|_| reader.rest.trim().is_empty());
        value.filter(|v| *v > 0).unwrap_or(formula)
    }
}

/// Reads sums of products, left to right.
struct Sum<'a> {
    rest: &'a str,
    names: [(&'static str, i64); 3],
}

impl Sum<'_> {
    fn take(&mut self, sign: char) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value = value.checked_add(self.product()?)?;
            } else if self.take('-') {
                value = value.checked_sub(self.product()?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<i64> {
        let mut value = self.atom(0)?;
        loop {
            if self.take('*') {
                value = value.checked_mul(self.atom(0)?)?;
            } else if self.take('/') {
                value = value.checked_div(self.atom(0)?)?;
            } else {
                return Some(value);
            }
        }
    }

    fn atom(&mut self, depth: u8) -> Option<i64> {
        if self.take('-') {
            // A long row of signs must not end in a deep recursion.
            return if depth < 32 { self.atom(depth + 1)?.checked_neg() } else { None };
        }
        if self.take('(') {
            // The text is a kubelet setting of a few dozen characters; more brackets than that is a mistake.
            if self.rest.matches('(').count() > 64 {
                return None;
            }
            let value = self.sum()?;
            return self.take(')').then_some(value);
        }
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        let named = self.names.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        named.or_else(|| word.parse().ok())
    }
}

/// CPU in millicores that the kubelet keeps: 6 % of the first core, 1 % of the second, 0.5 % of the third and
/// fourth, 0.25 % of the rest, each part cut to whole millicores.
#[must_use]
pub const fn kube_reserved_cpu_m(vcpus: i64) -> i64 {
    let (mut reserved, mut core) = (0, 0);
    let slices = [(1, 600), (1, 100), (2, 50), (i64::MAX, 25)];
    let mut at = 0;
    while at < slices.len() && core < vcpus {
        let (width, of_ten_thousand) = slices[at];
        let here = if vcpus - core < width { vcpus - core } else { width };
        reserved += here * 1_000 * of_ten_thousand / 10_000;
        core += here;
        at += 1;
    }
    reserved
}

/// What the kubelet keeps: the rule's amounts, or what is configured. `pods` is the number that the rule for
/// memory counts: 11 MiB for each and 255 MiB.
#[must_use]
pub fn kube_reserved(vcpus: i64, pods: i64, configured: &Reserved) -> Resources {
    Resources {
        cpu_m: configured.cpu_m.unwrap_or_else(|| kube_reserved_cpu_m(vcpus)),
        memory: configured.memory.unwrap_or((11 * pods + 255) * MIB),
        ephemeral_storage: configured.ephemeral_storage.unwrap_or(GIB),
        ..Resources::default()
    }
}

/// What the operating system keeps: what is configured, nothing else.
#[must_use]
pub fn system_reserved(configured: &Reserved) -> Resources {
    Resources {
        cpu_m: configured.cpu_m.unwrap_or(0),
        memory: configured.memory.unwrap_or(0),
        ephemeral_storage: configured.ephemeral_storage.unwrap_or(0),
        ..Resources::default()
    }
}

/// Where the kubelet begins to evict: 100 MiB of memory and a tenth of the storage, or what is configured.
#[must_use]
pub fn eviction_threshold(memory: i64, storage: i64, kubelet: &Kubelet) -> Resources {
    let of = |signal: Option<EvictionThreshold>, capacity: i64| signal.map(|s| s.amount(capacity));
    Resources {
        memory: of(kubelet.eviction_hard_memory, memory).unwrap_or(100 * MIB),
        ephemeral_storage: of(kubelet.eviction_hard_storage, storage).unwrap_or((storage + 9) / 10),
        ..Resources::default()
    }
}

/// What a machine has that Karpenter computes with, before the NodeClass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// vCPUs.
    pub vcpus: i64,
    /// Nominal memory in MiB.
    pub memory_mib: i64,
    /// Whether it is arm64.
    pub arm64: bool,
    /// Network interfaces of the default network card.
    pub enis_default_card: i64,
    /// IPv4 addresses of each interface.
    pub ipv4_per_eni: i64,
    /// Instance store in bytes.
    pub local_storage: i64,
}

impl Machine {
    /// Capacity and overhead under a NodeClass. `observed_memory` in bytes is what a registered node of this type and
    /// image showed; it takes the place of the estimate.
    #[must_use]
    pub fn resources(&self, class: &NodeClass, observed_memory: Option<i64>) -> (Resources, Overhead) {
        let estimate = expected_memory_mib(self.memory_mib, self.arm64, class.vm_memory_overhead_millionths) * MIB;
        let memory = observed_memory.unwrap_or(estimate);
        let density = Density {
            enis: self.enis_default_card,
            ipv4_per_eni: self.ipv4_per_eni,
            reserved_enis: class.reserved_enis,
            efa_only: class.efa_only_interfaces,
            vcpus: self.vcpus,
        };
        let pods = density.max_pods(class.ami_family, &class.kubelet);
        let storage = match class.instance_store_raid0 && self.local_storage > 0 {
            true => self.local_storage,
            false => class.root_volume,
        };
        let counted = match class.ami_family.reserves_by_max_pods() {
            true => pods,
            false => Density { reserved_enis: 0, ..density }.by_eni(),
        };
        let capacity =
            Resources { cpu_m: self.vcpus * 1_000, memory, ephemeral_storage: storage, pods, extended: Vec::new() };
        let overhead = Overhead {
            kube_reserved: kube_reserved(self.vcpus, counted, &class.kubelet.kube_reserved),
            system_reserved: system_reserved(&class.kubelet.system_reserved),
            eviction_threshold: eviction_threshold(memory, storage, &class.kubelet),
        };
        (capacity, overhead)
    }
}

/// The price that a NodeOverlay makes of a price: an absolute price (`2.5`), a signed difference (`+0.1`, `-3`) or a signed
/// percentage (`-25%`); never below zero. `None` for a text that is none of these. An empty text changes nothing.
#[must_use]
pub fn adjusted_price(base: f64, change: &str) -> Option<f64> {
    let signed = change.starts_with(['+', '-']);
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
    let price = match change.strip_suffix('%') {
        _ if change.is_empty() => return Some(base),
        Some(percent) => base * (1.0 + number(percent)? / 100.0),
        None if signed => base + number(change)?,
        None => number(change)?,
    };
    Some(price.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_keeps_less_of_each_further_core() {
        assert_eq!([1, 2, 4, 8, 192].map(kube_reserved_cpu_m), [60, 70, 80, 90, 550]);
    }

    #[test]
    fn expressions_fall_back_to_the_formula() {
        let d = Density { enis: 3, ipv4_per_eni: 6, reserved_enis: 0, efa_only: 0, vcpus: 2 };
        assert_eq!(d.by_expression("((default_enis - 1) * (ips_per_eni - 1)) + 2"), 12);
        for bad in ["99 - fake", "1 +", "(2", "0", "7 / 0", "2 2", "--------------------------------------------1"] {
            assert_eq!(d.by_expression(bad), 17, "{bad}");
        }
    }
}
