//! How far one sync may go: stabilization and rate limits, with `behavior` and without it.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` of Kubernetes.

use serde::{Deserialize, Serialize};

use super::spec::{HpaSettings, PolicyKind, Rules, SelectPolicy};
use crate::kernel::{SimDuration, SimTime};

/// A proposal that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When it was made.
    pub at: SimTime,
    /// The size that was asked for, before stabilization and limits.
    pub replicas: u32,
}

/// A change of size that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub at: SimTime,
    /// By how many replicas, counted positive both ways.
    pub change: u32,
    /// Older than every period of its direction when last looked at: its slot may be used again.
    pub outdated: bool,
}

/// What bound the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Nothing.
    DesiredWithinRange,
    /// The speed of scaling up.
    ScaleUpLimit,
    /// The speed of scaling down.
    ScaleDownLimit,
    /// `maxReplicas`.
    TooManyReplicas,
    /// `minReplicas`.
    TooFewReplicas,
}

/// Without `behavior`: the largest of the proposal and of everything proposed within the window, its end
/// included. Remembers the proposal.
pub fn stabilize_legacy(memory: &mut Vec<Recommendation>, proposal: u32, window: SimDuration, now: SimTime) -> u32 {
    let (mut result, mut old) = (proposal, None);
    for (at, recommendation) in memory.iter().enumerate() {
        if now - recommendation.at > window {
            old = Some(at);
        } else {
            result = result.max(recommendation.replicas);
        }
    }
    remember(memory, old, proposal, now);
    result
}

/// With `behavior`: the present size, raised to the smallest proposal of the up window and cut to the largest
/// of the down window. Remembers the proposal.
pub fn stabilize(
    memory: &mut Vec<Recommendation>,
    current: u32,
    proposal: u32,
    up: SimDuration,
    down: SimDuration,
    now: SimTime,
) -> u32 {
    let (mut low, mut high, mut old) = (proposal, proposal, None);
    for (at, recommendation) in memory.iter().enumerate() {
        let age = now - recommendation.at;
        if age < up {
            low = low.min(recommendation.replicas);
        }
        if age < down {
            high = high.max(recommendation.replicas);
        }
        if age > up && age > down {
            old = Some(at);
        }
    }
    remember(memory, old, proposal, now);
    current.max(low).min(high)
}

fn remember(memory: &mut Vec<Recommendation>, slot: Option<usize>, replicas: u32, at: SimTime) {
    let new = Recommendation { at, replicas };
    match slot {
        Some(slot) => memory[slot] = new,
        None => memory.push(new),
    }
}

/// Without `behavior`: within the bounds, and at most twice the present size or 4.
#[must_use]
pub fn limit_legacy(current: u32, desired: u32, min: u32, max: u32, settings: &HpaSettings) -> (u32, Limit) {
    let bound = (f64::from(current) * settings.scale_up_limit_factor).max(settings.scale_up_limit_minimum) as u32;
    let (upper, reason) = if max > bound { (bound, Limit::ScaleUpLimit) } else { (max, Limit::TooManyReplicas) };
    if desired < min {
        (min, Limit::TooFewReplicas)
    } else if desired > upper {
        (upper, reason)
    } else {
        (desired, Limit::DesiredWithinRange)
    }
}

/// With `behavior`: within the bounds and the rate limits of the direction.
#[must_use]
#[allow(clippy::too_many_arguments, reason = "they are the arguments of the rule")]
pub fn limit(
    current: u32,
    desired: u32,
    (min, max): (u32, u32),
    up: &Rules<'_>,
    down: &Rules<'_>,
    ups: &[ScaleEvent],
    downs: &[ScaleEvent],
    now: SimTime,
) -> (u32, Limit) {
    if desired > current {
        let bound = up_limit(current, up, ups, downs, now).max(i64::from(current));
        let (upper, reason) =
            if i64::from(max) > bound { (count(bound), Limit::ScaleUpLimit) } else { (max, Limit::TooManyReplicas) };
        if desired > upper {
            return (upper, reason);
        }
    } else if desired < current {
        let bound = down_limit(current, down, ups, downs, now).min(i64::from(current));
        let (lower, reason) =
            if i64::from(min) < bound { (count(bound), Limit::ScaleDownLimit) } else { (min, Limit::TooFewReplicas) };
        if desired < lower {
            return (lower, reason);
        }
    }
    (desired, Limit::DesiredWithinRange)
}

/// The largest size that the rules for scaling up allow now; may be below the present one.
#[must_use]
pub fn up_limit(current: u32, rules: &Rules<'_>, ups: &[ScaleEvent], downs: &[ScaleEvent], now: SimTime) -> i64 {
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(current, policy.period, ups, downs, now);
        match policy.kind {
            PolicyKind::Pods => start + i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i64,
        }
    });
    let bound = match rules.select_policy {
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
        SelectPolicy::Disabled => None,
    };
    bound.unwrap_or(i64::from(current))
}

/// The smallest size that the rules for scaling down allow now; may be above the present one or negative.
#[must_use]
pub fn down_limit(current: u32, rules: &Rules<'_>, ups: &[ScaleEvent], downs: &[ScaleEvent], now: SimTime) -> i64 {
    let limits = rules.policies.iter().map(|policy| {
        let start = period_start(current, policy.period, ups, downs, now);
        match policy.kind {
            PolicyKind::Pods => start - i64::from(policy.value),
            PolicyKind::Percent => (start as f64 * (1.0 - f64::from(policy.value) / 100.0)) as i64,
        }
    });
    let bound = match rules.select_policy {
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
        SelectPolicy::Disabled => None,
    };
    bound.unwrap_or(i64::from(current))
}

/// The size at the start of a period: what was added since taken off, what was removed put back.
fn period_start(current: u32, period: SimDuration, ups: &[ScaleEvent], downs: &[ScaleEvent], now: SimTime) -> i64 {
    i64::from(current) - change_in(ups, period, now) + change_in(downs, period, now)
}

/// The sum of the changes younger than a period.
#[must_use]
pub fn change_in(events: &[ScaleEvent], period: SimDuration, now: SimTime) -> i64 {
    events.iter().filter(|e| now - e.at < period).map(|e| i64::from(e.change)).sum()
}

/// Remembers a change in the list of its direction: in place of the last that no period reaches, else behind.
pub fn record(events: &mut Vec<ScaleEvent>, change: u32, longest_period: SimDuration, now: SimTime) {
    let mut slot = None;
    for (at, event) in events.iter_mut().enumerate() {
        event.outdated |= now - event.at > longest_period;
        if event.outdated {
            slot = Some(at);
        }
    }
    let new = ScaleEvent { at: now, change, outdated: false };
    match slot {
        Some(slot) => events[slot] = new,
        None => events.push(new),
    }
}

fn count(bound: i64) -> u32 {
    u32::try_from(bound.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
}
