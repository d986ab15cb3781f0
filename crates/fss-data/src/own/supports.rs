//! Choosing supports from a data set.

use crate::{ClassId, DataError, MaskIndex, SegmentationDataset};

/// The positions of the `shots` images in which a class covers the most pixels, the largest first;
/// of equal ones the one whose id sorts first. All images that show the class, if no number is
/// given.
///
/// # Errors
/// [`DataError::Setting`] when there are fewer such images, none at all, or 0 are asked for.
///
/// # Panics
/// When the index is that of another dataset.
pub fn largest(
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    class: ClassId,
    shots: Option<usize>,
) -> Result<Vec<usize>, DataError> {
    let name = dataset.class_name(class);
    let mut found: Vec<(u64, usize)> = index
        .listing(dataset)
        .iter()
        .enumerate()
        .filter_map(|(position, image)| {
            let pixels = image.pixels.get(&class).copied().unwrap_or(0);
            (pixels > 0).then_some((pixels, position))
        })
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| dataset.ids[a.1].cmp(&dataset.ids[b.1])));
    let wanted = shots.unwrap_or(found.len());
    if found.is_empty() || wanted == 0 || wanted > found.len() {
        return Err(DataError::Setting {
            what: match (found.len(), wanted) {
                (0, _) => format!("no image of {} shows class {name:?}", dataset.name),
                (_, 0) => "0 supports are asked for".to_owned(),
                (n, _) => format!(
                    "{wanted} supports are asked for, but only {n} image(s) of {} show class \
                     {name:?}",
                    dataset.name
                ),
            },
            remedy: match found.len() {
                0 => "check the masks and which of their values is the class".to_owned(),
                1 => "ask for 1".to_owned(),
                n => format!("ask for 1 to {n}"),
            },
        });
    }
    Ok(found.into_iter().take(wanted).map(|(_, position)| position).collect())
}
