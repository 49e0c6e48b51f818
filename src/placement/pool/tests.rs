//! The pool gives the answers of the rule that looks at every instance.

use proptest::prelude::*;

use super::*;
use crate::placement::spec::Chain;
use crate::scenario::model::{Binpack, BinpackField, PlacementStrategy, RandomPlacement, Spread, SpreadField};
use crate::units::{Bytes, Cpu};

fn resources(cpu: u64, mib: u64, gpus: u32, enis: u32) -> Resources {
    Resources { cpu: Cpu::from_units(cpu), memory: Bytes::from_mib(mib), gpus, enis }
}

fn class(capacity: u32, zone: u32, kind: &str, offers: Resources) -> NodeClass {
    let attributes = [("ecs.instance-type", kind), ("ecs.availability-zone", ["a", "b", "c"][zone as usize])];
    NodeClass {
        capacity: CapacityId(capacity),
        zone: ZoneId(zone),
        offers,
        architecture: if kind.starts_with("m6g") { Architecture::Arm } else { Architecture::X86 },
        attributes: attributes.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
    }
}

const KINDS: [(&str, u64, u64, u32, u32); 4] = [
    ("c5.large", 2048, 3768, 0, 2),
    ("m5.xlarge", 4096, 15_600, 0, 3),
    ("p3.2xlarge", 8192, 60_000, 2, 3),
    ("m6g.large", 2048, 7600, 0, 4),
];

fn strategy() -> impl Strategy<Value = PlacementStrategy> {
    prop_oneof![
        Just(PlacementStrategy::Spread(Spread { field: SpreadField::Zone })),
        Just(PlacementStrategy::Spread(Spread { field: SpreadField::Instance })),
        Just(PlacementStrategy::Binpack(Binpack { field: BinpackField::Cpu })),
        Just(PlacementStrategy::Binpack(Binpack { field: BinpackField::Memory })),
        Just(PlacementStrategy::Random(RandomPlacement {})),
    ]
}

#[derive(Clone, Debug)]
struct Kind {
    group: u8,
    need: (u64, u64, u32, u32),
    ports: Vec<u16>,
    distinct: bool,
    arm: bool,
    capacities: u8,
    expression: u8,
    strategies: Vec<PlacementStrategy>,
    ties: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    (
        0_u8..3,
        (0_u64..9, 1_u64..9, prop_oneof![4 => Just(0_u32), 1 => Just(1)], 0_u32..2),
        prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![80]), 1 => Just(vec![80, 443])],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        1_u8..4,
        0_u8..9,
        prop::collection::vec(strategy(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(group, need, ports, distinct, arm, capacities, expression, strategies, ties)| Kind {
            group,
            need,
            ports,
            distinct,
            arm,
            capacities,
            expression,
            strategies,
            ties,
        })
}

impl Kind {
    fn spec(&self, pool: &mut NodePool) -> PlacementSpec {
        let (cpu, mib, gpus, enis) = self.need;
        let expression = match self.expression {
            0 => "attribute:ecs.instance-type =~ c5.*",
            1 => "attribute:ecs.availability-zone != a",
            2 => "not(task:group == service:s0)",
            3 => "runningTasksCount < 3",
            4 => "ec2InstanceId != i-00000000000000001 and registeredAt < 2026-01-01",
            _ => "",
        };
        PlacementSpec {
            group: pool.group(&format!("service:s{}", self.group)),
            capacities: (0..2).filter(|c| self.capacities >> c & 1 == 1).map(CapacityId).collect(),
            needs: Needs {
                resources: resources(cpu * 256, mib * 512, gpus, enis),
                ports: self.ports.clone(),
                distinct: self.distinct,
            },
            architecture: if self.arm { Architecture::Arm } else { Architecture::X86 },
            expressions: Expression::parse(expression).into_iter().collect(),
            chain: Chain::new(&self.strategies, self.ties),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, u8, u8),
    Remove(u8),
    Active(u8, bool),
    Place(u8, u64),
    Free(u8),
    Shape(Kind),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..2, 0_u8..3, 0_u8..4).prop_map(|(c, z, k)| Op::Insert(c, z, k)),
        1 => any::<u8>().prop_map(Op::Remove),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(n, a)| Op::Active(n, a)),
        12 => (any::<u8>(), any::<u64>()).prop_map(|(s, d)| Op::Place(s, d)),
        4 => any::<u8>().prop_map(Op::Free),
        1 => kind().prop_map(Op::Shape),
    ]
}

/// What the rule says that looks at everything.
fn plain(pool: &NodePool, shape: ShapeId, within: Within, draw: u64) -> Result<Choice, WhyNot> {
    let spec = pool.spec(shape);
    let all: Vec<Candidate<'_>> = pool.candidates(shape, within).collect();
    choice::choose(&spec.needs, &spec.chain, &all, pool.zone_tasks(spec.group), draw)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_pool_chooses_as_the_rule(
        kinds in prop::collection::vec(kind(), 1..8),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut pool = NodePool::new(3);
        let mut shapes: Vec<ShapeId> = Vec::new();
        for k in &kinds {
            let spec = k.spec(&mut pool);
            shapes.push(pool.shape(spec));
        }
        let (mut nodes, mut next): (Vec<NodeId>, u32) = (Vec::new(), 0);
        let mut tasks: Vec<(NodeId, ShapeId)> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(capacity, zone, kind) => {
                    let (name, cpu, mib, gpus, enis) = KINDS[kind as usize];
                    let of = pool.class(class(capacity.into(), zone.into(), name, resources(cpu, mib, gpus, enis)));
                    // Not in the order of their ids.
                    let id = NodeId(next ^ 1);
                    next += 1;
                    pool.insert(id, of, Timestamp::UNIX_EPOCH);
                    nodes.push(id);
                }
                Op::Remove(n) if !nodes.is_empty() => {
                    let id = nodes.remove(n as usize % nodes.len());
                    tasks.retain(|(node, _)| *node != id);
                    pool.remove(id);
                }
                Op::Active(n, active) if !nodes.is_empty() => pool.set_active(nodes[n as usize % nodes.len()], active),
                Op::Place(s, draw) => {
                    let shape = shapes[s as usize % shapes.len()];
                    if let Some(choice) = pool.choose(shape, Within::default(), draw) {
                        prop_assert_eq!(pool.obstacle(choice.node, shape), None);
                        prop_assert_eq!(pool.reserve(choice.node, shape), Ok(()));
                        tasks.push((choice.node, shape));
                    }
                }
                Op::Free(t) if !tasks.is_empty() => {
                    let (node, shape) = tasks.swap_remove(t as usize % tasks.len());
                    pool.release(node, shape);
                }
                Op::Shape(k) => {
                    let spec = k.spec(&mut pool);
                    shapes.push(pool.shape(spec));
                }
                _ => {}
            }
            for shape in &shapes {
                for (capacity, zone) in [(None, None), (Some(1), None), (None, Some(2)), (Some(0), Some(0))] {
                    let within = Within { capacity: capacity.map(CapacityId), zone: zone.map(ZoneId) };
                    let draw = u64::from(next).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    let expected = plain(&pool, *shape, within, draw);
                    prop_assert_eq!(pool.choose(*shape, within, draw), expected.ok());
                    if let Err(why) = expected {
                        prop_assert_eq!(pool.why_not(*shape, within), why);
                    }
                }
            }
        }
    }
}

#[test]
fn what_stands_against_each_instance_is_said() {
    let mut pool = NodePool::new(3);
    let (kind, cpu, mib, gpus, enis) = KINDS[0];
    let c5 = pool.class(class(0, 0, kind, resources(cpu, mib, gpus, enis)));
    (0..3).for_each(|n| pool.insert(NodeId(n), c5, Timestamp::UNIX_EPOCH));
    pool.set_active(NodeId(2), false);
    let of = |need, expression, pool: &mut NodePool| {
        let k = Kind {
            group: 0,
            need,
            ports: vec![80],
            distinct: false,
            arm: false,
            capacities: 1,
            expression,
            strategies: Vec::new(),
            ties: false,
        };
        let spec = k.spec(pool);
        pool.shape(spec)
    };
    let small = of((1, 1, 0, 1), 9, &mut pool);
    let choice = pool.choose(small, Within::default(), 0).unwrap();
    assert_eq!((choice.node, choice.cpu_left, choice.memory_left), (NodeId(0), 2048, 3768));
    pool.reserve(NodeId(0), small).unwrap();
    assert!(pool.reserve(NodeId(0), small).is_err());
    pool.reserve(NodeId(1), small).unwrap();
    assert_eq!(pool.choose(small, Within::default(), 0), None);
    assert_eq!(
        pool.why_not(small, Within::default()).to_string(),
        "none of 3 container instances: 2 RESOURCE:PORTS, 1 not ACTIVE",
    );
    let large = of((8, 1, 0, 1), 9, &mut pool);
    assert!(pool.suits(small, c5) && pool.suits(large, c5));
    let elsewhere = of((1, 1, 0, 1), 1, &mut pool);
    assert!(!pool.suits(elsewhere, c5));
    assert_eq!(pool.why_not(elsewhere, Within::default()).constraint, 2);
    pool.release(NodeId(1), small);
    assert_eq!(pool.choose(small, Within::default(), 0).map(|c| c.node), Some(NodeId(1)));
    assert_eq!(instance_id(NodeId(42)), "i-0000000000000002a");
}
