//! The Vertical Pod Autoscaler: what a container should request, and which pods are replaced to get it.
//!
//! Rule: the recommender keeps, for each container of a workload over all its pods, a histogram of CPU usage
//! (samples weighted by the request, so that starved containers forget fast) and one of daily memory peaks, both with a half-life of 24 h. The
//! target is the 90th percentile plus 15 %; the bounds are the 50th and the 95th plus 15 %, the lower times
//! `(1 + 0.001/days)^-2` and the upper times `1 + 1/days`, where days is the length of the history or the
//! number of samples in days of one a minute, whichever is less. All are at least 25 millicores and 250 MiB
//! for a pod, and then cut to what the policy allows. The updater (`updater.rs`) evicts pods; when
//! their successors are made, the requests are set to the target.
//!
//! Source: `vertical-pod-autoscaler/pkg/recommender` and `pkg/updater` of kubernetes/autoscaler.
//!
//! Known departures: updates in place are not modelled; checkpoints are not needed, since no recommender
//! restarts.

pub mod histogram;
pub mod updater;

use serde::{Deserialize, Serialize};

use crate::kernel::{SimDuration, SimTime};
use histogram::DecayingHistogram;

pub use updater::{Eviction, EvictionReason, Evictions, UpdaterSettings, VpaPod, evictions};

const MIB: i64 = 1 << 20;
const DAY: SimDuration = SimDuration::from_secs(86_400);
/// More than this is infinite.
const MOST: f64 = 1e14;
/// The least weight of a CPU sample, in cores.
const LEAST_WEIGHT: f64 = 0.1;

/// `updatePolicy.updateMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateMode {
    /// It only recommends.
    Off,
    /// New pods get the target; none is evicted for it.
    Initial,
    /// Pods are evicted so that their successors get the target.
    #[default]
    Recreate,
    /// The same as `Recreate`, which has taken its place since 1.4.
    Auto,
}

impl UpdateMode {
    /// Whether new pods get the target.
    #[must_use]
    pub const fn sets_requests(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether running pods are evicted.
    #[must_use]
    pub const fn evicts(self) -> bool {
        matches!(self, Self::Recreate | Self::Auto)
    }
}

/// `controlledValues` of a container's policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlledValues {
    /// Limits keep their proportion to requests.
    #[default]
    RequestsAndLimits,
    /// Limits stay.
    RequestsOnly,
}

/// CPU and memory of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// CPU in millicores.
    pub cpu_m: i64,
    /// Memory in bytes.
    pub memory: i64,
}

/// A VerticalPodAutoscaler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpaSpec {
    /// What it does with what it finds.
    pub update_mode: UpdateMode,
    /// `minReplicas` of the update policy: with fewer pods none is evicted; absent for the updater's.
    pub min_replicas: Option<u32>,
    /// `minAllowed`; absent parts bind nothing.
    pub min_cpu_m: Option<i64>,
    /// `minAllowed`, memory in bytes.
    pub min_memory: Option<i64>,
    /// `maxAllowed`, CPU in millicores.
    pub max_cpu_m: Option<i64>,
    /// `maxAllowed`, memory in bytes.
    pub max_memory: Option<i64>,
    /// Whether limits follow.
    pub controlled_values: ControlledValues,
}

impl VpaSpec {
    fn cut(&self, amounts: Amounts) -> Amounts {
        let cut = |value: i64, min: Option<i64>, max: Option<i64>| {
            let raised = min.map_or(value, |min| value.max(min));
            max.map_or(raised, |max| raised.min(max))
        };
        Amounts {
            cpu_m: cut(amounts.cpu_m, self.min_cpu_m, self.max_cpu_m),
            memory: cut(amounts.memory, self.min_memory, self.max_memory),
        }
    }
}

/// Flags of the recommender.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecommenderSettings {
    /// `--recommender-interval`: how often samples are read and recommendations written, 1 min.
    pub interval: SimDuration,
    /// `--recommendation-margin-fraction`: 0.15.
    pub margin: f64,
    /// `--pod-recommendation-min-cpu-millicores`: 25 for a pod.
    pub pod_min_cpu_m: f64,
    /// `--pod-recommendation-min-memory-mb`: 250 MiB for a pod, here in bytes.
    pub pod_min_memory: f64,
    /// `--target-cpu-percentile` and `--target-memory-percentile`: 0.9.
    pub target: f64,
    /// `--recommendation-lower-bound-cpu-percentile` and its like for memory: 0.5.
    pub lower: f64,
    /// `--recommendation-upper-bound-cpu-percentile` and its like for memory: 0.95.
    pub upper: f64,
    /// `--cpu-histogram-decay-half-life` and its like for memory: 24 h.
    pub half_life: SimDuration,
    /// `--memory-aggregation-interval`: one peak of memory for each, 24 h.
    pub memory_interval: SimDuration,
    /// `--oom-bump-up-ratio`: 1.2.
    pub oom_ratio: f64,
    /// `--oom-min-bump-up-bytes`: 100 MiB.
    pub oom_least: f64,
}

impl Default for RecommenderSettings {
    fn default() -> Self {
        Self {
            interval: SimDuration::from_mins(1),
            margin: 0.15,
            pod_min_cpu_m: 25.0,
            pod_min_memory: (250 * MIB) as f64,
            target: 0.9,
            lower: 0.5,
            upper: 0.95,
            half_life: DAY,
            memory_interval: DAY,
            oom_ratio: 1.2,
            oom_least: (100 * MIB) as f64,
        }
    }
}

/// What is known of a container of a workload, over all its pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerHistory {
    cpu: DecayingHistogram,
    memory: DecayingHistogram,
    first: Option<SimTime>,
    last: SimTime,
    samples: u64,
}

/// The present memory window of one container of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryWindow {
    end: Option<SimTime>,
    peak: i64,
}

impl ContainerHistory {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: &RecommenderSettings) -> Self {
        Self {
            cpu: DecayingHistogram::new(1_000.0, 0.01, settings.half_life),
            memory: DecayingHistogram::new(1e12, 1e7, settings.half_life),
            first: None,
            last: SimTime::ZERO,
            samples: 0,
        }
    }

    /// A sample of CPU usage of one pod, with its request, in millicores; `at` is when its window began.
    pub fn add_cpu(&mut self, usage_m: i64, request_m: i64, at: SimTime) {
        let weight = (request_m as f64 / 1_000.0).max(LEAST_WEIGHT);
        self.cpu.add(usage_m as f64 / 1_000.0, weight, at);
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
        self.samples += 1;
    }

    /// A sample of memory usage of one pod in bytes: only the largest of each window counts.
    pub fn add_memory(&mut self, window: &mut MemoryWindow, usage: i64, at: SimTime, settings: &RecommenderSettings) {
        if usage <= 0 {
            return;
        }
        let end = window.end.unwrap_or(at);
        if at < end {
            if usage <= window.peak {
                window.end = Some(end);
                return;
            }
            if window.peak > 0 {
                self.memory.subtract(window.peak as f64, 1.0, end);
            }
        } else {
            let interval = settings.memory_interval.as_nanos().max(1);
            let shift = ((at - end).as_nanos() / interval).saturating_add(1).saturating_mul(interval);
            window.end = Some(end + SimDuration::from_nanos(shift));
        }
        window.peak = usage;
        self.memory.add(usage as f64, 1.0, window.end.unwrap_or(end));
    }

    /// A container was killed for want of memory while it had this limit (or request) and usage in bytes: it
    /// counts as if it had used 20 % or 100 MiB more.
    pub fn add_oom(&mut self, window: &mut MemoryWindow, memory: i64, at: SimTime, settings: &RecommenderSettings) {
        let used = memory as f64;
        let bumped = (used + settings.oom_least).max(used * settings.oom_ratio);
        self.add_memory(window, bumped as i64, at, settings);
    }

    /// How much the history is worth, in days.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        let span = self.first.map_or(SimDuration::ZERO, |first| self.last - first);
        (span.as_secs_f64() / DAY.as_secs_f64()).min(self.samples as f64 / 1_440.0)
    }

    /// What the container should request, in a pod of so many containers. Nothing before the first sample.
    #[must_use]
    pub fn recommend(&self, spec: &VpaSpec, settings: &RecommenderSettings, containers: u32) -> Option<Recommendation> {
        self.first?;
        let least = Amounts {
            cpu_m: whole(settings.pod_min_cpu_m / f64::from(containers.max(1))),
            memory: whole(settings.pod_min_memory / f64::from(containers.max(1))),
        };
        let confidence = self.confidence();
        let estimate = |share: f64, multiplier: f64| {
            let of = |base: f64| {
                let base = whole(base);
                let with_margin = base.saturating_add(whole(base as f64 * settings.margin));
                whole(with_margin as f64 * multiplier)
            };
            Amounts {
                cpu_m: of(self.cpu.percentile(share) * 1_000.0).max(least.cpu_m),
                memory: of(self.memory.percentile(share)).max(least.memory),
            }
        };
        let target = estimate(settings.target, 1.0);
        let lower = estimate(settings.lower, libm::pow(1.0 + 0.001 / confidence, -2.0));
        let upper = estimate(settings.upper, 1.0 + 1.0 / confidence);
        Some(Recommendation {
            target: spec.cut(target),
            lower_bound: spec.cut(lower),
            upper_bound: spec.cut(upper),
            uncapped_target: target,
        })
    }
}

/// What a container should request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What is best.
    pub target: Amounts,
    /// Below this a pod is replaced.
    pub lower_bound: Amounts,
    /// Above this a pod is replaced.
    pub upper_bound: Amounts,
    /// The target before the policy cut it.
    pub uncapped_target: Amounts,
}

/// A limit that keeps its proportion to a request that changes. A limit without a request stands for both.
#[must_use]
pub fn proportional_limit(limit: i64, request: i64, new_request: i64) -> i64 {
    if request <= 0 {
        return new_request;
    }
    let scaled = i128::from(limit) * i128::from(new_request) / i128::from(request);
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// An amount from a float: cut to an integer, and to what counts as infinite.
fn whole(amount: f64) -> i64 {
    // Zero times infinity is no amount at all.
    if amount.is_nan() { 0 } else { amount.clamp(0.0, MOST) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(minutes: u64) -> ContainerHistory {
        let settings = RecommenderSettings::default();
        let mut history = ContainerHistory::new(&settings);
        let mut window = MemoryWindow::default();
        for minute in 0..=minutes {
            let at = SimTime::ZERO + SimDuration::from_mins(minute);
            history.add_cpu(if minute % 10 == 9 { 800 } else { 200 }, 500, at);
            history.add_memory(&mut window, (400 + (minute as i64 % 100)) * MIB, at, &settings);
        }
        history
    }

    #[test]
    fn bounds_close_in_as_the_history_grows() {
        let (spec, settings) = (VpaSpec::default(), RecommenderSettings::default());
        let of = |minutes| history(minutes).recommend(&spec, &settings, 1).unwrap();
        let (hour, week) = (of(60), of(7 * 1_440));
        // 95 % of the samples are at most 800 millicores; plus 15 % and the width of a bucket.
        assert!((919..=966).contains(&(week.upper_bound.cpu_m * 7 / 8)), "{week:?}");
        assert!((230..=253).contains(&week.lower_bound.cpu_m), "{week:?}");
        assert!(hour.upper_bound.cpu_m > 20 * week.upper_bound.cpu_m);
        assert!(hour.lower_bound.cpu_m < week.lower_bound.cpu_m);
        // One peak of 499 MiB a day.
        let peak = 499 * MIB;
        assert!((peak * 115 / 100..peak * 121 / 100).contains(&week.target.memory), "{week:?}");
        assert_eq!(ContainerHistory::new(&settings).recommend(&spec, &settings, 1), None);
    }

    #[test]
    fn small_containers_share_the_least() {
        let settings = RecommenderSettings::default();
        let mut history = ContainerHistory::new(&settings);
        history.add_cpu(1, 10, SimTime::ZERO);
        let one = history.recommend(&VpaSpec::default(), &settings, 2).unwrap();
        assert_eq!(one.target, Amounts { cpu_m: 12, memory: 125 * MIB });
        let spec = VpaSpec { min_cpu_m: Some(100), max_memory: Some(64 * MIB), ..VpaSpec::default() };
        let cut = history.recommend(&spec, &settings, 2).unwrap();
        assert_eq!(cut.target, Amounts { cpu_m: 100, memory: 64 * MIB });
        assert_eq!(cut.uncapped_target, one.target);
    }

    #[test]
    fn a_kill_for_memory_raises_the_target() {
        let settings = RecommenderSettings::default();
        let mut history = history(1_440);
        let before = history.recommend(&VpaSpec::default(), &settings, 1).unwrap();
        let mut window = MemoryWindow::default();
        history.add_oom(&mut window, 2_000 * MIB, SimTime::ZERO + DAY, &settings);
        let after = history.recommend(&VpaSpec::default(), &settings, 1).unwrap();
        assert!(before.target.memory < 700 * MIB && after.target.memory > 2_400 * MIB, "{after:?}");
    }

    #[test]
    fn limits_follow_requests() {
        assert_eq!(proportional_limit(1_000, 500, 750), 1_500);
        assert_eq!(proportional_limit(1_000, 0, 750), 750);
    }
}
