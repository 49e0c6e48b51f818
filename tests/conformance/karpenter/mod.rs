//! The families of `tests/vectors/karpenter`.

mod algebra;
mod amounts;
mod disruption;
mod launches;
mod rounds;
mod spec;

use serde_json::Value;

use crate::Outcome;

/// What a case came to: the first thing that was not as expected.
type Got = Result<(), String>;

/// Runs a case; `None` where nothing is built for its family.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    let got = match family {
        "requirement_intersections" => algebra::intersection(case),
        "requirement_compatibility" => algebra::compatibility(case),
        "node_allocatable" => amounts::node_allocatable(case),
        "allocatable_misc" => amounts::allocatable(case),
        "price_adjust" => amounts::price_adjust(case),
        "bin_packing" | "limits_weights" | "topology_spread" | "affinity" => rounds::run(case),
        "launch_and_interruption" => launches::run(case),
        "timers" => launches::timers(case),
        "balanced_scoring" => disruption::balanced(case),
        "budgets" => disruption::budgets(case),
        "disruption_candidates" => disruption::candidates(case),
        "emptiness_drift" => disruption::emptiness_drift(case),
        "eviction_cost" => disruption::eviction_cost(case),
        "consolidation" => disruption::consolidation(case),
        _ => return None,
    };
    Some(got.map_or_else(Outcome::Failed, |()| Outcome::Passed))
}

/// Complains unless two things are equal.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, got: T) -> Got {
    if expected == got { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {got:?}")) }
}

/// Complains unless two numbers are equal to one part in a million, as the vectors say.
fn near(what: &str, expected: f64, got: f64) -> Got {
    let equal = expected == got || (expected - got).abs() <= 1e-6 * expected.abs().max(1.0);
    if equal { Ok(()) } else { Err(format!("{what}: expected {expected}, got {got}")) }
}
