//! Where list files lie.

use std::path::{Path, PathBuf};

use super::split_name;
use crate::benchmark::Benchmark;
use crate::folds::FOLDS;
use crate::{DataError, Split};

/// The folder of a benchmark's lists: `source` itself, `<source>/<name>` or
/// `<source>/splits/<name>`, where the name is `pascal`, `coco` or `fss`.
///
/// # Errors
/// [`DataError::Invalid`] that says what was looked for.
pub fn find(benchmark: Benchmark, source: &Path) -> Result<PathBuf, DataError> {
    let Some((name, files)) = files_of(benchmark) else { return Err(no_lists()) };
    // The named folders first: `source` may be a folder with lists of another benchmark beside them.
    let places = [source.join("splits").join(name), source.join(name), source.to_path_buf()];
    let holds = |place: &&PathBuf| files.iter().any(|file| place.join(file).is_file());
    places.iter().find(holds).cloned().ok_or_else(|| {
        DataError::invalid(
            source,
            format!(
                "there are no lists of {}: none of {} lies here, in {name}/ or in splits/{name}/",
                benchmark.title(),
                summary(benchmark)
            ),
            "give the folder `splits` of the published HSNet code, or leave this option out and \
             lists are built from the annotations",
        )
    })
}

/// The folder of a benchmark's lists in the tree of the data set: `<root>/splits/<name>`.
pub(crate) fn in_tree(benchmark: Benchmark, root: &Path) -> Option<PathBuf> {
    let (name, files) = files_of(benchmark)?;
    let folder = root.join("splits").join(name);
    files.iter().any(|file| folder.join(file).is_file()).then_some(folder)
}

/// The name of a benchmark's folder, and the files that it may hold.
fn files_of(benchmark: Benchmark) -> Option<(&'static str, Vec<String>)> {
    match benchmark {
        Benchmark::Pascal => Some(("pascal", pascal_files())),
        Benchmark::Coco => Some(("coco", coco_files())),
        Benchmark::Fss1000 => Some(("fss", fss_files())),
        Benchmark::Own => None,
    }
}

/// Own data is listed by its annotations.
pub(super) fn no_lists() -> DataError {
    DataError::Setting {
        what: "own data has no list files".into(),
        remedy: "leave the lists out: they are built from the annotations".into(),
    }
}

fn summary(benchmark: Benchmark) -> &'static str {
    match benchmark {
        Benchmark::Pascal => "{trn,val}/fold{0..3}.txt",
        Benchmark::Coco => "{trn,val}/fold{0..3}.pkl (or .txt) and {trn,val}.txt",
        Benchmark::Fss1000 => "{trn,val,test}.txt",
        Benchmark::Own => "no list",
    }
}

fn pascal_files() -> Vec<String> {
    Split::TRAIN_VAL.into_iter().flat_map(|split| of_folds(split, "txt")).collect()
}

fn coco_files() -> Vec<String> {
    Split::TRAIN_VAL
        .into_iter()
        .flat_map(|split| {
            let mut files = of_folds(split, "pkl");
            files.extend(of_folds(split, "txt"));
            files.push(format!("{}.txt", split_name(split)));
            files
        })
        .collect()
}

fn fss_files() -> Vec<String> {
    Split::ALL.map(|split| format!("{}.txt", split_name(split))).to_vec()
}

fn of_folds(split: Split, extension: &str) -> Vec<String> {
    (0..FOLDS).map(|fold| fold_file(split, fold, extension)).collect()
}

/// As `val/fold2.txt`.
pub(super) fn fold_file(split: Split, fold: usize, extension: &str) -> String {
    format!("{}/fold{fold}.{extension}", split_name(split))
}

/// The folder of FSS-1000's lists.
pub(crate) fn fss_folder(source: &Path) -> Result<PathBuf, DataError> {
    find(Benchmark::Fss1000, source)
}
