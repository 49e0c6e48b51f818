//! Experiments: what many runs of one or several variants say, and how far it can be trusted.

pub mod statistics;
