//! Nodes and pods as Karpenter sees them.

use super::super::given::{given_key, given_of};
use super::super::nodes::SYSTEM;
use super::super::schedule::task_of;
use super::Karpenter;
use crate::cluster::{LifeCycle, Market, TaskStatus};
use crate::kernel::SimDuration;
use crate::kubernetes::disruption_budget::Demand;
use crate::kubernetes::karpenter::instance::CapacityType;
use crate::kubernetes::karpenter::world::{DoNotDisrupt, NodeView, Owner, PendingPod, PodBudgets, PodPhase, PodView};
use crate::scenario::model::{PodOwner, WorkloadKind};
use crate::simulation::Simulation;
use crate::units::{IntOrPercent as Field, NodeId, ServiceId, TaskId};

impl Simulation<'_> {
    /// All nodes as Karpenter sees them.
    pub(super) fn node_views(&self, k: &Karpenter) -> (Vec<NodeId>, Vec<NodeView>) {
        let (mut ids, mut views) = (Vec::new(), Vec::new());
        let budgets: Vec<PodBudgets> = (0..self.services.len()).map(|s| self.pod_budgets(ServiceId::from(s))).collect();
        for capacity in self.node_capacities() {
            for n in self.cluster.nodes_of(capacity) {
                let seat = self.kube().seat_of(n.id);
                let claim = k.claims.get(&n.id);
                let seen = seat.and_then(|s| self.kube().scheduler.node(s));
                let Some(name) = seen.map(|s| s.name).or(claim.map(|_| k.known.hostname)) else { continue };
                let mut view = NodeView::new(name);
                if let Some(seen) = seen {
                    view.labels = seen.labels.clone();
                    view.taints = seen.taints.clone();
                    view.allocatable = seen.allocatable.clone();
                    view.capacity = seen.allocatable.clone();
                }
                view.has_node = seat.is_some();
                view.created = n.times.launched;
                view.initialized = n.times.registered;
                view.ready = seat.is_some() && !self.nodes[n.id.index()].lost;
                view.terminating_instance = n.life >= LifeCycle::Terminating;
                view.deleting = n.life >= LifeCycle::Terminating || self.leaves(n.id);
                if let Some(claim) = claim {
                    let of = &k.tables[claim.pool].types()[claim.of];
                    if seat.is_none() {
                        view.labels = claim.labels.clone();
                        view.allocatable = of.allocatable().clone();
                    }
                    view.capacity = of.capacity.clone();
                    view.pool = Some(claim.pool);
                    view.managed = true;
                    view.created = claim.created;
                    view.instance_type = Some(claim.of);
                    view.capacity_type = match n.spec.market {
                        Market::OnDemand => CapacityType::OnDemand,
                        Market::Spot => CapacityType::Spot,
                    };
                    view.deleting |= claim.termination.is_some();
                    view.marked = claim.marked;
                    view.nominated_until = claim.nominated_until;
                    view.last_pod_event = claim.last_pod_event;
                    view.drift = claim.drift;
                    view.termination_grace_period = k.pools[claim.pool].termination_grace_period;
                }
                view.pods = self.cluster.tasks_on(n.id).map(|t| self.pod_view(t.id, &budgets)).collect();
                let given = self.kube().given.as_ref().map_or(&[][..], |g| g.on(n.id));
                view.pods.extend(given.iter().filter_map(|row| self.given_view(*row)));
                if seat.is_some() && self.kube().settings.system_pods > 0 {
                    let uid = SYSTEM | u64::from(n.id.0);
                    let pod = PodView::new(uid, self.kube().system.0 as usize, n.times.launched);
                    view.pods.push(PodView { owner: Owner::DaemonSet, ..pod });
                }
                ids.push(n.id);
                views.push(view);
            }
        }
        (ids, views)
    }

    /// A pod of a file.
    fn given_view(&self, row: u32) -> Option<PodView> {
        let given = self.kube().given.as_ref()?;
        let (kind, live) = (given.kind(row)?, given.live.get(&row)?);
        Some(PodView {
            started: live.starts.filter(|at| *at <= self.queue.now()),
            owner: match kind.owner {
                PodOwner::DaemonSet => Owner::DaemonSet,
                PodOwner::StatefulSet => Owner::StatefulSet,
                PodOwner::Nobody | PodOwner::ReplicaSet | PodOwner::Job => Owner::ReplicaSet,
            },
            ..PodView::new(given_key(row).0, kind.shape.0 as usize, live.submitted)
        })
    }

    fn pod_view(&self, task: TaskId, budgets: &[PodBudgets]) -> PodView {
        let t = self.cluster.task(task);
        let (pod, w) = (&self.kube().pods[task.index()], &self.kube().workloads[t.service.index()]);
        PodView {
            started: t.times.started,
            owner: match w.plan.kind {
                WorkloadKind::DaemonSet => Owner::DaemonSet,
                WorkloadKind::StatefulSet => Owner::StatefulSet,
                WorkloadKind::Deployment => Owner::ReplicaSet,
            },
            phase: match (t.status, t.stop_code) {
                (s, _) if s >= TaskStatus::Deprovisioning => PodPhase::Finished,
                (_, Some(_)) => PodPhase::Terminating { deadline: pod.kill_at.unwrap_or(self.queue.now()) },
                _ => PodPhase::Active,
            },
            do_not_disrupt: w.plan.do_not_disrupt.then_some(DoNotDisrupt::Always),
            budgets: budgets[t.service.index()],
            grace_period: SimDuration::from_secs(u64::from(w.plan.termination_grace_period_seconds)),
            ..PodView::new(u64::from(task.0), pod.shape.0 as usize, t.times.requested)
        }
    }

    fn pod_budgets(&self, service: ServiceId) -> PodBudgets {
        let Some(status) = self.budget_of(service) else { return PodBudgets::default() };
        let never = match self.kube().workloads[service.index()].budget.spec.map(|s| s.demand) {
            Some(Demand::MaxUnavailable(Field::Int(0) | Field::Percent(0))) => true,
            Some(Demand::MinAvailable(Field::Percent(p))) => p >= 100,
            _ => false,
        };
        PodBudgets { count: 1, blocked: status.disruptions_allowed <= 0, never }
    }

    pub(super) fn pods_for_karpenter(&self) -> Vec<PendingPod> {
        self.pending_pods()
            .into_iter()
            .filter(|p| p.nominated.is_none())
            .filter_map(|p| {
                let shape = match given_of(p.pod) {
                    Some(row) => self.kube().given.as_ref()?.kind(row)?.shape,
                    None => self.shape_of(task_of(p.pod)?),
                };
                let shape = shape.0 as usize;
                Some(PendingPod { uid: p.pod.0, shape, created: p.created })
            })
            .collect()
    }
}
