//! The Cluster Autoscaler at work: its scans, the sizes it sets, the nodes it takes away.

use super::super::{Simulation, Timer};
use super::given::{given_key, given_of};
use super::nodes::pods_wait;
use super::pods::pod_key;
use super::schedule::task_of;
use crate::cluster::{Command, LifeCycle, Market, NodeEnd, NodeStatus, NodeStep, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::kubernetes::cluster_autoscaler::drain::{Drain, DrainStep, Remaining};
use crate::kubernetes::cluster_autoscaler::{
    self, DELETION_TAINT, Deletion, Expander, GroupId, Memory, NodeGroup, NodeKey, NodeState, Observation, Owner,
    PendingPod, PodFacts, PodPrices, Priorities, ResizeReason, ScaleUpResult, Scan, Settings, Unregistered,
};
use crate::kubernetes::object::{Effect, Resources, Taint};
use crate::kubernetes::scheduler::{Node as KubeNode, PodKey, ShapeId};
use crate::scenario::model::{Capacity, Expander as Written, Plan, PodOwner, WorkloadKind};
use crate::units::{CapacityId, NodeId, ServiceId, TaskId};

/// The Cluster Autoscaler of a run.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Autoscaler {
    settings: Settings,
    memory: Memory,
    /// The groups it sizes, with what does not change about them.
    groups: Vec<NodeGroup>,
    drains: Vec<(NodeId, Drain)>,
    draws: u64,
    scans: u64,
    /// What was said last of pods that nobody could help.
    said: Option<ScaleUpResult>,
}

impl Autoscaler {
    pub(super) fn new(plan: &Plan, streams: &Streams) -> Option<Self> {
        let flags = plan.cluster.eks.cluster_autoscaler.as_ref()?;
        let expander = match flags.expander {
            Written::LeastWaste => Expander::LeastWaste,
            Written::Random => Expander::Random,
            Written::MostPods => Expander::MostPods,
            Written::LeastNodes => Expander::LeastNodes,
            Written::Price => Expander::Price(PodPrices::default()),
            Written::Priority => {
                let mut by: Vec<(i32, Vec<String>)> = Vec::new();
                for (name, capacity) in &plan.capacity {
                    let Capacity::NodeGroup(g) = capacity else { continue };
                    let pattern = format!("^{name}$");
                    match by.iter_mut().find(|(p, _)| *p == g.priority) {
                        Some((_, names)) => names.push(pattern),
                        None => by.push((g.priority, vec![pattern])),
                    }
                }
                Expander::Priority(Priorities(by))
            }
        };
        let settings = Settings {
            scan_interval: flags.scan_interval,
            new_pod_scale_up_delay: flags.new_pod_scale_up_delay,
            expanders: vec![expander],
            max_node_provision_time: flags.max_node_provision_time,
            max_nodes_total: flags.max_nodes_total,
            balance_similar_node_groups: flags.balance_similar_node_groups,
            scale_down_enabled: flags.scale_down_enabled,
            scale_down_utilization_threshold: flags.scale_down_utilization_threshold,
            scale_down_unneeded_time: flags.scale_down_unneeded_time,
            scale_down_delay_after_add: flags.scale_down_delay_after_add,
            scale_down_delay_after_delete: flags.scale_down_delay_after_delete,
            scale_down_delay_after_failure: flags.scale_down_delay_after_failure,
            max_graceful_termination: flags.max_graceful_termination_sec,
            expendable_pods_priority_cutoff: flags.expendable_pods_priority_cutoff,
            ignore_daemonsets_utilization: flags.ignore_daemonsets_utilization,
            ..Settings::default()
        };
        Some(Self {
            settings,
            memory: Memory::default(),
            groups: Vec::new(),
            drains: Vec::new(),
            draws: streams.root("cluster-autoscaler"),
            scans: 0,
            said: None,
        })
    }
}

const fn key(node: NodeId) -> NodeKey {
    NodeKey(node.0 as u64)
}

const fn node_of(key: NodeKey) -> NodeId {
    NodeId(key.0 as u32)
}

const fn capacity_of(group: GroupId) -> CapacityId {
    CapacityId(group.0)
}

impl Simulation<'_> {
    /// Time zero: the groups as the autoscaler finds them, and its first scan.
    pub(super) fn start_cluster_autoscaler(&mut self) {
        if self.kube().autoscaler.is_none() {
            return;
        }
        let mut groups = Vec::new();
        for capacity in self.node_capacities() {
            let Capacity::NodeGroup(plan) = self.capacities[capacity.index()].plan else { continue };
            let market =
                if self.capacities[capacity.index()].plan.buys_spot() { Market::Spot } else { Market::OnDemand };
            let Some(group) = self.group(capacity) else { continue };
            let (Some(of), Some(zone)) = (group.types.first().map(|t| t.of), group.zones.first().map(|z| z.zone))
            else {
                continue;
            };
            let price = group.pools.first().and_then(|p| match market {
                Market::OnDemand => p.on_demand,
                Market::Spot => p.spot,
            });
            let name = self.capacities[capacity.index()].name;
            let template = self.kube_node(capacity, of, zone, market, name);
            let symbols = self.kube_mut().scheduler.symbols_mut();
            let gpu = (of.gpus > 0).then(|| symbols.intern(super::shapes::GPU));
            groups.push(NodeGroup {
                id: GroupId(capacity.0),
                name: name.to_string(),
                min_size: plan.min_size,
                max_size: plan.max_size,
                target_size: 0,
                capacity: Resources {
                    cpu_m: i64::from(of.vcpus) * 1_000,
                    memory: (of.memory_mib << 20) as i64,
                    pods: template.allocatable.pods,
                    ..Resources::default()
                },
                daemon_pods: self.daemon_shapes(&template),
                template,
                price_per_hour: price.map_or(0.0, |p| p.dollars()),
                gpu,
            });
        }
        let Some(autoscaler) = &mut self.kube_mut().autoscaler else { return };
        autoscaler.groups = groups;
        let at = SimTime::ZERO + autoscaler.settings.scan_interval.mul_f64(Draw::new(autoscaler.draws).unit());
        self.schedule_timer_if_due(Timer::ClusterAutoscaler, at, Phase::Decision);
    }

    /// The DaemonSet and system pods that would run on a node.
    fn daemon_shapes(&mut self, template: &KubeNode) -> Vec<ShapeId> {
        let kube = self.kube_mut();
        let mut shapes = if kube.settings.system_pods > 0 { vec![kube.system] } else { Vec::new() };
        let sets: Vec<ShapeId> =
            kube.workloads.iter().filter(|w| w.plan.kind == WorkloadKind::DaemonSet).map(|w| w.shape).collect();
        for shape in sets {
            if kube.scheduler.fits_template(shape, template) == crate::kubernetes::scheduler::Code::Success {
                shapes.push(shape);
            }
        }
        shapes
    }

    /// A scan of the Cluster Autoscaler.
    pub(in crate::simulation) fn on_cluster_autoscaler(&mut self) {
        let now = self.queue.now();
        let Some(mut autoscaler) = self.kube_mut().autoscaler.take() else { return };
        autoscaler.scans += 1;
        for group in &mut autoscaler.groups {
            group.target_size = self.group(capacity_of(group.id)).map_or(0, |g| g.desired);
        }
        let (nodes, unregistered) = self.nodes_for_scan(&autoscaler);
        let errors: Vec<(GroupId, u32)> = autoscaler
            .groups
            .iter()
            .filter_map(|g| {
                let group = self.group(capacity_of(g.id))?;
                let missing = group.desired.saturating_sub(self.members(capacity_of(g.id)).count() as u32);
                let refused = group.zones.iter().all(|z| z.shut_until > now);
                (refused && missing > 0).then_some((g.id, missing))
            })
            .collect();
        let pending = self.pending_pods();
        let budgets: Vec<(ServiceId, i32)> = (0..self.services.len())
            .map(ServiceId::from)
            .filter_map(|s| Some((s, self.budget_of(s)?.disruptions_allowed)))
            .collect();
        let allowed: Vec<i32> = budgets.iter().map(|b| b.1).collect();
        let facts = |pod: PodKey| self.facts_of(pod, &budgets);
        let scan = cluster_autoscaler::scan(
            &autoscaler.settings,
            &autoscaler.memory,
            &Observation {
                scheduler: &self.kube().scheduler,
                groups: &autoscaler.groups,
                nodes: &nodes,
                unregistered: &unregistered,
                creation_errors: &errors,
                pending: &pending,
                facts: &facts,
                budgets: &allowed,
                draw: Draw::new(autoscaler.draws).of(autoscaler.scans).bits(),
                now,
            },
        );
        autoscaler.memory = scan.memory.clone();
        let next = scan.next_scan;
        let news = matches!(scan.scale_up, ScaleUpResult::NoOptions { .. } | ScaleUpResult::MaxNodesTotalReached)
            && autoscaler.said.as_ref() != Some(&scan.scale_up);
        autoscaler.said = Some(scan.scale_up.clone());
        self.kube_mut().autoscaler = Some(autoscaler);
        self.obey_scan(&scan, news);
        self.schedule_timer_if_due(Timer::ClusterAutoscaler, next, Phase::Decision);
    }

    fn nodes_for_scan(&self, autoscaler: &Autoscaler) -> (Vec<NodeState>, Vec<Unregistered>) {
        let (mut nodes, mut unregistered) = (Vec::new(), Vec::new());
        for capacity in self.node_capacities() {
            let group = GroupId(capacity.0);
            let managed = autoscaler.groups.iter().any(|g| g.id == group).then_some(group);
            for n in self.cluster.nodes_of(capacity) {
                match self.kube().seat_of(n.id) {
                    Some(seat) => nodes.push(NodeState {
                        key: key(n.id),
                        node: seat,
                        group: managed,
                        ready: !self.is_unreachable(n.id),
                        created: n.times.registered.unwrap_or(n.times.launched),
                        deleted: n.life >= LifeCycle::Terminating || self.leaves(n.id),
                        scale_down_disabled: false,
                    }),
                    None if n.life < LifeCycle::Terminating => {
                        unregistered.extend(managed.map(|group| Unregistered {
                            key: key(n.id),
                            group,
                            since: n.times.launched,
                        }));
                    }
                    None => {}
                }
            }
        }
        (nodes, unregistered)
    }

    /// Pods that the scheduler has marked as unschedulable.
    pub(super) fn pending_pods(&self) -> Vec<PendingPod> {
        let mut pending = Vec::new();
        for service in self.cluster.services() {
            // Nodes bring the pods of DaemonSets with them, not the other way round.
            if self.kube().workloads[service.id.index()].plan.kind == WorkloadKind::DaemonSet {
                continue;
            }
            for t in self.cluster.tasks_of(service.id) {
                let pod = &self.kube().pods[t.id.index()];
                if pod.unschedulable.is_some() && !pod.bound && t.stop_code.is_none() {
                    let nominated =
                        self.kube().scheduler.nominations().iter().find(|n| n.pod == pod_key(t.id)).map(|n| n.node);
                    pending.push(PendingPod {
                        pod: pod_key(t.id),
                        shape: pod.shape,
                        created: t.times.requested,
                        nominated,
                    });
                }
            }
        }
        for (row, shape, created) in self.kube().given.iter().flat_map(super::given::Given::refused) {
            let pod = given_key(row);
            let nominated = self.kube().scheduler.nominations().iter().find(|n| n.pod == pod).map(|n| n.node);
            pending.push(PendingPod { pod, shape, created, nominated });
        }
        pending
    }

    fn facts_of(&self, pod: PodKey, budgets: &[(ServiceId, i32)]) -> PodFacts {
        if let Some(kind) = given_of(pod).and_then(|row| self.kube().given.as_ref()?.kind(row)) {
            return PodFacts {
                owner: match kind.owner {
                    PodOwner::Nobody => Owner::Nobody,
                    PodOwner::DaemonSet => Owner::DaemonSet,
                    PodOwner::ReplicaSet | PodOwner::StatefulSet | PodOwner::Job => Owner::Controller,
                },
                system: kind.system,
                ..PodFacts::default()
            };
        }
        let Some(task) = task_of(pod) else {
            return PodFacts { owner: Owner::DaemonSet, system: true, ..PodFacts::default() };
        };
        let t = self.cluster.task(task);
        let k = self.kube().workloads[t.service.index()].plan;
        PodFacts {
            owner: match k.kind {
                WorkloadKind::DaemonSet => Owner::DaemonSet,
                WorkloadKind::Deployment | WorkloadKind::StatefulSet => Owner::Controller,
            },
            safe_to_evict: k.safe_to_evict,
            local_storage: false,
            system: k.namespace == "kube-system",
            finished: t.status >= TaskStatus::Deprovisioning,
            budgets: budgets.iter().enumerate().filter(|(_, b)| b.0 == t.service).map(|(at, _)| at).collect(),
        }
    }

    fn obey_scan(&mut self, scan: &Scan, news: bool) {
        for resize in &scan.resizes {
            let capacity = capacity_of(resize.group);
            let (reason, text) = match resize.why {
                ResizeReason::Pods => {
                    let pods = match &scan.scale_up {
                        ScaleUpResult::Grown { pods, .. } => *pods,
                        _ => 0,
                    };
                    ("scale_up", format!("{} for a node", pods_wait(pods as usize)))
                }
                ResizeReason::CreationErrors => ("creation_errors", "instances could not be launched".to_string()),
                ResizeReason::NeverCame => ("provision_timeout", "instances did not join in time".to_string()),
            };
            self.record_autoscaler(capacity, Some((resize.from, resize.to)), reason, text);
            self.set_group_size(capacity, resize.to);
        }
        for &gone in &scan.remove_unregistered {
            self.terminate_node(node_of(gone), NodeEnd::LaunchFailed);
        }
        if news {
            let text = match &scan.scale_up {
                ScaleUpResult::MaxNodesTotalReached => "the cluster has as many nodes as it may".to_string(),
                ScaleUpResult::NoOptions { pods, considered } => {
                    let said: Vec<String> = considered
                        .iter()
                        .map(|(g, c)| format!("{}: {c:?}", self.capacities[capacity_of(*g).index()].name))
                        .collect();
                    format!("{}, and no group helps ({})", pods_wait(*pods as usize), said.join(", "))
                }
                _ => String::new(),
            };
            if let Some(capacity) = self.node_capacities().first().copied() {
                self.record_autoscaler(capacity, None, "no_scale_up", text);
            }
        }
        for deletion in &scan.deletions {
            self.begin_deletion(deletion);
        }
    }

    fn record_autoscaler(
        &mut self,
        capacity: CapacityId,
        sizes: Option<(u32, u32)>,
        reason: &'static str,
        text: String,
    ) {
        let sizes = sizes.map(|(from, to)| (from.into(), to.into()));
        self.record_on_nodes("cluster_autoscaler", capacity, sizes, reason, text, None);
    }

    /// A node that is not needed: it is tainted, and its deletion begins.
    fn begin_deletion(&mut self, deletion: &Deletion) {
        let now = self.queue.now();
        let node = node_of(deletion.node);
        let capacity = capacity_of(deletion.group);
        let size = self.group(capacity).map_or(0, |g| g.desired);
        let used = 100.0 * deletion.utilization.value();
        let text = format!(
            "node {} has been unneeded for long enough: {used:.0} % of it is requested, {} pods move",
            node.0,
            deletion.pods.len()
        );
        self.record_autoscaler(capacity, Some((size, size.saturating_sub(1))), "scale_down", text);
        self.taint_for_deletion(node, true);
        if let Some(autoscaler) = &mut self.kube_mut().autoscaler {
            autoscaler.drains.push((node, Drain::new(!deletion.drain, now)));
        }
        self.go_on_deleting(node);
    }

    fn taint_for_deletion(&mut self, node: NodeId, on: bool) {
        let status = self.cluster.node(node).status;
        match (on, status) {
            (true, NodeStatus::Active) => self.apply(Command::Node { node, step: NodeStep::Drain }),
            (false, NodeStatus::Draining) => self.apply(Command::Node { node, step: NodeStep::Activate }),
            _ => {}
        }
        let kube = self.kube_mut();
        let Some(seat) = kube.seat_of(node) else { return };
        let symbols = kube.scheduler.symbols_mut();
        let (deletion, nothing) = (symbols.intern(DELETION_TAINT), symbols.intern(""));
        if let Some(seen) = kube.scheduler.node(seat).cloned() {
            let mut seen = KubeNode { unschedulable: on, ..seen };
            seen.taints.retain(|t| t.key != deletion);
            if on {
                seen.taints.push(Taint { key: deletion, value: nothing, effect: Effect::NoSchedule });
            }
            kube.scheduler.update_node(seat, seen);
        }
    }

    /// The next step of a deletion.
    pub(super) fn go_on_deleting(&mut self, node: NodeId) -> bool {
        let now = self.queue.now();
        let Some(autoscaler) = &self.kube().autoscaler else { return false };
        let Some(at) = autoscaler.drains.iter().position(|(n, _)| *n == node) else { return false };
        let settings = autoscaler.settings.clone();
        let remaining: Vec<Remaining> = self
            .in_the_way(node)
            .into_iter()
            .map(|task| {
                let t = self.cluster.task(task);
                let k = self.kube().workloads[t.service.index()].plan;
                Remaining {
                    pod: pod_key(task),
                    terminating: t.stop_code.is_some(),
                    grace: SimDuration::from_secs(u64::from(k.termination_grace_period_seconds)),
                }
            })
            .collect();
        let guests = self.given_in_the_way(node);
        let remaining: Vec<Remaining> = guests
            .into_iter()
            .map(|row| Remaining { pod: given_key(row), terminating: false, grace: SimDuration::ZERO })
            .chain(remaining)
            .collect();
        let Some(autoscaler) = &mut self.kube_mut().autoscaler else { return false };
        match autoscaler.drains[at].1.step(&settings, &remaining, now) {
            DrainStep::Wait(until) => self.schedule_timer_if_due(Timer::Drain(node), until, Phase::Decision),
            DrainStep::Evict(pods, again) => {
                let mut granted = true;
                for row in pods.iter().copied().filter_map(given_of) {
                    self.delete_given(row, "Evicted");
                }
                for task in pods.into_iter().filter_map(task_of).collect::<Vec<TaskId>>() {
                    granted &= self.evict(task, "Evicted: the Cluster Autoscaler removes its node").granted();
                }
                let at = if granted { now + SimDuration::from_secs(1) } else { again };
                self.schedule_timer_if_due(Timer::Drain(node), at, Phase::Decision);
            }
            DrainStep::Delete => {
                self.end_deletion(node, true);
                let capacity = self.cluster.node(node).spec.capacity;
                if let Some(group) = self.group_mut(capacity) {
                    group.desired = group.desired.saturating_sub(1);
                }
                self.terminate_node(node, NodeEnd::ScaleIn);
            }
            DrainStep::Fail(why) => {
                self.end_deletion(node, false);
                self.taint_for_deletion(node, false);
                let capacity = self.cluster.node(node).spec.capacity;
                let text = format!("the removal of node {} failed: {why:?}", node.0);
                self.record_autoscaler(capacity, None, "scale_down_failed", text);
                self.cluster_event(crate::kubernetes::scheduler::ClusterEvent::NodeTaints);
            }
        }
        true
    }

    /// A deletion is over, well or not.
    pub(super) fn end_deletion(&mut self, node: NodeId, succeeded: bool) {
        let now = self.queue.now();
        if let Some(autoscaler) = &mut self.kube_mut().autoscaler {
            let before = autoscaler.drains.len();
            autoscaler.drains.retain(|(n, _)| *n != node);
            if autoscaler.drains.len() < before {
                autoscaler.memory.deletion_finished(key(node), succeeded, now);
            }
        }
    }
}
