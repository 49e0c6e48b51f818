//! A task server: the requests in one task.

use std::collections::VecDeque;

use super::jobs::{Further, Job, Jobs, Records};
use super::node::Nodes;
use super::processor::{Clock, Cores, Slow};
use super::request::{NONE, Slab, Stage};
use crate::kernel::SimDuration;
use crate::scenario::model::CpuModel;
use crate::units::{Bytes, Cpu, ServiceId};

/// How a revision's requests differ from the classes of the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RevisionEffect {
    /// Factor on the CPU work.
    pub cpu_factor: f64,
    /// Factor on the waiting outside of the CPU.
    pub wait_factor: f64,
    /// Factor on the memory of a request.
    pub memory_factor: f64,
    /// Share answered with an error of the application's own, 0 to 1, beside that of the class.
    pub error_rate: f64,
    /// Network time added to the way of every answer (a slow zone).
    pub latency: SimDuration,
}

impl Default for RevisionEffect {
    fn default() -> Self {
        Self { cpu_factor: 1.0, wait_factor: 1.0, memory_factor: 1.0, error_rate: 0.0, latency: SimDuration::ZERO }
    }
}

/// A node of the data plane: a machine whose CPU its servers share. The slot of a removed node is given to a later
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSlot(pub u32);

/// How a server takes part in the CPU of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeShare {
    /// The node. It must be there.
    pub node: NodeSlot,
    /// CPU shares: what of a busy node's CPU the server gets is in proportion to them. ECS takes the CPU units that
    /// are reserved (1,024 for a vCPU); the kernel's bounds are 2 and 262,144, and what is outside is moved there.
    pub weight: u32,
    /// The server's CPU is a hard limit (a task-level limit on ECS, a container's limit elsewhere), shared within as the CPU model
    /// says. Otherwise it is a reservation only, and the server may use every core of the node that nobody else
    /// wants.
    pub capped: bool,
}

/// What a task server is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerSpec {
    /// The service whose requests it serves.
    pub service: ServiceId,
    /// CPU of the task.
    pub cpu: Cpu,
    /// How the CPU is shared.
    pub model: CpuModel,
    /// The hard memory limit.
    pub memory: Bytes,
    /// Memory in use without any request, sidecars included.
    pub memory_idle: Bytes,
    /// Requests that are worked on at once; `None` for no limit.
    pub concurrency: Option<u32>,
    /// Requests that may wait in the accept queue; `None` for no limit.
    pub accept_queue: Option<u32>,
    /// How its revision's requests differ.
    pub effect: RevisionEffect,
    /// Which of the service's own target groups it is in: below [`super::OWN_GROUPS`].
    pub group: u8,
    /// The node that it shares with others; `None` for a machine of its own (Fargate), whose CPU is a hard limit.
    pub node: Option<NodeShare>,
}

/// What servers of one service and revision have in common.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) spec: ServerSpec,
    pub(super) cores: Cores,
    pub(super) service: u32,
    pub(super) concurrency: u32,
    pub(super) accept_queue: u32,
}

/// What every request looks at: two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    pub(super) clock: Clock,
    /// When the completion is due, nanoseconds; `u64::MAX` when none is set.
    pub(super) due: u64,
    /// Memory in use, bytes.
    pub(super) memory: u64,
    /// Slots taken: on the CPU or waiting outside of it.
    pub(super) held: u32,
    /// Requests that are taken in without a closer look: the concurrency limit, 0 while nothing is accepted.
    pub(super) limit: u32,
    pub(super) jobs: Jobs,
}

/// What only few requests look at.
#[derive(Clone, Debug)]
pub(super) struct Cold {
    /// The accept queue, only ever filled while all slots are taken. Entries that left it early are stale; `queued` counts
    /// the others.
    pub(super) queue: VecDeque<(u32, u32)>,
    pub(super) queued: u32,
    /// The slot is in use.
    pub(super) alive: bool,
    /// The application answers.
    pub(super) ready: bool,
    /// Not stopping, not killed.
    pub(super) accepting: bool,
    /// Nobody reaches it: its machine or its network is down.
    pub(super) cut_off: bool,
    /// It was so once: attempts may wait for it in vain.
    pub(super) was_cut_off: bool,
    /// CPU spent on what nobody got, vCPU-nanoseconds.
    pub(super) wasted: f64,
}

/// Where a server is on its node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// [`NONE`] without a node.
    pub(super) node: u32,
    /// Its place among the servers of the node.
    pub(super) at: u32,
    /// What the completion lane will say is not a completion: the quota is used up, or there again.
    pub(super) turn: bool,
}

impl Seat {
    pub(super) const NONE: Self = Self { node: NONE, at: 0, turn: false };
}

/// All task servers, by server id: what is used together lies together.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    pub(super) hot: Vec<Hot>,
    pub(super) slow: Vec<Slow>,
    pub(super) further: Vec<Further>,
    pub(super) cold: Vec<Cold>,
    pub(super) seats: Vec<Seat>,
    pub(super) kinds: Vec<Kind>,
    pub(super) nodes: Nodes,
    free: Vec<u32>,
}

impl Servers {
    /// Adds a server that is not ready.
    pub(super) fn add(&mut self, spec: &ServerSpec, now: u64) -> u32 {
        let kind = self.kind_of(spec);
        let (clock, slow) = Clock::new(kind as u32, &self.kinds[kind].cores, now);
        let hot =
            Hot { clock, due: u64::MAX, memory: spec.memory_idle.get(), held: 0, limit: 0, jobs: Jobs::default() };
        let cold = Cold {
            queue: VecDeque::new(),
            queued: 0,
            alive: true,
            ready: false,
            accepting: true,
            cut_off: false,
            was_cut_off: false,
            wasted: 0.0,
        };
        match self.free.pop() {
            Some(id) => {
                let at = id as usize;
                (self.hot[at], self.slow[at], self.cold[at]) = (hot, slow, cold);
                self.seats[at] = Seat::NONE;
                id
            }
            None => {
                self.hot.push(hot);
                self.slow.push(slow);
                self.further.push(Further::default());
                self.cold.push(cold);
                self.seats.push(Seat::NONE);
                (self.hot.len() - 1) as u32
            }
        }
    }

    /// The kind with these settings, made if there is none yet.
    pub(super) fn kind_of(&mut self, spec: &ServerSpec) -> usize {
        // Of the node only the limit is of the kind: there are as many nodes and weights as may be.
        let same = NodeShare { node: NodeSlot(NONE), weight: 0, capped: true };
        let spec = &ServerSpec { node: spec.node.map(|n| NodeShare { capped: n.capped, ..same }), ..*spec };
        self.kinds.iter().rposition(|k| k.spec == *spec).unwrap_or_else(|| {
            let capped = spec.node.is_none_or(|n| n.capped);
            self.kinds.push(Kind {
                spec: *spec,
                cores: if capped { Cores::new(spec.cpu, spec.model) } else { Cores::unlimited() },
                service: spec.service.0,
                concurrency: spec.concurrency.unwrap_or(NONE),
                accept_queue: spec.accept_queue.unwrap_or(NONE),
            });
            self.kinds.len() - 1
        })
    }

    /// Gives a slot back.
    pub(super) fn remove(&mut self, server: u32) {
        self.cold[server as usize].alive = false;
        self.free.push(server);
    }

    #[inline]
    pub(super) fn kind(&self, server: u32) -> &Kind {
        &self.kinds[self.hot[server as usize].clock.kind()]
    }

    /// Accounts for the time of a server until `now`.
    #[inline]
    pub(super) fn advance(&mut self, server: u32, now: u64) {
        let hot = &mut self.hot[server as usize];
        if hot.clock.flowing() {
            self.advance_flow(server, now);
            return;
        }
        let cores = &self.kinds[hot.clock.kind()].cores;
        hot.clock.advance(cores, &mut self.slow[server as usize], now);
    }

    /// Sets the rate for the requests that are on the CPU now, and returns when the first is done; `u64::MAX`
    /// for never.
    #[inline]
    pub(super) fn share(&mut self, server: u32) -> u64 {
        let hot = &mut self.hot[server as usize];
        let cores = &self.kinds[hot.clock.kind()].cores;
        let slow = &mut self.slow[server as usize];
        hot.clock.share(cores, slow);
        hot.jobs.first().and_then(|mark| hot.clock.finish(cores, slow, mark)).unwrap_or(u64::MAX)
    }

    /// After a change of what is accepted: sets how many are taken in without a closer look.
    pub(super) fn set_limit(&mut self, server: u32) {
        let cold = &self.cold[server as usize];
        let open = cold.ready && cold.accepting && !cold.cut_off;
        self.hot[server as usize].limit = if open { self.kind(server).concurrency } else { 0 };
    }

    /// Whether a request that finds no free slot may wait in the accept queue.
    pub(super) fn may_queue(&self, server: u32) -> bool {
        let cold = &self.cold[server as usize];
        cold.ready && cold.accepting && !cold.cut_off && cold.queued < self.kind(server).accept_queue
    }

    /// Requests inside, working or not.
    pub(super) fn inside(&self, server: u32) -> u32 {
        self.hot[server as usize].held + self.cold[server as usize].queued
    }
}

impl Cold {
    /// Takes the first request out of the accept queue.
    pub(super) fn dequeue(&mut self, requests: &Slab) -> Option<u32> {
        while let Some((at, generation)) = self.queue.pop_front() {
            if queued(requests, at, generation) {
                self.queued -= 1;
                return Some(at);
            }
        }
        None
    }

    /// Adds a request at the end of the accept queue.
    pub(super) fn enqueue(&mut self, at: u32, generation: u32, requests: &Slab) {
        // Stale entries may not pile up when nobody is served and all lose patience.
        if self.queue.len() > 2 * self.queued as usize + 64 {
            self.queue.retain(|&(a, g)| queued(requests, a, g));
        }
        self.queue.push_back((at, generation));
        self.queued += 1;
    }
}

#[inline]
fn queued(requests: &Slab, at: u32, generation: u32) -> bool {
    requests.current(at, generation).is_some_and(|r| r.stage == Stage::Queued)
}

impl Records for Slab {
    #[inline]
    fn generation(&self, request: u32) -> u32 {
        Self::generation(self, request)
    }

    fn live(&self, job: &Job) -> bool {
        self.current(job.request, job.generation).is_some_and(|r| r.stage == Stage::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_two_cache_lines() {
        assert_eq!(size_of::<Hot>(), 128);
    }
}
