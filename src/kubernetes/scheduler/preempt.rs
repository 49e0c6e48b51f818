//! Preemption: which pods of lower priority would have to go so that a pod finds room, and on which node.

use std::cmp::Reverse;

use super::cache::Verdict;
use super::filter::Code;
use super::score;
use super::shape::Form;
use super::state::{Ending, NodeId, PodKey, Resident, Scheduler, ShapeId};
use super::why::{NoPreemption, Reason, WhyNot};
use crate::kernel::SimTime;
use crate::kubernetes::object::{PreemptionPolicy, Selector, Symbol};

/// A disruption budget as preemption sees it: best effort, it only counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The namespace of its pods.
    pub namespace: Symbol,
    /// Its pods; without requirements, or absent, it has none.
    pub selector: Option<Selector>,
    /// How many may be disrupted now.
    pub disruptions_allowed: i64,
    /// Pods whose eviction was granted and not yet seen: they cost nothing.
    pub already_disrupted: Vec<PodKey>,
}

/// A node with the pods that would have to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// The pods, the most important one first.
    pub victims: Vec<PodKey>,
    /// How many of them exceed a budget.
    pub violations: u32,
}

/// What preemption decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// Where the pod is now nominated.
    pub node: NodeId,
    /// Pods to delete gracefully, the most important one first.
    pub victims: Vec<PodKey>,
    /// How many of them exceed a budget.
    pub violations: u32,
    /// Pods of lower priority that lost their nomination to this node and go back to the active queue.
    pub displaced: Vec<PodKey>,
}

/// A pod that may have to go.
#[derive(Clone, Copy)]
struct Victim {
    resident: Resident,
    priority: i32,
    start: SimTime,
    terminating: bool,
}

impl Victim {
    /// More important ones first; equals by number, so that nothing depends on the order on the node.
    fn importance(&self) -> (Reverse<i32>, SimTime, PodKey) {
        (Reverse(self.priority), self.start, self.resident.pod)
    }
}

impl Scheduler {
    /// Makes room for a pod that no node takes. On success the pod is nominated to the node, and pods of lower
    /// priority that were are not any more; deleting the victims is the caller's part. `draw` decides where the
    /// search starts.
    ///
    /// # Errors
    ///
    /// Why it makes no room. If no node would do, the pod's nomination ends.
    pub fn preempt(
        &mut self,
        pod: PodKey,
        shape: ShapeId,
        budgets: &[Budget],
        draw: u64,
    ) -> Result<Preemption, NoPreemption> {
        let Some(form) = self.forms.get(shape.index()).cloned() else {
            return Err(NoPreemption::NoCandidate(WhyNot::default()));
        };
        let nominated = self.nomination(pod).map(|n| self.passes(pod, &form, n.node.slot()).code());
        self.eligible(pod, shape, nominated)?;
        let potential = self.potential(pod, shape, &form);
        let all = self.node_count();
        let (candidates, mut why) = self.candidates(
            pod,
            shape,
            &potential,
            budgets,
            score::pick(draw, potential.len()),
            self.limit(potential.len()),
        );
        let Some(best) = self.best_candidate(&candidates) else {
            if all > potential.len() {
                why.count(Reason::NotHelpful, (all - potential.len()) as u32);
            }
            self.clear_nomination(pod);
            return Err(NoPreemption::NoCandidate(why));
        };
        let Candidate { node, victims, violations } = candidates[best].clone();
        let lower = |n: &super::state::Nomination| {
            n.node == node && n.pod != pod && self.forms[n.shape.index()].spec.priority < form.spec.priority
        };
        let displaced: Vec<PodKey> = self.nominations.iter().filter(|n| lower(n)).map(|n| n.pod).collect();
        for other in &displaced {
            self.clear_nomination(*other);
        }
        self.nominate(pod, shape, node);
        Ok(Preemption { node, victims, violations, displaced })
    }

    /// Whether a pod may preempt at all. `nominated` is what the filters last said of its nominated node.
    ///
    /// # Errors
    ///
    /// Its policy forbids it, or victims that it chose earlier are still ending.
    pub fn eligible(&self, pod: PodKey, shape: ShapeId, nominated: Option<Code>) -> Result<(), NoPreemption> {
        let Some(spec) = self.shape(shape) else { return Err(NoPreemption::Never) };
        if spec.preemption_policy == PreemptionPolicy::Never {
            return Err(NoPreemption::Never);
        }
        let Some(nomination) = self.nomination(pod).filter(|_| nominated != Some(Code::Unresolvable)) else {
            return Ok(());
        };
        let waits = self.pods_on(nomination.node).iter().any(|r| {
            self.forms[r.shape.index()].spec.priority < spec.priority
                && self.pods.get(&r.pod).is_some_and(|p| p.ending == Ending::Preempted)
        });
        if waits { Err(NoPreemption::Terminating) } else { Ok(()) }
    }

    /// How many candidates are enough: a share of the nodes, but not less than an absolute number.
    fn limit(&self, nodes: usize) -> usize {
        let share = i128::from(self.profile.min_candidate_nodes_percentage) * nodes as i128 / 100;
        let least = share.max(i128::from(self.profile.min_candidate_nodes_absolute)).max(0);
        usize::try_from(least).unwrap_or(usize::MAX).min(nodes)
    }

    /// The nodes that refuse the pod in a way that taking pods away may cure, in the order of examination.
    fn potential(&mut self, pod: PodKey, shape: ShapeId, form: &std::sync::Arc<Form>) -> Vec<NodeId> {
        let curable = |v: Verdict| v.code() == Code::Unschedulable;
        if let Some(name) = form.spec.node_name.filter(|_| self.profile.filters.node_name) {
            let node = self.node_named(name);
            return node.filter(|n| curable(self.passes(pod, form, n.slot()))).into_iter().collect();
        }
        self.order.refresh();
        let mut cache = self.take_cache(shape, form);
        self.freshen_all(form, &mut cache);
        let list = std::mem::take(&mut self.order.list);
        let mut potential = Vec::new();
        for &slot in &list {
            let own = cache.entries[slot as usize].verdict;
            let anew = !self.nominations.is_empty() || own.fits();
            if curable(if anew { self.passes(pod, form, slot as usize) } else { own }) {
                potential.push(NodeId(slot));
            }
        }
        self.order.list = list;
        self.return_cache(shape, cache);
        potential
    }

    /// The candidates among some nodes, examined from `offset` on and round until `limit` are found of which one
    /// exceeds no budget; candidates that exceed one and those that do not are each at most `limit`. The
    /// second part says of the other nodes examined why they are none.
    pub fn candidates(
        &mut self,
        pod: PodKey,
        shape: ShapeId,
        nodes: &[NodeId],
        budgets: &[Budget],
        offset: usize,
        limit: usize,
    ) -> (Vec<Candidate>, WhyNot) {
        let mut why = WhyNot { nodes: self.node_count() as u32, reasons: Vec::new() };
        let Some(form) = self.forms.get(shape.index()).cloned() else { return (Vec::new(), why) };
        let (mut within, mut beyond) = (Vec::new(), Vec::new());
        for at in 0..nodes.len() {
            let node = nodes[(offset % nodes.len() + at) % nodes.len()];
            if self.node(node).is_none() {
                continue;
            }
            match self.victims(pod, &form, node, budgets) {
                Ok(candidate) => {
                    let sort = if candidate.violations == 0 { &mut within } else { &mut beyond };
                    if sort.len() < limit {
                        sort.push(candidate);
                    }
                    if !within.is_empty() && within.len() + beyond.len() >= limit {
                        break;
                    }
                }
                Err(None) => why.count(Reason::NoVictims, 1),
                Err(Some(verdict)) => self.explain(&mut why, verdict, 1, &form),
            }
        }
        within.append(&mut beyond);
        (within, why)
    }

    /// The pods that would have to go from one node. The node is left as it was.
    fn victims(
        &mut self,
        pod: PodKey,
        form: &Form,
        node: NodeId,
        budgets: &[Budget],
    ) -> Result<Candidate, Option<Verdict>> {
        let slot = node.slot();
        let mut lower: Vec<Victim> = self.residents[slot]
            .iter()
            .filter_map(|&resident| {
                let priority = self.forms[resident.shape.index()].spec.priority;
                // Most pods are no victims: nothing more is asked about them.
                if priority >= form.spec.priority {
                    return None;
                }
                let placed = self.pods.get(&resident.pod)?;
                let terminating = placed.ending != Ending::No;
                Some(Victim { resident, priority, start: placed.start, terminating })
            })
            .collect();
        if lower.is_empty() {
            return Err(None);
        }
        for victim in &lower {
            self.take(slot, victim);
        }
        let verdict = self.passes(pod, form, slot);
        if !verdict.fits() {
            for victim in &lower {
                self.give(slot, victim);
            }
            return Err(Some(verdict));
        }
        lower.sort_unstable_by_key(Victim::importance);
        let (exceeding, others) = self.by_budget(lower, budgets);
        let mut victims = Vec::new();
        let mut violations = 0;
        for (victim, exceeds) in exceeding.iter().map(|v| (v, true)).chain(others.iter().map(|v| (v, false))) {
            self.give(slot, victim);
            if !self.passes(pod, form, slot).fits() {
                self.take(slot, victim);
                victims.push(*victim);
                violations += u32::from(exceeds);
            }
        }
        for victim in &victims {
            self.give(slot, victim);
        }
        if victims.is_empty() {
            return Err(None);
        }
        victims.sort_unstable_by_key(Victim::importance);
        Ok(Candidate { node, victims: victims.iter().map(|v| v.resident.pod).collect(), violations })
    }

    fn take(&mut self, slot: usize, victim: &Victim) {
        let residents = &mut self.residents[slot];
        if let Some(at) = residents.iter().position(|r| r.pod == victim.resident.pod) {
            residents.swap_remove(at);
        }
        self.weigh(victim.resident.shape, slot, victim.terminating, -1);
    }

    fn give(&mut self, slot: usize, victim: &Victim) {
        self.residents[slot].push(victim.resident);
        self.weigh(victim.resident.shape, slot, victim.terminating, 1);
    }

    /// Parts pods into those whose removal exceeds a budget and the others; each spends every budget that it
    /// belongs to, in the order given.
    fn by_budget(&self, pods: Vec<Victim>, budgets: &[Budget]) -> (Vec<Victim>, Vec<Victim>) {
        let mut left: Vec<i64> = budgets.iter().map(|b| b.disruptions_allowed).collect();
        pods.into_iter().partition(|victim| {
            let spec = &self.forms[victim.resident.shape.index()].spec;
            let mut exceeds = false;
            if spec.labels.is_empty() {
                return false;
            }
            for (budget, left) in budgets.iter().zip(&mut left) {
                let selects = budget.namespace == spec.namespace
                    && budget
                        .selector
                        .as_ref()
                        .is_some_and(|s| !s.requirements.is_empty() && s.matches(&spec.labels, &self.symbols));
                if selects && !budget.already_disrupted.contains(&victim.resident.pod) {
                    *left -= 1;
                    exceeds |= *left < 0;
                }
            }
            exceeds
        })
    }

    /// The position of the best candidate: fewest pods beyond budgets; the lowest highest priority among victims;
    /// the smallest sum of priorities; fewest victims; the latest start among the earliest of the most
    /// important ones; the first.
    #[must_use]
    pub fn best_candidate(&self, candidates: &[Candidate]) -> Option<usize> {
        let key = |candidate: &Candidate| {
            let victims = || {
                candidate.victims.iter().filter_map(|pod| {
                    let placed = self.pods.get(pod)?;
                    Some((self.forms[placed.shape.index()].spec.priority, placed.start))
                })
            };
            let highest = victims().map(|(p, _)| p).max().unwrap_or(i32::MIN);
            let sum: i64 = victims().map(|(p, _)| i64::from(p) + (1 << 31)).sum();
            let earliest = victims().filter(|(p, _)| *p == highest).map(|(_, start)| start).min();
            (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
        };
        (0..candidates.len()).min_by_key(|at| key(&candidates[*at]))
    }
}
