//! A folder of finished runs, one file each under the run's id. Whoever has the same plan, replication and
//! version of simctl can take a run from it instead of simulating: a resumed study, or another machine.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::RunRecord;
use crate::output::OutputError;

/// A store of finished runs.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// A store in a folder, which is made when the first run is kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// The run with an id, if it is here, whole, and was made by this version of simctl.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<RunRecord> {
        let record = RunRecord::from_text(&fs::read_to_string(self.path(id)).ok()?)?;
        let meta = &record.summary.meta;
        (meta.run_id == id && meta.simctl_version == env!("CARGO_PKG_VERSION")).then_some(record)
    }

    /// Keeps a run: written under another name, then renamed, so that a file of the store is always whole.
    ///
    /// # Errors
    /// [`OutputError::Io`] with the file that could not be written.
    pub fn put(&self, record: &RunRecord) -> Result<(), OutputError> {
        let path = self.path(&record.summary.meta.run_id);
        let failed = |action, e| OutputError::io(action, &path, e);
        fs::create_dir_all(&self.folder).map_err(|e| OutputError::io("create", &self.folder, e))?;
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .tempfile_in(&self.folder)
            .map_err(|e| OutputError::io("create a file in", &self.folder, e))?;
        file.write_all(record.to_text().as_bytes()).map_err(|e| failed("write", e))?;
        file.persist(&path).map_err(|e| failed("rename to", e.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Meta, Summary};

    fn record(id: &str, version: &str) -> RunRecord {
        let meta = Meta { run_id: id.into(), simctl_version: version.into(), ..Meta::default() };
        RunRecord::new(Summary { meta, ..Summary::default() }, &[])
    }

    #[test]
    fn only_whole_runs_of_this_version_come_back() {
        let root = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(root.path().join("a/b"));
        let mine = record("aa", env!("CARGO_PKG_VERSION"));
        store.put(&mine).expect("kept");
        store.put(&record("bb", "0.0.0")).expect("kept");
        assert_eq!(store.get("aa"), Some(mine.clone()));
        assert_eq!(store.get("bb"), None, "another version");
        assert_eq!(store.get("cc"), None);
        fs::write(store.path("aa"), &mine.to_text()[..90]).expect("cut");
        assert_eq!(store.get("aa"), None, "half a file");
        fs::rename(store.path("bb"), store.path("aa")).expect("renamed");
        assert_eq!(store.get("aa"), None, "another run under this name");
        let names: Vec<_> = fs::read_dir(store.folder()).expect("folder").collect();
        assert_eq!(names.len(), 1, "nothing else is left");
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let root = tempfile::tempdir().expect("temporary folder");
        fs::write(root.path().join("file"), "x").expect("file");
        let e = Store::new(root.path().join("file/store")).put(&record("aa", "1")).expect_err("refused");
        assert!(e.to_string().contains("file/store"), "{e}");
    }
}
