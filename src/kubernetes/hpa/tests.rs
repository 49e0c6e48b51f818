use super::*;
use crate::kernel::SimDuration;
use crate::kubernetes::kubelet::{PodPhase, ReadyCondition};

const NOW: SimTime = SimTime::from_secs(100_000);

fn pods(count: usize) -> Vec<PodState> {
    let ready = Some(ReadyCondition { status: true, since: SimTime::ZERO });
    vec![PodState { phase: PodPhase::Running, deleting: false, ready, start: Some(SimTime::ZERO) }; count]
}

fn readings(count: usize, value: i64) -> Vec<PodReading> {
    let sample = Some(Sample { at: NOW, window: SimDuration::from_secs(15), value });
    vec![PodReading { sample, request: Some(1_000) }; count]
}

fn at(spec: &HpaSpec, memory: HpaMemory, replicas: u32, usage: i64, now: SimTime) -> (Decision, HpaMemory) {
    let count = replicas as usize;
    let (pods, readings) = (pods(count), readings(count, usage));
    let seen = Observation {
        replicas: Replicas { spec: replicas, status: replicas },
        pods: &pods,
        readings: &[Reading::Pods { readings: &readings, strangers: &[] }],
    };
    sync(spec, &HpaSettings::default(), memory, &seen, now)
}

#[test]
fn the_walkthrough_of_the_documentation() {
    // 305 % of the request at a target of 50 %, from one replica: 7 in the end, 4 in the first sync.
    let cpu50 = MetricSpec::Resource { resource: ResourceName::Cpu, target: PodTarget::Utilization(50) };
    let spec = HpaSpec { max_replicas: 10, metrics: vec![cpu50], ..HpaSpec::default() };
    let (decision, _) = at(&spec, HpaMemory::default(), 1, 3_050, NOW);
    assert_eq!((decision.proposal, decision.replicas), (Some(7), 4));
    assert_eq!(decision.limit, Some(Limit::ScaleUpLimit));
}

#[test]
fn scaling_down_waits_for_the_window() {
    let spec = HpaSpec { max_replicas: 10, ..HpaSpec::default() };
    let (first, mut memory) = at(&spec, HpaMemory::default(), 8, 800, NOW);
    assert_eq!(first.replicas, 8);
    for sync in 1..=20 {
        let (decision, next) = at(&spec, memory, 8, 100, NOW + SimDuration::from_secs(15 * sync));
        assert_eq!(decision.replicas, 8, "the window's end is inside");
        memory = next;
    }
    let (decision, memory) = at(&spec, memory, 8, 100, NOW + SimDuration::from_secs(315));
    assert_eq!(decision.replicas, 1);
    assert!(memory.scale_downs.is_empty(), "no events without behavior");
}

#[test]
fn a_direction_can_be_switched_off() {
    let off = ScalingRules { select_policy: Some(SelectPolicy::Disabled), ..ScalingRules::default() };
    let behavior = Some(Behavior { scale_up: None, scale_down: Some(off) });
    let spec = HpaSpec { max_replicas: 10, behavior, ..HpaSpec::default() };
    let memory = HpaMemory { recommendations: Some(Vec::new()), ..HpaMemory::default() };
    let (decision, _) = at(&spec, memory, 8, 100, NOW);
    assert_eq!((decision.replicas, decision.limit), (8, Some(Limit::ScaleDownLimit)));
}

#[test]
fn a_metric_that_fails_forbids_scaling_down_only() {
    let external = MetricSpec::External { name: "lag".into(), target: TotalTarget::AverageValue(1_000) };
    let spec = HpaSpec {
        max_replicas: 10,
        metrics: vec![HpaSpec::default().metrics()[0].clone(), external],
        ..HpaSpec::default()
    };
    let memory = || HpaMemory { recommendations: Some(Vec::new()), ..HpaMemory::default() };
    let (down, kept) = at(&spec, memory(), 4, 100, NOW);
    assert_eq!((down.basis, down.replicas), (Basis::Failed, 4));
    assert_eq!(kept, memory(), "a failed sync remembers nothing");
    assert_eq!(at(&spec, memory(), 4, 1_600, NOW).0.replicas, 8);
}

#[test]
fn metrics_server_shows_the_last_whole_pair() {
    let server = MetricsServer::default();
    let secs = SimTime::from_secs;
    let window = |now| server.visible(secs(now), secs(0), SimDuration::ZERO);
    assert_eq!(window(10), None);
    // The scrape at 15 s found the point of 10 s: 10 s old, fresh enough to be measured from the start.
    assert_eq!(window(16), Some(Window { from: secs(0), to: secs(10) }));
    assert_eq!(window(30), window(16), "the scrape at 30 s is not read before 31 s");
    assert_eq!(window(31), Some(Window { from: secs(10), to: secs(30) }));
    assert_eq!(window(46), Some(Window { from: secs(30), to: secs(40) }));
    assert_eq!(server.next(secs(16)), secs(31));
    assert_eq!(server.next(secs(15)), secs(16));
    let legacy = MetricsServer::legacy();
    assert_eq!(legacy.visible(secs(119), secs(61), SimDuration::ZERO), None);
    assert_eq!(legacy.visible(secs(121), secs(65), SimDuration::ZERO), Some(Window { from: secs(65), to: secs(120) }));
}

#[test]
fn kept_points_show_what_the_rule_says() {
    let server = MetricsServer::default();
    let at = SimTime::from_secs;
    for (started, offset) in [(0, 0), (7, 3), (22, 9), (41, 5)] {
        let (started, offset) = (at(started), SimDuration::from_secs(offset));
        let mut kept = PodMetrics::default();
        for now in 0..200 {
            let now = at(now);
            if now == now.floor_to(server.metric_resolution) {
                let point = now.saturating_sub(offset).floor_to(server.housekeeping) + offset;
                if point <= now && point > started {
                    // Half a core all the time.
                    let core_nanos = (point - started).as_nanos() / 2;
                    kept.scrape(&server, now, started, Point { at: point, core_nanos, memory: 7 });
                }
            }
            let expected = server.visible(now, started, offset);
            let shown = kept.cpu(now);
            assert_eq!(shown.map(|s| (s.at, s.window)), expected.map(|w| (w.to, w.length())), "{now:?} {started:?}");
            assert!(shown.is_none_or(|s| s.value == 500));
        }
    }
    let mut kept = PodMetrics::default();
    let point = |now, core_nanos| Point { at: at(now), core_nanos, memory: 0 };
    kept.scrape(&server, at(15), at(0), point(15, 1));
    kept.scrape(&server, at(30), at(0), point(30, 20_000));
    assert!(kept.cpu(at(31)).is_some_and(|s| s.value == 1), "rounded up");
    kept.scrape(&server, at(45), at(44), point(45, 0));
    assert!(kept.cpu(at(45)).is_some() && kept.cpu(at(46)).is_none(), "a restart leaves nothing");
}

#[test]
fn five_thousand_pods_are_one_pass() {
    let spec = HpaSpec { max_replicas: 6_000, ..HpaSpec::default() };
    let (decision, _) = at(&spec, HpaMemory::default(), 5_000, 960, NOW);
    assert_eq!(decision.replicas, 6_000);
}

proptest::proptest! {
    #[test]
    fn no_sync_leaves_the_bounds_or_outruns_the_limits(
        usages in proptest::collection::vec((1u32..40, 0i64..5_000), 1..60),
        min in 1u32..5,
        more in 0u32..40,
        value in 1u32..8,
        with_behavior: bool,
    ) {
        let policy = |kind| ScalingPolicy { kind, value, period: SimDuration::from_secs(60) };
        let rules = |window| ScalingRules {
            stabilization_window: Some(SimDuration::from_secs(window)),
            policies: vec![policy(PolicyKind::Pods)],
            ..ScalingRules::default()
        };
        let behavior = with_behavior.then(|| Behavior { scale_up: Some(rules(0)), scale_down: Some(rules(60)) });
        let spec = HpaSpec { min_replicas: min, max_replicas: min + more, behavior, ..HpaSpec::default() };
        let (mut memory, mut replicas, mut now) = (HpaMemory::default(), min, NOW);
        let mut sizes = vec![(now, replicas)];
        for (seconds, usage) in usages {
            now += SimDuration::from_secs(u64::from(seconds));
            let (decision, next) = at(&spec, memory, replicas, usage, now);
            proptest::prop_assert!((min..=min + more).contains(&decision.replicas));
            proptest::prop_assert_eq!(decision.replicas, read_back(&decision, &next));
            if with_behavior {
                // Nothing that lies within a period back is further away than the policy allows.
                for (then, size) in sizes.iter().filter(|(then, _)| now - *then < SimDuration::from_secs(60)) {
                    proptest::prop_assert!(decision.replicas.abs_diff(*size) <= 2 * value, "{then:?} {size} {decision:?}");
                }
            } else {
                proptest::prop_assert!(decision.replicas <= (2 * replicas).max(4));
            }
            (memory, replicas) = (next, decision.replicas);
            sizes.push((now, replicas));
        }
        proptest::prop_assert!(memory.recommendations.is_some_and(|r| r.len() <= 62));
    }
}

/// The size that the decision says, read back from its text: what is recorded is what was decided.
fn read_back(decision: &Decision, memory: &HpaMemory) -> u32 {
    let text = serde_json::to_string(&(decision, memory)).unwrap();
    let (decision, _): (Decision, HpaMemory) = serde_json::from_str(&text).unwrap();
    decision.replicas
}
