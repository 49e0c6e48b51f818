//! What a pod of a service asks of a node, in the scheduler's terms.

use super::pods::PodSize;
use crate::kubernetes::daemon_set::default_tolerations;
use crate::kubernetes::object::{
    Effect, Labels, NodeSelectorTerm, Operator, PodAffinityTerm, PodSpec, PreemptionPolicy, Requirement, Resources,
    Selector, SpreadConstraint, Symbols, Taint, Toleration, WhenUnsatisfiable as Unsatisfiable,
};
use crate::kubernetes::priority::{SYSTEM_CLUSTER_CRITICAL, SYSTEM_NODE_CRITICAL};
use crate::scenario::model::{
    Architecture, Eks, LabelOperator, LabelRequirement, NodeTaint, Plan, PodTerm, PodToleration, Preemption, Service,
    TaintEffect, TolerationOperator, WhenUnsatisfiable, WorkloadKind,
};
use crate::units::Cpu;

/// Priorities of Kubernetes' own classes.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", SYSTEM_CLUSTER_CRITICAL), ("system-node-critical", SYSTEM_NODE_CRITICAL)];

/// The well-known labels of nodes.
pub(super) mod label {
    pub(in crate::simulation) const ARCH: &str = "kubernetes.io/arch";
    pub(in crate::simulation) const OS: &str = "kubernetes.io/os";
    pub(in crate::simulation) const HOSTNAME: &str = "kubernetes.io/hostname";
    pub(in crate::simulation) const ZONE: &str = "topology.kubernetes.io/zone";
    pub(in crate::simulation) const REGION: &str = "topology.kubernetes.io/region";
    pub(in crate::simulation) const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
    pub(in crate::simulation) const NODE_GROUP: &str = "eks.amazonaws.com/nodegroup";
    pub(in crate::simulation) const CAPACITY_TYPE: &str = "eks.amazonaws.com/capacityType";
    pub(in crate::simulation) const NODE_POOL: &str = "karpenter.sh/nodepool";
    pub(in crate::simulation) const KARPENTER_CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
    /// The label that tells the pods of a service.
    pub(super) const APP: &str = "app";
}

/// Millicores that a request of CPU counts as: rounded up, as quantities are.
pub(super) fn millicores(cpu: Cpu) -> i64 {
    i64::try_from(cpu.parts().div_ceil(128)).unwrap_or(i64::MAX)
}

/// The name by which Kubernetes knows an architecture.
pub(super) const fn arch(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86 => "amd64",
        Architecture::Arm => "arm64",
    }
}

/// The system pods of a node, as one.
pub(super) fn system_pods(settings: &Eks, symbols: &mut Symbols) -> PodSpec {
    let mut spec = PodSpec::new(symbols.intern("kube-system"));
    spec.requests = Resources {
        cpu_m: millicores(settings.system_pods_cpu),
        memory: settings.system_pods_memory.get() as i64,
        pods: i64::from(settings.system_pods),
        ..Resources::default()
    };
    spec.score_cpu_m = spec.requests.cpu_m;
    spec.score_memory = spec.requests.memory;
    spec.tolerations = vec![Toleration { key: None, value: None, effect: None }];
    spec.priority = SYSTEM_NODE_CRITICAL;
    spec
}

/// A pod of a service.
pub(super) fn pod_of(plan: &Plan, name: &str, service: &Service, symbols: &mut Symbols) -> PodSpec {
    let (k, task) = (&service.kubernetes, &service.task);
    let mut spec = PodSpec::new(symbols.intern(&k.namespace));
    let mut labels = vec![(label::APP, name)];
    labels.extend(k.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    spec.labels = Labels::from_iter(labels.into_iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))));
    if task.gpus > 0 {
        spec.requests.set_extended(symbols.intern("nvidia.com/gpu"), i64::from(task.gpus));
    }
    resize(&mut spec, &PodSize::of(service));
    spec.node_selector = k.node_selector.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
    spec.node_selector.push((symbols.intern(label::ARCH), symbols.intern(arch(task.architecture))));
    let a = &k.affinity;
    if !a.required_nodes.is_empty() {
        let terms = a.required_nodes.iter().map(|t| term(&t.match_expressions, symbols)).collect();
        spec.required_node_affinity = Some(terms);
    }
    spec.preferred_node_affinity =
        a.preferred_nodes.iter().map(|t| (i64::from(t.weight), term(&t.match_expressions, symbols))).collect();
    let mut near = |terms: &[PodTerm]| -> Vec<(i64, PodAffinityTerm)> {
        terms.iter().map(|t| (i64::from(t.weight), pod_term(plan, name, service, t, symbols))).collect()
    };
    spec.required_affinity = near(&a.required_pods).into_iter().map(|t| t.1).collect();
    spec.preferred_affinity = near(&a.preferred_pods);
    spec.required_anti_affinity = near(&a.anti_required_pods).into_iter().map(|t| t.1).collect();
    spec.preferred_anti_affinity = near(&a.anti_preferred_pods);
    spec.tolerations = k.tolerations.iter().map(|t| toleration(t, symbols)).collect();
    if k.kind == WorkloadKind::DaemonSet {
        spec.tolerations.extend(default_tolerations(symbols));
    }
    let own = app_selector(name, symbols);
    spec.spread = k
        .topology_spread_constraints
        .iter()
        .map(|s| SpreadConstraint {
            max_skew: i64::from(s.max_skew),
            topology_key: symbols.intern(&s.topology_key),
            when_unsatisfiable: match s.when_unsatisfiable {
                WhenUnsatisfiable::DoNotSchedule => Unsatisfiable::DoNotSchedule,
                WhenUnsatisfiable::ScheduleAnyway => Unsatisfiable::ScheduleAnyway,
            },
            selector: Some(own.clone()),
            min_domains: s.min_domains.map(i64::from),
            honor_node_affinity: true,
            honor_node_taints: false,
            match_label_keys: Vec::new(),
        })
        .collect();
    // The cluster's default spread counts the pods of the same controller.
    spec.owner_selector = Some(own.clone());
    if let Some(class) = &k.priority_class_name {
        let own = plan.cluster.eks.priority_classes.get(class);
        let system = SYSTEM_CLASSES.iter().find(|(n, _)| n == class).map(|(_, p)| *p);
        spec.priority = own.map(|c| c.value).or(system).unwrap_or(0);
        if own.is_some_and(|c| c.preemption_policy == Preemption::Never) {
            spec.preemption_policy = PreemptionPolicy::Never;
        }
    }
    spec
}

/// Gives a pod the requests and limits that the Vertical Pod Autoscaler says.
pub(super) fn resize(spec: &mut PodSpec, size: &PodSize) {
    spec.requests.cpu_m = millicores(size.cpu);
    spec.requests.memory = size.memory.get() as i64;
    spec.score_cpu_m = if spec.requests.cpu_m == 0 { 100 } else { spec.requests.cpu_m };
    spec.score_memory = if spec.requests.memory == 0 { 200 << 20 } else { spec.requests.memory };
    spec.cpu_limit_m = size.cpu_limit.map(millicores);
    spec.memory_limit = Some(size.memory_limit.get() as i64);
}

/// The selector of the pods of a service.
pub(super) fn app_selector(name: &str, symbols: &mut Symbols) -> Selector {
    let (key, value) = (symbols.intern(label::APP), symbols.intern(name));
    Selector { requirements: vec![Requirement { key, operator: Operator::In, values: vec![value] }] }
}

fn pod_term(plan: &Plan, name: &str, service: &Service, t: &PodTerm, symbols: &mut Symbols) -> PodAffinityTerm {
    let of = t.service.as_deref().unwrap_or(name);
    let namespace = plan.services.get(of).map_or(&service.kubernetes.namespace, |s| &s.kubernetes.namespace);
    PodAffinityTerm {
        topology_key: symbols.intern(&t.topology_key),
        selector: Some(app_selector(of, symbols)),
        namespaces: vec![symbols.intern(namespace)],
    }
}

fn term(requirements: &[LabelRequirement], symbols: &mut Symbols) -> NodeSelectorTerm {
    NodeSelectorTerm { expressions: requirements.iter().map(|r| requirement(r, symbols)).collect(), names: Vec::new() }
}

/// A requirement of the language in the scheduler's terms.
pub(super) fn requirement(r: &LabelRequirement, symbols: &mut Symbols) -> Requirement {
    Requirement {
        key: symbols.intern(&r.key),
        operator: match r.operator {
            LabelOperator::In => Operator::In,
            LabelOperator::NotIn => Operator::NotIn,
            LabelOperator::Exists => Operator::Exists,
            LabelOperator::DoesNotExist => Operator::DoesNotExist,
            LabelOperator::Gt => Operator::Gt,
            LabelOperator::Lt => Operator::Lt,
        },
        values: r.values.iter().map(|v| symbols.intern(v)).collect(),
    }
}

const fn effect(e: TaintEffect) -> Effect {
    match e {
        TaintEffect::NoSchedule => Effect::NoSchedule,
        TaintEffect::PreferNoSchedule => Effect::PreferNoSchedule,
        TaintEffect::NoExecute => Effect::NoExecute,
    }
}

/// A taint of the language in the scheduler's terms.
pub(super) fn taint(t: &NodeTaint, symbols: &mut Symbols) -> Taint {
    Taint { key: symbols.intern(&t.key), value: symbols.intern(&t.value), effect: effect(t.effect) }
}

fn toleration(t: &PodToleration, symbols: &mut Symbols) -> Toleration {
    Toleration {
        key: t.key.as_ref().map(|k| symbols.intern(k)),
        value: (t.operator == TolerationOperator::Equal).then(|| symbols.intern(&t.value)),
        effect: t.effect.map(effect),
    }
}
