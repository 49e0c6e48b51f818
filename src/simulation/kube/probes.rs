//! Probes of the kubelet at work, and containers that are started again.

use super::super::life::StartStep;
use super::super::start::{draw_time, purpose};
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use crate::cluster::TaskStatus;
use crate::kernel::{Phase, SimDuration};
use crate::kubernetes::probes::{ProbeMemory, ProbeSpec, Verdict};
use crate::scenario::model::Probe;
use crate::units::TaskId;

/// Kinds of probes; their places in the tokens of health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// The kind of a number from [`Kind::number`].
    pub(in crate::simulation) fn of(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    pub(in crate::simulation) const fn number(self) -> u8 {
        self as u8
    }
}

/// What is remembered of a pod's probes.
#[derive(Clone, Debug, Default)]
pub(in crate::simulation) struct Probes {
    memory: [ProbeMemory; 3],
    /// The startup probe has succeeded, or there is none.
    started: bool,
}

impl Simulation<'_> {
    fn probe_of(&self, task: TaskId, kind: Kind) -> Option<&Probe> {
        let k = &self.services[self.cluster.task(task).service.index()].plan.kubernetes;
        match kind {
            Kind::Startup => k.startup_probe.as_ref(),
            Kind::Liveness => k.liveness_probe.as_ref(),
            Kind::Readiness => k.readiness_probe.as_ref(),
        }
    }

    /// A container has started: its probes begin.
    pub(super) fn begin_probes(&mut self, task: TaskId) {
        let started = self.probe_of(task, Kind::Startup).is_none();
        self.kube_mut().pods[task.index()].probes = Probes { started, ..Probes::default() };
        for kind in Kind::ALL {
            self.schedule_probe(task, kind, true);
        }
    }

    /// The probes of a pod that has run for long have passed.
    pub(super) fn probes_have_passed(&mut self, task: TaskId) {
        let mut probes = Probes { started: true, ..Probes::default() };
        for memory in &mut probes.memory {
            memory.passed = Some(true);
        }
        self.kube_mut().pods[task.index()].probes = probes;
        for kind in [Kind::Liveness, Kind::Readiness] {
            if let Some(probe) = self.probe_of(task, kind) {
                // Somewhere between two of them.
                let share = self.draw_of(task).of(purpose::CHECK_PHASE).of(u64::from(kind.number())).unit();
                let period = SimDuration::from_secs(u64::from(probe.period_seconds));
                let at = self.queue.now() + period.mul_f64(share);
                self.schedule_timer_if_due(Timer::Probe(task, kind.number()), at, Phase::State);
            }
        }
    }

    fn schedule_probe(&mut self, task: TaskId, kind: Kind, first: bool) {
        let Some(probe) = self.probe_of(task, kind) else { return };
        let period = SimDuration::from_secs(u64::from(probe.period_seconds));
        let delay = SimDuration::from_secs(u64::from(probe.initial_delay_seconds));
        let started = self.kube().pods[task.index()].container_started.unwrap_or_else(|| self.queue.now());
        let now = self.queue.now();
        let mut at = if first { started } else { now + period };
        // Ticks come each period from the start; those before the initial delay do nothing.
        while at < started + delay {
            at += period;
        }
        self.schedule_timer_if_due(Timer::Probe(task, kind.number()), at.max(now), Phase::State);
    }

    /// Probes of a pod end with it.
    pub(super) fn end_probes(&mut self, task: TaskId) {
        for kind in Kind::ALL {
            self.queue.cancel_timer(Timer::Probe(task, kind.number()));
        }
    }

    /// It is time for a probe.
    pub(in crate::simulation) fn on_probe_due(&mut self, task: TaskId, number: u8) {
        let Some(kind) = Kind::of(u64::from(number)) else { return };
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let started = self.kube().pods[task.index()].probes.started;
        let waits = kind != Kind::Startup && !started;
        let done = kind == Kind::Startup && started;
        if done {
            return;
        }
        if !waits
            && let (Some(probe), Some(server)) = (self.probe_of(task, kind), self.tasks[task.index()].server)
            && !self.tasks[task.index()].machine_lost
        {
            let timeout = SimDuration::from_secs(u64::from(probe.timeout_seconds));
            let work = probe.cpu_time;
            let token = super::super::checks::probe_token(task, kind);
            self.data.probe(&mut self.queue, server, work, timeout, token);
        }
        self.schedule_probe(task, kind, false);
    }

    /// A probe was answered, or failed.
    pub(in crate::simulation) fn on_kubelet_probe(&mut self, task: TaskId, kind: Kind, ok: bool) {
        let Some(spec) = self
            .probe_of(task, kind)
            .map(|p| ProbeSpec { success_threshold: p.success_threshold, failure_threshold: p.failure_threshold })
        else {
            return;
        };
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let probes = &mut self.kube_mut().pods[task.index()].probes;
        let verdict = probes.memory[usize::from(kind.number())].result(&spec, ok);
        match (kind, verdict) {
            (Kind::Startup, Verdict::Passed) => {
                probes.started = true;
                self.queue.cancel_timer(Timer::Probe(task, kind.number()));
            }
            (Kind::Startup, Verdict::Failed) => self.restart_container(task, "its startup probe failed"),
            (Kind::Liveness, Verdict::Failed) => self.restart_container(task, "its liveness probe failed"),
            _ => {}
        }
        self.refresh_ready(task);
    }

    /// Whether the containers of a pod are ready: started, and the readiness probe has passed.
    pub(super) fn containers_ready(&self, task: TaskId) -> bool {
        let pod = &self.kube().pods[task.index()];
        let runs = pod.container_started.is_some() && self.tasks[task.index()].start != StartStep::Restart;
        let readiness = self.probe_of(task, Kind::Readiness).is_none()
            || pod.probes.memory[usize::from(Kind::Readiness.number())].passed == Some(true);
        runs && pod.probes.started && readiness
    }

    /// A container ended or was killed: the kubelet starts it again, later each time.
    pub(in crate::simulation) fn restart_container(&mut self, task: TaskId, why: &str) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let service = t.service;
        self.end_probes(task);
        self.services[service.index()].trouble.note(TroubleKind::Restarted, now);
        if let Some(server) = self.tasks[task.index()].server {
            self.account_cpu(task);
            self.data.kill(&mut self.queue, server);
        }
        let pod = &mut self.kube_mut().pods[task.index()];
        let ran = pod.container_started.take().map(|at| now.since(at));
        pod.restarts += 1;
        pod.crashes =
            if ran.is_some_and(|ran| ran >= crate::kubernetes::probes::BACKOFF_RESET) { 1 } else { pod.crashes + 1 };
        let wait = crate::kubernetes::probes::crash_backoff(pod.crashes);
        let runtime = &mut self.tasks[task.index()];
        runtime.stop_reason = format!("Restarted: {why}");
        runtime.start = StartStep::Restart;
        self.queue.cancel_timer(Timer::Exit(task));
        self.queue.set_timer(Timer::Start(task), now + wait, Phase::State);
        self.refresh_ready(task);
    }

    /// The back-off of a container is over.
    pub(in crate::simulation) fn on_restart(&mut self, task: TaskId) {
        let now = self.queue.now();
        if let Some(server) = self.tasks[task.index()].server {
            self.leave_balancer(task, server);
            self.drop_server(task, server);
            self.tasks[task.index()].deregistering = false;
        }
        self.add_server(task);
        let t = self.cluster.task(task);
        let revision = &self.services[t.service.index()].revisions[t.revision as usize];
        let restarts = u64::from(self.kube().pods[task.index()].restarts);
        let draw = self.draw_of(task).of(purpose::RESTART).of(restarts);
        let ready = draw_time(&revision.startup, draw, purpose::STARTUP);
        let crash = revision.crashes_after.as_ref().map(|law| draw_time(law, draw, purpose::CRASH));
        let runtime = &mut self.tasks[task.index()];
        runtime.start = StartStep::ReadyAgain;
        self.queue.set_timer(Timer::Start(task), now + ready, Phase::State);
        if let Some(after) = crash {
            self.queue.set_timer(Timer::Exit(task), now + after, Phase::State);
        }
        self.kube_mut().pods[task.index()].container_started = Some(now);
        self.begin_probes(task);
        self.refresh_ready(task);
    }
}
