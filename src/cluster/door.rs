//! The only door to the control plane's state.

use super::health::Health;
use super::node_door::NodeStep;
use super::nodes::{Lack, LifeCycle, NodeSpec, NodeStatus, Resources};
use super::state::{Cluster, Deployment, DeploymentOutcome, DeploymentStatus, ServiceState, StopCode, Task, TaskTimes};
use super::task_status::TaskStatus;
use crate::kernel::SimTime;
use crate::units::{CapacityId, NodeId, ServiceId, TaskId, ZoneId};

/// What a controller or the world asks of the control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The service scheduler starts one task of a deployment.
    StartTask {
        /// The service.
        service: ServiceId,
        /// The deployment it belongs to.
        deployment: u32,
        /// What it runs on.
        capacity: CapacityId,
        /// Where. On a capacity of instances a wish: the zone is that of the instance.
        zone: ZoneId,
    },
    /// A task is placed on an instance of its capacity and holds its share of it until it is STOPPED.
    PlaceTask {
        /// The task, with a launch slot and in PROVISIONING.
        task: TaskId,
        /// The instance.
        node: NodeId,
    },
    /// EC2 gives a capacity an instance.
    LaunchNode(NodeSpec),
    /// The next step in the life of an instance.
    Node {
        /// The instance.
        node: NodeId,
        /// The step.
        step: NodeStep,
    },
    /// The service scheduler stops one task (surplus, old revision, unhealthy, rebalancing).
    StopTask {
        /// The task.
        task: TaskId,
        /// `ServiceSchedulerInitiated` or `Unhealthy`.
        code: StopCode,
    },
    /// The world ends a task, whatever the bounds: it exited, ran out of memory, was interrupted or never started.
    TaskEnds {
        /// The task.
        task: TaskId,
        /// Why.
        code: StopCode,
    },
    /// A pod is admitted with other requests than its template has. Before it is placed.
    SizeTask {
        /// The task.
        task: TaskId,
        /// What it takes of an instance.
        size: Resources,
    },
    /// A task got its launch slot.
    Launched {
        /// The task.
        task: TaskId,
    },
    /// A task reaches the next status of its life.
    Advance {
        /// The task.
        task: TaskId,
        /// The status it reaches; later than the present one.
        to: TaskStatus,
    },
    /// A task that has no place yet is to be launched in another zone.
    Rezone {
        /// The task.
        task: TaskId,
        /// The zone.
        zone: ZoneId,
    },
    /// The image pull of a task has ended.
    PullEnded {
        /// The task.
        task: TaskId,
    },
    /// The application of a task answers.
    Ready {
        /// The task.
        task: TaskId,
    },
    /// What the scheduler is to believe of a task's health.
    SetHealth {
        /// The task.
        task: TaskId,
        /// The belief.
        health: Health,
    },
    /// Sets the desired count.
    SetDesired {
        /// The service.
        service: ServiceId,
        /// The count.
        desired: u32,
    },
    /// Shares production traffic among revisions.
    SetTraffic {
        /// The service.
        service: ServiceId,
        /// Revision and share in tenths of a percent.
        shares: Vec<(u32, u32)>,
    },
    /// Creates a deployment; one that is at work is superseded.
    CreateDeployment {
        /// The service.
        service: ServiceId,
        /// The revision it brings.
        revision: u32,
        /// The failed deployment that it rolls back.
        rolls_back: Option<u32>,
    },
    /// Ends the newest deployment.
    EndDeployment {
        /// The service.
        service: ServiceId,
        /// How.
        outcome: DeploymentOutcome,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A task was created, PROVISIONING.
    TaskCreated(TaskId),
    /// A task got its launch slot.
    TaskLaunched(TaskId),
    /// A task reached a status.
    TaskStatus(TaskId, TaskStatus),
    /// A task is to be launched in another zone.
    TaskRezoned(TaskId, ZoneId),
    /// A task's image is there.
    TaskPulled(TaskId),
    /// A task's application answers.
    TaskReady(TaskId),
    /// The belief about a task's health changed.
    TaskHealth(TaskId, Health),
    /// A task is to go, or went, for this reason; its status follows.
    TaskStops(TaskId, StopCode),
    /// The desired count changed from, to.
    Desired(ServiceId, u32, u32),
    /// Production traffic is shared anew.
    Traffic(ServiceId, Vec<(u32, u32)>),
    /// A deployment was created.
    DeploymentCreated(ServiceId, u32),
    /// A deployment ended.
    DeploymentEnded(ServiceId, u32, DeploymentOutcome),
    /// An instance was launched, Pending.
    NodeLaunched(NodeId),
    /// An instance goes on in its life.
    NodeLife(NodeId, LifeCycle),
    /// The status of a container instance changed.
    NodeStatus(NodeId, NodeStatus),
    /// The scale-in protection of an instance changed.
    NodeProtected(NodeId, bool),
    /// Pods that are no tasks came to an instance or left it: so many are there now.
    NodeHeld(NodeId, u32),
    /// A task was placed on an instance.
    TaskPlaced(TaskId, NodeId),
    /// A task that is STOPPED gave back its share of an instance.
    TaskFreed(TaskId, NodeId),
}

/// What a command made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Nothing new.
    Nothing,
    /// A task.
    Task(TaskId),
    /// An instance.
    Node(NodeId),
}

/// A command that the door refused. A refusal is a defect of the caller, never of the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id is unknown.
    #[error("there is no such {0}")]
    Unknown(&'static str),
    /// A task cannot go from one status to the other.
    #[error("a task cannot go from {} to {}", .0.name(), .1.name())]
    Transition(TaskStatus, TaskStatus),
    /// The step was taken before, or the task is not where it could be taken.
    #[error("the task is not where this step could be taken")]
    OutOfTurn,
    /// The start would raise the total above the maximum of this instant.
    #[error("a start would raise the tasks to {total}, above the maximum of {max}")]
    AboveMaximum {
        /// Tasks after the start.
        total: u32,
        /// The bound.
        max: u32,
    },
    /// The stop would lower the healthy tasks below the minimum of this instant.
    #[error("a stop would lower the healthy tasks to {healthy}, below the minimum of {min}")]
    BelowMinimum {
        /// Healthy tasks after the stop.
        healthy: u32,
        /// The bound.
        min: u32,
    },
    /// The shares of traffic do not add up to the whole.
    #[error("the shares of traffic add up to {0} tenths of a percent, not 1000")]
    Shares(u64),
    /// The task has its stop already.
    #[error("the task is stopping already")]
    AlreadyStopping,
    /// The deployment is not at work.
    #[error("the deployment is not in progress")]
    NotInProgress,
    /// The task does not fit on the instance.
    #[error("the instance has no room for the task: {0}")]
    NoRoom(Lack),
}

impl Cluster {
    /// Carries out a command, or refuses it and changes nothing.
    ///
    /// # Errors
    /// A [`Refusal`] when the command would break an invariant: a status that goes backwards, more
    /// tasks than the maximum percent allows, fewer healthy tasks than the minimum percent demands,
    /// two stops of one task, a task on an
    /// instance that has no room for it, an unknown id.
    pub fn apply(&mut self, now: SimTime, command: Command, facts: &mut Vec<Fact>) -> Result<Made, Refusal> {
        match command {
            Command::StartTask { service, deployment, capacity, zone } => {
                return self.start_task(now, service, deployment, capacity, zone, facts).map(Made::Task);
            }
            Command::PlaceTask { task, node } => self.place_task(task, node, facts)?,
            Command::LaunchNode(spec) => return self.launch_node(now, spec, facts).map(Made::Node),
            Command::Node { node, step } => self.step_node(now, node, step, facts)?,
            Command::StopTask { task, code } => {
                let t = self.known(task)?;
                if t.stop_code.is_some() {
                    return Err(Refusal::AlreadyStopping);
                }
                if t.status == TaskStatus::Running && t.health == Health::Healthy {
                    let service = &self.services[t.service.index()];
                    let min = service.min_healthy();
                    // Between fleets the floor holds for those that serve, too: an idle one is no replacement.
                    let serves = |t: &Task| !service.fleets || service.share_of(t.revision) > 0;
                    let all = self.healthy(service, |_| true) - 1;
                    let healthy = if serves(t) { all.min(self.healthy(service, serves) - 1) } else { all };
                    if healthy < min {
                        return Err(Refusal::BelowMinimum { healthy, min });
                    }
                }
                self.mark_stop(now, task, code, facts);
            }
            Command::TaskEnds { task, code } => {
                if self.known(task)?.stop_code.is_some() {
                    return Err(Refusal::AlreadyStopping);
                }
                self.mark_stop(now, task, code, facts);
            }
            Command::SizeTask { task, size } => {
                let t = self.known(task)?;
                if t.status != TaskStatus::Provisioning || t.node.is_some() {
                    return Err(Refusal::OutOfTurn);
                }
                self.tasks[task.index()].size = Some(size);
            }
            Command::Launched { task } => {
                let t = self.known(task)?;
                if t.status != TaskStatus::Provisioning || t.times.launched.is_some() {
                    return Err(Refusal::OutOfTurn);
                }
                self.tasks[task.index()].times.launched = Some(now);
                facts.push(Fact::TaskLaunched(task));
            }
            Command::Advance { task, to } => self.advance(now, task, to, facts)?,
            Command::Rezone { task, zone } => {
                let t = self.known(task)?;
                if zone.0 >= self.zones {
                    return Err(Refusal::Unknown("zone"));
                }
                if t.status != TaskStatus::Provisioning || t.stop_code.is_some() {
                    return Err(Refusal::OutOfTurn);
                }
                self.tasks[task.index()].zone = zone;
                facts.push(Fact::TaskRezoned(task, zone));
            }
            Command::PullEnded { task } => {
                let t = self.known(task)?;
                if t.status != TaskStatus::Activating || t.times.pull_stopped.is_some() {
                    return Err(Refusal::OutOfTurn);
                }
                self.tasks[task.index()].times.pull_stopped = Some(now);
                facts.push(Fact::TaskPulled(task));
            }
            Command::Ready { task } => {
                let t = self.known(task)?;
                if t.status != TaskStatus::Running || t.times.ready.is_some() {
                    return Err(Refusal::OutOfTurn);
                }
                self.tasks[task.index()].times.ready = Some(now);
                facts.push(Fact::TaskReady(task));
            }
            Command::SetHealth { task, health } => {
                self.known(task)?;
                let t = &mut self.tasks[task.index()];
                if t.health != health && t.status != TaskStatus::Stopped {
                    t.health = health;
                    if health == Health::Healthy && t.times.healthy.is_none() {
                        t.times.healthy = Some(now);
                    }
                    facts.push(Fact::TaskHealth(task, health));
                }
            }
            Command::SetDesired { service, desired } => {
                let s = self.services.get_mut(service.index()).ok_or(Refusal::Unknown("service"))?;
                if s.desired != desired {
                    let before = std::mem::replace(&mut s.desired, desired);
                    facts.push(Fact::Desired(service, before, desired));
                }
            }
            Command::SetTraffic { service, shares } => {
                let s = self.services.get_mut(service.index()).ok_or(Refusal::Unknown("service"))?;
                if shares.iter().any(|(r, _)| !s.deployments.iter().any(|d| d.revision == *r)) {
                    return Err(Refusal::Unknown("revision"));
                }
                let sum = shares.iter().map(|(_, share)| u64::from(*share)).sum();
                if sum != 1000 {
                    return Err(Refusal::Shares(sum));
                }
                if s.traffic != shares {
                    s.traffic.clone_from(&shares);
                    facts.push(Fact::Traffic(service, shares));
                }
            }
            Command::CreateDeployment { service, revision, rolls_back } => {
                self.create_deployment(now, service, revision, rolls_back, facts)?;
            }
            Command::EndDeployment { service, outcome } => {
                let s = self.services.get_mut(service.index()).ok_or(Refusal::Unknown("service"))?;
                let d = s.deployments.last_mut().ok_or(Refusal::Unknown("deployment"))?;
                if d.outcome != DeploymentOutcome::InProgress {
                    return Err(Refusal::NotInProgress);
                }
                d.outcome = outcome.clone();
                d.ended = Some(now);
                facts.push(Fact::DeploymentEnded(service, d.id, outcome));
            }
        }
        Ok(Made::Nothing)
    }

    fn known(&self, task: TaskId) -> Result<&Task, Refusal> {
        self.tasks.get(task.index()).ok_or(Refusal::Unknown("task"))
    }

    fn healthy(&self, service: &ServiceState, of: impl Fn(&Task) -> bool) -> u32 {
        let counts = |id: &&TaskId| {
            let t = &self.tasks[id.index()];
            of(t) && t.status == TaskStatus::Running && t.stop_code.is_none() && t.health == Health::Healthy
        };
        service.tasks.iter().filter(counts).count() as u32
    }

    /// Tasks that count against the maximum, beside one more of this revision.
    fn total(&self, service: &ServiceState, revision: u32) -> u32 {
        let counts = |id: &&TaskId| {
            let t = &self.tasks[id.index()];
            let elsewhere = service.daemon && t.node.is_some_and(|n| !self.nodes[n.index()].takes_tasks());
            (!service.fleets || t.revision == revision)
                && (service.stopping_counts || t.stop_code.is_none())
                && !elsewhere
        };
        service.tasks.iter().filter(counts).count() as u32
    }

    fn start_task(
        &mut self,
        now: SimTime,
        service: ServiceId,
        deployment: u32,
        capacity: CapacityId,
        zone: ZoneId,
        facts: &mut Vec<Fact>,
    ) -> Result<TaskId, Refusal> {
        let s = self.services.get(service.index()).ok_or(Refusal::Unknown("service"))?;
        let d = s.deployments.get(deployment as usize).ok_or(Refusal::Unknown("deployment"))?;
        if capacity.index() >= self.backing.len() {
            return Err(Refusal::Unknown("capacity"));
        }
        if zone.0 >= self.zones {
            return Err(Refusal::Unknown("zone"));
        }
        let total = self.total(s, d.revision) + 1;
        let max = s.max_total();
        if total > max && !s.standalone {
            return Err(Refusal::AboveMaximum { total, max });
        }
        let id = TaskId::from(self.tasks.len());
        self.tasks.push(Task {
            id,
            service,
            deployment,
            revision: d.revision,
            capacity,
            zone,
            node: None,
            status: TaskStatus::Provisioning,
            stop_code: None,
            health: Health::Unknown,
            times: TaskTimes { requested: now, ..TaskTimes::default() },
            launch: s.launches,
            size: None,
        });
        let s = &mut self.services[service.index()];
        s.launches += 1;
        s.tasks.push(id);
        facts.push(Fact::TaskCreated(id));
        Ok(id)
    }

    fn mark_stop(&mut self, now: SimTime, task: TaskId, code: StopCode, facts: &mut Vec<Fact>) {
        let t = &mut self.tasks[task.index()];
        t.stop_code = Some(code);
        t.times.stopping = Some(now);
        facts.push(Fact::TaskStops(task, code));
    }

    fn advance(&mut self, now: SimTime, task: TaskId, to: TaskStatus, facts: &mut Vec<Fact>) -> Result<(), Refusal> {
        let t = self.known(task)?;
        let from = t.status;
        // The way up is walked step by step; the way out may skip steps, and needs a stop.
        let allowed = match to {
            TaskStatus::Provisioning => false,
            TaskStatus::Pending => {
                let placed = t.node.is_some() || !self.has_nodes(t.capacity);
                from == TaskStatus::Provisioning && t.stop_code.is_none() && t.times.launched.is_some() && placed
            }
            TaskStatus::Activating => from == TaskStatus::Pending && t.stop_code.is_none(),
            TaskStatus::Running => {
                from == TaskStatus::Activating && t.stop_code.is_none() && t.times.pull_stopped.is_some()
            }
            _ => to > from && t.stop_code.is_some(),
        };
        if !allowed {
            return Err(Refusal::Transition(from, to));
        }
        let t = &mut self.tasks[task.index()];
        t.status = to;
        match to {
            TaskStatus::Pending => t.times.pending = Some(now),
            TaskStatus::Activating => t.times.pull_started = Some(now),
            TaskStatus::Running => t.times.started = Some(now),
            TaskStatus::Deprovisioning => t.times.execution_stopped = Some(now),
            TaskStatus::Stopped => {
                t.times.stopped = Some(now);
                if t.times.execution_stopped.is_none() {
                    t.times.execution_stopped = Some(now);
                }
                let service = t.service;
                self.services[service.index()].tasks.retain(|&id| id != task);
            }
            _ => {}
        }
        facts.push(Fact::TaskStatus(task, to));
        if to == TaskStatus::Stopped {
            self.release_place(task, facts);
        }
        Ok(())
    }

    fn create_deployment(
        &mut self,
        now: SimTime,
        service: ServiceId,
        revision: u32,
        rolls_back: Option<u32>,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Refusal> {
        let s = self.services.get_mut(service.index()).ok_or(Refusal::Unknown("service"))?;
        for d in &mut s.deployments {
            d.status = DeploymentStatus::Active;
            if d.outcome == DeploymentOutcome::InProgress {
                d.outcome = DeploymentOutcome::Superseded;
                d.ended = Some(now);
                facts.push(Fact::DeploymentEnded(service, d.id, DeploymentOutcome::Superseded));
            }
        }
        let id = s.deployments.len() as u32;
        s.deployments.push(Deployment {
            id,
            revision,
            status: DeploymentStatus::Primary,
            outcome: DeploymentOutcome::InProgress,
            created: now,
            ended: None,
            rolls_back,
        });
        facts.push(Fact::DeploymentCreated(service, id));
        Ok(())
    }

    /// Checks every invariant of the whole state; for tests and the check mode.
    ///
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub fn check(&self) -> Result<(), String> {
        for s in &self.services {
            let listed = s.tasks.iter().all(|t| {
                let t = &self.tasks[t.index()];
                t.service == s.id && t.status != TaskStatus::Stopped
            });
            if !listed {
                return Err(format!("service {} lists a task that is stopped or not its own", s.id.0));
            }
            let alive = self.tasks.iter().filter(|t| t.service == s.id && t.status != TaskStatus::Stopped).count();
            if alive != s.tasks.len() {
                return Err(format!("service {} lists {} tasks, {alive} are alive", s.id.0, s.tasks.len()));
            }
            let shared: u64 = s.traffic.iter().map(|(_, share)| u64::from(*share)).sum();
            if shared != 1000 {
                return Err(format!("service {} shares {shared} tenths of a percent of its traffic", s.id.0));
            }
            let at_work = s.deployments.iter().filter(|d| d.outcome == DeploymentOutcome::InProgress).count();
            let last_only = s.deployments.iter().rev().skip(1).all(|d| d.outcome != DeploymentOutcome::InProgress);
            if at_work > 1 || !last_only {
                return Err(format!("service {} has {at_work} deployments at work", s.id.0));
            }
        }
        for t in &self.tasks {
            let times = &t.times;
            let order = [
                Some(times.requested),
                times.launched,
                times.pending,
                times.pull_started,
                times.pull_stopped,
                times.started,
                times.ready,
            ];
            let mut last = SimTime::ZERO;
            for at in order.into_iter().flatten() {
                if at < last {
                    return Err(format!("task {} goes back in time", t.id.0));
                }
                last = at;
            }
            if (t.status > TaskStatus::Running) != (t.status > TaskStatus::Running && t.stop_code.is_some()) {
                return Err(format!("task {} left RUNNING without a reason", t.id.0));
            }
        }
        self.check_nodes()
    }
}
