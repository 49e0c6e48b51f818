//! The DaemonSet controller: one pod on every node that should have one.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/daemon/{daemon_controller,update}.go` (v1.36).
//!
//! Known departures: `maxSurge` is 0, the default.

use super::deployment::{Template, available_from};
use super::int_or_percent::pods as count_of;
use super::object::{Effect, PodSpec, Symbols, Taint, Toleration};
use super::scheduler::Node;
use crate::kernel::{SimDuration, SimTime};
use crate::units::{IntOrPercent, Rounding};

/// How pods get a new template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// Node by node.
    RollingUpdate {
        /// How many may be unavailable; a percentage of the nodes is rounded up. Default 1.
        max_unavailable: IntOrPercent,
    },
    /// When somebody deletes them.
    OnDelete,
}

/// The specification of a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonSetSpec {
    /// How pods get a new template. Default rolling, one at a time.
    pub update_strategy: UpdateStrategy,
    /// How long a pod must be ready to count as available. Default 0.
    pub min_ready: SimDuration,
    /// The template that the pods should have.
    pub template: Template,
}

impl DaemonSetSpec {
    /// A DaemonSet of a template with every default.
    #[must_use]
    pub const fn new(template: Template) -> Self {
        let update_strategy = UpdateStrategy::RollingUpdate { max_unavailable: IntOrPercent::Int(1) };
        Self { update_strategy, min_ready: SimDuration::ZERO, template }
    }
}

/// The tolerations that every DaemonSet pod gets, beside its own: troubled nodes keep it.
pub fn default_tolerations(symbols: &mut Symbols) -> Vec<Toleration> {
    let always = [
        ("node.kubernetes.io/not-ready", Effect::NoExecute),
        ("node.kubernetes.io/unreachable", Effect::NoExecute),
        ("node.kubernetes.io/disk-pressure", Effect::NoSchedule),
        ("node.kubernetes.io/memory-pressure", Effect::NoSchedule),
        ("node.kubernetes.io/pid-pressure", Effect::NoSchedule),
        ("node.kubernetes.io/unschedulable", Effect::NoSchedule),
    ];
    always
        .into_iter()
        .map(|(key, effect)| Toleration { key: Some(symbols.intern(key)), value: None, effect: Some(effect) })
        .collect()
}

/// What a node means to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It should have a pod.
    Run,
    /// It should not get one, but keeps the one it has: a NoSchedule taint came later.
    Keep,
    /// It should have none.
    Leave,
}

/// What a node means to the pods of a specification; that must hold [`default_tolerations`] already.
/// Whether there is room is not asked: the pod then waits.
#[must_use]
pub fn placement(pod: &PodSpec, node: &Node, symbols: &Symbols) -> Placement {
    if pod.node_name.is_some_and(|name| name != node.name) || !pod.selects_node(node.name, &node.labels, symbols) {
        return Placement::Leave;
    }
    let refused = |effect: Effect| node.taints.iter().any(|t: &Taint| t.effect == effect && !pod.tolerates(t));
    match (refused(Effect::NoExecute), refused(Effect::NoSchedule)) {
        (true, _) => Placement::Leave,
        (false, true) => Placement::Keep,
        (false, false) => Placement::Run,
    }
}

/// A pod of a DaemonSet. `P` names pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonPod<P> {
    /// Which one.
    pub pod: P,
    /// Its template.
    pub template: Template,
    /// Whether it failed.
    pub failed: bool,
    /// Since when it is ready, if it is.
    pub ready_since: Option<SimTime>,
    /// Whether it terminates.
    pub terminating: bool,
}

/// A node and the DaemonSet's pods on it, the oldest first. `N` names nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonNode<N, P> {
    /// Which one.
    pub node: N,
    /// What it means to the DaemonSet.
    pub placement: Placement,
    /// The pods.
    pub pods: Vec<DaemonPod<P>>,
    /// Failed pods there, up to now: their replacement waits.
    pub failures: u32,
    /// When the last of them failed.
    pub last_failure: Option<SimTime>,
}

/// What a pass decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetSync<N, P> {
    /// Nodes that get a pod of the new template.
    pub create: Vec<N>,
    /// Pods to delete.
    pub delete: Vec<P>,
    /// Nodes that should have a pod.
    pub desired: u32,
    /// Of these, the ones with an available pod.
    pub available: u32,
    /// Of these, the ones whose pod has the new template.
    pub updated: u32,
    /// When to look again even if nothing changes.
    pub next_check: Option<SimTime>,
}

/// After how long a failed pod is replaced: 1 s doubling up to 15 min.
#[must_use]
pub fn failure_back_off(failures: u32) -> SimDuration {
    let doublings = failures.saturating_sub(1).min(20);
    SimDuration::from_nanos(SimDuration::from_secs(1).as_nanos() << doublings).min(SimDuration::from_mins(15))
}

/// One pass over a DaemonSet: to be called again when a pod or a node changes.
#[must_use]
pub fn sync<N: Copy, P: Copy>(spec: &DaemonSetSpec, nodes: &[DaemonNode<N, P>], now: SimTime) -> DaemonSetSync<N, P> {
    let mut pass = DaemonSetSync {
        create: Vec::new(),
        delete: Vec::new(),
        desired: 0,
        available: 0,
        updated: 0,
        next_check: None,
    };
    let available_at = |p: &DaemonPod<P>| p.ready_since.map(|since| available_from(since, spec.min_ready));
    let wake = |pass: &mut DaemonSetSync<N, P>, at: SimTime| {
        pass.next_check = Some(pass.next_check.map_or(at, |next| next.min(at)));
    };
    let mut unavailable = 0_u32;
    let (mut broken, mut candidates): (Vec<P>, Vec<P>) = (Vec::new(), Vec::new());
    for node in nodes {
        let living: Vec<&DaemonPod<P>> = node.pods.iter().filter(|p| !p.terminating).collect();
        if node.placement != Placement::Run {
            if node.placement == Placement::Leave {
                pass.delete.extend(living.iter().map(|p| p.pod));
            }
            continue;
        }
        pass.desired += 1;
        // Failed pods go after their back-off, all beyond the oldest at once.
        let mut kept: Option<&DaemonPod<P>> = None;
        for pod in living {
            if pod.failed {
                let until = node.last_failure.map(|at| at.saturating_add(failure_back_off(node.failures)));
                match until.filter(|&until| until > now) {
                    Some(until) => wake(&mut pass, until),
                    None => pass.delete.push(pod.pod),
                }
            } else if kept.is_some() {
                pass.delete.push(pod.pod);
            } else {
                kept = Some(pod);
            }
        }
        let Some(pod) = kept else {
            unavailable += 1;
            // A pod that ends holds its place until it is gone.
            if node.pods.is_empty() {
                pass.create.push(node.node);
            }
            continue;
        };
        let free_from = available_at(pod);
        if let Some(at) = free_from.filter(|&at| at > now) {
            wake(&mut pass, at);
        }
        let available = free_from.is_some_and(|at| at <= now);
        pass.available += u32::from(available);
        let updated = pod.template == spec.template;
        pass.updated += u32::from(updated);
        match (updated, available) {
            (false, true) => candidates.push(pod.pod),
            (false, false) => broken.push(pod.pod),
            (true, _) => {}
        }
        unavailable += u32::from(!available);
    }
    if let UpdateStrategy::RollingUpdate { max_unavailable } = spec.update_strategy {
        let desired = i32::try_from(pass.desired).unwrap_or(i32::MAX);
        let most = u32::try_from(count_of(max_unavailable, desired, Rounding::Up)).unwrap_or(0).max(1);
        // Old pods that serve nobody go in any case.
        pass.delete.append(&mut broken);
        let left = most.saturating_sub(unavailable) as usize;
        pass.delete.extend(candidates.into_iter().take(left));
    }
    pass
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::object::Resources;

    fn node(at: u32, template: u32, ready: bool) -> DaemonNode<u32, u32> {
        let pod = DaemonPod {
            pod: at,
            template: Template(template),
            failed: false,
            ready_since: ready.then_some(SimTime::ZERO),
            terminating: false,
        };
        DaemonNode { node: at, placement: Placement::Run, pods: vec![pod], failures: 0, last_failure: None }
    }

    #[test]
    fn nodes_by_selector_and_taints() {
        let mut symbols = Symbols::default();
        let (namespace, name, key) = (symbols.intern("kube-system"), symbols.intern("n"), symbols.intern("gpu"));
        let mut pod = PodSpec::new(namespace);
        pod.tolerations = default_tolerations(&mut symbols);
        let mut node = Node::new(name, Resources::default());
        assert_eq!(placement(&pod, &node, &symbols), Placement::Run);
        let (value, unready) = (symbols.intern(""), symbols.intern("node.kubernetes.io/not-ready"));
        node.taints.push(Taint { key: unready, value, effect: Effect::NoExecute });
        assert_eq!(placement(&pod, &node, &symbols), Placement::Run);
        node.taints.push(Taint { key, value, effect: Effect::NoSchedule });
        assert_eq!(placement(&pod, &node, &symbols), Placement::Keep);
        node.taints.push(Taint { key, value, effect: Effect::NoExecute });
        assert_eq!(placement(&pod, &node, &symbols), Placement::Leave);
    }

    #[test]
    fn updates_go_node_by_node() {
        let spec = DaemonSetSpec::new(Template(1));
        let now = SimTime::from_secs(10);
        let mut nodes: Vec<_> = (0..4).map(|n| node(n, 0, true)).collect();
        assert_eq!(sync(&spec, &nodes, now).delete, [0], "one at a time");
        nodes[0].pods[0].terminating = true;
        assert!(sync(&spec, &nodes, now).delete.is_empty());
        nodes[0].pods.clear();
        assert_eq!(sync(&spec, &nodes, now).create, [0]);
        nodes[0] = node(0, 1, false);
        assert!(sync(&spec, &nodes, now).delete.is_empty());
        nodes[0] = node(0, 1, true);
        nodes[3] = node(3, 0, false);
        assert_eq!(sync(&spec, &nodes, now).delete, [3], "the broken one first, and no other beside it");
        let on_delete = DaemonSetSpec { update_strategy: UpdateStrategy::OnDelete, ..spec };
        assert!(sync(&on_delete, &nodes, now).delete.is_empty());
    }

    #[test]
    fn failed_pods_are_replaced_after_their_back_off() {
        let spec = DaemonSetSpec::new(Template(0));
        let mut failed = node(0, 0, false);
        failed.pods[0].failed = true;
        (failed.failures, failed.last_failure) = (3, Some(SimTime::from_secs(10)));
        let pass = sync(&spec, &[failed.clone()], SimTime::from_secs(11));
        assert_eq!((pass.delete.len(), pass.next_check), (0, Some(SimTime::from_secs(14))));
        assert_eq!(sync(&spec, &[failed], SimTime::from_secs(14)).delete, [0]);
        assert_eq!(failure_back_off(40), SimDuration::from_mins(15));
    }
}
