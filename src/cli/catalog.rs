//! `simctl catalog`: looks up prices, task sizes, discounts and launch times, with where they come from.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::catalog::{Catalog, CatalogError, Row};

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

fn table(rows: &[Row], words: &str, out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        writeln!(out, "nothing in the catalog matches `{words}`")?;
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
            prices: None,
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
            region: None,
            prices: Some(path.to_path_buf()),
        };
        let mut out = Vec::new();
        run(&args(&path), false, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("0.0001"));
        let missing = run(&args(&folder.path().join("none.csv")), false, &mut Vec::new()).unwrap_err();
        assert!(matches!(missing, CatalogCommandError::Read { .. }));
    }
}
