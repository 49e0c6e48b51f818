//! How a service's tasks are spread: the arithmetic of capacity shares and zone balance.
//!
//! Rule for capacities: the base is filled first; each further task goes to the capacity with the
//! largest deficit `k * weight / sum - placed`, where k counts the tasks beyond the base, the next one
//! included. The first to give one up is the capacity that is most above its share, never below its
//! base while another is above its own. Rule for zones: the one with the fewest tasks takes the next,
//! the one with the most gives one up; balanced means that counts differ by at most one.
//!
//! Source: ECS developer guide, `cluster-capacity-providers` (base and weight), `service-rebalancing`
//! (balance over zones). The deficit rule for shares that are not whole, the order in which capacities
//! give tasks up, and ties are not documented: ties go to the earlier capacity when starting, to the
//! later one when stopping, and to the lower zone.

use serde::{Deserialize, Serialize};

use crate::units::{CapacityId, ZoneId};

/// One capacity of a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The capacity.
    pub capacity: CapacityId,
    /// Tasks that run here before weights count.
    pub base: u32,
    /// Share of the tasks beyond the base.
    pub weight: u32,
}

/// The capacity of the next task, as a position in `shares`, when `counts[i]` tasks run on
/// `shares[i]`. `None` for no share at all. When no share has a weight, the first takes everything
/// beyond the base.
#[must_use]
pub fn next_share(shares: &[Share], counts: &[u32]) -> Option<usize> {
    if let Some(i) = shares.iter().zip(counts).position(|(s, n)| *n < s.base) {
        return Some(i);
    }
    let k: i128 = beyond_base(shares, counts).map(i128::from).sum::<i128>() + 1;
    let sum = weights(shares);
    let mut best: Option<(i128, usize)> = None;
    for (i, (share, placed)) in shares.iter().zip(beyond_base(shares, counts)).enumerate() {
        if share.weight == 0 && sum > 0 {
            continue;
        }
        let deficit = k * i128::from(share.weight) - i128::from(placed) * sum;
        if best.is_none_or(|(b, _)| deficit > b) {
            best = Some((deficit, i));
        }
    }
    best.map(|(_, i)| i)
}

/// The capacity that gives a task up, as a position in `shares`; `candidates[i]` says how many tasks of
/// `shares[i]` may be taken. `None` when there is no candidate.
#[must_use]
pub fn surplus_share(shares: &[Share], counts: &[u32], candidates: &[u32]) -> Option<usize> {
    let k: i128 = beyond_base(shares, counts).map(i128::from).sum();
    let sum = weights(shares);
    let mut best: Option<(bool, i128, usize)> = None;
    for (i, (share, placed)) in shares.iter().zip(beyond_base(shares, counts)).enumerate() {
        if candidates[i] == 0 {
            continue;
        }
        let excess = i128::from(placed) * sum - k * i128::from(share.weight);
        // Above its base comes before at or below it, whatever the share.
        let key = (placed > 0, excess);
        if best.is_none_or(|(above, e, _)| key >= (above, e)) {
            best = Some((key.0, key.1, i));
        }
    }
    best.map(|(_, _, i)| i)
}

fn weights(shares: &[Share]) -> i128 {
    shares.iter().map(|s| i128::from(s.weight)).sum()
}

fn beyond_base<'a>(shares: &'a [Share], counts: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    shares.iter().zip(counts).map(|(s, n)| n.saturating_sub(s.base))
}

/// Tasks per zone that `desired` tasks should have: the whole quotient each, the remainder one each
/// from the first zone on.
#[must_use]
pub fn zone_targets(desired: u32, zones: u32) -> Vec<u32> {
    if zones == 0 {
        return Vec::new();
    }
    (0..zones).map(|z| desired / zones + u32::from(z < desired % zones)).collect()
}

/// True when the counts of any two zones differ by at most one.
#[must_use]
pub fn zones_balanced(counts: &[u32]) -> bool {
    match (counts.iter().min(), counts.iter().max()) {
        (Some(min), Some(max)) => max - min <= 1,
        _ => true,
    }
}

/// The zone with the fewest tasks; `tie_break[z]` decides among equals (fewer first), then the lower
/// zone. `None` for no zone.
#[must_use]
pub fn poorest_zone(counts: &[u32], tie_break: &[u32]) -> Option<ZoneId> {
    (0..counts.len()).min_by_key(|z| (counts[*z], tie_break.get(*z).copied().unwrap_or(0), *z)).map(ZoneId::from)
}

/// The zone with the most tasks among those with a candidate; the lower zone among equals.
#[must_use]
pub fn richest_zone(counts: &[u32], candidates: &[u32]) -> Option<ZoneId> {
    (0..counts.len())
        .filter(|z| candidates.get(*z).is_some_and(|n| *n > 0))
        .max_by_key(|z| (counts[*z], std::cmp::Reverse(*z)))
        .map(ZoneId::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(list: &[(u32, u32)]) -> Vec<Share> {
        list.iter()
            .enumerate()
            .map(|(i, (base, weight))| Share { capacity: CapacityId::from(i), base: *base, weight: *weight })
            .collect()
    }

    fn place(shares: &[Share], counts: &mut [u32], tasks: u32) {
        for _ in 0..tasks {
            counts[next_share(shares, counts).unwrap()] += 1;
        }
    }

    #[test]
    fn the_workshops_split_holds_while_growing() {
        let shares = shares(&[(2, 1), (0, 3)]);
        let mut counts = [0, 0];
        place(&shares, &mut counts, 10);
        assert_eq!(counts, [4, 6]);
        place(&shares, &mut counts, 12);
        assert_eq!(counts, [7, 15]);
    }

    #[test]
    fn replacements_restore_the_ratio() {
        let shares = shares(&[(0, 1), (0, 3)]);
        let mut counts = [3, 5]; // four Spot tasks of (3, 9) were taken back
        place(&shares, &mut counts, 4);
        assert_eq!(counts, [3, 9]);
    }

    #[test]
    fn scale_in_takes_what_is_above_its_share_and_spares_the_base() {
        let shares = shares(&[(2, 1), (0, 3)]);
        let mut counts = [4, 6];
        for _ in 0..8 {
            counts[surplus_share(&shares, &counts, &counts).unwrap()] -= 1;
        }
        assert_eq!(counts, [2, 0]);
        counts[surplus_share(&shares, &counts, &counts).unwrap()] -= 1;
        assert_eq!(counts, [1, 0]);
        assert_eq!(surplus_share(&shares, &counts, &[0, 0]), None);
    }

    #[test]
    fn without_weights_the_first_takes_all() {
        let shares = shares(&[(0, 0)]);
        let mut counts = [0];
        place(&shares, &mut counts, 3);
        assert_eq!(counts, [3]);
        assert_eq!(next_share(&[], &[]), None);
    }

    #[test]
    fn zones_differ_by_at_most_one() {
        assert_eq!(zone_targets(7, 3), [3, 2, 2]);
        assert!(zones_balanced(&[4, 3, 3]) && !zones_balanced(&[5, 3, 3]) && zones_balanced(&[]));
        assert_eq!(poorest_zone(&[2, 1, 1], &[0, 5, 4]), Some(ZoneId(2)));
        assert_eq!(richest_zone(&[2, 3, 3], &[1, 0, 1]), Some(ZoneId(2)));
        assert_eq!(richest_zone(&[3, 3], &[1, 1]), Some(ZoneId(0)));
        assert_eq!(poorest_zone(&[], &[]), None);
    }
}
