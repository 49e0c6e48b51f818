//! Addresses of pods by the Amazon VPC CNI: how many a node can have, how many it keeps, and what that takes
//! of the subnet.
//!
//! Rule: pods get secondary addresses of the node's network interfaces (or addresses of /28 prefixes that stand in
//! their place). A daemon on the node looks every 5 s and keeps a reserve: by default one whole interface
//! (`WARM_ENI_TARGET`), with prefixes one whole prefix (`WARM_PREFIX_TARGET`), or a number of addresses
//! (`WARM_IP_TARGET`, `MINIMUM_IP_TARGET`), which overrides both. It fills the interfaces it has before it
//! attaches another, one in each look, and returns what is too much. A pod that comes when none is free fails to
//! start and is tried again. An address that was given back is not used for 30 s.
//!
//! Source: `docs/eni-and-ip-target.md`, `docs/prefix-and-ip-target.md` and `pkg/ipamd` of
//! amazon-vpc-cni-k8s; `max-pods-calculator.sh` of amazon-eks-ami; VPC user guide, subnet sizing.
//!
//! Known departures: pods are taken to lie densely on interfaces and prefixes; a subnet is taken to have
//! its free addresses in whole prefixes.

use serde::{Deserialize, Serialize};

use crate::catalog::InstanceType;
use crate::kernel::{SimDuration, SimTime};

/// Addresses of a prefix.
pub const PREFIX_SIZE: u32 = 16;
/// How often the daemon looks.
pub const RECONCILE_PERIOD: SimDuration = SimDuration::from_secs(5);
/// How long an address rests before another pod gets it.
pub const ADDRESS_COOLDOWN: SimDuration = SimDuration::from_secs(30);
/// How long it takes at most to make and attach an interface.
pub const ATTACH_TIME: SimDuration = SimDuration::from_secs(10);
/// Pods that a node is advised to hold at most, with prefixes, up to 30 vCPUs and above.
const PREFIX_CAPS: [u32; 2] = [110, 250];

/// What an instance type can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniLimits {
    /// Network interfaces that pods can use: those of the first card.
    pub enis: u32,
    /// IPv4 addresses of each, the primary one included.
    pub ipv4_per_eni: u32,
}

impl EniLimits {
    /// Of an instance type, less interfaces kept for other ends (1 with custom networking).
    #[must_use]
    pub fn of(ty: &InstanceType, reserved: u32) -> Self {
        Self { enis: ty.max_enis_default_card.saturating_sub(reserved), ipv4_per_eni: ty.ipv4_per_eni }
    }

    /// Addresses or prefixes that each interface takes beside its own.
    #[must_use]
    pub const fn slots_per_eni(&self) -> u32 {
        self.ipv4_per_eni.saturating_sub(1)
    }

    /// The pods that the addresses allow: two on the node's own address beside. No interface, no pod.
    #[must_use]
    pub const fn max_pods(&self) -> u32 {
        if self.enis == 0 { 0 } else { self.enis.saturating_mul(self.slots_per_eni()).saturating_add(2) }
    }

    /// The same with prefixes, cut to 110 pods up to 30 vCPUs and to 250 above.
    #[must_use]
    pub const fn max_pods_with_prefixes(&self, vcpus: u32) -> u32 {
        if self.enis == 0 {
            return 0;
        }
        let by_addresses = self.enis.saturating_mul(self.slots_per_eni()).saturating_mul(PREFIX_SIZE).saturating_add(2);
        let cap = PREFIX_CAPS[(vcpus > 30) as usize];
        if by_addresses < cap { by_addresses } else { cap }
    }
}

/// Settings of the CNI, with the names of its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniSpec {
    /// `ENABLE_PREFIX_DELEGATION`: off.
    pub enable_prefix_delegation: bool,
    /// `WARM_ENI_TARGET`: 1.
    pub warm_eni_target: u32,
    /// `WARM_PREFIX_TARGET`: 1.
    pub warm_prefix_target: u32,
    /// `WARM_IP_TARGET`.
    pub warm_ip_target: Option<u32>,
    /// `MINIMUM_IP_TARGET`.
    pub minimum_ip_target: Option<u32>,
    /// `MAX_ENI`: fewer interfaces than the type can have.
    pub max_eni: Option<u32>,
}

impl Default for CniSpec {
    fn default() -> Self {
        Self {
            enable_prefix_delegation: false,
            warm_eni_target: 1,
            warm_prefix_target: 1,
            warm_ip_target: None,
            minimum_ip_target: None,
            max_eni: None,
        }
    }
}

/// What the daemon of one node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// Interfaces, the first one included.
    pub enis: u32,
    /// Secondary addresses, or prefixes.
    pub slots: u32,
    /// Addresses that pods have.
    pub used: u32,
    /// When addresses that were given back may be used again, in order of time.
    cooling: Vec<SimTime>,
}

impl Default for NodeAddresses {
    fn default() -> Self {
        Self { enis: 1, slots: 0, used: 0, cooling: Vec::new() }
    }
}

/// What the daemon asks of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CniCommand {
    /// So many more addresses or prefixes on the interfaces that are there.
    Assign(u32),
    /// An interface with so many addresses or prefixes.
    AttachEni(u32),
    /// So many addresses or prefixes less.
    Unassign(u32),
    /// An interface less, with all on it.
    DetachEni,
}

impl NodeAddresses {
    fn unit(spec: &CniSpec) -> u32 {
        if spec.enable_prefix_delegation { PREFIX_SIZE } else { 1 }
    }

    /// Addresses that pods could be given now.
    #[must_use]
    pub fn available(&self, spec: &CniSpec, now: SimTime) -> u32 {
        let resting = self.cooling.len() - self.cooling.partition_point(|at| *at <= now);
        let total = self.slots.saturating_mul(Self::unit(spec));
        total.saturating_sub(self.used).saturating_sub(u32::try_from(resting).unwrap_or(u32::MAX))
    }

    /// Addresses of the subnet that the node takes.
    #[must_use]
    pub fn subnet_addresses(&self, spec: &CniSpec) -> u32 {
        self.enis.saturating_add(self.slots.saturating_mul(Self::unit(spec)))
    }

    /// Gives a pod an address; `false` if none is free, and its sandbox fails.
    #[must_use]
    pub fn take(&mut self, spec: &CniSpec, now: SimTime) -> bool {
        let free = self.available(spec, now) > 0;
        self.used += u32::from(free);
        free
    }

    /// A pod gives its address back.
    pub fn give_back(&mut self, now: SimTime) {
        if self.used > 0 {
            self.used -= 1;
            self.cooling.drain(..self.cooling.partition_point(|at| *at <= now));
            self.cooling.push(now + ADDRESS_COOLDOWN);
        }
    }

    /// One look of the daemon: at most one command.
    #[must_use]
    pub fn reconcile(&self, spec: &CniSpec, limits: &EniLimits, now: SimTime) -> Option<CniCommand> {
        let each = limits.slots_per_eni();
        let enis = spec.max_eni.map_or(limits.enis, |m| m.clamp(1, limits.enis.max(1)));
        let unit = Self::unit(spec);
        let by_addresses = spec.warm_ip_target.is_some() || spec.minimum_ip_target.is_some();
        let busy = self.slots.saturating_mul(unit) - self.available(spec, now).min(self.slots.saturating_mul(unit));
        let wanted = if by_addresses {
            let reserve = busy.saturating_add(spec.warm_ip_target.unwrap_or(0));
            reserve.max(spec.minimum_ip_target.unwrap_or(0)).div_ceil(unit)
        } else if spec.enable_prefix_delegation {
            busy.div_ceil(unit).saturating_add(spec.warm_prefix_target)
        } else {
            return self.reconcile_interfaces(spec, enis, each, now);
        };
        let wanted = wanted.min(enis.saturating_mul(each));
        if wanted > self.slots {
            return self.grow(wanted - self.slots, enis, each);
        }
        (wanted < self.slots).then(|| CniCommand::Unassign(self.slots - wanted))
    }

    fn reconcile_interfaces(&self, spec: &CniSpec, enis: u32, each: u32, now: SimTime) -> Option<CniCommand> {
        let available = self.available(spec, now);
        let reserve = each.saturating_mul(spec.warm_eni_target);
        if available < reserve || (spec.warm_eni_target == 0 && available == 0) {
            return self.grow(each, enis, each);
        }
        (self.enis > 1 && available >= reserve.saturating_add(each)).then_some(CniCommand::DetachEni)
    }

    fn grow(&self, wanted: u32, enis: u32, each: u32) -> Option<CniCommand> {
        let room = self.enis.saturating_mul(each).saturating_sub(self.slots);
        if room > 0 {
            Some(CniCommand::Assign(wanted.min(room)))
        } else if self.enis < enis {
            Some(CniCommand::AttachEni(wanted.min(each)))
        } else {
            None
        }
    }

    /// Addresses of the subnet that a command needs.
    #[must_use]
    pub fn cost(spec: &CniSpec, command: CniCommand) -> u32 {
        match command {
            CniCommand::Assign(slots) => slots.saturating_mul(Self::unit(spec)),
            CniCommand::AttachEni(slots) => slots.saturating_mul(Self::unit(spec)).saturating_add(1),
            CniCommand::Unassign(_) | CniCommand::DetachEni => 0,
        }
    }

    /// Carries out a command that EC2 granted.
    pub fn apply(&mut self, command: CniCommand, limits: &EniLimits) {
        match command {
            CniCommand::Assign(slots) => self.slots += slots,
            CniCommand::AttachEni(slots) => {
                self.enis += 1;
                self.slots += slots;
            }
            CniCommand::Unassign(slots) => {
                self.slots = self.slots.saturating_sub(slots);
                self.enis = self.slots.div_ceil(limits.slots_per_eni().max(1)).max(1);
            }
            CniCommand::DetachEni => {
                self.enis = self.enis.saturating_sub(1).max(1);
                self.slots = self.slots.min(self.enis * limits.slots_per_eni());
            }
        }
    }

    /// What a node holds when it has run so many pods for a while, in a subnet that has enough.
    #[must_use]
    pub fn steady(spec: &CniSpec, limits: &EniLimits, pods: u32) -> Self {
        let mut node = Self { used: 0, ..Self::default() };
        loop {
            while let Some(command @ (CniCommand::Assign(_) | CniCommand::AttachEni(_))) =
                node.reconcile(spec, limits, SimTime::ZERO)
            {
                node.apply(command, limits);
            }
            let more = node.available(spec, SimTime::ZERO).min(pods - node.used);
            if more == 0 {
                return node;
            }
            node.used += more;
        }
    }
}

/// The addresses of a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Those that nothing has.
    pub free: u32,
}

impl Subnet {
    /// A subnet with a mask of so many bits (16 to 28): five addresses are kept by AWS.
    #[must_use]
    pub const fn new(mask_bits: u32) -> Self {
        Self {
            free: (1u32
                << (32
                    - if mask_bits < 16 {
                        16
                    } else if mask_bits > 28 {
                        28
                    } else {
                        mask_bits
                    }))
                - 5,
        }
    }

    /// Takes addresses; `false` and nothing taken if there are too few (`InsufficientFreeAddressesInSubnet`,
    /// with prefixes `InsufficientCidrBlocks`).
    #[must_use]
    pub fn take(&mut self, addresses: u32) -> bool {
        let enough = self.free >= addresses;
        if enough {
            self.free -= addresses;
        }
        enough
    }

    /// Gives addresses back.
    pub fn give_back(&mut self, addresses: u32) {
        self.free = self.free.saturating_add(addresses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    const T3_SMALL: EniLimits = EniLimits { enis: 3, ipv4_per_eni: 4 };
    const P3DN: EniLimits = EniLimits { enis: 15, ipv4_per_eni: 50 };

    fn held(spec: &CniSpec, limits: &EniLimits, pods: u32) -> (u32, u32) {
        let node = NodeAddresses::steady(spec, limits, pods);
        (node.enis, node.slots)
    }

    #[test]
    fn the_table_of_the_documentation_for_addresses() {
        let eni = CniSpec::default();
        let ip = |warm, minimum| CniSpec { warm_ip_target: Some(warm), minimum_ip_target: Some(minimum), ..eni };
        for (spec, limits, pods, expected) in [
            (eni, T3_SMALL, 0, (1, 3)),
            (eni, T3_SMALL, 5, (3, 9)),
            (eni, T3_SMALL, 9, (3, 9)),
            (ip(1, 1), T3_SMALL, 0, (1, 1)),
            (ip(1, 1), T3_SMALL, 5, (2, 6)),
            (ip(1, 1), T3_SMALL, 9, (3, 9)),
            (ip(2, 5), T3_SMALL, 0, (2, 5)),
            (ip(2, 5), T3_SMALL, 5, (3, 7)),
            (eni, P3DN, 0, (1, 49)),
            (eni, P3DN, 3, (2, 98)),
            (eni, P3DN, 95, (3, 147)),
            (ip(5, 10), P3DN, 7, (1, 12)),
            (ip(5, 10), P3DN, 45, (2, 50)),
        ] {
            assert_eq!(held(&spec, &limits, pods), expected, "{spec:?} {pods}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_for_prefixes() {
        let prefix = CniSpec { enable_prefix_delegation: true, ..CniSpec::default() };
        let ip = |warm, minimum| CniSpec { warm_ip_target: Some(warm), minimum_ip_target: Some(minimum), ..prefix };
        for (spec, pods, expected) in [
            (prefix, 0, (1, 1)),
            (prefix, 5, (1, 2)),
            (prefix, 16, (1, 2)),
            (prefix, 17, (1, 3)),
            (prefix, 58, (2, 5)),
            (ip(1, 1), 5, (1, 1)),
            (ip(1, 1), 17, (1, 2)),
            (ip(1, 1), 58, (2, 4)),
            (ip(7, 20), 5, (1, 2)),
            (ip(7, 20), 58, (2, 5)),
        ] {
            assert_eq!(held(&spec, &T3_SMALL, pods), expected, "{spec:?} {pods}");
        }
    }

    #[test]
    fn limits_of_pods() {
        let ty = |name| Catalog::embedded().instance_type(name).unwrap();
        assert_eq!(EniLimits::of(ty("m5.large"), 0).max_pods(), 29);
        assert_eq!(EniLimits::of(ty("m5.large"), 1).max_pods(), 20);
        assert_eq!(EniLimits::of(ty("m5.large"), 0).max_pods_with_prefixes(2), 110);
        assert_eq!(EniLimits::of(ty("t3.nano"), 0).max_pods_with_prefixes(2), 34);
        assert_eq!(EniLimits::of(ty("m5.24xlarge"), 0).max_pods_with_prefixes(96), 250);
        assert_eq!(EniLimits::of(ty("m5.large"), 99).max_pods(), 0);
    }

    #[test]
    fn addresses_rest_before_they_are_used_again() {
        let spec = CniSpec { warm_ip_target: Some(1), ..CniSpec::default() };
        let mut node = NodeAddresses::steady(&spec, &T3_SMALL, 0);
        let at = SimTime::from_secs;
        assert!(node.take(&spec, at(0)) && !node.take(&spec, at(0)));
        node.give_back(at(5));
        assert!(!node.take(&spec, at(34)) && node.take(&spec, at(35)));
    }

    #[test]
    fn a_small_subnet_runs_out() {
        let mut subnet = Subnet::new(28);
        assert_eq!(subnet.free, 11);
        let node = NodeAddresses::steady(&CniSpec::default(), &T3_SMALL, 0);
        assert!(subnet.take(node.subnet_addresses(&CniSpec::default())));
        assert!(subnet.take(4) && !subnet.take(4));
    }

    #[test]
    fn a_reserve_that_is_too_large_goes_back() {
        let spec = CniSpec::default();
        let mut node = NodeAddresses::steady(&spec, &T3_SMALL, 9);
        for _ in 0..9 {
            node.give_back(SimTime::ZERO);
        }
        let later = SimTime::from_secs(60);
        while let Some(command) = node.reconcile(&spec, &T3_SMALL, later) {
            assert_eq!(command, CniCommand::DetachEni);
            node.apply(command, &T3_SMALL);
        }
        assert_eq!((node.enis, node.slots), (1, 3));
    }
}
