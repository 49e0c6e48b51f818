//! Builds a meter: prices of the plan's region, discounts, commitments.

use super::commitments::Commitments;
use super::exact::Account;
use super::item::{Item, Owner};
use super::lcu::{LcuMeter, LcuRates};
use super::meter::{
    Alb, BillingError, ENDPOINTS, Entry, FREE_EPHEMERAL_MIB, GB, Group, HOUR_NS, MONTH_SECS, ServiceMeter, TASK_PER,
    Usage,
};
use crate::catalog::{Arch, Catalog, EC2, Price, PricePoint};
use crate::scenario::fargate::pod_size;
use crate::scenario::model::{
    Architecture, Billing, Capacity, Cluster, Egress, EksSupport, KubeServiceType, LoadBalancerType, Orchestrator,
    Service, Task,
};
use crate::units::{Bytes, CapacityId, ServiceId, Usd};

/// A percentage in millionths.
pub(super) fn millionths(key: &'static str, percent: f64, below_all: bool) -> Result<u32, BillingError> {
    let max = if below_all { "99.9999" } else { "100" };
    let parts = (percent * 10_000.0).round();
    let limit = if below_all { 999_999.0 } else { 1_000_000.0 };
    if (0.0..=limit).contains(&parts) {
        // In range, so the cast is exact.
        Ok(parts as u32)
    } else {
        Err(BillingError::Percent { key, value: percent, max })
    }
}

/// GiB times nanoseconds in one GiB-month.
const GIB_MONTH: i128 = MONTH_SECS / 3_600 * HOUR_NS;

/// Whole GiB of a volume.
fn gib(size: Bytes) -> u32 {
    u32::try_from(size.get().div_ceil(1 << 30)).unwrap_or(u32::MAX)
}

/// Builds the entries of a meter.
pub(super) struct Builder<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) region: &'a str,
    pub(super) discount: u32,
    pub(super) entries: Vec<Entry>,
    pub(super) points: Vec<PricePoint>,
}

/// Who an entry belongs to, and on which capacity.
type Owned = (Owner, Option<CapacityId>);

impl Builder<'_> {
    fn entry(&mut self, item: Item, owner: Owned, listed: (&str, &str), per: i128) -> Result<usize, BillingError> {
        let point = self.catalog.require(self.region, listed.0, listed.1)?;
        let list_price = point.price;
        let price = list_price.less_millionths(self.discount);
        let index = self.point(point);
        let account = Account::new(price.picos(), per);
        Ok(self.push(Entry { item, owner: owner.0, capacity: owner.1, price, list_price, point: Some(index), account }))
    }

    fn point(&mut self, point: PricePoint) -> usize {
        let same = |p: &PricePoint| p.service == point.service && p.item == point.item;
        self.points.iter().position(same).unwrap_or_else(|| {
            self.points.push(point);
            self.points.len() - 1
        })
    }

    fn push(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len() - 1
    }

    pub(super) fn group(
        &mut self,
        name: &str,
        service: &Service,
        id: ServiceId,
        capacity_id: CapacityId,
        capacity: &Capacity,
        egress: Egress,
    ) -> Result<Option<Group>, BillingError> {
        if capacity.instances().is_some() {
            return Ok(None);
        }
        let task = &match capacity {
            Capacity::FargateProfile(_) => {
                Task { cpu: pod_size(service).0, memory: pod_size(service).1, ..service.task.clone() }
            }
            _ => service.task.clone(),
        };
        if !task.cpu.parts().is_multiple_of(125) || !task.memory.get().is_multiple_of(1 << 20) {
            return Err(BillingError::Size { service: name.to_string() });
        }
        let arch = match task.architecture {
            Architecture::X86 => Arch::X86,
            Architecture::Arm => Arch::Arm,
        };
        let spot = matches!(capacity, Capacity::FargateSpot(_));
        let (vcpu, memory) = match spot {
            false => (Item::FargateVcpu, Item::FargateMemory),
            true => (Item::FargateSpotVcpu, Item::FargateSpotMemory),
        };
        let owner = (Owner::Service(id), Some(capacity_id));
        let [vcpu_price, memory_price] = Catalog::fargate_items(arch, spot);
        let extra = task.ephemeral_storage.get().div_ceil(1 << 20).saturating_sub(FREE_EPHEMERAL_MIB);
        Ok(Some(Group {
            running: 0,
            cpu_units: i128::from(task.cpu.parts() / 125),
            memory_mib: i128::from(task.memory.get() >> 20),
            extra_mib: i128::from(extra),
            on_demand: !spot,
            vcpu: self.entry(vcpu, owner, ("fargate", vcpu_price), TASK_PER)?,
            memory: self.entry(memory, owner, ("fargate", memory_price), TASK_PER)?,
            ephemeral: self.entry(Item::FargateEphemeral, owner, ("fargate", "ephemeral_gb_hour"), TASK_PER)?,
            ipv4: match egress {
                Egress::PublicIp => Some(self.entry(Item::TaskIpv4, owner, ("vpc", "public_ipv4_hour"), HOUR_NS)?),
                Egress::NatGateway | Egress::VpcEndpoints => None,
            },
        }))
    }

    pub(super) fn service(
        &mut self,
        service: &Service,
        id: ServiceId,
        egress: Egress,
        zones: u32,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<ServiceMeter, BillingError> {
        let owner = (Owner::Service(id), None);
        let alb = match &service.load_balancer {
            None => None,
            // kube-proxy is no load balancer that costs.
            Some(_) if service.kubernetes.service.r#type == Some(KubeServiceType::ClusterIp) => None,
            Some(lb) => {
                let (hours, units, rates) = match lb.r#type {
                    LoadBalancerType::Application => {
                        ((Item::Alb, "alb_hour"), (Item::AlbLcu, "alb_lcu_hour"), LcuRates::APPLICATION)
                    }
                    LoadBalancerType::Network => {
                        ((Item::Nlb, "nlb_hour"), (Item::NlbLcu, "nlb_nlcu_hour"), LcuRates::NETWORK)
                    }
                };
                standing.push((self.entry(hours.0, owner, ("elb", hours.1), HOUR_NS)?, 1));
                standing.push((self.entry(Item::AlbIpv4, owner, ("vpc", "public_ipv4_hour"), HOUR_NS)?, zones));
                Some(Alb {
                    lcu: self.entry(units.0, owner, ("elb", units.1), rates.per)?,
                    cross_zone: self.entry(Item::AlbCrossZone, owner, ("data-transfer", "alb_cross_zone_gb"), GB)?,
                    meter: LcuMeter::new(rates),
                })
            }
        };
        let claims = match &service.kubernetes.volume_claim {
            None => None,
            Some(claim) => {
                // There is none until a pod is bound; it outlives its pods.
                standing.push((self.entry(Item::ClaimedVolume, owner, ("ebs", "gp3_gb_month"), GIB_MONTH)?, 0));
                Some((standing.len() - 1, gib(claim.size)))
            }
        };
        let way_out = match egress {
            Egress::NatGateway => Some(self.entry(Item::NatData, owner, ("vpc", "nat_gateway_gb"), GB)?),
            Egress::VpcEndpoints => {
                Some(self.entry(Item::EndpointData, owner, ("vpc", "interface_endpoint_gb"), GB)?)
            }
            Egress::PublicIp => None,
        };
        Ok(ServiceMeter {
            alb,
            claims,
            egress: self.entry(Item::InternetEgress, owner, ("data-transfer", "internet_egress_gb"), GB)?,
            inter_zone: self.entry(Item::InterZone, owner, ("data-transfer", "inter_az_gb"), GB)?,
            way_out,
            log_ingestion: self.entry(Item::LogIngestion, owner, ("cloudwatch", "logs_ingest_gb"), GB)?,
            log_storage: self.entry(
                Item::LogStorage,
                owner,
                ("cloudwatch", "logs_storage_gb_month"),
                GB * MONTH_SECS,
            )?,
            pending: Usage::default(),
        })
    }

    /// The control plane of an EKS cluster.
    pub(super) fn control_plane(
        &mut self,
        cluster: &Cluster,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<(), BillingError> {
        if cluster.orchestrator == Orchestrator::Eks {
            let item = match cluster.eks.support {
                EksSupport::Standard => "cluster_hour_standard",
                EksSupport::Extended => "cluster_hour_extended",
            };
            let owner = (Owner::Cluster, None);
            standing.push((self.entry(Item::EksControlPlane, owner, ("eks", item), HOUR_NS)?, 1));
        }
        Ok(())
    }

    /// The file systems that pods mount: paid for by what is stored on them.
    pub(super) fn file_systems(
        &mut self,
        cluster: &Cluster,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<(), BillingError> {
        if cluster.orchestrator == Orchestrator::Eks {
            for system in cluster.eks.file_systems.values() {
                let owner = (Owner::Cluster, None);
                let entry = self.entry(Item::EfsStorage, owner, ("efs", "standard_gb_month"), GIB_MONTH)?;
                standing.push((entry, gib(system.size)));
            }
        }
        Ok(())
    }

    pub(super) fn ways_out(
        &mut self,
        egress: Egress,
        zones: u32,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<(), BillingError> {
        let cluster = (Owner::Cluster, None);
        match egress {
            Egress::NatGateway => {
                standing.push((self.entry(Item::Nat, cluster, ("vpc", "nat_gateway_hour"), HOUR_NS)?, zones));
                standing.push((self.entry(Item::NatIpv4, cluster, ("vpc", "public_ipv4_hour"), HOUR_NS)?, zones));
            }
            Egress::VpcEndpoints => {
                let endpoint = self.entry(Item::Endpoint, cluster, ("vpc", "interface_endpoint_hour"), HOUR_NS)?;
                standing.push((endpoint, ENDPOINTS * zones));
            }
            Egress::PublicIp => {}
        }
        Ok(())
    }

    /// Reserved Instances: their fee stands, and what they cover is counted in one entry.
    pub(super) fn reserved(
        &mut self,
        billing: &Billing,
        commitments: &mut Commitments,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<Option<usize>, BillingError> {
        let mut discounts = Vec::new();
        for reserved in billing.reserved_instances.iter().filter(|r| r.instance_count > 0) {
            let kind = self.catalog.instance_type(&reserved.instance_type)?;
            let percent = match reserved.discount_percent {
                Some(percent) => percent,
                None => {
                    let percent = self.catalog.reserved_discount_percent(kind.name);
                    discounts.push(self.discount_point("reserved-instance-standard", percent));
                    percent
                }
            };
            let discount = millionths("reserved_instances.discount_percent", percent, true)?;
            let listed = self.catalog.require(self.region, EC2, kind.name)?;
            let (list_price, price) = (listed.price, listed.price.less_millionths(self.discount));
            let point = Some(self.point(listed));
            let fee = self.push(Entry {
                item: Item::ReservedInstances,
                owner: Owner::Cluster,
                capacity: None,
                price: price.less_millionths(discount),
                list_price,
                point,
                account: Account::new(price.less_millionths(discount).picos(), HOUR_NS),
            });
            standing.push((fee, reserved.instance_count));
            commitments.reserve(kind.name, kind.vcpus, reserved.instance_count);
        }
        let any = billing.reserved_instances.iter().any(|r| r.instance_count > 0);
        Ok(any.then(|| self.covered(Item::ReservedCovered, discounts.first().copied().flatten())))
    }

    /// EC2 Instance Savings Plans.
    pub(super) fn ec2_plans(
        &mut self,
        billing: &Billing,
        commitments: &mut Commitments,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<Option<usize>, BillingError> {
        let (mut point, mut any) = (None, false);
        for plan in &billing.ec2_instance_savings_plans {
            let picos = commitment("ec2_instance_savings_plans.commitment", plan.commitment)?;
            let percent = match plan.discount_percent {
                Some(percent) => percent,
                None => {
                    let (percent, weak) = self.typical("ec2-instance-savings-plan");
                    point = weak;
                    percent
                }
            };
            let discount = millionths("ec2_instance_savings_plans.discount_percent", percent, true)?;
            if picos > 0 {
                any = true;
                standing.push((self.fee(Item::Ec2SavingsPlan, picos), 1));
                commitments.commit(Some(&plan.instance_family), i128::from(picos), discount, 0);
            }
        }
        Ok(any.then(|| self.covered(Item::Ec2SavingsPlanCovered, point)))
    }

    /// The Compute Savings Plan.
    pub(super) fn compute_plan(
        &mut self,
        billing: &Billing,
        commitments: &mut Commitments,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<Option<usize>, BillingError> {
        let picos = commitment("savings_plan_commitment", billing.savings_plan_commitment)?;
        let (on_fargate, point) = match billing.savings_plan_discount_percent {
            Some(percent) => (percent, None),
            None => self.typical_of(picos > 0, "compute-savings-plan-fargate"),
        };
        let on_instances = match billing.savings_plan_ec2_discount_percent {
            Some(percent) => percent,
            None => self.typical_of(false, "compute-savings-plan-ec2").0,
        };
        let on_fargate = millionths("savings_plan_discount_percent", on_fargate, true)?;
        let on_instances = millionths("savings_plan_ec2_discount_percent", on_instances, true)?;
        if picos == 0 {
            return Ok(None);
        }
        standing.push((self.fee(Item::SavingsPlan, picos), 1));
        commitments.commit(None, i128::from(picos), on_instances, on_fargate);
        Ok(Some(self.covered(Item::SavingsPlanCovered, point)))
    }

    /// A commitment in pico-dollars an hour, as a line of the cluster.
    fn fee(&mut self, item: Item, picos: i64) -> usize {
        let price = Price::from_picos(picos);
        let account = Account::new(picos, HOUR_NS);
        self.push(Entry { item, owner: Owner::Cluster, capacity: None, price, list_price: price, point: None, account })
    }

    /// The entry of what a commitment covers: valued like the use, and taken off.
    fn covered(&mut self, item: Item, point: Option<usize>) -> usize {
        let account = Account::of_money(-1, TASK_PER * 1_000, TASK_PER * i128::from(Price::PER_DOLLAR));
        let price = Price::from_picos(-Price::PER_DOLLAR);
        self.push(Entry { item, owner: Owner::Cluster, capacity: None, price, list_price: price, point, account })
    }

    /// The typical discount of a product, and its place among the prices.
    fn typical(&mut self, product: &str) -> (f64, Option<usize>) {
        self.typical_of(true, product)
    }

    fn typical_of(&mut self, used: bool, product: &str) -> (f64, Option<usize>) {
        let percent = self.catalog.savings_plans().iter().find(|p| p.product == product).map(|p| p.discount_percent);
        let percent = percent.unwrap_or(0.0);
        (percent, if used { self.discount_point(product, percent) } else { None })
    }

    /// A discount of the catalog among the prices, so that its age and confidence are told.
    fn discount_point(&mut self, product: &str, percent: f64) -> Option<usize> {
        let plan = self.catalog.savings_plans().iter().find(|p| p.product == product)?;
        let point = PricePoint {
            region: self.region.to_string(),
            listed_in: self.region.to_string(),
            service: plan.product.clone(),
            item: format!("{} {} discount", plan.term, plan.payment),
            unit: "%".to_string(),
            price: Price::from_picos((percent * Price::PER_DOLLAR as f64) as i64),
            source: plan.source.clone(),
            as_of: Some(plan.as_of),
            confidence: plan.confidence,
        };
        Some(self.point(point))
    }
}

/// A commitment in pico-dollars an hour.
fn commitment(key: &'static str, given: Usd) -> Result<i64, BillingError> {
    if (0..=1_000_000_000_000_000).contains(&given.nanos()) {
        Ok(given.nanos() * 1_000)
    } else {
        Err(BillingError::Commitment { key, dollars: given.dollars() })
    }
}
