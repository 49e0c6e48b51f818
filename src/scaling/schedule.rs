//! When scheduled actions act, and what they do.
//!
//! Rule: a schedule is `cron(...)`, `rate(n unit)` or `at(yyyy-mm-ddThh:mm:ss)`. Cron and at are read in
//! a time zone; a rate counts whole minutes, hours or days of 24 hours, whatever daylight saving does,
//! and wants the singular unit for 1 and the plural above. A local time that does not exist never comes,
//! one that comes twice is meant the first time. A recurring action with a start time acts at that
//! instant too, and at none after its end time. Acting replaces whichever of minimum and maximum the
//! action names; a capacity below the minimum rises to it at once, one above the maximum falls to it.
//! The values stay; an end time brings nothing back. Missed actions are not made up.
//!
//! Source: Application Auto Scaling user guide, `application-auto-scaling-scheduled-scaling`;
//! EventBridge user guide, `eb-create-rule-schedule`; EventBridge Scheduler user guide,
//! `schedule-types`.
//!
//! Known departure: an action with a rate and no start time acts first one period after it was made;
//! the documentation leaves the first instant open.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::cron::{Cron, CronError};
use crate::scenario::model::ScheduledAction;

/// A parsed schedule with its time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    when: When,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq)]
enum When {
    Cron(Cron),
    Rate(SignedDuration),
    /// `None`: a local time that does not exist.
    At(Option<Timestamp>),
}

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither cron, nor rate, nor at.
    #[error("expected `cron(...)`, `rate(...)` or `at(...)`")]
    Form,
    /// No such time zone.
    #[error("`{0}` is not an IANA time zone")]
    Zone(String),
    /// The cron fields are wrong.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// Not `rate(n unit)`.
    #[error("expected `rate(n unit)` with a whole number above zero and minutes, hours or days")]
    Rate,
    /// The unit's number does not fit the value.
    #[error("write `{expected}`: 1 wants the singular, more the plural")]
    RateUnit {
        /// What it should be.
        expected: String,
    },
    /// Not `at(yyyy-mm-ddThh:mm:ss)`.
    #[error("expected `at(yyyy-mm-ddThh:mm:ss)`")]
    At,
}

impl Schedule {
    /// Parses a schedule whose fields are read in the IANA zone `zone`.
    ///
    /// # Errors
    /// When the text is none of the three forms, a field is wrong, or there is no such zone.
    ///
    /// ```
    /// use simctl::scaling::schedule::Schedule;
    ///
    /// let weekdays = Schedule::parse("cron(0 8 ? * MON-FRI *)", "Europe/Berlin")?;
    /// let friday = "2026-03-27T12:00:00Z".parse().unwrap();
    /// // Summer time began on Sunday.
    /// assert_eq!(weekdays.next_after(friday).unwrap().to_string(), "2026-03-30T06:00:00Z");
    /// # Ok::<(), simctl::scaling::schedule::ScheduleError>(())
    /// ```
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone(zone.to_string()))?;
        let text = text.trim();
        let inner = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let when = if let Some(fields) = inner("cron") {
            When::Cron(Cron::parse(fields)?)
        } else if let Some(rate) = inner("rate") {
            When::Rate(parse_rate(rate)?)
        } else if let Some(at) = inner("at") {
            When::At(parse_at(at, &zone)?)
        } else {
            return Err(ScheduleError::Form);
        };
        Ok(Self { when, zone })
    }

    /// The first instant strictly after `after`. For a rate that is one period after `after`, so that
    /// feeding each result back gives the sequence.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.when {
            When::Cron(cron) => cron.next_after(after, &self.zone),
            When::Rate(every) => after.checked_add(*every).ok(),
            When::At(at) => at.filter(|at| *at > after),
        }
    }

    /// The first instant strictly after `after` at which `action`, made at `made`, acts under this
    /// schedule: start and end time are kept, and a recurring action acts at its start time too.
    #[must_use]
    pub fn next_action(&self, action: &ScheduledAction, made: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let start = action.start_time;
        let next = match &self.when {
            When::At(at) => at.filter(|at| *at > after && start.is_none_or(|s| *at >= s)),
            _ if start.is_some_and(|s| s > after) => start,
            When::Cron(cron) => cron.next_after(after, &self.zone),
            When::Rate(every) => {
                let anchor = start.unwrap_or(made);
                let (since, every_s) = (after.as_second() - anchor.as_second(), every.as_secs());
                let periods = if since < 0 { 1 } else { since / every_s + 1 };
                anchor.checked_add(SignedDuration::from_secs(periods.checked_mul(every_s)?)).ok()
            }
        };
        next.filter(|at| action.end_time.is_none_or(|end| *at <= end))
    }
}

fn parse_rate(text: &str) -> Result<SignedDuration, ScheduleError> {
    let mut words = text.split_whitespace();
    let (Some(value), Some(unit), None) = (words.next(), words.next(), words.next()) else {
        return Err(ScheduleError::Rate);
    };
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let value: i64 = match value.parse() {
        Ok(n) if n > 0 && digits => n,
        _ => return Err(ScheduleError::Rate),
    };
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    let secs = match singular {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return Err(ScheduleError::Rate),
    };
    let expected = if value == 1 { singular.to_string() } else { format!("{singular}s") };
    if unit != expected {
        return Err(ScheduleError::RateUnit { expected: format!("rate({value} {expected})") });
    }
    value.checked_mul(secs).map(SignedDuration::from_secs).ok_or(ScheduleError::Rate)
}

fn parse_at(text: &str, zone: &TimeZone) -> Result<Option<Timestamp>, ScheduleError> {
    let shape = text.len() == 19 && text.as_bytes()[10] == b'T';
    let local: DateTime = text.parse().ok().filter(|_| shape).ok_or(ScheduleError::At)?;
    let at = zone.to_ambiguous_timestamp(local);
    if matches!(at.offset(), AmbiguousOffset::Gap { .. }) {
        return Ok(None);
    }
    at.earlier().map(Some).map_err(|_| ScheduleError::At)
}

/// What a scheduled action makes of minimum, maximum and capacity, in that order. A minimum above the
/// maximum is not refused here: the capacity then rises to the minimum.
#[must_use]
pub fn apply(action: &ScheduledAction, min: u32, max: u32, capacity: u32) -> (u32, u32, u32) {
    let min = action.min_capacity.unwrap_or(min);
    let max = action.max_capacity.unwrap_or(max);
    (min, max, capacity.min(max).max(min))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn action(start: Option<&str>, end: Option<&str>) -> ScheduledAction {
        ScheduledAction {
            schedule: String::new(),
            timezone: "UTC".to_string(),
            min_capacity: None,
            max_capacity: None,
            start_time: start.map(at),
            end_time: end.map(at),
        }
    }

    #[test]
    fn rates_want_the_right_number() {
        for good in ["rate(1 hour)", "rate(5 minutes)", "rate(1 day)", "rate(2 days)"] {
            assert!(Schedule::parse(good, "UTC").is_ok(), "{good}");
        }
        for bad in ["rate(1 hours)", "rate(5 hour)", "rate(0 minutes)", "rate(-1 minutes)", "rate(1 week)", "rate(1)"] {
            assert!(Schedule::parse(bad, "UTC").is_err(), "{bad}");
        }
        let error = Schedule::parse("rate(5 hour)", "UTC").unwrap_err();
        assert_eq!(error.to_string(), "write `rate(5 hours)`: 1 wants the singular, more the plural");
    }

    #[test]
    fn at_is_local_and_may_not_exist() {
        let berlin = Schedule::parse("at(2026-07-01T09:00:00)", "Europe/Berlin").unwrap();
        assert_eq!(berlin.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-07-01T07:00:00Z")));
        assert_eq!(berlin.next_after(at("2026-07-01T07:00:00Z")), None);
        let gap = Schedule::parse("at(2026-03-29T02:30:00)", "Europe/Berlin").unwrap();
        assert_eq!(gap.next_after(at("2026-01-01T00:00:00Z")), None);
        for bad in ["at(2026-07-01)", "at(2026-13-01T00:00:00)", "at(2026-07-01 00:00:00)", "every day"] {
            assert!(Schedule::parse(bad, "UTC").is_err(), "{bad}");
        }
        assert_eq!(
            Schedule::parse("rate(1 day)", "Mars/Olympus"),
            Err(ScheduleError::Zone("Mars/Olympus".to_string()))
        );
    }

    #[test]
    fn start_and_end_times_frame_a_recurrence() {
        let daily = Schedule::parse("cron(0 8 * * ? *)", "UTC").unwrap();
        let framed = action(Some("2026-01-10T12:00:00Z"), Some("2026-01-11T08:00:00Z"));
        let made = at("2026-01-05T00:00:00Z");
        let first = daily.next_action(&framed, made, made).unwrap();
        assert_eq!(first, at("2026-01-10T12:00:00Z"));
        let second = daily.next_action(&framed, made, first).unwrap();
        assert_eq!(second, at("2026-01-11T08:00:00Z"));
        assert_eq!(daily.next_action(&framed, made, second), None);
    }

    #[test]
    fn a_rate_counts_from_its_anchor() {
        let rate = Schedule::parse("rate(10 minutes)", "UTC").unwrap();
        let made = at("2026-01-05T00:00:00Z");
        let free = action(None, None);
        assert_eq!(rate.next_action(&free, made, made), Some(at("2026-01-05T00:10:00Z")));
        assert_eq!(rate.next_action(&free, made, at("2026-01-05T00:14:59Z")), Some(at("2026-01-05T00:20:00Z")));
        assert_eq!(rate.next_after(made), Some(at("2026-01-05T00:10:00Z")));
        let later = action(Some("2026-01-05T00:03:00Z"), None);
        assert_eq!(rate.next_action(&later, made, made), Some(at("2026-01-05T00:03:00Z")));
        assert_eq!(rate.next_action(&later, made, at("2026-01-05T00:03:00Z")), Some(at("2026-01-05T00:13:00Z")));
    }

    #[test]
    fn an_action_moves_the_capacity_at_once() {
        let mut a = action(None, None);
        assert_eq!(apply(&a, 1, 10, 5), (1, 10, 5));
        a.min_capacity = Some(7);
        assert_eq!(apply(&a, 1, 10, 5), (7, 10, 7));
        a.max_capacity = Some(3);
        a.min_capacity = None;
        assert_eq!(apply(&a, 1, 10, 5), (1, 3, 3));
    }
}
