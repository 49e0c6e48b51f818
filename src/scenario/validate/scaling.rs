//! Scaling policies, alarms and schedules.

use super::Check;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::model::{
    AdjustmentType, Alarm, LoadBalancerType, Metric, PredefinedMetric, ScalingPolicy, ScheduledAction, Service,
    Statistic, StepScaling, TargetTracking,
};

impl Check<'_> {
    pub(super) fn scaling(&mut self, service: &Service) {
        let Some(scaling) = &service.scaling else { return };
        let (min, max) = (scaling.min_capacity, scaling.max_capacity);
        self.ordered(&["scaling", "min_capacity"], &["scaling", "max_capacity"], min <= max);
        let most = u64::from(self.plan.cluster.quotas.tasks_per_service);
        self.range(&["scaling", "max_capacity"], u64::from(max), 0, most, "the quota `tasks_per_service` allows");
        if min <= max && !(min..=max).contains(&service.desired_count) {
            let d =
                Diagnostic::warning("W0050", "`desired_count` is outside of the bounds of scaling until a policy acts")
                    .at(self.at(&["desired_count"]))
                    .label(format!("not from {min} to {max}"))
                    .related(self.at(&["scaling"]), "the bounds stand here");
            self.report(&["desired_count"], d);
        }
        let mut tracked: Vec<(PredefinedMetric, &str)> = Vec::new();
        for (name, policy) in &scaling.policies {
            let path = ["scaling", "policies", name.as_str()];
            match policy {
                ScalingPolicy::TargetTracking(tracking) => {
                    let metric = tracking.predefined_metric_type;
                    let same = tracked.iter().find(|(m, _)| Some(*m) == metric);
                    if let (Some(metric), Some((_, first))) = (metric, same) {
                        let d = Diagnostic::error(
                            "S1012",
                            format!("Application Auto Scaling takes one target tracking policy for {metric}"),
                        )
                        .at(self.key(&path))
                        .label("the second one")
                        .related(self.key(&["scaling", "policies", first]), "the first");
                        self.report(&path, d);
                    }
                    tracked.extend(metric.map(|m| (m, name.as_str())));
                    self.within(&path, |c| c.target_tracking(tracking, service));
                }
                ScalingPolicy::Step(step) => self.within(&path, |c| c.step_scaling(step, service)),
                ScalingPolicy::Predictive(predictive) => {
                    let others = scaling.policies.iter().take_while(|(n, _)| *n != name);
                    let first =
                        others.filter(|(_, p)| matches!(p, ScalingPolicy::Predictive(_))).map(|(n, _)| n).next();
                    self.within(&path, |c| c.predictive(predictive, service, first.map(String::as_str)));
                }
            }
        }
        for (name, action) in &scaling.scheduled_actions {
            self.within(&["scaling", "scheduled_actions", name], |c| c.scheduled(action));
        }
        if scaling.policies.is_empty() && scaling.scheduled_actions.is_empty() {
            self.warn(
                "W0051",
                &["scaling"],
                "nothing scales: there is no policy and no scheduled action",
                "has no effect",
            );
        }
    }

    fn target_tracking(&mut self, t: &TargetTracking, service: &Service) {
        use PredefinedMetric as M;
        self.above_zero(&["target_value"], t.target_value);
        if let Some(custom) = &t.customized_metric_specification {
            self.within(&["customized_metric_specification", "metrics"], |c| c.queries(&custom.metrics, service));
        }
        self.tracking_points(t);
        let metric = match (t.predefined_metric_type, &t.customized_metric_specification) {
            (Some(metric), None) => metric,
            (None, Some(_)) => return,
            (given, _) => {
                let d = Diagnostic::error(
                    "S1012",
                    "target tracking takes a `predefined_metric_type` or a `customized_metric_specification`",
                )
                .at(self.key(&[]))
                .label(if given.is_some() { "both are given" } else { "none is given" });
                self.report(&[], d);
                return;
            }
        };
        match metric {
            M::AlbRequestCountPerTarget if service.load_balancer.is_none() => {
                self.error(
                    "S1012",
                    &["predefined_metric_type"],
                    format!("{metric} needs a load balancer"),
                    "the service has none",
                );
            }
            M::AlbRequestCountPerTarget
                if service.load_balancer.as_ref().is_some_and(|lb| lb.r#type == LoadBalancerType::Network) =>
            {
                self.error(
                    "S1012",
                    &["predefined_metric_type"],
                    format!("{metric} is a metric of an Application Load Balancer"),
                    "the service has a Network Load Balancer, which counts no requests",
                );
            }
            M::AlbRequestCountPerTarget => {}
            _ if t.target_value > 100.0 => {
                self.error(
                    "S1010",
                    &["target_value"],
                    "a utilisation on Fargate never goes above 100 %",
                    "percent, at most 100",
                );
            }
            _ => {}
        }
        let high = matches!(
            metric,
            M::EcsServiceAverageCpuUtilizationHighResolution | M::EcsServiceAverageMemoryUtilizationHighResolution
        );
        if high && service.monitoring_resolution != 20 {
            let d = Diagnostic::error("S1012", format!("{metric} needs `monitoring_resolution = 20` on the service"))
                .at(self.at(&["predefined_metric_type"]))
                .label(format!("the service publishes every {} s", service.monitoring_resolution));
            self.report(&["predefined_metric_type"], d);
        }
    }

    /// The alarms' points and the low threshold.
    fn tracking_points(&mut self, t: &TargetTracking) {
        self.range(&["scale_out_datapoints"], u64::from(t.scale_out_datapoints), 1, 100, "an alarm looks at");
        if let Some(n) = t.scale_in_datapoints {
            self.range(&["scale_in_datapoints"], u64::from(n), 1, 1_000, "an alarm looks at");
        }
        if !(t.scale_in_factor > 0.0 && t.scale_in_factor <= 1.0) {
            self.error(
                "S1010",
                &["scale_in_factor"],
                "the low threshold is a share of the target",
                "above 0, at most 1",
            );
        }
    }

    fn step_scaling(&mut self, policy: &StepScaling, service: &Service) {
        self.within(&["alarm"], |c| c.alarm(&policy.alarm, service));
        if policy.min_adjustment_magnitude > 0 && policy.adjustment_type != AdjustmentType::PercentChangeInCapacity {
            self.warn(
                "W0052",
                &["min_adjustment_magnitude"],
                "it counts for PercentChangeInCapacity only",
                "has no effect",
            );
        }
        let steps = &policy.step_adjustments;
        if steps.is_empty() {
            self.error(
                "S1012",
                &["step_adjustments"],
                "a step policy without steps changes nothing",
                "at least one step",
            );
            return;
        }
        if steps.len() > 20 {
            self.error("S1012", &["step_adjustments"], "Application Auto Scaling takes at most 20 steps", "too many");
        }
        let mut bounds = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let index = format!("[{i}]");
            let low = step.metric_interval_lower_bound.unwrap_or(f64::NEG_INFINITY);
            let high = step.metric_interval_upper_bound.unwrap_or(f64::INFINITY);
            if low >= high {
                self.error(
                    "S1030",
                    &["step_adjustments", &index],
                    "the step's lower bound is not below its upper bound",
                    "an empty step",
                );
            }
            if policy.adjustment_type == AdjustmentType::ExactCapacity && step.scaling_adjustment < 0 {
                self.error(
                    "S1030",
                    &["step_adjustments", &index, "scaling_adjustment"],
                    "an exact capacity cannot be negative",
                    "at least 0",
                );
            }
            bounds.push((low, high, i));
        }
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in bounds.windows(2) {
            let ((_, end, first), (start, _, second)) = (pair[0], pair[1]);
            if end != start {
                let what = if end > start { "overlap" } else { "leave a gap" };
                let (a, b) = (format!("[{first}]"), format!("[{second}]"));
                let d = Diagnostic::error("S1030", format!("two steps {what}: Application Auto Scaling refuses that"))
                    .at(self.at(&["step_adjustments", &b]))
                    .label(format!("begins at {start}"))
                    .related(self.at(&["step_adjustments", &a]), format!("ends at {end}"));
                self.report(&["step_adjustments", &b], d);
            }
        }
        let lowest = bounds.first().map_or(0.0, |b| b.0);
        let highest = bounds.iter().map(|b| b.1).fold(f64::NEG_INFINITY, f64::max);
        if lowest < 0.0 && lowest.is_finite() {
            self.error(
                "S1030",
                &["step_adjustments"],
                "with a negative lower bound, one step needs no lower bound at all",
                format!("nothing below {lowest}"),
            );
        }
        if highest > 0.0 && highest.is_finite() {
            self.error(
                "S1030",
                &["step_adjustments"],
                "with a positive upper bound, one step needs no upper bound at all",
                format!("nothing above {highest}"),
            );
        }
    }

    pub(super) fn alarm(&mut self, alarm: &Alarm, service: &Service) {
        let nanos = alarm.period.as_nanos();
        let secs = alarm.period.as_secs();
        let whole = nanos == secs * 1_000_000_000;
        if !whole || !(matches!(secs, 10 | 20 | 30) || (secs > 0 && secs.is_multiple_of(60))) {
            self.error(
                "S1012",
                &["period"],
                "CloudWatch takes a period of 10, 20 or 30 seconds, or a multiple of 60",
                "10, 20, 30, 60, 120, ...",
            );
        }
        let ecs = matches!(alarm.metric, Metric::CpuUtilization | Metric::MemoryUtilization);
        let own = super::work::of_queue(alarm.metric)
            || matches!(alarm.metric, Metric::RunningTaskCount | Metric::Expression);
        self.custom_alarm(alarm, service);
        let resolution = if ecs { u64::from(service.monitoring_resolution) } else { 60 };
        if whole && secs > 0 && secs < resolution {
            self.error(
                "S1012",
                &["period"],
                format!("{} comes every {resolution} s: shorter periods have no data", alarm.metric),
                "too short",
            );
        }
        self.range(&["evaluation_periods"], u64::from(alarm.evaluation_periods), 1, 10_000, "CloudWatch takes");
        if u64::from(alarm.evaluation_periods).saturating_mul(secs) > 7 * 86_400 {
            self.error(
                "S1012",
                &["evaluation_periods"],
                "CloudWatch looks back at most seven days",
                "periods times length",
            );
        }
        if let Some(m) = alarm.datapoints_to_alarm {
            if m == 0 {
                self.error("S1010", &["datapoints_to_alarm"], "an alarm needs at least one point", "at least 1");
            }
            self.ordered(&["datapoints_to_alarm"], &["evaluation_periods"], m <= alarm.evaluation_periods);
        }
        if alarm.metric != Metric::TargetResponseTime && alarm.statistic != Statistic::Average {
            self.warn("W0053", &["statistic"], "`statistic` counts for TargetResponseTime only", "has no effect");
        }
        if !ecs && !own && service.load_balancer.is_none() {
            self.error(
                "S1012",
                &["metric"],
                format!("{} is a metric of a load balancer", alarm.metric),
                "the service has none",
            );
        }
    }

    fn scheduled(&mut self, action: &ScheduledAction) {
        let schedule = action.schedule.trim();
        let shaped = ["cron(", "rate(", "at("].iter().any(|p| schedule.starts_with(p)) && schedule.ends_with(')');
        let zone_known = jiff::tz::TimeZone::get(&action.timezone).is_ok();
        if !shaped {
            let d = Diagnostic::error("S1040", "a schedule is `cron(...)`, `rate(...)` or `at(...)`")
                .at(self.at(&["schedule"]))
                .help("for example \"cron(0 8 ? * MON-FRI *)\": minute, hour, day of month, month, day of week, year");
            self.report(&["schedule"], d);
        } else if let Some(check) = self.options.check_schedule
            && zone_known
            && let Err(message) = check(schedule, &action.timezone)
        {
            self.error("S1040", &["schedule"], format!("the schedule is refused: {message}"), "not a schedule");
        }
        self.zone(&["timezone"], &action.timezone);
        match (action.min_capacity, action.max_capacity) {
            (None, None) => {
                self.error(
                    "S1012",
                    &["schedule"],
                    "Application Auto Scaling needs a `min_capacity`, a `max_capacity` or both",
                    "nothing would change",
                );
            }
            (Some(min), Some(max)) => self.ordered(&["min_capacity"], &["max_capacity"], min <= max),
            _ => {}
        }
        if let (Some(start), Some(end)) = (action.start_time, action.end_time) {
            self.ordered(&["start_time"], &["end_time"], start <= end);
        }
    }

    /// A time zone that must exist.
    pub(super) fn zone(&mut self, path: &[&str], zone: &str) {
        if jiff::tz::TimeZone::get(zone).is_ok() {
            return;
        }
        let mut d = Diagnostic::error("S1040", format!("there is no time zone `{zone}`"))
            .at(self.at(path))
            .label("expected an IANA name such as \"Europe/Berlin\"");
        let names: Vec<String> = jiff::tz::db().available().map(|n| n.to_string()).collect();
        if let Some(near) = crate::scenario::diagnostic::nearest(zone, names.iter().map(String::as_str)) {
            d = d.help(format!("there is `{near}`"));
        }
        self.report(path, d);
    }
}
