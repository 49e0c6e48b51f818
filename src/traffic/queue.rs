//! Queues of messages, as Amazon SQS standard queues, and the tasks that work on them; and work that a task does for
//! nobody else, as that of a job.
//!
//! Rule: a received message is invisible for the visibility timeout. Who has worked on it deletes it with the receipt of
//! his receive; a receipt that is not the newest one deletes nothing, so work that outlasts its visibility is done twice.
//! A message that is not deleted in time appears again. One that comes up after `max_receive_count` receives goes to the
//! dead-letter queue with the age it has; one that is older than the retention period is gone.
//!
//! Each loop of a task asks for messages, works on the first and leaves the others to any free loop of its task, and asks
//! again when nothing is left. In a long poll it waits until a message comes. What a task holds when it is killed appears
//! again when its visibility ends; a task that is told to stop receives no more and finishes what it holds.
//!
//! Source: SQS developer guide, `sqs-visibility-timeout`, `sqs-short-and-long-polling`, `sqs-dead-letter-queues`.
//!
//! Known departures: messages come in the order in which they became visible (SQS promises none); short polling asks
//! all of the queue (SQS a part of its servers); duplicates come from visibility alone; a message that comes while a loop
//! waits in a long poll is there at once.
//!
//! Memory: about 50 bytes for each message that is in a queue, visible or not; none for those that are done.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::path::{drawn, error_draw, purpose};
use super::request::{CALL, Request, Stage};
use super::sampler::Sampler;
use super::totals::Failure;
use super::{Agenda, DataPlane, Notice, TrafficEvent};
use crate::kernel::{Draw, Phase, SimTime};
use crate::units::ServerId;

/// Callers from here on, below those of calls, are no users: messages by their number, and the work of a job.
const OWN: u32 = 1 << 30;
/// The work of a job.
const WORK: u32 = CALL - 1;
/// The longest time that one receive can hold a message.
const LONGEST_HOLD: u64 = 12 * 3_600 * 1_000_000_000;

/// Whether nobody but the task itself waits for this record: a message or the work of a job.
#[inline]
pub(super) fn own(caller: u32) -> bool {
    caller & CALL == 0 && caller >= OWN
}

/// What happened to the messages of a queue over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Messages sent.
    pub sent: u64,
    /// Messages that came from another queue, as to a dead-letter queue.
    pub moved_in: u64,
    /// Receives of messages: each delivery counts.
    pub received: u64,
    /// Of these, deliveries beyond the first of a message.
    pub redelivered: u64,
    /// Receives that got nothing. Those of a long poll that waits count once for each `wait_time_seconds`.
    pub empty_receives: u64,
    /// Messages that were worked on and deleted.
    pub deleted: u64,
    /// Deliveries whose work ended after somebody else had received the message.
    pub duplicates: u64,
    /// Messages that appeared again because they were not deleted in time.
    pub returned: u64,
    /// Messages moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Messages that were older than the retention period.
    pub expired: u64,
}

impl QueueTotals {
    /// Adds the totals of later time.
    pub fn merge(&mut self, o: &Self) {
        self.sent += o.sent;
        self.moved_in += o.moved_in;
        self.received += o.received;
        self.redelivered += o.redelivered;
        self.empty_receives += o.empty_receives;
        self.deleted += o.deleted;
        self.duplicates += o.duplicates;
        self.returned += o.returned;
        self.dead_lettered += o.dead_lettered;
        self.expired += o.expired;
    }
}

/// What is in a queue at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueGauges {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages received and not deleted.
    pub in_flight: u64,
    /// Messages sent that cannot be received yet.
    pub delayed: u64,
    /// Age of the oldest of them, seconds; 0 when there is none.
    pub oldest_age_s: f64,
}

/// The settings of a queue. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueRules {
    pub(super) visibility: u64,
    pub(super) retention: u64,
    pub(super) delay: u64,
    /// The dead-letter queue, and the receives after which a message goes there.
    pub(super) dead_letter: Option<(u32, u32)>,
    pub(super) max_in_flight: u64,
}

/// How the tasks of a service work on a queue. Times in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct WorkerRules {
    pub(super) queue: u32,
    pub(super) batch: u32,
    pub(super) wait: u64,
    pub(super) pause: u64,
    pub(super) latency: Sampler,
    pub(super) heartbeat: Option<u64>,
    /// For the draws of receives.
    pub(super) root: u64,
    pub(super) receives: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Delayed,
    Visible,
    InFlight,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    seed: u64,
    sent: u64,
    received: u64,
    /// When it is visible again.
    due: u64,
    generation: u32,
    receives: u32,
    state: State,
    /// A task works on it or will.
    held: bool,
}

/// One queue.
#[derive(Clone, Debug)]
pub(super) struct QueueState {
    rules: QueueRules,
    messages: Vec<Message>,
    free: Vec<u32>,
    /// Those that can be received, with their generation; entries of deleted ones are stale.
    visible: VecDeque<(u32, u32)>,
    delayed: VecDeque<(u64, u32)>,
    in_flight: BinaryHeap<Reverse<(u64, u32, u32)>>,
    counts: [u64; 4],
    /// Loops that wait in a long poll: server, its epoch, since when.
    waiting: VecDeque<(u32, u32, u64)>,
    sweep_at: usize,
    /// When the next event is due; `u64::MAX` for never.
    armed: u64,
    totals: QueueTotals,
}

/// The loops of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loops {
    epoch: u32,
    /// Loops that are asking or waiting.
    asking: u32,
}

impl QueueState {
    pub(super) fn new(rules: QueueRules) -> Self {
        Self {
            rules,
            messages: Vec::new(),
            free: Vec::new(),
            visible: VecDeque::new(),
            delayed: VecDeque::new(),
            in_flight: BinaryHeap::new(),
            counts: [0; 4],
            waiting: VecDeque::new(),
            sweep_at: 64,
            armed: u64::MAX,
            totals: QueueTotals::default(),
        }
    }

    fn count(&self, state: State) -> u64 {
        self.counts[state as usize]
    }

    fn turn(&mut self, id: u32, to: State) {
        let m = &mut self.messages[id as usize];
        let from = std::mem::replace(&mut m.state, to);
        if from != State::Free {
            self.counts[from as usize] -= 1;
        }
        if to != State::Free {
            self.counts[to as usize] += 1;
        }
    }

    fn insert(&mut self, seed: u64, sent: u64) -> u32 {
        let new =
            Message { seed, sent, received: 0, due: 0, generation: 0, receives: 0, state: State::Free, held: false };
        match self.free.pop() {
            Some(id) => {
                let generation = self.messages[id as usize].generation;
                self.messages[id as usize] = Message { generation, ..new };
                id
            }
            None => {
                self.messages.push(new);
                (self.messages.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, id: u32) {
        self.turn(id, State::Free);
        let m = &mut self.messages[id as usize];
        m.generation = m.generation.wrapping_add(1);
        self.free.push(id);
    }

    fn show(&mut self, id: u32) {
        self.turn(id, State::Visible);
        let generation = self.messages[id as usize].generation;
        self.visible.push_back((id, generation));
    }

    /// A message becomes visible again at `due`.
    fn hide_until(&mut self, id: u32, due: u64) {
        let m = &mut self.messages[id as usize];
        m.due = due;
        let entry = Reverse((due, id, m.generation));
        // Entries of deleted messages go when they are most of all.
        if self.in_flight.len() as u64 > 2 * self.counts[State::InFlight as usize] + 256 {
            let messages = &self.messages;
            self.in_flight.retain(|Reverse((due, id, generation))| {
                let m = &messages[*id as usize];
                m.state == State::InFlight && m.generation == *generation && m.due == *due
            });
        }
        self.in_flight.push(entry);
    }

    /// The next message that can be received; those too old or received too often are taken out on the way.
    fn next(&mut self, now: u64) -> Option<Next> {
        if self.count(State::InFlight) >= self.rules.max_in_flight {
            return None;
        }
        while let Some((id, generation)) = self.visible.pop_front() {
            let m = self.messages[id as usize];
            if m.state != State::Visible || m.generation != generation {
                continue;
            }
            if now.saturating_sub(m.sent) >= self.rules.retention {
                self.totals.expired += 1;
                self.remove(id);
                continue;
            }
            if let Some((queue, most)) = self.rules.dead_letter
                && m.receives >= most
            {
                self.totals.dead_lettered += 1;
                self.remove(id);
                return Some(Next::Dead { queue, seed: m.seed, sent: m.sent });
            }
            let m = &mut self.messages[id as usize];
            m.receives += 1;
            m.received = now;
            m.held = true;
            let (receives, seed, sent) = (m.receives, m.seed, m.sent);
            self.totals.received += 1;
            self.totals.redelivered += u64::from(receives > 1);
            self.turn(id, State::InFlight);
            let due = now.saturating_add(self.rules.visibility);
            self.hide_until(id, due);
            return Some(Next::Message { id, seed, sent, receives });
        }
        None
    }

    /// Whether a delivery still has the newest receipt of its message.
    fn holds(&self, id: u32, seed: u64, receives: u32) -> bool {
        self.messages.get(id as usize).is_some_and(|m| {
            m.seed == seed && m.receives == receives && matches!(m.state, State::InFlight | State::Visible)
        })
    }

    /// When the visibility that heartbeats up to `now` gave ends.
    fn held_until(&self, m: &Message, now: u64, heartbeat: u64) -> u64 {
        let last = m.received + (now.saturating_sub(m.received)) / heartbeat.max(1) * heartbeat;
        last.saturating_add(self.rules.visibility).min(m.received.saturating_add(LONGEST_HOLD))
    }
}

enum Next {
    Message { id: u32, seed: u64, sent: u64, receives: u32 },
    Dead { queue: u32, seed: u64, sent: u64 },
}

impl DataPlane {
    /// A source sends a message to a queue.
    pub(super) fn message_sent(&mut self, q: &mut impl Agenda, queue: u32, seed: u64) {
        let now = q.now().as_nanos();
        let state = &mut self.queues[queue as usize];
        state.totals.sent += 1;
        let id = state.insert(seed, now);
        if state.rules.delay > 0 {
            let due = now.saturating_add(state.rules.delay);
            state.turn(id, State::Delayed);
            state.delayed.push_back((due, id));
            self.arm(q, queue);
        } else {
            state.show(id);
            self.feed(q, queue);
        }
    }

    /// Makes sure that somebody looks when the next message of a queue becomes visible.
    fn arm(&mut self, q: &mut impl Agenda, queue: u32) {
        let state = &mut self.queues[queue as usize];
        let delayed = state.delayed.front().map(|d| d.0);
        let hidden = state.in_flight.peek().map(|Reverse(h)| h.0);
        let Some(due) = delayed.into_iter().chain(hidden).min() else { return };
        if due < state.armed {
            state.armed = due;
            let at = SimTime::from_nanos(due).max(q.now());
            q.schedule(at, Phase::State, TrafficEvent::Queue { queue });
        }
    }

    /// Messages whose delay or visibility has ended become visible.
    pub(super) fn on_queue(&mut self, q: &mut impl Agenda, queue: u32) {
        let now = q.now().as_nanos();
        let heartbeat =
            |s: &super::ServiceState| s.worker.as_ref().filter(|w| w.queue == queue).and_then(|w| w.heartbeat);
        let heartbeat = self.services.iter().find_map(heartbeat);
        let state = &mut self.queues[queue as usize];
        if state.armed > now {
            return; // An earlier event did this one's work.
        }
        state.armed = u64::MAX;
        while let Some((_, id)) = state.delayed.front().copied().filter(|d| d.0 <= now) {
            state.delayed.pop_front();
            state.show(id);
        }
        while let Some(Reverse((due, id, generation))) = state.in_flight.peek().copied().filter(|h| h.0.0 <= now) {
            state.in_flight.pop();
            let m = state.messages[id as usize];
            if m.state != State::InFlight || m.generation != generation || m.due != due {
                continue;
            }
            if let Some(beat) = heartbeat.filter(|_| m.held) {
                let until = state.held_until(&m, now, beat);
                if until > now {
                    state.hide_until(id, until);
                    continue;
                }
            }
            state.totals.returned += 1;
            state.show(id);
        }
        self.feed(q, queue);
        self.arm(q, queue);
    }

    /// Gives visible messages to loops that wait in a long poll.
    fn feed(&mut self, q: &mut impl Agenda, queue: u32) {
        let now = q.now().as_nanos();
        loop {
            let state = &mut self.queues[queue as usize];
            if state.count(State::Visible) == 0 || state.count(State::InFlight) >= state.rules.max_in_flight {
                return;
            }
            let Some((server, epoch, since)) = state.waiting.pop_front() else { return };
            if !self.asks(server, epoch) {
                continue;
            }
            self.loops[server as usize].asking -= 1;
            self.empty_polls(server, now - since);
            self.receive(q, server);
        }
    }

    /// Whether a loop of this server still asks.
    fn asks(&self, server: u32, epoch: u32) -> bool {
        let hot = &self.servers.hot[server as usize];
        self.loops[server as usize].epoch == epoch && hot.limit > 0 && self.servers.cold[server as usize].alive
    }

    /// Counts the empty answers of a long poll that waited for so long.
    fn empty_polls(&mut self, server: u32, waited: u64) {
        let service = self.servers.kind(server).service;
        if let Some(worker) = &self.services[service as usize].worker {
            let empty = waited.checked_div(worker.wait).unwrap_or(0);
            self.queues[worker.queue as usize].totals.empty_receives += empty;
        }
    }

    /// The application of a worker runs: its loops begin to ask for messages. Nothing happens on other servers.
    pub fn start_polling(&mut self, q: &mut impl Agenda, server: ServerId) {
        let at = server.index();
        if self.loops.len() <= at {
            self.loops.resize(at + 1, Loops::default());
        }
        let epoch = self.loops[at].epoch.wrapping_add(1);
        self.loops[at] = Loops { epoch, asking: 0 };
        self.ask(q, server.0);
    }

    /// Every free loop of a worker asks for messages.
    #[inline(never)]
    pub(super) fn ask(&mut self, q: &mut impl Agenda, server: u32) {
        let hot = &self.servers.hot[server as usize];
        let free = hot.limit.saturating_sub(hot.held);
        let service = self.servers.kind(server).service;
        let Some(worker) = &mut self.services[service as usize].worker else { return };
        let Some(loops) = self.loops.get_mut(server as usize) else { return };
        while loops.asking < free {
            loops.asking += 1;
            let at = q.now().as_nanos().saturating_add(worker.next_latency());
            let event = TrafficEvent::Poll { server, epoch: loops.epoch };
            q.schedule(SimTime::from_nanos(at), Phase::Arrival, event);
        }
    }

    /// A receive is answered.
    pub(super) fn on_poll(&mut self, q: &mut impl Agenda, server: u32, epoch: u32) {
        if !self.asks(server, epoch) {
            return;
        }
        self.loops[server as usize].asking -= 1;
        let hot = &self.servers.hot[server as usize];
        if hot.held >= hot.limit {
            return; // A health check took the loop's slot; it asks again when that is over.
        }
        self.receive(q, server);
    }

    /// Takes messages for one loop of a server; without any it waits, or pauses and asks again.
    fn receive(&mut self, q: &mut impl Agenda, server: u32) {
        let now = q.now().as_nanos();
        let service = self.servers.kind(server).service;
        let Some(worker) = &mut self.services[service as usize].worker else { return };
        let (queue, batch, wait, pause) = (worker.queue, worker.batch, worker.wait, worker.pause);
        let mut got = 0;
        while got < batch {
            match self.queues[queue as usize].next(now) {
                None => break,
                Some(Next::Dead { queue: to, seed, sent }) => self.bury(q, to, seed, sent),
                Some(Next::Message { id, seed, sent, receives }) => {
                    got += 1;
                    self.take_up(q, server, seed, sent, OWN | id, receives - 1);
                    if self.servers.hot[server as usize].limit == 0 {
                        break; // It ran out of memory.
                    }
                }
            }
        }
        self.arm(q, queue);
        if got > 0 {
            return;
        }
        let epoch = self.loops[server as usize].epoch;
        self.loops[server as usize].asking += 1;
        if wait > 0 {
            let state = &mut self.queues[queue as usize];
            state.waiting.push_back((server, epoch, now));
            if state.waiting.len() >= state.sweep_at {
                let mut waiting = std::mem::take(&mut state.waiting);
                waiting.retain(|w| self.asks(w.0, w.1));
                let state = &mut self.queues[queue as usize];
                state.sweep_at = 2 * waiting.len() + 64;
                state.waiting = waiting;
            }
        } else {
            self.queues[queue as usize].totals.empty_receives += 1;
            let latency = self.services[service as usize].worker.as_mut().map_or(0, WorkerRules::next_latency);
            let at = SimTime::from_nanos(now.saturating_add(pause).saturating_add(latency));
            q.schedule(at, Phase::Arrival, TrafficEvent::Poll { server, epoch });
        }
    }

    /// A message goes to a dead-letter queue, with the age it has.
    fn bury(&mut self, q: &mut impl Agenda, queue: u32, seed: u64, sent: u64) {
        let state = &mut self.queues[queue as usize];
        state.totals.moved_in += 1;
        let id = state.insert(seed, sent);
        state.show(id);
        if !state.waiting.is_empty() {
            // Its own workers look at it after what is under way here.
            state.armed = q.now().as_nanos();
            q.schedule(q.now(), Phase::State, TrafficEvent::Queue { queue });
        }
    }

    /// A server gets something to do that nobody waits for.
    fn take_up(&mut self, q: &mut impl Agenda, server: u32, seed: u64, born: u64, caller: u32, attempt: u32) {
        let now = q.now().as_nanos();
        let id = self.servers.kind(server).service;
        let service = &mut self.services[id as usize];
        let class = self.fronts[id as usize].class(|| drawn(seed, purpose::CLASS).unit());
        service.totals.started += 1;
        service.totals.attempts += 1;
        service.totals.routed += 1;
        service.totals.retries += u64::from(attempt > 0);
        service.in_flight += 1;
        let at = self.requests.insert(Request {
            seed,
            born,
            sent: now,
            mark: 0.0,
            memory: 0,
            server,
            caller,
            class,
            service: id as u16,
            front: id as u16,
            attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
            stage: Stage::Backoff,
            orphan: false,
        });
        let hot = &self.servers.hot[server as usize];
        if hot.held < hot.limit {
            service.observe(now, 0, 1);
            self.servers.advance(server, now);
            self.work_on(q, server, at);
            self.reschedule(q, server);
        } else {
            self.queue(q, server, at);
        }
    }

    /// Gives a server a piece of work of its own. [`Notice::Done`] tells when it is done; if the server is killed before,
    /// nothing does. The same seed does the same work whatever the attempt; only its errors differ.
    pub fn run(&mut self, q: &mut impl Agenda, server: ServerId, seed: u64, attempt: u32) {
        let now = q.now().as_nanos();
        self.take_up(q, server.0, seed, now, WORK, attempt);
    }

    /// A server has done its own work, or a message's; `broken` when a call that it needs failed.
    pub(super) fn own_done(&mut self, q: &mut impl Agenda, server: u32, at: u32, r: Request, broken: bool) {
        let now = q.now().as_nanos();
        let errors = {
            let own = self.servers.kind(server).spec.effect.error_rate;
            let class = self.classes[r.class as usize].error_rate;
            class + own - class * own
        };
        let failed = broken || errors > 0.0 && error_draw(r.seed, r.attempt).unit() < errors;
        let mut why = failed.then_some(Failure::ServerError);
        if r.caller == WORK {
            self.notices.push(Notice::Done { server: ServerId(server), ok: !failed });
        } else if let Some(worker) = &self.services[r.service as usize].worker {
            let (queue, id) = (worker.queue, r.caller & !OWN);
            if !self.queues[queue as usize].holds(id, r.seed, u32::from(r.attempt) + 1) {
                self.queues[queue as usize].totals.duplicates += 1;
                why = Some(Failure::Timeout);
            } else if failed {
                self.let_go(q, queue, id, u32::from(r.service));
            } else {
                let state = &mut self.queues[queue as usize];
                state.totals.deleted += 1;
                state.remove(id);
                if state.count(State::Visible) > 0 && !state.waiting.is_empty() {
                    self.feed(q, queue);
                }
            }
        }
        if why.is_some() {
            let work = self.work(&r, server);
            self.waste(server, r.service, work);
        }
        let service = &mut self.services[r.service as usize];
        service.in_flight -= 1;
        service.totals.response.record(now - r.sent);
        match why {
            None => {
                service.totals.responses_2xx += 1;
                service.totals.succeeded += 1;
                service.totals.latency.record(now - r.born);
            }
            Some(why) => {
                service.totals.target_5xx += u64::from(failed);
                service.totals.failed.count(why);
                service.totals.latency_all.record(now - r.born);
            }
        }
        self.requests.remove(at);
    }

    /// A server was killed with this in it.
    pub(super) fn own_lost(&mut self, q: &mut impl Agenda, at: u32, r: Request) {
        let now = q.now().as_nanos();
        if r.caller != WORK
            && let Some(worker) = &self.services[r.service as usize].worker
        {
            let (queue, id) = (worker.queue, r.caller & !OWN);
            if self.queues[queue as usize].holds(id, r.seed, u32::from(r.attempt) + 1) {
                self.let_go(q, queue, id, u32::from(r.service));
            }
        }
        let service = &mut self.services[r.service as usize];
        service.in_flight -= 1;
        service.totals.failed.count(Failure::BadGateway);
        service.totals.latency_all.record(now - r.born);
        self.requests.remove(at);
    }

    /// Nobody works on a message any more: no heartbeat extends its visibility.
    fn let_go(&mut self, q: &mut impl Agenda, queue: u32, id: u32, service: u32) {
        let now = q.now().as_nanos();
        let heartbeat = self.services[service as usize].worker.as_ref().and_then(|w| w.heartbeat);
        let state = &mut self.queues[queue as usize];
        let m = &mut state.messages[id as usize];
        m.held = false;
        let m = *m;
        if let (Some(beat), State::InFlight) = (heartbeat, m.state) {
            let due = state.held_until(&m, now, beat);
            state.hide_until(id, due);
            self.arm(q, queue);
        }
    }

    /// What is in a queue now, and how old the oldest is. Looks at every message.
    #[must_use]
    pub fn queue_gauges(&self, now: SimTime, queue: usize) -> QueueGauges {
        let Some(state) = self.queues.get(queue) else { return QueueGauges::default() };
        let oldest = state.messages.iter().filter(|m| m.state != State::Free).map(|m| m.sent).min();
        QueueGauges {
            visible: state.count(State::Visible),
            in_flight: state.count(State::InFlight),
            delayed: state.count(State::Delayed),
            oldest_age_s: oldest.map_or(0.0, |sent| now.since(SimTime::from_nanos(sent)).as_secs_f64()),
        }
    }

    /// What happened to the messages of a queue since the last time. Messages beyond their retention are taken out.
    pub fn drain_queue(&mut self, now: SimTime, queue: usize) -> QueueTotals {
        let Some(state) = self.queues.get_mut(queue) else { return QueueTotals::default() };
        let now = now.as_nanos();
        while let Some(&(id, generation)) = state.visible.front() {
            let m = state.messages[id as usize];
            let stale = m.state != State::Visible || m.generation != generation;
            if !stale && now.saturating_sub(m.sent) < state.rules.retention {
                break;
            }
            state.visible.pop_front();
            if !stale {
                state.totals.expired += 1;
                state.remove(id);
            }
        }
        std::mem::take(&mut state.totals)
    }
}

impl WorkerRules {
    fn next_latency(&mut self) -> u64 {
        let (root, number) = (self.root, self.receives);
        self.receives += 1;
        self.latency.nanos(|| Draw::new(root).of(number))
    }
}
