//! Whole rollouts, played out on counts of pods.

use proptest::prelude::{Strategy as Source, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::units::IntOrPercent;

/// Sets whose pods become available or end when the player says so.
struct World {
    spec: DeploymentSpec,
    status: DeploymentStatus,
    sets: Vec<ReplicaSet>,
    now: SimTime,
    steps: Vec<Step>,
}

impl World {
    /// A Deployment whose pods are all available.
    fn settled(spec: DeploymentSpec) -> Self {
        let mut world =
            Self { spec, status: DeploymentStatus::default(), sets: Vec::new(), now: SimTime::ZERO, steps: Vec::new() };
        world.settle();
        world
    }

    /// One pass, carried out; whether it changed anything.
    fn pass(&mut self) -> bool {
        let sync = sync(&self.spec, &self.status, &self.sets, self.now);
        let changes = sync.changes();
        for scale in &sync.scales {
            let set = self.sets.iter_mut().find(|s| s.id == scale.set).expect("a set that was given");
            set.replicas = scale.replicas;
            (set.annotated_desired, set.annotated_max) = (Some(scale.annotated_desired), Some(scale.annotated_max));
        }
        if let Some(new) = sync.create {
            self.sets.push(ReplicaSet {
                id: SetId(self.sets.iter().map(|s| s.id.0 + 1).max().unwrap_or(0)),
                template: new.template,
                revision: new.revision,
                created: self.now,
                replicas: new.replicas,
                current: 0,
                ready: 0,
                available: 0,
                terminating: 0,
                annotated_desired: Some(new.annotated_desired),
                annotated_max: Some(new.annotated_max),
                failing: false,
            });
        }
        if let Some((id, revision)) = sync.renumber {
            self.sets.iter_mut().filter(|s| s.id == id).for_each(|s| s.revision = revision);
        }
        self.sets.retain(|s| !sync.delete.contains(&s.id));
        self.status = sync.status;
        self.steps.push(sync.step);
        changes
    }

    /// ReplicaSets do their part: pods above the size begin to terminate, the available ones last.
    fn replica_sets(&mut self) {
        for set in &mut self.sets {
            let excess = (set.current - set.replicas).max(0);
            set.terminating += excess;
            set.current -= excess;
            set.current = set.current.max(set.replicas);
            set.ready = set.ready.min(set.current);
            set.available = set.available.min(set.current);
        }
    }

    fn passes(&mut self) {
        while self.pass() {
            self.replica_sets();
        }
        self.replica_sets();
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            self.now = self.now.saturating_add(SimDuration::from_secs(1));
            self.passes();
            for set in &mut self.sets {
                (set.ready, set.available, set.terminating) = (set.current, set.current, 0);
            }
        }
        assert!(is_complete(self.spec.replicas, &self.status), "{:?}", self.sets);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|s| s.replicas).collect()
    }
}

fn ten() -> DeploymentSpec {
    DeploymentSpec { replicas: 10, ..DeploymentSpec::new(Template(0)) }
}

#[test]
fn a_rollout_goes_up_by_the_surge_and_down_to_the_floor() {
    let mut world = World::settled(ten());
    world.spec.template = Template(1);
    assert!(world.pass());
    // 25 % of 10: 3 more at most, 2 fewer at most. The set is created, and the old one shrinks in the same pass.
    assert_eq!(world.sizes(), [8, 3]);
    world.replica_sets();
    assert!(world.pass());
    assert_eq!(world.sizes(), [8, 5], "13 pods at most");
    world.settle();
    assert_eq!(world.sizes(), [0, 10]);
    assert_eq!(world.status.progressing.map(|c| c.reason), Some(Reason::NewReplicaSetAvailable));
}

#[test]
fn recreate_waits_for_terminating_pods() {
    let mut world = World::settled(DeploymentSpec { strategy: Strategy::Recreate, ..ten() });
    world.spec.template = Template(1);
    world.passes();
    assert_eq!((world.sizes(), *world.steps.last().expect("a step")), (vec![0], Step::RecreateWaits));
    world.sets[0].terminating = 0;
    assert!(world.pass());
    assert_eq!(world.sizes(), [0, 10]);
}

#[test]
fn a_rollout_that_stands_still_is_reported_and_nothing_is_rolled_back() {
    let mut world = World::settled(ten());
    world.spec.template = Template(1);
    world.passes();
    let stuck = sync(&world.spec, &world.status, &world.sets, world.now);
    let next = stuck.next_check.expect("a check at the deadline");
    assert_eq!(next.since(world.now), SimDuration::from_secs(601));
    world.now = next;
    world.pass();
    let progressing = world.status.progressing.expect("a condition");
    assert_eq!((progressing.status, progressing.reason), (ConditionStatus::False, Reason::ProgressDeadlineExceeded));
    assert_eq!(world.sizes(), [8, 5]);
}

#[test]
fn undo_brings_back_the_earlier_set_with_a_new_revision() {
    let mut world = World::settled(ten());
    assert_eq!(undo(&world.spec, &world.sets, None), Err(UndoError::NoHistory));
    world.spec.template = Template(1);
    world.settle();
    assert_eq!(undo(&world.spec, &world.sets, Some(2)), Err(UndoError::AlreadyThere(2)));
    assert_eq!(undo(&world.spec, &world.sets, Some(7)), Err(UndoError::NotFound(7)));
    world.spec.template = undo(&world.spec, &world.sets, None).expect("an earlier revision");
    world.settle();
    assert_eq!(world.sizes(), [10, 0]);
    assert_eq!(world.sets.iter().map(|s| s.revision).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut world = World::settled(DeploymentSpec { revision_history_limit: Some(2), ..ten() });
    for template in 1..=5 {
        world.spec.template = Template(template);
        world.settle();
    }
    assert_eq!(world.sets.iter().map(|s| s.template.0).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn a_paused_deployment_is_resized_and_not_rolled_out() {
    let mut world = World::settled(ten());
    (world.spec.paused, world.spec.template, world.spec.replicas) = (true, Template(1), 4);
    world.passes();
    assert_eq!(world.sizes(), [4]);
    assert_eq!(world.status.progressing.map(|c| c.reason), Some(Reason::DeploymentPaused));
    world.spec.paused = false;
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
}

#[test]
fn a_pod_is_available_after_the_minimum_and_not_at_it() {
    let at = SimTime::from_secs(5);
    assert_eq!(available_from(at, SimDuration::ZERO), at);
    assert_eq!(available_from(at, SimDuration::from_secs(10)), SimTime::from_nanos(15_000_000_001));
}

fn bound() -> impl Source<Value = IntOrPercent> {
    prop_oneof![(0..6_i64).prop_map(IntOrPercent::Int), (0..=100_i64).prop_map(IntOrPercent::Percent)]
}

proptest! {
    /// Whatever becomes available, ends, is resized or rolled out anew: as long as `replicas` stays, no pass
    /// takes the sizes above `replicas + surge`, nor takes available pods below the floor.
    #[test]
    fn no_pass_breaks_a_bound(
        replicas in 0..40,
        surge in bound(),
        unavailable in bound(),
        play in proptest::collection::vec((0..6u8, 0..40i32), 1..40),
    ) {
        let strategy = Strategy::RollingUpdate { max_surge: surge, max_unavailable: unavailable };
        let mut world = World::settled(DeploymentSpec { replicas, strategy, ..ten() });
        let mut resized = false;
        for (what, number) in play {
            world.now = world.now.saturating_add(SimDuration::from_secs(1));
            let at = usize::try_from(number).unwrap_or(0) % world.sets.len();
            let set = &mut world.sets[at];
            match what {
                0 => world.spec.template = Template(number as u32 % 4),
                1 => (world.spec.replicas, resized) = (number, true),
                2 => set.terminating = 0,
                // Pods fail.
                3 => set.available = set.available.min(number),
                _ => set.available = (set.available + number).min(set.current),
            }
            for set in &mut world.sets {
                set.ready = set.available;
            }
            loop {
                let total = |w: &World| w.sizes().iter().sum::<i32>();
                let kept = |w: &World| w.sets.iter().map(|s| s.available.min(s.replicas)).sum::<i32>();
                let before = (total(&world), kept(&world));
                let changed = world.pass();
                let most = world.spec.replicas + max_surge(&world.spec);
                prop_assert!(total(&world) <= most.max(before.0), "{} of {most}: {:?}", total(&world), world.steps.last());
                let floor = world.spec.replicas - max_unavailable(&world.spec);
                let step = *world.steps.last().expect("a step");
                if !resized && !matches!(step, Step::ScaledNew { .. }) {
                    prop_assert!(kept(&world) >= floor.min(before.1), "{} under {floor}: {step:?}", kept(&world));
                }
                world.replica_sets();
                if !changed {
                    break;
                }
            }
        }
        world.settle();
        prop_assert_eq!(world.sets.iter().filter(|s| s.replicas > 0).count() <= 1, true);
    }
}
