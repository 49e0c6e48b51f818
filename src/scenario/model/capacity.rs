//! What tasks run on: Fargate, EC2 Auto Scaling groups, ECS Managed Instances.

use indexmap::IndexMap;

use super::{FargateProfile, NodeGroup, NodePool, NodeSettings, Orchestrator, SelfManaged, Switch, TimeLaw};
use crate::catalog::InterruptionBand;
use crate::kernel::SimDuration;
use crate::scenario::diagnostic::Span;
use crate::scenario::lang::{Reader, TableLang};
use crate::scenario::tree::{Entry, Node, Table, Value};
use crate::units::Bytes;

tagged! {
    /// What tasks run on.
    by "type"
    pub enum Capacity {
        /// AWS Fargate, on demand.
        Fargate(Fargate) = "fargate",
        /// AWS Fargate Spot: cheaper, taken back with a notice of two minutes.
        FargateSpot(FargateSpot) = "fargate_spot",
        /// An EC2 Auto Scaling group behind an ECS capacity provider.
        Ec2(Ec2) = "ec2",
        /// ECS Managed Instances: EC2 instances that ECS chooses, launches, packs and replaces itself.
        ManagedInstances(ManagedInstances) = "managed_instances",
        /// A managed node group of EKS.
        NodeGroup(NodeGroup) = "node_group",
        /// A NodePool of Karpenter.
        NodePool(NodePool) = "node_pool",
        /// A Fargate profile of EKS.
        FargateProfile(FargateProfile) = "fargate_profile",
        /// Nodes that stand there by themselves.
        SelfManaged(SelfManaged) = "self_managed",
    }
}

table! {
    /// AWS Fargate on demand. AWS publishes no launch latencies: these are settings.
    pub struct Fargate {
        /// Time to find a micro-VM for a task.
        pub provisioning: TimeLaw = TimeLaw::uniform_secs(6.0, 12.0),
        /// Time to attach the network interface.
        pub eni_attach: TimeLaw = TimeLaw::uniform_secs(3.0, 7.0),
        /// Download rate of image layers, compressed bytes a second.
        pub pull_bandwidth: Bytes as ByteRate = Bytes::from_mb(80),
        /// Unpacking rate of image layers, compressed bytes a second.
        pub unpack_bandwidth: Bytes as ByteRate = Bytes::from_mb(120),
        /// Time from the image being there until the containers run.
        pub container_start: TimeLaw = TimeLaw::uniform_secs(1.0, 3.0),
        /// Time to detach the network interface and take the micro-VM away.
        pub deprovisioning: TimeLaw = TimeLaw::uniform_secs(2.0, 6.0),
        /// Share of launches that find no capacity and are tried again, 0 to 1.
        pub unavailable: f64 as Share = 0.0,
        /// Times at which no capacity is to be had at all.
        pub outages: Vec<Outage> = Vec::new(),
        /// Wait before a launch that found no capacity is tried again.
        pub retry_delay: SimDuration = SimDuration::from_secs(30),
    }
}

table! {
    /// AWS Fargate Spot. The launch keys are those of `fargate`.
    pub struct FargateSpot {
        /// Launch latencies and availability.
        pub launch: Fargate = Fargate::default(),
        /// Mean interruptions of one running task an hour; 0 for none.
        pub interruptions_per_hour: f64 = 0.0,
        /// Instants at which a share of the running Spot tasks of a zone is taken back.
        pub reclaims: Vec<Reclaim> = Vec::new(),
        /// Time between the notice (with SIGTERM) and the end of the micro-VM.
        pub notice: SimDuration = SimDuration::from_secs(120),
    }
}

table! {
    /// A time without capacity.
    pub struct Outage {
        /// Start, from the start of the simulation.
        pub at: SimDuration,
        /// Length.
        pub duration: SimDuration,
        /// Zones concerned, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
    }
}

table! {
    /// An instant at which Spot capacity is taken back.
    pub struct Reclaim {
        /// When the notices go out, from the start of the simulation.
        pub at: SimDuration,
        /// Share of the running Spot tasks that get one, 0 to 1.
        pub share: f64 as Share = 1.0,
        /// Zones concerned, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
    }
}

table! {
    /// An EC2 Auto Scaling group behind an ECS capacity provider. Sources: EC2 Auto Scaling API, CreateAutoScalingGroup;
    /// ECS API, CreateCapacityProvider.
    pub struct Ec2 {
        /// Instance types, the preferred one first: the order counts for `prioritized` and `capacity-optimized-prioritized`.
        pub instance_types: Vec<String>,
        /// Fewest instances.
        pub min_size: u32 = 0,
        /// Most instances. Zone rebalancing may exceed it by a tenth, and by one at least.
        pub max_size: u32,
        /// Instances at the start. Absent: as many as the tasks at the start need, within `min_size` and `max_size`.
        pub desired_capacity: Option<u32> = None,
        /// Zones of the group, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// What happens when a zone has no capacity: `balanced-best-effort` goes to another zone, `balanced-only` waits.
        pub capacity_distribution_strategy: CapacityDistribution = CapacityDistribution::BestEffort,
        /// How the group is shared by On-Demand and Spot, and how instance types are chosen.
        pub mixed_instances: InstancesDistribution = InstancesDistribution::default(),
        /// Whether and how ECS scales the group.
        pub managed_scaling: ManagedScaling = ManagedScaling::default(),
        /// Whether instances with tasks (daemons aside) are protected from scale-in. ENABLED implies scale-in protection of new instances.
        pub managed_termination_protection: Switch = Switch::Disabled,
        /// Whether tasks are drained off an instance before it is terminated, whoever terminates it.
        pub managed_draining: Switch = Switch::Enabled,
        /// Longest time that an instance may drain: the time-out of the termination hook, at most 48 h.
        pub draining_timeout: SimDuration as Seconds = SimDuration::from_secs(48 * 3600),
        /// Which instance goes first at scale-in, tried in this order inside the zone with the most instances.
        pub termination_policies: Vec<TerminationPolicy> = vec![TerminationPolicy::Default],
        /// Whether a Spot instance with a rebalance recommendation is replaced before it is interrupted.
        pub capacity_rebalance: bool = false,
        /// Instances that are prepared beforehand; absent: none.
        pub warm_pool: Option<WarmPool> = None,
        /// How long an instance takes until tasks can be placed on it.
        pub launch: InstanceLaunch = InstanceLaunch::default(),
        /// How long a task takes to start and to go on an instance that is ready.
        pub tasks: TaskLaunch = TaskLaunch::default(),
        /// Settings of the ECS agent.
        pub ecs_agent: EcsAgent = EcsAgent::default(),
        /// Custom attributes of the instances, for placement constraints.
        pub attributes: IndexMap<String, String> = IndexMap::new(),
        /// The root volume.
        pub volume: Volume = Volume::default(),
        /// Speed of a vCPU as a factor: work of one vCPU-second takes `1 / cpu_speed` seconds.
        pub cpu_speed: f64 = 1.0,
        /// Speed by instance type (`"m7g.large"`) or family (`"m7g"`), instead of `cpu_speed`: for ratios between architectures.
        pub cpu_speed_of: IndexMap<String, f64> = IndexMap::new(),
        /// Share of launches that find no capacity (InsufficientInstanceCapacity), 0 to 1.
        pub unavailable: f64 as Share = 0.0,
        /// Times at which no capacity is to be had.
        pub outages: Vec<InstanceOutage> = Vec::new(),
        /// Wait of the group before it tries again after a round of launches in which no type and no zone had capacity.
        pub retry_delay: SimDuration as Seconds = SimDuration::from_secs(60),
        /// Longest time that a task waits in PROVISIONING before it is stopped. Not published: an assumption.
        pub provisioning_timeout: SimDuration as Seconds = SimDuration::from_secs(15 * 60),
        /// The Spot market of this group.
        pub spot: SpotMarket = SpotMarket::default(),
    }
}

words! {
    /// What a group does when a zone has no capacity. Source: EC2 Auto Scaling API, AvailabilityZoneDistribution.
    pub enum CapacityDistribution {
        /// Launches go to another healthy zone when those in one fail.
        BestEffort = "balanced-best-effort",
        /// Launches go on being tried in the zone that keeps the balance.
        Only = "balanced-only",
    }
}

table! {
    /// How a group is shared by On-Demand and Spot. Source: EC2 Auto Scaling API, InstancesDistribution.
    pub struct InstancesDistribution {
        /// Instances that are On-Demand before the percentage counts.
        pub on_demand_base_capacity: u32 = 0,
        /// Percentage of the instances beyond the base that are On-Demand, rounded up.
        pub on_demand_percentage_above_base_capacity: u32 = 100,
        /// Which type an On-Demand launch tries first.
        pub on_demand_allocation_strategy: OnDemandStrategy = OnDemandStrategy::Prioritized,
        /// Which pool (a type in a zone) a Spot launch tries first. The API's own default is `lowest-price`, AWS advises this one.
        pub spot_allocation_strategy: SpotStrategy = SpotStrategy::PriceCapacityOptimized,
        /// Pools over which `lowest-price` spreads Spot instances, 1 to 20.
        pub spot_instance_pools: u32 = 2,
    }
}

words! {
    /// How On-Demand types are tried.
    pub enum OnDemandStrategy {
        /// In the order of `instance_types`.
        Prioritized = "prioritized",
        /// The cheapest first.
        LowestPrice = "lowest-price",
    }
}

words! {
    /// How Spot pools are tried.
    pub enum SpotStrategy {
        /// Deep pools first, the cheapest among them.
        PriceCapacityOptimized = "price-capacity-optimized",
        /// The deepest pool.
        CapacityOptimized = "capacity-optimized",
        /// Deep pools first, in the order of `instance_types`.
        CapacityOptimizedPrioritized = "capacity-optimized-prioritized",
        /// The cheapest pools, spread over `spot_instance_pools` of them.
        LowestPrice = "lowest-price",
    }
}

table! {
    /// How ECS scales a group. Source: ECS API, ManagedScaling; ECS developer guide, `managed-scaling-behavior`.
    pub struct ManagedScaling {
        /// Whether ECS scales the group at all.
        pub status: Switch = Switch::Enabled,
        /// CapacityProviderReservation that is aimed at, 1 to 100: below 100 instances are kept spare.
        pub target_capacity: u32 = 100,
        /// Fewest instances added at once, 1 to 10,000.
        pub minimum_scaling_step_size: u32 = 1,
        /// Most instances added at once, 1 to 10,000.
        pub maximum_scaling_step_size: u32 = 10_000,
        /// Seconds from InService in which an instance is warming up and further scale-out waits for it, 0 to 10,000.
        pub instance_warmup_period: SimDuration as Seconds = SimDuration::from_secs(300),
        /// Most of the group that one minute's scale-in takes, in percent; one instance is always allowed. The guide gives the half.
        pub maximum_scale_in_percent: u32 = 50,
        /// Time from the end of a minute until its CapacityProviderReservation can be seen. Not published: an assumption that
        /// agrees with a first container after 150 s on new instances (Ionescu, 2022).
        pub publication_delay: SimDuration as Seconds = SimDuration::from_secs(30),
    }
}

words! {
    /// Which instance goes first at scale-in. Source: EC2 Auto Scaling user guide, `ec2-auto-scaling-termination-policies`.
    pub enum TerminationPolicy {
        /// To restore the mix of On-Demand and Spot; then the oldest launch template, then the next billing hour.
        Default = "Default",
        /// To restore the mix of On-Demand and Spot and the order of the allocation strategy.
        AllocationStrategy = "AllocationStrategy",
        /// The oldest launch template or configuration.
        OldestLaunchTemplate = "OldestLaunchTemplate",
        /// The oldest launch template or configuration.
        OldestLaunchConfiguration = "OldestLaunchConfiguration",
        /// The instance closest to the next billing hour.
        ClosestToNextInstanceHour = "ClosestToNextInstanceHour",
        /// The newest instance.
        NewestInstance = "NewestInstance",
        /// The oldest instance.
        OldestInstance = "OldestInstance",
    }
}

table! {
    /// Instances that are prepared beforehand. Source: EC2 Auto Scaling API, PutWarmPool. The agent is taken to run with
    /// `ECS_WARM_POOLS_CHECK=true`, without which ECS does not support a warm pool.
    pub struct WarmPool {
        /// What prepared instances are in.
        pub pool_state: WarmPoolState = WarmPoolState::Stopped,
        /// Fewest prepared instances.
        pub min_size: u32 = 0,
        /// Prepared instances and instances of the group together. Absent: `max_size` of the group.
        pub max_group_prepared_capacity: Option<u32> = None,
        /// What becomes of an instance at scale-in.
        pub instance_reuse_policy: InstanceReusePolicy = InstanceReusePolicy::default(),
        /// Time that an instance takes from leaving the pool until its operating system runs; none from `Running`.
        /// AWS publishes no figure: a boot without the hunt for capacity.
        pub start: TimeLaw = TimeLaw::uniform_secs(12.0, 24.0),
    }
}

words! {
    /// What prepared instances are in. Only `Running` is billed as an instance, the others pay for their volume.
    pub enum WarmPoolState {
        /// Stopped: they boot when they are needed.
        Stopped = "Stopped",
        /// Running.
        Running = "Running",
        /// Hibernated: memory is read back when they are needed.
        Hibernated = "Hibernated",
    }
}

table! {
    /// What becomes of an instance at scale-in.
    pub struct InstanceReusePolicy {
        /// Return to the pool instead of termination. ECS does not support it.
        pub reuse_on_scale_in: bool = false,
    }
}

table! {
    /// From the decision to launch an instance until tasks can be placed on it.
    pub struct InstanceLaunch {
        /// The call to EC2 until it answers. Mean of 4.9 s: brevdev, ec2-coldboot-research.
        pub request: TimeLaw = TimeLaw::uniform_secs(3.0, 7.0),
        /// From `pending` until the operating system runs. 16.5 s to `running` and 3 to 9 s of boot: brevdev, ec2-coldboot-research.
        pub boot: TimeLaw = TimeLaw::uniform_secs(19.0, 27.0),
        /// Start of the ECS agent until the instance is registered. Not published: an assumption.
        pub agent_registration: TimeLaw = TimeLaw::uniform_secs(10.0, 25.0),
        /// Time that a launch life cycle hook (Pending:Wait) holds the instance.
        pub hook: TimeLaw = TimeLaw::constant_secs(0.0),
        /// From the order to terminate until the instance is gone; it is not billed in that time, its volume is. Not published: fitted on a
        /// managed scale-in by steps of 5 % from 334 to 34 instances, which took 80 minutes (AWS, 2022).
        pub termination: TimeLaw = TimeLaw::uniform_secs(20.0, 70.0),
    }
}

table! {
    /// How long a task takes to start and to go on an instance that is ready.
    pub struct TaskLaunch {
        /// Time to attach the network interface of a task in mode awsvpc. Several seconds: ECS developer guide, `task-recommendations`.
        pub eni_attach: TimeLaw = TimeLaw::uniform_secs(3.0, 7.0),
        /// Download rate of image layers of one instance, compressed bytes a second.
        pub pull_bandwidth: Bytes as ByteRate = Bytes::from_mb(80),
        /// Unpacking rate of image layers of one instance, compressed bytes a second.
        pub unpack_bandwidth: Bytes as ByteRate = Bytes::from_mb(120),
        /// Time from the image being there until the containers run.
        pub container_start: TimeLaw = TimeLaw::uniform_secs(0.5, 2.0),
        /// Time to detach the network interface and clean up.
        pub deprovisioning: TimeLaw = TimeLaw::uniform_secs(1.0, 4.0),
    }
}

table! {
    /// Settings of the ECS agent. Source: ECS developer guide, `ecs-agent-config`.
    pub struct EcsAgent {
        /// `ECS_RESERVED_MEMORY`: memory of the instance that tasks do not get.
        pub reserved_memory: Bytes as TaskMemory = Bytes::ZERO,
        /// `ECS_ENABLE_SPOT_INSTANCE_DRAINING`: an instance with an interruption notice drains.
        pub enable_spot_instance_draining: bool = false,
        /// The account setting `awsvpcTrunking`: more tasks with a network interface each, on the types that support it.
        pub awsvpc_trunking: bool = false,
    }
}

table! {
    /// The root volume of an instance.
    pub struct Volume {
        /// Size.
        pub size: Bytes as Storage = Bytes::from_gib(30),
        /// Kind.
        pub volume_type: VolumeType = VolumeType::Gp3,
    }
}

words! {
    /// The kind of an EBS volume.
    pub enum VolumeType {
        /// General purpose, third generation.
        Gp3 = "gp3",
        /// General purpose, second generation.
        Gp2 = "gp2",
    }
}

table! {
    /// A time without capacity of instances.
    pub struct InstanceOutage {
        /// Start, from the start of the simulation.
        pub at: SimDuration,
        /// Length.
        pub duration: SimDuration,
        /// Zones concerned, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// Instance types concerned; empty for all.
        pub types: Vec<String> = Vec::new(),
        /// Markets concerned.
        pub market: MarketScope = MarketScope::Any,
    }
}

words! {
    /// Which market.
    pub enum MarketScope {
        /// Both.
        Any = "any",
        /// On-Demand only.
        OnDemand = "on_demand",
        /// Spot only.
        Spot = "spot",
    }
}

table! {
    /// The Spot market: what interrupts, what it costs, what is said beforehand. A pool is an instance type in a zone.
    pub struct SpotMarket {
        /// What interrupts Spot instances.
        pub interruptions: Interruptions = Interruptions::Advisor(AdvisorInterruptions { band: None }),
        /// Chance of a running instance to be taken when its pool is interrupted, above 0 to 1. A pool is interrupted so much
        /// more often than an instance that the instance's own rate stays. Not published: an assumption; with ten instances in
        /// a pool 96 % of the interruptions are not alone, where 92 % were measured (Kim et al., 2026).
        pub reclaim_share: f64 as Share = 0.3,
        /// Share of a pool's interruptions that are shocks of the zone, felt by its other pools too. Not published: an assumption.
        pub zone_correlation: f64 as Share = 0.1,
        /// Share that are shocks of the instance family in the zone. Not published: an assumption.
        pub family_correlation: f64 as Share = 0.2,
        /// How uneven interruptions come: standard deviation of the logarithm of their intensity, which changes each
        /// `burst_period`. 0: evenly. Measured up-times are heavy-tailed: 2.5 and a period of 12 h fit traces of p3.2xlarge of 2023
        /// (SkyPilot).
        pub burstiness: f64 = 0.0,
        /// How long an intensity lasts.
        pub burst_period: SimDuration = SimDuration::from_secs(12 * 3600),
        /// Instants at which a share of the running Spot instances is taken back, beside `interruptions`.
        pub events: Vec<SpotEvent> = Vec::new(),
        /// Time after an interruption in which its pool gives no instance. Not published: an assumption.
        pub shortage: TimeLaw = TimeLaw::constant_secs(600.0),
        /// What an hour costs.
        pub price: SpotPrice = SpotPrice::Catalog(CatalogPrice { varies: true }),
        /// Share of interruptions that a rebalance recommendation precedes, 0 to 1; with the others it comes with the notice.
        pub rebalance_recommendation_share: f64 as Share = 0.5,
        /// How long before the notice such a recommendation comes. Not published: an assumption.
        pub rebalance_recommendation_lead: TimeLaw = TimeLaw::uniform_secs(60.0, 600.0),
        /// Time between the notice and the interruption.
        pub notice: SimDuration as Seconds = SimDuration::from_secs(120),
    }
}

tagged! {
    /// What interrupts Spot instances.
    by "source"
    pub enum Interruptions {
        /// Nothing but the events of the scenario.
        None(NoInterruptions) = "none",
        /// A rate for each instance.
        Rate(InterruptionRate) = "rate",
        /// The band of Spot Advisor for the instance type in the region.
        Advisor(AdvisorInterruptions) = "advisor",
        /// A recorded trace of availability, from a file.
        Trace(InterruptionTrace) = "trace",
    }
}

table! {
    /// Nothing but the events of the scenario.
    pub struct NoInterruptions {}
}

table! {
    /// A rate for each instance.
    pub struct InterruptionRate {
        /// Mean interruptions of one running instance an hour.
        pub interruptions_per_hour: f64,
    }
}

table! {
    /// The band of Spot Advisor: the share of instances interrupted in a month.
    pub struct AdvisorInterruptions {
        /// A band instead of the catalog's for each type.
        pub band: Option<AdvisorBand> = None,
    }
}

words! {
    /// A band of Spot Advisor: the share of instances interrupted in the month before.
    pub enum AdvisorBand {
        /// Below 5 %.
        Below5 = "<5%",
        /// From 5 to 10 %.
        From5To10 = "5-10%",
        /// From 10 to 15 %.
        From10To15 = "10-15%",
        /// From 15 to 20 %.
        From15To20 = "15-20%",
        /// Above 20 %.
        Above20 = ">20%",
    }
}

table! {
    /// A recorded trace of availability.
    pub struct InterruptionTrace {
        /// CSV file with columns `time_s,available` and, where pools differ, `zone` and `type`, relative to the scenario:
        /// the Spot instances that a pool can hold from that instant on.
        pub file: String,
        /// Where in the trace the simulation starts, in the trace's own time.
        pub from: SimDuration = SimDuration::ZERO,
        /// Start again from `from` when the trace ends.
        pub repeat: bool = false,
        /// Factor on the instances of the trace.
        pub scale: f64 = 1.0,
    }
}

table! {
    /// An instant at which Spot instances are taken back.
    pub struct SpotEvent {
        /// When the notices go out, from the start of the simulation.
        pub at: SimDuration,
        /// Share of the running Spot instances that get one, 0 to 1.
        pub share: f64 as Share = 1.0,
        /// Zones concerned, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// Instance types concerned; empty for all.
        pub types: Vec<String> = Vec::new(),
    }
}

tagged! {
    /// What an hour of a Spot instance costs.
    by "source"
    pub enum SpotPrice {
        /// The catalog's discount for the type in the region.
        Catalog(CatalogPrice) = "catalog",
        /// A share off the On-Demand price.
        Discount(SpotDiscount) = "discount",
        /// A series of prices from a file.
        Series(SpotPriceSeries) = "series",
    }
}

table! {
    /// The catalog's discount for the type in the region.
    pub struct CatalogPrice {
        /// Whether the price moves about its level as prices of the family did in 2021: by some percent within weeks.
        pub varies: bool = true,
    }
}

table! {
    /// A share off the On-Demand price.
    pub struct SpotDiscount {
        /// The discount, in percent.
        pub percent: f64 as Percent,
    }
}

table! {
    /// A series of Spot prices.
    pub struct SpotPriceSeries {
        /// CSV file with columns `time_s,usd_per_hour` and, where pools differ, `zone` and `type`, relative to the scenario.
        pub file: String,
        /// Where in the series the simulation starts, in the series' own time.
        pub from: SimDuration = SimDuration::ZERO,
    }
}

table! {
    /// ECS Managed Instances. Source: ECS API, ManagedInstancesProvider; ECS developer guide, `ManagedInstances`.
    pub struct ManagedInstances {
        /// Which instance types ECS may choose from.
        pub instance_requirements: InstanceRequirements = InstanceRequirements::default(),
        /// On-Demand or Spot.
        pub capacity_option_type: CapacityOption = CapacityOption::OnDemand,
        /// When instances that are idle or underused go.
        pub infrastructure_optimization: InfrastructureOptimization = InfrastructureOptimization::default(),
        /// Size of the data volume of an instance.
        pub storage_size: Bytes as Storage = Bytes::from_gib(80),
        /// Zones of the subnets, by number from 0; empty for all.
        pub zones: Vec<u32> = Vec::new(),
        /// How long an instance takes until tasks can be placed on it.
        pub launch: InstanceLaunch = InstanceLaunch::default(),
        /// How long a task takes to start and to go on an instance that is ready.
        pub tasks: TaskLaunch = TaskLaunch::default(),
        /// Custom attributes of the instances, for placement constraints.
        pub attributes: IndexMap<String, String> = IndexMap::new(),
        /// Speed of a vCPU as a factor: work of one vCPU-second takes `1 / cpu_speed` seconds.
        pub cpu_speed: f64 = 1.0,
        /// Speed by instance type (`"m7g.large"`) or family (`"m7g"`), instead of `cpu_speed`: for ratios between architectures.
        pub cpu_speed_of: IndexMap<String, f64> = IndexMap::new(),
        /// Share of launches that find no capacity (InsufficientInstanceCapacity), 0 to 1.
        pub unavailable: f64 as Share = 0.0,
        /// Times at which no capacity is to be had.
        pub outages: Vec<InstanceOutage> = Vec::new(),
        /// Wait before a launch is tried again for which no type and no zone had capacity.
        pub retry_delay: SimDuration as Seconds = SimDuration::from_secs(60),
        /// Longest time that a task waits in PROVISIONING before it is stopped. Not published: an assumption.
        pub provisioning_timeout: SimDuration as Seconds = SimDuration::from_secs(15 * 60),
        /// The Spot market, for `capacity_option_type = "SPOT"`.
        pub spot: SpotMarket = SpotMarket::default(),
    }
}

words! {
    /// The market of Managed Instances.
    pub enum CapacityOption {
        /// On-Demand.
        OnDemand = "ON_DEMAND",
        /// Spot.
        Spot = "SPOT",
    }
}

table! {
    /// Which instance types ECS may choose from. Source: ECS API, InstanceRequirementsRequest.
    pub struct InstanceRequirements {
        /// Instance types that are allowed; `*` stands for anything, as in `"m7g.*"`. Empty: the general-purpose, compute
        /// and memory families of the current generations.
        pub allowed_instance_types: Vec<String> = Vec::new(),
        /// Instance types that are not; `*` stands for anything.
        pub excluded_instance_types: Vec<String> = Vec::new(),
        /// vCPUs of an instance.
        pub vcpu_count: CountRange = CountRange::default(),
        /// Memory of an instance.
        pub memory: MemoryRange = MemoryRange::default(),
        /// Whether burstable types may be chosen.
        pub burstable_performance: Inclusion = Inclusion::Excluded,
        /// Whether bare-metal types may be chosen.
        pub bare_metal: Inclusion = Inclusion::Excluded,
    }
}

words! {
    /// Whether a kind of instance type may be chosen.
    pub enum Inclusion {
        /// It may.
        Included = "included",
        /// It must.
        Required = "required",
        /// It may not.
        Excluded = "excluded",
    }
}

table! {
    /// A range of counts.
    pub struct CountRange {
        /// At least.
        pub min: u32 = 0,
        /// At most; absent: no limit.
        pub max: Option<u32> = None,
    }
}

table! {
    /// A range of memory.
    pub struct MemoryRange {
        /// At least.
        pub min: Bytes as TaskMemory = Bytes::ZERO,
        /// At most; absent: no limit.
        pub max: Option<Bytes> as TaskMemory = None,
    }
}

table! {
    /// When instances that are idle or underused go.
    pub struct InfrastructureOptimization {
        /// Seconds that an instance is idle or underused before it goes, 0 to 3,600; -1 for never. Absent: ECS chooses, which
        /// the simulation takes as 300.
        pub scale_in_after: Option<i32> = None,
    }
}

impl AdvisorBand {
    /// The catalog's name for it.
    #[must_use]
    pub const fn band(self) -> InterruptionBand {
        match self {
            Self::Below5 => InterruptionBand::Below5,
            Self::From5To10 => InterruptionBand::From5To10,
            Self::From10To15 => InterruptionBand::From10To15,
            Self::From15To20 => InterruptionBand::From15To20,
            Self::Above20 => InterruptionBand::Above20,
        }
    }
}

impl Ec2 {
    /// A group of these types, with every other setting left out.
    #[must_use]
    pub fn of_types(instance_types: &[&str], max_size: u32) -> Self {
        let node = |value| Node { span: Span::default(), value };
        let types = instance_types.iter().map(|t| node(Value::Str((*t).to_owned()))).collect();
        let given = [("instance_types", Value::Array(types)), ("max_size", Value::Int(i128::from(max_size)))];
        let table: Table =
            given.into_iter().map(|(k, v)| (k.to_owned(), Entry { key: Span::default(), node: node(v) })).collect();
        let mut found = Vec::new();
        Self::read_fields(Span::default(), &table, None, &mut Reader::new(&mut found, None))
            .expect("both keys that have no default are given")
    }
}

/// The kinds that a capacity provider strategy may not mix. Source: ECS API, CapacityProviderStrategyItem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CapacityKind {
    /// Fargate and Fargate Spot.
    Fargate,
    /// Auto Scaling groups.
    AutoScalingGroup,
    /// ECS Managed Instances.
    ManagedInstances,
    /// What only EKS has: node groups, NodePools, Fargate profiles.
    Kubernetes,
}

impl CapacityKind {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fargate => "Fargate",
            Self::AutoScalingGroup => "an Auto Scaling group",
            Self::ManagedInstances => "Managed Instances",
            Self::Kubernetes => "a capacity of EKS",
        }
    }
}

impl Capacity {
    /// Whether tasks or pods may run on it under this orchestrator.
    #[must_use]
    pub fn serves(&self, orchestrator: Orchestrator) -> bool {
        (self.kind() == CapacityKind::Kubernetes) == (orchestrator == Orchestrator::Eks)
    }

    /// Whether its instances are, all or some of them, Spot instances.
    #[must_use]
    pub const fn buys_spot(&self) -> bool {
        match self {
            Self::Ec2(e) => e.mixed_instances.on_demand_percentage_above_base_capacity < 100,
            Self::ManagedInstances(m) => matches!(m.capacity_option_type, CapacityOption::Spot),
            Self::NodeGroup(g) => matches!(g.capacity_type, CapacityOption::Spot),
            Self::NodePool(_) => true,
            Self::Fargate(_) | Self::FargateSpot(_) | Self::FargateProfile(_) | Self::SelfManaged(_) => false,
        }
    }

    /// Which kind of capacity provider it is.
    #[must_use]
    pub const fn kind(&self) -> CapacityKind {
        match self {
            Self::Fargate(_) | Self::FargateSpot(_) => CapacityKind::Fargate,
            Self::Ec2(_) => CapacityKind::AutoScalingGroup,
            Self::ManagedInstances(_) => CapacityKind::ManagedInstances,
            Self::NodeGroup(_) | Self::NodePool(_) | Self::FargateProfile(_) | Self::SelfManaged(_) => {
                CapacityKind::Kubernetes
            }
        }
    }

    /// The Fargate settings, on demand or Spot; none where tasks share instances.
    #[must_use]
    pub const fn fargate(&self) -> Option<&Fargate> {
        match self {
            Self::Fargate(f) => Some(f),
            Self::FargateSpot(f) => Some(&f.launch),
            Self::FargateProfile(f) => Some(&f.launch),
            Self::Ec2(_)
            | Self::ManagedInstances(_)
            | Self::NodeGroup(_)
            | Self::NodePool(_)
            | Self::SelfManaged(_) => None,
        }
    }

    /// The settings of the instances that tasks share, whoever chooses them; none on Fargate.
    #[must_use]
    pub fn instances(&self) -> Option<Instances<'_>> {
        match self {
            Self::Fargate(_) | Self::FargateSpot(_) | Self::FargateProfile(_) => None,
            Self::NodeGroup(g) => Some(Instances::of_nodes(&g.zones, &g.labels, &g.nodes)),
            Self::NodePool(p) => Some(Instances::of_nodes(&p.zones, &p.labels, &p.nodes)),
            Self::SelfManaged(s) => Some(s.instances()),
            Self::Ec2(e) => Some(Instances {
                zones: &e.zones,
                launch: &e.launch,
                tasks: &e.tasks,
                attributes: &e.attributes,
                cpu_speed: e.cpu_speed,
                cpu_speed_of: &e.cpu_speed_of,
                unavailable: e.unavailable,
                outages: &e.outages,
                retry_delay: e.retry_delay,
                provisioning_timeout: e.provisioning_timeout,
                spot: &e.spot,
                volume: Volume { size: e.volume.size, volume_type: e.volume.volume_type },
            }),
            Self::ManagedInstances(m) => Some(Instances {
                zones: &m.zones,
                launch: &m.launch,
                tasks: &m.tasks,
                attributes: &m.attributes,
                cpu_speed: m.cpu_speed,
                cpu_speed_of: &m.cpu_speed_of,
                unavailable: m.unavailable,
                outages: &m.outages,
                retry_delay: m.retry_delay,
                provisioning_timeout: m.provisioning_timeout,
                spot: &m.spot,
                volume: Volume { size: m.storage_size, volume_type: VolumeType::Gp3 },
            }),
        }
    }
}

/// What an Auto Scaling group and Managed Instances have in common. The fields are those of [`Ec2`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of `Ec2`, where each is described")]
pub struct Instances<'p> {
    pub zones: &'p [u32],
    pub launch: &'p InstanceLaunch,
    pub tasks: &'p TaskLaunch,
    pub attributes: &'p IndexMap<String, String>,
    pub cpu_speed: f64,
    pub cpu_speed_of: &'p IndexMap<String, f64>,
    pub unavailable: f64,
    pub outages: &'p [InstanceOutage],
    pub retry_delay: SimDuration,
    pub provisioning_timeout: SimDuration,
    pub spot: &'p SpotMarket,
    pub volume: Volume,
}

impl<'p> Instances<'p> {
    fn of_nodes(zones: &'p [u32], labels: &'p IndexMap<String, String>, nodes: &'p NodeSettings) -> Self {
        Self {
            zones,
            launch: &nodes.launch,
            tasks: &nodes.pods,
            attributes: labels,
            cpu_speed: nodes.cpu_speed,
            cpu_speed_of: &nodes.cpu_speed_of,
            unavailable: nodes.unavailable,
            outages: &nodes.outages,
            retry_delay: nodes.retry_delay,
            provisioning_timeout: SimDuration::MAX,
            spot: &nodes.spot,
            volume: Volume { size: nodes.volume.size, volume_type: nodes.volume.volume_type },
        }
    }
}

impl Instances<'_> {
    /// Speed of a vCPU of this instance type, as a factor: by its own name, else by its family, else the
    /// speed of the whole capacity.
    #[must_use]
    pub fn speed(&self, instance_type: &str) -> f64 {
        let family = instance_type.split('.').next().unwrap_or(instance_type);
        let own = self.cpu_speed_of.get(instance_type).or_else(|| self.cpu_speed_of.get(family));
        own.copied().unwrap_or(self.cpu_speed)
    }

    /// Whether the group has subnets in a zone.
    #[must_use]
    pub fn has_zone(&self, zone: u32) -> bool {
        self.zones.is_empty() || self.zones.contains(&zone)
    }

    /// Whether an outage stops launches of this type in this zone and market at `at` from the start.
    #[must_use]
    pub fn is_out(&self, instance_type: &str, zone: u32, is_spot: bool, at: SimDuration) -> bool {
        self.outages.iter().any(|o| {
            let market = match o.market {
                MarketScope::Any => true,
                MarketScope::OnDemand => !is_spot,
                MarketScope::Spot => is_spot,
            };
            market
                && at >= o.at
                && at.as_nanos() - o.at.as_nanos() < o.duration.as_nanos()
                && (o.zones.is_empty() || o.zones.contains(&zone))
                && (o.types.is_empty() || o.types.iter().any(|t| t == instance_type))
        })
    }
}
