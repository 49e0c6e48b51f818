//! Flagger: a target (the canary) that people change, a primary that serves, and a check at each interval.
//!
//! Each interval advances by one thing: the canary gets its pods, then a first share of traffic, then more
//! after each good analysis, until the primary gets the canary's template, then the traffic, and the canary goes.
//!
//! Rules: fluxcd/flagger `pkg/controller/scheduler.go` (`advanceCanary` and what it calls) and
//! `docs/gitbook/usage/{how-it-works,deployment-strategies}.md`.
//!
//! Known departures: no webhooks, no A/B matching, no mirroring; the interval's first tick comes when the
//! caller first calls.

use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::deployment::Template;

/// Bounds within which a metric must lie.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricCheck {
    /// The metric's name: `request-success-rate` in percent, `request-duration` (the 99th percentile) in
    /// milliseconds, or another of the caller's.
    pub name: String,
    /// Least value, if there is one.
    pub min: Option<f64>,
    /// Largest value, if there is one.
    pub max: Option<f64>,
}

impl MetricCheck {
    /// The check of successes in percent: 99 at least by default in Flagger's own examples.
    #[must_use]
    pub fn success_rate(min: f64) -> Self {
        Self { name: "request-success-rate".to_owned(), min: Some(min), max: None }
    }

    /// The check of the 99th percentile of latency in milliseconds: 500 at most in Flagger's own examples.
    #[must_use]
    pub fn duration(max_ms: f64) -> Self {
        Self { name: "request-duration".to_owned(), min: None, max: Some(max_ms) }
    }
}

/// The specification of a Canary object.
#[derive(Clone, Debug, PartialEq)]
pub struct CanarySpec {
    /// The template of the target.
    pub template: Template,
    /// Time between checks, at least 10 s. Default 60 s.
    pub interval: SimDuration,
    /// Failed checks before it goes back. Default 1.
    pub threshold: u32,
    /// Largest share of traffic for the canary in percent; 0 for 100.
    pub max_weight: i32,
    /// By how much the share grows; 0 where `step_weights` are given.
    pub step_weight: i32,
    /// The shares one after the other, instead of `step_weight`.
    pub step_weights: Vec<i32>,
    /// By how much the primary's share grows in the promotion; 0 for all at once.
    pub step_weight_promotion: i32,
    /// Checks before the promotion in blue/green; 0 for a canary.
    pub iterations: u32,
    /// What is checked. Default: successes of 99 % and a 99th percentile of 500 ms.
    pub metrics: Vec<MetricCheck>,
    /// Whether a balancer can split traffic; without one (provider `kubernetes`) only blue/green is possible.
    pub traffic_routing: bool,
    /// How long the canary's pods may take. Default 600 s.
    pub progress_deadline: SimDuration,
    /// Whether the analysis is skipped.
    pub skip_analysis: bool,
}

impl CanarySpec {
    /// A canary with steps of 10 up to 50 %, and every default.
    #[must_use]
    pub fn new(template: Template) -> Self {
        Self {
            template,
            interval: SimDuration::from_secs(60),
            threshold: 1,
            max_weight: 50,
            step_weight: 10,
            step_weights: Vec::new(),
            step_weight_promotion: 0,
            iterations: 0,
            metrics: vec![MetricCheck::success_rate(99.0), MetricCheck::duration(500.0)],
            traffic_routing: true,
            progress_deadline: SimDuration::from_secs(600),
            skip_analysis: false,
        }
    }

    fn interval(&self) -> SimDuration {
        self.interval.max(SimDuration::from_secs(10))
    }

    fn largest_weight(&self) -> i32 {
        match self.step_weights.last() {
            Some(&last) => last.min(100),
            None if self.max_weight > 0 => self.max_weight,
            None => 100,
        }
    }

    fn next_step(&self, weight: i32) -> i32 {
        if self.step_weight > 0 || self.step_weights.is_empty() {
            return self.step_weight;
        }
        let room = 100 - weight;
        if room == 0 {
            return 1;
        }
        if weight == 0 {
            return room.min(self.step_weights[0]);
        }
        let at = self.step_weights.iter().position(|&w| w == weight);
        at.and_then(|at| self.step_weights.get(at + 1)).map_or(room, |&next| room.min(next - weight))
    }

    fn rounds(&self) -> u32 {
        match self.traffic_routing {
            true => self.iterations,
            // Without a balancer there is no canary: Flagger then sets ten rounds.
            false if self.iterations == 0 => 10,
            false => self.iterations,
        }
    }
}

/// Where a Canary object stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CanaryPhase {
    /// The primary is made.
    #[default]
    Initializing,
    /// The primary serves, nothing is new.
    Initialized,
    /// A new template is analysed.
    Progressing,
    /// The primary gets the new template.
    Promoting,
    /// All traffic is at the primary again; the canary is to go.
    Finalising,
    /// The new template is the primary's.
    Succeeded,
    /// It went back.
    Failed,
}

/// What a Canary object remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanaryStatus {
    /// Where it stands.
    pub phase: CanaryPhase,
    /// The template of the primary.
    pub primary: Option<Template>,
    /// The template that was last seen in the target.
    pub seen: Option<Template>,
    /// The canary's share in percent.
    pub weight: i32,
    /// Failed checks so far.
    pub failed_checks: u32,
    /// Rounds of blue/green so far.
    pub iterations: u32,
    /// Since when the canary's or the primary's pods are waited for.
    pub waiting_since: Option<SimTime>,
    /// When the last check was.
    pub last_check: Option<SimTime>,
}

/// The counts of one of both workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Pods that it should have.
    pub replicas: i32,
    /// Pods of its present template.
    pub updated: i32,
    /// Pods that are available.
    pub available: i32,
    /// All its pods, those of an older template among them.
    pub current: i32,
}

impl Workload {
    fn ready(&self) -> bool {
        self.updated >= self.replicas && self.available >= self.replicas && self.current <= self.replicas
    }
}

/// What a check looks at.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// The primary.
    pub primary: Workload,
    /// The target.
    pub canary: Workload,
    /// Pods that the primary is to have (the target's own wish, or an autoscaler's).
    pub replicas: i32,
    /// A metric's value for the canary over the last interval, if there is one.
    pub measure: &'a dyn Fn(&MetricCheck) -> Option<f64>,
    /// The instant.
    pub now: SimTime,
}

/// What a check did.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryAction {
    /// Between two checks.
    NotDue,
    /// The primary is made and the target goes to 0 pods.
    Initialised,
    /// Nothing is new.
    Idle,
    /// A new template: the target gets its pods.
    ScaledUp,
    /// A newer template still: everything begins anew.
    Restarted,
    /// Pods are not ready yet.
    WaitsForPods,
    /// The first share, or a larger one.
    Advanced {
        /// The canary's share in percent.
        weight: i32,
    },
    /// One more round of blue/green.
    Iterated {
        /// How many so far.
        done: u32,
    },
    /// A metric was out of its bounds, or had no value.
    CheckFailed {
        /// The metric.
        metric: String,
        /// Its value.
        value: Option<f64>,
        /// Failed checks so far.
        failed: u32,
    },
    /// The primary gets the canary's template.
    Promoting,
    /// Traffic goes back to the primary.
    PromotionShift {
        /// The primary's share in percent.
        primary: i32,
    },
    /// The canary goes to 0 pods: done.
    Succeeded,
    /// All traffic back to the primary, the canary goes to 0 pods.
    RolledBack {
        /// Whether pods took too long; else too many checks failed.
        deadline: bool,
    },
}

/// What a check decides.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryDecision {
    /// The canary's share of traffic in percent; the primary has the rest.
    pub canary_weight: i32,
    /// The template that the primary should have.
    pub primary_template: Template,
    /// Pods that the primary should have.
    pub primary_replicas: i32,
    /// Pods that the target should have.
    pub canary_replicas: i32,
    /// What was done.
    pub action: CanaryAction,
    /// To be given to the next check.
    pub status: CanaryStatus,
    /// When the next check is due.
    pub next_check: SimTime,
}

/// One check, or nothing where the interval is not over. The target's template is the specification's.
#[must_use]
pub fn advance(spec: &CanarySpec, before: &CanaryStatus, see: &Observation<'_>) -> CanaryDecision {
    let mut status = before.clone();
    let due = before.last_check.map(|last| last.saturating_add(spec.interval()));
    let action = match due {
        Some(due) if due > see.now => CanaryAction::NotDue,
        _ => {
            status.last_check = Some(see.now);
            check(spec, &mut status, see)
        }
    };
    let last = status.last_check.unwrap_or(see.now);
    let serving = matches!(status.phase, CanaryPhase::Progressing | CanaryPhase::Promoting | CanaryPhase::Finalising);
    // The first time the target itself serves until the primary is ready.
    let starting = status.phase == CanaryPhase::Initializing;
    CanaryDecision {
        canary_weight: if starting { 100 } else { status.weight },
        primary_template: status.primary.unwrap_or(spec.template),
        primary_replicas: see.replicas,
        canary_replicas: if serving || starting { see.replicas } else { 0 },
        action,
        next_check: last.saturating_add(spec.interval()),
        status,
    }
}

fn check(spec: &CanarySpec, status: &mut CanaryStatus, see: &Observation<'_>) -> CanaryAction {
    use CanaryPhase as P;
    match status.phase {
        P::Initializing => {
            status.primary.get_or_insert(spec.template);
            status.seen = Some(spec.template);
            if see.primary.replicas == 0 || !see.primary.ready() {
                return CanaryAction::WaitsForPods;
            }
            status.phase = P::Initialized;
            CanaryAction::Initialised
        }
        P::Initialized | P::Succeeded | P::Failed => {
            if status.seen == Some(spec.template) {
                return CanaryAction::Idle;
            }
            begin(spec, status, see.now);
            CanaryAction::ScaledUp
        }
        P::Progressing if status.seen != Some(spec.template) => {
            begin(spec, status, see.now);
            CanaryAction::Restarted
        }
        P::Progressing | P::Promoting | P::Finalising => {
            let primary = spec.skip_analysis || see.primary.ready();
            if !primary || !see.canary.ready() {
                return wait(spec, status, see.now);
            }
            status.waiting_since = None;
            if spec.skip_analysis && status.phase == P::Progressing {
                (status.primary, status.weight, status.phase) = (Some(spec.template), 0, P::Succeeded);
                return CanaryAction::Succeeded;
            }
            match status.phase {
                P::Promoting => shift_back(spec, status),
                P::Finalising => {
                    status.phase = P::Succeeded;
                    CanaryAction::Succeeded
                }
                _ => analyse(spec, status, see),
            }
        }
    }
}

fn begin(spec: &CanarySpec, status: &mut CanaryStatus, now: SimTime) {
    *status = CanaryStatus {
        phase: CanaryPhase::Progressing,
        primary: status.primary,
        seen: Some(spec.template),
        waiting_since: Some(now),
        last_check: status.last_check,
        ..CanaryStatus::default()
    };
}

fn wait(spec: &CanarySpec, status: &mut CanaryStatus, now: SimTime) -> CanaryAction {
    let since = *status.waiting_since.get_or_insert(now);
    match since.saturating_add(spec.progress_deadline) < now {
        true => roll_back(status, true),
        false => CanaryAction::WaitsForPods,
    }
}

fn roll_back(status: &mut CanaryStatus, deadline: bool) -> CanaryAction {
    (status.phase, status.weight, status.iterations) = (CanaryPhase::Failed, 0, 0);
    CanaryAction::RolledBack { deadline }
}

fn shift_back(spec: &CanarySpec, status: &mut CanaryStatus) -> CanaryAction {
    status.weight = match spec.step_weight_promotion {
        step if step > 0 && spec.traffic_routing => (status.weight - step).max(0),
        _ => 0,
    };
    if status.weight == 0 {
        status.phase = CanaryPhase::Finalising;
    }
    CanaryAction::PromotionShift { primary: 100 - status.weight }
}

fn analyse(spec: &CanarySpec, status: &mut CanaryStatus, see: &Observation<'_>) -> CanaryAction {
    if status.failed_checks >= spec.threshold {
        return roll_back(status, false);
    }
    // Nothing to look at before the canary had traffic, or its first round.
    if status.weight > 0 || status.iterations > 0 {
        for check in &spec.metrics {
            let value = (see.measure)(check);
            let good =
                value.is_some_and(|v| check.min.is_none_or(|min| v >= min) && check.max.is_none_or(|max| v <= max));
            if !good {
                status.failed_checks += 1;
                return CanaryAction::CheckFailed { metric: check.name.clone(), value, failed: status.failed_checks };
            }
        }
    }
    let rounds = spec.rounds();
    if rounds > 0 {
        if status.iterations < rounds {
            status.iterations += 1;
            return CanaryAction::Iterated { done: status.iterations };
        }
        if status.iterations == rounds {
            status.iterations += 1;
            // Without a balancer the traffic stays where it is until the primary has the template.
            if spec.traffic_routing {
                status.weight = 100;
            }
            return CanaryAction::Advanced { weight: status.weight };
        }
        return promote(spec, status);
    }
    let step = spec.next_step(status.weight);
    if step <= 0 {
        return CanaryAction::Idle;
    }
    if status.weight < spec.largest_weight() {
        status.weight = (status.weight + step).min(100);
        return CanaryAction::Advanced { weight: status.weight };
    }
    promote(spec, status)
}

fn promote(spec: &CanarySpec, status: &mut CanaryStatus) -> CanaryAction {
    (status.primary, status.phase) = (Some(spec.template), CanaryPhase::Promoting);
    CanaryAction::Promoting
}
