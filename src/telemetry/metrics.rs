//! Metrics as CloudWatch publishes them: sampled, averaged over a period, and seen late.

use std::collections::VecDeque;

use crate::kernel::{SimDuration, SimTime};

/// A data point of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// End of the period that it sums up.
    pub period_end: SimTime,
    /// When it can be seen.
    pub visible_at: SimTime,
    /// Its value, in the metric's unit.
    pub value: f64,
}

/// One metric: the newest points, and how late they are seen.
///
/// A period without a value has no point: that is missing data, for alarms to treat.
#[derive(Clone, Debug)]
pub struct Series {
    period: SimDuration,
    delay: SimDuration,
    keep: usize,
    points: VecDeque<Point>,
}

impl Series {
    /// A metric with points every `period`, seen `delay` after the period's end, of which the newest
    /// `keep` are remembered.
    #[must_use]
    pub fn new(period: SimDuration, delay: SimDuration, keep: usize) -> Self {
        Self { period, delay, keep: keep.max(1), points: VecDeque::new() }
    }

    /// The length of a period.
    #[must_use]
    pub fn period(&self) -> SimDuration {
        self.period
    }

    /// Remembers at least the newest `keep` points from now on.
    pub fn keep_at_least(&mut self, keep: usize) {
        self.keep = self.keep.max(keep);
    }

    /// Publishes the point of the period that ends at `period_end`.
    pub fn publish(&mut self, period_end: SimTime, value: f64) {
        // The points still on their way are kept besides those that can be asked for.
        let on_the_way = (self.delay.as_nanos() / self.period.as_nanos().max(1)) as usize + 2;
        if self.points.len() >= self.keep + on_the_way {
            self.points.pop_front();
        }
        self.points.push_back(Point { period_end, visible_at: period_end + self.delay, value });
    }

    /// The newest point that can be seen at `now`.
    #[must_use]
    pub fn newest(&self, now: SimTime) -> Option<Point> {
        self.points.iter().rev().find(|p| p.visible_at <= now).copied()
    }

    /// End of the newest period whose point could be seen at `now`, if any.
    #[must_use]
    pub fn newest_period_end(&self, now: SimTime) -> Option<SimTime> {
        let seen_until = now.as_nanos().checked_sub(self.delay.as_nanos())?;
        let end = SimTime::from_nanos(seen_until).floor_to(self.period);
        (end > SimTime::ZERO).then_some(end)
    }

    /// The values of the newest `n` periods that could be seen at `now`, oldest first; `None` where a
    /// period has no point, as before the start of the simulation.
    #[must_use]
    pub fn window(&self, now: SimTime, n: usize) -> Vec<Option<f64>> {
        let mut values = vec![None; n];
        let Some(newest) = self.newest_period_end(now) else { return values };
        for p in self.points.iter().rev() {
            if p.visible_at > now || p.period_end > newest {
                continue;
            }
            let back = (newest.since(p.period_end).as_nanos() / self.period.as_nanos()) as usize;
            if back >= n {
                break;
            }
            values[n - 1 - back] = Some(p.value);
        }
        values
    }
}

/// An average that is gathered over a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    /// Adds a sample.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean of the samples since the last call, and starts anew; `None` without a sample.
    pub fn take(&mut self) -> Option<f64> {
        let mean = (self.count > 0).then(|| self.sum / f64::from(self.count));
        *self = Self::default();
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: u64) -> SimTime {
        SimTime::from_secs(60 * n)
    }

    #[test]
    fn a_point_is_seen_only_after_its_delay() {
        let mut s = Series::new(SimDuration::from_secs(60), SimDuration::from_secs(90), 3);
        s.publish(minute(1), 10.0);
        assert_eq!(s.newest(SimTime::from_secs(149)), None);
        assert_eq!(s.newest(SimTime::from_secs(150)).map(|p| p.value), Some(10.0));
        assert_eq!(s.window(SimTime::from_secs(150), 2), vec![None, Some(10.0)]);
    }

    #[test]
    fn a_silent_period_is_a_gap() {
        let mut s = Series::new(SimDuration::from_secs(60), SimDuration::from_secs(30), 5);
        s.publish(minute(1), 1.0);
        s.publish(minute(3), 3.0);
        assert_eq!(s.window(SimTime::from_secs(240 + 30), 4), vec![Some(1.0), None, Some(3.0), None]);
    }

    #[test]
    fn old_points_are_forgotten_but_never_one_that_can_still_be_asked_for() {
        let mut s = Series::new(SimDuration::from_secs(60), SimDuration::from_secs(120), 15);
        for n in 1..=1000 {
            s.publish(minute(n), n as f64);
            let now = minute(n) + SimDuration::from_secs(1);
            if n > 20 {
                let want: Vec<_> = (n - 16..=n - 2).map(|v| Some(v as f64)).collect();
                assert_eq!(s.window(now, 15), want);
            }
        }
        assert!(s.points.len() <= 20);
    }
}
