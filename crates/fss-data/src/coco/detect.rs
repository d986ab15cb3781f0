//! Finds the folders of a COCO-20i tree.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{CLASS_NAMES, CLASSES_FILE, CocoRoot, Layout, Part, json};
use crate::{DataError, Split};

/// The releases, the one that the benchmark is defined on first.
const YEARS: [&str; 2] = ["2014", "2017"];

/// Where the folders may lie below the root.
const BASES: [&str; 3] = ["", "COCO2014", "COCO2017"];

/// The names of SSP's pair of roots.
const PAIR: [(Split, &str); 2] = [(Split::Train, "train_coco"), (Split::Val, "val_coco")];

pub(super) fn detect(root: &Path) -> Result<CocoRoot, DataError> {
    if !root.is_dir() {
        return Err(DataError::invalid(
            root,
            if root.exists() { "this is not a folder" } else { "there is no such folder" },
            REMEDY,
        ));
    }
    let found = in_pair(root)
        .or_else(|| one_place(Layout::Voc, root, in_voc_folders))
        .or_else(|| best(Layout::Hsnet, root, in_masks))
        .or_else(|| best(Layout::Json, root, in_json));
    if let Some(Found { layout, parts: [train, val] }) = found {
        let class_names = class_names(root, [&val, &train])?;
        let found = CocoRoot { root: root.to_path_buf(), layout, train, val, class_names };
        tracing::debug!(root = %root.display(), "{}", found.summary());
        return Ok(found);
    }
    Err(DataError::invalid(
        root,
        "this is not a COCO tree: there is neither JPEGImages with SegmentationClass and \
         ImageSets/{train,val}.txt (here, or in train_coco and val_coco); nor \
         annotations/{train,val}2014 with masks beside {train,val}2014 (here, in COCO2014 or in COCO2017); nor \
         annotations/instances_{train,val}{2014,2017}.json beside {train,val}{2014,2017} or \
         images/{train,val}{2014,2017} (here, in COCO2014 or in COCO2017)",
        REMEDY,
    ))
}

const REMEDY: &str = "give the folder that holds COCO2014, or annotations and the image folders, or \
                      JPEGImages; `fss data prepare coco` makes such a tree from the archives";

/// `root/name`, without a trailing slash for an empty name.
fn below(root: &Path, name: &str) -> PathBuf {
    if name.is_empty() { root.to_path_buf() } else { root.join(name) }
}

/// What was found of both splits in one place.
struct Found {
    layout: Layout,
    /// Training and validation; one of them at least.
    parts: [Option<Part>; 2],
}

fn one_place(
    layout: Layout,
    base: &Path,
    find: impl Fn(&Path, Split) -> Option<Part>,
) -> Option<Found> {
    let parts = Split::TRAIN_VAL.map(|split| find(base, split));
    parts.iter().any(Option::is_some).then_some(Found { layout, parts })
}

/// Of all bases and releases the first with both splits, else the first with one: the splits of
/// different releases share images.
fn best(
    layout: Layout,
    root: &Path,
    find: impl Fn(&Path, Split, &str) -> Option<Part>,
) -> Option<Found> {
    let mut incomplete = None;
    for year in YEARS {
        for base in BASES {
            let base = below(root, base);
            let found = one_place(layout, &base, |base, split| find(base, split, year));
            match found {
                Some(found) if found.parts.iter().all(Option::is_some) => return Some(found),
                Some(found) => incomplete = incomplete.or(Some(found)),
                None => {}
            }
        }
    }
    incomplete
}

/// SSP's two roots: below the given folder, or that folder itself and the one beside it.
fn in_pair(root: &Path) -> Option<Found> {
    let one_of_them = PAIR.iter().any(|(_, name)| root.file_name() == Some(OsStr::new(name)));
    let folder = |name: &str| match one_of_them {
        true => root.with_file_name(name),
        false => root.join(name),
    };
    let parts = PAIR.map(|(split, name)| in_voc_folders(&folder(name), split));
    parts.iter().any(Option::is_some).then_some(Found { layout: Layout::Voc, parts })
}

fn in_voc_folders(root: &Path, split: Split) -> Option<Part> {
    let (images, masks) = (root.join("JPEGImages"), root.join("SegmentationClass"));
    let list = root.join(format!("ImageSets/{split}.txt"));
    (images.is_dir() && masks.is_dir() && list.is_file()).then_some(Part::Listed {
        images,
        masks,
        list,
    })
}

fn in_masks(base: &Path, split: Split, year: &str) -> Option<Part> {
    let name = format!("{split}{year}");
    let masks = base.join("annotations").join(&name);
    let list = base.join(format!("ImageSets/{split}.txt"));
    let images = images_of(base, &name)?;
    if !masks.is_dir() {
        return None;
    }
    Some(match list.is_file() {
        true => Part::Listed { images, masks, list },
        false => Part::Masked { images, masks },
    })
}

fn in_json(base: &Path, split: Split, year: &str) -> Option<Part> {
    let name = format!("{split}{year}");
    let file = base.join(format!("annotations/instances_{name}.json"));
    let images = images_of(base, &name)?;
    file.is_file().then_some(Part::Annotated { images, file })
}

fn images_of(base: &Path, name: &str) -> Option<PathBuf> {
    [base.join(name), base.join("images").join(name)].into_iter().find(|folder| folder.is_dir())
}

/// The names of the classes: of the annotation file, of [`CLASSES_FILE`], or the official ones.
fn class_names(root: &Path, parts: [&Option<Part>; 2]) -> Result<Vec<String>, DataError> {
    for part in parts.into_iter().flatten() {
        if let Part::Annotated { file, .. } = part {
            return json::class_names(file);
        }
    }
    let places = BASES.map(|base| root.join(base).join(CLASSES_FILE));
    let Some(file) = places.into_iter().find(|file| file.is_file()) else {
        return Ok(CLASS_NAMES.map(str::to_owned).to_vec());
    };
    let text =
        std::fs::read_to_string(&file).map_err(|error| DataError::io("read", &file, error))?;
    let names: Vec<String> = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() || names.len() > 254 {
        return Err(DataError::invalid(
            &file,
            format!("it names {} classes", names.len()),
            "name 1 to 254 classes, one a line in the order of their labels",
        ));
    }
    Ok(names)
}

/// The names without extension of the masks in a folder, sorted.
pub(super) fn mask_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let failed = |error| DataError::io("read", folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && let Some(stem) = name.strip_suffix(".png")
        {
            names.push(stem.to_owned());
        }
    }
    if names.is_empty() {
        return Err(DataError::invalid(
            folder,
            "the folder holds no mask (.png)",
            "unpack the masks here; `fss data prepare coco` draws them from the annotation files",
        ));
    }
    names.sort_unstable();
    Ok(names)
}
