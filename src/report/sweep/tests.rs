use super::*;
use crate::experiment::HOLD;
use crate::report::made_up;

fn text(sweep: &SweepResult, style: Style) -> String {
    let mut out = Vec::new();
    write_sweep(&mut out, sweep, HOLD, style).expect("a vector takes it");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_sweep_reads_from_the_best_point_to_the_answer() {
    let got = text(&made_up::sweep(2), Style::default()).replace(['\u{202f}', '\u{a0}'], " ");
    assert_eq!(got, include_str!("wide.txt"), "{got}");
}

#[test]
fn a_sweep_fits_72_columns_and_ascii_with_any_number_of_axes() {
    for axes in 1..=3 {
        let sweep = made_up::sweep(axes);
        let got = text(&sweep, Style { ascii: true, ..Style::for_columns(72) });
        assert!(got.is_ascii() && got.lines().all(|l| l.chars().count() <= 72), "{got}");
    }
    assert!(text(&SweepResult::default(), Style::default()).contains("nothing to say"));
}

#[test]
fn what_no_point_keeps_is_said_with_the_nearest() {
    let mut sweep = made_up::sweep(1);
    for p in &mut sweep.points {
        p.study.objectives[0].held = 0;
        p.study.objectives[0].mean = p.study.figure("web.latency_p99_ms").and_then(|f| f.point);
        p.study.objectives[0].limit = 100.0;
        p.study.kept_all = Some(0);
    }
    sweep.points[0].invalid = Some("no such size".into());
    sweep.failures = vec![("it was too hot".into(), "simctl run spike.toml --replication 3".into())];
    let got = text(&sweep, Style::default());
    assert!(got.contains("None of 3 points keeps every objective; nearest comes web.desired_count=12"), "{got}");
    assert!(got.contains("no such size") && got.contains("simctl run spike.toml --replication 3"), "{got}");
}

#[test]
fn markdown_lists_the_best() {
    let mut out = Vec::new();
    write_sweep_markdown(&mut out, &made_up::sweep(2), HOLD).expect("a vector takes it");
    let got = String::from_utf8(out).expect("text");
    assert!(got.lines().count() <= 14 && got.contains("| 12 | 60 | 2.36 [2.30, 2.41] |"), "{got}");
}
