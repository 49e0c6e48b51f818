//! The DaemonSet controller: one pod on every node that should have one.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/daemon/{daemon_controller,update}.go` (v1.36).

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
        /// How many nodes may have a new pod beside one that is available; a percentage of the nodes is rounded up. Default 0.
        /// Above 0 the old pod goes when the new one is available, and `max_unavailable` has no meaning (the API takes one of both).
        max_surge: IntOrPercent,
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
        let update_strategy =
            UpdateStrategy::RollingUpdate { max_unavailable: IntOrPercent::Int(1), max_surge: IntOrPercent::Int(0) };
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

/// What a pass gathers while it goes over the nodes.
struct Pass<N, P> {
    sync: DaemonSetSync<N, P>,
    /// Nodes that should have an available pod and have none.
    unavailable: u32,
    /// Old pods that serve nobody, and those that do.
    broken: Vec<P>,
    candidates: Vec<P>,
    /// Nodes whose old pod serves nobody, and those whose old pod does: each may get a new one beside it.
    needing: Vec<N>,
    surging: Vec<N>,
    /// Nodes with an available old pod and a new one beside it.
    surged: u32,
}

impl<N, P> Pass<N, P> {
    fn wake(&mut self, at: SimTime) {
        self.sync.next_check = Some(self.sync.next_check.map_or(at, |next| next.min(at)));
    }
}

/// One pass over a DaemonSet: to be called again when a pod or a node changes.
#[must_use]
pub fn sync<N: Copy, P: Copy>(spec: &DaemonSetSpec, nodes: &[DaemonNode<N, P>], now: SimTime) -> DaemonSetSync<N, P> {
    let desired = nodes.iter().filter(|n| n.placement == Placement::Run).count();
    let (most, surge) = match spec.update_strategy {
        UpdateStrategy::RollingUpdate { max_unavailable, max_surge } => {
            let desired = i32::try_from(desired).unwrap_or(i32::MAX);
            let of = |v| u32::try_from(count_of(v, desired, Rounding::Up)).unwrap_or(0);
            let surge = of(max_surge);
            (if surge == 0 { of(max_unavailable).max(1) } else { 0 }, surge)
        }
        UpdateStrategy::OnDelete => (0, 0),
    };
    let mut pass = Pass {
        sync: DaemonSetSync {
            create: Vec::new(),
            delete: Vec::new(),
            desired: u32::try_from(desired).unwrap_or(u32::MAX),
            available: 0,
            updated: 0,
            next_check: None,
        },
        unavailable: 0,
        broken: Vec::new(),
        candidates: Vec::new(),
        needing: Vec::new(),
        surging: Vec::new(),
        surged: 0,
    };
    for node in nodes {
        let living = node.pods.iter().filter(|p| !p.terminating);
        match node.placement {
            Placement::Run => look(spec, node, surge > 0, now, &mut pass),
            Placement::Keep => {}
            Placement::Leave => pass.sync.delete.extend(living.map(|p| p.pod)),
        }
    }
    if matches!(spec.update_strategy, UpdateStrategy::RollingUpdate { .. }) {
        let sync = &mut pass.sync;
        // Old pods that serve nobody go, or get their successor, in any case.
        sync.delete.append(&mut pass.broken);
        sync.create.append(&mut pass.needing);
        let left = most.saturating_sub(pass.unavailable) as usize;
        sync.delete.extend(pass.candidates.into_iter().take(left));
        let left = surge.saturating_sub(pass.surged) as usize;
        sync.create.extend(pass.surging.into_iter().take(left));
    }
    pass.sync
}

/// Looks at a node that should have a pod.
fn look<N: Copy, P: Copy>(
    spec: &DaemonSetSpec,
    node: &DaemonNode<N, P>,
    surges: bool,
    now: SimTime,
    pass: &mut Pass<N, P>,
) {
    let free_from = |p: &DaemonPod<P>| p.ready_since.map(|since| available_from(since, spec.min_ready));
    let available = |p: &DaemonPod<P>| free_from(p).is_some_and(|at| at <= now);
    // Failed pods go after their back-off; of the others the oldest stays, with surge the oldest of each template.
    let (mut old, mut new): (Option<&DaemonPod<P>>, Option<&DaemonPod<P>>) = (None, None);
    for pod in node.pods.iter().filter(|p| !p.terminating) {
        let updated = pod.template == spec.template;
        if pod.failed {
            let until = node.last_failure.map(|at| at.saturating_add(failure_back_off(node.failures)));
            match until.filter(|&until| until > now) {
                Some(until) => pass.wake(until),
                None => pass.sync.delete.push(pod.pod),
            }
        } else if !surges && (old.is_some() || new.is_some()) || updated && new.is_some() || !updated && old.is_some() {
            pass.sync.delete.push(pod.pod);
        } else if updated {
            new = Some(pod);
        } else {
            old = Some(pod);
        }
        if let Some(at) = free_from(pod).filter(|&at| at > now) {
            pass.wake(at);
        }
    }
    let serves = [old, new].into_iter().flatten().any(available);
    pass.sync.available += u32::from(serves);
    pass.sync.updated += u32::from(new.is_some());
    pass.unavailable += u32::from(!serves);
    match (old, new) {
        // A pod that ends holds its place until it is gone.
        (None, None) if node.pods.is_empty() => pass.sync.create.push(node.node),
        (None, _) => {}
        (Some(old), None) => match (surges, available(old)) {
            (false, true) => pass.candidates.push(old.pod),
            (false, false) => pass.broken.push(old.pod),
            (true, true) => pass.surging.push(node.node),
            (true, false) => pass.needing.push(node.node),
        },
        (Some(old), Some(new)) => {
            pass.surged += u32::from(available(old));
            // Its successor serves, or it does not itself.
            if available(new) || old.ready_since.is_none() {
                pass.sync.delete.push(old.pod);
            }
        }
    }
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
    fn with_surge_the_new_pod_comes_first() {
        let (max_unavailable, max_surge) = (IntOrPercent::Int(0), IntOrPercent::Percent(50));
        let update_strategy = UpdateStrategy::RollingUpdate { max_unavailable, max_surge };
        let spec = DaemonSetSpec { update_strategy, ..DaemonSetSpec::new(Template(1)) };
        let now = SimTime::from_secs(10);
        let mut nodes: Vec<_> = (0..4).map(|n| node(n, 0, true)).collect();
        let pass = sync(&spec, &nodes, now);
        assert_eq!((pass.create.as_slice(), pass.delete.len()), ([0, 1].as_slice(), 0), "half of the nodes");
        for (at, ready) in [(0, true), (1, false)] {
            let new = node(10 + at, 1, ready).pods[0];
            nodes[at as usize].pods.push(new);
        }
        let pass = sync(&spec, &nodes, now);
        assert_eq!((pass.create.len(), pass.delete.as_slice()), (0, [0].as_slice()), "the first is there");
        assert_eq!((pass.available, pass.updated), (4, 2));
        // A node whose old pod serves nobody gets its new pod at once, and a third pod is too many.
        nodes[3] = node(3, 0, false);
        assert_eq!(sync(&spec, &nodes, now).create, [3]);
        let third = node(20, 1, false).pods[0];
        nodes[1].pods.push(third);
        assert!(sync(&spec, &nodes, now).delete.contains(&20));
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
