use std::path::Path;

use super::*;
use crate::kernel::SimDuration;
use crate::output::{
    CapacityRow, CostRow, DecisionDetail, DecisionRow, DeploymentRow, Fixed, Millis, Money, NodeRow, OutputFolder,
    SUMMARY_SCHEMA, Secs, ServiceRow,
};
use crate::units::Usd;

/// A made-up run with a spike, a late scale-out and a deployment, in so many intervals of so many seconds.
fn made_up(folder: &Path, intervals: u32, seconds: u32) -> PathBuf {
    let mut summary = crate::report::terminal::tests::rich();
    summary.schema = SUMMARY_SCHEMA.into();
    let total = f64::from(intervals * seconds);
    let scale = total / 2_700.0;
    summary.meta.duration_s = total;
    summary.meta.warm_up_s = 300.0 * scale;
    summary.meta.interval_s = f64::from(seconds);
    summary.meta.start = "2026-01-05T00:00:00Z".into();
    summary.meta.catalog_date = "2026-11-01".into();
    summary.meta.simctl_version = "0.1.0".into();
    summary.services["web"].cpu_target_pct = Some(60.0);
    for i in &mut summary.incidents {
        i.start_s *= scale;
        i.end_s = i.end_s.map(|e| e * scale);
    }
    let out = OutputFolder::create(&folder.join("base"), "7c1f9e2a0d", true).expect("folder");
    let mut rows = out.rows().expect("rows");
    let mut state: u64 = 7;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    for k in 0..intervals {
        let time = SimDuration::from_secs(u64::from(k * seconds));
        let t = f64::from(k * seconds) / scale;
        let rps = if t < 600.0 { 60.0 } else { (60.0 + (t - 600.0) * 6.0).min(420.0) };
        let tasks = if t < 1_000.0 { 4.0 } else { (4.0 + ((t - 1_000.0) / 20.0).floor()).min(22.0) };
        let desired = if t < 905.0 { 4.0 } else { 22.0 };
        let overload = (rps / (tasks * 22.0)).max(0.3);
        let p50 = 60.0 * if overload > 1.0 { 4.0 } else { 1.0 } * (1.0 + 0.1 * noise());
        let p99 = p50 * if overload > 1.0 { 14.0 } else { 2.6 } * (1.0 + 0.4 * noise());
        let failed = if overload > 1.2 { rps * 0.1 * (1.0 + noise()) } else { 0.0 };
        let per = f64::from(seconds);
        rows.service(&ServiceRow {
            time_s: time.into(),
            interval_s: Secs(u64::from(seconds) * 1_000_000_000),
            service: "web".into(),
            offered_rps: Fixed(rps),
            started: (rps * per) as u64,
            succeeded: ((rps * (1.0 + 0.1 * noise()) - failed) * per) as u64,
            failed: (failed * per) as u64,
            failed_timeout: (failed * 0.8 * per) as u64,
            failed_balancer_error: (failed * 0.2 * per) as u64,
            elb_460: (failed * 0.9 * per) as u64,
            elb_503: (failed * 0.3 * per) as u64,
            latency_p50_ms: Some(Millis((p50 * 1e6) as u64)),
            latency_p95_ms: Some(Millis((p99 * 0.5 * 1e6) as u64)),
            latency_p99_ms: (k % 97 != 3).then_some(Millis((p99 * 1e6) as u64)),
            desired: desired as u32,
            running: tasks as u32,
            healthy: (tasks - if (800.0..900.0).contains(&t) { 2.0 } else { 0.0 }) as u32,
            pending: (desired - tasks) as u32,
            cpu_used_pct: Some(Fixed((overload * 70.0).min(100.0) * (1.0 + 0.1 * noise()).min(1.0))),
            cpu_seen_pct: (t > 180.0).then_some(Fixed((rps_at(t - 180.0) / (tasks * 22.0) * 70.0).min(100.0))),
            memory_used_pct: Some(Fixed(30.0 + overload * 5.0)),
            ..ServiceRow::default()
        })
        .expect("row");
        for (item, usd) in [
            ("fargate_vcpu", tasks * 0.040_48),
            ("fargate_memory", tasks * 2.0 * 0.004_445),
            ("alb_hour", 0.022_5),
            ("alb_lcu", rps / 25.0 * 0.008 / 4.0),
            ("nat_hour", 0.135),
            ("public_ipv4", 0.015),
            ("logs", rps * 0.000_3),
        ] {
            rows.cost(&CostRow {
                time_s: time.into(),
                item: item.into(),
                owner: "web".into(),
                cost_usd: Money(Usd::from_nanos((usd * per / 3_600.0 * 1e9) as i64)),
                ..CostRow::default()
            })
            .expect("row");
        }
    }
    for k in 0..intervals {
        // Five Spot instances beside two On-Demand ones; three of them are taken back at 1,400 s.
        let t = f64::from(k * seconds) / scale;
        let spot = if (1_400.0..1_900.0).contains(&t) { 2 } else { 5 };
        rows.capacity(&CapacityRow {
            time_s: SimDuration::from_secs(u64::from(k * seconds)).into(),
            interval_s: Secs(u64::from(seconds) * 1_000_000_000),
            capacity: "nodes".into(),
            desired: 7,
            active: 2 + spot,
            on_demand: 2,
            spot,
            waiting_tasks: 3 * (5 - spot),
            vcpus: Fixed(4.0 * f64::from(2 + spot)),
            cpu_reserved_pct: Some(Fixed(if spot == 5 { 75.0 } else { 100.0 })),
            memory_reserved_pct: Some(Fixed(60.0)),
            eni_reserved_pct: Some(Fixed(20.0)),
            cpu_used_pct: Some(Fixed(if spot == 5 { 40.0 } else { 70.0 } * (1.0 + 0.1 * noise()))),
            ..CapacityRow::default()
        })
        .expect("row");
    }
    for node in 0..10_u32 {
        let at = |t: f64| Some(SimDuration::from_secs_f64(t * scale).into());
        let taken = (2..5).contains(&node);
        let new = node >= 7;
        rows.node(&NodeRow {
            node,
            capacity: "nodes".into(),
            node_type: "m7i.large".into(),
            zone: ["a", "b", "c"][node as usize % 3].into(),
            market: if node < 2 { "on_demand" } else { "spot" }.into(),
            ready_s: at(if new { 1_900.0 } else { 0.0 }),
            terminating_s: at(1_400.0).filter(|_| taken),
            end_reason: if taken { "spot_interruption" } else { "" }.into(),
            ..NodeRow::default()
        })
        .expect("row");
    }
    rows.decision(
        &DecisionRow {
            time_s: SimDuration::from_secs_f64(1_280.0 * scale).into(),
            controller: "spot".into(),
            subject: "capacity.nodes".into(),
            reason: "interruption_notice".into(),
            ..DecisionRow::default()
        },
        &DecisionDetail::default(),
    )
    .expect("row");
    for (t, from, to) in [(905.0, 4, 12), (965.0, 12, 22), (2_400.0, 22, 20)] {
        let row = DecisionRow {
            time_s: SimDuration::from_secs_f64(t * scale).into(),
            controller: "target_tracking".into(),
            service: "web".into(),
            from: Some(from),
            result: Some(to),
            ..DecisionRow::default()
        };
        rows.decision(&row, &DecisionDetail::default()).expect("row");
    }
    for (t, step, new) in
        [(1_500.0, "started", 0), (1_560.0, "progress", 10), (1_700.0, "progress", 22), (1_760.0, "completed", 22)]
    {
        rows.deployment(&DeploymentRow {
            time_s: SimDuration::from_secs_f64(t * scale).into(),
            deployment: 1,
            service: "web".into(),
            revision: 2,
            step: step.into(),
            new_running: new,
            new_healthy: new.saturating_sub(2),
            old_running: 22 - new,
            old_healthy: 22 - new,
            ..DeploymentRow::default()
        })
        .expect("row");
    }
    rows.close().expect("rows");
    out.write_summary(&summary, std::slice::from_ref(&summary)).expect("summary");
    out.finish().expect("result")
}

fn rps_at(t: f64) -> f64 {
    if t < 600.0 { 60.0 } else { (60.0 + (t - 600.0) * 6.0).min(420.0) }
}

#[test]
fn charts_are_drawn_from_the_files_alone() {
    let kept = std::env::var_os("SIMCTL_TEST_CHARTS").map(PathBuf::from);
    let root = tempfile::tempdir().expect("temporary folder");
    for (name, intervals, seconds) in [("spike", 270, 10), ("fortnight", 12_000, 100)] {
        let root = kept.as_deref().unwrap_or(root.path()).join(name);
        let folder = made_up(&root, intervals, seconds);
        let names = write_charts(&folder, LatencyScale::Auto).expect("charts");
        assert_eq!(
            names,
            [
                "overview",
                "load",
                "latency",
                "capacity",
                "utilisation",
                "errors",
                "deployments",
                "waits",
                "nodes",
                "cost"
            ],
            "{name}"
        );
        let nodes = fs::read_to_string(folder.join("charts/nodes.svg")).expect("SVG");
        for words in ["nodes: how full", "On-Demand", "Spot", "taken back (3)", "zone c", "tasks without room"] {
            assert!(nodes.contains(words), "{words}");
        }
        for chart in &names {
            let svg = fs::read_to_string(folder.join("charts").join(format!("{chart}.svg"))).expect("SVG");
            assert!(svg.starts_with("<svg width=\"1000\"") && svg.trim_end().ends_with("</svg>"), "{chart}");
            assert!(svg.len() < 1_500_000, "{chart} has {} bytes", svg.len());
            let png = fs::read(folder.join("charts").join(format!("{chart}.png"))).expect("PNG");
            assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{chart}");
        }
        assert_eq!(fs::read_dir(&folder).expect("folder").count(), 11, "nine tables, the summary and the charts");
        let svg = fs::read(overview_path(&folder)).expect("SVG");
        write_charts(&folder, LatencyScale::Auto).expect("again");
        assert_eq!(fs::read(overview_path(&folder)).expect("SVG"), svg, "equal files give equal pictures");
    }
}

#[test]
fn a_broken_table_is_named() {
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = made_up(root.path(), 10, 10);
    fs::write(folder.join("costs.csv"), "time_s,item\n1,2,3\n").expect("broken");
    let e = write_charts(&folder, LatencyScale::Auto).expect_err("broken");
    assert!(e.to_string().contains("costs.csv"), "{e}");
    fs::remove_file(folder.join("costs.csv")).expect("removed");
    let e = write_charts(&folder, LatencyScale::Auto).expect_err("missing");
    assert!(e.to_string().starts_with("cannot read"), "{e}");
}
