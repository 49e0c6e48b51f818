//! Floor 1: facts about AWS, embedded from `data/`: unit prices, Fargate sizes, EC2 instance types with
//! their prices, zones and Spot history, discounts, latencies.
//!
//! Every figure carries its source, its date and how sure it is. A region without a listing of its own
//! takes the price of a named neighbour, and the result says so. A user's price file goes over the
//! embedded prices.

mod ec2;
mod instance;
mod overrides;
mod point;
mod price;
mod search;
mod sizes;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub use ec2::{EC2, EC2_SPOT, InterruptionBand, Nearness, SpotAdvice, SpotLevel};
pub use instance::{Burst, InstanceType, MACHINE, TrunkBasis};
pub use point::{AsOf, Confidence, MAX_AGE_DAYS, PricePoint, Weakness};
pub use price::{Price, PriceError};
pub use search::Row;
pub use sizes::FargateSize;

/// The day on which the embedded tables were put together.
pub const COLLECTED: &str = "2026-11-21";

/// Processor architecture, as prices tell it apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Arch {
    /// x86-64.
    X86,
    /// 64-bit ARM (Graviton).
    Arm,
}

/// A region of AWS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its API name.
    pub id: String,
    /// Its name in words.
    pub name: String,
    /// The region whose price stands in where this one has no listing; absent where none may.
    pub neighbour: Option<String>,
}

/// Prices of Fargate in one region, for one architecture and market.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FargatePrice {
    /// One vCPU for an hour.
    pub vcpu_hour: PricePoint,
    /// One GB (2^30 bytes) of memory for an hour.
    pub gb_hour: PricePoint,
}

/// The discount of a Savings Plan or of Reserved Instances.
#[derive(Clone, PartialEq, Debug)]
pub struct SavingsPlan {
    /// The product.
    pub product: String,
    /// `1y` or `3y`.
    pub term: String,
    /// How it is paid.
    pub payment: String,
    /// Share off the on-demand price, in percent.
    pub discount_percent: f64,
    /// Key of the source.
    pub source: String,
    /// When it was seen.
    pub as_of: AsOf,
    /// How sure it is.
    pub confidence: Confidence,
}

/// A documented quota or a published measurement of launches.
#[derive(Clone, PartialEq, Debug)]
pub struct LaunchFact {
    /// What was measured.
    pub fact: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Which statistic of it.
    pub statistic: String,
    /// On what.
    pub platform: String,
    /// Under which condition.
    pub condition: String,
    /// Key of the source.
    pub source: String,
    /// When.
    pub as_of: AsOf,
    /// What kind of source: `documented`, `benchmark`, `practitioner` and others.
    pub quality: String,
}

/// A mistake in a price file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Line, from 1.
    pub line: u64,
    /// Character column, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

/// Why a price cannot be given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CatalogError {
    /// The region is not in the catalog.
    #[error("unknown region `{region}`{hint}")]
    UnknownRegion {
        /// What was asked for.
        region: String,
        /// `; did you mean ...?`, or empty.
        hint: String,
    },
    /// Neither the region nor a neighbour has a listing.
    #[error(
        "no price of {service} {item} for region {region}, and no neighbour region may stand in; give it in a price file"
    )]
    NoListing {
        /// The region.
        region: String,
        /// The service.
        service: String,
        /// The item.
        item: String,
    },
    /// The instance type is not in the catalog.
    #[error("unknown instance type `{name}`{}", nearest_names(nearest))]
    UnknownInstanceType {
        /// What was asked for.
        name: String,
        /// Names near to it, the nearest first; empty when none is near.
        nearest: Vec<String>,
    },
    /// A price file has mistakes: all of them, in order.
    #[error("{}", problem_lines(file, problems))]
    Overrides {
        /// The file.
        file: String,
        /// The mistakes.
        problems: Vec<Problem>,
    },
}

fn nearest_names(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        None => "; `simctl catalog --types` lists all".to_string(),
        Some((only, [])) => format!("; did you mean {only}?"),
        Some((last, rest)) => format!("; did you mean {} or {last}?", rest.join(", ")),
    }
}

fn problem_lines(file: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|p| format!("{file}:{}:{}: {}", p.line, p.column, p.message)).collect();
    lines.join("\n")
}

/// `; did you mean ...?` for the word nearest to `word`, or nothing when none is near.
fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let best = known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(word, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
    match best {
        Some((similarity, near)) if similarity > 0.75 => format!("; did you mean `{near}`?"),
        _ => String::new(),
    }
}

type Key = (String, String, String);

/// The facts. See the module's text.
#[derive(Clone, Debug)]
pub struct Catalog {
    regions: Vec<Region>,
    prices: BTreeMap<Key, PricePoint>,
    sizes: Vec<FargateSize>,
    plans: Vec<SavingsPlan>,
    facts: Vec<LaunchFact>,
    sources: BTreeMap<String, (String, String)>,
}

impl Catalog {
    /// The facts that this program carries, read once.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: OnceLock<Catalog> = OnceLock::new();
        EMBEDDED.get_or_init(|| Self::read().expect("the embedded tables are well formed: a test reads them"))
    }

    /// The embedded facts with the prices of a CSV text over them. Its columns are `region`, `service`,
    /// `item` and `usd` (dollars for one unit), in any order, with a header; a line that starts with `#`
    /// is a comment; the region `*` means every region. `file` names it in messages.
    ///
    /// # Errors
    /// [`CatalogError::Overrides`] with every mistake, by line and column.
    pub fn with_overrides(csv: &str, file: &str) -> Result<Self, CatalogError> {
        let mut catalog = Self::embedded().clone();
        overrides::apply(&mut catalog, csv, file)?;
        Ok(catalog)
    }

    /// All regions.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }

    /// All prices, by region, service and item.
    pub fn prices(&self) -> impl Iterator<Item = &PricePoint> {
        self.prices.values()
    }

    /// The services that have prices, each once.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.prices.values().map(|p| p.service.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }

    /// The items of a service, each once.
    pub fn items_of<'a>(&'a self, service: &str) -> impl Iterator<Item = &'a str> {
        let mut names: Vec<&str> =
            self.prices.values().filter(|p| p.service == service).map(|p| p.item.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }

    /// What one unit of an item is; `None` for an item that the catalog does not know.
    #[must_use]
    pub fn unit_of(&self, service: &str, item: &str) -> Option<&str> {
        let listed = self.prices.values().find(|p| p.service == service && p.item == item);
        listed.map(|p| p.unit.as_str()).or_else(|| Self::ec2_unit(service, item))
    }

    /// The price of an item in a region: the region's own listing, else that of the nearest neighbour
    /// that has one ([`PricePoint::listed_in`] tells which). `None` when there is neither.
    #[must_use]
    pub fn price(&self, region: &str, service: &str, item: &str) -> Option<PricePoint> {
        let mut key = (region.to_string(), service.to_string(), item.to_string());
        // A test holds that the neighbours form no cycle; the bound keeps a mistake from hanging.
        for _ in 0..=self.regions.len() {
            if let Some(point) = self.prices.get(&key) {
                return Some(PricePoint { region: region.to_string(), ..point.clone() });
            }
            if service == EC2
                && let Some(point) = ec2::on_demand(&key.0, item)
            {
                return Some(PricePoint { region: region.to_string(), ..point });
            }
            key.0 = self.regions.iter().find(|r| r.id == key.0)?.neighbour.clone()?;
        }
        None
    }

    /// Like [`Catalog::price`], with the reason when there is none.
    ///
    /// # Errors
    /// [`CatalogError::UnknownRegion`] or [`CatalogError::NoListing`].
    pub fn require(&self, region: &str, service: &str, item: &str) -> Result<PricePoint, CatalogError> {
        self.check_region(region)?;
        self.price(region, service, item).ok_or_else(|| CatalogError::NoListing {
            region: region.to_string(),
            service: service.to_string(),
            item: item.to_string(),
        })
    }

    /// Whether the catalog knows a region.
    ///
    /// # Errors
    /// [`CatalogError::UnknownRegion`] with the nearest name.
    pub fn check_region(&self, region: &str) -> Result<(), CatalogError> {
        if self.regions.iter().any(|r| r.id == region) {
            return Ok(());
        }
        let hint = suggest(region, self.regions.iter().map(|r| r.id.as_str()));
        Err(CatalogError::UnknownRegion { region: region.to_string(), hint })
    }

    /// Prices of Linux tasks on Fargate, on demand or Spot.
    #[must_use]
    pub fn fargate(&self, region: &str, arch: Arch, spot: bool) -> Option<FargatePrice> {
        let [vcpu, gb] = Self::fargate_items(arch, spot);
        Some(FargatePrice {
            vcpu_hour: self.price(region, "fargate", vcpu)?,
            gb_hour: self.price(region, "fargate", gb)?,
        })
    }

    /// The names of the items vCPU-hour and GB-hour of service `fargate`.
    #[must_use]
    pub const fn fargate_items(arch: Arch, spot: bool) -> [&'static str; 2] {
        match (arch, spot) {
            (Arch::X86, false) => ["x86_64_vcpu_hour", "x86_64_gb_hour"],
            (Arch::X86, true) => ["spot_x86_64_vcpu_hour", "spot_x86_64_gb_hour"],
            (Arch::Arm, false) => ["arm64_vcpu_hour", "arm64_gb_hour"],
            (Arch::Arm, true) => ["spot_arm64_vcpu_hour", "spot_arm64_gb_hour"],
        }
    }

    /// All task sizes that Fargate takes, by CPU and memory. Source: ECS developer guide.
    #[must_use]
    pub fn fargate_sizes(&self) -> &[FargateSize] {
        &self.sizes
    }

    /// Whether Fargate takes a task of this CPU (units, 1,024 = 1 vCPU) and memory (MiB).
    #[must_use]
    pub fn valid_fargate_size(&self, cpu_units: u64, memory_mib: u64, windows: bool) -> bool {
        self.sizes.iter().any(|s| s.cpu_units == cpu_units && s.memory_mib == memory_mib && (s.windows || !windows))
    }

    /// Up to `count` valid sizes near a pair: first the smallest that covers it, then the most alike.
    #[must_use]
    pub fn nearest_fargate_sizes(
        &self,
        cpu_units: u64,
        memory_mib: u64,
        windows: bool,
        count: usize,
    ) -> Vec<FargateSize> {
        sizes::nearest(&self.sizes, cpu_units, memory_mib, windows, count)
    }

    /// Discounts of Savings Plans and Reserved Instances; of each product the first is the typical one.
    #[must_use]
    pub fn savings_plans(&self) -> &[SavingsPlan] {
        &self.plans
    }

    /// Quotas and measurements of launches.
    #[must_use]
    pub fn launch_facts(&self) -> &[LaunchFact] {
        &self.facts
    }

    /// What a source key means: its title and the licence of what was read. A price file's name is its own title.
    #[must_use]
    pub fn source<'a>(&'a self, key: &'a str) -> (&'a str, &'a str) {
        self.sources.get(key).map_or((key, "given"), |(title, licence)| (title, licence))
    }

    /// Rows of every table that contain all words of `text`, in any case; all rows for an empty text.
    #[must_use]
    pub fn search(&self, text: &str) -> Vec<Row> {
        search::rows(self, text, None)
    }

    /// Like [`Catalog::search`], with the prices that hold in one region: its own listings, and those of
    /// the neighbours that stand in.
    ///
    /// # Errors
    /// [`CatalogError::UnknownRegion`].
    pub fn search_in(&self, region: &str, text: &str) -> Result<Vec<Row>, CatalogError> {
        self.check_region(region)?;
        Ok(search::rows(self, text, Some(region)))
    }

    fn insert(&mut self, point: PricePoint) {
        self.prices.insert((point.region.clone(), point.service.clone(), point.item.clone()), point);
    }

    fn read() -> Result<Self, String> {
        let mut catalog = Self {
            regions: Vec::new(),
            prices: BTreeMap::new(),
            sizes: Vec::new(),
            plans: Vec::new(),
            facts: Vec::new(),
            sources: BTreeMap::new(),
        };
        for [key, title, licence] in table("sources", include_str!("../../data/sources.csv"))? {
            catalog.sources.insert(key, (title, licence));
        }
        for [id, name, neighbour] in table("regions", include_str!("../../data/regions.csv"))? {
            catalog.regions.push(Region { id, name, neighbour: Some(neighbour).filter(|n| !n.is_empty()) });
        }
        for row in table("prices", include_str!("../../data/prices.csv"))? {
            let bad = || format!("prices: {row:?}");
            let [region, service, item, unit, usd, source, as_of, confidence] = row.clone();
            catalog.insert(PricePoint {
                listed_in: region.clone(),
                region,
                service,
                item,
                unit,
                price: usd.parse().map_err(|e| format!("{}: {e}", bad()))?,
                source,
                as_of: Some(AsOf::parse(&as_of).ok_or_else(bad)?),
                confidence: Confidence::from_word(&confidence).ok_or_else(bad)?,
            });
        }
        for [cpu, memories, windows, _, _] in table("fargate_sizes", include_str!("../../data/fargate_sizes.csv"))? {
            let number = |text: &str| text.parse::<u64>().map_err(|e| format!("fargate_sizes: {text}: {e}"));
            for memory in memories.split(' ') {
                let size =
                    FargateSize { cpu_units: number(&cpu)?, memory_mib: number(memory)?, windows: windows == "yes" };
                catalog.sizes.push(size);
            }
        }
        for row in table("savings_plans", include_str!("../../data/savings_plans.csv"))? {
            let bad = || format!("savings_plans: {row:?}");
            let [product, term, payment, discount, source, as_of, confidence] = row.clone();
            catalog.plans.push(SavingsPlan {
                product,
                term,
                payment,
                discount_percent: discount.parse().map_err(|_| bad())?,
                source,
                as_of: AsOf::parse(&as_of).ok_or_else(bad)?,
                confidence: Confidence::from_word(&confidence).ok_or_else(bad)?,
            });
        }
        for row in table("launch_latency", include_str!("../../data/launch_latency.csv"))? {
            let bad = || format!("launch_latency: {row:?}");
            let [fact, value, unit, statistic, platform, condition, source, as_of, quality] = row.clone();
            catalog.facts.push(LaunchFact {
                fact,
                value: value.parse().map_err(|_| bad())?,
                unit,
                statistic,
                platform,
                condition,
                source,
                as_of: AsOf::parse(&as_of).ok_or_else(bad)?,
                quality,
            });
        }
        Ok(catalog)
    }
}

fn table<const N: usize>(name: &str, text: &str) -> Result<Vec<[String; N]>, String> {
    csv::Reader::from_reader(text.as_bytes())
        .records()
        .map(|record| {
            let record = record.map_err(|e| format!("{name}: {e}"))?;
            let fields: Vec<String> = record.iter().map(str::to_string).collect();
            fields.try_into().map_err(|f: Vec<String>| format!("{name}: {N} fields expected: {f:?}"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
