//! The meter: usage in, lines of the bill out.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::build::{Builder, millionths};
use super::commitments::Commitments;
use super::exact::{Account, mul_div_half_even, usd};
use super::item::{CostLine, Item, ItemTotal, NodeCost, Owner, Totals, UsageKind};
use super::lcu::{LcuHours, LcuMeter, LcuUsage};
use super::nodes::{NodeMeter, Start};
use crate::catalog::{Catalog, CatalogError, Price, PricePoint};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{Egress, Plan};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, TaskId, Usd, ZoneId};

/// Nanoseconds of an hour.
pub(super) const HOUR_NS: i128 = 3_600_000_000_000;
/// CPU units or MiB times nanoseconds in one vCPU-hour or GB-hour.
pub(super) const TASK_PER: i128 = 1_024 * HOUR_NS;
/// Ephemeral storage that the price includes. Source: AWS Fargate pricing page.
pub(super) const FREE_EPHEMERAL_MIB: u64 = 20 * 1_024;
/// The least time that a Linux task is charged for. Source: AWS Fargate pricing page.
const MINIMUM: SimDuration = SimDuration::from_secs(60);
/// Bytes of a GB of traffic or logs.
pub(super) const GB: i128 = 1_000_000_000;
/// Seconds of a month of 730 hours.
pub(super) const MONTH_SECS: i128 = 730 * 3_600;
/// Interface endpoints that tasks without another way out need in each zone: ECR's two and that of logs.
/// Image layers come through the gateway endpoint of S3, which is free.
pub(super) const ENDPOINTS: u32 = 3;

/// The time that a Linux task on Fargate is charged for when it lasts `run` from the start of the image
/// pull to its stop: whole seconds, rounded up, at least one minute.
#[must_use]
pub fn billed_time(run: SimDuration) -> SimDuration {
    let second = SimDuration::from_secs(1).as_nanos();
    let seconds = run.as_nanos().div_ceil(second);
    SimDuration::from_secs(seconds.min(u64::MAX / second)).max(MINIMUM)
}

/// Why a plan cannot be billed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum BillingError {
    /// A price is missing.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A size that cannot be a task size.
    #[error("services.{service}.task: CPU must be whole ECS units and memory whole MiB to be billed")]
    Size {
        /// The service.
        service: String,
    },
    /// A discount out of range.
    #[error("billing.{key}: expected a percentage from 0 to {max}, not {value}")]
    Percent {
        /// The key of the scenario.
        key: &'static str,
        /// Its value.
        value: f64,
        /// The largest that makes sense.
        max: &'static str,
    },
    /// A commitment below zero or beyond any sense.
    #[error("billing.{key}: expected from $0 to $1000000 an hour, not ${dollars}")]
    Commitment {
        /// The key of the scenario.
        key: &'static str,
        /// Its value.
        dollars: f64,
    },
}

/// A price that was used and that should be looked at before the bill is believed.
#[derive(Clone, PartialEq, Debug)]
pub struct WeakPrice {
    /// The item that it prices (the first, when there are several).
    pub item: Item,
    /// The region it is meant for.
    pub region: String,
    /// Dollars for one unit on the list; the percentage off, for the discount of a Savings Plan.
    pub unit_price_usd: f64,
    /// What one unit is.
    pub unit: String,
    /// When it was last seen.
    pub as_of: String,
    /// How sure it is.
    pub confidence: String,
    /// What is weak about it.
    pub reason: String,
    /// Title of its source.
    pub source: String,
    /// Dollars of the bill that depend on it.
    pub cost: Usd,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) item: Item,
    pub(super) owner: Owner,
    pub(super) capacity: Option<CapacityId>,
    pub(super) price: Price,
    pub(super) list_price: Price,
    /// The catalog's price, by position; absent for what the plan itself gives.
    pub(super) point: Option<usize>,
    pub(super) account: Account,
}

/// Tasks of one service on one capacity of Fargate.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) running: u32,
    pub(super) cpu_units: i128,
    pub(super) memory_mib: i128,
    pub(super) extra_mib: i128,
    pub(super) on_demand: bool,
    pub(super) vcpu: usize,
    pub(super) memory: usize,
    pub(super) ephemeral: usize,
    pub(super) ipv4: Option<usize>,
}

/// Usage of a service by [`UsageKind`].
pub(super) type Usage = [u128; UsageKind::COUNT];

#[derive(Clone, Debug)]
pub(super) struct ServiceMeter {
    pub(super) alb: Option<Alb>,
    /// The place of its claimed volumes among what stands, and the GiB of each.
    pub(super) claims: Option<(usize, u32)>,
    pub(super) egress: usize,
    pub(super) inter_zone: usize,
    /// Bytes on the way out of the subnet: NAT gateway or interface endpoints.
    pub(super) way_out: Option<usize>,
    pub(super) log_ingestion: usize,
    pub(super) log_storage: usize,
    /// Usage since the last cut.
    pub(super) pending: Usage,
}

#[derive(Clone, Debug)]
pub(super) struct Alb {
    pub(super) lcu: usize,
    pub(super) cross_zone: usize,
    pub(super) meter: LcuMeter,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    group: usize,
    pull_started: SimTime,
}

/// Counts what a simulation uses and prices it.
///
/// Calls come in the order of simulated time; an instant before the latest one counts as that one.
/// Charging begins at time zero and anew at [`Meter::start_counting`], the end of a warm-up: tasks that
/// run across it are charged from there on, a minute's minimum that was begun before it only for the
/// part that lies after it.
///
/// Hours of load balancers, gateways, endpoints and addresses are charged for the simulated time only:
/// a run is a cut-out of a longer life, in which AWS's rounding up to whole hours does not show.
#[derive(Clone, Debug)]
pub struct Meter {
    entries: Vec<Entry>,
    points: Vec<PricePoint>,
    titles: Vec<String>,
    /// By service and capacity; absent where tasks share instances.
    groups: Vec<Option<Group>>,
    capacities: usize,
    services: Vec<ServiceMeter>,
    /// Entries that cost by the hour whatever happens, and how many of them there are.
    standing: Vec<(usize, u32)>,
    commitments: Commitments,
    /// Entries of what is covered: by Reserved Instances, EC2 Instance Savings Plans, the Compute Savings Plan.
    covered: [Option<usize>; 3],
    nodes: Option<Box<NodeMeter>>,
    tasks: IndexMap<TaskId, Running, FxBuildHasher>,
    stopped: IndexMap<TaskId, Usd, FxBuildHasher>,
    egress: Egress,
    retention_secs: i128,
    today: jiff::civil::Date,
    /// Nanoseconds of the civil hour (UTC) that are over at the start of the simulation.
    hour_offset: u64,
    now: SimTime,
    /// Where the last interval ended.
    closed: SimTime,
    from: SimTime,
    end: SimTime,
    before_counting: Usd,
}

impl Meter {
    /// A meter for a plan, with prices of the plan's region and its discounts.
    ///
    /// # Errors
    /// [`BillingError`] when a price is missing, a size cannot be billed or a discount is out of range.
    pub fn new(plan: &Plan, catalog: &Catalog) -> Result<Self, BillingError> {
        let billing = &plan.billing;
        let mut build = Builder {
            catalog,
            region: &plan.cluster.region,
            discount: millionths("discount_percent", billing.discount_percent, false)?,
            entries: Vec::new(),
            points: Vec::new(),
        };
        catalog.check_region(&plan.cluster.region)?;
        let zones = plan.cluster.zones.max(1);
        let mut groups = Vec::new();
        let mut services = Vec::new();
        let mut standing = Vec::new();
        for (index, (name, service)) in plan.services.iter().enumerate() {
            let id = ServiceId::from(index);
            for (capacity_index, capacity) in plan.capacity.values().enumerate() {
                groups.push(build.group(
                    name,
                    service,
                    id,
                    CapacityId::from(capacity_index),
                    capacity,
                    billing.egress,
                )?);
            }
            services.push(build.service(service, id, billing.egress, zones, &mut standing)?);
        }
        build.control_plane(&plan.cluster, &mut standing)?;
        build.file_systems(&plan.cluster, &mut standing)?;
        build.ways_out(billing.egress, zones, &mut standing)?;
        let mut commitments = Commitments::default();
        let covered = [
            build.reserved(billing, &mut commitments, &mut standing)?,
            build.ec2_plans(billing, &mut commitments, &mut standing)?,
            build.compute_plan(billing, &mut commitments, &mut standing)?,
        ];
        let nodes = NodeMeter::new(plan, catalog, build.discount)?.map(Box::new);
        let mut meter = Self {
            titles: build.points.iter().map(|p| catalog.source(&p.source).0.to_string()).collect(),
            entries: build.entries,
            points: build.points,
            groups,
            capacities: plan.capacity.len(),
            services,
            standing,
            commitments,
            covered,
            nodes,
            tasks: IndexMap::default(),
            stopped: IndexMap::default(),
            egress: billing.egress,
            retention_secs: i128::from(billing.log_retention.as_secs()),
            today: plan.simulation.start.to_zoned(jiff::tz::TimeZone::UTC).date(),
            hour_offset: u64::try_from(plan.simulation.start.as_nanosecond().rem_euclid(HOUR_NS)).unwrap_or(0),
            now: SimTime::ZERO,
            closed: SimTime::ZERO,
            from: SimTime::ZERO,
            end: SimTime::ZERO + plan.simulation.duration,
            before_counting: Usd::ZERO,
        };
        meter.open_hour(SimTime::ZERO);
        Ok(meter)
    }

    /// The image pull of a task begins: from here Fargate charges. A task that is known already is left as it is;
    /// one on a capacity of instances costs nothing by itself: see [`Meter::task_placed`].
    ///
    /// # Panics
    /// When the service or the capacity is not one of the plan.
    pub fn task_pull_started(&mut self, task: TaskId, service: ServiceId, capacity: CapacityId, at: SimTime) {
        self.accrue(at);
        let index = service.index() * self.capacities + capacity.index();
        if let Some(group) = &mut self.groups[index]
            && !self.tasks.contains_key(&task)
        {
            group.running += 1;
            self.tasks.insert(task, Running { group: index, pull_started: self.now });
        }
    }

    /// From here so many EBS volumes are there that a workload of Kubernetes has claimed.
    pub fn volumes_claimed(&mut self, service: ServiceId, count: u32, at: SimTime) {
        self.accrue(at);
        let claims = self.services.get(service.index()).and_then(|s| s.claims);
        if let Some((place, gib)) = claims {
            self.standing[place].1 = gib.saturating_mul(count);
        }
    }

    /// A task has stopped: here Fargate stops to charge, to the next whole second, after at least one
    /// minute, or the task's share of its node is free. A task whose image pull never began costs nothing.
    pub fn task_stopped(&mut self, task: TaskId, at: SimTime) {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            nodes.left(task, self.from);
        }
        if let Some(running) = self.tasks.swap_remove(&task) {
            if let Some(group) = &mut self.groups[running.group] {
                group.running -= 1;
            }
            let end = running.pull_started + billed_time(self.now - running.pull_started);
            self.charge_group(running.group, 1, i128::from((end - self.now).as_nanos()));
            let cost = self.cost_of(running, end);
            self.stopped.insert(task, cost);
        }
    }

    /// An EC2 instance begins to run, for the first time or again: from here it is charged, and its volume
    /// from the first time on. `spot` is its market. An instance that runs is left as it is.
    ///
    /// # Errors
    /// [`BillingError::Catalog`] when the type is unknown or has no price in the region.
    pub fn node_started(
        &mut self,
        node: NodeId,
        capacity: CapacityId,
        instance_type: &str,
        zone: ZoneId,
        spot: bool,
        at: SimTime,
    ) -> Result<(), BillingError> {
        self.accrue(at);
        let Some(nodes) = &mut self.nodes else { return Ok(()) };
        let kind = nodes.kind(instance_type)?;
        nodes.started(node, Start { capacity, kind, zone, spot }, self.from, &mut self.commitments)
    }

    /// An instance stops or hibernates, as in a warm pool: it is charged to the end of the second, after at
    /// least a minute; from here only its volume costs, and that is idle. Its tasks have left it.
    pub fn node_stopped(&mut self, node: NodeId, at: SimTime) {
        self.node_ends(node, false, at);
    }

    /// An instance is terminated, whether it ran or was stopped: it is charged to the end of the second,
    /// after at least a minute, and its volume is gone.
    pub fn node_terminated(&mut self, node: NodeId, at: SimTime) {
        self.node_ends(node, true, at);
    }

    fn node_ends(&mut self, node: NodeId, gone: bool, at: SimTime) {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            nodes.stopped(node, gone, self.from, &mut self.commitments);
        }
    }

    /// A task takes a share of a running instance: from here the service pays for it, see [`Owner`], until
    /// [`Meter::task_stopped`].
    pub fn task_placed(
        &mut self,
        task: TaskId,
        service: ServiceId,
        node: NodeId,
        cpu: Cpu,
        memory: Bytes,
        at: SimTime,
    ) {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            nodes.placed(node, task, service, cpu, memory, self.from);
        }
    }

    /// Pods that belong to no service hold so much of a running instance, all together: the cluster pays for it.
    pub fn node_held(&mut self, node: NodeId, cpu: Cpu, memory: Bytes, at: SimTime) {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            nodes.held(node, cpu, memory, self.from);
        }
    }

    /// The Spot price of a pool (a type in a zone) changes to `price` an hour, discounts not taken off. Running
    /// instances take it at the end of their instance-hour, new ones at once. Without any the catalog's level holds.
    ///
    /// # Errors
    /// [`BillingError::Catalog`] when the type is unknown.
    pub fn spot_price(
        &mut self,
        capacity: CapacityId,
        zone: ZoneId,
        instance_type: &str,
        price: Price,
        at: SimTime,
    ) -> Result<(), BillingError> {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            let kind = nodes.kind(instance_type)?;
            nodes.spot_price(capacity, zone, kind, price);
        }
        Ok(())
    }

    /// CPU that a burstable instance in mode `unlimited` has used beyond its credits, as vCPU-time.
    ///
    /// # Errors
    /// [`BillingError::Catalog`] when there is no price for it in the region.
    pub fn surplus_credits(&mut self, node: NodeId, vcpu_time: SimDuration, at: SimTime) -> Result<(), BillingError> {
        self.accrue(at);
        self.nodes.as_mut().map_or(Ok(()), |n| n.credits(node, vcpu_time))
    }

    /// What share of an instance was used since this was last told (or since charging began): the larger of
    /// CPU and memory, 0 to 1. What was reserved beyond it is wasted: see [`NodeCost`].
    pub fn node_used(&mut self, node: NodeId, share: f64, at: SimTime) {
        self.accrue(at);
        if let Some(nodes) = &mut self.nodes {
            nodes.used(node, share, self.from);
        }
    }

    /// What an instance has cost, until its end or the latest instant, since charging began; commitments aside.
    #[must_use]
    pub fn node_cost(&self, node: NodeId) -> NodeCost {
        self.nodes.as_ref().map(|n| n.node_cost(node, self.from)).unwrap_or_default()
    }

    /// Dollars that an hour of an instance costs as it is now; zero for one that is gone.
    #[must_use]
    pub fn node_price_per_hour(&self, node: NodeId) -> Usd {
        self.nodes.as_ref().map_or(Usd::ZERO, |n| n.node_hour(node))
    }

    /// What a task cost, until its stop or the latest instant, since charging began: vCPU, memory,
    /// storage and public address at the prices after discounts, or its share of its node. A Savings Plan is
    /// left out: it belongs to the account, not to a task. Zero for a task whose image pull never began.
    #[must_use]
    pub fn task_cost(&self, task: TaskId) -> Usd {
        match self.tasks.get(&task) {
            Some(running) => self.cost_of(*running, self.now),
            None => {
                let on_node = self.nodes.as_ref().and_then(|n| n.task_cost(task, self.from));
                on_node.or_else(|| self.stopped.get(&task).copied()).unwrap_or(Usd::ZERO)
            }
        }
    }

    /// What a task of a service costs an hour on a capacity of Fargate, as [`Meter::task_cost`] counts it; zero
    /// where tasks share instances.
    ///
    /// # Panics
    /// When the service or the capacity is not one of the plan.
    #[must_use]
    pub fn task_price_per_hour(&self, service: ServiceId, capacity: CapacityId) -> Usd {
        let group = self.groups[service.index() * self.capacities + capacity.index()].as_ref();
        group.map_or(Usd::ZERO, |g| usd(mul_div_half_even(self.group_hour(g), 1, 1_024 * 1_000)))
    }

    /// Dollars that an hour of a vCPU of a service costs: the mean over its use so far (on Fargate the price of
    /// vCPUs, on nodes all that its tasks reserve), else the price on its first capacity; zero without any.
    #[must_use]
    pub fn vcpu_price_per_hour(&self, service: ServiceId) -> f64 {
        let first = service.index() * self.capacities;
        let groups = self.groups.get(first..first + self.capacities).unwrap_or(&[]);
        let accounts = || groups.iter().flatten().map(|g| &self.entries[g.vcpu]);
        let (on_nodes, node_hours) = self.nodes.as_ref().map_or((0.0, 0.0), |n| n.of_service(service, self.from));
        let vcpu_hours: f64 = accounts().map(|e| e.account.closed_quantity()).sum::<f64>() + node_hours;
        if vcpu_hours > 0.0 {
            (accounts().map(|e| e.account.charged()).sum::<Usd>().dollars() + on_nodes) / vcpu_hours
        } else {
            accounts().next().map_or(0.0, |e| e.price.dollars())
        }
    }

    /// Counts usage of a service in the interval that runs.
    ///
    /// # Panics
    /// When the service is not one of the plan.
    #[inline]
    pub fn add(&mut self, service: ServiceId, kind: UsageKind, quantity: u64) {
        self.services[service.index()].pending[kind.index()] += u128::from(quantity);
    }

    /// Ends an interval: books the usage added since the last call as spread evenly over it, and gives
    /// the interval's lines, by item, service and capacity. Items without use have no line.
    ///
    /// Capacity units: AWS adds up each of the four dimensions over a clock hour (here: UTC hours of the
    /// civil time that the plan starts at) and charges the largest. An interval is charged by how much the
    /// largest sum of its hour has grown in it. Usage of an interval that spans hours is split by time.
    pub fn close_interval(&mut self, from: SimTime, to: SimTime) -> Vec<CostLine> {
        self.accrue(to);
        self.book_usage(from);
        self.closed = self.now;
        let mut lines: Vec<CostLine> = self
            .entries
            .iter_mut()
            .filter_map(|e| e.account.cut().map(|(quantity, usd)| e.line(quantity, usd)))
            .collect();
        lines.extend(self.nodes.iter_mut().flat_map(|n| n.cut()));
        sort(&mut lines);
        lines
    }

    /// Begins charging anew at `at`, where a warm-up ends. What was charged before is kept apart, as
    /// [`Totals::before_counting`].
    pub fn start_counting(&mut self, at: SimTime) {
        self.accrue(at);
        self.book_usage(self.closed);
        for entry in &mut self.entries {
            self.before_counting += entry.account.total();
            entry.account.clear();
        }
        self.from = self.now;
        self.closed = self.now;
        self.stopped.clear();
        for alb in self.services.iter_mut().filter_map(|s| s.alb.as_mut()) {
            alb.meter.clear();
        }
        if let Some(nodes) = &mut self.nodes {
            self.before_counting += nodes.clear();
        }
        self.commitments.clear();
        self.open_hour(self.now);
    }

    /// The bill of all intervals that were closed since charging began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let used = || self.entries.iter().filter(|e| e.account.is_used());
        let mut lines: Vec<CostLine> =
            used().map(|e| e.line(e.account.closed_quantity(), e.account.charged())).collect();
        lines.extend(self.nodes.iter().flat_map(|n| n.lines()));
        sort(&mut lines);
        let mut items: Vec<ItemTotal> = Vec::new();
        for entry in used() {
            let (quantity, usd) = (entry.account.closed_quantity(), entry.account.charged());
            let same = |t: &&mut ItemTotal| t.item == entry.item && t.unit_price == entry.price;
            match items.iter_mut().find(same) {
                Some(total) => {
                    total.quantity += quantity;
                    total.usd += usd;
                }
                None => items.push(ItemTotal {
                    item: entry.item,
                    quantity,
                    unit: entry.item.unit(),
                    list_price: entry.list_price,
                    unit_price: entry.price,
                    usd,
                }),
            }
        }
        items.extend(self.nodes.iter().flat_map(|n| n.items()));
        items.sort_by_key(|t| t.item);
        let mut by_owner: Vec<(Owner, Usd)> = Vec::new();
        let services = (0..self.services.len()).map(|s| Owner::Service(ServiceId::from(s)));
        for owner in services.chain([Owner::Idle, Owner::Cluster]) {
            let mut owned = lines.iter().filter(|l| l.owner == owner).peekable();
            if owned.peek().is_some() {
                by_owner.push((owner, owned.map(|l| l.usd).sum()));
            }
        }
        Totals {
            usd: lines.iter().map(|l| l.usd).sum(),
            items,
            lines,
            by_owner,
            by_capacity: self.nodes.as_ref().map(|n| n.by_capacity(self.from)).unwrap_or_default(),
            before_counting: self.before_counting,
        }
    }

    /// Dollars an hour, over the charged time until the last interval that was closed; zero before.
    #[must_use]
    pub fn rate_per_hour(&self) -> Usd {
        match i128::from((self.closed - self.from).as_nanos()) {
            0 => Usd::ZERO,
            ns => usd(mul_div_half_even(i128::from(self.totals().usd.nanos()), HOUR_NS, ns)),
        }
    }

    /// Capacity units of a service's load balancer by dimension, over the charged time. The charged
    /// number can be larger than each of them: the largest is taken hour by hour.
    #[must_use]
    pub fn lcu_hours(&self, service: ServiceId) -> Option<LcuHours> {
        self.services.get(service.index())?.alb.as_ref().map(|a| a.meter.lcu_hours())
    }

    /// The catalog's prices that this plan may use, before discounts: of instances those that were used so far.
    pub fn prices(&self) -> impl Iterator<Item = &PricePoint> {
        self.points.iter().chain(self.nodes.iter().flat_map(|n| n.points()))
    }

    /// Prices that were used and are old, unsure or a neighbour region's, each once, as of the civil day
    /// on which the simulation starts.
    #[must_use]
    pub fn weak_prices(&self) -> Vec<WeakPrice> {
        let mut weak = Vec::new();
        for (index, point) in self.points.iter().enumerate() {
            let used = || self.entries.iter().filter(|e| e.point == Some(index) && e.account.is_used());
            let (Some(item), Some(weakness)) = (used().map(|e| e.item).min(), point.weak(self.today)) else {
                continue;
            };
            if point.price == Price::ZERO {
                continue;
            }
            let discount = item.is_covered_use();
            weak.push(WeakPrice {
                item,
                region: point.region.clone(),
                unit_price_usd: point.price.dollars(),
                unit: if discount { "% off on-demand".to_string() } else { point.unit.clone() },
                as_of: point.as_of.map(|a| a.to_string()).unwrap_or_default(),
                confidence: point.confidence.word().to_string(),
                reason: weakness.to_string(),
                source: self.titles[index].clone(),
                cost: used().map(|e| e.account.charged()).sum(),
            });
        }
        weak.extend(self.nodes.iter().flat_map(|n| n.weak_prices(self.today)));
        weak.sort_by_key(|w| w.item);
        weak
    }

    /// Charges what costs by time up to `at`.
    fn accrue(&mut self, at: SimTime) {
        while self.now < at {
            let hour_end = self.hour_end(self.now);
            let until = at.min(hour_end);
            let ns = i128::from((until - self.now.max(self.from)).as_nanos());
            if ns > 0 {
                for (entry, count) in &self.standing {
                    self.entries[*entry].account.add(ns * i128::from(*count));
                }
                self.commitments.accrue(ns);
                for group in 0..self.groups.len() {
                    let running = self.groups[group].as_ref().map_or(0, |g| g.running);
                    if running > 0 {
                        self.charge_group(group, i128::from(running), ns);
                    }
                }
            }
            if let Some(nodes) = &mut self.nodes {
                nodes.accrue(until, self.from);
            }
            self.now = until;
            if until == hour_end {
                self.open_hour(until);
            }
        }
    }

    /// Charges `tasks` tasks of a group for `ns` nanoseconds each.
    fn charge_group(&mut self, group: usize, tasks: i128, ns: i128) {
        let Some(group) = &self.groups[group] else { return };
        let time = tasks * ns;
        let (cpu, memory) = (group.cpu_units * time, group.memory_mib * time);
        self.entries[group.vcpu].account.add(cpu);
        self.entries[group.memory].account.add(memory);
        self.entries[group.ephemeral].account.add(group.extra_mib * time);
        if let Some(ipv4) = group.ipv4 {
            // Addresses of tasks are charged like the tasks: per second, at least one minute.
            self.entries[ipv4].account.add(time);
        }
        if group.on_demand {
            let picos = |entry: usize| i128::from(self.entries[entry].price.picos());
            self.commitments.add_fargate(cpu * picos(group.vcpu) + memory * picos(group.memory));
        }
    }

    /// Pico-dollars of an hour of a task, times 1,024.
    fn group_hour(&self, group: &Group) -> i128 {
        let picos = |entry: usize| i128::from(self.entries[entry].price.picos());
        group.cpu_units * picos(group.vcpu)
            + group.memory_mib * picos(group.memory)
            + group.extra_mib * picos(group.ephemeral)
            + group.ipv4.map_or(0, |e| picos(e) * 1_024)
    }

    /// The cost of a task that is charged until `end`.
    fn cost_of(&self, running: Running, end: SimTime) -> Usd {
        let ns = i128::from((end - running.pull_started.max(self.from)).as_nanos());
        let hour = self.groups[running.group].as_ref().map_or(0, |g| self.group_hour(g));
        usd(mul_div_half_even(ns, hour, TASK_PER * 1_000))
    }

    /// The end of the clock hour that `at` lies in.
    fn hour_end(&self, at: SimTime) -> SimTime {
        let hour = SimDuration::from_secs(3_600).as_nanos();
        let into = (at.as_nanos() % hour + self.hour_offset) % hour;
        at + SimDuration::from_nanos(hour - into)
    }

    /// Begins the clock hour that `at` lies in, for the commitments.
    fn open_hour(&mut self, at: SimTime) {
        let (hour_end, from, end) = (self.hour_end(at), self.from, self.end);
        self.commitments.open_hour(i128::from((hour_end.min(end) - at.max(from)).as_nanos()));
    }

    /// Books the usage added since the last call, spread evenly from `from` until now.
    fn book_usage(&mut self, from: SimTime) {
        let parts = self.hour_parts(from);
        for index in 0..self.services.len() {
            let used = std::mem::take(&mut self.services[index].pending);
            self.book(index, &used, &parts);
        }
        if self.commitments.is_empty() {
            return;
        }
        let covered = self.commitments.covered();
        let values = [covered.reserved, covered.ec2_plans, covered.compute_plan];
        for (entry, value) in self.covered.iter().zip(values) {
            if let Some(entry) = entry {
                self.entries[*entry].account.set(value);
            }
        }
    }

    /// The parts of the interval from `first` until now that lie in different clock hours.
    fn hour_parts(&self, first: SimTime) -> Vec<Part> {
        let whole = u128::from((self.now - first).as_nanos());
        let mut parts = Vec::new();
        let mut at = first;
        while at < self.now {
            let hour_end = self.hour_end(at);
            let until = hour_end.min(self.now);
            let since = |t: SimTime| u128::from((t - first).as_nanos());
            parts.push(Part { from: since(at), to: since(until), whole, ends_hour: until == hour_end });
            at = until;
        }
        if parts.is_empty() {
            parts.push(Part { from: 0, to: 1, whole: 1, ends_hour: false });
        }
        parts
    }

    fn book(&mut self, index: usize, used: &Usage, parts: &[Part]) {
        let count = |kind: UsageKind| used[kind.index()];
        // Stops far beyond any traffic, so that no product below overflows.
        let of = |kind: UsageKind| i128::try_from(count(kind)).unwrap_or(i128::MAX).min(1 << 80);
        let service = &mut self.services[index];
        let entries = &mut self.entries;
        entries[service.egress].account.add(of(UsageKind::InternetEgressBytes));
        entries[service.inter_zone].account.add(2 * of(UsageKind::InterZoneBytes));
        entries[service.log_ingestion].account.add(of(UsageKind::LogBytes));
        entries[service.log_storage].account.add(of(UsageKind::LogBytes) * self.retention_secs);
        if let Some(way_out) = service.way_out {
            // With endpoints, image layers come through the free gateway endpoint of S3.
            let image = if self.egress == Egress::NatGateway { of(UsageKind::ImagePullBytes) } else { 0 };
            entries[way_out].account.add(of(UsageKind::LogBytes) + image);
        }
        let Some(alb) = &mut service.alb else {
            return;
        };
        entries[alb.cross_zone].account.add(of(UsageKind::CrossZoneBytes));
        let usage = LcuUsage {
            new_connections: count(UsageKind::LoadBalancerNewConnections),
            active_connection_millis: count(UsageKind::LoadBalancerConnectionMillis),
            processed_bytes: count(UsageKind::LoadBalancerBytes),
            rule_evaluations: count(UsageKind::RuleEvaluations),
        };
        for part in parts {
            alb.meter.add(&usage.part(part.from, part.to, part.whole));
            if part.ends_hour {
                alb.meter.close_hour();
            }
        }
        entries[alb.lcu].account.set(alb.meter.charged());
    }
}

/// A part of an interval, in nanoseconds from its start, and whether a clock hour ends with it.
#[derive(Clone, Copy)]
struct Part {
    from: u128,
    to: u128,
    whole: u128,
    ends_hour: bool,
}

impl Entry {
    fn line(&self, quantity: f64, usd: Usd) -> CostLine {
        let Self { item, owner, capacity, price, .. } = *self;
        CostLine { item, owner, capacity, quantity, unit: item.unit(), unit_price: price, usd }
    }
}

fn sort(lines: &mut [CostLine]) {
    lines.sort_by_key(|l| (l.item, l.owner, l.capacity));
}
