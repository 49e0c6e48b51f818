//! Disruption: which nodes should go, in which order the reasons are tried, and whether a decision still holds when it is
//! carried out.
//!
//! Source: `kubernetes-sigs/karpenter`, `pkg/controllers/disruption` (v1.14). Static pools (`replicas`) are left out: they are
//! neither consolidated nor replaced when they drift.

pub mod balanced;
pub mod budgets;
pub mod candidates;
pub mod consolidation;
pub mod drift;
mod emptiness;
pub mod queue;

use self::balanced::PoolScore;
use self::candidates::{Candidate, DisruptionClass, candidate, rank, take_turns};
use self::consolidation::Context;
use super::launch::Unavailable;
use super::pool::{ConsolidationPolicy, Reason};
use super::scheduling::{NodeClaim, Scheduler};
use super::world::{PendingPod, World};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::Symbol;
use crate::units::Usd;

/// How often the loop runs when nothing was done; after a success it runs again at once.
pub const PERIOD: SimDuration = SimDuration::from_secs(10);
/// How long a decision is left to settle before it is checked again.
pub const VALIDATION_DELAY: SimDuration = SimDuration::from_secs(15);
/// How long "nothing to do" is believed at most while nothing changes.
const BELIEVED_FOR: SimDuration = SimDuration::from_mins(5);

/// The methods, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Empty nodes are deleted.
    Emptiness,
    /// A drifted node is replaced.
    Drift,
    /// Several nodes go, at most one comes.
    MultiNode,
    /// One node goes, at most one comes.
    SingleNode,
}

impl Method {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Emptiness, Self::Drift, Self::MultiNode, Self::SingleNode];

    /// The reason that budgets see.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Emptiness => Reason::Empty,
            Self::Drift => Reason::Drifted,
            Self::MultiNode | Self::SingleNode => Reason::Underutilized,
        }
    }

    /// Whether the decision is checked again after [`VALIDATION_DELAY`].
    #[must_use]
    pub const fn is_validated(self) -> bool {
        !matches!(self, Self::Drift)
    }

    const fn class(self) -> DisruptionClass {
        match self {
            Self::Drift => DisruptionClass::Eventual,
            _ => DisruptionClass::Graceful,
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The nodes go.
    Delete,
    /// They go once others are there.
    Replace,
}

/// A decision to disrupt nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// By which method.
    pub method: Method,
    /// For which reason, as budgets see it.
    pub reason: Reason,
    /// The nodes that go.
    pub candidates: Vec<Candidate>,
    /// The nodes that come first.
    pub replacements: Vec<NodeClaim>,
    /// When it was decided.
    pub decided: SimTime,
    /// What the nodes that go cost an hour.
    pub price: Usd,
    /// What those that come cost an hour at worst. Drift has no rule about it.
    pub worst_replacement_price: Usd,
    /// Scores of the pools with the Balanced policy.
    pub scores: Vec<PoolScore>,
}

impl Command {
    fn new(
        method: Method,
        reason: Reason,
        candidates: Vec<Candidate>,
        replacements: Vec<NodeClaim>,
        decided: SimTime,
    ) -> Self {
        let price = Usd::from_nanos(candidates.iter().map(|c| c.price.nanos()).sum());
        Self {
            method,
            reason,
            candidates,
            replacements,
            decided,
            price,
            worst_replacement_price: Usd::ZERO,
            scores: Vec::new(),
        }
    }

    /// What is to be done.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        if self.replacements.is_empty() { Decision::Delete } else { Decision::Replace }
    }
}

/// What the loop remembers between its rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// By method: the version of the cluster at which there was nothing to do, and when.
    idle: [Option<(u64, SimTime)>; 4],
    /// Pools whose candidates single-node consolidation did not all look at.
    missed: Vec<usize>,
}

impl Memory {
    fn is_idle(&self, method: Method, version: u64, now: SimTime) -> bool {
        self.idle[method as usize].is_some_and(|(at, since)| at == version && now.since(since) < BELIEVED_FOR)
    }
}

/// What the loop looks at beside the world.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Pods that wait for a node.
    pub pending: &'a [PendingPod],
    /// What could not be had lately.
    pub unavailable: &'a Unavailable,
    /// Nodes, by name, that commands in the queue concern.
    pub queued: &'a [Symbol],
    /// Rises with every change of nodes, pods or pools.
    pub version: u64,
    /// How many candidates single-node consolidation looks at in a round; no bound without. Takes the place of the real
    /// one's time-out of three minutes: pools that it did not get to come first in the next round.
    pub most_single: Option<usize>,
}

/// Candidates of a method, in no order that matters.
#[must_use]
pub fn candidates_for(world: &World<'_>, method: Method, queued: &[Symbol]) -> Vec<Candidate> {
    let all = (0..world.nodes.len())
        .filter_map(|n| candidate(world, n, method.class(), queued.contains(&world.nodes[n].name)).ok());
    all.filter(|c| {
        let (node, pool) = (&world.nodes[c.node], &world.pools[c.pool]);
        let policy = pool.disruption.consolidation_policy;
        let fits = match method {
            Method::Drift => return pool.replicas.is_none() && node.drift.is_some(),
            Method::Emptiness => c.is_empty(),
            Method::MultiNode | Method::SingleNode => policy != ConsolidationPolicy::WhenEmpty,
        };
        fits && pool.replicas.is_none() && node.is_consolidatable(pool.disruption.consolidate_after, world.now)
    })
    .collect()
}

/// One round of the loop: the first method that finds something to do.
pub fn disrupt(scheduler: &mut Scheduler<'_>, memory: &mut Memory, seen: &Observation<'_>) -> Option<Command> {
    let world = *scheduler.world();
    let mut totals: Option<Vec<balanced::PoolTotals>> = None;
    for method in Method::ALL {
        if method != Method::Drift && memory.is_idle(method, seen.version, world.now) {
            continue;
        }
        let mut found = candidates_for(&world, method, seen.queued);
        if found.is_empty() {
            continue;
        }
        rank(&mut found, world.symbols);
        let mut left = budgets::left(&world, method.reason());
        let totals = totals.get_or_insert_with(|| balanced::totals(&world));
        let context = Context { pending: seen.pending, unavailable: seen.unavailable, totals };
        let (command, held) = match method {
            Method::Emptiness => emptiness::decide(&world, &found, &mut left),
            Method::Drift => (drift::decide(scheduler, seen.pending, &found, &mut left), true),
            Method::MultiNode => consolidation::several(scheduler, &context, &found, &mut left),
            Method::SingleNode => {
                let order = take_turns(&found, &memory.missed);
                let single = consolidation::one(scheduler, &context, &order, &left, seen.most_single);
                let held = single.held || !single.missed.is_empty();
                memory.missed = single.missed;
                (single.command, held)
            }
        };
        if command.is_some() {
            return command;
        }
        if !held {
            memory.idle[method as usize] = Some((seen.version, world.now));
        }
    }
    None
}

/// Why a decision no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// A candidate is gone or may no longer be disrupted.
    Candidate(Symbol),
    /// The budgets no longer allow all of them.
    Budget,
    /// A pod would lose its place.
    Strands,
    /// Another number of new nodes is needed.
    Replacements,
    /// Types that were decided for are no longer possible.
    Types,
    /// No candidate is left.
    NothingLeft,
}

/// Checks a decision again, [`VALIDATION_DELAY`] after it was made. Of empty nodes those that still qualify remain; any other decision
/// stands or falls as a whole.
///
/// # Errors
/// Why it falls.
pub fn validate(scheduler: &mut Scheduler<'_>, command: Command, seen: &Observation<'_>) -> Result<Command, Invalid> {
    let world = *scheduler.world();
    let now = candidates_for(&world, command.method, seen.queued);
    let mut left = budgets::left(&world, command.reason);
    let again = |c: &Candidate| now.iter().find(|n| n.name == c.name).copied();
    if command.method == Method::Emptiness {
        let still: Vec<Candidate> = command.candidates.iter().filter_map(again).collect();
        let still: Vec<Candidate> = still.into_iter().filter(|c| budgets::take(&mut left, c.pool)).collect();
        if still.is_empty() {
            return Err(Invalid::NothingLeft);
        }
        return Ok(Command::new(command.method, command.reason, still, Vec::new(), command.decided));
    }
    let mut nodes = Vec::new();
    let mut candidates = Vec::new();
    for c in &command.candidates {
        let c = again(c).ok_or(Invalid::Candidate(c.name))?;
        if !budgets::take(&mut left, c.pool) {
            return Err(Invalid::Budget);
        }
        nodes.push(c.node);
        candidates.push(c);
    }
    let simulation = scheduler.simulate(seen.pending, &nodes);
    if consolidation::strands(&world, &simulation) {
        return Err(Invalid::Strands);
    }
    if simulation.claims.len() != command.replacements.len() {
        return Err(Invalid::Replacements);
    }
    for (old, new) in command.replacements.iter().zip(&simulation.claims) {
        if old.pool != new.pool || !old.types.iter().all(|t| new.types.contains(t)) {
            return Err(Invalid::Types);
        }
    }
    Ok(Command { candidates, ..command })
}
