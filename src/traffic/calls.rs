//! Requests that call other services: what a caller waits for, and each call's life.
//!
//! A request whose class makes calls does the first part of its CPU work, waits, and then makes its calls stage by stage:
//! a [`Frame`] stands for it while it does, a [`Call`] for each call that has not returned. The answer of a call comes
//! back as an event of its own, so nothing here goes deeper than one hop. After the last stage follows the rest of
//! the CPU work.
//!
//! A call is a request at the callee like any other: it is counted there, waits in its accept queues and its attempts
//! are attempts of that service. Time-outs and retries are those of the [`Edge`].

use super::path::{drawn, instant, purpose};
use super::request::{CALL, NONE, Request, Stage};
use super::routes::{AttemptEnd, Connection, PoolRules, Route, Site};
use super::totals::{CallTotals, Failure};
use super::{Agenda, DataPlane, TrafficEvent};
use crate::kernel::{Draw, Phase};

/// Attempts of a call begin at a multiple of this, so that a caller's retry draws anew whether it fails.
const ATTEMPTS: u16 = 64;

/// The base of the wait before a proxy tries again, nanoseconds. Source: Envoy, retry back-off of 25 ms, at most 250 ms.
const PROXY_BACKOFF: f64 = 25e6;
const PROXY_BACKOFF_MAX: f64 = 250e6;

/// The calls of a class, in the order of their stages.
#[derive(Clone, Debug, Default)]
pub(super) struct CallPlan {
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) stage: u32,
    pub(super) edge: u32,
    /// Mean number of calls.
    pub(super) count: f64,
}

/// Who calls whom, and how.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) caller: u32,
    pub(super) callee: u16,
    pub(super) front: u16,
    pub(super) required: bool,
    pub(super) in_turn: bool,
    pub(super) route: Route,
    pub(super) pool: Option<PoolRules>,
    /// What each task of the caller keeps, by its server.
    pub(super) sites: Vec<Site>,
    pub(super) totals: CallTotals,
    pub(super) in_flight: u64,
}

/// A request that waits for calls, or works on after them.
#[derive(Clone, Copy, Debug)]
struct Frame {
    request: u32,
    /// The next of the plan's steps.
    next: u32,
    /// Calls that have not returned.
    outstanding: u32,
    /// The first of them.
    first: u32,
    /// The calls are over; the rest of the CPU work is being done.
    after: bool,
}

/// A call that has not returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    frame: u32,
    edge: u32,
    /// Which of the request's calls over this edge.
    nth: u32,
    /// Calls that follow it in turn.
    left: u32,
    previous: u32,
    next: u32,
    failed: bool,
    /// The caller's retries so far, and the proxy's tries in this one.
    rounds: u16,
    tries: u16,
    /// The record of its current attempt; [`NONE`] once it has ended.
    pub(super) request: u32,
    /// The server of the caller.
    pub(super) server: u32,
    /// It holds a place in its caller's pool.
    pub(super) slot: bool,
    /// Its connection, once there is one.
    pub(super) connection: Option<Connection>,
    /// The target that a proxy has chosen, and the one before.
    pub(super) target: u32,
    pub(super) last: u32,
}

/// All frames and calls, in slabs that reuse their slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    frames: Vec<Frame>,
    free_frames: Vec<u32>,
    /// The frame of a request.
    frame_of: Vec<u32>,
    all: Vec<Call>,
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Calls {
    fn frame_of(&self, request: u32) -> u32 {
        self.frame_of.get(request as usize).copied().unwrap_or(NONE)
    }

    fn open(&mut self, request: u32) -> u32 {
        let frame = Frame { request, next: 0, outstanding: 0, first: NONE, after: false };
        let id = match self.free_frames.pop() {
            Some(id) => {
                self.frames[id as usize] = frame;
                id
            }
            None => {
                self.frames.push(frame);
                (self.frames.len() - 1) as u32
            }
        };
        let at = request as usize;
        if self.frame_of.len() <= at {
            self.frame_of.resize(at + 1, NONE);
        }
        self.frame_of[at] = id;
        id
    }

    fn close(&mut self, frame: u32) {
        self.frame_of[self.frames[frame as usize].request as usize] = NONE;
        self.free_frames.push(frame);
    }

    /// Takes a slot and puts the call at the head of its frame's list.
    fn insert(&mut self, mut call: Call) -> u32 {
        let first = &mut self.frames[call.frame as usize].first;
        call.next = *first;
        let id = match self.free.pop() {
            Some(id) => {
                self.all[id as usize] = call;
                id
            }
            None => {
                self.all.push(call);
                self.generations.push(0);
                (self.all.len() - 1) as u32
            }
        };
        if *first != NONE {
            self.all[*first as usize].previous = id;
        }
        *first = id;
        id
    }

    /// Gives a slot back and takes the call out of its frame's list.
    fn remove(&mut self, id: u32) {
        let Call { frame, previous, next, .. } = self.all[id as usize];
        if previous == NONE {
            self.frames[frame as usize].first = next;
        } else {
            self.all[previous as usize].next = next;
        }
        if next != NONE {
            self.all[next as usize].previous = previous;
        }
        let generation = &mut self.generations[id as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id);
    }

    /// Requests that wait for calls, and calls that have not returned.
    #[cfg(test)]
    pub(super) fn open_ones(&self) -> (usize, usize) {
        (self.frames.len() - self.free_frames.len(), self.all.len() - self.free.len())
    }
}

impl std::ops::Index<u32> for Calls {
    type Output = Call;
    fn index(&self, at: u32) -> &Call {
        &self.all[at as usize]
    }
}

impl std::ops::IndexMut<u32> for Calls {
    fn index_mut(&mut self, at: u32) -> &mut Call {
        &mut self.all[at as usize]
    }
}

impl DataPlane {
    /// A request whose class makes calls has done a part of its CPU work.
    pub(super) fn cpu_done(&mut self, q: &mut impl Agenda, server: u32, at: u32) {
        let frame = self.calls.frame_of(at);
        if frame != NONE {
            self.calls.close(frame);
            let r = self.requests[at];
            self.leave(q, server, at, r, false);
            return;
        }
        let r = &mut self.requests[at];
        if let Some(law) = &self.classes[r.class as usize].wait {
            let seed = r.seed;
            let wait = law.draw(|| drawn(seed, purpose::WAIT)) * self.servers.kind(server).spec.effect.wait_factor;
            if wait >= 0.5 {
                r.stage = Stage::Waiting;
                let end = q.now().as_nanos().saturating_add((wait + 0.5) as u64);
                let event = TrafficEvent::WaitEnd { request: at, generation: self.requests.generation(at) };
                q.schedule(instant(end), Phase::Completion, event);
                return;
            }
        }
        self.begin_calls(q, at);
    }

    /// The calls of a request begin. It keeps its slot and its memory.
    pub(super) fn begin_calls(&mut self, q: &mut impl Agenda, at: u32) {
        self.requests[at].stage = Stage::Calling;
        let frame = self.calls.open(at);
        self.next_stage(q, frame);
    }

    /// Makes the calls of the next stage that has any.
    fn next_stage(&mut self, q: &mut impl Agenda, frame: u32) {
        let at = self.calls.frames[frame as usize].request;
        let (class, seed) = (self.requests[at].class, self.requests[at].seed);
        let plan = self.classes[class as usize].calls as usize;
        loop {
            let first = self.calls.frames[frame as usize].next as usize;
            let Some(stage) = self.call_plans[plan].steps.get(first).map(|s| s.stage) else { break };
            let mut at_step = first;
            while let Some(&step) = self.call_plans[plan].steps.get(at_step).filter(|s| s.stage == stage) {
                at_step += 1;
                let whole = step.count as u32;
                let part = step.count - f64::from(whole);
                let draw = || drawn(seed, purpose::COUNT | u64::from(step.edge) << 8).unit();
                let n = whole + u32::from(part > 0.0 && draw() < part);
                if n == 0 {
                    continue;
                }
                if self.edges[step.edge as usize].in_turn {
                    self.start_call(q, frame, step.edge, 0, n - 1);
                } else {
                    for nth in 0..n {
                        self.start_call(q, frame, step.edge, nth, 0);
                    }
                }
            }
            let f = &mut self.calls.frames[frame as usize];
            f.next = at_step as u32;
            if f.outstanding > 0 {
                return;
            }
        }
        self.calls_done(q, frame);
    }

    fn start_call(&mut self, q: &mut impl Agenda, frame: u32, edge: u32, nth: u32, left: u32) {
        let now = q.now().as_nanos();
        let parent = self.requests[self.calls.frames[frame as usize].request];
        let e = &mut self.edges[edge as usize];
        let front = &mut self.fronts[usize::from(e.front)];
        let seed = drawn(parent.seed, purpose::CALL | u64::from(edge) << 8).of(u64::from(nth)).bits();
        let class = front.class(|| drawn(seed, purpose::CLASS).unit());
        if let Some(budget) = &mut front.client.budget {
            budget.first(now);
        }
        e.totals.calls += 1;
        e.in_flight += 1;
        let service = &mut self.services[usize::from(e.callee)];
        service.totals.started += 1;
        service.in_flight += 1;
        let call = self.calls.insert(Call {
            frame,
            edge,
            nth,
            left,
            previous: NONE,
            next: NONE,
            failed: false,
            rounds: 0,
            tries: 0,
            request: NONE,
            server: parent.server,
            slot: false,
            connection: None,
            target: NONE,
            last: NONE,
        });
        let at = self.requests.insert(Request {
            seed,
            born: now,
            sent: now,
            mark: 0.0,
            memory: 0,
            server: NONE,
            caller: CALL | call,
            class,
            service: e.callee,
            front: e.front,
            attempt: parent.attempt.wrapping_mul(ATTEMPTS),
            stage: Stage::Backoff,
            orphan: false,
        });
        self.calls[call].request = at;
        self.calls.frames[frame as usize].outstanding += 1;
        self.send(q, at);
    }

    /// An attempt of a call has failed: whether its caller, or the proxy beside it, tries again.
    pub(super) fn call_again(
        &mut self,
        q: &mut impl Agenda,
        at: u32,
        r: &Request,
        why: Failure,
        seen: u64,
        keep: bool,
    ) -> bool {
        if why == Failure::Abandoned {
            return false;
        }
        let call = r.caller & !CALL;
        let c = &mut self.calls[call];
        let edge = &mut self.edges[c.edge as usize];
        let front = &mut self.fronts[usize::from(r.front)];
        let totals = &mut self.services[usize::from(r.service)].totals;
        let attempt = r.attempt.wrapping_add(1);
        let draw = || super::path::attempt_draw(r.seed, purpose::BACKOFF, attempt);
        let refused = matches!(why, Failure::BadGateway | Failure::ServerError | Failure::NoConnection);
        let wait = if refused && u32::from(c.tries) < edge.route.proxy_tries() {
            c.tries += 1;
            edge.totals.proxy_retries += 1;
            let most = (PROXY_BACKOFF * (libm::exp2(f64::from(c.tries)) - 1.0)).min(PROXY_BACKOFF_MAX);
            (most * draw().unit()) as u64
        } else {
            if c.rounds >= front.client.retries {
                return false;
            }
            if let Some(budget) = &mut front.client.budget
                && !budget.take(q.now().as_nanos())
            {
                totals.retries_denied += 1;
                edge.totals.retries_denied += 1;
                return false;
            }
            c.rounds += 1;
            c.tries = 0;
            front.client.backoff(c.rounds, draw())
        };
        totals.retries += 1;
        edge.totals.retries += 1;
        let to = self.try_again(q, at, r, attempt, seen.saturating_add(wait), keep);
        self.calls[call].request = to;
        true
    }

    /// A call has ended, well or for the given reason; its caller sees it at `seen`.
    pub(super) fn call_ended(&mut self, q: &mut impl Agenda, r: &Request, seen: u64, failure: Option<Failure>) {
        let call = r.caller & !CALL;
        let c = &mut self.calls[call];
        c.request = NONE;
        c.failed = failure.is_some();
        let edge = &mut self.edges[c.edge as usize];
        edge.ended(r, seen, failure);
        let event = TrafficEvent::Returned { call, generation: self.calls.generations[call as usize] };
        q.schedule(instant(seen), Phase::Completion, event);
    }

    /// The end of a call has reached its caller.
    pub(super) fn returned(&mut self, q: &mut impl Agenda, call: u32, generation: u32) {
        if self.calls.generations[call as usize] != generation {
            return;
        }
        let Call { frame, edge, nth, left, failed, .. } = self.calls[call];
        self.calls.remove(call);
        self.calls.frames[frame as usize].outstanding -= 1;
        if failed && self.edges[edge as usize].required {
            let at = self.calls.frames[frame as usize].request;
            let r = self.requests[at];
            self.drop_calls(q, at, &r);
            self.leave_without_cpu(q, at, r, true);
            return;
        }
        if left > 0 {
            self.start_call(q, frame, edge, nth + 1, left - 1);
        }
        if self.calls.frames[frame as usize].outstanding == 0 {
            self.next_stage(q, frame);
        }
    }

    /// All calls of a request are over: what is left of its CPU work follows.
    fn calls_done(&mut self, q: &mut impl Agenda, frame: u32) {
        let at = self.calls.frames[frame as usize].request;
        let r = self.requests[at];
        let before = self.classes[r.class as usize].before_calls;
        if before >= 1.0 {
            self.calls.close(frame);
            self.leave_without_cpu(q, at, r, false);
            return;
        }
        self.calls.frames[frame as usize].after = true;
        let server = r.server;
        let rest = self.work(&r, server) - self.work_before_calls(&r, server);
        self.servers.advance(server, q.now().as_nanos());
        let hot = &mut self.servers.hot[server as usize];
        let mark = hot.clock.attained + rest;
        hot.clock.running += 1;
        let r = &mut self.requests[at];
        r.stage = Stage::Running;
        r.mark = mark;
        hot.jobs.insert(&mut self.servers.further, server, mark, at, &self.requests);
        self.reschedule(q, server);
    }

    /// Nobody waits any more for the calls of a request that ends before its time. True if they were over already
    /// and it was on the CPU again.
    pub(super) fn drop_calls(&mut self, q: &mut impl Agenda, at: u32, r: &Request) -> bool {
        if r.class == NONE || self.classes[r.class as usize].calls == NONE {
            return false;
        }
        let frame = self.calls.frame_of(at);
        if frame == NONE {
            return false;
        }
        loop {
            let call = self.calls.frames[frame as usize].first;
            if call == NONE {
                break;
            }
            self.abandon(q, call);
        }
        let after = self.calls.frames[frame as usize].after;
        self.calls.close(frame);
        after
    }

    /// Whether a request is on the CPU again after its calls.
    pub(super) fn works_after_calls(&self, at: u32, r: &Request) -> bool {
        r.class != NONE
            && self.classes[r.class as usize].calls != NONE
            && self.calls.frames.get(self.calls.frame_of(at) as usize).is_some_and(|f| f.after)
    }

    /// The caller of a call is gone.
    fn abandon(&mut self, q: &mut impl Agenda, call: u32) {
        let Call { request: at, edge, .. } = self.calls[call];
        if at == NONE {
            // Its answer is on the way.
            self.calls.remove(call);
            return;
        }
        let now = q.now().as_nanos();
        let r = self.requests[at];
        if r.stage == Stage::Pooled {
            self.leave_pool_queue(edge, self.calls[call].server);
        }
        let front = &self.fronts[usize::from(r.front)];
        let (cancel, balanced) = (front.client.cancel, front.balanced);
        let inside = matches!(r.stage, Stage::Queued | Stage::Running | Stage::Waiting | Stage::Calling);
        let unreached = matches!(r.stage, Stage::Hanging | Stage::Stranded);
        if inside || unreached || r.stage == Stage::External {
            let service = &mut self.services[usize::from(r.service)];
            service.totals.client_gone_460 += u64::from(balanced);
            if balanced && (inside || unreached) && r.server != NONE {
                service.balancer(&self.targets, r.server).less(&mut self.targets, r.server);
            }
        }
        self.attempt_over(q, &r, AttemptEnd::Abandoned);
        self.edges[edge as usize].ended(&r, now, Some(Failure::Abandoned));
        self.calls.remove(call);
        self.requests[at].caller = NONE;
        let after_calls = inside && cancel && self.drop_calls(q, at, &r);
        self.failed(q, at, Failure::Abandoned, now, inside && !cancel);
        if inside && cancel {
            self.withdraw(q, at, r, after_calls);
        }
    }
}

impl Edge {
    /// A call has ended, well or for the given reason.
    fn ended(&mut self, r: &Request, seen: u64, failure: Option<Failure>) {
        self.in_flight -= 1;
        match failure {
            None => {
                self.totals.succeeded += 1;
                self.totals.latency.record(seen - r.born);
            }
            Some(why) => self.totals.failed.count(why),
        }
        self.totals.latency_all.record(seen - r.born);
    }
}

/// The seed family of what is drawn for a site of an edge.
pub(super) fn site_draw(edge: u32, server: u32, root: u64) -> Draw {
    Draw::new(root).of(u64::from(edge)).of(u64::from(server))
}
