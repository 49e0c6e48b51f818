//! Pods whose containers do not start. The kubelet keeps the pod on its node and tries again, later each time; nobody
//! makes it anew.

use super::super::life::StartStep;
use super::super::start::purpose;
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use crate::kernel::{Phase, SimDuration};
use crate::kubernetes::kubelet::CrashBackoff;
use crate::scenario::model::WorkloadKind;
use crate::units::{ServiceId, TaskId};

/// First wait before an image is asked for again, and the longest. Source: kubelet, the back-off of its image manager.
const FIRST_PULL_WAIT: SimDuration = SimDuration::from_secs(10);
const LONGEST_PULL_WAIT: SimDuration = SimDuration::from_secs(300);

/// Why the containers of a pod do not run, as `kubectl get pods` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Waiting {
    /// Its image cannot be had.
    ImagePullBackOff,
    /// Its container ended, and is not started again yet.
    CrashLoopBackOff,
}

impl Waiting {
    const fn name(self) -> &'static str {
        match self {
            Self::ImagePullBackOff => "ImagePullBackOff",
            Self::CrashLoopBackOff => "CrashLoopBackOff",
        }
    }
}

/// The tries to start a pod's containers.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::simulation) struct Tries {
    /// How often its images were asked for.
    pulls: u32,
    /// How long their pull takes.
    takes: SimDuration,
    /// What it waits for, once a try has failed.
    pub(super) waiting: Option<Waiting>,
    /// It has counted as a failed pod of its rollout.
    counted: bool,
}

impl Simulation<'_> {
    /// The kubelet asks for a pod's images, which would take so long to pull.
    pub(in crate::simulation) fn pull_images(&mut self, task: TaskId, takes: SimDuration) {
        self.kube_mut().pods[task.index()].tries.takes = takes;
        self.try_pull(task);
    }

    /// The back-off of a pull is over.
    pub(in crate::simulation) fn try_pull(&mut self, task: TaskId) {
        let now = self.queue.now();
        let tries = self.kube().pods[task.index()].tries;
        let t = self.cluster.task(task);
        let bad_share = self.services[t.service.index()].revisions[t.revision as usize].fails_to_start;
        let bad = self.draw_of(task).of(purpose::FAILS_TO_START).unit() < bad_share;
        let refused = self.pull_try(task, tries.pulls);
        self.kube_mut().pods[task.index()].tries.pulls += 1;
        let runtime = &mut self.tasks[task.index()];
        let (step, after) = match refused {
            Some(time) => {
                runtime.stop_reason = "ErrImagePull: the image could not be pulled".into();
                runtime.waits_for = Some(TroubleKind::CannotPull);
                (StartStep::Fail, time)
            }
            None if bad => {
                runtime.stop_reason = "ErrImagePull: the image or the configuration of the revision is bad".into();
                runtime.waits_for = Some(TroubleKind::FailedStart);
                // The registry says no at once when it is asked again.
                (StartStep::Fail, if tries.pulls == 0 { tries.takes } else { SimDuration::ZERO })
            }
            None => (StartStep::Pulled, tries.takes),
        };
        runtime.start = step;
        self.queue.set_timer(Timer::Start(task), now + after, Phase::State);
    }

    /// A try to start the containers of a pod has failed: there will be another one.
    pub(in crate::simulation) fn start_failed(&mut self, task: TaskId) {
        let now = self.queue.now();
        let t = self.cluster.task(task);
        let (service, pulled) = (t.service, t.times.pull_stopped.is_some());
        let pod = &mut self.kube_mut().pods[task.index()];
        let (step, at, waiting) = if pulled {
            pod.restarts += 1;
            let (at, crashes) = CrashBackoff::default().restart(pod.crashes, now);
            pod.crashes = crashes;
            (StartStep::StartAgain, at, Waiting::CrashLoopBackOff)
        } else {
            let doubled = FIRST_PULL_WAIT * (1 << pod.tries.pulls.saturating_sub(1).min(5));
            (StartStep::PullAgain, now + doubled.min(LONGEST_PULL_WAIT), Waiting::ImagePullBackOff)
        };
        pod.tries.waiting = Some(waiting);
        let runtime = &mut self.tasks[task.index()];
        runtime.start = step;
        runtime.waits.pulls += if pulled { SimDuration::ZERO } else { at.since(now) };
        let kind = runtime.waits_for.unwrap_or(TroubleKind::FailedStart);
        self.queue.set_timer(Timer::Start(task), at, Phase::State);
        if self.count_failed_pod(task) {
            self.services[service.index()].trouble.note(kind, now);
        }
        self.wake_scheduler(service);
    }

    /// The rollout of a pod counts it as failed, once; whether this was the first time.
    pub(super) fn count_failed_pod(&mut self, task: TaskId) -> bool {
        let counted = std::mem::replace(&mut self.kube_mut().pods[task.index()].tries.counted, true);
        if !counted {
            self.note_deployment_failure(task);
        }
        !counted
    }

    /// What keeps a pod from being available, unless it only takes its time.
    pub(super) fn why_not(&self, task: TaskId) -> Option<&'static str> {
        let pod = &self.kube().pods[task.index()];
        match pod.tries.waiting {
            Some(waiting) => Some(waiting.name()),
            None if pod.unschedulable.is_some() => Some("Unschedulable"),
            None => (pod.container_started.is_some() && !pod.containers_ready).then_some("not ready"),
        }
    }

    /// What keeps pods of a revision from being available, most frequent first; empty where they only take their time.
    pub(super) fn why_not_available(&self, service: ServiceId, revision: u32) -> String {
        let mut counts: Vec<(&'static str, u32)> = Vec::new();
        for t in self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none() && t.revision == revision) {
            let Some(what) = self.why_not(t.id) else { continue };
            match counts.iter_mut().find(|(name, _)| *name == what) {
                Some((_, n)) => *n += 1,
                None => counts.push((what, 1)),
            }
        }
        counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        let w = &self.kube().workloads[service.index()];
        let fails = w.plan.kind != WorkloadKind::Deployment || w.sets.iter().any(|s| s.failing);
        let refused = w.refused.clone().filter(|_| fails);
        let counts = counts.iter().map(|(name, n)| format!("{name}: {n}"));
        refused.into_iter().chain(counts).collect::<Vec<_>>().join(", ")
    }
}
