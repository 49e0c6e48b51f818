//! Progressive delivery at work: who brings a new revision in, and what Argo and Flagger have in common here.

use std::collections::VecDeque;

use super::Kube;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::deployment::{DeploymentStatus, SetId, Template};
use crate::kubernetes::progressive::flagger::{CanarySpec, CanaryStatus};
use crate::kubernetes::progressive::rollout::{Command, RolloutSpec, RolloutStatus};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::{KubernetesService, Rollout};
use crate::simulation::Simulation;
use crate::traffic::{OWN_GROUPS, SIDES, SideTotals};
use crate::units::{ServerId, ServiceId, TaskId};

/// Set in the template of a ReplicaSet that belongs to the target of a Canary of Flagger: its pods have the revision of
/// the rest, beside pods of the primary that may have the same one.
pub(super) const TARGET: u32 = 1 << 31;

/// What only progressive delivery remembers of a workload.
pub(in crate::simulation) struct Progressive<'p> {
    pub(super) plan: &'p Rollout,
    pub(super) by: By,
    /// What both sides answered between the collections of figures, oldest first, and how many are kept.
    pub(super) figures: VecDeque<[SideTotals; SIDES]>,
    pub(super) keep: usize,
    /// By revision, the side that its pods are on.
    pub(super) sides: Vec<u8>,
    /// What was said last of what it waits for.
    pub(super) said: String,
}

/// Who it is.
pub(super) enum By {
    /// Argo Rollouts.
    Argo {
        /// Its specification, but for replicas and template.
        spec: Box<RolloutSpec>,
        status: Box<RolloutStatus>,
        /// What somebody has asked for.
        command: Option<Command>,
    },
    /// Flagger.
    Flagger {
        spec: Box<CanarySpec>,
        status: CanaryStatus,
        /// The Deployment of the target.
        target: DeploymentStatus,
    },
}

/// Whether the traffic of a workload is shifted between two sets of pods.
pub(in crate::simulation) fn shifts_traffic(k: &KubernetesService) -> bool {
    match &k.rollout {
        None => false,
        Some(Rollout::ArgoCanary(c)) => c.traffic_routing.is_some(),
        Some(Rollout::ArgoBlueGreen(_) | Rollout::Flagger(_)) => true,
    }
}

impl<'p> Progressive<'p> {
    pub(super) fn new(k: &'p KubernetesService) -> Option<Self> {
        let plan = k.rollout.as_ref()?;
        let by = match plan {
            Rollout::ArgoCanary(_) | Rollout::ArgoBlueGreen(_) => super::rollout::argo(plan, k),
            Rollout::Flagger(f) => super::flagger::flagger(f, k),
        };
        let keep = super::measure::collections(plan);
        Some(Self { plan, by, figures: VecDeque::new(), keep, sides: vec![0], said: String::new() })
    }

    /// The revision that serves while another one comes.
    pub(super) fn stable(&self) -> Option<u32> {
        match &self.by {
            By::Argo { status, .. } => status.stable.map(|t| t.0),
            By::Flagger { status, .. } => status.primary.map(|t| t.0),
        }
    }
}

impl Kube<'_> {
    /// The target group of a pod that Flagger keeps: 0 for the primary, 1 for the canary.
    pub(in crate::simulation) fn group_of(&self, task: TaskId, service: ServiceId) -> Option<u8> {
        let rollout = self.workloads[service.index()].rollout.as_ref()?;
        matches!(rollout.by, By::Flagger { .. }).then(|| u8::from(self.pods[task.index()].of_target))
    }

    /// The weights of primary and canary.
    pub(in crate::simulation) fn flagger_weights(&self, service: ServiceId) -> Option<[f64; OWN_GROUPS]> {
        match &self.workloads[service.index()].rollout.as_ref()?.by {
            By::Flagger { status, .. } => Some([f64::from(100 - status.weight), f64::from(status.weight)]),
            By::Argo { .. } => None,
        }
    }
}

impl Simulation<'_> {
    /// The template of a pod's ReplicaSet.
    pub(super) fn template_of(&self, task: TaskId) -> Template {
        let target = if self.kube().pods[task.index()].of_target { TARGET } else { 0 };
        Template(self.cluster.task(task).revision | target)
    }

    /// Time zero: the answers of both sides are told apart wherever somebody may ask.
    pub(super) fn start_rollouts(&mut self) {
        for index in 0..self.services.len() {
            if self.kube().workloads[index].rollout.is_some() {
                self.data.watch_sides(ServiceId::from(index));
            }
        }
    }

    /// A new server of a pod: on which side it is.
    pub(in crate::simulation) fn tell_side(&mut self, task: TaskId, server: ServerId) {
        let t = self.cluster.task(task);
        let (service, revision) = (t.service, t.revision);
        let kube = self.kube();
        let Some(rollout) = &kube.workloads[service.index()].rollout else { return };
        let side = match rollout.by {
            By::Flagger { .. } => u8::from(kube.pods[task.index()].of_target),
            By::Argo { .. } => rollout.sides.get(revision as usize).copied().unwrap_or(0),
        };
        self.data.set_side(server, side);
    }

    /// One look of the controllers that deliver progressively.
    pub(super) fn sync_progressive(&mut self, service: ServiceId) {
        let revision = self.cluster.service(service).primary().map_or(0, |d| d.revision);
        let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout else { return };
        let stable = rollout.stable().and_then(|r| rollout.sides.get(r as usize).copied()).unwrap_or(0);
        while rollout.sides.len() <= revision as usize {
            rollout.sides.push(1 - stable);
        }
        match rollout.by {
            By::Argo { .. } => self.sync_argo(service, revision),
            By::Flagger { .. } => self.sync_flagger(service, revision),
        }
    }

    /// Somebody stops a rollout: Argo aborts it; else it is undone.
    pub(in crate::simulation) fn stop_rollout(&mut self, service: ServiceId) -> String {
        let deploying = self.cluster.service(service).deploying();
        if let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout
            && let By::Argo { command, .. } = &mut rollout.by
            && deploying
        {
            *command = Some(Command::Abort);
            self.wake_scheduler(service);
            return "kubectl argo rollouts abort: the stable revision comes back".to_string();
        }
        self.undo_rollout(service)
    }

    /// Somebody promotes a rollout of Argo.
    pub(in crate::simulation) fn promote_rollout(&mut self, service: ServiceId, full: bool) -> &'static str {
        let deploying = self.cluster.service(service).deploying();
        let rollout = self.kube.as_mut().and_then(|k| k.workloads[service.index()].rollout.as_mut());
        match rollout.map(|r| &mut r.by) {
            Some(By::Argo { command, .. }) if deploying => {
                *command = Some(if full { Command::PromoteFull } else { Command::Promote });
                self.wake_scheduler(service);
                if full { "the rollout is promoted, without further steps" } else { "the rollout is promoted" }
            }
            _ => "no rollout is in progress that could be promoted",
        }
    }

    /// Gives a ReplicaSet its size.
    pub(super) fn size_set(&mut self, service: ServiceId, set: SetId, replicas: i32) {
        let sets = &mut self.kube_mut().workloads[service.index()].sets;
        if let Some(set) = sets.iter_mut().find(|s| s.id == set) {
            set.replicas = replicas;
        }
    }

    /// Says at the door how production traffic is shared, in percent by revision.
    pub(super) fn share_traffic(&mut self, service: ServiceId, percents: &[(u32, i32)]) {
        let mut shares: Vec<(u32, u32)> = Vec::new();
        for &(revision, percent) in percents {
            let tenths = u32::try_from(percent).unwrap_or(0) * 10;
            match shares.iter_mut().find(|(r, _)| *r == revision) {
                Some((_, share)) => *share += tenths,
                None => shares.push((revision, tenths)),
            }
        }
        shares.retain(|(_, tenths)| *tenths > 0);
        if self.cluster.service(service).traffic != shares {
            self.apply(crate::cluster::Command::SetTraffic { service, shares });
        }
    }

    /// Writes a step of progressive delivery down.
    pub(super) fn record_delivery(&mut self, service: ServiceId, by: &'static str, reason: &'static str, text: String) {
        let name = self.services[service.index()].name;
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: by.into(),
            subject: format!("services.{name}").into(),
            service: name.into(),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let sets = self.observe_sets(service);
        let observation = match self.recorder.sink.writes() {
            true => serde_json::json!({ "sets": format!("{sets:?}") }),
            false => serde_json::Value::Null,
        };
        self.recorder.decision(&row, &DecisionDetail { observation, memory: serde_json::Value::Null });
    }

    /// Looks again at that instant.
    pub(super) fn look_again(&mut self, service: ServiceId, at: Option<SimTime>) {
        let now = self.queue.now();
        if let Some(at) = at.filter(|at| *at > now) {
            let timer = super::super::Timer::Scheduler(service);
            self.schedule_timer_if_due(timer, at, crate::kernel::Phase::Decision);
        }
    }

    /// A rollout has ended badly: the revision before has all traffic again.
    pub(super) fn end_rolled_back(&mut self, service: ServiceId, why: String) {
        self.end_deployment(service, crate::cluster::DeploymentOutcome::Failed(why));
        if let Some(d) = self.services[service.index()].deployments.last_mut() {
            d.rolled_back = true;
        }
        self.deployment_row(service, "rolled_back", "");
    }
}

/// A number of seconds; 0 is for ever.
pub(super) const fn seconds_or_never(seconds: u32) -> Option<SimDuration> {
    if seconds == 0 { None } else { Some(SimDuration::from_secs(seconds as u64)) }
}
