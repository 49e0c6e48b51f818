//! ECS Managed Instances at work: instances come for tasks that wait, and go when they are not needed.

use super::Simulation;
use super::Timer;
use super::scale::to_json;
use crate::capacity::managed_instances::{
    self, GoingReason, ManagedNode, ManagedObservation, ManagedStep, Offer, Resident,
};
use crate::capacity::managed_scaling::{TaskGroup, per_instance};
use crate::cluster::{LifeCycle, Market, NodeEnd, NodeStatus, Resources};
use crate::kernel::{Phase, SimDuration};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{Architecture, Capacity, CapacityOption, ManagedInstances};
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, Usd, ZoneId};

/// Instance types that a launch tries one after the other.
const MOST_TYPES: usize = 20;

/// Tasks that wait, of one architecture.
struct Waiting {
    architecture: Architecture,
    groups: Vec<TaskGroup>,
}

impl Simulation<'_> {
    pub(super) fn managed_instances(&self, capacity: CapacityId) -> Option<&ManagedInstances> {
        match self.capacities.get(capacity.index())?.plan {
            Capacity::ManagedInstances(m) => Some(m),
            _ => None,
        }
    }

    fn task_group(&self, service: ServiceId, tasks: u32) -> TaskGroup {
        let needs = &self.cluster.service(service).needs;
        TaskGroup { needs: needs.resources, one_each: needs.distinct || !needs.ports.is_empty(), tasks }
    }

    fn by_architecture(&self, of: &[(ServiceId, u32)]) -> Vec<Waiting> {
        let mut all: Vec<Waiting> = Vec::new();
        for &(service, tasks) in of.iter().filter(|(_, n)| *n > 0) {
            let architecture = self.services[service.index()].plan.task.architecture;
            let group = self.task_group(service, tasks);
            match all.iter_mut().find(|w| w.architecture == architecture) {
                Some(w) => w.groups.push(group),
                None => all.push(Waiting { architecture, groups: vec![group] }),
            }
        }
        all
    }

    /// Tasks of each service that wait for room on a capacity.
    fn waiting_by_service(&self, capacity: CapacityId) -> Vec<(ServiceId, u32)> {
        let mut of: Vec<(ServiceId, u32)> = Vec::new();
        for task in self.group(capacity).map_or(&[][..], |g| &g.waiting) {
            let t = self.cluster.task(*task);
            if t.stop_code.is_some() {
                continue;
            }
            match of.iter_mut().find(|(s, _)| *s == t.service) {
                Some((_, n)) => *n += 1,
                None => of.push((t.service, 1)),
            }
        }
        of
    }

    /// Launches what the tasks that wait need beside the instances that are on their way.
    pub(super) fn launch_managed(&mut self, capacity: CapacityId) {
        if self.managed_instances(capacity).is_none() {
            return;
        }
        for mut waiting in self.by_architecture(&self.waiting_by_service(capacity)) {
            let coming: Vec<Resources> = self
                .members(capacity)
                .filter(|n| {
                    n.status == NodeStatus::Registering
                        && self.arch_of(capacity, n.spec.kind) == Some(waiting.architecture)
                })
                .map(|n| n.spec.offers)
                .collect();
            for mut room in coming {
                for g in &mut waiting.groups {
                    let n = per_instance(g, room).min(g.tasks);
                    g.tasks -= n;
                    room = room.minus(times(g.needs, n));
                }
            }
            self.launch_for(capacity, &waiting, false);
        }
    }

    fn arch_of(&self, capacity: CapacityId, kind: u32) -> Option<Architecture> {
        self.group(capacity)?.types.get(kind as usize).map(super::nodes::NodeType::architecture)
    }

    /// Launches the cheapest instances for some tasks; at the start they have run for long.
    fn launch_for(&mut self, capacity: CapacityId, waiting: &Waiting, at_start: bool) {
        let Some(plan) = self.managed_instances(capacity) else { return };
        let market = match plan.capacity_option_type {
            CapacityOption::OnDemand => Market::OnDemand,
            CapacityOption::Spot => Market::Spot,
        };
        let retry = plan.retry_delay.max(SimDuration::from_secs(1));
        let Some(group) = self.group(capacity) else { return };
        let offers: Vec<Offer> = (0..group.types.len() as u32)
            .filter(|k| self.arch_of(capacity, *k) == Some(waiting.architecture))
            .filter_map(|kind| {
                let price = self.cheapest(capacity, kind, market)?;
                Some(Offer { kind, size: group.types[kind as usize].offers, price })
            })
            .collect();
        let choice = managed_instances::choose_type(&waiting.groups, &offers, MOST_TYPES);
        let Some(best) = choice.order.first().copied() else { return };
        let now = self.queue.now();
        let mut launched = 0_u32;
        'instances: for _ in 0..best.instances {
            for ranked in &choice.order {
                for zone in self.zones_by_count(capacity) {
                    let sold = self.group(capacity).is_some_and(|g| g.sells(ranked.kind, zone, market));
                    if at_start && sold {
                        launched += u32::from(self.place_running_node(capacity, ranked.kind, zone, market).is_some());
                        continue 'instances;
                    }
                    if sold && self.has_capacity(capacity, ranked.kind, zone, market) {
                        let node = self.launch_node(capacity, ranked.kind, zone, market, false);
                        launched += u32::from(node.is_some());
                        continue 'instances;
                    }
                }
            }
            if let Some(group) = self.group_mut(capacity) {
                group.trouble.no_capacity += 1;
                group.trouble.no_capacity_first = group.trouble.no_capacity_first.or(Some(now));
            }
            self.schedule_timer_if_due(Timer::Group(capacity), now + retry, Phase::Decision);
            break;
        }
        if launched > 0 && !at_start {
            let tasks: u32 = waiting.groups.iter().map(|g| g.tasks).sum();
            let kind = self.group(capacity).and_then(|g| g.types.get(best.kind as usize)).map_or("", |t| t.of.name);
            let before = self.members(capacity).count() as i64 - i64::from(launched);
            let row = DecisionRow {
                time_s: now.into(),
                controller: "managed_instances".into(),
                subject: format!("capacity.{}", self.capacities[capacity.index()].name).into(),
                from: Some(before),
                computed: Some(before + i64::from(best.instances)),
                bounded_by: if launched < best.instances { "insufficient_capacity" } else { "" }.into(),
                result: Some(before + i64::from(launched)),
                reason: "launch".into(),
                explanation: format!(
                    "{tasks} tasks wait: launches {launched}, the cheapest type that holds them is {kind}"
                )
                .into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: to_json(&waiting.groups), memory: to_json(&choice) };
            self.recorder.decision(&row, &detail);
        }
    }

    /// The lowest price of an hour of a type in any zone.
    fn cheapest(&self, capacity: CapacityId, kind: u32, market: Market) -> Option<Usd> {
        let pools = self.group(capacity)?.pools.iter().filter(|p| p.kind == kind);
        pools
            .filter_map(|p| match market {
                Market::OnDemand => p.on_demand,
                Market::Spot => p.spot,
            })
            .min()
    }

    fn zones_by_count(&self, capacity: CapacityId) -> Vec<ZoneId> {
        let Some(group) = self.group(capacity) else { return Vec::new() };
        let mut zones: Vec<(usize, ZoneId)> = group
            .zones
            .iter()
            .map(|z| (self.members(capacity).filter(|n| n.spec.zone == z.zone).count(), z.zone))
            .collect();
        zones.sort_unstable();
        zones.into_iter().map(|(_, z)| z).collect()
    }

    /// Time zero: instances for all tasks that begin on a capacity.
    pub(super) fn start_managed(&mut self, capacity: CapacityId) {
        if self.managed_instances(capacity).is_none() {
            return;
        }
        let of: Vec<(ServiceId, u32)> = (0..self.services.len())
            .map(|index| {
                let service = ServiceId::from(index);
                let strategy = &self.services[index].strategy;
                let split = strategy.split(self.cluster.service(service).desired);
                let here = strategy.shares().iter().zip(split).filter(|(s, _)| s.capacity == capacity);
                (service, here.map(|(_, n)| n).sum())
            })
            .collect();
        for waiting in self.by_architecture(&of) {
            self.launch_for(capacity, &waiting, true);
        }
    }

    /// An instance for one more task of the start.
    pub(super) fn add_managed_at_start(&mut self, capacity: CapacityId, service: ServiceId) {
        for waiting in self.by_architecture(&[(service, 1)]) {
            self.launch_for(capacity, &waiting, true);
        }
    }

    /// Looks for instances that are idle or underused.
    pub(super) fn optimize_managed(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let (Some(plan), Some(group)) = (self.managed_instances(capacity), self.group(capacity)) else { return };
        let waiting = group.waiting.iter().filter(|t| self.cluster.task(**t).stop_code.is_none()).count() as u32;
        let nodes: Vec<ManagedNode> = self
            .members(capacity)
            .map(|n| ManagedNode {
                node: n.id,
                launched: n.times.launched,
                draining: n.times.draining.filter(|_| n.status == NodeStatus::Draining),
                registered: n.times.registered.is_some(),
                size: n.spec.offers,
                tasks: self
                    .cluster
                    .tasks_on(n.id)
                    .filter(|t| !self.is_daemon(t.service))
                    .map(|t| Resident {
                        needs: self.cluster.service(t.service).needs.resources,
                        standalone: self.services[t.service.index()].job.is_some(),
                        protected: self.is_protected(t.id),
                    })
                    .collect(),
                changes: self.nodes[n.id.index()].changes,
                price: self.node_price(n),
            })
            .collect();
        let observation = ManagedObservation { now, nodes, waiting };
        let before = group.managed.clone();
        let (decision, after) = managed_instances::decide(&plan.infrastructure_optimization, &before, &observation);
        if let Some(group) = self.group_mut(capacity) {
            group.managed = after;
        }
        for going in &decision.going {
            let n = self.cluster.node(going.node);
            if n.life >= LifeCycle::Terminating {
                continue;
            }
            let why = match going.reason {
                GoingReason::LongestLife | GoingReason::LongestDrain => NodeEnd::MaxLifetime,
                GoingReason::Idle | GoingReason::Underused | GoingReason::Drained => NodeEnd::Idle,
            };
            match going.step {
                ManagedStep::Drain => self.drain_node(going.node),
                ManagedStep::Deregister | ManagedStep::Stop => self.terminate_node(going.node, why),
            }
            self.record_going(capacity, going.node, going.reason, &observation, &before);
        }
        if let Some(at) = decision.next {
            let at = at.max(now + SimDuration::from_secs(1));
            if self.queue.timer(Timer::Group(capacity)).is_none_or(|set| set > at || set <= now) {
                self.schedule_timer_if_due(Timer::Group(capacity), at, Phase::Decision);
            }
        }
    }

    fn record_going(
        &mut self,
        capacity: CapacityId,
        node: NodeId,
        reason: GoingReason,
        observation: &ManagedObservation,
        memory: &managed_instances::ManagedMemory,
    ) {
        let (word, text) = match reason {
            GoingReason::Idle => ("idle", "nothing has run there for long enough"),
            GoingReason::Underused => ("underused", "its tasks fit on the others"),
            GoingReason::Drained => ("drained", "its tasks have left"),
            GoingReason::LongestLife => ("longest_life", "it has lived for fourteen days"),
            GoingReason::LongestDrain => ("longest_drain", "it has drained for seven days"),
        };
        let before = observation.nodes.len() as i64;
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "managed_instances".into(),
            subject: format!("capacity.{}", self.capacities[capacity.index()].name).into(),
            from: Some(before),
            result: Some(before - i64::from(!matches!(reason, GoingReason::Underused | GoingReason::LongestLife))),
            reason: word.into(),
            explanation: format!("instance {}: {text}", node.0).into(),
            ..DecisionRow::default()
        };
        let observation = if self.recorder.sink.writes() { to_json(observation) } else { serde_json::Value::Null };
        self.recorder.decision(&row, &DecisionDetail { observation, memory: to_json(memory) });
    }
}

fn times(r: Resources, n: u32) -> Resources {
    let by = u64::from(n);
    Resources {
        cpu: Cpu::from_parts(r.cpu.parts().saturating_mul(by)),
        memory: Bytes::new(r.memory.get().saturating_mul(by)),
        gpus: r.gpus.saturating_mul(n),
        enis: r.enis.saturating_mul(n),
    }
}
