//! One pass of the controller over one Deployment.

use super::{
    ConditionStatus, DeploymentSpec, DeploymentStatus, Reason, ReplicaSet, SetId, Strategy, Template, history,
    progress, rolling,
};
use crate::kernel::{SimDuration, SimTime};

/// A size to give to a set, with the annotations that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Which set.
    pub set: SetId,
    /// Its new size.
    pub replicas: i32,
    /// To be kept as [`ReplicaSet::annotated_desired`].
    pub annotated_desired: i32,
    /// To be kept as [`ReplicaSet::annotated_max`].
    pub annotated_max: i32,
}

/// A set to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSet {
    /// The template of its pods.
    pub template: Template,
    /// Its revision.
    pub revision: u64,
    /// The size it begins with.
    pub replicas: i32,
    /// To be kept as [`ReplicaSet::annotated_desired`].
    pub annotated_desired: i32,
    /// To be kept as [`ReplicaSet::annotated_max`].
    pub annotated_max: i32,
}

/// What a pass did: the reason of its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every pod is new and available.
    Complete,
    /// Nothing may move now: it waits for pods to become available, to end, or for room.
    Waiting {
        /// Most pods allowed.
        most: i32,
        /// Fewest available pods allowed.
        least_available: i32,
    },
    /// The new set was sized towards `replicas`.
    ScaledNew {
        /// Most pods allowed.
        most: i32,
    },
    /// Old sets were sized down.
    ScaledOld {
        /// Replicas taken that were not available.
        unhealthy: i32,
        /// Available ones taken.
        available: i32,
        /// Fewest available pods allowed.
        least_available: i32,
    },
    /// Recreate: old sets went to 0.
    RecreateDown,
    /// Recreate: old pods still run.
    RecreateWaits,
    /// The one active set follows `replicas`.
    Resized,
    /// The new set holds all replicas: the rest of the old sets went to 0.
    DroppedOld,
    /// All active sets were resized in proportion.
    Proportional,
    /// Paused: no step.
    Paused,
}

/// What a pass decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Sets to size, each at most once.
    pub scales: Vec<Scale>,
    /// The set to create; it then counts as one of the Deployment's, with no pods.
    pub create: Option<NewSet>,
    /// An old set that is the new one again, with its new revision.
    pub renumber: Option<(SetId, u64)>,
    /// Sets beyond the history limit, to remove.
    pub delete: Vec<SetId>,
    /// What was done.
    pub step: Step,
    /// The new status, to be given to the next pass.
    pub status: DeploymentStatus,
    /// When to look again even if nothing changes: where the progress deadline runs out.
    pub next_check: Option<SimTime>,
}

impl Sync {
    /// Whether anything must be carried out; after that a further pass is due at once.
    #[must_use]
    pub fn changes(&self) -> bool {
        !self.scales.is_empty() || self.create.is_some() || self.renumber.is_some() || !self.delete.is_empty()
    }
}

/// One pass over a Deployment. `sets` are all its sets in any order; `before` is the status of the last pass.
#[must_use]
pub fn sync(spec: &DeploymentSpec, before: &DeploymentStatus, sets: &[ReplicaSet], now: SimTime) -> Sync {
    Pass::new(spec, before, sets, now).run()
}

struct Pass<'a> {
    spec: &'a DeploymentSpec,
    before: &'a DeploymentStatus,
    /// The given sets, before the pass.
    given: &'a [ReplicaSet],
    /// The old sets in the order of creation.
    old: Vec<ReplicaSet>,
    new: Option<ReplicaSet>,
    create: Option<NewSet>,
    renumber: Option<(SetId, u64)>,
    delete: Vec<SetId>,
    progressing: DeploymentStatus,
    now: SimTime,
}

impl<'a> Pass<'a> {
    fn new(spec: &'a DeploymentSpec, before: &'a DeploymentStatus, given: &'a [ReplicaSet], now: SimTime) -> Self {
        let mut old = given.to_vec();
        old.sort_by_key(|s| (s.created, s.id));
        let new = old.iter().position(|s| s.template == spec.template).map(|at| old.remove(at));
        let (create, renumber, delete) = (None, None, Vec::new());
        Self { spec, before, given, old, new, create, renumber, delete, progressing: before.clone(), now }
    }

    /// Whether only sizes are kept in this pass: `replicas` changed, or the Deployment is paused.
    fn resizes(&self) -> bool {
        let desired = self.spec.replicas;
        let resized = |s: &ReplicaSet| s.replicas > 0 && s.annotated_desired.is_some_and(|d| d != desired);
        self.spec.paused || self.given.iter().any(resized)
    }

    fn run(mut self) -> Sync {
        progress::pause(self.spec, &mut self.progressing, self.now);
        if self.resizes() {
            self.find_new();
            let step = self.resize();
            if self.spec.paused {
                self.delete = history::expired(self.spec, &self.old);
            }
            let step = step.or(self.spec.paused.then_some(Step::Paused));
            return self.finish(step, false);
        }
        let step = match self.spec.strategy {
            Strategy::RollingUpdate { .. } => self.roll(),
            Strategy::Recreate => self.recreate(),
        };
        self.finish(step, true)
    }

    fn most(&self) -> i32 {
        self.spec.replicas.saturating_add(rolling::max_surge(self.spec))
    }

    fn least_available(&self) -> i32 {
        self.spec.replicas - rolling::max_unavailable(self.spec)
    }

    /// Gives the new set its revision, if it is there.
    fn find_new(&mut self) {
        let Some(new) = &mut self.new else { return };
        let revision = history::next(&self.old);
        if new.revision < revision {
            new.revision = revision;
            self.renumber = Some((new.id, revision));
        }
        if self.spec.progress_deadline.is_some() && self.progressing.progressing.is_none() {
            progress::set(
                &mut self.progressing.progressing,
                ConditionStatus::True,
                Reason::FoundNewReplicaSet,
                self.now,
            );
        }
    }

    fn ensure_new(&mut self, replicas: i32) {
        let revision = history::next(&self.old);
        let most = self.most();
        let desired = self.spec.replicas;
        let template = self.spec.template;
        self.create = Some(NewSet { template, revision, replicas, annotated_desired: desired, annotated_max: most });
        self.new = Some(ReplicaSet {
            id: SetId(u32::MAX),
            template,
            revision,
            created: self.now,
            replicas,
            current: 0,
            ready: 0,
            available: 0,
            terminating: 0,
            annotated_desired: Some(desired),
            annotated_max: Some(most),
            failing: false,
        });
        progress::set(&mut self.progressing.progressing, ConditionStatus::True, Reason::NewReplicaSetCreated, self.now);
    }

    fn roll(&mut self) -> Option<Step> {
        match self.new {
            Some(_) => self.find_new(),
            None => {
                let size = rolling::new_set_size(self.spec, 0, rolling::counted(self.spec, &self.old));
                self.ensure_new(size);
            }
        }
        let most = self.most();
        let mut all = self.old.clone();
        all.extend(self.new);
        let counted = rolling::counted(self.spec, &all);
        let new = self.new.as_mut()?;
        // A: the new set.
        let size = match new.replicas {
            n if n > self.spec.replicas => self.spec.replicas,
            n if n == self.spec.replicas => n,
            n => rolling::new_set_size(self.spec, n, counted),
        };
        if size != new.replicas {
            new.replicas = size;
            return Some(Step::ScaledNew { most });
        }
        // B: the old ones.
        let new = *new;
        let least_available = self.least_available();
        if self.old.iter().map(|s| s.replicas).sum::<i32>() > 0 {
            let total: i32 = all.iter().map(|s| s.replicas).sum();
            let room = total - least_available - (new.replicas - new.available);
            if room > 0 {
                let unhealthy = rolling::cleanup_unhealthy(&mut self.old, room);
                let available = rolling::scale_down_old(self.spec, &mut self.old, new.available);
                if unhealthy + available > 0 {
                    return Some(Step::ScaledOld { unhealthy, available, least_available });
                }
            }
        }
        self.tidy_if_complete();
        None
    }

    fn recreate(&mut self) -> Option<Step> {
        self.find_new();
        if self.old.iter().any(|s| s.replicas > 0) {
            self.old.iter_mut().for_each(|s| s.replicas = 0);
            return Some(Step::RecreateDown);
        }
        // Terminating pods run until they are gone.
        if self.old.iter().any(|s| s.current + s.terminating > 0) {
            return Some(Step::RecreateWaits);
        }
        let step = Step::ScaledNew { most: self.spec.replicas };
        match &mut self.new {
            None => {
                self.ensure_new(self.spec.replicas);
                return Some(step);
            }
            Some(new) if new.replicas != self.spec.replicas => {
                new.replicas = self.spec.replicas;
                return Some(step);
            }
            Some(_) => {}
        }
        self.tidy_if_complete();
        None
    }

    fn tidy_if_complete(&mut self) {
        if progress::is_complete(self.spec.replicas, self.before) {
            self.delete = history::expired(self.spec, &self.old);
        }
    }

    /// Follows `replicas` while no step of a rollout may be taken.
    fn resize(&mut self) -> Option<Step> {
        let replicas = self.spec.replicas;
        let mut active: Vec<ReplicaSet> = self.old.iter().copied().chain(self.new).filter(|s| s.replicas > 0).collect();
        if active.len() < 2 {
            let one = match active.first() {
                Some(one) => one.id,
                // None is active: the new one, else the youngest.
                None => self.new.or(self.old.last().copied())?.id,
            };
            let set = self.find(one)?;
            return (set.replicas != replicas).then(|| {
                set.replicas = replicas;
                Step::Resized
            });
        }
        let saturated = self.new.is_some_and(|s| {
            s.replicas == replicas && s.annotated_desired == Some(replicas) && s.available == replicas
        });
        if saturated {
            self.old.iter_mut().for_each(|s| s.replicas = 0);
            return Some(Step::DroppedOld);
        }
        if self.spec.strategy == Strategy::Recreate {
            return None;
        }
        rolling::proportional(self.spec, &mut active, self.before.replicas);
        let (desired, most) = (self.spec.replicas, self.most());
        for sized in active {
            if let Some(set) = self.find(sized.id) {
                set.replicas = sized.replicas;
                // Written even where the size stays.
                set.annotated_desired = Some(desired);
                set.annotated_max = Some(most);
            }
        }
        Some(Step::Proportional)
    }

    fn find(&mut self, id: SetId) -> Option<&mut ReplicaSet> {
        self.old.iter_mut().chain(&mut self.new).find(|s| s.id == id)
    }

    fn finish(self, step: Option<Step>, rollout: bool) -> Sync {
        let (desired, most) = (self.spec.replicas, self.most());
        let after: Vec<ReplicaSet> = self.old.iter().copied().chain(self.new).collect();
        let mut scales: Vec<Scale> = Vec::new();
        for set in &after {
            let Some(was) = self.given.iter().find(|s| s.id == set.id) else { continue };
            if was.replicas != set.replicas
                || (was.annotated_desired, was.annotated_max) != (set.annotated_desired, set.annotated_max)
            {
                let (set, replicas) = (set.id, set.replicas);
                scales.push(Scale { set, replicas, annotated_desired: desired, annotated_max: most });
            }
        }
        let new = self.new.as_ref();
        let status = match rollout {
            true => progress::rollout_status(self.spec, self.before, &self.progressing, &after, new, self.now),
            false => progress::status(self.spec, &self.progressing, &after, new, self.now),
        };
        let next_check = progress::recheck_after(self.spec, &status, self.now).map(|after| {
            // The real controller adds a second, so that rounding does not bring it back too early.
            self.now.saturating_add(after).saturating_add(SimDuration::from_secs(1))
        });
        let step = step.unwrap_or(match progress::is_complete(desired, &status) {
            true => Step::Complete,
            false => Step::Waiting { most, least_available: desired - rolling::max_unavailable(self.spec) },
        });
        let (create, renumber, delete) = (self.create, self.renumber, self.delete);
        Sync { scales, create, renumber, delete, step, status, next_check }
    }
}
