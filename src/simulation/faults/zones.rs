//! Zones that are out, slow or shifted away, and what load balancers and servers there see of it.

use super::super::scale::to_json;
use super::super::{ControlEvent, Simulation};
use super::{FaultRuntime, FaultStep, Faults, LISTED, are, of_service, or_all, percent, tasks, zone_names, zones_of};
use crate::cluster::TaskStatus;
use crate::kernel::{Phase, SimDuration};
use crate::output::{DecisionDetail, DecisionRow, FaultSummary};
use crate::scenario::model::{Fault, SlowZone, Switch, ZonalShift, ZoneLoss, ZoneOutage};
use crate::traffic::TargetState;
use crate::units::{ServiceId, TaskId};

impl<'p> Faults<'p> {
    pub(super) fn outages(&self) -> impl Iterator<Item = (&FaultRuntime<'p>, &'p ZoneOutage)> {
        self.list.iter().filter_map(|f| match f.plan {
            Fault::ZoneOutage(o) => Some((f, o)),
            _ => None,
        })
    }

    /// Whether a zone is out.
    pub(super) fn is_out(&self, zone: u32) -> bool {
        self.outages().any(|(f, o)| f.since.is_some() && o.zones.contains(&zone))
    }

    /// Whether the control plane knows that a zone is out.
    pub(in crate::simulation) fn is_shut(&self, zone: u32) -> bool {
        self.outages().any(|(f, o)| f.noticed && o.zones.contains(&zone))
    }

    /// Whether the control plane knows of any zone that is out: then it does not balance zones.
    pub(in crate::simulation) fn any_shut(&self) -> bool {
        self.outages().any(|(f, _)| f.noticed)
    }

    /// Network time, speed and errors of a zone: added, a factor, a share.
    pub(super) fn slowness(&self, zone: u32) -> (SimDuration, f64, f64) {
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

    pub(super) fn is_shifted(&self, service: ServiceId, name: &str, zone: u32) -> bool {
        self.active().any(|f| match f.plan {
            Fault::ZonalShift(s) => s.zone == zone && of_service(&s.services, name),
            _ => f.autoshifted[service.index()] && zones_of(f.plan).contains(&zone),
        })
    }
}

impl Simulation<'_> {
    /// A zone goes out: how many tasks it hit, and a sentence.
    pub(super) fn zone_goes(&mut self, index: usize, o: &ZoneOutage) -> (usize, String) {
        let now = self.queue.now();
        let mut hit = 0;
        if o.loss == ZoneLoss::Power {
            // Their tasks are among those below.
            for node in self.running_nodes(|spec| o.zones.contains(&spec.zone.0)) {
                self.lose_node(node, o.noticed_after);
            }
        }
        if o.loss == ZoneLoss::Network && self.is_kube() {
            for node in self.running_nodes(|spec| o.zones.contains(&spec.zone.0)) {
                self.node_falls_silent(node);
            }
        }
        for task in self.tasks_where(|t| o.zones.contains(&t.zone.0)) {
            let on_node = self.is_kube() && self.cluster.task(task).node.is_some();
            let starting = self.cluster.task(task).status < TaskStatus::Running;
            match o.loss {
                ZoneLoss::Power => hit += usize::from(self.lose_machine(index, task, o.noticed_after)),
                // Its kubelet waits for the network.
                ZoneLoss::Network if starting && on_node => hit += 1,
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

    /// A zone becomes slow.
    pub(super) fn zone_slows(&mut self, index: usize, s: &SlowZone) -> (usize, String) {
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

    /// Traffic is shifted away from a zone.
    pub(super) fn zone_shifts(&mut self, s: &ZonalShift) -> (usize, String) {
        let now = self.queue.now();
        self.faults.remedied(now);
        let hit = self.refresh_targets(&[s.zone]);
        let whose = or_all(&s.services, "all services");
        (hit, format!("traffic of {whose} is shifted away from {}: {} there", zone_names(&[s.zone]), tasks(hit)))
    }

    /// A server that is reached again does what its task does beside requests.
    pub(super) fn serve_again(&mut self, task: TaskId) {
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
    pub(super) fn share_entries(&mut self) {
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
    pub(super) fn refresh_zones(&mut self, zones: &[u32]) -> usize {
        let hit = self.tasks_where(|t| zones.contains(&t.zone.0));
        hit.into_iter().filter(|&task| self.refresh_server(task)).count()
    }

    /// Sets what slow zones do to a task's server. False when it has none.
    pub(in crate::simulation) fn refresh_server(&mut self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        let Some(server) = self.tasks[task.index()].server else { return false };
        let (latency, speed, errors) = self.faults.slowness(t.zone.0);
        let own = self.services[t.service.index()].revisions[t.revision as usize].effect.error_rate;
        self.data.set_network(server, own + errors - own * errors, latency);
        self.data.set_speed(&mut self.queue, server, speed);
        true
    }

    /// A task got its server: slow zones slow it, lost ones cut it off.
    pub(in crate::simulation) fn fault_new_server(&mut self, task: TaskId) {
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
    pub(super) fn refresh_targets(&mut self, zones: &[u32]) -> usize {
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
    pub(in crate::simulation) fn show_target(&mut self, task: TaskId) {
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
    pub(super) fn plan_autoshift(&mut self, index: usize) {
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
    pub(in crate::simulation) fn on_autoshift(&mut self, index: usize, service: usize) {
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
}
