//! Kubernetes at work: its controllers look at pods and nodes, and what they decide is carried through the
//! door. A pod is a task of the cluster, a Deployment a service, a ReplicaSet one of its revisions.

mod autoscaler;
mod backoff;
mod daemons;
mod endpoints;
mod evict;
mod flagger;
mod given;
mod given_nodes;
mod given_rows;
mod hpa;
mod jobs;
pub(super) mod karpenter;
mod keda;
mod locality;
mod measure;
mod node_group;
mod nodes;
mod pods;
pub(super) mod probes;
mod progressive;
mod quota;
mod rollout;
mod schedule;
mod shapes;
mod silence;
mod stateful;
mod undo;
mod volumes;
mod vpa;
mod vpa_updater;
mod workloads;

use super::{RunError, Simulation};
use crate::kernel::{SimTime, Streams};
use crate::kubernetes::object::PodSpec;
use crate::kubernetes::scheduler::ScoringStrategy as Fit;
use crate::kubernetes::scheduler::{NodeId as Seat, Profile, QueueSpec, Scheduler, SchedulingQueue, ShapeId};
use crate::scenario::model::{Capacity, Eks, Inputs, Orchestrator, Plan, ScoringStrategy, WorkloadKind};
use crate::units::{CapacityId, NodeId, ServiceId, TaskId};
pub(super) use evict::DRAIN_TIMEOUT;
pub(super) use given_nodes::types_of_state;
pub(super) use jobs::Jobs;
pub(super) use pods::Pod;
pub(super) use progressive::shifts_traffic;
use workloads::Workload;
pub(super) use workloads::bounds;

/// The Kubernetes control plane of a run.
pub(super) struct Kube<'p> {
    pub(super) settings: &'p Eks,
    /// Nodes and pods as the scheduler caches them.
    pub(super) scheduler: Scheduler,
    /// Pods that wait to be looked at.
    pub(super) queue: SchedulingQueue,
    /// By task.
    pub(super) pods: Vec<Pod>,
    /// By service.
    pub(in crate::simulation) workloads: Vec<Workload<'p>>,
    /// By node, its place in the scheduler's cache while it is there.
    pub(super) seats: Vec<Option<Seat>>,
    /// By place in the cache, the node.
    pub(super) nodes_of_seats: Vec<Option<NodeId>>,
    /// What the system pods of a node request.
    pub(super) system: ShapeId,
    /// By shape of the scheduler, what its pods ask for, as Karpenter wants to be told.
    pub(super) shapes: Vec<PodSpec>,
    /// Root of the draws of the scheduler's ties.
    pub(super) ties: u64,
    /// How many pods have been looked at.
    pub(super) attempts: u64,
    /// Until when the scheduler is at work on the last pod.
    pub(super) busy_until: SimTime,
    /// Until when the Fargate scheduler is at work on the pods it has.
    pub(super) fargate_busy_until: SimTime,
    /// The Cluster Autoscaler, if one is installed.
    pub(super) autoscaler: Option<autoscaler::Autoscaler>,
    /// Karpenter, where a NodePool is there.
    pub(super) karpenter: Option<karpenter::Karpenter>,
    /// Updates of node groups, in the order in which they began.
    pub(super) updates: Vec<node_group::GroupUpdate>,
    /// Root of the draws of which old node is next.
    pub(super) update_draws: u64,
    /// Who watches over nodes that fall silent.
    pub(super) node_controller: silence::NodeController,
    /// Nodes that are being drained.
    pub(super) drains: Vec<nodes::Drain>,
    /// Evictions of a node that were refused at the last look.
    pub(super) refusals: indexmap::IndexMap<NodeId, u32>,
    /// By namespace.
    pub(super) quotas: Vec<(&'p str, crate::kubernetes::quota::Quota)>,
    /// Nodes and pods of files.
    pub(super) given: Option<given::Given>,
    /// CPU totals of pods are sampled for somebody.
    pub(super) measured: bool,
}

impl<'p> Kube<'p> {
    /// Whether proxies and balancers still take a pod for an endpoint.
    pub(super) fn is_endpoint_still(&self, task: TaskId) -> bool {
        self.pods[task.index()].endpoint
    }

    /// How often the containers of a pod were started again.
    pub(super) fn restarts_of(&self, task: TaskId) -> u64 {
        u64::from(self.pods[task.index()].restarts)
    }

    /// The control plane of a plan; `None` under ECS.
    pub(super) fn new(plan: &'p Plan, inputs: &Inputs, streams: &Streams) -> Result<Option<Self>, RunError> {
        if plan.cluster.orchestrator != Orchestrator::Eks {
            return Ok(None);
        }
        let settings = &plan.cluster.eks;
        let scoring = match settings.scheduler.scoring_strategy {
            ScoringStrategy::LeastAllocated => Fit::LeastAllocated,
            ScoringStrategy::MostAllocated => Fit::MostAllocated,
        };
        let profile = Profile {
            percentage_of_nodes_to_score: i64::from(settings.scheduler.percentage_of_nodes_to_score),
            scoring,
            scoring_resources: settings
                .scheduler
                .resources
                .iter()
                .map(|r| (r.name.clone(), i64::from(r.weight)))
                .collect(),
            ..Profile::default()
        };
        let mut scheduler = Scheduler::new(profile);
        let system = shapes::system_pods(settings, scheduler.symbols_mut());
        let system = scheduler.add_shape(system);
        let mut workloads = Vec::new();
        for (index, (name, service)) in plan.services.iter().enumerate() {
            let spec = shapes::pod_of(plan, name, service, scheduler.symbols_mut());
            let priority = spec.priority;
            let shape = scheduler.add_shape(spec);
            let selector = shapes::app_selector(name, scheduler.symbols_mut());
            let seen = (shape, selector, priority);
            workloads.push(Workload::new(plan, ServiceId::from(index), name, service, seen, streams));
        }
        let given = given::Given::new(inputs.state.as_ref(), &mut scheduler, streams);
        let daemons: Vec<ShapeId> =
            workloads.iter().filter(|w| w.plan.kind == WorkloadKind::DaemonSet).map(|w| w.shape).collect();
        let karpenter = karpenter::Karpenter::new(plan, &mut scheduler, &daemons, system);
        let measured = workloads.iter().any(|w| w.hpa.is_some() || w.vpa.is_some());
        let mut kube = Self {
            settings,
            scheduler,
            queue: SchedulingQueue::new(QueueSpec::default()),
            pods: Vec::new(),
            workloads,
            seats: Vec::new(),
            nodes_of_seats: Vec::new(),
            system,
            shapes: Vec::new(),
            ties: streams.root("kube-scheduler"),
            attempts: 0,
            busy_until: SimTime::ZERO,
            fargate_busy_until: SimTime::ZERO,
            autoscaler: autoscaler::Autoscaler::new(plan, streams),
            karpenter,
            node_controller: silence::NodeController::new(settings, plan.cluster.zones),
            updates: Vec::new(),
            update_draws: streams.root("node-group-updates"),
            drains: Vec::new(),
            refusals: indexmap::IndexMap::new(),
            quotas: quota::quotas(settings),
            given,
            measured,
        };
        kube.list_shapes();
        kube.note_watched();
        Ok(Some(kube))
    }

    /// The shape of pods that ask for this, made if it is new.
    pub(super) fn add_shape(&mut self, spec: PodSpec) -> ShapeId {
        let shape = self.scheduler.add_shape(spec);
        self.list_shapes();
        shape
    }

    fn list_shapes(&mut self) {
        for at in self.shapes.len()..self.scheduler.shape_count() {
            self.shapes.extend(self.scheduler.shape(ShapeId(at as u32)).cloned());
        }
    }
}

impl<'p> Simulation<'p> {
    /// Whether Kubernetes runs the services.
    pub(super) fn is_kube(&self) -> bool {
        self.kube.is_some()
    }

    /// The Kubernetes control plane. Only where [`Simulation::is_kube`].
    pub(super) fn kube(&self) -> &Kube<'p> {
        self.kube.as_ref().expect("only called under Kubernetes")
    }

    /// The same, to change it.
    pub(super) fn kube_mut(&mut self) -> &mut Kube<'p> {
        self.kube.as_mut().expect("only called under Kubernetes")
    }

    /// Time zero under Kubernetes: pods that have run for long, autoscalers, periodic work.
    pub(super) fn start_kube(&mut self) -> Result<(), RunError> {
        self.start_karpenter();
        self.start_given_nodes()?;
        self.start_given_pods()?;
        let mut waiting = Vec::new();
        for index in 0..self.services.len() {
            waiting.extend(self.start_pods(ServiceId::from(index))?);
        }
        if !waiting.is_empty() && !self.nodes_are_given() {
            self.provision_at_start(&waiting);
        }
        for task in waiting {
            self.start_pod(task);
        }
        self.wake_daemon_sets();
        self.start_rollouts();
        self.start_autoscalers();
        self.start_scaled_objects();
        self.start_recommenders();
        self.start_cluster_autoscaler();
        Ok(())
    }

    /// The capacities that launch nodes, in the order of the plan.
    pub(super) fn node_capacities(&self) -> Vec<CapacityId> {
        let has_nodes = |c: &&super::CapacityRuntime<'_>| {
            matches!(c.plan, Capacity::NodeGroup(_) | Capacity::NodePool(_) | Capacity::SelfManaged(_))
        };
        (0..self.capacities.len()).filter(|i| has_nodes(&&self.capacities[*i])).map(CapacityId::from).collect()
    }
}
