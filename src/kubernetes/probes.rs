//! Startup, readiness and liveness probes of one container.
//!
//! Rule: each probe ticks at its own period from the moment its worker starts, which is when the kubelet takes
//! the pod, and ticks at once when it starts. A tick does nothing before the whole seconds since the
//! container's start reach `initialDelaySeconds`. A result counts after as many equal ones in a row as the threshold says; until then
//! readiness is failing, liveness passing and startup unknown. With a startup probe the others wait until it
//! has succeeded, and it rests from then on. When startup or liveness fail for good the container is killed
//! and that probe rests until a new container runs. While a container is not ready, a change of the pod's status lets
//! the readiness probe run at once, and its period counts from there.
//!
//! Source: `pkg/kubelet/prober/worker.go` and `prober_manager.go` of Kubernetes; defaults of the API.
//!
//! Known departures: the random first tick after a restart of the kubelet is left out, since no kubelet
//! restarts; the status changes that trigger the readiness probe are the start of the container and the
//! success of its startup probe. As in reality, a run of equal results goes on over a restart of the
//! container unless the probe itself had it killed.

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};

/// One probe, with the names of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSpec {
    /// `initialDelaySeconds`: 0.
    pub initial_delay: SimDuration,
    /// `periodSeconds`: 10, at least 1.
    pub period: SimDuration,
    /// `timeoutSeconds`: 1, at least 1.
    pub timeout: SimDuration,
    /// `successThreshold`: 1, and nothing else for startup and liveness.
    pub success_threshold: u32,
    /// `failureThreshold`: 3, at least 1.
    pub failure_threshold: u32,
    /// `terminationGracePeriodSeconds` for a container that this probe has killed; absent for the pod's. Not for readiness.
    pub termination_grace_period: Option<SimDuration>,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self {
            initial_delay: SimDuration::ZERO,
            period: SimDuration::from_secs(10),
            timeout: SimDuration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
            termination_grace_period: None,
        }
    }
}

/// The probes of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// `startupProbe`.
    pub startup: Option<ProbeSpec>,
    /// `readinessProbe`.
    pub readiness: Option<ProbeSpec>,
    /// `livenessProbe`.
    pub liveness: Option<ProbeSpec>,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Whether the application has started.
    Startup,
    /// Whether it may get traffic.
    Readiness,
    /// Whether it must be restarted.
    Liveness,
}

const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Readiness, ProbeKind::Liveness];

impl Probes {
    /// The specification of a probe.
    #[must_use]
    pub const fn get(&self, kind: ProbeKind) -> Option<&ProbeSpec> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worker {
    /// An instant from which its ticks are whole periods away.
    base: SimTime,
    /// Its last tick that ran a probe: later ticks come after it.
    after: Option<SimTime>,
    /// A tick that passed while the probe ran and is made up for at this instant.
    late: Option<SimTime>,
    last: Option<bool>,
    run: u32,
    /// What counts.
    verdict: Option<bool>,
    /// Resting until a new container runs.
    on_hold: bool,
}

/// What is remembered of the probes of one container of one pod, over its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeMemory {
    workers: [Worker; 3],
    /// Since when the container runs; absent while it does not.
    running: Option<SimTime>,
    deleting: bool,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeEffect {
    /// Nothing.
    None,
    /// The container counts as started: the other probes begin. Without a readiness probe it is ready too.
    Started,
    /// The container is ready.
    Ready,
    /// The container is no longer ready.
    NotReady,
    /// The container is to be killed and, by the restart policy, started again.
    Kill(ProbeKind),
}

impl ProbeMemory {
    /// For a pod that the kubelet takes at `worker_start`.
    #[must_use]
    pub fn new(worker_start: SimTime) -> Self {
        let worker =
            Worker { base: worker_start, after: None, late: None, last: None, run: 0, verdict: None, on_hold: false };
        Self { workers: [worker; 3], running: None, deleting: false }
    }

    /// A container has started: verdicts are as at first, and probes that rested go on.
    pub fn container_started(&mut self, probes: &Probes, now: SimTime) {
        self.running = Some(now);
        for worker in &mut self.workers {
            worker.verdict = None;
            worker.on_hold = false;
        }
        if self.started(probes) {
            self.trigger_readiness(now);
        }
    }

    /// The container has ended, or its killing has begun and it answers no more.
    pub fn container_stopped(&mut self) {
        self.running = None;
    }

    /// The pod's deletion was asked for: startup and liveness rest for good, readiness goes on.
    pub fn deletion_requested(&mut self) {
        self.deleting = true;
    }

    /// Whether the container has started, as `status.started` says.
    #[must_use]
    pub fn started(&self, probes: &Probes) -> bool {
        let startup = &self.workers[ProbeKind::Startup as usize];
        self.running.is_some() && (probes.startup.is_none() || startup.verdict == Some(true))
    }

    /// Whether the container is ready: it runs, has started, and its readiness probe, if there is one, passes.
    #[must_use]
    pub fn ready(&self, probes: &Probes) -> bool {
        let readiness = &self.workers[ProbeKind::Readiness as usize];
        self.started(probes) && (probes.readiness.is_none() || readiness.verdict == Some(true))
    }

    /// The next tick that runs a probe, not before `now`; of several at one instant startup, readiness,
    /// liveness in this order. Call it again after every change and every result.
    #[must_use]
    pub fn next_tick(&self, probes: &Probes, now: SimTime) -> Option<(SimTime, ProbeKind)> {
        let ticks = KINDS.iter().filter_map(|&kind| {
            let spec = probes.get(kind)?;
            Some((self.tick_of(kind, spec, probes, now)?, kind))
        });
        ticks.min()
    }

    fn tick_of(&self, kind: ProbeKind, spec: &ProbeSpec, probes: &Probes, now: SimTime) -> Option<SimTime> {
        let worker = &self.workers[kind as usize];
        let running = self.running?;
        let asleep = worker.on_hold
            || (self.deleting && kind != ProbeKind::Readiness)
            || (kind == ProbeKind::Startup) == self.started(probes);
        if asleep {
            return None;
        }
        let earliest = now.max(running + spec.initial_delay);
        let period = spec.period.as_nanos().max(1);
        if let Some(late) = worker.late.filter(|late| *late >= earliest) {
            return Some(late);
        }
        let tick = |periods: u64| worker.base + SimDuration::from_nanos(periods.saturating_mul(period));
        let next = tick((earliest - worker.base).as_nanos().div_ceil(period));
        match worker.after.filter(|after| next <= *after) {
            Some(after) => Some(tick((after - worker.base).as_nanos() / period + 1)),
            None => Some(next),
        }
    }

    /// Says that the probe of a tick has begun; its result must follow before the probe ticks again.
    pub fn begin(&mut self, kind: ProbeKind, tick: SimTime) {
        let worker = &mut self.workers[kind as usize];
        worker.after = Some(tick);
        worker.late = None;
    }

    /// Takes the result of a probe; a time-out is a failure. A result of a container that no longer runs changes nothing.
    pub fn result(&mut self, probes: &Probes, kind: ProbeKind, success: bool, now: SimTime) -> ProbeEffect {
        let Some(spec) = probes.get(kind).filter(|_| self.running.is_some()) else { return ProbeEffect::None };
        let was_ready = self.ready(probes);
        let worker = &mut self.workers[kind as usize];
        let ticks = |at: SimTime| (at - worker.base).as_nanos() / spec.period.as_nanos().max(1);
        worker.late = worker.after.filter(|began| ticks(now) > ticks(*began)).map(|_| now);
        if worker.last == Some(success) {
            worker.run = worker.run.saturating_add(1);
        } else {
            worker.last = Some(success);
            worker.run = 1;
        }
        let threshold = if success { spec.success_threshold } else { spec.failure_threshold };
        if worker.run < threshold {
            return ProbeEffect::None;
        }
        let before = worker.verdict.replace(success);
        if kind != ProbeKind::Readiness && !success {
            worker.on_hold = true;
            worker.run = 0;
            return ProbeEffect::Kill(kind);
        }
        if kind == ProbeKind::Startup && before != Some(true) {
            self.trigger_readiness(now);
            return ProbeEffect::Started;
        }
        match (was_ready, self.ready(probes)) {
            (false, true) => ProbeEffect::Ready,
            (true, false) => ProbeEffect::NotReady,
            _ => ProbeEffect::None,
        }
    }

    fn trigger_readiness(&mut self, now: SimTime) {
        let worker = &mut self.workers[ProbeKind::Readiness as usize];
        worker.base = now;
        worker.after = None;
        worker.late = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: u64) -> SimTime {
        SimTime::from_secs(s)
    }

    /// Runs every probe until an instant, with instant answers; tells of every effect.
    fn run(
        memory: &mut ProbeMemory,
        probes: &Probes,
        (from, until): (u64, u64),
        answer: impl Fn(ProbeKind, u64) -> bool,
    ) -> Vec<(u64, ProbeEffect)> {
        let mut effects = Vec::new();
        let mut now = secs(from);
        while let Some((tick, kind)) = memory.next_tick(probes, now).filter(|(tick, _)| *tick <= secs(until)) {
            now = tick;
            memory.begin(kind, tick);
            let at = tick.as_nanos() / 1_000_000_000;
            match memory.result(probes, kind, answer(kind, at), tick) {
                ProbeEffect::None => {}
                effect => effects.push((at, effect)),
            }
        }
        effects
    }

    #[test]
    fn a_startup_probe_holds_the_others_back() {
        let probes = Probes {
            startup: Some(ProbeSpec { failure_threshold: 30, ..ProbeSpec::default() }),
            readiness: Some(ProbeSpec { period: SimDuration::from_secs(5), ..ProbeSpec::default() }),
            liveness: Some(ProbeSpec::default()),
        };
        let mut memory = ProbeMemory::new(secs(3));
        assert_eq!(memory.next_tick(&probes, secs(4)), None, "nothing runs");
        memory.container_started(&probes, secs(7));
        // The startup probe ticks 10 s after the worker's start; the application answers from 30 s.
        let effects = run(&mut memory, &probes, (7, 60), |_, at| at >= 30);
        assert_eq!(effects, [(33, ProbeEffect::Started), (33, ProbeEffect::Ready)]);
    }

    #[test]
    fn liveness_kills_after_the_threshold_and_rests() {
        let probes = Probes { liveness: Some(ProbeSpec::default()), ..Probes::default() };
        let mut memory = ProbeMemory::new(secs(0));
        memory.container_started(&probes, secs(2));
        assert!(memory.ready(&probes), "no readiness probe");
        let effects = run(&mut memory, &probes, (2, 100), |_, at| at < 40);
        assert_eq!(effects, [(60, ProbeEffect::Kill(ProbeKind::Liveness))]);
        memory.container_stopped();
        assert!(!memory.ready(&probes));
        memory.container_started(&probes, secs(95));
        assert_eq!(memory.next_tick(&probes, secs(95)), Some((secs(100), ProbeKind::Liveness)));
        memory.deletion_requested();
        assert_eq!(memory.next_tick(&probes, secs(95)), None);
    }

    #[test]
    fn the_initial_delay_counts_from_the_container() {
        let delayed = ProbeSpec { initial_delay: SimDuration::from_secs(12), ..ProbeSpec::default() };
        let probes = Probes { liveness: Some(delayed), ..Probes::default() };
        let mut memory = ProbeMemory::new(secs(0));
        memory.container_started(&probes, secs(5));
        assert_eq!(memory.next_tick(&probes, secs(5)), Some((secs(20), ProbeKind::Liveness)));
    }

    #[test]
    fn readiness_comes_and_goes() {
        let readiness = ProbeSpec { success_threshold: 2, failure_threshold: 1, ..ProbeSpec::default() };
        let probes = Probes { readiness: Some(readiness), ..Probes::default() };
        let mut memory = ProbeMemory::new(secs(0));
        memory.container_started(&probes, secs(4));
        let effects = run(&mut memory, &probes, (4, 90), |_, at| !(50..60).contains(&at));
        // The first runs at once, and the period counts from there.
        assert_eq!(effects, [(14, ProbeEffect::Ready), (54, ProbeEffect::NotReady), (74, ProbeEffect::Ready)]);
    }

    #[test]
    fn a_probe_that_outlasts_its_period_ticks_right_after() {
        let slow =
            ProbeSpec { period: SimDuration::from_secs(1), timeout: SimDuration::from_secs(5), ..ProbeSpec::default() };
        let probes = Probes { liveness: Some(slow), ..Probes::default() };
        let mut memory = ProbeMemory::new(secs(0));
        memory.container_started(&probes, secs(0));
        memory.begin(ProbeKind::Liveness, secs(1));
        let done = SimTime::from_nanos(3_500_000_000);
        memory.result(&probes, ProbeKind::Liveness, false, done);
        assert_eq!(memory.next_tick(&probes, done), Some((done, ProbeKind::Liveness)));
    }
}
