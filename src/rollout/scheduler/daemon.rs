//! DAEMON services: one task on each container instance.
//!
//! Rule: each ACTIVE instance that meets the constraints gets one task; a DRAINING one gets none, and the
//! task that is there stops last, when no task of another service is left on it. The maximumPercent is 100,
//! so a task is replaced by stopping it first, as many at once as minimumHealthyPercent of the instances
//! allows.
//!
//! Source: ECS developer guide, `ecs_service-options`. The tasks are not scaled in, so nothing protects
//! them.

use std::collections::BTreeMap;

use super::{
    BreakerEvent, Class, Hold, Pass, RolloutState, SchedulerCommand, StartReason, StopReason, TaskId, TaskStatus,
    class, record, rolling, throttle,
};
use crate::units::NodeId;

impl Pass<'_> {
    /// The whole pass after the checks that fail a deployment.
    pub(super) fn keep_one_on_each_instance(&mut self) {
        let stops = self.daemon_stops();
        for (task, reason) in stops {
            self.stop(task, reason);
        }
        if self.in_progress() && self.fail() {
            return;
        }
        self.daemon_starts();
        // Old tasks on DRAINING instances go with these.
        let old = |t: &&super::TaskView| {
            t.status != TaskStatus::Stopped && t.revision != self.primary.revision && !t.draining
        };
        self.old_left = self.obs.tasks.iter().filter(old).count() as u32;
        self.complete();
    }

    fn daemon_stops(&mut self) -> Vec<(TaskId, StopReason)> {
        let mut stops = Vec::new();
        let mut healthy = Vec::new();
        let (mut kept, mut healthy_here) = (BTreeMap::<NodeId, (bool, TaskId)>::new(), 0_u32);
        for task in &self.obs.tasks {
            let (Some(node), Some(class)) = (task.node, class(task)) else { continue };
            let here = self.obs.nodes.iter().find(|n| n.id == node);
            if task.draining || here.is_none_or(|n| !n.active) {
                if here.is_none_or(|n| n.others == 0) {
                    stops.push((task.id, StopReason::Draining));
                }
                continue;
            }
            let new = task.revision == self.primary.revision;
            healthy_here += u32::from(class == Class::Healthy);
            // Two on one instance: the newer revision stays, and of it the first.
            if let Some((kept_is_new, other)) = kept.insert(node, (new, task.id)) {
                let goes = if new && !kept_is_new { other } else { task.id };
                if goes == task.id {
                    kept.insert(node, (kept_is_new, other));
                }
                stops.push((goes, StopReason::Surplus));
                if goes == task.id {
                    continue;
                }
            }
            let failed = self.primary.state == RolloutState::Failed;
            match class {
                Class::Unhealthy if new && failed => {}
                Class::Unhealthy => {
                    stops.push((task.id, StopReason::Unhealthy));
                    if new && self.in_progress() {
                        let event = BreakerEvent::FailedHealthCheck;
                        self.deployment.breaker = record(self.spec, self.deployment.breaker, event, self.obs.desired);
                    }
                }
                _ if new || failed => {}
                Class::Healthy => healthy.push(task.id),
                Class::Pending | Class::NoVerdict => stops.push((task.id, StopReason::OldRevision)),
            }
        }
        let minimum = self.spec.deployment.minimum_healthy_percent;
        let room = healthy_here.saturating_sub(rolling::bounds(self.obs.desired, minimum, 100).min_healthy);
        self.budget.may_stop_healthy = room;
        stops.extend(healthy.into_iter().take(room as usize).map(|t| (t, StopReason::OldRevision)));
        stops.sort_by_key(|(task, _)| *task);
        stops.dedup_by_key(|(task, _)| *task);
        stops
    }

    fn daemon_starts(&mut self) {
        let counts = |t: &&super::TaskView| {
            t.status != TaskStatus::Stopped
                && (self.spec.stopping_counts || !(t.stopping || t.status > TaskStatus::Running))
        };
        let taken: Vec<NodeId> = {
            let mut taken: Vec<NodeId> = self.obs.tasks.iter().filter(counts).filter_map(|t| t.node).collect();
            taken.sort_unstable();
            taken
        };
        let empty: Vec<_> = self
            .obs
            .nodes
            .iter()
            .filter(|n| n.active && taken.binary_search(&n.id).is_err())
            .map(|n| (n.id, n.capacity, n.zone))
            .collect();
        self.budget.may_start = empty.len() as u32;
        if empty.is_empty() {
            return;
        }
        let room = self.obs.provisioning_slots.min(self.obs.launch_tokens) as usize;
        let throttled = throttle::blocked_until(self.memory.throttle, self.obs.now);
        let failed = self.primary.state == RolloutState::Failed;
        let n = if failed || throttled.is_some() { 0 } else { empty.len().min(room) };
        let (deployment, revision) = (self.deployment.id, self.deployment.revision);
        let reason = if self.in_progress() { StartReason::NewRevision } else { StartReason::Daemon };
        for &(node, capacity, zone) in &empty[..n] {
            let node = Some(node);
            self.commands.push(SchedulerCommand::Start { deployment, revision, capacity, zone, node, reason });
            self.counts.pending += 1;
        }
        let held = (empty.len() - n) as u32;
        if held == 0 {
            return;
        }
        let by = if failed {
            Hold::Failed
        } else if let Some(until) = throttled {
            self.wake_at(until);
            Hold::Throttle { until }
        } else if self.obs.launch_tokens < self.obs.provisioning_slots {
            Hold::LaunchRate
        } else {
            Hold::Provisioning
        };
        self.commands.push(SchedulerCommand::Held { tasks: held, by });
    }
}
