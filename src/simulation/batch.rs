//! Standalone tasks at work: schedules fire, pieces of work wait, run, are tried again and end.
//!
//! To the rest of the simulation a job is a service that wants no tasks: its tasks are launched, billed and recorded like
//! all others, and the service scheduler leaves them alone.

use std::borrow::Cow;
use std::collections::VecDeque;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use super::{ControlEvent, RunError, Simulation, Timer};
use crate::cluster::{Command, Fact, StopCode, TaskStatus};
use crate::kernel::{Draw, Phase, SimDuration, SimTime, Streams};
use crate::output::{DecisionDetail, DecisionRow, JobRow, JobSummary, Secs, Spread};
use crate::scaling::schedule::Schedule;
use crate::scenario::model::{
    Client, EcsService, Job, JobSchedule, KubernetesService, Plan, RequestClass, ScheduledAction, Service, Task,
    Traffic,
};
use crate::traffic::Histogram;
use crate::units::{Bytes, CapacityId, ServerId, ServiceId, TaskId, ZoneId};

/// How soon a job looks again when the quota of tasks in PROVISIONING is used up.
const QUOTA_RETRY: SimDuration = SimDuration::from_secs(1);
/// A schedule of EventBridge Scheduler fires at some second of its minute.
const MINUTE: SimDuration = SimDuration::from_secs(60);

/// The plan with a service for each job, behind those that are there.
pub(super) fn with_jobs(plan: &Plan) -> Cow<'_, Plan> {
    if plan.jobs.is_empty() {
        return Cow::Borrowed(plan);
    }
    let mut plan = plan.clone();
    for (name, job) in &plan.jobs {
        plan.services.insert(name.clone(), as_service(job));
    }
    Cow::Owned(plan)
}

fn as_service(job: &Job) -> Service {
    let work = RequestClass {
        weight: 1.0,
        cpu_time: job.work.cpu_time.clone(),
        wait: job.work.runs_for.clone(),
        cpu_before_calls: 1.0,
        memory: job.work.memory.clone(),
        request_bytes: Bytes::ZERO,
        response_bytes: Bytes::ZERO,
        error_rate: job.work.failure_rate,
    };
    Service {
        desired_count: 0,
        capacity: job.capacity.clone(),
        task: Task { concurrency: Some(1), ..job.task.clone() },
        requests: IndexMap::from_iter([("work".to_owned(), work)]),
        client: Client::default(),
        calls: IndexMap::new(),
        traffic: Traffic::default(),
        load_balancer: None,
        worker: None,
        scaling: None,
        alarms: IndexMap::new(),
        ecs: EcsService::default(),
        kubernetes: KubernetesService {
            namespace: job.kubernetes.namespace.clone(),
            labels: job.kubernetes.labels.clone(),
            limits: job.kubernetes.limits.clone(),
            node_selector: job.kubernetes.node_selector.clone(),
            tolerations: job.kubernetes.tolerations.clone(),
            priority_class_name: job.kubernetes.priority_class_name.clone(),
            termination_grace_period_seconds: job.kubernetes.termination_grace_period_seconds,
            do_not_disrupt: job.kubernetes.do_not_disrupt,
            safe_to_evict: job.kubernetes.safe_to_evict,
            ..KubernetesService::default()
        },
        monitoring_resolution: 60,
    }
}

/// A piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    schedule: u16,
    pub(super) firing: u32,
    due: SimTime,
    /// First RUNNING, and that of the last attempt.
    started: Option<SimTime>,
    last_started: Option<SimTime>,
    pub(super) attempts: u32,
    pub(super) interruptions: u32,
    /// How it ended.
    pub(super) ended: Option<(SimTime, bool)>,
}

/// A job of the plan while it runs.
pub(super) struct JobRuntime<'p> {
    pub(super) name: &'p str,
    pub(super) plan: &'p Job,
    pub(super) service: ServiceId,
    schedules: Vec<Option<Schedule>>,
    pub(super) items: Vec<Item>,
    waiting: VecDeque<u32>,
    pub(super) running: u32,
    firings: u32,
    /// Its Jobs and CronJobs under Kubernetes.
    pub(super) kube: super::kube::Jobs,
    /// For the work of items, and for the seconds of firings.
    work_root: u64,
    firing_root: u64,
    pub(super) figures: Figures,
}

#[derive(Default)]
pub(super) struct Figures {
    firings: u64,
    due: u64,
    tasks_started: u64,
    succeeded: u64,
    failed: u64,
    pub(super) attempts_failed: u64,
    pub(super) interrupted: u64,
    in_time: u64,
    judged: u64,
    pub(super) max_running: u32,
    last_done: Option<SimTime>,
    wait: Histogram,
    duration: Histogram,
    turnaround: Histogram,
}

impl<'p> JobRuntime<'p> {
    /// The jobs of a plan that [`with_jobs`] has made.
    ///
    /// # Errors
    /// When a schedule cannot be read.
    pub(super) fn all(plan: &'p Plan, streams: &Streams) -> Result<Vec<Self>, RunError> {
        plan.jobs
            .iter()
            .map(|(name, job)| {
                let bad = |e: &dyn std::fmt::Display| RunError::Schedule(format!("jobs.{name}.schedules: {e}"));
                let index = plan.services.get_index_of(name).ok_or_else(|| bad(&"the job has no service"))?;
                let schedules = job.schedules.values().map(|s| match s {
                    JobSchedule::RunTask(_) | JobSchedule::CronJob(_) => Ok(None),
                    JobSchedule::Rule(r) => {
                        Schedule::parse(&r.schedule_expression, "UTC").map(Some).map_err(|e| bad(&e))
                    }
                    JobSchedule::Scheduler(s) => {
                        Schedule::parse(&s.schedule_expression, &s.schedule_expression_timezone)
                            .map(Some)
                            .map_err(|e| bad(&e))
                    }
                });
                Ok(Self {
                    name,
                    plan: job,
                    service: ServiceId::from(index),
                    schedules: schedules.collect::<Result<_, RunError>>()?,
                    items: Vec::new(),
                    waiting: VecDeque::new(),
                    running: 0,
                    firings: 0,
                    kube: super::kube::Jobs::new(job).map_err(|e| bad(&e))?,
                    work_root: streams.root(&format!("work/{name}")),
                    firing_root: streams.root(&format!("schedule/{name}")),
                    figures: Figures::default(),
                })
            })
            .collect()
    }

    /// The instant after `after` for which a schedule fires.
    fn next(&self, schedule: usize, start: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let parsed = self.schedules.get(schedule)?.as_ref()?;
        let (_, spec) = self.plan.schedules.get_index(schedule)?;
        let framed = |start_time, end_time| ScheduledAction {
            schedule: String::new(),
            timezone: String::new(),
            min_capacity: None,
            max_capacity: None,
            start_time,
            end_time,
        };
        match spec {
            JobSchedule::RunTask(_) | JobSchedule::CronJob(_) => None,
            JobSchedule::Rule(_) => parsed.next_action(&framed(None, None), start, after),
            JobSchedule::Scheduler(s) if s.schedule_expression.trim().starts_with("rate") => {
                // A rate begins at its start date, or at once.
                let first = s.start_date.unwrap_or(start);
                parsed.next_action(&framed(Some(first), s.end_date), start, after)
            }
            JobSchedule::Scheduler(s) => {
                let begin = s.start_date.and_then(|d| d.checked_sub(SignedDuration::from_nanos(1)).ok());
                let from = begin.map_or(after, |b| b.max(after));
                parsed.next_after(from).filter(|at| s.end_date.is_none_or(|end| *at <= end))
            }
        }
    }

    /// How long after its instant a firing calls RunTask.
    fn delay(&self, schedule: usize, number: u64) -> SimDuration {
        let unit = Draw::new(self.firing_root).of(schedule as u64).of(number).unit();
        match self.plan.schedules.get_index(schedule) {
            Some((_, JobSchedule::Rule(r))) => SimDuration::from_secs_f64(r.delay.law().quantile(unit)),
            Some((_, JobSchedule::Scheduler(s))) => s.flexible_time_window.max(MINUTE).mul_f64(unit),
            _ => SimDuration::ZERO,
        }
    }

    fn latest(&self, item: &Item) -> Option<SimTime> {
        self.plan.deadline.map(|d| item.due + d)
    }
}

fn spread(h: &Histogram) -> Option<Spread> {
    let secs = |q: f64| h.quantile(q).map(|n| n as f64 / 1e9);
    Some(Spread {
        count: h.count(),
        mean_s: h.mean()? / 1e9,
        p50_s: secs(0.5)?,
        p99_s: secs(0.99)?,
        max_s: h.max() as f64 / 1e9,
    })
}

impl Simulation<'_> {
    /// Sets the first firing of every schedule.
    pub(super) fn start_jobs(&mut self) {
        for job in 0..self.jobs.len() {
            self.start_cron_jobs(job);
            for (index, schedule) in self.jobs[job].plan.schedules.values().enumerate() {
                if let JobSchedule::RunTask(call) = schedule {
                    let event = ControlEvent::JobFires(job as u16, index as u16);
                    self.queue.schedule(SimTime::ZERO + call.at, Phase::Decision, event.into());
                }
            }
            for index in 0..self.jobs[job].schedules.len() {
                // What is due at the very start counts.
                let from = self.plan.simulation.start.checked_sub(SignedDuration::from_nanos(1));
                self.schedule_firing(job, index, from.unwrap_or(self.plan.simulation.start));
            }
        }
    }

    fn schedule_firing(&mut self, job: usize, schedule: usize, after: Timestamp) {
        let start = self.plan.simulation.start;
        if let Some(next) = self.jobs[job].next(schedule, start, after) {
            let at = SimTime::from_nanos(u64::try_from(next.duration_since(start).as_nanos()).unwrap_or(0));
            self.schedule_timer_if_due(Timer::JobSchedule(job as u16, schedule as u16), at, Phase::Decision);
        }
    }

    /// The instant of a schedule has come: its call follows within its minute or window.
    pub(super) fn on_job_schedule(&mut self, job: usize, schedule: usize) {
        let now = self.queue.now();
        if self.is_kube() {
            self.sync_cron_job(job, schedule);
            return;
        }
        let delay = self.jobs[job].delay(schedule, now.as_nanos());
        let event = ControlEvent::JobFires(job as u16, schedule as u16);
        if now + delay <= self.end {
            self.queue.schedule(now + delay, Phase::Decision, event.into());
        }
        let start = self.plan.simulation.start;
        if let Ok(here) = start.checked_add(SignedDuration::from_nanos(now.as_nanos() as i64)) {
            self.schedule_firing(job, schedule, here);
        }
    }

    /// A schedule calls RunTask, or submits its work to the job's queue.
    pub(super) fn on_job_fires(&mut self, job: usize, schedule: usize) {
        let now = self.queue.now();
        let counted = now >= self.warm_up;
        let j = &mut self.jobs[job];
        let Some((name, spec)) = j.plan.schedules.get_index(schedule) else { return };
        let count = spec.count();
        let firing = j.firings;
        j.firings += 1;
        let kube = self.kube.is_some();
        let first = j.items.len() as u32;
        for _ in 0..count {
            if !kube {
                j.waiting.push_back(j.items.len() as u32);
            }
            j.items.push(Item {
                schedule: schedule as u16,
                firing,
                due: now,
                started: None,
                last_started: None,
                attempts: 0,
                interruptions: 0,
                ended: None,
            });
        }
        if counted {
            j.figures.firings += 1;
            j.figures.due += u64::from(count);
        }
        if kube {
            j.kube.create(schedule, first..first + count);
        }
        let waiting = if kube { count as usize } else { j.waiting.len() };
        let row = DecisionRow {
            time_s: now.into(),
            controller: "schedule".into(),
            subject: format!("jobs.{}.schedules.{name}", j.name).into(),
            service: j.name.into(),
            observed: None,
            observed_metric: "".into(),
            observed_age_s: None,
            from: Some(i64::from(j.running)),
            computed: Some(i64::from(count)),
            bounded_by: match j.plan.max_concurrency {
                Some(max) if waiting as u64 + u64::from(j.running) > u64::from(max) => "max_concurrency".into(),
                _ => "".into(),
            },
            result: Some(i64::from(j.running) + waiting as i64),
            reason: "fired".into(),
            explanation: format!("{count} tasks asked for, {waiting} pieces of work wait").into(),
        };
        let observation = serde_json::json!({ "running": j.running, "waiting": waiting });
        let detail = DecisionDetail { observation, memory: serde_json::Value::Null };
        self.recorder.decision(&row, &detail);
        self.pump_job(job);
    }

    /// Whether a service is a job's; its position.
    pub(super) fn job_of(&self, service: ServiceId) -> Option<usize> {
        self.services[service.index()].job
    }

    /// Starts as much of the waiting work as may run.
    pub(super) fn pump_job(&mut self, job: usize) {
        if self.is_kube() {
            self.sync_jobs(job);
            return;
        }
        loop {
            let j = &self.jobs[job];
            let most = j.plan.max_concurrency.unwrap_or(u32::MAX);
            let Some(&number) = j.waiting.front().filter(|_| j.running < most) else { return };
            let service = j.service;
            let provisioning = |id: ServiceId| {
                self.cluster.count(id, |t| t.status == TaskStatus::Provisioning && t.stop_code.is_none())
            };
            let provisioning: u32 = self.cluster.services().iter().map(|s| provisioning(s.id)).sum();
            if provisioning >= self.plan.cluster.quotas.provisioning_tasks {
                let at = self.queue.now() + QUOTA_RETRY;
                self.schedule_timer_if_due(Timer::Job(job as u16), at, Phase::Decision);
                return;
            }
            let (capacity, zone) = self.place_of_job(service);
            self.jobs[job].waiting.pop_front();
            let command = Command::StartTask { service, deployment: 0, capacity, zone };
            let Some(task) = self.try_apply(command) else { return };
            let j = &mut self.jobs[job];
            j.running += 1;
            if self.queue.now() >= self.warm_up {
                j.figures.max_running = j.figures.max_running.max(j.running);
            }
            let item = &mut j.items[number as usize];
            item.attempts += 1;
            let runtime = &mut self.tasks[task.index()];
            runtime.work = Some(number);
            runtime.started_by = if item.attempts > 1 { "retry" } else { "run_task" };
            self.enqueue_launch(task);
        }
    }

    /// Where the next task of a job goes: the strategy's next capacity, the zone with the fewest of its tasks.
    fn place_of_job(&self, service: ServiceId) -> (CapacityId, ZoneId) {
        let strategy = &self.services[service.index()].strategy;
        let mut counts = vec![0_u32; strategy.shares().len()];
        let mut zones = vec![0_u32; self.plan.cluster.zones as usize];
        for t in self.cluster.tasks_of(service).filter(|t| t.stop_code.is_none()) {
            if let Some(i) = strategy.shares().iter().position(|s| s.capacity == t.capacity) {
                counts[i] += 1;
            }
            if let Some(n) = zones.get_mut(t.zone.0 as usize) {
                *n += 1;
            }
        }
        let (capacity, _) = strategy.next(&counts);
        let zone = zones.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(i, _)| i as u32);
        (capacity, ZoneId(zone))
    }

    /// The application of a job's task runs: its work begins.
    pub(super) fn begin_work(&mut self, task: TaskId, server: ServerId) {
        let service = self.cluster.task(task).service;
        let (Some(job), Some(item)) = (self.job_of(service), self.tasks[task.index()].work) else { return };
        let j = &self.jobs[job];
        let seed = Draw::new(j.work_root).of(u64::from(item)).bits();
        let attempt = j.items[item as usize].attempts.saturating_sub(1);
        self.data.run(&mut self.queue, server, seed, attempt);
    }

    /// The work of a task is done: its container exits.
    pub(super) fn on_work_done(&mut self, server: ServerId, ok: bool) {
        let Some(task) = self.task_of_server.get(server.index()).copied().flatten() else { return };
        let runtime = &mut self.tasks[task.index()];
        runtime.work_done = Some(ok);
        if self.cluster.task(task).stop_code.is_none() {
            runtime.stop_reason = format!("Essential container in task exited with code {}", u8::from(!ok));
            self.end_task(task, StopCode::EssentialContainerExited);
        }
    }

    /// What a fact about a job's task says of its work.
    pub(super) fn note_job(&mut self, job: usize, task: TaskId, fact: &Fact) {
        let now = self.queue.now();
        let Some(number) = self.tasks[task.index()].work else { return };
        let counted = now >= self.warm_up;
        let j = &mut self.jobs[job];
        let item = &mut j.items[number as usize];
        match *fact {
            Fact::TaskStatus(_, TaskStatus::Running) => {
                item.last_started = Some(now);
                if item.started.is_none() {
                    item.started = Some(now);
                    if counted {
                        j.figures.wait.record(now.since(item.due).as_nanos());
                    }
                }
                j.figures.tasks_started += u64::from(counted);
            }
            Fact::TaskStops(_, code) if self.kube.is_some() => self.job_pod_stops(job, task, code),
            Fact::TaskStops(_, StopCode::SpotInterruption) => {
                item.interruptions += 1;
                j.figures.interrupted += u64::from(counted);
            }
            Fact::TaskStops(_, StopCode::TaskFailedToStart) => {
                let now = self.queue.now();
                self.services[j.service.index()].trouble.note(super::trouble::TroubleKind::FailedStart, now);
            }
            Fact::TaskStatus(_, TaskStatus::Deprovisioning) if self.kube.is_some() => self.job_pod_ended(job, task),
            Fact::TaskStatus(_, TaskStatus::Deprovisioning) => {
                j.running -= 1;
                let ok = self.tasks[task.index()].work_done == Some(true);
                j.figures.attempts_failed += u64::from(counted && !ok);
                if ok || item.attempts >= j.plan.attempts {
                    self.end_item(job, number, ok);
                } else if j.plan.retry_interval.is_zero() {
                    j.waiting.push_back(number);
                } else {
                    let event = ControlEvent::JobRetry(job as u16, number);
                    self.queue.schedule(now + j.plan.retry_interval, Phase::Decision, event.into());
                }
            }
            _ => {}
        }
    }

    /// A failed piece of work is tried again.
    pub(super) fn on_job_retry(&mut self, job: usize, item: u32) {
        self.jobs[job].waiting.push_back(item);
        self.pump_job(job);
    }

    pub(super) fn end_item(&mut self, job: usize, number: u32, ok: bool) {
        let now = self.queue.now();
        let j = &mut self.jobs[job];
        let latest = j.latest(&j.items[number as usize]);
        let item = &mut j.items[number as usize];
        item.ended = Some((now, ok));
        if item.due >= self.warm_up {
            let f = &mut j.figures;
            f.succeeded += u64::from(ok);
            f.failed += u64::from(!ok);
            if let Some(latest) = latest {
                f.judged += 1;
                f.in_time += u64::from(ok && now <= latest);
            }
            if ok {
                f.last_done = Some(now);
                f.turnaround.record(now.since(item.due).as_nanos());
                if let Some(from) = item.last_started {
                    f.duration.record(now.since(from).as_nanos());
                }
            }
        }
        self.job_row(job, number);
    }

    fn job_row(&mut self, job: usize, number: u32) {
        let j = &self.jobs[job];
        let item = &j.items[number as usize];
        let schedule = j.plan.schedules.get_index(usize::from(item.schedule)).map_or("", |(n, _)| n.as_str());
        let latest = j.latest(item);
        let written = self.recorder.sink.job(&JobRow {
            job: j.name.into(),
            item: number,
            schedule: schedule.into(),
            firing: item.firing + 1,
            due_s: item.due.into(),
            running_s: item.started.map(Secs::from),
            ended_s: item.ended.map(|(at, _)| at.into()),
            outcome: match item.ended {
                Some((_, true)) => "succeeded",
                Some((_, false)) => "failed",
                None if item.started.is_some() => "running",
                None => "waiting",
            }
            .into(),
            attempts: item.attempts,
            interruptions: item.interruptions,
            deadline_s: latest.map(Secs::from),
            in_time: latest.and_then(|latest| match item.ended {
                Some((at, ok)) => Some(ok && at <= latest),
                None => (latest <= self.end).then_some(false),
            }),
        });
        self.recorder.keep_failure(written);
    }

    /// The warm-up is over: what was gathered is forgotten.
    pub(super) fn forget_jobs(&mut self) {
        for j in &mut self.jobs {
            j.figures = Figures { max_running: j.running, ..Figures::default() };
        }
    }

    /// The end of the run: work that has not ended is written down.
    pub(super) fn close_jobs(&mut self) {
        for job in 0..self.jobs.len() {
            for number in 0..self.jobs[job].items.len() as u32 {
                let j = &mut self.jobs[job];
                let item = &j.items[number as usize];
                if item.ended.is_some() {
                    continue;
                }
                if item.due >= self.warm_up && j.latest(item).is_some_and(|latest| latest <= self.end) {
                    j.figures.judged += 1;
                }
                self.job_row(job, number);
            }
        }
    }

    /// Figures of the jobs.
    pub(super) fn job_summaries(&self) -> IndexMap<String, JobSummary> {
        let summary = |j: &JobRuntime<'_>| {
            let f = &j.figures;
            JobSummary {
                firings: f.firings,
                due: f.due,
                tasks_started: f.tasks_started,
                succeeded: f.succeeded,
                failed: f.failed,
                unfinished: j.items.iter().filter(|i| i.ended.is_none() && i.due >= self.warm_up).count() as u64,
                attempts_failed: f.attempts_failed,
                interrupted: f.interrupted,
                max_running: f.max_running,
                wait: spread(&f.wait),
                duration: spread(&f.duration),
                turnaround: spread(&f.turnaround),
                last_done_s: f.last_done.map(SimTime::as_secs_f64),
                deadline_s: j.plan.deadline.map(SimDuration::as_secs_f64),
                done_by_deadline_pct: (f.judged > 0).then(|| 100.0 * f.in_time as f64 / f.judged as f64),
            }
        };
        self.jobs.iter().map(|j| (j.name.to_owned(), summary(j))).collect()
    }

    /// Share of a job's work that was done by its deadline, percent.
    pub(super) fn done_by_deadline(&self, name: &str) -> Option<f64> {
        let f = &self.jobs.iter().find(|j| j.name == name)?.figures;
        (f.judged > 0).then(|| 100.0 * f.in_time as f64 / f.judged as f64)
    }
}
