//! The end of a run: what is still open is closed, and the summary is drawn.

use indexmap::IndexMap;

use super::recorder::{LATENCY_KEYS, ServiceRecord, availability, holds, latency_s};
use super::{RunError, RunOutcome, Simulation};
use crate::billing::Owner;
use crate::cluster::DeploymentOutcome as Ended;
use crate::kernel::SimTime;
use crate::output::{
    BoundSense, CostItem, CostRate, CostSummary, DeploymentOutcome, DeploymentSummary, Latency, Meta, NodeCosts,
    ObjectiveResult, RequestCounts, SUMMARY_SCHEMA, ScalingSummary, ServiceSummary, Summary, Trends, WeakPrice,
};
use crate::scaling::target_tracking;
use crate::scenario::model::{Bound, Metric, Objectives, ScalingPolicy, Sense, Service};
use crate::traffic::{Histogram, ServiceTotals};
use crate::units::{NodeId, ServiceId, TaskId};

/// Version of the results: part of each run's id. Raise it when a release alters numbers.
pub const RESULT_VERSION: u32 = 3;

/// The id of a run: a hash of plan, replication and result version.
#[must_use]
pub fn run_id(plan_hash: &str, replication: u64) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(plan_hash.as_bytes());
    hasher.update(&replication.to_le_bytes());
    hasher.update(&RESULT_VERSION.to_le_bytes());
    hasher.finalize().to_hex()[..16].to_string()
}

pub(super) fn latency(h: &Histogram) -> Option<Latency> {
    let ms = |q: f64| h.quantile(q).map(|n| n as f64 / 1e6);
    Some(Latency {
        count: h.count(),
        mean_ms: h.mean()? / 1e6,
        p50_ms: ms(0.5)?,
        p90_ms: ms(0.9)?,
        p95_ms: ms(0.95)?,
        p99_ms: ms(0.99)?,
        p999_ms: ms(0.999)?,
        max_ms: h.max() as f64 / 1e6,
    })
}

fn requests(t: &ServiceTotals) -> RequestCounts {
    let named =
        |pairs: &[(&str, u64)]| -> IndexMap<String, u64> { pairs.iter().map(|&(n, v)| (n.to_string(), v)).collect() };
    let mut failed_by_kind = named(&[
        ("timeout", t.failed.timeout),
        ("abandoned", t.failed.abandoned),
        ("target_error", t.failed.server_error),
        ("balancer_error", t.failed.unavailable + t.failed.bad_gateway + t.failed.gateway_timeout),
    ]);
    if t.failed.no_connection > 0 {
        failed_by_kind.insert("no_connection".to_string(), t.failed.no_connection);
    }
    RequestCounts {
        started: t.started,
        succeeded: t.succeeded,
        failed: t.failed.total(),
        unfinished: t.in_flight,
        attempts: t.attempts,
        retries: t.retries,
        failed_by_kind,
        balancer_errors: named(&[
            ("elb_460", t.client_gone_460),
            ("elb_502", t.elb_502),
            ("elb_503", t.elb_503),
            ("elb_504", t.elb_504),
            ("target_5xx", t.target_5xx),
        ]),
    }
}

impl Simulation<'_> {
    /// Closes everything and draws the summary.
    pub(super) fn finish(mut self) -> Result<RunOutcome, RunError> {
        let end = self.end;
        self.close_interval(end)?;
        if end.floor_to(crate::kernel::SimDuration::from_secs(60)) != end {
            self.close_minute(end);
        }
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            if let Some(closed) = self.recorder.services[index].tracker.finish(end) {
                self.close_incident(service, &closed);
            }
        }
        self.close_jobs();
        let alive: Vec<TaskId> = self.cluster.services().iter().flat_map(|s| s.tasks.iter().copied()).collect();
        for task in alive {
            self.record_task(task);
        }
        self.close_given();
        let nodes: Vec<_> =
            (0..self.nodes.len()).map(NodeId::from).filter(|n| self.cluster.node(*n).is_alive()).collect();
        for node in nodes {
            self.record_node(node);
        }
        if let Some(failure) = self.recorder.failure.take() {
            return Err(failure.into());
        }
        let summary = self.summary();
        let latency = self
            .services
            .iter()
            .zip(&mut self.recorder.services)
            .filter(|(s, _)| s.job.is_none())
            .map(|(s, r)| (s.name.to_string(), std::mem::take(&mut r.whole.latency)))
            .collect();
        Ok(RunOutcome { summary, latency, minute_hashes: self.recorder.minute_hashes, events: self.events })
    }

    fn counted_hours(&self) -> f64 {
        self.end.since(self.warm_up).as_secs_f64() / 3600.0
    }

    fn summary(&mut self) -> Summary {
        let services: Vec<(String, ServiceSummary)> = (0..self.services.len())
            .filter(|&i| self.services[i].job.is_none())
            .map(|i| (i, self.services[i].name.to_string()))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(i, name)| (name, self.service_summary(i)))
            .collect();
        let (queues, jobs) = (self.queue_summaries(), self.job_summaries());
        let pods = self.pods_summary();
        let cost = self.cost_summary();
        let objectives = self.objectives(&cost);
        let breach_minutes = self
            .services
            .iter()
            .zip(&self.recorder.services)
            .filter(|(s, _)| self.plan.objectives.get(s.name).is_some_and(judged_by_the_minute))
            .map(|(s, r)| (s.name.to_string(), r.breach_minutes))
            .collect();
        let weak_prices = self.weak_prices();
        let mut diagnoses = Vec::new();
        for index in 0..self.services.len() {
            self.diagnose(index, &mut diagnoses);
        }
        self.diagnose_calls(&mut diagnoses);
        self.diagnose_groups(&mut diagnoses);
        let mut notes = vec!["single replication: no interval".to_string(), "uncalibrated: direction only".to_string()];
        for refusal in &self.recorder.refusals {
            notes.push(format!("defect of simctl, please report: a controller's command was refused {refusal}"));
        }
        match self.nodes_without_price() {
            0 => {}
            1 => notes.push(
                "one node of the initial state is no EC2 instance: it has no price and is not in the bill".to_string(),
            ),
            n => notes.push(format!(
                "{n} nodes of the initial state are no EC2 instances: they have no price and are not in the bill"
            )),
        }
        if self.faults.unlisted > 0 {
            notes.push(format!(
                "{} more faults struck than are listed; decisions.csv has them all",
                self.faults.unlisted
            ));
        }
        let mut incidents = std::mem::take(&mut self.recorder.incidents);
        incidents.sort_by(|a, b| a.start_s.total_cmp(&b.start_s).then_with(|| a.service.cmp(&b.service)));
        Summary {
            schema: SUMMARY_SCHEMA.to_string(),
            meta: self.meta(),
            objectives,
            breach_minutes,
            services: services.into_iter().collect(),
            calls: self.calls_summary(),
            dependencies: self.dependencies_summary().into_iter().collect(),
            queues,
            jobs,
            pods,
            incidents,
            faults: self.faults.occurrences.clone(),
            weak_prices,
            cost,
            decisions: self.recorder.decisions.clone(),
            facts_hash: self.recorder.facts_hash(),
            diagnoses,
            ignored: Vec::new(),
            notes,
        }
    }

    fn meta(&self) -> Meta {
        Meta {
            name: self.options.name.to_string(),
            variant: self.options.variant.to_string(),
            seed: self.plan.simulation.seed,
            replication: self.options.replication as u32,
            run_id: run_id(self.options.plan_hash, self.options.replication),
            plan_hash: self.options.plan_hash.to_string(),
            simctl_version: env!("CARGO_PKG_VERSION").to_string(),
            catalog_date: crate::catalog::COLLECTED.to_string(),
            region: self.plan.cluster.region.clone(),
            duration_s: self.end.as_secs_f64(),
            warm_up_s: self.warm_up.as_secs_f64(),
            interval_s: self.plan.simulation.interval.as_secs_f64(),
            start: self.plan.simulation.start.to_string(),
            events: self.events,
        }
    }

    fn service_summary(&mut self, index: usize) -> ServiceSummary {
        let interval_s = self.plan.simulation.interval.as_secs_f64();
        let r = &mut self.recorder.services[index];
        let take = |g: &mut super::recorder::TrendGatherer| {
            std::mem::replace(g, super::recorder::TrendGatherer::new(super::recorder::mean)).trend(interval_s)
        };
        let trends = Trends {
            load_rps: take(&mut r.load),
            latency_p99_ms: take(&mut r.p99),
            failed_rps: take(&mut r.failed),
            running: take(&mut r.running),
            cpu_used_pct: take(&mut r.cpu),
        };
        let t = &r.whole;
        let wasted_pct = if r.cpu_used > 0.0 { 100.0 * t.cpu_wasted / r.cpu_used } else { 0.0 };
        let deployments = self.services[index].deployments.iter().map(|d| d.summary()).collect();
        ServiceSummary {
            latency: latency(&t.latency),
            attempt_latency: latency(&t.latency_all),
            requests: requests(t),
            availability_pct: availability(t),
            cpu_used_pct: crate::telemetry::utilization::percent(r.cpu_used, r.cpu_reserved),
            queue: self.services[index].plan.worker.as_ref().map(|w| w.queue.clone()),
            cpu_target_pct: cpu_target(self.services[index].plan),
            wasted_cpu_s: t.cpu_wasted,
            wasted_cpu_pct: wasted_pct,
            scaling: scaling_summary(r),
            deployments,
            trends,
        }
    }

    fn cost_summary(&self) -> CostSummary {
        let hours = self.counted_hours();
        let per_hour = |usd: f64| if hours > 0.0 { usd / hours } else { 0.0 };
        let totals = self.meter.totals();
        let total = totals.usd.dollars();
        let items = totals
            .items
            .iter()
            .map(|line| CostItem {
                item: line.item.name().to_string(),
                label: line.item.label().to_string(),
                quantity: line.quantity,
                unit: line.unit.to_string(),
                unit_price_usd: line.list_price.dollars(),
                cost_usd: line.usd.dollars(),
                per_hour_usd: per_hour(line.usd.dollars()),
            })
            .collect();
        let by_service = totals
            .by_owner
            .iter()
            .map(|(owner, usd)| {
                let name = match owner {
                    Owner::Service(service) => self.services[service.index()].name,
                    Owner::Idle => "idle",
                    Owner::Cluster => "cluster",
                };
                (name.to_string(), usd.dollars())
            })
            .collect();
        // What a wasted vCPU-second cost: the service's vCPU price for it.
        let wasted = self
            .recorder
            .services
            .iter()
            .enumerate()
            .map(|(i, r)| r.whole.cpu_wasted * self.meter.vcpu_price_per_hour(ServiceId::from(i)) / 3600.0)
            .sum();
        CostSummary {
            total_usd: total,
            per_hour_usd: per_hour(total),
            warm_up_usd: totals.before_counting.dollars(),
            items,
            by_service,
            by_capacity: totals
                .by_capacity
                .iter()
                .filter_map(|(capacity, cost)| {
                    let (name, _) = self.plan.capacity.get_index(capacity.index())?;
                    let costs = NodeCosts {
                        nodes_usd: cost.usd.dollars(),
                        idle_usd: cost.idle.dollars(),
                        wasted_usd: cost.wasted.dollars(),
                    };
                    Some((name.clone(), costs))
                })
                .collect(),
            rate_usd_per_hour: self.recorder.cost_min.map(|min| CostRate { min, max: self.recorder.cost_max }),
            wasted_usd: wasted,
        }
    }

    /// Prices that the bill depends on and that are old or unsure.
    fn weak_prices(&self) -> Vec<WeakPrice> {
        self.meter
            .weak_prices()
            .into_iter()
            .map(|w| WeakPrice {
                item: w.item.label().to_string(),
                region: w.region,
                unit_price_usd: w.unit_price_usd,
                date: w.as_of,
                confidence: w.confidence,
                reason: w.reason,
                cost_usd: w.cost.dollars(),
            })
            .collect()
    }

    fn objectives(&self, cost: &CostSummary) -> Vec<ObjectiveResult> {
        let mut results = Vec::new();
        for (subject, o) in &self.plan.objectives {
            let record = self.services.iter().position(|s| s.name == subject).map(|i| &self.recorder.services[i]);
            let cost_of = match record {
                Some(_) => cost.by_service.get(subject).copied().unwrap_or(0.0),
                None => cost.total_usd,
            };
            self.objectives_of(subject, o, record, cost_of, &mut results);
        }
        results
    }

    fn objectives_of(
        &self,
        subject: &str,
        o: &Objectives,
        record: Option<&ServiceRecord>,
        cost: f64,
        results: &mut Vec<ObjectiveResult>,
    ) {
        let mut add =
            |key: &str, unit: &str, scale: f64, bound: Option<Bound>, measured: Option<f64>, note: Option<&str>| {
                let Some(bound) = bound else { return };
                let held = measured.map(|m| holds(bound.sense, m, bound.value));
                results.push(ObjectiveResult {
                    subject: subject.to_string(),
                    key: key.to_string(),
                    sense: match bound.sense {
                        Sense::AtMost => BoundSense::AtMost,
                        Sense::AtLeast => BoundSense::AtLeast,
                    },
                    limit: bound.value * scale,
                    unit: unit.to_string(),
                    measured: measured.map(|m| m * scale),
                    // An objective on requests that all failed is missed, not unmeasured.
                    held: held.or_else(|| note.map(|_| false)),
                    note: note.map(ToString::to_string),
                });
            };
        if let Some(r) = record {
            let none = (r.whole.finished() > 0 && r.whole.succeeded == 0).then_some("no request succeeded");
            for (key, quantile, bound) in LATENCY_KEYS {
                add(key, "ms", 1e3, bound(o), latency_s(&r.whole.latency, quantile), none);
            }
            add("availability", "%", 1.0, o.availability, availability(&r.whole), None);
            add("breach_minutes", "min", 1.0, o.breach_minutes, Some(r.breach_minutes as f64), None);
            add("done_by_deadline", "%", 1.0, o.done_by_deadline, self.done_by_deadline(subject), None);
        } else {
            let mut all = ServiceTotals::default();
            for r in &self.recorder.services {
                all.merge(&r.whole);
            }
            for (key, quantile, bound) in LATENCY_KEYS {
                add(key, "ms", 1e3, bound(o), latency_s(&all.latency, quantile), None);
            }
            add("availability", "%", 1.0, o.availability, availability(&all), None);
            let minutes: u64 = self.recorder.services.iter().map(|r| r.breach_minutes).sum();
            add("breach_minutes", "min", 1.0, o.breach_minutes, Some(minutes as f64), None);
        }
        let hours = self.counted_hours();
        add("cost_per_hour", "usd/h", 1.0, o.cost_per_hour, (hours > 0.0).then(|| cost / hours), None);
        add("cost", "usd", 1.0, o.cost, Some(cost), None);
    }
}

/// The target of a CPU target tracking policy.
fn cpu_target(service: &Service) -> Option<f64> {
    service.scaling.iter().flat_map(|s| s.policies.values()).find_map(|policy| match policy {
        ScalingPolicy::TargetTracking(t)
            if t.predefined_metric_type.map(target_tracking::metric) == Some(Metric::CpuUtilization) =>
        {
            Some(t.target_value)
        }
        _ => None,
    })
}

fn judged_by_the_minute(o: &Objectives) -> bool {
    o.availability.is_some() || LATENCY_KEYS.iter().any(|(_, _, bound)| bound(o).is_some())
}

fn scaling_summary(r: &ServiceRecord) -> ScalingSummary {
    ScalingSummary {
        scale_outs: r.scale_outs,
        scale_ins: r.scale_ins,
        held_back: r.held_back.clone(),
        min_running: r.min_running.unwrap_or(0),
        max_running: r.max_running,
        mean_running: if r.counted_s > 0.0 { r.running_integral / r.counted_s } else { 0.0 },
        max_desired: r.max_desired,
        tasks_started: r.tasks_started,
        tasks_stopped: r.tasks_stopped,
        tasks_failed: r.tasks_failed,
    }
}

/// How a deployment ended, for the summary.
pub(super) fn outcome(ended: &Ended, stalled: Option<&str>, rolled_back: bool) -> DeploymentOutcome {
    match ended {
        Ended::Completed => DeploymentOutcome::Completed,
        Ended::Failed(reason) if rolled_back => DeploymentOutcome::RolledBack { reason: reason.clone() },
        Ended::Failed(reason) => DeploymentOutcome::Stalled { reason: reason.clone() },
        Ended::Superseded => DeploymentOutcome::Stalled { reason: "another deployment took its place".to_string() },
        Ended::InProgress => match stalled {
            Some(reason) => DeploymentOutcome::Stalled { reason: reason.to_string() },
            None => DeploymentOutcome::InProgress,
        },
    }
}

/// A deployment in the summary.
pub(super) fn deployment_summary(
    number: u32,
    revision: u32,
    started: SimTime,
    ended: Option<SimTime>,
    outcome: DeploymentOutcome,
    failed_tasks: u32,
) -> DeploymentSummary {
    DeploymentSummary {
        number,
        revision,
        started_s: started.as_secs_f64(),
        ended_s: ended.map(SimTime::as_secs_f64),
        outcome,
        failed_tasks,
    }
}
