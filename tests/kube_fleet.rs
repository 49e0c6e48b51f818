//! Random whole clusters of Kubernetes, judged by their rows alone: no pod stands on a node that its filters refuse, no
//! node holds more than it offers, no eviction breaks a budget, requests and dollars are conserved.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{Row, number};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Where the nodes come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nodes {
    /// Node groups, sized by the Cluster Autoscaler.
    Groups,
    /// A NodePool of Karpenter, with Spot or without.
    Pool { spot: bool },
}

/// What keeps pods of a service apart, or together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    None,
    /// Required anti-affinity over nodes.
    OnePerNode,
    /// A node selector for a zone.
    Zone(u32),
    /// `DoNotSchedule` over zones with a skew of one.
    Spread,
}

/// What evictions must leave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Budget {
    None,
    MinAvailable(u32),
    MaxUnavailable(u32),
}

#[derive(Clone, Debug)]
struct Workload {
    replicas: u32,
    cpu_m: u32,
    memory_mib: u32,
    rule: Rule,
    budget: Budget,
    urgent: bool,
    grace: u32,
    /// A new revision at eight minutes.
    deploys: bool,
    /// Another number of replicas at fourteen minutes.
    resized: Option<u32>,
}

#[derive(Clone, Debug)]
struct Cluster {
    seed: u32,
    zones: u32,
    nodes: Nodes,
    workloads: Vec<Workload>,
    /// All nodes are replaced from five minutes on.
    updated: bool,
    /// A node breaks at eleven minutes.
    breaks: bool,
}

fn workload() -> impl Strategy<Value = Workload> {
    let rule = prop_oneof![
        2 => Just(Rule::None),
        1 => Just(Rule::OnePerNode),
        1 => (0..2_u32).prop_map(Rule::Zone),
        1 => Just(Rule::Spread),
    ];
    let size = (1..6_u32, prop_oneof![Just(250_u32), Just(500), Just(900)], prop_oneof![Just(256_u32), Just(1_024)]);
    let life = (any::<bool>(), 5..40_u32, any::<bool>(), prop::option::of(0..7_u32));
    (size, rule, 0..3_u8, life).prop_map(|((replicas, cpu_m, memory_mib), rule, budget, life)| {
        let (urgent, grace, deploys, resized) = life;
        let budget = match budget {
            1 if replicas > 1 => Budget::MinAvailable(replicas - 1),
            2 => Budget::MaxUnavailable(1),
            _ => Budget::None,
        };
        // A budget is judged by the number of replicas, which therefore stays.
        let resized = resized.filter(|_| budget == Budget::None);
        Workload { replicas, cpu_m, memory_mib, rule, budget, urgent, grace, deploys, resized }
    })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let nodes = prop_oneof![Just(Nodes::Groups), any::<bool>().prop_map(|spot| Nodes::Pool { spot })];
    let happens = (any::<bool>(), any::<bool>());
    (any::<u16>(), 2..4_u32, nodes, prop::collection::vec(workload(), 1..4), happens).prop_map(
        |(seed, zones, nodes, workloads, (updated, breaks))| Cluster {
            seed: seed.into(),
            zones,
            nodes,
            workloads,
            updated,
            breaks,
        },
    )
}

fn text(c: &Cluster) -> String {
    let mut t = format!(
        "[simulation]\nduration = \"25m\"\nseed = {}\n[cluster]\norchestrator = \"eks\"\nzones = {}\n\
         [cluster.eks.priority_classes.urgent]\nvalue = 1000\n",
        c.seed, c.zones
    );
    match c.nodes {
        Nodes::Groups => {
            t.push_str("[cluster.eks.cluster_autoscaler]\nscale_down_unneeded_time = \"3m\"\nscale_down_delay_after_add = \"2m\"\n");
            // One group a zone, as pods that are bound to zones want it.
            for zone in 0..c.zones {
                let _ = write!(
                    t,
                    "[capacity.workers{zone}]\ntype = \"node_group\"\ninstance_types = [\"m7i.large\"]\nmin_size = 1\nmax_size = 8\n\
                     zones = [{zone}]\n"
                );
            }
        }
        Nodes::Pool { spot } => {
            let types = if spot { "[\"spot\", \"on-demand\"]" } else { "[\"on-demand\"]" };
            let _ = write!(
                t,
                "[capacity.workers]\ntype = \"node_pool\"\nrequirements = [\n\
                 {{ key = \"karpenter.k8s.aws/instance-family\", operator = \"In\", values = [\"m7i\", \"c7i\"] }},\n\
                 {{ key = \"karpenter.sh/capacity-type\", operator = \"In\", values = {types} }}]\n\
                 disruption = {{ consolidate_after = \"1m\", budgets = [{{ nodes = \"50%\" }}] }}\n"
            );
            if spot {
                t.push_str("nodes.spot.interruptions = { source = \"rate\", interruptions_per_hour = 3.0 }\n");
            }
        }
    }
    for (i, w) in c.workloads.iter().enumerate() {
        let rule = match w.rule {
            Rule::None => String::new(),
            Rule::OnePerNode => "affinity.anti_required_pods = [{}]\n".to_owned(),
            Rule::Zone(zone) => {
                let letter = char::from(b'a' + zone as u8);
                format!("node_selector = {{ \"topology.kubernetes.io/zone\" = \"us-east-1{letter}\" }}\n")
            }
            Rule::Spread => {
                "topology_spread_constraints = [{ topology_key = \"topology.kubernetes.io/zone\", when_unsatisfiable = \"DoNotSchedule\" }]\n"
                    .to_owned()
            }
        };
        let budget = match w.budget {
            Budget::None => String::new(),
            Budget::MinAvailable(n) => format!("pod_disruption_budget = {{ min_available = {n} }}\n"),
            Budget::MaxUnavailable(n) => format!("pod_disruption_budget = {{ max_unavailable = {n} }}\n"),
        };
        let class = if w.urgent { "priority_class_name = \"urgent\"\n" } else { "" };
        let _ = write!(
            t,
            "[services.s{i}]\ndesired_count = {}\n[services.s{i}.task]\ncpu = \"{}m\"\nmemory = \"{} MiB\"\nstartup = \"4s\"\n\
             [services.s{i}.requests.page]\ncpu_time = \"5ms\"\n[services.s{i}.client]\ntimeout = \"1s\"\n\
             [services.s{i}.traffic]\nrate = [{{ at = \"0s\", rps = 2 }}]\n\
             [services.s{i}.kubernetes]\ntermination_grace_period_seconds = {}\npre_stop = \"3s\"\n\
             readiness_probe = {{ period_seconds = 3 }}\n{rule}{budget}{class}",
            w.replicas, w.cpu_m, w.memory_mib, w.grace
        );
    }
    for (i, w) in c.workloads.iter().enumerate() {
        if w.deploys {
            let _ = write!(t, "[actions.deploy{i}]\ntype = \"deploy\"\nat = \"8m\"\nservice = \"s{i}\"\n");
        }
        if let Some(n) = w.resized {
            let _ = write!(
                t,
                "[actions.size{i}]\ntype = \"desired_count\"\nat = \"14m\"\nservice = \"s{i}\"\ndesired_count = {n}\n"
            );
        }
    }
    if c.updated {
        match c.nodes {
            Nodes::Groups => {
                t.push_str("[actions.nodes]\ntype = \"update_node_group\"\nat = \"5m\"\ncapacity = \"workers0\"\n");
            }
            Nodes::Pool { .. } => t.push_str(
                "[actions.nodes]\ntype = \"update_node_pool\"\nat = \"5m\"\ncapacity = \"workers\"\nnew_image = true\n",
            ),
        }
    }
    if c.breaks {
        t.push_str("[faults.broken]\ntype = \"node_failure\"\nat = \"11m\"\n");
    }
    t
}

/// A pod on its node.
struct Bound<'a> {
    workload: usize,
    from: f64,
    until: f64,
    row: &'a Row,
}

/// Looks at a cluster; says how many evictions a budget allowed.
fn check(c: &Cluster) -> Result<usize, TestCaseError> {
    let mut evictions = 0;
    let text = text(c);
    let out = common::simulate(&text);
    let nodes: BTreeMap<String, Row> = out.all("nodes.csv").into_iter().map(|n| (n["node"].clone(), n)).collect();
    let pods = out.all("tasks.csv");
    let of = |row: &Row| row["service"][1..].parse::<usize>().expect("a number");

    let mut on: BTreeMap<&str, Vec<Bound<'_>>> = BTreeMap::new();
    for row in pods.iter().filter(|p| !p["node"].is_empty()) {
        let Some(from) = number(row, "pending_s") else { continue };
        let until = number(row, "execution_stopped_s").or(number(row, "stopped_s")).unwrap_or(f64::INFINITY);
        on.entry(&row["node"]).or_default().push(Bound { workload: of(row), from, until, row });
    }
    for (name, bound) in &on {
        let node = &nodes[*name];
        let letter = node["zone"].chars().next().expect("a letter");
        let offers = |column: &str| number(node, column).expect("a number");
        for pod in bound {
            let w = &c.workloads[pod.workload];
            if let Rule::Zone(zone) = w.rule {
                prop_assert_eq!(letter, char::from(b'a' + zone as u8), "{:?} on {:?}\n{}", pod.row, node, text);
            }
            // Nothing new comes to a node that is cordoned or not there yet.
            let ready = number(node, "ready_s").expect("it was ready");
            prop_assert!(pod.from >= ready - 1e-3, "{:?} before {:?}\n{}", pod.row, node, text);
            let gone = number(node, "draining_s").or(number(node, "terminating_s")).unwrap_or(f64::INFINITY);
            prop_assert!(pod.from <= gone + 1.0, "{:?} after {:?}\n{}", pod.row, node, text);
            let now: Vec<&Bound<'_>> = bound.iter().filter(|b| b.from <= pod.from && pod.from < b.until).collect();
            let cpu: u32 = now.iter().map(|b| c.workloads[b.workload].cpu_m).sum();
            let memory: u32 = now.iter().map(|b| c.workloads[b.workload].memory_mib).sum();
            prop_assert!(
                f64::from(cpu) <= offers("vcpus") * 1_000.0 + 1.0,
                "{cpu}m on {node:?} at {}\n{text}",
                pod.from
            );
            prop_assert!(f64::from(memory) <= offers("memory_mib"), "{memory} MiB on {node:?} at {}\n{text}", pod.from);
            if w.rule == Rule::OnePerNode {
                let same = now.iter().filter(|b| b.workload == pod.workload).count();
                prop_assert!(same == 1, "{same} pods of s{} on {node:?} at {}\n{text}", pod.workload, pod.from);
            }
        }
    }

    for (i, w) in c.workloads.iter().enumerate() {
        let floor = match w.budget {
            Budget::None => continue,
            Budget::MinAvailable(n) => n,
            Budget::MaxUnavailable(n) => w.replicas - n,
        };
        let own: Vec<&Row> = pods.iter().filter(|p| of(p) == i).collect();
        // Deletions that were asked of the eviction API; those of an unreachable node, of forced ends and preemption are none.
        let evicted =
            |p: &&&Row| p["stop_reason"].starts_with("Evicted: ") && !p["stop_reason"].contains("unreachable");
        for p in own.iter().filter(evicted) {
            let at = number(p, "deactivating_s").or(number(p, "stopping_s")).expect("it was stopped");
            let left = own.iter().filter(|o| {
                let healthy = number(o, "healthy_s").is_some_and(|h| h <= at);
                let asked = number(o, "deactivating_s").or(number(o, "stopping_s")).unwrap_or(f64::INFINITY);
                healthy && asked > at
            });
            let left = left.count() as u32;
            prop_assert!(left >= floor, "{left} of s{i} are left at {at}, {floor} must be\n{text}");
            evictions += 1;
        }
    }

    let summary = &out.summary;
    for (name, service) in &summary.services {
        let r = &service.requests;
        prop_assert_eq!(r.started, r.succeeded + r.failed + r.unfinished, "{}\n{}", name, text);
    }
    let lines: f64 = summary.cost.items.iter().map(|l| l.cost_usd).sum();
    prop_assert!((lines - summary.cost.total_usd).abs() < 1e-6, "{lines} is not {}\n{text}", summary.cost.total_usd);
    Ok(evictions)
}

#[test]
fn the_clusters_are_such_that_budgets_matter() {
    let mut runner = TestRunner::deterministic();
    let drawn = (0..24).map(|_| cluster().new_tree(&mut runner).expect("a cluster").current());
    let evictions: usize = drawn.map(|c| check(&c).expect("the promises are kept")).sum();
    assert!(evictions >= 20, "{evictions} evictions");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn clusters_keep_the_promises(cluster in cluster()) {
        check(&cluster)?;
    }
}
