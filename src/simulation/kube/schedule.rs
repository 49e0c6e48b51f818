//! The scheduler at work: one pod at a time, from the queue to its binding.

use super::super::{Simulation, Timer};
use super::given::{given_key, given_of};
use super::pods::pod_key;
use crate::cluster::{StopCode, Task, TaskStatus};
use crate::kernel::{Draw, Phase, SimTime};
use crate::kubernetes::scheduler::{Budget, ClusterEvent, NoPreemption, PodKey, Preemption, ShapeId};
use crate::output::{DecisionDetail, DecisionRow};
use crate::units::{NodeId, ServiceId, TaskId};

/// The pod of a key, unless it is one of the system's.
pub(super) fn task_of(key: PodKey) -> Option<TaskId> {
    u32::try_from(key.0).ok().map(TaskId)
}

impl super::Kube<'_> {
    /// Pods of a workload that found no node, when first, and what was said last; `None` where there were none.
    pub(in crate::simulation) fn unschedulable(&self, service: usize) -> Option<(u64, Option<SimTime>, String)> {
        let w = self.workloads.get(service).filter(|w| w.unschedulable > 0)?;
        Some((w.unschedulable, w.unschedulable_first, w.why_not.clone().unwrap_or_default()))
    }

    /// The most replicas that the autoscaler of a workload may set, where there is one.
    pub(in crate::simulation) fn max_replicas(&self, service: usize) -> Option<u32> {
        Some(self.workloads.get(service)?.hpa.as_ref()?.spec.max_replicas)
    }

    /// Whether a pod waits for a node now, and none has room.
    pub(in crate::simulation) fn waits_for_node(&self, t: &Task) -> bool {
        let pod = &self.pods[t.id.index()];
        pod.unschedulable.is_some() && !pod.bound && t.stop_code.is_none()
    }

    /// Restarts of the container that was restarted most, and why the last one was.
    pub(in crate::simulation) fn restarts(&self, service: usize) -> (u32, String) {
        self.workloads.get(service).map_or((0, String::new()), |w| (w.most_restarts, w.restart_why.clone()))
    }
}

impl Simulation<'_> {
    /// A pod waits to be scheduled.
    pub(super) fn enqueue_pod(&mut self, task: TaskId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let kube = self.kube_mut();
        let priority = kube.workloads[service.index()].priority;
        kube.queue.add(pod_key(task), priority, now);
        kube.pods[task.index()].queued = Some(now);
        self.wake_kube_scheduler();
    }

    /// The scheduler has something to look at.
    pub(in crate::simulation) fn wake_kube_scheduler(&mut self) {
        let now = self.queue.now();
        let busy = self.kube().busy_until;
        let Some(at) = self.kube_mut().queue.next_due(now) else { return };
        let at = at.max(busy).max(now);
        if self.queue.timer(Timer::KubeScheduler).is_none_or(|set| set > at || set < now) {
            self.schedule_timer_if_due(Timer::KubeScheduler, at, Phase::Decision);
        }
    }

    /// What waits may fit now.
    pub(super) fn cluster_event(&mut self, event: ClusterEvent) {
        let now = self.queue.now();
        self.kube_mut().queue.happened(event, now, |_| true);
        self.wake_kube_scheduler();
    }

    /// The scheduler looks at the pod at the head of its queue.
    pub(in crate::simulation) fn on_kube_scheduler(&mut self) {
        let now = self.queue.now();
        let latency = self.kube().settings.scheduler.latency;
        // Without a latency every pod that waits has its turn now.
        while let Some(next) = self.kube_mut().queue.pop(now) {
            if let Some(row) = given_of(next.pod) {
                self.attempt_given(row);
                self.kube_mut().busy_until = now + latency;
                if !latency.is_zero() {
                    break;
                }
                continue;
            }
            let waits = task_of(next.pod).filter(|t| {
                let t = self.cluster.task(*t);
                t.stop_code.is_none() && t.status == TaskStatus::Provisioning && t.node.is_none()
            });
            let Some(task) = waits else {
                self.kube_mut().queue.remove(next.pod);
                continue;
            };
            // Before the attempt: what happens in it wakes the scheduler, which is at work until then.
            self.kube_mut().busy_until = now + latency;
            self.attempt(task);
            if !latency.is_zero() {
                break;
            }
        }
        self.wake_kube_scheduler();
    }

    fn draw_for_attempt(&mut self) -> u64 {
        let kube = self.kube_mut();
        kube.attempts += 1;
        Draw::new(kube.ties).of(kube.attempts).bits()
    }

    fn attempt(&mut self, task: TaskId) {
        let now = self.queue.now();
        let key = pod_key(task);
        let (draw, shape) = (self.draw_for_attempt(), self.shape_of(task));
        let kube = self.kube_mut();
        match kube.scheduler.schedule(key, shape, draw) {
            Ok(seat) => {
                kube.queue.done(key);
                let Some(node) = kube.node_at(seat) else { return };
                kube.scheduler.place(key, shape, seat, SimTime::MAX);
                self.bind_pod(task, node);
                self.cluster_event(ClusterEvent::PodAssigned);
            }
            Err(why) => {
                let preemption = self.preempt_for(key, shape);
                let kube = self.kube_mut();
                kube.queue.failed(key, why.plugins(), now);
                let symbols = kube.scheduler.symbols();
                let text = match &preemption {
                    Ok(_) => why.text(symbols),
                    Err(reason) => why.text_with(reason, symbols),
                };
                self.pod_is_unschedulable(task, text, preemption.ok());
            }
        }
    }

    /// No node takes a pod: it is written down, its victims go, and whoever launches nodes learns of it.
    fn pod_is_unschedulable(&mut self, task: TaskId, text: String, preemption: Option<Preemption>) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let kube = self.kube_mut();
        let pod = &mut kube.pods[task.index()];
        let first = pod.unschedulable.is_none();
        pod.unschedulable.get_or_insert(now);
        let w = &mut kube.workloads[service.index()];
        w.unschedulable += u64::from(first);
        w.unschedulable_first.get_or_insert(now);
        let news = w.why_not.as_deref() != Some(text.as_str());
        w.why_not = Some(text.clone());
        if news || preemption.is_some() {
            let row = DecisionRow {
                time_s: now.into(),
                controller: "scheduler".into(),
                subject: format!("services.{}", self.services[service.index()].name).into(),
                service: self.services[service.index()].name.into(),
                result: preemption.as_ref().map(|p| p.victims.len() as i64),
                reason: if preemption.is_some() { "Preempted" } else { "FailedScheduling" }.into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
            self.recorder.decision(&row, &detail);
        }
        match preemption {
            Some(found) => self.push_out(found),
            None if self.kube().pods[task.index()].pinned.is_none() => self.pod_needs_a_node(pod_key(task)),
            None => {}
        }
    }

    /// The victims of a preemption go.
    fn push_out(&mut self, found: Preemption) {
        let now = self.queue.now();
        for victim in found.victims {
            self.kube_mut().scheduler.set_terminating(victim, true);
            if let Some(victim) = task_of(victim) {
                self.delete_pod(victim, StopCode::Preempted, "Preempted by a pod of a higher priority");
            } else if let Some(row) = given_of(victim) {
                self.delete_given(row, "Preempted");
            }
        }
        for displaced in found.displaced {
            self.kube_mut().queue.activate(displaced, now);
        }
    }

    /// The scheduler looks at a pod of a file.
    fn attempt_given(&mut self, row: u32) {
        let now = self.queue.now();
        let key = given_key(row);
        let waiting = |given: &super::given::Given| {
            given.live.get(&row).filter(|l| l.bound.is_none()).and_then(|l| Some((given.kind(row)?, *l)))
        };
        let Some((kind, live)) = self.kube().given.as_ref().and_then(waiting) else {
            self.kube_mut().queue.remove(key);
            return;
        };
        let draw = self.draw_for_attempt();
        let kube = self.kube_mut();
        let why = match kube.scheduler.schedule(key, kind.shape, draw) {
            Ok(seat) => {
                kube.queue.done(key);
                let Some(node) = kube.node_at(seat) else { return };
                kube.scheduler.place(key, kind.shape, seat, SimTime::MAX);
                self.bind_given(row, node, false);
                self.cluster_event(ClusterEvent::PodAssigned);
                return;
            }
            Err(why) => why,
        };
        let preemption = self.preempt_for(key, kind.shape);
        let kube = self.kube_mut();
        kube.queue.failed(key, why.plugins(), now);
        if let Some(given) = &mut kube.given {
            given.figures.refused(now);
            if let Some(live) = given.live.get_mut(&row) {
                live.unschedulable.get_or_insert(now);
            }
        }
        // The first refusal of a pod is written down: the later ones say the same.
        if live.unschedulable.is_none() || preemption.is_ok() {
            let symbols = kube.scheduler.symbols();
            let text = match &preemption {
                Ok(_) => why.text(symbols),
                Err(reason) => why.text_with(reason, symbols),
            };
            let name = kube.given.as_ref().and_then(|g| Some(g.state.name_of(g.pod(row)?).to_owned()));
            let row = DecisionRow {
                time_s: now.into(),
                controller: "scheduler".into(),
                subject: format!("pods.{}", name.unwrap_or_default()).into(),
                result: preemption.as_ref().ok().map(|p| p.victims.len() as i64),
                reason: if preemption.is_ok() { "Preempted" } else { "FailedScheduling" }.into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
            self.recorder.decision(&row, &detail);
        }
        match preemption {
            Ok(found) => self.push_out(found),
            Err(_) => self.pod_needs_a_node(key),
        }
    }

    /// Lets a pod push out others of lower priority.
    fn preempt_for(&mut self, pod: PodKey, shape: ShapeId) -> Result<Preemption, NoPreemption> {
        let budgets: Vec<Budget> = (0..self.services.len())
            .map(ServiceId::from)
            .filter_map(|s| {
                let allowed = self.budget_of(s)?;
                let w = &self.kube().workloads[s.index()];
                let spec = self.kube().scheduler.shape(w.shape)?;
                Some(Budget {
                    namespace: spec.namespace,
                    selector: Some(w.selector.clone()),
                    disruptions_allowed: i64::from(allowed.disruptions_allowed),
                    already_disrupted: allowed.disrupted.iter().map(|g| pod_key(g.pod)).collect(),
                })
            })
            .collect();
        let draw = self.draw_for_attempt();
        self.kube_mut().scheduler.preempt(pod, shape, &budgets, draw)
    }

    /// A node for a pod that runs when the simulation starts; a group that may grow gives one.
    pub(super) fn node_at_start(&mut self, task: TaskId) -> Option<NodeId> {
        let now = self.queue.now();
        for grown in [false, true] {
            if grown && (self.nodes_are_given() || !self.grow_at_start(task)) {
                return None;
            }
            let (draw, shape) = (self.draw_for_attempt(), self.shape_of(task));
            let kube = self.kube_mut();
            if let Ok(seat) = kube.scheduler.schedule(pod_key(task), shape, draw) {
                kube.scheduler.place(pod_key(task), shape, seat, now);
                return kube.node_at(seat);
            }
        }
        None
    }
}
