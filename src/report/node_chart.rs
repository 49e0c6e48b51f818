//! The chart of instances: how full they are, from which market they come, in which zones they stand.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use super::chart::palette::{BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION};
use super::chart::{Dash, Figure, Layer, Panel, Shape};
use super::charts::{frame, largest, layer, panel};
use super::series::{ResultData, Series, Table};
use super::style::{count, counted, dollars, sig3};
use crate::output::{CAPACITY_FILE, CapacityRow, Fixed, NODES_FILE, NodeRow, OutputError, Secs};

/// The series of one capacity of instances.
#[derive(Clone, Debug, Default)]
pub(crate) struct CapacitySeries {
    cpu_reserved: Series,
    memory_reserved: Series,
    enis: Series,
    cpu_used: Series,
    desired: Series,
    active: Series,
    warmed: Series,
    on_demand: Series,
    spot: Series,
    waiting: Series,
    /// Changes of the number of instances that take tasks, by zone and bucket.
    zones: BTreeMap<String, Vec<i64>>,
    /// Times at which EC2 took Spot instances back, one a bucket.
    taken_back: Vec<f64>,
    /// One of them is an EC2 instance, bought in a market.
    bought: bool,
    launched: u64,
    interrupted: u64,
    /// Sums over intervals, for means: of CPU offered, reserved and used in vCPU-seconds.
    offered_s: f64,
    reserved_s: f64,
    used_s: f64,
}

impl CapacitySeries {
    fn interval(&mut self, row: &CapacityRow<'_>, b: usize) {
        let pct = |p: Option<Fixed<2>>| p.map_or(f64::NAN, |p| p.0);
        let (start, seconds) = (row.time_s.value(), row.interval_s.value());
        // States are those at the end of the interval.
        let end = start + seconds;
        self.cpu_reserved.add(b, end, pct(row.cpu_reserved_pct));
        self.memory_reserved.add(b, end, pct(row.memory_reserved_pct));
        self.enis.add(b, end, pct(row.eni_reserved_pct));
        self.cpu_used.add(b, start, pct(row.cpu_used_pct));
        for (series, n) in [
            (&mut self.desired, row.desired),
            (&mut self.active, row.active),
            (&mut self.warmed, row.warmed),
            (&mut self.on_demand, row.on_demand),
            (&mut self.spot, row.spot),
            (&mut self.waiting, row.waiting_tasks),
        ] {
            series.add(b, end, f64::from(n));
        }
        let vcpu_s = row.vcpus.0 * seconds;
        let part = |p: Option<Fixed<2>>| p.map_or(0.0, |p| p.0 / 100.0 * vcpu_s);
        self.offered_s += vcpu_s;
        self.reserved_s += part(row.cpu_reserved_pct);
        self.used_s += part(row.cpu_used_pct);
    }

    fn node(&mut self, row: &NodeRow<'_>, buckets: usize, bucket: &impl Fn(f64) -> usize) {
        self.launched += 1;
        self.bought |= !row.node_type.is_empty();
        // It takes tasks until it drains or ends, whatever comes first.
        let left = [row.draining_s, row.terminating_s, row.terminated_s].into_iter().flatten().map(Secs::value);
        let left = left.reduce(f64::min);
        if let Some(ready) = row.ready_s.map(Secs::value)
            && left.is_none_or(|left| left > ready)
        {
            let changes = self.zones.entry(row.zone.to_string()).or_insert_with(|| vec![0; buckets + 1]);
            changes[bucket(ready)] += 1;
            if let Some(left) = left {
                changes[bucket(left)] -= 1;
            }
        }
        if row.end_reason == "spot_interruption" {
            self.interrupted += 1;
            if let Some(at) = left
                && !self.taken_back.iter().any(|t| bucket(*t) == bucket(at))
            {
                self.taken_back.push(at);
            }
        }
    }

    /// Instances by zone: (time, instances from there on), zone after zone.
    fn by_zone(&self, bucket_s: f64) -> Vec<(&str, Vec<(f64, f64)>)> {
        let running = |changes: &[i64]| -> Vec<(f64, f64)> {
            let mut now = 0;
            let level = |(i, change): (usize, &i64)| {
                now += change;
                // What changes within an interval is seen at its end; what is there at the start, at once.
                let at = if i == 0 { 0.0 } else { (i as f64 + 1.0) * bucket_s };
                (at, now as f64)
            };
            changes.iter().enumerate().map(level).collect()
        };
        self.zones.iter().map(|(zone, changes)| (zone.as_str(), running(changes))).collect()
    }
}

/// Reads the series of every capacity that has instances.
pub(super) fn read_capacities(
    folder: &Path,
    buckets: usize,
    bucket: impl Fn(f64) -> usize,
) -> Result<IndexMap<String, CapacitySeries>, OutputError> {
    let mut capacities: IndexMap<String, CapacitySeries> = IndexMap::new();
    let path = folder.join(CAPACITY_FILE);
    if !path.exists() {
        return Ok(capacities);
    }
    Table::open(&path)?.each(|row: CapacityRow<'static>| {
        let b = bucket(row.time_s.value());
        capacities.entry(row.capacity.to_string()).or_default().interval(&row, b);
    })?;
    if !capacities.is_empty() {
        Table::open(&folder.join(NODES_FILE))?.each(|row: NodeRow<'static>| {
            if let Some(c) = capacities.get_mut(row.capacity.as_ref()) {
                c.node(&row, buckets, &bucket);
            }
        })?;
    }
    Ok(capacities)
}

/// Areas on top of one another; the legend reads from the top down.
fn stacked(series: Vec<(Layer, Vec<(f64, f64)>)>, end: f64) -> Vec<Layer> {
    let points = series.iter().map(|(_, p)| p.len()).max().unwrap_or(0);
    let mut base = vec![0.0; points];
    let mut layers = Vec::new();
    for (layer, levels) in series {
        let mut area: Vec<(f64, f64, f64)> = Vec::with_capacity(points + 1);
        for (i, (t, level)) in levels.iter().enumerate().filter(|(_, (t, _))| *t < end) {
            let low = base[i];
            base[i] += level;
            area.push((*t, low, base[i]));
        }
        if let Some((_, low, high)) = area.last().copied() {
            area.push((end, low, high));
        }
        if levels.iter().any(|l| l.1 > 0.0) {
            layers.push(Layer { shape: Shape::Area(area), ..layer });
        }
    }
    layers.reverse();
    layers
}

fn empty(name: &str, color: plotters::style::RGBColor, most: f64) -> Layer {
    layer(name, color, Dash::Solid, Shape::Area(Vec::new())).note(format!("max {}", sig3(most)))
}

/// How full the instances of each capacity are, how many there are from which market, and where; `None` without instances.
pub(super) fn nodes_chart(data: &ResultData) -> Option<Figure> {
    if data.capacities.is_empty() {
        return None;
    }
    let end = data.summary.meta.duration_s;
    let mut panels = Vec::new();
    let mut said = Vec::new();
    for (name, c) in &data.capacities {
        panels.push(packing(name, c, data.bucket_s / 2.0, end));
        if c.bought {
            panels.push(markets(name, c, end));
        }
        panels.push(zones(name, c, data.bucket_s, end));
        if c.waiting.any() {
            let waiting = layer("waiting", VERMILION, Dash::Solid, c.waiting.levels(end));
            let waiting = waiting.note(largest(&c.waiting, "")).weight(1.6);
            panels.push(panel(&format!("{name}: tasks without room"), "tasks in PROVISIONING", 70.0, vec![waiting]));
        }
        said.push(sentence(data, name, c));
    }
    let meta = &data.summary.meta;
    let title = format!("{}/{}: instances, how full, from where", meta.name, meta.variant);
    Some(Figure { title, subtitle: said.join("  "), panels, ..frame(data, None) })
}

fn packing(name: &str, c: &CapacitySeries, middle: f64, end: f64) -> Panel {
    let step = |name: &str, s: &Series, color, dash| layer(name, color, dash, s.levels(end)).note(largest(s, " %"));
    let mut layers = vec![
        step("CPU reserved", &c.cpu_reserved, BLUE, Dash::Solid).weight(2.2),
        step("memory reserved", &c.memory_reserved, PURPLE, Dash::Dashed).bare(),
    ];
    // Interfaces are shown where they are what runs out.
    let most = |s: &Series| s.max().unwrap_or(0.0);
    if most(&c.enis) > most(&c.cpu_reserved).max(most(&c.memory_reserved)) {
        layers.push(step("interfaces in use", &c.enis, GREEN, Dash::Dotted).bare());
    }
    // Pods of files take no requests: what they use is not known.
    if c.cpu_used.any() {
        let used = layer("CPU used", ORANGE, Dash::Solid, c.cpu_used.line(middle));
        layers.push(used.note(largest(&c.cpu_used, " %")).weight(1.4));
    }
    let unit = "% of what its instances offer to tasks";
    Panel { at_least: 100.0, ..panel(&format!("{name}: how full"), unit, 140.0, layers) }
}

fn markets(name: &str, c: &CapacitySeries, end: f64) -> Panel {
    let most = |s: &Series| s.max().unwrap_or(0.0);
    let market = |name: &str, s: &Series, color| (empty(name, color, most(s)), s.held(end));
    let mut layers = stacked(vec![market("On-Demand", &c.on_demand, SKY), market("Spot", &c.spot, ORANGE)], end);
    if c.warmed.any() {
        layers.push(layer("in the warm pool", GREY, Dash::Dotted, c.warmed.levels(end)).note(largest(&c.warmed, "")));
    }
    layers.push(layer("take tasks", BLUE, Dash::Solid, c.active.levels(end)).bare().weight(1.6));
    // Managed Instances have no desired count of their own.
    if c.desired.any() {
        let desired = layer("desired", BLACK, Dash::Dashed, c.desired.levels(end));
        layers.push(desired.note(largest(&c.desired, "")).weight(1.2).bare());
    }
    if c.interrupted > 0 {
        let times = c.taken_back.iter().map(|t| (*t, false)).collect();
        let name = format!("taken back ({})", count(c.interrupted));
        layers.push(layer(&name, VERMILION, Dash::Solid, Shape::Triangles(times)));
    }
    panel(&format!("{name}: instances by market"), "instances, from launch to end", 130.0, layers)
}

fn zones(name: &str, c: &CapacitySeries, bucket_s: f64, end: f64) -> Panel {
    let colors = [SKY, GREEN, PURPLE, ORANGE, BLUE, GREY];
    let series = c.by_zone(bucket_s).into_iter().zip(colors.into_iter().cycle()).map(|((zone, levels), color)| {
        let most = levels.iter().map(|l| l.1).fold(0.0, f64::max);
        (empty(&format!("zone {zone}"), color, most), levels)
    });
    let layers = stacked(series.collect(), end);
    panel(&format!("{name}: instances by zone"), "instances that take tasks", 110.0, layers)
}

fn sentence(data: &ResultData, name: &str, c: &CapacitySeries) -> String {
    let share = |part: f64| sig3(100.0 * part / c.offered_s.max(1e-9));
    let mut text = format!(
        "{name}: {} in all; of their CPU {} % reserved",
        counted(c.launched, if c.bought { "instance" } else { "machine" }),
        share(c.reserved_s),
    );
    if c.used_s > 0.0 {
        text += &format!(" and {} % used", share(c.used_s));
    }
    text += " on average";
    if c.interrupted > 0 {
        text += &format!("; {} taken back by EC2", count(c.interrupted));
    }
    if let Some(cost) = data.summary.cost.by_capacity.get(name) {
        text +=
            &format!("; {}, of it {} for room that nobody reserved", dollars(cost.nodes_usd), dollars(cost.idle_usd));
    }
    text + "."
}
