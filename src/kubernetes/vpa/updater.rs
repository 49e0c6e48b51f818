//! Which pods the updater evicts so that their successors get the recommended requests.
//!
//! Rule: once a minute, for each workload with at least two pods, a pod is a candidate if a container's
//! request lies outside the bounds; or if it has run for 12 h and its requests differ from the targets by a tenth or more
//! in all; or if it was killed for want of memory within 10 min of its start and the target differs. Those
//! that want more come first, then the larger difference. At most half of the replicas are away at a time,
//! at least one goes; each goes through the eviction API, so budgets hold.
//!
//! Source: `pkg/updater/priority`, `pkg/updater/restriction` and `pkg/updater/config` of the Vertical Pod
//! Autoscaler.

use serde::{Deserialize, Serialize};

use super::{Amounts, Recommendation, VpaSpec};
use crate::kernel::{SimDuration, SimTime};

/// Flags of the updater.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdaterSettings {
    /// `--updater-interval`: 1 min.
    pub interval: SimDuration,
    /// `--min-replicas`: 2.
    pub min_replicas: u32,
    /// `--eviction-tolerance`: the share of replicas that may be away, 0.5.
    pub eviction_tolerance: f64,
    /// `--in-recommendation-bounds-eviction-lifetime-threshold`: 12 h.
    pub lifetime_threshold: SimDuration,
    /// `--pod-update-threshold`: 0.1.
    pub update_threshold: f64,
    /// `--evict-after-oom-threshold`: 10 min.
    pub evict_after_oom: SimDuration,
}

impl Default for UpdaterSettings {
    fn default() -> Self {
        Self {
            interval: SimDuration::from_mins(1),
            min_replicas: 2,
            eviction_tolerance: 0.5,
            lifetime_threshold: SimDuration::from_secs(12 * 3_600),
            update_threshold: 0.1,
            evict_after_oom: SimDuration::from_mins(10),
        }
    }
}

/// A pod as the updater sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpaPod<'a> {
    /// Whatever the caller knows it by.
    pub id: u64,
    /// What its containers request, in the order of the recommendations; absent for no request.
    pub requests: &'a [Option<Amounts>],
    /// `status.startTime`.
    pub start: Option<SimTime>,
    /// Whether it is Pending: such a pod is evicted without counting.
    pub pending: bool,
    /// How long its last container that was killed for want of memory had run.
    pub oom_after: Option<SimDuration>,
}

/// Why a pod is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvictionReason {
    /// A request lies outside the bounds, or there is none.
    OutsideRecommendedRange,
    /// It ran out of memory soon after its start.
    QuickOom,
    /// It has run long enough, and its requests differ enough.
    LongLived,
}

/// A pod to evict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eviction {
    /// Which.
    pub id: u64,
    /// Why.
    pub reason: EvictionReason,
    /// Whether a container wants more.
    pub scale_up: bool,
    /// Relative difference between requests and targets, added over resources.
    pub resource_diff: f64,
    /// Whether it counts against the budget.
    pub counts: bool,
}

/// What the updater tries: candidates in their order, until so many that count were granted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evictions {
    /// The candidates.
    pub candidates: Vec<Eviction>,
    /// How many of those that count may go.
    pub budget: u32,
}

/// One look at a workload. `replicas` is what its controller should have; `pods` are those that are there.
#[must_use]
pub fn evictions(
    spec: &VpaSpec,
    settings: &UpdaterSettings,
    recommendations: &[Recommendation],
    pods: &[VpaPod<'_>],
    replicas: u32,
    now: SimTime,
) -> Evictions {
    let needed = spec.min_replicas.unwrap_or(settings.min_replicas) as usize;
    if !spec.update_mode.evicts() || pods.len() < needed || pods.is_empty() {
        return Evictions::default();
    }
    let mut candidates: Vec<Eviction> =
        pods.iter().filter_map(|pod| candidate(settings, recommendations, pod, now)).collect();
    candidates.sort_by(|a, b| {
        b.scale_up.cmp(&a.scale_up).then(b.resource_diff.total_cmp(&a.resource_diff)).then(a.id.cmp(&b.id))
    });
    let tolerated = (f64::from(replicas) * settings.eviction_tolerance) as u32;
    let running = u32::try_from(pods.iter().filter(|p| !p.pending).count()).unwrap_or(u32::MAX);
    let budget = if tolerated == 0 && running == replicas {
        1
    } else {
        running.saturating_sub(replicas.saturating_sub(tolerated))
    };
    Evictions { candidates, budget }
}

fn candidate(
    settings: &UpdaterSettings,
    recommendations: &[Recommendation],
    pod: &VpaPod<'_>,
    now: SimTime,
) -> Option<Eviction> {
    let (mut scale_up, mut outside) = (false, false);
    let (mut requested, mut recommended) = (Amounts::default(), Amounts::default());
    for (request, recommendation) in pod.requests.iter().zip(recommendations) {
        let target = recommendation.target;
        recommended.cpu_m = recommended.cpu_m.saturating_add(target.cpu_m);
        recommended.memory = recommended.memory.saturating_add(target.memory);
        let Some(request) = request else {
            (scale_up, outside) = (true, true);
            continue;
        };
        requested.cpu_m = requested.cpu_m.saturating_add(request.cpu_m);
        requested.memory = requested.memory.saturating_add(request.memory);
        let (low, high) = (recommendation.lower_bound, recommendation.upper_bound);
        scale_up |= target.cpu_m > request.cpu_m || target.memory > request.memory;
        outside |= request.cpu_m < low.cpu_m
            || request.memory < low.memory
            || request.cpu_m > high.cpu_m
            || request.memory > high.memory;
    }
    let diff = |requested: i64, recommended: i64| {
        let requested = (requested as f64).max(1.0);
        (requested - recommended as f64).abs() / requested
    };
    let resource_diff = diff(requested.cpu_m, recommended.cpu_m) + diff(requested.memory, recommended.memory);
    let quick_oom = pod.oom_after.is_some_and(|ran| ran < settings.evict_after_oom);
    let reason = if quick_oom && resource_diff == 0.0 {
        return None;
    } else if outside {
        EvictionReason::OutsideRecommendedRange
    } else if quick_oom {
        EvictionReason::QuickOom
    } else if now >= pod.start? + settings.lifetime_threshold && resource_diff >= settings.update_threshold {
        EvictionReason::LongLived
    } else {
        return None;
    };
    Some(Eviction { id: pod.id, reason, scale_up, resource_diff, counts: !pod.pending })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::vpa::UpdateMode;

    fn amounts(cpu_m: i64) -> Amounts {
        Amounts { cpu_m, memory: 1_000 }
    }

    fn recommendation() -> Recommendation {
        Recommendation {
            target: amounts(500),
            lower_bound: Amounts { cpu_m: 300, memory: 500 },
            upper_bound: Amounts { cpu_m: 800, memory: 2_000 },
            uncapped_target: amounts(500),
        }
    }

    fn look(pods: &[(i64, u64, Option<SimDuration>)], spec: &VpaSpec) -> Evictions {
        let requests: Vec<[Option<Amounts>; 1]> = pods.iter().map(|p| [Some(amounts(p.0))]).collect();
        let pods: Vec<VpaPod<'_>> = pods
            .iter()
            .zip(&requests)
            .zip(0..)
            .map(|((p, requests), id)| VpaPod {
                id,
                requests,
                start: Some(SimTime::from_secs(p.1 * 3_600)),
                pending: false,
                oom_after: p.2,
            })
            .collect();
        let replicas = pods.len() as u32;
        evictions(
            spec,
            &UpdaterSettings::default(),
            &[recommendation()],
            &pods,
            replicas,
            SimTime::from_secs(24 * 3_600),
        )
    }

    #[test]
    fn who_goes_and_who_goes_first() {
        let spec = VpaSpec::default();
        let oom = Some(SimDuration::from_mins(2));
        // Outside below, within and young, within and old, outside above, within with a quick kill, right.
        let found = look(
            &[(200, 20, None), (400, 20, None), (400, 2, None), (900, 20, None), (400, 20, oom), (500, 2, None)],
            &spec,
        );
        let order: Vec<(u64, EvictionReason)> = found.candidates.iter().map(|c| (c.id, c.reason)).collect();
        assert_eq!(
            order,
            [
                (0, EvictionReason::OutsideRecommendedRange),
                (2, EvictionReason::LongLived),
                (4, EvictionReason::QuickOom),
                (3, EvictionReason::OutsideRecommendedRange),
            ]
        );
        assert_eq!(found.budget, 3);
    }

    #[test]
    fn modes_and_small_workloads() {
        let two = [(200, 20, None), (200, 20, None)];
        assert_eq!(look(&two, &VpaSpec::default()).budget, 1);
        for update_mode in [UpdateMode::Off, UpdateMode::Initial] {
            assert_eq!(look(&two, &VpaSpec { update_mode, ..VpaSpec::default() }), Evictions::default());
        }
        assert_eq!(look(&two[..1], &VpaSpec::default()), Evictions::default());
        let alone = look(&two[..1], &VpaSpec { min_replicas: Some(1), ..VpaSpec::default() });
        assert_eq!((alone.candidates.len(), alone.budget), (1, 1));
    }
}
