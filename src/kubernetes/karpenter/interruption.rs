//! Messages of AWS about instances, and what Karpenter does about them.
//!
//! Source: `aws/karpenter-provider-aws`, `pkg/controllers/interruption` (v1.14).

use super::instance::CapacityType;
use super::launch::Unavailable;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::Symbol;

/// How often instance status is looked at.
pub const STATUS_POLL: SimDuration = SimDuration::from_secs(60);
/// How long a status check must fail to count.
pub const UNHEALTHY_AFTER: SimDuration = SimDuration::from_secs(120);

/// A state that EC2 tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It starts.
    Pending,
    /// It runs.
    Running,
    /// It is being stopped.
    Stopping,
    /// It is stopped.
    Stopped,
    /// It is being terminated.
    ShuttingDown,
    /// It is terminated.
    Terminated,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A Spot instance is taken back in two minutes.
    SpotInterruption,
    /// A Spot instance is more likely to be taken back.
    RebalanceRecommendation,
    /// A capacity reservation ends.
    CapacityReservationInterruption,
    /// AWS Health announces a change: retirement, reboot, maintenance.
    ScheduledChange,
    /// The instance changed its state.
    StateChange(InstanceState),
    /// The instance's or the system's status check has failed for so long.
    StatusCheckFailed(SimDuration),
    /// Anything else.
    Other,
}

/// What to do about a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// Delete the NodeClaim: cordon and drain, without budgets.
    pub delete: bool,
    /// Without a graceful drain: the deadline of termination is now.
    pub forced: bool,
    /// Remember the offering as one that cannot be had.
    pub mark_unavailable: bool,
}

impl Reaction {
    /// Both: what came at the same time.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            delete: self.delete || other.delete,
            forced: self.forced || other.forced,
            mark_unavailable: self.mark_unavailable || other.mark_unavailable,
        }
    }

    /// Remembers the offering of the instance, if that is to be done.
    pub fn remember(&self, unavailable: &mut Unavailable, instance_type: Symbol, zone: Symbol, now: SimTime) {
        if self.mark_unavailable {
            unavailable.mark(CapacityType::Spot, instance_type, zone, now);
        }
    }
}

/// What Karpenter does about a message. A rebalance recommendation is only noted.
#[must_use]
pub fn react(message: Message) -> Reaction {
    let delete = Reaction { delete: true, ..Reaction::default() };
    match message {
        Message::SpotInterruption => Reaction { mark_unavailable: true, ..delete },
        Message::CapacityReservationInterruption | Message::ScheduledChange => delete,
        Message::StateChange(state) => match state {
            InstanceState::Pending | InstanceState::Running => Reaction::default(),
            _ => delete,
        },
        Message::StatusCheckFailed(since) if since >= UNHEALTHY_AFTER => Reaction { forced: true, ..delete },
        Message::StatusCheckFailed(_) | Message::RebalanceRecommendation | Message::Other => Reaction::default(),
    }
}
