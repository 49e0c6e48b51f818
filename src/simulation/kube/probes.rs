//! Probes of the kubelet at work, and containers that are started again.

use super::super::life::StartStep;
use super::super::start::{draw_time, purpose};
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use super::backoff::Waiting;
use crate::cluster::{StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::kubelet::CrashBackoff;
use crate::kubernetes::probes::{ProbeEffect, ProbeKind, ProbeSpec, Probes};
use crate::scenario::model::{KubernetesService, Probe};
use crate::units::TaskId;

/// The kinds of probes, by the numbers that tokens of checks have.
pub(in crate::simulation) const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

fn spec(probe: &Probe) -> ProbeSpec {
    let secs = |s: u32| SimDuration::from_secs(u64::from(s));
    ProbeSpec {
        initial_delay: secs(probe.initial_delay_seconds),
        period: secs(probe.period_seconds),
        timeout: secs(probe.timeout_seconds),
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        termination_grace_period: None,
    }
}

/// The probes of a workload's container.
pub(super) fn probes_of(k: &KubernetesService) -> Probes {
    Probes {
        startup: k.startup_probe.as_ref().map(spec),
        readiness: k.readiness_probe.as_ref().map(spec),
        liveness: k.liveness_probe.as_ref().map(spec),
    }
}

impl Simulation<'_> {
    fn probe(&self, task: TaskId, kind: ProbeKind) -> Option<&Probe> {
        let k = &self.services[self.cluster.task(task).service.index()].plan.kubernetes;
        match kind {
            ProbeKind::Startup => k.startup_probe.as_ref(),
            ProbeKind::Liveness => k.liveness_probe.as_ref(),
            ProbeKind::Readiness => k.readiness_probe.as_ref(),
        }
    }

    fn probes(&self, task: TaskId) -> Probes {
        self.kube().workloads[self.cluster.task(task).service.index()].probes
    }

    /// A container has started: its probes begin.
    pub(super) fn begin_probes(&mut self, task: TaskId) {
        let now = self.queue.now();
        let probes = self.probes(task);
        self.kube_mut().pods[task.index()].probes.container_started(&probes, now);
        self.next_probe(task);
    }

    /// The probes of a pod that has run for long have passed; their ticks lie anywhere in the period.
    pub(super) fn probes_have_passed(&mut self, task: TaskId) {
        let now = self.queue.now();
        let probes = self.probes(task);
        self.kube_mut().pods[task.index()].probes.container_started(&probes, now);
        for kind in KINDS {
            let Some(probe) = probes.get(kind) else { continue };
            let memory = &mut self.kube_mut().pods[task.index()].probes;
            for _ in 0..probe.success_threshold {
                memory.result(&probes, kind, true, now);
            }
        }
        let share = self.draw_of(task).of(purpose::CHECK_PHASE).unit();
        let period = probes.readiness.or(probes.liveness).map_or(SimDuration::ZERO, |p| p.period);
        if !period.is_zero() {
            self.schedule_timer_if_due(Timer::Probe(task), now + period.mul_f64(share), Phase::State);
        }
    }

    fn next_probe(&mut self, task: TaskId) {
        let now = self.queue.now();
        let probes = self.probes(task);
        match self.kube().pods[task.index()].probes.next_tick(&probes, now) {
            Some((at, _)) => self.schedule_timer_if_due(Timer::Probe(task), at, Phase::State),
            None => {
                self.queue.cancel_timer(Timer::Probe(task));
            }
        }
    }

    /// Probes of a pod end with it.
    pub(super) fn end_probes(&mut self, task: TaskId) {
        self.kube_mut().pods[task.index()].probes.container_stopped();
        self.queue.cancel_timer(Timer::Probe(task));
    }

    /// It is time for a probe.
    pub(in crate::simulation) fn on_probe_due(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let probes = self.probes(task);
        if let Some((at, kind)) = self.kube().pods[task.index()].probes.next_tick(&probes, now)
            && at <= now
        {
            self.kube_mut().pods[task.index()].probes.begin(kind, at);
            if self.on_silent_node(task) {
                // The kubelet reaches its own pods, if there still is one.
                let runtime = &self.tasks[task.index()];
                if !runtime.machine_lost {
                    let ok = !runtime.sick;
                    self.on_kubelet_probe(task, kind, ok);
                }
            } else if let (Some(probe), Some(server)) = (self.probe(task, kind), self.tasks[task.index()].server)
                && !self.tasks[task.index()].machine_lost
            {
                let timeout = SimDuration::from_secs(u64::from(probe.timeout_seconds));
                let work = probe.cpu_time;
                let token = super::super::checks::probe_token(task, kind);
                self.data.probe(&mut self.queue, server, work, timeout, token);
            }
        }
        self.next_probe(task);
    }

    /// A probe was answered, or failed.
    pub(in crate::simulation) fn on_kubelet_probe(&mut self, task: TaskId, kind: ProbeKind, ok: bool) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let probes = self.probes(task);
        match self.kube_mut().pods[task.index()].probes.result(&probes, kind, ok, now) {
            ProbeEffect::Kill(kind) => {
                let why = match kind {
                    ProbeKind::Startup => "its startup probe failed",
                    _ => "its liveness probe failed",
                };
                self.restart_container(task, why);
            }
            ProbeEffect::None => {}
            ProbeEffect::Started | ProbeEffect::Ready | ProbeEffect::NotReady => self.refresh_ready(task),
        }
        self.next_probe(task);
    }

    /// Whether the containers of a pod are ready: started, and the readiness probe has passed.
    pub(super) fn containers_ready(&self, task: TaskId) -> bool {
        let pod = &self.kube().pods[task.index()];
        pod.container_started.is_some() && pod.probes.ready(&self.probes(task))
    }

    /// A container ended or was killed: the kubelet starts it again, later each time.
    pub(in crate::simulation) fn restart_container(&mut self, task: TaskId, why: &str) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        if t.status != TaskStatus::Running || t.stop_code.is_some() {
            return;
        }
        let service = t.service;
        if self.job_of(service).is_some() {
            // `restartPolicy: Never`: the pod has failed.
            self.tasks[task.index()].stop_reason = format!("Failed: {why}");
            self.end_task(task, StopCode::EssentialContainerExited);
            return;
        }
        self.end_probes(task);
        self.services[service.index()].trouble.note(TroubleKind::Restarted, now);
        if let Some(server) = self.tasks[task.index()].server {
            self.account_cpu(task);
            self.data.kill(&mut self.queue, server);
        }
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.container_started = None;
        pod.restarts += 1;
        let restarts = pod.restarts;
        let (at, crashes) = CrashBackoff::default().restart(pod.crashes, now);
        pod.crashes = crashes;
        pod.tries.waiting = Some(Waiting::CrashLoopBackOff);
        let rolled_out = pod.was_ready && !self.cluster.service(service).deploying();
        let w = &mut self.kube_mut().workloads[service.index()];
        w.most_restarts = w.most_restarts.max(restarts);
        w.restart_why = why.to_string();
        let runtime = &mut self.tasks[task.index()];
        runtime.stop_reason = format!("Restarted: {why}");
        runtime.start = StartStep::Restart;
        self.queue.cancel_timer(Timer::Exit(task));
        self.queue.set_timer(Timer::Start(task), at, Phase::State);
        if !rolled_out {
            self.count_failed_pod(task);
        }
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
        let pod = &mut self.kube_mut().pods[task.index()];
        pod.container_started = Some(now);
        pod.tries.waiting = None;
        self.begin_probes(task);
        self.refresh_ready(task);
    }

    /// When a pod was bound, for the memory of its probes.
    pub(super) fn kubelet_takes(&mut self, task: TaskId, at: SimTime) {
        self.kube_mut().pods[task.index()].probes = crate::kubernetes::probes::ProbeMemory::new(at);
    }
}
