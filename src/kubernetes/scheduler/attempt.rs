//! One attempt to find a node for a pod: filter as many nodes as the sampling asks for, score those that pass,
//! take the best.

use std::sync::Arc;

use super::cache::{Scratch, ShapeCache, UNFIT, Verdict};
use super::counts::NOWHERE;
use super::filter::Code;
use super::score;
use super::shape::Form;
use super::state::{Node, NodeId, Nomination, PodKey, Resident, Scheduler, ShapeId};
use super::why::WhyNot;

impl Scheduler {
    /// Finds the node for a pod. It does not put the pod there: see [`Self::place`]. `pod` may be nominated to
    /// a node, which is then tried alone first; `draw` (all 64-bit numbers alike) decides between equals, which
    /// stand in the order of their slots.
    ///
    /// # Errors
    ///
    /// Why no node takes it. A shape that is not there gets no node and no reason.
    pub fn schedule(&mut self, pod: PodKey, shape: ShapeId, draw: u64) -> Result<NodeId, WhyNot> {
        let Some(form) = self.forms.get(shape.index()).cloned() else { return Err(WhyNot::default()) };
        if let Some(node) = self.nomination(pod).map(|n| n.node)
            && self.passes(pod, &form, node.slot()).fits()
        {
            return Ok(node);
        }
        // A pod that names its node needs no memory of all others.
        if let Some(name) = form.spec.node_name.filter(|_| self.profile.filters.node_name) {
            return match self.node_named(name) {
                Some(node) if self.passes(pod, &form, node.slot()).fits() => Ok(node),
                _ => Err(self.why_not(pod, &form)),
            };
        }
        self.order.refresh();
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cache = self.take_cache(shape, &form);
        let chosen = self.choose(pod, &form, &mut cache, &mut scratch, draw);
        let result = match chosen {
            Some(slot) => Ok(NodeId(slot)),
            None => Err(self.why_cached(pod, &form, &mut cache, &mut scratch)),
        };
        self.return_cache(shape, cache);
        self.scratch = scratch;
        result
    }

    fn choose(
        &mut self,
        pod: PodKey,
        form: &Arc<Form>,
        cache: &mut ShapeCache,
        scratch: &mut Scratch,
        draw: u64,
    ) -> Option<u32> {
        let nodes = self.order.list.len();
        let enough = score::feasible_nodes_to_find(self.profile.percentage_of_nodes_to_score, nodes);
        if enough >= nodes && self.nominations.is_empty() && self.is_local(form, cache) {
            return self.best(form, cache, draw).map(|slot| slot as u32);
        }
        self.filter(pod, form, cache, scratch, enough);
        match scratch.feasible[..] {
            [] => None,
            [only] => Some(only),
            _ => Some(self.score(form, cache, scratch, draw)),
        }
    }

    /// Whether the ranks decide: no filter and no score looks at more than one node.
    fn is_local(&self, form: &Form, cache: &ShapeCache) -> bool {
        !form.is_crowd_bound()
            && form.soft.is_empty()
            && form.drawn.is_empty()
            && cache.images.is_empty()
            && (self.profile.weights.node_affinity == 0 || form.spec.preferred_node_affinity.is_empty())
            && (self.profile.weights.taints == 0 || self.soft_tainted == 0)
    }

    /// Examines nodes, from where the last search stopped, until enough have passed.
    fn filter(&mut self, pod: PodKey, form: &Arc<Form>, cache: &mut ShapeCache, scratch: &mut Scratch, enough: usize) {
        scratch.feasible.clear();
        self.lowest(form, &mut scratch.lowest);
        let crowd = form.is_crowd_bound();
        let nominated = !self.nominations.is_empty();
        let list = std::mem::take(&mut self.order.list);
        let start = if self.order.next < list.len() { self.order.next } else { 0 };
        let (later, first) = list.split_at(start);
        let mut examined = 0;
        for &slot in first.iter().chain(later) {
            examined += 1;
            let at = slot as usize;
            if cache.stale[at] != 0 {
                self.refresh(form, cache, at);
            }
            if cache.ranks[at] == UNFIT
                || crowd && !self.crowd_verdict(form, at, &scratch.lowest).fits()
                || nominated && !self.beside_nominated(pod, form, at).fits()
            {
                continue;
            }
            scratch.feasible.push(slot);
            if scratch.feasible.len() >= enough {
                break;
            }
        }
        self.order.next = if list.is_empty() { 0 } else { (start + examined) % list.len() };
        self.order.list = list;
    }

    /// The smallest count of each constraint.
    fn lowest(&self, form: &Form, into: &mut Vec<i64>) {
        into.clear();
        into.extend(form.hard.iter().map(|c| self.counts.lowest(c.asked.counter, c.min_domains)));
    }

    /// The filters that look at pods of other nodes: topology spread, then affinity between pods.
    fn crowd_verdict(&self, form: &Form, slot: usize, lowest: &[i64]) -> Verdict {
        for (constraint, lowest) in form.hard.iter().zip(lowest) {
            let domain = self.counts.domain(constraint.asked.topology, slot);
            if domain == NOWHERE {
                return Verdict::SPREAD_LABEL;
            }
            let count = self.counts.counts(constraint.asked.counter)[domain as usize];
            if count + constraint.own - lowest > constraint.max_skew {
                return Verdict::SPREAD;
            }
        }
        let count = |asked: &super::counts::Asked| match self.counts.domain(asked.topology, slot) {
            NOWHERE => None,
            domain => Some(self.counts.counts(asked.counter)[domain as usize]),
        };
        let mut all_there = true;
        for asked in &form.near {
            match count(asked) {
                None => return Verdict::AFFINITY,
                Some(pods) => all_there &= pods > 0,
            }
        }
        // The first of a group that wants to be near itself may go anywhere.
        let is_first = || form.near_itself && form.near.iter().all(|a| self.counts.total(a.counter) == 0);
        if !all_there && !is_first() {
            return Verdict::AFFINITY;
        }
        if form.apart.iter().any(|a| count(a).is_some_and(|pods| pods > 0)) {
            return Verdict::ANTI_AFFINITY;
        }
        if form.avoided.iter().any(|a| count(a).is_some_and(|pods| pods > 0)) {
            return Verdict::EXISTING_ANTI_AFFINITY;
        }
        Verdict::FITS
    }

    /// All filters for one node, computed anew, without nominated pods.
    pub(super) fn plain_verdict(&self, form: &Form, slot: usize) -> Verdict {
        let own = self.own_verdict(form, slot);
        if !own.fits() || !form.is_crowd_bound() {
            return own;
        }
        let mut lowest = Vec::with_capacity(form.hard.len());
        self.lowest(form, &mut lowest);
        self.crowd_verdict(form, slot, &lowest)
    }

    /// All filters for one node with the nominated pods of equal or higher priority there; fits if there are none.
    fn beside_nominated(&mut self, pod: PodKey, form: &Form, slot: usize) -> Verdict {
        let counts = |n: &Nomination, this: &Self| {
            n.node.slot() == slot && n.pod != pod && this.forms[n.shape.index()].spec.priority >= form.spec.priority
        };
        if !self.nominations.iter().any(|n| counts(n, self)) {
            return Verdict::FITS;
        }
        let before = self.residents[slot].len();
        for at in 0..self.nominations.len() {
            let nomination = self.nominations[at];
            if counts(&nomination, self) {
                self.weigh(nomination.shape, slot, false, 1);
                self.residents[slot].push(Resident { pod: nomination.pod, shape: nomination.shape });
            }
        }
        let verdict = self.plain_verdict(form, slot);
        for resident in self.residents[slot].split_off(before) {
            self.weigh(resident.shape, slot, false, -1);
        }
        verdict
    }

    /// All filters for one node, with the nominated pods and without: both must pass.
    pub(super) fn passes(&mut self, pod: PodKey, form: &Form, slot: usize) -> Verdict {
        if !self.nominations.is_empty() {
            let verdict = self.beside_nominated(pod, form, slot);
            if !verdict.fits() {
                return verdict;
            }
        }
        self.plain_verdict(form, slot)
    }

    /// Scores the nodes that passed and picks one.
    fn score(&self, form: &Form, cache: &ShapeCache, scratch: &mut Scratch, draw: u64) -> u32 {
        self.totals(form, cache, scratch);
        let Scratch { feasible, totals, ties, .. } = scratch;
        let best = totals.iter().copied().max().unwrap_or(0);
        ties.clear();
        ties.extend(feasible.iter().zip(&*totals).filter(|(_, t)| **t == best).map(|(slot, _)| *slot));
        let at = score::pick(draw, ties.len());
        *ties.select_nth_unstable(at).1
    }

    /// The weighted sums of the nodes that passed.
    fn totals(&self, form: &Form, cache: &ShapeCache, scratch: &mut Scratch) {
        let weights = &self.profile.weights;
        let Scratch { feasible, totals, raw, .. } = scratch;
        // Without any soft taint all nodes have full marks.
        let base = if self.soft_tainted == 0 { score::MAX_SCORE * i64::from(weights.taints) } else { 0 };
        totals.clear();
        totals.extend(feasible.iter().map(|slot| base + i64::from(cache.ranks[*slot as usize])));
        if !cache.images.is_empty() {
            for (total, slot) in totals.iter_mut().zip(&*feasible) {
                *total += i64::from(cache.images[*slot as usize]);
            }
        }
        let mut normalize = |weight: u16, reverse: bool, of: &dyn Fn(usize) -> i64| {
            let highest = feasible.iter().map(|slot| of(*slot as usize)).max().unwrap_or(0);
            for (total, slot) in totals.iter_mut().zip(&*feasible) {
                *total += score::normalized(of(*slot as usize), highest, reverse) * i64::from(weight);
            }
        };
        if weights.taints > 0 && self.soft_tainted > 0 {
            normalize(weights.taints, true, &|slot| i64::from(cache.entries[slot].taints));
        }
        if weights.node_affinity > 0 && !form.spec.preferred_node_affinity.is_empty() {
            normalize(weights.node_affinity, false, &|slot| i64::from(cache.entries[slot].affinity));
        }
        if !form.drawn.is_empty() {
            self.score_affinity(form, feasible, raw, totals);
        }
        if !form.soft.is_empty() {
            self.score_spread(form, scratch);
        }
    }

    /// The weighted sum of the scores of each of some nodes, as if these were the ones that passed the filters. A
    /// node that is not there, or that lacks what the pod requests, is scored without what looks at it alone.
    pub fn scores(&mut self, shape: ShapeId, nodes: &[NodeId]) -> Vec<i64> {
        let Some(form) = self.forms.get(shape.index()).cloned() else { return Vec::new() };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cache = self.take_cache(shape, &form);
        self.freshen_all(&form, &mut cache);
        scratch.feasible.clear();
        scratch.feasible.extend(nodes.iter().filter(|n| n.slot() < self.nodes.len()).map(|n| n.0));
        for slot in &scratch.feasible {
            cache.ranks[*slot as usize] = cache.ranks[*slot as usize].max(0);
        }
        self.totals(&form, &cache, &mut scratch);
        let totals = scratch.totals.clone();
        // The ranks were changed, so the cache is not kept.
        self.scratch = scratch;
        totals
    }

    /// Whether `NodeResourcesBalancedAllocation` scores pods of a shape: it skips those that request none of its
    /// resources.
    #[must_use]
    pub fn is_balanced(&self, shape: ShapeId) -> bool {
        self.forms.get(shape.index()).is_some_and(|form| self.requests_balanced(form))
    }

    fn score_affinity(&self, form: &Form, feasible: &[u32], raw: &mut Vec<i64>, totals: &mut [i64]) {
        raw.clear();
        raw.resize(feasible.len(), 0);
        for (asked, weight) in &form.drawn {
            let counts = self.counts.counts(asked.counter);
            for (raw, slot) in raw.iter_mut().zip(feasible) {
                let domain = self.counts.domain(asked.topology, *slot as usize);
                if domain != NOWHERE {
                    *raw += counts[domain as usize] * weight;
                }
            }
        }
        let lowest = raw.iter().copied().min().unwrap_or(0);
        let highest = raw.iter().copied().max().unwrap_or(0);
        let weight = i64::from(self.profile.weights.inter_pod_affinity);
        for (total, raw) in totals.iter_mut().zip(raw) {
            *total += score::affinity_normalized(*raw, lowest, highest) * weight;
        }
    }

    fn score_spread(&self, form: &Form, scratch: &mut Scratch) {
        const IGNORED: i64 = -1;
        let Scratch { feasible, totals, raw, weights, seen, stamp, .. } = scratch;
        let ignored = |slot: usize| {
            form.soft_needs_all && form.soft.iter().any(|c| self.counts.domain(c.asked.topology, slot) == NOWHERE)
        };
        raw.clear();
        raw.extend(feasible.iter().map(|slot| if ignored(*slot as usize) { IGNORED } else { 0 }));
        let scored = raw.iter().filter(|r| **r != IGNORED).count();
        weights.clear();
        for constraint in &form.soft {
            let domains = if constraint.by_node {
                scored
            } else {
                *stamp += 1;
                let all = self.counts.domains(constraint.asked.topology);
                if seen.len() <= all {
                    seen.resize(all + 1, 0);
                }
                let mut domains = 0;
                for (raw, slot) in raw.iter().zip(&*feasible) {
                    if *raw != IGNORED {
                        // Nodes without the label are a domain of their own in the count.
                        let domain = self.counts.domain(constraint.asked.topology, *slot as usize);
                        let seen = &mut seen[(domain as usize).min(all)];
                        domains += usize::from(*seen != *stamp);
                        *seen = *stamp;
                    }
                }
                domains
            };
            weights.push(score::spread_weight(domains));
        }
        let (mut lowest, mut highest) = (i64::MAX, 0);
        for (raw, slot) in raw.iter_mut().zip(&*feasible).filter(|(r, _)| **r != IGNORED) {
            let slot = *slot as usize;
            let mut sum = 0.0;
            for (constraint, weight) in form.soft.iter().zip(&*weights) {
                let domain = self.counts.domain(constraint.asked.topology, slot);
                if domain != NOWHERE {
                    let at = if constraint.by_node { slot } else { domain as usize };
                    let pods = self.counts.counts(constraint.asked.counter)[at];
                    sum += score::spread_part(pods, *weight, constraint.max_skew);
                }
            }
            *raw = score::spread_rounded(sum);
            (lowest, highest) = (lowest.min(*raw), highest.max(*raw));
        }
        let weight = i64::from(self.profile.weights.spread);
        for (total, raw) in totals.iter_mut().zip(&*raw).filter(|(_, r)| **r != IGNORED) {
            *total += score::spread_normalized(*raw, lowest, highest) * weight;
        }
    }

    pub(super) fn nomination(&self, pod: PodKey) -> Option<Nomination> {
        self.nominations.iter().find(|n| n.pod == pod).copied()
    }

    /// The reasons of all nodes, none of which took the pod.
    fn why_cached(&mut self, pod: PodKey, form: &Form, cache: &mut ShapeCache, scratch: &mut Scratch) -> WhyNot {
        self.freshen_all(form, cache);
        self.lowest(form, &mut scratch.lowest);
        scratch.verdicts.clear();
        for slot in 0..self.nodes.len() {
            if self.nodes[slot].is_none() {
                continue;
            }
            // What nominated pods take away is named first.
            let mut verdict = self.beside_nominated(pod, form, slot);
            if verdict.fits() {
                verdict = cache.entries[slot].verdict;
            }
            if verdict.fits() {
                verdict = self.crowd_verdict(form, slot, &scratch.lowest);
            }
            let bits = verdict.bits();
            match scratch.verdicts.iter_mut().find(|(v, _)| *v == bits) {
                Some((_, n)) => *n += 1,
                None => scratch.verdicts.push((bits, 1)),
            }
        }
        let mut why = WhyNot { nodes: self.node_count() as u32, reasons: Vec::new() };
        for &(bits, times) in &scratch.verdicts {
            self.explain(&mut why, Verdict::of_bits(bits), times, form);
        }
        why
    }

    fn why_not(&mut self, pod: PodKey, form: &Form) -> WhyNot {
        let mut why = WhyNot { nodes: self.node_count() as u32, reasons: Vec::new() };
        for slot in 0..self.nodes.len() {
            if self.nodes[slot].is_some() {
                let verdict = self.passes(pod, form, slot);
                self.explain(&mut why, verdict, 1, form);
            }
        }
        why
    }

    /// What the filters say of a shape on one node, nominated pods left aside. A node or shape that is not there
    /// is [`Code::Unresolvable`].
    #[must_use]
    pub fn fits(&self, shape: ShapeId, node: NodeId) -> Code {
        match (self.forms.get(shape.index()), self.node(node)) {
            (Some(form), Some(_)) => self.plain_verdict(form, node.slot()).code(),
            _ => Code::Unresolvable,
        }
    }

    /// The same with the reasons why it does not fit, over that one node.
    #[must_use]
    pub fn why(&self, shape: ShapeId, node: NodeId) -> Option<WhyNot> {
        let form = self.forms.get(shape.index())?;
        self.node(node)?;
        let verdict = self.plain_verdict(form, node.slot());
        let mut why = WhyNot { nodes: 1, reasons: Vec::new() };
        self.explain(&mut why, verdict, 1, form);
        (!verdict.fits()).then_some(why)
    }

    /// One node alone for a pod, as for a DaemonSet's pod, which knows its node: so all pods of a DaemonSet can
    /// share one shape. Nominated pods count as always.
    ///
    /// # Errors
    ///
    /// Why the node does not take it.
    pub fn schedule_on(&mut self, pod: PodKey, shape: ShapeId, node: NodeId) -> Result<(), WhyNot> {
        let form = self.forms.get(shape.index()).cloned().filter(|_| self.node(node).is_some());
        let Some(form) = form else { return Err(WhyNot::default()) };
        let verdict = self.passes(pod, &form, node.slot());
        if verdict.fits() {
            return Ok(());
        }
        let mut why = WhyNot { nodes: 1, reasons: Vec::new() };
        self.explain(&mut why, verdict, 1, &form);
        Err(why)
    }

    /// What the filters would say of a shape on a node that is not there, if it joined the cluster empty. To ask
    /// for many pods, clone the scheduler and add the node.
    pub fn fits_template(&mut self, shape: ShapeId, node: &Node) -> Code {
        let id = self.add_node(node.clone());
        let code = self.fits(shape, id);
        self.remove_node(id);
        code
    }
}
