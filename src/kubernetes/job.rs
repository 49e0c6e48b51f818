//! The Job controller: pods that run to their end, so many in all and so many at once.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/job/{job_controller,backoff_utils}.go`; the cap of six
//! minutes on the back-off is that of the documentation (`workloads/controllers/job`).
//!
//! Known departures: completion mode NonIndexed, no pod failure policy and no success policy; a pod that
//! terminates is replaced at once (`podReplacementPolicy: TerminatingOrFailed`, the default).

use super::replica_set::BURST_REPLICAS;
use crate::kernel::{SimDuration, SimTime};

/// Time before the first replacement of a failed pod.
pub const FIRST_BACK_OFF: SimDuration = SimDuration::from_secs(10);
/// Most time before a replacement.
pub const MAX_BACK_OFF: SimDuration = SimDuration::from_mins(6);

/// The specification of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Pods that must succeed; absent: one is enough, and then no more are started. Default 1.
    pub completions: Option<u32>,
    /// Pods that run at once. Default 1.
    pub parallelism: u32,
    /// Failed pods that are borne. Default 6.
    pub backoff_limit: u32,
    /// How long it may take from its start; absent for ever.
    pub active_deadline: Option<SimDuration>,
    /// How long it is kept after its end; absent for ever.
    pub ttl_after_finished: Option<SimDuration>,
    /// Whether it stands still: its pods are deleted and its time does not run. Default false.
    pub suspend: bool,
    /// Whether failed containers are started again in their pod (`restartPolicy: OnFailure`); then their
    /// restarts count against the limit. Default false (`Never`).
    pub restart_on_failure: bool,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            completions: Some(1),
            parallelism: 1,
            backoff_limit: 6,
            active_deadline: None,
            ttl_after_finished: None,
            suspend: false,
            restart_on_failure: false,
        }
    }
}

/// How a Job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Enough pods succeeded.
    Complete,
    /// Too many pods failed.
    BackoffLimitExceeded,
    /// It took too long.
    DeadlineExceeded,
}

/// What a Job remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// When it began, or was resumed.
    pub started: Option<SimTime>,
    /// Pods that succeeded.
    pub succeeded: u32,
    /// Pods that failed.
    pub failed: u32,
    /// Those that failed since the last success.
    pub failures_in_a_row: u32,
    /// When the last of them failed.
    pub last_failure: Option<SimTime>,
    /// How it ended, and when.
    pub end: Option<(JobEnd, SimTime)>,
}

/// The end of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedPod {
    /// When.
    pub at: SimTime,
    /// Whether it succeeded. A pod that was deleted before its end failed, unless the Job itself did it.
    pub succeeded: bool,
}

/// What a pass looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobObservation<'a> {
    /// Pods that ended since the last pass.
    pub finished: &'a [FinishedPod],
    /// Pods that neither ended nor terminate.
    pub active: u32,
    /// Restarts of containers in these pods.
    pub restarts: u32,
}

/// What a pass decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSync {
    /// Pods to create, in batches of a [`super::replica_set::SlowStart`].
    pub create: u32,
    /// Active pods to delete, those that the ReplicaSet's ranking puts first.
    pub delete: u32,
    /// Whether the Job itself is to be removed: its time to live is over.
    pub remove: bool,
    /// To be given to the next pass.
    pub status: JobStatus,
    /// When to look again even if nothing changes: the end of a back-off, of the deadline or of the Job's
    /// time to live.
    pub next_check: Option<SimTime>,
}

/// The wait before a failed pod is replaced, given the failures in a row: 10 s, doubling.
#[must_use]
pub fn back_off(failures: u32) -> SimDuration {
    match failures {
        0 => SimDuration::ZERO,
        n => SimDuration::from_nanos(FIRST_BACK_OFF.as_nanos() << (n - 1).min(20)).min(MAX_BACK_OFF),
    }
}

/// One pass over a Job: to be called again when a pod changes.
#[must_use]
pub fn sync(spec: &JobSpec, before: &JobStatus, see: &JobObservation<'_>, now: SimTime) -> JobSync {
    let mut status = *before;
    count(&mut status, see.finished);
    let mut pass = JobSync { create: 0, delete: 0, remove: false, status, next_check: None };
    if let Some((_, at)) = status.end {
        pass.delete = see.active;
        if let Some(ttl) = spec.ttl_after_finished {
            let until = at.saturating_add(ttl);
            (pass.remove, pass.next_check) = (until <= now, Some(until).filter(|&until| until > now));
        }
        return pass;
    }
    if spec.suspend {
        pass.status.started = None;
        pass.delete = see.active;
        return pass;
    }
    let started = *pass.status.started.get_or_insert(now);
    let deadline = spec.active_deadline.map(|d| started.saturating_add(d));
    let too_many = status.failed > spec.backoff_limit
        || (spec.restart_on_failure && see.restarts > 0 && see.restarts >= spec.backoff_limit);
    let complete = match spec.completions {
        Some(completions) => status.succeeded >= completions,
        None => status.succeeded > 0 && see.active == 0,
    };
    let end = match () {
        () if too_many => Some(JobEnd::BackoffLimitExceeded),
        () if deadline.is_some_and(|deadline| deadline <= now) => Some(JobEnd::DeadlineExceeded),
        () if complete => Some(JobEnd::Complete),
        () => None,
    };
    if let Some(end) = end {
        pass.status.end = Some((end, now));
        pass.delete = see.active;
        pass.next_check = spec.ttl_after_finished.map(|ttl| now.saturating_add(ttl));
        return pass;
    }
    pass.next_check = deadline;
    let wanted = match spec.completions {
        Some(completions) => (completions - status.succeeded).min(spec.parallelism),
        None if status.succeeded > 0 => see.active,
        None => spec.parallelism,
    };
    if see.active > wanted {
        pass.delete = (see.active - wanted).min(BURST_REPLICAS);
        return pass;
    }
    let ready = status.last_failure.map(|at| at.saturating_add(back_off(status.failures_in_a_row)));
    match ready.filter(|&ready| ready > now && wanted > see.active) {
        Some(ready) => pass.next_check = Some(pass.next_check.map_or(ready, |next| next.min(ready))),
        None => pass.create = (wanted - see.active).min(BURST_REPLICAS),
    }
    pass
}

fn count(status: &mut JobStatus, finished: &[FinishedPod]) {
    let last_success = finished.iter().filter(|f| f.succeeded).map(|f| f.at).max();
    status.succeeded += finished.iter().filter(|f| f.succeeded).count() as u32;
    status.failed += finished.iter().filter(|f| !f.succeeded).count() as u32;
    if last_success.is_some() {
        (status.failures_in_a_row, status.last_failure) = (0, None);
    }
    for failure in finished.iter().filter(|f| !f.succeeded && last_success.is_none_or(|s| f.at > s)) {
        status.failures_in_a_row += 1;
        status.last_failure = status.last_failure.max(Some(failure.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> SimTime {
        SimTime::from_secs(s)
    }

    fn see(finished: &[FinishedPod], active: u32) -> JobObservation<'_> {
        JobObservation { finished, active, restarts: 0 }
    }

    #[test]
    fn pods_are_started_until_enough_succeeded() {
        let spec = JobSpec { completions: Some(5), parallelism: 2, ..JobSpec::default() };
        let first = sync(&spec, &JobStatus::default(), &see(&[], 0), at(0));
        assert_eq!(first.create, 2);
        let done = |s| FinishedPod { at: at(s), succeeded: true };
        let later = sync(&spec, &first.status, &see(&[done(1), done(2), done(3)], 1), at(4));
        assert_eq!((later.create, later.status.succeeded), (1, 3));
        let last = sync(&spec, &later.status, &see(&[done(5), done(6)], 0), at(6));
        assert_eq!(last.status.end, Some((JobEnd::Complete, at(6))));
        let queue = JobSpec { completions: None, parallelism: 3, ..spec };
        let drained = sync(&queue, &first.status, &see(&[done(1)], 2), at(4));
        assert_eq!((drained.create, drained.status.end), (0, None), "the others finish, none is started");
    }

    #[test]
    fn failures_are_waited_for_longer_and_longer_up_to_the_limit() {
        let spec = JobSpec { backoff_limit: 2, ..JobSpec::default() };
        let fail = |s| [FinishedPod { at: at(s), succeeded: false }];
        let one = sync(&spec, &JobStatus::default(), &see(&fail(5), 0), at(5));
        assert_eq!((one.create, one.next_check), (0, Some(at(15))));
        assert_eq!(sync(&spec, &one.status, &see(&[], 0), at(15)).create, 1);
        let two = sync(&spec, &one.status, &see(&fail(20), 0), at(20));
        assert_eq!(two.next_check, Some(at(40)));
        let three = sync(&spec, &two.status, &see(&fail(50), 0), at(50));
        assert_eq!(three.status.end, Some((JobEnd::BackoffLimitExceeded, at(50))));
        assert_eq!((back_off(1), back_off(30)), (FIRST_BACK_OFF, MAX_BACK_OFF));
    }

    #[test]
    fn deadlines_suspension_and_time_to_live() {
        let minute = SimDuration::from_mins(1);
        let spec = JobSpec { active_deadline: Some(minute), ttl_after_finished: Some(minute), ..JobSpec::default() };
        let first = sync(&spec, &JobStatus::default(), &see(&[], 0), at(0));
        assert_eq!(first.next_check, Some(at(60)));
        let held = sync(&JobSpec { suspend: true, ..spec }, &first.status, &see(&[], 1), at(30));
        assert_eq!((held.delete, held.status.started), (1, None));
        let resumed = sync(&spec, &held.status, &see(&[], 0), at(100));
        let late = sync(&spec, &resumed.status, &see(&[], 1), at(160));
        assert_eq!((late.status.end, late.delete), (Some((JobEnd::DeadlineExceeded, at(160))), 1));
        assert!(sync(&spec, &late.status, &see(&[], 0), at(220)).remove);
    }
}
