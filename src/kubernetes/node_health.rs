//! Nodes that fall silent: when they count as unreachable, are tainted, and lose their pods.
//!
//! Rule: the kubelet renews its lease every 10 s. Every 5 s the node controller looks; a node without a
//! heartbeat for the grace period (40 s, since release 1.32 50 s) becomes `Ready: Unknown` and unschedulable by
//! taint at once; the NoExecute taint follows at a limited rate for each zone, which slows or stops when
//! most of a zone is gone. Pods leave a tainted node when their toleration's time is over: the API server
//! gives each pod 300 s for `not-ready` and `unreachable`. A kubelet that reports itself not ready is tainted
//! likewise, without the grace period.
//!
//! Source: `pkg/controller/nodelifecycle`, `pkg/controller/tainteviction` and the flags of the controller
//! manager; admission plug-in `DefaultTolerationSeconds`; `lease-duration-seconds` of the kubelet.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// Flags that decide about silent nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeHealthSettings {
    /// How often the kubelet renews its lease: a quarter of 40 s.
    pub heartbeat_period: SimDuration,
    /// `--node-monitor-period`: 5 s.
    pub monitor_period: SimDuration,
    /// `--node-monitor-grace-period`: 50 s; 40 s before release 1.32.
    pub monitor_grace_period: SimDuration,
    /// `--node-eviction-rate`: nodes a second for each zone, 0.1.
    pub eviction_rate: f64,
    /// `--secondary-node-eviction-rate`: the same while most of a large zone is not ready, 0.01; small zones stop.
    pub secondary_eviction_rate: f64,
    /// `--unhealthy-zone-threshold`: the share of nodes not ready from which a zone counts as failing, 0.55.
    pub unhealthy_zone_threshold: f64,
    /// `--large-cluster-size-threshold`: up to so many nodes a zone is small, 50.
    pub large_cluster_size: u32,
    /// `tolerationSeconds` that pods get for `not-ready` and `unreachable`: 300 s.
    pub default_toleration: SimDuration,
}

impl Default for NodeHealthSettings {
    fn default() -> Self {
        Self {
            heartbeat_period: SimDuration::from_secs(10),
            monitor_period: SimDuration::from_secs(5),
            monitor_grace_period: SimDuration::from_secs(50),
            eviction_rate: 0.1,
            secondary_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size: 50,
            default_toleration: SimDuration::from_secs(300),
        }
    }
}

impl NodeHealthSettings {
    /// The last heartbeat of a node that fell silent at `silent`, given when its kubelet began.
    #[must_use]
    pub fn last_heartbeat(&self, kubelet_start: SimTime, silent: SimTime) -> SimTime {
        let period = self.heartbeat_period.as_nanos().max(1);
        kubelet_start + self.heartbeat_period * ((silent - kubelet_start).as_nanos() / period)
    }

    /// When a node whose last heartbeat was at `last` becomes `Unknown` and unschedulable: the first look of
    /// the controller after the grace period.
    #[must_use]
    pub fn unknown_at(&self, last: SimTime) -> SimTime {
        let silent = last + self.monitor_grace_period;
        silent.floor_to(self.monitor_period) + self.monitor_period
    }

    /// How many nodes a second of a zone get the NoExecute taint, given its nodes and how many of them are not
    /// ready. `all_zones_down`: no node of the cluster is ready, and nothing is evicted anywhere.
    #[must_use]
    pub fn rate(&self, nodes: u32, not_ready: u32, all_zones_down: bool) -> f64 {
        if all_zones_down {
            return 0.0;
        }
        let failing = not_ready > 2 && f64::from(not_ready) / f64::from(nodes) >= self.unhealthy_zone_threshold;
        match (failing && not_ready < nodes, nodes > self.large_cluster_size) {
            (false, _) => self.eviction_rate,
            (true, true) => self.secondary_eviction_rate,
            (true, false) => 0.0,
        }
    }

    /// When the next node of a zone may get the NoExecute taint, given when the last one of it did; absent while the rate is 0.
    #[must_use]
    pub fn taint_at(&self, wanted: SimTime, last_in_zone: Option<SimTime>, rate: f64) -> Option<SimTime> {
        if rate <= 0.0 {
            return None;
        }
        let free = last_in_zone.map_or(SimTime::ZERO, |last| last + SimDuration::from_secs_f64(1.0 / rate));
        Some(wanted.max(free))
    }

    /// When a pod is evicted from a node that was tainted NoExecute at `tainted`.
    #[must_use]
    pub fn evicted_at(&self, tainted: SimTime, toleration: TaintToleration) -> Option<SimTime> {
        match toleration {
            TaintToleration::None => Some(tainted),
            TaintToleration::Default => Some(tainted + self.default_toleration),
            TaintToleration::For(time) => Some(tainted + time),
            TaintToleration::Forever => None,
        }
    }
}

/// For how long a pod tolerates `node.kubernetes.io/unreachable` and `not-ready`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaintToleration {
    /// Not at all: only where the admission plug-in is off.
    None,
    /// As the admission plug-in says.
    #[default]
    Default,
    /// `tolerationSeconds`.
    For(SimDuration),
    /// Without an end, as DaemonSet pods do.
    Forever,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_loses_its_pods_after_about_six_minutes() {
        let settings = NodeHealthSettings::default();
        let secs = SimTime::from_secs;
        let last = settings.last_heartbeat(secs(3), secs(119));
        assert_eq!(last, secs(113));
        let unknown = settings.unknown_at(last);
        assert_eq!(unknown, secs(165));
        assert_eq!(settings.unknown_at(secs(115)), secs(170), "the grace period must be over, not reached");
        let tainted = settings.taint_at(unknown, Some(secs(160)), settings.rate(10, 2, false)).unwrap();
        assert_eq!(tainted, secs(170), "one node in ten seconds");
        assert_eq!(settings.evicted_at(tainted, TaintToleration::Default), Some(secs(470)));
        assert_eq!(settings.evicted_at(tainted, TaintToleration::Forever), None);
    }

    #[test]
    fn a_failing_zone_is_spared() {
        let settings = NodeHealthSettings::default();
        assert_eq!(settings.rate(10, 6, false), 0.0);
        assert_eq!(settings.rate(100, 60, false), 0.01);
        assert_eq!(settings.rate(100, 100, false), 0.1, "a whole zone is evicted while others stand");
        assert_eq!(settings.rate(100, 100, true), 0.0);
        assert_eq!(settings.taint_at(SimTime::ZERO, None, 0.0), None);
    }
}
