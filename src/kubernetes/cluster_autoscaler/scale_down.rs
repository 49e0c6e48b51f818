//! Shrinking: which nodes are not needed, for how long, and which of them go now.

use super::groups::{Groups, deletions_in, is_being_deleted, not_started};
use super::snapshot::Snapshot;
use super::{
    DELETION_TAINT, Deletion, NodeKey, NodeState, Observation, Owner, PodFacts, ScaleDownResult, Scan, Settings,
    Unremovable,
};
use crate::kernel::SimTime;
use crate::kubernetes::object::{Effect, Symbol, Taint};
use crate::kubernetes::scheduler::{NodeId, PodKey, Scheduler, ShapeId};

/// What of a node's resources its pods request, as fractions of what it can give.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Utilization {
    /// CPU.
    pub cpu: f64,
    /// Memory.
    pub memory: f64,
    /// GPUs; they alone count where a node has them.
    pub gpu: Option<f64>,
}

impl Utilization {
    /// What is compared with the threshold: the GPUs', or the larger of CPU's and memory's.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.gpu.unwrap_or(self.cpu.max(self.memory))
    }
}

/// Why a pod holds its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// Nobody would make it anew.
    NotReplicated,
    /// It is a system pod without a budget.
    UnmovableKubeSystemPod,
    /// It is annotated so.
    NotSafeToEvict,
    /// It would lose its local storage.
    LocalStorage,
    /// Its budget allows no eviction.
    NotEnoughPdb,
}

/// The utilisation of a node. DaemonSet pods are left out of it if so asked: of what is requested and of
/// what there is.
#[must_use]
pub fn utilization(
    scheduler: &Scheduler,
    node: NodeId,
    gpu: Option<Symbol>,
    without_daemons: bool,
    facts: &dyn Fn(PodKey) -> PodFacts,
) -> Utilization {
    let Some(has) = scheduler.allocatable(node) else { return Utilization::default() };
    let mut requested = scheduler.requested(node);
    let mut has = has.clone();
    if without_daemons {
        for resident in scheduler.pods_on(node) {
            if let (Owner::DaemonSet, Some(shape)) = (facts(resident.pod).owner, scheduler.shape(resident.shape)) {
                requested.subtract(&shape.requests);
                has.subtract(&shape.requests);
            }
        }
    }
    let share = |requested: i64, has: i64| if has > 0 { requested as f64 / has as f64 } else { 0.0 };
    Utilization {
        cpu: share(requested.cpu_m, has.cpu_m),
        memory: share(requested.memory, has.memory),
        gpu: gpu.map(|gpu| share(requested.extended(gpu), has.extended(gpu))),
    }
}

/// A node that could go.
struct Removable {
    key: NodeKey,
    pods: Vec<PodKey>,
    utilization: Utilization,
}

/// Looks for nodes that are not needed, and starts the deletion of those that were not for long enough.
pub(super) fn run(
    settings: &Settings,
    see: &Observation<'_>,
    groups: &Groups<'_>,
    mut snapshot: Snapshot,
    fresh_pods: bool,
    scan: &mut Scan,
) {
    for node in std::mem::take(&mut snapshot.upcoming) {
        snapshot.scheduler.remove_node(node);
    }
    let mut copy = snapshot.scheduler;
    forget_the_gone(see, scan);
    move_drained(see, scan, &mut copy);
    let candidates = candidates(see, scan);
    // All utilisations are taken before anything is tried.
    let without_daemons = settings.ignore_daemonsets_utilization;
    let gpu = |n: &NodeState| groups.list().iter().find(|g| Some(g.id) == n.group).and_then(|g| g.gpu);
    let used: Vec<Utilization> =
        candidates.iter().map(|n| utilization(&copy, n.node, gpu(n), without_daemons, see.facts)).collect();
    let mut removable = Vec::new();
    for (node, used) in candidates.iter().zip(used) {
        match look_at(settings, see, groups, scan, &mut copy, node, used) {
            Ok(found) => removable.push(found),
            Err(reason) => scan.unremovable.push((node.key, reason)),
        }
    }
    let since = |key: &NodeKey| scan.memory.unneeded.get(key).copied().unwrap_or(see.now);
    scan.memory.unneeded = removable.iter().map(|r| (r.key, since(&r.key))).collect();

    let recent = |at: Option<SimTime>, delay| at.is_some_and(|at: SimTime| at.saturating_add(delay) > see.now);
    if fresh_pods
        || candidates.is_empty()
        || recent(scan.memory.last_scale_up, settings.scale_down_delay_after_add)
        || recent(scan.memory.last_scale_down_fail, settings.scale_down_delay_after_failure)
        || recent(scan.memory.last_scale_down_delete, settings.scale_down_delay_after_delete)
    {
        scan.scale_down = ScaleDownResult::InCooldown;
        return;
    }
    start(settings, see, groups, removable, scan);
}

fn forget_the_gone(see: &Observation<'_>, scan: &mut Scan) {
    let mut known: Vec<NodeKey> = see.nodes.iter().map(|n| n.key).collect();
    known.sort_unstable();
    let known = |key: &NodeKey| known.binary_search(key).is_ok();
    scan.memory.deletions.retain(|key, _| known(key));
    scan.memory.unremovable.retain(|key, until| known(key) && *until > see.now);
}

/// Pods of nodes that are being drained will need a place: they are put somewhere, if there is room.
fn move_drained(see: &Observation<'_>, scan: &Scan, copy: &mut Scheduler) {
    for node in see.nodes.iter().filter(|n| is_being_deleted(scan, n.key)) {
        taint(copy, node.node, see.now);
        for (pod, shape) in movable(see, copy, node.node) {
            copy.remove(pod);
            if let Ok(to) = copy.schedule(pod, shape, see.draw) {
                copy.place(pod, shape, to, SimTime::MAX);
            }
        }
    }
}

/// Nodes to look at: the empty ones first, then those that were not needed before.
fn candidates(see: &Observation<'_>, scan: &Scan) -> Vec<NodeState> {
    let mut nodes: Vec<NodeState> = see
        .nodes
        .iter()
        .filter(|n| n.group.is_some() && !n.deleted && !not_started(n, see.now) && !is_being_deleted(scan, n.key))
        .copied()
        .collect();
    let empty = |n: &NodeState| movable(see, see.scheduler, n.node).is_empty();
    nodes.sort_by_cached_key(|n| (!empty(n), !scan.memory.unneeded.contains_key(&n.key)));
    nodes
}

/// The pods of a node that must be elsewhere when it goes.
fn movable(see: &Observation<'_>, scheduler: &Scheduler, node: NodeId) -> Vec<(PodKey, ShapeId)> {
    let mut pods: Vec<(PodKey, ShapeId)> = scheduler
        .pods_on(node)
        .iter()
        .filter(|r| {
            let facts = (see.facts)(r.pod);
            !facts.finished && !matches!(facts.owner, Owner::DaemonSet | Owner::Node)
        })
        .map(|r| (r.pod, r.shape))
        .collect();
    // The order in which a node lists its pods says nothing.
    pods.sort_unstable();
    pods
}

fn blocking(settings: &Settings, see: &Observation<'_>, facts: &PodFacts) -> Option<Blocking> {
    if facts.finished || matches!(facts.owner, Owner::DaemonSet | Owner::Node) {
        return None;
    }
    let refused = facts.budgets.iter().any(|&at| see.budgets.get(at).is_some_and(|&allowed| allowed < 1));
    let budget = refused.then_some(Blocking::NotEnoughPdb);
    if facts.safe_to_evict == Some(true) {
        return budget;
    }
    match () {
        () if facts.owner == Owner::Nobody => Some(Blocking::NotReplicated),
        () if settings.skip_nodes_with_system_pods && facts.system && facts.budgets.is_empty() => {
            Some(Blocking::UnmovableKubeSystemPod)
        }
        () if facts.safe_to_evict == Some(false) => Some(Blocking::NotSafeToEvict),
        () if settings.skip_nodes_with_local_storage && facts.local_storage => Some(Blocking::LocalStorage),
        () => budget,
    }
}

/// Whether a node could go. If so, the copy goes on without it.
fn look_at(
    settings: &Settings,
    see: &Observation<'_>,
    groups: &Groups<'_>,
    scan: &mut Scan,
    copy: &mut Scheduler,
    node: &NodeState,
    used: Utilization,
) -> Result<Removable, Unremovable> {
    if scan.memory.unremovable.contains_key(&node.key) {
        return Err(Unremovable::RecentlyUnremovable);
    }
    if node.scale_down_disabled {
        return Err(Unremovable::ScaleDownDisabled);
    }
    let group = groups.list().iter().find(|g| Some(g.id) == node.group).ok_or(Unremovable::NotAutoscaled)?;
    if !node.ready && !settings.scale_down_unready_enabled {
        return Err(Unremovable::ScaleDownUnreadyDisabled);
    }
    let threshold = match group.gpu {
        Some(_) => settings.scale_down_gpu_utilization_threshold,
        None => settings.scale_down_utilization_threshold,
    };
    if used.value() > threshold {
        return Err(Unremovable::NotUnderutilized(used));
    }
    let found = simulate(settings, see, copy, node);
    match found {
        Ok(pods) => Ok(Removable { key: node.key, pods, utilization: used }),
        Err(reason) => {
            let until = see.now.saturating_add(settings.unremovable_node_recheck_timeout);
            scan.memory.unremovable.insert(node.key, until);
            Err(reason)
        }
    }
}

/// Removes a node from the copy if all its pods find another place there; gives these pods.
fn simulate(
    settings: &Settings,
    see: &Observation<'_>,
    copy: &mut Scheduler,
    node: &NodeState,
) -> Result<Vec<PodKey>, Unremovable> {
    let mut residents: Vec<PodKey> = copy.pods_on(node.node).iter().map(|r| r.pod).collect();
    residents.sort_unstable();
    // Pods that the simulation itself put here moved once already and are no reason to stay.
    for pod in residents.iter().filter(|p| see.scheduler.pod(**p).is_some_and(|at| at.node == node.node)) {
        if let Some(why) = blocking(settings, see, &(see.facts)(*pod)) {
            return Err(Unremovable::BlockedByPod(*pod, why));
        }
    }
    let pods = movable(see, copy, node.node);
    for (pod, _) in &pods {
        copy.remove(*pod);
    }
    // The node stays as a place where nothing may go, so that it still counts for topology.
    let untainted = taint(copy, node.node, see.now);
    for (at, &(pod, shape)) in pods.iter().enumerate() {
        match copy.schedule(pod, shape, see.draw) {
            Ok(to) => copy.place(pod, shape, to, SimTime::MAX),
            Err(_) => {
                pods[..at].iter().for_each(|(moved, _)| {
                    copy.remove(*moved);
                });
                if let Some(untainted) = untainted {
                    copy.update_node(node.node, untainted);
                }
                let start = |pod| see.scheduler.pod(pod).map_or(SimTime::MAX, |p| p.start);
                pods.iter().for_each(|&(pod, shape)| copy.place(pod, shape, node.node, start(pod)));
                return Err(Unremovable::NoPlaceToMovePods(pod));
            }
        }
    }
    copy.remove_node(node.node);
    Ok(pods.into_iter().map(|(pod, _)| pod).collect())
}

/// Taints a node of the copy against new pods; gives the node as it was.
fn taint(copy: &mut Scheduler, node: NodeId, now: SimTime) -> Option<crate::kubernetes::scheduler::Node> {
    let before = copy.node(node)?.clone();
    let symbols = copy.symbols_mut();
    let (key, value) = (symbols.intern(DELETION_TAINT), symbols.intern(&now.as_nanos().to_string()));
    let mut after = before.clone();
    if !after.taints.iter().any(|t| t.key == key) {
        after.taints.push(Taint { key, value, effect: Effect::NoSchedule });
        copy.update_node(node, after);
    }
    Some(before)
}

/// Starts what may be deleted: unneeded for long enough, within the group's minimum and the budgets of
/// deletions.
fn start(settings: &Settings, see: &Observation<'_>, groups: &Groups<'_>, found: Vec<Removable>, scan: &mut Scan) {
    let draining = scan.memory.deletions.values().filter(|(_, drain)| *drain).count() as u32;
    let going = scan.memory.deletions.len() as u32;
    let mut left = settings.max_scale_down_parallelism.saturating_sub(going);
    let mut drains_left = settings.max_drain_parallelism.saturating_sub(draining);
    // Empty nodes first.
    let (empty, full): (Vec<Removable>, Vec<Removable>) = found.into_iter().partition(|r| r.pods.is_empty());
    let mut sizes: std::collections::BTreeMap<_, u32> =
        groups.list().iter().map(|g| (g.id, groups.target(g.id).saturating_sub(deletions_in(scan, g.id)))).collect();
    for found in empty.into_iter().chain(full) {
        let Some(node) = see.nodes.iter().find(|n| n.key == found.key) else { continue };
        let Some(group) = groups.list().iter().find(|g| Some(g.id) == node.group) else { continue };
        let since = scan.memory.unneeded.get(&found.key).copied().unwrap_or(see.now);
        let needed = if node.ready { settings.scale_down_unneeded_time } else { settings.scale_down_unready_time };
        let size = sizes.get(&group.id).copied().unwrap_or(0);
        let reason = if since.saturating_add(needed) >= see.now {
            match node.ready {
                true => Unremovable::NotUnneededLongEnough(since),
                false => Unremovable::NotUnreadyLongEnough(since),
            }
        } else if size <= group.min_size {
            Unremovable::NodeGroupMinSizeReached
        } else {
            sizes.insert(group.id, size - 1);
            let drains = !found.pods.is_empty();
            if left == 0 || (drains && drains_left == 0) {
                Unremovable::DeletionBudgetReached
            } else {
                left -= 1;
                drains_left -= u32::from(drains);
                scan.memory.deletions.insert(found.key, (group.id, drains));
                let Removable { key, mut pods, utilization } = found;
                pods.retain(|pod| see.scheduler.pod(*pod).is_some_and(|at| at.node == node.node));
                scan.deletions.push(Deletion { node: key, group: group.id, drain: drains, pods, utilization });
                continue;
            }
        };
        scan.unremovable.push((found.key, reason));
    }
    scan.scale_down = match scan.deletions.is_empty() {
        true => ScaleDownResult::NothingToDelete,
        false => {
            scan.memory.last_scale_down_delete = Some(see.now);
            ScaleDownResult::Started
        }
    };
}
