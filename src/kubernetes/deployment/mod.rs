//! The Deployment controller: it sizes ReplicaSets, never pods.
//!
//! One call of [`sync`] is one pass of the real controller over one Deployment. It looks at the
//! Deployment's specification, at the status it wrote last (its memory), and at the sizes and counts of
//! its ReplicaSets. The real controller is called again whenever one of these changes; so must this one
//! be, and also after its own changes were carried out.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/deployment` (v1.36): `rolling.go`, `recreate.go`,
//! `sync.go`, `progress.go`, `util/deployment_util.go`.
//!
//! Known departures: a template is a number given by the caller (the hash in the real one), and a
//! ReplicaSet's place among others of the same age is decided by its [`SetId`] instead of its name.

mod history;
mod progress;
mod rolling;
mod sync;
#[cfg(test)]
mod tests;

use crate::kernel::{SimDuration, SimTime};

use crate::units::IntOrPercent;
pub use history::{UndoError, undo};
pub use progress::{is_complete, is_progressing, recheck_after, rollout_status, timed_out};
pub use rolling::{
    Fenceposts, cleanup_unhealthy, fenceposts, max_surge, max_unavailable, new_set_size, proportional, scale_down_old,
};
pub use sync::{NewSet, Scale, Step, Sync, sync};

/// A ReplicaSet of the Deployment, named by the caller; younger sets have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u32);

/// A pod template, named by the caller: equal numbers are equal templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template(pub u32);

/// How pods of a new template take the place of the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods end before the first new one is created.
    Recreate,
    /// Step by step, within bounds.
    RollingUpdate {
        /// Pods above `replicas` that may exist; a percentage is rounded up.
        max_surge: IntOrPercent,
        /// Pods below `replicas` that may be missing; a percentage is rounded down.
        max_unavailable: IntOrPercent,
    },
}

impl Default for Strategy {
    fn default() -> Self {
        Self::RollingUpdate { max_surge: IntOrPercent::Percent(25), max_unavailable: IntOrPercent::Percent(25) }
    }
}

/// When a pod that terminates may be replaced (`podReplacementPolicy`, alpha).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodReplacementPolicy {
    /// As soon as it begins to terminate: terminating pods do not count.
    #[default]
    TerminationStarted,
    /// When it is gone: terminating pods count against `replicas` and `maxSurge`.
    TerminationComplete,
}

/// The specification of a Deployment, with the API's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentSpec {
    /// Pods wanted, 0 or more. Default 1.
    pub replicas: i32,
    /// How a new template is rolled out. Default RollingUpdate with 25 % and 25 %.
    pub strategy: Strategy,
    /// How long a pod must be ready before it counts as available. Default 0.
    pub min_ready: SimDuration,
    /// How long a rollout may stand still before it is reported as failed; absent for ever. Default 600 s.
    pub progress_deadline: Option<SimDuration>,
    /// Old sets kept for a rollback; absent for all. Default 10.
    pub revision_history_limit: Option<i32>,
    /// Whether new templates wait and only sizes are kept. Default false.
    pub paused: bool,
    /// When terminating pods are replaced. Default at once.
    pub pod_replacement_policy: PodReplacementPolicy,
    /// The template that the pods should have.
    pub template: Template,
}

impl DeploymentSpec {
    /// A Deployment of a template with every default.
    #[must_use]
    pub const fn new(template: Template) -> Self {
        Self {
            replicas: 1,
            strategy: Strategy::RollingUpdate {
                max_surge: IntOrPercent::Percent(25),
                max_unavailable: IntOrPercent::Percent(25),
            },
            min_ready: SimDuration::ZERO,
            progress_deadline: Some(SimDuration::from_secs(600)),
            revision_history_limit: Some(10),
            paused: false,
            pod_replacement_policy: PodReplacementPolicy::TerminationStarted,
            template,
        }
    }
}

/// A ReplicaSet as the Deployment controller sees it: its size, its annotations and its counts of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Which one.
    pub id: SetId,
    /// The template of its pods.
    pub template: Template,
    /// Its revision, from 1; the newest is the largest.
    pub revision: u64,
    /// When it was created.
    pub created: SimTime,
    /// The size it should have (`spec.replicas`).
    pub replicas: i32,
    /// Pods that it counts: neither ended nor terminating (`status.replicas`).
    pub current: i32,
    /// Of these, the ready ones.
    pub ready: i32,
    /// Of these, those ready for at least the minimum.
    pub available: i32,
    /// Pods that terminate but are not gone.
    pub terminating: i32,
    /// The Deployment's `replicas` when this set was last sized (annotation `desired-replicas`).
    pub annotated_desired: Option<i32>,
    /// The Deployment's `replicas` plus surge at that time (annotation `max-replicas`).
    pub annotated_max: Option<i32>,
    /// Whether it fails to create pods, as when a quota refuses them.
    pub failing: bool,
}

/// Whether something holds, as conditions say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Why a condition is as it is, in the API's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    NewReplicaSetCreated,
    FoundNewReplicaSet,
    ReplicaSetUpdated,
    NewReplicaSetAvailable,
    ProgressDeadlineExceeded,
    DeploymentPaused,
    DeploymentResumed,
    MinimumReplicasAvailable,
    MinimumReplicasUnavailable,
    /// Pods cannot be created.
    FailedCreate,
    /// No reason given.
    None,
}

/// A condition of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// When it was last written; the deadline counts from here.
    pub last_update: SimTime,
    /// When `status` last changed.
    pub last_transition: SimTime,
}

/// The status of a Deployment: what a pass found and the next pass remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentStatus {
    /// Pods of all sets that are neither ended nor terminating.
    pub replicas: i32,
    /// Those of the new set.
    pub updated: i32,
    /// Ready ones of all sets.
    pub ready: i32,
    /// Available ones of all sets.
    pub available: i32,
    /// Pods wanted by the sizes of all sets and not available.
    pub unavailable: i32,
    /// Condition `Progressing`.
    pub progressing: Option<Condition>,
    /// Condition `Available`.
    pub available_condition: Option<Condition>,
    /// Condition `ReplicaFailure`, present while a set cannot create pods.
    pub replica_failure: Option<Condition>,
}

/// When a pod that is ready since `ready_since` becomes available: the first instant at which it was
/// ready for *longer* than the minimum, or at once where there is no minimum.
#[must_use]
pub fn available_from(ready_since: SimTime, min_ready: SimDuration) -> SimTime {
    match min_ready.is_zero() {
        true => ready_since,
        false => ready_since.saturating_add(min_ready).saturating_add(SimDuration::from_nanos(1)),
    }
}
