use super::*;
use crate::report::made_up;
use crate::report::pen::tests::overlapping;

fn text(search: &SearchResult, style: Style) -> String {
    let mut out = Vec::new();
    write_search(&mut out, search, style).expect("a vector takes it");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_search_reads_from_the_goal_to_the_answer() {
    let got = text(&made_up::search(true), Style::default()).replace('\u{202f}', " ");
    assert_eq!(got, include_str!("wide.txt"), "{got}");
}

#[test]
fn a_search_without_an_answer_says_how_near_it_came() {
    let got = text(&made_up::search(false), Style::default());
    assert!(
        got.contains("No configuration of 24 is shown to keep the objectives. Nearest comes task.cpu=512"),
        "{got}"
    );
    assert!(got.contains("12 % beyond its limit") && !got.contains("as a variant"), "{got}");
    let narrow = text(&made_up::search(true), Style { ascii: true, ..Style::for_columns(72) });
    assert!(narrow.is_ascii() && narrow.lines().all(|l| l.chars().count() <= 72), "{narrow}");
    assert!(text(&SearchResult::default(), Style::default()).contains("there is no answer"));
}

#[test]
fn fresh_runs_that_do_not_confirm_are_not_hidden() {
    let mut search = made_up::search(true);
    search.shown_share[0] = Some(0.78);
    let got = text(&search, Style::default()).replace("\n  ", " ");
    assert!(got.contains("only that they hold in at least 78 % of runs: the fresh runs do not confirm"), "{got}");
}

#[test]
fn markdown_has_the_patch() {
    let mut out = Vec::new();
    write_search_markdown(&mut out, &made_up::search(true)).expect("a vector takes it");
    let got = String::from_utf8(out).expect("text");
    assert!(got.contains("```toml\n[variants.found]") && got.contains("| winner | task.cpu=1024"), "{got}");
}

#[test]
fn the_chart_has_its_winner() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for found in [true, false] {
        assert_eq!(write_search_charts(folder.path(), &made_up::search(found)).expect("drawn"), ["pareto"]);
        let svg = std::fs::read_to_string(folder.path().join("charts/pareto.svg")).expect("an SVG");
        assert!(svg.contains(if found { "winner" } else { "nearest" }));
        assert_eq!(overlapping(&svg), Vec::<(String, String)>::new());
    }
    assert!(write_search_charts(folder.path(), &SearchResult::default()).expect("nothing").is_empty());
}
