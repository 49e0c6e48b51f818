//! Floor 2: the scenario language. What the user wrote becomes a [`model::Plan`]: every default filled in,
//! everything checked.

#[macro_use]
mod table;
pub mod model;
