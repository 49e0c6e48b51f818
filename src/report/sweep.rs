//! A sweep as text and as Markdown: the best points, what cannot run, and what moves which figure.

use std::io::{self, Write};

use super::figures::{
    bare, cell, cost_per_hour, extent, figure_of, fixed, full, main_service, measure, row_name, stated, with_interval,
};
use super::page::{Page, left, right};
use super::style::{Paint, Style, clipped, counted};
use crate::experiment::sweep::{PointResult, Sensitivity, SweepResult};
use crate::experiment::{FigureStudy, ObjectiveStudy, Study};
use crate::output::BoundSense;

/// Writes a sweep for people: at most 100 columns, at least 72; the answer in words stands last.
///
/// An objective counts as kept when it held in at least the share `hold` (0 to 1) of the runs.
///
/// # Errors
/// The writer's.
pub fn write_sweep(out: &mut dyn Write, sweep: &SweepResult, hold: f64, style: Style) -> io::Result<()> {
    let page = &mut Page { out, style };
    page.loud_paragraph(0, 2, &title(sweep))?;
    page.paragraph(0, 0, &extents(sweep))?;
    points(page, sweep, hold)?;
    cannot_run(page, sweep)?;
    sensitivity(page, sweep)?;
    page.blank()?;
    if !sweep.notes.is_empty() {
        page.paragraph(0, 2, &format!("Note: {}", sweep.notes.join("; ")))?;
        page.blank()?;
    }
    page.loud_paragraph(0, 0, &sentence(sweep, hold))
}

/// `spike: sweep over task.cpu and a.target_value`.
pub(super) fn title(sweep: &SweepResult) -> String {
    let axes: Vec<&str> = sweep.axes.iter().map(|a| a.short.as_str()).collect();
    let axes = match axes[..] {
        [] => "nothing".to_owned(),
        [one] => one.to_owned(),
        [ref head @ .., last] => format!("{} and {last}", head.join(", ")),
    };
    format!("{}: sweep over {axes}", sweep.scenario)
}

/// How many points of what.
pub(super) fn extents(sweep: &SweepResult) -> String {
    let each = ran(sweep).next().map_or(String::new(), |p| format!(" of {}", extent(&p.study)));
    format!(
        "{}, {} × {}{each}",
        sweep.design,
        counted(sweep.points.len() as u64, "point"),
        counted(u64::from(sweep.replications), "replication")
    )
}

/// The points that have runs.
pub(super) fn ran(sweep: &SweepResult) -> impl Iterator<Item = &PointResult> {
    sweep.points.iter().filter(|p| !p.study.replications.is_empty())
}

/// Whether every objective counts as kept.
pub(super) fn keeps(study: &Study, hold: f64) -> bool {
    study.kept_all.is_some() && study.missed(hold).next().is_none()
}

fn cost(study: &Study) -> f64 {
    cost_per_hour(study).and_then(|f| f.point).unwrap_or(f64::INFINITY)
}

/// How far the missed objectives are beyond their limits, as shares of these, together.
fn beyond(study: &Study) -> f64 {
    let of = |o: &ObjectiveStudy| match (o.mean, o.sense) {
        (None, _) => 0.0,
        (Some(x), BoundSense::AtMost) if o.limit > 0.0 => x / o.limit - 1.0,
        // Of an availability it is the share of failures that is exceeded.
        (Some(x), BoundSense::AtLeast) if o.unit == "%" && o.limit < 100.0 => (100.0 - x) / (100.0 - o.limit) - 1.0,
        (Some(x), BoundSense::AtLeast) if o.limit > 0.0 => 1.0 - x / o.limit,
        (Some(x), _) => (x - o.limit).abs(),
    };
    study.objectives.iter().map(|o| of(o).max(0.0)).sum()
}

/// The points from the best to the worst: those that keep every objective by their cost, then the others by the share
/// of runs that did, by how far they are beyond the limits, and by cost.
pub(super) fn ranked(sweep: &SweepResult, hold: f64) -> Vec<&PointResult> {
    let mut all: Vec<(f64, f64, f64, &PointResult)> = ran(sweep)
        .map(|p| {
            let keeps = keeps(&p.study, hold);
            let share = if keeps { 2.0 } else { p.kept_share().unwrap_or(0.0) };
            (share, if keeps { 0.0 } else { beyond(&p.study) }, cost(&p.study), p)
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    all.into_iter().map(|p| p.3).collect()
}

/// Points that are listed.
const LISTED: usize = 12;

/// A value as it is read: without quotes.
pub(super) fn plain(value: &str) -> &str {
    value.trim_matches('"')
}

/// Widths of the columns of axes, or none when they do not fit however short their names are.
fn axis_widths(names: &[&str], rows: &[&[String]], room: usize) -> Option<Vec<usize>> {
    let widths = |most: usize| -> Vec<usize> {
        let of = |(i, name): (usize, &&str)| {
            let values = rows.iter().filter_map(|r| r.get(i)).map(|v| plain(v).chars().count()).max().unwrap_or(0);
            values.max(name.chars().count().min(most)) + 2
        };
        names.iter().enumerate().map(of).collect()
    };
    (8..=24).rev().map(widths).find(|w| w.iter().sum::<usize>() <= room)
}

/// The columns that name configurations: heads, and the words of a row; on a line of their own where there are too
/// many axes for columns.
pub(super) struct AxisColumns {
    names: Vec<String>,
    widths: Option<Vec<usize>>,
}

impl AxisColumns {
    /// For these axes and values in so many columns.
    pub(super) fn new(names: &[&str], rows: &[&[String]], room: usize) -> Self {
        Self { names: names.iter().map(|n| (*n).to_owned()).collect(), widths: axis_widths(names, rows, room) }
    }

    /// Columns taken.
    pub(super) fn width(&self) -> usize {
        self.widths.as_ref().map_or(0, |w| w.iter().sum())
    }

    /// The heads.
    pub(super) fn heads(&self) -> String {
        let Some(widths) = &self.widths else { return String::new() };
        self.names.iter().zip(widths).map(|(n, w)| left(&tail(n, w - 2), *w)).collect()
    }

    /// The row's values; `None` when they need a line before the row.
    pub(super) fn row(&self, values: &[String]) -> Option<String> {
        let widths = self.widths.as_ref()?;
        Some(values.iter().zip(widths).map(|(v, w)| left(&clipped(plain(v), w - 2), *w)).collect())
    }

    /// `task.cpu=512, a.target_value=70`.
    pub(super) fn words(&self, values: &[String]) -> String {
        let parts: Vec<String> = self.names.iter().zip(values).map(|(n, v)| format!("{n}={}", plain(v))).collect();
        parts.join(", ")
    }
}

/// A name in so many columns: of an address its end says most.
fn tail(name: &str, width: usize) -> String {
    let last = if name.chars().count() > width { name.rsplit('.').next().unwrap_or(name) } else { name };
    clipped(last, width)
}

/// The name of a service before a figure, if there are several.
pub(super) fn whose(study: &Study, service: &str) -> String {
    if super::figures::services(study).len() > 1 { format!("{service} ") } else { String::new() }
}

/// A figure in so many columns, with its interval where they suffice.
fn shown(figure: Option<&FigureStudy>, unit: &str, width: usize, interval: bool) -> String {
    match figure.and_then(|f| Some((f.point?, f.interval))) {
        None => "–".to_owned(),
        Some((x, Some((low, high)))) if interval && high > low => with_interval(x, Some((low, high)), width - 1, false),
        Some((x, _)) => bare(x, unit),
    }
}

fn points(page: &mut Page<'_>, sweep: &SweepResult, hold: f64) -> io::Result<()> {
    let all = ranked(sweep, hold);
    let Some(first) = all.first() else {
        page.blank()?;
        return page.paragraph(0, 0, "No point has a finished run.");
    };
    let service = main_service(&first.study).unwrap_or_default().to_owned();
    let wide = page.style.width >= 90;
    let listed: Vec<&PointResult> = all.iter().copied().take(LISTED).collect();
    let intervals = wide && listed.iter().any(|p| cost_per_hour(&p.study).is_some_and(|f| f.interval.is_some()));
    let (figure, availability, share) = (if intervals { 20 } else { 9 }, 11, 11);
    let names: Vec<&str> = sweep.axes.iter().map(|a| a.short.as_str()).collect();
    let rows: Vec<&[String]> = listed.iter().map(|p| p.values.as_slice()).collect();
    let columns = AxisColumns::new(&names, &rows, page.style.width - 4 - 2 * figure - share - availability);
    let head =
        if all.len() > LISTED { format!("The best {LISTED} of {} points", all.len()) } else { "Points".to_owned() };
    let order = match first.study.kept_all {
        None => ", the cheapest first",
        Some(_) if keeps(&first.study, hold) => ", the cheapest that keep every objective first",
        Some(_) => ", those nearest to the objectives first",
    };
    page.heading(&head, order)?;
    let whose = whose(&first.study, &service);
    let mut line = format!(
        "    {}{}{}{}  {}",
        columns.heads(),
        right("cost $/h", figure),
        right(&clipped(&format!("{whose}p99 ms"), figure - 1), figure),
        right("avail. %", availability),
        "all kept"
    );
    page.line(&page.style.text(&line))?;
    for p in &listed {
        let s = &p.study;
        let (mark, paint) = match s.kept_all {
            None => (" ", Paint::Bold),
            Some(_) if keeps(s, hold) => ("✓", Paint::Good),
            Some(_) => ("✗", Paint::Bad),
        };
        let mark = page.style.paint(&page.style.text(mark), paint);
        let kept = s.kept_all.map_or("–".to_owned(), |k| format!("{k} of {}", s.replications.len()));
        let of = |name: &str| figure_of(s, &service, name);
        let cells = [
            right(&page.style.text(&shown(cost_per_hour(s), "$/h", figure, intervals)), figure),
            right(&page.style.text(&shown(of("latency_p99_ms"), "ms", figure, intervals)), figure),
            right(&page.style.text(&shown(of("availability_pct"), "%", availability, false)), availability),
        ];
        line = match columns.row(&p.values) {
            Some(values) => format!("  {mark} {}{}  {kept}", page.style.text(&values), cells.concat()),
            None => {
                page.paragraph(4, 6, &columns.words(&p.values))?;
                format!("  {mark} {}  {kept}", cells.concat())
            }
        };
        page.line(&page.style.text(&line))?;
    }
    let mark = if page.style.ascii { "+" } else { "✓" };
    let mut text = format!("{mark} = every objective held in at least {} of the runs", full(100.0 * hold, "%"));
    if all.len() > LISTED {
        text += &format!("; all {} points stand in points.csv", all.len());
    }
    page.paragraph(4, 4, &text)
}

fn cannot_run(page: &mut Page<'_>, sweep: &SweepResult) -> io::Result<()> {
    let invalid: Vec<&PointResult> = sweep.points.iter().filter(|p| p.invalid.is_some()).collect();
    if let Some(first) = invalid.first() {
        page.blank()?;
        let text = format!(
            "{} cannot run; the first, {}: {}",
            counted(invalid.len() as u64, "point"),
            first.values.iter().map(|v| plain(v)).collect::<Vec<_>>().join(", "),
            first.invalid.as_deref().unwrap_or_default()
        );
        page.marked("!", Paint::Warn, &text)?;
    }
    if let Some((why, command)) = sweep.failures.first() {
        page.blank()?;
        let text = format!(
            "{} failed; the first: {why}. To repeat it: {command}",
            counted(sweep.failures.len() as u64, "run")
        );
        page.marked("✗", Paint::Bad, &text)?;
    }
    Ok(())
}

/// Names of the figures whose sensitivity is told, in this order.
pub(super) const MOVED: [&str; 8] = [
    "cost_per_hour_usd",
    "latency_mean_ms",
    "latency_p99_ms",
    "availability_pct",
    "breach_minutes",
    "running_mean",
    "cpu_used_pct",
    "tasks_started",
];

/// Whether the sensitivities are shares of a grid's variance; else they are rank regression coefficients.
pub(super) fn are_shares(sweep: &SweepResult) -> bool {
    sweep.design == "grid"
}

/// The sensitivities that are told.
pub(super) fn moved(sweep: &SweepResult) -> Vec<&Sensitivity> {
    let name = |s: &Sensitivity| s.address.rsplit_once('.').map_or("", |a| a.1).to_owned();
    sweep.sensitivity.iter().filter(|s| MOVED.contains(&name(s).as_str())).collect()
}

fn sensitivity(page: &mut Page<'_>, sweep: &SweepResult) -> io::Result<()> {
    let told = moved(sweep);
    if told.is_empty() {
        return Ok(());
    }
    let shares = are_shares(sweep);
    let several = ran(sweep).next().is_some_and(|p| super::figures::services(&p.study).len() > 1);
    page.heading(
        "What moves what",
        if shares {
            ": share of each figure's variance over all runs"
        } else {
            ": rank regression, −1 to 1, and the part that it explains"
        },
    )?;
    for s in told {
        let Some((subject, m)) = measure(&s.address) else { continue };
        let name = row_name(m.label, m.unit);
        let name = if several && subject != crate::experiment::CLUSTER { format!("{subject} {name}") } else { name };
        let mut order: Vec<usize> = (0..s.axes.len()).collect();
        order.sort_by(|a, b| s.axes[*b].abs().total_cmp(&s.axes[*a].abs()));
        let mut parts: Vec<String> = order
            .iter()
            .take(4)
            .map(|i| {
                let axis = sweep.axes.get(*i).map_or("", |a| a.short.as_str());
                if shares {
                    format!("{axis}\u{a0}{:.0}\u{a0}%", 100.0 * s.axes[*i])
                } else {
                    format!("{axis}\u{a0}{}", fixed(s.axes[*i], 2, true))
                }
            })
            .collect();
        if shares {
            parts.push(format!("together and by chance {:.0}\u{a0}%", 100.0 * (1.0 - s.explained).max(0.0)));
        } else {
            parts.push(format!("R²\u{a0}{}", fixed(s.explained, 2, false)));
        }
        let label = left(&page.style.text(&name), 22);
        let text = format!("{label}\u{1}{}", parts.join(", "));
        hanging(page, &text)?;
    }
    if shares {
        page.paragraph(2, 2, "(what is left over is what axes do together, and chance)")?;
    }
    Ok(())
}

/// A name in its column and words after it, which hang below each other.
fn hanging(page: &mut Page<'_>, text: &str) -> io::Result<()> {
    let (name, words) = text.split_once('\u{1}').unwrap_or(("", text));
    let mut lines = Vec::new();
    Page { out: &mut lines, style: page.style }.paragraph(24, 24, words)?;
    for (i, line) in String::from_utf8_lossy(&lines).lines().enumerate() {
        let line = if i == 0 { format!("  {name}{}", line.trim_start()) } else { line.to_owned() };
        page.line(&line)?;
    }
    Ok(())
}

/// A point in words: `task.cpu=512, a.target_value=70`.
fn words(sweep: &SweepResult, p: &PointResult) -> String {
    let parts: Vec<String> =
        sweep.axes.iter().zip(&p.values).map(|(a, v)| format!("{}={}", a.short, plain(v))).collect();
    parts.join(", ")
}

/// The answer in words.
fn sentence(sweep: &SweepResult, hold: f64) -> String {
    let all = ranked(sweep, hold);
    let Some(best) = all.first() else { return "No point has a finished run: there is nothing to say.".to_owned() };
    let price = cost_per_hour(&best.study).and_then(|f| Some(stated(f.point?, f.interval, "$/h"))).unwrap_or_default();
    let runs = best.study.replications.len();
    let chosen = "It was chosen among the runs that are shown, which flatters it: run it again with other replications \
                  before you rely on it (simctl search does).";
    match best.study.kept_all {
        None => format!(
            "The cheapest of {} points is {}: {price}. No objective says what must hold.",
            all.len(),
            words(sweep, best)
        ),
        Some(kept) if keeps(&best.study, hold) => {
            let keeping = all.iter().filter(|p| keeps(&p.study, hold)).count();
            format!(
                "{keeping} of {} points {} every objective; the cheapest is {}: {price}, all objectives in {kept} of \
                 {runs} runs. {chosen}",
                all.len(),
                if keeping == 1 { "keeps" } else { "keep" },
                words(sweep, best)
            )
        }
        Some(kept) => format!(
            "None of {} points keeps every objective; nearest comes {}: {price}, all objectives in {kept} of {runs} runs.",
            all.len(),
            words(sweep, best)
        ),
    }
}

/// Writes a sweep as Markdown, in about a dozen lines.
///
/// # Errors
/// The writer's.
pub fn write_sweep_markdown(out: &mut dyn Write, sweep: &SweepResult, hold: f64) -> io::Result<()> {
    writeln!(out, "### {}\n\n{}\n", cell(&title(sweep)), cell(&sentence(sweep, hold)))?;
    let all = ranked(sweep, hold);
    if let Some(first) = all.first() {
        let service = main_service(&first.study).unwrap_or_default().to_owned();
        let names: Vec<String> = sweep.axes.iter().map(|a| cell(&a.short)).collect();
        let whose = whose(&first.study, &service);
        writeln!(
            out,
            "| {} | cost $/h | {}p99 ms | availability % | all objectives in |",
            names.join(" | "),
            cell(&whose)
        )?;
        writeln!(out, "|{} ---: | ---: | ---: | --- |", " --- |".repeat(names.len()))?;
        for p in all.iter().take(8) {
            let s = &p.study;
            let values: Vec<String> = p.values.iter().map(|v| cell(plain(v))).collect();
            let mark = if keeps(s, hold) { "✓ " } else { "" };
            let kept = s.kept_all.map_or("–".to_owned(), |k| format!("{mark}{k} of {} runs", s.replications.len()));
            writeln!(
                out,
                "| {} | {} | {} | {} | {kept} |",
                values.join(" | "),
                shown(cost_per_hour(s), "$/h", 40, true),
                shown(figure_of(s, &service, "latency_p99_ms"), "ms", 40, true),
                shown(figure_of(s, &service, "availability_pct"), "%", 40, false)
            )?;
        }
        if all.len() > 8 {
            writeln!(out, "\nthe best 8 of {} points", all.len())?;
        }
    }
    writeln!(out, "\n{}; {}", cell(&extents(sweep)), cell(&sweep.notes.join("; ")))
}

#[cfg(test)]
mod tests;
