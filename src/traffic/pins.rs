//! What binds clients to targets: long-lived connections, and the cookies of sticky sessions.

use super::balancer::TargetState;
use super::path::{drawn, purpose};
use super::request::{CALL, NONE, Stage};
use super::sampler::Sampler;
use super::{Agenda, DataPlane};
use crate::kernel::Draw;

/// The clients of a service that stay with a target.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    /// Cookies, which the balancer heeds only while the target is healthy; otherwise connections.
    pub(super) cookies: bool,
    /// How long a connection, or a client, lasts.
    pub(super) lifetime: Sampler,
    /// Requests that a connection carries.
    pub(super) requests: u32,
    /// Age at which a cookie is stale, nanoseconds.
    pub(super) duration: u64,
    pub(super) root: u64,
    pub(super) all: Vec<Pin>,
}

/// A connection, or a client with its cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pin {
    server: u32,
    incarnation: u32,
    /// Its end, and that of the cookie.
    until: u64,
    stale_at: u64,
    left: u32,
    /// How many there were in this place.
    cycle: u64,
}

impl Pin {
    pub(super) const NEW: Self = Self { server: NONE, incarnation: 0, until: 0, stale_at: 0, left: 0, cycle: 0 };
}

impl Pins {
    /// When what begins now in a place ends. What is there at the start has been there for a while.
    fn end(&self, now: u64, place: usize, cycle: u64) -> u64 {
        let draw = Draw::new(self.root).of(place as u64).of(cycle);
        let length = self.lifetime.nanos(|| draw.of(0));
        let length = if cycle == 0 { (length as f64 * draw.of(1).unit()) as u64 } else { length };
        now.saturating_add(length)
    }
}

impl DataPlane {
    /// An attempt of a client that stays with its target.
    pub(super) fn send_pinned(&mut self, q: &mut impl Agenda, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.sent = now;
        let (seed, caller, id) = (r.seed, r.caller, r.service);
        let bytes = self.classes[r.class as usize].request_bytes;
        let front = &mut self.fronts[usize::from(r.front)];
        let Some(pins) = &mut front.pins else {
            self.send_to_balancer(q, at);
            return;
        };
        let n = pins.all.len();
        let place = match caller {
            NONE => (((drawn(seed, purpose::SESSION).bits() >> 32) * n as u64) >> 32) as usize,
            user => (user & !CALL) as usize % n,
        };
        let mut pin = pins.all[place];
        let target = &self.targets.of;
        let known = pin.server != NONE
            && self.incarnations.get(pin.server as usize).copied().unwrap_or(0) == pin.incarnation
            && target[pin.server as usize].registered()
            && match target[pin.server as usize].state() {
                TargetState::Healthy => true,
                // A connection lasts as long as its target lets it; a cookie is not heeded.
                TargetState::Unhealthy | TargetState::Draining => !pins.cookies,
                TargetState::Initial | TargetState::Unused => false,
            };
        if now >= pin.until {
            // Another connection, or another client.
            let cycle = if pin.until == 0 { 0 } else { pin.cycle + 1 };
            pin = Pin { until: pins.end(now, place, cycle), cycle, ..Pin::NEW };
        }
        let holds = known && pin.server != NONE && now < pin.stale_at && pin.left > 0;
        if holds {
            pin.left -= 1;
            if pins.cookies {
                pin.stale_at = now.saturating_add(pins.duration);
            }
            pins.all[place] = pin;
            let totals = &mut self.services[usize::from(id)].totals;
            totals.attempts += 1;
            totals.request_bytes += bytes;
            self.deliver(q, at, pin.server, true);
            // A connection that is refused is gone; a cookie is not.
            if !self.accepted(at, seed)
                && let Some(pins) = &mut self.fronts[usize::from(id)].pins
                && !pins.cookies
            {
                pins.all[place].server = NONE;
            }
            return;
        }
        pins.all[place] = pin;
        self.send_to_balancer(q, at);
        // Whoever got it keeps it; a target that refused it does not.
        let server = if self.accepted(at, seed) { self.requests[at].server } else { NONE };
        let incarnation = self.incarnations.get(server as usize).copied().unwrap_or(0);
        if let Some(pins) = &mut self.fronts[usize::from(id)].pins {
            let stale_at = if pins.cookies { now.saturating_add(pins.duration) } else { u64::MAX };
            let left = pins.requests.saturating_sub(1);
            pins.all[place] = Pin { server, incarnation, stale_at, left, ..pin };
        }
    }

    /// Whether a server has just taken an attempt.
    fn accepted(&self, at: u32, seed: u64) -> bool {
        let r = &self.requests[at];
        r.seed == seed && matches!(r.stage, Stage::Queued | Stage::Running)
    }
}
