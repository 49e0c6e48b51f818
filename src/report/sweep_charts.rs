//! Charts of a sweep: lines over one axis, heat maps over two, the effect of each axis of more.

use std::path::Path;

use super::chart::palette::{BLUE, GREY};
use super::figures::{bare, figure_of, full, main_service, measure};
use super::gallery::Gallery;
use super::pen::Dash;
use super::plot::{Extent, Heat, Marker, Part, Places, Plot, Points, Spot, Spots};
use super::spread::quantile;
use super::style::clipped;
use super::sweep::{are_shares, extents, keeps, moved, plain, ran, ranked, title, whose};
use crate::experiment::sweep::{AxisResult, PointResult, SweepResult};
use crate::experiment::{CLUSTER, HOLD, Study};
use crate::output::OutputError;
use crate::scenario::axis::number_of;

/// Draws a sweep into the folder `charts` of a result folder, as SVG and as PNG, and returns the names: `sweep`
/// for one axis or a grid of two, `sweep-cost`, `sweep-latency` and `sweep-kept` for more or for a sample, and
/// `sensitivity` for more than one axis.
///
/// # Errors
/// [`OutputError`] with the file that could not be written.
pub fn write_sweep_charts(folder: &Path, sweep: &SweepResult) -> Result<Vec<String>, OutputError> {
    let mut gallery = Gallery::within(folder)?;
    let Some(first) = ran(sweep).next() else { return gallery.hang() };
    let figures = Drawn::all(&first.study);
    match sweep.axes.as_slice() {
        [] => {}
        [axis] => {
            let parts = figures.iter().filter_map(|f| along(sweep, axis, f)).map(Part::Points).collect();
            gallery.draw("sweep", &plot(sweep, subtitle(sweep, "marks: points with their 95 % intervals"), parts))?;
        }
        [x, y] if is_full(sweep, x, y) => {
            let parts = figures.iter().filter_map(|f| over(sweep, (x, y), f)).map(Part::Heat).collect();
            gallery.draw("sweep", &plot(sweep, subtitle(sweep, "one cell a point"), parts))?;
        }
        axes => {
            for f in &figures {
                let parts: Vec<Part> = (0..axes.len()).filter_map(|i| effect(sweep, i, f)).map(Part::Points).collect();
                if !parts.is_empty() {
                    let words = format!("{}; dots: points; line: the median point of each value", f.title);
                    gallery.draw(f.file, &plot(sweep, subtitle(sweep, &words), parts))?;
                }
            }
        }
    }
    if sweep.axes.len() > 1
        && let Some(heat) = influences(sweep)
    {
        let words = if are_shares(sweep) {
            "share of a figure's variance over all runs that lies between the values of an axis; what is missing to \
             100 % is what axes do together, and chance"
        } else {
            "standardised rank regression coefficients: how far, and which way, an axis moves a figure"
        };
        gallery.draw("sensitivity", &plot(sweep, words.to_owned(), vec![Part::Heat(heat)]))?;
    }
    gallery.hang()
}

fn plot(sweep: &SweepResult, subtitle: String, parts: Vec<Part>) -> Plot {
    let footer = [sweep.notes.join("  ·  "), format!("simctl {}", env!("CARGO_PKG_VERSION"))];
    Plot { title: clipped(&title(sweep), 84), subtitle, parts, footer: footer.join("  ·  ") }
}

fn subtitle(sweep: &SweepResult, words: &str) -> String {
    format!("{}; {words}", extents(sweep))
}

/// A figure that is drawn: from a study, or the share of runs that kept every objective.
struct Drawn {
    file: &'static str,
    title: String,
    unit: &'static str,
    prefix: &'static str,
    /// The subject and name of a figure; none for the share of runs.
    of: Option<(String, &'static str)>,
    limits: Vec<(f64, String)>,
}

impl Drawn {
    fn all(study: &Study) -> Vec<Self> {
        let limits = |address: &str| -> Vec<(f64, String)> {
            let about = study.objectives.iter().filter(|o| o.figure().as_deref() == Some(address));
            about.map(|o| (o.limit, format!("target {}", super::figures::target(o)))).collect()
        };
        let mut all = vec![Self {
            file: "sweep-cost",
            title: "Cost".to_owned(),
            unit: "dollars an hour",
            prefix: "$",
            of: Some((CLUSTER.to_owned(), "cost_per_hour_usd")),
            limits: limits("cluster.cost_per_hour_usd"),
        }];
        if let Some(service) = main_service(study) {
            all.push(Self {
                file: "sweep-latency",
                title: format!("{}latency p99 of all requests", whose(study, service)),
                unit: "ms",
                prefix: "",
                of: Some((service.to_owned(), "latency_p99_ms")),
                limits: limits(&format!("{service}.latency_p99_ms")),
            });
        }
        if study.kept_all.is_some() {
            all.push(Self {
                file: "sweep-kept",
                title: "Runs that kept every objective".to_owned(),
                unit: "% of the runs",
                prefix: "",
                of: None,
                limits: Vec::new(),
            });
        }
        all
    }

    fn value(&self, p: &PointResult) -> Option<(f64, Option<(f64, f64)>)> {
        match &self.of {
            None => p.kept_share().map(|s| (100.0 * s, None)),
            Some((subject, name)) => figure_of(&p.study, subject, name).and_then(|f| Some((f.point?, f.interval))),
        }
    }

    fn words(&self, x: f64) -> String {
        match &self.of {
            None => format!("{x:.0} %"),
            Some((_, "cost_per_hour_usd")) => format!("${}", bare(x, "$/h")),
            Some(_) => bare(x, ""),
        }
    }

    fn extent(&self, values: &[f64]) -> Extent {
        let least = values.iter().copied().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        if self.unit == "ms" && most > 8.0 * least { Extent::Log } else { Extent::Zero }
    }
}

/// Where the values of an axis stand: numbers as numbers, everything else by name.
fn places(axis: &AxisResult) -> (Places, impl Fn(&str) -> Option<f64> + use<>) {
    let unit =
        |v: &str| plain(v).trim_start_matches(|c: char| c.is_ascii_digit() || ".-+_eE".contains(c)).trim().to_owned();
    let numbers: Option<Vec<f64>> = axis.values.iter().map(|v| number_of(v)).collect();
    let one_unit = axis.values.windows(2).all(|v| unit(&v[0]) == unit(&v[1]));
    let values = axis.values.clone();
    let numeric = numbers.filter(|n| one_unit && n.len() > 1);
    let places = match &numeric {
        Some(n) => {
            let (least, most) = n.iter().fold((f64::INFINITY, 0.0_f64), |(l, h), v| (l.min(*v), h.max(*v)));
            Places::Numbers(if least > 0.0 && most > 20.0 * least { Extent::Log } else { Extent::Close })
        }
        None => Places::Names(values.iter().map(|v| plain(v).to_owned()).collect()),
    };
    let by_number = numeric.is_some();
    let find = move |v: &str| {
        if by_number { number_of(v) } else { values.iter().position(|known| known == v).map(|i| i as f64) }
    };
    (places, find)
}

/// The unit that the values of an axis are written in.
fn axis_words(axis: &AxisResult) -> String {
    let first = axis.values.first().map_or("", |v| plain(v));
    let unit = first.trim_start_matches(|c: char| c.is_ascii_digit() || ".-+_".contains(c)).trim();
    let is_number = number_of(first).is_some();
    if is_number && !unit.is_empty() { format!("{}, {unit}", axis.address) } else { axis.address.clone() }
}

/// A figure over the only axis.
fn along(sweep: &SweepResult, axis: &AxisResult, figure: &Drawn) -> Option<Points> {
    let (places, find) = places(axis);
    let mut spots: Vec<Spot> = ran(sweep)
        .filter_map(|p| {
            let (y, interval) = figure.value(p)?;
            let filled = p.study.kept_all.is_none() || keeps(&p.study, HOLD);
            let x = find(p.values.first()?)?;
            Some(Spot { x, y, x_interval: None, y_interval: interval, size: 4.2, filled, name: String::new() })
        })
        .collect();
    spots.sort_by(|a, b| a.x.total_cmp(&b.x));
    let values: Vec<f64> = spots.iter().map(|s| s.y).collect();
    let (yes, no): (Vec<Spot>, Vec<Spot>) = spots.iter().cloned().partition(|s| s.filled);
    let plain_line = Spots {
        name: String::new(),
        note: String::new(),
        color: BLUE,
        marker: Marker::Circle,
        dash: Some(Dash::Solid),
        spots: spots.into_iter().map(|s| Spot { y_interval: None, size: 0.1, ..s }).collect(),
    };
    let marks = |name: &str, marker, spots: Vec<Spot>| Spots {
        name: if spots.is_empty() { String::new() } else { name.to_owned() },
        note: String::new(),
        color: BLUE,
        marker,
        dash: None,
        spots,
    };
    let judged = ran(sweep).next()?.study.kept_all.is_some();
    let name = if judged { "keeps every objective" } else { "" };
    let series = vec![plain_line, marks(name, Marker::Circle, yes), marks("misses an objective", Marker::Circle, no)];
    (!values.is_empty()).then(|| Points {
        title: capital(&figure.title),
        unit: unit_of(figure, figure.extent(&values)),
        below: axis_words(axis),
        prefix: ("", figure.prefix),
        places,
        extent: figure.extent(&values),
        height: 170.0,
        series,
        across: Vec::new(),
        levels: figure.limits.clone(),
    })
}

fn unit_of(figure: &Drawn, extent: Extent) -> String {
    if extent == Extent::Log { format!("{}, logarithmic", figure.unit) } else { figure.unit.to_owned() }
}

fn capital(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().collect::<String>() + chars.as_str())
}

/// Whether a good part of all combinations of two axes is there: then a map can be read.
fn is_full(sweep: &SweepResult, x: &AxisResult, y: &AxisResult) -> bool {
    let cells = x.values.len() * y.values.len();
    2 * sweep.points.len() >= cells && x.values.len() <= 24 && y.values.len() <= 40
}

/// A figure over two axes.
fn over(sweep: &SweepResult, (x, y): (&AxisResult, &AxisResult), figure: &Drawn) -> Option<Heat> {
    let place = |p: &PointResult| {
        let row = y.values.iter().rev().position(|v| Some(v) == p.values.get(1))?;
        Some((row, x.values.iter().position(|v| Some(v) == p.values.first())?))
    };
    let mut cells = vec![vec![None; x.values.len()]; y.values.len()];
    for p in ran(sweep) {
        if let (Some((row, column)), Some((value, _))) = (place(p), figure.value(p)) {
            let place = if figure.of.is_none() { value / 100.0 } else { value };
            cells[row][column] = Some((place, figure.words(value)));
        }
    }
    let best = ranked(sweep, HOLD).into_iter().find(|p| keeps(&p.study, HOLD));
    cells.iter().flatten().any(Option::is_some).then(|| Heat {
        title: capital(&figure.title),
        unit: figure.unit.to_owned(),
        below: x.address.clone(),
        beside: y.address.clone(),
        columns: x.values.iter().map(|v| plain(v).to_owned()).collect(),
        rows: y.values.iter().rev().map(|v| plain(v).to_owned()).collect(),
        cells,
        framed: best.and_then(place).into_iter().collect(),
        frame: "cheapest that keeps all".to_owned(),
        ends: figure.of.is_none().then(|| ["0 %", "100 %"].map(ToOwned::to_owned)),
    })
}

/// The effect of one axis of several: all points, and the median point of each value.
fn effect(sweep: &SweepResult, index: usize, figure: &Drawn) -> Option<Points> {
    let axis = sweep.axes.get(index)?;
    let (places, find) = places(axis);
    let spot = |x: f64, y: f64, size: f64, filled: bool| Spot {
        x,
        y,
        x_interval: None,
        y_interval: None,
        size,
        filled,
        name: String::new(),
    };
    let mut dots: Vec<Spot> =
        ran(sweep).filter_map(|p| Some(spot(find(p.values.get(index)?)?, figure.value(p)?.0, 2.6, true))).collect();
    dots.sort_by(|a, b| a.x.total_cmp(&b.x));
    let values: Vec<f64> = dots.iter().map(|s| s.y).collect();
    // A sample has few points at each value: its medians are over parts of the axis.
    let groups: Vec<Vec<&Spot>> = if dots.chunk_by(|a, b| a.x == b.x).count() <= 12 {
        dots.chunk_by(|a, b| a.x == b.x).map(|g| g.iter().collect()).collect()
    } else {
        dots.chunks(dots.len().div_ceil(6)).map(|g| g.iter().collect()).collect()
    };
    let medians: Vec<Spot> = groups
        .iter()
        .filter_map(|group| {
            let mut ys: Vec<f64> = group.iter().map(|s| s.y).collect();
            ys.sort_by(f64::total_cmp);
            let x = group.iter().map(|s| s.x).sum::<f64>() / group.len() as f64;
            Some(spot(x, quantile(&ys, 0.5)?, 4.2, true))
        })
        .collect();
    let series = |name: &str, color, dash, spots| Spots {
        name: name.to_owned(),
        note: String::new(),
        color,
        marker: Marker::Circle,
        dash,
        spots,
    };
    (!values.is_empty()).then(|| Points {
        title: axis.short.clone(),
        unit: format!("{}, {}", figure.title, unit_of(figure, figure.extent(&values))),
        below: axis_words(axis),
        prefix: ("", figure.prefix),
        places,
        extent: figure.extent(&values),
        height: 130.0,
        series: vec![series("a point", GREY, None, dots), series("median point", BLUE, Some(Dash::Solid), medians)],
        across: Vec::new(),
        levels: figure.limits.clone(),
    })
}

/// How far each axis moves each figure.
fn influences(sweep: &SweepResult) -> Option<Heat> {
    let told = moved(sweep);
    let shares = are_shares(sweep);
    let several = ran(sweep).next().is_some_and(|p| super::figures::services(&p.study).len() > 1);
    let name = |address: &str| {
        let (subject, m) = measure(address)?;
        let label = m.label.to_owned();
        Some(if several && subject != CLUSTER { format!("{subject} {label}") } else { label })
    };
    let cell = |v: f64| {
        let words = if shares { full((100.0 * v).round(), "%") } else { super::figures::fixed(v, 2, true) };
        Some((v.abs(), words))
    };
    (!told.is_empty()).then(|| Heat {
        title: "What moves what".to_owned(),
        unit: if shares { "share of the variance" } else { "rank regression" }.to_owned(),
        below: String::new(),
        beside: "figures".to_owned(),
        columns: sweep.axes.iter().map(|a| a.short.clone()).collect(),
        rows: told.iter().map(|s| name(&s.address).unwrap_or_default()).collect(),
        cells: told.iter().map(|s| s.axes.iter().map(|v| cell(*v)).collect()).collect(),
        framed: Vec::new(),
        frame: String::new(),
        ends: Some(if shares { ["0 %", "100 %"] } else { ["0", "±1"] }.map(ToOwned::to_owned)),
    })
}

#[cfg(test)]
mod tests;
