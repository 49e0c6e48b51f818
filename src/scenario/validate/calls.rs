//! Calls between services, and what services depend on.

use super::Check;
use crate::kernel::SimDuration;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::lang::list;
use crate::scenario::model::{Call, Connections, Dependency, Service, Via};
use crate::scenario::{has_traffic, is_called};

/// Attempts at the last service of a chain for one request of a user, above which a warning is due.
const AMPLIFICATION: u64 = 20;

impl Check<'_> {
    /// Everything about calls that concerns more than one service.
    pub(super) fn call_graph(&mut self) {
        self.call_cycles();
        self.amplification();
        for (name, dependency) in &self.plan.dependencies {
            if self.plan.services.contains_key(name) {
                let d = Diagnostic::error("S1004", format!("there is a service and a dependency called `{name}`"))
                    .at(self.key(&["dependencies", name]))
                    .label("choose another name");
                self.report(&["dependencies", name], d);
            } else if !is_called(self.plan, name) {
                let d = Diagnostic::warning("W0024", format!("no service calls the dependency `{name}`"))
                    .at(self.key(&["dependencies", name]))
                    .label("has no effect")
                    .help(format!("for example `services.web.calls.{name} = {{}}`"));
                self.report(&["dependencies", name], d);
            }
            self.within(&["dependencies", name], |c| c.dependency(dependency));
        }
    }

    fn dependency(&mut self, d: &Dependency) {
        self.range(&["concurrency"], u64::from(d.concurrency), 1, 100_000, "a dependency takes a");
        if d.max_connections == Some(0) {
            self.error("S1010", &["max_connections"], "a dependency without connections serves nobody", "at least 1");
        }
        let mut last = SimDuration::ZERO;
        for (i, s) in d.slowdowns.iter().enumerate() {
            let index = format!("[{i}]");
            self.within(&["slowdowns", &index], |c| {
                c.happens(&["at"], s.at);
                c.not_zero(&["duration"], s.duration);
                c.at_least(&["speed"], s.speed, 0.0);
                if s.at < last {
                    c.error("S1011", &["at"], "this slowdown begins before the one above it has ended", "in order");
                }
            });
            last = s.at + s.duration;
        }
    }

    /// The calls of one service, and what its clients hold on to.
    pub(super) fn calls(&mut self, name: &str, service: &Service) {
        for (callee, call) in &service.calls {
            self.within(&["calls", callee], |c| c.call(name, service, callee, call));
        }
        for (class_name, class) in &service.requests {
            let path = ["requests", class_name, "cpu_before_calls"];
            if class.cpu_before_calls < 1.0 && !calls_of(service, class_name) && self.is_written(&path) {
                self.warn("W0036", &path, "requests of this class call nobody", "has no effect");
            }
        }
        if service.requests.is_empty() && !has_traffic(service) && is_called(self.plan, name) {
            let d = Diagnostic::error("S1003", "the service is called but has no class of requests")
                .at(self.key(&[]))
                .label("what do these requests cost?")
                .help("for example `requests.read = { cpu_time = \"5ms\" }`");
            self.report(&["requests"], d);
        }
        self.within(&["client"], |c| {
            if let Some(connections) = &service.client.connections {
                c.connections(connections);
            }
            if let Some(sessions) = &service.client.sessions {
                c.range(&["sessions", "count"], u64::from(sessions.count), 1, 10_000_000, "clients come in a");
            }
        });
        self.stickiness(service);
    }

    fn connections(&mut self, connections: &Connections) {
        self.range(&["connections", "count"], u64::from(connections.count), 1, 10_000_000, "clients open a");
        if connections.requests == Some(0) {
            self.error(
                "S1010",
                &["connections", "requests"],
                "a connection carries at least one request",
                "at least 1",
            );
        }
    }

    fn stickiness(&mut self, service: &Service) {
        let stickiness = service.load_balancer.as_ref().map(|lb| &lb.stickiness).filter(|s| s.enabled);
        let client = &service.client;
        if let Some(stickiness) = stickiness {
            let path = ["load_balancer", "stickiness", "duration_seconds"];
            self.time(&path, stickiness.duration_seconds, 1, 604_800, "the load balancer takes a");
            if client.connections.is_some() {
                self.error(
                    "S1012",
                    &["client", "connections"],
                    "these connections stay with their target, cookies or not",
                    "with `load_balancer.stickiness`, say `client.sessions` instead",
                );
            } else if client.sessions.is_none() {
                self.error(
                    "S1013",
                    &["load_balancer", "stickiness", "enabled"],
                    "nothing says which requests come from the same client",
                    "say `client.sessions = { count = 1000 }`",
                );
            }
        } else if client.sessions.is_some() {
            self.warn(
                "W0036",
                &["client", "sessions"],
                "clients come back, but the load balancer does not know them",
                "has no effect without `load_balancer.stickiness.enabled`",
            );
        }
    }

    fn call(&mut self, caller: &str, service: &Service, callee: &str, call: &Call) {
        let (plan, span) = (self.plan, self.key(&[]));
        let dependency = plan.dependencies.get(callee);
        let target = plan.services.get(callee);
        if callee == caller {
            self.error("S2021", &[], format!("`{caller}` calls itself"), "a circle of calls never ends");
        } else if dependency.is_none() && target.is_none() {
            let names: Vec<&str> = plan
                .services
                .keys()
                .filter(|n| *n != caller)
                .chain(plan.dependencies.keys())
                .map(String::as_str)
                .collect();
            self.known(&[], span, "service or dependency", callee, &names);
        }
        let classes: Vec<&str> = service.requests.keys().map(String::as_str).collect();
        for (i, class) in call.classes.iter().enumerate() {
            let index = format!("[{i}]");
            let span = self.at(&["classes", &index]);
            self.known(&["classes", &index], span, "class of requests", class, &classes);
        }
        self.range(&["stage"], u64::from(call.stage), 1, 1_000, "a call has a");
        self.at_least(&["count"], call.count, 0.0);
        if call.count > 1_000.0 {
            self.error("S1010", &["count"], "a request makes at most 1000 calls to one callee", "at most 1000");
        }
        if let Some(timeout) = call.timeout {
            self.not_zero(&["timeout"], timeout);
        }
        self.range(&["retries"], u64::from(call.retries), 0, 100, "a caller makes");
        self.at_least(&["backoff", "multiplier"], call.backoff.multiplier, 1.0);
        self.ordered(&["backoff", "base"], &["backoff", "max"], call.backoff.base <= call.backoff.max);
        if call.retries == 0 && self.is_written(&["retry_budget"]) {
            self.warn("W0032", &["retry_budget"], "there are no retries to budget", "`retries` is 0");
        }
        if let Some(pool) = &call.pool {
            self.within(&["pool"], |c| {
                c.range(&["max_connections"], u64::from(pool.max_connections), 1, 100_000, "a pool takes");
                c.not_zero(&["max_lifetime"], pool.max_lifetime);
            });
        }
        if dependency.is_some() {
            for (key, written) in [("via", call.via.is_some()), ("request", call.request.is_some())] {
                if written {
                    let label = "a dependency is reached directly and knows no classes";
                    self.error("S1012", &[key], format!("`{key}` is for calls to services"), label);
                }
            }
        }
        if let Some(target) = target {
            if call.service_time.is_some() {
                let message = "`service_time` is for calls to dependencies";
                self.error("S1012", &["service_time"], message, "a service's work is that of its `requests`");
            }
            if let Some(class) = &call.request {
                let known: Vec<&str> = target.requests.keys().map(String::as_str).collect();
                let span = self.at(&["request"]);
                self.known(&["request"], span, &format!("class of requests of `{callee}`"), class, &known);
            }
        }
        self.via(call);
    }

    fn via(&mut self, call: &Call) {
        match &call.via {
            None | Some(Via::LoadBalancer(_)) => {}
            Some(Via::ServiceDiscovery(v)) => {
                self.range(&["via", "answers"], u64::from(v.answers), 1, 8, "Route 53 answers with");
                self.not_zero(&["via", "connect_timeout"], v.connect_timeout);
            }
            Some(Via::ServiceConnect(v)) => {
                self.range(&["via", "retries"], u64::from(v.retries), 0, 100, "a proxy makes");
                self.not_zero(&["via", "per_request_timeout"], v.per_request_timeout);
                let o = &v.outlier_detection;
                let path = |key| ["via", "outlier_detection", key];
                if o.consecutive_5xx > 0 {
                    self.not_zero(&path("base_ejection_time"), o.base_ejection_time);
                    let in_order = o.base_ejection_time <= o.max_ejection_time;
                    self.ordered(&path("base_ejection_time"), &path("max_ejection_time"), in_order);
                }
                if o.max_ejection_percent > 100.0 {
                    self.error(
                        "S1010",
                        &path("max_ejection_percent"),
                        "more than all cannot be ejected",
                        "at most 100 %",
                    );
                }
            }
        }
    }

    /// A circle of calls would never end: the simulator refuses it.
    fn call_cycles(&mut self) {
        let services = &self.plan.services;
        let mut open: Vec<&str> = services.keys().map(String::as_str).collect();
        // Who calls nobody that is left is no part of a circle; nor is who is called by nobody that is left.
        loop {
            let before = open.len();
            let left = open.clone();
            let calls = |a: &str, b: &str| a != b && services.get(a).is_some_and(|s| s.calls.contains_key(b));
            open.retain(|a| left.iter().any(|b| calls(a, b)) && left.iter().any(|b| calls(b, a)));
            if open.len() == before {
                break;
            }
        }
        if let Some(first) = open.first() {
            let names = list(&open);
            let d = Diagnostic::error("S2021", format!("{names} call one another in a circle"))
                .at(self.key(&["services", first, "calls"]))
                .label("a request would never come to an end")
                .help("take one of the calls away, or give the second half a service of its own");
            self.report(&["services", first, "calls"], d);
        }
    }

    /// Retries of a chain multiply.
    fn amplification(&mut self) {
        let plan = self.plan;
        let attempts = |c: &Call| {
            let mesh = match &c.via {
                Some(Via::ServiceConnect(v)) => u64::from(v.retries) + 1,
                _ => 1,
            };
            (u64::from(c.retries) + 1).saturating_mul(mesh)
        };
        // The worst chain from each service, by as many rounds as a chain can be long.
        let mut worst: Vec<u64> = vec![1; plan.services.len()];
        for _ in 0..plan.services.len() {
            for (i, s) in plan.services.values().enumerate() {
                let calls = s.calls.iter().map(|(callee, c)| {
                    attempts(c).saturating_mul(plan.services.get_index_of(callee).map_or(1, |at| worst[at]))
                });
                worst[i] = calls.max().unwrap_or(1).min(1_000_000);
            }
        }
        let outside = plan.services.iter().enumerate().filter(|(_, (_, s))| has_traffic(s));
        for (i, (name, service)) in outside {
            let all = worst[i].saturating_mul(u64::from(service.client.retries) + 1);
            if worst[i] > 1 && all > AMPLIFICATION && worst[i] < 1_000_000 {
                let d = Diagnostic::warning(
                    "W0037",
                    format!("one request to `{name}` can become {all} attempts at the end of its chain of calls"),
                )
                .at(self.key(&["services", name, "calls"]))
                .label("retries on each level multiply")
                .help("retry on one level only, or give the calls a `retry_budget`");
                self.report(&["services", name, "calls"], d);
            }
        }
    }
}

/// Whether requests of a class make calls.
fn calls_of(service: &Service, class: &str) -> bool {
    service.calls.values().any(|c| c.classes.is_empty() || c.classes.iter().any(|n| n == class))
}
