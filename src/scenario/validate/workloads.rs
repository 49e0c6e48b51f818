//! What belongs to which kind of workload of Kubernetes, volumes, and the Vertical Pod Autoscaler.

use super::Check;
use crate::scenario::fargate::size_of_pod;
use crate::scenario::model::{
    Capacity, IntOrPercent, KubernetesService, Service, UpdateType, VerticalPodAutoscaler, VpaUpdateMode, WorkloadKind,
};

/// Keys that only some kinds have.
const OWN_KEYS: [(&str, &[WorkloadKind]); 6] = [
    ("strategy", &[WorkloadKind::Deployment]),
    ("progress_deadline_seconds", &[WorkloadKind::Deployment]),
    ("update_strategy", &[WorkloadKind::StatefulSet, WorkloadKind::DaemonSet]),
    ("pod_management_policy", &[WorkloadKind::StatefulSet]),
    ("ordinals", &[WorkloadKind::StatefulSet]),
    ("persistent_volume_claim_retention_policy", &[WorkloadKind::StatefulSet]),
];

fn is_none(value: IntOrPercent) -> bool {
    matches!(value, IntOrPercent::Int(0) | IntOrPercent::Percent(0))
}

impl Check<'_> {
    /// Keys that do not belong to the kind, and update strategies that the API server would refuse.
    pub(super) fn kind(&mut self, k: &KubernetesService) {
        for (key, kinds) in OWN_KEYS {
            if kinds.contains(&k.kind) || !self.is_written(&[key]) {
                continue;
            }
            let owners: Vec<String> = kinds.iter().map(|kind| format!("a {kind}")).collect();
            let hint = match (key, k.kind) {
                ("strategy", _) => "how its pods are replaced is `update_strategy`",
                ("update_strategy", _) => "how its pods are replaced is `strategy`",
                _ => "leave it out",
            };
            let message = format!("`{key}` belongs to {}, not to a {}", owners.join(" or "), k.kind);
            self.error("S1012", &[key], message, hint);
        }
        if k.kind == WorkloadKind::Deployment {
            return;
        }
        let update = &k.update_strategy;
        let foreign = if k.kind == WorkloadKind::StatefulSet { "max_surge" } else { "partition" };
        if self.is_written(&["update_strategy", foreign]) {
            let message = format!("the update strategy of a {} has no `{foreign}`", k.kind);
            self.error("S1012", &["update_strategy", foreign], message, "leave it out");
        }
        if update.r#type == UpdateType::OnDelete {
            for key in ["partition", "max_unavailable", "max_surge"] {
                if key != foreign && self.is_written(&["update_strategy", key]) {
                    let message = format!("`{key}` belongs to the type `RollingUpdate`");
                    self.error("S1012", &["update_strategy", key], message, "leave it out");
                }
            }
            return;
        }
        for (key, value) in [("max_unavailable", update.max_unavailable), ("max_surge", update.max_surge)] {
            if let IntOrPercent::Percent(percent) = value {
                self.range(&["update_strategy", key], u64::from(percent), 0, 100, "in percent, Kubernetes takes a");
            }
        }
        match k.kind {
            WorkloadKind::StatefulSet if is_none(update.max_unavailable) => {
                let message = "`max_unavailable` of a StatefulSet is at least 1: nothing could be replaced";
                self.error("S1010", &["update_strategy", "max_unavailable"], message, "Kubernetes refuses it");
            }
            WorkloadKind::DaemonSet if is_none(update.max_unavailable) == is_none(update.max_surge) => {
                let key = if is_none(update.max_surge) { "max_unavailable" } else { "max_surge" };
                self.error(
                    "S1012",
                    &["update_strategy", key],
                    "exactly one of `max_surge` and `max_unavailable` of a DaemonSet is above 0, or Kubernetes refuses it",
                    "with `max_surge`, write `max_unavailable = 0`",
                );
            }
            _ => {}
        }
    }

    /// Whether a Fargate profile takes the pods of a service.
    fn a_profile_takes(&self, name: &str, service: &Service) -> bool {
        let k = &service.kubernetes;
        let has = |key: &str, value: &str| match k.labels.get(key) {
            Some(label) => label == value,
            None => key == "app" && value == name,
        };
        self.plan.capacity.values().any(|c| match c {
            Capacity::FargateProfile(f) => f.selectors.iter().any(|s| {
                (s.namespace == k.namespace || s.namespace == "*")
                    && s.labels.iter().all(|(key, value)| has(key, value))
            }),
            _ => false,
        })
    }

    /// What a pod cannot have on Fargate, where a profile takes it.
    pub(super) fn on_a_profile(&mut self, name: &str, service: &Service) {
        if !self.a_profile_takes(name, service) {
            return;
        }
        if service.kubernetes.kind == WorkloadKind::DaemonSet {
            let label =
                "a Fargate profile takes its pods, which never start: another namespace, or a selector with labels";
            self.error("S1012", &["kind"], "Fargate runs no DaemonSets", label);
        }
        let task = &service.task;
        if size_of_pod(task.cpu, task.memory).is_none() {
            let label = "a Fargate profile takes this one, which requests more";
            self.error("S1020", &[], "a pod on Fargate has at most 16 vCPU and 120 GB", label);
        }
    }

    /// Claims and file systems.
    pub(super) fn volumes(&mut self, name: &str, service: &Service) {
        let k = &service.kubernetes;
        if k.volume_claim.is_some() && self.a_profile_takes(name, service) {
            self.error(
                "S1012",
                &["volume_claim"],
                "an EBS volume cannot be mounted by a pod on Fargate",
                "a Fargate profile takes its pods",
            );
        }
        if let Some(claim) = &k.volume_claim {
            let gib = claim.size.get().div_ceil(1 << 30);
            self.range(&["volume_claim", "size"], gib, 1, 65_536, "in GiB, EBS takes, for gp3, a");
        }
        if k.kind == WorkloadKind::StatefulSet {
            let most = u64::from(u32::MAX >> 1) - u64::from(service.desired_count);
            self.range(&["ordinals", "start"], u64::from(k.ordinals.start), 0, most, "Kubernetes counts in 31 bits: a");
        }
        if k.volume_claim.is_some() && k.kind == WorkloadKind::DaemonSet {
            self.error(
                "S1012",
                &["volume_claim"],
                "the pods of a DaemonSet would share one EBS volume, which one node can have",
                "`file_systems` of EFS are mounted by any number of pods",
            );
        }
        let retention = "persistent_volume_claim_retention_policy";
        if k.kind == WorkloadKind::StatefulSet && k.volume_claim.is_none() && self.is_written(&[retention]) {
            self.error(
                "S1012",
                &[retention],
                "the pods claim no volume that could be retained",
                "needs `volume_claim`",
            );
        }
        let names: Vec<&str> = self.plan.cluster.eks.file_systems.keys().map(String::as_str).collect();
        for (i, name) in k.file_systems.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["file_systems", index.as_str()];
            let span = self.at(&path);
            self.known(&path, span, "file system", name, &names);
            if k.file_systems[..i].contains(name) {
                self.error("S1012", &path, format!("`{name}` is mounted twice"), "once is enough");
            }
        }
    }

    /// A Vertical Pod Autoscaler.
    pub(super) fn vertical_pod_autoscaler(&mut self, vpa: &VerticalPodAutoscaler, name: &str, service: &Service) {
        let (low, high) = (&vpa.min_allowed, &vpa.max_allowed);
        let cpu = low.cpu.zip(high.cpu).is_none_or(|(l, h)| l <= h);
        let memory = low.memory.zip(high.memory).is_none_or(|(l, h)| l <= h);
        self.ordered(&["min_allowed", "cpu"], &["max_allowed", "cpu"], cpu);
        self.ordered(&["min_allowed", "memory"], &["max_allowed", "memory"], memory);
        self.range(&["min_replicas"], u64::from(vpa.min_replicas), 1, u64::from(u32::MAX), "the autoscaler takes a");
        match vpa.update_mode {
            VpaUpdateMode::InPlaceOrRecreate => self.error(
                "S1012",
                &["update_mode"],
                "pods that are resized while they run are not modelled",
                "`Recreate` evicts them instead",
            ),
            VpaUpdateMode::Auto => {
                self.warn("W0056", &["update_mode"], "`Auto` is deprecated: it means `Recreate`", "say `Recreate`");
            }
            _ => {}
        }
        if vpa.update_mode != VpaUpdateMode::Off && self.a_profile_takes(name, service) {
            self.error(
                "S1012",
                &["update_mode"],
                "pods on Fargate keep the size of their micro-VM in this model",
                "`Off` recommends, and changes nothing",
            );
        }
    }
}
