//! The states of an ECS task's life.
//!
//! Rule: PROVISIONING (network, or waiting for capacity), PENDING (handed to the agent), ACTIVATING
//! (image pull, containers, registration), RUNNING, DEACTIVATING (deregistration), STOPPING (SIGTERM,
//! then SIGKILL), DEPROVISIONING (network), STOPPED. States are only ever passed forwards; a task may
//! skip some of them.
//!
//! Source: ECS developer guide, `task-lifecycle-explanation`. DELETED is left out: nothing asks for a
//! task that is gone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The last known status of a task, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Waiting for capacity and the network interface.
    Provisioning,
    /// Handed to the agent.
    Pending,
    /// Image pull, container creation, registration.
    Activating,
    /// The containers run.
    Running,
    /// The target is being deregistered.
    Deactivating,
    /// Told to stop.
    Stopping,
    /// Giving back network interface and capacity.
    Deprovisioning,
    /// Gone.
    Stopped,
}

impl TaskStatus {
    /// Every status, in order.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
    ];

    /// True before RUNNING: what the service scheduler counts as PENDING.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self < Self::Running
    }

    /// True after RUNNING and before STOPPED: what the service scheduler counts as STOPPING.
    #[must_use]
    pub fn is_stopping(self) -> bool {
        self > Self::Running && self < Self::Stopped
    }

    /// The name that the ECS API gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_in_exactly_one_phase() {
        for status in TaskStatus::ALL {
            let phases = [
                status.is_pending(),
                status == TaskStatus::Running,
                status.is_stopping(),
                status == TaskStatus::Stopped,
            ];
            assert_eq!(phases.iter().filter(|p| **p).count(), 1, "{status}");
        }
    }
}
