//! What holds for every decision about capacity, whatever is observed.

use proptest::prelude::*;

use simctl::capacity::auto_scaling_group::{
    GroupMemory, GroupObservation, GroupZone, Member, TerminationReason, decide as group_decide, overshoot,
};
use simctl::capacity::managed_instances::{
    ManagedMemory, ManagedNode, ManagedObservation, Offer, Resident, choose_type, decide as managed_decide,
};
use simctl::capacity::managed_scaling::{
    ManagedScalingMemory, ManagedScalingObservation, SCALE_IN_POINTS, TaskGroup, decide as scaling_decide, needed,
    per_instance,
};
use simctl::capacity::mixed_instances::{Pool, split};
use simctl::capacity::termination::Candidate;
use simctl::cluster::{LifeCycle, Market, Resources};
use simctl::kernel::{SimDuration, SimTime};
use simctl::scenario::model::{
    CapacityDistribution, Ec2, InfrastructureOptimization, ManagedScaling, OnDemandStrategy, SpotStrategy,
    TerminationPolicy,
};
use simctl::units::{Bytes, Cpu, NodeId, Usd, ZoneId};

fn size(vcpus: u64, gib: u64) -> Resources {
    Resources { cpu: Cpu::from_vcpus(vcpus), memory: Bytes::from_gib(gib), gpus: 0, enis: 0 }
}

/// A decision and its memory survive being written and read.
fn kept<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("it can be written");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("it can be read"), value);
}

fn task_group() -> impl Strategy<Value = TaskGroup> {
    (0_u64..9, 0_u64..20, any::<bool>(), 0_u32..600).prop_map(|(vcpus, gib, one_each, tasks)| TaskGroup {
        needs: size(vcpus, gib),
        one_each,
        tasks,
    })
}

proptest! {
    #[test]
    fn the_parts_of_a_group_add_up(capacity in 0_u32..5_000, base in 0_u32..5_000, percent in 0_u32..=100) {
        let s = split(capacity, base, percent);
        prop_assert_eq!(s.on_demand + s.spot, capacity);
        prop_assert!(s.on_demand >= base.min(capacity));
        // One more instance never takes one away from either part.
        let more = split(capacity + 1, base, percent);
        prop_assert!(more.on_demand >= s.on_demand && more.spot >= s.spot);
    }

    #[test]
    fn m_covers_the_largest_need(
        running in 0_u32..200,
        groups in prop::collection::vec(task_group(), 0..4),
        types in prop::collection::vec((1_u64..17, 1_u64..65), 1..4),
    ) {
        let types: Vec<Resources> = types.into_iter().map(|(c, m)| size(c, m)).collect();
        let m = needed(running, running / 2, &groups, &types);
        let all: u32 = groups.iter().map(|g| g.tasks).sum();
        prop_assert_eq!(m.waiting + m.left_out, all);
        for g in &groups {
            let most = types.iter().map(|t| per_instance(g, *t)).max().unwrap_or(0);
            let least = types.iter().map(|t| per_instance(g, *t)).min().unwrap_or(0);
            if least > 0 {
                let added = u64::from(m.instances.saturating_sub(running));
                prop_assert!(added * u64::from(most) >= u64::from(g.tasks));
            }
        }
        kept(&m);
    }

    /// Minute after minute, with a need that jumps: the group stays within its bounds, never goes below
    /// what is needed and never gives up more at once than it may.
    #[test]
    fn managed_scaling_keeps_within_its_bounds(
        (min, max) in (0_u32..20).prop_flat_map(|min| (Just(min), min.max(1)..60)),
        target in 1_u32..=100,
        steps in (1_u32..5, 1_u32..50),
        half in 1_u32..=100,
        needs in prop::collection::vec((0_u32..70, any::<bool>(), 1_usize..20), 1..12),
        start in 0_u32..60,
    ) {
        let spec = ManagedScaling {
            target_capacity: target,
            minimum_scaling_step_size: steps.0,
            maximum_scaling_step_size: steps.0.max(steps.1),
            maximum_scale_in_percent: half,
            ..ManagedScaling::default()
        };
        let mut memory = ManagedScalingMemory::default();
        let mut n = start.clamp(min, max);
        let (mut minute, mut since_out) = (0, u32::MAX / 2);
        for (used, waits, minutes) in needs {
            for _ in 0..minutes {
                minute += 1;
                since_out += 1;
                let groups = [TaskGroup { needs: size(1, 1), one_each: true, tasks: used.saturating_sub(n) }];
                let groups = if waits { &groups[..] } else { &[] };
                let observed = ManagedScalingObservation {
                    now: SimTime::from_secs(minute * 60),
                    running: n,
                    needed: needed(n, n.saturating_sub(used), groups, &[size(2, 2)]),
                    age: SimDuration::from_secs(30),
                    desired: n,
                    warming: 0,
                    terminating: 0,
                    min,
                    max,
                };
                let (decision, after) = scaling_decide(&spec, &memory, &observed);
                kept(&decision);
                kept(&after);
                kept(&observed);
                memory = after;
                let Some(desired) = decision.desired else { continue };
                prop_assert!((min..=max).contains(&desired), "{} not in {}..={}", desired, min, max);
                prop_assert_ne!(desired, n);
                if desired < n {
                    prop_assert!(desired >= observed.needed.instances.min(max));
                    prop_assert!(n - desired <= (n * half / 100).max(1));
                    prop_assert!(since_out >= SCALE_IN_POINTS, "{} points after a scale-out", since_out);
                } else {
                    since_out = 0;
                }
                n = desired;
            }
        }
    }
}

/// A group and its life, step by step.
#[derive(Clone, Debug)]
enum Step {
    Desired(u32),
    Protect(usize, bool),
    Sick(usize),
    Recommend(usize),
    Zone(usize, bool),
    /// What is pending is in service, what is terminating is gone.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u32..=12).prop_map(Step::Desired),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(i, on)| Step::Protect(i, on)),
        1 => any::<usize>().prop_map(Step::Sick),
        2 => any::<usize>().prop_map(Step::Recommend),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(i, on)| Step::Zone(i, on)),
        5 => Just(Step::Settle),
    ]
}

fn any_group() -> impl Strategy<Value = Ec2> {
    let policies = prop::collection::vec(prop::sample::select(TerminationPolicy::ALL), 0..3);
    let distribution = (
        0_u32..5,
        0_u32..=100,
        prop::sample::select(OnDemandStrategy::ALL),
        prop::sample::select(SpotStrategy::ALL),
        1_u32..5,
    );
    (policies, distribution, any::<bool>(), prop::sample::select(CapacityDistribution::ALL)).prop_map(
        |(policies, (base, percent, on_demand, spot, pools), rebalance, strategy)| {
            let mut group = Ec2::of_types(&["m7g.large", "m6g.large", "r7g.large"], 12);
            group.termination_policies = policies;
            group.capacity_rebalance = rebalance;
            group.capacity_distribution_strategy = strategy;
            group.mixed_instances.on_demand_base_capacity = base;
            group.mixed_instances.on_demand_percentage_above_base_capacity = percent;
            group.mixed_instances.on_demand_allocation_strategy = on_demand;
            group.mixed_instances.spot_allocation_strategy = spot;
            group.mixed_instances.spot_instance_pools = pools;
            group
        },
    )
}

fn pools() -> Vec<Pool> {
    let pool = |kind: u32, zone: u32| Pool {
        kind,
        zone: ZoneId(zone),
        on_demand: Some(Usd::from_nanos(100 - i64::from(kind))),
        spot: Some(Usd::from_nanos(30 + i64::from(kind * 7 + zone) % 5)),
        depth: (kind * 5 + zone * 3) % 11,
        in_use: 0,
    };
    (0..3).flat_map(|zone| (0..3).map(move |kind| pool(kind, zone))).collect()
}

proptest! {
    #[test]
    fn a_group_keeps_its_promises(group in any_group(), steps in prop::collection::vec(step(), 1..60)) {
        let (mut memory, mut members, mut desired) = (GroupMemory::default(), Vec::<Member>::new(), 4);
        let mut zones: Vec<GroupZone> = (0..3).map(|z| GroupZone { zone: ZoneId(z), usable: true }).collect();
        let mut launched = 0;
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Desired(n) => desired = n,
                Step::Zone(z, usable) => zones[z % 3].usable = usable,
                Step::Settle => {
                    members.retain(|m| m.life != LifeCycle::Terminating);
                    members.iter_mut().for_each(|m| m.life = LifeCycle::InService);
                }
                Step::Protect(n, on) => {
                    let len = members.len().max(1);
                    if let Some(m) = members.get_mut(n % len) { m.candidate.protected = on; }
                }
                Step::Sick(n) => {
                    let len = members.len().max(1);
                    if let Some(m) = members.get_mut(n % len) { m.healthy = false; }
                }
                Step::Recommend(n) => {
                    let len = members.len().max(1);
                    if let Some(m) = members.get_mut(n % len) { m.rebalance_recommended = true; }
                }
            }
            let observed = GroupObservation {
                now: SimTime::from_secs(i as u64 * 60),
                desired,
                max: 12,
                members: members.clone(),
                zones: zones.clone(),
                pools: pools(),
                seed: i as u64,
            };
            let (decision, after) = group_decide(&group, &memory, &observed);
            kept(&decision);
            kept(&after);
            kept(&observed);
            memory = after;
            let sick = |t: &TerminationReason| *t == TerminationReason::Unhealthy;
            for t in &decision.terminations {
                let m = members.iter_mut().find(|m| m.candidate.node == t.node).expect("it is a member");
                prop_assert_ne!(m.life, LifeCycle::Terminating, "terminated twice");
                if let TerminationReason::AboveDesired { .. } = t.reason {
                    prop_assert!(!m.candidate.protected, "a protected instance was chosen");
                }
                prop_assert!(m.healthy || sick(&t.reason));
                m.life = LifeCycle::Terminating;
            }
            let alive = members.iter().filter(|m| m.life != LifeCycle::Terminating).count() as u32;
            if decision.terminations.iter().any(|t| !sick(&t.reason)) {
                prop_assert!(alive >= desired, "{} left of {} desired", alive, desired);
            }
            for launch in &decision.launches {
                prop_assert!(zones[launch.zone.index()].usable, "a launch in a zone that is out");
                prop_assert!(!launch.kinds.is_empty());
                members.push(Member {
                    candidate: Candidate {
                        node: NodeId(launched),
                        zone: launch.zone,
                        market: launch.market,
                        kind: launch.kinds[0],
                        template: 0,
                        launched: observed.now,
                        protected: false,
                    },
                    life: LifeCycle::Pending,
                    healthy: true,
                    rebalance_recommended: false,
                });
                launched += 1;
            }
            let alive: Vec<&Member> = members.iter().filter(|m| m.life != LifeCycle::Terminating).collect();
            let total = alive.len() as u32;
            if !decision.launches.is_empty() {
                prop_assert!(total <= 12 + overshoot(12), "{} instances", total);
                prop_assert!(total <= desired + memory.replacing.len() as u32);
            }
            if decision.unmet == 0 {
                prop_assert!(total >= desired);
            }
            // The base is filled before any Spot instance is added.
            let on_demand = alive.iter().filter(|m| m.candidate.market == Market::OnDemand).count() as u32;
            if decision.launches.iter().any(|l| l.market == Market::Spot) {
                let wanted = split(
                    desired,
                    group.mixed_instances.on_demand_base_capacity,
                    group.mixed_instances.on_demand_percentage_above_base_capacity,
                );
                prop_assert!(on_demand >= wanted.on_demand, "{} On-Demand of {:?}", on_demand, wanted);
            }
        }
    }

    /// The same observation gives the same decision, and a quiet world comes to rest.
    #[test]
    fn a_group_comes_to_rest(group in any_group(), desired in 0_u32..=12, start in 0_u32..30) {
        let mut members: Vec<Member> = (0..start)
            .map(|i| Member {
                candidate: Candidate {
                    node: NodeId(i),
                    zone: ZoneId(i * i % 3),
                    market: if i % 2 == 0 { Market::OnDemand } else { Market::Spot },
                    kind: i % 3,
                    template: 0,
                    launched: SimTime::from_secs(u64::from(i)),
                    protected: false,
                },
                life: LifeCycle::InService,
                healthy: true,
                rebalance_recommended: false,
            })
            .collect();
        let (mut memory, mut next) = (GroupMemory::default(), start);
        for round in 0..20_u64 {
            let observed = GroupObservation {
                now: SimTime::from_secs(1_000 + round * 60),
                desired,
                max: 12,
                members: members.clone(),
                zones: (0..3).map(|z| GroupZone { zone: ZoneId(z), usable: true }).collect(),
                pools: pools(),
                seed: round,
            };
            let (decision, after) = group_decide(&group, &memory, &observed);
            prop_assert_eq!(&decision, &group_decide(&group, &memory, &observed).0);
            memory = after;
            if decision.launches.is_empty() && decision.terminations.is_empty() {
                break;
            }
            members.retain(|m| !decision.terminations.iter().any(|t| t.node == m.candidate.node));
            for launch in decision.launches {
                members.push(Member {
                    candidate: Candidate {
                        node: NodeId(next),
                        zone: launch.zone,
                        market: launch.market,
                        kind: launch.kinds[0],
                        template: 0,
                        launched: observed.now,
                        protected: false,
                    },
                    life: LifeCycle::InService,
                    healthy: true,
                    rebalance_recommended: false,
                });
                next += 1;
            }
            prop_assert!(round < 19, "never at rest");
        }
        prop_assert_eq!(members.len() as u32, desired);
        let counts = (0..3).map(|z| members.iter().filter(|m| m.candidate.zone == ZoneId(z)).count());
        let (few, many) = counts.fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        prop_assert!(many - few <= 1, "zones apart by {}", many - few);
    }

    #[test]
    fn a_chosen_type_holds_what_it_says(
        waiting in prop::collection::vec(task_group(), 0..5),
        offers in prop::collection::vec((1_u64..33, 1_u64..65, 1_i64..1_000), 0..12),
    ) {
        let offers: Vec<Offer> = offers
            .into_iter()
            .enumerate()
            .map(|(i, (c, m, usd))| Offer { kind: i as u32, size: size(c, m), price: Usd::from_nanos(usd) })
            .collect();
        let choice = choose_type(&waiting, &offers, 5);
        kept(&choice);
        let all: u32 = waiting.iter().map(|g| g.tasks).sum();
        prop_assert!(choice.left_out <= all);
        for ranked in &choice.order {
            let size = offers[ranked.kind as usize].size;
            prop_assert!(ranked.tasks <= all && ranked.instances <= ranked.tasks);
            // A lower bound by each resource: no instance is filled beyond its size.
            let held = waiting.iter().filter(|g| per_instance(g, size) > 0);
            let cpu: u64 = held.map(|g| g.needs.cpu.parts() * u64::from(g.tasks)).sum();
            prop_assert!(cpu <= size.cpu.parts() * u64::from(ranked.instances));
        }
    }

    #[test]
    fn instances_that_drain_leave_room_for_their_tasks(
        nodes in prop::collection::vec((2_u64..9, prop::collection::vec((1_u64..3, any::<bool>()), 0..5)), 0..8),
        wait in -1_i32..600,
    ) {
        let nodes: Vec<ManagedNode> = nodes
            .into_iter()
            .enumerate()
            .map(|(i, (vcpus, tasks))| {
                let tasks: Vec<Resident> = tasks
                    .into_iter()
                    .map(|(v, standalone)| Resident { needs: size(v, 1), standalone, protected: false })
                    .collect();
                let used: u64 = tasks.iter().map(|t| t.needs.cpu.parts() / Cpu::PER_VCPU).sum();
                ManagedNode {
                    node: NodeId(i as u32),
                    launched: SimTime::ZERO,
                    draining: None,
                    registered: true,
                    size: size(vcpus.max(used), 64),
                    tasks,
                    changes: 0,
                    price: Usd::from_nanos(1),
                }
            })
            .collect();
        let spec = InfrastructureOptimization { scale_in_after: Some(wait) };
        let observed = |secs| ManagedObservation { now: SimTime::from_secs(secs), nodes: nodes.clone(), waiting: 0 };
        let (first, memory) = managed_decide(&spec, &ManagedMemory::default(), &observed(0));
        let (second, _) = managed_decide(&spec, &memory, &observed(600));
        let going: Vec<NodeId> = first.going.iter().chain(&second.going).map(|g| g.node).collect();
        prop_assert!(wait >= 0 || going.is_empty());
        let leaves = |n: &&ManagedNode| going.contains(&n.node);
        prop_assert!(nodes.iter().filter(leaves).all(|n| !n.tasks.iter().any(|t| t.standalone)));
        let free = |n: &ManagedNode| n.size.cpu.parts() - n.tasks.iter().map(|t| t.needs.cpu.parts()).sum::<u64>();
        let room: u64 = nodes.iter().filter(|n| !leaves(n) && !n.tasks.is_empty()).map(free).sum();
        let moved: u64 =
            nodes.iter().filter(leaves).flat_map(|n| &n.tasks).map(|t| t.needs.cpu.parts()).sum();
        prop_assert!(moved <= room, "{} to move, {} free", moved, room);
        kept(&memory);
        kept(&second);
    }
}
