//! What EC2 instances cost, and whose dollars these are.
//!
//! Rule: an instance is charged by the second while it runs, at least one minute after each start; on
//! demand at the list price, on Spot at the price that its pool had when the running instance-hour began.
//! Its volume is charged from the first start until it is terminated, its public address and the management
//! fee of ECS Managed Instances while it runs. Sources: EC2 pricing page; EC2 user guide, how Spot billing
//! works; EBS and ECS pricing pages.
//!
//! The dollars of each instant are split among the services by what their tasks reserve: see [`Owner`].
//! Money flows at constant rates between changes, so that the rates of all instances are summed by line and
//! only what changes is touched.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::commitments::Commitments;
use super::exact::{Account, mul_div_half_even, usd};
use super::item::{CostLine, Item, ItemTotal, NodeCost, Owner};
use super::meter::{BillingError, HOUR_NS, WeakPrice, billed_time};
use crate::catalog::{Catalog, CatalogError, EC2, InstanceType, Price, PricePoint};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{Capacity, Egress, Plan, VolumeType};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, TaskId, Usd, ZoneId};

/// Parts into which an instance is divided among those who reserve it.
const WHOLE: i128 = 1 << 20;
/// Nanoseconds of a month of 730 hours.
const MONTH_NS: i128 = 730 * HOUR_NS;
/// Instance-hours, in nanoseconds.
const HOUR: SimDuration = SimDuration::from_secs(3_600);

/// What is charged for nodes of one capacity.
#[derive(Clone, Debug)]
struct CapacityPrices {
    /// Nano-dollars of a GiB-month of its volumes, and their size.
    volume_nanos: i128,
    volume_gib: i128,
    volume_point: usize,
    /// Management fee, in millionths of the on-demand price, and the price in the table of points.
    fee: Option<(i128, usize)>,
}

/// A line of one owner and capacity, whose price may change.
#[derive(Clone, Debug)]
struct Entry {
    item: Item,
    owner: Owner,
    capacity: CapacityId,
    account: Account,
    /// What flows in each nanosecond: small units, and these times the price in nano-dollars.
    quantity_rate: i128,
    value_rate: i128,
}

/// A kind of charge of a running node.
#[derive(Clone, Copy, Debug)]
struct Charge {
    item: Item,
    /// Small units of the whole node in a nanosecond.
    units: i128,
    /// Nano-dollars of a priced unit.
    nanos: i128,
    /// Small units of a priced unit.
    per: i128,
    /// The price in the table of points.
    point: Option<usize>,
}

impl Charge {
    /// Nano-dollars of an hour of the whole node.
    fn hourly(&self) -> i128 {
        mul_div_half_even(self.units * self.nanos, HOUR_NS * WHOLE, self.per)
    }
}

#[derive(Clone, Debug)]
struct Placed {
    task: TaskId,
    service: ServiceId,
    /// Share of the node, in [`WHOLE`]ths, before scaling.
    share: i128,
    cpu_units: i128,
    since_ns: i128,
}

#[derive(Clone, Debug)]
struct Node {
    capacity: CapacityId,
    kind: &'static InstanceType,
    zone: ZoneId,
    spot: bool,
    /// When it last started to run; absent while it is stopped.
    running: Option<SimTime>,
    /// Nano-dollars of an hour of the instance: of its market, and on demand.
    nanos: i128,
    listed: i128,
    point: Option<usize>,
    slot: Option<usize>,
    tasks: Vec<Placed>,
    /// Share of the node that pods of no service hold, in [`WHOLE`]ths, before scaling.
    guests: i128,
    /// Who has which part of it, in [`WHOLE`]ths: they sum to the whole.
    parts: Vec<(Owner, i128)>,
    /// Entries that it flows into: index, small units and value of a nanosecond.
    flows: Vec<(usize, i128, i128)>,
    /// Nano-dollars of an hour of everything, and the idle part in [`WHOLE`]ths.
    hourly: i128,
    idle: i128,
    /// Nano-dollars times nanoseconds (of an hour) since charging began, and the idle part times [`WHOLE`].
    cost: i128,
    idle_cost: i128,
    wasted: i128,
    /// Up to when `cost` is counted.
    counted: SimTime,
    /// Cost and idle cost when use was last told.
    told: (i128, i128),
}

/// A price that was used.
#[derive(Clone, Debug)]
struct Used {
    point: PricePoint,
    item: Item,
    title: String,
    /// Nano-dollars of each hour that flow at it, and what has flown, times nanoseconds.
    rate: i128,
    value: i128,
}

/// What starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) capacity: CapacityId,
    pub(super) kind: &'static InstanceType,
    pub(super) zone: ZoneId,
    pub(super) spot: bool,
}

/// The nodes' part of the meter.
#[derive(Clone, Debug)]
pub(super) struct NodeMeter {
    catalog: Catalog,
    region: String,
    discount: u32,
    capacities: Vec<Option<CapacityPrices>>,
    address: Option<(i128, usize)>,
    entries: Vec<Entry>,
    by_key: IndexMap<(Item, Owner, CapacityId), usize, FxBuildHasher>,
    points: Vec<Used>,
    nodes: IndexMap<NodeId, Node, FxBuildHasher>,
    task_nodes: IndexMap<TaskId, NodeId, FxBuildHasher>,
    /// Cost of nodes and tasks that are gone, in nano-dollars.
    ended: IndexMap<NodeId, NodeCost, FxBuildHasher>,
    ended_tasks: IndexMap<TaskId, Usd, FxBuildHasher>,
    ended_of: Vec<NodeCost>,
    /// Spot prices of pools, nano-dollars an hour.
    spot: BTreeMap<(CapacityId, ZoneId, &'static str), i128>,
    /// When the instance-hours of Spot nodes end.
    hours: BTreeMap<SimTime, Vec<NodeId>>,
    /// CPU-unit-nanoseconds that services reserved on nodes.
    reserved: Vec<i128>,
    now: SimTime,
}

impl NodeMeter {
    /// The prices of a plan's nodes; `None` for a plan without any.
    pub(super) fn new(plan: &Plan, catalog: &Catalog, discount: u32) -> Result<Option<Self>, BillingError> {
        if plan.capacity.values().all(|c| c.instances().is_none()) {
            return Ok(None);
        }
        let mut meter = Self {
            catalog: catalog.clone(),
            region: plan.cluster.region.clone(),
            discount,
            capacities: Vec::new(),
            address: None,
            entries: Vec::new(),
            by_key: IndexMap::default(),
            points: Vec::new(),
            nodes: IndexMap::default(),
            task_nodes: IndexMap::default(),
            ended: IndexMap::default(),
            ended_tasks: IndexMap::default(),
            ended_of: vec![NodeCost::default(); plan.capacity.len()],
            spot: BTreeMap::new(),
            hours: BTreeMap::new(),
            reserved: vec![0; plan.services.len()],
            now: SimTime::ZERO,
        };
        if plan.billing.egress == Egress::PublicIp {
            let (price, point) = meter.price(Item::InstanceIpv4, "vpc", "public_ipv4_hour")?;
            meter.address = Some((nanos(price), point));
        }
        for capacity in plan.capacity.values() {
            let prices = match capacity {
                Capacity::Fargate(_) | Capacity::FargateSpot(_) | Capacity::FargateProfile(_) => None,
                Capacity::NodeGroup(group) => {
                    for name in &group.instance_types {
                        meter.catalog.instance_type(name)?;
                        meter.catalog.require(&meter.region, EC2, name)?;
                    }
                    Some(meter.capacity(group.nodes.volume.size, group.nodes.volume.volume_type, None)?)
                }
                Capacity::SelfManaged(own) => Some(meter.capacity(own.volume.size, own.volume.volume_type, None)?),
                Capacity::NodePool(pool) => {
                    Some(meter.capacity(pool.nodes.volume.size, pool.nodes.volume.volume_type, None)?)
                }
                Capacity::Ec2(ec2) => {
                    for name in &ec2.instance_types {
                        meter.catalog.instance_type(name)?;
                        meter.catalog.require(&meter.region, EC2, name)?;
                    }
                    Some(meter.capacity(ec2.volume.size, ec2.volume.volume_type, None)?)
                }
                Capacity::ManagedInstances(managed) => {
                    // On Spot the fee is the same share of the on-demand price of the type.
                    let fee = meter.catalog.require(&meter.region, "ecs", "managed_instances_fee")?;
                    // A share: a dollar stands for the whole on-demand price. The discount is in that price already.
                    let share = i128::from(fee.price.picos() / (Price::PER_DOLLAR / 1_000_000));
                    let point = meter.point(Item::ManagedInstancesFee, fee);
                    Some(meter.capacity(managed.storage_size, VolumeType::Gp3, Some((share, point)))?)
                }
            };
            meter.capacities.push(prices);
        }
        Ok(Some(meter))
    }

    fn capacity(
        &mut self,
        size: Bytes,
        kind: VolumeType,
        fee: Option<(i128, usize)>,
    ) -> Result<CapacityPrices, BillingError> {
        let item = match kind {
            VolumeType::Gp3 => "gp3_gb_month",
            VolumeType::Gp2 => "gp2_gb_month",
        };
        let (price, point) = self.price(Item::EbsVolume, "ebs", item)?;
        let gib = i128::from(size.get().div_ceil(1 << 30));
        Ok(CapacityPrices { volume_nanos: nanos(price), volume_gib: gib, volume_point: point, fee })
    }

    /// A price after discount, and its place in the table of points.
    fn price(&mut self, item: Item, service: &str, name: &str) -> Result<(Price, usize), CatalogError> {
        let point = self.catalog.require(&self.region, service, name)?;
        let price = point.price.less_millionths(self.discount);
        Ok((price, self.point(item, point)))
    }

    fn point(&mut self, item: Item, point: PricePoint) -> usize {
        let same = |u: &Used| u.item == item && u.point.service == point.service && u.point.item == point.item;
        self.points.iter().position(same).unwrap_or_else(|| {
            let title = self.catalog.source(&point.source).0.to_string();
            self.points.push(Used { point, item, title, rate: 0, value: 0 });
            self.points.len() - 1
        })
    }

    /// Counts everything up to `at`, without turns of instance-hours in between.
    fn flow(&mut self, at: SimTime, from: SimTime) {
        let ns = i128::from((at - self.now.max(from)).as_nanos());
        if ns > 0 {
            for entry in &mut self.entries {
                if entry.quantity_rate != 0 {
                    entry.account.add_at(entry.quantity_rate * ns, entry.value_rate * ns);
                }
            }
            for used in &mut self.points {
                used.value += used.rate * ns;
            }
        }
        self.now = self.now.max(at);
    }

    /// Time passes until `at`; charging began at `from`. Spot nodes whose hour is over take the price of
    /// their pool.
    pub(super) fn accrue(&mut self, at: SimTime, from: SimTime) {
        while let Some(turn) = self.hours.first_entry().filter(|e| *e.key() <= at) {
            let (when, nodes) = turn.remove_entry();
            self.flow(when, from);
            for id in nodes {
                let Some(node) = self.nodes.get(&id).filter(|n| n.running.is_some()) else { continue };
                let started = node.running.unwrap_or(when);
                // A node that was stopped and started again has its hours from then on.
                if !(when - started).as_nanos().is_multiple_of(HOUR.as_nanos()) {
                    continue;
                }
                let price = self.spot.get(&(node.capacity, node.zone, node.kind.name)).copied();
                self.settle(id, from);
                if let (Some(price), Some(node)) = (price, self.nodes.get_mut(&id)) {
                    node.nanos = price;
                }
                self.connect(id);
                self.hours.entry(when + HOUR).or_default().push(id);
            }
        }
        self.flow(at, from);
    }

    /// Takes a node out of the flows and counts its own cost up to now.
    fn settle(&mut self, id: NodeId, from: SimTime) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for (entry, quantity, value) in node.flows.drain(..) {
            self.entries[entry].quantity_rate -= quantity;
            self.entries[entry].value_rate -= value;
        }
        let ns = i128::from((self.now - node.counted.max(from)).as_nanos());
        node.counted = self.now;
        node.cost += node.hourly * ns;
        node.idle_cost += node.hourly * node.idle * ns;
        let sum: i128 = node.guests + node.tasks.iter().map(|t| t.share).sum::<i128>();
        for placed in &mut node.tasks {
            placed.since_ns += node.hourly * scaled(placed.share, sum) * ns;
            if let Some(reserved) = self.reserved.get_mut(placed.service.index()) {
                *reserved += placed.cpu_units * ns;
            }
        }
        for charge in charges(node, &self.capacities, self.address) {
            if let Some(point) = charge.point {
                self.points[point].rate -= charge.hourly();
            }
        }
    }

    /// Puts a node into the flows, with its tasks and prices as they are now.
    fn connect(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let sum: i128 = node.guests + node.tasks.iter().map(|t| t.share).sum::<i128>();
        let mut parts: Vec<(Owner, i128)> = Vec::new();
        if node.guests > 0 {
            parts.push((Owner::Cluster, node.guests));
        }
        for placed in &node.tasks {
            let owner = Owner::Service(placed.service);
            match parts.iter_mut().find(|p| p.0 == owner) {
                Some(part) => part.1 += placed.share,
                None => parts.push((owner, placed.share)),
            }
        }
        let mut left = WHOLE;
        let many = parts.len();
        for (index, (_, part)) in parts.iter_mut().enumerate() {
            if sum > WHOLE {
                // The last one takes what rounding leaves, so that a full node has nothing idle.
                *part = if index + 1 == many { left } else { *part * WHOLE / sum };
            }
            left -= *part;
        }
        node.idle = left;
        if left > 0 {
            parts.push((Owner::Idle, left));
        }
        let charges = charges(node, &self.capacities, self.address);
        node.hourly = charges.iter().map(Charge::hourly).sum();
        let capacity = node.capacity;
        let mut flows = Vec::with_capacity(charges.len() * parts.len());
        for charge in &charges {
            for (owner, part) in &parts {
                let entry = entry(&mut self.entries, &mut self.by_key, (charge.item, *owner, capacity), charge.per);
                let quantity = charge.units * part;
                let value = quantity * charge.nanos;
                self.entries[entry].quantity_rate += quantity;
                self.entries[entry].value_rate += value;
                flows.push((entry, quantity, value));
            }
            if let Some(point) = charge.point {
                self.points[point].rate += charge.hourly();
            }
        }
        (node.flows, node.parts) = (flows, parts);
    }

    /// The type of a name.
    pub(super) fn kind(&self, name: &str) -> Result<&'static InstanceType, BillingError> {
        Ok(self.catalog.instance_type(name)?)
    }

    /// A node begins to run, for the first time or again.
    pub(super) fn started(
        &mut self,
        id: NodeId,
        start: Start,
        from: SimTime,
        commitments: &mut Commitments,
    ) -> Result<(), BillingError> {
        let Start { capacity, kind, zone, spot } = start;
        if self.nodes.get(&id).is_some_and(|n| n.running.is_some()) {
            return Ok(());
        }
        let on_demand = self.catalog.require(&self.region, EC2, kind.name)?;
        let listed = nanos(on_demand.price.less_millionths(self.discount));
        let (price, point) = if spot {
            // Without a price of its pool the level of the catalog holds.
            let level = self.catalog.spot_level(&self.region, kind.name).map(|l| l.point());
            let level = level.unwrap_or(on_demand);
            let of_level = nanos(level.price.less_millionths(self.discount));
            let of_pool = self.spot.get(&(capacity, zone, kind.name)).copied();
            (of_pool.unwrap_or(of_level), self.point(Item::Ec2Spot, level))
        } else {
            (listed, self.point(Item::Ec2Instance, on_demand))
        };
        let slot = (!spot && !commitments.is_empty()).then(|| commitments.slot(kind.name, kind.vcpus, listed));
        if let Some(slot) = slot {
            commitments.run(slot, 1);
        }
        self.settle(id, from);
        let now = self.now;
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            capacity,
            kind,
            zone,
            spot,
            running: None,
            nanos: 0,
            listed: 0,
            point: None,
            slot: None,
            tasks: Vec::new(),
            guests: 0,
            parts: Vec::new(),
            flows: Vec::new(),
            hourly: 0,
            idle: WHOLE,
            cost: 0,
            idle_cost: 0,
            wasted: 0,
            counted: now,
            told: (0, 0),
        });
        (node.running, node.nanos, node.listed, node.point, node.slot) = (Some(now), price, listed, Some(point), slot);
        self.connect(id);
        if spot {
            self.hours.entry(now + HOUR).or_default().push(id);
        }
        Ok(())
    }

    /// A node stops to run and keeps its volume, or is gone.
    pub(super) fn stopped(&mut self, id: NodeId, gone: bool, from: SimTime, commitments: &mut Commitments) {
        self.settle(id, from);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for placed in node.tasks.drain(..) {
            self.task_nodes.swap_remove(&placed.task);
            self.ended_tasks.insert(placed.task, money(placed.since_ns, HOUR_NS * WHOLE));
        }
        if let Some(started) = node.running.take() {
            // To the end of the second, and of the first minute.
            let ns = i128::from((started + billed_time(self.now - started) - self.now).as_nanos());
            let mut hourly = 0;
            let running = Node { running: Some(started), ..node.clone() };
            for charge in charges(&running, &self.capacities, self.address) {
                if charge.item == Item::EbsVolume {
                    continue;
                }
                let key = (charge.item, Owner::Idle, node.capacity);
                let entry = entry(&mut self.entries, &mut self.by_key, key, charge.per);
                let quantity = charge.units * WHOLE * ns;
                self.entries[entry].account.add_at(quantity, quantity * charge.nanos);
                if let Some(point) = charge.point {
                    self.points[point].value += charge.hourly() * ns;
                }
                hourly += charge.hourly();
            }
            node.cost += hourly * ns;
            node.idle_cost += hourly * ns * WHOLE;
            if let Some(slot) = node.slot.take() {
                commitments.run(slot, -1);
                commitments.add_instance(slot, ns);
            }
        }
        if gone {
            let cost = node.total();
            let sum = &mut self.ended_of[node.capacity.index()];
            *sum = plus(*sum, cost);
            self.ended.insert(id, cost);
            self.nodes.swap_remove(&id);
        } else {
            self.connect(id);
        }
    }

    /// A task takes a share of a node.
    pub(super) fn placed(
        &mut self,
        id: NodeId,
        task: TaskId,
        service: ServiceId,
        cpu: Cpu,
        memory: Bytes,
        from: SimTime,
    ) {
        self.settle(id, from);
        if let Some(node) = self.nodes.get_mut(&id)
            && node.running.is_some()
            && !self.task_nodes.contains_key(&task)
        {
            let cpu_units = i128::from(cpu.parts()) / 125;
            let share = share_of(node.kind, cpu, memory);
            node.tasks.push(Placed { task, service, share, cpu_units, since_ns: 0 });
            self.task_nodes.insert(task, id);
        }
        self.connect(id);
    }

    /// Pods of no service hold so much of a node: the cluster pays for it.
    pub(super) fn held(&mut self, id: NodeId, cpu: Cpu, memory: Bytes, from: SimTime) {
        if !self.nodes.contains_key(&id) {
            return;
        }
        self.settle(id, from);
        if let Some(node) = self.nodes.get_mut(&id).filter(|n| n.running.is_some()) {
            node.guests = share_of(node.kind, cpu, memory);
        }
        self.connect(id);
    }

    /// A task gives its share back. Whether it had one.
    pub(super) fn left(&mut self, task: TaskId, from: SimTime) -> bool {
        let Some(id) = self.task_nodes.swap_remove(&task) else { return false };
        self.settle(id, from);
        if let Some(node) = self.nodes.get_mut(&id)
            && let Some(at) = node.tasks.iter().position(|t| t.task == task)
        {
            let placed = node.tasks.swap_remove(at);
            self.ended_tasks.insert(task, money(placed.since_ns, HOUR_NS * WHOLE));
        }
        self.connect(id);
        true
    }

    /// The Spot price of a pool changes: nodes take it when their running instance-hour ends.
    pub(super) fn spot_price(&mut self, capacity: CapacityId, zone: ZoneId, kind: &'static InstanceType, price: Price) {
        self.spot.insert((capacity, zone, kind.name), nanos(price.less_millionths(self.discount)));
    }

    /// Surplus CPU credits of a node.
    pub(super) fn credits(&mut self, id: NodeId, vcpu: SimDuration) -> Result<(), BillingError> {
        let Some(kind) = self.nodes.get(&id).map(|n| n.kind) else { return Ok(()) };
        let item = if kind.family() == "t4g" { "t4g_vcpu_hour" } else { "t2_t3_t3a_vcpu_hour" };
        let (price, point) = self.price(Item::CpuCredits, "cpu-credits", item)?;
        let (price, ns) = (nanos(price), i128::from(vcpu.as_nanos()));
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        for (owner, part) in &node.parts {
            let key = (Item::CpuCredits, *owner, node.capacity);
            let entry = entry(&mut self.entries, &mut self.by_key, key, HOUR_NS * WHOLE);
            self.entries[entry].account.add_at(part * ns, part * ns * price);
        }
        node.cost += price * ns;
        node.idle_cost += price * ns * node.idle;
        self.points[point].value += price * ns;
        Ok(())
    }

    /// What share of a node was used since this was last told: the larger of CPU and memory.
    pub(super) fn used(&mut self, id: NodeId, share: f64, from: SimTime) {
        self.settle(id, from);
        if let Some(node) = self.nodes.get_mut(&id) {
            let (cost, idle) = (node.cost - node.told.0, node.idle_cost - node.told.1);
            node.told = (node.cost, node.idle_cost);
            let reserved = cost - idle / WHOLE;
            // A share is a ratio; the rounding to a millionth is far below what it is known to.
            let used = cost / 1_000_000 * i128::from((share.clamp(0.0, 1.0) * 1e6) as u32);
            node.wasted += (reserved - used).max(0);
        }
        self.connect(id);
    }

    /// What a node has cost since charging began.
    pub(super) fn node_cost(&self, id: NodeId, from: SimTime) -> NodeCost {
        match self.nodes.get(&id) {
            Some(node) => node.until(self.now, from).total(),
            None => self.ended.get(&id).copied().unwrap_or_default(),
        }
    }

    /// Dollars of an hour of a node as it is now; zero when it is gone.
    pub(super) fn node_hour(&self, id: NodeId) -> Usd {
        self.nodes.get(&id).map_or(Usd::ZERO, |n| usd(n.hourly))
    }

    /// What a task has cost on its node.
    pub(super) fn task_cost(&self, task: TaskId, from: SimTime) -> Option<Usd> {
        if let Some(cost) = self.ended_tasks.get(&task) {
            return Some(*cost);
        }
        let node = self.nodes.get(self.task_nodes.get(&task)?)?.until(self.now, from);
        node.tasks.iter().find(|t| t.task == task).map(|t| money(t.since_ns, HOUR_NS * WHOLE))
    }

    /// Dollars that services paid for nodes, and vCPU-hours that they reserved for it.
    pub(super) fn of_service(&self, service: ServiceId, from: SimTime) -> (f64, f64) {
        let owner = Owner::Service(service);
        let dollars = self.entries.iter().filter(|e| e.owner == owner).map(|e| e.account.total().dollars()).sum();
        let running: i128 = self
            .nodes
            .values()
            .map(|n| {
                let ns = i128::from((self.now - n.counted.max(from)).as_nanos());
                n.tasks.iter().filter(|t| t.service == service).map(|t| t.cpu_units * ns).sum::<i128>()
            })
            .sum();
        let units = self.reserved.get(service.index()).copied().unwrap_or(0) + running;
        (dollars, units as f64 / (1_024 * HOUR_NS) as f64)
    }

    /// What the nodes of each capacity have cost.
    pub(super) fn by_capacity(&self, from: SimTime) -> Vec<(CapacityId, NodeCost)> {
        let mut sums = self.ended_of.clone();
        for node in self.nodes.values() {
            let sum = &mut sums[node.capacity.index()];
            *sum = plus(*sum, node.until(self.now, from).total());
        }
        let costs = sums.into_iter().enumerate().map(|(i, c)| (CapacityId::from(i), c));
        costs.filter(|(_, c)| c.usd != Usd::ZERO).collect()
    }

    /// The lines since the last cut, and cuts.
    pub(super) fn cut(&mut self) -> Vec<CostLine> {
        let lines =
            self.entries.iter_mut().filter_map(|e| e.account.cut().map(|(quantity, usd)| e.line(quantity, usd)));
        lines.collect()
    }

    /// The lines of all cuts.
    pub(super) fn lines(&self) -> Vec<CostLine> {
        let used = self.entries.iter().filter(|e| e.account.is_used());
        used.map(|e| e.line(e.account.closed_quantity(), e.account.charged())).collect()
    }

    /// The rows of the bill: one for each item.
    pub(super) fn items(&self) -> Vec<ItemTotal> {
        let mut items: Vec<ItemTotal> = Vec::new();
        for line in self.lines() {
            let same = |t: &&mut ItemTotal| t.item == line.item;
            match items.iter_mut().find(same) {
                Some(total) => {
                    total.quantity += line.quantity;
                    total.usd += line.usd;
                }
                None => items.push(ItemTotal {
                    item: line.item,
                    quantity: line.quantity,
                    unit: line.unit,
                    list_price: Price::ZERO,
                    unit_price: Price::ZERO,
                    usd: line.usd,
                }),
            }
        }
        for total in &mut items {
            total.unit_price = mean_price(total.usd, total.quantity);
            let rest = 1.0 - f64::from(self.discount) / 1e6;
            let list = if rest > 0.0 { total.unit_price.picos() as f64 / rest } else { 0.0 };
            total.list_price = Price::from_picos(list.round() as i64);
        }
        items
    }

    /// What was charged so far, and begins anew.
    pub(super) fn clear(&mut self) -> Usd {
        let before = self.entries.iter().map(|e| e.account.total()).sum();
        for entry in &mut self.entries {
            entry.account.clear();
        }
        for used in &mut self.points {
            used.value = 0;
        }
        let now = self.now;
        for node in self.nodes.values_mut() {
            (node.cost, node.idle_cost, node.wasted, node.told) = (0, 0, 0, (0, 0));
            node.counted = now;
            for placed in &mut node.tasks {
                placed.since_ns = 0;
            }
        }
        self.reserved.fill(0);
        self.ended.clear();
        self.ended_tasks.clear();
        self.ended_of.fill(NodeCost::default());
        before
    }

    /// The catalog's prices that were used.
    pub(super) fn weak_prices(&self, today: jiff::civil::Date) -> Vec<WeakPrice> {
        let weak = self.points.iter().filter(|u| u.value > 0).filter_map(|used| {
            let reason = used.point.weak(today)?.to_string();
            Some(WeakPrice {
                item: used.item,
                region: used.point.region.clone(),
                unit_price_usd: used.point.price.dollars(),
                unit: used.point.unit.clone(),
                as_of: used.point.as_of.map(|a| a.to_string()).unwrap_or_default(),
                confidence: used.point.confidence.word().to_string(),
                reason: format!("{}: {reason}", used.point.item),
                source: used.title.clone(),
                cost: money(used.value, HOUR_NS),
            })
        });
        weak.collect()
    }

    /// The catalog's prices that were used so far, before discounts.
    pub(super) fn points(&self) -> impl Iterator<Item = &PricePoint> {
        self.points.iter().map(|u| &u.point)
    }
}

impl Entry {
    fn line(&self, quantity: f64, usd: Usd) -> CostLine {
        let Self { item, owner, capacity, .. } = *self;
        let unit_price = mean_price(usd, quantity);
        CostLine { item, owner, capacity: Some(capacity), quantity, unit: item.unit(), unit_price, usd }
    }
}

impl Node {
    /// The node with its own cost counted up to an instant.
    fn until(&self, now: SimTime, from: SimTime) -> Self {
        let mut node = self.clone();
        let ns = i128::from((now - node.counted.max(from)).as_nanos());
        node.cost += node.hourly * ns;
        node.idle_cost += node.hourly * node.idle * ns;
        let sum: i128 = node.tasks.iter().map(|t| t.share).sum();
        for placed in &mut node.tasks {
            placed.since_ns += node.hourly * scaled(placed.share, sum) * ns;
        }
        node
    }

    fn total(&self) -> NodeCost {
        NodeCost {
            usd: money(self.cost, HOUR_NS),
            idle: money(self.idle_cost, HOUR_NS * WHOLE),
            wasted: money(self.wasted, HOUR_NS),
        }
    }
}

/// The share of a node that an amount is: the larger of those of its CPU and of its memory, in [`WHOLE`]ths.
fn share_of(kind: &InstanceType, cpu: Cpu, memory: Bytes) -> i128 {
    let of_cpu = i128::from(cpu.parts()) / 125 * WHOLE / i128::from(kind.cpu_units().max(1));
    let memory_bytes = i128::from(kind.registered_memory_mib().max(1)) << 20;
    of_cpu.max(i128::from(memory.get()) * WHOLE / memory_bytes).min(WHOLE)
}

/// A share, scaled to the node where all shares sum to more than it.
fn scaled(share: i128, sum: i128) -> i128 {
    if sum > WHOLE { share * WHOLE / sum } else { share }
}

/// What a node is charged for as it is now.
fn charges(node: &Node, capacities: &[Option<CapacityPrices>], address: Option<(i128, usize)>) -> Vec<Charge> {
    let mut charges = Vec::with_capacity(4);
    let Some(prices) = capacities.get(node.capacity.index()).and_then(Option::as_ref) else { return charges };
    let hourly = |item, nanos, point| Charge { item, units: 1, nanos, per: HOUR_NS * WHOLE, point };
    if node.running.is_some() {
        let item = if node.spot { Item::Ec2Spot } else { Item::Ec2Instance };
        charges.push(hourly(item, node.nanos, node.point));
        if let Some((fee, point)) = prices.fee {
            let nanos = mul_div_half_even(node.listed, fee, 1_000_000);
            charges.push(hourly(Item::ManagedInstancesFee, nanos, Some(point)));
        }
        if let Some((nanos, point)) = address {
            charges.push(hourly(Item::InstanceIpv4, nanos, Some(point)));
        }
    }
    charges.push(Charge {
        item: Item::EbsVolume,
        units: prices.volume_gib,
        nanos: prices.volume_nanos,
        per: MONTH_NS * WHOLE,
        point: Some(prices.volume_point),
    });
    charges
}

/// The entry of an item, owner and capacity.
fn entry(
    entries: &mut Vec<Entry>,
    by_key: &mut IndexMap<(Item, Owner, CapacityId), usize, FxBuildHasher>,
    key: (Item, Owner, CapacityId),
    per: i128,
) -> usize {
    *by_key.entry(key).or_insert_with(|| {
        let (item, owner, capacity) = key;
        let account = Account::at_prices(per);
        entries.push(Entry { item, owner, capacity, account, quantity_rate: 0, value_rate: 0 });
        entries.len() - 1
    })
}

/// Nano-dollars of a price.
fn nanos(price: Price) -> i128 {
    i128::from(price.to_usd().nanos())
}

/// Nano-dollars times `per`, as money.
fn money(value: i128, per: i128) -> Usd {
    usd(mul_div_half_even(value, 1, per))
}

fn plus(a: NodeCost, b: NodeCost) -> NodeCost {
    NodeCost { usd: a.usd + b.usd, idle: a.idle + b.idle, wasted: a.wasted + b.wasted }
}

/// The price that a quantity had on the mean.
fn mean_price(usd: Usd, quantity: f64) -> Price {
    let picos = if quantity == 0.0 { 0.0 } else { usd.nanos() as f64 * 1_000.0 / quantity };
    // Saturates far beyond any price.
    Price::from_picos(picos.round() as i64)
}
