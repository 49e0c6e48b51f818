//! Launches.
use super::Got;
use serde_json::Value;
pub(super) fn run(_case: &Value) -> Got {
    Err("todo".into())
}
pub(super) fn timers(_case: &Value) -> Got {
    Err("todo".into())
}
