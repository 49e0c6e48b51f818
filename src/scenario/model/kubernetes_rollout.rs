//! Progressive delivery in Kubernetes: Rollouts of Argo, canaries of Flagger.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::IntOrPercent;
use crate::kernel::SimDuration;
use crate::scenario::lang::{Defs, Lang, Reader};
use crate::scenario::tree::{Node, Value};
use crate::scenario::written::Written;

/// How a measured value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparator {
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];
}

/// A condition on a measured value, as `result >= 0.99`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResultCondition {
    /// How.
    pub comparator: Comparator,
    /// With what.
    pub value: f64,
}

impl ResultCondition {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("result[0]").or_else(|| text.strip_prefix("result")).unwrap_or(text).trim_start();
        let (comparator, rest) = Comparator::ALL.iter().find_map(|(sign, c)| Some((*c, text.strip_prefix(sign)?)))?;
        let value = rest.trim().parse::<f64>().ok().filter(|v| v.is_finite())?;
        Some(Self { comparator, value })
    }
}

impl Lang for ResultCondition {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let read = match &node.value {
            Value::Str(text) => Self::parse(text),
            _ => None,
        };
        if read.is_none() {
            cx.wrong_kind(node, "a condition such as \"result >= 0.99\"");
        }
        read
    }

    fn write(&self) -> Written {
        let sign = Comparator::ALL.iter().find(|(_, c)| *c == self.comparator).map_or("==", |(sign, _)| sign);
        Written::Str(format!("result {sign} {}", self.value))
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part("ResultCondition", |_| {
            json!({ "type": "string", "pattern": r"^\s*(result(\[0\])?)?\s*(<=|>=|==|!=|<|>)\s*[-+0-9.eE]+\s*$", "examples": ["result >= 0.99"] })
        })
    }
}

tagged! {
    /// Who brings a new revision in, instead of the Deployment's own controller.
    by "by"
    pub enum Rollout {
        /// A Rollout of Argo with the strategy `canary`.
        ArgoCanary(ArgoCanary) = "argo_canary",
        /// A Rollout of Argo with the strategy `blueGreen`.
        ArgoBlueGreen(ArgoBlueGreen) = "argo_blue_green",
        /// A Canary of Flagger.
        Flagger(FlaggerCanary) = "flagger",
    }
}

table! {
    /// The strategy `canary`. Source: argoproj.io/v1alpha1 CanaryStrategy.
    pub struct ArgoCanary {
        /// The steps, in order; without any it is a rolling update.
        pub steps: Vec<ArgoStep> = Vec::new(),
        /// Who splits the traffic by weight; absent: each pod gets its share, so that numbers of pods make the weight.
        pub traffic_routing: Option<TrafficRouting> = None,
        /// Without traffic routing: pods above the replicas, a share rounded up.
        pub max_surge: IntOrPercent = IntOrPercent::Percent(25),
        /// Without traffic routing: pods below the replicas, a share rounded down.
        pub max_unavailable: IntOrPercent = IntOrPercent::Percent(25),
        /// With traffic routing: whether the stable pods shrink as the share of the canary grows.
        pub dynamic_stable_scale: bool = false,
        /// With traffic routing: fewest pods of a revision that has any.
        pub min_pods_per_replica_set: Option<u32> = None,
        /// With traffic routing: how long the old pods are kept after the promotion.
        pub scale_down_delay_seconds: u32 as WholeSeconds = 30,
        /// With traffic routing: how long the canary's pods are kept after an abort; 0 for ever.
        pub abort_scale_down_delay_seconds: u32 as WholeSeconds = 30,
        /// An analysis beside the steps.
        pub analysis: Option<ArgoBackgroundAnalysis> = None,
        /// What analyses measure, by name.
        pub analysis_templates: IndexMap<String, AnalysisTemplate> = IndexMap::new(),
        /// Whether a rollout that stands still for `progress_deadline_seconds` is aborted.
        pub progress_deadline_abort: bool = false,
    }
}

words! {
    /// Who splits traffic by weight.
    pub enum TrafficRouting {
        /// The Application Load Balancer of the Ingress.
        Alb = "alb",
    }
}

table! {
    /// A step of a canary: exactly one of these. Source: argoproj.io/v1alpha1 CanaryStep.
    pub struct ArgoStep {
        /// The share of traffic of the canary, in percent.
        pub set_weight: Option<u32> = None,
        /// A wait.
        pub pause: Option<ArgoPause> = None,
        /// Analyses that must end well, by the names of their templates.
        pub analysis: Vec<String> = Vec::new(),
        /// With traffic routing: the size of the canary apart from its share of traffic.
        pub set_canary_scale: Option<ArgoCanaryScale> = None,
    }
}

table! {
    /// A wait.
    pub struct ArgoPause {
        /// How long; absent: until it is promoted (the action `promote`).
        pub duration: Option<SimDuration> = None,
    }
}

table! {
    /// The size of the canary: exactly one of these.
    pub struct ArgoCanaryScale {
        /// So many pods.
        pub replicas: Option<u32> = None,
        /// So many percent of the replicas.
        pub weight: Option<u32> = None,
        /// As its share of traffic again.
        pub match_traffic_weight: bool = false,
    }
}

table! {
    /// An analysis beside the steps.
    pub struct ArgoBackgroundAnalysis {
        /// The names of its templates.
        pub templates: Vec<String>,
        /// The step at which it begins, from 0.
        pub starting_step: u32 = 0,
    }
}

table! {
    /// The strategy `blueGreen`. Source: argoproj.io/v1alpha1 BlueGreenStrategy.
    pub struct ArgoBlueGreen {
        /// Pods of the new revision until it is promoted; absent for all.
        pub preview_replica_count: Option<u32> = None,
        /// Whether it is promoted by itself; else by the action `promote`.
        pub auto_promotion_enabled: bool = true,
        /// Time of being ready after which it is promoted.
        pub auto_promotion_seconds: u32 as WholeSeconds = 0,
        /// How long the old pods are kept after the promotion.
        pub scale_down_delay_seconds: u32 as WholeSeconds = 30,
        /// How long the new pods are kept after an abort; 0 for ever.
        pub abort_scale_down_delay_seconds: u32 as WholeSeconds = 30,
        /// Analyses that must end well before traffic goes over, by the names of their templates.
        pub pre_promotion_analysis: Vec<String> = Vec::new(),
        /// Analyses that must end well after traffic went over, else it goes back.
        pub post_promotion_analysis: Vec<String> = Vec::new(),
        /// What analyses measure, by name.
        pub analysis_templates: IndexMap<String, AnalysisTemplate> = IndexMap::new(),
        /// Whether a rollout that stands still for `progress_deadline_seconds` is aborted.
        pub progress_deadline_abort: bool = false,
    }
}

table! {
    /// A metric that an analysis measures. Source: argoproj.io/v1alpha1 Metric; the provider is the simulation.
    pub struct AnalysisTemplate {
        /// What is measured.
        pub metric: AnalysisMetric,
        /// Of which pods.
        pub of: MeasuredPods = MeasuredPods::Canary,
        /// Over how long each value is taken; figures are collected every 20 s.
        pub window: SimDuration = SimDuration::from_secs(60),
        /// Time between measurements; absent: one is taken.
        pub interval: Option<SimDuration> = None,
        /// Time before the first measurement.
        pub initial_delay: SimDuration = SimDuration::ZERO,
        /// Measurements to take; absent: one without an interval, else as long as the analysis runs.
        pub count: Option<u32> = None,
        /// When a measurement is good; absent: whenever it is not bad.
        pub success_condition: Option<ResultCondition> = None,
        /// When a measurement is bad; absent: whenever it is not good.
        pub failure_condition: Option<ResultCondition> = None,
        /// Bad measurements that are borne.
        pub failure_limit: u32 = 0,
        /// Undecided measurements that are borne.
        pub inconclusive_limit: u32 = 0,
        /// Measurements without a value that are borne in a row.
        pub consecutive_error_limit: u32 = 4,
    }
}

words! {
    /// What is measured of pods.
    pub enum AnalysisMetric {
        /// Share of attempts that they answered without error and in time, 0 to 1.
        SuccessRate = "success_rate",
        /// Median of the time until they answered, in milliseconds.
        LatencyP50 = "latency_p50",
        /// 99th percentile of that time, in milliseconds.
        LatencyP99 = "latency_p99",
    }
}

words! {
    /// Whose answers count.
    pub enum MeasuredPods {
        /// Those of the pods of the new revision.
        Canary = "canary",
        /// Those of all pods of the service.
        Service = "service",
    }
}

table! {
    /// A Canary of Flagger. Source: flagger.app/v1beta1 Canary, `spec.analysis` and its neighbours.
    pub struct FlaggerCanary {
        /// Who splits the traffic; `kubernetes` cannot, and does blue/green.
        pub provider: FlaggerProvider = FlaggerProvider::Istio,
        /// Time between checks, at least 10 s.
        pub interval: SimDuration as Seconds = SimDuration::from_secs(60),
        /// Failed checks after which it goes back.
        pub threshold: u32 = 1,
        /// Largest share of traffic of the canary before it is promoted, in percent; 0 for 100.
        pub max_weight: u32 = 50,
        /// By how much the share grows, in percent; 0 where `step_weights` stand.
        pub step_weight: u32 = 10,
        /// The shares one after the other, instead of `step_weight`.
        pub step_weights: Vec<u32> = Vec::new(),
        /// By how much the primary's share grows in the promotion; 0 for all at once.
        pub step_weight_promotion: u32 = 0,
        /// Checks before the promotion in blue/green; 0 for a canary.
        pub iterations: u32 = 0,
        /// What is checked.
        pub metrics: Vec<FlaggerMetric> = Vec::new(),
        /// Whether nothing is checked.
        pub skip_analysis: bool = false,
    }
}

words! {
    /// Who splits traffic for Flagger.
    pub enum FlaggerProvider {
        /// The mesh of Istio.
        Istio = "istio",
        /// A gateway of the Gateway API.
        GatewayApi = "gatewayapi",
        /// Services alone: no split.
        Kubernetes = "kubernetes",
    }
}

table! {
    /// A metric of a Canary: a value outside of its range fails the check, and so does none.
    pub struct FlaggerMetric {
        /// What is measured, of the canary's pods.
        pub name: FlaggerMetricName,
        /// Least value; absent: none.
        pub min: Option<f64> = None,
        /// Largest value; absent: none.
        pub max: Option<f64> = None,
    }
}

words! {
    /// The metrics that Flagger brings.
    pub enum FlaggerMetricName {
        /// Attempts answered without error, in percent.
        RequestSuccessRate = "request-success-rate",
        /// 99th percentile of the time until the answer, in milliseconds.
        RequestDuration = "request-duration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_written() {
        let c = ResultCondition::parse("result[0] >= 0.95").expect("a condition");
        assert_eq!((c.comparator, c.value), (Comparator::AtLeast, 0.95));
        assert_eq!(c.write(), Written::Str("result >= 0.95".into()));
        assert_eq!(ResultCondition::parse("< 300").map(|c| c.comparator), Some(Comparator::Less));
        assert_eq!(ResultCondition::parse("result is fine"), None);
    }
}
