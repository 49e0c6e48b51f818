//! Floor 4: the state of the simulated control plane's world: tasks, their health and where they stand.

pub mod health;
pub mod spread;
pub mod target_health;
pub mod task_status;
