//! Machines that are lost: with their zone, or one by one.

use super::super::life::StartStep;
use super::super::trouble::TroubleKind;
use super::super::{Simulation, Timer};
use super::{FaultStep, concerns, purpose, tasks, zone_names};
use crate::cluster::{StopCode, TaskStatus};
use crate::kernel::{Draw, SimDuration};
use crate::scenario::model::{Fault, NodeFailure};
use crate::units::{NodeId, ServiceId, TaskId};

/// What can fail: the micro-VM of a task on Fargate, or an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Machine {
    Task(TaskId),
    Node(NodeId),
}

impl Simulation<'_> {
    /// Machines fail, drawn among those that run.
    pub(super) fn machines_fail(&mut self, index: usize, draw: Draw, n: &NodeFailure) -> (usize, String) {
        let now = self.queue.now();
        let named = |capacity: crate::units::CapacityId| {
            let name = self.capacities[capacity.index()].name;
            n.capacities.is_empty() || n.capacities.iter().any(|c| c == name)
        };
        let micro_vms = self
            .tasks_where(|t| concerns(&n.zones, t.zone.0) && t.node.is_none())
            .into_iter()
            .filter(|&id| {
                let t = self.cluster.task(id);
                t.status >= TaskStatus::Pending && !self.tasks[id.index()].machine_lost && named(t.capacity)
            })
            .map(|id| (draw.of(purpose::MACHINE).of(self.tasks[id.index()].draw).bits(), Machine::Task(id)));
        let instances = self
            .running_nodes(|spec| concerns(&n.zones, spec.zone.0) && named(spec.capacity))
            .into_iter()
            .map(|id| (draw.of(purpose::MACHINE).of(self.nodes[id.index()].draw).bits(), Machine::Node(id)));
        let mut machines: Vec<(u64, Machine)> = micro_vms.chain(instances).collect();
        match n.share {
            Some(share) => machines.retain(|m| crate::kernel::unit_f64(m.0) < share),
            None => {
                machines.sort_unstable();
                machines.truncate(n.count.unwrap_or(1) as usize);
            }
        }
        let mut hit = 0;
        for (_, machine) in machines {
            match machine {
                Machine::Task(task) => hit += usize::from(self.lose_machine(index, task, n.noticed_after)),
                Machine::Node(node) => {
                    for task in self.lose_node(node, n.noticed_after) {
                        hit += usize::from(self.lose_machine(index, task, n.noticed_after));
                    }
                }
            }
        }
        self.schedule_fault(index, now + n.noticed_after, FaultStep::Noticed);
        (hit, format!("the machines under {} fail", tasks(hit)))
    }

    /// The control plane learns what a fault took: lost tasks are STOPPED, and nothing is launched in a lost zone.
    pub(super) fn fault_noticed(&mut self, index: usize) {
        let now = self.queue.now();
        let f = &mut self.faults.list[index];
        let known: Vec<TaskId> = f.lost.iter().filter(|l| l.0 <= now).map(|l| l.1).collect();
        f.lost.retain(|l| l.0 > now);
        let zones = match f.plan {
            Fault::ZoneOutage(o) if f.since.is_some_and(|since| since + o.noticed_after <= now) => {
                f.noticed = true;
                format!(", and nothing more is launched in {}", zone_names(&o.zones))
            }
            _ => String::new(),
        };
        let mut stopped = 0;
        for task in known {
            let t = self.cluster.task(task);
            if t.status >= TaskStatus::Deprovisioning {
                // Its instance went first, in this instant.
                stopped += usize::from(t.times.stopping == Some(now));
                continue;
            }
            stopped += 1;
            // Pods are the control plane's affair: EC2 takes the node, and they end with it.
            if self.is_kube() && t.node.is_some() {
                continue;
            }
            let service = t.service;
            self.services[service.index()].trouble.note(TroubleKind::LostMachine, now);
            if t.stop_code.is_none() {
                self.tasks[task.index()].stop_reason = "The machine under the task was lost".into();
                self.end_task(task, StopCode::HostLost);
            } else {
                self.abandon_stop(task);
            }
        }
        let text = format!("the control plane knows: {} STOPPED{zones}", tasks(stopped));
        self.fault_row(index, "noticed", stopped, &text);
        for service in 0..self.services.len() {
            self.wake_scheduler(ServiceId::from(service));
        }
    }

    /// The machine under a task stops. False where there is none.
    pub(super) fn lose_machine(&mut self, index: usize, task: TaskId, noticed_after: SimDuration) -> bool {
        let status = self.cluster.task(task).status;
        let runtime = &mut self.tasks[task.index()];
        let has_machine = status >= TaskStatus::Pending || runtime.start == StartStep::Pending;
        if !has_machine || runtime.machine_lost || status >= TaskStatus::Deprovisioning {
            return false;
        }
        runtime.machine_lost = true;
        let server = runtime.server;
        for timer in [Timer::Start(task), Timer::Exit(task), Timer::Spot(task), Timer::ContainerCheck(task)] {
            self.queue.cancel_timer(timer);
        }
        if let Some(server) = server {
            self.data.cut_off(&mut self.queue, server, true);
        }
        let at = self.queue.now() + noticed_after;
        self.faults.list[index].lost.push((at, task));
        true
    }
}
