//! The Vertical Pod Autoscaler at work: it watches what pods use, and says what they should request.

use indexmap::IndexMap;

use super::super::scale::to_json;
use super::super::{Simulation, Timer};
use super::hpa::server_of;
use super::pods::PodSize;
use super::shapes::millicores;
use crate::cluster::TaskStatus;
use crate::kernel::{Draw, Phase, SimTime, Streams};
use crate::kubernetes::hpa::{MetricsServer, ResourceName};
use crate::kubernetes::vpa::{
    Amounts, ContainerHistory, ControlledValues, MemoryWindow, Recommendation, RecommenderSettings, UpdateMode, VpaSpec,
};
use crate::output::{DecisionDetail, DecisionRow, Fixed};
use crate::scenario::model::{ControlledValues as Values, Plan, Service, VpaUpdateMode};
use crate::units::{ServiceId, TaskId};

/// A change of the target below this share of it is not written down.
const NEWS: f64 = 0.1;
/// Bounds from here on say nothing yet: a million cores, a pebibyte.
const UNBOUNDED_CPU_M: i64 = 1_000_000_000;
const UNBOUNDED_MEMORY: i64 = 1 << 50;

/// A Vertical Pod Autoscaler while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct VpaRuntime {
    pub(super) spec: VpaSpec,
    settings: RecommenderSettings,
    /// What is recommended now, once there is anything.
    pub(super) found: Option<Recommendation>,
    pub(super) updater: super::vpa_updater::UpdaterRuntime,
    server: MetricsServer,
    history: ContainerHistory,
    windows: IndexMap<TaskId, MemoryWindow>,
    /// The target that was written down last.
    said: Option<Amounts>,
    /// Where in its interval it looks.
    phase: f64,
}

impl VpaRuntime {
    pub(super) fn new(plan: &Plan, name: &str, service: &Service, streams: &Streams) -> Option<Self> {
        let vpa = service.kubernetes.vertical_pod_autoscaler.as_ref()?;
        let settings = RecommenderSettings::default();
        let bytes = |b: crate::units::Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
        Some(Self {
            spec: VpaSpec {
                update_mode: match vpa.update_mode {
                    VpaUpdateMode::Off => UpdateMode::Off,
                    VpaUpdateMode::Initial => UpdateMode::Initial,
                    // Resizing in place is refused when the scenario is read.
                    VpaUpdateMode::Recreate | VpaUpdateMode::InPlaceOrRecreate => UpdateMode::Recreate,
                    VpaUpdateMode::Auto => UpdateMode::Auto,
                },
                min_replicas: Some(vpa.min_replicas),
                controlled_values: match vpa.controlled_values {
                    Values::RequestsAndLimits => ControlledValues::RequestsAndLimits,
                    Values::RequestsOnly => ControlledValues::RequestsOnly,
                },
                min_cpu_m: vpa.min_allowed.cpu.map(millicores),
                min_memory: vpa.min_allowed.memory.map(bytes),
                max_cpu_m: vpa.max_allowed.cpu.map(millicores),
                max_memory: vpa.max_allowed.memory.map(bytes),
            },
            settings,
            found: None,
            updater: super::vpa_updater::UpdaterRuntime::new(name, streams),
            server: server_of(plan),
            history: ContainerHistory::new(&settings),
            windows: IndexMap::new(),
            said: None,
            phase: Draw::new(streams.root(&format!("vpa/{name}"))).unit(),
        })
    }
}

impl Simulation<'_> {
    /// Time zero: every recommender has its place in the interval.
    pub(super) fn start_recommenders(&mut self) {
        for index in 0..self.services.len() {
            let Some(vpa) = &self.kube().workloads[index].vpa else { continue };
            let at = SimTime::ZERO + vpa.settings.interval.mul_f64(vpa.phase);
            self.schedule_timer_if_due(Timer::Vpa(ServiceId::from(index)), at, Phase::Decision);
            self.start_updater(ServiceId::from(index));
        }
    }

    /// The container of a pod was killed for want of memory after it had run so long.
    pub(in crate::simulation) fn pod_out_of_memory(&mut self, task: TaskId) {
        let now = self.queue.now();
        let service = self.cluster.task(task).service;
        let memory = self.size_of(task).requests().memory;
        let kube = self.kube_mut();
        let pod = &mut kube.pods[task.index()];
        pod.out_of_memory = pod.container_started.map(|from| now.since(from));
        if let Some(vpa) = &mut kube.workloads[service.index()].vpa {
            let window = vpa.windows.entry(task).or_default();
            vpa.history.add_oom(window, memory, now, &vpa.settings);
        }
    }

    /// The recommender reads what the pods of a workload use.
    pub(in crate::simulation) fn on_vpa(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let Some(mut vpa) = self.kube_mut().workloads[service.index()].vpa.take() else { return };
        let pods: Vec<TaskId> = self
            .cluster
            .tasks_of(service)
            .filter(|t| t.status == TaskStatus::Running && t.stop_code.is_none())
            .map(|t| t.id)
            .collect();
        let template = PodSize::of(self.services[service.index()].plan).requests();
        // The pods that were made last have what was recommended last.
        let request = pods.last().map_or(template, |pod| self.size_of(*pod).requests());
        for &pod in &pods {
            let request = self.size_of(pod).requests();
            if let Some(cpu) = self.resource_reading(pod, ResourceName::Cpu, &vpa.server).sample {
                vpa.history.add_cpu(cpu.value, request.cpu_m, cpu.at);
            }
            if let Some(memory) = self.resource_reading(pod, ResourceName::Memory, &vpa.server).sample {
                let window = vpa.windows.entry(pod).or_default();
                // The Metrics API counts in thousandths.
                vpa.history.add_memory(window, memory.value / 1_000, memory.at, &vpa.settings);
            }
        }
        vpa.windows.retain(|pod, _| pods.contains(pod));
        let found = vpa.history.recommend(&vpa.spec, &vpa.settings, 1);
        vpa.found = found;
        let far = |a: i64, b: i64| (a as f64 - b as f64).abs() > NEWS * b as f64;
        if let Some(found) = found
            && vpa.said.is_none_or(|s| far(found.target.cpu_m, s.cpu_m) || far(found.target.memory, s.memory))
        {
            vpa.said = Some(found.target);
            let mib = |bytes: i64| bytes >> 20;
            // Early on the upper bound is far beyond any machine.
            let bound = |known: bool, text: String| if known { text } else { "no upper bound yet".to_string() };
            let (cpu, memory) = (found.upper_bound.cpu_m, found.upper_bound.memory);
            let text = format!(
                "{}m and {} MiB would do ({}m to {}, {} MiB to {}); the pods request {}m and {} MiB",
                found.target.cpu_m,
                mib(found.target.memory),
                found.lower_bound.cpu_m,
                bound(cpu < UNBOUNDED_CPU_M, format!("{cpu}m")),
                mib(found.lower_bound.memory),
                bound(memory < UNBOUNDED_MEMORY, format!("{} MiB", mib(memory))),
                request.cpu_m,
                mib(request.memory)
            );
            let row = DecisionRow {
                time_s: now.into(),
                controller: "vpa".into(),
                subject: format!("services.{}.kubernetes.vertical_pod_autoscaler", self.services[service.index()].name)
                    .into(),
                service: self.services[service.index()].name.into(),
                observed: Some(Fixed(vpa.history.confidence())),
                observed_metric: "days of history".into(),
                from: Some(request.cpu_m),
                result: Some(found.target.cpu_m),
                reason: "recommends".into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: to_json(&found), memory: to_json(&()) };
            self.recorder.decision(&row, &detail);
        }
        let next = now + vpa.settings.interval;
        self.kube_mut().workloads[service.index()].vpa = Some(vpa);
        self.schedule_timer_if_due(Timer::Vpa(service), next, Phase::Decision);
    }
}
