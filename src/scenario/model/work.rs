//! Work that is not request traffic: queues and their workers, standalone tasks, schedules, batch.

use indexmap::IndexMap;

use super::{ByteLaw, Orchestrator, PodLimits, PodToleration, StrategyItem, Task, TimeLaw, Traffic};
use crate::kernel::SimDuration;

table! {
    /// A queue of messages, as an Amazon SQS standard queue. Source: SQS API, SetQueueAttributes.
    pub struct Queue {
        /// How many messages are sent when; the keys of a service's traffic, `users` left out.
        pub traffic: Traffic = Traffic::default(),
        /// Time after a receive in which nobody else gets the message, 0 to 43,200 s. A message that is not deleted by then appears again.
        pub visibility_timeout: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Time after sending at which a message is deleted, whatever became of it, 60 to 1,209,600 s.
        pub message_retention_period: SimDuration as Seconds = SimDuration::from_secs(4 * 86_400),
        /// Time after sending in which a message cannot be received, 0 to 900 s.
        pub delay_seconds: SimDuration as Seconds = SimDuration::ZERO,
        /// Where messages go that fail again and again; absent: nowhere.
        pub redrive_policy: Option<RedrivePolicy> = None,
        /// Messages that may be received and not deleted at once: beyond it a receive gets nothing. 120,000 for a standard queue.
        pub max_in_flight: u32 = 120_000,
    }
}

table! {
    /// Where messages go that fail again and again. Source: SQS API, RedrivePolicy.
    pub struct RedrivePolicy {
        /// The queue they go to (deadLetterTargetArn).
        pub dead_letter_queue: String,
        /// Receives after which a message that comes up again is moved, 1 to 1,000.
        pub max_receive_count: u32,
    }
}

table! {
    /// How the tasks of a service take messages from a queue. Each of a task's loops receives some, works on them one after the other with the work of the service's `requests`, deletes each when it is done, and receives again.
    pub struct Worker {
        /// The queue.
        pub queue: String,
        /// Loops in one task: messages that it works on at once.
        pub concurrency: u32 = 1,
        /// Messages asked for in one receive, 1 to 10. Those beyond the first wait in the task while their visibility runs.
        pub max_number_of_messages: u32 = 1,
        /// Long polling: how long an empty receive waits for a message, 0 to 20 s; 0 for short polling.
        pub wait_time_seconds: SimDuration as Seconds = SimDuration::from_secs(20),
        /// With short polling: pause of a loop after an empty receive.
        pub poll_interval: SimDuration = SimDuration::ZERO,
        /// Time from asking for messages until they are there, when there are some.
        pub receive_latency: TimeLaw = TimeLaw::constant_secs(0.01),
        /// How often a task extends the visibility of the messages it holds to another `visibility_timeout` (ChangeMessageVisibility). Absent: never.
        pub heartbeat: Option<SimDuration> = None,
    }
}

table! {
    /// Standalone tasks: they are started by RunTask, do their work once and end. Nothing replaces them.
    pub struct Job {
        /// What starts them, by name.
        pub schedules: IndexMap<String, JobSchedule> = IndexMap::new(),
        /// The task definition.
        pub task: Task,
        /// What one task does.
        pub work: JobWork,
        /// Capacity provider strategy: base and weight by the name of a capacity.
        pub capacity: IndexMap<String, StrategyItem> = IndexMap::new(),
        /// Tasks that run at once; further ones wait in a queue, as in AWS Batch or a Step Functions map. Absent: all are asked for at once.
        pub max_concurrency: Option<u32> = None,
        /// Tasks that are started for one piece of work until one succeeds, 1 to 10; an interruption by Spot counts as one. Source: AWS Batch, RetryStrategy.
        pub attempts: u32 = 1,
        /// Time between the end of a failed attempt and the next one.
        pub retry_interval: SimDuration = SimDuration::ZERO,
        /// What only a Job of Kubernetes has. CPU and memory of `task` are its pods' requests.
        pub kubernetes: KubernetesJob = KubernetesJob::default(),
        /// Time from the firing within which a piece of work is to be done; for the objective `done_by_deadline`. Absent: no deadline.
        pub deadline: Option<SimDuration> = None,
    }
}

table! {
    /// What the task of a job does: CPU work first, then waiting. A container that exits by itself is in `task.containers`.
    pub struct JobWork {
        /// CPU work: seconds of one vCPU. A task works on it with all of its CPU model, one thread.
        pub cpu_time: TimeLaw = TimeLaw::constant_secs(0.0),
        /// Time outside of the CPU: a job whose duration is known has this alone.
        pub runs_for: TimeLaw = TimeLaw::constant_secs(0.0),
        /// Memory held while it works.
        pub memory: ByteLaw = ByteLaw::constant(0),
        /// Share of attempts whose container exits with an error when its work is done, 0 to 1.
        pub failure_rate: f64 as Share = 0.0,
    }
}

tagged! {
    /// What starts tasks of a job.
    by "type"
    pub enum JobSchedule {
        /// A rule of EventBridge.
        Rule(RuleSchedule) = "rule",
        /// EventBridge Scheduler.
        Scheduler(SchedulerSchedule) = "scheduler",
        /// One call of RunTask, or one submission to the job's queue; under EKS a Job that is created.
        RunTask(RunTaskCall) = "run_task",
        /// A CronJob of Kubernetes.
        CronJob(CronJobSchedule) = "cron_job",
    }
}

table! {
    /// A scheduled rule of EventBridge: `cron` and `rate`, in UTC.
    pub struct RuleSchedule {
        /// `cron(...)` or `rate(...)`; a rate begins one period after the start of the simulation.
        pub schedule_expression: String,
        /// Tasks at each firing.
        pub count: u32 = 1,
        /// Time from the minute until the target is called.
        pub delay: TimeLaw = TimeLaw::uniform_secs(0.0, 5.0),
    }
}

table! {
    /// A schedule of EventBridge Scheduler: `cron`, `rate` and `at`, in any time zone. It fires at some second of its minute.
    pub struct SchedulerSchedule {
        /// `cron(...)`, `rate(...)` or `at(...)`; a rate begins at `start_date`, or at once.
        pub schedule_expression: String,
        /// IANA time zone of cron and at.
        pub schedule_expression_timezone: String = "UTC".to_string(),
        /// Not before this UTC instant.
        pub start_date: Option<jiff::Timestamp> = None,
        /// Not after this UTC instant.
        pub end_date: Option<jiff::Timestamp> = None,
        /// Flexible time window: each firing falls anywhere in so much time, 1 to 1,440 minutes; 0 for off.
        pub flexible_time_window: SimDuration = SimDuration::ZERO,
        /// Tasks at each firing.
        pub count: u32 = 1,
    }
}

table! {
    /// One call of RunTask at a given time.
    pub struct RunTaskCall {
        /// When, from the start of the simulation.
        pub at: SimDuration,
        /// Tasks.
        pub count: u32 = 1,
    }
}

table! {
    /// A schedule of a CronJob, whose controller acts at once. Source: batch/v1 CronJobSpec.
    pub struct CronJobSchedule {
        /// Five fields of cron, or a macro such as `@daily`.
        pub schedule: String,
        /// IANA time zone of the schedule.
        pub time_zone: String = "Etc/UTC".to_string(),
        /// Completions of each Job.
        pub count: u32 = 1,
        /// What happens when the last Job still runs.
        pub concurrency_policy: CronJobConcurrency = CronJobConcurrency::Allow,
        /// How late a Job may be started; absent for ever.
        pub starting_deadline_seconds: Option<u32> = None,
    }
}

words! {
    /// What happens when it is time and the last Job still runs.
    pub enum CronJobConcurrency {
        /// Both run.
        Allow = "Allow",
        /// The new one is left out.
        Forbid = "Forbid",
        /// The old one is deleted.
        Replace = "Replace",
    }
}

table! {
    /// What only a Job of Kubernetes has: each firing creates one with `count` completions, of which `max_concurrency` run at once. Its pods are not started again when they fail (`restartPolicy: Never`): others take their place. Source: batch/v1 JobSpec.
    pub struct KubernetesJob {
        /// Failed pods of a Job that are borne; one more fails the Job, and what it has not done by then.
        pub backoff_limit: u32 = 6,
        /// How long a Job may take; absent for ever.
        pub active_deadline_seconds: Option<u32> = None,
        /// The namespace.
        pub namespace: String = "default".to_string(),
        /// Labels of its pods, beside `app`, which is the name of the job.
        pub labels: IndexMap<String, String> = IndexMap::new(),
        /// What a pod may use at most.
        pub limits: PodLimits = PodLimits::default(),
        /// Labels that the node must have.
        pub node_selector: IndexMap<String, String> = IndexMap::new(),
        /// Taints that are tolerated.
        pub tolerations: Vec<PodToleration> = Vec::new(),
        /// The priority class; absent: priority 0.
        pub priority_class_name: Option<String> = None,
        /// Time from the deletion of a pod until it is killed.
        pub termination_grace_period_seconds: u32 as WholeSeconds = 30,
        /// `karpenter.sh/do-not-disrupt`: pods keep their node from being disrupted.
        pub do_not_disrupt: bool = false,
        /// `cluster-autoscaler.kubernetes.io/safe-to-evict`: `false` keeps the node from being removed.
        pub safe_to_evict: Option<bool> = None,
    }
}

impl JobSchedule {
    /// Whether it can start work under an orchestrator.
    #[must_use]
    pub const fn serves(&self, orchestrator: Orchestrator) -> bool {
        match self {
            Self::RunTask(_) => true,
            Self::Rule(_) | Self::Scheduler(_) => matches!(orchestrator, Orchestrator::Ecs),
            Self::CronJob(_) => matches!(orchestrator, Orchestrator::Eks),
        }
    }

    /// Tasks at each firing.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self {
            Self::Rule(s) => s.count,
            Self::Scheduler(s) => s.count,
            Self::RunTask(s) => s.count,
            Self::CronJob(s) => s.count,
        }
    }
}
