//! Kubernetes: what the API server and EKS refuse, and names that must exist.

use super::Check;
use crate::catalog::{Catalog, InstanceType};
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::model::{
    Action, Affinity, Capacity, CapacityOption, DisruptionBudgetOfNodes, ExternalTrafficPolicy, FargateProfile, Hpa,
    HpaBehavior, HpaMetric, InitialState, IntOrPercent, KubeService, KubeServiceType, LABELS_OF_KARPENTER,
    LabelOperator, LabelRequirement, NodeGroup, NodePool, NodeSettings, NodeTaint, ObjectMetric, Orchestrator,
    PodLimits, PodToleration, Probe, RolloutType, ScaledObject, Service, TargetType, Task, TolerationOperator,
    UpdateNodePoolAction, WorkloadKind,
};
use crate::units::{ByteNotation, Cpu, print_bytes, print_cpu};

/// Up to this request somebody has most likely written cores.
const MEANT_AS_CORES: Cpu = Cpu::from_units(8);

/// Priority classes that every cluster has. Source: scheduling.k8s.io.
pub(super) const SYSTEM_CLASSES: [&str; 2] = ["system-cluster-critical", "system-node-critical"];

impl Check<'_> {
    /// The cluster's own settings.
    pub(super) fn kubernetes(&mut self) {
        let plan = self.plan;
        if plan.capacity.is_empty() {
            let d = Diagnostic::error("S1005", "pods need something to run on")
                .label("no capacity of EKS")
                .help("for example `[capacity.workers]` with `type = \"node_group\"`, `\"node_pool\"` (Karpenter) or `\"fargate_profile\"`");
            self.report(&["capacity"], d.at(self.at(&["cluster"])));
        }
        let eks = &plan.cluster.eks;
        self.within(&["cluster", "eks"], |c| {
            c.range(
                &["scheduler", "percentage_of_nodes_to_score"],
                u64::from(eks.scheduler.percentage_of_nodes_to_score),
                0,
                100,
                "the scheduler takes a",
            );
            for (i, resource) in eks.scheduler.resources.iter().enumerate() {
                let at = format!("[{i}]");
                c.range(
                    &["scheduler", "resources", &at, "weight"],
                    u64::from(resource.weight),
                    1,
                    100,
                    "the scheduler takes a",
                );
            }
            if eks.scheduler.resources.is_empty() {
                c.error("S1010", &["scheduler", "resources"], "a node's score needs a resource", "for example `cpu`");
            }
            c.initial_state(&eks.initial_state);
            c.not_zero(&["horizontal_pod_autoscaler", "sync_period"], eks.horizontal_pod_autoscaler.sync_period);
            c.not_zero(&["metrics_server", "metric_resolution"], eks.metrics_server.metric_resolution);
            if let Some(autoscaler) = &eks.cluster_autoscaler {
                c.not_zero(&["cluster_autoscaler", "scan_interval"], autoscaler.scan_interval);
            }
            let batch = &eks.karpenter;
            c.ordered(
                &["karpenter", "batch_idle_duration"],
                &["karpenter", "batch_max_duration"],
                batch.batch_idle_duration <= batch.batch_max_duration,
            );
            for (name, class) in &eks.priority_classes {
                if SYSTEM_CLASSES.contains(&name.as_str()) || name.starts_with("system-") {
                    c.error(
                        "S1004",
                        &["priority_classes", name],
                        "names that begin with `system-` are Kubernetes' own",
                        "choose another name",
                    );
                }
                if class.value > 1_000_000_000 {
                    c.error(
                        "S1010",
                        &["priority_classes", name, "value"],
                        "the priority of a class is at most 1000000000: higher ones are Kubernetes' own",
                        "too high",
                    );
                }
            }
        });
    }

    /// Keys that mean something only beside others.
    fn initial_state(&mut self, state: &InitialState) {
        self.within(&["initial_state"], |c| {
            let no_pods = state.pods.is_none();
            let keys = [("submit_interval", state.submit_interval.is_some()), ("departures", !state.departures)];
            for (key, set) in keys {
                if set && no_pods {
                    c.error(
                        "S1012",
                        &[key],
                        format!("`{key}` is about the file of pods, and there is none"),
                        "name one in `pods`",
                    );
                }
            }
            if !state.ignored_columns.is_empty() && no_pods && state.nodes.is_none() {
                let message = "`ignored_columns` is about the files of nodes and pods, and there is none";
                c.error("S1012", &["ignored_columns"], message, "name one in `nodes` or `pods`");
            }
        });
    }

    /// A capacity of EKS.
    pub(super) fn kubernetes_capacity(&mut self, name: &str, capacity: &Capacity) {
        match capacity {
            Capacity::NodeGroup(group) => self.node_group(name, group, capacity),
            Capacity::NodePool(pool) => self.node_pool(pool, capacity),
            Capacity::FargateProfile(profile) => self.fargate_profile(profile),
            _ => {}
        }
    }

    fn node_group(&mut self, name: &str, group: &NodeGroup, capacity: &Capacity) {
        self.types(name, &group.instance_types, &group.zones);
        self.zones(&["zones"], &group.zones);
        self.ordered(&["min_size"], &["max_size"], group.min_size <= group.max_size);
        self.range(&["max_size"], u64::from(group.max_size), 1, 450, "EKS takes a node group with a");
        if let Some(desired) = group.desired_size
            && group.min_size <= group.max_size
        {
            let (min, max) = (u64::from(group.min_size), u64::from(group.max_size));
            self.range(&["desired_size"], u64::from(desired), min, max, "EKS takes, with these sizes, a");
        }
        if group.update_config.max_unavailable == IntOrPercent::Int(0) {
            self.error(
                "S1010",
                &["update_config", "max_unavailable"],
                "EKS replaces at least one node at once",
                "1 to 100",
            );
        }
        self.taints(&group.taints);
        let spot = group.capacity_type == CapacityOption::Spot;
        let types: Vec<&'static InstanceType> =
            group.instance_types.iter().filter_map(|t| Catalog::embedded().instance_type(t).ok()).collect();
        if spot {
            self.on_spot(&["instance_types"], &types);
        }
        self.within(&["nodes"], |c| c.node_settings(&group.nodes, capacity, spot));
    }

    /// An action on nodes.
    pub(super) fn node_action(&mut self, action: &Action) {
        let (kind, wanted, of_kind): (_, _, fn(&Capacity) -> bool) = match action {
            Action::UpdateNodeGroup(a) => ("node group", &a.capacity, |c| matches!(c, Capacity::NodeGroup(_))),
            Action::UpdateNodePool(a) => ("NodePool", &a.capacity, |c| matches!(c, Capacity::NodePool(_))),
            _ => return,
        };
        if self.plan.cluster.orchestrator != Orchestrator::Eks {
            let what = format!("only EKS has a {kind} to update");
            self.error("S1012", &[], what, "`cluster.orchestrator` is `ecs`");
            return;
        }
        let known: Vec<&str> =
            self.plan.capacity.iter().filter(|(_, c)| of_kind(c)).map(|(name, _)| name.as_str()).collect();
        let span = self.at(&["capacity"]);
        self.known(&["capacity"], span, kind, wanted, &known);
        if let Action::UpdateNodePool(change) = action {
            self.node_pool_change(change);
        }
    }

    fn node_pool_change(&mut self, change: &UpdateNodePoolAction) {
        if change.is_empty() {
            self.warn("W0023", &[], "the action changes nothing of the NodePool", "has no effect");
        }
        self.range(&["weight"], u64::from(change.weight.unwrap_or(0)), 0, 100, "Karpenter takes a");
        self.requirements(&["requirements"], change.requirements.as_deref().unwrap_or_default(), true);
        self.taints(change.taints.as_deref().unwrap_or_default());
        self.disruption(change.disruption.as_ref().map_or(&[][..], |d| &d.budgets));
    }

    fn node_pool(&mut self, pool: &NodePool, capacity: &Capacity) {
        self.zones(&["zones"], &pool.zones);
        self.range(&["weight"], u64::from(pool.weight), 0, 100, "Karpenter takes a");
        self.requirements(&["requirements"], &pool.requirements, true);
        self.taints(&pool.taints);
        self.disruption(&pool.disruption.budgets);
        self.within(&["nodes"], |c| c.node_settings(&pool.nodes, capacity, true));
    }

    fn disruption(&mut self, budgets: &[DisruptionBudgetOfNodes]) {
        for (i, budget) in budgets.iter().enumerate() {
            self.within(&["disruption", "budgets", &format!("[{i}]")], |c| {
                if budget.schedule.is_some() != budget.duration.is_some() {
                    c.error(
                        "S1012",
                        &[],
                        "a budget has `schedule` and `duration` together, or neither",
                        "one of both is missing",
                    );
                }
                if let IntOrPercent::Percent(percent) = budget.nodes {
                    c.range(&["nodes"], u64::from(percent), 0, 100, "Karpenter takes, in percent,");
                }
                if let Some(schedule) = &budget.schedule {
                    c.cron_schedule(schedule, "Karpenter reads it in UTC");
                }
            });
        }
    }

    fn node_settings(&mut self, nodes: &NodeSettings, capacity: &Capacity, spot: bool) {
        self.above_zero(&["pods", "pull_bandwidth"], nodes.pods.pull_bandwidth.get() as f64);
        self.above_zero(&["pods", "unpack_bandwidth"], nodes.pods.unpack_bandwidth.get() as f64);
        self.above_zero(&["cpu_speed"], nodes.cpu_speed);
        if nodes.unavailable >= 1.0 {
            self.warn("W0021", &["unavailable"], "no launch ever finds capacity", "every launch is refused");
        }
        self.not_zero(&["retry_delay"], nodes.retry_delay);
        if let Some(instances) = capacity.instances() {
            for (i, outage) in nodes.outages.iter().enumerate() {
                self.within(&["outages", &format!("[{i}]")], |c| c.instance_outage(capacity, &instances, outage));
            }
        }
        self.spot(&nodes.spot, spot);
    }

    fn taints(&mut self, taints: &[NodeTaint]) {
        for (i, taint) in taints.iter().enumerate() {
            if taint.key.is_empty() {
                let index = format!("[{i}]");
                self.error("S1012", &["taints", &index, "key"], "a taint has a key", "empty");
            }
        }
    }

    fn requirements(&mut self, path: &[&str], requirements: &[LabelRequirement], of_karpenter: bool) {
        for (i, r) in requirements.iter().enumerate() {
            let index = format!("[{i}]");
            let at: Vec<&str> = path.iter().copied().chain([index.as_str()]).collect();
            let number = |text: &str| text.parse::<i64>().is_ok();
            let wrong = match r.operator {
                LabelOperator::In | LabelOperator::NotIn if r.values.is_empty() => Some("needs at least one value"),
                LabelOperator::Exists | LabelOperator::DoesNotExist if !r.values.is_empty() => Some("takes no values"),
                LabelOperator::Gt | LabelOperator::Lt if r.values.len() != 1 || !number(&r.values[0]) => {
                    Some("needs exactly one value, an integer")
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                self.error("S1012", &at, format!("the operator `{}` {wrong}", r.operator), "Kubernetes refuses it");
            }
            if r.key.starts_with("karpenter.") {
                let path: Vec<&str> = at.iter().copied().chain(["key"]).collect();
                let span = self.at(&path);
                self.known(&path, span, "label of Karpenter", &r.key, &LABELS_OF_KARPENTER);
            }
            if r.min_values.is_some() && !of_karpenter {
                self.error("S1012", &at, "`min_values` belongs to a NodePool of Karpenter", "leave it out");
            }
        }
    }

    fn service_front(&mut self, front: &KubeService) {
        let behind = front.r#type == Some(KubeServiceType::LoadBalancer);
        let nodes = front.target_type == TargetType::Instance;
        if nodes && !behind {
            let why = "no load balancer stands in front of the service";
            self.error("S1012", &["target_type"], why, "give it `load_balancer`, or leave `target_type` out");
        } else if nodes && self.plan.capacity.values().any(|c| matches!(c, Capacity::FargateProfile(_))) {
            let why = "pods on Fargate are reached with the target type `ip` only";
            self.error("S1012", &["target_type"], why, "say `ip`");
        }
        if front.external_traffic_policy == ExternalTrafficPolicy::Local && !(nodes && behind) {
            let why = "`Local` says what nodes do as targets, and no load balancer sends to nodes here";
            self.error("S1012", &["external_traffic_policy"], why, "say `target_type = \"instance\"`, or leave it out");
        }
    }

    fn fargate_profile(&mut self, profile: &FargateProfile) {
        if !(1..=5).contains(&profile.selectors.len()) {
            self.error("S1012", &["selectors"], "a Fargate profile has one to five selectors", "EKS refuses it");
        }
        self.within(&["launch"], |c| c.fargate(&profile.launch));
    }

    /// What only a workload of Kubernetes has.
    pub(super) fn workload(&mut self, name: &str, service: &Service) {
        let k = &service.kubernetes;
        let cpu = service.task.cpu;
        if cpu > Cpu::ZERO && cpu <= MEANT_AS_CORES {
            // What Kubernetes reads as cores is units of ECS here.
            let cores = cpu.parts().div_ceil(Cpu::from_units(1).parts());
            let message = format!("a pod requests {}: a bare number counts CPU units, 1024 to a vCPU", print_cpu(cpu));
            let d = Diagnostic::warning("W0025", message)
                .at(self.at(&["task", "cpu"]))
                .label("very little")
                .help(format!("for cores as Kubernetes counts them, write \"{cores} vCPU\" or \"{cores}000m\""));
            self.report(&["task", "cpu"], d);
        }
        if k.kind == WorkloadKind::DaemonSet && self.is_written(&["desired_count"]) {
            let message =
                format!("`{name}` is a DaemonSet, which has no replicas: it runs one pod on each node that fits");
            self.error("S1012", &["desired_count"], message, "leave it out");
        }
        self.within(&["kubernetes"], |c| {
            c.pod_size(&service.task, &service.kubernetes.limits);
            c.on_a_profile(name, service);
            c.kind(k);
            let (surge, unavailable) = (k.strategy.max_surge, k.strategy.max_unavailable);
            let none = |v: IntOrPercent| matches!(v, IntOrPercent::Int(0) | IntOrPercent::Percent(0));
            if k.strategy.r#type == RolloutType::RollingUpdate && none(surge) && none(unavailable) {
                c.error(
                    "S1012",
                    &["strategy", "max_surge"],
                    "`max_surge` and `max_unavailable` are both 0: nothing could be replaced, and Kubernetes refuses it",
                    "raise one of them",
                );
            }
            if let IntOrPercent::Percent(p) = unavailable {
                c.range(&["strategy", "max_unavailable"], u64::from(p), 0, 100, "in percent, Kubernetes takes a");
            }
            let deadline = k.progress_deadline_seconds;
            if k.kind == WorkloadKind::Deployment && k.min_ready_seconds >= deadline && deadline > 0 {
                c.ordered(&["min_ready_seconds"], &["progress_deadline_seconds"], false);
            }
            let mut classes: Vec<&str> = c.plan.cluster.eks.priority_classes.keys().map(String::as_str).collect();
            classes.extend(SYSTEM_CLASSES);
            if let Some(class) = &k.priority_class_name {
                let span = c.at(&["priority_class_name"]);
                c.known(&["priority_class_name"], span, "priority class", class, &classes);
            }
            for (key, probe) in [
                ("readiness_probe", &k.readiness_probe),
                ("liveness_probe", &k.liveness_probe),
                ("startup_probe", &k.startup_probe),
            ] {
                if let Some(probe) = probe {
                    c.within(&[key], |c| c.probe(probe, key == "readiness_probe"));
                }
            }
            if let Some(budget) = &k.pod_disruption_budget
                && budget.min_available.is_some() == budget.max_unavailable.is_some()
            {
                c.error(
                    "S1012",
                    &["pod_disruption_budget"],
                    "a budget has either `min_available` or `max_unavailable`",
                    "exactly one of both",
                );
            }
            c.tolerations(&k.tolerations);
            for (i, spread) in k.topology_spread_constraints.iter().enumerate() {
                if spread.max_skew == 0 {
                    let index = format!("[{i}]");
                    c.error(
                        "S1010",
                        &["topology_spread_constraints", &index, "max_skew"],
                        "`max_skew` is at least 1",
                        "0",
                    );
                }
            }
            if let Some(rollout) = &k.rollout {
                c.within(&["rollout"], |c| c.rollout(rollout, service));
            }
            c.affinity(&k.affinity);
            c.within(&["service"], |c| c.service_front(&k.service));
            if let Some(hpa) = &k.horizontal_pod_autoscaler {
                c.within(&["horizontal_pod_autoscaler"], |c| c.hpa(hpa, name, service));
            }
            if let Some(object) = &k.scaled_object {
                c.within(&["scaled_object"], |c| c.scaled_object(object, name, service));
            }
            if let Some(vpa) = &k.vertical_pod_autoscaler {
                c.within(&["vertical_pod_autoscaler"], |c| c.vertical_pod_autoscaler(vpa, name, service));
            }
            c.volumes(name, service);
        });
    }

    /// Tolerations that the API server would refuse.
    pub(super) fn tolerations(&mut self, tolerations: &[PodToleration]) {
        for (i, t) in tolerations.iter().enumerate() {
            let index = format!("[{i}]");
            if t.key.is_none() && t.operator == TolerationOperator::Equal {
                self.error(
                    "S1012",
                    &["tolerations", &index],
                    "a toleration without a key needs the operator `Exists`",
                    "Kubernetes refuses it",
                );
            }
            if t.operator == TolerationOperator::Exists && !t.value.is_empty() {
                self.error(
                    "S1012",
                    &["tolerations", &index, "value"],
                    "the operator `Exists` takes no value",
                    "leave it out",
                );
            }
        }
    }

    fn affinity(&mut self, a: &Affinity) {
        let services: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
        for (key, terms) in [
            ("required_pods", &a.required_pods),
            ("preferred_pods", &a.preferred_pods),
            ("anti_required_pods", &a.anti_required_pods),
            ("anti_preferred_pods", &a.anti_preferred_pods),
        ] {
            for (i, term) in terms.iter().enumerate() {
                let index = format!("[{i}]");
                let path = ["affinity", key, index.as_str(), "service"];
                if let Some(service) = &term.service {
                    let span = self.at(&path);
                    self.known(&path, span, "service", service, &services);
                }
                self.range(&["affinity", key, &index, "weight"], u64::from(term.weight), 1, 100, "Kubernetes takes a");
            }
        }
        for (i, term) in a.required_nodes.iter().enumerate() {
            let index = format!("[{i}]");
            self.requirements(
                &["affinity", "required_nodes", &index, "match_expressions"],
                &term.match_expressions,
                false,
            );
        }
        for (i, term) in a.preferred_nodes.iter().enumerate() {
            let index = format!("[{i}]");
            self.requirements(
                &["affinity", "preferred_nodes", &index, "match_expressions"],
                &term.match_expressions,
                false,
            );
            self.range(
                &["affinity", "preferred_nodes", &index, "weight"],
                u64::from(term.weight),
                1,
                100,
                "Kubernetes takes a",
            );
        }
    }

    fn probe(&mut self, p: &Probe, readiness: bool) {
        self.range(&["period_seconds"], u64::from(p.period_seconds), 1, 86_400, "Kubernetes takes a");
        self.range(&["timeout_seconds"], u64::from(p.timeout_seconds), 1, 86_400, "Kubernetes takes a");
        self.range(&["failure_threshold"], u64::from(p.failure_threshold), 1, 1_000_000, "Kubernetes takes a");
        let most = if readiness { 1_000_000 } else { 1 };
        self.range(
            &["success_threshold"],
            u64::from(p.success_threshold),
            1,
            most,
            "Kubernetes takes, for this probe, a",
        );
    }

    /// Requests and limits of a pod.
    pub(super) fn pod_size(&mut self, task: &Task, limits: &PodLimits) {
        if limits.cpu.is_some_and(|l| l < task.cpu) {
            let d = Diagnostic::error("S1011", "the CPU limit is below the request")
                .at(self.at(&["limits", "cpu"]))
                .label(format!("the pod requests {}", print_cpu(task.cpu)))
                .help("Kubernetes refuses such a pod");
            self.report(&["limits", "cpu"], d);
        }
        if limits.memory.is_some_and(|l| l < task.memory) {
            let d = Diagnostic::error("S1011", "the memory limit is below the request")
                .at(self.at(&["limits", "memory"]))
                .label(format!("the pod requests {}", print_bytes(task.memory, ByteNotation::TaskMemory)))
                .help("Kubernetes refuses such a pod");
            self.report(&["limits", "memory"], d);
        }
    }

    fn scaled_object(&mut self, object: &ScaledObject, name: &str, service: &Service) {
        if service.kubernetes.horizontal_pod_autoscaler.is_some() {
            self.error(
                "S1012",
                &[],
                format!(
                    "`{name}` has an autoscaler and a ScaledObject: KEDA makes its own, and refuses the second one"
                ),
                "one of both",
            );
        }
        if service.kubernetes.kind == WorkloadKind::DaemonSet {
            self.error(
                "S1012",
                &[],
                format!("`{name}` is a DaemonSet, which has no replicas to scale"),
                "leave it out",
            );
        }
        self.not_zero(&["polling_interval"], object.polling_interval);
        self.range(&["max_replica_count"], u64::from(object.max_replica_count), 1, u64::from(u32::MAX), "KEDA takes a");
        let ordered = object.min_replica_count <= object.max_replica_count;
        self.ordered(&["min_replica_count"], &["max_replica_count"], ordered);
        if object.idle_replica_count.is_some_and(|idle| idle >= object.min_replica_count) {
            self.error(
                "S1012",
                &["idle_replica_count"],
                "`idle_replica_count` is below `min_replica_count`, or KEDA refuses it",
                "too many",
            );
        }
        if object.triggers.is_empty() {
            self.error("S1012", &["triggers"], "a ScaledObject has at least one trigger", "KEDA refuses it");
        }
        let queues: Vec<&str> = self.plan.queues.keys().map(String::as_str).collect();
        for (i, trigger) in object.triggers.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["triggers", index.as_str(), "queue"];
            let span = self.at(&path);
            self.known(&path, span, "queue", &trigger.queue, &queues);
            let path = ["triggers", index.as_str(), "queue_length"];
            self.range(&path, u64::from(trigger.queue_length), 1, u64::from(u32::MAX), "KEDA takes a");
        }
        if let Some(behavior) = &object.behavior {
            self.behavior(behavior);
        }
    }

    fn hpa(&mut self, hpa: &Hpa, name: &str, service: &Service) {
        self.range(&["min_replicas"], u64::from(hpa.min_replicas), 1, u64::from(u32::MAX), "Kubernetes takes a");
        self.ordered(&["min_replicas"], &["max_replicas"], hpa.min_replicas <= hpa.max_replicas);
        if service.kubernetes.kind == WorkloadKind::DaemonSet {
            self.error(
                "S1012",
                &[],
                format!("`{name}` is a DaemonSet, which has no replicas to scale"),
                "leave it out",
            );
        }
        let queues: Vec<&str> = self.plan.queues.keys().map(String::as_str).collect();
        for (i, metric) in hpa.metrics.iter().enumerate() {
            let index = format!("[{i}]");
            match metric {
                HpaMetric::Resource(m) => {
                    let path = ["metrics", index.as_str(), "average_utilization"];
                    self.range(&path, u64::from(m.average_utilization), 1, 1_000_000, "Kubernetes takes an");
                }
                HpaMetric::Pods(m) => self.above_zero(&["metrics", &index, "average_value"], m.average_value),
                HpaMetric::External(m) => {
                    let path = ["metrics", index.as_str(), "queue"];
                    let span = self.at(&path);
                    self.known(&path, span, "queue", &m.queue, &queues);
                    self.above_zero(&["metrics", &index, "average_value"], m.average_value);
                }
                HpaMetric::Object(m) => self.object_metric(m, &index),
            }
        }
        if let Some(behavior) = &hpa.behavior {
            self.behavior(behavior);
        }
    }

    fn object_metric(&mut self, metric: &ObjectMetric, index: &str) {
        if metric.value.is_some() == metric.average_value.is_some() {
            let what = "an Object metric has either `value` or `average_value`";
            self.error("S1012", &["metrics", index], what, "exactly one of both");
        }
        for (key, aim) in [("value", metric.value), ("average_value", metric.average_value)] {
            if let Some(aim) = aim {
                self.above_zero(&["metrics", index, key], aim);
            }
        }
        if let Some(name) = &metric.described_object {
            let known: Vec<&str> = self.plan.services.keys().map(String::as_str).collect();
            let path = ["metrics", index, "described_object"];
            let span = self.at(&path);
            self.known(&path, span, "service", name, &known);
        }
    }

    fn behavior(&mut self, behavior: &HpaBehavior) {
        for (key, rules) in [("scale_up", &behavior.scale_up), ("scale_down", &behavior.scale_down)] {
            let Some(rules) = rules else { continue };
            if let Some(window) = rules.stabilization_window_seconds {
                let path = ["behavior", key, "stabilization_window_seconds"];
                self.range(&path, u64::from(window), 0, 3_600, "Kubernetes takes a");
            }
            for (i, policy) in rules.policies.iter().enumerate() {
                let index = format!("[{i}]");
                let path = ["behavior", key, "policies", index.as_str(), "period_seconds"];
                self.range(&path, u64::from(policy.period_seconds), 1, 1_800, "Kubernetes takes a");
                let path = ["behavior", key, "policies", index.as_str(), "value"];
                self.range(&path, u64::from(policy.value), 1, u64::from(u32::MAX), "Kubernetes takes a");
            }
        }
    }
}
