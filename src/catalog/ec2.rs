//! Facts about EC2 by region: on-demand prices, zones, the Spot Advisor. Each table is embedded whole; a
//! region's column is read when it is first asked for, so that a run without nodes reads nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{AsOf, Catalog, CatalogError, Confidence, InstanceType, Price, PricePoint, instance};

/// The service under which prices of instances stand, in [`Catalog::price`] and in price files; the item
/// is the instance type and the unit an hour.
pub const EC2: &str = "ec2";
/// The service under which a price file sets Spot prices; the item is the instance type, the unit an hour.
pub const EC2_SPOT: &str = "ec2_spot";

/// How often instances of a type were interrupted in a region: the share of those that ran in a month, as
/// the Spot Advisor of AWS tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum InterruptionBand {
    /// Below 5 %.
    Below5,
    /// 5 to 10 %.
    From5To10,
    /// 10 to 15 %.
    From10To15,
    /// 15 to 20 %.
    From15To20,
    /// Above 20 %.
    Above20,
}

impl InterruptionBand {
    /// From the rarest to the most frequent.
    pub const ALL: [Self; 5] = [Self::Below5, Self::From5To10, Self::From10To15, Self::From15To20, Self::Above20];

    /// The Advisor's words for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Below5 => "<5%",
            Self::From5To10 => "5-10%",
            Self::From10To15 => "10-15%",
            Self::From15To20 => "15-20%",
            Self::Above20 => ">20%",
        }
    }

    /// The share of instances interrupted in a month that stands for the band: its middle; for the open
    /// band above 20 % a quarter, a choice.
    #[must_use]
    pub const fn monthly_share(self) -> f64 {
        match self {
            Self::Below5 => 0.025,
            Self::From5To10 => 0.075,
            Self::From10To15 => 0.125,
            Self::From15To20 => 0.175,
            Self::Above20 => 0.25,
        }
    }

    /// Interruptions for each instance-hour: an instance that runs a whole month of 730 hours is
    /// interrupted with [`InterruptionBand::monthly_share`], so the rate is `-ln(1 - share) / 730`.
    #[must_use]
    pub fn rate_per_hour(self) -> f64 {
        -libm::log1p(-self.monthly_share()) / 730.0
    }
}

impl fmt::Display for InterruptionBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// How near to what was asked for a figure of the Spot Advisor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Nearness {
    /// Of this type in this region.
    Listed,
    /// Of this type in us-east-1.
    OtherRegion,
    /// The median of the type's family, in this region or else in us-east-1.
    Family,
    /// The median of all types in us-east-1.
    AllTypes,
}

/// What the Spot Advisor says about a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpotAdvice {
    /// Off the on-demand price, in percent, over the month before 28 June 2025.
    pub saving_percent: u32,
    /// How often it was interrupted in that month.
    pub band: InterruptionBand,
    /// Where the figures are from.
    pub nearness: Nearness,
}

/// The level of a Spot price.
#[derive(Clone, PartialEq, Debug)]
pub struct SpotLevel {
    /// Dollars for an hour.
    pub price: Price,
    /// On-demand dollars for an hour, which a Spot price does not exceed.
    pub on_demand: PricePoint,
    /// Where the discount is from; absent when a price file gives the price.
    pub nearness: Option<Nearness>,
}

/// A table with one row for each type and one column for each region.
struct Grid {
    text: &'static str,
    columns: OnceLock<Vec<&'static str>>,
}

static PRICES: Grid = Grid::new(include_str!("../../data/ec2_prices.csv"));
static ZONES: Grid = Grid::new(include_str!("../../data/ec2_zones.csv"));
static ADVISOR: Grid = Grid::new(include_str!("../../data/spot_advisor.csv"));

impl Grid {
    const fn new(text: &'static str) -> Self {
        Self { text, columns: OnceLock::new() }
    }

    fn columns(&self) -> &[&'static str] {
        self.columns.get_or_init(|| self.text.lines().next().unwrap_or("").split(',').skip(1).collect())
    }

    fn column(&self, region: &str) -> Option<usize> {
        self.columns().iter().position(|c| *c == region)
    }

    /// Types and what stands in one column, in the order of the file: by name.
    fn cells(&self, column: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.text.lines().skip(1).filter_map(move |line| {
            let (name, rest) = line.split_once(',')?;
            let cell = rest.split(',').nth(column)?;
            (!cell.is_empty()).then_some((name, cell))
        })
    }
}

/// A column of a table, read once.
type Column<T> = &'static [(&'static str, T)];

/// Columns that were read, kept for the life of the program: there are at most as many as regions.
struct Cache<T: 'static>(Mutex<BTreeMap<usize, Column<T>>>);

impl<T> Cache<T> {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn get(&self, grid: &'static Grid, region: &str, read: fn(&'static str) -> Option<T>) -> Option<Column<T>> {
        let column = grid.column(region)?;
        // A poisoned lock only says that another thread failed while it read; the map is whole.
        let mut read_columns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(read_columns.entry(column).or_insert_with(|| {
            let cells = grid.cells(column).filter_map(|(name, cell)| Some((name, read(cell)?)));
            Vec::leak(cells.collect())
        }))
    }
}

fn at<T: Copy>(column: Column<T>, name: &str) -> Option<T> {
    column.binary_search_by(|row| row.0.cmp(name)).ok().map(|i| column[i].1)
}

/// A listed price and what its mark says: none for the list of 2026, `c` for that of 2022, `r` for one of
/// 2022 scaled by the change in us-east-1, `d` for one derived by the ratio of regions.
type Listed = (Price, u8);

fn listed(cell: &'static str) -> Option<Listed> {
    let digits = cell.trim_end_matches(['c', 'r', 'd']);
    let mark = cell.as_bytes().get(digits.len()).copied().unwrap_or(b'l');
    Some((digits.parse().ok()?, mark))
}

fn prices_of(region: &str) -> Option<Column<Listed>> {
    static CACHE: Cache<Listed> = Cache::new();
    CACHE.get(&PRICES, region, listed)
}

fn advice_of(region: &str) -> Option<Column<(u32, InterruptionBand)>> {
    static CACHE: Cache<(u32, InterruptionBand)> = Cache::new();
    CACHE.get(&ADVISOR, region, |cell| {
        let (saving, band) = cell.split_once(':')?;
        Some((saving.parse().ok()?, *InterruptionBand::ALL.get(band.parse::<usize>().ok()?)?))
    })
}

fn zones_of(region: &str) -> Option<Column<&'static str>> {
    static CACHE: Cache<&'static str> = Cache::new();
    CACHE.get(&ZONES, region, Some)
}

/// The listed on-demand price of a type in exactly this region.
pub(super) fn on_demand(region: &str, name: &str) -> Option<PricePoint> {
    let (price, mark) = at(prices_of(region)?, name)?;
    let (source, as_of, confidence) = match mark {
        b'l' => ("karpenter", "2026-07-20", Confidence::Sourced),
        b'c' => ("cortex", "2022-09-03", Confidence::Sourced),
        b'r' => ("ec2-rescaled", "2022-09-03", Confidence::Derived),
        _ => ("ec2-ratio", "2026-07-20", Confidence::Derived),
    };
    Some(PricePoint {
        region: region.to_string(),
        listed_in: region.to_string(),
        service: EC2.to_string(),
        item: name.to_string(),
        unit: "hour".to_string(),
        price,
        source: source.to_string(),
        as_of: AsOf::parse(as_of),
        confidence,
    })
}

fn family_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The medians of saving and band over some rows; the upper one of two.
fn median<'a>(
    rows: impl Iterator<Item = &'a (&'static str, (u32, InterruptionBand))>,
) -> Option<(u32, InterruptionBand)> {
    let (mut savings, mut bands): (Vec<u32>, Vec<InterruptionBand>) = rows.map(|r| r.1).unzip();
    savings.sort_unstable();
    bands.sort_unstable();
    Some((*savings.get(savings.len() / 2)?, *bands.get(bands.len() / 2)?))
}

impl Catalog {
    /// All EC2 instance types, by name.
    #[must_use]
    pub fn instance_types(&self) -> &'static [InstanceType] {
        instance::all()
    }

    /// An EC2 instance type by its API name.
    ///
    /// # Errors
    /// [`CatalogError::UnknownInstanceType`] with the nearest names.
    pub fn instance_type(&self, name: &str) -> Result<&'static InstanceType, CatalogError> {
        instance::find(name).ok_or_else(|| CatalogError::UnknownInstanceType {
            name: name.to_string(),
            nearest: instance::nearest(name),
        })
    }

    /// The on-demand price of an hour (Linux, shared tenancy) in a region, or in a neighbour region that
    /// stands in: the same as [`Catalog::price`] of service [`EC2`]. `None` for a type that is priced nowhere near.
    #[must_use]
    pub fn on_demand(&self, region: &str, name: &str) -> Option<PricePoint> {
        self.price(region, EC2, name)
    }

    /// What the Spot Advisor says about a type: its own figures in the region, else those in us-east-1, else
    /// the median of its family, else of all types. `None` for a type that cannot be bought as Spot, or that
    /// does not exist.
    #[must_use]
    pub fn spot_advice(&self, region: &str, name: &str) -> Option<SpotAdvice> {
        const FIRST: &str = "us-east-1";
        instance::find(name).filter(|t| t.spot_supported)?;
        let advice =
            |found: (u32, InterruptionBand), nearness| SpotAdvice { saving_percent: found.0, band: found.1, nearness };
        let of = |region: &str| advice_of(region).and_then(|column| at(column, name));
        let family = |region: &str| median(advice_of(region)?.iter().filter(|row| family_of(row.0) == family_of(name)));
        of(region)
            .map(|f| advice(f, Nearness::Listed))
            .or_else(|| of(FIRST).map(|f| advice(f, Nearness::OtherRegion)))
            .or_else(|| family(region).or_else(|| family(FIRST)).map(|f| advice(f, Nearness::Family)))
            .or_else(|| median(advice_of(FIRST)?.iter()).map(|f| advice(f, Nearness::AllTypes)))
    }

    /// The level of the Spot price of a type: a price file's, else the on-demand price less the discount of
    /// [`Catalog::spot_advice`].
    #[must_use]
    pub fn spot_level(&self, region: &str, name: &str) -> Option<SpotLevel> {
        let advice = self.spot_advice(region, name)?;
        let on_demand = self.on_demand(region, name)?;
        if let Some(given) = self.price(region, EC2_SPOT, name) {
            return Some(SpotLevel { price: given.price, on_demand, nearness: None });
        }
        let price = on_demand.price.less_millionths(advice.saving_percent * 10_000);
        Some(SpotLevel { price, on_demand, nearness: Some(advice.nearness) })
    }

    /// How often a type is interrupted, as [`Catalog::spot_advice`] tells it.
    #[must_use]
    pub fn interruption_band(&self, region: &str, name: &str) -> Option<InterruptionBand> {
        self.spot_advice(region, name).map(|a| a.band)
    }

    /// The zones of a region that offer a type, by letter (`a`, `b`, ...); empty when none does. `None` for a
    /// region whose offerings the catalog does not know (it knows us-east-1, us-west-2, eu-west-1 and
    /// ap-northeast-2). Which letter is which building is private to each account: take them as labels.
    #[must_use]
    pub fn offered(&self, region: &str, name: &str) -> Option<Vec<char>> {
        let column = zones_of(region)?;
        Some(at(column, name).map(|zones| zones.chars().collect()).unwrap_or_default())
    }

    /// Share off the on-demand price of a standard Reserved Instance (one year, all upfront), in percent:
    /// the median of the type's family in us-east-1 in 2023, else that of all families.
    #[must_use]
    pub fn reserved_discount_percent(&self, name: &str) -> f64 {
        let typical = || {
            let plans = self.savings_plans().iter();
            plans.filter(|p| p.product == "reserved-instance-standard").map(|p| p.discount_percent).next()
        };
        include_str!("../../data/reserved_discounts.csv")
            .lines()
            .filter_map(|line| line.strip_prefix(family_of(name))?.strip_prefix(',')?.split_once(',')?.1.parse().ok())
            .next()
            .or_else(typical)
            .unwrap_or(0.0)
    }

    /// What a price file may set of a service and item of EC2: the unit.
    pub(super) fn ec2_unit(service: &str, item: &str) -> Option<&'static str> {
        ([EC2, EC2_SPOT].contains(&service) && instance::find(item).is_some()).then_some("hour")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_read() {
        let count = |grid: &'static Grid, rows: &mut dyn FnMut(&str) -> usize| -> (usize, usize) {
            let all: usize = (0..grid.columns().len()).map(|c| grid.cells(c).count()).sum();
            let regions: Vec<&str> = grid.columns().to_vec();
            (all, regions.into_iter().map(rows).sum())
        };
        assert_eq!(count(&PRICES, &mut |r| prices_of(r).unwrap().len()), (10_671, 10_671));
        assert_eq!(count(&ZONES, &mut |r| zones_of(r).unwrap().len()), (4_668, 4_668));
        assert_eq!(count(&ADVISOR, &mut |r| advice_of(r).unwrap().len()), (6_208, 6_208));
        for grid in [&PRICES, &ZONES, &ADVISOR] {
            for region in grid.columns() {
                Catalog::embedded().check_region(region).unwrap();
            }
            let names: Vec<&str> = grid.text.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
            assert!(names.windows(2).all(|w| w[0] < w[1]));
        }
        for region in PRICES.columns() {
            for (name, _) in prices_of(region).unwrap() {
                let point = on_demand(region, name).unwrap();
                assert_ne!(Catalog::embedded().source(&point.source).1, "given");
                assert!(point.as_of.is_some());
            }
        }
    }

    #[test]
    fn prices_are_the_lists() {
        let catalog = Catalog::embedded();
        let price = |region: &str, name: &str| catalog.on_demand(region, name).unwrap();
        assert_eq!(price("us-east-1", "m5.large").price.to_string(), "0.096");
        assert_eq!(price("us-east-1", "c6a.2xlarge").price.to_string(), "0.306");
        assert_eq!(price("eu-west-1", "m5.large").price.to_string(), "0.107");
        let away = price("ca-west-1", "m5.large");
        assert_ne!(away.listed_in, "ca-west-1");
        assert!(catalog.on_demand("us-east-1", "mac1.metal").is_none());
        assert!(catalog.on_demand("us-east-1", "m5.lrage").is_none());
    }

    #[test]
    fn spot_advice_falls_back_and_says_so() {
        let catalog = Catalog::embedded();
        let c5 = catalog.spot_advice("us-east-1", "c5.xlarge").unwrap();
        assert_eq!((c5.saving_percent, c5.band, c5.nearness), (56, InterruptionBand::Below5, Nearness::Listed));
        assert_eq!(catalog.spot_level("us-east-1", "c5.xlarge").unwrap().price.to_string(), "0.0748");
        let near = |region: &str, name: &str| catalog.spot_advice(region, name).map(|a| a.nearness);
        assert_eq!(near("eu-west-3", "c5.xlarge"), Some(Nearness::OtherRegion));
        assert_eq!(near("us-east-1", "m8a.large"), Some(Nearness::AllTypes));
        assert_eq!(near("us-east-1", "mac1.metal"), None);
        assert!((InterruptionBand::From5To10.rate_per_hour() - 1.068e-4).abs() < 1e-6);
    }

    #[test]
    fn zones_and_reservations() {
        let catalog = Catalog::embedded();
        assert_eq!(catalog.offered("us-east-1", "a1.large"), Some(vec!['a', 'b', 'c']));
        assert_eq!(catalog.offered("ap-northeast-2", "a1.large"), Some(vec![]));
        assert_eq!(catalog.offered("sa-east-1", "m5.large"), None);
        assert_eq!(catalog.reserved_discount_percent("c6a.large"), 38.25);
        assert_eq!(catalog.reserved_discount_percent("m9z.large"), 41.2);
    }

    #[test]
    fn a_price_file_sets_instances() {
        let text = "region,service,item,usd\n*,ec2,m5.large,0.05\nus-east-1,ec2_spot,m5.large,0.01\n";
        let catalog = Catalog::with_overrides(text, "ours.csv").unwrap();
        assert_eq!(catalog.on_demand("eu-west-1", "m5.large").unwrap().price.to_string(), "0.05");
        let level = catalog.spot_level("us-east-1", "m5.large").unwrap();
        assert_eq!((level.price.to_string().as_str(), level.nearness), ("0.01", None));
        let wrong = Catalog::with_overrides("region,service,item,usd\n*,ec2,m5.lrage,0.05\n", "ours.csv").unwrap_err();
        assert!(wrong.to_string().contains("did you mean `m5.large`"), "{wrong}");
    }
}
