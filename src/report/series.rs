//! Reads the rows of a result folder back, folded into at most one bucket a point of the plot's width: memory
//! does not grow with the length of the run.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::de::DeserializeOwned;

use super::chart::{PLOT_WIDTH, Shape};
use super::node_chart::{CapacitySeries, read_capacities};
use super::waits::Waits;
use crate::output::{
    COSTS_FILE, CostRow, DECISIONS_FILE, DEPENDENCIES_FILE, DEPLOYMENTS_FILE, DecisionRow, DependencyRow,
    DeploymentRow, Fixed, JOBS_FILE, JobRow, Millis, OutputError, QUEUES_FILE, QueueRow, SERVICES_FILE, Secs,
    ServiceRow, Summary, TASKS_FILE, TaskRow, read_summary,
};

/// Most buckets of a run that does not fit interval by interval.
const FOLDED_BUCKETS: f64 = 260.0;

/// A step line with more changes than this is a scribble; its mean and extremes are drawn instead.
const MOST_STEPS: usize = 160;

/// Most notices of Spot interruptions that are kept.
const MOST_NOTICES: usize = 100;

/// What falls into one bucket: enough to draw its envelope.
#[derive(Clone, Copy, Debug)]
struct Cell {
    time: f64,
    first: f64,
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
}

/// A series with its extremes kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    cells: Vec<Option<Cell>>,
}

impl Series {
    pub(super) fn add(&mut self, bucket: usize, time: f64, value: f64) {
        if !value.is_finite() {
            return;
        }
        if self.cells.len() <= bucket {
            self.cells.resize(bucket + 1, None);
        }
        match &mut self.cells[bucket] {
            Some(c) => {
                c.last = value;
                c.min = c.min.min(value);
                c.max = c.max.max(value);
                c.sum += value;
                c.count += 1;
            }
            empty => {
                *empty = Some(Cell { time, first: value, last: value, min: value, max: value, sum: value, count: 1 });
            }
        }
    }

    /// Whether buckets hold several values.
    fn folded(&self) -> bool {
        self.cells.iter().flatten().any(|c| c.count > 1)
    }

    /// A line, or with several values a bucket the envelope; a bucket without one breaks it. Values hold for
    /// intervals, so a point stands `shift` seconds after the start of its (first) interval.
    pub(crate) fn line(&self, shift: f64) -> Shape {
        let gap = f64::NAN;
        if self.folded() {
            let point = |c: &Option<Cell>| {
                c.map_or((0.0, gap, gap, gap), |c| (c.time + shift, c.min, c.sum / f64::from(c.count), c.max))
            };
            Shape::Envelope(self.cells.iter().map(point).collect())
        } else {
            Shape::Line(self.cells.iter().map(|c| c.map_or((0.0, gap), |c| (c.time + shift, c.min))).collect())
        }
    }

    /// A step line, or the envelope of one that changes too often to be followed.
    pub(crate) fn levels(&self, end: f64) -> Shape {
        let changes = self.cells.iter().flatten().filter(|c| c.min != c.max).count();
        if self.folded() && changes > MOST_STEPS { self.line(0.0) } else { Shape::Step(self.steps(end)) }
    }

    /// Points of a step line that goes on through buckets without a value.
    pub(crate) fn held_steps(&self, end: f64) -> Vec<(f64, f64)> {
        let mut steps = self.steps(end);
        steps.retain(|p| p.1.is_finite());
        steps
    }

    /// The last value of each bucket, from the start of the run on; buckets without a value hold that before.
    pub(crate) fn held(&self, end: f64) -> Vec<(f64, f64)> {
        let mut now = self.cells.iter().flatten().next().map_or(0.0, |c| c.first);
        let mut points = vec![(0.0, now)];
        for cell in self.cells.iter().flatten().filter(|c| c.time < end) {
            now = cell.last;
            points.push((cell.time, now));
        }
        points
    }

    /// Points of a step line: each bucket's extremes, then its last value held until the next, the last one until `end`.
    pub(crate) fn steps(&self, end: f64) -> Vec<(f64, f64)> {
        let mut points = Vec::with_capacity(self.cells.len() + 2);
        if let Some(Some(first)) = self.cells.first() {
            points.push((0.0, first.first));
        }
        for cell in &self.cells {
            match cell {
                None => points.push((0.0, f64::NAN)),
                Some(c) => {
                    points.push((c.time, c.first));
                    for extreme in [c.min, c.max] {
                        if extreme != c.first && extreme != c.last {
                            points.push((c.time, extreme));
                        }
                    }
                    if c.last != c.first {
                        points.push((c.time, c.last));
                    }
                }
            }
        }
        if let Some(Some(last)) = self.cells.last() {
            points.push((end, last.last));
        }
        points
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.cells.iter().flatten().map(|c| c.max).reduce(f64::max)
    }

    /// The median of the buckets' smallest values.
    pub(crate) fn typical(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.cells.iter().flatten().map(|c| c.min).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    pub(crate) fn any(&self) -> bool {
        self.max().is_some_and(|m| m > 0.0)
    }
}

/// The series of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceSeries {
    pub(crate) offered: Series,
    pub(crate) answered: Series,
    pub(crate) failed: Series,
    pub(crate) failed_by_kind: [Series; 4],
    pub(crate) balancer: [Series; 5],
    pub(crate) p50: Series,
    pub(crate) p95: Series,
    pub(crate) p99: Series,
    pub(crate) desired: Series,
    pub(crate) running: Series,
    pub(crate) healthy: Series,
    pub(crate) pending: Series,
    pub(crate) draining: Series,
    pub(crate) queued: Series,
    pub(crate) used: Series,
    pub(crate) seen: Series,
    pub(crate) memory: Series,
    /// Times at which scaling changed the desired count, up or down, one a bucket and direction.
    pub(crate) scaled: Vec<(f64, bool)>,
    pub(crate) deployments: Vec<DeploymentStep>,
    /// Tasks of the newer and of the older revision of a deployment, running, healthy.
    pub(crate) revisions: [Series; 4],
    pub(crate) failed_tasks: Series,
    /// Share of production traffic that the newer revision gets, percent.
    pub(crate) weight: Series,
    /// What deployments waited for.
    pub(super) waits: Waits,
}

/// The series of one queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueSeries {
    pub(crate) sent: Series,
    pub(crate) done: Series,
    pub(crate) redelivered: Series,
    pub(crate) dead: Series,
    pub(crate) visible: Series,
    pub(crate) in_flight: Series,
    pub(crate) age: Series,
}

/// The series of one job, and its firings with their deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobSeries {
    pub(crate) waiting: Series,
    pub(crate) running: Series,
    pub(crate) done: Series,
    pub(crate) failed: Series,
    pub(crate) firings: Vec<(f64, Option<f64>)>,
}

impl QueueSeries {
    fn add(&mut self, row: &QueueRow<'_>, b: usize, t: f64) {
        let seconds = row.interval_s.value();
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { f64::NAN };
        self.sent.add(b, t, rate(row.sent + row.moved_in));
        self.done.add(b, t, rate(row.deleted));
        self.redelivered.add(b, t, rate(row.redelivered));
        self.dead.add(b, t, rate(row.dead_lettered));
        let end = t + seconds;
        self.visible.add(b, end, (row.visible + row.delayed) as f64);
        self.in_flight.add(b, end, row.in_flight as f64);
        self.age.add(b, end, row.oldest_age_s.value());
    }
}

/// A change of a job: in open work, in tasks at work, in what is done and what is given up.
type JobChange = (f64, [i64; 4]);

/// What the changes of a job come to.
fn job_series(mut changes: Vec<JobChange>, bucket: impl Fn(f64) -> usize) -> JobSeries {
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut series = JobSeries::default();
    let mut now = [0_i64; 4];
    let mut add = |t: f64, [open, running, done, failed]: [i64; 4]| {
        for (s, n) in [
            (&mut series.waiting, (open - running).max(0)),
            (&mut series.running, running),
            (&mut series.done, done),
            (&mut series.failed, failed),
        ] {
            s.add(bucket(t), t, n as f64);
        }
    };
    add(0.0, now);
    for (i, (t, change)) in changes.iter().enumerate() {
        now.iter_mut().zip(change).for_each(|(n, c)| *n += c);
        // What happens at one instant is one step.
        if changes.get(i + 1).is_none_or(|next| next.0 > *t) {
            add(*t, now);
        }
    }
    series
}

/// The series of one dependency.
#[derive(Clone, Debug, Default)]
pub(crate) struct DependencySeries {
    pub(crate) calls: Series,
    pub(crate) failed: Series,
    pub(crate) refused: Series,
    pub(crate) p50: Series,
    pub(crate) p99: Series,
    pub(crate) wait: Series,
    pub(crate) used: Series,
    pub(crate) connections: Series,
}

/// A turn of a deployment.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentStep {
    pub(crate) time: f64,
    pub(crate) deployment: u32,
    pub(crate) revision: u32,
    pub(crate) step: String,
    pub(crate) reason: String,
}

/// Everything that charts are drawn from.
#[derive(Clone, Debug)]
pub(crate) struct ResultData {
    pub(crate) summary: Summary,
    pub(crate) services: IndexMap<String, ServiceSeries>,
    pub(crate) dependencies: IndexMap<String, DependencySeries>,
    pub(crate) queues: IndexMap<String, QueueSeries>,
    pub(crate) jobs: IndexMap<String, JobSeries>,
    /// Notices of Spot interruptions: when, of which capacity, how many at once; more of them than can be told apart
    /// are only counted.
    pub(crate) notices: Vec<(f64, String, u32)>,
    /// Capacities that have instances.
    pub(crate) capacities: IndexMap<String, CapacitySeries>,
    /// How pods of files fill the nodes.
    pub(crate) packing: super::charts::pods::PackingSeries,
    /// Dollars by item and bucket.
    pub(crate) costs: IndexMap<String, Vec<f64>>,
    /// Length of a bucket.
    pub(crate) bucket_s: f64,
}

/// Steps of a deployment that are marked.
const TURNS: [&str; 5] = ["started", "rolling_back", "rolled_back", "completed", "stalled"];

impl ResultData {
    /// Reads a result folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, OutputError> {
        let summary = read_summary(folder)?;
        let interval = if summary.meta.interval_s > 0.0 { summary.meta.interval_s } else { 1.0 };
        let intervals = (summary.meta.duration_s / interval).ceil().max(1.0);
        // What does not fit interval by interval is folded into buckets that a line and a band can be told apart in.
        let group = if intervals <= PLOT_WIDTH { 1.0 } else { (intervals / FOLDED_BUCKETS).ceil() };
        let bucket_s = group * interval;
        let buckets = (intervals * interval / bucket_s).ceil() as usize;
        // A time a hair below its interval's start, by rounding, belongs to it all the same.
        let bucket = |t: f64| (((t + 1e-6) / bucket_s).max(0.0) as usize).min(buckets);

        let mut services: IndexMap<String, ServiceSeries> =
            summary.services.keys().map(|name| (name.clone(), ServiceSeries::default())).collect();
        Table::open(&folder.join(SERVICES_FILE))?.each(|row: ServiceRow<'static>| {
            if let Some(s) = services.get_mut(row.service.as_ref()) {
                let t = row.time_s.value();
                s.add(&row, bucket(t), t);
            }
        })?;
        let mut notices: Vec<(f64, String, u32)> = Vec::new();
        Table::open(&folder.join(DECISIONS_FILE))?.each(|row: DecisionRow<'static>| {
            if row.reason == "interruption_notice" {
                let t = row.time_s.value();
                let capacity = row.subject.strip_prefix("capacity.").unwrap_or(&row.subject);
                match notices.iter().rposition(|n| n.1 == capacity && bucket(n.0) == bucket(t)) {
                    Some(at) => notices[at].2 += 1,
                    None if notices.len() < MOST_NOTICES => notices.push((t, capacity.to_owned(), 1)),
                    None => {}
                }
            }
            let scaling = ["target_tracking", "step_scaling", "scheduled", "predictive_scaling"]
                .iter()
                .any(|c| row.controller.starts_with(c));
            if let (true, Some(from), Some(to)) = (scaling, row.from, row.result)
                && from != to
                && let Some(s) = services.get_mut(row.service.as_ref())
            {
                let (t, up) = (row.time_s.value(), to > from);
                let before = s.scaled.iter().rev().take(2).find(|d| d.1 == up);
                if before.is_none_or(|d| bucket(d.0) != bucket(t)) {
                    s.scaled.push((t, up));
                }
            }
        })?;
        Table::open(&folder.join(DEPLOYMENTS_FILE))?.each(|row: DeploymentRow<'static>| {
            if let Some(s) = services.get_mut(row.service.as_ref()) {
                let t = row.time_s.value();
                let b = bucket(t);
                let (comes, goes) = ([row.new_running, row.new_healthy], [row.old_running, row.old_healthy]);
                // In a rollback the older revision comes: its tasks stay the older ones, and so does its share.
                let back = row.previous_revision > row.revision;
                let ((newer, older), weight) = match back {
                    true => ((goes, comes), 100.0 - row.new_weight_pct.0),
                    false => ((comes, goes), row.new_weight_pct.0),
                };
                for (series, n) in s.revisions.iter_mut().zip(newer.into_iter().chain(older)) {
                    series.add(b, t, f64::from(n));
                }
                s.failed_tasks.add(b, t, f64::from(row.failed_tasks));
                s.weight.add(b, t, weight);
                s.waits.see(&row);
                // A stall that ends by itself was no more than waiting.
                if s.deployments.last().is_some_and(|d| d.step == "stalled" && d.deployment == row.deployment) {
                    s.deployments.pop();
                }
                if TURNS.contains(&row.step.as_ref()) && s.deployments.len() < 1_000 {
                    s.deployments.push(DeploymentStep {
                        time: t,
                        deployment: row.deployment,
                        revision: row.revision,
                        step: row.step.into_owned(),
                        reason: row.waits_for.into_owned(),
                    });
                }
            }
        })?;
        let mut dependencies: IndexMap<String, DependencySeries> =
            summary.dependencies.keys().map(|name| (name.clone(), DependencySeries::default())).collect();
        if !dependencies.is_empty() {
            Table::open(&folder.join(DEPENDENCIES_FILE))?.each(|row: DependencyRow<'static>| {
                if let Some(d) = dependencies.get_mut(row.dependency.as_ref()) {
                    let t = row.time_s.value();
                    d.add(&row, bucket(t), t);
                }
            })?;
        }
        let mut queues: IndexMap<String, QueueSeries> =
            summary.queues.keys().map(|name| (name.clone(), QueueSeries::default())).collect();
        if !queues.is_empty() {
            Table::open(&folder.join(QUEUES_FILE))?.each(|row: QueueRow<'static>| {
                if let Some(q) = queues.get_mut(row.queue.as_ref()) {
                    let t = row.time_s.value();
                    q.add(&row, bucket(t), t);
                }
            })?;
        }
        let jobs = read_jobs(folder, &summary, bucket)?;
        let capacities = read_capacities(folder, buckets, bucket)?;
        let packing = super::charts::pods::read_packing(folder, bucket)?;
        let mut costs: IndexMap<String, Vec<f64>> = IndexMap::new();
        Table::open(&folder.join(COSTS_FILE))?.each(|row: CostRow<'static>| {
            if !costs.contains_key(row.item.as_ref()) {
                costs.insert(row.item.to_string(), vec![0.0; buckets + 1]);
            }
            if let Some(item) = costs.get_mut(row.item.as_ref()) {
                item[bucket(row.time_s.value())] += row.cost_usd.value();
            }
        })?;
        for item in costs.values_mut() {
            item.truncate(buckets);
        }
        Ok(Self { summary, services, dependencies, queues, jobs, notices, capacities, packing, costs, bucket_s })
    }
}

fn read_jobs(
    folder: &Path,
    summary: &Summary,
    bucket: impl Fn(f64) -> usize,
) -> Result<IndexMap<String, JobSeries>, OutputError> {
    type Rows = (Vec<JobChange>, Vec<(f64, Option<f64>)>);
    let mut jobs: IndexMap<String, Rows> = summary.jobs.keys().map(|name| (name.clone(), Rows::default())).collect();
    let path = folder.join(JOBS_FILE);
    // A job whose schedule never fired has no rows.
    if jobs.is_empty() || !path.exists() {
        return Ok(jobs.into_keys().map(|name| (name, JobSeries::default())).collect());
    }
    Table::open(&path)?.each(|row: JobRow<'static>| {
        let Some((changes, firings)) = jobs.get_mut(row.job.as_ref()) else { return };
        let due = row.due_s.value();
        if !firings.iter().any(|f| f.0 == due) {
            firings.push((due, row.deadline_s.map(Secs::value)));
        }
        changes.push((due, [1, 0, 0, 0]));
        if let Some(ended) = row.ended_s {
            let good = i64::from(row.outcome == "succeeded");
            changes.push((ended.value(), [-1, 0, good, 1 - good]));
        }
    })?;
    Table::open(&folder.join(TASKS_FILE))?.each(|row: TaskRow<'static>| {
        let Some((changes, _)) = jobs.get_mut(row.service.as_ref()) else { return };
        if let Some(running) = row.running_s {
            changes.push((running.value(), [0, 1, 0, 0]));
            changes.extend(row.execution_stopped_s.map(|end| (end.value(), [0, -1, 0, 0])));
        }
    })?;
    let made = |(name, (changes, mut firings)): (String, Rows)| {
        firings.sort_by(|a, b| a.0.total_cmp(&b.0));
        (name, JobSeries { firings, ..job_series(changes, &bucket) })
    };
    Ok(jobs.into_iter().map(made).collect())
}

impl ServiceSeries {
    fn add(&mut self, row: &ServiceRow<'_>, b: usize, t: f64) {
        let seconds = row.interval_s.value();
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { f64::NAN };
        let ms = |m: Option<Millis>| m.map_or(f64::NAN, Millis::value);
        let pct = |p: Option<Fixed<2>>| p.map_or(f64::NAN, |p| p.0);
        self.offered.add(b, t, row.offered_rps.0);
        self.answered.add(b, t, rate(row.succeeded));
        self.failed.add(b, t, rate(row.failed));
        for (series, n) in self.failed_by_kind.iter_mut().zip([
            row.failed_timeout,
            row.failed_abandoned,
            row.failed_target_error,
            row.failed_balancer_error,
        ]) {
            series.add(b, t, rate(n));
        }
        for (series, n) in
            self.balancer.iter_mut().zip([row.elb_460, row.elb_502, row.elb_503, row.elb_504, row.target_5xx])
        {
            series.add(b, t, rate(n));
        }
        self.p50.add(b, t, ms(row.latency_p50_ms));
        self.p95.add(b, t, ms(row.latency_p95_ms));
        self.p99.add(b, t, ms(row.latency_p99_ms));
        // States are those at the end of the interval.
        let end = t + seconds;
        self.desired.add(b, end, f64::from(row.desired));
        self.running.add(b, end, f64::from(row.running));
        self.healthy.add(b, end, f64::from(row.healthy));
        self.pending.add(b, end, f64::from(row.pending));
        self.draining.add(b, end, f64::from(row.draining));
        self.queued.add(b, end, row.queued as f64);
        self.used.add(b, t, pct(row.cpu_used_pct));
        self.seen.add(b, end, pct(row.cpu_seen_pct));
        self.memory.add(b, t, pct(row.memory_used_pct));
    }
}

impl DependencySeries {
    fn add(&mut self, row: &DependencyRow<'_>, b: usize, t: f64) {
        let seconds = row.interval_s.value();
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { f64::NAN };
        let ms = |m: Option<Millis>| m.map_or(f64::NAN, Millis::value);
        self.calls.add(b, t, rate(row.calls));
        self.failed.add(b, t, rate(row.failed));
        self.refused.add(b, t, rate(row.connections_refused));
        self.p50.add(b, t, ms(row.latency_p50_ms));
        self.p99.add(b, t, ms(row.latency_p99_ms));
        self.wait.add(b, t, ms(row.wait_p99_ms));
        self.used.add(b, t, row.utilization_pct.0);
        self.connections.add(b, t, f64::from(row.connections_peak));
    }
}

/// A CSV file that is read row by row.
pub(super) struct Table {
    path: PathBuf,
    reader: csv::Reader<BufReader<File>>,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self, OutputError> {
        let file = File::open(path).map_err(|e| OutputError::io("read", path, e))?;
        Ok(Self { path: path.to_path_buf(), reader: csv::Reader::from_reader(BufReader::new(file)) })
    }

    pub(super) fn each<R: DeserializeOwned>(mut self, mut see: impl FnMut(R)) -> Result<(), OutputError> {
        let malformed = |path: &Path, e: csv::Error| match e.into_kind() {
            csv::ErrorKind::Io(e) => OutputError::io("read", path, e),
            other => OutputError::Malformed { path: path.to_path_buf(), reason: format!("{other:?}") },
        };
        let headers = self.reader.headers().map_err(|e| malformed(&self.path, e))?.clone();
        let mut record = csv::StringRecord::new();
        while self.reader.read_record(&mut record).map_err(|e| malformed(&self.path, e))? {
            see(record.deserialize(Some(&headers)).map_err(|e| malformed(&self.path, e))?);
        }
        Ok(())
    }
}
