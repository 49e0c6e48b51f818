//! ResourceQuotas at work: a pod that would use too much is not created.

use super::super::Simulation;
use crate::kubernetes::quota::{Quota, QuotaResource};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::Eks;
use crate::units::{Bytes, ServiceId, TaskId};

/// The quotas of the namespaces that have one.
pub(super) fn quotas(settings: &Eks) -> Vec<(&str, Quota)> {
    let bytes = |b: Option<Bytes>| b.map(|b| i64::try_from(b.get()).unwrap_or(i64::MAX));
    let quota = |name: &str, q: &crate::scenario::model::ResourceQuota| {
        let hard = [
            (QuotaResource::RequestsCpu, q.requests_cpu.map(super::shapes::millicores)),
            (QuotaResource::RequestsMemory, bytes(q.requests_memory)),
            (QuotaResource::LimitsCpu, q.limits_cpu.map(super::shapes::millicores)),
            (QuotaResource::LimitsMemory, bytes(q.limits_memory)),
            (QuotaResource::Pods, q.pods.map(i64::from)),
        ];
        Quota::new(name, hard.into_iter().filter_map(|(resource, most)| Some((resource, most?))).collect())
    };
    let limited = settings.namespaces.iter().filter_map(|(name, n)| Some((name.as_str(), n.resource_quota.as_ref()?)));
    limited.map(|(name, q)| (name, quota(name, q))).collect()
}

impl Simulation<'_> {
    /// Whether the namespace's quota admits one more pod of a service; says so where it does not.
    pub(super) fn quota_admits(&mut self, service: ServiceId) -> bool {
        let namespace = self.services[service.index()].plan.kubernetes.namespace.as_str();
        if !self.kube().quotas.iter().any(|(name, _)| *name == namespace) {
            return true;
        }
        let (shape, _) = self.shape_for(service, None);
        let kube = self.kube();
        let Some((_, quota)) = kube.quotas.iter().find(|(name, _)| *name == namespace) else { return true };
        let Some(pod) = kube.scheduler.shape(shape) else { return true };
        let Err(refusal) = quota.check(pod) else {
            self.kube_mut().workloads[service.index()].refused = None;
            return true;
        };
        let text = refusal.to_string();
        let before = self.kube_mut().workloads[service.index()].refused.replace(text.clone());
        if before.as_ref() != Some(&text) {
            let name = self.services[service.index()].name;
            let row = DecisionRow {
                time_s: self.queue.now().into(),
                controller: "resource_quota".into(),
                subject: format!("services.{name}").into(),
                service: name.into(),
                bounded_by: "resource_quota".into(),
                reason: "FailedCreate".into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
            self.recorder.decision(&row, &detail);
        }
        false
    }

    /// A pod is there and counts, or is gone and does not any more.
    pub(super) fn charge_quota(&mut self, task: TaskId, there: bool) {
        let service = self.cluster.task(task).service;
        let namespace = self.services[service.index()].plan.kubernetes.namespace.as_str();
        let kube = self.kube_mut();
        let Some((_, quota)) = kube.quotas.iter_mut().find(|(name, _)| *name == namespace) else { return };
        let Some(pod) = kube.scheduler.shape(kube.pods[task.index()].shape) else { return };
        match there {
            true => quota.charge(pod),
            false => quota.release(pod),
        }
    }
}
