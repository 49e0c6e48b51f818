//! Variants beside each other, as text and as Markdown: objectives, differences with intervals, and the verdict
//! in words at the end.

use std::io::{self, Write};

use indexmap::IndexMap;

use super::figures::{
    bare, cell, extent, figure_of, fixed, full, kept, measure, objective_name, of_runs, row_name, services,
    short_row_name, signed, target, with_interval,
};
use super::page::{Page, left, right};
use super::style::{Paint, Style, clipped, counted, key_words};
use crate::experiment::study::INTERVAL_FROM;
use crate::experiment::{Against, CLUSTER, Comparison, FigureDifference, ObjectiveStudy, Study};

/// Writes a comparison for people: at most 100 columns, at least 72; the verdict of each variant in words stands last.
///
/// An objective counts as kept when it held in at least the share `hold` (0 to 1) of the runs.
///
/// # Errors
/// The writer's.
pub fn write_comparison(out: &mut dyn Write, c: &Comparison, hold: f64, style: Style) -> io::Result<()> {
    let mut page = Page { out, style };
    let page = &mut page;
    let names: Vec<&str> = c.against.iter().map(|a| a.label.as_str()).collect();
    let head = format!("{}{} against {}", scenario(c), names.join(", "), c.reference);
    page.loud_paragraph(0, 2, &head)?;
    page.paragraph(0, 0, &how(c))?;
    objectives(page, c, hold)?;
    for against in &c.against {
        differences(page, c, against)?;
    }
    foot(page, c)?;
    page.heading("Verdict", "")?;
    for against in &c.against {
        page.loud_paragraph(2, 4, &against.sentence)?;
    }
    Ok(())
}

/// The study of a label.
fn study<'a>(c: &'a Comparison, label: &str) -> Option<&'a Study> {
    c.studies.iter().find(|s| s.label == label)
}

/// The name of the scenario, if it is one, before the variants.
fn scenario(c: &Comparison) -> String {
    match c.studies.split_first() {
        Some((first, rest)) if !first.scenario.is_empty() && rest.iter().all(|s| s.scenario == first.scenario) => {
            format!("{}: ", first.scenario)
        }
        _ => String::new(),
    }
}

/// How the runs were made and put together.
fn how(c: &Comparison) -> String {
    let Some(reference) = study(c, &c.reference) else { return String::new() };
    let pairs: Vec<usize> = c.against.iter().map(|a| a.replications).collect();
    let (least, most) = (pairs.iter().min().copied().unwrap_or(0), pairs.iter().max().copied().unwrap_or(0));
    let number = if least == most { counted(most as u64, "pair") } else { format!("{least} to {most} pairs") };
    let each = extent(reference).replacen(" simulated", " simulated each", 1);
    if c.paired {
        format!("common random numbers, {number}: the same replication meets the same draws in every variant; {each}")
    } else {
        let runs: Vec<String> = c.studies.iter().map(|s| s.replications.len().to_string()).collect();
        format!("independent runs, not paired: {} of {each}", runs.join(" + "))
    }
}

/// Columns of one variant in the table of objectives, its gap included.
fn cell_width(labels: &[&str]) -> usize {
    labels.iter().map(|l| l.chars().count()).max().unwrap_or(0).clamp(12, 20) + 2
}

fn objectives(page: &mut Page<'_>, c: &Comparison, hold: f64) -> io::Result<()> {
    let Some(reference) = study(c, &c.reference).filter(|s| !s.objectives.is_empty()) else {
        page.blank()?;
        return page.paragraph(0, 0, "No objectives: the scenario says nothing of what must hold.");
    };
    let labels: Vec<&str> = c.studies.iter().map(|s| s.label.as_str()).collect();
    let (name, goal, width) = (if page.style.width >= 90 { 26 } else { 23 }, 12, cell_width(&labels));
    let fit = ((page.style.width - 2 - name - goal) / width).max(1);
    for part in c.studies.chunks(fit) {
        let heads: String = part.iter().map(|s| left(&clipped(&s.label, width - 2), width)).collect();
        page.heading(&left("Objectives, held in", name + 2), &format!("{}{heads}", left("target", goal)))?;
        for o in &reference.objectives {
            let mut line = format!("  {}", left(&page.style.text(&clipped(&objective_name(o), name - 1)), name));
            line += &left(&page.style.text(&target(o)), goal);
            for s in part {
                line += &match s.objectives.iter().find(|x| x.subject == o.subject && x.key == o.key) {
                    Some(x) => held(page.style, x, hold, width),
                    None => left("", width),
                };
            }
            page.line(&line)?;
        }
        if reference.objectives.len() > 1 && part.iter().any(|s| s.kept_all.is_some()) {
            let mut line = format!("  {}{}", left("all of them at once", name), left("", goal));
            for s in part {
                let text = s.kept_all.map_or(String::new(), |n| format!("  {n} of {}", s.replications.len()));
                line += &left(&text, width);
            }
            page.line(&line)?;
        }
    }
    let mark = if page.style.ascii { "+" } else { "✓" };
    page.paragraph(2, 4, &format!("{mark} = held in at least {} of the runs", full(100.0 * hold, "%")))
}

/// `✓ 29 of 30` in so many columns.
fn held(style: Style, o: &ObjectiveStudy, hold: f64, width: usize) -> String {
    let (mark, good) = kept(o, hold);
    let text = style.text(&format!("{mark} {}", of_runs(o)));
    let gap = " ".repeat(width.saturating_sub(text.chars().count()));
    let paint = if good { Paint::Good } else { Paint::Bad };
    format!("{}{gap}", style.paint(&text, paint))
}

/// Widths of the table of differences.
struct Columns {
    label: usize,
    value: usize,
    difference: usize,
    percent: usize,
    verdict: usize,
    correlation: usize,
}

impl Columns {
    fn of(style: Style) -> Self {
        if style.width >= 100 {
            Self { label: 19, value: 9, difference: 27, percent: 7, verdict: 21, correlation: 6 }
        } else if style.width >= 90 {
            Self { label: 19, value: 9, difference: 27, percent: 7, verdict: 11, correlation: 6 }
        } else {
            Self { label: 15, value: 8, difference: 24, percent: 0, verdict: 10, correlation: 5 }
        }
    }
}

/// What a row of the table is.
enum Kind {
    /// With a difference and its interval, to be read.
    Told,
    /// Without a verdict, for a reason.
    Refused,
    /// The same in every run.
    Same,
    /// Neither good nor bad, and no difference shown.
    Idle,
}

fn kind(d: &FigureDifference) -> Kind {
    if d.difference.is_none() {
        return Kind::Refused;
    }
    if d.difference == Some(0.0) && d.interval.is_none_or(|(low, high)| low == high) {
        return Kind::Same;
    }
    let sense = measure(&d.address).is_some_and(|(_, m)| m.better.is_some());
    if sense || d.shown || d.within_margin.is_some() { Kind::Told } else { Kind::Idle }
}

fn differences(page: &mut Page<'_>, c: &Comparison, against: &Against) -> io::Result<()> {
    let columns = Columns::of(page.style);
    let level = 100.0 * c.level;
    let title = format!("{} against {}", against.label, c.reference);
    page.blank()?;
    page.loud_paragraph(0, 2, &title)?;
    let narrow = columns.percent == 0;
    let mut heads = format!(
        "  {}{}{}{}",
        left("", columns.label),
        right(if narrow { "ref." } else { "reference" }, columns.value),
        right("variant", columns.value),
        right(&format!("difference [{} % CI]", full(level, "")), columns.difference)
    );
    if !narrow {
        heads += &right("%", columns.percent);
    }
    heads += &format!("{:<width$}", if narrow { " verdict" } else { "  verdict" }, width = columns.verdict);
    if c.paired {
        heads += &right(if narrow { "corr" } else { "corr." }, columns.correlation);
    }
    page.line(&heads)?;

    let several = study(c, &against.label).map_or(0, |s| services(s).len()) > 1;
    let few = against.replications < INTERVAL_FROM;
    let mut subject = "";
    let (mut same, mut idle) = (Vec::new(), Vec::new());
    let mut refused: IndexMap<&str, Vec<String>> = IndexMap::new();
    for d in &against.differences {
        let Some((of, _)) = measure(&d.address) else { continue };
        let name = if several && of != CLUSTER { format!("{of} {}", d.label) } else { d.label.clone() };
        match kind(d) {
            Kind::Same => {
                same.push(name);
                continue;
            }
            Kind::Idle => {
                idle.push(name);
                continue;
            }
            Kind::Refused if !few => {
                refused.entry(&d.verdict).or_default().push(name);
                continue;
            }
            Kind::Refused | Kind::Told => {}
        }
        if several && of != subject && of != CLUSTER {
            page.line(&page.style.text(&format!("  {of}")))?;
        }
        subject = of;
        row(page, c, against, d, &columns)?;
    }
    if few {
        let text = format!("{}: no intervals and no verdicts under five.", counted(against.replications as u64, "run"));
        page.paragraph(2, 4, &text)?;
    }
    for (why, names) in refused {
        page.paragraph(2, 4, &format!("nothing can be said of {}: {why}", joined(&names)))?;
    }
    if !same.is_empty() {
        page.paragraph(2, 4, &format!("the same in every run: {}", joined(&same)))?;
    }
    if !idle.is_empty() {
        page.paragraph(2, 4, &format!("no difference shown, neither good nor bad: {}", joined(&idle)))?;
    }
    savings(page, c, against)
}

fn joined(names: &[String]) -> String {
    names.join(", ").replace(", mean", " (mean)").replace(", most", " (most)")
}

fn row(
    page: &mut Page<'_>,
    c: &Comparison,
    against: &Against,
    d: &FigureDifference,
    columns: &Columns,
) -> io::Result<()> {
    let narrow = columns.percent == 0;
    let point = |label: &str| study(c, label).and_then(|s| s.figure(&d.address)).and_then(|f| f.point);
    let shown = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| bare(x, &d.unit));
    let name = if narrow { short_row_name(&d.label, &d.unit) } else { row_name(&d.label, &d.unit) };
    let (reference, value) = (d.reference.or_else(|| point(&c.reference)), d.value.or_else(|| point(&against.label)));
    let difference = match (d.difference, reference, value) {
        (Some(x), _, _) => with_interval(x, d.interval, columns.difference - 1, true),
        (None, Some(a), Some(b)) => signed(b - a, true),
        _ => String::new(),
    };
    let (mark, paint) = match (d.shown, d.verdict.as_str()) {
        (false, _) => (" ", None),
        (true, "better") => ("●", Some(Paint::Good)),
        (true, "worse") => ("●", Some(Paint::Bad)),
        (true, _) => ("●", Some(Paint::Bold)),
    };
    let words = match d.verdict.as_str() {
        _ if d.difference.is_none() => "",
        "no difference shown" if columns.verdict < 21 => "not shown",
        "same within the margin" if columns.verdict < 24 => {
            if narrow {
                "same"
            } else {
                "same in margin"
            }
        }
        words => words,
    };
    let text = |s: &str| page.style.text(s);
    let mark = paint.map_or_else(|| mark.to_owned(), |p| page.style.paint(&text(mark), p));
    let verdict = paint.map_or_else(|| words.to_owned(), |p| page.style.paint(words, p));
    let before = if narrow { 1 } else { 2 };
    let gap = " ".repeat(columns.verdict.saturating_sub(before + words.chars().count()));
    let mut line = format!(
        "{mark} {}{}{}{}",
        left(&text(&name), columns.label),
        right(&text(&shown(reference)), columns.value),
        right(&text(&shown(value)), columns.value),
        right(&text(&difference), columns.difference)
    );
    if !narrow {
        let percent = d.relative_pct.map_or(String::new(), percent_of);
        line += &right(&text(&percent), columns.percent);
    }
    line += &format!("{}{verdict}{gap}", " ".repeat(before));
    if let Some(r) = d.correlation.filter(|_| c.paired) {
        let r = fixed(r, if narrow && r < 0.0 { 1 } else { 2 }, false);
        line += &right(&text(&r), columns.correlation);
    }
    page.line(&line)
}

/// A relative difference in few columns.
fn percent_of(p: f64) -> String {
    if p.abs() >= 99_999.5 {
        return (if p > 0.0 { "+huge" } else { "−huge" }).to_owned();
    }
    let decimals = if p.abs() < 0.995 {
        2
    } else if p.abs() < 9.95 {
        1
    } else {
        0
    };
    fixed(p, decimals, true)
}

/// What the common draws save: how many times more runs it would take without pairs.
fn savings(page: &mut Page<'_>, c: &Comparison, against: &Against) -> io::Result<()> {
    if !c.paired {
        return Ok(());
    }
    let (mut fewer, mut more) = (Vec::new(), Vec::new());
    for name in ["cost_per_hour_usd", "latency_mean_ms", "latency_p99_ms"] {
        // Of several services, the first.
        let found = against.differences.iter().find(|d| d.address.ends_with(name) && d.variance_ratio.is_some());
        if let Some((d, ratio)) = found.and_then(|d| Some((d, d.variance_ratio?))) {
            let label = d.label.trim_end_matches(" an hour");
            let r = d.correlation.map_or(String::new(), |r| format!(" (correlation {})", fixed(r, 2, false)));
            if ratio <= 1e-12 {
                fewer.push(format!("{label}: the same difference in every pair"));
            } else if ratio < 1.0 {
                fewer.push(format!("{label} {} times fewer{r}", times(1.0 / ratio)));
            } else {
                more.push(format!("{label} {} times more{r}", times(ratio)));
            }
        }
    }
    fewer.append(&mut more);
    if fewer.is_empty() {
        return Ok(());
    }
    page.paragraph(2, 4, &format!("runs that pairs take against unpaired ones: {}", fewer.join(", ")))
}

fn times(x: f64) -> String {
    if x < 9.95 { format!("{x:.1}") } else { super::style::sig3(x.round()) }
}

fn foot(page: &mut Page<'_>, c: &Comparison) -> io::Result<()> {
    page.blank()?;
    if c.tests > 0 {
        let mark = if page.style.ascii { "*" } else { "●" };
        page.paragraph(
            0,
            2,
            &format!(
                "{mark} a difference is shown after Holm's correction over {} tested together (all figures, also those \
                 left out of the tables): {} % chance at most of any false one. The interval of a row is not \
                 corrected: it may leave zero out without a mark.",
                counted(c.tests as u64, "difference"),
                full(100.0 * (1.0 - c.level), "")
            ),
        )?;
    }
    let mut methods: IndexMap<&str, usize> = IndexMap::new();
    for d in c.against.iter().flat_map(|a| &a.differences).filter(|d| d.interval.is_some()) {
        if d.method != "constant" {
            *methods.entry(d.method.as_str()).or_default() += 1;
        }
    }
    if !methods.is_empty() {
        let list: Vec<String> = methods.iter().map(|(m, n)| format!("{m} ({n})")).collect();
        page.paragraph(
            0,
            2,
            &format!(
                "Intervals over {}: {}. A latency percentile is that of the requests of all runs together.",
                if c.paired { "pairs" } else { "replications" },
                list.join(", ")
            ),
        )?;
    }
    if !c.notes.is_empty() {
        page.paragraph(0, 2, &format!("Note: {}", c.notes.join("; ")))?;
    }
    Ok(())
}

/// Most services that have columns of their own in Markdown.
const MARKDOWN_SERVICES: usize = 2;

/// Writes a comparison as the comment of a pull request: the verdicts, one table, how it was computed.
///
/// # Errors
/// The writer's.
pub fn write_comparison_markdown(out: &mut dyn Write, c: &Comparison, hold: f64) -> io::Result<()> {
    let names: Vec<String> = c.against.iter().map(|a| cell(&a.label)).collect();
    writeln!(out, "### {}{} against {}\n", cell(&scenario(c)), names.join(", "), cell(&c.reference))?;
    for against in &c.against {
        writeln!(out, "- **{}**", cell(&against.sentence))?;
    }
    let Some(reference) = study(c, &c.reference) else { return Ok(()) };
    let all = services(reference);
    // Services with objectives first: they are what somebody cares for.
    let mut chosen: Vec<&str> =
        all.iter().copied().filter(|s| reference.objectives.iter().any(|o| o.subject == *s)).collect();
    chosen.extend(all.iter().copied().filter(|s| !reference.objectives.iter().any(|o| o.subject == *s)));
    chosen.truncate(MARKDOWN_SERVICES);
    let mut columns: Vec<(String, String)> = vec![(CLUSTER.to_owned() + ".cost_per_hour_usd", "cost $/h".to_owned())];
    for service in &chosen {
        let whose = if all.len() > 1 { format!("{} ", cell(service)) } else { String::new() };
        for (name, label) in [("latency_p99_ms", "p99 ms"), ("availability_pct", "availability %")] {
            if figure_of(reference, service, name).is_some_and(|f| f.point.is_some()) {
                columns.push((format!("{service}.{name}"), format!("{whose}{label}")));
            }
        }
    }
    let heads: Vec<&str> = columns.iter().map(|c| c.1.as_str()).collect();
    let objectives = !reference.objectives.is_empty();
    let (head, rule) = if objectives { (" objectives kept |", " --- |") } else { ("", "") };
    writeln!(out, "\n| variant | {} |{head}", heads.join(" | "))?;
    writeln!(out, "| --- |{}{rule}", " ---: |".repeat(columns.len()))?;
    for s in &c.studies {
        let against = c.against.iter().find(|a| a.label == s.label);
        let mut line = if against.is_none() {
            format!("| {} (reference) |", cell(&s.label))
        } else {
            format!("| {} |", cell(&s.label))
        };
        for (address, _) in &columns {
            line += &format!(" {} |", value_cell(s, against, address));
        }
        if objectives {
            line += &format!(" {} |", objectives_cell(s, hold));
        }
        writeln!(out, "{line}")?;
    }
    writeln!(
        out,
        "\n{}; [{} % intervals over replications], {} tested together after Holm, **bold** = difference shown{}",
        how(c),
        full(100.0 * c.level, ""),
        counted(c.tests as u64, "difference"),
        c.notes.iter().map(|n| format!("; {}", cell(n))).collect::<String>()
    )
}

/// The value of a figure, and its difference to the reference.
fn value_cell(s: &Study, against: Option<&Against>, address: &str) -> String {
    let Some((x, unit)) =
        s.figure(address).and_then(|f| Some((f.point?, measure(address).map_or("", |(_, m)| m.unit))))
    else {
        return "–".to_owned();
    };
    let value = bare(x, unit);
    match against.and_then(|a| a.differences.iter().find(|d| d.address == address)) {
        Some(d) if d.difference == Some(0.0) => format!("{value} (same)"),
        Some(FigureDifference { difference: Some(by), interval, verdict, shown: true, .. }) => {
            format!("{value} (**{}**, {verdict})", with_interval(*by, *interval, 40, true))
        }
        Some(FigureDifference { difference: Some(by), interval, .. }) => {
            format!("{value} ({})", with_interval(*by, *interval, 40, true))
        }
        _ => value,
    }
}

/// How many objectives are kept, and which are not.
fn objectives_cell(s: &Study, hold: f64) -> String {
    let missed: Vec<String> = s
        .missed(hold)
        .map(|o| format!("{} {} in {} of {} runs", cell(&o.subject), key_words(&o.key), o.held, o.judged))
        .collect();
    let n = s.objectives.len();
    match s.kept_all {
        _ if !missed.is_empty() => format!("✗ {} of {n} ({})", n - missed.len(), missed.join(", ")),
        Some(all) => format!("✓ {n} of {n} (all at once in {all} of {} runs)", s.replications.len()),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests;
