//! Compares two policies through the Rust API: is a step policy beside target tracking worth its price?
//!
//! `cargo run --release --example compare` prints the verdict of thirty replications of each.

use std::error::Error;
use std::path::Path;

use simctl::experiment::{CHECK_SCHEDULE, CompareOptions, Point, Runner, Variant, compare};
use simctl::scenario::{LoadOptions, load};

fn main() -> Result<(), Box<dyn Error>> {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/spike.toml");
    let point = |variant: Option<&str>, label: &str| {
        let variant = variant.map(ToOwned::to_owned);
        let options = LoadOptions { variant, check_schedule: Some(CHECK_SCHEDULE), ..LoadOptions::default() };
        let loaded = load(&scenario, &options).map_err(|found| found.render(false))?;
        Ok::<_, String>(Point::new(loaded, label, "simctl run scenarios/spike.toml"))
    };
    let points = [point(None, "tracking")?, point(Some("step-scaling"), "tracking and steps")?];

    // All cores; replication k of both meets the same draws.
    let runs = Runner::default().replicate(&points, 30)?;
    let variants: Vec<Variant> =
        points.iter().zip(runs).map(|(point, runs)| Variant { label: point.label.clone(), runs }).collect();

    let comparison = compare(&variants, &CompareOptions::default());
    for against in &comparison.against {
        println!("{}", against.sentence);
        for d in against.differences.iter().filter(|d| d.shown) {
            println!("  {:<24} {:>+12.4} {:<4} {}", d.address, d.difference.unwrap_or_default(), d.unit, d.verdict);
        }
    }
    Ok(())
}
