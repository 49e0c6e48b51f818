//! Spot at work: what the market of a group's pools does to its instances.

use super::{Simulation, Timer};
use crate::capacity::spot::SpotEventKind;
use crate::cluster::{LifeCycle, Market, NodeEnd};
use crate::kernel::{Phase, SimTime};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::Capacity;
use crate::units::{CapacityId, NodeId, ZoneId};

/// Whether a capacity ever buys Spot instances.
pub(super) fn buys_spot(plan: &Capacity) -> bool {
    plan.buys_spot()
}

impl Simulation<'_> {
    /// Time zero: prices as they are now, and the first event of every pool.
    pub(super) fn start_spot(&mut self) {
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let pools = self.group(capacity).and_then(|g| g.market.as_ref()).map_or(0, |m| m.pools().len());
            for pool in 0..pools {
                self.schedule_spot(capacity, pool);
                self.schedule_recommendation(capacity, pool);
                self.schedule_spot_price(capacity, pool);
            }
        }
    }

    fn schedule_spot(&mut self, capacity: CapacityId, pool: usize) {
        let now = self.queue.now();
        let market = self.group(capacity).and_then(|g| g.market.as_ref());
        if let Some(event) = market.and_then(|m| m.next_event(pool, now)) {
            self.schedule_timer_if_due(Timer::SpotPool(capacity, pool as u16), event.at, Phase::State);
        }
    }

    /// Recommendations come in the order of the interruptions that they announce.
    fn schedule_recommendation(&mut self, capacity: CapacityId, pool: usize) {
        let now = self.queue.now();
        let Some(group) = self.group(capacity) else { return };
        let announced = group.announced.get(pool).copied().unwrap_or_default();
        if let Some(event) = group.market.as_ref().and_then(|m| m.next_event(pool, announced)) {
            let at = event.recommended.max(now);
            self.schedule_timer_if_due(Timer::SpotHint(capacity, pool as u16), at, Phase::State);
        }
    }

    fn schedule_spot_price(&mut self, capacity: CapacityId, pool: usize) {
        let now = self.queue.now();
        let market = self.group(capacity).and_then(|g| g.market.as_ref());
        if let Some(at) = market.and_then(|m| m.next_price(pool, now)) {
            self.schedule_timer_if_due(Timer::SpotPrice(capacity, pool as u16), at, Phase::State);
        }
    }

    /// The Spot price of a pool may have changed.
    pub(super) fn on_spot_price(&mut self, capacity: CapacityId, pool: usize) {
        let now = self.queue.now();
        self.tell_spot_price(capacity, pool, now);
        self.schedule_spot_price(capacity, pool);
    }

    /// Tells the meter and the group what an instance-hour that begins now costs.
    pub(super) fn tell_spot_price(&mut self, capacity: CapacityId, pool: usize, now: SimTime) {
        let Some(group) = self.group_mut(capacity) else { return };
        let (Some(market), Some(of)) = (&group.market, group.pools.get_mut(pool)) else { return };
        let price = market.price(pool, now);
        let (zone, kind) = (of.zone, market.pools()[pool].kind.name);
        if of.spot.is_some() {
            of.spot = Some(price.to_usd());
        }
        let billed = self.meter.spot_price(capacity, zone, kind, price, now);
        self.keep_unpriced(billed);
    }

    /// A rebalance recommendation for the instances that the next interruption of a pool will take.
    pub(super) fn on_spot_hint(&mut self, capacity: CapacityId, pool: usize) {
        let Some(group) = self.group_mut(capacity) else { return };
        let announced = group.announced.get(pool).copied().unwrap_or_default();
        let Some(event) = group.market.as_ref().and_then(|m| m.next_event(pool, announced)) else { return };
        if let Some(announced) = group.announced.get_mut(pool) {
            *announced = event.at;
        }
        if event.recommended < event.at {
            for node in self.taken(capacity, pool, &event) {
                self.recommend_rebalance(node);
            }
        }
        self.schedule_recommendation(capacity, pool);
    }

    /// The instances of a pool that an event takes, of those that run there now.
    fn taken(&self, capacity: CapacityId, pool: usize, event: &crate::capacity::spot::SpotEvent) -> Vec<NodeId> {
        let Some(of) = self.group(capacity).and_then(|g| g.pools.get(pool)).copied() else { return Vec::new() };
        let mut running: Vec<NodeId> = self
            .cluster
            .nodes_of(capacity)
            .filter(|n| {
                let runtime = &self.nodes[n.id.index()];
                let here = n.spec.market == Market::Spot && n.spec.kind == of.kind && n.spec.zone == of.zone;
                here && !runtime.down && runtime.notice_ends.is_none()
            })
            .map(|n| n.id)
            .collect();
        match event.kind {
            SpotEventKind::Reclaim => running.retain(|n| event.takes(self.cluster.node(*n).launch)),
            SpotEventKind::Holds(held) => {
                running.sort_by_key(|n| (event.rank(self.cluster.node(*n).launch), *n));
                running.drain(..(held as usize).min(running.len()));
            }
        }
        running
    }

    /// A pool is interrupted.
    pub(super) fn on_spot_pool(&mut self, capacity: CapacityId, pool: usize) {
        let now = self.queue.now();
        let Some(group) = self.group(capacity) else { return };
        // The event whose instant this is: the first after the instant before.
        let before = SimTime::from_nanos(now.as_nanos().saturating_sub(1));
        let event = group.market.as_ref().and_then(|m| m.next_event(pool, before)).filter(|e| e.at == now);
        if let Some(event) = event {
            for node in self.taken(capacity, pool, &event) {
                self.spot_notice(node);
            }
        }
        self.schedule_spot(capacity, pool);
    }

    /// Whether a Spot pool has an instance to give.
    pub(super) fn spot_has(&self, capacity: CapacityId, kind: u32, zone: ZoneId) -> bool {
        let now = self.queue.now();
        let Some(group) = self.group(capacity) else { return false };
        let Some(pool) = group.pools.iter().position(|p| p.kind == kind && p.zone == zone) else { return false };
        let runs = |n: &&crate::cluster::Node| {
            n.spec.market == Market::Spot && n.spec.kind == kind && n.spec.zone == zone && n.is_alive()
        };
        let running = self.cluster.nodes_of(capacity).filter(runs).count() as u32;
        group.market.as_ref().is_some_and(|m| m.available(pool, now, running))
    }

    /// EC2 recommends to replace a Spot instance.
    fn recommend_rebalance(&mut self, node: NodeId) {
        let n = self.cluster.node(node);
        let (life, capacity) = (n.life, n.spec.capacity);
        if life == LifeCycle::InService && !std::mem::replace(&mut self.nodes[node.index()].at_risk, true) {
            self.record_spot(node, "rebalance_recommendation", "EC2 recommends to replace the Spot instance");
            self.wake_group(capacity);
        }
    }

    /// The notice of an interruption.
    pub(super) fn spot_notice(&mut self, node: NodeId) {
        let now = self.queue.now();
        let n = self.cluster.node(node);
        let capacity = n.spec.capacity;
        let out = n.life == LifeCycle::Terminated || self.nodes[node.index()].down;
        if out || n.spec.market != Market::Spot || self.nodes[node.index()].notice_ends.is_some() {
            return;
        }
        let plan = self.capacities[capacity.index()].plan;
        let Some(notice) = plan.instances().map(|i| i.spot.notice) else { return };
        self.nodes[node.index()].notice_ends = Some(now + notice);
        self.record_spot(node, "interruption_notice", "EC2 takes the Spot instance back");
        self.schedule_timer_if_due(Timer::Reclaimed(node), now + notice, Phase::State);
        self.recommend_rebalance(node);
        if self.is_kube() {
            self.node_has_notice(node, now + notice);
            return;
        }
        if plan.drains_on_notice() {
            self.drain_node(node);
        }
    }

    /// The notice of an interruption is over: the instance is gone.
    pub(super) fn on_reclaimed(&mut self, node: NodeId) {
        match self.cluster.node(node).life {
            LifeCycle::Terminated => {}
            LifeCycle::Terminating => self.shut_down(node),
            _ => self.terminate_node(node, NodeEnd::SpotInterruption),
        }
    }

    fn record_spot(&mut self, node: NodeId, reason: &'static str, text: &'static str) {
        let n = self.cluster.node(node);
        let capacity = self.capacities[n.spec.capacity.index()].name;
        let kind =
            self.group(n.spec.capacity).and_then(|g| g.types.get(n.spec.kind as usize)).map_or("", |t| t.of.name);
        let zone = super::intervals::zone_letter(n.spec.zone.0);
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "spot".into(),
            subject: format!("capacity.{capacity}").into(),
            reason: reason.into(),
            explanation: format!("{text}: instance {} of type {kind} in zone {zone}", node.0).into(),
            ..DecisionRow::default()
        };
        let observation = serde_json::json!({ "node": node.0 });
        self.recorder.decision(&row, &DecisionDetail { observation, memory: serde_json::Value::Null });
    }
}
