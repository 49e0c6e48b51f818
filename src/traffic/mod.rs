//! Floor 4: the data plane. Requests arrive, a load balancer sends them to task servers, they share a CPU, are
//! answered or lost, and their clients try again.
//!
//! This is the only code that runs once per request; everything above it reads [`ServiceTotals`] and never a single
//! request. [`DataPlane`] owns all of its state and schedules its own events ([`TrafficEvent`]) through an [`Agenda`];
//! the control side adds and changes servers and targets, and is told what it has to know by [`Notice`]s.
//!
//! # What is modelled, and how
//!
//! * A *request* gets one seed when it begins; class, work, waiting, memory and every later draw are functions of it,
//!   so the same request does the same work whatever serves it, and a retry keeps it.
//! * A request reaches the task at the instant it is sent; the whole network time (there and back) lies on the
//!   answer's way. The client sees an answer when it has travelled, and its time-out counts until then.
//! * In the task a request first does all its CPU work, then waits outside of the CPU. It holds a slot and its memory
//!   in both phases; in the accept queue it holds neither.
//! * A client that gives up (time-out), and a balancer that does (idle time-out), leave the attempt behind: the task works
//!   on it, unless the client cancels. Its CPU then counts as wasted.
//! * A request that calls other services keeps its slot and its memory while it waits for them, but no CPU. Each call is a
//!   request of the callee, with the time-out and the retries of the caller; it goes through the callee's balancer, to
//!   an address of the DNS, through the proxies of a mesh, or to a dependency of finite capacity.
//! * Patience runs only in the accept queue; a client that has lost it does not come back.
//! * A health check is a request like others: it takes a slot, waits in the accept queue, is refused when that is
//!   full, and fails when its answer comes late. It passes the balancer's routing by.

mod arrivals;
mod balancer;
mod calls;
mod client;
mod control;
mod credits;
mod curve;
mod faults;
mod front;
mod histogram;
mod jobs;
mod node;
mod path;
mod pins;
mod plan;
mod processor;
mod queue;
mod request;
mod routes;
mod sampler;
mod server;
mod sides;
mod totals;

use std::hash::Hash;

use crate::kernel::{EventQueue, Phase, SimTime, Stream};

pub use balancer::TargetState;
pub use credits::{BurstMode, BurstSpec};
pub use histogram::Histogram;
pub use node::{NodeSpec, NodeTotals};
pub use plan::TrafficError;
pub use queue::{QueueGauges, QueueTotals};
pub use server::{NodeShare, NodeSlot, RevisionEffect, ServerSpec};
pub use sides::{SIDES, SideTotals};
pub use totals::{CallTotals, DependencyTotals, Failure, Failures, Notice, Queueing, ServiceTotals};

use arrivals::Process;
use balancer::{Balancer, Targets};
use calls::{CallPlan, Calls, Edge};
use front::Front;
use queue::{Loops, QueueState, WorkerRules};
use request::Slab;
use routes::{DependencyState, Endpoints};
use sampler::Sampler;
use server::Servers;

/// What the data plane schedules for itself. An event that names a record carries its generation and is dropped when
/// the record has moved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficEvent {
    /// The next request of an open source.
    Arrival {
        /// Which source.
        source: u32,
    },
    /// A user of a closed population has thought and sends a request.
    Think {
        /// Which user.
        user: u32,
    },
    /// The oldest attempt of a front may have waited long enough.
    Deadline {
        /// Which front.
        front: u32,
    },
    /// A request's waiting outside of the CPU, or its time at an external target group, is over.
    WaitEnd {
        /// Its record.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// A backoff is over.
    Retry {
        /// Its record.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// Patience in an accept queue is over.
    Patience {
        /// Its record.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// The client's time-out ends while the answer is still on its way.
    Late {
        /// Its record.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// Messages of a queue may become visible.
    Queue {
        /// Which queue.
        queue: u32,
    },
    /// A loop of a worker gets the answer of its receive.
    Poll {
        /// The worker's server.
        server: u32,
        /// Which life of the server.
        epoch: u32,
    },
    /// A health check should have been answered by now.
    ProbeTimeout {
        /// Its record.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// The end of a call reaches its caller.
    Returned {
        /// Its record.
        call: u32,
        /// The record's generation.
        generation: u32,
    },
    /// The wait for a place in a pool is over.
    PoolTimeout {
        /// The record of the attempt.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// A connection has not come about in time.
    ConnectTimeout {
        /// The record of the attempt.
        request: u32,
        /// The record's generation.
        generation: u32,
    },
    /// A connection of a pool may have been unused for too long.
    Sweep {
        /// Whose calls.
        edge: u32,
        /// The caller's server.
        server: u32,
    },
    /// A dependency changes its speed, as planned.
    Speed {
        /// Which dependency.
        dependency: u32,
        /// Which of its changes.
        change: u32,
    },
    /// The CPU credits of a node may be spent.
    Credits {
        /// The node's slot.
        node: u32,
        /// The generation of what is in the slot.
        generation: u32,
    },
}

/// Where the data plane puts its future events.
pub trait Agenda {
    /// The current instant.
    fn now(&self) -> SimTime;
    /// Schedules a one-shot event.
    fn schedule(&mut self, at: SimTime, phase: Phase, event: TrafficEvent);
    /// Sets or moves the next completion of a server.
    fn set_completion(&mut self, server: u32, at: SimTime);
    /// Takes the next completion of a server back.
    fn cancel_completion(&mut self, server: u32);
}

impl<E: Copy + From<TrafficEvent>, T: Copy + Hash + Eq> Agenda for EventQueue<E, T> {
    #[inline]
    fn now(&self) -> SimTime {
        EventQueue::now(self)
    }

    #[inline]
    fn schedule(&mut self, at: SimTime, phase: Phase, event: TrafficEvent) {
        EventQueue::schedule(self, at, phase, E::from(event));
    }

    #[inline]
    fn set_completion(&mut self, server: u32, at: SimTime) {
        EventQueue::set_completion(self, server, at);
    }

    #[inline]
    fn cancel_completion(&mut self, server: u32) {
        EventQueue::cancel_completion(self, server);
    }
}

/// The data plane of one simulation.
#[derive(Clone, Debug)]
pub struct DataPlane {
    services: Vec<ServiceState>,
    classes: Vec<Class>,
    sources: Vec<Source>,
    users: Vec<User>,
    populations: Vec<Population>,
    servers: Servers,
    targets: Targets,
    requests: Slab,
    queues: Vec<QueueState>,
    /// By server, for those that work on queues.
    loops: Vec<Loops>,
    notices: Vec<Notice>,
    /// The ways to the services: those of the clients outside, by service, then those of the calls.
    fronts: Vec<Front>,
    edges: Vec<Edge>,
    call_plans: Vec<CallPlan>,
    calls: Calls,
    dependencies: Vec<DependencyState>,
    /// What callers can find by themselves, by service of the plan.
    endpoints: Vec<Endpoints>,
    /// How many tasks have used each server number before.
    incarnations: Vec<u32>,
    /// Pools in which a place may have become free for somebody who waits: edge and server of the caller.
    wake: Vec<(u32, u32)>,
    /// Root of the draws that belong to no request.
    route_root: u64,
}

/// A class of requests, ready for the request path. Times in nanoseconds.
#[derive(Clone, Debug)]
struct Class {
    cpu: Sampler,
    wait: Option<Sampler>,
    memory: Option<Sampler>,
    request_bytes: u64,
    response_bytes: u64,
    error_rate: f64,
    /// CPU work of the proxies of a mesh.
    proxy_cpu: f64,
    /// What it calls, by number of the plan; [`request::NONE`] for nobody.
    calls: u32,
    /// Share of the CPU work that is done before.
    before_calls: f64,
    /// What a fault of the dependency adds to the class's own error rate, and its factor on the waiting.
    fault_errors: f64,
    wait_factor: f64,
}

/// Target groups of its own that a service has: deployments with a second fleet need two.
pub const OWN_GROUPS: usize = 2;

/// A target group of the service's own, or one beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Own(u8),
    External,
    Empty,
}

#[derive(Clone, Debug)]
struct ServiceState {
    totals: ServiceTotals,
    /// What its two sides answer, where somebody tells them apart.
    sides: sides::Sides,
    /// The service's own target groups.
    balancers: [Balancer; OWN_GROUPS],
    /// Weights of the target groups beside its own, and that of its own ones together.
    beside: Vec<(f64, Group)>,
    own_weight: f64,
    /// Target groups with the upper end of their share, when there are several.
    groups: Vec<(f64, Group)>,
    /// The one that gets everything when there are not.
    sole: u8,
    /// For a service that works on a queue.
    worker: Option<WorkerRules>,
    in_flight: u64,
    connections_per_request: f64,
    /// Share of connections that go to a balancer node that is lost.
    lost_entry: f64,
    connection_carry: f64,
    observed: Observed,
}

/// What the optional queueing statistics look at.
#[derive(Clone, Copy, Debug, Default)]
struct Observed {
    since: u64,
    queued: u32,
    inside: u32,
}

#[derive(Clone, Debug)]
struct Source {
    service: u32,
    /// The queue it sends to; none for requests.
    queue: u32,
    /// Root of the seeds of its requests.
    root: u64,
    count: u64,
    process: Process,
    stream: Stream,
}

/// A closed population.
#[derive(Clone, Debug)]
struct Population {
    service: u32,
    think: Sampler,
}

#[derive(Clone, Copy, Debug)]
struct User {
    population: u32,
    seed: u64,
    cycle: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<TrafficEvent>() <= 12);
    }
}
