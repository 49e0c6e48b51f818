//! A discrete-event simulator of container orchestration on AWS.
//!
//! Floors, from the ground up (a module uses only floors below its own): `kernel`; `units`; `catalog`;
//! `scenario`; `manifest`; `cluster`, `traffic`, `telemetry`, `billing`; `scaling`, `rollout`,
//! `placement`, `capacity`; `output`; `simulation`; `experiment`; `report`; `cli`.

pub mod kernel;
pub mod scenario;
pub mod units;
