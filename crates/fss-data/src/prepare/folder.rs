//! Finds the parts of archives below the folders that were given.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::DataError;

/// How far below the given folder is searched.
const DEPTH: usize = 4;

/// Checks that the given folders are there.
///
/// # Errors
/// [`DataError`] naming the one that is not.
pub(super) fn check_sources(from: &[PathBuf]) -> Result<(), DataError> {
    if from.is_empty() {
        return Err(DataError::Setting {
            what: "no folder is given to prepare from".into(),
            remedy: "name the folder in which the archives were unpacked".into(),
        });
    }
    match from.iter().find(|folder| !folder.is_dir()) {
        None => Ok(()),
        Some(folder) => Err(DataError::invalid(
            folder,
            if folder.exists() { "this is not a folder" } else { "there is no such folder" },
            "name the folder in which the archives were unpacked",
        )),
    }
}

/// The first folder, searched level by level in the order of names, that `is_wanted` takes. Where
/// `out` lies below, it is searched last: it may hold earlier results, but also be the archive itself.
pub(super) fn find(
    from: &[PathBuf],
    out: &Path,
    is_wanted: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let out = out.canonicalize().ok();
    let is_out = |path: &Path| out.is_some() && path.canonicalize().ok() == out;
    let elsewhere = from.iter().find_map(|start| search(start, &is_wanted, |path| !is_out(path)));
    elsewhere.or_else(|| from.iter().find_map(|start| search(start, &is_wanted, |_| true)))
}

/// The first wanted folder at or below `start`, searched through folders that `is_open` lets in.
fn search(
    start: &Path,
    is_wanted: impl Fn(&Path) -> bool,
    is_open: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let mut queue = VecDeque::from([(start.to_path_buf(), 0)]);
    while let Some((folder, depth)) = queue.pop_front() {
        if is_wanted(&folder) {
            return Some(folder);
        }
        if depth < DEPTH {
            let below = folders_in(&folder).into_iter().filter(|folder| is_open(folder));
            queue.extend(below.map(|folder| (folder, depth + 1)));
        }
    }
    None
}

/// The folders in a folder, links to such included, hidden ones not, sorted. One that cannot be
/// read holds none: what is missing in the end is reported.
pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter(|entry| match entry.file_type() {
            Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
            Ok(kind) => kind.is_dir(),
            Err(_) => false,
        })
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// The names of the files in a folder.
///
/// # Errors
/// [`DataError::Io`] naming the folder when it cannot be read.
pub(super) fn names_in(folder: &Path) -> Result<BTreeSet<String>, DataError> {
    let failed = |error| DataError::io("read", folder, error);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        // Names that are no text are none of those that are looked for.
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Makes a folder with those above it.
///
/// # Errors
/// [`DataError::Io`] naming it.
pub(super) fn create(folder: &Path) -> Result<(), DataError> {
    std::fs::create_dir_all(folder).map_err(|error| DataError::io("create", folder, error))
}

/// Refuses to touch what this library did not make.
///
/// # Errors
/// [`DataError::Invalid`] if one of the folders holds files with this extension.
pub(super) fn refuse_foreign(folders: &[PathBuf], extension: &str) -> Result<(), DataError> {
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let is_such = |name: &String| Path::new(name).extension().is_some_and(|e| e == extension);
        if let Some(name) = names_in(folder)?.into_iter().find(is_such) {
            return Err(DataError::invalid(
                folder,
                format!("the folder holds {name} and maybe more that this command did not make"),
                "prepare the data set in another folder, or move these files away",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_level_by_level() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/deep/wanted", "b/wanted", "out/wanted", ".hidden/wanted"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let wanted = |path: &Path| path.ends_with("wanted");
        let from = [folder.path().to_path_buf()];
        assert_eq!(find(&from, &at("none"), wanted), Some(at("b/wanted")));
        std::fs::remove_dir(at("b/wanted")).unwrap();
        assert_eq!(find(&from, &at("out"), wanted), Some(at("a/deep/wanted")));
        assert_eq!(find(&[at("out")], &at("out"), wanted), Some(at("out/wanted")));
        std::fs::remove_dir(at("a/deep/wanted")).unwrap();
        assert_eq!(find(&from, &at("out"), wanted), Some(at("out/wanted")));
        assert_eq!(find(&from, &at("out"), |path| path.ends_with("absent")), None);
        assert!(check_sources(&from).is_ok());
        assert!(check_sources(&[]).unwrap_err().to_string().contains("no folder"));
        let error = check_sources(&[at("absent")]).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("no such folder"), "{error}");
    }
}
