//! COCO annotation files of one's own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::entry::{Entry, Shows, Skips};
use super::table::below;
use super::{OwnOptions, listing};
use crate::DataError;
use crate::annotations::{CocoFile, Crowds};

/// A file with the names of its categories.
#[derive(Debug)]
pub(super) struct CocoSet {
    pub(super) file: CocoFile,
    names: HashMap<i64, String>,
    crowds: Crowds,
}

impl CocoSet {
    /// The name of a category.
    pub(super) fn name(&self, category: i64) -> Option<&str> {
        self.names.get(&category).map(String::as_str)
    }

    /// The names of the categories that an image shows.
    pub(super) fn classes(&self, image: usize) -> BTreeSet<&str> {
        let annotations = self.file.annotations(image).iter();
        annotations
            .filter(|annotation| !annotation.iscrowd || self.crowds == Crowds::Paint)
            .filter_map(|annotation| self.name(annotation.category_id))
            .collect()
    }
}

/// The entries of a COCO file: one for each image, in file order.
pub(super) fn read(
    path: &Path,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    let (file, skipped) = CocoFile::read(path, skips.bad())?;
    // Without one of its objects, an image would teach that the object is background.
    let incomplete: HashSet<i64> = skipped.iter().filter_map(|skipped| skipped.image_id).collect();
    skips.list.extend(skipped);
    let mut names: HashMap<i64, String> = HashMap::with_capacity(file.categories.len());
    for category in &file.categories {
        let name = category.name.trim();
        if name.is_empty() {
            skips.note(DataError::invalid(
                path,
                format!("category {} has no name", category.id),
                "give it one",
            ))?;
            continue;
        }
        names.insert(category.id, name.to_owned());
    }

    let folder = image_folder(path, &file, options)?;
    let files: Vec<PathBuf> =
        file.images.iter().map(|image| below(&folder, &image.file_name)).collect();
    let there: Vec<bool> = files.par_iter().map(|file| file.is_file()).collect();
    let set = Arc::new(CocoSet { file, names, crowds: options.crowds });
    let mut entries = Vec::with_capacity(files.len());
    let mut ids: HashSet<&str> = HashSet::with_capacity(files.len());
    for (place, image_file) in files.into_iter().enumerate() {
        let image = &set.file.images[place];
        if incomplete.contains(&image.id) {
            continue;
        }
        let refuse = |problem: String, remedy: &str| {
            let problem = format!("image {}: {problem}", image.id);
            DataError::invalid(path, problem, remedy)
        };
        if !there[place] {
            skips.note(refuse(
                format!("there is no file {}", image_file.display()),
                "add the file, or name the folder that file names start from",
            ))?;
            continue;
        }
        if !ids.insert(&image.file_name) {
            skips.note(refuse(
                format!("{} is the file of an earlier image, too", image.file_name),
                "list every image once",
            ))?;
            continue;
        }
        entries.push(Entry {
            id: image.file_name.replace('\\', "/"),
            image: image_file,
            shows: Shows::Coco { set: Arc::clone(&set), image: place },
            split: None,
        });
    }
    Ok(entries)
}

/// The folder that the image names start from: the one that was named, else the first in which the
/// first images lie.
fn image_folder(path: &Path, file: &CocoFile, options: &OwnOptions) -> Result<PathBuf, DataError> {
    const TRIES: usize = 8;
    let places = match &options.images {
        Some(folder) => vec![folder.clone()],
        None => candidates(path),
    };
    let holds = |folder: &PathBuf| {
        file.images.iter().take(TRIES).any(|image| below(folder, &image.file_name).is_file())
    };
    places.iter().find(|folder| holds(folder)).cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        DataError::invalid(
            path,
            format!(
                "its images ({}, ..) are not found in {}",
                file.images.first().map_or("", |image| &image.file_name),
                places.join(", ")
            ),
            "name the folder that the file names start from (images)",
        )
    })
}

/// Where images of an annotation file use to lie: beside it, in `images`, in a folder named after
/// the split; and the same from the folder above.
fn candidates(path: &Path) -> Vec<PathBuf> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // `instances_train2017` goes with `train2017`.
    let split = stem.rsplit('_').next().unwrap_or(&stem).to_owned();
    let above = if listing::name_of(&folder) == "annotations" {
        Some(folder.join(".."))
    } else {
        folder.parent().filter(|above| !above.as_os_str().is_empty()).map(Path::to_path_buf)
    };
    let around = |base: &Path| {
        [
            base.to_path_buf(),
            base.join("images"),
            base.join(&split),
            base.join("images").join(&split),
        ]
    };
    around(&folder).into_iter().chain(above.iter().flat_map(|above| around(above))).collect()
}

#[cfg(test)]
mod tests;
