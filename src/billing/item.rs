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
    /// Network Load Balancers.
    Nlb = "nlb", "h", "Network Load Balancer hours";
    /// Capacity units of Network Load Balancers.
    NlbLcu = "nlb_lcu", "NLCU-h", "Network Load Balancer capacity units";
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
    /// The Kubernetes control plane of an EKS cluster.
    EksControlPlane = "eks_control_plane", "h", "EKS control plane";
    /// EC2 instances on demand.
    Ec2Instance = "ec2_instance", "h", "EC2 instances";
    /// EC2 instances on the Spot market.
    Ec2Spot = "ec2_spot_instance", "h", "EC2 Spot instances";
    /// The management fee of ECS Managed Instances.
    ManagedInstancesFee = "managed_instances_fee", "h", "Managed Instances fee";
    /// Volumes of EC2 instances.
    EbsVolume = "ebs_volume", "GB-month", "EBS volumes";
    /// EBS volumes that workloads of Kubernetes claim.
    ClaimedVolume = "claimed_volume", "GB-month", "Claimed EBS volumes";
    /// What is stored on EFS file systems that pods mount.
    EfsStorage = "efs_storage", "GB-month", "EFS storage";
    /// Public IPv4 addresses of EC2 instances.
    InstanceIpv4 = "public_ipv4_instances", "h", "Public IPv4 of instances";
    /// CPU credits that burstable instances spent beyond those they earned.
    CpuCredits = "cpu_credits", "vCPU-h", "CPU credits";
    /// Reserved Instances: paid whether used or not.
    ReservedInstances = "reserved_instances", "h", "Reserved Instances";
    /// On-demand cost that Reserved Instances cover: the quantity is dollars taken off.
    ReservedCovered = "reserved_instances_covered", "USD", "Reserved Instances, covered use";
    /// Commitments of EC2 Instance Savings Plans: paid whether used or not.
    Ec2SavingsPlan = "ec2_savings_plan_commitment", "h", "EC2 Savings Plan commitment";
    /// On-demand cost that EC2 Instance Savings Plans cover: the quantity is dollars taken off.
    Ec2SavingsPlanCovered = "ec2_savings_plan_covered", "USD", "EC2 Savings Plan, covered use";
    /// The commitment of the Compute Savings Plan: paid whether used or not.
    SavingsPlan = "savings_plan_commitment", "h", "Savings Plan commitment";
    /// On-demand cost that the Savings Plan covers: the quantity is dollars taken off.
    SavingsPlanCovered = "savings_plan_covered", "USD", "Savings Plan, covered use";
}

impl Item {
    /// Whether it stands for use that a commitment has paid for, and is therefore taken off.
    #[must_use]
    pub const fn is_covered_use(self) -> bool {
        matches!(self, Self::ReservedCovered | Self::Ec2SavingsPlanCovered | Self::SavingsPlanCovered)
    }
}

/// Who pays. The dollars of an EC2 instance belong to the services by what their tasks reserve on it: a task
/// has the larger of its share of the instance's CPU and of its memory; where the shares of all sum to more
/// than the instance, they are scaled to it. What nobody reserves is idle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// A service.
    Service(ServiceId),
    /// Nobody: capacity that is paid for and not reserved.
    Idle,
    /// The cluster or the account as a whole: gateways, commitments.
    Cluster,
}

impl Owner {
    /// The service, if one pays.
    #[must_use]
    pub const fn service(self) -> Option<ServiceId> {
        match self {
            Self::Service(service) => Some(service),
            Self::Idle | Self::Cluster => None,
        }
    }
}

/// What nodes have cost since charging began, commitments aside.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NodeCost {
    /// All of it: instance, management fee, volume, address, credits.
    pub usd: Usd,
    /// The part that no task reserved.
    pub idle: Usd,
    /// The part that tasks reserved and did not use, as far as use was told by [`super::Meter::node_used`].
    pub wasted: Usd,
}

/// One line of the bill: an item of one owner in one interval, or of the whole run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CostLine {
    /// The item.
    pub item: Item,
    /// Who pays.
    pub owner: Owner,
    /// The capacity that was used; absent where there is none.
    pub capacity: Option<CapacityId>,
    /// How much, in `unit`.
    pub quantity: f64,
    /// What one unit of the quantity is.
    pub unit: &'static str,
    /// Dollars for one unit, discounts taken off; their mean, where the price changes.
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
    /// By item and price, in the order of the bill; one row for each item of nodes, whose prices differ.
    pub items: Vec<ItemTotal>,
    /// By item, owner and capacity.
    pub lines: Vec<CostLine>,
    /// By owner.
    pub by_owner: Vec<(Owner, Usd)>,
    /// What the nodes of each capacity that has some cost.
    pub by_capacity: Vec<(CapacityId, NodeCost)>,
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
