//! The summary as text: verdicts first, one sentence in words at the end.

mod pods;
mod work;

use std::io::{self, Write};

use super::closing::{closing_sentence, worst_incident};
use super::page::{Page, clipped_hash, left, right};
use super::style::{
    Paint, Style, clipped, count, counted, dollars, duration, key_words, percent, quantity, sig3, significant, value,
    value_beside,
};
use crate::output::{
    BoundSense, CostSummary, DeploymentOutcome, Incident, Meta, ServiceSummary, Summary, Trend, WeakPrice,
};

/// Writes the summary of a run for people: at most 100 columns, at least 72.
///
/// # Errors
/// The writer's.
pub fn write_summary(out: &mut dyn Write, summary: &Summary, style: Style) -> io::Result<()> {
    let mut page = Page { out, style };
    head(&mut page, &summary.meta)?;
    objectives(&mut page, summary)?;
    for (name, service) in &summary.services {
        service_block(&mut page, &summary.meta, name, service)?;
    }
    calls(&mut page, summary)?;
    dependencies(&mut page, summary)?;
    work::work(&mut page, summary)?;
    if let Some(pods) = &summary.pods {
        pods::pods_block(&mut page, &summary.meta, pods)?;
    }
    deployments(&mut page, summary)?;
    faults(&mut page, summary)?;
    recovery(&mut page, summary)?;
    cost(&mut page, &summary.cost, &summary.weak_prices)?;
    diagnoses(&mut page, summary)?;
    notes(&mut page, summary)?;
    if let Some(sentence) = closing_sentence(summary) {
        page.blank()?;
        page.paragraph(0, 0, &sentence)?;
    }
    Ok(())
}

fn head(page: &mut Page<'_>, meta: &Meta) -> io::Result<()> {
    let variant = if meta.variant.is_empty() { String::new() } else { format!("/{}", meta.variant) };
    let warm_up = if meta.warm_up_s > 0.0 {
        format!(", the first {} left out of all figures", duration(meta.warm_up_s))
    } else {
        String::new()
    };
    let title = page.style.paint(&format!("{}{variant}", meta.name), Paint::Bold);
    let rest = format!(
        "{} simulated{warm_up}; {}, seed {}, plan {}, run {}",
        duration(meta.duration_s),
        meta.region,
        meta.seed,
        clipped_hash(&meta.plan_hash),
        clipped_hash(&meta.run_id)
    );
    page.line(&title)?;
    page.paragraph(0, 0, &rest)
}

fn objectives(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if summary.objectives.is_empty() {
        page.blank()?;
        return page.paragraph(0, 0, "No objectives: the scenario says nothing of what must hold.");
    }
    let label = page.style.width - 48;
    page.heading(&left("Objectives", label + 4), &format!("{:<15}{:<17}{}", "target", "measured", "verdict"))?;
    for o in &summary.objectives {
        let (mark, paint, word) = match o.held {
            Some(true) => ("✓", Paint::Good, "held"),
            Some(false) => ("✗", Paint::Bad, "missed"),
            None => ("–", Paint::Warn, "not measured"),
        };
        let sense = if o.sense == BoundSense::AtMost { "≤" } else { "≥" };
        let target = page.style.text(&format!("{sense} {}", value(o.limit, &o.unit)));
        let measured = o.measured.map_or_else(|| "–".to_owned(), |m| value_beside(m, o.limit, &o.unit));
        let measured = page.style.text(&measured);
        let name = page.style.text(&clipped(&format!("{}  {}", o.subject, key_words(&o.key)), label));
        let mark = page.style.paint(&page.style.text(mark), paint);
        let verdict = page.style.paint(word, paint);
        page.line(&format!("  {mark} {}{}{}{verdict}", left(&name, label), left(&target, 15), left(&measured, 17)))?;
        if let Some(note) = &o.note {
            page.paragraph(6, 6, note)?;
        }
    }
    for (service, minutes) in &summary.breach_minutes {
        if *minutes > 0 {
            let text =
                format!("{service}: {} with a latency or availability objective missed", counted(*minutes, "minute"));
            page.paragraph(4, 4, &text)?;
        }
    }
    Ok(())
}

/// Widths of the trend table.
struct Columns {
    label: usize,
    number: usize,
    trend: usize,
}

fn service_block(page: &mut Page<'_>, meta: &Meta, name: &str, s: &ServiceSummary) -> io::Result<()> {
    let (label, number) = (18, if page.style.width >= 90 { 8 } else { 7 });
    let columns = Columns { label, number, trend: page.style.width - label - 5 * number - 2 };
    let heads: String = ["mean", "p50", "p95", "p99", "max"].iter().map(|h| right(h, number)).collect();
    let axis = format!("  0 to {}", duration(meta.duration_s));
    page.heading(&left(&format!("Service {name}"), label), &format!("{heads}{axis}"))?;

    let none = || String::new();
    let row = |page: &mut Page<'_>, title: &str, cells: [String; 5], trend: Option<&Trend>, peaks: bool| {
        let cells: String = cells.iter().map(|c| right(&page.style.text(c), columns.number)).collect();
        let line = trend.map_or(String::new(), |t| page.style.sparkline(&t.values, columns.trend, peaks));
        page.line(&format!("{}{cells}  {line}", left(&format!("  {title}"), columns.label)))
    };
    let seconds = meta.duration_s - meta.warm_up_s;
    if s.requests.started > 0 || !s.trends.load_rps.values.is_empty() {
        let mean = if seconds > 0.0 { sig3(s.requests.started as f64 / seconds) } else { none() };
        let cells = [mean, none(), none(), none(), largest(&s.trends.load_rps)];
        let title = if s.queue.is_some() { "messages/s" } else { "requests/s" };
        row(page, title, cells, Some(&s.trends.load_rps), false)?;
    }
    if let Some(l) = &s.latency {
        let cells = [l.mean_ms, l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms].map(sig3);
        row(page, "latency ms", cells, Some(&s.trends.latency_p99_ms), true)?;
    }
    if let Some(l) = &s.attempt_latency {
        let cells = [l.mean_ms, l.p50_ms, l.p95_ms, l.p99_ms, l.max_ms].map(sig3);
        let title = if s.queue.is_some() { "failed ones too" } else { "all attempts ms" };
        row(page, title, cells, None, true)?;
    }
    if s.requests.failed > 0 {
        let mean = if seconds > 0.0 { sig3(s.requests.failed as f64 / seconds) } else { none() };
        let cells = [mean, none(), none(), none(), largest(&s.trends.failed_rps)];
        row(page, "failed/s", cells, Some(&s.trends.failed_rps), true)?;
    }
    let running = [sig3(s.scaling.mean_running), none(), none(), none(), count(u64::from(s.scaling.max_running))];
    row(page, "tasks running", running, Some(&s.trends.running), false)?;
    if let Some(cpu) = s.cpu_used_pct {
        let cells = [sig3(cpu), none(), none(), none(), largest(&s.trends.cpu_used_pct)];
        row(page, "CPU used %", cells, Some(&s.trends.cpu_used_pct), false)?;
    }
    requests(page, s)?;
    scaling(page, s)
}

fn largest(trend: &Trend) -> String {
    trend.max.or_else(|| trend.values.iter().flatten().copied().reduce(f64::max)).map_or(String::new(), sig3)
}

fn requests(page: &mut Page<'_>, s: &ServiceSummary) -> io::Result<()> {
    let r = &s.requests;
    if r.started == 0 {
        return Ok(());
    }
    let mut text = match s.queue {
        Some(_) => format!("{} messages delivered: {} done", count(r.started), count(r.succeeded)),
        None => format!("{}: {} succeeded", counted(r.started, "request"), count(r.succeeded)),
    };
    if let Some(availability) = s.availability_pct {
        text += &format!(" ({} %)", percent(availability));
    }
    text += &format!(", {} failed", count(r.failed));
    if r.unfinished > 0 {
        text += &format!(", {} unfinished at the end", count(r.unfinished));
    }
    if r.retries > 0 && s.queue.is_some() {
        text += &format!("; {} of them not for the first time", count(r.retries));
    } else if r.retries > 0 {
        text += &format!("; {}, {} of them retries", counted(r.attempts, "attempt"), count(r.retries));
    }
    page.paragraph(2, 4, &text)?;
    let kinds: Vec<String> = r
        .failed_by_kind
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(kind, n)| format!("{} {}", count(*n), kind.replace('_', " ")))
        .collect();
    if !kinds.is_empty() {
        page.paragraph(2, 4, &format!("failed: {}", kinds.join(", ")))?;
    }
    let codes: Vec<String> = r
        .balancer_errors
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(code, n)| format!("{} × {}", count(*n), balancer_words(code)))
        .collect();
    if !codes.is_empty() {
        page.paragraph(2, 4, &format!("at the load balancer: {}", codes.join(", ")))?;
    }
    if s.wasted_cpu_s > 0.0 {
        let text = format!(
            "wasted CPU: {} vCPU-seconds ({} % of all) for {}",
            sig3(s.wasted_cpu_s),
            sig3(s.wasted_cpu_pct),
            if s.queue.is_some() { "work that has to be done again, or was" } else { "requests whose client had gone" }
        );
        page.paragraph(2, 4, &text)?;
    }
    Ok(())
}

/// A load balancer's code in words.
fn balancer_words(code: &str) -> String {
    match code {
        "elb_460" => "460 (client closed)".into(),
        "elb_502" => "502 (bad gateway)".into(),
        "elb_503" => "503 (no target)".into(),
        "elb_504" => "504 (target timed out)".into(),
        "target_5xx" => "5xx of the application".into(),
        other => other.replace('_', " "),
    }
}

fn scaling(page: &mut Page<'_>, s: &ServiceSummary) -> io::Result<()> {
    let c = &s.scaling;
    let mut text = format!(
        "scaling: {}, {}, {} to {} tasks; {} became RUNNING, {} stopped",
        counted(c.scale_outs, "scale-out"),
        counted(c.scale_ins, "scale-in"),
        c.min_running,
        c.max_running,
        count(c.tasks_started),
        count(c.tasks_stopped)
    );
    if c.tasks_failed > 0 {
        text += &format!(", {} failed", count(c.tasks_failed));
    }
    let held: Vec<String> = c
        .held_back
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(by, n)| format!("{} × {}", count(*n), key_words(by)))
        .collect();
    if !held.is_empty() {
        text += &format!("; held back {}", held.join(", "));
    }
    page.paragraph(2, 4, &text)
}

/// Who calls whom: how often, with what latency, and what went wrong.
fn calls(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if summary.calls.is_empty() {
        return Ok(());
    }
    let label = page.style.width - 50;
    let heads: String = ["calls", "failed %", "p50 ms", "p99 ms", "retries"].iter().map(|h| right(h, 10)).collect();
    page.heading(&left("Calls", label), &heads)?;
    for c in &summary.calls {
        let finished = c.succeeded + c.failed;
        let failed = if finished > 0 { sig3(100.0 * c.failed as f64 / finished as f64) } else { String::new() };
        let (p50, p99) =
            c.latency.as_ref().map_or((String::new(), String::new()), |l| (sig3(l.p50_ms), sig3(l.p99_ms)));
        let cells = [count(c.calls), failed, p50, p99, count(c.retries)];
        let cells: String = cells.iter().map(|cell| right(&page.style.text(cell), 10)).collect();
        let arrow = page.style.text("→");
        let name = clipped(&format!("{} {arrow} {} ({})", c.caller, c.callee, key_words(&c.via)), label - 3);
        page.line(&format!("{}{cells}", left(&format!("  {name}"), label)))?;
        let mut aside = Vec::new();
        if let Some(pool) = &c.pool {
            let wait = pool.wait.as_ref().map_or(0.0, |w| w.p99_ms);
            if wait >= 0.05 || pool.timeouts > 0 {
                let of = format!("{} of {} connections", pool.peak, pool.max_connections);
                aside.push(format!("pool: at most {of} a task, wait p99 {} ms", sig3(wait)));
            }
            if pool.timeouts > 0 {
                aside.push(format!("{} in vain", counted(pool.timeouts, "wait")));
            }
        }
        for (n, what) in [
            (c.connections_refused, "refused connection"),
            (c.connect_timeouts, "connection time-out"),
            (c.proxy_retries, "further proxy attempt"),
            (c.ejections, "ejection"),
        ] {
            if n > 0 {
                aside.push(counted(n, what));
            }
        }
        if !aside.is_empty() {
            page.paragraph(4, 6, &aside.join(", "))?;
        }
    }
    Ok(())
}

fn dependencies(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if summary.dependencies.is_empty() {
        return Ok(());
    }
    let label = page.style.width - 50;
    let heads: String = ["busy %", "wait p99", "open", "most", "refused"].iter().map(|h| right(h, 10)).collect();
    page.heading(&left("Dependencies", label), &heads)?;
    for (name, d) in &summary.dependencies {
        let most = match d.max_connections {
            Some(max) => format!("{}/{max}", d.connections_peak),
            None => d.connections_peak.to_string(),
        };
        let wait = d.wait.as_ref().map_or(String::new(), |w| format!("{} ms", sig3(w.p99_ms)));
        let cells = [sig3(d.utilization_pct), wait, sig3(d.connections_mean), most, count(d.connections_refused)];
        let cells: String = cells.iter().map(|cell| right(&page.style.text(cell), 10)).collect();
        page.line(&format!("{}{cells}", left(&format!("  {}", clipped(name, label - 3)), label)))?;
    }
    Ok(())
}

fn deployments(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    let mut first = true;
    for (name, service) in &summary.services {
        for d in &service.deployments {
            if std::mem::take(&mut first) {
                page.heading("Deployments", "")?;
            }
            let took = d.ended_s.map_or(String::new(), |end| format!(" after {}", duration(end - d.started_s)));
            let (mark, paint, outcome) = match &d.outcome {
                DeploymentOutcome::Completed => ("✓", Paint::Good, format!("completed{took}")),
                DeploymentOutcome::RolledBack { reason } => ("✗", Paint::Bad, format!("rolled back{took}: {reason}")),
                DeploymentOutcome::Stalled { reason } => ("✗", Paint::Bad, format!("stalled: {reason}")),
                DeploymentOutcome::InProgress => ("–", Paint::Warn, "in progress at the end".into()),
            };
            let failed = if d.failed_tasks > 0 {
                format!("; {} of the new revision failed", counted(u64::from(d.failed_tasks), "task"))
            } else {
                String::new()
            };
            let text = format!("{name} revision {} at {}: {outcome}{failed}", d.revision, duration(d.started_s));
            page.marked(mark, paint, &text)?;
        }
    }
    Ok(())
}

/// Most faults that are listed one by one.
const LISTED_FAULTS: usize = 8;

fn faults(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if summary.faults.is_empty() {
        return Ok(());
    }
    page.heading("Faults", "")?;
    for f in summary.faults.iter().take(LISTED_FAULTS) {
        let lasts =
            f.end_s.map_or_else(|| "until the end".to_owned(), |end| format!("for {}", duration(end - f.start_s)));
        page.marked("!", Paint::Warn, &format!("{} from {} {lasts}: {}", f.name, duration(f.start_s), f.text))?;
    }
    if summary.faults.len() > LISTED_FAULTS {
        page.paragraph(2, 4, &format!("and {} more", summary.faults.len() - LISTED_FAULTS))?;
    }
    Ok(())
}

/// Most incidents that are listed one by one.
const LISTED_INCIDENTS: usize = 5;

fn recovery(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    let Some(longest) = summary
        .services
        .keys()
        .filter_map(|name| worst_incident(summary, name))
        .max_by(|a, b| a.duration_s.total_cmp(&b.duration_s))
    else {
        return Ok(());
    };
    page.heading("Time to recover", "")?;
    for incident in summary.incidents.iter().take(LISTED_INCIDENTS) {
        page.paragraph(2, 4, &incident_text(incident))?;
    }
    if summary.incidents.len() > LISTED_INCIDENTS {
        let more = summary.incidents.len() - LISTED_INCIDENTS;
        let whole: f64 = summary.incidents.iter().map(|i| i.duration_s).sum();
        page.paragraph(2, 4, &format!("and {more} more; {} in all incidents together", duration(whole)))?;
    }
    let whole = longest.links.total_s();
    if whole > 0.0 {
        if summary.incidents.len() > 1 {
            page.paragraph(2, 4, "by link, the longest:")?;
        }
        let bar = page.style.width - 50;
        for (link, seconds) in longest.links.named() {
            if seconds > 0.0 {
                let share = seconds / whole;
                let marks = ((share * bar as f64).round() as usize).max(1);
                let bar = page.style.text(&"█".repeat(marks));
                let time = page.style.text(&duration(seconds));
                page.line(&format!("    {:<14}{time:>14}{:>6.0} %  {bar}", link, share * 100.0))?;
            }
        }
    }
    Ok(())
}

fn incident_text(i: &Incident) -> String {
    let end = if i.end_s.is_some() { "recovered after" } else { "not recovered at the end, after" };
    format!("{}  {} from {}: {end} {}", i.service, key_words(&i.objective), duration(i.start_s), duration(i.duration_s))
}

fn cost(page: &mut Page<'_>, cost: &CostSummary, weak: &[WeakPrice]) -> io::Result<()> {
    let label = page.style.width - 56;
    let heads: String =
        ["quantity", "unit price", "cost", "per hour"].iter().zip([20, 14, 11, 11]).map(|(h, w)| right(h, w)).collect();
    page.heading(&left("Cost", label), &heads)?;
    for item in &cost.items {
        let cells = [
            (format!("{} {}", quantity(item.quantity), item.unit), 20),
            (format!("${}", significant(item.unit_price_usd, 6)), 14),
            (dollars(item.cost_usd), 11),
            (dollars(item.per_hour_usd), 11),
        ];
        let cells: String = cells.iter().map(|(c, w)| right(&page.style.text(c), *w)).collect();
        page.line(&format!("{}{cells}", left(&format!("  {}", item.label), label)))?;
    }
    let total = format!(
        "{}{}{}",
        left("  total", label + 34),
        right(&page.style.text(&dollars(cost.total_usd)), 11),
        right(&page.style.text(&dollars(cost.per_hour_usd)), 11)
    );
    let total = page.style.paint(&total, Paint::Bold);
    page.line(&total)?;
    let mut aside = Vec::new();
    if cost.by_service.len() > 1 {
        let parts: Vec<String> = cost.by_service.iter().map(|(s, usd)| format!("{s} {}", dollars(*usd))).collect();
        aside.push(format!("by service: {}", parts.join(", ")));
    }
    for (capacity, nodes) in &cost.by_capacity {
        let wasted = if nodes.wasted_usd > 0.0 {
            format!(" and {} reserved but not used", dollars(nodes.wasted_usd))
        } else {
            String::new()
        };
        let (all, idle) = (dollars(nodes.nodes_usd), dollars(nodes.idle_usd));
        aside.push(format!("instances of {capacity} {all}, of it {idle} idle{wasted}"));
    }
    if let Some(rate) = &cost.rate_usd_per_hour {
        aside.push(format!("by interval between {} and {} an hour", dollars(rate.min), dollars(rate.max)));
    }
    if cost.wasted_usd > 0.0 {
        aside.push(format!("{} of it for abandoned requests", dollars(cost.wasted_usd)));
    }
    if cost.warm_up_usd > 0.0 {
        aside.push(format!("warm-up left out: {}", dollars(cost.warm_up_usd)));
    }
    if !aside.is_empty() {
        page.paragraph(2, 4, &aside.join("; "))?;
    }
    for w in weak {
        let text = format!(
            "the price of {} in {} (${} of {}) is weak: {}; {} of the total depends on it",
            w.item,
            w.region,
            significant(w.unit_price_usd, 6),
            w.date,
            w.reason,
            dollars(w.cost_usd)
        );
        page.marked("!", Paint::Warn, &text)?;
    }
    Ok(())
}

fn diagnoses(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    if summary.diagnoses.is_empty() {
        return Ok(());
    }
    page.heading("Diagnoses", "")?;
    for d in &summary.diagnoses {
        let first = d.since_s.map_or(String::new(), |t| format!(" (first at {})", duration(t)));
        page.marked("!", Paint::Warn, &format!("{}, {}: {}{first}", d.kind.name(), d.subject, d.evidence))?;
        if !d.advice.is_empty() {
            page.paragraph(4, 6, &page.style.text(&format!("→ {}", d.advice)))?;
        }
    }
    Ok(())
}

fn notes(page: &mut Page<'_>, summary: &Summary) -> io::Result<()> {
    page.blank()?;
    let decisions: Vec<String> =
        summary.decisions.iter().map(|(who, n)| format!("{} {}", count(*n), key_words(who))).collect();
    if !decisions.is_empty() {
        page.paragraph(0, 2, &format!("Decisions: {} (decisions.csv says why each)", decisions.join(", ")))?;
    }
    if !summary.ignored.is_empty() {
        page.paragraph(0, 2, &format!("Read but not applied: {}", summary.ignored.join(", ")))?;
    }
    if !summary.notes.is_empty() {
        page.paragraph(0, 2, &format!("Note: {}", summary.notes.join("; ")))?;
    }
    page.paragraph(0, 2, &format!("Hash of all facts: {} (equal for equal runs)", clipped_hash(&summary.facts_hash)))
}

#[cfg(test)]
pub(crate) mod tests;
