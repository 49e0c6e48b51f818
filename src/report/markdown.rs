//! The summary as Markdown, for a pull request or a document.

use std::io::{self, Write};

use super::closing::closing_sentence;
use super::style::{count, dollars, duration, key_words, percent, quantity, sig3, significant, value, value_beside};
use crate::output::{BoundSense, Summary};

/// Writes the verdicts, the figures and the bill as Markdown tables.
///
/// # Errors
/// The writer's.
pub fn write_markdown(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let meta = &summary.meta;
    writeln!(out, "## {} / {}\n", cell(&meta.name), cell(&meta.variant))?;
    if let Some(sentence) = closing_sentence(summary) {
        writeln!(out, "{}\n", cell(&sentence))?;
    }
    if !summary.objectives.is_empty() {
        writeln!(out, "| objective | target | measured | verdict |\n| --- | ---: | ---: | --- |")?;
        for o in &summary.objectives {
            let sense = if o.sense == BoundSense::AtMost { "≤" } else { "≥" };
            let measured = o.measured.map_or_else(|| "–".to_owned(), |m| value_beside(m, o.limit, &o.unit));
            let verdict = match o.held {
                Some(true) => "✓ held",
                Some(false) => "✗ **missed**",
                None => "not measured",
            };
            let name = cell(&format!("{} {}", o.subject, key_words(&o.key)));
            writeln!(out, "| {name} | {sense} {} | {measured} | {verdict} |", value(o.limit, &o.unit))?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "| service | requests | availability | p50 ms | p95 ms | p99 ms | tasks mean | tasks max | scale-outs | scale-ins |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for (name, s) in &summary.services {
        let latency =
            |pick: fn(&crate::output::Latency) -> f64| s.latency.as_ref().map_or("–".to_owned(), |l| sig3(pick(l)));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(name),
            count(s.requests.started),
            s.availability_pct.map_or_else(|| "–".to_owned(), |a| format!("{} %", percent(a))),
            latency(|l| l.p50_ms),
            latency(|l| l.p95_ms),
            latency(|l| l.p99_ms),
            sig3(s.scaling.mean_running),
            s.scaling.max_running,
            s.scaling.scale_outs,
            s.scaling.scale_ins,
        )?;
    }
    writeln!(out, "\n| item | quantity | unit price | cost | per hour |\n| --- | ---: | ---: | ---: | ---: |")?;
    for item in &summary.cost.items {
        writeln!(
            out,
            "| {} | {} {} | ${} | {} | {} |",
            cell(&item.label),
            quantity(item.quantity),
            item.unit,
            significant(item.unit_price_usd, 6),
            dollars(item.cost_usd),
            dollars(item.per_hour_usd)
        )?;
    }
    writeln!(
        out,
        "| **total** | | | **{}** | **{}** |\n",
        dollars(summary.cost.total_usd),
        dollars(summary.cost.per_hour_usd)
    )?;
    for d in &summary.diagnoses {
        writeln!(out, "- **{}**, {}: {}", d.kind.name(), cell(&d.subject), cell(&d.evidence))?;
    }
    for w in &summary.weak_prices {
        writeln!(out, "- the price of {} of {} is weak: {}", cell(&w.item), w.date, cell(&w.reason))?;
    }
    if !summary.notes.is_empty() {
        writeln!(out, "- {}", cell(&summary.notes.join("; ")))?;
    }
    writeln!(
        out,
        "\n{} simulated, {} warm-up, seed {}, plan `{}`, facts `{}`, simctl {}",
        duration(meta.duration_s),
        duration(meta.warm_up_s),
        meta.seed,
        meta.plan_hash,
        summary.facts_hash,
        meta.simctl_version
    )
}

/// Text that cannot break a table.
fn cell(s: &str) -> String {
    s.replace('|', "\\|").replace(['\n', '\r'], " ")
}
