//! Pods of a file in the summary: what became of them, and how they fill the nodes.

use std::io;

use super::{largest, sig3};
use crate::output::{Meta, PodsSummary, Trend};
use crate::report::page::{Page, left, right};
use crate::report::style::{count, counted, duration};

pub(super) fn pods_block(page: &mut Page<'_>, meta: &Meta, p: &PodsSummary) -> io::Result<()> {
    let (label, number) = (22, if page.style.width >= 90 { 8 } else { 7 });
    let trend = page.style.width - label - 3 * number - 2;
    let heads = format!("{}{}", right("at end", 2 * number), right("max", number));
    let axis = format!("  0 to {}", duration(meta.duration_s));
    page.heading(&left("Pods of the file", label), &format!("{heads}{axis}"))?;
    let row = |page: &mut Page<'_>, title: &str, end: Option<f64>, values: &Trend| {
        let Some(end) = end else { return Ok(()) };
        let line = page.style.sparkline(&values.values, trend, false);
        let cells = format!("{}{}", right(&sig3(end), 2 * number), right(&largest(values), number));
        page.line(&format!("{}{cells}  {line}", left(&format!("  {title}"), label)))
    };
    row(page, "CPU requested %", p.cpu_requested_pct_at_end, &p.cpu_requested_pct)?;
    row(page, "memory requested %", p.memory_requested_pct_at_end, &p.memory_requested_pct)?;
    row(page, "GPUs requested %", p.gpu_requested_pct_at_end, &p.gpu_requested_pct)?;
    let line = page.style.sparkline(&p.pending.values, trend, true);
    let cells = format!("{}{}", right(&count(p.pending_at_end), 2 * number), right(&count(p.max_pending), number));
    page.line(&format!("{}{}  {line}", left("  pods without a node", label), page.style.text(&cells)))?;
    let mut text = format!("{} submitted, {} placed", counted(p.submitted, "pod"), count(p.placed));
    if let (Some(mean), Some(most)) = (p.mean_wait_s, p.max_wait_s) {
        text += &match most {
            0.0 => " at once".to_owned(),
            most if most < 1.0 => format!(", each within {}", duration(most)),
            most => format!(" after {} on average, {} at most", duration(mean), duration(most)),
        };
    }
    if let Some(at) = p.first_refused_s {
        text += &format!("; the first that finds no node comes at {}", duration(at));
    }
    page.paragraph(2, 4, &text)?;
    let mut parts = Vec::new();
    for (n, what) in [
        (p.succeeded, "ended by themselves"),
        (p.failed, "had to go for good"),
        (p.made_anew, "times one was made anew"),
        (p.running_at_end, "run at the end"),
        (p.refused_at_end, "find no node at the end"),
        (p.not_tried_at_end, "wait for their next try at the end"),
    ] {
        if n > 0 {
            parts.push(format!("{} {what}", count(n)));
        }
    }
    page.paragraph(2, 4, &parts.join(", "))?;
    let mut text = format!(
        "{} at the end, {} without pods",
        counted(u64::from(p.nodes_at_end), "node"),
        count(u64::from(p.empty_nodes_at_end))
    );
    let fragments: Vec<String> = [(p.cpu_unusable_pct_at_end, "CPU"), (p.gpu_unusable_pct_at_end, "GPUs")]
        .into_iter()
        .filter_map(|(share, what)| Some(format!("{} % of the free {what}", sig3(share?))))
        .collect();
    if !fragments.is_empty() {
        text += &format!("; fragments: {} where a pod of the file does not fit", fragments.join(" and "));
    }
    page.paragraph(2, 4, &text)?;
    if !p.by_gpus.is_empty() {
        let parts: Vec<String> = p
            .by_gpus
            .iter()
            .map(|g| {
                let of = if g.gpus == 0 { "no GPU".to_owned() } else { counted(u64::from(g.gpus), "GPU") };
                format!("{} of {} with {of}", count(g.submitted.saturating_sub(g.pending_at_end)), count(g.submitted))
            })
            .collect();
        page.paragraph(2, 4, &format!("a node for {}", parts.join(", ")))?;
    }
    for r in &p.refused {
        page.paragraph(2, 6, &format!("{} of {}: {}", counted(r.pods, "pod"), r.asks, r.why))?;
    }
    let listed: u64 = p.refused.iter().map(|r| r.pods).sum();
    if p.refused_at_end > listed {
        let kinds = p.refused_kinds - p.refused.len() as u64;
        let text = format!("{} of {} more kinds likewise", counted(p.refused_at_end - listed, "pod"), count(kinds));
        page.paragraph(2, 4, &text)?;
    }
    Ok(())
}
