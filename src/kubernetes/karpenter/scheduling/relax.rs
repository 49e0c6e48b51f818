//! What a pod gives up, step by step, when it finds no place.
//!
//! Source: `kubernetes-sigs/karpenter`, `provisioning/scheduling/preferences.go` (v1.14).

use crate::kubernetes::object::{Effect, PodSpec, Toleration, WhenUnsatisfiable};

/// A pod and what becomes of it, each step giving up one thing more: the first of several required terms of node
/// affinity, then the heaviest preferred term of pod affinity, pod anti-affinity and node affinity, a spread
/// constraint that is `ScheduleAnyway`, and last, where a pool has such taints, its dislike of `PreferNoSchedule`.
/// Without `respect_preferences` the first form has no preference left.
#[must_use]
pub fn relaxations(spec: &PodSpec, respect_preferences: bool, prefer_no_schedule: bool) -> Vec<PodSpec> {
    let mut now = spec.clone();
    if !respect_preferences {
        now.preferred_affinity.clear();
        now.preferred_anti_affinity.clear();
        now.preferred_node_affinity.clear();
        now.spread.retain(|c| c.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule);
    }
    let mut forms = Vec::new();
    loop {
        let next = relax(&now, prefer_no_schedule);
        forms.push(now);
        match next {
            Some(spec) => now = spec,
            None => return forms,
        }
    }
}

fn relax(spec: &PodSpec, prefer_no_schedule: bool) -> Option<PodSpec> {
    let mut next = spec.clone();
    if let Some(terms) = next.required_node_affinity.as_mut().filter(|terms| terms.len() > 1) {
        terms.remove(0);
        return Some(next);
    }
    if drop_heaviest(&mut next.preferred_affinity)
        || drop_heaviest(&mut next.preferred_anti_affinity)
        || drop_heaviest(&mut next.preferred_node_affinity)
    {
        return Some(next);
    }
    let anyway =
        |c: &crate::kubernetes::object::SpreadConstraint| c.when_unsatisfiable == WhenUnsatisfiable::ScheduleAnyway;
    if let Some(at) = next.spread.iter().position(anyway) {
        next.spread.swap_remove(at);
        return Some(next);
    }
    let tolerate = Toleration { key: None, value: None, effect: Some(Effect::PreferNoSchedule) };
    if prefer_no_schedule && !next.tolerations.contains(&tolerate) {
        next.tolerations.push(tolerate);
        return Some(next);
    }
    None
}

/// The place of the heaviest term, the first of equals.
pub(super) fn heaviest<T>(terms: &[(i64, T)]) -> Option<usize> {
    let best = terms.iter().map(|(weight, _)| *weight).max()?;
    terms.iter().position(|(weight, _)| *weight == best)
}

fn drop_heaviest<T>(terms: &mut Vec<(i64, T)>) -> bool {
    heaviest(terms).map(|at| terms.remove(at)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::object::{NodeSelectorTerm, SpreadConstraint, Symbols};

    #[test]
    fn one_thing_is_given_up_at_a_time() {
        let mut s = Symbols::default();
        let mut spec = PodSpec::new(s.intern("default"));
        let spread = |when_unsatisfiable| SpreadConstraint {
            max_skew: 1,
            topology_key: Symbols::default().intern("zone"),
            when_unsatisfiable,
            selector: None,
            min_domains: None,
            honor_node_affinity: true,
            honor_node_taints: false,
            match_label_keys: Vec::new(),
        };
        spec.required_node_affinity = Some(vec![NodeSelectorTerm::default(); 2]);
        spec.preferred_node_affinity = vec![(1, NodeSelectorTerm::default()), (50, NodeSelectorTerm::default())];
        spec.spread = vec![spread(WhenUnsatisfiable::ScheduleAnyway), spread(WhenUnsatisfiable::DoNotSchedule)];
        let forms = relaxations(&spec, true, true);
        assert_eq!(forms.len(), 6);
        assert_eq!(forms[1].required_node_affinity.as_ref().map(Vec::len), Some(1));
        assert_eq!(forms[2].preferred_node_affinity[0].0, 1);
        assert_eq!(forms[4].spread.len(), 1);
        assert_eq!(forms[5].tolerations.len(), 1);
        assert_eq!(relaxations(&spec, false, false).len(), 2);
    }
}
