//! The clocks of Karpenter: the batching window, the time-outs of a starting node, nomination, expiry.
//!
//! Source: `kubernetes-sigs/karpenter`, provisioning batcher and `nodeclaim` controllers (v1.14).

use std::collections::BTreeSet;

use super::world::{NodeView, is_ephemeral_taint};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::{Resources, Symbols, Taint};

/// Time from the creation of a NodeClaim within which it must launch.
pub const LAUNCH_TIMEOUT: SimDuration = SimDuration::from_mins(5);
/// Time from the launch within which the node must register.
pub const REGISTRATION_TIMEOUT: SimDuration = SimDuration::from_mins(15);
/// Granularity of a node's last pod event.
pub const POD_EVENT_GRANULARITY: SimDuration = SimDuration::from_secs(10);

/// The batching window of the provisioner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpec {
    /// `batch-idle-duration`: how long after the last new pod the window closes.
    pub idle: SimDuration,
    /// `batch-max-duration`: how long it is open at most.
    pub max: SimDuration,
}

impl Default for BatchSpec {
    /// One second and ten.
    fn default() -> Self {
        Self { idle: SimDuration::from_secs(1), max: SimDuration::from_secs(10) }
    }
}

impl BatchSpec {
    /// How long a node stays nominated for the pods that it is to get: twice the longest window, at least 10 s.
    #[must_use]
    pub fn nomination(&self) -> SimDuration {
        (self.max * 2).max(SimDuration::from_secs(10))
    }
}

/// An open or closed window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batcher {
    opened: Option<SimTime>,
    last_new: SimTime,
    seen: BTreeSet<u64>,
}

impl Batcher {
    /// A pod wants a node, or (with the number of the node) a node is going. The first such opens the window, each further new one
    /// keeps it open. The time at which the window closes, unless something new comes before, is given back.
    pub fn trigger(&mut self, spec: &BatchSpec, uid: u64, now: SimTime) -> SimTime {
        if self.seen.insert(uid) {
            self.last_new = now;
        }
        let opened = *self.opened.get_or_insert(now);
        (opened + spec.max).min(self.last_new + spec.idle)
    }

    /// When the open window closes; `None` without one.
    #[must_use]
    pub fn closes(&self, spec: &BatchSpec) -> Option<SimTime> {
        self.opened.map(|opened| (opened + spec.max).min(self.last_new + spec.idle))
    }

    /// Closes the window if its time has come, and tells whether it did: then a pass runs.
    pub fn close(&mut self, spec: &BatchSpec, now: SimTime) -> bool {
        let due = self.closes(spec).is_some_and(|at| at <= now);
        if due {
            *self = Self::default();
        }
        due
    }
}

/// Why a NodeClaim that never became a node is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessFailure {
    /// It did not launch in five minutes.
    Launch,
    /// Its node did not register in fifteen minutes; the pool's registration health suffers.
    Registration,
}

/// Whether a NodeClaim is given up, from when it was created, launched and registered.
#[must_use]
pub fn liveness(
    created: SimTime,
    launched: Option<SimTime>,
    registered: bool,
    now: SimTime,
) -> Option<LivenessFailure> {
    match launched {
        _ if registered => None,
        None => (now.since(created) >= LAUNCH_TIMEOUT).then_some(LivenessFailure::Launch),
        Some(at) => (now.since(at) >= REGISTRATION_TIMEOUT).then_some(LivenessFailure::Registration),
    }
}

/// What holds up the initialization of a registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotInitialized {
    /// The node is not Ready.
    NotReady,
    /// A startup taint is still there.
    StartupTaint(Taint),
    /// A taint that goes by itself is still there.
    EphemeralTaint(Taint),
    /// An extended resource that was asked for is still zero.
    Resource(crate::kubernetes::object::Symbol),
}

/// Whether a registered node is initialized; what holds it up else. `requested` are the extended resources of its NodeClaim's type.
#[must_use]
pub fn initialization(node: &NodeView, requested: &Resources, symbols: &Symbols) -> Option<NotInitialized> {
    if !node.ready {
        return Some(NotInitialized::NotReady);
    }
    if let Some(taint) = node.taints.iter().find(|t| node.startup_taints.contains(t)) {
        return Some(NotInitialized::StartupTaint(*taint));
    }
    if let Some(taint) = node.taints.iter().find(|t| is_ephemeral_taint(t, symbols)) {
        return Some(NotInitialized::EphemeralTaint(*taint));
    }
    let missing = requested.extended.iter().find(|(name, n)| *n > 0 && node.allocatable.extended(*name) == 0);
    missing.map(|(name, _)| NotInitialized::Resource(*name))
}

/// The last pod event after one at `now`: events less than 10 s after the one that is known are not recorded.
#[must_use]
pub fn record_pod_event(last: Option<SimTime>, now: SimTime) -> SimTime {
    match last {
        Some(at) if now.since(at) < POD_EVENT_GRANULARITY => at,
        _ => now,
    }
}

/// When a NodeClaim expires; `None` for `expireAfter: Never`.
#[must_use]
pub fn expires(created: SimTime, expire_after: Option<SimDuration>) -> Option<SimTime> {
    expire_after.map(|after| created + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_at_its_longest_whatever_comes() {
        let (spec, mut batcher) = (BatchSpec::default(), Batcher::default());
        for uid in 0..30 {
            let at = SimTime::from_nanos(uid * 500_000_000);
            if batcher.close(&spec, at) {
                assert_eq!(at, SimTime::from_secs(10));
                return;
            }
            batcher.trigger(&spec, uid, at);
        }
        panic!("the window never closed");
    }
}
