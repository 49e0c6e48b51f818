//! Exact queueing theory against the data plane: the traffic code of the simulator alone, without a
//! cluster, under the fluid model of the CPU.
//!
//! A case becomes a scenario (see `scenario`): a task of c vCPUs that works on c requests at a time is
//! M/M/c; without that limit it shares its CPU; many tasks of one vCPU behind a balancer are the routing
//! models; a capacity is an accept queue, reneging is the client's patience. A network of stations is a service without
//! work of its own that calls one service per station: one after the other (tandem) or all at once (fork-join).
//!
//! The simulated time is cut into 40 slots of equal length. The first four (10 %) warm the system up, the other
//! 36 are batches: their scatter gives the standard error of each figure. A run ends when the standard
//! error of every expected figure is at most a quarter of its tolerance; until then it is doubled, and
//! with it slots and warm-up. It stops in any case at the limit of `MOST_ARRIVALS`; a figure whose
//! standard error is then still larger is held against its tolerance all the same. The seed is a hash of
//! the case's id: it is never chosen.
//!
//! A third of the tolerance would be enough to tell right from wrong, but of some two thousand figures a
//! handful would then miss by bad luck (1 in 400 of those that are just precise enough); at a quarter it is 1 in
//! 15,000. A miss is reported as what it looks like, a failure.

use std::fmt::Write as _;

use serde_json::Value;
use simctl::kernel::{EventQueue, Fired, SimDuration, Streams};
use simctl::scenario::model::Inputs;
use simctl::traffic::{DataPlane, Histogram, Queueing, ServerSpec, ServiceTotals, TargetState, TrafficEvent};
use simctl::units::{Cpu, ServerId, ServiceId};

use crate::Outcome;
use crate::published::{Measured, judge, tolerance};

/// Cases that suggest more arrivals than this run only on demand.
const DEFAULT_ARRIVALS: u64 = 2_000_000;
/// Where doubling stops, in arrivals.
const MOST_ARRIVALS: f64 = 4e8;
/// The largest standard error, as a share of the tolerance.
const PRECISION: f64 = 0.25;
const SLOTS: usize = 40;
const WARM_UP: usize = SLOTS / 10;

/// How many arrivals the case itself suggests: a measure of how long it runs.
pub(crate) fn size(case: &Value) -> u64 {
    match Sine::of(case) {
        // Each batch is one period, and twenty batches are the least.
        Some(sine) => (20.0 * sine.mean_rps * sine.period_s) as u64,
        None => case["suggested_arrivals"].as_u64().unwrap_or(0),
    }
}

/// Runs one case.
pub(crate) fn run(case: &Value, long: bool) -> Outcome {
    if size(case) > DEFAULT_ARRIVALS && !long {
        return Outcome::Long;
    }
    match measure(case) {
        Ok(measured) => judge(case, &measured),
        Err(problem) => Outcome::Failed(problem),
    }
}

fn measure(case: &Value) -> Result<Measured, String> {
    let queue = Queue::of(case)?;
    let mut station = Station::new(&queue)?;
    if let Some(sine) = Sine::of(case) {
        return sine.measure(case, &mut station);
    }
    let arrivals = size(case).max(100_000) as f64;
    let mut length = SimDuration::from_secs_f64(arrivals / queue.rate_rps / SLOTS as f64);
    let mut slots: Vec<Slot> = Vec::with_capacity(SLOTS);
    loop {
        while slots.len() < SLOTS {
            slots.push(station.run(length));
        }
        let settling = (queue.settling_s / length.as_secs_f64()).ceil() as usize;
        let batches = &slots[settling.clamp(WARM_UP, SLOTS / 2)..];
        let measured = figures(case, batches, queue.cores)?;
        let simulated = queue.rate_rps * length.as_secs_f64() * SLOTS as f64;
        if measured.1 || simulated * 2.0 > MOST_ARRIVALS {
            return Ok(measured.0);
        }
        slots = slots.chunks(2).map(Slot::sum).collect();
        length = length * 2;
    }
}

/// The figures that the case expects, over all batches, and whether the standard error of each is small enough.
fn figures(case: &Value, batches: &[Slot], cores: f64) -> Result<(Measured, bool), String> {
    let whole = Slot::sum(batches);
    let (mut measured, mut precise) = (Measured::default(), true);
    for expectation in case["expect"].as_array().into_iter().flatten() {
        let metric = expectation["metric"].as_str().unwrap_or("?");
        let (name, of) = METRICS
            .iter()
            .find(|(name, _)| *name == metric)
            .ok_or_else(|| format!("{metric}: this runner cannot measure it"))?;
        measured.figures.insert(name, of(&whole, cores));
        if expectation["op"] != "info" {
            let error = standard_error(batches.iter().map(|batch| of(batch, cores)));
            let value = expectation["value"].as_f64().unwrap_or(f64::NAN);
            precise &= error <= tolerance(expectation, value) * PRECISION;
        }
    }
    Ok((measured, precise))
}

fn standard_error(batches: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = batches.clone().count() as f64;
    let mean = batches.clone().sum::<f64>() / n;
    let scatter: f64 = batches.map(|x| (x - mean) * (x - mean)).sum();
    (scatter / (n - 1.0) / n).sqrt()
}

type Figure = fn(&Slot, f64) -> f64;

/// How each metric follows from what the data plane counts; the second argument is the number of cores.
const METRICS: &[(&str, Figure)] = &[
    ("utilization", |s, cores| s.cpu_s / s.seconds / cores),
    ("throughput_rps", |s, _| s.totals.succeeded as f64 / s.seconds),
    ("p_wait", |s, _| share(s.queueing().queued, s.queueing().accepted)),
    ("p_wait_accepted", |s, _| share(s.queueing().queued, s.queueing().accepted)),
    ("p_block", |s, _| share(s.totals.refused, s.totals.routed)),
    ("p_abandon", |s, _| share(s.totals.failed.abandoned, s.totals.finished())),
    ("p_timeout", |s, _| share(s.totals.failed.abandoned, s.totals.finished())),
    ("mean_wait_s", |s, _| s.mean_wait()),
    ("mean_wait_served_s", |s, _| s.mean_wait()),
    ("mean_wait_all_s", |s, _| {
        let q = s.queueing();
        let total = q.wait.sum() + q.wait_of_lost_nanos;
        total as f64 / 1e9 / (q.wait.count() + s.totals.failed.abandoned) as f64
    }),
    ("std_wait_s", |s, _| deviation(s.queueing().wait_square_s2, s.mean_wait(), s.queueing().wait.count())),
    ("mean_sojourn_s", |s, _| s.mean_sojourn()),
    ("std_sojourn_s", |s, _| deviation(s.queueing().sojourn_square_s2, s.mean_sojourn(), s.totals.latency.count())),
    ("mean_in_system", |s, _| s.queueing().mean_in_system()),
    ("mean_queue_len", |s, _| s.queueing().mean_queue_len()),
    ("var_in_system", |s, _| {
        let mean = s.queueing().mean_in_system();
        s.over_states(|n| (n - mean) * (n - mean))
    }),
    ("in_system_p95", |s, _| s.state_quantile(0.95)),
    ("in_system_p99", |s, _| s.state_quantile(0.99)),
    ("wait_p50_s", |s, _| quantile(&s.queueing().wait, 0.5)),
    ("wait_p90_s", |s, _| quantile(&s.queueing().wait, 0.9)),
    ("wait_p95_s", |s, _| quantile(&s.queueing().wait, 0.95)),
    ("wait_p99_s", |s, _| quantile(&s.queueing().wait, 0.99)),
    ("wait_p99_9_s", |s, _| quantile(&s.queueing().wait, 0.999)),
    ("sojourn_p50_s", |s, _| quantile(&s.totals.latency, 0.5)),
    ("sojourn_p90_s", |s, _| quantile(&s.totals.latency, 0.9)),
    ("sojourn_p95_s", |s, _| quantile(&s.totals.latency, 0.95)),
    ("sojourn_p99_s", |s, _| quantile(&s.totals.latency, 0.99)),
    ("sojourn_p99_9_s", |s, _| quantile(&s.totals.latency, 0.999)),
];

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A quantile in seconds, on a straight line through the bucket that holds it.
fn quantile(times: &Histogram, q: f64) -> f64 {
    let rank = q * times.count() as f64;
    let mut below = 0.0;
    for (low, width, count) in times.buckets() {
        let count = count as f64;
        if below + count >= rank {
            // A bucket one nanosecond wide holds one value.
            let inside = if width > 1 { (rank - below) / count * width as f64 } else { 0.0 };
            return (low as f64 + inside) / 1e9;
        }
        below += count;
    }
    f64::NAN
}

fn deviation(sum_of_squares: f64, mean: f64, count: u64) -> f64 {
    (sum_of_squares / count as f64 - mean * mean).sqrt()
}

/// What the data plane counted in a stretch of time.
#[derive(Clone)]
struct Slot {
    totals: ServiceTotals,
    /// CPU used, in vCPU-seconds.
    cpu_s: f64,
    seconds: f64,
}

impl Slot {
    fn sum(parts: &[Self]) -> Self {
        let mut whole = parts[0].clone();
        for part in &parts[1..] {
            whole.totals.merge(&part.totals);
            whole.cpu_s += part.cpu_s;
            whole.seconds += part.seconds;
        }
        whole
    }

    fn queueing(&self) -> &Queueing {
        self.totals.queueing.as_deref().expect("the statistics are switched on for every station")
    }

    fn mean_wait(&self) -> f64 {
        self.queueing().wait.sum() as f64 / 1e9 / self.queueing().wait.count() as f64
    }

    fn mean_sojourn(&self) -> f64 {
        self.totals.latency.sum() as f64 / 1e9 / self.totals.latency.count() as f64
    }

    /// The time average of a function of the number in the system.
    fn over_states(&self, of: impl Fn(f64) -> f64) -> f64 {
        let states = self.queueing().in_system.iter().enumerate();
        let (sum, time) =
            states.fold((0.0, 0.0), |(sum, time), (n, &t)| (sum + of(n as f64) * t as f64, time + t as f64));
        sum / time
    }

    /// The smallest number in the system that is not exceeded during the share `q` of the time.
    fn state_quantile(&self, q: f64) -> f64 {
        let states = &self.queueing().in_system;
        let limit = q * states.iter().map(|&t| t as f64).sum::<f64>();
        let mut time = 0.0;
        let at = states.iter().position(|&t| {
            time += t as f64;
            time >= limit
        });
        at.unwrap_or(states.len()) as f64
    }
}

/// The data plane of a case, its clock and its servers. The first service is the one whose clients are looked at.
struct Station {
    plane: DataPlane,
    events: EventQueue<TrafficEvent, ()>,
    servers: Vec<ServerId>,
    cpu_s: f64,
}

const SERVICE: ServiceId = ServiceId(0);

impl Station {
    fn new(queue: &Queue) -> Result<Self, String> {
        let mut plan = simctl::scenario::from_text("case.toml", &queue.scenario)
            .map_err(|found| format!("the scenario is refused: {found:?}\n{}", queue.scenario))?;
        for service in plan.services.values_mut() {
            // Theory knows neither the sizes of Fargate nor a balancer's patience.
            service.task.cpu = Cpu::from_vcpus(queue.cores_per_task);
            service.load_balancer.as_mut().ok_or("the scenario has no load balancer")?.idle_timeout = SimDuration::MAX;
        }
        let streams = Streams::new(plan.simulation.seed, 0);
        let mut plane = DataPlane::new(&plan, &Inputs::default(), &streams).map_err(|e| e.to_string())?;
        let mut events = EventQueue::new();
        plane.enable_queueing(SERVICE);
        let mut servers = Vec::new();
        for (service, plan) in (0..).map(ServiceId).zip(plan.services.values()) {
            let task = &plan.task;
            let spec = ServerSpec {
                service,
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
            for _ in 0..plan.desired_count {
                let server = plane.add_server(&mut events, spec);
                plane.set_ready(server, true);
                plane.register(&mut events, server);
                plane.set_target(&mut events, server, TargetState::Healthy);
                servers.push(server);
            }
        }
        plane.start(&mut events);
        Ok(Self { plane, events, servers, cpu_s: 0.0 })
    }

    /// Lets `length` pass.
    fn run(&mut self, length: SimDuration) -> Slot {
        let until = self.events.now() + length;
        while let Some(fired) = self.events.pop(until) {
            match fired {
                Fired::Completion(server) => self.plane.complete(&mut self.events, server),
                Fired::Event(event) => self.plane.handle(&mut self.events, event),
                Fired::Timer(()) => {}
            }
        }
        let mut totals = ServiceTotals::default();
        self.plane.drain_totals(until, SERVICE, &mut totals);
        let cpu_s: f64 = self.servers.iter().map(|&server| self.plane.cpu_used(until, server)).sum();
        let used = cpu_s - self.cpu_s;
        self.cpu_s = cpu_s;
        Slot { totals, cpu_s: used, seconds: length.as_secs_f64() }
    }
}

/// A case as a scenario, and what the runner has to know of it.
struct Queue {
    scenario: String,
    /// Cores of all tasks.
    cores: f64,
    cores_per_task: u64,
    /// Arrivals a second, roughly.
    rate_rps: f64,
    /// Time after which the empty start is forgotten, in seconds.
    settling_s: f64,
}

impl Queue {
    fn of(case: &Value) -> Result<Self, String> {
        let number = |value: &Value, what: &str| value.as_f64().ok_or_else(|| format!("the case has no {what}"));
        let (arrivals, service) = (&case["arrivals"], &case["service"]);
        let model = case["model"].as_str().unwrap_or("");
        if model.starts_with("Jackson") || model.starts_with("Fork-join") {
            return Self::network(case, model.starts_with("Jackson"));
        }
        let mean_s = number(&service["mean_s"], "mean service time")?;
        let routing = case["routing"].as_str();
        let sharing = case["discipline"] == "PS";
        let infinite = case["servers"].is_null() && routing.is_none();
        // The limit of many servers; a thousand cores for tens of requests never make one wait.
        let servers = case["servers"].as_u64().unwrap_or(1_000);
        let (tasks, cores) = if routing.is_some() { (servers, 1) } else { (1, servers) };

        let mut task = "cpu = 1024\nmemory = \"2 GB\"\ncpu_model = \"fluid\"\n".to_owned();
        if !sharing && !infinite {
            _ = writeln!(task, "concurrency = {cores}");
        }
        if let Some(capacity) = case["capacity"].as_u64() {
            _ = writeln!(task, "accept_queue = {}", capacity.saturating_sub(cores));
        }
        let mut client = String::new();
        if case.get("patience").is_some() {
            _ = writeln!(client, "patience = {}", law(&case["patience"])?);
        }
        let balancer = match routing {
            None | Some("round_robin") => "algorithm = \"round_robin\"".to_owned(),
            Some("least_outstanding") => "algorithm = \"least_outstanding_requests\"".to_owned(),
            Some(other) => match other.strip_prefix("power_of_") {
                Some(d) => format!("algorithm = \"power_of_choices\"\nchoices = {d}"),
                None => return Err(format!("the routing `{other}` is unknown")),
            },
        };
        let (traffic, rate_rps) = match arrivals["dist"].as_str().unwrap_or("?") {
            "closed" => {
                let users = number(&arrivals["users"], "number of users")?;
                let think_s = number(&arrivals["think"]["mean_s"], "mean think time")?;
                let most = (users / (think_s + mean_s)).min(servers as f64 / mean_s);
                (format!("users = {{ count = {users}, think = {} }}", law(&arrivals["think"])?), most)
            }
            "nhpp_sine" => {
                let sine = Sine::of(case).ok_or("the sine is not complete")?;
                let shape = format!(
                    "shapes.wave = {{ type = \"sine\", mean_rps = {:?}, amplitude_rps = {:?}, period = \"{}s\" }}",
                    sine.mean_rps, sine.amplitude_rps, sine.period_s
                );
                (shape, sine.mean_rps)
            }
            process => {
                let rate = match arrivals["rate_per_server_rps"].as_f64() {
                    Some(each) => each * servers as f64,
                    None => number(&arrivals["rate_rps"], "rate of arrivals")?,
                };
                let how = match process {
                    "poisson" => "process = \"poisson\"".to_owned(),
                    "deterministic" => "process = \"deterministic\"".to_owned(),
                    "hyperexp2" => {
                        format!("process = \"bursty\", cv = {:?}", number(&arrivals["scv"], "variation")?.sqrt())
                    }
                    other => return Err(format!("the arrivals `{other}` are unknown")),
                };
                (format!("rate = [{{ at = \"0s\", rps = {rate:?} }}]\narrivals = {{ {how} }}"), rate)
            }
        };
        let load = rate_rps * mean_s / servers as f64;
        let settling_s = if load < 1.0 { 20.0 * mean_s / (1.0 - load) } else { 20.0 * mean_s };
        let scenario = format!(
            "[simulation]\nduration = \"1h\"\nseed = {}\n\
             [services.station]\ndesired_count = {tasks}\n\
             [services.station.task]\n{task}\
             [services.station.requests.job]\ncpu_time = {}\n\
             [services.station.client]\n{client}\
             [services.station.traffic]\n{traffic}\n\
             [services.station.load_balancer]\n{balancer}\nnetwork_latency = \"0s\"\n",
            seed(case),
            law(service)?,
        );
        Ok(Self { scenario, cores: servers as f64, cores_per_task: cores, rate_rps, settling_s })
    }
}

impl Queue {
    /// A network of single-server stations behind a service without work of its own.
    fn network(case: &Value, tandem: bool) -> Result<Self, String> {
        let (arrivals, service) = (&case["arrivals"], &case["service"]);
        let rate_rps = arrivals["rate_rps"].as_f64().ok_or("the case has no rate of arrivals")?;
        let mut means: Vec<f64> =
            service["stage_mean_s"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if let (true, Some(mean_s)) = (means.is_empty(), service["mean_s"].as_f64()) {
            means = vec![mean_s; case["servers"].as_u64().unwrap_or(2) as usize];
        }
        let balancer = "load_balancer = { network_latency = \"0s\" }";
        let task = "[TASK]\ncpu = 1024\nmemory = \"2 GB\"\ncpu_model = \"fluid\"\n";
        let mut scenario = format!(
            "[simulation]\nduration = \"1h\"\nseed = {}\n[services.front]\n{balancer}\n{}\
             [services.front.requests.job]\ncpu_time = \"0s\"\n\
             [services.front.traffic]\nrate = [{{ at = \"0s\", rps = {rate_rps:?} }}]\n",
            seed(case),
            task.replace("TASK", "services.front.task"),
        );
        for (i, mean_s) in means.iter().enumerate() {
            _ = write!(
                scenario,
                "[services.front.calls.station{i}]\nstage = {}\n[services.station{i}]\n{balancer}\n{}concurrency = 1\n\
                 [services.station{i}.requests.job]\n\
                 cpu_time = {{ distribution = \"exponential\", mean = \"{mean_s}s\" }}\n",
                if tandem { i + 1 } else { 1 },
                task.replace("TASK", &format!("services.station{i}.task")),
            );
        }
        let slowest = means.iter().copied().fold(0.0, f64::max);
        let settling_s = 20.0 * slowest / (1.0 - rate_rps * slowest);
        Ok(Self { scenario, cores: means.len() as f64, cores_per_task: 1, rate_rps, settling_s })
    }
}

/// The seed of a case: the FNV-1a hash of its id.
fn seed(case: &Value) -> u64 {
    let id = case["id"].as_str().unwrap_or("");
    // 63 bits, because the language's integers are signed.
    id.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3)) >> 1
}

/// A law of the cases in the language of scenarios.
fn law(given: &Value) -> Result<String, String> {
    let number = |name: &str| given[name].as_f64().ok_or_else(|| format!("a law without `{name}`: {given}"));
    let (kind, rest) = match given["dist"].as_str().unwrap_or("?") {
        "deterministic" => ("constant", format!("value = \"{}s\"", number("mean_s")?)),
        "exponential" => ("exponential", format!("mean = \"{}s\"", number("mean_s")?)),
        "erlang" => ("erlang", format!("mean = \"{}s\", k = {}", number("mean_s")?, number("k")?)),
        "uniform" => ("uniform", format!("min = \"{}s\", max = \"{}s\"", number("lo_s")?, number("hi_s")?)),
        // Balanced means in both.
        "hyperexp2" => {
            ("hyperexponential", format!("mean = \"{}s\", cv = {:?}", number("mean_s")?, number("scv")?.sqrt()))
        }
        "lognormal" => ("lognormal", format!("mean = \"{}s\", cv = {:?}", number("mean_s")?, number("scv")?.sqrt())),
        other => return Err(format!("the law `{other}` is unknown")),
    };
    Ok(format!("{{ distribution = \"{kind}\", {rest} }}"))
}

/// Arrivals whose rate is a sine, at a station where nobody waits.
struct Sine {
    mean_rps: f64,
    amplitude_rps: f64,
    period_s: f64,
}

impl Sine {
    fn of(case: &Value) -> Option<Self> {
        let arrivals = &case["arrivals"];
        Some(Self {
            mean_rps: arrivals["mean_rate_rps"].as_f64()?,
            amplitude_rps: arrivals["amplitude_rps"].as_f64()?,
            period_s: arrivals["period_s"].as_f64()?,
        })
    }

    /// The mean number in the system around each phase of the case's series, and how far the departures
    /// lag behind the arrivals (which is how far the number in the system lags, since its law has no
    /// memory). Both are taken from the realised arrivals, so that their own scatter drops out.
    fn measure(&self, case: &Value, station: &mut Station) -> Result<Measured, String> {
        let phases: Vec<f64> =
            case["series"].as_array().into_iter().flatten().filter_map(|p| p["phase"].as_f64()).collect();
        let mean_s = case["service"]["mean_s"].as_f64().unwrap_or(1.0);
        // Pieces of a few mean services at most, and as many in each eighth of the period.
        let pieces = ((self.period_s / mean_s / 40.0).ceil().max(16.0) * 8.0) as usize;
        let piece = SimDuration::from_secs_f64(self.period_s / pieces as f64);
        let mut periods: Vec<Period> = Vec::with_capacity(SLOTS);
        let mut each = 1;
        let whole = loop {
            while periods.len() < SLOTS {
                let mut sum = Period::new(phases.len());
                for _ in 0..each {
                    sum.add(&Period::run(station, piece, pieces, &phases));
                }
                periods.push(sum);
            }
            let batches = &periods[WARM_UP..];
            let whole = batches.iter().fold(Period::new(phases.len()), |mut sum, p| {
                sum.add(p);
                sum
            });
            let precise =
                case["expect"].as_array().into_iter().flatten().all(|expectation| {
                    match expectation["metric"].as_str() {
                        Some("phase_lag_s") => {
                            let error = standard_error(batches.iter().map(|b| b.lag_s(self.period_s)));
                            error
                                <= tolerance(expectation, expectation["value"].as_f64().unwrap_or(f64::NAN)) * PRECISION
                        }
                        _ => case["series"].as_array().into_iter().flatten().enumerate().all(|(i, point)| {
                            let error = standard_error(batches.iter().map(|b| b.area[i] / b.time[i]));
                            error
                                <= tolerance(expectation, point["mean_in_system"].as_f64().unwrap_or(f64::NAN))
                                    * PRECISION
                        }),
                    }
                });
            each *= 2;
            if precise || self.mean_rps * self.period_s * (SLOTS * each) as f64 > MOST_ARRIVALS {
                break whole;
            }
            periods = periods
                .chunks(2)
                .map(|pair| {
                    let mut sum = pair[0].clone();
                    sum.add(&pair[1]);
                    sum
                })
                .collect();
        };
        let mut measured = Measured::default();
        measured.figures.insert("phase_lag_s", whole.lag_s(self.period_s));
        let means = whole.area.iter().zip(&whole.time).map(|(area, time)| area / time).collect();
        measured.series.insert("mean_in_system_by_phase", means);
        Ok(measured)
    }
}

/// Sums over one or more periods of a sine.
#[derive(Clone, Default)]
struct Period {
    /// First harmonic of the arrivals and of the departures: cosine and sine parts.
    arrivals: [f64; 2],
    departures: [f64; 2],
    /// Around each phase: the integral of the number in the system, and the time.
    area: Vec<f64>,
    time: Vec<f64>,
}

impl Period {
    fn new(phases: usize) -> Self {
        Self { area: vec![0.0; phases], time: vec![0.0; phases], ..Self::default() }
    }

    fn run(station: &mut Station, piece: SimDuration, pieces: usize, phases: &[f64]) -> Self {
        let mut sum = Self::new(phases.len());
        for k in 0..pieces {
            let slot = station.run(piece);
            let at = (k as f64 + 0.5) / pieces as f64;
            let (sine, cosine) = (at * std::f64::consts::TAU).sin_cos();
            for (into, count) in
                [(&mut sum.arrivals, slot.totals.started), (&mut sum.departures, slot.totals.succeeded)]
            {
                into[0] += cosine * count as f64;
                into[1] += sine * count as f64;
            }
            for (i, phase) in phases.iter().enumerate() {
                let from = (at - phase + 0.5).rem_euclid(1.0) - 0.5;
                if from.abs() < 1.0 / 64.0 {
                    sum.area[i] += slot.queueing().mean_in_system() * slot.seconds;
                    sum.time[i] += slot.seconds;
                }
            }
        }
        sum
    }

    fn add(&mut self, other: &Self) {
        for (into, from) in [(&mut self.arrivals, &other.arrivals), (&mut self.departures, &other.departures)] {
            into[0] += from[0];
            into[1] += from[1];
        }
        for (into, from) in [(&mut self.area, &other.area), (&mut self.time, &other.time)] {
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
    }

    fn lag_s(&self, period_s: f64) -> f64 {
        let angle = |harmonic: &[f64; 2]| harmonic[1].atan2(harmonic[0]);
        let turn = angle(&self.departures) - angle(&self.arrivals);
        turn.rem_euclid(std::f64::consts::TAU) / std::f64::consts::TAU * period_s
    }
}
