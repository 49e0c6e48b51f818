//! Telemetry at work: samples, metrics, alarms, and the scaling service that they call.

use jiff::SignedDuration;

use super::build::CpuAccount;
use super::queues::{Custom, Parts};
use super::{ControlEvent, RunError, Simulation, Timer};
use crate::cluster::target_health::TargetState;
use crate::cluster::{Command, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::output::{DecisionDetail, DecisionRow, Fixed};
use crate::scaling::schedule::Schedule;
use crate::scaling::service::{
    self as target, Bound, PolicyAlarms, PolicyView, ScalingDecision, ScalingObservation, ScalingReason,
};
use crate::scaling::target_tracking::{self, Direction};
use crate::scenario::model::{
    Aggregation, Alarm, Metric, MetricSample, Plan, Scaling, ScalingPolicy, Service, Statistic,
};
use crate::telemetry::alarm::{AlarmReason, AlarmSpec, AlarmState, evaluate};
use crate::telemetry::{Mean, Series, utilization};
use crate::traffic::ServiceTotals;
use crate::units::ServiceId;

/// How often ECS samples CPU and memory.
pub(super) const SAMPLE_PERIOD: SimDuration = SimDuration::from_secs(20);

/// While an alarm stands, its scaling action is repeated this often.
const REPEAT_ACTION: SimDuration = SimDuration::from_secs(60);

/// Totals of the load balancer over the running period of the metrics with this length.
#[derive(Debug)]
pub(super) struct LbWindow {
    pub(super) period: SimDuration,
    pub(super) totals: ServiceTotals,
}

/// A metric that an alarm looks at.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) metric: Metric,
    pub(super) statistic: Statistic,
    /// Of a queue, of Container Insights, or metric math.
    custom: Option<Custom>,
    pub(super) series: Series,
    pub(super) mean: Mean,
}

impl Watch {
    pub(super) fn is_cpu(&self) -> bool {
        self.metric == Metric::CpuUtilization
    }

    fn is_ecs(&self) -> bool {
        matches!(self.metric, Metric::CpuUtilization | Metric::MemoryUtilization)
    }

    /// The metric's name in decisions.
    fn name(&self) -> &str {
        self.custom.as_ref().map_or(self.metric.as_str(), Custom::label)
    }
}

/// What an alarm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    TrackingHigh(usize),
    TrackingLow(usize),
    Step(usize),
    Deployment,
}

/// An alarm while it runs.
#[derive(Debug)]
pub(super) struct AlarmRuntime {
    pub(super) service: ServiceId,
    pub(super) name: String,
    pub(super) role: Role,
    spec: AlarmSpec,
    watch: usize,
    pub(super) state: AlarmState,
    reason: Option<AlarmReason>,
    since: SimTime,
    last_action: Option<SimTime>,
    phase: f64,
}

/// A scale-out, for the chains of the launches that it asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleOut {
    pub(super) data_end: Option<SimTime>,
    pub(super) visible_at: Option<SimTime>,
    pub(super) alarm_at: Option<SimTime>,
    pub(super) decided_at: SimTime,
}

impl AlarmRuntime {
    /// Whether this is the service's own alarm of that name.
    pub(super) fn is_deployment_alarm(&self, name: &str) -> bool {
        self.role == Role::Deployment && self.name == name
    }

    /// Makes every alarm of a service, and the metrics that they look at.
    pub(super) fn make_all(
        plan: &Plan,
        service: ServiceId,
        spec: &Service,
        runtime: &mut super::build::ServiceRuntime<'_>,
        streams: &Streams,
        into: &mut Vec<Self>,
    ) {
        let mut add = |name: String, role: Role, alarm: AlarmSpec, what: Watched| {
            let watch = watch_for(plan, runtime, what, alarm.period, alarm.evaluation_range());
            let draw = Draw::new(streams.root(&format!("alarm/{}/{name}", runtime.name)));
            into.push(Self {
                service,
                name,
                role,
                spec: alarm,
                watch,
                state: AlarmState::InsufficientData,
                reason: None,
                since: SimTime::ZERO,
                last_action: None,
                phase: draw.unit(),
            });
        };
        for (index, (name, policy)) in spec.scaling.iter().flat_map(|s| s.policies.iter()).enumerate() {
            match policy {
                ScalingPolicy::TargetTracking(p) => {
                    let alarms = target_tracking::alarms(p);
                    let custom = p.customized_metric_specification.as_ref();
                    let custom = custom.map(|c| Custom::of_policy(plan, spec, c));
                    let what = Watched { metric: alarms.metric, statistic: Statistic::Average, custom };
                    add(format!("{name}/AlarmHigh"), Role::TrackingHigh(index), alarms.high, what.clone());
                    add(format!("{name}/AlarmLow"), Role::TrackingLow(index), alarms.low, what);
                }
                ScalingPolicy::Step(p) => {
                    let what = Watched::of(plan, spec, &p.alarm);
                    add(format!("{name}/Alarm"), Role::Step(index), AlarmSpec::from(&p.alarm), what);
                }
                // A forecast acts by its own clock.
                ScalingPolicy::Predictive(_) => {}
            }
        }
        for (name, alarm) in &spec.alarms {
            add(name.clone(), Role::Deployment, AlarmSpec::from(alarm), Watched::of(plan, spec, alarm));
        }
        // The published CPU metric is shown beside the true one, whether or not an alarm looks at it.
        let period = SimDuration::from_secs(u64::from(spec.monitoring_resolution));
        let cpu = Watched { metric: Metric::CpuUtilization, statistic: Statistic::Average, custom: None };
        watch_for(plan, runtime, cpu, period, 1);
    }
}

/// What an alarm looks at.
#[derive(Clone)]
struct Watched {
    metric: Metric,
    statistic: Statistic,
    custom: Option<Custom>,
}

impl Watched {
    fn of(plan: &Plan, service: &Service, alarm: &Alarm) -> Self {
        let custom = Custom::of_alarm(plan, service, alarm);
        Self { metric: alarm.metric, statistic: alarm.statistic, custom }
    }
}

/// The metric with this period, made if no alarm has asked for it yet.
fn watch_for(
    plan: &Plan,
    runtime: &mut super::build::ServiceRuntime<'_>,
    what: Watched,
    period: SimDuration,
    keep: usize,
) -> usize {
    let telemetry = &plan.cluster.telemetry;
    let Watched { metric, statistic, custom } = what;
    let ecs = matches!(metric, Metric::CpuUtilization | Metric::MemoryUtilization);
    let delay = match (&custom, ecs, period < SimDuration::from_secs(60)) {
        (Some(custom), ..) => custom.delay(telemetry),
        (_, true, true) => telemetry.ecs_high_resolution_publication_delay,
        (_, true, false) => telemetry.ecs_publication_delay,
        (_, false, _) => telemetry.alb_publication_delay,
    };
    let same = |w: &Watch| {
        let alike = match (&w.custom, &custom) {
            (Some(a), Some(b)) => a.same(b),
            (None, None) => true,
            _ => false,
        };
        alike && w.metric == metric && w.statistic == statistic && w.series.period() == period
    };
    if let Some(index) = runtime.watches.iter().position(same) {
        runtime.watches[index].series.keep_at_least(keep);
        return index;
    }
    let of_balancer = custom.as_ref().map_or(!ecs, Custom::of_balancer);
    if of_balancer && !runtime.windows.iter().any(|w| w.period == period) {
        runtime.windows.push(LbWindow { period, totals: ServiceTotals::default() });
    }
    let series = Series::new(period, delay, keep);
    runtime.watches.push(Watch { metric, statistic, custom, series, mean: Mean::default() });
    runtime.watches.len() - 1
}

impl Simulation<'_> {
    /// Schedules the first evaluation of every alarm and every scheduled action.
    pub(super) fn start_alarms(&mut self) {
        for index in 0..self.alarms.len() {
            let alarm = &self.alarms[index];
            let first = alarm.spec.evaluation_interval().mul_f64(alarm.phase);
            self.queue.set_timer(Timer::Alarm(index as u32), SimTime::ZERO + first, Phase::Decision);
        }
        for index in 0..self.services.len() {
            let Some(scaling) = &self.services[index].plan.scaling else { continue };
            for action in 0..scaling.scheduled_actions.len() {
                // The schedule begins with the simulation: an instant that is due at time zero counts.
                self.schedule_action(ServiceId::from(index), action, None);
            }
        }
    }

    /// The 20-second sample.
    pub(super) fn on_sample(&mut self) {
        let now = self.queue.now();
        self.sample_queues();
        if self.is_kube() {
            self.collect_sides();
        }
        for index in 0..self.services.len() {
            self.sample_service(ServiceId::from(index), now);
        }
        let next = now + SAMPLE_PERIOD;
        if next <= self.end {
            self.queue.schedule(next, Phase::Scrape, ControlEvent::Sample.into());
        }
    }

    fn sample_service(&mut self, service: ServiceId, now: SimTime) {
        self.account_service_cpu(service);
        let (mut memory_used, mut memory_limit) = (0.0, 0.0);
        let (mut healthy, mut unhealthy) = (0_u32, 0_u32);
        for t in self.cluster.tasks_of(service) {
            let Some(server) = self.tasks[t.id.index()].server else { continue };
            if t.status >= TaskStatus::Running && t.status < TaskStatus::Deprovisioning {
                memory_used += self.data.memory_used(server).get() as f64;
                let memory = match self.is_kube() {
                    true => self.size_of(t.id).memory,
                    false => self.services[service.index()].plan.task.memory,
                };
                memory_limit += memory.get() as f64;
            }
            let runtime = &self.tasks[t.id.index()];
            if runtime.registered && !runtime.deregistering {
                healthy += u32::from(runtime.target.state() == TargetState::Healthy);
                unhealthy += u32::from(runtime.target.state() == TargetState::Unhealthy);
            }
        }
        let due = |period: SimDuration| now.floor_to(period) == now;
        let running = self.running_tasks(service);
        let s = &mut self.services[service.index()];
        let before = std::mem::replace(&mut s.cpu_at_sample, s.cpu);
        let CpuAccount { used, reserved } = s.cpu;
        let cpu = utilization::percent(used - before.used, reserved - before.reserved);
        let memory = utilization::percent(memory_used, memory_limit);
        s.memory_last = memory;
        if s.windows.iter().any(|w| due(w.period)) {
            self.drain(service);
        }
        let s = &mut self.services[service.index()];
        let hidden = self.faults.hidden(s.name);
        for watch in s.watches.iter_mut().filter(|w| w.is_ecs()) {
            if let Some(value) = if watch.is_cpu() { cpu } else { memory } {
                watch.mean.add(value);
            }
            if due(watch.series.period())
                && let Some(value) = watch.mean.take().filter(|_| !hidden.hides(watch.metric))
            {
                watch.series.publish(now, value);
            }
        }
        for watch in &mut s.watches {
            let Some(custom) = &mut watch.custom else { continue };
            custom.sample(cpu, memory);
            let period = watch.series.period();
            if due(period) {
                let window = s.windows.iter().find(|w| w.period == period);
                let parts = Parts { queues: &self.queues, window, running, healthy, unhealthy };
                if let Some(value) = custom.value(&parts) {
                    watch.series.publish(now, value);
                }
            }
        }
        for window in s.windows.iter_mut().filter(|w| due(w.period)) {
            let own = |w: &&mut Watch| w.custom.is_none() && !w.is_ecs() && w.series.period() == window.period;
            for watch in s.watches.iter_mut().filter(own) {
                let value = balancer_metric(watch.metric, watch.statistic, &window.totals, healthy, unhealthy);
                if let Some(value) = value.filter(|_| !hidden.hides(watch.metric)) {
                    watch.series.publish(now, value);
                }
            }
            window.totals.reset();
        }
    }

    /// An alarm is evaluated.
    pub(super) fn on_alarm(&mut self, index: usize) {
        let now = self.queue.now();
        let alarm = &mut self.alarms[index];
        let series = &self.services[alarm.service.index()].watches[alarm.watch].series;
        let points = series.window(now, alarm.spec.evaluation_range());
        let (state, reason) = evaluate(&alarm.spec, alarm.state, &points);
        let changed = state != alarm.state;
        if changed {
            alarm.since = now;
        }
        let before = std::mem::replace(&mut alarm.state, state);
        alarm.reason = Some(reason);
        let interval = alarm.spec.evaluation_interval();
        if state == AlarmState::Alarm && alarm.role != Role::Deployment {
            // A little early is not early: evaluations of short alarms come every ten seconds.
            let repeat = alarm.last_action.is_none_or(|at| now.since(at) >= REPEAT_ACTION);
            if changed || repeat {
                alarm.last_action = Some(now);
                let at = now + self.plan.cluster.telemetry.action_delay;
                self.queue.schedule(at, Phase::Decision, ControlEvent::AlarmAction(index as u32).into());
            }
        }
        if changed {
            self.record_alarm(index, before);
        }
        self.note_missing_data(index);
        self.schedule_timer_if_due(Timer::Alarm(index as u32), now + interval, Phase::Decision);
    }

    /// A scaling alarm that has had time to see points and sees none is a trouble.
    fn note_missing_data(&mut self, index: usize) {
        let now = self.queue.now();
        let alarm = &self.alarms[index];
        let settled = SimTime::ZERO + SimDuration::from_secs(600);
        if alarm.state == AlarmState::InsufficientData && alarm.role != Role::Deployment && now >= settled {
            self.services[alarm.service.index()].trouble.note(super::trouble::TroubleKind::NoData, now);
        }
    }

    fn record_alarm(&mut self, index: usize, before: AlarmState) {
        let now = self.queue.now();
        let alarm = &self.alarms[index];
        let s = &self.services[alarm.service.index()];
        let watch = &s.watches[alarm.watch];
        let newest = watch.series.newest(now);
        let word = |s: AlarmState| match s {
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
        };
        let why = alarm.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        let row = DecisionRow {
            time_s: now.into(),
            controller: "alarm".into(),
            subject: format!("services.{}.{}", s.name, alarm.name).into(),
            service: s.name.into(),
            observed: newest.map(|p| Fixed(p.value)),
            observed_metric: watch.name().into(),
            observed_age_s: newest.map(|p| now.since(p.period_end).into()),
            from: None,
            computed: None,
            bounded_by: "".into(),
            result: None,
            reason: word(alarm.state).into(),
            explanation: format!("{} -> {}: {why}", word(before), word(alarm.state)).into(),
        };
        let detail = DecisionDetail {
            observation: serde_json::json!({ "points": watch.series.window(now, alarm.spec.evaluation_range()) }),
            memory: serde_json::json!({ "state": word(before) }),
        };
        self.recorder.decision(&row, &detail);
    }

    /// An alarm calls the scaling service.
    pub(super) fn on_alarm_action(&mut self, index: usize) -> Result<(), RunError> {
        let now = self.queue.now();
        let alarm = &self.alarms[index];
        let service = alarm.service;
        let s = &self.services[service.index()];
        let (Some(spec), Some(memory)) = (&s.plan.scaling, &s.scaling) else { return Ok(()) };
        let policy = match alarm.role {
            Role::TrackingHigh(p) | Role::TrackingLow(p) | Role::Step(p) => p,
            Role::Deployment => return Ok(()),
        };
        let observation = ScalingObservation {
            now,
            running: self.cluster.count(service, |t| t.status == TaskStatus::Running && t.stop_code.is_none()),
            desired: self.cluster.service(service).desired,
            deployment_in_progress: self.cluster.service(service).deploying(),
            policies: (0..spec.policies.len()).map(|p| self.policy_view(service, spec, p, policy)).collect(),
        };
        let (decision, after) = target::decide(spec, memory, &observation);
        let watch = &s.watches[alarm.watch];
        let newest = watch.series.newest(now);
        let seen = Seen {
            controller: if matches!(alarm.role, Role::Step(_)) { "step_scaling" } else { "target_tracking" },
            subject: format!(
                "services.{}.scaling.policies.{}",
                s.name,
                spec.policies.get_index(policy).map_or("", |(n, _)| n)
            ),
            metric: watch.name().to_owned(),
            value: observation.policies[policy].metric,
            age: newest.map(|p| now.since(p.period_end)),
            cause: ScaleOut {
                data_end: newest.map(|p| p.period_end),
                visible_at: newest.map(|p| p.visible_at),
                alarm_at: Some(alarm.since),
                decided_at: now,
            },
        };
        let detail = DecisionDetail { observation: to_json(&observation), memory: to_json(memory) };
        self.services[service.index()].scaling = Some(after);
        self.carry_out(service, &decision, seen, &detail);
        Ok(())
    }

    /// What the scaling service sees of one policy while another (or this one) is called.
    fn policy_view(&self, service: ServiceId, spec: &Scaling, policy: usize, called: usize) -> PolicyView {
        let now = self.queue.now();
        let find = |role: Role| self.alarms.iter().find(|a| a.service == service && a.role == role);
        let state = |role: Role| find(role).map_or(AlarmState::InsufficientData, |a| a.state);
        let (alarm, alarms) = match spec.policies.get_index(policy) {
            Some((_, ScalingPolicy::Step(_))) => {
                (find(Role::Step(policy)), PolicyAlarms::Step(state(Role::Step(policy))))
            }
            _ => {
                let (high, low) = (state(Role::TrackingHigh(policy)), state(Role::TrackingLow(policy)));
                // Reckon with the points of the alarm that stands.
                let role =
                    if low == AlarmState::Alarm { Role::TrackingLow(policy) } else { Role::TrackingHigh(policy) };
                (find(role), PolicyAlarms::TargetTracking { high, low })
            }
        };
        let Some(alarm) = alarm else {
            return PolicyView { alarms, called: policy == called, metric: None, metric_age: SimDuration::ZERO };
        };
        let series = &self.services[service.index()].watches[alarm.watch].series;
        let newest = series.newest(now);
        let points = || series.window(now, alarm.spec.evaluation_periods as usize).into_iter().flatten();
        let mean = || {
            let (sum, n) = points().fold((0.0, 0_u32), |(sum, n), v| (sum + v, n + 1));
            (n > 0).then(|| sum / f64::from(n))
        };
        let metric = match spec.policies.get_index(policy) {
            Some((_, ScalingPolicy::TargetTracking(t))) if t.metric_sample == MetricSample::Latest => {
                newest.map(|p| p.value)
            }
            Some((_, ScalingPolicy::Step(p))) => match p.metric_aggregation_type {
                Aggregation::Average => mean(),
                Aggregation::Minimum => points().reduce(f64::min),
                Aggregation::Maximum => points().reduce(f64::max),
            },
            _ => mean(),
        };
        PolicyView {
            alarms,
            called: policy == called,
            metric,
            metric_age: newest.map_or(SimDuration::ZERO, |p| now.since(p.period_end)),
        }
    }

    /// Writes a scaling decision down and does what it says.
    pub(super) fn carry_out(
        &mut self,
        service: ServiceId,
        decision: &ScalingDecision,
        seen: Seen,
        detail: &DecisionDetail,
    ) {
        let now = self.queue.now();
        let before = self.cluster.service(service).desired;
        let result = decision.desired.unwrap_or(before);
        let bounds: Vec<&'static str> = decision.bounded_by.iter().map(bound_name).collect();
        let s = &mut self.services[service.index()];
        let record = &mut self.recorder.services[service.index()];
        if now >= self.warm_up {
            for bound in &bounds {
                *record.held_back.entry((*bound).to_string()).or_insert(0) += 1;
                s.trouble.scaling_held(bound, now);
            }
            record.scale_outs += u64::from(result > before);
            record.scale_ins += u64::from(result < before);
        }
        let mut explanation = decision.reason.to_string();
        for bound in &decision.bounded_by {
            explanation.push_str("; ");
            explanation.push_str(&bound.to_string());
        }
        let row = DecisionRow {
            time_s: now.into(),
            controller: seen.controller.into(),
            subject: seen.subject.into(),
            service: s.name.into(),
            observed: seen.value.map(Fixed),
            observed_metric: seen.metric.into(),
            observed_age_s: seen.age.map(Into::into),
            from: Some(i64::from(before)),
            computed: match decision.reason {
                ScalingReason::Forecast { forecast, .. } => Some(i64::from(forecast)),
                _ => decision.requests.iter().map(|r| i64::from(r.computed)).max(),
            },
            bounded_by: bounds.join("+").into(),
            result: Some(i64::from(result)),
            reason: reason_name(&decision.reason).into(),
            explanation: explanation.into(),
        };
        self.recorder.decision(&row, detail);
        if result != before {
            if result > before {
                s.scale_outs.push(seen.cause);
            }
            self.apply(Command::SetDesired { service, desired: result });
        }
    }

    /// Sets the timer of a scheduled action for its first instant after `after`, or from the start on.
    fn schedule_action(&mut self, service: ServiceId, action: usize, after: Option<SimTime>) {
        let start = self.plan.simulation.start;
        let Some((_, spec)) =
            self.services[service.index()].plan.scaling.as_ref().and_then(|s| s.scheduled_actions.get_index(action))
        else {
            return;
        };
        let from = match after {
            Some(at) => start.checked_add(SignedDuration::from_nanos(at.as_nanos() as i64)),
            None => start.checked_sub(SignedDuration::from_nanos(1)),
        };
        // Validated with the plan; a schedule that cannot be read never fires.
        let Ok(schedule) = Schedule::parse(&spec.schedule, &spec.timezone) else { return };
        let Some(next) = schedule.next_action(spec, start, from.unwrap_or(start)) else { return };
        let at = SimTime::from_nanos(u64::try_from(next.duration_since(start).as_nanos()).unwrap_or(0));
        self.schedule_timer_if_due(Timer::Scheduled(service, action as u16), at, Phase::Decision);
    }

    /// A scheduled action is due.
    pub(super) fn on_scheduled(&mut self, service: ServiceId, action: usize) -> Result<(), RunError> {
        let now = self.queue.now();
        let s = &self.services[service.index()];
        let (Some(spec), Some(memory)) = (&s.plan.scaling, &s.scaling) else { return Ok(()) };
        let desired = self.cluster.service(service).desired;
        let Some((name, _)) = spec.scheduled_actions.get_index(action) else { return Ok(()) };
        let (decision, after) = target::scheduled(spec, memory, action, desired);
        let seen = Seen {
            controller: "scheduled",
            subject: format!("services.{}.scaling.scheduled_actions.{name}", s.name),
            metric: String::new(),
            value: None,
            age: None,
            cause: ScaleOut { data_end: None, visible_at: None, alarm_at: None, decided_at: now },
        };
        let observation = serde_json::json!({ "desired": desired, "action": name });
        let detail = DecisionDetail { observation, memory: to_json(memory) };
        self.services[service.index()].scaling = Some(after);
        self.carry_out(service, &decision, seen, &detail);
        self.schedule_action(service, action, Some(now));
        Ok(())
    }
}

/// What a line of the decision log says of the call.
pub(super) struct Seen {
    pub(super) controller: &'static str,
    pub(super) subject: String,
    pub(super) metric: String,
    pub(super) value: Option<f64>,
    pub(super) age: Option<SimDuration>,
    pub(super) cause: ScaleOut,
}

fn bound_name(bound: &Bound) -> &'static str {
    match bound {
        Bound::Min { .. } => "min_capacity",
        Bound::Max { .. } => "max_capacity",
        Bound::Cooldown { .. } => "cooldown",
        Bound::Deployment => "deployment",
        Bound::Suspended { .. } | Bound::ScheduleSuspended => "suspended",
        Bound::NotReady { .. } => "not_all_ready",
        Bound::ScaleInDisabled { .. } => "scale_in_disabled",
        Bound::NoStep { .. } => "no_step",
        Bound::NoMetric { .. } => "no_metric",
        Bound::Forecast { .. } => "forecast",
        Bound::ForecastOnly => "forecast_only",
    }
}

fn reason_name(reason: &ScalingReason) -> &'static str {
    match reason {
        ScalingReason::Policy { direction: Direction::Out, .. } => "scale_out",
        ScalingReason::Policy { direction: Direction::In, .. } => "scale_in",
        ScalingReason::Scheduled { .. } => "scheduled",
        ScalingReason::Forecast { .. } => "forecast",
        ScalingReason::NoChange => "no_change",
        ScalingReason::Held => "held",
    }
}

/// A value as it goes into `decisions.jsonl`.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or(serde_json::Value::Null)
}

/// The value of a load balancer metric over a period; `None` where it has no data point.
pub(super) fn balancer_metric(
    metric: Metric,
    statistic: Statistic,
    t: &ServiceTotals,
    healthy: u32,
    unhealthy: u32,
) -> Option<f64> {
    let nanos = |h: Option<u64>| h.map(|n| n as f64 / 1e9);
    // What callers send past the balancer it does not see.
    let seen = t.attempts - t.direct;
    match metric {
        Metric::CpuUtilization | Metric::MemoryUtilization => None,
        // Not the balancer's.
        Metric::ApproximateNumberOfMessagesVisible
        | Metric::ApproximateNumberOfMessagesNotVisible
        | Metric::ApproximateNumberOfMessagesDelayed
        | Metric::ApproximateAgeOfOldestMessage
        | Metric::NumberOfMessagesSent
        | Metric::RunningTaskCount
        | Metric::Expression => None,
        // Divided by the healthy targets at the end of the period.
        Metric::RequestCountPerTarget if seen == 0 && healthy == 0 => None,
        Metric::RequestCountPerTarget => Some(seen as f64 / f64::from(healthy.max(1))),
        Metric::RequestCount => (seen > 0).then_some(seen as f64),
        Metric::HttpCodeTarget5xxCount => (t.target_5xx > 0).then_some(t.target_5xx as f64),
        Metric::HttpCodeElb5xxCount => (t.elb_5xx() > 0).then_some(t.elb_5xx() as f64),
        Metric::TargetResponseTime => match statistic {
            Statistic::Average => t.response.mean().map(|n| n / 1e9),
            Statistic::P50 => nanos(t.response.quantile(0.5)),
            Statistic::P90 => nanos(t.response.quantile(0.9)),
            Statistic::P95 => nanos(t.response.quantile(0.95)),
            Statistic::P99 => nanos(t.response.quantile(0.99)),
        },
        Metric::HealthyHostCount => Some(f64::from(healthy)),
        Metric::UnhealthyHostCount => Some(f64::from(unhealthy)),
        Metric::ErrorRate => (t.attempts > 0).then(|| 100.0 * (t.elb_5xx() + t.target_5xx) as f64 / t.attempts as f64),
    }
}
