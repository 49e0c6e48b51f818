//! Why a pod finds no node: reasons counted over the nodes, as data; the scheduler's own wording on demand.

use super::filter::ResourceName;
use crate::kubernetes::object::{Symbol, Symbols};

/// Why one node refuses a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is cordoned.
    Unschedulable,
    /// The pod names another.
    NodeName,
    /// It has a taint that the pod does not tolerate.
    Taint {
        /// Its key.
        key: Symbol,
        /// Its value.
        value: Symbol,
    },
    /// Node selector or required node affinity do not match.
    NodeAffinity,
    /// A port is taken.
    HostPorts,
    /// It has too little of a resource.
    Insufficient(ResourceName),
    /// A volume is in another zone.
    VolumeZone,
    /// It lacks the label of a spread constraint.
    SpreadLabel,
    /// A spread constraint would break.
    Spread,
    /// No pod that this one must be near is there.
    Affinity,
    /// A pod that this one must not be near is there.
    AntiAffinity,
    /// A pod that must not be near this one is there.
    ExistingAntiAffinity,
    /// Of preemption: no pod of lower priority is there.
    NoVictims,
    /// Of preemption: taking pods away would not help.
    NotHelpful,
}

impl Reason {
    /// The scheduler's words for it.
    #[must_use]
    pub fn text(self, symbols: &Symbols) -> String {
        match self {
            Self::Unschedulable => "node(s) were unschedulable".to_owned(),
            Self::NodeName => "node(s) didn't match the requested node name".to_owned(),
            Self::Taint { key, value } => {
                format!("node(s) had untolerated taint {{{}: {}}}", symbols.text(key), symbols.text(value))
            }
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector".to_owned(),
            Self::HostPorts => "node(s) didn't have free ports for the requested pod ports".to_owned(),
            Self::Insufficient(ResourceName::Pods) => "Too many pods".to_owned(),
            Self::Insufficient(resource) => format!("Insufficient {}", resource.text(symbols)),
            Self::VolumeZone => "node(s) had no available volume zone".to_owned(),
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)".to_owned()
            }
            Self::Spread => "node(s) didn't match pod topology spread constraints".to_owned(),
            Self::Affinity => "node(s) didn't match pod affinity rules".to_owned(),
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules".to_owned(),
            Self::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules".to_owned(),
            Self::NoVictims => "No preemption victims found for incoming pod".to_owned(),
            Self::NotHelpful => "Preemption is not helpful for scheduling".to_owned(),
        }
    }

    /// The filters that give it, as a set.
    #[must_use]
    pub const fn plugin(self) -> Plugins {
        match self {
            Self::Unschedulable => Plugins::NODE_UNSCHEDULABLE,
            Self::NodeName => Plugins::NODE_NAME,
            Self::Taint { .. } => Plugins::TAINT_TOLERATION,
            Self::NodeAffinity => Plugins::NODE_AFFINITY,
            Self::HostPorts => Plugins::NODE_PORTS,
            Self::Insufficient(_) => Plugins::NODE_RESOURCES_FIT,
            Self::VolumeZone => Plugins::VOLUME_ZONE,
            Self::SpreadLabel | Self::Spread => Plugins::POD_TOPOLOGY_SPREAD,
            Self::Affinity | Self::AntiAffinity | Self::ExistingAntiAffinity => Plugins::INTER_POD_AFFINITY,
            Self::NoVictims | Self::NotHelpful => Plugins::NONE,
        }
    }
}

/// A set of filters: those that refused a pod decide which events wake it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plugins(u16);

impl Plugins {
    /// No filter: a pod that none refused (no node was there, or binding failed) wakes at any event.
    pub const NONE: Self = Self(0);
    /// `NodeUnschedulable`.
    pub const NODE_UNSCHEDULABLE: Self = Self(1);
    /// `NodeName`.
    pub const NODE_NAME: Self = Self(1 << 1);
    /// `TaintToleration`.
    pub const TAINT_TOLERATION: Self = Self(1 << 2);
    /// `NodeAffinity`.
    pub const NODE_AFFINITY: Self = Self(1 << 3);
    /// `NodePorts`.
    pub const NODE_PORTS: Self = Self(1 << 4);
    /// `NodeResourcesFit`.
    pub const NODE_RESOURCES_FIT: Self = Self(1 << 5);
    /// `VolumeZone`.
    pub const VOLUME_ZONE: Self = Self(1 << 6);
    /// `PodTopologySpread`.
    pub const POD_TOPOLOGY_SPREAD: Self = Self(1 << 7);
    /// `InterPodAffinity`.
    pub const INTER_POD_AFFINITY: Self = Self(1 << 8);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have a filter in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no filter.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why no node takes a pod: over how many nodes, and how many of them give which reason. A node may give several
/// (it lacks CPU and memory).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhyNot {
    /// The nodes there are.
    pub nodes: u32,
    /// Reasons with the number of nodes that give them, each once; the order says nothing.
    pub reasons: Vec<(Reason, u32)>,
}

impl WhyNot {
    /// Counts a reason once more.
    pub fn count(&mut self, reason: Reason, times: u32) {
        match self.reasons.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += times,
            None => self.reasons.push((reason, times)),
        }
    }

    /// The filters that refused.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        self.reasons.iter().fold(Plugins::NONE, |all, (r, _)| all.union(r.plugin()))
    }

    /// The scheduler's sentence: `0/12 nodes are available: 3 Insufficient cpu, 9 node(s) were unschedulable.`
    /// Reasons stand in the order of their texts, number included, as the real one sorts them.
    #[must_use]
    pub fn text(&self, symbols: &Symbols) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut parts: Vec<String> =
            self.reasons.iter().map(|(reason, n)| format!("{n} {}", reason.text(symbols))).collect();
        parts.sort_unstable();
        let mut text = format!("0/{} nodes are available", self.nodes);
        if !parts.is_empty() {
            text.push_str(": ");
            text.push_str(&parts.join(", "));
        }
        text.push('.');
        text
    }

    /// The sentence with what preemption came to: `... preemption: 0/12 nodes are available: ...`
    #[must_use]
    pub fn text_with(&self, preemption: &NoPreemption, symbols: &Symbols) -> String {
        let after = match preemption {
            NoPreemption::Never => "not eligible due to preemptionPolicy=Never.".to_owned(),
            NoPreemption::Terminating => "not eligible due to a terminating pod on the nominated node.".to_owned(),
            NoPreemption::NoCandidate(why) => why.text(symbols),
        };
        format!("{} preemption: {after}", self.text(symbols))
    }
}

/// Why preemption makes no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPreemption {
    /// The pod's policy forbids it.
    Never,
    /// The pod waits for victims on its nominated node to end.
    Terminating,
    /// No node would do.
    NoCandidate(WhyNot),
}
