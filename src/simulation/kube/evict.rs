//! Evictions: budgets, and nodes that are drained.

use super::super::{Simulation, Timer};
use super::nodes::Drain;
use super::workloads::of;
use crate::cluster::{Command, NodeEnd, NodeStatus, NodeStep, StopCode, TaskStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::disruption_budget::{
    self, BudgetPod, BudgetSpec, BudgetStatus, Demand, EvictionPod, UnhealthyPodEvictionPolicy, Verdict,
};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{Service, UnhealthyEviction, WorkloadKind};
use crate::units::{NodeId, ServiceId, TaskId};

/// Wait of those who drain a node before they ask again for an eviction that a budget refused. Source: kubectl drain.
pub(super) const ASK_AGAIN: SimDuration = SimDuration::from_secs(5);

/// The budget of a workload.
#[derive(Clone, Debug, Default)]
pub(in crate::simulation) struct BudgetRuntime {
    pub(super) spec: Option<BudgetSpec>,
    status: BudgetStatus<TaskId>,
    /// Evictions that were refused.
    pub(super) refused: u64,
    /// Evictions that were granted.
    pub(super) granted: u64,
}

/// How long EKS tries to drain a node of a managed group. Source: EKS user guide, `managed-node-update-behavior`.
pub(in crate::simulation) const DRAIN_TIMEOUT: SimDuration = SimDuration::from_mins(15);

impl BudgetRuntime {
    pub(super) fn new(service: &Service) -> Self {
        let spec = service.kubernetes.pod_disruption_budget.as_ref().and_then(|b| {
            let most = b.max_unavailable.map(|v| Demand::MaxUnavailable(of(v)));
            let demand = most.or(b.min_available.map(|v| Demand::MinAvailable(of(v))))?;
            let unhealthy_pod_eviction_policy = match b.unhealthy_pod_eviction_policy {
                UnhealthyEviction::IfHealthyBudget => UnhealthyPodEvictionPolicy::IfHealthyBudget,
                UnhealthyEviction::AlwaysAllow => UnhealthyPodEvictionPolicy::AlwaysAllow,
            };
            Some(BudgetSpec { demand, unhealthy_pod_eviction_policy })
        });
        Self { spec, ..Self::default() }
    }
}

impl Simulation<'_> {
    /// The status of a workload's budget as it is now; `None` without one.
    pub(super) fn budget_of(&self, service: ServiceId) -> Option<BudgetStatus<TaskId>> {
        let w = &self.kube().workloads[service.index()];
        let spec = w.budget.spec?;
        let scaled = w.plan.kind != WorkloadKind::DaemonSet;
        let pods: Vec<BudgetPod<TaskId, ServiceId>> = self
            .cluster
            .tasks_of(service)
            .map(|t| BudgetPod {
                pod: t.id,
                ready: self.kube().pods[t.id.index()].ready_since.is_some(),
                terminating: t.stop_code.is_some(),
                controller: scaled.then_some(service),
            })
            .collect();
        let desired = i32::try_from(self.cluster.service(service).desired).unwrap_or(i32::MAX);
        let granted = &w.budget.status.disrupted;
        Some(disruption_budget::status(&spec, granted, &pods, |_| desired, self.queue.now()).status)
    }

    /// Asks the API server to evict a pod. A pod that is granted is deleted.
    pub(super) fn evict(&mut self, task: TaskId, why: &str) -> Verdict {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let service = t.service;
        let state = EvictionPod {
            idle: t.status < TaskStatus::Running,
            ready: self.kube().pods[task.index()].ready_since.is_some(),
            terminating: t.stop_code.is_some(),
        };
        let status = self.budget_of(service);
        let budget = &mut self.kube_mut().workloads[service.index()].budget;
        let verdict = match (&budget.spec, status) {
            (Some(spec), Some(status)) => {
                budget.status = status;
                disruption_budget::evict(task, state, &mut [(spec, &mut budget.status)], now)
            }
            _ => disruption_budget::evict(task, state, &mut [], now),
        };
        if verdict.granted() {
            budget.granted += 1;
            self.delete_pod(task, StopCode::Evicted, why);
        } else {
            budget.refused += 1;
        }
        verdict
    }

    /// Begins to drain a node: no new pods, and those on it are evicted. It is terminated when they are gone, or at
    /// the deadline whatever still runs.
    pub(in crate::simulation) fn drain_pods(&mut self, node: NodeId, why: NodeEnd, deadline: Option<SimTime>) {
        // A drain that is to end with the node takes the place of one that is not.
        if self.leaves(node) {
            return;
        }
        self.end_drain(node);
        self.cordon(node);
        self.kube_mut().drains.push(Drain { node, why: Some(why), deadline });
        self.wake_group(self.cluster.node(node).spec.capacity);
        self.go_on_draining(node);
    }

    /// Evicts the pods of a node, and asks again for as long as budgets refuse; the node itself stays.
    pub(super) fn evict_all(&mut self, node: NodeId) {
        if !self.is_emptied(node) {
            self.cordon(node);
            self.kube_mut().drains.push(Drain { node, why: None, deadline: None });
            self.go_on_draining(node);
        }
    }

    /// Whether the pods of a node are being evicted.
    pub(super) fn is_emptied(&self, node: NodeId) -> bool {
        self.kube().drains.iter().any(|d| d.node == node)
    }

    /// Nobody asks for evictions on a node any more.
    pub(super) fn end_drain(&mut self, node: NodeId) {
        self.kube_mut().drains.retain(|d| d.node != node);
        self.queue.cancel_timer(Timer::Drain(node));
    }

    /// Whether a node is being drained so that it can be terminated.
    pub(in crate::simulation) fn leaves(&self, node: NodeId) -> bool {
        self.kube.as_ref().is_some_and(|k| k.drains.iter().any(|d| d.node == node && d.why.is_some()))
    }

    /// A node takes no more pods.
    pub(super) fn cordon(&mut self, node: NodeId) {
        if self.cluster.node(node).status == NodeStatus::Active {
            self.apply(Command::Node { node, step: NodeStep::Drain });
        }
    }

    /// A node takes pods again.
    pub(super) fn uncordon(&mut self, node: NodeId) {
        if self.cluster.node(node).status == NodeStatus::Draining {
            self.apply(Command::Node { node, step: NodeStep::Activate });
        }
    }

    /// Pods of a node that keep it from being drained: those of DaemonSets do not.
    pub(super) fn in_the_way(&self, node: NodeId) -> Vec<TaskId> {
        let of_workload = |t: &&crate::cluster::Task| {
            t.status < TaskStatus::Deprovisioning
                && self.kube().workloads[t.service.index()].plan.kind != WorkloadKind::DaemonSet
        };
        self.cluster.tasks_on(node).filter(of_workload).map(|t| t.id).collect()
    }

    /// Asks for the evictions that are still to be granted, and ends the node when its pods are gone.
    pub(in crate::simulation) fn go_on_draining(&mut self, node: NodeId) {
        let now = self.queue.now();
        let Some(drain) = self.kube().drains.iter().find(|d| d.node == node).copied() else { return };
        let late = drain.deadline.is_some_and(|at| now >= at);
        let pods = self.in_the_way(node);
        // No budget counts pods of a file.
        for row in self.given_in_the_way(node) {
            self.delete_given(row, "Evicted");
        }
        if pods.is_empty() || late {
            match drain.why {
                Some(why) => {
                    self.end_drain(node);
                    self.terminate_node(node, why);
                }
                // Whoever wants it empty looks for himself.
                None => self.wake_update(self.cluster.node(node).spec.capacity),
            }
            return;
        }
        let mut refused = 0_u32;
        for &task in &pods {
            if self.cluster.task(task).stop_code.is_some() {
                continue;
            }
            let held = self.kube().workloads[self.cluster.task(task).service.index()].plan.do_not_disrupt;
            // Karpenter waits for pods that must not be disrupted; others do not look at the annotation.
            let waits = held && self.is_of_karpenter(node);
            if waits || !self.evict(task, "Evicted: its node is being drained").granted() {
                refused += 1;
            }
        }
        if refused > 0 {
            self.note_refused(node, refused, pods.len());
        }
        let again = drain.deadline.map_or(now + ASK_AGAIN, |at| at.min(now + ASK_AGAIN));
        self.schedule_timer_if_due(Timer::Drain(node), again, Phase::Decision);
    }

    /// Writes down that budgets hold a drain up, once for each time the number changes.
    pub(super) fn note_refused(&mut self, node: NodeId, refused: u32, pods: usize) {
        let said = self.kube_mut().refusals.insert(node, refused);
        if said == Some(refused) {
            return;
        }
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "eviction".into(),
            subject: format!("nodes.{}", node.0).into(),
            from: Some(pods as i64),
            result: Some(i64::from(refused)),
            bounded_by: "pod_disruption_budget".into(),
            reason: "refused".into(),
            explanation: format!("a drain waits: budgets hold {refused} of the {pods} pods on the node").into(),
            ..DecisionRow::default()
        };
        self.recorder
            .decision(&row, &DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null });
    }
}
