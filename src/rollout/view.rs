//! What the service scheduler sees, remembers and commands: the data of [`super::scheduler`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::circuit_breaker::BreakerMemory;
use super::deployment_alarms::AlarmsMemory;
use super::rolling::Bounds;
use super::stages::{Stage, Wait};
use super::throttle::ThrottleMemory;
use crate::cluster::health::Health;
use crate::cluster::task_status::TaskStatus;
use crate::kernel::SimTime;
use crate::telemetry::alarm::AlarmState;
use crate::units::{CapacityId, NodeId, TaskId, ZoneId};

/// What the scheduler sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerObservation {
    /// Now.
    pub now: SimTime,
    /// The desired count; of a DAEMON service the number of ACTIVE instances in `nodes`.
    pub desired: u32,
    /// The deployments in the order of creation; the last one is PRIMARY.
    pub deployments: Vec<DeploymentView>,
    /// The tasks. STOPPED ones are ignored.
    pub tasks: Vec<TaskView>,
    /// Tasks that may still enter PROVISIONING.
    pub provisioning_slots: u32,
    /// Launches that the service's rate still allows now.
    pub launch_tokens: u32,
    /// The deployment alarms, in the order of their names; empty when they are off.
    pub alarms: Vec<AlarmState>,
    /// Container instances: those on which tasks of the service stand; for a DAEMON service every one that
    /// meets its constraints. Empty on Fargate.
    #[serde(default)]
    pub nodes: Vec<NodeView>,
    /// For how many more tasks of the service existing instances have room, by capacity and zone. A capacity
    /// that is not named needs no instances.
    #[serde(default)]
    pub room: Vec<ZoneRoom>,
}

/// A container instance as the scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its capacity.
    pub capacity: CapacityId,
    /// Its zone.
    pub zone: ZoneId,
    /// ACTIVE, not DRAINING.
    pub active: bool,
    /// Tasks of other services on it that are not STOPPED.
    pub others: u32,
    /// CPU left on it, in 1/128,000 vCPU.
    pub cpu_left: u64,
    /// Memory left on it, in bytes.
    pub memory_left: u64,
}

/// Room on existing instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRoom {
    /// The capacity.
    pub capacity: CapacityId,
    /// The zone.
    pub zone: ZoneId,
    /// Tasks of the service for which there is room; a number that is enough may stand for more.
    pub tasks: u32,
}

/// How far a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RolloutState {
    /// At work.
    InProgress,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Another deployment took its place before it was done.
    Superseded,
}

/// A deployment as the scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its number, higher than those of earlier ones.
    pub id: u32,
    /// The revision it brings.
    pub revision: u32,
    /// How far it is.
    pub state: RolloutState,
    /// True when it rolls another one back.
    pub rollback: bool,
    /// When it began.
    pub started_at: SimTime,
}

/// A task as the scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its revision.
    pub revision: u32,
    /// What it runs on.
    pub capacity: CapacityId,
    /// Where.
    pub zone: ZoneId,
    /// Its last status.
    pub status: TaskStatus,
    /// True once it is to stop, whatever its last status says.
    pub stopping: bool,
    /// HEALTHY when it counts as healthy, UNHEALTHY when it is to be replaced, else UNKNOWN
    /// (grace period included): [`super::health::verdict`].
    pub health: Health,
    /// The instance it stands on; none on Fargate and before it is placed.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// Its instance is DRAINING.
    #[serde(default)]
    pub draining: bool,
    /// It is protected from scale-in: [`super::protection`].
    #[serde(default)]
    pub protected: bool,
}

/// What the scheduler remembers of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerMemory {
    /// The newest deployment.
    pub deployment: Option<DeploymentMemory>,
    /// The restart throttle.
    pub throttle: ThrottleMemory,
    /// The revision of the last deployment that completed.
    pub last_completed: Option<u32>,
    /// Zones are being balanced.
    pub rebalance: Option<RebalanceMemory>,
}

/// What the scheduler remembers of the newest deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentMemory {
    /// Its number.
    pub id: u32,
    /// Its revision.
    pub revision: u32,
    /// The circuit breaker.
    pub breaker: BreakerMemory,
    /// The deployment alarms.
    pub alarms: AlarmsMemory,
    /// Old revisions and how many tasks of each are still meant to run.
    pub old: Vec<(u32, u32)>,
    /// Since when all that it takes to complete is there: the bake time runs.
    pub done_since: Option<SimTime>,
    /// It was said to be stuck.
    pub stuck: bool,
}

/// Tasks started beyond the desired count to balance zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceMemory {
    /// The capacity whose zones are balanced.
    pub capacity: CapacityId,
    /// How many.
    pub extra: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum SchedulerCommand {
    /// Start a task.
    Start {
        /// The deployment that it belongs to.
        deployment: u32,
        /// Its revision.
        revision: u32,
        /// What it runs on.
        capacity: CapacityId,
        /// Where. With instances a wish, except for the balance of zones.
        zone: ZoneId,
        /// The instance, for a task of a DAEMON service.
        node: Option<NodeId>,
        /// Why.
        reason: StartReason,
    },
    /// Stop a task.
    Stop {
        /// The task.
        task: TaskId,
        /// Why.
        reason: StopReason,
    },
    /// The newest deployment is done.
    CompleteDeployment {
        /// Its number.
        deployment: u32,
        /// True when early success completed it.
        early: bool,
    },
    /// The newest deployment has failed.
    FailDeployment {
        /// Its number.
        deployment: u32,
        /// Why.
        reason: FailReason,
    },
    /// A deployment of an earlier revision is to follow the failed one.
    Rollback {
        /// The failed deployment.
        deployment: u32,
        /// The last revision that completed.
        revision: u32,
    },
    /// The newest deployment can neither start nor stop anything. Said once each time it happens.
    Stuck {
        /// Its number.
        deployment: u32,
        /// The bounds that leave no room.
        bounds: Bounds,
    },
    /// A deployment with a second fleet enters a stage.
    EnterStage {
        /// Its number.
        deployment: u32,
        /// The stage.
        stage: Stage,
    },
    /// Production traffic is shared between two revisions.
    Shift {
        /// The deployment.
        deployment: u32,
        /// The revision that gets the share.
        revision: u32,
        /// The revision that gets the rest.
        other: u32,
        /// The share, in tenths of a percent.
        tenths: u32,
    },
    /// What a deployment with a second fleet waits for.
    Waits {
        /// For this.
        on: Wait,
    },
    /// Tasks are missing or too many, and something keeps them from being started or stopped now.
    Held {
        /// How many.
        tasks: u32,
        /// By what.
        by: Hold,
    },
    /// Time alone may change something at this instant.
    Wake {
        /// The instant.
        at: SimTime,
    },
}

/// Why a task starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReason {
    /// Fewer run than desired.
    BelowDesired,
    /// A deployment brings its revision.
    NewRevision,
    /// An unhealthy task is to be replaced.
    ReplaceUnhealthy,
    /// An old task was lost during a deployment.
    ReplaceOld,
    /// For the balance of zones.
    Rebalance,
    /// An instance has no task of the DAEMON service.
    Daemon,
}

/// Why a task stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// More run than desired.
    Surplus,
    /// Its revision is being replaced.
    OldRevision,
    /// It failed its health checks.
    Unhealthy,
    /// For the balance of zones.
    Rebalance,
    /// Its instance is DRAINING.
    Draining,
}

/// Why a deployment failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum FailReason {
    /// The circuit breaker opened.
    CircuitBreaker {
        /// Failures.
        failures: u32,
        /// Failures that it takes.
        threshold: u32,
    },
    /// A deployment alarm stands.
    Alarm {
        /// Its position in the list of names.
        alarm: usize,
    },
    /// A hook failed.
    Hook {
        /// Its position in the list of hooks.
        hook: usize,
        /// It did not answer in time.
        timed_out: bool,
    },
    /// A stage, or the whole deployment, took longer than it may.
    TooLong {
        /// The stage.
        stage: Stage,
    },
    /// CodeDeploy waited too long for a fleet that is steady.
    NotSteady {
        /// The stage.
        stage: Stage,
    },
    /// Nobody rerouted the traffic in time.
    NotRerouted,
}

/// What keeps tasks from being started or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Hold {
    /// The maximum percent.
    Maximum {
        /// Tasks that there may be.
        max_total: u32,
    },
    /// The service's launch rate.
    LaunchRate,
    /// The quota of tasks in PROVISIONING.
    Provisioning,
    /// The restart throttle.
    Throttle {
        /// Until when.
        until: SimTime,
    },
    /// The deployment failed and was not rolled back.
    Failed,
    /// Task scale-in protection.
    Protection,
}

/// Something that happened to a task, for the breaker and the throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEvent {
    /// Now.
    pub now: SimTime,
    /// The task's revision.
    pub revision: u32,
    /// What happened.
    pub kind: TaskEventKind,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum TaskEventKind {
    /// It reached RUNNING.
    Running,
    /// It counts as healthy for the first time.
    Healthy,
    /// It stopped before RUNNING.
    FailedToStart {
        /// When it was launched.
        launched: SimTime,
    },
    /// It exited after RUNNING without ever having counted as healthy.
    ExitedBeforeHealthy,
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BelowDesired => "fewer tasks than desired",
            Self::NewRevision => "deployment of a new revision",
            Self::ReplaceUnhealthy => "replaces an unhealthy task",
            Self::ReplaceOld => "replaces a lost task of the old revision",
            Self::Rebalance => "balances the zones",
            Self::Daemon => "one task on each instance",
        })
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Surplus => "more tasks than desired",
            Self::OldRevision => "its revision is being replaced",
            Self::Unhealthy => "failed health checks",
            Self::Rebalance => "balances the zones",
            Self::Draining => "its instance is draining",
        })
    }
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CircuitBreaker { failures, threshold } => {
                write!(f, "circuit breaker: {failures} failed tasks (threshold {threshold})")
            }
            Self::Alarm { alarm } => write!(f, "deployment alarm {alarm} is in ALARM"),
            Self::Hook { hook, timed_out: false } => write!(f, "hook {hook} failed"),
            Self::Hook { hook, timed_out: true } => write!(f, "hook {hook} did not answer in time"),
            Self::TooLong { stage } => write!(f, "the time of {} is over", stage.name()),
            Self::NotSteady { stage } => write!(f, "no steady fleet in time during {}", stage.event()),
            Self::NotRerouted => f.write_str("nobody rerouted the traffic in time"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maximum { max_total } => write!(f, "maximum of {max_total} tasks"),
            Self::LaunchRate => f.write_str("launch rate of the service"),
            Self::Provisioning => f.write_str("quota of tasks in PROVISIONING"),
            Self::Throttle { until } => write!(f, "restart throttle until {} s", until.as_secs_f64()),
            Self::Failed => f.write_str("the deployment failed and was not rolled back"),
            Self::Protection => f.write_str("task scale-in protection"),
        }
    }
}
