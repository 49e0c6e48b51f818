//! The launch of a NodeClaim: which types, capacity type and zone are asked for, and what shortages teach.
//!
//! Source: `aws/karpenter-provider-aws`, `pkg/providers/instance` and `pkg/cache/unavailableofferings.go` (v1.14). Left out:
//! placement groups, capacity blocks, the choice among capacity reservations.

use std::collections::BTreeMap;

use super::instance::{CapacityType, InstanceType, Offering};
use super::labels::WellKnown;
use super::pool::Subnet;
use super::requirements::{Requirements, ValueSet};
use super::scheduling::NodeClaim;
use super::world::World;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::{Labels, Resources, Symbol, Symbols};
use crate::units::Usd;

/// How long an offering that could not be had is not tried again.
pub const UNAVAILABLE_FOR: SimDuration = SimDuration::from_mins(3);
/// Types that one request to EC2 names at most.
pub const MAX_LAUNCH_TYPES: usize = 60;
/// With fewer types in an on-demand request that could also have been for Spot, Karpenter warns.
pub const FLEXIBLE_TYPES: usize = 5;

/// What lately could not be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unavailable {
    offerings: BTreeMap<(CapacityType, Symbol, Symbol), SimTime>,
    capacity_types: BTreeMap<CapacityType, SimTime>,
    zones: BTreeMap<Symbol, SimTime>,
    /// Rises with each mark: instance types are worked out anew.
    version: u64,
}

impl Unavailable {
    /// An offering could not be had, or its Spot instance was taken back.
    pub fn mark(&mut self, capacity_type: CapacityType, instance_type: Symbol, zone: Symbol, now: SimTime) {
        self.offerings.insert((capacity_type, instance_type, zone), now + UNAVAILABLE_FOR);
        self.version += 1;
    }

    /// Nothing of a capacity type can be had: the service-linked role for Spot is missing.
    pub fn mark_capacity_type(&mut self, capacity_type: CapacityType, now: SimTime) {
        self.capacity_types.insert(capacity_type, now + UNAVAILABLE_FOR);
        self.version += 1;
    }

    /// The subnets of a zone have too few addresses.
    pub fn mark_zone(&mut self, zone: Symbol, now: SimTime) {
        self.zones.insert(zone, now + UNAVAILABLE_FOR);
        self.version += 1;
    }

    /// Whether an offering is remembered as one that cannot be had.
    #[must_use]
    pub fn is_unavailable(
        &self,
        capacity_type: CapacityType,
        instance_type: Symbol,
        zone: Symbol,
        now: SimTime,
    ) -> bool {
        let holds = |until: Option<&SimTime>| until.is_some_and(|at| *at > now);
        holds(self.offerings.get(&(capacity_type, instance_type, zone)))
            || holds(self.capacity_types.get(&capacity_type))
            || holds(self.zones.get(&zone))
    }

    /// Forgets what is over, as is done every 10 s; what it answers does not change.
    pub fn sweep(&mut self, now: SimTime) {
        self.offerings.retain(|_, until| *until > now);
        self.capacity_types.retain(|_, until| *until > now);
        self.zones.retain(|_, until| *until > now);
    }

    /// When the next entry ends; `None` without any. Offerings change then.
    #[must_use]
    pub fn next_end(&self) -> Option<SimTime> {
        self.offerings.values().chain(self.capacity_types.values()).chain(self.zones.values()).min().copied()
    }

    /// Rises with each mark.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }
}

/// A type with those of its offerings that a launch may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchType {
    /// The type, by whatever index the caller has for it.
    pub instance_type: usize,
    /// The offerings that are left.
    pub offerings: Vec<Offering>,
}

impl LaunchType {
    fn cheapest(&self) -> Option<Usd> {
        self.offerings.iter().map(|o| o.price).min()
    }
}

/// The types that satisfy requirements, have room for the requests, and of which a compatible offering can be had.
#[must_use]
pub fn compatible<'a>(
    types: impl IntoIterator<Item = (usize, &'a InstanceType)>,
    requirements: &Requirements,
    requests: &Resources,
    known: &WellKnown,
    symbols: &Symbols,
    available: impl Fn(Symbol, &Offering) -> bool,
) -> Vec<LaunchType> {
    let allows = |key, value| requirements.get(key).is_none_or(|set: &ValueSet| set.has(value, symbols));
    let mut all = Vec::new();
    for (at, of) in types {
        if of.requirements.conflict(requirements, symbols).is_some() || !requests.fits(of.allocatable()) {
            continue;
        }
        let open = |o: &&Offering| {
            o.available
                && available(of.name, o)
                && allows(known.zone, o.zone)
                && allows(known.capacity_type, known.value_of(o.capacity_type))
        };
        let offerings: Vec<Offering> = of.offerings.iter().filter(open).copied().collect();
        if !offerings.is_empty() {
            all.push(LaunchType { instance_type: at, offerings });
        }
    }
    all
}

/// Drops bare metal, GPUs and accelerators if anything else remains.
pub fn drop_exotic(types: &mut Vec<LaunchType>, is_exotic: impl Fn(usize) -> bool) {
    if types.iter().any(|t| !is_exotic(t.instance_type)) {
        types.retain(|t| !is_exotic(t.instance_type));
    }
}

/// Drops Spot offerings that are dearer than the cheapest offering on demand, where both may be used.
pub fn drop_dear_spot(types: &mut Vec<LaunchType>) {
    let on_demand = |o: &&Offering| o.capacity_type == CapacityType::OnDemand;
    let Some(cheapest) = types.iter().flat_map(|t| &t.offerings).filter(on_demand).map(|o| o.price).min() else {
        return;
    };
    for of in types.iter_mut() {
        of.offerings.retain(|o| o.capacity_type != CapacityType::Spot || o.price <= cheapest);
    }
    types.retain(|t| !t.offerings.is_empty());
}

/// Keeps the cheapest types, as many as one request names. Types must be in an order that breaks ties.
pub fn cut(types: &mut Vec<LaunchType>, keep: usize) {
    types.sort_by_key(|t| t.cheapest());
    types.truncate(keep);
}

/// The capacity type of a request: reserved if there is such an offering, else Spot, else on demand.
#[must_use]
pub fn capacity_type(types: &[LaunchType]) -> Option<CapacityType> {
    let offered = |c: CapacityType| types.iter().flat_map(|t| &t.offerings).any(|o| o.capacity_type == c);
    CapacityType::ALL.into_iter().find(|c| offered(*c))
}

/// The subnet of a zone with most free addresses, the first of equals; `None` where none has any.
#[must_use]
pub fn subnet_of(zone: Symbol, subnets: &[Subnet]) -> Option<usize> {
    let here = subnets.iter().enumerate().filter(|(_, s)| s.zone == zone && s.free_addresses > 0);
    here.max_by_key(|(at, s)| (s.free_addresses, std::cmp::Reverse(*at))).map(|(at, _)| at)
}

/// One line of a request: a type in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The type: an index into the pool's table.
    pub instance_type: usize,
    /// Its zone.
    pub zone: Symbol,
    /// Dollars an hour.
    pub price: Usd,
}

/// A request to EC2 for one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetRequest {
    /// What kind of capacity.
    pub capacity_type: CapacityType,
    /// Types and zones, cheapest first.
    pub overrides: Vec<Override>,
    /// How many types it names.
    pub types: usize,
    /// Whether fewer than [`FLEXIBLE_TYPES`] are named where Spot was allowed too: a warning only.
    pub inflexible: bool,
}

/// How much of an offering EC2 has. Karpenter does not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None.
    Empty,
    /// An instance can be had, the pool is small.
    Shallow,
    /// Plenty.
    Deep,
}

/// A launched instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The type: an index into the pool's table.
    pub instance_type: usize,
    /// Its zone.
    pub zone: Symbol,
    /// How it is paid for.
    pub capacity_type: CapacityType,
    /// Dollars an hour.
    pub price: Usd,
    /// Offerings that were tried before and could not be had.
    pub failed: Vec<(CapacityType, Symbol, Symbol)>,
}

/// Why no instance came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// No offering was left to ask for.
    NoOffering,
    /// Every offering that was asked for could not be had. These are now marked.
    Insufficient(Vec<(CapacityType, Symbol, Symbol)>),
}

/// The request that a NodeClaim leads to.
///
/// # Errors
/// [`LaunchError::NoOffering`] where nothing that it allows can be had.
pub fn fleet_request(
    world: &World<'_>,
    claim: &NodeClaim,
    unavailable: &Unavailable,
) -> Result<FleetRequest, LaunchError> {
    let World { symbols, known, now, .. } = *world;
    let table = world.tables[world.pools[claim.pool].table].types();
    let listed = claim.types.iter().filter_map(|at| table.get(*at).map(|t| (*at, t)));
    let mut types = compatible(listed, &claim.requirements, &claim.requests, known, symbols, |name, o| {
        !unavailable.is_unavailable(o.capacity_type, name, o.zone, now)
    });
    if claim.requirements.iter().all(|(_, set)| set.min_values().is_none()) {
        drop_exotic(&mut types, |at| table[at].exotic);
        drop_dear_spot(&mut types);
    }
    types.sort_by_key(|t| t.instance_type);
    cut(&mut types, MAX_LAUNCH_TYPES);
    let capacity_type = capacity_type(&types).ok_or(LaunchError::NoOffering)?;
    let mut overrides: Vec<Override> = Vec::new();
    for of in &types {
        for o in of.offerings.iter().filter(|o| o.capacity_type == capacity_type) {
            overrides.push(Override { instance_type: of.instance_type, zone: o.zone, price: o.price });
        }
    }
    let zone = |o: &Override| symbols.text(o.zone);
    overrides
        .sort_by(|a, b| (a.price, a.instance_type).cmp(&(b.price, b.instance_type)).then_with(|| zone(a).cmp(zone(b))));
    let mut named: Vec<usize> = overrides.iter().map(|o| o.instance_type).collect();
    named.sort_unstable();
    named.dedup();
    let spot = known.value_of(CapacityType::Spot);
    let spot_allowed = claim.requirements.get(known.capacity_type).is_none_or(|s| s.has(spot, symbols));
    let inflexible = capacity_type == CapacityType::OnDemand && spot_allowed && named.len() < FLEXIBLE_TYPES;
    Ok(FleetRequest { capacity_type, overrides, types: named.len(), inflexible })
}

/// Launches a NodeClaim. `depth` is what EC2 has of a type in a zone. On demand the cheapest that can be had comes; on the Spot
/// market the cheapest of the deep pools, else the cheapest at all. What was tried in vain is marked for three minutes.
///
/// # Errors
/// When nothing could be had; the NodeClaim is to be deleted, and its pods are provisioned anew.
pub fn launch(
    world: &World<'_>,
    claim: &NodeClaim,
    unavailable: &mut Unavailable,
    mut depth: impl FnMut(usize, Symbol, CapacityType) -> Depth,
) -> Result<Launch, LaunchError> {
    let request = fleet_request(world, claim, unavailable)?;
    let table = world.tables[world.pools[claim.pool].table].types();
    let capacity_type = request.capacity_type;
    let depths: Vec<Depth> = request.overrides.iter().map(|o| depth(o.instance_type, o.zone, capacity_type)).collect();
    let with = |least: Depth| depths.iter().position(|d| *d >= least);
    let chosen = match capacity_type {
        CapacityType::Spot => with(Depth::Deep).or_else(|| with(Depth::Shallow)),
        _ => with(Depth::Shallow),
    };
    // EC2 tells of the pools that it tried: all that are cheaper than what it gave, and everything if it gave nothing.
    let tried = chosen.unwrap_or(depths.len());
    let empty = request.overrides[..tried].iter().zip(&depths).filter(|(_, d)| **d == Depth::Empty);
    let failed: Vec<(CapacityType, Symbol, Symbol)> =
        empty.map(|(o, _)| (capacity_type, table[o.instance_type].name, o.zone)).collect();
    for (capacity_type, name, zone) in &failed {
        unavailable.mark(*capacity_type, *name, *zone, world.now);
    }
    match chosen {
        None => Err(LaunchError::Insufficient(failed)),
        Some(at) => {
            let Override { instance_type, zone, price } = request.overrides[at];
            Ok(Launch { instance_type, zone, capacity_type, price, failed })
        }
    }
}

/// The labels of the node that a launch makes: the type's, zone and capacity type, the pool's, and for other keys that the
/// claim restricts to a list the first value by name.
#[must_use]
pub fn node_labels(world: &World<'_>, claim: &NodeClaim, launch: &Launch, node: Symbol) -> Labels {
    let World { symbols, known, .. } = *world;
    let pool = &world.pools[claim.pool];
    let mut labels = Labels::default();
    for (key, set) in claim.requirements.iter().filter(|(_, set)| !set.is_complement()) {
        let first = set.values().iter().min_by(|a, b| symbols.text(**a).cmp(symbols.text(**b)));
        if let Some(value) = first {
            labels.set(key, *value);
        }
    }
    if let Some(of) = world.tables[pool.table].types().get(launch.instance_type) {
        for (key, set) in of.requirements.iter() {
            if let Some(value) = set.single() {
                labels.set(key, value);
            }
        }
    }
    for (key, value) in claim.labels.iter() {
        labels.set(key, value);
    }
    labels.set(known.zone, launch.zone);
    labels.set(known.capacity_type, known.value_of(launch.capacity_type));
    labels.set(known.node_pool, pool.name);
    labels.set(known.hostname, node);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_forgotten_after_three_minutes() {
        let mut s = Symbols::default();
        let (t, a, b) = (s.intern("m5.large"), s.intern("a"), s.intern("b"));
        let mut seen = Unavailable::default();
        seen.mark(CapacityType::Spot, t, a, SimTime::from_secs(10));
        let is = |seen: &Unavailable, c, z, at| seen.is_unavailable(c, t, z, SimTime::from_secs(at));
        assert!(is(&seen, CapacityType::Spot, a, 189) && !is(&seen, CapacityType::Spot, a, 190));
        assert!(!is(&seen, CapacityType::OnDemand, a, 20) && !is(&seen, CapacityType::Spot, b, 20));
        seen.sweep(SimTime::from_secs(200));
        assert_eq!(seen.next_end(), None);
    }

    #[test]
    fn the_subnet_with_most_addresses_is_taken() {
        let mut s = Symbols::default();
        let (a, b) = (s.intern("a"), s.intern("b"));
        let subnet = |zone, free_addresses| Subnet { zone, free_addresses };
        let subnets = [subnet(a, 3), subnet(a, 9), subnet(a, 9), subnet(b, 0)];
        assert_eq!(subnet_of(a, &subnets), Some(1));
        assert_eq!(subnet_of(b, &subnets), None);
    }
}
