//! A folder for each class, with images and masks of one name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, MaskFile, Shows, Skips};
use super::{OwnOptions, listing};
use crate::DataError;

/// The folder of the images of a class.
pub(super) const IMAGES: &str = "images";
/// The folder of the masks of a class.
pub(super) const MASKS: &str = "masks";

/// Endings of mask files: formats that keep every value.
const MASK_ENDINGS: [&str; 5] = ["png", "bmp", "tif", "tiff", "gif"];

/// Whether a folder is one of a class: it has images or masks.
pub(super) fn is_class(folder: &Path) -> bool {
    folder.join(IMAGES).is_dir() || folder.join(MASKS).is_dir()
}

/// The entries of all class folders in `root`, or of `root` itself if it is one; by class, then by
/// name.
pub(super) fn read(
    root: &Path,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    if is_class(root) {
        return read_class(root, options, skips);
    }
    let mut entries = Vec::new();
    for folder in listing::folders(root)?.into_iter().filter(|folder| is_class(folder)) {
        entries.extend(read_class(&folder, options, skips)?);
    }
    Ok(entries)
}

fn read_class(
    folder: &Path,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    let class: Arc<str> = listing::name_of(folder).into();
    for (name, other) in [(IMAGES, MASKS), (MASKS, IMAGES)] {
        if !folder.join(name).is_dir() {
            let problem = format!("this class folder has {other}, but no folder {name:?}");
            let remedy = format!("give every class the folders {IMAGES:?} and {MASKS:?}");
            skips.note(DataError::invalid(folder, problem, remedy))?;
            return Ok(Vec::new());
        }
    }
    let images = by_stem(&folder.join(IMAGES), &listing::IMAGE_ENDINGS, skips)?;
    let mut masks = by_stem(&folder.join(MASKS), &MASK_ENDINGS, skips)?;
    if images.is_empty() {
        let remedy = format!("put images into it ({})", listing::IMAGE_ENDINGS.join(", "));
        skips.note(DataError::invalid(&folder.join(IMAGES), "there is no image in it", remedy))?;
    }
    let mut entries = Vec::with_capacity(images.len());
    for (stem, image) in images {
        let Some(mask) = masks.remove(&stem) else {
            skips.note(DataError::invalid(
                &image,
                format!("there is no mask {stem}.png in {}", folder.join(MASKS).display()),
                "add the mask (same name as the image) or take the image away",
            ))?;
            continue;
        };
        let files = vec![MaskFile { path: mask, value: options.mask_value }];
        let shows = Shows::Marks { class: Arc::clone(&class), files };
        entries.push(Entry { id: format!("{class}/{stem}"), image, shows, split: None });
    }
    if let Some((stem, mask)) = masks.first_key_value() {
        let folder = folder.join(IMAGES);
        skips.note(DataError::invalid(
            mask,
            match masks.len() {
                1 => format!("there is no image {stem:?} in {}", folder.display()),
                n => format!(
                    "there is no image {stem:?} in {}, nor for {} other masks",
                    folder.display(),
                    n - 1
                ),
            },
            "add the image (same name as the mask) or take the mask away",
        ))?;
    }
    Ok(entries)
}

/// The files with one of these endings by their name without it.
fn by_stem(
    folder: &Path,
    endings: &[&str],
    skips: &mut Skips,
) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let mut files = BTreeMap::new();
    for path in listing::files(folder, endings)? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = files.get(&stem) {
            let other: &PathBuf = other;
            skips.note(DataError::invalid(
                &path,
                format!("{} has the same name but for its ending", listing::name_of(other)),
                "rename one of them: image and mask are matched by name",
            ))?;
            continue;
        }
        files.insert(stem, path);
    }
    Ok(files)
}
