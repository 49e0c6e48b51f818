//! Faults at work: when they strike, what they do to the world, and how it ends.
//!
//! What holds at an instant is always worked out from the faults that are active then, so that faults may overlap
//! and end in any order. A fault draws from a root of its own by the number of its occurrence.

mod launches;
mod machines;
mod signals;
mod zones;

pub(super) use launches::LaunchWait;

use super::incident::{FaultTime, Loss};
use super::scale::to_json;
use super::{ControlEvent, Simulation};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::output::{DecisionDetail, DecisionRow, FaultSummary};
use crate::scenario::model::{Fault, Plan};
use crate::units::{ServiceId, TaskId};

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

    /// Names of the faults that are active, or were since `from`.
    pub(super) fn any_between(&self, from: SimTime, to: SimTime) -> impl Iterator<Item = &FaultTime> {
        self.times.iter().filter(move |t| t.start < to && t.end.is_none_or(|end| end > from))
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
        let plan = self.faults.list[index].plan;
        match plan {
            Fault::ZoneOutage(o) => self.zone_goes(index, o),
            Fault::SlowZone(s) => self.zone_slows(index, s),
            Fault::ZonalShift(s) => self.zone_shifts(s),
            Fault::NodeFailure(n) => self.machines_fail(index, draw, n),
            Fault::DependencySlowdown(d) => self.dependency_slows(d),
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
                if self.is_kube() {
                    for node in self.running_nodes(|spec| o.zones.contains(&spec.zone.0)) {
                        if !self.faults.is_out(self.cluster.node(node).spec.zone.0) {
                            self.node_is_heard(node);
                        }
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

    /// A service's tasks that are not STOPPED, of all services, for which `test` holds.
    fn tasks_where(&self, test: impl Fn(&crate::cluster::Task) -> bool) -> Vec<TaskId> {
        let all = self.cluster.services().iter().flat_map(|s| s.tasks.iter().copied());
        all.filter(|&id| test(self.cluster.task(id))).collect()
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
}
