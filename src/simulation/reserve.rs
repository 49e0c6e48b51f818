//! Managed scaling at work: each minute the need is reckoned and published, and the group follows it.

use super::scale::to_json;
use super::{ControlEvent, Simulation};
use crate::capacity::managed_scaling::{
    self, ManagedScalingMemory, ManagedScalingObservation, ManagedScalingReason as Reason, Needed, TaskGroup,
};
use crate::cluster::{LifeCycle, Node};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::output::{DecisionDetail, DecisionRow, Fixed};
use crate::scenario::model::{Capacity, Ec2, Switch};
use crate::units::{CapacityId, ServiceId};

/// A minute's need on its way to the scaling service.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: SimTime,
    running: u32,
    needed: Needed,
}

/// Managed scaling of one capacity.
#[derive(Clone, Debug, Default)]
pub(super) struct ReserveRuntime {
    memory: ManagedScalingMemory,
    on_the_way: std::collections::VecDeque<Measured>,
    /// The newest published value, in percent.
    pub(super) published: Option<f64>,
    /// What was last written down.
    last: Option<std::mem::Discriminant<Reason>>,
    /// Decisions to add and to take away.
    pub(super) scale_outs: u64,
    pub(super) scale_ins: u64,
}

impl Simulation<'_> {
    fn managed(&self, capacity: CapacityId) -> Option<&Ec2> {
        match self.capacities.get(capacity.index())?.plan {
            Capacity::Ec2(e) if e.managed_scaling.status == Switch::Enabled => Some(e),
            _ => None,
        }
    }

    /// Whether an instance runs nothing but daemons.
    pub(super) fn is_empty_node(&self, node: &Node) -> bool {
        node.guests == 0 && self.cluster.tasks_on(node.id).all(|t| self.is_daemon(t.service))
    }

    /// Tasks that wait for room on a capacity, those with equal needs together.
    fn waiting_groups(&self, capacity: CapacityId) -> Vec<TaskGroup> {
        let Some(group) = self.group(capacity) else { return Vec::new() };
        let mut of: Vec<(ServiceId, TaskGroup)> = Vec::new();
        for &task in &group.waiting {
            let t = self.cluster.task(task);
            if t.stop_code.is_some() || self.is_daemon(t.service) {
                continue;
            }
            match of.iter_mut().find(|(s, _)| *s == t.service) {
                Some((_, g)) => g.tasks += 1,
                None => {
                    let needs = &self.cluster.service(t.service).needs;
                    let one_each = needs.distinct || !needs.ports.is_empty();
                    of.push((t.service, TaskGroup { needs: needs.resources, one_each, tasks: 1 }));
                }
            }
        }
        // Services with the same needs are one group.
        let mut groups: Vec<TaskGroup> = Vec::new();
        for (_, g) in of {
            match groups.iter_mut().find(|o| o.needs == g.needs && o.one_each == g.one_each) {
                Some(same) => same.tasks += g.tasks,
                None => groups.push(g),
            }
        }
        groups
    }

    /// N and M of a capacity now.
    pub(super) fn need_of(&self, capacity: CapacityId) -> (u32, Needed) {
        let types: Vec<_> = self.group(capacity).map_or(Vec::new(), |g| g.types.iter().map(|t| t.offers).collect());
        let running = self.members(capacity).count() as u32;
        // An instance that is still on its way is not empty: tasks may be on their way to it.
        let empty = self.members(capacity).filter(|n| n.times.registered.is_some() && self.is_empty_node(n)).count();
        (running, managed_scaling::needed(running, empty as u32, &self.waiting_groups(capacity), &types))
    }

    /// The end of a minute: the need of each capacity provider is measured.
    pub(super) fn on_reservation(&mut self) {
        let now = self.queue.now();
        for index in 0..self.capacities.len() {
            let capacity = CapacityId::from(index);
            let Some(delay) = self.managed(capacity).map(|e| e.managed_scaling.publication_delay) else { continue };
            let (running, needed) = self.need_of(capacity);
            let Some(group) = self.group_mut(capacity) else { continue };
            group.reserve.on_the_way.push_back(Measured { at: now, running, needed });
            self.queue.schedule(now + delay, Phase::Decision, ControlEvent::ManagedScaling(index as u16).into());
        }
        let next = now + SimDuration::from_secs(60);
        if next <= self.end {
            self.queue.schedule(next, Phase::Scrape, ControlEvent::Reservation.into());
        }
    }

    /// A minute's need has been published.
    pub(super) fn on_managed_scaling(&mut self, capacity: CapacityId) {
        let now = self.queue.now();
        let Capacity::Ec2(plan) = self.capacities[capacity.index()].plan else { return };
        let warmup = plan.managed_scaling.instance_warmup_period;
        let warming = self
            .members(capacity)
            .filter(|n| n.times.launched > SimTime::ZERO && n.times.in_service.is_none_or(|at| now < at + warmup))
            .count() as u32;
        let terminating = self.cluster.nodes_of(capacity).filter(|n| n.life == LifeCycle::Terminating).count() as u32;
        let Some(group) = self.group_mut(capacity) else { return };
        let Some(measured) = group.reserve.on_the_way.pop_front() else { return };
        let observation = ManagedScalingObservation {
            now,
            running: measured.running,
            needed: measured.needed,
            age: now.since(measured.at),
            desired: group.desired,
            warming,
            terminating,
            min: plan.min_size,
            max: plan.max_size,
        };
        let before = group.reserve.memory;
        let (decision, after) = managed_scaling::decide(&plan.managed_scaling, &before, &observation);
        let from = group.desired;
        let result = decision.desired.unwrap_or(from);
        let kind = std::mem::discriminant(&decision.reason);
        let news = result != from || group.reserve.last != Some(kind);
        group.reserve.memory = after;
        group.reserve.published = Some(decision.reservation);
        group.reserve.last = Some(kind);
        group.reserve.scale_outs += u64::from(result > from);
        group.reserve.scale_ins += u64::from(result < from);
        group.desired = result;
        if decision.reason == Reason::AtMaximum {
            group.trouble.at_maximum += 1;
            group.trouble.at_maximum_first = group.trouble.at_maximum_first.or(Some(now));
        }
        if news {
            let (reason, bounded_by, text) = words(&decision.reason, &measured.needed);
            let name = self.capacities[capacity.index()].name;
            let row = DecisionRow {
                time_s: now.into(),
                controller: "managed_scaling".into(),
                subject: format!("capacity.{name}").into(),
                observed: Some(Fixed(decision.reservation)),
                observed_metric: "CapacityProviderReservation".into(),
                observed_age_s: Some(observation.age.into()),
                from: Some(i64::from(from)),
                computed: Some(i64::from(decision.aim)),
                bounded_by: bounded_by.into(),
                result: Some(i64::from(result)),
                reason: reason.into(),
                explanation: text.into(),
                ..DecisionRow::default()
            };
            let detail = DecisionDetail { observation: to_json(&observation), memory: to_json(&before) };
            self.recorder.decision(&row, &detail);
        }
        if result != from {
            self.wake_group(capacity);
        }
    }
}

/// A reason as a word of a closed set, what held back, and the sentence.
fn words(reason: &Reason, needed: &Needed) -> (&'static str, &'static str, String) {
    let m = needed.instances;
    let waiting = needed.waiting;
    match *reason {
        Reason::Disabled => ("disabled", "", "managed scaling is off".to_string()),
        Reason::AtTarget if needed.left_out > 0 => (
            "nothing_fits",
            "",
            format!("{} tasks wait that do not fit the smallest instance type of the group", needed.left_out),
        ),
        Reason::AtTarget => ("at_target", "", format!("{m} instances are needed, and they are there")),
        Reason::ScaleOut => ("scale_out", "", format!("{waiting} tasks wait: {m} instances are needed")),
        Reason::FromZero => {
            ("scale_out_from_zero", "", format!("{waiting} tasks wait and there is no instance: two first"))
        }
        Reason::Warming { instances } => {
            ("held", "instance_warmup", format!("{m} instances are needed; {instances} still warm up"))
        }
        Reason::AtMaximum => {
            ("held", "max_size", format!("{waiting} tasks wait, and the group is as large as it may be"))
        }
        Reason::WaitingToScaleIn { points, of } => {
            ("held", "scale_in_period", format!("{m} instances are needed: point {points} of {of} below the target"))
        }
        Reason::Terminating { instances } => {
            ("held", "terminating", format!("{m} instances are needed; {instances} are not gone yet"))
        }
        Reason::ScaleIn => ("scale_in", "", format!("{m} instances are needed")),
        Reason::ScaleInBounded => {
            ("scale_in", "maximum_scale_in", format!("{m} instances are needed, not all go at once"))
        }
        Reason::AlreadyAsked => ("at_target", "", format!("{m} instances are needed, and they have been asked for")),
        Reason::AtMinimum => {
            ("at_minimum", "min_size", format!("{m} instances are needed, and the group is at its smallest"))
        }
    }
}
