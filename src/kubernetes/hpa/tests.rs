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
fn five_thousand_pods_are_one_pass() {
    let spec = HpaSpec { max_replicas: 6_000, ..HpaSpec::default() };
    let (decision, _) = at(&spec, HpaMemory::default(), 5_000, 960, NOW);
    assert_eq!(decision.replicas, 6_000);
}
