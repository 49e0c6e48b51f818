//! Floor 5: service auto scaling, as Application Auto Scaling does it for the desired count of an ECS
//! service. Each file is one rule; [`service`] puts them together.

pub mod combine;
pub mod cooldown;
pub mod cron;
pub mod predictive;
pub mod schedule;
pub mod service;
pub mod step;
pub mod target_tracking;
