//! A service: strategy, task, containers, requests, deployments.

use indexmap::IndexMap;

use super::Check;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::fargate::{fargate_size_valid, nearest_sizes};
use crate::scenario::has_traffic;
use crate::scenario::lang::list;
use crate::scenario::model::{
    Action, Condition, Container, ContainerHealthCheck, DeploymentController, DeploymentStrategy, EcsService,
    Orchestrator, SchedulingStrategy, Service, StrategyItem, Switch, Task, ThresholdType,
};
use crate::units::{Bytes, Cpu, print_bytes, print_cpu};

/// What the implied container is called.
const MAIN: &str = "main";

impl Check<'_> {
    pub(super) fn service(&mut self, name: &str, service: &Service) {
        let most = u64::from(self.plan.cluster.quotas.tasks_per_service);
        self.range(
            &["desired_count"],
            u64::from(service.desired_count),
            0,
            most,
            "the quota `tasks_per_service` allows",
        );
        if !matches!(service.monitoring_resolution, 20 | 60) {
            self.error(
                "S1010",
                &["monitoring_resolution"],
                "ECS publishes service metrics every 20 or every 60 seconds",
                "20 or 60",
            );
        }
        if self.plan.cluster.orchestrator == Orchestrator::Eks {
            self.within(&["task"], |c| c.task(&service.task, false));
            self.workload(name, service);
        } else {
            self.strategy(&service.capacity);
            let on_fargate = self.on_fargate(&service.capacity);
            self.within(&["task"], |c| c.task(&service.task, on_fargate));
            self.placement(name, service);
        }
        self.requests(service);
        self.client(service);
        self.calls(name, service);
        self.within(&["traffic"], |c| c.traffic(&service.traffic));
        if let Some(balancer) = &service.load_balancer {
            self.within(&["load_balancer"], |c| c.load_balancer(balancer));
        }
        self.worker(service);
        self.scaling(service);
        for (alarm_name, alarm) in &service.alarms {
            self.within(&["alarms", alarm_name], |c| c.alarm(alarm, service));
        }
        self.within(&["ecs"], |c| c.ecs(&service.ecs, service));
        self.deployability(name, service);
    }

    pub(super) fn strategy(&mut self, capacity: &IndexMap<String, StrategyItem>) {
        let known: Vec<&str> = self.plan.capacity.keys().map(String::as_str).collect();
        if capacity.is_empty() {
            let message = "a service or job has to say on which capacity it runs";
            let example = known.first().copied().unwrap_or("fargate");
            let d = Diagnostic::error("S1005", message)
                .at(self.key(&[]))
                .label("`capacity` is missing")
                .help(format!("for example `capacity.{example} = {{ weight = 1 }}`"));
            self.report(&["capacity"], d);
            return;
        }
        self.one_kind(capacity);
        if capacity.len() > 20 {
            self.error("S1012", &["capacity"], "ECS takes at most 20 capacity providers in a strategy", "too many");
        }
        let mut with_base: Option<&str> = None;
        for (name, item) in capacity {
            let span = self.key(&["capacity", name]);
            self.known(&["capacity", name], span, "capacity", name, &known);
            self.range(&["capacity", name, "base"], u64::from(item.base), 0, 100_000, "ECS takes a");
            self.range(&["capacity", name, "weight"], u64::from(item.weight), 0, 1_000, "ECS takes a");
            if item.base > 0 {
                if let Some(first) = with_base {
                    let d = Diagnostic::error("S1012", "ECS takes a base for one capacity provider only")
                        .at(self.at(&["capacity", name, "base"]))
                        .label("the second base")
                        .related(self.at(&["capacity", first, "base"]), "the first");
                    self.report(&["capacity", name, "base"], d);
                }
                with_base = with_base.or(Some(name));
            }
        }
        if capacity.values().all(|i| i.weight == 0) {
            let d = Diagnostic::error("S1012", "no capacity has a weight above 0: ECS refuses such a strategy")
                .at(self.at(&["capacity"]))
                .label("all weights are 0")
                .help("the API's default weight is 0, the console's is 1: write `weight = 1`");
            self.report(&["capacity"], d);
        }
    }

    pub(super) fn task(&mut self, task: &Task, on_fargate: bool) {
        if on_fargate {
            self.size(task);
            self.time(&["stop_timeout"], task.stop_timeout, 2, 120, "Fargate takes a");
        }
        let storage = task.ephemeral_storage.get();
        if on_fargate && !(20 << 30..=200 << 30).contains(&storage) {
            self.error(
                "S1010",
                &["ephemeral_storage"],
                "Fargate gives 20 to 200 GiB of ephemeral storage",
                "20 GiB to 200 GiB",
            );
        }
        if task.memory_idle >= task.memory && task.memory.get() > 0 {
            let d = Diagnostic::error("S1011", "the task runs out of memory before the first request")
                .at(self.at(&["memory_idle"]))
                .label("not below `memory`")
                .related(self.at(&["memory"]), "the hard limit");
            self.report(&["memory_idle"], d);
        }
        if task.concurrency == Some(0) {
            self.error("S1010", &["concurrency"], "a task that works on no request serves none", "at least 1");
        }
        if task.startup_cpu > task.cpu && task.cpu_hard_limit {
            self.warn(
                "W0030",
                &["startup_cpu"],
                "starting burns more CPU than the task has",
                format!("the task has {}", print_cpu(task.cpu)),
            );
        }
        if let Some(check) = &task.health_check {
            self.within(&["health_check"], |c| c.container_health(check));
        }
        self.containers(task, on_fargate);
    }

    fn size(&mut self, task: &Task) {
        let units = task.cpu.parts() / 125;
        let mib = task.memory.get() >> 20;
        let whole = task.cpu.parts().is_multiple_of(125) && task.memory.get().is_multiple_of(1 << 20);
        if whole && fargate_size_valid(units, mib, false) {
            return;
        }
        let memory = |m: u64| print_bytes(Bytes::from_mib(m), crate::units::ByteNotation::TaskMemory);
        let near: Vec<String> = nearest_sizes(units, mib, false)
            .into_iter()
            .map(|(cpu, m)| format!("cpu = {cpu}, memory = \"{}\"", memory(m)))
            .collect();
        let d = Diagnostic::error(
            "S1020",
            format!("Fargate has no task size of {} with {}", print_cpu(task.cpu), memory(mib)),
        )
        .at(self.at(&["cpu"]))
        .label(format!("{} is {units} ECS units", print_cpu(task.cpu)))
        .related(self.at(&["memory"]), "with this memory")
        .help(format!("the nearest sizes: {}", near.join("; or ")));
        self.report(&["cpu"], d);
    }

    fn container_health(&mut self, check: &ContainerHealthCheck) {
        let who = "ECS takes a health check";
        self.time(&["interval"], check.interval, 5, 300, who);
        self.time(&["timeout"], check.timeout, 2, 60, who);
        self.range(&["retries"], u64::from(check.retries), 1, 10, who);
        self.time(&["start_period"], check.start_period, 0, 300, who);
    }

    fn containers(&mut self, task: &Task, on_fargate: bool) {
        for (name, container) in &task.containers {
            self.within(&["containers", name], |c| {
                if name == MAIN {
                    c.error("S1004", &[], "`main` is the name of the implied container", "choose another name");
                }
                if on_fargate {
                    c.time(&["start_timeout"], container.start_timeout, 2, 120, "Fargate takes a");
                }
                if !(0..=255).contains(&container.exit_code) {
                    c.error("S1010", &["exit_code"], "an exit code is 0 to 255", "0 to 255");
                }
                if container.essential && container.runs_for.is_some() {
                    c.warn(
                        "W0031",
                        &["runs_for"],
                        "the container is essential: the task stops when it exits",
                        "say `essential = false` for a container that is meant to finish",
                    );
                }
                if let Some(check) = &container.health_check {
                    c.within(&["health_check"], |c| c.container_health(check));
                }
                for (other, condition) in &container.depends_on {
                    c.condition(&["depends_on", other], other, *condition, task);
                }
                if let Some(condition) = container.main_waits_for {
                    c.condition(&["main_waits_for"], name, condition, task);
                }
            });
        }
        let burn: u64 =
            task.containers.values().map(|c| c.memory_burn.get()).fold(task.memory_idle.get(), u64::saturating_add);
        if task.memory_idle < task.memory && burn >= task.memory.get() {
            self.error(
                "S1011",
                &["containers"],
                "the containers use up the task's memory before the first request",
                "`memory_burn` and `memory_idle` together",
            );
        }
        let cpu: Cpu = task.containers.values().map(|c| c.cpu_burn).sum();
        if cpu >= task.cpu && task.cpu > Cpu::ZERO && task.cpu_hard_limit && !task.containers.is_empty() {
            self.error("S1011", &["containers"], "the containers burn all of the task's CPU", "`cpu_burn` together");
        }
        self.cycles(&task.containers);
    }

    /// A condition of `dependsOn` on the container `other`.
    fn condition(&mut self, path: &[&str], other: &str, condition: Condition, task: &Task) {
        let mut known: Vec<&str> = task.containers.keys().map(String::as_str).collect();
        known.push(MAIN);
        let span = self.key(path);
        self.known(path, span, "container", other, &known);
        let (essential, checked, ends) = match task.containers.get(other) {
            Some(c) => (c.essential, c.health_check.is_some(), c.runs_for.is_some()),
            None if other == MAIN => (true, task.health_check.is_some(), false),
            None => return,
        };
        match condition {
            Condition::Start => {}
            Condition::Healthy if !checked => {
                self.error(
                    "S1012",
                    path,
                    format!("`{other}` has no health check, so it never becomes HEALTHY"),
                    "ECS refuses this condition without a health check",
                );
            }
            Condition::Healthy => {}
            Condition::Complete | Condition::Success if essential => {
                self.error(
                    "S1012",
                    path,
                    format!("`{other}` is essential: its exit stops the task"),
                    format!("ECS refuses {condition} on an essential container"),
                );
            }
            Condition::Complete | Condition::Success if !ends => {
                self.error("S1013", path, format!("`{other}` never exits by itself"), "give it `runs_for`");
            }
            Condition::Complete | Condition::Success => {}
        }
    }

    fn cycles(&mut self, containers: &IndexMap<String, Container>) {
        // Names that all their dependencies can precede are taken away until none is left.
        let mut open: Vec<(&str, Vec<&str>)> = containers
            .iter()
            .map(|(name, c)| (name.as_str(), c.depends_on.keys().map(String::as_str).collect()))
            .collect();
        let waits = containers.iter().filter(|(_, c)| c.main_waits_for.is_some());
        open.push((MAIN, waits.map(|(name, _)| name.as_str()).collect()));
        loop {
            let before = open.len();
            let names: Vec<&str> = open.iter().map(|(n, _)| *n).collect();
            open.retain(|(_, needs)| needs.iter().any(|n| names.contains(n)));
            if open.len() == before {
                break;
            }
        }
        // What only waits for the circle is not part of it.
        loop {
            let before = open.len();
            let needed: Vec<&str> = open.iter().flat_map(|(_, needs)| needs.iter().copied()).collect();
            open.retain(|(name, _)| needed.contains(name));
            if open.len() == before {
                break;
            }
        }
        if !open.is_empty() {
            let names: Vec<&str> = open.iter().map(|(n, _)| *n).collect();
            self.error(
                "S2021",
                &["containers"],
                format!("{} wait for one another", list(&names)),
                "ECS refuses a circle of dependencies",
            );
        }
    }

    fn requests(&mut self, service: &Service) {
        for (name, class) in &service.requests {
            self.within(&["requests", name], |c| c.at_least(&["weight"], class.weight, 0.0));
        }
        if !has_traffic(service) && service.worker.is_none() {
            return;
        }
        if service.requests.is_empty() {
            let d = Diagnostic::error("S1003", "the service has traffic but no class of requests")
                .at(self.at(&["traffic"]))
                .label("what do these requests cost?")
                .help("for example `requests.page = { cpu_time = \"20ms\" }`");
            self.report(&["requests"], d);
        } else if service.requests.values().map(|c| c.weight).sum::<f64>() <= 0.0 {
            self.error(
                "S1003",
                &["requests"],
                "the weights of all request classes are 0",
                "at least one weight above 0",
            );
        }
    }

    fn client(&mut self, service: &Service) {
        let client = &service.client;
        self.within(&["client"], |c| {
            if let Some(timeout) = client.timeout {
                c.not_zero(&["timeout"], timeout);
            }
            c.range(&["retries"], u64::from(client.retries), 0, 1_000, "a client makes");
            c.at_least(&["backoff", "multiplier"], client.backoff.multiplier, 1.0);
            c.ordered(&["backoff", "base"], &["backoff", "max"], client.backoff.base <= client.backoff.max);
            if client.retries == 0 && c.is_written(&["retry_budget"]) {
                c.warn("W0032", &["retry_budget"], "there are no retries to budget", "`retries` is 0");
            }
        });
    }

    fn ecs(&mut self, ecs: &EcsService, service: &Service) {
        let d = &ecs.deployment_configuration;
        let daemon = ecs.scheduling_strategy == SchedulingStrategy::Daemon;
        self.range(
            &["health_check_grace_period_seconds"],
            u64::from(ecs.health_check_grace_period_seconds),
            0,
            2_147_483_647,
            "ECS takes a",
        );
        self.not_zero(&["scheduler_period"], ecs.scheduler_period);
        self.ordered(
            &["restart_throttle", "first_delay"],
            &["restart_throttle", "max_delay"],
            ecs.restart_throttle.first_delay <= ecs.restart_throttle.max_delay,
        );
        if ecs.availability_zone_rebalancing == Switch::Enabled
            && d.maximum_percent <= 100
            && self.is_written(&["availability_zone_rebalancing"])
        {
            self.warn(
                "W0033",
                &["availability_zone_rebalancing"],
                "ECS rebalances zones only with a `maximum_percent` above 100",
                "has no effect",
            );
        }
        self.within(&["deployment_configuration"], |c| {
            c.range(&["minimum_healthy_percent"], u64::from(d.minimum_healthy_percent), 0, 100, "ECS takes a");
            c.range(&["maximum_percent"], u64::from(d.maximum_percent), 100, 100_000, "ECS takes a");
            if d.minimum_healthy_percent == 100 && d.maximum_percent == 100 && !daemon {
                c.error(
                    "S1012",
                    &["maximum_percent"],
                    "both percents are 100: nothing could be stopped or started, and ECS refuses it",
                    "raise this, or lower `minimum_healthy_percent`",
                );
            }
            let breaker = &d.deployment_circuit_breaker;
            if !breaker.enable && breaker.rollback {
                c.warn(
                    "W0034",
                    &["deployment_circuit_breaker", "rollback"],
                    "the circuit breaker is off, so nothing is rolled back",
                    "`enable` is false",
                );
            }
            let threshold = &breaker.threshold_configuration;
            let path = ["deployment_circuit_breaker", "threshold_configuration", "value"];
            match threshold.r#type {
                ThresholdType::Count => c.range(&path, u64::from(threshold.value), 1, 1_000_000, "ECS takes a count"),
                _ => c.range(&path, u64::from(threshold.value), 1, 100, "ECS takes a percent"),
            }
            if let Some(early) = &d.early_success {
                c.range(&["early_success", "healthy_percent"], u64::from(early.healthy_percent), 0, 100, "ECS takes a");
            }
            c.deployment_alarms(service);
        });
        self.shifts(ecs, service);
    }

    fn deployment_alarms(&mut self, service: &Service) {
        let alarms = &service.ecs.deployment_configuration.alarms;
        let known: Vec<&str> = service.alarms.keys().map(String::as_str).collect();
        for (i, name) in alarms.alarm_names.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["alarms", "alarm_names", index.as_str()];
            let span = self.at(&path);
            self.known(&path, span, "alarm of the service", name, &known);
        }
        if alarms.enable && alarms.alarm_names.is_empty() {
            self.error(
                "S1012",
                &["alarms", "enable"],
                "ECS needs the names of the alarms that fail a deployment",
                "`alarm_names` is empty",
            );
        }
        if !alarms.enable && (alarms.rollback || !alarms.alarm_names.is_empty()) {
            self.warn("W0034", &["alarms"], "deployment alarms are off", "`enable` is false");
        }
    }

    /// Whether a deployment can move at all at the counts that are known.
    fn deployability(&mut self, name: &str, service: &Service) {
        let d = &service.ecs.deployment_configuration;
        let (min, max) = (u64::from(d.minimum_healthy_percent), u64::from(d.maximum_percent));
        let stuck = |count: u32| {
            let n = u64::from(count);
            n > 0 && n * max / 100 <= n && (n * min).div_ceil(100) >= n
        };
        if service.ecs.scheduling_strategy == SchedulingStrategy::Daemon {
            return; // Its bounds are those of each instance.
        }
        let rolling =
            service.ecs.deployment_controller == DeploymentController::Ecs && d.strategy == DeploymentStrategy::Rolling;
        if !rolling {
            return; // A second fleet stands beside the first one, whatever the percents.
        }
        if min == 100 && max == 100 {
            return; // Said already, whatever the count.
        }
        let deploys = self.plan.actions.values().any(|a| matches!(a, Action::Deploy(d) if d.service == name));
        let counts: Vec<u32> = match &service.scaling {
            None => vec![service.desired_count],
            Some(s) => (s.min_capacity..=s.max_capacity.min(s.min_capacity.saturating_add(200))).collect(),
        };
        let Some(count) = counts.iter().copied().find(|c| stuck(*c)) else { return };
        let path = ["ecs", "deployment_configuration", "maximum_percent"];
        let message = format!(
            "with {count} task{} a deployment can neither start nor stop one: at most {} may run and at least {} must be healthy",
            if count == 1 { "" } else { "s" },
            u64::from(count) * max / 100,
            (u64::from(count) * min).div_ceil(100),
        );
        match deploys && service.scaling.is_none() {
            true => self.error("S1013", &path, message, "rounded down"),
            false => self.warn("W0035", &path, message, "rounded down"),
        }
    }
}
