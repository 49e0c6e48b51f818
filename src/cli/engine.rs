//! How the command line simulates: prices of the plan, then one run.

use std::sync::atomic::Ordering;

use super::{EngineError, Job};
use crate::catalog::Catalog;
use crate::kernel::SimTime;
use crate::output::{RowSink, Summary};
use crate::scaling::schedule::Schedule;
use crate::simulation::{RunError, RunOptions, run};

/// Simulates a job.
///
/// # Errors
/// [`EngineError`]: a plan that cannot be priced or built, rows that cannot be written, an interrupt.
pub(crate) fn simulate(
    job: &Job<'_>,
    sink: &mut RowSink,
    progress: &mut dyn FnMut(SimTime),
) -> Result<Summary, EngineError> {
    let Job { loaded, plan_hash, replication, interrupt } = *job;
    let own;
    let catalog = match (&loaded.inputs.prices, &loaded.plan.billing.prices) {
        (Some(text), Some(file)) => {
            own = Catalog::with_overrides(text, file).map_err(|e| EngineError::Invalid(e.to_string()))?;
            &own
        }
        _ => Catalog::embedded(),
    };
    let options = RunOptions {
        replication: u64::from(replication),
        name: &loaded.name,
        variant: &loaded.variant,
        plan_hash,
        minute_hashes: false,
        interrupt: Some(interrupt),
    };
    match run(&loaded.plan, &loaded.inputs, catalog, options, sink, progress) {
        Ok(outcome) => Ok(outcome.summary),
        Err(RunError::Output(e)) => Err(e.into()),
        Err(RunError::Interrupted(at)) => {
            interrupt.store(true, Ordering::SeqCst);
            Err(EngineError::Interrupted(format!("at {:.0} s of simulated time", at.as_secs_f64())))
        }
        Err(e) => Err(EngineError::Invalid(e.to_string())),
    }
}

/// The full check of a schedule and its time zone.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn check_schedule(schedule: &str, zone: &str) -> Result<(), String> {
    Schedule::parse(schedule, zone).map(|_| ()).map_err(|e| e.to_string())
}
