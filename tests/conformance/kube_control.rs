//! The families of `tests/vectors/kubernetes` about controllers: HPA, Deployment, disruption budgets, quantities.

use serde_json::Value;

use crate::Outcome;

/// Runs a case; `None` where nothing is built for its family.
pub(crate) fn run(_family: &str, _case: &Value) -> Option<Outcome> {
    None
}
