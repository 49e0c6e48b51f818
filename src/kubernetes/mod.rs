//! The Kubernetes control plane: the objects its controllers look at and their decisions, one file a
//! real algorithm. As everywhere on this floor, a decision is a pure function of specification, memory and
//! observation; the simulation carries it out.

pub mod allocatable;
pub mod cluster_autoscaler;
pub mod cni;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption_budget;
pub mod fargate;
pub mod hpa;
pub mod int_or_percent;
pub mod job;
pub mod karpenter;
pub mod keda;
pub mod kubelet;
pub mod node_group;
pub mod node_health;
pub mod object;
pub mod priority;
pub mod probes;
pub mod progressive;
pub mod quota;
pub mod replica_set;
pub mod scheduler;
pub mod stateful_set;
pub mod vpa;
