//! What keeps tasks from starting: capacity, quotas, addresses, image pulls.

use super::super::Simulation;
use super::{FaultRuntime, Faults, concerns, of_service, purpose};
use crate::cluster::Command;
use crate::kernel::{Draw, SimDuration};
use crate::scenario::model::{Fault, NetworkMode, PullFailure};
use crate::units::{Cpu, TaskId, ZoneId};

/// Why a launch has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum LaunchWait {
    Capacity,
    Quota,
    Address,
}

/// What becomes of an image pull.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::simulation) struct Pull {
    /// Factor on the time.
    pub(in crate::simulation) slower: f64,
    /// Time spent on tries that failed.
    pub(in crate::simulation) lost: SimDuration,
    /// The agent gives up.
    pub(in crate::simulation) gives_up: bool,
}

impl Faults<'_> {
    /// Share of launches on a capacity in a zone that find none, because of faults.
    pub(in crate::simulation) fn shortage(&self, capacity: &str, zone: u32) -> f64 {
        if self.is_out(zone) {
            return 1.0;
        }
        let mut found = 1.0;
        for f in &self.list {
            let share = match f.plan {
                Fault::ZoneOutage(o) if f.shortage_since.is_some() => o.shortage,
                Fault::CapacityShortage(s)
                    if f.since.is_some() && concerns(&s.zones, zone) && of_service(&s.capacities, capacity) =>
                {
                    s.share
                }
                _ => 0.0,
            };
            found *= 1.0 - share;
        }
        1.0 - found
    }
}

impl Simulation<'_> {
    pub(super) fn refresh_quotas(&mut self) {
        let now = self.queue.now();
        let quotas = &self.plan.cluster.quotas;
        let (mut burst, mut rate) = (quotas.fargate_launch_burst, quotas.fargate_launch_rate);
        for f in self.faults.active() {
            if let Fault::Quota(q) = f.plan {
                burst = burst.min(q.fargate_launch_burst.unwrap_or(burst));
                rate = rate.min(q.fargate_launch_rate.unwrap_or(rate));
            }
        }
        for kind in 0..self.account_rates.len() {
            self.account_rates[kind].retune(now, burst, rate);
            self.pump_account_launches(kind);
        }
    }

    /// The quota of vCPUs of running Fargate tasks: 0 on demand, 1 Spot.
    pub(in crate::simulation) fn vcpu_quota(&self, kind: usize) -> Cpu {
        let quotas = &self.plan.cluster.quotas;
        let whole = [quotas.fargate_on_demand_vcpus, quotas.fargate_spot_vcpus][kind];
        let least = self.faults.active().fold(whole, |least, f| match f.plan {
            Fault::Quota(q) => least.min([q.fargate_on_demand_vcpus, q.fargate_spot_vcpus][kind].unwrap_or(least)),
            _ => least,
        });
        Cpu::from_vcpus(u64::from(least))
    }

    /// Share of launches of a task's capacity in its zone that find no capacity, with the capacity's own.
    pub(in crate::simulation) fn unavailable(&self, task: TaskId, own: f64) -> f64 {
        let t = self.cluster.task(task);
        let faults = self.faults.shortage(self.capacities[t.capacity.index()].name, t.zone.0);
        1.0 - (1.0 - own) * (1.0 - faults)
    }

    /// Free addresses in the subnet of a zone; `None` without a limit.
    pub(super) fn free_addresses(&self, zone: u32) -> Option<u32> {
        let all = self.plan.cluster.subnets.addresses_per_zone?;
        let taken: u32 = self
            .faults
            .active()
            .map(|f| match f.plan {
                Fault::SubnetAddresses(s) if concerns(&s.zones, zone) => s.taken,
                _ => 0,
            })
            .fold(0, u32::saturating_add);
        Some(all.saturating_sub(taken).saturating_sub(self.faults.addresses[zone as usize]))
    }

    /// Chooses the zone of a launch anew when its own is known to be out, or its subnet has no address left. A launch
    /// that has failed in a lost zone is tried in another one whether or not the outage is known.
    pub(in crate::simulation) fn choose_zone(&mut self, task: TaskId) {
        let t = self.cluster.task(task);
        let (service, capacity, own) = (t.service, t.capacity, t.zone);
        let failed = self.tasks[task.index()].capacity_attempts > 0;
        let own_address = self.wants_address(task);
        let bad = |zone: u32| {
            self.faults.is_shut(zone)
                || failed && zone == own.0 && self.faults.is_out(zone)
                || own_address && self.free_addresses(zone) == Some(0)
        };
        if !bad(own.0) {
            return;
        }
        let mut counts = vec![0_u32; self.plan.cluster.zones as usize];
        for other in self.cluster.tasks_of(service).filter(|t| t.capacity == capacity && t.stop_code.is_none()) {
            counts[other.zone.index()] += 1;
        }
        let best = (0..counts.len() as u32).filter(|&z| !bad(z)).min_by_key(|&z| counts[z as usize]);
        if let Some(zone) = best {
            self.apply(Command::Rezone { task, zone: ZoneId(zone) });
        }
    }

    /// Whether a task has a network interface, and an address, of its own.
    pub(super) fn wants_address(&self, task: TaskId) -> bool {
        let service = self.cluster.task(task).service;
        self.services[service.index()].plan.task.network_mode == NetworkMode::Awsvpc
    }

    /// Whether the subnet of a task's zone has an address for it, or it needs none.
    pub(in crate::simulation) fn has_address(&self, task: TaskId) -> bool {
        !self.wants_address(task) || self.free_addresses(self.cluster.task(task).zone.0) != Some(0)
    }

    /// A task gets an address.
    pub(in crate::simulation) fn take_address(&mut self, task: TaskId) {
        let zone = self.cluster.task(task).zone.index();
        if self.wants_address(task) && !std::mem::replace(&mut self.tasks[task.index()].address, true) {
            self.faults.addresses[zone] += 1;
        }
    }

    /// A task's network interface is gone.
    pub(in crate::simulation) fn give_address(&mut self, task: TaskId) {
        let zone = self.cluster.task(task).zone.index();
        if std::mem::take(&mut self.tasks[task.index()].address) {
            self.faults.addresses[zone] -= 1;
        }
    }

    /// What faults make of the image pull of a task.
    pub(in crate::simulation) fn pull_of(&self, task: TaskId) -> Pull {
        let name = self.services[self.cluster.task(task).service.index()].name;
        let mut pull = Pull { slower: 1.0, lost: SimDuration::ZERO, gives_up: false };
        for f in self.faults.active() {
            match f.plan {
                Fault::SlowPull(s) if of_service(&s.services, name) => pull.slower /= s.bandwidth_factor,
                Fault::PullFailure(p) if of_service(&p.services, name) => {
                    let failed = f.failed_tries(p, self.tasks[task.index()].draw);
                    pull.lost += p.try_time * u64::from(failed);
                    pull.gives_up |= failed >= p.tries;
                }
                _ => {}
            }
        }
        pull
    }

    /// How long a try of a kubelet to pull takes that fails; `None` for one that succeeds.
    pub(in crate::simulation) fn pull_try(&self, task: TaskId, number: u32) -> Option<SimDuration> {
        let name = self.services[self.cluster.task(task).service.index()].name;
        let draw = self.tasks[task.index()].draw;
        self.faults.active().find_map(|f| match f.plan {
            Fault::PullFailure(p) if of_service(&p.services, name) => f.fails(p, draw, number).then_some(p.try_time),
            _ => None,
        })
    }
}

impl FaultRuntime<'_> {
    /// How many tries of a pull fail, one after the other.
    fn failed_tries(&self, p: &PullFailure, task: u64) -> u32 {
        (0..p.tries).find(|&n| !self.fails(p, task, n)).unwrap_or(p.tries)
    }

    /// Whether a try of a pull fails.
    fn fails(&self, p: &PullFailure, task: u64, number: u32) -> bool {
        let draw = Draw::new(self.root).of(self.occurrence).of(purpose::PULL).of(task);
        draw.of(u64::from(number)).unit() < p.share
    }
}
