//! The StatefulSet controller: pods with numbers, made and unmade in order, each with volumes of its own.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/statefulset/stateful_set_control.go` (v1.36).

use std::collections::BTreeMap;

use super::deployment::{Template, available_from};
use super::int_or_percent::pods as count_of;
use super::object::Symbol;
use crate::kernel::{SimDuration, SimTime};
use crate::units::{IntOrPercent, Rounding};

/// Whether pods wait for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodManagementPolicy {
    /// Each waits until those before it are available; they go in reverse order, one by one.
    #[default]
    OrderedReady,
    /// All at once.
    Parallel,
}

/// How pods get a new template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// From the highest ordinal down, as long as few enough are unavailable.
    RollingUpdate {
        /// Lower ordinals keep the old template.
        partition: u32,
        /// How many may be unavailable; a percentage of `replicas` is rounded up; at least 1.
        max_unavailable: IntOrPercent,
    },
    /// When somebody deletes them.
    OnDelete,
}

/// Whether the volumes of a pod outlive it when it goes because there are fewer replicas
/// (`persistentVolumeClaimRetentionPolicy.whenScaled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenScaled {
    /// They stay, and the next pod of the ordinal has them again.
    #[default]
    Retain,
    /// They go with it.
    Delete,
}

/// The specification of a StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatefulSetSpec {
    /// Pods wanted. Default 1.
    pub replicas: u32,
    /// The first ordinal (`ordinals.start`). Default 0.
    pub start: u32,
    /// Whether pods wait for each other.
    pub pod_management_policy: PodManagementPolicy,
    /// How pods get a new template. Default rolling, from 0, one at a time.
    pub update_strategy: UpdateStrategy,
    /// How long a pod must be ready to count as available. Default 0.
    pub min_ready: SimDuration,
    /// What becomes of the volumes of pods that are too many. Default: they stay.
    pub when_scaled: WhenScaled,
    /// The template that the pods should have.
    pub template: Template,
}

impl StatefulSetSpec {
    /// A StatefulSet of a template with every default.
    #[must_use]
    pub const fn new(template: Template) -> Self {
        Self {
            replicas: 1,
            start: 0,
            pod_management_policy: PodManagementPolicy::OrderedReady,
            update_strategy: UpdateStrategy::RollingUpdate { partition: 0, max_unavailable: IntOrPercent::Int(1) },
            min_ready: SimDuration::ZERO,
            when_scaled: WhenScaled::Retain,
            template,
        }
    }

    /// Whether an ordinal is one of those that should have a pod.
    #[must_use]
    pub const fn wants(&self, ordinal: u32) -> bool {
        self.start <= ordinal && ordinal < self.start.saturating_add(self.replicas)
    }
}

/// A pod of a StatefulSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatefulPod {
    /// Its number.
    pub ordinal: u32,
    /// Its template.
    pub template: Template,
    /// Whether it ended, well or not.
    pub ended: bool,
    /// Since when it is running and ready, if it is.
    pub ready_since: Option<SimTime>,
    /// Whether it terminates.
    pub terminating: bool,
}

/// What is to be done with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodAction {
    /// Create it.
    Create {
        /// Its number.
        ordinal: u32,
        /// Its template.
        template: Template,
        /// The zone in which its volumes are, if they are bound.
        zone: Option<Symbol>,
    },
    /// Delete it.
    Delete {
        /// Its number.
        ordinal: u32,
        /// Why.
        why: DeleteReason,
    },
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// It ended; it is made anew when it is gone.
    Ended,
    /// There are too many.
    ScaleDown,
    /// It has an old template.
    Update,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A pod to be gone.
    Terminating(u32),
    /// A pod to be available.
    Unavailable(u32),
    /// Fewer pods to be unavailable.
    MaxUnavailable(u32),
}

/// What a StatefulSet remembers: its template before the rollout, and where its volumes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatefulSetStatus {
    /// The template of pods that were not updated (`currentRevision`).
    pub current: Option<Template>,
    /// The zones of the volumes of each ordinal that had a pod. They outlive the pods.
    pub claims: BTreeMap<u32, Symbol>,
}

impl StatefulSetStatus {
    /// The pod of an ordinal got its first node: its volumes are made in that zone and stay there
    /// (`WaitForFirstConsumer`).
    pub fn bind(&mut self, ordinal: u32, zone: Symbol) {
        self.claims.entry(ordinal).or_insert(zone);
    }

    /// The pod of an ordinal is gone; whether its volumes go with it.
    pub fn pod_is_gone(&mut self, spec: &StatefulSetSpec, ordinal: u32) -> bool {
        spec.when_scaled == WhenScaled::Delete && !spec.wants(ordinal) && self.claims.remove(&ordinal).is_some()
    }
}

/// What a pass decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSetSync {
    /// What to do, in this order.
    pub actions: Vec<PodAction>,
    /// What is waited for, if anything.
    pub waiting: Option<Waiting>,
    /// To be given to the next pass.
    pub status: StatefulSetStatus,
    /// When a pod becomes available by time alone.
    pub next_check: Option<SimTime>,
}

/// One pass over a StatefulSet: to be called again when a pod changes.
#[must_use]
pub fn sync(spec: &StatefulSetSpec, before: &StatefulSetStatus, pods: &[StatefulPod], now: SimTime) -> StatefulSetSync {
    let mut status = before.clone();
    let current = *status.current.get_or_insert(spec.template);
    let mut sorted: Vec<&StatefulPod> = pods.iter().collect();
    sorted.sort_by_key(|p| p.ordinal);
    let (wanted, mut condemned): (Vec<&StatefulPod>, Vec<&StatefulPod>) =
        sorted.into_iter().partition(|p| spec.wants(p.ordinal));
    condemned.reverse();
    let find = |ordinal: u32| wanted.binary_search_by_key(&ordinal, |p| p.ordinal).ok().map(|at| wanted[at]);
    let free_from = |p: &StatefulPod| p.ready_since.map(|since| available_from(since, spec.min_ready));
    let available = |p: &StatefulPod| !p.terminating && !p.ended && free_from(p).is_some_and(|at| at <= now);

    let soon = pods.iter().filter(|p| !p.terminating).filter_map(free_from).filter(|&at| at > now).min();
    let mut pass = StatefulSetSync { actions: Vec::new(), waiting: None, status: before.clone(), next_check: soon };
    let ordered = spec.pod_management_policy == PodManagementPolicy::OrderedReady;
    let done = run(spec, current, &status, &find, &available, &condemned, ordered, &mut pass);

    // All pods have the template and are ready: there is nothing to go back to.
    let whole = wanted.len() == spec.replicas as usize
        && condemned.is_empty()
        && wanted.iter().all(|p| p.template == spec.template && p.ready_since.is_some() && !p.terminating);
    if done && whole && matches!(spec.update_strategy, UpdateStrategy::RollingUpdate { .. }) {
        status.current = Some(spec.template);
    }
    pass.status = status;
    pass
}

/// Does the pass; whether it came to its end.
#[expect(clippy::too_many_arguments, reason = "the parts of one pass, split only for its length")]
fn run<'p>(
    spec: &StatefulSetSpec,
    current: Template,
    status: &StatefulSetStatus,
    find: &dyn Fn(u32) -> Option<&'p StatefulPod>,
    available: &dyn Fn(&StatefulPod) -> bool,
    condemned: &[&StatefulPod],
    ordered: bool,
    pass: &mut StatefulSetSync,
) -> bool {
    let ordinals = || spec.start..spec.start.saturating_add(spec.replicas);
    let keeps_old = |ordinal: u32| match spec.update_strategy {
        UpdateStrategy::RollingUpdate { partition, .. } => ordinal < spec.start.saturating_add(partition),
        UpdateStrategy::OnDelete => false,
    };
    // The pods that should be there, from the first on.
    let mut created = false;
    for ordinal in ordinals() {
        let waits = match find(ordinal) {
            Some(pod) if pod.ended => {
                if !pod.terminating {
                    pass.actions.push(PodAction::Delete { ordinal, why: DeleteReason::Ended });
                }
                Some(Waiting::Terminating(ordinal))
            }
            None => {
                let template = if keeps_old(ordinal) { current } else { spec.template };
                let zone = status.claims.get(&ordinal).copied();
                pass.actions.push(PodAction::Create { ordinal, template, zone });
                created = true;
                Some(Waiting::Unavailable(ordinal))
            }
            Some(pod) if pod.terminating => Some(Waiting::Terminating(ordinal)),
            Some(pod) if !available(pod) => Some(Waiting::Unavailable(ordinal)),
            Some(_) => None,
        };
        if ordered && waits.is_some() {
            pass.waiting = waits;
            return false;
        }
        pass.waiting = pass.waiting.or(waits);
    }
    if created {
        return false;
    }
    // The pods that are too many, from the last down.
    let lowest_bad = condemned.iter().rev().find(|p| !available(p)).map(|p| p.ordinal);
    for pod in condemned {
        let ordinal = pod.ordinal;
        if pod.terminating {
            pass.waiting = pass.waiting.or(Some(Waiting::Terminating(ordinal)));
        } else if ordered && !available(pod) && lowest_bad != Some(ordinal) {
            pass.waiting = Some(Waiting::Unavailable(ordinal));
        } else {
            pass.actions.push(PodAction::Delete { ordinal, why: DeleteReason::ScaleDown });
        }
        if ordered {
            return false;
        }
    }
    if !condemned.is_empty() {
        return false;
    }
    let UpdateStrategy::RollingUpdate { partition, max_unavailable } = spec.update_strategy else { return true };
    let replicas = i32::try_from(spec.replicas).unwrap_or(i32::MAX);
    let most = u32::try_from(count_of(max_unavailable, replicas, Rounding::Up)).unwrap_or(0).max(1);
    let from = spec.start.saturating_add(partition.min(spec.replicas));
    let stale = |pod: &StatefulPod| pod.template != spec.template && !pod.terminating;
    if most == 1 {
        // One by one: the first that is old goes, the first that is not available is waited for.
        for pod in ordinals().filter(|&o| o >= from).rev().filter_map(find) {
            if stale(pod) {
                pass.actions.push(PodAction::Delete { ordinal: pod.ordinal, why: DeleteReason::Update });
                return false;
            }
            if !available(pod) {
                pass.waiting = Some(Waiting::Unavailable(pod.ordinal));
                return false;
            }
        }
        return true;
    }
    let unavailable = ordinals().filter(|&o| !find(o).is_some_and(available)).count() as u32;
    let left = most.saturating_sub(unavailable);
    let old: Vec<u32> = ordinals().filter(|&o| o >= from).rev().filter(|&o| find(o).is_some_and(stale)).collect();
    if left == 0 && !old.is_empty() {
        pass.waiting = Some(Waiting::MaxUnavailable(unavailable));
        return false;
    }
    let update = |&ordinal: &u32| PodAction::Delete { ordinal, why: DeleteReason::Update };
    pass.actions.extend(old.iter().take(left as usize).map(update));
    old.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::object::Symbols;

    const OLD: Template = Template(0);
    const NEW: Template = Template(1);

    fn pod(ordinal: u32, template: Template) -> StatefulPod {
        StatefulPod { ordinal, template, ended: false, ready_since: Some(SimTime::ZERO), terminating: false }
    }

    fn actions(spec: &StatefulSetSpec, pods: &[StatefulPod]) -> Vec<PodAction> {
        let status = StatefulSetStatus { current: Some(OLD), ..StatefulSetStatus::default() };
        sync(spec, &status, pods, SimTime::from_secs(100)).actions
    }

    fn update(ordinal: u32) -> PodAction {
        PodAction::Delete { ordinal, why: DeleteReason::Update }
    }

    #[test]
    fn pods_come_in_order_and_go_in_reverse() {
        let spec = StatefulSetSpec { replicas: 3, ..StatefulSetSpec::new(OLD) };
        let create = |ordinal| PodAction::Create { ordinal, template: OLD, zone: None };
        assert_eq!(actions(&spec, &[]), [create(0)]);
        let starting = StatefulPod { ready_since: None, ..pod(0, OLD) };
        assert!(actions(&spec, &[starting]).is_empty(), "the first is waited for");
        assert_eq!(actions(&spec, &[pod(0, OLD)]), [create(1)]);
        let parallel = StatefulSetSpec { pod_management_policy: PodManagementPolicy::Parallel, ..spec };
        assert_eq!(actions(&parallel, &[starting]), [create(1), create(2)]);
        let one = StatefulSetSpec { replicas: 1, ..spec };
        let all: Vec<StatefulPod> = (0..3).map(|o| pod(o, OLD)).collect();
        assert_eq!(actions(&one, &all), [PodAction::Delete { ordinal: 2, why: DeleteReason::ScaleDown }]);
    }

    #[test]
    fn updates_go_down_to_the_partition_one_at_a_time() {
        let strategy = UpdateStrategy::RollingUpdate { partition: 1, max_unavailable: IntOrPercent::Int(1) };
        let spec = StatefulSetSpec { replicas: 3, update_strategy: strategy, ..StatefulSetSpec::new(NEW) };
        let all: Vec<StatefulPod> = (0..3).map(|o| pod(o, OLD)).collect();
        assert_eq!(actions(&spec, &all), [update(2)]);
        let going = [all[0], all[1], StatefulPod { terminating: true, ..all[2] }];
        assert!(actions(&spec, &going).is_empty());
        assert_eq!(actions(&spec, &[all[0], all[1], pod(2, NEW)]), [update(1)]);
        assert!(actions(&spec, &[all[0], pod(1, NEW), pod(2, NEW)]).is_empty(), "the partition keeps the first");
        // A pod below the partition comes back with its old template.
        let create = PodAction::Create { ordinal: 0, template: OLD, zone: None };
        assert_eq!(actions(&spec, &[pod(1, NEW), pod(2, NEW)]), [create]);
        let two = UpdateStrategy::RollingUpdate { partition: 0, max_unavailable: IntOrPercent::Int(2) };
        assert_eq!(actions(&StatefulSetSpec { update_strategy: two, ..spec }, &all), [update(2), update(1)]);
        let on_delete = StatefulSetSpec { update_strategy: UpdateStrategy::OnDelete, ..spec };
        assert!(actions(&on_delete, &all).is_empty());
    }

    #[test]
    fn volumes_keep_their_zone() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.intern("us-east-1a"), symbols.intern("us-east-1b"));
        let mut status = StatefulSetStatus::default();
        status.bind(0, a);
        status.bind(0, b);
        let pass = sync(&StatefulSetSpec::new(OLD), &status, &[], SimTime::ZERO);
        assert_eq!(pass.actions, [PodAction::Create { ordinal: 0, template: OLD, zone: Some(a) }]);
        assert_eq!(pass.status.current, Some(OLD));
        let mut status = pass.status;
        let spec = StatefulSetSpec { when_scaled: WhenScaled::Delete, ..StatefulSetSpec::new(OLD) };
        assert!(!status.pod_is_gone(&spec, 0), "it comes back");
        let none = StatefulSetSpec { replicas: 0, ..spec };
        assert!(!status.clone().pod_is_gone(&StatefulSetSpec { when_scaled: WhenScaled::Retain, ..none }, 0));
        assert!(status.pod_is_gone(&none, 0) && status.claims.is_empty());
    }
}
