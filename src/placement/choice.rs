//! On which instance the next task goes.
//!
//! Rule: of all instances those remain that are ACTIVE, have enough CPU, memory, GPUs, interfaces and
//! free host ports, and meet every constraint. The strategies narrow them one after the other: `spread`
//! to the zones or instances with the fewest tasks of the group, `binpack` to those with the least left,
//! `random` to any one. Without a strategy: the zones with the fewest tasks of the service, inside them
//! the instances with the fewest. Constraints bind, strategies only prefer.
//!
//! Source: ECS developer guide, `ecs_service-options`, `task-placement-strategies`. Ties are not
//! documented: the lowest id, or a draw. Tasks count from the moment at which they are placed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::spec::{Chain, Step};
use crate::cluster::nodes::{Lack, Needs, Resources};
use crate::units::{NodeId, ZoneId};

/// An instance as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: NodeId,
    /// Its zone.
    pub zone: ZoneId,
    /// What is left on it.
    pub left: Resources,
    /// Host ports that are taken, sorted.
    pub ports: &'a [u16],
    /// Tasks of the group on it.
    pub group_tasks: u32,
    /// Whether it is ACTIVE.
    pub active: bool,
    /// Whether architecture and `memberOf` constraints are met.
    pub matches: bool,
}

/// What speaks against an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Obstacle {
    /// It is not ACTIVE.
    Inactive,
    /// It has another architecture, or a `memberOf` constraint does not hold.
    Constraint,
    /// It has too little of something.
    Lack(Lack),
}

/// The instance that was chosen, and what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The instance.
    pub node: NodeId,
    /// Its zone.
    pub zone: ZoneId,
    /// Tasks of the group in the zone before.
    pub zone_tasks: u32,
    /// Tasks of the group on the instance before.
    pub node_tasks: u32,
    /// CPU left on it before, in ECS units.
    pub cpu_left: u64,
    /// Memory left on it before, in MiB.
    pub memory_left: u64,
}

impl Choice {
    pub(super) fn of(c: &Candidate<'_>, zone_tasks: u32) -> Self {
        Self {
            node: c.id,
            zone: c.zone,
            zone_tasks,
            node_tasks: c.group_tasks,
            cpu_left: c.left.cpu.units(),
            memory_left: c.left.memory.get() >> 20,
        }
    }
}

/// Why no instance can take a task: how many there are, and what speaks against each first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyNot {
    /// Instances of the capacities and zones that were asked.
    pub instances: u32,
    /// Not ACTIVE.
    pub inactive: u32,
    /// Another architecture, or a `memberOf` constraint that does not hold.
    pub constraint: u32,
    /// Too little of something, in the order of [`Lack::ALL`].
    pub lacks: [u32; Lack::ALL.len()],
}

impl WhyNot {
    /// Counts one more instance.
    pub fn count(&mut self, obstacle: Obstacle) {
        self.instances += 1;
        match obstacle {
            Obstacle::Inactive => self.inactive += 1,
            Obstacle::Constraint => self.constraint += 1,
            Obstacle::Lack(lack) => {
                if let Some(at) = Lack::ALL.iter().position(|l| *l == lack) {
                    self.lacks[at] += 1;
                }
            }
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instances == 0 {
            return f.write_str("no container instance");
        }
        write!(f, "none of {} container instances:", self.instances)?;
        let lacks = Lack::ALL.iter().zip(self.lacks).map(|(l, n)| (n, l.name()));
        let all = lacks.chain([(self.constraint, "memberOf or architecture"), (self.inactive, "not ACTIVE")]);
        let mut separator = "";
        for (n, cause) in all.filter(|(n, _)| *n > 0) {
            write!(f, "{separator} {n} {cause}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// What speaks against an instance first; `None` when the task can go there.
#[must_use]
pub fn obstacle(needs: &Needs, c: &Candidate<'_>) -> Option<Obstacle> {
    if !c.active {
        return Some(Obstacle::Inactive);
    }
    if !c.matches {
        return Some(Obstacle::Constraint);
    }
    if let Some(lack) = c.left.lacks(needs.resources) {
        return Some(Obstacle::Lack(lack));
    }
    if needs.ports.iter().any(|p| c.ports.binary_search(p).is_ok()) {
        return Some(Obstacle::Lack(Lack::Ports));
    }
    (needs.distinct && c.group_tasks > 0).then_some(Obstacle::Lack(Lack::Distinct))
}

/// The instances among which the choice is free, in their order. `zone_tasks` holds the tasks of the
/// group by zone.
///
/// # Errors
/// Why no instance can take the task.
pub fn narrowed<'c, 'a>(
    needs: &Needs,
    chain: &Chain,
    candidates: &'c [Candidate<'a>],
    zone_tasks: &[u32],
) -> Result<Vec<&'c Candidate<'a>>, WhyNot> {
    let mut why = WhyNot::default();
    let mut left: Vec<&Candidate<'a>> = Vec::new();
    for c in candidates {
        match obstacle(needs, c) {
            None => left.push(c),
            Some(o) => why.count(o),
        }
    }
    for step in chain.steps() {
        let value = |c: &&Candidate<'_>| match step {
            Step::Zone => u64::from(zone_tasks.get(c.zone.index()).copied().unwrap_or(0)),
            Step::Instance => u64::from(c.group_tasks),
            Step::Cpu => c.left.cpu.parts(),
            Step::Memory => c.left.memory.get(),
        };
        if let Some(least) = left.iter().map(value).min() {
            left.retain(|c| value(c) == least);
        }
    }
    if left.is_empty() { Err(why) } else { Ok(left) }
}

/// The instance for the next task. `draw` decides among equals where the chain is random.
///
/// # Errors
/// Why no instance can take the task.
pub fn choose(
    needs: &Needs,
    chain: &Chain,
    candidates: &[Candidate<'_>],
    zone_tasks: &[u32],
    draw: u64,
) -> Result<Choice, WhyNot> {
    let left = narrowed(needs, chain, candidates, zone_tasks)?;
    let of = |c: &Candidate<'_>| Choice::of(c, zone_tasks.get(c.zone.index()).copied().unwrap_or(0));
    let one = match chain.is_random() {
        true => left.get(pick(draw, left.len() as u64) as usize),
        false => left.iter().min_by_key(|c| c.id),
    };
    one.map(|c| of(c)).ok_or_else(WhyNot::default)
}

/// A number below `n` from a draw of 64 bits.
#[must_use]
pub(super) const fn pick(draw: u64, n: u64) -> u64 {
    ((draw as u128 * n as u128) >> 64) as u64
}
