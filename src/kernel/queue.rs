//! The future-event queue: three lanes behind one interface, one total order.

use std::cmp::Reverse;
use std::hash::{BuildHasherDefault, Hash};

use priority_queue::PriorityQueue;
use rustc_hash::FxHasher;

use super::heap::{DeadlineHeap, KeyedHeap};
use super::time::SimTime;

/// Order of the events of one instant: what is finished is finished before what begins, and what
/// looks at the world looks at it last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Work that ends: a request leaves a task server.
    Completion = 0,
    /// A state change: a task becomes RUNNING, a target healthy, a drain ends.
    State = 1,
    /// A request arrives.
    Arrival = 2,
    /// A metric is sampled or published.
    Scrape = 3,
    /// A controller decides.
    Decision = 4,
    /// An interval is written down.
    Record = 5,
}

/// What [`EventQueue::pop`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired<E, T> {
    /// A one-shot event.
    Event(E),
    /// The timer of this owner rang (and is no longer set).
    Timer(T),
    /// The deadline of this id is reached (and is no longer set).
    Completion(u32),
}

/// Pending events of one simulation, and its clock.
///
/// Three lanes, because three kinds of future events behave differently:
///
/// * *one-shot events* are never moved: a plain 4-ary heap. An owner that may lose interest puts a
///   generation into the event and drops a stale one when it fires.
/// * *timers*, one per owner `T`, are moved and cancelled in place: a hash-indexed priority queue.
/// * *completions*, one per small integer id, move at almost every request: an indexed heap.
///
/// Whatever the lane, events come out in the order (time, [`Phase`], order of scheduling). Moving a
/// timer or a completion counts as scheduling it anew.
#[derive(Clone, Debug)]
pub struct EventQueue<E, T: Hash + Eq> {
    now: SimTime,
    sequence: u64,
    events: KeyedHeap<E>,
    timers: PriorityQueue<T, Reverse<u128>, BuildHasherDefault<FxHasher>>,
    timer_min: u128,
    completions: DeadlineHeap,
}

impl<E: Copy, T: Copy + Hash + Eq> Default for EventQueue<E, T> {
    fn default() -> Self {
        Self::new()
    }
}

const SEQUENCE_BITS: u32 = 56;

#[inline]
const fn time_of(key: u128) -> SimTime {
    SimTime::from_nanos((key >> 64) as u64)
}

impl<E: Copy, T: Copy + Hash + Eq> EventQueue<E, T> {
    /// An empty queue at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: SimTime::ZERO,
            sequence: 0,
            events: KeyedHeap::default(),
            timers: PriorityQueue::default(),
            timer_min: u128::MAX,
            completions: DeadlineHeap::default(),
        }
    }

    /// The current instant: that of the last event popped.
    #[inline]
    #[must_use]
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// How many events are pending in all lanes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len() + self.timers.len() + self.completions.len()
    }

    /// True when nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn key(&mut self, at: SimTime, phase: Phase) -> u128 {
        debug_assert!(at >= self.now, "an event is scheduled in the past: {at:?} at {:?}", self.now);
        let at = if at < self.now { self.now } else { at };
        self.sequence += 1;
        debug_assert!(self.sequence < 1 << SEQUENCE_BITS, "event sequence exhausted");
        (u128::from(at.as_nanos()) << 64) | (u128::from(phase as u8) << SEQUENCE_BITS) | u128::from(self.sequence)
    }

    /// Schedules a one-shot event. An instant in the past means now.
    #[inline]
    pub fn schedule(&mut self, at: SimTime, phase: Phase, event: E) {
        let key = self.key(at, phase);
        self.events.push(key, event);
    }

    /// Sets the timer of `owner`, or moves it if it is set.
    pub fn set_timer(&mut self, owner: T, at: SimTime, phase: Phase) {
        let key = self.key(at, phase);
        self.timers.push(owner, Reverse(key));
        self.refresh_timer_min();
    }

    /// Cancels the timer of `owner`; true if it was set.
    pub fn cancel_timer(&mut self, owner: T) -> bool {
        let was = self.timers.remove(&owner).is_some();
        self.refresh_timer_min();
        was
    }

    /// When the timer of `owner` will ring, if it is set.
    #[must_use]
    pub fn timer(&self, owner: T) -> Option<SimTime> {
        self.timers.get_priority(&owner).map(|&Reverse(key)| time_of(key))
    }

    fn refresh_timer_min(&mut self) {
        self.timer_min = self.timers.peek().map_or(u128::MAX, |(_, &Reverse(key))| key);
    }

    /// Sets or moves the completion deadline of `id` (phase [`Phase::Completion`]).
    #[inline]
    pub fn set_completion(&mut self, id: u32, at: SimTime) {
        let key = self.key(at, Phase::Completion);
        self.completions.set(id, key);
    }

    /// Removes the completion deadline of `id`; true if it was set.
    #[inline]
    pub fn cancel_completion(&mut self, id: u32) -> bool {
        self.completions.remove(id)
    }

    /// The instant of the next event, or [`SimTime::MAX`] when nothing is pending.
    #[must_use]
    pub fn next_at(&self) -> SimTime {
        time_of(self.events.min_key().min(self.timer_min).min(self.completions.min_key()))
    }

    /// Takes the next event if it is at or before `until`, and moves the clock to it.
    ///
    /// When there is none the clock moves to `until` and `None` is returned.
    #[inline]
    pub fn pop(&mut self, until: SimTime) -> Option<Fired<E, T>> {
        self.events.settle();
        self.completions.settle();
        let one_shot = self.events.min_key();
        let completion = self.completions.min_key();
        let first = one_shot.min(completion).min(self.timer_min);
        if first == u128::MAX || time_of(first) > until {
            if until > self.now && until < SimTime::MAX {
                self.now = until;
            }
            return None;
        }
        self.now = time_of(first);
        if first == completion {
            self.completions.pop().map(|(_, id)| Fired::Completion(id))
        } else if first == one_shot {
            self.events.pop().map(|(_, event)| Fired::Event(event))
        } else {
            let owner = self.timers.pop().map(|(owner, _)| owner);
            self.refresh_timer_min();
            owner.map(Fired::Timer)
        }
    }
}
