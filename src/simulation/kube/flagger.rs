//! Canaries of Flagger at work: a primary that serves, and a target that gets the new revision first.

use super::super::Simulation;
use super::progressive::{By, TARGET};
use crate::cluster::DeploymentOutcome;
use crate::kernel::SimDuration;
use crate::kubernetes::deployment::{self, DeploymentSpec, DeploymentStatus, ReplicaSet, Template};
use crate::kubernetes::progressive::flagger::{
    self, CanaryAction, CanaryPhase, CanarySpec, CanaryStatus, MetricCheck, Observation, Workload,
};
use crate::scenario::model::{FlaggerCanary, FlaggerProvider, KubernetesService};
use crate::units::ServiceId;

fn percent(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A Canary whose primary has the first revision.
pub(super) fn flagger(f: &FlaggerCanary, k: &KubernetesService) -> By {
    let first = Some(Template(0));
    let spec = CanarySpec {
        interval: f.interval,
        threshold: f.threshold,
        max_weight: percent(f.max_weight),
        step_weight: if f.step_weights.is_empty() { percent(f.step_weight) } else { 0 },
        step_weights: f.step_weights.iter().map(|w| percent(*w)).collect(),
        step_weight_promotion: percent(f.step_weight_promotion),
        iterations: f.iterations,
        metrics: f
            .metrics
            .iter()
            .map(|m| MetricCheck { name: m.name.as_str().to_owned(), min: m.min, max: m.max })
            .collect(),
        traffic_routing: f.provider != FlaggerProvider::Kubernetes,
        progress_deadline: SimDuration::from_secs(u64::from(k.progress_deadline_seconds)),
        skip_analysis: f.skip_analysis,
        ..CanarySpec::new(Template(0))
    };
    let status =
        CanaryStatus { phase: CanaryPhase::Initialized, primary: first, seen: first, ..CanaryStatus::default() };
    By::Flagger { spec: Box::new(spec), status, target: DeploymentStatus::default() }
}

/// The counts of one of both workloads.
fn counts(sets: &[ReplicaSet], template: Template, replicas: i32) -> Workload {
    let sum = |of: fn(&ReplicaSet) -> i32| sets.iter().map(of).sum::<i32>();
    Workload {
        replicas,
        updated: sets.iter().filter(|s| s.template == template).map(|s| s.current).sum(),
        available: sum(|s| s.available),
        current: sum(|s| s.current),
    }
}

impl Simulation<'_> {
    /// One look at a Canary and its two Deployments.
    pub(super) fn sync_flagger(&mut self, service: ServiceId, revision: u32) {
        let now = self.queue.now();
        let desired = i32::try_from(self.cluster.service(service).desired).unwrap_or(i32::MAX);
        let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout else { return };
        let By::Flagger { spec, status, .. } = &mut rollout.by else { return };
        spec.template = Template(revision);
        let (spec, before) = (spec.clone(), status.clone());
        let (primary, target) = self.two_workloads(service);
        let serving =
            matches!(before.phase, CanaryPhase::Progressing | CanaryPhase::Promoting | CanaryPhase::Finalising);
        let measure = |m: &MetricCheck| self.measure_canary(service, &m.name);
        let see = Observation {
            primary: counts(&primary, before.primary.unwrap_or(Template(0)), desired),
            canary: counts(&target, Template(revision | TARGET), if serving { desired } else { 0 }),
            replicas: desired,
            measure: &measure,
            now,
        };
        let decision = flagger::advance(&spec, &before, &see);
        if let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout
            && let By::Flagger { status, .. } = &mut rollout.by
        {
            *status = decision.status.clone();
        }
        // The traffic goes before the pods do.
        let template = decision.primary_template.0;
        let weight = decision.canary_weight;
        self.share_traffic(service, &[(template, 100 - weight), (revision, weight)]);
        self.on_traffic(service);
        self.run_two(service, (decision.primary_template, decision.primary_replicas), false);
        self.run_two(service, (Template(revision | TARGET), decision.canary_replicas), true);
        self.look_again(service, Some(decision.next_check));
        // While somebody changes the target anew, what ends is the delivery of the template before.
        let ends = match decision.action {
            CanaryAction::Succeeded => decision.primary_template == Template(revision),
            CanaryAction::RolledBack { .. } => decision.status.seen == Some(Template(revision)),
            _ => false,
        };
        self.say_flagger(service, &decision.action, revision, ends);
    }

    /// The sets of the primary and those of the target.
    fn two_workloads(&self, service: ServiceId) -> (Vec<ReplicaSet>, Vec<ReplicaSet>) {
        self.observe_sets(service).into_iter().partition(|s| s.template.0 & TARGET == 0)
    }

    /// The controller of one of both Deployments.
    fn run_two(&mut self, service: ServiceId, (template, replicas): (Template, i32), of_target: bool) {
        let now = self.queue.now();
        for _ in 0..64 {
            let desired = self.cluster.service(service).desired;
            let w = &self.kube().workloads[service.index()];
            let spec = DeploymentSpec { template, replicas, ..w.spec(desired, template.0) };
            let (primary, target) = self.two_workloads(service);
            let sets = if of_target { target } else { primary };
            let before = self.status_of(service, of_target).clone();
            if of_target && replicas == 0 && sets.iter().all(|s| s.replicas == 0) {
                return;
            }
            let result = deployment::sync(&spec, &before, &sets, now);
            *self.status_of(service, of_target) = result.status.clone();
            self.apply_sets(service, &result);
            if !result.changes() {
                return;
            }
        }
    }

    fn status_of(&mut self, service: ServiceId, of_target: bool) -> &mut DeploymentStatus {
        let w = &mut self.kube_mut().workloads[service.index()];
        match &mut w.rollout {
            Some(rollout) if of_target => match &mut rollout.by {
                By::Flagger { target, .. } => target,
                By::Argo { .. } => &mut w.status,
            },
            _ => &mut w.status,
        }
    }

    fn say_flagger(&mut self, service: ServiceId, action: &CanaryAction, revision: u32, ends: bool) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        let number = revision + 1;
        let news: Option<(&'static str, String)> = match action {
            CanaryAction::ScaledUp | CanaryAction::Restarted => {
                Some(("scale", format!("the canary gets pods of revision {number}")))
            }
            CanaryAction::Advanced { weight } => {
                Some(("traffic_shift", format!("{weight} % of the traffic to the canary")))
            }
            CanaryAction::Iterated { done } => Some(("iteration", format!("check {done} passed"))),
            CanaryAction::CheckFailed { metric, value, failed } => {
                let value = value.map_or("no value".to_string(), |v| format!("{v:.2}"));
                Some(("check_failed", format!("{metric}: {value}; {failed} failed checks so far")))
            }
            CanaryAction::Promoting => Some(("promoting", format!("the primary gets revision {number}"))),
            CanaryAction::PromotionShift { primary } => {
                Some(("traffic_shift", format!("{primary} % of the traffic to the primary")))
            }
            CanaryAction::Succeeded => Some(("promoted", format!("revision {number} is the primary's"))),
            CanaryAction::RolledBack { deadline: true } => {
                Some(("aborted", "the canary's pods were not ready in time".to_string()))
            }
            CanaryAction::RolledBack { deadline: false } => Some(("aborted", "too many checks failed".to_string())),
            CanaryAction::NotDue | CanaryAction::Initialised | CanaryAction::Idle | CanaryAction::WaitsForPods => None,
        };
        if let Some((reason, text)) = news {
            let last = text.clone();
            self.record_delivery(service, "flagger", reason, text);
            if reason != "scale" {
                self.deployment_row(service, reason, "");
            }
            if let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout
                && reason == "check_failed"
            {
                rollout.said = last;
            }
        }
        match action {
            CanaryAction::Succeeded if ends => self.end_deployment(service, DeploymentOutcome::Completed),
            CanaryAction::RolledBack { deadline } if ends => {
                let said = self.kube().workloads[service.index()].rollout.as_ref().map_or("", |r| &r.said);
                let why = match deadline {
                    true => "the canary's pods were not ready in time".to_string(),
                    false => format!("too many checks failed, the last one {said}"),
                };
                self.end_rolled_back(service, why);
            }
            _ => {
                let why = self.why_not_available(service, revision);
                let waits = match (action, why.as_str()) {
                    (CanaryAction::WaitsForPods, "") => "pods to become ready".to_string(),
                    (_, "") => "the next check".to_string(),
                    _ => format!("pods to become ready ({why})"),
                };
                self.deployment_row(service, "progress", &waits);
            }
        }
    }
}
