//! Nodes and what hangs on them under Kubernetes: updates of groups, silence, volumes, KEDA, and the words for troubles of pods.

mod common;

use common::{Outcome, simulate};
use simctl::output::DiagnosisKind;
use simctl::scenario::from_text;

/// Six pods on three nodes in three zones, and room for as many again.
const BASE: &str = r#"
[simulation]
duration = "40m"
[cluster]
orchestrator = "eks"
zones = 3
[capacity.workers]
type = "node_group"
instance_types = ["m7i.large"]
min_size = 3
max_size = 6
[services.web]
desired_count = 6
[services.web.task]
cpu = "400m"
memory = "512 MiB"
image.size = "100 MB"
startup = "5s"
[services.web.requests.page]
cpu_time = "10ms"
wait = "20ms"
[services.web.client]
timeout = "1s"
[services.web.traffic]
rate = [{ at = "0s", rps = 30 }]
[services.web.load_balancer]
health_check = { interval = "5s", timeout = "2s", healthy_threshold = 2, unhealthy_threshold = 2 }
[services.web.kubernetes]
readiness_probe = { period_seconds = 5 }
pre_stop = "10s"
topology_spread_constraints = [{ topology_key = "kubernetes.io/hostname" }]
"#;

fn with(more: &str) -> Outcome {
    simulate(&format!("{BASE}{more}"))
}

const UPDATE: &str = "[actions.image]\ntype = \"update_node_group\"\nat = \"2m\"\ncapacity = \"workers\"\n";

#[test]
fn an_update_replaces_every_node_and_loses_nothing() {
    let out = with(&format!("pod_disruption_budget = {{ max_unavailable = 1 }}\n{UPDATE}"));
    let reasons: Vec<String> = out.decided("node_group_update").into_iter().map(|d| d.1).collect();
    let count = |what: &str| reasons.iter().filter(|r| *r == what).count();
    assert_eq!((count("drain"), count("terminate"), count("successful")), (3, 3, 1), "{reasons:?}");
    let nodes = out.rows("nodes.csv", &["end_reason"]);
    assert_eq!(nodes.iter().filter(|n| n[0] == "updated").count(), 3, "{nodes:?}");
    assert!(!out.has(DiagnosisKind::NodeGroupUpdateFailed));
    let r = &out.summary.services["web"].requests;
    assert!(r.failed * 1_000 <= r.started, "{} of {} failed", r.failed, r.started);
}

/// The same pods on a NodePool of Karpenter, each on a node of its own, whose pool is changed after six minutes.
fn pool(more: &str, action: &str) -> Outcome {
    let group = "type = \"node_group\"\ninstance_types = [\"m7i.large\"]\nmin_size = 3\nmax_size = 6\n";
    let pool = "type = \"node_pool\"\nrequirements = [{ key = \"node.kubernetes.io/instance-type\", operator = \"In\", \
                values = [\"m7i.large\"] }]\ndisruption = { consolidation_policy = \"WhenEmpty\" }\n";
    let base = BASE.replace(group, &format!("{pool}{more}"));
    assert_ne!(base, BASE);
    let budget = "pod_disruption_budget = { max_unavailable = 1 }\n";
    simulate(&format!(
        "{base}{budget}[actions.change]\ntype = \"update_node_pool\"\nat = \"6m\"\ncapacity = \"workers\"\n{action}"
    ))
}

#[test]
fn nodes_drift_from_a_new_image_and_are_replaced_one_by_one() {
    let out = pool("", "new_image = true\n");
    let nodes = out.rows("nodes.csv", &["end_reason"]);
    assert_eq!(nodes.iter().filter(|n| n[0] == "drifted").count(), 6, "{nodes:?}");
    let drift: Vec<f64> = out.decided("karpenter").into_iter().filter(|d| d.1 == "drift").map(|d| d.0).collect();
    assert_eq!(drift.len(), 6, "one node a command");
    // A node looks at its image every five minutes, from the instant when it was made.
    assert!(drift[0] >= 600.0 && drift[0] < 620.0, "{drift:?}");
    assert!(drift.windows(2).all(|w| w[1] - w[0] > 30.0), "the budget lets one node go at once: {drift:?}");
    let r = &out.summary.services["web"].requests;
    assert!(r.failed * 1_000 <= r.started, "{} of {} failed", r.failed, r.started);
}

#[test]
fn labels_of_karpenter_are_known() {
    let text = BASE.replace(
        "type = \"node_group\"\ninstance_types = [\"m7i.large\"]\nmin_size = 3\nmax_size = 6\n",
        "type = \"node_pool\"\nrequirements = [{ key = \"karpenter.k8s.aws/instance-famly\", operator = \"In\", values = [\"m7i\"] }]\n",
    );
    let said = common::refused(&text);
    assert!(said.contains("no label of Karpenter `karpenter.k8s.aws/instance-famly`"), "{said}");
    assert!(said.contains("karpenter.k8s.aws/instance-family"), "{said}");
}

#[test]
fn nodes_drift_from_their_pool_at_once_and_its_new_nodes_are_as_it_says() {
    let out = pool("", "taints = [{ key = \"team\", value = \"blue\" }]\nlabels = { team = \"blue\" }\n");
    // The pods do not tolerate the taint: drift would strand them, and replaces nothing, which is said.
    let ends = out.rows("nodes.csv", &["end_reason"]);
    assert!(ends.iter().all(|n| n[0] != "drifted"), "{ends:?}");
    assert_eq!(out.decided("karpenter").iter().filter(|d| d.1 == "drift_blocked").count(), 6);
    let out = pool(
        "",
        "labels = { team = \"blue\" }\ndisruption = { consolidation_policy = \"WhenEmpty\", budgets = [{ nodes = \"100%\" }] }\n",
    );
    let drift: Vec<f64> = out.decided("karpenter").into_iter().filter(|d| d.1 == "drift").map(|d| d.0).collect();
    assert_eq!(drift.len(), 6);
    assert!(drift[0] >= 360.0 && drift[0] <= 370.0, "{drift:?}");
    // The new nodes are as the pool says: nothing drifts again.
    let ends = out.rows("nodes.csv", &["end_reason"]);
    assert_eq!(ends.iter().filter(|n| n[0] == "drifted").count(), 6, "{ends:?}");
}

#[test]
fn a_budget_that_spares_no_pod_fails_the_update() {
    let budget = "pod_disruption_budget = { min_available = \"100%\" }\n";
    let out = with(&format!("{budget}{UPDATE}"));
    let (drain, failed) = (out.first("node_group_update", "drain"), out.first("node_group_update", "failed"));
    assert!((failed - drain - 900.0).abs() < 1.0, "15 minutes: {drain} to {failed}");
    let d = out.diagnosis(DiagnosisKind::NodeGroupUpdateFailed);
    assert!(d.evidence.contains("PodEvictionFailure") && d.evidence.contains("the budget of `web`"), "{d:?}");
    let forced = simulate(&format!(
        "{}{budget}{UPDATE}",
        BASE.replace("max_size = 6\n", "max_size = 6\nupdate_config = { force = true, max_unavailable = 3 }\n")
    ));
    assert!(forced.first("node_group_update", "force") > 900.0);
    assert!(forced.decided("node_group_update").iter().any(|d| d.1 == "successful"));
}

#[test]
fn a_silent_node_is_not_ready_then_tainted_then_emptied() {
    let fault = "[faults.dead]\ntype = \"node_failure\"\nat = \"2m\"\ncount = 1\nnoticed_after = \"20m\"\n";
    let out = with(fault);
    let not_ready = out.first("node_controller", "NotReady");
    // 50 s since the last heartbeat, which is up to 10 s old, and the next look within 5 s.
    assert!((160.0..=175.0).contains(&not_ready), "{not_ready}");
    let (tainted, evicted) = (out.first("node_controller", "NoExecute"), out.first("node_controller", "evicted"));
    assert_eq!(tainted, not_ready, "nothing holds the taint back");
    assert!((evicted - tainted - 300.0).abs() < 0.01, "{tainted} to {evicted}");
    let stopped = out.rows("tasks.csv", &["stop_reason"]);
    assert_eq!(stopped.iter().filter(|t| t[0].contains("unreachable")).count(), 2, "{stopped:?}");
    // EC2 takes the node at last, and its group replaces it.
    assert_eq!(out.rows("nodes.csv", &["end_reason"]).iter().filter(|n| n[0] == "failure").count(), 1);
    assert_eq!(out.rows("nodes.csv", &["end_reason"]).len(), 4);
}

#[test]
fn a_node_that_is_replaced_soon_loses_its_pods_with_it() {
    let fault = "[faults.dead]\ntype = \"node_failure\"\nat = \"2m\"\ncount = 1\nnoticed_after = \"90s\"\n";
    let out = with(fault);
    let reasons: Vec<String> = out.decided("node_controller").into_iter().map(|d| d.1).collect();
    assert!(!reasons.contains(&"evicted".to_string()), "{reasons:?}");
    assert_eq!(out.diagnosis(DiagnosisKind::MachinesLost).count, 2);
}

#[test]
fn a_zone_without_a_network_comes_back_with_its_pods() {
    let fault = |lasts: &str| {
        format!(
            "[faults.cut]\ntype = \"zone_outage\"\nat = \"2m\"\nduration = \"{lasts}\"\nzones = [0]\nloss = \"network\"\n"
        )
    };
    let short = with(&fault("3m"));
    let reasons: Vec<String> = short.decided("node_controller").into_iter().map(|d| d.1).collect();
    assert_eq!(reasons, ["NotReady", "NoExecute", "Ready"]);
    assert_eq!(short.rows("tasks.csv", &["stop_reason"]).len(), 6, "no pod was replaced");
    let long = with(&fault("12m"));
    assert!(long.first("node_controller", "Ready") > long.first("node_controller", "evicted"));
    let stopped = long.rows("tasks.csv", &["stop_reason"]);
    assert_eq!(stopped.iter().filter(|t| t[0].contains("unreachable")).count(), 2, "{stopped:?}");
}

#[test]
fn a_claim_holds_its_pods_in_one_zone_and_on_one_node() {
    let claim = "volume_claim = { size = \"100 GiB\" }\n";
    let alone = BASE.replace("desired_count = 6", "desired_count = 1");
    let fault = "[faults.dead]\ntype = \"node_failure\"\nat = \"2m\"\ncount = 3\nnoticed_after = \"60s\"\n";
    let out = simulate(&format!("{alone}{claim}{fault}"));
    let zones = out.rows("tasks.csv", &["zone"]);
    assert!(zones.len() > 1 && zones.iter().all(|z| z == &zones[0]), "{zones:?}");
    let item = out.summary.cost.items.iter().find(|i| i.item == "claimed_volume").expect("the volume is billed");
    let expected = 100.0 * 40.0 / 60.0 / 730.0;
    assert!((item.quantity - expected).abs() < 1e-3, "{} GB-months, not {expected}", item.quantity);
    // Two pods of one claim on two nodes: one waits for ever.
    let two = simulate(&format!(
        "{}{claim}",
        BASE.replace("desired_count = 6", "desired_count = 2").replace("min_size = 3", "min_size = 6")
    ));
    assert!(two.has(DiagnosisKind::VolumeInUse), "{:#?}", two.summary.diagnoses);
}

/// Workers on a queue that is empty at first.
const WORKERS: &str = r#"
[simulation]
duration = "60m"
[cluster]
orchestrator = "eks"
[capacity.workers]
type = "node_group"
instance_types = ["m7i.large"]
min_size = 3
max_size = 3
[queues.jobs]
[queues.jobs.traffic]
rate = [{ at = "0s", rps = 0 }, { at = "10m", rps = 0 }, { at = "10m", rps = 4 }, { at = "20m", rps = 4 }, { at = "20m", rps = 0 }]
[services.work]
desired_count = 0
[services.work.task]
cpu = "500m"
memory = "512 MiB"
image.size = "100 MB"
startup = "5s"
[services.work.requests.job]
cpu_time = "200ms"
wait = "2s"
[services.work.worker]
queue = "jobs"
concurrency = 1
[services.work.kubernetes.scaled_object]
max_replica_count = 6
triggers = [{ queue = "jobs", queue_length = 5 }]
"#;

#[test]
fn an_autoscaler_follows_the_requests_of_an_object() {
    let replicas = |metric: &str| {
        let hpa = format!("min_replicas = 2\nmax_replicas = 12\nmetrics = [{{ type = \"Object\", {metric} }}]\n");
        let out = with(&format!("[services.web.kubernetes.horizontal_pod_autoscaler]\n{hpa}"));
        out.rows("services.csv", &["desired"]).last().expect("a row")[0].clone()
    };
    // Thirty requests a second arrive.
    assert_eq!(replicas("average_value = 12.0"), "3", "twelve for each pod");
    assert_eq!(replicas("value = 30.0"), "6", "as many as wanted: nothing changes");
    assert_eq!(replicas("value = 20.0, described_object = \"web\""), "12", "too many for any number: to the maximum");
    let both = "[services.web.kubernetes.horizontal_pod_autoscaler]\nmax_replicas = 9\n\
                metrics = [{ type = \"Object\", value = 1.0, average_value = 1.0 }]\n";
    assert!(common::refused(&format!("{BASE}{both}")).contains("either `value` or `average_value`"));
}

#[test]
fn keda_wakes_a_workload_and_lets_it_rest() {
    let out = simulate(WORKERS);
    let steps = out.decided("keda");
    let woken = out.first("keda", "activated");
    assert!((600.0..=632.0).contains(&woken), "{steps:?}");
    let rests = out.first("keda", "cooled_down");
    assert!((1_500.0..2_000.0).contains(&rests), "{steps:?}");
    assert!(out.decided("hpa").iter().any(|d| d.1 == "rescale"), "the autoscaler takes over from one");
    let scaling = &out.summary.services["work"].scaling;
    assert!(scaling.scale_outs >= 2 && scaling.scale_ins >= 1 && scaling.min_running == 0, "{scaling:?}");
    assert!(scaling.max_running > 1, "{scaling:?}");
}

#[test]
fn the_vertical_autoscaler_recommends_what_pods_use() {
    let out = with("vertical_pod_autoscaler = { update_mode = \"Off\", max_allowed = { cpu = \"1000m\" } }\n");
    let rows = out.rows("decisions.csv", &["controller", "from", "result", "explanation"]);
    let last = rows.iter().rfind(|r| r[0] == "vpa").expect("a recommendation");
    let target: i64 = last[2].parse().expect("millicores");
    // 30 requests a second of 10 ms over six pods: 50m each, and the CPU of checks.
    assert!(last[1] == "400" && (50..=110).contains(&target), "{last:?}");
    assert!(out.decided("node_controller").is_empty() && out.summary.services["web"].scaling.tasks_stopped == 0);
}

#[test]
fn troubles_of_pods_have_names() {
    let full =
        simulate(&BASE.replace("max_size = 6", "max_size = 3").replace("desired_count = 6", "desired_count = 20"));
    let d = full.diagnosis(DiagnosisKind::PodsUnschedulable);
    assert!(d.evidence.contains("0/3 nodes are available") && d.evidence.contains("Insufficient cpu"), "{d:?}");
    let quota = format!(
        "{}[cluster.eks.namespaces.default.resource_quota]\npods = 6\n[actions.more]\ntype = \"desired_count\"\nat = \"2m\"\nservice = \"web\"\ndesired_count = 8\n",
        BASE
    );
    let d = simulate(&quota).diagnosis(DiagnosisKind::NamespaceQuotaReached).clone();
    assert!(d.evidence.contains("namespace default"), "{d:?}");
    let crash = with(
        "[actions.bad]\ntype = \"deploy\"\nat = \"2m\"\nservice = \"web\"\nrevision = { crashes_after = \"20s\" }\n",
    );
    let d = crash.diagnosis(DiagnosisKind::CrashLoopBackOff);
    assert!(d.evidence.contains("its container exited"), "{d:?}");
}

#[test]
fn what_kubernetes_refuses_is_refused() {
    for (more, words) in [
        ("[actions.image]\ntype = \"update_node_group\"\nat = \"2m\"\ncapacity = \"nobody\"\n", "node group"),
        ("scaled_object = { triggers = [] }\n", "at least one trigger"),
        ("scaled_object = { idle_replica_count = 2, min_replica_count = 2, triggers = [] }\n", "idle_replica_count"),
    ] {
        let text = format!("{BASE}{more}");
        let error = from_text("nodes", &text).expect_err(more).render(false);
        assert!(error.contains(words), "{error}");
    }
}
