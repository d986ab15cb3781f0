//! Finds the folders of a PASCAL-5i tree.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Layout, PascalOptions, PascalRoot, read_id_list};
use crate::{DataError, Split};

const IMAGES: &str = "JPEGImages";
const MASKS: &str = "SegmentationClass";
const MASKS_AUG: &str = "SegmentationClassAug";

/// Where a layout has its folders, below the root.
const BASES: [(Layout, &str); 3] =
    [(Layout::Flat, ""), (Layout::Voc2012, "VOC2012"), (Layout::Voc2012, "VOCdevkit/VOC2012")];

pub(super) fn detect(root: &Path, options: &PascalOptions) -> Result<PascalRoot, DataError> {
    if !root.is_dir() {
        return Err(DataError::invalid(
            root,
            if root.exists() { "this is not a folder" } else { "there is no such folder" },
            "give the folder that holds JPEGImages or VOC2012",
        ));
    }
    let mut looked = Looked { root, misses: Vec::new() };
    let mut found = None;
    for (layout, base) in BASES {
        if options.layout.is_some_and(|wanted| wanted != layout) {
            continue;
        }
        let base = below(root, base);
        if let Some(folders) = look_below(&base, layout, options, &mut looked) {
            found = Some((layout, folders));
            break;
        }
    }
    let Some((layout, (images, masks))) = found else {
        return Err(looked.error());
    };
    let lists = find_lists(root, &images, options)?;
    let (masks, mask_choice) = choose(masks, lists.as_deref());
    tracing::info!(root = %root.display(), "{mask_choice}");
    Ok(PascalRoot { root: root.to_path_buf(), layout, images, masks, lists, mask_choice })
}

/// `root/name`, without a trailing slash for an empty name.
fn below(root: &Path, name: &str) -> PathBuf {
    if name.is_empty() { root.to_path_buf() } else { root.join(name) }
}

/// The folders that were looked for in vain.
struct Looked<'a> {
    root: &'a Path,
    misses: Vec<String>,
}

impl Looked<'_> {
    /// The first of the folders that exists, or a note of all.
    fn existing(&mut self, candidates: &[PathBuf]) -> Vec<PathBuf> {
        let existing: Vec<PathBuf> =
            candidates.iter().filter(|folder| folder.is_dir()).cloned().collect();
        if existing.is_empty() {
            let names: Vec<String> = candidates
                .iter()
                .map(|folder| {
                    folder.strip_prefix(self.root).unwrap_or(folder).display().to_string()
                })
                .collect();
            self.misses.push(names.join(" or "));
        }
        existing
    }

    fn error(self) -> DataError {
        DataError::invalid(
            self.root,
            format!(
                "this is not a PASCAL VOC tree: there is no folder {}",
                self.misses.join("; no ")
            ),
            "give the folder that holds JPEGImages and SegmentationClass (or \
             SegmentationClassAug), or the folder above VOC2012, or name the folders",
        )
    }
}

/// The image folder and the mask folders below `base`; the preferred mask folder comes first.
fn look_below(
    base: &Path,
    layout: Layout,
    options: &PascalOptions,
    looked: &mut Looked<'_>,
) -> Option<(PathBuf, Vec<PathBuf>)> {
    let given = |folder: &Option<PathBuf>| folder.as_ref().map(|path| looked.root.join(path));
    let images = given(&options.images).unwrap_or_else(|| base.join(IMAGES));
    let masks = match given(&options.masks) {
        Some(folder) => vec![folder],
        None => match layout {
            Layout::Flat => vec![base.join(MASKS), base.join(MASKS_AUG)],
            Layout::Voc2012 => vec![base.join(MASKS_AUG), base.join(MASKS)],
        },
    };
    let images = looked.existing(&[images]).pop()?;
    let masks = looked.existing(&masks);
    (!masks.is_empty()).then_some((images, masks))
}

/// The folder with the list files: given, or `ImageSets` or `ImageSets/Segmentation` beside the
/// images.
fn find_lists(
    root: &Path,
    images: &Path,
    options: &PascalOptions,
) -> Result<Option<PathBuf>, DataError> {
    let holds_lists = |folder: &PathBuf| {
        Split::TRAIN_VAL.iter().any(|split| folder.join(format!("{split}.txt")).is_file())
    };
    if let Some(given) = &options.lists {
        let folder = root.join(given);
        if holds_lists(&folder) {
            return Ok(Some(folder));
        }
        return Err(DataError::invalid(
            &folder,
            "there is neither train.txt nor val.txt",
            "give the folder that holds the list files",
        ));
    }
    let beside = images.parent().unwrap_or(root);
    let candidates = [beside, root].map(|base| {
        let sets = base.join("ImageSets");
        [sets.clone(), sets.join("Segmentation")]
    });
    Ok(candidates.into_iter().flatten().find(holds_lists))
}

/// The mask folder to use, and why.
fn choose(mut folders: Vec<PathBuf>, lists: Option<&Path>) -> (PathBuf, String) {
    let preferred = folders.remove(0);
    let Some(other) = folders.pop() else {
        let note = format!("masks are read from {}", preferred.display());
        return (preferred, note);
    };
    let listed = listed_ids(lists);
    if listed.is_empty() {
        let note =
            format!("masks are read from {}, the usual folder of this layout", preferred.display());
        return (preferred, note);
    }
    let count = |folder: &Path| {
        let present = png_stems(folder);
        listed.iter().filter(|id| present.contains(*id)).count()
    };
    let (in_preferred, in_other) = (count(&preferred), count(&other));
    let (chosen, left, why) = if in_other > in_preferred {
        (other, preferred, format!("it holds {in_other} of {} listed masks", listed.len()))
    } else {
        (preferred, other, format!("it holds {in_preferred} of {} listed masks", listed.len()))
    };
    let in_left = in_other.min(in_preferred);
    let note = format!(
        "masks are read from {}: {why}, {} holds {in_left}",
        chosen.display(),
        left.display()
    );
    (chosen, note)
}

fn listed_ids(lists: Option<&Path>) -> HashSet<String> {
    let Some(folder) = lists else { return HashSet::new() };
    Split::TRAIN_VAL
        .iter()
        // A list that cannot be read is reported when its split is opened.
        .filter_map(|split| read_id_list(&folder.join(format!("{split}.txt"))).ok())
        .flatten()
        .collect()
}

fn png_stems(folder: &Path) -> HashSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return HashSet::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".png").map(str::to_owned))
        .collect()
}
