//! What a task takes of a container instance.
//!
//! Rule: CPU as the task reserves it; memory by the soft limit where there is one, else by the hard one;
//! whole GPUs; in awsvpc mode one network interface; the host ports that are fixed. An instance has room
//! for as many interfaces as it attaches beside its primary one, or, with trunking, for the number that
//! AWS publishes for its type.
//!
//! Source: ECS developer guide, `task_definition_parameters`, `container-instance-eni`. Known departure:
//! dynamic ports (bridge) never run out, as an instance has more than 28,000.

use crate::cluster::nodes::{Needs, Resources};
use crate::scenario::model::{NetworkMode, PlacementConstraint, Task};

/// What a task with these constraints needs of an instance.
#[must_use]
pub fn needs(task: &Task, constraints: &[PlacementConstraint]) -> Needs {
    let awsvpc = task.network_mode == NetworkMode::Awsvpc;
    let mut ports: Vec<u16> = match task.network_mode {
        NetworkMode::Awsvpc | NetworkMode::None => Vec::new(),
        NetworkMode::Bridge => task.port_mappings.iter().map(|m| m.host_port as u16).filter(|p| *p != 0).collect(),
        NetworkMode::Host => task.port_mappings.iter().map(|m| m.container_port as u16).collect(),
    };
    ports.sort_unstable();
    ports.dedup();
    Needs {
        resources: Resources {
            cpu: task.cpu,
            memory: task.memory_reservation.unwrap_or(task.memory),
            gpus: task.gpus,
            enis: u32::from(awsvpc),
        },
        ports,
        distinct: constraints.iter().any(|c| matches!(c, PlacementConstraint::DistinctInstance(_))),
    }
}

/// Tasks in awsvpc mode for which an instance has network interfaces: those that it attaches beside the
/// primary one, or with trunking the limit that AWS publishes for the type. A type without such a limit
/// does not support trunking and is left as it is.
#[must_use]
pub fn task_interfaces(attachable: u32, trunking_limit: Option<u32>, trunking: bool) -> u32 {
    match trunking_limit.filter(|_| trunking) {
        Some(limit) => limit,
        None => attachable.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::model::{DistinctInstance, PortMapping};
    use crate::units::{Bytes, Cpu};

    fn task(mode: NetworkMode, ports: &[(u32, u32)]) -> Task {
        let ports = ports
            .iter()
            .map(|(container_port, host_port)| PortMapping { container_port: *container_port, host_port: *host_port });
        Task { network_mode: mode, port_mappings: ports.collect(), ..crate::placement::spec::tests::task(256, 512) }
    }

    #[test]
    fn ports_by_network_mode() {
        let of = |mode, ports: &[(u32, u32)]| needs(&task(mode, ports), &[]).ports;
        assert_eq!(of(NetworkMode::Bridge, &[(80, 0), (443, 8443), (53, 53)]), [53, 8443]);
        assert_eq!(of(NetworkMode::Host, &[(80, 0)]), [80]);
        assert!(of(NetworkMode::Awsvpc, &[(80, 80)]).is_empty());
    }

    #[test]
    fn the_soft_limit_is_what_counts() {
        let mut t = task(NetworkMode::Bridge, &[]);
        t.memory_reservation = Some(Bytes::from_mib(128));
        let n = needs(&t, &[PlacementConstraint::DistinctInstance(DistinctInstance {})]);
        assert_eq!(n.resources.memory, Bytes::from_mib(128));
        assert_eq!((n.resources.cpu, n.resources.enis, n.distinct), (Cpu::from_units(256), 0, true));
        assert_eq!(needs(&task(NetworkMode::Awsvpc, &[]), &[]).resources.enis, 1);
    }

    #[test]
    fn interfaces_with_and_without_trunking() {
        assert_eq!(task_interfaces(3, Some(10), false), 2);
        assert_eq!(task_interfaces(3, Some(10), true), 10);
        assert_eq!(task_interfaces(4, None, true), 3);
        assert_eq!(task_interfaces(0, None, false), 0);
    }
}
