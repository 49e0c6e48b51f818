//! The clock of the recorder: intervals, minutes, the warm-up's end, and the rows they write.

use super::build::CpuAccount;
use super::incident::{Closed, LaunchChain, LaunchWaits, Span, Why, attribute};
use super::life::TaskRuntime;
use super::recorder::{first_broken, latency_s};
use super::trouble::TroubleKind;
use super::{ControlEvent, RunError, Simulation};
use crate::billing::{Owner, UsageKind};
use crate::cluster::health::Health;
use crate::cluster::{Fact, StopCode, Task, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::output::{CostRow, Fixed, Incident, Millis, NodeRow, Secs, ServiceRow, TaskRow};
use crate::rollout::scheduler::TaskEventKind;
use crate::scenario::fargate::pod_size;
use crate::scenario::model::{LoadBalancerType, Orchestrator};
use crate::telemetry::utilization;
use crate::traffic::ServiceTotals;
use crate::units::{Bytes, ServiceId, TaskId};

/// Tasks of a service by what they are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) pending: u32,
    pub(super) running: u32,
    pub(super) healthy: u32,
    pub(super) draining: u32,
}

fn secs(at: Option<SimTime>) -> Option<Secs> {
    at.map(Secs::from)
}

/// Zones are shown as letters, as the console does.
pub(super) fn zone_letter(zone: u32) -> String {
    char::from_u32(u32::from(b'a') + zone).map_or_else(|| zone.to_string(), String::from)
}

impl Simulation<'_> {
    pub(super) fn counts(&self, service: ServiceId) -> Counts {
        let mut c = Counts::default();
        for t in self.cluster.tasks_of(service) {
            match t.status {
                TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => c.pending += 1,
                TaskStatus::Running => {
                    c.running += 1;
                    c.healthy += u32::from(t.health == Health::Healthy);
                }
                TaskStatus::Deactivating => c.draining += 1,
                _ => {}
            }
        }
        c
    }

    /// Brings a task's share of its service's CPU account up to now.
    pub(super) fn account_cpu(&mut self, task: TaskId) {
        let now = self.queue.now();
        let TaskRuntime { server: Some(server), cpu_seen, reserved_from, .. } = self.tasks[task.index()] else {
            return;
        };
        let used = self.data.cpu_used(now, server);
        let t = self.cluster.task(task);
        let service = t.service;
        let runs = t.status >= TaskStatus::Running && t.status < TaskStatus::Deprovisioning;
        let cpu = if self.is_kube() { self.size_of(task).cpu } else { self.services[service.index()].plan.task.cpu };
        let s = &mut self.services[service.index()];
        s.cpu.used += used - cpu_seen;
        if runs {
            s.cpu.reserved += cpu.vcpus() * now.since(reserved_from).as_secs_f64();
        }
        if let Some(node) = t.node {
            self.nodes[node.index()].cpu_used += used - cpu_seen;
        }
        let runtime = &mut self.tasks[task.index()];
        runtime.cpu_total += used - cpu_seen;
        runtime.cpu_seen = used;
        runtime.reserved_from = now;
    }

    /// Brings the CPU account of a service up to now.
    pub(super) fn account_service_cpu(&mut self, service: ServiceId) {
        let tasks = self.cluster.service(service).tasks.clone();
        for task in tasks {
            self.account_cpu(task);
        }
    }

    /// Takes what the data plane has counted since the last time to everyone who gathers it.
    pub(super) fn drain(&mut self, service: ServiceId) {
        let mut fresh = std::mem::take(&mut self.drained);
        fresh.reset();
        self.data.drain_totals(self.queue.now(), service, &mut fresh);
        let index = service.index();
        let record = &mut self.recorder.services[index];
        record.interval.merge(&fresh);
        record.minute.merge(&fresh);
        record.whole.merge(&fresh);
        let s = &mut self.services[index];
        for window in &mut s.windows {
            window.totals.merge(&fresh);
        }
        if let Some(predictive) = &mut s.predictive {
            predictive.add(&fresh);
        }
        if let Some(kube) = &mut self.kube {
            kube.workloads[index].served += fresh.routed;
        }
        self.charge(service, &fresh);
        self.drained = fresh;
    }

    /// Hands what costs money to the meter.
    fn charge(&mut self, service: ServiceId, t: &ServiceTotals) {
        let s = &mut self.services[service.index()];
        // What callers send past the load balancer does not pay for it.
        let balanced = t.attempts - t.direct;
        let through = t.request_bytes + t.response_bytes - t.direct_bytes;
        let zones = f64::from(self.plan.cluster.zones);
        let eks = self.plan.cluster.orchestrator == Orchestrator::Eks;
        let cross = self.plan.billing.cross_zone_share.unwrap_or(1.0 - 1.0 / zones);
        let logs = s.plan.task.log_bytes_per_request.get() * t.routed;
        let image = std::mem::take(&mut s.image_bytes).get();
        let meter = &mut self.meter;
        meter.add(service, UsageKind::LoadBalancerRequests, balanced);
        meter.add(service, UsageKind::LoadBalancerNewConnections, t.new_connections);
        meter.add(service, UsageKind::LoadBalancerBytes, through);
        let between = |bytes: u64| (bytes as f64 * cross) as u64;
        // What goes past the load balancer goes from task to task.
        let paid = if s.plan.pays_between_zones(eks) { through } else { 0 };
        let application = s.plan.load_balancer.as_ref().is_some_and(|lb| lb.r#type == LoadBalancerType::Application);
        let free = if application { through - paid } else { 0 };
        meter.add(service, UsageKind::CrossZoneBytes, between(free));
        meter.add(service, UsageKind::InterZoneBytes, between(t.direct_bytes + paid));
        // Answers to other services stay inside.
        meter.add(service, UsageKind::InternetEgressBytes, t.response_bytes - t.inner_response_bytes);
        meter.add(service, UsageKind::LogBytes, logs);
        meter.add(service, UsageKind::ImagePullBytes, image);
    }

    /// The end of a recorded interval.
    pub(super) fn on_interval(&mut self) -> Result<(), RunError> {
        let now = self.queue.now();
        self.close_interval(now)?;
        let next = now + self.plan.simulation.interval;
        if next <= self.end {
            self.queue.schedule(next, Phase::Record, ControlEvent::Interval.into());
        }
        Ok(())
    }

    /// Writes the rows of the interval that ends now.
    pub(super) fn close_interval(&mut self, now: SimTime) -> Result<(), RunError> {
        let start = self.recorder.interval_start;
        let length = now.since(start);
        if length.is_zero() {
            return Ok(());
        }
        for index in 0..self.services.len() {
            self.drain(ServiceId::from(index));
        }
        self.bill_credits(now);
        let cost_of = self.close_cost_interval(start, now);
        for (index, cost) in cost_of.iter().enumerate() {
            if self.services[index].job.is_none() {
                self.close_service_interval(ServiceId::from(index), start, length, *cost);
            } else {
                self.recorder.services[index].interval.reset();
            }
        }
        self.close_calls_interval(start, length)?;
        self.close_capacity_interval(start, length);
        self.close_packing_interval(start, length);
        self.close_queue_interval(start, now);
        self.recorder.interval_start = now;
        if let Some(unpriced) = self.unpriced.take() {
            return Err(unpriced.into());
        }
        match self.recorder.failure.take() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// Writes the cost rows of an interval; returns what each service owes.
    fn close_cost_interval(&mut self, start: SimTime, now: SimTime) -> Vec<crate::units::Usd> {
        let length = now.since(start);
        let mut of_service = vec![crate::units::Usd::ZERO; self.services.len()];
        let lines = self.meter.close_interval(start, now);
        let mut total = crate::units::Usd::ZERO;
        for line in &lines {
            total += line.usd;
            if let Some(service) = line.owner.service() {
                of_service[service.index()] += line.usd;
            }
            let owner = match line.owner {
                Owner::Service(service) => self.services[service.index()].name,
                Owner::Idle => "idle",
                Owner::Cluster => "cluster",
            };
            let written = self.recorder.sink.cost(&CostRow {
                time_s: start.into(),
                interval_s: length.into(),
                item: line.item.name().into(),
                owner: owner.into(),
                quantity: Fixed(line.quantity),
                unit: line.unit.into(),
                unit_price_usd: line.unit_price.to_usd().into(),
                cost_usd: line.usd.into(),
            });
            self.recorder.keep_failure(written);
        }
        if start >= self.warm_up {
            let rate = total.dollars() * 3600.0 / length.as_secs_f64();
            self.recorder.cost_min = Some(self.recorder.cost_min.map_or(rate, |m| m.min(rate)));
            self.recorder.cost_max = self.recorder.cost_max.max(rate);
        }
        of_service
    }

    fn close_service_interval(
        &mut self,
        service: ServiceId,
        start: SimTime,
        length: SimDuration,
        cost: crate::units::Usd,
    ) {
        let now = start + length;
        self.account_service_cpu(service);
        let c = self.counts(service);
        let desired = self.cluster.service(service).desired;
        let queued = self.data.queued(service);
        let offered = self.data.offered_rate(service, start, now);
        let reserved_pct = self.cpu_reserved_pct(service);
        let index = service.index();
        let s = &mut self.services[index];
        let CpuAccount { used, reserved } = s.cpu;
        let before = std::mem::replace(&mut s.cpu_at_interval, s.cpu);
        let (used, reserved) = (used - before.used, reserved - before.reserved);
        let cpu_used_pct = utilization::percent(used, reserved);
        let seen = match &self.kube {
            // What the Horizontal Pod Autoscaler has read last.
            Some(kube) => kube.cpu_seen(service),
            None => s.watches.iter().find(|w| w.is_cpu()).and_then(|w| w.series.newest(now)).map(|p| p.value),
        };
        let (name, memory) = (s.name, s.memory_last);
        let of_pods = self.kube.as_ref().and_then(|k| k.max_replicas(index));
        let max_capacity = s.scaling.as_ref().map(|m| m.max).or(of_pods);
        let objectives = self.plan.objectives.get(name);
        let record = &mut self.recorder.services[index];
        let t = std::mem::take(&mut record.interval);
        let ms = |q: Option<f64>| latency_s(&t.latency, q).map(|s| Millis((s * 1e9) as u64));
        let row = ServiceRow {
            time_s: start.into(),
            interval_s: length.into(),
            service: name.into(),
            offered_rps: Fixed(offered.unwrap_or(t.started as f64 / length.as_secs_f64())),
            started: t.started,
            succeeded: t.succeeded,
            failed: t.failed.total(),
            failed_timeout: t.failed.timeout,
            failed_abandoned: t.failed.abandoned,
            failed_target_error: t.failed.server_error,
            failed_balancer_error: t.failed.unavailable
                + t.failed.bad_gateway
                + t.failed.gateway_timeout
                + t.failed.no_connection,
            in_flight: t.in_flight,
            latency_p50_ms: ms(Some(0.5)),
            latency_p90_ms: ms(Some(0.9)),
            latency_p95_ms: ms(Some(0.95)),
            latency_p99_ms: ms(Some(0.99)),
            latency_mean_ms: ms(None),
            attempts: t.attempts,
            retries: t.retries,
            elb_460: t.client_gone_460,
            elb_502: t.elb_502,
            elb_503: t.elb_503,
            elb_504: t.elb_504,
            target_5xx: t.target_5xx,
            desired,
            pending: c.pending,
            running: c.running,
            healthy: c.healthy,
            draining: c.draining,
            cpu_used_pct: cpu_used_pct.map(Fixed),
            cpu_reserved_pct: (c.running > 0).then_some(Fixed(reserved_pct)),
            cpu_seen_pct: seen.map(Fixed),
            memory_used_pct: memory.map(Fixed),
            wasted_cpu_s: Fixed(t.cpu_wasted),
            queued,
            cost_usd: cost.into(),
        };
        let length_s = length.as_secs_f64();
        record.load.add(Some(t.started as f64 / length_s));
        record.p99.add(latency_s(&t.latency, Some(0.99)).map(|s| s * 1e3));
        record.failed.add(Some(t.failed.total() as f64 / length_s));
        record.running.add(Some(f64::from(c.running)));
        record.cpu.add(cpu_used_pct);
        let mut closed = None;
        if start >= self.warm_up {
            record.counted_s += length_s;
            record.running_integral += f64::from(c.running) * length_s;
            record.min_running = Some(record.min_running.map_or(c.running, |m| m.min(c.running)));
            record.max_running = record.max_running.max(c.running);
            record.max_desired = record.max_desired.max(desired);
            record.cpu_used += used;
            record.cpu_reserved += reserved;
            let broken = objectives.and_then(|o| first_broken(o, &t));
            if broken.is_some() && max_capacity.is_some_and(|max| desired >= max) {
                record.at_max_broken_s += length_s;
                self.services[index].trouble.note(TroubleKind::AtMaximum, start);
            }
            let record = &mut self.recorder.services[index];
            let shows = if t.retries * 2 > t.attempts {
                Some(Why::Retries)
            } else {
                (queued > 0 || cpu_used_pct.is_some_and(|p| p >= 95.0)).then_some(Why::Overload)
            };
            closed = record.tracker.interval(start, now, broken, shows);
            if self.services[index].plan.scaling.as_ref().is_some_and(|s| !s.policies.is_empty()) {
                let below_max = max_capacity.is_some_and(|max| desired < max);
                let stands = self.scale_out_alarm_stands(service);
                self.services[index].trouble.interval(start, length, broken.is_some() && below_max, stands);
            }
        }
        let written = self.recorder.sink.service(&row);
        self.recorder.totals(now, index, &t);
        let mut t = t;
        t.reset();
        self.recorder.services[index].interval = t;
        self.recorder.keep_failure(written);
        if let Some(closed) = closed {
            self.close_incident(service, &closed);
        }
    }

    /// Writes down an incident that has ended.
    pub(super) fn close_incident(&mut self, service: ServiceId, closed: &Closed) {
        let spans = self.spans(service, closed);
        // Where a fault was over, or traffic left a bad zone, no replacement ended it.
        let otherwise = self.faults.ended_otherwise(closed.end, self.plan.simulation.interval);
        let record = &mut self.recorder.services[service.index()];
        let ended_by = record
            .chains
            .iter()
            .filter(|c| c.healthy_at > closed.start && c.healthy_at <= closed.end + SimDuration::from_secs(30))
            .filter(|c| c.data_end.is_some() || !otherwise)
            .max_by_key(|c| c.healthy_at)
            .copied();
        record.chains.retain(|c| c.healthy_at > closed.end);
        let loss = &self.faults.losses[service.index()];
        let links = attribute(closed.start, closed.end, ended_by.as_ref(), loss, &spans);
        self.recorder.incidents.push(Incident {
            service: self.services[service.index()].name.to_string(),
            objective: closed.objective.to_string(),
            start_s: closed.start.as_secs_f64(),
            end_s: closed.recovered.then(|| closed.end.as_secs_f64()),
            duration_s: closed.end.since(closed.start).as_secs_f64(),
            links,
        });
    }

    /// What went on beside launches in the time of an incident.
    fn spans(&self, service: ServiceId, closed: &Closed) -> Vec<Span> {
        let (start, end) = (closed.start, closed.end);
        let faults = self.faults.any_between(start, end).map(|t| Span {
            from: t.start,
            to: t.end.unwrap_or(end),
            why: Why::Fault,
        });
        let deployments = self.services[service.index()].deployments.iter().map(|d| Span {
            from: d.started,
            to: d.ended.unwrap_or(end),
            why: Why::Deployment,
        });
        faults.chain(deployments).chain(closed.spans.iter().copied()).collect()
    }

    /// The end of a minute: objectives are judged.
    pub(super) fn on_minute(&mut self) -> Result<(), RunError> {
        let now = self.queue.now();
        self.close_minute(now);
        self.recorder.end_minute();
        let next = now + SimDuration::from_secs(60);
        if next <= self.end {
            self.queue.schedule(next, Phase::Record, ControlEvent::Minute.into());
        }
        Ok(())
    }

    pub(super) fn close_minute(&mut self, now: SimTime) {
        for index in 0..self.services.len() {
            self.drain(ServiceId::from(index));
            let objectives = self.plan.objectives.get(self.services[index].name);
            let record = &mut self.recorder.services[index];
            // A minute that the warm-up's end cuts counts from there: its totals were set to zero then.
            if now > self.warm_up && objectives.is_some_and(|o| first_broken(o, &record.minute).is_some()) {
                record.breach_minutes += 1;
            }
            record.minute.reset();
        }
    }

    /// The end of the warm-up: what was gathered is forgotten, costs begin to count.
    pub(super) fn on_warm_up_ends(&mut self) -> Result<(), RunError> {
        let now = self.queue.now();
        self.close_interval(now)?;
        for index in 0..self.services.len() {
            self.drain(ServiceId::from(index));
            let record = &mut self.recorder.services[index];
            record.whole.reset();
            record.minute.reset();
            // What is under way now counts as begun now, at its first attempt: requests are conserved over
            // the counted time.
            record.whole.started = self.data.in_flight(ServiceId::from(index));
            record.whole.attempts = record.whole.started;
            record.scale_outs = 0;
            record.scale_ins = 0;
            record.held_back.clear();
            record.tasks_started = 0;
            record.tasks_stopped = 0;
            record.tasks_failed = 0;
            record.chains.clear();
            for trend in [&mut record.load, &mut record.p99, &mut record.failed, &mut record.running, &mut record.cpu] {
                trend.forget_max();
            }
        }
        self.forget_calls();
        self.forget_queues();
        self.forget_jobs();
        self.meter.start_counting(now);
        Ok(())
    }

    /// Counts what a fact says of a task's fate.
    pub(super) fn note_outcome(&mut self, task: TaskId, fact: &Fact) {
        let t = self.cluster.task(task);
        let service = t.service;
        if let Some(job) = self.job_of(service) {
            self.note_job(job, task, fact);
            return;
        }
        match *fact {
            Fact::TaskHealth(_, Health::Healthy) if t.times.healthy == Some(self.queue.now()) => {
                if t.times.requested > SimTime::ZERO {
                    self.tell_scheduler(task, TaskEventKind::Healthy);
                }
                let t = self.cluster.task(task);
                let chain = self.chain_of(t);
                self.note_recovered(service);
                let record = &mut self.recorder.services[service.index()];
                // Only launches of an open or coming incident can matter: a bounded tail is kept.
                if record.chains.len() >= 10_000 {
                    record.chains.drain(..5_000);
                }
                record.chains.push(chain);
            }
            Fact::TaskHealth(_, Health::Unhealthy) => self.faults.losses[service.index()].found(self.queue.now()),
            Fact::TaskHealth(_, Health::Healthy) => self.note_recovered(service),
            Fact::TaskStatus(_, TaskStatus::Running) if t.times.requested > SimTime::ZERO => {
                self.recorder.services[service.index()].tasks_started += 1;
                self.tell_scheduler(task, TaskEventKind::Running);
            }
            Fact::TaskStops(_, code) => {
                match code {
                    StopCode::TaskFailedToStart => {
                        let launched = t.times.launched.unwrap_or(t.times.requested);
                        self.tell_scheduler(task, TaskEventKind::FailedToStart { launched });
                    }
                    StopCode::EssentialContainerExited | StopCode::OutOfMemory if t.times.healthy.is_none() => {
                        self.tell_scheduler(task, TaskEventKind::ExitedBeforeHealthy);
                    }
                    _ => {}
                }
                let failed = matches!(
                    code,
                    StopCode::TaskFailedToStart
                        | StopCode::EssentialContainerExited
                        | StopCode::OutOfMemory
                        | StopCode::Unhealthy
                );
                let now = self.queue.now();
                let kind = match code {
                    StopCode::TaskFailedToStart
                        if self.tasks[task.index()].waits_for == Some(TroubleKind::CannotPull) =>
                    {
                        Some(TroubleKind::CannotPull)
                    }
                    StopCode::TaskFailedToStart => Some(TroubleKind::FailedStart),
                    StopCode::Unhealthy if self.cluster.task(task).times.ready.is_none() => {
                        Some(TroubleKind::KilledWhileStarting)
                    }
                    StopCode::Unhealthy if !self.tasks[task.index()].machine_lost => Some(TroubleKind::Unhealthy),
                    _ => None,
                };
                if let Some(kind) = kind {
                    self.services[service.index()].trouble.note(kind, now);
                }
                let by_world = matches!(
                    code,
                    StopCode::EssentialContainerExited
                        | StopCode::OutOfMemory
                        | StopCode::SpotInterruption
                        | StopCode::HostLost
                );
                if by_world {
                    self.faults.losses[service.index()].found(now);
                }
                let record = &mut self.recorder.services[service.index()];
                record.tasks_stopped += 1;
                record.tasks_failed += u64::from(failed);
                if failed {
                    self.note_deployment_failure(task);
                }
            }
            _ => {}
        }
    }

    /// A task is healthy: a loss is made up for when as many are as are wanted.
    fn note_recovered(&mut self, service: ServiceId) {
        if self.faults.losses[service.index()].is_open() {
            let healthy = self.cluster.count(service, |t| {
                t.status == TaskStatus::Running && t.stop_code.is_none() && t.health == Health::Healthy
            });
            if healthy >= self.cluster.service(service).desired {
                self.faults.losses[service.index()].made_up();
            }
        }
    }

    fn chain_of(&self, t: &Task) -> LaunchChain {
        let (cause, waits) = (self.tasks[t.id.index()].cause, self.tasks[t.id.index()].waits);
        let s = &self.services[t.service.index()];
        let cause = cause.and_then(|c| s.scale_outs.get(c as usize));
        LaunchChain {
            data_end: cause.and_then(|c| c.data_end),
            visible_at: cause.and_then(|c| c.visible_at),
            alarm_at: cause.and_then(|c| c.alarm_at),
            decided_at: cause.map(|c| c.decided_at),
            requested_at: t.times.requested,
            launched_at: t.times.launched,
            pending_at: t.times.pending,
            pulled_at: t.times.pull_stopped,
            ready_at: t.times.ready,
            healthy_at: t.times.healthy.unwrap_or(t.times.requested),
            waits: if cause.is_some() { LaunchWaits { found: None, first_request: None, ..waits } } else { waits },
        }
    }

    /// Writes the rows of a task that is gone, or that the end of the run finds.
    pub(super) fn record_task(&mut self, task: TaskId) {
        self.account_cpu(task);
        let t = self.cluster.task(task);
        let runtime = &self.tasks[task.index()];
        let s = &self.services[t.service.index()];
        let capacity = &self.capacities[t.capacity.index()];
        let on_fargate = !self.cluster.has_nodes(t.capacity);
        let zone = zone_letter(t.zone.0);
        let cost = self.meter.task_cost(task);
        let times = &t.times;
        let stop_code = t.stop_code.map_or("", StopCode::name);
        if self.recorder.sink.writes() {
            let ordinal = self.kube.as_ref().and_then(|k| k.pods[task.index()].ordinal);
            let pod = ordinal.map_or_else(String::new, |ordinal| format!("{}-{ordinal}", s.name));
            let written = self.recorder.sink.task(&TaskRow {
                task: task.0,
                service: s.name.into(),
                revision: t.revision + 1,
                pod: pod.into(),
                node: if on_fargate { Some(task.0) } else { t.node.map(|n| n.0) },
                capacity: capacity.name.into(),
                zone: zone.as_str().into(),
                started_by: runtime.started_by.into(),
                decided_s: secs(Some(times.requested)),
                provisioning_s: secs(Some(times.requested)),
                pending_s: secs(times.pending),
                activating_s: secs(times.pull_started),
                pull_started_s: secs(times.pull_started),
                pull_stopped_s: secs(times.pull_stopped),
                running_s: secs(times.started),
                ready_s: secs(times.ready),
                healthy_s: secs(times.healthy),
                deactivating_s: secs(runtime.deactivating),
                stopping_s: secs(runtime.stopping.or(times.stopping)),
                execution_stopped_s: secs(times.execution_stopped),
                deprovisioning_s: secs(times.execution_stopped),
                stopped_s: secs(times.stopped),
                stop_code: stop_code.into(),
                stop_reason: runtime.stop_reason.as_str().into(),
                cpu_used_s: Fixed(runtime.cpu_total),
                cost_usd: cost.into(),
            });
            self.recorder.keep_failure(written);
        }
        if self.recorder.sink.writes() && on_fargate {
            let (cpu_size, memory) = match self.kube.is_some() {
                true => pod_size(s.plan),
                false => (s.plan.task.cpu, s.plan.task.memory),
            };
            let mib = Bytes::get(memory) >> 20;
            let node_type = format!("fargate {}/{mib}", cpu_size.units());
            let ran =
                times.started.map(|from| times.execution_stopped.unwrap_or(self.queue.now()).since(from).as_secs_f64());
            let cpu = ran.and_then(|r| utilization::percent(runtime.cpu_total, r * cpu_size.vcpus()));
            let written = self.recorder.sink.node(&NodeRow {
                node: task.0,
                capacity: capacity.name.into(),
                node_type: node_type.into(),
                zone: zone.as_str().into(),
                market: if capacity.plan.spot().is_some() { "spot".into() } else { "on_demand".into() },
                price_usd_per_hour: self.meter.task_price_per_hour(t.service, t.capacity).into(),
                vcpus: Fixed(cpu_size.vcpus()),
                memory_mib: mib,
                launched_s: secs(times.launched),
                ready_s: secs(times.started),
                launch_to_ready_s: times.launched.and_then(|from| times.started.map(|to| Secs::from(to.since(from)))),
                billed_from_s: secs(times.pull_started),
                billed_until_s: secs(times.execution_stopped.filter(|_| times.pull_started.is_some())),
                terminating_s: secs(times.stopping),
                terminated_s: secs(times.execution_stopped),
                tasks: 1,
                cpu_used_pct: cpu.map(Fixed),
                // The whole micro-VM is the task's.
                cpu_reserved_pct: ran.map(|_| Fixed(100.0)),
                cpu_reserved_peak_pct: ran.map(|_| Fixed(100.0)),
                memory_reserved_peak_pct: ran.map(|_| Fixed(100.0)),
                end_reason: stop_code.into(),
                cost_usd: cost.into(),
                ..NodeRow::default()
            });
            self.recorder.keep_failure(written);
        }
        // What a stopped task no longer needs goes.
        if t.status == TaskStatus::Stopped {
            self.tasks[task.index()].stop_reason = String::new();
        }
    }
}
