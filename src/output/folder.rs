//! A result folder: written beside its place under another name, and renamed when it is whole.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sink::{Open, open_file};
use super::{OutputError, REPLICATIONS_FILE, RowSink, SUMMARY_SCHEMA, Summary, write_replications};

/// The resolved scenario that reproduces the run.
pub const PLAN_FILE: &str = "plan.toml";
/// The summary.
pub const SUMMARY_FILE: &str = "summary.json";
/// What a folder of many runs is: see [`StudyMark`].
pub const STUDY_FILE: &str = "study.json";

/// Name and version of the schema of [`STUDY_FILE`].
pub const STUDY_SCHEMA: &str = "simctl.study/1";

/// The mark of a folder that holds the results of many runs: what made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyMark {
    /// [`STUDY_SCHEMA`].
    pub schema: String,
    /// `compare`, `sweep` or `search`.
    pub kind: String,
    /// Hash of all plans and of what was asked for.
    pub hash: String,
    /// The plans, by what they are called.
    pub plans: Vec<(String, String)>,
    /// Version of simctl.
    pub simctl_version: String,
}

/// Files that the commands over many runs write beside [`STUDY_FILE`].
const STUDY_FILES: [&str; 13] = [
    STUDY_FILE,
    "comparison.json",
    "figures.csv",
    "differences.csv",
    "sweep.json",
    "sweep.csv",
    "sweep.parquet",
    "points.csv",
    "sensitivity.csv",
    "search.json",
    "candidates.csv",
    "found.toml",
    "replications.json",
];

/// A result folder in the making. Dropped before [`OutputFolder::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct OutputFolder {
    base: PathBuf,
    plan_hash: String,
    replication: u32,
    force: bool,
    /// Removes itself when dropped.
    temporary: tempfile::TempDir,
    /// Dropped after it: removes what was made for it above.
    made: MadeFolders,
}

/// Folders that were made on the way to a place, the deepest first. Dropped, it removes those that are empty.
#[derive(Debug, Default)]
struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes a folder with all that is missing above it.
    fn make(folder: &Path) -> Result<Self, OutputError> {
        let missing = folder.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let made = Self(missing.map(Path::to_path_buf).collect());
        fs::create_dir_all(folder).map_err(|e| OutputError::io("create", folder, e))?;
        Ok(made)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Another result may stand in it by now: then it stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

impl OutputFolder {
    /// Makes a temporary folder beside `base`, the place of the result, after checking that the result may
    /// stand there: nothing, an empty folder, or a result of the same plan; with `force` that of another plan.
    ///
    /// # Errors
    /// [`OutputError::AlreadyExists`], [`OutputError::NotAResult`] (even when forced), [`OutputError::Io`].
    pub fn create(base: &Path, plan_hash: &str, force: bool) -> Result<Self, OutputError> {
        Self::of_replication(base, plan_hash, 0, force)
    }

    /// The same for the result of one replication: that of another of the same plan is not replaced either.
    ///
    /// # Errors
    /// As [`OutputFolder::create`], and [`OutputError::OtherReplication`].
    pub fn of_replication(base: &Path, plan_hash: &str, replication: u32, force: bool) -> Result<Self, OutputError> {
        let base = std::path::absolute(base).map_err(|e| OutputError::io("create", base, e))?;
        check_place(&base, plan_hash, replication, force)?;
        let parent = base.parent().unwrap_or(&base);
        let made = MadeFolders::make(parent)?;
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.partial-");
        builder.prefix(&prefix);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As a folder made by hand would be; the umask still applies.
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let temporary = builder.tempdir_in(parent).map_err(|e| OutputError::io("create a folder in", parent, e))?;
        Ok(Self { base, plan_hash: plan_hash.to_owned(), replication, force, temporary, made })
    }

    /// The temporary folder, for what is written by path: charts.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Where the result will stand.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Opens the CSV files.
    ///
    /// # Errors
    /// [`OutputError::Io`] with the file that could not be created.
    pub fn rows(&self) -> Result<RowSink, OutputError> {
        RowSink::folder(self.path())
    }

    /// Writes `plan.toml`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn write_plan(&self, toml: &str) -> Result<(), OutputError> {
        self.write(PLAN_FILE, toml.as_bytes())
    }

    /// Writes `summary.json` of replication 0 and `replications.csv` of all runs.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn write_summary(&self, summary: &Summary, runs: &[Summary]) -> Result<(), OutputError> {
        self.write(SUMMARY_FILE, summary.to_json().as_bytes())?;
        let mut table = Vec::new();
        write_replications(runs, &mut table)
            .map_err(|e| OutputError::io("write", self.path().join(REPLICATIONS_FILE), e))?;
        self.write(REPLICATIONS_FILE, &table)
    }

    /// Writes a value as an indented JSON document, its floats rounded as in `summary.json`.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), OutputError> {
        self.write(name, super::document(value).as_bytes())
    }

    /// Writes a table of text as CSV.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn write_table(&self, name: &str, header: &[String], rows: &[Vec<String>]) -> Result<(), OutputError> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let failed = |e: io::Error| OutputError::io("write", self.path().join(name), e);
        for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
            csv.write_record(row).map_err(|e| failed(super::error::csv_cause(e)))?;
        }
        let bytes = csv.into_inner().map_err(|e| failed(io::Error::other(e.to_string())))?;
        self.write(name, &bytes)
    }

    /// Writes one file of the folder.
    ///
    /// # Errors
    /// [`OutputError::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        write_with(&self.path().join(name), bytes, &open_file)
    }

    /// Puts the folder in its place, instead of what stands there. Files of another's in a replaced result
    /// are carried over.
    ///
    /// # Errors
    /// As [`OutputFolder::create`]; then the place is as it was.
    pub fn finish(self) -> Result<PathBuf, OutputError> {
        // Another run may have come in between.
        check_place(&self.base, &self.plan_hash, self.replication, self.force)?;
        let Self { base, temporary, mut made, .. } = self;
        let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| OutputError::io("rename to", to, e));
        if !base.exists() {
            rename(temporary.path(), &base)?;
            let _ = temporary.keep();
            made.0.clear();
            return Ok(base);
        }
        // A folder that is not empty cannot be renamed over: the old one steps aside first.
        let parent = base.parent().unwrap_or(&base);
        let aside = tempfile::Builder::new()
            .prefix(".replaced-")
            .tempdir_in(parent)
            .map_err(|e| OutputError::io("create a folder in", parent, e))?;
        let old = aside.path().join("old");
        rename(&base, &old)?;
        if let Err(e) = rename(temporary.path(), &base) {
            rename(&old, &base)?;
            return Err(e);
        }
        let _ = temporary.keep();
        carry_over(&old, &base)?;
        Ok(base)
    }
}

/// Whether a file name is one that simctl writes into a result folder.
fn is_ours(name: &str) -> bool {
    matches!(name, PLAN_FILE | SUMMARY_FILE | super::DECISIONS_JSONL_FILE | "charts")
        || [
            super::SERVICES_FILE,
            super::TASKS_FILE,
            super::NODES_FILE,
            super::CAPACITY_FILE,
            super::DECISIONS_FILE,
            super::DEPLOYMENTS_FILE,
            super::COSTS_FILE,
            REPLICATIONS_FILE,
        ]
        .contains(&name)
        || STUDY_FILES.contains(&name)
}

/// Moves what simctl did not write from a replaced result into the new one.
fn carry_over(old: &Path, new: &Path) -> Result<(), OutputError> {
    let entries = fs::read_dir(old).map_err(|e| OutputError::io("read", old, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| OutputError::io("read", old, e))?;
        let target = new.join(entry.file_name());
        if !is_ours(&entry.file_name().to_string_lossy()) && !target.exists() {
            fs::rename(entry.path(), &target).map_err(|e| OutputError::io("rename to", &target, e))?;
        }
    }
    Ok(())
}

/// Checks that a result of the plan and replication may stand at `base`.
fn check_place(base: &Path, plan_hash: &str, replication: u32, force: bool) -> Result<(), OutputError> {
    match fs::read_dir(base) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            // Either the place itself or one of the folders on the way is a file.
            let file = base.ancestors().find(|p| p.is_file()).unwrap_or(base);
            return Err(OutputError::NotAResult { path: file.to_path_buf() });
        }
        Err(e) => return Err(OutputError::io("read", base, e)),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(());
            }
        }
    }
    let summary = read_summary(base).map(|s| (s.meta.plan_hash, s.meta.replication));
    match summary.or_else(|_| read_mark(base).map(|m| (m.hash, 0))) {
        Ok(_) if force => Ok(()),
        Ok((hash, found)) if hash == plan_hash && found == replication => Ok(()),
        Ok((hash, found)) if hash == plan_hash => {
            Err(OutputError::OtherReplication { path: base.to_path_buf(), found, wanted: replication })
        }
        Ok((hash, _)) => {
            Err(OutputError::AlreadyExists { path: base.to_path_buf(), found: short(&hash), wanted: short(plan_hash) })
        }
        Err(_) => Err(OutputError::NotAResult { path: base.to_path_buf() }),
    }
}

/// The first eight characters of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(8).collect()
}

/// Reads the mark of a folder that holds the results of many runs.
///
/// # Errors
/// [`OutputError::Io`] if it cannot be read, [`OutputError::Malformed`] if it is not of [`STUDY_SCHEMA`].
pub fn read_mark(folder: &Path) -> Result<StudyMark, OutputError> {
    let path = folder.join(STUDY_FILE);
    let text = fs::read_to_string(&path).map_err(|e| OutputError::io("read", &path, e))?;
    let malformed = |reason: String| OutputError::Malformed { path: path.clone(), reason };
    let mark: StudyMark = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    if mark.schema == STUDY_SCHEMA { Ok(mark) } else { Err(malformed(format!("its schema is {}", mark.schema))) }
}

/// Reads `summary.json` of a result folder.
///
/// # Errors
/// [`OutputError::Io`] if it cannot be read, [`OutputError::Malformed`] if it is not of [`SUMMARY_SCHEMA`].
pub fn read_summary(folder: &Path) -> Result<Summary, OutputError> {
    let path = folder.join(SUMMARY_FILE);
    let text = fs::read_to_string(&path).map_err(|e| OutputError::io("read", &path, e))?;
    let summary: Summary = serde_json::from_str(&text)
        .map_err(|e| OutputError::Malformed { path: path.clone(), reason: e.to_string() })?;
    if summary.schema == SUMMARY_SCHEMA {
        Ok(summary)
    } else {
        Err(OutputError::Malformed {
            path,
            reason: format!("its schema is `{}`, not `{SUMMARY_SCHEMA}`", summary.schema),
        })
    }
}

fn write_with(path: &Path, bytes: &[u8], open: Open<'_>) -> Result<(), OutputError> {
    let mut file = open(path).map_err(|e| OutputError::io("create", path, e))?;
    file.write_all(bytes).and_then(|()| file.flush()).map_err(|e| OutputError::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{DecisionDetail, DecisionRow, Meta, Millis, Secs, ServiceRow};

    fn summary(plan_hash: &str) -> Summary {
        Summary {
            schema: SUMMARY_SCHEMA.into(),
            meta: Meta { plan_hash: plan_hash.into(), ..Meta::default() },
            ..Summary::default()
        }
    }

    fn write_result(base: &Path, plan: &str, force: bool) -> Result<PathBuf, OutputError> {
        let folder = OutputFolder::create(base, plan, force)?;
        let mut rows = folder.rows()?;
        rows.service(&ServiceRow {
            time_s: Secs(10_000_000_000),
            service: "web".into(),
            latency_p99_ms: Some(Millis(1_500_000)),
            ..ServiceRow::default()
        })?;
        rows.decision(
            &DecisionRow { reason: "above, \"target\"".into(), ..DecisionRow::default() },
            &DecisionDetail { observation: serde_json::json!({"value": 0.1 + 0.2}), memory: serde_json::Value::Null },
        )?;
        rows.close()?;
        folder.write_plan("[simulation]\n")?;
        let s = summary(plan);
        folder.write_summary(&s, std::slice::from_ref(&s))?;
        folder.finish()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("folder")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_result_is_whole_and_replaced_by_its_own_plan_only() {
        let root = tempfile::tempdir().expect("temporary folder");
        let base = root.path().join("spike/base");
        write_result(&base, "aaaa", false).expect("first");
        fs::write(base.join("notes.txt"), "mine").expect("note");
        write_result(&base, "aaaa", false).expect("same plan");
        let text = fs::read_to_string(base.join("services.csv")).expect("rows");
        let mut lines = text.lines();
        assert!(lines.next().expect("header").starts_with("time_s,interval_s,service,offered_rps,started,"));
        assert!(lines.next().expect("row").starts_with("10.000,0.000,web,0.000,0,"));
        assert!(fs::read_to_string(base.join("tasks.csv")).expect("header").starts_with("task,service,revision,"));
        let record = fs::read_to_string(base.join("decisions.jsonl")).expect("records");
        assert!(record.contains(r#""observation":{"value":0.30000000000000004}"#), "{record}");

        let refused = write_result(&base, "bbbb", false).expect_err("another plan");
        assert!(matches!(refused, OutputError::AlreadyExists { .. }), "{refused}");
        assert!(refused.to_string().contains("--force"));
        assert_eq!(read_summary(&base).expect("still there").meta.plan_hash, "aaaa");
        write_result(&base, "bbbb", true).expect("forced");
        assert_eq!(read_summary(&base).expect("replaced").meta.plan_hash, "bbbb");
        assert!(base.join("notes.txt").exists(), "what is not ours is carried over");
        assert_eq!(names(base.parent().expect("parent")), ["base"], "no temporary folder is left");
    }

    #[test]
    fn what_is_no_result_is_never_replaced() {
        let root = tempfile::tempdir().expect("temporary folder");
        fs::write(root.path().join("thesis.tex"), "ten years").expect("file");
        for force in [false, true] {
            let e = OutputFolder::create(root.path(), "aaaa", force).expect_err("refused");
            assert!(matches!(e, OutputError::NotAResult { .. }), "{e}");
            let e = OutputFolder::create(&root.path().join("thesis.tex/base"), "aaaa", force).expect_err("refused");
            assert!(e.to_string().contains("thesis.tex"), "{e}");
        }
    }

    #[test]
    fn an_abandoned_folder_leaves_nothing() {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = OutputFolder::create(&root.path().join("spike/slow/base"), "aaaa", false).expect("created");
        folder.write_plan("x").expect("plan");
        drop(folder);
        assert!(names(root.path()).is_empty());
    }

    /// Takes a number of bytes, then the disk is full.
    struct SmallDisk(usize);
    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let n = bytes.len().min(self.0);
            self.0 -= n;
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_reported_with_its_file() {
        for size in [0, 100, 5_000, 100_000] {
            let open = move |_: &Path| -> io::Result<Box<dyn Write + Send>> { Ok(Box::new(SmallDisk(size))) };
            let mut failure = None;
            match RowSink::open(Path::new("result"), &open) {
                Err(e) => failure = Some(e),
                Ok(mut rows) => {
                    for _ in 0..5_000 {
                        if let Err(e) = rows.service(&ServiceRow::default()) {
                            failure = Some(e);
                            break;
                        }
                    }
                    failure = failure.or(rows.close().err());
                }
            }
            let text = failure.expect("the disk is full").to_string();
            assert!(text.starts_with("cannot write result/") && text.contains("storage"), "{size}: {text}");
            let e = write_with(Path::new("result/plan.toml"), &[0; 200_000], &open).expect_err("full");
            assert!(e.to_string().contains("plan.toml"), "{e}");
        }
    }
}
