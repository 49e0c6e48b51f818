//! What the language says to placement that ECS would refuse, or that nothing can meet.

use std::path::Path;

use simctl::scenario::{LoadOptions, load_text};

const GROUP: &str = r#"[simulation]
duration = "45m"

[capacity.group]
type = "ec2"
instance_types = ["c5.large", "m5.xlarge"]
max_size = 20
attributes = { rack = "r1" }

[services.web]
desired_count = 4
capacity.group = { weight = 1 }
task.cpu = 512
task.memory = "1 GB"
requests.page = { cpu_time = "20ms" }
traffic.rate = [{ at = "0s", rps = 60 }]
"#;

/// What is said about a text with some more lines; they may give another `task.cpu`.
fn said(text: &str, lines: &str) -> String {
    let text = if lines.contains("task.cpu =") { text.replace("task.cpu = 512\n", "") } else { text.to_owned() };
    match load_text("s", "s.toml", &format!("{text}{lines}\n"), Path::new("."), &LoadOptions::default()) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(found) => found.render(false),
    }
}

/// The group's service with some more lines.
#[track_caller]
fn says(lines: &str, part: &str) {
    let said = said(GROUP, lines);
    assert!(said.contains(part), "expected `{part}` in:\n{said}");
}

#[track_caller]
fn silent(lines: &str, parts: &[&str]) {
    let said = said(GROUP, lines);
    for part in parts {
        assert!(!said.contains(part), "unexpected `{part}` in:\n{said}");
    }
}

fn on_fargate(lines: &str) -> String {
    let text = GROUP.replace(
        "type = \"ec2\"\ninstance_types = [\"c5.large\", \"m5.xlarge\"]\nmax_size = 20\nattributes = { rack = \"r1\" }",
        "type = \"fargate\"",
    );
    said(&text, lines)
}

#[test]
fn fargate_places_tasks_itself() {
    assert_eq!(on_fargate(""), "");
    for (lines, part) in [
        ("task.network_mode = \"bridge\"", "run in network mode `awsvpc`, not `bridge`"),
        ("task.gpus = 1", "Fargate has no GPUs"),
        ("task.cpu_hard_limit = false", "always a limit"),
        ("task.memory_reservation = \"512 MiB\"", "reserves its `memory`"),
        ("ecs.placement_strategy = [\"random\"]", "takes no placement strategy"),
        ("ecs.placement_constraints = [\"distinctInstance\"]", "Fargate takes no placement constraints"),
        ("ecs.scheduling_strategy = \"DAEMON\"", "cannot be those of a DAEMON service"),
    ] {
        let said = on_fargate(lines);
        assert!(said.contains(part), "expected `{part}` in:\n{said}");
    }
    assert_eq!(on_fargate("task.port_mappings = [{ container_port = 80 }]\necs.task_protection = {}"), "");
}

#[test]
fn ports_and_networks() {
    says("task.network_mode = \"bridge\"", "needs a port to be reached");
    says("task.network_mode = \"none\"", "no request can reach a task without a network");
    says(
        "task.network_mode = \"host\"\ntask.port_mappings = [{ container_port = 80, host_port = 81 }]",
        "in mode `host` the host port is the container port",
    );
    says(
        "task.network_mode = \"bridge\"\ntask.port_mappings = [{ container_port = 80, host_port = 22 }]",
        "port 22 of the instance belongs to",
    );
    says("task.port_mappings = [{ container_port = 80 }, { container_port = 80 }]", "a port is mapped twice");
    says("task.port_mappings = [{ container_port = 70000 }]", "`container_port` from 1 to 65535");
    silent("task.network_mode = \"bridge\"\ntask.port_mappings = [{ container_port = 80 }]", &["port", "network"]);
}

#[test]
fn constraints_are_read_and_tried() {
    let member = |e: &str| format!("ecs.placement_constraints = [{{ type = \"memberOf\", expression = \"{e}\" }}]");
    says(&member("attribute:rack = r1"), "at character 16: expected an operator");
    says(&member("attribute:rak == r1"), "there is `rack`");
    says(&member("agentVersion > 1.2"), "have no `agentVersion`");
    says(&member("attribute:ecs.instance-type =~ c7g.*"), "meets this constraint");
    silent(
        &member("attribute:ecs.instance-type =~ c5.* and attribute:rack == r1 and runningTasksCount < 3"),
        &["constraint", "attribute", "S1041"],
    );
    says("task.cpu = 8192", "larger than any instance");
    says("task.gpus = 1", "larger than any instance");
    says("task.architecture = \"ARM64\"", "no instance type of `web` has the processor ARM64");
    says("task.memory_reservation = \"1 GB\"", "not below the hard limit");
    says("task.ephemeral_storage = \"30 GiB\"", "only Fargate gives a task storage of its own");
}

#[test]
fn daemons_and_protection() {
    let daemon = "ecs.scheduling_strategy = \"DAEMON\"\n";
    says(daemon, "runs one task on each instance");
    says(&format!("{daemon}ecs.deployment_configuration.minimum_healthy_percent = 100"), "so its minimum is below 100");
    says(&format!("{daemon}ecs.placement_strategy = [\"random\"]"), "takes no placement strategy");
    says(&format!("{daemon}ecs.deployment_configuration.maximum_percent = 150"), "maximumPercent of a DAEMON");
    says(&format!("{daemon}ecs.task_protection = {{}}"), "nothing to protect them from");
    says("ecs.task_protection = { expires_in_minutes = 3000 }", "from 1 to 2880");
    says(
        "ecs.availability_zone_rebalancing = \"ENABLED\"\necs.placement_strategy = [{ type = \"binpack\", field = \"cpu\" }]",
        "a spread over zones is the first placement strategy",
    );
    says("ecs.placement_strategy = [{ type = \"spread\", field = \"zone\" }]", "attribute:ecs.availability-zone");
}

#[test]
fn what_no_instance_can_do_is_said_once_with_its_place() {
    let bad = |from: &str, to: &str| {
        assert!(GROUP.contains(from), "{from}");
        said(&GROUP.replace(from, to), "")
    };
    let unknown = bad("\"c5.large\"", "\"c5.larg\"");
    assert!(unknown.contains("there is no instance type `c5.larg`") && unknown.contains("c5.large"), "{unknown}");
    let weights = bad("capacity.group = { weight = 1 }", "capacity.group = { weight = 0 }");
    assert!(weights.contains("all weights are 0") && weights.contains("write `weight = 1`"), "{weights}");
    let large = said(GROUP, "task.cpu = 8192");
    assert!(large.contains("larger than any instance") && large.contains("the largest"), "{large}");
    let never = said(
        GROUP,
        "ecs.placement_constraints = [{ type = \"memberOf\", expression = \"attribute:ecs.instance-type =~ m7g.*\" }]",
    );
    assert!(never.contains("holds for none of them"), "{never}");
    for said in [unknown, weights, large, never] {
        assert!(said.contains("--> s.toml:") && said.matches("error[").count() == 1, "{said}");
    }
}
