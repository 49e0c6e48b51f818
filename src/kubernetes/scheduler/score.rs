//! The scores: pure functions with the real integer arithmetic, each 0 to 100 unless said otherwise.

use super::profile::{BalancedFormula, ScoringStrategy, ShapePoint};

/// The highest score of a plugin.
pub const MAX_SCORE: i64 = 100;

/// One resource of a node as scores see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What all pods of the node and the one in question request.
    pub requested: i64,
    /// What the node has; a resource of which it has none is left out.
    pub capacity: i64,
    /// The weight of the resource.
    pub weight: i64,
}

/// The score of `NodeResourcesFit` under a strategy. The points of a shape are in the order of utilization.
#[inline]
pub fn fit(strategy: &ScoringStrategy, shares: impl Iterator<Item = Share>) -> i64 {
    match strategy {
        ScoringStrategy::LeastAllocated => least_allocated(shares),
        ScoringStrategy::MostAllocated => most_allocated(shares),
        ScoringStrategy::RequestedToCapacityRatio(points) => requested_to_capacity_ratio(points, shares),
    }
}

/// `LeastAllocated`: the free part in percent, averaged by weight.
#[inline]
pub fn least_allocated(shares: impl Iterator<Item = Share>) -> i64 {
    average(shares, |s| {
        if s.requested > s.capacity {
            0
        } else {
            quotient((s.capacity - s.requested).saturating_mul(MAX_SCORE), s.capacity)
        }
    })
}

/// `MostAllocated`: the part in use in percent, averaged by weight.
#[inline]
pub fn most_allocated(shares: impl Iterator<Item = Share>) -> i64 {
    average(shares, |s| quotient(s.requested.min(s.capacity).saturating_mul(MAX_SCORE), s.capacity))
}

#[inline]
fn average(shares: impl Iterator<Item = Share>, score: impl Fn(Share) -> i64) -> i64 {
    let (mut sum, mut weights) = (0_i64, 0_i64);
    for share in shares.filter(|s| s.capacity != 0) {
        sum = sum.saturating_add(score(share).saturating_mul(share.weight));
        weights = weights.saturating_add(share.weight);
    }
    if weights == 0 { 0 } else { quotient(sum, weights) }
}

/// `a / b` in integers, for a `b` that is not 0. Within bounds a division of floats gives the same in a fraction of the
/// time: both are exact, and a quotient that is no integer is further from the next one than the float's error.
#[inline]
#[must_use]
pub fn quotient(a: i64, b: i64) -> i64 {
    const EXACT: i64 = 1 << 53;
    const SMALL: i64 = 1 << 45;
    if (0..EXACT).contains(&a) && (1..SMALL).contains(&b) && a / 128 <= b {
        (a as f64 / b as f64) as i64
    } else {
        a.wrapping_div(b)
    }
}

/// `RequestedToCapacityRatio`: utilization along a broken line; resources that score 0 are left out of the average.
pub fn requested_to_capacity_ratio(points: &[ShapePoint], shares: impl Iterator<Item = Share>) -> i64 {
    let (mut sum, mut weights) = (0_i64, 0_i64);
    let line = points.iter().map(|p| (p.utilization, p.score.saturating_mul(MAX_SCORE / 10)));
    for share in shares.filter(|s| s.capacity != 0) {
        let utilization =
            if share.requested > share.capacity { 100 } else { share.requested.saturating_mul(100) / share.capacity };
        let score = broken_line(line.clone(), utilization);
        if score > 0 {
            sum = sum.saturating_add(score.saturating_mul(share.weight));
            weights = weights.saturating_add(share.weight);
        }
    }
    if weights == 0 { 0 } else { (sum as f64 / weights as f64).round() as i64 }
}

/// The value of a broken line through points `(x, y)` in the order of x, in integer arithmetic, flat outside; 0
/// without points.
pub fn broken_line(points: impl Iterator<Item = (i64, i64)>, x: i64) -> i64 {
    let mut last: Option<(i64, i64)> = None;
    for (at, y) in points {
        if x <= at {
            return match last {
                Some((from, start)) if at != from => {
                    start.saturating_add((y - start).saturating_mul(x - from) / (at - from))
                }
                _ => y,
            };
        }
        last = Some((at, y));
    }
    last.map_or(0, |(_, y)| y)
}

/// How evenly the resources of a node are used: 100 less the standard deviation of their fractions in percent.
#[inline]
pub fn balance(shares: impl Iterator<Item = Share> + Clone) -> i64 {
    let fractions = shares.filter(|s| s.capacity != 0).map(|s| (s.requested as f64 / s.capacity as f64).min(1.0));
    let (mut count, mut sum, mut last, mut before) = (0_u32, 0.0, 0.0, 0.0);
    for fraction in fractions.clone() {
        (count, sum, before, last) = (count + 1, sum + fraction, last, fraction);
    }
    let deviation = match count {
        0 | 1 => 0.0,
        2 => ((before - last) / 2.0_f64).abs(),
        _ => {
            let mean = sum / f64::from(count);
            let squares: f64 = fractions.map(|f| (f - mean) * (f - mean)).sum();
            (squares / f64::from(count)).sqrt()
        }
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

/// `NodeResourcesBalancedAllocation` from the balance with the pod and (since v1.36) without it.
#[inline]
#[must_use]
pub fn balanced_allocation(formula: BalancedFormula, with: i64, without: i64) -> i64 {
    match formula {
        BalancedFormula::Level => with,
        BalancedFormula::Change => 50 + (50 + with - without) / 2,
    }
}

/// The default normalisation of one score: its part of the highest, in percent; `reverse` turns it round.
#[inline]
#[must_use]
pub fn normalized(score: i64, highest: i64, reverse: bool) -> i64 {
    normalized_to(score, highest, MAX_SCORE, reverse)
}

/// The same with another top of the scale than 100.
#[inline]
#[must_use]
pub fn normalized_to(score: i64, highest: i64, top: i64, reverse: bool) -> i64 {
    match (highest, reverse) {
        (0, false) => score,
        (0, true) => top,
        (_, false) => quotient(top.saturating_mul(score), highest),
        (_, true) => top - quotient(top.saturating_mul(score), highest),
    }
}

/// What `PodTopologySpread` adds for one constraint: the pods of the node's domain, weighted.
#[inline]
#[must_use]
pub fn spread_part(pods: i64, weight: f64, max_skew: i64) -> f64 {
    pods as f64 * weight + (max_skew - 1) as f64
}

/// The weight of a spread constraint with so many domains: ln(domains + 2).
#[must_use]
pub fn spread_weight(domains: usize) -> f64 {
    libm::log(domains as f64 + 2.0)
}

/// The raw score of `PodTopologySpread`: the sum over its constraints, which is never negative, rounded.
#[inline]
#[must_use]
pub fn spread_rounded(sum: f64) -> i64 {
    let whole = sum as i64;
    whole + i64::from(sum - whole as f64 >= 0.5)
}

/// The normalised score of `PodTopologySpread`: few pods score high.
#[inline]
#[must_use]
pub fn spread_normalized(raw: i64, lowest: i64, highest: i64) -> i64 {
    if highest == 0 { MAX_SCORE } else { quotient(MAX_SCORE * (highest + lowest - raw), highest) }
}

/// The normalised score of `InterPodAffinity`.
#[inline]
#[must_use]
pub fn affinity_normalized(raw: i64, lowest: i64, highest: i64) -> i64 {
    let range = highest - lowest;
    if range > 0 { (MAX_SCORE as f64 * ((raw - lowest) as f64 / range as f64)) as i64 } else { 0 }
}

const MIB: i64 = 1024 * 1024;
const SMALLEST_IMAGES: i64 = 23 * MIB;
const LARGEST_IMAGE: i64 = 1000 * MIB;

/// What one image that a node has adds to `ImageLocality`: its size by the share of nodes that have it.
#[must_use]
pub fn image_part(bytes: i64, nodes_with: usize, nodes: usize) -> i64 {
    if nodes == 0 { 0 } else { (bytes as f64 * (nodes_with as f64 / nodes as f64)) as i64 }
}

/// `ImageLocality` from the sum of [`image_part`] over the pod's containers.
#[must_use]
pub fn image_locality(sum: i64, containers: usize) -> i64 {
    let highest = LARGEST_IMAGE.saturating_mul(i64::try_from(containers).unwrap_or(i64::MAX));
    if highest <= SMALLEST_IMAGES {
        return 0;
    }
    let sum = sum.clamp(SMALLEST_IMAGES, highest);
    (sum - SMALLEST_IMAGES).saturating_mul(MAX_SCORE) / (highest - SMALLEST_IMAGES)
}

/// The name under which a node lists an image: with the tag `latest` where it has none.
#[must_use]
pub fn image_name(name: &str) -> String {
    let tagged = match (name.rfind(':'), name.rfind('/')) {
        (None, _) => false,
        (Some(colon), slash) => slash.is_none_or(|slash| colon > slash),
    };
    if tagged { name.to_owned() } else { format!("{name}:latest") }
}

/// How many feasible nodes are enough: all below 100 nodes or from 100 percent on; a percentage of 0 adapts.
#[must_use]
pub fn feasible_nodes_to_find(percentage: i64, nodes: usize) -> usize {
    const LEAST: usize = 100;
    if nodes < LEAST || percentage >= 100 {
        return nodes;
    }
    let adapted = 50_i64.saturating_sub(i64::try_from(nodes / 125).unwrap_or(i64::MAX)).max(5);
    let percentage = if percentage <= 0 { adapted } else { percentage };
    (nodes * usize::try_from(percentage).unwrap_or(0) / 100).max(LEAST)
}

/// The one of `ties` equals that a draw over all 64-bit numbers picks, from 0.
#[must_use]
pub fn pick(draw: u64, ties: usize) -> usize {
    usize::try_from((u128::from(draw) * ties as u128) >> 64).unwrap_or(0)
}

/// The positions of the highest score: the draw picks one of them.
#[must_use]
pub fn select_host(scores: &[i64], draw: u64) -> Option<usize> {
    let best = *scores.iter().max()?;
    let ties = scores.iter().filter(|s| **s == best).count();
    scores.iter().enumerate().filter(|(_, s)| **s == best).nth(pick(draw, ties)).map(|(at, _)| at)
}
