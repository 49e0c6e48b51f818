//! Queues and their workers, jobs and their schedules, metrics of one's own, predictive scaling.

use indexmap::IndexMap;

use super::Check;
use crate::kernel::SimDuration;
use crate::scenario::cron_schedule::CronSchedule;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::metric_math::Expression;
use crate::scenario::model::{
    Alarm, History, Job, JobSchedule, MaxCapacityBreach, Metric, MetricPair, MetricQuery, Objectives, Orchestrator,
    PredictiveScaling, Queue, Service, Worker,
};

/// Whether a metric is one of a queue.
pub(super) fn of_queue(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::ApproximateNumberOfMessagesVisible
            | Metric::ApproximateNumberOfMessagesNotVisible
            | Metric::ApproximateNumberOfMessagesDelayed
            | Metric::ApproximateAgeOfOldestMessage
            | Metric::NumberOfMessagesSent
    )
}

impl Check<'_> {
    /// Queues and jobs.
    pub(super) fn work(&mut self) {
        for (name, queue) in &self.plan.queues {
            self.within(&["queues", name], |c| c.queue(name, queue));
        }
        for (name, job) in &self.plan.jobs {
            if name == "cluster" || self.plan.services.contains_key(name) {
                let what =
                    if name == "cluster" { "a job cannot be called `cluster`" } else { "a service has that name" };
                let d = Diagnostic::error("S1004", what)
                    .at(self.key(&["jobs", name]))
                    .label("objectives and the bill name services and jobs alike");
                self.report(&["jobs", name], d);
            }
            self.within(&["jobs", name], |c| c.job(job));
        }
    }

    fn queue(&mut self, name: &str, queue: &Queue) {
        let who = "SQS takes a";
        self.within(&["traffic"], |c| {
            c.traffic(&queue.traffic);
            if queue.traffic.users.is_some() {
                c.error(
                    "S1012",
                    &["users"],
                    "users wait for an answer, and a queue gives none",
                    "a queue takes `rate`, `shapes`, `trace` and `recorded`",
                );
            }
        });
        self.time(&["visibility_timeout"], queue.visibility_timeout, 0, 43_200, who);
        self.time(&["message_retention_period"], queue.message_retention_period, 60, 1_209_600, who);
        self.time(&["delay_seconds"], queue.delay_seconds, 0, 900, who);
        self.above_zero(&["max_in_flight"], f64::from(queue.max_in_flight));
        if let Some(redrive) = &queue.redrive_policy {
            let path = ["redrive_policy", "dead_letter_queue"];
            let known: Vec<&str> = self.plan.queues.keys().map(String::as_str).collect();
            let span = self.at(&path);
            self.known(&path, span, "queue", &redrive.dead_letter_queue, &known);
            if redrive.dead_letter_queue == name {
                self.error(
                    "S1012",
                    &path,
                    "a queue cannot be its own dead-letter queue: SQS refuses it",
                    "name another queue",
                );
            }
            let receives = u64::from(redrive.max_receive_count);
            self.range(&["redrive_policy", "max_receive_count"], receives, 1, 1_000, "SQS takes a");
        }
        let read = self.plan.services.values().any(|s| s.worker.as_ref().is_some_and(|w| w.queue == name));
        let dead = |q: &Queue| q.redrive_policy.as_ref().is_some_and(|r| r.dead_letter_queue == name);
        if !read && !self.plan.queues.values().any(dead) {
            self.warn("W0024", &[], format!("no service works on the queue `{name}`"), "its messages wait for ever");
        }
    }

    /// What a service that works on a queue may have.
    pub(super) fn worker(&mut self, service: &Service) {
        let Some(worker) = &service.worker else { return };
        let refused = [
            ("load_balancer", service.load_balancer.is_some(), "messages come from the queue, not through a balancer"),
            ("traffic", super::has_traffic(service), "the messages' traffic is that of the queue"),
        ];
        for (key, given, label) in refused {
            if given {
                self.error("S1012", &[key], format!("a service with a `worker` takes no `{key}`"), label);
            }
        }
        for key in ["concurrency", "accept_queue"] {
            if self.is_written(&["task", key]) {
                self.error(
                    "S1012",
                    &["task", key],
                    format!("a worker has no `task.{key}`: it asks for as many messages as it has loops"),
                    "use `worker.concurrency`",
                );
            }
        }
        if self.is_written(&["client"]) {
            self.warn("W0036", &["client"], "nobody waits for a message to be done", "has no effect");
        }
        self.within(&["worker"], |c| c.worker_rules(worker));
    }

    fn worker_rules(&mut self, worker: &Worker) {
        let known: Vec<&str> = self.plan.queues.keys().map(String::as_str).collect();
        let span = self.at(&["queue"]);
        self.known(&["queue"], span, "queue", &worker.queue, &known);
        self.range(&["concurrency"], u64::from(worker.concurrency), 1, 100_000, "a worker takes a");
        let batch = u64::from(worker.max_number_of_messages);
        self.range(&["max_number_of_messages"], batch, 1, 10, "SQS takes a");
        self.time(&["wait_time_seconds"], worker.wait_time_seconds, 0, 20, "SQS takes a");
        let empty = worker.receive_latency.law().mean() + worker.poll_interval.as_secs_f64();
        if worker.wait_time_seconds.is_zero() && empty < 0.001 {
            self.error(
                "S1010",
                &["poll_interval"],
                "with short polling an idle loop would ask more than a thousand times a second",
                "pause for a while, or poll long (`wait_time_seconds`)",
            );
        }
        if !worker.wait_time_seconds.is_zero() && !worker.poll_interval.is_zero() {
            self.error(
                "S1012",
                &["poll_interval"],
                "a loop that polls long waits for a message, and has no empty answer to pause after",
                "for short polling (`wait_time_seconds = 0`)",
            );
        }
        let Some(beat) = worker.heartbeat else { return };
        self.not_zero(&["heartbeat"], beat);
        if let Some(queue) = self.plan.queues.get(&worker.queue)
            && beat >= queue.visibility_timeout
        {
            self.error(
                "S1011",
                &["heartbeat"],
                "the heartbeat comes when the message is visible again already",
                "shorter than the queue's `visibility_timeout`",
            );
        }
    }

    fn job(&mut self, job: &Job) {
        let on_fargate = match self.plan.cluster.orchestrator {
            Orchestrator::Eks => {
                self.within(&["kubernetes"], |c| c.job_pods(job));
                false
            }
            Orchestrator::Ecs => {
                self.strategy(&job.capacity);
                self.on_fargate(&job.capacity)
            }
        };
        self.within(&["task"], |c| {
            c.task(&job.task, on_fargate);
            for key in ["concurrency", "accept_queue"] {
                if c.is_written(&[key]) {
                    c.error("S1012", &[key], "the task of a job serves no requests", "has no meaning here");
                }
            }
            if job.task.health_check.is_some() {
                c.error(
                    "S1012",
                    &["health_check"],
                    "nothing acts on the health of a standalone task",
                    "ECS replaces unhealthy tasks of services only",
                );
            }
        });
        let work = &job.work;
        if work.cpu_time.law().mean() <= 0.0 && work.runs_for.law().mean() <= 0.0 {
            let d = Diagnostic::error("S1012", "the job does nothing")
                .at(self.at(&["work"]))
                .label("give it `runs_for`, or `cpu_time`")
                .help("for example `work.runs_for = \"12m\"`, or `work.cpu_time = \"9m\"` of one vCPU");
            self.report(&["work"], d);
        }
        self.range(&["attempts"], u64::from(job.attempts), 1, 10, "AWS Batch takes");
        if job.max_concurrency == Some(0) {
            self.error("S1010", &["max_concurrency"], "nothing would ever run", "at least 1");
        }
        if let Some(deadline) = job.deadline {
            self.not_zero(&["deadline"], deadline);
        }
        if job.schedules.is_empty() {
            let label = match self.plan.cluster.orchestrator {
                Orchestrator::Eks => {
                    "EventBridge starts no Jobs: at least one schedule of type `cron_job` or `run_task`"
                }
                Orchestrator::Ecs => "at least one schedule",
            };
            self.error("S1003", &["schedules"], "nothing starts the job", label);
        }
        for (name, schedule) in &job.schedules {
            self.within(&["schedules", name], |c| c.job_schedule(schedule, job));
        }
    }

    /// What only a Job of Kubernetes has.
    fn job_pods(&mut self, job: &Job) {
        let k = &job.kubernetes;
        let mut classes: Vec<&str> = self.plan.cluster.eks.priority_classes.keys().map(String::as_str).collect();
        classes.extend(super::kubernetes::SYSTEM_CLASSES);
        if let Some(class) = &k.priority_class_name {
            let span = self.at(&["priority_class_name"]);
            self.known(&["priority_class_name"], span, "priority class", class, &classes);
        }
        self.pod_size(&job.task, &k.limits);
        self.tolerations(&k.tolerations);
    }

    /// A schedule as CronJobs and Karpenter's budgets have it.
    pub(super) fn cron_schedule(&mut self, text: &str, zone: &str) {
        if let Err(why) = CronSchedule::parse(text) {
            let d = Diagnostic::error("S1040", format!("the schedule is refused: {why}"))
                .at(self.at(&["schedule"]))
                .help(format!("for example \"0 2 * * *\": minute, hour, day of month, month, day of week; {zone}"));
            self.report(&["schedule"], d);
        }
    }

    fn job_schedule(&mut self, schedule: &JobSchedule, job: &Job) {
        let count = schedule.count();
        let ecs = self.plan.cluster.orchestrator == Orchestrator::Ecs;
        if ecs && job.max_concurrency.is_none() && !(1..=10).contains(&count) {
            let d = Diagnostic::error("S1012", format!("RunTask starts 1 to 10 tasks in a call, not {count}"))
                .at(self.at(&["count"]))
                .label("1 to 10")
                .help("with `max_concurrency` the job has a queue, as in AWS Batch, and takes any number");
            self.report(&["count"], d);
        }
        self.range(&["count"], u64::from(count), 1, 1_000_000, "a job takes a");
        match schedule {
            JobSchedule::RunTask(call) => self.happens(&["at"], call.at),
            JobSchedule::CronJob(cron) => {
                self.zone(&["time_zone"], &cron.time_zone);
                self.cron_schedule(&cron.schedule, "the zone is in `time_zone`");
            }
            JobSchedule::Rule(rule) => {
                let text = rule.schedule_expression.trim();
                if text.starts_with("at(") {
                    self.error(
                        "S1040",
                        &["schedule_expression"],
                        "a rule of EventBridge takes `cron(...)` and `rate(...)`",
                        "a schedule of type `scheduler` takes `at(...)`",
                    );
                }
                self.expression(text, "UTC");
            }
            JobSchedule::Scheduler(s) => {
                let window = s.flexible_time_window;
                if !window.is_zero() {
                    self.time(&["flexible_time_window"], window, 60, 86_400, "EventBridge Scheduler takes a");
                }
                self.zone(&["schedule_expression_timezone"], &s.schedule_expression_timezone);
                self.expression(s.schedule_expression.trim(), &s.schedule_expression_timezone);
                if let (Some(start), Some(end)) = (s.start_date, s.end_date) {
                    self.ordered(&["start_date"], &["end_date"], start <= end);
                }
            }
        }
    }

    fn expression(&mut self, text: &str, zone: &str) {
        let path = ["schedule_expression"];
        let shaped = ["cron(", "rate(", "at("].iter().any(|p| text.starts_with(p)) && text.ends_with(')');
        if !shaped {
            let d = Diagnostic::error("S1040", "a schedule is `cron(...)`, `rate(...)` or `at(...)`")
                .at(self.at(&path))
                .help("for example \"cron(0 2 * * ? *)\": minute, hour, day of month, month, day of week, year");
            self.report(&path, d);
        } else if let Some(check) = self.options.check_schedule
            && jiff::tz::TimeZone::get(zone).is_ok()
            && let Err(message) = check(text, zone)
        {
            self.error("S1040", &path, format!("the schedule is refused: {message}"), "not a schedule");
        }
    }

    /// What can be asked of a job, and of what is none.
    pub(super) fn job_objective(&mut self, name: &str, o: &Objectives, asks_requests: bool) {
        match self.plan.jobs.get(name) {
            Some(job) => {
                if asks_requests {
                    self.error(
                        "S1012",
                        &[],
                        format!("`{name}` is a job: it has no latency and no availability"),
                        "a job takes `done_by_deadline`, `cost` and `cost_per_hour`",
                    );
                }
                if o.done_by_deadline.is_some() && job.deadline.is_none() {
                    self.error(
                        "S1013",
                        &["done_by_deadline"],
                        format!("`jobs.{name}` has no `deadline`"),
                        "give the job a deadline",
                    );
                }
            }
            None if o.done_by_deadline.is_some() => {
                self.error("S1012", &["done_by_deadline"], "only a job has a deadline", "not a job");
            }
            None => {}
        }
    }

    /// The parts of an alarm that queues and metric math have.
    pub(super) fn custom_alarm(&mut self, alarm: &Alarm, service: &Service) {
        self.queue_metric(alarm.metric, alarm.queue.as_deref(), service, "metric");
        let math = alarm.metric == Metric::Expression;
        if math {
            self.within(&["metrics"], |c| c.queries(&alarm.metrics, service));
        } else if !alarm.metrics.is_empty() {
            self.warn("W0053", &["metrics"], "`metrics` count for the metric Expression only", "has no effect");
        }
        if (math || of_queue(alarm.metric) || alarm.metric == Metric::RunningTaskCount)
            && alarm.period < SimDuration::from_secs(60)
        {
            self.error("S1012", &["period"], format!("{} comes once a minute", alarm.metric), "at least 60 s");
        }
    }

    fn queue_metric(&mut self, metric: Metric, queue: Option<&str>, service: &Service, key: &str) {
        match queue {
            Some(name) if of_queue(metric) => {
                let known: Vec<&str> = self.plan.queues.keys().map(String::as_str).collect();
                let span = self.at(&["queue"]);
                self.known(&["queue"], span, "queue", name, &known);
            }
            Some(_) => {
                self.warn("W0053", &["queue"], format!("{metric} is not a metric of a queue"), "has no effect");
            }
            None if of_queue(metric) && service.worker.is_none() => {
                self.error("S1012", &[key], format!("{metric} is a metric of a queue: of which?"), "say `queue`");
            }
            None => {}
        }
    }

    /// The queries of metric math.
    pub(super) fn queries(&mut self, queries: &IndexMap<String, MetricQuery>, service: &Service) {
        let mut used: Vec<String> = Vec::new();
        for (id, query) in queries {
            let lower = id.starts_with(|c: char| c.is_ascii_lowercase());
            if !lower || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let d = Diagnostic::error("S1012", "CloudWatch takes an id of letters, digits and underscores")
                    .at(self.key(&[id]))
                    .label("begins with a small letter");
                self.report(&[id], d);
            }
            self.within(&[id], |c| used.extend(c.query(query, queries, service)));
        }
        let values: Vec<&String> = queries.keys().filter(|id| !used.contains(id)).collect();
        if values.len() != 1 {
            let message = match values.len() {
                0 if queries.is_empty() => "there is no metric".to_string(),
                0 => "the queries use one another in a circle".to_string(),
                n => format!("{n} queries are used by no other: which one is the metric?"),
            };
            self.error("S1012", &[], message, "exactly one query is used by no other: it is the metric");
        } else if circle(queries) {
            self.error("S1012", &[], "the queries use one another in a circle", "no query may need itself");
        }
    }

    /// One query; the ids that it uses.
    fn query(
        &mut self,
        query: &MetricQuery,
        queries: &IndexMap<String, MetricQuery>,
        service: &Service,
    ) -> Vec<String> {
        let (metric, text) = match (query.metric_name, &query.expression) {
            (Some(Metric::Expression), _) | (None, None) | (Some(_), Some(_)) => {
                self.error(
                    "S1012",
                    &[],
                    "a query is either a metric or an expression",
                    "`metric_name` or `expression`",
                );
                return Vec::new();
            }
            (Some(metric), None) => (Some(metric), None),
            (None, Some(text)) => (None, Some(text)),
        };
        if let Some(metric) = metric {
            self.queue_metric(metric, query.queue.as_deref(), service, "metric_name");
            let ecs = matches!(metric, Metric::CpuUtilization | Metric::MemoryUtilization | Metric::RunningTaskCount);
            if !ecs && !of_queue(metric) && service.load_balancer.is_none() {
                let message = format!("{metric} is a metric of a load balancer");
                self.error("S1012", &["metric_name"], message, "the service has none");
            }
        }
        let Some(text) = text else { return Vec::new() };
        match Expression::parse(text) {
            Err(e) => {
                self.error("S1012", &["expression"], format!("metric math: {e}"), "not an expression");
                Vec::new()
            }
            Ok(expression) => {
                let known: Vec<&str> = queries.keys().map(String::as_str).collect();
                for id in expression.queries() {
                    let span = self.at(&["expression"]);
                    self.known(&["expression"], span, "query", id, &known);
                }
                expression.queries().into_iter().map(str::to_owned).collect()
            }
        }
    }

    /// A predictive scaling policy; `first` is the name of an earlier one.
    pub(super) fn predictive(&mut self, p: &PredictiveScaling, service: &Service, first: Option<&str>) {
        self.above_zero(&["target_value"], p.target_value);
        self.time(&["scheduling_buffer_time"], p.scheduling_buffer_time, 0, 3_600, "Application Auto Scaling takes a");
        let buffer = u64::from(p.max_capacity_buffer);
        self.range(&["max_capacity_buffer"], buffer, 0, 100, "Application Auto Scaling takes a");
        if p.max_capacity_breach_behavior == MaxCapacityBreach::HonorMaxCapacity && p.max_capacity_buffer > 0 {
            self.warn("W0054", &["max_capacity_buffer"], "it counts for IncreaseMaxCapacity only", "has no effect");
        }
        if p.predefined_metric_pair_type == MetricPair::AlbRequestCount && service.load_balancer.is_none() {
            let message = format!("{} needs a load balancer", p.predefined_metric_pair_type);
            self.error("S1012", &["predefined_metric_pair_type"], message, "the service has none");
        }
        if let Some(first) = first {
            self.error("S1012", &[], "a service takes one predictive policy here", format!("`{first}` is one already"));
        }
        let counts = |h: &History| matches!(h, History::Profile(_) | History::Trace(_));
        match &p.history {
            History::Profile(h) => {
                self.range(&["history", "days"], u64::from(h.days), 1, 14, "predictive scaling uses");
                self.at_least(&["history", "scale"], h.scale, 0.0);
                if service.traffic.users.is_some() || service.traffic.recorded.is_some() {
                    self.error(
                        "S1012",
                        &["history"],
                        "the rate of users and of recorded arrivals is not known before they arrive",
                        "give the past as a trace",
                    );
                }
            }
            History::Trace(h) => self.at_least(&["history", "scale"], h.scale, 0.0),
            History::None(_) if self.plan.simulation.duration < SimDuration::from_secs(24 * 3_600) => {
                self.warn(
                    "W0055",
                    &["history"],
                    "a forecast needs 24 hours of data, and the simulation is shorter",
                    "nothing is forecast; `history = \"profile\"` gives it past days",
                );
            }
            History::None(_) => {}
        }
        if counts(&p.history) && service.worker.is_some() {
            self.error(
                "S1012",
                &["history"],
                "the past of a queue's worker cannot be told from its traffic",
                "leave `history` out",
            );
        }
    }
}

/// Whether a query needs itself.
fn circle(queries: &IndexMap<String, MetricQuery>) -> bool {
    let parsed: Vec<(&str, Option<Expression>)> = queries
        .iter()
        .map(|(id, q)| (id.as_str(), q.expression.as_ref().and_then(|e| Expression::parse(e).ok())))
        .collect();
    // Queries that need nothing open are taken away until none is left.
    let mut open: Vec<(&str, Vec<&str>)> =
        parsed.iter().map(|(id, e)| (*id, e.as_ref().map_or_else(Vec::new, Expression::queries))).collect();
    loop {
        let before = open.len();
        let names: Vec<&str> = open.iter().map(|(id, _)| *id).collect();
        open.retain(|(_, needs)| needs.iter().any(|n| names.contains(n)));
        if open.len() == before {
            return before > 0;
        }
    }
}
