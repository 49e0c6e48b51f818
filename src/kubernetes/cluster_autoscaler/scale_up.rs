//! Growing: which pods need nodes, how many of which group would take them, and which group grows.

use super::groups::Groups;
use super::snapshot::Snapshot;
use super::{GroupId, NodeGroup, Observation, PendingPod, Scan, Settings, expander};
use crate::kernel::SimDuration;
use crate::kubernetes::scheduler::{Code, NodeId, ShapeId};

/// How new all pods may be for the loop to wait for more of them.
const NEW_POD_BUFFER: SimDuration = SimDuration::from_secs(2);
/// The same where one of them asks for GPUs.
const NEW_GPU_POD_BUFFER: SimDuration = SimDuration::from_secs(30);

/// What a group could do for the pods, or why it was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Considered {
    /// So many nodes would take so many pods.
    Option {
        /// New nodes.
        nodes: u32,
        /// Pods that they would take.
        pods: u32,
    },
    /// No pod fits its nodes.
    NoPodFits,
    /// It has its most nodes.
    MaxSizeReached,
    /// It rests after a failure.
    Backoff,
    /// Too many of its nodes are missing.
    Unhealthy,
}

/// What became of the scale-up of a loop.
#[derive(Clone, Debug, PartialEq)]
pub enum ScaleUpResult {
    /// No pod waits for a node.
    NotNeeded,
    /// The pods are so new that more may come.
    PodsTooNew(u32),
    /// The cluster has its most nodes.
    MaxNodesTotalReached,
    /// No group can help; what each of them said.
    NoOptions {
        /// Pods that wait.
        pods: u32,
        /// The groups.
        considered: Vec<(GroupId, Considered)>,
    },
    /// A group grows, and those that are alike with it.
    Grown {
        /// The chosen group.
        group: GroupId,
        /// New nodes, over all groups that grow.
        nodes: u32,
        /// Pods that they are for.
        pods: u32,
        /// The groups.
        considered: Vec<(GroupId, Considered)>,
    },
}

/// A group and how it would help.
#[derive(Clone, Debug)]
pub(super) struct ExpansionOption {
    pub(super) group: GroupId,
    pub(super) nodes: u32,
    pub(super) pods: Vec<PendingPod>,
}

/// Pods of one shape, in the order of their coming.
struct Same {
    shape: ShapeId,
    pods: Vec<PendingPod>,
}

/// Grows a group if pods need it. Gives whether pods are so new that nothing may shrink either.
pub(super) fn run(
    settings: &Settings,
    see: &Observation<'_>,
    groups: &mut Groups<'_>,
    snapshot: &mut Snapshot,
    scan: &mut Scan,
) -> bool {
    let pods = helpless(settings, see, snapshot);
    let Some(oldest) = pods.iter().map(|p| p.created).min() else { return false };
    let count = pods.len() as u32;
    if settings.max_nodes_total > 0 && groups.ready_nodes() >= settings.max_nodes_total {
        scan.scale_up = ScaleUpResult::MaxNodesTotalReached;
        return false;
    }
    let gpus: Vec<_> = groups.list().iter().filter_map(|g| g.gpu).collect();
    let wants_gpu = |p: &&PendingPod| {
        see.scheduler.shape(p.shape).is_some_and(|s| gpus.iter().any(|&gpu| s.requests.extended(gpu) > 0))
    };
    let oldest_gpu = pods.iter().filter(wants_gpu).map(|p| p.created).min();
    if oldest.saturating_add(NEW_POD_BUFFER) > see.now
        || oldest_gpu.is_some_and(|at| at.saturating_add(NEW_GPU_POD_BUFFER) > see.now)
    {
        scan.scale_up = ScaleUpResult::PodsTooNew(count);
        return true;
    }
    let same = by_shape(pods);
    let (considered, options) = options(settings, see, groups, snapshot, scan, &same);
    let nodes = groups.ready_nodes();
    let Some(best) = expander::choose(&settings.expanders, options.clone(), see, nodes) else {
        scan.scale_up = ScaleUpResult::NoOptions { pods: count, considered };
        return false;
    };
    let mut wanted = best.nodes;
    if settings.max_nodes_total > 0 {
        wanted = wanted.min(settings.max_nodes_total.saturating_sub(nodes));
    }
    let partners = similar(settings, see, snapshot, groups, scan, best.group, &same);
    let mut grown = 0;
    for (group, to) in balance(groups, best.group, &partners, wanted) {
        grown += to - groups.target(group);
        groups.grow(scan, group, to, see.now);
    }
    scan.scale_up = match grown {
        0 => ScaleUpResult::NoOptions { pods: count, considered },
        nodes => ScaleUpResult::Grown { group: best.group, nodes, pods: best.pods.len() as u32, considered },
    };
    false
}

/// The pods that fit no node that is there or awaited: the others are put there in the copy.
fn helpless(settings: &Settings, see: &Observation<'_>, snapshot: &mut Snapshot) -> Vec<PendingPod> {
    let priority = |p: &PendingPod| see.scheduler.shape(p.shape).map_or(0, |s| s.priority);
    let mut pods: Vec<PendingPod> = see
        .pending
        .iter()
        .filter(|p| p.nominated.is_none() && priority(p) >= settings.expendable_pods_priority_cutoff)
        .copied()
        .collect();
    pods.sort_by_key(|p| std::cmp::Reverse(priority(p)));
    // A shape that fits nowhere is not tried again.
    let mut hopeless: Vec<ShapeId> = Vec::new();
    pods.retain(|pod| {
        if hopeless.contains(&pod.shape) {
            return true;
        }
        let placed = snapshot.schedule(pod.pod, pod.shape, see.draw).is_some();
        if !placed {
            hopeless.push(pod.shape);
        }
        !placed
    });
    let delay = settings.new_pod_scale_up_delay;
    pods.retain(|p| delay.is_zero() || see.now.since(p.created) > delay);
    pods
}

fn by_shape(pods: Vec<PendingPod>) -> Vec<Same> {
    let mut same: indexmap::IndexMap<ShapeId, Vec<PendingPod>> = indexmap::IndexMap::new();
    for pod in pods {
        same.entry(pod.shape).or_default().push(pod);
    }
    same.into_iter().map(|(shape, pods)| Same { shape, pods }).collect()
}

/// What each group could do.
fn options(
    settings: &Settings,
    see: &Observation<'_>,
    groups: &Groups<'_>,
    snapshot: &mut Snapshot,
    scan: &Scan,
    same: &[Same],
) -> (Vec<(GroupId, Considered)>, Vec<ExpansionOption>) {
    let (mut considered, mut options) = (Vec::new(), Vec::new());
    for group in groups.list() {
        if let Some(skip) = skipped(settings, groups, scan, group, see) {
            considered.push((group.id, skip));
            continue;
        }
        let fitting = fitting(snapshot, group, same, see);
        let mut room = capacity(groups, group);
        if settings.balance_similar_node_groups {
            let partners = similar(settings, see, snapshot, groups, scan, group.id, same);
            room += partners.iter().map(|g| capacity(groups, g)).sum::<u32>();
        }
        if settings.max_nodes_total > 0 {
            room = room.min(settings.max_nodes_total.saturating_sub(groups.ready_nodes()));
        }
        let most = room.min(settings.max_nodes_per_scaleup);
        let option = estimate(snapshot, group, &fitting, most, see);
        let (nodes, pods) = (option.nodes, option.pods.len() as u32);
        considered.push((group.id, if pods == 0 { Considered::NoPodFits } else { Considered::Option { nodes, pods } }));
        if nodes > 0 && pods > 0 {
            options.push(option);
        }
    }
    (considered, options)
}

fn capacity(groups: &Groups<'_>, group: &NodeGroup) -> u32 {
    group.max_size.saturating_sub(groups.target(group.id))
}

fn skipped(
    settings: &Settings,
    groups: &Groups<'_>,
    scan: &Scan,
    group: &NodeGroup,
    see: &Observation<'_>,
) -> Option<Considered> {
    match () {
        () if !groups.is_healthy(settings, scan, group.id) => Some(Considered::Unhealthy),
        () if groups.rests(scan, group.id, see.now) => Some(Considered::Backoff),
        () if capacity(groups, group) == 0 => Some(Considered::MaxSizeReached),
        () => None,
    }
}

/// The shapes that fit a new node of a group.
fn fitting<'s>(snapshot: &mut Snapshot, group: &NodeGroup, same: &'s [Same], see: &Observation<'_>) -> Vec<&'s Same> {
    let node = snapshot.add(group, see.now);
    let fitting = same.iter().filter(|s| snapshot.scheduler.fits(s.shape, node) == Code::Success).collect();
    snapshot.scheduler.remove_node(node);
    fitting
}

/// How many nodes of a group take how many of the pods: the largest first, each on the first new node that
/// takes it.
fn estimate(
    snapshot: &mut Snapshot,
    group: &NodeGroup,
    fitting: &[&Same],
    most: u32,
    see: &Observation<'_>,
) -> ExpansionOption {
    let has = &group.template.allocatable;
    let share = |requested: i64, has: i64| if has > 0 { requested as f64 / has as f64 } else { 0.0 };
    let size = |same: &&Same| {
        see.scheduler
            .shape(same.shape)
            .map_or(0.0, |s| share(s.requests.cpu_m, has.cpu_m) + share(s.requests.memory, has.memory))
    };
    let mut order: Vec<&Same> = fitting.to_vec();
    order.sort_by(|a, b| size(b).total_cmp(&size(a)));
    // New nodes, and whether each holds a pod.
    let mut nodes: Vec<(NodeId, bool)> = Vec::new();
    let mut scheduled = Vec::new();
    for same in order {
        let mut pods = same.pods.iter();
        let mut waiting = pods.next();
        // First the nodes that are there, in the order of their making: what did not fit will not fit later.
        let mut at = 0;
        while let (Some(pod), true) = (waiting, at < nodes.len()) {
            if snapshot.scheduler.fits(pod.shape, nodes[at].0) != Code::Success {
                at += 1;
                continue;
            }
            take(snapshot, &mut nodes[at], pod, &mut scheduled);
            waiting = pods.next();
        }
        while let Some(pod) = waiting {
            let fits = |snapshot: &Snapshot, node: NodeId| snapshot.scheduler.fits(pod.shape, node) == Code::Success;
            let last = nodes.last().copied();
            if !last.is_some_and(|(node, _)| fits(snapshot, node)) {
                // An empty node that does not take it says that another would not either.
                if last.is_some_and(|(_, used)| !used) || nodes.len() >= most as usize {
                    break;
                }
                let node = snapshot.add(group, see.now);
                nodes.push((node, false));
                if !fits(snapshot, node) {
                    break;
                }
            }
            if let Some(last) = nodes.last_mut() {
                take(snapshot, last, pod, &mut scheduled);
            }
            waiting = pods.next();
        }
    }
    let used = nodes.iter().filter(|(_, used)| *used).count() as u32;
    // Undone: the nodes go with the pods on them.
    for (node, _) in nodes {
        snapshot.scheduler.remove_node(node);
    }
    ExpansionOption { group: group.id, nodes: used, pods: scheduled }
}

fn take(snapshot: &mut Snapshot, node: &mut (NodeId, bool), pod: &PendingPod, scheduled: &mut Vec<PendingPod>) {
    snapshot.scheduler.place(pod.pod, pod.shape, node.0, pod.created);
    node.1 = true;
    scheduled.push(*pod);
}

/// Labels in which groups that are alike may differ: of every cloud, and of AWS
/// (`processors/nodegroupset/{compare_nodegroups,aws_nodegroups}.go`).
const IGNORED_LABELS: [&str; 13] = [
    "kubernetes.io/hostname",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "beta.kubernetes.io/fluentd-ds-ready",
    "kops.k8s.io/instancegroup",
    "alpha.eksctl.io/instance-id",
    "alpha.eksctl.io/nodegroup-name",
    "eks.amazonaws.com/nodegroup",
    "k8s.amazonaws.com/eniConfig",
    "lifecycle",
    "topology.ebs.csi.aws.com/zone",
];

/// The groups that are alike with one and can take the same pods, where they are to be balanced.
fn similar<'g>(
    settings: &Settings,
    see: &Observation<'_>,
    snapshot: &mut Snapshot,
    groups: &Groups<'g>,
    scan: &Scan,
    to: GroupId,
    same: &[Same],
) -> Vec<&'g NodeGroup> {
    let Some(one) = groups.list().iter().find(|g| g.id == to).filter(|_| settings.balance_similar_node_groups) else {
        return Vec::new();
    };
    let own: Vec<ShapeId> = fitting(snapshot, one, same, see).iter().map(|s| s.shape).collect();
    let mut alike = Vec::new();
    for group in groups.list().iter().filter(|g| g.id != to && is_similar(settings, see, one, g)) {
        let able = groups.is_healthy(settings, scan, group.id) && !groups.rests(scan, group.id, see.now);
        let theirs = fitting(snapshot, group, same, see);
        if able && own.iter().all(|shape| theirs.iter().any(|s| s.shape == *shape)) {
            alike.push(group);
        }
    }
    alike
}

fn is_similar(settings: &Settings, see: &Observation<'_>, a: &NodeGroup, b: &NodeGroup) -> bool {
    let within = |a: i64, b: i64, tolerance: f64| (a - b).abs() as f64 <= a.max(b) as f64 * tolerance;
    let capacity = a.capacity.cpu_m == b.capacity.cpu_m
        && a.capacity.pods == b.capacity.pods
        && a.capacity.extended == b.capacity.extended
        && within(a.capacity.memory, b.capacity.memory, 0.015);
    let free = |g: &NodeGroup| {
        let mut free = g.template.allocatable.clone();
        g.daemon_pods.iter().filter_map(|&d| see.scheduler.shape(d)).for_each(|s| free.subtract(&s.requests));
        free
    };
    let (x, y) = (&a.template.allocatable, &b.template.allocatable);
    let (free_a, free_b) = (free(a), free(b));
    let allocatable = within(x.cpu_m, y.cpu_m, 0.05) && within(x.memory, y.memory, 0.05);
    let spare = within(free_a.cpu_m, free_b.cpu_m, 0.05) && within(free_a.memory, free_b.memory, 0.05);
    let symbols = see.scheduler.symbols();
    let counts = |key: &str| {
        !IGNORED_LABELS.contains(&key) && !settings.balancing_ignore_labels.iter().any(|ignored| ignored == key)
    };
    let labels =
        |g: &NodeGroup| -> Vec<_> { g.template.labels.iter().filter(|(key, _)| counts(symbols.text(*key))).collect() };
    capacity && allocatable && spare && labels(a) == labels(b)
}

/// Splits new nodes over groups so that their sizes come close: each node to the smallest that has room.
fn balance(groups: &Groups<'_>, first: GroupId, partners: &[&NodeGroup], nodes: u32) -> Vec<(GroupId, u32)> {
    let chosen = groups.list().iter().filter(|g| g.id == first);
    let mut sizes: Vec<(GroupId, u32, u32)> = chosen
        .chain(partners.iter().copied())
        .map(|g| (g.id, groups.target(g.id), g.max_size))
        .filter(|(_, size, most)| size < most)
        .collect();
    sizes.sort_by_key(|(_, size, _)| *size);
    for _ in 0..nodes {
        let smallest = sizes.iter_mut().filter(|(_, size, most)| size < most).min_by_key(|(_, size, _)| *size);
        let Some((_, size, _)) = smallest else { break };
        *size += 1;
    }
    sizes.into_iter().filter(|(g, size, _)| *size != groups.target(*g)).map(|(g, size, _)| (g, size)).collect()
}
