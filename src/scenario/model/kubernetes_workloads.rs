//! What the kinds of workloads of Kubernetes have of their own: updates of StatefulSets and DaemonSets, volumes, and the
//! Vertical Pod Autoscaler.

use super::{IntOrPercent, TimeLaw};
use crate::units::{Bytes, Cpu};

words! {
    /// Which controller keeps the pods.
    pub enum WorkloadKind {
        /// A Deployment: interchangeable pods in ReplicaSets.
        Deployment = "Deployment",
        /// A StatefulSet: pods with numbers, made and unmade in order, each with a volume of its own.
        StatefulSet = "StatefulSet",
        /// A DaemonSet: one pod on each node that fits.
        DaemonSet = "DaemonSet",
    }
}

table! {
    /// How a new revision of a StatefulSet or a DaemonSet takes over. Source: apps/v1 StatefulSetUpdateStrategy and
    /// DaemonSetUpdateStrategy.
    pub struct PodUpdateStrategy {
        /// By the controller, or when somebody deletes the pods.
        pub r#type: UpdateType = UpdateType::RollingUpdate,
        /// StatefulSet: pods with lower ordinals (counted from the first) keep the old revision.
        pub partition: u32 = 0,
        /// Pods that may be unavailable, a share rounded up.
        pub max_unavailable: IntOrPercent = IntOrPercent::Int(1),
        /// DaemonSet: nodes that may have a new pod beside the old one, a share rounded up. Above 0 only where
        /// `max_unavailable` is 0.
        pub max_surge: IntOrPercent = IntOrPercent::Int(0),
    }
}

words! {
    /// The type of an update strategy.
    pub enum UpdateType {
        /// The controller replaces pods, a StatefulSet's from the highest ordinal down.
        RollingUpdate = "RollingUpdate",
        /// Pods get the new revision when something else deletes them.
        OnDelete = "OnDelete",
    }
}

words! {
    /// Whether pods of a StatefulSet wait for one another. Source: apps/v1 PodManagementPolicyType.
    pub enum PodManagementPolicy {
        /// Each pod waits until those before it are available; they go in reverse order, one by one.
        OrderedReady = "OrderedReady",
        /// All at once; updates still go in order.
        Parallel = "Parallel",
    }
}

table! {
    /// The numbers of the pods of a StatefulSet. Source: apps/v1 StatefulSetOrdinals.
    pub struct Ordinals {
        /// The number of the first pod.
        pub start: u32 = 0,
    }
}

table! {
    /// What becomes of the volumes of a StatefulSet's pods. Source: apps/v1 StatefulSetPersistentVolumeClaimRetentionPolicy.
    /// No service is deleted during a run, so that `whenDeleted` has no place here.
    pub struct ClaimRetention {
        /// When its pod goes because there are fewer replicas.
        pub when_scaled: RetentionPolicy = RetentionPolicy::Retain,
    }
}

words! {
    /// Whether a volume outlives its pod.
    pub enum RetentionPolicy {
        /// It stays, is paid for, and is taken up again by the next pod of the number.
        Retain = "Retain",
        /// It is deleted with its pod.
        Delete = "Delete",
    }
}

table! {
    /// A claim of an EBS volume (gp3, ReadWriteOnce, WaitForFirstConsumer): bound to the zone of the first pod that has it, and
    /// attached to one node at a time. The pods of a Deployment share one, each ordinal of a StatefulSet has its own.
    pub struct VolumeClaim {
        /// Its size.
        pub size: Bytes as Storage = Bytes::from_gib(10),
    }
}

table! {
    /// Times of the EBS CSI driver and the attach-detach controller. AWS promises none: assumptions, of the order of what
    /// users of the driver report.
    pub struct EbsCsi {
        /// Time from a pod's arrival on a node until its volume is attached and mounted.
        pub attach: TimeLaw = TimeLaw::uniform_secs(3.0, 10.0),
        /// Time from the end of a pod until its volume can be attached to another node.
        pub detach: TimeLaw = TimeLaw::uniform_secs(2.0, 8.0),
    }
}

table! {
    /// A file system of EFS (regional, storage class Standard) with a mount target in every zone. Paid for by what is stored
    /// on it; throughput is neither limited nor billed.
    pub struct FileSystem {
        /// What is stored on it.
        pub size: Bytes as Storage,
        /// Time that a mount takes. An assumption.
        pub mount: TimeLaw = TimeLaw::uniform_secs(0.5, 2.0),
    }
}

table! {
    /// A Vertical Pod Autoscaler: it watches what pods use and says in `decisions.csv` what they should request; its updater
    /// evicts pods, and the pods that are made from then on request what it says. Source: autoscaling.k8s.io/v1.
    pub struct VerticalPodAutoscaler {
        /// What it does with what it finds.
        pub update_mode: VpaUpdateMode = VpaUpdateMode::Recreate,
        /// With fewer pods none is evicted (`minReplicas` of the update policy, and the updater's `--min-replicas`).
        pub min_replicas: u32 = 2,
        /// Whether limits keep their proportion to requests.
        pub controlled_values: ControlledValues = ControlledValues::RequestsAndLimits,
        /// It recommends no less.
        pub min_allowed: AllowedRequests = AllowedRequests::default(),
        /// It recommends no more.
        pub max_allowed: AllowedRequests = AllowedRequests::default(),
    }
}

words! {
    /// `updatePolicy.updateMode`.
    pub enum VpaUpdateMode {
        /// It only recommends.
        Off = "Off",
        /// New pods get the target; none is evicted for it.
        Initial = "Initial",
        /// Pods are evicted so that their successors get the target.
        Recreate = "Recreate",
        /// The same as `Recreate`, whose name has taken its place since 1.4.
        Auto = "Auto",
        /// Pods are resized while they run. Not modelled: refused.
        InPlaceOrRecreate = "InPlaceOrRecreate",
    }
}

words! {
    /// `controlledValues` of a container's policy.
    pub enum ControlledValues {
        /// Limits keep their proportion to requests.
        RequestsAndLimits = "RequestsAndLimits",
        /// Limits stay.
        RequestsOnly = "RequestsOnly",
    }
}

table! {
    /// A bound of what may be recommended.
    pub struct AllowedRequests {
        /// CPU; absent: no bound.
        pub cpu: Option<Cpu> = None,
        /// Memory; absent: no bound.
        pub memory: Option<Bytes> as TaskMemory = None,
    }
}
