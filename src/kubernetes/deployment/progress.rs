//! Whether a rollout is complete, moves, or has stood still for too long.

use super::{Condition, ConditionStatus, DeploymentSpec, DeploymentStatus, Reason, ReplicaSet, rolling};
use crate::kernel::{SimDuration, SimTime};

/// Whether every pod is of the new template and available, and no other runs.
#[must_use]
pub fn is_complete(replicas: i32, status: &DeploymentStatus) -> bool {
    status.updated == replicas && status.replicas == replicas && status.available == replicas
}

/// Whether anything moved from one status to the next: new pods, old pods gone, ready or available ones more.
#[must_use]
pub fn is_progressing(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    after.updated > before.updated
        || after.replicas - after.updated < before.replicas - before.updated
        || after.ready > before.ready
        || after.available > before.available
}

/// A deadline of 2147483647 s means none, as in the API.
fn deadline(spec: &DeploymentSpec) -> Option<SimDuration> {
    spec.progress_deadline.filter(|d| d.as_secs() != i32::MAX as u64)
}

/// Whether the rollout has stood still for longer than its deadline. Complete rollouts never do.
#[must_use]
pub fn timed_out(spec: &DeploymentSpec, progressing: Option<&Condition>, now: SimTime) -> bool {
    match (deadline(spec), progressing) {
        (Some(deadline), Some(condition)) => match condition.reason {
            Reason::NewReplicaSetAvailable => false,
            Reason::ProgressDeadlineExceeded => true,
            _ => condition.last_update.saturating_add(deadline) < now,
        },
        _ => false,
    }
}

/// After how long a rollout that stands still must be looked at again: zero for at once, absent for not
/// at all. Less than a second counts as at once.
#[must_use]
pub fn recheck_after(spec: &DeploymentSpec, status: &DeploymentStatus, now: SimTime) -> Option<SimDuration> {
    let (deadline, condition) = (deadline(spec)?, status.progressing.as_ref()?);
    if is_complete(spec.replicas, status) || condition.reason == Reason::ProgressDeadlineExceeded {
        return None;
    }
    let left = condition.last_update.saturating_add(deadline).since(now);
    Some(if left < SimDuration::from_secs(1) { SimDuration::ZERO } else { left })
}

/// Writes a condition as the API does: the same status and reason leave it alone, the same status keeps
/// the time of the last transition.
pub(super) fn set(condition: &mut Option<Condition>, status: ConditionStatus, reason: Reason, now: SimTime) {
    let last_transition = match condition {
        Some(old) if old.status == status && old.reason == reason => return,
        Some(old) if old.status == status => old.last_transition,
        _ => now,
    };
    *condition = Some(Condition { status, reason, last_update: now, last_transition });
}

/// The status after a pass: counts over all sets, and the three conditions.
pub(super) fn status(
    spec: &DeploymentSpec,
    before: &DeploymentStatus,
    sets: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    now: SimTime,
) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSet) -> i32| sets.iter().map(of).sum::<i32>();
    let available = sum(|s| s.available);
    let mut status = DeploymentStatus {
        replicas: sum(|s| s.current),
        updated: new.map_or(0, |s| s.current),
        ready: sum(|s| s.ready),
        available,
        unavailable: (sum(|s| s.replicas) - available).max(0),
        ..before.clone()
    };
    let (holds, reason) = match available >= spec.replicas - rolling::max_unavailable(spec) {
        true => (ConditionStatus::True, Reason::MinimumReplicasAvailable),
        false => (ConditionStatus::False, Reason::MinimumReplicasUnavailable),
    };
    set(&mut status.available_condition, holds, reason, now);
    status
}

/// The status at the end of a rollout's pass, with the conditions `Progressing` and `ReplicaFailure`.
/// `before` is the status of the last pass, `conditions` that status with what this pass wrote already.
#[must_use]
pub fn rollout_status(
    spec: &DeploymentSpec,
    before: &DeploymentStatus,
    conditions: &DeploymentStatus,
    sets: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    now: SimTime,
) -> DeploymentStatus {
    let mut status = status(spec, conditions, sets, new, now);
    if deadline(spec).is_none() {
        status.progressing = None;
    } else {
        let settled = status.replicas == status.updated
            && status.progressing.is_some_and(|c| c.reason == Reason::NewReplicaSetAvailable);
        if !settled {
            if is_complete(spec.replicas, &status) {
                set(&mut status.progressing, ConditionStatus::True, Reason::NewReplicaSetAvailable, now);
            } else if is_progressing(before, &status) {
                let since = status.progressing.filter(|c| c.status == ConditionStatus::True);
                status.progressing = Some(Condition {
                    status: ConditionStatus::True,
                    reason: Reason::ReplicaSetUpdated,
                    last_update: now,
                    last_transition: since.map_or(now, |c| c.last_transition),
                });
            } else if timed_out(spec, status.progressing.as_ref(), now) {
                set(&mut status.progressing, ConditionStatus::False, Reason::ProgressDeadlineExceeded, now);
            }
        }
    }
    match sets.iter().any(|s| s.failing) {
        true => set(&mut status.replica_failure, ConditionStatus::True, Reason::FailedCreate, now),
        false => status.replica_failure = None,
    }
    status
}

/// The condition `Progressing` when the Deployment was paused or resumed: neither counts as a time-out.
pub(super) fn pause(spec: &DeploymentSpec, status: &mut DeploymentStatus, now: SimTime) {
    if deadline(spec).is_none() {
        return;
    }
    let reason = status.progressing.map_or(Reason::None, |c| c.reason);
    if reason == Reason::ProgressDeadlineExceeded {
        return;
    }
    match (spec.paused, reason == Reason::DeploymentPaused) {
        (true, false) => set(&mut status.progressing, ConditionStatus::Unknown, Reason::DeploymentPaused, now),
        (false, true) => set(&mut status.progressing, ConditionStatus::Unknown, Reason::DeploymentResumed, now),
        _ => {}
    }
}
