//! `kubectl rollout undo`, and what is said of a rollout that stands still.

use super::super::Simulation;
use super::progressive::{Progressive, TARGET};
use crate::cluster::DeploymentOutcome;
use crate::kubernetes::deployment;
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::model::WorkloadKind;
use crate::units::ServiceId;

impl Simulation<'_> {
    /// Somebody rolls a workload back to the revision before; says what became of it. A rollout that is in
    /// progress ends so; one that is done is undone as well, as `kubectl` does.
    pub(in crate::simulation) fn undo_rollout(&mut self, service: ServiceId) -> String {
        let state = self.cluster.service(service);
        let Some((id, revision)) = state.primary().map(|d| (d.id, d.revision)) else {
            return "there is nothing to roll back".to_string();
        };
        let under_way = state.deploying();
        let w = &self.kube().workloads[service.index()];
        let back = if w.plan.kind == WorkloadKind::Deployment {
            let spec = w.spec(state.desired, revision);
            let stable = w.rollout.as_ref().and_then(Progressive::stable).filter(|stable| *stable != revision);
            let mut sets = self.observe_sets(service);
            sets.retain(|s| s.template.0 & TARGET == 0);
            match (stable, deployment::undo(&spec, &sets, None)) {
                (Some(stable), _) => stable,
                (None, Ok(template)) => template.0,
                (None, Err(why)) => return why.to_string(),
            }
        } else {
            match w.history.iter().rev().find(|r| **r != revision) {
                Some(before) => *before,
                None => return "no rollout history found".to_string(),
            }
        };
        let text = format!("kubectl rollout undo: revision {} comes back", back + 1);
        if under_way {
            let reason = match self.services[service.index()].deployments.last().and_then(|d| d.stalled.clone()) {
                Some(stalled) => format!("kubectl rollout undo ({stalled})"),
                None => "kubectl rollout undo".to_string(),
            };
            self.end_deployment(service, DeploymentOutcome::Failed(reason));
            self.roll_back(service, id, back);
        } else {
            self.create_deployment(service, back, None);
        }
        text
    }

    /// A rollout has stood still for longer than its deadline, or goes on again.
    pub(super) fn note_stalled(&mut self, service: ServiceId, why: Option<String>) {
        let now = self.queue.now();
        let Some(d) = self.services[service.index()].deployments.last_mut() else { return };
        let news = why.is_some() && d.stalled.is_none();
        d.stalled.clone_from(&why);
        let Some(why) = why.filter(|_| news) else { return };
        self.deployment_row(service, "stalled", &why);
        let name = self.services[service.index()].name;
        let row = DecisionRow {
            time_s: now.into(),
            controller: "deployment".into(),
            subject: format!("services.{name}").into(),
            service: name.into(),
            reason: "ProgressDeadlineExceeded".into(),
            explanation: why.into(),
            ..DecisionRow::default()
        };
        let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
        self.recorder.decision(&row, &detail);
    }
}
