//! What the targets of one side of a service answer: a new revision beside the old one.

use super::{DataPlane, Histogram, Targets};
use crate::units::{ServerId, ServiceId};

/// Sides that are told apart.
pub const SIDES: usize = 2;

/// The answers of the targets of one side over some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideTotals {
    /// Attempts answered without error.
    pub good: u64,
    /// Attempts answered with an error, not in time, refused or lost.
    pub bad: u64,
    /// Time from the sending of an attempt until the answer.
    pub response: Histogram,
}

impl SideTotals {
    /// Adds the totals of another side or time.
    pub fn merge(&mut self, o: &Self) {
        self.good += o.good;
        self.bad += o.bad;
        self.response.merge(&o.response);
    }
}

/// The sides of a service, where somebody wants to tell them apart.
pub(super) type Sides = Option<Box<[SideTotals; SIDES]>>;

/// An answer of a server after so many nanoseconds.
#[inline]
pub(super) fn answered(sides: &mut Sides, targets: &Targets, server: u32, nanos: u64, error: bool) {
    if let Some(sides) = sides
        && let Some(target) = targets.of.get(server as usize)
    {
        let side = &mut sides[usize::from(target.side)];
        side.response.record(nanos);
        *(if error { &mut side.bad } else { &mut side.good }) += 1;
    }
}

/// An attempt at a server that got no answer.
#[inline]
pub(super) fn lost(sides: &mut Sides, targets: &Targets, server: u32) {
    if let Some(sides) = sides
        && let Some(target) = targets.of.get(server as usize)
    {
        sides[usize::from(target.side)].bad += 1;
    }
}

impl DataPlane {
    /// Begins to tell the sides of a service apart.
    pub fn watch_sides(&mut self, service: ServiceId) {
        self.services[service.index()].sides.get_or_insert_default();
    }

    /// Says on which side of its service a server is; 0 for all that nobody has spoken of.
    pub fn set_side(&mut self, server: ServerId, side: u8) {
        self.targets.of[server.index()].side = side.min(SIDES as u8 - 1);
    }

    /// Takes what the sides of a service have answered since the last time.
    pub fn take_sides(&mut self, service: ServiceId) -> [SideTotals; SIDES] {
        self.services[service.index()].sides.as_deref_mut().map(std::mem::take).unwrap_or_default()
    }
}
