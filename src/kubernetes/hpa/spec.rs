//! What a HorizontalPodAutoscaler asks for, with the names and defaults of `autoscaling/v2`.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HpaSpec {
    /// `minReplicas`: 1 by default; 0 needs the scale-to-zero feature and an object or external metric.
    pub min_replicas: u32,
    /// `maxReplicas`: at least `min_replicas`.
    pub max_replicas: u32,
    /// `metrics`; empty for CPU utilization of 80 %.
    pub metrics: Vec<MetricSpec>,
    /// `behavior`; absent for the limits from before it existed.
    pub behavior: Option<Behavior>,
}

impl Default for HpaSpec {
    fn default() -> Self {
        Self { min_replicas: 1, max_replicas: 1, metrics: Vec::new(), behavior: None }
    }
}

/// What the API server fills in where no metric is given.
static DEFAULT_METRICS: [MetricSpec; 1] =
    [MetricSpec::Resource { resource: ResourceName::Cpu, target: PodTarget::Utilization(80) }];

impl HpaSpec {
    /// The metrics in force: those given, else CPU utilization of 80 %.
    #[must_use]
    pub fn metrics(&self) -> &[MetricSpec] {
        if self.metrics.is_empty() { &DEFAULT_METRICS } else { &self.metrics }
    }
}

/// A resource that metrics-server measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceName {
    /// CPU in millicores. Pods that just started are left out for a while.
    Cpu,
    /// Memory, in thousandths of a byte.
    Memory,
}

/// The target of a metric that each pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodTarget {
    /// `averageUtilization`: percent of what the pods request, above 0.
    Utilization(i64),
    /// `averageValue`: thousandths of the unit, above 0.
    AverageValue(i64),
}

/// The target of a metric that the pods share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TotalTarget {
    /// `value`: thousandths of the unit, above 0. The result is scaled from the pods that are ready.
    Value(i64),
    /// `averageValue`: thousandths of the unit for each replica, above 0.
    AverageValue(i64),
}

/// A metric and its target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricSpec {
    /// CPU or memory of whole pods.
    Resource {
        /// Which.
        resource: ResourceName,
        /// The target.
        target: PodTarget,
    },
    /// CPU or memory of one container of each pod.
    ContainerResource {
        /// Which.
        resource: ResourceName,
        /// The container's name.
        container: String,
        /// The target.
        target: PodTarget,
    },
    /// A custom metric of each pod.
    Pods {
        /// The metric's name.
        name: String,
        /// `averageValue` in thousandths of the unit, above 0.
        average_value: i64,
    },
    /// A metric of another object of the cluster.
    Object {
        /// The metric's name.
        name: String,
        /// The target.
        target: TotalTarget,
    },
    /// A metric from outside the cluster: the sum of its series.
    External {
        /// The metric's name.
        name: String,
        /// The target.
        target: TotalTarget,
    },
}

/// How fast it may scale. As soon as one direction is given, the other takes its defaults from here too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Behavior {
    /// `scaleUp`.
    pub scale_up: Option<ScalingRules>,
    /// `scaleDown`.
    pub scale_down: Option<ScalingRules>,
}

/// The rules of one direction; what is not given has that direction's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingRules {
    /// `stabilizationWindowSeconds`, 0 to 3600: up 0, down the controller's window.
    pub stabilization_window: Option<SimDuration>,
    /// `selectPolicy`: `Max`.
    pub select_policy: Option<SelectPolicy>,
    /// `policies`; a list that is given replaces the default one.
    pub policies: Vec<ScalingPolicy>,
    /// `tolerance` as a share, at least 0: the controller's (0.1).
    pub tolerance: Option<f64>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no scaling in this direction.
    Disabled,
}

/// One limit of speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// How much may change within the period, above 0.
    pub value: u32,
    /// `periodSeconds`, 1 to 1800.
    pub period: SimDuration,
}

/// What a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the size at the start of the period.
    Percent,
}

/// Rules with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules<'a> {
    /// The window; absent where the controller's counts.
    pub stabilization_window: Option<SimDuration>,
    /// Which policy counts.
    pub select_policy: SelectPolicy,
    /// At least one policy.
    pub policies: &'a [ScalingPolicy],
    /// The tolerance; absent where the controller's counts.
    pub tolerance: Option<f64>,
}

const QUARTER_MINUTE: SimDuration = SimDuration::from_secs(15);
static DEFAULT_UP: [ScalingPolicy; 2] = [
    ScalingPolicy { kind: PolicyKind::Pods, value: 4, period: QUARTER_MINUTE },
    ScalingPolicy { kind: PolicyKind::Percent, value: 100, period: QUARTER_MINUTE },
];
static DEFAULT_DOWN: [ScalingPolicy; 1] =
    [ScalingPolicy { kind: PolicyKind::Percent, value: 100, period: QUARTER_MINUTE }];

impl<'a> Rules<'a> {
    /// The rules for scaling up: window 0, the larger of 4 pods and 100 % in 15 s.
    #[must_use]
    pub fn up(given: Option<&'a ScalingRules>) -> Self {
        let mut rules = Self::fill(given, &DEFAULT_UP);
        rules.stabilization_window.get_or_insert(SimDuration::ZERO);
        rules
    }

    /// The rules for scaling down: the controller's window, 100 % in 15 s.
    #[must_use]
    pub fn down(given: Option<&'a ScalingRules>) -> Self {
        Self::fill(given, &DEFAULT_DOWN)
    }

    fn fill(given: Option<&'a ScalingRules>, default: &'static [ScalingPolicy]) -> Self {
        let policies = given.map(|g| g.policies.as_slice()).filter(|p| !p.is_empty());
        Self {
            stabilization_window: given.and_then(|g| g.stabilization_window),
            select_policy: given.and_then(|g| g.select_policy).unwrap_or_default(),
            policies: policies.unwrap_or(default),
            tolerance: given.and_then(|g| g.tolerance),
        }
    }

    /// The longest period of its policies.
    #[must_use]
    pub fn longest_period(&self) -> SimDuration {
        self.policies.iter().map(|p| p.period).max().unwrap_or_default()
    }
}

/// Flags of the controller manager.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HpaSettings {
    /// `--horizontal-pod-autoscaler-sync-period`.
    pub sync_period: SimDuration,
    /// `--horizontal-pod-autoscaler-tolerance`, a share, both ways.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization: SimDuration,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub cpu_initialization_period: SimDuration,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`.
    pub initial_readiness_delay: SimDuration,
    /// Without `behavior`: how many times the present size one sync may reach. Not a flag.
    pub scale_up_limit_factor: f64,
    /// Without `behavior`: what one sync may reach in any case. Not a flag.
    pub scale_up_limit_minimum: f64,
}

impl Default for HpaSettings {
    fn default() -> Self {
        Self {
            sync_period: QUARTER_MINUTE,
            tolerance: 0.1,
            downscale_stabilization: SimDuration::from_mins(5),
            cpu_initialization_period: SimDuration::from_mins(5),
            initial_readiness_delay: SimDuration::from_secs(30),
            scale_up_limit_factor: 2.0,
            scale_up_limit_minimum: 4.0,
        }
    }
}
