//! What whole runs in tests have in common: a scenario's text in, its summary and rows out.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use simctl::catalog::Catalog;
use simctl::output::{Diagnosis, DiagnosisKind, RowSink, Summary};
use simctl::scenario::model::Inputs;
use simctl::scenario::{from_text, plan_hash};
use simctl::simulation::{RunOptions, run};

/// A row of a table, by the names of its columns.
pub(crate) type Row = BTreeMap<String, String>;

/// What a run left.
pub(crate) struct Outcome {
    pub(crate) summary: Summary,
    pub(crate) folder: tempfile::TempDir,
}

/// Runs a scenario that is valid, whole.
///
/// # Panics
/// When it is not valid, does not end, or breaks a promise of the control plane.
pub(crate) fn simulate(text: &str) -> Outcome {
    let plan = from_text("test", text).unwrap_or_else(|d| panic!("{}\n{text}", d.render(false)));
    let inputs = Inputs::default();
    let hash = plan_hash(&plan, &inputs);
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
    let options = RunOptions { name: "test", plan_hash: &hash, ..RunOptions::default() };
    let summary =
        run(&plan, &inputs, Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends").summary;
    sink.close().expect("rows are written");
    let defects: Vec<_> = summary.notes.iter().filter(|n| n.contains("defect")).collect();
    assert!(defects.is_empty(), "{defects:?}\n{text}");
    Outcome { summary, folder }
}

/// What is said of a scenario that is refused.
///
/// # Panics
/// When it is not refused.
pub(crate) fn refused(text: &str) -> String {
    from_text("test", text).expect_err("it is refused").render(false)
}

/// A number of a row; absent where the column is empty.
pub(crate) fn number(row: &Row, column: &str) -> Option<f64> {
    row[column].parse().ok()
}

impl Outcome {
    /// All rows of a table.
    pub(crate) fn all(&self, file: &str) -> Vec<Row> {
        let mut reader = csv::Reader::from_path(self.folder.path().join(file)).expect("the file is there");
        let head = reader.headers().expect("a header").clone();
        let row = |r: csv::StringRecord| head.iter().zip(&r).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        reader.records().map(|r| row(r.expect("a row"))).collect()
    }

    /// Some columns of a table.
    pub(crate) fn rows(&self, file: &str, columns: &[&str]) -> Vec<Vec<String>> {
        self.all(file).iter().map(|r| columns.iter().map(|c| r[*c].clone()).collect()).collect()
    }

    /// Time and reason of each decision of a controller.
    pub(crate) fn decided(&self, controller: &str) -> Vec<(f64, String)> {
        let rows = self.all("decisions.csv");
        let of = rows.iter().filter(|r| r["controller"] == controller);
        of.map(|r| (number(r, "time_s").expect("a time"), r["reason"].clone())).collect()
    }

    /// When a controller first decided something for a reason.
    pub(crate) fn first(&self, controller: &str, reason: &str) -> f64 {
        let all = self.decided(controller);
        all.iter().find(|d| d.1 == reason).unwrap_or_else(|| panic!("no {reason} in {all:?}")).0
    }

    /// The diagnosis of a kind.
    pub(crate) fn diagnosis(&self, kind: DiagnosisKind) -> &Diagnosis {
        let found = self.summary.diagnoses.iter().find(|d| d.kind == kind);
        found.unwrap_or_else(|| panic!("no {kind:?} in {:#?}", self.summary.diagnoses))
    }

    /// Whether there is a diagnosis of a kind.
    pub(crate) fn has(&self, kind: DiagnosisKind) -> bool {
        self.summary.diagnoses.iter().any(|d| d.kind == kind)
    }
}
