//! What the shape alone does not say: ranges, the provider's rules, and names that must exist.
//!
//! Each rule of a provider names the provider, so that people know who would have refused.

mod billing;
mod calls;
mod capacity;
mod faults;
mod kubernetes;
mod network;
mod placement;
mod rollouts;
mod scaling;
mod service;
mod shifts;
mod work;
mod workloads;

use super::diagnostic::{Diagnostic, Diagnostics, Span, nearest};
use super::lang::{address, list};
use super::load::{LoadOptions, has_traffic};
use super::locate;
use super::model::{
    Action, DeploymentController, Objectives, Orchestrator, Plan, Rollout, Service, StopType, WorkloadKind,
};
use super::tree::Node;
use crate::catalog::Catalog;
use crate::kernel::SimDuration;
use crate::units::print_duration;

/// Checks a plan that has the right shape. `root` is what was written, for the places.
/// `resolved` says that a run wrote it, with every default filled in.
pub(crate) fn validate(plan: &Plan, root: &Node, resolved: bool, options: &LoadOptions, found: &mut Diagnostics) {
    let mut check = Check { plan, root, resolved, options, out: &mut found.items, path: Vec::new() };
    check.simulation();
    check.cluster();
    check.capacities();
    if plan.cluster.orchestrator == Orchestrator::Eks {
        check.kubernetes();
    }
    check.billing();
    for (name, service) in &plan.services {
        check.path = vec!["services".to_owned(), name.clone()];
        check.service(name, service);
    }
    check.path.clear();
    check.call_graph();
    check.work();
    check.objectives();
    check.actions();
    check.faults();
    let pods_of_files = plan.cluster.eks.initial_state.pods.is_some();
    if plan.services.is_empty() && plan.jobs.is_empty() && !pods_of_files {
        check.error("S1003", &["services"], "a scenario needs at least one service or job", "nothing would run");
    }
}

/// Longest simulation: the kernel's clock holds more, people do not mean more.
const MAX_DURATION: SimDuration = SimDuration::from_secs(10 * 366 * 86_400);

/// Carries the findings and the address of the part that is checked.
struct Check<'a> {
    plan: &'a Plan,
    root: &'a Node,
    resolved: bool,
    options: &'a LoadOptions,
    out: &'a mut Vec<Diagnostic>,
    path: Vec<String>,
}

impl Check<'_> {
    fn full<'p>(&'p self, path: &[&'p str]) -> Vec<&'p str> {
        self.path.iter().map(String::as_str).chain(path.iter().copied()).collect()
    }

    /// The place of a value below the part that is checked.
    fn at(&self, path: &[&str]) -> Span {
        locate::value(self.root, &self.full(path))
    }

    /// The place of a key below the part that is checked.
    fn key(&self, path: &[&str]) -> Span {
        locate::key(self.root, &self.full(path))
    }

    /// Whether someone wrote this key. In a resolved plan every key stands, and nobody meant any of them.
    fn is_written(&self, path: &[&str]) -> bool {
        !self.resolved && locate::is_written(self.root, &self.full(path))
    }

    fn report(&mut self, path: &[&str], d: Diagnostic) {
        let address = address(&self.full(path));
        self.out.push(d.address(address));
    }

    fn error(&mut self, code: &'static str, path: &[&str], message: impl Into<String>, label: impl Into<String>) {
        let d = Diagnostic::error(code, message).at(self.at(path)).label(label);
        self.report(path, d);
    }

    fn warn(&mut self, code: &'static str, path: &[&str], message: impl Into<String>, label: impl Into<String>) {
        let d = Diagnostic::warning(code, message).at(self.at(path)).label(label);
        self.report(path, d);
    }

    /// Checks with longer paths.
    fn within(&mut self, path: &[&str], check: impl FnOnce(&mut Self)) {
        let depth = self.path.len();
        self.path.extend(path.iter().map(|s| (*s).to_owned()));
        check(self);
        self.path.truncate(depth);
    }

    /// A whole number or count within a provider's bounds.
    fn range(&mut self, path: &[&str], value: u64, min: u64, max: u64, who: &str) {
        if !(min..=max).contains(&value) {
            let key = path.last().copied().unwrap_or_default();
            self.error(
                "S1010",
                path,
                format!("{who} `{key}` from {min} to {max}, not {value}"),
                format!("{min} to {max}"),
            );
        }
    }

    /// A time within a provider's bounds.
    fn time(&mut self, path: &[&str], value: SimDuration, min: u64, max: u64, who: &str) {
        if value < SimDuration::from_secs(min) || value > SimDuration::from_secs(max) {
            let key = path.last().copied().unwrap_or_default();
            let text = print_duration(value);
            self.error(
                "S1010",
                path,
                format!("{who} `{key}` from {min} to {max} seconds, not {text}"),
                format!("{min}s to {max}s"),
            );
        }
    }

    /// A number of at least `min`.
    fn at_least(&mut self, path: &[&str], value: f64, min: f64) {
        if value < min {
            let key = path.last().copied().unwrap_or_default();
            let message = match min == 0.0 {
                true => format!("`{key}` cannot be negative"),
                false => format!("`{key}` must be at least {min}"),
            };
            self.error("S1010", path, message, format!("at least {min}"));
        }
    }

    fn above_zero(&mut self, path: &[&str], value: f64) {
        if value <= 0.0 {
            let key = path.last().copied().unwrap_or_default();
            self.error("S1010", path, format!("`{key}` must be above 0"), "above 0");
        }
    }

    fn not_zero(&mut self, path: &[&str], value: SimDuration) {
        if value.is_zero() {
            let key = path.last().copied().unwrap_or_default();
            self.error("S1010", path, format!("`{key}` must be longer than 0"), "longer than 0");
        }
    }

    /// Two values that must be in order; both places are shown.
    fn ordered(&mut self, low: &[&str], high: &[&str], in_order: bool) {
        if !in_order {
            // Keys of one name in two tables are told apart by these.
            let depth = if low.last() == high.last() { low.len() } else { 1 };
            let name = |path: &[&str]| path[path.len().saturating_sub(depth)..].join(".");
            let (a, b) = (name(low), name(high));
            let d = Diagnostic::error("S1011", format!("`{a}` is above `{b}`"))
                .at(self.at(low))
                .label(format!("more than `{b}`"))
                .related(self.at(high), format!("`{b}` stands here"));
            self.report(low, d);
        }
    }

    /// A name that must be one of the known ones.
    fn known(&mut self, path: &[&str], span: Span, kind: &str, name: &str, known: &[&str]) {
        if known.contains(&name) {
            return;
        }
        let mut d = Diagnostic::error("S2020", format!("there is no {kind} `{name}`")).at(span).label("not found");
        d = match nearest(name, known.iter().copied()) {
            Some(near) => d.help(format!("there is `{near}`")),
            None if known.is_empty() => d.help(format!("the scenario has no {kind} at all")),
            None => d.help(format!("there are {}", list(known))),
        };
        self.report(path, d);
    }

    /// An instant that should lie within the simulation.
    fn happens(&mut self, path: &[&str], at: SimDuration) {
        let duration = self.plan.simulation.duration;
        if at >= duration {
            let label = format!("the simulation ends at {}", print_duration(duration));
            self.warn("W0010", path, "this never happens: it is after the end of the simulation", label);
        }
    }

    fn zones(&mut self, path: &[&str], zones: &[u32]) {
        let count = self.plan.cluster.zones;
        for (i, zone) in zones.iter().enumerate().filter(|(_, z)| **z >= count) {
            let index = format!("[{i}]");
            let path: Vec<&str> = path.iter().copied().chain([index.as_str()]).collect();
            self.error(
                "S2020",
                &path,
                format!("there is no zone {zone}"),
                format!("zones are numbered from 0 to {}", count.saturating_sub(1)),
            );
        }
    }

    fn simulation(&mut self) {
        let s = &self.plan.simulation;
        self.within(&["simulation"], |c| {
            c.not_zero(&["duration"], s.duration);
            c.not_zero(&["interval"], s.interval);
            if s.duration > MAX_DURATION {
                c.error("S1010", &["duration"], "a simulation lasts at most ten years", "too long");
            }
            if s.warm_up >= s.duration && !s.duration.is_zero() {
                let d = Diagnostic::error("S1011", "the warm-up leaves nothing to measure")
                    .at(c.at(&["warm_up"]))
                    .label("not shorter than `duration`")
                    .related(c.at(&["duration"]), "`duration` stands here");
                c.report(&["warm_up"], d);
            }
            if s.interval > s.duration {
                c.ordered(&["interval"], &["duration"], false);
            } else if !s.interval.is_zero() && s.duration.as_nanos() / s.interval.as_nanos() > 50_000_000 {
                c.error("S1010", &["interval"], "that makes more than 50 million recorded intervals", "too short");
            }
        });
    }

    fn cluster(&mut self) {
        let cluster = &self.plan.cluster;
        self.within(&["cluster"], |c| {
            c.range(&["zones"], u64::from(cluster.zones), 1, 6, "a region has");
            // A file of prices may know regions that the catalog does not.
            if c.plan.billing.prices.is_none()
                && let Err(e) = Catalog::embedded().check_region(&cluster.region)
            {
                c.error("S1006", &["region"], e.to_string(), "not a region that the catalog knows");
            }
            let q = &cluster.quotas;
            c.above_zero(&["quotas", "fargate_launch_rate"], q.fargate_launch_rate);
            for (key, value) in [
                ("fargate_launch_burst", q.fargate_launch_burst),
                ("service_launch_rate_per_minute", q.service_launch_rate_per_minute),
                ("provisioning_tasks", q.provisioning_tasks),
                ("tasks_per_service", q.tasks_per_service),
            ] {
                c.above_zero(&["quotas", key], f64::from(value));
            }
        });
    }

    fn objectives(&mut self) {
        let mut names: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
        if names.contains(&"cluster") {
            self.error(
                "S1004",
                &["services", "cluster"],
                "a service cannot be called `cluster`",
                "objectives use that word for the whole",
            );
        }
        names.push("cluster");
        names.extend(self.plan.jobs.keys().map(String::as_str));
        for (name, objectives) in &self.plan.objectives {
            let span = self.key(&["objectives", name]);
            self.known(&["objectives", name], span, "service or job", name, &names);
            self.within(&["objectives", name], |c| c.objective(name, objectives));
        }
    }

    fn objective(&mut self, name: &str, o: &Objectives) {
        if let Some(bound) = o.availability.filter(|b| b.value > 100.0) {
            self.error(
                "S1010",
                &["availability"],
                format!("an availability of {} % cannot be", bound.value),
                "at most 100 %",
            );
        }
        let latencies = [
            ("latency_mean", o.latency_mean),
            ("latency_p50", o.latency_p50),
            ("latency_p90", o.latency_p90),
            ("latency_p95", o.latency_p95),
            ("latency_p99", o.latency_p99),
            ("latency_p999", o.latency_p999),
        ];
        for (key, bound) in latencies {
            if bound.is_some_and(|b| b.value <= 0.0) {
                self.error("S1010", &[key], "a latency of 0 cannot be held", "longer than 0");
            }
        }
        let asks = o.availability.is_some() || o.breach_minutes.is_some() || latencies.iter().any(|(_, b)| b.is_some());
        self.job_objective(name, o, asks);
        let silent = self
            .plan
            .services
            .get(name)
            .is_some_and(|s| !has_traffic(s) && !super::is_called(self.plan, name) && s.worker.is_none());
        if asks && silent {
            self.warn("W0022", &[], format!("`{name}` has no traffic, so nothing is measured"), "no requests arrive");
        }
    }

    fn actions(&mut self) {
        let names: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
        for (name, action) in &self.plan.actions {
            self.within(&["actions", name], |c| {
                c.happens(&["at"], action.at());
                let Some(service) = action.service() else {
                    c.node_action(action);
                    return;
                };
                let span = c.at(&["service"]);
                c.known(&["service"], span, "service", service, &names);
                match action {
                    Action::Deploy(deploy) => c.within(&["revision"], |c| {
                        let r = &deploy.revision;
                        c.at_least(&["cpu_time_factor"], r.cpu_time_factor, 0.0);
                        c.at_least(&["wait_factor"], r.wait_factor, 0.0);
                        c.at_least(&["memory_factor"], r.memory_factor, 0.0);
                    }),
                    Action::DesiredCount(a) => {
                        let daemons = |s: &Service| s.kubernetes.kind == WorkloadKind::DaemonSet;
                        if c.plan.services.get(service).is_some_and(daemons) {
                            let message = format!("`{service}` is a DaemonSet, which has no replicas to set");
                            c.error("S1012", &["desired_count"], message, "it follows the nodes");
                        }
                        let most = u64::from(c.plan.cluster.quotas.tasks_per_service);
                        c.range(
                            &["desired_count"],
                            u64::from(a.desired_count),
                            0,
                            most,
                            "the quota `tasks_per_service` allows",
                        );
                    }
                    Action::StopDeployment(stop) => {
                        if c.plan.cluster.orchestrator == Orchestrator::Eks && stop.stop_type == StopType::Abort {
                            c.error(
                                "S1012",
                                &["stop_type"],
                                "Kubernetes cannot end a rollout and leave both revisions as they are",
                                "`ROLLBACK` is `kubectl rollout undo`",
                            );
                        }
                        let code_deploy = |s: &Service| s.ecs.deployment_controller == DeploymentController::CodeDeploy;
                        if c.is_written(&["stop_type"]) && c.plan.services.get(service).is_some_and(code_deploy) {
                            c.error(
                                "S1012",
                                &["stop_type"],
                                format!(
                                    "CodeDeploy deploys `{service}`, and its deployment group says what a stop does"
                                ),
                                "`auto_rollback_configuration` with DEPLOYMENT_STOP_ON_REQUEST rolls back",
                            );
                        }
                    }
                    Action::Promote(_) => {
                        let argo = |s: &Service| {
                            let by = s.kubernetes.rollout.as_ref();
                            by.is_some_and(|r| !matches!(r, Rollout::Flagger(_)))
                        };
                        if !c.plan.services.get(service).is_some_and(argo) {
                            c.error(
                                "S1012",
                                &["service"],
                                format!("`{service}` has no rollout of Argo that could be promoted"),
                                "give it `kubernetes.rollout`",
                            );
                        }
                    }
                    Action::Suspend(_) => {
                        if c.plan.services.get(service).is_some_and(|s| s.scaling.is_none()) {
                            c.warn(
                                "W0023",
                                &["service"],
                                format!("`{service}` has no scaling to suspend"),
                                "has no effect",
                            );
                        }
                    }
                    Action::UpdateNodeGroup(_) | Action::UpdateNodePool(_) => {}
                }
            });
        }
    }
}
