use super::*;

#[test]
fn axes_reach_around_their_values_with_round_ticks() {
    let axis = Axis::around([2.1, 2.4].into_iter(), Extent::Close, 7);
    assert_eq!(axis.ticks, [2.1, 2.15, 2.2, 2.25, 2.3, 2.35, 2.4].map(|t: f64| (t * 20.0).round() * 0.05));
    assert_eq!(axis.label(2.1, "$"), "$2.10");
    let axis = Axis::around([0.0, 9_000.0].into_iter(), Extent::Zero, 5);
    assert_eq!((axis.from, axis.label(2_000.0, "")), (0.0, "2\u{202f}000".to_owned()));
    let axis = Axis::around([-13.0, 18.0].into_iter(), Extent::Close, 7);
    assert_eq!(axis.label(-5.0, ""), "−5");
    for lone in [0.0, 7.0, -3.0] {
        let axis = Axis::around([lone].into_iter(), Extent::Close, 6);
        assert!(axis.from < lone && lone < axis.to && !axis.ticks.is_empty(), "{axis:?}");
    }
    let axis = Axis::around([f64::NAN].into_iter(), Extent::Log, 6);
    assert!(axis.share(0.0) == 0.0 && axis.from > 0.0);
    let axis = Axis::around([40.0, 2_000.0].into_iter(), Extent::Log, 6);
    assert!((2..=6).contains(&axis.ticks.len()), "{axis:?}");
}

#[test]
fn looks_differ_in_shape_or_dash_as_well_as_in_colour() {
    let looks: Vec<_> = (0..12).map(look).collect();
    for (i, a) in looks.iter().enumerate() {
        for b in &looks[..i] {
            assert!((a.1, a.2) != (b.1, b.2));
        }
    }
}
