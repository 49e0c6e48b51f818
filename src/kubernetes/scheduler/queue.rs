//! The scheduler's queue: pods that wait for an attempt, pods that back off, and pods that wait for something
//! to happen in the cluster that may help them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::state::PodKey;
use super::why::Plugins;
use crate::kernel::{SimDuration, SimTime};

/// The specification of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// `podInitialBackoffSeconds`: the wait after the first failed attempt.
    pub initial_backoff: SimDuration,
    /// `podMaxBackoffSeconds`: the longest wait.
    pub max_backoff: SimDuration,
    /// How often pods that have backed off go to the active queue.
    pub backoff_flush: SimDuration,
    /// After this long a pod gets an attempt though nothing happened.
    pub unschedulable_timeout: SimDuration,
    /// How often that is checked.
    pub unschedulable_flush: SimDuration,
    /// Whether a pod may leave back-off early when nothing else waits (`SchedulerPopFromBackoffQ`, on since v1.33).
    pub pop_from_backoff: bool,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            initial_backoff: SimDuration::from_secs(1),
            max_backoff: SimDuration::from_secs(10),
            backoff_flush: SimDuration::from_secs(1),
            unschedulable_timeout: SimDuration::from_secs(300),
            unschedulable_flush: SimDuration::from_secs(30),
            pop_from_backoff: true,
        }
    }
}

impl QueueSpec {
    /// The wait after so many failed attempts: doubled each time, at most the longest.
    #[must_use]
    pub fn backoff(&self, attempts: u32) -> SimDuration {
        let doublings = attempts.saturating_sub(1).min(63);
        let wait = u128::from(self.initial_backoff.as_nanos()) << doublings;
        SimDuration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)).min(self.max_backoff)
    }
}

/// Something that happened in the cluster and may help pods that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// A node joined.
    NodeAdded,
    /// A node left.
    NodeRemoved,
    /// A node can give more, or less.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its cordon changed.
    NodeTaints,
    /// A pod was bound to a node.
    PodAssigned,
    /// The labels of a pod on a node changed.
    PodLabels,
    /// A pod on a node is gone.
    PodRemoved,
}

impl ClusterEvent {
    /// The filters that register for it (their `EventsToRegister`).
    #[must_use]
    pub const fn helps(self) -> Plugins {
        let spread = Plugins::POD_TOPOLOGY_SPREAD;
        let crowd = spread.union(Plugins::INTER_POD_AFFINITY);
        match self {
            Self::NodeAdded => crowd
                .union(Plugins::NODE_UNSCHEDULABLE)
                .union(Plugins::NODE_NAME)
                .union(Plugins::TAINT_TOLERATION)
                .union(Plugins::NODE_AFFINITY)
                .union(Plugins::NODE_PORTS)
                .union(Plugins::NODE_RESOURCES_FIT)
                .union(Plugins::VOLUME_ZONE),
            Self::NodeRemoved => spread,
            Self::NodeAllocatable => Plugins::NODE_RESOURCES_FIT,
            Self::NodeLabels => crowd.union(Plugins::NODE_AFFINITY).union(Plugins::VOLUME_ZONE),
            Self::NodeTaints => spread.union(Plugins::NODE_UNSCHEDULABLE).union(Plugins::TAINT_TOLERATION),
            Self::PodAssigned | Self::PodLabels => crowd,
            Self::PodRemoved => crowd.union(Plugins::NODE_PORTS).union(Plugins::NODE_RESOURCES_FIT),
        }
    }
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until a time.
    Backoff,
    /// The same after an attempt that no filter ended; it never leaves early.
    ErrorBackoff,
    /// Waits for an event that one of these filters registered for.
    Unschedulable(Plugins),
    /// An attempt is under way; so many events had happened when it began.
    InFlight(u64),
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    priority: i32,
    /// When it was added, or failed last.
    timestamp: SimTime,
    attempts: u32,
    place: Place,
    /// Which of its entries in a heap is the right one.
    ticket: u64,
}

/// A pod that is to be scheduled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The pod.
    pub pod: PodKey,
    /// The number of this attempt, from 1.
    pub number: u32,
    /// When the pod was added to the queue or failed last.
    pub since: SimTime,
}

type Entry<K> = Reverse<(K, u64, PodKey)>;

/// The queue. All times are of one clock and never fall.
#[derive(Clone, Debug)]
pub struct SchedulingQueue {
    spec: QueueSpec,
    pods: Pods,
    /// By falling priority, then time.
    active: BinaryHeap<Entry<(Reverse<i32>, SimTime)>>,
    /// By the end of back-off.
    backoff: BinaryHeap<Entry<SimTime>>,
    error_backoff: BinaryHeap<Entry<SimTime>>,
    /// By the time since which they wait.
    unschedulable: BinaryHeap<Entry<SimTime>>,
    waiting: usize,
    ready: usize,
    in_flight: usize,
    /// Events since the oldest attempt under way began, and how many there were before.
    events: Vec<ClusterEvent>,
    events_before: u64,
    tickets: u64,
}

impl SchedulingQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(spec: QueueSpec) -> Self {
        Self {
            spec,
            pods: IndexMap::default(),
            active: BinaryHeap::new(),
            backoff: BinaryHeap::new(),
            error_backoff: BinaryHeap::new(),
            unschedulable: BinaryHeap::new(),
            waiting: 0,
            ready: 0,
            in_flight: 0,
            events: Vec::new(),
            events_before: 0,
            tickets: 0,
        }
    }

    /// The number of pods, attempts under way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no pod is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// The number of pods that wait for an event: those that have been found unschedulable.
    #[must_use]
    pub fn unschedulable(&self) -> usize {
        self.waiting
    }

    /// Whether a pod was found unschedulable and waits for an event.
    #[must_use]
    pub fn is_unschedulable(&self, pod: PodKey) -> bool {
        matches!(self.pods.get(&pod).map(|q| q.place), Some(Place::Unschedulable(_)))
    }

    /// A new pod to schedule. One that is there already stays as it is.
    pub fn add(&mut self, pod: PodKey, priority: i32, now: SimTime) {
        if self.pods.contains_key(&pod) {
            return;
        }
        let queued = Queued { priority, timestamp: now, attempts: 0, place: Place::Active, ticket: 0 };
        self.pods.insert(pod, queued);
        self.put(pod, Place::Active);
    }

    /// The next pod to schedule, by priority and then by time. Its attempt is under way until [`Self::done`],
    /// [`Self::failed`] or [`Self::remove`].
    pub fn pop(&mut self, now: SimTime) -> Option<Attempt> {
        self.flush(now);
        let mut pod = due(&mut self.active, &self.pods, Place::Active, |_| true);
        if pod.is_some() {
            self.ready -= 1;
        } else if self.spec.pop_from_backoff {
            pod = due(&mut self.backoff, &self.pods, Place::Backoff, |_| true);
        }
        let pod = pod?;
        let began = self.events_before + self.events.len() as u64;
        self.in_flight += 1;
        let queued = self.pods.get_mut(&pod)?;
        queued.attempts += 1;
        queued.place = Place::InFlight(began);
        Some(Attempt { pod, number: queued.attempts, since: queued.timestamp })
    }

    fn put(&mut self, pod: PodKey, place: Place) {
        self.tickets += 1;
        let ticket = self.tickets;
        let Some(queued) = self.pods.get_mut(&pod) else { return };
        (queued.place, queued.ticket) = (place, ticket);
        let end = queued.timestamp.saturating_add(self.spec.backoff(queued.attempts));
        match place {
            Place::Active => {
                self.ready += 1;
                self.active.push(Reverse(((Reverse(queued.priority), queued.timestamp), ticket, pod)));
            }
            Place::Backoff => self.backoff.push(Reverse((end, ticket, pod))),
            Place::ErrorBackoff => self.error_backoff.push(Reverse((end, ticket, pod))),
            Place::Unschedulable(_) => {
                self.waiting += 1;
                self.unschedulable.push(Reverse((queued.timestamp, ticket, pod)));
            }
            Place::InFlight(_) => {}
        }
    }

    /// The pod was bound.
    pub fn done(&mut self, pod: PodKey) {
        self.remove(pod);
    }

    /// The pod is not to be scheduled any more.
    pub fn remove(&mut self, pod: PodKey) {
        let Some(queued) = self.pods.swap_remove(&pod) else { return };
        match queued.place {
            Place::Active => self.ready -= 1,
            Place::Unschedulable(_) => self.waiting -= 1,
            Place::InFlight(_) => self.landed(),
            Place::Backoff | Place::ErrorBackoff => {}
        }
    }

    fn landed(&mut self) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.events_before += self.events.len() as u64;
            self.events.clear();
        }
    }

    /// The attempt failed; `refused` are the filters that refused nodes (see
    /// [`WhyNot::plugins`](super::WhyNot::plugins)). If something that may help happened meanwhile, the pod only
    /// backs off; else it waits for such an event. A pod that no filter refused backs off.
    pub fn failed(&mut self, pod: PodKey, refused: Plugins, now: SimTime) {
        let Some(queued) = self.pods.get_mut(&pod) else { return };
        let Place::InFlight(began) = queued.place else { return };
        queued.timestamp = now;
        let missed = usize::try_from(began.saturating_sub(self.events_before)).unwrap_or(0);
        let helped = self.events.iter().skip(missed).any(|e| e.helps().meets(refused));
        let place = match (refused.is_empty(), helped) {
            (true, _) => Place::ErrorBackoff,
            (false, true) => Place::Backoff,
            (false, false) => Place::Unschedulable(refused),
        };
        self.landed();
        self.put(pod, place);
    }

    /// Something happened: pods that it may help go to back-off, or to the active queue if they have backed off
    /// long enough. `helps` is asked about each (a hint: say yes where in doubt).
    pub fn happened(&mut self, event: ClusterEvent, now: SimTime, mut helps: impl FnMut(PodKey) -> bool) {
        if self.in_flight > 0 {
            self.events.push(event);
        }
        if self.waiting == 0 {
            return;
        }
        for at in 0..self.pods.len() {
            let Some((&pod, queued)) = self.pods.get_index(at) else { break };
            if let Place::Unschedulable(refused) = queued.place
                && event.helps().meets(refused)
                && helps(pod)
            {
                self.wake(pod, now);
            }
        }
    }

    /// The pod gets another attempt as soon as it has backed off, as if something helped it.
    pub fn activate(&mut self, pod: PodKey, now: SimTime) {
        if self.is_unschedulable(pod) {
            self.wake(pod, now);
        }
    }

    fn wake(&mut self, pod: PodKey, now: SimTime) {
        let Some(queued) = self.pods.get(&pod) else { return };
        self.waiting -= 1;
        let end = queued.timestamp.saturating_add(self.spec.backoff(queued.attempts));
        self.put(pod, if end > now { Place::Backoff } else { Place::Active });
    }

    /// Moves on what is due: at ticks of the clock from its start, pods that have backed off and pods that have
    /// waited for too long. [`Self::pop`] does it too.
    pub fn flush(&mut self, now: SimTime) {
        let tick = |step: SimDuration| if step.is_zero() { now } else { now.floor_to(step) };
        let until = tick(self.spec.backoff_flush);
        while let Some(pod) = due(&mut self.backoff, &self.pods, Place::Backoff, |end| end <= until) {
            self.put(pod, Place::Active);
        }
        while let Some(pod) = due(&mut self.error_backoff, &self.pods, Place::ErrorBackoff, |end| end <= until) {
            self.put(pod, Place::Active);
        }
        let (checked, timeout) = (tick(self.spec.unschedulable_flush), self.spec.unschedulable_timeout);
        let late = |since: SimTime| since.saturating_add(timeout) < checked;
        while let Some(pod) = due(&mut self.unschedulable, &self.pods, Place::Unschedulable(Plugins::NONE), late) {
            self.wake(pod, now);
        }
    }

    /// When there will be something to pop though nothing happens: now, at the end of a back-off, or when a pod has
    /// waited for too long; [`None`] if no pod is there or attempts are under way for all.
    pub fn next_due(&mut self, now: SimTime) -> Option<SimTime> {
        let up = |time: SimTime, step: SimDuration| match step.as_nanos() {
            0 => time,
            step => SimTime::from_nanos(time.as_nanos().div_ceil(step).saturating_mul(step)),
        };
        if self.ready > 0 {
            return Some(now);
        }
        let backoff = first(&mut self.backoff, &self.pods, Place::Backoff);
        if backoff.is_some() && self.spec.pop_from_backoff {
            return Some(now);
        }
        let ends = [backoff, first(&mut self.error_backoff, &self.pods, Place::ErrorBackoff)];
        let ends = ends.into_iter().flatten().map(|end| up(end, self.spec.backoff_flush));
        let waits = first(&mut self.unschedulable, &self.pods, Place::Unschedulable(Plugins::NONE)).map(|since| {
            let late = since.saturating_add(self.spec.unschedulable_timeout);
            up(late.saturating_add(SimDuration::from_nanos(1)), self.spec.unschedulable_flush)
        });
        ends.chain(waits).min().map(|due| due.max(now))
    }
}

type Pods = IndexMap<PodKey, Queued, FxBuildHasher>;

/// The key of the first entry of a heap that is not out of date; entries that are go.
fn first<K: Ord + Copy>(heap: &mut BinaryHeap<Entry<K>>, pods: &Pods, place: Place) -> Option<K> {
    while let Some(&Reverse((key, ticket, pod))) = heap.peek() {
        let holds =
            |q: &Queued| q.ticket == ticket && std::mem::discriminant(&q.place) == std::mem::discriminant(&place);
        if pods.get(&pod).is_some_and(holds) {
            return Some(key);
        }
        heap.pop();
    }
    None
}

/// Takes the first pod of a heap, if its key is due.
fn due<K: Ord + Copy>(
    heap: &mut BinaryHeap<Entry<K>>,
    pods: &Pods,
    place: Place,
    is_due: impl Fn(K) -> bool,
) -> Option<PodKey> {
    let key = first(heap, pods, place)?;
    if !is_due(key) {
        return None;
    }
    heap.pop().map(|Reverse((_, _, pod))| pod)
}
