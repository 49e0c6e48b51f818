//! Random whole scenarios on EC2 instances, judged by their rows alone: no instance holds more than it offers,
//! constraints hold for every placed task, deployments of every kind keep their healthy floor and end in one way, and
//! every dollar has one item and one owner.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use common::{Row, number};
use proptest::prelude::*;
use simctl::catalog::Catalog;
use simctl::output::DeploymentOutcome;

/// Money as it stands in a file, in nano-dollars.
fn nano(text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |d| (-1, d));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    sign * (whole.parse::<i64>().expect("dollars") * 1_000_000_000
        + format!("{part:0<9}").parse::<i64>().expect("nano-dollars"))
}

/// How the tasks of a service stand on instances.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Network {
    Awsvpc,
    Bridge,
    HostPort(u32),
}

/// A service.
#[derive(Clone, Debug)]
struct Tasks {
    cpu: u32,
    memory_mib: u32,
    desired: u32,
    network: Network,
    distinct: bool,
    /// Zones that `memberOf` allows; empty for any.
    zones: Vec<char>,
    /// Family of instance types that `memberOf` allows.
    family: Option<&'static str>,
    strategy: &'static str,
    minimum: u32,
    maximum: u32,
    /// How a deployment at four minutes takes over, if there is one.
    deploys: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Fleet {
    seed: u32,
    services: Vec<Tasks>,
    types: Vec<&'static str>,
    trunking: bool,
    spot_pct: u32,
    size: u32,
    daemon: bool,
    /// What goes wrong: interruptions, a failing machine, the loss of a zone.
    storm: bool,
    failure: bool,
    outage: bool,
    /// New desired counts at seven minutes.
    scale_to: Option<u32>,
}

const HOWS: [&str; 5] = [
    "",
    "strategy = \"BLUE_GREEN\"\nbake_time_in_minutes = 1\n",
    "strategy = \"LINEAR\"\nbake_time_in_minutes = 1\n\
     linear_configuration = { step_percent = 40, step_bake_time_in_minutes = 1 }\n",
    "strategy = \"CANARY\"\nbake_time_in_minutes = 1\n\
     canary_configuration = { canary_percent = 20, canary_bake_time_in_minutes = 1 }\n",
    "deployment_controller = \"CODE_DEPLOY\"\ncode_deploy = { traffic_routing_config = { type = \"TimeBasedCanary\", canary_percentage = 20, canary_interval = 1 }, \
     termination_wait_time_in_minutes = 1 }\n",
];

fn tasks() -> impl Strategy<Value = Tasks> {
    let size = (prop::sample::select(vec![128_u32, 256, 512, 1_024]), 128..1_500_u32, 1..9_u32);
    let network = prop_oneof![
        2 => Just(Network::Awsvpc),
        1 => Just(Network::Bridge),
        1 => (8_000..8_003_u32).prop_map(Network::HostPort),
    ];
    let zones = prop_oneof![3 => Just(vec![]), 1 => Just(vec!['a']), 1 => Just(vec!['a', 'c'])];
    let family = prop_oneof![3 => Just(None), 1 => Just(Some("m6i")), 1 => Just(Some("c5"))];
    let strategy = prop::sample::select(vec![
        "",
        "placement_strategy = [{ type = \"binpack\", field = \"memory\" }]\n",
        "placement_strategy = [{ type = \"spread\", field = \"attribute:ecs.availability-zone\" }, { type = \"spread\", field = \"instanceId\" }]\n",
        "placement_strategy = [{ type = \"random\" }]\n",
    ]);
    let percents = prop::sample::select(vec![(100_u32, 200_u32), (50, 100), (50, 150), (75, 200)]);
    let deploys = prop_oneof![2 => Just(None), 3 => prop::sample::select(HOWS.to_vec()).prop_map(Some)];
    (size, network, (any::<bool>(), zones, family), strategy, percents, deploys).prop_map(
        |((cpu, memory_mib, desired), network, (distinct, zones, family), strategy, (minimum, maximum), deploys)| {
            Tasks {
                cpu,
                memory_mib,
                // Percents that leave a deployment no room at all are refused.
                desired: if maximum < 200 { desired.max(2) } else { desired },
                network,
                distinct,
                zones,
                family,
                strategy,
                minimum,
                maximum,
                deploys,
            }
        },
    )
}

fn fleet() -> impl Strategy<Value = Fleet> {
    let group = (any::<bool>(), prop::sample::select(vec![0_u32, 50, 100]), 4..14_u32, any::<bool>());
    let trouble = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        any::<u32>(),
        prop::collection::vec(tasks(), 1..4),
        group,
        trouble,
        prop_oneof![Just(None), (0..7_u32).prop_map(Some)],
    )
        .prop_map(
            |(seed, services, (trunking, spot_pct, size, daemon), (calm, storm, failure, outage), scale_to)| Fleet {
                seed,
                services,
                types: vec!["m6i.large", "m6i.xlarge", "c5.xlarge"],
                trunking,
                spot_pct,
                size,
                daemon,
                storm: storm && !calm,
                failure: failure && !calm,
                outage: outage && !calm,
                scale_to,
            },
        )
}

fn text(f: &Fleet) -> String {
    let mut t = format!(
        "[simulation]\nduration = \"25m\"\nseed = {}\n[cluster]\nzones = 3\n[capacity.fleet]\ntype = \"ec2\"\n\
         instance_types = {:?}\nmin_size = {}\nmax_size = {}\nmanaged_termination_protection = \"ENABLED\"\n\
         ecs_agent = {{ awsvpc_trunking = {} }}\n\
         mixed_instances = {{ on_demand_percentage_above_base_capacity = {} }}\n\
         {}",
        f.seed,
        f.types,
        f.size / 2,
        f.size,
        f.trunking,
        100 - f.spot_pct,
        if f.spot_pct > 0 {
            let storm = if f.storm { ", events = [{ at = \"5m\", share = 0.5 }]" } else { "" };
            format!("spot = {{ interruptions = {{ source = \"none\" }}{storm} }}\n")
        } else {
            String::new()
        }
    );
    for (i, s) in f.services.iter().enumerate() {
        let ports = match s.network {
            Network::Awsvpc => String::new(),
            Network::Bridge => "network_mode = \"bridge\"\nport_mappings = [{ container_port = 80 }]\n".to_owned(),
            Network::HostPort(port) => {
                format!("network_mode = \"bridge\"\nport_mappings = [{{ container_port = 80, host_port = {port} }}]\n")
            }
        };
        let mut constraints = Vec::new();
        if s.distinct {
            constraints.push("{ type = \"distinctInstance\" }".to_owned());
        }
        if !s.zones.is_empty() {
            let zones: Vec<String> = s.zones.iter().map(|z| format!("us-east-1{z}")).collect();
            let expression = format!("attribute:ecs.availability-zone in [{}]", zones.join(", "));
            constraints.push(format!("{{ type = \"memberOf\", expression = \"{expression}\" }}"));
        }
        if let Some(family) = s.family {
            let expression = format!("attribute:ecs.instance-type =~ {family}.*");
            constraints.push(format!("{{ type = \"memberOf\", expression = \"{expression}\" }}"));
        }
        let how = s.deploys.unwrap_or("");
        let code_deploy = how.starts_with("deployment_controller");
        let _ = writeln!(
            t,
            "[services.s{i}]\ndesired_count = {}\ncapacity.fleet = {{ weight = 1 }}\n\
             [services.s{i}.task]\ncpu = {}\nmemory = \"{} MiB\"\nimage.size = \"100 MB\"\nstartup = \"5s\"\n{ports}\
             [services.s{i}.requests.page]\ncpu_time = \"2ms\"\n\
             [services.s{i}.traffic]\nrate = [{{ at = \"0s\", rps = 5 }}]\n\
             [services.s{i}.load_balancer]\nderegistration_delay = \"10s\"\nhealth_check = {{ interval = \"5s\", timeout = \"2s\" }}\n\
             [services.s{i}.ecs]\navailability_zone_rebalancing = \"DISABLED\"\nplacement_constraints = [{}]\n{}\
             {}\n[services.s{i}.ecs.deployment_configuration]\nminimum_healthy_percent = {}\nmaximum_percent = {}\n{}",
            s.desired,
            s.cpu,
            s.memory_mib,
            constraints.join(", "),
            s.strategy,
            if code_deploy { how } else { "" },
            s.minimum,
            s.maximum,
            if code_deploy { "" } else { how }
        );
        if s.deploys.is_some() {
            let _ = writeln!(t, "[actions.new{i}]\ntype = \"deploy\"\nat = \"4m\"\nservice = \"s{i}\"");
        }
        if let (Some(n), None) = (f.scale_to, s.deploys) {
            let n = if s.maximum < 200 { n.max(2) } else { n };
            let _ = writeln!(
                t,
                "[actions.scale{i}]\ntype = \"desired_count\"\nat = \"7m\"\nservice = \"s{i}\"\ndesired_count = {n}"
            );
        }
    }
    if f.daemon {
        t += "[services.agent]\ncapacity.fleet = { weight = 1 }\n[services.agent.task]\ncpu = 128\nmemory = \"128 MiB\"\n\
              network_mode = \"host\"\nport_mappings = [{ container_port = 9100 }]\n\
              [services.agent.ecs]\nscheduling_strategy = \"DAEMON\"\n\
              deployment_configuration = { maximum_percent = 100, minimum_healthy_percent = 0 }\n";
    }
    if f.failure {
        t += "[faults.broken]\ntype = \"node_failure\"\nat = \"6m\"\nnoticed_after = \"30s\"\n";
    }
    if f.outage {
        t += "[faults.dark]\ntype = \"zone_outage\"\nat = \"8m\"\nduration = \"5m\"\nzones = [1]\n";
    }
    t
}

/// What one task holds of its instance.
struct Held {
    from: f64,
    until: f64,
    service: usize,
    daemon: bool,
}

fn check(f: &Fleet) -> Result<(), TestCaseError> {
    let out = common::simulate(&text(f));
    let summary = &out.summary;

    // Instances and what stood on them.
    let nodes: BTreeMap<String, Row> = out.all("nodes.csv").into_iter().map(|n| (n["node"].clone(), n)).collect();
    let tasks = out.all("tasks.csv");
    let mut on: BTreeMap<&str, Vec<Held>> = BTreeMap::new();
    for task in tasks.iter().filter(|t| !t["node"].is_empty()) {
        let node = nodes.get(&task["node"]).expect("its instance has a row");
        let daemon = task["service"] == "agent";
        let service = task["service"][1..].parse().unwrap_or(0);
        prop_assert_eq!(&task["zone"], &node["zone"], "{:?}", task);
        if !daemon {
            let s = &f.services[service];
            let zone = node["zone"].chars().next().expect("a letter");
            prop_assert!(s.zones.is_empty() || s.zones.contains(&zone), "{s:?} stands on {node:?}");
            let family = node["node_type"].split('.').next();
            prop_assert!(s.family.is_none() || s.family == family, "{s:?} stands on {node:?}");
        }
        // A place is held from PENDING until the containers have ended; its interface until STOPPED.
        let Some(from) = number(task, "pending_s") else { continue };
        let until = number(task, "execution_stopped_s").unwrap_or(f64::INFINITY);
        on.entry(&task["node"]).or_default().push(Held { from, until, service, daemon });
    }
    for (name, held) in &on {
        let node = &nodes[*name];
        let kind = Catalog::embedded().instance_type(&node["node_type"]).expect("a known type");
        let interfaces = kind.task_limit(f.trunking);
        let vcpus = number(node, "vcpus").expect("vCPUs");
        let memory = number(node, "memory_mib").expect("memory");
        for at in held.iter().map(|h| h.from) {
            let now: Vec<&Held> = held.iter().filter(|h| h.from <= at && at < h.until).collect();
            let of = |h: &&&Held| {
                if h.daemon { (128, 128) } else { (f.services[h.service].cpu, f.services[h.service].memory_mib) }
            };
            let (cpu, mib) = now.iter().map(|h| of(&h)).fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
            prop_assert!(f64::from(cpu) / 1024.0 <= vcpus + 1e-9, "CPU of {node:?} at {at}");
            prop_assert!(f64::from(mib) <= memory, "memory of {node:?} at {at}");
            let awsvpc = now.iter().filter(|h| !h.daemon && f.services[h.service].network == Network::Awsvpc).count();
            prop_assert!(awsvpc as u32 <= interfaces, "{awsvpc} interfaces of {node:?} at {at}");
            let mut ports = BTreeSet::new();
            let mut seen = BTreeSet::new();
            for h in now.iter().filter(|h| !h.daemon) {
                let s = &f.services[h.service];
                if let Network::HostPort(port) = s.network {
                    prop_assert!(ports.insert(port), "port {port} of {node:?} at {at}");
                }
                prop_assert!(seen.insert(h.service) || !s.distinct, "two tasks of s{} on {node:?} at {at}", h.service);
            }
            prop_assert!(now.iter().filter(|h| h.daemon).count() <= 1, "two daemons on {node:?} at {at}");
        }
    }

    // Deployments end in one way, and keep their floor where nothing but the scheduler stopped tasks.
    for (i, s) in f.services.iter().enumerate() {
        let name = format!("s{i}");
        let deployments = &summary.services[&name].deployments;
        prop_assert_eq!(deployments.len(), usize::from(s.deploys.is_some()), "{:?}", deployments);
        for d in deployments {
            match &d.outcome {
                DeploymentOutcome::Completed | DeploymentOutcome::RolledBack { .. } => {
                    prop_assert!(d.ended_s.is_some())
                }
                DeploymentOutcome::Stalled { reason } => prop_assert!(!reason.is_empty()),
                DeploymentOutcome::InProgress => prop_assert!(d.ended_s.is_none()),
            }
        }
        let last = out.all("deployments.csv").into_iter().rfind(|r| r["service"] == name);
        if let Some(last) = last.filter(|_| deployments.iter().any(|d| d.ended_s.is_some())) {
            prop_assert!(["completed", "rolled_back"].contains(&last["step"].as_str()), "{last:?}");
        }
        let own = tasks.iter().filter(|t| t["service"] == name);
        let undisturbed =
            own.clone().all(|t| t["stop_code"].is_empty() || t["stop_code"] == "ServiceSchedulerInitiated");
        if !undisturbed || f.outage || f.failure || f.storm {
            continue;
        }
        let mut reached = false;
        for row in out.all("services.csv").iter().filter(|r| r["service"] == name) {
            let (desired, healthy) = (number(row, "desired").unwrap_or(0.0), number(row, "healthy").unwrap_or(0.0));
            let floor = (desired * f64::from(s.minimum) / 100.0).ceil();
            // Once there: a larger desired count has to be reached first.
            reached = healthy >= floor || reached && f.scale_to.is_none();
            prop_assert!(!reached || healthy >= floor, "{healthy} of {desired} healthy, at least {floor}: {row:?}");
        }
    }

    // Money: one row an item, owner and price in an interval, and the same sums by item, by owner, and in all.
    let costs = out.all("costs.csv");
    let mut seen = BTreeSet::new();
    let (mut by_owner, mut by_item): (BTreeMap<&str, i64>, BTreeMap<&str, i64>) = Default::default();
    for row in &costs {
        let known = ["idle", "cluster", "agent"].contains(&row["owner"].as_str()) || row["owner"].starts_with('s');
        prop_assert!(known && !row["item"].is_empty(), "{row:?}");
        let key = (&row["time_s"], &row["item"], &row["owner"], &row["unit_price_usd"]);
        prop_assert!(seen.insert(key), "twice: {row:?}");
        *by_owner.entry(&row["owner"]).or_default() += nano(&row["cost_usd"]);
        *by_item.entry(&row["item"]).or_default() += nano(&row["cost_usd"]);
    }
    let total = (summary.cost.total_usd * 1e9).round() as i64;
    prop_assert_eq!(by_owner.values().sum::<i64>(), total);
    prop_assert_eq!(by_item.values().sum::<i64>(), total);
    for (owner, nanos) in &by_owner {
        let said = summary.cost.by_service.get(*owner).copied().unwrap_or(0.0);
        prop_assert!((said * 1e9 - *nanos as f64).abs() < 1_000.0, "{owner}: {said}");
    }
    // What instances cost is what their rows say, and no part of it is negative or beyond the whole.
    for node in nodes.values() {
        let [cost, idle, wasted] = ["cost_usd", "idle_usd", "wasted_usd"].map(|c| nano(&node[c]));
        prop_assert!(idle >= 0 && wasted >= 0 && idle + wasted <= cost + 2, "{node:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 80, ..ProptestConfig::default() })]

    #[test]
    fn fleets_keep_the_promises(fleet in fleet()) {
        check(&fleet)?;
    }
}
