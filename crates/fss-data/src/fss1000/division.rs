//! The categories of a tree and how they are divided.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::DataError;

/// How many names a message shows.
const EXAMPLES: usize = 3;

/// The folder of the categories and their names.
pub(super) fn find_categories(root: &Path) -> Result<(PathBuf, BTreeSet<String>), DataError> {
    if !root.is_dir() {
        return Err(DataError::invalid(
            root,
            if root.exists() { "this is not a folder" } else { "there is no such folder" },
            "give the folder that holds FSS-1000, or the one that holds the categories",
        ));
    }
    for base in [root.join("FSS-1000"), root.join("fewshot_data/fewshot_data"), root.to_path_buf()]
    {
        let categories = categories_in(&base)?;
        if !categories.is_empty() {
            return Ok((base, categories));
        }
    }
    Err(DataError::invalid(
        root,
        "this is not an FSS-1000 tree: there is no <category>/1.jpg in FSS-1000/, in \
         fewshot_data/fewshot_data/ or here",
        "give the folder that holds FSS-1000, or the one that holds the categories",
    ))
}

/// The folders below `base` that hold a `1.jpg`; none when there is no such folder.
fn categories_in(base: &Path) -> Result<BTreeSet<String>, DataError> {
    let entries = match std::fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(DataError::io("read", base, error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| DataError::io("read", base, error))?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().join("1.jpg").is_file()
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The names without extension of the images of a category: numbers in their order, then others.
pub(super) fn images_of(folder: &Path) -> Result<Vec<String>, DataError> {
    let failed = |error| DataError::io("read", folder, error);
    let mut images = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string()
            && let Some(stem) = name.strip_suffix(".jpg")
        {
            images.push(stem.to_owned());
        }
    }
    if images.is_empty() {
        return Err(DataError::invalid(
            folder,
            "the category has no image (1.jpg, 2.jpg, ..)",
            "unpack the archive again, or take the category off the lists",
        ));
    }
    images.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
    Ok(images)
}

/// Refuses categories that are listed twice or are not there.
pub(super) fn check_lists(
    folder: &Path,
    base: &Path,
    lists: &[Vec<String>; 3],
    present: &BTreeSet<String>,
) -> Result<(), DataError> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for name in lists.iter().flatten() {
        *seen.entry(name).or_default() += 1;
    }
    let twice: BTreeSet<&str> =
        seen.iter().filter(|(_, times)| **times > 1).map(|(name, _)| *name).collect();
    if !twice.is_empty() {
        return Err(DataError::invalid(
            folder,
            format!("{} categories are listed more than once ({})", twice.len(), some(&twice)),
            "list each category in one of trn.txt, val.txt and test.txt",
        ));
    }
    let absent: BTreeSet<&str> = seen.into_keys().filter(|name| !present.contains(*name)).collect();
    if !absent.is_empty() {
        return Err(DataError::invalid(
            base,
            format!(
                "{} of {} listed categories are missing ({}); the lists are in {}",
                absent.len(),
                lists.iter().map(Vec::len).sum::<usize>(),
                some(&absent),
                folder.display()
            ),
            "unpack the archive again, or give the lists that belong to this data set",
        ));
    }
    Ok(())
}

fn some(names: &BTreeSet<&str>) -> String {
    let mut shown: Vec<&str> = names.iter().copied().take(EXAMPLES).collect();
    if names.len() > EXAMPLES {
        shown.push("..");
    }
    shown.join(", ")
}

/// Divides categories by a rule of this library: in the order of the SHA-256 of their names, the
/// first 52 % (rounded) are for training, the next 24 % for validation, the rest for testing. Each
/// part is then sorted by name.
///
/// Of 1,000 categories these are 520, 240 and 240, as published, but other ones: results are
/// comparable among each other, not with published ones. The order of the input does not matter.
pub fn own_division(categories: impl IntoIterator<Item = String>) -> [Vec<String>; 3] {
    let mut keyed: Vec<([u8; 32], String)> =
        categories.into_iter().map(|name| (Sha256::digest(name.as_bytes()).into(), name)).collect();
    keyed.sort();
    let rounded = |percent: usize| (keyed.len() * percent + 50) / 100;
    let (train, val) = (rounded(52), rounded(24));
    let mut names = keyed.into_iter().map(|(_, name)| name);
    let mut part = |count: usize| {
        let mut part: Vec<String> = names.by_ref().take(count).collect();
        part.sort();
        part
    };
    [part(train), part(val), part(usize::MAX)]
}
