//! The quota model of the CPU against its own arithmetic, through the whole data plane, and against the fluid
//! model: where they agree and how far they differ. `SCOPE.md` shows the differences; run with `--nocapture` to
//! see the table.

use simctl::kernel::{EventQueue, Fired, SimDuration, SimTime, Streams};
use simctl::scenario::model::Inputs;
use simctl::traffic::{DataPlane, ServerSpec, ServiceTotals, TargetState, TrafficEvent};
use simctl::units::{Cpu, ServiceId};

const SERVICE: ServiceId = ServiceId(0);

/// One task of `vcpu` with the given lines of its definition and of its traffic: what happened between the
/// seconds `from` and `until`, and the CPU used.
fn run(vcpu: f64, task: &str, work: &str, traffic: &str, from: u64, until: u64) -> (ServiceTotals, f64) {
    let scenario = format!(
        "[simulation]\nduration = \"1h\"\nseed = 7\n\
         [services.web]\n\
         [services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\n{task}\n\
         [services.web.requests.page]\ncpu_time = {work}\n\
         [services.web.traffic]\n{traffic}\n\
         [services.web.load_balancer]\nnetwork_latency = \"0s\"\nidle_timeout = \"4000s\"\n"
    );
    let mut plan = simctl::scenario::from_text("quota.toml", &scenario).expect("a sound scenario");
    // Sizes that Fargate does not sell are looked at too.
    plan.services[0].task.cpu = Cpu::from_millicores((vcpu * 1_000.0) as u64);
    let task = &plan.services[0].task;
    let mut plane = DataPlane::new(&plan, &Inputs::default(), &Streams::new(7, 0)).expect("a data plane");
    let mut events: EventQueue<TrafficEvent, ()> = EventQueue::new();
    let spec = ServerSpec {
        service: SERVICE,
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
    let server = plane.add_server(&mut events, spec);
    plane.set_ready(server, true);
    plane.register(&mut events, server);
    plane.set_target(&mut events, server, TargetState::Healthy);
    plane.start(&mut events);
    let mut totals = ServiceTotals::default();
    let mut before = 0.0;
    for (end, counted) in [(from, false), (until, true)] {
        let end = SimTime::from_secs(end);
        while let Some(fired) = events.pop(end) {
            match fired {
                Fired::Completion(server) => plane.complete(&mut events, server),
                Fired::Event(event) => plane.handle(&mut events, event),
                Fired::Timer(()) => {}
            }
        }
        totals = ServiceTotals::default();
        plane.drain_totals(end, SERVICE, &mut totals);
        if !counted {
            before = plane.cpu_used(end, server);
        }
    }
    (totals, plane.cpu_used(SimTime::from_secs(until), server) - before)
}

/// `n` requests of 40 ms that arrive in one instant, at the beginning of a period; their latencies in ms, in order.
fn burst(n: u32, vcpu: f64, task: &str) -> Vec<f64> {
    // All users think for the same 1,000 s and then send at once.
    let users = format!("users = {{ count = {n}, think = \"1000s\" }}");
    let (totals, cpu) = run(vcpu, task, "\"40ms\"", &users, 999, 1_500);
    assert!((cpu - 0.04 * f64::from(n)).abs() < 1e-6, "{cpu} vCPU-seconds used");
    let count = totals.latency.count();
    assert_eq!(count, u64::from(n));
    (1..=count).map(|k| totals.latency.quantile(k as f64 / count as f64).expect("a latency") as f64 / 1e6).collect()
}

/// Equal up to the width of a histogram's bucket.
fn assert_near(got: &[f64], expected: &[f64]) {
    let near = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g / e - 1.0).abs() < 0.005);
    assert!(near, "got {got:?}, expected {expected:?}");
}

#[test]
fn a_lone_request_runs_at_full_speed_within_its_quota() {
    assert_near(&burst(1, 0.5, "cpu_model = \"quota\""), &[40.0]);
    assert_near(&burst(1, 0.5, "cpu_model = \"fluid\""), &[80.0]);
    // A quarter of a core: 25 ms of CPU, a stall, and the other 15 ms in the second period.
    assert_near(&burst(1, 0.25, "cpu_model = \"quota\""), &[115.0]);
    assert_near(&burst(1, 1.0, "cpu_model = \"quota\""), &[40.0]);
}

#[test]
fn ten_at_once_take_what_the_periods_allow() {
    // 50 ms of CPU in each period of 100 ms: after `cpu` ms of CPU the clock stands here.
    let clock = |cpu: f64| {
        let full = (cpu / 50.0).ceil() - 1.0;
        full * 100.0 + (cpu - full * 50.0)
    };
    assert_eq!((clock(40.0), clock(400.0)), (40.0, 750.0));
    // All share one visible core and end together.
    assert_near(&burst(10, 0.5, "cpu_model = \"quota\""), &[clock(400.0); 10]);
    // One after the other.
    let each: Vec<f64> = (1..=10).map(|k| clock(40.0 * f64::from(k))).collect();
    assert_near(&burst(10, 0.5, "cpu_model = \"quota\"\nconcurrency = 1"), &each);
    assert_near(&burst(10, 0.5, "cpu_model = \"fluid\""), &[800.0; 10]);
}

#[test]
fn quota_and_fluid_differ_at_low_load_and_meet_at_high_load() {
    println!("| vCPU | work | load | mean quota / fluid (ms) | p99 quota / fluid (ms) | utilisation |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut ratios: Vec<(f64, f64, f64)> = Vec::new();
    for (cpu, work_ms) in [(0.25, 20.0), (0.5, 20.0), (1.5, 20.0), (2.0, 20.0)] {
        for load in [0.1, 0.5, 0.9] {
            let rps: f64 = load * cpu / (work_ms / 1_000.0);
            let length = (400_000.0 / rps) as u64;
            let both = ["quota", "fluid"].map(|model| {
                run(
                    cpu,
                    &format!("cpu_model = \"{model}\""),
                    &format!("{{ distribution = \"exponential\", mean = \"{work_ms}ms\" }}"),
                    &format!("rate = [{{ at = \"0s\", rps = {rps:?} }}]"),
                    length / 10,
                    length,
                )
            });
            let [(quota, quota_cpu), (fluid, fluid_cpu)] = &both;
            let used = |cpu_s: f64| cpu_s / (length - length / 10) as f64 / cpu;
            let mean = |t: &ServiceTotals| t.latency.mean().expect("requests") / 1e6;
            let p99 = |t: &ServiceTotals| t.latency.quantile(0.99).expect("requests") as f64 / 1e6;
            println!(
                "| {cpu} | {work_ms} ms | {load} | {:.1} / {:.1} | {:.0} / {:.0} | {:.3} |",
                mean(quota),
                mean(fluid),
                p99(quota),
                p99(fluid),
                used(*quota_cpu)
            );
            // The same requests do the same work, so the CPU used differs only by what is still inside at the ends.
            assert!((quota_cpu / fluid_cpu - 1.0).abs() < 2e-3, "{quota_cpu} against {fluid_cpu}");
            assert!((used(*quota_cpu) / load - 1.0).abs() < 0.02, "utilisation {}", used(*quota_cpu));
            ratios.push((cpu, load, mean(quota) / mean(fluid)));
        }
    }
    for of_one_size in ratios.chunk_by(|a, b| a.0 == b.0) {
        let [low, middle, high] = [0, 1, 2].map(|i| of_one_size[i].2);
        match of_one_size[0].0 {
            // Without a fraction of a core the quota never binds.
            2.0 => assert_eq!([low, middle, high], [1.0; 3]),
            // A lone request has a whole core under both; two or more have the second one too, for a while.
            1.5 => assert!(middle < low && middle < high && low < 1.0 && high < 1.0, "{low} {middle} {high}"),
            // A lone request has a whole core instead of the fraction. When there is always a queue, the same CPU is
            // shared among the same requests.
            cpu => {
                assert!(
                    cpu < low && low < middle && middle < high && high < 1.0,
                    "{low} {middle} {high} at {cpu} vCPU"
                );
                assert!(low < 0.6 && high > 0.85, "{low} {high} at {cpu} vCPU");
            }
        }
    }
}

#[test]
fn the_default_is_the_quota() {
    let task = simctl::scenario::from_text(
        "default.toml",
        "[simulation]\nduration = \"1h\"\n[services.web.task]\ncpu = 512\nmemory = \"1 GB\"\n",
    )
    .expect("a sound scenario")
    .services[0]
        .task
        .clone();
    assert_eq!(task.cpu_model, simctl::scenario::model::CpuModel::Quota);
    assert_eq!(task.stop_timeout, SimDuration::from_secs(30));
}
