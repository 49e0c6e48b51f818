//! What the account pays beside the list price, and for what traffic leaves by.

use crate::kernel::SimDuration;
use crate::units::Usd;

table! {
    /// What the account pays beside the list price, and what traffic leaves by.
    pub struct Billing {
        /// How tasks in private subnets reach ECR, CloudWatch and the internet.
        pub egress: Egress = Egress::NatGateway,
        /// CSV file of prices that override the catalog: columns region, service, item, usd.
        pub prices: Option<String> = None,
        /// Share off every list price, in percent.
        pub discount_percent: f64 as Percent = 0.0,
        /// Compute Savings Plan: dollars an hour committed. It pays for Fargate and EC2 on demand.
        pub savings_plan_commitment: Usd = Usd::ZERO,
        /// Compute Savings Plan: share off the Fargate on-demand price for covered use, in percent. The catalog's value when absent.
        pub savings_plan_discount_percent: Option<f64> as Percent = None,
        /// Compute Savings Plan: share off the EC2 on-demand price for covered use, in percent. The catalog's value when absent.
        pub savings_plan_ec2_discount_percent: Option<f64> as Percent = None,
        /// EC2 Instance Savings Plans, each for one family of instance types. They pay before the Compute Savings Plan.
        pub ec2_instance_savings_plans: Vec<Ec2InstanceSavingsPlan> = Vec::new(),
        /// Reserved Instances of the region (standard, Linux). They pay first.
        pub reserved_instances: Vec<ReservedInstances> = Vec::new(),
        /// How long logs are kept; 0 for not at all.
        pub log_retention: SimDuration = SimDuration::from_secs(30 * 86_400),
        /// Share of the traffic between load balancer and tasks that crosses zones; the even share (1 - 1/zones) when absent.
        pub cross_zone_share: Option<f64> as Share = None,
    }
}

table! {
    /// An EC2 Instance Savings Plan.
    pub struct Ec2InstanceSavingsPlan {
        /// The family of instance types, such as `m7g`.
        pub instance_family: String,
        /// Dollars an hour committed.
        pub commitment: Usd,
        /// Share off the on-demand price for covered use, in percent. The catalog's value (one year, nothing upfront) when absent.
        pub discount_percent: Option<f64> as Percent = None,
    }
}

table! {
    /// Reserved Instances. An hour of one pays for an hour of instances of its family, the smallest sizes first, by
    /// normalized units; for those types without size flexibility, for its own size. Paid by the hour, used or not: an
    /// upfront payment is spread over the term.
    pub struct ReservedInstances {
        /// The instance type.
        pub instance_type: String,
        /// How many.
        pub instance_count: u32 = 1,
        /// Share off the on-demand price, in percent. The catalog's value for the family (one year, all upfront) when absent.
        pub discount_percent: Option<f64> as Percent = None,
    }
}

words! {
    /// How tasks reach what is outside of their subnet.
    pub enum Egress {
        /// Through one NAT gateway a zone.
        NatGateway = "nat_gateway",
        /// Through interface endpoints for ECR and logs, one set a zone, and a gateway endpoint for S3.
        VpcEndpoints = "vpc_endpoints",
        /// Directly, with a public IPv4 address each: of a task on Fargate, of an instance on EC2.
        PublicIp = "public_ip",
    }
}
