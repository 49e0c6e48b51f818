//! Where rows go: to the CSV files of a result folder, or nowhere.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::csv_cause;
use super::{
    CapacityRow, CostRow, DecisionDetail, DecisionRow, DependencyRow, DeploymentRow, JobRow, NodeRow, OutputError,
    PackingRow, PodRow, QueueRow, ServiceRow, Summary, TaskRow, tidy,
};

/// Per service and interval.
pub const SERVICES_FILE: &str = "services.csv";
/// One row per task.
pub const TASKS_FILE: &str = "tasks.csv";
/// One row per node.
pub const NODES_FILE: &str = "nodes.csv";
/// Per capacity with instances and interval.
pub const CAPACITY_FILE: &str = "capacity.csv";
/// One row per decision.
pub const DECISIONS_FILE: &str = "decisions.csv";
/// One line per decision, with the complete observation and memory.
pub const DECISIONS_JSONL_FILE: &str = "decisions.jsonl";
/// One row per step of a deployment.
pub const DEPLOYMENTS_FILE: &str = "deployments.csv";
/// Per dependency and interval; only where there are dependencies.
pub const DEPENDENCIES_FILE: &str = "dependencies.csv";
/// Per item, owner and interval.
pub const COSTS_FILE: &str = "costs.csv";
/// Per queue and interval; only there when the plan has queues.
pub const QUEUES_FILE: &str = "queues.csv";
/// One row per piece of work of a job; only there when one was due.
pub const JOBS_FILE: &str = "jobs.csv";
/// One row per pod of a file of pods; only there when the plan names one.
pub const PODS_FILE: &str = "pods.csv";
/// How such pods fill the nodes, per interval; only there when the plan names such a file.
pub const PACKING_FILE: &str = "packing.csv";
/// One row per run.
pub const REPLICATIONS_FILE: &str = "replications.csv";

/// Opens a file of a result for writing. A test puts a full disk in its place.
pub(crate) type Open<'a> = &'a dyn Fn(&Path) -> io::Result<Box<dyn Write + Send>>;

/// Opens a real file.
pub(crate) fn open_file(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(std::fs::File::create_new(path)?))
}

/// A CSV file that is being written. Its header is written at once, so that an empty table still has one.
struct Table {
    path: PathBuf,
    writer: csv::Writer<BufWriter<Box<dyn Write + Send>>>,
}

impl Table {
    fn open<R: Serialize + Default>(folder: &Path, name: &str, open: Open<'_>) -> Result<Self, OutputError> {
        let path = folder.join(name);
        let file = open(&path).map_err(|e| OutputError::io("create", &path, e))?;
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(BufWriter::new(file));
        // The header is that of a default row, whose own fields are thrown away.
        let mut head = csv::WriterBuilder::new().has_headers(true).from_writer(Vec::new());
        let header = head
            .serialize(R::default())
            .map_err(csv_cause)
            .and_then(|()| head.into_inner().map_err(|e| io::Error::other(e.to_string())))
            .map_err(|e| OutputError::io("write", &path, e))?;
        let line = header.split(|b| *b == b'\n').next().unwrap_or_default();
        let names = std::str::from_utf8(line).unwrap_or_default().split(',');
        writer.write_record(names).map_err(|e| OutputError::io("write", &path, csv_cause(e)))?;
        Ok(Self { path, writer })
    }

    fn row<R: Serialize>(&mut self, row: &R) -> Result<(), OutputError> {
        self.writer.serialize(row).map_err(|e| OutputError::io("write", &self.path, csv_cause(e)))
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.writer.flush().map_err(|e| OutputError::io("write", &self.path, e))
    }
}

struct Files {
    services: Table,
    tasks: Table,
    nodes: Table,
    capacity: Table,
    decisions: Table,
    deployments: Table,
    costs: Table,
    /// Opened with their first row.
    dependencies: Option<Table>,
    queues: Option<Table>,
    jobs: Option<Table>,
    pods: Option<Table>,
    packing: Option<Table>,
    folder: PathBuf,
    records: BufWriter<Box<dyn Write + Send>>,
    records_path: PathBuf,
}

/// Takes the rows of a run as they arise, so that memory does not grow with the simulated time.
///
/// A null sink drops them: replications beyond the first and benchmarks write no rows. Rows cost only
/// buffered writes; call [`RowSink::close`] to learn of a failure of the last ones.
pub struct RowSink {
    files: Option<Box<Files>>,
}

impl std::fmt::Debug for RowSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSink").field("writes", &self.writes()).finish()
    }
}

impl RowSink {
    /// A sink that drops every row.
    #[must_use]
    pub const fn null() -> Self {
        Self { files: None }
    }

    /// A sink that writes the CSV files into `folder`, which must be there and hold none of them.
    ///
    /// # Errors
    /// [`OutputError::Io`] with the file that could not be created.
    pub fn folder(folder: &Path) -> Result<Self, OutputError> {
        Self::open(folder, &open_file)
    }

    pub(crate) fn open(folder: &Path, open: Open<'_>) -> Result<Self, OutputError> {
        let records_path = folder.join(DECISIONS_JSONL_FILE);
        let records = open(&records_path).map_err(|e| OutputError::io("create", &records_path, e))?;
        Ok(Self {
            files: Some(Box::new(Files {
                services: Table::open::<ServiceRow<'_>>(folder, SERVICES_FILE, open)?,
                tasks: Table::open::<TaskRow<'_>>(folder, TASKS_FILE, open)?,
                nodes: Table::open::<NodeRow<'_>>(folder, NODES_FILE, open)?,
                capacity: Table::open::<CapacityRow<'_>>(folder, CAPACITY_FILE, open)?,
                decisions: Table::open::<DecisionRow<'_>>(folder, DECISIONS_FILE, open)?,
                deployments: Table::open::<DeploymentRow<'_>>(folder, DEPLOYMENTS_FILE, open)?,
                costs: Table::open::<CostRow<'_>>(folder, COSTS_FILE, open)?,
                dependencies: None,
                queues: None,
                jobs: None,
                pods: None,
                packing: None,
                folder: folder.to_path_buf(),
                records: BufWriter::new(records),
                records_path,
            })),
        })
    }

    /// Whether rows are kept; a recorder may skip the work of making them when not.
    #[inline]
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.files.is_some()
    }

    /// Writes a row of `services.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`], like every method of the sink.
    pub fn service(&mut self, row: &ServiceRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.services.row(row))
    }

    /// Writes a row of `tasks.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn task(&mut self, row: &TaskRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.tasks.row(row))
    }

    /// Writes a row of `nodes.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn node(&mut self, row: &NodeRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.nodes.row(row))
    }

    /// Writes a row of `capacity.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn capacity(&mut self, row: &CapacityRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.capacity.row(row))
    }

    /// Writes a row of `decisions.csv` and its line of `decisions.jsonl`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn decision(&mut self, row: &DecisionRow<'_>, detail: &DecisionDetail) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        files.decisions.row(row)?;
        let mut record = serde_json::json!({
            "time_s": row.time_s.value(),
            "controller": row.controller,
            "subject": row.subject,
            "service": row.service,
            "observed": row.observed.map(|x| x.0),
            "observed_metric": row.observed_metric,
            "observed_age_s": row.observed_age_s.map(super::Secs::value),
            "from": row.from,
            "computed": row.computed,
            "bounded_by": row.bounded_by,
            "result": row.result,
            "reason": row.reason,
            "explanation": row.explanation,
        });
        tidy(&mut record);
        // Observation and memory stay bit by bit as they were, so that the decision can be taken again.
        record["observation"] = detail.observation.clone();
        record["memory"] = detail.memory.clone();
        writeln!(files.records, "{record}").map_err(|e| OutputError::io("write", &files.records_path, e))
    }

    /// Writes a row of `deployments.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn deployment(&mut self, row: &DeploymentRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.deployments.row(row))
    }

    /// Writes a row of `costs.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn cost(&mut self, row: &CostRow<'_>) -> Result<(), OutputError> {
        self.files.as_mut().map_or(Ok(()), |f| f.costs.row(row))
    }

    /// Writes a row of `dependencies.csv`, which is begun with the first one.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn dependency(&mut self, row: &DependencyRow<'_>) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        Files::late::<DependencyRow<'_>>(&mut files.dependencies, &files.folder, DEPENDENCIES_FILE)?.row(row)
    }

    /// Writes a row of `queues.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn queue(&mut self, row: &QueueRow<'_>) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        Files::late::<QueueRow<'_>>(&mut files.queues, &files.folder, QUEUES_FILE)?.row(row)
    }

    /// Writes a row of `jobs.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn job(&mut self, row: &JobRow<'_>) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        Files::late::<JobRow<'_>>(&mut files.jobs, &files.folder, JOBS_FILE)?.row(row)
    }

    /// Writes a row of `pods.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn pod(&mut self, row: &PodRow<'_>) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        Files::late::<PodRow<'_>>(&mut files.pods, &files.folder, PODS_FILE)?.row(row)
    }

    /// Writes a row of `packing.csv`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn packing(&mut self, row: &PackingRow) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        Files::late::<PackingRow>(&mut files.packing, &files.folder, PACKING_FILE)?.row(row)
    }

    /// Writes what is still in buffers.
    ///
    /// # Errors
    /// [`OutputError::Io`] with the file that could not be written.
    pub fn close(mut self) -> Result<(), OutputError> {
        let Some(files) = self.files.as_mut() else { return Ok(()) };
        files.records.flush().map_err(|e| OutputError::io("write", &files.records_path, e))?;
        for table in [
            &mut files.services,
            &mut files.tasks,
            &mut files.nodes,
            &mut files.capacity,
            &mut files.decisions,
            &mut files.deployments,
            &mut files.costs,
        ] {
            table.flush()?;
        }
        let late = [&mut files.dependencies, &mut files.queues, &mut files.jobs, &mut files.pods, &mut files.packing];
        for table in late.into_iter().flatten() {
            table.flush()?;
        }
        Ok(())
    }
}

impl Files {
    /// A table that only some results have.
    fn late<'a, R: Serialize + Default>(
        table: &'a mut Option<Table>,
        folder: &Path,
        name: &str,
    ) -> Result<&'a mut Table, OutputError> {
        match table {
            Some(table) => Ok(table),
            None => Ok(table.insert(Table::open::<R>(folder, name, &open_file)?)),
        }
    }
}

/// Writes `replications.csv`: one row per run. After the columns of the run come, for each service of the
/// first run, columns that begin with its name.
///
/// # Errors
/// The writer's.
pub fn write_replications(runs: &[Summary], out: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let Some(first) = runs.first() else { return csv.flush() };
    let services: Vec<&String> = first.services.keys().collect();
    let mut header: Vec<String> = [
        "replication",
        "run_id",
        "seed",
        "facts_hash",
        "events",
        "objectives_missed",
        "breach_minutes",
        "incidents",
        "cost_usd",
        "cost_usd_per_hour",
    ]
    .map(String::from)
    .to_vec();
    for name in &services {
        for column in [
            "started",
            "succeeded",
            "failed",
            "unfinished",
            "availability_pct",
            "latency_p50_ms",
            "latency_p95_ms",
            "latency_p99_ms",
            "latency_mean_ms",
            "scale_outs",
            "scale_ins",
            "max_running",
            "mean_running",
            "tasks_started",
            "tasks_stopped",
            "wasted_cpu_s",
        ] {
            header.push(format!("{name}.{column}"));
        }
    }
    csv.write_record(&header).map_err(csv_cause)?;
    for run in runs {
        let mut row = vec![
            run.meta.replication.to_string(),
            run.meta.run_id.clone(),
            run.meta.seed.to_string(),
            run.facts_hash.clone(),
            run.meta.events.to_string(),
            run.objectives_missed().to_string(),
            run.breach_minutes.values().sum::<u64>().to_string(),
            run.incidents.len().to_string(),
            super::Fixed::<9>(run.cost.total_usd).to_string(),
            super::Fixed::<9>(run.cost.per_hour_usd).to_string(),
        ];
        for name in &services {
            let Some(s) = run.services.get(*name) else {
                row.extend(std::iter::repeat_n(String::new(), 16));
                continue;
            };
            let ms = |pick: fn(&super::Latency) -> f64| {
                s.latency.as_ref().map_or(String::new(), |l| super::Fixed::<3>(pick(l)).to_string())
            };
            row.extend([
                s.requests.started.to_string(),
                s.requests.succeeded.to_string(),
                s.requests.failed.to_string(),
                s.requests.unfinished.to_string(),
                s.availability_pct.map_or(String::new(), |x| super::Fixed::<6>(x).to_string()),
                ms(|l| l.p50_ms),
                ms(|l| l.p95_ms),
                ms(|l| l.p99_ms),
                ms(|l| l.mean_ms),
                s.scaling.scale_outs.to_string(),
                s.scaling.scale_ins.to_string(),
                s.scaling.max_running.to_string(),
                super::Fixed::<3>(s.scaling.mean_running).to_string(),
                s.scaling.tasks_started.to_string(),
                s.scaling.tasks_stopped.to_string(),
                super::Fixed::<3>(s.wasted_cpu_s).to_string(),
            ]);
        }
        csv.write_record(&row).map_err(csv_cause)?;
    }
    csv.flush()
}
