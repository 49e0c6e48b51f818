//! Which capacity and zone a task starts in, and which of several tasks stops.
//!
//! Rule: a start goes to the capacity furthest below its share and there to the zone with the fewest
//! tasks; zones are balanced inside each capacity, as Fargate and Fargate Spot are spread apart from
//! one another. A stop takes from the capacity furthest above its share, never below its base while
//! another is above its own, and there from the zone with the most tasks; inside a zone the task is
//! drawn from a seed, or it is the oldest.
//!
//! Source: ECS developer guide, `task-placement-strategies`, `service-rebalancing`. The order between
//! capacities and the ties are choices: see [`crate::cluster::spread`].
//!
//! Where tasks stand on instances, the placement strategies say which goes: [`super::stop_choice`].

use std::collections::BTreeMap;

use super::scheduler::{NodeView, SchedulerSpec, TaskView};
use super::stop_choice::{self, StopCandidate};
use crate::cluster::nodes::Resources;
use crate::cluster::spread::{Share, next_share, poorest_zone, richest_zone, surplus_share};
use crate::kernel::Draw;
use crate::scenario::model::PlacementStrategy;
use crate::units::{CapacityId, NodeId, TaskId, ZoneId};

/// Counts of tasks by capacity and zone.
#[derive(Debug)]
pub(super) struct Grid<'a> {
    /// The strategy, and after it capacities that hold tasks but are no longer part of it.
    shares: Vec<Share>,
    /// How many of `shares` are the strategy's own.
    own: usize,
    zones: usize,
    counts: Vec<Vec<u32>>,
    placement: &'a [PlacementStrategy],
    needs: Resources,
    /// Tasks of the service on each instance, and what is left on it: CPU and memory.
    nodes: BTreeMap<NodeId, (u32, u64, u64)>,
}

impl<'a> Grid<'a> {
    /// The counts of `tasks`.
    pub(super) fn new<'t>(
        spec: &SchedulerSpec<'a>,
        nodes: &[NodeView],
        tasks: impl Iterator<Item = &'t TaskView>,
    ) -> Self {
        let (shares, zones) = (spec.shares.to_vec(), spec.zones.max(1) as usize);
        let mut grid = Self {
            own: shares.len(),
            zones,
            counts: vec![vec![0; zones]; shares.len()],
            shares,
            placement: spec.placement,
            needs: spec.needs,
            nodes: nodes.iter().map(|n| (n.id, (0, n.cpu_left, n.memory_left))).collect(),
        };
        for task in tasks {
            let (share, zone) = grid.cell(task.capacity, task.zone);
            grid.counts[share][zone] += 1;
            if let Some(node) = task.node {
                grid.nodes.entry(node).or_default().0 += 1;
            }
        }
        grid
    }

    fn cell(&mut self, capacity: CapacityId, zone: ZoneId) -> (usize, usize) {
        let share = self.shares.iter().position(|s| s.capacity == capacity).unwrap_or_else(|| {
            self.shares.push(Share { capacity, base: 0, weight: 0 });
            self.counts.push(vec![0; self.zones]);
            self.shares.len() - 1
        });
        if zone.index() >= self.zones {
            self.zones = zone.index() + 1;
            self.counts.iter_mut().for_each(|c| c.resize(self.zones, 0));
        }
        (share, zone.index())
    }

    fn totals(&self) -> Vec<u32> {
        self.counts.iter().map(|c| c.iter().sum()).collect()
    }

    /// Tasks per zone of one capacity.
    pub(super) fn zones_of(&self, share: usize) -> &[u32] {
        &self.counts[share]
    }

    /// The strategy's own capacities, by position.
    pub(super) fn capacities(&self) -> impl Iterator<Item = (usize, CapacityId)> + '_ {
        self.shares[..self.own].iter().map(|s| s.capacity).enumerate()
    }

    /// Where the next task starts; it is counted at once. `None` without a strategy.
    pub(super) fn start(&mut self) -> Option<(CapacityId, ZoneId)> {
        let totals = self.totals();
        let share = next_share(&self.shares[..self.own], &totals[..self.own])?;
        self.start_on(share)
    }

    /// The zone of the next task on one capacity; it is counted at once.
    pub(super) fn start_on(&mut self, share: usize) -> Option<(CapacityId, ZoneId)> {
        let per_zone: Vec<u32> = (0..self.zones).map(|z| self.counts.iter().map(|c| c[z]).sum()).collect();
        let zone = poorest_zone(&self.counts[share], &per_zone)?;
        self.counts[share][zone.index()] += 1;
        Some((self.shares[share].capacity, zone))
    }

    /// Chooses `n` of the candidates to stop, one after the other; each is taken off the counts.
    pub(super) fn stop(&mut self, candidates: &[&TaskView], n: usize, tie_seed: Option<u64>) -> Vec<TaskId> {
        if n == 0 || candidates.is_empty() {
            return Vec::new();
        }
        if n >= candidates.len() {
            for task in candidates {
                let (share, zone) = self.cell(task.capacity, task.zone);
                self.counts[share][zone] = self.counts[share][zone].saturating_sub(1);
                self.leave(task);
            }
            return candidates.iter().map(|t| t.id).collect();
        }
        let mut order: Vec<&TaskView> = candidates.to_vec();
        // Taken from the end: the smallest draw, or the lowest id.
        match tie_seed {
            Some(seed) => {
                order.sort_by_key(|t| std::cmp::Reverse((Draw::new(seed).of(u64::from(t.id.0)).bits(), t.id)))
            }
            None => order.sort_by_key(|t| std::cmp::Reverse(t.id)),
        }
        let cells: Vec<(usize, usize)> = order.iter().map(|t| self.cell(t.capacity, t.zone)).collect();
        if candidates.iter().any(|t| t.node.is_some()) {
            return self.stop_on_instances(order, n);
        }
        let mut buckets = vec![vec![Vec::new(); self.zones]; self.shares.len()];
        for (task, (share, zone)) in order.iter().zip(cells) {
            buckets[share][zone].push(task.id);
        }
        let mut totals = self.totals();
        let mut left: Vec<Vec<u32>> =
            buckets.iter().map(|zones| zones.iter().map(|ids| ids.len() as u32).collect()).collect();
        let mut left_totals: Vec<u32> = left.iter().map(|z| z.iter().sum()).collect();
        let mut chosen = Vec::with_capacity(n);
        while chosen.len() < n {
            let Some(share) = surplus_share(&self.shares, &totals, &left_totals) else { break };
            let Some(zone) = richest_zone(&self.counts[share], &left[share]) else { break };
            let Some(id) = buckets[share][zone.index()].pop() else { break };
            self.counts[share][zone.index()] = self.counts[share][zone.index()].saturating_sub(1);
            left[share][zone.index()] -= 1;
            left_totals[share] -= 1;
            totals[share] = totals[share].saturating_sub(1);
            chosen.push(id);
        }
        chosen
    }

    /// A task leaves its instance.
    fn leave(&mut self, task: &TaskView) {
        if let Some((tasks, cpu, memory)) = task.node.and_then(|n| self.nodes.get_mut(&n)) {
            *tasks = tasks.saturating_sub(1);
            *cpu += self.needs.cpu.parts();
            *memory += self.needs.memory.get();
        }
    }

    /// The same with instances; `order` is taken from the end.
    fn stop_on_instances(&mut self, mut order: Vec<&TaskView>, n: usize) -> Vec<TaskId> {
        let mut chosen = Vec::with_capacity(n);
        while chosen.len() < n {
            let mut left = vec![0; self.shares.len()];
            for task in &order {
                left[self.cell(task.capacity, task.zone).0] += 1;
            }
            let Some(share) = surplus_share(&self.shares, &self.totals(), &left) else { break };
            let capacity = self.shares[share].capacity;
            let standing: Vec<StopCandidate> = order
                .iter()
                .filter(|t| t.capacity == capacity)
                .map(|t| {
                    let (node_tasks, cpu_left, memory_left) =
                        t.node.and_then(|n| self.nodes.get(&n)).copied().unwrap_or_default();
                    let zone_tasks = self.counts[share][t.zone.index()];
                    StopCandidate { task: t.id, zone_tasks, node_tasks, cpu_left, memory_left }
                })
                .collect();
            let Some(id) = stop_choice::narrowed(self.placement, &standing).last().map(|c| c.task) else { break };
            let Some(at) = order.iter().rposition(|t| t.id == id) else { break };
            let task = order.remove(at);
            let zone = task.zone.index();
            self.counts[share][zone] = self.counts[share][zone].saturating_sub(1);
            self.leave(task);
            chosen.push(id);
        }
        chosen
    }
}
