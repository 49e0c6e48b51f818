//! What is written of pods that come from a file: a row for each, how the nodes are packed, and the summary.

use std::collections::BTreeMap;

use indexmap::IndexSet;
use rustc_hash::FxBuildHasher;

use super::super::Simulation;
use super::given::{Given, given_key};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::{Resources, Symbol};
use crate::output::{Fixed, PackingRow, PodRow, PodsByGpus, PodsSummary, RefusedPods, Trend};
use crate::scenario::model::ClusterState;
use crate::simulation::recorder::TrendGatherer;

/// The shapes of refused pods that the summary lists.
const MOST_REFUSALS: usize = 8;

/// What is counted of the pods of the file.
pub(super) struct Figures {
    submitted: u64,
    placed: u64,
    succeeded: u64,
    failed: u64,
    anew: u64,
    /// By the GPUs that pods ask for.
    gpus_asked: BTreeMap<u32, u64>,
    /// Waits for a node, in nanoseconds.
    waited: u128,
    longest: SimDuration,
    first_refused: Option<SimTime>,
    /// Pods that were bound at the start and are not submitted again.
    bound: IndexSet<u32, FxBuildHasher>,
    /// The most that waited at the end of an interval.
    most_waiting: u64,
    cpu: TrendGatherer,
    memory: TrendGatherer,
    gpus: TrendGatherer,
    waiting: TrendGatherer,
    /// Pods of each template among those of the file, for what they cannot use.
    demand: Vec<u64>,
    last: Option<Packed>,
}

/// How the nodes are packed at one instant: shares in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Packed {
    nodes: u32,
    empty: u32,
    cpu: Option<f64>,
    memory: Option<f64>,
    gpus: Option<f64>,
    cpu_unusable: Option<f64>,
    gpus_unusable: Option<f64>,
}

impl Figures {
    pub(super) fn new(state: &ClusterState) -> Self {
        let mut demand = vec![0; state.templates.len()];
        for pod in &state.pods {
            demand[pod.template as usize] += 1;
        }
        let gatherer = || TrendGatherer::new(crate::simulation::recorder::mean);
        Self {
            submitted: 0,
            placed: 0,
            succeeded: 0,
            failed: 0,
            anew: 0,
            gpus_asked: BTreeMap::new(),
            waited: 0,
            longest: SimDuration::ZERO,
            first_refused: None,
            bound: IndexSet::default(),
            most_waiting: 0,
            cpu: gatherer(),
            memory: gatherer(),
            gpus: gatherer(),
            waiting: gatherer(),
            demand,
            last: None,
        }
    }

    pub(super) fn submitted(&mut self, gpus: u32, counted: bool) {
        self.submitted += u64::from(counted);
        *self.gpus_asked.entry(gpus).or_insert(0) += u64::from(counted);
    }

    /// A pod has its node; `first` for the first time.
    pub(super) fn placed(&mut self, waited: SimDuration, counted: bool, first: bool) {
        if counted && first {
            self.placed += 1;
            self.waited += u128::from(waited.as_nanos());
            self.longest = self.longest.max(waited);
        }
    }

    pub(super) fn ended(&mut self, outcome: &str, counted: bool) {
        match outcome {
            "Succeeded" => self.succeeded += u64::from(counted),
            _ => self.failed += u64::from(counted),
        }
    }

    pub(super) fn refused(&mut self, at: SimTime) {
        self.first_refused.get_or_insert(at);
    }

    pub(super) fn made_anew(&mut self, counted: bool) {
        self.anew += u64::from(counted);
    }

    pub(super) fn bound_at_start(&mut self, row: u32) {
        self.bound.insert(row);
    }

    pub(super) fn was_bound(&self, row: u32) -> bool {
        self.bound.contains(&row)
    }
}

fn percent(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

impl Simulation<'_> {
    /// Writes the row of a pod that ends, or that the end of the run finds.
    pub(super) fn record_given(&mut self, row: u32, outcome: &'static str) {
        if !self.recorder.sink.writes() {
            return;
        }
        let now = self.queue.now();
        let node = self.kube().given.as_ref().and_then(|g| g.live.get(&row)?.bound).map(|(node, _)| node);
        let launched = node.filter(|n| !self.is_given(*n)).map(|n| self.node_name(n));
        let Some(given) = self.kube.as_ref().and_then(|k| k.given.as_ref()) else { return };
        let (Some(live), Some(pod)) = (given.live.get(&row).copied(), given.pod(row)) else { return };
        let of_file = node.and_then(|n| given.state.nodes.get(*given.rows.get(&n)?)).map_or("", |n| n.name.as_str());
        let ended = (outcome != "Running" && outcome != "Pending").then_some(now);
        let started = live.starts.filter(|s| *s <= now);
        let written = self.recorder.sink.pod(&PodRow {
            pod: given.state.name_of(pod).into(),
            namespace: given.state.template_of(pod).map_or("", |t| t.namespace.as_str()).into(),
            node: launched.map_or(of_file.into(), Into::into),
            submitted_s: live.submitted.into(),
            scheduled_s: live.bound.map(|(_, at)| at.into()),
            started_s: started.map(Into::into),
            ended_s: ended.map(Into::into),
            made_anew: live.anew,
            outcome: outcome.into(),
        });
        self.recorder.keep_failure(written);
    }

    /// The requests of all pods against what all nodes offer to pods, by the scheduler's cache.
    fn packed(&self, given: &Given) -> Packed {
        let scheduler = &self.kube().scheduler;
        let gpu: Option<Symbol> = scheduler.symbols().get(super::shapes::GPU);
        let gpus = |r: &Resources| gpu.map_or(0, |g| r.extended(g));
        let mut has = Resources::default();
        let (mut used, mut has_gpus, mut used_gpus) = (Resources::default(), 0, 0);
        let (mut nodes, mut empty) = (0, 0);
        // What pods of the file could not use of what is free, weighted by how many there are of each kind.
        let shapes: Vec<(&Resources, u64)> = given
            .kinds
            .iter()
            .zip(&given.figures.demand)
            .filter_map(|(kind, pods)| Some((&scheduler.shape(kind.as_ref()?.shape)?.requests, *pods)))
            .collect();
        let all: u64 = shapes.iter().map(|s| s.1).sum();
        let all_gpu: u64 = shapes.iter().filter(|s| gpus(s.0) > 0).map(|s| s.1).sum();
        let (mut free_cpu, mut free_gpus, mut lost_cpu, mut lost_gpus) = (0_i64, 0_i64, 0.0, 0.0);
        for (id, node) in scheduler.nodes() {
            let taken = scheduler.requested(id);
            let mut room = node.allocatable.clone();
            room.subtract(&taken);
            nodes += 1;
            empty += u32::from(taken.pods <= i64::from(self.kube().settings.system_pods.min(1)));
            has.cpu_m += node.allocatable.cpu_m;
            has.memory += node.allocatable.memory;
            has_gpus += gpus(&node.allocatable);
            used.cpu_m += taken.cpu_m;
            used.memory += taken.memory;
            used_gpus += gpus(&taken);
            let (cpu, free) = (room.cpu_m.max(0), gpus(&room).max(0));
            free_cpu += cpu;
            free_gpus += free;
            let (mut shut, mut shut_gpu) = (0, 0);
            for (asks, pods) in &shapes {
                if !asks.fits(&room) {
                    shut += pods;
                    shut_gpu += if gpus(asks) > 0 { *pods } else { 0 };
                }
            }
            lost_cpu += cpu as f64 * shut as f64 / all.max(1) as f64;
            lost_gpus += free as f64 * shut_gpu as f64 / all_gpu.max(1) as f64;
        }
        let unusable = |lost: f64, free: i64, of: u64| (free > 0 && of > 0).then(|| 100.0 * lost / free as f64);
        Packed {
            nodes,
            empty,
            cpu: percent(used.cpu_m, has.cpu_m),
            memory: percent(used.memory, has.memory),
            gpus: percent(used_gpus, has_gpus),
            cpu_unusable: unusable(lost_cpu, free_cpu, all),
            gpus_unusable: unusable(lost_gpus, free_gpus, all_gpu),
        }
    }

    /// Writes how the nodes are packed at the end of an interval.
    pub(in crate::simulation) fn close_packing_interval(&mut self, start: SimTime, length: SimDuration) {
        let end = start + length;
        let counted = end > self.warm_up;
        let Some(given) = self.kube.as_ref().and_then(|k| k.given.as_ref()) else { return };
        if !given.has_pods {
            return;
        }
        let packed = self.packed(given);
        let bound = given.live.values().filter(|l| l.bound.is_some()).count() as u64;
        let pending = given.live.len() as u64 - bound;
        let unschedulable = given.refused().count() as u64;
        let row = PackingRow {
            time_s: start.into(),
            interval_s: length.into(),
            nodes: packed.nodes,
            empty_nodes: packed.empty,
            pods_submitted: given.figures.submitted,
            pods_bound: bound,
            pods_pending: pending,
            pods_unschedulable: unschedulable,
            pods_ended: given.figures.succeeded + given.figures.failed,
            cpu_requested_pct: packed.cpu.map(Fixed),
            memory_requested_pct: packed.memory.map(Fixed),
            gpu_requested_pct: packed.gpus.map(Fixed),
            cpu_unusable_pct: packed.cpu_unusable.map(Fixed),
            gpu_unusable_pct: packed.gpus_unusable.map(Fixed),
        };
        let written = self.recorder.sink.packing(&row);
        self.recorder.keep_failure(written);
        let Some(given) = self.kube.as_mut().and_then(|k| k.given.as_mut()) else { return };
        let f = &mut given.figures;
        f.last = Some(packed);
        if counted {
            f.most_waiting = f.most_waiting.max(pending);
        }
        f.cpu.add(packed.cpu);
        f.memory.add(packed.memory);
        f.gpus.add(packed.gpus);
        f.waiting.add(Some(pending as f64));
    }

    /// Writes the rows of the pods that the end of the run finds.
    pub(in crate::simulation) fn close_given(&mut self) {
        let Some(given) = self.kube.as_ref().and_then(|k| k.given.as_ref()) else { return };
        let mut rows: Vec<u32> = given.live.keys().copied().collect();
        rows.sort_unstable();
        for row in rows {
            let given = self.kube().given.as_ref();
            let bound = given.and_then(|g| g.live.get(&row)).is_some_and(|l| l.bound.is_some());
            self.record_given(row, if bound { "Running" } else { "Pending" });
        }
    }

    /// The summary of the pods of the file; `None` without any.
    pub(in crate::simulation) fn pods_summary(&mut self) -> Option<PodsSummary> {
        let interval_s = self.plan.simulation.interval.as_secs_f64();
        let given = self.kube.as_ref()?.given.as_ref()?;
        if !given.has_pods {
            return None;
        }
        // Each kind of pod that waits is asked about once, as the cluster is now.
        let mut waiting: Vec<(u32, u64)> = Vec::new();
        let (mut running, mut pending) = (0, 0);
        let mut pending_by: BTreeMap<u32, u64> = BTreeMap::new();
        for (row, live) in &given.live {
            if live.bound.is_some() {
                running += 1;
                continue;
            }
            pending += 1;
            *pending_by.entry(given.kind(*row).map_or(0, |k| k.takes.gpus)).or_insert(0) += 1;
            let Some(template) = given.pod(*row).map(|p| p.template) else { continue };
            match waiting.iter_mut().find(|(t, _)| *t == template) {
                Some((_, n)) => *n += 1,
                None => waiting.push((template, 1)),
            }
        }
        let asked: Vec<(u32, u64, super::given::Kind, u32)> = waiting
            .into_iter()
            .filter_map(|(template, pods)| {
                let row = given
                    .live
                    .iter()
                    .find(|(r, l)| l.bound.is_none() && given.pod(**r).is_some_and(|p| p.template == template))?;
                Some((template, pods, given.kinds[template as usize]?, *row.0))
            })
            .collect();
        let mut refused: Vec<RefusedPods> = Vec::new();
        let mut not_tried = 0;
        for (template, pods, kind, row) in asked {
            let kube = self.kube_mut();
            match kube.scheduler.schedule(given_key(row), kind.shape, 0) {
                Ok(_) => not_tried += pods,
                Err(why) => {
                    let text = why.text(kube.scheduler.symbols());
                    let Some(asks) = kube.given.as_ref().and_then(|g| g.state.templates.get(template as usize)) else {
                        continue;
                    };
                    let mut words = format!("{} CPU, {} memory", cpu_words(asks.cpu_m), memory_words(asks.memory));
                    if asks.gpus > 0 {
                        words = format!("{words}, {} GPU", asks.gpus);
                    }
                    refused.push(RefusedPods { pods, asks: words, why: text });
                }
            }
        }
        refused.sort_by(|a, b| b.pods.cmp(&a.pods).then_with(|| a.asks.cmp(&b.asks)));
        let kinds = refused.len() as u64;
        let all_refused = refused.iter().map(|r| r.pods).sum();
        refused.truncate(MOST_REFUSALS);
        let given = self.kube.as_mut()?.given.as_mut()?;
        let f = &mut given.figures;
        let take = |g: &mut TrendGatherer| -> Trend {
            std::mem::replace(g, TrendGatherer::new(crate::simulation::recorder::mean)).trend(interval_s)
        };
        let last = f.last.unwrap_or_default();
        Some(PodsSummary {
            submitted: f.submitted,
            placed: f.placed,
            succeeded: f.succeeded,
            failed: f.failed,
            made_anew: f.anew,
            running_at_end: running,
            pending_at_end: pending,
            refused_at_end: all_refused,
            not_tried_at_end: not_tried,
            max_pending: f.most_waiting.max(pending),
            mean_wait_s: (f.placed > 0).then(|| f.waited as f64 / f.placed as f64 / 1e9),
            max_wait_s: (f.placed > 0).then(|| f.longest.as_secs_f64()),
            first_refused_s: f.first_refused.map(SimTime::as_secs_f64),
            nodes_at_end: last.nodes,
            empty_nodes_at_end: last.empty,
            cpu_requested_pct_at_end: last.cpu,
            memory_requested_pct_at_end: last.memory,
            gpu_requested_pct_at_end: last.gpus,
            cpu_unusable_pct_at_end: last.cpu_unusable,
            gpu_unusable_pct_at_end: last.gpus_unusable,
            by_gpus: match f.gpus_asked.keys().any(|n| *n > 0) {
                false => Vec::new(),
                true => f
                    .gpus_asked
                    .iter()
                    .map(|(&gpus, &submitted)| PodsByGpus {
                        gpus,
                        submitted,
                        pending_at_end: pending_by.get(&gpus).copied().unwrap_or(0),
                    })
                    .collect(),
            },
            refused_kinds: kinds,
            refused,
            cpu_requested_pct: take(&mut f.cpu),
            memory_requested_pct: take(&mut f.memory),
            gpu_requested_pct: take(&mut f.gpus),
            pending: take(&mut f.waiting),
        })
    }
}

fn cpu_words(millicores: u64) -> String {
    if millicores.is_multiple_of(1_000) { (millicores / 1_000).to_string() } else { format!("{millicores}m") }
}

fn memory_words(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib > 0 && mib.is_multiple_of(1_024) { format!("{}Gi", mib / 1_024) } else { format!("{mib}Mi") }
}
