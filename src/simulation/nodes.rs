//! The life of a container instance: request, boot, agent, tasks, draining, end.

use indexmap::IndexMap;

use super::images::ImageCache;
use super::start::draw_time;
use super::trouble::TroubleKind;
use super::{Simulation, Timer};
use crate::catalog::{Arch, Catalog, CatalogError, InstanceType};
use crate::cluster::{
    Command, LifeCycle, Market, NodeEnd, NodeSpec, NodeStatus, NodeStep, Resources, StopCode, TaskStatus,
};
use crate::kernel::{Draw, Phase, SimDuration, SimTime};
use crate::scenario::instances::allowed_types;
use crate::scenario::model::{Architecture, Capacity, EcsAgent, Inputs, Instances, NodeSizes, Plan, Switch};
use crate::traffic::{self, BurstMode, BurstSpec, NodeSlot};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, TaskId, ZoneId};

/// Purposes of an instance's draws.
mod purpose {
    pub(super) const REQUEST: u64 = 1;
    pub(super) const BOOT: u64 = 2;
    pub(super) const AGENT: u64 = 3;
    pub(super) const HOOK: u64 = 4;
    pub(super) const TERMINATION: u64 = 5;
    pub(super) const WARM_START: u64 = 6;
}

/// What [`Timer::Node`] does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum NextStep {
    #[default]
    None,
    /// The operating system runs.
    Booted,
    /// The launch hook has let it go.
    HookDone,
    /// Draining has taken as long as it may.
    DrainEnds,
    /// It is gone.
    Gone,
}

/// An instance type of a capacity.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeType {
    pub(super) of: &'static InstanceType,
    /// Its sizes, where it is no EC2 instance.
    pub(super) own: Option<NodeSizes>,
    /// What an instance of it registers.
    pub(super) offers: Resources,
    /// Speed of a vCPU, as a factor.
    pub(super) speed: f64,
}

impl NodeType {
    pub(super) fn new(of: &'static InstanceType, agent: &EcsAgent, instances: &Instances<'_>) -> Self {
        let memory = Bytes::from_mib(of.registered_memory_mib()).get().saturating_sub(agent.reserved_memory.get());
        Self {
            of,
            own: None,
            offers: Resources {
                cpu: Cpu::from_units(of.cpu_units()),
                memory: Bytes::new(memory),
                gpus: of.gpus,
                enis: of.task_limit(agent.awsvpc_trunking),
            },
            speed: instances.speed(of.name),
        }
    }

    /// The processor, as a task definition names it.
    pub(super) fn architecture(&self) -> Architecture {
        match self.of.arch {
            Arch::Arm => Architecture::Arm,
            Arch::X86 => Architecture::X86,
        }
    }

    /// The attributes of an instance in a zone: those that the agent registers, and those of the capacity.
    pub(super) fn attributes(&self, instances: &Instances<'_>, zone: &str) -> IndexMap<String, String> {
        let cpu = match self.of.arch {
            Arch::Arm => "arm64",
            Arch::X86 => "x86_64",
        };
        let own = [
            ("ecs.instance-type", self.of.name),
            ("ecs.availability-zone", zone),
            ("ecs.os-type", "linux"),
            ("ecs.cpu-architecture", cpu),
        ];
        let own = own.into_iter().map(|(k, v)| (k.to_string(), v.to_string()));
        own.chain(instances.attributes.iter().map(|(k, v)| (k.clone(), v.clone()))).collect()
    }

    /// The machine as the data plane has it.
    pub(super) fn machine(&self) -> traffic::NodeSpec {
        traffic::NodeSpec {
            cores: self.own.map_or(Cpu::from_vcpus(u64::from(self.of.vcpus)), |own| Cpu::from_millicores(own.cpu_m)),
            speed: self.speed,
            credits: self.of.burst.map(|b| BurstSpec {
                baseline: f64::from(b.baseline_permille) / 1000.0,
                launch_credits: f64::from(b.launch_credits),
                mode: if b.unlimited_by_default { BurstMode::Unlimited } else { BurstMode::Standard },
            }),
        }
    }
}

/// What of an instance is not the control plane's business.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeRuntime {
    pub(super) draw: u64,
    /// Its place in the data plane, until it is shut down.
    pub(super) slot: Option<NodeSlot>,
    /// CPU that its tasks wanted and did not get, in vCPU-seconds; known when it is shut down.
    pub(super) stolen: f64,
    pub(super) images: ImageCache,
    pub(super) next: NextStep,
    /// It goes into the warm pool when it is prepared.
    pub(super) for_pool: bool,
    /// Ready for the warm pool once.
    pub(super) prepared: bool,
    /// Billing began and ended.
    pub(super) billed_from: Option<SimTime>,
    pub(super) billed_until: Option<SimTime>,
    /// When EC2 takes it back, once it has said so.
    pub(super) notice_ends: Option<SimTime>,
    /// A rebalance recommendation has come.
    pub(super) at_risk: bool,
    /// Its machine has failed, whether or not anybody knows.
    pub(super) lost: bool,
    /// Being shut down: its containers have ended.
    pub(super) down: bool,
    /// CPU that its tasks burned, in vCPU-seconds, and that of it up to the last interval.
    pub(super) cpu_used: f64,
    pub(super) cpu_billed: f64,
    /// Surplus CPU credits that were billed, in vCPU-hours.
    pub(super) credits_billed: f64,
    /// The most that was ever reserved.
    pub(super) peak: Resources,
    /// Reserved CPU summed over time, in vCPU-seconds, up to `reserved_at`.
    pub(super) cpu_reserved: f64,
    pub(super) reserved_at: SimTime,
    /// What was reserved at `reserved_at`.
    pub(super) held: Resources,
    /// Tasks that were ever placed on it.
    pub(super) placed: u32,
    /// Tasks that came or went.
    pub(super) changes: u64,
}

impl Capacity {
    /// The settings of the agent; those of Managed Instances are AWS's own: trunking, draining.
    pub(super) fn agent(&self) -> EcsAgent {
        match self {
            Self::Ec2(e) => e.ecs_agent.clone(),
            _ => EcsAgent { enable_spot_instance_draining: true, awsvpc_trunking: true, ..EcsAgent::default() },
        }
    }

    /// Whether tasks are drained off an instance before it is terminated.
    pub(super) fn drains(&self) -> bool {
        match self {
            Self::Ec2(e) => e.managed_draining == Switch::Enabled,
            _ => true,
        }
    }

    /// Whether an instance with an interruption notice drains.
    pub(super) fn drains_on_notice(&self) -> bool {
        self.drains() || self.agent().enable_spot_instance_draining
    }
}

impl Simulation<'_> {
    fn node_draw(&self, node: NodeId) -> Draw {
        Draw::new(self.nodes[node.index()].draw)
    }

    /// EC2 is asked for an instance, and has one.
    pub(super) fn launch_node(
        &mut self,
        capacity: CapacityId,
        kind: u32,
        zone: ZoneId,
        market: Market,
        for_pool: bool,
    ) -> Option<NodeId> {
        let node = self.new_node(capacity, kind, zone, market)?;
        let Some(instances) = self.instances_of(capacity) else { return Some(node) };
        let draw = self.node_draw(node);
        let wait = draw_time(instances.launch.request.law(), draw, purpose::REQUEST)
            + draw_time(instances.launch.boot.law(), draw, purpose::BOOT);
        self.nodes[node.index()].for_pool = for_pool;
        self.set_node_timer(node, NextStep::Booted, self.queue.now() + wait);
        Some(node)
    }

    fn new_node(&mut self, capacity: CapacityId, kind: u32, zone: ZoneId, market: Market) -> Option<NodeId> {
        let offers = self.group(capacity)?.types.get(kind as usize)?.offers;
        self.try_apply_node(Command::LaunchNode(NodeSpec { capacity, zone, kind, market, offers }))
    }

    /// An instance that has run for long when the simulation starts.
    pub(super) fn place_running_node(
        &mut self,
        capacity: CapacityId,
        kind: u32,
        zone: ZoneId,
        market: Market,
    ) -> Option<NodeId> {
        let node = self.new_node(capacity, kind, zone, market)?;
        self.start_node_bill(node);
        self.apply(Command::Node { node, step: NodeStep::InService });
        self.apply(Command::Node { node, step: NodeStep::Register });
        self.place_daemons_at_start(node);
        Some(node)
    }

    /// A prepared instance that has waited in the warm pool for long when the simulation starts.
    pub(super) fn place_warm_node(&mut self, capacity: CapacityId, kind: u32, zone: ZoneId, market: Market) {
        if let Some(node) = self.new_node(capacity, kind, zone, market) {
            self.nodes[node.index()].prepared = true;
            self.start_node_bill(node);
            self.warm_node(node);
        }
    }

    fn instances_of(&self, capacity: CapacityId) -> Option<Instances<'_>> {
        self.capacities[capacity.index()].plan.instances()
    }

    fn set_node_timer(&mut self, node: NodeId, next: NextStep, at: SimTime) {
        self.nodes[node.index()].next = next;
        self.queue.set_timer(Timer::Node(node), at, Phase::State);
    }

    /// The timer of an instance rang.
    pub(super) fn on_node(&mut self, node: NodeId) {
        match std::mem::take(&mut self.nodes[node.index()].next) {
            NextStep::None => {}
            NextStep::Booted => self.on_booted(node),
            NextStep::HookDone => self.on_hook_done(node),
            NextStep::DrainEnds => self.shut_down(node),
            NextStep::Gone => self.on_gone(node),
        }
    }

    fn on_booted(&mut self, node: NodeId) {
        let now = self.queue.now();
        self.start_node_bill(node);
        let n = self.cluster.node(node);
        let Some(instances) = self.instances_of(n.spec.capacity) else { return };
        let draw = self.node_draw(node);
        let hook = draw_time(instances.launch.hook.law(), draw, purpose::HOOK);
        let agent = draw_time(instances.launch.agent_registration.law(), draw, purpose::AGENT);
        let runtime = &self.nodes[node.index()];
        // In the warm pool the agent stays out of the cluster until the instance is called.
        if !runtime.for_pool || runtime.prepared {
            self.queue.set_timer(Timer::Agent(node), now + agent, Phase::State);
        }
        if self.nodes[node.index()].prepared || hook.is_zero() {
            self.on_hook_done(node);
        } else {
            self.set_node_timer(node, NextStep::HookDone, now + hook);
        }
    }

    fn on_hook_done(&mut self, node: NodeId) {
        let runtime = &mut self.nodes[node.index()];
        if runtime.for_pool && !runtime.prepared {
            runtime.prepared = true;
            self.warm_node(node);
            return;
        }
        self.apply(Command::Node { node, step: NodeStep::InService });
    }

    fn warm_node(&mut self, node: NodeId) {
        self.apply(Command::Node { node, step: NodeStep::Warm });
        let capacity = self.cluster.node(node).spec.capacity;
        if !self.pool_runs(capacity) {
            self.stop_node_bill(node);
        }
    }

    /// Calls a prepared instance out of the warm pool.
    pub(super) fn wake_node(&mut self, node: NodeId) {
        let now = self.queue.now();
        let capacity = self.cluster.node(node).spec.capacity;
        self.apply(Command::Node { node, step: NodeStep::Wake });
        let start = match self.capacities[capacity.index()].plan {
            Capacity::Ec2(e) => e.warm_pool.as_ref().map(|w| w.start.law()),
            _ => None,
        };
        let wait = match start {
            Some(law) if !self.pool_runs(capacity) => draw_time(law, self.node_draw(node), purpose::WARM_START),
            _ => SimDuration::ZERO,
        };
        self.set_node_timer(node, NextStep::Booted, now + wait);
    }

    /// The agent of an instance is ready to register.
    pub(super) fn on_agent(&mut self, node: NodeId) {
        if self.cluster.node(node).status == NodeStatus::Registering {
            self.apply(Command::Node { node, step: NodeStep::Register });
        }
    }

    /// The end of an instance begins: its tasks are drained off first where that is asked for.
    pub(super) fn terminate_node(&mut self, node: NodeId, why: NodeEnd) {
        let n = self.cluster.node(node);
        if n.life >= LifeCycle::Terminating {
            return;
        }
        let capacity = n.spec.capacity;
        let (was, empty) = (n.status, n.tasks.is_empty());
        self.queue.cancel_timer(Timer::Agent(node));
        self.apply(Command::Node { node, step: NodeStep::Terminate(why) });
        let plan = self.capacities[capacity.index()].plan;
        let at_once = self.is_kube()
            || matches!(why, NodeEnd::Failure | NodeEnd::SpotInterruption | NodeEnd::MaxLifetime)
            || !plan.drains();
        if at_once || empty || matches!(was, NodeStatus::Registering | NodeStatus::Inactive) {
            self.shut_down(node);
            return;
        }
        let timeout = match plan {
            Capacity::Ec2(e) => e.draining_timeout,
            // Seven days after its draining began an instance goes, whatever runs there.
            _ => SimDuration::from_secs(7 * 86_400),
        };
        self.set_node_timer(node, NextStep::DrainEnds, self.queue.now() + timeout);
        self.drain_node(node);
        self.look_at_draining(node);
    }

    /// No more tasks for an instance; those of services are replaced elsewhere.
    pub(super) fn drain_node(&mut self, node: NodeId) {
        if self.cluster.node(node).status == NodeStatus::Active {
            self.apply(Command::Node { node, step: NodeStep::Drain });
        }
    }

    /// What an instance that drains does to the tasks on it: those of services that do not run yet stop at once.
    pub(super) fn on_draining(&mut self, node: NodeId) {
        let early: Vec<TaskId> = self
            .cluster
            .tasks_on(node)
            .filter(|t| t.status < TaskStatus::Running && t.stop_code.is_none())
            .map(|t| t.id)
            .collect();
        for task in early {
            self.tasks[task.index()].stop_reason = "Its container instance is draining".into();
            self.end_task(task, StopCode::ServiceSchedulerInitiated);
        }
        let mut services: Vec<_> = self.cluster.tasks_on(node).map(|t| t.service).collect();
        services.sort_unstable();
        services.dedup();
        for service in services {
            self.wake_scheduler(service);
        }
    }

    /// An instance that is to end and whose tasks have left is shut down.
    pub(super) fn look_at_draining(&mut self, node: NodeId) {
        let n = self.cluster.node(node);
        let waits = n.life == LifeCycle::Terminating && !self.nodes[node.index()].down;
        if !waits {
            return;
        }
        let ended = |t: &crate::cluster::Task| t.status >= TaskStatus::Deprovisioning;
        if self.cluster.tasks_on(node).all(|t| ended(t) || self.is_daemon(t.service)) {
            self.shut_down(node);
        }
    }

    /// Instances that have a machine, for which `test` holds.
    pub(super) fn running_nodes(&self, test: impl Fn(&NodeSpec) -> bool) -> Vec<NodeId> {
        let all = (0..self.capacities.len()).map(CapacityId::from).flat_map(|c| self.cluster.nodes_of(c));
        let runs = |n: &&crate::cluster::Node| {
            let runtime = &self.nodes[n.id.index()];
            !runtime.down && !runtime.lost && n.life != LifeCycle::Warmed
        };
        all.filter(runs).filter(|n| test(&n.spec)).map(|n| n.id).collect()
    }

    /// The machine of an instance fails. Its agent falls silent at once, so that nothing more is placed there; EC2 notices
    /// later. Returns the tasks on it.
    pub(super) fn lose_node(&mut self, node: NodeId, noticed_after: SimDuration) -> Vec<TaskId> {
        self.nodes[node.index()].lost = true;
        match self.is_kube() {
            true => self.node_falls_silent(node),
            false => self.pool.set_active(node, false),
        }
        self.queue.cancel_timer(Timer::Node(node));
        self.queue.cancel_timer(Timer::Agent(node));
        self.schedule_timer_if_due(Timer::NodeLost(node), self.queue.now() + noticed_after, Phase::State);
        self.cluster.node(node).tasks.clone()
    }

    /// EC2 has noticed that the machine of an instance failed: its group replaces it.
    pub(super) fn on_node_lost(&mut self, node: NodeId) {
        match self.cluster.node(node).life {
            LifeCycle::Terminated => {}
            LifeCycle::Terminating => self.shut_down(node),
            _ => self.terminate_node(node, NodeEnd::Failure),
        }
    }

    /// The machine stops: whatever still runs on it dies.
    pub(super) fn shut_down(&mut self, node: NodeId) {
        if std::mem::replace(&mut self.nodes[node.index()].down, true) {
            return;
        }
        let now = self.queue.now();
        let n = self.cluster.node(node);
        let (capacity, end) = (n.spec.capacity, n.end.unwrap_or(NodeEnd::ScaleIn));
        let code = match end {
            NodeEnd::SpotInterruption => StopCode::SpotInterruption,
            NodeEnd::Failure => StopCode::HostLost,
            _ => StopCode::TerminationNotice,
        };
        let tasks = n.tasks.clone();
        for task in tasks {
            let t = self.cluster.task(task);
            let daemon = self.is_daemon(t.service);
            if t.stop_code.is_none() {
                let reason = match end {
                    NodeEnd::SpotInterruption => "Its Spot instance was interrupted",
                    NodeEnd::Failure => "Its instance failed",
                    _ => "Its instance was terminated",
                };
                self.tasks[task.index()].stop_reason = reason.into();
                if !daemon {
                    let service = t.service;
                    let kind = match end {
                        NodeEnd::SpotInterruption => TroubleKind::Interrupted,
                        _ => TroubleKind::LostMachine,
                    };
                    self.services[service.index()].trouble.note(kind, now);
                }
                self.end_task(task, code);
            } else if t.status < TaskStatus::Deprovisioning {
                self.cut_off(task);
            }
        }
        self.lose_given(node);
        if let Some(slot) = self.nodes[node.index()].slot.take() {
            let totals = self.data.remove_node(&mut self.queue, slot);
            self.nodes[node.index()].stolen = totals.steal;
            self.charge_credits(node, totals.surplus_charged);
        }
        // EC2 does not bill an instance that is shutting down; its volume stays until it is gone.
        self.stop_node_bill(node);
        let wait = match self.instances_of(capacity) {
            Some(i) if end != NodeEnd::SpotInterruption => {
                draw_time(i.launch.termination.law(), self.node_draw(node), purpose::TERMINATION)
            }
            _ => SimDuration::ZERO,
        };
        self.set_node_timer(node, NextStep::Gone, now + wait);
    }

    fn on_gone(&mut self, node: NodeId) {
        self.end_node_bill(node);
        self.apply(Command::Node { node, step: NodeStep::Gone });
    }
}

/// The instance types of a capacity, with what an instance of each registers.
pub(super) fn types_of(
    whole: &Plan,
    inputs: &Inputs,
    catalog: &Catalog,
    (name, plan): (&str, &Capacity),
) -> Result<Vec<NodeType>, CatalogError> {
    let (region, settings) = (&whole.cluster.region, &whole.cluster.eks);
    let Some(instances) = plan.instances() else { return Ok(Vec::new()) };
    if let Capacity::NodePool(pool) = plan {
        let new = |of| NodeType::of_node(of, &pool.kubelet, settings, &instances);
        return Ok(super::kube::karpenter::types_of_pool(whole, catalog, name, pool).into_iter().map(new).collect());
    }
    if let Capacity::NodeGroup(group) = plan {
        let new = |of| NodeType::of_node(of, &group.kubelet, settings, &instances);
        return group.instance_types.iter().map(|name| Ok(new(catalog.instance_type(name)?))).collect();
    }
    if let Capacity::SelfManaged(own) = plan {
        return super::kube::types_of_state(inputs.state.as_deref(), settings, catalog, (name, own));
    }
    let agent = plan.agent();
    let new = |of: &'static InstanceType| NodeType::new(of, &agent, &instances);
    match plan {
        Capacity::Ec2(e) => e.instance_types.iter().map(|name| Ok(new(catalog.instance_type(name)?))).collect(),
        Capacity::ManagedInstances(m) => {
            Ok(allowed_types(&m.instance_requirements, region).into_iter().map(new).collect())
        }
        _ => Ok(Vec::new()),
    }
}
