//! The output contract: the rows, the summary and the folder that every run leaves behind.
//!
//! This floor stands below `simulation`: the simulation fills these types and knows nothing of files
//! beyond a [`RowSink`]. What is written is a function of the plan and the seed alone: numbers have
//! fixed decimals, no wall clock and no path enters a file, so equal runs give equal bytes.

mod error;
mod folder;
mod number;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;
mod sink;
mod summary;

pub use error::OutputError;
pub use folder::{OutputFolder, PLAN_FILE, STUDY_FILE, STUDY_SCHEMA, SUMMARY_FILE, StudyMark, read_mark, read_summary};
pub use number::{Fixed, Millis, Money, Secs, document, tidied, tidy};
#[cfg(feature = "parquet")]
pub use parquet::parquet;
pub use rows::{
    CapacityRow, CostRow, DecisionDetail, DecisionRow, DependencyRow, DeploymentRow, JobRow, NodeRow, PackingRow,
    PodRow, QueueRow, ServiceRow, TaskRow, Text,
};
pub use sink::{
    CAPACITY_FILE, COSTS_FILE, DECISIONS_FILE, DECISIONS_JSONL_FILE, DEPENDENCIES_FILE, DEPLOYMENTS_FILE, JOBS_FILE,
    NODES_FILE, PACKING_FILE, PODS_FILE, QUEUES_FILE, REPLICATIONS_FILE, RowSink, SERVICES_FILE, TASKS_FILE,
    write_replications,
};
pub use summary::*;
