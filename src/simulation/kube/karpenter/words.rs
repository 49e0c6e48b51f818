//! What Karpenter says of pods without a place, and of decisions that do not hold.

use crate::kubernetes::karpenter::disruption::Invalid;
use crate::kubernetes::karpenter::disruption::queue::GiveUp;
use crate::kubernetes::karpenter::scheduling::{Refusal, TopologyKind, Unplaced};
use crate::kubernetes::karpenter::world::World;
use crate::kubernetes::object::Symbols;

/// Why a pod found no place, each pool with its reason.
pub(super) fn unplaced_text(why: &Unplaced, world: &World<'_>) -> String {
    match why {
        Unplaced::NoNodePool => "no NodePool is ready and has a type that can be had".to_string(),
        Unplaced::Ignored => "the pod asks for nodes that are not Karpenter's".to_string(),
        Unplaced::CutTooShort(label) => {
            format!("the cheapest types that are kept do not satisfy minValues of {}", world.symbols.text(*label))
        }
        Unplaced::Refused { given_up, pools } => {
            let mut said: Vec<String> = Vec::new();
            for p in pools {
                let pool = world.symbols.text(world.pools[p.pool].name);
                said.push(format!("NodePool {pool}: {}", refusal_text(&p.refusal, world.symbols)));
            }
            if *given_up > 0 {
                said.push(format!("{given_up} preferences were given up before"));
            }
            said.join("; ")
        }
    }
}

fn refusal_text(refusal: &Refusal, symbols: &Symbols) -> String {
    match refusal {
        Refusal::Taint(taint) => match (symbols.text(taint.key), symbols.text(taint.value)) {
            (key, "") => format!("the pod does not tolerate the taint {key}:{:?}", taint.effect),
            (key, value) => format!("the pod does not tolerate the taint {key}={value}:{:?}", taint.effect),
        },
        Refusal::Requirement(label) => format!("no value of {} satisfies both", symbols.text(*label)),
        Refusal::NodeLimit => "its limit of nodes is reached".to_string(),
        Refusal::Limits => "every type has more than its limits leave".to_string(),
        Refusal::NoType { labels, offered } => {
            format!("no type has room: {labels} satisfy pod and pool, {offered} of them can be had within the limits")
        }
        Refusal::NoTypeInDomain => "no type has room in the domain that spreading or affinity leaves".to_string(),
        Refusal::HostPorts => "the host ports of the pod are free on no type".to_string(),
        Refusal::Topology { kind, key, inverse } => {
            let rule = match kind {
                TopologyKind::Spread => "topology spread",
                TopologyKind::Affinity => "pod affinity",
                TopologyKind::AntiAffinity if *inverse => "the anti-affinity of another pod",
                TopologyKind::AntiAffinity => "pod anti-affinity",
            };
            format!("{rule} over {} leaves no domain", symbols.text(*key))
        }
        Refusal::MinValues(label) => {
            format!("fewer values of {} would remain than minValues asks", symbols.text(*label))
        }
    }
}

/// Why a decision is abandoned when it is looked at again.
pub(super) fn invalid_text(why: &Invalid, symbols: &Symbols) -> String {
    match why {
        Invalid::Candidate(node) => format!("node {} may no longer be disrupted", symbols.text(*node)),
        Invalid::Budget => "a disruption budget no longer allows it".to_string(),
        Invalid::Strands => "a pod would lose its place".to_string(),
        Invalid::Replacements => "another number of new nodes would be needed".to_string(),
        Invalid::Types => "types that were decided for are no longer possible".to_string(),
        Invalid::NothingLeft => "no candidate is left".to_string(),
    }
}

/// Why a command that was being carried out is given up.
pub(super) const fn give_up_text(why: GiveUp) -> &'static str {
    match why {
        GiveUp::ReplacementGone => "a replacement is gone",
        GiveUp::Timeout => "its replacements took too long",
    }
}
