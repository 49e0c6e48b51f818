//! The way of a request, from arrival to answer: the hot code.

use super::balancer::{Balancer, Targets};
use super::plan::shares;
use super::queue::own;
use super::request::{NONE, Request, Slab, Stage};
use super::totals::Failure;
use super::{Agenda, Class, DataPlane, Group, Notice, OWN_GROUPS, ServiceState, TrafficEvent};
use crate::kernel::{Draw, Phase, SimTime};
use crate::units::ServerId;

/// What a draw of a request is for. Those of an attempt are combined with its number.
mod purpose {
    pub(super) const CLASS: u64 = 1;
    pub(super) const WORK: u64 = 2;
    pub(super) const WAIT: u64 = 3;
    pub(super) const MEMORY: u64 = 4;
    pub(super) const GROUP: u64 = 5;
    pub(super) const TARGET: u64 = 6;
    pub(super) const ERROR: u64 = 7;
    pub(super) const NETWORK: u64 = 8;
    pub(super) const BACKOFF: u64 = 9;
    pub(super) const PATIENCE: u64 = 10;
    pub(super) const ENTRY: u64 = 11;
}

/// The draw of a request for a purpose, the same in every attempt.
#[inline]
fn drawn(seed: u64, purpose: u64) -> Draw {
    Draw::new(seed).of(purpose)
}

/// The draw of an attempt for a purpose.
#[inline]
fn attempt_draw(seed: u64, purpose: u64, attempt: u16) -> Draw {
    Draw::new(seed).of(purpose | (u64::from(attempt) + 1) << 8)
}

/// The position of a request's class among those of its service, by the upper ends of their shares.
#[inline]
pub(super) fn drawn_class(class_shares: &[f64], seed: u64) -> u32 {
    if class_shares.is_empty() {
        return 0;
    }
    let u = drawn(seed, purpose::CLASS).unit();
    class_shares.iter().map(|&end| u32::from(end <= u)).sum()
}

/// Whether an attempt fails by the application's own fault is drawn from this.
pub(super) fn error_draw(seed: u64, attempt: u16) -> Draw {
    attempt_draw(seed, purpose::ERROR, attempt)
}

#[inline]
fn instant(nanos: u64) -> SimTime {
    SimTime::from_nanos(nanos)
}

impl DataPlane {
    /// Schedules the first arrival of every source.
    pub fn start(&mut self, q: &mut impl Agenda) {
        for source in 0..self.sources.len() as u32 {
            self.schedule_arrival(q, source);
        }
        let now = q.now().as_nanos();
        for user in 0..self.users.len() as u32 {
            self.think(q, user, now);
        }
    }

    /// Lets an event happen that the data plane scheduled for this instant.
    #[inline]
    pub fn handle(&mut self, q: &mut impl Agenda, event: TrafficEvent) {
        match event {
            TrafficEvent::Arrival { source } => {
                self.schedule_arrival(q, source);
                let s = &mut self.sources[source as usize];
                let seed = Draw::new(s.root).of(s.count).bits();
                s.count += 1;
                let (service, queue) = (s.service, s.queue);
                match queue {
                    NONE => self.begin(q, service, seed, NONE),
                    queue => self.message_sent(q, queue, seed),
                }
            }
            TrafficEvent::Queue { queue } => self.on_queue(q, queue),
            TrafficEvent::Poll { server, epoch } => self.on_poll(q, server, epoch),
            TrafficEvent::Think { user } => {
                let u = self.users[user as usize];
                // Even keys are think times, odd ones requests.
                let seed = Draw::new(u.seed).of(2 * u.cycle + 1).bits();
                self.begin(q, self.populations[u.population as usize].service, seed, user);
            }
            TrafficEvent::Deadline { service } => self.deadline(q, service),
            TrafficEvent::WaitEnd { request, generation } => {
                if let Some(&r) = self.requests.current(request, generation) {
                    self.wait_end(q, request, r);
                }
            }
            TrafficEvent::Retry { request, generation } => {
                if self.requests.current(request, generation).is_some_and(|r| r.stage == Stage::Backoff) {
                    self.send(q, request);
                }
            }
            TrafficEvent::Patience { request, generation } => {
                if let Some(&r) = self.requests.current(request, generation)
                    && r.stage == Stage::Queued
                    && !r.orphan
                {
                    self.lose_patience(q, request, r);
                }
            }
            TrafficEvent::Late { request, generation } => {
                if self.requests.current(request, generation).is_some_and(|r| r.stage == Stage::Late) {
                    self.failed(q, request, Failure::Timeout, q.now().as_nanos(), false);
                }
            }
            TrafficEvent::ProbeTimeout { request, generation } => {
                if let Some(&r) = self.requests.current(request, generation)
                    && !r.orphan
                {
                    self.requests[request].orphan = true;
                    self.notices.push(Notice::Probe { server: ServerId(r.server), token: r.seed, ok: false });
                    if r.stage == Stage::Hanging {
                        self.requests.remove(request); // no server has it
                    }
                }
            }
            TrafficEvent::Credits { node, generation } => self.credits_due(q, node, generation),
        }
    }

    fn schedule_arrival(&mut self, q: &mut impl Agenda, source: u32) {
        let s = &mut self.sources[source as usize];
        if let Some(at) = s.process.next(&mut s.stream) {
            q.schedule(at, Phase::Arrival, TrafficEvent::Arrival { source });
        }
    }

    /// A user has seen the end of a request at `when` and thinks.
    fn think(&mut self, q: &mut impl Agenda, user: u32, when: u64) {
        let u = &mut self.users[user as usize];
        u.cycle += 1;
        let (seed, cycle) = (u.seed, u.cycle);
        let think = self.populations[u.population as usize].think.nanos(|| Draw::new(seed).of(2 * cycle));
        q.schedule(instant(when.saturating_add(think)), Phase::Arrival, TrafficEvent::Think { user });
    }

    /// A request begins.
    fn begin(&mut self, q: &mut impl Agenda, service: u32, seed: u64, caller: u32) {
        let now = q.now().as_nanos();
        let s = &mut self.services[service as usize];
        let class = s.first_class + drawn_class(&s.class_shares, seed);
        s.totals.started += 1;
        s.in_flight += 1;
        if let Some(budget) = &mut s.client.budget {
            budget.first(now);
        }
        let request = self.requests.insert(Request {
            seed,
            born: now,
            sent: now,
            mark: 0.0,
            memory: 0,
            server: NONE,
            caller,
            class,
            service,
            attempt: 0,
            stage: Stage::Backoff,
            orphan: false,
        });
        self.send(q, request);
    }

    /// An attempt is sent to the balancer.
    fn send(&mut self, q: &mut impl Agenda, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.sent = now;
        let (seed, attempt, id, class) = (r.seed, r.attempt, r.service, r.class);
        let class = &self.classes[class as usize];
        let service = &mut self.services[id as usize];
        service.totals.attempts += 1;
        service.totals.request_bytes += class.request_bytes;
        if service.lost_entry > 0.0 && attempt_draw(seed, purpose::ENTRY, attempt).unit() < service.lost_entry {
            r.stage = Stage::NoEntry;
            service.watch(q, now, at, id, &self.requests);
            return;
        }
        let target = match service.group(seed, attempt) {
            Group::Own(own) => service.balancers[usize::from(own)]
                .pick(&mut self.targets, now, || attempt_draw(seed, purpose::TARGET, attempt)),
            Group::Empty => None,
            Group::External => {
                let work = class.cpu.draw(|| drawn(seed, purpose::WORK));
                let wait =
                    class.wait.as_ref().map_or(0.0, |w| w.draw(|| drawn(seed, purpose::WAIT)) * class.wait_factor);
                r.stage = Stage::External;
                service.watch(q, now, at, id, &self.requests);
                let done = instant(now.saturating_add((work + wait + 0.5) as u64));
                let event = TrafficEvent::WaitEnd { request: at, generation: self.requests.generation(at) };
                q.schedule(done, Phase::Completion, event);
                return;
            }
        };
        let Some(server) = target else {
            service.totals.elb_503 += 1;
            let seen = now.saturating_add(service.travel(seed, attempt));
            self.failed(q, at, Failure::Unavailable, seen, false);
            return;
        };
        service.totals.routed += 1;
        let hot = &self.servers.hot[server as usize];
        if hot.held < hot.limit {
            r.server = server;
            service.balancer(&self.targets, server).more(&mut self.targets, server);
            service.watch(q, now, at, id, &self.requests);
            service.observe(now, 0, 1);
            self.servers.advance(server, now);
            self.work_on(q, server, at);
            self.reschedule(q, server);
        } else if self.servers.may_queue(server) {
            r.server = server;
            service.balancer(&self.targets, server).more(&mut self.targets, server);
            service.watch(q, now, at, id, &self.requests);
            self.queue(q, server, at);
        } else if self.servers.cold[server as usize].cut_off {
            r.server = server;
            self.hang(q, at);
        } else {
            service.totals.refused += 1;
            service.totals.elb_502 += 1;
            let seen = now.saturating_add(service.travel(seed, attempt));
            self.failed(q, at, Failure::BadGateway, seen, false);
        }
    }

    /// Puts an attempt into the accept queue of its server.
    pub(super) fn queue(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.stage = Stage::Queued;
        let (seed, attempt, id, probe) = (r.seed, r.attempt, r.service, r.class == NONE);
        let generation = self.requests.generation(at);
        self.servers.cold[server as usize].enqueue(at, generation, &self.requests);
        let service = &mut self.services[id as usize];
        service.observe(now, 1, 1);
        if let Some(queueing) = &mut service.totals.queueing {
            queueing.queued += u64::from(!probe);
        }
        if let (Some(patience), false) = (&service.patience, probe) {
            let end = now.saturating_add(patience.nanos(|| attempt_draw(seed, purpose::PATIENCE, attempt)));
            q.schedule(instant(end), Phase::State, TrafficEvent::Patience { request: at, generation });
        }
    }

    /// The CPU work of an attempt in a server, nanoseconds of one vCPU at normal speed.
    #[inline]
    pub(super) fn work(&self, r: &Request, server: u32) -> f64 {
        if r.class == NONE {
            return r.born as f64;
        }
        let class = &self.classes[r.class as usize];
        class.cpu.draw(|| drawn(r.seed, purpose::WORK)) * self.servers.kind(server).spec.effect.cpu_factor
    }

    /// Gives an attempt a slot and the CPU. The server's time must be accounted until now; its completion is not
    /// set again.
    #[inline]
    pub(super) fn work_on(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let work = self.work(&self.requests[at], server);
        let r = &mut self.requests[at];
        let hot = &mut self.servers.hot[server as usize];
        if r.class != NONE
            && let Some(law) = &self.classes[r.class as usize].memory
        {
            let spec = &self.servers.kinds[hot.clock.kind()].spec;
            let seed = r.seed;
            let bytes = (law.draw(|| drawn(seed, purpose::MEMORY)) * spec.effect.memory_factor) as u64;
            if hot.memory.saturating_add(bytes) > spec.memory.get() {
                self.out_of_memory(q, server, at);
                return;
            }
            r.memory = bytes;
            hot.memory += bytes;
        }
        if let Some(queueing) = &mut self.services[r.service as usize].totals.queueing
            && r.class != NONE
        {
            let wait = if r.stage == Stage::Queued { q.now().as_nanos() - r.sent } else { 0 };
            queueing.accepted += 1;
            queueing.wait.record(wait);
            queueing.wait_square_s2 += (wait as f64 / 1e9).powi(2);
        }
        r.stage = Stage::Running;
        let mark = hot.clock.attained + work;
        r.mark = mark;
        hot.held += 1;
        hot.clock.running += 1;
        hot.jobs.insert(&mut self.servers.further, server, mark, at, &self.requests);
    }

    /// A slot becomes free: the next of the accept queue takes it.
    #[inline]
    fn next_in(&mut self, q: &mut impl Agenda, server: u32) {
        let hot = &mut self.servers.hot[server as usize];
        hot.held -= 1;
        // Somebody waits only where all slots were taken, and nothing is accepted any more only where the limit is 0.
        if hot.held + 1 >= hot.limit {
            self.slot_free(q, server);
        }
    }

    #[inline(never)]
    fn slot_free(&mut self, q: &mut impl Agenda, server: u32) {
        let Some(next) = self.servers.cold[server as usize].dequeue(&self.requests) else {
            self.check_idle(server);
            return;
        };
        let now = q.now().as_nanos();
        let r = &self.requests[next];
        let service = &mut self.services[r.service as usize];
        service.observe(now, -1, 0);
        if r.class != NONE {
            service.totals.waited += 1;
            service.totals.waited_nanos += u128::from(now - r.sent);
        }
        self.work_on(q, server, next);
    }

    /// Tells that a server that accepts nothing more is empty.
    pub(super) fn check_idle(&mut self, server: u32) {
        let cold = &self.servers.cold[server as usize];
        if cold.alive && !cold.accepting && self.servers.inside(server) == 0 {
            self.notices.push(Notice::Idle { server: ServerId(server) });
        }
    }

    /// Sets the next completion of a server whose time is accounted until now.
    #[inline]
    pub(super) fn reschedule(&mut self, q: &mut impl Agenda, server: u32) {
        if self.servers.hot[server as usize].clock.shared() {
            self.reshare(q, server);
            return;
        }
        let due = self.servers.share(server);
        let hot = &mut self.servers.hot[server as usize];
        if due != hot.due {
            hot.due = due;
            if due == u64::MAX {
                q.cancel_completion(server);
            } else {
                q.set_completion(server, instant(due));
            }
        }
    }

    /// The completion lane rang for this server: a request has done its CPU work.
    pub fn complete(&mut self, q: &mut impl Agenda, server: u32) {
        let now = q.now().as_nanos();
        self.servers.advance(server, now);
        let hot = &mut self.servers.hot[server as usize];
        hot.due = u64::MAX;
        if hot.clock.shared() && self.servers.seats[server as usize].turn {
            self.reshare(q, server);
            return;
        }
        let Some((mark, at)) = hot.jobs.pop(&mut self.servers.further, server, &self.requests) else { return };
        hot.clock.reached(mark);
        hot.clock.running -= 1;
        let r = &mut self.requests[at];
        if r.class != NONE
            && let Class { wait: Some(law), wait_factor, .. } = &self.classes[r.class as usize]
        {
            let seed = r.seed;
            let factor = self.servers.kinds[hot.clock.kind()].spec.effect.wait_factor;
            let wait = law.draw(|| drawn(seed, purpose::WAIT)) * factor * wait_factor;
            if wait >= 0.5 {
                r.stage = Stage::Waiting;
                let end = now.saturating_add((wait + 0.5) as u64);
                let event = TrafficEvent::WaitEnd { request: at, generation: self.requests.generation(at) };
                q.schedule(instant(end), Phase::Completion, event);
                self.reschedule(q, server);
                return;
            }
        }
        let r = *r;
        self.leave(q, server, at, r);
        self.reschedule(q, server);
    }

    /// A wait outside of the CPU, or the time at an external group, is over.
    fn wait_end(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        match r.stage {
            Stage::External => self.answer(q, at, r),
            Stage::Hanging => self.no_connection(q, at, r),
            Stage::Waiting => {
                let server = r.server;
                let hot = &self.servers.hot[server as usize];
                if hot.held < hot.limit {
                    // Nobody waits for the slot, so nothing changes on the CPU.
                    self.leave(q, server, at, r);
                } else {
                    self.servers.advance(server, q.now().as_nanos());
                    self.leave(q, server, at, r);
                    self.reschedule(q, server);
                }
            }
            _ => {}
        }
    }

    /// A request has done all it has to do in its server.
    #[inline]
    fn leave(&mut self, q: &mut impl Agenda, server: u32, at: u32, r: Request) {
        let now = q.now().as_nanos();
        self.servers.hot[server as usize].memory -= r.memory;
        self.services[r.service as usize].observe(now, 0, -1);
        if r.class == NONE {
            if !r.orphan {
                self.notices.push(Notice::Probe { server: ServerId(server), token: r.seed, ok: true });
            }
            self.requests.remove(at);
        } else if r.orphan {
            let work = self.work(&r, server);
            self.waste(server, r.service, work);
            self.requests.remove(at);
        } else if own(r.caller) {
            self.own_done(q, server, at, r);
        } else {
            self.answer(q, at, r);
        }
        self.next_in(q, server);
        // A free loop of a worker asks for messages, also when a health check has freed it.
        if own(r.caller) || r.class == NONE {
            self.ask(q, server);
        }
    }

    /// Work that nobody got anything of, in vCPU-nanoseconds.
    pub(super) fn waste(&mut self, server: u32, service: u32, work: f64) {
        self.servers.cold[server as usize].wasted += work;
        self.services[service as usize].totals.cpu_wasted += work / 1e9;
    }

    /// A target answers an attempt that somebody waits for.
    #[inline]
    fn answer(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        let class = &self.classes[r.class as usize];
        let service = &mut self.services[r.service as usize];
        let mut errors = class.error_rate + class.fault_errors - class.error_rate * class.fault_errors;
        let mut travel = service.travel(r.seed, r.attempt);
        if r.server != NONE {
            service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
            let effect = &self.servers.kind(r.server).spec.effect;
            errors += effect.error_rate - errors * effect.error_rate;
            travel = travel.saturating_add(effect.latency.as_nanos());
        }
        let error = errors > 0.0 && attempt_draw(r.seed, purpose::ERROR, r.attempt).unit() < errors;
        let totals = &mut service.totals;
        totals.response.record(now - r.sent);
        totals.response_bytes += class.response_bytes;
        if let Some(queueing) = &mut totals.queueing {
            queueing.sojourn_square_s2 += ((now - r.sent) as f64 / 1e9).powi(2);
        }
        if error {
            totals.target_5xx += 1;
        } else {
            totals.responses_2xx += 1;
        }
        let seen = now.saturating_add(travel);
        if let Some(timeout) = service.client.timeout
            && seen > r.sent.saturating_add(timeout)
        {
            let slot = &mut self.requests[at];
            slot.stage = Stage::Late;
            slot.server = NONE;
            let event = TrafficEvent::Late { request: at, generation: self.requests.generation(at) };
            q.schedule(instant(r.sent.saturating_add(timeout)), Phase::State, event);
        } else if error {
            self.failed(q, at, Failure::ServerError, seen, false);
        } else {
            service.totals.succeeded += 1;
            service.in_flight -= 1;
            service.totals.latency.record(seen - r.born);
            self.requests.remove(at);
            if r.caller != NONE {
                self.think(q, r.caller, seen);
            }
        }
    }

    /// An attempt has failed; its client sees it at `seen`, and tries again or not. With `keep` the record
    /// stays with its server, which works on for nobody.
    pub(super) fn failed(&mut self, q: &mut impl Agenda, at: u32, why: Failure, seen: u64, keep: bool) {
        let r = self.requests[at];
        let service = &mut self.services[r.service as usize];
        let mut again = why != Failure::Abandoned && r.attempt < service.client.retries;
        if again
            && let Some(budget) = &mut service.client.budget
            && !budget.take(q.now().as_nanos())
        {
            service.totals.retries_denied += 1;
            again = false;
        }
        if again {
            service.totals.retries += 1;
            let attempt = r.attempt + 1;
            let wait = service.client.backoff(attempt, attempt_draw(r.seed, purpose::BACKOFF, attempt));
            let next = Request { attempt, stage: Stage::Backoff, server: NONE, memory: 0, ..r };
            let to = if keep {
                self.requests[at].orphan = true;
                self.requests.insert(next)
            } else {
                // Whatever was scheduled for the old attempt is stale.
                self.requests.stale(at);
                self.requests[at] = next;
                at
            };
            let event = TrafficEvent::Retry { request: to, generation: self.requests.generation(to) };
            q.schedule(instant(seen.saturating_add(wait)), Phase::Arrival, event);
            return;
        }
        service.totals.failed.count(why);
        service.in_flight -= 1;
        // Successes are added when the totals are read.
        service.totals.latency_all.record(seen - r.born);
        if keep {
            self.requests[at].orphan = true;
        } else {
            self.requests.remove(at);
        }
        if r.caller != NONE {
            self.think(q, r.caller, seen);
        }
    }

    /// Looks at the oldest attempts of a service: those whose time is over are given up.
    fn deadline(&mut self, q: &mut impl Agenda, id: u32) {
        let now = q.now().as_nanos();
        self.services[id as usize].armed = false;
        while let Some(&(at, generation)) = self.services[id as usize].ring.front() {
            let service = &mut self.services[id as usize];
            let Some(&r) = self.requests.current(at, generation).filter(|r| awaited(r)) else {
                service.ring.pop_front();
                continue;
            };
            let due = r.sent.saturating_add(service.limit);
            if due > now {
                service.armed = true;
                q.schedule(instant(due), Phase::State, TrafficEvent::Deadline { service: id });
                return;
            }
            service.ring.pop_front();
            self.give_up(q, at, r);
        }
    }

    /// The client's time-out or the balancer's idle time-out has come before the answer.
    fn give_up(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        let service = &mut self.services[r.service as usize];
        if r.stage == Stage::NoEntry {
            // No balancer node saw it: it has no code.
            self.failed(q, at, Failure::Timeout, now, false);
            return;
        }
        let (why, seen) = if service.client_limit {
            service.totals.client_gone_460 += 1;
            (Failure::Timeout, now)
        } else {
            service.totals.elb_504 += 1;
            (Failure::GatewayTimeout, now.saturating_add(service.travel(r.seed, r.attempt)))
        };
        let cancel = service.client.cancel;
        if matches!(r.stage, Stage::External | Stage::Hanging | Stage::Stranded) {
            self.let_go(r.server);
            self.failed(q, at, why, seen, false);
            return;
        }
        service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
        self.failed(q, at, why, seen, !cancel);
        if cancel {
            self.withdraw(q, at, r);
        }
    }

    fn lose_patience(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        let service = &mut self.services[r.service as usize];
        service.totals.client_gone_460 += 1;
        service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
        self.failed(q, at, Failure::Abandoned, now, false);
        self.withdraw(q, at, r);
    }

    /// Takes an attempt out of its server. `r` is its record as it was; the slot has already moved on, so what
    /// the server still holds of it is stale.
    fn withdraw(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        let service = &mut self.services[r.service as usize];
        let server = r.server;
        if r.stage == Stage::Queued {
            self.servers.cold[server as usize].queued -= 1;
            service.observe(now, -1, -1);
            if let Some(queueing) = &mut service.totals.queueing {
                queueing.accepted += 1;
                queueing.wait_of_lost_nanos += u128::from(now - r.sent);
            }
            self.check_idle(server);
            return;
        }
        service.observe(now, 0, -1);
        self.servers.advance(server, now);
        let mut spent = self.work(&r, server);
        let hot = &mut self.servers.hot[server as usize];
        hot.memory -= r.memory;
        if r.stage == Stage::Running {
            spent -= r.mark - hot.clock.attained;
            hot.clock.running -= 1;
            hot.jobs.remove(&mut self.servers.further[server as usize], at, &self.requests);
        }
        self.waste(server, r.service, spent);
        self.next_in(q, server);
        self.reschedule(q, server);
    }
}

/// Somebody waits for the answer of this attempt.
#[inline]
fn awaited(r: &Request) -> bool {
    !r.orphan && !matches!(r.stage, Stage::Free | Stage::Backoff | Stage::Late)
}

impl ServiceState {
    /// Shares requests between the own target groups by weight, within what all own ones get together.
    pub(super) fn share(&mut self, weights: [f64; OWN_GROUPS]) {
        let sum: f64 = weights.iter().sum();
        if sum.is_nan() || sum <= 0.0 {
            return;
        }
        if let (true, Some(sole)) = (self.beside.is_empty(), weights.iter().position(|w| *w == sum)) {
            self.groups.clear();
            self.sole = sole as u8;
            return;
        }
        let own = (0_u8..).zip(weights).map(|(i, w)| (self.own_weight * w / sum, Group::Own(i)));
        let all: Vec<(f64, Group)> = own.filter(|g| g.0 > 0.0).chain(self.beside.iter().copied()).collect();
        self.groups = shares(all.iter().map(|g| g.0)).into_iter().zip(all.iter().map(|g| g.1)).collect();
    }

    /// The target group of a server.
    #[inline]
    pub(super) fn balancer(&mut self, targets: &Targets, server: u32) -> &mut Balancer {
        &mut self.balancers[targets.group(server)]
    }

    /// The target group of an attempt.
    #[inline]
    fn group(&self, seed: u64, attempt: u16) -> Group {
        if self.groups.is_empty() {
            return Group::Own(self.sole);
        }
        let u = attempt_draw(seed, purpose::GROUP, attempt).unit();
        self.groups.iter().find(|g| u < g.0).map_or(Group::Empty, |g| g.1)
    }

    /// Network time of an attempt, nanoseconds.
    #[inline]
    pub(super) fn travel(&self, seed: u64, attempt: u16) -> u64 {
        self.network.nanos(|| attempt_draw(seed, purpose::NETWORK, attempt))
    }

    /// Makes sure that somebody looks when the time of this attempt is over.
    #[inline]
    pub(super) fn watch(&mut self, q: &mut impl Agenda, now: u64, at: u32, id: u32, requests: &Slab) {
        if self.limit == u64::MAX {
            return;
        }
        if self.ring.len() == self.ring.capacity() {
            self.sweep(requests);
        }
        self.ring.push_back((at, requests.generation(at)));
        if !self.armed {
            self.armed = true;
            let due = instant(now.saturating_add(self.limit));
            q.schedule(due, Phase::State, TrafficEvent::Deadline { service: id });
        }
    }

    /// Takes the records that have moved on out of the ring, and doubles it when most have not: so it holds little more
    /// than what is in flight.
    #[inline(never)]
    fn sweep(&mut self, requests: &Slab) {
        self.ring.retain(|&(at, generation)| requests.generation(at) == generation);
        let room = self.ring.capacity();
        if 2 * self.ring.len() > room || room == 0 {
            self.ring.reserve((room + 16).max(self.ring.len()));
        }
    }

    /// The numbers in the accept queues and in the servers change.
    #[inline]
    pub(super) fn observe(&mut self, now: u64, queued: i32, inside: i32) {
        if let Some(queueing) = &mut self.totals.queueing {
            let o = &mut self.observed;
            let length = now - o.since;
            o.since = now;
            queueing.observed_nanos += u128::from(length);
            queueing.queue_area += u128::from(length) * u128::from(o.queued);
            let n = o.inside as usize;
            if queueing.in_system.len() <= n {
                queueing.in_system.resize(n + 1, 0);
            }
            queueing.in_system[n] += length;
            o.queued = o.queued.saturating_add_signed(queued);
            o.inside = o.inside.saturating_add_signed(inside);
        }
    }
}
