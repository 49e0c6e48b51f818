//! Typed indices into the arenas of a simulation.

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its arena.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                Self(index as u32)
            }
        }
    )*};
}

id! {
    /// A service, by its position in the plan.
    ServiceId;
    /// A task (an ECS task or a pod), by order of creation; never reused.
    TaskId;
    /// A capacity (capacity provider), by its position in the plan.
    CapacityId;
    /// A node (a container instance), by order of launch; never reused.
    NodeId;
    /// A zone of the cluster, by its position in the plan.
    ZoneId;
    /// A request class, by its position over all services of the plan.
    ClassId;
    /// A traffic source, by its position in the data plane.
    SourceId;
    /// A task server of the data plane; the slot of a removed server is reused.
    ServerId;
    /// A target group of the data plane.
    TargetGroupId;
}
