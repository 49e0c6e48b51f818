//! What Karpenter sees: pods, nodes, pools and instance types at one instant.

use jiff::{SignedDuration, Timestamp};

use super::instance::CapacityType;
use super::labels::WellKnown;
use super::pool::NodePool;
use super::table::TypeTable;
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::object::{Labels, PodSpec, Resources, Symbol, Symbols, Taint};
use crate::units::Usd;

/// Taint of a node that is being disrupted.
pub const DISRUPTED_TAINT: &str = "karpenter.sh/disrupted";
/// Taint of a node that has not registered yet.
pub const UNREGISTERED_TAINT: &str = "karpenter.sh/unregistered";

/// Taints that go away by themselves while a node starts.
const EPHEMERAL_TAINTS: [&str; 4] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    UNREGISTERED_TAINT,
];

/// Whether a taint is one of those that a starting node carries for a while.
#[must_use]
pub fn is_ephemeral_taint(taint: &Taint, symbols: &Symbols) -> bool {
    let key = symbols.text(taint.key);
    EPHEMERAL_TAINTS.contains(&key) || key.starts_with("readiness.k8s.io/")
}

/// Flags of Karpenter that change decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `preference-policy`: `true` is `Respect`, the default; `false` ignores preferences.
    pub respect_preferences: bool,
    /// `min-values-policy`: `true` is `Strict`, the default; `false` is `BestEffort`.
    pub strict_min_values: bool,
    /// Feature gate `SpotToSpotConsolidation`, off by default.
    pub spot_to_spot: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { respect_preferences: true, strict_min_values: true, spot_to_spot: false }
    }
}

/// Who made a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// A ReplicaSet, a Job or anything else whose pods are made anew elsewhere.
    #[default]
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// The node itself: a static pod.
    Node,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// It runs or starts.
    #[default]
    Active,
    /// It succeeded or failed.
    Finished,
    /// It is being deleted.
    Terminating {
        /// When its grace period ends.
        deadline: SimTime,
    },
}

/// Annotation `karpenter.sh/do-not-disrupt` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoNotDisrupt {
    /// `"true"`: always.
    Always,
    /// A duration: until the pod has run so long.
    For(SimDuration),
}

impl DoNotDisrupt {
    /// Reads the annotation; an invalid or non-positive value is ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "true" {
            return Some(Self::Always);
        }
        let duration = crate::units::parse_duration(text).ok()?;
        (!duration.is_zero()).then_some(Self::For(duration))
    }
}

/// What budgets of disruption say about a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodBudgets {
    /// How many PodDisruptionBudgets cover it.
    pub count: u32,
    /// Whether one of them allows no disruption now.
    pub blocked: bool,
    /// Whether one of them can never allow one: `maxUnavailable` 0 or 0 %, `minAvailable` 100 %.
    pub never: bool,
}

/// A pod on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Names the pod; ties are broken by it.
    pub uid: u64,
    /// What it asks for: an index into [`World::shapes`].
    pub shape: usize,
    /// When it was created.
    pub created: SimTime,
    /// When it started to run.
    pub started: Option<SimTime>,
    /// Who made it.
    pub owner: Owner,
    /// How far it is.
    pub phase: PodPhase,
    /// Its annotation.
    pub do_not_disrupt: Option<DoNotDisrupt>,
    /// Annotation `controller.kubernetes.io/pod-deletion-cost`; 0 where it is absent.
    pub deletion_cost: i32,
    /// What budgets say.
    pub budgets: PodBudgets,
    /// `terminationGracePeriodSeconds`.
    pub grace_period: SimDuration,
}

impl PodView {
    /// A running pod of a ReplicaSet with a grace period of 30 s.
    #[must_use]
    pub fn new(uid: u64, shape: usize, created: SimTime) -> Self {
        Self {
            uid,
            shape,
            created,
            started: Some(created),
            owner: Owner::default(),
            phase: PodPhase::default(),
            do_not_disrupt: None,
            deletion_cost: 0,
            budgets: PodBudgets::default(),
            grace_period: SimDuration::from_secs(30),
        }
    }

    /// Whether it would have to run elsewhere if its node went: active, or a terminating pod of a StatefulSet; not
    /// of a DaemonSet, not static.
    #[must_use]
    pub fn is_reschedulable(&self) -> bool {
        let alive = match self.phase {
            PodPhase::Active => true,
            PodPhase::Finished => false,
            PodPhase::Terminating { .. } => self.owner == Owner::StatefulSet,
        };
        alive && !matches!(self.owner, Owner::DaemonSet | Owner::Node)
    }

    /// Whether its annotation forbids a disruption now.
    #[must_use]
    pub fn forbids_disruption(&self, now: SimTime) -> bool {
        let active = match self.do_not_disrupt {
            None => false,
            Some(DoNotDisrupt::Always) => true,
            Some(DoNotDisrupt::For(d)) => self.started.is_none_or(|at| now.since(at) < d),
        };
        active && self.phase == PodPhase::Active
    }

    /// Whether it is made anew elsewhere at once when its node is being deleted: nothing holds its eviction up for good.
    #[must_use]
    pub fn is_currently_reschedulable(&self, now: SimTime) -> bool {
        self.is_reschedulable() && !self.forbids_disruption(now) && !self.budgets.never
    }
}

/// Why and since when a node is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Since when.
    pub since: SimTime,
    /// Why.
    pub reason: super::disruption::drift::DriftReason,
}

/// A node, a NodeClaim on its way, or both in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node's name; before it registers, that of its NodeClaim.
    pub name: Symbol,
    /// Its labels; before it registers, those of its NodeClaim once launched.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Startup taints of its NodeClaim, which count for nothing until the node is initialized.
    pub startup_taints: Vec<Taint>,
    /// What the machine has.
    pub capacity: Resources,
    /// What pods may use: the node's status, its zeros filled from the NodeClaim until it is initialized.
    pub allocatable: Resources,
    /// The NodePool: an index into [`World::pools`]. Absent for a node that is not Karpenter's or whose pool is gone.
    pub pool: Option<usize>,
    /// Whether a NodeClaim stands behind it.
    pub managed: bool,
    /// Whether the node object is there.
    pub has_node: bool,
    /// When its NodeClaim was created.
    pub created: SimTime,
    /// When it was initialized.
    pub initialized: Option<SimTime>,
    /// Whether the node is Ready.
    pub ready: bool,
    /// Its instance type: an index into the pool's table.
    pub instance_type: Option<usize>,
    /// Its capacity type.
    pub capacity_type: CapacityType,
    /// Whether its NodeClaim or node is being deleted.
    pub deleting: bool,
    /// Whether a command has marked it for deletion.
    pub marked: bool,
    /// Whether its instance is terminating already: it no longer counts for budgets.
    pub terminating_instance: bool,
    /// Until when it is nominated for pods.
    pub nominated_until: SimTime,
    /// Annotation `karpenter.sh/do-not-disrupt: "true"` on node or NodeClaim.
    pub do_not_disrupt: bool,
    /// Last time that a pod came, finished or began to go, at a granularity of 10 s.
    pub last_pod_event: Option<SimTime>,
    /// The NodeClaim's `terminationGracePeriod`.
    pub termination_grace_period: Option<SimDuration>,
    /// Whether and since when it has drifted.
    pub drift: Option<Drift>,
    /// Its pods, those of DaemonSets included.
    pub pods: Vec<PodView>,
}

impl NodeView {
    /// A Ready, initialized node of a name that nothing is known of otherwise.
    #[must_use]
    pub fn new(name: Symbol) -> Self {
        Self {
            name,
            labels: Labels::default(),
            taints: Vec::new(),
            startup_taints: Vec::new(),
            capacity: Resources::default(),
            allocatable: Resources::default(),
            pool: None,
            managed: false,
            has_node: true,
            created: SimTime::ZERO,
            initialized: Some(SimTime::ZERO),
            ready: true,
            instance_type: None,
            capacity_type: CapacityType::OnDemand,
            deleting: false,
            marked: false,
            terminating_instance: false,
            nominated_until: SimTime::ZERO,
            do_not_disrupt: false,
            last_pod_event: None,
            termination_grace_period: None,
            drift: None,
            pods: Vec::new(),
        }
    }

    /// Whether it no longer counts as capacity.
    #[must_use]
    pub const fn is_going(&self) -> bool {
        self.deleting || self.marked
    }

    /// Whether it has the taints that the scheduler looks at: until a node is initialized those that go by
    /// themselves do not count.
    pub(super) fn lasting_taints(&self, symbols: &Symbols) -> Vec<Taint> {
        let passing = |t: &Taint| {
            self.managed
                && self.initialized.is_none()
                && (self.startup_taints.contains(t) || is_ephemeral_taint(t, symbols))
        };
        self.taints.iter().filter(|t| !passing(t)).copied().collect()
    }

    /// Since when pods have neither come nor gone: `None` for a node that is not initialized.
    #[must_use]
    pub fn quiet_since(&self) -> Option<SimTime> {
        self.initialized.map(|at| self.last_pod_event.unwrap_or(at))
    }

    /// Whether `consolidateAfter` of its pool has passed since the last pod event.
    #[must_use]
    pub fn is_consolidatable(&self, consolidate_after: Option<SimDuration>, now: SimTime) -> bool {
        match (consolidate_after, self.quiet_since()) {
            (Some(after), Some(since)) => now.since(since) >= after,
            _ => false,
        }
    }
}

/// A pod that waits for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingPod {
    /// Names the pod; ties are broken by it.
    pub uid: u64,
    /// What it asks for: an index into [`World::shapes`].
    pub shape: usize,
    /// When it was created.
    pub created: SimTime,
}

/// Everything that Karpenter sees at one instant. Pods refer to shapes, nodes to pools, pools to tables by index; an index that
/// points nowhere is a mistake of the caller.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Now.
    pub now: SimTime,
    /// The instant in UTC at which simulated time began: budgets have schedules.
    pub start: Timestamp,
    /// Texts.
    pub symbols: &'a Symbols,
    /// Labels.
    pub known: &'a WellKnown,
    /// What pods ask for.
    pub shapes: &'a [PodSpec],
    /// NodePools.
    pub pools: &'a [NodePool],
    /// Instance types by NodeClass.
    pub tables: &'a [TypeTable],
    /// Nodes and NodeClaims on their way.
    pub nodes: &'a [NodeView],
    /// Shapes of the pods of DaemonSets, one for each DaemonSet.
    pub daemons: &'a [usize],
    /// Flags.
    pub options: Options,
}

impl World<'_> {
    /// Now, in UTC.
    #[must_use]
    pub fn utc(&self) -> Timestamp {
        let passed = i64::try_from(self.now.as_nanos()).unwrap_or(i64::MAX);
        self.start.checked_add(SignedDuration::from_nanos(passed)).unwrap_or(Timestamp::MAX)
    }

    /// What an hour of a node costs: the price of its type in its zone and market, available or not; zero if it is unknown.
    #[must_use]
    pub fn node_price(&self, node: &NodeView) -> Usd {
        let table = node.pool.and_then(|p| self.tables.get(self.pools[p].table));
        let own = table.zip(node.instance_type).and_then(|(table, at)| table.types().get(at));
        let zone = node.labels.get(self.known.zone);
        own.zip(zone).and_then(|(t, zone)| t.price(zone, node.capacity_type)).unwrap_or(Usd::ZERO)
    }

    /// Whether a pool's nodes exceed its limits now. It is looked at again just before each NodeClaim of a pass is created: one of a
    /// pool that does is dropped, and its pods wait for the next pass.
    #[must_use]
    pub fn exceeds_limits(&self, pool: usize) -> bool {
        let mut left = self.pools[pool].limits.clone();
        for node in self.nodes.iter().filter(|n| n.managed && n.pool == Some(pool)) {
            left.take(&node.capacity, 1);
        }
        !left.allow(&Resources::default()) || left.nodes.is_some_and(|n| n < 0)
    }

    /// What an hour of all nodes costs.
    #[must_use]
    pub fn price(&self) -> Usd {
        Usd::from_nanos(self.nodes.iter().map(|n| self.node_price(n).nanos()).sum())
    }
}
