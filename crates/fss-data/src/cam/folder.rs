//! Which file holds the coarse map of an image and a class.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::naming::image_name;
use super::{CamNote, read_cam, write_cam};
use crate::{Benchmark, ClassId, DataError, SegmentationDataset, Split};

/// The ending of the files of this library.
const OURS: &str = "safetensors";
/// The endings that are looked for, in this order.
const ENDINGS: [&str; 2] = [OURS, "pt"];

/// How many missing files an error names.
const SHOWN: usize = 3;

/// The folder of the coarse maps of a data set. See [the module](super) for the names of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CamFolder {
    folder: PathBuf,
    benchmark: Benchmark,
}

/// A coarse map that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCam {
    /// The image.
    pub position: usize,
    /// The class.
    pub class: ClassId,
    /// Where it would be written to.
    pub path: PathBuf,
}

impl CamFolder {
    /// The maps of `benchmark` in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>, benchmark: Benchmark) -> Self {
        Self { folder: folder.into(), benchmark }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What image `position` is called in the names of its maps, say `2007_000033`.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is no such image.
    pub fn image_name(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
    ) -> Result<String, DataError> {
        dataset.check_position(position)?;
        let name = image_name(self.benchmark, dataset, position);
        let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        Ok(parts.join("/"))
    }

    /// The file that the map of image `position` and `class` is written to:
    /// `<folder>/<image>--<class - 1>.safetensors`.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is no such image or class.
    pub fn path(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
    ) -> Result<PathBuf, DataError> {
        let [path, _] = self.paths(dataset, position, class)?;
        Ok(path)
    }

    /// The file that holds the map of image `position` and `class`, of this library or, if there is
    /// none, of the published code; `None` if there is neither. An empty file counts as none.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn find(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
    ) -> Result<Option<PathBuf>, DataError> {
        let there = |path: &PathBuf| path.metadata().is_ok_and(|it| it.is_file() && it.len() > 0);
        Ok(self.paths(dataset, position, class)?.into_iter().find(there))
    }

    /// Reads the map `[grid, grid]` of image `position` and `class`.
    ///
    /// # Errors
    /// As [`read_cam`]; a missing file is named with its image and class.
    pub fn read(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> Result<Array2<f32>, DataError> {
        match self.find(dataset, position, class)? {
            Some(path) => read_cam(&path, grid),
            None => {
                let path = self.path(dataset, position, class)?;
                Err(self.absence(dataset, &[MissingCam { position, class, path }]))
            }
        }
    }

    /// Writes the map of image `position` and `class`, with its folders; see [`write_cam`].
    ///
    /// # Errors
    /// As [`write_cam`] and [`path`](Self::path).
    pub fn write(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        map: &Array2<f32>,
        note: &CamNote,
    ) -> Result<(), DataError> {
        let path = self.path(dataset, position, class)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| DataError::io("create", parent, source))?;
        }
        write_cam(&path, map, note)
    }

    /// Which maps of these pairs of an image and a class are not there, each once, in the order of
    /// the pairs.
    ///
    /// # Errors
    /// As [`path`](Self::path).
    pub fn missing(
        &self,
        dataset: &SegmentationDataset,
        pairs: impl IntoIterator<Item = (usize, ClassId)>,
    ) -> Result<Vec<MissingCam>, DataError> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for (position, class) in pairs {
            if seen.insert((position, class)) && self.find(dataset, position, class)?.is_none() {
                let path = self.path(dataset, position, class)?;
                missing.push(MissingCam { position, class, path });
            }
        }
        Ok(missing)
    }

    /// Checks that the maps of these pairs of an image and a class are there, to be done before a
    /// run that needs them.
    ///
    /// # Errors
    /// [`DataError::Invalid`] naming the folder, how many are missing and which are the first, and
    /// the command that makes them; else as [`path`](Self::path).
    pub fn check(
        &self,
        dataset: &SegmentationDataset,
        pairs: impl IntoIterator<Item = (usize, ClassId)>,
    ) -> Result<(), DataError> {
        match self.missing(dataset, pairs)?.as_slice() {
            [] => Ok(()),
            missing => Err(self.absence(dataset, missing)),
        }
    }

    /// Says which maps are missing and how to make them.
    fn absence(&self, dataset: &SegmentationDataset, missing: &[MissingCam]) -> DataError {
        let names: Vec<String> = missing
            .iter()
            .take(SHOWN)
            .map(|it| {
                let path = it.path.strip_prefix(&self.folder).unwrap_or(&it.path);
                format!("{} ({})", path.display(), dataset.class_name(it.class))
            })
            .collect();
        let more = if missing.len() > SHOWN { ", .." } else { "" };
        let (maps, are) = if missing.len() == 1 { ("map", "is") } else { ("maps", "are") };
        DataError::invalid(
            &self.folder,
            format!(
                "{} coarse {maps} of {} {are} missing, as .{OURS} and as .pt: {}{more}",
                missing.len(),
                dataset.name,
                names.join(", ")
            ),
            format!(
                "make them with `fss cam --clip RN50.pt --dataset {} --data-root {} --out {}`, or \
                 name the folder that has them",
                self.benchmark,
                dataset.root.display(),
                self.folder.display()
            ),
        )
    }

    /// The files that may hold a map, the most wanted first.
    fn paths(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
    ) -> Result<[PathBuf; ENDINGS.len()], DataError> {
        dataset.check_position(position)?;
        let number = usize::from(class).checked_sub(1).filter(|&number| number < dataset.classes());
        let number = number.ok_or_else(|| DataError::Setting {
            what: format!("there is no class {class} in {}", dataset.name),
            remedy: format!("classes are numbered from 1 to {}", dataset.classes()),
        })?;
        let name = image_name(self.benchmark, dataset, position);
        Ok(ENDINGS.map(|ending| {
            // Not `with_extension`: the ending of the image is part of the name.
            let mut path = self.folder.join(&name).into_os_string();
            path.push(format!("--{number}.{ending}"));
            path.into()
        }))
    }
}

/// The coarse maps of training and of evaluation images: one folder, or two as the published code
/// has them for PASCAL-5i.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CamFolders {
    train: CamFolder,
    evaluation: CamFolder,
}

impl CamFolders {
    /// One folder for all images.
    pub fn one(folder: impl Into<PathBuf>, benchmark: Benchmark) -> Self {
        let train = CamFolder::new(folder, benchmark);
        Self { evaluation: train.clone(), train }
    }

    /// A folder for training images and one for validation and test images.
    pub fn two(
        train: impl Into<PathBuf>,
        evaluation: impl Into<PathBuf>,
        benchmark: Benchmark,
    ) -> Self {
        Self {
            train: CamFolder::new(train, benchmark),
            evaluation: CamFolder::new(evaluation, benchmark),
        }
    }

    /// The maps of the images of a split.
    pub fn of(&self, split: Split) -> &CamFolder {
        match split {
            Split::Train => &self.train,
            Split::Val | Split::Test => &self.evaluation,
        }
    }
}

#[cfg(test)]
mod tests;
