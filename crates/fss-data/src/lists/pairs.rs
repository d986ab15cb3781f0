//! All pairs of an image and a class that episodes can show.

use std::collections::BTreeSet;

use super::{ListOptions, find, hsnet_listing};
use crate::benchmark::BenchmarkRoot;
use crate::{Benchmark, ClassId, DataError, MaskIndex, SegmentationDataset, Split};

/// The pairs of an image's position and a class, base or novel, that episodes of whatever fold can
/// show, ascending: those in which the class covers `min_pixels` pixels or more, and those of the
/// published lists, where there are any. An image of one class (FSS-1000) counts for it in any case.
///
/// `dataset` is a split of the tree, `index` its index.
///
/// # Errors
/// [`DataError`] naming the list when one that was named in the options is missing, broken or of other
/// images; lists in the tree that are so are passed over with a warning.
///
/// # Panics
/// When the index is not that of the dataset.
pub fn class_pairs(
    tree: &BenchmarkRoot,
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    split: Split,
    options: &ListOptions,
) -> Result<Vec<(usize, ClassId)>, DataError> {
    let benchmark = tree.benchmark();
    let mut pairs = BTreeSet::new();
    for (position, image) in index.listing(dataset).into_iter().enumerate() {
        if let Some(class) = dataset.only_class(position) {
            pairs.insert((position, class));
            continue;
        }
        let shown = image.pixels.into_iter().filter(|&(class, pixels)| {
            let known = (1..=dataset.classes()).contains(&usize::from(class));
            known && pixels > 0 && pixels >= options.min_pixels
        });
        pairs.extend(shown.map(|(class, _)| (position, class)));
    }
    let in_tree = || find::in_tree(benchmark, &dataset.root).is_some();
    if matches!(benchmark, Benchmark::Pascal | Benchmark::Coco)
        && (options.source.is_some() || in_tree())
    {
        for fold in tree.folds(benchmark.hsnet_scheme())? {
            match hsnet_listing(benchmark, dataset, index, &fold, split, options) {
                Ok(lists) => {
                    for number in lists.listing.classes() {
                        let class = ClassId::try_from(number + 1).unwrap_or(ClassId::MAX);
                        let images = lists.listing.images_of(number).iter();
                        pairs.extend(images.map(|&image| (lists.positions[image], class)));
                    }
                }
                Err(error) if options.source.is_none() => {
                    tracing::warn!("the lists of fold {} are passed over: {error}", fold.index());
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::benchmark::OpenOptions;
    use crate::synthetic::{Fss1000Config, SyntheticConfig, generate, generate_fss1000};
    use crate::test_tree::Tree;

    fn pairs(tree: &BenchmarkRoot, min_pixels: u64) -> Vec<(usize, ClassId)> {
        let dataset = tree.dataset(Split::Val).unwrap();
        let index = MaskIndex::build(&dataset).unwrap();
        let options = ListOptions { source: None, min_pixels };
        class_pairs(tree, &dataset, &index, Split::Val, &options).unwrap()
    }

    #[test]
    fn classes_of_enough_pixels_and_those_that_are_listed() {
        let tree = Tree::new();
        let place = tree.path("data");
        let config = SyntheticConfig { train_images: 1, val_images: 12, ..Default::default() };
        generate(&place, &config, |_| ControlFlow::Continue(())).unwrap();
        let root = Benchmark::Pascal.detect(&place, &OpenOptions::default()).unwrap();
        let all = pairs(&root, 1);
        let large = pairs(&root, 600);
        assert!(large.len() < all.len() && large.iter().all(|pair| all.contains(pair)));
        assert!(all.iter().all(|&(position, class)| position < 12 && (1..=20).contains(&class)));
        assert!(all.len() > 12, "{all:?}");

        // A list in the tree adds to that, though the class has no pixels.
        let absent = (1..=5).find(|class| !all.contains(&(0, *class))).unwrap();
        let line = |id: usize| format!("val_{id:06}__{absent:02}\n");
        let list = place.join("splits/pascal/val/fold0.txt");
        std::fs::create_dir_all(list.parent().unwrap()).unwrap();
        std::fs::write(list, line(0) + &line(1)).unwrap();
        let listed = pairs(&root, 1);
        assert!(listed.contains(&(0, absent)), "{listed:?}");
        assert!(all.iter().all(|pair| listed.contains(pair)));
        // Named lists must be there.
        let dataset = root.dataset(Split::Val).unwrap();
        let index = MaskIndex::build(&dataset).unwrap();
        let options = ListOptions { source: Some(tree.path("none")), min_pixels: 1 };
        let error = class_pairs(&root, &dataset, &index, Split::Val, &options).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn images_of_one_class_have_it() {
        let tree = Tree::new();
        let place = tree.path("data");
        let config = Fss1000Config { categories: [4, 3, 2], ..Fss1000Config::default() };
        generate_fss1000(&place, &config, |_| ControlFlow::Continue(())).unwrap();
        let root = Benchmark::Fss1000.detect(&place, &OpenOptions::default()).unwrap();
        let found = pairs(&root, 1 << 40);
        let classes: BTreeSet<ClassId> = found.iter().map(|&(_, class)| class).collect();
        assert_eq!((found.len(), classes.len()), (30, 3));
    }
}
