//! Placement at work: tasks that wait for room on an instance, and what is said while there is none.

use super::images::{ImageKey, Wanted};
use super::life::StartStep;
use super::start::{draw_time, purpose};
use super::{Simulation, Timer};
use crate::cluster::{Command, StopCode};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::placement::choice::WhyNot;
use crate::placement::pool::Within;
use crate::rollout::protection::protected_until;
use crate::scenario::model::{Capacity, NetworkMode, Switch};
use crate::units::{Bytes, CapacityId, NodeId, ServiceId, TaskId};

/// Tasks of a service that found no room, for the diagnoses.
#[derive(Clone, Debug, Default)]
pub(super) struct Unplaced {
    /// Times at which a task began to wait for room.
    pub(super) times: u64,
    /// The first of them.
    pub(super) first: Option<SimTime>,
    /// Tasks that waited for nothing until they were stopped.
    pub(super) given_up: u64,
    /// What spoke against each instance at the latest look, and when that was.
    pub(super) why: Option<WhyNot>,
    looked: Option<SimTime>,
}

/// Time between two looks at every instance.
const LOOK_AGAIN: SimDuration = SimDuration::from_secs(10);

impl Simulation<'_> {
    /// A task with a launch slot joins those that wait for room on an instance.
    pub(super) fn await_node(&mut self, task: TaskId) {
        let capacity = self.cluster.task(task).capacity;
        let plan = self.capacities[capacity.index()].plan;
        let Some(instances) = plan.instances() else { return };
        if self.waits_for_instances(capacity) && self.tasks[task.index()].pinned.is_none() {
            let at = self.queue.now() + instances.provisioning_timeout;
            self.tasks[task.index()].start = StartStep::GiveUp;
            self.queue.set_timer(Timer::Start(task), at, Phase::State);
        }
        if let Some(group) = self.group_mut(capacity) {
            group.waiting.push(task);
        }
        self.wake_placement(capacity);
    }

    /// Whether tasks wait in PROVISIONING for instances that are to come.
    fn waits_for_instances(&self, capacity: CapacityId) -> bool {
        match self.capacities[capacity.index()].plan {
            Capacity::Ec2(e) => e.managed_scaling.status == Switch::Enabled,
            _ => true,
        }
    }

    /// RunTask places a task at once or not at all where nobody brings instances.
    fn fail_standalone(&mut self, left: &mut Vec<TaskId>) {
        let alone = |t: &TaskId| self.services[self.cluster.task(*t).service.index()].job.is_some();
        let failed: Vec<TaskId> = left.iter().copied().filter(alone).collect();
        left.retain(|t| !failed.contains(t));
        for task in failed {
            let service = self.cluster.task(task).service;
            let why = self.services[service.index()].trouble.unplaced.why;
            self.tasks[task.index()].stop_reason = why.map_or_else(String::new, |w| w.to_string());
            self.end_task(task, StopCode::TaskFailedToStart);
        }
    }

    /// Something changed that may let a waiting task be placed.
    pub(super) fn wake_placement(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let waits = self.group(capacity).is_some_and(|g| !g.waiting.is_empty());
        if waits && self.queue.timer(Timer::Place(capacity)) != Some(now) {
            // After the scheduler, which places daemons.
            self.queue.set_timer(Timer::Place(capacity), now, Phase::Decision);
        }
    }

    /// Places what can be placed.
    pub(super) fn on_place(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let daemons_first =
            self.cluster.services().iter().any(|s| s.daemon && self.queue.timer(Timer::Scheduler(s.id)) == Some(now));
        if daemons_first {
            self.queue.set_timer(Timer::Place(capacity), now, Phase::Decision);
            return;
        }
        let Some(group) = self.group_mut(capacity) else { return };
        let mut waiting = std::mem::take(&mut group.waiting);
        // What a daemon needs is kept free for it: it comes first.
        waiting.sort_by_key(|t| self.tasks[t.index()].pinned.is_none());
        let mut left = Vec::new();
        // Tasks of one service are alike: where one finds no room, neither does the next.
        let mut full: Vec<ServiceId> = Vec::new();
        for task in waiting {
            let t = self.cluster.task(task);
            let service = t.service;
            if t.stop_code.is_some() {
                continue;
            }
            let pinned = self.tasks[task.index()].pinned;
            if pinned.is_some_and(|n| !self.cluster.node(n).takes_tasks()) {
                self.tasks[task.index()].stop_reason = "Its container instance is gone".into();
                self.end_task(task, StopCode::ServiceSchedulerInitiated);
                continue;
            }
            let node = if full.contains(&service) { None } else { self.choose_node(task) };
            match node {
                Some(node) => self.place(task, node),
                None if pinned.is_some() => left.push(task),
                None => {
                    if !full.contains(&service) {
                        full.push(service);
                    }
                    left.push(task);
                }
            }
        }
        for &service in &full {
            self.note_unplaced(capacity, service, &left);
        }
        if !self.waits_for_instances(capacity) {
            self.fail_standalone(&mut left);
        }
        let Some(group) = self.group_mut(capacity) else { return };
        left.append(&mut group.waiting);
        group.waiting = left;
        self.launch_managed(capacity);
    }

    /// Looks again at which tasks of a service are at work.
    pub(super) fn refresh_work(&mut self, service: ServiceId) {
        let now = self.queue.now();
        if self.services[service.index()].plan.ecs.task_protection.is_none() {
            return;
        }
        for task in self.cluster.service(service).tasks.clone() {
            let runtime = &mut self.tasks[task.index()];
            let busy = runtime.work.is_some() || runtime.server.is_some_and(|s| self.data.outstanding(s) > 0);
            runtime.working_since = if busy { runtime.working_since.or(Some(now)) } else { None };
        }
    }

    /// Whether a task has protected itself from scale-in.
    pub(super) fn is_protected(&self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        let Some(rule) = &self.services[t.service.index()].plan.ecs.task_protection else { return false };
        let draw = self.draw_of(task).of(purpose::PROTECTION).unit();
        let since = self.tasks[task.index()].working_since;
        protected_until(rule, draw, t.times.started, since).is_some_and(|until| self.queue.now() < until)
    }

    /// Instances on which a daemon service wants a task each.
    pub(super) fn daemon_nodes(&self, service: ServiceId) -> Vec<NodeId> {
        let s = &self.services[service.index()];
        let capacities = s.strategy.shares().iter().map(|share| share.capacity);
        capacities
            .flat_map(|c| self.cluster.nodes_of(c))
            .filter(|n| n.takes_tasks() && self.pool.admits_on(n.id, s.shape))
            .map(|n| n.id)
            .collect()
    }

    /// The number of instances has changed: daemons follow.
    pub(super) fn refresh_daemons(&mut self) {
        if self.is_kube() {
            return;
        }
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            if self.is_daemon(service) {
                let desired = self.daemon_nodes(service).len() as u32;
                self.apply(Command::SetDesired { service, desired });
                self.wake_scheduler(service);
            }
        }
    }

    /// The daemons of an instance that has run for long when the simulation starts.
    pub(super) fn place_daemons_at_start(&mut self, node: NodeId) {
        if self.is_kube() {
            self.start_daemons(node);
            return;
        }
        let spec = self.cluster.node(node).spec;
        for index in 0..self.services.len() {
            let service = ServiceId::from(index);
            if self.is_daemon(service) && self.daemon_nodes(service).contains(&node) {
                self.place_running_task(service, spec.capacity, spec.zone, Some(node));
            }
        }
    }

    /// The instance for a task that waits.
    pub(super) fn choose_node(&self, task: TaskId) -> Option<NodeId> {
        let t = self.cluster.task(task);
        let shape = self.services[t.service.index()].shape;
        if let Some(node) = self.tasks[task.index()].pinned {
            return self.pool.obstacle(node, shape).is_none().then_some(node);
        }
        let within = Within { capacity: Some(t.capacity), zone: None };
        self.pool.choose(shape, within, self.draw_of(task).of(purpose::PLACEMENT).bits()).map(|c| c.node)
    }

    /// An instance is a place for tasks from now on.
    pub(super) fn open_place(&mut self, node: NodeId) {
        if self.is_kube() {
            self.node_is_ready(node);
            return;
        }
        let n = self.cluster.node(node);
        let spec = n.spec;
        let class = self.group(spec.capacity).and_then(|g| g.class(spec.kind, spec.zone));
        let Some(class) = class else { return };
        let since = jiff::SignedDuration::from_nanos(i64::try_from(self.queue.now().as_nanos()).unwrap_or(i64::MAX));
        let at = self.plan.simulation.start.checked_add(since).unwrap_or(self.plan.simulation.start);
        self.pool.insert(node, class, at);
        self.pool.set_active(node, true);
        self.wake_placement(spec.capacity);
    }

    /// Keeps the index of places in step with what is reserved.
    pub(super) fn reserve_place(&mut self, task: TaskId, node: NodeId) {
        if self.is_kube() {
            return; // The scheduler has counted it.
        }
        let service = self.cluster.task(task).service;
        let shape = self.services[service.index()].shape;
        let reserved = self.pool.reserve(node, shape);
        debug_assert!(reserved.is_ok(), "the door and the index of places disagree: {reserved:?}");
    }

    /// A task has its instance: next comes its network.
    fn place(&mut self, task: TaskId, node: NodeId) {
        self.apply(Command::PlaceTask { task, node });
        let t = self.cluster.task(task);
        let plan = self.services[t.service.index()].plan;
        let wait = match self.capacities[t.capacity.index()].plan.instances() {
            Some(i) if plan.task.network_mode == NetworkMode::Awsvpc => {
                draw_time(i.tasks.eni_attach.law(), self.draw_of(task), purpose::ENI)
            }
            _ => SimDuration::ZERO,
        };
        let runtime = &mut self.tasks[task.index()];
        runtime.start = StartStep::Pending;
        runtime.waited = false;
        self.queue.set_timer(Timer::Start(task), self.queue.now() + wait, Phase::State);
    }

    /// Remembers why tasks of a service found no room.
    fn note_unplaced(&mut self, capacity: CapacityId, service: ServiceId, left: &[TaskId]) {
        let now = self.queue.now();
        let mut begun = 0;
        for task in left {
            if self.cluster.task(*task).service == service {
                begun += u64::from(!std::mem::replace(&mut self.tasks[task.index()].waited, true));
            }
        }
        let unplaced = &mut self.services[service.index()].trouble.unplaced;
        unplaced.times += begun;
        unplaced.first = unplaced.first.or(Some(now));
        // Looking at every instance is for people: once in a while is enough.
        if unplaced.looked.is_none_or(|at| now.since(at) >= LOOK_AGAIN) {
            let shape = self.services[service.index()].shape;
            let why = self.pool.why_not(shape, Within { capacity: Some(capacity), zone: None });
            let unplaced = &mut self.services[service.index()].trouble.unplaced;
            unplaced.looked = Some(now);
            unplaced.why = Some(why);
        }
    }

    /// A task has waited for an instance for as long as ECS lets it.
    pub(super) fn give_up(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        let (service, capacity) = (t.service, t.capacity);
        self.services[service.index()].trouble.unplaced.given_up += 1;
        if let Some(group) = self.group_mut(capacity) {
            group.waiting.retain(|other| *other != task);
        }
        self.tasks[task.index()].stop_reason = "Timeout waiting for EC2 capacity to be provisioned".into();
        self.end_task(task, StopCode::TaskFailedToStart);
    }

    /// The images of a task, for the instance that it is placed on.
    pub(super) fn wanted_images(&self, task: TaskId) -> Vec<Wanted> {
        let t = self.cluster.task(task);
        let s = &self.services[t.service.index()];
        let spec = &s.plan.task;
        let size = s.revisions[t.revision as usize].image_size;
        let beside = spec.containers.values().enumerate().map(|(i, c)| Wanted {
            key: ImageKey::Beside(t.service, i as u32),
            size: c.image.size,
            share: c.image.lazy_share,
        });
        let main = Wanted { key: ImageKey::Main(t.service, t.revision), size, share: spec.image.lazy_share };
        beside.chain([main]).collect()
    }

    /// Pulls the images of a task onto its instance; how long that takes and how much comes over the line.
    pub(super) fn pull_onto(&mut self, task: TaskId, node: NodeId) -> (SimDuration, Bytes) {
        let now = self.queue.now();
        let wanted = self.wanted_images(task);
        let capacity = self.cluster.task(task).capacity;
        let Some(instances) = self.capacities[capacity.index()].plan.instances() else {
            return (SimDuration::ZERO, Bytes::ZERO);
        };
        let (pull, unpack) = (instances.tasks.pull_bandwidth, instances.tasks.unpack_bandwidth);
        let (there, bytes) = self.nodes[node.index()].images.pull(now, wanted.into_iter(), pull, unpack);
        (there.since(now), bytes)
    }
}
