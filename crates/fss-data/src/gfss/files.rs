//! Lists as files in the official format: one id a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::dataset::SegmentationDataset;
use crate::io::write_atomic;
use crate::{ClassId, DataError};

/// The folder of a fold's lists beside the training list: `fold0`, or `fold0_filter` for lists
/// without novel classes.
pub fn fold_folder(fold: usize, filter_novel: bool) -> String {
    format!("fold{fold}{}", if filter_novel { "_filter" } else { "" })
}

/// The list of stage 1.
pub fn train_file(fold: usize) -> String {
    format!("train_fold{fold}.txt")
}

/// The images of a novel class.
pub fn novel_class_file(class: ClassId) -> String {
    format!("train_novel_class{class}.txt")
}

/// The images of a base class.
pub fn base_class_file(class: ClassId) -> String {
    format!("train_base_class{class}.txt")
}

/// The few-shot list of a seed.
pub fn few_shot_file(fold: usize, shot: usize, seed: u64) -> String {
    format!("fold{fold}_{shot}shot_seed{seed}.txt")
}

/// Writes a list of images of a data set, whole or not at all.
///
/// # Errors
/// [`DataError::Io`] naming the file.
pub fn write_list(
    folder: &Path,
    name: &str,
    dataset: &SegmentationDataset,
    images: &[usize],
) -> Result<PathBuf, DataError> {
    let path = folder.join(name);
    let text: String = images.iter().map(|image| format!("{}\n", dataset.ids[*image])).collect();
    write_atomic(&path, text.as_bytes())?;
    Ok(path)
}

/// Reads a list of images of a data set.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be read; [`DataError::Invalid`] naming file and line for an image
/// that the data set lacks, whose files are missing, or an empty list.
pub fn read_list(path: &Path, dataset: &SegmentationDataset) -> Result<Vec<usize>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::Io {
        action: "read the list",
        path: path.to_path_buf(),
        source,
    })?;
    let places: HashMap<&str, usize> = dataset.ids.iter().map(String::as_str).zip(0..).collect();
    let mut images = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let id = line.trim();
        if id.is_empty() {
            continue;
        }
        let place = *places.get(id).ok_or_else(|| {
            DataError::invalid(
                path,
                format!("line {}: {id:?} is not among the images of {}", number + 1, dataset.name),
                "the list belongs to another split or data set; make it again with `fss data lists`",
            )
        })?;
        for file in [dataset.image_path(place), dataset.mask_path(place)] {
            if !file.exists() {
                return Err(DataError::invalid(
                    path,
                    format!("line {}: {} is missing", number + 1, file.display()),
                    "complete the data set or take the line off the list",
                ));
            }
        }
        images.push(place);
    }
    if images.is_empty() {
        return Err(DataError::invalid(
            path,
            "the list is empty",
            "make it again with `fss data lists`",
        ));
    }
    Ok(images)
}
