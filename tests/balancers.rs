//! Load balancers in front of pods: what they cost, whom they reach, and what is refused.

use simctl::catalog::Catalog;
use simctl::output::{RowSink, Summary};
use simctl::scenario::model::Inputs;
use simctl::scenario::{from_text, plan_hash};
use simctl::simulation::{RunOptions, run};

/// Four pods on two nodes in two zones: three on the larger, one on the smaller.
const BASE: &str = r#"
[simulation]
duration = "1h"
[cluster]
orchestrator = "eks"
zones = 2
[capacity.large]
type = "node_group"
instance_types = ["m7i.xlarge"]
min_size = 1
max_size = 1
zones = [0]
labels = { size = "large" }
[capacity.small]
type = "node_group"
instance_types = ["m7i.large"]
min_size = 1
max_size = 1
zones = [1]
labels = { size = "small" }
[services.web]
desired_count = 4
[services.web.task]
cpu = "1"
memory = "512 MiB"
[services.web.requests.page]
cpu_time = "10ms"
response_size = "20 kB"
[services.web.client]
timeout = "2s"
[services.web.traffic]
rate = [{ at = "0s", rps = 60 }]
[services.web.load_balancer]
"#;

struct Outcome {
    summary: Summary,
    folder: tempfile::TempDir,
}

fn simulate(balancer: &str, service: &str) -> Outcome {
    let text = format!("{BASE}{balancer}\n[services.web.kubernetes]\nservice = {{ {service} }}\n");
    let plan = from_text("balancers", &text).unwrap_or_else(|d| panic!("{}\n{text}", d.render(false)));
    let inputs = Inputs::default();
    let hash = plan_hash(&plan, &inputs);
    let folder = tempfile::tempdir().expect("a folder");
    let mut sink = RowSink::folder(folder.path()).expect("a fresh folder");
    let options = RunOptions { name: "balancers", plan_hash: &hash, ..RunOptions::default() };
    let summary =
        run(&plan, &inputs, Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends").summary;
    sink.close().expect("rows are written");
    Outcome { summary, folder }
}

impl Outcome {
    /// CPU that the pods of the two nodes used, in percent of all: the larger, the smaller.
    fn shares(&self) -> (f64, f64) {
        let mut reader = csv::Reader::from_path(self.folder.path().join("nodes.csv")).expect("the file is there");
        let head = reader.headers().expect("a header").clone();
        let column = |name: &str| head.iter().position(|h| h == name).unwrap_or_else(|| panic!("no {name}"));
        let (kind, used) = (column("node_type"), column("cpu_used_pct"));
        let vcpus = |kind: &str| if kind == "m7i.xlarge" { 4.0 } else { 2.0 };
        let rows: Vec<(String, f64)> = reader
            .records()
            .map(|r| r.expect("a row"))
            .map(|r| (r[kind].to_string(), r[used].parse::<f64>().expect("a number")))
            .collect();
        let of = |name: &str| rows.iter().filter(|r| r.0 == name).map(|r| r.1 * vcpus(name)).sum::<f64>();
        let (large, small) = (of("m7i.xlarge"), of("m7i.large"));
        (large / (large + small), small / (large + small))
    }

    fn cost(&self, item: &str) -> f64 {
        let lines = self.summary.cost.items.iter().filter(|line| line.item == item);
        lines.map(|line| line.cost_usd).sum()
    }
}

#[test]
fn who_is_reached_depends_on_what_the_targets_are() {
    let near = |got: f64, wanted: f64, what: &str| assert!((got - wanted).abs() < 0.05, "{what}: {got} not {wanted}");
    near(simulate("", "").shares().1, 0.25, "pods alike");
    near(simulate("", "target_type = \"instance\"").shares().1, 0.25, "nodes pass on to any pod");
    let local = "target_type = \"instance\", external_traffic_policy = \"Local\"";
    near(simulate("", local).shares().1, 0.5, "nodes alike, whatever runs there");
    near(simulate("type = \"network\"", "").shares().1, 0.5, "zones alike");
    near(simulate("type = \"network\"\ncross_zone = \"ENABLED\"", "").shares().1, 0.25, "pods of all zones alike");
}

#[test]
fn bytes_between_zones_cost_where_no_application_balancer_carries_them() {
    let application = simulate("", "");
    assert!(application.cost("alb") > 0.02 && application.cost("alb_lcu") > 0.0);
    assert_eq!((application.cost("nlb"), application.cost("inter_zone")), (0.0, 0.0));
    let instance = simulate("", "target_type = \"instance\"");
    // 60 requests of 20 kB a second for an hour, half of them to the other zone, a cent a GB at either end.
    let wanted = 60.0 * 3_600.0 * 20e3 / 1e9 * 0.5 * 0.02;
    let cost = instance.cost("inter_zone");
    assert!((cost - wanted).abs() < 0.2 * wanted, "{cost} not {wanted}");
    let network = simulate("type = \"network\"", "");
    assert!(network.cost("nlb") > 0.02 && network.cost("nlb_lcu") > 0.0);
    assert_eq!((network.cost("alb"), network.cost("inter_zone")), (0.0, 0.0));
    let crossing = simulate("type = \"network\"\ncross_zone = \"ENABLED\"", "").cost("inter_zone");
    assert!((crossing - wanted).abs() < 0.2 * wanted, "{crossing} not {wanted}");
    let proxy = simulate("", "type = \"ClusterIP\"");
    assert!(proxy.cost("alb") == 0.0 && proxy.cost("inter_zone") > 0.0);
}

#[test]
fn what_no_load_balancer_does_is_refused() {
    for (balancer, service, word) in [
        ("type = \"network\"\nalgorithm = \"least_outstanding_requests\"", "", "does not take `algorithm`"),
        ("type = \"network\"\nslow_start = \"60s\"", "", "does not take `slow_start`"),
        ("", "external_traffic_policy = \"Local\"", "no load balancer sends to nodes"),
        ("", "type = \"ClusterIP\", target_type = \"instance\"", "no load balancer stands in front"),
    ] {
        let text = format!("{BASE}{balancer}\n[services.web.kubernetes]\nservice = {{ {service} }}\n");
        let said = from_text("balancers", &text).expect_err("it is refused").render(false);
        assert!(said.contains(word), "{said}");
    }
}
