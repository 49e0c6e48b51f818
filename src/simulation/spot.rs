//! Spot at work: interruptions of pools, recommendations, notices, and the end of what has not left in time.
//!
//! A pool is an instance type in a zone. Interruptions come to pools, not to instances, so that they are
//! correlated: each takes a share of the pool's running instances, one at least, and pools are interrupted
//! so much more rarely that the rate of one instance stays what it is said to be. The instants are a
//! function of seed, pool and number, not of the fleet.

use super::{Simulation, Timer};
use crate::catalog::{Catalog, InterruptionBand};
use crate::cluster::{LifeCycle, Market, NodeEnd, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams, unit_f64};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{AdvisorBand, Capacity, CapacityOption, Instances, Interruptions};
use crate::units::{CapacityId, NodeId, ZoneId};

/// Purposes of a pool's draws.
mod purpose {
    pub(super) const GAP: u64 = 1;
    pub(super) const ACCEPTED: u64 = 2;
    pub(super) const HOW_MANY: u64 = 3;
    pub(super) const WHICH: u64 = 4;
    pub(super) const RECOMMENDED: u64 = 5;
    pub(super) const LEAD: u64 = 6;
    pub(super) const SHORTAGE: u64 = 7;
    pub(super) const EVENT: u64 = 8;
}

/// The Spot side of a pool while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpotPool {
    root: u64,
    /// Interruptions of one running instance an hour.
    rate: f64,
    /// Interruptions of the pool so far, those that found nothing included.
    number: u64,
    /// Until when the pool gives no instance.
    short_until: SimTime,
}

impl SpotPool {
    pub(super) fn new(instances: &Instances<'_>, kind: &str, zone: u32, rate: f64, streams: &Streams) -> Self {
        let root = streams.root(&format!("spot/{kind}/{zone}"));
        // A share of nothing would take one instance each time, for ever more rarely.
        let rate = if instances.spot.reclaim_share > 0.0 { rate } else { 0.0 };
        Self { root, rate, number: 0, short_until: SimTime::ZERO }
    }

    fn draw(&self) -> Draw {
        Draw::new(self.root).of(self.number)
    }
}

/// Interruptions an hour of one instance of a type.
pub(super) fn rate_of(instances: &Instances<'_>, catalog: &Catalog, region: &str, kind: &str) -> f64 {
    let band = |b: AdvisorBand| match b {
        AdvisorBand::Below5 => InterruptionBand::Below5,
        AdvisorBand::From5To10 => InterruptionBand::From5To10,
        AdvisorBand::From10To15 => InterruptionBand::From10To15,
        AdvisorBand::From15To20 => InterruptionBand::From15To20,
        AdvisorBand::Above20 => InterruptionBand::Above20,
    };
    match &instances.spot.interruptions {
        Interruptions::None(_) | Interruptions::Trace(_) => 0.0,
        Interruptions::Rate(r) => r.interruptions_per_hour,
        Interruptions::Advisor(a) => a
            .band
            .map(band)
            .or_else(|| catalog.interruption_band(region, kind))
            .map_or(0.0, InterruptionBand::rate_per_hour),
    }
}

impl Simulation<'_> {
    /// Whether a capacity ever buys Spot instances.
    fn buys_spot(&self, capacity: CapacityId) -> bool {
        match self.capacities[capacity.index()].plan {
            Capacity::Ec2(e) => e.mixed_instances.on_demand_percentage_above_base_capacity < 100,
            Capacity::ManagedInstances(m) => m.capacity_option_type == CapacityOption::Spot,
            _ => false,
        }
    }

    /// Schedules the first interruption of every pool, and those of the scenario.
    pub(super) fn start_spot(&mut self) {
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let Some(pools) = self.group(capacity).map(|g| g.spot.len()) else { continue };
            if !self.buys_spot(capacity) {
                continue;
            }
            for pool in 0..pools {
                self.schedule_spot(capacity, pool);
            }
            let Some(instances) = self.capacities[index].plan.instances() else { continue };
            for (which, event) in instances.spot.events.iter().enumerate() {
                let at = SimTime::ZERO + event.at;
                if at <= self.end {
                    let event = super::ControlEvent::SpotEvent(index as u16, which as u16);
                    self.queue.schedule(at, Phase::State, event.into());
                }
            }
        }
    }

    fn schedule_spot(&mut self, capacity: CapacityId, pool: usize) {
        let Some(share) = self.capacities[capacity.index()].plan.instances().map(|i| i.spot.reclaim_share) else {
            return;
        };
        let Some(spot) = self.group(capacity).and_then(|g| g.spot.get(pool)).copied() else { return };
        if spot.rate <= 0.0 {
            return;
        }
        // As often as the largest pool needs; smaller ones pass some by.
        let mean = 3600.0 * share.clamp(f64::MIN_POSITIVE, 1.0) / spot.rate;
        let gap = SimDuration::from_secs_f64(-mean * libm::log(spot.draw().of(purpose::GAP).unit()));
        let at = self.queue.now() + gap;
        self.schedule_timer_if_due(Timer::SpotPool(capacity, pool as u16), at, Phase::State);
    }

    /// A pool may be interrupted.
    pub(super) fn on_spot_pool(&mut self, capacity: CapacityId, pool: usize) {
        let Some(group) = self.group(capacity) else { return };
        let (Some(spot), Some(of)) = (group.spot.get(pool).copied(), group.pools.get(pool).copied()) else { return };
        let Some(instances) = self.capacities[capacity.index()].plan.instances() else { return };
        let share = instances.spot.reclaim_share.min(1.0);
        let (lead, shortage) = (instances.spot.rebalance_recommendation_lead.law(), instances.spot.shortage.law());
        let recommended = instances.spot.rebalance_recommendation_share;
        let draw = spot.draw();
        let mut running = self.spot_instances(capacity, |n| n.spec.kind == of.kind && n.spec.zone == of.zone);
        let expected = share * running.len() as f64;
        let accepted = !running.is_empty() && draw.of(purpose::ACCEPTED).unit() < expected.min(1.0);
        if let Some(spot) = self.group_mut(capacity).and_then(|g| g.spot.get_mut(pool)) {
            spot.number += 1;
        }
        if accepted {
            let part = expected.max(1.0);
            let more = draw.of(purpose::HOW_MANY).unit() < part - libm::floor(part);
            let count = libm::floor(part) as usize + usize::from(more);
            let key = |n: &NodeId| draw.of(purpose::WHICH).of(self.nodes[n.index()].draw).bits();
            running.sort_by_key(|n| (key(n), *n));
            running.truncate(count);
            let now = self.queue.now();
            let ahead = if draw.of(purpose::RECOMMENDED).unit() < recommended {
                SimDuration::from_secs_f64(lead.quantile(draw.of(purpose::LEAD).unit()))
            } else {
                SimDuration::ZERO
            };
            let short = SimDuration::from_secs_f64(shortage.quantile(draw.of(purpose::SHORTAGE).unit()));
            if let Some(spot) = self.group_mut(capacity).and_then(|g| g.spot.get_mut(pool)) {
                spot.short_until = spot.short_until.max(now + ahead + short);
            }
            for node in running {
                if ahead.is_zero() {
                    self.spot_notice(node);
                } else {
                    self.recommend_rebalance(node);
                    self.schedule_timer_if_due(Timer::Notice(node), now + ahead, Phase::State);
                }
            }
        }
        self.schedule_spot(capacity, pool);
    }

    /// Running Spot instances of a capacity that have no notice yet and for which `test` holds.
    fn spot_instances(&self, capacity: CapacityId, test: impl Fn(&crate::cluster::Node) -> bool) -> Vec<NodeId> {
        self.cluster
            .nodes_of(capacity)
            .filter(|n| {
                let runtime = &self.nodes[n.id.index()];
                n.spec.market == Market::Spot && !runtime.down && runtime.notice_ends.is_none() && test(n)
            })
            .map(|n| n.id)
            .collect()
    }

    /// An interruption that the scenario asks for.
    pub(super) fn on_spot_event(&mut self, capacity: CapacityId, which: usize) {
        let Some(instances) = self.capacities[capacity.index()].plan.instances() else { return };
        let Some(event) = instances.spot.events.get(which) else { return };
        let Some(group) = self.group(capacity) else { return };
        let draw = Draw::new(group.draws).of(purpose::EVENT).of(which as u64);
        let hit = self.spot_instances(capacity, |n| {
            let kind = group.types.get(n.spec.kind as usize).map_or("", |t| t.of.name);
            (event.zones.is_empty() || event.zones.contains(&n.spec.zone.0))
                && (event.types.is_empty() || event.types.iter().any(|t| t == kind))
                && unit_f64(draw.of(self.nodes[n.id.index()].draw).bits()) < event.share
        });
        let now = self.queue.now();
        let short = instances.spot.shortage.law().quantile(draw.of(purpose::SHORTAGE).unit());
        for node in hit {
            let spec = self.cluster.node(node).spec;
            if let Some(group) = self.group_mut(capacity)
                && let Some(at) = group.pools.iter().position(|p| p.kind == spec.kind && p.zone == spec.zone)
                && let Some(pool) = group.spot.get_mut(at)
            {
                pool.short_until = pool.short_until.max(now + SimDuration::from_secs_f64(short));
            }
            self.spot_notice(node);
        }
    }

    /// Whether a Spot pool has an instance to give.
    pub(super) fn spot_has(&self, capacity: CapacityId, kind: u32, zone: ZoneId) -> bool {
        let now = self.queue.now();
        self.group(capacity).is_some_and(|g| {
            let at = g.pools.iter().position(|p| p.kind == kind && p.zone == zone);
            at.and_then(|at| g.spot.get(at)).is_some_and(|p| now >= p.short_until)
        })
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
        if let Some(group) = self.group_mut(capacity) {
            group.trouble.interrupted += 1;
        }
        self.record_spot(node, "interruption_notice", "EC2 takes the Spot instance back");
        self.schedule_timer_if_due(Timer::Reclaimed(node), now + notice, Phase::State);
        self.recommend_rebalance(node);
        if plan.drains_on_notice() {
            self.drain_node(node);
        }
    }

    /// The notice of an interruption is over: the instance is gone.
    pub(super) fn on_reclaimed(&mut self, node: NodeId) {
        let capacity = self.cluster.node(node).spec.capacity;
        let runs = self.cluster.tasks_on(node).any(|t| t.status < TaskStatus::Deprovisioning);
        if runs && let Some(group) = self.group_mut(capacity) {
            group.trouble.cut_off += 1;
        }
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
