//! Launches.
use serde_json::Value;
use super::Got;
pub(super) fn run(_case: &Value) -> Got { Err("todo".into()) }
pub(super) fn timers(_case: &Value) -> Got { Err("todo".into()) }
