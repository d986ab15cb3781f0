//! List files.

use std::path::Path;

use crate::DataError;

/// A line of HSNet's fold lists: an image and one class that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsnetEntry {
    /// The image's id.
    pub id: String,
    /// The class's label, 1 to 20.
    pub class: u8,
}

/// Reads a list of ids, one a line, in file order. Empty lines are skipped.
///
/// # Errors
/// [`DataError`] naming the file (and line) when it is missing, empty, or holds paths or pairs.
pub fn read_id_list(path: &Path) -> Result<Vec<String>, DataError> {
    let ids = lines(path)?
        .into_iter()
        .map(|(number, line)| {
            if line.contains(['/', '\\']) || line.contains(char::is_whitespace) {
                return Err(DataError::invalid(
                    path,
                    format!("line {number} is {line:?}, not an id"),
                    "give a list with one id a line (as 2007_000033), without folders, extensions \
                     or further columns",
                ));
            }
            Ok(line)
        })
        .collect::<Result<Vec<_>, _>>()?;
    not_empty(path, ids)
}

/// Reads a fold list of the HSNet protocol, lines `<id>__<2-digit label>`, in file order.
///
/// # Errors
/// [`DataError`] naming the file (and line) when it is missing, empty or of another form.
pub fn read_hsnet_list(path: &Path) -> Result<Vec<HsnetEntry>, DataError> {
    let entries = lines(path)?
        .into_iter()
        .map(|(number, line)| {
            line.rsplit_once("__")
                .and_then(|(id, label)| {
                    let class = label.parse().ok().filter(|class| (1..=20).contains(class))?;
                    Some(HsnetEntry { id: id.to_owned(), class })
                })
                .ok_or_else(|| {
                    DataError::invalid(
                        path,
                        format!("line {number} is {line:?}, not <id>__<label 01 to 20>"),
                        "give a list as splits/pascal/val/fold0.txt of the HSNet code",
                    )
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    not_empty(path, entries)
}

/// The lines that hold something, trimmed, with their numbers from 1.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let bytes = crate::io::read_file(path)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        DataError::invalid(
            path,
            "this is not a text file (UTF-8)",
            "give a list with one id a line",
        )
    })?;
    Ok(text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect())
}

fn not_empty<T>(path: &Path, entries: Vec<T>) -> Result<Vec<T>, DataError> {
    if entries.is_empty() {
        return Err(DataError::invalid(
            path,
            "the list is empty",
            "fetch the published list again, or write one id a line",
        ));
    }
    Ok(entries)
}
