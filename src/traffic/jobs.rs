//! The requests on a server's CPU, in the order in which they will leave it.

use crate::kernel::KeyedHeap;

/// A request on the CPU and the attained service at which it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) mark: f64,
    pub(super) request: u32,
    pub(super) generation: u32,
}

/// Jobs kept at the front; beyond twice as many the later half goes to the heap.
const NEAR: usize = 32;

/// Jobs by mark, first in first out among equal marks.
///
/// The earliest few are a sorted array, last one first out: faster than any heap at the ten or so jobs that a
/// server usually has. The rest, under overload, is a heap, where a withdrawn job stays as a stale entry until
/// it comes up.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    near: Vec<Job>,
    far: Option<Box<Far>>,
}

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

impl Jobs {
    /// The job that is done first.
    #[inline]
    pub(super) fn first(&self) -> Option<&Job> {
        self.near.last()
    }

    /// Adds a job.
    #[inline]
    pub(super) fn insert(&mut self, job: Job) {
        if let Some(far) = &mut self.far
            && job.mark.to_bits() >= (far.heap.min_key() >> 64) as u64
        {
            far.push(job);
            return;
        }
        let mut at = self.near.len();
        self.near.push(job);
        while at > 0 && self.near[at - 1].mark <= job.mark {
            self.near[at] = self.near[at - 1];
            at -= 1;
        }
        self.near[at] = job;
        if self.near.len() > 2 * NEAR {
            self.spill();
        }
    }

    #[cold]
    fn spill(&mut self) {
        let far = self.far.get_or_insert_default();
        // The one at the very front leaves last.
        for job in self.near.drain(..NEAR) {
            far.push_first(job);
        }
    }

    /// Takes the job that is done first. `live` tells whether a job is still wanted.
    #[inline]
    pub(super) fn pop(&mut self, live: impl Fn(&Job) -> bool) -> Option<Job> {
        let job = self.near.pop();
        if self.near.is_empty() && self.far.is_some() {
            self.refill(live);
        }
        job
    }

    #[cold]
    fn refill(&mut self, live: impl Fn(&Job) -> bool) {
        let Some(far) = &mut self.far else { return };
        while self.near.len() < NEAR {
            match far.pop() {
                Some(job) if live(&job) => self.near.push(job),
                Some(_) => far.stale = far.stale.saturating_sub(1),
                None => break,
            }
        }
        self.near.reverse();
        if far.heap.is_empty() {
            self.far = None;
        }
    }

    /// Withdraws a job, for which `live` must already say no.
    pub(super) fn remove(&mut self, request: u32, live: impl Fn(&Job) -> bool) {
        if let Some(at) = self.near.iter().rposition(|j| j.request == request) {
            self.near.remove(at);
            if self.near.is_empty() {
                self.refill(live);
            }
        } else if let Some(far) = &mut self.far {
            far.stale += 1;
            // Rebuilt when half of it is stale: a constant number of moves for each withdrawal.
            if 2 * far.stale > far.heap.len() + 64 {
                let mut old = std::mem::take(&mut **far);
                while let Some(job) = old.pop() {
                    if live(&job) {
                        far.push(job);
                    }
                }
                if far.heap.is_empty() {
                    self.far = None;
                }
            }
        }
    }

    /// Takes all jobs that are still wanted, in the order in which they would have left.
    pub(super) fn drain(&mut self, live: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut all: Vec<Job> = self.near.drain(..).rev().collect();
        if let Some(mut far) = self.far.take() {
            while let Some(job) = far.pop() {
                if live(&job) {
                    all.push(job);
                }
            }
        }
        all
    }

    /// All jobs that are still wanted; the order is fixed but means nothing.
    pub(super) fn all(&self, live: impl Fn(&Job) -> bool) -> Vec<Job> {
        self.clone().drain(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sorted list: the same order, with withdrawals, near and far.
        #[test]
        fn leaves_in_order(steps in prop::collection::vec((0u8..10, 0u32..50, any::<prop::sample::Index>()), 1..600)) {
            let mut jobs = Jobs::default();
            let mut model: Vec<(f64, u32)> = Vec::new();
            let mut gone = std::collections::BTreeSet::new();
            for (i, &(what, mark, index)) in steps.iter().enumerate() {
                match what {
                    0..=5 => {
                        let job = Job { mark: f64::from(mark), request: i as u32, generation: 0 };
                        jobs.insert(job);
                        let at = model.partition_point(|m| m.0 <= job.mark);
                        model.insert(at, (job.mark, job.request));
                    }
                    6 if !model.is_empty() => {
                        let (_, request) = model.remove(index.index(model.len()));
                        gone.insert(request);
                        jobs.remove(request, |j| !gone.contains(&j.request));
                    }
                    _ => {
                        prop_assert_eq!(jobs.first().map(|j| j.request), model.first().map(|m| m.1));
                        let got = jobs.pop(|j| !gone.contains(&j.request)).map(|j| (j.mark, j.request));
                        prop_assert_eq!(got, if model.is_empty() { None } else { Some(model.remove(0)) });
                    }
                }
            }
            prop_assert_eq!(jobs.all(|j| !gone.contains(&j.request)).len(), model.len());
            let rest: Vec<_> = jobs.drain(|j| !gone.contains(&j.request)).iter().map(|j| (j.mark, j.request)).collect();
            prop_assert_eq!(rest, model);
        }
    }
}
