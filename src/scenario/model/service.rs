//! A service: its task, its requests, who sends them, and the load balancer between.

use indexmap::IndexMap;

use super::{
    ByteLaw, Call, Connections, EcsService, ExternalTrafficPolicy, KubeServiceType, KubernetesService, NetworkMode,
    PortMapping, Scaling, Sessions, Stickiness, Switch, TargetType, TimeLaw, Worker,
};
use crate::kernel::SimDuration;
use crate::units::{Bytes, Cpu};

table! {
    /// A service: a number of equal tasks that serve requests.
    pub struct Service {
        /// Tasks that run and are healthy at the start, and the count that the scheduler keeps.
        pub desired_count: u32 = 1,
        /// Capacity provider strategy: base and weight by the name of a capacity.
        pub capacity: IndexMap<String, StrategyItem> = IndexMap::new(),
        /// The task definition.
        pub task: Task,
        /// Classes of requests, by name.
        pub requests: IndexMap<String, RequestClass> = IndexMap::new(),
        /// How clients behave.
        pub client: Client = Client::default(),
        /// Calls to other services and to dependencies, by the callee's name.
        pub calls: IndexMap<String, Call> = IndexMap::new(),
        /// How many requests arrive when.
        pub traffic: Traffic = Traffic::default(),
        /// The load balancer in front; absent when the service has no traffic.
        pub load_balancer: Option<LoadBalancer> = None,
        /// For a service that works on the messages of a queue instead of requests. Its `requests` are then classes of messages, its latency counts from sending to the end of the work.
        pub worker: Option<Worker> = None,
        /// Service auto scaling; absent for a fixed desired count.
        pub scaling: Option<Scaling> = None,
        /// Alarms by name, for deployments.
        pub alarms: IndexMap<String, super::Alarm> = IndexMap::new(),
        /// What only ECS has: deployment configuration, grace period.
        pub ecs: EcsService = EcsService::default(),
        /// What only Kubernetes has: the workload's kind, rollout, probes, constraints.
        pub kubernetes: KubernetesService = KubernetesService::default(),
        /// Seconds between samples of CPU and memory metrics are 20; `20` publishes each as a high-resolution point, `60` one a minute.
        pub monitoring_resolution: u32 = 60,
    }
}

table! {
    /// One item of a capacity provider strategy.
    pub struct StrategyItem {
        /// Tasks that run here before weights count, 0 to 100,000.
        pub base: u32 = 0,
        /// Share of the tasks beyond the base, 0 to 1,000. The console's default is 1, the API's 0.
        pub weight: u32 = 0,
    }
}

words! {
    /// The processor architecture of a task.
    pub enum Architecture {
        /// x86-64.
        X86 = "X86_64",
        /// 64-bit ARM (Graviton).
        Arm = "ARM64",
    }
}

words! {
    /// How a task's CPU is shared among its requests.
    pub enum CpuModel {
        /// The CFS quota: full speed on the visible cores until the quota of a 100 ms period is used up, then a stall until the next.
        Quota = "quota",
        /// Processor sharing: each of n requests runs at min(1, c/n) cores.
        Fluid = "fluid",
    }
}

table! {
    /// The task definition.
    pub struct Task {
        /// CPU of the task.
        pub cpu: Cpu,
        /// Memory of the task: the hard limit.
        pub memory: Bytes as TaskMemory,
        /// Whether `cpu` is a limit (the task-level value of a task definition; always so on Fargate). Otherwise it is reserved, and beyond it the task uses what its neighbours leave, in proportion to their shares.
        pub cpu_hard_limit: bool = true,
        /// What placement on a container instance reserves instead of `memory` (the soft limit), at least 6 MiB and below `memory`.
        pub memory_reservation: Option<Bytes> as TaskMemory = None,
        /// GPUs, whole ones.
        pub gpus: u32 = 0,
        /// How the containers are wired.
        pub network_mode: NetworkMode = NetworkMode::Awsvpc,
        /// Ports of the containers. Required behind a load balancer with `bridge` and `host`.
        pub port_mappings: Vec<PortMapping> = Vec::new(),
        /// Processor architecture.
        pub architecture: Architecture = Architecture::X86,
        /// Ephemeral storage; 20 GiB are included in the price.
        pub ephemeral_storage: Bytes as Storage = Bytes::from_gib(20),
        /// The image of the implied container.
        pub image: Image = Image::default(),
        /// From the container's start until the application answers.
        pub startup: TimeLaw = TimeLaw::constant_secs(0.0),
        /// CPU that the application burns while it starts, in vCPUs.
        pub startup_cpu: Cpu = Cpu::ZERO,
        /// Memory in use without any request.
        pub memory_idle: Bytes as TaskMemory = Bytes::ZERO,
        /// Requests that a task works on at once; the others wait in its accept queue. Absent: no limit.
        pub concurrency: Option<u32> = None,
        /// Requests that may wait in the accept queue before connections are refused. Absent: no limit.
        pub accept_queue: Option<u32> = None,
        /// How CPU is shared.
        pub cpu_model: CpuModel = CpuModel::Quota,
        /// Seconds from SIGTERM to SIGKILL, 2 to 120 on Fargate.
        pub stop_timeout: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Time that the application needs to stop after SIGTERM once its requests are done.
        pub shutdown: TimeLaw = TimeLaw::constant_secs(0.0),
        /// The container health check of the implied container.
        pub health_check: Option<ContainerHealthCheck> = None,
        /// Further named containers: sidecars that start with, before or after the implied one, called `main`.
        pub containers: IndexMap<String, Container> = IndexMap::new(),
        /// Log bytes written for each request.
        pub log_bytes_per_request: Bytes as ByteCount = Bytes::ZERO,
    }
}

table! {
    /// A container image.
    pub struct Image {
        /// Compressed size.
        pub size: Bytes = Bytes::from_mb(250),
        /// Pull by lazy loading (SOCI): a container starts after this share of the image is there, 0 to 1.
        pub lazy_share: f64 as Share = 1.0,
    }
}

table! {
    /// A container beside the implied one.
    pub struct Container {
        /// If it stops, the task stops.
        pub essential: bool = true,
        /// Its image; pulled with the others.
        pub image: Image = Image::default(),
        /// From its start until it is ready (or, if `runs_for` is given, it does not matter).
        pub startup: TimeLaw = TimeLaw::constant_secs(0.0),
        /// How long it runs before it exits by itself; absent: until the task stops.
        pub runs_for: Option<TimeLaw> = None,
        /// The exit code when it exits by itself.
        pub exit_code: i32 = 0,
        /// Containers that must reach a condition before this one starts.
        pub depends_on: IndexMap<String, Condition> = IndexMap::new(),
        /// How long, from its start, containers that depend on it wait for their condition; then the task stops. It has
        /// no effect on a container that nothing depends on. 2 to 120 s on Fargate.
        pub start_timeout: SimDuration as Seconds = SimDuration::from_secs(120),
        /// Its health check.
        pub health_check: Option<ContainerHealthCheck> = None,
        /// CPU that it burns all the time, in vCPUs.
        pub cpu_burn: Cpu = Cpu::ZERO,
        /// Memory that it uses all the time.
        pub memory_burn: Bytes as TaskMemory = Bytes::ZERO,
        /// Dependencies of the implied container on this one: the condition it must reach first. Absent: none.
        pub main_waits_for: Option<Condition> = None,
    }
}

words! {
    /// A condition of `dependsOn`.
    pub enum Condition {
        /// It has started.
        Start = "START",
        /// It has exited.
        Complete = "COMPLETE",
        /// It has exited with code 0.
        Success = "SUCCESS",
        /// Its health check has passed.
        Healthy = "HEALTHY",
    }
}

table! {
    /// A container health check. Source: ECS API, HealthCheck.
    pub struct ContainerHealthCheck {
        /// Time between checks, 5 to 300 s.
        pub interval: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Time after which a check has failed, 2 to 60 s.
        pub timeout: SimDuration as Seconds = SimDuration::from_secs(5),
        /// Failures in a row that make the container UNHEALTHY, 1 to 10.
        pub retries: u32 = 3,
        /// Time at the start in which failures do not count, 0 to 300 s.
        pub start_period: SimDuration as Seconds = SimDuration::ZERO,
        /// CPU work of one check.
        pub cpu_time: SimDuration = SimDuration::from_millis(5),
    }
}

table! {
    /// A class of requests.
    pub struct RequestClass {
        /// Share of the service's requests, in proportion to the other classes.
        pub weight: f64 = 1.0,
        /// CPU work of one request: seconds of one vCPU.
        pub cpu_time: TimeLaw,
        /// Waiting outside of the CPU (databases, other services); holds slot and memory.
        pub wait: TimeLaw = TimeLaw::constant_secs(0.0),
        /// Share of the CPU work that is done before the first call to another service, 0 to 1; the rest after the last.
        pub cpu_before_calls: f64 as Share = 1.0,
        /// Memory held while the request is in the task.
        pub memory: ByteLaw = ByteLaw::constant(0),
        /// Bytes of the request.
        pub request_bytes: Bytes as ByteCount = Bytes::new(1_000),
        /// Bytes of the response.
        pub response_bytes: Bytes as ByteCount = Bytes::new(10_000),
        /// Share answered with an error of the application's own (5xx), 0 to 1.
        pub error_rate: f64 as Share = 0.0,
    }
}

table! {
    /// How clients behave.
    pub struct Client {
        /// Longest wait for an answer to one attempt. Absent: for ever.
        pub timeout: Option<SimDuration> = None,
        /// Patience while a request waits without being worked on; then the client leaves. Absent: endless.
        pub patience: Option<TimeLaw> = None,
        /// Attempts after the first one has failed.
        pub retries: u32 = 0,
        /// Wait before a retry.
        pub backoff: Backoff = Backoff::default(),
        /// Retries allowed as a share of first attempts, over a sliding bucket of ten seconds' worth. Absent: no budget.
        pub retry_budget: Option<f64> as Share = None,
        /// Whether a task drops a request whose client has gone. Otherwise it works on, for nobody.
        pub cancel_on_timeout: bool = false,
        /// Long-lived connections, each of which stays with its target. Absent: every request is balanced by itself.
        pub connections: Option<Connections> = None,
        /// Clients that come back, for sticky sessions. Absent: every request is a new client.
        pub sessions: Option<Sessions> = None,
    }
}

table! {
    /// Wait before a retry: `base * multiplier^(n-1)`, at most `max`, times a factor drawn from [1 - jitter, 1].
    pub struct Backoff {
        /// Wait before the first retry.
        pub base: SimDuration = SimDuration::from_millis(100),
        /// Growth per retry.
        pub multiplier: f64 = 2.0,
        /// Longest wait.
        pub max: SimDuration = SimDuration::from_secs(20),
        /// Width of the random part, 0 to 1.
        pub jitter: f64 as Share = 1.0,
    }
}

table! {
    /// How many requests arrive when. Several keys add up.
    pub struct Traffic {
        /// A curve: points joined by straight lines; the ends hold; two points at one instant make a step.
        pub rate: Vec<RatePoint> = Vec::new(),
        /// Named shapes that are added to the curve.
        pub shapes: IndexMap<String, Shape> = IndexMap::new(),
        /// Counts per interval from a CSV file with columns `time_s,requests`.
        pub trace: Option<Trace> = None,
        /// Recorded instants of arrival from a CSV file with a column `time_s`.
        pub recorded: Option<Recorded> = None,
        /// A fixed population of users who wait for the answer, then think.
        pub users: Option<Users> = None,
        /// How the arrivals of the curve and shapes scatter.
        pub arrivals: Arrivals = Arrivals::Poisson(Poisson {}),
    }
}

table! {
    /// A point of a rate curve.
    pub struct RatePoint {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// Requests a second.
        pub rps: f64,
    }
}

tagged! {
    /// A named shape of traffic.
    by "type"
    pub enum Shape {
        /// `mean + amplitude * sin(2 pi (t - phase) / period)`, never below zero.
        Sine(Sine) = "sine",
        /// A rise, a hold and a fall.
        Spike(Spike) = "spike",
        /// A day: lowest at `low_at`, highest twelve hours later.
        Daily(Daily) = "daily",
        /// A step from 0 to `rps` at `at`.
        Step(Step) = "step",
    }
}

table! {
    /// A sine wave.
    pub struct Sine {
        /// Mean rate, requests a second.
        pub mean_rps: f64,
        /// Amplitude, requests a second.
        pub amplitude_rps: f64,
        /// Period.
        pub period: SimDuration,
        /// Shift to the right.
        pub phase: SimDuration = SimDuration::ZERO,
    }
}

table! {
    /// A rise, a hold and a fall.
    pub struct Spike {
        /// Start of the rise.
        pub at: SimDuration,
        /// Height, requests a second.
        pub rps: f64,
        /// Length of the rise.
        pub rise: SimDuration = SimDuration::ZERO,
        /// Time at the full height.
        pub hold: SimDuration,
        /// Length of the fall.
        pub fall: SimDuration = SimDuration::ZERO,
    }
}

table! {
    /// A day's wave, by the civil clock of the simulation (UTC).
    pub struct Daily {
        /// Lowest rate, requests a second.
        pub low_rps: f64,
        /// Highest rate, requests a second.
        pub high_rps: f64,
        /// Time of day of the lowest rate.
        pub low_at: SimDuration = SimDuration::from_secs(4 * 3600),
    }
}

table! {
    /// A step from 0 to `rps`.
    pub struct Step {
        /// When.
        pub at: SimDuration,
        /// Height, requests a second.
        pub rps: f64,
    }
}

words! {
    /// How the requests of a trace's interval are placed inside it.
    pub enum Placement {
        /// Exactly the given number, at independent uniform instants.
        Exact = "exact",
        /// A Poisson number with the given mean.
        Poisson = "poisson",
    }
}

table! {
    /// Counts per interval from a file.
    pub struct Trace {
        /// CSV file with columns `time_s,requests`, relative to the scenario.
        pub file: String,
        /// How requests are placed inside an interval.
        pub placement: Placement = Placement::Exact,
        /// Factor on the counts; with `exact` the remainder is carried on.
        pub scale: f64 = 1.0,
        /// Factor on the time axis: 0.5 plays the trace twice as fast.
        pub time_scale: f64 = 1.0,
        /// Where in the trace the simulation starts, in the trace's own time.
        pub from: SimDuration = SimDuration::ZERO,
        /// Start again from `from` when the trace ends.
        pub repeat: bool = false,
    }
}

table! {
    /// Recorded instants of arrival.
    pub struct Recorded {
        /// CSV file with a column `time_s`, relative to the scenario.
        pub file: String,
        /// Factor on the time axis.
        pub time_scale: f64 = 1.0,
        /// Where in the recording the simulation starts.
        pub from: SimDuration = SimDuration::ZERO,
    }
}

table! {
    /// A fixed population.
    pub struct Users {
        /// How many.
        pub count: u32,
        /// Time between an answer and the next request.
        pub think: TimeLaw,
    }
}

tagged! {
    /// How arrivals scatter around the rate.
    by "process"
    pub enum Arrivals {
        /// Independent of one another.
        Poisson(Poisson) = "poisson",
        /// Evenly spaced.
        Deterministic(Deterministic) = "deterministic",
        /// Renewal arrivals with the given variation: above 1 in clumps, below 1 more even.
        Bursty(Bursty) = "bursty",
    }
}

table! {
    /// Independent arrivals.
    pub struct Poisson {}
}

table! {
    /// Evenly spaced arrivals.
    pub struct Deterministic {}
}

table! {
    /// Renewal arrivals in the time of the cumulative rate.
    pub struct Bursty {
        /// Coefficient of variation of the gaps: hyperexponential above 1, gamma below.
        pub cv: f64 = 2.0,
    }
}

words! {
    /// How an Application Load Balancer chooses a target.
    pub enum Algorithm {
        /// In turn (the default).
        RoundRobin = "round_robin",
        /// The target with the fewest outstanding requests.
        LeastOutstandingRequests = "least_outstanding_requests",
        /// At random, by weight.
        WeightedRandom = "weighted_random",
        /// The less loaded of `choices` random targets (not an ALB's own; for proxies and meshes).
        PowerOfChoices = "power_of_choices",
    }
}

table! {
    /// The load balancer in front of a service.
    pub struct LoadBalancer {
        /// Which kind. An Application Load Balancer balances requests, a Network Load Balancer connections: see
        /// `client.connections`.
        pub r#type: LoadBalancerType = LoadBalancerType::Application,
        /// Whether a Network Load Balancer sends to targets of all zones alike, which costs traffic between zones; an
        /// Application Load Balancer always does, for nothing.
        pub cross_zone: Switch = Switch::Disabled,
        /// How a target is chosen.
        pub algorithm: Algorithm = Algorithm::RoundRobin,
        /// Targets looked at by `power_of_choices`.
        pub choices: u32 = 2,
        /// Health checks of targets.
        pub health_check: TargetHealthCheck = TargetHealthCheck::default(),
        /// Time that a deregistered target may finish its requests, 0 to 3600 s.
        pub deregistration_delay: SimDuration as Seconds = SimDuration::from_secs(300),
        /// Time over which a new target's share grows, 30 to 900 s; 0 for off. Only with round robin.
        pub slow_start: SimDuration as Seconds = SimDuration::ZERO,
        /// Longest wait for a response before a 504. A Network Load Balancer cuts flows that are silent for 350 s.
        pub idle_timeout: SimDuration as Seconds = SimDuration::from_secs(60),
        /// Delay until a registration takes effect.
        pub registration_delay: SimDuration = SimDuration::from_secs(2),
        /// Delay until a deregistration takes effect: requests still come.
        pub deregistration_propagation: SimDuration = SimDuration::from_secs(2),
        /// Healthy targets below which the group fails open (unhealthy_state_routing.minimum_healthy_targets.count).
        pub minimum_healthy_targets: u32 = 1,
        /// Network time between client and task and back, added to every request.
        pub network_latency: TimeLaw = TimeLaw::constant_secs(0.001),
        /// New client connections a second per request a second (keep-alive makes it small), for LCUs.
        pub connections_per_request: f64 = 0.1,
        /// Sticky sessions.
        pub stickiness: Stickiness = Stickiness::default(),
        /// Weighted target groups beside the service's own: name and weight. A listener shares by weight.
        pub target_groups: IndexMap<String, TargetGroup> = IndexMap::new(),
        /// Whether AWS shifts traffic away from a zone that fails or is slow, as ARC zonal autoshift does.
        pub zonal_autoshift: Switch = Switch::Disabled,
        /// Time from the start of a zone's trouble until AWS shifts. Not published.
        pub zonal_autoshift_delay: SimDuration = SimDuration::from_secs(180),
    }
}

words! {
    /// The kind of a load balancer. Source: ELB API, CreateLoadBalancer.
    pub enum LoadBalancerType {
        /// Looks at requests; answers 502, 503 and 504 itself.
        Application = "application",
        /// Looks at connections: a flow keeps the target that its hash chose, in the zone where it came in unless
        /// `cross_zone` is enabled. It answers nothing itself: clients see resets.
        Network = "network",
    }
}

table! {
    /// A target group of fixed servers behind the same listener rule (for example a legacy fleet).
    pub struct TargetGroup {
        /// Weight, 0 to 999. The service's own group is called `main`; its default weight is 1.
        pub weight: u32 = 1,
        /// Capacity of the group outside the simulation: `true` answers each request after its class's `wait` and `cpu_time` without queueing.
        pub external: bool = false,
    }
}

table! {
    /// Health checks of an Application Load Balancer. Source: ELB API, CreateTargetGroup.
    pub struct TargetHealthCheck {
        /// Time between checks of a target, 5 to 300 s.
        pub interval: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Time after which a check has failed, 2 to 120 s.
        pub timeout: SimDuration as Seconds = SimDuration::from_secs(5),
        /// Successes in a row that make an unhealthy target healthy, 2 to 10.
        pub healthy_threshold: u32 = 5,
        /// Failures in a row that make a target unhealthy, 2 to 10.
        pub unhealthy_threshold: u32 = 2,
        /// CPU work of one check.
        pub cpu_time: SimDuration = SimDuration::from_millis(1),
    }
}

impl LoadBalancer {
    /// How a target is chosen: the hash of a flow is as good as chance.
    #[must_use]
    pub const fn chooses_by(&self) -> Algorithm {
        match self.r#type {
            LoadBalancerType::Application => self.algorithm,
            LoadBalancerType::Network => Algorithm::WeightedRandom,
        }
    }

    /// After how long without an answer a request is given up. Flows through a Network Load Balancer are forgotten after
    /// 350 s of silence.
    #[must_use]
    pub const fn gives_up_after(&self) -> SimDuration {
        match self.r#type {
            LoadBalancerType::Application => self.idle_timeout,
            LoadBalancerType::Network => SimDuration::from_secs(350),
        }
    }
}

impl Service {
    /// Whether its load balancer chooses a zone, and a node, before it chooses a task or pod.
    #[must_use]
    pub fn stages(&self) -> (bool, bool) {
        let Some(lb) = &self.load_balancer else { return (false, false) };
        let front = &self.kubernetes.service;
        let behind = front.r#type == Some(KubeServiceType::LoadBalancer) && front.target_type == TargetType::Instance;
        let local = front.external_traffic_policy == ExternalTrafficPolicy::Local;
        let zonal = lb.r#type == LoadBalancerType::Network && lb.cross_zone == Switch::Disabled;
        // A node that passes on to any pod undoes what was chosen before.
        (zonal && (!behind || local), behind && local)
    }

    /// Whether the bytes that come through its load balancer, or past it through a proxy, go on to any zone at the price of
    /// traffic between zones. What an Application Load Balancer itself sends to its targets is free.
    #[must_use]
    pub fn pays_between_zones(&self, eks: bool) -> bool {
        let Some(lb) = &self.load_balancer else { return false };
        let front = &self.kubernetes.service;
        let proxied = eks
            && (front.r#type != Some(KubeServiceType::LoadBalancer)
                || front.target_type == TargetType::Instance
                    && front.external_traffic_policy == ExternalTrafficPolicy::Cluster);
        proxied || lb.r#type == LoadBalancerType::Network && lb.cross_zone == Switch::Enabled
    }
}
