//! Floor 5: how a service gets from one revision to the next and keeps its tasks alive. Each file is
//! one rule of the ECS service scheduler; [`scheduler`] puts them together for rolling updates and the
//! steady state, [`stages`] for deployments with a second fleet.

mod choice;
pub mod circuit_breaker;
pub mod deployment_alarms;
pub mod early_success;
pub mod fleets;
pub mod health;
pub mod hooks;
pub mod protection;
pub mod rolling;
pub mod scheduler;
pub mod shift;
pub mod stages;
pub mod stop_choice;
pub mod throttle;
mod view;
