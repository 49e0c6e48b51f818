//! Figures over replications in words: their names with units, values with their intervals, counts of runs.

use super::style::{count, counted, dollars, duration, key_words, percent, sig3, value};
use crate::experiment::{CLUSTER, FigureStudy, MEASURES, Measure, ObjectiveStudy, Study};
use crate::output::BoundSense;

/// The subject of a figure's address, and what it measures.
pub(super) fn measure(address: &str) -> Option<(&str, &'static Measure)> {
    let (subject, name) = address.rsplit_once('.')?;
    MEASURES.iter().find(|m| m.name == name).map(|m| (subject, m))
}

/// The name of a row, with its unit: `latency p99 ms`, `cost $/h`.
pub(super) fn row_name(label: &str, unit: &str) -> String {
    let label = label.trim_end_matches(" an hour");
    match unit {
        "" | "min" => label.to_owned(),
        _ => format!("{label} {unit}"),
    }
}

/// The same in fewer columns.
pub(super) fn short_row_name(label: &str, unit: &str) -> String {
    row_name(&label.replace("tasks running, ", "running, ").replace("time in incidents", "in incidents"), unit)
}

/// A value without its unit.
pub(super) fn bare(x: f64, unit: &str) -> String {
    match unit {
        "$" | "$/h" => dollars(x).replace('$', ""),
        "%" => percent(x),
        _ => sig3(x),
    }
}

/// A value with its unit.
pub(super) fn full(x: f64, unit: &str) -> String {
    match unit {
        "" => sig3(x),
        _ => value(x, objective_unit(unit)),
    }
}

/// What the unit of a figure is called in objectives.
fn objective_unit(unit: &str) -> &str {
    match unit {
        "$" => "usd",
        "$/h" => "usd/h",
        unit => unit,
    }
}

/// `x` with so many decimals (below zero: rounded to tens, hundreds...), thousands grouped, a true minus; a plus if
/// that is wanted.
pub(super) fn fixed(x: f64, decimals: i32, plus: bool) -> String {
    let step = 10f64.powi(-decimals.min(0));
    let text = format!(
        "{:.*}",
        decimals.max(0) as usize,
        if decimals < 0 { (x.abs() / step).round() * step } else { x.abs() }
    );
    let zero = text.chars().all(|c| c == '0' || c == '.');
    let sign = if zero {
        ""
    } else if x < 0.0 {
        "−"
    } else if plus {
        "+"
    } else {
        ""
    };
    match text.split_once('.') {
        None => format!("{sign}{}", super::style::grouped(&text)),
        Some((whole, fraction)) => format!("{sign}{}.{fraction}", super::style::grouped(whole)),
    }
}

/// Decimals that leave two significant digits of half an interval; of one below ten that begins with 3 or more, one.
pub(super) fn decimals_of(half: f64) -> i32 {
    if half <= 0.0 || !half.is_finite() {
        return 0;
    }
    let exponent = libm::floor(libm::log10(half)) as i32;
    let leading = half / 10f64.powi(exponent);
    let digits = if exponent < 1 && leading >= 3.0 { 0 } else { 1 };
    (digits - exponent).min(9)
}

/// A point and its interval as numbers of equally many decimals: `412 [388, 437]`, with signs if it is a difference.
/// As many decimals as the interval's half deserves, fewer where the columns do not suffice.
pub(super) fn with_interval(x: f64, interval: Option<(f64, f64)>, columns: usize, plus: bool) -> String {
    let Some((low, high)) = interval else { return signed(x, plus) };
    let half = (high - low) / 2.0;
    if half <= 0.0 {
        let text = signed(x, plus);
        return format!("{text} [{text}, {text}]");
    }
    let wanted = decimals_of(half);
    let text = |decimals: i32| {
        let n = |v| fixed(v, decimals, plus);
        format!("{} [{}, {}]", n(x), n(low), n(high))
    };
    let fits = |t: &String| t.chars().count() <= columns;
    // What is too long loses a decimal that it can spare, the zeros before its points, becomes thousands, and at last
    // loses whatever decimals it takes.
    let thousands = || {
        let k = decimals_of(half / 1e3).max(0);
        let n = |v: f64| format!("{}k", fixed(v / 1e3, k, plus));
        format!("{} [{}, {}]", n(x), n(low), n(high))
    };
    let one_less = if wanted > 0 && 10f64.powi(1 - wanted) <= half { text(wanted - 1) } else { text(wanted) };
    let shorter = without_leading_zeros(&one_less);
    let thousands = if half >= 100.0 { thousands() } else { shorter.clone() };
    let tries = [text(wanted), one_less, without_leading_zeros(&text(wanted)), shorter, thousands];
    let fewer = (0..wanted.max(0)).rev().map(text).chain(std::iter::once_with(|| text(wanted)));
    tries.into_iter().chain(fewer).find(fits).unwrap_or_else(|| text(wanted))
}

/// `0.5` as `.5`.
fn without_leading_zeros(text: &str) -> String {
    ["[0.", " 0.", "−0.", "+0."].iter().fold(text.to_owned(), |t, from| t.replace(from, &from.replace('0', "")))
}

/// Three significant digits with a sign.
pub(super) fn signed(x: f64, plus: bool) -> String {
    let sign = if x < 0.0 {
        "−"
    } else if plus && x > 0.0 {
        "+"
    } else {
        ""
    };
    format!("{sign}{}", sig3(x.abs()))
}

/// A figure with its unit and interval: `$2.41 [2.39, 2.44] an hour`, `412 ms [388, 437]`.
pub(super) fn stated(x: f64, interval: Option<(f64, f64)>, unit: &str) -> String {
    let (head, tail) = match unit {
        "$" => ("$", String::new()),
        "$/h" => ("$", " an hour".to_owned()),
        "" => ("", String::new()),
        unit => ("", format!(" {unit}")),
    };
    let number = match interval {
        Some((low, high)) if high > low => {
            let decimals = decimals_of((high - low) / 2.0);
            (fixed(x, decimals, false), format!(" [{}, {}]", fixed(low, decimals, false), fixed(high, decimals, false)))
        }
        _ => (bare(x, unit), String::new()),
    };
    format!("{head}{}{tail}{}", number.0, number.1)
}

/// The least and the largest value of the runs.
pub(super) fn range(values: &[Option<f64>]) -> Option<(f64, f64)> {
    values.iter().flatten().fold(None, |range, v| match range {
        None => Some((*v, *v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

/// What an objective wants: `≤ 400 ms`.
pub(super) fn target(o: &ObjectiveStudy) -> String {
    format!("{} {}", if o.sense == BoundSense::AtMost { "≤" } else { "≥" }, value(o.limit, &o.unit))
}

/// What was measured over all runs for an objective, with its interval: the quantile of the pooled runs where the
/// objective is about a quantile, else the mean of the runs.
pub(super) fn measured(study: &Study, o: &ObjectiveStudy) -> Option<(f64, Option<(f64, f64)>)> {
    match o.figure().and_then(|address| study.figure(&address)) {
        Some(figure) => figure.point.map(|p| (p, figure.interval)),
        None => o.mean.map(|m| (m, o.interval)),
    }
}

/// The name of an objective: `web  latency p99`.
pub(super) fn objective_name(o: &ObjectiveStudy) -> String {
    format!("{}  {}", o.subject, key_words(&o.key))
}

/// A share of runs as the word for it and its mark.
pub(super) fn kept(o: &ObjectiveStudy, hold: f64) -> (&'static str, bool) {
    if o.judged == 0 {
        ("–", true)
    } else if o.is_kept(hold) {
        ("✓", true)
    } else {
        ("✗", false)
    }
}

/// `29 of 30`.
pub(super) fn of_runs(o: &ObjectiveStudy) -> String {
    if o.judged == 0 { "not measured".to_owned() } else { format!("{} of {}", count(o.held), count(o.judged)) }
}

/// Scenario and variant.
pub(super) fn title(study: &Study) -> String {
    match (study.scenario.is_empty(), study.variant.is_empty()) {
        (true, _) => study.label.clone(),
        (false, true) => study.scenario.clone(),
        (false, false) => format!("{}/{}", study.scenario, study.variant),
    }
}

/// `45 min simulated, the first 5 min left out of all figures; seed 42`.
pub(super) fn extent(study: &Study) -> String {
    let warm_up = if study.warm_up_s > 0.0 {
        format!(", the first {} left out of all figures", duration(study.warm_up_s))
    } else {
        String::new()
    };
    format!("{} simulated{warm_up}; seed {}", duration(study.duration_s), study.seed)
}

/// `12 replications of 45 min simulated...`.
pub(super) fn replications(study: &Study) -> String {
    format!("{} of {}", counted(study.replications.len() as u64, "replication"), extent(study))
}

/// The services of a study, in the order of the tables.
pub(super) fn services(study: &Study) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (subject, _) in study.figures.iter().filter_map(|f| f.address.rsplit_once('.')) {
        if subject != CLUSTER && !names.contains(&subject) {
            names.push(subject);
        }
    }
    names
}

/// The service that somebody cares for most: the first with an objective, else the first.
pub(super) fn main_service(study: &Study) -> Option<&str> {
    let all = services(study);
    all.iter().copied().find(|s| study.objectives.iter().any(|o| o.subject == *s)).or(all.first().copied())
}

/// A figure of a subject.
pub(super) fn figure_of<'a>(study: &'a Study, subject: &str, name: &str) -> Option<&'a FigureStudy> {
    study.figures.iter().find(|f| f.address.rsplit_once('.') == Some((subject, name)))
}

/// The cost an hour over the replications.
pub(super) fn cost_per_hour(study: &Study) -> Option<&FigureStudy> {
    figure_of(study, CLUSTER, "cost_per_hour_usd")
}

/// Text that cannot break a Markdown table.
pub(super) fn cell(s: &str) -> String {
    s.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(s: &str) -> String {
        s.replace('\u{202f}', " ")
    }

    #[test]
    fn intervals_have_the_decimals_of_their_half() {
        assert_eq!(plain(&with_interval(-145.31, Some((-158.2, -132.4)), 27, true)), "−145 [−158, −132]");
        assert_eq!(plain(&with_interval(1_312.4, Some((1_250.0, 1_390.0)), 27, false)), "1 312 [1 250, 1 390]");
        assert_eq!(with_interval(2.4142, Some((2.389, 2.439)), 27, false), "2.414 [2.389, 2.439]");
        assert_eq!(
            with_interval(-0.001_234, Some((-0.001_451, -0.001_012)), 27, true),
            "−0.0012 [−0.0015, −0.0010]",
            "narrow"
        );
        assert_eq!(with_interval(2.268, Some((2.213, 2.322)), 27, false), "2.27 [2.21, 2.32]");
        assert_eq!(
            plain(&with_interval(-36_833.0, Some((-40_989.0, -31_058.0)), 27, true)),
            "−36 800 [−41 000, −31 100]"
        );
        assert_eq!(with_interval(-0.001_234, Some((-0.001_451, -0.001_012)), 23, true), "−.0012 [−.0015, −.0010]");
        assert_eq!(with_interval(-36_833.0, Some((-40_989.0, -31_058.0)), 23, true), "−37k [−41k, −31k]");
        assert_eq!(with_interval(0.0, Some((0.0, 0.0)), 27, true), "0 [0, 0]");
        assert_eq!(with_interval(-4e-9, Some((-0.01, 0.01)), 27, true), "0.000 [−0.010, +0.010]");
        assert_eq!(stated(2.4142, Some((2.389, 2.439)), "$/h"), "$2.414 an hour [2.389, 2.439]");
        assert_eq!(stated(412.3, None, "ms"), "412 ms");
    }

    #[test]
    fn rows_say_their_unit_once() {
        assert_eq!(row_name("cost an hour", "$/h"), "cost $/h");
        assert_eq!(row_name("breach minutes", "min"), "breach minutes");
        assert_eq!(short_row_name("tasks running, mean", ""), "running, mean");
        assert_eq!(measure("a.b.latency_p99_ms").map(|m| (m.0, m.1.label)), Some(("a.b", "latency p99")));
    }
}
