//! Charts of many runs: one configuration over its replications, and variants beside each other.

use std::path::Path;

use super::chart::palette::{BLACK, BLUE, GREY, SKY};
use super::chart::{Band, Dash, Figure, Layer, Panel, Scale, Shape};
use super::charts::{file_name, layer, panel};
use super::figures::{bare, extent, figure_of, full, measure, replications, services, target, title, with_interval};
use super::gallery::Gallery;
use super::plot::{Extent, Marker, Part, Places, Plot, Points, Row, Rows, Spot, Spots, Stacked, look};
use super::spread::{BANDS_FROM, Instant, fan, outer_band, quantile};
use super::style::{clipped, counted};
use crate::experiment::{Against, CLUSTER, Comparison, FigureDifference, FigureStudy, ObjectiveStudy, Study};
use crate::output::{OutputError, Trend, Trends};

/// Draws the replications of one configuration into the folder `charts` of a result folder, as SVG and as PNG, and
/// returns the names: `replications`, and `replications-NAME` for each further service.
///
/// # Errors
/// [`OutputError`] with the file that could not be written.
pub fn write_study_charts(folder: &Path, study: &Study) -> Result<Vec<String>, OutputError> {
    let mut gallery = Gallery::within(folder)?;
    for (i, service) in services(study).into_iter().enumerate() {
        let name = if i == 0 { "replications".to_owned() } else { format!("replications-{}", file_name(service)) };
        gallery.draw(&name, &Stacked(&fans(study, service), &runs_of(study, service)))?;
    }
    gallery.hang()
}

/// Draws a comparison into the folder `charts` of a result folder, as SVG and as PNG, and returns the names:
/// `series`, `distributions`, `cost-latency`, `differences`. A further service has its own `series-NAME`,
/// `distributions-NAME` and `cost-latency-NAME`.
///
/// # Errors
/// [`OutputError`] with the file that could not be written.
pub fn write_comparison_charts(folder: &Path, comparison: &Comparison) -> Result<Vec<String>, OutputError> {
    let mut gallery = Gallery::within(folder)?;
    let Some(first) = comparison.studies.first() else { return gallery.hang() };
    for (i, service) in services(first).into_iter().enumerate() {
        let name = |kind: &str| if i == 0 { kind.to_owned() } else { format!("{kind}-{}", file_name(service)) };
        gallery.draw(&name("series"), &series(comparison, service))?;
        if let Some(plot) = distributions(comparison, service) {
            gallery.draw(&name("distributions"), &plot)?;
        }
        if let Some(plot) = cost_latency(comparison, service) {
            gallery.draw(&name("cost-latency"), &plot)?;
        }
    }
    if let Some(plot) = differences(comparison) {
        gallery.draw("differences", &plot)?;
    }
    gallery.hang()
}

type Pick = fn(&Trends) -> &Trend;

/// The series that are kept of every run: title, unit and how to find them.
const SERIES: [(&str, &str, Pick); 5] = [
    ("Load", "requests a second", |t| &t.load_rps),
    ("Latency p99 within each run", "ms at the client, the worst interval of each step", |t| &t.latency_p99_ms),
    ("Failed requests", "a second", |t| &t.failed_rps),
    ("Tasks running", "tasks", |t| &t.running),
    ("CPU used", "% of the reserved", |t| &t.cpu_used_pct),
];

/// The limits of an objective about this figure.
fn limits<'a>(study: &'a Study, address: &'a str) -> impl Iterator<Item = &'a ObjectiveStudy> {
    study.objectives.iter().filter(move |o| o.figure().as_deref() == Some(address))
}

fn frame(study: &Study, title: String, subtitle: String, panels: Vec<Panel>, footer: String) -> Figure {
    let warm_up = Band { from: 0.0, to: study.warm_up_s, color: GREY, opacity: 0.22, label: "warm-up".into() };
    Figure {
        title: clipped(&title, 84),
        subtitle,
        from: 0.0,
        end: study.duration_s,
        axis_label: "simulated time from the start".to_owned(),
        panels,
        bands: if study.warm_up_s > 0.0 { vec![warm_up] } else { Vec::new() },
        marks: Vec::new(),
        footer,
    }
}

fn footer(parts: &[String]) -> String {
    let mut parts = parts.to_vec();
    parts.push(crate::output::NOTE_UNCALIBRATED.to_owned());
    parts.push(format!("simctl {}", env!("CARGO_PKG_VERSION")));
    parts.join("  ·  ")
}

/// Whether values are so far apart that their axis goes by decades.
fn wide(fans: &[Vec<Instant>]) -> bool {
    let mut at: Vec<f64> = fans.iter().flatten().map(|i| i.median).filter(|m| *m > 0.0).collect();
    at.sort_by(f64::total_cmp);
    match (quantile(&at, 0.1), at.last()) {
        (Some(usual), Some(most)) => *most > 20.0 * usual,
        _ => false,
    }
}

fn level_of(o: &ObjectiveStudy) -> Layer {
    layer("target", BLACK, Dash::Long, Shape::Level(o.limit)).note(target(o)).weight(1.0)
}

fn ribbon(fan: &[Instant], of: fn(&Instant) -> (f64, f64), opacity: f64) -> Shape {
    Shape::Ribbon(fan.iter().map(|i| (i.time, of(i).0, of(i).1)).collect(), opacity)
}

fn line(fan: &[Instant]) -> Shape {
    Shape::Line(fan.iter().map(|i| (i.time, i.median)).collect())
}

/// The largest of a fan's medians.
fn top(fan: &[Instant]) -> Option<f64> {
    fan.iter().map(|i| i.median).filter(|m| m.is_finite()).reduce(f64::max)
}

/// Load, latency and tasks of one service over the replications of one configuration.
fn fans(study: &Study, service: &str) -> Figure {
    let runs = study.replications.len();
    let mut panels = Vec::new();
    for (i, (name, unit, pick)) in SERIES.into_iter().enumerate() {
        let fan = study.trends.get(service).map_or(Vec::new(), |all| fan(all.iter().map(pick)));
        let any = top(&fan).is_some_and(|t| t > 0.0) || fan.iter().any(|i| i.outer.1 > 0.0);
        if !any {
            continue;
        }
        let mut layers = Vec::new();
        if runs > 1 {
            let share = if runs >= BANDS_FROM { "5 to 95 % of runs" } else { "all runs" };
            layers.push(layer(share, SKY, Dash::Solid, ribbon(&fan, |i| i.outer, 0.4)));
            if runs >= crate::experiment::study::INTERVAL_FROM {
                layers.push(layer("25 to 75 % of runs", BLUE, Dash::Solid, ribbon(&fan, |i| i.inner, 0.4)));
            }
        }
        let note = top(&fan).map_or(String::new(), |t| format!("max {}", bare(t, "")));
        let what = if runs > 1 { "median run" } else { "the run" };
        layers.push(layer(what, BLUE, Dash::Solid, line(&fan)).note(note));
        if i == 1 {
            layers.extend(limits(study, &format!("{service}.latency_p99_ms")).map(level_of));
        }
        let scale = if i == 1 && wide(std::slice::from_ref(&fan)) { Scale::Log } else { Scale::Zero };
        panels.push(Panel { scale, ..panel(name, unit, 105.0, layers) });
    }
    let subtitle = if runs > 1 {
        format!("{}; at each instant the median run, and bands over the runs", replications(study))
    } else {
        format!("a single run of {}", extent(study))
    };
    frame(study, format!("{}, service {service}: {}", title(study), counted(runs as u64, "run")), subtitle, panels, {
        String::new()
    })
}

/// How the main figures of a service lie over the replications of one configuration.
fn runs_of(study: &Study, service: &str) -> Plot {
    let parts = main_figures(service)
        .iter()
        .filter_map(|address| rows_of(address, std::slice::from_ref(study), |_| (BLUE, Marker::Circle)))
        .map(Part::Rows)
        .collect();
    Plot {
        title: String::new(),
        subtitle: String::new(),
        parts,
        footer: footer(&[title(study), counted(study.replications.len() as u64, "replication")]),
    }
}

/// The figures by which variants are judged first.
fn main_figures(service: &str) -> Vec<String> {
    let mut all = vec![format!("{CLUSTER}.cost_per_hour_usd")];
    all.extend(["latency_p99_ms", "availability_pct", "breach_minutes"].map(|name| format!("{service}.{name}")));
    all
}

/// A figure's runs, one row a study; none when no run has a value or all have the same.
fn rows_of(
    address: &str,
    studies: &[Study],
    look: impl Fn(usize) -> (plotters::style::RGBColor, Marker),
) -> Option<Rows> {
    let (_, m) = measure(address)?;
    let found: Vec<(usize, &Study, &FigureStudy)> =
        studies.iter().enumerate().filter_map(|(i, s)| Some((i, s, s.figure(address)?))).collect();
    let all: Vec<f64> = found.iter().flat_map(|f| f.2.values.iter().flatten().copied()).collect();
    let first = *all.first()?;
    if all.iter().all(|v| *v == first) && first == 0.0 {
        return None;
    }
    let quantile = m.unit == "ms" && m.name.contains("_p");
    let rows = found
        .iter()
        .map(|(i, s, f)| {
            let (color, marker) = look(*i);
            let note = f.point.map_or("too few requests".to_owned(), |x| {
                let what = if quantile { "pooled" } else { "mean" };
                let number = match f.interval {
                    Some((low, high)) if high > low => with_interval(x, f.interval, 27, false),
                    _ => bare(x, m.unit),
                };
                format!("{what} {number}")
            });
            Row {
                label: if studies.len() == 1 { counted(s.replications.len() as u64, "run") } else { s.label.clone() },
                color,
                marker,
                runs: f.values.iter().flatten().copied().collect(),
                estimate: f.point.map(|x| (x, f.interval)),
                filled: true,
                note,
                heading: String::new(),
            }
        })
        .collect();
    let name = match m.name {
        "latency_p99_ms" => "Latency p99 of each run",
        "cost_per_hour_usd" => "Cost an hour",
        "availability_pct" => "Availability",
        "breach_minutes" => "Minutes with a latency or availability objective missed",
        _ => m.label,
    };
    let unit = match m.unit {
        "$/h" => "dollars an hour".to_owned(),
        "min" => "minutes".to_owned(),
        unit => unit.to_owned(),
    };
    let unit = if m.unit == "ms" && far_apart(&all) { format!("{unit}, logarithmic") } else { unit };
    Some(Rows {
        title: name.to_owned(),
        unit,
        prefix: if m.unit.starts_with('$') { "$" } else { "" },
        extent: if m.unit == "ms" && far_apart(&all) { Extent::Log } else { Extent::Close },
        rows,
        levels: limits(&studies[0], address).map(|o| (o.limit, format!("target {}", target(o)))).collect(),
        clip: None,
        right: 196.0,
    })
}

/// Whether the largest value is several times the least.
fn far_apart(values: &[f64]) -> bool {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    least > 0.0 && values.iter().copied().fold(0.0, f64::max) > 4.0 * least
}

/// Who is compared with whom, for titles.
fn versus(c: &Comparison) -> String {
    let others: Vec<&str> = c.against.iter().map(|a| a.label.as_str()).collect();
    let others = match others[..] {
        [one] => one.to_owned(),
        [a, b] => format!("{a} and {b}"),
        ref more => format!("{} variants", more.len()),
    };
    format!("{others} against {}", c.reference)
}

fn pairs(c: &Comparison) -> String {
    let n = c.against.iter().map(|a| a.replications).min().unwrap_or(0) as u64;
    if c.paired { counted(n, "pair") } else { format!("{} each, not paired", counted(n, "run")) }
}

fn comparison_footer(c: &Comparison) -> String {
    let seed = c.studies.first().map_or(String::new(), |s| format!("seed {}", s.seed));
    footer(&[pairs(c), seed])
}

/// Whether two medians are nowhere further apart than a hundredth of the largest.
fn alike(a: &[Instant], b: &[Instant]) -> bool {
    let room = 0.01 * top(a).unwrap_or(0.0);
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| (a.median - b.median).abs() <= room || a.median.is_nan() && b.median.is_nan())
}

/// More variants than this have no bands, which could not be told apart.
const BANDED: usize = 4;

fn series(c: &Comparison, service: &str) -> Figure {
    let reference = c.studies.iter().find(|s| s.label == c.reference).unwrap_or(&c.studies[0]);
    let runs = c.studies.iter().map(|s| s.replications.len()).min().unwrap_or(0);
    let banded = runs > 1 && c.studies.len() <= BANDED;
    let mut panels = Vec::new();
    for (i, (name, unit, pick)) in SERIES.into_iter().enumerate() {
        let fans: Vec<Vec<Instant>> = c
            .studies
            .iter()
            .map(|s| s.trends.get(service).map_or(Vec::new(), |all| fan(all.iter().map(pick))))
            .collect();
        if !fans.iter().flatten().any(|i| i.outer.1 > 0.0) {
            continue;
        }
        // With common draws the load is the same almost to the request: one line says it.
        let same = i == 0 && fans.len() > 1 && fans.iter().all(|f| alike(f, &fans[0]));
        let mut layers = Vec::new();
        let shown: Vec<(usize, &Vec<Instant>)> =
            fans.iter().enumerate().take(if same { 1 } else { usize::MAX }).collect();
        if banded {
            for (k, fan) in &shown {
                layers.push(layer("", look(*k).0, Dash::Solid, ribbon(fan, |i| i.outer, 0.2)));
            }
        }
        for (k, fan) in &shown {
            let (color, dash, _) = look(*k);
            let name = if same { "alike in all" } else { &c.studies[*k].label };
            let note = top(fan).map_or(String::new(), |t| format!("max {}", bare(t, "")));
            layers.push(layer(name, color, dash, line(fan)).note(note));
        }
        if i == 1 {
            layers.extend(limits(reference, &format!("{service}.latency_p99_ms")).map(level_of));
        }
        let scale = if i == 1 && wide(&fans) { Scale::Log } else { Scale::Zero };
        panels.push(Panel { scale, ..panel(name, unit, 120.0, layers) });
    }
    let bands = if banded { format!("; bands: {}", outer_band(runs)) } else { String::new() };
    let subtitle = format!("line: at each instant the median of the {}{bands}", counted(runs as u64, "run"));
    frame(reference, format!("{}: {service} over time", versus(c)), subtitle, panels, comparison_footer(c))
}

fn distributions(c: &Comparison, service: &str) -> Option<Plot> {
    let look_of = |i: usize| (look(i).0, look(i).2);
    let parts: Vec<Part> =
        main_figures(service).iter().filter_map(|a| rows_of(a, &c.studies, look_of)).map(Part::Rows).collect();
    (!parts.is_empty()).then(|| Plot {
        title: clipped(&format!("{}: how runs of {service} spread", versus(c)), 84),
        subtitle: format!(
            "each dot is a run; the box holds the middle half of the runs, its bar is the median; the diamond is the mean \
             of the runs (of p99: that of the requests of all runs together) with its {} % interval",
            full(100.0 * c.level, "")
        ),
        parts,
        footer: comparison_footer(c),
    })
}

fn cost_latency(c: &Comparison, service: &str) -> Option<Plot> {
    let reference = c.studies.iter().find(|s| s.label == c.reference)?;
    let series: Vec<Spots> = c
        .studies
        .iter()
        .enumerate()
        .filter_map(|(i, s)| {
            let cost = figure_of(s, CLUSTER, "cost_per_hour_usd")?;
            let latency = figure_of(s, service, "latency_p99_ms")?;
            let (x, y) = (cost.point?, latency.point?);
            let (color, _, marker) = look(i);
            let spot = Spot {
                x,
                y,
                x_interval: cost.interval,
                y_interval: latency.interval,
                size: 5.0,
                filled: true,
                name: s.label.clone(),
            };
            let note = format!("{}, {}", full(x, "$/h"), full(y, "ms"));
            Some(Spots { name: s.label.clone(), note, color, marker, dash: None, spots: vec![spot] })
        })
        .collect();
    if series.is_empty() {
        return None;
    }
    let ys: Vec<f64> = series.iter().flat_map(|s| &s.spots).map(|s| s.y).collect();
    let (low, high) = ys.iter().fold((f64::INFINITY, 0.0_f64), |(l, h), y| (l.min(*y), h.max(*y)));
    let words = |o: &ObjectiveStudy| (o.limit, format!("target {}", target(o)));
    let points = Points {
        title: "Latency p99 of all requests".to_owned(),
        unit: "ms at the client; down and left is better".to_owned(),
        below: "cost, dollars an hour".to_owned(),
        prefix: ("$", ""),
        places: Places::Numbers(Extent::Close),
        extent: if high > 8.0 * low { Extent::Log } else { Extent::Close },
        height: 360.0,
        series,
        across: limits(reference, &format!("{CLUSTER}.cost_per_hour_usd")).map(words).collect(),
        levels: limits(reference, &format!("{service}.latency_p99_ms")).map(words).collect(),
    };
    let interval = if reference.replications.len() >= crate::experiment::study::INTERVAL_FROM {
        format!("; crosses: {} % intervals over {}", full(100.0 * c.level, ""), replications(reference))
    } else {
        "; too few runs for intervals".to_owned()
    };
    Some(Plot {
        title: clipped(&format!("{}: what {service}'s latency costs", versus(c)), 84),
        subtitle: format!("one mark a variant{interval}"),
        parts: vec![Part::Points(points)],
        footer: comparison_footer(c),
    })
}

/// Names of the figures whose differences are drawn.
const DRAWN: [&str; 8] = [
    "cost_per_hour_usd",
    "latency_p50_ms",
    "latency_p99_ms",
    "availability_pct",
    "failed",
    "breach_minutes",
    "running_mean",
    "tasks_started",
];

/// A difference in percent of the reference, with its interval.
fn relative(d: &FigureDifference) -> Option<(f64, (f64, f64))> {
    let (reference, (low, high)) = (d.reference.filter(|r| *r != 0.0)?.abs(), d.interval?);
    Some((d.relative_pct?, (100.0 * low / reference, 100.0 * high / reference)))
}

fn differences(c: &Comparison) -> Option<Plot> {
    let several = services(c.studies.first()?).len() > 1;
    let place = |a: &Against| c.studies.iter().position(|s| s.label == a.label).unwrap_or(0);
    let mut rows: Vec<Row> = Vec::new();
    let addresses = c.against.first()?.differences.iter().map(|d| d.address.as_str());
    for address in addresses {
        let Some((subject, m)) = measure(address).filter(|(_, m)| DRAWN.contains(&m.name)) else { continue };
        let mut heading =
            if several && subject != CLUSTER { format!("{subject}: {}", m.label) } else { m.label.to_owned() };
        for against in &c.against {
            let Some(d) = against.differences.iter().find(|d| d.address == address) else { continue };
            let Some((by, interval)) = relative(d) else { continue };
            if by == 0.0 && interval.0 == interval.1 {
                continue;
            }
            let (color, _, marker) = look(place(against));
            let verdict = if d.shown { d.verdict.as_str() } else { "not shown" };
            rows.push(Row {
                label: against.label.clone(),
                color,
                marker,
                runs: Vec::new(),
                estimate: Some((by, Some(interval))),
                filled: d.shown,
                note: format!("{} %  {verdict}", with_interval(by, Some(interval), 25, true)),
                heading: std::mem::take(&mut heading),
            });
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut ends: Vec<f64> = rows
        .iter()
        .filter_map(|r| r.estimate)
        .map(|(x, i)| i.map_or(x.abs(), |(low, high)| low.abs().max(high.abs())))
        .collect();
    ends.sort_by(f64::total_cmp);
    // One figure that is many times larger than the others must not make them invisible: it leaves the axis.
    let (usual, most) = (quantile(&ends, 0.5)?, *ends.last()?);
    let clip = (most > 6.0 * usual.max(1.0)).then(|| 4.0 * usual.max(1.0));
    let rows = Rows {
        title: String::new(),
        unit: format!("difference in % of {}, with its {} % interval", c.reference, full(100.0 * c.level, "")),
        prefix: "",
        extent: Extent::Close,
        rows,
        levels: vec![(0.0, format!("as {}", c.reference))],
        clip,
        right: 236.0,
    };
    Some(Plot {
        title: clipped(&format!("{}: differences", versus(c)), 84),
        subtitle: format!(
            "filled: a difference is shown after Holm's correction over {}; hollow: none is shown",
            counted(c.tests as u64, "test")
        ),
        parts: vec![Part::Rows(rows)],
        footer: comparison_footer(c),
    })
}

#[cfg(test)]
mod tests;
