//! The Horizontal Pod Autoscaler at work: what metrics-server has measured, and what the autoscaler makes of it.

use super::super::scale::{ScaleOut, to_json};
use super::super::{ControlEvent, Simulation, Timer};
use crate::cluster::{Command, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::kubernetes::hpa::{
    self, AbleToScale, Basis, Behavior, Decision, HpaMemory, HpaSettings, HpaSpec, Limit, MetricSpec, MetricsServer,
    Observation, PodReading, PodState, PodTarget, PolicyKind, Reading, Replicas, ResourceName, Sample, ScalingPolicy,
    ScalingRules, SelectPolicy, TotalTarget,
};
use crate::kubernetes::keda::QueueTrigger;
use crate::kubernetes::kubelet::{PodPhase, ReadyCondition};
use crate::output::{DecisionDetail, DecisionRow, Fixed, Secs};
use crate::scenario::model::{
    Hpa, HpaBehavior, HpaMetric, HpaPolicyType, HpaRules, Plan, ResourceName as Named, SelectPolicy as Select, Service,
};
use crate::units::{ServiceId, TaskId};

/// How often the kubelet takes the CPU total of a container. Source: housekeeping of cAdvisor.
pub(super) const HOUSEKEEPING: SimDuration = SimDuration::from_secs(10);

/// Over how long a metrics adapter takes the rate of requests. An assumption: `rate(...[1m])` is what most write.
const RATE_WINDOW: SimDuration = SimDuration::from_secs(60);

/// An autoscaler while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct HpaRuntime {
    pub(super) spec: HpaSpec,
    settings: HpaSettings,
    server: MetricsServer,
    memory: HpaMemory,
    /// The use of CPU that it has read last, in percent of the requests.
    seen: Option<f64>,
    /// What was written down last, while nothing is rescaled.
    said: Option<(Basis, AbleToScale, Option<u32>)>,
    /// Where in the sync period it looks.
    phase: f64,
    /// Queues of its external metrics, by metric, and what counts of them where KEDA reads them.
    queues: Vec<Option<usize>>,
    triggers: Vec<QueueTrigger>,
    /// Services whose requests its metrics are of, by metric.
    objects: Vec<Option<ServiceId>>,
}

impl HpaRuntime {
    pub(super) fn new(plan: &Plan, own: ServiceId, name: &str, service: &Service, streams: &Streams) -> Option<Self> {
        let k = &service.kubernetes;
        let object = |m: &HpaMetric| match m {
            HpaMetric::Pods(_) => Some(own),
            HpaMetric::Object(m) => match &m.described_object {
                Some(name) => plan.services.get_index_of(name).map(ServiceId::from),
                None => Some(own),
            },
            _ => None,
        };
        let objects = k.horizontal_pod_autoscaler.iter().flat_map(|h| &h.metrics).map(object).collect();
        let (spec, queues, triggers) = match (&k.horizontal_pod_autoscaler, &k.scaled_object) {
            (Some(hpa), _) => {
                let queue = |m: &HpaMetric| match m {
                    HpaMetric::External(m) => plan.queues.get_index_of(&m.queue),
                    _ => None,
                };
                (spec_of(hpa), hpa.metrics.iter().map(queue).collect(), Vec::new())
            }
            (None, Some(object)) => {
                let queues = object.triggers.iter().map(|t| plan.queues.get_index_of(&t.queue)).collect();
                let object = super::keda::object_of(object);
                (object.hpa(), queues, object.triggers)
            }
            (None, None) => return None,
        };
        let flags = &plan.cluster.eks.horizontal_pod_autoscaler;
        Some(Self {
            spec,
            settings: HpaSettings {
                sync_period: flags.sync_period,
                tolerance: flags.tolerance,
                downscale_stabilization: flags.downscale_stabilization,
                cpu_initialization_period: flags.cpu_initialization_period,
                initial_readiness_delay: flags.initial_readiness_delay,
                ..HpaSettings::default()
            },
            server: server_of(plan),
            memory: HpaMemory::default(),
            seen: None,
            said: None,
            phase: Draw::new(streams.root(&format!("hpa/{name}"))).unit(),
            queues,
            triggers,
            objects,
        })
    }
}

/// The metrics-server of a plan.
pub(super) fn server_of(plan: &Plan) -> MetricsServer {
    let server = &plan.cluster.eks.metrics_server;
    MetricsServer { metric_resolution: server.metric_resolution, housekeeping: HOUSEKEEPING, scrape_delay: server.lag }
}

fn spec_of(hpa: &Hpa) -> HpaSpec {
    let milli = |v: f64| (v * 1_000.0).round() as i64;
    let metric = |m: &HpaMetric| match m {
        HpaMetric::Resource(m) => MetricSpec::Resource {
            resource: match m.name {
                Named::Cpu => ResourceName::Cpu,
                Named::Memory => ResourceName::Memory,
            },
            target: PodTarget::Utilization(i64::from(m.average_utilization)),
        },
        HpaMetric::Pods(m) => {
            MetricSpec::Pods { name: "requests_per_second".to_string(), average_value: milli(m.average_value) }
        }
        HpaMetric::External(m) => MetricSpec::External {
            name: format!("queue {}", m.queue),
            target: TotalTarget::AverageValue(milli(m.average_value)),
        },
        HpaMetric::Object(m) => MetricSpec::Object {
            name: match &m.described_object {
                Some(name) => format!("requests_per_second of {name}"),
                None => "requests_per_second".to_string(),
            },
            target: match (m.value, m.average_value) {
                (Some(value), _) => TotalTarget::Value(milli(value)),
                (None, value) => TotalTarget::AverageValue(milli(value.unwrap_or(0.0))),
            },
        },
    };
    HpaSpec {
        min_replicas: hpa.min_replicas,
        max_replicas: hpa.max_replicas,
        metrics: hpa.metrics.iter().map(metric).collect(),
        behavior: hpa.behavior.as_ref().map(behavior_of),
    }
}

/// How fast an autoscaler may go.
pub(super) fn behavior_of(behavior: &HpaBehavior) -> Behavior {
    let rules = |r: &HpaRules| ScalingRules {
        stabilization_window: r.stabilization_window_seconds.map(|s| SimDuration::from_secs(u64::from(s))),
        select_policy: Some(match r.select_policy {
            Select::Max => SelectPolicy::Max,
            Select::Min => SelectPolicy::Min,
            Select::Disabled => SelectPolicy::Disabled,
        }),
        policies: r
            .policies
            .iter()
            .map(|p| ScalingPolicy {
                kind: match p.r#type {
                    HpaPolicyType::Pods => PolicyKind::Pods,
                    HpaPolicyType::Percent => PolicyKind::Percent,
                },
                value: p.value,
                period: SimDuration::from_secs(u64::from(p.period_seconds)),
            })
            .collect(),
        tolerance: None,
    };
    Behavior { scale_up: behavior.scale_up.as_ref().map(rules), scale_down: behavior.scale_down.as_ref().map(rules) }
}

impl super::Kube<'_> {
    /// Says of each workload whether somebody's metric is of its requests.
    pub(super) fn note_watched(&mut self) {
        let objects = self.workloads.iter().filter_map(|w| w.hpa.as_ref()).flat_map(|h| h.objects.iter().flatten());
        for object in objects.copied().collect::<Vec<ServiceId>>() {
            self.workloads[object.index()].watched = true;
        }
    }

    /// The use of CPU that a service's autoscaler has read last, in percent of the requests.
    pub(in crate::simulation) fn cpu_seen(&self, service: ServiceId) -> Option<f64> {
        self.workloads[service.index()].hpa.as_ref()?.seen
    }
}

impl Simulation<'_> {
    /// Time zero: every autoscaler has its place in the period, and kubelets begin to measure.
    pub(super) fn start_autoscalers(&mut self) {
        for index in 0..self.services.len() {
            let Some(hpa) = &self.kube().workloads[index].hpa else { continue };
            let at = SimTime::ZERO + hpa.settings.sync_period.mul_f64(hpa.phase);
            self.schedule_timer_if_due(Timer::Hpa(ServiceId::from(index)), at, Phase::Decision);
        }
        if self.kube().measured {
            let at = SimTime::ZERO + HOUSEKEEPING;
            self.queue.schedule(at, Phase::Scrape, ControlEvent::Housekeeping.into());
        }
    }

    /// Kubelets take the CPU totals of their containers.
    pub(in crate::simulation) fn on_housekeeping(&mut self) {
        let now = self.queue.now();
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            let w = &self.kube().workloads[index];
            if w.hpa.is_none() && w.vpa.is_none() && !w.watched {
                continue;
            }
            let counts = w.watched;
            // As many points as two scrapes may be apart, and one more.
            let resolution = self.kube().settings.metrics_server.metric_resolution;
            let keep = (resolution.as_nanos() / HOUSEKEEPING.as_nanos()) as usize * 2 + 4;
            if counts {
                self.drain(service);
                let w = &mut self.kube_mut().workloads[index];
                w.requests.push((now, w.served));
                let old = w.requests.iter().take_while(|p| now.since(p.0) > RATE_WINDOW).count();
                w.requests.drain(..old);
            }
            let tasks: Vec<TaskId> = self.cluster.tasks_of(service).map(|t| t.id).collect();
            for task in tasks {
                if self.tasks[task.index()].server.is_none() {
                    continue;
                }
                self.account_cpu(task);
                let total = self.tasks[task.index()].cpu_total;
                let points = &mut self.kube_mut().pods[task.index()].points;
                points.push_back((now, total));
                while points.len() > keep {
                    points.pop_front();
                }
            }
        }
        let next = now + HOUSEKEEPING;
        if next <= self.end {
            self.queue.schedule(next, Phase::Scrape, ControlEvent::Housekeeping.into());
        }
    }

    /// An autoscaler looks at its metrics.
    pub(in crate::simulation) fn on_hpa(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let Some(hpa) = &self.kube().workloads[service.index()].hpa else { return };
        let (spec, settings, server) = (hpa.spec.clone(), hpa.settings, hpa.server);
        let memory = hpa.memory.clone();
        let tasks: Vec<TaskId> = self.cluster.tasks_of(service).map(|t| t.id).collect();
        let pods: Vec<PodState> = tasks.iter().map(|t| self.pod_state(*t)).collect();
        let mut readings: Vec<Vec<PodReading>> = Vec::new();
        let mut totals: Vec<Option<i64>> = Vec::new();
        for (at, metric) in spec.metrics().iter().enumerate() {
            let (of_pods, total) = match metric {
                MetricSpec::Resource { resource, .. } => {
                    let read = |t: &TaskId| self.resource_reading(*t, *resource, &server);
                    (tasks.iter().map(read).collect(), None)
                }
                MetricSpec::Pods { .. } => (self.request_readings(service, &tasks), None),
                MetricSpec::Object { .. } => (Vec::new(), self.object_reading(service, at)),
                _ => (Vec::new(), self.queue_length(service, at)),
            };
            readings.push(of_pods);
            totals.push(total);
        }
        let totals: Vec<Vec<i64>> = totals.into_iter().map(|t| t.into_iter().collect()).collect();
        let seen: Vec<Reading<'_>> = spec
            .metrics()
            .iter()
            .enumerate()
            .map(|(at, metric)| match metric {
                MetricSpec::External { .. } if totals[at].is_empty() => Reading::Unavailable,
                MetricSpec::External { .. } => Reading::External(&totals[at]),
                MetricSpec::Object { .. } => totals[at].first().map_or(Reading::Unavailable, |v| Reading::Object(*v)),
                _ => Reading::Pods { readings: &readings[at], strangers: &[] },
            })
            .collect();
        let current = self.cluster.service(service).desired;
        let status = self.cluster.count(service, |t| t.stop_code.is_none());
        let replicas = Replicas { spec: current, status };
        let observation = Observation { replicas, pods: &pods, readings: &seen };
        let (decision, after) = hpa::sync(&spec, &settings, memory.clone(), &observation, now);
        self.record_hpa(service, &spec, &decision, &observation, &memory);
        if let Some(hpa) = &mut self.kube_mut().workloads[service.index()].hpa {
            hpa.memory = after;
            let cpu = |m: &MetricSpec| matches!(m, MetricSpec::Resource { resource: ResourceName::Cpu, .. });
            let read = spec.metrics().iter().position(cpu).and_then(|at| decision.metrics.get(at)?.as_ref().ok());
            hpa.seen = read.and_then(|p| p.utilization).map(|u| u as f64).or(hpa.seen);
        }
        if decision.rescales() {
            if decision.replicas > current {
                let data_end = readings.iter().flatten().filter_map(|r| r.sample).map(|s| s.at).max();
                self.services[service.index()].scale_outs.push(ScaleOut {
                    data_end,
                    visible_at: data_end.map(|at| at + server.scrape_delay),
                    alarm_at: Some(now),
                    decided_at: now,
                });
            }
            self.count_rescale(service, current, decision.replicas);
            self.apply(Command::SetDesired { service, desired: decision.replicas });
        }
        self.schedule_timer_if_due(Timer::Hpa(service), now + settings.sync_period, Phase::Decision);
    }

    /// Counts a change of the replicas for the summary.
    pub(super) fn count_rescale(&mut self, service: ServiceId, from: u32, to: u32) {
        if self.queue.now() >= self.warm_up {
            let record = &mut self.recorder.services[service.index()];
            record.scale_outs += u64::from(to > from);
            record.scale_ins += u64::from(to < from);
        }
    }

    /// A pod as the autoscaler sees it.
    fn pod_state(&self, task: TaskId) -> PodState {
        let (t, pod) = (self.cluster.task(task), &self.kube().pods[task.index()]);
        PodState {
            phase: if t.status >= TaskStatus::Running { PodPhase::Running } else { PodPhase::Pending },
            deleting: t.stop_code.is_some(),
            ready: t
                .times
                .pull_started
                .map(|bound| ReadyCondition { status: pod.ready_since.is_some(), since: pod.changed.unwrap_or(bound) }),
            start: t.times.pull_started,
        }
    }

    /// What the Metrics API says of a pod.
    pub(super) fn resource_reading(&self, task: TaskId, resource: ResourceName, server: &MetricsServer) -> PodReading {
        let pod = &self.kube().pods[task.index()];
        let started = pod.container_started.unwrap_or(self.queue.now());
        let window = pod.container_started.and_then(|s| server.visible(self.queue.now(), s, SimDuration::ZERO));
        let (sample, request) = match resource {
            ResourceName::Cpu => {
                let total = |at: SimTime| {
                    if at <= started {
                        return Some(0.0);
                    }
                    pod.points.iter().find(|p| p.0 == at).map(|p| p.1)
                };
                let sample = window.and_then(|w| {
                    let used = total(w.to)? - total(w.from)?;
                    let millicores = 1_000.0 * used / w.length().as_secs_f64().max(1e-9);
                    Some(Sample { at: w.to, window: w.length(), value: millicores.round() as i64 })
                });
                (sample, super::shapes::millicores(self.size_of(task).cpu))
            }
            ResourceName::Memory => {
                let sample = window.zip(self.tasks[task.index()].server).map(|(w, server)| Sample {
                    at: w.to,
                    window: w.length(),
                    value: i64::try_from(self.data.memory_used(server).get().saturating_mul(1_000)).unwrap_or(i64::MAX),
                });
                let request = self.size_of(task).memory.get().saturating_mul(1_000);
                (sample, i64::try_from(request).unwrap_or(i64::MAX))
            }
        };
        PodReading { sample, request: (request > 0).then_some(request) }
    }

    /// Requests a second that reached a service over the last minute, as a metrics adapter has them, and when it looked.
    fn request_rate(&self, service: ServiceId) -> Option<(f64, SimTime, SimDuration)> {
        let points = &self.kube().workloads[service.index()].requests;
        let (first, last) = (points.first()?, points.last()?);
        let window = last.0.since(first.0);
        let rate = (last.1 - first.1) as f64 / window.as_secs_f64();
        (!window.is_zero()).then_some((rate, last.0, window))
    }

    /// The requests of the object of a metric, in thousandths a second.
    fn object_reading(&self, service: ServiceId, metric: usize) -> Option<i64> {
        let object = self.kube().workloads[service.index()].hpa.as_ref()?.objects.get(metric).copied().flatten()?;
        Some((1_000.0 * self.request_rate(object)?.0).round() as i64)
    }

    /// Requests a second of each pod, as a metrics adapter has them.
    fn request_readings(&self, service: ServiceId, tasks: &[TaskId]) -> Vec<PodReading> {
        let Some((rate, now, window)) = self.request_rate(service) else {
            return vec![PodReading::default(); tasks.len()];
        };
        let serving = tasks.iter().filter(|t| self.kube().pods[t.index()].endpoint).count().max(1);
        let one = Some((1_000.0 * rate / serving as f64).round() as i64);
        let read = |t: &TaskId| {
            let takes = self.kube().pods[t.index()].endpoint;
            let sample = one.filter(|_| takes).map(|value| Sample { at: now, window, value });
            PodReading { sample, request: None }
        };
        tasks.iter().map(read).collect()
    }

    /// Messages in the queue of an external metric, in thousandths.
    fn queue_length(&self, service: ServiceId, metric: usize) -> Option<i64> {
        let hpa = self.kube().workloads[service.index()].hpa.as_ref()?;
        let queue = hpa.queues.get(metric).copied().flatten()?;
        let seen = self.data.queue_gauges(self.queue.now(), queue);
        let trigger = hpa.triggers.get(metric);
        let messages = trigger.map_or(seen.visible, |t| t.backlog(seen.visible, seen.in_flight, seen.delayed));
        Some(QueueTrigger::reading(messages))
    }

    fn record_hpa(
        &mut self,
        service: ServiceId,
        spec: &HpaSpec,
        decision: &Decision,
        observation: &Observation<'_>,
        memory: &HpaMemory,
    ) {
        let held = matches!(decision.able_to_scale, AbleToScale::ScaleDownStabilized | AbleToScale::ScaleUpStabilized);
        // What is held back or fails is said when it begins, and when it changes.
        let state = (!decision.rescales()).then_some((decision.basis, decision.able_to_scale, decision.stabilized));
        let Some(hpa) = &mut self.kube_mut().workloads[service.index()].hpa else { return };
        let news = std::mem::replace(&mut hpa.said, state) != state;
        let tells = decision.rescales() || news && (held || decision.basis == Basis::Failed);
        if !tells {
            return;
        }
        let now = self.queue.now();
        let metric = decision.metric.and_then(|at| spec.metrics().get(at));
        let value = decision.metric.and_then(|at| decision.metrics.get(at)?.as_ref().ok().copied());
        let (name, unit) = match metric {
            Some(MetricSpec::Resource { resource: ResourceName::Cpu, .. }) => ("cpu", "% of the request"),
            Some(MetricSpec::Resource { resource: ResourceName::Memory, .. }) => ("memory", "% of the request"),
            Some(MetricSpec::Object { name, target: TotalTarget::Value(_) }) => (name.as_str(), "in all"),
            Some(
                MetricSpec::Pods { name, .. } | MetricSpec::External { name, .. } | MetricSpec::Object { name, .. },
            ) => (name.as_str(), "for each pod"),
            _ => ("", ""),
        };
        let seen = value.map(|p| p.utilization.map_or(p.value as f64 / 1_000.0, |u| u as f64));
        let limit = match decision.limit {
            Some(Limit::ScaleUpLimit) => "ScaleUpLimit",
            Some(Limit::ScaleDownLimit) => "ScaleDownLimit",
            Some(Limit::TooManyReplicas) => "TooManyReplicas",
            Some(Limit::TooFewReplicas) => "TooFewReplicas",
            _ if held => "stabilization",
            _ => "",
        };
        let explanation = match (seen, decision.basis) {
            (_, Basis::Failed) => format!(
                "no metric could be read{}",
                decision.scaling_active.map_or(String::new(), |why| format!(": {why:?}"))
            ),
            (Some(v), _) => format!("{name} is at {v:.0} {unit}"),
            (None, _) => "the number of replicas was out of its bounds".to_string(),
        };
        let samples = observation.readings.iter().flat_map(|r| match r {
            Reading::Pods { readings, .. } => readings.iter().filter_map(|r| r.sample).map(|s| s.at).collect(),
            _ => Vec::new(),
        });
        let age = samples.max().map(|at| now.since(at));
        let row = DecisionRow {
            time_s: now.into(),
            controller: "hpa".into(),
            subject: format!("services.{}.kubernetes.horizontal_pod_autoscaler", self.services[service.index()].name)
                .into(),
            service: self.services[service.index()].name.into(),
            observed: seen.map(Fixed),
            observed_metric: name.to_string().into(),
            observed_age_s: age.map(Secs::from),
            from: Some(i64::from(decision.current)),
            computed: decision.proposal.map(i64::from),
            bounded_by: limit.into(),
            result: Some(i64::from(decision.replicas)),
            reason: if decision.rescales() {
                "rescale"
            } else if held {
                "held"
            } else {
                "failed"
            }
            .into(),
            explanation: explanation.into(),
        };
        let observation = serde_json::json!({
            "replicas": format!("{:?}", observation.replicas),
            "pods": observation.pods,
        });
        self.recorder.decision(&row, &DecisionDetail { observation, memory: to_json(memory) });
    }
}
