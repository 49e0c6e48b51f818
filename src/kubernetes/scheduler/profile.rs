//! What a scheduler is told: which filters and scores run, with which weights and strategies.

use crate::kubernetes::object::{NodeSelectorTerm, WhenUnsatisfiable};

/// Which filters run. All do by default; they run in this order, and the first that refuses is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters {
    /// `NodeUnschedulable`: cordoned nodes.
    pub unschedulable: bool,
    /// `NodeName`: the one node a pod names.
    pub node_name: bool,
    /// `TaintToleration`.
    pub taints: bool,
    /// `NodeAffinity`: node selector and required node affinity.
    pub node_affinity: bool,
    /// `NodePorts`.
    pub host_ports: bool,
    /// `NodeResourcesFit`.
    pub fit: bool,
    /// `VolumeZone`: volumes bound to a zone.
    pub volume_zone: bool,
    /// `PodTopologySpread`: constraints with `DoNotSchedule`.
    pub spread: bool,
    /// `InterPodAffinity`.
    pub inter_pod_affinity: bool,
}

impl Filters {
    /// No filter at all.
    pub const NONE: Self = Self {
        unschedulable: false,
        node_name: false,
        taints: false,
        node_affinity: false,
        host_ports: false,
        fit: false,
        volume_zone: false,
        spread: false,
        inter_pod_affinity: false,
    };
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            unschedulable: true,
            node_name: true,
            taints: true,
            node_affinity: true,
            host_ports: true,
            fit: true,
            volume_zone: true,
            spread: true,
            inter_pod_affinity: true,
        }
    }
}

/// The weight of each score in the sum; 0 turns one off. The defaults are those of the default profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// `TaintToleration`: few `PreferNoSchedule` taints that are not tolerated.
    pub taints: u16,
    /// `NodeAffinity`: preferred terms.
    pub node_affinity: u16,
    /// `PodTopologySpread`: constraints with `ScheduleAnyway`.
    pub spread: u16,
    /// `InterPodAffinity`: preferred terms, both ways.
    pub inter_pod_affinity: u16,
    /// `NodeResourcesFit`, by [`Profile::scoring`].
    pub fit: u16,
    /// `NodeResourcesBalancedAllocation`.
    pub balanced: u16,
    /// `ImageLocality`.
    pub image_locality: u16,
}

impl Weights {
    /// No score at all: every node that fits is as good as another.
    pub const NONE: Self =
        Self { taints: 0, node_affinity: 0, spread: 0, inter_pod_affinity: 0, fit: 0, balanced: 0, image_locality: 0 };
}

impl Default for Weights {
    fn default() -> Self {
        Self { taints: 3, node_affinity: 2, spread: 2, inter_pod_affinity: 2, fit: 1, balanced: 1, image_locality: 1 }
    }
}

/// A point of the shape of `RequestedToCapacityRatio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapePoint {
    /// Utilization in percent, 0 to 100.
    pub utilization: i64,
    /// The score there, 0 to 10.
    pub score: i64,
}

/// How `NodeResourcesFit` scores (`scoringStrategy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScoringStrategy {
    /// The emptier, the better.
    #[default]
    LeastAllocated,
    /// The fuller, the better.
    MostAllocated,
    /// By utilization along a broken line whose points are in the order of their utilization.
    RequestedToCapacityRatio(Vec<ShapePoint>),
}

/// What `NodeResourcesBalancedAllocation` computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BalancedFormula {
    /// Up to v1.35: how balanced the node is with the pod.
    Level,
    /// Since v1.36 (pull request 135573): by how much the pod makes it more or less balanced.
    #[default]
    Change,
}

/// A spread constraint that pods without own ones get (`defaultConstraints`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultConstraint {
    /// By how many pods a domain may lead the emptiest, at least 1.
    pub max_skew: i64,
    /// The label whose values are the domains.
    pub topology_key: String,
    /// What happens where it cannot hold.
    pub when_unsatisfiable: WhenUnsatisfiable,
}

/// The spread constraints of pods that have none (`PodTopologySpreadArgs`). They count by the owner's selector;
/// a pod without an owner gets none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DefaultSpread {
    /// `defaultingType: System`: hostname with skew 3 and zone with skew 5, both `ScheduleAnyway`; nodes need
    /// not carry both labels.
    #[default]
    System,
    /// `defaultingType: List`: these, possibly none.
    List(Vec<DefaultConstraint>),
}

/// The specification of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which filters run.
    pub filters: Filters,
    /// The weights of the scores.
    pub weights: Weights,
    /// How `NodeResourcesFit` scores.
    pub scoring: ScoringStrategy,
    /// The resources it scores, with weights 1 to 100; `cpu` and `memory` with 1 each by default.
    pub scoring_resources: Vec<(String, i64)>,
    /// Which formula of balance.
    pub balanced: BalancedFormula,
    /// The resources that are to be balanced; `cpu` and `memory` by default.
    pub balanced_resources: Vec<String>,
    /// Extended resources that the fit filter does not look at (`ignoredResources`).
    pub ignored_resources: Vec<String>,
    /// Prefixes (before `/`) of extended resources that it does not look at (`ignoredResourceGroups`).
    pub ignored_resource_groups: Vec<String>,
    /// `percentageOfNodesToScore`: 0 adapts it to the size of the cluster, 100 and more looks at all nodes.
    pub percentage_of_nodes_to_score: i64,
    /// Spread constraints of pods that have none.
    pub default_spread: DefaultSpread,
    /// What a required affinity of a placed pod weighs for one that matches it (`hardPodAffinityWeight`), 0 to 100.
    pub hard_pod_affinity_weight: i64,
    /// Node affinity that holds for every pod (`addedAffinity`), in symbols of the scheduler's own table.
    pub added_affinity: Option<Vec<NodeSelectorTerm>>,
    /// `minCandidateNodesPercentage` of preemption: it stops looking after this share of the nodes.
    pub min_candidate_nodes_percentage: i64,
    /// `minCandidateNodesAbsolute` of preemption: but not before this number.
    pub min_candidate_nodes_absolute: i64,
}

impl Default for Profile {
    fn default() -> Self {
        let (cpu, memory) = ("cpu".to_owned(), "memory".to_owned());
        Self {
            filters: Filters::default(),
            weights: Weights::default(),
            scoring: ScoringStrategy::default(),
            scoring_resources: vec![(cpu.clone(), 1), (memory.clone(), 1)],
            balanced: BalancedFormula::default(),
            balanced_resources: vec![cpu, memory],
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            percentage_of_nodes_to_score: 0,
            default_spread: DefaultSpread::default(),
            hard_pod_affinity_weight: 1,
            added_affinity: None,
            min_candidate_nodes_percentage: 10,
            min_candidate_nodes_absolute: 100,
        }
    }
}

impl Profile {
    /// One filter (resource fit) and one score (least allocated), all nodes looked at.
    #[must_use]
    pub fn fit_only() -> Self {
        Self {
            filters: Filters { fit: true, ..Filters::NONE },
            weights: Weights { fit: 1, ..Weights::NONE },
            percentage_of_nodes_to_score: 100,
            default_spread: DefaultSpread::List(Vec::new()),
            ..Self::default()
        }
    }

    /// Whether the fit filter leaves a resource out. Only extended resources can be left out: names with a
    /// domain other than `kubernetes.io`.
    #[must_use]
    pub fn ignores(&self, resource: &str) -> bool {
        let Some((group, _)) = resource.split_once('/') else { return false };
        !resource.contains("kubernetes.io/")
            && (self.ignored_resources.iter().any(|r| r == resource)
                || self.ignored_resource_groups.iter().any(|g| g == group))
    }
}
