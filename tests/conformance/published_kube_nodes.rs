//! Node provisioning, scale-down and consolidation: measured.
//!
//! Boot times are settings. Those of OpenShift's nodes are read off the time that a machine pool takes until its node is ready,
//! once for each of its control planes, and everything else is predicted with them. Delays of decisions, timers and
//! counts are the simulator's own.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measured::Standing;
use crate::published_kube::{
    Report, Run, architecture, asks, between, cluster, expected, first, groups, last, mean, metrics, number,
    number_before, pool, scale, scale_as_the_controller_does, seeded, whole, words, workload,
};
use crate::published_kube_plane::reactions;

/// What nodes a case is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Platform {
    /// EKS, with the defaults of the language.
    Eks,
    /// OpenShift on AWS with the control plane in the account, and the Cluster Autoscaler.
    #[default]
    Classic,
    /// OpenShift on AWS with a hosted control plane, and Karpenter.
    Hosted,
}

/// Seconds from the order until a node is ready: `m5.xlarge_s` of [`CLASSIC_POOL`] and of [`HOSTED_POOL`].
const CLASSIC_S: u32 = 396;
const HOSTED_S: u32 = 321;
/// `m5.metal_s` over `m5.xlarge_s` of [`HOSTED_POOL`].
const METAL: f64 = 3.3;
const CLASSIC_POOL: &str = "rosa_pool_classic_c3";
const HOSTED_POOL: &str = "rosa_pool_hcp";
/// The case that [`Platform::image`] was fitted on.
const PULL_OF: &str = "rosa_cas_scale_up_c3";

impl Platform {
    pub(crate) fn of(case: &Value) -> Self {
        let said = words(case);
        if !said.contains("openshift") && !said.contains("rosa") {
            Self::Eks
        } else if ["karpenter", "autonode", "hosted", "rosa_an", "hcp"].iter().any(|w| said.contains(w)) {
            Self::Hosted
        } else {
            Self::Classic
        }
    }

    /// How long its nodes take to be ready.
    pub(crate) fn nodes(self) -> &'static str {
        match self {
            Self::Eks => "",
            Self::Classic => {
                "nodes.launch = { request = \"5s\", boot = \"376s\", agent_registration = \"15s\" }\n\
                 nodes.pods = { pull_bandwidth = \"8 MB/s\", unpack_bandwidth = \"10 GB/s\" }\n"
            }
            Self::Hosted => "nodes.launch = { request = \"5s\", boot = \"301s\", agent_registration = \"15s\" }\n",
        }
    }

    /// The image of pods on them. On Classic 52 s of pulls and 3 s for the rest are the 55 s from a ready node until its pods ran.
    pub(crate) fn image(self) -> &'static str {
        if self == Self::Classic { "image.size = \"416 MB\"\n" } else { "image.size = \"1 MB\"\n" }
    }
}

/// The standing of figures that a platform's boot decides.
pub(crate) fn calibrated(platform: Platform) -> Standing {
    match platform {
        Platform::Eks => Standing::Blind,
        Platform::Classic => Standing::Calibrated {
            value: "the boot of Classic nodes, and 55 s from there until their pods run",
            on: "rosa_pool_classic_c3 and rosa_cas_scale_up_c3",
        },
        Platform::Hosted => Standing::Calibrated { value: "the boot of nodes of a hosted cluster", on: HOSTED_POOL },
    }
}

const FILLED: &str = "one node that is full at the start; pods of 500m, of which seven fill an m5.xlarge";
const BOTH: &str = "a setting of the simulator, and this case's own";

pub(crate) fn run(case: &Value) -> Option<Report> {
    Some(match case["kind"].as_str()? {
        "node_timeline" => timeline(case),
        "node_scale_up" => scale_up(case),
        "node_scale_down" => scale_down(case),
        "node_provision_time" => pools(case),
        "comparison" => comparison(case),
        _ => packing(case),
    })
}

const ASKED: f64 = 60.0;
/// When a workload goes: longer after the scale-up than the Cluster Autoscaler waits after one.
const REMOVED: f64 = 1_800.0;

/// What a run is made of.
#[derive(Clone)]
struct Setup {
    platform: Platform,
    karpenter: bool,
    kind: String,
    spot: bool,
    cpu_m: u32,
    mib: u32,
    /// Pods that come at once.
    pods: u32,
    /// Settings of the Cluster Autoscaler, or of the NodePool's disruption.
    settings: String,
    /// Whether the pods come at the pace of the ReplicaSet controller.
    paced: bool,
    /// When the pods go again, in seconds.
    removed: Option<f64>,
    seed: u32,
}

impl Setup {
    fn of(case: &Value) -> Self {
        let platform = Platform::of(case);
        let karpenter = words(case).contains("karpenter") || platform == Platform::Hosted;
        let mut setup = Self {
            platform,
            karpenter,
            kind: case["setup"]["instance_type"].as_str().unwrap_or("m5.xlarge").to_owned(),
            spot: case["setup"]["capacity"] == "spot",
            cpu_m: whole(case, "pod_cpu_m", 500),
            mib: whole(case, "pod_mem_mi", 512),
            pods: 0,
            settings: String::new(),
            paced: false,
            removed: None,
            seed: 1,
        };
        setup.pods = setup.per_node();
        setup
    }

    /// Pods that fill a node, beside what the kubelet and the system's pods take.
    fn per_node(&self) -> u32 {
        let cpus = simctl::catalog::Catalog::embedded().instance_type(&self.kind).map_or(4, |t| t.vcpus);
        ((1_000 * cpus).saturating_sub(230) / self.cpu_m.max(1)).max(1)
    }

    /// What tasks say of their image.
    fn image(&self) -> String {
        format!("{}{}", self.platform.image(), architecture(&self.kind))
    }

    /// A scenario without its workload: the nodes, one of them full.
    fn nodes(&self, minutes: u32) -> String {
        let launch = self.platform.nodes();
        let mut text = cluster(minutes, "");
        if self.karpenter {
            let disruption = match self.settings.as_str() {
                "" => "disruption = { consolidate_after = \"Never\" }\n".to_owned(),
                given => format!("disruption = {{ {given} }}\n"),
            };
            let market = if self.spot { "spot" } else { "on-demand" };
            text.push_str(&pool("workers", &json!([self.kind]), market, &(disruption + launch)));
        } else {
            let _ = writeln!(text, "[cluster.eks.cluster_autoscaler]\n{}", self.settings);
            let market = if self.spot { "capacity_type = \"SPOT\"\n" } else { "" };
            text.push_str(&groups(&self.kind, 1, 1, 100, &format!("{market}{launch}")));
        }
        text + &workload("filler", 1, self.per_node() * self.cpu_m, 512, &self.image(), "")
    }

    fn run(&self) -> Cycle {
        let mut text = self.nodes(if self.removed.is_some() { 50 } else { 25 });
        text.push_str(&workload("load", 0, self.cpu_m, self.mib, &self.image(), ""));
        match self.paced {
            true => text.push_str(&scale_as_the_controller_does("load", ASKED, self.pods)),
            false => text.push_str(&scale("load", ASKED, self.pods)),
        }
        if let Some(at) = self.removed {
            text.push_str(&scale("load", at, 0));
        }
        let out = Run::of(&seeded(&text, self.seed));
        let (scaler, reason) =
            if self.karpenter { ("karpenter", "provision") } else { ("cluster_autoscaler", "scale_up") };
        let removed = self.removed.unwrap_or(f64::INFINITY);
        Cycle {
            decided: first(&out.decided(scaler, reason, ASKED)),
            ready: out.nodes("ready_s", ASKED),
            running: last(&out.tasks("load", "running_s", ASKED)),
            cordoned: first(&out.nodes("draining_s", removed)).min(first(&out.nodes("terminating_s", removed))),
            gone: out.nodes("terminated_s", removed),
        }
    }
}

/// How pods without a node came to nodes, and how the nodes went.
struct Cycle {
    decided: f64,
    ready: Vec<f64>,
    running: f64,
    cordoned: f64,
    gone: Vec<f64>,
}

/// Seconds from the workload's end until its first node is cordoned and gone: the mean over ten seeds and phases of the scans.
fn removal(setup: &Setup) -> (f64, f64) {
    let phases: Vec<(f64, f64)> = (0..10)
        .map(|n| {
            let at = REMOVED + f64::from(n);
            let up = Setup { removed: Some(at), seed: n + 1, ..setup.clone() }.run();
            (up.cordoned - at, first(&up.gone) - at)
        })
        .collect();
    let of = |figure: fn(&(f64, f64)) -> f64| mean(&phases.iter().map(figure).collect::<Vec<_>>());
    (of(|p| p.0), of(|p| p.1))
}

fn timeline(case: &Value) -> Report {
    let setup = Setup::of(case);
    let kind = json!([setup.kind]);
    let (mut claims, mut ready, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    // A node is a draw: ten of them, long after each other.
    let autoscaled = case["setup"]["autoscaler"].as_str().is_some_and(|a| a.to_lowercase().contains("cluster"));
    let (scaler, reason) = match autoscaled {
        true => ("cluster_autoscaler", "scale_up"),
        false => ("karpenter", "provision"),
    };
    let mut text = cluster(110, "");
    if autoscaled {
        text.push_str("[cluster.eks.cluster_autoscaler]\n");
        text.push_str(&groups(&setup.kind, 0, 0, 20, ""));
    } else {
        text.push_str(&pool("workers", &kind, "on-demand", "disruption = { consolidate_after = \"Never\" }\n"));
    }
    // The second pod of so much CPU needs a node of its own.
    let cpus = simctl::catalog::Catalog::embedded().instance_type(&setup.kind).map_or(2, |t| t.vcpus);
    text.push_str(&workload("one", 0, 600 * cpus, 512, &setup.image(), ""));
    let instants: Vec<f64> = (0..10).map(|n| f64::from(60 + 600 * n)).collect();
    for (n, at) in instants.iter().enumerate() {
        text.push_str(&scale("one", *at, n as u32 + 1));
    }
    let out = Run::of(&text);
    for &at in &instants {
        claims.push(first(&out.decided(scaler, reason, at)) - at);
        ready.push(first(&out.nodes("ready_s", at)) - at);
        runs.push(first(&out.tasks("one", "running_s", at)) - at);
    }
    let mut report = Report::new(Standing::Blind, &["a small image; default boot; the mean of ten nodes"]);
    let events: [(&[&str], f64); 4] = [
        (&["pod_created"], 0.0),
        (&["fleet_request", "fleet_requested", "decision", "nodeclaim"], mean(&claims)),
        (&["node_ready"], mean(&ready)),
        (&["pod_ready"], mean(&runs)),
    ];
    for metric in expected(case).into_iter().filter_map(|e| e["metric"].as_str()) {
        if let Some(took) = between(metric, &events) {
            report.figure(metric, took);
        }
    }
    report
}

/// The standing of a figure of a scale-up.
fn of_scale_up(case: &Value, metric: &str, platform: Platform) -> Standing {
    if metric.ends_with("_to_decision_s") || metric.ends_with("nodeclaim_s") || metric == "stagger_s" {
        return Standing::Blind;
    }
    match case["id"] == PULL_OF && metric.ends_with("_running_s") {
        true => Standing::Fitted("55 s from a ready node until its pods run"),
        false => calibrated(platform),
    }
}

fn scale_up(case: &Value) -> Report {
    let mut setup = Setup::of(case);
    let platform = setup.platform;
    let two = asks(case, "second_node_ready_s");
    let per_node = setup.per_node();
    let nodes = whole(case, "new_nodes", if two { 2 } else { 1 });
    // So many pods that they fill the new nodes; those of a case that make more nodes than it speaks of had room elsewhere.
    setup.pods = match case["setup"]["new_nodes"].is_u64() {
        true => nodes * per_node,
        false => whole(case, "pods", nodes * per_node),
    };
    setup.paced = !case["setup"]["new_nodes"].is_u64() && setup.pods > 30;
    let up = setup.run();
    let mut report = Report::new(calibrated(platform), &[FILLED]);
    if setup.paced {
        report.assume("the ReplicaSet makes 20 pods a second after a burst of 30, the controller manager's own limits");
    }
    let decision = match setup.karpenter {
        true => up.decided - ASKED,
        false => mean(&reactions(30, 10)),
    };
    if !setup.karpenter {
        report.assume("of the decision's delay the mean over 20 instants within the scan interval");
    }
    // Where the first node is meant, and all of them start alike.
    let waves = metrics(case, "wave", "_s");
    let waved = waves_of(&setup, waves.len() as u32);
    let figures = [
        ("failed_scheduling_to_decision_s", decision),
        ("failed_scheduling_to_nodeclaim_s", decision),
        ("pending_to_nodeclaim_s", decision),
        ("decision_to_node_ready_s", first(&up.ready) - up.decided),
        ("nodeclaim_to_node_ready_s", first(&up.ready) - up.decided),
        ("failed_scheduling_to_pods_running_s", up.running - ASKED),
        ("pending_to_all_running_s", up.running - ASKED),
        ("first_node_ready_s", first(&up.ready) - ASKED),
        ("second_node_ready_s", up.ready.get(1).map_or(f64::NAN, |t| t - ASKED)),
        ("stagger_s", last(&up.ready) - first(&up.ready)),
        ("cold_node_ready_s", last(&up.ready) - ASKED),
    ];
    let events: [(&[&str], f64); 6] = [
        (&["failed_scheduling", "pending", "pod_created", "asked"], ASKED),
        (&["decision", "trigger", "cas_trigger", "nodeclaim", "first_nodeclaim"], up.decided),
        (&["node_ready", "first_node_ready"], first(&up.ready)),
        (&["second_node_ready"], up.ready.get(1).copied().unwrap_or(f64::NAN)),
        (&["last_node_ready", "all_nodes_ready"], last(&up.ready)),
        (&["pods_running", "all_running", "all_pods_running", "running", "pod_ready"], up.running),
    ];
    let named = |metric: &str| figures.iter().any(|f| f.0 == metric);
    let others = expected(case).into_iter().filter_map(|e| e["metric"].as_str()).filter(|m| !named(m));
    let others: Vec<(&str, f64)> = others.filter_map(|m| Some((m, between(m, &events)?))).collect();
    let slow = case["notes"].as_str().is_some_and(|n| n.contains("envelope"));
    for (metric, value) in figures.into_iter().chain(others).chain(waves.iter().zip(waved).map(|(m, w)| (m.0, w))) {
        if asks(case, metric) {
            report.figure(metric, value);
            report.stands(
                metric,
                match slow {
                    true => Standing::Underdetermined(
                        "the same test took 453, 928 and 1,361 s: what slowed this run is not said",
                    ),
                    false => of_scale_up(case, metric, platform),
                },
            );
        }
    }
    report
}

/// Seconds from a wave of pods that fill one more node until they all run, one wave long after the other.
fn waves_of(setup: &Setup, waves: u32) -> Vec<f64> {
    if waves == 0 {
        return Vec::new();
    }
    let per_node = setup.per_node();
    let mut text = setup.nodes(15 * (waves + 1));
    text.push_str(&workload("wave", 0, setup.cpu_m, setup.mib, &setup.image(), ""));
    let at = |n: u32| f64::from(60 + 900 * n);
    for n in 0..waves {
        text.push_str(&scale("wave", at(n), per_node * (n + 1)));
    }
    let out = Run::of(&text);
    let up = out.tasks("wave", "running_s", ASKED);
    (0..waves)
        .map(|n| up.iter().filter(|t| (at(n)..at(n + 1)).contains(*t)).copied().fold(f64::NAN, f64::max) - at(n))
        .collect()
}

fn scale_down(case: &Value) -> Report {
    let mut setup = Setup::of(case);
    let seconds = |key: &str| case["setup"][key].as_u64();
    let unneeded = seconds("unneeded_s").unwrap_or(600);
    let mut report;
    if setup.karpenter {
        setup.settings = format!("consolidate_after = \"{}s\"", seconds("consolidate_after_s").unwrap_or(0));
        setup.pods = 3 * setup.per_node();
        report = Report::new(
            Standing::Blind,
            &[
                "three nodes become empty at once; the NodeClaim goes with its instance; the mean of ten seeds and phases of the scans",
            ],
        );
    } else {
        let after_add = seconds("delay_after_add_s").unwrap_or(600);
        setup.settings = format!("scale_down_unneeded_time = {unneeded}\nscale_down_delay_after_add = {after_add}\n");
        report = Report::new(
            Standing::Blind,
            &[
                FILLED,
                "the workload goes long after the scale-up, and its processes at once; the mean of ten seeds and phases of the scans",
            ],
        );
    }
    let (cordon, gone) = removal(&setup);
    for e in expected(case) {
        let metric = e["metric"].as_str().unwrap_or_default();
        match metric {
            "removed_to_cordon_s" => {
                report.figure(metric, cordon);
                if !setup.karpenter && e["value"].as_f64().is_some_and(|v| v < unneeded as f64) {
                    report.stands(metric, Standing::Underdetermined(
                        "shorter than the unneeded time itself: when the harness called the workload removed is not said",
                    ));
                }
            }
            "removed_to_node_gone_s" | "removed_to_first_nodeclaim_removed_s" | "removed_to_nodeclaim_removed_s" => {
                report.figure(metric, gone);
            }
            _ => {}
        }
    }
    let steps = metrics(case, "rollback_step", "_s");
    for ((metric, _), took) in steps.iter().zip(rollback(&setup, steps.len() as u32)) {
        report.figure(*metric, took);
        let why = "what each step of the roll-back removes is not said; here the pods of one node";
        report.stands(*metric, Standing::Underdetermined(why));
    }
    report
}

/// Seconds from the removal of the pods of one node until it is gone, one node after the other.
fn rollback(setup: &Setup, steps: u32) -> Vec<f64> {
    if steps == 0 {
        return Vec::new();
    }
    let mut text = setup.nodes(30 + 15 * steps);
    let at = |n: u32| REMOVED + 900.0 * f64::from(n);
    for n in 0..steps {
        let name = format!("step{n}");
        text.push_str(&workload(&name, 0, setup.per_node() * setup.cpu_m, 512, &setup.image(), ""));
        text.push_str(&scale(&name, ASKED, 1));
        text.push_str(&scale(&name, at(n), 0));
    }
    let out = Run::of(&text);
    (0..steps).map(|n| first(&out.nodes("terminated_s", at(n))) - at(n)).collect()
}

/// The time of a machine pool is a node's boot; metrics name the type.
fn pools(case: &Value) -> Report {
    let hosted = Platform::of(case) == Platform::Hosted;
    let (boot, on) = if hosted { (HOSTED_S, HOSTED_POOL) } else { (CLASSIC_S, CLASSIC_POOL) };
    let mut report = Report::new(
        Standing::Calibrated { value: "the boot of m5.xlarge", on },
        &["a pool's first node, from the order to launch it"],
    );
    for (metric, kind) in metrics(case, "", "_s") {
        let metal = kind.ends_with(".metal");
        let boot = if metal { METAL * f64::from(boot) } else { f64::from(boot) };
        let launch = format!(
            "nodes.launch = {{ request = \"5s\", boot = \"{}s\", agent_registration = \"15s\" }}\n",
            boot - 20.0
        );
        let mut text = cluster(45, "")
            + "[cluster.eks.cluster_autoscaler]\nmax_node_provision_time = \"40m\"\n"
            + &groups(kind, 0, 0, 2, &launch);
        let image = format!("image.size = \"1 MB\"\n{}", architecture(kind));
        text.push_str(&workload("one", 0, 500, 512, &image, ""));
        text.push_str(&scale("one", ASKED, 1));
        let out = Run::of(&text);
        report.figure(
            metric,
            first(&out.nodes("ready_s", ASKED)) - first(&out.decided("cluster_autoscaler", "scale_up", ASKED)),
        );
        let fitted = case["id"] == on && kind == "m5.xlarge" || case["id"] == HOSTED_POOL && metal;
        if fitted {
            report.stands(metric, Standing::Fitted(BOTH));
        } else if metal {
            report.stands(metric, Standing::Calibrated { value: "3.3 times the boot on bare metal", on: HOSTED_POOL });
        }
    }
    report
}

fn comparison(case: &Value) -> Report {
    let mut report = Report::new(
        Standing::Blind,
        &[FILLED, "the defaults of the Cluster Autoscaler, consolidateAfter 30 s as in rosa_karpenter_consolidation"],
    );
    let on = Setup::of(case).platform != Platform::Eks;
    for (prefix, karpenter) in [("cas_", false), ("karpenter_", true)] {
        let platform = match (on, karpenter) {
            (false, _) => Platform::Eks,
            (true, false) => Platform::Classic,
            (true, true) => Platform::Hosted,
        };
        let setup = Setup { platform, karpenter, ..Setup::of(case) };
        let up = setup.run();
        let settings = if karpenter { "consolidate_after = \"30s\"".to_owned() } else { String::new() };
        for (metric, what) in metrics(case, prefix, "_s") {
            let (value, standing) = match what {
                "decision" if karpenter => (up.decided - ASKED, Standing::Blind),
                "decision" => (mean(&reactions(30, 10)), Standing::Blind),
                "node_provision" => (first(&up.ready) - up.decided, calibrated(platform)),
                "end_to_end" => (up.running - ASKED, calibrated(platform)),
                "scale_down" => (removal(&Setup { settings: settings.clone(), ..setup.clone() }).1, Standing::Blind),
                _ => continue,
            };
            report.figure(metric, value);
            report.stands(metric, standing);
        }
    }
    report
}

/// The counts of replicas that metrics name, in their order: up by `nodes_at_N_replicas`, down by `nodes_after_scale_to_N`.
fn packing(case: &Value) -> Report {
    let setup = &case["setup"];
    let (cpu, memory) = (whole(case, "daemon_cpu_m", 150), whole(case, "daemon_mem_mi", 200));
    let daemons = number_before(case, "pods").unwrap_or(3);
    let eks = format!("system_pods = {daemons}\nsystem_pods_cpu = \"{cpu}m\"\nsystem_pods_memory = \"{memory} MiB\"\n");
    let market = if words(case).contains("spot") { "spot" } else { "on-demand" };
    let (cpu_m, mib) = (whole(case, "pod_cpu_m", 500), whole(case, "pod_mem_mi", 128));
    let ups = metrics(case, "nodes_at_", "_replicas").into_iter();
    let mut steps: Vec<(&str, u32)> = ups.filter_map(|(m, n)| Some((m, n.parse().ok()?))).collect();
    let downs = metrics(case, "nodes_after_scale_to_", "").into_iter();
    steps.extend(downs.filter_map(|(m, n)| Some((m, n.parse().ok()?))));
    let at = |n: usize| 60.0 + 900.0 * n as f64;
    let image = format!("image.size = \"60 MB\"\n{}", setup["types"][0].as_str().map_or("", architecture));
    let scenario = |more: &str| {
        let mut text = cluster(15 * (steps.len() as u32 + 1), &eks) + &pool("pool", &setup["types"], market, more);
        text.push_str(&workload("nginx", 0, cpu_m, mib, &image, ""));
        for (n, (_, to)) in steps.iter().enumerate() {
            text.push_str(&scale("nginx", at(n), *to));
        }
        Run::of(&text)
    };
    let out = scenario("");
    let mut report = Report::new(Standing::Exact, &["Karpenter's own default disruption settings"]);
    if market == "spot" {
        report.assume("Spot prices of the catalog");
    }
    for (n, (metric, to)) in steps.iter().enumerate() {
        let nodes = out.nodes_at(at(n + 1) - 1.0);
        report.figure(*metric, nodes.len() as f64);
        let kinds: Vec<&str> = nodes.iter().map(|r| r["node_type"].as_str()).collect();
        report.word(format!("chosen_type_at_{to}_replicas"), kinds.join(", "));
    }
    // What is left of a launch without a boot is the call to EC2.
    let called = scenario("nodes.launch = { boot = \"0s\", agent_registration = \"0s\" }\n");
    let calls: Vec<f64> =
        called.rows("nodes.csv").iter().map(|r| number(r, "ready_s") - number(r, "launched_s")).collect();
    report.stands("decision_to_instance_launched_s", Standing::Blind);
    report.figure("decision_to_instance_launched_s", mean(&calls));
    report
}
