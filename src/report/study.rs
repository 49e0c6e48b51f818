//! One configuration over its replications, as text and as Markdown.

use std::io::{self, Write};

use super::figures::{
    bare, cell, cost_per_hour, figure_of, full, kept, measure, measured, objective_name, of_runs, range, replications,
    row_name, services, short_row_name, stated, target, title, with_interval,
};
use super::page::{Page, clipped_hash, left, right};
use super::style::{Paint, Style, clipped, counted, key_words, value, value_beside};
use crate::experiment::{CLUSTER, FigureStudy, Study};
use crate::output::{Diagnosis, Trend, Trends};

/// Writes what the replications of one configuration say together: objectives with the share of runs that kept
/// them, figures with their intervals, troubles, one sentence in words. At most 100 columns, at least 72.
///
/// An objective counts as kept when it held in at least the share `hold` (0 to 1) of the runs.
///
/// # Errors
/// The writer's.
pub fn write_study(out: &mut dyn Write, study: &Study, hold: f64, style: Style) -> io::Result<()> {
    let mut page = Page { out, style };
    let head = style.paint(&style.text(&title(study)), Paint::Bold);
    page.line(&head)?;
    page.paragraph(0, 0, &format!("{}, plan {}", replications(study), clipped_hash(&study.plan_hash)))?;
    objectives(&mut page, study, hold)?;
    figures(&mut page, study)?;
    diagnoses(&mut page, study)?;
    notes(&mut page, study)?;
    page.blank()?;
    page.loud_paragraph(0, 0, &sentence(study, hold))
}

fn objectives(page: &mut Page<'_>, study: &Study, hold: f64) -> io::Result<()> {
    if study.objectives.is_empty() {
        page.blank()?;
        return page.paragraph(0, 0, "No objectives: the scenario says nothing of what must hold.");
    }
    let (name_width, target_width, measured_width) = if page.style.width >= 90 { (30, 14, 31) } else { (23, 11, 24) };
    let measured_head = if page.style.width >= 90 { "measured [95 % CI]" } else { "measured [95 %]" };
    page.heading(
        &left("Objectives", name_width + 4),
        &format!("{}{}held in", left("target", target_width), left(measured_head, measured_width)),
    )?;
    for o in &study.objectives {
        let (mark, good) = kept(o, hold);
        let paint = match (o.judged, good) {
            (0, _) => Paint::Warn,
            (_, true) => Paint::Good,
            (_, false) => Paint::Bad,
        };
        let measured = measured(study, o).map_or_else(
            || "–".to_owned(),
            |(x, interval)| match interval {
                Some((low, high)) if high > low => {
                    with_unit(&with_interval(x, interval, measured_width - 4, false), &o.unit)
                }
                _ => value_beside(x, o.limit, &o.unit),
            },
        );
        let name = page.style.text(&clipped(&objective_name(o), name_width - 1));
        let goal = page.style.text(&target(o));
        let measured = page.style.text(&measured);
        let mark = page.style.paint(&page.style.text(mark), paint);
        let held = page.style.paint(&of_runs(o), paint);
        page.line(&format!(
            "  {mark} {}{}{}{held}",
            left(&name, name_width),
            left(&goal, target_width),
            left(&measured, measured_width)
        ))?;
    }
    let mark = if page.style.ascii { "+" } else { "✓" };
    let mut text = format!("{mark} = held in at least {} of the runs", full(100.0 * hold, "%"));
    // So few runs say so much of all runs that could be.
    let mut shares: Vec<(u64, u64, (f64, f64))> =
        study.objectives.iter().filter_map(|o| Some((o.held, o.judged, o.share?))).collect();
    shares.sort_by_key(|s| (s.0, s.1));
    shares.dedup_by_key(|s| (s.0, s.1));
    if study.replications.len() > 1 && !shares.is_empty() {
        let list: Vec<String> = shares
            .iter()
            .map(|(k, n, (low, high))| format!("{k} of {n}: {:.0} to {:.0} %", 100.0 * low, 100.0 * high))
            .collect();
        text += &format!("; share of all possible runs [95 % CI]: {}", list.join(", "));
    }
    page.paragraph(4, 4, &text)?;
    if let Some(all) = study.kept_all.filter(|_| study.objectives.len() > 1) {
        page.paragraph(4, 4, &format!("all objectives at once in {all} of {} runs", study.replications.len()))?;
    }
    Ok(())
}

/// A number with its interval, and the unit where it belongs: before it or after the number.
fn with_unit(number: &str, unit: &str) -> String {
    let (head, rest) = number.split_once(' ').unwrap_or((number, ""));
    match unit {
        "usd" => format!("${number}"),
        "usd/h" => format!("${head}/h {rest}"),
        unit => format!("{head} {unit} {rest}"),
    }
}

/// Widths of the table of figures.
struct Columns {
    label: usize,
    value: usize,
    least: usize,
    trend: usize,
}

fn figures(page: &mut Page<'_>, study: &Study) -> io::Result<()> {
    let wide = page.style.width >= 90;
    let columns = Columns {
        label: if wide { 21 } else { 19 },
        value: if wide { 29 } else { 27 },
        least: 10,
        trend: if wide { page.style.width - 2 - 21 - 29 - 20 - 2 } else { 0 },
    };
    let services = services(study);
    for (i, subject) in services.iter().copied().chain([CLUSTER]).enumerate() {
        let name = if subject == CLUSTER { "Cost and cluster".to_owned() } else { format!("Service {subject}") };
        let trend = match (columns.trend > 0 && subject != CLUSTER, i) {
            (true, 0) => "  median run over time",
            _ => "",
        };
        let tail = format!(
            "{}{}{}{trend}",
            right("all runs [95 % CI]", columns.value),
            right("least run", columns.least),
            right("most", columns.least)
        );
        page.heading(&left(&name, columns.label + 2), &tail)?;
        if let Some(trends) = study.trends.get(subject) {
            load(page, trends, &columns)?;
        }
        for figure in study.figures.iter().filter(|f| f.address.rsplit_once('.').is_some_and(|a| a.0 == subject)) {
            row(page, study, subject, figure, &columns)?;
        }
    }
    Ok(())
}

/// What came in has no figure of its own: its largest value and its course.
fn load(page: &mut Page<'_>, trends: &[Trends], columns: &Columns) -> io::Result<()> {
    let peaks: Vec<Option<f64>> = trends
        .iter()
        .map(|t| t.load_rps.max.or_else(|| t.load_rps.values.iter().flatten().copied().reduce(f64::max)))
        .collect();
    let Some((low, high)) = range(&peaks) else { return Ok(()) };
    let series = median(trends.iter().map(|t| &t.load_rps));
    let line = page.style.sparkline(&series, columns.trend, false);
    let cells = format!(
        "{}{}{}",
        right("", columns.value),
        right(&page.style.text(&bare(low, "")), columns.least),
        right(&page.style.text(&bare(high, "")), columns.least)
    );
    page.line(&format!("  {}{cells}  {line}", left("peak requests/s", columns.label)))
}

fn row(page: &mut Page<'_>, study: &Study, subject: &str, figure: &FigureStudy, columns: &Columns) -> io::Result<()> {
    let Some((_, measure)) = measure(&figure.address) else { return Ok(()) };
    let range = range(&figure.values);
    // A trouble that no run met is not worth a line.
    if range == Some((0.0, 0.0)) && subject != CLUSTER && measure.better.is_some() {
        return Ok(());
    }
    let name = if columns.trend > 0 {
        row_name(measure.label, measure.unit)
    } else {
        short_row_name(measure.label, measure.unit)
    };
    let shown = match figure.point {
        None => "–".to_owned(),
        Some(x) => match figure.interval {
            Some((low, high)) if high > low => with_interval(x, figure.interval, columns.value - 1, false),
            _ => bare(x, measure.unit),
        },
    };
    let ends = range.map_or([String::new(), String::new()], |(low, high)| {
        [bare(low, measure.unit), bare(high, measure.unit)].map(|t| page.style.text(&t))
    });
    let trend = study.trends.get(subject).and_then(|all| course(all, measure.name));
    let line = trend.map_or(String::new(), |t| page.style.sparkline(&t, columns.trend, measure.unit == "ms"));
    page.line(&format!(
        "  {}{}{}{}  {line}",
        left(&name, columns.label),
        right(&page.style.text(&shown), columns.value),
        right(&ends[0], columns.least),
        right(&ends[1], columns.least)
    ))
}

/// The course of a figure in the median run, if it was kept.
fn course(trends: &[Trends], name: &str) -> Option<Vec<Option<f64>>> {
    let pick: fn(&Trends) -> &Trend = match name {
        "latency_p99_ms" => |t| &t.latency_p99_ms,
        "failed" => |t| &t.failed_rps,
        "running_mean" => |t| &t.running,
        "cpu_used_pct" => |t| &t.cpu_used_pct,
        _ => return None,
    };
    Some(median(trends.iter().map(pick)))
}

/// At each instant the median of the runs.
fn median<'a>(trends: impl Iterator<Item = &'a Trend> + Clone) -> Vec<Option<f64>> {
    let length = trends.clone().map(|t| t.values.len()).max().unwrap_or(0);
    (0..length)
        .map(|i| {
            let mut at: Vec<f64> = trends.clone().filter_map(|t| t.values.get(i).copied().flatten()).collect();
            at.sort_by(f64::total_cmp);
            super::spread::quantile(&at, 0.5)
        })
        .collect()
}

fn diagnoses(page: &mut Page<'_>, study: &Study) -> io::Result<()> {
    if study.diagnoses.is_empty() {
        return Ok(());
    }
    page.heading("Diagnoses", "")?;
    for (runs, d) in &study.diagnoses {
        page.marked("!", Paint::Warn, &diagnosis(study, *runs, d))?;
    }
    Ok(())
}

fn diagnosis(study: &Study, runs: u64, d: &Diagnosis) -> String {
    let n = study.replications.len();
    let text = d.evidence.trim_end_matches('.');
    match n {
        1 => format!("{}, {}: {text}", d.kind.name(), d.subject),
        _ => format!("{}, {}, in {runs} of {n} runs; in the first of them: {text}", d.kind.name(), d.subject),
    }
}

fn notes(page: &mut Page<'_>, study: &Study) -> io::Result<()> {
    page.blank()?;
    let n = study.replications.len();
    if n < crate::experiment::study::INTERVAL_FROM {
        let text = format!("{}: no intervals under five.", counted(n as u64, "replication"));
        page.paragraph(0, 2, &text)?;
    } else {
        page.paragraph(
            0,
            2,
            "A latency percentile is that of the requests of all runs together, every other figure the mean of the \
             runs; intervals are over replications (t, percentiles by jackknife).",
        )?;
    }
    let mut refused: Vec<String> = Vec::new();
    for f in study.figures.iter().filter(|f| f.point.is_none() && range(&f.values).is_some()) {
        if let Some((subject, m)) = measure(&f.address) {
            refused.push(format!("{subject} {}: {}", m.label, f.method));
        }
    }
    if !refused.is_empty() {
        page.paragraph(0, 2, &format!("Left out: {}.", refused.join("; ")))?;
    }
    page.paragraph(0, 2, &format!("Note: {}", crate::output::NOTE_UNCALIBRATED))
}

/// What the runs say, in words.
fn sentence(study: &Study, hold: f64) -> String {
    let n = study.replications.len();
    let cost = cost_per_hour(study).and_then(|f| Some(stated(f.point?, f.interval, "$/h")));
    let cost = cost.map_or(String::new(), |c| format!(" for {c}"));
    let judged = study.objectives.iter().filter(|o| o.judged > 0).count();
    let missed: Vec<_> = study.missed(hold).collect();
    if judged == 0 {
        return format!("{} runs{cost}; no objective says what must hold.", title(study));
    }
    if missed.is_empty() {
        let what = match judged {
            1 => "keeps its objective".to_owned(),
            2 => "keeps both objectives".to_owned(),
            j => format!("keeps all {j} objectives"),
        };
        let how = match study.kept_all {
            Some(all) if all as usize == n && n == 1 => "in its only run".to_owned(),
            Some(all) if all as usize == n => format!("in all {n} runs"),
            Some(all) => format!("(all at once in {all} of {n} runs)"),
            None => String::new(),
        };
        return format!("{} {what} {how}{cost}.", title(study));
    }
    let parts: Vec<String> = missed
        .iter()
        .map(|o| {
            let seen = measured(study, o).map_or("nothing".to_owned(), |m| value_beside(m.0, o.limit, &o.unit));
            format!(
                "{} {} in {} of {} runs (measured {seen}, target {})",
                o.subject,
                key_words(&o.key),
                o.judged - o.held,
                o.judged,
                target(o)
            )
        })
        .collect();
    let cause = study
        .diagnoses
        .iter()
        .filter(|(runs, d)| 2 * *runs as usize >= n && missed.iter().any(|o| o.subject == d.subject))
        .max_by(|a, b| a.0.cmp(&b.0).then(std::cmp::Ordering::Greater));
    let cause = cause.map_or(String::new(), |(runs, d)| format!("; {} was met in {runs} of {n} runs", d.kind.name()));
    format!("{} misses {}{cost}{cause}.", title(study), parts.join(" and "))
}

/// Writes what the replications of one configuration say as Markdown, in about a dozen lines.
///
/// # Errors
/// The writer's.
pub fn write_study_markdown(out: &mut dyn Write, study: &Study, hold: f64) -> io::Result<()> {
    writeln!(out, "### {}\n\n{}\n", cell(&title(study)), cell(&sentence(study, hold)))?;
    if !study.objectives.is_empty() {
        writeln!(out, "| objective | target | measured [95 % CI] | held in |\n| --- | ---: | ---: | --- |")?;
        for o in &study.objectives {
            let seen = measured(study, o).map_or("–".to_owned(), |(x, i)| match i {
                Some((low, high)) if high > low => with_unit(&with_interval(x, i, 40, false), &o.unit),
                _ => value(x, &o.unit),
            });
            let mark = kept(o, hold).0;
            writeln!(
                out,
                "| {} {} | {} | {seen} | {mark} {} |",
                cell(&o.subject),
                key_words(&o.key),
                target(o),
                of_runs(o)
            )?;
        }
        writeln!(out)?;
    }
    let mut parts = Vec::new();
    if let Some(f) = cost_per_hour(study)
        && let Some(x) = f.point
    {
        parts.push(format!("cost {}", stated(x, f.interval, "$/h")));
    }
    let services = services(study);
    for service in services.iter().take(3) {
        let whose = if services.len() > 1 { format!("{} ", cell(service)) } else { String::new() };
        for (name, label) in
            [("latency_p99_ms", "p99"), ("availability_pct", "availability"), ("running_mean", "tasks")]
        {
            if let Some(f) = figure_of(study, service, name)
                && let (Some(x), Some((_, m))) = (f.point, measure(&f.address))
            {
                parts.push(format!("{whose}{label} {}", stated(x, f.interval, m.unit)));
            }
        }
    }
    writeln!(out, "{}\n", parts.join("; "))?;
    for (runs, d) in study.diagnoses.iter().take(3) {
        let n = study.replications.len();
        writeln!(out, "- **{}**, {}, in {runs} of {n} runs", d.kind.name(), cell(&d.subject))?;
    }
    if study.replications.len() < crate::experiment::study::INTERVAL_FROM {
        writeln!(out, "- {}: no intervals under five", counted(study.replications.len() as u64, "replication"))?;
    }
    writeln!(
        out,
        "- {}, plan `{}`; {}",
        replications(study),
        clipped_hash(&study.plan_hash),
        crate::output::NOTE_UNCALIBRATED
    )
}

#[cfg(test)]
pub(crate) mod tests;
