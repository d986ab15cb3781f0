//! Listings of the benchmarks, from files or built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::build::{coco_lists, only, pascal_pairs};
use super::find::{find, fold_file};
use super::names::{self, Naming};
use super::pickle::read_coco_pickle;
use super::split_name;
use super::text::{bounded, read_categories, read_coco_text};
use super::{ClassLists, ListOrigin, ListSource, Standing, list_number, published};
use crate::benchmark::Benchmark;
use crate::folds::FOLDS;
use crate::pascal::{HsnetEntry, PascalRoot, read_hsnet_list, read_id_list};
use crate::sampler::HsnetListing;
use crate::{ClassId, DataError, MaskIndex, SegmentationDataset, Split};

/// Classes in a fold file of PASCAL-5i.
const PASCAL_PER_FOLD: u8 = 5;

/// The fold file that lists a class.
pub(super) fn pascal_file_of(class: ClassId) -> usize {
    list_number(class) / usize::from(PASCAL_PER_FOLD)
}

pub(super) fn pascal(
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    classes: &[ClassId],
    split: Split,
    source: Option<&Path>,
    min_pixels: u64,
) -> Result<(HsnetListing, ListOrigin), DataError> {
    let wanted: BTreeSet<usize> = classes.iter().map(|&class| pascal_file_of(class)).collect();
    let (source, lists) = match source {
        Some(folder) => {
            let folder = find(Benchmark::Pascal, folder)?;
            let files: Vec<PathBuf> =
                wanted.iter().map(|&fold| folder.join(fold_file(split, fold, "txt"))).collect();
            let lists = std::iter::zip(&wanted, &files)
                .map(|(&fold, file)| Ok((fold, pascal_file(file, fold)?)))
                .collect::<Result<Vec<_>, DataError>>()?;
            if let Some(first) = files.first()
                && lists.iter().all(|(_, entries)| entries.is_empty())
            {
                return Err(empty(first));
            }
            (ListSource::Files(files), lists)
        }
        None => {
            let pairs = pascal_pairs(dataset, index, split, min_pixels);
            let of_fold = |fold: usize| {
                let mine = |pair: &&HsnetEntry| pascal_file_of(pair.class.into()) == fold;
                (fold, pairs.iter().filter(mine).cloned().collect())
            };
            let rule = format!(
                "lists built from {} (classes of {} pixels or more)",
                dataset.name, min_pixels
            );
            (ListSource::Built(rule), wanted.into_iter().map(of_fold).collect())
        }
    };
    let standing = Standing::of_all(
        lists.iter().map(|(fold, entries)| published::pascal(split, *fold, entries)),
    );
    let entries: Vec<HsnetEntry> = lists
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .filter(|entry| classes.contains(&entry.class.into()))
        .collect();
    Ok((HsnetListing::from_entries(&entries)?, ListOrigin { source, standing }))
}

fn empty(path: &Path) -> DataError {
    DataError::invalid(
        path,
        "the list is empty, and so are those of the other classes",
        "fetch the published lists again, or leave them out and they are built from the masks",
    )
}

/// The list of a fold, with none but the classes of that fold. Of a small data set it may be empty.
fn pascal_file(path: &Path, fold: usize) -> Result<Vec<HsnetEntry>, DataError> {
    if bounded(path)?.is_empty() {
        return Ok(Vec::new());
    }
    let entries = read_hsnet_list(path)?;
    match entries.iter().find(|entry| pascal_file_of(entry.class.into()) != fold) {
        None => Ok(entries),
        Some(entry) => Err(DataError::invalid(
            path,
            format!("{} names class {}, which is not one of fold {fold}", entry.id, entry.class),
            "give the published list of this fold",
        )),
    }
}

/// The images of a split of PASCAL-5i as the lists in `splits` name them: those of a `train.txt` or
/// `val.txt`, else all of the four fold lists, ascending.
pub(crate) fn pascal_dataset(
    root: &PascalRoot,
    split: Split,
    splits: &Path,
) -> Result<SegmentationDataset, DataError> {
    let list = ["", "ImageSets", "ImageSets/Segmentation"]
        .map(|folder| splits.join(folder).join(format!("{split}.txt")))
        .into_iter()
        .find(|file| file.is_file());
    if let Some(list) = list {
        return Ok(root.dataset_of(&format!("pascal {split}"), read_id_list(&list)?));
    }
    let folder = find(Benchmark::Pascal, splits)?;
    let mut ids = BTreeSet::new();
    for fold in 0..FOLDS {
        let entries = pascal_file(&folder.join(fold_file(split, fold, "txt")), fold)?;
        ids.extend(entries.into_iter().map(|entry| entry.id));
    }
    if ids.is_empty() {
        return Err(empty(&folder));
    }
    let name = format!("pascal {split} (fold lists)");
    Ok(root.dataset_of(&name, ids.into_iter().collect()))
}

pub(super) fn coco(
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    classes: &[ClassId],
    split: Split,
    source: Option<&Path>,
) -> Result<(HsnetListing, ListOrigin), DataError> {
    let groups: BTreeSet<usize> = classes.iter().map(|&class| list_number(class) % FOLDS).collect();
    let (source, lists) = match source {
        Some(folder) => {
            let (files, lists) = coco_files(folder, split, &groups)?;
            check_complete(&files, &lists, classes)?;
            (ListSource::Files(files), lists)
        }
        None => {
            let rule = format!("lists built from {} (in the order of image numbers)", dataset.name);
            (ListSource::Built(rule), coco_lists(dataset, index))
        }
    };
    let standing =
        Standing::of_all(groups.into_iter().map(|group| published::coco(split, group, &lists)));
    let lists = only(&lists, classes);
    let listing = HsnetListing::coco(
        lists.iter().map(|(class, list)| (*class, list.iter().map(String::as_str))),
    )?;
    Ok((listing, ListOrigin { source, standing }))
}

/// Reads the files that hold the classes c with c mod 4 in `groups`.
fn coco_files(
    source: &Path,
    split: Split,
    groups: &BTreeSet<usize>,
) -> Result<(Vec<PathBuf>, ClassLists), DataError> {
    let folder = find(Benchmark::Coco, source)?;
    let whole = folder.join(format!("{}.txt", split_name(split)));
    if whole.is_file() {
        let lists = read_coco_text(&whole)?;
        return Ok((vec![whole], lists));
    }
    let folds: Vec<usize> = match split {
        // The training list of a fold lacks that fold's own classes.
        Split::Train => match (0..FOLDS).find(|fold| !groups.contains(fold)) {
            Some(fold) => vec![fold],
            None => vec![0, 1],
        },
        Split::Val | Split::Test => groups.iter().copied().collect(),
    };
    let mut files = Vec::new();
    let mut all = ClassLists::new();
    for fold in folds {
        let [pickle, text] =
            ["pkl", "txt"].map(|extension| folder.join(fold_file(split, fold, extension)));
        let (file, lists) = if !pickle.is_file() && text.is_file() {
            let lists = read_coco_text(&text)?;
            (text, lists)
        } else {
            let lists = read_coco_pickle(&pickle)?;
            (pickle, lists)
        };
        for (class, names) in lists {
            if names.is_empty() {
                continue;
            }
            match all.get(&class) {
                Some(known) if *known != names => {
                    return Err(DataError::invalid(
                        &file,
                        format!("class {class} has other images than in the list of another fold"),
                        "give the lists of one release",
                    ));
                }
                Some(_) => {}
                None => {
                    all.insert(class, names);
                }
            }
        }
        files.push(file);
    }
    Ok((files, all))
}

fn check_complete(
    files: &[PathBuf],
    lists: &ClassLists,
    classes: &[ClassId],
) -> Result<(), DataError> {
    let lacks = |class: &&ClassId| lists.get(&list_number(**class)).is_none_or(Vec::is_empty);
    match (classes.iter().find(lacks), files.first()) {
        (Some(&class), Some(file)) => Err(DataError::invalid(
            file,
            format!("there is no image of class {} (counted from 0)", list_number(class)),
            "give lists of the same classes as the data set, or leave the lists out and they are \
             built from the annotations",
        )),
        _ => Ok(()),
    }
}

pub(super) fn fss(
    dataset: &SegmentationDataset,
    split: Split,
) -> Result<(HsnetListing, ListOrigin), DataError> {
    let crate::Masks::Binary { classes, .. } = &dataset.masks else {
        return Err(DataError::Setting {
            what: format!("{} has no binary masks", dataset.name),
            remedy: "open it as FSS-1000".into(),
        });
    };
    let category = |position: usize| dataset.ids[position].rsplit_once('/').map(|(name, _)| name);
    // Images of a category follow each other.
    let mut categories: Vec<&str> = (0..dataset.len()).filter_map(category).collect();
    categories.dedup();
    let first = classes.first().copied().map_or(0, list_number);
    let listing = HsnetListing::fss(categories.iter().copied(), first)?;
    let standing = published::fss(split, &categories);
    let rule = format!("{} categories of {}", categories.len(), dataset.name);
    // Every image of the protocol must be there: say which is not before names are looked up.
    names::positions(dataset, listing.images(), Naming::Ids).map_err(|error| match error {
        DataError::Invalid { path, problem, .. } => DataError::Invalid {
            path,
            problem: format!("the protocol wants images 1 to 10 of every category: {problem}"),
            remedy: "complete the categories, or take them off the lists".into(),
        },
        other => other,
    })?;
    Ok((listing, ListOrigin { source: ListSource::Built(rule), standing }))
}

/// The images of each class in the order of the data set. Class and query are drawn, as in COCO-20i:
/// an image may show several classes.
pub(super) fn own(
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    classes: &[ClassId],
) -> Result<(HsnetListing, ListOrigin), DataError> {
    let images = index.listing(dataset);
    let lists = classes.iter().map(|class| {
        let shows = images.iter().filter(|image| image.pixels.get(class).is_some_and(|&n| n > 0));
        let ids: Vec<&str> = shows.map(|image| image.id.as_str()).collect();
        (list_number(*class), ids)
    });
    // Lists of all classes, where the split has images of some alone.
    let listing = HsnetListing::coco(lists.filter(|(_, ids)| !ids.is_empty()))?;
    let rule = format!("lists built from {} (in its own order)", dataset.name);
    let source = ListSource::Built(rule);
    Ok((listing, ListOrigin { source, standing: Standing::Unpublished }))
}

/// The categories of FSS-1000: training, validation, testing.
pub(crate) fn read_fss_lists(folder: &Path) -> Result<[Vec<String>; 3], DataError> {
    let read = |split: Split| read_categories(&folder.join(format!("{}.txt", split_name(split))));
    Ok([read(Split::Train)?, read(Split::Val)?, read(Split::Test)?])
}
