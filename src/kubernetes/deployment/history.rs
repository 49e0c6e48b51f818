//! Revisions: which old sets are kept, and the way back (`kubectl rollout undo`).

use super::{DeploymentSpec, ReplicaSet, SetId, Template};

/// Why a rollback is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    /// A paused Deployment is not rolled back.
    #[error("cannot roll back a paused Deployment; resume it first")]
    Paused,
    /// There is only one revision.
    #[error("no rollout history: there is no earlier revision")]
    NoHistory,
    /// The revision was never there or is no longer kept.
    #[error("unable to find revision {0} in the history")]
    NotFound(u64),
    /// The template is already that of the revision.
    #[error("skipped rollback: the current template already matches revision {0}")]
    AlreadyThere(u64),
}

/// The template of an earlier revision, to be written into the specification; without a revision the
/// one before the newest. The set of that template then becomes the new one and gets the next revision.
///
/// # Errors
/// As [`UndoError`] says.
pub fn undo(spec: &DeploymentSpec, sets: &[ReplicaSet], to: Option<u64>) -> Result<Template, UndoError> {
    if spec.paused {
        return Err(UndoError::Paused);
    }
    let mut by_revision: Vec<&ReplicaSet> = sets.iter().collect();
    by_revision.sort_by_key(|s| std::cmp::Reverse(s.revision));
    let target = match to {
        None => by_revision.get(1).ok_or(UndoError::NoHistory)?,
        Some(revision) => by_revision.iter().find(|s| s.revision == revision).ok_or(UndoError::NotFound(revision))?,
    };
    match target.template == spec.template {
        true => Err(UndoError::AlreadyThere(target.revision)),
        false => Ok(target.template),
    }
}

/// The old sets beyond the history limit, lowest revision first; those that still have pods stay, and
/// count against what is removed.
pub(super) fn expired(spec: &DeploymentSpec, old: &[ReplicaSet]) -> Vec<SetId> {
    let Some(limit) = spec.revision_history_limit.filter(|&l| l != i32::MAX) else { return Vec::new() };
    let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let mut by_revision: Vec<&ReplicaSet> = old.iter().collect();
    by_revision.sort_by_key(|s| (s.revision, s.created, s.id));
    by_revision[..excess].iter().filter(|s| s.replicas == 0 && s.current == 0).map(|s| s.id).collect()
}

/// The revision that the new set must carry: one more than the largest among the others.
pub(super) fn next(old: &[ReplicaSet]) -> u64 {
    old.iter().map(|s| s.revision).max().unwrap_or(0) + 1
}
