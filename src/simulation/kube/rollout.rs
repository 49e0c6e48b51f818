//! Rollouts of Argo at work: two sets of pods, their traffic, and what ends them.

use super::super::Simulation;
use super::progressive::{By, Progressive, seconds_or_never};
use super::workloads::{bounds, of};
use crate::cluster::DeploymentOutcome;
use crate::kernel::SimDuration;
use crate::kubernetes::deployment::Template;
use crate::kubernetes::progressive::analysis::{Comparison, Condition, Metric};
use crate::kubernetes::progressive::rollout::{
    self, AbortReason, BackgroundAnalysis, BlueGreen, Canary, CanaryScale, CanaryStep, Observation, PauseReason,
    RolloutPhase, RolloutSpec, RolloutStatus, RolloutStep, RolloutStrategy, RolloutSync,
};
use crate::scenario::model::{
    AnalysisTemplate, ArgoCanaryScale, ArgoStep, Comparator, KubernetesService, ResultCondition, Rollout,
};
use crate::units::ServiceId;

type Templates = indexmap::IndexMap<String, AnalysisTemplate>;

/// Most passes at one instant: each completes something, and a rollout has few parts.
const PASSES: usize = 400;

fn pods(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn condition(c: ResultCondition) -> Condition {
    let comparison = match c.comparator {
        Comparator::Less => Comparison::Less,
        Comparator::AtMost => Comparison::AtMost,
        Comparator::Greater => Comparison::Greater,
        Comparator::AtLeast => Comparison::AtLeast,
        Comparator::Equal => Comparison::Equal,
        Comparator::NotEqual => Comparison::NotEqual,
    };
    Condition { comparison, value: c.value }
}

fn metrics(names: &[String], templates: &Templates) -> Vec<Metric> {
    let metric = |name: &String| {
        let t = templates.get(name)?;
        Some(Metric {
            interval: t.interval,
            initial_delay: t.initial_delay,
            count: t.count,
            success_condition: t.success_condition.map(condition),
            failure_condition: t.failure_condition.map(condition),
            failure_limit: t.failure_limit,
            inconclusive_limit: t.inconclusive_limit,
            consecutive_error_limit: t.consecutive_error_limit,
            ..Metric::new(name.as_str())
        })
    };
    names.iter().filter_map(metric).collect()
}

fn step(s: &ArgoStep, templates: &Templates) -> CanaryStep {
    if let Some(weight) = s.set_weight {
        CanaryStep::SetWeight(pods(weight))
    } else if let Some(pause) = &s.pause {
        CanaryStep::Pause(pause.duration)
    } else if let Some(scale) = &s.set_canary_scale {
        CanaryStep::SetCanaryScale(match scale {
            ArgoCanaryScale { replicas: Some(n), .. } => CanaryScale::Replicas(pods(*n)),
            ArgoCanaryScale { weight: Some(w), .. } => CanaryScale::Weight(pods(*w)),
            _ => CanaryScale::MatchTrafficWeight,
        })
    } else {
        CanaryStep::Analysis(metrics(&s.analysis, templates))
    }
}

/// A Rollout whose first revision is stable.
pub(super) fn argo(plan: &Rollout, k: &KubernetesService) -> By {
    let seconds = |s: u32| SimDuration::from_secs(u64::from(s));
    let (strategy, steps, progress_deadline_abort) = match plan {
        Rollout::ArgoCanary(c) => {
            let canary = Canary {
                steps: c.steps.iter().map(|s| step(s, &c.analysis_templates)).collect(),
                max_surge: of(c.max_surge),
                max_unavailable: of(c.max_unavailable),
                traffic_routing: c.traffic_routing.is_some(),
                dynamic_stable_scale: c.dynamic_stable_scale,
                min_pods_per_replica_set: c.min_pods_per_replica_set.map(pods),
                scale_down_delay: seconds(c.scale_down_delay_seconds),
                abort_scale_down_delay: seconds_or_never(c.abort_scale_down_delay_seconds),
                analysis: c.analysis.as_ref().map(|a| BackgroundAnalysis {
                    metrics: metrics(&a.templates, &c.analysis_templates),
                    starting_step: a.starting_step as usize,
                }),
            };
            (RolloutStrategy::Canary(canary), c.steps.len(), c.progress_deadline_abort)
        }
        Rollout::ArgoBlueGreen(b) => {
            let analysis = |names: &[String]| (!names.is_empty()).then(|| metrics(names, &b.analysis_templates));
            let blue_green = BlueGreen {
                preview_replica_count: b.preview_replica_count.map(pods),
                auto_promotion_enabled: b.auto_promotion_enabled,
                auto_promotion: (b.auto_promotion_seconds > 0).then(|| seconds(b.auto_promotion_seconds)),
                scale_down_delay: seconds(b.scale_down_delay_seconds),
                abort_scale_down_delay: seconds_or_never(b.abort_scale_down_delay_seconds),
                pre_promotion_analysis: analysis(&b.pre_promotion_analysis),
                post_promotion_analysis: analysis(&b.post_promotion_analysis),
            };
            (RolloutStrategy::BlueGreen(blue_green), 0, b.progress_deadline_abort)
        }
        Rollout::Flagger(_) => (RolloutStrategy::BlueGreen(BlueGreen::default()), 0, false),
    };
    let first = Some(Template(0));
    let spec = RolloutSpec {
        progress_deadline: seconds(k.progress_deadline_seconds),
        progress_deadline_abort,
        ..RolloutSpec::new(Template(0), strategy)
    };
    let status = RolloutStatus { stable: first, current: first, active: first, step: steps, ..Default::default() };
    By::Argo { spec: Box::new(spec), status: Box::new(status), command: None }
}

fn abort_text(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Command => "aborted by hand".to_string(),
        AbortReason::Analysis { metric, value: Some(value) } => {
            format!("analysis `{metric}` failed: it measured {value:.4}")
        }
        AbortReason::Analysis { metric, value: None } => format!("analysis `{metric}` had no values"),
        AbortReason::ProgressDeadline => "ProgressDeadlineExceeded".to_string(),
    }
}

impl Progressive<'_> {
    fn step_text(&self, at: usize) -> String {
        let Rollout::ArgoCanary(c) = self.plan else { return "preview".to_string() };
        let what = c.steps.get(at).map_or(String::new(), |s| match s {
            ArgoStep { set_weight: Some(w), .. } => format!(": set_weight {w}"),
            ArgoStep { pause: Some(_), .. } => ": pause".to_string(),
            ArgoStep { set_canary_scale: Some(_), .. } => ": set_canary_scale".to_string(),
            s => format!(": analysis {}", s.analysis.join(", ")),
        });
        format!("step {} of {}{what}", at + 1, c.steps.len())
    }
}

impl Simulation<'_> {
    /// One look of Argo's controller at a Rollout.
    pub(super) fn sync_argo(&mut self, service: ServiceId, revision: u32) {
        let now = self.queue.now();
        for _ in 0..PASSES {
            let desired = self.cluster.service(service).desired;
            let bounds = bounds(self.kube().workloads[service.index()].plan, desired);
            self.cluster.run_pods(service, bounds);
            let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout else { return };
            let By::Argo { spec, status, command } = &mut rollout.by else { return };
            (spec.replicas, spec.template) = (pods(desired), Template(revision));
            let (spec, before, command) = (spec.clone(), status.clone(), command.take());
            let sets = self.observe_sets(service);
            let measure = |m: &Metric| self.measure(service, revision, &m.name);
            let see = Observation { sets: &sets, command, measure: &measure, now };
            let result = rollout::sync(&spec, &before, &see);
            let changed = result.changed(&before);
            if let Some(rollout) = &mut self.kube_mut().workloads[service.index()].rollout
                && let By::Argo { status, .. } = &mut rollout.by
            {
                **status = result.status.clone();
            }
            for size in &result.scales {
                self.size_set(service, size.set, size.replicas);
            }
            if let Some(new) = result.create {
                self.kube_mut().workloads[service.index()].add_set(new, now);
            }
            self.manage_sets(service);
            if !result.traffic.is_empty() {
                let traffic: Vec<(u32, i32)> = result.traffic.iter().map(|(t, w)| (t.0, *w)).collect();
                self.share_traffic(service, &traffic);
            }
            self.say_argo(service, &before, &result);
            if !changed {
                self.look_again(service, result.next_check);
                self.judge_argo(service, &result);
                return;
            }
        }
    }

    /// Writes down what a pass did, while a revision comes or goes.
    fn say_argo(&mut self, service: ServiceId, before: &RolloutStatus, result: &RolloutSync) {
        let deploying = self.cluster.service(service).deploying();
        let Some(rollout) = &self.kube().workloads[service.index()].rollout else { return };
        let weight = |revision: Template| result.traffic.iter().find(|(t, _)| *t == revision).map_or(0, |(_, w)| *w);
        let current = result.status.current.unwrap_or(Template(0));
        let news: Option<(&'static str, String)> = match &result.step {
            RolloutStep::TrafficMoved => {
                Some(("traffic_shift", format!("{} % of the traffic to revision {}", weight(current), current.0 + 1)))
            }
            RolloutStep::StepDone(at) => Some(("step_done", format!("{} is done", rollout.step_text(*at)))),
            RolloutStep::Promoted => Some(("promoted", format!("revision {} is the stable one", current.0 + 1))),
            RolloutStep::Aborted(reason) if before.abort.is_none() => {
                Some(("aborted", format!("{}: the stable revision comes back", abort_text(reason))))
            }
            RolloutStep::Paused(reason) if before.pause.is_none() => {
                let why = match reason {
                    PauseReason::CanaryPauseStep => rollout.step_text(result.status.step),
                    PauseReason::BlueGreenPause => "it waits to be promoted".to_string(),
                    PauseReason::InconclusiveAnalysis => "an analysis was inconclusive".to_string(),
                };
                Some(("paused", why))
            }
            RolloutStep::Scaled if deploying && !result.scales.is_empty() => {
                let sets = &self.kube().workloads[service.index()].sets;
                let size = |s: &rollout::SetSize| {
                    let template = sets.iter().find(|o| o.id == s.set).map_or(0, |o| o.template.0);
                    format!("revision {} gets {} pods", template + 1, s.replicas)
                };
                Some(("scale", result.scales.iter().map(size).collect::<Vec<_>>().join(", ")))
            }
            _ => None,
        };
        let Some((reason, text)) = news else { return };
        self.record_delivery(service, "rollout", reason, text);
        if deploying && reason != "scale" {
            self.deployment_row(service, reason, "");
        }
    }

    /// Says where the deployment is, and whether it has come to its end.
    fn judge_argo(&mut self, service: ServiceId, result: &RolloutSync) {
        if !self.cluster.service(service).deploying() {
            return;
        }
        let status = &result.status;
        if let Some(abort) = &status.abort {
            self.end_rolled_back(service, abort_text(&abort.reason));
            return;
        }
        if result.phase == RolloutPhase::Healthy {
            self.end_deployment(service, DeploymentOutcome::Completed);
            return;
        }
        let revision = self.cluster.service(service).primary().map_or(0, |d| d.revision);
        let Some(rollout) = &self.kube().workloads[service.index()].rollout else { return };
        let waits = match &result.step {
            RolloutStep::Paused(PauseReason::CanaryPauseStep) => rollout.step_text(status.step),
            RolloutStep::Paused(PauseReason::BlueGreenPause) => "its promotion".to_string(),
            RolloutStep::Paused(PauseReason::InconclusiveAnalysis) => {
                "a promotion after an inconclusive analysis".to_string()
            }
            RolloutStep::Analysing => match rollout.plan {
                Rollout::ArgoCanary(_) => rollout.step_text(status.step),
                _ => "the analysis".to_string(),
            },
            _ => {
                let why = self.why_not_available(service, revision);
                let why = if why.is_empty() { why } else { format!(" ({why})") };
                format!("new pods to become available{why}")
            }
        };
        let stalled = status.timed_out.then(|| format!("ProgressDeadlineExceeded: waits for {waits}"));
        self.note_stalled(service, stalled);
        let now = self.queue.now();
        self.services[service.index()].trouble.deployment_waits(now, &waits);
        self.deployment_row(service, "progress", &waits);
    }
}
