//! Queues and jobs in the summary.

use std::io;

use super::{largest, sig3};
use crate::output::{JobSummary, Meta, QueueSummary, Spread, Summary, Trend};
use crate::report::page::{Page, left, right};
use crate::report::style::{count, counted, duration, percent};

pub(super) fn work(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    for (name, queue) in &summary.queues {
        queue_block(page, &summary.meta, name, queue)?;
    }
    for (name, job) in &summary.jobs {
        job_block(page, name, job)?;
    }
    Ok(())
}

fn queue_block(page: &mut Page<'_>, meta: &Meta, name: &str, q: &QueueSummary) -> io::Result<()> {
    let (label, number) = (18, if page.style.width >= 90 { 8 } else { 7 });
    let trend = page.style.width - label - 5 * number - 2;
    let heads = right("max", 5 * number);
    let axis = format!("  0 to {}", duration(meta.duration_s));
    page.heading(&left(&format!("Queue {name}"), label), &format!("{heads}{axis}"))?;
    let row = |page: &mut Page<'_>, title: &str, most: f64, values: &Trend| {
        let line = page.style.sparkline(&values.values, trend, true);
        let most = values.max.map_or_else(|| sig3(most), |_| largest(values));
        page.line(&format!("{}{}  {line}", left(&format!("  {title}"), label), right(&most, 5 * number)))
    };
    row(page, "messages waiting", q.max_visible as f64, &q.visible)?;
    row(page, "oldest, s", q.max_age_s, &q.age_s)?;
    let came = if q.moved_in > 0 { format!(", {} from another queue", count(q.moved_in)) } else { String::new() };
    let mut text = format!("{} sent{came}: {} done", counted(q.sent, "message"), count(q.deleted));
    for (n, what) in [
        (q.dead_lettered, "moved to the dead-letter queue"),
        (q.expired, "expired"),
        (q.visible_at_end + q.delayed_at_end, "waiting at the end"),
        (q.in_flight_at_end, "in hand at the end"),
    ] {
        if n > 0 {
            text += &format!(", {} {what}", count(n));
        }
    }
    page.paragraph(2, 4, &text)?;
    if q.redelivered > 0 || q.duplicates > 0 {
        let text = format!(
            "{}, {} of them again because the visibility ended first; {} done by two tasks",
            counted(q.received, "delivery").replace("deliverys", "deliveries"),
            count(q.redelivered),
            counted(q.duplicates, "message")
        );
        page.paragraph(2, 4, &text)?;
    }
    Ok(())
}

fn job_block(page: &mut Page<'_>, name: &str, j: &JobSummary) -> io::Result<()> {
    let label = 22;
    let number = if page.style.width >= 90 { 14 } else { 11 };
    let heads: String = ["mean", "p50", "p99", "max"].iter().map(|h| right(h, number)).collect();
    page.heading(&left(&format!("Job {name}"), label), &heads)?;
    let row = |page: &mut Page<'_>, title: &str, s: &Option<Spread>| {
        let Some(s) = s else { return Ok(()) };
        let cells: String = [s.mean_s, s.p50_s, s.p99_s, s.max_s]
            .iter()
            .map(|v| right(&page.style.text(&duration(*v)), number))
            .collect();
        page.line(&format!("{}{cells}", left(&format!("  {title}"), label)))
    };
    row(page, "wait for a task", &j.wait)?;
    row(page, "work", &j.duration)?;
    row(page, "from firing to done", &j.turnaround)?;
    let mut text = format!("{}: {} due, {} done", counted(j.firings, "firing"), count(j.due), count(j.succeeded));
    for (n, what) in [(j.failed, "given up"), (j.unfinished, "not ended at the end")] {
        if n > 0 {
            text += &format!(", {} {what}", count(n));
        }
    }
    if let Some(last) = j.last_done_s {
        text += &format!(", the last at {}", duration(last));
    }
    page.paragraph(2, 4, &text)?;
    let mut text =
        format!("{} ran, {} at most at once", counted(j.tasks_started, "task"), count(u64::from(j.max_running)));
    if j.attempts_failed > 0 {
        text += &format!(
            "; {} ended without their work done, {} of them interrupted by Spot",
            count(j.attempts_failed),
            count(j.interrupted)
        );
    }
    page.paragraph(2, 4, &text)?;
    if let (Some(deadline), Some(share)) = (j.deadline_s, j.done_by_deadline_pct) {
        page.paragraph(2, 4, &format!("{} % done within {} of their firing", percent(share), duration(deadline)))?;
    }
    Ok(())
}
