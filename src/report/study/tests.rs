use super::*;
use crate::experiment::HOLD;
use crate::report::made_up;

fn text(study: &Study, style: Style) -> String {
    let mut out = Vec::new();
    write_study(&mut out, study, HOLD, style).expect("a vector takes it");
    String::from_utf8(out).expect("text")
}

fn plain(s: &str) -> String {
    s.replace('\u{202f}', " ")
}

#[test]
fn a_study_reads_from_objectives_to_a_sentence() {
    let got = plain(&text(&made_up::study("base", 12, 1.0), Style::default()));
    assert_eq!(got, include_str!("wide.txt"), "{got}");
}

#[test]
fn a_study_fits_72_columns_and_ascii() {
    let study = made_up::study("base", 12, 1.0);
    let narrow = text(&study, Style::for_columns(72));
    assert!(narrow.lines().all(|l| l.chars().count() <= 72), "{narrow}");
    let ascii = text(&study, Style { ascii: true, ..Style::for_columns(72) });
    assert!(ascii.is_ascii(), "{ascii}");
    assert!(ascii.contains("x web  latency p99") && ascii.contains("412 ms [388, 436]"), "{ascii}");
}

#[test]
fn few_runs_have_no_interval_and_say_so() {
    for runs in [1, 4] {
        let got = text(&made_up::study("base", runs, 1.0), Style::default());
        assert!(got.contains("no intervals under five"), "{got}");
        assert!(!got.contains("[388"), "{got}");
    }
}

#[test]
fn what_is_kept_is_said_with_its_price() {
    let got = text(&made_up::study("warm-pool", 12, 0.85), Style::default());
    assert!(
        got.trim_end()
            .ends_with("spike/warm-pool keeps both objectives in all 12 runs for $2.49 an hour [2.44, 2.55]."),
        "{got}"
    );
    let mut none = made_up::study("base", 12, 1.0);
    none.objectives.clear();
    none.kept_all = None;
    assert!(text(&none, Style::default()).contains("no objective says what must hold"));
    let empty = Study::default();
    assert!(text(&empty, Style::default()).contains("no intervals"));
}

#[test]
fn markdown_is_a_dozen_lines() {
    let mut out = Vec::new();
    write_study_markdown(&mut out, &made_up::study("base", 12, 1.0), HOLD).expect("a vector takes it");
    let got = String::from_utf8(out).expect("text");
    assert!(got.lines().count() <= 14, "{got}");
    assert!(got.contains("| web latency p99 | ≤ 400 ms | 412 ms [388, 436] | ✗ 0 of 12 |"), "{got}");
}
