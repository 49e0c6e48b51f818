//! What a simulated request costs, as a ratio to a bare loop that does the same physics and nothing else.
//!
//! `cargo bench --bench requests` prints the table; with `-- --check` it fails when a bound is missed.
//! Rounds of the rivals alternate, so that a slow minute of the machine slows both; every ratio is the
//! median of the rounds' ratios.
//!
//! * **The bare loop** is written by hand for this: one Poisson stream over ten services (alias table),
//!   the less loaded of two random tasks, log-normal work by the ordinary means (`rand_distr`, the
//!   platform's `exp`), egalitarian processor sharing on one core by attained service, a sorted array of
//!   finish points per task, the next departures in an indexed 4-ary heap, a log-linear histogram
//!   per service. No time-outs, no clients, no limits, nothing that is named in a scenario.
//! * **The data plane** runs ten services of a scenario with everything on: two request classes, CPU work, waiting
//!   outside of the CPU, memory with its limit, errors, a client with time-out, patience, retries, backoff and budget, a
//!   concurrency limit and a bounded accept queue, network time, the balancer (the less loaded of two), its idle
//!   time-out, health checks of every target, and totals that are read every 20 simulated seconds.
//!
//! * **Nodes**: the same data plane with 1,000 tasks without a limit, 20 on each node of 8 vCPU at 85 % of its CPU, so that
//!   what one task wants changes the speed of its neighbours most of the time.
//!
//! Bounds at 1,000 tasks: 3 times the bare loop under the fluid CPU model, 4 times under the quota model (half a
//! vCPU a task, so that the quota binds). From 100 to 10,000 tasks the data plane may grow 1.15 times as
//! much as the bare loop grows. With nodes: 8 times.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp1, LogNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use simctl::kernel::{EventQueue, Fired, Phase, SimDuration, SimTime, Streams};
use simctl::scenario::model::Inputs;
use simctl::traffic::{DataPlane, NodeShare, NodeSlot, NodeSpec, ServerSpec, ServiceTotals, TargetState, TrafficEvent};
use simctl::units::{Cpu, ServerId, ServiceId};

const SERVICES: usize = 10;
const UTILISATION: f64 = 0.7;
/// Mean CPU work of a request, seconds, and its coefficient of variation.
const WORK: f64 = 0.02;
const CV: f64 = 1.0;
const ROUNDS: usize = 7;
const FLUID_BOUND: f64 = 3.0;
const QUOTA_BOUND: f64 = 4.0;
const GROWTH_BOUND: f64 = 1.15;
const NODE_BOUND: f64 = 8.0;
/// Tasks and vCPUs of a node, and its utilisation: more is wanted than there is most of the time.
const TASKS_A_NODE: usize = 20;
const CORES_A_NODE: f64 = 8.0;
const NODE_UTILISATION: f64 = 0.85;
const SIZES: [usize; 3] = [100, 1_000, 10_000];

fn main() -> ExitCode {
    let check = std::env::args().any(|a| a == "--check");
    let given = |name: &str| std::env::args().skip_while(|a| a != name).nth(1);
    if let Some(what) = given("--only") {
        return profile(&what, given("--tasks").and_then(|n| n.parse().ok()).unwrap_or(1_000));
    }
    println!("ns a request, everything on; medians of {ROUNDS} alternating rounds");
    println!("{:>8} {:>8} {:>8} {:>8} {:>7} {:>7}", "tasks", "bare", "fluid", "quota", "fluid/", "quota/");
    let mut rows = Vec::new();
    for tasks in SIZES {
        let requests = 400_000 + 60 * tasks;
        let (mut bare, mut fluid, mut quota) =
            (Bare::new(tasks, 1), Plane::new(tasks, "fluid"), Plane::new(tasks, "quota"));
        // From empty to steady.
        bare.run(requests / 2);
        fluid.run(requests / 2);
        quota.run(requests / 2);
        let rounds: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|_| {
                [
                    time(requests, || bare.run(requests)),
                    time(requests, || fluid.run(requests)),
                    time(requests, || quota.run(requests)),
                ]
            })
            .collect();
        let of = |f: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(f).collect());
        let row = [of(&|r| r[0]), of(&|r| r[1]), of(&|r| r[2]), of(&|r| r[1] / r[0]), of(&|r| r[2] / r[0])];
        println!("{tasks:>8} {:>8.1} {:>8.1} {:>8.1} {:>7.2} {:>7.2}", row[0], row[1], row[2], row[3], row[4]);
        rows.push(row);
    }
    // The ratio to the bare loop at 10,000 over that at 100 tasks.
    let growth = |i: usize| rows[2][i] / rows[0][i];
    println!(
        "\nat 1,000 tasks: fluid {:.2} (bound {FLUID_BOUND}), quota {:.2} (bound {QUOTA_BOUND})",
        rows[1][3], rows[1][4]
    );
    println!(
        "growth from 100 to 10,000 tasks against the bare loop's: fluid {:.2}, quota {:.2} (bound {GROWTH_BOUND})",
        growth(3),
        growth(4)
    );
    let node = node_row();
    let kept = rows[1][3] <= FLUID_BOUND
        && node <= NODE_BOUND
        && rows[1][4] <= QUOTA_BOUND
        && growth(3) <= GROWTH_BOUND
        && growth(4) <= GROWTH_BOUND;
    if check && !kept {
        eprintln!("a bound is missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// 1,000 tasks without a limit, 20 a node that is short of CPU: the ratio to the bare loop.
fn node_row() -> f64 {
    let (tasks, requests) = (1_000, 460_000);
    let (mut bare, mut plane) = (Bare::new(tasks, 1), Plane::new(tasks, "node"));
    bare.run(requests / 2);
    plane.run(requests / 2);
    let before = plane.nodes();
    let rounds: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| [time(requests, || bare.run(requests)), time(requests, || plane.run(requests))]).collect();
    let of = |f: &dyn Fn(&[f64; 2]) -> f64| median(rounds.iter().map(f).collect());
    let ratio = of(&|r| r[1] / r[0]);
    let after = plane.nodes();
    let seconds = after.2 - before.2;
    println!(
        "\n{tasks} tasks, {TASKS_A_NODE} a node of {CORES_A_NODE} vCPU without limits: {:.1} ns a request, {ratio:.2} times the bare \
         loop's {:.1} (bound {NODE_BOUND}); {:.0} % of the cores used, {:.1} vCPU a node wanted and not got",
        of(&|r| r[1]),
        of(&|r| r[0]),
        100.0 * (after.0 - before.0) / seconds / (tasks / TASKS_A_NODE) as f64 / CORES_A_NODE,
        (after.1 - before.1) / seconds / (tasks / TASKS_A_NODE) as f64,
    );
    ratio
}

/// One side alone, for a profiler: `--only bare`, `--only fluid`, `--only quota`, `--only node`, with `--tasks 10000`.
fn profile(what: &str, tasks: usize) -> ExitCode {
    let nanos = if what == "bare" {
        let mut bare = Bare::new(tasks, 1);
        time(2_000_000, || bare.run(2_000_000))
    } else {
        let mut plane = Plane::new(tasks, what);
        time(2_000_000, || plane.run(2_000_000))
    };
    println!("{what}: {nanos:.1} ns a request");
    ExitCode::SUCCESS
}

fn time(requests: usize, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / requests as f64
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// The bare loop.
struct Bare {
    random: Xoshiro256PlusPlus,
    work: LogNormal<f64>,
    alias: Vec<(f64, usize)>,
    tasks: Vec<Task>,
    per_service: usize,
    histograms: Vec<Vec<u64>>,
    departures: Indexed,
    next_arrival: f64,
    rate: f64,
}

#[derive(Clone, Default)]
struct Task {
    attained: f64,
    last: f64,
    /// Finish point and instant of arrival, the earliest finish last.
    jobs: Vec<(f64, f64)>,
}

impl Bare {
    /// Times in seconds; `speed` cores a task.
    fn new(tasks: usize, seed: u64) -> Self {
        let s2 = (1.0 + CV * CV).ln();
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            work: LogNormal::new(WORK.ln() - s2 / 2.0, s2.sqrt()).expect("a valid law"),
            // Equal shares: every cell keeps all of its own, and the look-up costs what it costs.
            alias: (0..SERVICES).map(|i| (1.0, (i + 1) % SERVICES)).collect(),
            tasks: vec![Task::default(); tasks],
            per_service: tasks / SERVICES,
            histograms: vec![vec![0; 64 * 128]; SERVICES],
            departures: Indexed::new(tasks),
            next_arrival: 0.0,
            rate: UTILISATION * tasks as f64 / WORK,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.random.next_u64() >> 32) * n as u64) >> 32) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Runs until so many requests have arrived.
    fn run(&mut self, requests: usize) {
        for _ in 0..requests {
            while self.departures.min() < self.next_arrival {
                self.depart();
            }
            self.arrive();
        }
        black_box(&self.histograms);
    }

    fn arrive(&mut self) {
        let now = self.next_arrival;
        let gap: f64 = Exp1.sample(&mut self.random);
        self.next_arrival = now + gap / self.rate;
        let cell = self.below(SERVICES);
        let (keep, other) = self.alias[cell];
        let service = if self.unit() < keep { cell } else { other };
        let a = self.below(self.per_service);
        let b = self.below(self.per_service - 1);
        let b = b + usize::from(b >= a);
        let base = service * self.per_service;
        let (a, b) = (base + a, base + b);
        let task = if self.tasks[b].jobs.len() < self.tasks[a].jobs.len() { b } else { a };
        let work = self.work.sample(&mut self.random);
        let t = &mut self.tasks[task];
        t.attained = if t.jobs.is_empty() { 0.0 } else { t.attained + (now - t.last) / t.jobs.len() as f64 };
        t.last = now;
        let job = (t.attained + work, now);
        let mut at = t.jobs.len();
        t.jobs.push(job);
        while at > 0 && t.jobs[at - 1].0 < job.0 {
            t.jobs[at] = t.jobs[at - 1];
            at -= 1;
        }
        t.jobs[at] = job;
        let first = t.jobs[t.jobs.len() - 1].0;
        self.departures.set(task, now + (first - t.attained) * t.jobs.len() as f64);
    }

    fn depart(&mut self) {
        let (now, task) = self.departures.first();
        let t = &mut self.tasks[task];
        t.last = now;
        let Some((finish, arrived)) = t.jobs.pop() else { return };
        t.attained = finish;
        let latency = ((now - arrived) * 1e9) as u64 + 128;
        let shift = 56 - latency.leading_zeros();
        self.histograms[task / self.per_service][((shift as usize) << 7) + (latency >> shift) as usize] += 1;
        match t.jobs.last() {
            Some(&(first, _)) => {
                let at = now + (first - t.attained) * t.jobs.len() as f64;
                self.departures.set(task, at);
            }
            None => self.departures.set(task, f64::INFINITY),
        }
    }
}

/// An indexed 4-ary heap that holds every task always.
struct Indexed {
    heap: Vec<(f64, u32)>,
    position: Vec<u32>,
}

impl Indexed {
    fn new(n: usize) -> Self {
        Self { heap: (0..n as u32).map(|i| (f64::INFINITY, i)).collect(), position: (0..n as u32).collect() }
    }

    fn min(&self) -> f64 {
        self.heap[0].0
    }

    fn first(&self) -> (f64, usize) {
        (self.heap[0].0, self.heap[0].1 as usize)
    }

    fn set(&mut self, id: usize, at: f64) {
        let entry = (at, id as u32);
        let mut hole = self.position[id] as usize;
        if at < self.heap[hole].0 {
            while hole > 0 {
                let parent = (hole - 1) / 4;
                if self.heap[parent].0 <= at {
                    break;
                }
                self.place(hole, self.heap[parent]);
                hole = parent;
            }
        } else {
            let len = self.heap.len();
            loop {
                let first = 4 * hole + 1;
                let child = if first + 4 <= len {
                    let c = &self.heap[first..first + 4];
                    let a = usize::from(c[1].0 < c[0].0);
                    let b = 2 + usize::from(c[3].0 < c[2].0);
                    first + if c[b].0 < c[a].0 { b } else { a }
                } else if first < len {
                    (first..len).min_by(|&a, &b| self.heap[a].0.total_cmp(&self.heap[b].0)).unwrap_or(first)
                } else {
                    break;
                };
                if at <= self.heap[child].0 {
                    break;
                }
                self.place(hole, self.heap[child]);
                hole = child;
            }
        }
        self.place(hole, entry);
    }

    fn place(&mut self, hole: usize, entry: (f64, u32)) {
        self.heap[hole] = entry;
        self.position[entry.1 as usize] = hole as u32;
    }
}

#[derive(Clone, Copy)]
enum Event {
    Traffic(TrafficEvent),
    /// The totals are read.
    Read,
}

impl From<TrafficEvent> for Event {
    fn from(event: TrafficEvent) -> Self {
        Self::Traffic(event)
    }
}

/// The data plane with everything on.
struct Plane {
    queue: EventQueue<Event, u32>,
    plane: DataPlane,
    totals: Vec<ServiceTotals>,
    tasks: u64,
    nodes: Vec<NodeSlot>,
    started: u64,
    cpu: f64,
    events: u64,
}

const CHECK_INTERVAL: SimDuration = SimDuration::from_secs(30);
const READ_INTERVAL: SimDuration = SimDuration::from_secs(20);

impl Plane {
    fn new(tasks: usize, model: &str) -> Self {
        let cores = if model == "quota" { 0.5 } else { 1.0 };
        let shared = model == "node";
        let capacity = if shared {
            NODE_UTILISATION * CORES_A_NODE * (tasks / TASKS_A_NODE) as f64
        } else {
            UTILISATION * cores * tasks as f64
        };
        let (cores, model) = if shared { (0.25, "quota") } else { (cores, model) };
        let rate = capacity / WORK / SERVICES as f64;
        let mut text = String::from("[simulation]\nduration = \"1d\"\n[capacity.fargate]\ntype = \"fargate\"\n");
        for service in 0..SERVICES {
            text += &format!(
                r#"
[services.s{service}]
desired_count = {per_service}
capacity.fargate = {{ weight = 1 }}
[services.s{service}.task]
cpu = "{cores} vCPU"
memory = "2 GB"
memory_idle = "200 MB"
cpu_model = "{model}"
concurrency = 64
accept_queue = 128
[services.s{service}.requests.read]
weight = 3
cpu_time = {{ distribution = "lognormal", mean = "{WORK}s", cv = {CV} }}
wait = {{ distribution = "lognormal", mean = "5ms", cv = 1.0 }}
memory = {{ distribution = "exponential", mean = "2 MB" }}
error_rate = 0.001
[services.s{service}.requests.write]
weight = 1
cpu_time = {{ distribution = "lognormal", mean = "{WORK}s", cv = {CV} }}
memory = "3 MB"
[services.s{service}.client]
timeout = "2s"
retries = 2
retry_budget = 0.2
patience = {{ distribution = "exponential", mean = "1s" }}
[services.s{service}.load_balancer]
algorithm = "power_of_choices"
network_latency = {{ distribution = "lognormal", mean = "1ms", cv = 0.3 }}
[services.s{service}.traffic]
rate = [{{ at = "0s", rps = {rate} }}]
"#,
                per_service = tasks / SERVICES
            );
        }
        let plan = match simctl::scenario::from_text("bench.toml", &text) {
            Ok(plan) => plan,
            Err(found) => panic!("the scenario of the bench: {found:?}"),
        };
        let mut plane = DataPlane::new(&plan, &Inputs::default(), &Streams::new(1, 0)).expect("a valid plan");
        let mut queue = EventQueue::new();
        let spec = NodeSpec { cores: Cpu::from_vcpus(CORES_A_NODE as u64), speed: 1.0, credits: None };
        let nodes: Vec<NodeSlot> = match shared {
            true => (0..tasks / TASKS_A_NODE).map(|_| plane.add_node(&mut queue, spec)).collect(),
            false => Vec::new(),
        };
        for (index, service) in plan.services.values().enumerate() {
            for number in 0..tasks / SERVICES {
                // Two tasks of every service on a node.
                let node = nodes.get(number % nodes.len().max(1)).map(|&node| NodeShare {
                    node,
                    weight: service.task.cpu.units() as u32,
                    capped: false,
                });
                let server = plane.add_server(
                    &mut queue,
                    ServerSpec {
                        service: ServiceId::from(index),
                        cpu: service.task.cpu,
                        model: service.task.cpu_model,
                        memory: service.task.memory,
                        memory_idle: service.task.memory_idle,
                        concurrency: service.task.concurrency,
                        accept_queue: service.task.accept_queue,
                        effect: Default::default(),
                        group: 0,
                        node,
                    },
                );
                plane.set_ready(server, true);
                plane.register(&mut queue, server);
                plane.set_target(&mut queue, server, TargetState::Healthy);
                let phase = CHECK_INTERVAL.mul_f64(f64::from(server.0) / tasks as f64);
                // The timer of a server is its next health check.
                queue.set_timer(server.0, SimTime::ZERO + phase, Phase::State);
            }
        }
        plane.start(&mut queue);
        queue.schedule(SimTime::ZERO + READ_INTERVAL, Phase::Scrape, Event::Read);
        let totals = vec![ServiceTotals::default(); SERVICES];
        Self { queue, plane, totals, tasks: tasks as u64, nodes, started: 0, cpu: 0.0, events: 0 }
    }

    /// Runs until so many requests have begun.
    fn run(&mut self, requests: usize) {
        let until = self.started + requests as u64;
        while self.started < until {
            let Some(fired) = self.queue.pop(SimTime::MAX) else { return };
            self.events += 1;
            match fired {
                Fired::Completion(server) => self.plane.complete(&mut self.queue, server),
                Fired::Event(Event::Traffic(event)) => {
                    self.started += u64::from(matches!(event, TrafficEvent::Arrival { .. }));
                    self.plane.handle(&mut self.queue, event);
                }
                Fired::Timer(server) => {
                    let (cost, limit) = (SimDuration::from_millis(1), SimDuration::from_secs(5));
                    self.plane.probe(&mut self.queue, ServerId(server), cost, limit, u64::from(server));
                    let next = self.queue.now() + CHECK_INTERVAL;
                    self.queue.set_timer(server, next, Phase::State);
                }
                Fired::Event(Event::Read) => self.read(),
            }
            if self.plane.has_notices() {
                black_box(self.plane.notices().count());
            }
        }
        black_box(&self.totals);
    }

    /// CPU used on all nodes, CPU wanted and not got, and the time, in seconds.
    fn nodes(&self) -> (f64, f64, f64) {
        let now = self.queue.now();
        let all = self.nodes.iter().map(|&n| self.plane.node_totals(now, n));
        let (busy, steal) = all.fold((0.0, 0.0), |sum, n| (sum.0 + n.busy, sum.1 + n.steal));
        (busy, steal, now.as_nanos() as f64 / 1e9)
    }

    fn read(&mut self) {
        let now = self.queue.now();
        for (service, totals) in self.totals.iter_mut().enumerate() {
            self.plane.drain_totals(now, ServiceId::from(service), totals);
        }
        self.cpu = (0..self.tasks).map(|server| self.plane.cpu_used(now, ServerId(server as u32))).sum();
        self.queue.schedule(now + READ_INTERVAL, Phase::Scrape, Event::Read);
    }
}
