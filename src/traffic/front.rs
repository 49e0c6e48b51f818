//! The ways by which requests come to a service: its clients outside, and each service that calls it.

use std::collections::VecDeque;

use super::client::ClientRules;
use super::path::{attempt_draw, purpose};
use super::pins::Pins;
use super::request::{NONE, Slab};
use super::sampler::Sampler;
use super::{Agenda, TrafficEvent};
use crate::kernel::{Phase, SimTime};

/// One way to a service: who sends, how patient he is, how often he tries again.
///
/// The first fronts are those of the clients outside, in the order of the services; those of the calls follow.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) client: ClientRules,
    pub(super) patience: Option<Sampler>,
    pub(super) network: Sampler,
    /// Time from sending until the client or the balancer gives up, nanoseconds.
    pub(super) limit: u64,
    /// It is the client who gives up first.
    pub(super) client_limit: bool,
    /// Attempts in the order of sending: deadlines lie a constant time behind, so one event suffices for all.
    pub(super) ring: VecDeque<(u32, u32)>,
    pub(super) armed: bool,
    pub(super) first_class: u32,
    /// Upper ends of the classes' shares, the last one left out.
    pub(super) class_shares: Vec<f64>,
    /// Attempts go through the balancer, each by itself: nothing of what follows has to be looked at.
    pub(super) plain: bool,
    /// Attempts go through the balancer.
    pub(super) balanced: bool,
    /// The call that this is; [`NONE`] for the clients outside.
    pub(super) edge: u32,
    /// What binds clients to targets.
    pub(super) pins: Option<Box<Pins>>,
}

impl Front {
    /// The class of a request, over all services.
    #[inline]
    pub(super) fn class(&self, unit: impl FnOnce() -> f64) -> u32 {
        if self.class_shares.is_empty() {
            return self.first_class;
        }
        let u = unit();
        self.first_class + self.class_shares.iter().map(|&end| u32::from(end <= u)).sum::<u32>()
    }

    /// Network time of an attempt, nanoseconds.
    #[inline]
    pub(super) fn travel(&self, seed: u64, attempt: u16) -> u64 {
        self.network.nanos(|| attempt_draw(seed, purpose::NETWORK, attempt))
    }

    /// It is a call of another service.
    #[inline]
    pub(super) fn is_call(&self) -> bool {
        self.edge != NONE
    }

    /// Makes sure that somebody looks when the time of this attempt is over.
    #[inline]
    pub(super) fn watch(&mut self, q: &mut impl Agenda, now: u64, at: u32, id: u16, requests: &Slab) {
        if self.limit == u64::MAX {
            return;
        }
        if self.ring.len() == self.ring.capacity() {
            self.sweep(requests);
        }
        self.ring.push_back((at, requests.generation(at)));
        if !self.armed {
            self.armed = true;
            let due = SimTime::from_nanos(now.saturating_add(self.limit));
            q.schedule(due, Phase::State, TrafficEvent::Deadline { front: u32::from(id) });
        }
    }

    /// Takes the records that have moved on out of the ring, and doubles it when most have not: so it holds little more
    /// than what is in flight.
    #[inline(never)]
    fn sweep(&mut self, requests: &Slab) {
        self.ring.retain(|&(at, generation)| requests.generation(at) == generation);
        let room = self.ring.capacity();
        if 2 * self.ring.len() > room || room == 0 {
            self.ring.reserve((room + 16).max(self.ring.len()));
        }
    }
}
