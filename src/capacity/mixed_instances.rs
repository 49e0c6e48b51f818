//! Mixed instances: how a group is shared by On-Demand and Spot, and which pool a launch tries first.
//!
//! Rule: of `capacity` instances the base is On-Demand, and of those beyond it the percentage, rounded
//! up; the rest is Spot. A pool is an instance type in a zone. An On-Demand launch goes through the types
//! in the order of the list or of price. A Spot launch goes to
//!
//! - `lowest-price`: the cheapest pools of the zone, spread evenly over so many of them;
//! - `capacity-optimized`: the deepest pool;
//! - `capacity-optimized-prioritized`: the deep pools, in the order of the list;
//! - `price-capacity-optimized`: the deep pools, the cheapest first.
//!
//! Source: EC2 Auto Scaling user guide, `ec2-auto-scaling-mixed-instances-groups`, `allocation-strategies`.
//!
//! Known departures: AWS does not say how deep a deep pool is; here it holds at least half of what the
//! deepest one holds. Pools that are not deep come after those that are, by the same order. Ties go to
//! the order of the list, then to the lower zone.

use serde::{Deserialize, Serialize};

use crate::cluster::Market;
use crate::scenario::model::{InstancesDistribution, OnDemandStrategy, SpotStrategy};
use crate::units::{Usd, ZoneId};

/// A pool is deep when it holds at least this share of what the deepest one holds, in percent.
const DEEP_PERCENT: u64 = 50;

/// How many instances of which market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// On-Demand instances.
    pub on_demand: u32,
    /// Spot instances.
    pub spot: u32,
}

impl Split {
    /// The number of one market.
    #[must_use]
    pub const fn of(self, market: Market) -> u32 {
        match market {
            Market::OnDemand => self.on_demand,
            Market::Spot => self.spot,
        }
    }
}

/// On-Demand and Spot instances of a group of `capacity`. A percentage above 100 counts as 100.
///
/// ```
/// use simctl::capacity::mixed_instances::split;
/// let of_ten = split(10, 2, 50);
/// assert_eq!((of_ten.on_demand, of_ten.spot), (6, 4));
/// ```
#[must_use]
pub fn split(capacity: u32, base: u32, percent_above_base: u32) -> Split {
    let beyond = u64::from(capacity.saturating_sub(base));
    let share = (beyond * u64::from(percent_above_base.min(100))).div_ceil(100);
    let on_demand = capacity.min(base) + share as u32;
    Split { on_demand, spot: capacity - on_demand }
}

/// [`split`] by the settings of a group.
#[must_use]
pub fn split_of(capacity: u32, distribution: &InstancesDistribution) -> Split {
    split(capacity, distribution.on_demand_base_capacity, distribution.on_demand_percentage_above_base_capacity)
}

/// The market of the next launch: On-Demand while its part is not filled, then Spot.
#[must_use]
pub fn next_market(wanted: Split, have: Split) -> Market {
    if wanted.on_demand > have.on_demand || wanted.spot == 0 { Market::OnDemand } else { Market::Spot }
}

/// One pool as a launch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The instance type, by its position in the group's list: its priority.
    pub kind: u32,
    /// The zone.
    pub zone: ZoneId,
    /// Price of an hour On-Demand; absent where it is not sold so.
    pub on_demand: Option<Usd>,
    /// Price of an hour of Spot; absent where it is not sold so.
    pub spot: Option<Usd>,
    /// How much spare Spot capacity there is, in any unit: only the ratios of pools count. 0 is none known.
    pub depth: u32,
    /// Spot instances of the group in this pool.
    pub in_use: u32,
}

/// Why a pool comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolReason {
    /// First of the list.
    Priority,
    /// The cheapest.
    Price,
    /// The cheapest pools, and of those the one with the fewest instances of the group.
    Diversified,
    /// The deepest.
    Depth,
    /// Deep, and of the deep ones the first of the list.
    DeepByPriority,
    /// Deep, and of the deep ones the cheapest.
    DeepByPrice,
    /// Nothing is sold in this market.
    NothingSold,
}

/// The pools in the order in which a launch tries them, by their positions in `pools`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Positions in the list of pools, the best first. Pools that are not sold in the market are left out.
    pub order: Vec<u32>,
    /// Why the first comes first.
    pub reason: PoolReason,
}

/// The pools in the order in which a launch in `market` tries them. `zone` keeps to one zone.
#[must_use]
pub fn preference(
    distribution: &InstancesDistribution,
    market: Market,
    zone: Option<ZoneId>,
    pools: &[Pool],
) -> Preference {
    let price = |p: &Pool| match market {
        Market::OnDemand => p.on_demand,
        Market::Spot => p.spot,
    };
    let mut sold: Vec<(u32, &Pool, Usd)> = pools
        .iter()
        .enumerate()
        .filter(|(_, p)| zone.is_none_or(|z| p.zone == z))
        .filter_map(|(i, p)| price(p).map(|usd| (i as u32, p, usd)))
        .collect();
    let by_list = |p: &Pool| (p.kind, p.zone);
    let deepest = sold.iter().map(|(_, p, _)| p.depth).max().unwrap_or(0);
    let shallow = |p: &Pool| u64::from(p.depth) * 100 < u64::from(deepest) * DEEP_PERCENT;
    let reason = match market {
        Market::OnDemand => match distribution.on_demand_allocation_strategy {
            OnDemandStrategy::Prioritized => {
                sold.sort_by_key(|(_, p, _)| by_list(p));
                PoolReason::Priority
            }
            OnDemandStrategy::LowestPrice => {
                sold.sort_by_key(|(_, p, usd)| (*usd, by_list(p)));
                PoolReason::Price
            }
        },
        Market::Spot => match distribution.spot_allocation_strategy {
            SpotStrategy::LowestPrice => {
                sold.sort_by_key(|(_, p, usd)| (*usd, by_list(p)));
                let spread = (distribution.spot_instance_pools.max(1) as usize).min(sold.len());
                sold[..spread].sort_by_key(|(_, p, usd)| (p.in_use, *usd, by_list(p)));
                PoolReason::Diversified
            }
            SpotStrategy::CapacityOptimized => {
                sold.sort_by_key(|(_, p, usd)| (std::cmp::Reverse(p.depth), *usd, by_list(p)));
                PoolReason::Depth
            }
            SpotStrategy::CapacityOptimizedPrioritized => {
                sold.sort_by_key(|(_, p, _)| (shallow(p), by_list(p)));
                PoolReason::DeepByPriority
            }
            SpotStrategy::PriceCapacityOptimized => {
                sold.sort_by_key(|(_, p, usd)| (shallow(p), *usd, by_list(p)));
                PoolReason::DeepByPrice
            }
        },
    };
    let reason = if sold.is_empty() { PoolReason::NothingSold } else { reason };
    Preference { order: sold.iter().map(|(i, _, _)| *i).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(kind: u32, zone: u32, on_demand: i64, spot: i64, depth: u32) -> Pool {
        let usd = |milli: i64| Some(Usd::from_nanos(milli * 1_000_000));
        Pool { kind, zone: ZoneId(zone), on_demand: usd(on_demand), spot: usd(spot), depth, in_use: 0 }
    }

    fn order(strategy: SpotStrategy, pools: &[Pool]) -> Vec<u32> {
        let distribution = InstancesDistribution { spot_allocation_strategy: strategy, ..Default::default() };
        preference(&distribution, Market::Spot, None, pools).order
    }

    #[test]
    fn the_next_launch_goes_where_more_is_missing() {
        let wanted = split(4, 1, 50);
        assert_eq!((wanted.on_demand, wanted.spot), (3, 1));
        assert_eq!(next_market(wanted, Split { on_demand: 2, spot: 0 }), Market::OnDemand);
        assert_eq!(next_market(wanted, Split { on_demand: 3, spot: 0 }), Market::Spot);
        assert_eq!(next_market(split(3, 0, 100), Split { on_demand: 9, spot: 0 }), Market::OnDemand);
        assert_eq!(next_market(split(3, 0, 0), Split { on_demand: 0, spot: 9 }), Market::Spot);
    }

    #[test]
    fn spot_strategies_disagree() {
        // A dear deep pool, a cheap shallow one, a middling one that is deep enough.
        let pools = [pool(0, 0, 100, 50, 100), pool(1, 0, 90, 20, 10), pool(2, 1, 80, 30, 60)];
        assert_eq!(order(SpotStrategy::CapacityOptimized, &pools), [0, 2, 1]);
        assert_eq!(order(SpotStrategy::CapacityOptimizedPrioritized, &pools), [0, 2, 1]);
        assert_eq!(order(SpotStrategy::PriceCapacityOptimized, &pools), [2, 0, 1]);
        assert_eq!(order(SpotStrategy::LowestPrice, &pools), [1, 2, 0]);
    }

    #[test]
    fn the_cheapest_pools_fill_evenly() {
        let mut pools = [pool(0, 0, 100, 50, 1), pool(1, 0, 90, 20, 1), pool(2, 0, 80, 30, 1)];
        pools[1].in_use = 1;
        assert_eq!(order(SpotStrategy::LowestPrice, &pools), [2, 1, 0]);
        pools[2].in_use = 2;
        assert_eq!(order(SpotStrategy::LowestPrice, &pools), [1, 2, 0]);
    }

    #[test]
    fn a_market_and_a_zone_narrow_the_choice() {
        let mut pools = [pool(0, 0, 100, 50, 1), pool(1, 1, 90, 20, 1)];
        let cheapest = InstancesDistribution {
            on_demand_allocation_strategy: OnDemandStrategy::LowestPrice,
            ..InstancesDistribution::default()
        };
        let first = |d: &InstancesDistribution, zone, pools: &[Pool]| preference(d, Market::OnDemand, zone, pools);
        assert_eq!(first(&InstancesDistribution::default(), None, &pools).order, [0, 1]);
        assert_eq!(first(&cheapest, None, &pools).order, [1, 0]);
        assert_eq!(first(&cheapest, Some(ZoneId(0)), &pools).order, [0]);
        pools[0].spot = None;
        assert_eq!(order(SpotStrategy::CapacityOptimized, &pools), [1]);
        assert_eq!(preference(&cheapest, Market::Spot, Some(ZoneId(0)), &pools).reason, PoolReason::NothingSold);
    }
}
