//! Floor 7: many runs. Replications of one plan, variants beside each other, sweeps over addresses, the search
//! for the cheapest configuration, and the statistics that say what can be believed of it.
//!
//! A [`Point`] is a configuration; a [`Runner`] does its replications on all cores and gives back a
//! [`RunRecord`] each, in the order that was asked for. What follows from them is a pure function of the
//! records.

pub mod compare;
mod engine;
pub mod figure;
mod record;
mod runner;
pub mod search;
mod space;
pub mod statistics;
mod store;
pub mod study;
pub mod sweep;
pub mod warm_up;
pub mod words;

pub use compare::{Against, CompareOptions, Comparison, FigureDifference, Variant, compare};
pub use engine::{CHECK_SCHEDULE, Engine, EngineError, Job, simulate};
pub use figure::{Better, CLUSTER, Figure, Kind, MEASURES, Measure};
pub use record::{RECORD_SCHEMA, RunRecord};
pub use runner::{Done, Point, RunFailure, Runner, Unwatched, Wanted, Watch, all_cores, all_of};
pub use space::{Space, SpaceError};
pub use store::Store;
pub use study::{FigureStudy, HOLD, LEVEL, ObjectiveStudy, Study};
