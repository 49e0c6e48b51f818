//! What is kept of a finished run: enough for every comparison, without its rows.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::statistics::SparseHistogram;
use crate::output::{Summary, tidied};
use crate::traffic::Histogram;

/// Name and version of the schema of a record in the store.
pub const RECORD_SCHEMA: &str = "simctl.run/1";

/// A finished run. It always comes out of its own text, so that a run that was just made and one that was
/// read back from a store give the same bytes in all that follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_SCHEMA`].
    pub schema: String,
    /// Its summary.
    pub summary: Summary,
    /// Latency of successful requests by service, in nanoseconds.
    pub latency: IndexMap<String, SparseHistogram>,
}

impl RunRecord {
    /// The record of a run.
    #[must_use]
    pub fn new(summary: Summary, latency: &[(String, Histogram)]) -> Self {
        let latency = latency.iter().map(|(name, h)| (name.clone(), h.into())).collect();
        let record = Self { schema: RECORD_SCHEMA.to_owned(), summary, latency };
        Self::from_text(&record.to_text()).unwrap_or(record)
    }

    /// The text that the store keeps: one line of JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = tidied(self);
        text.push('\n');
        text
    }

    /// Reads a record; `None` when the text is not a whole record of this schema.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        (record.schema == RECORD_SCHEMA).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_its_text_says() {
        let mut h = Histogram::new();
        for v in [40_000_000, 41_000_000, 3_000_000_000] {
            h.record(v);
        }
        let mut summary = Summary::default();
        summary.cost.total_usd = 0.1 + 0.2;
        let record = RunRecord::new(summary, &[("web".to_owned(), h)]);
        assert_eq!(record.summary.cost.total_usd, 0.3);
        assert_eq!(record.latency["web"].count(), 3);
        assert_eq!(RunRecord::from_text(&record.to_text()), Some(record.clone()));
        assert_eq!(RunRecord::from_text(&record.to_text()[..200]), None, "half a record is none");
    }
}
