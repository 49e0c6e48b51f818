//! The Cluster Autoscaler: it sizes node groups by pods that found no node, and takes away nodes whose pods
//! would fit elsewhere.
//!
//! [`scan`] is one loop of the real one: a simulation on a copy of the scheduler, then at most one of
//! growing and shrinking. What it starts (a drain) goes on outside of it: see [`drain`].
//!
//! Rules: kubernetes/autoscaler `cluster-autoscaler/` at cluster-autoscaler-1.36.1, above all
//! `core/static_autoscaler.go`, `core/scaleup/orchestrator`, `core/scaledown/{planner,eligibility,unneeded,
//! budgets}`, `estimator/binpacking_estimator.go`, `clusterstate/clusterstate.go` and `expander/`.
//!
//! Known departures: the simulated scheduler puts pods on the node with the best score where the real
//! simulation takes the next that fits; nodes are looked at in a fixed order where the real one walks through
//! maps; a group's size that was out of reach for the provision time falls at once, as for AWS, where the
//! missing instances are counted as instances that never join; no provisioning requests, no zero-or-max groups, no limits on cores and memory of the cluster; a
//! simulation takes no time, so that its time limits never cut it short.

pub mod drain;
mod expander;
mod groups;
mod scale_down;
mod scale_up;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::object::Resources;
use super::scheduler::{Node, NodeId, PodKey, Scheduler, ShapeId};
use crate::kernel::{SimDuration, SimTime};

pub use expander::{Expander, PodPrices, Priorities, pattern_is_valid};
pub use groups::{Backoff, ScaleUpRequest};
pub use scale_down::{Blocking, Utilization, utilization};
pub use scale_up::{Considered, ScaleUpResult};

/// A node group (an Auto Scaling group), named by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A node over its whole life, named by the caller: never used twice, unlike [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// The flags of the Cluster Autoscaler, by their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time between two loops. Default 10 s.
    pub scan_interval: SimDuration,
    /// How old a pod must be to count. Default 0.
    pub new_pod_scale_up_delay: SimDuration,
    /// How one of several groups is chosen, each deciding what the one before left open; what is then still
    /// open is drawn. Default least-waste.
    pub expanders: Vec<Expander>,
    /// How long a node may take to join. Default 15 min.
    pub max_node_provision_time: SimDuration,
    /// How long a group rests after its first failure. Default 5 min.
    pub initial_node_group_backoff: SimDuration,
    /// How long it rests at most. Default 30 min.
    pub max_node_group_backoff: SimDuration,
    /// After how long failures are forgotten. Default 3 h.
    pub node_group_backoff_reset_timeout: SimDuration,
    /// Nodes that one scale-up adds at most. Default 1000.
    pub max_nodes_per_scaleup: u32,
    /// Nodes of the cluster; 0 for no limit. Default 0.
    pub max_nodes_total: u32,
    /// Whether groups that are alike share a scale-up. Default false.
    pub balance_similar_node_groups: bool,
    /// Labels, besides the known ones, in which groups that are alike may differ (`balancing-ignore-label`).
    pub balancing_ignore_labels: Vec<String>,
    /// Whether nodes are taken away. Default true.
    pub scale_down_enabled: bool,
    /// Utilisation up to which a node may go. Default 0.5.
    pub scale_down_utilization_threshold: f64,
    /// The same for nodes with GPUs, by their GPUs. Default 0.5.
    pub scale_down_gpu_utilization_threshold: f64,
    /// How long a node must not be needed. Default 10 min.
    pub scale_down_unneeded_time: SimDuration,
    /// The same for nodes that are not ready. Default 20 min.
    pub scale_down_unready_time: SimDuration,
    /// Whether nodes that are not ready are taken away. Default true.
    pub scale_down_unready_enabled: bool,
    /// Time after a scale-up without scale-down. Default 10 min.
    pub scale_down_delay_after_add: SimDuration,
    /// Time after a deletion without another. Default 0.
    pub scale_down_delay_after_delete: SimDuration,
    /// Time after a failed deletion without another. Default 3 min.
    pub scale_down_delay_after_failure: SimDuration,
    /// How long a node that could not go is not looked at. Default 5 min.
    pub unremovable_node_recheck_timeout: SimDuration,
    /// Nodes deleted at once. Default 10.
    pub max_scale_down_parallelism: u32,
    /// Nodes with pods deleted at once. Default 1.
    pub max_drain_parallelism: u32,
    /// How long a drain waits for pods to end. Default 600 s.
    pub max_graceful_termination: SimDuration,
    /// How long a drain asks for an eviction. Default 2 min.
    pub max_pod_eviction_time: SimDuration,
    /// Time between the taint and the deletion or the first eviction. Default 5 s.
    pub node_delete_delay_after_taint: SimDuration,
    /// Pods of a lower priority neither bring nodes nor keep them. Default -10.
    pub expendable_pods_priority_cutoff: i32,
    /// With more nodes that are not ready than this percentage, and more than `ok_total_unready_count`, it does
    /// nothing. Default 45.
    pub max_total_unready_percentage: f64,
    /// Nodes that may be not ready in any case. Default 3.
    pub ok_total_unready_count: u32,
    /// Whether system pods without a budget hold their node. Default true.
    pub skip_nodes_with_system_pods: bool,
    /// Whether pods with local storage hold their node. Default true.
    pub skip_nodes_with_local_storage: bool,
    /// Whether DaemonSet pods are left out of utilisation. Default false.
    pub ignore_daemonsets_utilization: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let (secs, mins) = (SimDuration::from_secs, SimDuration::from_mins);
        Self {
            scan_interval: secs(10),
            new_pod_scale_up_delay: SimDuration::ZERO,
            expanders: vec![Expander::LeastWaste],
            max_node_provision_time: mins(15),
            initial_node_group_backoff: mins(5),
            max_node_group_backoff: mins(30),
            node_group_backoff_reset_timeout: mins(180),
            max_nodes_per_scaleup: 1000,
            max_nodes_total: 0,
            balance_similar_node_groups: false,
            balancing_ignore_labels: Vec::new(),
            scale_down_enabled: true,
            scale_down_utilization_threshold: 0.5,
            scale_down_gpu_utilization_threshold: 0.5,
            scale_down_unneeded_time: mins(10),
            scale_down_unready_time: mins(20),
            scale_down_unready_enabled: true,
            scale_down_delay_after_add: mins(10),
            scale_down_delay_after_delete: SimDuration::ZERO,
            scale_down_delay_after_failure: mins(3),
            unremovable_node_recheck_timeout: mins(5),
            max_scale_down_parallelism: 10,
            max_drain_parallelism: 1,
            max_graceful_termination: secs(600),
            max_pod_eviction_time: mins(2),
            node_delete_delay_after_taint: secs(5),
            expendable_pods_priority_cutoff: -10,
            max_total_unready_percentage: 45.0,
            ok_total_unready_count: 3,
            skip_nodes_with_system_pods: true,
            skip_nodes_with_local_storage: true,
            ignore_daemonsets_utilization: false,
        }
    }
}

/// A node group as it is now. Symbols and shapes are those of the observed scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeGroup {
    /// Which one.
    pub id: GroupId,
    /// Its name: what the priority expander matches.
    pub name: String,
    /// Fewest nodes.
    pub min_size: u32,
    /// Most nodes.
    pub max_size: u32,
    /// The size asked of it now.
    pub target_size: u32,
    /// A node that it would add; its name is replaced.
    pub template: Node,
    /// The whole capacity of such a node, reserved parts included.
    pub capacity: Resources,
    /// The DaemonSet pods that would run on it.
    pub daemon_pods: Vec<ShapeId>,
    /// Its price in dollars an hour: for the price expander.
    pub price_per_hour: f64,
    /// The extended resource of its GPUs, if it has any.
    pub gpu: Option<super::object::Symbol>,
}

/// A node that joined the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Which one.
    pub key: NodeKey,
    /// Where the scheduler has it.
    pub node: NodeId,
    /// Its group, if the autoscaler manages it.
    pub group: Option<GroupId>,
    /// Whether it is ready.
    pub ready: bool,
    /// When it joined.
    pub created: SimTime,
    /// Whether its instance was deleted, though the node is still listed.
    pub deleted: bool,
    /// Whether it is annotated `cluster-autoscaler.kubernetes.io/scale-down-disabled`.
    pub scale_down_disabled: bool,
}

/// An instance that was launched and has not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unregistered {
    /// Which one.
    pub key: NodeKey,
    /// Its group.
    pub group: GroupId,
    /// When it was launched.
    pub since: SimTime,
}

/// A pod that the scheduler marked as unschedulable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingPod {
    /// Which one.
    pub pod: PodKey,
    /// Its specification.
    pub shape: ShapeId,
    /// When it was created.
    pub created: SimTime,
    /// The node where preemption makes room for it.
    pub nominated: Option<NodeId>,
}

/// Who would make a pod anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// A ReplicaSet, StatefulSet or Job.
    #[default]
    Controller,
    /// A DaemonSet: it dies with its node.
    DaemonSet,
    /// Nobody, or an unknown controller: it holds its node.
    Nobody,
    /// The node itself (a static pod).
    Node,
}

/// What decides whether a pod on a node can move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Who would make it anew.
    pub owner: Owner,
    /// The annotation `cluster-autoscaler.kubernetes.io/safe-to-evict`, if it has one.
    pub safe_to_evict: Option<bool>,
    /// Whether it has local storage (`emptyDir` or `hostPath`).
    pub local_storage: bool,
    /// Whether it is in the namespace `kube-system`.
    pub system: bool,
    /// Whether it succeeded or failed.
    pub finished: bool,
    /// The budgets that select it: places in [`Observation::budgets`].
    pub budgets: Vec<usize>,
}

/// What a loop looks at.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// Nodes and the pods on them; nodes that are being deleted carry [`DELETION_TAINT`].
    pub scheduler: &'a Scheduler,
    /// The node groups, in the order in which they are to be tried.
    pub groups: &'a [NodeGroup],
    /// All nodes.
    pub nodes: &'a [NodeState],
    /// Instances without a node.
    pub unregistered: &'a [Unregistered],
    /// Instances that could not be launched, by group (as where the zone has no capacity).
    pub creation_errors: &'a [(GroupId, u32)],
    /// Pods without a node.
    pub pending: &'a [PendingPod],
    /// What is known of a pod on a node.
    pub facts: &'a dyn Fn(PodKey) -> PodFacts,
    /// The evictions that each budget allows now.
    pub budgets: &'a [i32],
    /// A draw for this loop: decides between groups that are equally good.
    pub draw: u64,
    /// The instant.
    pub now: SimTime,
}

/// The key of the taint that a node gets before it is deleted (effect NoSchedule).
pub const DELETION_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// What the autoscaler remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last scale-up.
    pub last_scale_up: Option<SimTime>,
    /// The last start of a deletion.
    pub last_scale_down_delete: Option<SimTime>,
    /// The last failed deletion.
    pub last_scale_down_fail: Option<SimTime>,
    /// Nodes that are not needed, and since when.
    pub unneeded: BTreeMap<NodeKey, SimTime>,
    /// Nodes that could not go, and until when they are not looked at.
    pub unremovable: BTreeMap<NodeKey, SimTime>,
    /// Groups that rest.
    pub backoff: BTreeMap<GroupId, Backoff>,
    /// Scale-ups whose nodes are awaited.
    pub scale_ups: BTreeMap<GroupId, ScaleUpRequest>,
    /// Groups that have fewer instances than their size, and since when.
    pub short_since: BTreeMap<GroupId, SimTime>,
    /// Deletions that go on: the group, and whether pods must move.
    pub deletions: BTreeMap<NodeKey, (GroupId, bool)>,
}

impl Memory {
    /// A deletion is over. A failed one delays the next, and its node loses the taint.
    pub fn deletion_finished(&mut self, node: NodeKey, succeeded: bool, now: SimTime) {
        self.deletions.remove(&node);
        self.unneeded.remove(&node);
        if !succeeded {
            self.last_scale_down_fail = Some(now);
        }
    }
}

/// A new size of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Which group.
    pub group: GroupId,
    /// From.
    pub from: u32,
    /// To.
    pub to: u32,
    /// Why.
    pub why: ResizeReason,
}

/// Why a group is sized anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeReason {
    /// For pods that wait.
    Pods,
    /// Instances could not be launched.
    CreationErrors,
    /// Instances that were asked for did not come in time.
    NeverCame,
}

/// Why a node stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Unremovable {
    /// It is annotated so.
    ScaleDownDisabled,
    /// It is not ready, and such nodes are left alone.
    ScaleDownUnreadyDisabled,
    /// No group manages it.
    NotAutoscaled,
    /// Its pods request more than the threshold.
    NotUnderutilized(Utilization),
    /// It could not go a short while ago.
    RecentlyUnremovable,
    /// A pod holds it.
    BlockedByPod(PodKey, Blocking),
    /// A pod would find no other node.
    NoPlaceToMovePods(PodKey),
    /// It has not been unneeded for long enough; since when.
    NotUnneededLongEnough(SimTime),
    /// It has not been unready for long enough; since when.
    NotUnreadyLongEnough(SimTime),
    /// Its group has its fewest nodes.
    NodeGroupMinSizeReached,
    /// As many nodes as may are being deleted.
    DeletionBudgetReached,
}

/// A deletion to start: taint the node now, the rest as [`drain`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    /// Which node.
    pub node: NodeKey,
    /// Its group, whose size falls by one when the instance goes.
    pub group: GroupId,
    /// Whether it is drained: it holds pods that must move, or pods of another node that goes would move here.
    pub drain: bool,
    /// The pods to evict.
    pub pods: Vec<PodKey>,
    /// Its utilisation.
    pub utilization: Utilization,
}

/// What became of the scale-down of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDownResult {
    /// Not tried: a scale-up came first, or the cluster is not healthy.
    NotTried,
    /// A delay after an earlier action is not over, or pods wait that are very new.
    InCooldown,
    /// No node was unneeded for long enough.
    NothingToDelete,
    /// Deletions were started.
    Started,
}

/// What a loop decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// Sizes to set.
    pub resizes: Vec<Resize>,
    /// Instances to end: they never joined. Their groups shrink with them.
    pub remove_unregistered: Vec<NodeKey>,
    /// What became of the scale-up.
    pub scale_up: ScaleUpResult,
    /// What became of the scale-down.
    pub scale_down: ScaleDownResult,
    /// Deletions to start.
    pub deletions: Vec<Deletion>,
    /// The nodes that stay, with the reason.
    pub unremovable: Vec<(NodeKey, Unremovable)>,
    /// Whether too many nodes are not ready for anything to be done.
    pub unhealthy: bool,
    /// When the next loop is due.
    pub next_scan: SimTime,
    /// To be given to the next loop.
    pub memory: Memory,
}

/// One loop.
#[must_use]
pub fn scan(settings: &Settings, memory: &Memory, see: &Observation<'_>) -> Scan {
    let mut scan = Scan {
        resizes: Vec::new(),
        remove_unregistered: Vec::new(),
        scale_up: ScaleUpResult::NotNeeded,
        scale_down: ScaleDownResult::NotTried,
        deletions: Vec::new(),
        unremovable: Vec::new(),
        unhealthy: false,
        next_scan: see.now.saturating_add(settings.scan_interval),
        memory: memory.clone(),
    };
    let mut groups = groups::Groups::observe(settings, see, &mut scan);
    if !groups.cluster_is_healthy(settings) {
        scan.unhealthy = true;
        scan.memory.unneeded.clear();
        return scan;
    }
    groups.mend(settings, see, &mut scan);
    let mut snapshot = snapshot::Snapshot::take(settings, see, &groups);
    let fresh_pods = scale_up::run(settings, see, &mut groups, &mut snapshot, &mut scan);
    let grown = matches!(scan.scale_up, ScaleUpResult::Grown { .. });
    if grown {
        scan.memory.last_scale_up = Some(see.now);
        return scan;
    }
    if settings.scale_down_enabled {
        scale_down::run(settings, see, &groups, snapshot, fresh_pods, &mut scan);
    }
    scan
}
