//! The cheapest configuration that keeps the objectives.
//!
//! A configuration *keeps* the objectives when every one of them holds in at least a share `hold` of all runs, and
//! it is *shown* to when the exact (Clopper-Pearson) lower bound of that share, from `replications` runs, reaches
//! `hold` at the stated confidence. With 30 runs, 0.9 and 95 % that means: in all of them.
//!
//! The search is a screening from the cheap end. Every candidate runs once: with common draws one run already
//! orders the costs almost without noise. Then the cheapest candidates that are not yet decided get more runs,
//! doubling; one more broken run than can be afforded ends a candidate, and a candidate that completes its
//! runs is shown. It is over when nothing undecided is cheaper than the winner and the runner-up. In a
//! space that is too large to run once, a Latin hypercube is tried first, and the neighbours of the winner after it,
//! until no neighbour is cheaper. What is then reported of winner and runner-up are fresh replications
//! that took no part in the choice; a finalist that does not keep the objectives there is out, and the search goes on.
//!
//! Every step is a function of the records alone, never of threads or time.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::compare::{CompareOptions, Variant, compare};
use super::figure::Figure;
use super::record::RunRecord;
use super::runner::Wanted;
use super::space::Space;
use super::statistics::{Refusal, at_least, at_most, factorial, latin_hypercube};
use super::study::Study;
use crate::kernel::Streams;
use crate::output::BoundSense;

/// Name and version of the schema of `search.json`.
pub const SEARCH_SCHEMA: &str = "simctl.search/1";

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The figure that is to be small.
    pub minimise: Figure,
    /// Share of runs in which every objective has to hold.
    pub hold: f64,
    /// Confidence with which that is to be shown.
    pub confidence: f64,
    /// Runs of a candidate that is shown.
    pub replications: u32,
}

impl Goal {
    /// How many runs may break an objective in a candidate that is still shown to keep them.
    ///
    /// # Errors
    /// When so many replications cannot show the share, with the number that could.
    pub fn affordable(&self) -> Result<u64, GoalError> {
        let shown = |broken: u64, runs: u64| {
            at_least(runs - broken, runs, self.confidence).is_ok_and(|bound| bound >= self.hold)
        };
        let runs = u64::from(self.replications);
        if runs == 0 || !shown(0, runs) {
            // The bound of n runs without a break grows with n: the fewest that are enough are between two powers.
            let enough = (0..20).map(|power| 1_u64 << power).find(|&n| shown(0, n));
            let need = enough.map_or(u64::MAX, |most| {
                let (mut low, mut high) = (most / 2, most);
                while high - low > 1 {
                    let middle = u64::midpoint(low, high);
                    if shown(0, middle) { high = middle } else { low = middle }
                }
                high
            });
            return Err(GoalError {
                replications: self.replications,
                hold: self.hold,
                confidence: self.confidence,
                need,
            });
        }
        Ok((0..runs).take_while(|&broken| shown(broken, runs)).last().unwrap_or(0))
    }
}

/// Too few replications for what is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalError {
    /// What was asked for.
    pub replications: u32,
    /// The share.
    pub hold: f64,
    /// The confidence.
    pub confidence: f64,
    /// The fewest that can; the greatest number when none can.
    pub need: u64,
}

impl std::error::Error for GoalError {}

impl std::fmt::Display for GoalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { replications, hold, confidence, need } = self;
        let (hold, sure) = (super::words::short(100.0 * hold), super::words::short(100.0 * confidence));
        let what = format!("show, with {sure} % confidence, that the objectives hold in {hold} % of runs");
        if *need == u64::MAX {
            write!(f, "no number of replications can {what}: ask for a smaller share")
        } else {
            write!(f, "{replications} replications cannot {what}: {need} are needed")
        }
    }
}

/// What is kept of a run of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Replication.
    pub replication: u32,
    /// The figure that is to be small.
    pub cost: f64,
    /// Whether every objective held.
    pub kept: bool,
    /// How far the worst objective was beyond its limit, as a share of the limit; 0 when all held.
    pub excess: f64,
    /// Breach minutes of all services.
    pub breach_minutes: f64,
    /// Tasks started by all services.
    pub churn: f64,
}

impl Trial {
    /// What a run says of a candidate.
    #[must_use]
    pub fn of(record: &RunRecord, goal: &Goal) -> Self {
        let s = &record.summary;
        let excess = s.objectives.iter().map(|o| match (o.held, o.measured) {
            (Some(true), _) | (None, _) => 0.0,
            (Some(false), None) => f64::INFINITY,
            (Some(false), Some(value)) => match o.sense {
                BoundSense::AtMost if o.limit > 0.0 => value / o.limit - 1.0,
                // Of an availability it is the share of failures that is exceeded.
                BoundSense::AtLeast if o.unit == "%" && o.limit < 100.0 => (100.0 - value) / (100.0 - o.limit) - 1.0,
                BoundSense::AtLeast if o.limit > 0.0 => 1.0 - value / o.limit,
                _ => (value - o.limit).abs(),
            },
        });
        Self {
            replication: s.meta.replication,
            cost: goal.minimise.of(record).unwrap_or(f64::INFINITY),
            kept: s.objectives_missed() == 0,
            excess: excess.fold(0.0, f64::max),
            breach_minutes: s.breach_minutes.values().sum::<u64>() as f64,
            churn: s.services.values().map(|s| s.scaling.tasks_started as f64).sum(),
        }
    }
}

/// A configuration that may be tried.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Its position on each axis.
    pub place: Vec<usize>,
    /// Its runs, by replication from 0.
    pub trials: Vec<Trial>,
    /// Why it cannot run, if so.
    pub invalid: Option<String>,
    /// Whether it has been taken up: before, no run of it is asked for.
    pub tried: bool,
    /// Its fresh runs, once it was a finalist: how many were made, and how many broke an objective.
    pub fresh: Option<(u64, u64)>,
}

impl Candidate {
    fn broken(&self) -> u64 {
        self.trials.iter().filter(|t| !t.kept).count() as u64
    }

    /// Mean of a quantity over the runs.
    #[must_use]
    pub fn mean(&self, of: fn(&Trial) -> f64) -> f64 {
        self.trials.iter().map(of).sum::<f64>() / self.trials.len().max(1) as f64
    }
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct Search {
    goal: Goal,
    affordable: u64,
    /// Number of values on each axis.
    levels: Vec<usize>,
    /// The candidates, every point of the grid.
    pub candidates: Vec<Candidate>,
}

/// Where a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Untried,
    Out,
    Undecided,
    Shown,
}

/// How many candidates get further runs at once. Fixed, so that the answer does not depend on the machine.
const WIDTH: usize = 4;

impl Search {
    /// A search over a grid with so many values on each axis. `first` are the candidates that are run once in the
    /// beginning; all of them for a space that is not too large.
    ///
    /// # Errors
    /// When the goal cannot be shown with its replications.
    pub fn new(goal: Goal, levels: Vec<usize>, places: Vec<Vec<usize>>, first: &[usize]) -> Result<Self, GoalError> {
        let affordable = goal.affordable()?;
        let mut candidates: Vec<Candidate> =
            places.into_iter().map(|place| Candidate { place, ..Candidate::default() }).collect();
        for &index in first {
            candidates[index].tried = true;
        }
        Ok(Self { goal, affordable, levels, candidates })
    }

    /// A search over a space that is a grid. Of more than `most` configurations a Latin hypercube of so many is run first,
    /// drawn with `seed`.
    ///
    /// # Errors
    /// As [`Search::new`].
    pub fn over(goal: Goal, space: &Space, most: usize, seed: u64) -> Result<Self, GoalError> {
        let levels: Vec<usize> = space.axes.iter().map(|axis| axis.values.grid().map_or(0, |g| g.len())).collect();
        let places = factorial(&levels).unwrap_or_default();
        let first = first(&levels, most, seed, places.len());
        let mut search = Self::new(goal, levels, places, &first)?;
        for (candidate, why) in search.candidates.iter_mut().zip(&space.invalid) {
            candidate.invalid.clone_from(why);
        }
        Ok(search)
    }

    /// What is looked for.
    #[must_use]
    pub fn goal(&self) -> &Goal {
        &self.goal
    }

    fn standing(&self, index: usize) -> Standing {
        let c = &self.candidates[index];
        let refuted = c.fresh.is_some_and(|(_, broken)| broken > self.affordable);
        if c.invalid.is_some() || c.broken() > self.affordable || refuted {
            Standing::Out
        } else if !c.tried {
            Standing::Untried
        } else if c.trials.len() >= self.goal.replications as usize {
            Standing::Shown
        } else {
            Standing::Undecided
        }
    }

    /// What each candidate costs, comparable between candidates with different numbers of runs: the mean over its own
    /// runs, each freed of what its replication adds for everybody. That is estimated against the first replication
    /// from all candidates that have run both. One number each, so that the order is one.
    fn costs(&self) -> Vec<f64> {
        let longest = self.candidates.iter().map(|c| c.trials.len()).max().unwrap_or(0);
        let mut added = vec![(0.0, 0_u32); longest];
        for c in &self.candidates {
            let Some(first) = c.trials.first().filter(|t| t.cost.is_finite()) else { continue };
            for (trial, (sum, n)) in c.trials.iter().zip(&mut added).filter(|(t, _)| t.cost.is_finite()) {
                *sum += trial.cost - first.cost;
                *n += 1;
            }
        }
        let of = |c: &Candidate| {
            let freed = c.trials.iter().zip(&added).map(|(t, (sum, n))| t.cost - sum / f64::from((*n).max(1)));
            freed.sum::<f64>() / c.trials.len() as f64
        };
        self.candidates.iter().map(of).collect()
    }

    /// The cheapest first.
    fn by_cost(&self, mut of: Vec<usize>) -> Vec<usize> {
        let costs = self.costs();
        of.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]).then(a.cmp(&b)));
        of
    }

    /// The candidates that are shown to keep the objectives, the cheapest first.
    #[must_use]
    pub fn shown(&self) -> Vec<usize> {
        self.by_cost((0..self.candidates.len()).filter(|&i| self.standing(i) == Standing::Shown).collect())
    }

    /// The candidate that came nearest to the objectives: the largest share of runs kept, then the smallest excess.
    #[must_use]
    pub fn nearest(&self) -> Option<usize> {
        let tried = (0..self.candidates.len()).filter(|&i| !self.candidates[i].trials.is_empty());
        let kept = |i: usize| {
            let c = &self.candidates[i];
            let (fresh, fresh_broken) = c.fresh.unwrap_or_default();
            let runs = c.trials.len() as u64 + fresh;
            (runs - c.broken() - fresh_broken) as f64 / runs as f64
        };
        let excess = |i: usize| self.candidates[i].mean(|t| t.excess);
        tried.min_by(|&a, &b| kept(b).total_cmp(&kept(a)).then(excess(a).total_cmp(&excess(b))).then(a.cmp(&b)))
    }

    /// The runs that are to be made next; none when the search is over.
    #[must_use]
    pub fn next_runs(&mut self) -> Vec<Wanted> {
        let wanted = |point: usize, from: usize, to: usize| {
            (from..to).map(move |r| Wanted { point, replication: u32::try_from(r).unwrap_or(u32::MAX) })
        };
        loop {
            let fresh: Vec<usize> = (0..self.candidates.len())
                .filter(|&i| self.standing(i) == Standing::Undecided && self.candidates[i].trials.is_empty())
                .collect();
            if !fresh.is_empty() {
                return fresh.into_iter().flat_map(|i| wanted(i, 0, 1)).collect();
            }
            // Nothing that costs more than the runner-up can change the answer.
            let costs = self.costs();
            let bar = self.shown().get(1).map(|&bar| costs[bar]);
            let undecided = (0..self.candidates.len()).filter(|&i| self.standing(i) == Standing::Undecided);
            let mut open = self.by_cost(undecided.filter(|&i| bar.is_none_or(|bar| costs[i] < bar)).collect());
            if !open.is_empty() {
                open.truncate(WIDTH);
                let most = self.goal.replications as usize;
                return open
                    .into_iter()
                    .flat_map(|i| {
                        let have = self.candidates[i].trials.len();
                        wanted(i, have, (2 * have).min(most))
                    })
                    .collect();
            }
            if !self.take_up_neighbours() {
                return Vec::new();
            }
        }
    }

    /// Takes up the untried neighbours of the best candidate: one step on one axis. True when there was one.
    fn take_up_neighbours(&mut self) -> bool {
        let Some(best) = self.shown().first().copied().or_else(|| self.nearest()) else { return false };
        let place = self.candidates[best].place.clone();
        let mut any = false;
        for axis in 0..place.len() {
            for step in [-1_isize, 1] {
                let Some(at) = place[axis].checked_add_signed(step).filter(|at| *at < self.levels[axis]) else {
                    continue;
                };
                let mut there = place.clone();
                there[axis] = at;
                if let Some(i) = (0..self.candidates.len()).find(|&i| self.candidates[i].place == there)
                    && self.standing(i) == Standing::Untried
                {
                    self.candidates[i].tried = true;
                    any = true;
                }
            }
        }
        any
    }

    /// Adds what runs showed. A run that failed counts as one that broke every objective.
    pub fn add(&mut self, wanted: Wanted, trial: Option<Trial>) {
        let failed = Trial {
            replication: wanted.replication,
            cost: f64::INFINITY,
            kept: false,
            excess: f64::INFINITY,
            breach_minutes: 0.0,
            churn: 0.0,
        };
        self.candidates[wanted.point].trials.push(trial.unwrap_or(failed));
    }

    /// Runs made so far.
    #[must_use]
    pub fn spent(&self) -> usize {
        self.candidates.iter().map(|c| c.trials.len()).sum()
    }

    /// What became of a candidate, in words.
    fn outcome(&self, index: usize) -> String {
        let c = &self.candidates[index];
        match self.standing(index) {
            Standing::Untried => "not tried".to_owned(),
            Standing::Out => match &c.invalid {
                Some(why) => format!("cannot run: {why}"),
                None if c.broken() <= self.affordable => {
                    let (runs, broken) = c.fresh.unwrap_or_default();
                    format!("kept the objectives when it was chosen, but broke one in {broken} of {runs} fresh runs")
                }
                None => {
                    let bound =
                        at_most(c.trials.len() as u64 - c.broken(), c.trials.len() as u64, self.goal.confidence);
                    let bound = bound.unwrap_or(1.0);
                    format!(
                        "broke an objective in {} of {} runs (keeps them in at most {:.0} %)",
                        c.broken(),
                        c.trials.len(),
                        100.0 * bound
                    )
                }
            },
            Standing::Undecided => "costs more than the winner and the runner-up".to_owned(),
            Standing::Shown => "keeps the objectives".to_owned(),
        }
    }

    fn result(&self, scenario: &str, space: &Space, fresh: &BTreeMap<usize, Vec<RunRecord>>) -> SearchResult {
        let goal = &self.goal;
        let shown = self.shown();
        let nearest = if shown.is_empty() { self.nearest() } else { None };
        let variant = |(i, candidate): (usize, &usize)| {
            let name = if nearest.is_some() { "nearest" } else { ["winner", "runner-up"][i.min(1)] };
            let label = format!("{name} ({})", super::sweep::label(&space.axes, &space.values[*candidate]));
            Variant { label, runs: fresh.get(candidate).cloned().unwrap_or_default() }
        };
        let finalists: Vec<Variant> = shown.iter().take(2).chain(nearest.as_ref()).enumerate().map(variant).collect();
        let studies: Vec<Study> = finalists
            .iter()
            .map(|v| Study { trends: IndexMap::new(), ..Study::of(&v.label, &v.runs, super::study::LEVEL) })
            .collect();
        let sentence = match &finalists[..] {
            [_, _] => compare(&finalists, &CompareOptions::default()).against.first().map(|a| a.sentence.clone()),
            _ => None,
        };
        let size = self.candidates.len();
        let tried = self.candidates.iter().filter(|c| c.tried).count();
        let mut notes = Vec::new();
        if tried < size {
            notes.push(format!("{} of {size} configurations were not tried", size - tried));
        }
        notes.push(crate::output::NOTE_UNCALIBRATED.to_owned());
        let axes: Vec<String> = space.axes.iter().map(|a| a.address.clone()).collect();
        let winner = shown.first().copied();
        SearchResult {
            schema: SEARCH_SCHEMA.to_owned(),
            scenario: scenario.to_owned(),
            minimise: goal.minimise.address(),
            unit: goal.minimise.measure.unit.to_owned(),
            hold: goal.hold,
            confidence: goal.confidence,
            replications: goal.replications,
            short: space.axes.iter().map(|a| a.short().to_owned()).collect(),
            size,
            spent: self.spent(),
            fresh_runs: self.candidates.iter().filter_map(|c| c.fresh).map(|(runs, _)| runs as usize).sum(),
            candidates: self.table(&space.values),
            winner,
            runner_up: shown.get(1).copied(),
            nearest,
            shown_share: studies.iter().map(|s| shown_share(s, goal.confidence).ok()).collect(),
            fresh: studies,
            sentence: sentence.unwrap_or_default(),
            patch: winner.map_or_else(String::new, |w| patch("found", &axes, &space.values[w])),
            axes,
            notes,
        }
    }

    /// The table of the candidates that were tried, with those on the Pareto front of cost, violations and churn marked.
    #[must_use]
    pub fn table(&self, values: &[Vec<String>]) -> Vec<CandidateResult> {
        let mut rows: Vec<CandidateResult> = (0..self.candidates.len())
            .filter(|&i| self.candidates[i].tried || self.candidates[i].invalid.is_some())
            .map(|i| {
                let c = &self.candidates[i];
                let of = |f: fn(&Trial) -> f64| (!c.trials.is_empty()).then(|| c.mean(f)).filter(|v| v.is_finite());
                CandidateResult {
                    index: i,
                    values: values[i].clone(),
                    runs: c.trials.len() as u64,
                    broken: c.broken(),
                    cost: of(|t| t.cost),
                    excess: of(|t| t.excess),
                    breach_minutes: of(|t| t.breach_minutes),
                    churn: of(|t| t.churn),
                    outcome: self.outcome(i),
                    on_front: false,
                }
            })
            .collect();
        let figures: Vec<Option<[f64; 3]>> = rows
            .iter()
            .map(|r| Some([r.cost?, r.broken as f64 / r.runs.max(1) as f64 + r.excess?, r.churn?]))
            .collect();
        for i in 0..rows.len() {
            let Some(mine) = figures[i] else { continue };
            let dominated = figures.iter().flatten().any(|other| {
                other.iter().zip(&mine).all(|(o, m)| o <= m) && other.iter().zip(&mine).any(|(o, m)| o < m)
            });
            rows[i].on_front = !dominated;
        }
        rows
    }
}

/// The candidates that are run first: all, or a Latin hypercube over the grid.
fn first(levels: &[usize], most: usize, seed: u64, size: usize) -> Vec<usize> {
    if size <= most {
        return (0..size).collect();
    }
    let mut stream = Streams::new(seed, 0).stream("search/first");
    let sample = latin_hypercube(most, levels.len(), &mut stream).unwrap_or_default();
    let mut first: Vec<usize> = sample
        .iter()
        .map(|u| u.iter().zip(levels).fold(0, |index, (u, &n)| index * n + ((u * n as f64) as usize).min(n - 1)))
        .collect();
    first.sort_unstable();
    first.dedup();
    first
}

/// The first replication of those that confirm: far from all that were used to choose.
pub const FRESH_FROM: u32 = 1_000_000;

/// Searches to the end. `make` makes runs of the space's points and returns them in the order that was asked for, none
/// for one that failed; it hears what they are for. Winner and runner-up are run again on fresh replications, and stay so
/// only if they keep the objectives there too; when nothing is left, the candidate that came nearest is.
///
/// # Errors
/// What `make` refuses with.
pub fn run_search<E>(
    mut search: Search,
    space: &Space,
    scenario: &str,
    mut make: impl FnMut(&[Wanted], &str) -> Result<Vec<Option<RunRecord>>, E>,
) -> Result<SearchResult, E> {
    let mut point_of = vec![0; space.values.len()];
    for (point, &candidate) in space.of_point.iter().enumerate() {
        point_of[candidate] = point;
    }
    let mut fresh: BTreeMap<usize, Vec<RunRecord>> = BTreeMap::new();
    let mut round = 0;
    loop {
        let wanted = search.next_runs();
        if !wanted.is_empty() {
            round += 1;
            let runs: Vec<Wanted> = wanted.iter().map(|w| Wanted { point: point_of[w.point], ..*w }).collect();
            let records = make(&runs, &format!("round {round}"))?;
            for (want, record) in wanted.into_iter().zip(records) {
                let trial = record.map(|r| Trial::of(&r, &search.goal));
                search.add(want, trial);
            }
            continue;
        }
        // Nothing is left that could be cheaper than what was shown. Being the best of many flatters: what does not
        // keep the objectives on fresh runs too is out, and the search goes on.
        let mut finalists: Vec<usize> = search.shown().into_iter().take(2).collect();
        if finalists.is_empty() {
            finalists.extend(search.nearest());
        }
        finalists.retain(|candidate| !fresh.contains_key(candidate));
        if finalists.is_empty() {
            return Ok(search.result(scenario, space, &fresh));
        }
        let of: Vec<(usize, u32)> = (FRESH_FROM..FRESH_FROM + search.goal.replications)
            .flat_map(|replication| finalists.iter().map(move |&candidate| (candidate, replication)))
            .collect();
        let wanted: Vec<Wanted> =
            of.iter().map(|&(candidate, replication)| Wanted { point: point_of[candidate], replication }).collect();
        let records = make(&wanted, "fresh replications")?;
        for &candidate in &finalists {
            let runs: Vec<&Option<RunRecord>> =
                of.iter().zip(&records).filter(|(of, _)| of.0 == candidate).map(|(_, r)| r).collect();
            let kept = runs.iter().filter(|r| r.as_ref().is_some_and(|r| r.summary.objectives_missed() == 0)).count();
            search.candidates[candidate].fresh = Some((runs.len() as u64, (runs.len() - kept) as u64));
            fresh.insert(candidate, runs.into_iter().flatten().cloned().collect());
        }
    }
}

/// A candidate that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CandidateResult {
    /// Its number in the space.
    pub index: usize,
    /// Its value on each axis.
    pub values: Vec<String>,
    /// Runs made.
    pub runs: u64,
    /// Runs in which an objective was broken.
    pub broken: u64,
    /// Mean of the figure that is to be small.
    pub cost: Option<f64>,
    /// Mean of how far the worst objective was beyond its limit, as a share of the limit.
    pub excess: Option<f64>,
    /// Mean of the breach minutes.
    pub breach_minutes: Option<f64>,
    /// Mean of the tasks started.
    pub churn: Option<f64>,
    /// What became of it.
    pub outcome: String,
    /// Whether no other is better in cost, violations and churn at once.
    pub on_front: bool,
}

/// A finished search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// [`SEARCH_SCHEMA`].
    pub schema: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Address of the figure that was to be small, and its unit.
    pub minimise: String,
    /// Unit of the figure.
    pub unit: String,
    /// Share of runs in which the objectives have to hold.
    pub hold: f64,
    /// Confidence with which that was to be shown.
    pub confidence: f64,
    /// Replications of a candidate that is shown.
    pub replications: u32,
    /// The axes: addresses.
    pub axes: Vec<String>,
    /// Their short names.
    pub short: Vec<String>,
    /// Configurations in the space.
    pub size: usize,
    /// Runs that were made to choose.
    pub spent: usize,
    /// Runs that were made to confirm.
    pub fresh_runs: usize,
    /// The candidates that were tried.
    pub candidates: Vec<CandidateResult>,
    /// The winner, by its number in the space; none when nothing is shown to keep the objectives.
    pub winner: Option<usize>,
    /// The next best.
    pub runner_up: Option<usize>,
    /// The one that came nearest, when there is no winner.
    pub nearest: Option<usize>,
    /// Winner and runner-up (or the nearest) on fresh replications.
    pub fresh: Vec<Study>,
    /// Lower bound of the share of runs that keep the objectives, of each of these, at the stated confidence.
    pub shown_share: Vec<Option<f64>>,
    /// The runner-up against the winner, in words.
    pub sentence: String,
    /// The winner as a variant of the scenario.
    pub patch: String,
    /// What the reader has to know.
    pub notes: Vec<String>,
}

/// The configuration as a variant that can be put into the scenario.
#[must_use]
pub fn patch(name: &str, axes: &[String], values: &[String]) -> String {
    let mut text = format!("[variants.{name}]\n");
    let pairs: IndexMap<&String, &String> = axes.iter().zip(values).collect();
    for (address, value) in pairs {
        let literal = toml::from_str::<toml::Table>(&format!("v = {value}")).is_ok();
        let value = if literal { value.clone() } else { serde_json::Value::from(value.as_str()).to_string() };
        text += &format!("{} = {value}\n", serde_json::Value::from(address.as_str()));
    }
    text
}

/// The lower bound of the share of runs that keep the objectives.
///
/// # Errors
/// When there is no run.
pub fn shown_share(study: &Study, confidence: f64) -> Result<f64, Refusal> {
    at_least(study.kept_all.unwrap_or(0), study.replications.len() as u64, confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::figure::MEASURES;

    fn goal(replications: u32) -> Goal {
        let minimise = Figure { subject: "cluster".into(), measure: &MEASURES[1] };
        Goal { minimise, hold: 0.9, confidence: 0.95, replications }
    }

    /// A space in which cost grows with the place, and the chance to keep the objectives too.
    fn truth(place: usize, replication: u32) -> Trial {
        let mut hash = (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ u64::from(replication).wrapping_mul(0xD1B5_4A32_D192_ED03);
        hash ^= hash >> 29;
        hash = hash.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let u = (hash >> 11) as f64 / (1_u64 << 53) as f64;
        let kept = u < (place as f64 / 60.0).powi(4);
        let noise = f64::from(replication % 7) * 0.01;
        Trial {
            replication,
            cost: place as f64 + noise,
            kept,
            excess: f64::from(u8::from(!kept)),
            breach_minutes: 0.0,
            churn: 0.0,
        }
    }

    fn run(mut search: Search) -> Search {
        loop {
            let next = search.next_runs();
            if next.is_empty() {
                return search;
            }
            for w in next {
                let place = search.candidates[w.point].place[0];
                assert_eq!(search.candidates[w.point].trials.len(), w.replication as usize);
                search.add(w, Some(truth(place, w.replication)));
            }
        }
    }

    #[test]
    fn the_cheapest_that_is_shown_is_found_with_few_runs() {
        let n = 100;
        let best = (0..n).find(|&p| (0..30).all(|r| truth(p, r).kept)).expect("one keeps them");
        let places: Vec<Vec<usize>> = (0..n).map(|p| vec![p]).collect();
        let all: Vec<usize> = (0..n).collect();
        let search = run(Search::new(goal(30), vec![n], places, &all).expect("can be shown"));
        assert_eq!(search.shown().first().copied(), Some(best));
        assert!(search.spent() < 300, "{} runs", search.spent());
        let values: Vec<Vec<String>> = (0..n).map(|p| vec![p.to_string()]).collect();
        let table = search.table(&values);
        assert!(table[best].outcome == "keeps the objectives" && table[best].on_front);
        assert!(table[n - 1].outcome.contains("costs more"));
    }

    #[test]
    fn a_large_space_is_walked_from_a_sample() {
        let n = 1_000;
        let places: Vec<Vec<usize>> = (0..n).map(|p| vec![p]).collect();
        let search = run(Search::new(goal(30), vec![n], places, &[100, 400, 800]).expect("can be shown"));
        let best = search.shown()[0];
        assert!(best < 65, "walked down to {best}");
    }

    #[test]
    fn what_cannot_be_shown_is_said() {
        assert_eq!(goal(30).affordable(), Ok(0));
        assert_eq!(goal(46).affordable(), Ok(1));
        let e = goal(20).affordable().expect_err("too few");
        assert_eq!(e.need, 29);
        let mut impossible = Search::new(goal(30), vec![1], vec![vec![0]], &[0]).expect("can be shown");
        for w in impossible.next_runs() {
            impossible.add(w, None);
        }
        assert!(impossible.next_runs().is_empty() && impossible.shown().is_empty());
        assert_eq!(impossible.nearest(), Some(0));
    }

    #[test]
    fn the_winner_is_a_variant() {
        let axes = ["a.b".to_owned(), "c".to_owned(), "d".to_owned()];
        let values = ["75".to_owned(), "30s".to_owned(), "\"x\"".to_owned()];
        assert_eq!(patch("found", &axes, &values), "[variants.found]\n\"a.b\" = 75\n\"c\" = \"30s\"\n\"d\" = \"x\"\n");
    }
}
