//! Updates of managed node groups at work: a larger group, old nodes drained and terminated, the former size again.

use super::super::scale::to_json;
use super::super::trouble::Finding;
use super::super::{Simulation, Timer};
use crate::cluster::{LifeCycle, NodeEnd, NodeStatus, StopCode};
use crate::kernel::{Draw, Phase, SimTime};
use crate::kubernetes::node_group::{
    self, GroupNode, GroupView, NodeGroupCommand, UpdateFailure, UpdateMemory, UpdatePhase, UpdateSpec,
    UpdateStrategy as Strategy,
};
use crate::output::DecisionDetail;
use crate::scenario::model::{Capacity, IntOrPercent, UpdateNodeGroupAction, UpdateStrategy};
use crate::units::{CapacityId, NodeId};

/// An update of a node group, at work or over.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct GroupUpdate {
    capacity: CapacityId,
    spec: UpdateSpec,
    memory: UpdateMemory,
    began: SimTime,
    /// The number of the first launch of the new version.
    first_new: u64,
    /// The group's maximum before it began.
    max_size: u32,
    /// What it failed of, when, and the words for it.
    failed: Option<(SimTime, UpdateFailure, String)>,
}

impl Simulation<'_> {
    /// Somebody asks EKS to update a node group. Says what became of that.
    pub(in crate::simulation) fn update_node_group(&mut self, action: &UpdateNodeGroupAction) -> String {
        let now = self.queue.now();
        let Some(capacity) = self.plan.capacity.get_index_of(&action.capacity).map(CapacityId::from) else {
            return "there is no such node group".to_string();
        };
        let (Capacity::NodeGroup(plan), Some(group)) = (self.capacities[capacity.index()].plan, self.group(capacity))
        else {
            return "only a managed node group is updated like this".to_string();
        };
        if self.kube().updates.iter().any(|u| u.capacity == capacity && !u.memory.ended()) {
            return "EKS refuses an update while another one of the group is in progress".to_string();
        }
        let config = &plan.update_config;
        let max_unavailable = match config.max_unavailable {
            IntOrPercent::Int(n) => n.clamp(1, node_group::MAX_UNAVAILABLE),
            IntOrPercent::Percent(p) => node_group::max_unavailable(p, group.desired),
        };
        let strategy = match config.update_strategy {
            UpdateStrategy::Default => Strategy::Default,
            UpdateStrategy::Minimal => Strategy::Minimal,
        };
        let max_size = group.behind.as_ref().map_or(plan.max_size, |b| b.max_size);
        let first_new = self.cluster.nodes_of(capacity).map(|n| n.launch + 1).max().unwrap_or(0);
        self.kube_mut().updates.push(GroupUpdate {
            capacity,
            spec: UpdateSpec { max_unavailable, strategy, force: config.force, ..UpdateSpec::default() },
            memory: UpdateMemory::default(),
            began: now,
            first_new,
            max_size,
            failed: None,
        });
        self.schedule_timer_if_due(Timer::GroupUpdate(capacity), now, Phase::Decision);
        format!("every node of {} is to be replaced, {max_unavailable} at once", action.capacity)
    }

    /// Something changed on a node of a group: its update looks again.
    pub(in crate::simulation) fn wake_update(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let at_work = |u: &GroupUpdate| u.capacity == capacity && !u.memory.ended();
        if self.kube.as_ref().is_some_and(|k| k.updates.iter().any(at_work)) {
            self.schedule_timer_if_due(Timer::GroupUpdate(capacity), now, Phase::Decision);
        }
    }

    /// An update looks at its group.
    pub(in crate::simulation) fn on_group_update(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let Some(at) = self.kube().updates.iter().position(|u| u.capacity == capacity && !u.memory.ended()) else {
            return;
        };
        let update = &self.kube().updates[at];
        let (spec, memory, first_new) = (update.spec, update.memory.clone(), update.first_new);
        let Some(group) = self.group(capacity) else { return };
        let nodes: Vec<GroupNode> = self
            .cluster
            .nodes_of(capacity)
            .map(|n| GroupNode {
                id: n.id.0.into(),
                zone: n.spec.zone.0,
                old: n.launch < first_new,
                ready: matches!(n.status, NodeStatus::Active | NodeStatus::Draining) && !self.is_unreachable(n.id),
                terminating: n.life >= LifeCycle::Terminating || self.leaves(n.id),
                pods: (self.in_the_way(n.id).len() + self.given_in_the_way(n.id).len()) as u32,
            })
            .collect();
        let root = Draw::new(self.kube().update_draws).of(capacity.0.into()).of(at as u64);
        let view = GroupView { desired: group.desired, zones: group.zones.len() as u32, nodes: &nodes };
        let before = memory.phase;
        let (decision, after) = node_group::step(&spec, memory.clone(), &view, |id| root.of(id).bits(), now);
        let phase = after.phase;
        self.kube_mut().updates[at].memory = after;
        let detail = DecisionDetail {
            observation: if self.recorder.sink.writes() { to_json(&nodes) } else { to_json(&()) },
            memory: to_json(&memory),
        };
        for command in &decision.commands {
            self.obey_update(capacity, *command, &detail);
        }
        if phase != before {
            self.update_goes_on(at, &detail);
        }
        if let Some(next) = decision.next.filter(|next| *next > now) {
            self.schedule_timer_if_due(Timer::GroupUpdate(capacity), next, Phase::Decision);
        }
    }

    fn obey_update(&mut self, capacity: CapacityId, command: NodeGroupCommand, detail: &DecisionDetail) {
        let node = |id: u64| NodeId(id as u32);
        match command {
            NodeGroupCommand::SetDesired(size) => {
                let from = self.group(capacity).map_or(0, |g| g.desired);
                let least = self.kube().updates.iter().rfind(|u| u.capacity == capacity).map_or(0, |u| u.max_size);
                if let Some(behind) = self.group_mut(capacity).and_then(|g| g.behind.as_mut()) {
                    behind.max_size = least.max(size);
                }
                let text = if size > from { "new nodes come first" } else { "one node less: the surge goes again" };
                self.update_row(capacity, "resize", Some((from, size)), text.to_string(), detail);
                self.set_group_size(capacity, size);
            }
            NodeGroupCommand::Cordon(id) => self.cordon(node(id)),
            NodeGroupCommand::Drain(id) => {
                let pods = self.in_the_way(node(id)).len() + self.given_in_the_way(node(id)).len();
                let text = format!("node {id} is drained: {pods} pods are to be evicted");
                self.update_row(capacity, "drain", None, text, detail);
                self.evict_all(node(id));
            }
            NodeGroupCommand::DeletePods(id) => {
                let pods = self.in_the_way(node(id));
                let text = format!("{} pods of node {id} are deleted, budgets or not", pods.len());
                self.update_row(capacity, "force", None, text, detail);
                for task in pods {
                    self.delete_pod(task, StopCode::Evicted, "Deleted: an update of its node group is forced");
                }
            }
            NodeGroupCommand::Terminate(id) => {
                self.end_drain(node(id));
                self.update_row(capacity, "terminate", None, format!("node {id} is empty and goes"), detail);
                self.terminate_node(node(id), NodeEnd::Updated);
            }
        }
    }

    /// An update has come into another phase: it is written down, and the drains of one that failed end.
    fn update_goes_on(&mut self, at: usize, detail: &DecisionDetail) {
        let now = self.queue.now();
        let update = &self.kube().updates[at];
        let (capacity, took) = (update.capacity, now.since(update.began).as_secs_f64());
        let (reason, text) = match update.memory.phase {
            UpdatePhase::Setup | UpdatePhase::ScaleUp => return,
            UpdatePhase::Upgrade => {
                ("upgrade", "the old nodes take no more pods, and are drained one after the other".to_string())
            }
            UpdatePhase::ScaleDown => {
                ("scale_down", "no old node is left: the group shrinks to its former size".to_string())
            }
            UpdatePhase::Successful => ("successful", format!("the update is complete after {took:.0} s")),
            UpdatePhase::Failed(why) => {
                let text = match why {
                    UpdateFailure::NodeCreationFailure => {
                        format!("NodeCreationFailure after {took:.0} s: new nodes did not become Ready in time")
                    }
                    UpdateFailure::PodEvictionFailure => {
                        format!("PodEvictionFailure after {took:.0} s: {}", self.what_holds(capacity))
                    }
                };
                self.kube_mut().updates[at].failed = Some((now, why, text.clone()));
                for node in self.cluster.nodes_of(capacity).map(|n| n.id).collect::<Vec<_>>() {
                    self.end_drain(node);
                }
                ("failed", text)
            }
        };
        self.update_row(capacity, reason, None, text, detail);
    }

    /// The pods that a drain of a group's nodes could not evict, and the budgets that hold them.
    fn what_holds(&self, capacity: CapacityId) -> String {
        let mut held: Vec<String> = Vec::new();
        let (mut pods, mut services) = (0, Vec::new());
        for n in self.cluster.nodes_of(capacity).filter(|n| self.is_emptied(n.id)) {
            for task in self.in_the_way(n.id) {
                pods += 1;
                services.push(self.cluster.task(task).service);
            }
        }
        services.sort_unstable();
        services.dedup();
        for service in services {
            if let Some(budget) = self.budget_of(service) {
                held.push(format!(
                    "the budget of `{}` allows {} evictions ({} healthy, {} demanded)",
                    self.services[service.index()].name,
                    budget.disruptions_allowed,
                    budget.current_healthy,
                    budget.desired_healthy
                ));
            }
        }
        let by = if held.is_empty() { "they take too long to end".to_string() } else { held.join(", ") };
        format!("{pods} pods were still on the drained nodes after 15 minutes; {by}")
    }

    fn update_row(
        &mut self,
        capacity: CapacityId,
        reason: &'static str,
        sizes: Option<(u32, u32)>,
        text: String,
        detail: &DecisionDetail,
    ) {
        let sizes = sizes.map(|(from, to)| (from.into(), to.into()));
        self.record_on_nodes("node_group_update", capacity, sizes, reason, text, Some(detail));
    }

    /// Updates of a group that failed, for the diagnoses: the first time, and what was found.
    pub(in crate::simulation) fn failed_updates(&self, capacity: CapacityId) -> Option<(SimTime, Finding)> {
        let kube = self.kube.as_ref()?;
        let mut failed = kube.updates.iter().filter(|u| u.capacity == capacity).filter_map(|u| u.failed.as_ref());
        let (at, why, text) = failed.next()?;
        let evicts = *why == UpdateFailure::PodEvictionFailure;
        Some((*at, Finding::UpdateFailed { times: 1 + failed.count() as u64, why: text.clone(), evicts }))
    }
}
