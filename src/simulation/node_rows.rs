//! Rows about instances: nodes.csv when one is gone, capacity.csv each interval.

use super::Simulation;
use super::intervals::zone_letter;
use crate::cluster::{LifeCycle, Market, Node, NodeEnd, NodeStatus, Resources};
use crate::kernel::{SimDuration, SimTime};
use crate::output::{CapacityRow, Fixed, NodeRow, Secs};
use crate::telemetry::utilization;
use crate::units::{Bytes, CapacityId, NodeId, ServiceId};

/// What a capacity's instances look like at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Packing {
    pub(super) pending: u32,
    pub(super) active: u32,
    pub(super) draining: u32,
    pub(super) terminating: u32,
    pub(super) warmed: u32,
    pub(super) on_demand: u32,
    pub(super) spot: u32,
    pub(super) empty: u32,
    pub(super) tasks: u32,
    pub(super) offered: Resources,
    pub(super) reserved: Resources,
}

fn share(part: f64, whole: f64) -> Option<Fixed<2>> {
    utilization::percent(part, whole).map(Fixed)
}

impl Simulation<'_> {
    /// Brings the account of reserved CPU of an instance up to now, before its reservation changes.
    pub(super) fn account_reserved(&mut self, node: NodeId) {
        let now = self.queue.now();
        let runtime = &mut self.nodes[node.index()];
        let held = std::mem::replace(&mut runtime.held, self.cluster.node(node).reserved);
        runtime.cpu_reserved += held.cpu.vcpus() * now.since(runtime.reserved_at).as_secs_f64();
        runtime.reserved_at = now;
    }

    /// Looks at the instances of a capacity.
    pub(super) fn packing(&self, capacity: CapacityId) -> Packing {
        let mut p = Packing::default();
        for n in self.cluster.nodes_of(capacity) {
            match (n.life, n.status) {
                (LifeCycle::Warmed, _) => p.warmed += 1,
                (LifeCycle::Terminating, NodeStatus::Draining) if !self.nodes[n.id.index()].down => p.draining += 1,
                (LifeCycle::Terminating, _) => p.terminating += 1,
                (_, NodeStatus::Draining) => p.draining += 1,
                (_, NodeStatus::Active) => {
                    p.active += 1;
                    p.empty += u32::from(self.is_empty_node(n));
                }
                _ => p.pending += 1,
            }
            if n.life != LifeCycle::Warmed {
                match n.spec.market {
                    Market::OnDemand => p.on_demand += 1,
                    Market::Spot => p.spot += 1,
                }
            }
            if matches!(n.status, NodeStatus::Active | NodeStatus::Draining) {
                p.offered = p.offered.plus(n.spec.offers);
                p.reserved = p.reserved.plus(n.reserved);
                p.tasks += n.tasks.len() as u32 + n.guests;
            }
        }
        p
    }

    /// CPU reserved over CPU that could be reserved where a service runs; all of it on Fargate.
    pub(super) fn cpu_reserved_pct(&self, service: ServiceId) -> f64 {
        let shares = self.services[service.index()].strategy.shares();
        let mut sum = Packing::default();
        for share in shares.iter().filter(|s| self.cluster.has_nodes(s.capacity)) {
            let p = self.packing(share.capacity);
            sum.offered = sum.offered.plus(p.offered);
            sum.reserved = sum.reserved.plus(p.reserved);
        }
        utilization::percent(sum.reserved.cpu.vcpus(), sum.offered.cpu.vcpus()).unwrap_or(100.0)
    }

    /// Writes the rows of an interval about the capacities that have instances.
    pub(super) fn close_capacity_interval(&mut self, start: SimTime, length: SimDuration) {
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let Some(group) = self.group(capacity) else { continue };
            let published = group.reserve.published;
            // Managed Instances have no desired count: they have what the tasks need.
            let managed = self.managed_instances(capacity).is_some();
            let desired = if managed { self.members(capacity).count() as u32 } else { group.desired };
            let waiting = group.waiting.iter().filter(|t| self.cluster.task(**t).stop_code.is_none()).count() as u32;
            let p = self.packing(capacity);
            let name = self.capacities[index].name;
            let on_instances = self.bill_use(capacity, start + length, length);
            let Some(group) = self.group_mut(capacity) else { continue };
            let fresh = on_instances + std::mem::take(&mut group.cpu_of_gone);
            let row = CapacityRow {
                time_s: start.into(),
                interval_s: length.into(),
                capacity: name.into(),
                desired,
                pending: p.pending,
                active: p.active,
                draining: p.draining,
                terminating: p.terminating,
                warmed: p.warmed,
                on_demand: p.on_demand,
                spot: p.spot,
                empty: p.empty,
                tasks: p.tasks,
                waiting_tasks: waiting,
                vcpus: Fixed(p.offered.cpu.vcpus()),
                cpu_reserved_pct: share(p.reserved.cpu.vcpus(), p.offered.cpu.vcpus()),
                memory_reserved_pct: share(p.reserved.memory.mib(), p.offered.memory.mib()),
                eni_reserved_pct: share(f64::from(p.reserved.enis), f64::from(p.offered.enis)),
                cpu_used_pct: share(fresh, p.offered.cpu.vcpus() * length.as_secs_f64()),
                reservation_pct: published.map(Fixed),
            };
            let written = self.recorder.sink.capacity(&row);
            self.recorder.keep_failure(written);
        }
    }

    /// Writes the row of an instance that is gone, or that the end of the run finds.
    pub(super) fn record_node(&mut self, node: NodeId) {
        self.account_reserved(node);
        let n = self.cluster.node(node);
        let capacity = n.spec.capacity;
        if n.life == LifeCycle::Terminated {
            let runtime = &mut self.nodes[node.index()];
            let used = runtime.cpu_used - std::mem::replace(&mut runtime.cpu_billed, runtime.cpu_used);
            if let Some(group) = self.group_mut(capacity) {
                group.cpu_of_gone += used;
            }
        }
        if !self.recorder.sink.writes() {
            return;
        }
        let row = self.node_row(self.cluster.node(node));
        let written = self.recorder.sink.node(&row);
        self.recorder.keep_failure(written);
    }

    /// CPU that the tasks of an instance wanted and did not get, in vCPU-seconds.
    fn stolen(&self, node: NodeId) -> f64 {
        let runtime = &self.nodes[node.index()];
        runtime.slot.map_or(runtime.stolen, |slot| self.data.node_totals(self.queue.now(), slot).steal)
    }

    fn node_row<'a>(&self, n: &Node) -> NodeRow<'a> {
        let runtime = &self.nodes[n.id.index()];
        let capacity = &self.capacities[n.spec.capacity.index()];
        let secs = |at: Option<SimTime>| at.map(Secs::from);
        let (registered, until) = (n.times.registered, n.times.terminated.unwrap_or(self.queue.now()));
        let vcpu_s = registered.map_or(0.0, |from| n.spec.offers.cpu.vcpus() * until.since(from).as_secs_f64());
        let kind = self.group(n.spec.capacity).and_then(|g| g.types.get(n.spec.kind as usize));
        let cost = self.meter.node_cost(n.id);
        let reserved_of = |peak: f64, offered: f64| share(peak, offered).filter(|_| registered.is_some());
        NodeRow {
            node: n.id.0,
            capacity: capacity.name.to_string().into(),
            node_type: kind.map_or("", |k| k.of.name).into(),
            zone: zone_letter(n.spec.zone.0).into(),
            market: n.spec.market.name().into(),
            price_usd_per_hour: self.pool_price(n).into(),
            vcpus: Fixed(n.spec.offers.cpu.vcpus()),
            memory_mib: Bytes::get(n.spec.offers.memory) >> 20,
            launched_s: Some(n.times.launched.into()),
            ready_s: secs(registered),
            launch_to_ready_s: registered.map(|at| Secs::from(at.since(n.times.launched))),
            draining_s: secs(n.times.draining),
            terminating_s: secs(n.times.terminating),
            terminated_s: secs(n.times.terminated),
            billed_from_s: secs(runtime.billed_from),
            billed_until_s: secs(runtime.billed_until),
            tasks: runtime.placed,
            cpu_used_pct: share(runtime.cpu_used, vcpu_s),
            cpu_reserved_pct: share(runtime.cpu_reserved, vcpu_s),
            cpu_reserved_peak_pct: reserved_of(runtime.peak.cpu.vcpus(), n.spec.offers.cpu.vcpus()),
            memory_reserved_peak_pct: reserved_of(runtime.peak.memory.mib(), n.spec.offers.memory.mib()),
            end_reason: n.end.map_or("", NodeEnd::name).into(),
            cpu_stolen_s: Fixed(self.stolen(n.id)),
            idle_usd: cost.idle.into(),
            wasted_usd: cost.wasted.into(),
            cost_usd: cost.usd.into(),
        }
    }
}
