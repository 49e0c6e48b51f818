//! Experiments with the Horizontal Pod Autoscaler.

use std::fmt::Write as _;

use serde_json::{Value, json};
use simctl::kernel::{SimDuration, SimTime};
use simctl::kubernetes::hpa::{
    HpaMemory, HpaSettings, HpaSpec, MetricSpec, Observation, PodReading, PodState, PodTarget, Reading, Replicas,
    ResourceName, Sample, sync,
};
use simctl::kubernetes::kubelet::{PodPhase, ReadyCondition};

use crate::measured::{Standing, run_whole};
use crate::published_kube::{
    Report, Run, asks, between, cluster, expected, first, groups, last, mean, median, metrics, number, pool, whole,
    words, workload,
};
use crate::published_kube_nodes::{Platform, calibrated};

const WORKLOAD: &str = "pods of 500m; load that takes six times a pod's request; as many replicas as one decision may ask for, max(2 n, 4)";
const PHASES: &str = "the mean of five phases, of counts the median";
const FULL: &str = "one m5.xlarge, full; balloons of the pods' own size, one for each replica to come, at priority -1";
const DIFFER: &str = "16, 31, 123 and 150 s were measured for the same thing, in runs with bugs of the harness";

pub(crate) fn run(case: &Value) -> Option<Report> {
    match case["kind"].as_str()? {
        "hpa_step" => step(case),
        "hpa_economics" => Some(economics(case)),
        "hpa_latency" => Some(latency(case)),
        "hpa_cascade" => Some(cascade(case)),
        "spike" => Some(spike(case)),
        _ => Some(overprovisioning(case)),
    }
}

fn step(case: &Value) -> Option<Report> {
    let setup = &case["setup"];
    let number = |name: &str| setup[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let target = PodTarget::Utilization(setup["target_pct"].as_i64()?);
    let spec = HpaSpec {
        min_replicas: number("min").unwrap_or(1),
        max_replicas: number("max")?,
        metrics: vec![MetricSpec::Resource { resource: ResourceName::Cpu, target }],
        behavior: None,
    };
    let first_use = setup["utilization_pct"].as_i64()?;
    let before = number("current_replicas")?;
    let used = 2 * first_use * i64::from(before);
    let (mut memory, mut replicas, mut syncs) = (HpaMemory::default(), before, 0);
    let mut proposal = 0;
    // All pods together use what one used: the load is shared.
    for n in 0..40 {
        let now = SimTime::from_secs(100_000 + 15 * n);
        let ready = Some(ReadyCondition { status: true, since: SimTime::ZERO });
        let pod = PodState { phase: PodPhase::Running, deleting: false, ready, start: Some(SimTime::ZERO) };
        let pods = vec![pod; replicas as usize];
        let sample = Some(Sample { at: now, window: SimDuration::from_secs(15), value: used / i64::from(replicas) });
        let readings = vec![PodReading { sample, request: Some(200) }; replicas as usize];
        let seen = Observation {
            replicas: Replicas { spec: replicas, status: replicas },
            pods: &pods,
            readings: &[Reading::Pods { readings: &readings, strangers: &[] }],
        };
        let (decision, next) = sync(&spec, &HpaSettings::default(), memory, &seen, now);
        memory = next;
        if n == 0 {
            proposal = decision.proposal.unwrap_or(0);
        }
        if decision.replicas != replicas {
            (replicas, syncs) = (decision.replicas, n + 1);
        }
    }
    let mut report = Report::new(
        Standing::Exact,
        &["the same load, shared, at forty syncs: ten minutes, twice the window of scale-downs"],
    );
    report.figure("desired_replicas", f64::from(replicas));
    report.figure("proposal_of_first_sync", f64::from(proposal));
    report.figure("syncs", syncs as f64);
    Some(report)
}

fn latency(case: &Value) -> Report {
    let seen = spikes(case, Surroundings { spare: true, ..Surroundings::default() });
    let room = "room for all on one node, where the image is already";
    let mut report = Report::new(Standing::Blind, &[WORKLOAD, PHASES, room]);
    report.assume("the breach is seen when the first reading above the target can be read");
    report.figure("breach_to_decision_s", seen.breach);
    report.figure("breach_to_pods_ready_s", seen.breach + seen.all_ready - seen.decided);
    report.figure("replicas_after_first_decision", seen.replicas);
    report.figure("load_to_decision_s", seen.decided);
    report
}

fn cascade(case: &Value) -> Report {
    let platform = Platform::of(case);
    let seen = spikes(case, Surroundings { platform, ..Surroundings::default() });
    let mut report = Report::new(calibrated(platform), &[WORKLOAD, PHASES, FULL]);
    report.stands(
        "hpa_to_pending_s",
        Standing::Underdetermined("how many replicas still fitted before the first that did not is not said"),
    );
    let events: [(&[&str], f64); 6] = [
        (&["load"], 0.0),
        (&["hpa", "hpa_decision", "decision"], seen.decided),
        (&["pending"], seen.pending),
        (&["cas_trigger", "karpenter_trigger", "trigger", "nodeclaim"], seen.trigger),
        (&["node_ready"], seen.node_ready),
        (&["running", "all_ready", "all_running", "pods_ready"], seen.all_ready),
    ];
    for metric in expected(case).into_iter().filter_map(|e| e["metric"].as_str()) {
        if let Some(took) = between(metric, &events) {
            report.figure(metric, took);
        }
    }
    report
}

fn spike(case: &Value) -> Report {
    let platform = Platform::of(case);
    let plain = spikes(case, Surroundings { platform, ..Surroundings::default() });
    let balloon = spikes(case, Surroundings { platform, balloons: true, ..Surroundings::default() });
    let mut report = Report::new(calibrated(platform), &[WORKLOAD, PHASES, FULL]);
    // What one run measured three to ten times as long as the others is not the mechanism.
    if expected(case)
        .iter()
        .any(|e| e["metric"] == "balloon_all_ready_s" && e["tol_rel"].as_f64().is_some_and(|t| t >= 0.7))
    {
        report.stands("balloon_all_ready_s", Standing::Underdetermined(DIFFER));
    }
    report.figure("no_prep_all_ready_s", plain.all_ready);
    report.figure("no_prep_cas_trigger_s", plain.trigger);
    report.figure("balloon_all_ready_s", balloon.all_ready);
    report.figure("balloon_preemption_s", balloon.preempted);
    report.figure("reduction_fraction", 1.0 - balloon.all_ready / plain.all_ready);
    for metric in ["no_prep_nodeclaim_s", "no_prep_karpenter_trigger_s", "no_prep_trigger_s"] {
        if asks(case, metric) {
            report.figure(metric, plain.trigger);
        }
    }
    report
}

fn overprovisioning(case: &Value) -> Report {
    let mut report = Report::new(calibrated(Platform::Classic), &[WORKLOAD, PHASES, FULL]);
    report.assume("from the autoscaler's decision, as the cascade counts");
    for (prefix, platform) in [("cas_", Platform::Classic), ("karpenter_", Platform::Hosted)] {
        for (metric, how) in metrics(case, prefix, "_s") {
            let balloons = how == "with";
            let seen = spikes(case, Surroundings { platform, balloons, ..Surroundings::default() });
            report.figure(metric, seen.all_ready - seen.decided);
            let standing = match (platform, balloons) {
                (Platform::Classic, true) => Standing::Underdetermined(DIFFER),
                (_, true) => Standing::Blind,
                _ => calibrated(platform),
            };
            report.stands(metric, standing);
        }
    }
    report
}

/// The Horizontal Pod Autoscaler and the Cluster Autoscaler together, as the FAQ of the latter tells it of Google's clouds.
pub(crate) fn reactions() -> Report {
    let seen = spikes(&Value::Null, Surroundings { faq: true, ..Surroundings::default() });
    const NODES: &str = "nodes that take 210 s, the middle of what this text gives";
    let mut report = Report::new(
        Standing::Blind,
        &[WORKLOAD, PHASES, FULL, "Kubernetes of that time: metrics once a minute, a sync every 30 s", NODES],
    );
    report.stands("node_provisioning_s", Standing::Fitted(NODES));
    report.stands("total_s", Standing::Fitted(NODES));
    report.figure("hpa_reaction_s", seen.decided);
    report.figure("ca_reaction_s", seen.trigger - seen.pending);
    report.figure("node_provisioning_s", seen.node_ready - seen.trigger);
    report.figure("total_s", seen.all_ready);
    report
}

/// What surrounds a spike.
#[derive(Clone, Copy, Default)]
struct Surroundings {
    spare: bool,
    balloons: bool,
    platform: Platform,
    faq: bool,
}

/// Seconds after the load rose, and counts.
#[derive(Default)]
struct Seen {
    /// From the first reading above the target that could be read until the decision.
    breach: f64,
    decided: f64,
    replicas: f64,
    pending: f64,
    trigger: f64,
    node_ready: f64,
    preempted: f64,
    all_ready: f64,
}

/// Over five phases of the syncs and the scans.
fn spikes(case: &Value, around: Surroundings) -> Seen {
    let all: Vec<Seen> = [300, 303, 306, 309, 312].map(|at| one_spike(case, around, at)).into();
    let each = |figure: fn(&Seen) -> f64| all.iter().map(figure).collect::<Vec<_>>();
    let of = |figure: fn(&Seen) -> f64| mean(&each(figure));
    Seen {
        breach: of(|s| s.breach),
        decided: of(|s| s.decided),
        replicas: median(each(|s| s.replicas)),
        pending: of(|s| s.pending),
        trigger: of(|s| s.trigger),
        node_ready: of(|s| s.node_ready),
        preempted: of(|s| s.preempted),
        all_ready: of(|s| s.all_ready),
    }
}

/// The lag of metrics-server, a default.
const LAG_S: f64 = 5.0;

fn one_spike(case: &Value, around: Surroundings, at: u32) -> Seen {
    let (before, target) = (whole(case, "start_replicas", 1), whole(case, "hpa_target_pct", 50));
    let most = (2 * before).max(4);
    let old = if around.faq {
        "metrics_server = { metric_resolution = \"60s\" }\nhorizontal_pod_autoscaler = { sync_period = \"30s\" }\n"
    } else {
        ""
    };
    let mut text = cluster(24, &format!("priority_classes = {{ balloon = {{ value = -1 }} }}\n{old}"));
    let launch = match around {
        Surroundings { faq: true, .. } => {
            "nodes.launch = { request = \"5s\", boot = \"190s\", agent_registration = \"15s\" }\n"
        }
        _ => around.platform.nodes(),
    };
    let karpenter = around.platform == Platform::Hosted;
    if karpenter {
        let stays = format!("disruption = {{ consolidate_after = \"Never\" }}\n{launch}");
        text.push_str(&pool("workers", &json!(["m5.xlarge"]), "on-demand", &stays));
    } else {
        text.push_str("[cluster.eks.cluster_autoscaler]\n");
        text.push_str(&groups("m5.xlarge", 1, 1, 5, launch));
    }
    let image = around.platform.image();
    // So many requests a second of 100 ms that each pod would take 3 CPUs.
    let (low, high) = (0.5 * f64::from(before), 30 * before);
    let _ = write!(
        text,
        "[services.web]\ndesired_count = {before}\n[services.web.task]\ncpu = \"500m\"\nmemory = \"512 MiB\"\n{image}startup = \"1s\"\n\
         [services.web.requests.any]\ncpu_time = \"100ms\"\n[services.web.traffic]\n\
         rate = [{{ at = \"0s\", rps = {low} }}, {{ at = \"{at}s\", rps = {low} }}, {{ at = \"{at}s\", rps = {high} }}]\n\
         [services.web.client]\ntimeout = \"5s\"\n\
         [services.web.kubernetes.horizontal_pod_autoscaler]\nmin_replicas = {before}\nmax_replicas = {most}\n\
         metrics = [{{ type = \"Resource\", name = \"cpu\", average_utilization = {target} }}]\n"
    );
    // 3,770m are left on the node beside the system's pods: seven of 500m.
    let room = (3_500 - 500 * before.min(6)).max(500);
    let balloons = 500 * (most - before);
    if !around.spare {
        let filler = if around.balloons { room.saturating_sub(balloons).max(100) } else { room };
        text.push_str(&workload("filler", 1, filler, 512, image, ""));
    }
    if around.balloons {
        let class = "priority_class_name = \"balloon\"\n";
        text.push_str(&workload("balloon", most - before, 500, 512, "image.size = \"1 MB\"\n", class));
    }
    let out = Run::of(&text);
    let from = f64::from(at);
    let since = |times: Vec<f64>| first(&times) - from;
    let decisions = out.rows("decisions.csv");
    let scaled = decisions.iter().find(|r| {
        let (then, to) = (number(r, "time_s"), number(r, "result"));
        r["controller"] == "hpa" && r["reason"] == "rescale" && then >= from && to > f64::from(before)
    });
    let (scaler, reason) = if karpenter { ("karpenter", "provision") } else { ("cluster_autoscaler", "scale_up") };
    Seen {
        breach: scaled.map_or(f64::NAN, |r| (number(r, "observed_age_s") - LAG_S).max(0.0)),
        decided: scaled.map_or(f64::NAN, |r| number(r, "time_s")) - from,
        replicas: scaled.map_or(f64::NAN, |r| number(r, "result")),
        pending: since(out.decided("scheduler", "FailedScheduling", from)),
        trigger: since(out.decided(scaler, reason, from)),
        node_ready: since(out.nodes("ready_s", from)),
        preempted: since(out.decided("scheduler", "Preempted", from)),
        all_ready: last(&out.tasks("web", "ready_s", from)) - from,
    }
}

/// The rules of one direction of `behavior`.
fn rules(hpa: &Value, direction: &str) -> String {
    let policies: Vec<String> = hpa[direction]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| format!("{{ type = {}, value = {}, period_seconds = {} }}", p["type"], p["value"], p["period_s"]))
        .collect();
    let window = hpa[format!("{direction}_window_s")].as_u64().unwrap_or(if direction == "scale_up" { 0 } else { 300 });
    format!("{direction} = {{ stabilization_window_seconds = {window}, policies = [{}] }}", policies.join(", "))
}

fn economics(case: &Value) -> Report {
    let hpa = &case["setup"]["hpa"];
    let (least, most) = (&hpa["min"], &hpa["max"]);
    let users: u32 =
        case["setup"]["load"].as_str().and_then(|l| l.split_whitespace().find_map(|w| w.parse().ok())).unwrap_or(50);
    let request = whole(case, "pod_cpu_request_m", 1_000);
    // One process on one core, whatever the limit.
    let one_core = words(case).contains("one core");
    let limit = if one_core { 1_000 } else { whole(case, "pod_cpu_limit_m", request) };
    let mut peaks = Vec::new();
    let mut report = Report::new(
        Standing::Underdetermined(
            "the load is a pattern that is not fully published, and the work of a request is not said",
        ),
        &["clients without think time, as many as the repository has; 65 ms of CPU a request"],
    );
    for (metric, target) in metrics(case, "peak_cpus_target_", "") {
        let mut text = cluster(30, "");
        text.push_str(&groups("m5.4xlarge", 10, 10, 10, ""));
        let _ = write!(
            text,
            "[services.fib]\ndesired_count = {least}\n[services.fib.task]\ncpu = \"{request}m\"\nmemory = \"512 MiB\"\n\
             image.size = \"50 MB\"\nstartup = \"2s\"\n[services.fib.requests.any]\ncpu_time = \"65ms\"\n\
             [services.fib.traffic]\nusers = {{ count = {users}, think = \"0s\" }}\n[services.fib.kubernetes]\n\
             limits = {{ cpu = \"{limit}m\" }}\n[services.fib.kubernetes.horizontal_pod_autoscaler]\n\
             min_replicas = {least}\nmax_replicas = {most}\nbehavior = {{ {}, {} }}\n\
             metrics = [{{ type = \"Resource\", name = \"cpu\", average_utilization = {target} }}]\n",
            rules(hpa, "scale_up"),
            rules(hpa, "scale_down")
        );
        let (folder, summary) = run_whole(&text);
        let decided = crate::measured::column_where(folder.path(), "decisions.csv", "controller", "hpa", "result");
        let peak = decided.into_iter().fold(0.0, f64::max) * f64::from(request) / 1_000.0;
        let latency = summary.services["fib"].latency.as_ref().map_or((f64::NAN, f64::NAN), |l| (l.mean_ms, l.p95_ms));
        report.figure(metric, peak);
        report.figure(format!("mean_response_ms_target_{target}"), latency.0);
        report.figure(format!("p95_response_ms_target_{target}"), latency.1);
        peaks.push(peak);
    }
    if let [one, other] = peaks[..] {
        for (metric, _) in metrics(case, "peak_cpu_ratio_", "") {
            report.figure(metric, one / other);
        }
    }
    report
}
