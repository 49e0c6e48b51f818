//! Floor 1: exact quantities, and both worlds' notations for them.
//!
//! What is counted is an integer: CPU in 1/128,000 vCPU, memory in bytes, money in nano-dollars.
//! Floats appear only in rates and ratios; rounding only in output.

mod ids;
mod parse;
mod print;
mod quantity;
mod resource_quantity;

pub use ids::{CapacityId, ClassId, NodeId, ServerId, ServiceId, SourceId, TargetGroupId, TaskId, ZoneId};
pub use parse::{
    ByteNotation, QuantityError, parse_bytes, parse_cpu, parse_duration, parse_number, parse_percent, parse_usd,
};
pub use print::{print_bytes, print_cpu, print_duration, print_usd};
pub use quantity::{Bytes, Cpu, Usd};
pub use resource_quantity::{IntOrPercent, QuantityFormat, ResourceQuantity, ResourceQuantityError, Rounding};

#[cfg(test)]
mod tests;
