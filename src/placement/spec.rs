//! What is known of a task before it is placed: needs, constraints, strategies.

use crate::cluster::nodes::{Needs, Resources};
use crate::scenario::expression::{Expression, ExpressionError};
use crate::scenario::model::{Architecture, BinpackField, PlacementConstraint, PlacementStrategy, SpreadField, Task};
use crate::units::CapacityId;

/// Tasks that are counted together: those of a service, or standalone tasks of one group. A position in
/// the pool's list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// A value of which the smallest is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Tasks of the group in the zone.
    Zone,
    /// Tasks of the group on the instance.
    Instance,
    /// CPU left on the instance.
    Cpu,
    /// Memory left on the instance.
    Memory,
}

/// Placement strategies in the order in which they narrow the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What is compared, one after the other; each at most once, as a repetition narrows nothing.
    steps: Vec<Step>,
    /// Whether equals are told apart by chance instead of by the lowest id.
    random: bool,
}

impl Chain {
    /// The chain of these strategies; without any, the rule of services: zones with the fewest tasks,
    /// inside them instances with the fewest. What follows `random` has nothing left to narrow.
    #[must_use]
    pub fn new(strategies: &[PlacementStrategy], ties_at_random: bool) -> Self {
        let mut chain = Self { steps: Vec::new(), random: ties_at_random };
        for strategy in strategies {
            let step = match strategy {
                PlacementStrategy::Spread(s) => match s.field {
                    SpreadField::Zone => Step::Zone,
                    SpreadField::Instance | SpreadField::Host => Step::Instance,
                },
                PlacementStrategy::Binpack(b) => match b.field {
                    BinpackField::Cpu => Step::Cpu,
                    BinpackField::Memory => Step::Memory,
                },
                PlacementStrategy::Random(_) => {
                    chain.random = true;
                    break;
                }
            };
            if !chain.steps.contains(&step) {
                chain.steps.push(step);
            }
        }
        if strategies.is_empty() {
            chain.steps = vec![Step::Zone, Step::Instance];
        }
        chain
    }

    /// What is compared, one after the other.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether equals are told apart by chance.
    #[must_use]
    pub const fn is_random(&self) -> bool {
        self.random
    }

    /// Whether the first strategy is a spread over zones, the condition of Availability Zone rebalancing;
    /// the rule without any strategy counts as one.
    #[must_use]
    pub fn spreads_zones_first(&self) -> bool {
        self.steps.first() == Some(&Step::Zone)
    }
}

/// A kind of task: everything that decides where it may and should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementSpec {
    /// With which tasks it is counted.
    pub group: GroupId,
    /// Capacities on whose instances it may stand.
    pub capacities: Vec<CapacityId>,
    /// What it takes.
    pub needs: Needs,
    /// The processor that its image is built for.
    pub architecture: Architecture,
    /// What `memberOf` constraints ask, all of them.
    pub expressions: Vec<Expression>,
    /// What is preferred.
    pub chain: Chain,
}

impl PlacementSpec {
    /// The kind of a task of the language. `ties_at_random` false tells equals apart by the lowest id.
    ///
    /// # Errors
    /// An expression that is not of the cluster query language; a checked plan has none.
    pub fn new(
        group: GroupId,
        capacities: Vec<CapacityId>,
        task: &Task,
        constraints: &[PlacementConstraint],
        strategies: &[PlacementStrategy],
        ties_at_random: bool,
    ) -> Result<Self, ExpressionError> {
        let mut expressions = Vec::new();
        for constraint in constraints {
            if let PlacementConstraint::MemberOf(m) = constraint {
                expressions.push(Expression::parse(&m.expression)?);
            }
        }
        Ok(Self {
            group,
            capacities,
            needs: super::needs::needs(task, constraints),
            architecture: task.architecture,
            expressions,
            chain: Chain::new(strategies, ties_at_random),
        })
    }
}

/// Bits of a packed key: memory in bytes, CPU in 1/128,000 vCPU, tasks, id. The largest instance types
/// have 32 TiB and 1,920 vCPUs; anything above counts as the largest.
const MEMORY_BITS: u32 = 46;
const CPU_BITS: u32 = 28;
const COUNT_BITS: u32 = 22;
const ID_BITS: u32 = 32;

/// How the steps of a chain that are known per instance become one number, the smallest preferred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    /// Local steps in their order, as positions of [count, cpu, memory]; 3 for none.
    order: [u8; 3],
    /// Bits below the place of the zone's count; 128 without one.
    below_zone: u32,
    random: bool,
}

impl Packing {
    pub(super) fn new(chain: &Chain) -> Self {
        let (mut order, mut n, mut below_zone, mut zone) = ([3; 3], 0, if chain.random { 0 } else { ID_BITS }, false);
        for step in &chain.steps {
            let (which, bits) = match step {
                Step::Zone => {
                    zone = true;
                    continue;
                }
                Step::Instance => (0, COUNT_BITS),
                Step::Cpu => (1, CPU_BITS),
                Step::Memory => (2, MEMORY_BITS),
            };
            order[n] = which;
            n += 1;
            below_zone += if zone { bits } else { 0 };
        }
        Self { order, below_zone: if zone { below_zone } else { 128 }, random: chain.random }
    }

    /// Whether the key needs the number of the group's tasks on the instance.
    pub(super) fn counts(&self) -> bool {
        self.order.contains(&0)
    }

    /// Whether the key changes with what is left.
    pub(super) fn packs(&self) -> bool {
        self.order.contains(&1) || self.order.contains(&2)
    }

    /// The key of an instance.
    #[inline]
    pub(super) fn key(&self, tasks: u32, left: Resources, id: u32) -> u128 {
        let fit = |value: u64, bits: u32| u128::from(value.min((1 << bits) - 1));
        let mut key = 0;
        for which in self.order {
            key = match which {
                0 => (key << COUNT_BITS) | fit(u64::from(tasks), COUNT_BITS),
                1 => (key << CPU_BITS) | fit(left.cpu.parts(), CPU_BITS),
                2 => (key << MEMORY_BITS) | fit(left.memory.get(), MEMORY_BITS),
                _ => break,
            };
        }
        if self.random { key } else { (key << ID_BITS) | u128::from(id) }
    }

    /// The key of the best instance of a zone among those of others.
    #[inline]
    pub(super) fn across(&self, key: u128, zone_tasks: u32) -> (u128, u32, u128) {
        match self.below_zone {
            128 => (key, 0, 0),
            bits => (key >> bits, zone_tasks, key & ((1 << bits) - 1)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::scenario::model::{Binpack, RandomPlacement, Spread};
    use crate::units::{Bytes, Cpu};

    pub(in crate::placement) fn task(cpu: u64, mib: u64) -> Task {
        let text = format!(
            "[simulation]\nduration = \"1m\"\n[capacity.f]\ntype = \"fargate\"\n[services.a]\ncapacity.f = {{ weight = 1 }}\n\
             task = {{ cpu = 256, memory = \"512 MiB\" }}\n",
        );
        let options = crate::scenario::LoadOptions::default();
        let loaded = crate::scenario::load_text("t", "t.toml", &text, std::path::Path::new("."), &options).unwrap();
        Task { cpu: Cpu::from_units(cpu), memory: Bytes::from_mib(mib), ..loaded.plan.services["a"].task.clone() }
    }

    fn spread(field: SpreadField) -> PlacementStrategy {
        PlacementStrategy::Spread(Spread { field })
    }

    fn binpack(field: BinpackField) -> PlacementStrategy {
        PlacementStrategy::Binpack(Binpack { field })
    }

    #[test]
    fn chains() {
        let chain = |s: &[PlacementStrategy]| Chain::new(s, false);
        assert_eq!(chain(&[]).steps(), [Step::Zone, Step::Instance]);
        assert!(chain(&[]).spreads_zones_first());
        let packed = chain(&[binpack(BinpackField::Memory), spread(SpreadField::Zone), binpack(BinpackField::Memory)]);
        assert_eq!(packed.steps(), [Step::Memory, Step::Zone]);
        assert!(!packed.spreads_zones_first());
        let random = chain(&[
            spread(SpreadField::Host),
            PlacementStrategy::Random(RandomPlacement {}),
            binpack(BinpackField::Cpu),
        ]);
        assert_eq!((random.steps(), random.is_random()), ([Step::Instance].as_slice(), true));
    }

    #[test]
    fn keys_order_as_their_steps() {
        let left = |cpu, mib| Resources { cpu: Cpu::from_units(cpu), memory: Bytes::from_mib(mib), gpus: 0, enis: 0 };
        let chain =
            Chain::new(&[binpack(BinpackField::Memory), spread(SpreadField::Zone), binpack(BinpackField::Cpu)], false);
        let p = Packing::new(&chain);
        let of = |cpu, mib, zone, id| p.across(p.key(9, left(cpu, mib), id), zone);
        assert!(of(9, 1, 9, 9) < of(1, 2, 1, 1));
        assert!(of(9, 1, 1, 9) < of(1, 1, 2, 1));
        assert!(of(1, 1, 1, 9) < of(2, 1, 1, 1));
        assert!(of(1, 1, 1, 1) < of(1, 1, 1, 2));
        assert_eq!(MEMORY_BITS + CPU_BITS + COUNT_BITS + ID_BITS, 128);
    }
}
