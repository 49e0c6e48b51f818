//! Properties of the bill: money is conserved however a run is cut into intervals, more use never costs
//! less, minimums and commitments hold.

use proptest::prelude::*;

use simctl::billing::{CostLine, Item, Meter, UsageKind, billed_time};
use simctl::catalog::{Catalog, Price};
use simctl::kernel::{SimDuration, SimTime};
use simctl::scenario::from_text;
use simctl::scenario::model::Plan;
use simctl::units::{CapacityId, ServiceId, TaskId, Usd};

const RUN_SECS: u64 = 3 * 3_600;

/// What happens in a run, at an instant in milliseconds.
#[derive(Clone, Debug)]
enum Event {
    Start { task: u32, service: u32, capacity: u32 },
    Stop { task: u32 },
}

#[derive(Clone, Debug)]
struct Run {
    events: Vec<(u64, Event)>,
    /// Usage of each quarter of an hour: service, kind, quantity.
    usage: Vec<(u32, usize, u64)>,
    egress: usize,
    zones: u32,
    commitment_nanos: i64,
    discount: f64,
}

const KINDS: [UsageKind; 10] = [
    UsageKind::LoadBalancerRequests,
    UsageKind::RuleEvaluations,
    UsageKind::LoadBalancerNewConnections,
    UsageKind::LoadBalancerConnectionMillis,
    UsageKind::LoadBalancerBytes,
    UsageKind::CrossZoneBytes,
    UsageKind::InterZoneBytes,
    UsageKind::InternetEgressBytes,
    UsageKind::ImagePullBytes,
    UsageKind::LogBytes,
];

fn plan(run: &Run) -> Plan {
    let egress = ["nat_gateway", "vpc_endpoints", "public_ip"][run.egress];
    let text = format!(
        "[simulation]\nduration = \"{RUN_SECS}s\"\n[cluster]\nzones = {}\n[capacity.od]\ntype = \"fargate\"\n\
         [capacity.spot]\ntype = \"fargate_spot\"\n[services.a]\ncapacity.od = {{ weight = 1 }}\ncapacity.spot = {{ weight = 1 }}\n[services.a.task]\ncpu = 256\nmemory = \"512 MiB\"\n\
         [services.a.load_balancer]\n[services.b]\ncapacity.od = {{ weight = 1 }}\ncapacity.spot = {{ weight = 1 }}\n[services.b.task]\ncpu = 4096\nmemory = \"9 GB\"\narchitecture = \"ARM64\"\n\
         ephemeral_storage = \"21 GiB\"\n[billing]\negress = \"{egress}\"\ndiscount_percent = {}\n",
        run.zones, run.discount
    );
    let mut plan = from_text("property.toml", &text).unwrap_or_else(|e| panic!("{e:?}"));
    plan.billing.savings_plan_commitment = Usd::from_nanos(run.commitment_nanos);
    plan
}

fn runs() -> impl Strategy<Value = Run> {
    let event = (0..RUN_SECS * 1_000, 0..12_u32, 0..2_u32, 0..2_u32, any::<bool>()).prop_map(
        |(at, task, service, capacity, start)| {
            (at, if start { Event::Start { task, service, capacity } } else { Event::Stop { task } })
        },
    );
    let usage = prop::collection::vec((0..2_u32, 0..KINDS.len(), 0..2_000_000_000_u64), 0..12);
    (
        prop::collection::vec(event, 0..40),
        usage,
        0..3_usize,
        1..4_u32,
        prop_oneof![Just(0), 0..2_000_000_000_i64],
        0..90_u32,
    )
        .prop_map(|(mut events, usage, egress, zones, commitment_nanos, discount)| {
            events.sort_by_key(|e| e.0);
            Run { events, usage, egress, zones, commitment_nanos, discount: f64::from(discount) }
        })
}

/// Plays a run with intervals that end at `cuts` (seconds) and at every quarter of an hour.
fn play(run: &Run, cuts: &[u64]) -> (Meter, Vec<CostLine>) {
    let mut meter = Meter::new(&plan(run), Catalog::embedded()).expect("all prices are there");
    let mut ends: Vec<u64> = cuts.iter().copied().chain((1..=RUN_SECS / 900).map(|q| q * 900)).collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut lines, mut from, mut next) = (Vec::new(), 0, 0);
    for end in ends {
        while let Some((at, event)) = run.events.get(next).filter(|e| e.0 < end * 1_000) {
            let at = SimTime::ZERO + SimDuration::from_millis(*at);
            match event {
                Event::Start { task, service, capacity } => {
                    meter.task_pull_started(TaskId(*task), ServiceId(*service), CapacityId(*capacity), at);
                }
                Event::Stop { task } => meter.task_stopped(TaskId(*task), at),
            }
            next += 1;
        }
        // The usage of a quarter falls into its last interval, so that cuts do not move it.
        if end % 900 == 0
            && let Some((service, kind, quantity)) = run.usage.get((end / 900 - 1) as usize)
        {
            meter.add(ServiceId(*service), KINDS[*kind], *quantity);
        }
        lines.extend(meter.close_interval(SimTime::from_secs(from), SimTime::from_secs(end)));
        from = end;
    }
    (meter, lines)
}

fn sum(lines: &[CostLine]) -> Usd {
    lines.iter().map(|l| l.usd).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The lines of any intervals sum to the same bill, to the nano-dollar, line by line.
    #[test]
    fn cuts_do_not_move_money(run in runs(), cuts in prop::collection::vec(1..RUN_SECS, 0..30)) {
        let (whole, few) = play(&run, &[]);
        let (cut, many) = play(&run, &cuts);
        prop_assert_eq!(sum(&few), sum(&many));
        prop_assert_eq!(whole.totals(), cut.totals());
        let totals = cut.totals();
        prop_assert_eq!(sum(&many), totals.usd);
        prop_assert_eq!(totals.items.iter().map(|i| i.usd).sum::<Usd>(), totals.usd);
        prop_assert_eq!(totals.by_owner.iter().map(|s| s.1).sum::<Usd>(), totals.usd);
        for line in &totals.lines {
            let of: Usd = many.iter().filter(|l| (l.item, l.owner, l.capacity) == (line.item, line.owner, line.capacity)).map(|l| l.usd).sum();
            prop_assert_eq!(of, line.usd);
            // Quantity times price, as far as a double holds it.
            let product = line.quantity * line.unit_price.dollars();
            prop_assert!((product - line.usd.dollars()).abs() <= 1e-9 + 1e-9 * product.abs(), "{:?}", line);
        }
    }

    /// Only the covered use of a Savings Plan is ever negative, and with it a run costs at least the commitment.
    #[test]
    fn a_savings_plan_is_always_paid(run in runs()) {
        let (meter, lines) = play(&run, &[]);
        for line in &lines {
            prop_assert_eq!(line.usd < Usd::ZERO, line.item == Item::SavingsPlanCovered && line.usd != Usd::ZERO, "{:?}", line);
        }
        let commitment = run.commitment_nanos * RUN_SECS as i64 / 3_600;
        // Each Fargate line and the covered use are rounded once.
        prop_assert!(meter.totals().usd.nanos() >= commitment - 5, "{:?}", meter.totals());
        let mut without = run.clone();
        without.commitment_nanos = 0;
        let plain = play(&without, &[]).0.totals().usd;
        let saved = plain.nanos() + commitment - meter.totals().usd.nanos();
        // It covers at most its own size at the discount, and never more than the Fargate use.
        prop_assert!(saved >= -5 && saved as f64 <= commitment as f64 / 0.8 + 5.0, "{saved}");
        let fargate: i64 = play(&without, &[]).1.iter()
            .filter(|l| matches!(l.item, Item::FargateVcpu | Item::FargateMemory)).map(|l| l.usd.nanos()).sum();
        prop_assert!(saved <= fargate + 5);
    }

    /// More use never costs less, and a discount never costs more.
    #[test]
    fn more_use_costs_more(run in runs(), service in 0..2_u32, kind in 0..KINDS.len(), quantity in 0..1_000_000_000_u64) {
        let base = play(&run, &[]).0.totals().usd;
        let mut more = run.clone();
        more.usage.push((service, kind, quantity));
        more.events.push((RUN_SECS * 1_000 - 1, Event::Start { task: 99, service, capacity: 0 }));
        // The Savings Plan may pay for it, so that it is not always strictly more; roundings aside.
        prop_assert!(play(&more, &[]).0.totals().usd.nanos() >= base.nanos() - 5);
        let mut cheaper = run.clone();
        cheaper.discount += 5.0;
        cheaper.commitment_nanos = 0;
        let mut dearer = run;
        dearer.commitment_nanos = 0;
        prop_assert!(play(&cheaper, &[]).0.totals().usd <= play(&dearer, &[]).0.totals().usd);
    }

    /// Tasks that start and stop within the run cost at least a minute each, and as long as they last.
    #[test]
    fn a_task_costs_at_least_a_minute(start in 0..7_000_000_u64, length in 0..3_000_000_u64, cut in 1..RUN_SECS) {
        let run = Run {
            events: vec![(start, Event::Start { task: 0, service: 0, capacity: 0 }), (start + length, Event::Stop { task: 0 })],
            usage: vec![],
            egress: 1,
            zones: 1,
            commitment_nanos: 0,
            discount: 0.0,
        };
        let (meter, lines) = play(&run, &[cut]);
        let of = |item: Item| -> Usd { lines.iter().filter(|l| l.item == item).map(|l| l.usd).sum() };
        let billed = billed_time(SimDuration::from_millis(length));
        prop_assert!(billed >= SimDuration::from_secs(60) && billed.as_nanos() >= length * 1_000_000);
        prop_assert!(billed.as_nanos().saturating_sub(length * 1_000_000) < 1_000_000_000 || billed == SimDuration::from_secs(60));
        let vcpu = 40_480_000.0 * 0.25 * billed.as_secs_f64() / 3_600.0;
        prop_assert!((of(Item::FargateVcpu).nanos() as f64 - vcpu).abs() <= 0.5 + 1e-6);
        let lines = of(Item::FargateVcpu) + of(Item::FargateMemory);
        prop_assert!((meter.task_cost(TaskId(0)).nanos() - lines.nanos()).abs() <= 1);
    }

    /// What tasks cost sums to the lines of Fargate and their addresses, roundings aside.
    #[test]
    fn tasks_share_the_fargate_bill(run in runs()) {
        let (mut seen, mut fresh) = (std::collections::BTreeMap::new(), run.clone());
        // Each start gets an id of its own, as in a simulation, where ids are never reused.
        let mut next = 0;
        fresh.commitment_nanos = 0;
        for (_, event) in &mut fresh.events {
            match event {
                Event::Start { task, .. } => {
                    let old = *task;
                    *task = next;
                    seen.insert(old, next);
                    next += 1;
                }
                Event::Stop { task } => *task = seen.get(task).copied().unwrap_or(9_999),
            }
        }
        let (meter, lines) = play(&fresh, &[]);
        let tasks: i64 = (0..next).map(|t| meter.task_cost(TaskId(t)).nanos()).sum();
        let billed: i64 = lines.iter()
            .filter(|l| matches!(l.item, Item::FargateVcpu | Item::FargateMemory | Item::FargateSpotVcpu | Item::FargateSpotMemory | Item::FargateEphemeral | Item::TaskIpv4))
            .map(|l| l.usd.nanos()).sum();
        prop_assert!((tasks - billed).abs() <= i64::from(next) + 20, "{tasks} {billed}");
    }

    /// A warm-up splits the bill without losing any of it.
    #[test]
    fn a_warm_up_keeps_the_sum(run in runs(), quarters in 1..8_u64) {
        let mut run = run;
        run.commitment_nanos = 0;
        // The largest capacity unit of an hour does not split: no load balancer use here.
        run.usage.retain(|u| u.1 > 4);
        let whole = play(&run, &[]).0.totals().usd;
        let mut meter = Meter::new(&plan(&run), Catalog::embedded()).expect("all prices are there");
        let (mut next, mut quarter) = (0, 0);
        for end in (1..=RUN_SECS / 900).map(|q| q * 900) {
            while let Some((at, event)) = run.events.get(next).filter(|e| e.0 < end * 1_000) {
                let at = SimTime::ZERO + SimDuration::from_millis(*at);
                match event {
                    Event::Start { task, service, capacity } => {
                        meter.task_pull_started(TaskId(*task), ServiceId(*service), CapacityId(*capacity), at);
                    }
                    Event::Stop { task } => meter.task_stopped(TaskId(*task), at),
                }
                next += 1;
            }
            if let Some((service, kind, quantity)) = run.usage.get(quarter as usize) {
                meter.add(ServiceId(*service), KINDS[*kind], *quantity);
            }
            meter.close_interval(SimTime::from_secs(end - 900), SimTime::from_secs(end));
            quarter += 1;
            if quarter == quarters {
                meter.start_counting(SimTime::from_secs(end));
            }
        }
        let totals = meter.totals();
        prop_assert!(((totals.usd + totals.before_counting).nanos() - whole.nanos()).abs() <= 40);
    }

    /// Prices survive writing and reading, and a discount never raises one.
    #[test]
    fn prices_are_exact(picos in 0..1_000_000_000_000_000_i64, share in 0..1_000_001_u32) {
        let price = Price::from_picos(picos);
        prop_assert_eq!(price.to_string().parse::<Price>().expect("its own notation"), price);
        prop_assert!(price.less_millionths(share) <= price);
        prop_assert!((price.to_usd().dollars() - price.dollars()).abs() <= 0.51e-9);
    }

    /// Whatever a price file holds, it is read or refused, never a crash.
    #[test]
    fn price_files_never_crash(text in "\\PC{0,60}", usd in "[-0-9.e]{0,14}", item in "[a-z_\",#\\n]{0,16}") {
        let _ = Catalog::with_overrides(&text, "x.csv");
        let _ = Catalog::with_overrides(&format!("region,service,item,usd\n{text}"), "x.csv");
        if let Err(error) = Catalog::with_overrides(&format!("region,service,item,usd\n*,elb,{item},{usd}\n"), "x.csv") {
            prop_assert!(error.to_string().starts_with("x.csv:"), "{error}");
        }
    }
}
