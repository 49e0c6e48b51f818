//! A search as text, as Markdown and as a chart: what was found, against what, and what it took.

use std::io::{self, Write};
use std::path::Path;

use super::chart::palette::{BLACK, BLUE, GREEN, GREY, VERMILION};
use super::figures::{
    bare, cell, cost_per_hour, extent, figure_of, fixed, full, main_service, measure, objective_name, of_runs, stated,
    target, with_interval,
};
use super::gallery::Gallery;
use super::page::{Page, left, right};
use super::pen::Dash;
use super::plot::{Extent, Marker, Part, Places, Plot, Points, Spot, Spots};
use super::style::{Paint, Style, clipped, count, counted};
use super::sweep::{AxisColumns, plain};
use crate::experiment::Study;
use crate::experiment::search::{CandidateResult, SearchResult};
use crate::output::OutputError;

/// Writes a search for people: at most 100 columns, at least 72; the answer in words stands last.
///
/// # Errors
/// The writer's.
pub fn write_search(out: &mut dyn Write, search: &SearchResult, style: Style) -> io::Result<()> {
    let page = &mut Page { out, style };
    page.loud_paragraph(0, 2, &title(search))?;
    page.paragraph(0, 0, &goal(search))?;
    page.paragraph(0, 0, &effort(search))?;
    finalists(page, search)?;
    front(page, search)?;
    if !search.patch.is_empty() {
        page.heading("The winner as a variant", ", to put into the scenario")?;
        for line in search.patch.lines() {
            // What is to be copied is not broken.
            page.line(&format!("  {}", page.style.text(line)))?;
        }
    }
    page.blank()?;
    if !search.notes.is_empty() {
        page.paragraph(0, 2, &format!("Note: {}", search.notes.join("; ")))?;
        page.blank()?;
    }
    for sentence in sentences(search) {
        page.loud_paragraph(0, 2, &sentence)?;
    }
    Ok(())
}

fn title(search: &SearchResult) -> String {
    format!("{}: the cheapest configuration that keeps the objectives", search.scenario)
}

fn goal(search: &SearchResult) -> String {
    let what = measure(&search.minimise).map_or(search.minimise.clone(), |(_, m)| m.label.to_owned());
    format!(
        "smallest {what} such that every objective holds in at least {} of runs, shown with {} confidence from {} runs",
        full(100.0 * search.hold, "%"),
        full(100.0 * search.confidence, "%"),
        search.replications
    )
}

fn effort(search: &SearchResult) -> String {
    let all = search.size as u64 * u64::from(search.replications);
    let spent = (search.spent + search.fresh_runs) as u64;
    let axes: Vec<&str> = search.short.iter().map(String::as_str).collect();
    let saved =
        if spent > 0 && all > spent { format!(" ({:.0} %)", 100.0 * spent as f64 / all as f64) } else { String::new() };
    format!(
        "{} over {}; {} to choose and {} fresh ones to confirm, where trying all would take {}{saved}",
        counted(search.size as u64, "configuration"),
        axes.join(", "),
        counted(search.spent as u64, "run"),
        count(search.fresh_runs as u64),
        count(all)
    )
}

/// The name of a fresh study's column: `winner`.
fn role(study: &Study) -> &str {
    study.label.split(" (").next().unwrap_or(&study.label)
}

/// The candidate that a column of fresh runs is of.
fn candidate(search: &SearchResult, place: usize) -> Option<&CandidateResult> {
    let index = match (search.winner, place) {
        (Some(winner), 0) => Some(winner),
        (Some(_), _) => search.runner_up,
        (None, _) => search.nearest,
    }?;
    search.candidates.iter().find(|c| c.index == index)
}

/// Finds a figure's value and interval in a study.
type Of<'a> = dyn Fn(&Study) -> Option<(f64, Option<(f64, f64)>)> + 'a;

fn finalists(page: &mut Page<'_>, search: &SearchResult) -> io::Result<()> {
    let Some(first) = search.fresh.first() else { return Ok(()) };
    let width = if page.style.width >= 90 { 30 } else { 22 };
    let label = (page.style.width - 2 - width * search.fresh.len().clamp(1, 2)).min(46);
    let heads: String = search.fresh.iter().map(|s| right(role(s), width)).collect();
    page.heading(&left(&format!("On {} fresh replications", first.replications.len()), label + 2), &heads)?;
    let line = |page: &mut Page<'_>, name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|c| right(&page.style.text(&clipped(c, width - 1)), width)).collect();
        let name = page.style.text(&clipped(name, label - 1));
        page.line(&format!("  {}{cells}", left(&name, label)))
    };
    for (i, axis) in search.short.iter().enumerate() {
        let cells = (0..search.fresh.len()).map(|k| {
            candidate(search, k).and_then(|c| c.values.get(i)).map_or("–".to_owned(), |v| plain(v).to_owned())
        });
        line(page, axis, cells.collect())?;
    }
    let figure = |name: &str, unit: &str, of: &Of<'_>| {
        let cells: Vec<String> = search
            .fresh
            .iter()
            .map(|s| match of(s) {
                None => "–".to_owned(),
                Some((x, Some((low, high)))) if high > low => with_interval(x, Some((low, high)), width - 2, false),
                Some((x, _)) => bare(x, unit),
            })
            .collect();
        (name.to_owned(), cells)
    };
    let mut rows =
        vec![figure("cost $/h [95 % CI]", "$/h", &|s| cost_per_hour(s).and_then(|f| Some((f.point?, f.interval))))];
    if let Some(service) = main_service(first) {
        let whose = super::sweep::whose(first, service);
        for (name, label, unit) in [
            ("latency_p99_ms", "latency p99 ms", "ms"),
            ("availability_pct", "availability %", "%"),
            ("tasks_started", "tasks started", ""),
        ] {
            let of = |s: &Study| figure_of(s, service, name).and_then(|f| Some((f.point?, f.interval)));
            rows.push(figure(&format!("{whose}{label}"), unit, &of));
        }
    }
    for (name, cells) in rows {
        line(page, &name, cells)?;
    }
    for o in &first.objectives {
        let cells = search.fresh.iter().map(|s| {
            let same = s.objectives.iter().find(|x| x.subject == o.subject && x.key == o.key);
            same.map_or("–".to_owned(), |x| format!("held in {}", of_runs(x)))
        });
        line(page, &format!("{} {}", objective_name(o), target(o)), cells.collect())?;
    }
    let all = search
        .fresh
        .iter()
        .map(|s| s.kept_all.map_or("–".to_owned(), |k| format!("held in {k} of {}", s.replications.len())));
    line(page, "all objectives at once", all.collect())?;
    let share = search.shown_share.iter().map(|s| s.map_or("–".to_owned(), |s| format!("{:.0} %", 100.0 * s)));
    let name = format!("… in at least ({} confidence)", full(100.0 * search.confidence, "%"));
    line(page, &name, share.collect())
}

/// Candidates that are listed.
const LISTED: usize = 12;

/// Those of the Pareto front and the finalists, from the cheapest.
fn listed(search: &SearchResult) -> Vec<&CandidateResult> {
    let finalist = |c: &CandidateResult| [search.winner, search.runner_up, search.nearest].contains(&Some(c.index));
    let mut rows: Vec<&CandidateResult> =
        search.candidates.iter().filter(|c| c.cost.is_some() && (c.on_front || finalist(c))).collect();
    rows.sort_by(|a, b| {
        a.cost.unwrap_or(f64::INFINITY).total_cmp(&b.cost.unwrap_or(f64::INFINITY)).then(a.index.cmp(&b.index))
    });
    // Many keep nothing and cost little: the finalists are never crowded out.
    while rows.len() > LISTED {
        let Some(drop) = rows.iter().position(|c| !finalist(c)) else { break };
        rows.remove(drop);
    }
    rows
}

fn front(page: &mut Page<'_>, search: &SearchResult) -> io::Result<()> {
    let rows = listed(search);
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = search.short.iter().map(String::as_str).collect();
    let values: Vec<&[String]> = rows.iter().map(|c| c.values.as_slice()).collect();
    let numbers = 10 + 12 + 10 + 8;
    let columns = AxisColumns::new(&names, &values, page.style.width - 4 - numbers);
    page.heading("Pareto front", ": nothing is better in cost, violations and churn at once")?;
    let unit = if search.unit.is_empty() { "cost".to_owned() } else { format!("cost {}", search.unit) };
    let outcome = page.style.width.saturating_sub(4 + columns.width() + numbers + 2);
    let outcome_head = if outcome >= 12 { "  role" } else { "" };
    let heads = format!(
        "    {}{}{}{}{}{outcome_head}",
        columns.heads(),
        right(&unit, 10),
        right("broken in", 12),
        right("beyond", 10),
        right("churn", 8)
    );
    page.line(&page.style.text(&heads))?;
    for c in rows {
        let (mark, paint, role) = if search.winner == Some(c.index) {
            ("✓", Paint::Good, "winner")
        } else if search.runner_up == Some(c.index) {
            ("✓", Paint::Good, "runner-up")
        } else if search.nearest == Some(c.index) {
            ("✗", Paint::Warn, "nearest")
        } else if c.broken > 0 {
            ("✗", Paint::Bad, "")
        } else {
            (" ", Paint::Bold, "")
        };
        let text = |s: String| page.style.text(&s);
        let cells = format!(
            "{}{}{}{}",
            right(&text(c.cost.map_or("–".to_owned(), |x| bare(x, &search.unit))), 10),
            right(&format!("{} of {}", c.broken, c.runs), 12),
            right(&text(c.excess.map_or("–".to_owned(), |x| if x == 0.0 { "–".into() } else { percent(x) })), 10),
            right(&text(c.churn.map_or("–".to_owned(), super::style::sig3)), 8)
        );
        let mark = page.style.paint(&page.style.text(mark), paint);
        let role = if outcome >= 12 { format!("  {role}") } else { String::new() };
        let line = match columns.row(&c.values) {
            Some(values) => format!("  {mark} {}{cells}{role}", page.style.text(&values)),
            None => {
                page.paragraph(4, 6, &columns.words(&c.values))?;
                format!("  {mark} {cells}{role}")
            }
        };
        page.line(&line)?;
    }
    page.paragraph(
        4,
        4,
        "broken in: runs with an objective missed; beyond: how far the worst objective was beyond its limit (× 20: at twenty times the limit), mean of the runs; churn: tasks started. All candidates stand in candidates.csv",
    )
}

/// How far beyond its limit: `12 %`, from ten times on as a multiple of the limit, `× 48`.
fn percent(share: f64) -> String {
    if share >= 9.0 {
        return format!("× {}", super::style::sig3(1.0 + share));
    }
    format!("{} %", fixed(100.0 * share, if share < 0.1 { 1 } else { 0 }, false))
}

/// A configuration in words: `task.cpu=512, a.target_value=70`.
fn words(search: &SearchResult, c: &CandidateResult) -> String {
    let parts: Vec<String> = search.short.iter().zip(&c.values).map(|(n, v)| format!("{n}={}", plain(v))).collect();
    parts.join(", ")
}

/// The answer in words: what was found, and the runner-up against it.
fn sentences(search: &SearchResult) -> Vec<String> {
    let fresh = search.fresh.first();
    let kept = |s: &Study| format!("{} of {} fresh runs", s.kept_all.unwrap_or(0), s.replications.len());
    let Some(best) = candidate(search, 0) else {
        return vec!["No configuration could be tried: there is no answer.".to_owned()];
    };
    let price = fresh.and_then(cost_per_hour).and_then(|f| Some(stated(f.point?, f.interval, "$/h")));
    let price = price.map_or(String::new(), |p| format!(" costs {p} and"));
    if search.winner.is_none() {
        let share = fresh.map_or(format!("{} of {} runs", best.runs - best.broken, best.runs), kept);
        let beyond = best
            .excess
            .filter(|e| *e > 0.0)
            .map_or(String::new(), |e| format!("; its worst objective was {} beyond its limit on average", percent(e)));
        return vec![format!(
            "No configuration of {} is shown to keep the objectives. Nearest comes {}, which{price} kept them in {share}{beyond}.",
            search.size,
            words(search, best)
        )];
    }
    let bound = search.shown_share.first().copied().flatten();
    let confirmed = match bound {
        Some(b) if b >= search.hold => {
            format!("shown to hold in at least {:.0} % of runs", 100.0 * b)
        }
        Some(b) => format!(
            "which shows only that they hold in at least {:.0} % of runs: the fresh runs do not confirm the choice",
            100.0 * b
        ),
        None => "not confirmed by fresh runs".to_owned(),
    };
    let kept = fresh.map_or(String::new(), |s| format!(" kept every objective in {}", kept(s)));
    let mut all = vec![format!("{}{price}{kept}: {confirmed}.", words(search, best))];
    if !search.sentence.is_empty() {
        all.push(format!("Against it, {}", search.sentence));
    }
    all
}

/// Writes a search as Markdown, in about a dozen lines.
///
/// # Errors
/// The writer's.
pub fn write_search_markdown(out: &mut dyn Write, search: &SearchResult) -> io::Result<()> {
    writeln!(out, "### {}\n", cell(&title(search)))?;
    for sentence in sentences(search) {
        writeln!(out, "- **{}**", cell(&sentence))?;
    }
    if !search.patch.is_empty() {
        writeln!(out, "\n```toml\n{}```", search.patch)?;
    }
    if let Some(first) = search.fresh.first() {
        let service = main_service(first).unwrap_or_default();
        writeln!(
            out,
            "\n| | configuration | cost $/h | p99 ms | all objectives in |\n| --- | --- | ---: | ---: | --- |"
        )?;
        for (i, s) in search.fresh.iter().enumerate() {
            let shown = |f: Option<&crate::experiment::FigureStudy>, unit: &str| {
                f.and_then(|f| Some((f.point?, f.interval))).map_or("–".to_owned(), |(x, i)| match i {
                    Some((low, high)) if high > low => with_interval(x, i, 40, false),
                    _ => bare(x, unit),
                })
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} of {} runs |",
                role(s),
                cell(&candidate(search, i).map_or(String::new(), |c| words(search, c))),
                shown(cost_per_hour(s), "$/h"),
                shown(figure_of(s, service, "latency_p99_ms"), "ms"),
                s.kept_all.unwrap_or(0),
                s.replications.len()
            )?;
        }
    }
    let each = search.fresh.first().map_or(String::new(), |s| format!("; each {}", extent(s)));
    writeln!(out, "\n{}; {}{each}; {}", cell(&goal(search)), cell(&effort(search)), cell(&search.notes.join("; ")))
}

/// Draws the candidates of a search into the folder `charts` of a result folder, as SVG and as PNG, and returns the
/// name: `pareto`.
///
/// # Errors
/// [`OutputError`] with the file that could not be written.
pub fn write_search_charts(folder: &Path, search: &SearchResult) -> Result<Vec<String>, OutputError> {
    let mut gallery = Gallery::within(folder)?;
    if let Some(plot) = pareto(search) {
        gallery.draw("pareto", &plot)?;
    }
    gallery.hang()
}

/// Cost against violations, the size of a mark its churn.
fn pareto(search: &SearchResult) -> Option<Plot> {
    let tried: Vec<&CandidateResult> =
        search.candidates.iter().filter(|c| c.cost.is_some() && c.excess.is_some()).collect();
    let most_churn = tried.iter().filter_map(|c| c.churn).fold(0.0, f64::max);
    let least_churn = tried.iter().filter_map(|c| c.churn).fold(f64::INFINITY, f64::min);
    let most = tried.iter().filter_map(|c| c.excess).reduce(f64::max)?;
    let spot = |c: &CandidateResult, name: &str| {
        let share = if most_churn > 0.0 { c.churn.unwrap_or(0.0) / most_churn } else { 0.0 };
        Spot {
            x: c.cost.unwrap_or(f64::NAN),
            y: 1.0 + c.excess.unwrap_or(0.0),
            x_interval: None,
            y_interval: None,
            size: 3.0 + 6.0 * share.sqrt(),
            filled: !c.outcome.starts_with("costs more"),
            name: name.to_owned(),
        }
    };
    let finalist = |c: &CandidateResult| [search.winner, search.runner_up, search.nearest].contains(&Some(c.index));
    let of = |name: &str, color, marker, pick: &dyn Fn(&CandidateResult) -> bool| Spots {
        name: name.to_owned(),
        note: String::new(),
        color,
        marker,
        dash: None,
        spots: tried.iter().filter(|c| !finalist(c) && pick(c)).map(|c| spot(c, "")).collect(),
    };
    let broke = |c: &CandidateResult| c.outcome.starts_with("broke") || c.outcome.starts_with("cannot");
    // Along the lower left edge nothing is better in both.
    let mut edge: Vec<Spot> = tried.iter().map(|c| Spot { size: 0.1, ..spot(c, "") }).collect();
    edge.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let mut least = f64::INFINITY;
    edge.retain(|s| {
        let better = s.y < least;
        least = least.min(s.y);
        better
    });
    let mut series = vec![
        Spots {
            name: "best in both".to_owned(),
            note: String::new(),
            color: GREY,
            marker: Marker::Circle,
            dash: Some(Dash::Dotted),
            spots: edge,
        },
        of("broke objectives", VERMILION, Marker::Triangle, &broke),
        of("kept them, dearer", BLUE, Marker::Circle, &|c| !broke(c)),
    ];
    for (index, name, color, marker) in [
        (search.runner_up, "runner-up", GREEN, Marker::Diamond),
        (search.nearest.filter(|_| search.winner.is_none()), "nearest", BLACK, Marker::Star),
        (search.winner, "winner", BLACK, Marker::Star),
    ] {
        if let Some(c) = index.and_then(|i| tried.iter().find(|c| c.index == i)) {
            series.push(Spots {
                name: name.to_owned(),
                note: String::new(),
                color,
                marker,
                dash: None,
                spots: vec![Spot { filled: true, size: 6.5, ..spot(c, name) }],
            });
        }
    }
    series.retain(|s| !s.spots.is_empty());
    let what = measure(&search.minimise).map_or(search.minimise.clone(), |(_, m)| m.label.to_owned());
    let dollars = search.unit.starts_with('$');
    let log = most > 5.0;
    let named = |name: &str, index: Option<usize>| {
        let c = index.and_then(|i| search.candidates.iter().find(|c| c.index == i));
        c.map_or(String::new(), |c| format!("; {name}: {}", words(search, c)))
    };
    let subtitle = format!(
        "{} that were tried; the larger a mark, the more tasks were started ({} to {}); hollow: set aside because it costs \
         more than the winner{}{}{}",
        counted(tried.len() as u64, "configuration"),
        bare(least_churn, ""),
        bare(most_churn, ""),
        named("winner", search.winner),
        named("runner-up", search.runner_up),
        named("nearest", search.nearest.filter(|_| search.winner.is_none()))
    );
    let points = Points {
        title: "Where the worst objective was".to_owned(),
        unit: format!(
            "times its limit, mean of the runs{}; 1: every objective held",
            if log { ", logarithmic" } else { "" }
        ),
        below: if dollars { format!("{what}, dollars") } else { format!("{what}, {}", search.unit) },
        prefix: (if dollars { "$" } else { "" }, ""),
        places: Places::Numbers(Extent::Close),
        extent: if log { Extent::Log } else { Extent::Close },
        height: 380.0,
        series,
        across: Vec::new(),
        levels: Vec::new(),
    };
    Some(Plot {
        title: clipped(&format!("{}: cost against broken objectives", search.scenario), 84),
        subtitle,
        parts: vec![Part::Points(points)],
        footer: format!("{}  ·  simctl {}", search.notes.join("  ·  "), env!("CARGO_PKG_VERSION")),
    })
}

#[cfg(test)]
mod tests;
