//! The rows of the result files. A column's name carries its unit; an absent value is an empty field.
//!
//! Times count from the start of the simulation, warm-up included.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Fixed, Millis, Money, Secs};

/// Text of a row: borrowed from the plan when written, owned when read back.
pub type Text<'a> = Cow<'a, str>;

/// A row of `services.csv`: one service in one interval. Counts are of the interval, states at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow<'a> {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval; the last one may be shorter.
    pub interval_s: Secs,
    /// The service.
    pub service: Text<'a>,
    /// Rate that the scenario asks for, the interval's mean; of users and recordings the rate that arrived.
    pub offered_rps: Fixed<3>,
    /// Requests started by clients (first attempts).
    pub started: u64,
    /// Requests answered well, whatever attempt it took.
    pub succeeded: u64,
    /// Requests given up, all kinds.
    pub failed: u64,
    /// Requests given up because the last attempt timed out at the client.
    pub failed_timeout: u64,
    /// Requests whose client lost patience while waiting.
    pub failed_abandoned: u64,
    /// Requests given up after an error answer of the application.
    pub failed_target_error: u64,
    /// Requests given up after an error answer of the load balancer, or a refused or broken connection.
    pub failed_balancer_error: u64,
    /// Requests begun and not yet finished, waits before a retry included.
    pub in_flight: u64,
    /// Median latency of the requests that succeeded in the interval, at the client, retries included.
    pub latency_p50_ms: Option<Millis>,
    /// 90th percentile of the same.
    pub latency_p90_ms: Option<Millis>,
    /// 95th percentile of the same.
    pub latency_p95_ms: Option<Millis>,
    /// 99th percentile of the same.
    pub latency_p99_ms: Option<Millis>,
    /// Mean of the same.
    pub latency_mean_ms: Option<Millis>,
    /// Attempts that reached the load balancer: first ones and retries.
    pub attempts: u64,
    /// Retries among the attempts.
    pub retries: u64,
    /// Answers 460: the client closed the connection before the target answered.
    pub elb_460: u64,
    /// Answers 502 of the load balancer: a target refused or broke the connection.
    pub elb_502: u64,
    /// Answers 503 of the load balancer: no target is registered.
    pub elb_503: u64,
    /// Answers 504 of the load balancer: a target did not answer in time.
    pub elb_504: u64,
    /// Error answers of the application.
    pub target_5xx: u64,
    /// Desired count.
    pub desired: u32,
    /// Tasks from PROVISIONING to ACTIVATING.
    pub pending: u32,
    /// Tasks in RUNNING.
    pub running: u32,
    /// Tasks in RUNNING that count as healthy.
    pub healthy: u32,
    /// Tasks whose targets are draining.
    pub draining: u32,
    /// CPU burned over CPU reserved by running tasks (draining ones included), abandoned work and start-up included.
    pub cpu_used_pct: Option<Fixed<2>>,
    /// CPU reserved over CPU that could be reserved; 100 where each task is its own node.
    pub cpu_reserved_pct: Option<Fixed<2>>,
    /// The newest published CPU metric that a scaler could see; empty while there is none.
    pub cpu_seen_pct: Option<Fixed<2>>,
    /// Memory used over memory reserved.
    pub memory_used_pct: Option<Fixed<2>>,
    /// CPU burned for requests whose client had gone, in vCPU-seconds.
    pub wasted_cpu_s: Fixed<3>,
    /// Requests that wait in accept queues of tasks.
    pub queued: u64,
    /// What the service cost in the interval.
    pub cost_usd: Money,
}

/// A row of `dependencies.csv`: one dependency in one interval. Counts are of the interval, states at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DependencyRow<'a> {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval; the last one may be shorter.
    pub interval_s: Secs,
    /// The dependency.
    pub dependency: Text<'a>,
    /// Calls begun.
    pub calls: u64,
    /// Calls answered well.
    pub succeeded: u64,
    /// Calls given up.
    pub failed: u64,
    /// Calls begun and not yet ended.
    pub in_flight: u64,
    /// Median latency of the calls that succeeded in the interval, as their callers see it.
    pub latency_p50_ms: Option<Millis>,
    /// 99th percentile of the same.
    pub latency_p99_ms: Option<Millis>,
    /// 99th percentile of the wait for a worker.
    pub wait_p99_ms: Option<Millis>,
    /// Share of the time that its workers were busy.
    pub utilization_pct: Fixed<2>,
    /// Open connections.
    pub connections: u32,
    /// The most open connections in the interval.
    pub connections_peak: u32,
    /// Connections that it accepts; empty for no limit.
    pub max_connections: Option<u32>,
    /// Connections that it refused.
    pub connections_refused: u64,
    /// Calls that wait for a worker.
    pub waiting: u64,
}

/// A row of `tasks.csv`: one task. A time is empty if the state was never entered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskRow<'a> {
    /// Number of the task, by order of creation; never reused.
    pub task: u32,
    /// The service.
    pub service: Text<'a>,
    /// Revision of the task definition; the first is 1.
    pub revision: u32,
    /// Name of the pod in its StatefulSet, such as `db-2`; empty elsewhere.
    pub pod: Text<'a>,
    /// Node it ran on; on Fargate the task's own micro-VM has the task's number. Empty while no instance has room.
    pub node: Option<u32>,
    /// Capacity provider.
    pub capacity: Text<'a>,
    /// Zone, as a letter.
    pub zone: Text<'a>,
    /// What started it: `initial`, `scaling`, `deployment`, `replacement`, `rebalancing`; of a job `run_task`, `retry`.
    pub started_by: Text<'a>,
    /// The decision to have it.
    pub decided_s: Option<Secs>,
    /// Entry to PROVISIONING.
    pub provisioning_s: Option<Secs>,
    /// Entry to PENDING: a micro-VM has been found.
    pub pending_s: Option<Secs>,
    /// Entry to ACTIVATING.
    pub activating_s: Option<Secs>,
    /// Start of the image pull.
    pub pull_started_s: Option<Secs>,
    /// End of the image pull.
    pub pull_stopped_s: Option<Secs>,
    /// Entry to RUNNING.
    pub running_s: Option<Secs>,
    /// The application answers.
    pub ready_s: Option<Secs>,
    /// First time healthy.
    pub healthy_s: Option<Secs>,
    /// Entry to DEACTIVATING: deregistration begins.
    pub deactivating_s: Option<Secs>,
    /// Entry to STOPPING: SIGTERM.
    pub stopping_s: Option<Secs>,
    /// The containers have ended.
    pub execution_stopped_s: Option<Secs>,
    /// Entry to DEPROVISIONING.
    pub deprovisioning_s: Option<Secs>,
    /// Entry to STOPPED.
    pub stopped_s: Option<Secs>,
    /// Stop code of the ECS API; empty while it runs.
    pub stop_code: Text<'a>,
    /// Reason in words.
    pub stop_reason: Text<'a>,
    /// CPU it burned, in vCPU-seconds.
    pub cpu_used_s: Fixed<3>,
    /// Its CPU, memory, storage and address; shared items are left out.
    pub cost_usd: Money,
}

/// A row of `nodes.csv`: one node. A Fargate task is one node of its own, with the task's number; numbers of
/// instances are apart from those, so that a node is named by capacity and number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeRow<'a> {
    /// Number of the node.
    pub node: u32,
    /// Capacity provider.
    pub capacity: Text<'a>,
    /// Kind of machine, for example `fargate 1024/2048` (CPU units / MiB).
    pub node_type: Text<'a>,
    /// Zone, as a letter.
    pub zone: Text<'a>,
    /// `on_demand` or `spot`.
    pub market: Text<'a>,
    /// Price of the machine alone an hour: on Spot that of its pool when the row is written.
    pub price_usd_per_hour: Money,
    /// vCPUs for tasks.
    pub vcpus: Fixed<3>,
    /// Memory for tasks.
    pub memory_mib: u64,
    /// Asked for.
    pub launched_s: Option<Secs>,
    /// Ready to run tasks: on Fargate entry to RUNNING, on EC2 the agent has registered.
    pub ready_s: Option<Secs>,
    /// From asked for to ready.
    pub launch_to_ready_s: Option<Secs>,
    /// The latest time at which draining began.
    pub draining_s: Option<Secs>,
    /// Its end began.
    pub terminating_s: Option<Secs>,
    /// Gone.
    pub terminated_s: Option<Secs>,
    /// Start of billing.
    pub billed_from_s: Option<Secs>,
    /// End of billing.
    pub billed_until_s: Option<Secs>,
    /// Tasks that were placed on it.
    pub tasks: u32,
    /// CPU burned over CPU of the node while it was ready.
    pub cpu_used_pct: Option<Fixed<2>>,
    /// CPU reserved over CPU of the node, the mean while it was ready.
    pub cpu_reserved_pct: Option<Fixed<2>>,
    /// The most CPU that was reserved at once.
    pub cpu_reserved_peak_pct: Option<Fixed<2>>,
    /// The most memory that was reserved at once.
    pub memory_reserved_peak_pct: Option<Fixed<2>>,
    /// CPU that its tasks wanted and did not get, because neighbours had it or credits were spent, in vCPU-seconds.
    pub cpu_stolen_s: Fixed<3>,
    /// Why it ended; empty while it runs.
    pub end_reason: Text<'a>,
    /// Of its cost what no task reserved.
    pub idle_usd: Money,
    /// Of its cost what tasks reserved and did not use.
    pub wasted_usd: Money,
    /// What it cost.
    pub cost_usd: Money,
}

/// A row of `capacity.csv`: the instances of one capacity at the end of an interval. Fargate has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CapacityRow<'a> {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval; the last one may be shorter.
    pub interval_s: Secs,
    /// Capacity provider.
    pub capacity: Text<'a>,
    /// Instances that the group is to have.
    pub desired: u32,
    /// Instances that are launched and have not registered.
    pub pending: u32,
    /// Instances that take tasks.
    pub active: u32,
    /// Instances that take no more tasks and still run some.
    pub draining: u32,
    /// Instances that are being shut down.
    pub terminating: u32,
    /// Instances in the warm pool.
    pub warmed: u32,
    /// On-Demand instances, the warm pool left out.
    pub on_demand: u32,
    /// Spot instances, the warm pool left out.
    pub spot: u32,
    /// Active instances that run nothing but daemons.
    pub empty: u32,
    /// Tasks placed on instances.
    pub tasks: u32,
    /// Tasks in PROVISIONING that wait for room.
    pub waiting_tasks: u32,
    /// vCPUs that active and draining instances offer.
    pub vcpus: Fixed<3>,
    /// CPU reserved over CPU offered.
    pub cpu_reserved_pct: Option<Fixed<2>>,
    /// Memory reserved over memory offered.
    pub memory_reserved_pct: Option<Fixed<2>>,
    /// Network interfaces for tasks in use over those offered.
    pub eni_reserved_pct: Option<Fixed<2>>,
    /// CPU burned over CPU offered, in the interval.
    pub cpu_used_pct: Option<Fixed<2>>,
    /// The newest published CapacityProviderReservation; empty without managed scaling.
    pub reservation_pct: Option<Fixed<2>>,
}

/// A row of `pods.csv`: one pod of the file of an initial state, when it has ended or at the end of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodRow<'a> {
    /// Its name.
    pub pod: Text<'a>,
    /// Its namespace.
    pub namespace: Text<'a>,
    /// The node that it runs or ran on last; empty where it has found none.
    pub node: Text<'a>,
    /// When it was submitted.
    pub submitted_s: Secs,
    /// When it was bound to that node.
    pub scheduled_s: Option<Secs>,
    /// When its containers ran.
    pub started_s: Option<Secs>,
    /// When it ended.
    pub ended_s: Option<Secs>,
    /// How often it had to go and was made anew.
    pub made_anew: u32,
    /// `Succeeded`, `Running`, `Pending`, or why it had to go: `Evicted`, `Preempted`, `NodeLost`.
    pub outcome: Text<'a>,
}

/// A row of `packing.csv`: how pods of files fill the nodes, at the end of an interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PackingRow {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval; the last one may be shorter.
    pub interval_s: Secs,
    /// Nodes that are Ready.
    pub nodes: u32,
    /// Nodes with nothing but system pods.
    pub empty_nodes: u32,
    /// Pods submitted so far.
    pub pods_submitted: u64,
    /// Pods that have a node.
    pub pods_bound: u64,
    /// Pods that have none.
    pub pods_pending: u64,
    /// Pods that the scheduler has found no node for.
    pub pods_unschedulable: u64,
    /// Pods that ended so far.
    pub pods_ended: u64,
    /// CPU requested by all pods over what the nodes offer.
    pub cpu_requested_pct: Option<Fixed<2>>,
    /// Memory requested over what the nodes offer.
    pub memory_requested_pct: Option<Fixed<2>>,
    /// GPUs requested over what the nodes offer; empty without GPUs.
    pub gpu_requested_pct: Option<Fixed<2>>,
    /// Fragmentation of CPU: the share of the free CPU that stands on nodes where a pod of the file does not fit, over all pods of
    /// the file.
    pub cpu_unusable_pct: Option<Fixed<2>>,
    /// The same of free GPUs, over the pods that ask for GPUs.
    pub gpu_unusable_pct: Option<Fixed<2>>,
}

/// A row of `decisions.csv`: one decision of one controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionRow<'a> {
    /// When.
    pub time_s: Secs,
    /// Who decided: `target_tracking`, `step_scaling`, `scheduled`, `deployment`, `service_scheduler`, `circuit_breaker`, `alarm`...
    pub controller: Text<'a>,
    /// Address of the policy, alarm or deployment.
    pub subject: Text<'a>,
    /// The service it acted on.
    pub service: Text<'a>,
    /// The value it saw; empty if it needs none.
    pub observed: Option<Fixed<4>>,
    /// What the value is: the name of a metric.
    pub observed_metric: Text<'a>,
    /// Age of the value: from the end of its period to the decision.
    pub observed_age_s: Option<Secs>,
    /// Count before.
    pub from: Option<i64>,
    /// What the rule alone asks for.
    pub computed: Option<i64>,
    /// What held it back: `max_capacity`, `min_capacity`, `cooldown`, `suspended`, `deployment`, `quota`...; empty if nothing.
    pub bounded_by: Text<'a>,
    /// Count after; the same as before if nothing was done.
    pub result: Option<i64>,
    /// The reason, a word of a closed set.
    pub reason: Text<'a>,
    /// The reason in a sentence.
    pub explanation: Text<'a>,
}

/// What a line of `decisions.jsonl` holds beside the row: enough to take the decision again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DecisionDetail {
    /// Everything the controller could see.
    pub observation: serde_json::Value,
    /// Its memory before the decision.
    pub memory: serde_json::Value,
}

/// A row of `deployments.csv`: one step of one deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRow<'a> {
    /// When.
    pub time_s: Secs,
    /// Number of the deployment within its service, from 1.
    pub deployment: u32,
    /// The service.
    pub service: Text<'a>,
    /// Revision that comes.
    pub revision: u32,
    /// Revision that goes; 0 for none.
    pub previous_revision: u32,
    /// `started`, `progress`, `rolling_back`, `completed`, `failed`, `stalled`; or the stage that a deployment with a
    /// second fleet enters, for example `scale_up`, `production_traffic_shift`, `bake_time`.
    pub step: Text<'a>,
    /// Share of the traffic that goes to the new revision.
    pub new_weight_pct: Fixed<1>,
    /// Desired count.
    pub desired: u32,
    /// New tasks not yet running.
    pub new_pending: u32,
    /// New tasks running.
    pub new_running: u32,
    /// New tasks healthy.
    pub new_healthy: u32,
    /// Old tasks running.
    pub old_running: u32,
    /// Old tasks healthy.
    pub old_healthy: u32,
    /// Tasks of the new revision that failed so far.
    pub failed_tasks: u32,
    /// What it waits for.
    pub waits_for: Text<'a>,
}

/// A row of `costs.csv`: one item of one owner in one interval. Items without use have no row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostRow<'a> {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval.
    pub interval_s: Secs,
    /// The item, for example `fargate_vcpu`, `alb_lcu`.
    pub item: Text<'a>,
    /// Service that pays, or `cluster`.
    pub owner: Text<'a>,
    /// Quantity, in `unit`.
    pub quantity: Fixed<9>,
    /// Unit of the quantity, for example `vCPU-h`.
    pub unit: Text<'a>,
    /// Price of one unit.
    pub unit_price_usd: Money,
    /// Quantity times price, after discounts.
    pub cost_usd: Money,
}

/// A row of `queues.csv`: one queue in one interval. Counts are of the interval, states at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueRow<'a> {
    /// Start of the interval.
    pub time_s: Secs,
    /// Length of the interval.
    pub interval_s: Secs,
    /// The queue.
    pub queue: Text<'a>,
    /// Messages sent.
    pub sent: u64,
    /// Messages that came from another queue.
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
    /// Messages that can be received.
    pub visible: u64,
    /// Messages received and not deleted.
    pub in_flight: u64,
    /// Messages that cannot be received yet.
    pub delayed: u64,
    /// Age of the oldest message that is not deleted.
    pub oldest_age_s: Secs,
}

/// A row of `jobs.csv`: one piece of work of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobRow<'a> {
    /// The job.
    pub job: Text<'a>,
    /// Number of the piece of work within the job, from 0.
    pub item: u32,
    /// The schedule that fired.
    pub schedule: Text<'a>,
    /// Number of the firing within the job, from 1.
    pub firing: u32,
    /// RunTask was called, or the work was submitted.
    pub due_s: Secs,
    /// A task for it was RUNNING for the first time.
    pub running_s: Option<Secs>,
    /// Done, or given up.
    pub ended_s: Option<Secs>,
    /// `succeeded`, `failed`, or at the end of the run `running` or `waiting`.
    pub outcome: Text<'a>,
    /// Tasks started for it.
    pub attempts: u32,
    /// Of these, interrupted by Spot.
    pub interruptions: u32,
    /// When it was to be done; empty without a deadline.
    pub deadline_s: Option<Secs>,
    /// Whether it was; empty while that is open.
    pub in_time: Option<bool>,
}
