//! Predictive scaling of the desired count.
//!
//! Rule: at least 24 hours of data are needed, up to 14 days are used. Every six hours the load of each of the next 48
//! hours is forecast; the capacity for an hour is its load over the target, rounded up. In the mode ForecastAndScale a
//! forecast acts `scheduling_buffer_time` before its hour begins: it adds tasks, it never removes any by itself, and for
//! that hour other policies do not go below it (of several the largest wins). A forecast above the maximum capacity is
//! held by it, or raises it to the forecast plus a buffer; it stays raised.
//!
//! How AWS forecasts is not public. The choice here is simple and stated: an hour is forecast as the mean of the same hour on
//! the days that there are data of; from eight days of data on only the same weekday of the last one or two weeks counts.
//!
//! Source: ECS developer guide, `predictive-auto-scaling`; Application Auto Scaling API, PredictiveScalingPolicyConfiguration.
//!
//! Known departure: the load of an hour is its mean; AWS keeps the sum or the mean by metric, which a constant factor
//! makes the same.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::service::{Bound, ScalingDecision, ScalingMemory, ScalingReason};
use crate::scenario::model::{MaxCapacityBreach, PredictiveMode, PredictiveScaling};

/// Hours of data that the first forecast needs.
pub const LEAST_HOURS: usize = 24;
/// Hours of data that are used: 14 days.
pub const MOST_HOURS: usize = 14 * 24;
/// Hours that a forecast covers.
pub const AHEAD: i64 = 48;
/// Hours between two forecasts.
pub const REFRESH: i64 = 6;
const WEEK: i64 = 7 * 24;

/// What is remembered of one policy: hours are counted from the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PredictiveMemory {
    /// The load of past hours, oldest first; `None` where nothing was measured.
    pub load: VecDeque<Option<f64>>,
    /// The hour after the last of them.
    pub next_hour: i64,
    /// The forecast: its first hour, and the load of each hour from there.
    pub forecast: Option<(i64, Vec<Option<f64>>)>,
}

impl PredictiveMemory {
    /// A memory that begins at `hour`, with the load of the hours before it, oldest first.
    #[must_use]
    pub fn new(hour: i64, history: impl IntoIterator<Item = f64>) -> Self {
        let mut load: VecDeque<Option<f64>> = history.into_iter().map(Some).collect();
        let surplus = load.len().saturating_sub(MOST_HOURS);
        load.drain(..surplus);
        Self { load, next_hour: hour, forecast: None }
    }

    /// The load of the hour that is over now.
    pub fn add(&mut self, load: Option<f64>) {
        self.load.push_back(load.filter(|l| l.is_finite()));
        if self.load.len() > MOST_HOURS {
            self.load.pop_front();
        }
        self.next_hour += 1;
    }

    fn of(&self, hour: i64) -> Option<f64> {
        let back = self.next_hour - hour;
        let at = usize::try_from(back).ok().and_then(|b| self.load.len().checked_sub(b))?;
        self.load.get(at).copied().flatten()
    }

    /// Hours that something was measured in.
    #[must_use]
    pub fn measured(&self) -> usize {
        self.load.iter().flatten().count()
    }

    /// The load forecast for an hour, from the data alone; `None` without data of that hour of the day.
    #[must_use]
    pub fn expected(&self, hour: i64) -> Option<f64> {
        let mean = |every: i64| {
            let days = (1..=MOST_HOURS as i64 / every).filter_map(|k| self.of(hour - k * every));
            let (sum, n) = days.fold((0.0, 0_u32), |(sum, n), v| (sum + v, n + 1));
            (n > 0).then(|| sum / f64::from(n))
        };
        // With a whole week and a day, weekends no longer speak for Mondays.
        let weekly = if self.measured() > WEEK as usize + 23 { mean(WEEK) } else { None };
        weekly.or_else(|| mean(24))
    }

    /// Makes the forecast anew, if there are data enough.
    pub fn refresh(&mut self) {
        if self.measured() >= LEAST_HOURS {
            let from = self.next_hour;
            self.forecast = Some((from, (from..from + AHEAD).map(|h| self.expected(h)).collect()));
        }
    }

    /// The load that the forecast in force has for an hour.
    #[must_use]
    pub fn forecast_of(&self, hour: i64) -> Option<f64> {
        let (from, loads) = self.forecast.as_ref()?;
        loads.get(usize::try_from(hour - from).ok()?).copied().flatten()
    }
}

/// The capacity that a load needs: load over target, rounded up.
#[must_use]
pub fn capacity(load: f64, target: f64) -> u32 {
    let exact = load / target;
    if exact.is_finite() && target > 0.0 { (exact - exact.abs().max(1.0) * 1e-12).ceil().max(0.0) as u32 } else { 0 }
}

/// The maximum capacity that a forecast leaves: where the behaviour allows it and the forecast is above, the forecast plus
/// `buffer_percent` of it, rounded up.
///
/// ```
/// use simctl::scaling::predictive::effective_max;
/// use simctl::scenario::model::MaxCapacityBreach::*;
///
/// assert_eq!(effective_max(50, 40, IncreaseMaxCapacity, 10), 55);
/// assert_eq!(effective_max(50, 40, HonorMaxCapacity, 10), 40);
/// ```
#[must_use]
pub fn effective_max(forecast: u32, max: u32, behavior: MaxCapacityBreach, buffer_percent: u32) -> u32 {
    if behavior == MaxCapacityBreach::HonorMaxCapacity || forecast <= max {
        return max;
    }
    let raised = (u64::from(forecast) * (100 + u64::from(buffer_percent))).div_ceil(100);
    u32::try_from(raised).unwrap_or(u32::MAX)
}

/// What the policy at position `policy` does for an hour whose forecast needs `forecast` tasks, when the desired count is
/// `desired`. The floor that it leaves for the hour is in the memory.
#[must_use]
pub fn act(
    spec: &PredictiveScaling,
    memory: &ScalingMemory,
    policy: usize,
    forecast: u32,
    desired: u32,
) -> (ScalingDecision, ScalingMemory) {
    let max = effective_max(forecast, memory.max, spec.max_capacity_breach_behavior, spec.max_capacity_buffer);
    let bounded = forecast.min(max).max(memory.min);
    let mut bounds = Vec::new();
    if bounded < forecast {
        bounds.push(Bound::Max { capacity: max });
    } else if bounded > forecast {
        bounds.push(Bound::Min { capacity: memory.min });
    }
    let acts = spec.mode == PredictiveMode::ForecastAndScale;
    let mut next = memory.clone();
    if acts {
        next.max = max;
        next.forecast_floor = Some(bounded);
    } else {
        bounds.push(Bound::ForecastOnly);
    }
    let to = (acts && bounded > desired).then_some(bounded);
    let reason = ScalingReason::Forecast { policy, forecast, max };
    (ScalingDecision { desired: to, requests: Vec::new(), bounded_by: bounds, reason }, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SimDuration;
    use crate::scenario::model::{History, MetricPair, NoHistory};

    fn policy(mode: PredictiveMode, behavior: MaxCapacityBreach) -> PredictiveScaling {
        PredictiveScaling {
            predefined_metric_pair_type: MetricPair::EcsServiceCpuUtilization,
            target_value: 50.0,
            mode,
            scheduling_buffer_time: SimDuration::from_secs(300),
            max_capacity_breach_behavior: behavior,
            max_capacity_buffer: 10,
            history: History::None(NoHistory {}),
        }
    }

    fn memory(min: u32, max: u32) -> ScalingMemory {
        ScalingMemory { min, max, suspended: Default::default(), cooldowns: Vec::new(), forecast_floor: None }
    }

    #[test]
    fn a_day_is_needed_and_two_weeks_are_kept() {
        let mut m = PredictiveMemory::new(1000, (0..23).map(f64::from));
        m.refresh();
        assert_eq!(m.forecast, None);
        m.add(Some(23.0));
        m.refresh();
        // The next hour is like the first one of the only day, and so on for a day; then the same once more.
        assert_eq!(m.forecast_of(1001), Some(0.0));
        assert_eq!(m.forecast_of(1024), Some(23.0));
        assert_eq!(m.forecast_of(1048), Some(23.0));
        assert_eq!(m.forecast_of(1049), None);
        for h in 0..1000 {
            m.add(Some(f64::from(h)));
        }
        assert_eq!(m.load.len(), MOST_HOURS);
    }

    #[test]
    fn weekdays_are_told_apart_from_the_second_week_on() {
        let weekly = |h: i64| if (h / 24) % 7 >= 5 { 10.0 } else { 100.0 };
        let young = PredictiveMemory::new(5 * 24, (0..5 * 24).map(weekly));
        assert_eq!(young.expected(5 * 24), Some(100.0), "a weekend that it has never seen");
        let old = PredictiveMemory::new(14 * 24, (0..14 * 24).map(weekly));
        assert_eq!(old.expected(14 * 24), Some(100.0));
        assert_eq!(old.expected(19 * 24 + 3), Some(10.0));
        let mixed = PredictiveMemory::new(7 * 24, (0..7 * 24).map(weekly));
        let mean = mixed.expected(7 * 24).unwrap();
        assert!((mean - 520.0 / 7.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn a_gap_is_no_zero() {
        let mut m = PredictiveMemory::new(0, (0..24).map(|_| 8.0));
        (0..24).for_each(|_| m.add(None));
        (0..24).for_each(|_| m.add(Some(4.0)));
        assert_eq!(m.expected(48), Some(6.0));
    }

    #[test]
    fn it_adds_and_never_removes() {
        let p = policy(PredictiveMode::ForecastAndScale, MaxCapacityBreach::HonorMaxCapacity);
        let (d, next) = act(&p, &memory(2, 40), 0, 30, 10);
        assert_eq!((d.desired, next.forecast_floor, next.max), (Some(30), Some(30), 40));
        let (d, next) = act(&p, &memory(2, 40), 0, 5, 10);
        assert_eq!((d.desired, next.forecast_floor), (None, Some(5)));
        let (d, _) = act(&p, &memory(2, 40), 0, 50, 10);
        assert_eq!((d.desired, d.bounded_by), (Some(40), vec![Bound::Max { capacity: 40 }]));
        let p = policy(PredictiveMode::ForecastAndScale, MaxCapacityBreach::IncreaseMaxCapacity);
        let (d, next) = act(&p, &memory(2, 40), 0, 50, 10);
        assert_eq!((d.desired, next.max), (Some(50), 55));
        let p = policy(PredictiveMode::ForecastOnly, MaxCapacityBreach::IncreaseMaxCapacity);
        let (d, next) = act(&p, &memory(2, 40), 0, 50, 10);
        assert_eq!((d.desired, next), (None, memory(2, 40)));
    }

    #[test]
    fn capacity_is_rounded_up() {
        assert_eq!(capacity(600.0, 60.0), 10);
        assert_eq!(capacity(600.1, 60.0), 11);
        assert_eq!(capacity(0.0, 60.0), 0);
        assert_eq!(capacity(3.0 * 0.1 * 10.0, 0.1 * 30.0), 1);
        assert_eq!(capacity(1.0, 0.0), 0);
    }
}
