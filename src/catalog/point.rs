//! One price with where it comes from, and what makes it doubtful.

use std::fmt;

use jiff::civil::Date;

use super::Price;

/// How old a price may be, in days before the start of the simulation, without being called old.
pub const MAX_AGE_DAYS: i32 = 180;

/// How sure a figure is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Confidence {
    /// Read from a listing or a text that quotes one.
    Sourced,
    /// Computed from another price.
    Derived,
    /// A known list price, not read again.
    Recalled,
    /// Given by the user in a price file.
    Given,
}

impl Confidence {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sourced => "sourced",
            Self::Derived => "derived",
            Self::Recalled => "recalled",
            Self::Given => "given",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Sourced, Self::Derived, Self::Recalled].into_iter().find(|c| c.word() == word)
    }
}

/// When a figure was last seen: a day, a month or a year.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AsOf {
    year: i16,
    month: i8,
    day: i8,
}

impl AsOf {
    /// The first day that the date covers: the cautious reading of its age.
    #[must_use]
    pub fn earliest(self) -> Date {
        // `parse` has checked the parts.
        Date::new(self.year, self.month.max(1), self.day.max(1)).unwrap_or(Date::constant(self.year, 1, 1))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let year = parts.next()?.parse().ok().filter(|y| (1900..=9999).contains(y))?;
        let mut part = || parts.next().map_or(Some(0), |p| p.parse::<i8>().ok().filter(|n| *n > 0));
        let as_of = Self { year, month: part()?, day: part()? };
        Date::new(year, as_of.month.max(1), as_of.day.max(1)).ok()?;
        parts.next().is_none().then_some(as_of)
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.month, self.day) {
            (0, _) => write!(f, "{}", self.year),
            (month, 0) => write!(f, "{}-{month:02}", self.year),
            (month, day) => write!(f, "{}-{month:02}-{day:02}", self.year),
        }
    }
}

/// The price of one unit of one item in one region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PricePoint {
    /// The region that was asked for.
    pub region: String,
    /// The region whose listing this is: another one when the price is a neighbour's.
    pub listed_in: String,
    /// The AWS service.
    pub service: String,
    /// The item.
    pub item: String,
    /// What one unit is: `hour`, `GB`, `vCPU-hour`, `GB-month`.
    pub unit: String,
    /// Dollars for one unit.
    pub price: Price,
    /// Key of the source, explained by [`super::Catalog::source`]; for a price file its name.
    pub source: String,
    /// When it was last seen; absent for a price file.
    pub as_of: Option<AsOf>,
    /// How sure it is.
    pub confidence: Confidence,
}

/// Why a price should be looked at before the bill is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weakness {
    /// Days between the listing and the start of the simulation, if more than [`MAX_AGE_DAYS`].
    pub age_days: Option<i32>,
    /// When it was seen, if it is too old.
    pub as_of: Option<AsOf>,
    /// The confidence, if it is low.
    pub confidence: Option<Confidence>,
    /// The region whose price stands in, if it is not the one asked for.
    pub stands_in: Option<String>,
}

impl PricePoint {
    /// What makes this price weak on the day the simulation starts: older than 180 days, of low
    /// confidence, or a neighbour region's. `None` when nothing does. A price from a price file is the
    /// user's own and never weak.
    #[must_use]
    pub fn weak(&self, today: Date) -> Option<Weakness> {
        let age = |as_of: AsOf| {
            // In days, `since` of two dates cannot fail: it needs no time zone and fits.
            today.since(as_of.earliest()).map_or(i32::MAX, |span| span.get_days())
        };
        let old = self.as_of.map(|as_of| (as_of, age(as_of))).filter(|(_, days)| *days > MAX_AGE_DAYS);
        let low = matches!(self.confidence, Confidence::Derived | Confidence::Recalled).then_some(self.confidence);
        let weakness = Weakness {
            age_days: old.map(|o| o.1),
            as_of: old.map(|o| o.0),
            confidence: low,
            stands_in: (self.listed_in != self.region).then(|| self.listed_in.clone()),
        };
        let any = weakness.age_days.is_some() || weakness.confidence.is_some() || weakness.stands_in.is_some();
        any.then_some(weakness)
    }
}

impl fmt::Display for Weakness {
    /// The reasons in words, joined by commas: `seen 2024 (735 days before the start), derived`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons = Vec::new();
        if let (Some(days), Some(as_of)) = (self.age_days, self.as_of) {
            reasons.push(format!("seen {as_of} ({days} days before the start)"));
        }
        match self.confidence {
            Some(Confidence::Derived) => reasons.push("derived from another price".to_string()),
            Some(Confidence::Recalled) => reasons.push("recalled, not read from a listing".to_string()),
            Some(Confidence::Sourced | Confidence::Given) | None => {}
        }
        if let Some(region) = &self.stands_in {
            reasons.push(format!("no listing for the region: {region}'s stands in"));
        }
        f.write_str(&reasons.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn point(as_of: &str, confidence: Confidence) -> PricePoint {
        PricePoint {
            region: "us-east-1".into(),
            listed_in: "us-east-1".into(),
            service: "elb".into(),
            item: "alb_hour".into(),
            unit: "hour".into(),
            price: Price::from_picos(1),
            source: "x".into(),
            as_of: AsOf::parse(as_of),
            confidence,
        }
    }

    #[test]
    fn a_price_is_old_after_half_a_year() {
        let seen = point("2025-07-09", Confidence::Sourced);
        assert_eq!(seen.weak(date(2026, 1, 5)), None);
        assert_eq!(seen.weak(date(2026, 1, 6)).unwrap().age_days, Some(181));
        assert_eq!(point("2026-08", Confidence::Sourced).weak(date(2026, 1, 5)), None);
    }

    #[test]
    fn low_confidence_and_stand_ins_are_said() {
        let mut recalled = point("2026", Confidence::Recalled);
        recalled.listed_in = "us-west-2".into();
        let text = recalled.weak(date(2026, 1, 5)).unwrap().to_string();
        assert!(text.contains("recalled") && text.contains("us-west-2"), "{text}");
    }

    #[test]
    fn dates_have_three_precisions() {
        for text in ["2026", "2026-06", "2026-06-17"] {
            assert_eq!(AsOf::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "26x", "2026-13", "2026-02-30", "2026-01-01-01", "2026-0"] {
            assert_eq!(AsOf::parse(text), None, "{text}");
        }
    }
}
