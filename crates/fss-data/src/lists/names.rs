//! From the names in lists to images of a dataset.

use std::collections::HashMap;

use crate::{DataError, SegmentationDataset};

/// How many names a message shows.
const EXAMPLES: usize = 3;

/// A name without its folder and extension: `val2014/COCO_val2014_000000000042.jpg` is
/// `COCO_val2014_000000000042`.
pub(super) fn stem(name: &str) -> &str {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((stem, "jpg" | "jpeg" | "png" | "JPG" | "JPEG" | "PNG")) => stem,
        _ => file,
    }
}

/// The number that a name ends in, extension aside; none if it ends in no digit or the number is
/// beyond 64 bits.
pub(super) fn number(name: &str) -> Option<u64> {
    let stem = stem(name);
    let head = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    stem[head.len()..].parse().ok()
}

/// How names in lists are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// As ids of the dataset: PASCAL-5i, FSS-1000.
    Ids,
    /// As files of COCO: the id that equals the name, else that equals it without folder and
    /// extension, else the only id with the number that the name ends in.
    CocoFiles,
}

/// The position of each name in the dataset.
///
/// # Errors
/// [`DataError`] that counts the names without an image and shows some.
pub(super) fn positions(
    dataset: &SegmentationDataset,
    names: &[String],
    naming: Naming,
) -> Result<Vec<usize>, DataError> {
    let by_id: HashMap<&str, usize> =
        dataset.ids.iter().enumerate().map(|(position, id)| (id.as_str(), position)).collect();
    // None: two ids end in this number.
    let mut by_number: HashMap<u64, Option<usize>> = HashMap::new();
    let by_file = naming == Naming::CocoFiles;
    let exact =
        |name: &str| by_id.get(name).or_else(|| by_id.get(stem(name)).filter(|_| by_file)).copied();
    let mut missing: Vec<&str> = Vec::new();
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let position = exact(name).or_else(|| {
            if !by_file {
                return None;
            }
            if by_number.is_empty() {
                for (position, id) in dataset.ids.iter().enumerate() {
                    if let Some(number) = number(id) {
                        by_number
                            .entry(number)
                            .and_modify(|known| *known = None)
                            .or_insert(Some(position));
                    }
                }
            }
            by_number.get(&number(name)?).copied().flatten()
        });
        match position {
            Some(position) => positions.push(position),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(positions);
    }
    let mut examples: Vec<&str> = missing.iter().copied().take(EXAMPLES).collect();
    if missing.len() > EXAMPLES {
        examples.push("..");
    }
    Err(DataError::invalid(
        &dataset.root,
        format!(
            "{} of {} images in the lists are not among the {} of {} ({})",
            missing.len(),
            names.len(),
            dataset.len(),
            dataset.name,
            examples.join(", ")
        ),
        "give the lists that belong to this data set, complete it, or leave the lists out and they \
         are built from the annotations",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_and_numbers() {
        assert_eq!(stem("val2014/COCO_val2014_000000000042.jpg"), "COCO_val2014_000000000042");
        assert_eq!(stem("a.b"), "a.b");
        assert_eq!(number("val2014/COCO_val2014_000000000042.jpg"), Some(42));
        assert_eq!(number("42"), Some(42));
        assert_eq!(number("cat"), None);
        assert_eq!(number("99999999999999999999999"), None);
    }
}
