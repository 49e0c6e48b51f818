//! Servers that share the CPU of a node, at the door of the data plane: against a slow simulator that is written here on
//! its own, against queueing theory, and with nodes that go while they serve.

use proptest::prelude::*;
use simctl::kernel::{EventQueue, Fired, Phase, SimDuration, SimTime, Streams};
use simctl::scenario::model::{CpuModel, Inputs};
use simctl::traffic::{
    BurstMode, BurstSpec, DataPlane, NodeShare, NodeSlot, NodeSpec, Notice, ServerSpec, ServiceTotals, TargetState,
    TrafficEvent,
};
use simctl::units::{Bytes, Cpu, ServerId, ServiceId};

const SERVICE: ServiceId = ServiceId(0);
const SECOND: u64 = 1_000_000_000;
/// 1/8 vCPU, in which servers are drawn.
const EIGHTH: u64 = Cpu::PER_VCPU / 8;

/// What a test schedules for itself.
#[derive(Clone, Copy, Debug)]
enum Event {
    Traffic(TrafficEvent),
    Job(usize),
    RemoveNode(usize),
}

impl From<TrafficEvent> for Event {
    fn from(event: TrafficEvent) -> Self {
        Self::Traffic(event)
    }
}

/// A data plane and its events.
struct World {
    plane: DataPlane,
    queue: EventQueue<Event, ()>,
    /// Health checks that were answered: token and instant.
    done: Vec<(u64, u64)>,
    /// Work of the health checks that stand for jobs: server and nanoseconds.
    jobs: Vec<(ServerId, u64)>,
    nodes: Vec<NodeSlot>,
}

fn world(traffic: &str) -> World {
    let text = format!(
        "[simulation]\nduration = \"1d\"\nseed = 5\n\
         [services.web]\n\
         [services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\n\
         [services.web.load_balancer]\nnetwork_latency = \"0s\"\nidle_timeout = \"4000s\"\n{traffic}"
    );
    let plan = simctl::scenario::from_text("nodes.toml", &text).expect("a sound scenario");
    let plane = DataPlane::new(&plan, &Inputs::default(), &Streams::new(5, 0)).expect("a data plane");
    World { plane, queue: EventQueue::new(), done: Vec::new(), jobs: Vec::new(), nodes: Vec::new() }
}

impl World {
    fn node(&mut self, cores: Cpu, speed: f64, credits: Option<BurstSpec>) -> NodeSlot {
        let slot = self.plane.add_node(&mut self.queue, NodeSpec { cores, speed, credits });
        self.nodes.push(slot);
        slot
    }

    fn server(&mut self, cpu: Cpu, model: CpuModel, node: Option<NodeShare>) -> ServerId {
        let spec = ServerSpec {
            service: SERVICE,
            cpu,
            model,
            memory: Bytes::from_gib(2),
            memory_idle: Bytes::ZERO,
            concurrency: None,
            accept_queue: None,
            effect: Default::default(),
            group: 0,
            node,
        };
        let server = self.plane.add_server(&mut self.queue, spec);
        self.plane.set_ready(server, true);
        server
    }

    /// A server without a limit and with this weight.
    fn open(&mut self, node: NodeSlot, weight: u32) -> ServerId {
        self.server(
            Cpu::from_units(u64::from(weight)),
            CpuModel::Quota,
            Some(NodeShare { node, weight, capped: false }),
        )
    }

    /// A job of exactly this work at an instant.
    fn job(&mut self, server: ServerId, at: u64, work: u64) {
        self.queue.schedule(SimTime::from_nanos(at), Phase::Arrival, Event::Job(self.jobs.len()));
        self.jobs.push((server, work));
    }

    /// Into the balancer, healthy.
    fn serve(&mut self, server: ServerId) {
        self.plane.register(&mut self.queue, server);
        self.plane.set_target(&mut self.queue, server, TargetState::Healthy);
    }

    fn run(&mut self, until: u64) {
        while let Some(fired) = self.queue.pop(SimTime::from_nanos(until)) {
            match fired {
                Fired::Completion(server) => self.plane.complete(&mut self.queue, server),
                Fired::Event(Event::Traffic(event)) => self.plane.handle(&mut self.queue, event),
                Fired::Event(Event::Job(job)) => {
                    let (server, work) = self.jobs[job];
                    let never = SimDuration::from_secs(1_000_000);
                    self.plane.probe(&mut self.queue, server, SimDuration::from_nanos(work), never, job as u64);
                }
                Fired::Event(Event::RemoveNode(node)) => {
                    let slot = self.nodes[node];
                    self.plane.remove_node(&mut self.queue, slot);
                }
                Fired::Timer(()) => {}
            }
            let now = self.queue.now().as_nanos();
            for notice in self.plane.notices() {
                if let Notice::Probe { token, ok: true, .. } = notice {
                    self.done.push((token, now));
                }
            }
        }
    }

    fn used(&self, server: ServerId) -> f64 {
        self.plane.cpu_used(self.queue.now(), server)
    }

    fn totals(&mut self) -> ServiceTotals {
        let mut totals = ServiceTotals::default();
        self.plane.drain_totals(self.queue.now(), SERVICE, &mut totals);
        totals
    }
}

/// A server of a random world. CPU in eighths of a vCPU.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    cpu: u64,
    weight: u32,
    capped: bool,
    fluid: bool,
    background: u64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let background = prop_oneof![4 => Just(0u64), 1 => 1u64..20];
    (1u64..20, 2u32..3_000, any::<bool>(), any::<bool>(), background)
        .prop_map(|(cpu, weight, capped, fluid, background)| Drawn { cpu, weight, capped, fluid, background })
}

/// The slow simulator: everything is looked at anew at every event.
struct Slow {
    cores: f64,
    speed: f64,
    servers: Vec<SlowServer>,
    now: f64,
    done: Vec<(u64, f64)>,
}

struct SlowServer {
    weight: f64,
    visible: f64,
    /// CPU of a period, when it may bind.
    quota: Option<f64>,
    left: f64,
    background: f64,
    /// Number and remaining work, nanoseconds.
    jobs: Vec<(u64, f64)>,
    used: f64,
    stolen: f64,
}

const PERIOD: f64 = 1e8;

impl Slow {
    /// By sorting: servers are served in the order of demand over weight.
    fn shares(&self, demands: &[f64]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..demands.len()).collect();
        let ratio = |i: usize| demands[i] / self.servers[i].weight;
        order.sort_by(|&a, &b| ratio(a).total_cmp(&ratio(b)));
        let (mut rest, mut weights) = (self.cores, self.servers.iter().map(|s| s.weight).sum::<f64>());
        let mut given = vec![0.0; demands.len()];
        for i in order {
            given[i] = demands[i].min(rest * self.servers[i].weight / weights);
            rest -= given[i];
            weights -= self.servers[i].weight;
        }
        given
    }

    /// Until an instant, without arrivals before it.
    fn advance(&mut self, until: f64) {
        while self.now < until {
            let demands: Vec<f64> = self
                .servers
                .iter()
                .map(|s| {
                    let stalled = s.quota.is_some() && s.left <= 1e-3;
                    if stalled { 0.0 } else { (s.jobs.len() as f64 + s.background).min(s.visible) }
                })
                .collect();
            let given = self.shares(&demands);
            // Work is conserved, nobody gets more than is wanted, and who is short has no less for its weight than others.
            let (all, wanted) = (given.iter().sum::<f64>(), demands.iter().sum::<f64>());
            assert!((all - wanted.min(self.cores)).abs() < 1e-9);
            let rates: Vec<f64> = self
                .servers
                .iter()
                .zip(&given)
                .map(|(s, &c)| {
                    let (n, b) = (s.jobs.len() as f64, s.background);
                    let even = c / (n + b.ceil());
                    let rate = if n + b <= c + 1e-12 {
                        1.0
                    } else if even * b.ceil() <= b {
                        even
                    } else {
                        (c - b) / n
                    };
                    if c == 0.0 { 0.0 } else { rate * self.speed }
                })
                .collect();
            let mut step = until - self.now;
            let boundary = ((self.now / PERIOD + 1e-9).floor() + 1.0) * PERIOD;
            let quotas = self.servers.iter().any(|s| s.quota.is_some());
            let to_boundary = boundary - self.now;
            if quotas {
                step = step.min(to_boundary);
            }
            for ((s, &rate), &c) in self.servers.iter().zip(&rates).zip(&given) {
                if s.quota.is_some() && c > 0.0 {
                    step = step.min(s.left / c);
                }
                for job in &s.jobs {
                    if rate > 0.0 {
                        step = step.min(job.1 / rate);
                    }
                }
            }
            // What is used up with the period is used up at its end.
            let period_ends = quotas && to_boundary - step < 1e-2;
            self.now = if period_ends { boundary } else { self.now + step };
            let now = self.now;
            for (i, s) in self.servers.iter_mut().enumerate() {
                s.used += given[i] * step;
                s.stolen += (demands[i] - given[i]) * step;
                s.left -= given[i] * step;
                if period_ends {
                    s.left = s.quota.unwrap_or(0.0);
                }
                for job in &mut s.jobs {
                    job.1 -= rates[i] * step;
                }
                let done = &mut self.done;
                s.jobs.retain(|job| {
                    if job.1 <= 1e-3 {
                        done.push((job.0, now));
                    }
                    job.1 > 1e-3
                });
            }
        }
        self.now = until;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Every job of a random node ends when the slow simulator says so, with hard limits and without, backgrounds and
    /// speeds; use and steal agree with it at the end.
    #[test]
    fn jobs_end_as_in_the_slow_simulator(
        cores in 4u64..40,
        speed in prop_oneof![Just(1.0), 0.5f64..1.5],
        burst in any::<bool>(),
        servers in prop::collection::vec(drawn(), 1..7),
        jobs in prop::collection::vec((any::<prop::sample::Index>(), 0u64..2_000_000_000, 1_000_000u64..300_000_000), 1..60),
    ) {
        let mut w = world("");
        // Credits that never run out change nothing, but the node is kept up with from the beginning.
        let unlimited = BurstSpec { baseline: 0.2, launch_credits: 0.0, mode: BurstMode::Unlimited };
        let node = w.node(Cpu::from_parts(cores * EIGHTH), speed, burst.then_some(unlimited));
        let mut slow = Slow { cores: cores as f64 / 8.0, speed, servers: Vec::new(), now: 0.0, done: Vec::new() };
        let mut ids = Vec::new();
        for d in &servers {
            let model = if d.fluid { CpuModel::Fluid } else { CpuModel::Quota };
            let share = NodeShare { node, weight: d.weight, capped: d.capped };
            let id = w.server(Cpu::from_parts(d.cpu * EIGHTH), model, Some(share));
            w.plane.set_background(&mut w.queue, id, Cpu::from_parts(d.background * EIGHTH));
            ids.push(id);
            let cpu = d.cpu as f64 / 8.0;
            let limit = if !d.capped { f64::INFINITY } else if d.fluid { cpu } else { cpu.ceil() };
            let quota = (d.capped && limit > cpu).then_some(cpu * PERIOD);
            slow.servers.push(SlowServer {
                weight: f64::from(d.weight),
                visible: limit.min(slow.cores),
                quota,
                left: quota.unwrap_or(0.0),
                background: d.background as f64 / 8.0,
                jobs: Vec::new(),
                used: 0.0,
                stolen: 0.0,
            });
        }
        let mut arrivals: Vec<(u64, usize, u64)> =
            jobs.iter().map(|(i, at, work)| (*at, i.index(servers.len()), *work)).collect();
        arrivals.sort_unstable();
        for &(at, server, work) in &arrivals {
            w.job(ids[server], at, work);
        }
        let end = 3 * SECOND;
        for (number, &(at, server, work)) in arrivals.iter().enumerate() {
            slow.advance(at as f64);
            slow.servers[server].jobs.push((number as u64, work as f64));
        }
        slow.advance(end as f64);
        w.run(end);
        let mut got = w.done.clone();
        got.sort_unstable();
        let mut want = slow.done.clone();
        want.sort_by_key(|d| d.0);
        // A job that ends within rounding of the end of the look may be on either side.
        let inside = |at: f64| at < end as f64 - 1e5;
        let got: Vec<_> = got.into_iter().filter(|d| inside(d.1 as f64)).collect();
        let want: Vec<_> = want.into_iter().filter(|d| inside(d.1)).collect();
        prop_assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            prop_assert_eq!(g.0, w.0);
            prop_assert!((g.1 as f64 - w.1).abs() < 10_000.0, "job {} ends at {} instead of {}", g.0, g.1, w.1);
        }
        for (id, s) in ids.iter().zip(&slow.servers) {
            let used = w.used(*id);
            prop_assert!((used - s.used / 1e9).abs() < 1e-4, "{} used instead of {}", used, s.used / 1e9);
            let stolen = w.plane.cpu_stolen(w.queue.now(), *id);
            prop_assert!((stolen - s.stolen / 1e9).abs() < 1e-4, "{} stolen instead of {}", stolen, s.stolen / 1e9);
        }
        let totals = w.plane.node_totals(w.queue.now(), node);
        let used: f64 = ids.iter().map(|id| w.used(*id)).sum();
        prop_assert!((totals.busy - used).abs() < 1e-9);
        prop_assert!(totals.busy <= cores as f64 / 8.0 * 3.0 + 1e-6);
        if burst {
            let owed = used - 0.2 * cores as f64 / 8.0 * 3.0;
            prop_assert!((totals.surplus * 60.0 - owed.max(0.0)).abs() < 1e-3 || owed < 0.3, "{:?}", totals);
        }
    }

    /// Nodes go while requests are under way: every request is answered, lost, or still there.
    #[test]
    fn requests_are_conserved_when_nodes_go(
        seed in 0u64..1_000,
        rate in 5u64..200,
        removals in prop::collection::vec((0usize..4, 0u64..20_000_000_000), 0..5),
        capped in any::<bool>(),
        cancel in any::<bool>(),
    ) {
        let mut w = world(&format!(
            "[services.web.requests.page]\ncpu_time = {{ distribution = \"exponential\", mean = \"30ms\" }}\n\
             wait = {{ distribution = \"exponential\", mean = \"{}ms\" }}\n\
             [services.web.client]\ntimeout = \"1s\"\nretries = 2\ncancel_on_timeout = {cancel}\n\
             [services.web.traffic]\nrate = [{{ at = \"0s\", rps = {rate} }}]\n",
            1 + seed % 50,
        ));
        let mut servers = Vec::new();
        for _ in 0..4 {
            let node = w.node(Cpu::from_vcpus(1), 1.0, None);
            for weight in [256, 512] {
                let share = NodeShare { node, weight, capped };
                let server = w.server(Cpu::from_units(640), CpuModel::Quota, Some(share));
                w.serve(server);
                servers.push((node, server));
            }
        }
        for &(node, at) in &removals {
            w.queue.schedule(SimTime::from_nanos(at), Phase::State, Event::RemoveNode(node));
        }
        w.plane.start(&mut w.queue);
        w.run(20 * SECOND);
        let totals = w.totals();
        prop_assert_eq!(totals.started, totals.succeeded + totals.failed.total() + totals.in_flight);
        prop_assert_eq!(totals.in_flight, w.plane.in_flight(SERVICE));
        let now = w.queue.now();
        for (slot, node) in w.nodes.clone().into_iter().enumerate() {
            let gone = removals.iter().any(|r| r.0 == slot);
            let of_node = w.plane.node_totals(now, node);
            prop_assert_eq!(of_node.servers, if gone { 0 } else { 2 });
            prop_assert!(of_node.busy <= 20.0 + 1e-6);
            for (_, server) in servers.iter().filter(|s| s.0 == node) {
                if gone {
                    prop_assert_eq!(w.plane.outstanding(*server), 0);
                }
                w.plane.remove_server(&mut w.queue, *server);
            }
        }
        // Nobody serves: what is still under way ends as failures.
        w.run(21 * SECOND);
        let after = w.totals();
        prop_assert_eq!(totals.in_flight + after.started, after.succeeded + after.failed.total() + after.in_flight);
        prop_assert_eq!(after.succeeded, 0);
    }
}

#[test]
fn saturated_servers_share_by_weight() {
    for (weights, shares) in [([512, 512], [0.5, 0.5]), ([1_024, 512], [2.0 / 3.0, 1.0 / 3.0]), ([2, 6], [0.25, 0.75])]
    {
        let mut w = world("");
        let node = w.node(Cpu::from_vcpus(4), 1.0, None);
        let servers = weights.map(|weight| w.open(node, weight));
        for server in servers {
            for _ in 0..8 {
                w.job(server, 0, 100 * SECOND);
            }
        }
        w.run(10 * SECOND);
        for (server, share) in servers.into_iter().zip(shares) {
            assert!((w.used(server) - 40.0 * share).abs() < 1e-6, "{}", w.used(server));
            // Both want all four cores.
            assert!((w.plane.cpu_stolen(w.queue.now(), server) - 40.0 * (1.0 - share)).abs() < 1e-6);
        }
        let totals = w.plane.node_totals(w.queue.now(), node);
        assert!((totals.busy - 40.0).abs() < 1e-6 && (totals.steal - 40.0).abs() < 1e-6);
        assert_eq!((totals.servers, totals.capacity), (2, 4.0));
    }
}

#[test]
fn what_one_leaves_the_others_get() {
    let mut w = world("");
    let node = w.node(Cpu::from_vcpus(4), 1.0, None);
    let [a, b, c] = [1_024, 1_024, 2_048].map(|weight| w.open(node, weight));
    // `c` may have two cores and wants one; `a` and `b` share the other three.
    w.job(c, 0, 10 * SECOND);
    for server in [a, b] {
        for _ in 0..4 {
            w.job(server, 0, 10 * SECOND);
        }
    }
    w.run(4 * SECOND);
    assert!((w.used(c) - 4.0).abs() < 1e-6);
    assert!((w.used(a) - 6.0).abs() < 1e-6 && (w.used(b) - 6.0).abs() < 1e-6);
    // A neighbour that goes leaves its part to the one that stays.
    w.plane.remove_server(&mut w.queue, a);
    w.run(5 * SECOND);
    assert!((w.used(b) - 9.0).abs() < 1e-6, "{}", w.used(b));
    assert!((w.plane.node_totals(w.queue.now(), node).busy - 20.0).abs() < 1e-6);
}

#[test]
fn an_idle_node_gives_more_than_was_reserved() {
    let mut w = world("");
    let node = w.node(Cpu::from_vcpus(2), 1.0, None);
    let open = w.open(node, 512);
    for _ in 0..4 {
        w.job(open, 0, SECOND);
    }
    w.run(SECOND);
    // 512 units on two vCPUs: 400 % of the reservation.
    assert!((w.used(open) - 2.0).abs() < 1e-9);
    // A request uses one core at most.
    let lone = w.open(node, 512);
    w.run(3 * SECOND);
    let before = w.used(lone);
    w.job(lone, 3 * SECOND, SECOND);
    w.run(3 * SECOND + SECOND / 2);
    assert!((w.used(lone) - before - 0.5).abs() < 1e-9);
}

#[test]
fn a_hard_limit_holds_on_an_idle_node_and_stalls() {
    let mut w = world("");
    let node = w.node(Cpu::from_vcpus(8), 1.0, None);
    let share = NodeShare { node, weight: 512, capped: true };
    let capped = w.server(Cpu::from_units(512), CpuModel::Quota, Some(share));
    for _ in 0..4 {
        w.job(capped, 0, SECOND);
    }
    w.run(4 * SECOND);
    assert!((w.used(capped) - 2.0).abs() < 1e-6);
    // Half of each period it stands still.
    assert!((w.plane.cpu_throttled(w.queue.now(), capped) - 2.0).abs() < 1e-6);
    assert_eq!(w.plane.cpu_stolen(w.queue.now(), capped), 0.0);
}

#[test]
fn a_faster_node_does_more_in_the_same_cpu_time() {
    let mut w = world("");
    for speed in [1.0, 1.25, 0.8] {
        let node = w.node(Cpu::from_vcpus(2), speed, None);
        let server = w.open(node, 1_024);
        w.job(server, 0, SECOND);
        // The speed of an incident comes on top and goes again.
        w.plane.set_speed(&mut w.queue, server, 0.5);
        w.plane.set_speed(&mut w.queue, server, 1.0);
    }
    w.run(2 * SECOND);
    let ends: Vec<u64> = w.done.iter().map(|d| d.1 / 1_000_000).collect();
    assert_eq!(ends, [800, 1_000, 1_250]);
}

#[test]
fn a_fault_of_the_network_leaves_a_server_on_its_node() {
    let mut w = world("");
    let node = w.node(Cpu::from_vcpus(1), 1.0, None);
    let [a, b] = [512, 512].map(|weight| w.open(node, weight));
    for server in [a, b] {
        w.job(server, 0, SECOND);
    }
    w.run(SECOND);
    w.plane.set_network(a, 0.5, SimDuration::from_millis(5));
    w.run(3 * SECOND);
    assert_eq!(w.done.iter().map(|d| d.1).collect::<Vec<_>>(), [2 * SECOND, 2 * SECOND]);
    assert!((w.used(a) - 1.0).abs() < 1e-9 && (w.used(b) - 1.0).abs() < 1e-9);
}

/// Probability that an arrival waits in M/M/n at `load` erlangs.
fn erlang_c(n: u32, load: f64) -> f64 {
    let blocked = (1..=n).fold(1.0, |b, k| load * b / (f64::from(k) + load * b));
    blocked / (1.0 - load / f64::from(n) * (1.0 - blocked))
}

#[test]
fn a_lone_server_on_n_cores_is_m_m_n_with_processor_sharing() {
    for (n, load) in [(1, 0.7), (4, 3.2), (16, 14.0)] {
        let rate = load / 0.02;
        let mut w = world(&format!(
            "[services.web.requests.page]\ncpu_time = {{ distribution = \"exponential\", mean = \"20ms\" }}\n\
             [services.web.traffic]\nrate = [{{ at = \"0s\", rps = {rate} }}]\n"
        ));
        let node = w.node(Cpu::from_vcpus(u64::from(n)), 1.0, None);
        let server = w.open(node, 256);
        w.serve(server);
        w.plane.start(&mut w.queue);
        w.run(100 * SECOND);
        w.totals();
        let from = w.used(server);
        let seconds = (600_000.0 / rate) as u64;
        w.run((100 + seconds) * SECOND);
        let totals = w.totals();
        let mean = totals.latency.mean().expect("requests") / 1e9;
        let theory = 0.02 * (1.0 + erlang_c(n, load) / (f64::from(n) - load));
        assert!((mean / theory - 1.0).abs() < 0.03, "{n} cores: {mean} instead of {theory}");
        let used = (w.used(server) - from) / seconds as f64;
        assert!((used / load - 1.0).abs() < 0.02, "{n} cores: {used} used instead of {load}");
    }
}

#[test]
fn two_services_of_equal_weight_pool_their_cores_as_one_would() {
    // With one core and equal demands of at most one each, two servers that share by weight work as much as one: the total
    // number present is that of one queue, whatever the split.
    let mut w = world(
        "[services.web.requests.page]\ncpu_time = { distribution = \"exponential\", mean = \"20ms\" }\n\
         [services.web.traffic]\nrate = [{ at = \"0s\", rps = 40 }]\n",
    );
    let node = w.node(Cpu::from_vcpus(1), 1.0, None);
    for weight in [128, 1_024] {
        let server = w.open(node, weight);
        w.serve(server);
    }
    w.plane.start(&mut w.queue);
    w.run(50 * SECOND);
    w.totals();
    w.run(12_050 * SECOND);
    let totals = w.totals();
    // Exponential work: any order that keeps the core busy has the same number present, so the same mean.
    let mean = totals.latency.mean().expect("requests") / 1e9;
    assert!((mean / 0.1 - 1.0).abs() < 0.03, "{mean}");
}

#[test]
fn a_node_without_credits_comes_down_to_its_baseline() {
    let mut w = world("");
    // A t3.micro.
    let spec = BurstSpec { baseline: 0.1, launch_credits: 0.0, mode: BurstMode::Standard };
    let node = w.node(Cpu::from_vcpus(2), 1.0, Some(spec));
    let server = w.open(node, 1_024);
    // An hour idle earns twelve credits; then two busy threads spend two a minute and earn 0.2.
    let hour = 3_600 * SECOND;
    for _ in 0..2 {
        w.job(server, hour, 100 * hour);
    }
    w.run(hour);
    let totals = w.plane.node_totals(w.queue.now(), node);
    assert!((totals.credits - 12.0).abs() < 1e-6, "{totals:?}");
    // 13.5 are spent on the line from both vCPUs down to the baseline, which takes a quarter of an hour: the twelve are
    // on it already.
    let totals_at = |w: &mut World, minutes: f64| {
        w.run(hour + (minutes * 60.0) as u64 * SECOND);
        w.plane.node_totals(w.queue.now(), node)
    };
    let left = 15.0 * (12.0_f64 / 13.5).sqrt();
    for minutes in [1.0, 5.0, 10.0] {
        let line = 0.2 + 1.8 * (left - minutes) / 15.0;
        let totals = totals_at(&mut w, minutes);
        assert!((totals.capacity - line).abs() < 0.05, "{line}: {totals:?}");
    }
    let totals = totals_at(&mut w, 60.0);
    assert!((totals.capacity - 0.2).abs() < 0.01, "{totals:?}");
    // All that was earned in two hours is spent, and no more.
    assert!((totals.busy - 24.0 * 60.0).abs() < 1.0, "{totals:?}");
    assert!((totals.throttled - 3_600.0).abs() < 1.0, "{totals:?}");
    assert_eq!(totals.surplus_charged, 0.0);
}

#[test]
fn an_unlimited_node_owes_and_pays() {
    let mut w = world("");
    // A t4g.nano.
    let spec = BurstSpec { baseline: 0.05, launch_credits: 0.0, mode: BurstMode::Unlimited };
    let node = w.node(Cpu::from_vcpus(2), 1.0, Some(spec));
    let server = w.open(node, 1_024);
    let hour = 3_600 * SECOND;
    for _ in 0..2 {
        w.job(server, 0, 2 * hour);
    }
    w.run(hour);
    let totals = w.plane.node_totals(w.queue.now(), node);
    assert!((totals.surplus - 114.0).abs() < 1e-6 && totals.surplus_charged == 0.0, "{totals:?}");
    w.run(3 * hour);
    let totals = w.plane.remove_node(&mut w.queue, node);
    // 240 credits used and 12 earned in two hours, 6 more earned in the idle one.
    assert!((totals.surplus_charged - (240.0 - 18.0) / 60.0).abs() < 1e-6, "{totals:?}");
    assert!((totals.busy - 14_400.0).abs() < 1e-3);
    assert_eq!(w.plane.node_totals(w.queue.now(), node).servers, 0);
    // The slot is used again, and stale events of the old node do nothing to the new one.
    let again = w.node(Cpu::from_vcpus(1), 1.0, None);
    assert_eq!(again, node);
}
