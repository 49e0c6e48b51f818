//! The chart of pods of a file: how they fill the nodes, what waits, what of the free room cannot be used.

use std::path::Path;

use super::{frame, largest, layer, panel};
use crate::output::{Fixed, OutputError, PACKING_FILE, PackingRow};
use crate::report::chart::palette::{BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION};
use crate::report::chart::{Dash, Figure, Panel};
use crate::report::series::{ResultData, Series, Table};
use crate::report::style::{count, counted, sig3};

/// The series of `packing.csv`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackingSeries {
    cpu: Series,
    memory: Series,
    gpus: Series,
    cpu_unusable: Series,
    gpu_unusable: Series,
    submitted: Series,
    bound: Series,
    pending: Series,
    ended: Series,
    empty: Series,
}

/// Reads them; empty series where there is no such file.
pub(crate) fn read_packing(folder: &Path, bucket: impl Fn(f64) -> usize) -> Result<PackingSeries, OutputError> {
    let mut s = PackingSeries::default();
    let path = folder.join(PACKING_FILE);
    if !path.exists() {
        return Ok(s);
    }
    Table::open(&path)?.each(|row: PackingRow| {
        let b = bucket(row.time_s.value());
        // States are those at the end of the interval.
        let end = row.time_s.value() + row.interval_s.value();
        for (series, share) in [
            (&mut s.cpu, row.cpu_requested_pct),
            (&mut s.memory, row.memory_requested_pct),
            (&mut s.gpus, row.gpu_requested_pct),
            (&mut s.cpu_unusable, row.cpu_unusable_pct),
            (&mut s.gpu_unusable, row.gpu_unusable_pct),
        ] {
            if let Some(Fixed(share)) = share {
                series.add(b, end, share);
            }
        }
        for (series, n) in [
            (&mut s.submitted, row.pods_submitted),
            (&mut s.bound, row.pods_bound),
            (&mut s.pending, row.pods_pending),
            (&mut s.ended, row.pods_ended),
            (&mut s.empty, u64::from(row.empty_nodes)),
        ] {
            series.add(b, end, n as f64);
        }
    })?;
    Ok(s)
}

/// How pods of a file fill the nodes; `None` without any.
pub(super) fn pods_chart(data: &ResultData) -> Option<Figure> {
    let p = data.summary.pods.as_ref()?;
    let (s, meta) = (&data.packing, &data.summary.meta);
    let end = meta.duration_s;
    let share = |name: &str, series: &Series, color, dash| {
        layer(name, color, dash, series.levels(end)).note(largest(series, " %"))
    };
    let number = |name: &str, series: &Series, color, dash| {
        let most = series.max().map_or_else(String::new, |m| format!("max {}", count(m.round() as u64)));
        layer(name, color, dash, series.levels(end)).note(most)
    };
    let mut full = vec![
        share("CPU", &s.cpu, BLUE, Dash::Solid).weight(2.0),
        share("memory", &s.memory, PURPLE, Dash::Dashed).bare(),
    ];
    if s.gpus.any() {
        full.push(share("GPUs", &s.gpus, GREEN, Dash::Mixed).bare().weight(2.0));
    }
    let packing = Panel { at_least: 100.0, ..panel("Requested", "% of what all nodes offer to pods", 170.0, full) };
    let mut unusable = vec![share("free CPU", &s.cpu_unusable, BLUE, Dash::Solid).bare()];
    if s.gpu_unusable.any() {
        unusable.push(share("free GPUs", &s.gpu_unusable, GREEN, Dash::Mixed).bare());
    }
    let fragments = panel(
        "Fragmentation",
        "% of what is free that stands where a pod of the file does not fit, mean over its pods",
        140.0,
        unusable,
    );
    let mut pods = vec![
        number("submitted", &s.submitted, BLACK, Dash::Dashed).bare(),
        number("on nodes", &s.bound, BLUE, Dash::Solid).bare(),
    ];
    if s.ended.any() {
        pods.push(number("ended", &s.ended, SKY, Dash::Dotted).bare());
    }
    let waiting = vec![number("without a node", &s.pending, VERMILION, Dash::Solid)];
    let empty = vec![number("nodes without pods", &s.empty, ORANGE, Dash::Solid)];
    let mut subtitle = format!("{} submitted, {} placed", counted(p.submitted, "pod"), count(p.placed));
    if p.refused_at_end > 0 {
        subtitle += &format!(", {} find no node at the end", count(p.refused_at_end));
    }
    if let Some(share) = p.gpu_requested_pct_at_end {
        subtitle += &format!("; {} % of the GPUs are taken", sig3(share));
    }
    if let Some(first) = p.refused.first() {
        subtitle += &format!(". Most of those refused ask for {}: {}", first.asks, first.why);
    }
    let title = format!("{}/{}: how the pods of the file fill the nodes", meta.name, meta.variant);
    let mut panels = vec![packing, fragments, panel("Pods", "pods", 130.0, pods)];
    panels.push(panel("Pods without a node", "pods", 100.0, waiting));
    panels.push(panel("Empty nodes", "nodes", 90.0, empty));
    Some(Figure { title, subtitle, panels, ..frame(data, None) })
}
