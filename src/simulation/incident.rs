//! Incidents: times in which an objective does not hold, and what the recovery waited for.

use crate::kernel::{SimDuration, SimTime};
use crate::output::RecoveryLinks;

/// Good intervals in a row that end an incident.
const GOOD_INTERVALS: u32 = 3;

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
}

/// Splits the time of an incident among the links of the launch that ended it. The parts sum to the whole.
pub(super) fn attribute(start: SimTime, end: SimTime, chain: Option<&LaunchChain>) -> RecoveryLinks {
    let mut links = RecoveryLinks::default();
    let mut at = start;
    let Some(c) = chain else {
        links.unattributed_s = end.since(start).as_secs_f64();
        return links;
    };
    // Each instant belongs to the earliest link that is unfinished: walk the milestones in order.
    let milestones = [
        (c.data_end, &mut links.detection_s),
        (c.visible_at, &mut links.publication_s),
        (c.alarm_at, &mut links.alarm_s),
        (c.decided_at, &mut links.decision_s),
        (c.launched_at, &mut links.quota_s),
        (c.pending_at, &mut links.node_s),
        (c.pulled_at, &mut links.pull_s),
        (c.ready_at, &mut links.start_s),
        (Some(c.healthy_at), &mut links.health_s),
    ];
    let mut cause_known = c.data_end.is_some();
    let mut unattributed = SimDuration::ZERO;
    for (until, link) in milestones {
        let Some(until) = until else { continue };
        if !cause_known {
            // A replacement: what came before it was asked for has no link.
            let asked = c.requested_at.clamp(at, end);
            unattributed += asked.since(at);
            at = asked;
            cause_known = true;
        }
        let until = until.clamp(at, end);
        *link += until.since(at).as_secs_f64();
        at = until;
    }
    links.unattributed_s = (unattributed + end.since(at)).as_secs_f64();
    links
}

/// An incident that has ended, or that the end of the run cut off.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Closed {
    pub(super) objective: &'static str,
    pub(super) start: SimTime,
    pub(super) end: SimTime,
    pub(super) recovered: bool,
}

#[derive(Clone, Debug)]
struct Open {
    objective: &'static str,
    start: SimTime,
    good: u32,
    good_from: SimTime,
}

/// Follows the incidents of one service, interval by interval.
#[derive(Clone, Debug, Default)]
pub(super) struct IncidentTracker {
    open: Option<Open>,
}

impl IncidentTracker {
    /// Takes the verdict of the interval that begins at `start`: the first objective that it broke, if any.
    pub(super) fn interval(&mut self, start: SimTime, broken: Option<&'static str>) -> Option<Closed> {
        match (&mut self.open, broken) {
            (None, Some(objective)) => {
                self.open = Some(Open { objective, start, good: 0, good_from: start });
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
                let closed =
                    Closed { objective: open.objective, start: open.start, end: open.good_from, recovered: true };
                self.open = None;
                Some(closed)
            }
            (None, None) => None,
        }
    }

    /// Ends what is still open at the end of the run.
    pub(super) fn finish(&mut self, end: SimTime) -> Option<Closed> {
        self.open.take().map(|open| {
            let recovered = open.good > 0;
            let end = if recovered { open.good_from } else { end };
            Closed { objective: open.objective, start: open.start, end, recovered }
        })
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
            closed = t.interval(s(10 * i as u64), bad.then_some("latency_p99")).or(closed);
        }
        let closed = closed.expect("it ended");
        assert_eq!((closed.start, closed.end), (s(10), s(50)));
        assert!(t.finish(s(80)).is_none());
    }

    #[test]
    fn the_links_sum_to_the_whole_and_each_instant_has_one() {
        let chain = LaunchChain {
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
        };
        let links = attribute(s(100), s(400), Some(&chain));
        assert_eq!(links.detection_s, 80.0);
        assert_eq!(links.publication_s, 120.0);
        assert_eq!(links.node_s, 14.0);
        assert_eq!(links.unattributed_s, 40.0);
        assert_eq!(links.total_s(), 300.0);
        assert_eq!(attribute(s(100), s(200), Some(&chain)).total_s(), 100.0);
        assert_eq!(attribute(s(330), s(500), Some(&chain)).total_s(), 170.0);
    }

    #[test]
    fn before_a_replacement_is_asked_for_nothing_is_attributed() {
        let chain =
            LaunchChain { requested_at: s(50), launched_at: Some(s(60)), healthy_at: s(90), ..LaunchChain::default() };
        let links = attribute(s(10), s(100), Some(&chain));
        assert_eq!((links.unattributed_s, links.quota_s, links.health_s), (50.0, 10.0, 30.0));
    }
}
