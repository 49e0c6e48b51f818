//! What services see and depend on: slow dependencies, missing metrics, health checks that fail for nothing.

use super::super::Simulation;
use super::{Faults, concerns, of_service, percent, purpose};
use crate::kernel::Draw;
use crate::scenario::model::{DependencySlowdown, Fault, Metric};
use crate::units::{ServiceId, TaskId};

/// Metrics that are not published.
#[derive(Clone, Debug, Default)]
pub(in crate::simulation) struct Hidden {
    all: bool,
    some: Vec<Metric>,
}

impl Hidden {
    pub(in crate::simulation) fn hides(&self, metric: Metric) -> bool {
        self.all || self.some.contains(&metric)
    }
}

impl Faults<'_> {
    /// Metrics of a service that are not published now.
    pub(in crate::simulation) fn hidden(&self, service: &str) -> Hidden {
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
}

impl Simulation<'_> {
    /// What a service depends on becomes slow.
    pub(super) fn dependency_slows(&mut self, d: &DependencySlowdown) -> (usize, String) {
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

    /// Works out again how slow what a fault names is.
    pub(super) fn refresh_slowness(&mut self, d: &DependencySlowdown) {
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

    pub(super) fn refresh_waits(&mut self, name: &str) {
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

    /// Whether a health check of a task fails for nothing.
    pub(in crate::simulation) fn check_fails(&self, task: TaskId) -> bool {
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
}
