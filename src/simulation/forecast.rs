//! Predictive scaling at work: hours of load are measured, forecasts made and carried out.

use super::build::CpuAccount;
use super::scale::{ScaleOut, Seen, to_json};
use super::{Simulation, Timer};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::output::DecisionDetail;
use crate::scaling::predictive::{MOST_HOURS, PredictiveMemory, REFRESH, act, capacity};
use crate::scenario::model::{History, Inputs, MetricPair, PredictiveScaling, ScalingPolicy, Service, TraceRow};
use crate::traffic::ServiceTotals;
use crate::units::ServiceId;

const HOUR: i64 = 3_600;
const HOUR_S: f64 = 3_600.0;

/// The predictive policy of a service while it runs.
pub(super) struct PredictiveRuntime {
    policy: usize,
    memory: PredictiveMemory,
    /// The hour of the start of the simulation, from the Unix epoch.
    first_hour: i64,
    /// Since when the running hour is measured.
    since: SimTime,
    attempts: u64,
    cpu: CpuAccount,
    /// The floor of the hour that comes.
    next_floor: Option<u32>,
}

impl PredictiveRuntime {
    /// Counts what passes the load balancer.
    pub(super) fn add(&mut self, t: &ServiceTotals) {
        self.attempts += t.attempts;
    }
}

/// The predictive policy of a service, with its position.
fn policy_of(service: &Service) -> Option<(usize, &str, &PredictiveScaling)> {
    let policies = &service.scaling.as_ref()?.policies;
    policies.iter().enumerate().find_map(|(i, (name, p))| match p {
        ScalingPolicy::Predictive(p) => Some((i, name.as_str(), p)),
        _ => None,
    })
}

/// What a mean rate of requests is as the load metric: requests a minute, or percent of one task's CPU.
fn load_of_rate(pair: MetricPair, service: &Service, rps: f64) -> f64 {
    match pair {
        MetricPair::AlbRequestCount => rps * 60.0,
        MetricPair::EcsServiceCpuUtilization => {
            let weight: f64 = service.requests.values().map(|c| c.weight).sum();
            let work: f64 = service.requests.values().map(|c| c.weight * c.cpu_time.law().mean()).sum();
            if weight > 0.0 { 100.0 * rps * (work / weight) / service.task.cpu.vcpus() } else { 0.0 }
        }
    }
}

/// Mean rates of the whole hours before `hour` that a trace covers, oldest first; its last row ends at `end`, a Unix instant.
fn hours_of_trace(rows: &[TraceRow], end: f64, hour: i64) -> Vec<f64> {
    let [.., before, last] = rows else { return Vec::new() };
    let secs = |r: &TraceRow| r.at.as_secs_f64();
    let length = secs(last) - secs(before);
    let shift = end - (secs(last) + length);
    let starts: Vec<f64> = rows.iter().map(|r| secs(r) + shift).collect();
    let from = (starts[0] / HOUR_S).ceil() as i64;
    let hours = usize::try_from(hour - from).unwrap_or(0).min(MOST_HOURS);
    let first = hour - hours as i64;
    let mut sums = vec![0.0; hours];
    for (i, row) in rows.iter().enumerate() {
        let (from, to) = (starts[i], starts.get(i + 1).copied().unwrap_or(starts[i] + length));
        let mut at = from;
        while at < to {
            let h = (at / HOUR_S).floor();
            let until = ((h + 1.0) * HOUR_S).min(to);
            if let Some(sum) = usize::try_from(h as i64 - first).ok().and_then(|i| sums.get_mut(i)) {
                *sum += row.requests * (until - at) / (to - from);
            }
            at = until;
        }
    }
    sums.into_iter().map(|n| n / HOUR_S).collect()
}

impl Simulation<'_> {
    fn start_second(&self) -> i64 {
        self.plan.simulation.start.as_second()
    }

    /// The simulated instant of the start of an hour; `None` before the simulation.
    fn hour_at(&self, hour: i64) -> Option<SimTime> {
        let secs = hour.checked_mul(HOUR)? - self.start_second();
        u64::try_from(secs).ok().map(SimTime::from_secs)
    }

    /// Gives every predictive policy its past, and lets it act for the hour of the start.
    pub(super) fn start_forecasts(&mut self, inputs: &Inputs) {
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            let Some((policy, _, spec)) = policy_of(self.services[index].plan) else { continue };
            let first_hour = self.start_second().div_euclid(HOUR);
            let past = self.past(service, spec, first_hour, inputs);
            let mut memory = PredictiveMemory::new(first_hour, past);
            memory.refresh();
            self.services[index].predictive = Some(PredictiveRuntime {
                policy,
                memory,
                first_hour,
                since: SimTime::ZERO,
                attempts: 0,
                cpu: CpuAccount::default(),
                next_floor: None,
            });
            self.forecast_acts(service, first_hour);
            self.begin_hour(service);
            self.schedule_hour(service, first_hour);
        }
    }

    /// The load of the hours before the simulation.
    fn past(&self, service: ServiceId, spec: &PredictiveScaling, hour: i64, inputs: &Inputs) -> Vec<f64> {
        let plan = self.services[service.index()].plan;
        let load = |rps: f64| load_of_rate(spec.predefined_metric_pair_type, plan, rps);
        match &spec.history {
            History::None(_) => Vec::new(),
            History::Profile(h) => {
                let day = |of: i64| {
                    let from = SimTime::from_secs(u64::try_from(of.rem_euclid(24) * HOUR).unwrap_or(0));
                    let to = from + SimDuration::from_secs(HOUR as u64);
                    load(self.data.offered_rate(service, from, to).unwrap_or(0.0) * h.scale)
                };
                (hour - i64::from(h.days) * 24..hour).map(|past| day(past - hour)).collect()
            }
            History::Trace(h) => {
                let rows = inputs.traces.get(&h.file).map_or(&[][..], |r| r);
                let end = self.start_second() as f64;
                hours_of_trace(rows, end, hour).into_iter().map(|rps| load(rps * h.scale)).collect()
            }
        }
    }

    /// Sets the timers of the end of an hour, and of the action for the next one.
    fn schedule_hour(&mut self, service: ServiceId, hour: i64) {
        let Some((_, _, spec)) = policy_of(self.services[service.index()].plan) else { return };
        let buffer = spec.scheduling_buffer_time;
        let Some(end) = self.hour_at(hour + 1) else { return };
        self.schedule_timer_if_due(Timer::Hour(service), end, Phase::Decision);
        let acts = SimTime::from_nanos(end.as_nanos().saturating_sub(buffer.as_nanos())).max(self.queue.now());
        self.schedule_timer_if_due(Timer::Forecast(service), acts, Phase::Decision);
    }

    /// An hour is over: its load joins the data, every six hours the forecast is made anew.
    pub(super) fn on_hour(&mut self, service: ServiceId) {
        let now = self.queue.now();
        self.account_service_cpu(service);
        self.drain(service);
        let s = &mut self.services[service.index()];
        let Some((_, _, spec)) = policy_of(s.plan) else { return };
        let (cpu, vcpus) = (s.cpu, s.plan.task.cpu.vcpus());
        let Some(p) = &mut s.predictive else { return };
        let length = now.since(p.since).as_secs_f64();
        let before = std::mem::replace(&mut p.cpu, cpu);
        let attempts = std::mem::take(&mut p.attempts);
        p.since = now;
        let load = (length > 0.0).then(|| match spec.predefined_metric_pair_type {
            MetricPair::AlbRequestCount => attempts as f64 * 60.0 / length,
            MetricPair::EcsServiceCpuUtilization => 100.0 * (cpu.used - before.used) / length / vcpus,
        });
        p.memory.add(load);
        let hour = p.memory.next_hour;
        if (hour - p.first_hour) % REFRESH == 0 {
            p.memory.refresh();
        }
        self.begin_hour(service);
        self.schedule_hour(service, hour);
    }

    /// The floor of the hour before makes way for that of the hour that begins.
    fn begin_hour(&mut self, service: ServiceId) {
        let s = &mut self.services[service.index()];
        if let (Some(p), Some(scaling)) = (&mut s.predictive, &mut s.scaling) {
            scaling.forecast_floor = p.next_floor.take();
        }
    }

    /// It is time to act for the next hour.
    pub(super) fn on_forecast(&mut self, service: ServiceId) {
        let Some(p) = &self.services[service.index()].predictive else { return };
        let next = p.memory.next_hour + 1;
        self.forecast_acts(service, next);
    }

    fn forecast_acts(&mut self, service: ServiceId, hour: i64) {
        let now = self.queue.now();
        let s = &self.services[service.index()];
        let (Some((policy, name, spec)), Some(p), Some(memory)) = (policy_of(s.plan), &s.predictive, &s.scaling) else {
            return;
        };
        let Some(load) = p.memory.forecast_of(hour) else { return };
        let forecast = capacity(load, spec.target_value);
        let desired = self.cluster.service(service).desired;
        let (decision, mut after) = act(spec, memory, policy, forecast, desired);
        debug_assert_eq!(policy, p.policy);
        let seen = Seen {
            controller: "predictive_scaling",
            subject: format!("services.{}.scaling.policies.{name}", s.name),
            metric: spec.predefined_metric_pair_type.as_str().to_owned(),
            value: Some(load),
            age: None,
            cause: ScaleOut { data_end: None, visible_at: None, alarm_at: None, decided_at: now },
        };
        let observation = serde_json::json!({ "hour": hour, "load": load, "forecast": forecast, "desired": desired });
        let detail = DecisionDetail { observation, memory: to_json(memory) };
        // Until the hour begins, the floor of the present one holds beside it.
        let (before, floor) = (memory.forecast_floor, after.forecast_floor);
        after.forecast_floor = before.max(floor);
        let s = &mut self.services[service.index()];
        if let Some(p) = &mut s.predictive {
            p.next_floor = floor;
        }
        s.scaling = Some(after);
        self.carry_out(service, &decision, seen, &detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_of_the_past_ends_where_the_simulation_begins() {
        let row = |at: u64, requests: f64| TraceRow { at: SimTime::from_secs(at), requests };
        // Half-hours of the four hours before 10:00 on the first day: 100, 100, 200, 200 ... requests.
        let rows: Vec<TraceRow> = (0..8).map(|i| row(i * 1_800, 100.0 * (1 + i / 2) as f64)).collect();
        let rates = hours_of_trace(&rows, 10.0 * HOUR_S, 10);
        let expected: Vec<f64> = [200.0, 400.0, 600.0, 800.0].iter().map(|n| n / HOUR_S).collect();
        assert_eq!(rates, expected);
        // From half past ten, the hours are cut: whole ones count.
        let shifted = hours_of_trace(&rows, 10.5 * HOUR_S, 10);
        let expected: Vec<f64> = [300.0, 500.0, 700.0].iter().map(|n| n / HOUR_S).collect();
        assert_eq!(shifted, expected);
        assert!(hours_of_trace(&rows[..1], 0.0, 0).is_empty());
    }
}
