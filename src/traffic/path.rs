//! The way of a request, from arrival to answer: the hot code.

use super::balancer::{Balancer, Targets};
use super::plan::shares;
use super::queue::own;
use super::request::{CALL, NONE, Request, Stage};
use super::routes::AttemptEnd;
use super::totals::Failure;
use super::{Agenda, Class, DataPlane, Group, Notice, OWN_GROUPS, ServiceState, TrafficEvent, sides};
use crate::kernel::{Draw, Phase, SimTime};
use crate::units::ServerId;

/// What a draw of a request is for. Those of an attempt are combined with its number.
pub(super) mod purpose {
    pub(in crate::traffic) const CLASS: u64 = 1;
    pub(in crate::traffic) const WORK: u64 = 2;
    pub(in crate::traffic) const WAIT: u64 = 3;
    pub(in crate::traffic) const MEMORY: u64 = 4;
    pub(in crate::traffic) const GROUP: u64 = 5;
    pub(in crate::traffic) const TARGET: u64 = 6;
    pub(in crate::traffic) const ERROR: u64 = 7;
    pub(in crate::traffic) const NETWORK: u64 = 8;
    pub(in crate::traffic) const BACKOFF: u64 = 9;
    pub(in crate::traffic) const PATIENCE: u64 = 10;
    pub(in crate::traffic) const COUNT: u64 = 11;
    pub(in crate::traffic) const CALL: u64 = 12;
    pub(in crate::traffic) const ADDRESSES: u64 = 13;
    pub(in crate::traffic) const HOST: u64 = 14;
    pub(in crate::traffic) const SESSION: u64 = 15;
    pub(in crate::traffic) const ENTRY: u64 = 16;
}

/// The draw of a request for a purpose, the same in every attempt.
#[inline]
pub(super) fn drawn(seed: u64, purpose: u64) -> Draw {
    Draw::new(seed).of(purpose)
}

/// The draw of an attempt for a purpose.
#[inline]
pub(super) fn attempt_draw(seed: u64, purpose: u64, attempt: u16) -> Draw {
    Draw::new(seed).of(purpose | (u64::from(attempt) + 1) << 8)
}

/// Whether an attempt fails by the application's own fault is drawn from this.
pub(super) fn error_draw(seed: u64, attempt: u16) -> Draw {
    attempt_draw(seed, purpose::ERROR, attempt)
}

#[inline]
pub(super) fn instant(nanos: u64) -> SimTime {
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
        self.start_slowdowns(q);
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
            TrafficEvent::Deadline { front } => self.deadline(q, front as u16),
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
            TrafficEvent::Returned { call, generation } => self.returned(q, call, generation),
            TrafficEvent::PoolTimeout { request, generation } => self.pool_timeout(q, request, generation),
            TrafficEvent::ConnectTimeout { request, generation } => self.connect_timeout(q, request, generation),
            TrafficEvent::Sweep { edge, server } => self.sweep_pool(q, edge, server),
            TrafficEvent::Speed { dependency, change } => self.change_speed(q, dependency, change),
            TrafficEvent::Credits { node, generation } => self.credits_due(q, node, generation),
        }
        self.pump(q);
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
        let front = &mut self.fronts[service as usize];
        let class = front.class(|| drawn(seed, purpose::CLASS).unit());
        let s = &mut self.services[service as usize];
        s.totals.started += 1;
        s.in_flight += 1;
        if let Some(budget) = &mut front.client.budget {
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
            service: service as u16,
            front: service as u16,
            attempt: 0,
            stage: Stage::Backoff,
            orphan: false,
        });
        self.send(q, request);
    }

    /// An attempt is sent to the balancer.
    pub(super) fn send(&mut self, q: &mut impl Agenda, at: u32) {
        let r = &self.requests[at];
        if self.fronts[usize::from(r.front)].plain {
            self.balance(q, at);
        } else {
            self.send_specially(q, at);
        }
    }

    /// An attempt that is no plain one is sent to the balancer all the same.
    #[inline(never)]
    pub(super) fn send_to_balancer(&mut self, q: &mut impl Agenda, at: u32) {
        self.balance(q, at);
    }

    /// The balancer chooses a target for an attempt. Part of the hot path, which is one function.
    #[inline(always)]
    fn balance(&mut self, q: &mut impl Agenda, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.sent = now;
        let (seed, attempt, id, front, class) = (r.seed, r.attempt, r.service, r.front, r.class);
        let class = &self.classes[class as usize];
        let service = &mut self.services[usize::from(id)];
        service.totals.attempts += 1;
        service.totals.request_bytes += class.request_bytes;
        if service.lost_entry > 0.0 && attempt_draw(seed, purpose::ENTRY, attempt).unit() < service.lost_entry {
            r.stage = Stage::NoEntry;
            self.fronts[usize::from(front)].watch(q, now, at, front, &self.requests);
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
                self.fronts[usize::from(front)].watch(q, now, at, front, &self.requests);
                let done = instant(now.saturating_add((work + wait + 0.5) as u64));
                let event = TrafficEvent::WaitEnd { request: at, generation: self.requests.generation(at) };
                q.schedule(done, Phase::Completion, event);
                return;
            }
        };
        let Some(server) = target else {
            service.totals.elb_503 += 1;
            self.no_target(q, at);
            return;
        };
        self.hand_over(q, at, server, true);
    }

    /// An attempt reaches a server by another way than the usual one.
    #[inline(never)]
    pub(super) fn deliver(&mut self, q: &mut impl Agenda, at: u32, server: u32, balanced: bool) {
        self.hand_over(q, at, server, balanced);
    }

    /// An attempt reaches a server: it is worked on, waits in the accept queue, or is refused.
    #[inline(always)]
    fn hand_over(&mut self, q: &mut impl Agenda, at: u32, server: u32, balanced: bool) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        let front = r.front;
        let service = &mut self.services[usize::from(r.service)];
        service.totals.routed += 1;
        let hot = &self.servers.hot[server as usize];
        if hot.held < hot.limit {
            r.server = server;
            if balanced {
                service.balancer(&self.targets, server).more(&mut self.targets, server);
            }
            self.fronts[usize::from(front)].watch(q, now, at, front, &self.requests);
            service.observe(now, 0, 1);
            self.servers.advance(server, now);
            self.work_on(q, server, at);
            self.reschedule(q, server);
        } else if self.servers.may_queue(server) {
            r.server = server;
            if balanced {
                service.balancer(&self.targets, server).more(&mut self.targets, server);
            }
            self.fronts[usize::from(front)].watch(q, now, at, front, &self.requests);
            self.queue(q, server, at);
        } else if self.servers.cold[server as usize].cut_off {
            r.server = server;
            self.hang(q, at, balanced);
        } else {
            sides::lost(&mut service.sides, &self.targets, server);
            self.refused(q, at, balanced);
        }
    }

    /// A server does not take an attempt.
    #[inline(never)]
    fn refused(&mut self, q: &mut impl Agenda, at: u32, balanced: bool) {
        let r = self.requests[at];
        let front = &self.fronts[usize::from(r.front)];
        let seen = q.now().as_nanos().saturating_add(front.travel(r.seed, r.attempt));
        let totals = &mut self.services[usize::from(r.service)].totals;
        totals.refused += 1;
        let why = if balanced {
            totals.elb_502 += 1;
            Failure::BadGateway
        } else {
            Failure::NoConnection
        };
        if front.is_call() {
            self.attempt_over(q, &r, AttemptEnd::Broken);
        }
        self.failed(q, at, why, seen, false);
    }

    /// There is no target for an attempt.
    #[inline(never)]
    pub(super) fn no_target(&mut self, q: &mut impl Agenda, at: u32) {
        let r = self.requests[at];
        let front = &self.fronts[usize::from(r.front)];
        let seen = q.now().as_nanos().saturating_add(front.travel(r.seed, r.attempt));
        if front.is_call() {
            self.attempt_over(q, &r, AttemptEnd::Broken);
        }
        self.failed(q, at, Failure::Unavailable, seen, false);
    }

    /// Puts an attempt into the accept queue of its server.
    pub(super) fn queue(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.stage = Stage::Queued;
        let (seed, attempt, id, front, probe) = (r.seed, r.attempt, r.service, r.front, r.class == NONE);
        let generation = self.requests.generation(at);
        self.servers.cold[server as usize].enqueue(at, generation, &self.requests);
        let service = &mut self.services[usize::from(id)];
        service.observe(now, 1, 1);
        if let Some(queueing) = &mut service.totals.queueing {
            queueing.queued += u64::from(!probe);
        }
        if let (Some(patience), false) = (&self.fronts[usize::from(front)].patience, probe) {
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
            + class.proxy_cpu
    }

    /// The part of an attempt's CPU work that is done before it calls anybody: all of it for most classes.
    #[inline]
    pub(super) fn work_before_calls(&self, r: &Request, server: u32) -> f64 {
        let work = self.work(r, server);
        if r.class == NONE { work } else { work * self.classes[r.class as usize].before_calls }
    }

    /// Gives an attempt a slot and the CPU. The server's time must be accounted until now; its completion is not
    /// set again.
    #[inline]
    pub(super) fn work_on(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let work = self.work_before_calls(&self.requests[at], server);
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
        if let Some(queueing) = &mut self.services[usize::from(r.service)].totals.queueing
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
        let service = &mut self.services[usize::from(r.service)];
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
        if r.class != NONE && self.classes[r.class as usize].calls != NONE {
            self.cpu_done(q, server, at);
            self.reschedule(q, server);
            self.pump(q);
            return;
        }
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
        self.leave(q, server, at, r, false);
        self.reschedule(q, server);
        self.pump(q);
    }

    /// A wait outside of the CPU, or the time at an external group, is over.
    fn wait_end(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        match r.stage {
            Stage::External => self.answer(q, at, r, false),
            Stage::Hanging => self.not_taken(q, at, r),
            Stage::Waiting if self.classes[r.class as usize].calls != NONE => self.begin_calls(q, at),
            Stage::Waiting => self.leave_without_cpu(q, at, r, false),
            _ => {}
        }
    }

    /// A request that is in its server but not on the CPU has done all it has to do there. `broken`: a call that it needs has
    /// failed.
    #[inline]
    pub(super) fn leave_without_cpu(&mut self, q: &mut impl Agenda, at: u32, r: Request, broken: bool) {
        let server = r.server;
        let hot = &self.servers.hot[server as usize];
        if hot.held < hot.limit {
            // Nobody waits for the slot, so nothing changes on the CPU.
            self.leave(q, server, at, r, broken);
        } else {
            self.servers.advance(server, q.now().as_nanos());
            self.leave(q, server, at, r, broken);
            self.reschedule(q, server);
        }
    }

    /// A request has done all it has to do in its server; `broken` when a call that it needs has failed.
    #[inline]
    pub(super) fn leave(&mut self, q: &mut impl Agenda, server: u32, at: u32, r: Request, broken: bool) {
        let now = q.now().as_nanos();
        self.servers.hot[server as usize].memory -= r.memory;
        self.services[usize::from(r.service)].observe(now, 0, -1);
        if r.class == NONE {
            if !r.orphan {
                self.notices.push(Notice::Probe { server: ServerId(server), token: r.seed, ok: true });
            }
            self.requests.remove(at);
        } else if r.orphan {
            let work = if broken { self.work_before_calls(&r, server) } else { self.work(&r, server) };
            self.waste(server, r.service, work);
            self.orphan_leaves(q, &r);
            self.requests.remove(at);
        } else if own(r.caller) {
            self.own_done(q, server, at, r, broken);
        } else {
            self.answer(q, at, r, broken);
        }
        self.next_in(q, server);
        // A free loop of a worker asks for messages, also when a health check has freed it.
        if own(r.caller) || r.class == NONE {
            self.ask(q, server);
        }
    }

    /// Work that nobody got anything of, in vCPU-nanoseconds.
    pub(super) fn waste(&mut self, server: u32, service: u16, work: f64) {
        self.servers.cold[server as usize].wasted += work;
        self.services[usize::from(service)].totals.cpu_wasted += work / 1e9;
    }

    /// A target answers an attempt that somebody waits for.
    #[inline]
    fn answer(&mut self, q: &mut impl Agenda, at: u32, r: Request, broken: bool) {
        let now = q.now().as_nanos();
        let class = &self.classes[r.class as usize];
        let front = &self.fronts[usize::from(r.front)];
        let service = &mut self.services[usize::from(r.service)];
        let mut errors = class.error_rate + class.fault_errors - class.error_rate * class.fault_errors;
        let mut travel = front.travel(r.seed, r.attempt);
        if r.server != NONE {
            if front.balanced {
                service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
            }
            let effect = &self.servers.kind(r.server).spec.effect;
            errors += effect.error_rate - errors * effect.error_rate;
            travel = travel.saturating_add(effect.latency.as_nanos());
        }
        let error = broken || errors > 0.0 && attempt_draw(r.seed, purpose::ERROR, r.attempt).unit() < errors;
        if r.server != NONE {
            sides::answered(&mut service.sides, &self.targets, r.server, now - r.sent, error);
        }
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
        let timeout = front.client.timeout;
        if front.is_call() {
            self.call_answered(q, &r, error);
        }
        if let Some(timeout) = timeout
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
            let service = &mut self.services[usize::from(r.service)];
            service.totals.succeeded += 1;
            service.in_flight -= 1;
            service.totals.latency.record(seen - r.born);
            self.requests.remove(at);
            if r.caller != NONE {
                self.tell(q, &r, seen, None);
            }
        }
    }

    /// An attempt of a call has its answer.
    #[inline(never)]
    fn call_answered(&mut self, q: &mut impl Agenda, r: &Request, error: bool) {
        let bytes = self.classes[r.class as usize].response_bytes;
        let totals = &mut self.services[usize::from(r.service)].totals;
        totals.inner_response_bytes += bytes;
        totals.direct_bytes += if self.fronts[usize::from(r.front)].balanced { 0 } else { bytes };
        self.attempt_over(q, r, if error { AttemptEnd::Error } else { AttemptEnd::Answered });
    }

    /// An attempt has failed; its client sees it at `seen`, and tries again or not. With `keep` the record
    /// stays with its server, which works on for nobody.
    pub(super) fn failed(&mut self, q: &mut impl Agenda, at: u32, why: Failure, seen: u64, keep: bool) {
        let r = self.requests[at];
        let front = &mut self.fronts[usize::from(r.front)];
        if front.is_call() && self.call_again(q, at, &r, why, seen, keep) {
            return;
        }
        let front = &mut self.fronts[usize::from(r.front)];
        let service = &mut self.services[usize::from(r.service)];
        let mut again = why != Failure::Abandoned && !front.is_call() && r.attempt < front.client.retries;
        if again
            && let Some(budget) = &mut front.client.budget
            && !budget.take(q.now().as_nanos())
        {
            service.totals.retries_denied += 1;
            again = false;
        }
        if again {
            service.totals.retries += 1;
            let attempt = r.attempt + 1;
            let wait = front.client.backoff(attempt, attempt_draw(r.seed, purpose::BACKOFF, attempt));
            self.try_again(q, at, &r, attempt, seen.saturating_add(wait), keep);
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
            self.tell(q, &r, seen, Some(why));
        }
    }

    /// Puts off the next attempt of a request until `when`; returns its record.
    pub(super) fn try_again(
        &mut self,
        q: &mut impl Agenda,
        at: u32,
        r: &Request,
        attempt: u16,
        when: u64,
        keep: bool,
    ) -> u32 {
        let next = Request { attempt, stage: Stage::Backoff, server: NONE, memory: 0, orphan: false, ..*r };
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
        q.schedule(instant(when), Phase::Arrival, event);
        to
    }

    /// Tells who waits for a request that it has ended, well or for the given reason; he sees it at `seen`.
    #[inline(never)]
    fn tell(&mut self, q: &mut impl Agenda, r: &Request, seen: u64, failure: Option<Failure>) {
        if r.caller & CALL == 0 {
            self.think(q, r.caller, seen);
        } else {
            self.call_ended(q, r, seen, failure);
        }
    }

    /// Looks at the oldest attempts of a front: those whose time is over are given up.
    fn deadline(&mut self, q: &mut impl Agenda, id: u16) {
        let now = q.now().as_nanos();
        self.fronts[usize::from(id)].armed = false;
        while let Some(&(at, generation)) = self.fronts[usize::from(id)].ring.front() {
            let front = &mut self.fronts[usize::from(id)];
            let Some(&r) = self.requests.current(at, generation).filter(|r| awaited(r)) else {
                front.ring.pop_front();
                continue;
            };
            let due = r.sent.saturating_add(front.limit);
            if due > now {
                front.armed = true;
                q.schedule(instant(due), Phase::State, TrafficEvent::Deadline { front: u32::from(id) });
                return;
            }
            front.ring.pop_front();
            self.give_up(q, at, r);
        }
    }

    /// The client's time-out or the balancer's idle time-out has come before the answer.
    fn give_up(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        if r.stage == Stage::NoEntry {
            // No balancer node saw it: it has no code.
            if self.fronts[usize::from(r.front)].is_call() {
                self.attempt_over(q, &r, AttemptEnd::TimedOut);
            }
            self.failed(q, at, Failure::Timeout, now, false);
            return;
        }
        let service = &mut self.services[usize::from(r.service)];
        let front = &self.fronts[usize::from(r.front)];
        let (cancel, balanced) = (front.client.cancel, front.balanced);
        let (why, seen) = if front.client_limit {
            service.totals.client_gone_460 += u64::from(balanced);
            (Failure::Timeout, now)
        } else {
            service.totals.elb_504 += u64::from(balanced);
            (Failure::GatewayTimeout, now.saturating_add(front.travel(r.seed, r.attempt)))
        };
        if r.server != NONE {
            sides::lost(&mut service.sides, &self.targets, r.server);
        }
        if balanced && r.server != NONE {
            service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
        }
        if front.is_call() {
            self.attempt_over(q, &r, AttemptEnd::TimedOut);
        }
        if matches!(r.stage, Stage::External | Stage::Hanging | Stage::Stranded) {
            self.failed(q, at, why, seen, false);
            return;
        }
        let after_calls = cancel && self.drop_calls(q, at, &r);
        self.failed(q, at, why, seen, !cancel);
        if cancel {
            self.withdraw(q, at, r, after_calls);
        }
    }

    fn lose_patience(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        let service = &mut self.services[usize::from(r.service)];
        service.totals.client_gone_460 += 1;
        service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
        self.failed(q, at, Failure::Abandoned, now, false);
        self.withdraw(q, at, r, false);
    }

    /// Takes an attempt out of its server. `r` is its record as it was; the slot has already moved on, so what
    /// the server still holds of it is stale. `after_calls` when it was on the CPU again after its calls.
    pub(super) fn withdraw(&mut self, q: &mut impl Agenda, at: u32, r: Request, after_calls: bool) {
        let now = q.now().as_nanos();
        let service = &mut self.services[usize::from(r.service)];
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
        let spent = self.spent(&r, server, after_calls);
        let hot = &mut self.servers.hot[server as usize];
        hot.memory -= r.memory;
        if r.stage == Stage::Running {
            hot.clock.running -= 1;
            hot.jobs.remove(&mut self.servers.further[server as usize], at, &self.requests);
        }
        self.waste(server, r.service, spent);
        self.next_in(q, server);
        self.reschedule(q, server);
    }

    /// CPU that an attempt has had in a server whose time is accounted until now, vCPU-nanoseconds.
    pub(super) fn spent(&self, r: &Request, server: u32, after_calls: bool) -> f64 {
        let to_come = || r.mark - self.servers.hot[server as usize].clock.attained;
        match r.stage {
            Stage::Running if after_calls => self.work(r, server) - to_come(),
            Stage::Running => self.work_before_calls(r, server) - to_come(),
            Stage::Waiting | Stage::Calling => self.work_before_calls(r, server),
            _ => 0.0,
        }
    }
}

/// Somebody waits for the answer of this attempt.
#[inline]
fn awaited(r: &Request) -> bool {
    !r.orphan && !matches!(r.stage, Stage::Free | Stage::Backoff | Stage::Late | Stage::Pooled | Stage::Connecting)
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
