//! What can go wrong when results are written or read.

use std::io;
use std::path::PathBuf;

/// A failure to write or read results. Every one names the path and, where there is one, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder holds the result of another plan.
    #[error(
        "{} holds the result of another plan (its plan {found}, this plan {wanted}); --force replaces it, --out DIR writes elsewhere",
        path.display()
    )]
    AlreadyExists {
        /// The folder.
        path: PathBuf,
        /// Hash of the plan whose result stands there.
        found: String,
        /// Hash of the plan that was to be written.
        wanted: String,
    },
    /// The folder holds another replication of the same plan.
    #[error(
        "{} holds replication {found} of this plan, this is replication {wanted}; --force replaces it, --out DIR writes elsewhere",
        path.display()
    )]
    OtherReplication {
        /// The folder.
        path: PathBuf,
        /// The replication whose result stands there.
        found: u32,
        /// The replication that was to be written.
        wanted: u32,
    },
    /// The folder (or file) was not written by simctl, so it is never replaced, not even when forced.
    #[error(
        "{} exists and holds no result of simctl, so it is left alone; --out DIR writes elsewhere",
        path.display()
    )]
    NotAResult {
        /// What stands there.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "create", "write", "read", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of a result folder is there but cannot be understood.
    #[error("{} is not what simctl writes: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl OutputError {
    /// An operating system's error with what was tried on which path.
    #[must_use]
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

/// The cause of a CSV failure as an I/O error.
pub(crate) fn csv_cause(e: csv::Error) -> io::Error {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => e,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}
