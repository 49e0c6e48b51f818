//! The canary of Argo Rollouts: sizes by weight with or without exact traffic, and its steps.

use super::analysis::{AnalysisRun, Phase};
use super::rollout::{Canary, CanaryScale, CanaryStep, Pass, Pause, PauseReason, RolloutStep};
use crate::kubernetes::deployment::{Fenceposts, ReplicaSet, fenceposts};

/// Sizes of canary and stable set that come closest to a weight where pods share the traffic. Both have a
/// pod where the weight is neither 0 nor 100 and there is room; with a surge one more pod may bring it closer.
#[must_use]
pub fn approximate_counts(replicas: i32, weight: i32, max_surge: i32) -> (i32, i32) {
    if replicas <= 0 {
        return (0, 0);
    }
    let weight = weight.clamp(0, 100);
    let product = i64::from(replicas) * i64::from(weight);
    let part = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    let (floor, ceil) = (part(product.div_euclid(100)), part(product.div_euclid(100) + i64::from(product % 100 != 0)));
    // Both as far from the weight: the larger canary is taken.
    let tied = |total: i32| (i64::from(total) * i64::from(weight)) % 100 == 50;
    let zero_allowed = weight == 100 || weight == 0 || (replicas == 1 && max_surge == 0);
    let mut options = Vec::with_capacity(4);
    if ceil < replicas || zero_allowed {
        options.push((ceil, replicas));
    }
    if !tied(replicas) && (floor != 0 || zero_allowed) {
        options.push((floor, replicas));
    }
    if max_surge > 0 {
        options.push((ceil, replicas + 1));
        if !tied(replicas + 1) && (floor != 0 || zero_allowed) {
            options.push((floor, replicas + 1));
        }
    }
    let distance =
        |&(canary, total): &(i32, i32)| (f64::from(canary) * 100.0 / f64::from(total) - f64::from(weight)).abs();
    let mut best: Option<(i32, i32)> = None;
    for option in options {
        if best.is_none_or(|b| distance(&option) < distance(&b)) {
            best = Some(option);
        }
    }
    best.map_or((0, replicas), |(canary, total)| (canary, total - canary))
}

fn share(replicas: i32, weight: i32) -> i32 {
    let weight = weight.clamp(0, 100);
    let product = i64::from(replicas) * i64::from(weight);
    i32::try_from(product.div_euclid(100) + i64::from(product % 100 != 0)).unwrap_or(i32::MAX)
}

/// Sizes of canary and stable set where a balancer splits the traffic. `scale` is the size or weight that a
/// step gave, `desired` the weight asked for, `actual` the canary's weight now.
#[must_use]
pub fn routed_counts(
    canary: &Canary,
    replicas: i32,
    scale: Option<CanaryScale>,
    desired: i32,
    actual: i32,
    aborted: bool,
) -> (i32, i32) {
    let at_least = |count: i32| match canary.min_pods_per_replica_set {
        Some(least) if count > 0 => count.max(least),
        _ => count,
    };
    let (new, desired) = match scale {
        Some(CanaryScale::Replicas(count)) => (count, 0),
        Some(CanaryScale::Weight(weight)) => (at_least(share(replicas, weight)), weight),
        _ => (at_least(share(replicas, desired)), desired),
    };
    if !canary.dynamic_stable_scale {
        return (new, replicas);
    }
    // The larger of what has traffic now and what shall have it.
    let stable = share(replicas, 100 - desired).max(share(replicas, 100 - actual));
    let new = if aborted { new.max(share(replicas, actual)) } else { new };
    (at_least(new), at_least(stable))
}

/// The weight of the step it is at: that of the last `setWeight` up to there.
fn weight_at(canary: &Canary, step: usize) -> i32 {
    let upto = canary.steps.iter().take(step + 1).rev();
    upto.filter_map(|s| if let CanaryStep::SetWeight(w) = s { Some(*w) } else { None }).next().unwrap_or(0)
}

/// The size that a step gave to the canary, unless a later one takes it back.
fn scale_at(canary: &Canary, step: usize) -> Option<CanaryScale> {
    let mut upto = canary.steps.iter().take(step + 1).rev();
    upto.find_map(|s| if let CanaryStep::SetCanaryScale(scale) = s { Some(*scale) } else { None })
        .filter(|s| *s != CanaryScale::MatchTrafficWeight)
}

impl Pass<'_> {
    fn desired_weight(&self, canary: &Canary) -> i32 {
        match () {
            () if self.status.promote_full || self.stable.is_none() => 100,
            () if self.status.abort.is_some() => 0,
            () if self.status.step >= canary.steps.len() => 100,
            () => weight_at(canary, self.status.step),
        }
    }

    /// Sizes that new and stable set should have now.
    fn canary_counts(&self, canary: &Canary) -> (i32, i32) {
        let weight = self.desired_weight(canary);
        if canary.traffic_routing {
            let stepping = !self.status.promote_full && self.status.step < canary.steps.len() && self.stable.is_some();
            let kept = self.status.abort.is_none() || canary.abort_scale_down_delay.is_none();
            let scale = (stepping && kept).then(|| scale_at(canary, self.status.step)).flatten();
            let (actual, aborted) = (self.status.canary_weight, self.status.abort.is_some());
            let (new, stable) = routed_counts(canary, self.spec.replicas, scale, weight, actual, aborted);
            return (new, if self.stable.is_some() { stable } else { 0 });
        }
        self.basic_counts(canary, weight)
    }

    /// Without a balancer: towards the weight, within surge and unavailability.
    fn basic_counts(&self, canary: &Canary, weight: i32) -> (i32, i32) {
        let replicas = self.spec.replicas;
        let Fenceposts { surge, unavailable } = fenceposts(canary.max_surge, canary.max_unavailable, replicas);
        let unavailable = if replicas > 0 { unavailable.min(replicas) } else { 0 };
        let (want_new, want_stable) = match self.stable {
            Some(_) => approximate_counts(replicas, weight, surge),
            None => (replicas, 0),
        };
        let size = |s: Option<ReplicaSet>| s.map_or(0, |s| s.replicas);
        let (mut new, mut stable) = (size(self.new), size(self.stable));
        let others: i32 = self.others.iter().map(|s| s.replicas).sum();
        let most = replicas.saturating_add(surge);
        let mut room = most - (new + stable + others);
        // The stable set has precedence in growing.
        if self.stable.is_some() && stable < want_stable && room > 0 {
            let grow = room.min(want_stable - stable);
            stable += grow;
            room -= grow;
        }
        if self.new.is_some() && new < want_new && room > 0 {
            new += room.min(want_new - new);
        }
        if others > 0 {
            return (new, stable);
        }
        let least = replicas - unavailable;
        let increasing = self.new.is_none_or(|s| want_new >= s.replicas);
        let counts = |s: Option<ReplicaSet>, ignore: bool| {
            s.map_or(0, |s| if s.replicas < s.available || ignore { s.replicas } else { s.available })
        };
        let excess = counts(self.new, !increasing) + counts(self.stable, increasing) - least;
        if excess <= 0 {
            return (new, stable);
        }
        let shrink = |s: Option<ReplicaSet>, want: i32, now: i32| match s {
            Some(s) if s.replicas > want => want.max(s.replicas - excess),
            _ => now,
        };
        if !increasing {
            new = shrink(self.new, want_new, new);
            within_limits(self.new, self.stable, new, stable, most, least)
        } else if self.stable.is_some() {
            stable = shrink(self.stable, want_stable, stable);
            let (stable, new) = within_limits(self.stable, self.new, stable, new, most, least);
            (new, stable)
        } else {
            (new, stable)
        }
    }

    /// Whether both sets have the size and the pods that the weight asks for.
    fn at_desired_counts(&self, canary: &Canary, counts: (i32, i32)) -> bool {
        let new = self.new.is_some_and(|s| s.replicas == counts.0 && s.available == counts.0);
        let check_stable = !(canary.traffic_routing && canary.dynamic_stable_scale);
        let stable = self.stable.is_none_or(|s| s.replicas == counts.1 && s.current == counts.1);
        let others = canary.traffic_routing || self.others.iter().all(|s| s.available == 0);
        new && (stable || !check_stable) && others
    }

    /// The weight that the canary gets now: never more than its pods can bear.
    fn route(&self, canary: &Canary) -> i32 {
        let replicas = self.spec.replicas.max(1);
        let (Some(stable), now) = (self.stable, self.status.canary_weight) else { return 0 };
        if self.status.abort.is_some() {
            return match canary.dynamic_stable_scale {
                true => {
                    (100 - (100 * i64::from(stable.available) / i64::from(replicas))).clamp(0, i64::from(now)) as i32
                }
                false => 0,
            };
        }
        let Some(new) = self.new.filter(|s| s.available > 0) else { return 0 };
        if self.status.promote_full {
            return match canary.dynamic_stable_scale {
                true => (100 * i64::from(new.available) / i64::from(replicas)).min(100) as i32,
                false => now,
            };
        }
        if canary.steps.is_empty() {
            return 0;
        }
        if !self.at_desired_counts(canary, self.canary_counts(canary)) {
            // The weight of the step before, until the pods are there.
            return self.status.step.checked_sub(1).map_or(0, |before| weight_at(canary, before));
        }
        self.desired_weight(canary)
    }

    fn background(&mut self, canary: &Canary) {
        let Some(background) = &canary.analysis else { return };
        let stepping = self.stable.is_some() && self.status.abort.is_none() && !self.status.promote_full;
        let begun = self.status.step >= background.starting_step && self.status.step < canary.steps.len().max(1);
        if let Some(run) = self.status.background_analysis.take() {
            let end = self.status.step >= canary.steps.len() || !stepping;
            self.status.background_analysis = Some(self.analyse(run, &background.metrics, end));
        } else if stepping && begun {
            let run = AnalysisRun::new(&background.metrics, self.see.now);
            self.status.background_analysis = Some(self.analyse(run, &background.metrics, false));
        }
    }
}

/// Keeps the sum under `most` without taking available pods under `least`: first from the set that is not
/// drained, then from the drained one. Gives (drained, other).
fn within_limits(
    drained: Option<ReplicaSet>,
    other: Option<ReplicaSet>,
    mut drain: i32,
    mut keep: i32,
    most: i32,
    least: i32,
) -> (i32, i32) {
    if let Some(other) = other {
        keep -= (keep + drain - most).max(0);
        let available = drained.map_or(0, |s| s.available.min(drain)) + other.available.min(keep);
        let lost = (other.available - keep).max(0);
        keep += lost.min((least - available).max(0));
        drain -= (keep + drain - most).max(0);
    }
    (drain, keep)
}

/// One pass of a canary.
pub(super) fn run(pass: &mut Pass<'_>, canary: &Canary) -> RolloutStep {
    let Some(new) = pass.new else { return RolloutStep::Scaled };
    if canary.traffic_routing {
        let weight = pass.route(canary);
        if weight != pass.status.canary_weight {
            pass.status.canary_weight = weight;
            return RolloutStep::TrafficMoved;
        }
    }
    let was_aborted = pass.status.abort.is_some();
    pass.background(canary);
    let metrics = match canary.steps.get(pass.status.step) {
        Some(CanaryStep::Analysis(metrics)) if pass.stable.is_some() && !pass.status.promote_full => Some(metrics),
        _ => None,
    };
    if let (Some(metrics), false) = (metrics, pass.status.abort.is_some()) {
        let run = pass.status.step_analysis.take().unwrap_or_else(|| AnalysisRun::new(metrics, pass.see.now));
        pass.status.step_analysis = Some(pass.analyse(run, metrics, false));
    }
    if let (Some(abort), false) = (&pass.status.abort, was_aborted) {
        return RolloutStep::Aborted(abort.reason.clone());
    }
    let inconclusive = pass.status.pause.filter(|p| p.reason == PauseReason::InconclusiveAnalysis);
    if let Some(pause) = inconclusive {
        return RolloutStep::Paused(pause.reason);
    }
    // Sizes: stable, new, others; the first that changes ends the pass.
    let counts = pass.canary_counts(canary);
    if let Some(stable) = pass.stable
        && pass.scale(&stable, counts.1)
    {
        return RolloutStep::Scaled;
    }
    let delayed = pass.status.abort.is_some() && canary.traffic_routing && !canary.dynamic_stable_scale;
    let scaled = match delayed && pass.stable.is_some() {
        true => pass.retire_new(canary.abort_scale_down_delay),
        false => pass.scale(&new, counts.0),
    };
    if scaled || retire(pass, canary) {
        return RolloutStep::Scaled;
    }
    if let Some(abort) = &pass.status.abort {
        let reason = abort.reason.clone();
        pass.status.step = 0;
        return RolloutStep::Aborted(reason);
    }
    let ready = new.available == pass.spec.replicas && new.replicas == pass.spec.replicas;
    if pass.status.stable.is_none() {
        return pass.promote(canary.scale_down_delay);
    }
    if pass.stable.is_none() {
        return if ready { RolloutStep::Settled } else { RolloutStep::WaitsForPods };
    }
    if pass.spec.paused {
        return RolloutStep::WaitsForPods;
    }
    if pass.status.promote_full || pass.status.step >= canary.steps.len() {
        return if ready { pass.promote(canary.scale_down_delay) } else { RolloutStep::WaitsForPods };
    }
    let step = pass.status.step;
    let done = match &canary.steps[step] {
        CanaryStep::Pause(length) => {
            let pause =
                *pass.status.pause.get_or_insert(Pause { reason: PauseReason::CanaryPauseStep, since: pass.see.now });
            let end = length.map(|length| pause.since.saturating_add(length));
            if let Some(end) = end {
                pass.wake(end);
            }
            if end.is_none_or(|end| end > pass.see.now) {
                return RolloutStep::Paused(pause.reason);
            }
            true
        }
        CanaryStep::SetWeight(_) | CanaryStep::SetCanaryScale(_) => pass.at_desired_counts(canary, counts),
        CanaryStep::Analysis(_) => match pass.status.step_analysis.as_ref().map(|run| run.phase) {
            Some(Phase::Successful) => true,
            _ => return RolloutStep::Analysing,
        },
    };
    if !done {
        return RolloutStep::WaitsForPods;
    }
    pass.status.step += 1;
    (pass.status.pause, pass.status.step_analysis) = (None, None);
    RolloutStep::StepDone(step)
}

/// Sizes the other sets: after their delay with a balancer; without one at once, as the floor allows.
fn retire(pass: &mut Pass<'_>, canary: &Canary) -> bool {
    if canary.traffic_routing {
        return pass.retire_others();
    }
    let replicas = pass.spec.replicas;
    let unavailable = fenceposts(canary.max_surge, canary.max_unavailable, replicas).unavailable.min(replicas);
    let mut excess = pass.see.sets.iter().map(|s| s.available).sum::<i32>() - (replicas - unavailable);
    let mut scaled = false;
    for set in pass.others.clone().into_iter().rev() {
        // What is not available goes in any case.
        let unhealthy = (set.replicas - set.available).max(0);
        let taken = (set.replicas - unhealthy).min(excess.max(0));
        excess -= taken;
        scaled |= pass.scale(&set, set.replicas - unhealthy - taken);
    }
    scaled
}
