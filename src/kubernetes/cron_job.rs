//! The CronJob controller: Jobs at times.
//!
//! Rules: kubernetes/kubernetes `pkg/controller/cronjob/{cronjob_controllerv2,utils}.go`. More than 100 missed
//! times are reported and do not keep the last of them from being started, as in the code (its documentation
//! says otherwise).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::kernel::{SimDuration, SimTime};
use crate::scenario::cron_schedule::CronSchedule;

/// More missed times than this are reported.
pub const MANY_MISSED: u32 = 100;

/// What happens when it is time and the last Job still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// Both run.
    #[default]
    Allow,
    /// The new one is not started.
    Forbid,
    /// The old one is deleted.
    Replace,
}

/// The specification of a CronJob.
#[derive(Clone, Debug)]
pub struct CronJobSpec {
    /// When.
    pub schedule: CronSchedule,
    /// Where the schedule's clock hangs. Default UTC.
    pub time_zone: TimeZone,
    /// What happens when the last Job still runs. Default Allow.
    pub concurrency_policy: ConcurrencyPolicy,
    /// How late a Job may be started; absent for ever.
    pub starting_deadline: Option<SimDuration>,
    /// Whether it stands still. Default false.
    pub suspend: bool,
    /// Jobs that succeeded and are kept. Default 3.
    pub successful_jobs_history_limit: Option<u32>,
    /// Jobs that failed and are kept. Default 1.
    pub failed_jobs_history_limit: Option<u32>,
}

impl CronJobSpec {
    /// A CronJob with every default.
    #[must_use]
    pub const fn new(schedule: CronSchedule) -> Self {
        Self {
            schedule,
            time_zone: TimeZone::UTC,
            concurrency_policy: ConcurrencyPolicy::Allow,
            starting_deadline: None,
            suspend: false,
            successful_jobs_history_limit: Some(3),
            failed_jobs_history_limit: Some(1),
        }
    }
}

/// A Job of a CronJob. `J` names Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildJob<J> {
    /// Which one.
    pub job: J,
    /// When it started.
    pub started: SimTime,
    /// How it ended: whether well.
    pub ended: Option<bool>,
}

/// What a CronJob remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CronJobStatus {
    /// When it was created.
    pub created: SimTime,
    /// The scheduled time of the last Job.
    pub last_schedule: Option<SimTime>,
}

/// What became of the time that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CronJobStep {
    /// It stands still.
    Suspended,
    /// No time came.
    NotDue,
    /// A Job is to be started for the time `scheduled`.
    Start {
        /// Its scheduled time.
        scheduled: SimTime,
        /// How many times came since the last, this one among them.
        times: u32,
    },
    /// It is too late.
    TooLate {
        /// The time that was missed.
        scheduled: SimTime,
    },
    /// The last Job still runs, and that forbids it.
    Forbidden {
        /// The time that was left out.
        scheduled: SimTime,
    },
}

/// What a pass decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronJobSync<J> {
    /// What became of the time that came.
    pub step: CronJobStep,
    /// Jobs to delete: replaced, or beyond the history limits.
    pub delete: Vec<J>,
    /// To be given to the next pass.
    pub status: CronJobStatus,
    /// The next scheduled time; absent where it stands still or never comes.
    pub next_check: Option<SimTime>,
}

/// One pass over a CronJob: to be called at its `next_check`, and when one of its Jobs ends. `epoch` is the
/// instant of [`SimTime::ZERO`].
#[must_use]
pub fn sync<J: Copy + Ord>(
    spec: &CronJobSpec,
    before: &CronJobStatus,
    jobs: &[ChildJob<J>],
    epoch: Timestamp,
    now: SimTime,
) -> CronJobSync<J> {
    let mut pass = CronJobSync { step: CronJobStep::NotDue, delete: Vec::new(), status: *before, next_check: None };
    history(spec, jobs, &mut pass.delete);
    if spec.suspend {
        pass.step = CronJobStep::Suspended;
        return pass;
    }
    let calendar = |t: SimTime| later(epoch, t.as_nanos());
    let Some(present) = calendar(now) else { return pass };
    let simulated = |t: Timestamp| {
        let nanos = t.as_nanosecond() - epoch.as_nanosecond();
        SimTime::from_nanos(u64::try_from(nanos).unwrap_or(0))
    };
    pass.next_check = spec.schedule.next_after(present, &spec.time_zone).map(simulated);

    let mut earliest = before.last_schedule.unwrap_or(before.created);
    if let Some(deadline) = spec.starting_deadline {
        earliest = earliest.max(now.saturating_sub(deadline));
    }
    let Some((last, times)) =
        calendar(earliest).and_then(|from| spec.schedule.last_between(from, present, &spec.time_zone))
    else {
        return pass;
    };
    let scheduled = simulated(last);
    if spec.starting_deadline.is_some_and(|d| scheduled.saturating_add(d) < now) {
        pass.step = CronJobStep::TooLate { scheduled };
        return pass;
    }
    let active: Vec<J> = jobs.iter().filter(|j| j.ended.is_none()).map(|j| j.job).collect();
    match spec.concurrency_policy {
        ConcurrencyPolicy::Forbid if !active.is_empty() => {
            pass.step = CronJobStep::Forbidden { scheduled };
            return pass;
        }
        ConcurrencyPolicy::Replace => pass.delete.extend(active),
        _ => {}
    }
    pass.step = CronJobStep::Start { scheduled, times };
    pass.status.last_schedule = Some(scheduled);
    pass
}

/// The oldest ended Jobs beyond the limits.
fn history<J: Copy + Ord>(spec: &CronJobSpec, jobs: &[ChildJob<J>], delete: &mut Vec<J>) {
    let limits = [(true, spec.successful_jobs_history_limit), (false, spec.failed_jobs_history_limit)];
    for (well, limit) in limits {
        let Some(limit) = limit else { continue };
        let mut ended: Vec<&ChildJob<J>> = jobs.iter().filter(|j| j.ended == Some(well)).collect();
        ended.sort_by_key(|j| (j.started, j.job));
        let excess = ended.len().saturating_sub(limit as usize);
        delete.extend(ended[..excess].iter().map(|j| j.job));
    }
}

/// An instant so much later than another; absent beyond what a calendar holds.
fn later(from: Timestamp, nanos: u64) -> Option<Timestamp> {
    let nanos = i64::try_from(nanos).ok()?;
    from.checked_add(SignedDuration::from_nanos(nanos)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: &str = "2026-07-09T00:00:00Z";

    fn spec(text: &str) -> CronJobSpec {
        CronJobSpec::new(CronSchedule::parse(text).expect("a schedule"))
    }

    fn pass(spec: &CronJobSpec, status: CronJobStatus, jobs: &[ChildJob<u32>], s: u64) -> CronJobSync<u32> {
        sync(spec, &status, jobs, MIDNIGHT.parse().expect("an instant"), SimTime::from_secs(s))
    }

    #[test]
    fn jobs_start_at_their_times() {
        let hourly = spec("0 * * * *");
        let first = pass(&hourly, CronJobStatus::default(), &[], 60);
        assert_eq!((first.step, first.next_check), (CronJobStep::NotDue, Some(SimTime::from_secs(3600))));
        let due = pass(&hourly, first.status, &[], 3600);
        let scheduled = SimTime::from_secs(3600);
        assert_eq!(due.step, CronJobStep::Start { scheduled, times: 1 });
        assert_eq!(pass(&hourly, due.status, &[], 3601).step, CronJobStep::NotDue, "once only");
        let late = pass(&hourly, due.status, &[], 3 * 3600 + 5);
        assert_eq!(late.step, CronJobStep::Start { scheduled: SimTime::from_secs(3 * 3600), times: 2 });
        let strict = CronJobSpec { starting_deadline: Some(SimDuration::from_secs(10)), ..hourly.clone() };
        assert_eq!(pass(&strict, due.status, &[], 3 * 3600 + 30).step, CronJobStep::NotDue);
        assert_eq!(pass(&CronJobSpec { suspend: true, ..hourly }, due.status, &[], 7200).step, CronJobStep::Suspended);
    }

    #[test]
    fn policies_when_the_last_job_still_runs() {
        let running = [ChildJob { job: 1, started: SimTime::ZERO, ended: None }];
        let scheduled = SimTime::from_secs(3600);
        let with = |concurrency_policy| CronJobSpec { concurrency_policy, ..spec("@hourly") };
        let step = |policy| pass(&with(policy), CronJobStatus::default(), &running, 3600);
        assert_eq!(step(ConcurrencyPolicy::Allow).step, CronJobStep::Start { scheduled, times: 1 });
        assert_eq!(step(ConcurrencyPolicy::Forbid).step, CronJobStep::Forbidden { scheduled });
        assert_eq!(step(ConcurrencyPolicy::Replace).delete, [1]);
    }

    #[test]
    fn old_jobs_are_forgotten() {
        let job = |job: u32, well| ChildJob { job, started: SimTime::from_secs(u64::from(job)), ended: Some(well) };
        let jobs = [job(1, true), job(2, true), job(3, true), job(4, true), job(5, false), job(6, false)];
        assert_eq!(pass(&spec("@hourly"), CronJobStatus::default(), &jobs, 1).delete, [1, 5]);
    }
}
