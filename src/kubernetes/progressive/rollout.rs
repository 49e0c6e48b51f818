//! The Rollout of Argo Rollouts: its specification, its status and what one pass decides.
//!
//! Rules: argoproj/argo-rollouts `rollout/{canary,bluegreen,trafficrouting,sync,pause}.go`,
//! `utils/replicaset/canary.go`, and the pages `features/canary` and `features/bluegreen` of its documentation.
//!
//! Known departures: no experiments, header or mirror routes and no ephemeral metadata; one
//! AnalysisTemplate for each analysis; an ALB's weights count as verified at once.

use super::analysis::{AnalysisRun, Metric};
use super::{blue_green, canary, earlier};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::deployment::{DeploymentStatus, NewSet, ReplicaSet, SetId, Template, is_progressing};
use crate::units::IntOrPercent;

/// Where the size of the canary comes from, apart from its share of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryScale {
    /// So many pods.
    Replicas(i32),
    /// So many hundredths of `replicas`.
    Weight(i32),
    /// As its share of traffic again.
    MatchTrafficWeight,
}

/// A step of a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryStep {
    /// So many hundredths of traffic to the canary, 0 to 100.
    SetWeight(i32),
    /// A wait; without a length until it is promoted by hand.
    Pause(Option<SimDuration>),
    /// The canary's size, with traffic routing only.
    SetCanaryScale(CanaryScale),
    /// An analysis that must be over and good.
    Analysis(Vec<Metric>),
}

/// An analysis in the background of the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct BackgroundAnalysis {
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// The step at which it begins, from 0. Default 0.
    pub starting_step: usize,
}

/// The strategy `canary`.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    /// Its steps, in order. Without any it is a rolling update.
    pub steps: Vec<CanaryStep>,
    /// Pods above `replicas`, without traffic routing; default 25 %, rounded up.
    pub max_surge: IntOrPercent,
    /// Pods below `replicas`, without traffic routing; default 25 %, rounded down.
    pub max_unavailable: IntOrPercent,
    /// Whether a balancer splits the traffic exactly (`trafficRouting.alb`). Without it the pods' numbers do.
    pub traffic_routing: bool,
    /// With traffic routing: whether the stable set shrinks as the canary's share grows.
    pub dynamic_stable_scale: bool,
    /// With traffic routing: fewest pods of a set that has any.
    pub min_pods_per_replica_set: Option<i32>,
    /// With traffic routing: how long the old set is kept after the promotion. Default 30 s.
    pub scale_down_delay: SimDuration,
    /// With traffic routing: how long the canary is kept after an abort; absent for ever. Default 30 s.
    pub abort_scale_down_delay: Option<SimDuration>,
    /// An analysis that runs beside the steps.
    pub analysis: Option<BackgroundAnalysis>,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            max_surge: IntOrPercent::Percent(25),
            max_unavailable: IntOrPercent::Percent(25),
            traffic_routing: false,
            dynamic_stable_scale: false,
            min_pods_per_replica_set: None,
            scale_down_delay: SimDuration::from_secs(30),
            abort_scale_down_delay: Some(SimDuration::from_secs(30)),
            analysis: None,
        }
    }
}

/// The strategy `blueGreen`.
#[derive(Clone, Debug, PartialEq)]
pub struct BlueGreen {
    /// Pods of the new set until it is to be promoted; absent for all.
    pub preview_replica_count: Option<i32>,
    /// Whether it is promoted without a word. Default true.
    pub auto_promotion_enabled: bool,
    /// Promoted after this time of being ready; a pause of this length.
    pub auto_promotion: Option<SimDuration>,
    /// How long the old set is kept after the promotion. Default 30 s.
    pub scale_down_delay: SimDuration,
    /// How long the new set is kept after an abort; absent for ever. Default 30 s.
    pub abort_scale_down_delay: Option<SimDuration>,
    /// Must be good before traffic goes over.
    pub pre_promotion_analysis: Option<Vec<Metric>>,
    /// Must be good after traffic went over, else it goes back.
    pub post_promotion_analysis: Option<Vec<Metric>>,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self {
            preview_replica_count: None,
            auto_promotion_enabled: true,
            auto_promotion: None,
            scale_down_delay: SimDuration::from_secs(30),
            abort_scale_down_delay: Some(SimDuration::from_secs(30)),
            pre_promotion_analysis: None,
            post_promotion_analysis: None,
        }
    }
}

/// How a Rollout brings in a new template.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutStrategy {
    /// Step by step.
    Canary(Canary),
    /// A second full set, then all at once.
    BlueGreen(BlueGreen),
}

/// The specification of a Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSpec {
    /// Pods wanted. Default 1.
    pub replicas: i32,
    /// The template that the pods should have.
    pub template: Template,
    /// How it comes in.
    pub strategy: RolloutStrategy,
    /// How long it may stand still before it is reported. Default 600 s.
    pub progress_deadline: SimDuration,
    /// Whether it is aborted then. Default false.
    pub progress_deadline_abort: bool,
    /// Whether it stands still by hand. Default false.
    pub paused: bool,
}

impl RolloutSpec {
    /// A Rollout of a template with every default.
    #[must_use]
    pub const fn new(template: Template, strategy: RolloutStrategy) -> Self {
        let progress_deadline = SimDuration::from_secs(600);
        Self { replicas: 1, template, strategy, progress_deadline, progress_deadline_abort: false, paused: false }
    }
}

/// What a person (or a pipeline) may ask of a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `promote`: end the pause.
    Promote,
    /// `promote --full`: skip steps, pauses and analyses.
    PromoteFull,
    /// `abort`: back to the stable set.
    Abort,
    /// `retry`: from the first step again after an abort.
    Retry,
}

/// Why a Rollout waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// A step says so.
    CanaryPauseStep,
    /// Blue/green waits for its promotion.
    BlueGreenPause,
    /// An analysis was inconclusive.
    InconclusiveAnalysis,
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub reason: PauseReason,
    /// Since when.
    pub since: SimTime,
}

/// Why a Rollout went back.
#[derive(Clone, Debug, PartialEq)]
pub enum AbortReason {
    /// By hand.
    Command,
    /// An analysis failed or gave no values: the metric and its last value.
    Analysis {
        /// The metric's name.
        metric: String,
        /// Its last value, if it had one.
        value: Option<f64>,
    },
    /// It stood still for too long.
    ProgressDeadline,
}

/// An abort.
#[derive(Clone, Debug, PartialEq)]
pub struct Abort {
    /// Why.
    pub reason: AbortReason,
    /// When.
    pub at: SimTime,
}

/// Where a Rollout stands, in the words of its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutPhase {
    /// It moves, or waits for pods.
    #[default]
    Progressing,
    /// It waits for time or for a word.
    Paused,
    /// The template is stable and all its pods are available.
    Healthy,
    /// It was aborted, or stood still for too long.
    Degraded,
}

/// What a Rollout remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutStatus {
    /// The template that was last promoted.
    pub stable: Option<Template>,
    /// The template that it works on.
    pub current: Option<Template>,
    /// Canary: the step it is at, from 0; all done at their number.
    pub step: usize,
    /// Whether it waits.
    pub pause: Option<Pause>,
    /// Blue/green: whether the pause of this template is over.
    pub pause_done: bool,
    /// Whether it went back.
    pub abort: Option<Abort>,
    /// Whether all steps are to be skipped.
    pub promote_full: bool,
    /// Canary with traffic routing: hundredths of traffic that go to the canary.
    pub canary_weight: i32,
    /// Blue/green: the template that has the traffic.
    pub active: Option<Template>,
    /// Blue/green: whether the new set grows from the preview's size to all.
    pub scale_up_preview_checkpoint: bool,
    /// The analysis of the step, or before the promotion.
    pub step_analysis: Option<AnalysisRun>,
    /// The analysis in the background, or after the promotion.
    pub background_analysis: Option<AnalysisRun>,
    /// Sets that lost their traffic and when they go.
    pub scale_down_at: Vec<(SetId, SimTime)>,
    /// The counts of the last pass.
    pub counts: DeploymentStatus,
    /// When it last moved.
    pub last_progress: SimTime,
    /// Whether it stood still for too long.
    pub timed_out: bool,
}

/// What a pass did: the reason of its decision.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutStep {
    /// A new template: everything begins anew.
    TemplateChanged,
    /// Sizes were changed.
    Scaled,
    /// It waits for pods to become available.
    WaitsForPods,
    /// It waits for a pause to end.
    Paused(PauseReason),
    /// It waits for an analysis.
    Analysing,
    /// A step was completed: its place.
    StepDone(usize),
    /// Traffic was given to the new set, or taken from it.
    TrafficMoved,
    /// The template became the stable one.
    Promoted,
    /// It goes back.
    Aborted(AbortReason),
    /// It is where it should be.
    Settled,
}

/// The size of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSize {
    /// Which set.
    pub set: SetId,
    /// How many pods.
    pub replicas: i32,
}

/// What a pass decides.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutSync {
    /// Sets to size.
    pub scales: Vec<SetSize>,
    /// The set to create, with no pods.
    pub create: Option<NewSet>,
    /// The hundredths of traffic of each template, 100 in all; empty where every pod gets its share.
    pub traffic: Vec<(Template, i32)>,
    /// Where it stands.
    pub phase: RolloutPhase,
    /// What was done.
    pub step: RolloutStep,
    /// To be given to the next pass.
    pub status: RolloutStatus,
    /// When to look again even if nothing changes.
    pub next_check: Option<SimTime>,
}

/// What a pass looks at.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// All its sets.
    pub sets: &'a [ReplicaSet],
    /// What was asked since the last pass, if anything.
    pub command: Option<Command>,
    /// A metric's value now, if there is one; asked only when a measurement is due.
    pub measure: &'a dyn Fn(&Metric) -> Option<f64>,
    /// The instant.
    pub now: SimTime,
}

/// One pass over a Rollout. To be called again at once as long as [`RolloutSync::changed`] says so.
#[must_use]
pub fn sync(spec: &RolloutSpec, before: &RolloutStatus, observation: &Observation<'_>) -> RolloutSync {
    let mut pass = Pass::new(spec, before, observation);
    let step = pass.run();
    pass.finish(step)
}

impl RolloutSync {
    /// Whether something changed in this pass, so that another is due at once.
    #[must_use]
    pub fn changed(&self, before: &RolloutStatus) -> bool {
        !self.scales.is_empty()
            || self.create.is_some()
            || self.status.step != before.step
            || self.status.stable != before.stable
            || self.status.active != before.active
            || self.status.canary_weight != before.canary_weight
            || self.status.pause != before.pause
            || self.status.pause_done != before.pause_done
            || self.status.current != before.current
            || self.status.scale_up_preview_checkpoint != before.scale_up_preview_checkpoint
            || self.status.abort.is_some() != before.abort.is_some()
    }
}

/// One pass in the making.
pub(super) struct Pass<'a> {
    pub(super) spec: &'a RolloutSpec,
    pub(super) see: &'a Observation<'a>,
    pub(super) status: RolloutStatus,
    /// The set of the wanted template.
    pub(super) new: Option<ReplicaSet>,
    /// The set of the stable template, where it is another.
    pub(super) stable: Option<ReplicaSet>,
    /// The others.
    pub(super) others: Vec<ReplicaSet>,
    pub(super) scales: Vec<SetSize>,
    create: Option<NewSet>,
    wake: Option<SimTime>,
}

impl<'a> Pass<'a> {
    fn new(spec: &'a RolloutSpec, before: &RolloutStatus, see: &'a Observation<'a>) -> Self {
        let status = before.clone();
        let mut sets = see.sets.to_vec();
        sets.sort_by_key(|s| (s.created, s.id));
        let mut take = |template: Template| sets.iter().position(|s| s.template == template).map(|at| sets.remove(at));
        let new = take(spec.template);
        let stable = status.stable.filter(|&t| t != spec.template).and_then(&mut take);
        Self { spec, see, status, new, stable, others: sets, scales: Vec::new(), create: None, wake: None }
    }

    fn run(&mut self) -> RolloutStep {
        if self.status.current != Some(self.spec.template) {
            return self.begin();
        }
        match self.see.command {
            Some(Command::Promote) => {
                if self.status.pause.take().is_some() {
                    self.status.pause_done = true;
                    self.skip_pause_step();
                }
            }
            Some(Command::PromoteFull) => {
                (self.status.promote_full, self.status.pause, self.status.abort) = (true, None, None);
            }
            Some(Command::Abort) => self.abort(AbortReason::Command),
            Some(Command::Retry) if self.status.abort.is_some() => {
                (self.status.abort, self.status.step, self.status.pause_done) = (None, 0, false);
                (self.status.step_analysis, self.status.background_analysis) = (None, None);
            }
            Some(Command::Retry) | None => {}
        }
        self.watch_progress();
        if self.new.is_none() {
            self.create_new();
        }
        match &self.spec.strategy {
            RolloutStrategy::Canary(canary) => canary::run(self, canary),
            RolloutStrategy::BlueGreen(blue_green) => blue_green::run(self, blue_green),
        }
    }

    /// A new template, or the first: whatever went on is forgotten.
    fn begin(&mut self) -> RolloutStep {
        let old = std::mem::take(&mut self.status);
        let scale_down_at = old.scale_down_at.into_iter().filter(|(id, _)| self.new.is_none_or(|n| n.id != *id));
        self.status = RolloutStatus {
            stable: old.stable,
            current: Some(self.spec.template),
            canary_weight: old.canary_weight,
            active: old.active,
            scale_down_at: scale_down_at.collect(),
            counts: old.counts,
            last_progress: self.see.now,
            ..RolloutStatus::default()
        };
        if let RolloutStrategy::Canary(canary) = &self.spec.strategy
            && old.stable == Some(self.spec.template)
        {
            // Back to the stable template: no steps.
            self.status.step = canary.steps.len();
        }
        if self.new.is_none() {
            self.create_new();
        }
        RolloutStep::TemplateChanged
    }

    fn create_new(&mut self) {
        let revision = self.see.sets.iter().map(|s| s.revision).max().unwrap_or(0) + 1;
        let replicas = self.spec.replicas;
        self.create = Some(NewSet {
            template: self.spec.template,
            revision,
            replicas: 0,
            annotated_desired: replicas,
            annotated_max: replicas,
        });
    }

    fn skip_pause_step(&mut self) {
        if let RolloutStrategy::Canary(canary) = &self.spec.strategy
            && matches!(canary.steps.get(self.status.step), Some(CanaryStep::Pause(_) | CanaryStep::Analysis(_)))
        {
            self.status.step += 1;
            self.status.step_analysis = None;
        }
    }

    pub(super) fn abort(&mut self, reason: AbortReason) {
        if self.status.abort.is_none() {
            self.status.abort = Some(Abort { reason, at: self.see.now });
            self.status.pause = None;
        }
    }

    fn watch_progress(&mut self) {
        let sum = |of: fn(&ReplicaSet) -> i32| self.see.sets.iter().map(of).sum::<i32>();
        let counts = DeploymentStatus {
            replicas: sum(|s| s.current),
            updated: self.new.map_or(0, |s| s.current),
            ready: sum(|s| s.ready),
            available: sum(|s| s.available),
            ..DeploymentStatus::default()
        };
        let idle = self.status.pause.is_some() || self.status.abort.is_some() || self.spec.paused;
        let settled = self.status.stable == Some(self.spec.template)
            && self.new.is_some_and(|s| s.available >= self.spec.replicas);
        if idle || settled || is_progressing(&self.status.counts, &counts) {
            (self.status.last_progress, self.status.timed_out) = (self.see.now, false);
        }
        self.status.counts = counts;
        let deadline = self.status.last_progress.saturating_add(self.spec.progress_deadline);
        if deadline < self.see.now {
            self.status.timed_out = true;
            if self.spec.progress_deadline_abort {
                self.abort(AbortReason::ProgressDeadline);
            }
        } else if !(idle || settled) {
            self.wake(deadline.saturating_add(SimDuration::from_nanos(1)));
        }
    }

    /// Looks again at that instant, unless earlier.
    pub(super) fn wake(&mut self, at: SimTime) {
        self.wake = earlier(self.wake, Some(at).filter(|&at| at > self.see.now));
    }

    /// Sizes a set; whether that changes anything.
    pub(super) fn scale(&mut self, set: &ReplicaSet, replicas: i32) -> bool {
        let changes = set.replicas != replicas;
        if changes {
            self.scales.push(SetSize { set: set.id, replicas });
        }
        changes
    }

    /// When a set that lost its traffic goes, if that was settled.
    pub(super) fn deadline(&self, set: SetId) -> Option<SimTime> {
        self.status.scale_down_at.iter().find(|(id, _)| *id == set).map(|(_, at)| *at)
    }

    pub(super) fn set_deadline(&mut self, set: SetId, at: Option<SimTime>) {
        self.status.scale_down_at.retain(|(id, _)| *id != set);
        if let Some(at) = at {
            self.status.scale_down_at.push((set, at));
        }
    }

    /// The template becomes the stable one; the old set is kept for a while.
    pub(super) fn promote(&mut self, keep_old: SimDuration) -> RolloutStep {
        if let Some(old) = self.stable {
            self.set_deadline(old.id, Some(self.see.now.saturating_add(keep_old)));
        }
        if let Some(new) = self.new {
            self.set_deadline(new.id, None);
        }
        self.status.stable = Some(self.spec.template);
        (self.status.pause, self.status.promote_full, self.status.canary_weight) = (None, false, 0);
        (self.status.step_analysis, self.status.background_analysis) = (None, None);
        RolloutStep::Promoted
    }

    /// Sizes a new set after an abort: it is kept for a while, then goes. Whether that changed anything.
    pub(super) fn retire_new(&mut self, delay: Option<SimDuration>) -> bool {
        let (Some(new), Some(abort)) = (self.new, &self.status.abort) else { return false };
        let Some(delay) = delay else { return false };
        let at = abort.at.saturating_add(delay);
        if at > self.see.now {
            self.wake(at);
            return false;
        }
        self.scale(&new, 0)
    }

    /// Sizes the sets that are neither new nor stable after their delay. Whether that changed anything.
    pub(super) fn retire_others(&mut self) -> bool {
        let mut scaled = false;
        for set in self.others.clone() {
            match self.deadline(set.id).filter(|&at| at > self.see.now) {
                Some(at) => self.wake(at),
                None => {
                    self.set_deadline(set.id, None);
                    scaled |= self.scale(&set, 0);
                }
            }
        }
        scaled
    }

    /// Runs an analysis on; gives how it stands. A bad end aborts, an undecided one pauses.
    pub(super) fn analyse(&mut self, run: AnalysisRun, metrics: &[Metric], terminate: bool) -> AnalysisRun {
        use super::analysis::Phase;
        let mut run = run;
        let ended = run.phase.completed();
        run.step(metrics, self.see.measure, terminate, self.see.now);
        if let Some(at) = run.next_check(metrics) {
            self.wake(at);
        }
        match run.phase {
            Phase::Failed | Phase::Error => {
                let culprit = run.culprit().unwrap_or(0);
                let metric = metrics.get(culprit).map(|m| m.name.clone()).unwrap_or_default();
                let value = run.results.get(culprit).and_then(|r| r.last_value);
                self.abort(AbortReason::Analysis { metric, value });
            }
            Phase::Inconclusive if !ended => {
                self.status.pause = Some(Pause { reason: PauseReason::InconclusiveAnalysis, since: self.see.now });
            }
            _ => {}
        }
        run
    }

    fn finish(self, step: RolloutStep) -> RolloutSync {
        let template = self.spec.template;
        let traffic = match &self.spec.strategy {
            RolloutStrategy::Canary(canary) if canary.traffic_routing => match self.status.stable {
                Some(stable) if stable != template => {
                    vec![(stable, 100 - self.status.canary_weight), (template, self.status.canary_weight)]
                }
                _ => vec![(template, 100)],
            },
            RolloutStrategy::Canary(_) => Vec::new(),
            RolloutStrategy::BlueGreen(_) => vec![(self.status.active.unwrap_or(template), 100)],
        };
        let healthy = self.status.stable == Some(template)
            && self.new.is_some_and(|s| s.available >= self.spec.replicas && s.replicas == self.spec.replicas);
        let phase = if self.status.abort.is_some() || self.status.timed_out {
            RolloutPhase::Degraded
        } else if self.status.pause.is_some() || self.spec.paused {
            RolloutPhase::Paused
        } else if healthy {
            RolloutPhase::Healthy
        } else {
            RolloutPhase::Progressing
        };
        let (scales, create, next_check) = (self.scales, self.create, self.wake);
        RolloutSync { scales, create, traffic, phase, step, status: self.status, next_check }
    }
}
