//! Incidents: times in which an objective does not hold, and what the recovery waited for.

use crate::kernel::{SimDuration, SimTime};
use crate::output::RecoveryLinks;

/// Good intervals in a row that end an incident.
const GOOD_INTERVALS: u32 = 3;

/// Losses that are remembered of a service, for an incident that may begin before them.
const LOSSES: usize = 1_000;

/// The links of one launch, from the load that asked for it to the task that took it. What did not
/// happen (a replacement has no alarm) is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaunchChain {
    /// End of the newest metric period that the alarm had seen.
    pub(super) data_end: Option<SimTime>,
    /// When that point could be seen.
    pub(super) visible_at: Option<SimTime>,
    /// When the alarm rang.
    pub(super) alarm_at: Option<SimTime>,
    /// When the desired count rose.
    pub(super) decided_at: Option<SimTime>,
    /// When the task was asked for.
    pub(super) requested_at: SimTime,
    /// When quotas and launch rates let it pass.
    pub(super) launched_at: Option<SimTime>,
    /// When it had its place and its network interface.
    pub(super) pending_at: Option<SimTime>,
    /// When its image was there.
    pub(super) pulled_at: Option<SimTime>,
    /// When its application answered.
    pub(super) ready_at: Option<SimTime>,
    /// When it counted as healthy.
    pub(super) healthy_at: SimTime,
    /// What it waited for beside.
    pub(super) waits: LaunchWaits,
}

/// What a launch waited for that its instants do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaunchWaits {
    /// When the loss that it replaces was found.
    pub(super) found: Option<SimTime>,
    /// When the first replacement of that loss was asked for.
    pub(super) first_request: Option<SimTime>,
    /// Waiting for a vCPU quota.
    pub(super) quota: SimDuration,
    /// Waiting for capacity.
    pub(super) capacity: SimDuration,
    /// Waiting for an address.
    pub(super) address: SimDuration,
    /// Tries to pull the image that failed.
    pub(super) pulls: SimDuration,
}

/// What is remembered of the losses of a service: a task became unhealthy, or the world ended it.
#[derive(Clone, Debug, Default)]
pub(super) struct Loss {
    /// The loss that is being made up for: when it was found, and when its first replacement was asked for.
    open: Option<(SimTime, Option<SimTime>)>,
    /// When losses were found, the newest last.
    found: Vec<SimTime>,
}

impl Loss {
    /// A task was found lost.
    pub(super) fn found(&mut self, now: SimTime) {
        self.open.get_or_insert((now, None));
        if self.found.last() != Some(&now) {
            if self.found.len() >= LOSSES {
                self.found.drain(..LOSSES / 2);
            }
            self.found.push(now);
        }
    }

    /// A task was asked for.
    pub(super) fn requested(&mut self, now: SimTime) -> LaunchWaits {
        let Some((found, first)) = &mut self.open else { return LaunchWaits::default() };
        let first = *first.get_or_insert(now);
        LaunchWaits { found: Some(*found), first_request: Some(first), ..LaunchWaits::default() }
    }

    /// Whether a loss is still to be made up for.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// As many tasks as are wanted are healthy again.
    pub(super) fn made_up(&mut self) {
        self.open = None;
    }

    /// The first loss that was found between two instants.
    fn first_between(&self, from: SimTime, to: SimTime) -> Option<SimTime> {
        self.found.iter().copied().find(|t| *t >= from && *t <= to)
    }
}

/// What explains a time that no link of a launch does, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// A fault lasted.
    Fault,
    /// A deployment was in progress.
    Deployment,
    /// More than half of all attempts were retries.
    Retries,
    /// The tasks were saturated.
    Overload,
}

/// A time with an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: SimTime,
    pub(super) to: SimTime,
    pub(super) why: Why,
}

/// When a fault was active, by its position in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FaultTime {
    pub(super) fault: usize,
    pub(super) start: SimTime,
    pub(super) end: Option<SimTime>,
}

/// Splits the time of an incident among the links of the launch that ended it, then what is left among what else
/// went on. The parts sum to the whole.
pub(super) fn attribute(
    start: SimTime,
    end: SimTime,
    chain: Option<&LaunchChain>,
    loss: &Loss,
    spans: &[Span],
) -> RecoveryLinks {
    let mut links = RecoveryLinks::default();
    let mut rest: Vec<(SimTime, SimTime)> = Vec::new();
    let mut at = start;
    if let Some(c) = chain {
        let passed = c.launched_at.map(|t| t + c.waits.quota);
        let found_room = passed.map(|t| t + c.waits.capacity);
        let address = found_room.map(|t| t + c.waits.address);
        // Each instant belongs to the earliest link that is unfinished: walk the milestones in order.
        let milestones = [
            (c.data_end.or(c.waits.found), &mut links.detection_s),
            (c.visible_at, &mut links.publication_s),
            (c.alarm_at, &mut links.alarm_s),
            (c.decided_at.or(c.waits.first_request), &mut links.decision_s),
            (c.waits.first_request.map(|_| c.requested_at), &mut links.relaunch_s),
            (passed, &mut links.quota_s),
            (found_room, &mut links.capacity_s),
            (address, &mut links.address_s),
            (c.pending_at, &mut links.node_s),
            (c.pending_at.map(|t| t + c.waits.pulls), &mut links.pull_retry_s),
            (c.pulled_at, &mut links.pull_s),
            (c.ready_at, &mut links.start_s),
            (Some(c.healthy_at), &mut links.health_s),
        ];
        let mut cause_known = c.data_end.is_some() || c.waits.found.is_some();
        for (until, link) in milestones {
            let Some(until) = until else { continue };
            if !cause_known {
                // Nobody knows why it was asked for: what came before has no link.
                let asked = c.requested_at.clamp(at, end);
                rest.push((at, asked));
                at = asked;
                cause_known = true;
            }
            let until = until.clamp(at, end);
            *link += until.since(at).as_secs_f64();
            at = until;
        }
    } else if let Some(found) = loss.first_between(start, end) {
        // It ended without a launch, for example because the balancer left lost targets out.
        links.detection_s = found.since(start).as_secs_f64();
        at = found;
    }
    rest.push((at, end));
    for (from, to) in rest {
        explain(from, to, spans, &mut links);
    }
    links
}

/// Splits a time among what went on in it; each instant belongs to the strongest explanation.
fn explain(from: SimTime, to: SimTime, spans: &[Span], links: &mut RecoveryLinks) {
    let mut edges: Vec<(SimTime, bool, Why)> = Vec::new();
    for span in spans.iter().filter(|s| s.from < to && s.to > from) {
        edges.push((span.from.max(from), true, span.why));
        edges.push((span.to.min(to), false, span.why));
    }
    edges.sort_unstable();
    let mut open = [0_u32; 4];
    let mut at = from;
    let mut add = |open: &[u32; 4], length: SimDuration| {
        let link = match open.iter().position(|n| *n > 0) {
            Some(0) => &mut links.fault_s,
            Some(1) => &mut links.deployment_s,
            Some(2) => &mut links.retries_s,
            Some(_) => &mut links.overload_s,
            None => &mut links.unattributed_s,
        };
        *link += length.as_secs_f64();
    };
    for (time, begins, why) in edges {
        add(&open, time.since(at));
        at = time;
        let n = &mut open[why as usize];
        *n = if begins { *n + 1 } else { n.saturating_sub(1) };
    }
    add(&open, to.since(at));
}

/// An incident that has ended, or that the end of the run cut off.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) objective: &'static str,
    pub(super) start: SimTime,
    pub(super) end: SimTime,
    pub(super) recovered: bool,
    /// What the totals of its intervals showed.
    pub(super) spans: Vec<Span>,
}

#[derive(Clone, Debug)]
struct Open {
    objective: &'static str,
    start: SimTime,
    good: u32,
    good_from: SimTime,
    spans: Vec<Span>,
}

/// Follows the incidents of one service, interval by interval.
#[derive(Clone, Debug, Default)]
pub(super) struct IncidentTracker {
    open: Option<Open>,
}

impl IncidentTracker {
    /// Takes the verdict of an interval: the first objective that it broke, if any, and what its totals show.
    pub(super) fn interval(
        &mut self,
        start: SimTime,
        end: SimTime,
        broken: Option<&'static str>,
        shows: Option<Why>,
    ) -> Option<Closed> {
        let closed = self.judge(start, broken);
        if let (Some(open), Some(why)) = (&mut self.open, shows) {
            match open.spans.last_mut() {
                Some(last) if last.why == why && last.to == start => last.to = end,
                _ => open.spans.push(Span { from: start, to: end, why }),
            }
        }
        closed
    }

    fn judge(&mut self, start: SimTime, broken: Option<&'static str>) -> Option<Closed> {
        match (&mut self.open, broken) {
            (None, Some(objective)) => {
                self.open = Some(Open { objective, start, good: 0, good_from: start, spans: Vec::new() });
                None
            }
            (Some(open), Some(_)) => {
                open.good = 0;
                None
            }
            (Some(open), None) => {
                if open.good == 0 {
                    open.good_from = start;
                }
                open.good += 1;
                if open.good < GOOD_INTERVALS {
                    return None;
                }
                self.open.take().map(|open| open.closed(open.good_from, true))
            }
            (None, None) => None,
        }
    }

    /// Ends what is still open at the end of the run.
    pub(super) fn finish(&mut self, end: SimTime) -> Option<Closed> {
        self.open.take().map(|open| {
            let recovered = open.good > 0;
            let end = if recovered { open.good_from } else { end };
            open.closed(end, recovered)
        })
    }
}

impl Open {
    fn closed(&self, end: SimTime, recovered: bool) -> Closed {
        let spans = self.spans.clone();
        Closed { objective: self.objective, start: self.start, end, recovered, spans }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> SimTime {
        SimTime::from_secs(n)
    }

    #[test]
    fn an_incident_ends_before_the_first_of_three_good_intervals() {
        let mut t = IncidentTracker::default();
        let verdicts = [false, true, true, false, true, false, false, false];
        let mut closed = None;
        for (i, bad) in verdicts.into_iter().enumerate() {
            let from = s(10 * i as u64);
            let why = (i == 2 || i == 3).then_some(Why::Overload);
            closed = t.interval(from, from + SimDuration::from_secs(10), bad.then_some("latency_p99"), why).or(closed);
        }
        let closed = closed.expect("it ended");
        assert_eq!((closed.start, closed.end), (s(10), s(50)));
        assert_eq!(closed.spans, [Span { from: s(20), to: s(40), why: Why::Overload }]);
        assert!(t.finish(s(80)).is_none());
    }

    fn chain() -> LaunchChain {
        LaunchChain {
            data_end: Some(s(180)),
            visible_at: Some(s(300)),
            alarm_at: Some(s(310)),
            decided_at: Some(s(311)),
            requested_at: s(311),
            launched_at: Some(s(311)),
            pending_at: Some(s(325)),
            pulled_at: Some(s(332)),
            ready_at: Some(s(350)),
            healthy_at: s(360),
            waits: LaunchWaits::default(),
        }
    }

    #[test]
    fn the_links_sum_to_the_whole_and_each_instant_has_one() {
        let split = |from, to| attribute(s(from), s(to), Some(&chain()), &Loss::default(), &[]);
        let links = split(100, 400);
        assert_eq!(links.detection_s, 80.0);
        assert_eq!(links.publication_s, 120.0);
        assert_eq!(links.node_s, 14.0);
        assert_eq!(links.unattributed_s, 40.0);
        assert_eq!(links.total_s(), 300.0);
        assert_eq!(split(100, 200).total_s(), 100.0);
        assert_eq!(split(330, 500).total_s(), 170.0);
    }

    #[test]
    fn before_a_launch_of_unknown_cause_nothing_is_attributed() {
        let chain =
            LaunchChain { requested_at: s(50), launched_at: Some(s(60)), healthy_at: s(90), ..LaunchChain::default() };
        let links = attribute(s(10), s(100), Some(&chain), &Loss::default(), &[]);
        assert_eq!((links.unattributed_s, links.quota_s, links.health_s), (50.0, 10.0, 30.0));
    }

    #[test]
    fn a_replacement_is_followed_from_the_loss_on() {
        // Lost at 0, found at 60; a first replacement was asked for at 65 and failed, this one at 100. It waited 30 s for
        // capacity and 10 s for an address, and 6 s of its pull were tries that failed.
        let waits = LaunchWaits {
            found: Some(s(60)),
            first_request: Some(s(65)),
            capacity: SimDuration::from_secs(30),
            address: SimDuration::from_secs(10),
            pulls: SimDuration::from_secs(6),
            ..LaunchWaits::default()
        };
        let chain = LaunchChain {
            requested_at: s(100),
            launched_at: Some(s(101)),
            pending_at: Some(s(150)),
            pulled_at: Some(s(170)),
            ready_at: Some(s(180)),
            healthy_at: s(185),
            waits,
            ..LaunchChain::default()
        };
        let fault = Span { from: s(0), to: s(190), why: Why::Fault };
        let l = attribute(s(0), s(200), Some(&chain), &Loss::default(), &[fault]);
        assert_eq!((l.detection_s, l.decision_s, l.relaunch_s, l.quota_s), (60.0, 5.0, 35.0, 1.0));
        assert_eq!((l.capacity_s, l.address_s, l.node_s), (30.0, 10.0, 9.0));
        assert_eq!((l.pull_retry_s, l.pull_s, l.start_s, l.health_s), (6.0, 14.0, 10.0, 5.0));
        assert_eq!((l.fault_s, l.unattributed_s, l.total_s()), (5.0, 10.0, 200.0));
    }

    #[test]
    fn without_a_launch_the_strongest_explanation_counts() {
        let mut loss = Loss::default();
        loss.found(s(40));
        let span = |from, to, why| Span { from: s(from), to: s(to), why };
        let spans = [
            span(0, 70, Why::Fault),
            span(50, 90, Why::Retries),
            span(60, 100, Why::Overload),
            span(95, 130, Why::Retries),
        ];
        let l = attribute(s(10), s(120), None, &loss, &spans);
        assert_eq!((l.detection_s, l.fault_s, l.retries_s, l.overload_s), (30.0, 30.0, 45.0, 5.0));
        assert_eq!(l.total_s(), 110.0);
    }

    #[test]
    fn a_loss_stays_open_until_it_is_made_up_for() {
        let mut loss = Loss::default();
        assert_eq!(loss.requested(s(1)), LaunchWaits::default());
        loss.found(s(10));
        assert_eq!(loss.requested(s(12)).first_request, Some(s(12)));
        loss.found(s(20));
        let waits = loss.requested(s(30));
        assert_eq!((waits.found, waits.first_request), (Some(s(10)), Some(s(12))));
        loss.made_up();
        assert!(!loss.is_open());
    }
}
