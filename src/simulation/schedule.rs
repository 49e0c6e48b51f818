//! The ECS service scheduler at work (temporary).
use super::{RunError, Simulation};
use crate::units::ServiceId;

#[derive(Debug, Default, Clone)]
pub(super) struct SchedulerMemory;

impl Simulation<'_> {
    pub(super) fn on_scheduler(&mut self, _service: ServiceId) -> Result<(), RunError> {
        Ok(())
    }
}
