//! Services: which pods get traffic, and how long a change takes to arrive.
//!
//! Rule: a pod's endpoint is *ready* while the pod is Ready and not being deleted, *serving* while it is Ready,
//! and *terminating* once its deletion was asked for. Traffic goes to ready endpoints; if there is none,
//! the proxy of a node falls back to those that serve while they terminate. A change reaches the data plane in
//! steps: the kubelet writes the status, the endpoint controller the slice, each node's proxy its
//! rules (at most once in `minSyncPeriod`), a load balancer controller the target group. None of these has
//! a fixed delay; requests sent before the last step go to the old endpoints, and that is what deploys lose.
//!
//! Source: `pkg/controller/endpointslice`, `pkg/proxy` and `pkg/util/async/bounded_frequency_runner.go` of
//! Kubernetes (KEP-1672, KEP-1669); AWS Load Balancer Controller, target types.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// The conditions of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// It may get traffic.
    pub ready: bool,
    /// It could serve.
    pub serving: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
}

impl Endpoint {
    /// Of a pod. `publish_not_ready`: the Service's `publishNotReadyAddresses`.
    #[must_use]
    pub const fn of(pod_ready: bool, deleting: bool, publish_not_ready: bool) -> Self {
        Self { ready: (pod_ready && !deleting) || publish_not_ready, serving: pod_ready, terminating: deleting }
    }
}

/// Which endpoints a proxy sends traffic to: the ready ones, else those that serve while they terminate.
#[must_use]
pub fn in_use(endpoints: &[Endpoint]) -> Vec<bool> {
    let any_ready = endpoints.iter().any(|e| e.ready);
    endpoints.iter().map(|e| if any_ready { e.ready } else { e.serving && e.terminating }).collect()
}

/// `externalTrafficPolicy` and `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// To endpoints on every node.
    #[default]
    Cluster,
    /// To endpoints on the node that got the packet; a node without one drops it and fails the balancer's health check.
    Local,
}

/// How a load balancer reaches pods (`alb.ingress.kubernetes.io/target-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetType {
    /// To nodes, whose proxies pass it on: one more hop, perhaps into another zone.
    #[default]
    Instance,
    /// To pods.
    Ip,
}

/// How kube-proxy chooses among endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyMode {
    /// At random, each alike, for each connection (also nftables).
    #[default]
    Iptables,
    /// In turn, for each connection.
    Ipvs,
}

/// How long a change takes from the pod to the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// From a change in the pod until its status is written: the kubelet writes at once, and at the API's pace.
    pub status: SimDuration,
    /// From there until the slice is written.
    pub endpoint_slice: SimDuration,
    /// `minSyncPeriod` of kube-proxy: 1 s between two writes of its rules.
    pub proxy_min_sync_period: SimDuration,
    /// How long a proxy takes to write its rules.
    pub proxy_sync: SimDuration,
    /// From the slice until a load balancer controller has called the load balancer's API.
    pub load_balancer_controller: SimDuration,
}

impl Default for Propagation {
    /// A cluster at ease. Only `minSyncPeriod` is a documented number; the others are orders of magnitude.
    fn default() -> Self {
        Self {
            status: SimDuration::from_millis(100),
            endpoint_slice: SimDuration::from_millis(100),
            proxy_min_sync_period: SimDuration::from_secs(1),
            proxy_sync: SimDuration::from_millis(100),
            load_balancer_controller: SimDuration::from_secs(1),
        }
    }
}

impl Propagation {
    /// When the slice shows that a pod became ready or not ready at `changed`.
    #[must_use]
    pub fn slice_after_readiness(&self, changed: SimTime) -> SimTime {
        changed + self.status + self.endpoint_slice
    }

    /// When the slice shows a deletion that was asked for at `requested`: no status has to be written.
    #[must_use]
    pub fn slice_after_deletion(&self, requested: SimTime) -> SimTime {
        requested + self.endpoint_slice
    }

    /// When a proxy has taken over what a slice shows since `shown`, given when it last began to write its rules.
    /// The second is when it begins: the next value of `last_sync`.
    #[must_use]
    pub fn proxy(&self, shown: SimTime, last_sync: Option<SimTime>) -> (SimTime, SimTime) {
        let free = last_sync.map_or(SimTime::ZERO, |last| last + self.proxy_min_sync_period);
        let begins = shown.max(free);
        (begins + self.proxy_sync, begins)
    }

    /// When the load balancer has been told what a slice shows since `shown`. Its own health checks (after
    /// registration) and deregistration delay come on top. Pods as targets only: nodes stay as they are.
    #[must_use]
    pub fn load_balancer(&self, shown: SimTime) -> SimTime {
        shown + self.load_balancer_controller
    }

    /// By when every data plane knows of a deletion: what a `preStop` sleep should cover.
    #[must_use]
    pub fn deletion_known_by(&self, requested: SimTime, through_proxies: bool, through_balancer: bool) -> SimTime {
        let shown = self.slice_after_deletion(requested);
        let proxies = if through_proxies { shown + self.proxy_min_sync_period + self.proxy_sync } else { shown };
        let balancer = if through_balancer { self.load_balancer(shown) } else { shown };
        proxies.max(balancer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_falls_back_to_what_still_serves() {
        let ready = Endpoint::of(true, false, false);
        let leaving = Endpoint::of(true, true, false);
        let broken = Endpoint::of(false, false, false);
        assert_eq!(in_use(&[ready, leaving, broken]), [true, false, false]);
        assert_eq!(in_use(&[leaving, broken]), [true, false]);
        assert_eq!(in_use(&[Endpoint::of(false, true, true)]), [true]);
    }

    #[test]
    fn a_busy_proxy_lags() {
        let delays = Propagation::default();
        let at = SimTime::from_secs;
        let (first, begun) = delays.proxy(at(10), None);
        assert_eq!((first, begun), (at(10) + SimDuration::from_millis(100), at(10)));
        let (second, _) = delays.proxy(at(10) + SimDuration::from_millis(200), Some(begun));
        assert_eq!(second, at(11) + SimDuration::from_millis(100));
        assert_eq!(delays.deletion_known_by(at(0), true, false), SimTime::from_nanos(1_200_000_000));
    }
}
