//! One run of a loaded scenario: prices, simulation, record.

use std::sync::atomic::AtomicBool;

use super::record::RunRecord;
use crate::catalog::Catalog;
use crate::kernel::SimTime;
use crate::output::{OutputError, RowSink};
use crate::scaling::schedule::Schedule;
use crate::scenario::{CheckSchedule, Loaded};
use crate::simulation::{RunError, RunOptions, run};

/// One run that is to be simulated.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The scenario, loaded and checked.
    pub loaded: &'a Loaded,
    /// Hash of the plan and its inputs.
    pub plan_hash: &'a str,
    /// Number of the replication, from 0: its own random streams.
    pub replication: u32,
    /// Set by somebody else when the run is to end as soon as possible.
    pub interrupt: Option<&'a AtomicBool>,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan cannot be simulated or priced.
    #[error("{0}")]
    Invalid(String),
    /// The rows cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// [`Job::interrupt`] was set; says how far the run was.
    #[error("interrupted {0}")]
    Interrupted(String),
}

/// Simulates a job: rows go to the sink as they arise, the callback hears of the simulated time now and then.
pub type Engine = fn(&Job<'_>, &mut RowSink, &mut dyn FnMut(SimTime)) -> Result<RunRecord, EngineError>;

/// The [`Engine`] that simulates.
///
/// # Errors
/// [`EngineError`]: a plan that cannot be priced or built, rows that cannot be written, an interrupt.
pub fn simulate(
    job: &Job<'_>,
    sink: &mut RowSink,
    progress: &mut dyn FnMut(SimTime),
) -> Result<RunRecord, EngineError> {
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
        interrupt,
    };
    match run(&loaded.plan, &loaded.inputs, catalog, options, sink, progress) {
        Ok(outcome) => {
            let mut summary = outcome.summary;
            summary.ignored.extend(loaded.unused.iter().cloned());
            Ok(RunRecord::new(summary, &outcome.latency))
        }
        Err(RunError::Output(e)) => Err(e.into()),
        Err(RunError::Interrupted(at)) => {
            Err(EngineError::Interrupted(format!("at {:.0} s of simulated time", at.as_secs_f64())))
        }
        Err(e) => Err(EngineError::Invalid(e.to_string())),
    }
}

/// The full check of schedules, for [`LoadOptions::check_schedule`](crate::scenario::LoadOptions::check_schedule).
pub const CHECK_SCHEDULE: CheckSchedule =
    |schedule, zone| Schedule::parse(schedule, zone).map(|_| ()).map_err(|e| e.to_string());
