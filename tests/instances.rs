//! Whole runs on EC2 instances: scaling from nothing, draining, Spot, warm pools, packing.

mod common;

use common::{Outcome, Row, simulate};

fn number(row: &Row, column: &str) -> f64 {
    common::number(row, column).unwrap_or_else(|| panic!("`{column}` of {row:?} is no number"))
}

/// One service of small tasks on one group; what is appended comes last.
fn scenario(duration: &str, desired: u32, group: &str, service: &str, rest: &str) -> String {
    format!(
        "[simulation]\nduration = \"{duration}\"\nseed = 7\n\
         [capacity.fleet]\ntype = \"ec2\"\ninstance_types = [\"m6i.large\"]\n{group}\n\
         [services.web]\ndesired_count = {desired}\ncapacity.fleet = {{ weight = 1 }}\n\
         [services.web.task]\ncpu = 512\nmemory = \"1 GB\"\nimage.size = \"200 MB\"\nstartup = \"5s\"\n{service}\n{rest}"
    )
}

#[test]
fn from_no_instance_two_come_first() {
    let text = scenario(
        "20m",
        0,
        "max_size = 10",
        "",
        "[actions.grow]\ntype = \"desired_count\"\nat = \"90s\"\nservice = \"web\"\ndesired_count = 12\n",
    );
    let outcome = simulate(&text);
    let capacity = outcome.all("capacity.csv");
    assert_eq!(number(&capacity[0], "desired"), 0.0);
    let first = capacity.iter().find(|r| number(r, "desired") > 0.0).expect("it scales out");
    assert_eq!(number(first, "desired"), 2.0);
    // Two interfaces for tasks on an m6i.large: six instances for twelve tasks.
    let last = capacity.last().expect("rows");
    assert_eq!((number(last, "active"), number(last, "tasks"), number(last, "waiting_tasks")), (6.0, 12.0, 0.0));
    for task in outcome.all("tasks.csv") {
        assert!(!task["node"].is_empty() && number(&task, "pending_s") >= 90.0);
    }
}

fn at(row: &Row) -> f64 {
    number(row, "time_s")
}

fn diagnosed(outcome: &Outcome, kind: &str) -> bool {
    outcome.summary.diagnoses.iter().any(|d| d.kind.name() == kind)
}

#[test]
fn scale_in_begins_after_a_quarter_of_an_hour_and_takes_the_empty_ones() {
    let text = scenario(
        "45m",
        12,
        "max_size = 10\nmanaged_termination_protection = \"ENABLED\"",
        "",
        "[services.web.ecs]\nplacement_strategy = [{ type = \"binpack\", field = \"cpu\" }]\n\
         [actions.shrink]\ntype = \"desired_count\"\nat = \"2m\"\nservice = \"web\"\ndesired_count = 2\n",
    );
    let outcome = simulate(&text);
    let capacity = outcome.all("capacity.csv");
    assert_eq!(number(&capacity[0], "active"), 6.0);
    let first = capacity.iter().find(|r| number(r, "desired") < 6.0).expect("it scales in");
    assert!((900.0..1200.0).contains(&at(first)), "{first:?}");
    // By half of the group at most each time, down to what the two tasks need.
    let steps: Vec<f64> = capacity.iter().map(|r| number(r, "desired")).collect();
    assert!(steps.windows(2).all(|w| w[1] >= (w[0] / 2.0).floor()), "{steps:?}");
    let last = capacity.last().expect("rows");
    assert_eq!((number(last, "active"), number(last, "tasks")), (1.0, 2.0));
    // Protected instances stay: no task dies with one.
    assert!(outcome.all("tasks.csv").iter().all(|t| t["stop_code"] != "TerminationNotice"));
    let nodes = outcome.all("nodes.csv");
    assert_eq!(nodes.iter().filter(|n| n["end_reason"] == "scale_in").count(), 5);
    assert!(nodes.iter().all(|n| number(n, "cost_usd") > 0.0));
    // An instance that is shutting down is not billed any more.
    for gone in nodes.iter().filter(|n| n["end_reason"] == "scale_in") {
        assert!(number(gone, "terminated_s") >= number(gone, "billed_until_s") + 20.0, "{gone:?}");
    }
}

#[test]
fn surplus_credits_of_an_instance_that_still_runs_are_billed() {
    // One vCPU of work all the time on a t3.medium, which earns 0.4; T3 is unlimited.
    let text = scenario("20m", 1, "max_size = 1", "cpu_hard_limit = false", "").replace("m6i.large", "t3.medium")
        + "[services.web.requests.page]\ncpu_time = \"25ms\"\n[services.web.traffic]\nrate = [{ at = \"0s\", rps = 40 }]\n";
    let outcome = simulate(&text);
    let credits = outcome.summary.cost.items.iter().find(|i| i.item == "cpu_credits").expect("they are on the bill");
    assert!((credits.quantity - 0.6 / 3.0).abs() < 0.01, "{credits:?}");
    let rows: f64 =
        outcome.all("costs.csv").iter().filter(|r| r["item"] == "cpu_credits").map(|r| number(r, "cost_usd")).sum();
    assert!((rows - credits.cost_usd).abs() < 1e-6 && rows > 0.0, "{rows}");
}

const SPOT: &str = "min_size = 6\nmax_size = 20\nmixed_instances = { on_demand_percentage_above_base_capacity = 0 }\n\
                    spot = { interruptions = { source = \"none\" }, events = [{ at = \"5m\", share = 0.5 }] }";

fn traffic() -> &'static str {
    "[services.web.requests.page]\ncpu_time = \"5ms\"\n[services.web.traffic]\nrate = [{ at = \"0s\", rps = 40 }]\n\
     [services.web.load_balancer]\nderegistration_delay = \"20s\"\nhealth_check = { interval = \"5s\", timeout = \"2s\" }\n"
}

#[test]
fn without_draining_a_notice_ends_in_lost_requests() {
    let group = format!("{SPOT}\nmanaged_draining = \"DISABLED\"");
    let outcome = simulate(&scenario("15m", 8, &group, "", traffic()));
    let lost: Vec<Row> =
        outcome.all("tasks.csv").into_iter().filter(|t| t["stop_code"] == "SpotInterruption").collect();
    assert!(!lost.is_empty());
    for task in &lost {
        // They ran until the instance was gone, two minutes after the notice.
        assert!((number(task, "execution_stopped_s") - 420.0).abs() < 1e-6, "{task:?}");
    }
    assert!(outcome.all("nodes.csv").iter().any(|n| n["end_reason"] == "spot_interruption" && n["market"] == "spot"));
    let last = outcome.all("services.csv").pop().expect("rows");
    assert_eq!(number(&last, "running"), 8.0, "the group replaced the instances");
}

#[test]
fn draining_moves_tasks_before_the_notice_is_over() {
    // Spare instances: replacements start at once, and the minimum of 100 % holds all the time.
    let outcome = simulate(&scenario("15m", 6, SPOT, "", traffic()));
    let tasks = outcome.all("tasks.csv");
    assert!(tasks.iter().all(|t| t["stop_code"] != "SpotInterruption"), "nothing was cut off");
    assert!(tasks.iter().any(|t| t["stop_reason"] == "Its container instance is DRAINING"));
    for row in outcome.all("services.csv") {
        assert!(number(&row, "healthy") >= 6.0, "{row:?}");
        assert_eq!(number(&row, "failed"), 0.0, "{row:?}");
    }
}

#[test]
fn a_warm_pool_is_faster_than_a_launch() {
    let ready = |group: &str| {
        let grow = "[actions.grow]\ntype = \"desired_count\"\nat = \"90s\"\nservice = \"web\"\ndesired_count = 8\n";
        let outcome = simulate(&scenario("15m", 4, group, "", grow));
        let capacity = outcome.all("capacity.csv");
        let row = capacity.iter().find(|r| number(r, "tasks") >= 8.0).expect("all are placed");
        (at(row), number(&capacity[0], "warmed"))
    };
    let (cold, none) = ready("max_size = 4");
    let launch = "launch = { boot = \"90s\" }";
    let (slow, _) = ready(&format!("max_size = 4\n{launch}"));
    let (warm, pool) = ready(&format!("max_size = 4\n{launch}\nwarm_pool = {{ pool_state = \"Stopped\" }}"));
    assert_eq!((none, pool), (0.0, 2.0));
    assert!(cold < slow && warm < slow, "cold {cold}, slow {slow}, warm {warm}");
}

#[test]
fn what_finds_no_room_is_named() {
    let text = scenario("25m", 6, "max_size = 2", "", "");
    let outcome = simulate(&text);
    assert!(diagnosed(&outcome, "tasks unplaceable") && diagnosed(&outcome, "capacity provider at its maximum"));
    let evidence = &outcome.summary.diagnoses.iter().find(|d| d.kind.name() == "tasks unplaceable").expect("named");
    assert!(evidence.evidence.contains("RESOURCE:ENI"), "{}", evidence.evidence);
    // After a quarter of an hour ECS gives up, and the scheduler tries again.
    let given_up: Vec<Row> =
        outcome.all("tasks.csv").into_iter().filter(|t| t["stop_code"] == "TaskFailedToStart").collect();
    assert!(!given_up.is_empty() && given_up.iter().all(|t| t["node"].is_empty()));
    assert_eq!(number(&given_up[0], "stopped_s"), 900.0);
    let last = outcome.all("services.csv").pop().expect("rows");
    assert_eq!(number(&last, "running"), 4.0);
}

#[test]
fn launches_without_capacity_are_tried_again() {
    let group = "max_size = 4\noutages = [{ at = \"0s\", duration = \"6m\" }]";
    let grow = "[actions.grow]\ntype = \"desired_count\"\nat = \"90s\"\nservice = \"web\"\ndesired_count = 6\n";
    let outcome = simulate(&scenario("15m", 2, group, "", grow));
    assert!(diagnosed(&outcome, "capacity unavailable"));
    let capacity = outcome.all("capacity.csv");
    assert!(capacity.iter().filter(|r| at(r) < 350.0).all(|r| number(r, "active") <= 1.0));
    assert_eq!(number(capacity.last().expect("rows"), "active"), 3.0);
}

#[test]
fn a_daemon_runs_once_on_each_instance() {
    let text = scenario(
        "20m",
        4,
        "max_size = 8",
        "",
        "[services.agent]\ncapacity.fleet = { weight = 1 }\n[services.agent.task]\ncpu = 128\nmemory = \"256 MiB\"\n\
         network_mode = \"host\"\n[services.agent.ecs]\nscheduling_strategy = \"DAEMON\"\n\
         deployment_configuration = { maximum_percent = 100, minimum_healthy_percent = 0 }\n\
         [actions.grow]\ntype = \"desired_count\"\nat = \"90s\"\nservice = \"web\"\ndesired_count = 10\n",
    );
    let outcome = simulate(&text);
    let tasks = outcome.all("tasks.csv");
    let daemons: Vec<&Row> = tasks.iter().filter(|t| t["service"] == "agent").collect();
    let nodes: std::collections::BTreeSet<&str> = daemons.iter().map(|t| t["node"].as_str()).collect();
    assert_eq!((daemons.len(), nodes.len()), (5, 5), "{daemons:?}");
}

#[test]
fn managed_instances_come_with_the_tasks_and_go_when_idle() {
    let text = "[simulation]\nduration = \"40m\"\n[capacity.fleet]\ntype = \"managed_instances\"\n\
        instance_requirements = { allowed_instance_types = [\"m6i.*\", \"c6i.*\"] }\n\
        infrastructure_optimization = { scale_in_after = 120 }\n\
        [services.web]\ndesired_count = 2\ncapacity.fleet = { weight = 1 }\n\
        [services.web.task]\ncpu = 512\nmemory = \"1 GB\"\n\
        [actions.grow]\ntype = \"desired_count\"\nat = \"2m\"\nservice = \"web\"\ndesired_count = 12\n\
        [actions.shrink]\ntype = \"desired_count\"\nat = \"15m\"\nservice = \"web\"\ndesired_count = 0\n";
    let outcome = simulate(text);
    let capacity = outcome.all("capacity.csv");
    let most = capacity.iter().map(|r| number(r, "tasks") as u32).max();
    assert_eq!(most, Some(12));
    assert_eq!(number(capacity.last().expect("rows"), "active"), 0.0);
    let nodes = outcome.all("nodes.csv");
    assert!(!nodes.is_empty() && nodes.iter().all(|n| n["end_reason"] == "idle"), "{nodes:?}");
}

#[test]
fn equal_seeds_give_equal_rows_and_money_has_an_owner() {
    let text = scenario("20m", 6, SPOT, "cpu_hard_limit = false", traffic());
    let (one, two) = (simulate(&text), simulate(&text));
    assert_eq!(one.summary.facts_hash, two.summary.facts_hash);
    for file in ["nodes.csv", "capacity.csv", "tasks.csv", "costs.csv", "decisions.jsonl"] {
        let read = |o: &Outcome| std::fs::read(o.folder.path().join(file)).expect("the file is there");
        assert!(read(&one) == read(&two), "{file} differs");
    }
    let total: f64 = one.summary.cost.by_service.values().sum();
    assert!((total - one.summary.cost.total_usd).abs() < 1e-6, "{:?}", one.summary.cost.by_service);
    for node in one.all("nodes.csv") {
        for share in ["cpu_reserved_peak_pct", "memory_reserved_peak_pct", "cpu_reserved_pct"] {
            assert!(node[share].is_empty() || number(&node, share) <= 100.0, "{node:?}");
        }
    }
}

/// What the decision log says of a fault, in order.
fn steps(outcome: &Outcome, fault: &str) -> Vec<String> {
    let subject = format!("faults.{fault}");
    outcome.all("decisions.csv").iter().filter(|r| r["subject"] == subject).map(|r| r["reason"].clone()).collect()
}

/// When the service has so many healthy tasks again, after having had fewer.
fn recovered(outcome: &Outcome, tasks: f64) -> f64 {
    let rows = outcome.all("services.csv");
    let fewer = rows.iter().position(|r| number(r, "healthy") < tasks).expect("some were lost");
    rows[fewer..].iter().find(|r| number(r, "healthy") >= tasks).map_or(f64::INFINITY, at)
}

fn failed_between(outcome: &Outcome, from: f64, to: f64) -> f64 {
    outcome.all("services.csv").iter().filter(|r| (from..to).contains(&at(r))).map(|r| number(r, "failed")).sum()
}

const WATCHED: &str = "[services.web.client]\ntimeout = \"1s\"\n[objectives.web]\navailability = \">= 99.9 %\"\n";

#[test]
fn a_failed_instance_is_replaced_and_so_are_its_tasks() {
    let fault = "[faults.broken]\ntype = \"node_failure\"\nat = \"5m\"\nnoticed_after = \"30s\"\n";
    let rest = format!("{}{WATCHED}{fault}", traffic());
    let outcome = simulate(&scenario("20m", 6, "max_size = 6", "", &rest));
    assert_eq!(steps(&outcome, "broken"), ["begins", "noticed"]);
    // Three instances of two tasks each; one is gone, billed until its group knew, and another one has come.
    let nodes = outcome.all("nodes.csv");
    let broken: Vec<&Row> = nodes.iter().filter(|n| n["end_reason"] == "failure").collect();
    assert_eq!((nodes.len(), broken.len()), (4, 1), "{nodes:?}");
    assert_eq!((number(broken[0], "billed_until_s"), number(broken[0], "tasks")), (330.0, 2.0));
    let hours = 330.0 / 3600.0;
    let price = number(broken[0], "price_usd_per_hour");
    assert!((number(broken[0], "cost_usd") / (price * hours) - 1.0).abs() < 0.05, "{:?}", broken[0]);
    let fresh = nodes.iter().find(|n| number(n, "launched_s") > 0.0).expect("a replacement");
    assert!((330.0..400.0).contains(&number(fresh, "launched_s")), "{fresh:?}");
    // Its tasks die with it, and stand on the new one.
    let tasks = outcome.all("tasks.csv");
    let lost: Vec<&Row> = tasks.iter().filter(|t| t["stop_code"] == "TerminationNotice (host lost)").collect();
    assert!(lost.len() == 2 && lost.iter().all(|t| t["node"] == broken[0]["node"]), "{lost:?}");
    let new: Vec<&Row> = tasks.iter().filter(|t| number(t, "decided_s") > 300.0).collect();
    assert!(new.len() == 2 && new.iter().all(|t| t["node"] == fresh["node"]), "{new:?}");
    let back = recovered(&outcome, 6.0);
    assert!((number(fresh, "ready_s")..number(fresh, "ready_s") + 60.0).contains(&back), "{back}");
    assert!(diagnosed(&outcome, "machines lost"));
    // Requests fail until the health checks take the dead targets out, and not after.
    assert!(failed_between(&outcome, 300.0, 330.0) > 0.0 && failed_between(&outcome, 340.0, 1200.0) == 0.0);
}

#[test]
fn the_loss_of_a_zone_takes_its_instances_and_the_others_fill_up() {
    let fault = "[faults.dark]\ntype = \"zone_outage\"\nat = \"5m\"\nduration = \"10m\"\nzones = [1]\nshortage = 0.0\n";
    let spread = "[services.web.ecs]\nplacement_strategy = [{ type = \"spread\", field = \"attribute:ecs.availability-zone\" }]\n";
    let rest = format!("{}{WATCHED}{spread}{fault}", traffic());
    let text = scenario("30m", 6, "max_size = 9", "", &rest)
        .replace("[capacity.fleet]", "[cluster]\nzones = 3\n[capacity.fleet]");
    let outcome = simulate(&text);
    assert_eq!(steps(&outcome, "dark"), ["begins", "dns_failover", "noticed", "ends"]);
    let nodes = outcome.all("nodes.csv");
    let dark: Vec<&Row> = nodes.iter().filter(|n| n["end_reason"] == "failure").collect();
    assert!(!dark.is_empty() && dark.iter().all(|n| n["zone"] == "b"), "{nodes:?}");
    // While the zone is known to be out nothing is launched there.
    let noticed = outcome.all("decisions.csv");
    let noticed = noticed.iter().find(|r| r["reason"] == "noticed").map(at).expect("a time");
    let while_out = |r: &&Row| (noticed..900.0).contains(&number(r, "launched_s"));
    assert!(nodes.iter().filter(while_out).count() > 0);
    assert!(nodes.iter().filter(while_out).all(|n| n["zone"] != "b"), "{nodes:?}");
    let tasks = outcome.all("tasks.csv");
    let lost = tasks.iter().filter(|t| t["stop_code"] == "TerminationNotice (host lost)").count();
    assert_eq!(lost, 2);
    assert!(recovered(&outcome, 6.0) < 900.0);
    // What it took to recover is told link by link, and waiting for an instance is one of them.
    let incident = outcome.summary.incidents.first().expect("an objective was missed");
    assert!(incident.end_s.is_some() && (incident.links.total_s() - incident.duration_s).abs() < 1e-6, "{incident:?}");
    let total: f64 = outcome.summary.cost.by_service.values().sum();
    assert!((total - outcome.summary.cost.total_usd).abs() < 1e-6);
    assert!(outcome.summary.cost.by_capacity["fleet"].nodes_usd > 0.0);
}
