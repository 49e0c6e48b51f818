//! What faults do to the data plane: servers that nobody reaches, lost balancer nodes, slow dependencies.
//!
//! A machine that stops closes no connection: whoever waits for an answer waits until a time-out of his own. A balancer
//! gives up a connection that the target does not take after ten seconds and says 504. Source: ELB user guide,
//! "Troubleshoot your Application Load Balancers", HTTP 504.

use super::request::{NONE, Request, Stage};
use super::routes::AttemptEnd;
use super::server::{RevisionEffect, ServerSpec};
use super::totals::Failure;
use super::{Agenda, DataPlane, TrafficEvent};
use crate::kernel::{Phase, SimDuration};
use crate::units::{ServerId, ServiceId};

/// Time after which the balancer gives up a connection that is not taken.
const CONNECT_TIMEOUT: SimDuration = SimDuration::from_secs(10);

impl DataPlane {
    /// Cuts a server off: what is inside gets no answer, new connections hang, health checks time out. With
    /// `false` it is reached again; what was inside stays lost.
    pub fn cut_off(&mut self, q: &mut impl Agenda, server: ServerId, off: bool) {
        let cold = &mut self.servers.cold[server.index()];
        if !cold.alive || cold.cut_off == off {
            return;
        }
        cold.cut_off = off;
        if off {
            cold.was_cut_off = true;
            self.lose_all(q, server.0, true);
        } else {
            self.servers.set_limit(server.0);
        }
    }

    /// Sets the share of a service's connections that go to a balancer node that is lost, 0 to 1.
    pub fn set_lost_entry(&mut self, service: ServiceId, share: f64) {
        self.services[service.index()].lost_entry = share;
    }

    /// Sets the factor on the waiting of a request class, by its position in the service, and the share of its requests
    /// that fail in the application beside the class's own.
    pub fn set_dependency(&mut self, service: ServiceId, class: usize, wait_factor: f64, errors: f64) {
        let first = self.fronts[service.index()].first_class as usize;
        if let Some(class) = self.classes.get_mut(first + class) {
            class.wait_factor = wait_factor;
            class.fault_errors = errors;
        }
    }

    /// Changes the errors and the network time of a server from now on; its factors on work stay.
    pub fn set_network(&mut self, server: ServerId, error_rate: f64, latency: SimDuration) {
        let spec = self.servers.kind(server.0).spec;
        let kind =
            self.servers.kind_of(&ServerSpec { effect: RevisionEffect { error_rate, latency, ..spec.effect }, ..spec });
        self.servers.hot[server.index()].clock.set_kind(kind as u32);
    }

    /// An attempt whose server takes no connection: it waits for a time-out.
    #[cold]
    pub(super) fn hang(&mut self, q: &mut impl Agenda, at: u32) {
        let now = q.now();
        let r = &mut self.requests[at];
        r.stage = Stage::Hanging;
        let (id, front, server) = (r.service, usize::from(r.front), r.server);
        if self.fronts[front].balanced {
            let service = &mut self.services[usize::from(id)];
            service.balancer(&self.targets, server).more(&mut self.targets, server);
        }
        self.fronts[front].watch(q, now.as_nanos(), at, front as u16, &self.requests);
        let event = TrafficEvent::WaitEnd { request: at, generation: self.requests.generation(at) };
        q.schedule(now + CONNECT_TIMEOUT, Phase::State, event);
    }

    /// The balancer gives up a connection that nobody takes.
    pub(super) fn not_taken(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let front = &self.fronts[usize::from(r.front)];
        let (balanced, called) = (front.balanced, front.is_call());
        let seen = q.now().as_nanos().saturating_add(front.travel(r.seed, r.attempt));
        if balanced {
            self.one_less(r.server);
            self.services[usize::from(r.service)].totals.elb_504 += 1;
        }
        if called {
            self.attempt_over(q, &r, AttemptEnd::Broken);
        }
        let why = if balanced { Failure::GatewayTimeout } else { Failure::NoConnection };
        self.failed(q, at, why, seen, false);
    }

    /// One attempt less is under way at a server that nobody reaches.
    pub(super) fn one_less(&mut self, server: u32) {
        if server != NONE {
            let service = self.servers.kind(server).service as usize;
            self.services[service].balancer(&self.targets, server).less(&mut self.targets, server);
        }
    }

    /// The slot of a server is given back: attempts that wait for it in vain belong to nobody.
    pub(super) fn forget(&mut self, server: u32) {
        if std::mem::take(&mut self.servers.cold[server as usize].was_cut_off) {
            for at in 0..self.requests.len() {
                let r = &mut self.requests[at];
                if r.server == server && matches!(r.stage, Stage::Hanging | Stage::Stranded) && r.class != NONE {
                    r.server = NONE;
                }
            }
        }
    }
}
