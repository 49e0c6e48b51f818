//! Spot at work: recommendations, notices, and the end of what has not left in time.

use super::{Simulation, Timer};
use crate::cluster::{LifeCycle, Market, NodeEnd, TaskStatus};
use crate::kernel::{Phase, SimTime};
use crate::output::{DecisionDetail, DecisionRow};
use crate::units::{CapacityId, NodeId, ZoneId};

impl Simulation<'_> {
    /// Whether a Spot pool has an instance to give.
    pub(super) fn spot_has(&self, _capacity: CapacityId, _kind: u32, _zone: ZoneId) -> bool {
        true
    }

    /// EC2 recommends to replace a Spot instance.
    pub(super) fn recommend_rebalance(&mut self, node: NodeId) {
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
        let n = self.cluster.node(node);
        let capacity = n.spec.capacity;
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
            time_s: SimTime::into(self.queue.now()),
            controller: "spot".into(),
            subject: format!("capacity.{capacity}").into(),
            reason: reason.into(),
            explanation: format!("{text}: instance {} of type {kind} in zone {zone}", node.0).into(),
            ..DecisionRow::default()
        };
        let detail =
            DecisionDetail { observation: serde_json::json!({ "node": node.0 }), memory: serde_json::Value::Null };
        self.recorder.decision(&row, &detail);
    }
}
