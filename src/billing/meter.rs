//! The meter: usage in, lines of the bill out.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::exact::{Account, mul_div_half_even, usd};
use super::item::{CostLine, Item, ItemTotal, Totals, UsageKind};
use super::lcu::{LCU_PER, LcuHours, LcuMeter, LcuUsage};
use super::savings::Coverage;
use crate::catalog::{Arch, Catalog, CatalogError, Price, PricePoint};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{Architecture, Billing, Capacity, Egress, Plan, Service};
use crate::units::{CapacityId, ServiceId, TaskId, Usd};

/// Nanoseconds of an hour.
pub(super) const HOUR_NS: i128 = 3_600_000_000_000;
/// CPU units or MiB times nanoseconds in one vCPU-hour or GB-hour.
pub(super) const TASK_PER: i128 = 1_024 * HOUR_NS;
/// Ephemeral storage that the price includes. Source: AWS Fargate pricing page.
pub(super) const FREE_EPHEMERAL_MIB: u64 = 20 * 1_024;
/// The least time that a Linux task is charged for. Source: AWS Fargate pricing page.
const MINIMUM: SimDuration = SimDuration::from_secs(60);
/// Bytes of a GB of traffic or logs.
const GB: i128 = 1_000_000_000;
/// Seconds of a month of 730 hours.
const MONTH_SECS: i128 = 730 * 3_600;
/// Interface endpoints that tasks without another way out need in each zone: ECR's two and that of logs.
/// Image layers come through the gateway endpoint of S3, which is free.
const ENDPOINTS: u32 = 3;

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
    #[error("billing.savings_plan_commitment: expected from $0 to $1000000 an hour, not ${0}")]
    Commitment(f64),
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
struct Entry {
    item: Item,
    service: Option<ServiceId>,
    capacity: Option<CapacityId>,
    price: Price,
    list_price: Price,
    /// The catalog's price, by position; absent for what the plan itself gives.
    point: Option<usize>,
    account: Account,
}

/// Tasks of one service on one capacity.
#[derive(Clone, Debug)]
struct Group {
    running: u32,
    cpu_units: i128,
    memory_mib: i128,
    extra_mib: i128,
    on_demand: bool,
    vcpu: usize,
    memory: usize,
    ephemeral: usize,
    ipv4: Option<usize>,
}

/// Usage of a service by [`UsageKind`].
type Usage = [u128; UsageKind::COUNT];

#[derive(Clone, Debug)]
struct ServiceMeter {
    alb: Option<Alb>,
    egress: usize,
    inter_zone: usize,
    /// Bytes on the way out of the subnet: NAT gateway or interface endpoints.
    way_out: Option<usize>,
    log_ingestion: usize,
    log_storage: usize,
    /// Usage since the last cut.
    pending: Usage,
}

#[derive(Clone, Debug)]
struct Alb {
    lcu: usize,
    cross_zone: usize,
    meter: LcuMeter,
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
    groups: Vec<Group>,
    capacities: usize,
    services: Vec<ServiceMeter>,
    /// Entries that cost by the hour whatever happens, and how many of them there are.
    standing: Vec<(usize, u32)>,
    coverage: Option<(Coverage, usize)>,
    /// Kept to begin anew.
    fresh_coverage: Option<Coverage>,
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
        build.ways_out(billing.egress, zones, &mut standing)?;
        let coverage = build.savings_plan(billing, &mut standing)?;
        let mut meter = Self {
            titles: build.points.iter().map(|p| catalog.source(&p.source).0.to_string()).collect(),
            entries: build.entries,
            points: build.points,
            groups,
            capacities: plan.capacity.len(),
            services,
            standing,
            fresh_coverage: coverage.as_ref().map(|c| c.0.clone()),
            coverage,
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

    /// The image pull of a task begins: from here Fargate charges. A task that is known already is left as it is.
    ///
    /// # Panics
    /// When the service or the capacity is not one of the plan.
    pub fn task_pull_started(&mut self, task: TaskId, service: ServiceId, capacity: CapacityId, at: SimTime) {
        self.accrue(at);
        let group = service.index() * self.capacities + capacity.index();
        if !self.tasks.contains_key(&task) {
            self.groups[group].running += 1;
            self.tasks.insert(task, Running { group, pull_started: self.now });
        }
    }

    /// A task has stopped: here Fargate stops to charge, to the next whole second, after at least one
    /// minute. A task whose image pull never began costs nothing.
    pub fn task_stopped(&mut self, task: TaskId, at: SimTime) {
        self.accrue(at);
        if let Some(running) = self.tasks.swap_remove(&task) {
            self.groups[running.group].running -= 1;
            let end = running.pull_started + billed_time(self.now - running.pull_started);
            self.charge_group(running.group, 1, i128::from((end - self.now).as_nanos()));
            let cost = self.cost_of(running, end);
            self.stopped.insert(task, cost);
        }
    }

    /// What a task cost, until its stop or the latest instant, since charging began: vCPU, memory,
    /// storage and public address at the prices after discounts. A Savings Plan is left out: it belongs
    /// to the account, not to a task. Zero for a task whose image pull never began.
    #[must_use]
    pub fn task_cost(&self, task: TaskId) -> Usd {
        match self.tasks.get(&task) {
            Some(running) => self.cost_of(*running, self.now),
            None => self.stopped.get(&task).copied().unwrap_or(Usd::ZERO),
        }
    }

    /// What a task of a service costs an hour on a capacity, as [`Meter::task_cost`] counts it.
    ///
    /// # Panics
    /// When the service or the capacity is not one of the plan.
    #[must_use]
    pub fn task_price_per_hour(&self, service: ServiceId, capacity: CapacityId) -> Usd {
        let group = &self.groups[service.index() * self.capacities + capacity.index()];
        usd(mul_div_half_even(self.group_hour(group), 1, 1_024 * 1_000))
    }

    /// Dollars that an hour of a vCPU of a service costs: the mean over its use so far, else the price on
    /// its first capacity; zero without any capacity.
    #[must_use]
    pub fn vcpu_price_per_hour(&self, service: ServiceId) -> f64 {
        let first = service.index() * self.capacities;
        let groups = self.groups.get(first..first + self.capacities).unwrap_or(&[]);
        let accounts = || groups.iter().map(|g| &self.entries[g.vcpu]);
        let vcpu_hours: f64 = accounts().map(|e| e.account.closed_quantity()).sum();
        if vcpu_hours > 0.0 {
            accounts().map(|e| e.account.charged()).sum::<Usd>().dollars() / vcpu_hours
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
            alb.meter = LcuMeter::default();
        }
        if let (Some((coverage, _)), Some(fresh)) = (&mut self.coverage, &self.fresh_coverage) {
            *coverage = fresh.clone();
        }
        self.open_hour(self.now);
    }

    /// The bill of all intervals that were closed since charging began.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let used = || self.entries.iter().filter(|e| e.account.is_used());
        let mut lines: Vec<CostLine> =
            used().map(|e| e.line(e.account.closed_quantity(), e.account.charged())).collect();
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
        items.sort_by_key(|t| t.item);
        let mut by_service: Vec<(Option<ServiceId>, Usd)> = Vec::new();
        let owners = (0..self.services.len()).map(|s| Some(ServiceId::from(s))).chain([None]);
        for owner in owners {
            let mut owned = lines.iter().filter(|l| l.service == owner).peekable();
            if owned.peek().is_some() {
                by_service.push((owner, owned.map(|l| l.usd).sum()));
            }
        }
        Totals {
            usd: lines.iter().map(|l| l.usd).sum(),
            items,
            lines,
            by_service,
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
        self.services.get(service.index())?.alb.as_ref().map(|a| a.meter.all.lcu_hours())
    }

    /// The catalog's prices that this plan may use, before discounts.
    #[must_use]
    pub fn prices(&self) -> &[PricePoint] {
        &self.points
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
            let discount = item == Item::SavingsPlanCovered;
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
                for group in 0..self.groups.len() {
                    let running = self.groups[group].running;
                    if running > 0 {
                        self.charge_group(group, i128::from(running), ns);
                    }
                }
            }
            self.now = until;
            if until == hour_end {
                self.open_hour(until);
            }
        }
    }

    /// Charges `tasks` tasks of a group for `ns` nanoseconds each.
    fn charge_group(&mut self, group: usize, tasks: i128, ns: i128) {
        let group = &self.groups[group];
        let time = tasks * ns;
        let (cpu, memory) = (group.cpu_units * time, group.memory_mib * time);
        self.entries[group.vcpu].account.add(cpu);
        self.entries[group.memory].account.add(memory);
        self.entries[group.ephemeral].account.add(group.extra_mib * time);
        if let Some(ipv4) = group.ipv4 {
            // Addresses of tasks are charged like the tasks: per second, at least one minute.
            self.entries[ipv4].account.add(time);
        }
        if let (true, Some((coverage, _))) = (group.on_demand, &mut self.coverage) {
            let picos = |entry: usize| i128::from(self.entries[entry].price.picos());
            coverage.add(cpu * picos(group.vcpu) + memory * picos(group.memory));
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
        usd(mul_div_half_even(ns, self.group_hour(&self.groups[running.group]), TASK_PER * 1_000))
    }

    /// The end of the clock hour that `at` lies in.
    fn hour_end(&self, at: SimTime) -> SimTime {
        let hour = SimDuration::from_secs(3_600).as_nanos();
        let into = (at.as_nanos() % hour + self.hour_offset) % hour;
        at + SimDuration::from_nanos(hour - into)
    }

    /// Begins the clock hour that `at` lies in, for the Savings Plan.
    fn open_hour(&mut self, at: SimTime) {
        let (hour_end, from, end) = (self.hour_end(at), self.from, self.end);
        if let Some((coverage, _)) = &mut self.coverage {
            coverage.open_hour(i128::from((hour_end.min(end) - at.max(from)).as_nanos()));
        }
    }

    /// Books the usage added since the last call, spread evenly from `from` until now.
    fn book_usage(&mut self, from: SimTime) {
        let parts = self.hour_parts(from);
        for index in 0..self.services.len() {
            let used = std::mem::take(&mut self.services[index].pending);
            self.book(index, &used, &parts);
        }
        if let Some((coverage, entry)) = &self.coverage {
            self.entries[*entry].account.set(coverage.covered());
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
        let Self { item, service, capacity, price, .. } = *self;
        CostLine { item, service, capacity, quantity, unit: item.unit(), unit_price: price, usd }
    }
}

fn sort(lines: &mut [CostLine]) {
    lines.sort_by_key(|l| (l.item, l.service, l.capacity));
}

/// A percentage in millionths.
fn millionths(key: &'static str, percent: f64, below_all: bool) -> Result<u32, BillingError> {
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

/// Builds the entries of a meter.
struct Builder<'a> {
    catalog: &'a Catalog,
    region: &'a str,
    discount: u32,
    entries: Vec<Entry>,
    points: Vec<PricePoint>,
}

/// Who an entry belongs to.
type Owner = (Option<ServiceId>, Option<CapacityId>);

impl Builder<'_> {
    fn entry(&mut self, item: Item, owner: Owner, listed: (&str, &str), per: i128) -> Result<usize, BillingError> {
        let point = self.catalog.require(self.region, listed.0, listed.1)?;
        let list_price = point.price;
        let price = list_price.less_millionths(self.discount);
        let index = self.point(point);
        let account = Account::new(price.picos(), per);
        Ok(self.push(Entry {
            item,
            service: owner.0,
            capacity: owner.1,
            price,
            list_price,
            point: Some(index),
            account,
        }))
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

    fn group(
        &mut self,
        name: &str,
        service: &Service,
        id: ServiceId,
        capacity_id: CapacityId,
        capacity: &Capacity,
        egress: Egress,
    ) -> Result<Group, BillingError> {
        let task = &service.task;
        if !task.cpu.parts().is_multiple_of(125) || !task.memory.get().is_multiple_of(1 << 20) {
            return Err(BillingError::Size { service: name.to_string() });
        }
        let arch = match task.architecture {
            Architecture::X86 => Arch::X86,
            Architecture::Arm => Arch::Arm,
        };
        let spot = match capacity {
            // A plan whose tasks share instances is refused before it runs.
            Capacity::Fargate(_) | Capacity::Ec2(_) | Capacity::ManagedInstances(_) => false,
            Capacity::FargateSpot(_) => true,
        };
        let (vcpu, memory) = match spot {
            false => (Item::FargateVcpu, Item::FargateMemory),
            true => (Item::FargateSpotVcpu, Item::FargateSpotMemory),
        };
        let owner = (Some(id), Some(capacity_id));
        let [vcpu_price, memory_price] = Catalog::fargate_items(arch, spot);
        let extra = task.ephemeral_storage.get().div_ceil(1 << 20).saturating_sub(FREE_EPHEMERAL_MIB);
        Ok(Group {
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
        })
    }

    fn service(
        &mut self,
        service: &Service,
        id: ServiceId,
        egress: Egress,
        zones: u32,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<ServiceMeter, BillingError> {
        let owner = (Some(id), None);
        let alb = match &service.load_balancer {
            None => None,
            Some(_) => {
                standing.push((self.entry(Item::Alb, owner, ("elb", "alb_hour"), HOUR_NS)?, 1));
                standing.push((self.entry(Item::AlbIpv4, owner, ("vpc", "public_ipv4_hour"), HOUR_NS)?, zones));
                Some(Alb {
                    lcu: self.entry(Item::AlbLcu, owner, ("elb", "alb_lcu_hour"), LCU_PER)?,
                    cross_zone: self.entry(Item::AlbCrossZone, owner, ("data-transfer", "alb_cross_zone_gb"), GB)?,
                    meter: LcuMeter::default(),
                })
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

    fn ways_out(&mut self, egress: Egress, zones: u32, standing: &mut Vec<(usize, u32)>) -> Result<(), BillingError> {
        let cluster = (None, None);
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

    fn savings_plan(
        &mut self,
        billing: &Billing,
        standing: &mut Vec<(usize, u32)>,
    ) -> Result<Option<(Coverage, usize)>, BillingError> {
        let commitment = billing.savings_plan_commitment;
        if !(0..=1_000_000_000_000_000).contains(&commitment.nanos()) {
            return Err(BillingError::Commitment(commitment.dollars()));
        }
        let typical = self.catalog.savings_plans().first();
        let (percent, point) = match (billing.savings_plan_discount_percent, typical) {
            (Some(percent), _) => (percent, None),
            (None, None) => (0.0, None),
            (None, Some(plan)) => {
                let point = PricePoint {
                    region: self.region.to_string(),
                    listed_in: self.region.to_string(),
                    service: plan.product.clone(),
                    item: format!("{} {} discount", plan.term, plan.payment),
                    unit: "%".to_string(),
                    price: Price::from_picos((plan.discount_percent * Price::PER_DOLLAR as f64) as i64),
                    source: plan.source.clone(),
                    as_of: Some(plan.as_of),
                    confidence: plan.confidence,
                };
                (plan.discount_percent, Some(point))
            }
        };
        let discount = millionths("savings_plan_discount_percent", percent, true)?;
        if commitment == Usd::ZERO {
            return Ok(None);
        }
        let point = point.map(|p| self.point(p));
        let picos = commitment.nanos() * 1_000;
        let cluster = |item: Item, price: Price, point: Option<usize>, account: Account| Entry {
            item,
            service: None,
            capacity: None,
            price,
            list_price: price,
            point,
            account,
        };
        let fee = Account::new(picos, HOUR_NS);
        standing.push((self.push(cluster(Item::SavingsPlan, Price::from_picos(picos), None, fee)), 1));
        // Covered use is counted in the unit in which `charge_group` values it, and taken off.
        let covered = Account::of_money(-1, TASK_PER * 1_000, TASK_PER * i128::from(Price::PER_DOLLAR));
        let minus_one = Price::from_picos(-Price::PER_DOLLAR);
        let entry = self.push(cluster(Item::SavingsPlanCovered, minus_one, point, covered));
        Ok(Some((Coverage::new(i128::from(picos), discount, TASK_PER), entry)))
    }
}
