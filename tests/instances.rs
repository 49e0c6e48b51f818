//! Whole runs on EC2 instances: scaling from nothing, draining, Spot, warm pools, packing.

use std::collections::BTreeMap;
use std::path::Path;

use simctl::catalog::Catalog;
use simctl::output::{RowSink, Summary};
use simctl::scenario::{from_text, model::Inputs, plan_hash};
use simctl::simulation::{RunOptions, run};

/// A row of a result file, by the names of its columns.
type Row = BTreeMap<String, String>;

struct Outcome {
    folder: tempfile::TempDir,
    summary: Summary,
}

impl Outcome {
    fn rows(&self, file: &str) -> Vec<Row> {
        read(self.folder.path(), file)
    }
}

fn read(folder: &Path, file: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let header = reader.headers().expect("a header").clone();
    let row = |r: csv::StringRecord| header.iter().zip(&r).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    reader.records().map(|r| row(r.expect("a row"))).collect()
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("`{column}` of {row:?} is no number"))
}

fn simulate(text: &str) -> Outcome {
    let plan = from_text("instances", text).unwrap_or_else(|d| panic!("{}\n{text}", d.render(false)));
    let inputs = Inputs::default();
    let hash = plan_hash(&plan, &inputs);
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
    let options = RunOptions { name: "instances", plan_hash: &hash, ..RunOptions::default() };
    let outcome = run(&plan, &inputs, Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends");
    sink.close().expect("rows are written");
    let defects: Vec<_> = outcome.summary.notes.iter().filter(|n| n.contains("defect")).collect();
    assert!(defects.is_empty(), "{defects:?}");
    Outcome { folder, summary: outcome.summary }
}

/// One service of small tasks on one group; what is appended comes last.
fn scenario(duration: &str, desired: u32, group: &str, service: &str, rest: &str) -> String {
    format!(
        "[simulation]\nduration = \"{duration}\"\nseed = 7\n\
         [capacity.fleet]\ntype = \"ec2\"\ninstance_types = [\"m6i.large\"]\n{group}\n\
         [services.web]\ndesired_count = {desired}\ncapacity.fleet = {{ weight = 1 }}\n\
         [services.web.task]\ncpu = 512\nmemory = \"1 GB\"\nimage.size = \"200 MB\"\nstartup = \"5s\"\n{service}\n{rest}"
    )
}

#[test]
fn from_no_instance_two_come_first() {
    let text = scenario(
        "20m",
        0,
        "max_size = 10",
        "",
        "[actions.grow]\ntype = \"desired_count\"\nat = \"90s\"\nservice = \"web\"\ndesired_count = 12\n",
    );
    let outcome = simulate(&text);
    let capacity = outcome.rows("capacity.csv");
    assert_eq!(number(&capacity[0], "desired"), 0.0);
    let first = capacity.iter().find(|r| number(r, "desired") > 0.0).expect("it scales out");
    assert_eq!(number(first, "desired"), 2.0);
    // Two interfaces for tasks on an m6i.large: six instances for twelve tasks.
    let last = capacity.last().expect("rows");
    assert_eq!((number(last, "active"), number(last, "tasks"), number(last, "waiting_tasks")), (6.0, 12.0, 0.0));
    for task in outcome.rows("tasks.csv") {
        assert!(!task["node"].is_empty() && number(&task, "pending_s") >= 90.0);
    }
}
