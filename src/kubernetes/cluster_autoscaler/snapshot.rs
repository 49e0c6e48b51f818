//! The copy of the cluster on which a loop tries things out.

use super::groups::{Groups, not_started};
use super::{NodeGroup, Observation, Settings};
use crate::kernel::SimTime;
use crate::kubernetes::scheduler::{NodeId, PodKey, Scheduler, ShapeId};

/// A copy of the scheduler with what the autoscaler adds and leaves out.
pub(super) struct Snapshot {
    pub(super) scheduler: Scheduler,
    /// Nodes that stand for those that were asked for.
    pub(super) upcoming: Vec<NodeId>,
    /// Numbers for pods and nodes that exist in the copy only.
    next: u64,
}

impl Snapshot {
    /// The cluster without expendable pods and nodes that have not started, with the nodes that are awaited
    /// and the pods for which preemption makes room.
    pub(super) fn take(settings: &Settings, see: &Observation<'_>, groups: &Groups<'_>) -> Self {
        let mut snapshot = Self { scheduler: see.scheduler.clone(), upcoming: Vec::new(), next: 0 };
        let cutoff = settings.expendable_pods_priority_cutoff;
        for node in see.nodes {
            if node.deleted || not_started(node, see.now) {
                snapshot.scheduler.remove_node(node.node);
                continue;
            }
            let expendable: Vec<PodKey> = see
                .scheduler
                .pods_on(node.node)
                .iter()
                .filter(|r| see.scheduler.shape(r.shape).is_some_and(|s| s.priority < cutoff))
                .map(|r| r.pod)
                .collect();
            for pod in expendable {
                snapshot.scheduler.remove(pod);
            }
        }
        for group in groups.list() {
            for _ in 0..groups.upcoming(group.id) {
                let node = snapshot.add(group, see.now);
                snapshot.upcoming.push(node);
            }
        }
        for pod in see.pending {
            if let Some(node) = pod.nominated {
                snapshot.scheduler.place(pod.pod, pod.shape, node, SimTime::MAX);
            }
        }
        snapshot
    }

    /// Adds a node like the group's template, with its DaemonSet pods.
    pub(super) fn add(&mut self, group: &NodeGroup, now: SimTime) -> NodeId {
        let mut node = group.template.clone();
        self.next += 1;
        let text = format!("template-{}-{}", group.name, self.next);
        let symbols = self.scheduler.symbols_mut();
        node.name = symbols.intern(&text);
        let hostname = symbols.intern("kubernetes.io/hostname");
        if node.labels.get(hostname).is_some() {
            node.labels.set(hostname, node.name);
        }
        let id = self.scheduler.add_node(node);
        for &shape in &group.daemon_pods {
            self.next += 1;
            self.scheduler.place(PodKey(u64::MAX - self.next), shape, id, now);
        }
        id
    }

    /// Puts a pod on some node where it fits; gives the node.
    pub(super) fn schedule(&mut self, pod: PodKey, shape: ShapeId, draw: u64) -> Option<NodeId> {
        let node = self.scheduler.schedule(pod, shape, draw).ok()?;
        self.scheduler.place(pod, shape, node, SimTime::MAX);
        Some(node)
    }
}
