//! The deletion of one node: taint, wait, evict, wait for the pods, delete.
//!
//! Rules: `core/scaledown/actuation/{actuator,drain}.go`: evictions that are refused are asked for again
//! every 10 s; pods get their grace period, cut to the setting, and 30 s more.

use super::Settings;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::scheduler::PodKey;

/// Time between two attempts at an eviction (`EvictionRetryTime`).
const EVICTION_RETRY: SimDuration = SimDuration::from_secs(10);
/// Time that pods have beyond their grace period (`PodEvictionHeadroom`).
const HEADROOM: SimDuration = SimDuration::from_secs(30);

/// A deletion that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// When the node was tainted.
    pub tainted: SimTime,
    /// Whether the node had no pods to move.
    pub empty: bool,
    /// When the last round of evictions was asked for.
    pub asked: Option<SimTime>,
    /// Since when no eviction is outstanding.
    pub evicted: Option<SimTime>,
}

/// A pod that is still on the node and must move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Which one.
    pub pod: PodKey,
    /// Whether it terminates.
    pub terminating: bool,
    /// Its grace period.
    pub grace: SimDuration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainStep {
    /// Nothing until then, or until a pod is gone.
    Wait(SimTime),
    /// Ask for these evictions now, then look again: at once if all were granted.
    Evict(Vec<PodKey>, SimTime),
    /// Delete the instance; the group's size falls by one.
    Delete,
    /// Give up: take the taint off, and tell the memory of the failure.
    Fail(DrainFailure),
}

/// Why a deletion failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainFailure {
    /// The node was empty, and a pod came before the taint held.
    NotEmpty,
    /// An eviction was refused for too long.
    EvictionRefused(PodKey),
    /// A pod did not end in time.
    PodStayed(PodKey),
}

impl Drain {
    /// A deletion that begins: the node is tainted now.
    #[must_use]
    pub const fn new(empty: bool, now: SimTime) -> Self {
        Self { tainted: now, empty, asked: None, evicted: None }
    }

    /// The next step. `remaining` are the pods on the node that must move, DaemonSets' left out.
    pub fn step(&mut self, settings: &Settings, remaining: &[Remaining], now: SimTime) -> DrainStep {
        let begin = self.tainted.saturating_add(settings.node_delete_delay_after_taint);
        if now < begin {
            return DrainStep::Wait(begin);
        }
        if remaining.is_empty() {
            return DrainStep::Delete;
        }
        if self.empty {
            return DrainStep::Fail(DrainFailure::NotEmpty);
        }
        let staying: Vec<PodKey> = remaining.iter().filter(|r| !r.terminating).map(|r| r.pod).collect();
        if let Some(&first) = staying.first() {
            let give_up = begin.saturating_add(settings.max_pod_eviction_time);
            if now >= give_up {
                return DrainStep::Fail(DrainFailure::EvictionRefused(first));
            }
            let again = self.asked.map(|asked| asked.saturating_add(EVICTION_RETRY));
            return match again.filter(|&again| again > now) {
                Some(again) => DrainStep::Wait(again.min(give_up)),
                None => {
                    self.asked = Some(now);
                    DrainStep::Evict(staying, now.saturating_add(EVICTION_RETRY).min(give_up))
                }
            };
        }
        let since = *self.evicted.get_or_insert(now);
        let longest = remaining.iter().map(|r| r.grace).max().unwrap_or(SimDuration::ZERO);
        let end = since.saturating_add(longest.min(settings.max_graceful_termination)).saturating_add(HEADROOM);
        match now >= end {
            true => DrainStep::Fail(DrainFailure::PodStayed(remaining[0].pod)),
            false => DrainStep::Wait(end),
        }
    }
}
