use std::fs;

use super::*;
use crate::report::made_up;
use crate::report::pen::tests::overlapping;

/// Every chart has both files, says what it is of, and has no words upon words.
fn in_order(folder: &Path, names: &[String]) {
    for name in names {
        let file = |extension: &str| folder.join("charts").join(format!("{name}.{extension}"));
        let svg = fs::read_to_string(file("svg")).expect("an SVG");
        assert!(svg.contains("uncalibrated: direction only"), "{name}");
        assert_eq!(overlapping(&svg), Vec::<(String, String)>::new(), "{name}");
        assert_eq!(fs::read(file("png")).expect("a PNG")[1..4], *b"PNG", "{name}");
    }
}

#[test]
fn a_comparison_has_its_charts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut c = made_up::comparison(12);
    let names = write_comparison_charts(folder.path(), &c).expect("drawn");
    assert_eq!(names, ["series", "distributions", "cost-latency", "differences"]);
    in_order(folder.path(), &names);
    let svg = |name: &str| fs::read_to_string(folder.path().join(format!("charts/{name}.svg"))).expect("an SVG");
    assert!(svg("series").contains("least to most of the runs"));
    assert!(svg("series").contains("alike in all"));
    assert!(svg("cost-latency").contains("target ≤ 400 ms"));
    // Names of any length stay apart.
    for s in &mut c.studies {
        s.label = format!("a-variant-with-a-rather-long-name-{}", s.label);
    }
    c.reference = c.studies[0].label.clone();
    c.against[0].label = c.studies[1].label.clone();
    in_order(folder.path(), &write_comparison_charts(folder.path(), &c).expect("drawn"));
}

#[test]
fn a_study_has_its_chart_whatever_it_lacks() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for runs in [1, 4, 24] {
        let study = made_up::study("base", runs, 1.0);
        let names = write_study_charts(folder.path(), &study).expect("drawn");
        assert_eq!(names, ["replications"]);
        in_order(folder.path(), &names);
    }
    let svg = fs::read_to_string(folder.path().join("charts/replications.svg")).expect("an SVG");
    assert!(svg.contains("5 to 95 % of runs") && svg.contains("25 to 75 % of runs"));
    assert!(write_study_charts(folder.path(), &Study::default()).expect("nothing to draw").is_empty());
    assert!(write_comparison_charts(folder.path(), &Comparison::default()).expect("nothing to draw").is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let e = write_study_charts(&file, &made_up::study("base", 5, 1.0)).expect_err("no folder");
    assert!(e.to_string().contains("file"), "{e}");
}
