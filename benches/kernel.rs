//! Speed of the kernel, each claim as a ratio measured in one run.
//!
//! `cargo bench --bench kernel` prints the tables; with `-- --check` it fails when a bound is missed.
//! Rounds of the rivals alternate, so that a slow minute of the machine slows both, and the figures
//! are medians over the rounds: nanoseconds differ from machine to machine, ratios hardly.
//!
//! * **M/M/c loop**: 90 arrivals a second to 100 servers that need a second each, first come first
//!   served, two events a job: the whole [`EventQueue`] against a loop written by hand on
//!   `std::collections::BinaryHeap` with 128-bit keys. Bound: 1.5 times.
//! * **Hold**: the earliest entry is taken and put back later, with so many pending: the lane of
//!   one-shot events against `BinaryHeap`. It says what a plain event costs.
//! * **Move**: the deadline of a known id is changed: the lane of completions (ids are array
//!   positions) against the lane of timers (`priority-queue`, any key). It says why there are three
//!   lanes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use priority_queue::PriorityQueue;
use rustc_hash::FxHasher;
use simctl::kernel::{
    DeadlineHeap, EventQueue, Fired, KeyedHeap, Phase, SimDuration, SimTime, Stream, StreamExt, Streams,
};

const ROUNDS: usize = 9;
const MMC_BOUND: f64 = 1.5;

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    assert_eq!(mmc_by_hand(10_000), mmc_on_kernel(10_000), "the two loops simulate the same queue");
    println!("M/M/c, 90/s on 100 servers of 1/s, 400,000 jobs a round, two events a job");
    let (limit, ours, ratio) = duel(|| mmc_by_hand(400_000), || mmc_on_kernel(400_000), 800_000);
    println!("  by hand {limit:6.1} ns/event   kernel {ours:6.1} ns/event   ratio {ratio:.2} (bound {MMC_BOUND})\n");

    println!("Hold: one-shot lane against BinaryHeap, ns a hold");
    for pending in [100_usize, 10_000, 1_000_000] {
        let holds = if pending > 100_000 { 1_000_000 } else { 500_000 };
        let mut heap = filled(pending, BinaryHeap::new(), |heap, key, i| heap.push(Entry(key, i)));
        let mut lane = filled(pending, KeyedHeap::default(), |lane, key, i| lane.push(key, i));
        let (theirs, ours, ratio) = duel(|| hold_binary(&mut heap, holds), || hold_lane(&mut lane, holds), holds);
        println!("  {pending:>9} pending: BinaryHeap {theirs:6.1}   lane {ours:6.1}   ratio {ratio:.2}");
    }

    println!("\nMove of a known entry: completion lane against priority-queue, ns a move");
    for pending in [100_usize, 10_000, 1_000_000] {
        const MOVES: usize = 500_000;
        let mut queue = filled(
            pending,
            PriorityQueue::<u32, Reverse<u128>, BuildHasherDefault<FxHasher>>::default(),
            |queue, key, i| {
                queue.push(i, Reverse(key));
            },
        );
        let mut lane = filled(pending, DeadlineHeap::default(), |lane, key, i| lane.set(i, key));
        let (theirs, ours, ratio) = duel(
            || moves(pending, MOVES, |id, key| _ = queue.change_priority(&id, Reverse(key))),
            || moves(pending, MOVES, |id, key| lane.set(id, key)),
            MOVES,
        );
        println!("  {pending:>9} pending: priority-queue {theirs:6.1}   lane {ours:6.1}   ratio {ratio:.2}");
    }
    if check && ratio > MMC_BOUND {
        eprintln!("the M/M/c loop on the kernel takes {ratio:.2} times the limit written by hand, above {MMC_BOUND}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs two rivals in turn; the median nanoseconds per operation of each, and the median ratio of
/// the second to the first within a round.
fn duel(mut first: impl FnMut() -> u64, mut second: impl FnMut() -> u64, operations: usize) -> (f64, f64, f64) {
    let time = |f: &mut dyn FnMut() -> u64| {
        let start = Instant::now();
        black_box(f());
        start.elapsed().as_secs_f64() * 1e9 / operations as f64
    };
    time(&mut first);
    time(&mut second);
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(&mut first), time(&mut second))).collect();
    let median = |value: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    (median(|r| r.0), median(|r| r.1), median(|r| r.1 / r.0))
}

fn stream() -> Stream {
    Streams::new(7, 0).stream("bench")
}

const fn key(time: u64, sequence: u64) -> u128 {
    ((time as u128) << 64) | sequence as u128
}

/// An entry of the heap written by hand: compared by its key alone, in one 128-bit comparison,
/// which is faster than the derived order of a pair.
#[derive(Clone, Copy)]
struct Entry<V>(u128, V);

impl<V> PartialEq for Entry<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V> Eq for Entry<V> {}

impl<V> PartialOrd for Entry<V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<V> Ord for Entry<V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The earliest is the greatest, because BinaryHeap is a max-heap.
        other.0.cmp(&self.0)
    }
}

#[derive(Clone, Copy)]
enum Event {
    Arrival,
    Departure,
}

const SERVERS: usize = 100;

/// The state of an M/M/c station beside its event queue; `step` is shared by both rivals.
struct Station {
    stream: Stream,
    waiting: VecDeque<u64>,
    busy: usize,
    left: usize,
    waited: u64,
}

impl Station {
    fn new(jobs: usize) -> Self {
        Self { stream: stream(), waiting: VecDeque::new(), busy: 0, left: jobs, waited: 0 }
    }

    fn draw(&mut self, mean: f64) -> u64 {
        SimDuration::from_secs_f64(mean * self.stream.exponential()).as_nanos()
    }

    #[inline(always)]
    fn step(&mut self, now: u64, event: Event, mut schedule: impl FnMut(u64, Event)) {
        match event {
            Event::Arrival => {
                self.left -= 1;
                if self.left > 0 {
                    let next = now + self.draw(1.0 / 90.0);
                    schedule(next, Event::Arrival);
                }
                if self.busy < SERVERS {
                    self.busy += 1;
                    let end = now + self.draw(1.0);
                    schedule(end, Event::Departure);
                } else {
                    self.waiting.push_back(now);
                }
            }
            Event::Departure => match self.waiting.pop_front() {
                Some(since) => {
                    self.waited += now - since;
                    let end = now + self.draw(1.0);
                    schedule(end, Event::Departure);
                }
                None => self.busy -= 1,
            },
        }
    }
}

fn mmc_by_hand(jobs: usize) -> u64 {
    let mut station = Station::new(jobs);
    let mut heap = BinaryHeap::from([Entry(key(0, 0), Event::Arrival)]);
    let mut sequence = 0;
    while let Some(Entry(at, event)) = heap.pop() {
        station.step((at >> 64) as u64, event, |time, event| {
            sequence += 1;
            heap.push(Entry(key(time, sequence), event));
        });
    }
    station.waited
}

fn mmc_on_kernel(jobs: usize) -> u64 {
    let mut station = Station::new(jobs);
    let mut queue: EventQueue<Event, u32> = EventQueue::new();
    queue.schedule(SimTime::ZERO, Phase::Arrival, Event::Arrival);
    while let Some(Fired::Event(event)) = queue.pop(SimTime::MAX) {
        station.step(queue.now().as_nanos(), event, |time, event| {
            queue.schedule(SimTime::from_nanos(time), Phase::Arrival, event);
        });
    }
    station.waited
}

fn filled<Q>(pending: usize, mut queue: Q, mut push: impl FnMut(&mut Q, u128, u32)) -> Q {
    let mut stream = stream();
    for i in 0..pending as u32 {
        push(&mut queue, key((stream.exponential() * 1e9) as u64, u64::from(i)), i);
    }
    queue
}

fn hold_binary(heap: &mut BinaryHeap<Entry<u32>>, holds: usize) -> u64 {
    let mut stream = stream();
    for i in 0..holds {
        if let Some(Entry(at, id)) = heap.pop() {
            let time = (at >> 64) as u64 + (stream.exponential() * 1e9) as u64;
            heap.push(Entry(key(time, (1 << 40) + i as u64), id));
        }
    }
    heap.len() as u64
}

fn hold_lane(lane: &mut KeyedHeap<u32>, holds: usize) -> u64 {
    let mut stream = stream();
    for i in 0..holds {
        if let Some((at, id)) = lane.pop() {
            let time = (at >> 64) as u64 + (stream.exponential() * 1e9) as u64;
            lane.push(key(time, (1 << 40) + i as u64), id);
        }
    }
    lane.len() as u64
}

fn moves(pending: usize, moves: usize, mut set: impl FnMut(u32, u128)) -> u64 {
    let mut stream = stream();
    for i in 0..moves {
        let id = (stream.unit() * pending as f64) as u32;
        set(id, key((stream.exponential() * 1e9) as u64, i as u64));
    }
    moves as u64
}
