//! Floor 0: time, the future-event queue and random streams.
//!
//! The kernel knows nothing of clouds. It gives a simulation three things: an exact integer clock
//! ([`SimTime`], [`SimDuration`]), an [`EventQueue`] with three lanes and one total order, and
//! [`Streams`] of random numbers that are named by meaning and never by call order. [`Law`] turns
//! one uniform number into one variate of a probability law, with the same bits on every platform.

mod heap;
mod law;
mod queue;
mod random;
mod time;

pub use heap::{DeadlineHeap, KeyedHeap};
pub use law::{Law, LawError, QuantileTable, standard_normal_quantile};
pub use queue::{EventQueue, Fired, Phase};
pub use random::{Draw, Stream, StreamExt, Streams, unit_f64};
pub use time::{SimDuration, SimTime};
