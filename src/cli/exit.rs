//! Exit codes: a documented part of the interface.

/// How simctl ends. The numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// All was done. A reader that closes the pipe early is no failure.
    Ok = 0,
    /// A failure of simctl itself.
    Unexpected = 1,
    /// Wrong usage, or a scenario that is wrong or cannot be what it demands.
    Usage = 2,
    /// A file or folder could not be read or written, or holds something that is kept.
    Io = 3,
    /// An objective was missed (only with `--check`), or a search found nothing that keeps them.
    ObjectiveMissed = 10,
    /// `--until` ended at its most replications without the precision that was asked for.
    Undecided = 11,
    /// A result could not be reproduced. Reserved.
    NotReproducible = 12,
    /// Some runs failed, or some points of a sweep cannot run; the others are there.
    SomeFailed = 20,
    /// A merge lacks parts. Reserved.
    Incomplete = 21,
    /// Interrupted: nothing was left half-written.
    Interrupted = 130,
}

impl ExitCode {
    /// All codes, in order.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Unexpected,
        Self::Usage,
        Self::Io,
        Self::ObjectiveMissed,
        Self::Undecided,
        Self::NotReproducible,
        Self::SomeFailed,
        Self::Incomplete,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "all was done (a closed pipe counts as this)",
            Self::Unexpected => "a failure of simctl itself; please report it",
            Self::Usage => "wrong usage, or a scenario that is invalid or cannot meet what it demands",
            Self::Io => "a file or folder could not be read or written, or holds something that is kept",
            Self::ObjectiveMissed => {
                "an objective was missed (only with --check), or a search found nothing that keeps them"
            }
            Self::Undecided => "--until did not reach its precision within --max-replications",
            Self::NotReproducible => "reserved: a result could not be reproduced",
            Self::SomeFailed => "some runs failed, or some points of a sweep cannot run; the others are there",
            Self::Incomplete => "reserved: a merge lacks parts",
            Self::Interrupted => "interrupted; nothing was left half-written",
        }
    }

    /// The more serious of two ends: a failure goes before a missed objective.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |c: Self| match c {
            Self::Ok => 0,
            Self::ObjectiveMissed => 1,
            Self::Undecided => 2,
            Self::SomeFailed => 3,
            Self::Incomplete => 4,
            Self::NotReproducible => 5,
            Self::Io => 6,
            Self::Usage => 7,
            Self::Unexpected => 8,
            Self::Interrupted => 9,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}
