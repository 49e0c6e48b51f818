//! Exact queueing theory against the data plane.

use serde_json::Value;

use crate::Outcome;

/// How many arrivals the case itself suggests: a measure of how long it runs.
pub(crate) fn size(case: &Value) -> u64 {
    case["suggested_arrivals"].as_u64().unwrap_or(0)
}

pub(crate) fn run(case: &Value, long: bool) -> Outcome {
    if size(case) > 2_000_000 && !long { Outcome::Long } else { Outcome::NotBuilt }
}
