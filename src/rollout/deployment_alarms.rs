//! Alarms that fail a deployment, and the bake time.
//!
//! Rule: any of the named alarms that is in ALARM while the deployment runs or bakes fails it, and rolls
//! it back if that is set. If one of them is in ALARM already when the deployment starts, alarms are
//! ignored for the whole of that deployment. Baking begins when all new tasks run healthy and none of
//! the old revision is left. Without a bake time of its own it is reckoned from the alarms and is below
//! five minutes; without alarms it is zero.
//!
//! Source: ECS developer guide, `deployment-alarm-failure`.
//!
//! Known departure: how the default bake time is reckoned is not documented; here it is the longest of
//! the alarms' evaluation windows, below five minutes by a second.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::telemetry::alarm::{AlarmSpec, AlarmState};

/// What is remembered for one deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmsMemory {
    /// An alarm stood at the start: alarms are ignored.
    pub ignored: bool,
}

/// The memory at the start of a deployment.
#[must_use]
pub fn start(states: &[AlarmState]) -> AlarmsMemory {
    AlarmsMemory { ignored: states.contains(&AlarmState::Alarm) }
}

/// The alarm that fails the deployment, by position in the list of names.
#[must_use]
pub fn failing(memory: AlarmsMemory, states: &[AlarmState]) -> Option<usize> {
    if memory.ignored { None } else { states.iter().position(|s| *s == AlarmState::Alarm) }
}

/// The bake time: the one that is set, else zero without alarms, else the longest evaluation window of
/// the alarms, kept below five minutes.
#[must_use]
pub fn bake_time<'a>(
    bake_time_in_minutes: Option<u32>,
    alarms: impl IntoIterator<Item = &'a AlarmSpec>,
) -> SimDuration {
    if let Some(minutes) = bake_time_in_minutes {
        return SimDuration::from_mins(u64::from(minutes));
    }
    let longest = alarms.into_iter().map(|a| a.period * u64::from(a.evaluation_periods)).max();
    longest.unwrap_or_default().min(SimDuration::from_secs(299))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{Comparison, TreatMissingData};

    #[test]
    fn an_alarm_that_stood_before_is_ignored_to_the_end() {
        use AlarmState::{Alarm, Ok};
        let clean = start(&[Ok, AlarmState::InsufficientData]);
        assert_eq!(failing(clean, &[Ok, Alarm]), Some(1));
        assert_eq!(failing(clean, &[Ok, Ok]), None);
        let dirty = start(&[Alarm, Ok]);
        assert_eq!(failing(dirty, &[Ok, Alarm]), None);
    }

    #[test]
    fn bake_time_follows_the_alarms() {
        let alarm = |n| AlarmSpec {
            comparison: Comparison::GreaterThanThreshold,
            threshold: 1.0,
            period: SimDuration::from_secs(60),
            evaluation_periods: n,
            datapoints_to_alarm: n,
            treat_missing: TreatMissingData::Missing,
        };
        assert_eq!(bake_time(None, []), SimDuration::ZERO);
        assert_eq!(bake_time(None, [&alarm(1), &alarm(3)]), SimDuration::from_secs(180));
        assert_eq!(bake_time(None, [&alarm(30)]), SimDuration::from_secs(299));
        assert_eq!(bake_time(Some(10), [&alarm(1)]), SimDuration::from_secs(600));
    }
}
