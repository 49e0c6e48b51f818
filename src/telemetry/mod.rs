//! Floor 4: what the control plane can see of the world: metrics with their periods and delays, and alarms.

pub mod alarm;
mod metrics;
pub mod utilization;

pub use metrics::{Mean, Point, Series};
