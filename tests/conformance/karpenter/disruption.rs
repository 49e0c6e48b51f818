//! Disruption.
use super::Got;
use serde_json::Value;
pub(super) fn balanced(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn budgets(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn candidates(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn emptiness_drift(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn eviction_cost(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn consolidation(_case: &Value) -> Got {
    Err("todo".into())
}
