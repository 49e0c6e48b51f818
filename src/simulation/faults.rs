//! Faults at work: when they strike, what they do to the world, and how it ends.
//!
//! What holds at an instant is always worked out from the faults that are active then, so that faults may overlap
//! and end in any order. A fault draws from a root of its own by the number of its occurrence.

use super::incident::{FaultTime, Loss};
use super::scale::to_json;
use super::trouble::TroubleKind;
use super::{ControlEvent, Simulation, Timer};
use crate::cluster::{Command, StopCode, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::output::{DecisionDetail, DecisionRow, FaultSummary};
use crate::scenario::model::{
    DependencySlowdown, Fault, Metric, NetworkMode, Plan, PullFailure, Switch, ZoneLoss, ZoneOutage,
};
use crate::traffic::TargetState;
use crate::units::{Cpu, NodeId, ServiceId, TaskId, ZoneId};

/// What a scheduled event of a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStep {
    /// It strikes.
    Begins,
    /// It is over.
    Ends,
    /// The control plane learns of lost machines.
    Noticed,
    /// Clients no longer use the balancer's nodes in a lost zone.
    DnsFailover,
    /// The shortage that an outage brought is over.
    ShortageEnds,
}

/// Purposes of a fault's draws.
mod purpose {
    pub(super) const GAP: u64 = 1;
    pub(super) const DURATION: u64 = 2;
    pub(super) const MACHINE: u64 = 3;
    pub(super) const PULL: u64 = 4;
    pub(super) const CHECK: u64 = 5;
}

/// Occurrences that the summary lists; what comes after them stands in `decisions.csv` only.
const LISTED: usize = 200;

/// Time after a remedy in which an incident that ends was ended by it.
const REMEDY_REACH: SimDuration = SimDuration::from_secs(30);

/// A fault of the plan while the simulation runs.
#[derive(Debug)]
struct FaultRuntime<'p> {
    name: &'p str,
    plan: &'p Fault,
    root: u64,
    occurrence: u64,
    /// Since when it is active.
    since: Option<SimTime>,
    /// Since when its shortage of capacity lasts; it may outlast the fault.
    shortage_since: Option<SimTime>,
    /// The control plane knows of the outage.
    noticed: bool,
    /// Clients still use the balancer's nodes there.
    entry_lost: bool,
    /// Services whose load balancers AWS has shifted because of it.
    autoshifted: Vec<bool>,
    /// Tasks whose machine is lost, and when the control plane learns of it.
    lost: Vec<(SimTime, TaskId)>,
    /// Its place in the list of the summary, and those of the shifts that it brought.
    listed: Option<usize>,
    shifts: Vec<usize>,
}

/// The faults of a run, and what they need to know of it.
#[derive(Debug)]
pub(super) struct Faults<'p> {
    list: Vec<FaultRuntime<'p>>,
    /// Occurrences for the summary, and how many are not listed.
    pub(super) occurrences: Vec<FaultSummary>,
    pub(super) unlisted: u64,
    /// When what was active, for the breakdown of incidents.
    pub(super) times: Vec<FaultTime>,
    /// When something else than a launch may have ended an incident: a fault was over, DNS or a shift left a zone out.
    remedies: Vec<SimTime>,
    /// Addresses that tasks hold, by zone.
    addresses: Vec<u32>,
    /// What is remembered of losses, by service.
    pub(super) losses: Vec<Loss>,
}

/// What can fail: the micro-VM of a task on Fargate, or an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Machine {
    Task(TaskId),
    Node(NodeId),
}

/// Why a launch has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaunchWait {
    Capacity,
    Quota,
    Address,
}

/// What becomes of an image pull.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pull {
    /// Factor on the time.
    pub(super) slower: f64,
    /// Time spent on tries that failed.
    pub(super) lost: SimDuration,
    /// The agent gives up.
    pub(super) gives_up: bool,
}

impl<'p> Faults<'p> {
    pub(super) fn new(plan: &'p Plan, streams: &Streams) -> Self {
        let list = plan.faults.iter().map(|(name, fault)| FaultRuntime {
            name,
            plan: fault,
            root: streams.root(&format!("faults/{name}")),
            occurrence: 0,
            since: None,
            shortage_since: None,
            noticed: false,
            entry_lost: false,
            autoshifted: vec![false; plan.services.len()],
            lost: Vec::new(),
            listed: None,
            shifts: Vec::new(),
        });
        Self {
            list: list.collect(),
            occurrences: Vec::new(),
            unlisted: 0,
            times: Vec::new(),
            remedies: Vec::new(),
            addresses: vec![0; plan.cluster.zones as usize],
            losses: vec![Loss::default(); plan.services.len()],
        }
    }

    /// Something may end an incident now.
    fn remedied(&mut self, now: SimTime) {
        if self.remedies.len() >= LISTED {
            self.remedies.drain(..LISTED / 2);
        }
        self.remedies.push(now);
    }

    /// Whether an incident that ended at `end` was ended by something else than a launch.
    pub(super) fn ended_otherwise(&self, end: SimTime, interval: SimDuration) -> bool {
        self.remedies.iter().any(|&t| t <= end + interval && end <= t + REMEDY_REACH)
    }

    fn active(&self) -> impl Iterator<Item = &FaultRuntime<'p>> {
        self.list.iter().filter(|f| f.since.is_some())
    }

    fn outages(&self) -> impl Iterator<Item = (&FaultRuntime<'p>, &'p ZoneOutage)> {
        self.list.iter().filter_map(|f| match f.plan {
            Fault::ZoneOutage(o) => Some((f, o)),
            _ => None,
        })
    }

    /// Whether a zone is out.
    fn is_out(&self, zone: u32) -> bool {
        self.outages().any(|(f, o)| f.since.is_some() && o.zones.contains(&zone))
    }

    /// Whether the control plane knows that a zone is out.
    pub(super) fn is_shut(&self, zone: u32) -> bool {
        self.outages().any(|(f, o)| f.noticed && o.zones.contains(&zone))
    }

    /// Whether the control plane knows of any zone that is out: then it does not balance zones.
    pub(super) fn any_shut(&self) -> bool {
        self.outages().any(|(f, _)| f.noticed)
    }

    /// Share of launches on a capacity in a zone that find none, because of faults.
    pub(super) fn shortage(&self, capacity: &str, zone: u32) -> f64 {
        if self.is_out(zone) {
            return 1.0;
        }
        let mut found = 1.0;
        for f in &self.list {
            let share = match f.plan {
                Fault::ZoneOutage(o) if f.shortage_since.is_some() => o.shortage,
                Fault::CapacityShortage(s)
                    if f.since.is_some() && concerns(&s.zones, zone) && of_service(&s.capacities, capacity) =>
                {
                    s.share
                }
                _ => 0.0,
            };
            found *= 1.0 - share;
        }
        1.0 - found
    }

    /// Metrics of a service that are not published now.
    pub(super) fn hidden(&self, service: &str) -> Hidden {
        let mut hidden = Hidden::default();
        for f in self.active() {
            if let Fault::MetricGap(g) = f.plan
                && of_service(&g.services, service)
            {
                hidden.all |= g.metrics.is_empty();
                hidden.some.extend(&g.metrics);
            }
        }
        hidden
    }

    /// Network time, speed and errors of a zone: added, a factor, a share.
    fn slowness(&self, zone: u32) -> (SimDuration, f64, f64) {
        let (mut latency, mut speed, mut good) = (SimDuration::ZERO, 1.0, 1.0);
        for f in self.active() {
            if let Fault::SlowZone(s) = f.plan
                && s.zones.contains(&zone)
            {
                latency += s.latency;
                speed *= s.cpu_speed;
                good *= 1.0 - s.error_rate;
            }
        }
        (latency, speed, 1.0 - good)
    }

    fn is_shifted(&self, service: ServiceId, name: &str, zone: u32) -> bool {
        self.active().any(|f| match f.plan {
            Fault::ZonalShift(s) => s.zone == zone && of_service(&s.services, name),
            _ => f.autoshifted[service.index()] && zones_of(f.plan).contains(&zone),
        })
    }

    /// Names of the faults that are active, or were since `from`.
    pub(super) fn any_between(&self, from: SimTime, to: SimTime) -> impl Iterator<Item = &FaultTime> {
        self.times.iter().filter(move |t| t.start < to && t.end.is_none_or(|end| end > from))
    }
}

/// Metrics that are not published.
#[derive(Clone, Debug, Default)]
pub(super) struct Hidden {
    all: bool,
    some: Vec<Metric>,
}

impl Hidden {
    pub(super) fn hides(&self, metric: Metric) -> bool {
        self.all || self.some.contains(&metric)
    }
}

/// An empty list means all.
fn concerns(zones: &[u32], zone: u32) -> bool {
    zones.is_empty() || zones.contains(&zone)
}

/// An empty list means all.
fn of_service(services: &[String], name: &str) -> bool {
    services.is_empty() || services.iter().any(|s| s == name)
}

/// The zones that a fault makes bad, where autoshift would leave them.
fn zones_of(fault: &Fault) -> &[u32] {
    match fault {
        Fault::ZoneOutage(f) => &f.zones,
        Fault::SlowZone(f) => &f.zones,
        _ => &[],
    }
}

fn zone_names(zones: &[u32]) -> String {
    let letters: Vec<String> = zones.iter().map(|z| super::intervals::zone_letter(*z)).collect();
    match letters.len() {
        0 => "all zones".to_string(),
        1 => format!("zone {}", letters[0]),
        _ => format!("zones {}", letters.join(", ")),
    }
}

fn or_all(names: &[String], all: &str) -> String {
    if names.is_empty() { all.to_string() } else { names.join(", ") }
}

fn tasks(n: usize) -> String {
    if n == 1 { "1 task".to_string() } else { format!("{n} tasks") }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

impl Simulation<'_> {
    /// Schedules the first occurrence of every fault.
    pub(super) fn start_faults(&mut self) {
        for index in 0..self.faults.list.len() {
            let f = &self.faults.list[index];
            let first = match f.plan.strikes() {
                (Some(at), _) => Some(SimTime::ZERO + at),
                (None, Some(mean)) => Some(SimTime::ZERO + f.gap(mean)),
                (None, None) => None,
            };
            if let Some(at) = first {
                self.schedule_fault(index, at, FaultStep::Begins);
            }
        }
    }

    fn schedule_fault(&mut self, index: usize, at: SimTime, step: FaultStep) {
        if at <= self.end {
            self.queue.schedule(at, Phase::State, ControlEvent::Fault(index as u16, step).into());
        }
    }

    /// An event of a fault.
    pub(super) fn on_fault(&mut self, index: usize, step: FaultStep) {
        match step {
            FaultStep::Begins => self.fault_begins(index),
            FaultStep::Ends => self.fault_ends(index),
            FaultStep::Noticed => self.fault_noticed(index),
            FaultStep::DnsFailover => {
                if std::mem::take(&mut self.faults.list[index].entry_lost) {
                    self.faults.remedied(self.queue.now());
                    self.share_entries();
                    self.fault_row(
                        index,
                        "dns_failover",
                        0,
                        "clients use the load balancers' nodes in the other zones",
                    );
                }
            }
            FaultStep::ShortageEnds => {
                if self.faults.list[index].shortage_since.take().is_some() {
                    self.fault_row(index, "shortage_ends", 0, "launches in the other zones find capacity again");
                }
            }
        }
    }

    fn fault_begins(&mut self, index: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        let plan = f.plan;
        let draw = Draw::new(f.root).of(f.occurrence);
        let lasts = plan
            .duration()
            .map(|law| SimDuration::from_secs_f64(law.law().quantile(draw.of(purpose::DURATION).unit()).max(0.0)));
        f.since = Some(now);
        let (hit, text) = self.strike(index, draw);
        let f = &mut self.faults.list[index];
        let summary = FaultSummary {
            name: f.name.to_string(),
            kind: plan.tag().to_string(),
            start_s: now.as_secs_f64(),
            end_s: None,
            text: text.clone(),
        };
        if self.faults.occurrences.len() < LISTED {
            f.listed = Some(self.faults.occurrences.len());
            self.faults.occurrences.push(summary);
        } else {
            f.listed = None;
            self.faults.unlisted += 1;
        }
        // A shift is a remedy: what goes on under it is not its doing.
        if !matches!(plan, Fault::ZonalShift(_)) {
            self.faults.times.push(FaultTime { fault: index, start: now, end: None });
        }
        self.fault_row(index, "begins", hit, &text);
        match lasts {
            Some(lasts) => self.schedule_fault(index, now + lasts, FaultStep::Ends),
            None => self.fault_over(index),
        }
    }

    /// What a fault does when it strikes: how many tasks it hit, and a sentence.
    fn strike(&mut self, index: usize, draw: Draw) -> (usize, String) {
        let now = self.queue.now();
        let plan = self.faults.list[index].plan;
        match plan {
            Fault::ZoneOutage(o) => {
                let mut hit = 0;
                if o.loss == ZoneLoss::Power {
                    // Their tasks are among those below.
                    for node in self.running_nodes(|spec| o.zones.contains(&spec.zone.0)) {
                        self.lose_node(node, o.noticed_after);
                    }
                }
                for task in self.tasks_where(|t| o.zones.contains(&t.zone.0)) {
                    let starting = self.cluster.task(task).status < TaskStatus::Running;
                    match o.loss {
                        ZoneLoss::Power => hit += usize::from(self.lose_machine(index, task, o.noticed_after)),
                        // Without a network nothing starts.
                        ZoneLoss::Network if starting => {
                            hit += usize::from(self.lose_machine(index, task, o.noticed_after));
                        }
                        ZoneLoss::Network => {
                            if let Some(server) = self.tasks[task.index()].server {
                                self.data.cut_off(&mut self.queue, server, true);
                                hit += 1;
                            }
                        }
                    }
                }
                self.schedule_fault(index, now + o.noticed_after, FaultStep::Noticed);
                if !o.dns_failover.is_zero() {
                    self.faults.list[index].entry_lost = true;
                    self.share_entries();
                    self.schedule_fault(index, now + o.dns_failover, FaultStep::DnsFailover);
                }
                if o.shortage > 0.0 {
                    self.faults.list[index].shortage_since = Some(now);
                    if let Some(lasts) = o.shortage_duration {
                        self.schedule_fault(index, now + lasts, FaultStep::ShortageEnds);
                    }
                }
                self.plan_autoshift(index);
                let what = match o.loss {
                    ZoneLoss::Power => "gone",
                    ZoneLoss::Network => "cut off",
                };
                let short = if o.shortage > 0.0 {
                    format!("; {} of the launches elsewhere find no capacity", percent(o.shortage))
                } else {
                    String::new()
                };
                let entry = if o.dns_failover.is_zero() {
                    String::new()
                } else {
                    let lasts = crate::units::print_duration(o.dns_failover);
                    format!(", and connections to load balancer nodes there get no answer for {lasts}")
                };
                let zone = zone_names(&o.zones);
                (hit, format!("{zone} is out: {} there {} {what}{entry}{short}", tasks(hit), are(hit)))
            }
            Fault::SlowZone(s) => {
                let hit = self.refresh_zones(&s.zones);
                self.plan_autoshift(index);
                let mut parts = Vec::new();
                if !s.latency.is_zero() {
                    parts.push(format!("{} more network time", crate::units::print_duration(s.latency)));
                }
                if s.cpu_speed < 1.0 {
                    parts.push(format!("CPUs at {} of their speed", percent(s.cpu_speed)));
                }
                if s.error_rate > 0.0 {
                    parts.push(format!("{} of the requests fail", percent(s.error_rate)));
                }
                (hit, format!("{} is slow ({}): {} there", zone_names(&s.zones), parts.join(", "), tasks(hit)))
            }
            Fault::ZonalShift(s) => {
                self.faults.remedied(now);
                let hit = self.refresh_targets(&[s.zone]);
                let whose = or_all(&s.services, "all services");
                (
                    hit,
                    format!("traffic of {whose} is shifted away from {}: {} there", zone_names(&[s.zone]), tasks(hit)),
                )
            }
            Fault::NodeFailure(n) => {
                let named = |capacity: crate::units::CapacityId| {
                    let name = self.capacities[capacity.index()].name;
                    n.capacities.is_empty() || n.capacities.iter().any(|c| c == name)
                };
                let micro_vms = self
                    .tasks_where(|t| concerns(&n.zones, t.zone.0) && t.node.is_none())
                    .into_iter()
                    .filter(|&id| {
                        let t = self.cluster.task(id);
                        t.status >= TaskStatus::Pending && !self.tasks[id.index()].machine_lost && named(t.capacity)
                    })
                    .map(|id| (draw.of(purpose::MACHINE).of(self.tasks[id.index()].draw).bits(), Machine::Task(id)));
                let instances = self
                    .running_nodes(|spec| concerns(&n.zones, spec.zone.0) && named(spec.capacity))
                    .into_iter()
                    .map(|id| (draw.of(purpose::MACHINE).of(self.nodes[id.index()].draw).bits(), Machine::Node(id)));
                let mut machines: Vec<(u64, Machine)> = micro_vms.chain(instances).collect();
                match n.share {
                    Some(share) => machines.retain(|m| crate::kernel::unit_f64(m.0) < share),
                    None => {
                        machines.sort_unstable();
                        machines.truncate(n.count.unwrap_or(1) as usize);
                    }
                }
                let mut hit = 0;
                for (_, machine) in machines {
                    match machine {
                        Machine::Task(task) => hit += usize::from(self.lose_machine(index, task, n.noticed_after)),
                        Machine::Node(node) => {
                            for task in self.lose_node(node, n.noticed_after) {
                                hit += usize::from(self.lose_machine(index, task, n.noticed_after));
                            }
                        }
                    }
                }
                self.schedule_fault(index, now + n.noticed_after, FaultStep::Noticed);
                (hit, format!("the machines under {} fail", tasks(hit)))
            }
            Fault::CapacityShortage(s) => {
                let where_ = zone_names(&s.zones);
                let what = or_all(&s.capacities, "all capacities");
                (0, format!("{} of the launches on {what} find no capacity in {where_}", percent(s.share)))
            }
            Fault::PullFailure(p) => (
                0,
                format!(
                    "{} of the tries to pull images of {} fail",
                    percent(p.share),
                    or_all(&p.services, "all services")
                ),
            ),
            Fault::SlowPull(p) => {
                let whose = or_all(&p.services, "all services");
                (0, format!("images of {whose} are pulled at {} of the bandwidth", percent(p.bandwidth_factor)))
            }
            Fault::DependencySlowdown(d) => {
                self.refresh_slowness(d);
                let mut parts = Vec::new();
                if d.wait_factor != 1.0 {
                    parts.push(format!("takes {} times as long", d.wait_factor));
                }
                if d.speed != 1.0 {
                    parts.push(format!("works at {} of its speed", percent(d.speed)));
                }
                if d.error_rate > 0.0 {
                    parts.push(format!("fails {} of the time", percent(d.error_rate)));
                }
                let who = match (&d.service, &d.dependency) {
                    (Some(service), _) => format!("what {service} depends on"),
                    (_, Some(name)) => name.clone(),
                    (None, None) => String::new(),
                };
                (0, format!("{who} {}", parts.join(" and ")))
            }
            Fault::Quota(_) => {
                self.refresh_quotas();
                (0, "quotas of the account are smaller".to_string())
            }
            Fault::SubnetAddresses(s) => {
                (0, format!("{} addresses are taken in the subnets of {}", s.taken, zone_names(&s.zones)))
            }
            Fault::MetricGap(g) => {
                let what = match g.metrics.as_slice() {
                    [] => "no metric".to_string(),
                    some => format!("no {}", some.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ")),
                };
                (0, format!("{what} of {} is published", or_all(&g.services, "any service")))
            }
            Fault::HealthCheckFailure(h) => {
                let whose = or_all(&h.services, "all services");
                (0, format!("{} of the health checks of {whose} fail for nothing", percent(h.share)))
            }
        }
    }

    /// A fault ends: everything that it changed is worked out again without it.
    fn fault_ends(&mut self, index: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        let plan = f.plan;
        f.since = None;
        f.noticed = false;
        let entry = std::mem::take(&mut f.entry_lost);
        let shifted = f.autoshifted.iter_mut().any(std::mem::take);
        f.autoshifted.fill(false);
        if let Fault::ZoneOutage(o) = plan
            && o.shortage_duration.is_none()
        {
            f.shortage_since = None;
        }
        match plan {
            Fault::ZoneOutage(o) => {
                for task in self.tasks_where(|t| o.zones.contains(&t.zone.0)) {
                    let runtime = &self.tasks[task.index()];
                    let (lost, zone) = (runtime.machine_lost, self.cluster.task(task).zone.0);
                    if let Some(server) = runtime.server.filter(|_| !lost && !self.faults.is_out(zone)) {
                        self.data.cut_off(&mut self.queue, server, false);
                        self.serve_again(task);
                    }
                }
                if entry {
                    self.share_entries();
                }
                // The scheduler may use the zone again.
                for service in 0..self.services.len() {
                    self.wake_scheduler(ServiceId::from(service));
                }
            }
            Fault::SlowZone(s) => {
                self.refresh_zones(&s.zones);
            }
            Fault::ZonalShift(s) => {
                self.refresh_targets(&[s.zone]);
            }
            Fault::DependencySlowdown(d) => self.refresh_slowness(d),
            Fault::Quota(_) => self.refresh_quotas(),
            _ => {}
        }
        if matches!(
            plan,
            Fault::ZoneOutage(_) | Fault::SlowZone(_) | Fault::DependencySlowdown(_) | Fault::HealthCheckFailure(_)
        ) {
            self.faults.remedied(now);
        }
        if shifted {
            self.refresh_targets(zones_of(plan));
        }
        if let Some(time) = self.faults.times.iter_mut().rev().find(|t| t.fault == index && t.end.is_none()) {
            time.end = Some(now);
        }
        let f = &mut self.faults.list[index];
        for at in f.listed.into_iter().chain(std::mem::take(&mut f.shifts)) {
            self.faults.occurrences[at].end_s = Some(now.as_secs_f64());
        }
        self.fault_row(index, "ends", 0, "the fault is over");
        self.fault_over(index);
    }

    /// An occurrence is over: the next one of a random process is drawn.
    fn fault_over(&mut self, index: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        f.occurrence += 1;
        if f.plan.duration().is_none() {
            f.since = None;
            if let Some(time) = self.faults.times.last_mut().filter(|t| t.fault == index) {
                // What it did lasts until the control plane knows of it.
                let Fault::NodeFailure(n) = f.plan else { return };
                time.end = Some(now + n.noticed_after);
                let ends = (now + n.noticed_after).as_secs_f64();
                if let Some(listed) = f.listed.and_then(|at| self.faults.occurrences.get_mut(at)) {
                    listed.end_s = Some(ends);
                }
            }
        }
        if let (None, Some(mean)) = f.plan.strikes() {
            let next = now + f.gap(mean);
            self.schedule_fault(index, next, FaultStep::Begins);
        }
    }

    /// The control plane learns what a fault took: lost tasks are STOPPED, and nothing is launched in a lost zone.
    fn fault_noticed(&mut self, index: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        let known: Vec<TaskId> = f.lost.iter().filter(|l| l.0 <= now).map(|l| l.1).collect();
        f.lost.retain(|l| l.0 > now);
        let zones = match f.plan {
            Fault::ZoneOutage(o) if f.since.is_some_and(|since| since + o.noticed_after <= now) => {
                f.noticed = true;
                format!(", and nothing more is launched in {}", zone_names(&o.zones))
            }
            _ => String::new(),
        };
        let mut stopped = 0;
        for task in known {
            let t = self.cluster.task(task);
            if t.status >= TaskStatus::Deprovisioning {
                continue;
            }
            stopped += 1;
            let service = t.service;
            self.services[service.index()].trouble.note(TroubleKind::LostMachine, now);
            if t.stop_code.is_none() {
                self.tasks[task.index()].stop_reason = "The machine under the task was lost".into();
                self.end_task(task, StopCode::HostLost);
            } else {
                self.abandon_stop(task);
            }
        }
        let text = format!("the control plane knows: {} STOPPED{zones}", tasks(stopped));
        self.fault_row(index, "noticed", stopped, &text);
        for service in 0..self.services.len() {
            self.wake_scheduler(ServiceId::from(service));
        }
    }

    /// The machine under a task stops. False where there is none.
    fn lose_machine(&mut self, index: usize, task: TaskId, noticed_after: SimDuration) -> bool {
        let status = self.cluster.task(task).status;
        let runtime = &mut self.tasks[task.index()];
        let has_machine = status >= TaskStatus::Pending || runtime.start == super::life::StartStep::Pending;
        if !has_machine || runtime.machine_lost || status >= TaskStatus::Deprovisioning {
            return false;
        }
        runtime.machine_lost = true;
        let server = runtime.server;
        for timer in [Timer::Start(task), Timer::Exit(task), Timer::Spot(task), Timer::ContainerCheck(task)] {
            self.queue.cancel_timer(timer);
        }
        if let Some(server) = server {
            self.data.cut_off(&mut self.queue, server, true);
        }
        let at = self.queue.now() + noticed_after;
        self.faults.list[index].lost.push((at, task));
        true
    }

    /// A service's tasks that are not STOPPED, of all services, for which `test` holds.
    fn tasks_where(&self, test: impl Fn(&crate::cluster::Task) -> bool) -> Vec<TaskId> {
        let all = self.cluster.services().iter().flat_map(|s| s.tasks.iter().copied());
        all.filter(|&id| test(self.cluster.task(id))).collect()
    }

    /// A server that is reached again does what its task does beside requests.
    fn serve_again(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        if t.status == TaskStatus::Running && t.stop_code.is_none() {
            let s = &self.services[t.service.index()];
            let ready = t.times.ready.is_some();
            let cpu = if ready { s.sidecar_cpu } else { s.plan.task.startup_cpu + s.sidecar_cpu };
            if let Some(server) = self.tasks[task.index()].server {
                self.data.set_background(&mut self.queue, server, cpu);
            }
        }
    }

    /// Sets the share of connections of every service that go to a lost balancer node.
    fn share_entries(&mut self) {
        let zones = self.plan.cluster.zones;
        let lost = (0..zones)
            .filter(|z| self.faults.outages().any(|(f, o)| f.entry_lost && f.since.is_some() && o.zones.contains(z)))
            .count();
        let share = lost as f64 / f64::from(zones.max(1));
        for (index, s) in self.services.iter().enumerate() {
            if s.plan.load_balancer.is_some() {
                self.data.set_lost_entry(ServiceId::from(index), share);
            }
        }
    }

    /// Works speed, errors and network time of the servers in some zones out again; how many there are.
    fn refresh_zones(&mut self, zones: &[u32]) -> usize {
        let hit = self.tasks_where(|t| zones.contains(&t.zone.0));
        hit.into_iter().filter(|&task| self.refresh_server(task)).count()
    }

    /// Sets what slow zones do to a task's server. False when it has none.
    pub(super) fn refresh_server(&mut self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        let Some(server) = self.tasks[task.index()].server else { return false };
        let (latency, speed, errors) = self.faults.slowness(t.zone.0);
        let own = self.services[t.service.index()].revisions[t.revision as usize].effect.error_rate;
        self.data.set_network(server, own + errors - own * errors, latency);
        self.data.set_speed(&mut self.queue, server, speed);
        true
    }

    /// A task got its server: slow zones slow it, lost ones cut it off.
    pub(super) fn fault_new_server(&mut self, task: TaskId) {
        if self.faults.list.is_empty() {
            return;
        }
        let zone = self.cluster.task(task).zone.0;
        let (latency, speed, errors) = self.faults.slowness(zone);
        if speed != 1.0 || errors > 0.0 || !latency.is_zero() {
            self.refresh_server(task);
        }
        if let Some(server) = self.tasks[task.index()].server.filter(|_| self.faults.is_out(zone)) {
            self.data.cut_off(&mut self.queue, server, true);
        }
    }

    /// Says to the balancers again which targets of some zones they may use; how many there are.
    fn refresh_targets(&mut self, zones: &[u32]) -> usize {
        let mut hit = 0;
        for task in self.tasks_where(|t| zones.contains(&t.zone.0)) {
            let runtime = &self.tasks[task.index()];
            if runtime.registered && !runtime.deregistering {
                self.show_target(task);
                hit += 1;
            }
        }
        hit
    }

    /// Tells the balancer the state of a target: what its health checks say, unless its zone is shifted away.
    pub(super) fn show_target(&mut self, task: TaskId) {
        use crate::cluster::target_health::TargetState as Verdict;
        let t = self.cluster.task(task);
        let (service, zone) = (t.service, t.zone.0);
        let runtime = &self.tasks[task.index()];
        let Some(server) = runtime.server else { return };
        let shifted = self.faults.is_shifted(service, self.services[service.index()].name, zone);
        let state = match runtime.target.state() {
            _ if shifted => TargetState::Unused,
            Verdict::Healthy => TargetState::Healthy,
            Verdict::Unhealthy => TargetState::Unhealthy,
            Verdict::Initial => TargetState::Initial,
            Verdict::Draining => TargetState::Draining,
            Verdict::Unused => TargetState::Unused,
        };
        self.data.set_target(&mut self.queue, server, state);
    }

    /// Schedules the shift that AWS makes by itself for services that allow it.
    fn plan_autoshift(&mut self, index: usize) {
        let now = self.queue.now();
        for (service, s) in self.services.iter().enumerate() {
            if let Some(lb) = &s.plan.load_balancer
                && lb.zonal_autoshift == Switch::Enabled
                && now + lb.zonal_autoshift_delay <= self.end
            {
                let event = ControlEvent::Autoshift(index as u16, service as u16);
                self.queue.schedule(now + lb.zonal_autoshift_delay, Phase::State, event.into());
            }
        }
    }

    /// AWS shifts the traffic of a service away from a bad zone.
    pub(super) fn on_autoshift(&mut self, index: usize, service: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        let Some(lb) = &self.services[service].plan.load_balancer else { return };
        if f.since.is_none_or(|since| since + lb.zonal_autoshift_delay != now) {
            return; // the zone has recovered in the meantime
        }
        f.autoshifted[service] = true;
        let shift = FaultSummary {
            name: format!("autoshift of {}", self.services[service].name),
            kind: "zonal_autoshift".to_string(),
            start_s: now.as_secs_f64(),
            end_s: None,
            text: format!("AWS takes {} out of its load balancer", zone_names(zones_of(f.plan))),
        };
        if self.faults.occurrences.len() < LISTED {
            f.shifts.push(self.faults.occurrences.len());
            self.faults.occurrences.push(shift);
        }
        let zones = zones_of(f.plan);
        self.faults.remedied(now);
        let hit = self.refresh_targets(zones);
        let text = format!(
            "zonal autoshift takes {} out of the load balancer of {}",
            zone_names(zones),
            self.services[service].name
        );
        let name = self.services[service].name;
        let row = DecisionRow {
            controller: "zonal_autoshift".into(),
            service: name.into(),
            ..self.row_of(index, "shifted", hit, &text)
        };
        self.recorder.decision(&row, &DecisionDetail { observation: to_json(&()), memory: to_json(&()) });
    }

    /// Works out again how slow what a fault names is.
    fn refresh_slowness(&mut self, d: &DependencySlowdown) {
        if let Some(name) = &d.service {
            self.refresh_waits(name);
        }
        let plan = self.plan;
        let Some((name, index)) = d.dependency.as_ref().and_then(|n| Some((n, plan.dependencies.get_index_of(n)?)))
        else {
            return;
        };
        let (mut speed, mut good) = (1.0, 1.0);
        for f in self.faults.active() {
            if let Fault::DependencySlowdown(d) = f.plan
                && d.dependency.as_ref() == Some(name)
            {
                speed *= d.speed;
                good *= 1.0 - d.error_rate;
            }
        }
        self.data.set_dependency_speed(&mut self.queue, index, speed);
        // A dependency is a service of its own in the data plane, with one class.
        self.data.set_dependency(ServiceId::from(plan.services.len() + index), 0, 1.0, 1.0 - good);
    }

    fn refresh_waits(&mut self, name: &str) {
        let plan = self.plan;
        let Some(service) = plan.services.get_index_of(name) else { return };
        for (class, key) in plan.services[service].requests.keys().enumerate() {
            let (mut factor, mut good) = (1.0, 1.0);
            for f in self.faults.active() {
                if let Fault::DependencySlowdown(d) = f.plan
                    && d.service.as_deref() == Some(name)
                    && of_service(&d.requests, key)
                {
                    factor *= d.wait_factor;
                    good *= 1.0 - d.error_rate;
                }
            }
            self.data.set_dependency(ServiceId::from(service), class, factor, 1.0 - good);
        }
    }

    fn refresh_quotas(&mut self) {
        let now = self.queue.now();
        let quotas = &self.plan.cluster.quotas;
        let (mut burst, mut rate) = (quotas.fargate_launch_burst, quotas.fargate_launch_rate);
        for f in self.faults.active() {
            if let Fault::Quota(q) = f.plan {
                burst = burst.min(q.fargate_launch_burst.unwrap_or(burst));
                rate = rate.min(q.fargate_launch_rate.unwrap_or(rate));
            }
        }
        for kind in 0..self.account_rates.len() {
            self.account_rates[kind].retune(now, burst, rate);
            self.pump_account_launches(kind);
        }
    }

    /// The quota of vCPUs of running Fargate tasks: 0 on demand, 1 Spot.
    pub(super) fn vcpu_quota(&self, kind: usize) -> Cpu {
        let quotas = &self.plan.cluster.quotas;
        let whole = [quotas.fargate_on_demand_vcpus, quotas.fargate_spot_vcpus][kind];
        let least = self.faults.active().fold(whole, |least, f| match f.plan {
            Fault::Quota(q) => least.min([q.fargate_on_demand_vcpus, q.fargate_spot_vcpus][kind].unwrap_or(least)),
            _ => least,
        });
        Cpu::from_vcpus(u64::from(least))
    }

    /// Share of launches of a task's capacity in its zone that find no capacity, with the capacity's own.
    pub(super) fn unavailable(&self, task: TaskId, own: f64) -> f64 {
        let t = self.cluster.task(task);
        let faults = self.faults.shortage(self.capacities[t.capacity.index()].name, t.zone.0);
        1.0 - (1.0 - own) * (1.0 - faults)
    }

    /// Free addresses in the subnet of a zone; `None` without a limit.
    fn free_addresses(&self, zone: u32) -> Option<u32> {
        let all = self.plan.cluster.subnets.addresses_per_zone?;
        let taken: u32 = self
            .faults
            .active()
            .map(|f| match f.plan {
                Fault::SubnetAddresses(s) if concerns(&s.zones, zone) => s.taken,
                _ => 0,
            })
            .fold(0, u32::saturating_add);
        Some(all.saturating_sub(taken).saturating_sub(self.faults.addresses[zone as usize]))
    }

    /// Chooses the zone of a launch anew when its own is known to be out, or its subnet has no address left. A launch
    /// that has failed in a lost zone is tried in another one whether or not the outage is known.
    pub(super) fn choose_zone(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        let (service, capacity, own) = (t.service, t.capacity, t.zone);
        let failed = self.tasks[task.index()].capacity_attempts > 0;
        let own_address = self.wants_address(task);
        let bad = |zone: u32| {
            self.faults.is_shut(zone)
                || failed && zone == own.0 && self.faults.is_out(zone)
                || own_address && self.free_addresses(zone) == Some(0)
        };
        if !bad(own.0) {
            return;
        }
        let mut counts = vec![0_u32; self.plan.cluster.zones as usize];
        for other in self.cluster.tasks_of(service).filter(|t| t.capacity == capacity && t.stop_code.is_none()) {
            counts[other.zone.index()] += 1;
        }
        let best = (0..counts.len() as u32).filter(|&z| !bad(z)).min_by_key(|&z| counts[z as usize]);
        if let Some(zone) = best {
            self.apply(Command::Rezone { task, zone: ZoneId(zone) });
        }
    }

    /// Whether a task has a network interface, and an address, of its own.
    fn wants_address(&self, task: TaskId) -> bool {
        let service = self.cluster.task(task).service;
        self.services[service.index()].plan.task.network_mode == NetworkMode::Awsvpc
    }

    /// Whether the subnet of a task's zone has an address for it, or it needs none.
    pub(super) fn has_address(&self, task: TaskId) -> bool {
        !self.wants_address(task) || self.free_addresses(self.cluster.task(task).zone.0) != Some(0)
    }

    /// A task gets an address.
    pub(super) fn take_address(&mut self, task: TaskId) {
        let zone = self.cluster.task(task).zone.index();
        if self.wants_address(task) && !std::mem::replace(&mut self.tasks[task.index()].address, true) {
            self.faults.addresses[zone] += 1;
        }
    }

    /// A task's network interface is gone.
    pub(super) fn give_address(&mut self, task: TaskId) {
        let zone = self.cluster.task(task).zone.index();
        if std::mem::take(&mut self.tasks[task.index()].address) {
            self.faults.addresses[zone] -= 1;
        }
    }

    /// What faults make of the image pull of a task.
    pub(super) fn pull_of(&self, task: TaskId) -> Pull {
        let name = self.services[self.cluster.task(task).service.index()].name;
        let mut pull = Pull { slower: 1.0, lost: SimDuration::ZERO, gives_up: false };
        for f in self.faults.active() {
            match f.plan {
                Fault::SlowPull(s) if of_service(&s.services, name) => pull.slower /= s.bandwidth_factor,
                Fault::PullFailure(p) if of_service(&p.services, name) => {
                    let failed = f.failed_tries(p, self.tasks[task.index()].draw);
                    pull.lost += p.try_time * u64::from(failed);
                    pull.gives_up |= failed >= p.tries;
                }
                _ => {}
            }
        }
        pull
    }

    /// Whether a health check of a task fails for nothing.
    pub(super) fn check_fails(&self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        let name = self.services[t.service.index()].name;
        let key = self.queue.now().as_nanos();
        self.faults.active().any(|f| match f.plan {
            Fault::HealthCheckFailure(h) if of_service(&h.services, name) && concerns(&h.zones, t.zone.0) => {
                let draw = Draw::new(f.root).of(f.occurrence).of(purpose::CHECK);
                draw.of(self.tasks[task.index()].draw).of(key).unit() < h.share
            }
            _ => false,
        })
    }

    fn row_of<'a>(&self, index: usize, reason: &'a str, hit: usize, text: &'a str) -> DecisionRow<'a> {
        let f = &self.faults.list[index];
        DecisionRow {
            time_s: self.queue.now().into(),
            controller: "fault".into(),
            subject: format!("faults.{}", f.name).into(),
            result: Some(hit as i64),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        }
    }

    fn fault_row(&mut self, index: usize, reason: &str, hit: usize, text: &str) {
        let f = &self.faults.list[index];
        let detail = DecisionDetail {
            observation: serde_json::json!({ "type": f.plan.tag(), "occurrence": f.occurrence }),
            memory: to_json(&()),
        };
        let row = self.row_of(index, reason, hit, text);
        self.recorder.decision(&row, &detail);
    }
}

fn are(n: usize) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

impl FaultRuntime<'_> {
    /// Time to the next occurrence.
    fn gap(&self, mean: SimDuration) -> SimDuration {
        let unit = Draw::new(self.root).of(self.occurrence).of(purpose::GAP).unit();
        SimDuration::from_secs_f64(-mean.as_secs_f64() * libm::log(unit))
    }

    /// How many tries of a pull fail, one after the other.
    fn failed_tries(&self, p: &PullFailure, task: u64) -> u32 {
        let draw = Draw::new(self.root).of(self.occurrence).of(purpose::PULL).of(task);
        (0..p.tries).find(|&n| draw.of(u64::from(n)).unit() >= p.share).unwrap_or(p.tries)
    }
}
