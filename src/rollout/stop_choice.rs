//! Which of several tasks on container instances stops first.
//!
//! Rule: the placement strategies, turned round. The task goes whose end leaves the best result:
//! `spread` takes from the zone or instance with the most tasks of the service, `binpack` from the
//! instance that would have the most of the resource left, `random` any. Without a strategy: the zones
//! with the most tasks, inside them the instance with the most.
//!
//! Source: ECS developer guide, `ecs_service-options`, `task-placement-strategies`. Equals are told apart
//! by the caller.

use crate::scenario::model::{BinpackField, PlacementStrategy, SpreadField};
use crate::units::TaskId;

/// A task that may be stopped, and what is known of where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopCandidate {
    /// The task.
    pub task: TaskId,
    /// Tasks of the service in its zone.
    pub zone_tasks: u32,
    /// Tasks of the service on its instance.
    pub node_tasks: u32,
    /// CPU left on its instance, in any unit.
    pub cpu_left: u64,
    /// Memory left on its instance, in any unit.
    pub memory_left: u64,
}

/// The candidates among which the choice is free, in their order.
#[must_use]
pub fn narrowed<'a>(strategies: &[PlacementStrategy], candidates: &'a [StopCandidate]) -> Vec<&'a StopCandidate> {
    let mut left: Vec<&StopCandidate> = candidates.iter().collect();
    let zone: fn(&StopCandidate) -> u64 = |c| u64::from(c.zone_tasks);
    let node: fn(&StopCandidate) -> u64 = |c| u64::from(c.node_tasks);
    let mut keep_most = |value: fn(&StopCandidate) -> u64| {
        let most = left.iter().map(|c| value(c)).max();
        left.retain(|c| Some(value(c)) == most);
    };
    for strategy in strategies {
        match strategy {
            PlacementStrategy::Spread(s) => match s.field {
                SpreadField::Zone => keep_most(zone),
                SpreadField::Instance | SpreadField::Host => keep_most(node),
            },
            PlacementStrategy::Binpack(b) => match b.field {
                BinpackField::Cpu => keep_most(|c| c.cpu_left),
                BinpackField::Memory => keep_most(|c| c.memory_left),
            },
            PlacementStrategy::Random(_) => break,
        }
    }
    if strategies.is_empty() {
        keep_most(zone);
        keep_most(node);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{Binpack, RandomPlacement, Spread};

    #[test]
    fn the_strategies_turned_round() {
        let of = |task, zone_tasks, node_tasks, cpu_left, memory_left| StopCandidate {
            task: TaskId(task),
            zone_tasks,
            node_tasks,
            cpu_left,
            memory_left,
        };
        let all = [of(0, 3, 2, 10, 500), of(1, 3, 1, 20, 400), of(2, 1, 1, 30, 600)];
        let ids = |s: &[PlacementStrategy]| narrowed(s, &all).iter().map(|c| c.task.0).collect::<Vec<_>>();
        let spread = |field| PlacementStrategy::Spread(Spread { field });
        let binpack = |field| PlacementStrategy::Binpack(Binpack { field });
        let random = PlacementStrategy::Random(RandomPlacement {});
        assert_eq!(ids(&[]), [0]);
        assert_eq!(ids(&[spread(SpreadField::Zone)]), [0, 1]);
        assert_eq!(ids(&[spread(SpreadField::Zone), binpack(BinpackField::Cpu)]), [1]);
        assert_eq!(ids(&[binpack(BinpackField::Memory)]), [2]);
        assert_eq!(ids(&[random.clone(), binpack(BinpackField::Memory)]), [0, 1, 2]);
        assert!(narrowed(&[], &[]).is_empty());
    }
}
