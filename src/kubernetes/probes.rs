//! Probes of the kubelet: when results in a row change a container's state, and how long it waits after a crash.
//!
//! Source: `pkg/kubelet/prober/worker.go`; Kubernetes documentation, container restarts (back-off).

use crate::kernel::SimDuration;

/// The thresholds of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// Successes in a row that count as success, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that count as failure, at least 1.
    pub failure_threshold: u32,
}

/// What is remembered of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeMemory {
    /// The state that it is in; absent until the first change.
    pub passed: Option<bool>,
    run: u32,
    last: bool,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Nothing,
    /// So many successes in a row: it has passed.
    Passed,
    /// So many failures in a row: it has failed.
    Failed,
}

impl ProbeMemory {
    /// Takes one result into account. A threshold that is reached again says so again.
    pub fn result(&mut self, spec: &ProbeSpec, ok: bool) -> Verdict {
        self.run = if self.run > 0 && self.last == ok { self.run.saturating_add(1) } else { 1 };
        self.last = ok;
        let enough = if ok { spec.success_threshold } else { spec.failure_threshold };
        if self.run < enough.max(1) {
            return Verdict::Nothing;
        }
        self.passed = Some(ok);
        if ok { Verdict::Passed } else { Verdict::Failed }
    }
}

/// A container that ran for this long before it crashed begins anew with the shortest wait.
pub const BACKOFF_RESET: SimDuration = SimDuration::from_secs(600);

/// Wait before a container is started again, by its crashes in a row: none after the first, then 10 s doubling to 300 s.
#[must_use]
pub fn crash_backoff(crashes: u32) -> SimDuration {
    match crashes {
        0 | 1 => SimDuration::ZERO,
        n => SimDuration::from_secs((10_u64 << (n - 2).min(5)).min(300)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_fail_a_probe_and_one_success_mends_it() {
        let spec = ProbeSpec { success_threshold: 1, failure_threshold: 3 };
        let mut memory = ProbeMemory::default();
        assert_eq!(memory.result(&spec, true), Verdict::Passed);
        assert_eq!(
            [false, false, true].map(|ok| memory.result(&spec, ok)),
            [Verdict::Nothing, Verdict::Nothing, Verdict::Passed]
        );
        assert_eq!([false; 3].map(|ok| memory.result(&spec, ok))[2], Verdict::Failed);
        assert_eq!(memory.passed, Some(false));
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<u64> = (1..9).map(|n| crash_backoff(n).as_nanos() / 1_000_000_000).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }
}
