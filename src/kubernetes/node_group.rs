//! The update of a managed node group.
//!
//! Rule: the Auto Scaling group grows by the larger of twice its zones and `maxUnavailable`; when every zone
//! has a new node and all new nodes are Ready, the old ones are closed to new pods. Then up to
//! `maxUnavailable` old nodes at a time, chosen at random, are drained through the eviction API; one that is not empty
//! after 15 minutes fails the update, unless it is forced: then its pods are deleted. An empty node rests
//! 60 s and is terminated, and the group replaces it, until no old node is left. At last the group shrinks by
//! one at a time to its former size. With the strategy `MINIMAL` the group does not grow: nodes go first and
//! are replaced after.
//!
//! Source: Amazon EKS user guide, `managed-node-update-behavior`; API reference, `NodegroupUpdateConfig`.
//!
//! Known departures: the guide gives no time limit for new nodes; it is a setting here. A failed update leaves
//! the group as it is.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// Managed node groups of a cluster (quota, can be raised).
pub const MAX_NODE_GROUPS: u32 = 30;
/// Nodes of a managed node group (quota, can be raised).
pub const MAX_NODES: u32 = 450;
/// The most nodes that an update takes at a time.
pub const MAX_UNAVAILABLE: u32 = 100;

/// `updateConfig.updateStrategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStrategy {
    /// New nodes before old ones go.
    #[default]
    Default,
    /// Old nodes go before new ones come.
    Minimal,
}

/// How a group is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSpec {
    /// `maxUnavailable`: 1, at most 100. From `maxUnavailablePercentage` by [`max_unavailable`].
    pub max_unavailable: u32,
    /// `updateStrategy`.
    pub strategy: UpdateStrategy,
    /// `force`: pods that cannot be evicted in time are deleted.
    pub force: bool,
    /// How long a node may take to become empty: 15 min.
    pub drain_timeout: SimDuration,
    /// How long an empty node waits for load balancers to leave it: 60 s.
    pub settle: SimDuration,
    /// How long new nodes may take to become Ready: 25 min; not documented.
    pub node_creation_timeout: SimDuration,
}

impl Default for UpdateSpec {
    fn default() -> Self {
        Self {
            max_unavailable: 1,
            strategy: UpdateStrategy::Default,
            force: false,
            drain_timeout: SimDuration::from_mins(15),
            settle: SimDuration::from_secs(60),
            node_creation_timeout: SimDuration::from_mins(25),
        }
    }
}

/// How many more nodes an update launches at first.
#[must_use]
pub fn surge(zones: u32, max_unavailable: u32) -> u32 {
    zones.saturating_mul(2).max(max_unavailable)
}

/// `maxUnavailable` from `maxUnavailablePercentage` (1 to 100) of the group's size: rounded up, 1 to 100.
#[must_use]
pub fn max_unavailable(percentage: u32, size: u32) -> u32 {
    let share = (u64::from(percentage) * u64::from(size)).div_ceil(100);
    u32::try_from(share).unwrap_or(MAX_UNAVAILABLE).clamp(1, MAX_UNAVAILABLE)
}

/// A node of the group as the update sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupNode {
    /// Its number: whatever the caller knows it by, each once.
    pub id: u64,
    /// Its zone.
    pub zone: u32,
    /// Whether it was launched from the earlier version of the launch template.
    pub old: bool,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether its termination was asked for.
    pub terminating: bool,
    /// Pods on it that a drain must remove: all but those of DaemonSets and mirror pods.
    pub pods: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeGroupCommand {
    /// Set the desired size of the Auto Scaling group, and raise its maximum to it where it is less.
    SetDesired(u32),
    /// Close a node to new pods and take it from load balancers.
    Cordon(u64),
    /// Evict the pods of a node, and try again for as long as budgets refuse.
    Drain(u64),
    /// Delete the pods that are left on a node, budgets or not.
    DeletePods(u64),
    /// Terminate a node without lowering the desired size.
    Terminate(u64),
}

/// Why an update failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateFailure {
    /// New nodes did not become Ready in time.
    NodeCreationFailure,
    /// A node did not become empty in time.
    PodEvictionFailure,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdatePhase {
    /// Nothing was done yet.
    #[default]
    Setup,
    /// The larger group waits for its new nodes.
    ScaleUp,
    /// Old nodes are drained and terminated.
    Upgrade,
    /// The group shrinks to its former size.
    ScaleDown,
    /// Done.
    Successful,
    /// Ended before that.
    Failed(UpdateFailure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Draining {
    id: u64,
    since: SimTime,
    empty: Option<SimTime>,
    forced: bool,
}

/// What an update remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateMemory {
    /// How far it is.
    pub phase: UpdatePhase,
    /// The desired size before it began.
    pub size: u32,
    since: SimTime,
    draining: Vec<Draining>,
}

impl UpdateMemory {
    /// Whether it has ended.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.phase, UpdatePhase::Successful | UpdatePhase::Failed(_))
    }
}

/// What a look at the group led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateDecision {
    /// What is to be done now, in order.
    pub commands: Vec<NodeGroupCommand>,
    /// When to look again if nothing changes before; absent if only changes matter.
    pub next: Option<SimTime>,
}

/// What the update sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupView<'a> {
    /// The desired size of the Auto Scaling group.
    pub desired: u32,
    /// Zones that the group may use.
    pub zones: u32,
    /// Its nodes.
    pub nodes: &'a [GroupNode],
}

/// One look at a group that is being updated: to be repeated whenever one of its nodes changes, and at
/// [`UpdateDecision::next`]. `draw` gives a random number for a node that may be chosen: the lowest goes first.
#[must_use]
pub fn step(
    spec: &UpdateSpec,
    mut memory: UpdateMemory,
    view: &GroupView<'_>,
    draw: impl Fn(u64) -> u64,
    now: SimTime,
) -> (UpdateDecision, UpdateMemory) {
    let mut decision = UpdateDecision::default();
    loop {
        let before = memory.phase;
        match memory.phase {
            UpdatePhase::Setup => set_up(spec, &mut memory, view, &mut decision, now),
            UpdatePhase::ScaleUp => scale_up(spec, &mut memory, view, &mut decision, now),
            UpdatePhase::Upgrade => upgrade(spec, &mut memory, view, &draw, &mut decision, now),
            UpdatePhase::ScaleDown => scale_down(&mut memory, view, &mut decision),
            UpdatePhase::Successful | UpdatePhase::Failed(_) => {}
        }
        if memory.phase == before {
            return (decision, memory);
        }
    }
}

fn set_up(
    spec: &UpdateSpec,
    memory: &mut UpdateMemory,
    view: &GroupView<'_>,
    decision: &mut UpdateDecision,
    now: SimTime,
) {
    memory.size = view.desired;
    memory.since = now;
    memory.phase = match (view.nodes.iter().any(|n| n.old), spec.strategy) {
        (false, _) => UpdatePhase::Successful,
        (true, UpdateStrategy::Minimal) => UpdatePhase::Upgrade,
        (true, UpdateStrategy::Default) => {
            let larger = view.desired.saturating_add(surge(view.zones, spec.max_unavailable));
            decision.commands.push(NodeGroupCommand::SetDesired(larger));
            UpdatePhase::ScaleUp
        }
    };
}

fn scale_up(
    spec: &UpdateSpec,
    memory: &mut UpdateMemory,
    view: &GroupView<'_>,
    decision: &mut UpdateDecision,
    now: SimTime,
) {
    let wanted = memory.size.saturating_add(surge(view.zones, spec.max_unavailable)) as usize;
    let living = || view.nodes.iter().filter(|n| !n.terminating);
    let every_zone_has_one = living().filter(|n| n.old).all(|old| living().any(|n| !n.old && n.zone == old.zone));
    if living().count() >= wanted && every_zone_has_one && living().all(|n| n.old || n.ready) {
        let old = living().filter(|n| n.old);
        decision.commands.extend(old.map(|n| NodeGroupCommand::Cordon(n.id)));
        memory.phase = UpdatePhase::Upgrade;
        return;
    }
    let limit = memory.since + spec.node_creation_timeout;
    if now >= limit {
        memory.phase = UpdatePhase::Failed(UpdateFailure::NodeCreationFailure);
    } else {
        decision.next = Some(limit);
    }
}

fn upgrade(
    spec: &UpdateSpec,
    memory: &mut UpdateMemory,
    view: &GroupView<'_>,
    draw: &impl Fn(u64) -> u64,
    decision: &mut UpdateDecision,
    now: SimTime,
) {
    let mut next: Option<SimTime> = None;
    let mut wake = |at: SimTime| next = Some(next.map_or(at, |n| n.min(at)));
    let mut failed = false;
    memory.draining.retain_mut(|drain| {
        let Some(node) = view.nodes.iter().find(|n| n.id == drain.id && !n.terminating) else { return false };
        if node.pods == 0 {
            let settled = *drain.empty.get_or_insert(now) + spec.settle;
            if now >= settled {
                decision.commands.push(NodeGroupCommand::Terminate(drain.id));
                return false;
            }
            wake(settled);
            return true;
        }
        drain.empty = None;
        let limit = drain.since + spec.drain_timeout;
        if now < limit {
            wake(limit);
        } else if !spec.force {
            failed = true;
        } else if !drain.forced {
            drain.forced = true;
            decision.commands.push(NodeGroupCommand::DeletePods(drain.id));
        }
        true
    });
    if failed {
        memory.phase = UpdatePhase::Failed(UpdateFailure::PodEvictionFailure);
        return;
    }
    let terminated = |id: u64| decision.commands.contains(&NodeGroupCommand::Terminate(id));
    // With MINIMAL a terminated node is unavailable until its replacement is Ready; else the surge stands in for it.
    let missing = match spec.strategy {
        UpdateStrategy::Default => 0,
        UpdateStrategy::Minimal => {
            let up = view.nodes.iter().filter(|n| !n.terminating && !terminated(n.id) && (n.old || n.ready)).count();
            (memory.size as usize).saturating_sub(up)
        }
    };
    let limit = spec.max_unavailable.clamp(1, MAX_UNAVAILABLE) as usize;
    let room = limit.saturating_sub(memory.draining.len() + missing);
    let mut waiting: Vec<&GroupNode> = view
        .nodes
        .iter()
        .filter(|n| n.old && !n.terminating && !terminated(n.id) && memory.draining.iter().all(|d| d.id != n.id))
        .collect();
    if waiting.is_empty() && memory.draining.is_empty() && missing == 0 {
        memory.phase = UpdatePhase::ScaleDown;
        return;
    }
    waiting.sort_by_key(|n| (draw(n.id), n.id));
    let mut begun = Vec::new();
    for node in waiting.into_iter().take(room) {
        begun.extend([NodeGroupCommand::Cordon(node.id), NodeGroupCommand::Drain(node.id)]);
        let empty = (node.pods == 0).then_some(now);
        memory.draining.push(Draining { id: node.id, since: now, empty, forced: false });
        wake(if node.pods == 0 { now + spec.settle } else { now + spec.drain_timeout });
    }
    decision.commands.extend(begun);
    decision.next = next;
}

fn scale_down(memory: &mut UpdateMemory, view: &GroupView<'_>, decision: &mut UpdateDecision) {
    let living = view.nodes.iter().filter(|n| !n.terminating).count();
    if view.desired <= memory.size {
        memory.phase = UpdatePhase::Successful;
    } else if living <= view.desired as usize {
        // One at a time: the next when the last has gone.
        decision.commands.push(NodeGroupCommand::SetDesired(view.desired - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: SimDuration = SimDuration::from_secs(60);

    /// A group whose new nodes are Ready after a minute and whose pods leave a drained node after `leave`.
    struct Group {
        desired: u32,
        nodes: Vec<(GroupNode, SimTime)>,
        launched: u64,
        drains: Vec<(u64, SimTime)>,
        most: usize,
        least_ready: usize,
    }

    impl Group {
        fn new(size: u32) -> Self {
            let node =
                |id: u64| GroupNode { id, zone: (id % 3) as u32, old: true, ready: true, terminating: false, pods: 2 };
            let nodes = (0..u64::from(size)).map(|id| (node(id), SimTime::ZERO)).collect();
            Self { desired: size, nodes, launched: 100, drains: Vec::new(), most: 0, least_ready: usize::MAX }
        }

        fn live(&mut self, now: SimTime, leave: Option<SimDuration>) {
            while self.nodes.len() < self.desired as usize {
                let node = GroupNode {
                    id: self.launched,
                    zone: (self.launched % 3) as u32,
                    old: false,
                    ready: false,
                    terminating: false,
                    pods: 0,
                };
                self.nodes.push((node, now));
                self.launched += 1;
            }
            for (node, at) in &mut self.nodes {
                node.ready |= now >= *at + MINUTE;
                let drained = self.drains.iter().any(|(id, t)| *id == node.id && leave.is_some_and(|l| now >= *t + l));
                node.pods = if drained { 0 } else { node.pods };
            }
            self.most = self.most.max(self.nodes.len());
            self.least_ready = self.least_ready.min(self.nodes.iter().filter(|n| n.0.ready).count());
        }

        fn apply(&mut self, command: NodeGroupCommand, now: SimTime) {
            match command {
                NodeGroupCommand::SetDesired(n) => {
                    self.desired = n;
                    self.nodes.truncate(n as usize);
                }
                NodeGroupCommand::Drain(id) => self.drains.push((id, now)),
                NodeGroupCommand::DeletePods(id) => {
                    self.nodes.iter_mut().filter(|n| n.0.id == id).for_each(|n| n.0.pods = 0);
                }
                NodeGroupCommand::Terminate(id) => self.nodes.retain(|n| n.0.id != id),
                NodeGroupCommand::Cordon(_) => {}
            }
        }

        fn run(&mut self, spec: &UpdateSpec, leave: Option<SimDuration>) -> (UpdatePhase, SimTime) {
            let mut memory = UpdateMemory::default();
            for second in 0..20_000 {
                let now = SimTime::from_secs(second);
                self.live(now, leave);
                let nodes: Vec<GroupNode> = self.nodes.iter().map(|n| n.0).collect();
                let view = GroupView { desired: self.desired, zones: 3, nodes: &nodes };
                let (decision, next) = step(spec, memory, &view, |id| id * 7 % 5, now);
                memory = next;
                decision.commands.into_iter().for_each(|c| self.apply(c, now));
                if memory.ended() {
                    return (memory.phase, now);
                }
            }
            (memory.phase, SimTime::MAX)
        }
    }

    #[test]
    fn an_update_surges_and_comes_back() {
        let mut group = Group::new(6);
        let (phase, at) = group.run(&UpdateSpec::default(), Some(SimDuration::from_secs(30)));
        assert_eq!(phase, UpdatePhase::Successful);
        assert_eq!((group.most, group.least_ready, group.nodes.len()), (12, 6, 6));
        assert!(group.nodes.iter().all(|n| !n.0.old));
        // A minute for the surge, then six nodes one after the other at 90 s each.
        assert!((600..620).contains(&(at.as_nanos() / 1_000_000_000)), "{at:?}");
    }

    #[test]
    fn minimal_never_grows_and_takes_few_at_a_time() {
        let spec = UpdateSpec { max_unavailable: 2, strategy: UpdateStrategy::Minimal, ..UpdateSpec::default() };
        let mut group = Group::new(6);
        let (phase, _) = group.run(&spec, Some(SimDuration::from_secs(30)));
        assert_eq!(phase, UpdatePhase::Successful);
        assert_eq!((group.most, group.least_ready), (6, 4));
    }

    #[test]
    fn a_drain_that_never_ends_fails_unless_forced() {
        let mut group = Group::new(3);
        let (phase, at) = group.run(&UpdateSpec::default(), None);
        assert_eq!(phase, UpdatePhase::Failed(UpdateFailure::PodEvictionFailure));
        assert_eq!(at, SimTime::from_secs(1 + 60 + 900));
        let mut group = Group::new(3);
        let (phase, _) = group.run(&UpdateSpec { force: true, ..UpdateSpec::default() }, None);
        assert_eq!(phase, UpdatePhase::Successful);
    }

    #[test]
    fn percentages_round_up() {
        assert_eq!((max_unavailable(33, 10), max_unavailable(1, 10), max_unavailable(100, 450)), (4, 1, 100));
    }
}
