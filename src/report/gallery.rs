//! The folder of charts: drawn aside first, so that an interruption leaves what was there.

use std::fs;
use std::path::{Path, PathBuf};

use super::charts::CHARTS_FOLDER;
use super::pen::{Drawing, write_drawing};
use crate::output::OutputError;

/// Charts on their way into a folder.
pub(super) struct Gallery {
    target: PathBuf,
    aside: tempfile::TempDir,
    names: Vec<String>,
}

impl Gallery {
    /// For the folder `charts` of a result folder.
    pub(super) fn within(folder: &Path) -> Result<Self, OutputError> {
        let target = folder.join(CHARTS_FOLDER);
        fs::create_dir_all(&target).map_err(|e| OutputError::io("create", &target, e))?;
        let aside = tempfile::Builder::new()
            .prefix(".charts-")
            .tempdir_in(folder)
            .map_err(|e| OutputError::io("create a folder in", folder, e))?;
        Ok(Self { target, aside, names: Vec::new() })
    }

    /// Draws one.
    pub(super) fn draw(&mut self, name: &str, drawing: &impl Drawing) -> Result<(), OutputError> {
        write_drawing(self.aside.path(), name, drawing)?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Puts all of them into place and says their names.
    pub(super) fn hang(self) -> Result<Vec<String>, OutputError> {
        for name in &self.names {
            for extension in ["svg", "png"] {
                let file = format!("{name}.{extension}");
                let to = self.target.join(&file);
                fs::rename(self.aside.path().join(&file), &to).map_err(|e| OutputError::io("write", &to, e))?;
            }
        }
        Ok(self.names)
    }
}
