//! Load balancers in front of pods: what they cost, whom they reach, and what is refused.

mod common;

use common::{Outcome, number};

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
cpu = "900m"
memory = "512 MiB"
[services.web.requests.page]
cpu_time = "10ms"
response_bytes = "20 kB"
[services.web.client]
timeout = "2s"
[services.web.traffic]
rate = [{ at = "0s", rps = 60 }]
[services.web.load_balancer]
"#;

fn text(balancer: &str, service: &str) -> String {
    format!("{BASE}{balancer}\n[services.web.kubernetes]\nservice = {{ {service} }}\n")
}

fn simulate(balancer: &str, service: &str) -> Outcome {
    common::simulate(&text(balancer, service))
}

/// The share of the pods on the smaller node in the CPU that all used.
fn share_of_small(out: &Outcome) -> f64 {
    let used = |kind: &str, vcpus: f64| {
        let nodes = out.all("nodes.csv");
        let of = nodes.iter().filter(|n| n["node_type"] == kind);
        of.map(|n| number(n, "cpu_used_pct").expect("a number") * vcpus).sum::<f64>()
    };
    let (large, small) = (used("m7i.xlarge", 4.0), used("m7i.large", 2.0));
    small / (large + small)
}

fn cost(out: &Outcome, item: &str) -> f64 {
    out.summary.cost.items.iter().filter(|line| line.item == item).map(|line| line.cost_usd).sum()
}

#[test]
fn who_is_reached_depends_on_what_the_targets_are() {
    let near = |got: f64, wanted: f64, what: &str| assert!((got - wanted).abs() < 0.05, "{what}: {got} not {wanted}");
    near(share_of_small(&simulate("", "")), 0.25, "pods alike");
    near(share_of_small(&simulate("", "target_type = \"instance\"")), 0.25, "nodes pass on to any pod");
    let local = "target_type = \"instance\", external_traffic_policy = \"Local\"";
    near(share_of_small(&simulate("", local)), 0.5, "nodes alike, whatever runs there");
    near(
        share_of_small(&simulate("type = \"network\"", "target_type = \"instance\"")),
        0.25,
        "nodes pass on to any pod",
    );
    near(share_of_small(&simulate("type = \"network\"", "")), 0.5, "zones alike");
    near(
        share_of_small(&simulate("type = \"network\"\ncross_zone = \"ENABLED\"", "")),
        0.25,
        "pods of all zones alike",
    );
}

#[test]
fn bytes_between_zones_cost_where_no_application_balancer_carries_them() {
    let application = simulate("", "");
    assert!(cost(&application, "alb") > 0.02 && cost(&application, "alb_lcu") > 0.0);
    assert_eq!((cost(&application, "nlb"), cost(&application, "inter_zone")), (0.0, 0.0));
    let instance = simulate("", "target_type = \"instance\"");
    // 60 requests of 20 kB a second for an hour, half of them to the other zone, a cent a GB at either end.
    let wanted = 60.0 * 3_600.0 * 20e3 / 1e9 * 0.5 * 0.02;
    let paid = cost(&instance, "inter_zone");
    assert!((paid - wanted).abs() < 0.2 * wanted, "{paid} not {wanted}");
    let network = simulate("type = \"network\"", "");
    assert!(cost(&network, "nlb") > 0.02 && cost(&network, "nlb_lcu") > 0.0);
    assert_eq!((cost(&network, "alb"), cost(&network, "inter_zone")), (0.0, 0.0));
    let crossing = cost(&simulate("type = \"network\"\ncross_zone = \"ENABLED\"", ""), "inter_zone");
    assert!((crossing - wanted).abs() < 0.2 * wanted, "{crossing} not {wanted}");
    let proxy = simulate("", "type = \"ClusterIP\"");
    assert!(cost(&proxy, "alb") == 0.0 && cost(&proxy, "inter_zone") > 0.0);
}

#[test]
fn what_no_load_balancer_does_is_refused() {
    for (balancer, service, word) in [
        ("type = \"network\"\nalgorithm = \"least_outstanding_requests\"", "", "does not take `algorithm`"),
        ("type = \"network\"\nslow_start = \"60s\"", "", "does not take `slow_start`"),
        ("", "external_traffic_policy = \"Local\"", "no load balancer sends to nodes"),
        ("", "type = \"ClusterIP\", target_type = \"instance\"", "no load balancer stands in front"),
    ] {
        let said = common::refused(&text(balancer, service));
        assert!(said.contains(word), "{said}");
    }
}
