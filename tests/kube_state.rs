//! A cluster that is there at the start: nodes and pods from files, who owns them, what becomes of them.

mod common;

use std::path::Path;

use common::Outcome;
use simctl::catalog::Catalog;
use simctl::output::RowSink;
use simctl::scenario::{LoadOptions, Loaded, load_text, plan_hash};
use simctl::simulation::{RunOptions, run};

const HEAD: &str = r#"
[simulation]
duration = "30m"
seed = 3
[cluster]
orchestrator = "eks"
zones = 2
[cluster.eks]
system_pods = 0
"#;

/// Two machines of eight cores, one with two GPUs.
const MACHINES: &str = "name,cpu,memory,gpus,gpu_model,pods,zone\nm0,8,32Gi,0,none,20,0\nm1,8000m,32Gi,2,T4,20,1\n";

impl Outcome {
    /// A table without its header.
    fn table(&self, file: &str) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).expect(file);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.records().map(|r| r.expect("a row").iter().map(str::to_owned).collect()).collect()
    }

    /// The row of a pod: name, namespace, node, submitted, scheduled, started, ended, made anew, outcome.
    fn pod(&self, name: &str) -> Vec<String> {
        self.table("pods.csv").into_iter().find(|r| r[0] == name).unwrap_or_else(|| panic!("no pod {name}"))
    }
}

fn read(text: &str, nodes: &str, pods: &str) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("nodes.csv"), nodes).expect("a file");
    std::fs::write(folder.path().join("pods.csv"), pods).expect("a file");
    load_text("state", "state.toml", text, folder.path(), &LoadOptions::default()).map_err(|d| d.render(false))
}

fn finish(loaded: &Loaded) -> Result<Outcome, String> {
    let hash = plan_hash(&loaded.plan, &loaded.inputs);
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
    let options = RunOptions { name: "state", plan_hash: &hash, ..RunOptions::default() };
    let ended = run(&loaded.plan, &loaded.inputs, Catalog::embedded(), options, &mut sink, &mut |_| {});
    let summary = ended.map_err(|e| e.to_string())?.summary;
    sink.close().expect("rows are written");
    let defects: Vec<_> = summary.notes.iter().filter(|n| n.contains("defect")).collect();
    assert!(defects.is_empty(), "{defects:?}");
    Ok(Outcome { summary, folder })
}

fn with(more: &str) -> String {
    format!("{HEAD}[cluster.eks.initial_state]\nnodes = \"nodes.csv\"\npods = \"pods.csv\"\n{more}")
}

fn simulate(text: &str, nodes: &str, pods: &str) -> Outcome {
    finish(&read(text, nodes, pods).unwrap_or_else(|d| panic!("{d}"))).unwrap_or_else(|e| panic!("{e}"))
}

fn secs(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("a time: `{cell}`"))
}

#[test]
fn pods_of_a_file_run_for_their_time_and_leave_room_for_others() {
    let pods = "name,cpu,memory,submit_s,duration_s,node\n\
                bound,6,1Gi,0,600,m0\n\
                long,6,1Gi,10,,\n\
                waits,6,1Gi,20,60,\n\
                never,9,1Gi,30,60,\n";
    let out = simulate(&with(""), MACHINES, pods);
    let bound = out.pod("bound");
    assert_eq!((bound[2].as_str(), bound[8].as_str()), ("m0", "Succeeded"));
    assert_eq!((secs(&bound[5]), secs(&bound[6])), (0.0, 600.0), "it runs from the start, for ten minutes");
    let long = out.pod("long");
    assert_eq!((long[2].as_str(), long[8].as_str(), long[6].as_str()), ("m1", "Running", ""));
    assert!(secs(&long[5]) > 10.0 && secs(&long[5]) < 20.0, "its kubelet needs a moment: {}", long[5]);
    let waits = out.pod("waits");
    assert_eq!((waits[2].as_str(), waits[8].as_str()), ("m0", "Succeeded"));
    assert!(secs(&waits[4]) >= 600.0 && secs(&waits[4]) < 620.0, "when there is room: {}", waits[4]);
    assert_eq!(out.pod("never")[8], "Pending");
    let p = out.summary.pods.as_ref().expect("pods");
    assert_eq!((p.submitted, p.placed, p.succeeded, p.running_at_end, p.pending_at_end), (4, 3, 2, 1, 1));
    assert_eq!((p.refused_at_end, p.refused[0].pods), (1, 1));
    assert_eq!(p.refused[0].why, "0/2 nodes are available: 2 Insufficient cpu.");
    assert_eq!(p.cpu_requested_pct_at_end, Some(37.5), "6 of 16 cores");
    assert!(out.summary.notes.iter().any(|n| n.contains("2 nodes") && n.contains("no price")));
    assert!(out.summary.cost.by_capacity.values().all(|c| c.nodes_usd == 0.0));
}

#[test]
fn gpus_are_whole_and_named_when_they_are_short() {
    let pods = "name,cpu,memory,gpus\na,1,1Gi,1\nb,1,1Gi,1\nc,1,1Gi,1\nd,500m,64Mi,0\n";
    let out = simulate(&with(""), MACHINES, pods);
    assert_eq!((out.pod("a")[2].as_str(), out.pod("b")[2].as_str()), ("m1", "m1"));
    assert_eq!(out.pod("c")[8], "Pending");
    let p = out.summary.pods.as_ref().expect("pods");
    assert_eq!(p.gpu_requested_pct_at_end, Some(100.0));
    assert_eq!(p.refused[0].why, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.");
    assert_eq!(p.refused[0].asks, "1 CPU, 1Gi memory, 1 GPU");
}

#[test]
fn pods_come_in_the_order_of_the_file_where_that_is_asked_for() {
    let pods = "name,cpu,memory,submit_s,duration_s,qos\na,1,1Gi,900,5,LS\nb,1,1Gi,4,5,BE\nc,1,1Gi,0,5,LS\n";
    let more = "ignored_columns = [\"qos\"]\nsubmit_interval = \"10s\"\ndepartures = false\n";
    let out = simulate(&with(more), MACHINES, pods);
    let submitted: Vec<f64> = ["a", "b", "c"].iter().map(|n| secs(&out.pod(n)[3])).collect();
    assert_eq!(submitted, [0.0, 10.0, 20.0]);
    assert_eq!(out.summary.pods.as_ref().map(|p| (p.succeeded, p.running_at_end)), Some((0, 3)));
}

#[test]
fn taints_selectors_and_priorities_decide() {
    let nodes = "name,cpu,memory,labels,taints\n\
                 plain,2,8Gi,,\n\
                 kept,8,8Gi,disk=ssd,team=ml:NoSchedule\n";
    let pods = "name,cpu,memory,submit_s,node_selector,tolerations,priority,owner\n\
                shut,4,1Gi,0,,,0,none\n\
                let-in,4,1Gi,0,disk=ssd,team=ml:NoSchedule,0,none\n\
                low,2,1Gi,0,,,0,ReplicaSet\n\
                high,2,1Gi,60,,,100,none\n";
    let out = simulate(&with(""), nodes, pods);
    assert_eq!((out.pod("shut")[8].as_str(), out.pod("let-in")[2].as_str()), ("Pending", "kept"));
    assert_eq!((out.pod("high")[2].as_str(), out.pod("high")[8].as_str()), ("plain", "Running"));
    let low = out.pod("low");
    assert_eq!(
        (low[7].as_str(), low[8].as_str()),
        ("1", "Pending"),
        "it was pushed out, and its controller made it anew"
    );
}

const WEB: &str = r#"
[services.web]
desired_count = 3
[services.web.task]
cpu = "1000m"
memory = "1 GiB"
startup = "5s"
[services.web.requests.page]
cpu_time = "5ms"
[services.web.client]
timeout = "1s"
[services.web.traffic]
rate = [{ at = "0s", rps = 20 }]
"#;

#[test]
fn replicas_of_a_service_are_where_the_file_says() {
    let pods = "name,service,node,cpu,memory\nweb-1,web,m0,,\nweb-2,web,m0,,\nbatch,,m1,7500m,1Gi\n";
    let out = simulate(&format!("{}{WEB}", with("")), MACHINES, pods);
    // Two run from the start, the controller wants a third, which finds room on m0.
    let web = &out.summary.services["web"];
    assert_eq!(web.scaling.max_running, 3);
    let tasks = out.rows("tasks.csv", &["node", "ready_s"]);
    let ready: Vec<(String, f64)> = tasks.iter().map(|r| (r[0].clone(), secs(&r[1]))).collect();
    assert_eq!(ready.iter().map(|r| r.0.as_str()).collect::<Vec<_>>(), ["0", "0", "0"], "m1 has half a core left");
    assert_eq!((ready[0].1, ready[1].1), (0.0, 0.0), "they run from the start");
    assert!(ready[2].1 > 3.0, "the third one has to be pulled and started: {ready:?}");
    assert_eq!(out.summary.pods.as_ref().map(|p| p.submitted), Some(1), "replicas count with their service");
}

#[test]
fn nodes_of_a_pool_are_karpenters_and_expire() {
    let text = format!(
        "{}\n[capacity.pool]\ntype = \"node_pool\"\nexpire_after = \"1h\"\nrequirements = [{{ key = \"node.kubernetes.io/instance-type\", \
         operator = \"In\", values = [\"m7i.large\", \"m7i.xlarge\"] }}, {{ key = \"karpenter.sh/capacity-type\", operator = \"In\", values = [\"on-demand\"] }}]\n\
         [capacity.pool.disruption]\nconsolidation_policy = \"WhenEmpty\"\n",
        with("").replace("30m", "40m")
    );
    let nodes = "name,instance_type,capacity,zone,age_s\n\
                 old,m7i.large,pool,0,2400\n\
                 empty,m7i.xlarge,pool,1,0\n\
                 own,m7i.large,,0,\n";
    let pods = "name,cpu,memory,node,owner\nmoves,1,1Gi,old,ReplicaSet\nstays,1,1Gi,own,none\n";
    let out = simulate(&text, nodes, pods);
    let ended: Vec<String> = out.table("nodes.csv").iter().map(|r| r[22].clone()).collect();
    assert!(ended.contains(&"max_lifetime".to_owned()), "the old node is 1 h old after 20 minutes: {ended:?}");
    assert!(ended.contains(&"idle".to_owned()), "the empty one goes: {ended:?}");
    assert_eq!(out.pod("moves")[8], "Running");
    assert!(out.pod("moves")[7].parse::<u32>().is_ok_and(|n| n >= 1), "it had to move");
    assert_eq!((out.pod("stays")[2].as_str(), out.pod("stays")[7].as_str()), ("own", "0"), "nobody touches that node");
    assert!(out.summary.cost.by_capacity["self-managed"].nodes_usd > 0.0, "an EC2 instance has its price");
}

#[test]
fn a_pod_without_a_controller_holds_its_node_against_the_cluster_autoscaler() {
    let group = |owner: &str| {
        let text = format!(
            "{}\n[cluster.eks.cluster_autoscaler]\nscale_down_unneeded_time = \"2m\"\nscale_down_delay_after_add = \"1m\"\n\
             [capacity.workers]\ntype = \"node_group\"\ninstance_types = [\"m7i.large\"]\nmin_size = 1\nmax_size = 4\n",
            with("")
        );
        let nodes = "name,instance_type,capacity,zone\nw0,m7i.large,workers,0\nw1,m7i.large,workers,1\n";
        let pods = format!("name,cpu,memory,node,owner\na,1,1Gi,w0,none\nb,100m,64Mi,w1,{owner}\n");
        simulate(&text, nodes, &pods)
    };
    let moved = group("ReplicaSet");
    assert_eq!(moved.pod("b")[2], "w0", "its node was not needed");
    assert_eq!(moved.summary.pods.as_ref().map(|p| p.made_anew), Some(1));
    let held = group("none");
    assert_eq!(held.pod("b")[2], "w1", "nobody would make it anew");
    let terminated = |o: &Outcome| o.table("nodes.csv").iter().filter(|r| !r[22].is_empty()).count();
    assert_eq!((terminated(&moved), terminated(&held)), (1, 0));
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place() {
    let nodes = "name,instance_type,cpu,memory\nbig,,4,8Gi\n";
    for (nodes, pods, said) in [
        (nodes, "name,cpu,memory,node\na,1,1Gi,bigg\n", "`pods.csv` line 2: column `node`: there is no node `bigg`"),
        (nodes, "name,cpu,memory\na,x,1Gi\n", "`pods.csv` line 2: column `cpu`: a quantity such as `500m` or `4`"),
        (
            nodes,
            "# a comment\n\nname,cpu,memory\na,1,1Gi\n\na,1,1Gi\n",
            "`pods.csv` line 6: column `name`: the pod `a` is there",
        ),
        (nodes, "name,cpus\na,1\n", "the column `cpus` is not known: there is `cpu`"),
        (
            nodes,
            "name,cpu,memory,node\na,3,1Gi,big\nb,2,1Gi,big\n",
            "`pods.csv` line 3: column `node`: `big` has no room: 1000m of CPU",
        ),
        (nodes, "name,service\na,web\n", "column `service`: there is no service `web`"),
        (nodes, "name,owner\na,Deployment\n", "column `owner`: `none`, `ReplicaSet`"),
        (nodes, "name,tolerations\na,k=v:Never\n", "column `tolerations`: the effect is `NoSchedule`"),
        (nodes, "name,submit_s,node\na,5,big\n", "column `node`: a pod that is submitted later is not bound yet"),
        ("name,instance_type\nn,m5.lrage\n", "name\na\n", "`nodes.csv` line 2: column `instance_type`"),
        (
            "name,instance_type,cpu\nn,m5.large,4\n",
            "name\na\n",
            "column `cpu`: the sizes of `n` are those of its instance type",
        ),
        (
            "name,cpu,memory,zone\nn,4,8Gi,7\n",
            "name\na\n",
            "column `zone`: there is no zone 7: the cluster has 2, from 0",
        ),
        ("name,cpu,memory,market\nn,4,8Gi,spot\n", "name\na\n", "a Spot node belongs to a node group or a NodePool"),
        ("name,cpu\nn,4\n", "name\na\n", "column `memory`: `n` needs an instance type, or memory of its own"),
        (
            "name,cpu,memory\nn,4,8Gi\nn,4,8Gi\n",
            "name\na\n",
            "`nodes.csv` line 3: column `name`: the node `n` is there already, in line 2",
        ),
    ] {
        let found = read(&with(""), nodes, pods).map(|_| ()).expect_err(said);
        assert!(found.contains(said), "expected `{said}` in\n{found}");
    }
}

#[test]
fn a_bound_pod_must_fit_on_its_instance_type() {
    let nodes = "name,instance_type\nn,m7i.large\n";
    let loaded = read(&with(""), nodes, "name,cpu,memory,node\na,1950m,1Gi,n\n").expect("it can be read");
    let error = finish(&loaded).map(|_| ()).expect_err("the kubelet keeps a part of two cores");
    assert!(
        error.contains("`pods.csv` line 2, column `node`: `n` has no room for the pod `a`: too little CPU"),
        "{error}"
    );
}

#[test]
fn a_group_has_no_more_nodes_than_it_may() {
    let group = "[capacity.workers]\ntype = \"node_group\"\ninstance_types = [\"m7i.large\"]\nmax_size = 1\n";
    let nodes = "name,instance_type,capacity\na,m7i.large,workers\nb,m7i.large,workers\n";
    let said = read(&with(group), nodes, "name,cpu,memory\n").expect_err("it is refused");
    assert!(said.contains("`workers` has more nodes here than its `max_size` of 1") && said.contains("3"), "{said}");
}

#[test]
fn the_plan_of_a_run_runs_again() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("nodes.csv"), MACHINES).expect("a file");
    std::fs::write(folder.path().join("pods.csv"), "name,cpu,memory,duration_s\na,1,1Gi,60\n").expect("a file");
    let load = |text: &str, folder: &Path| {
        load_text("state", "state.toml", text, folder, &LoadOptions::default())
            .unwrap_or_else(|d| panic!("{}", d.render(false)))
    };
    let first = load(&with(""), folder.path());
    let again = load(&first.plan_toml, folder.path());
    assert_eq!(plan_hash(&first.plan, &first.inputs), plan_hash(&again.plan, &again.inputs));
    let (a, b) = (finish(&first).expect("it runs"), finish(&again).expect("it runs"));
    assert_eq!(a.summary.facts_hash, b.summary.facts_hash);
}

/// A node that has the image of a service scores higher for its next pod, where the image is large. All else is equal: the pods
/// weigh next to nothing beside one of another kind on each node, and they spread over one domain.
#[test]
fn images_that_a_node_has_draw_pods_there() {
    let nodes = "name,cpu,memory\nm0,64,256Gi\nm1,64,256Gi\nm2,64,256Gi\n";
    let pods = "name,service,node,cpu,memory\nweb-1,web,m1,,\nb0,,m0,1,1Gi\nb1,,m1,1,1Gi\nb2,,m2,1,1Gi\n";
    let second_on = |size: &str, seed: u32| -> String {
        let web = WEB.replace("desired_count = 3", "desired_count = 2").replace("cpu = \"1000m\"", "cpu = \"10m\"");
        let web = web.replace("1 GiB", "16 MiB").replace("startup", &format!("image.size = \"{size}\"\nstartup"));
        let spread = "[services.web.kubernetes]\ntopology_spread_constraints = [{ topology_key = \"kubernetes.io/os\", \
                      when_unsatisfiable = \"ScheduleAnyway\" }]\n";
        let head = with("").replace("zones = 2", "zones = 1").replace("seed = 3", &format!("seed = {seed}"));
        let out = simulate(&format!("{head}{web}{spread}"), nodes, pods);
        let rows = out.rows("tasks.csv", &["task", "node"]);
        assert_eq!(rows.iter().find(|r| r[0] == "0").map(|r| r[1].as_str()), Some("1"));
        rows.iter().find(|r| r[0] == "1").map(|r| r[1].clone()).expect("a second pod")
    };
    let seeds = 0..6;
    assert!(seeds.clone().all(|seed| second_on("900 MB", seed) == "1"), "900 MB of which a third counts draw it there");
    assert!(seeds.into_iter().any(|seed| second_on("1 MB", seed) != "1"), "a small image counts for nothing");
}
