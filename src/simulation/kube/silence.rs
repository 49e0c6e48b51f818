//! Nodes that fall silent: their machine failed, or nobody reaches them. The control plane learns of it by missing
//! heartbeats, takes their pods out of the endpoints, and evicts them when their toleration is over.

use super::super::life::StartStep;
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use crate::cluster::{StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::node_health::{NodeHealthSettings, TaintToleration};
use crate::kubernetes::object::{Effect, Taint};
use crate::kubernetes::scheduler::{ClusterEvent, Node as KubeNode};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::Eks;
use crate::units::{NodeId, TaskId};

/// The taint of a node without heartbeats. Source: kubernetes.io, well-known taints.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// A node whose kubelet is not heard.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Silence {
    node: NodeId,
    /// Its condition is `Ready: Unknown`.
    unknown: bool,
    /// When it got the taint that evicts.
    tainted: Option<SimTime>,
    /// Pods that were starting, the step that was next, and what was left of the wait for it.
    frozen: Vec<(TaskId, StartStep, SimDuration)>,
}

/// The node controller of a run.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct NodeController {
    settings: NodeHealthSettings,
    silences: Vec<Silence>,
    /// By zone, when a node was tainted last.
    tainted: Vec<Option<SimTime>>,
}

impl NodeController {
    pub(super) fn new(eks: &Eks, zones: u32) -> Self {
        let settings = NodeHealthSettings {
            monitor_grace_period: eks.node_monitor_grace_period,
            default_toleration: eks.unreachable_toleration,
            ..NodeHealthSettings::default()
        };
        Self { settings, silences: Vec::new(), tainted: vec![None; zones as usize] }
    }

    fn silence(&self, node: NodeId) -> Option<&Silence> {
        self.silences.iter().find(|s| s.node == node)
    }

    fn silence_mut(&mut self, node: NodeId) -> Option<&mut Silence> {
        self.silences.iter_mut().find(|s| s.node == node)
    }

    /// A node is gone.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.silences.retain(|s| s.node != node);
    }
}

impl Simulation<'_> {
    /// Whether a node's kubelet is not heard, whether or not anybody knows.
    pub(in crate::simulation) fn is_silent(&self, node: NodeId) -> bool {
        self.kube().node_controller.silence(node).is_some()
    }

    /// Whether the control plane knows that a node is silent.
    pub(in crate::simulation) fn is_unreachable(&self, node: NodeId) -> bool {
        self.kube().node_controller.silence(node).is_some_and(|s| s.unknown)
    }

    /// Whether the kubelet of a pod's node is not heard.
    pub(in crate::simulation) fn on_silent_node(&self, task: TaskId) -> bool {
        self.cluster.task(task).node.is_some_and(|n| self.is_silent(n))
    }

    /// A node is heard no more. What starts on it stands still.
    pub(in crate::simulation) fn node_falls_silent(&mut self, node: NodeId) {
        let now = self.queue.now();
        if self.is_silent(node) || self.kube().seat_of(node).is_none() {
            return;
        }
        let registered = self.cluster.node(node).times.registered.unwrap_or(now);
        self.kube_mut().node_controller.silences.push(Silence {
            node,
            unknown: false,
            tainted: None,
            frozen: Vec::new(),
        });
        let starting: Vec<TaskId> = self
            .cluster
            .tasks_on(node)
            .filter(|t| t.status < TaskStatus::Running && t.stop_code.is_none())
            .map(|t| t.id)
            .collect();
        for task in starting {
            let left = self.queue.timer(Timer::Start(task)).map_or(SimDuration::ZERO, |at| at.since(now));
            self.freeze(task, left);
        }
        let settings = &self.kube().node_controller.settings;
        let at = settings.unknown_at(settings.last_heartbeat(registered, now));
        self.schedule_timer_if_due(Timer::Silence(node), at.max(now), Phase::Decision);
    }

    /// A pod does not go on with its start while its node is silent.
    pub(super) fn freeze(&mut self, task: TaskId, left: SimDuration) {
        let Some(node) = self.cluster.task(task).node else { return };
        let step = self.tasks[task.index()].start;
        self.queue.cancel_timer(Timer::Start(task));
        if let Some(silence) = self.kube_mut().node_controller.silence_mut(node) {
            silence.frozen.push((task, step, left));
        }
    }

    /// The next step of what the control plane does about a silent node.
    pub(in crate::simulation) fn on_silence(&mut self, node: NodeId) {
        let Some(silence) = self.kube().node_controller.silence(node) else { return };
        match (silence.unknown, silence.tainted) {
            (false, _) => {
                self.node_is_unknown(node);
                self.taint_no_execute(node);
            }
            (true, None) => self.taint_no_execute(node),
            (true, Some(_)) => self.evict_from_silent(node),
        }
    }

    fn node_is_unknown(&mut self, node: NodeId) {
        if let Some(silence) = self.kube_mut().node_controller.silence_mut(node) {
            silence.unknown = true;
        }
        self.set_unreachable(node, &[Effect::NoSchedule]);
        let pods = self.refresh_pods_of(node);
        let text = format!("no heartbeat: Ready is Unknown, {pods} pods are no endpoints any more");
        self.silence_row(node, "NotReady", pods, text);
        self.wake_update(self.cluster.node(node).spec.capacity);
    }

    /// Works out anew whether the pods on a node are ready; how many there are.
    fn refresh_pods_of(&mut self, node: NodeId) -> usize {
        let pods: Vec<TaskId> =
            self.cluster.tasks_on(node).filter(|t| t.status == TaskStatus::Running).map(|t| t.id).collect();
        for &task in &pods {
            self.refresh_ready(task);
        }
        pods.len()
    }

    /// Gives a node the taint that evicts, as soon as the rate for its zone allows one.
    fn taint_no_execute(&mut self, node: NodeId) {
        let now = self.queue.now();
        let zone = self.cluster.node(node).spec.zone;
        let (mut here, mut not_ready, mut ready_anywhere) = (0, 0, false);
        for capacity in self.node_capacities() {
            for n in self.cluster.nodes_of(capacity).filter(|n| self.kube().seat_of(n.id).is_some()) {
                let out = self.is_unreachable(n.id);
                ready_anywhere |= !out;
                here += u32::from(n.spec.zone == zone);
                not_ready += u32::from(n.spec.zone == zone && out);
            }
        }
        let controller = &mut self.kube_mut().node_controller;
        let settings = controller.settings;
        let last = controller.tainted.get(zone.index()).copied().flatten();
        let at = settings.taint_at(now, last, settings.rate(here, not_ready, !ready_anywhere));
        match at {
            Some(at) if at <= now => {}
            later => {
                let at = later.unwrap_or(now + settings.monitor_period);
                self.schedule_timer_if_due(Timer::Silence(node), at, Phase::Decision);
                return;
            }
        }
        if let Some(last) = controller.tainted.get_mut(zone.index()) {
            *last = Some(now);
        }
        if let Some(silence) = controller.silence_mut(node) {
            silence.tainted = Some(now);
        }
        self.set_unreachable(node, &[Effect::NoSchedule, Effect::NoExecute]);
        if let Some(at) = settings.evicted_at(now, TaintToleration::Default) {
            let text = format!("its pods are evicted in {:.0} s unless it comes back", at.since(now).as_secs_f64());
            self.silence_row(node, "NoExecute", self.in_the_way(node).len(), text);
            self.schedule_timer_if_due(Timer::Silence(node), at, Phase::Decision);
        }
    }

    /// The toleration of a silent node's pods is over: they are deleted, and others come in their place. The old ones end
    /// when their node is gone, or heard again.
    fn evict_from_silent(&mut self, node: NodeId) {
        let now = self.queue.now();
        let taint = self.unreachable(Effect::NoExecute);
        let mut evicted = 0;
        for row in self.given_in_the_way(node) {
            let kube = self.kube();
            let shape = kube.given.as_ref().and_then(|g| kube.scheduler.shape(g.kind(row)?.shape));
            if !shape.is_some_and(|s| s.tolerates(&taint)) {
                evicted += 1;
                self.delete_given(row, "Evicted");
            }
        }
        for task in self.in_the_way(node) {
            let t = self.cluster.task(task);
            let (service, going) = (t.service, t.stop_code.is_some());
            let kube = self.kube();
            let shape = kube.scheduler.shape(kube.pods[task.index()].shape);
            if going || shape.is_some_and(|s| s.tolerates(&taint)) {
                continue;
            }
            evicted += 1;
            self.services[service.index()].trouble.note(TroubleKind::LostMachine, now);
            self.delete_pod(task, StopCode::Evicted, "Evicted: its node is unreachable");
        }
        self.silence_row(node, "evicted", evicted, format!("{evicted} pods are deleted, and replaced elsewhere"));
    }

    /// A silent node is heard again: its taints go, and what stood still goes on.
    pub(in crate::simulation) fn node_is_heard(&mut self, node: NodeId) {
        let now = self.queue.now();
        let controller = &mut self.kube_mut().node_controller;
        let Some(at) = controller.silences.iter().position(|s| s.node == node) else { return };
        let silence = controller.silences.remove(at);
        self.queue.cancel_timer(Timer::Silence(node));
        for (task, step, left) in silence.frozen {
            if self.cluster.task(task).stop_code.is_none() {
                self.tasks[task.index()].start = step;
                self.queue.set_timer(Timer::Start(task), now + left, Phase::State);
            }
        }
        if !silence.unknown {
            return;
        }
        self.set_unreachable(node, &[]);
        let pods = self.refresh_pods_of(node);
        self.silence_row(node, "Ready", pods, "its kubelet is heard again".to_string());
        let deleted: Vec<TaskId> = self
            .cluster
            .tasks_on(node)
            .filter(|t| t.status == TaskStatus::Running && t.stop_code.is_some())
            .map(|t| t.id)
            .collect();
        for task in deleted {
            self.pod_terminates(task);
        }
        self.cluster_event(ClusterEvent::NodeTaints);
        self.wake_daemon_sets();
        self.wake_update(self.cluster.node(node).spec.capacity);
    }

    fn unreachable(&mut self, effect: Effect) -> Taint {
        let symbols = self.kube_mut().scheduler.symbols_mut();
        Taint { key: symbols.intern(UNREACHABLE), value: symbols.intern(""), effect }
    }

    /// Sets the effects that the taint of silence has on a node.
    fn set_unreachable(&mut self, node: NodeId, effects: &[Effect]) {
        let taints: Vec<Taint> = effects.iter().map(|e| self.unreachable(*e)).collect();
        let key = self.unreachable(Effect::NoExecute).key;
        let kube = self.kube_mut();
        let Some(seat) = kube.seat_of(node) else { return };
        if let Some(seen) = kube.scheduler.node(seat).cloned() {
            let mut seen: KubeNode = seen;
            seen.taints.retain(|t| t.key != key);
            seen.taints.extend(taints);
            kube.scheduler.update_node(seat, seen);
        }
    }

    fn silence_row(&mut self, node: NodeId, reason: &'static str, pods: usize, text: String) {
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "node_controller".into(),
            subject: format!("nodes.{}", node.0).into(),
            result: Some(pods as i64),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let null = serde_json::Value::Null;
        self.recorder.decision(&row, &DecisionDetail { observation: null.clone(), memory: null });
    }
}
