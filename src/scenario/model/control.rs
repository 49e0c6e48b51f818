//! What controllers are told: deployments, scaling policies, alarms.

use indexmap::IndexMap;

use super::metric::{CustomizedMetric, MetricQuery, PredictiveScaling};
use super::placement::{PlacementConstraint, PlacementStrategy, SchedulingStrategy, TaskProtection};
use super::shift::{
    CanaryConfiguration, CodeDeploy, DeploymentController, DeploymentStrategy, LifecycleHook, LinearConfiguration,
};
use crate::kernel::SimDuration;

table! {
    /// What only an ECS service has.
    pub struct EcsService {
        /// Who carries a deployment out. Source: ECS API, DeploymentController.
        pub deployment_controller: DeploymentController = DeploymentController::Ecs,
        /// How a deployment of the ECS controller goes.
        pub deployment_configuration: DeploymentConfiguration = DeploymentConfiguration::default(),
        /// The deployment group of a service whose controller is CODE_DEPLOY.
        pub code_deploy: Option<CodeDeploy> = None,
        /// Time after a task first started in which failed health checks do not count.
        pub health_check_grace_period_seconds: u32 as WholeSeconds = 0,
        /// Whether tasks are moved when zones are uneven.
        pub availability_zone_rebalancing: Switch = Switch::Enabled,
        /// Whether STOPPING tasks count against the maximum (the guide says yes, the API text no).
        pub stopping_counts: bool = true,
        /// Time a task without any health check must run before it counts as healthy.
        pub seconds_running_before_healthy: u32 as WholeSeconds = 40,
        /// Waits between launches after tasks that never reached RUNNING: grow to 27 minutes.
        pub restart_throttle: RestartThrottle = RestartThrottle::default(),
        /// How often the service scheduler looks at the service when nothing happens.
        pub scheduler_period: SimDuration = SimDuration::from_secs(5),
        /// How many tasks there are: the desired count, or one on each instance.
        pub scheduling_strategy: SchedulingStrategy = SchedulingStrategy::Replica,
        /// Where tasks are preferred on container instances, at most 5. Absent: zones with the fewest tasks, then instances with the fewest.
        pub placement_strategy: Vec<PlacementStrategy> = Vec::new(),
        /// Where tasks may stand on container instances, at most 10.
        pub placement_constraints: Vec<PlacementConstraint> = Vec::new(),
        /// Scale-in protection that tasks give themselves; absent for none.
        pub task_protection: Option<TaskProtection> = None,
    }
}

words! {
    /// On or off, as the ECS API writes it.
    pub enum Switch {
        /// On.
        Enabled = "ENABLED",
        /// Off.
        Disabled = "DISABLED",
    }
}

table! {
    /// Waits of the restart throttle. The growth is not published; the maximum is.
    pub struct RestartThrottle {
        /// Failures in a row before the first wait.
        pub free_failures: u32 = 3,
        /// The first wait; each further one is twice as long.
        pub first_delay: SimDuration = SimDuration::from_mins(1),
        /// The longest wait.
        pub max_delay: SimDuration = SimDuration::from_mins(27),
    }
}

table! {
    /// How a deployment goes, its bounds and its safety. Source: ECS API, DeploymentConfiguration.
    pub struct DeploymentConfiguration {
        /// How the new revision takes over.
        pub strategy: DeploymentStrategy = DeploymentStrategy::Rolling,
        /// Lower bound of healthy tasks, percent of the desired count, rounded up.
        pub minimum_healthy_percent: u32 = 100,
        /// Upper bound of running and pending tasks, percent of the desired count, rounded down.
        pub maximum_percent: u32 = 200,
        /// Fails a deployment whose tasks do not come up.
        pub deployment_circuit_breaker: CircuitBreaker = CircuitBreaker::default(),
        /// Fails a deployment while an alarm stands.
        pub alarms: DeploymentAlarms = DeploymentAlarms::default(),
        /// Time after the new revision has taken over in which alarms still fail the deployment, 0 to 1440; outside of ROLLING both revisions run. Required for BLUE_GREEN. Absent: 0 without alarms, else computed from their periods, below 5.
        pub bake_time_in_minutes: Option<u32> = None,
        /// The steps of LINEAR.
        pub linear_configuration: Option<LinearConfiguration> = None,
        /// The steps of CANARY.
        pub canary_configuration: Option<CanaryConfiguration> = None,
        /// What is asked at the stages of BLUE_GREEN, LINEAR and CANARY, by name.
        pub lifecycle_hooks: IndexMap<String, LifecycleHook> = IndexMap::new(),
        /// Completes a deployment early.
        pub early_success: Option<EarlySuccess> = None,
    }
}

table! {
    /// Completes a deployment once a share of the new tasks is healthy.
    pub struct EarlySuccess {
        /// Healthy new tasks, percent of the desired count, rounded up; at least one.
        pub healthy_percent: u32,
        /// Whether old tasks are stopped before (BLOCKING) or after (DEFERRED) the deployment completes.
        pub cleanup: Cleanup = Cleanup::Blocking,
    }
}

words! {
    /// When old tasks are cleaned up under early success.
    pub enum Cleanup {
        /// Before the deployment completes.
        Blocking = "BLOCKING",
        /// After the deployment completes.
        Deferred = "DEFERRED",
    }
}

table! {
    /// The deployment circuit breaker.
    pub struct CircuitBreaker {
        /// Whether it acts.
        pub enable: bool = false,
        /// Whether it starts a deployment of the last completed revision.
        pub rollback: bool = false,
        /// How many failures it takes.
        pub threshold_configuration: ThresholdConfiguration = ThresholdConfiguration::default(),
        /// Whether a healthy task sets the count back to zero.
        pub reset_on_healthy_task: bool = true,
    }
}

table! {
    /// How many failures open the breaker.
    pub struct ThresholdConfiguration {
        /// Percent of the desired count (with or without the clamp to 3..200), or a count.
        pub r#type: ThresholdType = ThresholdType::BoundedPercent,
        /// The percent or the count.
        pub value: u32 = 50,
    }
}

words! {
    /// The unit of a breaker's threshold.
    pub enum ThresholdType {
        /// Percent of the desired count, at least 3 and at most 200.
        BoundedPercent = "BOUNDED_PERCENT",
        /// Percent of the desired count.
        UnboundedPercent = "UNBOUNDED_PERCENT",
        /// A number of failures.
        Count = "COUNT",
    }
}

table! {
    /// Alarms that fail a deployment.
    pub struct DeploymentAlarms {
        /// Names of alarms of the service.
        pub alarm_names: Vec<String> = Vec::new(),
        /// Whether they act.
        pub enable: bool = false,
        /// Whether a failed deployment is rolled back.
        pub rollback: bool = false,
    }
}

table! {
    /// Service auto scaling (Application Auto Scaling).
    pub struct Scaling {
        /// Smallest desired count that scaling sets.
        pub min_capacity: u32,
        /// Largest desired count that scaling sets.
        pub max_capacity: u32,
        /// Policies by name; the largest proposal wins.
        pub policies: IndexMap<String, ScalingPolicy> = IndexMap::new(),
        /// Scheduled actions by name.
        pub scheduled_actions: IndexMap<String, ScheduledAction> = IndexMap::new(),
        /// Kinds of scaling that are off at the start.
        pub suspended: Suspended = Suspended::default(),
    }
}

table! {
    /// Kinds of scaling that are suspended. Source: Application Auto Scaling API, SuspendedState.
    pub struct Suspended {
        /// Policies do not remove tasks.
        pub dynamic_scaling_in_suspended: bool = false,
        /// Policies do not add tasks.
        pub dynamic_scaling_out_suspended: bool = false,
        /// Scheduled actions do not act; missed ones are not made up.
        pub scheduled_scaling_suspended: bool = false,
    }
}

tagged! {
    /// A scaling policy.
    by "type"
    pub enum ScalingPolicy {
        /// Keeps a metric at a target.
        TargetTracking(TargetTracking) = "target_tracking",
        /// Adds or removes by the size of an alarm's breach.
        Step(StepScaling) = "step_scaling",
        /// Adds tasks before the hour that will need them.
        Predictive(PredictiveScaling) = "predictive",
    }
}

words! {
    /// A predefined metric of target tracking.
    pub enum PredefinedMetric {
        /// Mean CPU utilisation of the service, percent of the reserved.
        EcsServiceAverageCpuUtilization = "ECSServiceAverageCPUUtilization",
        /// Mean memory utilisation of the service, percent of the reserved.
        EcsServiceAverageMemoryUtilization = "ECSServiceAverageMemoryUtilization",
        /// The same from 20-second points; needs `monitoring_resolution = 20`.
        EcsServiceAverageCpuUtilizationHighResolution = "ECSServiceAverageCPUUtilizationHighResolution",
        /// The same from 20-second points; needs `monitoring_resolution = 20`.
        EcsServiceAverageMemoryUtilizationHighResolution = "ECSServiceAverageMemoryUtilizationHighResolution",
        /// Requests per target in one minute.
        AlbRequestCountPerTarget = "ALBRequestCountPerTarget",
    }
}

words! {
    /// Which value of the alarm's metric target tracking uses.
    pub enum MetricSample {
        /// The newest point.
        Latest = "latest",
        /// The mean of the alarm's evaluation points.
        Mean = "mean",
    }
}

table! {
    /// A target tracking policy. Alarms: above the target 3 of 3 points; below 0.9 of it 15 of 15.
    pub struct TargetTracking {
        /// The metric; or `customized_metric_specification`.
        pub predefined_metric_type: Option<PredefinedMetric> = None,
        /// A metric of one's own, such as the backlog per task. It falls as tasks are added, or target tracking runs away.
        pub customized_metric_specification: Option<CustomizedMetric> = None,
        /// The target: percent, requests per target and minute, or the unit of the metric of one's own.
        pub target_value: f64,
        /// Time after a scale-out in which only a larger one acts.
        pub scale_out_cooldown: SimDuration as Seconds = SimDuration::from_secs(300),
        /// Time after a scale-in in which no other acts.
        pub scale_in_cooldown: SimDuration as Seconds = SimDuration::from_secs(300),
        /// Never removes tasks, and does not vote on it.
        pub disable_scale_in: bool = false,
        /// Points above the target that raise the alarm.
        pub scale_out_datapoints: u32 = 3,
        /// Points below the low threshold that raise the alarm; 45 with 20-second points.
        pub scale_in_datapoints: Option<u32> = None,
        /// The low threshold as a share of the target.
        pub scale_in_factor: f64 = 0.9,
        /// Which value of the metric is used.
        pub metric_sample: MetricSample = MetricSample::Latest,
    }
}

words! {
    /// What a step's number means.
    pub enum AdjustmentType {
        /// Tasks to add.
        ChangeInCapacity = "ChangeInCapacity",
        /// Tasks to have.
        ExactCapacity = "ExactCapacity",
        /// Percent of the capacity to add.
        PercentChangeInCapacity = "PercentChangeInCapacity",
    }
}

words! {
    /// How the points of an alarm are combined for a step policy.
    pub enum Aggregation {
        /// Mean.
        Average = "Average",
        /// Smallest.
        Minimum = "Minimum",
        /// Largest.
        Maximum = "Maximum",
    }
}

table! {
    /// A step scaling policy with its alarm.
    pub struct StepScaling {
        /// The alarm that calls the policy.
        pub alarm: Alarm,
        /// What a step's number means.
        pub adjustment_type: AdjustmentType = AdjustmentType::ChangeInCapacity,
        /// The steps, by distance of the metric from the alarm's threshold.
        pub step_adjustments: Vec<StepAdjustment>,
        /// Smallest change of a percent adjustment, in tasks.
        pub min_adjustment_magnitude: u32 = 0,
        /// Time in which earlier changes count.
        pub cooldown: SimDuration as Seconds = SimDuration::from_secs(300),
        /// How the alarm's points are combined.
        pub metric_aggregation_type: Aggregation = Aggregation::Average,
    }
}

table! {
    /// One step.
    pub struct StepAdjustment {
        /// Lower bound of metric minus threshold; absent for minus infinity.
        pub metric_interval_lower_bound: Option<f64> = None,
        /// Upper bound of metric minus threshold; absent for infinity.
        pub metric_interval_upper_bound: Option<f64> = None,
        /// Tasks or percent.
        pub scaling_adjustment: i64,
    }
}

words! {
    /// A metric of a service, or of a queue, that alarms watch.
    pub enum Metric {
        /// ECS CPUUtilization: percent of the reserved CPU.
        CpuUtilization = "CPUUtilization",
        /// ECS MemoryUtilization: percent of the reserved memory.
        MemoryUtilization = "MemoryUtilization",
        /// ALB RequestCountPerTarget: requests per healthy target in the period.
        RequestCountPerTarget = "RequestCountPerTarget",
        /// ALB RequestCount: requests in the period.
        RequestCount = "RequestCount",
        /// ALB HTTPCode_Target_5XX_Count.
        HttpCodeTarget5xxCount = "HTTPCode_Target_5XX_Count",
        /// ALB HTTPCode_ELB_5XX_Count.
        HttpCodeElb5xxCount = "HTTPCode_ELB_5XX_Count",
        /// ALB TargetResponseTime, in seconds; `statistic` chooses mean or percentile.
        TargetResponseTime = "TargetResponseTime",
        /// ALB HealthyHostCount.
        HealthyHostCount = "HealthyHostCount",
        /// ALB UnHealthyHostCount.
        UnhealthyHostCount = "UnHealthyHostCount",
        /// 5xx of the load balancer and the targets over requests, percent (metric math).
        ErrorRate = "ErrorRate",
        /// SQS: messages that can be received.
        ApproximateNumberOfMessagesVisible = "ApproximateNumberOfMessagesVisible",
        /// SQS: messages received and not deleted.
        ApproximateNumberOfMessagesNotVisible = "ApproximateNumberOfMessagesNotVisible",
        /// SQS: messages sent that cannot be received yet.
        ApproximateNumberOfMessagesDelayed = "ApproximateNumberOfMessagesDelayed",
        /// SQS: age of the oldest message that is not deleted, in seconds.
        ApproximateAgeOfOldestMessage = "ApproximateAgeOfOldestMessage",
        /// SQS: messages sent in the period.
        NumberOfMessagesSent = "NumberOfMessagesSent",
        /// Container Insights: tasks in RUNNING.
        RunningTaskCount = "RunningTaskCount",
        /// Metric math over `metrics`.
        Expression = "Expression",
    }
}

words! {
    /// The statistic of TargetResponseTime.
    pub enum Statistic {
        /// Mean.
        Average = "Average",
        /// Median.
        P50 = "p50",
        /// 90th percentile.
        P90 = "p90",
        /// 95th percentile.
        P95 = "p95",
        /// 99th percentile.
        P99 = "p99",
    }
}

words! {
    /// How a point is compared with the threshold.
    pub enum Comparison {
        /// `>`
        GreaterThanThreshold = "GreaterThanThreshold",
        /// `>=`
        GreaterThanOrEqualToThreshold = "GreaterThanOrEqualToThreshold",
        /// `<`
        LessThanThreshold = "LessThanThreshold",
        /// `<=`
        LessThanOrEqualToThreshold = "LessThanOrEqualToThreshold",
    }
}

words! {
    /// How missing points are treated.
    pub enum TreatMissingData {
        /// They are left out; none at all gives INSUFFICIENT_DATA.
        Missing = "missing",
        /// The state stays.
        Ignore = "ignore",
        /// As breaching.
        Breaching = "breaching",
        /// As not breaching.
        NotBreaching = "notBreaching",
    }
}

table! {
    /// A CloudWatch alarm.
    pub struct Alarm {
        /// The metric.
        pub metric: Metric,
        /// The queue of a queue's metric; absent: the one that the service works on.
        pub queue: Option<String> = None,
        /// The queries of a metric that is an Expression, by id; its value is that of the one that no other uses.
        pub metrics: IndexMap<String, MetricQuery> = IndexMap::new(),
        /// The statistic, for TargetResponseTime.
        pub statistic: Statistic = Statistic::Average,
        /// How points are compared.
        pub comparison_operator: Comparison,
        /// The threshold, in the metric's unit.
        pub threshold: f64,
        /// Length of a period: 10, 20, 30 s or a multiple of 60 s.
        pub period: SimDuration as Seconds = SimDuration::from_secs(60),
        /// Periods that are looked at (N).
        pub evaluation_periods: u32 = 1,
        /// Breaching points that raise the alarm (M); absent: all.
        pub datapoints_to_alarm: Option<u32> = None,
        /// How missing points are treated.
        pub treat_missing_data: TreatMissingData = TreatMissingData::Missing,
    }
}

table! {
    /// A scheduled action.
    pub struct ScheduledAction {
        /// `cron(...)`, `rate(...)` or `at(...)`.
        pub schedule: String,
        /// IANA time zone of cron and at.
        pub timezone: String = "UTC".to_string(),
        /// New smallest capacity; absent: unchanged.
        pub min_capacity: Option<u32> = None,
        /// New largest capacity; absent: unchanged.
        pub max_capacity: Option<u32> = None,
        /// Not before this UTC instant; acts at it too.
        pub start_time: Option<jiff::Timestamp> = None,
        /// Not after this UTC instant.
        pub end_time: Option<jiff::Timestamp> = None,
    }
}
