//! Floor 4: the bill. A [`Meter`] is told what a simulation uses and prices it by the provider's rules.
//!
//! Quantities and prices are exact integers; a line is rounded once, half to even, to a nano-dollar, and
//! the remainder is carried to the next interval: the lines of any intervals sum to the exact total.

mod arithmetic;
mod build;
mod commitments;
mod exact;
mod item;
mod lcu;
mod meter;
mod nodes;

pub use arithmetic::{
    TaskBill, TaskPrices, TaskSize, break_even_packing, fargate_bill, fargate_hour, price_per_unit,
    quantity_times_price,
};
pub use item::{CostLine, Item, ItemTotal, NodeCost, Owner, Totals, UsageKind};
pub use lcu::{LcuHours, LcuUsage, counted_rule_evaluations};
pub use meter::{BillingError, Meter, WeakPrice, billed_time};

#[cfg(test)]
mod node_tests;
#[cfg(test)]
mod tests;
