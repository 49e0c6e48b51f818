//! Whole rollouts, played out on counts of pods.

use super::analysis::{AnalysisRun, Comparison, Condition, Metric, Phase};
use super::flagger::{self, CanaryAction, CanaryPhase, CanarySpec, CanaryStatus, Workload};
use super::rollout::*;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::deployment::{ReplicaSet, SetId, Template};

fn at(s: u64) -> SimTime {
    SimTime::from_secs(s)
}

fn at_least(value: f64) -> Option<Condition> {
    Some(Condition { comparison: Comparison::AtLeast, value })
}

/// A Rollout whose pods become available at once.
struct World {
    spec: RolloutSpec,
    status: RolloutStatus,
    sets: Vec<ReplicaSet>,
    now: SimTime,
    value: Option<f64>,
    last: Option<RolloutSync>,
}

impl World {
    fn new(strategy: RolloutStrategy) -> Self {
        let spec = RolloutSpec { replicas: 10, ..RolloutSpec::new(Template(0), strategy) };
        let (status, value) = (RolloutStatus::default(), Some(1.0));
        let mut world = Self { spec, status, sets: Vec::new(), now: at(0), value, last: None };
        world.go(None);
        assert_eq!(world.phase(), RolloutPhase::Healthy, "{:?}", world.last);
        world
    }

    /// Passes until nothing changes.
    fn go(&mut self, command: Option<Command>) {
        let mut command = command;
        for _ in 0..200 {
            let value = self.value;
            let measure = move |_: &Metric| value;
            let see = Observation { sets: &self.sets, command: command.take(), measure: &measure, now: self.now };
            let sync = sync(&self.spec, &self.status, &see);
            let changed = sync.changed(&self.status);
            for scale in &sync.scales {
                let set = self.sets.iter_mut().find(|s| s.id == scale.set).expect("a set that was given");
                (set.replicas, set.current) = (scale.replicas, scale.replicas);
                (set.ready, set.available) = (scale.replicas, scale.replicas);
            }
            if let Some(new) = sync.create {
                self.sets.push(ReplicaSet {
                    id: SetId(self.sets.len() as u32),
                    template: new.template,
                    revision: new.revision,
                    created: self.now,
                    replicas: 0,
                    current: 0,
                    ready: 0,
                    available: 0,
                    terminating: 0,
                    annotated_desired: None,
                    annotated_max: None,
                    failing: false,
                });
            }
            self.status = sync.status.clone();
            self.last = Some(sync);
            if !changed {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.last);
    }

    fn at(&mut self, s: u64) {
        self.now = at(s);
        self.go(None);
    }

    fn phase(&self) -> RolloutPhase {
        self.last.as_ref().expect("a pass").phase
    }

    fn traffic(&self) -> Vec<(u32, i32)> {
        self.last.as_ref().expect("a pass").traffic.iter().map(|(t, w)| (t.0, *w)).collect()
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|s| s.replicas).collect()
    }
}

#[test]
fn weights_become_pods() {
    // The examples of the function's own documentation, and where a surge makes it closer.
    assert_eq!(approximate(10, 10, 1), (1, 9));
    assert_eq!(approximate(10, 5, 1), (1, 10));
    assert_eq!(approximate(1, 5, 1), (1, 1));
    assert_eq!(approximate(3, 50, 0), (2, 1));
    assert_eq!(approximate(4, 100, 1), (4, 0));
    assert_eq!(approximate(0, 50, 1), (0, 0));
}

fn approximate(replicas: i32, weight: i32, surge: i32) -> (i32, i32) {
    super::approximate_counts(replicas, weight, surge)
}

#[test]
fn a_canary_goes_through_its_steps_and_waits_for_a_word() {
    let steps = vec![
        CanaryStep::SetWeight(20),
        CanaryStep::Pause(Some(SimDuration::from_secs(60))),
        CanaryStep::SetWeight(50),
        CanaryStep::Pause(None),
    ];
    let mut world = World::new(RolloutStrategy::Canary(Canary { steps, ..Canary::default() }));
    world.spec.template = Template(1);
    world.at(100);
    assert_eq!((world.sizes(), world.phase()), (vec![8, 2], RolloutPhase::Paused));
    assert_eq!(world.last.as_ref().and_then(|l| l.next_check), Some(at(160)));
    world.at(160);
    assert_eq!((world.sizes(), world.status.step), (vec![5, 5], 3));
    world.at(10_000);
    assert_eq!(world.status.step, 3, "until it is promoted");
    world.go(Some(Command::Promote));
    assert_eq!((world.sizes(), world.phase()), (vec![0, 10], RolloutPhase::Healthy));
    assert_eq!(world.status.stable, Some(Template(1)));
}

#[test]
fn a_failing_analysis_takes_the_traffic_back_at_once() {
    let metric = Metric {
        interval: Some(SimDuration::from_secs(30)),
        success_condition: at_least(0.95),
        failure_limit: 1,
        ..Metric::new("success-rate")
    };
    let analysis = Some(BackgroundAnalysis { metrics: vec![metric], starting_step: 0 });
    let steps = vec![CanaryStep::SetWeight(30), CanaryStep::Pause(None)];
    let canary = Canary { steps, traffic_routing: true, analysis, ..Canary::default() };
    let mut world = World::new(RolloutStrategy::Canary(canary));
    assert_eq!(world.traffic(), [(0, 100)]);
    world.spec.template = Template(1);
    world.at(100);
    assert_eq!((world.sizes(), world.traffic()), (vec![10, 3], vec![(0, 70), (1, 30)]));
    world.value = Some(0.5);
    world.at(130);
    assert_eq!(world.phase(), RolloutPhase::Paused, "one failure is borne");
    world.at(160);
    assert_eq!((world.traffic(), world.phase()), (vec![(0, 100), (1, 0)], RolloutPhase::Degraded));
    assert_eq!(world.sizes(), [10, 3], "the canary is kept for a while");
    let reason = AbortReason::Analysis { metric: "success-rate".to_owned(), value: Some(0.5) };
    assert_eq!(world.status.abort.as_ref().map(|a| &a.reason), Some(&reason));
    world.at(190);
    assert_eq!(world.sizes(), [10, 0]);
    world.value = Some(1.0);
    world.go(Some(Command::Retry));
    assert_eq!(world.traffic(), [(0, 70), (1, 30)]);
    world.go(Some(Command::PromoteFull));
    world.at(191);
    assert_eq!((world.traffic(), world.phase()), (vec![(1, 100)], RolloutPhase::Healthy));
    world.at(230);
    assert_eq!(world.sizes(), [0, 10], "30 s after the promotion");
}

#[test]
fn the_stable_set_shrinks_with_its_traffic_where_asked() {
    let steps = vec![CanaryStep::SetWeight(40), CanaryStep::Pause(None)];
    let canary = Canary { steps, traffic_routing: true, dynamic_stable_scale: true, ..Canary::default() };
    let mut world = World::new(RolloutStrategy::Canary(canary));
    world.spec.template = Template(1);
    world.at(100);
    assert_eq!((world.sizes(), world.traffic()), (vec![6, 4], vec![(0, 60), (1, 40)]));
    world.go(Some(Command::Abort));
    assert_eq!((world.sizes(), world.traffic()), (vec![10, 0], vec![(0, 100), (1, 0)]));
}

#[test]
fn blue_green_previews_pauses_switches_and_keeps_the_old_for_a_while() {
    let blue_green = BlueGreen {
        preview_replica_count: Some(2),
        auto_promotion_enabled: false,
        auto_promotion: Some(SimDuration::from_secs(60)),
        ..BlueGreen::default()
    };
    let mut world = World::new(RolloutStrategy::BlueGreen(blue_green));
    world.spec.template = Template(1);
    world.at(100);
    assert_eq!((world.sizes(), world.traffic()), (vec![10, 2], vec![(0, 100)]));
    assert_eq!(world.phase(), RolloutPhase::Paused);
    world.at(160);
    assert_eq!((world.sizes(), world.traffic()), (vec![10, 10], vec![(1, 100)]));
    assert_eq!(world.last.as_ref().and_then(|l| l.next_check), Some(at(190)));
    world.at(190);
    assert_eq!(world.sizes(), [0, 10]);
}

#[test]
fn a_bad_analysis_after_the_promotion_switches_back() {
    let metric = Metric { success_condition: at_least(0.9), ..Metric::new("rate") };
    let blue_green = BlueGreen { post_promotion_analysis: Some(vec![metric]), ..BlueGreen::default() };
    let mut world = World::new(RolloutStrategy::BlueGreen(blue_green));
    world.spec.template = Template(1);
    world.value = Some(0.1);
    world.at(100);
    assert_eq!((world.sizes(), world.traffic()), (vec![10, 10], vec![(0, 100)]));
    assert_eq!(world.phase(), RolloutPhase::Degraded);
    world.at(130);
    assert_eq!(world.sizes(), [10, 0]);
}

#[test]
fn measurements_add_up_to_a_verdict() {
    let metric = Metric {
        interval: Some(SimDuration::from_secs(10)),
        count: Some(3),
        success_condition: at_least(0.9),
        failure_condition: Some(Condition { comparison: Comparison::Less, value: 0.5 }),
        ..Metric::new("rate")
    };
    assert_eq!(metric.judge(Some(0.7)), Phase::Inconclusive);
    assert_eq!(metric.judge(None), Phase::Error);
    let metrics = [metric];
    let mut run = AnalysisRun::new(&metrics, at(0));
    for s in [0, 10, 20] {
        assert_eq!(run.phase, Phase::Running);
        assert_eq!(run.next_check(&metrics), Some(at(s)));
        run.step(&metrics, &|_| Some(1.0), false, at(s));
    }
    assert_eq!((run.phase, run.next_check(&metrics)), (Phase::Successful, None));
    let mut errors = AnalysisRun::new(&metrics, at(0));
    for s in 0..5 {
        errors.step(&metrics, &|_| None, false, at(s * 10));
    }
    assert_eq!((errors.phase, errors.culprit()), (Phase::Error, Some(0)));
}

/// Checks of Flagger, one an interval, with pods that are always ready.
fn flag(spec: &CanarySpec, status: &mut CanaryStatus, check: u64, value: f64) -> (CanaryAction, i32) {
    let ready = Workload { replicas: 4, updated: 4, available: 4, current: 4 };
    let measure = move |m: &flagger::MetricCheck| Some(if m.max.is_some() { 100.0 } else { value });
    let see =
        flagger::Observation { primary: ready, canary: ready, replicas: 4, measure: &measure, now: at(check * 60) };
    let decision = flagger::advance(spec, status, &see);
    *status = decision.status;
    (decision.action, decision.canary_weight)
}

#[test]
fn flagger_shifts_promotes_and_goes_back_to_the_primary() {
    let mut spec =
        CanarySpec { max_weight: 40, step_weight: 20, step_weight_promotion: 50, ..CanarySpec::new(Template(0)) };
    let mut status = CanaryStatus::default();
    assert_eq!(flag(&spec, &mut status, 0, 100.0).0, CanaryAction::Initialised);
    assert_eq!(flag(&spec, &mut status, 1, 100.0).0, CanaryAction::Idle);
    spec.template = Template(1);
    let expected = [
        (CanaryAction::ScaledUp, 0),
        (CanaryAction::Advanced { weight: 20 }, 20),
        (CanaryAction::Advanced { weight: 40 }, 40),
        (CanaryAction::Promoting, 40),
        (CanaryAction::PromotionShift { primary: 100 }, 0),
        (CanaryAction::Succeeded, 0),
    ];
    for (check, expected) in (2..).zip(expected) {
        assert_eq!(flag(&spec, &mut status, check, 100.0), expected);
    }
    assert_eq!((status.phase, status.primary), (CanaryPhase::Succeeded, Some(Template(1))));
}

#[test]
fn flagger_rolls_back_after_failed_checks() {
    let mut spec = CanarySpec { threshold: 2, ..CanarySpec::new(Template(0)) };
    let mut status = CanaryStatus::default();
    flag(&spec, &mut status, 0, 100.0);
    spec.template = Template(1);
    assert_eq!(flag(&spec, &mut status, 1, 100.0).0, CanaryAction::ScaledUp);
    assert_eq!(flag(&spec, &mut status, 2, 100.0).1, 10);
    let failed =
        |failed| CanaryAction::CheckFailed { metric: "request-success-rate".to_owned(), value: Some(90.0), failed };
    assert_eq!(flag(&spec, &mut status, 3, 90.0), (failed(1), 10));
    assert_eq!(flag(&spec, &mut status, 4, 90.0), (failed(2), 10));
    assert_eq!(flag(&spec, &mut status, 5, 100.0), (CanaryAction::RolledBack { deadline: false }, 0));
    assert_eq!(status.primary, Some(Template(0)));
}

#[test]
fn flagger_without_a_balancer_does_rounds_of_blue_green() {
    let mut spec = CanarySpec { traffic_routing: false, iterations: 2, ..CanarySpec::new(Template(0)) };
    let mut status = CanaryStatus::default();
    flag(&spec, &mut status, 0, 100.0);
    spec.template = Template(1);
    let mut actions = Vec::new();
    for check in 1..=8 {
        actions.push(flag(&spec, &mut status, check, 100.0).0);
    }
    let expected = [
        CanaryAction::ScaledUp,
        CanaryAction::Iterated { done: 1 },
        CanaryAction::Iterated { done: 2 },
        CanaryAction::Advanced { weight: 0 },
        CanaryAction::Promoting,
        CanaryAction::PromotionShift { primary: 100 },
        CanaryAction::Succeeded,
        CanaryAction::Idle,
    ];
    assert_eq!(actions, expected);
}
