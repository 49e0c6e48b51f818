//! Faults: when they strike, and that what they name is there.

use super::Check;
use crate::kernel::Law;
use crate::scenario::model::{Fault, Service, Switch};

impl Check<'_> {
    pub(super) fn faults(&mut self) {
        for (name, fault) in &self.plan.faults {
            self.within(&["faults", name], |c| {
                c.strikes(fault);
                c.fault(fault);
            });
        }
        self.subnets();
    }

    /// When a fault strikes, and for how long.
    fn strikes(&mut self, fault: &Fault) {
        match fault.strikes() {
            (None, None) => self.error(
                "S1012",
                &[],
                "a fault strikes at a given time or at random, and this one says neither",
                "say `at`, or `mean_time_between`",
            ),
            (Some(_), Some(_)) => {
                self.error(
                    "S1012",
                    &["mean_time_between"],
                    "a fault strikes either at a given time or at random",
                    "not together with `at`",
                );
            }
            (Some(at), None) => self.happens(&["at"], at),
            (None, Some(mean)) => self.not_zero(&["mean_time_between"], mean),
        }
        if let Some(duration) = fault.duration()
            && matches!(*duration.law(), Law::Constant(s) if s <= 0.0)
        {
            self.error("S1010", &["duration"], "`duration` must be longer than 0", "longer than 0");
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let none = "has no effect";
        match fault {
            Fault::ZoneOutage(f) => {
                self.some_zones(&f.zones);
                if f.shortage_duration.is_some() && f.shortage == 0.0 {
                    self.warn("W0024", &["shortage_duration"], "there is no shortage that could last", none);
                }
            }
            Fault::SlowZone(f) => {
                self.some_zones(&f.zones);
                self.above_zero(&["cpu_speed"], f.cpu_speed);
                if f.latency.is_zero() && f.cpu_speed == 1.0 && f.error_rate == 0.0 {
                    self.warn(
                        "W0024",
                        &[],
                        "neither `latency` nor `cpu_speed` nor `error_rate` changes anything",
                        none,
                    );
                }
            }
            Fault::ZonalShift(f) => {
                self.zones(&["zone"], &[f.zone]);
                if self.plan.cluster.zones < 2 {
                    self.error(
                        "S1012",
                        &["zone"],
                        "Application Recovery Controller shifts traffic only between zones, and there is one",
                        "there is no other zone",
                    );
                }
                self.some_services(&f.services, "a load balancer", |s| s.load_balancer.is_some());
            }
            Fault::NodeFailure(f) => {
                self.some_capacities(&f.capacities);
                self.zones(&["zones"], &f.zones);
                if f.count.is_some() && f.share.is_some() {
                    self.error(
                        "S1012",
                        &["share"],
                        "either `count` or `share` machines fail",
                        "not together with `count`",
                    );
                }
                if f.count == Some(0) || f.share == Some(0.0) {
                    self.warn("W0024", &[], "no machine fails", none);
                }
            }
            Fault::CapacityShortage(f) => {
                self.some_capacities(&f.capacities);
                self.zones(&["zones"], &f.zones);
            }
            Fault::PullFailure(f) => {
                self.some_services(&f.services, "tasks", |_| true);
                self.range(&["tries"], u64::from(f.tries), 1, 100, "the agent tries a pull");
            }
            Fault::SlowPull(f) => {
                self.some_services(&f.services, "tasks", |_| true);
                self.above_zero(&["bandwidth_factor"], f.bandwidth_factor);
            }
            Fault::DependencySlowdown(f) => {
                let names: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
                let span = self.at(&["service"]);
                self.known(&["service"], span, "service", &f.service, &names);
                self.at_least(&["wait_factor"], f.wait_factor, 0.0);
                if f.wait_factor == 1.0 && f.error_rate == 0.0 {
                    self.warn("W0024", &[], "neither `wait_factor` nor `error_rate` changes anything", none);
                }
                let Some(service) = self.plan.services.get(&f.service) else { return };
                let classes: Vec<&str> = service.requests.keys().map(String::as_str).collect();
                for (i, class) in f.requests.iter().enumerate() {
                    let path = ["requests", &format!("[{i}]")];
                    let span = self.at(&path);
                    self.known(&path, span, "request class", class, &classes);
                }
            }
            Fault::Quota(f) => {
                let counts = [f.fargate_on_demand_vcpus, f.fargate_spot_vcpus, f.fargate_launch_burst];
                if counts.iter().all(Option::is_none) && f.fargate_launch_rate.is_none() {
                    self.error("S1012", &[], "no quota is named", "say which quota is smaller");
                }
                if let Some(rate) = f.fargate_launch_rate {
                    self.at_least(&["fargate_launch_rate"], rate, 0.0);
                }
            }
            Fault::SubnetAddresses(f) => {
                self.zones(&["zones"], &f.zones);
                if self.plan.cluster.subnets.addresses_per_zone.is_none() {
                    self.error(
                        "S1013",
                        &["taken"],
                        "the subnets have no limit that could be reached",
                        "say `cluster.subnets.addresses_per_zone`",
                    );
                }
            }
            Fault::MetricGap(f) => self.some_services(&f.services, "metrics", |_| true),
            Fault::HealthCheckFailure(f) => {
                self.zones(&["zones"], &f.zones);
                self.some_services(&f.services, "health checks", |s| {
                    s.load_balancer.is_some() || s.task.health_check.is_some()
                });
            }
        }
    }

    /// At least one zone, and known ones.
    fn some_zones(&mut self, zones: &[u32]) {
        if zones.is_empty() {
            self.error("S1012", &["zones"], "no zone is named", "zones are numbered from 0");
        }
        self.zones(&["zones"], zones);
    }

    /// Known services that have what the fault is about.
    fn some_services(&mut self, services: &[String], what: &str, has: impl Fn(&Service) -> bool) {
        let names: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
        for (i, name) in services.iter().enumerate() {
            let path = ["services", &format!("[{i}]")];
            let span = self.at(&path);
            self.known(&path, span, "service", name, &names);
            if self.plan.services.get(name).is_some_and(|s| !has(s)) {
                self.error(
                    "S1013",
                    &path,
                    format!("`{name}` has no {}", what.trim_start_matches("a ")),
                    "cannot strike it",
                );
            }
        }
        if services.is_empty() && !self.plan.services.is_empty() && !self.plan.services.values().any(has) {
            self.warn("W0024", &[], format!("no service has {what}"), "has no effect");
        }
    }

    fn some_capacities(&mut self, capacities: &[String]) {
        let names: Vec<&str> = self.plan.capacity.keys().map(String::as_str).collect();
        for (i, name) in capacities.iter().enumerate() {
            let path = ["capacities", &format!("[{i}]")];
            let span = self.at(&path);
            self.known(&path, span, "capacity", name, &names);
        }
    }

    /// The addresses of the subnets, and the shift away from zones.
    fn subnets(&mut self) {
        let cluster = &self.plan.cluster;
        if let Some(addresses) = cluster.subnets.addresses_per_zone {
            let path = ["cluster", "subnets", "addresses_per_zone"];
            let tasks: u64 = self.plan.services.values().map(|s| u64::from(s.desired_count)).sum();
            let all = u64::from(addresses) * u64::from(cluster.zones);
            if tasks > all {
                self.error(
                    "S1012",
                    &path,
                    format!("{tasks} tasks run when the simulation starts, and the subnets have {all} addresses"),
                    "too few",
                );
            }
        }
        if cluster.zones < 2 {
            for (name, service) in &self.plan.services {
                let shifts = service.load_balancer.as_ref().is_some_and(|lb| lb.zonal_autoshift == Switch::Enabled);
                if shifts {
                    self.error(
                        "S1012",
                        &["services", name, "load_balancer", "zonal_autoshift"],
                        "zonal autoshift needs another zone that traffic can go to",
                        "there is one zone",
                    );
                }
            }
        }
    }
}
