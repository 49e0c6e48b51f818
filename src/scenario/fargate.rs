//! Sizes of Fargate tasks, as the catalog has them.

use crate::catalog::Catalog;

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
