//! Services that call services, through the whole data plane: nothing is lost, no limit is passed, and everything is given back at the
//! end.

use std::fmt::Write as _;

use proptest::prelude::*;
use simctl::kernel::{EventQueue, Fired, SimDuration, SimTime, Streams};
use simctl::scenario::model::{Inputs, Plan};
use simctl::traffic::{CallTotals, DataPlane, DependencyTotals, ServerSpec, ServiceTotals, TargetState, TrafficEvent};
use simctl::units::{ServerId, ServiceId};

/// The data plane of a scenario with its tasks, without a control plane.
struct World {
    plan: Plan,
    plane: DataPlane,
    events: EventQueue<TrafficEvent, ()>,
    /// The servers of each service.
    servers: Vec<Vec<ServerId>>,
    services: Vec<ServiceTotals>,
    calls: Vec<CallTotals>,
    dependencies: Vec<DependencyTotals>,
}

impl World {
    fn new(scenario: &str) -> Self {
        let plan = simctl::scenario::from_text("calls.toml", scenario)
            .unwrap_or_else(|found| panic!("the scenario is refused: {found:?}\n{scenario}"));
        let plane = DataPlane::new(&plan, &Inputs::default(), &Streams::new(plan.simulation.seed, 0)).expect("a plane");
        let mut world = Self {
            servers: vec![Vec::new(); plan.services.len()],
            services: vec![ServiceTotals::default(); plan.services.len()],
            calls: vec![CallTotals::default(); plane.call_edges().count()],
            dependencies: vec![DependencyTotals::default(); plane.dependency_count()],
            plan,
            plane,
            events: EventQueue::new(),
        };
        for service in 0..world.plan.services.len() {
            for _ in 0..world.plan.services[service].desired_count {
                world.add(service);
            }
        }
        world.plane.start(&mut world.events);
        world
    }

    /// Adds a task that serves.
    fn add(&mut self, service: usize) -> ServerId {
        let task = &self.plan.services[service].task;
        let spec = ServerSpec {
            service: ServiceId(service as u32),
            cpu: task.cpu,
            model: task.cpu_model,
            memory: task.memory,
            memory_idle: task.memory_idle,
            concurrency: task.concurrency,
            accept_queue: task.accept_queue,
            effect: Default::default(),
            group: 0,
            node: None,
        };
        let server = self.plane.add_server(&mut self.events, spec);
        self.plane.set_ready(server, true);
        self.plane.publish(&mut self.events, server);
        self.plane.register(&mut self.events, server);
        self.plane.set_target(&mut self.events, server, TargetState::Healthy);
        self.servers[service].push(server);
        server
    }

    /// Ends the oldest task of a service without warning.
    fn kill(&mut self, service: usize) {
        let server = self.servers[service].remove(0);
        self.plane.kill(&mut self.events, server);
        self.plane.remove_server(&mut self.events, server);
    }

    fn run(&mut self, until: f64) {
        let until = SimTime::ZERO + SimDuration::from_secs_f64(until);
        while let Some(fired) = self.events.pop(until) {
            match fired {
                Fired::Completion(server) => self.plane.complete(&mut self.events, server),
                Fired::Event(event) => self.plane.handle(&mut self.events, event),
                Fired::Timer(()) => {}
            }
            for (i, d) in self.plan.dependencies.values().enumerate() {
                let most = d.max_connections.unwrap_or(u32::MAX);
                assert!(self.plane.dependency_connections(i) <= most, "more than {most} connections");
            }
        }
        for (i, t) in self.services.iter_mut().enumerate() {
            self.plane.drain_totals(until, ServiceId(i as u32), t);
        }
        for (i, t) in self.calls.iter_mut().enumerate() {
            self.plane.drain_calls(i, t);
        }
        for (i, t) in self.dependencies.iter_mut().enumerate() {
            self.plane.drain_dependency(until, i, t);
        }
        self.conserved();
    }

    /// What began has ended or is under way: for each service, each call and each dependency.
    fn conserved(&self) {
        for t in self.services.iter().chain(self.dependencies.iter().map(|d| &d.calls)) {
            assert_eq!(t.started, t.succeeded + t.failed.total() + t.in_flight);
            assert_eq!(t.latency_all.count(), t.succeeded + t.failed.total());
        }
        for (i, t) in self.calls.iter().enumerate() {
            assert_eq!(t.calls, t.succeeded + t.failed.total() + t.in_flight, "edge {i}");
            // Every attempt is a first one or a retry; some of either never found a place in a pool.
            assert!(t.attempts <= t.calls + t.retries, "edge {i}");
            assert_eq!(t.latency.count(), t.succeeded, "edge {i}");
        }
        // A service's requests are those from outside and the calls of others.
        for (service, t) in self.services.iter().enumerate() {
            let called: u64 = self.edges_to(service).map(|i| self.calls[i].calls).sum();
            assert!(t.started >= called);
        }
    }

    fn edges_to(&self, callee: usize) -> impl Iterator<Item = usize> + '_ {
        let edges = self.plane.call_edges().enumerate();
        edges.filter(move |(_, (_, to))| to.index() == callee).map(|(i, _)| i)
    }

    /// Nothing is under way any more and nothing is held.
    fn drained(&self) {
        for (service, servers) in self.servers.iter().enumerate() {
            let id = ServiceId(service as u32);
            assert_eq!(self.plane.in_flight(id), 0, "in flight at service {service}");
            for &server in servers {
                assert_eq!(self.plane.outstanding(server), 0, "left in a task of service {service}");
            }
        }
        for (i, t) in self.calls.iter().enumerate() {
            assert_eq!(t.in_flight, 0, "calls of edge {i}");
        }
        for (d, t) in self.plan.dependencies.values().zip(&self.dependencies) {
            assert_eq!(t.calls.in_flight, 0);
            assert!(t.connections_peak <= d.max_connections.unwrap_or(u32::MAX));
        }
    }
}

const HEAD: &str = "[simulation]\nduration = \"1h\"\nseed = 11\n";

fn service(name: &str, count: u32, cpu_time: &str, rest: &str) -> String {
    format!(
        "[services.{name}]\ndesired_count = {count}\n[services.{name}.task]\ncpu = 1024\nmemory = \"2 GB\"\n{rest}\n\
         [services.{name}.requests.job]\ncpu_time = \"{cpu_time}\"\n"
    )
}

fn traffic(name: &str, rps: f64, seconds: u64) -> String {
    format!(
        "[services.{name}.traffic]\nrate = [{{ at = \"0s\", rps = {rps:?} }}, {{ at = \"{seconds}s\", rps = {rps:?} }}, {{ at = \
         \"{seconds}s\", rps = 0 }}]\n"
    )
}

/// Mean latency of the whole requests of a service, ms.
fn mean_ms(t: &ServiceTotals) -> f64 {
    t.latency.mean().expect("a latency") / 1e6
}

#[test]
fn stages_follow_one_another_and_the_calls_of_one_are_made_at_once() {
    // Alone in the world: 9 ms of work before, 6 ms after, and 1 ms of network for every request.
    let text = |stage: u32| {
        let mut s = HEAD.to_owned() + &service("front", 1, "15ms", "") + &traffic("front", 0.5, 1_000);
        s = s.replace("cpu_time = \"15ms\"", "cpu_time = \"15ms\"\ncpu_before_calls = 0.6");
        s += &service("a", 1, "20ms", "");
        s += &service("b", 1, "30ms", "");
        s += &format!("[services.front.calls.a]\n[services.front.calls.b]\nstage = {stage}\n");
        s
    };
    let mut side_by_side = World::new(&text(1));
    side_by_side.run(2_000.0);
    side_by_side.drained();
    assert!((mean_ms(&side_by_side.services[0]) - (15.0 + 1.0 + 31.0)).abs() < 0.5);
    let mut one_by_one = World::new(&text(2));
    one_by_one.run(2_000.0);
    assert!((mean_ms(&one_by_one.services[0]) - (15.0 + 1.0 + 21.0 + 31.0)).abs() < 0.5);
    // The callers' CPU work is done once, whatever they wait for.
    let used = one_by_one.plane.cpu_used(SimTime::from_secs(2_000), one_by_one.servers[0][0]);
    assert!((used - 0.015 * one_by_one.services[0].started as f64).abs() < 1e-6, "{used}");
}

#[test]
fn several_calls_are_made_at_once_or_in_turn() {
    let text = |repeat: &str| {
        HEAD.to_owned()
            + &service("front", 1, "1ms", "")
            + &traffic("front", 0.5, 1_000)
            + &service("a", 8, "20ms", "")
            + &format!("[services.front.calls.a]\ncount = 4\nrepeat = \"{repeat}\"\n")
    };
    let mut parallel = World::new(&text("parallel"));
    parallel.run(2_000.0);
    let mut sequence = World::new(&text("sequence"));
    sequence.run(2_000.0);
    assert!((mean_ms(&parallel.services[0]) - 23.0).abs() < 0.5, "{}", mean_ms(&parallel.services[0]));
    assert!((mean_ms(&sequence.services[0]) - 86.0).abs() < 1.0, "{}", mean_ms(&sequence.services[0]));
    assert_eq!(parallel.calls[0].calls, 4 * parallel.services[0].started);
    assert_eq!(sequence.calls[0].calls, 4 * sequence.services[0].started);
}

#[test]
fn a_fraction_of_a_call_is_a_probability() {
    let text = HEAD.to_owned()
        + &service("front", 2, "1ms", "")
        + &traffic("front", 100.0, 100)
        + &service("a", 4, "1ms", "")
        + "[services.front.calls.a]\ncount = 2.3\n";
    let mut world = World::new(&text);
    world.run(200.0);
    world.drained();
    let mean = world.calls[0].calls as f64 / world.services[0].started as f64;
    assert!((mean - 2.3).abs() < 0.03, "{mean}");
}

#[test]
fn a_required_call_that_fails_fails_the_request_and_an_optional_one_does_not() {
    let text = |required: bool| {
        HEAD.to_owned()
            + &service("front", 2, "1ms", "")
            + &traffic("front", 50.0, 100)
            + &service("a", 2, "1ms", "").replace("cpu_time", "error_rate = 0.2\ncpu_time")
            + &format!("[services.front.calls.a]\nretries = 1\nrequired = {required}\nbackoff.base = \"1ms\"\n")
    };
    let mut world = World::new(&text(true));
    world.run(200.0);
    world.drained();
    let (front, a, edge) = (&world.services[0], &world.services[1], &world.calls[0]);
    // One retry leaves 4 % of the calls; every failed attempt but those is retried.
    let failed = edge.failed.total() as f64 / edge.calls as f64;
    assert!((failed - 0.04).abs() < 0.01, "{failed}");
    assert_eq!(front.failed.server_error, edge.failed.total());
    assert_eq!(a.attempts, a.started + a.retries);
    assert_eq!((edge.retries, edge.attempts), (a.retries, a.attempts));
    let mut world = World::new(&text(false));
    world.run(200.0);
    assert_eq!(world.services[0].failed.total(), 0);
    assert!(world.calls[0].failed.total() > 0);
}

#[test]
fn retries_multiply_along_a_chain() {
    let text = HEAD.to_owned()
        + &service("front", 2, "1ms", "")
        + "[services.front.client]\nretries = 2\nbackoff.base = \"1ms\"\n"
        + &traffic("front", 10.0, 100)
        + &service("a", 2, "1ms", "")
        + &service("b", 2, "1ms", "").replace("cpu_time", "error_rate = 1.0\ncpu_time")
        + "[services.front.calls.a]\nretries = 2\nbackoff.base = \"1ms\"\n[services.a.calls.b]\nretries = 2\nbackoff.base = \"1ms\"\n";
    let mut world = World::new(&text);
    world.run(200.0);
    world.drained();
    assert_eq!(world.services[2].attempts, 27 * world.services[0].started);
    assert_eq!(world.services[0].succeeded, 0);
}

#[test]
fn a_caller_that_gives_up_leaves_its_calls_behind_or_takes_them_along() {
    let text = |cancel: bool| {
        HEAD.to_owned()
            + &service("front", 2, "1ms", "")
            + &format!("[services.front.client]\ntimeout = \"50ms\"\ncancel_on_timeout = {cancel}\n")
            + &traffic("front", 10.0, 100)
            + &service("a", 4, "80ms", "")
            + &format!("[services.front.calls.a]\ncancel_on_timeout = {cancel}\n")
    };
    let mut left = World::new(&text(false));
    left.run(200.0);
    left.drained();
    assert_eq!(left.services[0].failed.timeout, left.services[0].started);
    // The callers worked on for nobody and their calls succeeded.
    assert_eq!(left.services[1].succeeded, left.services[0].started);
    let mut taken = World::new(&text(true));
    taken.run(200.0);
    taken.drained();
    assert_eq!(taken.services[1].failed.abandoned, taken.services[0].started);
    assert!(taken.services[1].cpu_wasted < 0.06 * taken.services[0].started as f64);
    assert!(taken.services[1].cpu_wasted > 0.03 * taken.services[0].started as f64);
}

#[test]
fn a_dependency_refuses_connections_beyond_its_limit() {
    let text = HEAD.to_owned()
        + &service("front", 4, "1ms", "")
        + &traffic("front", 200.0, 100)
        + "[services.front.calls.db]\npool = { max_connections = 20, acquire_timeout = \"500ms\" }\n\
           [dependencies.db]\nmax_connections = 40\nconcurrency = 4\n\
           service_time = { distribution = \"exponential\", mean = \"30ms\" }\n";
    let mut world = World::new(&text);
    world.run(200.0);
    world.drained();
    let (db, edge) = (&world.dependencies[0], &world.calls[0]);
    assert_eq!(db.connections_peak, 40);
    assert!(edge.pool_peak <= 20);
    assert!(db.refused > 0 && edge.refused == db.refused);
    assert!(edge.failed.no_connection > 0);
    // Four workers of 30 ms serve 133 calls a second at most.
    assert!(db.calls.responses_2xx <= 134 * 101);
    assert!(db.busy_s > 4.0 * 99.0 * 0.99, "{}", db.busy_s);
    // Unused connections are closed after ten minutes.
    world.run(1_000.0);
    assert_eq!(world.dependencies[0].connections, 0);
}

#[test]
fn a_pool_is_a_queue_for_its_connections() {
    let text = HEAD.to_owned()
        + &service("front", 1, "0.1ms", "")
        + &traffic("front", 100.0, 100)
        + "[services.front.calls.db]\npool = { max_connections = 2 }\n[dependencies.db]\nconcurrency = 50\nservice_time = \"15ms\"\n";
    let mut world = World::new(&text);
    world.run(200.0);
    world.drained();
    let (db, edge) = (&world.dependencies[0], &world.calls[0]);
    assert_eq!((db.connections_peak, edge.pool_peak), (2, 2));
    assert_eq!(edge.succeeded, edge.calls);
    // M/D/2 at 75 %: some 10 ms of waiting on average.
    let wait = edge.pool_wait.mean().expect("waits") / 1e6;
    assert!((5.0..20.0).contains(&wait), "{wait} ms");
}

#[test]
fn a_slow_dependency_is_slow_only_while_it_is() {
    let text = HEAD.to_owned()
        + &service("front", 1, "0.1ms", "")
        + &traffic("front", 10.0, 300)
        + "[services.front.calls.db]\n[dependencies.db]\nconcurrency = 50\nservice_time = \"20ms\"\nnetwork_latency = \"0s\"\n\
           slowdowns = [{ at = \"100s\", duration = \"100s\", speed = 0.1 }]\n";
    let mut world = World::new(&text);
    let (mut sum, mut count) = (0, 0);
    for (until, ms) in [(100.0, 20.0), (200.0, 200.0), (400.0, 20.0)] {
        world.run(until);
        let latency = &world.calls[0].latency;
        let mean = (latency.sum() - sum) as f64 / (latency.count() - count) as f64 / 1e6;
        assert!((mean / ms - 1.0).abs() < 0.1, "{mean} instead of {ms}");
        (sum, count) = (latency.sum(), latency.count());
    }
}

fn via(way: &str) -> String {
    HEAD.to_owned()
        + &service("front", 3, "1ms", "")
        + &traffic("front", 100.0, 300)
        + &service("a", 4, "5ms", "")
        + &format!("[services.front.calls.a]\ntimeout = \"2s\"\nvia = {way}\n")
}

#[test]
fn stale_addresses_of_the_dns_cost_a_connection_timeout() {
    let mut world = World::new(&via("{ type = \"service_discovery\", ttl = \"30s\", connect_timeout = \"300ms\" }"));
    world.run(100.0);
    assert_eq!(world.calls[0].failed.total(), 0);
    world.kill(1);
    world.run(110.0);
    let during = world.calls[0].connect_timeouts;
    assert!(during > 100, "a quarter of the calls go to the task that is gone: {during}");
    world.run(140.0);
    let after = world.calls[0].connect_timeouts;
    world.run(290.0);
    assert_eq!(world.calls[0].connect_timeouts, after, "every answer is fresh by now");
    world.run(400.0);
    world.drained();
    assert_eq!(world.calls[0].failed.no_connection, after);
}

#[test]
fn a_mesh_tries_another_task_and_ejects_one_that_fails() {
    let mut world = World::new(&via("\"service_connect\""));
    world.run(100.0);
    // It still runs, but answers no more.
    let sick = world.servers[1][0];
    world.plane.set_ready(sick, false);
    world.run(290.0);
    world.run(400.0);
    world.drained();
    let edge = &world.calls[0];
    assert_eq!(edge.failed.total(), 0, "the proxies try another task");
    assert!(edge.ejections >= 3 && edge.proxy_retries >= 15, "{} {}", edge.ejections, edge.proxy_retries);
    // Five failures of each proxy, then an ejection of 30 s, of 60 s, ...
    assert!(edge.proxy_retries < 80, "{}", edge.proxy_retries);
    assert_eq!(world.services[1].elb_502, 0);
    assert_eq!(world.services[1].direct, world.services[1].attempts);
}

#[test]
fn pooled_connections_by_dns_pin_callers_to_the_tasks_of_the_start() {
    let way = "\"service_discovery\"\npool = { max_connections = 8 }";
    let mut world = World::new(&via(way));
    world.run(100.0);
    let new = world.add(1);
    world.run(250.0);
    let used = world.plane.cpu_used(SimTime::from_secs(250), new);
    let old = world.plane.cpu_used(SimTime::from_secs(250), world.servers[1][1]);
    assert!(used < 0.3 * old, "the new task has {used} s of work, an old one {old} s");
}

#[test]
fn long_lived_connections_keep_new_tasks_idle_until_they_turn_over() {
    let text = |client: &str| {
        HEAD.to_owned()
            + &service("front", 2, "5ms", "")
            + &format!("[services.front.client]\n{client}\n")
            + &traffic("front", 100.0, 600)
    };
    let share = |client: &str| {
        let mut world = World::new(&text(client));
        world.run(100.0);
        let new = [world.add(0), world.add(0)];
        world.run(200.0);
        let now = SimTime::from_secs(200);
        let fresh: f64 = new.iter().map(|&s| world.plane.cpu_used(now, s)).sum();
        fresh / (0.005 * 100.0 * 100.0)
    };
    assert!((share("retries = 0") - 0.5).abs() < 0.03);
    assert!(share("connections = { count = 200, lifetime = \"1h\" }") < 0.1);
    assert!(share("connections = { count = 200, lifetime = \"20s\" }") > 0.35);
    let sticky =
        "sessions = { count = 200, lifetime = \"1h\" }\n[services.front.load_balancer]\nstickiness.enabled = true";
    assert!(share(sticky) < 0.1);
}

#[test]
fn a_caller_that_dies_takes_its_connections_along() {
    let text = HEAD.to_owned()
        + &service("front", 3, "1ms", "")
        + &traffic("front", 100.0, 100)
        + "[services.front.calls.db]\npool = { max_connections = 10 }\n\
           [dependencies.db]\nconcurrency = 10\nservice_time = \"50ms\"\nmax_connections = 30\n";
    let mut world = World::new(&text);
    world.run(50.0);
    world.kill(0);
    // The dependency finishes for nobody what it was at.
    world.run(51.0);
    assert!(world.dependencies[0].connections <= 20, "{}", world.dependencies[0].connections);
    world.run(200.0);
    world.drained();
}

/// A random network of services, calls and a dependency.
#[derive(Clone, Debug)]
struct Edge {
    from: usize,
    to: usize,
    stage: u32,
    count: f64,
    retries: u32,
    timeout_ms: u64,
    pool: u32,
    way: usize,
    cancel: bool,
    required: bool,
    in_turn: bool,
}

fn edges() -> impl Strategy<Value = Vec<Edge>> {
    let edge = (0usize..4, 1usize..5, 1u32..3, 0.0..2.5f64, 0u32..3, 5u64..400, 0u32..6, 0usize..3, any::<[bool; 3]>());
    prop::collection::vec(edge, 1..9).prop_map(|all| {
        let mut edges: Vec<Edge> = Vec::new();
        for (from, by, stage, count, retries, timeout_ms, pool, way, [cancel, required, in_turn]) in all {
            // Upwards only: no circles. Number 4 is the dependency.
            let to = (from + by).min(4);
            if !edges.iter().any(|e| (e.from, e.to) == (from, to)) {
                edges.push(Edge { from, to, stage, count, retries, timeout_ms, pool, way, cancel, required, in_turn });
            }
        }
        edges
    })
}

fn network(edges: &[Edge], limit: u32, seed: u64) -> String {
    let mut s = format!("[simulation]\nduration = \"1h\"\nseed = {seed}\n");
    for i in 0..4 {
        s += &service(
            &format!("s{i}"),
            2,
            "8ms",
            if i % 2 == 0 { "concurrency = 4\naccept_queue = 6" } else { "cpu_model = \"fluid\"" },
        )
        .replace("cpu_time", "cpu_before_calls = 0.5\nerror_rate = 0.02\nwait = \"2ms\"\nmemory = \"1 MiB\"\ncpu_time");
    }
    s += "[services.s0.client]\ntimeout = \"300ms\"\nretries = 1\n";
    s += &traffic("s0", 60.0, 40);
    s += &traffic("s1", 20.0, 40);
    for e in edges {
        let to = if e.to == 4 { "db".to_owned() } else { format!("s{}", e.to) };
        _ = write!(
            s,
            "[services.s{}.calls.{to}]\nstage = {}\ncount = {:.3}\nretries = {}\ntimeout = \"{}ms\"\ncancel_on_timeout = {}\n\
             required = {}\nrepeat = \"{}\"\nbackoff.base = \"3ms\"\nretry_budget = 0.5\n",
            e.from,
            e.stage,
            e.count,
            e.retries,
            e.timeout_ms,
            e.cancel,
            e.required,
            if e.in_turn { "sequence" } else { "parallel" },
        );
        if e.pool > 0 {
            _ = writeln!(
                s,
                "pool = {{ max_connections = {}, acquire_timeout = \"40ms\", idle_timeout = \"5s\", max_lifetime = \"7s\" }}",
                e.pool
            );
        }
        if e.to < 4 {
            let ways = [
                "\"load_balancer\"",
                "{ type = \"service_discovery\", ttl = \"3s\", connect_timeout = \"30ms\", propagation = \"1s\" }",
                "{ type = \"service_connect\", algorithm = \"least_request\", propagation = \"1s\", retries = 1 }",
            ];
            _ = writeln!(s, "via = {}", ways[e.way]);
        }
    }
    if edges.iter().any(|e| e.to == 4) {
        _ = write!(
            s,
            "[dependencies.db]\nconcurrency = 3\nmax_connections = {limit}\nqueue = 20\nerror_rate = 0.01\n\
             service_time = {{ distribution = \"exponential\", mean = \"10ms\" }}\n\
             slowdowns = [{{ at = \"10s\", duration = \"10s\", speed = 0.2 }}]\n"
        );
    }
    s
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever calls whom and whoever dies: requests are conserved, limits hold, and in the end nothing is left.
    #[test]
    fn nothing_is_lost_and_everything_is_given_back(
        edges in edges(),
        limit in 1u32..12,
        seed in 0u64..1_000_000,
        deaths in prop::collection::vec((0usize..4, 1u64..39), 0..6),
    ) {
        let mut world = World::new(&network(&edges, limit, seed));
        let mut deaths = deaths;
        deaths.sort_by_key(|d| d.1);
        for (service, at) in deaths {
            world.run(at as f64);
            world.add(service);
            world.kill(service);
        }
        world.run(45.0);
        for (edge, t) in world.calls.iter().enumerate() {
            let pool = edges_of(&world, edge, &edges);
            prop_assert!(pool == 0 || t.pool_peak <= pool);
        }
        // Every time-out, backoff and queue is long over.
        world.run(400.0);
        world.drained();
        for d in &world.dependencies {
            prop_assert_eq!(d.connections, 0, "connections are left at the dependency");
        }
    }

    /// The same scenario twice: the same totals.
    #[test]
    fn equal_seeds_give_equal_totals(edges in edges(), seed in 0u64..1_000_000) {
        let run = || {
            let mut world = World::new(&network(&edges, 8, seed));
            world.run(20.0);
            world.kill(1);
            world.run(60.0);
            (world.services, world.calls, world.dependencies)
        };
        prop_assert_eq!(run(), run());
    }
}

/// The size of the pool of an edge of the plan, 0 for none.
fn edges_of(world: &World, edge: usize, edges: &[Edge]) -> u32 {
    let (from, to) = world.plane.call_edges().nth(edge).expect("an edge");
    edges.iter().find(|e| (e.from, e.to) == (from.index(), to.index())).map_or(0, |e| e.pool)
}
