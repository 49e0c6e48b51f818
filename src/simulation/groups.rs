//! Groups of instances at work: as many as desired, in which type, zone and market, and which one goes.

use super::nodes::{NodeRuntime, NodeType};
use super::reserve::ReserveRuntime;
use super::scale::to_json;
use super::{RunError, Simulation, Timer};
use crate::billing::BillingError;
use crate::capacity::auto_scaling_group::{
    self, GroupMemory, GroupObservation, GroupZone, Launch, Member, ReplaceReason, TerminationReason,
};
use crate::capacity::managed_instances::ManagedMemory;
use crate::capacity::managed_scaling::{self, protects};
use crate::capacity::mixed_instances::Pool;
use crate::capacity::spot::{SpotMarket, SpotWorld};
use crate::capacity::termination::Candidate;
use crate::capacity::warm_pool::{self, PoolObservation, Warmed};
use crate::catalog::Catalog;
use crate::cluster::{Command, Fact, LifeCycle, Made, Market, Node, NodeEnd, NodeStatus, NodeStep};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::output::{DecisionDetail, DecisionRow};
use crate::placement::pool::{ClassId, NodeClass, NodePool};
use crate::scenario::model::{
    Capacity, CapacityOption, Ec2, Inputs, NodeGroup, Plan, SchedulingStrategy, Switch, WarmPoolState,
};
use crate::units::{CapacityId, NodeId, ServiceId, TaskId, ZoneId};

/// What went wrong with a group, for the diagnoses.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupTrouble {
    /// Launches that found no capacity, and the first of them.
    pub(super) no_capacity: u64,
    pub(super) no_capacity_first: Option<SimTime>,
    /// Decisions that the group's maximum cut.
    pub(super) at_maximum: u64,
    pub(super) at_maximum_first: Option<SimTime>,
}

/// A zone of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZoneState {
    pub(super) zone: ZoneId,
    /// Until when launches there are not tried again.
    pub(super) shut_until: SimTime,
}

/// A group of instances while it runs.
pub(super) struct Group {
    pub(super) types: Vec<NodeType>,
    pub(super) zones: Vec<ZoneState>,
    /// Every type in every zone, with its prices.
    pub(super) pools: Vec<Pool>,
    /// What instances of each pool are to placement.
    classes: Vec<ClassId>,
    /// The Spot market of the pools; absent where no Spot instance is ever bought.
    pub(super) market: Option<SpotMarket>,
    /// By pool, the interruption that was announced last.
    pub(super) announced: Vec<SimTime>,
    /// What Managed Instances remember.
    pub(super) managed: ManagedMemory,
    memory: GroupMemory,
    pub(super) reserve: ReserveRuntime,
    /// CPU burned in the interval on instances that are gone, in vCPU-seconds.
    pub(super) cpu_of_gone: f64,
    /// Root of the draws of its launches.
    pub(super) draws: u64,
    /// Instances that it is to have.
    pub(super) desired: u32,
    /// Attempts to launch, found capacity or not.
    pub(super) attempts: u64,
    /// Tasks in PROVISIONING that wait for room, in the order of their launch.
    pub(super) waiting: Vec<TaskId>,
    pub(super) trouble: GroupTrouble,
    /// The Auto Scaling group behind a managed node group.
    pub(super) behind: Option<Ec2>,
}

impl Group {
    /// The group behind a capacity of the plan; `None` on Fargate.
    pub(super) fn new(
        (plan, inputs, catalog): (&Plan, &Inputs, &Catalog),
        name: &str,
        capacity: &Capacity,
        streams: &Streams,
        id: CapacityId,
        places: &mut NodePool,
    ) -> Result<Option<Self>, RunError> {
        let Some(instances) = capacity.instances() else { return Ok(None) };
        let types = super::nodes::types_of(plan, inputs, catalog, (name, capacity)).map_err(BillingError::from)?;
        let zones: Vec<ZoneId> = (0..plan.cluster.zones).filter(|z| instances.has_zone(*z)).map(ZoneId).collect();
        let region = &plan.cluster.region;
        let (mut pools, mut classes, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, t) in types.iter().enumerate() {
            let offered = catalog.offered(region, t.of.name);
            let on_demand = catalog.on_demand(region, t.of.name).map(|p| p.price.to_usd());
            let level = catalog.spot_level(region, t.of.name).map(|l| l.price.to_usd());
            let level = level.filter(|_| t.of.spot_supported && on_demand.is_some());
            for &zone in &zones {
                let letter = char::from(b'a' + zone.0.min(25) as u8);
                let sold = offered.as_ref().is_none_or(|letters| letters.contains(&letter));
                let (on_demand, spot) = (on_demand.filter(|_| sold), level.filter(|_| sold));
                named.push((t.of.name, zone.0));
                classes.push(places.class(NodeClass {
                    capacity: id,
                    zone,
                    offers: t.offers,
                    architecture: t.architecture(),
                    attributes: t.attributes(&instances, &format!("{region}{letter}")),
                }));
                pools.push(Pool { kind: kind as u32, zone, on_demand, spot, depth: 1, in_use: 0 });
            }
        }
        let market = if super::spot::buys_spot(capacity) {
            let until = SimTime::ZERO + plan.simulation.duration;
            let world = SpotWorld { catalog, region, inputs, streams: *streams, until };
            Some(SpotMarket::new(instances.spot, world, &named).map_err(BillingError::from)?)
        } else {
            None
        };
        let announced = vec![SimTime::ZERO; pools.len()];
        let zones = zones.into_iter().map(|zone| ZoneState { zone, shut_until: SimTime::ZERO }).collect();
        Ok(Some(Self {
            types,
            zones,
            pools,
            classes,
            market,
            announced,
            managed: ManagedMemory::default(),
            memory: GroupMemory::default(),
            reserve: ReserveRuntime::default(),
            cpu_of_gone: 0.0,
            draws: streams.root(&format!("instances/{name}")),
            desired: 0,
            attempts: 0,
            waiting: Vec::new(),
            trouble: GroupTrouble::default(),
            behind: match capacity {
                Capacity::NodeGroup(g) => Some(behind(g)),
                _ => None,
            },
        }))
    }

    /// Whether a type is sold in a zone and market.
    pub(super) fn sells(&self, kind: u32, zone: ZoneId, market: Market) -> bool {
        self.pools.iter().any(|p| {
            let price = match market {
                Market::OnDemand => p.on_demand,
                Market::Spot => p.spot,
            };
            p.kind == kind && p.zone == zone && price.is_some()
        })
    }

    /// What an instance of this type and zone is to placement.
    pub(super) fn class(&self, kind: u32, zone: ZoneId) -> Option<ClassId> {
        let at = self.pools.iter().position(|p| p.kind == kind && p.zone == zone)?;
        self.classes.get(at).copied()
    }
}

/// The Auto Scaling group that EKS keeps for a managed node group. Source: EKS user guide, `managed-node-groups`: On-Demand
/// types in their order, Spot by price and capacity with capacity rebalancing.
fn behind(group: &NodeGroup) -> Ec2 {
    let types: Vec<&str> = group.instance_types.iter().map(String::as_str).collect();
    let spot = group.capacity_type == CapacityOption::Spot;
    let mut asg = Ec2::of_types(&types, group.max_size);
    asg.min_size = group.min_size;
    asg.desired_capacity = group.desired_size;
    asg.zones.clone_from(&group.zones);
    asg.mixed_instances.on_demand_percentage_above_base_capacity = if spot { 0 } else { 100 };
    asg.managed_scaling.status = Switch::Disabled;
    asg.managed_draining = Switch::Disabled;
    asg.capacity_rebalance = spot;
    asg
}

impl Simulation<'_> {
    /// The group behind a capacity; none on Fargate.
    pub(super) fn group(&self, capacity: CapacityId) -> Option<&Group> {
        self.groups.get(capacity.index()).and_then(Option::as_ref)
    }

    pub(super) fn group_mut(&mut self, capacity: CapacityId) -> Option<&mut Group> {
        self.groups.get_mut(capacity.index()).and_then(Option::as_mut)
    }

    /// Whether instances of the warm pool run, and are billed.
    pub(super) fn pool_runs(&self, capacity: CapacityId) -> bool {
        match self.capacities[capacity.index()].plan {
            Capacity::Ec2(e) => e.warm_pool.as_ref().is_some_and(|w| w.pool_state == WarmPoolState::Running),
            _ => false,
        }
    }

    pub(super) fn try_apply_node(&mut self, command: Command) -> Option<NodeId> {
        match self.carry_through(command) {
            Some(Made::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Instances that count towards the size of a group: those on their way, and those in service.
    pub(super) fn members(&self, capacity: CapacityId) -> impl Iterator<Item = &Node> {
        self.cluster.nodes_of(capacity).filter(|n| {
            let runtime = &self.nodes[n.id.index()];
            match n.life {
                _ if self.leaves(n.id) => false,
                LifeCycle::InService => true,
                LifeCycle::Pending => !runtime.for_pool || runtime.prepared,
                _ => false,
            }
        })
    }

    /// What follows from a fact about instances, in the world.
    pub(super) fn follow_node(&mut self, fact: &Fact) {
        let now = self.queue.now();
        if self.is_kube()
            && let Fact::NodeLife(node, _) | Fact::NodeStatus(node, _) | Fact::TaskFreed(_, node) = *fact
        {
            self.wake_update(self.cluster.node(node).spec.capacity);
        }
        match *fact {
            Fact::NodeLaunched(node) => {
                let n = self.cluster.node(node);
                let root = self.group(n.spec.capacity).map_or(0, |g| g.draws);
                let draw = Draw::new(root).of(n.launch).bits();
                let kind = self.group(n.spec.capacity).and_then(|g| g.types.get(n.spec.kind as usize)).copied();
                let slot = kind.map(|kind| self.data.add_node(&mut self.queue, kind.machine()));
                self.nodes.push(NodeRuntime { draw, slot, reserved_at: now, ..NodeRuntime::default() });
                self.protect(node);
            }
            Fact::NodeLife(node, life) => {
                let capacity = self.cluster.node(node).spec.capacity;
                match life {
                    LifeCycle::InService => self.wake_group(capacity),
                    LifeCycle::Terminating | LifeCycle::Terminated => self.wake_group(capacity),
                    LifeCycle::Pending | LifeCycle::Warmed => {}
                }
                match life {
                    LifeCycle::Terminating if self.is_kube() => self.node_is_cordoned(node),
                    LifeCycle::Terminating => {
                        self.pool.set_active(node, false);
                        self.refresh_daemons();
                    }
                    LifeCycle::Terminated if self.is_kube() => {
                        self.node_is_gone(node);
                        self.record_node(node);
                    }
                    LifeCycle::Warmed => self.pool.remove(node),
                    LifeCycle::Terminated => {
                        self.pool.remove(node);
                        self.record_node(node);
                    }
                    LifeCycle::Pending | LifeCycle::InService => {}
                }
            }
            Fact::NodeStatus(node, NodeStatus::Active) => {
                self.protect(node);
                self.open_place(node);
                self.refresh_daemons();
            }
            Fact::NodeStatus(node, NodeStatus::Draining) if self.is_kube() => self.node_is_cordoned(node),
            Fact::NodeStatus(node, NodeStatus::Draining) => {
                self.pool.set_active(node, false);
                self.refresh_daemons();
                self.on_draining(node);
            }
            Fact::TaskPlaced(task, node) => {
                self.reserve_place(task, node);
                self.bill_place(task, node);
                self.account_reserved(node);
                let reserved = self.cluster.node(node).reserved;
                let runtime = &mut self.nodes[node.index()];
                runtime.placed += 1;
                runtime.changes += 1;
                runtime.peak.cpu = runtime.peak.cpu.max(reserved.cpu);
                runtime.peak.memory = runtime.peak.memory.max(reserved.memory);
                self.protect(node);
                self.wake_managed(node);
            }
            Fact::NodeHeld(node, _) => {
                self.account_reserved(node);
                let reserved = self.cluster.node(node).reserved;
                let runtime = &mut self.nodes[node.index()];
                runtime.changes += 1;
                runtime.peak.cpu = runtime.peak.cpu.max(reserved.cpu);
                runtime.peak.memory = runtime.peak.memory.max(reserved.memory);
                if runtime.billed_from.is_some() {
                    let held = self.cluster.node(node).held;
                    self.meter.node_held(node, held.cpu, held.memory, now);
                }
                self.wake_managed(node);
            }
            Fact::TaskFreed(task, node) => {
                self.nodes[node.index()].changes += 1;
                self.wake_managed(node);
                let service = self.cluster.task(task).service;
                if !self.is_kube() {
                    self.pool.release(node, self.services[service.index()].shape);
                }
                self.account_reserved(node);
                self.protect(node);
                self.wake_placement(self.cluster.node(node).spec.capacity);
            }
            _ => {}
        }
    }

    /// Something changed on an instance: those that are managed may be idle or underused.
    fn wake_managed(&mut self, node: NodeId) {
        let capacity = self.cluster.node(node).spec.capacity;
        if self.managed_instances(capacity).is_some() {
            self.wake_group(capacity);
        }
    }

    /// A group is to look at its instances.
    pub(super) fn wake_group(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        if self.queue.timer(Timer::Group(capacity)) != Some(now) {
            self.queue.set_timer(Timer::Group(capacity), now, Phase::Decision);
        }
    }

    /// Whether tasks of a service are one an instance.
    pub(super) fn is_daemon(&self, service: ServiceId) -> bool {
        self.services[service.index()].plan.ecs.scheduling_strategy == SchedulingStrategy::Daemon
    }

    pub(super) fn ec2(&self, capacity: CapacityId) -> Option<&Ec2> {
        match self.capacities.get(capacity.index())?.plan {
            Capacity::Ec2(e) => Some(e),
            Capacity::NodeGroup(_) => self.group(capacity)?.behind.as_ref(),
            _ => None,
        }
    }

    /// Managed termination protection: an instance is protected from its launch until it is empty.
    fn protect(&mut self, node: NodeId) {
        let n = self.cluster.node(node);
        let capacity = n.spec.capacity;
        let Some(protection) = self.ec2(capacity).map(|e| e.managed_termination_protection) else { return };
        if protection == Switch::Disabled || n.life == LifeCycle::Terminated {
            return;
        }
        let tasks = n.tasks.len() as u32;
        let daemons = self.cluster.tasks_on(node).filter(|t| self.is_daemon(t.service)).count() as u32;
        let on = n.times.registered.is_none() || protects(protection, tasks, daemons);
        if on != n.protected {
            self.apply(Command::Node { node, step: NodeStep::Protect(on) });
            if !on && self.group(capacity).is_some_and(|g| self.members(capacity).count() > g.desired as usize) {
                self.wake_group(capacity);
            }
        }
    }

    fn observe_group(&self, capacity: CapacityId) -> Option<GroupObservation> {
        let now = self.queue.now();
        let group = self.group(capacity)?;
        let max = self.ec2(capacity)?.max_size;
        let members: Vec<Member> = self
            .members(capacity)
            .map(|n| Member {
                candidate: Candidate {
                    node: n.id,
                    zone: n.spec.zone,
                    market: n.spec.market,
                    kind: n.spec.kind,
                    template: 0,
                    launched: n.times.launched,
                    protected: n.protected,
                },
                life: n.life,
                // EC2 terminates what fails, and tells the group by that.
                healthy: true,
                rebalance_recommended: self.nodes[n.id.index()].at_risk,
            })
            .collect();
        let mut pools = group.pools.clone();
        if let Some(market) = &group.market {
            for (at, pool) in pools.iter_mut().enumerate() {
                pool.depth = market.depth(at, now);
            }
        }
        for m in members.iter().filter(|m| m.candidate.market == Market::Spot) {
            let here = |p: &&mut Pool| p.kind == m.candidate.kind && p.zone == m.candidate.zone;
            if let Some(pool) = pools.iter_mut().find(here) {
                pool.in_use += 1;
            }
        }
        let open = |z: &ZoneState| now >= z.shut_until && !self.faults.is_shut(z.zone.0);
        let zones = group.zones.iter().map(|z| GroupZone { zone: z.zone, usable: open(z) }).collect();
        Some(GroupObservation { now, desired: group.desired, max, members, zones, pools, seed: group.draws })
    }

    /// A group brings its instances to the desired number, and its warm pool to its size.
    pub(super) fn on_group(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        if self.managed_instances(capacity).is_some() {
            self.launch_managed(capacity);
            self.optimize_managed(capacity);
            return;
        }
        // A zone that turns out to have nothing is passed over in the next round.
        let rounds = self.group(capacity).map_or(0, |g| g.zones.len() + 1);
        for _ in 0..rounds {
            let (Some(plan), Some(observation)) = (self.ec2(capacity), self.observe_group(capacity)) else { return };
            let Some(group) = self.group(capacity) else { return };
            let before = group.memory.clone();
            let (decision, after) = auto_scaling_group::decide(plan, &before, &observation);
            if let Some(group) = self.group_mut(capacity) {
                group.memory = after;
            }
            if decision.launches.is_empty() && decision.terminations.is_empty() {
                break;
            }
            let (mut came, mut failed) = (0_u32, 0_u32);
            for launch in &decision.launches {
                if self.launch_of(capacity, launch) {
                    came += 1;
                } else {
                    failed += 1;
                }
            }
            for t in &decision.terminations {
                let why = match t.reason {
                    TerminationReason::Unhealthy => NodeEnd::Failure,
                    TerminationReason::AboveDesired { .. } => NodeEnd::ScaleIn,
                    TerminationReason::Replaced { because: ReplaceReason::Zones | ReplaceReason::Recommendation } => {
                        NodeEnd::Rebalance
                    }
                };
                if self.is_kube() && why != NodeEnd::Failure {
                    // EKS drains the node while the group waits.
                    self.drain_pods(t.node, why, Some(now + super::kube::DRAIN_TIMEOUT));
                } else {
                    self.terminate_node(t.node, why);
                }
            }
            let went = decision.terminations.len() as u32;
            if came + went > 0 {
                let detail = DecisionDetail {
                    observation: if self.recorder.sink.writes() { to_json(&observation) } else { to_json(&()) },
                    memory: to_json(&before),
                };
                let why = match (came, went) {
                    (0, _) => "instances are terminated",
                    (_, 0) => "instances are launched",
                    _ => "instances are launched and terminated",
                };
                let row = DecisionRow {
                    time_s: now.into(),
                    controller: "auto_scaling_group".into(),
                    subject: format!("capacity.{}", self.capacities[capacity.index()].name).into(),
                    from: Some(observation.members.len() as i64),
                    computed: Some(i64::from(observation.desired)),
                    bounded_by: if failed > 0 { "insufficient_capacity" } else { "" }.into(),
                    result: Some(observation.members.len() as i64 + i64::from(came) - i64::from(went)),
                    reason: if went > came { "terminate" } else { "launch" }.into(),
                    explanation: format!("launches {came}, terminates {went}: {why}").into(),
                    ..DecisionRow::default()
                };
                self.recorder.decision(&row, &detail);
            }
            if failed == 0 {
                break;
            }
        }
        self.fill_pool(capacity);
        let again =
            self.group(capacity).and_then(|g| g.zones.iter().map(|z| z.shut_until).filter(|at| *at > now).min());
        if let Some(at) = again {
            self.schedule_timer_if_due(Timer::Group(capacity), at, Phase::Decision);
        }
    }

    /// Carries a launch out: from the warm pool, else the first type that EC2 has. False when it has none.
    fn launch_of(&mut self, capacity: CapacityId, launch: &Launch) -> bool {
        if let Some(node) = warm_pool::take(&self.warmed(capacity), launch.zone) {
            self.wake_node(node);
            return true;
        }
        for &kind in &launch.kinds {
            if self.has_capacity(capacity, kind, launch.zone, launch.market) {
                return self.launch_node(capacity, kind, launch.zone, launch.market, false).is_some();
            }
        }
        let now = self.queue.now();
        let retry = self.capacities[capacity.index()].plan.instances().map_or(SimDuration::ZERO, |i| i.retry_delay);
        // At once again would be for ever.
        let until = now + retry.max(SimDuration::from_secs(1));
        if let Some(group) = self.group_mut(capacity) {
            group.trouble.no_capacity += 1;
            group.trouble.no_capacity_first = group.trouble.no_capacity_first.or(Some(now));
            if let Some(zone) = group.zones.iter_mut().find(|z| z.zone == launch.zone) {
                zone.shut_until = until;
            }
        }
        false
    }

    /// Whether EC2 has an instance of this pool now.
    pub(super) fn has_capacity(&mut self, capacity: CapacityId, kind: u32, zone: ZoneId, market: Market) -> bool {
        let now = self.queue.now();
        let plan = self.capacities[capacity.index()].plan;
        let Some(instances) = plan.instances() else { return false };
        let short = self.faults.shortage(self.capacities[capacity.index()].name, zone.0);
        let Some(group) = self.group_mut(capacity) else { return false };
        let Some(name) = group.types.get(kind as usize).map(|t| t.of.name) else { return false };
        group.attempts += 1;
        let chance = Draw::new(group.draws).of(u64::MAX).of(group.attempts).unit();
        let since_start = now.since(SimTime::ZERO);
        chance >= 1.0 - (1.0 - instances.unavailable) * (1.0 - short)
            && !instances.is_out(name, zone.0, market == Market::Spot, since_start)
            && (market == Market::OnDemand || self.spot_has(capacity, kind, zone))
    }

    /// The instances of a warm pool, those that are being prepared included.
    fn warmed(&self, capacity: CapacityId) -> Vec<Warmed> {
        let in_pool = |n: &&Node| {
            let runtime = &self.nodes[n.id.index()];
            n.life == LifeCycle::Warmed || n.life == LifeCycle::Pending && runtime.for_pool && !runtime.prepared
        };
        self.cluster
            .nodes_of(capacity)
            .filter(in_pool)
            .map(|n| Warmed {
                node: n.id,
                zone: n.spec.zone,
                launched: n.times.launched,
                ready: n.life == LifeCycle::Warmed,
            })
            .collect()
    }

    /// Brings a warm pool to its size.
    fn fill_pool(&mut self, capacity: CapacityId) {
        let Some(decision) = self.pool_decision(capacity) else { return };
        for node in decision.terminate {
            self.terminate_node(node, NodeEnd::ScaleIn);
        }
        for launch in self.launches_for_pool(capacity, decision.prepare) {
            let found = launch
                .kinds
                .iter()
                .copied()
                .find(|kind| self.has_capacity(capacity, *kind, launch.zone, launch.market));
            let Some(kind) = found else { break };
            self.launch_node(capacity, kind, launch.zone, launch.market, true);
        }
    }

    fn pool_decision(&self, capacity: CapacityId) -> Option<warm_pool::PoolDecision> {
        let plan = self.ec2(capacity)?;
        let pool = plan.warm_pool.as_ref()?;
        let desired = self.group(capacity)?.desired;
        let observed = PoolObservation { desired, max: plan.max_size, instances: self.warmed(capacity) };
        Some(warm_pool::decide(pool, &observed))
    }

    /// Where instances for the warm pool are launched: as the group would launch them.
    fn launches_for_pool(&self, capacity: CapacityId, count: u32) -> Vec<Launch> {
        let (Some(plan), Some(mut observation)) = (self.ec2(capacity), self.observe_group(capacity)) else {
            return Vec::new();
        };
        if count == 0 {
            return Vec::new();
        }
        observation.desired = observation.members.len() as u32 + count;
        auto_scaling_group::decide(plan, &GroupMemory::default(), &observation).0.launches
    }

    /// Time zero: every group has the instances that it begins with.
    pub(super) fn start_groups(&mut self) {
        self.refresh_daemons();
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let pools = self.group(capacity).and_then(|g| g.market.as_ref()).map_or(0, |m| m.pools().len());
            for pool in 0..pools {
                self.tell_spot_price(capacity, pool, SimTime::ZERO);
            }
            self.start_managed(capacity);
            let Some(plan) = self.ec2(capacity).filter(|_| !self.nodes_are_given()) else { continue };
            let first = plan.desired_capacity.unwrap_or(plan.min_size).clamp(plan.min_size, plan.max_size);
            self.add_at_start(capacity, first);
        }
    }

    /// Adds instances that have run for long when the simulation starts. False when EC2 sells none.
    pub(super) fn add_at_start(&mut self, capacity: CapacityId, count: u32) -> bool {
        let launches = self.launches_for_pool(capacity, count);
        let enough = launches.len() as u32 == count;
        for launch in launches {
            let Some(&kind) = launch.kinds.first() else { continue };
            if self.place_running_node(capacity, kind, launch.zone, launch.market).is_some()
                && let Some(group) = self.group_mut(capacity)
            {
                group.desired += 1;
            }
        }
        enough
    }

    /// Finds an instance for a task that runs when the simulation starts. Where managed scaling would have
    /// added an instance for it, or the scenario leaves their number open, one is added.
    pub(super) fn place_at_start(&mut self, task: TaskId) -> bool {
        let t = self.cluster.task(task);
        let (service, capacity) = (t.service, t.capacity);
        let mut node = self.choose_node(task);
        if node.is_none() && self.may_add_at_start(capacity, service) && self.add_at_start(capacity, 1) {
            node = self.choose_node(task);
        }
        if node.is_none() && self.managed_instances(capacity).is_some() {
            self.add_managed_at_start(capacity, service);
            node = self.choose_node(task);
        }
        let Some(node) = node else { return false };
        let now = self.queue.now();
        self.apply(Command::PlaceTask { task, node });
        for wanted in self.wanted_images(task) {
            self.nodes[node.index()].images.put(wanted.key, now);
        }
        true
    }

    fn may_add_at_start(&self, capacity: CapacityId, service: ServiceId) -> bool {
        let (Some(plan), Some(group)) = (self.ec2(capacity), self.group(capacity)) else { return false };
        let open = plan.desired_capacity.is_none() || plan.managed_scaling.status == Switch::Enabled;
        let shape = self.services[service.index()].shape;
        let next = self.launches_for_pool(capacity, 1);
        let class = next.first().and_then(|l| group.class(*l.kinds.first()?, l.zone));
        open && group.desired < plan.max_size && class.is_some_and(|c| self.pool.suits(shape, c))
    }

    /// After the tasks of the start have been placed: spare instances that managed scaling keeps, the warm pool.
    pub(super) fn settle_groups(&mut self) {
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let (Some(plan), Some(group)) = (self.ec2(capacity), self.group(capacity)) else { continue };
            let desired = group.desired;
            if plan.managed_scaling.status == Switch::Enabled && plan.desired_capacity.is_none() {
                let (running, needed) = self.need_of(capacity);
                let aim = managed_scaling::aim(
                    &plan.managed_scaling,
                    running,
                    needed.instances,
                    needed.waiting > 0,
                    plan.min_size,
                    plan.max_size,
                );
                self.add_at_start(capacity, aim.saturating_sub(desired));
            }
            let prepare = self.pool_decision(capacity).map_or(0, |d| d.prepare);
            for launch in self.launches_for_pool(capacity, prepare) {
                if let Some(&kind) = launch.kinds.first() {
                    self.place_warm_node(capacity, kind, launch.zone, launch.market);
                }
            }
            self.wake_group(capacity);
        }
    }
}
