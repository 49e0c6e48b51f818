//! Floor 4: the control plane's state, and the only door that changes it.
//!
//! Controllers never touch this state: they return commands, the simulation passes them to
//! [`Cluster::apply`], and what happened comes back as [`Fact`]s. Every invariant is checked at
//! that door, in one place.

mod door;
mod state;

pub use door::{Command, Fact, Refusal};
pub use state::{
    Cluster, Deployment, DeploymentOutcome, DeploymentStatus, Health, ServiceState, StopCode, Task, TaskStatus,
    TaskTimes,
};
