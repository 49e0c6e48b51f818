//! Task sizes that Fargate takes.

/// A pair of task CPU and memory that Fargate accepts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FargateSize {
    /// CPU units (1,024 = 1 vCPU).
    pub cpu_units: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether Windows tasks may have it.
    pub windows: bool,
}

impl FargateSize {
    /// How far another pair is from this one: the factor by which CPU and memory differ, multiplied; 1 for equal.
    fn distance(self, cpu_units: u64, memory_mib: u64) -> f64 {
        let factor = |a: u64, b: u64| {
            let (a, b) = (a.max(1), b.max(1));
            a.max(b) as f64 / a.min(b) as f64
        };
        factor(self.cpu_units, cpu_units) * factor(self.memory_mib, memory_mib)
    }
}

/// Up to `count` sizes for a pair that is not valid: first the smallest that has at least that much of
/// both (so that nothing is lost), then those that differ least.
pub(super) fn nearest(
    sizes: &[FargateSize],
    cpu_units: u64,
    memory_mib: u64,
    windows: bool,
    count: usize,
) -> Vec<FargateSize> {
    let allowed = || sizes.iter().copied().filter(|s| s.windows || !windows);
    let covering = allowed()
        .filter(|s| s.cpu_units >= cpu_units && s.memory_mib >= memory_mib)
        .min_by(|a, b| a.distance(cpu_units, memory_mib).total_cmp(&b.distance(cpu_units, memory_mib)).then(a.cmp(b)));
    let mut rest: Vec<FargateSize> = allowed().filter(|s| Some(*s) != covering).collect();
    rest.sort_by(|a, b| a.distance(cpu_units, memory_mib).total_cmp(&b.distance(cpu_units, memory_mib)).then(a.cmp(b)));
    covering.into_iter().chain(rest).take(count).collect()
}
