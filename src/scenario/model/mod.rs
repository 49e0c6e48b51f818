//! The types of the scenario language. One declaration gives the struct that the simulation reads,
//! the defaults, the reader, `plan.toml` and the JSON Schema. Field names and defaults are the real
//! API's, in snake case.

mod billing;
mod calls;
mod capacity;
mod control;
mod faults;
mod kubernetes;
mod kubernetes_nodes;
mod kubernetes_rollout;
mod kubernetes_state;
mod kubernetes_workloads;
mod law;
mod metric;
mod placement;
mod search;
mod service;
mod shift;
mod work;

pub use billing::*;
pub use calls::*;
pub use capacity::*;
pub use control::*;
pub use faults::*;
pub use kubernetes::*;
pub use kubernetes_nodes::*;
pub use kubernetes_rollout::*;
pub use kubernetes_state::*;
pub use kubernetes_workloads::*;
pub use law::{ByteLaw, TimeLaw};
pub use metric::*;
pub use placement::*;
pub use search::{Search, SpaceValues};
pub use service::*;
pub use shift::*;
pub use work::*;

use indexmap::IndexMap;

use crate::kernel::SimDuration;
use crate::units::Bytes;

table! {
    /// A scenario with every default filled in: what one run does.
    pub struct Plan {
        /// How long is simulated, from which seed, what is recorded.
        pub simulation: Simulation,
        /// The orchestrator, the region, the zones and the account's quotas.
        pub cluster: Cluster = Cluster::default(),
        /// What tasks run on, by name.
        pub capacity: IndexMap<String, Capacity> = IndexMap::new(),
        /// The services, by name.
        pub services: IndexMap<String, Service> = IndexMap::new(),
        /// What services depend on beside each other, by name: databases, caches.
        pub dependencies: IndexMap<String, Dependency> = IndexMap::new(),
        /// Queues of messages that services work on, by name.
        pub queues: IndexMap<String, Queue> = IndexMap::new(),
        /// Standalone and scheduled tasks, by name.
        pub jobs: IndexMap<String, Job> = IndexMap::new(),
        /// What must hold after the run: by service name, or `cluster` for the whole.
        pub objectives: IndexMap<String, Objectives> = IndexMap::new(),
        /// What happens at given times: deployments, changed settings.
        pub actions: IndexMap<String, Action> = IndexMap::new(),
        /// What goes wrong, at given times or at random, by name.
        pub faults: IndexMap<String, Fault> = IndexMap::new(),
        /// What the account pays beside the list price, and for what traffic leaves by.
        pub billing: Billing = Billing::default(),
    }
}

table! {
    /// How long is simulated, from which seed, what is recorded.
    pub struct Simulation {
        /// Simulated time, warm-up included.
        pub duration: SimDuration,
        /// Time at the start that figures, cost and objectives leave out. Control acts in it.
        pub warm_up: SimDuration = SimDuration::ZERO,
        /// Seed of all random streams.
        pub seed: u64 = 1,
        /// Length of a recorded interval: a row of services.csv.
        pub interval: SimDuration = SimDuration::from_secs(10),
        /// The civil instant at which the simulation starts, in UTC, for schedules and cron.
        pub start: jiff::Timestamp = jiff::Timestamp::constant(1_767_571_200, 0), // 2026-01-05T00:00:00Z, a Monday
    }
}

words! {
    /// Which control plane runs the services.
    pub enum Orchestrator {
        /// Amazon ECS.
        Ecs = "ecs",
        /// Amazon EKS: Kubernetes.
        Eks = "eks",
    }
}

table! {
    /// The orchestrator, the region, the zones and the account's quotas.
    pub struct Cluster {
        /// The control plane.
        pub orchestrator: Orchestrator = Orchestrator::Ecs,
        /// The AWS region: its prices hold.
        pub region: String = "us-east-1".to_string(),
        /// How many Availability Zones the subnets span, 1 to 6.
        pub zones: u32 = 3,
        /// Quotas of the account in the region.
        pub quotas: Quotas = Quotas::default(),
        /// How metrics reach CloudWatch and alarms are evaluated.
        pub telemetry: Telemetry = Telemetry::default(),
        /// The subnets that tasks get their addresses from.
        pub subnets: Subnets = Subnets::default(),
        /// What only EKS has.
        pub eks: Eks = Eks::default(),
    }
}

table! {
    /// Quotas of the account and the service scheduler. Source: AWS service quotas for ECS and Fargate.
    pub struct Quotas {
        /// Fargate launches that may happen at once (on-demand and Spot counted separately).
        pub fargate_launch_burst: u32 = 100,
        /// Fargate launches a second in the long run (on-demand and Spot counted separately).
        pub fargate_launch_rate: f64 = 20.0,
        /// Tasks that the scheduler launches a minute for one service.
        pub service_launch_rate_per_minute: u32 = 500,
        /// Tasks in PROVISIONING in the cluster.
        pub provisioning_tasks: u32 = 500,
        /// Tasks of one service.
        pub tasks_per_service: u32 = 5000,
        /// vCPUs of running Fargate on-demand tasks in the account.
        pub fargate_on_demand_vcpus: u32 = 4000,
        /// vCPUs of running Fargate Spot tasks in the account.
        pub fargate_spot_vcpus: u32 = 4000,
    }
}

table! {
    /// How metrics reach CloudWatch and alarms are evaluated.
    pub struct Telemetry {
        /// Time from the end of a period until an ECS data point of it can be seen. Not published: calibrated
        /// on AWS's benchmark of June 2026, 363 s from a load step to the scale-out with 60-second metrics.
        pub ecs_publication_delay: SimDuration = SimDuration::from_secs(150),
        /// Time from the end of a period until an ECS high-resolution (20 s) data point can be seen.
        pub ecs_high_resolution_publication_delay: SimDuration = SimDuration::from_secs(20),
        /// Time from the end of a period until a load balancer's data point can be seen.
        pub alb_publication_delay: SimDuration = SimDuration::from_secs(45),
        /// Time from the end of a period until a queue's data point can be seen.
        pub sqs_publication_delay: SimDuration = SimDuration::from_secs(60),
        /// Time from the end of a period until a data point of Container Insights (RunningTaskCount) can be seen.
        pub container_insights_publication_delay: SimDuration = SimDuration::from_secs(60),
        /// Time between the state change of an alarm and the action of the scaling service.
        pub action_delay: SimDuration = SimDuration::from_secs(1),
        /// How often ECS looks at deployment alarms.
        pub deployment_alarm_poll: SimDuration = SimDuration::from_secs(15),
    }
}

table! {
    /// Objectives of one service, or of the cluster. Each is written `"<= 400 ms"`, `">= 99.9 %"`.
    pub struct Objectives {
        /// Median latency at the client, whole requests with retries.
        pub latency_p50: Option<Bound> as LatencyBound = None,
        /// 90th percentile of latency.
        pub latency_p90: Option<Bound> as LatencyBound = None,
        /// 95th percentile of latency.
        pub latency_p95: Option<Bound> as LatencyBound = None,
        /// 99th percentile of latency.
        pub latency_p99: Option<Bound> as LatencyBound = None,
        /// 99.9th percentile of latency.
        pub latency_p999: Option<Bound> as LatencyBound = None,
        /// Mean latency.
        pub latency_mean: Option<Bound> as LatencyBound = None,
        /// Successes over finished requests, in percent.
        pub availability: Option<Bound> as AvailabilityBound = None,
        /// Dollars an hour after the warm-up.
        pub cost_per_hour: Option<Bound> as DollarBound = None,
        /// Dollars of the whole run after the warm-up.
        pub cost: Option<Bound> as DollarBound = None,
        /// Work of a job that was done by its deadline, in percent of what was due by then.
        pub done_by_deadline: Option<Bound> as AvailabilityBound = None,
        /// Minutes in which a latency or availability objective failed.
        pub breach_minutes: Option<Bound> as MinuteBound = None,
    }
}

/// Which way a bound holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// At most.
    AtMost,
    /// At least.
    AtLeast,
}

/// One side of an objective. The unit of `value` is that of the key: seconds for latencies, percent
/// for availability, dollars for cost, minutes for breach minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Which way the bound holds.
    pub sense: Sense,
    /// The limit, in the unit of the key.
    pub value: f64,
}

tagged! {
    /// What happens at a given time.
    by "type"
    pub enum Action {
        /// Starts a deployment of a new revision.
        Deploy(DeployAction) = "deploy",
        /// Stops a deployment, as StopServiceDeployment does; under EKS, `kubectl rollout undo` or the abort of a rollout.
        StopDeployment(StopDeploymentAction) = "stop_deployment",
        /// Sets the desired count, as UpdateService does.
        DesiredCount(DesiredCountAction) = "desired_count",
        /// Suspends or resumes kinds of scaling, as RegisterScalableTarget does.
        Suspend(SuspendAction) = "suspend_scaling",
        /// Replaces all nodes of a managed node group, as UpdateNodegroupVersion does.
        UpdateNodeGroup(UpdateNodeGroupAction) = "update_node_group",
        /// Changes a NodePool of Karpenter or its node class; nodes that are no longer as it says drift.
        UpdateNodePool(UpdateNodePoolAction) = "update_node_pool",
        /// Promotes a paused rollout of Argo, as `kubectl argo rollouts promote` does.
        Promote(PromoteAction) = "promote",
    }
}

table! {
    /// Promotes a rollout of a service that is paused.
    pub struct PromoteAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The service.
        pub service: String,
        /// Whether all further steps, pauses and analyses are skipped (`--full`).
        pub full: bool = false,
    }
}

table! {
    /// Starts a deployment of a new revision of a service.
    pub struct DeployAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The service.
        pub service: String,
        /// How the new revision differs from the one it replaces.
        pub revision: Revision = Revision::default(),
    }
}

table! {
    /// Stops the deployment of a service that is in progress. What CodeDeploy does then is in its `auto_rollback_configuration`.
    pub struct StopDeploymentAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The service.
        pub service: String,
        /// What ECS does with the deployment.
        pub stop_type: StopType = StopType::Rollback,
    }
}

words! {
    /// What becomes of a deployment that is stopped. Source: ECS API, StopServiceDeployment.
    pub enum StopType {
        /// The last completed revision comes back.
        Rollback = "ROLLBACK",
        /// Everything stays as it is.
        Abort = "ABORT",
    }
}

table! {
    /// How a revision differs. What is absent stays as it was.
    pub struct Revision {
        /// Compressed image size.
        pub image_size: Option<Bytes> = None,
        /// Application start-up time.
        pub startup: Option<TimeLaw> = None,
        /// Factor on the CPU work of every request.
        pub cpu_time_factor: f64 = 1.0,
        /// Factor on the waiting outside of the CPU of every request.
        pub wait_factor: f64 = 1.0,
        /// Share of requests answered with an error of the application's own (5xx), 0 to 1, beside that of the class.
        pub error_rate: f64 as Share = 0.0,
        /// Share of tasks that stop before they reach RUNNING (bad image, bad configuration), 0 to 1.
        pub fails_to_start: f64 as Share = 0.0,
        /// Time from RUNNING until the essential container exits; absent for never.
        pub crashes_after: Option<TimeLaw> = None,
        /// Share of tasks whose health checks always fail, 0 to 1.
        pub fails_health_checks: f64 as Share = 0.0,
        /// Factor on the memory of every request.
        pub memory_factor: f64 = 1.0,
    }
}

table! {
    /// Sets the desired count of a service, as UpdateService does.
    pub struct DesiredCountAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The service.
        pub service: String,
        /// The new desired count.
        pub desired_count: u32,
    }
}

table! {
    /// Suspends or resumes kinds of scaling of a service.
    pub struct SuspendAction {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// The service.
        pub service: String,
        /// The whole new state: what is absent runs.
        pub suspended: Suspended = Suspended::default(),
    }
}

impl Action {
    /// When it happens.
    #[must_use]
    pub const fn at(&self) -> SimDuration {
        match self {
            Self::Deploy(a) => a.at,
            Self::StopDeployment(a) => a.at,
            Self::DesiredCount(a) => a.at,
            Self::Suspend(a) => a.at,
            Self::UpdateNodeGroup(a) => a.at,
            Self::UpdateNodePool(a) => a.at,
            Self::Promote(a) => a.at,
        }
    }

    /// The service that it is about; absent where it is about nodes.
    #[must_use]
    pub const fn service(&self) -> Option<&String> {
        match self {
            Self::Deploy(a) => Some(&a.service),
            Self::StopDeployment(a) => Some(&a.service),
            Self::DesiredCount(a) => Some(&a.service),
            Self::Suspend(a) => Some(&a.service),
            Self::Promote(a) => Some(&a.service),
            Self::UpdateNodeGroup(_) | Self::UpdateNodePool(_) => None,
        }
    }
}

/// What the files named by a plan hold, read once.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Rows of the rate traces, by the name the plan gives them.
    pub traces: IndexMap<String, std::sync::Arc<[TraceRow]>>,
    /// Instants of the recorded arrivals, by the name the plan gives them.
    pub recordings: IndexMap<String, std::sync::Arc<[crate::kernel::SimTime]>>,
    /// Rows of the traces of Spot availability and of Spot prices, by the name the plan gives them.
    pub spot: IndexMap<String, std::sync::Arc<[SpotRow]>>,
    /// Text of the price file, where the plan names one.
    pub prices: Option<std::sync::Arc<str>>,
    /// Nodes and pods that are there at the start, where the plan names files of them.
    pub state: Option<SharedState>,
}

/// A row of a rate trace: a number of requests in the interval from `at` to the next row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRow {
    /// Start of the interval, in the trace's own time.
    pub at: crate::kernel::SimTime,
    /// Requests in the interval.
    pub requests: f64,
}

/// A row of a trace of Spot availability or of Spot prices: what holds from `at` on.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotRow {
    /// From when, in the trace's own time.
    pub at: crate::kernel::SimTime,
    /// Instances that a pool holds, or dollars an hour.
    pub value: f64,
    /// The zone that it is about, by number from 0; absent for all.
    pub zone: Option<u32>,
    /// The instance type that it is about; absent for all.
    pub instance_type: Option<String>,
}

impl SpotRow {
    /// Whether it is about a pool.
    #[must_use]
    pub fn is_of(&self, instance_type: &str, zone: u32) -> bool {
        self.zone.is_none_or(|z| z == zone) && self.instance_type.as_ref().is_none_or(|t| t == instance_type)
    }
}
