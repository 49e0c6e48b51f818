//! What the run tells of calls between services and of what they depend on.

use super::finish::latency;
use super::trouble::Finding;
use super::{RunError, Simulation};
use crate::kernel::{SimDuration, SimTime};
use crate::output::{
    CallSummary, DependencyRow, DependencySummary, Diagnosis, Fixed, Latency, Millis, PoolSummary, SlowdownSummary,
};
use crate::scenario::model::Via;
use crate::traffic::{CallTotals, DependencyTotals, Failures, Histogram};
use crate::units::ServiceId;

/// What was gathered of the calls and the dependencies.
#[derive(Debug, Default)]
pub(super) struct CallRecords {
    calls: Vec<CallTotals>,
    /// Since the warm-up, and in this interval.
    dependencies: Vec<DependencyTotals>,
    interval: Vec<DependencyTotals>,
    /// When a dependency first refused a connection, and a pool was first empty for too long.
    first_refused: Vec<Option<SimTime>>,
    first_starved: Vec<Option<SimTime>>,
}

impl CallRecords {
    pub(super) fn new(calls: usize, dependencies: usize) -> Self {
        Self {
            calls: vec![CallTotals::default(); calls],
            dependencies: vec![DependencyTotals::default(); dependencies],
            interval: vec![DependencyTotals::default(); dependencies],
            first_refused: vec![None; dependencies],
            first_starved: vec![None; calls],
        }
    }
}

fn named(f: &Failures) -> Vec<(&'static str, u64)> {
    let all = [
        ("timeout", f.timeout),
        ("abandoned", f.abandoned),
        ("target_error", f.server_error),
        ("balancer_error", f.unavailable + f.bad_gateway + f.gateway_timeout),
        ("no_connection", f.no_connection),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).collect()
}

fn millis(h: &Histogram, q: f64) -> Option<Millis> {
    h.quantile(q).map(Millis)
}

impl Simulation<'_> {
    /// Takes what the data plane has counted of calls and dependencies, and writes the rows of an interval.
    pub(super) fn close_calls_interval(&mut self, start: SimTime, length: SimDuration) -> Result<(), RunError> {
        let now = start + length;
        for (edge, into) in self.calls.calls.iter_mut().enumerate() {
            let before = into.pool_timeouts;
            self.data.drain_calls(edge, into);
            if into.pool_timeouts > before {
                self.calls.first_starved[edge].get_or_insert(start);
            }
        }
        for (i, (name, plan)) in self.plan.dependencies.iter().enumerate() {
            let t = &mut self.calls.interval[i];
            self.data.drain_dependency(now, i, t);
            if t.refused > 0 {
                self.calls.first_refused[i].get_or_insert(start);
            }
            let seconds = length.as_secs_f64();
            let row = DependencyRow {
                time_s: start.into(),
                interval_s: length.into(),
                dependency: name.as_str().into(),
                calls: t.calls.started,
                succeeded: t.calls.succeeded,
                failed: t.calls.failed.total(),
                in_flight: t.calls.in_flight,
                latency_p50_ms: millis(&t.calls.latency, 0.5),
                latency_p99_ms: millis(&t.calls.latency, 0.99),
                wait_p99_ms: t.calls.queueing.as_ref().and_then(|q| millis(&q.wait, 0.99)),
                utilization_pct: Fixed(100.0 * t.busy_s / seconds / f64::from(plan.concurrency)),
                connections: t.connections,
                connections_peak: t.connections_peak,
                max_connections: plan.max_connections,
                connections_refused: t.refused,
                waiting: self.data.queued(ServiceId::from(self.plan.services.len() + i)),
            };
            let written = self.recorder.sink.dependency(&row);
            self.recorder.totals(now, self.plan.services.len() + i, &t.calls);
            self.calls.dependencies[i].merge(t);
            t.reset();
            self.recorder.keep_failure(written);
        }
        Ok(())
    }

    /// The warm-up is over: what was gathered is forgotten; what is under way counts as begun now.
    pub(super) fn forget_calls(&mut self) {
        for t in &mut self.calls.calls {
            let in_flight = t.in_flight;
            t.reset();
            (t.calls, t.in_flight) = (in_flight, in_flight);
        }
        for t in &mut self.calls.dependencies {
            let in_flight = t.calls.in_flight;
            t.reset();
            (t.calls.started, t.calls.in_flight) = (in_flight, in_flight);
        }
        self.calls.first_refused.fill(None);
        self.calls.first_starved.fill(None);
    }

    fn name_of(&self, service: ServiceId) -> &str {
        let (services, dependencies) = (&self.plan.services, &self.plan.dependencies);
        let at = service.index();
        let name = services.get_index(at).map(|s| s.0).or_else(|| {
            let dependency = dependencies.get_index(at.checked_sub(services.len())?);
            dependency.map(|d| d.0)
        });
        name.map_or("", String::as_str)
    }

    pub(super) fn calls_summary(&self) -> Vec<CallSummary> {
        let edges = self.data.call_edges().zip(&self.calls.calls);
        edges
            .map(|((caller, callee), t)| {
                let (caller, callee) = (self.name_of(caller), self.name_of(callee));
                let plan = self.plan.services.get(caller).and_then(|s| s.calls.get(callee));
                let via = plan.and_then(|c| c.via.as_ref()).map_or("dependency", Via::tag);
                let pool = plan.and_then(|c| c.pool.as_ref()).map(|p| PoolSummary {
                    max_connections: p.max_connections,
                    peak: t.pool_peak,
                    timeouts: t.pool_timeouts,
                    wait: latency(&t.pool_wait),
                });
                CallSummary {
                    caller: caller.to_string(),
                    callee: callee.to_string(),
                    via: via.to_string(),
                    calls: t.calls,
                    succeeded: t.succeeded,
                    failed: t.failed.total(),
                    unfinished: t.in_flight,
                    attempts: t.attempts,
                    retries: t.retries,
                    proxy_retries: t.proxy_retries,
                    retries_denied: t.retries_denied,
                    failed_by_kind: named(&t.failed).into_iter().map(|(n, v)| (n.to_string(), v)).collect(),
                    latency: latency(&t.latency),
                    pool,
                    connections_refused: t.refused,
                    connect_timeouts: t.connect_timeouts,
                    ejections: t.ejections,
                }
            })
            .collect()
    }

    pub(super) fn dependencies_summary(&self) -> Vec<(String, DependencySummary)> {
        let seconds = self.end.since(self.warm_up).as_secs_f64();
        let all = self.plan.dependencies.iter().zip(&self.calls.dependencies);
        all.map(|((name, plan), t)| {
            let wait: Option<Latency> = t.calls.queueing.as_ref().and_then(|q| latency(&q.wait));
            let summary = DependencySummary {
                calls: t.calls.started,
                succeeded: t.calls.succeeded,
                failed: t.calls.failed.total(),
                unfinished: t.calls.in_flight,
                failed_by_kind: named(&t.calls.failed).into_iter().map(|(n, v)| (n.to_string(), v)).collect(),
                latency: latency(&t.calls.latency),
                wait,
                utilization_pct: 100.0 * t.busy_s / seconds / f64::from(plan.concurrency),
                max_connections: plan.max_connections,
                connections_mean: t.connections_area as f64 / 1e9 / seconds,
                connections_peak: t.connections_peak,
                connections_refused: t.refused,
                slowdowns: plan
                    .slowdowns
                    .iter()
                    .map(|s| SlowdownSummary {
                        start_s: s.at.as_secs_f64(),
                        end_s: (s.at + s.duration).as_secs_f64().min(self.end.as_secs_f64()),
                        speed: s.speed,
                    })
                    .collect(),
            };
            (name.clone(), summary)
        })
        .collect()
    }

    /// Connections that were not to be had.
    pub(super) fn diagnose_calls(&self, out: &mut Vec<Diagnosis>) {
        for (i, (name, plan)) in self.plan.dependencies.iter().enumerate() {
            let t = &self.calls.dependencies[i];
            if t.refused > 0 {
                let finding = Finding::RefusedByDependency {
                    connections: t.refused,
                    max_connections: plan.max_connections.unwrap_or(0),
                };
                out.push(finding.diagnosis(name, self.calls.first_refused[i]));
            }
        }
        for (edge, call) in self.calls_summary().iter().enumerate() {
            let Some(pool) = call.pool.as_ref().filter(|p| p.timeouts > 0) else { continue };
            let finding = Finding::PoolStarved {
                attempts: pool.timeouts,
                callee: call.callee.clone(),
                max_connections: pool.max_connections,
            };
            out.push(finding.diagnosis(&call.caller, self.calls.first_starved[edge]));
        }
    }
}
