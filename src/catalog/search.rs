//! One flat view over all tables, for people who look something up.

use super::{Catalog, PricePoint};

/// A row of any table.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Row {
    /// The table: `price`, `fargate size`, `savings plan` or `launch`.
    pub table: &'static str,
    /// The region or platform it holds for.
    pub place: String,
    /// What it is about.
    pub subject: String,
    /// The value, as written.
    pub value: String,
    /// The unit of the value.
    pub unit: String,
    /// When it was last seen; empty for a price file.
    pub as_of: String,
    /// How sure it is.
    pub confidence: String,
    /// Key of the source.
    pub source: String,
    /// The source in words.
    pub source_title: String,
}

fn price_row(catalog: &Catalog, p: &PricePoint) -> Row {
    let place = match p.listed_in == p.region {
        true => p.region.clone(),
        false => format!("{} (from {})", p.region, p.listed_in),
    };
    Row {
        table: "price",
        place,
        subject: format!("{} {}", p.service, p.item),
        value: p.price.to_string(),
        unit: format!("USD/{}", p.unit),
        as_of: p.as_of.map(|a| a.to_string()).unwrap_or_default(),
        confidence: p.confidence.word().to_string(),
        source: p.source.clone(),
        source_title: catalog.source(&p.source).0.to_string(),
    }
}

/// All prices, or those that hold in one region, stand-ins included.
fn prices(catalog: &Catalog, region: Option<&str>) -> Vec<Row> {
    let Some(region) = region else {
        return catalog.prices().map(|p| price_row(catalog, p)).collect();
    };
    let in_region = |service: &str, item: &str| catalog.price(region, service, item).map(|p| price_row(catalog, &p));
    let mut rows = Vec::new();
    for service in catalog.services() {
        rows.extend(catalog.items_of(service).filter_map(|item| in_region(service, item)));
    }
    rows
}

pub(super) fn rows(catalog: &Catalog, text: &str, region: Option<&str>) -> Vec<Row> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let hit = |row: &Row| {
        let line =
            [row.table, &row.place, &row.subject, &row.value, &row.unit, &row.as_of, &row.confidence, &row.source]
                .join(" ")
                .to_lowercase();
        words.iter().all(|w| line.contains(w.as_str()))
    };
    let mut rows = prices(catalog, region);
    for s in catalog.fargate_sizes() {
        rows.push(Row {
            table: "fargate size",
            place: if s.windows { "linux windows" } else { "linux" }.to_string(),
            subject: format!("cpu {}", s.cpu_units),
            value: s.memory_mib.to_string(),
            unit: "MiB".to_string(),
            as_of: "2026".to_string(),
            confidence: "sourced".to_string(),
            source: "ecs-guide".to_string(),
            source_title: catalog.source("ecs-guide").0.to_string(),
        });
    }
    for s in catalog.savings_plans() {
        rows.push(Row {
            table: "savings plan",
            place: "all regions".to_string(),
            subject: format!("{} {} {}", s.product, s.term, s.payment),
            value: s.discount_percent.to_string(),
            unit: "% off on-demand".to_string(),
            as_of: s.as_of.to_string(),
            confidence: s.confidence.word().to_string(),
            source: s.source.clone(),
            source_title: catalog.source(&s.source).0.to_string(),
        });
    }
    for f in catalog.launch_facts() {
        let condition = if f.condition.is_empty() { String::new() } else { format!(" ({})", f.condition) };
        rows.push(Row {
            table: "launch",
            place: f.platform.clone(),
            subject: format!("{} {}{condition}", f.fact, f.statistic),
            value: f.value.to_string(),
            unit: f.unit.clone(),
            as_of: f.as_of.to_string(),
            confidence: f.quality.clone(),
            source: f.source.clone(),
            source_title: catalog.source(&f.source).0.to_string(),
        });
    }
    rows.retain(hit);
    rows
}
