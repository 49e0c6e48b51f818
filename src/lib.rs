//! A discrete-event simulator of container orchestration on AWS.
//!
//! Floors, from the ground up (a module uses only floors below its own): `kernel`; `units`; `catalog`;
//! `scenario`; `manifest`; `cluster`, `traffic`, `telemetry`, `billing`; `scaling`, `rollout`,
//! `placement`, `capacity`, `kubernetes`; `output`; `simulation`; `experiment`; `report`; `cli`.

pub mod billing;
pub mod capacity;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod experiment;
pub mod kernel;
pub mod kubernetes;
pub mod output;
pub mod placement;
pub mod report;
pub mod rollout;
pub mod scaling;
pub mod scenario;
pub mod simulation;
pub mod telemetry;
pub mod traffic;
pub mod units;
