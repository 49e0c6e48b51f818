//! The ECS service scheduler for REPLICA services: keeps the desired count, rolls out revisions,
//! replaces unhealthy tasks, balances zones.
//!
//! Rule, in the order of one pass:
//!
//! 1. A deployment in progress fails when its breaker is open or one of its alarms stands; with rollback
//!    on, a deployment of the last completed revision follows. A failed deployment launches nothing more.
//! 2. Unhealthy tasks of the newest revision are stopped once their replacements have a verdict, as many
//!    as there are more tasks with a verdict than wanted. Where the maximum leaves no room to start
//!    replacements first, they are stopped one at a time.
//! 3. As many tasks start as are missing and the maximum, the launch quotas and the restart throttle
//!    allow. An old task that was lost during a deployment is replaced by one of its own revision.
//! 4. Surplus tasks of the newest revision stop: pending first, then those without a verdict, then
//!    healthy ones. Old tasks stop: unhealthy first, then as many healthy ones as there are above the
//!    minimum.
//! 5. In the steady state zones that are uneven are balanced: start in the poorest, wait until healthy,
//!    stop in the richest.
//! 6. A deployment completes when all new tasks are healthy, no old one is left, and the bake time is
//!    over; or earlier under early success. One that can neither start nor stop anything is stuck.
//!
//! Source: ECS developer guide, `ecs_services`, `deployment-type-ecs`, `deployment-circuit-breaker`,
//! `deployment-alarm-failure`, `early-success-criteria`, `service-rebalancing`.
//!
//! Two bounds hold in every pass, for the desired count of that instant: a start never raises the tasks
//! above the maximum, and a stop never lowers the healthy tasks below the minimum. Only stops of tasks
//! that are not healthy (pending, without a verdict, unhealthy) may happen while fewer healthy tasks run
//! than the minimum, because they do not lower that number. What the world does (exits, interruptions)
//! is bound by neither.
//!
//! On container instances: PENDING tasks on a DRAINING instance stop at once; RUNNING ones there no longer
//! count towards the desired count, so that replacements start, and they stop as the minimum allows: before
//! their replacements where it is below the healthy tasks, else after. Protected tasks are passed by, except
//! unhealthy ones; while one is protected, zones are not balanced. Zones are balanced on existing instances
//! only. DAEMON services: [`daemon`].
//!
//! Source: ECS developer guide, `container-instance-draining`, `task-scale-in-protection`. Not documented:
//! whether draining passes protected tasks by (it does for Managed Instances).
//!
//! Known departures: the first task of a deployment does not start alone to fix the image digest; a
//! deployment is done only when old tasks are STOPPED, not merely deregistered; the throttle holds back
//! the newest revision only; zones are balanced in one wave instead of task by task; a task without a load
//! balancer counts as healthy for a drain by the same rule as ever, not from RUNNING on.

use super::choice::Grid;
use super::circuit_breaker::{self, BreakerEvent, BreakerMemory};
use super::deployment_alarms;
use super::early_success;
use super::rolling::{self, Bounds, Budget, Counts};
use super::throttle::{self, ThrottleMemory};
use crate::cluster::health::Health;
use crate::cluster::nodes::Resources;
use crate::cluster::spread::{Share, zones_balanced};
use crate::cluster::task_status::TaskStatus;
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{Cleanup, DeploymentConfiguration, PlacementStrategy, RestartThrottle};
use crate::units::TaskId;

pub use super::view::{
    DeploymentMemory, DeploymentView, FailReason, Hold, NodeView, RebalanceMemory, RolloutState, SchedulerCommand,
    SchedulerMemory, SchedulerObservation, StartReason, StopReason, TaskEvent, TaskEventKind, TaskView, ZoneRoom,
};

/// What the scheduler is told of a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulerSpec<'a> {
    /// Bounds and safety of a rolling update.
    pub deployment: &'a DeploymentConfiguration,
    /// Waits after tasks that never reached RUNNING.
    pub throttle: &'a RestartThrottle,
    /// Whether STOPPING tasks count against the maximum.
    pub stopping_counts: bool,
    /// The capacity provider strategy.
    pub shares: &'a [Share],
    /// Zones of the service's subnets.
    pub zones: u32,
    /// Whether zones are rebalanced: [`crate::placement::zones::eligible`].
    pub rebalance: bool,
    /// The bake time: [`super::deployment_alarms::bake_time`].
    pub bake_time: SimDuration,
    /// Seed of the choice among equal tasks; `None` takes the oldest.
    pub tie_seed: Option<u64>,
    /// The placement strategies, which choose the tasks that stop on instances.
    pub placement: &'a [PlacementStrategy],
    /// What one task takes of an instance.
    pub needs: Resources,
    /// The scheduling strategy is DAEMON.
    pub daemon: bool,
}

/// Remembers what happened to a task. A task that the scheduler itself stops as unhealthy is counted by
/// [`decide`] and must not be told here.
#[must_use]
pub fn note(spec: &SchedulerSpec<'_>, memory: &SchedulerMemory, desired: u32, event: TaskEvent) -> SchedulerMemory {
    let mut next = memory.clone();
    let breaker_event = match event.kind {
        TaskEventKind::Running => BreakerEvent::Running,
        TaskEventKind::Healthy => BreakerEvent::Healthy,
        TaskEventKind::FailedToStart { .. } => BreakerEvent::FailedToStart,
        TaskEventKind::ExitedBeforeHealthy => BreakerEvent::ExitedBeforeHealthy,
    };
    if let Some(d) = next.deployment.as_mut().filter(|d| d.revision == event.revision) {
        d.breaker = record(spec, d.breaker, breaker_event, desired);
        match event.kind {
            TaskEventKind::Running => next.throttle = ThrottleMemory::default(),
            TaskEventKind::FailedToStart { launched } => {
                next.throttle = throttle::failed_to_start(spec.throttle, next.throttle, launched, event.now);
            }
            TaskEventKind::Healthy | TaskEventKind::ExitedBeforeHealthy => {}
        }
    }
    next
}

fn record(spec: &SchedulerSpec<'_>, breaker: BreakerMemory, event: BreakerEvent, desired: u32) -> BreakerMemory {
    let rule = &spec.deployment.deployment_circuit_breaker;
    let threshold = circuit_breaker::threshold(&rule.threshold_configuration, desired);
    circuit_breaker::record(breaker, event, threshold, rule.reset_on_healthy_task)
}

/// One pass over a service.
#[must_use]
pub fn decide(
    spec: &SchedulerSpec<'_>,
    memory: &SchedulerMemory,
    obs: &SchedulerObservation,
) -> (Vec<SchedulerCommand>, SchedulerMemory) {
    let mut memory = memory.clone();
    for d in &obs.deployments {
        if d.state == RolloutState::Completed {
            memory.last_completed = Some(d.revision);
        }
    }
    let Some(primary) = obs.deployments.last().copied() else { return (Vec::new(), memory) };
    let known = memory.deployment.take();
    let deployment = match known {
        Some(d) if d.id == primary.id => d,
        known => {
            if known.is_some() {
                // A new task definition ends the throttle.
                memory.throttle = ThrottleMemory::default();
            }
            memory.rebalance = None;
            begin(primary, obs)
        }
    };
    let mut pass = Pass::new(spec, memory, obs, primary, deployment);
    if pass.primary.state == RolloutState::InProgress && pass.fail() {
        return pass.finish();
    }
    if spec.daemon {
        pass.keep_one_on_each_instance();
        return pass.finish();
    }
    pass.leave_instances();
    pass.stop_unhealthy();
    if pass.primary.state == RolloutState::InProgress && pass.fail() {
        return pass.finish();
    }
    pass.start_missing();
    pass.drain();
    pass.stop_surplus();
    pass.stop_old();
    pass.balance_zones();
    pass.say_protected();
    pass.complete();
    pass.finish()
}

fn begin(primary: DeploymentView, obs: &SchedulerObservation) -> DeploymentMemory {
    let mut old: Vec<(u32, u32)> = Vec::new();
    for task in &obs.tasks {
        if task.revision != primary.revision && !task.stopping && task.status == TaskStatus::Running {
            match old.iter_mut().find(|(revision, _)| *revision == task.revision) {
                Some((_, n)) => *n += 1,
                None => old.push((task.revision, 1)),
            }
        }
    }
    DeploymentMemory {
        id: primary.id,
        revision: primary.revision,
        breaker: BreakerMemory::default(),
        alarms: deployment_alarms::start(&obs.alarms),
        old,
        done_since: None,
        stuck: false,
    }
}

/// How the scheduler sorts the tasks that are not stopping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Pending,
    NoVerdict,
    Healthy,
    Unhealthy,
}

fn class(task: &TaskView) -> Option<Class> {
    if task.stopping || task.status > TaskStatus::Running {
        None
    } else if task.status < TaskStatus::Running {
        Some(Class::Pending)
    } else {
        Some(match task.health {
            Health::Healthy => Class::Healthy,
            Health::Unhealthy => Class::Unhealthy,
            Health::Unknown => Class::NoVerdict,
        })
    }
}

/// Tasks of one revision, or of several, by class.
#[derive(Default)]
struct Group<'a> {
    pending: Vec<&'a TaskView>,
    no_verdict: Vec<&'a TaskView>,
    healthy: Vec<&'a TaskView>,
    unhealthy: Vec<&'a TaskView>,
    /// Those on DRAINING instances, of whatever class; in none of the others.
    draining: Vec<(&'a TaskView, Class)>,
}

impl<'a> Group<'a> {
    fn add(&mut self, task: &'a TaskView, class: Class) {
        match class {
            _ if task.draining => self.draining.push((task, class)),
            Class::Pending => self.pending.push(task),
            Class::NoVerdict => self.no_verdict.push(task),
            Class::Healthy => self.healthy.push(task),
            Class::Unhealthy => self.unhealthy.push(task),
        }
    }

    /// All but the unhealthy ones.
    fn good(&self) -> u32 {
        (self.pending.len() + self.no_verdict.len() + self.healthy.len()) as u32
    }

    fn good_tasks(&self) -> impl Iterator<Item = &'a TaskView> + '_ {
        self.pending.iter().chain(&self.no_verdict).chain(&self.healthy).copied()
    }
}

/// One pass at work.
struct Pass<'a> {
    spec: &'a SchedulerSpec<'a>,
    obs: &'a SchedulerObservation,
    memory: SchedulerMemory,
    primary: DeploymentView,
    deployment: DeploymentMemory,
    /// Tasks of the newest revision.
    new: Group<'a>,
    /// Tasks of each older revision that has any, in the order of the revisions' first tasks.
    old: Vec<(u32, Group<'a>)>,
    /// Old tasks that are not STOPPED, stopping ones included.
    old_left: u32,
    counts: Counts,
    bounds: Bounds,
    budget: Budget,
    commands: Vec<SchedulerCommand>,
    wake: Option<SimTime>,
    /// Tasks that would have stopped were they not protected.
    protected: u32,
}

impl<'a> Pass<'a> {
    fn new(
        spec: &'a SchedulerSpec<'a>,
        memory: SchedulerMemory,
        obs: &'a SchedulerObservation,
        primary: DeploymentView,
        deployment: DeploymentMemory,
    ) -> Self {
        let (mut new, mut old, mut old_left) = (Group::default(), Vec::<(u32, Group<'a>)>::new(), 0);
        let mut counts = Counts::default();
        for task in obs.tasks.iter().filter(|t| t.status != TaskStatus::Stopped) {
            let is_old = task.revision != primary.revision;
            old_left += u32::from(is_old);
            let class = class(task);
            match class {
                None => counts.stopping += 1,
                Some(Class::Pending) => counts.pending += 1,
                Some(Class::Healthy) => counts.healthy += 1,
                Some(Class::NoVerdict | Class::Unhealthy) => counts.unhealthy += 1,
            }
            let Some(class) = class else { continue };
            if !is_old {
                new.add(task, class);
                continue;
            }
            let at = old.iter().position(|(revision, _)| *revision == task.revision).unwrap_or_else(|| {
                old.push((task.revision, Group::default()));
                old.len() - 1
            });
            old[at].1.add(task, class);
        }
        let percents = spec.deployment;
        let maximum = if spec.daemon { 100 } else { percents.maximum_percent };
        let bounds = rolling::bounds(obs.desired, percents.minimum_healthy_percent, maximum);
        let budget = rolling::budget(bounds, counts, spec.stopping_counts);
        let (commands, wake, protected) = (Vec::new(), None, 0);
        Self {
            spec,
            obs,
            memory,
            primary,
            deployment,
            new,
            old,
            old_left,
            counts,
            bounds,
            budget,
            commands,
            wake,
            protected,
        }
    }

    fn in_progress(&self) -> bool {
        self.primary.state == RolloutState::InProgress
    }

    /// Tasks of the newest revision that should run.
    fn target(&self) -> u32 {
        self.obs.desired.saturating_add(self.memory.rebalance.map_or(0, |r| r.extra))
    }

    /// Fails the deployment if there is a reason. True when there was.
    fn fail(&mut self) -> bool {
        let rules = self.spec.deployment;
        let breaker = &rules.deployment_circuit_breaker;
        let deployment = self.deployment.id;
        let (reason, rollback) = if breaker.enable && self.deployment.breaker.open {
            let threshold = circuit_breaker::threshold(&breaker.threshold_configuration, self.obs.desired);
            let failures = self.deployment.breaker.count;
            (FailReason::CircuitBreaker { failures, threshold }, breaker.rollback)
        } else if rules.alarms.enable
            && let Some(alarm) = deployment_alarms::failing(self.deployment.alarms, &self.obs.alarms)
        {
            (FailReason::Alarm { alarm }, rules.alarms.rollback)
        } else {
            return false;
        };
        self.commands.push(SchedulerCommand::FailDeployment { deployment, reason });
        if let Some(revision) = self.memory.last_completed.filter(|r| rollback && *r != self.deployment.revision) {
            self.commands.push(SchedulerCommand::Rollback { deployment, revision });
        }
        true
    }

    fn stop(&mut self, task: TaskId, reason: StopReason) {
        self.commands.push(SchedulerCommand::Stop { task, reason });
    }

    /// Tasks on DRAINING instances that are not healthy stop at once: PENDING ones by the rule, others because
    /// nothing is lost with them. Protected ones wait.
    fn leave_instances(&mut self) {
        let groups = self.old.iter_mut().map(|(_, g)| g).chain([&mut self.new]);
        let mut gone = Vec::new();
        for group in groups {
            group.draining.retain(|(task, class)| {
                let stays = *class == Class::Healthy || *class == Class::NoVerdict && task.protected;
                if !stays {
                    gone.push((task.id, *class));
                }
                stays
            });
        }
        for (task, class) in gone {
            match class {
                Class::Pending => self.counts.pending -= 1,
                _ => self.counts.unhealthy -= 1,
            }
            self.counts.stopping += 1;
            self.stop(task, StopReason::Draining);
        }
        if !self.spec.stopping_counts {
            self.budget = rolling::budget(self.bounds, self.counts, false);
        }
    }

    /// Healthy tasks on DRAINING instances stop as far as the minimum allows, old revisions first.
    fn drain(&mut self) {
        for at in (0..self.old.len()).map(Some).chain([None]) {
            let group = at.map_or(&self.new, |i| &self.old[i].1);
            let healthy: Vec<&TaskView> =
                group.draining.iter().filter(|(_, c)| *c == Class::Healthy).map(|(t, _)| *t).collect();
            let mut grid = Grid::new(self.spec, &self.obs.nodes, healthy.iter().copied());
            let open: Vec<&TaskView> = healthy.iter().copied().filter(|t| !t.protected).collect();
            self.protected += (healthy.len() - open.len()) as u32;
            let chosen = grid.stop(&open, self.budget.may_stop_healthy as usize, self.spec.tie_seed);
            self.budget.may_stop_healthy -= chosen.len() as u32;
            if let Some(meant) = at.and_then(|i| {
                let revision = self.old[i].0;
                self.deployment.old.iter_mut().find(|(r, _)| *r == revision)
            }) {
                meant.1 = meant.1.saturating_sub(chosen.len() as u32);
            }
            for task in chosen {
                self.stop(task, StopReason::Draining);
            }
        }
    }

    fn say_protected(&mut self) {
        if self.protected > 0 {
            self.commands.push(SchedulerCommand::Held { tasks: self.protected, by: Hold::Protection });
        }
    }

    /// Step 2: unhealthy tasks of the newest revision.
    fn stop_unhealthy(&mut self) {
        if self.primary.state == RolloutState::Failed || self.new.unhealthy.is_empty() {
            return;
        }
        let unhealthy = self.new.unhealthy.len() as u32;
        let settled = (self.new.healthy.len() as u32).saturating_add(unhealthy);
        let mut n = settled.saturating_sub(self.target()).min(unhealthy);
        let missing = self.target().saturating_sub(self.new.good());
        // No room to start a replacement first: one at a time, the next once the place is free again.
        if n == 0 && missing > 0 && self.budget.may_start == 0 && self.counts.stopping == 0 {
            n = 1;
        }
        let mut grid = Grid::new(self.spec, &self.obs.nodes, self.new.unhealthy.iter().copied());
        for task in grid.stop(&self.new.unhealthy, n as usize, self.spec.tie_seed) {
            self.stop(task, StopReason::Unhealthy);
            self.new.unhealthy.retain(|t| t.id != task);
            if self.in_progress() {
                self.deployment.breaker =
                    record(self.spec, self.deployment.breaker, BreakerEvent::FailedHealthCheck, self.obs.desired);
            }
        }
    }

    /// Step 3: missing tasks.
    fn start_missing(&mut self) {
        let under_maximum = self.budget.may_start;
        let mut room = under_maximum.min(self.obs.provisioning_slots).min(self.obs.launch_tokens);
        let mut held = 0;
        for (revision, wanted) in self.wanted_old() {
            // Those on DRAINING instances serve until the new ones do.
            let good = self.group(revision).map_or(0, |g| g.good() + g.draining.len() as u32);
            let lost = wanted.saturating_sub(good);
            let Some(deployment) = self.deployment_of(revision).filter(|_| lost > 0) else { continue };
            let n = lost.min(room);
            let tasks: Vec<&TaskView> = self.group(revision).map_or(Vec::new(), |g| g.good_tasks().collect());
            let mut grid = Grid::new(self.spec, &self.obs.nodes, tasks.into_iter());
            self.start(deployment, revision, StartReason::ReplaceOld, n, &mut grid);
            room -= n;
            held += lost - n;
        }
        let missing = self.target().saturating_sub(self.new.good());
        if missing == 0 && held == 0 {
            return;
        }
        let throttled = throttle::blocked_until(self.memory.throttle, self.obs.now);
        let n = if self.primary.state == RolloutState::Failed || throttled.is_some() { 0 } else { missing.min(room) };
        let replacing = missing.min(self.new.unhealthy.len() as u32);
        let mut grid = Grid::new(self.spec, &self.obs.nodes, self.new.good_tasks());
        let (deployment, revision) = (self.deployment.id, self.deployment.revision);
        let reason = if self.in_progress() { StartReason::NewRevision } else { StartReason::BelowDesired };
        let fresh = n.min(missing - replacing);
        self.start(deployment, revision, reason, fresh, &mut grid);
        self.start(deployment, revision, StartReason::ReplaceUnhealthy, n - fresh, &mut grid);
        held += missing - n;
        if held == 0 {
            return;
        }
        let by = if self.primary.state == RolloutState::Failed {
            Hold::Failed
        } else if let Some(until) = throttled {
            self.wake_at(until);
            Hold::Throttle { until }
        } else if self.obs.launch_tokens < under_maximum.min(self.obs.provisioning_slots) {
            Hold::LaunchRate
        } else if self.obs.provisioning_slots < under_maximum {
            Hold::Provisioning
        } else {
            Hold::Maximum { max_total: self.bounds.max_total }
        };
        self.commands.push(SchedulerCommand::Held { tasks: held, by });
    }

    /// Old revisions and how many tasks of each are still wanted beside the new ones that are healthy.
    fn wanted_old(&self) -> Vec<(u32, u32)> {
        if self.primary.state == RolloutState::Completed {
            return Vec::new();
        }
        let mut needed = self.obs.desired.saturating_sub(self.new.healthy.len() as u32);
        let of = |(revision, meant): &(u32, u32)| {
            let wanted = (*meant).min(needed);
            needed -= wanted;
            (*revision, wanted)
        };
        self.deployment.old.iter().map(of).collect()
    }

    fn group(&self, revision: u32) -> Option<&Group<'a>> {
        self.old.iter().find(|(r, _)| *r == revision).map(|(_, g)| g)
    }

    /// The latest deployment of an old revision, unless it failed: what failed is launched no more.
    fn deployment_of(&self, revision: u32) -> Option<u32> {
        let found = self.obs.deployments.iter().rev().find(|d| d.revision == revision)?;
        (found.state != RolloutState::Failed).then_some(found.id)
    }

    fn start(&mut self, deployment: u32, revision: u32, reason: StartReason, n: u32, grid: &mut Grid<'_>) {
        for _ in 0..n {
            let Some((capacity, zone)) = grid.start() else { return };
            self.commands.push(SchedulerCommand::Start { deployment, revision, capacity, zone, node: None, reason });
            self.budget.may_start = self.budget.may_start.saturating_sub(1);
            self.counts.pending += 1;
        }
    }

    /// Step 4, first half: surplus tasks of the newest revision.
    fn stop_surplus(&mut self) {
        let surplus = self.new.good().saturating_sub(self.target());
        if surplus == 0 {
            return;
        }
        let mut grid = Grid::new(self.spec, &self.obs.nodes, self.new.good_tasks());
        self.stop_classes(surplus, StopReason::Surplus, &mut grid, None);
    }

    /// Stops up to `n` tasks of a group (the newest revision's when `None`): pending ones, those without
    /// a verdict, then healthy ones within the budget. Returns how many it stopped.
    fn stop_classes(&mut self, n: u32, reason: StopReason, grid: &mut Grid<'_>, old: Option<usize>) -> u32 {
        let mut left = n;
        for class in [Class::Pending, Class::NoVerdict, Class::Healthy] {
            let group = old.map_or(&self.new, |i| &self.old[i].1);
            let (candidates, limit) = match class {
                Class::Pending => (&group.pending, u32::MAX),
                Class::NoVerdict => (&group.no_verdict, u32::MAX),
                Class::Healthy | Class::Unhealthy => (&group.healthy, self.budget.may_stop_healthy),
            };
            let open: Vec<&TaskView> = candidates.iter().copied().filter(|t| !t.protected).collect();
            let protected = (candidates.len() - open.len()) as u32;
            let chosen = grid.stop(&open, left.min(limit) as usize, self.spec.tie_seed);
            left -= chosen.len() as u32;
            if chosen.len() == open.len() {
                self.protected += protected.min(left);
            }
            for task in chosen {
                self.stop(task, reason);
                if class == Class::Healthy {
                    self.budget.may_stop_healthy -= 1;
                }
            }
        }
        n - left
    }

    /// Step 4, second half: old tasks.
    fn stop_old(&mut self) {
        if self.primary.state == RolloutState::Failed {
            return;
        }
        let all_wanted = self.wanted_old();
        let short = self.counts.healthy < self.bounds.min_healthy;
        for at in 0..self.old.len() {
            let revision = self.old[at].0;
            let meant = self.deployment.old.iter().position(|(r, _)| *r == revision);
            let wanted = all_wanted.iter().find(|(r, _)| *r == revision).map_or(0, |(_, n)| *n);
            let unhealthy: Vec<TaskId> = self.old[at].1.unhealthy.iter().map(|t| t.id).collect();
            let lost = short && self.in_progress();
            for task in &unhealthy {
                self.stop(*task, if lost { StopReason::Unhealthy } else { StopReason::OldRevision });
            }
            // An unhealthy one that is needed leaves a gap, which the next pass fills with its revision.
            let mut gone = if lost { 0 } else { unhealthy.len() as u32 };
            let group = &self.old[at].1;
            let mut grid = Grid::new(self.spec, &self.obs.nodes, group.good_tasks());
            let (good, healthy) = (group.good(), group.healthy.len() as u32);
            // Only those that are not healthy: what follows takes the healthy ones, within the budget.
            let others = group.pending.iter().chain(&group.no_verdict).filter(|t| !t.protected).count() as u32;
            let unneeded = good.saturating_sub(wanted).min(others);
            gone += self.stop_classes(unneeded, StopReason::OldRevision, &mut grid, Some(at));
            let n = self.budget.may_stop_healthy.min(healthy);
            let open: Vec<&TaskView> = self.old[at].1.healthy.iter().copied().filter(|t| !t.protected).collect();
            self.protected += n.saturating_sub(open.len() as u32);
            let chosen = grid.stop(&open, n as usize, self.spec.tie_seed);
            self.budget.may_stop_healthy -= chosen.len() as u32;
            gone += chosen.len() as u32;
            for task in chosen {
                self.stop(task, StopReason::OldRevision);
            }
            if let Some(i) = meant {
                self.deployment.old[i].1 = self.deployment.old[i].1.saturating_sub(gone);
            }
        }
    }

    /// Step 5: the balance of zones.
    fn balance_zones(&mut self) {
        let steady = self.primary.state == RolloutState::Completed
            && self.old.is_empty()
            && self.counts.pending == 0
            && self.counts.stopping == 0
            && self.new.no_verdict.is_empty()
            && self.new.unhealthy.is_empty()
            && self.new.draining.is_empty();
        let healthy = self.new.healthy.len() as u32;
        if let Some(running) = self.memory.rebalance {
            // Lost or surplus tasks have changed the count: what is left of the extra ones is what counts.
            let extra = running.extra.min(healthy.saturating_sub(self.obs.desired));
            if !steady {
                return;
            }
            self.memory.rebalance = None;
            let mut grid = Grid::new(self.spec, &self.obs.nodes, self.new.healthy.iter().copied());
            let same: Vec<&TaskView> =
                self.new.healthy.iter().copied().filter(|t| t.capacity == running.capacity && !t.protected).collect();
            for task in grid.stop(&same, extra.min(self.budget.may_stop_healthy) as usize, self.spec.tie_seed) {
                self.stop(task, StopReason::Rebalance);
            }
            return;
        }
        let protected = self.new.healthy.iter().any(|t| t.protected);
        if !steady || !self.spec.rebalance || protected || healthy != self.obs.desired || !self.commands.is_empty() {
            return;
        }
        let room = self.budget.may_start.min(self.obs.provisioning_slots).min(self.obs.launch_tokens);
        let mut grid = Grid::new(self.spec, &self.obs.nodes, self.new.healthy.iter().copied());
        let uneven = grid.capacities().find(|(share, _)| !zones_balanced(grid.zones_of(*share)));
        let Some((share, capacity)) = uneven else { return };
        let n = moves(grid.zones_of(share)).min(room);
        let mut rooms: Vec<ZoneRoom> = self.obs.room.iter().copied().filter(|r| r.capacity == capacity).collect();
        let mut extra = 0;
        for _ in 0..n {
            let Some((capacity, zone)) = grid.start_on(share) else { break };
            if !rooms.is_empty() {
                match rooms.iter_mut().find(|r| r.zone == zone && r.tasks > 0) {
                    Some(room) => room.tasks -= 1,
                    None => break,
                }
            }
            let (deployment, revision) = (self.deployment.id, self.deployment.revision);
            let reason = StartReason::Rebalance;
            self.commands.push(SchedulerCommand::Start { deployment, revision, capacity, zone, node: None, reason });
            extra += 1;
        }
        if extra > 0 {
            self.memory.rebalance = Some(RebalanceMemory { capacity, extra });
        }
    }

    /// Step 6: whether the deployment is done, or stuck.
    fn complete(&mut self) {
        if !self.in_progress() {
            return;
        }
        let healthy = self.new.healthy.len() as u32;
        let whole = healthy >= self.obs.desired && self.old_left == 0;
        let early = self.spec.deployment.early_success.as_ref().is_some_and(|rule| {
            healthy >= early_success::required(self.obs.desired, rule.healthy_percent)
                && (rule.cleanup == Cleanup::Deferred || self.old_left == 0)
        });
        if whole || early {
            let since = *self.deployment.done_since.get_or_insert(self.obs.now);
            let done_at = since + self.spec.bake_time;
            if self.obs.now >= done_at {
                let deployment = self.deployment.id;
                self.commands.push(SchedulerCommand::CompleteDeployment { deployment, early: !whole });
                self.memory.last_completed = Some(self.deployment.revision);
            } else {
                self.wake_at(done_at);
            }
            return;
        }
        self.deployment.done_since = None;
        let idle =
            !self.commands.iter().any(|c| matches!(c, SchedulerCommand::Start { .. } | SchedulerCommand::Stop { .. }));
        let stuck = idle && rolling::stuck(self.budget, self.counts, !self.old.is_empty());
        if stuck && !self.deployment.stuck {
            self.commands.push(SchedulerCommand::Stuck { deployment: self.deployment.id, bounds: self.bounds });
        }
        self.deployment.stuck = stuck;
    }

    fn wake_at(&mut self, at: SimTime) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    fn finish(mut self) -> (Vec<SchedulerCommand>, SchedulerMemory) {
        if let Some(at) = self.wake {
            self.commands.push(SchedulerCommand::Wake { at });
        }
        self.memory.deployment = Some(self.deployment);
        (self.commands, self.memory)
    }
}

/// Moves that balance these counts, each from the richest zone to the poorest.
fn moves(counts: &[u32]) -> u32 {
    let total: u32 = counts.iter().sum();
    let zones = counts.len() as u32;
    let (share, mut remainder) = (total / zones, total % zones);
    counts
        .iter()
        .map(|n| {
            // A zone that is above the even share may keep one of the remainder.
            let keeps = u32::from(remainder > 0 && *n > share);
            remainder -= keeps;
            n.saturating_sub(share + keeps)
        })
        .sum()
}

mod daemon;

#[cfg(test)]
mod instance_tests;

#[cfg(test)]
mod tests;
