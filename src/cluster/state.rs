//! What the control plane knows: services, deployments, tasks.

use serde::{Deserialize, Serialize};

use super::health::Health;
use super::nodes::{Needs, Node, Resources};
use super::task_status::TaskStatus;
use crate::kernel::SimTime;
use crate::units::{CapacityId, Cpu, NodeId, ServiceId, TaskId, ZoneId};

/// Why a task stopped. Source: ECS API, Task.stopCode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StopCode {
    /// It stopped before it was RUNNING.
    TaskFailedToStart,
    /// An essential container exited by itself.
    EssentialContainerExited,
    /// It was killed because it used more memory than its limit.
    OutOfMemory,
    /// The service scheduler stopped it: surplus, old revision, rebalancing.
    ServiceSchedulerInitiated,
    /// The service scheduler replaced it because its health checks failed.
    Unhealthy,
    /// Spot capacity was taken back.
    SpotInterruption,
    /// Its instance was terminated.
    TerminationNotice,
    /// It was evicted from its node (Kubernetes).
    Evicted,
    /// It made room for a pod of a higher priority (Kubernetes).
    Preempted,
    /// The machine under it was lost.
    HostLost,
}

impl StopCode {
    /// The name that output prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::Unhealthy => "ServiceSchedulerInitiated (unhealthy)",
            Self::SpotInterruption => "SpotInterruption",
            Self::TerminationNotice => "TerminationNotice",
            Self::Evicted => "Evicted",
            Self::Preempted => "Preempted",
            Self::HostLost => "TerminationNotice (host lost)",
        }
    }
}

/// The instants of a task's life; absent until reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTimes {
    /// Asked for by the scheduler.
    pub requested: SimTime,
    /// Got a launch slot of the quotas.
    pub launched: Option<SimTime>,
    /// Found capacity and its network interface: PENDING.
    pub pending: Option<SimTime>,
    /// Image pull began.
    pub pull_started: Option<SimTime>,
    /// Image pull ended.
    pub pull_stopped: Option<SimTime>,
    /// RUNNING.
    pub started: Option<SimTime>,
    /// The application answers.
    pub ready: Option<SimTime>,
    /// Counted as healthy for the first time.
    pub healthy: Option<SimTime>,
    /// Began to leave.
    pub stopping: Option<SimTime>,
    /// Its containers ended.
    pub execution_stopped: Option<SimTime>,
    /// STOPPED.
    pub stopped: Option<SimTime>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// The deployment that it belongs to.
    pub deployment: u32,
    /// The revision of the task definition.
    pub revision: u32,
    /// What it runs on.
    pub capacity: CapacityId,
    /// Where it runs, or is wished to run until it is placed.
    pub zone: ZoneId,
    /// The instance it was placed on; absent on Fargate and before it is placed.
    pub node: Option<NodeId>,
    /// Its last status.
    pub status: TaskStatus,
    /// Why it stops, once it does.
    pub stop_code: Option<StopCode>,
    /// What the scheduler believes of it.
    pub health: Health,
    /// When what happened.
    pub times: TaskTimes,
    /// The number of this launch among those of its service, from 0: the key of its draws.
    pub launch: u64,
    /// What it takes of an instance, where that is not what tasks of its service take.
    pub size: Option<Resources>,
}

/// The status of a deployment as ECS lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentStatus {
    /// The newest one.
    Primary,
    /// An older one whose tasks still run.
    Active,
    /// An older one without tasks.
    Inactive,
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeploymentOutcome {
    /// Still at it.
    InProgress,
    /// All new tasks run and are healthy, old ones are gone.
    Completed,
    /// Failed, for this reason.
    Failed(String),
    /// Another deployment took its place.
    Superseded,
}

/// A deployment of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Its number within the service, from 0.
    pub id: u32,
    /// The revision it brings.
    pub revision: u32,
    /// As ECS lists it.
    pub status: DeploymentStatus,
    /// How it ended.
    pub outcome: DeploymentOutcome,
    /// When it was created.
    pub created: SimTime,
    /// When it ended.
    pub ended: Option<SimTime>,
    /// The failed deployment that this one rolls back, if it is a rollback.
    pub rolls_back: Option<u32>,
}

/// A service as the control plane knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceState {
    /// Its id.
    pub id: ServiceId,
    /// Wanted tasks.
    pub desired: u32,
    /// Lower bound of healthy tasks, percent.
    pub minimum_healthy_percent: u32,
    /// Upper bound of tasks, percent.
    pub maximum_percent: u32,
    /// Whether tasks that stop count against the upper bound.
    pub stopping_counts: bool,
    /// Whether revisions stand side by side in fleets of their own: the upper bound is that of each revision.
    pub fleets: bool,
    /// The bounds of a Kubernetes workload, instead of the percents.
    pub pods: Option<PodBounds>,
    /// Whether its tasks are started one by one (RunTask): no bound holds for their number, and nothing replaces them.
    pub standalone: bool,
    /// Whether it keeps one task on each ACTIVE instance (DAEMON): tasks on others do not count against the upper bound.
    pub daemon: bool,
    /// Who gets production traffic: revision and share in tenths of a percent; the shares add up to 1000.
    pub traffic: Vec<(u32, u32)>,
    /// Deployments in the order of their creation; the last is PRIMARY.
    pub deployments: Vec<Deployment>,
    /// Tasks that are not STOPPED, in the order of creation.
    pub tasks: Vec<TaskId>,
    /// Launches so far.
    pub launches: u64,
    /// vCPUs that one task reserves.
    pub task_cpu: Cpu,
    /// What one task needs of an instance.
    pub needs: Needs,
}

/// The bounds that a Deployment keeps while its controller creates and deletes pods. Its pods are placed on any node.
/// Source: apps/v1 RollingUpdateDeployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodBounds {
    /// Pods above the replicas; pods that terminate do not count.
    pub max_surge: u32,
    /// Pods below the replicas that may be missing.
    pub max_unavailable: u32,
}

/// The instances of a capacity that has some.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backing {
    /// Those that are not gone, in the order of their launch.
    pub(super) nodes: Vec<NodeId>,
    /// Launches so far.
    pub(super) launches: u64,
}

impl ServiceState {
    /// The newest deployment.
    #[must_use]
    pub fn primary(&self) -> Option<&Deployment> {
        self.deployments.last()
    }

    /// True while the newest deployment is at work.
    #[must_use]
    pub fn deploying(&self) -> bool {
        self.primary().is_some_and(|d| d.outcome == DeploymentOutcome::InProgress)
    }

    /// The share of production traffic that a revision gets by weight, in tenths of a percent.
    #[must_use]
    pub fn share_of(&self, revision: u32) -> u32 {
        self.traffic.iter().filter(|(r, _)| *r == revision).map(|(_, share)| share).sum()
    }

    /// Healthy tasks that must remain: `ceil(desired * minimum / 100)`.
    #[must_use]
    pub fn min_healthy(&self) -> u32 {
        if let Some(bounds) = self.pods {
            return self.desired.saturating_sub(bounds.max_unavailable);
        }
        (u64::from(self.desired) * u64::from(self.minimum_healthy_percent)).div_ceil(100) as u32
    }

    /// Tasks that may exist, of each revision when there are fleets: `floor(desired * maximum / 100)`.
    #[must_use]
    pub fn max_total(&self) -> u32 {
        if let Some(bounds) = self.pods {
            return self.desired.saturating_add(bounds.max_surge);
        }
        (u64::from(self.desired) * u64::from(self.maximum_percent) / 100) as u32
    }
}

/// The state of the control plane.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(super) services: Vec<ServiceState>,
    pub(super) tasks: Vec<Task>,
    pub(super) nodes: Vec<Node>,
    pub(super) zones: u32,
    /// By capacity; absent where tasks need no instance.
    pub(super) backing: Vec<Option<Backing>>,
}

impl Cluster {
    /// An empty cluster.
    #[must_use]
    pub fn new(zones: u32, capacities: u32) -> Self {
        let backing = vec![None; capacities as usize];
        Self { services: Vec::new(), tasks: Vec::new(), nodes: Vec::new(), zones, backing }
    }

    /// Adds a service without tasks, with its first deployment completed.
    pub fn add_service(
        &mut self,
        desired: u32,
        minimum_healthy_percent: u32,
        maximum_percent: u32,
        stopping_counts: bool,
        task_cpu: Cpu,
    ) -> ServiceId {
        let id = ServiceId::from(self.services.len());
        self.services.push(ServiceState {
            id,
            desired,
            minimum_healthy_percent,
            maximum_percent,
            stopping_counts,
            fleets: false,
            pods: None,
            standalone: false,
            daemon: false,
            traffic: vec![(0, 1000)],
            deployments: vec![Deployment {
                id: 0,
                revision: 0,
                status: DeploymentStatus::Primary,
                outcome: DeploymentOutcome::Completed,
                created: SimTime::ZERO,
                ended: Some(SimTime::ZERO),
                rolls_back: None,
            }],
            tasks: Vec::new(),
            launches: 0,
            task_cpu,
            needs: Needs::default(),
        });
        id
    }

    /// Says what a task of a service needs of an instance. Only before its first task is placed.
    pub fn set_needs(&mut self, id: ServiceId, needs: Needs) {
        if let Some(s) = self.services.get_mut(id.index()) {
            s.needs = needs;
        }
    }

    /// Says that tasks of a capacity run on instances. Only before its first task.
    pub fn use_nodes(&mut self, id: CapacityId) {
        if let Some(b) = self.backing.get_mut(id.index()) {
            *b = Some(Backing::default());
        }
    }

    /// Whether tasks of a capacity run on instances.
    #[must_use]
    pub fn has_nodes(&self, id: CapacityId) -> bool {
        self.backing.get(id.index()).is_some_and(Option::is_some)
    }

    /// One instance, gone or not.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// How many instances were ever launched.
    #[must_use]
    pub fn nodes_launched(&self) -> usize {
        self.nodes.len()
    }

    /// The instances of a capacity that are not gone, in the order of their launch.
    pub fn nodes_of(&self, id: CapacityId) -> impl Iterator<Item = &Node> {
        let backing = self.backing.get(id.index()).and_then(Option::as_ref);
        backing.into_iter().flat_map(|b| &b.nodes).map(|n| &self.nodes[n.index()])
    }

    /// The tasks on an instance that are not STOPPED, in the order of placement.
    pub fn tasks_on(&self, id: NodeId) -> impl Iterator<Item = &Task> {
        self.nodes[id.index()].tasks.iter().map(|t| &self.tasks[t.index()])
    }

    /// Says that the deployments of a service set a second fleet beside the first one.
    pub fn use_fleets(&mut self, id: ServiceId) {
        if let Some(s) = self.services.get_mut(id.index()) {
            s.fleets = true;
        }
    }

    /// Says that the tasks of a service are pods, kept within these bounds. To be said again when they change.
    pub fn run_pods(&mut self, id: ServiceId, bounds: PodBounds) {
        if let Some(s) = self.services.get_mut(id.index()) {
            s.pods = Some(bounds);
            s.stopping_counts = false;
        }
    }

    /// Says that the tasks of a service are started one by one, by RunTask.
    pub fn run_standalone(&mut self, id: ServiceId) {
        if let Some(s) = self.services.get_mut(id.index()) {
            s.standalone = true;
        }
    }

    /// Says that a service keeps one task on each ACTIVE instance.
    pub fn run_daemon(&mut self, id: ServiceId) {
        if let Some(s) = self.services.get_mut(id.index()) {
            s.daemon = true;
        }
    }

    /// The services in the order of the plan.
    #[must_use]
    pub fn services(&self) -> &[ServiceState] {
        &self.services
    }

    /// One service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> &ServiceState {
        &self.services[id.index()]
    }

    /// One task, stopped or not.
    #[must_use]
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.index()]
    }

    /// How many tasks were ever created.
    #[must_use]
    pub fn tasks_created(&self) -> usize {
        self.tasks.len()
    }

    /// The tasks of a service that are not STOPPED, in the order of creation.
    pub fn tasks_of(&self, id: ServiceId) -> impl Iterator<Item = &Task> {
        self.services[id.index()].tasks.iter().map(|t| &self.tasks[t.index()])
    }

    /// How many tasks of a service satisfy `test`.
    pub fn count(&self, id: ServiceId, mut test: impl FnMut(&Task) -> bool) -> u32 {
        self.tasks_of(id).filter(|t| test(t)).count() as u32
    }
}
