//! What `simctl search` looks for. It changes nothing in a run and is no part of the plan.

use indexmap::IndexMap;

use crate::scenario::axis::AxisValues;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::lang::{Defs, Lang, Reader};
use crate::scenario::tree::Node;
use crate::scenario::written::Written;

table! {
    /// The search for the cheapest configuration that keeps the objectives, for `simctl search`.
    pub struct Search {
        /// The figure that is to be as small as possible, such as `cost_per_hour` or `web.latency_p99`.
        pub minimise: String = "cost_per_hour".to_owned(),
        /// The share of runs in which every objective has to hold, above 0 and below 1.
        pub hold: f64 = 0.9,
        /// The confidence with which that share has to be shown, above 0.5 and below 1.
        pub confidence: f64 = 0.95,
        /// Fresh replications on which the winner and the runner-up are run again, and reported.
        pub replications: u32 = 30,
        /// What may be changed: addresses with the values to try.
        pub space: IndexMap<String, SpaceValues> = IndexMap::new(),
    }
}

/// The values of one address in a search space: an array, or a range such as `"50..90:5"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceValues {
    /// The values.
    pub values: AxisValues,
    written: Written,
}

impl Lang for SpaceValues {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        match AxisValues::from_node(node) {
            Ok(values) => Some(Self { values, written: Written::from_node(node) }),
            Err(message) => {
                let help = "for example [256, 512, 1024], or \"50..90:5\" for five values evenly spaced";
                cx.report(Diagnostic::error("S0204", message).at(node.span).help(help));
                None
            }
        }
    }

    fn write(&self) -> Written {
        self.written.clone()
    }

    fn schema(_: &mut Defs) -> serde_json::Value {
        serde_json::json!({
            "description": "Values to try: an array, or a range such as \"50..90:5\", \"50..90/10\" or \"10..1000:5:log\".",
            "oneOf": [
                { "type": "array", "items": { "type": ["number", "string", "boolean"] }, "minItems": 1 },
                { "type": "string", "pattern": "\\.\\." },
            ],
        })
    }
}
