//! Leaving out what cannot be used before it can do harm.

use std::collections::HashSet;

use rayon::prelude::*;

use super::OwnData;
use super::entry::Skips;
use crate::annotations::BadEntries;
use crate::index::{IndexOptions, MaskStats, scan};
use crate::{DataError, SegmentationDataset, io};

/// With [`BadEntries::Skip`], leaves out the entries whose mask cannot be read or shows nothing, and
/// those whose image has another size or no header that can be read. Otherwise such an entry is an
/// error when it is read, and nothing is done here.
pub(super) fn sift(data: &mut OwnData, skips: &mut Skips) -> Result<(), DataError> {
    if skips.bad() == BadEntries::Refuse || data.entries.is_empty() {
        return Ok(());
    }
    let dataset = data.all();
    let (masks, _) = scan(&dataset, &IndexOptions::default());
    let checked: Vec<Result<(), DataError>> = masks
        .into_par_iter()
        .enumerate()
        .map(|(position, mask)| check(&dataset, position, &mask?))
        .collect();
    let mut bad: HashSet<&str> = HashSet::new();
    for (id, checked) in dataset.ids.iter().zip(checked) {
        if skips.pass(checked)?.is_none() {
            bad.insert(id);
        }
    }
    data.entries.retain(|(entry, _)| !bad.contains(entry.id.as_str()));
    Ok(())
}

fn check(
    dataset: &SegmentationDataset,
    position: usize,
    mask: &MaskStats,
) -> Result<(), DataError> {
    let (image, annotation) = (dataset.image_path(position), dataset.mask_path(position));
    io::check_same_size(
        &image,
        dataset.image_size(position)?,
        &annotation,
        (mask.width, mask.height),
    )?;
    if dataset.only_class(position).is_some() && mask.labels().next().is_none() {
        return Err(DataError::invalid(
            &annotation,
            "the mask shows no foreground",
            "mark the object with a value other than 0, or say which value it has",
        ));
    }
    Ok(())
}
