//! PodDisruptionBudgets and the eviction API.
//!
//! A budget is counted by its controller ([`status`]) and spent by evictions ([`evict`]); between the two
//! a list of granted evictions keeps a pod from being counted as healthy although it is about to go.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/disruption/disruption.go` and
//! `pkg/registry/core/pod/storage/eviction.go` (v1.36).

use super::int_or_percent::pods as count_of;
use crate::kernel::{SimDuration, SimTime};
use crate::units::{IntOrPercent, Rounding};

/// How long a granted eviction counts as a disruption while its pod is not seen to terminate.
pub const DELETION_TIMEOUT: SimDuration = SimDuration::from_mins(2);

/// What a budget demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// So many pods must stay healthy; a percentage is of the controllers' scales, rounded up.
    MinAvailable(IntOrPercent),
    /// So many may be missing; a percentage is of the controllers' scales, rounded up.
    MaxUnavailable(IntOrPercent),
}

/// Whether pods that are not ready may be evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnhealthyPodEvictionPolicy {
    /// Only while enough others are healthy.
    #[default]
    IfHealthyBudget,
    /// Always.
    AlwaysAllow,
}

/// The specification of a budget; which pods it selects is the caller's knowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSpec {
    /// What it demands.
    pub demand: Demand,
    /// What holds for pods that are not ready.
    pub unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy,
}

/// A pod that a budget selects. `P` names pods, `C` controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetPod<P, C> {
    /// Which pod.
    pub pod: P,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it terminates.
    pub terminating: bool,
    /// The controller that has a scale (a Deployment, a StatefulSet), where the pod has one.
    pub controller: Option<C>,
}

/// A granted eviction that was not yet seen to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted<P> {
    /// Which pod.
    pub pod: P,
    /// When it was granted.
    pub at: SimTime,
}

/// The status of a budget, which is its memory too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStatus<P> {
    /// Evictions that are allowed now.
    pub disruptions_allowed: i32,
    /// Pods that are ready, do not terminate and were not granted to an eviction.
    pub current_healthy: i32,
    /// Pods that must stay healthy.
    pub desired_healthy: i32,
    /// Pods that there should be.
    pub expected_pods: i32,
    /// Granted evictions whose pods still look alive.
    pub disrupted: Vec<Granted<P>>,
}

impl<P> Default for BudgetStatus<P> {
    fn default() -> Self {
        let disrupted = Vec::new();
        Self { disruptions_allowed: 0, current_healthy: 0, desired_healthy: 0, expected_pods: 0, disrupted }
    }
}

/// A status and when it goes stale by time alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recount<P> {
    /// The new status.
    pub status: BudgetStatus<P>,
    /// When the oldest granted eviction is forgotten.
    pub next_check: Option<SimTime>,
}

/// Counts a budget anew: to be called when its pods, their controllers' scales or the budget change, and
/// when the last answer's `next_check` comes. `scale` gives the wanted replicas of a controller.
#[must_use]
pub fn status<P: Ord + Copy, C: Ord + Copy>(
    spec: &BudgetSpec,
    granted: &[Granted<P>],
    pods: &[BudgetPod<P, C>],
    scale: impl Fn(C) -> i32,
    now: SimTime,
) -> Recount<P> {
    // A pod that terminates took effect; one that is gone, too.
    let mut alive: Vec<P> = pods.iter().filter(|p| !p.terminating).map(|p| p.pod).collect();
    alive.sort_unstable();
    let expires = |g: &Granted<P>| g.at.saturating_add(DELETION_TIMEOUT);
    let mut disrupted: Vec<Granted<P>> =
        granted.iter().filter(|g| now < expires(g) && alive.binary_search(&g.pod).is_ok()).copied().collect();
    disrupted.sort_by_key(|g| g.pod);
    disrupted.dedup_by_key(|g| g.pod);

    let healthy =
        |p: &&BudgetPod<P, C>| p.ready && !p.terminating && disrupted.binary_search_by_key(&p.pod, |g| g.pod).is_err();
    let current_healthy = count(pods.iter().filter(healthy).count());
    let expected = || {
        let mut controllers: Vec<C> = pods.iter().filter_map(|p| p.controller).collect();
        controllers.sort_unstable();
        controllers.dedup();
        controllers.into_iter().fold(0, |sum: i32, c| sum.saturating_add(scale(c)))
    };
    let (expected_pods, desired_healthy) = match spec.demand {
        Demand::MaxUnavailable(most) => {
            let expected = expected();
            (expected, expected.saturating_sub(count_of(most, expected, Rounding::Up)).max(0))
        }
        Demand::MinAvailable(least @ IntOrPercent::Int(_)) => (count(pods.len()), count_of(least, 0, Rounding::Up)),
        Demand::MinAvailable(percent) => {
            let expected = expected();
            (expected, count_of(percent, expected, Rounding::Up))
        }
    };
    let disruptions_allowed = match expected_pods > 0 {
        true => current_healthy.saturating_sub(desired_healthy).max(0),
        false => 0,
    };
    let next_check = disrupted.iter().map(expires).min();
    let status = BudgetStatus { disruptions_allowed, current_healthy, desired_healthy, expected_pods, disrupted };
    Recount { status, next_check }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The pod whose eviction is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPod {
    /// Whether it is in phase Pending, Succeeded or Failed: it serves nobody.
    pub idle: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it terminates already.
    pub terminating: bool,
}

/// Why an eviction was granted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod serves nobody or terminates already.
    NoNeedToAsk,
    /// No budget selects it.
    NoBudget,
    /// It is not ready, and the policy lets such pods go.
    Unhealthy,
    /// The budget allowed it, and one less from now on.
    Spent {
        /// What is left.
        left: i32,
    },
    /// Refused: the budget allows none now (429; to be tried again later).
    Exhausted {
        /// Pods that are healthy.
        healthy: i32,
        /// Pods that must be.
        desired: i32,
    },
    /// Refused: more than one budget selects the pod (500).
    ManyBudgets(usize),
}

impl Verdict {
    /// Whether the pod is evicted.
    #[must_use]
    pub const fn granted(self) -> bool {
        !matches!(self, Self::Exhausted { .. } | Self::ManyBudgets(_))
    }
}

/// Asks for an eviction. `budgets` are those that select the pod. A grant that was spent is written into
/// the budget's status; others leave it alone.
pub fn evict<P: Ord + Copy>(
    pod: P,
    state: EvictionPod,
    budgets: &mut [(&BudgetSpec, &mut BudgetStatus<P>)],
    now: SimTime,
) -> Verdict {
    if state.idle || state.terminating {
        return Verdict::NoNeedToAsk;
    }
    let (spec, status) = match budgets {
        [] => return Verdict::NoBudget,
        [(spec, status)] => (spec, status),
        several => return Verdict::ManyBudgets(several.len()),
    };
    if !state.ready {
        let enough = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
        match spec.unhealthy_pod_eviction_policy {
            UnhealthyPodEvictionPolicy::AlwaysAllow => return Verdict::Unhealthy,
            UnhealthyPodEvictionPolicy::IfHealthyBudget if enough => return Verdict::Unhealthy,
            UnhealthyPodEvictionPolicy::IfHealthyBudget => {}
        }
    }
    if status.disruptions_allowed <= 0 {
        return Verdict::Exhausted { healthy: status.current_healthy, desired: status.desired_healthy };
    }
    status.disruptions_allowed -= 1;
    status.disrupted.push(Granted { pod, at: now });
    Verdict::Spent { left: status.disruptions_allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_eviction_counts_until_it_is_seen_or_two_minutes_passed() {
        let spec = BudgetSpec {
            demand: Demand::MaxUnavailable(IntOrPercent::Int(1)),
            unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy::default(),
        };
        let pods: Vec<BudgetPod<u32, u8>> =
            (0..3).map(|pod| BudgetPod { pod, ready: true, terminating: false, controller: Some(1) }).collect();
        let mut seen = status(&spec, &[], &pods, |_| 3, SimTime::ZERO).status;
        assert_eq!(seen.disruptions_allowed, 1);
        let running = EvictionPod { idle: false, ready: true, terminating: false };
        let at = SimTime::from_secs(10);
        assert_eq!(evict(0, running, &mut [(&spec, &mut seen)], at), Verdict::Spent { left: 0 });
        assert_eq!(evict(1, running, &mut [(&spec, &mut seen)], at), Verdict::Exhausted { healthy: 3, desired: 2 });
        let recount = status(&spec, &seen.disrupted, &pods, |_| 3, SimTime::from_secs(20));
        assert_eq!((recount.status.disruptions_allowed, recount.status.current_healthy), (0, 2));
        assert_eq!(recount.next_check, Some(SimTime::from_secs(130)));
        let late = status(&spec, &recount.status.disrupted, &pods, |_| 3, SimTime::from_secs(130));
        assert_eq!((late.status.disruptions_allowed, late.next_check), (1, None), "it never went: forgotten");
    }

    proptest::proptest! {
        /// Whatever is asked and whatever becomes of the pods: with the budget counted anew before each call, no
        /// granted eviction of a healthy pod leaves fewer healthy ones than the budget demands.
        #[test]
        fn no_eviction_breaks_a_budget(
            replicas in 1..20u32,
            bound in 0..=100i64,
            kind in 0..4u8,
            play in proptest::collection::vec((0..20u32, 0..4u8, 0..200u64), 1..60),
        ) {
            let demand = match kind {
                0 => Demand::MinAvailable(IntOrPercent::Int(bound % 20)),
                1 => Demand::MinAvailable(IntOrPercent::Percent(bound)),
                2 => Demand::MaxUnavailable(IntOrPercent::Int(bound % 20)),
                _ => Demand::MaxUnavailable(IntOrPercent::Percent(bound)),
            };
            let spec = BudgetSpec { demand, unhealthy_pod_eviction_policy: UnhealthyPodEvictionPolicy::AlwaysAllow };
            let mut pods: Vec<BudgetPod<u32, u8>> = (0..replicas)
                .map(|pod| BudgetPod { pod, ready: true, terminating: false, controller: Some(0) })
                .collect();
            let (mut seen, mut now) = (BudgetStatus::default(), SimTime::ZERO);
            for (which, what, wait) in play {
                let at = (which % replicas) as usize;
                now = now.saturating_add(SimDuration::from_secs(wait));
                match what {
                    0 => pods[at].ready = !pods[at].ready,
                    // A granted pod is seen to terminate; another comes in its place.
                    1 => pods[at].terminating = seen.disrupted.iter().any(|g| g.pod == pods[at].pod),
                    2 if pods[at].terminating => {
                        pods[at] = BudgetPod { pod: pods[at].pod + 100, ready: true, terminating: false, controller: Some(0) };
                    }
                    _ => {}
                }
                let scale = i32::try_from(replicas).unwrap_or(i32::MAX);
                seen = status(&spec, &seen.disrupted, &pods, |_| scale, now).status;
                let (pod, healthy) = (pods[at], seen.current_healthy);
                let counted = seen.disrupted.iter().any(|g| g.pod == pod.pod);
                let state = EvictionPod { idle: false, ready: pod.ready, terminating: pod.terminating };
                if let Verdict::Spent { .. } = evict(pod.pod, state, &mut [(&spec, &mut seen)], now) {
                    let after = healthy - i32::from(!counted);
                    proptest::prop_assert!(after >= seen.desired_healthy, "{after} of {}", seen.desired_healthy);
                }
            }
        }
    }
}
