//! The updater and the admission controller of the Vertical Pod Autoscaler at work: pods are evicted so that their successors
//! request what is recommended, and every new pod is admitted with it.

use super::super::scale::to_json;
use super::super::{Simulation, Timer};
use super::pods::PodSize;
use super::shapes::millicores;
use crate::cluster::TaskStatus;
use crate::kernel::{Draw, Phase, SimTime, Streams};
use crate::kubernetes::vpa::{
    Amounts, ControlledValues, Eviction, EvictionReason, UpdaterSettings, VpaPod, VpaSpec, evictions,
    proportional_limit,
};
use crate::output::{DecisionDetail, DecisionRow};
use crate::units::{Bytes, Cpu, ServiceId, TaskId};

/// The updater of a workload while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct UpdaterRuntime {
    settings: UpdaterSettings,
    /// Where in its interval it looks.
    phase: f64,
    /// Evictions that budgets refused at the last look.
    refused: u32,
}

impl UpdaterRuntime {
    pub(super) fn new(name: &str, streams: &Streams) -> Self {
        let phase = Draw::new(streams.root(&format!("vpa-updater/{name}"))).unit();
        Self { settings: UpdaterSettings::default(), phase, refused: 0 }
    }
}

impl PodSize {
    /// What it requests, as the Vertical Pod Autoscaler counts.
    pub(super) fn requests(&self) -> Amounts {
        Amounts { cpu_m: millicores(self.cpu), memory: i64::try_from(self.memory.get()).unwrap_or(i64::MAX) }
    }

    /// What the admission controller makes of a pod of this template.
    fn admitted(&self, spec: &VpaSpec, target: Amounts) -> Self {
        let before = self.requests();
        let cpu = |m: i64| Cpu::from_parts(u64::try_from(m).unwrap_or(0) * 128);
        let bytes = |b: i64| Bytes::new(u64::try_from(b).unwrap_or(0));
        let scales = spec.controlled_values == ControlledValues::RequestsAndLimits;
        let limit = |limit: i64, before: i64, after: i64| match scales {
            true => proportional_limit(limit, before, after),
            // A request is never above its limit.
            false => limit.max(after),
        };
        let memory_limit = i64::try_from(self.memory_limit.get()).unwrap_or(i64::MAX);
        Self {
            cpu: cpu(target.cpu_m),
            memory: bytes(target.memory),
            cpu_limit: self.cpu_limit.map(|l| cpu(limit(millicores(l), before.cpu_m, target.cpu_m))),
            memory_limit: bytes(limit(memory_limit, before.memory, target.memory)),
        }
    }
}

impl Simulation<'_> {
    /// What the next pod of a workload is admitted with, where a Vertical Pod Autoscaler says so.
    pub(super) fn admitted(&self, service: ServiceId) -> Option<PodSize> {
        let vpa = self.kube().workloads[service.index()].vpa.as_ref()?;
        let found = vpa.found.filter(|_| vpa.spec.update_mode.sets_requests())?;
        Some(PodSize::of(self.services[service.index()].plan).admitted(&vpa.spec, found.target))
    }

    /// Time zero: the updater has its place in its interval.
    pub(super) fn start_updater(&mut self, service: ServiceId) {
        let Some(vpa) = &self.kube().workloads[service.index()].vpa else { return };
        if vpa.spec.update_mode.evicts() {
            let at = SimTime::ZERO + vpa.updater.settings.interval.mul_f64(vpa.updater.phase);
            self.schedule_timer_if_due(Timer::VpaUpdater(service), at, Phase::Decision);
        }
    }

    /// The updater looks at the pods of a workload.
    pub(in crate::simulation) fn on_vpa_updater(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let Some(vpa) = &self.kube().workloads[service.index()].vpa else { return };
        let (spec, settings, found) = (vpa.spec, vpa.updater.settings, vpa.found);
        self.schedule_timer_if_due(Timer::VpaUpdater(service), now + settings.interval, Phase::Decision);
        let Some(found) = found else { return };
        let alive: Vec<TaskId> =
            self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()).map(|t| t.id).collect();
        let requests: Vec<[Option<Amounts>; 1]> = alive.iter().map(|t| [Some(self.size_of(*t).requests())]).collect();
        let seen: Vec<VpaPod<'_>> = alive
            .iter()
            .zip(&requests)
            .map(|(&id, requests)| {
                let t = self.cluster.task(id);
                VpaPod {
                    id: u64::from(id.0),
                    requests,
                    start: t.times.pending,
                    pending: t.status < TaskStatus::Running,
                    oom_after: self.kube().pods[id.index()].out_of_memory,
                }
            })
            .collect();
        let replicas = self.cluster.service(service).desired;
        let asked = evictions(&spec, &settings, &[found], &seen, replicas, now);
        let (mut left, mut refused) = (asked.budget, 0_u32);
        for c in &asked.candidates {
            let task = u32::try_from(c.id).map(TaskId).ok().filter(|_| !c.counts || left > 0);
            let Some(task) = task else { continue };
            let before = self.size_of(task).requests();
            if self.evict(task, "Evicted: the Vertical Pod Autoscaler gives its successor other requests").granted() {
                left -= u32::from(c.counts);
                self.say_update(service, before, found.target, c);
            } else {
                refused += 1;
            }
        }
        let Some(vpa) = &mut self.kube_mut().workloads[service.index()].vpa else { return };
        let before = std::mem::replace(&mut vpa.updater.refused, refused);
        if refused > 0 && refused != before {
            let text = format!("the budget of the workload holds {refused} pods that should have other requests");
            self.updater_row(service, "refused", "pod_disruption_budget", None, text, &asked);
        }
    }

    fn say_update(&mut self, service: ServiceId, before: Amounts, target: Amounts, why: &Eviction) {
        let reason = match why.reason {
            EvictionReason::OutsideRecommendedRange => "its requests are out of the bounds",
            EvictionReason::QuickOom => "it ran out of memory soon after its start",
            EvictionReason::LongLived => "it has run for long, and its requests are off the target",
        };
        let text = format!(
            "a pod that requests {}m and {} MiB is evicted ({reason}): its successor gets {}m and {} MiB",
            before.cpu_m,
            before.memory >> 20,
            target.cpu_m,
            target.memory >> 20
        );
        self.updater_row(service, "evicted", "", Some((before.cpu_m, target.cpu_m)), text, why);
    }

    fn updater_row(
        &mut self,
        service: ServiceId,
        reason: &'static str,
        bounded_by: &'static str,
        change: Option<(i64, i64)>,
        text: String,
        seen: &impl serde::Serialize,
    ) {
        let name = self.services[service.index()].name;
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "vpa_updater".into(),
            subject: format!("services.{name}.kubernetes.vertical_pod_autoscaler").into(),
            service: name.into(),
            from: change.map(|c| c.0),
            bounded_by: bounded_by.into(),
            result: change.map(|c| c.1),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        self.recorder.decision(&row, &DecisionDetail { observation: to_json(seen), memory: to_json(&()) });
    }
}
