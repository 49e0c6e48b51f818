//! Floor 2: the scenario language. What the user wrote becomes a [`model::Plan`]: every default filled in,
//! everything checked.

#[macro_use]
mod table;
pub mod diagnostic;
pub mod lang;
pub mod model;
pub mod tree;
pub mod written;

mod load;

pub use load::{from_text, has_traffic, resolve};

#[cfg(test)]
mod tests;
