//! Schedules of disruption budgets: five fields or a macro, in UTC.
//!
//! Source: the Kubernetes API's description of `schedule` and the cron library that Karpenter uses (`robfig/cron` v3, standard
//! parser): minutes, hours, day of month, month, day of week (0 to 6 from Sunday); `*` and `?` any; lists, ranges, steps; names of
//! months and days; a day is hit by either day field unless one of them is `*`.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A parsed schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    week_days: u64,
    any_day: bool,
    any_week_day: bool,
}

/// A text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a cron schedule of five fields (minute hour day-of-month month day-of-week) or a macro such as @daily"
)]
pub struct ScheduleError(pub String);

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// How far a next hit is looked for.
const HORIZON_YEARS: i16 = 5;

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let list: Vec<&str> = fields.split_whitespace().collect();
        let bad = || ScheduleError(text.to_owned());
        let [minute, hour, day, month, week_day] = list[..] else { return Err(bad()) };
        let read = |text: &str, low, high, names: &[&str]| field(text, low, high, names).ok_or_else(bad);
        let (minutes, _) = read(minute, 0, 59, &[])?;
        let (hours, _) = read(hour, 0, 23, &[])?;
        let (days, any_day) = read(day, 1, 31, &[])?;
        let (months, _) = read(month, 1, 12, &MONTHS)?;
        let (week_days, any_week_day) = read(week_day, 0, 6, &DAYS)?;
        Ok(Self { minutes, hours, days, months, week_days, any_day, any_week_day })
    }

    fn hits_day(&self, date: Date) -> bool {
        let has = |mask: u64, n: i8| u32::try_from(n).is_ok_and(|n| mask >> n & 1 == 1);
        let (day, week_day) = (has(self.days, date.day()), has(self.week_days, date.weekday().to_sunday_zero_offset()));
        has(self.months, date.month())
            && if self.any_day || self.any_week_day { day && week_day } else { day || week_day }
    }

    /// The first hit after an instant; `None` if there is none within five years.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let zoned = instant.to_zoned(TimeZone::UTC);
        let (mut date, time) = (zoned.date(), zoned.time());
        let last = date.year().saturating_add(HORIZON_YEARS);
        let mut from = Some((time.hour(), time.minute()));
        while date.year() <= last {
            if self.hits_day(date) {
                for hour in (0..24_i8).filter(|h| self.hours >> h & 1 == 1) {
                    for minute in (0..60_i8).filter(|m| self.minutes >> m & 1 == 1) {
                        if from.is_some_and(|now| (hour, minute) <= now) {
                            continue;
                        }
                        let at = date.to_datetime(Time::constant(hour, minute, 0, 0));
                        return at.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
                    }
                }
            }
            from = None;
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }
}

/// The values of a field as bits, and whether it is a bare `*`.
fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Option<(u64, bool)> {
    let value = |text: &str| {
        let name = names.iter().position(|n| n.eq_ignore_ascii_case(text));
        match name.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => Some(at + low),
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            None => None,
        }
    };
    let (mut bits, mut any) = (0_u64, false);
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                (range, Some(value(step).filter(|s| *s > 0 && step.bytes().all(|b| b.is_ascii_digit()))?))
            }
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => {
                any |= step.is_none_or(|s| s == 1);
                (low, high)
            }
            Some((from, to)) => (value(from)?, value(to)?),
            None => {
                let from = value(range)?;
                (from, if step.is_some() { high } else { from })
            }
        };
        if from < low || to > high || from > to {
            return None;
        }
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        (from..=to).step_by(step).for_each(|n| bits |= 1 << n);
    }
    Some((bits, any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule).expect("a schedule");
        schedule.next_after(after.parse().expect("an instant")).map(|t| t.to_string())
    }

    #[test]
    fn hits_are_those_of_cron() {
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(next("@daily", "2024-01-01T00:00:00Z"), at("2024-01-02T00:00:00Z"));
        assert_eq!(next("@yearly", "0999-12-31T12:00:00Z"), at("1000-01-01T00:00:00Z"));
        assert_eq!(next("*/15 9-17 * * mon-fri", "2024-01-05T17:45:10Z"), at("2024-01-08T09:00:00Z"));
        assert_eq!(next("0 0 13 * 5", "2024-01-01T00:00:00Z"), at("2024-01-05T00:00:00Z"), "either day field");
        assert_eq!(next("0 0 29 2 *", "2024-03-01T00:00:00Z"), at("2028-02-29T00:00:00Z"));
        assert_eq!(next("0 0 30 2 *", "2024-03-01T00:00:00Z"), None);
        assert_eq!(next("5/20 3 * * ?", "2024-03-01T03:05:00Z"), at("2024-03-01T03:25:00Z"));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in [
            "",
            "@wrongly",
            "* * * *",
            "* * * * * *",
            "0 0 * * tue-mon",
            "60 * * * *",
            "*/0 * * * *",
            "0 0 * * 7",
            "0 0 0 * *",
            "a * * * *",
            "+1 * * * *",
            "1- * * * *",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
    }
}
