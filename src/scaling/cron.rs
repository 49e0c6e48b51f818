//! Cron expressions as AWS reads them: `minutes hours day-of-month month day-of-week year`.
//!
//! Rule: minutes 0-59, hours 0-23, days of the month 1-31, months 1-12 or JAN-DEC, days of the week 1-7
//! from Sunday on or SUN-SAT, years 1970-2199. `*` any, `a,b` each, `a-b` a range that may wrap around,
//! `/n` every n-th of a range, from `a` to the end for `a/n`. One of the two day fields is `?`, and only
//! one. Day of month: `L` the last, `15W` the weekday nearest the 15th inside the month. Day of week:
//! `L` Saturday, `6L` the last Friday, `3#2` the second Tuesday (alone in its field). Fields are read in
//! a time zone: a local time that daylight saving skips does not fire, a repeated one fires once, the
//! first time.
//!
//! Source: EventBridge user guide, `eb-create-rule-schedule`; EventBridge Scheduler user guide,
//! `schedule-types`; Application Auto Scaling user guide,
//! `scheduled-scaling-using-cron-expressions`. That last guide calls day of week 2 a Tuesday once; the
//! numbering above is followed. No other known departure.

use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// A parsed cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
    years: [u64; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Days {
    /// Days of the month, and whether the last one is among them.
    OfMonth { days: u64, last: bool },
    /// The weekday nearest to a day of the month.
    NearestWeekday(i8),
    /// Days of the week from Sunday as 1, and those meant as the last in the month.
    OfWeek { days: u64, last: u64 },
    /// The n-th of a day of the week in the month.
    Nth { day: u8, n: i8 },
}

/// The fields of a cron expression, by their names in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Minutes,
    Hours,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

/// Why a cron expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not six fields.
    #[error("a cron expression has six fields (minutes hours day-of-month month day-of-week year), this one has {0}")]
    Fields(usize),
    /// None or both of the day fields are `?`.
    #[error("exactly one of day-of-month and day-of-week must be `?`")]
    Days,
    /// A number or name outside of what the field takes.
    #[error("`{text}` is not a value of {field} ({expected})")]
    Value {
        /// The field.
        field: Field,
        /// What was written.
        text: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Something that only stands alone was put into a list.
    #[error("`{text}` must stand alone in {field}")]
    Alone {
        /// The field.
        field: Field,
        /// What was written.
        text: String,
    },
}

const YEARS: (u32, u32) = (1970, 2199);
const MONTH_NAMES: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAY_NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Field {
    fn range(self) -> (u32, u32) {
        match self {
            Self::Minutes => (0, 59),
            Self::Hours => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (1, 7),
            Self::Year => YEARS,
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTH_NAMES,
            Self::DayOfWeek => &DAY_NAMES,
            _ => &[],
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Minutes => "0-59 with , - * /",
            Self::Hours => "0-23 with , - * /",
            Self::DayOfMonth => "1-31 with , - * ? / L W",
            Self::Month => "1-12 or JAN-DEC with , - * /",
            Self::DayOfWeek => "1-7 from Sunday or SUN-SAT with , - * ? / L #",
            Self::Year => "1970-2199 with , - * /",
        }
    }

    fn error(self, text: &str) -> CronError {
        CronError::Value { field: self, text: text.to_string(), expected: self.expected() }
    }

    /// A single number or name.
    fn value(self, text: &str) -> Result<u32, CronError> {
        let (low, high) = self.range();
        if let Some(i) = self.names().iter().position(|n| n.eq_ignore_ascii_case(text)) {
            return Ok(i as u32 + low);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(n) if digits && (low..=high).contains(&n) => Ok(n),
            _ => Err(self.error(text)),
        }
    }

    /// One item of a list: `*`, `a`, `a-b`, any of them with `/n`.
    fn item(self, text: &str, set: &mut impl FnMut(u32)) -> Result<(), CronError> {
        let (low, high) = self.range();
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let digits = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
                match step.parse::<u32>() {
                    Ok(n) if digits && n > 0 => (range, Some(n)),
                    _ => return Err(self.error(text)),
                }
            }
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((a, b)) => (self.value(a)?, self.value(b)?),
            None => {
                let a = self.value(range)?;
                (a, if step.is_some() { high } else { a })
            }
        };
        let size = high - low + 1;
        let length = if to >= from { to - from } else { to + size - from };
        if to < from && self == Self::Year {
            return Err(self.error(text));
        }
        let step = step.unwrap_or(1);
        for k in 0..=length / step {
            set(low + (from - low + k * step) % size);
        }
        Ok(())
    }

    fn mask(self, text: &str) -> Result<u64, CronError> {
        let mut mask = 0;
        for item in text.split(',') {
            self.item(item, &mut |n| mask |= 1 << n)?;
        }
        Ok(mask)
    }

    fn days(self, text: &str) -> Result<Days, CronError> {
        let alone = |text: &str| CronError::Alone { field: self, text: text.to_string() };
        let list = text.contains(',');
        if self == Self::DayOfMonth {
            let (mut days, mut last) = (0, false);
            for item in text.split(',') {
                match item.strip_suffix(['W', 'w']) {
                    _ if item.eq_ignore_ascii_case("L") => last = true,
                    Some(_) if list => return Err(alone(item)),
                    Some(day) => return Ok(Days::NearestWeekday(self.value(day)? as i8)),
                    None => self.item(item, &mut |n| days |= 1 << n)?,
                }
            }
            return Ok(Days::OfMonth { days, last });
        }
        let (mut days, mut last) = (0, 0);
        for item in text.split(',') {
            if let Some((day, n)) = item.split_once('#') {
                if list {
                    return Err(alone(item));
                }
                let day = self.value(day)? as u8;
                return match n.parse() {
                    Ok(n @ 1..=5) => Ok(Days::Nth { day, n }),
                    _ => Err(self.error(item)),
                };
            }
            match item.strip_suffix(['L', 'l']) {
                Some("") => days |= 1 << 7,
                Some(day) => last |= 1 << self.value(day)?,
                None => self.item(item, &mut |n| days |= 1 << n)?,
            }
        }
        Ok(Days::OfWeek { days, last })
    }
}

impl Cron {
    /// Parses the six fields, without the surrounding `cron( )`.
    ///
    /// # Errors
    /// When the fields are not six, the day fields do not have exactly one `?`, or a field holds what it
    /// does not take.
    pub fn parse(fields: &str) -> Result<Self, CronError> {
        let list: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, dom, month, dow, year] = list[..] else {
            return Err(CronError::Fields(list.len()));
        };
        let days = match (dom, dow) {
            ("?", "?") => return Err(CronError::Days),
            ("?", dow) => Field::DayOfWeek.days(dow)?,
            (dom, "?") => Field::DayOfMonth.days(dom)?,
            _ => return Err(CronError::Days),
        };
        let mut years = [0; 4];
        for item in year.split(',') {
            Field::Year.item(item, &mut |y| {
                let i = y - YEARS.0;
                years[i as usize / 64] |= 1 << (i % 64);
            })?;
        }
        Ok(Self {
            minutes: Field::Minutes.mask(minutes)?,
            hours: Field::Hours.mask(hours)?,
            months: Field::Month.mask(month)?,
            days,
            years,
        })
    }

    /// The first instant strictly after `after` at which the expression fires, its fields read in
    /// `zone`. `None` when there is none before the year 2200.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // A zone's offset may take the local date back by a day at most.
        let mut date = zone.to_datetime(after).date();
        while date.year() <= YEARS.1 as i16 {
            if !self.has_year(date.year()) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
                continue;
            }
            if self.months & (1 << date.month()) == 0 {
                date = date.first_of_month().checked_add(1.month()).ok()?;
                continue;
            }
            if self.has_day(date)
                && let Some(found) = self.next_on(date, after, zone)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn next_on(&self, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        for hour in (0..24).filter(|h| self.hours & (1 << h) != 0) {
            for minute in (0..60).filter(|m| self.minutes & (1 << m) != 0) {
                let local = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
                if matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
                    continue;
                }
                // Of a repeated time the earlier one.
                if let Ok(at) = local.earlier()
                    && at > after
                {
                    return Some(at);
                }
            }
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        u32::try_from(year).is_ok_and(|y| {
            (YEARS.0..=YEARS.1).contains(&y) && {
                let i = y - YEARS.0;
                self.years[i as usize / 64] & (1 << (i % 64)) != 0
            }
        })
    }

    fn has_day(&self, date: Date) -> bool {
        let last_day = date.days_in_month();
        let dow = |d: Date| d.weekday().to_sunday_one_offset() as u8;
        match self.days {
            Days::OfMonth { days, last } => days & (1 << date.day()) != 0 || (last && date.day() == last_day),
            Days::OfWeek { days, last } => {
                let bit = 1 << dow(date);
                days & bit != 0 || (last & bit != 0 && date.day() + 7 > last_day)
            }
            Days::Nth { day, n } => dow(date) == day && (date.day() - 1) / 7 + 1 == n,
            Days::NearestWeekday(day) => {
                // A month without that day has none nearest to it.
                day <= last_day && date.day() == nearest_weekday(date, day, last_day)
            }
        }
    }
}

/// The day of `month`'s month that is the weekday nearest to its day `day`, never leaving the month.
fn nearest_weekday(month: Date, day: i8, last_day: i8) -> i8 {
    let Ok(date) = Date::new(month.year(), month.month(), day) else { return day };
    match date.weekday() {
        Weekday::Saturday if day == 1 => 3,
        Weekday::Saturday => day - 1,
        Weekday::Sunday if day == last_day => day - 2,
        Weekday::Sunday => day + 1,
        _ => day,
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
            Self::Year => "year",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, zone: &str, start: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(expression).unwrap();
        let zone = TimeZone::get(zone).unwrap();
        let mut at: Timestamp = start.parse().unwrap();
        (0..count)
            .map_while(|_| {
                at = cron.next_after(at, &zone)?;
                Some(at.to_string())
            })
            .collect()
    }

    #[test]
    fn special_days() {
        let start = "2026-01-30T09:17:00Z";
        assert_eq!(next("0 0 L * ? *", "UTC", start, 2), ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"]);
        assert_eq!(next("0 18 ? * 6L *", "UTC", start, 2), ["2026-01-30T18:00:00Z", "2026-02-27T18:00:00Z"]);
        assert_eq!(next("0 18 ? * L *", "UTC", start, 1), ["2026-01-31T18:00:00Z"]);
        // 1 February and 1 March 2026 are Sundays; 31 May is one too, and the nearest weekday stays inside.
        assert_eq!(next("0 7 1W 2,3 ? *", "UTC", start, 2), ["2026-02-02T07:00:00Z", "2026-03-02T07:00:00Z"]);
        assert_eq!(next("0 7 31W 5 ? *", "UTC", start, 1), ["2026-05-29T07:00:00Z"]);
        assert_eq!(next("0 6 ? * 5#5 *", "UTC", start, 1), ["2026-04-30T06:00:00Z"]);
    }

    #[test]
    fn ranges_wrap_around() {
        assert_eq!(
            next("0/30 23-0 ? * SAT-SUN *", "UTC", "2026-01-31T22:00:00Z", 4),
            ["2026-01-31T23:00:00Z", "2026-01-31T23:30:00Z", "2026-02-01T00:00:00Z", "2026-02-01T00:30:00Z"]
        );
        let cron = Cron::parse("0 20-2/2 * NOV-FEB ? *").unwrap();
        assert_eq!(cron.hours, 1 << 20 | 1 << 22 | 1 | 1 << 2);
        assert_eq!(cron.months, 1 << 11 | 1 << 12 | 1 << 1 | 1 << 2);
    }

    #[test]
    fn daylight_saving_skips_and_repeats() {
        assert_eq!(next("30 2 * * ? *", "America/Los_Angeles", "2026-03-07T12:00:00Z", 1), ["2026-03-09T09:30:00Z"]);
        assert_eq!(next("30 1 * * ? *", "America/Los_Angeles", "2026-11-01T08:30:00Z", 1), ["2026-11-02T09:30:00Z"]);
        // Every quarter of the repeated hour fires once; the second pass is silent.
        assert_eq!(
            next("0/30 * * * ? *", "America/Los_Angeles", "2026-11-01T08:00:00Z", 2),
            ["2026-11-01T08:30:00Z", "2026-11-01T10:00:00Z"]
        );
    }

    #[test]
    fn an_expression_may_never_fire_again() {
        assert_eq!(next("0 0 1 1 ? 2020", "UTC", "2026-01-01T00:00:00Z", 1), Vec::<String>::new());
        assert_eq!(next("0 0 30 2 ? *", "UTC", "2026-01-01T00:00:00Z", 1), Vec::<String>::new());
    }

    #[test]
    fn refusals_name_the_field() {
        for (text, message) in [
            ("0 10 * * *", "six fields"),
            ("0 10 * * * *", "exactly one"),
            ("0 10 ? * ? *", "exactly one"),
            ("60 10 * * ? *", "`60` is not a value of minutes"),
            ("0 10 0 * ? *", "`0` is not a value of day-of-month"),
            ("0 10 ? * 8 *", "`8` is not a value of day-of-week"),
            ("0 10 ? * 3#6 *", "`3#6` is not a value of day-of-week"),
            ("0 10 ? * 3#1,6#3 *", "must stand alone"),
            ("0 10 1,15W * ? *", "must stand alone"),
            ("0 10 * * ? 1969", "`1969` is not a value of year"),
            ("0/0 10 * * ? *", "`0/0` is not a value of minutes"),
            ("+5 10 * * ? *", "`+5` is not a value of minutes"),
            (", 10 * * ? *", "is not a value of minutes"),
        ] {
            let error = Cron::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
