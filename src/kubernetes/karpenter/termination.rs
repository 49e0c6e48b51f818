//! How a node goes: cordoned, drained in waves, terminated.
//!
//! Source: `kubernetes-sigs/karpenter`, `node/termination` (v1.14).

use super::disruption::candidates::tolerates_disruption;
use super::world::{NodeView, Owner, PodPhase, PodView, World};
use crate::kernel::{SimDuration, SimTime};

/// The least time from the end of the drain to what follows.
pub const MIN_DRAIN: SimDuration = SimDuration::from_secs(5);
/// How often it is looked whether the instance is gone.
pub const TERMINATION_POLL: SimDuration = SimDuration::from_secs(5);
/// How long past its deadline a terminating pod is waited for.
const STUCK_AFTER: SimDuration = SimDuration::from_mins(1);
/// Priority of `system-cluster-critical`, the lower of the two critical classes.
pub const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// The waves of a drain, each waiting for the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wave {
    /// Pods that are not critical.
    Ordinary,
    /// Pods of DaemonSets that are not critical.
    OrdinaryDaemon,
    /// Critical pods.
    Critical,
    /// Critical pods of DaemonSets.
    CriticalDaemon,
}

/// What a termination remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termination {
    /// When the NodeClaim was deleted.
    pub started: SimTime,
    /// The instant from which nothing is waited for: with `terminationGracePeriod`, or at once for an instance that fails.
    pub deadline: Option<SimTime>,
    /// When the drain ended.
    pub drained: Option<SimTime>,
}

impl Termination {
    /// A termination that begins now.
    #[must_use]
    pub fn new(now: SimTime, grace_period: Option<SimDuration>) -> Self {
        Self { started: now, deadline: grace_period.map(|g| now + g), drained: None }
    }

    /// Sets the deadline to now: status checks of the instance failed.
    pub fn force(&mut self, now: SimTime) {
        self.deadline = Some(self.deadline.map_or(now, |at| at.min(now)));
    }
}

/// What to do next with a node that goes. Its taint and its leaving the load balancers come at the very start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pods are still there.
    Drain {
        /// The wave that is being evicted.
        wave: Wave,
        /// Pods to evict through the eviction API, again and again until it lets them go.
        evict: Vec<u64>,
        /// Pods to delete by force, whatever budgets and annotations say.
        force: Vec<u64>,
    },
    /// The drain is over: look again then.
    Settle(SimTime),
    /// Volumes are still attached.
    DetachVolumes,
    /// Terminate the instance; once it is gone the node goes too.
    TerminateInstance,
}

fn wave(world: &World<'_>, pod: &PodView) -> Wave {
    let critical = world.shapes[pod.shape].priority >= SYSTEM_CRITICAL;
    match (critical, pod.owner == Owner::DaemonSet) {
        (false, false) => Wave::Ordinary,
        (false, true) => Wave::OrdinaryDaemon,
        (true, false) => Wave::Critical,
        (true, true) => Wave::CriticalDaemon,
    }
}

/// Whether a pod holds the drain up.
fn is_waited_for(world: &World<'_>, pod: &PodView, now: SimTime) -> bool {
    let lives = match pod.phase {
        PodPhase::Active => true,
        PodPhase::Finished => false,
        PodPhase::Terminating { deadline } => now <= deadline + STUCK_AFTER,
    };
    lives && pod.owner != Owner::Node && !tolerates_disruption(world, &world.shapes[pod.shape])
}

/// The next step of a termination. `volumes`: how many volumes are still attached that no remaining pod uses.
pub fn step(world: &World<'_>, node: &NodeView, memory: &mut Termination, volumes: usize) -> Step {
    let now = world.now;
    let waited: Vec<&PodView> = node.pods.iter().filter(|p| is_waited_for(world, p, now)).collect();
    let first = waited.iter().map(|p| wave(world, p)).min();
    if let Some(first) = first {
        memory.drained = None;
        let due = |p: &PodView| {
            memory.deadline.is_some_and(|at| now + p.grace_period > at)
                && !matches!(p.phase, PodPhase::Terminating { deadline } if Some(deadline) <= memory.deadline)
        };
        let force: Vec<u64> = waited.iter().filter(|p| due(p)).map(|p| p.uid).collect();
        let evict = waited.iter().filter(|p| {
            wave(world, p) == first
                && p.phase == PodPhase::Active
                && !p.forbids_disruption(now)
                && !force.contains(&p.uid)
        });
        return Step::Drain { wave: first, evict: evict.map(|p| p.uid).collect(), force };
    }
    let drained = *memory.drained.get_or_insert(now);
    if now < drained + MIN_DRAIN {
        return Step::Settle(drained + MIN_DRAIN);
    }
    if volumes > 0 && memory.deadline.is_none_or(|at| now <= at) {
        return Step::DetachVolumes;
    }
    Step::TerminateInstance
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kubernetes::karpenter::labels::WellKnown;
    use crate::kubernetes::karpenter::world::{DISRUPTED_TAINT, DoNotDisrupt, Options};
    use crate::kubernetes::object::{PodSpec, Symbols, Toleration};

    /// A node with pods of four shapes: ordinary, critical, one that tolerates the taint, and an ordinary one.
    fn drain(pods: &[PodView], memory: &mut Termination, at: u64) -> Step {
        let mut symbols = Symbols::default();
        let known = WellKnown::new(&mut symbols);
        let ordinary = PodSpec::new(symbols.intern("default"));
        let (mut critical, mut tolerant) = (ordinary.clone(), ordinary.clone());
        critical.priority = SYSTEM_CRITICAL;
        let key = symbols.intern(DISRUPTED_TAINT);
        tolerant.tolerations.push(Toleration { key: Some(key), value: None, effect: None });
        let shapes = [ordinary, critical, tolerant];
        let mut node = NodeView::new(symbols.intern("n"));
        node.pods = pods.to_vec();
        let world = World {
            now: SimTime::from_secs(at),
            start: Timestamp::UNIX_EPOCH,
            symbols: &symbols,
            known: &known,
            shapes: &shapes,
            pools: &[],
            tables: &[],
            nodes: &[],
            daemons: &[],
            options: Options::default(),
        };
        step(&world, &node, memory, 0)
    }

    fn pod(uid: u64, shape: usize) -> PodView {
        PodView::new(uid, shape, SimTime::ZERO)
    }

    #[test]
    fn waves_wait_for_each_other() {
        let mut memory = Termination::new(SimTime::ZERO, None);
        let daemon = PodView { owner: Owner::DaemonSet, ..pod(2, 0) };
        let held = PodView { do_not_disrupt: Some(DoNotDisrupt::Always), ..pod(4, 0) };
        let all = [pod(1, 0), daemon, pod(3, 1), held, pod(5, 2)];
        let expect = |wave, evict: &[u64]| Step::Drain { wave, evict: evict.to_vec(), force: Vec::new() };
        assert_eq!(drain(&all, &mut memory, 1), expect(Wave::Ordinary, &[1]));
        assert_eq!(
            drain(&all[1..], &mut memory, 2),
            expect(Wave::Ordinary, &[]),
            "a pod that must not be disturbed is waited for"
        );
        assert_eq!(drain(&all[1..3], &mut memory, 3), expect(Wave::OrdinaryDaemon, &[2]));
        assert_eq!(drain(&all[2..3], &mut memory, 4), expect(Wave::Critical, &[3]));
        assert_eq!(
            drain(&all[4..], &mut memory, 10),
            Step::Settle(SimTime::from_secs(15)),
            "who tolerates the taint stays"
        );
        assert_eq!(drain(&[], &mut memory, 15), Step::TerminateInstance);
    }

    #[test]
    fn a_deadline_is_stronger_than_annotations() {
        let mut memory = Termination::new(SimTime::ZERO, Some(SimDuration::from_secs(100)));
        let held = PodView { do_not_disrupt: Some(DoNotDisrupt::Always), ..pod(4, 0) };
        let force = |step: Step| match step {
            Step::Drain { force, .. } => force,
            _ => Vec::new(),
        };
        assert!(force(drain(std::slice::from_ref(&held), &mut memory, 70)).is_empty());
        assert_eq!(force(drain(&[held.clone(), pod(6, 1)], &mut memory, 71)), [4, 6], "in every wave");
        let mut memory = Termination::new(SimTime::ZERO, None);
        memory.force(SimTime::from_secs(5));
        assert_eq!(force(drain(&[held], &mut memory, 6)), [4]);
    }

    #[test]
    fn a_stuck_pod_is_not_waited_for() {
        let mut memory = Termination::new(SimTime::ZERO, None);
        let going = PodView { phase: PodPhase::Terminating { deadline: SimTime::from_secs(30) }, ..pod(1, 0) };
        let wait = Step::Drain { wave: Wave::Ordinary, evict: Vec::new(), force: Vec::new() };
        assert_eq!(drain(std::slice::from_ref(&going), &mut memory, 90), wait);
        assert!(matches!(drain(&[going], &mut memory, 91), Step::Settle(_)));
    }
}
