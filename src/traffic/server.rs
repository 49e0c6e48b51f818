//! A task server: the requests in one task.

use std::collections::VecDeque;

use super::jobs::{Job, Jobs};
use super::processor::Processor;
use super::request::{NONE, Slab, Stage};
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
}

impl Default for RevisionEffect {
    fn default() -> Self {
        Self { cpu_factor: 1.0, wait_factor: 1.0, memory_factor: 1.0, error_rate: 0.0 }
    }
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
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) cpu: Processor,
    pub(super) jobs: Jobs,
    pub(super) service: u32,
    /// Slots taken: on the CPU or waiting outside of it.
    pub(super) held: u32,
    /// Of these, on the CPU.
    pub(super) running: u32,
    pub(super) queued: u32,
    pub(super) concurrency: u32,
    pub(super) accept_queue: u32,
    /// When its completion is due, nanoseconds; `u64::MAX` when none is set.
    pub(super) due: u64,
    /// The slot is in use.
    pub(super) alive: bool,
    /// The application answers.
    pub(super) ready: bool,
    /// Not stopping, not killed.
    pub(super) accepting: bool,
    pub(super) cpu_factor: f64,
    pub(super) effect: RevisionEffect,
    /// The accept queue. Entries that left it early are stale; `queued` counts the others.
    pub(super) queue: VecDeque<(u32, u32)>,
    pub(super) memory: u64,
    pub(super) memory_idle: u64,
    pub(super) memory_limit: u64,
    /// CPU spent on what nobody got, vCPU-nanoseconds.
    pub(super) wasted: f64,
}

impl Server {
    pub(super) fn new(spec: &ServerSpec, now: u64) -> Self {
        Self {
            cpu: Processor::new(spec.cpu, spec.model, now),
            jobs: Jobs::default(),
            service: spec.service.0,
            held: 0,
            running: 0,
            queued: 0,
            concurrency: spec.concurrency.unwrap_or(NONE),
            accept_queue: spec.accept_queue.unwrap_or(NONE),
            due: u64::MAX,
            alive: true,
            ready: false,
            accepting: true,
            cpu_factor: spec.effect.cpu_factor,
            effect: spec.effect,
            queue: VecDeque::new(),
            memory: spec.memory_idle.get(),
            memory_idle: spec.memory_idle.get(),
            memory_limit: spec.memory.get(),
            wasted: 0.0,
        }
    }

    /// Connections are accepted.
    #[inline]
    pub(super) fn open(&self) -> bool {
        self.ready && self.accepting
    }

    /// Requests inside, working or not.
    pub(super) fn inside(&self) -> u32 {
        self.held + self.queued
    }

    /// Takes the first request out of the accept queue.
    #[inline]
    pub(super) fn dequeue(&mut self, requests: &Slab) -> Option<u32> {
        if self.queued == 0 {
            return None;
        }
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

/// Whether a job on the CPU is still wanted.
#[inline]
pub(super) fn running(requests: &Slab) -> impl Fn(&Job) -> bool + '_ {
    |job| requests.current(job.request, job.generation).is_some_and(|r| r.stage == Stage::Running)
}
