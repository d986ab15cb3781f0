//! Lists made from the annotations.

use super::{ClassLists, list_number, names};
use crate::pascal::HsnetEntry;
use crate::{ClassId, MaskIndex, SegmentationDataset, Split};

/// The pairs of image and class that PASCAL-5i lists hold, of all classes: those in which the class
/// covers `min_pixels` pixels of the mask or more.
///
/// In the order of the published lists: ids ascending, then labels; in the training lists, labels
/// first. The published lists have 13,680 training and 1,868 validation pairs;
/// with [`MIN_OBJECT_PIXELS`](crate::episode::MIN_OBJECT_PIXELS), the size limit that many lists of
/// the field share, the numbers agree. Images that a list names twice count once.
///
/// # Panics
/// When the index is not that of the dataset.
pub fn pascal_pairs(
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    split: Split,
    min_pixels: u64,
) -> Vec<HsnetEntry> {
    let mut pairs: Vec<HsnetEntry> = index
        .listing(dataset)
        .into_iter()
        .flat_map(|image| {
            let shown: Vec<u8> = image
                .pixels
                .iter()
                .filter(|&(&class, &pixels)| class != 0 && pixels > 0 && pixels >= min_pixels)
                .filter(|&(&class, _)| usize::from(class) <= dataset.classes())
                .filter_map(|(&class, _)| u8::try_from(class).ok())
                .collect();
            shown.into_iter().map(move |class| HsnetEntry { id: image.id.clone(), class })
        })
        .collect();
    pairs.sort_unstable_by(|a, b| match split {
        Split::Train => (a.class, &a.id).cmp(&(b.class, &b.id)),
        Split::Val | Split::Test => (&a.id, a.class).cmp(&(&b.id, b.class)),
    });
    pairs.dedup();
    pairs
}

/// The images that show each class with any number of pixels, ascending in the number that their
/// names end in. Classes without an image have an empty list.
///
/// Names are the last folder and the file of the image, as `val2014/COCO_val2014_000000000042.jpg`
/// in the published lists. Their order is arbitrary there, so that episodes drawn from these lists are
/// others.
///
/// # Panics
/// When the index is not that of the dataset.
pub fn coco_lists(dataset: &SegmentationDataset, index: &MaskIndex) -> ClassLists {
    assert_eq!(index.len(), dataset.len(), "the index of another dataset");
    let mut order: Vec<usize> = (0..dataset.len()).collect();
    order.sort_by_cached_key(|&position| {
        let id = &dataset.ids[position];
        (names::number(id).unwrap_or(u64::MAX), id.clone())
    });
    order.dedup_by(|&mut a, &mut b| dataset.ids[a] == dataset.ids[b]);
    let mut lists: ClassLists = (0..dataset.classes()).map(|class| (class, Vec::new())).collect();
    for position in order {
        let image = dataset.image_labels(position, index.mask(position));
        let shown = image.pixels.iter().filter(|&(&class, &pixels)| class != 0 && pixels > 0);
        let mut name = None;
        for (&class, _) in shown {
            if let Some(list) = lists.get_mut(&list_number(class)) {
                list.push(name.get_or_insert_with(|| image_name(dataset, position)).clone());
            }
        }
    }
    lists
}

/// The last folder and the file name of an image.
fn image_name(dataset: &SegmentationDataset, position: usize) -> String {
    let path = dataset.image_path(position);
    let last = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let file = last(path.file_name());
    match last(path.parent().and_then(|folder| folder.file_name())) {
        folder if folder.is_empty() => file,
        folder => format!("{folder}/{file}"),
    }
}

/// The lists of some classes alone.
pub(super) fn only(lists: &ClassLists, classes: &[ClassId]) -> Vec<(usize, Vec<String>)> {
    classes
        .iter()
        .map(|&class| list_number(class))
        .map(|number| (number, lists.get(&number).cloned().unwrap_or_default()))
        .collect()
}
