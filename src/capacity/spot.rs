//! The Spot market: interruptions, shortages and prices of pools. A pool is an instance type in a zone.
//!
//! Rule: EC2 interrupts Spot instances with a notice of two minutes, when it needs the capacity of a pool
//! back; a rebalance recommendation may come before. Instances of one pool go together: 92 % of measured
//! interruptions had another one of the same type and zone within three minutes (Kim et al., 2026).
//!
//! What nobody publishes is the process itself. Here it is a random point process for each pool, the sum of
//! three: shocks of the zone that several pools feel, shocks of a family in the zone, and the pool's own.
//! An interruption takes each running instance of the pool with a given chance and leaves the pool short
//! for a while, so that launches fail. The intensity may vary slowly and at random about its mean, which
//! makes up-times heavy-tailed as the measured ones are. A recorded trace of availability takes the place
//! of the process: what a pool can no longer hold is interrupted.
//!
//! Everything is a function of seed, zone, family, type and time, and of nothing that a fleet does: two
//! capacities, two variants and two numbers of instances see the same market.

use std::sync::Arc;

use crate::catalog::{Catalog, CatalogError, InstanceType, InterruptionBand, Price};
use crate::kernel::{Draw, SimDuration, SimTime, Streams, standard_normal_quantile};
use crate::scenario::model::{self, Inputs, Interruptions, SpotPrice, SpotRow};

const HOUR_NS: f64 = 3.6e12;
/// Lowest level of intensity that is divided further: an event in 65,536 hours.
const LOWEST: i32 = -16;

/// What happens to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpotEventKind {
    /// Capacity is taken back: each running instance gets a notice with the chance that
    /// [`SpotEvent::takes`] draws.
    Reclaim,
    /// From here the pool holds so many instances (a recorded trace): of those that run beyond, the ones
    /// with the highest [`SpotEvent::rank`] get a notice.
    Holds(u32),
}

/// An event of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpotEvent {
    /// When the notices go out.
    pub at: SimTime,
    /// What happens.
    pub kind: SpotEventKind,
    /// When the rebalance recommendation for the same instances comes: at the notice or before it.
    pub recommended: SimTime,
    /// Until when the pool gives no instance.
    pub short_until: SimTime,
    share: f64,
    draw: Draw,
}

impl SpotEvent {
    /// Whether a reclaim takes an instance, known by a number of its own such as its place in the order of launches.
    #[must_use]
    pub fn takes(&self, instance: u64) -> bool {
        self.share >= 1.0 || self.draw.of(instance).unit() < self.share
    }

    /// The order in which instances are taken when a pool holds fewer: the highest first.
    #[must_use]
    pub fn rank(&self, instance: u64) -> u64 {
        self.draw.of(instance).bits()
    }

    /// The share of the running instances that a reclaim takes on the mean, 0 to 1.
    #[must_use]
    pub const fn share(&self) -> f64 {
        self.share
    }
}

/// What a pool is, with its market facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The instance type.
    pub kind: &'static InstanceType,
    /// The zone, by number from 0.
    pub zone: u32,
    /// Mean interruptions of one running instance an hour, by the process.
    pub rate: f64,
    /// The on-demand price of an hour: no Spot price is higher.
    pub on_demand: Price,
    /// The level of the Spot price.
    pub level: Price,
    events: Vec<SpotEvent>,
    /// The latest end of a shortage among the events up to each.
    short: Vec<SimTime>,
    /// Recorded availability: from when, how many.
    holds: Option<Vec<(SimTime, u32)>>,
    /// Recorded prices: from when, how much.
    prices: Vec<(SimTime, Price)>,
    /// Prices of the hours of the simulation, where they vary.
    hourly: Vec<Price>,
    root: Draw,
    intensity: Intensity,
}

/// The market of some pools. See the module's text.
#[derive(Clone, Debug)]
pub struct SpotMarket {
    pools: Vec<Pool>,
    notice: SimDuration,
}

/// What a market is made of, beside its settings.
#[derive(Clone, Copy, Debug)]
pub struct SpotWorld<'a> {
    /// Prices, discounts and bands.
    pub catalog: &'a Catalog,
    /// The region.
    pub region: &'a str,
    /// What the files hold that the settings name.
    pub inputs: &'a Inputs,
    /// The random streams of the replication.
    pub streams: Streams,
    /// The end of the simulation: later events are not made.
    pub until: SimTime,
}

impl SpotMarket {
    /// The market of pools, each given by type and zone (a number from 0), until the end of the simulation.
    ///
    /// # Errors
    /// [`CatalogError`] when a type is unknown, or has no on-demand price in the region.
    pub fn new(spec: &model::SpotMarket, world: SpotWorld<'_>, pools: &[(&str, u32)]) -> Result<Self, CatalogError> {
        let pools: Result<Vec<Pool>, CatalogError> =
            pools.iter().map(|(name, zone)| Pool::new(spec, &world, name, *zone)).collect();
        Ok(Self { pools: pools?, notice: spec.notice })
    }

    /// The pools, in the order in which they were given: everywhere else they go by that number.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The time between a notice and the interruption.
    #[must_use]
    pub const fn notice(&self) -> SimDuration {
        self.notice
    }

    /// The first event of a pool after an instant; `None` when none comes until the end of the simulation,
    /// or for a number that no pool has.
    #[must_use]
    pub fn next_event(&self, pool: usize, after: SimTime) -> Option<SpotEvent> {
        let events = &self.pools.get(pool)?.events;
        events.get(events.partition_point(|e| e.at <= after)).copied()
    }

    /// Dollars that an hour of an instance of a pool costs, for an instance-hour that begins at `at`. It changes
    /// at most at whole hours of simulated time, or when a recorded series says.
    ///
    /// # Panics
    /// When there is no pool of that number.
    #[must_use]
    pub fn price(&self, pool: usize, at: SimTime) -> Price {
        self.pools[pool].price(at)
    }

    /// The first instant after `after` at which the price of a pool may change; `None` where it is constant from there on.
    #[must_use]
    pub fn next_price(&self, pool: usize, after: SimTime) -> Option<SimTime> {
        let pool = self.pools.get(pool)?;
        if !pool.prices.is_empty() {
            return pool.prices.get(pool.prices.partition_point(|p| p.0 <= after)).map(|p| p.0);
        }
        let hour = SimDuration::from_secs(3_600);
        (!pool.hourly.is_empty()).then(|| after.floor_to(hour).saturating_add(hour))
    }

    /// Whether a pool has room for one more instance at `at`, when `running` of them run: not in the shortage
    /// after an interruption, nor beyond what a recorded trace holds.
    #[must_use]
    pub fn available(&self, pool: usize, at: SimTime, running: u32) -> bool {
        self.pools
            .get(pool)
            .is_some_and(|p| p.short_until(at).is_none() && p.holds(at).is_none_or(|held| running < held))
    }

    /// The end of the shortage that a pool is in at `at`; `None` when it is in none.
    #[must_use]
    pub fn short_until(&self, pool: usize, at: SimTime) -> Option<SimTime> {
        self.pools.get(pool).and_then(|p| p.short_until(at))
    }

    /// How deep a pool is at `at`, for allocation strategies that look for capacity; only ratios count. By a
    /// trace the instances that it holds; else the hours that an instance lasts at the intensity of the moment,
    /// at most a million; nothing in a shortage.
    #[must_use]
    pub fn depth(&self, pool: usize, at: SimTime) -> u32 {
        let Some(pool) = self.pools.get(pool).filter(|p| p.short_until(at).is_none()) else { return 0 };
        let hours = || (1.0 / pool.intensity.per_instance(at).max(1e-6)) as u32;
        pool.holds(at).unwrap_or_else(hours)
    }
}

impl Pool {
    fn new(spec: &model::SpotMarket, world: &SpotWorld<'_>, name: &str, zone: u32) -> Result<Self, CatalogError> {
        let kind = world.catalog.instance_type(name)?;
        let on_demand = world.catalog.require(world.region, crate::catalog::EC2, kind.name)?.price;
        let band = || match world.catalog.interruption_band(world.region, kind.name) {
            Some(band) => band.rate_per_hour(),
            // A type that cannot be bought as Spot is refused before; the worst band stands for what is unknown.
            None => InterruptionBand::Above20.rate_per_hour(),
        };
        let (rate, trace) = match &spec.interruptions {
            Interruptions::None(_) => (0.0, None),
            Interruptions::Rate(rate) => (rate.interruptions_per_hour, None),
            Interruptions::Advisor(advisor) => (advisor.band.map_or_else(band, |b| b.band().rate_per_hour()), None),
            Interruptions::Trace(trace) => (0.0, Some(trace)),
        };
        let intensity = Intensity::new(spec, &world.streams, kind, zone, rate);
        let mut pool = Self {
            kind,
            zone,
            rate,
            on_demand,
            level: on_demand,
            events: intensity.events(world.until),
            short: Vec::new(),
            holds: None,
            prices: Vec::new(),
            hourly: Vec::new(),
            root: Draw::new(world.streams.root(&format!("spot/price/{zone}/{name}"))),
            intensity,
        };
        pool.set_price(spec, world);
        if let Some(trace) = trace {
            let rows = world.inputs.spot.get(&trace.file).map_or(&[][..], |rows| rows);
            pool.follow(rows, trace, world.until);
        }
        pool.given(spec, world.until);
        let root = Draw::new(world.streams.root(&format!("spot/after/{zone}/{name}")));
        pool.dress(spec, root);
        Ok(pool)
    }

    fn set_price(&mut self, spec: &model::SpotMarket, world: &SpotWorld<'_>) {
        let name = self.kind.name;
        match &spec.price {
            SpotPrice::Catalog(catalog) => {
                if let Some(level) = world.catalog.spot_level(world.region, name) {
                    self.level = level.price.min(self.on_demand);
                }
                if catalog.varies {
                    let (sigma, hours) = world.catalog.spot_volatility(name);
                    self.vary(sigma, hours, world.until);
                }
            }
            SpotPrice::Discount(discount) => {
                // A percentage from 0 to 100, so the cast is exact enough: a millionth.
                self.level = self.on_demand.less_millionths((discount.percent * 10_000.0).round() as u32);
            }
            SpotPrice::Series(series) => {
                let rows = world.inputs.spot.get(&series.file).map_or(&[][..], |rows| rows);
                let from = SimTime::ZERO.saturating_add(series.from);
                let price = |row: &SpotRow| Price::from_picos((row.value * Price::PER_DOLLAR as f64).round() as i64);
                for row in rows.iter().filter(|r| r.is_of(name, self.zone)) {
                    let at = SimTime::ZERO.saturating_add(row.at.since(from));
                    let bounded = price(row).min(self.on_demand);
                    // Of the rows before the start the last holds.
                    if row.at <= from {
                        self.prices.clear();
                    }
                    self.prices.push((at, bounded));
                }
                self.level = self.prices.first().map_or(self.on_demand, |p| p.1);
            }
        }
    }

    /// Follows a recorded trace of availability.
    fn follow(&mut self, rows: &[SpotRow], trace: &model::InterruptionTrace, until: SimTime) {
        let from = SimTime::ZERO.saturating_add(trace.from);
        let own: Vec<&SpotRow> = rows.iter().filter(|r| r.is_of(self.kind.name, self.zone)).collect();
        let held = |row: &SpotRow| (row.value * trace.scale).min(1e9) as u32;
        let mut holds: Vec<(SimTime, u32)> = Vec::new();
        let (Some(first), Some(last)) = (own.first(), own.last()) else {
            self.holds = Some(holds);
            return;
        };
        // What holds at the start of each round: the last row up to `from`, else the first of all.
        let begin = own.iter().take_while(|r| r.at <= from).last().map_or(held(first), |r| held(r));
        let length = last.at.since(from);
        let mut offset = SimDuration::ZERO;
        loop {
            let mut push = |at: SimTime, count: u32| {
                if holds.last().is_none_or(|h| h.1 != count) {
                    holds.push((at, count));
                }
            };
            push(SimTime::ZERO.saturating_add(offset), begin);
            for row in own.iter().filter(|r| r.at > from) {
                push(SimTime::ZERO.saturating_add(row.at.since(from) + offset), held(row));
            }
            if !trace.repeat || length.is_zero() || SimTime::ZERO.saturating_add(offset) > until {
                break;
            }
            offset += length;
        }
        let root = self.root.of(u64::MAX);
        for (index, (at, count)) in holds.iter().enumerate().filter(|(_, h)| h.0 <= until) {
            self.events.push(SpotEvent {
                at: *at,
                kind: SpotEventKind::Holds(*count),
                recommended: *at,
                short_until: *at,
                share: 0.0,
                draw: root.of(index as u64),
            });
        }
        self.holds = Some(holds);
    }

    /// The events that the scenario gives.
    fn given(&mut self, spec: &model::SpotMarket, until: SimTime) {
        for (index, event) in spec.events.iter().enumerate() {
            let at = SimTime::ZERO.saturating_add(event.at);
            let here = event.zones.is_empty() || event.zones.contains(&self.zone);
            let of_type = event.types.is_empty() || event.types.iter().any(|t| t == self.kind.name);
            if here && of_type && at <= until {
                self.events.push(SpotEvent {
                    at,
                    kind: SpotEventKind::Reclaim,
                    recommended: at,
                    short_until: at,
                    share: event.share,
                    draw: self.root.of(u64::MAX - 1).of(index as u64),
                });
            }
        }
    }

    /// Puts the events in order and gives each its recommendation and its shortage.
    fn dress(&mut self, spec: &model::SpotMarket, root: Draw) {
        self.events.sort_by_key(|e| e.at);
        let time = |law: &model::TimeLaw, u: f64| SimDuration::from_secs_f64(law.law().quantile(u).max(0.0));
        let mut short = SimTime::ZERO;
        for event in &mut self.events {
            let draw = root.of(event.at.as_nanos());
            let lead = time(&spec.rebalance_recommendation_lead, draw.of(1).unit());
            if draw.of(2).unit() < spec.rebalance_recommendation_share {
                event.recommended = event.at.saturating_sub(lead);
            }
            if event.kind == SpotEventKind::Reclaim {
                event.short_until = event.at.saturating_add(time(&spec.shortage, draw.of(3).unit()));
            }
            short = short.max(event.short_until);
            self.short.push(short);
        }
    }

    fn short_until(&self, at: SimTime) -> Option<SimTime> {
        let past = self.events.partition_point(|e| e.at <= at);
        past.checked_sub(1).map(|i| self.short[i]).filter(|end| at < *end)
    }

    fn holds(&self, at: SimTime) -> Option<u32> {
        let holds = self.holds.as_ref()?;
        let past = holds.partition_point(|h| h.0 <= at);
        Some(past.checked_sub(1).map_or(0, |i| holds[i].1))
    }

    fn price(&self, at: SimTime) -> Price {
        let past = self.prices.partition_point(|p| p.0 <= at);
        if past > 0 {
            return self.prices[past - 1].1;
        }
        let hour = (at.as_nanos() / 3_600_000_000_000) as usize;
        self.hourly.get(hour).or(self.hourly.last()).copied().unwrap_or(self.level)
    }

    /// Lets the price move: the logarithm is a stationary first-order autoregression, hour by hour.
    fn vary(&mut self, sigma: f64, reversion_hours: f64, until: SimTime) {
        if sigma <= 0.0 {
            return;
        }
        let keeps = libm::exp(-1.0 / reversion_hours);
        let step = sigma * libm::sqrt(1.0 - keeps * keeps);
        // Spot prices are listed to a hundredth of a cent.
        let tick = Price::PER_DOLLAR / 10_000;
        let mut deviation = 0.0;
        for hour in 0..=until.as_nanos() / 3_600_000_000_000 {
            let normal = standard_normal_quantile(self.root.of(hour).unit());
            deviation = if hour == 0 { sigma * normal } else { keeps * deviation + step * normal };
            let factor = libm::exp(deviation - sigma * sigma / 2.0);
            let picos = (self.level.picos() as f64 * factor / tick as f64).round() as i64 * tick;
            self.hourly.push(Price::from_picos(picos).min(self.on_demand));
        }
    }
}

/// One of the sources of a pool's interruptions, known by its seed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Source {
    root: Draw,
    /// Mean events of the pool from this source an hour.
    rate: f64,
}

/// The intensity of a pool's interruptions, as a sum of sources.
#[derive(Clone, Debug, PartialEq)]
struct Intensity {
    sources: Arc<[Source]>,
    /// Chance of a running instance to be taken by one event.
    share: f64,
    /// Standard deviation of the logarithm of the intensity.
    sigma: f64,
    /// How long an intensity lasts.
    block: SimDuration,
}

impl Intensity {
    fn new(spec: &model::SpotMarket, streams: &Streams, kind: &InstanceType, zone: u32, rate: f64) -> Self {
        let share = spec.reclaim_share.clamp(0.0, 1.0);
        let events = if share > 0.0 { rate / share } else { 0.0 };
        let of_zone = spec.zone_correlation.clamp(0.0, 1.0);
        let of_family = spec.family_correlation.clamp(0.0, 1.0 - of_zone);
        let source = |name: String, part: f64| Source { root: Draw::new(streams.root(&name)), rate: events * part };
        let all = [
            source(format!("spot/zone/{zone}"), of_zone),
            source(format!("spot/family/{zone}/{}", kind.family()), of_family),
            source(format!("spot/pool/{zone}/{}", kind.name), 1.0 - of_zone - of_family),
        ];
        Self {
            sources: all.into_iter().filter(|s| s.rate > 0.0).collect(),
            share,
            sigma: spec.burstiness,
            block: spec.burst_period,
        }
    }

    /// The factor on the intensity of a source in a block: log-normal of mean one.
    fn factor(&self, source: &Source, block: u64) -> f64 {
        if self.sigma <= 0.0 {
            return 1.0;
        }
        let z = standard_normal_quantile(source.root.of(block).of(0).unit());
        libm::exp(self.sigma * z - self.sigma * self.sigma / 2.0)
    }

    /// Interruptions of one running instance an hour, at an instant.
    fn per_instance(&self, at: SimTime) -> f64 {
        let block = at.as_nanos() / self.block.as_nanos().max(1);
        self.sources.iter().map(|s| s.rate * self.factor(s, block)).sum::<f64>() * self.share
    }

    /// All events until an instant.
    ///
    /// The points of a source lie in time and level, and a pool sees those below its own intensity: pools of
    /// different rates share the points that both reach. Levels are cut in powers of two, time in blocks, and
    /// each cell has its own draws.
    fn events(&self, until: SimTime) -> Vec<SpotEvent> {
        let mut events = Vec::new();
        let length = self.block.as_nanos().max(1);
        for source in self.sources.iter() {
            for block in 0..=until.as_nanos() / length {
                let level = source.rate * self.factor(source, block);
                let mut cell = LOWEST;
                loop {
                    let low = if cell == LOWEST { 0.0 } else { libm::exp2(f64::from(cell)) };
                    if low >= level {
                        break;
                    }
                    let width = libm::exp2(f64::from(cell + 1)) - low;
                    let draw = source.root.of(block).of((cell - LOWEST) as u64 + 1);
                    let (mut at, mut number) = (0.0, 0);
                    loop {
                        let step = draw.of(3 * number).unit();
                        at += -libm::log(step) / width * HOUR_NS;
                        let here = (block as f64 * length as f64) + at;
                        if at >= length as f64 || here > until.as_nanos() as f64 {
                            break;
                        }
                        if low + draw.of(3 * number + 1).unit() * width < level {
                            let at = SimTime::from_nanos(here as u64);
                            events.push(SpotEvent {
                                at,
                                kind: SpotEventKind::Reclaim,
                                recommended: at,
                                short_until: at,
                                share: self.share,
                                draw: draw.of(3 * number + 2),
                            });
                        }
                        number += 1;
                    }
                    cell += 1;
                }
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::lang::{Lang, Reader};
    use crate::scenario::tree::parse_value;

    fn spec(text: &str) -> model::SpotMarket {
        let mut problems = Vec::new();
        let node = parse_value(text, 0, 0, &mut problems).expect("a value");
        let read = model::SpotMarket::read(&node, &mut Reader::new(&mut problems, None));
        read.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn market(text: &str, pools: &[(&str, u32)], inputs: &Inputs, hours: u64) -> SpotMarket {
        let world = SpotWorld {
            catalog: Catalog::embedded(),
            region: "us-east-1",
            inputs,
            streams: Streams::new(7, 0),
            until: SimTime::from_secs(hours * 3_600),
        };
        SpotMarket::new(&spec(text), world, pools).unwrap()
    }

    fn hits(market: &SpotMarket, pool: usize, instance: u64) -> usize {
        market.pools()[pool].events.iter().filter(|e| e.takes(instance)).count()
    }

    const RATE: &str = "interruptions = { source = \"rate\", interruptions_per_hour = 0.5 }";

    #[test]
    fn an_instance_is_interrupted_at_its_rate() {
        let none = Inputs::default();
        for share in ["0.1", "0.3", "1"] {
            let text = format!("{{ {RATE}, reclaim_share = {share} }}");
            let m = market(&text, &[("m5.large", 0)], &none, 20_000);
            for instance in [0, 1, 12_345] {
                let rate = hits(&m, 0, instance) as f64 / 20_000.0;
                assert!((rate - 0.5).abs() < 0.03, "{share} {instance}: {rate}");
            }
        }
        let m = market("{ interruptions = { source = \"advisor\" } }", &[("c5.xlarge", 0)], &none, 1);
        assert!((m.pools()[0].rate - 3.468e-5).abs() < 1e-7);
        let m = market("{ interruptions = { source = \"none\" } }", &[("c5.xlarge", 0)], &none, 10_000);
        assert_eq!(m.next_event(0, SimTime::ZERO), None);
    }

    #[test]
    fn pools_do_not_depend_on_each_other_and_share_shocks() {
        let none = Inputs::default();
        let text = format!("{{ {RATE}, zone_correlation = 0.5, family_correlation = 0.3 }}");
        let alone = market(&text, &[("m5.large", 0)], &none, 500);
        let all = [("c5.large", 0), ("m5.large", 0), ("m5.xlarge", 0), ("m5.large", 1)];
        let with = market(&text, &all, &none, 500);
        assert_eq!(alone.pools()[0].events, with.pools()[1].events);
        let common = |a: usize, b: usize| {
            let times = |p: usize| with.pools()[p].events.iter().map(|e| e.at);
            times(a).filter(|t| times(b).any(|u| u == *t)).count() as f64 / times(a).count() as f64
        };
        // The same zone half of them, the same family three tenths more, another zone none.
        assert!((common(1, 0) - 0.5).abs() < 0.08, "{}", common(1, 0));
        assert!((common(1, 2) - 0.8).abs() < 0.08, "{}", common(1, 2));
        assert_eq!(common(1, 3), 0.0);
        // A pool with half the rate feels a part of the same shocks.
        let half = text.replace("0.5, zone", "0.25, zone").replace("per_hour = 0.5", "per_hour = 0.25");
        let slow = market(&half, &[("m5.large", 0)], &none, 500);
        let times: Vec<SimTime> = alone.pools()[0].events.iter().map(|e| e.at).collect();
        assert!(slow.pools()[0].events.iter().all(|e| times.contains(&e.at)));
    }

    #[test]
    fn a_longer_run_has_the_same_beginning() {
        let none = Inputs::default();
        let text = format!("{{ {RATE}, burstiness = 2.0 }}");
        let (short, long) =
            (market(&text, &[("m5.large", 0)], &none, 100), market(&text, &[("m5.large", 0)], &none, 1_000));
        let until = SimTime::from_secs(100 * 3_600);
        let first: Vec<_> = long.pools()[0].events.iter().filter(|e| e.at <= until).copied().collect();
        assert_eq!(short.pools()[0].events, first);
    }

    #[test]
    fn bursts_keep_the_mean_and_spread_the_gaps() {
        let none = Inputs::default();
        let text = format!("{{ {RATE}, burstiness = 1.5, burst_period = \"2h\", reclaim_share = 1.0 }}");
        let m = market(&text, &[("m5.large", 0)], &none, 200_000);
        let events = &m.pools()[0].events;
        assert!((events.len() as f64 / 200_000.0 - 0.5).abs() < 0.06, "{}", events.len());
        let mut gaps: Vec<f64> = events.windows(2).map(|w| w[1].at.since(w[0].at).as_secs_f64()).collect();
        gaps.sort_by(f64::total_cmp);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        // An even process has a mean of 1.44 medians.
        assert!(mean / gaps[gaps.len() / 2] > 2.5);
    }

    #[test]
    fn an_interruption_leaves_the_pool_short() {
        let none = Inputs::default();
        let text = "{ interruptions = { source = \"none\" }, shortage = \"10m\", rebalance_recommendation_share = 1.0, \
                    rebalance_recommendation_lead = \"2m\", events = [{ at = \"1h\", share = 0.5, zones = [0], types = [\"m5.large\"] }] }";
        let m = market(text, &[("m5.large", 0), ("m5.large", 1), ("c5.large", 0)], &none, 2);
        let event = m.next_event(0, SimTime::ZERO).unwrap();
        assert_eq!((event.at, event.recommended), (SimTime::from_secs(3_600), SimTime::from_secs(3_480)));
        assert_eq!(event.kind, SpotEventKind::Reclaim);
        let taken = (0..1_000).filter(|i| event.takes(*i)).count();
        assert!((450..550).contains(&taken), "{taken}");
        for (at, free) in [(3_599, true), (3_600, false), (4_199, false), (4_200, true)] {
            assert_eq!(m.available(0, SimTime::from_secs(at), 5), free, "{at}");
            assert_eq!(m.depth(0, SimTime::from_secs(at)) > 0, free);
        }
        assert!(m.next_event(1, SimTime::ZERO).is_none() && m.next_event(2, SimTime::ZERO).is_none());
        assert_eq!(m.notice(), SimDuration::from_secs(120));
    }

    fn row(at: u64, value: f64, zone: Option<u32>, kind: Option<&str>) -> SpotRow {
        SpotRow { at: SimTime::from_secs(at), value, zone, instance_type: kind.map(str::to_string) }
    }

    #[test]
    fn a_trace_says_what_a_pool_holds() {
        let mut inputs = Inputs::default();
        let rows = vec![
            row(0, 4.0, None, None),
            row(100, 2.0, Some(0), None),
            row(150, 9.0, Some(1), None),
            row(200, 3.0, None, Some("m5.large")),
            row(300, 4.0, None, None),
        ];
        inputs.spot.insert("t.csv".into(), rows.into());
        let text =
            "{ interruptions = { source = \"trace\", file = \"t.csv\", from = \"50s\", repeat = true, scale = 2.0 } }";
        let m = market(text, &[("m5.large", 0), ("c5.large", 1)], &inputs, 1);
        let holds = |pool: usize, at: u64| m.pools()[pool].holds(SimTime::from_secs(at));
        assert_eq!((holds(0, 0), holds(0, 50), holds(0, 149), holds(0, 150)), (Some(8), Some(4), Some(4), Some(6)));
        // After 250 s it begins anew at its 50th second.
        assert_eq!((holds(0, 250), holds(0, 299), holds(0, 300)), (Some(8), Some(8), Some(4)));
        assert_eq!((holds(1, 0), holds(1, 100)), (Some(8), Some(18)));
        assert!(m.available(0, SimTime::from_secs(60), 3) && !m.available(0, SimTime::from_secs(60), 4));
        let event = m.next_event(0, SimTime::ZERO).unwrap();
        assert_eq!((event.at, event.kind), (SimTime::from_secs(50), SpotEventKind::Holds(4)));
        assert_ne!(event.rank(1), event.rank(2));
    }

    #[test]
    fn prices_move_about_their_level_and_never_above_on_demand() {
        let mut inputs = Inputs::default();
        let m = market(
            "{ price = { source = \"catalog\", varies = true } }",
            &[("m5.large", 0), ("m5.large", 1)],
            &inputs,
            40_000,
        );
        let hour = |h: u64| SimTime::from_secs(h * 3_600);
        let (level, prices): (f64, Vec<f64>) =
            (m.pools()[0].level.dollars(), (0..400).map(|h| m.price(0, hour(h * 100)).dollars()).collect());
        let mean = prices.iter().sum::<f64>() / prices.len() as f64;
        assert!((mean / level - 1.0).abs() < 0.02, "{mean} {level}");
        assert!(prices.iter().all(|p| *p <= 0.096) && prices.iter().any(|p| (p / level - 1.0).abs() > 0.01));
        assert_eq!(m.price(0, hour(5)), m.price(0, hour(5) + SimDuration::from_secs(3_599)));
        assert_ne!(m.price(0, hour(5)), m.price(1, hour(5)));
        assert_eq!(m.next_price(0, hour(5)), Some(hour(6)));
        let m = market("{ price = { source = \"discount\", percent = 70 } }", &[("m5.large", 0)], &inputs, 1);
        assert_eq!((m.price(0, hour(9)).to_string().as_str(), m.next_price(0, hour(0))), ("0.0288", None));
        inputs.spot.insert("p.csv".into(), vec![row(0, 0.03, None, None), row(100, 0.5, None, None)].into());
        let m = market(
            "{ price = { source = \"series\", file = \"p.csv\", from = \"40s\" } }",
            &[("m5.large", 0)],
            &inputs,
            1,
        );
        assert_eq!(m.price(0, SimTime::ZERO).to_string(), "0.03");
        assert_eq!(m.next_price(0, SimTime::ZERO), Some(SimTime::from_secs(60)));
        assert_eq!(m.price(0, SimTime::from_secs(60)).to_string(), "0.096");
        let m = market("{ price = { source = \"catalog\", varies = false } }", &[("m5.large", 0)], &inputs, 1);
        assert_eq!(m.price(0, hour(3)), m.pools()[0].level);
        let world = SpotWorld {
            catalog: Catalog::embedded(),
            region: "us-east-1",
            inputs: &inputs,
            streams: Streams::new(1, 0),
            until: hour(1),
        };
        assert!(SpotMarket::new(&spec("{}"), world, &[("m5.lrage", 0)]).is_err());
    }
}
