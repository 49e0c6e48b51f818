//! Services that call services, and what they all depend on.

use super::{Backoff, TimeLaw};
use crate::kernel::SimDuration;

table! {
    /// A call of a service to another service or to a dependency, made while a request is worked on. The caller's request
    /// keeps its slot and its memory while it waits, but no CPU.
    pub struct Call {
        /// Classes of the caller's requests that make the call; empty for all.
        pub classes: Vec<String> = Vec::new(),
        /// Class of the request at the callee; absent for its usual mix. Not for a dependency.
        pub request: Option<String> = None,
        /// When: the calls of one stage are made side by side, the next stage begins when all of them have ended. 1 to 1,000.
        pub stage: u32 = 1,
        /// Mean number of calls for one request: 0.3 is a probability, 2 is two calls, 2.5 two or three.
        pub count: f64 = 1.0,
        /// How more than one call for the same request is made.
        pub repeat: Repeat = Repeat::Parallel,
        /// Whether a call that fails for good fails the request that made it (5xx). Otherwise the request goes on without.
        pub required: bool = true,
        /// Longest wait for an answer to one attempt, without the wait for a connection. Absent: for ever.
        pub timeout: Option<SimDuration> = None,
        /// Attempts after the first one has failed.
        pub retries: u32 = 0,
        /// Wait before a retry.
        pub backoff: Backoff = Backoff::default(),
        /// Retries allowed as a share of first attempts, over a sliding bucket of ten seconds' worth. Absent: no budget.
        pub retry_budget: Option<f64> as Share = None,
        /// Whether the callee drops a request whose caller has gone. Otherwise it works on, for nobody.
        pub cancel_on_timeout: bool = false,
        /// How the callee is reached. Absent: its load balancer. Not for a dependency.
        pub via: Option<Via> = None,
        /// Pool of connections that each task of the caller keeps. Absent: a new connection for every attempt, without limit.
        pub pool: Option<Pool> = None,
        /// Work of one call at a dependency; absent for the dependency's own. Not for a service.
        pub service_time: Option<TimeLaw> = None,
    }
}

words! {
    /// How several calls of one request to the same callee are made.
    pub enum Repeat {
        /// All at once.
        Parallel = "parallel",
        /// One after the other.
        Sequence = "sequence",
    }
}

tagged! {
    /// How a service is reached by another one.
    by "type"
    pub enum Via {
        /// Through its load balancer.
        LoadBalancer(ViaLoadBalancer) = "load_balancer",
        /// By a DNS name of AWS Cloud Map: the caller connects to the addresses of the last answer.
        ServiceDiscovery(ServiceDiscovery) = "service_discovery",
        /// Through ECS Service Connect: a proxy beside each task that balances, tries again and ejects outliers.
        ServiceConnect(ServiceConnect) = "service_connect",
    }
}

table! {
    /// Through the callee's load balancer.
    pub struct ViaLoadBalancer {}
}

table! {
    /// Service discovery by DNS. A task is in the answers once it runs (or, with a container health check, once that has
    /// passed) until it is told to stop. Source: ECS developer guide, service discovery; Cloud Map, multivalue answers.
    pub struct ServiceDiscovery {
        /// Time that a task of the caller uses an answer before it asks again. 60 s is what the ECS console proposes.
        pub ttl: SimDuration = SimDuration::from_secs(60),
        /// Addresses in one answer, taken at random from the healthy ones. Route 53 answers with at most 8.
        pub answers: u32 = 8,
        /// Wait for a connection to a task that is gone; one to a task that does not listen is refused at once.
        pub connect_timeout: SimDuration = SimDuration::from_secs(1),
        /// Delay until a task that comes or goes is in the answers.
        pub propagation: SimDuration = SimDuration::from_secs(2),
        /// Network time between caller and task and back.
        pub network_latency: TimeLaw = TimeLaw::constant_secs(0.0005),
    }
}

table! {
    /// ECS Service Connect. The proxy of each task of the caller knows by itself which targets fail. Sources: ECS developer guide,
    /// Service Connect (round robin, 2 retries on another task, ejection after 5 failures, 15 s); Envoy, outlier detection.
    pub struct ServiceConnect {
        /// How the proxy chooses among the tasks that are not ejected.
        pub algorithm: MeshAlgorithm = MeshAlgorithm::RoundRobin,
        /// Further tries of the proxy after a refused or broken connection or an answer 5xx, each on another task where there is one.
        pub retries: u32 = 2,
        /// Longest wait of the proxy for an answer (perRequestTimeoutSeconds).
        pub per_request_timeout: SimDuration as Seconds = SimDuration::from_secs(15),
        /// Ejection of targets that fail.
        pub outlier_detection: OutlierDetection = OutlierDetection::default(),
        /// CPU of the proxy for one call, on either side.
        pub proxy_cpu: SimDuration = SimDuration::from_nanos(200_000),
        /// Delay until a task that comes or goes is known to the proxies.
        pub propagation: SimDuration = SimDuration::from_secs(2),
        /// Network time between caller and task and back, with the two proxies on the way.
        pub network_latency: TimeLaw = TimeLaw::constant_secs(0.0015),
    }
}

words! {
    /// How a proxy chooses a target.
    pub enum MeshAlgorithm {
        /// In turn: what Service Connect does.
        RoundRobin = "round_robin",
        /// The one of two random targets with fewer requests of this proxy under way (Envoy's least request; not in Service Connect).
        LeastRequest = "least_request",
    }
}

table! {
    /// Ejection of targets by a proxy. Source: Envoy, outlier detection (the same names and defaults).
    pub struct OutlierDetection {
        /// Failures in a row (5xx, connection, time-out) after which a target is ejected; 0 for never.
        pub consecutive_5xx: u32 = 5,
        /// Length of the first ejection; each further one is longer by as much.
        pub base_ejection_time: SimDuration = SimDuration::from_secs(30),
        /// Longest ejection.
        pub max_ejection_time: SimDuration = SimDuration::from_secs(300),
        /// Most targets that a proxy may have ejected, in percent; one is always allowed.
        pub max_ejection_percent: f64 as Percent = 10.0,
    }
}

table! {
    /// A pool of connections in each task of the caller.
    pub struct Pool {
        /// Connections of one task.
        pub max_connections: u32,
        /// Longest wait for a free connection; then the attempt has failed.
        pub acquire_timeout: SimDuration = SimDuration::from_secs(30),
        /// Time after which an unused connection is closed.
        pub idle_timeout: SimDuration = SimDuration::from_secs(600),
        /// Age at which a connection is not used again. Until then it stays with the task that it leads to.
        pub max_lifetime: SimDuration = SimDuration::from_secs(1_800),
    }
}

table! {
    /// Something of finite capacity that services depend on: a database, a cache. It is not a task and costs nothing here.
    pub struct Dependency {
        /// Connections that it accepts; more are refused. Absent: no limit.
        pub max_connections: Option<u32> = None,
        /// Calls that it works on at once; the others wait in its queue, connected.
        pub concurrency: u32 = 16,
        /// Calls that may wait; more are refused. Absent: no limit.
        pub queue: Option<u32> = None,
        /// Work of one call at full speed.
        pub service_time: TimeLaw,
        /// Share of calls answered with an error, 0 to 1.
        pub error_rate: f64 as Share = 0.0,
        /// Network time between caller and dependency and back.
        pub network_latency: TimeLaw = TimeLaw::constant_secs(0.0005),
        /// Times at which it works at another speed.
        pub slowdowns: Vec<Slowdown> = Vec::new(),
    }
}

table! {
    /// A time at which a dependency works at another speed.
    pub struct Slowdown {
        /// Start, from the start of the simulation.
        pub at: SimDuration,
        /// Length.
        pub duration: SimDuration,
        /// Speed in that time: 1 is normal, 0.25 four times as slow, 0 stands still.
        pub speed: f64,
    }
}

table! {
    /// Long-lived connections of the clients: TCP through a Network Load Balancer, WebSockets. Each stays with the target that it got
    /// when it was opened, so that new tasks get load only as connections end.
    pub struct Connections {
        /// How many are open. Each request uses one of them at random; users of a closed population share them evenly.
        pub count: u32,
        /// Time after which a connection ends and a new one is opened.
        pub lifetime: TimeLaw = TimeLaw::constant_secs(3_600.0),
        /// Requests after which it ends. Absent: no limit.
        pub requests: Option<u32> = None,
    }
}

table! {
    /// Clients that come back, for the cookies of `load_balancer.stickiness`.
    pub struct Sessions {
        /// Clients at any time. Each request is one of them at random; users of a closed population share them evenly.
        pub count: u32,
        /// Time after which a client leaves and a new one, without a cookie, takes its place.
        pub lifetime: TimeLaw = TimeLaw::constant_secs(600.0),
    }
}

table! {
    /// Sticky sessions by a cookie of the load balancer. Source: ELB API, target group attributes `stickiness.*` of type `lb_cookie`.
    pub struct Stickiness {
        /// Whether a client stays with its target.
        pub enabled: bool = false,
        /// Age at which a cookie is stale, 1 s to 7 days. Each answer renews it.
        pub duration_seconds: SimDuration as Seconds = SimDuration::from_secs(86_400),
    }
}
