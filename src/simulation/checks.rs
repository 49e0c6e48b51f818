//! Health checks of targets and containers, and what the scheduler makes of them.

use super::kube::probes::KINDS;
use super::start::purpose;
use super::{Simulation, Timer};
use crate::cluster::health::{ContainerHealthMemory, Health, container_check};
use crate::cluster::target_health::{TargetHealthMemory, TargetState as Verdict, target_check};
use crate::cluster::{Command, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime};
use crate::kubernetes::probes::ProbeKind;
use crate::rollout::health::{Check, TaskChecks, TaskVerdict, verdict};
use crate::units::TaskId;

/// What is remembered of a target between its checks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TargetMemory {
    memory: TargetHealthMemory,
}

impl TargetMemory {
    pub(super) fn state(&self) -> Verdict {
        self.memory.state
    }

    pub(super) fn start_healthy(&mut self) {
        self.memory = TargetHealthMemory { state: Verdict::Healthy, run: 0 };
    }
}

/// What is remembered of the main container between its checks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContainerMemory {
    memory: ContainerHealthMemory,
    pub(super) checks_from: SimTime,
}

impl ContainerMemory {
    pub(super) fn start_healthy(&mut self) {
        self.memory = ContainerHealthMemory { health: Health::Healthy, failures: 0 };
    }
}

const TARGET: u64 = 0;
const CONTAINER: u64 = 1;
/// Probes of the kubelet begin here.
const PROBES: u64 = 2;
/// Bits of a token that say what the check is.
const KIND_BITS: u32 = 3;

/// The token of a probe of the kubelet.
pub(super) fn probe_token(task: TaskId, kind: ProbeKind) -> u64 {
    let number = KINDS.iter().position(|k| *k == kind).unwrap_or(0) as u64;
    u64::from(task.0) << KIND_BITS | (PROBES + number)
}

impl Simulation<'_> {
    /// Schedules the first check of a task's target (`true`) or main container (`false`).
    ///
    /// A target is probed as soon as it is registered. Tasks that run when the simulation starts are
    /// somewhere between two checks.
    pub(super) fn begin_checks(&mut self, task: TaskId, target: bool) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let plan = self.services[service.index()].plan;
        let share = Draw::new(self.tasks[task.index()].draw).of(purpose::CHECK_PHASE).unit();
        let at_start = now == SimTime::ZERO;
        let runtime = &mut self.tasks[task.index()];
        if target {
            let Some(lb) = &plan.load_balancer else { return };
            let wait = if at_start { lb.health_check.interval.mul_f64(share) } else { SimDuration::ZERO };
            self.schedule_timer_if_due(Timer::TargetCheck(task), now + wait, Phase::State);
        } else if let Some(check) = &plan.task.health_check {
            if at_start {
                runtime.container.checks_from = now;
            }
            let wait = if at_start { check.interval.mul_f64(share) } else { check.interval };
            let at = (runtime.container.checks_from + wait).max(now);
            self.schedule_timer_if_due(Timer::ContainerCheck(task), at, Phase::State);
        }
    }

    pub(super) fn on_target_check(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let Some(lb) = &self.services[service.index()].plan.load_balancer else { return };
        let check = &lb.health_check;
        let next = self.queue.now() + check.interval;
        if let Some(server) = self.tasks[task.index()].server {
            let token = u64::from(task.0) << KIND_BITS | TARGET;
            self.data.probe(&mut self.queue, server, check.cpu_time, check.timeout, token);
            self.schedule_timer_if_due(Timer::TargetCheck(task), next, Phase::State);
        }
    }

    pub(super) fn on_container_check(&mut self, task: TaskId) {
        let service = self.cluster.task(task).service;
        let Some(check) = &self.services[service.index()].plan.task.health_check else { return };
        let next = self.queue.now() + check.interval;
        // A machine that is lost reports nothing.
        let alive = self.tasks[task.index()].server.filter(|_| !self.tasks[task.index()].machine_lost);
        if let Some(server) = alive {
            let token = u64::from(task.0) << KIND_BITS | CONTAINER;
            self.data.probe(&mut self.queue, server, check.cpu_time, check.timeout, token);
            self.schedule_timer_if_due(Timer::ContainerCheck(task), next, Phase::State);
        }
    }

    /// A probe was answered, or failed.
    pub(super) fn on_probe(&mut self, token: u64, ok: bool) {
        let task = TaskId((token >> KIND_BITS) as u32);
        let what = token & ((1 << KIND_BITS) - 1);
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let plan = self.services[service.index()].plan;
        let ok = ok && !self.tasks[task.index()].sick && !self.check_fails(task);
        if let Some(kind) = what.checked_sub(PROBES).and_then(|n| KINDS.get(n as usize)) {
            self.on_kubelet_probe(task, *kind, ok);
            return;
        }
        let runtime = &mut self.tasks[task.index()];
        if what == TARGET {
            let Some(lb) = &plan.load_balancer else { return };
            if runtime.server.is_none() || !runtime.registered || runtime.deregistering {
                return;
            }
            let before = runtime.target.memory;
            let after = target_check(&lb.health_check, before, ok);
            runtime.target.memory = after;
            if after.state != before.state {
                self.show_target(task);
                self.recorder.target_state(now, task, after.state);
            }
        } else if let Some(check) = &plan.task.health_check {
            let since = now.since(runtime.container.checks_from);
            let before = runtime.container.memory.health;
            runtime.container.memory = container_check(check, runtime.container.memory, since, ok);
            let after = runtime.container.memory.health;
            if after != before && self.cluster.task(task).stop_code.is_none() {
                self.publish(task, after == Health::Healthy);
            }
        }
        self.refresh_health(task);
    }

    /// Works out what the scheduler believes of a task, and when time alone will change it.
    pub(super) fn refresh_health(&mut self, task: TaskId) {
        if self.is_kube() {
            self.refresh_ready(task);
            self.wake_scheduler(self.cluster.task(task).service);
            return;
        }
        let now = self.queue.now();
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let plan = self.services[t.service.index()].plan;
        let runtime = &self.tasks[task.index()];
        let checks = TaskChecks {
            running_since: t.times.started,
            container: plan.task.health_check.as_ref().map(|_| runtime.container.memory.health),
            target: plan.load_balancer.as_ref().map(|_| runtime.target.memory.state),
        };
        let grace = SimDuration::from_secs(u64::from(plan.ecs.health_check_grace_period_seconds));
        let settled = SimDuration::from_secs(u64::from(plan.ecs.seconds_running_before_healthy));
        let before = t.health;
        let (verdict, next) = verdict(&checks, now, grace, settled);
        if let Some(at) = next {
            self.schedule_timer_if_due(Timer::Settle(task), at, Phase::State);
        }
        let health = match verdict {
            TaskVerdict::NotYet => Health::Unknown,
            TaskVerdict::Healthy => Health::Healthy,
            TaskVerdict::Unhealthy(check) => {
                self.tasks[task.index()].stop_reason = match check {
                    Check::Container => "Task failed container health checks".into(),
                    Check::LoadBalancer => "Task failed ELB health checks".into(),
                };
                Health::Unhealthy
            }
        };
        if health != before {
            self.apply(Command::SetHealth { task, health });
        }
    }
}
