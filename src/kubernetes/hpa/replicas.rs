//! What one metric asks for: the pods that count, the ratio of usage to target, the proposal.
//!
//! Rule: pods that are being deleted or failed are ignored, pending ones are unready, those without a
//! sample are missing; for CPU alone also those that have just started or were never ready are unready.
//! The ratio is taken over what is left. Missing and unready pods are then assumed to be such that they
//! damp the change; a change that they would turn round is not made.
//!
//! Source: `pkg/controller/podautoscaler/replica_calculator.go` and `metrics/utilization.go` of Kubernetes.

use serde::{Deserialize, Serialize};

use super::spec::{HpaSettings, MetricSpec, PodTarget, ResourceName, TotalTarget};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::kubelet::{PodPhase, ReadyCondition};

/// A pod as the controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its phase.
    pub phase: PodPhase,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Its `Ready` condition; absent before the kubelet has set it.
    pub ready: Option<ReadyCondition>,
    /// `status.startTime`: when the kubelet took it.
    pub start: Option<SimTime>,
}

/// A measured value of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the window ended.
    pub at: SimTime,
    /// Over how long it was measured.
    pub window: SimDuration,
    /// Thousandths of the unit; millicores for CPU.
    pub value: i64,
}

/// What a per-pod metric says of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReading {
    /// The sample; absent if the pod, or the container that the metric names, has none.
    pub sample: Option<Sample>,
    /// What the pod requests of the resource, in thousandths; absent if a container requests nothing. Only for resources.
    pub request: Option<i64>,
}

/// What is known of one metric of the specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading<'a> {
    /// For resource, container resource and pods metrics.
    Pods {
        /// One for each pod of the observation, in their order.
        readings: &'a [PodReading],
        /// Samples of pods that the selector no longer matches: they count where the real controller counts them.
        strangers: &'a [i64],
    },
    /// The value of an object metric, in thousandths.
    Object(i64),
    /// The series of an external metric, in thousandths.
    External(&'a [i64]),
    /// The metrics API had no answer.
    Unavailable,
}

/// Why a metric gave no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricError {
    /// The metrics API failed.
    Unavailable,
    /// No pod matches the selector.
    NoPods,
    /// A container of some pod has no request for the resource.
    MissingRequest,
    /// No sample is left of pods that count.
    NoMetricsReturned,
    /// There are samples, but none of a pod with a request.
    NoMetricsMatchKnownPods,
    /// The reading is of another sort than the metric.
    InvalidSource,
}

/// How many pods were what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodGroups {
    /// Those that count.
    pub ready: u32,
    /// Pending, or (CPU only) not ready yet.
    pub unready: u32,
    /// Without a sample.
    pub missing: u32,
    /// Being deleted or failed.
    pub ignored: u32,
}

/// What one metric proposes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The size it asks for.
    pub replicas: u32,
    /// Usage over target as first computed, before missing and unready pods were filled in.
    pub ratio: f64,
    /// The same after they were filled in, where they were.
    pub filled_ratio: Option<f64>,
    /// Percent of the request, for a utilization target.
    pub utilization: Option<i64>,
    /// The average for each pod, or the value of a total, in thousandths.
    pub value: i64,
    /// The pods, for metrics that look at them.
    pub groups: PodGroups,
    /// The time of the oldest sample that counts, for metrics of pods.
    pub oldest_sample: Option<SimTime>,
}

/// The shares by which the ratio may differ from 1 without consequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Tolerances {
    /// Whether a ratio calls for nothing; both ends included.
    #[must_use]
    pub fn contain(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// In which group a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// It counts.
    Ready,
    /// It is not ready.
    Unready,
    /// It has no sample.
    Missing,
    /// It is on its way out.
    Ignored,
}

/// In which group a pod is. `resource` is absent for custom metrics.
#[must_use]
pub fn group(
    pod: &PodState,
    sample: Option<&Sample>,
    resource: Option<ResourceName>,
    settings: &HpaSettings,
    now: SimTime,
) -> Group {
    if pod.deleting || pod.phase == PodPhase::Failed {
        return Group::Ignored;
    }
    if pod.phase == PodPhase::Pending {
        return Group::Unready;
    }
    let Some(sample) = sample else { return Group::Missing };
    if resource != Some(ResourceName::Cpu) {
        return Group::Ready;
    }
    let unready = match (pod.ready, pod.start) {
        (Some(ready), Some(start)) => {
            if start + settings.cpu_initialization_period > now {
                !ready.status || sample.at < ready.since + sample.window
            } else {
                !ready.status && start + settings.initial_readiness_delay > ready.since
            }
        }
        _ => true,
    };
    if unready { Group::Unready } else { Group::Ready }
}

/// Usage and requests added up over some pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Samples, those without a request included.
    pub samples: i64,
    /// Their usage.
    pub usage: i128,
    /// Samples with a request.
    pub matched: i64,
    /// Usage of those.
    pub matched_usage: i128,
    /// Requests of those.
    pub request: i128,
}

impl Sums {
    /// Adds a pod.
    pub fn add(&mut self, usage: i64, request: Option<i64>) {
        self.samples += 1;
        self.usage += i128::from(usage);
        if let Some(request) = request {
            self.matched += 1;
            self.matched_usage += i128::from(usage);
            self.request += i128::from(request);
        }
    }

    /// Percent of the requests and the average usage, both cut to integers.
    ///
    /// # Errors
    /// If no sample is of a pod with a request.
    pub fn utilization(&self) -> Result<(i64, i64), MetricError> {
        if self.request <= 0 || self.matched == 0 {
            return Err(MetricError::NoMetricsMatchKnownPods);
        }
        Ok((narrow(self.matched_usage * 100 / self.request), narrow(self.matched_usage / i128::from(self.matched))))
    }

    /// The average usage, cut to an integer.
    #[must_use]
    pub fn average(&self) -> i64 {
        if self.samples == 0 { 0 } else { narrow(self.usage / i128::from(self.samples)) }
    }
}

/// The ratio of a measured integer to its target.
#[must_use]
pub fn ratio(measured: i64, target: i64) -> f64 {
    measured as f64 / target as f64
}

/// What a pod requests of a resource, in thousandths: of the pod as a whole where that is set, of the named
/// container, or of all containers and restartable init containers; absent if one of these has no request.
#[must_use]
pub fn pod_request(
    pod_level: Option<i64>,
    containers: impl IntoIterator<Item = Option<i64>>,
    restartable_init: impl IntoIterator<Item = Option<i64>>,
) -> Option<i64> {
    pod_level.or_else(|| containers.into_iter().chain(restartable_init).sum())
}

/// What a metric proposes.
///
/// # Errors
/// If it cannot be computed: the controller then counts it as failed.
pub fn propose(
    metric: &MetricSpec,
    reading: &Reading<'_>,
    pods: &[PodState],
    replicas: Replicas,
    tolerances: Tolerances,
    settings: &HpaSettings,
    now: SimTime,
) -> Result<Proposal, MetricError> {
    if matches!(reading, Reading::Unavailable) {
        return Err(MetricError::Unavailable);
    }
    let per_pod = |resource, target| match *reading {
        Reading::Pods { readings, strangers } if readings.len() == pods.len() => {
            let pods = PerPod { pods, readings, strangers, resource, target };
            pods.propose(replicas.spec, tolerances, settings, now)
        }
        _ => Err(MetricError::InvalidSource),
    };
    match (metric, reading) {
        (MetricSpec::Resource { resource, target } | MetricSpec::ContainerResource { resource, target, .. }, _) => {
            per_pod(Some(*resource), *target)
        }
        (MetricSpec::Pods { average_value, .. }, _) => per_pod(None, PodTarget::AverageValue(*average_value)),
        (MetricSpec::Object { target, .. }, Reading::Object(value)) => {
            total(*value, *target, pods, replicas, tolerances)
        }
        (MetricSpec::External { target, .. }, Reading::External(series)) => {
            let sum = series.iter().fold(0i64, |sum, value| sum.saturating_add(*value));
            total(sum, *target, pods, replicas, tolerances)
        }
        _ => Err(MetricError::InvalidSource),
    }
}

/// The sizes of the target that formulas start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// `spec.replicas`: what it should have.
    pub spec: u32,
    /// `status.replicas`: what it has.
    pub status: u32,
}

struct PerPod<'a> {
    pods: &'a [PodState],
    readings: &'a [PodReading],
    strangers: &'a [i64],
    resource: Option<ResourceName>,
    target: PodTarget,
}

impl PerPod<'_> {
    fn propose(
        &self,
        current: u32,
        tolerances: Tolerances,
        settings: &HpaSettings,
        now: SimTime,
    ) -> Result<Proposal, MetricError> {
        if self.pods.is_empty() {
            return Err(MetricError::NoPods);
        }
        let by_request = matches!(self.target, PodTarget::Utilization(_));
        let mut groups = PodGroups::default();
        let mut sums = Sums::default();
        // What missing and unready pods would add at a usage of zero, and what the missing use if they fill.
        let mut oldest_sample: Option<SimTime> = None;
        let (mut missing, mut unready, mut missing_usage) = (Sums::default(), Sums::default(), 0i128);
        for (pod, reading) in self.pods.iter().zip(self.readings) {
            if by_request && reading.request.is_none() {
                return Err(MetricError::MissingRequest);
            }
            let request = reading.request.filter(|_| by_request);
            match group(pod, reading.sample.as_ref(), self.resource, settings, now) {
                Group::Ready => {
                    groups.ready += 1;
                    if let Some(sample) = reading.sample {
                        sums.add(sample.value, request);
                        oldest_sample = Some(oldest_sample.map_or(sample.at, |oldest| oldest.min(sample.at)));
                    }
                }
                Group::Unready => {
                    groups.unready += 1;
                    unready.add(0, request);
                }
                Group::Missing => {
                    groups.missing += 1;
                    missing.add(0, request);
                    missing_usage += match self.target {
                        PodTarget::Utilization(target) => {
                            i128::from(request.unwrap_or(0)) * i128::from(target.max(100)) / 100
                        }
                        PodTarget::AverageValue(target) => i128::from(target),
                    };
                }
                Group::Ignored => groups.ignored += 1,
            }
        }
        self.strangers.iter().for_each(|&value| sums.add(value, None));
        if sums.samples == 0 {
            return Err(MetricError::NoMetricsReturned);
        }
        let measure = |sums: &Sums| match self.target {
            PodTarget::Utilization(target) => {
                let (utilization, average) = sums.utilization()?;
                Ok((ratio(utilization, target), Some(utilization), average))
            }
            PodTarget::AverageValue(target) => Ok((ratio(sums.average(), target), None, sums.average())),
        };
        let (first, utilization, value) = measure(&sums)?;
        let mut proposal =
            Proposal { replicas: current, ratio: first, filled_ratio: None, utilization, value, groups, oldest_sample };
        let damped = groups.unready > 0 && first > 1.0;
        if !damped && groups.missing == 0 {
            if !tolerances.contain(first) {
                proposal.replicas = size(first * f64::from(groups.ready));
            }
            return Ok(proposal);
        }
        if first != 1.0 && groups.missing > 0 {
            if first < 1.0 {
                missing.usage += missing_usage;
                missing.matched_usage += missing_usage;
            }
            join(&mut sums, &missing);
        }
        if damped {
            join(&mut sums, &unready);
        }
        let (filled, _, _) = measure(&sums)?;
        proposal.filled_ratio = Some(filled);
        let turned = (first < 1.0 && filled > 1.0) || (first > 1.0 && filled < 1.0);
        if !tolerances.contain(filled) && !turned {
            let asked = size(filled * sums.samples as f64);
            let against = (filled < 1.0 && asked > current) || (filled > 1.0 && asked < current);
            proposal.replicas = if against { current } else { asked };
        }
        Ok(proposal)
    }
}

fn join(sums: &mut Sums, other: &Sums) {
    sums.samples += other.samples;
    sums.usage += other.usage;
    sums.matched += other.matched;
    sums.matched_usage += other.matched_usage;
    sums.request += other.request;
}

fn total(
    value: i64,
    target: TotalTarget,
    pods: &[PodState],
    replicas: Replicas,
    tolerances: Tolerances,
) -> Result<Proposal, MetricError> {
    let groups = PodGroups::default();
    let proposal = |replicas, ratio, value| Proposal {
        replicas,
        ratio,
        filled_ratio: None,
        utilization: None,
        value,
        groups,
        oldest_sample: None,
    };
    match target {
        TotalTarget::Value(target) => {
            let ratio = ratio(value, target);
            if replicas.spec == 0 {
                return Ok(proposal(size(ratio), ratio, value));
            }
            if tolerances.contain(ratio) {
                return Ok(proposal(replicas.spec, ratio, value));
            }
            if pods.is_empty() {
                return Err(MetricError::NoPods);
            }
            let is_ready = |p: &&PodState| p.phase == PodPhase::Running && p.ready.is_some_and(|r| r.status);
            let ready = pods.iter().filter(is_ready).count();
            Ok(proposal(size(ratio * ready as f64), ratio, value))
        }
        TotalTarget::AverageValue(target) => {
            let each = value as f64 / f64::from(replicas.status);
            let ratio = value as f64 / (target as f64 * f64::from(replicas.status));
            let asked = if tolerances.contain(ratio) { replicas.status } else { size(value as f64 / target as f64) };
            // A cast of the float saturates, as the sum of the series does.
            Ok(proposal(asked, ratio, each.ceil() as i64))
        }
    }
}

/// A size from a float, rounded up and cut to what the API can hold.
fn size(replicas: f64) -> u32 {
    replicas.ceil().clamp(0.0, f64::from(i32::MAX)) as u32
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}
