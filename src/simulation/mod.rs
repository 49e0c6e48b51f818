//! Floor 6: one run. Builds the world of a plan, takes one event after the other, hands facts on to
//! billing, telemetry and the recorder, and asks the controllers.

mod batch;
mod build;
mod calls;
mod checks;
mod deploy;
mod event;
mod faults;
mod finish;
mod forecast;
mod groups;
mod images;
mod incident;
mod intervals;
mod kube;
mod life;
mod managed;
mod node_bill;
mod node_rows;
mod nodes;
mod place;
mod queues;
mod recorder;
mod reserve;
mod scale;
mod schedule;
mod shift;
mod spot;
mod start;
mod trouble;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

pub use event::{ControlEvent, Event, Timer};
pub use faults::FaultStep;
pub use finish::{RESULT_VERSION, run_id};

use crate::billing::{BillingError, Meter};
use crate::capacity::bucket::TokenBucket;
use crate::capacity::strategy::StrategyError;
use crate::catalog::Catalog;
use crate::cluster::{Cluster, Command, Fact, Made};
use crate::kernel::{EventQueue, Fired, Phase, SimTime};
use crate::output::{OutputError, RowSink, Summary};
use crate::placement::pool::NodePool;
use crate::scenario::model::{Inputs, Plan};
use crate::traffic::{DataPlane, Histogram, Notice, ServiceTotals, TrafficError};
use crate::units::{Cpu, TaskId};
use batch::JobRuntime;
use build::{CapacityRuntime, ServiceRuntime};
use calls::CallRecords;
use groups::Group;
use life::TaskRuntime;
use nodes::NodeRuntime;
use queues::QueueRuntime;
use recorder::Recorder;
use scale::AlarmRuntime;

/// What a run is told beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// Which replication: its own random streams.
    pub replication: u64,
    /// Name of the scenario, for the summary.
    pub name: &'a str,
    /// Name of the variant, for the summary.
    pub variant: &'a str,
    /// Hash of the plan, for the summary and the run's id.
    pub plan_hash: &'a str,
    /// Keep a hash of all facts for each simulated minute, so that two runs can be compared.
    pub minute_hashes: bool,
    /// Set by somebody else to end the run at the next event.
    pub interrupt: Option<&'a AtomicBool>,
}

impl Default for RunOptions<'_> {
    fn default() -> Self {
        Self { replication: 0, name: "scenario", variant: "base", plan_hash: "", minute_hashes: false, interrupt: None }
    }
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The traffic of the plan cannot be built.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The plan cannot be priced.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// The results cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A schedule of the plan cannot be read.
    #[error("{0}")]
    Schedule(String),
    /// The capacity provider strategy of a service would be refused.
    #[error("services.{service}.capacity: {why}")]
    Strategy {
        /// The service.
        service: String,
        /// Why.
        why: StrategyError,
    },
    /// The placement constraints of a service cannot be read.
    #[error("services.{service}.ecs.placement_constraints: {why}")]
    Placement {
        /// The service.
        service: String,
        /// Why.
        why: String,
    },
    /// The nodes and pods of the start do not fit together.
    #[error("{0}")]
    State(String),
    /// Somebody asked the run to end.
    #[error("interrupted at {:.0} s of simulated time", .0.as_secs_f64())]
    Interrupted(SimTime),
}

/// What a run leaves behind beside its rows.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The summary.
    pub summary: Summary,
    /// Latency of the successful requests of each service over the counted time, in the order of the plan.
    pub latency: Vec<(String, Histogram)>,
    /// Hash of the facts of each simulated minute, if asked for.
    pub minute_hashes: Vec<String>,
    /// Events that were taken.
    pub events: u64,
}

/// Runs a plan from its start to its end.
///
/// The same plan, inputs and replication give the same rows, summary and hash, on any machine.
///
/// # Errors
/// See [`RunError`].
pub fn run(
    plan: &Plan,
    inputs: &Inputs,
    catalog: &Catalog,
    options: RunOptions<'_>,
    sink: &mut RowSink,
    progress: &mut dyn FnMut(SimTime),
) -> Result<RunOutcome, RunError> {
    let plan = &*batch::with_jobs(plan);
    let mut simulation = Simulation::build(plan, inputs, catalog, options, sink)?;
    simulation.start(inputs)?;
    simulation.run_to_end(options.interrupt, progress)?;
    simulation.finish()
}

/// The whole state of one run.
pub(crate) struct Simulation<'p> {
    plan: &'p Plan,
    options: RunOptions<'p>,
    queue: EventQueue<Event, Timer>,
    data: DataPlane,
    cluster: Cluster,
    meter: Meter,
    services: Vec<ServiceRuntime<'p>>,
    capacities: Vec<CapacityRuntime<'p>>,
    tasks: Vec<TaskRuntime>,
    /// By capacity; none on Fargate.
    groups: Vec<Option<Group>>,
    nodes: Vec<NodeRuntime>,
    /// Instances as placement sees them.
    pool: NodePool,
    /// A price that could not be had.
    unpriced: Option<BillingError>,
    task_of_server: Vec<Option<TaskId>>,
    alarms: Vec<AlarmRuntime>,
    calls: CallRecords,
    queues: Vec<QueueRuntime<'p>>,
    jobs: Vec<JobRuntime<'p>>,
    /// The Kubernetes control plane; absent under ECS.
    kube: Option<kube::Kube<'p>>,
    account_queues: [VecDeque<TaskId>; 2],
    account_rates: [TokenBucket; 2],
    vcpus_in_use: [Cpu; 2],
    faults: faults::Faults<'p>,
    recorder: Recorder<'p>,
    /// Totals on their way from the data plane; kept for their memory.
    drained: ServiceTotals,
    end: SimTime,
    warm_up: SimTime,
    events: u64,
}

/// How many events pass between two looks at the interrupt flag and the progress display.
const LOOK_EVERY: u64 = 1 << 16;

impl Simulation<'_> {
    fn run_to_end(
        &mut self,
        interrupt: Option<&AtomicBool>,
        progress: &mut dyn FnMut(SimTime),
    ) -> Result<(), RunError> {
        while let Some(fired) = self.queue.pop(self.end) {
            match fired {
                Fired::Event(Event::Traffic(event)) => self.data.handle(&mut self.queue, event),
                Fired::Completion(server) => self.data.complete(&mut self.queue, server),
                Fired::Event(Event::Control(event)) => self.on_control(event)?,
                Fired::Timer(timer) => self.on_timer(timer)?,
            }
            if self.data.has_notices() {
                self.take_notices();
            }
            self.events += 1;
            if self.events.is_multiple_of(LOOK_EVERY) {
                if interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                    return Err(RunError::Interrupted(self.queue.now()));
                }
                progress(self.queue.now());
            }
        }
        Ok(())
    }

    fn take_notices(&mut self) {
        let notices: Vec<Notice> = self.data.notices().collect();
        for notice in notices {
            match notice {
                Notice::OutOfMemory { server } => self.on_out_of_memory(server),
                Notice::Probe { token, ok, .. } => self.on_probe(token, ok),
                Notice::Done { server, ok } => self.on_work_done(server, ok),
                Notice::Idle { server } => {
                    if let Some(task) = self.task_of_server.get(server.index()).copied().flatten() {
                        self.on_idle(task);
                    }
                }
            }
        }
    }

    fn on_control(&mut self, event: ControlEvent) -> Result<(), RunError> {
        match event {
            ControlEvent::Sample => self.on_sample(),
            ControlEvent::Interval => self.on_interval()?,
            ControlEvent::Minute => self.on_minute()?,
            ControlEvent::WarmUpEnds => self.on_warm_up_ends()?,
            ControlEvent::Action(index) => self.on_action(index as usize)?,
            ControlEvent::AlarmAction(alarm) => self.on_alarm_action(alarm as usize)?,
            ControlEvent::Reclaim(capacity, which) => {
                self.on_reclaim(crate::units::CapacityId(u32::from(capacity)), usize::from(which));
            }
            ControlEvent::Reservation => self.on_reservation(),
            ControlEvent::ManagedScaling(capacity) => {
                self.on_managed_scaling(crate::units::CapacityId(u32::from(capacity)));
            }
            ControlEvent::Fault(index, step) => self.on_fault(usize::from(index), step),
            ControlEvent::Autoshift(fault, service) => self.on_autoshift(usize::from(fault), usize::from(service)),
            ControlEvent::Registered(task) => self.on_registered(task),
            ControlEvent::Deregistered(task) => self.on_deregistered(task),
            ControlEvent::Endpoint(task) => self.on_endpoint(task),
            ControlEvent::Housekeeping => self.on_housekeeping(),
            ControlEvent::JobFires(job, schedule) => self.on_job_fires(usize::from(job), usize::from(schedule)),
            ControlEvent::JobRetry(job, item) => self.on_job_retry(usize::from(job), item),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer) -> Result<(), RunError> {
        match timer {
            Timer::Start(task) => self.on_start(task),
            Timer::Stop(task) => self.on_stop(task),
            Timer::Exit(task) => self.on_exit(task),
            Timer::Spot(task) => self.on_interruption(task),
            Timer::TargetCheck(task) => self.on_target_check(task),
            Timer::ContainerCheck(task) => self.on_container_check(task),
            Timer::Settle(task) => self.refresh_health(task),
            Timer::Scheduler(service) => self.on_scheduler(service)?,
            Timer::ServiceLaunches(service) => self.pump_service_launches(service),
            Timer::AccountLaunches(kind) => self.pump_account_launches(usize::from(kind)),
            Timer::Alarm(alarm) => self.on_alarm(alarm as usize),
            Timer::Scheduled(service, action) => self.on_scheduled(service, usize::from(action))?,
            Timer::DeploymentAlarms(service) => self.on_deployment_alarms(service),
            Timer::Node(node) => self.on_node(node),
            Timer::Agent(node) => self.on_agent(node),
            Timer::NodeLost(node) => self.on_node_lost(node),
            Timer::Reclaimed(node) => self.on_reclaimed(node),
            Timer::SpotPool(capacity, pool) => self.on_spot_pool(capacity, usize::from(pool)),
            Timer::SpotHint(capacity, pool) => self.on_spot_hint(capacity, usize::from(pool)),
            Timer::SpotPrice(capacity, pool) => self.on_spot_price(capacity, usize::from(pool)),
            Timer::Group(capacity) => self.on_group(capacity),
            Timer::Place(capacity) => self.on_place(capacity),
            Timer::Hour(service) => self.on_hour(service),
            Timer::Forecast(service) => self.on_forecast(service),
            Timer::JobSchedule(job, schedule) => self.on_job_schedule(usize::from(job), usize::from(schedule)),
            Timer::GivenPods => self.on_given_pods(),
            Timer::KubeScheduler => self.on_kube_scheduler(),
            Timer::Probe(task) => self.on_probe_due(task),
            Timer::Hpa(service) => self.on_hpa(service),
            Timer::Karpenter => self.on_karpenter(),
            Timer::KarpenterBatch => self.on_karpenter_batch(),
            Timer::Vpa(service) => self.on_vpa(service),
            Timer::VpaUpdater(service) => self.on_vpa_updater(service),
            Timer::Keda(service) => self.on_keda(service),
            Timer::ClusterAutoscaler => self.on_cluster_autoscaler(),
            Timer::Drain(node) => self.on_drain(node),
            Timer::Silence(node) => self.on_silence(node),
            Timer::GroupUpdate(capacity) => self.on_group_update(capacity),
            Timer::Job(job) => self.pump_job(usize::from(job)),
        }
        Ok(())
    }

    /// Carries a command through the door and follows up what happened.
    ///
    /// A refusal is a defect of a controller; it is counted, shown in the summary and stops a debug build.
    fn apply(&mut self, command: Command) {
        self.try_apply(command);
    }

    fn try_apply(&mut self, command: Command) -> Option<TaskId> {
        match self.carry_through(command)? {
            Made::Task(task) => Some(task),
            Made::Nothing | Made::Node(_) => None,
        }
    }

    /// [`Simulation::apply`], and what it made; `None` for a refusal.
    fn carry_through(&mut self, command: Command) -> Option<Made> {
        let now = self.queue.now();
        let mut facts = Vec::new();
        match self.cluster.apply(now, command, &mut facts) {
            Ok(made) => {
                for fact in &facts {
                    self.recorder.fact(now, fact);
                    self.follow(fact);
                    self.after(fact);
                }
                Some(made)
            }
            Err(refusal) => {
                debug_assert!(false, "the cluster refused a command at {now:?}: {refusal}");
                self.recorder.refused(now, &refusal);
                None
            }
        }
    }

    /// Wakes the service scheduler and writes finished tasks down, after a fact.
    fn after(&mut self, fact: &Fact) {
        use crate::cluster::TaskStatus;
        match *fact {
            Fact::TaskStatus(task, status) => {
                self.note_outcome(task, fact);
                let service = self.cluster.task(task).service;
                if matches!(status, TaskStatus::Running | TaskStatus::Deprovisioning | TaskStatus::Stopped) {
                    self.wake_scheduler(service);
                }
                if status == TaskStatus::Stopped {
                    self.record_task(task);
                }
            }
            Fact::TaskHealth(task, _) | Fact::TaskStops(task, _) => {
                let service = self.cluster.task(task).service;
                self.note_outcome(task, fact);
                self.wake_scheduler(service);
            }
            Fact::Desired(service, ..) | Fact::DeploymentCreated(service, _) | Fact::DeploymentEnded(service, ..) => {
                self.wake_scheduler(service);
            }
            _ => {}
        }
    }

    fn wake_scheduler(&mut self, service: crate::units::ServiceId) {
        let now = self.queue.now();
        if self.queue.timer(Timer::Scheduler(service)) != Some(now) {
            self.queue.set_timer(Timer::Scheduler(service), now, Phase::Decision);
        }
    }
}
