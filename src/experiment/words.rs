//! Verdicts in plain words.

use super::compare::FigureDifference;
use super::study::Study;

/// Three significant digits, never in scientific notation.
#[must_use]
pub fn short(x: f64) -> String {
    let a = x.abs();
    let text = if a == 0.0 {
        "0".to_owned()
    } else {
        let decimals = (2 - libm::floor(libm::log10(a)) as i32).clamp(0, 9) as usize;
        format!("{x:.decimals$}")
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An amount of a unit: `$1.12`, `210 ms`, `0.5 %`.
#[must_use]
pub fn amount(x: f64, unit: &str) -> String {
    match unit {
        "" => short(x),
        _ if unit.starts_with('$') => {
            format!("${}{}", money(x), unit.trim_start_matches('$').replace("/h", " an hour"))
        }
        _ => format!("{} {unit}", short(x)),
    }
}

fn money(x: f64) -> String {
    if (0.01..1_000.0).contains(&x.abs()) { format!("{x:.2}") } else { short(x) }
}

/// `1.12 ± 0.20` of a unit.
fn with_margin(d: &FigureDifference) -> String {
    let size = d.difference.unwrap_or(0.0).abs();
    let half = d.interval.map_or(0.0, |(low, high)| (high - low) / 2.0);
    match d.unit.as_str() {
        // A tenth of a cent is little money, but may be much of a small sum.
        "$/h" if size < 0.1 => format!("${} ± {} an hour", short(size), short(half)),
        "$/h" => format!("${} ± {} an hour", money(size), money(half)),
        "$" => format!("${} ± {}", money(size), money(half)),
        "" => format!("{} ± {}", short(size), short(half)),
        unit => format!("{} ± {} {unit}", short(size), short(half)),
    }
}

fn percent(d: &FigureDifference) -> String {
    match d.relative_pct {
        Some(p) if p.abs() < 0.05 => String::new(),
        Some(p) => format!(" ({}{} %)", if p < 0.0 { "−" } else { "+" }, short(p.abs())),
        None => String::new(),
    }
}

/// What a variant does against the reference: dollars first, then latency and availability, then objectives.
pub(super) fn sentence(study: &Study, reference: &Study, differences: &[FigureDifference]) -> String {
    let name = &study.label;
    let runs = study.replications.len();
    let tested = differences.iter().filter(|d| d.p.is_some()).count();
    if tested == 0 {
        return format!("{name}: {runs} replications are too few for a verdict; five are the least.");
    }
    let shown: Vec<&FigureDifference> = differences.iter().filter(|d| d.shown).collect();
    let many = study.trends.len() > 1;
    let mut parts = Vec::new();
    for d in &shown {
        let up = d.difference.unwrap_or(0.0) > 0.0;
        let (subject, figure) = d.address.split_once('.').unwrap_or(("", &d.address));
        let whose = if many && subject != super::CLUSTER { format!(" of {subject}") } else { String::new() };
        let part = match figure {
            "cost_per_hour_usd" if up => format!("costs {} more{}", with_margin(d), percent(d)),
            "cost_per_hour_usd" => format!("saves {}{}", with_margin(d), percent(d)),
            "latency_p99_ms" => {
                format!("{} p99{whose} by {}{}", if up { "raises" } else { "lowers" }, with_margin(d), percent(d))
            }
            "availability_pct" => format!(
                "{} {} points of availability{whose}",
                if up { "gains" } else { "loses" },
                with_margin(d).trim_end_matches(" %")
            ),
            _ => continue,
        };
        parts.push(part);
    }
    let mut text = if shown.is_empty() {
        format!("{name}: no significant difference to {} in any of {tested} figures", reference.label)
    } else if parts.is_empty() {
        let names: Vec<String> = shown.iter().take(3).map(|d| format!("{} {}", d.label, d.verdict)).collect();
        let more = if shown.len() > 3 { format!(" and {} more", shown.len() - 3) } else { String::new() };
        format!("{name} shows no difference in cost, p99 or availability; it differs in {}{more}", names.join(", "))
    } else {
        format!("{name} {}", joined(&parts))
    };
    let broken: Vec<String> = study
        .objectives
        .iter()
        .filter(|o| o.judged > o.held)
        .map(|o| {
            let before = reference.objectives.iter().find(|r| r.subject == o.subject && r.key == o.key);
            let before = before.map_or(String::new(), |r| format!(" ({}: {})", reference.label, r.judged - r.held));
            format!("breaks {} {} in {} of {} runs{before}", o.subject, o.key, o.judged - o.held, o.judged)
        })
        .collect();
    if !broken.is_empty() {
        text += &format!("; {}", joined(&broken));
    } else if !study.objectives.is_empty() {
        text += &format!("; keeps every objective in all {runs} runs");
    }
    text + "."
}

fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}
