//! Lists as text.

use std::path::Path;

use super::ClassLists;
use crate::DataError;
use crate::io::{read_file, write_atomic_with};

/// The largest list file that is read, in bytes; the largest published one has 7 MB.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The lines that hold something, trimmed, with their numbers from 1. Any line ends will do.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let bytes = bounded(path)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        DataError::invalid(path, "this is not a text file (UTF-8)", "give a text file")
    })?;
    Ok(text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect())
}

/// A whole file, unless it is too large for a list.
pub(super) fn bounded(path: &Path) -> Result<Vec<u8>, DataError> {
    let size = std::fs::metadata(path).map_err(|error| DataError::io("read", path, error))?.len();
    if size > MAX_BYTES {
        return Err(DataError::invalid(
            path,
            format!("the file has {size} bytes, more than the {MAX_BYTES} that a list may have"),
            "give a list file",
        ));
    }
    read_file(path)
}

/// Reads a list of FSS-1000 categories, one a line; sorted by name, as the protocol numbers them.
///
/// # Errors
/// [`DataError`] naming the file (and line) when it is missing, empty, or a line is no folder name.
pub fn read_categories(path: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for (number, line) in lines(path)? {
        if line.contains(['/', '\\', '\t']) || line == "." || line == ".." {
            return Err(DataError::invalid(
                path,
                format!("line {number} is {line:?}, not the name of a category"),
                "give a list with the name of one category a line, as it was published",
            ));
        }
        names.push(line);
    }
    if names.is_empty() {
        return Err(DataError::invalid(
            path,
            "the list is empty",
            "give a list with the name of one category a line",
        ));
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads the images of each class from lines `<class number from 0> TAB <names separated by spaces>`.
/// Names may be numbers of images. Lines that start with `#` are comments.
///
/// # Errors
/// [`DataError`] naming the file (and line) when it is missing, empty, a line is of another form, or
/// a class has two lines.
pub fn read_coco_text(path: &Path) -> Result<ClassLists, DataError> {
    const REMEDY: &str = "give lines as `0<TAB>val2014/COCO_val2014_000000000042.jpg ..` (the number \
                          of the class from 0, a tab, image names or numbers)";
    let mut lists = ClassLists::new();
    for (number, line) in lines(path)? {
        if line.starts_with('#') {
            continue;
        }
        // A class without images: the tab went with the white space at the end.
        let (class, names) = line.split_once('\t').unwrap_or((&line, ""));
        let Ok(class) = class.trim().parse::<usize>() else {
            let shown: String = line.chars().take(40).collect();
            return Err(DataError::invalid(
                path,
                format!("line {number} starts with {shown:?}, not with a class number and a tab"),
                REMEDY,
            ));
        };
        let names = names.split_ascii_whitespace().map(str::to_owned).collect();
        if lists.insert(class, names).is_some() {
            return Err(DataError::invalid(
                path,
                format!("line {number} is the second one of class {class}"),
                "give one line a class",
            ));
        }
    }
    if lists.values().all(Vec::is_empty) {
        return Err(DataError::invalid(path, "the list names no image", REMEDY));
    }
    Ok(lists)
}

/// Writes lists in the form that [`read_coco_text`] reads, whole or not at all.
///
/// # Errors
/// [`DataError`] naming the file when it cannot be written, or a name holds white space.
pub fn write_coco_text(path: &Path, lists: &ClassLists) -> Result<(), DataError> {
    let strange = |name: &&String| name.contains(char::is_whitespace) || name.is_empty();
    if let Some(name) = lists.values().flatten().find(strange) {
        return Err(DataError::invalid(
            path,
            format!("the image name {name:?} holds a space, which separates names in lists"),
            "rename the image file",
        ));
    }
    write_atomic_with(path, |file| {
        writeln!(file, "# class number from 0, TAB, images that show the class")?;
        for (class, names) in lists {
            writeln!(file, "{class}\t{}", names.join(" "))?;
        }
        Ok(())
    })
}
