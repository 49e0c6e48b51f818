use super::*;
use crate::catalog::{Catalog, Price};
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::from_text;
use crate::scenario::model::Plan;
use crate::units::{CapacityId, ServiceId, TaskId, Usd};

const WEB: ServiceId = ServiceId(0);
const ON_DEMAND: CapacityId = CapacityId(0);
const SPOT: CapacityId = CapacityId(1);

/// One service of 1 vCPU and 2 GB, without traffic, in public subnets, for a day; `more` is added.
fn plan(more: &str) -> Plan {
    let text = format!(
        "[simulation]\nduration = \"24h\"\n[capacity.od]\ntype = \"fargate\"\n[capacity.spot]\ntype = \"fargate_spot\"\n\
         [services.web]\ncapacity.od = {{ weight = 1 }}\ncapacity.spot = {{ weight = 1 }}\n[services.web.task]\ncpu = 1024\nmemory = \"2 GB\"\n{more}"
    );
    from_text("test.toml", &text).unwrap_or_else(|e| panic!("{e:?}"))
}

const PUBLIC: &str = "[billing]\negress = \"public_ip\"\n";

fn meter(more: &str) -> Meter {
    Meter::new(&plan(more), Catalog::embedded()).unwrap()
}

fn secs(s: u64) -> SimTime {
    SimTime::from_secs(s)
}

fn of(lines: &[CostLine], item: Item) -> Usd {
    lines.iter().filter(|l| l.item == item).map(|l| l.usd).sum()
}

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

#[test]
fn a_task_is_charged_by_the_second_and_at_least_a_minute() {
    for (run_ms, billed) in [(0, 60), (1_000, 60), (60_000, 60), (60_001, 61), (3_600_000, 3_600), (3_600_500, 3_601)] {
        let mut m = meter(PUBLIC);
        m.task_pull_started(TaskId(0), WEB, ON_DEMAND, secs(10));
        m.task_stopped(TaskId(0), secs(10) + SimDuration::from_millis(run_ms));
        let lines = m.close_interval(SimTime::ZERO, secs(7_200));
        let vcpu = lines.iter().find(|l| l.item == Item::FargateVcpu).unwrap();
        assert!((vcpu.quantity - f64::from(billed) / 3_600.0).abs() < 1e-12, "{run_ms}: {}", vcpu.quantity);
        assert_eq!((vcpu.owner, vcpu.capacity, vcpu.unit), (Owner::Service(WEB), Some(ON_DEMAND), "vCPU-h"));
        let nanos = |per_hour: f64| (per_hour * f64::from(billed) / 3_600.0 * 1e9).round() as i64;
        assert_eq!(vcpu.usd.nanos(), nanos(0.04048));
        assert_eq!(of(&lines, Item::FargateMemory).nanos(), nanos(2.0 * 0.004445));
        assert_eq!(of(&lines, Item::TaskIpv4).nanos(), nanos(0.005));
        assert_eq!(m.task_cost(TaskId(0)).nanos(), nanos(0.04048 + 2.0 * 0.004445 + 0.005));
    }
}

#[test]
fn spot_arm_and_storage_have_their_own_prices() {
    let more = "architecture = \"ARM64\"\nephemeral_storage = \"30 GiB\"\n[billing]\negress = \"public_ip\"\n";
    let mut m = meter(more);
    m.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    m.task_pull_started(TaskId(1), WEB, SPOT, SimTime::ZERO);
    m.close_interval(SimTime::ZERO, secs(3_600));
    let lines = m.totals().lines;
    assert_eq!(of(&lines, Item::FargateVcpu).nanos(), 32_380_000);
    assert_eq!(of(&lines, Item::FargateSpotVcpu).nanos(), 10_685_400);
    assert_eq!(of(&lines, Item::FargateEphemeral).nanos(), 2 * 10 * 111_000);
    assert_eq!(m.task_price_per_hour(WEB, ON_DEMAND).nanos(), 32_380_000 + 2 * 3_560_000 + 1_110_000 + 5_000_000);
    let weak = m.weak_prices();
    let spot = weak.iter().find(|w| w.item == Item::FargateSpotVcpu).unwrap();
    assert_eq!((spot.confidence.as_str(), spot.cost.nanos()), ("derived", 10_685_400));
    assert!(weak.iter().all(|w| w.item != Item::FargateVcpu), "{weak:?}");
}

#[test]
fn a_warm_up_is_kept_apart() {
    let mut m = meter(PUBLIC);
    m.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    // The second task's minute begins 20 s before the end of the warm-up and ends 40 s after it.
    m.task_pull_started(TaskId(1), WEB, ON_DEMAND, secs(580));
    m.close_interval(SimTime::ZERO, secs(600));
    m.start_counting(secs(600));
    assert_eq!(m.totals().usd, Usd::ZERO);
    m.task_stopped(TaskId(1), secs(605));
    let lines = m.close_interval(secs(600), secs(1_500));
    let vcpu = of(&lines, Item::FargateVcpu);
    assert_eq!(vcpu.nanos(), (0.04048_f64 * 940.0 / 3_600.0 * 1e9).round() as i64);
    let totals = m.totals();
    assert!(totals.before_counting > Usd::ZERO && totals.usd > Usd::ZERO);
    assert_eq!(totals.by_owner, [(Owner::Service(WEB), totals.usd)]);
    assert_eq!(m.rate_per_hour().nanos(), (totals.usd.nanos() as f64 * 4.0).round() as i64);
}

#[test]
fn gateways_endpoints_and_addresses_cost_by_zone() {
    let mut nat = meter("[cluster]\nzones = 2\n");
    nat.add(WEB, UsageKind::ImagePullBytes, 3_000_000_000);
    nat.add(WEB, UsageKind::LogBytes, 1_000_000_000);
    nat.add(WEB, UsageKind::InternetEgressBytes, 2_000_000_000);
    let lines = nat.close_interval(SimTime::ZERO, secs(3_600));
    assert_eq!(of(&lines, Item::Nat).nanos(), 2 * 45_000_000);
    assert_eq!(of(&lines, Item::NatIpv4).nanos(), 2 * 5_000_000);
    assert_eq!(of(&lines, Item::NatData).nanos(), 4 * 45_000_000);
    assert_eq!(of(&lines, Item::LogIngestion).nanos(), 500_000_000);
    // Thirty days of 24 hours in months of 730 hours.
    assert_eq!(of(&lines, Item::LogStorage).nanos(), (0.03_f64 * 720.0 / 730.0 * 1e9).round() as i64);
    assert_eq!(of(&lines, Item::InternetEgress).nanos(), 180_000_000);
    assert_eq!(lines.iter().find(|l| l.item == Item::Nat).unwrap().owner, Owner::Cluster);

    let mut endpoints = meter("[cluster]\nzones = 2\n[billing]\negress = \"vpc_endpoints\"\n");
    endpoints.add(WEB, UsageKind::ImagePullBytes, 3_000_000_000);
    endpoints.add(WEB, UsageKind::LogBytes, 1_000_000_000);
    endpoints.add(WEB, UsageKind::InterZoneBytes, 1_000_000_000);
    let lines = endpoints.close_interval(SimTime::ZERO, secs(3_600));
    assert_eq!(of(&lines, Item::Endpoint).nanos(), 6 * 10_000_000);
    assert_eq!(of(&lines, Item::EndpointData).nanos(), 10_000_000);
    assert_eq!(of(&lines, Item::InterZone).nanos(), 20_000_000);
    assert_eq!(of(&lines, Item::NatData), Usd::ZERO);
}

/// A load balancer of a service that nothing else is charged for.
fn balancer() -> Meter {
    meter(&format!("[services.web.load_balancer]\n{PUBLIC}"))
}

#[test]
fn the_first_example_of_the_load_balancer_page() {
    // 1 connection/s of 120 s each, 5 requests/s against 60 rules, 300 KB/s: 720 hours, hour by hour.
    let mut m = balancer();
    let hours = |h: u64| secs(h * 3_600);
    for hour in 0..720 {
        m.add(WEB, UsageKind::LoadBalancerNewConnections, 3_600);
        m.add(WEB, UsageKind::LoadBalancerConnectionMillis, 120 * 3_600 * 1_000);
        m.add(WEB, UsageKind::RuleEvaluations, counted_rule_evaluations(5 * 3_600, 60));
        m.add(WEB, UsageKind::LoadBalancerBytes, 300_000 * 3_600);
        m.close_interval(hours(hour), hours(hour + 1));
    }
    let lines = m.totals().lines;
    assert_eq!(of(&lines, Item::Alb).nanos(), 16_200_000_000);
    assert_eq!(of(&lines, Item::AlbLcu).nanos(), 6_220_800_000);
    let lcu = m.lcu_hours(WEB).unwrap();
    let close = |a: f64, b: f64| assert!((a / 720.0 - b).abs() < 1e-9, "{a} {b}");
    close(lcu.new_connections, 0.04);
    close(lcu.active_connections, 0.04);
    close(lcu.processed_bytes, 1.08);
    close(lcu.rule_evaluations, 0.25);
    assert_eq!(lcu.dimension(), "processed bytes");
}

#[test]
fn an_hour_is_charged_by_its_largest_dimension() {
    // Half an hour of connections, half an hour of bytes: each is 1 LCU by itself, the hour too.
    let mut m = balancer();
    m.add(WEB, UsageKind::LoadBalancerNewConnections, 25 * 3_600);
    let first = of(&m.close_interval(SimTime::ZERO, secs(1_800)), Item::AlbLcu);
    m.add(WEB, UsageKind::LoadBalancerBytes, 1_000_000_000);
    let second = of(&m.close_interval(secs(1_800), secs(3_600)), Item::AlbLcu);
    assert_eq!((first.nanos(), second.nanos()), (8_000_000, 0));
    // In two different hours they cost twice.
    m.add(WEB, UsageKind::LoadBalancerBytes, 1_000_000_000);
    assert_eq!(of(&m.close_interval(secs(3_600), secs(5_000)), Item::AlbLcu).nanos(), 8_000_000);
    // An interval over two hours is split by time: 3/4 of the use lies in the second hour.
    let mut m = balancer();
    m.add(WEB, UsageKind::LoadBalancerNewConnections, 25 * 3_600);
    m.close_interval(SimTime::ZERO, secs(3_000));
    m.add(WEB, UsageKind::LoadBalancerBytes, 4_000_000_000);
    assert_eq!(of(&m.close_interval(secs(3_000), secs(5_400)), Item::AlbLcu).nanos(), 24_000_000);
}

#[test]
fn a_savings_plan_pays_for_what_it_reaches() {
    // $0.02 an hour at half price covers $0.04 an hour of on-demand use; a task uses 0.04937.
    let more =
        "[billing]\negress = \"public_ip\"\nsavings_plan_commitment = \"$0.02\"\nsavings_plan_discount_percent = 50\n";
    let mut m = meter(more);
    m.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    let lines = m.close_interval(SimTime::ZERO, secs(7_200));
    assert_eq!(of(&lines, Item::SavingsPlan).nanos(), 40_000_000);
    assert_eq!(of(&lines, Item::SavingsPlanCovered).nanos(), -80_000_000);
    // An idle hour does not help a busy one; Spot use is not covered.
    m.task_stopped(TaskId(0), secs(7_200));
    m.task_pull_started(TaskId(1), WEB, SPOT, secs(7_200));
    let lines = m.close_interval(secs(7_200), secs(10_800));
    assert_eq!(of(&lines, Item::SavingsPlan).nanos(), 20_000_000);
    assert_eq!(of(&lines, Item::SavingsPlanCovered), Usd::ZERO);
}

#[test]
fn the_catalogs_savings_plan_is_said_to_be_weak() {
    let mut m = meter("[billing]\nsavings_plan_commitment = \"$0.02\"\n");
    m.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    let lines = m.close_interval(SimTime::ZERO, secs(3_600));
    assert_eq!(of(&lines, Item::SavingsPlanCovered).nanos(), -25_000_000);
    let weak = m.weak_prices();
    let plan = weak.iter().find(|w| w.item == Item::SavingsPlanCovered).unwrap();
    assert!(plan.reason.contains("recalled") && plan.unit_price_usd == 20.0, "{plan:?}");
}

#[test]
fn a_discount_takes_its_share_off_every_price() {
    let full = meter(PUBLIC);
    let mut half = meter("[billing]\negress = \"public_ip\"\ndiscount_percent = 50\n");
    assert_eq!(half.task_price_per_hour(WEB, ON_DEMAND).nanos() * 2, full.task_price_per_hour(WEB, ON_DEMAND).nanos());
    half.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    half.close_interval(SimTime::ZERO, secs(3_600));
    let item = half.totals().items[0];
    assert_eq!((item.list_price.to_string().as_str(), item.unit_price.to_string().as_str()), ("0.04048", "0.02024"));
    assert_eq!(half.vcpu_price_per_hour(WEB), 0.02024);
    assert_eq!(full.vcpu_price_per_hour(WEB), 0.04048);
}

#[test]
fn regions_without_a_price_are_not_billed_by_guess() {
    let catalog = Catalog::embedded();
    let error = |more: &str| Meter::new(&plan(more), catalog).unwrap_err().to_string();
    assert!(error("[cluster]\nregion = \"us-gov-west-1\"\n").contains("no price of fargate"));
    let mut far = meter("[cluster]\nregion = \"eu-west-3\"\n");
    far.task_pull_started(TaskId(0), WEB, ON_DEMAND, SimTime::ZERO);
    far.close_interval(SimTime::ZERO, secs(60));
    let weak = far.weak_prices();
    assert!(weak.iter().any(|w| w.reason.contains("eu-west-1's stands in")), "{weak:?}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let catalog = Catalog::embedded();
    for (discount, saving, commitment) in
        [(-1.0, None, 0), (101.0, None, 0), (f64::NAN, None, 0), (0.0, Some(100.0), 1), (0.0, None, -1)]
    {
        let mut plan = plan(PUBLIC);
        plan.billing.discount_percent = discount;
        plan.billing.savings_plan_discount_percent = saving;
        plan.billing.savings_plan_commitment = Usd::from_nanos(commitment);
        assert!(Meter::new(&plan, catalog).is_err(), "{discount} {saving:?} {commitment}");
    }
    let mut plan = plan(PUBLIC);
    plan.services[0].task.memory = crate::units::Bytes::new(1_000_000);
    assert!(matches!(Meter::new(&plan, catalog), Err(BillingError::Size { .. })));
}

#[test]
fn the_examples_of_the_fargate_page() {
    let per_second = |text: &str| price(text).times(3_600).unwrap();
    let prices = TaskPrices {
        vcpu_hour: per_second("0.000011244"),
        gb_hour: per_second("0.000001235"),
        ephemeral_gb_hour: per_second("0.0000000308"),
    };
    let size = |cpu_units, memory_mib, ephemeral_gib: u64| TaskSize {
        cpu_units,
        memory_mib,
        ephemeral_mib: ephemeral_gib * 1_024,
    };
    let ten_minutes = fargate_bill(5 * 30, SimDuration::from_secs(600), size(1_024, 2_048, 30), prices);
    assert_eq!(
        (ten_minutes.vcpu.nanos(), ten_minutes.memory.nanos(), ten_minutes.ephemeral.nanos()),
        (1_011_960_000, 222_300_000, 27_720_000)
    );
    let pods = fargate_bill(10 * 30, SimDuration::from_secs(3_600), size(256, 1_024, 20), prices);
    assert_eq!(pods.total().nanos(), 4_369_680_000);
    // Shorter than a minute: a minute.
    let short = fargate_bill(38_400, SimDuration::from_secs(12), size(256, 512, 0), prices);
    assert_eq!(short.total().nanos(), 7_899_264_000);
}

#[test]
fn other_examples_by_quantity_and_price() {
    let total = |factors: &[&str], text: &str| quantity_times_price(factors, price(text)).unwrap().nanos();
    assert_eq!(total(&["50", "730/24", "3", "16"], "0.004445"), 324_485_000_000);
    assert_eq!(total(&["12", "730"], "0.192"), 1_681_920_000_000);
    assert_eq!(total(&["0.5"], "0.000000001"), 0);
    assert_eq!(price_per_unit(price("0.779"), 12).unwrap().picos(), 64_916_666_667);
    assert_eq!(price_per_unit(price("1"), 0), None);
    for bad in ["", "x", "1e3", "-1", "1/0", "."] {
        assert_eq!(quantity_times_price(&[bad], price("1")), None, "{bad}");
    }
    let prices = TaskPrices { vcpu_hour: price("0.04048"), gb_hour: price("0.004445"), ..TaskPrices::default() };
    let hour = fargate_hour(TaskSize { cpu_units: 4_096, memory_mib: 16 * 1_024, ephemeral_mib: 0 }, prices);
    assert_eq!(hour, price("0.23304"));
    assert!((break_even_packing(price("0.192"), hour) - 0.823_892_893_923_79).abs() < 1e-12);
}
