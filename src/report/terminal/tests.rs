use super::*;
use crate::output::{
    CostItem, DeploymentSummary, Diagnosis, DiagnosisKind, Latency, NOTE_SINGLE_REPLICATION, NOTE_UNCALIBRATED,
    ObjectiveResult, RecoveryLinks, Trends,
};

/// A summary with something in every block.
pub(crate) fn rich() -> Summary {
    let meta = Meta {
        name: "spike".into(),
        variant: "base".into(),
        seed: 42,
        plan_hash: "7c1f9e2a0d".into(),
        run_id: "a91c55e0b2".into(),
        region: "us-east-1".into(),
        duration_s: 2_700.0,
        warm_up_s: 300.0,
        interval_s: 10.0,
        ..Meta::default()
    };
    let mut s = Summary { meta, ..Summary::default() };
    let objective = |subject: &str, key: &str, limit, unit: &str, measured: Option<f64>, held| ObjectiveResult {
        subject: subject.into(),
        key: key.into(),
        sense: if key == "availability" { BoundSense::AtLeast } else { BoundSense::AtMost },
        limit,
        unit: unit.into(),
        measured,
        held,
        note: None,
    };
    s.objectives = vec![
        objective("web", "latency_p99", 400.0, "ms", Some(1_238.2), Some(false)),
        objective("web", "availability", 99.9, "%", Some(99.957_3), Some(true)),
        objective("cluster", "cost_per_hour", 4.0, "usd/h", Some(3.117), Some(true)),
        objective("worker", "latency_p50", 40.0, "ms", None, None),
    ];
    s.breach_minutes.insert("web".into(), 7);
    let trend = |f: fn(f64) -> f64| Trend {
        start_s: 0.0,
        step_s: 45.0,
        values: (0..60).map(|i| Some(f(f64::from(i)))).collect(),
        max: None,
    };
    let mut web = ServiceSummary {
        latency: Some(Latency {
            count: 1_000_000,
            mean_ms: 118.3,
            p50_ms: 71.2,
            p90_ms: 190.0,
            p95_ms: 240.0,
            p99_ms: 1_238.2,
            p999_ms: 1_900.0,
            max_ms: 2_310.4,
        }),
        availability_pct: Some(99.957_3),
        cpu_used_pct: Some(56.2),
        wasted_cpu_s: 120.4,
        wasted_cpu_pct: 1.3,
        trends: Trends {
            load_rps: trend(|i| if i < 15.0 { 60.0 } else { 420.0 }),
            latency_p99_ms: trend(|i| 90.0 + 1_200.0 * (-(i - 18.0).powi(2) / 20.0).exp()),
            failed_rps: trend(|i| if (16.0..20.0).contains(&i) { 3.0 } else { 0.0 }),
            running: trend(|i| if i < 20.0 { 4.0 } else { 22.0 }),
            cpu_used_pct: trend(|i| if (15.0..20.0).contains(&i) { 98.0 } else { 55.0 }),
        },
        ..ServiceSummary::default()
    };
    web.requests.started = 1_000_500;
    web.requests.succeeded = 1_000_073;
    web.requests.failed = 427;
    web.requests.unfinished = 12;
    web.requests.attempts = 1_000_900;
    web.requests.retries = 400;
    web.requests.failed_by_kind =
        [("timeout".to_owned(), 400), ("balancer_error".to_owned(), 27)].into_iter().collect();
    web.requests.balancer_errors = [("elb_460".to_owned(), 400), ("elb_503".to_owned(), 27)].into_iter().collect();
    web.scaling.scale_outs = 8;
    web.scaling.scale_ins = 1;
    web.scaling.min_running = 4;
    web.scaling.max_running = 22;
    web.scaling.mean_running = 14.23;
    web.scaling.max_desired = 22;
    web.scaling.held_back = [("cooldown".to_owned(), 4)].into_iter().collect();
    web.deployments = vec![DeploymentSummary {
        number: 1,
        revision: 2,
        started_s: 600.0,
        ended_s: Some(903.0),
        outcome: DeploymentOutcome::Completed,
        failed_tasks: 0,
    }];
    s.services.insert("web".into(), web);
    let links = RecoveryLinks {
        detection_s: 40.0,
        publication_s: 120.0,
        alarm_s: 120.0,
        decision_s: 1.0,
        node_s: 14.0,
        pull_s: 7.3,
        start_s: 20.5,
        health_s: 60.0,
        ..RecoveryLinks::default()
    };
    s.incidents = vec![Incident {
        service: "web".into(),
        objective: "latency_p99".into(),
        start_s: 680.0,
        end_s: Some(1_062.8),
        duration_s: 382.8,
        links,
    }];
    s.cost.total_usd = 2.078;
    s.cost.per_hour_usd = 3.117;
    s.cost.items = vec![CostItem {
        item: "fargate_vcpu".into(),
        label: "Fargate vCPU".into(),
        quantity: 9.487,
        unit: "vCPU-h".into(),
        unit_price_usd: 0.040_48,
        cost_usd: 0.384,
        per_hour_usd: 0.576,
    }];
    s.weak_prices = vec![WeakPrice {
        item: "nat_gateway_gb".into(),
        region: "us-east-1".into(),
        unit_price_usd: 0.045,
        date: "2025-01-02".into(),
        confidence: "medium".into(),
        reason: "older than 180 days".into(),
        cost_usd: 0.12,
    }];
    s.decisions = [("target_tracking".to_owned(), 38), ("service_scheduler".to_owned(), 11)].into_iter().collect();
    s.diagnoses = vec![Diagnosis {
        kind: DiagnosisKind::UnhealthyService,
        subject: "web".into(),
        evidence: "12 of 16 tasks failed their load balancer checks while their CPU was used up".into(),
        since_s: Some(700.0),
        count: 12,
        advice: "be more patient".into(),
    }];
    s.notes = vec![NOTE_SINGLE_REPLICATION.into(), NOTE_UNCALIBRATED.into()];
    s.facts_hash = "0f3d77aa12".into();
    s
}

fn render(summary: &Summary, style: Style) -> String {
    let mut out = Vec::new();
    write_summary(&mut out, summary, style).expect("memory takes everything");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn verdicts_come_first_and_a_sentence_last() {
    let text = render(&rich(), Style::default());
    println!("{text}");
    let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} is missing in\n{text}"));
    assert!(at("✗ web  latency p99") < at("Service web") && at("Service web") < at("Cost"));
    for needle in [
        "≤ 400 ms",
        "1\u{202f}240 ms",
        "99.957 %",
        "$3.12/h",
        "not measured",
        "7 minutes",
        "single replication: no interval",
        "older than 180 days",
        "400 × 460 (client closed)",
        "detection",
        "unhealthy service, web",
        "revision 2 at 10 min: completed after 5 min 3 s",
        "38 target tracking",
    ] {
        at(needle);
    }
    let last = text.trim_end().rsplit("\n\n").next().expect("last block").replace('\n', " ");
    assert!(
        last.starts_with(
            "web misses its latency p99 target (≤ 400 ms, measured 1\u{202f}240 ms) because scaling asked for the tasks \
             that ended it only after 4 min 41 s"
        ),
        "{last}"
    );
}

#[test]
fn lines_keep_their_width() {
    for style in [
        Style::for_columns(40),
        Style::for_columns(80),
        Style::for_columns(500),
        Style { ascii: true, ..Style::for_columns(72) },
    ] {
        let mut summary = rich();
        let web = summary.services["web"].clone();
        summary.services.insert("a-service-with-quite-a-long-name-for-a-service".into(), web);
        let text = render(&summary, style);
        for line in text.lines() {
            assert!(line.chars().count() <= style.width, "{} columns: {line}", style.width);
            assert_eq!(line.trim_end(), line);
        }
        assert!(!style.ascii || text.is_ascii(), "{text}");
    }
    let painted = render(&rich(), Style { color: true, ..Style::default() });
    let mut bare = String::new();
    let mut inside = false;
    for c in painted.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            c if !inside => bare.push(c),
            _ => {}
        }
    }
    assert_eq!(bare, render(&rich(), Style::default()), "colour adds nothing but colour");
}

#[test]
fn an_empty_summary_is_no_accident() {
    let text = render(&Summary::default(), Style::default());
    assert!(text.contains("No objectives"), "{text}");
    let mut markdown = Vec::new();
    crate::report::write_markdown(&mut markdown, &rich()).expect("memory takes everything");
    let markdown = String::from_utf8(markdown).expect("UTF-8");
    assert!(markdown.contains("| web latency p99 | ≤ 400 ms | 1\u{202f}240 ms | ✗ **missed** |"), "{markdown}");
}

#[test]
fn the_closing_sentence_fits_its_reason() {
    let sentence = |change: &dyn Fn(&mut Summary)| {
        let mut s = rich();
        s.diagnoses.clear();
        change(&mut s);
        closing_sentence(&s).unwrap_or_default()
    };
    let diagnose = |kind| {
        sentence(&move |s: &mut Summary| {
            s.diagnoses.push(Diagnosis { kind, subject: "web".into(), ..Diagnosis::default() });
        })
    };
    assert!(
        diagnose(DiagnosisKind::AtMaximumCapacity).ends_with("because scaling was held at its maximum of 22 tasks.")
    );
    assert!(diagnose(DiagnosisKind::OutOfMemory).contains("ran out of memory"));
    assert!(diagnose(DiagnosisKind::RetryStorm).contains("retries kept its tasks overloaded"));
    assert!(diagnose(DiagnosisKind::CapacityUnavailable).contains("capacity was not to be had"));
    assert!(diagnose(DiagnosisKind::RepeatedRestarts).contains("had to be started again"));
    let unhealthy = sentence(&|s: &mut Summary| {
        s.services["web"].scaling.tasks_failed = 11;
        let kind = DiagnosisKind::UnhealthyService;
        s.diagnoses.push(Diagnosis { kind, subject: "web".into(), ..Diagnosis::default() });
    });
    assert!(unhealthy.contains("failed their health checks under the load and were replaced (11"), "{unhealthy}");
    // The launch outweighs the signal.
    let slow_pull = sentence(&|s: &mut Summary| s.incidents[0].links.pull_s = 600.0);
    assert!(slow_pull.contains("of it pulling the image"), "{slow_pull}");
    // No cause: nothing is claimed.
    let unknown = sentence(&|s: &mut Summary| {
        s.incidents[0].links = RecoveryLinks { unattributed_s: 382.8, ..RecoveryLinks::default() };
    });
    assert_eq!(unknown, "");
    // An open deployment that the incident fell into.
    let rolled_back = sentence(&|s: &mut Summary| {
        let d = &mut s.services["web"].deployments[0];
        d.outcome = DeploymentOutcome::RolledBack { reason: "circuit breaker".into() };
    });
    assert!(rolled_back.contains("went wrong and was rolled back (circuit breaker)"), "{rolled_back}");
    let all_held = sentence(&|s: &mut Summary| s.objectives.iter_mut().for_each(|o| o.held = Some(true)));
    assert_eq!(all_held, "All 4 objectives hold for $3.12/h.");
    let cost = sentence(&|s: &mut Summary| {
        s.objectives.iter_mut().for_each(|o| o.held = Some(o.key != "cost_per_hour"));
    });
    assert!(cost.contains("the largest item is Fargate vCPU with $0.38 (18 %)"), "{cost}");
}
