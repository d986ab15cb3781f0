//! What lies in a folder, in a fixed order. Hidden files are passed over.

use std::path::{Path, PathBuf};

use crate::DataError;

/// Endings of files that are taken for images.
pub(super) const IMAGE_ENDINGS: [&str; 8] =
    ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "gif"];

/// The last part of a path, also where that is `.` or the like.
pub(super) fn name_of(path: &Path) -> String {
    let whole = path.file_name().is_none().then(|| path.canonicalize().ok()).flatten();
    let named = whole.as_deref().unwrap_or(path);
    named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned()
}

/// The ending of a file, in lower case.
pub(super) fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// The folders in a folder, sorted by name.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(all(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The files with one of these endings in a folder, sorted by name.
pub(super) fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let wanted = |path: &PathBuf| endings.contains(&ending(path).as_str()) && !path.is_dir();
    Ok(all(folder)?.into_iter().filter(wanted).collect())
}

fn all(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::io("list", folder, source);
    let mut paths = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| !name_of(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}
