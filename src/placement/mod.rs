//! Floor 5: on which instance a task goes. [`choice`] is the rule as the guide gives it, over a list of
//! instances; [`pool`] gives the same answers from ordered structures, fast enough for ten thousand
//! instances; [`zones`] balances Availability Zones.

pub mod choice;
pub mod needs;
pub mod pool;
pub mod spec;
mod tree;
pub mod zones;
