//! Where tasks may stand on container instances: network mode and ports of the task, placement
//! constraints and strategies, scheduling strategy and task protection of the service.

use crate::kernel::SimDuration;

words! {
    /// How the containers of a task are wired. Source: ECS API, TaskDefinition `networkMode`.
    pub enum NetworkMode {
        /// A network interface and an address of the task's own; the only one on Fargate.
        Awsvpc = "awsvpc",
        /// Docker's bridge on the instance: ports of the instance are mapped to the containers.
        Bridge = "bridge",
        /// The instance's own network: a port is taken on the instance.
        Host = "host",
        /// No network.
        None = "none",
    }
}

table! {
    /// A port of a task. Source: ECS API, PortMapping.
    pub struct PortMapping {
        /// The port inside the container, 1 to 65535.
        pub container_port: u32,
        /// The port on the instance: 0 for a dynamic one (bridge). With awsvpc and host it is the container port.
        pub host_port: u32 = 0,
    }
}

words! {
    /// What tasks are spread over.
    pub enum SpreadField {
        /// Availability Zones.
        Zone = "attribute:ecs.availability-zone",
        /// Instances.
        Instance = "instanceId",
        /// Instances; another name that the API takes.
        Host = "host",
    }
}

words! {
    /// What is packed.
    pub enum BinpackField {
        /// CPU.
        Cpu = "cpu",
        /// Memory.
        Memory = "memory",
    }
}

table! {
    /// Even counts of the service's tasks over the values of a field.
    pub struct Spread {
        /// The field.
        pub field: SpreadField,
    }
}

table! {
    /// The instance with the least left that still fits.
    pub struct Binpack {
        /// The resource that counts.
        pub field: BinpackField,
    }
}

table! {
    /// Any instance with room.
    pub struct RandomPlacement {}
}

tagged! {
    /// One placement strategy. Several narrow the choice one after the other. Source: ECS API, PlacementStrategy.
    by "type"
    pub enum PlacementStrategy {
        /// Even counts over the values of a field.
        Spread(Spread) = "spread",
        /// The least left that still fits.
        Binpack(Binpack) = "binpack",
        /// By chance.
        Random(RandomPlacement) = "random",
    }
}

table! {
    /// Each task of the service on an instance of its own.
    pub struct DistinctInstance {}
}

table! {
    /// Only instances for which an expression of the cluster query language holds.
    pub struct MemberOf {
        /// The expression, for example `attribute:ecs.instance-type =~ c7g.*`.
        pub expression: String,
    }
}

tagged! {
    /// One placement constraint; all of them bind. Source: ECS API, PlacementConstraint.
    by "type"
    pub enum PlacementConstraint {
        /// Each task on an instance of its own.
        DistinctInstance(DistinctInstance) = "distinctInstance",
        /// Only instances for which an expression holds.
        MemberOf(MemberOf) = "memberOf",
    }
}

words! {
    /// How many tasks a service keeps. Source: ECS API, `schedulingStrategy`.
    pub enum SchedulingStrategy {
        /// The desired count.
        Replica = "REPLICA",
        /// One on each ACTIVE container instance that meets the constraints.
        Daemon = "DAEMON",
    }
}

words! {
    /// When a task protects itself.
    pub enum ProtectionTrigger {
        /// Once, when it has reached RUNNING.
        Start = "start",
        /// Whenever it starts to work on a request or a job; it ends with the last of them.
        Work = "work",
    }
}

table! {
    /// Task scale-in protection, as the application sets it through the agent's endpoint. Source: ECS API, UpdateTaskProtection.
    pub struct TaskProtection {
        /// When a task protects itself.
        pub from: ProtectionTrigger = ProtectionTrigger::Work,
        /// Share of the tasks that do so, 0 to 1.
        pub share: f64 as Share = 1.0,
        /// Time after which protection ends by itself, 1 to 2880 minutes.
        pub expires_in_minutes: u32 = 120,
    }
}

impl TaskProtection {
    /// Time after which protection ends by itself.
    #[must_use]
    pub const fn expires_in(&self) -> SimDuration {
        SimDuration::from_mins(self.expires_in_minutes as u64)
    }
}

impl PlacementStrategy {
    /// Whether it spreads tasks over Availability Zones.
    #[must_use]
    pub const fn spreads_zones(&self) -> bool {
        matches!(self, Self::Spread(Spread { field: SpreadField::Zone }))
    }
}

impl PlacementConstraint {
    /// Whether it asks for Availability Zones, which ends their rebalancing.
    #[must_use]
    pub fn names_zone(&self) -> bool {
        match self {
            Self::DistinctInstance(_) => false,
            Self::MemberOf(m) => {
                let subjects = ["attribute:ecs.availability-zone", "attribute:ecs.subnet-id"];
                subjects.iter().any(|s| m.expression.contains(s))
            }
        }
    }
}
