//! Documented throughput and limits of the control plane and of the autoscalers.

use std::fmt::Write as _;

use serde_json::{Value, json};
use simctl::kernel::SimTime;
use simctl::kubernetes::cluster_autoscaler::{
    GroupId, Memory, NodeGroup, NodeKey, NodeState, Observation, PodFacts, Settings, scan,
};
use simctl::kubernetes::object::{HostPort, PodSpec, Resources};
use simctl::kubernetes::scheduler::{Node, PodKey, Profile, Scheduler};

use crate::measured::Standing;
use crate::published_kube::{
    Report, Run, asks, cluster, expected, first, groups, in_one_zone, last, mean, number, number_before, pool, scale,
    scale_as_the_controller_does, whole, words, workload,
};
use crate::published_kube_hpa;

/// A bound is known by the metrics it is about.
pub(crate) fn run(case: &Value) -> Option<Report> {
    let said = words(case);
    Some(match expected(case).first()?["metric"].as_str()? {
        "pods_per_s" | "time_to_schedule_all_s" if said.contains("karpenter") => sched_floor(case),
        "pods_per_s" | "time_to_schedule_all_s" => throughput(case),
        "p99_s" => startup(),
        "final_nodes" | "max_iteration_s" => full_scale_up(case),
        "nodes_removed" if said.contains("host port") => {
            let mut report = Report::new(
                Standing::Exact,
                &[
                    "the nodes that are not 30 % full are 70 % full; every pod holds the same host port; half an hour of scans",
                ],
            );
            report.figure("nodes_removed", f64::from(unremovable(case)));
            report
        }
        "nodes_removed" => empty_nodes(case),
        "scale_out_s" | "reserved_cpu_utilisation" | "reserved_memory_utilisation" => two_shapes(case),
        "all_nodes_ready_s" | "all_pods_ready_s" => dense(case),
        "max_latency_s" | "mean_latency_s" => reaction(case),
        "hpa_reaction_s" | "ca_reaction_s" | "node_provisioning_s" | "total_s" => published_kube_hpa::reactions(),
        _ => return None,
    })
}

const SMALL: &str = "image.size = \"1 MB\"\n";
/// Pods that never run: where only their places are asked for.
const NEVER: &str = "image.size = \"900 GB\"\n";

fn throughput(case: &Value) -> Report {
    let (nodes, before, pods) = (whole(case, "nodes", 5_000), whole(case, "init_pods", 0), whole(case, "pods", 1_000));
    let said = words(case);
    let (preempts, refused) = (said.contains("preempt"), said.contains("unschedulable"));
    // Nothing between the binding of a pod and PENDING: that is where it is bound.
    let mut text = cluster(
        2 + pods / 30_000,
        "kubelet_sync = \"0s\"\npriority_classes = { low = { value = 1 }, high = { value = 1000 } }\n",
    );
    text.push_str("[cluster.quotas]\ntasks_per_service = 100000\n");
    let bare = "kubelet = { max_pods = 110 }\nnodes.pods = { eni_attach = \"0s\" }\n";
    text.push_str(&groups("m5.xlarge", nodes, nodes, nodes, bare));
    let (cpu, class) = if preempts { (800, "priority_class_name = \"low\"\n") } else { (100, "") };
    text.push_str(&workload("before", before, cpu, 400, SMALL, class));
    let high = "priority_class_name = \"high\"\n";
    text.push_str(&workload("measured", 0, 100, 400, NEVER, if preempts { high } else { "" }));
    text.push_str(&scale("measured", 60.0, pods));
    if preempts || refused {
        let (cpu, class) = if preempts { (2_000, high) } else { (9_000, "") };
        text.push_str(&workload("beside", 0, cpu, 400, SMALL, class));
        for second in 1..=15 {
            text.push_str(&scale("beside", f64::from(60 + second), 5 * second));
        }
    }
    let bound = Run::of(&text).tasks("measured", "pending_s", 60.0);
    let took = last(&bound) - 60.0;
    let mut report = Report::new(
        Standing::Blind,
        &[
            "nodes of 4 vCPU for 110 pods; pods of 100m, all made at once; default latency of the scheduler; what follows a binding is left out",
        ],
    );
    if preempts {
        report.assume(
            "pods of low priority ask for 800m, four to a node; those that preempt them for 2 CPUs, five a second",
        );
    } else if refused {
        report.assume("five pods a second ask for 9 CPUs beside");
    }
    let all = if bound.len() == pods as usize { 1.0 } else { f64::NAN };
    report.figure("pods_per_s", all * f64::from(pods) / took);
    report.figure("time_to_schedule_all_s", all * took);
    report
}

fn startup() -> Report {
    let mut text = cluster(5, "");
    text.push_str(&groups("m5.xlarge", 20, 20, 20, ""));
    text.push_str(&workload("web", 0, 100, 128, "image.size = \"1 KB\"\nstartup = \"0s\"\n", ""));
    // One pod at a time: what is asked of is the start, not the queue.
    for n in 1..=100 {
        text.push_str(&scale("web", f64::from(30 + 2 * n), n));
    }
    let rows = Run::of(&text).rows("tasks.csv");
    let mut took: Vec<f64> = rows.iter().map(|r| number(r, "running_s") - number(r, "decided_s")).collect();
    took.retain(|t| t.is_finite());
    took.sort_by(f64::total_cmp);
    let mut report = Report::new(
        Standing::Blind,
        &["100 pods, one every 2 s, on 20 nodes; an image of 1 KB, which leaves out the pull"],
    );
    report.figure("p99_s", took.get((0.99 * took.len() as f64).ceil() as usize - 1).copied().unwrap_or(f64::NAN));
    report
}

/// The CPU that so many pods and not one more ask for on a node of 4 vCPUs, beside 150m of the system's.
fn per_node(pods: u32) -> u32 {
    3_770 / pods.max(1)
}

fn full_scale_up(case: &Value) -> Report {
    let (nodes, pods) = (whole(case, "nodes", 1_000), whole(case, "pods", 30_000));
    let mut text = in_one_zone(&cluster(12, ""));
    text.push_str(
        "[cluster.eks.cluster_autoscaler]\nmax_nodes_total = 0\n[cluster.quotas]\ntasks_per_service = 100000\n",
    );
    text.push_str(&groups("m5.xlarge", 1, 0, nodes.div_ceil(450) * 450, "kubelet = { max_pods = 110 }\n"));
    text.push_str(&workload("load", 0, per_node(whole(case, "pods_per_node", 30)), 64, NEVER, ""));
    text.push_str(&scale("load", 60.0, pods));
    let out = Run::of(&text);
    let bound = out.tasks("load", "pending_s", 60.0);
    let mut report = Report::new(
        Standing::Exact,
        &["m5.xlarge in groups of at most 450, in one zone; pods of such a size that a node is full with them"],
    );
    report.stands("max_iteration_s", Standing::Underdetermined("a scan takes no simulated time"));
    report.figure("final_nodes", out.nodes_at(12.0 * 60.0).len() as f64);
    report.figure("pods_bound", bound.len() as f64);
    report.figure("all_bound_s", last(&bound) - 60.0);
    report
}

fn empty_nodes(case: &Value) -> Report {
    let (nodes, used) = (whole(case, "nodes", 100), whole(case, "used", 0));
    let mut text = in_one_zone(&cluster(40, ""));
    text.push_str("[cluster.eks.cluster_autoscaler]\n");
    text.push_str(&groups("m5.xlarge", nodes, 0, nodes, ""));
    text.push_str(&workload("large", used, 2_750, 1_024, SMALL, ""));
    let gone = Run::of(&text).nodes("terminating_s", 0.0);
    let mut report = Report::new(
        Standing::Exact,
        &[
            "m5.xlarge with one pod of 2750m, 70 % of what the node offers; defaults of 10 min; 40 min of simulation; one zone, in which no group rebalances",
        ],
    );
    report.figure("nodes_removed", gone.len() as f64);
    report.figure("first_removed_s", first(&gone));
    report.figure("last_removed_s", last(&gone));
    report
}

/// Nodes that the Cluster Autoscaler takes away within 30 minutes where every node has the port taken.
fn unremovable(case: &Value) -> u32 {
    let all = u64::from(whole(case, "nodes", 1_000));
    let light = u64::from(number_before(case, "nodes").unwrap_or(300));
    let mut scheduler = Scheduler::new(Profile::default());
    let s = scheduler.symbols_mut();
    let (namespace, tcp, group) = (s.intern("default"), s.intern("TCP"), s.intern("workers"));
    let shape = |cpu_m: i64| {
        let mut spec = PodSpec::new(namespace);
        (spec.requests.cpu_m, spec.score_cpu_m) = (cpu_m, cpu_m);
        spec.host_ports.push(HostPort { protocol: tcp, ip: None, port: 8080 });
        spec
    };
    let shapes = [scheduler.add_shape(shape(1_200)), scheduler.add_shape(shape(2_800))];
    let capacity = Resources { cpu_m: 4_000, memory: 16 << 30, pods: 58, ..Resources::default() };
    let template = Node::new(group, capacity.clone());
    let mut nodes = Vec::new();
    for n in 0..all {
        let name = scheduler.symbols_mut().intern(&format!("node-{n}"));
        let node = scheduler.add_node(Node { name, ..template.clone() });
        scheduler.place(PodKey(n), shapes[usize::from(n >= light)], node, SimTime::ZERO);
        nodes.push(NodeState {
            key: NodeKey(n),
            node,
            group: Some(GroupId(0)),
            ready: true,
            created: SimTime::ZERO,
            deleted: false,
            scale_down_disabled: false,
        });
    }
    let groups = [NodeGroup {
        id: GroupId(0),
        name: "workers".into(),
        min_size: 0,
        max_size: all as u32,
        target_size: all as u32,
        template,
        capacity,
        daemon_pods: Vec::new(),
        price_per_hour: 0.192,
        gpu: None,
    }];
    let settings = Settings::default();
    let (mut memory, mut now, mut removed) = (Memory::default(), SimTime::from_secs(3_600), 0);
    while now < SimTime::from_secs(5_400) {
        let facts = |_: PodKey| PodFacts::default();
        let see = Observation {
            scheduler: &scheduler,
            groups: &groups,
            nodes: &nodes,
            unregistered: &[],
            creation_errors: &[],
            pending: &[],
            facts: &facts,
            budgets: &[],
            draw: 0,
            now,
        };
        let seen = scan(&settings, &memory, &see);
        removed += seen.deletions.len() as u32;
        now = seen.next_scan;
        memory = seen.memory;
    }
    removed
}

/// A NodePool as in Karpenter's own example.
const EXAMPLE_POOL: &str = "[capacity.pool]\ntype = \"node_pool\"\ndisruption = { consolidate_after = \"Never\" }\nrequirements = [\
     { key = \"karpenter.k8s.aws/instance-category\", operator = \"In\", values = [\"c\", \"m\", \"r\"] }, \
     { key = \"karpenter.k8s.aws/instance-generation\", operator = \"Gt\", values = [\"2\"] }, \
     { key = \"kubernetes.io/arch\", operator = \"In\", values = [\"amd64\"] }, \
     { key = \"karpenter.sh/capacity-type\", operator = \"In\", values = [\"on-demand\"] }]\n";
/// Nodes of a provider that makes none in earnest.
const SIMULATED: &str = "nodes.launch = { request = \"0s\", boot = \"0s\", agent_registration = \"0s\" }\n";

fn two_shapes(case: &Value) -> Report {
    let mut text = cluster(10, "") + EXAMPLE_POOL + SIMULATED;
    let (mut cpu, mut memory, mut all) = (0.0, 0.0, 0);
    let mut names = Vec::new();
    for (i, d) in case["setup"]["deployments"].as_array().into_iter().flatten().enumerate() {
        let whole = |name: &str| d[name].as_u64().unwrap_or(0) as u32;
        let (pods, cpu_m, mib) = (whole("pods"), whole("cpu_m"), whole("mem_mi"));
        cpu += f64::from(pods) * f64::from(cpu_m) / 1_000.0;
        memory += f64::from(pods) * f64::from(mib);
        all += pods;
        let name = format!("d{i}");
        text.push_str(&workload(&name, 0, cpu_m, mib, SMALL, ""));
        text.push_str(&scale_as_the_controller_does(&name, 60.0, pods));
        names.push(name);
    }
    let out = Run::of(&text);
    let up: Vec<f64> = names.iter().flat_map(|n| out.tasks(n, "running_s", 60.0)).collect();
    let there = out.nodes_at(600.0);
    // What an instance has, not what is left of it for pods.
    let catalog = simctl::catalog::Catalog::embedded();
    let types: Vec<_> = there.iter().filter_map(|r| catalog.instance_type(&r["node_type"]).ok()).collect();
    let mut report = Report::new(
        Standing::Blind,
        &[
            "EC2's x86 types of the categories c, m, r at on-demand prices stand in for the provider's own catalogue; its nodes are there at once",
            "each ReplicaSet makes 20 pods a second after a burst of 30; no consolidation",
            "requests of the pods over the vCPUs and the memory of the instances at the end",
        ],
    );
    report.figure("pods_running", up.len() as f64);
    report.figure("nodes", there.len() as f64);
    let done = up.len() as u32 >= all;
    report.figure("scale_out_s", if done { up.iter().copied().fold(0.0, f64::max) - 60.0 } else { f64::NAN });
    report.figure("reserved_cpu_utilisation", cpu / types.iter().map(|t| f64::from(t.vcpus)).sum::<f64>());
    report.figure("reserved_memory_utilisation", memory / types.iter().map(|t| t.memory_mib as f64).sum::<f64>());
    report
}

fn sched_floor(case: &Value) -> Report {
    let pods = whole(case, "pods", 1_000);
    let mut text = cluster(5, "") + EXAMPLE_POOL;
    text.push_str(&workload("load", 0, 500, 512, SMALL, ""));
    text.push_str(&scale("load", 60.0, pods));
    let took = last(&Run::of(&text).decided("karpenter", "provision", 60.0)) - 60.0;
    let mut report = Report::new(
        Standing::Blind,
        &[
            "1,000 pods at once, over the time until the last of their NodeClaims; a pass takes no simulated time, what is left is the batch window",
        ],
    );
    report.figure("pods_per_s", f64::from(pods) / took);
    report.figure("time_to_schedule_all_s", took);
    report
}

fn dense(case: &Value) -> Report {
    let nodes = whole(case, "nodes", 500);
    let per_node = whole(case, "pods_per_node", whole(case, "pods", nodes) / nodes.max(1)).max(1);
    let pods = whole(case, "pods", nodes * per_node);
    let mut text = cluster(31, "");
    let (more, apart) = match per_node {
        1 => (String::new(), "affinity = { anti_required_pods = [{ topology_key = \"kubernetes.io/hostname\" }] }\n"),
        // Three pods of the system are there beside.
        n => (format!("kubelet = {{ max_pods = {} }}\n", n + 3), ""),
    };
    text.push_str(&pool("pool", &json!([if per_node == 1 { "m5.large" } else { "m5.xlarge" }]), "on-demand", &more));
    text.push_str(&workload("one", 0, if per_node == 1 { 100 } else { 10 }, 64, SMALL, apart));
    text.push_str(&scale("one", 60.0, pods));
    let out = Run::of(&text);
    let (ready, up) = (out.nodes("ready_s", 0.0), out.tasks("one", "running_s", 60.0));
    let mut report = Report::new(
        Standing::Blind,
        &["nodes of 2 or 4 vCPUs; pods that must not share a host, or as many as a node may have; default boot"],
    );
    report.figure("all_nodes_ready_s", ready.get(nodes as usize - 1).map_or(f64::NAN, |t| t - 60.0));
    report.figure("all_pods_ready_s", up.get(pods as usize - 1).map_or(f64::NAN, |t| t - 60.0));
    report.figure("nodes", ready.len() as f64);
    report
}

/// Seconds from pods without a node until the Cluster Autoscaler asks for one, at 20 instants: each burst fills one node.
pub(crate) fn reactions(pods_per_node: u32, scan_interval_s: u32) -> Vec<f64> {
    let mut text = cluster(40, "");
    let _ = writeln!(text, "[cluster.eks.cluster_autoscaler]\nscan_interval = {scan_interval_s}");
    text.push_str(&groups("m5.xlarge", 1, 1, 100, "kubelet = { max_pods = 110 }\n"));
    text.push_str(&workload("load", pods_per_node, per_node(pods_per_node), 64, SMALL, ""));
    let instants: Vec<f64> = (0..20).map(|n| f64::from(120 + 97 * n)).collect();
    for (n, at) in instants.iter().enumerate() {
        text.push_str(&scale("load", *at, pods_per_node * (n as u32 + 2)));
    }
    let out = Run::of(&text);
    instants.iter().map(|&at| first(&out.decided("cluster_autoscaler", "scale_up", at)) - at).collect()
}

fn reaction(case: &Value) -> Report {
    let delays = reactions(whole(case, "pods_per_node", 30), whole(case, "scan_interval_s", 10));
    let mut report = Report::new(
        Standing::Blind,
        &[
            "20 bursts of as many pods as fill a node, at instants anywhere within the scan interval; a scan takes no time, so that the cluster's size does not matter",
        ],
    );
    if asks(case, "mean_latency_s") && whole(case, "nodes", 0) > 100 {
        report.stands(
            "mean_latency_s",
            Standing::Underdetermined("how long a scan of so many nodes takes is not modelled"),
        );
    }
    report.figure("max_latency_s", delays.iter().copied().fold(0.0, f64::max));
    report.figure("mean_latency_s", mean(&delays));
    report
}
