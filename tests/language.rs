//! What the language says when something is wrong: the words, the places, all at once.

use std::path::Path;

use simctl::scenario::{LoadOptions, load, load_text};

const GOOD: &str = r#"[simulation]
duration = "45m"

[capacity.fargate]
type = "fargate"

[services.web]
desired_count = 4
capacity.fargate = { weight = 1 }
task = { cpu = 1024, memory = "2 GB" }
requests.page = { cpu_time = "20ms" }
traffic.rate = [{ at = "0s", rps = 60 }, { at = "10m", rps = 420 }]

[services.web.scaling]
min_capacity = 4
max_capacity = 60
[services.web.scaling.policies.cpu60]
type = "target_tracking"
predefined_metric_type = "ECSServiceAverageCPUUtilization"
target_value = 60

[variants.slower]
"services.web.scaling.policies.cpu60.target_value" = 75
"#;

/// The rendered findings of a text and settings.
fn said(text: &str, sets: &[&str]) -> String {
    let options = LoadOptions { sets: sets.iter().map(|s| (*s).to_owned()).collect(), ..LoadOptions::default() };
    match load_text("spike", "scenarios/spike.toml", text, Path::new("."), &options) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(found) => found.render(false),
    }
}

/// The good text with one change.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn show() {
    println!("{}", said(&with("target_value = 60", "target_value = 60\nscale_in_coldown = \"5m\""), &[]));
    println!(
        "{}",
        said(&with("cpu = 1024", "cpu = 0.5").replace("420", "\"many\"").replace("max_capacity = 60\n", ""), &[])
    );
    println!(
        "{}",
        said(
            GOOD,
            &[
                "services.wbe.task.cpu=2048",
                "services.web.task.cpus=2048",
                "simulation.duration=10",
                "services.web.traffic.rate[7].rps=3",
                "services.web.scaling.policies.cpu60.target=5",
                "nothing"
            ]
        )
    );
    println!("{}", said("[a\nb = = 3\nc = \"x\n", &[]));
    println!(
        "{}",
        said(
            GOOD,
            &[
                "services.web.traffic.rate[1].rps=3",
                "services.web.task.startup=18s",
                "unset=[\"services.web.scaling.policies.cpu60\"]"
            ]
        )
    );
}
