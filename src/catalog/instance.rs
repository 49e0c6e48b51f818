//! EC2 instance types: what they have, what the ECS agent registers of it, and how many tasks they carry.

use std::fmt;
use std::sync::OnceLock;

use super::Arch;

/// The least share of nominal memory that an operating system keeps, and the amount it keeps beside, as
/// fitted on the three registered sizes that AWS documents: see [`InstanceType::registered_memory_mib`].
const KERNEL_SHARE: f64 = 0.01742;
/// See [`KERNEL_SHARE`].
const KERNEL_FIXED_MIB: f64 = 32.0;

/// How a T family earns and spends CPU credits. One credit is one vCPU for one minute.
/// Source: EC2 user guide, burstable performance instances.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    /// What each vCPU may use for ever, in thousandths of it.
    pub baseline_permille: u32,
    /// Credits earned in an hour, times 100: 2 vCPUs at 20 % earn 24 credits, so 2,400.
    pub centicredits_per_hour: u32,
    /// Credits that are there at launch (T2 in standard mode: 30 for each vCPU; the later families none).
    pub launch_credits: u32,
    /// Whether `unlimited` is the mode that the family starts in (all but T2).
    pub unlimited_by_default: bool,
}

impl Burst {
    /// Credits earned in an hour.
    #[must_use]
    pub fn credits_per_hour(self) -> f64 {
        f64::from(self.centicredits_per_hour) / 100.0
    }

    /// The most earned credits that can be kept: those of 24 hours.
    #[must_use]
    pub fn max_credits(self) -> f64 {
        self.credits_per_hour() * 24.0
    }
}

/// Where a limit of tasks with trunking comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrunkBasis {
    /// Printed in the ECS developer guide (2023).
    Documented,
    /// Branch interfaces plus network interfaces less two: equal to the documented figure for 416 of 421 types.
    Computed,
    /// The type cannot carry a trunk, or nothing is known: tasks get whole network interfaces.
    NoTrunk,
}

/// An EC2 instance type.
#[derive(Clone, PartialEq, Debug)]
pub struct InstanceType {
    /// The API name, such as `m7g.large`.
    pub name: &'static str,
    /// Processor architecture.
    pub arch: Arch,
    /// Who makes the processor: `aws`, `intel`, `amd` or `apple`.
    pub manufacturer: &'static str,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Physical cores.
    pub cores: u32,
    /// Sustained clock in GHz, where it is published.
    pub clock_ghz: Option<f64>,
    /// Nominal memory in MiB.
    pub memory_mib: u64,
    /// Whole GPUs.
    pub gpus: u32,
    /// Memory of each GPU in MiB.
    pub gpu_memory_mib: u64,
    /// CPU credits, for the T families.
    pub burst: Option<Burst>,
    /// Without a hypervisor.
    pub bare_metal: bool,
    /// Whether AWS calls it current generation.
    pub current_generation: bool,
    /// Whether it can be bought on the Spot market.
    pub spot_supported: bool,
    /// Network bandwidth that lasts, in Mbit/s.
    pub network_mbps: u64,
    /// Network bandwidth for a while, in Mbit/s.
    pub network_peak_mbps: u64,
    /// Network interfaces over all network cards, the primary one included.
    pub max_enis: u32,
    /// Network interfaces of the first card, the one that the addresses of pods come from.
    pub max_enis_default_card: u32,
    /// IPv4 addresses of each interface, the primary one included.
    pub ipv4_per_eni: u32,
    /// Where the limit with trunking comes from.
    pub trunk_basis: TrunkBasis,
    /// EBS bandwidth that lasts, in Mbit/s, where it is published.
    pub ebs_mbps: Option<u64>,
    /// EBS bandwidth for a while, in Mbit/s, where it is published.
    pub ebs_peak_mbps: Option<u64>,
    /// EBS volumes that can be attached.
    pub ebs_volumes: u32,
    /// Instance store in GB; 0 without one.
    pub local_storage_gb: u64,
    trunk_tasks: u32,
    registered_mib: Option<u64>,
}

/// A machine that is no EC2 instance: it has no name, no sizes and no price. Who keeps such machines knows their sizes.
pub static MACHINE: InstanceType = InstanceType {
    name: "",
    arch: Arch::X86,
    manufacturer: "",
    vcpus: 0,
    cores: 0,
    clock_ghz: None,
    memory_mib: 0,
    gpus: 0,
    gpu_memory_mib: 0,
    burst: None,
    bare_metal: true,
    current_generation: false,
    spot_supported: false,
    network_mbps: 0,
    network_peak_mbps: 0,
    max_enis: 0,
    max_enis_default_card: 0,
    ipv4_per_eni: 0,
    trunk_basis: TrunkBasis::NoTrunk,
    ebs_mbps: None,
    ebs_peak_mbps: None,
    ebs_volumes: 0,
    local_storage_gb: 0,
    trunk_tasks: 0,
    registered_mib: None,
};

impl InstanceType {
    /// The family: `m7g` of `m7g.large`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |parts| parts.0)
    }

    /// The size: `large` of `m7g.large`.
    #[must_use]
    pub fn size(&self) -> &'static str {
        self.name.split_once('.').map_or("", |parts| parts.1)
    }

    /// The number of the generation: 7 of `m7g.large`; absent for the families that have none.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        let digits = self.family().trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if self.family().contains('-') && !self.family().ends_with("-flex") {
            return None;
        }
        digits[..end].parse().ok()
    }

    /// CPU units that the ECS agent registers: 1,024 for each vCPU.
    #[must_use]
    pub const fn cpu_units(&self) -> u64 {
        self.vcpus as u64 * 1_024
    }

    /// Memory in MiB that the ECS agent registers: what the kernel reports as total, before
    /// `ECS_RESERVED_MEMORY` is taken off. AWS documents it for m4.large, c4.large and c4.4xlarge; these
    /// are given as documented. Else nominal memory less 1.742 % and 32 MiB, the least-squares line through
    /// the three, which misses them by +32, -27 and -5 MiB. A machine image with another kernel or with
    /// memory set aside for crash dumps differs by as much again: treat it as good to 1 %.
    #[must_use]
    pub fn registered_memory_mib(&self) -> u64 {
        self.registered_mib.unwrap_or_else(|| Self::fitted_memory_mib(self.memory_mib))
    }

    fn fitted_memory_mib(nominal: u64) -> u64 {
        let kept = nominal as f64 * KERNEL_SHARE + KERNEL_FIXED_MIB;
        nominal.saturating_sub(kept.round() as u64)
    }

    /// Tasks in network mode `awsvpc` that fit by network interfaces. Without trunking each takes a whole
    /// interface and the instance keeps one; with trunking (`awsvpcTrunking`, chosen before the instance
    /// starts) the published limit where the type can carry a trunk, else the same as without.
    /// Source: ECS developer guide, elastic network interface trunking.
    #[must_use]
    pub fn task_limit(&self, trunking: bool) -> u32 {
        match (trunking, self.trunk_basis) {
            (true, TrunkBasis::Documented | TrunkBasis::Computed) => self.trunk_tasks,
            _ => self.max_enis.saturating_sub(1),
        }
    }

    /// Whether it can carry a trunk interface.
    #[must_use]
    pub const fn can_trunk(&self) -> bool {
        !matches!(self.trunk_basis, TrunkBasis::NoTrunk)
    }

    /// IPv4 addresses for pods by network interfaces: those of the first card, less the primary one of
    /// each, plus two pods on the host's own network. Source: Amazon EKS AMI, maximum number of pods.
    #[must_use]
    pub const fn max_pods_by_eni(&self) -> u32 {
        self.max_enis_default_card * self.ipv4_per_eni.saturating_sub(1) + 2
    }
}

impl fmt::Display for InstanceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// All types, by name. Read at the first call, in about a millisecond.
pub(super) fn all() -> &'static [InstanceType] {
    static ALL: OnceLock<Vec<InstanceType>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut types: Vec<InstanceType> = include_str!("../../data/instance_types.csv")
            .lines()
            .skip(1)
            .map(|line| read(line).expect("the embedded table is well formed: a test reads it"))
            .collect();
        types.sort_unstable_by_key(|t| t.name);
        types
    })
}

/// The type of a name.
pub(super) fn find(name: &str) -> Option<&'static InstanceType> {
    let all = all();
    all.binary_search_by(|t| t.name.cmp(name)).ok().map(|i| &all[i])
}

/// Up to five names near to one that does not exist: of its own family first, when the family exists.
pub(super) fn nearest(name: &str) -> Vec<String> {
    let lower = name.trim().to_lowercase().replace('-', ".");
    let family = lower.split('.').next().unwrap_or("");
    let mut scored: Vec<(f64, &str)> = all()
        .iter()
        .map(|t| {
            let own = if t.family() == family { 0.5 } else { 0.0 };
            (strsim::jaro_winkler(&lower, t.name) + own, t.name)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(5).filter(|s| s.0 > 0.7).map(|s| s.1.to_string()).collect()
}

fn read(line: &'static str) -> Option<InstanceType> {
    let mut fields = line.split(',');
    let mut next = || fields.next();
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let small = |text: &str| number(text).and_then(|n| u32::try_from(n).ok());
    let some = |text: &str| number(text).map(|n| (n > 0).then_some(n));
    let name = next()?;
    let arch = match next()? {
        "amd64" => Arch::X86,
        "arm64" => Arch::Arm,
        _ => return None,
    };
    let manufacturer = next()?;
    let vcpus = small(next()?)?;
    let cores = small(next()?)?;
    let clock_ghz = next()?.parse().ok();
    let memory_mib = number(next()?)?;
    let registered_mib = some(next()?)?;
    let gpus = small(next()?)?;
    let gpu_memory_mib = number(next()?)?;
    let baseline_permille = small(next()?)?;
    let bare_metal = next()? == "y";
    let current_generation = next()? == "y";
    let spot_supported = next()? == "y";
    let network_mbps = number(next()?)?;
    let network_peak_mbps = number(next()?)?;
    let max_enis = small(next()?)?;
    let max_enis_default_card = small(next()?)?;
    let ipv4_per_eni = small(next()?)?;
    let trunk_tasks = small(next()?)?;
    let trunk_basis = match next()? {
        "d" => TrunkBasis::Documented,
        "c" => TrunkBasis::Computed,
        "" => TrunkBasis::NoTrunk,
        _ => return None,
    };
    let ebs_mbps = some(next()?)?;
    let ebs_peak_mbps = some(next()?)?;
    let ebs_volumes = small(next()?)?;
    let local_storage_gb = number(next()?)?;
    let t2 = name.starts_with("t2.");
    let burst = (baseline_permille > 0).then(|| Burst {
        baseline_permille,
        centicredits_per_hour: vcpus * baseline_permille * 6,
        launch_credits: if t2 { 30 * vcpus } else { 0 },
        unlimited_by_default: !t2,
    });
    next().is_none().then_some(InstanceType {
        name,
        arch,
        manufacturer,
        vcpus,
        cores,
        clock_ghz,
        memory_mib,
        gpus,
        gpu_memory_mib,
        burst,
        bare_metal,
        current_generation,
        spot_supported,
        network_mbps,
        network_peak_mbps,
        max_enis,
        max_enis_default_card,
        ipv4_per_eni,
        trunk_basis,
        ebs_mbps,
        ebs_peak_mbps,
        ebs_volumes,
        local_storage_gb,
        trunk_tasks,
        registered_mib,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_are_read() {
        assert_eq!(all().len(), 1_395);
        assert!(all().windows(2).all(|w| w[0].name < w[1].name));
        for t in all() {
            assert!(t.vcpus > 0 && t.memory_mib >= 512 && t.max_enis >= 1, "{t:?}");
            assert!(t.registered_memory_mib() < t.memory_mib && t.registered_memory_mib() > t.memory_mib * 9 / 10 - 32);
            assert!(t.task_limit(true) >= t.task_limit(false) || t.trunk_basis == TrunkBasis::Documented, "{t:?}");
        }
        assert_eq!(all().iter().filter(|t| t.burst.is_some()).count(), 28);
    }

    #[test]
    fn memory_is_what_the_agent_registers() {
        for (name, registered, fit) in
            [("m4.large", 7_985, 8_017), ("c4.large", 3_768, 3_741), ("c4.4xlarge", 30_158, 30_153)]
        {
            let t = find(name).unwrap();
            assert_eq!(t.registered_memory_mib(), registered);
            assert_eq!(InstanceType::fitted_memory_mib(t.memory_mib), fit);
        }
    }

    #[test]
    fn names_have_parts_and_neighbours() {
        let t = find("u-6tb1.56xlarge").unwrap();
        assert_eq!((t.family(), t.size(), t.generation()), ("u-6tb1", "56xlarge", None));
        let t = find("m7i-flex.large").unwrap();
        assert_eq!((t.family(), t.generation(), t.cpu_units()), ("m7i-flex", Some(7), 2_048));
        assert_eq!(nearest("m5.lrage")[0], "m5.large");
        assert_eq!(nearest("M5-xlarge")[0], "m5.xlarge");
        assert!(nearest("c6g.huge").iter().all(|n| n.starts_with("c6g.")));
        assert!(nearest("zzzzzzz").is_empty());
    }

    #[test]
    fn credits_are_those_of_the_guide() {
        let t3 = find("t3.large").unwrap().burst.unwrap();
        assert_eq!((t3.credits_per_hour(), t3.max_credits()), (36.0, 864.0));
        let t2 = find("t2.micro").unwrap().burst.unwrap();
        assert_eq!((t2.credits_per_hour(), t2.launch_credits, t2.unlimited_by_default), (6.0, 30, false));
        assert_eq!(find("t2.xlarge").unwrap().burst.unwrap().credits_per_hour(), 54.0);
        assert_eq!(find("t4g.nano").unwrap().burst.unwrap().credits_per_hour(), 6.0);
    }
}
