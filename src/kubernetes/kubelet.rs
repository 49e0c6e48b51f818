//! The life of a pod on its node.

use serde::{Deserialize, Serialize};

use crate::kernel::SimTime;

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted, but not all its containers have started: it waits for a node or for images.
    #[default]
    Pending,
    /// Bound, and at least one container runs, starts or restarts.
    Running,
    /// All containers ended well and none is started again.
    Succeeded,
    /// All containers ended, one of them badly, and none is started again.
    Failed,
    /// Its node cannot be asked.
    Unknown,
}

/// The `Ready` condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyCondition {
    /// Whether it is ready.
    pub status: bool,
    /// `lastTransitionTime`: since when.
    pub since: SimTime,
}
