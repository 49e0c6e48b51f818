//! `summary.json`: what one run showed, for people and programs.
//!
//! Durations are in seconds, latencies in milliseconds, money in dollars, shares in percent. Figures, cost
//! and objectives leave the warm-up out, unless an item says otherwise.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Name and version of the schema of `summary.json`.
pub const SUMMARY_SCHEMA: &str = "simctl.result/1";

/// A note of every result of one replication.
pub const NOTE_SINGLE_REPLICATION: &str = "single replication: no interval";

/// A note of every result without a calibration.
pub const NOTE_UNCALIBRATED: &str = "uncalibrated: direction only";

/// Most points that a [`Trend`] keeps.
pub const TREND_POINTS: usize = 60;

/// The summary of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: String,
    /// What ran.
    pub meta: Meta,
    /// Every objective of the plan, in its order, with what was measured.
    pub objectives: Vec<ObjectiveResult>,
    /// Per service with latency or availability objectives: minutes in which one failed.
    pub breach_minutes: IndexMap<String, u64>,
    /// Figures of the services.
    pub services: IndexMap<String, ServiceSummary>,
    /// Calls between services and to dependencies, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallSummary>,
    /// What services depend on beside each other.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub dependencies: IndexMap<String, DependencySummary>,
    /// Figures of the queues.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub queues: IndexMap<String, QueueSummary>,
    /// Figures of the jobs.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub jobs: IndexMap<String, JobSummary>,
    /// Pods of the file of an initial state; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsSummary>,
    /// Times in which an objective did not hold, in order.
    pub incidents: Vec<Incident>,
    /// The faults that struck, in order; a random process may have more than the first 200 that are listed.
    #[serde(default)]
    pub faults: Vec<FaultSummary>,
    /// What it cost.
    pub cost: CostSummary,
    /// Number of decisions by controller.
    pub decisions: IndexMap<String, u64>,
    /// Hash of all facts of the run: equal for equal runs.
    pub facts_hash: String,
    /// Troubles by name.
    pub diagnoses: Vec<Diagnosis>,
    /// Prices used that are old or of low confidence.
    pub weak_prices: Vec<WeakPrice>,
    /// Blocks of the scenario that were read and not applied.
    pub ignored: Vec<String>,
    /// What the reader has to know to read the figures rightly.
    pub notes: Vec<String>,
}

/// What ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Name of the scenario: its file name without the extension.
    pub name: String,
    /// Variant; `base` is the unpatched scenario.
    pub variant: String,
    /// Seed of the plan.
    pub seed: u64,
    /// Number of the replication, from 0.
    pub replication: u32,
    /// Hash of plan, replication and result version.
    pub run_id: String,
    /// Hash of the plan.
    pub plan_hash: String,
    /// Version of simctl.
    pub simctl_version: String,
    /// Date of the catalog's prices.
    pub catalog_date: String,
    /// Region whose prices hold.
    pub region: String,
    /// Simulated time, warm-up included.
    pub duration_s: f64,
    /// Warm-up, which the figures leave out.
    pub warm_up_s: f64,
    /// Length of a recorded interval.
    pub interval_s: f64,
    /// Civil instant of the start, RFC 3339.
    pub start: String,
    /// Events that the simulation handled.
    pub events: u64,
}

/// Which side of its limit a measured value must be on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundSense {
    /// At most the limit.
    #[default]
    AtMost,
    /// At least the limit.
    AtLeast,
}

/// One objective and what was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveResult {
    /// The service, or `cluster`.
    pub subject: String,
    /// The key, for example `latency_p99`.
    pub key: String,
    /// Which way the limit holds.
    pub sense: BoundSense,
    /// The limit, in `unit`.
    pub limit: f64,
    /// `ms`, `%`, `usd`, `usd/h` or `min`.
    pub unit: String,
    /// The measured value in `unit`; absent when there was nothing to measure.
    pub measured: Option<f64>,
    /// Whether it held; absent when there was nothing to measure.
    pub held: Option<bool>,
    /// A word on the measurement, for example that no request succeeded.
    pub note: Option<String>,
}

/// Latency in milliseconds at the client. Percentiles are exact within the histogram's resolution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// Counts of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Begun by clients.
    pub started: u64,
    /// Answered well.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Unfinished at the end; they count neither as success nor as failure.
    pub unfinished: u64,
    /// Attempts, first ones and retries.
    pub attempts: u64,
    /// Retries among them.
    pub retries: u64,
    /// Failed requests by the kind of their last attempt: `timeout`, `abandoned`, `target_error`, `balancer_error`.
    pub failed_by_kind: IndexMap<String, u64>,
    /// Answers and closings of the load balancer by code: `elb_460`, `elb_502`, `elb_503`, `elb_504`, `target_5xx`.
    pub balancer_errors: IndexMap<String, u64>,
}

/// A short series for a sparkline: at most [`TREND_POINTS`] values, evenly spaced over the run, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Time of the first value.
    pub start_s: f64,
    /// Distance of the values.
    pub step_s: f64,
    /// The values; absent where nothing was measured.
    pub values: Vec<Option<f64>>,
    /// The largest value of any single interval after the warm-up, which a step of several may hide.
    #[serde(default)]
    pub max: Option<f64>,
}

/// The trends of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trends {
    /// Requests begun a second.
    pub load_rps: Trend,
    /// 99th percentile of latency: the largest of the intervals of a step.
    pub latency_p99_ms: Trend,
    /// Failed requests a second.
    pub failed_rps: Trend,
    /// Tasks running.
    pub running: Trend,
    /// CPU utilisation in truth.
    pub cpu_used_pct: Trend,
}

/// Figures of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Latency of requests that succeeded; absent when none did.
    pub latency: Option<Latency>,
    /// Latency of all attempts, failed ones included.
    pub attempt_latency: Option<Latency>,
    /// Counts of requests.
    pub requests: RequestCounts,
    /// Successes over finished requests; absent when none finished.
    pub availability_pct: Option<f64>,
    /// CPU utilisation in truth, mean over the run.
    pub cpu_used_pct: Option<f64>,
    /// The queue that it works on; its requests are then deliveries of messages, its latency counts from sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Target of a CPU target tracking policy, in percent, for charts; absent without one.
    pub cpu_target_pct: Option<f64>,
    /// CPU that was burned for requests whose client had gone, in vCPU-seconds.
    pub wasted_cpu_s: f64,
    /// The same as a share of all CPU burned.
    pub wasted_cpu_pct: f64,
    /// Scaling and churn.
    pub scaling: ScalingSummary,
    /// Deployments, in order.
    pub deployments: Vec<DeploymentSummary>,
    /// Short series for the terminal.
    pub trends: Trends,
}

/// The calls of one service to another or to a dependency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallSummary {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// By which way: `load_balancer`, `service_discovery`, `service_connect` or `dependency`.
    pub via: String,
    /// Calls begun.
    pub calls: u64,
    /// Answered well.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Unfinished at the end.
    pub unfinished: u64,
    /// Attempts that were sent.
    pub attempts: u64,
    /// Retries, of the caller and of its proxy.
    pub retries: u64,
    /// Those of the proxy.
    pub proxy_retries: u64,
    /// Retries that the budget did not allow.
    pub retries_denied: u64,
    /// Failed calls by the kind of their last attempt; kinds that did not occur are left out.
    pub failed_by_kind: IndexMap<String, u64>,
    /// Latency of calls that succeeded, as the caller sees it; absent when none did.
    pub latency: Option<Latency>,
    /// The pool of connections; absent without one.
    pub pool: Option<PoolSummary>,
    /// Connections that were refused.
    pub connections_refused: u64,
    /// Connections that did not come about in time.
    pub connect_timeouts: u64,
    /// Targets that a proxy ejected.
    pub ejections: u64,
}

/// The pools of connections of the tasks of a caller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolSummary {
    /// Connections that the pool of one task may have.
    pub max_connections: u32,
    /// The most that one had.
    pub peak: u32,
    /// Waits for a free connection that were in vain.
    pub timeouts: u64,
    /// Waits for a free connection, zeros included.
    pub wait: Option<Latency>,
}

/// Figures of a dependency.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DependencySummary {
    /// Calls begun.
    pub calls: u64,
    /// Answered well.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Unfinished at the end.
    pub unfinished: u64,
    /// Failed calls by the kind of their last attempt; kinds that did not occur are left out.
    pub failed_by_kind: IndexMap<String, u64>,
    /// Latency of calls that succeeded, as the callers see it.
    pub latency: Option<Latency>,
    /// Wait of connected calls for one of its workers, zeros included.
    pub wait: Option<Latency>,
    /// Share of the time that its workers were busy.
    pub utilization_pct: f64,
    /// Connections that it accepts; absent for no limit.
    pub max_connections: Option<u32>,
    /// Open connections, mean over time.
    pub connections_mean: f64,
    /// The most connections.
    pub connections_peak: u32,
    /// Connections that it refused.
    pub connections_refused: u64,
    /// Times at which the scenario has it work at another speed.
    pub slowdowns: Vec<SlowdownSummary>,
}

/// A time at which a dependency works at another speed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowdownSummary {
    /// Start.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
    /// Speed, 1 being normal.
    pub speed: f64,
}

/// Figures of one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueSummary {
    /// Messages sent.
    pub sent: u64,
    /// Messages that came from another queue, as to a dead-letter queue.
    pub moved_in: u64,
    /// Deliveries.
    pub received: u64,
    /// Deliveries beyond the first of a message.
    pub redelivered: u64,
    /// Messages worked on and deleted.
    pub deleted: u64,
    /// Deliveries whose work ended after somebody else had received the message.
    pub duplicates: u64,
    /// Messages that appeared again because they were not deleted in time.
    pub returned: u64,
    /// Messages moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Messages older than the retention period.
    pub expired: u64,
    /// Receives that got nothing.
    pub empty_receives: u64,
    /// Messages that could be received at the end.
    pub visible_at_end: u64,
    /// Messages received and not deleted at the end.
    pub in_flight_at_end: u64,
    /// Messages that could not be received yet at the end.
    pub delayed_at_end: u64,
    /// Most messages that could be received, at the ends of intervals.
    pub max_visible: u64,
    /// Largest age of the oldest message, at the ends of intervals.
    pub max_age_s: f64,
    /// Messages that can be received.
    pub visible: Trend,
    /// Age of the oldest message.
    pub age_s: Trend,
}

/// How long something took, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
    /// Largest.
    pub max_s: f64,
}

/// Figures of one job. Its cost is in `cost.by_service` under its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Firings of its schedules.
    pub firings: u64,
    /// Pieces of work that were asked for.
    pub due: u64,
    /// Tasks that reached RUNNING.
    pub tasks_started: u64,
    /// Pieces of work that were done.
    pub succeeded: u64,
    /// Pieces of work that were given up.
    pub failed: u64,
    /// Pieces of work that had not ended at the end.
    pub unfinished: u64,
    /// Tasks that ended without their work done.
    pub attempts_failed: u64,
    /// Tasks interrupted by Spot.
    pub interrupted: u64,
    /// Most tasks at once, starting ones included.
    pub max_running: u32,
    /// From the firing until a task was RUNNING.
    pub wait: Option<Spread>,
    /// From RUNNING to the end of the work, of the attempts that succeeded.
    pub duration: Option<Spread>,
    /// From the firing to the end of the work.
    pub turnaround: Option<Spread>,
    /// When the last piece of work was done.
    pub last_done_s: Option<f64>,
    /// The deadline, from the firing.
    pub deadline_s: Option<f64>,
    /// Work done by its deadline, of what was due by then; absent without a deadline.
    pub done_by_deadline_pct: Option<f64>,
}

/// What became of the pods of the file of an initial state, and how they fill the nodes. Those that are replicas of a
/// service count with the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodsSummary {
    /// Pods submitted, those that were bound at the start included.
    pub submitted: u64,
    /// Of them those that found a node.
    pub placed: u64,
    /// Pods that ended by themselves.
    pub succeeded: u64,
    /// Pods that had to go and that nobody made anew.
    pub failed: u64,
    /// How often pods had to go and were made anew.
    pub made_anew: u64,
    /// Pods with a node at the end.
    pub running_at_end: u64,
    /// Pods without one at the end.
    pub pending_at_end: u64,
    /// Of them those that no node takes, as the cluster is at the end.
    pub refused_at_end: u64,
    /// Of them those that a node would take: the scheduler has not come to them again.
    pub not_tried_at_end: u64,
    /// The most pods without a node.
    pub max_pending: u64,
    /// Mean wait of the pods that found a node, from their submission.
    pub mean_wait_s: Option<f64>,
    /// The longest of these waits.
    pub max_wait_s: Option<f64>,
    /// When the scheduler first found no node for a pod; absent where it always did.
    pub first_refused_s: Option<f64>,
    /// Nodes at the end.
    pub nodes_at_end: u32,
    /// Of them those with nothing but system pods.
    pub empty_nodes_at_end: u32,
    /// CPU requested over CPU offered at the end.
    pub cpu_requested_pct_at_end: Option<f64>,
    /// The same of memory.
    pub memory_requested_pct_at_end: Option<f64>,
    /// The same of GPUs; absent without any.
    pub gpu_requested_pct_at_end: Option<f64>,
    /// Free CPU that pods of the file cannot use where it is, at the end.
    pub cpu_unusable_pct_at_end: Option<f64>,
    /// The same of GPUs; absent without any that are free.
    pub gpu_unusable_pct_at_end: Option<f64>,
    /// Pods by the GPUs that each asks for, in rising order; empty where none asks for any.
    pub by_gpus: Vec<PodsByGpus>,
    /// How many kinds of pod are refused at the end.
    pub refused_kinds: u64,
    /// Those with most pods, and the scheduler's words.
    pub refused: Vec<RefusedPods>,
    /// CPU requested over time.
    pub cpu_requested_pct: Trend,
    /// Memory requested over time.
    pub memory_requested_pct: Trend,
    /// GPUs requested over time.
    pub gpu_requested_pct: Trend,
    /// Pods without a node over time.
    pub pending: Trend,
}

/// Pods that ask for the same number of GPUs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodsByGpus {
    /// GPUs of each.
    pub gpus: u32,
    /// How many were submitted.
    pub submitted: u64,
    /// How many of them have no node at the end.
    pub pending_at_end: u64,
}

/// Pods of one kind that no node takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedPods {
    /// How many.
    pub pods: u64,
    /// What each asks for.
    pub asks: String,
    /// Why no node takes it, in the scheduler's words.
    pub why: String,
}

/// Scaling and churn of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingSummary {
    /// Times that the desired count was raised by scaling.
    pub scale_outs: u64,
    /// Times that it was lowered.
    pub scale_ins: u64,
    /// Scaling that was held back, by what: `cooldown`, `max_capacity`, `deployment`...
    pub held_back: IndexMap<String, u64>,
    /// Smallest number of tasks in RUNNING.
    pub min_running: u32,
    /// Largest number of tasks in RUNNING.
    pub max_running: u32,
    /// Mean number of tasks in RUNNING.
    pub mean_running: f64,
    /// Largest desired count.
    pub max_desired: u32,
    /// Tasks started.
    pub tasks_started: u64,
    /// Tasks stopped.
    pub tasks_stopped: u64,
    /// Tasks that stopped by a failure of their own.
    pub tasks_failed: u64,
}

/// How a deployment ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DeploymentOutcome {
    /// All tasks run the new revision.
    Completed,
    /// The old revision was brought back.
    RolledBack {
        /// What failed the deployment.
        reason: String,
    },
    /// It cannot go on by itself.
    Stalled {
        /// What holds it.
        reason: String,
    },
    /// The simulation ended before it did.
    #[default]
    InProgress,
}

/// One deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentSummary {
    /// Number within the service, from 1.
    pub number: u32,
    /// The revision that it brings.
    pub revision: u32,
    /// Start.
    pub started_s: f64,
    /// End; absent while it goes on.
    pub ended_s: Option<f64>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: DeploymentOutcome,
    /// Tasks of the new revision that failed.
    pub failed_tasks: u32,
}

/// Seconds of an incident by the link of the loop that they were spent in. The sum is the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryLinks {
    /// From the start of the incident to the end of the first metric period that shows it, or to the moment at which a
    /// health check or the control plane found tasks lost.
    pub detection_s: f64,
    /// Until that point could be seen.
    pub publication_s: f64,
    /// Until the alarm had its points.
    pub alarm_s: f64,
    /// Until the scaler had decided and acted.
    pub decision_s: f64,
    /// Earlier launches for the same loss that failed, and the waits of the scheduler between them.
    #[serde(default)]
    pub relaunch_s: f64,
    /// Waiting for launch quotas and rates.
    pub quota_s: f64,
    /// Waiting for capacity that was not to be had.
    #[serde(default)]
    pub capacity_s: f64,
    /// Waiting for an address in a subnet.
    #[serde(default)]
    pub address_s: f64,
    /// Finding capacity and attaching the network.
    pub node_s: f64,
    /// Tries to pull the image that failed.
    #[serde(default)]
    pub pull_retry_s: f64,
    /// Pulling the image.
    pub pull_s: f64,
    /// Starting containers and the application.
    pub start_s: f64,
    /// Until the task counted as healthy and had its share of the traffic.
    pub health_s: f64,
    /// While a fault lasted, and nothing above was under way.
    #[serde(default)]
    pub fault_s: f64,
    /// While a deployment was in progress, and nothing above.
    #[serde(default)]
    pub deployment_s: f64,
    /// While more than half of all attempts were retries, and nothing above.
    #[serde(default)]
    pub retries_s: f64,
    /// While the tasks were saturated, and nothing above.
    #[serde(default)]
    pub overload_s: f64,
    /// Without a cause among these.
    pub unattributed_s: f64,
}

impl RecoveryLinks {
    /// The links in their order, with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 18] {
        [
            ("detection", self.detection_s),
            ("publication", self.publication_s),
            ("alarm", self.alarm_s),
            ("decision", self.decision_s),
            ("relaunch", self.relaunch_s),
            ("quota", self.quota_s),
            ("capacity", self.capacity_s),
            ("address", self.address_s),
            ("node", self.node_s),
            ("pull retries", self.pull_retry_s),
            ("pull", self.pull_s),
            ("start", self.start_s),
            ("health", self.health_s),
            ("fault", self.fault_s),
            ("deployment", self.deployment_s),
            ("retries", self.retries_s),
            ("overload", self.overload_s),
            ("unattributed", self.unattributed_s),
        ]
    }

    /// The whole.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        self.named().iter().map(|(_, s)| s).sum()
    }
}

/// A time in which an objective of a service did not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The service.
    pub service: String,
    /// The objective that failed first.
    pub objective: String,
    /// Start of the first interval that broke it.
    pub start_s: f64,
    /// End; absent when it lasted until the end of the run.
    pub end_s: Option<f64>,
    /// Time to recover (or to the end of the run).
    pub duration_s: f64,
    /// The same by link.
    pub links: RecoveryLinks,
}

/// A fault that struck.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultSummary {
    /// Its name in the plan.
    pub name: String,
    /// Its type, for example `zone_outage`.
    pub kind: String,
    /// When it struck.
    pub start_s: f64,
    /// When it was over; absent when it lasted until the end of the run.
    pub end_s: Option<f64>,
    /// What it did, in a sentence.
    pub text: String,
}

/// What the run cost after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    /// Dollars.
    pub total_usd: f64,
    /// Dollars an hour.
    pub per_hour_usd: f64,
    /// Dollars in the warm-up, which the total leaves out.
    pub warm_up_usd: f64,
    /// By item, in the order of the bill.
    pub items: Vec<CostItem>,
    /// By service; instances that nobody reserves are `idle`, what belongs to the whole account is `cluster`.
    pub by_service: IndexMap<String, f64>,
    /// What the nodes of each capacity of instances cost, commitments aside; empty without nodes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub by_capacity: IndexMap<String, NodeCosts>,
    /// Dollars an hour by phase of the run, if it has phases: the lowest, the mean and the highest interval.
    pub rate_usd_per_hour: Option<CostRate>,
    /// Dollars of CPU burned for requests whose client had gone.
    pub wasted_usd: f64,
}

/// What the nodes of a capacity cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeCosts {
    /// Instances, fees, volumes, addresses and credits.
    pub nodes_usd: f64,
    /// The part that no task reserved.
    pub idle_usd: f64,
    /// The part that tasks reserved and did not use.
    pub wasted_usd: f64,
}

/// Spread of the cost rate over the intervals of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostRate {
    /// Lowest.
    pub min: f64,
    /// Highest.
    pub max: f64,
}

/// One line of the bill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostItem {
    /// The item, for example `fargate_vcpu`.
    pub item: String,
    /// What a bill calls it, for example `Fargate vCPU`.
    pub label: String,
    /// Quantity, in `unit`.
    pub quantity: f64,
    /// Unit of the quantity.
    pub unit: String,
    /// Price of one unit before discounts.
    pub unit_price_usd: f64,
    /// Dollars after discounts.
    pub cost_usd: f64,
    /// Dollars an hour.
    pub per_hour_usd: f64,
}

/// The kind of a diagnosis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiagnosisKind {
    /// Essential containers of a service exit again and again.
    #[default]
    RepeatedRestarts,
    /// An essential container exited by itself, once or twice.
    EssentialExit,
    /// The scheduler waits longer and longer between launches that fail.
    RestartThrottle,
    /// Images could not be pulled.
    FailedPulls,
    /// Tasks stopped before they were RUNNING, for another reason than their image.
    FailedStarts,
    /// Tasks were replaced for failed health checks before their application answered.
    KilledWhileStarting,
    /// Tasks were replaced for failed health checks.
    UnhealthyService,
    /// Tasks were killed for memory.
    OutOfMemory,
    /// Tasks were lost with the machines under them.
    MachinesLost,
    /// Capacity was not to be had.
    CapacityUnavailable,
    /// Spot capacity was not to be had.
    SpotUnavailable,
    /// The subnets had no address for a task's network interface.
    AddressesExhausted,
    /// A service quota of the account held launches back.
    QuotaReached,
    /// Tasks found no place on any node.
    TasksUnplaceable,
    /// A capacity provider wanted more nodes than it may have.
    ProviderAtMaximum,
    /// A deployment does not go on.
    DeploymentStuck,
    /// An update of a node group failed.
    NodeGroupUpdateFailed,
    /// Pods found no node.
    PodsUnschedulable,
    /// Containers of pods were started again.
    ContainerRestarts,
    /// The same container was started again and again.
    CrashLoopBackOff,
    /// A ResourceQuota refused pods.
    NamespaceQuotaReached,
    /// A volume was attached to another node than that of a pod that needs it.
    VolumeInUse,
    /// Scaling wanted more than it was allowed.
    ScalingBlocked,
    /// An alarm of a scaling policy had no data.
    ScalingWithoutData,
    /// An objective failed for long and no alarm of a scaling policy rang.
    ScalingSilent,
    /// The desired count stayed at the maximum while objectives failed.
    AtMaximumCapacity,
    /// More than half of all attempts were retries.
    RetryStorm,
    /// The load was more than the tasks can serve until the end.
    Overload,
    /// Connections were refused by a dependency.
    ConnectionsExhausted,
    /// Connections were not to be had from a pool.
    PoolExhausted,
}

impl DiagnosisKind {
    /// The name that is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RepeatedRestarts => "repeated restarts",
            Self::EssentialExit => "essential container exited",
            Self::RestartThrottle => "restart throttle",
            Self::FailedPulls => "failed pulls",
            Self::FailedStarts => "failed starts",
            Self::KilledWhileStarting => "killed while starting",
            Self::UnhealthyService => "unhealthy service",
            Self::OutOfMemory => "out of memory",
            Self::MachinesLost => "machines lost",
            Self::CapacityUnavailable => "capacity unavailable",
            Self::SpotUnavailable => "Spot capacity unavailable",
            Self::AddressesExhausted => "addresses exhausted",
            Self::QuotaReached => "quota reached",
            Self::TasksUnplaceable => "tasks unplaceable",
            Self::ProviderAtMaximum => "capacity provider at its maximum",
            Self::DeploymentStuck => "deployment stuck",
            Self::NodeGroupUpdateFailed => "node group update failed",
            Self::PodsUnschedulable => "pods unschedulable",
            Self::ContainerRestarts => "container restarts",
            Self::CrashLoopBackOff => "CrashLoopBackOff",
            Self::NamespaceQuotaReached => "namespace quota reached",
            Self::VolumeInUse => "volume in use",
            Self::ScalingBlocked => "scaling blocked",
            Self::ScalingWithoutData => "scaling without data",
            Self::ScalingSilent => "scaling does not see it",
            Self::AtMaximumCapacity => "at maximum capacity",
            Self::RetryStorm => "retry storm",
            Self::Overload => "overload",
            Self::ConnectionsExhausted => "connections exhausted",
            Self::PoolExhausted => "connection pool exhausted",
        }
    }
}

/// A trouble that the run met, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Its kind.
    pub kind: DiagnosisKind,
    /// The service, or the capacity.
    pub subject: String,
    /// When it was first seen.
    pub since_s: Option<f64>,
    /// How often.
    pub count: u64,
    /// What happened, in a sentence with its figures.
    pub evidence: String,
    /// What would help, in a sentence.
    #[serde(default)]
    pub advice: String,
}

/// A price that the result depends on and that is old or uncertain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeakPrice {
    /// The item.
    pub item: String,
    /// Region of the price.
    pub region: String,
    /// Dollars a unit.
    pub unit_price_usd: f64,
    /// Date on which the price was seen.
    pub date: String,
    /// Confidence: `high`, `medium`, `low`.
    pub confidence: String,
    /// Why it is weak: `older than 180 days`, `low confidence`.
    pub reason: String,
    /// Dollars of the run that depend on it.
    pub cost_usd: f64,
}

impl Summary {
    /// How many objectives were missed.
    #[must_use]
    pub fn objectives_missed(&self) -> usize {
        self.objectives.iter().filter(|o| o.held == Some(false)).count()
    }

    /// The text of `summary.json`: indented, floats without noise, a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a summary has only string keys and finite shapes");
        super::tidy(&mut value);
        let mut text = serde_json::to_string_pretty(&value).expect("a JSON value always prints");
        text.push('\n');
        text
    }
}

impl Trend {
    /// Folds values `step_s` apart, the first at `start_s`, into at most [`TREND_POINTS`] points with `fold`
    /// (for example the largest or the mean of a group).
    #[must_use]
    pub fn fold(start_s: f64, step_s: f64, values: &[Option<f64>], fold: impl Fn(&[f64]) -> f64) -> Self {
        let group = values.len().div_ceil(TREND_POINTS).max(1);
        let points = values
            .chunks(group)
            .map(|chunk| {
                let present: Vec<f64> = chunk.iter().flatten().copied().collect();
                (!present.is_empty()).then(|| fold(&present))
            })
            .collect();
        let max = values.iter().flatten().copied().reduce(f64::max);
        Self { start_s, step_s: step_s * group as f64, values: points, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_survives_json() {
        let mut summary = Summary { schema: SUMMARY_SCHEMA.into(), ..Summary::default() };
        summary.services.insert(
            "web".into(),
            ServiceSummary {
                deployments: vec![DeploymentSummary {
                    outcome: DeploymentOutcome::RolledBack { reason: "circuit breaker".into() },
                    ..DeploymentSummary::default()
                }],
                wasted_cpu_s: 0.1 + 0.2,
                ..ServiceSummary::default()
            },
        );
        let text = summary.to_json();
        assert!(text.contains("\"outcome\": \"rolled_back\"") && text.contains("\"wasted_cpu_s\": 0.3,"), "{text}");
        let back: Summary = serde_json::from_str(&text).expect("reads back");
        assert_eq!(back.to_json(), text);
    }

    #[test]
    fn trends_stay_short() {
        let values: Vec<Option<f64>> = (0..181).map(|i| (i % 2 == 0).then_some(f64::from(i))).collect();
        let trend = Trend::fold(0.0, 10.0, &values, |x| x.iter().copied().fold(f64::MIN, f64::max));
        assert!(trend.values.len() <= TREND_POINTS, "{}", trend.values.len());
        assert_eq!(trend.step_s, 40.0);
        assert_eq!(trend.values[0], Some(2.0));
    }
}
