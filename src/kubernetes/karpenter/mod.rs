//! Karpenter: which nodes are made for pods that wait, and which are taken away.
//!
//! The rules are those of `kubernetes-sigs/karpenter` and `aws/karpenter-provider-aws` v1.14. Every decision is a pure function of a
//! [`world::World`]: [`scheduling`] answers which nodes would have to be made, [`launch`] which instance that becomes,
//! [`disruption`] which nodes should go, [`termination`] how they go, [`timers`] when.

mod bits;
pub mod disruption;
pub mod instance;
pub mod interruption;
pub mod labels;
pub mod launch;
pub mod pool;
pub mod requirements;
pub mod scheduling;
pub mod table;
pub mod termination;
pub mod timers;
pub mod world;
