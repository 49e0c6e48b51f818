//! Floor 5: where tasks stand.

pub mod zones;
