//! Balance of a service's tasks over Availability Zones.
//!
//! Rule: counts of two zones differ by at most one: the whole quotient each, the remainder one each. A
//! service whose zones are further apart is brought back from its steady state, by tasks in the poorest
//! zone first and, once those are healthy, stops in the richest. That needs: a REPLICA service, zone
//! spread as its first placement strategy or none, a launch type other than EXTERNAL, a maximumPercent
//! above 100, no Classic Load Balancer, no constraint on zones, and the setting switched on.
//!
//! Source: ECS developer guide, `service-rebalancing`. No known departure.

use serde::{Deserialize, Serialize};

use crate::cluster::spread::{poorest_zone, richest_zone, zones_balanced};
use crate::units::ZoneId;

pub use crate::cluster::spread::zone_targets as target_per_zone;

/// Tasks per zone that `desired` tasks should have, fewest first.
#[must_use]
pub fn target_sorted(desired: u32, zones: u32) -> Vec<u32> {
    let mut targets = target_per_zone(desired, zones);
    targets.sort_unstable();
    targets
}

/// True when these counts are balanced for their own total.
#[must_use]
pub fn balanced(counts: &[u32]) -> bool {
    zones_balanced(counts)
}

/// A task to be moved for balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The zone that takes one.
    pub to: ZoneId,
    /// The zone that gives one up.
    pub from: ZoneId,
}

/// The moves that balance these counts, each from the then richest to the then poorest zone.
#[must_use]
pub fn moves(counts: &[u32]) -> Vec<Move> {
    let mut counts = counts.to_vec();
    let mut moves = Vec::new();
    while !zones_balanced(&counts) {
        let (Some(to), Some(from)) = (poorest_zone(&counts, &[]), richest_zone(&counts, &counts)) else { break };
        counts[to.index()] += 1;
        counts[from.index()] -= 1;
        moves.push(Move { to, from });
    }
    moves
}

/// What decides whether a service's zones are rebalanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eligibility {
    /// Availability Zone rebalancing is switched on.
    pub enabled: bool,
    /// The scheduling strategy is REPLICA.
    pub replica: bool,
    /// The launch type is EXTERNAL.
    pub external: bool,
    /// maximumPercent of the service.
    pub maximum_percent: u32,
    /// Whether the first placement strategy is a spread over zones; `None` without any strategy.
    pub first_strategy_spreads_zones: Option<bool>,
    /// The service has a Classic Load Balancer.
    pub classic_load_balancer: bool,
    /// A placement constraint names zones.
    pub zone_constraint: bool,
}

/// Why a service's zones are not rebalanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// Switched off.
    #[error("Availability Zone rebalancing is switched off")]
    Disabled,
    /// Not a REPLICA service.
    #[error("only REPLICA services are rebalanced")]
    NotReplica,
    /// EXTERNAL tasks.
    #[error("EXTERNAL tasks are not rebalanced")]
    External,
    /// No room for a task more.
    #[error("maximumPercent must be above 100")]
    MaximumPercent,
    /// Another placement strategy comes first.
    #[error("the first placement strategy must be a spread over Availability Zones")]
    Strategy,
    /// A Classic Load Balancer.
    #[error("services with a Classic Load Balancer are not rebalanced")]
    ClassicLoadBalancer,
    /// A constraint on zones.
    #[error("a placement constraint names Availability Zones")]
    ZoneConstraint,
}

/// Whether a service's zones are rebalanced.
///
/// # Errors
/// The first reason why not.
pub fn eligible(e: &Eligibility) -> Result<(), Ineligible> {
    for (bad, why) in [
        (!e.enabled, Ineligible::Disabled),
        (!e.replica, Ineligible::NotReplica),
        (e.external, Ineligible::External),
        (e.maximum_percent <= 100, Ineligible::MaximumPercent),
        (e.first_strategy_spreads_zones == Some(false), Ineligible::Strategy),
        (e.classic_load_balancer, Ineligible::ClassicLoadBalancer),
        (e.zone_constraint, Ineligible::ZoneConstraint),
    ] {
        if bad {
            return Err(why);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_balance_and_no_more() {
        assert_eq!(target_sorted(10, 3), [3, 3, 4]);
        assert_eq!(moves(&[5, 3, 2]), [Move { to: ZoneId(2), from: ZoneId(0) }]);
        assert_eq!(moves(&[6, 0, 0]).len(), 4);
        assert!(moves(&[4, 3, 3]).is_empty() && moves(&[]).is_empty());
    }

    #[test]
    fn each_condition_alone_is_enough() {
        let good = Eligibility {
            enabled: true,
            replica: true,
            external: false,
            maximum_percent: 200,
            first_strategy_spreads_zones: None,
            classic_load_balancer: false,
            zone_constraint: false,
        };
        assert_eq!(eligible(&good), Ok(()));
        for (bad, why) in [
            (Eligibility { enabled: false, ..good }, Ineligible::Disabled),
            (Eligibility { replica: false, ..good }, Ineligible::NotReplica),
            (Eligibility { external: true, ..good }, Ineligible::External),
            (Eligibility { maximum_percent: 100, ..good }, Ineligible::MaximumPercent),
            (Eligibility { first_strategy_spreads_zones: Some(false), ..good }, Ineligible::Strategy),
            (Eligibility { classic_load_balancer: true, ..good }, Ineligible::ClassicLoadBalancer),
            (Eligibility { zone_constraint: true, ..good }, Ineligible::ZoneConstraint),
        ] {
            assert_eq!(eligible(&bad), Err(why));
        }
    }
}
