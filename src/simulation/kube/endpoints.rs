//! Endpoints: who learns when that a pod takes connections, or no longer.
//!
//! A pod is an endpoint while its containers are ready and nobody has asked for its deletion. kube-proxy and the
//! controller of the load balancer learn of a change after a while; until then connections still come, and a pod that has
//! gone meanwhile loses them. Source: Kubernetes, termination of pods and EndpointSlices.

use super::super::start::{draw_time, purpose};
use super::super::{ControlEvent, Simulation};
use super::pods::Front;
use crate::cluster::TaskStatus;
use crate::cluster::target_health::TargetState as Verdict;
use crate::kernel::Phase;
use crate::traffic::TargetState;
use crate::units::TaskId;

impl Simulation<'_> {
    /// A pod has become an endpoint, or has ceased to be one: the news spreads.
    pub(super) fn tell_endpoints(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let Some(front) = self.front_of(service) else { return };
        let law = self.kube().settings.endpoint_propagation.law();
        let changes = u64::from(self.kube().pods[task.index()].restarts) << 1 | u64::from(self.is_endpoint(task));
        let draw = self.draw_of(task).of(purpose::ENDPOINT).of(changes);
        let mut wait = draw_time(law, draw, purpose::ENDPOINT);
        if let (Front::Targets, Some(lb)) = (front, &self.services[service.index()].plan.load_balancer) {
            wait += if self.is_endpoint(task) { lb.registration_delay } else { lb.deregistration_propagation };
        }
        self.queue.schedule(self.queue.now() + wait, Phase::State, ControlEvent::Endpoint(task).into());
    }

    /// Whether a pod is to get connections.
    fn is_endpoint(&self, task: TaskId) -> bool {
        self.cluster.task(task).stop_code.is_none() && self.kube().pods[task.index()].containers_ready
    }

    /// The news of a pod has reached those who send connections.
    pub(in crate::simulation) fn on_endpoint(&mut self, task: TaskId) {
        let is = self.is_endpoint(task);
        let was = std::mem::replace(&mut self.kube_mut().pods[task.index()].endpoint, is);
        if is == was {
            return;
        }
        if is {
            self.enter_balancer(task);
            self.begin_checks(task, true);
        } else {
            self.on_deregistered(task);
            self.publish(task, false);
            let t = self.cluster.task(task);
            // An endpoint that comes back is registered anew.
            if t.status == TaskStatus::Running
                && t.stop_code.is_none()
                && let Some(server) = self.tasks[task.index()].server
            {
                self.leave_balancer(task, server);
            }
        }
    }

    /// Registers a pod with what stands in front of it.
    pub(super) fn enter_balancer(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let (Some(front), Some(server)) = (self.front_of(service), self.tasks[task.index()].server) else { return };
        if !std::mem::replace(&mut self.tasks[task.index()].registered, true) {
            self.tell_place(task, server);
            self.data.register(&mut self.queue, server);
        }
        self.publish(task, true);
        match front {
            Front::Proxy => self.data.set_target(&mut self.queue, server, TargetState::Healthy),
            Front::Targets => {
                self.tasks[task.index()].target = Default::default();
                self.data.set_target(&mut self.queue, server, TargetState::Initial);
                self.show_target(task);
            }
        }
    }

    /// Whether the load balancer thinks a pod's target healthy.
    pub(super) fn target_is_healthy(&self, task: TaskId) -> bool {
        let runtime = &self.tasks[task.index()];
        runtime.registered && runtime.target.state() == Verdict::Healthy
    }
}
