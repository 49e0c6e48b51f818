//! Container instances: what they are, what is reserved on them, who runs there.
//!
//! Rule: an instance registers CPU, memory, GPUs, network interfaces and ports with the cluster. A task is
//! placed only on an ACTIVE instance that has enough of each left, and holds its share until it is STOPPED.
//! A DRAINING instance gets no new tasks. Beside what the ECS agent says stands the life that the Auto
//! Scaling group knows of: an instance may be in service long before its agent has registered.
//!
//! Source: ECS API, ContainerInstance (`status`, `registeredResources`, `remainingResources`); ECS developer
//! guide, `container-instance-draining`; EC2 Auto Scaling user guide, `ec2-auto-scaling-lifecycle`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::SimTime;
use crate::units::{Bytes, CapacityId, Cpu, NodeId, TaskId, ZoneId};

/// What an instance has to give, or what a task takes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// CPU.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Bytes,
    /// GPUs, whole units.
    pub gpus: u32,
    /// Network interfaces for tasks in awsvpc mode.
    pub enis: u32,
}

impl Resources {
    /// Nothing.
    pub const ZERO: Self = Self { cpu: Cpu::ZERO, memory: Bytes::ZERO, gpus: 0, enis: 0 };

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            gpus: self.gpus + other.gpus,
            enis: self.enis + other.enis,
        }
    }

    /// What is left after `other` has been taken; nothing where it takes more than there is.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: Bytes::new(self.memory.get().saturating_sub(other.memory.get())),
            gpus: self.gpus.saturating_sub(other.gpus),
            enis: self.enis.saturating_sub(other.enis),
        }
    }

    /// The first resource of which `need` asks more than there is here; `None` when it fits.
    #[must_use]
    pub fn lacks(self, need: Self) -> Option<Lack> {
        if need.cpu > self.cpu {
            Some(Lack::Cpu)
        } else if need.memory > self.memory {
            Some(Lack::Memory)
        } else if need.gpus > self.gpus {
            Some(Lack::Gpu)
        } else if need.enis > self.enis {
            Some(Lack::Eni)
        } else {
            None
        }
    }
}

/// What an instance has too little of for a task. The names are those of ECS service events and of the
/// `failures` of RunTask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lack {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
    /// GPUs.
    Gpu,
    /// Network interfaces.
    Eni,
    /// A host port is taken.
    Ports,
    /// Another task of the service runs there, and each needs an instance of its own.
    Distinct,
    /// A placement constraint does not hold there.
    Attribute,
}

impl Lack {
    /// Every lack, in the order in which they are looked for.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Memory, Self::Gpu, Self::Eni, Self::Ports, Self::Distinct, Self::Attribute];

    /// The name that ECS gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Gpu => "RESOURCE:GPU",
            Self::Eni => "RESOURCE:ENI",
            Self::Ports => "RESOURCE:PORTS",
            Self::Distinct => "distinctInstance placement constraint unsatisfied",
            Self::Attribute => "ATTRIBUTE",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a task of a service needs of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Amounts that it takes.
    pub resources: Resources,
    /// Fixed ports of the host that it takes; each at most once an instance.
    pub ports: Vec<u16>,
    /// Whether no two tasks of the service may share an instance (`distinctInstance`).
    pub distinct: bool,
}

/// How an instance was bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// On demand.
    #[default]
    OnDemand,
    /// Spot.
    Spot,
}

impl Market {
    /// The name that output prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
        }
    }
}

/// Where an instance is in its life, as its Auto Scaling group knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LifeCycle {
    /// Asked for, and not yet in service.
    Pending,
    /// Prepared and set aside in the warm pool.
    Warmed,
    /// In service.
    InService,
    /// On its way out; a hook may hold it while its tasks leave.
    Terminating,
    /// Gone.
    Terminated,
}

impl LifeCycle {
    /// The name that EC2 Auto Scaling gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Warmed => "Warmed",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }
}

/// The status of a container instance, as ECS lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeStatus {
    /// The agent has not registered yet.
    Registering,
    /// Takes tasks.
    Active,
    /// Takes no more tasks; those of services are replaced elsewhere.
    Draining,
    /// No longer a member of the cluster.
    Inactive,
}

impl NodeStatus {
    /// The name that the ECS API gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registering => "REGISTERING",
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// Why an instance ended, or is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEnd {
    /// The group needs fewer instances.
    ScaleIn,
    /// Zones or the mix of instances are brought back into balance.
    Rebalance,
    /// Spot capacity was taken back.
    SpotInterruption,
    /// It failed a health check, or its hardware broke.
    Failure,
    /// It reached the end of the life that it is allowed.
    MaxLifetime,
    /// It was idle, or its tasks fit elsewhere.
    Idle,
    /// An update of its node group replaced it.
    Updated,
    /// It was no longer as its NodePool said.
    Drifted,
    /// Never became ready.
    LaunchFailed,
}

impl NodeEnd {
    /// The name that output prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScaleIn => "scale_in",
            Self::Rebalance => "rebalance",
            Self::SpotInterruption => "spot_interruption",
            Self::Failure => "failure",
            Self::MaxLifetime => "max_lifetime",
            Self::Idle => "idle",
            Self::Updated => "updated",
            Self::Drifted => "drifted",
            Self::LaunchFailed => "launch_failed",
        }
    }
}

/// The instants of an instance's life; absent until reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTimes {
    /// EC2 gave it: billing begins.
    pub launched: SimTime,
    /// In service of its group for the first time.
    pub in_service: Option<SimTime>,
    /// The agent registered for the first time.
    pub registered: Option<SimTime>,
    /// The latest instant at which draining began.
    pub draining: Option<SimTime>,
    /// Termination began.
    pub terminating: Option<SimTime>,
    /// Gone.
    pub terminated: Option<SimTime>,
}

/// What is asked for when an instance is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The capacity whose group it belongs to.
    pub capacity: CapacityId,
    /// Where it stands.
    pub zone: ZoneId,
    /// The instance type, by its position in the list that the simulation keeps.
    pub kind: u32,
    /// How it was bought.
    pub market: Market,
    /// What its agent registers.
    pub offers: Resources,
}

/// A container instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What was asked for.
    pub spec: NodeSpec,
    /// The life that the group knows of.
    pub life: LifeCycle,
    /// The status that ECS lists.
    pub status: NodeStatus,
    /// Whether the group must not choose it when it scales in.
    pub protected: bool,
    /// What its tasks and guests hold.
    pub reserved: Resources,
    /// Of that, what pods hold that are no tasks of a service.
    pub held: Resources,
    /// How many such pods there are.
    pub guests: u32,
    /// Host ports that its tasks hold, sorted.
    pub ports: Vec<u16>,
    /// Tasks placed on it and not STOPPED, in the order of placement.
    pub tasks: Vec<TaskId>,
    /// Why it ended or is to end.
    pub end: Option<NodeEnd>,
    /// When what happened.
    pub times: NodeTimes,
    /// The number of this launch among those of its capacity, from 0: the key of its draws.
    pub launch: u64,
}

impl Node {
    /// What is left for further tasks.
    #[must_use]
    pub fn remaining(&self) -> Resources {
        self.spec.offers.minus(self.reserved)
    }

    /// Whether tasks may be placed on it at all.
    #[must_use]
    pub fn takes_tasks(&self) -> bool {
        self.status == NodeStatus::Active && matches!(self.life, LifeCycle::Pending | LifeCycle::InService)
    }

    /// True until it is gone.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.life != LifeCycle::Terminated
    }

    /// What it lacks for a task with these amounts and ports, leaving aside who else runs on it.
    #[must_use]
    pub fn lacks(&self, needs: &Needs) -> Option<Lack> {
        let taken = || needs.ports.iter().any(|p| self.ports.binary_search(p).is_ok());
        self.remaining().lacks(needs.resources).or_else(|| taken().then_some(Lack::Ports))
    }

    pub(super) fn reserve(&mut self, task: TaskId, needs: &Needs) {
        self.reserved = self.reserved.plus(needs.resources);
        for &port in &needs.ports {
            if let Err(at) = self.ports.binary_search(&port) {
                self.ports.insert(at, port);
            }
        }
        self.tasks.push(task);
    }

    pub(super) fn release(&mut self, task: TaskId, needs: &Needs) {
        self.reserved = self.reserved.minus(needs.resources);
        self.ports.retain(|p| !needs.ports.contains(p));
        self.tasks.retain(|t| *t != task);
    }
}
