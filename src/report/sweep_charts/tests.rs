use super::*;
use crate::report::made_up;
use crate::report::pen::tests::overlapping;

#[test]
fn the_charts_of_a_sweep_follow_its_axes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (axes, expected) in [
        (1, vec!["sweep"]),
        (2, vec!["sweep", "sensitivity"]),
        (3, vec!["sweep-cost", "sweep-latency", "sweep-kept", "sensitivity"]),
    ] {
        let names = write_sweep_charts(folder.path(), &made_up::sweep(axes)).expect("drawn");
        assert_eq!(names, expected);
        for name in names {
            let svg = std::fs::read_to_string(folder.path().join(format!("charts/{name}.svg"))).expect("an SVG");
            assert_eq!(overlapping(&svg), Vec::<(String, String)>::new(), "{name} of {axes}");
            assert!(folder.path().join(format!("charts/{name}.png")).exists());
        }
    }
    assert!(write_sweep_charts(folder.path(), &SweepResult::default()).expect("nothing").is_empty());
}

#[test]
fn axes_of_numbers_are_placed_by_their_numbers() {
    let axis = |values: &[&str]| AxisResult {
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        ..AxisResult::default()
    };
    let shown = axis(&["\"5s\"", "\"60s\""]);
    let (kind, find) = places(&shown);
    assert!(matches!(kind, Places::Numbers(Extent::Close)) && find("\"60s\"") == Some(60.0));
    // Numbers of different units have no common axis.
    let shown = axis(&["\"90s\"", "\"2m\""]);
    let (kind, find) = places(&shown);
    assert!(matches!(kind, Places::Names(_)) && find("\"2m\"") == Some(1.0));
    let (kind, _) = places(&axis(&["1", "1000"]));
    assert!(matches!(kind, Places::Numbers(Extent::Log)));
}
