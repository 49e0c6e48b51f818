//! Jobs and CronJobs at work: pods that do a piece of work each, replaced until enough have succeeded.

use std::collections::VecDeque;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::super::{Simulation, Timer};
use super::workloads::QUOTA_RETRY;
use crate::cluster::StopCode;
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::cron_job::{self, ChildJob, ConcurrencyPolicy, CronJobSpec, CronJobStatus, CronJobStep};
use crate::kubernetes::job::{self, FinishedPod, JobEnd, JobObservation, JobSpec, JobStatus};
use crate::output::{DecisionDetail, DecisionRow};
use crate::scenario::cron_schedule::CronSchedule;
use crate::scenario::model::{CronJobConcurrency, CronJobSchedule, Job, JobSchedule};
use crate::units::TaskId;

/// What Kubernetes keeps of a job of the scenario.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Jobs {
    spec: JobSpec,
    /// In the order of their creation.
    created: Vec<Created>,
    /// By schedule.
    crons: Vec<Option<(CronJobSpec, CronJobStatus)>>,
}

/// A Job.
#[derive(Clone, Debug)]
struct Created {
    schedule: usize,
    spec: JobSpec,
    status: JobStatus,
    /// Pods that ended since the last pass.
    finished: Vec<FinishedPod>,
    /// Pieces of work that no pod is at.
    waiting: VecDeque<u32>,
}

fn cron(plan: &CronJobSchedule) -> Result<CronJobSpec, String> {
    let schedule = CronSchedule::parse(&plan.schedule).map_err(|e| e.to_string())?;
    let time_zone = TimeZone::get(&plan.time_zone).map_err(|e| e.to_string())?;
    Ok(CronJobSpec {
        time_zone,
        concurrency_policy: match plan.concurrency_policy {
            CronJobConcurrency::Allow => ConcurrencyPolicy::Allow,
            CronJobConcurrency::Forbid => ConcurrencyPolicy::Forbid,
            CronJobConcurrency::Replace => ConcurrencyPolicy::Replace,
        },
        starting_deadline: plan.starting_deadline_seconds.map(|s| SimDuration::from_secs(u64::from(s))),
        ..CronJobSpec::new(schedule)
    })
}

impl Jobs {
    /// The Jobs of a job: none yet.
    ///
    /// # Errors
    /// When the schedule of a CronJob cannot be read.
    pub(in crate::simulation) fn new(plan: &Job) -> Result<Self, String> {
        let k = &plan.kubernetes;
        let crons = plan.schedules.values().map(|s| match s {
            JobSchedule::CronJob(c) => Ok(Some((cron(c)?, CronJobStatus::default()))),
            _ => Ok(None),
        });
        let spec = JobSpec {
            parallelism: plan.max_concurrency.unwrap_or(u32::MAX),
            backoff_limit: k.backoff_limit,
            active_deadline: k.active_deadline_seconds.map(|s| SimDuration::from_secs(u64::from(s))),
            ..JobSpec::default()
        };
        Ok(Self { spec, created: Vec::new(), crons: crons.collect::<Result<_, String>>()? })
    }

    /// A Job is created for these pieces of work.
    pub(in crate::simulation) fn create(&mut self, schedule: usize, items: Range<u32>) {
        let spec = JobSpec { completions: Some(items.len() as u32), ..self.spec };
        let spec = JobSpec { parallelism: spec.parallelism.min(items.len() as u32), ..spec };
        let status = JobStatus::default();
        self.created.push(Created { schedule, spec, status, finished: Vec::new(), waiting: items.collect() });
    }
}

impl Simulation<'_> {
    /// Sets the first time of every CronJob.
    pub(in crate::simulation) fn start_cron_jobs(&mut self, job: usize) {
        for schedule in 0..self.jobs[job].kube.crons.len() {
            self.sync_cron_job(job, schedule);
        }
    }

    /// One look at a CronJob.
    pub(in crate::simulation) fn sync_cron_job(&mut self, job: usize, schedule: usize) {
        let (now, epoch) = (self.queue.now(), self.plan.simulation.start);
        let jobs = &self.jobs[job].kube;
        let Some(Some((spec, status))) = jobs.crons.get(schedule) else { return };
        let children: Vec<ChildJob<usize>> = jobs
            .created
            .iter()
            .enumerate()
            .filter(|(_, c)| c.schedule == schedule)
            .map(|(at, c)| ChildJob {
                job: at,
                started: c.status.started.unwrap_or(now),
                ended: c.status.end.map(|(end, _)| end == JobEnd::Complete),
            })
            .collect();
        let pass = cron_job::sync(spec, status, &children, epoch, now);
        if let Some(Some((_, status))) = self.jobs[job].kube.crons.get_mut(schedule) {
            *status = pass.status;
        }
        // Those that have ended leave only their figures; those that run are replaced.
        for at in pass.delete {
            if self.jobs[job].kube.created[at].status.end.is_none() {
                self.end_job(job, at, "Replaced by the next Job of its CronJob");
            }
        }
        match pass.step {
            CronJobStep::Start { .. } => self.on_job_fires(job, schedule),
            CronJobStep::Forbidden { .. } => self.record_cron(job, schedule, "forbidden", "the last Job still runs"),
            CronJobStep::TooLate { .. } => self.record_cron(job, schedule, "too_late", "the time was missed"),
            CronJobStep::Suspended | CronJobStep::NotDue => {}
        }
        if let Some(at) = pass.next_check {
            self.schedule_timer_if_due(Timer::JobSchedule(job as u16, schedule as u16), at, Phase::Decision);
        }
    }

    fn record_cron(&mut self, job: usize, schedule: usize, reason: &'static str, text: &'static str) {
        let j = &self.jobs[job];
        let schedule = j.plan.schedules.get_index(schedule).map_or("", |(name, _)| name.as_str());
        let row = DecisionRow {
            time_s: self.queue.now().into(),
            controller: "cron_job".into(),
            subject: format!("jobs.{}.schedules.{schedule}", j.name).into(),
            service: j.name.into(),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let detail = DecisionDetail { observation: serde_json::Value::Null, memory: serde_json::Value::Null };
        self.recorder.decision(&row, &detail);
    }

    /// The pods of a Job that neither ended nor terminate.
    fn active_job_pods(&self, job: usize, at: usize) -> Vec<TaskId> {
        let j = &self.jobs[job];
        let of =
            |t: TaskId| self.tasks[t.index()].work.and_then(|n| j.items.get(n as usize)).map(|i| i.firing as usize);
        let alive = self.cluster.tasks_of(j.service).filter(|t| t.stop_code.is_none()).map(|t| t.id);
        alive.filter(|t| of(*t) == Some(at)).collect()
    }

    /// One look of the controller at the Jobs of a job.
    pub(in crate::simulation) fn sync_jobs(&mut self, job: usize) {
        let now = self.queue.now();
        let mut wake: Option<SimTime> = None;
        for at in 0..self.jobs[job].kube.created.len() {
            let created = &self.jobs[job].kube.created[at];
            if created.status.end.is_some() && created.finished.is_empty() {
                continue;
            }
            let active = self.active_job_pods(job, at);
            let created = &mut self.jobs[job].kube.created[at];
            let finished = std::mem::take(&mut created.finished);
            let see = JobObservation { finished: &finished, active: active.len() as u32, restarts: 0 };
            let before = created.status.end.is_some();
            let pass = job::sync(&created.spec, &created.status, &see, now);
            created.status = pass.status;
            if let Some((end, _)) = pass.status.end
                && !before
            {
                let why = match end {
                    JobEnd::Complete => "Its Job is complete",
                    JobEnd::BackoffLimitExceeded => "Its Job failed: BackoffLimitExceeded",
                    JobEnd::DeadlineExceeded => "Its Job failed: DeadlineExceeded",
                };
                self.end_job(job, at, why);
                continue;
            }
            let mut again = pass.next_check;
            for _ in 0..pass.create {
                if !self.create_job_pod(job, at) {
                    again = Some(now + QUOTA_RETRY);
                    break;
                }
            }
            wake = [wake, again].into_iter().flatten().filter(|t| *t > now).min();
        }
        if let Some(at) = wake {
            self.schedule_timer_if_due(Timer::Job(job as u16), at, Phase::Decision);
        }
    }

    /// A pod for the next piece of work of a Job; false where a quota refuses it.
    fn create_job_pod(&mut self, job: usize, at: usize) -> bool {
        let service = self.jobs[job].service;
        if !self.quota_admits(service) {
            return false;
        }
        let Some(number) = self.jobs[job].kube.created[at].waiting.pop_front() else { return true };
        let again = self.jobs[job].items[number as usize].attempts > 0;
        let Some(task) = self.create_pod(service, 0, if again { "retry" } else { "job" }) else { return false };
        let counted = self.queue.now() >= self.warm_up;
        let j = &mut self.jobs[job];
        j.running += 1;
        if counted {
            j.figures.max_running = j.figures.max_running.max(j.running);
        }
        j.items[number as usize].attempts += 1;
        self.tasks[task.index()].work = Some(number);
        self.admit_pod(task);
        true
    }

    /// A Job has ended, or is deleted: its pods go, and what it has not done is not done any more.
    fn end_job(&mut self, job: usize, at: usize, why: &str) {
        let now = self.queue.now();
        let created = &mut self.jobs[job].kube.created[at];
        created.status.end.get_or_insert((JobEnd::BackoffLimitExceeded, now));
        for number in std::mem::take(&mut created.waiting) {
            self.end_item(job, number, false);
        }
        for task in self.active_job_pods(job, at) {
            self.delete_pod(task, StopCode::ServiceSchedulerInitiated, why);
        }
    }

    /// A pod of a Job is to go: unless its work is done, somebody else takes it up.
    pub(in crate::simulation) fn job_pod_stops(&mut self, job: usize, task: TaskId, code: StopCode) {
        let Some(number) = self.tasks[task.index()].work else { return };
        let counted = self.queue.now() >= self.warm_up;
        let j = &mut self.jobs[job];
        if matches!(
            code,
            StopCode::SpotInterruption
                | StopCode::Evicted
                | StopCode::Preempted
                | StopCode::TerminationNotice
                | StopCode::HostLost
        ) {
            j.items[number as usize].interruptions += 1;
            j.figures.interrupted += u64::from(counted);
        }
        if self.tasks[task.index()].work_done == Some(true) || j.items[number as usize].ended.is_some() {
            return;
        }
        let at = j.items[number as usize].firing as usize;
        let created = &mut j.kube.created[at];
        if created.status.end.is_none() {
            created.waiting.push_back(number);
        } else {
            self.end_item(job, number, false);
        }
    }

    /// The containers of a pod of a Job have ended.
    pub(in crate::simulation) fn job_pod_ended(&mut self, job: usize, task: TaskId) {
        let now = self.queue.now();
        let Some(number) = self.tasks[task.index()].work else { return };
        let ok = self.tasks[task.index()].work_done == Some(true);
        let counted = now >= self.warm_up;
        let j = &mut self.jobs[job];
        j.running -= 1;
        j.figures.attempts_failed += u64::from(counted && !ok);
        let at = j.items[number as usize].firing as usize;
        j.kube.created[at].finished.push(FinishedPod { at: now, succeeded: ok });
        // One that was asked to go may have come to its end all the same, beside its replacement.
        j.kube.created[at].waiting.retain(|n| !(ok && *n == number));
        if ok && j.items[number as usize].ended.is_none() {
            self.end_item(job, number, true);
        }
    }
}
