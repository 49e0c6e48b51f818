//! The Kubernetes control plane: the objects its controllers look at and their decisions, one file a
//! real algorithm. As everywhere on this floor, a decision is a pure function of specification, memory and
//! observation; the simulation carries it out.

pub mod allocatable;
pub mod cni;
pub mod fargate;
pub mod hpa;
pub mod keda;
pub mod kubelet;
pub mod node_group;
pub mod node_health;
pub mod object;
pub mod probes;
pub mod service;
pub mod vpa;
