//! Floor 5: what tasks run on, and how fast it is to be had.

pub mod auto_scaling_group;
pub mod bucket;
pub mod managed_instances;
pub mod managed_scaling;
pub mod mixed_instances;
pub mod strategy;
pub mod termination;
pub mod warm_pool;
