//! The requests on a server's CPU, in the order in which they will leave it.

use crate::kernel::KeyedHeap;

/// A request on the CPU and the attained service at which it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) mark: f64,
    pub(super) request: u32,
    pub(super) generation: u32,
}

const HERE: usize = 5;

/// The few jobs that are done first, the earliest last: one cache line, and all there is in most servers.
///
/// The rest is in [`Further`]: none of it is done before any of these, and it is empty when there is room here. Among
/// equal marks the job that came first leaves first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jobs {
    marks: [f64; HERE],
    requests: [u32; HERE],
    /// How many are here.
    here: u32,
}

/// Jobs beyond the few: a sorted array, the earliest last, and beyond twice [`NEAR`] of them a heap for
/// the later ones. A job that is withdrawn from the heap stays in it as a stale entry until it comes up.
#[derive(Clone, Debug, Default)]
pub(super) struct Further {
    near: Vec<Job>,
    far: Option<Box<Far>>,
}

const NEAR: usize = 32;

/// Equal marks are kept apart by a number: growing for jobs that come last, falling for jobs from the
/// sorted array, which come before all that is here.
#[derive(Clone, Debug)]
struct Far {
    heap: KeyedHeap<(u32, u32)>,
    first: u64,
    last: u64,
    stale: usize,
}

impl Default for Far {
    fn default() -> Self {
        Self { heap: KeyedHeap::default(), first: 1 << 63, last: 1 << 63, stale: 0 }
    }
}

impl Far {
    fn push(&mut self, job: Job) {
        self.last += 1;
        self.insert(job, self.last);
    }

    fn push_first(&mut self, job: Job) {
        self.first -= 1;
        self.insert(job, self.first);
    }

    fn insert(&mut self, job: Job, number: u64) {
        // Marks are not negative, so their bits sort as they do.
        let key = (u128::from(job.mark.to_bits()) << 64) | u128::from(number);
        self.heap.push(key, (job.request, job.generation));
    }

    fn pop(&mut self) -> Option<Job> {
        let (key, (request, generation)) = self.heap.pop()?;
        Some(Job { mark: f64::from_bits((key >> 64) as u64), request, generation })
    }
}

/// What [`Further`] has to know of the records of requests.
pub(super) trait Records {
    /// The current generation of a record.
    fn generation(&self, request: u32) -> u32;
    /// Whether a job is still wanted.
    fn live(&self, job: &Job) -> bool;
}

impl Jobs {
    /// The mark of the job that is done first.
    #[inline]
    pub(super) fn first(&self) -> Option<f64> {
        self.here.checked_sub(1).and_then(|i| self.marks.get(i as usize)).copied()
    }

    /// Adds a job.
    #[inline]
    pub(super) fn insert(
        &mut self,
        further: &mut [Further],
        server: u32,
        mark: f64,
        request: u32,
        records: &impl Records,
    ) {
        let n = self.here as usize;
        if n < HERE {
            // Not full: there is nothing further.
            self.put(n, mark, request);
            self.here += 1;
        } else {
            self.insert_full(&mut further[server as usize], mark, request, records);
        }
    }

    /// Sorts a job in among the `n` that are here.
    #[inline]
    fn put(&mut self, n: usize, mark: f64, request: u32) {
        let mut at = n.min(HERE - 1);
        while at > 0 && self.marks[at - 1] <= mark {
            self.marks[at] = self.marks[at - 1];
            self.requests[at] = self.requests[at - 1];
            at -= 1;
        }
        self.marks[at] = mark;
        self.requests[at] = request;
    }

    #[inline(never)]
    fn insert_full(&mut self, further: &mut Further, mark: f64, request: u32, records: &impl Records) {
        let last = self.marks[0];
        if mark >= last {
            further.insert(Job { mark, request, generation: records.generation(request) });
            return;
        }
        // The last of those here makes room; it comes before all that is further.
        let request_out = self.requests[0];
        further.near.push(Job { mark: last, request: request_out, generation: records.generation(request_out) });
        further.spill();
        self.marks.copy_within(1.., 0);
        self.requests.copy_within(1.., 0);
        self.put(HERE - 1, mark, request);
    }

    /// Takes the job that is done first.
    #[inline]
    pub(super) fn pop(&mut self, further: &mut [Further], server: u32, records: &impl Records) -> Option<(f64, u32)> {
        let last = self.here.checked_sub(1)?;
        let at = last as usize;
        let job = (*self.marks.get(at)?, *self.requests.get(at)?);
        let full = self.here as usize == HERE;
        self.here = last;
        if full {
            self.refill(&mut further[server as usize], records);
        }
        Some(job)
    }

    /// Fills the room that has become free.
    #[inline(never)]
    fn refill(&mut self, further: &mut Further, records: &impl Records) {
        while (self.here as usize) < HERE {
            let Some(job) = further.pop(records) else { return };
            self.marks.copy_within(..HERE - 1, 1);
            self.requests.copy_within(..HERE - 1, 1);
            (self.marks[0], self.requests[0]) = (job.mark, job.request);
            self.here += 1;
        }
    }

    /// Withdraws a job that `records` already calls stale.
    pub(super) fn remove(&mut self, further: &mut Further, request: u32, records: &impl Records) {
        let n = self.here as usize;
        match self.requests[..n].iter().position(|&r| r == request) {
            Some(at) => {
                self.marks.copy_within(at + 1..n, at);
                self.requests.copy_within(at + 1..n, at);
                self.here -= 1;
                self.refill(further, records);
            }
            None => further.remove(request, records),
        }
    }

    /// All live jobs, in the order in which they would leave.
    pub(super) fn all(&self, further: &Further, records: &impl Records) -> Vec<u32> {
        let here = self.requests[..self.here as usize].iter().rev().copied();
        let mut rest = further.clone();
        here.chain(std::iter::from_fn(|| rest.pop(records).map(|j| j.request))).collect()
    }

    /// Forgets all jobs.
    pub(super) fn clear(&mut self, further: &mut Further) {
        self.here = 0;
        *further = Further::default();
    }
}

impl Further {
    fn insert(&mut self, job: Job) {
        if let Some(far) = &mut self.far
            && job.mark.to_bits() >= (far.heap.min_key() >> 64) as u64
        {
            far.push(job);
            return;
        }
        let at = self.near.partition_point(|j| j.mark > job.mark);
        self.near.insert(at, job);
        self.spill();
    }

    fn spill(&mut self) {
        if self.near.len() > 2 * NEAR {
            let far = self.far.get_or_insert_default();
            // The one at the very front leaves last.
            for job in self.near.drain(..NEAR) {
                far.push_first(job);
            }
        }
    }

    fn pop(&mut self, records: &impl Records) -> Option<Job> {
        let job = self.near.pop();
        if self.near.is_empty() {
            self.refill(records);
        }
        job
    }

    fn refill(&mut self, records: &impl Records) {
        let Some(far) = &mut self.far else { return };
        while self.near.len() < NEAR {
            match far.pop() {
                Some(job) if records.live(&job) => self.near.push(job),
                Some(_) => far.stale = far.stale.saturating_sub(1),
                None => break,
            }
        }
        self.near.reverse();
        if far.heap.is_empty() {
            self.far = None;
        }
    }

    fn remove(&mut self, request: u32, records: &impl Records) {
        if let Some(at) = self.near.iter().rposition(|j| j.request == request) {
            self.near.remove(at);
            if self.near.is_empty() {
                self.refill(records);
            }
        } else if let Some(far) = &mut self.far {
            far.stale += 1;
            // Rebuilt when half of it is stale: a constant number of moves for each withdrawal.
            if 2 * far.stale > far.heap.len() + 64 {
                let mut old = std::mem::take(&mut **far);
                while let Some(job) = old.pop() {
                    if records.live(&job) {
                        far.push(job);
                    }
                }
                if far.heap.is_empty() {
                    self.far = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl Records for BTreeSet<u32> {
        fn generation(&self, request: u32) -> u32 {
            request + 7
        }

        fn live(&self, job: &Job) -> bool {
            assert_eq!(job.generation, job.request + 7);
            !self.contains(&job.request)
        }
    }

    proptest! {
        /// Against a sorted list: the same order, with withdrawals, here, near and far.
        #[test]
        fn leaves_in_order(steps in prop::collection::vec((0u8..10, 0u32..50, any::<prop::sample::Index>()), 1..600)) {
            let mut jobs = Jobs::default();
            let mut further = [Further::default()];
            let mut model: Vec<(f64, u32)> = Vec::new();
            let mut gone = BTreeSet::new();
            for (i, &(what, mark, index)) in steps.iter().enumerate() {
                let mark = f64::from(mark);
                match what {
                    0..=5 => {
                        jobs.insert(&mut further, 0, mark, i as u32, &gone);
                        let at = model.partition_point(|m| m.0 <= mark);
                        model.insert(at, (mark, i as u32));
                    }
                    6 | 7 if !model.is_empty() => {
                        let (_, request) = model.remove(index.index(model.len()));
                        gone.insert(request);
                        jobs.remove(&mut further[0], request, &gone);
                    }
                    _ => {
                        prop_assert_eq!(jobs.first(), model.first().map(|m| m.0));
                        let got = jobs.pop(&mut further, 0, &gone);
                        prop_assert_eq!(got, if model.is_empty() { None } else { Some(model.remove(0)) });
                    }
                }
            }
            prop_assert_eq!(jobs.all(&further[0], &gone), model.iter().map(|m| m.1).collect::<Vec<_>>());
            jobs.clear(&mut further[0]);
            prop_assert_eq!(jobs.first(), None);
        }
    }
}
