//! The closed set of events of a simulation.

use super::faults::FaultStep;
use crate::traffic::TrafficEvent;
use crate::units::{CapacityId, NodeId, ServiceId, TaskId};

/// A one-shot event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The data plane's own.
    Traffic(TrafficEvent),
    /// The control plane's and the recorder's.
    Control(ControlEvent),
}

impl From<TrafficEvent> for Event {
    #[inline]
    fn from(event: TrafficEvent) -> Self {
        Self::Traffic(event)
    }
}

impl From<ControlEvent> for Event {
    #[inline]
    fn from(event: ControlEvent) -> Self {
        Self::Control(event)
    }
}

/// What the control plane and the recorder schedule once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// The 20-second sample of CPU and memory.
    Sample,
    /// The end of a recorded interval.
    Interval,
    /// The end of a minute: objectives are judged by the minute.
    Minute,
    /// The end of a minute for the metrics of capacity providers.
    Reservation,
    /// The need of a capacity provider has been published, by the capacity's position.
    ManagedScaling(u16),
    /// The end of the warm-up.
    WarmUpEnds,
    /// A timed action of the scenario, by its position.
    Action(u32),
    /// An alarm calls the scaling service, by the alarm's position.
    AlarmAction(u32),
    /// Spot capacity is taken back: capacity and position in its list.
    Reclaim(u16, u16),
    /// A step of a fault, by the fault's position.
    Fault(u16, FaultStep),
    /// AWS shifts traffic away from a bad zone: the fault and the service, by their positions.
    Autoshift(u16, u16),
    /// A registration reaches the load balancer.
    Registered(TaskId),
    /// A deregistration reaches the load balancer.
    Deregistered(TaskId),
    /// News of a pod reach those who send connections to it.
    Endpoint(TaskId),
    /// Kubelets take the CPU totals of their containers.
    Housekeeping,
    /// A schedule of a job calls RunTask: job and schedule, by position.
    JobFires(u16, u16),
    /// A failed piece of work is tried again: job and piece.
    JobRetry(u16, u32),
}

/// The owner of a timer; each owner has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The next step of a task's start.
    Start(TaskId),
    /// The next step of a task's stop.
    Stop(TaskId),
    /// A container of a task exits by itself.
    Exit(TaskId),
    /// Spot capacity under a task is taken back.
    Spot(TaskId),
    /// The next health check of a task's target.
    TargetCheck(TaskId),
    /// The next health check of a task's main container.
    ContainerCheck(TaskId),
    /// An instant at which the scheduler's belief about a task may change by itself.
    Settle(TaskId),
    /// The service scheduler looks at a service.
    Scheduler(ServiceId),
    /// The tasks of a service that wait for the scheduler's launch rate.
    ServiceLaunches(ServiceId),
    /// The tasks that wait for the account's launch rate: 0 on demand, 1 Spot.
    AccountLaunches(u8),
    /// An alarm is evaluated, by its position.
    Alarm(u32),
    /// A scheduled action of a service: service and position.
    Scheduled(ServiceId, u16),
    /// Deployment alarms are polled.
    DeploymentAlarms(ServiceId),
    /// The next step in the life of an instance.
    Node(NodeId),
    /// The agent of an instance registers.
    Agent(NodeId),
    /// EC2 notices that the machine of an instance has failed.
    NodeLost(NodeId),
    /// Spot capacity under an instance is taken back.
    Reclaimed(NodeId),
    /// A Spot pool is interrupted: capacity and pool, by position.
    SpotPool(CapacityId, u16),
    /// A rebalance recommendation for a pool.
    SpotHint(CapacityId, u16),
    /// The Spot price of a pool may change.
    SpotPrice(CapacityId, u16),
    /// A group looks at its instances.
    Group(CapacityId),
    /// Tasks that wait for room on an instance are looked at.
    Place(CapacityId),
    /// A civil hour of a predictive policy ends.
    Hour(ServiceId),
    /// A predictive policy acts for the hour to come.
    Forecast(ServiceId),
    /// The instant of a job's schedule: job and schedule, by position.
    JobSchedule(u16, u16),
    /// A job looks at its waiting work, by its position.
    Job(u16),
    /// A pod of a file is submitted, or ends.
    GivenPods,
    /// The Kubernetes scheduler looks at the next pod.
    KubeScheduler,
    /// A probe of a pod is due.
    Probe(TaskId),
    /// A Horizontal Pod Autoscaler looks at its metrics.
    Hpa(ServiceId),
    /// The loops of Karpenter.
    Karpenter,
    /// The window of Karpenter's batch closes.
    KarpenterBatch,
    /// A Vertical Pod Autoscaler reads what pods use.
    Vpa(ServiceId),
    /// The updater of a Vertical Pod Autoscaler looks at the pods.
    VpaUpdater(ServiceId),
    /// KEDA looks at the triggers of a workload.
    Keda(ServiceId),
    /// The Cluster Autoscaler scans.
    ClusterAutoscaler,
    /// Evictions of a node that is drained are asked for again.
    Drain(NodeId),
    /// The control plane does something about a node that is not heard.
    Silence(NodeId),
    /// The update of a node group looks at its nodes.
    GroupUpdate(CapacityId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_sixteen_bytes_at_most() {
        assert!(size_of::<Event>() <= 16, "{}", size_of::<Event>());
    }
}
