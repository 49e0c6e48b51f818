//! Capacity units of a load balancer. Source: Elastic Load Balancing pricing page.

/// What of each dimension is a capacity unit, in small units in which all are whole numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LcuRates {
    connection: i128,
    connection_milli: i128,
    byte: i128,
    rule: i128,
    /// Small units of an hour of one capacity unit.
    pub(super) per: i128,
}

impl LcuRates {
    /// 25 new connections a second, 3,000 open ones, 1 GB an hour, 1,000 rule evaluations a second.
    pub(super) const APPLICATION: Self =
        Self { connection: 600_000, connection_milli: 5, byte: 54, rule: 15_000, per: 54_000_000_000 };
    /// For TCP: 800 new flows a second, 100,000 open ones, 1 GB an hour.
    pub(super) const NETWORK: Self =
        Self { connection: 375_000, connection_milli: 3, byte: 1_080, rule: 0, per: 1_080_000_000_000 };
}

/// Use of a load balancer in an hour or a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LcuUsage {
    /// New connections.
    pub new_connections: u128,
    /// Open connections times milliseconds.
    pub active_connection_millis: u128,
    /// Bytes of requests and responses.
    pub processed_bytes: u128,
    /// Rule evaluations beyond the ten free ones of each request.
    pub rule_evaluations: u128,
}

/// LCU-hours by dimension. The largest is charged.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct LcuHours {
    /// 25 new connections a second.
    pub new_connections: f64,
    /// 3,000 open connections.
    pub active_connections: f64,
    /// 1 GB (10^9 bytes) an hour.
    pub processed_bytes: f64,
    /// 1,000 rule evaluations a second.
    pub rule_evaluations: f64,
}

impl LcuUsage {
    /// The four dimensions in small units.
    fn dimensions(&self, rates: &LcuRates) -> [i128; 4] {
        let scaled = |n: u128, factor: i128| i128::try_from(n).unwrap_or(i128::MAX / 1_000_000).saturating_mul(factor);
        [
            scaled(self.new_connections, rates.connection),
            scaled(self.active_connection_millis, rates.connection_milli),
            scaled(self.processed_bytes, rates.byte),
            scaled(self.rule_evaluations, rates.rule),
        ]
    }

    /// The dimension that is charged, in small units.
    pub(super) fn charged(&self, rates: &LcuRates) -> i128 {
        self.dimensions(rates).into_iter().max().unwrap_or(0)
    }

    /// LCU-hours of an Application Load Balancer by dimension, for use within one hour.
    #[must_use]
    pub fn lcu_hours(&self) -> LcuHours {
        self.hours(&LcuRates::APPLICATION)
    }

    /// The same of any load balancer.
    pub(super) fn hours(&self, rates: &LcuRates) -> LcuHours {
        let [new_connections, active_connections, processed_bytes, rule_evaluations] =
            self.dimensions(rates).map(|d| d as f64 / rates.per as f64);
        LcuHours { new_connections, active_connections, processed_bytes, rule_evaluations }
    }

    /// The share of this use that falls between `from` and `to` of `whole` when it is spread evenly. The
    /// shares of parts that follow one another sum to the whole.
    pub(super) fn part(&self, from: u128, to: u128, whole: u128) -> Self {
        let share = |n: u128| n * to / whole - n * from / whole;
        Self {
            new_connections: share(self.new_connections),
            active_connection_millis: share(self.active_connection_millis),
            processed_bytes: share(self.processed_bytes),
            rule_evaluations: share(self.rule_evaluations),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.new_connections += other.new_connections;
        self.active_connection_millis += other.active_connection_millis;
        self.processed_bytes += other.processed_bytes;
        self.rule_evaluations += other.rule_evaluations;
    }
}

impl LcuHours {
    /// The charged number: the largest dimension.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.new_connections.max(self.active_connections).max(self.processed_bytes).max(self.rule_evaluations)
    }

    /// The name of the dimension that is charged.
    #[must_use]
    pub fn dimension(&self) -> &'static str {
        let all = [
            (self.new_connections, "new connections"),
            (self.active_connections, "active connections"),
            (self.processed_bytes, "processed bytes"),
            (self.rule_evaluations, "rule evaluations"),
        ];
        all.into_iter().rev().max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |d| d.1)
    }
}

/// Rule evaluations that count: those beyond the ten free ones of each request.
#[must_use]
pub const fn counted_rule_evaluations(requests: u64, rules: u64) -> u64 {
    requests.saturating_mul(rules.saturating_sub(10))
}

/// LCU-hours of one load balancer. Each clock hour by itself: within it the four dimensions add up, and
/// what is charged is the largest of them so far, so that an hour costs the same however it is cut.
#[derive(Clone, Debug)]
pub(super) struct LcuMeter {
    rates: LcuRates,
    /// Charged small units of the hours that are over.
    past: i128,
    /// Use of the hour that runs.
    hour: LcuUsage,
    /// Use of all hours.
    all: LcuUsage,
}

impl LcuMeter {
    pub(super) fn new(rates: LcuRates) -> Self {
        Self { rates, past: 0, hour: LcuUsage::default(), all: LcuUsage::default() }
    }

    /// Forgets all use.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.rates);
    }

    /// Capacity units by dimension, over all hours.
    pub(super) fn lcu_hours(&self) -> LcuHours {
        self.all.hours(&self.rates)
    }

    pub(super) fn add(&mut self, usage: &LcuUsage) {
        self.hour.add(usage);
        self.all.add(usage);
    }

    pub(super) fn close_hour(&mut self) {
        self.past += self.hour.charged(&self.rates);
        self.hour = LcuUsage::default();
    }

    /// Charged small units so far.
    pub(super) fn charged(&self) -> i128 {
        self.past + self.hour.charged(&self.rates)
    }
}
