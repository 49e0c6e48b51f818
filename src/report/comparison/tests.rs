use super::*;
use crate::experiment::HOLD;
use crate::report::made_up;

fn text(c: &Comparison, style: Style) -> String {
    let mut out = Vec::new();
    write_comparison(&mut out, c, HOLD, style).expect("a vector takes it");
    String::from_utf8(out).expect("text")
}

fn plain(s: &str) -> String {
    s.replace('\u{202f}', " ")
}

#[test]
fn a_comparison_reads_from_objectives_to_the_verdict() {
    let got = plain(&text(&made_up::comparison(12), Style::default()));
    assert_eq!(got, include_str!("wide.txt"), "{got}");
    let last = got.rsplit("Verdict\n").next().unwrap_or_default();
    assert!(
        last.starts_with("  warm-pool costs $0.37")
            && last.ends_with(
                "keeps
    every objective in all 12 runs.
"
            ),
        "{last}"
    );
}

#[test]
fn a_comparison_fits_72_columns() {
    let got = plain(&text(&made_up::comparison(12), Style::for_columns(72)));
    assert_eq!(got, include_str!("narrow.txt"), "{got}");
    assert!(got.lines().all(|l| l.chars().count() <= 72), "{got}");
}

#[test]
fn ascii_has_a_form_of_every_mark() {
    let got = text(&made_up::comparison(12), Style { ascii: true, ..Style::default() });
    assert!(got.is_ascii(), "{got}");
    assert!(
        got.contains("* cost $/h") && got.contains("+0.37 [+0.33, +0.42]") && got.contains("0.05 an hour"),
        "{got}"
    );
}

#[test]
fn few_pairs_have_values_and_no_verdict() {
    let mut c = made_up::comparison(3);
    for d in &mut c.against[0].differences {
        let kept = (d.address.clone(), d.label.clone(), d.unit.clone());
        *d = FigureDifference {
            address: kept.0,
            label: kept.1,
            unit: kept.2,
            verdict: "3 replications are too few: 5 are needed".into(),
            ..FigureDifference::default()
        };
    }
    c.tests = 0;
    let got = text(&c, Style::default());
    assert!(got.contains("3 runs: no intervals and no verdicts under five."), "{got}");
    assert!(got.contains("2.12     2.49") && !got.contains("Holm"), "{got}");
}

#[test]
fn marks_are_coloured_without_moving_anything() {
    let c = made_up::comparison(12);
    let bare = text(&c, Style::default());
    let painted = text(&c, Style { color: true, ..Style::default() });
    let mut washed = String::new();
    let mut rest = painted.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        washed += before;
        rest = after.split_once('m').map_or("", |p| p.1);
    }
    washed += rest;
    assert_eq!(washed, bare);
}

#[test]
fn markdown_is_the_comment_of_a_pull_request() {
    let mut out = Vec::new();
    write_comparison_markdown(&mut out, &made_up::comparison(12), HOLD).expect("a vector takes it");
    let got = plain(&String::from_utf8(out).expect("text"));
    assert_eq!(got, include_str!("comment.md"), "{got}");
    assert!(got.lines().count() <= 13, "{got}");
}

#[test]
fn independent_runs_are_not_called_pairs() {
    let mut c = made_up::comparison(12);
    c.paired = false;
    let got = text(&c, Style::default());
    assert!(got.contains("independent runs, not paired: 12 + 12 of 45 min simulated each"), "{got}");
    assert!(!got.contains("corr.") && !got.contains("runs that pairs take"), "{got}");
}
