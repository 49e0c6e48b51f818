//! The scheduler at work: one pod at a time, from the queue to its binding.

use super::super::{Simulation, Timer};
use super::pods::pod_key;
use crate::cluster::{StopCode, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration};
use crate::kubernetes::scheduler::{ClusterEvent, WhyNot};
use crate::output::{DecisionDetail, DecisionRow};
use crate::units::{NodeId, TaskId};

impl Simulation<'_> {
    /// A pod waits to be scheduled.
    pub(super) fn enqueue_pod(&mut self, task: TaskId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let kube = self.kube_mut();
        let shape = kube.workloads[service.index()].shape;
        let priority = kube.scheduler.priority_of(shape);
        kube.queue.add(pod_key(task), shape, priority, now);
        kube.pods[task.index()].queued = Some(now);
        self.wake_kube_scheduler();
    }

    /// The scheduler has something to look at.
    pub(in crate::simulation) fn wake_kube_scheduler(&mut self) {
        let now = self.queue.now();
        let Some(at) = self.kube().queue.next_wake(now) else { return };
        let at = at.max(self.kube().busy_until).max(now);
        if self.queue.timer(Timer::KubeScheduler).is_none_or(|set| set > at) {
            self.schedule_timer_if_due(Timer::KubeScheduler, at, Phase::Decision);
        }
    }

    /// What waits may fit now.
    pub(super) fn cluster_event(&mut self, event: ClusterEvent) {
        let now = self.queue.now();
        self.kube_mut().queue.on_event(event, now);
        self.wake_kube_scheduler();
    }

    /// The scheduler looks at the pod at the head of its queue.
    pub(in crate::simulation) fn on_kube_scheduler(&mut self) {
        let now = self.queue.now();
        let latency = self.kube().settings.scheduler.latency;
        // Without a latency every pod that waits has its turn now.
        loop {
            let Some(waiting) = self.kube_mut().queue.pop(now) else { break };
            let task = TaskId(waiting.0 as u32);
            let t = self.cluster.task(task);
            if t.stop_code.is_some() || t.status != TaskStatus::Provisioning || t.node.is_some() {
                self.kube_mut().queue.remove(waiting);
                continue;
            }
            self.attempt(task);
            self.kube_mut().busy_until = now + latency;
            if !latency.is_zero() {
                break;
            }
        }
        self.wake_kube_scheduler();
    }

    fn attempt(&mut self, task: TaskId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let key = pod_key(task);
        let kube = self.kube_mut();
        kube.attempts += 1;
        let draw = Draw::new(kube.ties).of(kube.attempts).bits();
        let shape = kube.workloads[service.index()].shape;
        match kube.scheduler.schedule(key, shape, draw) {
            Ok(seat) => {
                kube.queue.scheduled(key);
                let Some(node) = kube.node_at(seat) else { return };
                kube.scheduler.place(key, shape, seat, now);
                self.bind_pod(task, node);
                self.cluster_event(ClusterEvent::PodBound);
            }
            Err(why) => self.pod_is_unschedulable(task, why),
        }
    }

    /// No node takes a pod: it may push others out, and whoever launches nodes learns of it.
    fn pod_is_unschedulable(&mut self, task: TaskId, why: WhyNot) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let key = pod_key(task);
        let nominated = self.preempt_for(task, &why);
        let kube = self.kube_mut();
        kube.queue.unschedulable(key, &why, now);
        let text = why.text(kube.scheduler.symbols());
        let pod = &mut kube.pods[task.index()];
        let first = pod.unschedulable.is_none();
        pod.unschedulable.get_or_insert(now);
        let w = &mut kube.workloads[service.index()];
        w.unschedulable += u64::from(first);
        w.unschedulable_first.get_or_insert(now);
        let news = w.why_not.as_deref() != Some(text.as_str());
        w.why_not = Some(text.clone());
        if news {
            let row = DecisionRow {
                time_s: now.into(),
                controller: "scheduler".into(),
                subject: format!("services.{}", self.services[service.index()].name).into(),
                service: self.services[service.index()].name.into(),
                reason: if nominated.is_some() { "preemption" } else { "FailedScheduling" }.into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
            self.recorder.decision(&row, &detail);
        }
        self.pod_needs_a_node(task);
    }

    /// Lets a pod push out others of lower priority. The node that is to become free.
    fn preempt_for(&mut self, task: TaskId, why: &WhyNot) -> Option<NodeId> {
        let service = self.cluster.task(task).service;
        let key = pod_key(task);
        let budgets: Vec<_> = (0..self.services.len())
            .map(crate::units::ServiceId::from)
            .filter_map(|s| Some((self.kube().workloads[s.index()].shape, self.disruptions_allowed(s)?)))
            .collect();
        let kube = self.kube_mut();
        let shape = kube.workloads[service.index()].shape;
        let offset = Draw::new(kube.ties).of(kube.attempts).of(1).bits();
        let found = kube.scheduler.preempt(key, shape, why, &budgets, offset)?;
        let node = kube.node_at(found.node)?;
        kube.scheduler.nominate(key, shape, found.node);
        for victim in found.victims {
            kube.scheduler.set_terminating(victim, true);
        }
        let victims: Vec<TaskId> = Vec::new();
        for victim in victims {
            self.delete_pod(victim, StopCode::Preempted, "Preempted by a pod of a higher priority");
        }
        Some(node)
    }

    /// A node for a pod that runs when the simulation starts; a group that may grow gives one.
    pub(super) fn node_at_start(&mut self, task: TaskId) -> Option<NodeId> {
        let service = self.cluster.task(task).service;
        for grown in [false, true] {
            if grown && !self.grow_at_start(service) {
                return None;
            }
            let now = self.queue.now();
            let kube = self.kube_mut();
            kube.attempts += 1;
            let draw = Draw::new(kube.ties).of(kube.attempts).bits();
            let shape = kube.workloads[service.index()].shape;
            if let Ok(seat) = kube.scheduler.schedule(pod_key(task), shape, draw) {
                kube.scheduler.place(pod_key(task), shape, seat, now);
                return kube.node_at(seat);
            }
        }
        None
    }
}

/// How long a pod may wait as unschedulable before it is looked at again without any event.
pub(super) const FLUSH: SimDuration = SimDuration::from_secs(30);
