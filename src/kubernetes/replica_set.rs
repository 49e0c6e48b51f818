//! The ReplicaSet controller: how many pods to create or delete, in which batches, and which ones go first.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/replicaset/replica_set.go` and the ranking of active pods
//! in `pkg/controller/controller_utils.go` (v1.36, feature LogarithmicScaleDown on).
//!
//! Known departures: two pods whose ages fall into one power of two are told apart by their UIDs, which
//! are random texts there; here the caller gives each pod a number that it drew. Where such pods stand
//! beside others of exactly the same age, the latter stay together, so that the order is total.

use std::cmp::{Ordering, Reverse};

use crate::kernel::{SimDuration, SimTime};

/// Most pods created or deleted in one pass (`BurstReplicas`).
pub const BURST_REPLICAS: u32 = 500;

/// What a set has to do with its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manage {
    /// As many as it should have.
    Nothing,
    /// So many are to be created, in batches of a [`SlowStart`].
    Create(u32),
    /// So many are to be deleted at once, those that [`rank_for_deletion`] puts first.
    Delete(u32),
}

/// What a set has to do. `active` are its pods that neither ended (phase Succeeded or Failed) nor
/// terminate: a pod is replaced as soon as it begins to terminate.
#[must_use]
pub fn manage(replicas: u32, active: u32) -> Manage {
    match active.cmp(&replicas) {
        Ordering::Less => Manage::Create((replicas - active).min(BURST_REPLICAS)),
        Ordering::Greater => Manage::Delete((active - replicas).min(BURST_REPLICAS)),
        Ordering::Equal => Manage::Nothing,
    }
}

/// Batches of creations: 1, 2, 4 and so on, the next only if none of the last failed, so that a set whose
/// pods are refused does not ask for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    left: u32,
    size: u32,
}

impl SlowStart {
    /// Batches for a number of pods.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self { left: count, size: 1 }
    }

    /// The next batch; `failed` says whether a creation of the last one failed. The pods that are then
    /// left wait for the next pass.
    pub fn next_batch(&mut self, failed: bool) -> Option<u32> {
        if failed || self.left == 0 {
            self.left = 0;
            return None;
        }
        let batch = self.size.min(self.left);
        self.left -= batch;
        self.size = self.size.saturating_mul(2);
        Some(batch)
    }
}

/// After how long a pass that failed is tried again, given the failures in a row (at least 1): 5 ms
/// doubling up to 1,000 s, the default rate limiter of the controllers (client-go `workqueue`).
#[must_use]
pub fn retry_after(failures: u32) -> SimDuration {
    let most = SimDuration::from_secs(1000);
    let doublings = failures.saturating_sub(1).min(30);
    SimDuration::from_nanos(SimDuration::from_millis(5).as_nanos() << doublings).min(most)
}

/// The phase of a pod that a controller counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ActivePhase {
    Pending,
    Unknown,
    Running,
}

/// A pod that may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whether it has a node.
    pub assigned: bool,
    /// Its phase.
    pub phase: ActivePhase,
    /// Whether it is ready.
    pub ready: bool,
    /// The annotation `controller.kubernetes.io/pod-deletion-cost`; default 0.
    pub deletion_cost: i32,
    /// Active pods on its node that belong to sets of the same owner: see [`ranks`].
    pub rank: u32,
    /// For how long it has been ready; absent where the time is unknown.
    pub ready_for: Option<SimDuration>,
    /// Restarts of the container that restarted most.
    pub restarts: u32,
    /// Its age; absent where the time is unknown.
    pub age: Option<SimDuration>,
    /// Stands for its UID: a number drawn for the pod.
    pub uid: u64,
}

/// Switches of the ranking, both on by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankingFeatures {
    /// Whether deletion costs count (`PodDeletionCost`).
    pub pod_deletion_cost: bool,
    /// Whether ages are compared by powers of two (`LogarithmicScaleDown`).
    pub logarithmic_scale_down: bool,
}

impl Default for RankingFeatures {
    fn default() -> Self {
        Self { pod_deletion_cost: true, logarithmic_scale_down: true }
    }
}

/// What is compared first: unassigned, pending, not ready, cheap to delete, crowded.
type Head = (bool, ActivePhase, bool, i32, Reverse<u32>);

fn head(pod: &Candidate, features: RankingFeatures) -> Head {
    let cost = if features.pod_deletion_cost { pod.deletion_cost } else { 0 };
    (pod.assigned, pod.phase, pod.ready, cost, Reverse(pod.rank))
}

/// How an age compares: unknown first, then the younger; by its power of two where that is asked for.
fn bucket(age: Option<SimDuration>, features: RankingFeatures) -> i128 {
    match age.map(SimDuration::as_nanos) {
        None => -2,
        Some(0) => -1,
        Some(age) if features.logarithmic_scale_down => i128::from(age.ilog2()),
        Some(age) => i128::from(age),
    }
}

/// Which of two pods is deleted first (`Less`); equal where nothing tells them apart.
#[must_use]
pub fn compare_for_deletion(a: &Candidate, b: &Candidate, features: RankingFeatures) -> Ordering {
    // Different ages in one bucket leave it to the UIDs, and nothing after them is looked at.
    let by_age = |x: Option<SimDuration>, y: Option<SimDuration>| {
        (x != y).then(|| bucket(x, features).cmp(&bucket(y, features)).then(a.uid.cmp(&b.uid)))
    };
    let by_ready = || if a.ready && b.ready { by_age(a.ready_for, b.ready_for) } else { None };
    head(a, features).cmp(&head(b, features)).then_with(|| {
        by_ready().unwrap_or_else(|| {
            b.restarts.cmp(&a.restarts).then_with(|| by_age(a.age, b.age).unwrap_or(Ordering::Equal))
        })
    })
}

/// Places of the pods in the order in which they are deleted.
#[must_use]
pub fn rank_for_deletion(pods: &[Candidate], features: RankingFeatures) -> Vec<usize> {
    // Comparing pairs is no order where pods of one bucket differ in age: those of exactly one age stand
    // together, where the smallest of their UIDs stands.
    let ready_for = |p: &Candidate| p.ready_for.filter(|_| p.ready);
    let mut leaders: std::collections::BTreeMap<(Head, Option<SimDuration>), u64> = std::collections::BTreeMap::new();
    for pod in pods {
        let leader = leaders.entry((head(pod, features), ready_for(pod))).or_insert(pod.uid);
        *leader = pod.uid.min(*leader);
    }
    let mut order: Vec<usize> = (0..pods.len()).collect();
    order.sort_by_cached_key(|&at| {
        let pod = &pods[at];
        let (head, ready_for) = (head(pod, features), ready_for(pod));
        let leader = leaders.get(&(head, ready_for)).copied().unwrap_or(pod.uid);
        let tail = (Reverse(pod.restarts), bucket(pod.age, features), pod.uid);
        (head, bucket(ready_for, features), leader, ready_for, tail)
    });
    order
}

/// The rank of each pod: how many active pods of sets with the same owner are on its node. `own` are the
/// nodes of the set's active pods, `all` those of all active pods of such sets, its own among them.
#[must_use]
pub fn ranks<N: Ord + Copy>(own: &[Option<N>], all: &[Option<N>]) -> Vec<u32> {
    let mut counts: std::collections::BTreeMap<Option<N>, u32> = std::collections::BTreeMap::new();
    for node in all {
        *counts.entry(*node).or_insert(0) += 1;
    }
    own.iter().map(|node| counts.get(node).copied().unwrap_or(0)).collect()
}

/// The age of something at `now`, as the ranking wants it.
#[must_use]
pub fn age(since: Option<SimTime>, now: SimTime) -> Option<SimDuration> {
    since.map(|since| now.since(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(age_s: u64, uid: u64) -> Candidate {
        let age = Some(SimDuration::from_secs(age_s));
        Candidate {
            assigned: true,
            phase: ActivePhase::Running,
            ready: true,
            deletion_cost: 0,
            rank: 1,
            ready_for: age,
            restarts: 0,
            age,
            uid,
        }
    }

    #[test]
    fn batches_double_until_one_fails() {
        let mut batches = SlowStart::new(10);
        let sizes: Vec<u32> = std::iter::from_fn(|| batches.next_batch(false)).collect();
        assert_eq!(sizes, [1, 2, 4, 3]);
        let mut refused = SlowStart::new(10);
        assert_eq!((refused.next_batch(false), refused.next_batch(true)), (Some(1), None));
        assert_eq!(manage(900, 100), Manage::Create(500));
        assert_eq!(retry_after(1), SimDuration::from_millis(5));
        assert_eq!(retry_after(40), SimDuration::from_secs(1000));
    }

    #[test]
    fn the_ranking_agrees_with_the_comparison_of_pairs() {
        let features = RankingFeatures::default();
        let pods = [
            Candidate { restarts: 3, ..running(70, 9) },
            running(70, 2),
            running(100, 1),
            Candidate { ready: false, ..running(5, 7) },
            Candidate { assigned: false, ..running(5, 8) },
            running(1, 3),
        ];
        let order = rank_for_deletion(&pods, features);
        assert_eq!(&order[..3], &[4, 3, 5], "unassigned, not ready, youngest");
        for pair in [(0, 1), (1, 2), (5, 1)] {
            let decided = compare_for_deletion(&pods[pair.0], &pods[pair.1], features);
            let place = |p: usize| order.iter().position(|&o| o == p);
            if pair != (1, 2) {
                assert_eq!(decided, place(pair.0).cmp(&place(pair.1)));
            }
        }
    }
}
