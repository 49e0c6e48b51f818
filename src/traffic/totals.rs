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
    /// The client lost patience in the accept queue.
    Abandoned = 5,
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
    /// The client lost patience in the accept queue.
    pub abandoned: u64,
}

impl Failures {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.timeout + self.unavailable + self.bad_gateway + self.gateway_timeout + self.server_error + self.abandoned
    }

    pub(super) fn count(&mut self, why: Failure) {
        *match why {
            Failure::Timeout => &mut self.timeout,
            Failure::Unavailable => &mut self.unavailable,
            Failure::BadGateway => &mut self.bad_gateway,
            Failure::GatewayTimeout => &mut self.gateway_timeout,
            Failure::ServerError => &mut self.server_error,
            Failure::Abandoned => &mut self.abandoned,
        } += 1;
    }

    fn merge(&mut self, o: &Self) {
        self.timeout += o.timeout;
        self.unavailable += o.unavailable;
        self.bad_gateway += o.bad_gateway;
        self.gateway_timeout += o.gateway_timeout;
        self.server_error += o.server_error;
        self.abandoned += o.abandoned;
    }
}

/// What happened to the requests of one service over some time. Totals of adjoining intervals, or of
/// several services, are added with [`ServiceTotals::merge`].
///
/// A *request* is what a client wants; an *attempt* is one try at it, seen by the balancer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTotals {
    /// Attempts that reached the balancer.
    pub attempts: u64,
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
    /// Attempts that a target refused: not ready, stopping, or its accept queue full. Part of `elb_502`.
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
