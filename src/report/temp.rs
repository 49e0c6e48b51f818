#![allow(missing_docs)]
use super::Style;
use crate::experiment::search::SearchResult;
use crate::experiment::sweep::SweepResult;
use crate::output::{OutputError, document};
use std::io::{self, Write};
use std::path::Path;
pub fn write_sweep(out: &mut dyn Write, s: &SweepResult, _: f64, _: Style) -> io::Result<()> {
    for p in &s.points {
        writeln!(
            out,
            "{} {:?} {:?} {:?}",
            p.study.label,
            p.kept_share(),
            p.invalid,
            p.study.figure("cluster.cost_per_hour_usd").and_then(|f| f.point)
        )?;
    }
    Ok(())
}
pub fn write_sweep_markdown(out: &mut dyn Write, s: &SweepResult, _: f64) -> io::Result<()> {
    writeln!(out, "{}", document(s))
}
pub fn write_sweep_charts(_: &Path, _: &SweepResult) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
pub fn write_search(out: &mut dyn Write, s: &SearchResult, _: Style) -> io::Result<()> {
    let mut s = s.clone();
    s.fresh.clear();
    write!(out, "{}", document(&s))
}
pub fn write_search_markdown(out: &mut dyn Write, s: &SearchResult) -> io::Result<()> {
    write!(out, "{}", document(s))
}
pub fn write_search_charts(_: &Path, _: &SearchResult) -> Result<Vec<String>, OutputError> {
    Ok(vec![])
}
