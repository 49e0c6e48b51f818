//! What goes wrong: faults at a given time, or as a random process.

use super::{Metric, TimeLaw};
use crate::kernel::SimDuration;

/// Declares the table of a fault with the keys that all faults have: when it strikes.
macro_rules! fault {
    ($(#[doc = $doc:literal])* pub struct $name:ident { $($fields:tt)* }) => {
        table! {
            $(#[doc = $doc])*
            pub struct $name {
                /// When it strikes, from the start of the simulation. Either this or `mean_time_between`.
                pub at: Option<SimDuration> = None,
                /// It strikes at random: mean of the exponential time from the start of the simulation to the first
                /// time, and from the end of each time to the next.
                pub mean_time_between: Option<SimDuration> = None,
                $($fields)*
            }
        }
    };
}

tagged! {
    /// What goes wrong.
    by "type"
    pub enum Fault {
        /// An Availability Zone fails: tasks and load balancer nodes in it are lost, capacity elsewhere becomes short.
        ZoneOutage(ZoneOutage) = "zone_outage",
        /// An Availability Zone is slow or answers with errors, and nothing is down (a gray failure).
        SlowZone(SlowZone) = "slow_zone",
        /// Somebody shifts the traffic of load balancers away from a zone, as ARC StartZonalShift does.
        ZonalShift(ZonalShift) = "zonal_shift",
        /// Machines fail: EC2 instances, or the micro-VMs under Fargate tasks.
        NodeFailure(NodeFailure) = "node_failure",
        /// Launches find no capacity.
        CapacityShortage(CapacityShortage) = "capacity_shortage",
        /// Image pulls fail: the registry is down, its rate limit is reached, the way to it is cut.
        PullFailure(PullFailure) = "pull_failure",
        /// Image pulls are slow.
        SlowPull(SlowPull) = "slow_pull",
        /// What the requests of a service wait for (a database, another API) is slow or fails.
        DependencySlowdown(DependencySlowdown) = "dependency_slowdown",
        /// Quotas of the account are smaller than usual.
        Quota(QuotaFault) = "quota",
        /// Something else takes addresses of the subnets.
        SubnetAddresses(SubnetAddresses) = "subnet_addresses",
        /// Metrics of a service are not published.
        MetricGap(MetricGap) = "metric_gap",
        /// Health checks fail though the application answers (flapping).
        HealthCheckFailure(HealthCheckFailure) = "health_check_failure",
    }
}

words! {
    /// What an outage does to the tasks of its zone.
    pub enum ZoneLoss {
        /// The machines stop: what runs there is gone.
        Power = "power",
        /// The network is cut: tasks run on, nobody reaches them, and they come back with the zone.
        Network = "network",
    }
}

fault! {
    /// An Availability Zone fails.
    pub struct ZoneOutage {
        /// How long.
        pub duration: TimeLaw,
        /// The zones, by number from 0.
        pub zones: Vec<u32>,
        /// What happens to the tasks there.
        pub loss: ZoneLoss = ZoneLoss::Power,
        /// Time until the control plane knows: then it marks lost tasks STOPPED and launches nothing more in the zone. Not
        /// published by AWS.
        pub noticed_after: SimDuration = SimDuration::from_secs(120),
        /// Time until clients no longer use the load balancer's nodes in the zone: its DNS health checks, and the 60 seconds
        /// that resolvers keep an answer. Until then every zone's share of connections gets no answer. 0 when clients
        /// reach the balancer through another zone.
        pub dns_failover: SimDuration = SimDuration::from_secs(90),
        /// Share of launches in the other zones that find no capacity, because everybody moves there, 0 to 1.
        pub shortage: f64 as Share = 0.0,
        /// How long that lasts, from the start of the outage. As long as the outage when absent.
        pub shortage_duration: Option<SimDuration> = None,
    }
}

fault! {
    /// An Availability Zone is slow.
    pub struct SlowZone {
        /// How long.
        pub duration: TimeLaw,
        /// The zones, by number from 0.
        pub zones: Vec<u32>,
        /// Network time added to every request that a task of the zone answers, there and back.
        pub latency: SimDuration = SimDuration::ZERO,
        /// Speed of CPUs in the zone, as a share of the normal one, above 0 to 1.
        pub cpu_speed: f64 as Share = 1.0,
        /// Share of requests that tasks of the zone answer with an error, 0 to 1.
        pub error_rate: f64 as Share = 0.0,
    }
}

fault! {
    /// A zonal shift: the load balancer sends nothing more to targets of the zone, whatever their health. Source: Amazon
    /// Application Recovery Controller, StartZonalShift.
    pub struct ZonalShift {
        /// How long until it expires.
        pub duration: TimeLaw,
        /// The zone that traffic leaves, by number from 0.
        pub zone: u32,
        /// The services whose load balancers are shifted; all when empty.
        pub services: Vec<String> = Vec::new(),
    }
}

fault! {
    /// Machines fail at one instant, for good.
    pub struct NodeFailure {
        /// The capacities concerned, by name; all when empty.
        pub capacities: Vec<String> = Vec::new(),
        /// Zones concerned, by number from 0; all when empty.
        pub zones: Vec<u32> = Vec::new(),
        /// How many machines fail. Either this or `share`; one when neither is given.
        pub count: Option<u32> = None,
        /// Share of the machines that fail, 0 to 1.
        pub share: Option<f64> as Share = None,
        /// Time until the control plane knows and marks the tasks STOPPED. Not published by AWS.
        pub noticed_after: SimDuration = SimDuration::from_secs(60),
    }
}

fault! {
    /// Launches find no capacity and are tried again after the capacity's `retry_delay`.
    pub struct CapacityShortage {
        /// How long.
        pub duration: TimeLaw,
        /// The capacities concerned, by name; all when empty.
        pub capacities: Vec<String> = Vec::new(),
        /// Zones concerned, by number from 0; all when empty.
        pub zones: Vec<u32> = Vec::new(),
        /// Share of launches that find none, 0 to 1.
        pub share: f64 as Share = 1.0,
    }
}

fault! {
    /// Image pulls fail. The agent tries a few times; then the task stops with CannotPullContainerError.
    pub struct PullFailure {
        /// How long.
        pub duration: TimeLaw,
        /// The services concerned; all when empty.
        pub services: Vec<String> = Vec::new(),
        /// Share of tries that fail, 0 to 1.
        pub share: f64 as Share = 1.0,
        /// Tries of one task. Source: amazon-ecs-agent, five tries with a growing wait of 1.1 to 5 s between them.
        pub tries: u32 = 5,
        /// Time that a failed try takes, with the wait after it.
        pub try_time: SimDuration = SimDuration::from_millis(3_000),
    }
}

fault! {
    /// Image pulls are slow.
    pub struct SlowPull {
        /// How long.
        pub duration: TimeLaw,
        /// The services concerned; all when empty.
        pub services: Vec<String> = Vec::new(),
        /// Factor on the bandwidth, above 0 to 1.
        pub bandwidth_factor: f64 as Share = 0.1,
    }
}

fault! {
    /// What the requests of a service wait for is slow or fails.
    pub struct DependencySlowdown {
        /// How long.
        pub duration: TimeLaw,
        /// The service whose requests wait.
        pub service: String,
        /// Its request classes concerned; all when empty.
        pub requests: Vec<String> = Vec::new(),
        /// Factor on the waiting outside of the CPU.
        pub wait_factor: f64 = 1.0,
        /// Share of requests that the application answers with an error because of it, 0 to 1.
        pub error_rate: f64 as Share = 0.0,
    }
}

fault! {
    /// Quotas of the account are smaller than usual. What is absent stays as in `cluster.quotas`.
    pub struct QuotaFault {
        /// How long.
        pub duration: TimeLaw,
        /// vCPUs of running Fargate on-demand tasks.
        pub fargate_on_demand_vcpus: Option<u32> = None,
        /// vCPUs of running Fargate Spot tasks.
        pub fargate_spot_vcpus: Option<u32> = None,
        /// Fargate launches that may happen at once.
        pub fargate_launch_burst: Option<u32> = None,
        /// Fargate launches a second in the long run.
        pub fargate_launch_rate: Option<f64> = None,
    }
}

fault! {
    /// Something else takes addresses of the subnets; tasks that run keep theirs.
    pub struct SubnetAddresses {
        /// How long.
        pub duration: TimeLaw,
        /// Zones concerned, by number from 0; all when empty.
        pub zones: Vec<u32> = Vec::new(),
        /// Addresses that are taken in each zone's subnet.
        pub taken: u32,
    }
}

fault! {
    /// Metrics of a service are not published; their points are missing for good.
    pub struct MetricGap {
        /// How long.
        pub duration: TimeLaw,
        /// The services concerned; all when empty.
        pub services: Vec<String> = Vec::new(),
        /// The metrics concerned; all when empty.
        pub metrics: Vec<Metric> = Vec::new(),
    }
}

fault! {
    /// Health checks fail though the application answers.
    pub struct HealthCheckFailure {
        /// How long.
        pub duration: TimeLaw,
        /// The services concerned; all when empty.
        pub services: Vec<String> = Vec::new(),
        /// Zones concerned, by number from 0; all when empty.
        pub zones: Vec<u32> = Vec::new(),
        /// Share of checks that fail for nothing, 0 to 1.
        pub share: f64 as Share = 1.0,
    }
}

table! {
    /// The subnets that tasks get their addresses from, one a zone.
    pub struct Subnets {
        /// Free addresses of each zone's subnet, for task network interfaces. Without limit when absent. A subnet of a /24
        /// has 251 (AWS keeps 5), less those of load balancers and endpoints.
        pub addresses_per_zone: Option<u32> = None,
    }
}

impl Fault {
    /// When it strikes: at a given time, or at random with this mean.
    #[must_use]
    pub fn strikes(&self) -> (Option<SimDuration>, Option<SimDuration>) {
        macro_rules! each {
            ($($variant:ident),*) => { match self { $(Self::$variant(f) => (f.at, f.mean_time_between),)* } };
        }
        each!(
            ZoneOutage,
            SlowZone,
            ZonalShift,
            NodeFailure,
            CapacityShortage,
            PullFailure,
            SlowPull,
            DependencySlowdown,
            Quota,
            SubnetAddresses,
            MetricGap,
            HealthCheckFailure
        )
    }

    /// How long it lasts; `None` for what happens at one instant.
    #[must_use]
    pub fn duration(&self) -> Option<&TimeLaw> {
        Some(match self {
            Self::ZoneOutage(f) => &f.duration,
            Self::SlowZone(f) => &f.duration,
            Self::ZonalShift(f) => &f.duration,
            Self::NodeFailure(_) => return None,
            Self::CapacityShortage(f) => &f.duration,
            Self::PullFailure(f) => &f.duration,
            Self::SlowPull(f) => &f.duration,
            Self::DependencySlowdown(f) => &f.duration,
            Self::Quota(f) => &f.duration,
            Self::SubnetAddresses(f) => &f.duration,
            Self::MetricGap(f) => &f.duration,
            Self::HealthCheckFailure(f) => &f.duration,
        })
    }
}
