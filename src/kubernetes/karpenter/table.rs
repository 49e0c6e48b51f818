//! The table of instance types that belongs to a NodeClass, made of the catalog.

use std::collections::BTreeMap;

use super::instance::{CapacityType, InstanceType, Machine, Offering};
use super::labels::WellKnown;
use super::pool::NodeClass;
use super::requirements::{Requirements, ValueSet};
use crate::catalog::{self, Arch, Catalog};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::{Symbol, Symbols};
use crate::units::Usd;

/// How long an observed amount of memory is remembered.
const OBSERVED_FOR: SimDuration = SimDuration::from_secs(60 * 24 * 3_600);

/// The memory that registered nodes showed, by type. One such table goes with one machine image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedMemory(BTreeMap<Symbol, (i64, SimTime)>);

impl ObservedMemory {
    /// A node of a type registered with so many bytes: taken over unless a smaller amount is known already.
    pub fn observe(&mut self, instance_type: Symbol, memory: i64, now: SimTime) {
        match self.get(instance_type, now) {
            Some(known) if memory > known => {}
            _ => {
                self.0.insert(instance_type, (memory, now));
            }
        }
    }

    /// What is known of a type: for 60 days from the observation.
    #[must_use]
    pub fn get(&self, instance_type: Symbol, now: SimTime) -> Option<i64> {
        let (memory, at) = self.0.get(&instance_type)?;
        (now.since(*at) < OBSERVED_FOR).then_some(*memory)
    }
}

/// Instance types in the order of their names, with what the scheduler needs to look them up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeTable {
    types: Vec<InstanceType>,
    zones: Vec<Symbol>,
}

/// Zones of which offerings are looked up; a region has at most eight.
const MAX_ZONES: usize = 21;

impl TypeTable {
    /// A table of types, put into the order of their names. Of a name that is there twice the first stays.
    #[must_use]
    pub fn new(mut types: Vec<InstanceType>, symbols: &Symbols) -> Self {
        types.sort_by(|a, b| symbols.text(a.name).cmp(symbols.text(b.name)));
        types.dedup_by_key(|t| t.name);
        let mut zones: Vec<Symbol> = types.iter().flat_map(|t| t.offerings.iter().map(|o| o.zone)).collect();
        zones.sort_by(|a, b| symbols.text(*a).cmp(symbols.text(*b)));
        zones.dedup();
        zones.truncate(MAX_ZONES);
        Self { types, zones }
    }

    /// The types, by name.
    #[must_use]
    pub fn types(&self) -> &[InstanceType] {
        &self.types
    }

    /// Every zone in which something is offered, by name.
    #[must_use]
    pub fn zones(&self) -> &[Symbol] {
        &self.zones
    }

    /// The index of a type.
    #[must_use]
    pub fn find(&self, name: Symbol) -> Option<usize> {
        self.types.iter().position(|t| t.name == name)
    }

    /// Sets the price of an offering, as Spot prices move; `false` where there is no such offering.
    pub fn set_price(&mut self, at: usize, zone: Symbol, capacity_type: CapacityType, price: Usd) -> bool {
        let offerings = self.types.get_mut(at).map(|t| t.offerings.iter_mut());
        let here = offerings.into_iter().flatten().filter(|o| o.zone == zone && o.capacity_type == capacity_type);
        here.map(|o| o.price = price).count() > 0
    }

    /// Bit of a zone and a capacity type, in the masks of the scheduler.
    pub(super) const fn bit(zone: usize, capacity_type: CapacityType) -> u64 {
        1 << (zone * 3 + capacity_type as usize)
    }

    /// The bits of the offerings of a type for which `available` holds.
    pub(super) fn offered(&self, at: usize, mut available: impl FnMut(&Offering) -> bool) -> u64 {
        let offerings = self.types[at].offerings.iter();
        let place = |o: &Offering| self.zones.iter().position(|z| *z == o.zone);
        offerings
            .filter_map(|o| place(o).filter(|_| available(o)).map(|zone| Self::bit(zone, o.capacity_type)))
            .fold(0, |all, bit| all | bit)
    }
}

/// The parts of an instance type's family name: the category's letters and the generation's number.
#[must_use]
pub fn category_and_generation(family: &str) -> Option<(&str, &str)> {
    let letters = family.find(|c: char| !c.is_ascii_lowercase())?;
    let (category, rest) = family.split_at(letters);
    // High-memory families carry their memory in the name: `u-6tb1` is generation 1.
    let rest = match rest.strip_prefix('-').and_then(|r| r.split_once("tb")) {
        Some((size, generation)) if size.bytes().all(|b| b.is_ascii_digit()) => generation,
        _ => rest,
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    (!category.is_empty() && digits > 0).then(|| (category, &rest[..digits]))
}

/// Branch interfaces of a type, what `vpc.amazonaws.com/pod-eni` counts; 0 for a type that cannot carry them or
/// that the table of the VPC resource controller (as of Karpenter v1.14.1) did not list yet.
#[must_use]
pub fn branch_interfaces(of: &catalog::InstanceType) -> i64 {
    match of.name {
        "i4i.16xlarge" => return 120,
        "i4i.large" => return 0,
        _ => {}
    }
    let listed_later = match of.family() {
        "c9g" | "c9gd" | "hpc7g" => true,
        "c8gb" | "c8gn" | "c8ib" | "c8in" | "m8gb" | "m8gn" | "m8ib" | "m8in" | "m8idb" | "m8idn" | "r8gb" | "r8gn"
        | "r8ib" | "r8in" | "r8idb" | "r8idn" => of.bare_metal,
        _ => false,
    };
    if listed_later || !of.can_trunk() {
        return 0;
    }
    // The catalog counts tasks: branch interfaces and plain ones less two.
    (i64::from(of.task_limit(true)) + 2 - i64::from(of.max_enis)).max(0)
}

/// What Karpenter computes a node of a catalog type with.
#[must_use]
pub fn machine(of: &catalog::InstanceType) -> Machine {
    Machine {
        vcpus: i64::from(of.vcpus),
        memory_mib: i64::try_from(of.memory_mib).unwrap_or(i64::MAX),
        arm64: of.arch == Arch::Arm,
        enis_default_card: i64::from(of.max_enis_default_card),
        ipv4_per_eni: i64::from(of.ipv4_per_eni),
        local_storage: i64::try_from(of.local_storage_gb).unwrap_or(0).saturating_mul(1_000_000_000),
    }
}

/// The manufacturer of a family's GPUs.
fn gpu_manufacturer(family: &str) -> &'static str {
    if family == "g4ad" { "amd" } else { "nvidia" }
}

fn is_accelerated(family: &str) -> bool {
    ["inf", "trn", "dl", "f1", "f2", "vt"].iter().any(|p| family.starts_with(p))
}

/// The catalog's types as one NodeClass sees them in a region: those with a price, with offerings on demand and, where the type can
/// be had so, on the Spot market, in the zones given that offer the type. `zones` are names such as `us-east-1a`; the last
/// letter is looked up in the catalog, and a region whose offerings are unknown is taken to offer everything everywhere.
///
/// Extended resources: `nvidia.com/gpu` or `amd.com/gpu`, and `vpc.amazonaws.com/pod-eni`. Macs are left out, as Karpenter does.
#[must_use]
pub fn catalog_types(
    catalog: &Catalog,
    region: &str,
    zones: &[&str],
    class: &NodeClass,
    observed: (&ObservedMemory, SimTime),
    known: &WellKnown,
    symbols: &mut Symbols,
) -> TypeTable {
    let zones: Vec<(Symbol, Option<char>)> = zones.iter().map(|z| (symbols.intern(z), z.chars().last())).collect();
    let [nvidia, amd, pod_eni] =
        ["nvidia.com/gpu", "amd.com/gpu", "vpc.amazonaws.com/pod-eni"].map(|name| symbols.intern(name));
    let mut types = Vec::new();
    for of in catalog.instance_types() {
        if of.family().starts_with("mac") {
            continue;
        }
        let Some(on_demand) = catalog.on_demand(region, of.name) else { continue };
        let spot = of.spot_supported.then(|| catalog.spot_level(region, of.name)).flatten();
        let letters = catalog.offered(region, of.name);
        let here = |letter: Option<char>| letters.as_ref().is_none_or(|l| letter.is_none_or(|c| l.contains(&c)));
        let mut offerings = Vec::new();
        for (zone, _) in zones.iter().filter(|(_, letter)| here(*letter)) {
            let mut offer = |capacity_type, price| {
                offerings.push(Offering { zone: *zone, capacity_type, price, available: true });
            };
            offer(CapacityType::OnDemand, on_demand.price.to_usd());
            if let Some(level) = &spot {
                offer(CapacityType::Spot, level.price.to_usd());
            }
        }
        if offerings.is_empty() {
            continue;
        }
        let name = symbols.intern(of.name);
        let (mut capacity, overhead) = machine(of).resources(class, observed.0.get(name, observed.1));
        let gpus = i64::from(of.gpus);
        let maker = gpu_manufacturer(of.family());
        if gpus > 0 {
            capacity.set_extended(if maker == "amd" { amd } else { nvidia }, gpus);
        }
        match branch_interfaces(of) {
            0 => {}
            n => capacity.set_extended(pod_eni, n),
        }
        let requirements = catalog_labels(of, region, &offerings, known, symbols);
        let exotic = of.bare_metal || gpus > 0 || is_accelerated(of.family());
        types.push(InstanceType::new(name, requirements, capacity, overhead, offerings, symbols).with_exotic(exotic));
    }
    TypeTable::new(types, symbols)
}

fn catalog_labels(
    of: &catalog::InstanceType,
    region: &str,
    offerings: &[Offering],
    known: &WellKnown,
    symbols: &mut Symbols,
) -> Requirements {
    let mut labels = Requirements::default();
    let positive = |n: u64| (n > 0).then(|| n.to_string());
    let parts = category_and_generation(of.family());
    let arch = if of.arch == Arch::Arm { "arm64" } else { "amd64" };
    let gpu_maker = (of.gpus > 0).then(|| gpu_manufacturer(of.family()).to_owned());
    let values: [(Symbol, Option<String>); 19] = [
        (known.instance_type, Some(of.name.to_owned())),
        (known.region, Some(region.to_owned())),
        (known.arch, Some(arch.to_owned())),
        (known.os, Some("linux".to_owned())),
        (known.instance_category, parts.map(|p| p.0.to_owned())),
        (known.instance_generation, parts.map(|p| p.1.to_owned())),
        (known.instance_family, Some(of.family().to_owned())),
        (known.instance_size, Some(of.size().to_owned())),
        (known.instance_cpu, Some(of.vcpus.to_string())),
        (known.instance_cpu_manufacturer, Some(of.manufacturer.to_owned())),
        (known.instance_cpu_clock, of.clock_ghz.map(|ghz| format!("{:.0}", ghz * 1_000.0))),
        (known.instance_memory, Some(of.memory_mib.to_string())),
        (known.instance_ebs_bandwidth, of.ebs_peak_mbps.map(|b| b.to_string())),
        (known.instance_network_bandwidth, positive(of.network_mbps)),
        (known.instance_hypervisor, Some(if of.bare_metal { "" } else { "nitro" }.to_owned())),
        (known.instance_local_nvme, positive(of.local_storage_gb)),
        (known.instance_gpu_count, positive(u64::from(of.gpus))),
        (known.instance_gpu_memory, positive(of.gpu_memory_mib)),
        (known.instance_gpu_manufacturer, gpu_maker),
    ];
    for (key, value) in values {
        let set = value.map_or_else(ValueSet::none, |text| ValueSet::of([symbols.intern(&text)]));
        labels.set(key, set);
    }
    labels.set(known.zone, ValueSet::of(offerings.iter().map(|o| o.zone)));
    labels.set(known.capacity_type, ValueSet::of(offerings.iter().map(|o| known.value_of(o.capacity_type))));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_categories() {
        for (family, category, generation) in [
            ("m7g", "m", "7"),
            ("m7i-flex", "m", "7"),
            ("u-6tb1", "u", "1"),
            ("u7i-12tb", "u", "7"),
            ("hpc7g", "hpc", "7"),
            ("x2iezn", "x", "2"),
        ] {
            assert_eq!(category_and_generation(family), Some((category, generation)));
        }
        assert_eq!(category_and_generation("mac-m4"), None);
    }

    #[test]
    fn observed_memory_only_falls() {
        let mut s = Symbols::default();
        let (t, mut seen) = (s.intern("m5.large"), ObservedMemory::default());
        seen.observe(t, 100, SimTime::ZERO);
        seen.observe(t, 110, SimTime::ZERO);
        assert_eq!(seen.get(t, SimTime::from_secs(60)), Some(100));
        seen.observe(t, 90, SimTime::ZERO);
        assert_eq!(seen.get(t, SimTime::from_secs(60)), Some(90));
        assert_eq!(seen.get(t, SimTime::from_secs(61 * 86_400)), None);
    }

    #[test]
    fn the_catalog_becomes_a_table() {
        let mut s = Symbols::default();
        let known = WellKnown::new(&mut s);
        let seen = ObservedMemory::default();
        let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
        let table = catalog_types(
            Catalog::embedded(),
            "us-east-1",
            &zones,
            &NodeClass::default(),
            (&seen, SimTime::ZERO),
            &known,
            &mut s,
        );
        assert!(table.types().len() > 1_000, "{}", table.types().len());
        let at = table.find(s.get("m5.large").expect("it is there")).expect("it is there");
        let m5 = &table.types()[at];
        assert_eq!((m5.allocatable().cpu_m, m5.allocatable().pods), (1_930, 29));
        assert_eq!(
            m5.price(s.get("us-east-1a").expect("a zone"), CapacityType::OnDemand),
            Some(Usd::from_nanos(96_000_000))
        );
        assert!(m5.requirements.get(known.instance_gpu_count).expect("said").is_empty());
    }
}
