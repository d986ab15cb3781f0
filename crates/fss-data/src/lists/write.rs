//! Writes lists in the forms that are read.

use std::path::{Path, PathBuf};

use super::build::{coco_lists, pascal_pairs};
use super::find::fold_file;
use super::read::pascal_file_of;
use super::text::write_coco_text;
use super::{Standing, published, split_name};
use crate::benchmark::Benchmark;
use crate::folds::FOLDS;
use crate::io::write_atomic;
use crate::pascal::HsnetEntry;
use crate::{DataError, MaskIndex, SegmentationDataset, Split};

/// A list that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenList {
    /// The file.
    pub path: PathBuf,
    /// Pairs of image and class, or categories.
    pub entries: usize,
    /// Whether it is the published list.
    pub standing: Standing,
}

/// Builds the lists of a split and writes them below `splits`: `pascal/{trn,val}/fold{0..3}.txt` as
/// published, `coco/{trn,val}.txt` in the text form, `fss/{trn,val,test}.txt`.
///
/// `min_pixels` is the size rule of [`pascal_pairs`]; other benchmarks have none.
///
/// # Errors
/// [`DataError`] naming the file when one cannot be written.
///
/// # Panics
/// When the index is not that of the dataset.
pub fn write(
    benchmark: Benchmark,
    splits: &Path,
    split: Split,
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    min_pixels: u64,
) -> Result<Vec<WrittenList>, DataError> {
    match benchmark {
        Benchmark::Pascal => {
            let pairs = pascal_pairs(dataset, index, split, min_pixels);
            (0..FOLDS)
                .map(|fold| write_pascal(&splits.join("pascal"), split, fold, &pairs))
                .collect()
        }
        Benchmark::Coco => {
            let lists = coco_lists(dataset, index);
            let path = splits.join("coco").join(format!("{}.txt", split_name(split)));
            create_folder_of(&path)?;
            write_coco_text(&path, &lists)?;
            let standing =
                Standing::of_all((0..FOLDS).map(|group| published::coco(split, group, &lists)));
            Ok(vec![WrittenList { path, entries: lists.values().map(Vec::len).sum(), standing }])
        }
        Benchmark::Fss1000 => {
            let mut categories: Vec<&str> = dataset
                .ids
                .iter()
                .filter_map(|id| id.rsplit_once('/').map(|(category, _)| category))
                .collect();
            categories.dedup();
            let path = splits.join("fss").join(format!("{}.txt", split_name(split)));
            create_folder_of(&path)?;
            let text: String = categories.iter().flat_map(|name| [name, "\n"]).collect();
            write_atomic(&path, text.as_bytes())?;
            let standing = published::fss(split, &categories);
            Ok(vec![WrittenList { path, entries: categories.len(), standing }])
        }
        Benchmark::Own => Err(super::find::no_lists()),
    }
}

fn write_pascal(
    folder: &Path,
    split: Split,
    fold: usize,
    pairs: &[HsnetEntry],
) -> Result<WrittenList, DataError> {
    let mine: Vec<HsnetEntry> =
        pairs.iter().filter(|pair| pascal_file_of(pair.class.into()) == fold).cloned().collect();
    let path = folder.join(fold_file(split, fold, "txt"));
    create_folder_of(&path)?;
    let text: String =
        mine.iter().map(|pair| format!("{}__{:02}\n", pair.id, pair.class)).collect();
    write_atomic(&path, text.as_bytes())?;
    let (standing, entries, _) = published::pascal(split, fold, &mine);
    Ok(WrittenList { path, entries, standing })
}

fn create_folder_of(path: &Path) -> Result<(), DataError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(|error| DataError::io("create", folder, error))
}
