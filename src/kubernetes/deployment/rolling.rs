//! The numbers of a rolling update, and its steps on sizes of sets.

use super::{DeploymentSpec, PodReplacementPolicy, ReplicaSet, Strategy};
use crate::kubernetes::int_or_percent::pods;
use crate::units::{IntOrPercent, Rounding};

/// The bounds of a rolling update in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenceposts {
    /// Pods above the wanted number.
    pub surge: i32,
    /// Pods below it.
    pub unavailable: i32,
}

/// Both bounds for a number of wanted pods: surge rounded up, unavailable rounded down, and 1
/// unavailable where both are 0, since nothing could move otherwise.
#[must_use]
pub fn fenceposts(max_surge: IntOrPercent, max_unavailable: IntOrPercent, desired: i32) -> Fenceposts {
    let surge = pods(max_surge, desired, Rounding::Up);
    let unavailable = pods(max_unavailable, desired, Rounding::Down);
    Fenceposts { surge, unavailable: if surge == 0 && unavailable == 0 { 1 } else { unavailable } }
}

/// Pods that may be missing: 0 for Recreate and for no replicas, at most the replicas.
#[must_use]
pub fn max_unavailable(spec: &DeploymentSpec) -> i32 {
    match spec.strategy {
        Strategy::RollingUpdate { max_surge, max_unavailable } if spec.replicas > 0 => {
            fenceposts(max_surge, max_unavailable, spec.replicas).unavailable.min(spec.replicas)
        }
        _ => 0,
    }
}

/// Pods that may be too many: 0 for Recreate.
#[must_use]
pub fn max_surge(spec: &DeploymentSpec) -> i32 {
    match spec.strategy {
        Strategy::RollingUpdate { max_surge, max_unavailable } => {
            fenceposts(max_surge, max_unavailable, spec.replicas).surge
        }
        Strategy::Recreate => 0,
    }
}

/// The size that the new set may have now, given its size and the pods that count against
/// `replicas + surge`.
#[must_use]
pub fn new_set_size(spec: &DeploymentSpec, size: i32, counted: i32) -> i32 {
    match spec.strategy {
        Strategy::Recreate => spec.replicas,
        Strategy::RollingUpdate { max_surge, .. } => {
            // Here the surge is not the fencepost: the real code reads the field again.
            let most = spec.replicas.saturating_add(pods(max_surge, spec.replicas, Rounding::Up));
            match counted >= most {
                true => size,
                false => size + (most - counted).min(spec.replicas - size),
            }
        }
    }
}

/// The pods that count against `replicas + surge`: the sizes of all sets, so that terminating pods do
/// not count; with `TerminationComplete` the larger of size and pods of each, and those that terminate.
pub(super) fn counted(spec: &DeploymentSpec, sets: &[ReplicaSet]) -> i32 {
    match spec.pod_replacement_policy {
        PodReplacementPolicy::TerminationStarted => sets.iter().map(|s| s.replicas).sum(),
        PodReplacementPolicy::TerminationComplete => {
            sets.iter().map(|s| s.replicas.max(s.current) + s.terminating).sum()
        }
    }
}

/// Takes away replicas that are not available, oldest set first, at most `most` in all. Gives how many.
/// `old` must be in the order of creation.
pub fn cleanup_unhealthy(old: &mut [ReplicaSet], most: i32) -> i32 {
    let mut removed = 0;
    for set in old {
        if removed >= most {
            break;
        }
        let unhealthy = (set.replicas - set.available).max(0);
        let count = unhealthy.min(most - removed).min(set.replicas);
        set.replicas -= count;
        removed += count;
    }
    removed
}

/// Takes from the old sets, oldest first, what is available above the minimum. `new_available` are the
/// available pods of the new set. Gives how many replicas were taken. `old` must be in the order of creation.
pub fn scale_down_old(spec: &DeploymentSpec, old: &mut [ReplicaSet], new_available: i32) -> i32 {
    let least = spec.replicas - max_unavailable(spec);
    let available = old.iter().map(|s| s.available).sum::<i32>() + new_available;
    let excess = available - least;
    let mut removed = 0;
    for set in old {
        if removed >= excess {
            break;
        }
        let count = set.replicas.min(excess - removed);
        set.replicas -= count;
        removed += count;
    }
    removed
}

/// Sizes of the active sets after the Deployment was resized in the middle of a rollout: each keeps its
/// share. `sets` holds active sets only; they come back in the order in which they were served.
pub fn proportional(spec: &DeploymentSpec, sets: &mut [ReplicaSet], status_replicas: i32) {
    let total: i32 = sets.iter().map(|s| s.replicas).sum();
    let allowed = match spec.replicas > 0 {
        true => spec.replicas.saturating_add(max_surge(spec)),
        false => 0,
    };
    let add = allowed.saturating_sub(total);
    if add > 0 {
        sets.sort_by_key(|s| std::cmp::Reverse((s.replicas, s.created, s.id)));
    } else {
        sets.sort_by(|a, b| b.replicas.cmp(&a.replicas).then_with(|| (a.created, a.id).cmp(&(b.created, b.id))));
    }
    let mut added = 0;
    for set in sets.iter_mut() {
        let left = add - added;
        let share = match set.replicas == 0 || left == 0 {
            true => 0,
            false if add > 0 => share(spec, set, status_replicas).min(left),
            false => share(spec, set, status_replicas).max(left),
        };
        set.replicas += share;
        added += share;
    }
    if let (Some(first), true) = (sets.first_mut(), add != 0) {
        first.replicas = (first.replicas + add - added).max(0);
    }
}

/// By how much a set should grow to keep its share of the Deployment.
fn share(spec: &DeploymentSpec, set: &ReplicaSet, status_replicas: i32) -> i32 {
    if spec.replicas == 0 {
        return -set.replicas;
    }
    let before = match set.annotated_max {
        Some(most) if most > 0 => most,
        _ => status_replicas,
    };
    if before <= 0 {
        return 0;
    }
    let now = spec.replicas.saturating_add(max_surge(spec));
    let size = f64::from(set.replicas) * f64::from(now) / f64::from(before);
    // A float-to-integer cast saturates.
    (size.round() as i32).saturating_sub(set.replicas)
}
