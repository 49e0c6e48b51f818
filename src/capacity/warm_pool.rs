//! Warm pools: instances that are prepared beforehand.
//!
//! Rule: a pool holds what lies between the group's desired capacity and its maximum (or a prepared
//! capacity of its own), and never fewer than its minimum. A scale-out takes instances out of the pool
//! before it launches new ones; then the pool is filled up again. A pool that is too large gives up those
//! that it has. Instances do not come back at scale-in: ECS does not support that.
//!
//! Source: EC2 Auto Scaling user guide, `ec2-auto-scaling-warm-pools`; ECS developer guide,
//! `using-warm-pool`.
//!
//! Known departures: a scale-out takes an instance of the zone that it wants, else the one that was
//! prepared first; a pool that is too large gives up the newest. Neither choice is documented.

use serde::{Deserialize, Serialize};

use crate::kernel::SimTime;
use crate::scenario::model::WarmPool;
use crate::units::{NodeId, ZoneId};

/// Instances that a pool should hold.
#[must_use]
pub fn size(desired: u32, max: u32, max_prepared: Option<u32>, min_size: u32) -> u32 {
    max_prepared.unwrap_or(max).saturating_sub(desired).max(min_size)
}

/// An instance of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmed {
    /// The instance.
    pub node: NodeId,
    /// Its zone.
    pub zone: ZoneId,
    /// When it was launched.
    pub launched: SimTime,
    /// Whether it can be taken: false while it is being prepared.
    pub ready: bool,
}

/// What a pool looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolObservation {
    /// The group's desired capacity.
    pub desired: u32,
    /// The group's maximum.
    pub max: u32,
    /// Instances of the pool, those that are being prepared included.
    pub instances: Vec<Warmed>,
}

/// What becomes of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDecision {
    /// Instances to launch into the pool.
    pub prepare: u32,
    /// Instances of the pool to terminate.
    pub terminate: Vec<NodeId>,
    /// What the pool should hold.
    pub size: u32,
    /// Why.
    pub reason: PoolSizeReason,
}

/// Why a pool changes or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolSizeReason {
    /// It is as large as it should be.
    AtSize,
    /// It is too small.
    Below,
    /// It is too large.
    Above,
}

/// How a pool is brought to its size.
#[must_use]
pub fn decide(pool: &WarmPool, observed: &PoolObservation) -> PoolDecision {
    let size = size(observed.desired, observed.max, pool.max_group_prepared_capacity, pool.min_size);
    let have = observed.instances.len() as u32;
    let mut newest: Vec<&Warmed> = observed.instances.iter().collect();
    newest.sort_by_key(|w| std::cmp::Reverse((w.launched, w.node)));
    let terminate: Vec<NodeId> = newest.iter().take(have.saturating_sub(size) as usize).map(|w| w.node).collect();
    let reason = match have.cmp(&size) {
        std::cmp::Ordering::Less => PoolSizeReason::Below,
        std::cmp::Ordering::Equal => PoolSizeReason::AtSize,
        std::cmp::Ordering::Greater => PoolSizeReason::Above,
    };
    PoolDecision { prepare: size.saturating_sub(have), terminate, size, reason }
}

/// The instance of a pool that a launch in `zone` takes; `None` when none is ready.
#[must_use]
pub fn take(instances: &[Warmed], zone: ZoneId) -> Option<NodeId> {
    let ready = instances.iter().filter(|w| w.ready);
    ready.min_by_key(|w| (w.zone != zone, w.launched, w.node)).map(|w| w.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warmed(node: u32, zone: u32, ready: bool) -> Warmed {
        Warmed { node: NodeId(node), zone: ZoneId(zone), launched: SimTime::from_secs(u64::from(node)), ready }
    }

    #[test]
    fn a_pool_follows_the_group() {
        let pool = WarmPool::default();
        let mut observed = PoolObservation { desired: 6, max: 10, instances: vec![warmed(0, 0, true)] };
        assert_eq!(decide(&pool, &observed).prepare, 3);
        observed.desired = 10;
        let decision = decide(&pool, &observed);
        assert_eq!(
            (decision.prepare, decision.terminate, decision.reason),
            (0, vec![NodeId(0)], PoolSizeReason::Above)
        );
        let own = WarmPool { max_group_prepared_capacity: Some(8), min_size: 1, ..WarmPool::default() };
        observed.desired = 7;
        assert_eq!(decide(&own, &observed).reason, PoolSizeReason::AtSize);
    }

    #[test]
    fn the_wanted_zone_comes_first() {
        let pool = [warmed(0, 0, true), warmed(1, 1, false), warmed(2, 1, true)];
        assert_eq!(take(&pool, ZoneId(1)), Some(NodeId(2)));
        assert_eq!(take(&pool, ZoneId(2)), Some(NodeId(0)));
        assert_eq!(take(&pool[1..2], ZoneId(1)), None);
    }
}
