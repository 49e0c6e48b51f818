//! Cron schedules as Kubernetes reads them: `minute hour day-of-month month day-of-week`, or `@daily` and
//! its like.
//!
//! Rule: `*` or `?` any, `a` one, `a-b` a range, `/n` every n-th of a range (from `a` to the end for `a/n`),
//! lists with commas, names for months and days of the week (Sunday is 0). Where both day fields are
//! restricted one of them is enough. A local time that daylight saving skips does not fire; one that it
//! repeats fires twice, for an hour that is named in the schedule.
//!
//! Source: `robfig/cron` v3 (`parser.go`, `spec.go`), which CronJobs and Karpenter's budgets call with `ParseStandard`.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A parsed schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CronSchedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month, and that of the week, is any.
    any_day: (bool, bool),
}

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronScheduleError {
    /// Not five fields.
    #[error("a cron schedule has five fields (minute hour day-of-month month day-of-week), this one has {0}")]
    Fields(usize),
    /// A word after `@` that is not known.
    #[error("`{0}` is not one of @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly")]
    Descriptor(String),
    /// A field with something that it does not take.
    #[error("`{text}` is not a value of {field} ({low} to {high}, with `,` `-` `/` `*`)")]
    Value {
        /// The field.
        field: &'static str,
        /// What was written.
        text: String,
        /// The least value.
        low: u32,
        /// The largest value.
        high: u32,
    },
}

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day-of-month", low: 1, high: 31, names: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day-of-week", low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

impl Field {
    fn error(&self, text: &str) -> CronScheduleError {
        CronScheduleError::Value { field: self.name, text: text.to_owned(), low: self.low, high: self.high }
    }

    fn number(&self, text: &str, whole: &str) -> Result<u32, CronScheduleError> {
        let name = self.names.iter().position(|n| n.eq_ignore_ascii_case(text));
        let value = name.map(|at| at as u32 + self.low).or_else(|| text.parse().ok());
        value.filter(|v| (self.low..=self.high).contains(v)).ok_or_else(|| self.error(whole))
    }

    /// The values of a field as bits, and whether it is any.
    fn parse(&self, text: &str) -> Result<(u64, bool), CronScheduleError> {
        let (mut bits, mut any) = (0, false);
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step = step.parse::<u32>().ok().filter(|s| *s > 0).ok_or_else(|| self.error(part))?;
                    (range, Some(step))
                }
                None => (part, None),
            };
            let (low, high) = match range.split_once('-') {
                _ if range == "*" || range == "?" => {
                    any |= step.is_none_or(|s| s == 1);
                    (self.low, self.high)
                }
                Some((low, high)) => (self.number(low, part)?, self.number(high, part)?),
                None => {
                    let one = self.number(range, part)?;
                    (one, if step.is_some() { self.high } else { one })
                }
            };
            if low > high {
                return Err(self.error(part));
            }
            (low..=high).step_by(step.unwrap_or(1) as usize).for_each(|v| bits |= 1 << v);
        }
        Ok((bits, any))
    }
}

const fn has(bits: u64, value: i8) -> bool {
    value >= 0 && bits >> value & 1 == 1
}

impl CronSchedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// As [`CronScheduleError`] says.
    pub fn parse(text: &str) -> Result<Self, CronScheduleError> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return Err(CronScheduleError::Descriptor(word.to_owned())),
            other => other,
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = &parts[..] else {
            return Err(CronScheduleError::Fields(parts.len()));
        };
        let days = FIELDS[2].parse(day)?;
        let weekdays = FIELDS[4].parse(weekday)?;
        Ok(Self {
            minutes: FIELDS[0].parse(minute)?.0,
            hours: FIELDS[1].parse(hour)?.0,
            days: days.0,
            months: FIELDS[3].parse(month)?.0,
            weekdays: weekdays.0,
            any_day: (days.1, weekdays.1),
        })
    }

    /// The first time after an instant, within five years; a schedule such as 30 February has none.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        const MINUTE: i64 = 60;
        // The next whole minute. Offsets of whole minutes keep it one in every zone.
        let mut second = (after.as_second().div_euclid(MINUTE) + 1) * MINUTE;
        let end = second + 5 * 366 * 24 * 3600;
        while second < end {
            let t = Timestamp::from_second(second).ok()?;
            let local = t.to_zoned(zone.clone());
            if !has(self.months, local.month()) {
                let next = local.date().first_of_month().checked_add(1.month()).ok()?;
                second = next.to_zoned(zone.clone()).ok()?.timestamp().as_second();
                continue;
            }
            let day = has(self.days, local.day());
            let weekday = has(self.weekdays, local.weekday().to_sunday_zero_offset());
            let either = !self.any_day.0 && !self.any_day.1;
            if !(if either { day || weekday } else { day && weekday }) {
                let next = local.date().tomorrow().ok()?;
                second = next.to_zoned(zone.clone()).ok()?.timestamp().as_second();
                continue;
            }
            if !has(self.hours, local.hour()) {
                second += 3600 - i64::from(local.minute()) * MINUTE;
                continue;
            }
            if !has(self.minutes, local.minute()) {
                second += MINUTE;
                continue;
            }
            return Some(t);
        }
        None
    }

    /// The last time up to an instant after another, and how many there were between: what was missed.
    #[must_use]
    pub fn last_between(&self, after: Timestamp, upto: Timestamp, zone: &TimeZone) -> Option<(Timestamp, u32)> {
        let mut last = None;
        let mut from = after;
        while let Some(t) = self.next_after(from, zone).filter(|t| *t <= upto) {
            last = Some((t, last.map_or(1, |(_, count): (Timestamp, u32)| count.saturating_add(1))));
            from = t;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).expect("a known zone");
        let after: Timestamp = after.parse().expect("an instant");
        let found = CronSchedule::parse(schedule).expect("a schedule").next_after(after, &zone);
        found.map_or("never".to_owned(), |t| t.to_string())
    }

    #[test]
    fn schedules_fire_when_the_library_says() {
        assert_eq!(next("*/15 * * * *", "2026-07-09T14:45:00Z", "UTC"), "2026-07-09T15:00:00Z");
        assert_eq!(next("5-45/20 9-17 * * mon-fri", "2026-07-10T17:50:00Z", "UTC"), "2026-07-13T09:05:00Z");
        assert_eq!(next("@weekly", "2026-07-09T00:00:00Z", "UTC"), "2026-07-12T00:00:00Z");
        // Both day fields restricted: the 13th, or a Friday.
        assert_eq!(next("0 0 13 * 5", "2026-07-09T00:00:00Z", "UTC"), "2026-07-10T00:00:00Z");
        assert_eq!(next("0 0 29 2 *", "2026-07-09T00:00:00Z", "UTC"), "2028-02-29T00:00:00Z");
        assert_eq!(next("0 0 30 2 *", "2026-07-09T00:00:00Z", "UTC"), "never");
        assert_eq!(next("@yearly", "0999-12-31T12:00:00Z", "UTC"), "1000-01-01T00:00:00Z");
        assert_eq!(next("5/20 3 * * ?", "2024-03-01T03:05:00Z", "UTC"), "2024-03-01T03:25:00Z");
    }

    #[test]
    fn daylight_saving_skips_and_repeats() {
        let zone = "America/New_York";
        // 02:30 does not exist on 11 March 2012; the next day it does.
        assert_eq!(next("30 2 * * *", "2012-03-11T05:00:00Z", zone), "2012-03-12T06:30:00Z");
        // 01:00 comes twice on 4 November 2012.
        assert_eq!(next("0 1 * * *", "2012-11-04T04:00:00Z", zone), "2012-11-04T05:00:00Z");
        assert_eq!(next("0 1 * * *", "2012-11-04T05:00:00Z", zone), "2012-11-04T06:00:00Z");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* * 0 * *",
            "* * * * 7",
            "5-1 * * * *",
            "1- * * * *",
            "0 0 * * tue-mon",
            "*/0 * * * *",
            "@often",
            "a * * * *",
        ] {
            assert!(CronSchedule::parse(bad).is_err(), "{bad}");
        }
    }
}
