//! Faults: each has its effect, is written down, and ends; troubles are named.

mod common;

use std::fmt::Write as _;

use common::Outcome;
use proptest::prelude::*;
use simctl::output::DiagnosisKind;

/// Six tasks in three zones with room to spare, checked every five seconds.
const BASE: &str = r#"
[simulation]
duration = "15m"
[cluster]
zones = 3
[capacity.f]
type = "fargate"
[services.web]
desired_count = 6
capacity.f = { weight = 1 }
[services.web.task]
cpu = 512
memory = "1 GB"
image.size = "100 MB"
startup = "5s"
[services.web.requests.page]
cpu_time = "10ms"
wait = "20ms"
[services.web.client]
timeout = "1s"
[services.web.traffic]
rate = [{ at = "0s", rps = 60 }]
[services.web.load_balancer]
deregistration_delay = "10s"
health_check = { interval = "5s", timeout = "2s", healthy_threshold = 2, unhealthy_threshold = 2 }
[services.web.ecs]
health_check_grace_period_seconds = 60
[objectives.web]
availability = ">= 99.9 %"
"#;

fn simulate(text: &str) -> Outcome {
    let out = common::simulate(text);
    let r = &out.summary.services["web"].requests;
    assert_eq!(r.started, r.succeeded + r.failed + r.unfinished, "requests are conserved");
    for i in &out.summary.incidents {
        assert!((i.links.total_s() - i.duration_s).abs() < 1e-6, "{i:?}");
    }
    out
}

/// The base scenario and what is added to it.
fn with(more: &str) -> Outcome {
    simulate(&format!("{BASE}{more}"))
}

/// The base scenario with a text replaced, and what is added to it.
fn changed(from: &str, to: &str, more: &str) -> Outcome {
    assert!(BASE.contains(from), "{from}");
    simulate(&format!("{}{more}", BASE.replace(from, to)))
}

impl Outcome {
    /// The sum of a column of services.csv over intervals that begin in a time.
    fn sum(&self, column: &str, from: f64, to: f64) -> f64 {
        let rows = self.rows("services.csv", &["time_s", column]);
        let within = rows.iter().filter(|r| (from..to).contains(&number(&r[0])));
        within.map(|r| r[1].parse().unwrap_or(0.0)).sum()
    }

    /// The mean of a column of services.csv over intervals that begin in a time.
    fn mean(&self, column: &str, from: f64, to: f64) -> f64 {
        let rows = self.rows("services.csv", &["time_s", column]);
        let values: Vec<f64> =
            rows.iter().filter(|r| (from..to).contains(&number(&r[0]))).filter_map(|r| r[1].parse().ok()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// What the decision log says of a fault, in order.
    fn steps(&self, fault: &str) -> Vec<String> {
        let rows = self.rows("decisions.csv", &["controller", "subject", "reason"]);
        let subject = format!("faults.{fault}");
        rows.iter().filter(|r| r[1] == subject && r[0] != "target_tracking").map(|r| r[2].clone()).collect()
    }

    fn stopped_by(&self, code: &str) -> usize {
        self.rows("tasks.csv", &["stop_code"]).iter().filter(|r| r[0] == code).count()
    }

    fn running_at_the_end(&self) -> f64 {
        number(&self.rows("services.csv", &["running"]).last().expect("a row")[0])
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

const OUTAGE: &str = "[faults.dark]\ntype = \"zone_outage\"\nat = \"5m\"\nduration = \"5m\"\nzones = [1]\n";

#[test]
fn an_outage_loses_the_zone_until_its_targets_are_unhealthy_and_the_others_take_over() {
    let o = with(&format!("{OUTAGE}dns_failover = \"0s\"\n"));
    // A third of 60 a second, for two failed checks of five seconds and their time-out.
    let lost = o.sum("failed", 300.0, 330.0);
    assert!((100.0..=320.0).contains(&lost), "{lost}");
    assert_eq!(o.sum("failed", 0.0, 300.0) + o.sum("failed", 330.0, 900.0), 0.0);
    assert!(o.sum("succeeded", 330.0, 600.0) > 0.95 * 60.0 * 270.0);
    assert_eq!(o.steps("dark"), ["begins", "noticed", "ends"]);
    // Replacements go to the other zones, and come back when the zone does.
    let tasks = o.rows("tasks.csv", &["zone", "decided_s", "started_by", "running_s"]);
    let started = |from: f64, to: f64| tasks.iter().filter(move |t| (from..to).contains(&number(&t[1])));
    assert!(started(300.0, 600.0).count() >= 2);
    assert!(started(300.0, 600.0).all(|t| t[0] != "b"), "{tasks:?}");
    assert!(started(600.0, 900.0).any(|t| t[0] == "b" && t[2] == "rebalancing"), "{tasks:?}");
    assert_eq!(o.stopped_by("InfrastructureHealth") + o.stopped_by("ServiceSchedulerInitiated (unhealthy)"), 2);
    assert_eq!(o.running_at_the_end(), 6.0);
    // The summary knows the fault, and the incident begins with its detection.
    let f = &o.summary.faults[0];
    assert_eq!((f.name.as_str(), f.kind.as_str(), f.start_s, f.end_s), ("dark", "zone_outage", 300.0, Some(600.0)));
    let i = &o.summary.incidents[0];
    assert!(i.links.detection_s > 5.0 && i.links.unattributed_s < 1.0, "{i:?}");
}

#[test]
fn connections_to_lost_balancer_nodes_fail_until_dns_leaves_them_out() {
    let o = with(&format!("{OUTAGE}dns_failover = \"90s\"\n"));
    let third = 60.0 * 90.0 / 3.0;
    let lost = o.sum("failed", 300.0, 400.0);
    assert!((0.9 * third..1.4 * third).contains(&lost), "{lost}");
    assert_eq!(o.sum("failed", 410.0, 900.0), 0.0);
    assert_eq!(o.steps("dark"), ["begins", "dns_failover", "noticed", "ends"]);
    // Nobody at the balancer saw most of them.
    let seen: u64 = o.summary.services["web"].requests.balancer_errors.values().sum();
    assert!((seen as f64) < 0.4 * lost, "{seen} of {lost}");
}

#[test]
fn tasks_that_were_only_cut_off_come_back() {
    let o = changed(
        "interval = \"5s\"",
        "interval = \"30s\"",
        "[faults.cut]\ntype = \"zone_outage\"\nat = \"5m\"\nduration = \"20s\"\nzones = [2]\nloss = \"network\"\ndns_failover = \"0s\"\n",
    );
    assert_eq!(o.summary.services["web"].scaling.tasks_stopped, 0);
    assert!(o.sum("failed", 300.0, 330.0) > 200.0);
    assert_eq!(o.sum("failed", 340.0, 900.0), 0.0);
}

#[test]
fn a_shortage_follows_an_outage_and_shows_as_waiting_for_capacity() {
    let o = with(&format!("{OUTAGE}dns_failover = \"0s\"\nshortage = 1.0\nshortage_duration = \"4m\"\n"));
    assert_eq!(o.steps("dark"), ["begins", "noticed", "shortage_ends", "ends"]);
    let d = o.diagnosis(DiagnosisKind::CapacityUnavailable);
    assert!(d.count >= 8 && !d.advice.is_empty(), "{d:?}");
    let running = o.rows("tasks.csv", &["decided_s", "running_s"]);
    let replaced: Vec<f64> =
        running.iter().filter(|t| number(&t[0]) > 300.0 && number(&t[0]) < 540.0).map(|t| number(&t[1])).collect();
    assert!(!replaced.is_empty() && replaced.iter().all(|at| *at > 540.0), "{replaced:?}");
}

#[test]
fn a_zonal_shift_moves_traffic_and_loses_nothing() {
    let o = with("[faults.away]\ntype = \"zonal_shift\"\nat = \"0s\"\nduration = \"14m\"\nzone = 0\n");
    assert_eq!(o.summary.services["web"].requests.failed, 0);
    let used = |zone: &str| -> f64 {
        let rows = o.rows("tasks.csv", &["zone", "cpu_used_s"]);
        rows.iter().filter(|t| t[0] == zone).map(|t| number(&t[1])).sum()
    };
    assert!(used("a") < 0.2 * used("b"), "{} {}", used("a"), used("b"));
    assert_eq!(o.summary.services["web"].scaling.tasks_stopped, 0);
}

const SLOW: &str = "[faults.grey]\ntype = \"slow_zone\"\nat = \"3m\"\nduration = \"9m\"\nzones = [1]\n\
                    latency = \"300ms\"\nerror_rate = 0.2\ncpu_speed = 0.5\n";

#[test]
fn a_slow_zone_is_slow_until_it_is_over_and_health_checks_do_not_mind() {
    let o = with(SLOW);
    assert!(o.mean("latency_p99_ms", 0.0, 180.0) < 200.0);
    assert!(o.mean("latency_p99_ms", 190.0, 720.0) > 300.0);
    assert!(o.mean("latency_p99_ms", 740.0, 900.0) < 200.0);
    let errors = o.sum("target_5xx", 180.0, 720.0) / o.sum("attempts", 180.0, 720.0);
    assert!((0.05..0.085).contains(&errors), "{errors}");
    assert_eq!(o.sum("target_5xx", 740.0, 900.0), 0.0);
    assert_eq!(o.summary.services["web"].scaling.tasks_stopped, 0);
}

#[test]
fn autoshift_leaves_a_slow_zone_and_comes_back() {
    let shift = "[services.web.load_balancer]\nzonal_autoshift = \"ENABLED\"\nzonal_autoshift_delay = \"2m\"";
    let o = changed("[services.web.load_balancer]", shift, SLOW);
    assert_eq!(o.steps("grey"), ["begins", "shifted", "ends"]);
    assert!(o.sum("target_5xx", 180.0, 300.0) > 0.0);
    assert_eq!(o.sum("target_5xx", 310.0, 720.0), 0.0);
    assert!(o.mean("latency_p99_ms", 320.0, 720.0) < 200.0);
}

#[test]
fn machines_fail_and_their_tasks_are_replaced() {
    let o = with("[faults.broken]\ntype = \"node_failure\"\nat = \"5m\"\ncount = 2\nnoticed_after = \"20s\"\n");
    assert_eq!(o.diagnosis(DiagnosisKind::MachinesLost).count, 2);
    assert_eq!(o.running_at_the_end(), 6.0);
    assert_eq!(o.steps("broken"), ["begins", "noticed"]);
    let o = with("[faults.all]\ntype = \"node_failure\"\nat = \"5m\"\nshare = 1.0\n");
    assert!(o.sum("succeeded", 310.0, 320.0) == 0.0 && o.running_at_the_end() == 6.0);
}

const GROW: &str = "[actions.grow]\ntype = \"desired_count\"\nat = \"5m\"\nservice = \"web\"\ndesired_count = 8\n";

#[test]
fn pulls_fail_while_the_registry_is_down_and_the_throttle_spaces_the_tries() {
    let o = with(&format!("{GROW}[faults.registry]\ntype = \"pull_failure\"\nat = \"4m\"\nduration = \"5m\"\n"));
    let d = o.diagnosis(DiagnosisKind::FailedPulls);
    assert!(d.count >= 4 && d.evidence.contains("CannotPullContainerError"), "{d:?}");
    o.diagnosis(DiagnosisKind::RestartThrottle);
    let reasons = o.rows("tasks.csv", &["stop_reason", "pull_started_s", "stopped_s"]);
    let failed = reasons.iter().find(|r| r[0].starts_with("CannotPull")).expect("one failed");
    assert!(number(&failed[2]) - number(&failed[1]) >= 15.0, "five tries of three seconds");
    // Half of the tries fail: five of them are almost always enough.
    let half = with(&format!(
        "{GROW}[faults.registry]\ntype = \"pull_failure\"\nat = \"4m\"\nduration = \"5m\"\nshare = 0.5\n"
    ));
    assert_eq!(half.running_at_the_end(), 8.0);
}

#[test]
fn slow_pulls_take_longer() {
    let pull = |more: &str| {
        let o = with(&format!("{GROW}{more}"));
        let rows = o.rows("tasks.csv", &["decided_s", "pull_started_s", "pull_stopped_s"]);
        let task = rows.iter().find(|t| number(&t[0]) >= 300.0).expect("one was started").clone();
        number(&task[2]) - number(&task[1])
    };
    let fast = pull("");
    let slow = pull("[faults.slow]\ntype = \"slow_pull\"\nat = \"4m\"\nduration = \"5m\"\nbandwidth_factor = 0.1\n");
    assert!((slow / fast - 10.0).abs() < 0.1, "{slow} {fast}");
}

#[test]
fn a_dependency_is_slow_for_a_time() {
    let o = with(
        "[faults.db]\ntype = \"dependency_slowdown\"\nat = \"5m\"\nduration = \"5m\"\nservice = \"web\"\n\
         wait_factor = 10\nerror_rate = 0.1\n",
    );
    assert!(o.mean("latency_p50_ms", 0.0, 300.0) < 60.0);
    assert!(o.mean("latency_p50_ms", 310.0, 600.0) > 200.0);
    assert!(o.mean("latency_p50_ms", 620.0, 900.0) < 60.0);
    let errors = o.sum("target_5xx", 300.0, 600.0) / o.sum("attempts", 300.0, 600.0);
    assert!((0.08..0.12).contains(&errors), "{errors}");
}

#[test]
fn a_smaller_quota_holds_launches_back_until_it_is_over() {
    let o = with(&format!(
        "{GROW}[faults.small]\ntype = \"quota\"\nat = \"4m\"\nduration = \"5m\"\nfargate_on_demand_vcpus = 3\n"
    ));
    let d = o.diagnosis(DiagnosisKind::QuotaReached);
    assert_eq!(d.since_s, Some(300.0));
    let rows = o.rows("tasks.csv", &["decided_s", "running_s"]);
    assert!(rows.iter().filter(|t| number(&t[0]) >= 300.0).all(|t| number(&t[1]) > 540.0), "{rows:?}");
    assert_eq!(o.running_at_the_end(), 8.0);
}

#[test]
fn addresses_run_out_and_launches_wait() {
    let subnets = "[cluster]\nsubnets.addresses_per_zone = 3";
    let o = changed(
        "[cluster]",
        subnets,
        &format!("{GROW}[faults.others]\ntype = \"subnet_addresses\"\nat = \"1m\"\nduration = \"9m\"\ntaken = 1\n"),
    );
    let d = o.diagnosis(DiagnosisKind::AddressesExhausted);
    assert!(d.evidence.contains("3 a zone"), "{d:?}");
    let rows = o.rows("tasks.csv", &["decided_s", "running_s"]);
    assert!(rows.iter().filter(|t| number(&t[0]) >= 300.0).all(|t| number(&t[1]) > 600.0), "{rows:?}");
    assert_eq!(o.running_at_the_end(), 8.0);
    // One zone's subnet is full: the launch goes to another one.
    let o = changed(
        "[cluster]",
        subnets,
        &format!(
            "{GROW}[faults.others]\ntype = \"subnet_addresses\"\nat = \"1m\"\nduration = \"9m\"\ntaken = 1\nzones = [0]\n"
        ),
    );
    let rows = o.rows("tasks.csv", &["decided_s", "zone", "running_s"]);
    let new: Vec<_> = rows.iter().filter(|t| number(&t[0]) >= 300.0).collect();
    assert!(new.iter().all(|t| t[1] != "a" && number(&t[2]) < 400.0), "{new:?}");
}

const SCALING: &str = "[services.web.scaling]\nmin_capacity = 6\nmax_capacity = 20\n\
                       [services.web.scaling.policies.cpu]\ntype = \"target_tracking\"\n\
                       predefined_metric_type = \"ECSServiceAverageCPUUtilization\"\ntarget_value = 50\n";

#[test]
fn without_metrics_nothing_scales() {
    let surge = "rate = [{ at = \"0s\", rps = 60 }, { at = \"4m\", rps = 60 }, { at = \"4m\", rps = 280 }]";
    let base = BASE.replace("rate = [{ at = \"0s\", rps = 60 }]", surge).replace("15m", "30m");
    let seeing = simulate(&format!("{base}{SCALING}"));
    assert!(seeing.summary.services["web"].scaling.scale_outs > 0);
    let blind = simulate(&format!(
        "{base}{SCALING}[faults.blind]\ntype = \"metric_gap\"\nat = \"3m\"\nduration = \"60m\"\nservices = [\"web\"]\n\
         metrics = [\"CPUUtilization\"]\n"
    ));
    assert_eq!(blind.summary.services["web"].scaling.scale_outs, 0);
    blind.diagnosis(DiagnosisKind::ScalingWithoutData);
}

#[test]
fn health_checks_that_fail_for_nothing_have_tasks_replaced() {
    let o = with(
        "[faults.flap]\ntype = \"health_check_failure\"\nat = \"5m\"\nduration = \"2m\"\nzones = [0]\nshare = 1.0\n",
    );
    assert!(o.diagnosis(DiagnosisKind::UnhealthyService).count >= 2);
    assert_eq!(o.running_at_the_end(), 6.0);
    assert_eq!(o.summary.services["web"].requests.failed, 0, "the others serve");
}

#[test]
fn capacity_is_short_for_spot_and_on_demand() {
    let shortage =
        "[faults.short]\ntype = \"capacity_shortage\"\nat = \"4m\"\nduration = \"5m\"\ncapacities = [\"f\"]\n";
    let o = with(&format!("{GROW}{shortage}"));
    assert!(o.diagnosis(DiagnosisKind::CapacityUnavailable).count > 4);
    assert_eq!(o.running_at_the_end(), 8.0);
    let o = changed("type = \"fargate\"", "type = \"fargate_spot\"", &format!("{GROW}{shortage}"));
    assert!(o.diagnosis(DiagnosisKind::SpotUnavailable).evidence.contains("Spot"));
}

#[test]
fn random_faults_strike_again_and_do_not_move_one_another() {
    let random = "[faults.often]\ntype = \"health_check_failure\"\nmean_time_between = \"90s\"\nduration = \"5s\"\nshare = 0.1\n";
    let one = with(random);
    let other = with(&format!(
        "{random}[faults.later]\ntype = \"slow_pull\"\nmean_time_between = \"3m\"\nduration = \"20s\"\n"
    ));
    let times = |o: &Outcome| -> Vec<f64> {
        o.summary.faults.iter().filter(|f| f.name == "often").map(|f| f.start_s).collect()
    };
    assert!((3..=25).contains(&times(&one).len()), "{:?}", times(&one));
    assert_eq!(times(&one), times(&other));
    assert!(times(&one).windows(2).all(|w| w[1] > w[0] + 5.0));
}

#[test]
fn what_has_no_effect_or_no_meaning_is_refused() {
    for (text, message) in [
        ("type = \"zone_outage\"\nduration = \"5m\"\nzones = [1]\n", "neither"),
        ("type = \"zone_outage\"\nat = \"1m\"\nmean_time_between = \"1h\"\nduration = \"5m\"\nzones = [1]\n", "either"),
        ("type = \"zone_outage\"\nat = \"1m\"\nduration = \"5m\"\nzones = [7]\n", "no zone 7"),
        ("type = \"zone_outage\"\nat = \"1m\"\nduration = \"5m\"\nzones = []\n", "no zone is named"),
        ("type = \"quota\"\nat = \"1m\"\nduration = \"5m\"\n", "no quota"),
        ("type = \"subnet_addresses\"\nat = \"1m\"\nduration = \"5m\"\ntaken = 3\n", "no limit"),
        ("type = \"metric_gap\"\nat = \"1m\"\nduration = \"5m\"\nservices = [\"wbe\"]\n", "no service `wbe`"),
        ("type = \"dependency_slowdown\"\nat = \"1m\"\nduration = \"5m\"\nwait_factor = 2\n", "either"),
        ("type = \"node_failure\"\nat = \"1m\"\ncount = 1\nshare = 0.5\n", "either"),
        ("type = \"zone_outage\"\nat = \"1m\"\nduration = \"0s\"\nzones = [0]\n", "longer than 0"),
    ] {
        let text = format!("{BASE}[faults.x]\n{text}");
        let found = common::refused(&text);
        assert!(found.contains(message), "{message}: {found}");
    }
}

// Diagnoses that no fault is needed for.

#[test]
fn tasks_that_are_killed_while_they_start_are_told_apart() {
    let slow =
        BASE.replace("startup = \"5s\"", "startup = \"60s\"").replace("period_seconds = 60", "period_seconds = 0");
    let o = simulate(&format!("{slow}{GROW}"));
    let d = o.diagnosis(DiagnosisKind::KilledWhileStarting);
    assert!(d.evidence.contains("grace period is 0 s") && d.advice.contains("grace"), "{d:?}");
}

#[test]
fn exits_and_lack_of_memory_are_named() {
    let o = with(
        "[actions.ship]\ntype = \"deploy\"\nat = \"3m\"\nservice = \"web\"\nrevision = { crashes_after = \"30s\" }\n",
    );
    assert!(o.diagnosis(DiagnosisKind::RepeatedRestarts).count >= 3);
    let o = changed("wait = \"20ms\"", "wait = \"200ms\"\nmemory = \"400 MB\"", "");
    o.diagnosis(DiagnosisKind::OutOfMemory);
}

#[test]
fn a_deployment_says_what_it_is_stuck_for() {
    let ship =
        "[actions.ship]\ntype = \"deploy\"\nat = \"2m\"\nservice = \"web\"\nrevision = { fails_to_start = 1.0 }\n";
    let o = with(ship);
    o.diagnosis(DiagnosisKind::FailedStarts);
    let d = o.diagnosis(DiagnosisKind::DeploymentStuck);
    assert!(d.evidence.starts_with("revision 2 does not go on"), "{d:?}");
    let o = changed(
        "[cluster]",
        "[cluster]\nsubnets.addresses_per_zone = 2",
        "[actions.ship]\ntype = \"deploy\"\nat = \"2m\"\nservice = \"web\"\n\
         [services.web.ecs.deployment_configuration]\nminimum_healthy_percent = 100\nmaximum_percent = 150\n",
    );
    let d = o.diagnosis(DiagnosisKind::DeploymentStuck);
    assert!(d.evidence.contains("no address is free"), "{d:?}");
}

#[test]
fn scaling_that_does_not_happen_says_why() {
    let surge = "rate = [{ at = \"0s\", rps = 60 }, { at = \"4m\", rps = 60 }, { at = \"4m\", rps = 320 }]";
    let base = BASE.replace("rate = [{ at = \"0s\", rps = 60 }]", surge).replace("15m", "30m");
    let suspended = "[actions.hold]\ntype = \"suspend_scaling\"\nat = \"1m\"\nservice = \"web\"\n\
                     suspended = { dynamic_scaling_out_suspended = true }\n";
    let o = simulate(&format!("{base}{SCALING}{suspended}"));
    let d = o.diagnosis(DiagnosisKind::ScalingBlocked);
    assert!(d.evidence.contains("suspended") && d.since_s.is_some_and(|at| at > 240.0), "{d:?}");
    let o = simulate(&format!("{base}{}", SCALING.replace("max_capacity = 20", "max_capacity = 7")));
    assert!(o.diagnosis(DiagnosisKind::AtMaximumCapacity).evidence.contains("maximum of 7"));
    // The CPU is not what fails: requests wait for a dependency that errs.
    let o = with(&format!(
        "{SCALING}[faults.db]\ntype = \"dependency_slowdown\"\nat = \"2m\"\nduration = \"12m\"\nservice = \"web\"\nerror_rate = 0.3\n"
    ));
    assert!(o.diagnosis(DiagnosisKind::ScalingSilent).advice.contains("scale on what"));
}

#[test]
fn every_diagnosis_says_since_when() {
    let o = with(&format!("{OUTAGE}shortage = 1.0\n"));
    for d in &o.summary.diagnoses {
        assert!(d.since_s.is_some() && d.count > 0 && !d.advice.is_empty(), "{d:?}");
    }
}

/// A few faults at once.
fn faults() -> impl Strategy<Value = Vec<(usize, u32, u32, u32)>> {
    prop::collection::vec((0..11_usize, 30..700_u32, 5..400_u32, 0..3_u32), 1..5)
}

fn fault_text(index: usize, &(kind, at, lasts, zone): &(usize, u32, u32, u32)) -> String {
    let when =
        if zone == 2 && kind % 2 == 0 { format!("mean_time_between = \"{at}s\"") } else { format!("at = \"{at}s\"") };
    let long = format!("duration = \"{lasts}s\"");
    let mut t = String::new();
    let _ = writeln!(t, "[faults.f{index}]\n{when}");
    let rest = match kind {
        0 => format!(
            "type = \"zone_outage\"\n{long}\nzones = [{zone}]\nshortage = 0.5\nnoticed_after = \"{}s\"",
            lasts / 2
        ),
        1 => format!("type = \"zone_outage\"\n{long}\nzones = [{zone}]\nloss = \"network\""),
        2 => format!(
            "type = \"slow_zone\"\n{long}\nzones = [{zone}]\ncpu_speed = 0.2\nlatency = \"3s\"\nerror_rate = 0.1"
        ),
        3 => format!("type = \"zonal_shift\"\n{long}\nzone = {zone}"),
        4 => format!("type = \"node_failure\"\nshare = 0.5\nnoticed_after = \"{}s\"", lasts / 4),
        5 => format!("type = \"capacity_shortage\"\n{long}"),
        6 => format!("type = \"pull_failure\"\n{long}\nshare = 0.8"),
        7 => format!("type = \"dependency_slowdown\"\n{long}\nservice = \"web\"\nwait_factor = 30"),
        8 => format!("type = \"quota\"\n{long}\nfargate_on_demand_vcpus = 2\nfargate_launch_rate = 0.1"),
        9 => format!("type = \"subnet_addresses\"\n{long}\ntaken = 4"),
        _ => format!("type = \"health_check_failure\"\n{long}\nshare = 0.6"),
    };
    t + &rest + "\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn faults_of_every_kind_keep_the_promises(
        list in faults(), seed in 0..1_000_u32, algorithm in 0..2_usize, calls in any::<bool>(), retries in 0..3_u32,
    ) {
        let mut text = BASE
            .replace("[cluster]", "[cluster]\nsubnets.addresses_per_zone = 5")
            .replace("duration = \"15m\"", &format!("duration = \"15m\"\nseed = {seed}"))
            .replace("timeout = \"1s\"", &format!("timeout = \"1s\"\nretries = {retries}"))
            .replace(
                "[services.web.load_balancer]",
                &format!(
                    "[services.web.load_balancer]\nzonal_autoshift = \"ENABLED\"\nalgorithm = \"{}\"",
                    ["round_robin", "least_outstanding_requests"][algorithm]
                ),
            );
        if calls {
            text += "[services.web.calls.back]\ntimeout = \"2s\"\n\
                     [services.back]\ndesired_count = 3\ncapacity.f = { weight = 1 }\nload_balancer = {}\n\
                     [services.back.task]\ncpu = 512\nmemory = \"1 GB\"\nstartup = \"5s\"\n\
                     [services.back.requests.q]\ncpu_time = \"2ms\"\nwait = \"10ms\"\n";
        }
        for (i, fault) in list.iter().enumerate() {
            text += &fault_text(i, fault);
        }
        let o = simulate(&text);
        prop_assert_eq!(o.summary.to_json(), simulate(&text).summary.to_json());
        for f in &o.summary.faults {
            prop_assert!(f.end_s.is_none_or(|end| end >= f.start_s) && !f.text.is_empty());
        }
        // A start never exceeds the maximum, and what is not lost stays: the door has refused nothing.
        let rows = o.rows("services.csv", &["running", "pending"]);
        prop_assert!(rows.iter().all(|r| number(&r[0]) + number(&r[1]) <= 12.0));
    }
}
