//! Building the data plane of a plan.

use std::collections::VecDeque;

use super::arrivals::{Process, RateProcess, RecordedProcess, TraceProcess};
use super::balancer::{Balancer, Target, Targets};
use super::calls::{CallPlan, Calls, Edge, Step};
use super::client::ClientRules;
use super::curve::RateCurve;
use super::front::Front;
use super::pins::{Pin, Pins};
use super::queue::{QueueRules, QueueState, WorkerRules};
use super::request::{NONE, Slab};
use super::routes::{DependencyState, Endpoints, PoolRules, Route};
use super::sampler::{Sampler, Tables};
use super::server::{RevisionEffect, ServerSpec, Servers};
use super::totals::{CallTotals, Queueing};
use super::{Class, DataPlane, Group, Observed, Population, ServiceState, ServiceTotals, Source, User};
use crate::kernel::{Draw, Law, SimDuration, Streams};
use crate::scenario::model::{
    Algorithm, Call, Client, CpuModel, Dependency, Inputs, LoadBalancer, Plan, Queue, Repeat, Service, TimeLaw,
    Traffic, Via, Worker,
};
use crate::units::{Bytes, Cpu, ServiceId};

/// Seconds to nanoseconds.
const NANOS: f64 = 1e9;

/// Why a plan's traffic cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// A file that the plan names is not among the inputs.
    #[error("{kind}.{name}.traffic: the file {file:?} was not read")]
    MissingInput {
        /// `services` or `queues`.
        kind: &'static str,
        /// Which one.
        name: String,
        /// The name that the plan gives.
        file: String,
    },
    /// There are more services and calls than the data plane can tell apart.
    #[error("more than 65,535 services and calls")]
    TooMany,
    /// A value of a queue has no meaning.
    #[error("queues.{queue}.{address}: {what}")]
    Queue {
        /// The queue.
        queue: String,
        /// The address inside the queue.
        address: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A value has no meaning.
    #[error("services.{service}.{address}: {what}")]
    Invalid {
        /// The service.
        service: String,
        /// The address inside the service.
        address: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// What sources are built with.
struct With<'a> {
    inputs: &'a Inputs,
    streams: &'a Streams,
    /// The time of day (UTC) at which the simulation starts.
    time_of_day: SimDuration,
    tables: Tables,
}

fn law(time: &TimeLaw, tables: &Tables) -> Sampler {
    Sampler::new(time.law(), NANOS, tables)
}

fn optional(law: &Law, unit: f64, tables: &Tables) -> Option<Sampler> {
    Some(Sampler::new(law, unit, tables)).filter(|s| !s.is_zero())
}

/// Upper ends of shares, in proportion to weights.
pub(super) fn shares(weights: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let total: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, w| {
            *sum += w;
            Some(*sum / total)
        })
        .collect()
}

impl DataPlane {
    /// The data plane of a plan: its services, classes, clients, sources and balancers, without any server.
    ///
    /// # Errors
    /// When an input file is missing or a value of the traffic, the request classes or the load balancer makes no sense.
    pub fn new(plan: &Plan, inputs: &Inputs, streams: &Streams) -> Result<Self, TrafficError> {
        let mut plane = Self {
            services: Vec::new(),
            classes: Vec::new(),
            sources: Vec::new(),
            users: Vec::new(),
            populations: Vec::new(),
            servers: Servers::default(),
            targets: Targets::default(),
            requests: Slab::default(),
            queues: plan.queues.values().map(|q| QueueState::new(queue_rules(plan, q))).collect(),
            loops: Vec::new(),
            notices: Vec::new(),
            fronts: Vec::new(),
            edges: Vec::new(),
            call_plans: Vec::new(),
            calls: Calls::default(),
            dependencies: Vec::new(),
            endpoints: vec![Endpoints::default(); plan.services.len()],
            incarnations: Vec::new(),
            wake: Vec::new(),
            route_root: streams.root("routes"),
        };
        let time_of_day = plan.simulation.start.as_second().rem_euclid(86_400);
        let with = With {
            inputs,
            streams,
            time_of_day: SimDuration::from_secs(time_of_day.unsigned_abs()),
            tables: Tables::default(),
        };
        for (name, service) in &plan.services {
            let invalid = |address, what: String| TrafficError::Invalid { service: name.clone(), address, what };
            plane.add_service(name, service, &with, invalid)?;
            let state = plane.services.last_mut().expect("it was added just now");
            state.worker = service.worker.as_ref().and_then(|w| worker_rules(plan, name, w, &with));
            let to = SendsTo { service: (plane.services.len() - 1) as u32, queue: NONE, kind: "services", name };
            plane.add_sources(to, &service.traffic, &with, invalid)?;
            if service.requests.is_empty() && plane.sends_to(to.service) {
                return Err(invalid("requests", "the service has traffic but no request class".into()));
            }
        }
        for (index, (name, queue)) in plan.queues.iter().enumerate() {
            let invalid = |address, what: String| TrafficError::Queue { queue: name.clone(), address, what };
            let to = SendsTo { service: NONE, queue: index as u32, kind: "queues", name };
            plane.add_sources(to, &queue.traffic, &with, invalid)?;
        }
        for dependency in plan.dependencies.values() {
            plane.add_dependency(dependency, &with.tables);
        }
        plane.add_calls(plan, &with.tables)?;
        Ok(plane)
    }

    fn add_service(
        &mut self,
        name: &str,
        service: &Service,
        with: &With<'_>,
        invalid: impl Fn(&'static str, String) -> TrafficError,
    ) -> Result<(), TrafficError> {
        let tables = &with.tables;
        let first_class = self.classes.len() as u32;
        for class in service.requests.values() {
            if !(class.weight.is_finite() && class.weight >= 0.0) {
                return Err(invalid("requests", "a weight is negative or not finite".into()));
            }
            self.classes.push(Class {
                cpu: law(&class.cpu_time, tables),
                wait: optional(class.wait.law(), NANOS, tables),
                memory: optional(class.memory.law(), 1.0, tables),
                request_bytes: class.request_bytes.get(),
                response_bytes: class.response_bytes.get(),
                error_rate: class.error_rate,
                proxy_cpu: 0.0,
                calls: NONE,
                before_calls: 1.0,
                fault_errors: 0.0,
                wait_factor: 1.0,
            });
        }
        let mut class_shares = shares(service.requests.values().map(|c| c.weight));
        if class_shares.last().is_some_and(|s| s.is_nan()) {
            return Err(invalid("requests", "the weights of all classes are zero".into()));
        }
        class_shares.pop();

        let default;
        let lb = match &service.load_balancer {
            Some(lb) => lb,
            None => {
                default = LoadBalancer::default();
                &default
            }
        };
        let own_weight = f64::from(lb.target_groups.get("main").map_or(1, |g| g.weight));
        let others = lb.target_groups.iter().filter(|(name, _)| *name != "main");
        let beside: Vec<(f64, Group)> = others
            .map(|(_, g)| (f64::from(g.weight), if g.external { Group::External } else { Group::Empty }))
            .collect();
        if own_weight + beside.iter().map(|g| g.0).sum::<f64>() <= 0.0 {
            return Err(invalid("load_balancer.target_groups", "the weights of all target groups are zero".into()));
        }
        if lb.algorithm == Algorithm::PowerOfChoices && lb.choices == 0 {
            return Err(invalid("load_balancer.choices", "at least one target must be looked at".into()));
        }
        let client = ClientRules::new(&service.client);
        let idle = lb.gives_up_after().as_nanos();
        let client_limit = client.timeout.is_some_and(|t| t <= idle);
        let mut state = ServiceState {
            totals: ServiceTotals::default(),
            balancers: std::array::from_fn(|_| {
                Balancer::new(lb.chooses_by(), lb.choices, lb.slow_start.as_nanos(), lb.minimum_healthy_targets)
                    .by_stages(service.stages())
            }),
            beside,
            own_weight,
            sides: None,
            groups: Vec::new(),
            sole: 0,
            worker: None,
            in_flight: 0,
            lost_entry: 0.0,
            connections_per_request: lb.connections_per_request.max(0.0),
            connection_carry: 0.0,
            observed: Observed::default(),
        };
        state.share([1.0, 0.0]);
        self.services.push(state);
        let pins = pins(service, lb, with.streams.root(&format!("pins/{name}")), tables);
        self.fronts.push(Front {
            patience: service.client.patience.as_ref().filter(|_| service.worker.is_none()).map(|l| law(l, tables)),
            network: law(&lb.network_latency, tables),
            limit: client.timeout.unwrap_or(u64::MAX).min(idle),
            client_limit,
            client,
            ring: VecDeque::new(),
            armed: false,
            first_class,
            class_shares,
            plain: pins.is_none(),
            balanced: true,
            edge: NONE,
            pins,
        });
        Ok(())
    }

    /// A dependency is a service of its own that nobody sees: one server, always ready, that works on as many calls as it
    /// has workers.
    fn add_dependency(&mut self, dependency: &Dependency, tables: &Tables) {
        let service = self.services.len() as u32;
        let lb = LoadBalancer::default();
        let mut state = ServiceState {
            totals: ServiceTotals { queueing: Some(Box::<Queueing>::default()), ..ServiceTotals::default() },
            balancers: std::array::from_fn(|_| Balancer::new(lb.algorithm, lb.choices, 0, 1)),
            beside: Vec::new(),
            own_weight: 1.0,
            sides: None,
            groups: Vec::new(),
            sole: 0,
            worker: None,
            in_flight: 0,
            lost_entry: 0.0,
            connections_per_request: 0.0,
            connection_carry: 0.0,
            observed: Observed::default(),
        };
        state.share([1.0, 0.0]);
        self.services.push(state);
        let workers = dependency.concurrency.max(1);
        let spec = ServerSpec {
            service: ServiceId(service),
            cpu: Cpu::from_vcpus(u64::from(workers)),
            model: CpuModel::Fluid,
            memory: Bytes::new(u64::MAX),
            memory_idle: Bytes::ZERO,
            concurrency: Some(workers),
            accept_queue: dependency.queue,
            effect: RevisionEffect::default(),
            group: 0,
            node: None,
        };
        let server = self.servers.add(&spec, 0);
        self.servers.cold[server as usize].ready = true;
        self.servers.set_limit(server);
        self.targets.of.push(Target::NEW);
        self.targets.outstanding.push(0);
        self.classes.push(dependency_class(&dependency.service_time, dependency, tables));
        let changes = dependency.slowdowns.iter();
        self.dependencies.push(DependencyState {
            service: service as u16,
            server,
            max_connections: dependency.max_connections.unwrap_or(u32::MAX),
            connections: 0,
            peak: 0,
            area: 0,
            since: 0,
            refused: 0,
            planned_speed: 1.0,
            set_speed: 1.0,
            changes: changes
                .flat_map(|s| {
                    [(s.at.as_nanos(), s.speed), (s.at.as_nanos().saturating_add(s.duration.as_nanos()), 1.0)]
                })
                .collect(),
            used: 0.0,
        });
    }

    /// Who calls whom. Services and dependencies are known.
    fn add_calls(&mut self, plan: &Plan, tables: &Tables) -> Result<(), TrafficError> {
        let of_dependency = self.classes.len() - plan.dependencies.len();
        let mut reached: Vec<(&Service, &Call, usize)> = Vec::new();
        for (caller, service) in plan.services.values().enumerate() {
            for (name, call) in &service.calls {
                let dependency = plan.dependencies.get_index_of(name);
                let at = plan.services.get_index_of(name).or(dependency.map(|d| plan.services.len() + d));
                let Some(callee) = at else { continue };
                self.add_edge(plan, caller as u32, callee, call, tables);
                reached.push((service, call, callee));
            }
        }
        if self.fronts.len() > usize::from(u16::MAX) || self.services.len() > usize::from(u16::MAX) {
            return Err(TrafficError::TooMany);
        }
        // What each class calls; then what is called has its own calls, and the proxies' work comes on top.
        for (caller, service) in plan.services.values().enumerate() {
            let first = self.fronts[caller].first_class as usize;
            for (i, (name, class)) in service.requests.iter().enumerate() {
                let of_class = |c: &Call| c.classes.is_empty() || c.classes.iter().any(|n| n == name);
                let mut steps = Vec::new();
                let mut proxy_cpu = 0.0;
                for (edge, (of, call, _)) in reached.iter().enumerate() {
                    if std::ptr::eq(*of, service) && of_class(call) && call.count > 0.0 {
                        steps.push(Step { stage: call.stage, edge: edge as u32, count: call.count });
                        proxy_cpu += call.count * mesh_cpu(call);
                    }
                }
                if !steps.is_empty() {
                    steps.sort_by_key(|s| s.stage);
                    let class_state = &mut self.classes[first + i];
                    class_state.calls = self.call_plans.len() as u32;
                    class_state.before_calls = class.cpu_before_calls;
                    class_state.proxy_cpu = proxy_cpu;
                    self.call_plans.push(CallPlan { steps });
                }
            }
        }
        for (edge, &(_, call, callee)) in reached.iter().enumerate() {
            let front = usize::from(self.edges[edge].front);
            let (first, shares) = match callee.checked_sub(plan.services.len()) {
                Some(d) => {
                    let dependency = &plan.dependencies[d];
                    let first = match &call.service_time {
                        None => of_dependency + d,
                        Some(time) => {
                            self.classes.push(dependency_class(time, dependency, tables));
                            self.classes.len() - 1
                        }
                    };
                    (first, Vec::new())
                }
                None => {
                    let own = &self.fronts[callee];
                    let (first, shares) = (own.first_class as usize, own.class_shares.clone());
                    let requests = &plan.services[callee].requests;
                    let (first, n, shares) = match call.request.as_ref().and_then(|r| requests.get_index_of(r)) {
                        Some(at) => (first + at, 1, Vec::new()),
                        None => (first, requests.len(), shares),
                    };
                    let proxy_cpu = mesh_cpu(call);
                    if proxy_cpu > 0.0 {
                        let copies: Vec<Class> = self.classes[first..first + n]
                            .iter()
                            .map(|c| Class { proxy_cpu: c.proxy_cpu + proxy_cpu, ..c.clone() })
                            .collect();
                        self.classes.extend(copies);
                        (self.classes.len() - n, shares)
                    } else {
                        (first, shares)
                    }
                }
            };
            self.fronts[front].first_class = first as u32;
            self.fronts[front].class_shares = shares;
        }
        Ok(())
    }

    fn add_edge(&mut self, plan: &Plan, caller: u32, callee: usize, call: &Call, tables: &Tables) {
        let client = ClientRules::of_call(call);
        let timeout = client.timeout.unwrap_or(u64::MAX);
        let default = LoadBalancer::default();
        let (route, network, others) = match callee.checked_sub(plan.services.len()) {
            Some(d) => (Route::Dependency(d as u32), &plan.dependencies[d].network_latency, u64::MAX),
            None => match &call.via {
                None | Some(Via::LoadBalancer(_)) => {
                    let lb = plan.services[callee].load_balancer.as_ref().unwrap_or(&default);
                    (Route::Balancer, &lb.network_latency, lb.gives_up_after().as_nanos())
                }
                Some(Via::ServiceDiscovery(v)) => {
                    let propagation = v.propagation.as_nanos();
                    let endpoints = &mut self.endpoints[callee];
                    (endpoints.longest, endpoints.wanted) = (propagation.max(endpoints.longest), true);
                    let route = Route::Discovery {
                        ttl: v.ttl.as_nanos(),
                        answers: v.answers as usize,
                        connect_timeout: v.connect_timeout.as_nanos(),
                        propagation,
                    };
                    (route, &v.network_latency, u64::MAX)
                }
                Some(Via::ServiceConnect(v)) => {
                    let propagation = v.propagation.as_nanos();
                    let endpoints = &mut self.endpoints[callee];
                    (endpoints.longest, endpoints.wanted) = (propagation.max(endpoints.longest), true);
                    let route = Route::Mesh {
                        algorithm: v.algorithm,
                        tries: v.retries,
                        outliers: v.outlier_detection.clone(),
                        propagation,
                    };
                    (route, &v.network_latency, v.per_request_timeout.as_nanos())
                }
            },
        };
        let balanced = matches!(route, Route::Balancer);
        self.edges.push(Edge {
            caller,
            callee: callee as u16,
            front: self.fronts.len() as u16,
            required: call.required,
            in_turn: call.repeat == Repeat::Sequence,
            route,
            pool: call.pool.as_ref().map(|p| PoolRules {
                max: p.max_connections.max(1),
                acquire_timeout: p.acquire_timeout.as_nanos(),
                idle_timeout: p.idle_timeout.as_nanos(),
                max_lifetime: p.max_lifetime.as_nanos(),
            }),
            sites: Vec::new(),
            totals: CallTotals::default(),
            in_flight: 0,
        });
        self.fronts.push(Front {
            patience: None,
            network: law(network, tables),
            limit: timeout.min(others),
            client_limit: client.timeout.is_some_and(|t| t <= others),
            client,
            ring: VecDeque::new(),
            armed: false,
            first_class: 0,
            class_shares: Vec::new(),
            plain: false,
            balanced,
            edge: (self.edges.len() - 1) as u32,
            pins: None,
        });
    }

    /// Whether a service has a source of its own.
    fn sends_to(&self, service: u32) -> bool {
        self.sources.iter().any(|s| s.service == service) || self.populations.iter().any(|p| p.service == service)
    }

    fn add_sources(
        &mut self,
        to: SendsTo<'_>,
        traffic: &Traffic,
        with: &With<'_>,
        invalid: impl Fn(&'static str, String) -> TrafficError,
    ) -> Result<(), TrafficError> {
        let With { inputs, streams, time_of_day, ref tables } = *with;
        let SendsTo { service: id, queue, kind, name } = to;
        // The streams of services have no word for their kind, those of queues do.
        let of = if queue == NONE { name.to_owned() } else { format!("{kind}/{name}") };
        let mut add = |source: &str, process: Process| {
            self.sources.push(Source {
                service: id,
                queue,
                root: streams.root(&format!("requests/{of}/{source}")),
                count: 0,
                process,
                stream: streams.stream(&format!("arrivals/{of}/{source}")),
            });
        };
        let curve =
            RateCurve::new(&traffic.rate, traffic.shapes.values(), time_of_day).map_err(|e| invalid("traffic", e))?;
        if !curve.is_zero() {
            let process =
                RateProcess::new(curve, &traffic.arrivals, tables).map_err(|e| invalid("traffic.arrivals", e))?;
            add("rate", Process::Rate(process));
        }
        let missing = |file: &str| TrafficError::MissingInput { kind, name: name.to_owned(), file: file.to_owned() };
        if let Some(trace) = &traffic.trace {
            let rows = inputs.traces.get(&trace.file).ok_or_else(|| missing(&trace.file))?;
            let process = TraceProcess::new(trace, rows.clone()).map_err(|e| invalid("traffic.trace", e))?;
            add("trace", Process::Trace(process));
        }
        if let Some(recorded) = &traffic.recorded {
            let instants = inputs.recordings.get(&recorded.file).ok_or_else(|| missing(&recorded.file))?;
            let process =
                RecordedProcess::new(recorded, instants.clone()).map_err(|e| invalid("traffic.recorded", e))?;
            add("recorded", Process::Recorded(process));
        }
        if let Some(users) = &traffic.users {
            let population = self.populations.len() as u32;
            self.populations.push(Population { service: id, think: law(&users.think, tables) });
            let root = Draw::new(streams.root(&format!("users/{name}")));
            self.users.extend((0..users.count).map(|i| User {
                population,
                seed: root.of(u64::from(i)).bits(),
                cycle: 0,
            }));
        }
        Ok(())
    }
}

/// The class of the calls of a dependency.
fn dependency_class(time: &TimeLaw, dependency: &Dependency, tables: &Tables) -> Class {
    Class {
        cpu: law(time, tables),
        wait: None,
        memory: None,
        request_bytes: 0,
        response_bytes: 0,
        error_rate: dependency.error_rate,
        fault_errors: 0.0,
        wait_factor: 1.0,
        proxy_cpu: 0.0,
        calls: NONE,
        before_calls: 1.0,
    }
}

/// CPU work of a mesh's proxy for one call, nanoseconds.
fn mesh_cpu(call: &Call) -> f64 {
    match &call.via {
        Some(Via::ServiceConnect(v)) => v.proxy_cpu.as_nanos() as f64,
        _ => 0.0,
    }
}

/// What binds the clients of a service to its targets.
fn pins(service: &Service, lb: &LoadBalancer, root: u64, tables: &Tables) -> Option<Box<Pins>> {
    let Client { connections, sessions, .. } = &service.client;
    let (cookies, count, lifetime, requests) = match (connections, sessions) {
        (Some(c), _) => (false, c.count, &c.lifetime, c.requests),
        (None, Some(s)) if lb.stickiness.enabled => (true, s.count, &s.lifetime, None),
        _ => return None,
    };
    Some(Box::new(Pins {
        cookies,
        lifetime: law(lifetime, tables),
        requests: requests.unwrap_or(u32::MAX),
        duration: lb.stickiness.duration_seconds.as_nanos(),
        root,
        all: vec![Pin::NEW; count.max(1) as usize],
    }))
}

/// Who gets what a source sends.
#[derive(Clone, Copy)]
struct SendsTo<'a> {
    service: u32,
    queue: u32,
    kind: &'static str,
    name: &'a str,
}

fn queue_rules(plan: &Plan, queue: &Queue) -> QueueRules {
    let dead_letter = queue.redrive_policy.as_ref().and_then(|r| {
        let to = plan.queues.get_index_of(&r.dead_letter_queue)?;
        Some((to as u32, r.max_receive_count))
    });
    QueueRules {
        visibility: queue.visibility_timeout.as_nanos(),
        retention: queue.message_retention_period.as_nanos(),
        delay: queue.delay_seconds.as_nanos(),
        dead_letter,
        max_in_flight: u64::from(queue.max_in_flight),
    }
}

fn worker_rules(plan: &Plan, name: &str, worker: &Worker, with: &With<'_>) -> Option<WorkerRules> {
    Some(WorkerRules {
        queue: plan.queues.get_index_of(&worker.queue)? as u32,
        batch: worker.max_number_of_messages,
        wait: worker.wait_time_seconds.as_nanos(),
        pause: worker.poll_interval.as_nanos(),
        latency: law(&worker.receive_latency, &with.tables),
        heartbeat: worker.heartbeat.map(|h| h.as_nanos()),
        root: with.streams.root(&format!("receives/{name}")),
        receives: 0,
    })
}
