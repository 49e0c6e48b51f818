//! What the control side does to servers and targets, and what it reads.

use super::balancer::{Target, TargetState};
use super::jobs::Further;
use super::processor::{Clock, Cores, Slow};
use super::queue::own;
use super::request::{NONE, Request, Stage};
use super::routes::AttemptEnd;
use super::server::ServerSpec;
use super::totals::{CallTotals, DependencyTotals, Failure, Queueing};
use super::{Agenda, DataPlane, Notice, OWN_GROUPS, ServiceTotals, Source, TrafficEvent, sides};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::units::{Bytes, Cpu, ServerId, ServiceId};

impl DataPlane {
    /// Adds a task server. It is not ready, and its balancer does not know it.
    pub fn add_server(&mut self, q: &mut impl Agenda, spec: ServerSpec) -> ServerId {
        let id = self.servers.add(&spec, q.now().as_nanos());
        if let Some(share) = spec.node {
            self.seat(q, id, share);
        }
        let at = id as usize;
        if at == self.targets.of.len() {
            self.targets.of.push(Target::NEW);
            self.targets.outstanding.push(0);
        }
        self.targets.of[at] = Target::NEW;
        self.targets.of[at].group = spec.group.min(OWN_GROUPS as u8 - 1);
        self.targets.outstanding[at] = 0;
        ServerId(id)
    }

    /// Shares a service's requests between its own target groups, by weight; what goes to the groups beside them stays.
    /// Attempts from now on follow it. Weights that are all zero change nothing.
    pub fn set_weights(&mut self, service: ServiceId, weights: [f64; OWN_GROUPS]) {
        self.services[service.index()].share(weights);
    }

    /// Changes the speed of a server: 1 is normal, 0 stands still. That of its node comes on top.
    pub fn set_speed(&mut self, q: &mut impl Agenda, server: ServerId, speed: f64) {
        let speed = speed * self.node_speed(server.0);
        self.change(q, server, |clock, cores, slow| clock.set_speed(cores, slow, speed));
    }

    /// Sets the constant CPU demand beside the requests (start-up, sidecars), which shares the task's CPU with them;
    /// zero ends it.
    pub fn set_background(&mut self, q: &mut impl Agenda, server: ServerId, cpu: Cpu) {
        self.change(q, server, |clock, cores, slow| clock.set_background(cores, slow, cpu));
    }

    fn change(&mut self, q: &mut impl Agenda, server: ServerId, change: impl FnOnce(&mut Clock, &Cores, &mut Slow)) {
        self.servers.advance(server.0, q.now().as_nanos());
        let hot = &mut self.servers.hot[server.index()];
        let cores = &self.servers.kinds[hot.clock.kind()].cores;
        change(&mut hot.clock, cores, &mut self.servers.slow[server.index()]);
        self.reschedule(q, server.0);
    }

    /// Says whether the application answers. Before, connections are refused (502).
    pub fn set_ready(&mut self, server: ServerId, ready: bool) {
        self.servers.cold[server.index()].ready = ready;
        self.servers.set_limit(server.0);
    }

    /// Sends a health check: CPU work in the task that has to be answered within `timeout`. The answer is a
    /// [`Notice::Probe`] with the same `token`; a refused connection fails at once.
    pub fn probe(
        &mut self,
        q: &mut impl Agenda,
        server: ServerId,
        cpu_time: SimDuration,
        timeout: SimDuration,
        token: u64,
    ) {
        let now = q.now();
        let hot = &self.servers.hot[server.index()];
        let full = hot.held >= hot.limit;
        let cut_off = self.servers.cold[server.index()].cut_off;
        if full && !cut_off && !self.servers.may_queue(server.0) {
            self.notices.push(Notice::Probe { server, token, ok: false });
            return;
        }
        let service = self.servers.kind(server.0).service;
        let at = self.requests.insert(Request {
            seed: token,
            born: cpu_time.as_nanos(),
            sent: now.as_nanos(),
            mark: 0.0,
            memory: 0,
            server: server.0,
            caller: NONE,
            class: NONE,
            service: service as u16,
            front: service as u16,
            attempt: 0,
            stage: if cut_off { Stage::Hanging } else { Stage::Backoff },
            orphan: false,
        });
        let event = TrafficEvent::ProbeTimeout { request: at, generation: self.requests.generation(at) };
        // A slow network takes its part of the time.
        let timeout = timeout.saturating_sub(self.servers.kind(server.0).spec.effect.latency);
        q.schedule(now + timeout, Phase::State, event);
        if cut_off {
            // Nobody takes the connection.
        } else if full {
            self.queue(q, server.0, at);
        } else {
            self.services[service as usize].observe(now.as_nanos(), 0, 1);
            self.servers.advance(server.0, now.as_nanos());
            self.work_on(q, server.0, at);
            self.reschedule(q, server.0);
        }
    }

    /// SIGTERM: new connections are refused, what is inside is finished; then [`Notice::Idle`], at once when nothing is
    /// inside.
    pub fn stop_accepting(&mut self, _q: &mut impl Agenda, server: ServerId) {
        if std::mem::replace(&mut self.servers.cold[server.index()].accepting, false) {
            self.servers.set_limit(server.0);
            self.check_idle(server.0);
        }
    }

    /// The end of a task: everything in it is lost (502 to clients) and its CPU stops.
    pub fn kill(&mut self, q: &mut impl Agenda, server: ServerId) {
        self.lose_all(q, server.0, false);
        self.pump(q);
    }

    /// Gives the slot of a server back; what is still inside is lost. The id must not be used any more.
    pub fn remove_server(&mut self, q: &mut impl Agenda, server: ServerId) {
        if !self.servers.cold[server.index()].alive {
            return;
        }
        self.lose_all(q, server.0, false);
        self.forget(q, server.0);
        self.deregister(q, server);
        self.unpublish(q, server);
        self.forget_address(server.0);
        self.unseat(q, server.0);
        self.servers.remove(server.0);
        self.pump(q);
    }

    /// Requests inside a server: worked on, waiting, or in its accept queue; those that nobody waits for and health
    /// checks included.
    #[must_use]
    pub fn outstanding(&self, server: ServerId) -> u32 {
        self.servers.inside(server.0)
    }

    /// CPU used by a server since it was added, in vCPU-seconds: requests, abandoned work, health checks, background.
    #[must_use]
    pub fn cpu_used(&self, now: SimTime, server: ServerId) -> f64 {
        self.servers.used(server.0, now.as_nanos()).0
    }

    /// Of this, CPU spent on attempts whose answer nobody got, in vCPU-seconds, counted when the attempt ends.
    #[must_use]
    pub fn cpu_wasted(&self, server: ServerId) -> f64 {
        self.servers.cold[server.index()].wasted / 1e9
    }

    /// Memory in use.
    #[must_use]
    pub fn memory_used(&self, server: ServerId) -> Bytes {
        Bytes::new(self.servers.hot[server.index()].memory)
    }

    /// Says where a server is, by any numbers that tell zones and nodes apart: for balancers that choose these first. To be
    /// said before [`DataPlane::register`].
    pub fn set_place(&mut self, server: ServerId, zone: u32, node: u32) {
        let places = &mut self.targets.places;
        if places.len() <= server.index() {
            places.resize(server.index() + 1, (0, 0));
        }
        places[server.index()] = (zone, node);
    }

    /// Makes a server known to its balancer, in state [`TargetState::Initial`]: no traffic yet.
    pub fn register(&mut self, _q: &mut impl Agenda, server: ServerId) {
        if !self.targets.of[server.index()].registered() {
            let service = self.servers.kind(server.0).service;
            let own = self.services[service as usize].balancer(&self.targets, server.0);
            own.register(&mut self.targets, server.0);
        }
    }

    /// Changes the state of a registered server at its balancer.
    pub fn set_target(&mut self, q: &mut impl Agenda, server: ServerId, state: TargetState) {
        if self.targets.of[server.index()].registered() {
            let service = self.servers.kind(server.0).service;
            let now = q.now().as_nanos();
            let own = self.services[service as usize].balancer(&self.targets, server.0);
            own.set_state(&mut self.targets, server.0, state, now);
        }
    }

    /// The deregistration delay is over: requests that are still under way through the balancer get a 502; the task works
    /// on for nobody.
    pub fn cut(&mut self, q: &mut impl Agenda, server: ServerId) {
        if self.targets.outstanding[server.index()] == 0 {
            return;
        }
        let now = q.now().as_nanos();
        for at in self.inside(server.0) {
            let r = self.requests[at];
            let front = &self.fronts[usize::from(r.front)];
            if r.class == NONE || r.orphan || !front.balanced {
                continue;
            }
            let seen = now.saturating_add(front.travel(r.seed, r.attempt));
            let service = &mut self.services[usize::from(r.service)];
            service.balancer(&self.targets, server.0).less(&mut self.targets, server.0);
            service.totals.elb_502 += 1;
            if front.is_call() {
                self.attempt_over(q, &r, AttemptEnd::Broken);
            }
            self.failed(q, at, Failure::BadGateway, seen, true);
        }
        self.pump(q);
    }

    /// The balancer forgets a server.
    pub fn deregister(&mut self, _q: &mut impl Agenda, server: ServerId) {
        if self.targets.of[server.index()].registered() {
            let service = self.servers.kind(server.0).service;
            let own = self.services[service as usize].balancer(&self.targets, server.0);
            own.deregister(&mut self.targets, server.0);
        }
    }

    /// Takes what the control side has to be told, in the order in which it happened.
    pub fn notices(&mut self) -> impl Iterator<Item = Notice> + '_ {
        self.notices.drain(..)
    }

    /// True when there is something in [`DataPlane::notices`].
    #[inline]
    #[must_use]
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Adds what happened to the requests of a service since the last time, up to `now`.
    pub fn drain_totals(&mut self, now: SimTime, service: ServiceId, into: &mut ServiceTotals) {
        let s = &mut self.services[service.index()];
        s.observe(now.as_nanos(), 0, 0);
        s.totals.in_flight = s.in_flight;
        let balanced = s.totals.attempts - s.totals.direct;
        let connections = balanced as f64 * s.connections_per_request + s.connection_carry;
        s.totals.new_connections = connections as u64;
        s.connection_carry = connections - s.totals.new_connections as f64;
        into.merge(&s.totals);
        // Until here only failures were recorded for all.
        into.latency_all.merge(&s.totals.latency);
        s.totals.reset();
    }

    /// Requests of a service that have begun and not ended, those between two attempts included.
    #[must_use]
    pub fn in_flight(&self, service: ServiceId) -> u64 {
        self.services[service.index()].in_flight
    }

    /// Attempts in the accept queues of a service's servers. Looks at every server.
    #[must_use]
    pub fn queued(&self, service: ServiceId) -> u64 {
        let all = self.servers.cold.iter().enumerate().filter(|(_, c)| c.alive && c.queued > 0);
        all.filter(|&(i, _)| self.servers.kind(i as u32).service == service.0).map(|(_, c)| u64::from(c.queued)).sum()
    }

    /// The mean rate of requests that the plan offers to a service between two instants, requests a second: the
    /// curve, the shapes and the trace, without their scatter. `None` when the plan does not fix it (recorded arrivals,
    /// closed populations, calls of other services), or the time is empty.
    #[must_use]
    pub fn offered_rate(&self, service: ServiceId, from: SimTime, to: SimTime) -> Option<f64> {
        let length = to.since(from).as_secs_f64();
        let called = self.edges.iter().any(|e| u32::from(e.callee) == service.0);
        if length <= 0.0 || called || self.populations.iter().any(|p| p.service == service.0) {
            return None;
        }
        let (from, to) = (from.as_nanos() as f64, to.as_nanos() as f64);
        let mut requests = 0.0;
        // A worker is offered what is sent to its queue.
        let queue = self.services[service.index()].worker.as_ref().map_or(NONE, |w| w.queue);
        let offers = |s: &&Source| if s.queue == NONE { s.service == service.0 } else { s.queue == queue };
        for source in self.sources.iter().filter(offers) {
            requests += source.process.expected(from, to)?;
        }
        Some(requests / length)
    }

    /// Who calls whom: the services' numbers, in the order of [`DataPlane::drain_calls`]. A callee beyond the services of
    /// the plan is a dependency.
    pub fn call_edges(&self) -> impl Iterator<Item = (ServiceId, ServiceId)> + '_ {
        self.edges.iter().map(|e| (ServiceId(e.caller), ServiceId(u32::from(e.callee))))
    }

    /// Adds what happened to the calls of an edge since the last time.
    pub fn drain_calls(&mut self, edge: usize, into: &mut CallTotals) {
        let e = &mut self.edges[edge];
        e.totals.in_flight = e.in_flight;
        into.merge(&e.totals);
        e.totals.reset();
    }

    /// Requests that wait for calls or work on after them, and calls that have not returned.
    #[must_use]
    pub fn calls_under_way(&self) -> (usize, usize) {
        self.calls.open_ones()
    }

    /// How many dependencies there are.
    #[must_use]
    pub fn dependency_count(&self) -> usize {
        self.dependencies.len()
    }

    /// Adds what happened to a dependency since the last time, up to `now`.
    pub fn drain_dependency(&mut self, now: SimTime, dependency: usize, into: &mut DependencyTotals) {
        let used = self.cpu_used(now, ServerId(self.dependencies[dependency].server));
        let d = &mut self.dependencies[dependency];
        d.count(now.as_nanos(), 0);
        into.refused += std::mem::take(&mut d.refused);
        into.connections = d.connections;
        into.connections_peak = into.connections_peak.max(std::mem::replace(&mut d.peak, d.connections));
        into.connections_area += std::mem::take(&mut d.area);
        into.busy_s += used - std::mem::replace(&mut d.used, used);
        let service = ServiceId(u32::from(d.service));
        self.drain_totals(now, service, &mut into.calls);
    }

    /// Connections of a dependency that are open now.
    #[must_use]
    pub fn dependency_connections(&self, dependency: usize) -> u32 {
        self.dependencies[dependency].connections
    }

    /// Changes the speed of a dependency, beside what its own slowdowns do: 1 is normal, 0 stands still.
    pub fn set_dependency_speed(&mut self, q: &mut impl Agenda, dependency: usize, speed: f64) {
        self.dependencies[dependency].set_speed = speed;
        self.apply_speed(q, dependency);
    }

    /// Switches the exact queueing statistics of a service on ([`ServiceTotals::queueing`]). They cost nothing
    /// while they are off. To be called before anything has happened.
    pub fn enable_queueing(&mut self, service: ServiceId) {
        self.services[service.index()].totals.queueing = Some(Box::<Queueing>::default());
    }

    /// The records inside a server: on the CPU, in the accept queue, waiting outside of the CPU, in a fixed order.
    fn inside(&self, server: u32) -> Vec<u32> {
        let (hot, cold) = (&self.servers.hot[server as usize], &self.servers.cold[server as usize]);
        let mut all = hot.jobs.all(&self.servers.further[server as usize], &self.requests);
        let queue = cold.queue.iter().filter(|&&(at, generation)| {
            self.requests.current(at, generation).is_some_and(|r| r.stage == Stage::Queued)
        });
        all.extend(queue.map(|e| e.0));
        // Those that wait are in no list of the server: rare enough for a scan that stops when all are found.
        let waiting = (hot.held - hot.clock.running) as usize;
        let waits = |&at: &u32| {
            let r = &self.requests[at];
            matches!(r.stage, Stage::Waiting | Stage::Calling) && r.server == server
        };
        all.extend((0..self.requests.len()).filter(waits).take(waiting));
        all
    }

    /// The requests in a server need more memory than there is; `at` is the one that was too much.
    pub(super) fn out_of_memory(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let service = self.servers.kind(server).service;
        self.services[service as usize].totals.out_of_memory += 1;
        self.notices.push(Notice::OutOfMemory { server: ServerId(server) });
        self.services[service as usize].observe(q.now().as_nanos(), 0, -1);
        let r = self.requests[at];
        self.lose(q, server, at, r);
        self.lose_all(q, server, false);
    }

    /// Everything in a server is lost; it serves no more. Callers learn of it at once, or with `silent` never.
    pub(super) fn lose_all(&mut self, q: &mut impl Agenda, server: u32, silent: bool) {
        let now = q.now().as_nanos();
        let inside = self.inside(server);
        self.servers.advance(server, now);
        let lost: Vec<(u32, f64)> = inside
            .into_iter()
            .map(|at| {
                let r = &self.requests[at];
                (at, self.spent(r, server, self.works_after_calls(at, r)))
            })
            .collect();
        let service = self.servers.kind(server).service;
        let idle = self.servers.kind(server).spec.memory_idle.get();
        let (hot, cold) = (&mut self.servers.hot[server as usize], &mut self.servers.cold[server as usize]);
        let (queued, held) = (cold.queued as i32, hot.held as i32);
        if !silent {
            cold.accepting = false;
            cold.ready = false;
        }
        cold.queue.clear();
        cold.queued = 0;
        let further: &mut Further = &mut self.servers.further[server as usize];
        hot.jobs.clear(further);
        (hot.held, hot.limit, hot.clock.running) = (0, 0, 0);
        hot.memory = idle;
        let cores = &self.servers.kinds[hot.clock.kind()].cores;
        hot.clock.set_background(cores, &mut self.servers.slow[server as usize], Cpu::ZERO);
        self.services[service as usize].observe(now, -queued, -queued - held);
        for (at, spent) in lost {
            let r = self.requests[at];
            if r.class != NONE {
                self.waste(server, r.service, spent);
            }
            if silent && r.class != NONE && !r.orphan && !own(r.caller) {
                self.drop_calls(q, at, &r);
                self.requests[at].stage = Stage::Stranded;
            } else {
                self.lose(q, server, at, r);
            }
        }
        self.reschedule(q, server);
        self.close_sites(server, now);
    }

    /// An attempt is lost with its server.
    fn lose(&mut self, q: &mut impl Agenda, server: u32, at: u32, r: Request) {
        self.drop_calls(q, at, &r);
        if r.class == NONE {
            if !r.orphan {
                self.notices.push(Notice::Probe { server: ServerId(server), token: r.seed, ok: false });
            }
            self.requests.remove(at);
        } else if r.orphan {
            self.requests.remove(at);
        } else if own(r.caller) {
            self.own_lost(q, at, r);
        } else {
            let front = &self.fronts[usize::from(r.front)];
            let seen = q.now().as_nanos().saturating_add(front.travel(r.seed, r.attempt));
            if front.balanced {
                let service = &mut self.services[usize::from(r.service)];
                service.balancer(&self.targets, server).less(&mut self.targets, server);
                service.totals.elb_502 += 1;
                sides::lost(&mut service.sides, &self.targets, server);
            }
            if front.is_call() {
                self.attempt_over(q, &r, AttemptEnd::Broken);
            }
            self.failed(q, at, Failure::BadGateway, seen, false);
        }
    }
}
