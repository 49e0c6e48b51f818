//! Floor 2: the scenario language. What the user wrote becomes a [`model::Plan`]: every default filled in,
//! everything checked.
//!
//! [`load`] reads a file with its variants, settings and the files that it names; what is wrong comes
//! back as [`diagnostic::Diagnostics`], all of it at once. The types in [`model`] are declared by
//! macros that also make the reader, the writer of `plan.toml` and the JSON Schema.

#[macro_use]
mod table;
pub mod axis;
pub mod check;
pub mod cron_schedule;
mod describe;
pub mod diagnostic;
pub mod expression;
pub mod fargate;
mod inputs;
pub mod instances;
pub mod lang;
mod load;
mod locate;
pub mod metric_math;
pub mod model;
mod patch;
mod render;
mod state_files;
mod state_rows;
pub mod tree;
mod validate;
pub mod written;

pub use describe::{reference, schema, starter};
pub use inputs::InputFile;
pub use load::{
    BASE, CheckSchedule, LoadOptions, Loaded, from_text, has_traffic, is_called, load, load_text, plan_hash, resolve,
};
pub use patch::{Segment, parse_address};
pub use render::SHOWN;

#[cfg(test)]
mod tests;
