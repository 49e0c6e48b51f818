//! Building the data plane of a plan.

use std::collections::VecDeque;

use super::arrivals::{Process, RateProcess, RecordedProcess, TraceProcess};
use super::balancer::{Balancer, Targets};
use super::client::ClientRules;
use super::curve::RateCurve;
use super::queue::{QueueRules, QueueState, WorkerRules};
use super::request::{NONE, Slab};
use super::sampler::{Sampler, Tables};
use super::server::Servers;
use super::{Class, DataPlane, Group, Observed, Population, ServiceState, ServiceTotals, Source, User};
use crate::kernel::{Draw, Law, SimDuration, Streams};
use crate::scenario::model::{Algorithm, Inputs, LoadBalancer, Plan, Queue, Service, TimeLaw, Traffic, Worker};

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
            plane.add_service(service, &with.tables, invalid)?;
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
        Ok(plane)
    }

    fn add_service(
        &mut self,
        service: &Service,
        tables: &Tables,
        invalid: impl Fn(&'static str, String) -> TrafficError,
    ) -> Result<(), TrafficError> {
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
        let idle = lb.idle_timeout.as_nanos();
        let client_limit = client.timeout.is_some_and(|t| t <= idle);
        let mut state = ServiceState {
            totals: ServiceTotals::default(),
            balancers: std::array::from_fn(|_| {
                Balancer::new(lb.algorithm, lb.choices, lb.slow_start.as_nanos(), lb.minimum_healthy_targets)
            }),
            beside,
            own_weight,
            groups: Vec::new(),
            sole: 0,
            patience: service.client.patience.as_ref().filter(|_| service.worker.is_none()).map(|l| law(l, tables)),
            network: law(&lb.network_latency, tables),
            limit: client.timeout.unwrap_or(u64::MAX).min(idle),
            client_limit,
            client,
            worker: None,
            ring: VecDeque::new(),
            armed: false,
            first_class,
            class_shares,
            in_flight: 0,
            lost_entry: 0.0,
            connections_per_request: lb.connections_per_request.max(0.0),
            connection_carry: 0.0,
            observed: Observed::default(),
        };
        state.share([1.0, 0.0]);
        self.services.push(state);
        Ok(())
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
