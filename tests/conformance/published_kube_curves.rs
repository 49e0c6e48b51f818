//! The published scale-out curves of EKS.

use serde_json::Value;

use crate::measured::Standing;
use crate::published_kube::{
    Report, Run, architecture, cluster, pool, scale, scale_as_the_controller_does, whole, workload,
};

const ASKED: f64 = 60.0;
const IMAGE: &str = "an image of 350 MB, an application that starts in 5 s";
/// The curve that the pace of the Fargate scheduler was read off.
const FITTED_ON: &str = "s2022_eks_fargate";
/// From the launch of a node until it took pods, as users of EKS 1.14 on Spot reported it in February 2020 (amazon-eks-ami issue 417).
const OF_2020: &str = "nodes.launch = { request = \"3s\", boot = \"132s\", agent_registration = \"10s\" }\n";

const PACE: &str =
    "what paced the control plane of 2020 (limits of its clients, scans among thousands of pods) is not published";

pub(crate) fn run(case: &Value) -> Option<Report> {
    let setup = &case["setup"];
    let target = case["target"].as_f64().or(setup["target"].as_f64())?;
    let word = |key: &str| setup[key].as_str().unwrap_or_default().to_lowercase();
    let (capacity, autoscaler) = (word("capacity"), word("autoscaler"));
    let mut quotas = "[cluster.quotas]\ntasks_per_service = 10000\nfargate_on_demand_vcpus = 16000\n".to_owned();
    let spot = capacity.contains("spot");
    let old = whole(case, "year", 2_026) <= 2_020;
    let cpu = 1_000 * whole(case, "task_vcpu", 1);
    let types = match &setup["node_types"] {
        Value::Array(list) => Value::Array(list.clone()),
        _ => Value::Array(vec![setup["node_type"].clone()]),
    };
    let kind = types[0].as_str().map_or("", architecture);
    let task = format!("image.size = \"350 MB\"\nstartup = \"5s\"\n{kind}");
    let mut pods = workload("web", 0, cpu, 1_024 * whole(case, "task_memory_gib", 2), &task, "");
    let (text, mut report) = if capacity.contains("fargate") {
        for (key, quota) in [("launch_bucket", "fargate_launch_burst"), ("launch_refill_per_s", "fargate_launch_rate")]
        {
            if let Some(given) = setup[key].as_f64() {
                quotas.push_str(&format!("{quota} = {given}\n"));
            }
        }
        pods.push_str(&scale("web", ASKED, target as u32));
        let pulls = "an image at 9.8 MB/s, unpacking included, as in the cases of ECS on Fargate";
        let value = "the Fargate scheduler's pace, 115 ms a pod, a default of the language";
        let standing = match case["id"] == FITTED_ON {
            true => Standing::Fitted(value),
            false => Standing::Calibrated { value, on: FITTED_ON },
        };
        let text = format!(
            "{}{quotas}[capacity.fargate]\ntype = \"fargate_profile\"\nselectors = [{{ namespace = \"default\" }}]\n\
             launch.pull_bandwidth = \"9.8 MB/s\"\nlaunch.unpack_bandwidth = \"10 GB/s\"\n{pods}",
            cluster(70, "")
        );
        (text, Report::new(standing, &["default quotas and launch latencies", IMAGE, pulls]))
    } else {
        pods.push_str(&scale_as_the_controller_does("web", ASKED, target as u32));
        let made = "the ReplicaSet makes 20 pods a second after a burst of 30, the controller manager's own limits";
        if autoscaler.contains("karpenter") {
            let market = if spot { "spot" } else { "on-demand" };
            let text = cluster(30, "") + &quotas + &pool("pool", &types, market, "") + &pods;
            (text, Report::new(Standing::Blind, &["default boot", made, IMAGE]))
        } else {
            let market = if spot { "SPOT" } else { "ON_DEMAND" };
            let most = whole(case, "asg_max", 450).min(450);
            let (boot, started) = match old {
                true => (
                    OF_2020,
                    "nodes that take 145 s, as reported of that year and release (amazon-eks-ami issue 417); default scheduler",
                ),
                false => ("", "default boot and scheduler"),
            };
            let text = format!(
                "{}[cluster.eks.cluster_autoscaler]\n{quotas}[capacity.workers]\ntype = \"node_group\"\n\
                 instance_types = {types}\ncapacity_type = \"{market}\"\nmin_size = 1\nmax_size = {most}\ndesired_size = 1\n{boot}{pods}",
                cluster(30, "")
            );
            let one =
                "one node at the start; one managed group of all types, of at most 450 nodes, more than the pods need";
            let mut report = Report::new(Standing::Blind, &[one, started, made, IMAGE]);
            if old {
                report.stands("middle_launch_rate_per_s", Standing::Underdetermined(PACE));
            }
            (text, report)
        }
    };
    let up = Run::of(&text).tasks("web", "running_s", ASKED);
    let reach = |share: f64| up.get((share * target).ceil() as usize - 1).map_or(f64::NAN, |t| t - ASKED);
    let between = case["expect"].as_array()?.iter().find_map(|e| e["between_counts"].as_array());
    if let Some(range) = between {
        let [from, to] = [0, 1].map(|i| range[i].as_u64().unwrap_or(1) as usize);
        if let (Some(a), Some(b)) = (up.get(from - 1), up.get(to - 1)) {
            report.figure("middle_launch_rate_per_s", (to - from) as f64 / (b - a));
        }
    }
    let apart = case["curve_points"].as_array()?.iter().map(|point| {
        let [at, running] = [0, 1].map(|i| point[i].as_f64().unwrap_or(f64::NAN));
        (up.partition_point(|t| t - ASKED <= at) as f64 - running).abs() / target
    });
    report.figure("time_to_10pct_s", reach(0.1));
    report.figure("time_to_50pct_s", reach(0.5));
    report.figure("time_to_90pct_s", reach(0.9));
    report.figure("largest_distance_of_curves", apart.fold(0.0, f64::max));
    // Beside the times the whole curve, but where its slope is open.
    if !(old && autoscaler.contains("cluster-autoscaler")) {
        report.at_most("largest_distance_of_curves", if report.is_blind() { 0.2 } else { 0.08 });
    }
    Some(report)
}
