//! The part of the door that concerns container instances.

use std::borrow::Cow;

use super::door::{Fact, Refusal};
use super::nodes::{Lack, LifeCycle, Needs, Node, NodeEnd, NodeSpec, NodeStatus, NodeTimes, Resources};
use super::state::Cluster;
use super::task_status::TaskStatus;
use crate::kernel::SimTime;
use crate::units::{NodeId, TaskId};

/// What is asked of one instance that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStep {
    /// It is in service of its group.
    InService,
    /// Prepared, it goes into the warm pool; its agent leaves the cluster.
    Warm,
    /// It is taken out of the warm pool.
    Wake,
    /// Its agent registers with the cluster.
    Register,
    /// It takes no more tasks.
    Drain,
    /// It takes tasks again.
    Activate,
    /// Whether the group must leave it alone when it scales in.
    Protect(bool),
    /// A pod that is no task of a service takes this much of it.
    Hold(Resources),
    /// Such a pod gives it back.
    Release(Resources),
    /// Its end begins.
    Terminate(NodeEnd),
    /// It is gone. The containers of all its tasks must have ended.
    Gone,
}

impl Cluster {
    pub(super) fn launch_node(
        &mut self,
        now: SimTime,
        spec: NodeSpec,
        facts: &mut Vec<Fact>,
    ) -> Result<NodeId, Refusal> {
        if spec.zone.0 >= self.zones {
            return Err(Refusal::Unknown("zone"));
        }
        let Some(backing) = self.backing.get_mut(spec.capacity.index()).and_then(Option::as_mut) else {
            return Err(Refusal::Unknown("capacity of instances"));
        };
        let id = NodeId::from(self.nodes.len());
        let launch = backing.launches;
        backing.launches += 1;
        backing.nodes.push(id);
        self.nodes.push(Node {
            id,
            spec,
            life: LifeCycle::Pending,
            status: NodeStatus::Registering,
            protected: false,
            reserved: Resources::ZERO,
            held: Resources::ZERO,
            guests: 0,
            ports: Vec::new(),
            tasks: Vec::new(),
            end: None,
            times: NodeTimes { launched: now, ..NodeTimes::default() },
            launch,
        });
        facts.push(Fact::NodeLaunched(id));
        Ok(id)
    }

    pub(super) fn step_node(
        &mut self,
        now: SimTime,
        node: NodeId,
        step: NodeStep,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Refusal> {
        let n = self.nodes.get(node.index()).ok_or(Refusal::Unknown("instance"))?;
        let (life, status) = (n.life, n.status);
        let up = matches!(life, LifeCycle::Pending | LifeCycle::InService);
        let allowed = match step {
            NodeStep::InService => life == LifeCycle::Pending,
            NodeStep::Warm => life == LifeCycle::Pending && n.tasks.is_empty() && n.guests == 0,
            NodeStep::Wake => life == LifeCycle::Warmed,
            NodeStep::Register => up && status == NodeStatus::Registering,
            NodeStep::Drain => life != LifeCycle::Terminated && status == NodeStatus::Active,
            NodeStep::Activate => up && status == NodeStatus::Draining,
            NodeStep::Protect(_) => life != LifeCycle::Terminated,
            NodeStep::Hold(amount) => {
                if let Some(lack) = n.remaining().lacks(amount) {
                    return Err(Refusal::NoRoom(lack));
                }
                n.takes_tasks()
            }
            NodeStep::Release(amount) => n.guests > 0 && n.held.lacks(amount).is_none(),
            NodeStep::Terminate(_) => life < LifeCycle::Terminating,
            NodeStep::Gone => {
                let ended = |t: &TaskId| self.tasks[t.index()].status >= TaskStatus::Deprovisioning;
                life == LifeCycle::Terminating && n.guests == 0 && n.tasks.iter().all(ended)
            }
        };
        if !allowed {
            return Err(Refusal::OutOfTurn);
        }
        let n = &mut self.nodes[node.index()];
        match step {
            NodeStep::InService => {
                n.life = LifeCycle::InService;
                n.times.in_service = n.times.in_service.or(Some(now));
                facts.push(Fact::NodeLife(node, n.life));
            }
            NodeStep::Warm => {
                n.life = LifeCycle::Warmed;
                n.status = NodeStatus::Registering;
                facts.push(Fact::NodeLife(node, n.life));
            }
            NodeStep::Wake => {
                n.life = LifeCycle::Pending;
                facts.push(Fact::NodeLife(node, n.life));
            }
            NodeStep::Register => {
                n.status = NodeStatus::Active;
                n.times.registered = n.times.registered.or(Some(now));
                facts.push(Fact::NodeStatus(node, n.status));
            }
            NodeStep::Drain => {
                n.status = NodeStatus::Draining;
                n.times.draining = Some(now);
                facts.push(Fact::NodeStatus(node, n.status));
            }
            NodeStep::Activate => {
                n.status = NodeStatus::Active;
                facts.push(Fact::NodeStatus(node, n.status));
            }
            NodeStep::Protect(on) => {
                if n.protected != on {
                    n.protected = on;
                    facts.push(Fact::NodeProtected(node, on));
                }
            }
            NodeStep::Hold(amount) => {
                n.reserved = n.reserved.plus(amount);
                n.held = n.held.plus(amount);
                n.guests += 1;
                facts.push(Fact::NodeHeld(node, n.guests));
            }
            NodeStep::Release(amount) => {
                n.reserved = n.reserved.minus(amount);
                n.held = n.held.minus(amount);
                n.guests -= 1;
                facts.push(Fact::NodeHeld(node, n.guests));
            }
            NodeStep::Terminate(why) => {
                n.life = LifeCycle::Terminating;
                n.end = Some(why);
                n.times.terminating = Some(now);
                facts.push(Fact::NodeLife(node, n.life));
            }
            NodeStep::Gone => {
                n.life = LifeCycle::Terminated;
                n.status = NodeStatus::Inactive;
                n.times.terminated = Some(now);
                if let Some(Some(backing)) = self.backing.get_mut(n.spec.capacity.index()) {
                    backing.nodes.retain(|other| *other != node);
                }
                facts.push(Fact::NodeLife(node, LifeCycle::Terminated));
            }
        }
        Ok(())
    }

    pub(super) fn place_task(&mut self, task: TaskId, node: NodeId, facts: &mut Vec<Fact>) -> Result<(), Refusal> {
        let t = self.tasks.get(task.index()).ok_or(Refusal::Unknown("task"))?;
        let n = self.nodes.get(node.index()).ok_or(Refusal::Unknown("instance"))?;
        let roams = self.services[t.service.index()].pods.is_some();
        let waits = t.status == TaskStatus::Provisioning
            && t.stop_code.is_none()
            && t.times.launched.is_some()
            && t.node.is_none()
            && (roams || t.capacity == n.spec.capacity);
        // Pods of a DaemonSet tolerate that their node is cordoned.
        let tolerated = roams
            && self.services[t.service.index()].daemon
            && n.status == NodeStatus::Draining
            && matches!(n.life, LifeCycle::Pending | LifeCycle::InService);
        if !waits || !(n.takes_tasks() || tolerated) {
            return Err(Refusal::OutOfTurn);
        }
        let needs = self.needs_of(task);
        let crowded = || needs.distinct && n.tasks.iter().any(|o| self.tasks[o.index()].service == t.service);
        if let Some(lack) = n.lacks(&needs).or_else(|| crowded().then_some(Lack::Distinct)) {
            return Err(Refusal::NoRoom(lack));
        }
        let (zone, capacity, needs) = (n.spec.zone, n.spec.capacity, needs.into_owned());
        self.nodes[node.index()].reserve(task, &needs);
        let t = &mut self.tasks[task.index()];
        t.node = Some(node);
        t.zone = zone;
        t.capacity = capacity;
        facts.push(Fact::TaskPlaced(task, node));
        Ok(())
    }

    /// What a task takes of an instance: what those of its service do, unless it was admitted with another size.
    ///
    /// # Panics
    /// When there is no such task.
    #[must_use]
    pub fn needs_of(&self, task: TaskId) -> Cow<'_, Needs> {
        let t = &self.tasks[task.index()];
        let needs = &self.services[t.service.index()].needs;
        match t.size {
            Some(resources) => Cow::Owned(Needs { resources, ..needs.clone() }),
            None => Cow::Borrowed(needs),
        }
    }

    /// Gives back what a task that is STOPPED held.
    pub(super) fn release_place(&mut self, task: TaskId, facts: &mut Vec<Fact>) {
        let t = &self.tasks[task.index()];
        let Some(node) = t.node else { return };
        let needs = self.needs_of(task).into_owned();
        self.nodes[node.index()].release(task, &needs);
        facts.push(Fact::TaskFreed(task, node));
    }

    /// The invariants of instances.
    pub(super) fn check_nodes(&self) -> Result<(), String> {
        for n in &self.nodes {
            let id = n.id.0;
            let mut held = n.held;
            let mut ports: Vec<u16> = Vec::new();
            let mut distinct: Vec<u32> = Vec::new();
            for task in &n.tasks {
                let t = &self.tasks[task.index()];
                if t.node != Some(n.id) || t.zone != n.spec.zone || t.capacity != n.spec.capacity {
                    return Err(format!("instance {id} lists task {} that is placed elsewhere", task.0));
                }
                if t.status == TaskStatus::Stopped {
                    return Err(format!("instance {id} lists task {} that is STOPPED", task.0));
                }
                let needs: &Needs = &self.needs_of(*task);
                held = held.plus(needs.resources);
                ports.extend(&needs.ports);
                if needs.distinct {
                    distinct.push(t.service.0);
                }
                if n.life == LifeCycle::Terminated && t.status < TaskStatus::Deprovisioning {
                    return Err(format!("task {} runs on instance {id} that is gone", task.0));
                }
            }
            if held != n.reserved {
                return Err(format!("instance {id} has {:?} reserved, its tasks hold {held:?}", n.reserved));
            }
            if let Some(lack) = n.spec.offers.lacks(held) {
                return Err(format!("instance {id} is oversubscribed: {lack}"));
            }
            ports.sort_unstable();
            if ports != n.ports || ports.windows(2).any(|p| p[0] == p[1]) {
                return Err(format!("instance {id} has host ports {:?} reserved, its tasks hold {ports:?}", n.ports));
            }
            distinct.sort_unstable();
            if distinct.windows(2).any(|p| p[0] == p[1]) {
                return Err(format!("instance {id} runs two tasks of a service that wants distinct instances"));
            }
            let backing = self.backing.get(n.spec.capacity.index()).and_then(Option::as_ref);
            if backing.is_none_or(|b| b.nodes.contains(&n.id) != n.is_alive()) {
                return Err(format!("instance {id} is not listed where it belongs"));
            }
        }
        for t in &self.tasks {
            let on_nodes = self.backing.get(t.capacity.index()).is_some_and(Option::is_some);
            if on_nodes && t.times.pending.is_some() && t.node.is_none() {
                return Err(format!("task {} is past PROVISIONING without an instance", t.id.0));
            }
            if let Some(node) = t.node {
                let listed = self.nodes[node.index()].tasks.contains(&t.id);
                if listed != (t.status != TaskStatus::Stopped) {
                    return Err(format!("task {} and its instance disagree", t.id.0));
                }
            }
        }
        Ok(())
    }
}
