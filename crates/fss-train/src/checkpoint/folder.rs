//! The checkpoints of one run.

use std::path::{Path, PathBuf};

use super::{Checkpoint, Position};
use crate::TrainError;

const PREFIX: &str = "iteration-";
const SUFFIX: &str = ".checkpoint.safetensors";

/// A folder with the latest checkpoints of a run, `iteration-<number>.checkpoint.safetensors`.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointFolder {
    /// The checkpoints in `folder`, of which the last `keep` stay.
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self { folder: folder.into(), keep: keep.max(1) }
    }

    /// The file of an iteration.
    pub fn path(&self, iteration: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{iteration:08}{SUFFIX}"))
    }

    /// The files that are there with their iterations, earliest first.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the folder cannot be read; a missing one is empty.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(TrainError::io("read folder", &self.folder, e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| TrainError::io("read folder", &self.folder, e))?.path();
            if let Some(iteration) = iteration_of(&path) {
                found.push((iteration, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The latest checkpoint's file, if there is any.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn latest(&self) -> Result<Option<PathBuf>, TrainError> {
        Ok(self.list()?.pop().map(|(_, path)| path))
    }

    /// Writes a checkpoint and removes those that are too old, in this order.
    ///
    /// # Errors
    /// As [`Checkpoint::save`]; [`TrainError::Io`] if an old file cannot be removed.
    pub fn save<P: Position>(&self, checkpoint: &Checkpoint<P>) -> Result<PathBuf, TrainError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|e| TrainError::io("create folder", &self.folder, e))?;
        let path = self.path(checkpoint.progress.iteration());
        checkpoint.save(&path)?;
        let all = self.list()?;
        for (_, old) in &all[..all.len().saturating_sub(self.keep)] {
            std::fs::remove_file(old).map_err(|e| TrainError::io("remove checkpoint", old, e))?;
        }
        Ok(path)
    }

    /// Removes the checkpoints of later iterations than `iteration`: those of a run that is now
    /// continued from an earlier point.
    ///
    /// # Errors
    /// [`TrainError::Io`] if a file cannot be removed.
    pub fn remove_after(&self, iteration: u64) -> Result<(), TrainError> {
        for (number, path) in self.list()? {
            if number > iteration {
                std::fs::remove_file(&path)
                    .map_err(|e| TrainError::io("remove checkpoint", &path, e))?;
            }
        }
        Ok(())
    }
}

fn iteration_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_found_among_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointFolder::new(folder.path(), 2);
        assert_eq!(checkpoints.latest().unwrap(), None);
        for name in ["log.jsonl", "iteration-x.checkpoint.safetensors", ".iteration-00000009.part"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        for iteration in [3, 100_000_000, 20] {
            std::fs::write(checkpoints.path(iteration), "").unwrap();
        }
        assert_eq!(checkpoints.latest().unwrap(), Some(checkpoints.path(100_000_000)));
        checkpoints.remove_after(3).unwrap();
        assert_eq!(checkpoints.list().unwrap(), [(3, checkpoints.path(3))]);
    }

    #[test]
    fn a_missing_folder_is_empty() {
        assert!(CheckpointFolder::new("/nowhere/at/all", 1).list().unwrap().is_empty());
    }
}
