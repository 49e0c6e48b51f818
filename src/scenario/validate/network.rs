//! Traffic and the load balancer.

use super::Check;
use crate::kernel::SimDuration;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::model::{Algorithm, Arrivals, LoadBalancer, LoadBalancerType, Shape, Switch, Traffic};

/// Highest rate that is taken: beyond it a run would not end.
const MAX_RPS: f64 = 1e7;

impl Check<'_> {
    fn rate(&mut self, path: &[&str], rps: f64) {
        self.at_least(path, rps, 0.0);
        if rps > MAX_RPS {
            self.error(
                "S1010",
                path,
                format!("{rps} requests a second are too many: at most {MAX_RPS} are taken"),
                "too many",
            );
        }
    }

    pub(super) fn traffic(&mut self, traffic: &Traffic) {
        for (i, point) in traffic.rate.iter().enumerate() {
            let index = format!("[{i}]");
            self.rate(&["rate", &index, "rps"], point.rps);
            if i > 0 && point.at < traffic.rate[i - 1].at {
                let before = format!("[{}]", i - 1);
                let d = Diagnostic::error("S1011", "the points of a rate curve go forward in time")
                    .at(self.at(&["rate", &index, "at"]))
                    .label("earlier than the point before")
                    .related(self.at(&["rate", &before, "at"]), "the point before");
                self.report(&["rate", &index, "at"], d);
            }
        }
        for (name, shape) in &traffic.shapes {
            self.within(&["shapes", name], |c| c.shape(shape));
        }
        if let Some(trace) = &traffic.trace {
            self.at_least(&["trace", "scale"], trace.scale, 0.0);
            self.above_zero(&["trace", "time_scale"], trace.time_scale);
        }
        if let Some(recorded) = &traffic.recorded {
            self.above_zero(&["recorded", "time_scale"], recorded.time_scale);
        }
        if let Some(users) = &traffic.users
            && users.count == 0
        {
            self.error("S1010", &["users", "count"], "a population of no users sends nothing", "at least 1");
        }
        if let Arrivals::Bursty(bursty) = &traffic.arrivals {
            self.above_zero(&["arrivals", "cv"], bursty.cv);
            if bursty.cv > 100.0 {
                self.error(
                    "S1010",
                    &["arrivals", "cv"],
                    "a coefficient of variation above 100 is taken for a slip",
                    "at most 100",
                );
            }
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Sine(s) => {
                self.rate(&["mean_rps"], s.mean_rps);
                self.rate(&["amplitude_rps"], s.amplitude_rps);
                self.not_zero(&["period"], s.period);
                if s.amplitude_rps > s.mean_rps {
                    self.warn(
                        "W0040",
                        &["amplitude_rps"],
                        "the wave is cut at zero, so its mean is above `mean_rps`",
                        "above `mean_rps`",
                    );
                }
            }
            Shape::Spike(s) => {
                self.rate(&["rps"], s.rps);
                self.happens(&["at"], s.at);
            }
            Shape::Daily(s) => {
                self.rate(&["low_rps"], s.low_rps);
                self.rate(&["high_rps"], s.high_rps);
                self.ordered(&["low_rps"], &["high_rps"], s.low_rps <= s.high_rps);
                if s.low_at >= SimDuration::from_secs(86_400) {
                    self.error("S1010", &["low_at"], "`low_at` is a time of day", "below 24h");
                }
            }
            Shape::Step(s) => {
                self.rate(&["rps"], s.rps);
                self.happens(&["at"], s.at);
            }
        }
    }

    fn network_load_balancer(&mut self, balancer: &LoadBalancer) {
        let of_requests = [
            ("algorithm", balancer.algorithm != Algorithm::RoundRobin, "the hash of a flow chooses its target"),
            ("slow_start", !balancer.slow_start.is_zero(), "it has no slow start"),
            ("stickiness", balancer.stickiness.enabled, "a flow stays where it is: see `client.connections`"),
            (
                "target_groups",
                !balancer.target_groups.is_empty(),
                "weighted groups are modelled for `application` only",
            ),
            (
                "idle_timeout",
                balancer.idle_timeout != LoadBalancer::default().idle_timeout,
                "flows that are silent for 350 s are forgotten",
            ),
        ];
        for (key, wrong, why) in of_requests {
            if wrong {
                let message = format!("a Network Load Balancer does not take `{key}`: {why}");
                self.error("S1012", &[key], message, "leave it out, or say `type = \"application\"`");
            }
        }
    }

    pub(super) fn load_balancer(&mut self, balancer: &LoadBalancer) {
        match balancer.r#type {
            LoadBalancerType::Network => self.network_load_balancer(balancer),
            LoadBalancerType::Application if balancer.cross_zone == Switch::Enabled => {
                let why = "an Application Load Balancer sends to all zones";
                self.warn("W0053", &["cross_zone"], why, "has no effect");
            }
            LoadBalancerType::Application => {}
        }
        let who = "Elastic Load Balancing takes a";
        let check = &balancer.health_check;
        self.time(&["health_check", "interval"], check.interval, 5, 300, who);
        self.time(&["health_check", "timeout"], check.timeout, 2, 120, who);
        self.range(&["health_check", "healthy_threshold"], u64::from(check.healthy_threshold), 2, 10, who);
        self.range(&["health_check", "unhealthy_threshold"], u64::from(check.unhealthy_threshold), 2, 10, who);
        if check.timeout >= check.interval {
            let d = Diagnostic::error(
                "S1012",
                "Elastic Load Balancing refuses a health check whose timeout is not below its interval",
            )
            .at(self.at(&["health_check", "timeout"]))
            .label("not below `interval`")
            .related(self.at(&["health_check", "interval"]), "`interval` stands here");
            self.report(&["health_check", "timeout"], d);
        }
        self.time(&["deregistration_delay"], balancer.deregistration_delay, 0, 3_600, who);
        self.time(&["idle_timeout"], balancer.idle_timeout, 1, 4_000, who);
        if !balancer.slow_start.is_zero() {
            self.time(&["slow_start"], balancer.slow_start, 30, 900, "Elastic Load Balancing takes 0 (off) or a");
            if balancer.algorithm != Algorithm::RoundRobin {
                let d = Diagnostic::error("S1012", "Elastic Load Balancing has slow start with `round_robin` only")
                    .at(self.at(&["slow_start"]))
                    .label("not with this algorithm")
                    .related(self.at(&["algorithm"]), "`algorithm` stands here");
                self.report(&["slow_start"], d);
            }
        }
        if balancer.algorithm == Algorithm::PowerOfChoices {
            self.range(&["choices"], u64::from(balancer.choices), 1, 64, "`power_of_choices` takes");
        }
        self.at_least(&["minimum_healthy_targets"], f64::from(balancer.minimum_healthy_targets), 1.0);
        self.at_least(&["connections_per_request"], balancer.connections_per_request, 0.0);
        let others = balancer.target_groups.keys().filter(|n| *n != "main").count();
        if others > 4 {
            self.error(
                "S1012",
                &["target_groups"],
                "Elastic Load Balancing forwards to at most 5 target groups",
                "too many",
            );
        }
        let mut weights = u64::from(!balancer.target_groups.contains_key("main"));
        for (name, group) in &balancer.target_groups {
            self.range(&["target_groups", name, "weight"], u64::from(group.weight), 0, 999, who);
            weights += u64::from(group.weight);
            match (name.as_str(), group.external) {
                ("main", true) => {
                    self.error(
                        "S1012",
                        &["target_groups", name, "external"],
                        "`main` is the service's own target group",
                        "it cannot be external",
                    );
                }
                ("main", false) | (_, true) => {}
                (_, false) => {
                    self.error(
                        "S1013",
                        &["target_groups", name],
                        format!("nothing is registered in the target group `{name}`"),
                        "say `external = true`",
                    );
                }
            }
        }
        if weights == 0 {
            self.error(
                "S1012",
                &["target_groups"],
                "the weights of all target groups are 0",
                "requests would go nowhere",
            );
        }
    }
}
