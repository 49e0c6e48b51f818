//! Floor 4: what the control plane can see. Metrics as CloudWatch publishes them, and alarms.

pub mod alarm;
pub mod utilization;
