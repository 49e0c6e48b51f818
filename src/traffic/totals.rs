//! What the data plane counts: the only thing that telemetry and billing read of it.

use super::histogram::Histogram;
use crate::units::ServerId;

/// What the control side has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The requests in a server needed more memory than its limit: everything in it is lost and it serves no more.
    OutOfMemory {
        /// The server.
        server: ServerId,
    },
    /// A health check was answered, or failed.
    Probe {
        /// The server.
        server: ServerId,
        /// What the caller gave with the probe.
        token: u64,
        /// Whether it was answered in time.
        ok: bool,
    },
    /// A server has done the work that [`super::DataPlane::run`] gave it.
    Done {
        /// The server.
        server: ServerId,
        /// Whether it ended well.
        ok: bool,
    },
    /// A server that accepts nothing more has finished its last request.
    Idle {
        /// The server.
        server: ServerId,
    },
}

/// Why a request failed, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// No answer within the client's time-out.
    Timeout = 0,
    /// 503: the balancer had no target.
    Unavailable = 1,
    /// 502: connection refused or reset, or the target went away.
    BadGateway = 2,
    /// 504: no answer within the balancer's idle time-out.
    GatewayTimeout = 3,
    /// 5xx of the application.
    ServerError = 4,
    /// The client left: it lost patience in the accept queue, or it is a caller whose own request has ended.
    Abandoned = 5,
    /// No connection: refused, not come about in time, or none free in the caller's pool.
    NoConnection = 6,
}

/// Whole requests that failed, by the reason of their last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// No answer within the client's time-out.
    pub timeout: u64,
    /// 503: the balancer had no target.
    pub unavailable: u64,
    /// 502: connection refused or reset, or the target went away.
    pub bad_gateway: u64,
    /// 504: no answer within the balancer's idle time-out.
    pub gateway_timeout: u64,
    /// 5xx of the application.
    pub server_error: u64,
    /// The client left: it lost patience in the accept queue, or it is a caller whose own request has ended.
    pub abandoned: u64,
    /// No connection: refused, not come about in time, or none free in the caller's pool. Only for calls that do not go
    /// through a balancer, or from a pool.
    pub no_connection: u64,
}

impl Failures {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.timeout
            + self.unavailable
            + self.bad_gateway
            + self.gateway_timeout
            + self.server_error
            + self.abandoned
            + self.no_connection
    }

    pub(super) fn count(&mut self, why: Failure) {
        *match why {
            Failure::Timeout => &mut self.timeout,
            Failure::Unavailable => &mut self.unavailable,
            Failure::BadGateway => &mut self.bad_gateway,
            Failure::GatewayTimeout => &mut self.gateway_timeout,
            Failure::ServerError => &mut self.server_error,
            Failure::Abandoned => &mut self.abandoned,
            Failure::NoConnection => &mut self.no_connection,
        } += 1;
    }

    fn merge(&mut self, o: &Self) {
        self.timeout += o.timeout;
        self.unavailable += o.unavailable;
        self.bad_gateway += o.bad_gateway;
        self.gateway_timeout += o.gateway_timeout;
        self.server_error += o.server_error;
        self.abandoned += o.abandoned;
        self.no_connection += o.no_connection;
    }
}

/// What happened to the requests of one service over some time. Totals of adjoining intervals, or of
/// several services, are added with [`ServiceTotals::merge`].
///
/// A *request* is what a client wants; an *attempt* is one try at it, seen by the balancer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTotals {
    /// Attempts that were sent: all that reached the balancer, and `direct` ones.
    pub attempts: u64,
    /// Attempts of callers that reached a target past the balancer: by service discovery, a mesh, or as a dependency.
    pub direct: u64,
    /// Their bytes; part of `request_bytes` and `response_bytes`.
    pub direct_bytes: u64,
    /// Attempts that a target answered without error.
    pub responses_2xx: u64,
    /// Attempts that a target answered with an error of its own.
    pub target_5xx: u64,
    /// Attempts answered 502 by the balancer.
    pub elb_502: u64,
    /// Attempts answered 503 by the balancer.
    pub elb_503: u64,
    /// Attempts answered 504 by the balancer.
    pub elb_504: u64,
    /// Attempts whose client gave up first (460 in the balancer's log).
    pub client_gone_460: u64,
    /// Attempts that a target refused: not ready, stopping, or its accept queue full. Part of `elb_502`, but for direct ones.
    pub refused: u64,
    /// Attempts that went to a target (a task or an external group), refused ones included.
    pub routed: u64,
    /// Requests begun.
    pub started: u64,
    /// Requests answered without error.
    pub succeeded: u64,
    /// Requests that failed, by reason.
    pub failed: Failures,
    /// Retries sent (or waiting out their backoff).
    pub retries: u64,
    /// Retries that the client's budget did not allow.
    pub retries_denied: u64,
    /// Requests begun and not finished at the end of the time, those in backoff included. Not added by
    /// [`ServiceTotals::merge`] of later time: the later value stands.
    pub in_flight: u64,
    /// Latency of successful requests at the client, from the first attempt, retries and network included.
    pub latency: Histogram,
    /// Latency of all finished requests, failed ones included.
    pub latency_all: Histogram,
    /// Time from the balancer's sending an attempt until the target's answer (TargetResponseTime).
    pub response: Histogram,
    /// Bytes of the attempts that reached the balancer.
    pub request_bytes: u64,
    /// Bytes of the targets' answers.
    pub response_bytes: u64,
    /// Those of them that went to other services, not to clients outside.
    pub inner_response_bytes: u64,
    /// New client connections at the balancer; the fraction is carried from one interval to the next.
    pub new_connections: u64,
    /// Attempts that began to be worked on after a wait in the accept queue.
    pub waited: u64,
    /// Time that these waited, in nanoseconds.
    pub waited_nanos: u128,
    /// CPU spent on attempts whose answer nobody got, in vCPU-seconds, counted when the attempt ends.
    pub cpu_wasted: f64,
    /// Tasks that ran out of memory.
    pub out_of_memory: u64,
    /// Queueing statistics, when switched on for the service.
    pub queueing: Option<Box<Queueing>>,
}

/// What happened to the calls of one service to another service or to a dependency over some time. Totals of adjoining
/// intervals are added with [`CallTotals::merge`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTotals {
    /// Calls begun.
    pub calls: u64,
    /// Attempts that were sent; those that found no place in the pool are not among them.
    pub attempts: u64,
    /// Calls answered without error.
    pub succeeded: u64,
    /// Calls that failed, by reason.
    pub failed: Failures,
    /// Retries, by the caller or by its proxy.
    pub retries: u64,
    /// Retries that the caller's budget did not allow.
    pub retries_denied: u64,
    /// Retries by the proxy of a mesh; part of `retries`.
    pub proxy_retries: u64,
    /// Targets that a proxy ejected.
    pub ejections: u64,
    /// Calls begun and not ended at the end of the time. Not added by [`CallTotals::merge`]: the later value stands.
    pub in_flight: u64,
    /// Latency of successful calls as their callers see it, with retries and the wait for a connection.
    pub latency: Histogram,
    /// Latency of all calls, failed ones included.
    pub latency_all: Histogram,
    /// Wait for a place in the pool, zeros and waits in vain included.
    pub pool_wait: Histogram,
    /// Waits for a place in the pool that were in vain.
    pub pool_timeouts: u64,
    /// The most connections of one pool.
    pub pool_peak: u32,
    /// Connections that were refused: the dependency has too many, the task is gone, or no address is known.
    pub refused: u64,
    /// Connections that did not come about in time: the address of a task that is gone.
    pub connect_timeouts: u64,
}

impl CallTotals {
    /// Adds the totals of a later interval.
    pub fn merge(&mut self, o: &Self) {
        self.calls += o.calls;
        self.attempts += o.attempts;
        self.succeeded += o.succeeded;
        self.failed.merge(&o.failed);
        self.retries += o.retries;
        self.retries_denied += o.retries_denied;
        self.proxy_retries += o.proxy_retries;
        self.ejections += o.ejections;
        self.in_flight = o.in_flight;
        self.latency.merge(&o.latency);
        self.latency_all.merge(&o.latency_all);
        self.pool_wait.merge(&o.pool_wait);
        self.pool_timeouts += o.pool_timeouts;
        self.pool_peak = self.pool_peak.max(o.pool_peak);
        self.refused += o.refused;
        self.connect_timeouts += o.connect_timeouts;
    }
}

impl CallTotals {
    /// Sets all counts to zero and keeps the memory of the histograms.
    pub fn reset(&mut self) {
        let mut kept = [&mut self.latency, &mut self.latency_all, &mut self.pool_wait].map(std::mem::take);
        kept.iter_mut().for_each(Histogram::clear);
        let [latency, latency_all, pool_wait] = kept;
        *self = Self { latency, latency_all, pool_wait, ..Self::default() };
    }
}

impl DependencyTotals {
    /// Sets all counts to zero.
    pub fn reset(&mut self) {
        let mut calls = std::mem::take(&mut self.calls);
        calls.reset();
        *self = Self { calls, ..Self::default() };
    }
}

/// What happened to a dependency over some time. Totals of adjoining intervals are added with
/// [`DependencyTotals::merge`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DependencyTotals {
    /// Its calls; the wait in its queue is in [`ServiceTotals::queueing`].
    pub calls: ServiceTotals,
    /// Connections that it refused because it had too many.
    pub refused: u64,
    /// Connections at the end of the time. Not added: the later value stands.
    pub connections: u32,
    /// The most connections.
    pub connections_peak: u32,
    /// Integral of the number of connections over time, connection-nanoseconds.
    pub connections_area: u128,
    /// Time that its workers were busy, worker-seconds.
    pub busy_s: f64,
}

impl DependencyTotals {
    /// Adds the totals of a later interval.
    pub fn merge(&mut self, o: &Self) {
        self.calls.merge(&o.calls);
        self.refused += o.refused;
        self.connections = o.connections;
        self.connections_peak = self.connections_peak.max(o.connections_peak);
        self.connections_area += o.connections_area;
        self.busy_s += o.busy_s;
    }
}

/// Exact queueing statistics of a service, for comparison with theory. Switched on with
/// [`super::DataPlane::enable_queueing`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queueing {
    /// Attempts that a server took in (into service or its accept queue).
    pub accepted: u64,
    /// Of these, attempts that found no free slot.
    pub queued: u64,
    /// Time in the accept queue of attempts that reached service (zeros included).
    pub wait: Histogram,
    /// Sum of squares of these times, in s².
    pub wait_square_s2: f64,
    /// Time in the accept queue of attempts that left it without service, in nanoseconds.
    pub wait_of_lost_nanos: u128,
    /// Sum of squares of the times in the system of attempts that were served, in s².
    pub sojourn_square_s2: f64,
    /// Length of the observed time, in nanoseconds.
    pub observed_nanos: u128,
    /// Integral of the number in the accept queues over time, in request-nanoseconds.
    pub queue_area: u128,
    /// Time that the number in the system (accept queues and slots of all servers) was `i`, in nanoseconds.
    pub in_system: Vec<u64>,
}

impl Queueing {
    /// Time-average number in the system.
    #[must_use]
    pub fn mean_in_system(&self) -> f64 {
        let area: f64 = self.in_system.iter().enumerate().map(|(n, &t)| n as f64 * t as f64).sum();
        area / self.observed_nanos as f64
    }

    /// Time-average number in the accept queues.
    #[must_use]
    pub fn mean_queue_len(&self) -> f64 {
        self.queue_area as f64 / self.observed_nanos as f64
    }

    fn merge(&mut self, o: &Self) {
        self.accepted += o.accepted;
        self.queued += o.queued;
        self.wait.merge(&o.wait);
        self.wait_square_s2 += o.wait_square_s2;
        self.wait_of_lost_nanos += o.wait_of_lost_nanos;
        self.sojourn_square_s2 += o.sojourn_square_s2;
        self.observed_nanos += o.observed_nanos;
        self.queue_area += o.queue_area;
        if self.in_system.len() < o.in_system.len() {
            self.in_system.resize(o.in_system.len(), 0);
        }
        for (a, b) in self.in_system.iter_mut().zip(&o.in_system) {
            *a += b;
        }
    }

    fn clear(&mut self) {
        let in_system = std::mem::take(&mut self.in_system);
        let wait = std::mem::take(&mut self.wait);
        *self = Self { in_system, wait, ..Self::default() };
        self.in_system.fill(0);
        self.wait.clear();
    }
}

impl ServiceTotals {
    /// Attempts answered with a 5xx by the balancer.
    #[must_use]
    pub fn elb_5xx(&self) -> u64 {
        self.elb_502 + self.elb_503 + self.elb_504
    }

    /// Requests that ended, well or badly.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.succeeded + self.failed.total()
    }

    /// Adds the totals of a later interval.
    pub fn merge(&mut self, o: &Self) {
        self.attempts += o.attempts;
        self.direct += o.direct;
        self.direct_bytes += o.direct_bytes;
        self.responses_2xx += o.responses_2xx;
        self.target_5xx += o.target_5xx;
        self.elb_502 += o.elb_502;
        self.elb_503 += o.elb_503;
        self.elb_504 += o.elb_504;
        self.client_gone_460 += o.client_gone_460;
        self.refused += o.refused;
        self.routed += o.routed;
        self.started += o.started;
        self.succeeded += o.succeeded;
        self.failed.merge(&o.failed);
        self.retries += o.retries;
        self.retries_denied += o.retries_denied;
        self.in_flight = o.in_flight;
        self.latency.merge(&o.latency);
        self.latency_all.merge(&o.latency_all);
        self.response.merge(&o.response);
        self.request_bytes += o.request_bytes;
        self.response_bytes += o.response_bytes;
        self.inner_response_bytes += o.inner_response_bytes;
        self.new_connections += o.new_connections;
        self.waited += o.waited;
        self.waited_nanos += o.waited_nanos;
        self.cpu_wasted += o.cpu_wasted;
        self.out_of_memory += o.out_of_memory;
        if let Some(q) = &o.queueing {
            self.queueing.get_or_insert_default().merge(q);
        }
    }

    /// Sets all counts to zero and keeps the memory of the histograms.
    pub fn reset(&mut self) {
        let (mut latency, mut latency_all, mut response) = (
            std::mem::take(&mut self.latency),
            std::mem::take(&mut self.latency_all),
            std::mem::take(&mut self.response),
        );
        latency.clear();
        latency_all.clear();
        response.clear();
        let mut queueing = self.queueing.take();
        if let Some(q) = &mut queueing {
            q.clear();
        }
        *self = Self { latency, latency_all, response, queueing, ..Self::default() };
    }
}
