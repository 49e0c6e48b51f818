//! Metrics of one's own, and predictive scaling.

use indexmap::IndexMap;

use super::{Metric, Statistic};
use crate::kernel::SimDuration;

table! {
    /// A metric of one's own for target tracking: one metric, or metric math over several. The value is that of the one query that no other uses.
    pub struct CustomizedMetric {
        /// The queries, by the id that expressions use.
        pub metrics: IndexMap<String, MetricQuery>,
    }
}

table! {
    /// A metric, or an expression over other queries.
    pub struct MetricQuery {
        /// The metric; absent for an expression.
        pub metric_name: Option<Metric> = None,
        /// The queue of a queue's metric; absent: the one that the service works on.
        pub queue: Option<String> = None,
        /// The statistic, for TargetResponseTime.
        pub statistic: Statistic = Statistic::Average,
        /// Metric math over the ids of other queries: `+ - * /`, brackets, numbers, `MAX`, `MIN`, `ABS`, `CEIL`, `FLOOR`, `FILL(m, n)`.
        pub expression: Option<String> = None,
    }
}

words! {
    /// The pair of a load metric and a scaling metric. Source: Application Auto Scaling API, PredictiveScalingPredefinedMetricPairSpecification.
    pub enum MetricPair {
        /// Total CPU utilisation of the service, and its mean per task in percent.
        EcsServiceCpuUtilization = "ECSServiceCPUUtilization",
        /// Requests of the load balancer, and requests per target and minute.
        AlbRequestCount = "ALBRequestCount",
    }
}

words! {
    /// Whether a forecast acts.
    pub enum PredictiveMode {
        /// It is only written down.
        ForecastOnly = "ForecastOnly",
        /// It adds tasks.
        ForecastAndScale = "ForecastAndScale",
    }
}

words! {
    /// What a forecast above the maximum capacity does.
    pub enum MaxCapacityBreach {
        /// The maximum holds.
        HonorMaxCapacity = "HonorMaxCapacity",
        /// The maximum is raised, and stays raised.
        IncreaseMaxCapacity = "IncreaseMaxCapacity",
    }
}

table! {
    /// A predictive scaling policy: tasks are there before the hour that will need them. Source: Application Auto Scaling API, PredictiveScalingPolicyConfiguration.
    pub struct PredictiveScaling {
        /// What is forecast.
        pub predefined_metric_pair_type: MetricPair,
        /// The scaling metric's value at which a task is used as it should: percent, or requests per target and minute.
        pub target_value: f64,
        /// Whether the forecast acts.
        pub mode: PredictiveMode = PredictiveMode::ForecastOnly,
        /// How long before its hour a forecast acts, 0 to 3,600 s.
        pub scheduling_buffer_time: SimDuration as Seconds = SimDuration::from_secs(300),
        /// What a forecast above the maximum capacity does.
        pub max_capacity_breach_behavior: MaxCapacityBreach = MaxCapacityBreach::HonorMaxCapacity,
        /// With IncreaseMaxCapacity: how far above the forecast the maximum is raised, percent, 0 to 100.
        pub max_capacity_buffer: u32 = 0,
        /// What was measured before the simulation starts.
        pub history: History = History::None(NoHistory {}),
    }
}

tagged! {
    /// What was measured before the simulation starts.
    by "type"
    pub enum History {
        /// Nothing: the first forecast needs a day of the simulation itself.
        None(NoHistory) = "none",
        /// Days like the first day of the scenario's own traffic, without its scatter: an assumption that flatters the forecast, unless `scale` says by how much the days differ.
        Profile(ProfileHistory) = "profile",
        /// Counts per interval from a file; the last row ends at the start of the simulation.
        Trace(TraceHistory) = "trace",
    }
}

table! {
    /// Nothing was measured.
    pub struct NoHistory {}
}

table! {
    /// Days like the first day of the scenario.
    pub struct ProfileHistory {
        /// How many, 1 to 14.
        pub days: u32 = 14,
        /// Their traffic in relation to that of the scenario.
        pub scale: f64 = 1.0,
    }
}

table! {
    /// Counts per interval from a file.
    pub struct TraceHistory {
        /// CSV file with columns `time_s,requests`, relative to the scenario.
        pub file: String,
        /// Factor on the counts.
        pub scale: f64 = 1.0,
    }
}
