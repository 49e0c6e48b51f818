//! Whole runs of Kubernetes workloads: rollouts keep their bounds at every instant and end in exactly one way, deliver
//! progressively, go back; Jobs do their work; quotas hold.

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{Outcome, simulate};
use proptest::prelude::*;
use simctl::output::DeploymentOutcome;

const CLUSTER: &str = r#"
[simulation]
duration = "30m"
warm_up = "1m"
seed = SEED
[cluster]
orchestrator = "eks"
zones = 3
[capacity.workers]
type = "node_group"
instance_types = ["m7i.xlarge"]
min_size = NODES
max_size = NODES
"#;

const SHOP: &str = r#"
[services.shop]
desired_count = DESIRED
[services.shop.task]
cpu = "500m"
memory = "512 MiB"
image.size = "100 MB"
startup = { distribution = "lognormal", mean = "8s", cv = 0.3 }
[services.shop.requests.page]
cpu_time = "4ms"
[services.shop.client]
timeout = "2s"
[services.shop.traffic]
rate = [{ at = "0s", rps = RPS }]
[actions.release]
type = "deploy"
at = "3m"
service = "shop"
"#;

/// A shop of some pods on nodes of its own, with more of the file's text behind.
fn shop(seed: u64, nodes: u32, desired: u32, rps: u32, more: &str) -> String {
    let text = format!("{CLUSTER}{SHOP}{more}");
    text.replace("SEED", &seed.to_string())
        .replace("NODES", &nodes.to_string())
        .replace("DESIRED", &desired.to_string())
        .replace("RPS", &rps.to_string())
}

/// The columns of a file that are asked for, by row.
fn table<const N: usize>(folder: &Path, file: &str, names: [&str; N]) -> Vec<[String; N]> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let header = reader.headers().expect("a header").clone();
    let at = names.map(|n| header.iter().position(|h| h == n).unwrap_or_else(|| panic!("no column {n}")));
    reader.records().map(|r| r.expect("a row")).map(|r| at.map(|i| r[i].to_string())).collect()
}

/// A pod as it stands in the rows: created, ready for the first time, asked to go; in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Pod {
    created: i64,
    ready: Option<i64>,
    left: i64,
}

fn pods(folder: &Path) -> Vec<Pod> {
    let names = ["decided_s", "healthy_s", "deactivating_s", "stopping_s", "deprovisioning_s"];
    let ms = |s: &String| s.parse::<f64>().ok().map(|s| (s * 1e3).round() as i64);
    table(folder, "tasks.csv", names)
        .iter()
        .map(|[decided, healthy, a, b, c]| Pod {
            created: ms(decided).unwrap_or(0),
            ready: ms(healthy),
            left: [a, b, c].into_iter().filter_map(ms).min().unwrap_or(i64::MAX),
        })
        .collect()
}

fn outcome(run: &Outcome, at: usize) -> &DeploymentOutcome {
    &run.summary.services["shop"].deployments[at].outcome
}

#[derive(Clone, Copy, Debug)]
enum Share {
    Number(u32),
    Percent(u32),
}

impl Share {
    fn text(self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Percent(p) => format!("\"{p}%\""),
        }
    }

    fn of(self, desired: u32, up: bool) -> i64 {
        i64::from(match self {
            Self::Number(n) => n,
            Self::Percent(p) if up => (p * desired).div_ceil(100),
            Self::Percent(p) => p * desired / 100,
        })
    }
}

#[derive(Clone, Debug)]
struct World {
    seed: u64,
    nodes: u32,
    desired: u32,
    surge: Share,
    unavailable: Share,
    min_ready: u32,
    pre_stop: u32,
    revision: &'static str,
    by: &'static str,
    undo: Option<u32>,
    again: bool,
}

/// Its own controller, and the others.
const BY: [&str; 6] = [
    "",
    "",
    "by = \"argo_canary\", steps = [{ set_weight = 25 }, { pause = { duration = \"1m\" } }, { set_weight = 60 }, { pause = { duration = \"20s\" } }]",
    "by = \"argo_canary\", traffic_routing = \"alb\", dynamic_stable_scale = true, steps = [{ set_weight = 25 }, { pause = { duration = \"1m\" } }, { analysis = [\"ok\"] }], analysis_templates = { ok = { metric = \"success_rate\", success_condition = \">= 0.9\" } }",
    "by = \"argo_blue_green\", preview_replica_count = 1, auto_promotion_seconds = 30, post_promotion_analysis = [\"ok\"], analysis_templates = { ok = { metric = \"latency_p99\", interval = \"20s\", count = 3, initial_delay = \"20s\", success_condition = \"< 500\" } }",
    "by = \"flagger\", interval = \"20s\", threshold = 2, max_weight = 50, step_weight = 25, step_weight_promotion = 50, metrics = [{ name = \"request-success-rate\", min = 95 }]",
];

const REVISIONS: [&str; 6] = [
    "",
    "startup = \"40s\"",
    "fails_to_start = 1.0",
    "fails_health_checks = 0.5",
    "crashes_after = { distribution = \"exponential\", mean = \"60s\" }",
    "error_rate = 0.3",
];

fn world() -> impl Strategy<Value = World> {
    let share = || prop_oneof![(0..4_u32).prop_map(Share::Number), (0..=100_u32).prop_map(Share::Percent)];
    let sizes = (2..5_u32, 1..10_u32, share(), share());
    let times = (prop_oneof![Just(0_u32), Just(10)], prop_oneof![Just(0_u32), Just(5)]);
    let what = (0..REVISIONS.len(), 0..BY.len(), prop_oneof![Just(None), (181..400_u32).prop_map(Some)], any::<bool>());
    (any::<u32>(), sizes, times, what).prop_map(|(seed, sizes, times, what)| World {
        seed: u64::from(seed),
        nodes: sizes.0,
        desired: sizes.1,
        surge: sizes.2,
        unavailable: match (sizes.2, sizes.3) {
            (Share::Number(0) | Share::Percent(0), Share::Number(0) | Share::Percent(0)) => Share::Number(1),
            (_, other) => other,
        },
        min_ready: times.0,
        pre_stop: times.1,
        revision: REVISIONS[what.0],
        by: BY[what.1],
        undo: what.2,
        again: what.3,
    })
}

impl World {
    fn text(&self) -> String {
        let mut more = String::new();
        let _ = writeln!(more, "revision = {{ {} }}", self.revision);
        if let Some(at) = self.undo {
            let _ = writeln!(more, "[actions.undo]\ntype = \"stop_deployment\"\nat = \"{at}s\"\nservice = \"shop\"");
        }
        if self.again {
            more.push_str("[actions.second]\ntype = \"deploy\"\nat = \"230s\"\nservice = \"shop\"\n");
        }
        if self.by.contains("alb") {
            more.push_str("[services.shop.load_balancer]\nhealth_check = { interval = \"5s\", timeout = \"2s\", healthy_threshold = 2 }\nderegistration_delay = \"10s\"\n");
        }
        let (surge, unavailable) = (self.surge.text(), self.unavailable.text());
        let _ = write!(
            more,
            "[services.shop.kubernetes]\nreadiness_probe = {{ period_seconds = 3 }}\nmin_ready_seconds = {}\npre_stop = \"{}s\"\nprogress_deadline_seconds = 240\n",
            self.min_ready, self.pre_stop
        );
        let bounds = format!("max_surge = {surge}, max_unavailable = {unavailable}");
        match self.by {
            "" => writeln!(more, "strategy = {{ {bounds} }}").expect("a string"),
            by if self.bounded() => writeln!(more, "rollout = {{ {by}, {bounds} }}").expect("a string"),
            by => writeln!(more, "rollout = {{ {by} }}").expect("a string"),
        }
        shop(self.seed, self.nodes, self.desired, 20, &more)
    }

    /// Whether it promises bounds.
    fn bounded(&self) -> bool {
        self.by.is_empty() || self.by.contains("argo_canary") && !self.by.contains("alb")
    }
}

fn check(w: &World) -> Result<(), TestCaseError> {
    let run = simulate(&w.text());
    let folder = run.folder.path();
    let pods = pods(folder);
    let desired = i64::from(w.desired);
    let surge = w.surge.of(w.desired, true);
    let missing = match w.unavailable.of(w.desired, false) {
        0 if surge == 0 => 1,
        n => n.min(desired),
    };
    if w.bounded() {
        for t in pods.iter().map(|p| p.created) {
            let there = pods.iter().filter(|p| p.created <= t && t < p.left).count() as i64;
            prop_assert!(there <= desired + surge, "{there} pods at {t} ms, more than {desired} and {surge}");
        }
        // What crashes, or fails its checks later, is nobody's decision.
        let steady = !w.revision.contains("crashes") && w.min_ready == 0;
        for t in pods.iter().filter(|p| p.ready.is_some() && p.left < i64::MAX).map(|p| p.left).filter(|_| steady) {
            let ready = pods.iter().filter(|p| p.ready.is_some_and(|at| at <= t) && t < p.left).count() as i64;
            prop_assert!(ready >= desired - missing, "{ready} ready at {t} ms, fewer than {desired} less {missing}");
        }
    }
    let r = &run.summary.services["shop"].requests;
    prop_assert_eq!(r.started, r.succeeded + r.failed + r.unfinished);
    // Each deployment ends in exactly one way, and none begins before the one before it has ended.
    let deployments = &run.summary.services["shop"].deployments;
    for (i, d) in deployments.iter().enumerate() {
        let last = i + 1 == deployments.len();
        match &d.outcome {
            DeploymentOutcome::Completed | DeploymentOutcome::RolledBack { .. } => prop_assert!(d.ended_s.is_some()),
            DeploymentOutcome::Stalled { reason } => prop_assert!(!reason.is_empty()),
            DeploymentOutcome::InProgress => prop_assert!(d.ended_s.is_none()),
        }
        prop_assert!(last || d.ended_s.is_some(), "{deployments:?}");
    }
    if w.revision.contains("fails_to_start") && !w.again {
        prop_assert!(*outcome(&run, 0) != DeploymentOutcome::Completed, "a revision without an image never comes up");
    }
    for [step, weight] in table(folder, "deployments.csv", ["step", "new_weight_pct"]) {
        let weight: f64 = weight.parse().expect("a share");
        prop_assert!((0.0..=100.0).contains(&weight));
        if step == "completed" && !w.bounded() {
            prop_assert_eq!(weight, 100.0);
        }
    }
    let again = simulate(&w.text());
    prop_assert_eq!(run.summary.to_json(), again.summary.to_json(), "equal runs");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_rollout_keeps_its_bounds_and_ends_in_one_way(w in world()) {
        check(&w)?;
    }
}

#[test]
fn a_deploy_loses_requests_without_a_pre_stop_hook_and_none_or_few_with_it() {
    let lost = |pre_stop: &str| {
        let more = format!(
            "[services.shop.kubernetes]\nreadiness_probe = {{ period_seconds = 3 }}\npre_stop = \"{pre_stop}\"\n"
        );
        let run = simulate(&shop(3, 3, 8, 200, &more));
        assert_eq!(*outcome(&run, 0), DeploymentOutcome::Completed);
        run.summary.services["shop"].requests.failed
    };
    let (without, with) = (lost("0s"), lost("5s"));
    assert!(without > 20, "{without} lost without the hook");
    assert!(with * 10 < without, "{with} lost with the hook, {without} without");
}

#[test]
fn recreate_has_an_outage() {
    let more = "[services.shop.kubernetes]\nstrategy = { type = \"Recreate\" }\npre_stop = \"5s\"\n";
    let run = simulate(&shop(3, 3, 8, 50, more));
    assert_eq!(*outcome(&run, 0), DeploymentOutcome::Completed);
    let rows = table(run.folder.path(), "deployments.csv", ["new_running", "old_running", "waits_for"]);
    assert!(rows.iter().any(|[new, old, _]| new == "0" && old == "0"), "{rows:?}");
    assert!(rows.iter().any(|[_, _, waits]| waits == "old pods to end"), "{rows:?}");
    assert!(run.summary.services["shop"].requests.failed > 100);
}

#[test]
fn an_image_that_cannot_be_pulled_is_asked_for_again_and_the_old_pods_serve() {
    let more = "revision = { fails_to_start = 1.0 }\n[services.shop.kubernetes]\nreadiness_probe = { period_seconds = 3 }\npre_stop = \"5s\"\n[actions.back]\ntype = \"stop_deployment\"\nat = \"20m\"\nservice = \"shop\"\n";
    let run = simulate(&shop(5, 3, 8, 50, more));
    let DeploymentOutcome::RolledBack { reason } = outcome(&run, 0) else { panic!("{:?}", outcome(&run, 0)) };
    assert!(reason.contains("ProgressDeadlineExceeded") && reason.contains("ImagePullBackOff: 4"), "{reason}");
    assert_eq!(*outcome(&run, 1), DeploymentOutcome::Completed);
    assert_eq!(run.summary.services["shop"].requests.failed, 0);
    let made = pods(run.folder.path()).iter().filter(|p| p.created > 0 && p.created < 1_200_000).count();
    assert_eq!(made, 4, "the pods stay; none is made anew");
}

#[test]
fn a_faulty_pull_comes_up_when_the_registry_is_back() {
    let more = "[faults.registry]\ntype = \"pull_failure\"\nat = \"3m\"\nduration = \"5m\"\nshare = 1.0\n";
    let run = simulate(&shop(5, 3, 8, 20, more));
    assert_eq!(*outcome(&run, 0), DeploymentOutcome::Completed);
    let ended = run.summary.services["shop"].deployments[0].ended_s.expect("it ended");
    assert!(ended > 480.0 && ended < 900.0, "the back-off is at most five minutes: {ended}");
}

#[test]
fn a_canary_measures_its_own_pods_and_a_bad_one_meets_few() {
    let rollout = "[services.shop.load_balancer]\nhealth_check = { interval = \"5s\", timeout = \"2s\", healthy_threshold = 2 }\n\
        [services.shop.kubernetes.rollout]\nby = \"argo_canary\"\ntraffic_routing = \"alb\"\n\
        steps = [{ set_weight = 10 }, { pause = { duration = \"5m\" } }]\n\
        analysis = { templates = [\"ok\"] }\n\
        analysis_templates.ok = { metric = \"success_rate\", interval = \"20s\", initial_delay = \"60s\", success_condition = \">= 0.9\", failure_limit = 1, consecutive_error_limit = 20 }\n";
    let good = simulate(&shop(7, 4, 10, 60, rollout));
    assert_eq!(*outcome(&good, 0), DeploymentOutcome::Completed);
    // A fifth of a tenth: seen over all pods it would pass.
    let bad = simulate(&shop(7, 4, 10, 60, &format!("revision = {{ error_rate = 0.2 }}\n{rollout}")));
    let DeploymentOutcome::RolledBack { reason } = outcome(&bad, 0) else { panic!("{:?}", outcome(&bad, 0)) };
    assert!(reason.contains("`ok`"), "{reason}");
    let all = rollout.replace("metric = \"success_rate\"", "metric = \"success_rate\", of = \"service\"");
    let blind = simulate(&shop(7, 4, 10, 60, &format!("revision = {{ error_rate = 0.2 }}\n{all}")));
    assert_eq!(*outcome(&blind, 0), DeploymentOutcome::Completed);
    assert!(bad.summary.services["shop"].requests.failed * 10 < blind.summary.services["shop"].requests.failed);
}

#[test]
fn a_pause_without_a_length_waits_for_its_promotion() {
    let rollout = "[services.shop.load_balancer]\nhealth_check = { interval = \"5s\", timeout = \"2s\", healthy_threshold = 2 }\n\
        [services.shop.kubernetes.rollout]\nby = \"argo_blue_green\"\nauto_promotion_enabled = false\n";
    let waits = simulate(&shop(7, 4, 6, 30, rollout));
    assert_eq!(*outcome(&waits, 0), DeploymentOutcome::InProgress);
    let action = "[actions.go]\ntype = \"promote\"\nat = \"10m\"\nservice = \"shop\"\n";
    let promoted = simulate(&shop(7, 4, 6, 30, &format!("{action}{rollout}")));
    assert_eq!(*outcome(&promoted, 0), DeploymentOutcome::Completed);
    assert_eq!(promoted.summary.services["shop"].deployments[0].ended_s, Some(600.0));
}

#[test]
fn a_quota_holds_pods_back() {
    let more = "[cluster.eks.namespaces.default.resource_quota]\npods = 9\n\
        [services.shop.kubernetes]\nstrategy = { max_surge = 4, max_unavailable = 0 }\n";
    let run = simulate(&shop(7, 4, 8, 30, more));
    assert_eq!(*outcome(&run, 0), DeploymentOutcome::Completed, "one at a time");
    let said = table(run.folder.path(), "decisions.csv", ["controller", "explanation"]);
    let text = "exceeded quota: default, requested: pods=1, used: pods=9, limited: pods=9";
    assert!(said.iter().any(|[by, why]| by == "resource_quota" && why == text), "{said:?}");
    let pods = pods(run.folder.path());
    for t in pods.iter().map(|p| p.created) {
        assert!(pods.iter().filter(|p| p.created <= t && t < p.left).count() <= 9);
    }
}

const JOBS: &str = r#"
[simulation]
duration = "2h"
seed = 5
start = "2026-03-01T00:00:00Z"
[cluster]
orchestrator = "eks"
zones = 3
[cluster.eks.cluster_autoscaler]
[capacity.workers]
type = "node_group"
instance_types = ["m7i.xlarge"]
min_size = 1
max_size = 6
[jobs.report]
max_concurrency = 8
schedules.hourly = { type = "cron_job", schedule = "20 * * * *", count = 16, concurrency_policy = "POLICY" }
[jobs.report.task]
cpu = "1500m"
memory = "2 GiB"
image.size = "200 MB"
[jobs.report.work]
runs_for = "TAKES"
failure_rate = RATE
[jobs.report.kubernetes]
backoff_limit = 4
"#;

fn jobs(policy: &str, takes: &str, rate: f64) -> Outcome {
    simulate(&JOBS.replace("POLICY", policy).replace("TAKES", takes).replace("RATE", &rate.to_string()))
}

#[test]
fn jobs_run_on_nodes_that_the_autoscaler_brings() {
    let run = jobs("Allow", "5m", 0.0);
    let job = &run.summary.jobs["report"];
    assert_eq!((job.firings, job.due, job.succeeded, job.failed), (2, 32, 32, 0));
    assert_eq!(job.max_running, 8, "its parallelism");
    let nodes = table(run.folder.path(), "nodes.csv", ["node"]).len();
    assert!(nodes > 2, "{nodes} nodes for 8 pods of 1.5 vCPU");
}

#[test]
fn a_job_fails_when_too_many_of_its_pods_do() {
    let run = jobs("Allow", "1m", 1.0);
    let job = &run.summary.jobs["report"];
    assert_eq!((job.succeeded, job.failed), (0, 32));
    let some = jobs("Allow", "1m", 0.05);
    let job = &some.summary.jobs["report"];
    assert_eq!(job.succeeded + job.failed, 32);
    assert!(job.attempts_failed > 0 && job.succeeded > 0, "{job:?}");
}

#[test]
fn a_cron_job_leaves_out_or_replaces_what_still_runs() {
    let all = jobs("Allow", "50m", 0.0);
    assert_eq!(all.summary.jobs["report"].firings, 2);
    let forbidden = jobs("Forbid", "50m", 0.0);
    assert_eq!(forbidden.summary.jobs["report"].firings, 1);
    let replaced = jobs("Replace", "50m", 0.0);
    let job = &replaced.summary.jobs["report"];
    assert_eq!((job.firings, job.failed), (2, 8), "those that had not come to their end");
}

#[test]
fn what_kubernetes_cannot_do_is_refused() {
    let refused = |text: &str, what: &str| {
        let found = common::refused(text);
        assert!(found.contains(what), "{found}");
    };
    let stop = "[actions.stop]\ntype = \"stop_deployment\"\nat = \"5m\"\nservice = \"shop\"\nstop_type = \"ABORT\"\n";
    refused(&shop(1, 3, 3, 10, stop), "kubectl rollout undo");
    let by = |what: &str| format!("[services.shop.kubernetes.rollout]\n{what}\n");
    let steps = by("by = \"argo_canary\"\nsteps = [{ set_weight = 20, pause = {} }]");
    refused(&shop(1, 3, 3, 10, &steps), "a step is one of");
    let routed = by("by = \"argo_canary\"\ntraffic_routing = \"alb\"\nsteps = [{ set_weight = 20 }]");
    refused(&shop(1, 3, 3, 10, &routed), "no Application Load Balancer");
    let template = by("by = \"argo_canary\"\nsteps = [{ analysis = [\"nope\"] }]");
    refused(&shop(1, 3, 3, 10, &template), "there is no analysis template `nope`");
    let blind =
        by("by = \"flagger\"\nprovider = \"kubernetes\"\nmetrics = [{ name = \"request-duration\", max = 500 }]");
    refused(&shop(1, 3, 3, 10, &blind), "no traffic reaches the canary");
    let promote = "[actions.go]\ntype = \"promote\"\nat = \"5m\"\nservice = \"shop\"\n";
    refused(&shop(1, 3, 3, 10, promote), "no rollout of Argo");
    let rule = JOBS.replace(
        "type = \"cron_job\", schedule = \"20 * * * *\"",
        "type = \"rule\", schedule_expression = \"rate(1 hour)\"",
    );
    let rule = rule.replace(", concurrency_policy = \"POLICY\"", "").replace("TAKES", "1m").replace("RATE", "0.0");
    refused(&rule, "EventBridge starts no Jobs");
}
