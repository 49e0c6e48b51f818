use super::why::Plugins;
use super::*;
use crate::kernel::{Draw, SimDuration, SimTime};
use crate::kubernetes::object::{PodSpec, PreemptionPolicy, Resources};

const FIT: Plugins = Plugins::NODE_RESOURCES_FIT;

fn at(seconds: u64) -> SimTime {
    SimTime::from_secs(seconds)
}

fn queue(pop_from_backoff: bool) -> SchedulingQueue {
    SchedulingQueue::new(QueueSpec { pop_from_backoff, ..QueueSpec::default() })
}

fn popped(queue: &mut SchedulingQueue, now: SimTime) -> Option<u64> {
    queue.pop(now).map(|a| a.pod.0)
}

#[test]
fn pods_leave_by_priority_and_then_by_time() {
    let mut queue = queue(true);
    for (pod, priority, time) in [(1, 0, 0), (2, 0, 1), (3, 7, 2), (4, 7, 2)] {
        queue.add(PodKey(pod), priority, at(time));
    }
    let order: Vec<u64> = std::iter::from_fn(|| popped(&mut queue, at(3))).collect();
    assert_eq!(order, [3, 4, 1, 2]);
    assert_eq!(queue.len(), 4, "their attempts are under way");
}

#[test]
fn a_failed_pod_waits_for_an_event_that_its_filter_asked_for() {
    let mut queue = queue(false);
    queue.add(PodKey(1), 0, at(10));
    assert_eq!(popped(&mut queue, at(10)), Some(1));
    queue.failed(PodKey(1), FIT, at(10));
    assert_eq!((queue.unschedulable(), queue.is_unschedulable(PodKey(1))), (1, true));
    queue.happened(ClusterEvent::NodeLabels, at(11), |_| true);
    queue.happened(ClusterEvent::PodRemoved, at(11), |_| false);
    assert_eq!(queue.unschedulable(), 1, "neither helps");
    queue.happened(ClusterEvent::PodRemoved, at(11), |_| true);
    assert_eq!(
        (queue.next_due(at(11)), popped(&mut queue, at(11))),
        (Some(at(11)), Some(1)),
        "the first second is over"
    );
    queue.failed(PodKey(1), FIT, at(12));
    queue.happened(ClusterEvent::NodeAdded, at(12), |_| true);
    assert_eq!((queue.next_due(at(12)), popped(&mut queue, at(13))), (Some(at(14)), None), "two seconds of back-off");
    assert_eq!(popped(&mut queue, at(14)), Some(1));
}

#[test]
fn what_happens_during_an_attempt_is_not_lost() {
    let mut queue = queue(true);
    queue.add(PodKey(1), 0, at(0));
    queue.add(PodKey(2), 0, at(0));
    assert_eq!(popped(&mut queue, at(0)), Some(1));
    queue.happened(ClusterEvent::PodRemoved, at(0), |_| true);
    assert_eq!(popped(&mut queue, at(0)), Some(2));
    queue.failed(PodKey(1), FIT, at(0));
    queue.failed(PodKey(2), FIT, at(0));
    assert_eq!(queue.unschedulable(), 1, "the second began after the event");
    assert_eq!(popped(&mut queue, at(0)), Some(1), "nothing else waits, so it leaves back-off early");
    queue.done(PodKey(1));
    queue.remove(PodKey(2));
    assert!(queue.is_empty() && queue.next_due(at(0)).is_none());
}

#[test]
fn a_pod_that_no_filter_refused_backs_off_in_full() {
    let mut queue = queue(true);
    queue.add(PodKey(1), 0, at(0));
    assert_eq!(popped(&mut queue, at(0)), Some(1));
    queue.failed(PodKey(1), Plugins::NONE, at(0));
    assert_eq!((popped(&mut queue, at(0)), queue.next_due(at(0))), (None, Some(at(1))));
    assert_eq!(popped(&mut queue, at(1)), Some(1));
}

#[test]
fn after_five_minutes_a_pod_is_tried_again() {
    let mut queue = queue(true);
    queue.add(PodKey(1), 0, at(0));
    assert_eq!(popped(&mut queue, at(0)), Some(1));
    queue.failed(PodKey(1), FIT, at(5));
    assert_eq!(queue.next_due(at(6)), Some(at(330)), "checked each 30 s");
    assert_eq!((popped(&mut queue, at(329)), popped(&mut queue, at(330))), (None, Some(1)));
}

/// Nodes and pods of some sizes.
fn cluster(profile: Profile, nodes: usize) -> (Scheduler, Vec<ShapeId>) {
    let mut scheduler = Scheduler::new(profile);
    for n in 0..nodes {
        let name = scheduler.symbols_mut().intern(&format!("n{n}"));
        let has = Resources { cpu_m: 4000, memory: 16 << 30, pods: 20, ..Resources::default() };
        scheduler.add_node(Node::new(name, has));
    }
    let namespace = scheduler.symbols_mut().intern("default");
    let shapes = (1..=8).map(|size| {
        let mut spec = PodSpec::new(namespace);
        (spec.requests.cpu_m, spec.requests.memory) = (size * 100, size << 28);
        (spec.score_cpu_m, spec.score_memory) = (size * 100, size << 28);
        scheduler.add_shape(spec)
    });
    let shapes = shapes.collect();
    (scheduler, shapes)
}

#[test]
fn what_is_forgotten_is_found_again() {
    // In tests the log and the memory are so short that both overflow all the time.
    for nodes in [30, 70] {
        let (mut scheduler, shapes) = cluster(Profile::default(), nodes);
        let draw = Draw::new(1);
        for step in 0..600_u64 {
            let bits = draw.of(step).bits();
            let shape = shapes[(bits >> 20) as usize % if step < 300 { 8 } else { 2 }];
            let mut fresh = scheduler.clone();
            fresh.caches.fill(None);
            fresh.cached = 0;
            let chosen = scheduler.schedule(PodKey(step), shape, bits);
            assert_eq!(chosen, fresh.schedule(PodKey(step), shape, bits));
            if let Ok(node) = chosen {
                scheduler.place(PodKey(step), shape, node, at(step));
            }
            for back in [7, 50, 51] {
                if bits.is_multiple_of(3) && step > back {
                    scheduler.remove(PodKey(step - back));
                }
            }
        }
        let held: usize = scheduler.caches.iter().flatten().map(|c| c.entries.len()).sum();
        assert_eq!(held, scheduler.cached);
    }
}

#[test]
fn an_empty_cluster_gives_no_reason() {
    let (mut scheduler, shapes) = cluster(Profile::default(), 0);
    let why = scheduler.schedule(PodKey(1), shapes[0], 0).expect_err("there is no node");
    assert!(why.plugins().is_empty());
    assert_eq!(why.text(scheduler.symbols()), "no nodes available to schedule pods");
}

#[test]
fn a_nominated_pod_keeps_its_room() {
    let (mut scheduler, shapes) = cluster(Profile::default(), 1);
    let node = NodeId(0);
    let mut big = scheduler.shape(shapes[0]).expect("a shape").clone();
    (big.requests.cpu_m, big.priority) = (3_500, 10);
    let big = scheduler.add_shape(big);
    scheduler.nominate(PodKey(1), big, node);
    assert!(scheduler.schedule(PodKey(2), shapes[7], 0).is_err(), "800 of 500 millicores");
    assert_eq!(scheduler.schedule(PodKey(2), shapes[4], 0), Ok(node));
    let mut urgent = scheduler.shape(shapes[7]).expect("a shape").clone();
    urgent.priority = 11;
    let urgent = scheduler.add_shape(urgent);
    assert_eq!(scheduler.schedule(PodKey(3), urgent, 0), Ok(node), "it is more important");
    assert_eq!(scheduler.schedule(PodKey(1), big, 0), Ok(node));
    scheduler.place(PodKey(1), big, node, at(1));
    assert!(scheduler.nominations().is_empty());
    assert_eq!(scheduler.schedule_on(PodKey(4), shapes[0], node), Ok(()));
}

#[test]
fn a_pod_that_must_not_preempt_says_so() {
    let (mut scheduler, shapes) = cluster(Profile::default(), 1);
    let mut spec = scheduler.shape(shapes[0]).expect("a shape").clone();
    (spec.requests.cpu_m, spec.preemption_policy, spec.priority) = (5_000, PreemptionPolicy::Never, 1);
    let shape = scheduler.add_shape(spec);
    let why = scheduler.schedule(PodKey(1), shape, 0).expect_err("it is too large");
    let none = scheduler.preempt(PodKey(1), shape, &[], 0).expect_err("its policy forbids it");
    assert_eq!(
        why.text_with(&none, scheduler.symbols()),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn backoff_doubles_up_to_ten_seconds() {
    let waits: Vec<u64> = (1..=6).map(|n| QueueSpec::default().backoff(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    assert_eq!(QueueSpec::default().backoff(u32::MAX), SimDuration::from_secs(10));
}

#[test]
fn quotients_are_those_of_integers() {
    let draw = Draw::new(3);
    for step in 0..200_000_u64 {
        let own = draw.of(step);
        let b = (own.of(0).bits() >> (18 + own.of(2).bits() % 46)) as i64;
        let (k, off) = ((own.of(1).bits() % 130) as i64, (own.of(3).bits() % 5) as i64 - 2);
        if b == 0 {
            continue;
        }
        for a in [b.saturating_mul(k).saturating_add(off), (own.of(4).bits() >> 8) as i64, -off] {
            assert_eq!(score::quotient(a, b), a / b, "{a} / {b}");
        }
    }
    assert_eq!((score::quotient(-7, 2), score::quotient(7, -2), score::quotient(i64::MIN, -1)), (-3, -3, i64::MIN));
}

#[test]
fn few_nodes_and_many_decide_alike() {
    // In tests more than 40 nodes are many: contenders are looked at one by one.
    let (mut scheduler, shapes) = cluster(Profile::fit_only(), 90);
    let draw = Draw::new(2);
    for step in 0..500_u64 {
        let bits = draw.of(step).bits();
        let shape = shapes[(bits >> 20) as usize % 2];
        let mut fresh = scheduler.clone();
        fresh.caches.fill(None);
        fresh.cached = 0;
        let chosen = scheduler.schedule(PodKey(step), shape, bits);
        assert_eq!(chosen, fresh.schedule(PodKey(step), shape, bits));
        if let Ok(node) = chosen {
            scheduler.place(PodKey(step), shape, node, at(step));
        }
        if bits.is_multiple_of(3) && step > 40 {
            scheduler.remove(PodKey(step - 40));
        }
    }
}
