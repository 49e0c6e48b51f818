//! Queues at work: what is recorded of them, and metrics that are made of several.

use indexmap::IndexMap;

use super::Simulation;
use super::recorder::{TrendGatherer, largest};
use super::scale::{LbWindow, balancer_metric};
use crate::cluster::TaskStatus;
use crate::kernel::{SimDuration, SimTime};
use crate::output::{QueueRow, QueueSummary, Secs};
use crate::scenario::metric_math::Expression;
use crate::scenario::model::{Alarm, CustomizedMetric, Metric, MetricQuery, Plan, Service, Statistic, Telemetry};
use crate::telemetry::Mean;
use crate::traffic::{QueueGauges, QueueTotals};
use crate::units::ServiceId;

/// A queue of the plan while it runs.
pub(super) struct QueueRuntime<'p> {
    name: &'p str,
    interval: QueueTotals,
    whole: QueueTotals,
    /// Messages sent since the start.
    sent: u64,
    /// As it was at the last full minute.
    gauges: QueueGauges,
    max_visible: u64,
    max_age_s: f64,
    visible: TrendGatherer,
    age: TrendGatherer,
}

impl<'p> QueueRuntime<'p> {
    pub(super) fn all(plan: &'p Plan) -> Vec<Self> {
        plan.queues
            .keys()
            .map(|name| Self {
                name,
                interval: QueueTotals::default(),
                whole: QueueTotals::default(),
                sent: 0,
                gauges: QueueGauges::default(),
                max_visible: 0,
                max_age_s: 0.0,
                visible: TrendGatherer::new(largest),
                age: TrendGatherer::new(largest),
            })
            .collect()
    }
}

/// A metric that is not the service's own alone: of a queue, of Container Insights, or metric math.
#[derive(Clone, Debug)]
pub(super) struct Custom {
    /// In an order in which each needs earlier ones only; the last is the metric.
    queries: Vec<Query>,
    /// The same metric has the same key.
    key: String,
}

#[derive(Clone, Debug)]
struct Query {
    id: String,
    what: What,
    /// CPU and memory are means over the period.
    mean: Mean,
    /// Messages sent until the last period's end.
    seen: u64,
}

#[derive(Clone, Debug)]
enum What {
    Metric { metric: Metric, statistic: Statistic, queue: Option<usize> },
    Math(Expression),
}

fn queue_of(plan: &Plan, service: &Service, named: Option<&str>) -> Option<usize> {
    let name = named.or_else(|| service.worker.as_ref().map(|w| w.queue.as_str()))?;
    plan.queues.get_index_of(name)
}

impl Custom {
    /// The metric of a target tracking policy.
    pub(super) fn of_policy(plan: &Plan, service: &Service, custom: &CustomizedMetric) -> Self {
        Self::of_queries(plan, service, &custom.metrics)
    }

    /// The metric of an alarm, if it is not one of the service's own alone.
    pub(super) fn of_alarm(plan: &Plan, service: &Service, alarm: &Alarm) -> Option<Self> {
        match alarm.metric {
            Metric::Expression => Some(Self::of_queries(plan, service, &alarm.metrics)),
            Metric::ApproximateNumberOfMessagesVisible
            | Metric::ApproximateNumberOfMessagesNotVisible
            | Metric::ApproximateNumberOfMessagesDelayed
            | Metric::ApproximateAgeOfOldestMessage
            | Metric::NumberOfMessagesSent
            | Metric::RunningTaskCount => {
                let query = MetricQuery {
                    metric_name: Some(alarm.metric),
                    queue: alarm.queue.clone(),
                    statistic: alarm.statistic,
                    expression: None,
                };
                let one = IndexMap::from_iter([(alarm.metric.as_str().to_owned(), query)]);
                Some(Self::of_queries(plan, service, &one))
            }
            _ => None,
        }
    }

    fn of_queries(plan: &Plan, service: &Service, metrics: &IndexMap<String, MetricQuery>) -> Self {
        let mut open: Vec<(&String, What)> = metrics
            .iter()
            .filter_map(|(id, q)| match (&q.expression, q.metric_name) {
                (Some(text), _) => Some((id, What::Math(Expression::parse(text).ok()?))),
                (None, Some(metric)) => {
                    let queue = queue_of(plan, service, q.queue.as_deref());
                    Some((id, What::Metric { metric, statistic: q.statistic, queue }))
                }
                (None, None) => None,
            })
            .collect();
        let mut queries: Vec<Query> = Vec::with_capacity(open.len());
        while !open.is_empty() {
            let before = queries.len();
            open.retain(|(id, what)| {
                let ready = match what {
                    What::Metric { .. } => true,
                    What::Math(e) => e.queries().iter().all(|needed| queries.iter().any(|q| q.id == *needed)),
                };
                if ready {
                    queries.push(Query { id: (*id).clone(), what: what.clone(), mean: Mean::default(), seen: 0 });
                }
                !ready
            });
            if queries.len() == before {
                break; // A circle: refused with the plan.
            }
        }
        // The one that no other uses is the metric; metrics alone may stand after it.
        let used: Vec<String> = queries
            .iter()
            .filter_map(|q| match &q.what {
                What::Math(e) => Some(e.queries().into_iter().map(str::to_owned).collect::<Vec<_>>()),
                What::Metric { .. } => None,
            })
            .flatten()
            .collect();
        if let Some(at) = queries.iter().position(|q| !used.contains(&q.id)) {
            let value = queries.remove(at);
            queries.push(value);
        }
        Self { queries, key: format!("{metrics:?}") }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// What it is called in decisions.
    pub(super) fn label(&self) -> &str {
        self.queries.last().map_or("", |q| q.id.as_str())
    }

    /// When a point can be seen: when the last of its parts can.
    pub(super) fn delay(&self, telemetry: &Telemetry) -> SimDuration {
        let of = |q: &Query| match &q.what {
            What::Math(_) => SimDuration::ZERO,
            What::Metric { metric, .. } => match metric {
                Metric::CpuUtilization | Metric::MemoryUtilization => telemetry.ecs_publication_delay,
                Metric::RunningTaskCount => telemetry.container_insights_publication_delay,
                m if of_queue(*m) => telemetry.sqs_publication_delay,
                _ => telemetry.alb_publication_delay,
            },
        };
        self.queries.iter().map(of).max().unwrap_or(SimDuration::ZERO)
    }

    /// Whether it looks at the load balancer.
    pub(super) fn of_balancer(&self) -> bool {
        self.queries.iter().any(|q| match &q.what {
            What::Math(_) => false,
            What::Metric { metric, .. } => {
                let ecs = [Metric::CpuUtilization, Metric::MemoryUtilization, Metric::RunningTaskCount];
                !of_queue(*metric) && !ecs.contains(metric)
            }
        })
    }

    /// Takes a sample of what is a mean over the period.
    pub(super) fn sample(&mut self, cpu: Option<f64>, memory: Option<f64>) {
        for query in &mut self.queries {
            let value = match &query.what {
                What::Metric { metric: Metric::CpuUtilization, .. } => cpu,
                What::Metric { metric: Metric::MemoryUtilization, .. } => memory,
                _ => None,
            };
            if let Some(value) = value {
                query.mean.add(value);
            }
        }
    }

    /// The value of the period that ends now.
    pub(super) fn value(&mut self, parts: &Parts<'_>) -> Option<f64> {
        let mut values: Vec<(String, Option<f64>)> = Vec::with_capacity(self.queries.len());
        for query in &mut self.queries {
            let value = match &query.what {
                What::Math(e) => e.value(&|id| values.iter().find(|v| v.0 == id).and_then(|v| v.1)),
                What::Metric { metric, statistic, queue } => {
                    let q = queue.and_then(|i| parts.queues.get(i));
                    let gauge = |of: fn(&QueueGauges) -> f64| q.map(|q| of(&q.gauges));
                    match metric {
                        Metric::CpuUtilization | Metric::MemoryUtilization => query.mean.take(),
                        Metric::RunningTaskCount => Some(f64::from(parts.running)),
                        Metric::ApproximateNumberOfMessagesVisible => gauge(|g| g.visible as f64),
                        Metric::ApproximateNumberOfMessagesNotVisible => gauge(|g| g.in_flight as f64),
                        Metric::ApproximateNumberOfMessagesDelayed => gauge(|g| g.delayed as f64),
                        Metric::ApproximateAgeOfOldestMessage => gauge(|g| g.oldest_age_s),
                        Metric::NumberOfMessagesSent => q.map(|q| {
                            let before = std::mem::replace(&mut query.seen, q.sent);
                            (q.sent - before) as f64
                        }),
                        _ => parts.window.and_then(|w| {
                            balancer_metric(*metric, *statistic, &w.totals, parts.healthy, parts.unhealthy)
                        }),
                    }
                }
            };
            values.push((query.id.clone(), value));
        }
        values.pop().and_then(|v| v.1)
    }
}

/// What metrics of one's own are made of at the end of a period.
pub(super) struct Parts<'a> {
    pub(super) queues: &'a [QueueRuntime<'a>],
    pub(super) window: Option<&'a LbWindow>,
    pub(super) running: u32,
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

fn of_queue(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::ApproximateNumberOfMessagesVisible
            | Metric::ApproximateNumberOfMessagesNotVisible
            | Metric::ApproximateNumberOfMessagesDelayed
            | Metric::ApproximateAgeOfOldestMessage
            | Metric::NumberOfMessagesSent
    )
}

impl Simulation<'_> {
    /// Tasks of a service that Container Insights counts as running.
    pub(super) fn running_tasks(&self, service: ServiceId) -> u32 {
        self.cluster.count(service, |t| t.status == TaskStatus::Running)
    }

    fn drain_queues(&mut self) {
        let now = self.queue.now();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let fresh = self.data.drain_queue(now, index);
            queue.interval.merge(&fresh);
            queue.whole.merge(&fresh);
            queue.sent += fresh.sent;
        }
    }

    /// Before the samples of services: SQS looks at its queues once a minute.
    pub(super) fn sample_queues(&mut self) {
        let now = self.queue.now();
        if self.queues.is_empty() || now.floor_to(SimDuration::from_secs(60)) != now {
            return;
        }
        self.drain_queues();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.gauges = self.data.queue_gauges(now, index);
        }
    }

    /// Writes the rows of an interval.
    pub(super) fn close_queue_interval(&mut self, start: SimTime, now: SimTime) {
        self.drain_queues();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let t = std::mem::take(&mut queue.interval);
            let g = self.data.queue_gauges(now, index);
            queue.visible.add(Some(g.visible as f64));
            queue.age.add(Some(g.oldest_age_s));
            if start >= self.warm_up {
                queue.max_visible = queue.max_visible.max(g.visible);
                queue.max_age_s = queue.max_age_s.max(g.oldest_age_s);
            }
            let written = self.recorder.sink.queue(&QueueRow {
                time_s: start.into(),
                interval_s: now.since(start).into(),
                queue: queue.name.into(),
                sent: t.sent,
                moved_in: t.moved_in,
                received: t.received,
                redelivered: t.redelivered,
                deleted: t.deleted,
                duplicates: t.duplicates,
                returned: t.returned,
                dead_lettered: t.dead_lettered,
                expired: t.expired,
                empty_receives: t.empty_receives,
                visible: g.visible,
                in_flight: g.in_flight,
                delayed: g.delayed,
                oldest_age_s: Secs::from(SimDuration::from_secs_f64(g.oldest_age_s)),
            });
            self.recorder.keep_failure(written);
            self.recorder.queue_totals(now, index, &t, &g);
        }
    }

    /// The warm-up is over: what was gathered is forgotten.
    pub(super) fn forget_queues(&mut self) {
        self.drain_queues();
        for queue in &mut self.queues {
            queue.whole = QueueTotals::default();
            queue.visible.forget_max();
            queue.age.forget_max();
        }
    }

    /// Figures of the queues.
    pub(super) fn queue_summaries(&mut self) -> IndexMap<String, QueueSummary> {
        let (now, interval_s) = (self.end, self.plan.simulation.interval.as_secs_f64());
        let mut all = IndexMap::new();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let t = queue.whole;
            let g = self.data.queue_gauges(now, index);
            let take = |g: &mut TrendGatherer| std::mem::replace(g, TrendGatherer::new(largest)).trend(interval_s);
            let summary = QueueSummary {
                sent: t.sent,
                moved_in: t.moved_in,
                received: t.received,
                redelivered: t.redelivered,
                deleted: t.deleted,
                duplicates: t.duplicates,
                returned: t.returned,
                dead_lettered: t.dead_lettered,
                expired: t.expired,
                empty_receives: t.empty_receives,
                visible_at_end: g.visible,
                in_flight_at_end: g.in_flight,
                delayed_at_end: g.delayed,
                max_visible: queue.max_visible,
                max_age_s: queue.max_age_s,
                visible: take(&mut queue.visible),
                age_s: take(&mut queue.age),
            };
            all.insert(queue.name.to_owned(), summary);
        }
        all
    }
}
