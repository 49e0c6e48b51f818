//! Kinds of workloads of Kubernetes at work: StatefulSets, DaemonSets, the Vertical Pod Autoscaler, volumes.

mod common;

use common::{Outcome, simulate};
use proptest::prelude::*;
use simctl::scenario::from_text;

/// Three nodes in three zones. `KIND` and `MORE` stand for what a test says.
const BASE: &str = r#"
[simulation]
duration = "40m"
SEED
[cluster]
orchestrator = "eks"
zones = 3
[capacity.workers]
type = "node_group"
instance_types = ["m7i.large"]
min_size = 3
max_size = 6
NODES
[services.db]
REPLICAS
[services.db.task]
cpu = "300m"
memory = "512 MiB"
image.size = "100 MB"
startup = "8s"
[services.db.requests.query]
cpu_time = "10ms"
wait = "20ms"
[services.db.client]
timeout = "1s"
[services.db.traffic]
rate = [{ at = "0s", rps = 20 }]
[services.db.load_balancer]
[services.db.kubernetes]
service.type = "ClusterIP"
readiness_probe = { period_seconds = 5 }
termination_grace_period_seconds = 10
"#;

/// A row of `tasks.csv`.
#[derive(Clone, Debug)]
struct Pod {
    name: String,
    revision: u32,
    node: String,
    zone: String,
    started_by: String,
    decided: f64,
    running: Option<f64>,
    healthy: Option<f64>,
    leaves: f64,
    gone: f64,
    reason: String,
}

impl Pod {
    fn ordinal(&self) -> u32 {
        self.name.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a name with an ordinal")
    }
}

fn scenario(replicas: &str, more: &str) -> String {
    BASE.replace("SEED", "").replace("NODES", "").replace("REPLICAS", replicas) + more
}

impl Outcome {
    /// Pods in the order of their creation; what has not happened is infinitely far away.
    fn pods(&self) -> Vec<Pod> {
        let columns = [
            "task",
            "pod",
            "revision",
            "node",
            "zone",
            "started_by",
            "decided_s",
            "running_s",
            "healthy_s",
            "stopping_s",
            "deactivating_s",
            "stopped_s",
            "stop_reason",
        ];
        let time = |t: &String| t.parse::<f64>().ok();
        let mut rows = self.rows("tasks.csv", &columns);
        rows.sort_by_key(|r| r[0].parse::<u32>().expect("a number"));
        rows.into_iter()
            .map(|r| {
                let end = time(&r[11]).unwrap_or(f64::INFINITY);
                Pod {
                    name: r[1].clone(),
                    revision: r[2].parse().expect("a number"),
                    node: r[3].clone(),
                    zone: r[4].clone(),
                    started_by: r[5].clone(),
                    decided: time(&r[6]).expect("a time"),
                    running: time(&r[7]),
                    healthy: time(&r[8]),
                    leaves: [time(&r[10]), time(&r[9])].into_iter().flatten().fold(end, f64::min),
                    gone: end,
                    reason: r[12].clone(),
                }
            })
            .collect()
    }

    /// Time, reason and words of each decision of a controller.
    fn told(&self, controller: &str) -> Vec<(f64, String, String)> {
        let rows = self.rows("decisions.csv", &["controller", "time_s", "reason", "explanation"]);
        let number = |t: &str| t.parse().expect("a number");
        rows.iter().filter(|r| r[0] == controller).map(|r| (number(&r[1]), r[2].clone(), r[3].clone())).collect()
    }

    fn cost(&self, item: &str) -> f64 {
        self.summary.cost.items.iter().find(|i| i.item == item).map_or(0.0, |i| i.quantity)
    }

    fn outcomes(&self) -> Vec<String> {
        self.rows("deployments.csv", &["step"]).into_iter().map(|r| r[0].clone()).collect()
    }

    /// Pods of one name live one after the other.
    fn one_at_a_time(&self) {
        let pods = self.pods();
        for (i, a) in pods.iter().enumerate() {
            for b in &pods[i + 1..] {
                assert!(a.name != b.name || a.name.is_empty() || a.gone <= b.decided, "{a:?}\n{b:?}");
            }
        }
    }

    /// The most of `names` that were not ready at once, after `from`, on intervals between the times at which anything changed.
    fn most_away(&self, from: f64, names: &[String], key: impl Fn(&Pod) -> String) -> usize {
        let pods = self.pods();
        let mut times: Vec<f64> = pods.iter().flat_map(|p| [p.leaves, p.healthy.unwrap_or(f64::INFINITY)]).collect();
        times.retain(|t| t.is_finite() && *t >= from);
        times.sort_by(f64::total_cmp);
        let serves = |p: &Pod, at: f64| p.healthy.is_some_and(|h| h <= at) && at < p.leaves;
        let away = |at: f64| names.iter().filter(|n| !pods.iter().any(|p| key(p) == **n && serves(p, at))).count();
        times.into_iter().map(away).max().unwrap_or(0)
    }
}

const DEPLOY: &str = "[actions.next]\ntype = \"deploy\"\nat = \"5m\"\nservice = \"db\"\n";

fn stateful(replicas: u32, keys: &str, more: &str) -> Outcome {
    let out = simulate(&scenario(
        &format!("desired_count = {replicas}"),
        &format!("kind = \"StatefulSet\"\nvolume_claim = {{ size = \"20 GiB\" }}\n{keys}{more}"),
    ));
    out.one_at_a_time();
    out
}

fn names(ordinals: std::ops::Range<u32>) -> Vec<String> {
    ordinals.map(|o| format!("db-{o}")).collect()
}

#[test]
fn ordinals_grow_in_order_and_shrink_from_the_highest() {
    let size = |name: &str, at: &str, n: u32| {
        format!("[actions.{name}]\ntype = \"desired_count\"\nat = \"{at}\"\nservice = \"db\"\ndesired_count = {n}\n")
    };
    let change = size("more", "5m", 5) + &size("less", "15m", 1) + &size("again", "25m", 3);
    let out = stateful(2, "", &change);
    let pods = out.pods();
    for p in &pods {
        // Every lower ordinal was ready when this one was made.
        for lower in 0..p.ordinal() {
            let name = format!("db-{lower}");
            let ready = |q: &&Pod| q.name == name && q.healthy.is_some_and(|h| h <= p.decided) && p.decided < q.gone;
            assert!(p.decided == 0.0 || pods.iter().any(|q| ready(&q)), "{name} was not ready for {p:?}");
        }
    }
    let mut left: Vec<&Pod> = pods.iter().filter(|p| p.leaves.is_finite()).collect();
    left.sort_by(|a, b| a.leaves.total_cmp(&b.leaves));
    let order: Vec<u32> = left.iter().map(|p| p.ordinal()).collect();
    assert_eq!(order, [4, 3, 2, 1], "one by one from the highest");
    assert!(left.windows(2).all(|w| w[0].gone <= w[1].leaves), "{left:?}");
    // Each ordinal comes back to the zone in which its volume is.
    for name in names(1..3) {
        let zones: Vec<&String> = pods.iter().filter(|p| p.name == name).map(|p| &p.zone).collect();
        assert!(zones.len() == 2 && zones[0] == zones[1], "{name}: {zones:?}");
    }
    // Volumes stay: 2 from the start, 5 from minute five on.
    let (all, first) = (20.0 * 5.0 * 35.0 / 60.0 / 730.0, 20.0 * 2.0 * 5.0 / 60.0 / 730.0);
    let billed = out.cost("claimed_volume");
    assert!((0.95 * (all + first)..=all + first).contains(&billed), "{billed}");
    let deleted = stateful(2, "persistent_volume_claim_retention_policy = { when_scaled = \"Delete\" }\n", &change);
    assert!(deleted.cost("claimed_volume") < 0.7 * billed, "{}", deleted.cost("claimed_volume"));
}

#[test]
fn all_at_once_with_the_policy_parallel() {
    let grow = "[actions.more]\ntype = \"desired_count\"\nat = \"5m\"\nservice = \"db\"\ndesired_count = 5\n";
    let made =
        |out: &Outcome| -> Vec<f64> { out.pods().iter().filter(|p| p.decided > 0.0).map(|p| p.decided).collect() };
    let ordered = made(&stateful(2, "", grow));
    assert!(ordered.windows(2).all(|w| w[1] > w[0] + 8.0), "{ordered:?}");
    assert_eq!(made(&stateful(2, "pod_management_policy = \"Parallel\"\n", grow)), [300.0, 300.0, 300.0]);
}

#[test]
fn an_update_goes_down_from_the_highest_ordinal() {
    let out = stateful(4, "", DEPLOY);
    let new: Vec<u32> = out.pods().iter().filter(|p| p.revision == 2).map(Pod::ordinal).collect();
    assert_eq!(new, [3, 2, 1, 0]);
    assert_eq!(out.most_away(1.0, &names(0..4), |p| p.name.clone()), 1);
    assert!(out.outcomes().contains(&"completed".to_string()), "{:?}", out.outcomes());
    assert_eq!(out.told("stateful_set").len(), 4);
    let two = stateful(4, "update_strategy = { max_unavailable = \"50%\" }\n", DEPLOY);
    assert_eq!(two.most_away(1.0, &names(0..4), |p| p.name.clone()), 2);
    let part = stateful(4, "update_strategy = { partition = 2 }\n", DEPLOY);
    let new: Vec<u32> = part.pods().iter().filter(|p| p.revision == 2).map(Pod::ordinal).collect();
    assert_eq!(new, [3, 2], "the partition keeps the lower ones");
    assert!(part.outcomes().contains(&"completed".to_string()), "{:?}", part.outcomes());
    let nobody = stateful(4, "update_strategy = { type = \"OnDelete\" }\n", DEPLOY);
    assert!(nobody.pods().iter().all(|p| p.revision == 1), "nothing deletes them");
    assert!(!nobody.outcomes().contains(&"completed".to_string()));
}

#[test]
fn a_broken_revision_is_stuck_and_an_undo_does_not_help() {
    let bad = "[actions.bad]\ntype = \"deploy\"\nat = \"5m\"\nservice = \"db\"\nrevision = { fails_to_start = 1.0 }\n";
    let undo = "[actions.undo]\ntype = \"stop_deployment\"\nat = \"10m\"\nservice = \"db\"\n";
    let revisions = |out: &Outcome| {
        let pods = out.pods();
        let now: Vec<u32> = names(0..3)
            .iter()
            .map(|n| pods.iter().filter(|p| p.name == *n).map(|p| p.revision).next_back().expect("a pod"))
            .collect();
        now
    };
    let stuck = stateful(3, "", bad);
    assert_eq!(revisions(&stuck), [1, 1, 2], "the highest is broken, and the others are waited with");
    let r = &stuck.summary.services["db"].requests;
    assert!(r.failed * 100 <= r.started, "two of three serve: {} of {} failed", r.failed, r.started);
    let forced = stateful(3, "", &format!("{bad}{undo}"));
    assert_eq!(revisions(&forced), [1, 1, 2], "OrderedReady waits for the broken pod for ever");
    let parallel = stateful(3, "pod_management_policy = \"Parallel\"\n", &format!("{bad}{undo}"));
    assert_eq!(revisions(&parallel), [1, 1, 1]);
}

#[test]
fn a_volume_is_attached_before_its_pod_starts_and_holds_it_in_its_zone() {
    let fault = "[faults.dead]\ntype = \"node_failure\"\nat = \"5m\"\ncount = 1\nnoticed_after = \"60s\"\n";
    let wait = |attach: &str| {
        let csi = format!("[cluster.eks.ebs_csi]\nattach = \"{attach}\"\ndetach = \"0s\"\n");
        let out = stateful(3, "", &format!("{fault}{csi}"));
        let pods = out.pods();
        let new = pods.iter().find(|p| p.decided > 0.0).expect("a pod took the place of the lost one").clone();
        let old = pods.iter().find(|p| p.name == new.name).expect("the lost one");
        assert_eq!(old.zone, new.zone, "the volume is there");
        assert!(old.node != new.node);
        new.running.expect("it runs") - new.decided
    };
    let (fast, slow) = (wait("1s"), wait("41s"));
    assert!((slow - fast - 40.0).abs() < 0.01, "{fast} against {slow}");
}

#[test]
fn an_autoscaler_and_a_budget_hold_for_a_stateful_set() {
    let hpa = "horizontal_pod_autoscaler = { min_replicas = 2, max_replicas = 6, metrics = [{ type = \"Resource\", average_utilization = 50 }] }\n";
    let text = scenario("desired_count = 2", &format!("kind = \"StatefulSet\"\n{hpa}"))
        .replace("rps = 20 }]", "rps = 20 }, { at = \"10m\", rps = 80 }]");
    let out = simulate(&text);
    out.one_at_a_time();
    let scaled = out.pods().iter().filter(|p| p.started_by == "scaling").count();
    assert!(scaled >= 1 && out.told("hpa").iter().any(|d| d.1 == "rescale"), "{scaled}");
    let budget = "pod_disruption_budget = { max_unavailable = 1 }\n";
    let update = "[actions.image]\ntype = \"update_node_group\"\nat = \"5m\"\ncapacity = \"workers\"\n";
    let out = stateful(4, budget, update);
    assert!(out.pods().iter().any(|p| p.reason.contains("drained")));
    assert_eq!(out.most_away(1.0, &names(0..4), |p| p.name.clone()), 1, "the drain of a node waits");
}

fn daemons(keys: &str, more: &str) -> Outcome {
    simulate(&scenario("", &format!("kind = \"DaemonSet\"\n{keys}{more}")))
}

fn nodes(out: &Outcome) -> Vec<String> {
    let mut nodes: Vec<String> = out.pods().iter().map(|p| p.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

#[test]
fn a_daemon_set_is_on_every_node_and_is_replaced_node_by_node() {
    let out = daemons("", DEPLOY);
    let pods = out.pods();
    assert_eq!(pods.iter().filter(|p| p.decided == 0.0).count(), 3, "one on each node from the start: {pods:?}");
    assert_eq!(pods.iter().filter(|p| p.revision == 2).count(), 3);
    assert_eq!(out.most_away(1.0, &nodes(&out), |p| p.node.clone()), 1);
    assert!(out.outcomes().contains(&"completed".to_string()), "{:?}", out.outcomes());
    let all = daemons("update_strategy = { max_unavailable = \"100%\" }\n", DEPLOY);
    assert_eq!(all.most_away(1.0, &nodes(&all), |p| p.node.clone()), 3);
    let surge = daemons("update_strategy = { max_surge = 1, max_unavailable = 0 }\n", DEPLOY);
    assert_eq!(surge.most_away(1.0, &nodes(&surge), |p| p.node.clone()), 0, "the new pod comes first");
    assert!(surge.outcomes().contains(&"completed".to_string()), "{:?}", surge.outcomes());
    let nobody = daemons("update_strategy = { type = \"OnDelete\" }\n", DEPLOY);
    assert!(nobody.pods().iter().all(|p| p.revision == 1));
    let bad = "[actions.bad]\ntype = \"deploy\"\nat = \"5m\"\nservice = \"db\"\nrevision = { fails_to_start = 1.0 }\n";
    let stuck = daemons("", bad);
    assert_eq!(stuck.pods().iter().filter(|p| p.revision == 2).count(), 1, "no second node beside the broken one");
    let undo = "[actions.undo]\ntype = \"stop_deployment\"\nat = \"10m\"\nservice = \"db\"\n";
    let back = daemons("", &format!("{bad}{undo}"));
    let last = back.pods().into_iter().filter(|p| !p.gone.is_finite()).collect::<Vec<_>>();
    assert!(last.len() == 3 && last.iter().all(|p| p.revision == 1), "{last:?}");
}

#[test]
fn daemons_stay_on_troubled_nodes_and_leave_with_them() {
    let cut =
        "[faults.cut]\ntype = \"zone_outage\"\nat = \"2m\"\nduration = \"12m\"\nzones = [0]\nloss = \"network\"\n";
    let out = daemons("", cut);
    assert_eq!(out.pods().len(), 3, "nobody deletes the pod of a node that is not heard");
    let dead = "[faults.dead]\ntype = \"node_failure\"\nat = \"2m\"\ncount = 1\nnoticed_after = \"60s\"\n";
    let out = daemons("", dead);
    let pods = out.pods();
    assert_eq!(pods.len(), 4, "{pods:?}");
    assert_eq!(pods[3].started_by, "new node");
}

const VPA: &str = "vertical_pod_autoscaler = { update_mode = \"MODE\", min_allowed = { cpu = \"100m\" } }\n";

fn vertical(mode: &str, more: &str) -> Outcome {
    simulate(&scenario("desired_count = 4", &format!("{}{more}", VPA.replace("MODE", mode))))
}

#[test]
fn the_updater_gives_pods_what_is_recommended_within_the_budget() {
    let budget = "pod_disruption_budget = { max_unavailable = 1 }\n";
    let out = vertical("Recreate", budget);
    let evicted: Vec<_> = out.told("vpa_updater").into_iter().filter(|d| d.1 == "evicted").collect();
    assert!(evicted.len() >= 4, "{evicted:?}");
    assert!(evicted.iter().any(|d| d.2.contains("requests 300m")), "{evicted:?}");
    // Never two pods of four away: a Deployment's pods have no names, so they are counted.
    let pods = out.pods();
    let serve = |at: f64| pods.iter().filter(|p| p.healthy.is_some_and(|h| h <= at) && at < p.leaves).count();
    let least = pods.iter().filter(|p| p.leaves.is_finite()).map(|p| serve(p.leaves)).min();
    assert!(least.is_some_and(|n| n >= 3), "{least:?}");
    let kinds: Vec<String> = out
        .rows("decisions.csv", &["controller", "explanation"])
        .into_iter()
        .filter(|r| r[0] == "vpa")
        .map(|r| r[1].clone())
        .collect();
    assert!(kinds.first().is_some_and(|k| k.contains("the pods request 300m")), "{kinds:?}");
    for mode in ["Off", "Initial"] {
        let out = vertical(mode, budget);
        assert!(out.told("vpa_updater").is_empty() && out.pods().len() == 4, "{mode}");
    }
    let none = vertical("Recreate", "pod_disruption_budget = { max_unavailable = 0 }\n");
    assert_eq!(none.pods().len(), 4, "no eviction breaks a budget");
    assert!(none.told("vpa_updater").iter().all(|d| d.1 == "refused"));
    let alone = simulate(&scenario("desired_count = 1", &VPA.replace("MODE", "Recreate")));
    assert_eq!(alone.pods().len(), 1, "with fewer than two pods none is evicted");
}

#[test]
fn new_pods_have_the_requests_that_are_recommended() {
    // Ten pods of 300m leave no room for six more; ten of 100m do.
    let more = "[actions.more]\ntype = \"desired_count\"\nat = \"30m\"\nservice = \"db\"\ndesired_count = 24\n";
    let kept = vertical("Off", more);
    let resized = vertical("Recreate", more);
    let run = |out: &Outcome| out.pods().iter().filter(|p| p.running.is_some() && !p.gone.is_finite()).count();
    assert!(run(&kept) < 24, "{}", run(&kept));
    assert!(run(&resized) > run(&kept), "{} against {}", run(&resized), run(&kept));
}

#[test]
fn a_file_system_is_shared_by_pods_in_all_zones() {
    let efs = "file_systems = [\"shared\"]\n[cluster.eks.file_systems.shared]\nsize = \"300 GiB\"\nmount = \"5s\"\n";
    let grow = "[actions.more]\ntype = \"desired_count\"\nat = \"5m\"\nservice = \"db\"\ndesired_count = 5\n";
    let start = |more: &str| {
        let out = simulate(&scenario("desired_count = 3", &format!("{more}{grow}")));
        let late: Vec<f64> =
            out.pods().iter().filter(|p| p.decided > 0.0).map(|p| p.running.expect("it runs") - p.decided).collect();
        (late[0], out)
    };
    let ((plain, _), (mounted, out)) = (start(""), start(efs));
    assert!((mounted - plain - 5.0).abs() < 0.01, "{plain} against {mounted}");
    let mut zones: Vec<String> = out.pods().iter().map(|p| p.zone.clone()).collect();
    zones.sort();
    zones.dedup();
    assert_eq!(zones.len(), 3);
    let expected = 300.0 * 40.0 / 60.0 / 730.0;
    assert!((out.cost("efs_storage") - expected).abs() < 1e-6, "{}", out.cost("efs_storage"));
}

#[test]
fn keys_of_another_kind_are_refused() {
    for (replicas, keys, words) in [
        ("", "kind = \"StatefulSet\"\nstrategy = { type = \"Recreate\" }\n", "`strategy` belongs to a Deployment"),
        ("", "kind = \"StatefulSet\"\nprogress_deadline_seconds = 60\n", "`progress_deadline_seconds` belongs to"),
        ("", "kind = \"StatefulSet\"\nupdate_strategy = { max_surge = 1 }\n", "has no `max_surge`"),
        ("", "kind = \"StatefulSet\"\nupdate_strategy = { max_unavailable = 0 }\n", "at least 1"),
        ("", "kind = \"StatefulSet\"\nupdate_strategy = { type = \"OnDelete\", partition = 1 }\n", "`RollingUpdate`"),
        (
            "",
            "kind = \"StatefulSet\"\npersistent_volume_claim_retention_policy = { when_scaled = \"Delete\" }\n",
            "needs",
        ),
        ("", "update_strategy = { partition = 1 }\n", "belongs to a StatefulSet or a DaemonSet, not to a Deployment"),
        ("", "pod_management_policy = \"Parallel\"\n", "belongs to a StatefulSet"),
        ("", "kind = \"DaemonSet\"\nordinals = { start = 1 }\n", "belongs to a StatefulSet"),
        ("", "kind = \"DaemonSet\"\nupdate_strategy = { partition = 1 }\n", "has no `partition`"),
        ("", "kind = \"DaemonSet\"\nupdate_strategy = { max_surge = 1 }\n", "exactly one of"),
        ("", "kind = \"DaemonSet\"\nupdate_strategy = { max_unavailable = 0 }\n", "exactly one of"),
        ("", "kind = \"DaemonSet\"\nvolume_claim = {}\n", "one EBS volume"),
        ("desired_count = 2", "kind = \"DaemonSet\"\n", "has no replicas"),
        ("", "kind = \"DaemonSet\"\nhorizontal_pod_autoscaler = { max_replicas = 3 }\n", "no replicas to scale"),
        ("", "file_systems = [\"nobody\"]\n", "there is no file system `nobody`"),
        ("", "vertical_pod_autoscaler = { update_mode = \"InPlaceOrRecreate\" }\n", "are not modelled"),
        ("", "vertical_pod_autoscaler = { min_replicas = 0 }\n", "min_replicas"),
    ] {
        let text = scenario(replicas, keys);
        let error = from_text("workloads", &text).expect_err(keys).render(false);
        assert!(error.contains(words), "{keys}: {error}");
    }
    let action = "[actions.more]\ntype = \"desired_count\"\nat = \"5m\"\nservice = \"db\"\ndesired_count = 3\n";
    let text = scenario("", &format!("kind = \"DaemonSet\"\n{action}"));
    let error = from_text("workloads", &text).expect_err("no replicas").render(false);
    assert!(error.contains("no replicas to set"), "{error}");
}

/// What may happen to a workload while it is looked at.
#[derive(Clone, Debug)]
struct Life {
    seed: u64,
    replicas: u32,
    /// Replicas later on.
    sizes: Vec<u32>,
    unavailable: u32,
    surge: u32,
    partition: u32,
    min_ready: u32,
    parallel: bool,
    budget: bool,
    /// The revisions that come: whether they start.
    revisions: Vec<bool>,
    node_fails: bool,
    group_update: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let numbers = (1_u64..1_000, 1_u32..6, proptest::collection::vec(0_u32..7, 0..3), 1_u32..4, 0_u32..3, 0_u32..3);
    let words = (0_u32..3, any::<bool>(), any::<bool>(), proptest::collection::vec(any::<bool>(), 0..3));
    let events = (any::<bool>(), any::<bool>());
    (numbers, words, events).prop_map(|(n, w, e)| Life {
        seed: n.0,
        replicas: n.1,
        sizes: n.2,
        unavailable: n.3,
        surge: n.4,
        partition: n.5,
        min_ready: w.0 * 10,
        parallel: w.1,
        budget: w.2,
        revisions: w.3,
        node_fails: e.0,
        group_update: e.1,
    })
}

impl Life {
    fn events(&self, sized: bool) -> String {
        let mut text = String::new();
        for (i, n) in self.sizes.iter().enumerate().filter(|_| sized) {
            let at = 200 + 500 * i;
            text += &format!(
                "[actions.size{i}]\ntype = \"desired_count\"\nat = \"{at}s\"\nservice = \"db\"\ndesired_count = {n}\n"
            );
        }
        for (i, good) in self.revisions.iter().enumerate() {
            let (at, bad) = (400 + 700 * i, u32::from(!good));
            text += &format!(
                "[actions.new{i}]\ntype = \"deploy\"\nat = \"{at}s\"\nservice = \"db\"\nrevision = {{ fails_to_start = {bad}.0 }}\n"
            );
        }
        if self.node_fails {
            text += "[faults.dead]\ntype = \"node_failure\"\nat = \"700s\"\ncount = 1\nnoticed_after = \"90s\"\n";
        }
        if self.group_update {
            text += "[actions.image]\ntype = \"update_node_group\"\nat = \"900s\"\ncapacity = \"workers\"\n";
        }
        text
    }

    fn keys(&self) -> String {
        let budget = if self.budget { "pod_disruption_budget = { max_unavailable = 1 }\n" } else { "" };
        format!("min_ready_seconds = {}\n{budget}", self.min_ready)
    }

    fn text(&self, replicas: &str, keys: &str, sized: bool) -> String {
        let text = scenario(replicas, &format!("{keys}{}{}", self.keys(), self.events(sized)));
        text.replace("duration = \"40m\"\n", &format!("duration = \"40m\"\nseed = {}\n", self.seed))
    }
}

/// Where a controller has deleted pods for an update.
fn updated(pods: &[Pod]) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(|p| p.leaves.is_finite() && p.reason.contains("new revision"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn ordinals_are_unique_and_come_in_order(life in life()) {
        let policy = if life.parallel { "Parallel" } else { "OrderedReady" };
        let keys = format!(
            "kind = \"StatefulSet\"\nvolume_claim = {{}}\npod_management_policy = \"{policy}\"\nupdate_strategy = {{ partition = {}, max_unavailable = {} }}\n",
            life.partition, life.unavailable
        );
        let out = simulate(&life.text(&format!("desired_count = {}", life.replicas), &keys, true));
        out.one_at_a_time();
        let pods = out.pods();
        let serves = |name: &str, at: f64, since: f64| {
            pods.iter().any(|q| q.name == name && q.healthy.is_some_and(|h| h <= at - since) && at < q.leaves)
        };
        for p in pods.iter().filter(|p| p.decided > 0.0 && !life.parallel) {
            for lower in 0..p.ordinal() {
                let name = format!("db-{lower}");
                prop_assert!(serves(&name, p.decided, f64::from(life.min_ready)), "{name} was not available for {p:?}");
            }
        }
        // An update takes no pod down while as many are away as may be.
        for p in updated(&pods).filter(|_| !life.parallel) {
            let count = pods.iter().filter(|q| q.decided <= p.leaves && p.leaves < q.gone).map(Pod::ordinal).max();
            let away = (0..=count.unwrap_or(0)).filter(|o| !serves(&format!("db-{o}"), p.leaves, 0.0)).count();
            prop_assert!(away <= life.unavailable as usize, "{away} were away: {p:?}");
            prop_assert!(p.ordinal() >= life.partition, "the partition keeps {p:?}");
        }
        for name in (0..7).map(|o| format!("db-{o}")) {
            let mut zones: Vec<&String> =
                pods.iter().filter(|p| p.name == name && p.running.is_some()).map(|p| &p.zone).collect();
            zones.dedup();
            prop_assert!(zones.len() <= 1, "{name} has its volume in one zone: {zones:?}");
        }
    }

    #[test]
    fn daemons_keep_their_bounds(life in life()) {
        let (away, surge) = if life.surge > 0 { (0, life.surge) } else { (life.unavailable, 0) };
        let keys = format!("kind = \"DaemonSet\"\nupdate_strategy = {{ max_unavailable = {away}, max_surge = {surge} }}\n");
        let quiet = Life { node_fails: false, group_update: false, ..life.clone() };
        let out = simulate(&quiet.text("", &keys, false));
        let pods = out.pods();
        let nodes = nodes(&out);
        let serves = |p: &Pod, at: f64| p.healthy.is_some_and(|h| h <= at) && at < p.leaves;
        for p in updated(&pods).filter(|p| serves(p, p.leaves - 0.001)) {
            let missing = nodes.iter().filter(|n| !pods.iter().any(|q| q.node == **n && serves(q, p.leaves))).count();
            prop_assert!(missing <= away as usize, "{missing} nodes have no pod: {p:?}");
        }
        // A new pod beside one that serves takes one of the surge.
        for p in pods.iter().filter(|p| p.decided > 0.0) {
            let doubled = nodes
                .iter()
                .filter(|n| {
                    let here = |q: &&Pod| q.node == **n && q.decided <= p.decided && p.decided < q.leaves;
                    pods.iter().filter(here).count() > 1 && pods.iter().any(|q| q.node == **n && serves(q, p.decided))
                })
                .count();
            prop_assert!(doubled <= surge as usize, "{doubled} nodes have two pods: {p:?}");
        }
        // With trouble around it nothing breaks, and no node has two pods of one revision.
        let out = simulate(&life.text("", &keys, false));
        let pods = out.pods();
        for (i, a) in pods.iter().enumerate() {
            for b in pods[i + 1..].iter().filter(|b| b.node == a.node && b.revision == a.revision && !b.node.is_empty()) {
                prop_assert!(a.leaves <= b.decided, "{a:?}\n{b:?}");
            }
        }
    }

    #[test]
    fn no_eviction_of_the_updater_breaks_a_budget(life in life(), allowed in 0_u32..3, mode in 0_usize..2) {
        let quiet = Life { node_fails: false, budget: false, revisions: Vec::new(), sizes: Vec::new(), ..life.clone() };
        let kind = ["Deployment", "StatefulSet"][mode];
        let keys = format!(
            "kind = \"{kind}\"\n{}pod_disruption_budget = {{ max_unavailable = {allowed} }}\n",
            VPA.replace("MODE", "Recreate")
        );
        let out = simulate(&quiet.text(&format!("desired_count = {}", life.replicas + 1), &keys, false));
        let pods = out.pods();
        let serve = |at: f64| pods.iter().filter(|p| p.healthy.is_some_and(|h| h <= at) && at < p.leaves).count();
        for p in pods.iter().filter(|p| p.leaves.is_finite() && p.reason.starts_with("Evicted")) {
            let (before, after) = (serve(p.leaves - 0.001), serve(p.leaves));
            let least = (life.replicas + 1).saturating_sub(allowed) as usize;
            prop_assert!(after >= least.min(before), "{after} of {before} are left, {least} must be: {p:?}");
        }
    }
}
