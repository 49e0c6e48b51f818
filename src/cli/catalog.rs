//! `simctl catalog`: looks up prices, task sizes, discounts and launch times, with where they come from.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::catalog::{Arch, Catalog, CatalogError, EC2, InstanceType, Nearness, Row};

/// Arguments of `simctl catalog`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CatalogArgs {
    /// Words that a row must contain, in any case; without any, everything is shown
    pub words: Vec<String>,
    /// Show the prices that hold in this region, those of a neighbour that stands in included
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// CSV file of prices that go over the catalog: columns region, service, item, usd
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Show EC2 instance types, the cheapest first, with network interfaces and task limits; words filter by name
    #[arg(long)]
    pub types: bool,
    /// Instance types of this family, such as m7g (implies --types)
    #[arg(long, value_name = "FAMILY")]
    pub family: Option<String>,
    /// Instance types with so many vCPUs: 4, or a range such as 2..8 (implies --types)
    #[arg(long, value_name = "COUNT", value_parser = range)]
    pub vcpus: Option<(f64, f64)>,
    /// Instance types with so much memory in GiB: 16, or a range such as 8..32 (implies --types)
    #[arg(long, value_name = "GIB", value_parser = range)]
    pub memory: Option<(f64, f64)>,
    /// Instance types of this architecture: amd64 or arm64 (implies --types)
    #[arg(long, value_name = "ARCH", value_parser = ["amd64", "arm64"])]
    pub arch: Option<String>,
    /// Instance types that cost at most so many dollars an hour on demand (implies --types)
    #[arg(long, value_name = "USD")]
    pub max_price: Option<f64>,
}

/// A number, or two with `..` between them; an end that is left out is open.
fn range(text: &str) -> Result<(f64, f64), String> {
    let bad = || format!("expected a number or a range such as 2..8, not `{text}`");
    let number =
        |text: &str, open: f64| if text.is_empty() { Ok(open) } else { text.parse::<f64>().map_err(|_| bad()) };
    let (low, high) = match text.split_once("..") {
        Some((low, high)) => (number(low, 0.0)?, number(high, f64::INFINITY)?),
        None => (text.parse::<f64>().map_err(|_| bad())?, text.parse::<f64>().map_err(|_| bad())?),
    };
    if low <= high && low >= 0.0 { Ok((low, high)) } else { Err(bad()) }
}

/// Why the catalog could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum CatalogCommandError {
    /// The price file cannot be read.
    #[error("cannot read the price file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A mistake in the price file, or an unknown region.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Prints the rows that match: as a table with the sources below it, or as a JSON array of rows.
///
/// # Errors
/// [`CatalogCommandError`].
pub fn run(args: &CatalogArgs, json: bool, out: &mut dyn Write) -> Result<(), CatalogCommandError> {
    let given;
    let catalog = match &args.prices {
        None => Catalog::embedded(),
        Some(path) => {
            let path_text = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|source| CatalogCommandError::Read { path: path_text.clone(), source })?;
            given = Catalog::with_overrides(&text, &path_text)?;
            &given
        }
    };
    let words = args.words.join(" ");
    let filtered = args.family.is_some() || args.vcpus.is_some() || args.memory.is_some() || args.arch.is_some();
    if args.types || filtered || args.max_price.is_some() {
        return types(catalog, args, json, out);
    }
    let rows = match &args.region {
        None => catalog.search(&words),
        Some(region) => catalog.search_in(region, &words)?,
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        table(&rows, &words, out)?;
    }
    Ok(())
}

/// An instance type as it is shown.
#[derive(serde::Serialize)]
struct TypeRow {
    name: &'static str,
    arch: &'static str,
    vcpus: u32,
    memory_gib: f64,
    /// Memory that the ECS agent registers.
    registered_mib: u64,
    gpus: u32,
    /// Network interfaces, the primary one included.
    enis: u32,
    /// Tasks in network mode awsvpc, by network interfaces.
    tasks: u32,
    /// The same with trunking.
    tasks_trunking: u32,
    /// Lasting share of the CPU of burstable types, in percent of a vCPU.
    baseline_percent: Option<f64>,
    on_demand_usd_hour: Option<f64>,
    spot_saving_percent: Option<u32>,
    /// Interruptions of Spot instances in a month.
    interruptions: Option<&'static str>,
    /// Zones of the region that offer it, where the catalog knows.
    zones: Option<String>,
    #[serde(skip)]
    price: String,
    #[serde(skip)]
    advice: String,
}

fn type_row(catalog: &Catalog, region: &str, t: &'static InstanceType) -> TypeRow {
    let price = catalog.on_demand(region, t.name);
    let advice = catalog.spot_advice(region, t.name);
    let mark = match advice.map(|a| a.nearness) {
        None | Some(Nearness::Listed) => "",
        Some(Nearness::OtherRegion) => " (us-east-1)",
        Some(Nearness::Family) => " (family)",
        Some(Nearness::AllTypes) => " (all types)",
    };
    TypeRow {
        name: t.name,
        arch: match t.arch {
            Arch::X86 => "amd64",
            Arch::Arm => "arm64",
        },
        vcpus: t.vcpus,
        memory_gib: t.memory_mib as f64 / 1_024.0,
        registered_mib: t.registered_memory_mib(),
        gpus: t.gpus,
        enis: t.max_enis,
        tasks: t.task_limit(false),
        tasks_trunking: t.task_limit(true),
        baseline_percent: t.burst.map(|b| f64::from(b.baseline_permille) / 10.0),
        on_demand_usd_hour: price.as_ref().map(|p| p.price.dollars()),
        spot_saving_percent: advice.map(|a| a.saving_percent),
        interruptions: advice.map(|a| a.band.label()),
        zones: catalog.offered(region, t.name).map(|z| z.into_iter().collect()),
        price: price.map_or_else(
            || "-".to_string(),
            |p| if p.listed_in == p.region { p.price.to_string() } else { format!("{} ({})", p.price, p.listed_in) },
        ),
        advice: advice.map_or_else(|| "-".to_string(), |a| format!("{}%, {}{mark}", a.saving_percent, a.band)),
    }
}

/// Instance types that match, the cheapest first: as a table, or as a JSON array.
fn types(catalog: &Catalog, args: &CatalogArgs, json: bool, out: &mut dyn Write) -> Result<(), CatalogCommandError> {
    let region = args.region.as_deref().unwrap_or("us-east-1");
    catalog.check_region(region)?;
    let within = |range: Option<(f64, f64)>, value: f64| range.is_none_or(|(low, high)| value >= low && value <= high);
    let fits = |t: &&'static InstanceType| {
        args.words.iter().all(|w| t.name.contains(&w.to_lowercase()))
            && args.family.as_ref().is_none_or(|f| f == t.family())
            && within(args.vcpus, f64::from(t.vcpus))
            && within(args.memory, t.memory_mib as f64 / 1_024.0)
            && args.arch.as_ref().is_none_or(|a| (a == "arm64") == (t.arch == Arch::Arm))
    };
    let mut rows: Vec<TypeRow> =
        catalog.instance_types().iter().filter(fits).map(|t| type_row(catalog, region, t)).collect();
    if let Some(most) = args.max_price {
        rows.retain(|r| r.on_demand_usd_hour.is_some_and(|usd| usd <= most));
    }
    let price = |r: &TypeRow| r.on_demand_usd_hour.unwrap_or(f64::INFINITY);
    rows.sort_by(|a, b| price(a).total_cmp(&price(b)).then(a.name.cmp(b.name)));
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "no instance type matches")?;
        if let Some(error) = args.words.first().and_then(|w| catalog.instance_type(w).err()) {
            writeln!(out, "{error}")?;
        }
        return Ok(());
    }
    let heads = [
        "instance type",
        "arch",
        "vCPU",
        "GiB",
        "registers MiB",
        "GPU",
        "ENIs",
        "tasks",
        "with trunking",
        "baseline",
        "USD/h",
        "Spot saving, interruptions",
        "zones",
    ];
    let cells: Vec<[String; 13]> = rows
        .iter()
        .map(|r| {
            let baseline = r.baseline_percent.map_or_else(String::new, |b| format!("{b}%"));
            let gpus = if r.gpus > 0 { r.gpus.to_string() } else { String::new() };
            [
                r.name.to_string(),
                r.arch.to_string(),
                r.vcpus.to_string(),
                r.memory_gib.to_string(),
                r.registered_mib.to_string(),
                gpus,
                r.enis.to_string(),
                r.tasks.to_string(),
                r.tasks_trunking.to_string(),
                baseline,
                r.price.clone(),
                r.advice.clone(),
                r.zones.clone().unwrap_or_else(|| "?".to_string()),
            ]
        })
        .collect();
    let heads = heads.map(str::to_string);
    let widths: [usize; 13] = std::array::from_fn(|column| {
        let widest = cells.iter().map(|c| c[column].chars().count()).max().unwrap_or(0);
        widest.max(heads[column].chars().count())
    });
    for line in std::iter::once(&heads).chain(&cells) {
        let text: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                2..=10 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        writeln!(out, "{}", text.join("  ").trim_end())?;
    }
    writeln!(out)?;
    writeln!(out, "{} of {} types, region {region}", rows.len(), catalog.instance_types().len())?;
    writeln!(out, "tasks: in network mode awsvpc, by network interfaces; memory and CPU may allow fewer")?;
    writeln!(out, "a price file may set service `{EC2}`, item the instance type")?;
    Ok(())
}

fn table(rows: &[Row], words: &str, out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        writeln!(out, "nothing in the catalog matches `{words}`")?;
        writeln!(out, "instance types are shown with --types, such as `simctl catalog --types m7g`")?;
        return writeln!(out, "try one word, such as a region, `fargate`, `alb`, `nat`, `logs`, `launch` or `size`");
    }
    let mut sources: Vec<&Row> = Vec::new();
    let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in rows {
        if !sources.iter().any(|s| s.source == row.source) {
            sources.push(row);
        }
        match groups.last_mut().filter(|g| g.0 == row.table) {
            Some(group) => group.1.push(row),
            None => groups.push((row.table, vec![row])),
        }
    }
    for (name, rows) in groups {
        let heads = ["", "value", "unit", "where", "seen", "confidence", ""];
        let cells: Vec<[String; 7]> = rows
            .iter()
            .map(|r| {
                let number = sources.iter().position(|s| s.source == r.source).map_or(0, |i| i + 1);
                [&r.subject, &r.value, &r.unit, &r.place, &r.as_of, &r.confidence, &format!("[{number}]")]
                    .map(Clone::clone)
            })
            .collect();
        let mut heads = heads.map(str::to_string);
        heads[0] = name.to_string();
        let width = |column: usize| {
            let cell = cells.iter().map(|c| c[column].chars().count()).max().unwrap_or(0);
            cell.max(heads[column].chars().count())
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for line in std::iter::once(&heads).chain(&cells) {
            let text: Vec<String> = line
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    1 => format!("{cell:>width$}"),
                    _ => format!("{cell:<width$}"),
                })
                .collect();
            writeln!(out, "{}", text.join("  ").trim_end())?;
        }
        writeln!(out)?;
    }
    writeln!(out, "sources (figures only; a price file replaces any price)")?;
    for (index, row) in sources.iter().enumerate() {
        writeln!(out, "{:>5} {}", format!("[{}]", index + 1), row.source_title)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str], region: Option<&str>, json: bool) -> String {
        let args = CatalogArgs {
            words: words.iter().map(ToString::to_string).collect(),
            region: region.map(str::to_string),
            ..CatalogArgs::default()
        };
        let mut out = Vec::new();
        run(&args, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_names_date_confidence_and_source() {
        let text = shown(&["us-east-1", "alb_hour"], None, false);
        let line = text.lines().find(|l| l.contains("elb alb_hour")).unwrap();
        assert!(line.contains("0.0225  USD/hour  us-east-1  2026-09-20  sourced     [1]"), "{text}");
        assert!(text.contains("[1] Elastic Load Balancing pricing page"), "{text}");
    }

    #[test]
    fn a_region_shows_who_stands_in() {
        let text = shown(&["logs_ingest"], Some("eu-west-3"), false);
        assert!(text.contains("eu-west-3 (from eu-west-1)"), "{text}");
        let error =
            run(&CatalogArgs { region: Some("eu-wset-3".into()), ..CatalogArgs::default() }, false, &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn json_rows_and_no_rows() {
        let rows: serde_json::Value = serde_json::from_str(&shown(&["fargate", "size", "249856"], None, true)).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1);
        assert_eq!(rows[0]["unit"], "MiB");
        assert!(shown(&["zzz"], None, false).contains("nothing in the catalog matches `zzz`"));
        assert_eq!(shown(&["zzz"], None, true).trim(), "[]");
    }

    #[test]
    fn a_price_file_is_read_or_its_failure_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ours.csv");
        std::fs::write(&path, "region,service,item,usd\nus-east-1,elb,alb_hour,0.0001\n").unwrap();
        let args = |path: &std::path::Path| CatalogArgs {
            words: vec!["alb_hour".into(), "us-east-1".into()],
            prices: Some(path.to_path_buf()),
            ..CatalogArgs::default()
        };
        let mut out = Vec::new();
        run(&args(&path), false, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("0.0001"));
        let missing = run(&args(&folder.path().join("none.csv")), false, &mut Vec::new()).unwrap_err();
        assert!(matches!(missing, CatalogCommandError::Read { .. }));
    }

    #[test]
    fn types_are_filtered_and_sorted_by_price() {
        let shown = |args: &CatalogArgs, json: bool| {
            let mut out = Vec::new();
            run(args, json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let m7g =
            CatalogArgs { family: Some("m7g".into()), vcpus: Some(range("2..4").unwrap()), ..CatalogArgs::default() };
        let text = shown(&m7g, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("m7g.large") && lines[2].starts_with("m7g.xlarge"), "{text}");
        assert!(text.contains("2 of 1395 types"), "{text}");
        let cheap = CatalogArgs {
            types: true,
            arch: Some("arm64".into()),
            memory: Some(range("4..").unwrap()),
            max_price: Some(0.04),
            region: Some("eu-west-1".into()),
            ..CatalogArgs::default()
        };
        let rows: serde_json::Value = serde_json::from_str(&shown(&cheap, true)).unwrap();
        assert!(rows.as_array().unwrap().iter().any(|r| r["name"] == "t4g.medium"), "{rows}");
        let none = CatalogArgs { types: true, words: vec!["m5.lrage".into()], ..CatalogArgs::default() };
        assert!(shown(&none, false).contains("did you mean `m5.large`"));
        for bad in ["x", "8..2", "-1", "1..y"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
