//! What a task takes of a container instance.
//!
//! Rule: CPU as the task reserves it; memory by the soft limit where there is one, else by the hard one;
//! whole GPUs; in awsvpc mode one network interface; the host ports that are fixed. An instance has room
//! for as many interfaces as it attaches beside its primary one, or, with trunking, for the number that
//! AWS publishes for its type.
//!
//! Source: ECS developer guide, `task_definition_parameters`, `container-instance-eni`. Known departure:
//! dynamic ports (bridge) never run out, as an instance has more than 28,000.

use crate::catalog::InstanceType;
use crate::cluster::nodes::{Needs, Resources};
use crate::scenario::model::{NetworkMode, PlacementConstraint, Task};
use crate::units::{Bytes, Cpu};

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

/// What an instance of a type registers when the agent keeps `reserved_memory` back; `trunking` as the
/// account setting `awsvpcTrunking`.
#[must_use]
pub fn offers(of: &InstanceType, reserved_memory: Bytes, trunking: bool) -> Resources {
    let registered = Bytes::from_mib(of.registered_memory_mib());
    Resources {
        cpu: Cpu::from_units(of.cpu_units()),
        memory: Bytes::new(registered.get().saturating_sub(reserved_memory.get())),
        gpus: of.gpus,
        enis: of.task_limit(trunking),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::scenario::model::{DistinctInstance, PortMapping};

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
    fn what_an_instance_registers() {
        let m4 = Catalog::embedded().instance_type("m4.large").unwrap();
        let all = offers(m4, Bytes::ZERO, true);
        assert_eq!((all.cpu.units(), all.memory, all.gpus), (2048, Bytes::from_mib(7985), 0));
        assert_eq!(offers(m4, Bytes::from_mib(256), true).memory, Bytes::from_mib(7985 - 256));
        let c5 = Catalog::embedded().instance_type("c5.large").unwrap();
        assert_eq!((offers(c5, Bytes::ZERO, false).enis, offers(c5, Bytes::ZERO, true).enis), (2, 10));
    }
}
