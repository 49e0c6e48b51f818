//! The bill of instances: minimums, Spot by the hour, who pays, commitments.

use proptest::prelude::*;

use super::*;
use crate::catalog::{Catalog, Price};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::from_text;
use crate::scenario::lang::{Lang, Reader};
use crate::scenario::model::{Capacity, Plan};
use crate::scenario::tree::parse_value;
use crate::units::{Bytes, CapacityId, Cpu, NodeId, ServiceId, TaskId, Usd, ZoneId};

const A: ServiceId = ServiceId(0);
const B: ServiceId = ServiceId(1);
const EC2: CapacityId = CapacityId(1);
const MANAGED: CapacityId = CapacityId(2);
const ZONE: ZoneId = ZoneId(0);

fn capacity(text: &str) -> Capacity {
    let mut problems = Vec::new();
    let node = parse_value(text, 0, 0, &mut problems).expect("a value");
    let read = Capacity::read(&node, &mut Reader::new(&mut problems, None));
    read.unwrap_or_else(|| panic!("{problems:?}"))
}

/// Two services on Fargate, a group and Managed Instances, for a day; `more` is added.
fn plan(more: &str) -> Plan {
    let text = format!(
        "[simulation]\nduration = \"24h\"\n[capacity.fargate]\ntype = \"fargate\"\n[services.a]\ncapacity.fargate = {{ weight = 1 }}\n\
         [services.a.task]\ncpu = 512\nmemory = \"1 GB\"\n[services.b]\ncapacity.fargate = {{ weight = 1 }}\n\
         [services.b.task]\ncpu = 512\nmemory = \"1 GB\"\n{more}"
    );
    let mut plan = from_text("nodes.toml", &text).unwrap_or_else(|e| panic!("{e:?}"));
    let group = "{ type = \"ec2\", instance_types = [\"m5.large\", \"c5.xlarge\", \"t3.large\"], max_size = 9 }";
    plan.capacity.insert("group".into(), capacity(group));
    plan.capacity.insert("managed".into(), capacity("{ type = \"managed_instances\" }"));
    plan
}

fn meter(more: &str) -> Meter {
    Meter::new(&plan(more), Catalog::embedded()).unwrap()
}

fn secs(s: u64) -> SimTime {
    SimTime::from_secs(s)
}

fn sum(lines: &[CostLine], item: Item, owner: Owner) -> Usd {
    lines.iter().filter(|l| l.item == item && l.owner == owner).map(|l| l.usd).sum()
}

fn dollars(expected: f64) -> i64 {
    (expected * 1e9).round() as i64
}

#[test]
fn an_instance_is_charged_by_the_second_and_at_least_a_minute() {
    for (run_ms, billed) in [(1_000, 60), (60_000, 60), (60_001, 61), (3_600_500, 3_601)] {
        let mut m = meter("");
        m.node_started(NodeId(0), EC2, "m5.large", ZONE, false, secs(100)).unwrap();
        m.node_terminated(NodeId(0), secs(100) + SimDuration::from_millis(run_ms));
        let lines = m.close_interval(SimTime::ZERO, secs(7_200));
        assert_eq!(sum(&lines, Item::Ec2Instance, Owner::Idle).nanos(), dollars(0.096 * f64::from(billed) / 3_600.0));
        // The volume has no minimum: 30 GiB at $0.08 a month of 730 hours.
        let volume = 30.0 * 0.08 / 730.0 * run_ms as f64 / 3_600_000.0;
        assert_eq!(sum(&lines, Item::EbsVolume, Owner::Idle).nanos(), dollars(volume));
        let cost = m.node_cost(NodeId(0));
        assert_eq!(cost.usd, cost.idle);
        assert!(
            (cost.usd.nanos() - lines.iter().filter(|l| l.capacity == Some(EC2)).map(|l| l.usd.nanos()).sum::<i64>())
                .abs()
                <= 2
        );
        assert_eq!(m.totals().by_capacity, [(EC2, cost)]);
        // No Fargate price for what runs there.
        assert!(lines.iter().all(|l| l.item != Item::FargateVcpu));
    }
}

#[test]
fn a_stopped_instance_pays_for_its_volume_only() {
    let mut m = meter("");
    m.node_started(NodeId(0), EC2, "m5.large", ZONE, false, SimTime::ZERO).unwrap();
    m.node_stopped(NodeId(0), secs(600));
    m.close_interval(SimTime::ZERO, secs(600));
    let lines = m.close_interval(secs(600), secs(4_200));
    assert_eq!(lines.iter().filter(|l| l.item == Item::Ec2Instance).count(), 0);
    assert_eq!(sum(&lines, Item::EbsVolume, Owner::Idle).nanos(), dollars(30.0 * 0.08 / 730.0));
    // Each start has its own minute.
    m.node_started(NodeId(0), EC2, "m5.large", ZONE, false, secs(4_200)).unwrap();
    m.node_stopped(NodeId(0), secs(4_210));
    m.node_terminated(NodeId(0), secs(4_800));
    let lines = m.close_interval(secs(4_200), secs(86_400));
    assert_eq!(sum(&lines, Item::Ec2Instance, Owner::Idle).nanos(), dollars(0.096 / 60.0));
    assert_eq!(m.node_price_per_hour(NodeId(0)), Usd::ZERO);
}

#[test]
fn spot_takes_the_price_of_its_pool_by_the_instance_hour() {
    let mut m = meter("");
    let price = |text: &str| text.parse::<Price>().unwrap();
    // Without any price of the pool the catalog's level holds: 66 % off for m5.large.
    m.node_started(NodeId(0), EC2, "m5.large", ZONE, true, SimTime::ZERO).unwrap();
    let lines = m.close_interval(SimTime::ZERO, secs(1_800));
    assert_eq!(sum(&lines, Item::Ec2Spot, Owner::Idle).nanos(), dollars(0.096 * 0.34 / 2.0));
    // A change in the middle of the instance-hour is paid from the next one; a new instance pays it at once.
    m.spot_price(EC2, ZONE, "m5.large", price("0.05"), secs(1_800)).unwrap();
    m.node_started(NodeId(1), EC2, "m5.large", ZONE, true, secs(1_800)).unwrap();
    let lines = m.close_interval(secs(1_800), secs(3_600));
    assert_eq!(sum(&lines, Item::Ec2Spot, Owner::Idle).nanos(), dollars((0.096 * 0.34 + 0.05) / 2.0));
    m.spot_price(EC2, ZONE, "m5.large", price("0.07"), secs(4_000)).unwrap();
    m.spot_price(EC2, ZoneId(1), "m5.large", price("0.09"), secs(4_000)).unwrap();
    let lines = m.close_interval(secs(3_600), secs(7_200));
    assert_eq!(sum(&lines, Item::Ec2Spot, Owner::Idle).nanos(), dollars(0.05 + 0.05 / 2.0 + 0.07 / 2.0));
    let weak = m.weak_prices();
    assert!(weak.iter().any(|w| w.item == Item::Ec2Spot && w.reason.contains("m5.large")), "{weak:?}");
}

#[test]
fn owners_pay_for_the_larger_of_their_shares() {
    let mut m = meter("");
    // c5.xlarge: 4,096 CPU units; memory 8,192 MiB less what the kernel keeps: 8,017.
    m.node_started(NodeId(0), EC2, "c5.xlarge", ZONE, false, SimTime::ZERO).unwrap();
    m.task_placed(TaskId(0), A, NodeId(0), Cpu::from_units(1_024), Bytes::from_mib(512), SimTime::ZERO);
    m.task_placed(TaskId(1), B, NodeId(0), Cpu::from_units(512), Bytes::from_mib(4_009), SimTime::ZERO);
    let lines = m.close_interval(SimTime::ZERO, secs(3_600));
    let hour = 0.17;
    let close = |got: Usd, expected: f64| assert!((got.dollars() - expected).abs() < 2e-6, "{got:?} {expected}");
    close(sum(&lines, Item::Ec2Instance, Owner::Service(A)), hour * 0.25);
    close(sum(&lines, Item::Ec2Instance, Owner::Service(B)), hour * 4_009.0 / 8_017.0);
    let all: Usd = lines.iter().filter(|l| l.item == Item::Ec2Instance).map(|l| l.usd).sum();
    assert!((all.nanos() - dollars(hour)).abs() <= 1);
    // A third task fills it beyond: the shares are scaled and nothing is idle.
    m.task_placed(TaskId(2), A, NodeId(0), Cpu::from_units(2_560), Bytes::from_mib(512), secs(3_600));
    let lines = m.close_interval(secs(3_600), secs(7_200));
    assert_eq!(sum(&lines, Item::Ec2Instance, Owner::Idle), Usd::ZERO);
    let b = 4_009.0 / 8_017.0;
    close(sum(&lines, Item::Ec2Instance, Owner::Service(B)), hour * b / (0.875 + b));
    // Tasks have the cost of their share, volumes included, and give it back.
    m.task_stopped(TaskId(1), secs(7_200));
    let ebs = 30.0 * 0.08 / 730.0;
    close(m.task_cost(TaskId(1)), (hour + ebs) * (b + b / (0.875 + b)));
    m.close_interval(secs(7_200), secs(10_800));
    close(m.task_cost(TaskId(2)), (hour + ebs) * (0.625 / (0.875 + b) + 0.625));
    // Of 87.5 % reserved in the last hour half was used.
    assert_eq!(m.node_cost(NodeId(0)).wasted, Usd::ZERO);
    let cost = m.node_cost(NodeId(0));
    m.node_used(NodeId(0), 0.5, secs(10_800));
    let wasted = m.node_cost(NodeId(0)).wasted;
    close(wasted, cost.usd.dollars() - cost.idle.dollars() - cost.usd.dollars() * 0.5);
    assert!(m.vcpu_price_per_hour(A) > 0.0);
}

#[test]
fn managed_instances_pay_a_fee_and_addresses_cost() {
    let mut m = meter("[billing]\negress = \"public_ip\"\n");
    m.node_started(NodeId(0), MANAGED, "c6a.2xlarge", ZONE, false, SimTime::ZERO).unwrap();
    let lines = m.close_interval(SimTime::ZERO, secs(3_600));
    assert_eq!(sum(&lines, Item::ManagedInstancesFee, Owner::Idle).nanos(), dollars(0.306 * 0.12));
    assert_eq!(sum(&lines, Item::InstanceIpv4, Owner::Idle).nanos(), 5_000_000);
    assert_eq!(sum(&lines, Item::EbsVolume, Owner::Idle).nanos(), dollars(80.0 * 0.08 / 730.0));
    // On Spot the fee stays that of the on-demand price.
    m.node_terminated(NodeId(0), secs(3_600));
    m.node_started(NodeId(1), MANAGED, "c6a.2xlarge", ZONE, true, secs(3_600)).unwrap();
    let lines = m.close_interval(secs(3_600), secs(7_200));
    assert_eq!(sum(&lines, Item::ManagedInstancesFee, Owner::Idle).nanos(), dollars(0.306 * 0.12));
    let wrong = m.node_started(NodeId(2), MANAGED, "c6a.2xlrage", ZONE, true, secs(7_200)).unwrap_err();
    assert!(wrong.to_string().contains("did you mean `c6a.2xlarge`"), "{wrong}");
}

#[test]
fn surplus_credits_cost_by_the_vcpu_hour() {
    let mut m = meter("");
    m.node_started(NodeId(0), EC2, "t3.large", ZONE, false, SimTime::ZERO).unwrap();
    m.task_placed(TaskId(0), A, NodeId(0), Cpu::from_units(1_024), Bytes::from_mib(64), SimTime::ZERO);
    m.surplus_credits(NodeId(0), SimDuration::from_secs(7_200), secs(3_600)).unwrap();
    let lines = m.close_interval(SimTime::ZERO, secs(3_600));
    assert_eq!(sum(&lines, Item::CpuCredits, Owner::Service(A)).nanos(), 50_000_000);
    assert_eq!(sum(&lines, Item::CpuCredits, Owner::Idle).nanos(), 50_000_000);
}

#[test]
fn commitments_pay_for_instances() {
    let more = "[billing]\nsavings_plan_commitment = \"$0.01\"\nsavings_plan_ec2_discount_percent = 20\nsavings_plan_discount_percent = 10\n\
                [[billing.ec2_instance_savings_plans]]\ninstance_family = \"c5\"\ncommitment = \"$0.05\"\ndiscount_percent = 50\n\
                [[billing.reserved_instances]]\ninstance_type = \"m5.xlarge\"\ninstance_count = 1\n";
    let mut m = meter(more);
    for node in 0..3 {
        m.node_started(NodeId(node), EC2, "m5.large", ZONE, false, SimTime::ZERO).unwrap();
    }
    m.node_started(NodeId(3), EC2, "c5.xlarge", ZONE, false, SimTime::ZERO).unwrap();
    m.node_started(NodeId(4), EC2, "m5.large", ZONE, true, SimTime::ZERO).unwrap();
    let lines = m.close_interval(SimTime::ZERO, secs(3_600));
    let of = |item| sum(&lines, item, Owner::Cluster).nanos();
    // 41.2 % off an m5.xlarge; it covers two of three m5.large.
    assert_eq!(of(Item::ReservedInstances), dollars(0.192 * (1.0 - 0.412)));
    assert_eq!(of(Item::ReservedCovered), -dollars(2.0 * 0.096));
    assert_eq!((of(Item::Ec2SavingsPlan), of(Item::Ec2SavingsPlanCovered)), (50_000_000, -100_000_000));
    assert_eq!((of(Item::SavingsPlan), of(Item::SavingsPlanCovered)), (10_000_000, -12_500_000));
    let total: Usd = lines.iter().map(|l| l.usd).sum();
    assert_eq!(m.totals().usd, total);
    // Unused hours are paid too, and half an hour on twice the instances is covered as well.
    for node in 0..5 {
        m.node_terminated(NodeId(node), secs(3_600));
    }
    for node in 10..14 {
        m.node_started(NodeId(node), EC2, "m5.large", ZONE, false, secs(5_400)).unwrap();
    }
    let lines = m.close_interval(secs(3_600), secs(7_200));
    assert_eq!(sum(&lines, Item::ReservedCovered, Owner::Cluster).nanos(), -dollars(2.0 * 0.096));
    let error = |more: &str| Meter::new(&plan(more), Catalog::embedded()).unwrap_err().to_string();
    assert!(
        error("[[billing.reserved_instances]]\ninstance_type = \"mac1.metal\"\n")
            .contains("no price of ec2 mac1.metal")
    );
}

/// What happens to nodes: start, stop, end, a task comes, a task goes, a price, use.
#[derive(Clone, Debug)]
struct Step {
    at: u64,
    what: u8,
    node: u32,
    task: u32,
    amount: u64,
}

fn play(steps: &[Step], cuts: &[u64], commit: bool) -> (Meter, Vec<CostLine>) {
    let more = if commit {
        "[billing]\nsavings_plan_commitment = \"$0.1\"\n[[billing.reserved_instances]]\ninstance_type = \"m5.large\"\ninstance_count = 2\n"
    } else {
        "[billing]\negress = \"public_ip\"\ndiscount_percent = 7.25\n"
    };
    let mut m = meter(more);
    let mut ends: Vec<u64> = cuts.iter().copied().chain([14_400]).collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut lines, mut from, mut next) = (Vec::new(), 0, 0);
    let types = ["m5.large", "c5.xlarge", "t3.large"];
    for end in ends {
        while let Some(s) = steps.get(next).filter(|s| s.at < end) {
            let (at, node, task) = (secs(s.at), NodeId(s.node), TaskId(s.task));
            let kind = types[(s.node % 3) as usize];
            match s.what {
                0 | 1 => m.node_started(node, CapacityId(1 + s.node % 2), kind, ZONE, s.node % 4 > 1, at).unwrap(),
                2 => m.node_stopped(node, at),
                3 => m.node_terminated(node, at),
                4 | 5 => {
                    let (cpu, memory) = (Cpu::from_units(s.amount % 3_000), Bytes::from_mib(s.amount * 7 % 6_000));
                    m.task_placed(task, ServiceId(s.task % 2), node, cpu, memory, at);
                }
                6 => m.task_stopped(task, at),
                7 => {
                    let price = Price::from_picos(s.amount as i64 * 10_000_000);
                    m.spot_price(CapacityId(1 + s.node % 2), ZONE, kind, price, at).unwrap();
                }
                8 => m.node_used(node, s.amount as f64 / 10_000.0, at),
                _ => m.surplus_credits(node, SimDuration::from_secs(s.amount), at).unwrap(),
            }
            next += 1;
        }
        lines.extend(m.close_interval(secs(from), secs(end)));
        from = end;
    }
    (m, lines)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..14_400_u64, 0..10_u8, 0..6_u32, 0..12_u32, 0..10_000_u64)
        .prop_map(|(at, what, node, task, amount)| Step { at, what, node, task, amount });
    prop::collection::vec(step, 0..40).prop_map(|mut steps| {
        steps.sort_by_key(|s| s.at);
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Items, owners, nodes and intervals sum to one total, however the run is cut.
    #[test]
    fn every_dollar_has_one_item_and_one_owner(
        steps in steps(),
        cuts in prop::collection::vec(1..14_400_u64, 0..12),
        commit in any::<bool>(),
    ) {
        let (whole, few) = play(&steps, &[], commit);
        let (cut, many) = play(&steps, &cuts, commit);
        let total = |lines: &[CostLine]| -> i64 { lines.iter().map(|l| l.usd.nanos()).sum() };
        prop_assert_eq!(total(&few), total(&many));
        prop_assert_eq!(whole.totals(), cut.totals());
        let totals = cut.totals();
        prop_assert_eq!(totals.usd.nanos(), total(&many));
        prop_assert_eq!(totals.items.iter().map(|i| i.usd).sum::<Usd>(), totals.usd);
        prop_assert_eq!(totals.by_owner.iter().map(|o| o.1).sum::<Usd>(), totals.usd);
        for line in &many {
            let product = line.quantity * line.unit_price.dollars();
            prop_assert!((product - line.usd.dollars()).abs() <= 1e-9 + 1e-9 * product.abs(), "{:?}", line);
            prop_assert!(line.usd >= Usd::ZERO || line.item.is_covered_use(), "{:?}", line);
        }
        // Nodes have what the lines of instances have, roundings aside; idle and wasted are parts of it.
        let of_nodes: i64 = few.iter().filter(|l| l.capacity.is_some()).map(|l| l.usd.nanos()).sum();
        let by_node: i64 = (0..6).map(|n| whole.node_cost(NodeId(n)).usd.nanos()).sum();
        let by_capacity: i64 = totals.by_capacity.iter().map(|c| c.1.usd.nanos()).sum();
        // A node id that starts again after its end is two nodes for the capacity, one for the node.
        prop_assert!((of_nodes - by_capacity).abs() <= 60 + steps.len() as i64 * 20, "{} {}", of_nodes, by_capacity);
        prop_assert!(by_node <= by_capacity + 20);
        let idle: i64 = few.iter().filter(|l| l.owner == Owner::Idle).map(|l| l.usd.nanos()).sum();
        let idle_of: i64 = totals.by_capacity.iter().map(|c| c.1.idle.nanos()).sum();
        prop_assert!((idle - idle_of).abs() <= 60 + steps.len() as i64 * 20, "{} {}", idle, idle_of);
        for (_, cost) in &totals.by_capacity {
            prop_assert!(cost.wasted.nanos() + cost.idle.nanos() <= cost.usd.nanos() + 1_000);
        }
    }

    /// A warm-up splits the bill without losing any of it.
    #[test]
    fn a_warm_up_keeps_the_sum(steps in steps(), at in 1..14_399_u64) {
        let (whole, _) = play(&steps, &[], false);
        let mut m = meter("[billing]\negress = \"public_ip\"\ndiscount_percent = 7.25\n");
        let before: Vec<Step> = steps.iter().filter(|s| s.what < 4 && s.at < at).cloned().collect();
        let only: Vec<Step> = steps.iter().filter(|s| s.what < 4).cloned().collect();
        let (nodes_only, _) = play(&only, &[], false);
        prop_assert!(nodes_only.totals().usd <= whole.totals().usd + Usd::from_nanos(400_000_000_000));
        for s in &before {
            let kind = ["m5.large", "c5.xlarge", "t3.large"][(s.node % 3) as usize];
            match s.what {
                0 | 1 => m.node_started(NodeId(s.node), CapacityId(1 + s.node % 2), kind, ZONE, s.node % 4 > 1, secs(s.at)).unwrap(),
                2 => m.node_stopped(NodeId(s.node), secs(s.at)),
                _ => m.node_terminated(NodeId(s.node), secs(s.at)),
            }
        }
        m.close_interval(SimTime::ZERO, secs(at));
        let (plain, _) = play(&before, &[], false);
        m.start_counting(secs(at));
        m.close_interval(secs(at), secs(14_400));
        let totals = m.totals();
        prop_assert!(((totals.usd + totals.before_counting).nanos() - plain.totals().usd.nanos()).abs() <= 40);
    }
}
