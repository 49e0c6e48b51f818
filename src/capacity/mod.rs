//! Floor 5: what tasks run on, and how fast it is to be had.

pub mod bucket;
pub mod strategy;
