//! Disruption.
pub mod drift;
