//! The Kubernetes control plane: the objects its controllers look at and their decisions, one file a
//! real algorithm. As everywhere on this floor, a decision is a pure function of specification, memory and
//! observation; the simulation carries it out.

pub mod karpenter;
pub mod object;
pub mod probes;
pub mod service;
