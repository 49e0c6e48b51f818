//! The state of node groups: which nodes are awaited, which groups rest after failures, what must be mended.

use std::collections::BTreeMap;

use super::{GroupId, NodeGroup, NodeKey, NodeState, Observation, Resize, ResizeReason, Scan, Settings};
use crate::kernel::{SimDuration, SimTime};

/// How long a node may take from joining to being ready (`MaxNodeStartupTime`).
const MAX_NODE_STARTUP_TIME: SimDuration = SimDuration::from_mins(15);

/// A scale-up whose nodes are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleUpRequest {
    /// Nodes asked for.
    pub increase: u32,
    /// When the last of them were asked for.
    pub at: SimTime,
}

/// A group that rests after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How long this time.
    pub duration: SimDuration,
    /// Until when.
    pub until: SimTime,
    /// When it failed.
    pub failed: SimTime,
}

/// The nodes of one group by their state.
#[derive(Clone, Copy, Debug, Default)]
struct Readiness {
    ready: u32,
    unready: u32,
    /// Joined, but not yet ready for the first time.
    not_started: u32,
    /// Launched long ago and never joined.
    long_unregistered: u32,
    /// Joined, all together.
    registered: u32,
}

/// All groups in one loop.
pub(super) struct Groups<'a> {
    list: &'a [NodeGroup],
    readiness: BTreeMap<GroupId, Readiness>,
    targets: BTreeMap<GroupId, u32>,
    nodes: u32,
    unready: u32,
    ready: u32,
}

/// Whether a node is on its way to its first readiness.
pub(super) fn not_started(node: &NodeState, now: SimTime) -> bool {
    !node.ready && !node.deleted && node.created.saturating_add(MAX_NODE_STARTUP_TIME) > now
}

impl<'a> Groups<'a> {
    pub(super) fn observe(settings: &Settings, see: &Observation<'a>, scan: &mut Scan) -> Self {
        let mut groups = Self {
            list: see.groups,
            readiness: see.groups.iter().map(|g| (g.id, Readiness::default())).collect(),
            targets: see.groups.iter().map(|g| (g.id, g.target_size)).collect(),
            nodes: see.nodes.len() as u32,
            unready: 0,
            ready: 0,
        };
        for node in see.nodes {
            let starting = not_started(node, see.now);
            let unready = !node.ready && !starting && !node.deleted;
            groups.unready += u32::from(unready);
            groups.ready += u32::from(node.ready && !node.deleted);
            let Some(own) = node.group.and_then(|g| groups.readiness.get_mut(&g)) else { continue };
            own.registered += 1;
            own.ready += u32::from(node.ready && !node.deleted);
            own.not_started += u32::from(starting);
            own.unready += u32::from(unready);
        }
        for instance in see.unregistered {
            let late = instance.since.saturating_add(settings.max_node_provision_time) < see.now;
            if let Some(own) = groups.readiness.get_mut(&instance.group) {
                own.long_unregistered += u32::from(late);
            }
        }
        groups.update_requests(settings, see, scan);
        groups
    }

    /// Scale-ups that came to their end, in time or not.
    fn update_requests(&self, settings: &Settings, see: &Observation<'_>, scan: &mut Scan) {
        let reset = settings.node_group_backoff_reset_timeout;
        scan.memory.backoff.retain(|_, b| b.failed.saturating_add(reset) >= see.now);
        for (group, request) in std::mem::take(&mut scan.memory.scale_ups) {
            let Some(own) = self.readiness.get(&group) else { continue };
            if self.target(group) <= own.registered - own.not_started {
                scan.memory.backoff.remove(&group);
            } else if request.at.saturating_add(settings.max_node_provision_time) < see.now {
                rest(settings, scan, group, see.now);
            } else {
                scan.memory.scale_ups.insert(group, request);
            }
        }
        for &(group, count) in see.creation_errors {
            if count > 0 && self.targets.contains_key(&group) {
                rest(settings, scan, group, see.now);
            }
        }
    }

    /// Whether few enough nodes are not ready.
    pub(super) fn cluster_is_healthy(&self, settings: &Settings) -> bool {
        self.unready <= settings.ok_total_unready_count
            || f64::from(self.unready) <= settings.max_total_unready_percentage / 100.0 * f64::from(self.nodes)
    }

    /// Corrects sizes that cannot be had.
    pub(super) fn mend(&mut self, settings: &Settings, see: &Observation<'_>, scan: &mut Scan) {
        let late = |since: SimTime| since.saturating_add(settings.max_node_provision_time) < see.now;
        // Instances that never joined.
        let mut left: BTreeMap<GroupId, u32> =
            self.list.iter().map(|g| (g.id, self.target(g.id).saturating_sub(g.min_size))).collect();
        for instance in see.unregistered.iter().filter(|i| late(i.since)) {
            if let Some(left) = left.get_mut(&instance.group).filter(|l| **l > 0) {
                *left -= 1;
                scan.remove_unregistered.push(instance.key);
            }
        }
        // Instances that could not be launched.
        for &(group, count) in see.creation_errors {
            self.shrink(scan, group, count, ResizeReason::CreationErrors);
        }
        // Sizes that were out of reach for long.
        for group in self.list {
            let instances = self.readiness.get(&group.id).map_or(0, |r| r.registered)
                + see.unregistered.iter().filter(|i| i.group == group.id).count() as u32;
            let short = self.target(group.id).saturating_sub(instances);
            if short == 0 {
                scan.memory.short_since.remove(&group.id);
                continue;
            }
            let since = *scan.memory.short_since.entry(group.id).or_insert(see.now);
            if late(since) {
                scan.memory.short_since.remove(&group.id);
                let possible = left.get(&group.id).copied().unwrap_or(0);
                self.shrink(scan, group.id, short.min(possible), ResizeReason::NeverCame);
            }
        }
    }

    fn shrink(&mut self, scan: &mut Scan, group: GroupId, by: u32, why: ResizeReason) {
        let from = self.target(group);
        let to = from.saturating_sub(by);
        if to < from {
            self.targets.insert(group, to);
            scan.resizes.push(Resize { group, from, to, why });
        }
    }

    pub(super) fn list(&self) -> &'a [NodeGroup] {
        self.list
    }

    pub(super) fn target(&self, group: GroupId) -> u32 {
        self.targets.get(&group).copied().unwrap_or(0)
    }

    pub(super) fn ready_nodes(&self) -> u32 {
        self.ready
    }

    /// Nodes that were asked for and are not yet ready for the first time.
    pub(super) fn upcoming(&self, group: GroupId) -> u32 {
        let own = self.readiness.get(&group).copied().unwrap_or_default();
        self.target(group).saturating_sub(own.ready + own.unready + own.long_unregistered)
    }

    /// Whether the group has about as many ready nodes as it should have by now.
    pub(super) fn is_healthy(&self, settings: &Settings, scan: &Scan, group: GroupId) -> bool {
        let own = self.readiness.get(&group).copied().unwrap_or_default();
        let awaited = scan.memory.scale_ups.get(&group).map_or(0, |r| r.increase);
        let least = self.target(group).saturating_sub(own.long_unregistered + awaited);
        let missing = least.saturating_sub(own.ready);
        let joined = own.ready + own.unready + own.not_started;
        own.registered == 0 && least == 0
            || missing <= settings.ok_total_unready_count
            || f64::from(missing) <= settings.max_total_unready_percentage / 100.0 * f64::from(joined)
    }

    pub(super) fn rests(&self, scan: &Scan, group: GroupId, now: SimTime) -> bool {
        scan.memory.backoff.get(&group).is_some_and(|b| b.until > now)
    }

    /// Registers a scale-up.
    pub(super) fn grow(&mut self, scan: &mut Scan, group: GroupId, to: u32, now: SimTime) {
        let from = self.target(group);
        self.targets.insert(group, to);
        scan.resizes.push(Resize { group, from, to, why: ResizeReason::Pods });
        let request = scan.memory.scale_ups.entry(group).or_insert(ScaleUpRequest { increase: 0, at: now });
        request.increase += to.saturating_sub(from);
        request.at = now;
    }
}

/// A group failed: it rests, for twice as long as the last time unless it still did.
fn rest(settings: &Settings, scan: &mut Scan, group: GroupId, now: SimTime) {
    let duration = match scan.memory.backoff.get(&group) {
        Some(last) if last.until < now => {
            last.duration.saturating_add(last.duration).min(settings.max_node_group_backoff)
        }
        _ => settings.initial_node_group_backoff,
    };
    scan.memory.backoff.insert(group, Backoff { duration, until: now.saturating_add(duration), failed: now });
}

/// The deletions that go on in a group.
pub(super) fn deletions_in(scan: &Scan, group: GroupId) -> u32 {
    scan.memory.deletions.values().filter(|(g, _)| *g == group).count() as u32
}

/// Whether a node is being deleted.
pub(super) fn is_being_deleted(scan: &Scan, node: NodeKey) -> bool {
    scan.memory.deletions.contains_key(&node)
}
