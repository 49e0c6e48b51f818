//! Karpenter: which nodes are made for pods that wait, and which are taken away.
//!
//! The rules are those of `kubernetes-sigs/karpenter` and `aws/karpenter-provider-aws` v1.14. Every decision is a pure function of a
//! [`world::World`]: [`scheduling`] answers which nodes would have to be made, [`launch`] which instance that becomes,
//! [`disruption`] which nodes should go, [`termination`] how they go, [`timers`] when.
//!
//! A pass: [`timers::Batcher`] closes its window; [`scheduling::Scheduler::provision`] answers with places on nodes (which are nominated for
//! [`timers::BatchSpec::nomination`]), NodeClaims and reasons; a NodeClaim whose pool exceeds its limits by now
//! ([`world::World::exceeds_limits`]) is dropped, each other one goes through [`launch::launch`]. A round of disruption:
//! [`disruption::disrupt`], after [`disruption::VALIDATION_DELAY`] [`disruption::validate`], then [`disruption::queue::step`] until the
//! candidates may go.
//!
//! Left out, beside what the modules name: static pools, node repair, dynamic resource allocation, volume limits.

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
