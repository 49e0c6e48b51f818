//! Pods that come from a file: submitted, scheduled, run for their time, gone. They belong to no service and take no
//! requests, so nothing of them is kept once they have ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::super::start::{draw_time, purpose};
use super::super::{RunError, Simulation, Timer};
use super::given_rows::Figures;
use super::shapes;
use crate::cluster::{Command, NodeStep, Resources};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::kubernetes::object::{PodSpec, PreemptionPolicy};
use crate::kubernetes::scheduler::{ClusterEvent, PodKey, Scheduler, ShapeId};
use crate::scenario::model::{ClusterState, GivenPod, Plan, PodOwner, PodTemplate, Preemption, SharedState};
use crate::units::{Bytes, Cpu, NodeId, ServiceId};

/// Keys of pods of the file: beside all tasks, below the system's.
const GIVEN: u64 = 1 << 36;

/// How long a kubelet that is not heard waits before it tells of an end again.
const TELL_AGAIN: SimDuration = SimDuration::from_secs(10);

/// The scheduler's name for a pod of the file, by its place there.
pub(super) const fn given_key(row: u32) -> PodKey {
    PodKey(GIVEN | row as u64)
}

/// The place of a pod in the file, unless the key is that of another kind of pod.
pub(super) fn given_of(key: PodKey) -> Option<u32> {
    (key.0 & !u64::from(u32::MAX) == GIVEN).then_some(key.0 as u32)
}

/// What the pods of one template are to the scheduler and to the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) shape: ShapeId,
    pub(super) takes: Resources,
    pub(super) priority: i32,
    pub(super) owner: PodOwner,
    pub(super) system: bool,
}

/// A pod that was submitted and has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) submitted: SimTime,
    pub(super) bound: Option<(NodeId, SimTime)>,
    /// When its containers run, once it is bound.
    pub(super) starts: Option<SimTime>,
    /// When the scheduler first found no node for it.
    pub(super) unschedulable: Option<SimTime>,
    /// How often it was made anew.
    pub(super) anew: u32,
}

/// The nodes and pods that the files of the scenario give.
pub(in crate::simulation) struct Given {
    pub(super) state: SharedState,
    /// By template; none for replicas of services.
    pub(super) kinds: Vec<Option<Kind>>,
    /// The next pod to be submitted.
    next: usize,
    pub(super) live: IndexMap<u32, Live, FxBuildHasher>,
    /// Pods that run for a known time: when they end, how often they had been made anew, which they are.
    ends: BinaryHeap<Reverse<(SimTime, u32, u32)>>,
    /// By node, the pods on it.
    on_node: Vec<Vec<u32>>,
    /// The row of the node that is being made.
    pub(super) coming: Option<usize>,
    /// The rows of the nodes that came from the file.
    pub(super) rows: IndexMap<NodeId, usize, FxBuildHasher>,
    /// By row of the file of nodes.
    pub(super) nodes: Vec<Option<NodeId>>,
    draws: u64,
    /// There are pods that are replicas of no service.
    pub(super) has_pods: bool,
    pub(super) figures: Figures,
}

/// What a pod of a template asks of a node.
fn spec_of(template: &PodTemplate, scheduler: &mut Scheduler) -> PodSpec {
    let symbols = scheduler.symbols_mut();
    let mut spec = PodSpec::new(symbols.intern(&template.namespace));
    spec.requests.cpu_m = template.cpu_m as i64;
    spec.requests.memory = template.memory as i64;
    if template.gpus > 0 {
        spec.requests.set_extended(symbols.intern(shapes::GPU), i64::from(template.gpus));
    }
    (spec.score_cpu_m, spec.score_memory) = shapes::score_requests(&spec.requests);
    spec.node_selector = template.node_selector.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
    spec.tolerations = template.tolerations.iter().map(|t| shapes::toleration(t, symbols)).collect();
    spec.priority = template.priority;
    if template.preemption == Preemption::Never {
        spec.preemption_policy = PreemptionPolicy::Never;
    }
    spec
}

impl Given {
    /// What the files give; `None` without any.
    pub(super) fn new(state: Option<&SharedState>, scheduler: &mut Scheduler, streams: &Streams) -> Option<Self> {
        let state = state?.clone();
        let mut kinds = Vec::new();
        for template in &state.templates {
            let spec = spec_of(template, scheduler);
            kinds.push(template.service.is_none().then(|| Kind {
                shape: scheduler.add_shape(spec),
                takes: Resources {
                    cpu: Cpu::from_millicores(template.cpu_m),
                    memory: Bytes::new(template.memory),
                    gpus: template.gpus,
                    enis: 1,
                },
                priority: template.priority,
                owner: template.owner,
                system: template.namespace == "kube-system",
            }));
        }
        let given = Self {
            kinds,
            next: 0,
            live: IndexMap::default(),
            ends: BinaryHeap::new(),
            on_node: Vec::new(),
            coming: None,
            rows: IndexMap::default(),
            nodes: vec![None; state.nodes.len()],
            draws: streams.root("given-pods"),
            has_pods: state.own_pods() > 0,
            figures: Figures::new(&state),
            state,
        };
        Some(given)
    }

    pub(super) fn pod(&self, row: u32) -> Option<&GivenPod> {
        self.state.pods.get(row as usize)
    }

    pub(super) fn kind(&self, row: u32) -> Option<Kind> {
        *self.kinds.get(self.pod(row)?.template as usize)?
    }

    /// The pods on a node.
    pub(super) fn on(&self, node: NodeId) -> &[u32] {
        self.on_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    fn seat(&mut self, row: u32, node: NodeId) {
        if self.on_node.len() <= node.index() {
            self.on_node.resize(node.index() + 1, Vec::new());
        }
        self.on_node[node.index()].push(row);
    }

    fn unseat(&mut self, row: u32, node: NodeId) {
        let pods = &mut self.on_node[node.index()];
        if let Some(at) = pods.iter().position(|r| *r == row) {
            pods.swap_remove(at);
        }
    }

    /// Pods that wait for a node and that the scheduler has refused, with what they ask for and since when they are there.
    pub(super) fn refused(&self) -> impl Iterator<Item = (u32, ShapeId, SimTime)> + '_ {
        self.live.iter().filter(|(_, l)| l.bound.is_none() && l.unschedulable.is_some()).filter_map(|(row, l)| {
            let kind = self.kind(*row)?;
            Some((*row, kind.shape, l.submitted))
        })
    }

    /// The pods of a service that the file lists: the node of each, where it has one. `None` where it lists none.
    pub(super) fn replicas(&self, service: &str) -> Option<Vec<Option<usize>>> {
        let of = |p: &&GivenPod| self.state.template_of(p).is_some_and(|t| t.service.as_deref() == Some(service));
        let nodes: Vec<Option<usize>> = self.state.pods.iter().filter(of).map(|p| p.node.map(|n| n as usize)).collect();
        (!nodes.is_empty()).then_some(nodes)
    }

    fn next_due(&self) -> Option<SimTime> {
        let submit = self.state.pods.get(self.next).map(|p| p.submit);
        let end = self.ends.peek().map(|Reverse((at, _, _))| *at);
        submit.into_iter().chain(end).min()
    }
}

/// Where a pod of the file stands there, in words.
pub(super) fn place_in(plan: &Plan, line: u32) -> String {
    let file = plan.cluster.eks.initial_state.pods.as_deref().unwrap_or("");
    format!("`{file}` line {line}, column `node`")
}

impl Simulation<'_> {
    fn given_mut(&mut self) -> Option<&mut Given> {
        self.kube.as_mut()?.given.as_mut()
    }

    /// Time zero: pods that are bound already run; the others come to the scheduler in their turn.
    pub(super) fn start_given_pods(&mut self) -> Result<(), RunError> {
        let Some(given) = &self.kube().given else { return Ok(()) };
        let state = given.state.clone();
        for (at, pod) in state.pods.iter().enumerate().take_while(|(_, p)| p.submit == SimTime::ZERO) {
            let row = at as u32;
            let (Some(node), Some(kind)) = (pod.node, self.kube().given.as_ref().and_then(|g| g.kind(row))) else {
                continue;
            };
            let found = self.kube().given.as_ref().and_then(|g| g.nodes.get(node as usize).copied().flatten());
            let Some(node) = found else { continue };
            self.check_seat(&state, pod, node, kind.takes)?;
            self.submit(row);
            self.kube_mut().queue.remove(given_key(row));
            if let Some(seat) = self.kube().seat_of(node) {
                self.kube_mut().scheduler.place(given_key(row), kind.shape, seat, SimTime::ZERO);
            }
            self.bind_given(row, node, true);
        }
        self.wake_given();
        Ok(())
    }

    /// Whether a pod that is bound at the start fits on its node.
    pub(super) fn check_seat(
        &self,
        state: &ClusterState,
        pod: &GivenPod,
        node: NodeId,
        takes: Resources,
    ) -> Result<(), RunError> {
        let Some(lack) = self.cluster.node(node).remaining().lacks(takes) else { return Ok(()) };
        let what = match lack {
            crate::cluster::Lack::Cpu => "CPU",
            crate::cluster::Lack::Memory => "memory",
            crate::cluster::Lack::Gpu => "GPUs",
            _ => "pods",
        };
        let row = self.kube().given.as_ref().and_then(|g| g.rows.get(&node).copied());
        let name = row.and_then(|r| state.nodes.get(r)).map_or("", |n| n.name.as_str());
        Err(RunError::State(format!(
            "{}: `{name}` has no room for the pod `{}`: too little {what} is left of what its type offers",
            place_in(self.plan, pod.line),
            state.name_of(pod),
        )))
    }

    /// The next pod is submitted, or one of those that run ends.
    pub(in crate::simulation) fn on_given_pods(&mut self) {
        let now = self.queue.now();
        while let Some(given) = self.given_mut() {
            let due = given.state.pods.get(given.next).is_some_and(|p| p.submit <= now);
            if !due {
                break;
            }
            let row = given.next as u32;
            given.next += 1;
            if given.kind(row).is_some() && !given.live.contains_key(&row) && !given.figures.was_bound(row) {
                self.submit(row);
            }
        }
        while let Some(given) = self.given_mut() {
            let Some(Reverse((at, anew, row))) = given.ends.peek().copied() else { break };
            if at > now {
                break;
            }
            given.ends.pop();
            let seat = given.live.get(&row).filter(|l| l.anew == anew).and_then(|l| l.bound);
            let Some((node, _)) = seat else { continue };
            if self.is_silent(node) || self.nodes[node.index()].lost {
                if let Some(given) = self.given_mut() {
                    given.ends.push(Reverse((now + TELL_AGAIN, anew, row)));
                }
                continue;
            }
            self.end_given(row, "Succeeded");
        }
        self.wake_kube_scheduler();
        self.wake_given();
    }

    fn wake_given(&mut self) {
        let Some(at) = self.given_mut().and_then(|g| g.next_due()) else { return };
        let at = at.max(self.queue.now());
        if self.queue.timer(Timer::GivenPods) != Some(at) {
            self.schedule_timer_if_due(Timer::GivenPods, at, Phase::State);
        }
    }

    fn submit(&mut self, row: u32) {
        let now = self.queue.now();
        let counted = now >= self.warm_up;
        let Some(given) = self.given_mut() else { return };
        let Some(kind) = given.kind(row) else { return };
        given.live.insert(row, Live { submitted: now, bound: None, starts: None, unschedulable: None, anew: 0 });
        given.figures.submitted(kind.takes.gpus, counted);
        self.kube_mut().queue.add(given_key(row), kind.priority, now);
    }

    /// A pod of the file is bound: its kubelet sets it up, and it runs for its time.
    pub(super) fn bind_given(&mut self, row: u32, node: NodeId, at_start: bool) {
        let now = self.queue.now();
        let Some(given) = &self.kube().given else { return };
        let (Some(kind), Some(pod)) = (given.kind(row), given.pod(row).copied()) else { return };
        let anew = given.live.get(&row).map_or(0, |l| l.anew);
        let draw = Draw::new(given.draws).of(u64::from(row) << 16 | u64::from(anew));
        self.apply(Command::Node { node, step: NodeStep::Hold(kind.takes) });
        self.nodes[node.index()].placed += 1;
        self.pod_event(node);
        let capacity = self.cluster.node(node).spec.capacity;
        let wait = match self.capacities[capacity.index()].plan.instances() {
            _ if at_start => SimDuration::ZERO,
            None => SimDuration::ZERO,
            Some(i) => {
                draw_time(self.kube().settings.kubelet_sync.law(), draw, purpose::KUBELET)
                    + draw_time(i.tasks.eni_attach.law(), draw, purpose::ENI)
                    + draw_time(i.tasks.container_start.law(), draw, purpose::STARTUP)
            }
        };
        let starts = now.saturating_add(wait);
        self.kube_mut().scheduler.set_start(given_key(row), starts);
        let counted = now >= self.warm_up;
        let Some(given) = self.given_mut() else { return };
        given.seat(row, node);
        if let Some(live) = given.live.get_mut(&row) {
            (live.bound, live.starts) = (Some((node, now)), Some(starts));
            let waited = now.since(live.submitted);
            given.figures.placed(waited, counted, anew == 0);
        }
        if at_start {
            given.figures.bound_at_start(row);
        }
        if pod.duration < SimDuration::MAX {
            given.ends.push(Reverse((starts.saturating_add(pod.duration), anew, row)));
            self.wake_given();
        }
    }

    /// Gives back what a pod of the file holds.
    fn unbind_given(&mut self, row: u32) {
        let Some(given) = self.given_mut() else { return };
        let Some(kind) = given.kind(row) else { return };
        let seat = given.live.get_mut(&row).and_then(|l| l.bound.take());
        let key = given_key(row);
        let Some((node, _)) = seat else {
            self.kube_mut().queue.remove(key);
            return;
        };
        given.unseat(row, node);
        self.kube_mut().scheduler.remove(key);
        self.apply(Command::Node { node, step: NodeStep::Release(kind.takes) });
        self.pod_event(node);
        self.cluster_event(ClusterEvent::PodRemoved);
        self.wake_update(self.cluster.node(node).spec.capacity);
    }

    /// A pod of the file is gone for good.
    fn end_given(&mut self, row: u32, outcome: &'static str) {
        self.record_given(row, outcome);
        self.unbind_given(row);
        let counted = self.queue.now() >= self.warm_up;
        if let Some(given) = self.given_mut() {
            given.live.swap_remove(&row);
            given.figures.ended(outcome, counted);
        }
    }

    /// A pod of the file has to go: its controller makes it anew, unless it has none.
    pub(super) fn delete_given(&mut self, row: u32, outcome: &'static str) {
        let now = self.queue.now();
        let Some(kind) = self.kube().given.as_ref().and_then(|g| g.kind(row)) else { return };
        if !kind.owner.replaces() {
            self.end_given(row, outcome);
            return;
        }
        self.unbind_given(row);
        let counted = now >= self.warm_up;
        if let Some(given) = self.given_mut()
            && let Some(live) = given.live.get_mut(&row)
        {
            live.anew += 1;
            (live.starts, live.unschedulable) = (None, None);
            given.figures.made_anew(counted);
        }
        self.kube_mut().queue.add(given_key(row), kind.priority, now);
        self.wake_kube_scheduler();
    }

    /// A machine stops: the pods of the file on it are lost.
    pub(in crate::simulation) fn lose_given(&mut self, node: NodeId) {
        let Some(given) = self.kube.as_ref().and_then(|k| k.given.as_ref()) else { return };
        for row in given.on(node).to_vec() {
            self.delete_given(row, "NodeLost");
        }
    }

    /// Pods of the file that keep a node from being drained: those of DaemonSets do not.
    pub(super) fn given_in_the_way(&self, node: NodeId) -> Vec<u32> {
        let Some(given) = &self.kube().given else { return Vec::new() };
        let moves = |row: &&u32| given.kind(**row).is_some_and(|k| k.owner != PodOwner::DaemonSet);
        given.on(node).iter().filter(moves).copied().collect()
    }

    /// The pods of a service that the file lists as there at the start.
    pub(super) fn listed_replicas(&self, service: ServiceId) -> Option<Vec<Option<usize>>> {
        self.kube().given.as_ref()?.replicas(self.services[service.index()].name)
    }

    /// Whether the nodes of the start come from a file, so that none is added to them.
    pub(in crate::simulation) fn nodes_are_given(&self) -> bool {
        let given = self.kube.as_ref().and_then(|k| k.given.as_ref());
        given.is_some_and(|g| !g.state.nodes.is_empty())
    }
}
