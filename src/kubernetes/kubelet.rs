//! The life of a pod on its node: phases, restarts of containers, termination.
//!
//! Source: `pkg/kubelet/kuberuntime/kuberuntime_container.go` and `kuberuntime_manager.go`,
//! `k8s.io/client-go/util/flowcontrol/backoff.go`.
//!
//! Known departures: a container that waits out its back-off is started when it ends; the kubelet looks
//! again only when it next works on the pod, which can be seconds later.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted, but not all its containers have started: it waits for a node or for images.
    #[default]
    Pending,
    /// Bound, and at least one container runs, starts or restarts.
    Running,
    /// All containers ended well and none is started again.
    Succeeded,
    /// All containers ended, one of them badly, and none is started again.
    Failed,
    /// Its node cannot be asked.
    Unknown,
}

/// The `Ready` condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyCondition {
    /// Whether it is ready.
    pub status: bool,
    /// `lastTransitionTime`: since when.
    pub since: SimTime,
}

impl ReadyCondition {
    /// The condition after a look at the pod: it is ready if all containers are and all readiness gates are
    /// true. The time moves only when the status changes.
    #[must_use]
    pub fn observe(before: Option<Self>, ready: bool, now: SimTime) -> Self {
        match before {
            Some(same) if same.status == ready => same,
            _ => Self { status: ready, since: now },
        }
    }

    /// Whether it has been ready for `min_ready`: at once for 0, else only after more than that long.
    #[must_use]
    pub fn available(&self, min_ready: SimDuration, now: SimTime) -> bool {
        self.status && (min_ready.is_zero() || now - self.since > min_ready)
    }
}

/// `restartPolicy` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    #[default]
    Always,
    /// Only after an exit code other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended is started again.
    #[must_use]
    pub fn restarts(self, failed: bool) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => failed,
            Self::Never => false,
        }
    }
}

/// How long the kubelet waits before it starts a crashing container again (`CrashLoopBackOff`).
///
/// Rule: the first restart comes at once, the second 10 s after the container ended, then twice as long each
/// time up to 300 s. A container that ended more than twice the longest wait after its last restart begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashBackoff {
    /// The first wait: 10 s.
    pub initial: SimDuration,
    /// The longest: 300 s (`crashLoopBackOff.maxContainerRestartPeriod`).
    pub max: SimDuration,
}

impl Default for CrashBackoff {
    fn default() -> Self {
        Self { initial: SimDuration::from_secs(10), max: SimDuration::from_secs(300) }
    }
}

/// What is remembered of the restarts of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashMemory {
    /// The wait after the next end, and when the last restart was granted.
    last: Option<(SimDuration, SimTime)>,
}

impl CrashBackoff {
    /// When a container that ended at `finished` is started again.
    #[must_use]
    pub fn restart(&self, memory: CrashMemory, finished: SimTime) -> (SimTime, CrashMemory) {
        let current = memory.last.filter(|(_, granted)| finished - *granted <= self.max * 2);
        let (at, next) = match current {
            None => (finished, self.initial),
            Some((wait, _)) => (finished + wait, (wait * 2).min(self.max)),
        };
        (at, CrashMemory { last: Some((next, at)) })
    }
}

/// How a pod is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// `terminationGracePeriodSeconds`: 30 s, from the request on.
    pub grace_period: SimDuration,
    /// How long the `preStop` hook would take; absent without one.
    pub pre_stop: Option<SimDuration>,
}

impl Default for Termination {
    fn default() -> Self {
        Self { grace_period: SimDuration::from_secs(30), pre_stop: None }
    }
}

/// What every container has between TERM and KILL, however short the grace period.
const LEAST_SHUTDOWN: SimDuration = SimDuration::from_secs(2);

/// When what happens to a container that is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// The request. At this instant the endpoint becomes not ready and terminating, and the hook begins.
    pub requested: SimTime,
    /// TERM: after the hook, at latest at the end of the grace period.
    pub term: SimTime,
    /// KILL, if it still runs: the rest of the grace period after TERM, at least 2 s.
    pub kill: SimTime,
}

impl Termination {
    /// When TERM and KILL come for a request at `requested`. The hook's time counts in whole seconds.
    #[must_use]
    pub fn shutdown(&self, requested: SimTime) -> Shutdown {
        let hook = self.pre_stop.unwrap_or_default().min(self.grace_period);
        let rest = self.grace_period.saturating_sub(SimDuration::from_secs(hook.as_secs()));
        let term = requested + hook;
        Shutdown { requested, term, kill: term + rest.max(LEAST_SHUTDOWN) }
    }
}

impl Shutdown {
    /// When the container is gone, given how long it takes after TERM; absent for one that ignores TERM.
    /// The second is whether it had to be killed (exit code 137).
    #[must_use]
    pub fn ends(&self, exits_after: Option<SimDuration>) -> (SimTime, bool) {
        match exits_after.map(|d| self.term + d) {
            Some(exit) if exit <= self.kill => (exit, false),
            _ => (self.kill, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> SimTime {
        SimTime::from_secs(s)
    }

    #[test]
    fn crashes_wait_longer_and_longer() {
        let backoff = CrashBackoff::default();
        let (mut memory, mut now, mut waits) = (CrashMemory::default(), secs(100), Vec::new());
        for _ in 0..8 {
            let (at, next) = backoff.restart(memory, now);
            waits.push((at - now).as_secs());
            (memory, now) = (next, at + SimDuration::from_secs(3));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        // `now` is 3 s after the last restart.
        let (within, beyond) = (now + SimDuration::from_secs(597), now + SimDuration::from_secs(598));
        assert_eq!(backoff.restart(memory, within).0, within + SimDuration::from_secs(300));
        assert_eq!(backoff.restart(memory, beyond).0, beyond);
    }

    #[test]
    fn grace_includes_the_hook() {
        let with = |grace, hook| Termination {
            grace_period: SimDuration::from_secs(grace),
            pre_stop: Some(SimDuration::from_secs(hook)),
        };
        let shutdown = with(30, 10).shutdown(secs(100));
        assert_eq!((shutdown.term, shutdown.kill), (secs(110), secs(130)));
        let late = with(30, 60).shutdown(secs(100));
        assert_eq!((late.term, late.kill), (secs(130), secs(132)), "one extension of 2 s");
        assert_eq!(late.ends(Some(SimDuration::from_secs(1))), (secs(131), false));
        assert_eq!(late.ends(None), (secs(132), true));
        let plain = Termination::default().shutdown(secs(5));
        assert_eq!((plain.term, plain.kill), (secs(5), secs(35)));
    }

    #[test]
    fn readiness_keeps_its_time() {
        let first = ReadyCondition::observe(None, true, secs(10));
        assert_eq!(ReadyCondition::observe(Some(first), true, secs(20)), first);
        let lost = ReadyCondition::observe(Some(first), false, secs(20));
        assert_eq!((lost.status, lost.since), (false, secs(20)));
        assert!(first.available(SimDuration::ZERO, secs(10)));
        assert!(!first.available(SimDuration::from_secs(10), secs(20)));
        assert!(first.available(SimDuration::from_secs(9), secs(20)));
    }
}
