//! What instances cost: when their bill begins and ends, and what of them was used.

use super::Simulation;
use crate::billing::BillingError;
use crate::cluster::{Market, Node, NodeStatus};
use crate::kernel::{SimDuration, SimTime};
use crate::units::{CapacityId, NodeId, TaskId, Usd};

impl Simulation<'_> {
    /// Remembers the first price that could not be had; the run ends at the next interval.
    pub(super) fn keep_unpriced(&mut self, billed: Result<(), BillingError>) {
        if let Err(e) = billed {
            self.unpriced.get_or_insert(e);
        }
    }

    /// An instance is billed from now on.
    pub(super) fn start_node_bill(&mut self, node: NodeId) {
        let now = self.queue.now();
        let spec = self.cluster.node(node).spec;
        if self.group(spec.capacity).and_then(|g| g.types.get(spec.kind as usize)).is_some_and(|t| t.own.is_some()) {
            return; // Nobody sells it by the hour.
        }
        let runtime = &mut self.nodes[node.index()];
        runtime.billed_from = runtime.billed_from.or(Some(now));
        runtime.billed_until = None;
        let Some(kind) = self.group(spec.capacity).and_then(|g| g.types.get(spec.kind as usize)).map(|t| t.of.name)
        else {
            return;
        };
        let spot = spec.market == Market::Spot;
        let billed = self.meter.node_started(node, spec.capacity, kind, spec.zone, spot, now);
        self.keep_unpriced(billed);
    }

    /// An instance stops and keeps its volume.
    pub(super) fn stop_node_bill(&mut self, node: NodeId) {
        let now = self.queue.now();
        let runtime = &mut self.nodes[node.index()];
        if runtime.billed_from.is_some() && runtime.billed_until.is_none() {
            runtime.billed_until = Some(now);
            self.meter.node_stopped(node, now);
        }
    }

    /// An instance is gone.
    pub(super) fn end_node_bill(&mut self, node: NodeId) {
        let now = self.queue.now();
        let runtime = &mut self.nodes[node.index()];
        if runtime.billed_from.is_some() {
            runtime.billed_until = runtime.billed_until.or(Some(now));
            self.meter.node_terminated(node, now);
        }
    }

    /// A task takes its share of an instance: its service pays for it.
    pub(super) fn bill_place(&mut self, task: TaskId, node: NodeId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let needs = self.cluster.needs_of(task).resources;
        self.meter.task_placed(task, service, node, needs.cpu, needs.memory, now);
    }

    /// Bills what the surplus credits of an instance come to by now, in vCPU-hours since its launch.
    pub(super) fn charge_credits(&mut self, node: NodeId, vcpu_hours: f64) {
        let runtime = &mut self.nodes[node.index()];
        let fresh = vcpu_hours - runtime.credits_billed;
        if fresh > 0.0 {
            runtime.credits_billed = vcpu_hours;
            let now = self.queue.now();
            let billed = self.meter.surplus_credits(node, SimDuration::from_secs_f64(fresh * 3600.0), now);
            self.keep_unpriced(billed);
        }
    }

    /// Bills the surplus credits of the burstable instances that run. What is owed is charged with the end of an instance;
    /// the end of the run counts as one.
    pub(super) fn bill_credits(&mut self, now: SimTime) {
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            if !self.group(capacity).is_some_and(|g| g.types.iter().any(|t| t.of.burst.is_some())) {
                continue;
            }
            let running: Vec<NodeId> = self.cluster.nodes_of(capacity).map(|n| n.id).collect();
            for node in running {
                let Some(slot) = self.nodes[node.index()].slot else { continue };
                let totals = self.data.node_totals(now, slot);
                let owed = if now >= self.end { totals.surplus / 60.0 } else { 0.0 };
                self.charge_credits(node, totals.surplus_charged + owed);
            }
        }
    }

    /// Tells the meter what of each instance was used since the last interval; CPU used there in the
    /// interval, in vCPU-seconds.
    pub(super) fn bill_use(&mut self, capacity: CapacityId, now: SimTime, length: SimDuration) -> f64 {
        let nodes: Vec<NodeId> = self
            .cluster
            .nodes_of(capacity)
            .filter(|n| matches!(n.status, NodeStatus::Active | NodeStatus::Draining))
            .map(|n| n.id)
            .collect();
        let mut total = 0.0;
        for node in nodes {
            let offers = self.cluster.node(node).spec.offers;
            let memory: u64 = self
                .cluster
                .tasks_on(node)
                .filter_map(|t| self.tasks[t.id.index()].server)
                .map(|s| self.data.memory_used(s).get())
                .sum();
            let runtime = &mut self.nodes[node.index()];
            let used = runtime.cpu_used - std::mem::replace(&mut runtime.cpu_billed, runtime.cpu_used);
            total += used;
            let cpu = used / (offers.cpu.vcpus() * length.as_secs_f64()).max(f64::MIN_POSITIVE);
            let memory = memory as f64 / (offers.memory.get() as f64).max(1.0);
            self.meter.node_used(node, cpu.max(memory).clamp(0.0, 1.0), now);
        }
        total
    }

    /// What an hour of an instance costs as it is now, or at the list price of its pool once it is gone.
    pub(super) fn node_price(&self, n: &Node) -> Usd {
        let now = self.meter.node_price_per_hour(n.id);
        if now > Usd::ZERO {
            return now;
        }
        self.pool_price(n)
    }

    /// What an hour of an instance alone costs, without its volume: the price of its pool now.
    pub(super) fn pool_price(&self, n: &Node) -> Usd {
        let group = self.group(n.spec.capacity);
        let pool = group.and_then(|g| g.pools.iter().find(|p| p.kind == n.spec.kind && p.zone == n.spec.zone));
        let price = pool.and_then(|p| match n.spec.market {
            Market::OnDemand => p.on_demand,
            Market::Spot => p.spot,
        });
        price.unwrap_or(Usd::ZERO)
    }
}
