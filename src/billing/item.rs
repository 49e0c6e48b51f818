//! What stands on the bill.

use crate::catalog::Price;
use crate::units::{CapacityId, ServiceId, Usd};

macro_rules! items {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $unit:literal, $label:literal;)*) => {
        /// A charged item.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Item {
            $($(#[$meta])* $variant,)*
        }

        impl Item {
            /// All items, in the order of the bill.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What one unit of the quantity is.
            #[must_use]
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// What people read on the bill.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl std::fmt::Display for Item {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

items! {
    /// vCPUs of on-demand Fargate tasks.
    FargateVcpu = "fargate_vcpu", "vCPU-h", "Fargate vCPU";
    /// Memory of on-demand Fargate tasks.
    FargateMemory = "fargate_memory", "GB-h", "Fargate memory";
    /// vCPUs of Fargate Spot tasks.
    FargateSpotVcpu = "fargate_spot_vcpu", "vCPU-h", "Fargate Spot vCPU";
    /// Memory of Fargate Spot tasks.
    FargateSpotMemory = "fargate_spot_memory", "GB-h", "Fargate Spot memory";
    /// Ephemeral storage beyond the 20 GB that are included.
    FargateEphemeral = "fargate_ephemeral_storage", "GB-h", "Fargate ephemeral storage";
    /// Public IPv4 addresses of tasks.
    TaskIpv4 = "public_ipv4_tasks", "h", "Public IPv4 of tasks";
    /// Application Load Balancers.
    Alb = "alb", "h", "Load balancer hours";
    /// Capacity units of Application Load Balancers.
    AlbLcu = "alb_lcu", "LCU-h", "Load balancer capacity units";
    /// Public IPv4 addresses of load balancers, one a zone.
    AlbIpv4 = "public_ipv4_alb", "h", "Public IPv4 of load balancers";
    /// Traffic between a load balancer and targets in other zones (free of charge on the list).
    AlbCrossZone = "alb_cross_zone", "GB", "Load balancer to other zones";
    /// Traffic between zones that is charged, each direction by itself.
    InterZone = "inter_zone", "GB", "Traffic between zones";
    /// Traffic to the internet.
    InternetEgress = "internet_egress", "GB", "Traffic to the internet";
    /// Bytes through a NAT gateway.
    NatData = "nat_data", "GB", "NAT gateway traffic";
    /// Bytes through interface endpoints.
    EndpointData = "endpoint_data", "GB", "Endpoint traffic";
    /// Log bytes taken in.
    LogIngestion = "log_ingestion", "GB", "Log ingestion";
    /// Log bytes kept for the retention time.
    LogStorage = "log_storage", "GB-month", "Log storage";
    /// NAT gateways, one a zone.
    Nat = "nat_gateway", "h", "NAT gateway hours";
    /// Public IPv4 addresses of NAT gateways.
    NatIpv4 = "public_ipv4_nat", "h", "Public IPv4 of NAT gateways";
    /// Interface endpoints, three a zone.
    Endpoint = "endpoint", "h", "Endpoint hours";
    /// The commitment of the Savings Plan: paid whether used or not.
    SavingsPlan = "savings_plan_commitment", "h", "Savings Plan commitment";
    /// On-demand cost that the Savings Plan covers: the quantity is dollars taken off.
    SavingsPlanCovered = "savings_plan_covered", "USD", "Savings Plan, covered use";
}

/// One line of the bill: an item of one owner in one interval, or of the whole run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CostLine {
    /// The item.
    pub item: Item,
    /// The service that pays; absent for what belongs to the cluster.
    pub service: Option<ServiceId>,
    /// The capacity that was used; absent where there is none.
    pub capacity: Option<CapacityId>,
    /// How much, in `unit`.
    pub quantity: f64,
    /// What one unit of the quantity is.
    pub unit: &'static str,
    /// Dollars for one unit, discounts taken off.
    pub unit_price: Price,
    /// Quantity times price: exact, with the remainder of earlier intervals carried.
    pub usd: Usd,
}

/// One row of a bill: all use of an item at one price.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ItemTotal {
    /// The item.
    pub item: Item,
    /// How much, in `unit`.
    pub quantity: f64,
    /// What one unit of the quantity is.
    pub unit: &'static str,
    /// Dollars for one unit on the list.
    pub list_price: Price,
    /// Dollars for one unit, discounts taken off.
    pub unit_price: Price,
    /// What it cost.
    pub usd: Usd,
}

/// The bill of a run: everything that was charged since charging began.
#[derive(Clone, PartialEq, Debug)]
pub struct Totals {
    /// By item and price, in the order of the bill.
    pub items: Vec<ItemTotal>,
    /// By item, service and capacity.
    pub lines: Vec<CostLine>,
    /// By service; `None` is what belongs to the cluster.
    pub by_service: Vec<(Option<ServiceId>, Usd)>,
    /// The sum.
    pub usd: Usd,
    /// What was charged before [`super::Meter::start_counting`]: not in the sum.
    pub before_counting: Usd,
}

/// What a simulation counts for the bill of a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UsageKind {
    /// Requests that the load balancer took. Each is looked up in the listener's rules, of which the
    /// first ten are free: only [`UsageKind::RuleEvaluations`] costs.
    LoadBalancerRequests,
    /// Rules evaluated beyond the ten free ones of each request.
    RuleEvaluations,
    /// New connections of clients to the load balancer.
    LoadBalancerNewConnections,
    /// Time that connections of clients were open, in connection-milliseconds.
    LoadBalancerConnectionMillis,
    /// Bytes of requests and responses through the load balancer.
    LoadBalancerBytes,
    /// Bytes between the load balancer and tasks in other zones: free of charge within a VPC.
    CrossZoneBytes,
    /// Bytes between tasks in different zones: charged on both sides.
    InterZoneBytes,
    /// Bytes to the internet, such as the responses of a public load balancer.
    InternetEgressBytes,
    /// Bytes of images pulled.
    ImagePullBytes,
    /// Bytes of logs written.
    LogBytes,
}

impl UsageKind {
    /// How many there are.
    pub(super) const COUNT: usize = Self::LogBytes as usize + 1;

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
