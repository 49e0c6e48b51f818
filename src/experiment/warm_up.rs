//! The warm-up of a run whose rate and capacity are constant, found in the data by MSER-5.
//!
//! Any other run is a terminating one: its beginning is part of the question, and nothing is removed from it but
//! what the scenario says.

use super::engine::{Engine, EngineError, Job};
use super::runner::Point;
use super::statistics::{Truncation, mser5};
use crate::kernel::SimDuration;
use crate::output::{OutputError, RowSink, SERVICES_FILE, ServiceRow};
use crate::scenario::model::{Capacity, Interruptions, Plan, Service};

/// Why a plan has no warm-up to be found.
#[derive(Debug, thiserror::Error)]
pub enum WarmUpError {
    /// Its rate or its capacity changes.
    #[error("a warm-up is found only where rate and capacity are constant: {0}")]
    NotSteady(String),
    /// The pilot run is too short, or does not settle.
    #[error("no warm-up was found in the latency of `{service}`: {why}")]
    NotFound {
        /// The service.
        service: String,
        /// Why.
        why: &'static str,
    },
    /// The pilot run failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its rows could not be read.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Whether rate and capacity are constant over the whole of a plan.
///
/// # Errors
/// What changes, by its address.
pub fn is_steady(plan: &Plan) -> Result<(), WarmUpError> {
    let changes = |what: String| Err(WarmUpError::NotSteady(what));
    if let Some(name) = plan.actions.keys().next() {
        return changes(format!("actions.{name} happens"));
    }
    if let Some(name) = plan.faults.keys().next() {
        return changes(format!("faults.{name} strikes"));
    }
    for (name, capacity) in &plan.capacity {
        if let Capacity::FargateSpot(spot) = capacity
            && (spot.interruptions_per_hour > 0.0 || !spot.reclaims.is_empty())
        {
            return changes(format!("capacity.{name} is interrupted"));
        }
        if let Some(nodes) = capacity.instances()
            && (!nodes.spot.events.is_empty() || may_be_interrupted(capacity))
        {
            return changes(format!("capacity.{name} is interrupted"));
        }
        let fargate = capacity.fargate().is_some_and(|f| !f.outages.is_empty());
        if fargate || capacity.instances().is_some_and(|n| !n.outages.is_empty()) {
            return changes(format!("capacity.{name} has outages"));
        }
    }
    for (name, service) in &plan.services {
        if let Some(what) = change_of(service) {
            return changes(format!("services.{name}.{what}"));
        }
    }
    Ok(())
}

/// Whether instances of a capacity are Spot and something interrupts them.
fn may_be_interrupted(capacity: &Capacity) -> bool {
    capacity.buys_spot()
        && capacity.instances().is_some_and(|n| !matches!(n.spot.interruptions, Interruptions::None(_)))
}

/// What of a service changes over time.
fn change_of(service: &Service) -> Option<&'static str> {
    let t = &service.traffic;
    if t.trace.is_some() || t.recorded.is_some() {
        return Some("traffic is recorded");
    }
    if !t.shapes.is_empty() || t.rate.windows(2).any(|pair| pair[0].rps != pair[1].rps) {
        return Some("traffic changes its rate");
    }
    let scaling = service.scaling.as_ref().filter(|s| s.min_capacity < s.max_capacity)?;
    let acts = !scaling.policies.is_empty() || !scaling.scheduled_actions.is_empty();
    acts.then_some("scaling changes the number of tasks")
}

/// The warm-up that a pilot run of a point shows: the longest of its services. `warm_up` of the plan is not looked at.
///
/// # Errors
/// See [`WarmUpError`].
pub fn find(point: &Point, engine: Engine) -> Result<SimDuration, WarmUpError> {
    is_steady(&point.loaded.plan)?;
    let folder = tempfile::tempdir().map_err(|e| OutputError::io("create a folder in", std::env::temp_dir(), e))?;
    let mut rows = RowSink::folder(folder.path())?;
    let job = Job { loaded: &point.loaded, plan_hash: &point.hash, replication: 0, interrupt: None };
    engine(&job, &mut rows, &mut |_| {})?;
    rows.close()?;
    let path = folder.path().join(SERVICES_FILE);
    let mut reader = csv::Reader::from_path(&path)
        .map_err(|e| OutputError::Malformed { path: path.clone(), reason: e.to_string() })?;
    let mut series: indexmap::IndexMap<String, Vec<f64>> =
        point.loaded.plan.services.keys().map(|name| (name.clone(), Vec::new())).collect();
    for row in reader.deserialize::<ServiceRow<'static>>() {
        let row = row.map_err(|e| OutputError::Malformed { path: path.clone(), reason: e.to_string() })?;
        if let (Some(values), Some(mean)) = (series.get_mut(row.service.as_ref()), row.latency_mean_ms) {
            values.push(mean.value());
        }
    }
    let mut intervals = 0;
    for (service, values) in series.into_iter().filter(|(_, values)| !values.is_empty()) {
        let why = match mser5(&values) {
            Truncation::After(n) => {
                intervals = intervals.max(n);
                continue;
            }
            Truncation::NotFound => "it does not settle in the first half of the run",
            Truncation::TooShort => "the run has fewer than fifty intervals with requests",
        };
        return Err(WarmUpError::NotFound { service, why });
    }
    Ok(point.loaded.plan.simulation.interval.mul_f64(intervals as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::simulate;
    use crate::scenario::{LoadOptions, load_text};

    /// Four users' worth of load on tasks that are slow while they start: the first minutes are worse.
    const STEADY: &str = "[simulation]\nduration = \"40m\"\n[services.web]\ndesired_count = 2\n[services.web.task]\n\
        cpu = 512\nmemory = \"1 GB\"\n[services.web.requests.page]\ncpu_time = { distribution = \"exponential\", mean = \"200ms\" }\n\
        [services.web.traffic]\nrate = [{ at = \"0s\", rps = 4.2 }]\n[services.web.client]\ntimeout = \"60s\"\n";

    fn point(text: &str) -> Point {
        let loaded = load_text("steady", "steady.toml", text, std::path::Path::new("."), &LoadOptions::default())
            .unwrap_or_else(|e| panic!("{e:?}"));
        Point::new(loaded, "steady", "simctl run steady.toml")
    }

    #[test]
    fn a_steady_run_has_a_warm_up_in_whole_batches() {
        let found = find(&point(STEADY), simulate).expect("steady");
        assert_eq!(found.as_secs_f64() % 50.0, 0.0, "five intervals of ten seconds");
        assert!(found.as_secs_f64() < 1_200.0);
    }

    #[test]
    fn what_changes_is_named() {
        for (more, what) in [
            (
                "[services.web.traffic.shapes.day]\ntype = \"sine\"\nmean_rps = 3\namplitude_rps = 1\nperiod = \"1h\"\n",
                "web.traffic changes",
            ),
            (
                "[services.web.scaling]\nmin_capacity = 1\nmax_capacity = 4\n[services.web.scaling.policies.cpu]\n\
                 type = \"target_tracking\"\npredefined_metric_type = \"ECSServiceAverageCPUUtilization\"\ntarget_value = 50\n",
                "web.scaling changes",
            ),
        ] {
            let e = is_steady(&point(&format!("{STEADY}{more}")).loaded.plan).expect_err("not steady");
            assert!(e.to_string().contains(what), "{e}");
        }
        let short = STEADY.replace("40m", "5m");
        let e = find(&point(&short), simulate).expect_err("too short");
        assert!(e.to_string().contains("fewer than fifty"), "{e}");
    }
}
