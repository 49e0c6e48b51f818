//! Sizes of Fargate tasks. Source: Amazon ECS developer guide, task definition parameters for Fargate.

/// One CPU size: its ECS units, and the memory it comes with: first, last and step, in MiB.
struct Row {
    cpu: u64,
    first: u64,
    last: u64,
    step: u64,
}

const fn row(cpu: u64, first_gb: u64, last_gb: u64, step_gb: u64) -> Row {
    Row { cpu, first: first_gb * 1024, last: last_gb * 1024, step: step_gb * 1024 }
}

/// Linux, platform 1.4.0; the rows with irregular memory stand in [`IRREGULAR`].
const ROWS: &[Row] = &[
    row(512, 1, 4, 1),
    row(1024, 2, 8, 1),
    row(2048, 4, 16, 1),
    row(4096, 8, 30, 1),
    row(8192, 16, 60, 4),
    row(16384, 32, 120, 8),
];

const IRREGULAR: &[(u64, &[u64])] = &[(256, &[512, 1024, 2048]), (32768, &[60 * 1024, 120 * 1024, 244 * 1024])];

/// CPU sizes that Windows tasks can have.
const WINDOWS: &[u64] = &[1024, 2048, 4096];

/// The memory sizes, in MiB, of a CPU size in ECS units; none when there is no such size.
#[must_use]
pub fn memory_sizes(cpu_units: u64) -> Vec<u64> {
    if let Some((_, sizes)) = IRREGULAR.iter().find(|(cpu, _)| *cpu == cpu_units) {
        return sizes.to_vec();
    }
    ROWS.iter()
        .find(|r| r.cpu == cpu_units)
        .map(|r| (r.first..=r.last).step_by(r.step as usize).collect())
        .unwrap_or_default()
}

/// The CPU sizes in ECS units, ascending.
#[must_use]
pub fn cpu_sizes(windows: bool) -> Vec<u64> {
    let mut sizes: Vec<u64> = IRREGULAR.iter().map(|(cpu, _)| *cpu).chain(ROWS.iter().map(|r| r.cpu)).collect();
    sizes.retain(|cpu| !windows || WINDOWS.contains(cpu));
    sizes.sort_unstable();
    sizes
}

/// Whether Fargate runs tasks of this size.
#[must_use]
pub fn fargate_size_valid(cpu_units: u64, memory_mib: u64, windows: bool) -> bool {
    cpu_sizes(windows).contains(&cpu_units) && memory_sizes(cpu_units).contains(&memory_mib)
}

/// The sizes next to one that Fargate does not run: the smallest that holds it, and those next to it
/// in memory or in CPU. Pairs of ECS units and MiB.
#[must_use]
pub fn nearest_sizes(cpu_units: u64, memory_mib: u64, windows: bool) -> Vec<(u64, u64)> {
    let mut near = Vec::new();
    let cpus = cpu_sizes(windows);
    // The same CPU with other memory, one step down and one up.
    if cpus.contains(&cpu_units) {
        let memory = memory_sizes(cpu_units);
        near.extend(memory.iter().rev().find(|m| **m < memory_mib).map(|m| (cpu_units, *m)));
        near.extend(memory.iter().find(|m| **m > memory_mib).map(|m| (cpu_units, *m)));
    }
    // The smallest size that holds both, and the largest CPU below that has the memory.
    let holding = |cpu: &u64| memory_sizes(*cpu).into_iter().find(|m| *m >= memory_mib).map(|m| (*cpu, m));
    near.extend(cpus.iter().filter(|c| **c >= cpu_units).find_map(holding));
    let exact = |cpu: &u64| memory_sizes(*cpu).contains(&memory_mib).then_some((*cpu, memory_mib));
    near.extend(cpus.iter().rev().filter(|c| **c < cpu_units).find_map(exact));
    if near.is_empty() {
        near.extend(cpus.last().and_then(|cpu| Some((*cpu, *memory_sizes(*cpu).last()?))));
    }
    near.sort_unstable();
    near.dedup();
    near
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
        assert_eq!(nearest_sizes(1024, 1024, false), [(512, 1024), (1024, 2048)]);
        assert_eq!(nearest_sizes(256, 3072, false), [(256, 2048), (512, 3072)]);
        assert_eq!(nearest_sizes(2000, 4096, false), [(1024, 4096), (2048, 4096)]);
        assert_eq!(nearest_sizes(99_999, 999_999, false), [(32768, 244 * 1024)]);
    }
}
