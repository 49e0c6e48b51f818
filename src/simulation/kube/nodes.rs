//! Nodes as Kubernetes sees them: what they offer, when they are ready, how groups grow and shrink.

use serde_json::Value as Json;

use super::super::nodes::NodeType;
use super::super::{Simulation, Timer};
use super::shapes::{self, arch, label, millicores};
use crate::catalog::{Arch, InstanceType};
use crate::cluster::{Market, NodeEnd, NodeStatus, Resources};
use crate::kernel::SimTime;
use crate::kubernetes::allocatable::{DEFAULT_EPHEMERAL_STORAGE, KubeletConfiguration, Reserved, Threshold};
use crate::kubernetes::cni::EniLimits;
use crate::kubernetes::object::{Labels, Resources as Amounts, Symbols, Taint};
use crate::kubernetes::scheduler::{ClusterEvent, Code, Node as KubeNode, NodeId as Seat, PodKey};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{Capacity, Eks, Instances, Kubelet, NodeTaint};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, TaskId, ZoneId};

/// A node that is being drained.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Drain {
    pub(super) node: NodeId,
    /// Why it is terminated when it is empty; absent where somebody else does that.
    pub(super) why: Option<NodeEnd>,
    /// When it ends whatever still runs.
    pub(super) deadline: Option<SimTime>,
}

/// Keys of the system pods of nodes: beside all tasks.
pub(super) const SYSTEM: u64 = 1 << 40;

/// What a node of a type has for pods, the system's included. Its memory is what the image registers, not the estimate that
/// Karpenter reckons with.
fn allocatable(of: &InstanceType, kubelet: &Kubelet, settings: &Eks) -> Amounts {
    let addresses = EniLimits::of(of, 0);
    let most = match settings.vpc_cni.enable_prefix_delegation {
        true => addresses.max_pods_with_prefixes(of.vcpus),
        false => addresses.max_pods(),
    };
    let bytes = |b: Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
    let config = KubeletConfiguration {
        max_pods: kubelet.max_pods,
        kube_reserved: Reserved {
            cpu_m: kubelet.kube_reserved_cpu.map(millicores),
            memory: kubelet.kube_reserved_memory.map(bytes),
            ephemeral_storage: None,
        },
        system_reserved: Reserved {
            cpu_m: Some(millicores(kubelet.system_reserved_cpu)),
            memory: Some(bytes(kubelet.system_reserved_memory)),
            ephemeral_storage: None,
        },
        eviction_memory: Threshold::Bytes(bytes(kubelet.eviction_hard_memory)),
        ..KubeletConfiguration::default()
    };
    config.allocatable(&Amounts {
        cpu_m: i64::from(of.vcpus) * 1_000,
        memory: bytes(Bytes::from_mib(of.registered_memory_mib())),
        // No pod of the language asks for any.
        ephemeral_storage: DEFAULT_EPHEMERAL_STORAGE,
        pods: i64::from(config.pods(most, of.vcpus)),
        extended: Vec::new(),
    })
}

impl Capacity {
    /// Settings of the kubelet of its nodes.
    pub(in crate::simulation) fn kubelet(&self) -> Option<&Kubelet> {
        match self {
            Self::NodeGroup(g) => Some(&g.kubelet),
            Self::NodePool(p) => Some(&p.kubelet),
            Self::SelfManaged(s) => Some(&s.kubelet),
            _ => None,
        }
    }

    fn taints(&self) -> &[NodeTaint] {
        match self {
            Self::NodeGroup(g) => &g.taints,
            Self::NodePool(p) => &p.taints,
            _ => &[],
        }
    }
}

impl NodeType {
    /// A type of a node, with what is left on it for pods beside the system's.
    pub(in crate::simulation) fn of_node(
        of: &'static InstanceType,
        kubelet: &Kubelet,
        settings: &Eks,
        instances: &Instances<'_>,
    ) -> Self {
        let all = allocatable(of, kubelet, settings);
        let unsigned = |v: i64| u64::try_from(v).unwrap_or(0);
        let (cpu, memory) = settings.system_requests();
        let offers = Resources {
            cpu: Cpu::from_parts(unsigned(all.cpu_m) * 128).saturating_sub(cpu),
            memory: Bytes::new(unsigned(all.memory).saturating_sub(memory.get())),
            gpus: of.gpus,
            enis: u32::try_from(all.pods).unwrap_or(0).saturating_sub(settings.system_pods),
        };
        Self { of, own: None, offers, speed: instances.speed(of.name) }
    }
}

impl super::Kube<'_> {
    /// The node of a place in the scheduler's cache.
    pub(super) fn node_at(&self, seat: Seat) -> Option<NodeId> {
        self.nodes_of_seats.get(seat.0 as usize).copied().flatten()
    }

    /// The place of a node in the scheduler's cache.
    pub(super) fn seat_of(&self, node: NodeId) -> Option<Seat> {
        self.seats.get(node.index()).copied().flatten()
    }
}

impl Simulation<'_> {
    /// A node of a type in a zone as the scheduler sees it.
    pub(super) fn kube_node(
        &mut self,
        capacity: CapacityId,
        of: &InstanceType,
        zone: ZoneId,
        market: Market,
        name: &str,
    ) -> KubeNode {
        let plan = self.capacities[capacity.index()].plan;
        let capacity_name = self.capacities[capacity.index()].name;
        let region = self.plan.cluster.region.clone();
        let settings = self.kube().settings;
        let kubelet = plan.kubelet().cloned().unwrap_or_default();
        let mut allocatable = allocatable(of, &kubelet, settings);
        let zone_name = zone_name(&region, zone);
        let symbols = self.kube_mut().scheduler.symbols_mut();
        if of.gpus > 0 {
            allocatable.set_extended(symbols.intern(shapes::GPU), i64::from(of.gpus));
        }
        let architecture = match of.arch {
            Arch::Arm => crate::scenario::model::Architecture::Arm,
            Arch::X86 => crate::scenario::model::Architecture::X86,
        };
        let mut labels: Vec<(&str, &str)> = vec![
            (label::HOSTNAME, name),
            (label::ZONE, &zone_name),
            (label::REGION, &region),
            (label::INSTANCE_TYPE, of.name),
            (label::ARCH, arch(architecture)),
            (label::OS, "linux"),
        ];
        match plan {
            Capacity::NodeGroup(_) => {
                labels.push((label::NODE_GROUP, capacity_name));
                labels.push((label::CAPACITY_TYPE, if market == Market::Spot { "SPOT" } else { "ON_DEMAND" }));
            }
            Capacity::SelfManaged(_) => {}
            _ => {
                labels.push((label::NODE_POOL, capacity_name));
                let word = if market == Market::Spot { "spot" } else { "on-demand" };
                labels.push((label::KARPENTER_CAPACITY_TYPE, word));
            }
        }
        // The labels of a NodePool, which may change, come with the claim.
        if let (Capacity::NodeGroup(_), Some(instances)) = (plan, plan.instances()) {
            labels.extend(instances.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        }
        let labels = interned(symbols, &labels);
        let taints: Vec<Taint> = plan.taints().iter().map(|t| shapes::taint(t, symbols)).collect();
        KubeNode { labels, taints, ..KubeNode::new(symbols.intern(name), allocatable) }
    }

    /// A node is Ready: the scheduler may use it.
    pub(in crate::simulation) fn node_is_ready(&mut self, node: NodeId) {
        let now = self.queue.now();
        if let Some(seat) = self.kube().seat_of(node) {
            // It was cordoned and takes pods again.
            let kube = self.kube_mut();
            if let Some(seen) = kube.scheduler.node(seat).cloned() {
                kube.scheduler.update_node(seat, KubeNode { unschedulable: false, ..seen });
            }
            self.cluster_event(ClusterEvent::NodeTaints);
            self.wake_daemon_sets();
            return;
        }
        let n = self.cluster.node(node);
        let spec = n.spec;
        let Some(kind) = self.group(spec.capacity).and_then(|g| g.types.get(spec.kind as usize)).copied() else {
            return;
        };
        let given = self.given_node(node);
        let name = self.node_name(node);
        let mut seen = match kind.own {
            Some(sizes) => self.machine_node(sizes, spec.zone, &name),
            None => self.kube_node(spec.capacity, kind.of, spec.zone, spec.market, &name),
        };
        if let Some(given) = given {
            seen = self.dress(&given, seen);
        }
        if let Some((labels, taints)) = self.claim_template(node) {
            let known: Vec<_> = seen.labels.iter().collect();
            seen.labels = labels.iter().chain(known).collect();
            seen.taints = taints;
        }
        let kube = self.kube_mut();
        let seat = kube.scheduler.add_node(seen);
        // One shape stands for all of them.
        if kube.settings.system_pods > 0 {
            kube.scheduler.place(PodKey(SYSTEM | u64::from(node.0)), kube.system, seat, now);
        }
        let (at, place) = (node.index(), seat.0 as usize);
        if kube.seats.len() <= at {
            kube.seats.resize(at + 1, None);
        }
        kube.seats[at] = Some(seat);
        if kube.nodes_of_seats.len() <= place {
            kube.nodes_of_seats.resize(place + 1, None);
        }
        kube.nodes_of_seats[place] = Some(node);
        self.cluster_event(ClusterEvent::NodeAdded);
        self.wake_daemon_sets();
    }

    /// A node is cordoned: nothing new comes.
    pub(in crate::simulation) fn node_is_cordoned(&mut self, node: NodeId) {
        let kube = self.kube_mut();
        let Some(seat) = kube.seat_of(node) else { return };
        if let Some(seen) = kube.scheduler.node(seat).cloned() {
            kube.scheduler.update_node(seat, KubeNode { unschedulable: true, ..seen });
        }
    }

    /// A node is gone: the scheduler forgets it.
    pub(in crate::simulation) fn node_is_gone(&mut self, node: NodeId) {
        let kube = self.kube_mut();
        let was_there = kube.seats.get_mut(node.index()).and_then(Option::take);
        if let Some(seat) = was_there {
            kube.scheduler.remove_node(seat);
            kube.nodes_of_seats[seat.0 as usize] = None;
        }
        kube.drains.retain(|d| d.node != node);
        kube.node_controller.forget(node);
        kube.refusals.shift_remove(&node);
        self.end_deletion(node, true);
        self.claim_is_gone(node);
        self.queue.cancel_timer(Timer::Drain(node));
        self.queue.cancel_timer(Timer::Silence(node));
        if was_there.is_some() {
            self.cluster_event(ClusterEvent::NodeRemoved);
        }
        self.wake_daemon_sets();
    }

    /// Whether a node belongs to Karpenter.
    pub(super) fn is_of_karpenter(&self, node: NodeId) -> bool {
        matches!(self.capacities[self.cluster.node(node).spec.capacity.index()].plan, Capacity::NodePool(_))
    }

    /// Adds a node that has run for long, for a pod at the start: in the first group that may grow
    /// and whose nodes would take it. False where there is none.
    pub(super) fn grow_at_start(&mut self, task: TaskId) -> bool {
        for capacity in self.node_capacities() {
            let Capacity::NodeGroup(group) = self.capacities[capacity.index()].plan else { continue };
            let size = self.group(capacity).map_or(0, |g| g.desired);
            if group.desired_size.is_some() || size >= group.max_size {
                continue;
            }
            if self.template_takes(capacity, task) && self.add_at_start(capacity, 1) {
                return true;
            }
        }
        false
    }

    /// Whether an empty node of a group would take a pod, in some zone of the group.
    fn template_takes(&mut self, capacity: CapacityId, task: TaskId) -> bool {
        let Some(group) = self.group(capacity) else { return false };
        let Some(of) = group.types.first().map(|t| t.of) else { return false };
        let zones: Vec<ZoneId> = group.zones.iter().map(|z| z.zone).collect();
        let market = match self.capacities[capacity.index()].plan.buys_spot() {
            true => Market::Spot,
            false => Market::OnDemand,
        };
        let shape = self.shape_of(task);
        zones.into_iter().any(|zone| {
            let node = self.kube_node(capacity, of, zone, market, "template");
            self.kube_mut().scheduler.fits_template(shape, &node) == Code::Success
        })
    }

    /// Sets how many nodes a group is to have; the Auto Scaling group behind it brings it there.
    pub(super) fn set_group_size(&mut self, capacity: CapacityId, size: u32) {
        if let Some(group) = self.group_mut(capacity) {
            group.desired = size;
        }
        self.wake_group(capacity);
    }

    /// A Spot node has its notice: it is drained, at most until it is taken.
    pub(in crate::simulation) fn node_has_notice(&mut self, node: NodeId, until: SimTime) {
        let acts = match self.capacities[self.cluster.node(node).spec.capacity.index()].plan {
            Capacity::NodePool(_) => {
                self.kube().settings.karpenter.interruption_queue == crate::scenario::model::Switch::Enabled
            }
            // A managed node group drains on the notice.
            _ => true,
        };
        if acts && self.is_of_karpenter(node) {
            self.claim_has_notice(node);
        } else if acts && self.cluster.node(node).status == NodeStatus::Active {
            self.drain_pods(node, NodeEnd::SpotInterruption, Some(until));
        }
    }

    /// The row of what a controller decides on the nodes of a capacity.
    pub(super) fn record_on_nodes(
        &mut self,
        controller: &'static str,
        capacity: CapacityId,
        sizes: Option<(i64, i64)>,
        reason: &'static str,
        text: String,
        detail: Option<&DecisionDetail>,
    ) {
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: controller.into(),
            subject: format!("capacity.{}", self.capacities[capacity.index()].name).into(),
            from: sizes.map(|s| s.0),
            result: sizes.map(|s| s.1),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let nothing = DecisionDetail { observation: Json::Null, memory: Json::Null };
        self.recorder.decision(&row, detail.unwrap_or(&nothing));
    }

    /// The timer of a drain rang.
    pub(in crate::simulation) fn on_drain(&mut self, node: NodeId) {
        if !self.go_on_deleting(node) && !self.go_on_terminating(node) {
            self.go_on_draining(node);
        }
    }
}

/// How many pods wait, in words.
pub(super) fn pods_wait(pods: usize) -> String {
    match pods {
        1 => "1 pod waits".to_string(),
        n => format!("{n} pods wait"),
    }
}

/// The name of a zone of a region.
pub(super) fn zone_name(region: &str, zone: ZoneId) -> String {
    let letter = char::from(b'a' + zone.0.min(25) as u8);
    format!("{region}{letter}")
}

fn interned(symbols: &mut Symbols, pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect()
}
