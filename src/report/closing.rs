//! The sentence at the end of a summary, from a closed set of templates.

use super::style::{dollars, duration, key_words, sig3, value, value_beside};
use crate::output::{
    BoundSense, DeploymentOutcome, DiagnosisKind, FaultSummary, Incident, ObjectiveResult, SlowdownSummary, Summary,
};

/// Says in words why an objective was missed, how a deployment ended, or that all holds. None when no
/// template fits: then nothing is claimed.
#[must_use]
pub fn closing_sentence(summary: &Summary) -> Option<String> {
    let missed = summary.objectives.iter().find(|o| o.held == Some(false));
    match missed {
        Some(objective) => why_missed(summary, objective),
        None => deployment_trouble(summary).or_else(|| all_hold(summary)).map(|s| with_faults(summary, s)),
    }
}

/// Why an objective was missed. The order goes from causes that explain the others to those that remain.
fn why_missed(summary: &Summary, objective: &ObjectiveResult) -> Option<String> {
    let subject = &objective.subject;
    let misses = format!(
        "{subject} misses its {} target ({} {}, measured {})",
        key_words(&objective.key),
        if objective.sense == BoundSense::AtMost { "≤" } else { "≥" },
        value(objective.limit, &objective.unit),
        objective.measured.map_or_else(|| "nothing".into(), |m| value_beside(m, objective.limit, &objective.unit)),
    );
    if objective.key.starts_with("cost") {
        let item = summary.cost.items.iter().max_by(|a, b| a.cost_usd.total_cmp(&b.cost_usd))?;
        let share = item.cost_usd / summary.cost.total_usd * 100.0;
        return (summary.cost.total_usd > 0.0).then(|| {
            format!("{misses}; the largest item is {} with {} ({share:.0} %).", item.label, dollars(item.cost_usd))
        });
    }
    let met = |kind| summary.diagnoses.iter().any(|d| d.kind == kind && d.subject == *subject);
    let because = |cause: String| Some(format!("{misses} because {cause}."));
    let service = summary.services.get(subject)?;
    if let Some(cause) = fault_behind(summary, subject) {
        return because(cause);
    }
    if let Some(cause) = slowdown_behind(summary, subject) {
        return because(cause);
    }
    if let Some(d) = service.deployments.iter().find(|d| !matches!(d.outcome, DeploymentOutcome::Completed)) {
        let struck = summary
            .incidents
            .iter()
            .any(|i| i.service == *subject && i.start_s >= d.started_s && d.ended_s.is_none_or(|end| i.start_s <= end));
        if struck {
            return because(match &d.outcome {
                DeploymentOutcome::RolledBack { reason } => {
                    format!("the deployment of revision {} went wrong and was rolled back ({reason})", d.revision)
                }
                DeploymentOutcome::Stalled { reason } => {
                    format!("the deployment of revision {} does not go on ({reason})", d.revision)
                }
                _ if d.failed_tasks > 0 => {
                    format!(
                        "tasks of revision {} keep failing ({} so far) and nothing ends its deployment",
                        d.revision, d.failed_tasks
                    )
                }
                _ => format!("the deployment of revision {} was still going on", d.revision),
            });
        }
    }
    if met(DiagnosisKind::OutOfMemory) {
        return because("tasks ran out of memory and were killed".into());
    }
    if met(DiagnosisKind::FailedPulls) {
        return because("images could not be pulled".into());
    }
    if met(DiagnosisKind::KilledWhileStarting) {
        return because(format!(
            "tasks were killed while they were starting ({failed} failed)",
            failed = service.scaling.tasks_failed
        ));
    }
    if met(DiagnosisKind::RepeatedRestarts) || met(DiagnosisKind::FailedStarts) {
        return because(format!("tasks failed and had to be started again ({} failed)", service.scaling.tasks_failed));
    }
    if met(DiagnosisKind::RetryStorm) {
        let share = service.requests.retries as f64 / service.requests.attempts.max(1) as f64 * 100.0;
        return because(format!("retries kept its tasks overloaded: {share:.0} % of all attempts were retries"));
    }
    let failed = service.scaling.tasks_failed;
    if met(DiagnosisKind::UnhealthyService) && failed * 2 >= u64::from(service.scaling.max_running.max(1)) {
        return because(format!(
            "tasks failed their health checks under the load and were replaced ({failed} of them)"
        ));
    }
    if met(DiagnosisKind::AtMaximumCapacity) {
        return because(format!("scaling was held at its maximum of {} tasks", service.scaling.max_desired));
    }
    if met(DiagnosisKind::CapacityUnavailable)
        || summary.diagnoses.iter().any(|d| d.kind == DiagnosisKind::CapacityUnavailable)
    {
        return because("capacity was not to be had when it was needed".into());
    }
    if met(DiagnosisKind::SpotUnavailable) {
        return because("Spot capacity was not to be had when it was needed".into());
    }
    if met(DiagnosisKind::AddressesExhausted) {
        return because("the subnets had no address left for its tasks".into());
    }
    if met(DiagnosisKind::QuotaReached) {
        return because("a quota of the account held launches back".into());
    }
    if met(DiagnosisKind::ScalingBlocked) {
        return because("scaling was blocked when it was needed".into());
    }
    if met(DiagnosisKind::ScalingWithoutData) {
        return because("the alarms of its scaling had no data".into());
    }
    if met(DiagnosisKind::ScalingSilent) {
        return because("the metric that its scaling looks at did not show the trouble".into());
    }
    if let Some(cause) = worst_incident(summary, subject).and_then(slow_loop) {
        return because(cause);
    }
    if met(DiagnosisKind::UnhealthyService) {
        return because("too few of its tasks were healthy".into());
    }
    if met(DiagnosisKind::Overload) {
        return because("the load was more than its tasks can serve".into());
    }
    None
}

/// Time that an incident may begin after a fault and still be its doing: an interval, and a time-out.
const SHORTLY_AFTER_S: f64 = 120.0;

/// The fault in or shortly after which an incident began.
fn fault_of<'a>(summary: &'a Summary, incident: &Incident) -> Option<&'a FaultSummary> {
    let reach = summary.meta.interval_s;
    summary
        .faults
        .iter()
        .filter(|f| !is_shift(f))
        .filter(|f| {
            incident.start_s + reach >= f.start_s && incident.start_s <= f.end_s.unwrap_or(f64::MAX) + SHORTLY_AFTER_S
        })
        .max_by(|a, b| a.start_s.total_cmp(&b.start_s))
}

/// A shift is a remedy, not a fault.
fn is_shift(f: &FaultSummary) -> bool {
    f.kind.starts_with("zonal_")
}

/// What a fault did, if the longest incident of the service began with one.
fn fault_behind(summary: &Summary, subject: &str) -> Option<String> {
    let worst = worst_incident(summary, subject)?;
    let fault = fault_of(summary, worst)?;
    let shifted = worst.end_s.and_then(|end| {
        let soon =
            |f: &&FaultSummary| f.start_s > fault.start_s && (end - f.start_s).abs() <= 3.0 * summary.meta.interval_s;
        summary.faults.iter().filter(|f| is_shift(f)).find(soon)
    });
    if let Some(shift) = shifted {
        return Some(format!(
            "of the fault {} at {} ({}); it recovered after {}, when traffic was shifted away ({})",
            fault.name,
            duration(fault.start_s),
            fault.text,
            duration(worst.duration_s),
            shift.name
        ));
    }
    let ended = match worst.end_s {
        Some(end) if fault.end_s.is_some_and(|over| end > over) => {
            format!("it recovered {} after the fault was over", duration(end - fault.end_s.unwrap_or(end)))
        }
        Some(_) => format!("it recovered after {}", duration(worst.duration_s)),
        None => "it had not recovered at the end".to_owned(),
    };
    let (link, most) = worst.links.named().into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let longest = match link {
        _ if most <= 0.0 || worst.end_s.is_none() => String::new(),
        "fault" => ", most of it while the fault lasted".to_owned(),
        "unattributed" => String::new(),
        _ => format!(", {} of it {}", duration(most), link_words(link)),
    };
    Some(format!("of the fault {} at {} ({}); {ended}{longest}", fault.name, duration(fault.start_s), fault.text))
}

/// The slow time of a dependency in or shortly after which the longest incident of the service began, and how it ended.
fn slowdown_behind(summary: &Summary, subject: &str) -> Option<String> {
    let worst = worst_incident(summary, subject)?;
    let reach = summary.meta.interval_s;
    let (name, slow) = summary.dependencies.iter().find_map(|(name, d)| {
        let near =
            |s: &&SlowdownSummary| worst.start_s + reach >= s.start_s && worst.start_s <= s.end_s + SHORTLY_AFTER_S;
        d.slowdowns.iter().find(near).map(|s| (name, s))
    })?;
    let over = worst.end_s.unwrap_or(summary.meta.duration_s) - slow.end_s;
    let ended = match worst.end_s {
        Some(_) if over <= reach => "it recovered with it".to_owned(),
        Some(_) => format!("it recovered {} after that was over", duration(over)),
        None if over > 0.0 => format!("{} after that was over it had still not recovered", duration(over)),
        None => "it had not recovered at the end".to_owned(),
    };
    let links = worst.links.named();
    let (link, most) = links.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let longest = match link {
        "unattributed" | "fault" => String::new(),
        _ if most <= 0.0 || over <= reach => String::new(),
        _ => format!(", {} of it {}", duration(most), link_words(link)),
    };
    Some(format!(
        "{name} worked at {} % of its speed from {} on for {}; {ended}{longest}",
        sig3(100.0 * slow.speed),
        duration(slow.start_s),
        duration(slow.end_s - slow.start_s)
    ))
}

/// What a link of the recovery was spent on.
fn link_words(link: &str) -> &'static str {
    match link {
        "detection" => "until somebody noticed",
        "publication" => "until the metric could be seen",
        "alarm" => "until the alarm rang",
        "decision" => "until tasks were asked for",
        "relaunch" => "with launches that failed",
        "quota" => "waiting for launch quotas",
        "capacity" => "waiting for capacity that was short",
        "address" => "waiting for an address",
        "node" => "finding capacity",
        "pull retries" => "with image pulls that failed",
        "pull" => "pulling the image",
        "start" => "starting",
        "health" => "becoming healthy",
        "deployment" => "while a deployment went on",
        "retries" => "with retries that kept the load up",
        _ => "with saturated tasks",
    }
}

/// Adds the faults that an objective was held through.
fn with_faults(summary: &Summary, sentence: String) -> String {
    let mut names: Vec<&str> = summary.faults.iter().filter(|f| !is_shift(f)).map(|f| f.name.as_str()).collect();
    names.dedup();
    match names.as_slice() {
        [] => sentence,
        [one] => format!("{} The fault {one} did not change that.", sentence),
        some if some.len() <= 3 => format!("{sentence} The faults {} did not change that.", some.join(", ")),
        some => format!("{sentence} {} faults did not change that.", some.len()),
    }
}

/// The longest incident of a service.
pub(crate) fn worst_incident<'a>(summary: &'a Summary, service: &str) -> Option<&'a Incident> {
    summary.incidents.iter().filter(|i| i.service == service).max_by(|a, b| a.duration_s.total_cmp(&b.duration_s))
}

/// Which half of the loop was slow, if the incident is explained by the loop at all.
fn slow_loop(incident: &Incident) -> Option<String> {
    let l = &incident.links;
    let signal = l.detection_s + l.publication_s + l.alarm_s + l.decision_s;
    let launch = l.relaunch_s
        + l.quota_s
        + l.capacity_s
        + l.address_s
        + l.node_s
        + l.pull_retry_s
        + l.pull_s
        + l.start_s
        + l.health_s;
    let whole = l.total_s();
    if whole <= 0.0 || (signal + launch) < 0.5 * whole {
        return None;
    }
    Some(if signal >= launch {
        let parts: Vec<String> = l.named()[..4]
            .iter()
            .filter(|(_, s)| *s >= 0.5)
            .map(|(link, s)| format!("{link} {}", duration(*s)))
            .collect();
        format!(
            "scaling asked for the tasks that ended it only after {} ({}), and they took {} more to serve",
            duration(signal),
            parts.join(", "),
            duration(launch),
        )
    } else {
        let (link, longest) = [
            ("launches that failed", l.relaunch_s),
            ("waiting for launch quotas", l.quota_s),
            ("waiting for capacity that was short", l.capacity_s),
            ("waiting for an address", l.address_s),
            ("image pulls that failed", l.pull_retry_s),
            ("finding capacity", l.node_s),
            ("pulling the image", l.pull_s),
            ("starting", l.start_s),
            ("becoming healthy", l.health_s),
        ]
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
        format!(
            "new tasks took {} to serve, {} of it {link}, after a signal of {}",
            duration(launch),
            duration(longest),
            duration(signal)
        )
    })
}

fn deployment_trouble(summary: &Summary) -> Option<String> {
    summary.services.iter().find_map(|(name, service)| {
        service.deployments.iter().find_map(|d| match &d.outcome {
            DeploymentOutcome::RolledBack { reason } => Some(format!(
                "The deployment of revision {} of {name} was rolled back ({reason}){}.",
                d.revision,
                held_all_the_while(summary)
            )),
            DeploymentOutcome::Stalled { reason } => {
                Some(format!("The deployment of revision {} of {name} does not go on: {reason}.", d.revision))
            }
            DeploymentOutcome::InProgress => {
                let failed = if d.failed_tasks > 0 {
                    format!("; {} of its tasks have failed", d.failed_tasks)
                } else {
                    String::new()
                };
                Some(format!(
                    "The deployment of revision {} of {name} had not ended when the run did{failed}.",
                    d.revision
                ))
            }
            DeploymentOutcome::Completed => None,
        })
    })
}

fn held_all_the_while(summary: &Summary) -> &'static str {
    if summary.objectives.iter().any(|o| o.held == Some(true)) { "; the objectives held all the same" } else { "" }
}

fn all_hold(summary: &Summary) -> Option<String> {
    let held = summary.objectives.iter().filter(|o| o.held == Some(true)).count();
    (held > 0 && held == summary.objectives.len()).then(|| {
        let what = match held {
            1 => "The objective holds".to_owned(),
            2 => "Both objectives hold".to_owned(),
            n => format!("All {n} objectives hold"),
        };
        format!("{what} for {}/h.", dollars(summary.cost.per_hour_usd))
    })
}
