//! Floor 4: the control plane's state, and the only door that changes it.
//!
//! Controllers never touch this state: they return commands, the simulation passes them to
//! [`Cluster::apply`], and what happened comes back as [`Fact`]s. Every invariant is checked at
//! that door, in one place.

mod door;
pub mod health;
mod node_door;
pub mod nodes;
pub mod spread;
mod state;
pub mod target_health;
pub mod task_status;

pub use door::{Command, Fact, Made, Refusal};
pub use health::Health;
pub use node_door::NodeStep;
pub use nodes::{Lack, LifeCycle, Market, Needs, Node, NodeEnd, NodeSpec, NodeStatus, NodeTimes, Resources};
pub use state::{
    Cluster, Deployment, DeploymentOutcome, DeploymentStatus, PodBounds, ServiceState, StopCode, Task, TaskTimes,
};
pub use task_status::TaskStatus;
