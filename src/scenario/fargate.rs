//! Sizes of Fargate tasks, as the catalog has them.

use super::model::Service;
use crate::catalog::{Catalog, FargateSize};
use crate::units::{Bytes, Cpu};

/// Whether Fargate runs tasks of this size: CPU in ECS units, memory in MiB.
#[must_use]
pub fn fargate_size_valid(cpu_units: u64, memory_mib: u64, windows: bool) -> bool {
    Catalog::embedded().valid_fargate_size(cpu_units, memory_mib, windows)
}

/// The sizes most like one that Fargate does not run, as pairs of ECS units and MiB: first the smallest
/// that covers it.
#[must_use]
pub fn nearest_sizes(cpu_units: u64, memory_mib: u64, windows: bool) -> Vec<(u64, u64)> {
    let near = Catalog::embedded().nearest_fargate_sizes(cpu_units, memory_mib, windows, 3);
    near.into_iter().map(|s| (s.cpu_units, s.memory_mib)).collect()
}

/// Memory that Fargate adds to a pod for the Kubernetes components of its node. Source: EKS user guide, `fargate-pod-configuration`.
const OF_KUBERNETES: Bytes = Bytes::from_mib(256);
/// The largest pod in ECS units: 32 vCPU exist for ECS only.
const MAX_POD_CPU_UNITS: u64 = 16_384;

/// The size of the micro-VM for a pod that requests this: the first that holds the CPU, and the memory with what Kubernetes
/// itself takes. A pod that requests nothing gets the smallest; none gets more than 16 vCPU. `None`: nothing is large enough.
#[must_use]
pub fn size_of_pod(cpu: Cpu, memory: Bytes) -> Option<FargateSize> {
    let memory = memory.get().checked_add(OF_KUBERNETES.get())?;
    let sizes = Catalog::embedded().fargate_sizes().iter().copied();
    sizes
        .filter(|s| s.cpu_units <= MAX_POD_CPU_UNITS)
        .filter(|s| Cpu::from_units(s.cpu_units) >= cpu && Bytes::from_mib(s.memory_mib).get() >= memory)
        .min_by_key(|s| (s.cpu_units, s.memory_mib))
}

/// What a pod of a service occupies on Fargate; its own requests where nothing is large enough, which validation refuses.
#[must_use]
pub fn pod_size(service: &Service) -> (Cpu, Bytes) {
    let task = &service.task;
    size_of_pod(task.cpu, task.memory)
        .map_or((task.cpu, task.memory), |s| (Cpu::from_units(s.cpu_units), Bytes::from_mib(s.memory_mib)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table() {
        for (cpu, memory) in
            [(256, 512), (256, 2048), (512, 4096), (1024, 8192), (8192, 20 * 1024), (32768, 244 * 1024)]
        {
            assert!(fargate_size_valid(cpu, memory, false), "{cpu} {memory}");
        }
        for (cpu, memory) in [(256, 3072), (512, 512), (1024, 1024), (8192, 17 * 1024), (16384, 36 * 1024), (300, 512)]
        {
            assert!(!fargate_size_valid(cpu, memory, false), "{cpu} {memory}");
        }
        assert!(!fargate_size_valid(256, 512, true));
        assert!(fargate_size_valid(1024, 2048, true));
    }

    #[test]
    fn what_is_near() {
        assert_eq!(nearest_sizes(1024, 1024, false)[0], (1024, 2048));
        assert!(nearest_sizes(256, 3072, false).contains(&(512, 3072)));
        assert!(!nearest_sizes(99_999, 999_999, false).is_empty());
    }
}
