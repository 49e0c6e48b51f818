//! One step of a race: which candidates of a search are run on, and why the others rest.

use super::difference::paired_student;
use super::share::{at_least, at_most};
use super::{Moments, Refusal};
use serde::{Deserialize, Serialize};

/// What is known about one candidate. Replication i of every candidate ran with the same draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// The cost of each replication, from number 0 on.
    pub costs: &'a [f64],
    /// In how many of these replications the objectives were kept.
    pub kept: u64,
}

/// The rules of a race, fixed before its first look.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaceSpec {
    /// The share of runs in which objectives have to be kept (above 0, at most 1).
    pub share: f64,
    /// The chance, over the whole race, that the best candidate is dropped.
    pub alpha: f64,
    /// How many looks there will be at most.
    pub looks: usize,
    /// Common replications before costs are compared; two or more.
    pub minimum: usize,
    /// The confidence with which the leader has to keep the objectives before the race is over (below 1; 0 takes
    /// the observed share as it is). With 0.95, an objective to be kept in 90 % of runs takes 29 runs
    /// that all keep it.
    pub leader_confidence: f64,
    /// The share of the leader's cost (0 or more) within which another cost counts as the same.
    pub indifference: f64,
}

impl Default for RaceSpec {
    /// Objectives kept in nine of ten runs with 95 % confidence, 5 % for the whole race of twenty looks, costs
    /// compared from three replications on, and 1 % of cost.
    fn default() -> Self {
        Self { share: 0.9, alpha: 0.05, looks: 20, minimum: 3, leader_confidence: 0.95, indifference: 0.01 }
    }
}

/// Whether a candidate stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The cheapest of those that keep the objectives so far.
    Leader,
    /// Its cost is shown to be that of the leader within the indifference.
    LevelWithLeader,
    /// Nothing is shown yet.
    Stays,
    /// It keeps the objectives in too few runs.
    BreaksObjectives {
        /// The share it keeps at most, at the level of this look.
        at_most: f64,
    },
    /// It costs more than the leader. It rests, and comes back should the leader turn out to break the
    /// objectives.
    CostsMore {
        /// The index of the leader.
        than: usize,
        /// By how much, on average over common replications.
        by: f64,
        /// One-sided p-value, not corrected.
        p: f64,
    },
}

impl Outcome {
    /// Whether the candidate is to be run on.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(self, Self::Leader | Self::LevelWithLeader | Self::Stays)
    }
}

/// Where one candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// How many replications it ran.
    pub runs: usize,
    /// Its mean cost.
    pub cost: f64,
    /// The share of runs in which it kept the objectives; 0 without a run.
    pub kept: f64,
    /// Whether it stays, and why.
    pub outcome: Outcome,
}

/// The state of a race after a look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RaceStep {
    /// The cheapest candidate that keeps the objectives so far; `None` while there is none.
    pub leader: Option<usize>,
    /// The candidate that comes nearest to the objectives: the largest share kept, then the lowest cost.
    /// It is what to tell when there is no leader.
    pub nearest: Option<usize>,
    /// The candidates in the order given.
    pub standings: Vec<Standing>,
    /// Whether the leader keeps the objectives with the confidence asked for.
    pub trusted: bool,
    /// True when more runs would not change the answer: the leader is trusted and every other candidate is
    /// settled, or every candidate breaks the objectives.
    pub finished: bool,
}

impl RaceStep {
    /// The candidates to run on, in the order given.
    pub fn survivors(&self) -> impl Iterator<Item = usize> + '_ {
        self.standings.iter().enumerate().filter(|(_, s)| s.outcome.stays()).map(|(i, _)| i)
    }
}

/// One look at all candidates of a race, also those that rest.
///
/// A candidate is out when the exact upper bound of its share of runs is below what is asked for. It rests when
/// a one-sided paired t-test shows that it costs more than the leader, over the replications that both have
/// run; should that leader be out at a later look, it is measured against the next one. Each test has the
/// level α / (looks · candidates): by Bonferroni's inequality the best candidate is in the race at its
/// end with a probability of about 1 − α or more. A difference of cost that is the same in every replication is
/// taken as it is: a race decides where runs are spent, and the winner is to be run again on fresh
/// replications before anything is said about it.
///
/// # Errors
/// Without a candidate, when a cost is not finite, when more runs kept the objectives than there are, or when the
/// rules are outside of their ranges.
pub fn race_step(candidates: &[Candidate<'_>], spec: &RaceSpec) -> Result<RaceStep, Refusal> {
    check(candidates, spec)?;
    let level = spec.alpha / (spec.looks as f64 * candidates.len() as f64);
    let mut standings = candidates
        .iter()
        .map(|c| {
            let runs = c.costs.len();
            let mut outcome = Outcome::Stays;
            if runs > 0 {
                let bound = at_most(c.kept, runs as u64, 1.0 - level)?;
                if bound < spec.share {
                    outcome = Outcome::BreaksObjectives { at_most: bound };
                }
            }
            let kept = if runs == 0 { 0.0 } else { c.kept as f64 / runs as f64 };
            Ok(Standing { runs, cost: Moments::of(c.costs).mean, kept, outcome })
        })
        .collect::<Result<Vec<_>, Refusal>>()?;

    let ran = || (0..candidates.len()).filter(|&i| standings[i].runs > 0);
    let eligible = ran().filter(|&i| standings[i].outcome.stays() && standings[i].kept >= spec.share);
    // Replications differ in what they cost everybody: only those that both have run are compared.
    let leader = eligible.reduce(|best, i| {
        let common = standings[best].runs.min(standings[i].runs);
        let cost = |c: usize| Moments::of(&candidates[c].costs[..common]).mean;
        if cost(i) < cost(best) { i } else { best }
    });
    let nearest = ran().min_by(|&a, &b| {
        let by_share = standings[b].kept.total_cmp(&standings[a].kept);
        by_share.then_with(|| standings[a].cost.total_cmp(&standings[b].cost))
    });

    let mut trusted = false;
    if let Some(first) = leader {
        let lead = candidates[first];
        standings[first].outcome = Outcome::Leader;
        trusted = spec.leader_confidence <= 0.0
            || at_least(lead.kept, lead.costs.len() as u64, spec.leader_confidence)? >= spec.share;
        for (i, standing) in standings.iter_mut().enumerate() {
            if i != first && standing.outcome.stays() {
                standing.outcome = against(&lead, &candidates[i], first, spec, level)?;
            }
        }
    }
    let settled = standings.iter().all(|s| !matches!(s.outcome, Outcome::Stays));
    Ok(RaceStep { leader, nearest, standings, trusted, finished: settled && (trusted || leader.is_none()) })
}

fn against(
    lead: &Candidate<'_>,
    other: &Candidate<'_>,
    than: usize,
    spec: &RaceSpec,
    level: f64,
) -> Result<Outcome, Refusal> {
    let common = lead.costs.len().min(other.costs.len());
    if common < spec.minimum {
        return Ok(Outcome::Stays);
    }
    let d = paired_student(&lead.costs[..common], &other.costs[..common], 0.95)?;
    let near = spec.indifference * d.base.abs();
    let (p, within) = if d.standard_error > 0.0 {
        (d.confidence.p_at_most(0.0), d.confidence.within(near))
    } else {
        (if d.difference > 0.0 { 0.0 } else { 1.0 }, if d.difference.abs() <= near { 0.0 } else { 1.0 })
    };
    Ok(if p <= level && d.difference > 0.0 {
        Outcome::CostsMore { than, by: d.difference, p }
    } else if within <= spec.alpha {
        Outcome::LevelWithLeader
    } else {
        Outcome::Stays
    })
}

fn check(candidates: &[Candidate<'_>], spec: &RaceSpec) -> Result<(), Refusal> {
    Refusal::unless_level(spec.alpha)?;
    if candidates.is_empty() {
        return Err(Refusal::parameter("the candidates", "one or more"));
    }
    if !(spec.share > 0.0 && spec.share <= 1.0) {
        return Err(Refusal::parameter("the share of runs", "above 0 and at most 1"));
    }
    if spec.looks == 0 {
        return Err(Refusal::parameter("the looks", "one or more"));
    }
    if spec.minimum < 2 {
        return Err(Refusal::parameter("the replications before costs are compared", "two or more"));
    }
    if !(0.0..1.0).contains(&spec.leader_confidence) {
        return Err(Refusal::parameter("the confidence in the leader", "at least 0 and below 1"));
    }
    if !(spec.indifference >= 0.0 && spec.indifference.is_finite()) {
        return Err(Refusal::parameter("the indifference", "0 or more"));
    }
    for c in candidates {
        Refusal::unless_usable(c.costs, 0)?;
        if c.kept > c.costs.len() as u64 {
            return Err(Refusal::parameter("the runs that kept the objectives", "at most the runs"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{StreamExt, Streams};

    fn costs(mean: f64, spread: f64, runs: u64) -> Vec<f64> {
        (0..runs)
            .map(|r| {
                let mut s = Streams::new(8, r).stream("race");
                mean * (0.95 + 0.1 * s.unit()) + spread * Streams::new(mean.to_bits(), r).stream("own").unit()
            })
            .collect()
    }

    #[test]
    fn dear_and_broken_candidates_leave_with_their_reason() {
        let sets = [costs(10.0, 0.06, 30), costs(14.0, 0.1, 12), costs(6.0, 0.1, 12), costs(10.02, 0.01, 30)];
        let field: Vec<Candidate<'_>> =
            sets.iter().zip([30, 12, 3, 30]).map(|(costs, kept)| Candidate { costs, kept }).collect();
        let step = race_step(&field, &RaceSpec::default()).unwrap();
        assert_eq!((step.leader, step.nearest, step.trusted), (Some(3), Some(3), true));
        assert!(matches!(step.standings[1].outcome, Outcome::CostsMore { than: 3, .. }), "{step:?}");
        assert!(matches!(step.standings[2].outcome, Outcome::BreaksObjectives { at_most } if at_most < 0.9));
        assert_eq!(step.standings[0].outcome, Outcome::LevelWithLeader);
        assert_eq!(step.survivors().collect::<Vec<_>>(), [0, 3]);
        assert!(step.finished);
    }

    #[test]
    fn a_race_is_not_over_before_its_leader_is_trusted() {
        let sets = [costs(10.0, 0.1, 28), costs(14.0, 0.1, 4)];
        let field: Vec<Candidate<'_>> =
            sets.iter().map(|costs| Candidate { costs, kept: costs.len() as u64 }).collect();
        let spec = RaceSpec::default();
        let step = race_step(&field, &spec).unwrap();
        assert!(matches!(step.standings[1].outcome, Outcome::CostsMore { .. }));
        assert_eq!((step.leader, step.trusted, step.finished), (Some(0), false, false));
        assert_eq!(step.survivors().collect::<Vec<_>>(), [0]);
        assert!(race_step(&field, &RaceSpec { leader_confidence: 0.9, ..spec }).unwrap().finished);
    }

    #[test]
    fn who_rests_comes_back_when_the_leader_is_out() {
        let sets = [costs(10.0, 0.1, 30), costs(14.0, 0.1, 4)];
        let field = [Candidate { costs: &sets[0], kept: 12 }, Candidate { costs: &sets[1], kept: 4 }];
        let step = race_step(&field, &RaceSpec::default()).unwrap();
        assert!(matches!(step.standings[0].outcome, Outcome::BreaksObjectives { .. }));
        assert_eq!((step.leader, step.finished), (Some(1), false));
    }

    #[test]
    fn objectives_that_nobody_keeps_have_a_nearest_candidate() {
        let sets = [costs(10.0, 0.1, 20), costs(14.0, 0.1, 20)];
        let field: Vec<Candidate<'_>> =
            sets.iter().zip([2, 7]).map(|(costs, kept)| Candidate { costs, kept }).collect();
        let step = race_step(&field, &RaceSpec::default()).unwrap();
        assert_eq!((step.leader, step.nearest, step.finished), (None, Some(1), true));
        assert_eq!(step.survivors().count(), 0);
    }

    #[test]
    fn candidates_that_have_not_run_stay() {
        let cost = costs(10.0, 0.1, 8);
        let field = [Candidate { costs: &[], kept: 0 }, Candidate { costs: &cost, kept: 8 }];
        let step = race_step(&field, &RaceSpec::default()).unwrap();
        assert_eq!((step.leader, step.standings[0].outcome, step.finished), (Some(1), Outcome::Stays, false));
        assert!(race_step(&[], &RaceSpec::default()).is_err());
        assert!(race_step(&[Candidate { costs: &cost, kept: 9 }], &RaceSpec::default()).is_err());
        assert!(race_step(&field, &RaceSpec { share: 0.0, ..RaceSpec::default() }).is_err());
        assert!(race_step(&[Candidate { costs: &[f64::NAN], kept: 0 }], &RaceSpec::default()).is_err());
    }
}
