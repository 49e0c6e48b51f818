//! Where tasks may stand: what Fargate, EC2 and Managed Instances refuse of network modes, ports,
//! reservations, placement, daemons and task protection, and constraints that nothing can meet.

use std::borrow::Cow;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::Check;
use crate::catalog::{Catalog, InstanceType};
use crate::scenario::diagnostic::{Diagnostic, nearest};
use crate::scenario::expression::{BUILT_IN, Expression, Instance, built_in};
use crate::scenario::has_traffic;
use crate::scenario::instances::{arch_of, takes};
use crate::scenario::lang::list;
use crate::scenario::model::{
    Capacity, CapacityKind, DeploymentController, DeploymentStrategy, Ec2, EcsService, NetworkMode,
    PlacementConstraint, SchedulingStrategy, Service, StrategyItem, Switch, Task,
};
use crate::units::{ByteNotation, Bytes, Cpu, print_bytes, print_cpu};

/// TCP ports that the instance and its agent use. Source: ECS API, PortMapping.
const RESERVED_PORTS: [u32; 6] = [22, 2375, 2376, 51678, 51679, 51680];

/// Least memory that Docker gives a container. Source: ECS API, ContainerDefinition.
const LEAST_MEMORY: Bytes = Bytes::from_mib(6);

/// An instance of a type in a zone, empty.
struct Empty<'a> {
    built_in: [String; BUILT_IN.len()],
    of: &'a Ec2,
}

impl Instance for Empty<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        let known = BUILT_IN.iter().position(|b| *b == name).map(|at| self.built_in[at].as_str());
        known.or_else(|| self.of.attributes.get(name).map(String::as_str))
    }

    fn instance_id(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn registered_at(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn running_tasks(&self) -> u64 {
        0
    }

    fn has_group(&self, _: &dyn Fn(&str) -> bool) -> bool {
        false
    }
}

impl Check<'_> {
    /// The kind of capacity that a service runs on, if it names any that is there.
    fn capacity_kind(&self, strategy: &IndexMap<String, StrategyItem>) -> Option<CapacityKind> {
        strategy.keys().filter_map(|name| self.plan.capacity.get(name)).map(Capacity::kind).min()
    }

    /// Whether the rules of Fargate hold for a service or job with this capacity provider strategy.
    pub(super) fn on_fargate(&self, strategy: &IndexMap<String, StrategyItem>) -> bool {
        self.capacity_kind(strategy).is_none_or(|k| k == CapacityKind::Fargate)
    }

    pub(super) fn placement(&mut self, name: &str, service: &Service) {
        let kind = self.capacity_kind(&service.capacity).unwrap_or(CapacityKind::Fargate);
        self.within(&["task"], |c| {
            c.network(&service.task, kind, service.load_balancer.is_some() || has_traffic(service));
            match kind {
                CapacityKind::Fargate => c.fargate_task(&service.task),
                _ => c.instance_task(&service.task),
            }
        });
        self.within(&["ecs"], |c| {
            c.strategies(&service.ecs, kind);
            c.protection(&service.ecs, kind);
        });
        if service.ecs.scheduling_strategy == SchedulingStrategy::Daemon {
            self.daemon(service, kind);
        }
        let expressions = self.constraints(service, kind);
        if kind == CapacityKind::AutoScalingGroup {
            self.somewhere(name, service, &expressions);
        }
    }

    fn refuse(&mut self, path: &[&str], message: impl Into<String>, label: impl Into<String>) {
        self.error("S1012", path, message, label);
    }

    fn fargate_task(&mut self, task: &Task) {
        if !task.cpu_hard_limit {
            self.refuse(
                &["cpu_hard_limit"],
                "the CPU of a task on Fargate is always a limit",
                "leave it out, or run the service on EC2 instances",
            );
        }
        if task.memory_reservation.is_some() {
            self.refuse(
                &["memory_reservation"],
                "a task on Fargate reserves its `memory`",
                "leave it out, or run the service on EC2 instances",
            );
        }
        if task.gpus > 0 {
            self.refuse(&["gpus"], "Fargate has no GPUs", "run the service on EC2 instances with GPUs");
        }
    }

    fn instance_task(&mut self, task: &Task) {
        let units = task.cpu.parts().div_ceil(125);
        let (least, what) = match task.cpu_hard_limit {
            true => (128, "a task's `cpu` as a limit"),
            false => (2, "containers' `cpu`"),
        };
        if !(least..=196_608).contains(&units) {
            self.error(
                "S1010",
                &["cpu"],
                format!("ECS takes {what} from {least} to 196608 units on EC2, not {units}"),
                format!("{} to 192 vCPU", print_cpu(Cpu::from_units(least))),
            );
        }
        let memory = |m: Bytes| print_bytes(m, ByteNotation::TaskMemory);
        if task.memory < LEAST_MEMORY {
            let text = format!("a container needs at least {}", memory(LEAST_MEMORY));
            self.error("S1010", &["memory"], text, "too little");
        }
        if let Some(soft) = task.memory_reservation {
            if soft < LEAST_MEMORY {
                let text = format!("ECS reserves at least {}", memory(LEAST_MEMORY));
                self.error("S1010", &["memory_reservation"], text, "too little");
            }
            if soft >= task.memory {
                let d = Diagnostic::error("S1011", "the soft limit is not below the hard limit")
                    .at(self.at(&["memory_reservation"]))
                    .label("not below `memory`")
                    .related(self.at(&["memory"]), "the hard limit");
                self.report(&["memory_reservation"], d);
            }
        }
        if self.is_written(&["ephemeral_storage"]) {
            self.refuse(
                &["ephemeral_storage"],
                "only Fargate gives a task storage of its own",
                "tasks on instances share the instance's volume: leave it out",
            );
        }
    }

    fn network(&mut self, task: &Task, kind: CapacityKind, served: bool) {
        let mode = task.network_mode;
        let allowed = match kind {
            CapacityKind::Fargate => mode == NetworkMode::Awsvpc,
            CapacityKind::AutoScalingGroup => true,
            // The CNI plugin gives every pod an address of its own.
            CapacityKind::Kubernetes => mode == NetworkMode::Awsvpc,
            CapacityKind::ManagedInstances => matches!(mode, NetworkMode::Awsvpc | NetworkMode::Host),
        };
        if !allowed {
            let may = if kind == CapacityKind::Fargate { "`awsvpc`" } else { "`awsvpc` or `host`" };
            self.refuse(
                &["network_mode"],
                format!("tasks on {} run in network mode {may}, not `{mode}`", kind.name()),
                may.to_owned(),
            );
            return;
        }
        if task.port_mappings.len() > 100 {
            self.refuse(&["port_mappings"], "ECS takes at most 100 port mappings", "too many");
        }
        for (i, port) in task.port_mappings.iter().enumerate() {
            self.within(&["port_mappings", &format!("[{i}]")], |c| {
                c.range(&["container_port"], u64::from(port.container_port), 1, 65_535, "ECS takes a");
                c.range(&["host_port"], u64::from(port.host_port), 0, 65_535, "ECS takes a");
                let on_host = match mode {
                    NetworkMode::Host => port.container_port,
                    _ => port.host_port,
                };
                let same = port.host_port == 0 || port.host_port == port.container_port;
                if !same && matches!(mode, NetworkMode::Awsvpc | NetworkMode::Host) {
                    c.refuse(
                        &["host_port"],
                        format!("in mode `{mode}` the host port is the container port"),
                        format!("leave it out, or {}", port.container_port),
                    );
                } else if mode != NetworkMode::Awsvpc && RESERVED_PORTS.contains(&on_host) {
                    let key = if mode == NetworkMode::Host { "container_port" } else { "host_port" };
                    c.refuse(
                        &[key],
                        format!("port {on_host} of the instance belongs to SSH, Docker or the ECS agent"),
                        "choose another port",
                    );
                }
            });
            let clash = |other: &&crate::scenario::model::PortMapping| {
                other.container_port == port.container_port || port.host_port > 0 && other.host_port == port.host_port
            };
            if task.port_mappings[..i].iter().any(|other| clash(&other)) {
                self.refuse(&["port_mappings", &format!("[{i}]")], "a port is mapped twice", "the second time");
            }
        }
        match mode {
            NetworkMode::None if served => {
                self.refuse(&["network_mode"], "no request can reach a task without a network", "`none`");
            }
            NetworkMode::None if !task.port_mappings.is_empty() => {
                self.refuse(&["port_mappings"], "a task without a network has no ports", "`network_mode` is `none`");
            }
            NetworkMode::Bridge | NetworkMode::Host if served && task.port_mappings.is_empty() => {
                let d = Diagnostic::error("S1003", format!("in mode `{mode}` a task needs a port to be reached"))
                    .at(self.at(&["network_mode"]))
                    .label("`port_mappings` is missing")
                    .help("for example `port_mappings = [{ container_port = 8080 }]`");
                self.report(&["port_mappings"], d);
            }
            _ => {}
        }
    }

    fn strategies(&mut self, ecs: &EcsService, kind: CapacityKind) {
        if !ecs.placement_strategy.is_empty() && kind != CapacityKind::AutoScalingGroup {
            self.refuse(
                &["placement_strategy"],
                format!("ECS places tasks on {} itself and takes no placement strategy", kind.name()),
                "leave it out, or run the service on an Auto Scaling group",
            );
        }
        if ecs.placement_strategy.len() > 5 {
            self.refuse(&["placement_strategy"], "ECS takes at most 5 placement strategies", "too many");
        }
        let rebalances = ecs.availability_zone_rebalancing == Switch::Enabled
            && self.is_written(&["availability_zone_rebalancing"])
            && ecs.scheduling_strategy == SchedulingStrategy::Replica;
        let first = ecs.placement_strategy.first();
        if rebalances && first.is_some_and(|s| !s.spreads_zones()) {
            self.refuse(
                &["availability_zone_rebalancing"],
                "ECS rebalances zones only where a spread over zones is the first placement strategy, or there is none",
                "put `{ type = \"spread\", field = \"attribute:ecs.availability-zone\" }` first, or write \"DISABLED\"",
            );
        }
    }

    fn protection(&mut self, ecs: &EcsService, kind: CapacityKind) {
        let Some(protection) = &ecs.task_protection else { return };
        self.within(&["task_protection"], |c| {
            c.range(&["expires_in_minutes"], u64::from(protection.expires_in_minutes), 1, 2_880, "ECS takes");
            if protection.share <= 0.0 {
                c.warn("W0037", &["share"], "no task protects itself", "a share of 0");
            }
        });
        if ecs.scheduling_strategy == SchedulingStrategy::Daemon {
            self.refuse(
                &["task_protection"],
                "tasks of a DAEMON service are not scaled in, so there is nothing to protect them from",
                format!("on {}", kind.name()),
            );
        }
    }

    fn daemon(&mut self, service: &Service, kind: CapacityKind) {
        let ecs = &service.ecs;
        let d = &ecs.deployment_configuration;
        if kind != CapacityKind::AutoScalingGroup {
            self.refuse(
                &["ecs", "scheduling_strategy"],
                format!("tasks on {} cannot be those of a DAEMON service", kind.name()),
                "run it on an Auto Scaling group, or say \"REPLICA\"",
            );
        }
        if ecs.deployment_controller != DeploymentController::Ecs || d.strategy != DeploymentStrategy::Rolling {
            self.refuse(
                &["ecs", "scheduling_strategy"],
                "a DAEMON service is deployed by rolling updates of the ECS controller only",
                "say \"REPLICA\", or leave the deployment to ECS with the strategy ROLLING",
            );
        }
        if self.is_written(&["desired_count"]) {
            self.refuse(&["desired_count"], "a DAEMON service runs one task on each instance", "leave it out");
        }
        if service.scaling.is_some() {
            self.refuse(&["scaling"], "a DAEMON service cannot be scaled: it follows the instances", "leave it out");
        }
        if !ecs.placement_strategy.is_empty() {
            let label = "leave it out; `placement_constraints` choose the instances";
            self.refuse(&["ecs", "placement_strategy"], "a DAEMON service takes no placement strategy", label);
        }
        let percents = ["ecs", "deployment_configuration", "maximum_percent"];
        if self.is_written(&percents) && d.maximum_percent != 100 {
            self.refuse(&percents, "the maximumPercent of a DAEMON service is 100", "leave it out, or 100");
        }
        if d.minimum_healthy_percent == 100 {
            self.refuse(
                &["ecs", "deployment_configuration", "minimum_healthy_percent"],
                "a deployment of a DAEMON service stops a task before it starts the next one, so its minimum is below 100",
                "the API's default for it is 0: write `minimum_healthy_percent = 0`",
            );
        }
    }

    /// The expressions of the constraints that can be read.
    fn constraints(&mut self, service: &Service, kind: CapacityKind) -> Vec<(usize, Expression)> {
        let constraints = &service.ecs.placement_constraints;
        let all = ["ecs", "placement_constraints"];
        if !constraints.is_empty() && kind == CapacityKind::Fargate {
            self.refuse(
                &all,
                "Fargate takes no placement constraints",
                "leave them out, or run the service on EC2 instances",
            );
            return Vec::new();
        }
        if constraints.len() > 10 {
            self.refuse(&all, "ECS takes at most 10 placement constraints", "too many");
        }
        let mut read = Vec::new();
        for (i, constraint) in constraints.iter().enumerate() {
            let PlacementConstraint::MemberOf(member) = constraint else { continue };
            let index = format!("[{i}]");
            let path = [all[0], all[1], index.as_str(), "expression"];
            match Expression::parse(&member.expression) {
                Ok(expression) => {
                    if let Some(subject) = expression.unmodelled() {
                        self.refuse(
                            &path,
                            format!("the agents of simulated instances have no `{subject}`"),
                            "give the capacity a custom attribute, and ask for that",
                        );
                    }
                    self.attributes(&path, &expression, service);
                    read.push((i, expression));
                }
                Err(error) => {
                    let d = Diagnostic::error("S1041", format!("not an expression of the cluster query language: {error}"))
                        .at(self.at(&path))
                        .label(format!("see character {}", error.at + 1))
                        .help("for example `attribute:ecs.instance-type =~ c7g.* and attribute:ecs.availability-zone != us-east-1a`");
                    self.report(&path, d);
                }
            }
        }
        read
    }

    /// Attributes that no instance of the service's capacities has.
    fn attributes(&mut self, path: &[&str], expression: &Expression, service: &Service) {
        let mut known: Vec<String> = BUILT_IN.iter().map(|b| (*b).to_owned()).collect();
        for instances in service.capacity.keys().filter_map(|n| self.plan.capacity.get(n)?.instances()) {
            known.extend(instances.attributes.keys().cloned());
        }
        for name in expression.attributes() {
            if known.iter().any(|k| k == name) {
                continue;
            }
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("there is `{near}`"),
                None => format!("there are {}; a capacity's `attributes` add others", list(&known)),
            };
            let d = Diagnostic::warning("W0036", format!("no instance has the attribute `{name}`"))
                .at(self.at(path))
                .label("asks for what is not there")
                .help(help);
            self.report(path, d);
        }
    }

    /// Whether an instance type of the service's groups can take a task at all, and by which constraint not.
    fn somewhere(&mut self, name: &str, service: &Service, expressions: &[(usize, Expression)]) {
        let mut kinds: Vec<(&'static InstanceType, &Ec2, u32)> = Vec::new();
        for capacity in service.capacity.keys().filter_map(|n| self.plan.capacity.get(n)) {
            let Capacity::Ec2(of) = capacity else { continue };
            let zones = 0..self.plan.cluster.zones;
            for ty in &of.instance_types {
                let Ok(ty) = Catalog::embedded().instance_type(ty) else { return };
                let zones = zones.clone().filter(|z| of.zones.is_empty() || of.zones.contains(z));
                kinds.extend(zones.map(|z| (ty, of, z)));
            }
        }
        if kinds.is_empty() {
            return;
        }
        let task = &service.task;
        kinds.retain(|(ty, ..)| ty.arch == arch_of(task.architecture));
        if kinds.is_empty() {
            let message = format!("no instance type of `{name}` has the processor {}", task.architecture);
            self.error("S1031", &["task", "architecture"], message, "all of them have the other one");
            return;
        }
        let need = task.memory_reservation.unwrap_or(task.memory);
        let largest = kinds.iter().max_by_key(|(ty, ..)| (ty.gpus, ty.vcpus, ty.memory_mib)).map(|(ty, ..)| *ty);
        kinds.retain(|(ty, of, _)| takes(ty, of.ecs_agent.reserved_memory, of.ecs_agent.awsvpc_trunking, task));
        if let Some(largest) = largest.filter(|_| kinds.is_empty()) {
            let memory = |m| print_bytes(m, ByteNotation::TaskMemory);
            let gpus = |n| if n > 0 { format!(" and {n} GPUs") } else { String::new() };
            let d = Diagnostic::error("S1031", "the task is larger than any instance that it may run on")
                .at(self.at(&["task"]))
                .label(format!("reserves {} with {}{}", print_cpu(task.cpu), memory(need), gpus(task.gpus)))
                .help(format!(
                    "the largest, {}, registers {} with {}{}, less what the agent keeps back",
                    largest.name,
                    print_cpu(Cpu::from_units(largest.cpu_units())),
                    memory(Bytes::from_mib(largest.registered_memory_mib())),
                    gpus(largest.gpus),
                ));
            self.report(&["task"], d);
            return;
        }
        for (i, expression) in expressions {
            if expression.depends_on_tasks() || expression.depends_on_instance() {
                continue;
            }
            let region = &self.plan.cluster.region;
            kinds.retain(|(ty, of, z)| expression.holds(&Empty { built_in: built_in(region, *z, ty), of }));
            if kinds.is_empty() {
                let index = format!("[{i}]");
                self.error(
                    "S1031",
                    &["ecs", "placement_constraints", &index, "expression"],
                    format!("no instance that `{name}` may run on and that has room for a task meets this constraint"),
                    "holds for none of them",
                );
                return;
            }
        }
    }
}
