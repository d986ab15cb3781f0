//! The images of real data sets.

use ndarray::Array2;

use super::lists::{ClassList, ShownLabels, TestWays, WholeLists};
use super::masks::{Void, test_mask, training_mask};
use super::{EpisodePlan, Purpose, WayEpisode};
use crate::benchmark::BenchmarkRoot;
use crate::folds::Fold;
use crate::index::{IndexOptions, MaskIndex};
use crate::pascal::read_id_list;
use crate::rng::NumpyLegacy;
use crate::{Benchmark, DataError, IGNORE_INDEX, Masks, SegmentationDataset, Split};

/// The folder below `ImageSets` with the lists of DENet's code on PASCAL VOC and SBD.
pub const LISTS_FOLDER: &str = "denet";

/// Most classes that labels of one byte leave room for.
const MOST_CLASSES: usize = 254;

/// Images of one side, training or test, in their published order, with what their masks show.
#[derive(Debug, Clone)]
pub struct WayImages {
    /// The images.
    pub dataset: SegmentationDataset,
    /// What their masks show, by position.
    pub shown: Vec<ShownLabels>,
    /// Positions in the order in which lists go through them.
    order: Vec<usize>,
}

impl WayImages {
    /// The images of a benchmark's tree.
    ///
    /// - PASCAL: those of `ImageSets/denet/train.txt` and `test.txt` (`fss data prepare pascal` makes them):
    ///   VOC's training images, then those of SBD's `train_noval`; VOC's validation images, then those of
    ///   SBD's `val`. Without these lists the tree's own training and validation images; the name of the
    ///   data set tells which.
    /// - COCO: the training and validation images, sorted by file name.
    /// - Data of one's own: their training and validation images.
    ///
    /// Masks are counted once and kept in the cache of the mask index.
    ///
    /// # Errors
    /// [`DataError`] naming what is missing or broken, and for data whose masks hold no labels of one byte.
    pub fn open(
        root: &BenchmarkRoot,
        purpose: Purpose,
        options: &IndexOptions<'_>,
    ) -> Result<Self, DataError> {
        let (split, list) = match purpose {
            Purpose::Training => (Split::Train, "train.txt"),
            Purpose::Test => (Split::Val, "test.txt"),
        };
        if let Some(pascal) = root.pascal()
            && let Some(folder) = pascal.lists().map(|folder| folder.join(LISTS_FOLDER))
            && folder.is_dir()
        {
            // One of the two alone would train and test on images of different protocols.
            let files = ["train.txt", "test.txt"].map(|name| folder.join(name));
            if let Some(missing) = files.iter().find(|file| !file.is_file()) {
                return Err(DataError::invalid(
                    missing,
                    "this list is missing, and the other one of the two is of no use without it",
                    "make both with `fss data prepare pascal`, or remove the folder to use the tree's own \
                     images",
                ));
            }
            let path = folder.join(list);
            let side = list.trim_end_matches(".txt");
            let name = format!("pascal and sbd {side}");
            return Self::of(pascal.dataset_of(&name, read_id_list(&path)?), options);
        }
        let dataset = root.dataset(split)?;
        if root.benchmark() == Benchmark::Coco {
            let mut images = Self::of(dataset, options)?;
            // An annotation file has its own order, and masks are drawn by it.
            let ids = &images.dataset.ids;
            images.order.sort_by(|one, other| ids[*one].cmp(&ids[*other]));
            return Ok(images);
        }
        if root.pascal().is_some() {
            tracing::info!(
                "no lists of VOC and SBD ({LISTS_FOLDER}/{list}); the tree's own {split} images are used"
            );
        }
        Self::of(dataset, options)
    }

    /// Images of any data set with masks of labels, counted from the cache where it is current.
    ///
    /// # Errors
    /// [`DataError`] for a missing or unreadable mask; [`DataError::Setting`] for masks of another kind.
    pub fn of(dataset: SegmentationDataset, options: &IndexOptions<'_>) -> Result<Self, DataError> {
        let refuse = |what: String| {
            Err(DataError::Setting {
                what,
                remedy:
                    "use pascal, coco, or data of your own with label masks of up to 254 classes"
                        .into(),
            })
        };
        if dataset.is_empty() {
            return refuse(format!("{} has no images", dataset.name));
        }
        let of_one_class = || (0..dataset.len()).any(|i| dataset.only_class(i).is_some());
        if matches!(dataset.masks, Masks::Binary { .. }) || of_one_class() {
            return refuse(format!(
                "the masks of {} show one class each, but episodes of DENet's code need all classes of \
                 an image",
                dataset.name
            ));
        }
        if dataset.classes() > MOST_CLASSES {
            return refuse(format!("{} has {} classes", dataset.name, dataset.classes()));
        }
        let index = MaskIndex::build_with(&dataset, options)?;
        let shown = index.masks().iter().zip(&dataset.ids);
        let shown = shown.map(|(mask, id)| ShownLabels::from_stats(id.as_str(), mask)).collect();
        let order = (0..dataset.len()).collect();
        Ok(Self { dataset, shown, order })
    }

    /// Which images episodes are drawn from: the list of classes, and for tests of several ways the lists
    /// of all images that show a held-out class. `shuffle` brings them into random order, as the published
    /// code keeps them.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a test of several ways in which no image can be drawn for a held-out
    /// class.
    pub fn lists(
        &self,
        fold: &Fold,
        purpose: Purpose,
        ways: usize,
        share: f64,
        shuffle: Option<&mut NumpyLegacy>,
    ) -> Result<(ClassList, Option<WholeLists>), DataError> {
        let several = ways > 1 && purpose == Purpose::Test;
        let in_fold = |position: &usize| self.shown[*position].in_fold(fold, purpose);
        let shown: Vec<ShownLabels> = self.order.iter().map(in_fold).collect();
        let mut list = match (purpose, several) {
            (Purpose::Training, _) => ClassList::training(&shown, share),
            (Purpose::Test, false) => ClassList::test(&shown, fold, share, TestWays::One),
            (Purpose::Test, true) => ClassList::test(&shown, fold, share, TestWays::Several),
        };
        let mut whole = several.then(|| WholeLists::new(&shown, fold));
        // From places in the order to positions.
        list.items.iter_mut().for_each(|(image, _)| *image = self.order[*image]);
        let listed = whole.iter_mut().flat_map(|whole| &mut whole.classes);
        listed.flat_map(|(_, images)| images).for_each(|image| *image = self.order[*image]);
        if purpose == Purpose::Test {
            self.check_classes(&list, fold, share, several)?;
        }
        Ok(match shuffle {
            None => (list, whole),
            Some(random) => {
                let list = list.shuffled(random);
                (list, whole.map(|whole| whole.shuffled(random)))
            }
        })
    }

    /// A held-out class without images is an error among several ways, and else told.
    fn check_classes(
        &self,
        list: &ClassList,
        fold: &Fold,
        share: f64,
        several: bool,
    ) -> Result<(), DataError> {
        let known = list.classes();
        let missing: Vec<&str> = fold
            .novel_classes()
            .into_iter()
            .filter(|class| !known.contains(class))
            .map(|class| self.dataset.class_name(class))
            .collect();
        if missing.is_empty() || known.is_empty() {
            return Ok(());
        }
        let what = format!(
            "no image of {} shows {} on at least {} % of it",
            self.dataset.name,
            missing.join(", "),
            100.0 * share
        );
        if !several {
            tracing::warn!("{what}; episodes are drawn of the other held-out classes");
            return Ok(());
        }
        Err(DataError::Setting {
            what: format!("{what}, and episodes of several ways are drawn of all held-out classes"),
            remedy: "lower the share, add images, or test one way".into(),
        })
    }

    /// The episodes of a plan as the published code draws them once its lists are made: the lists shuffled
    /// by a generator of `seed`, the episodes drawn by a fresh one.
    ///
    /// # Errors
    /// As [`lists`](Self::lists) and [`EpisodePlan::draw`].
    pub fn episodes(
        &self,
        fold: &Fold,
        plan: &EpisodePlan,
        share: f64,
        seed: u32,
    ) -> Result<Vec<WayEpisode>, DataError> {
        let mut shuffle = NumpyLegacy::seed(seed);
        let (list, whole) = self.lists(fold, plan.purpose, plan.ways, share, Some(&mut shuffle))?;
        plan.draw(&list, whole.as_ref(), &mut NumpyLegacy::seed(seed))
    }

    /// The mask of an image as a fold has it: [`training_mask`] or [`test_mask`]. A training image that
    /// teaches nothing is 255 where it shows held-out classes, too.
    ///
    /// # Errors
    /// [`DataError`] if the mask cannot be read.
    pub fn fold_mask(
        &self,
        position: usize,
        fold: &Fold,
        purpose: Purpose,
        void: Void,
    ) -> Result<Array2<u8>, DataError> {
        let mask = self.dataset.load_mask(position)?;
        Ok(match purpose {
            Purpose::Test => test_mask(&mask, fold, void),
            Purpose::Training => training_mask(&mask, fold, void).unwrap_or_else(|| {
                let hidden = |label: u8| if label == 0 { 0 } else { IGNORE_INDEX };
                test_mask(&mask, fold, void).mapv(hidden)
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::benchmark::OpenOptions;
    use crate::index::CACHE_FILE;
    use crate::io::write_mask;
    use crate::ways::SEED;

    /// A tree of VOC with one image for each mask of 4 x 5 pixels, all of one label but a few pixels.
    fn tree(masks: &[(&str, u8, u8)]) -> (tempfile::TempDir, BenchmarkRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["JPEGImages", "SegmentationClass", "ImageSets"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let mut ids = String::new();
        for (id, label, other) in masks {
            let mut mask = Array2::from_elem((4, 5), *label);
            mask[[3, 4]] = *other;
            write_mask(&root.join(format!("SegmentationClass/{id}.png")), &mask).unwrap();
            ids.push_str(&format!("{id}\n"));
        }
        fs::write(root.join("ImageSets/train.txt"), &ids).unwrap();
        fs::write(root.join("ImageSets/val.txt"), &ids).unwrap();
        let tree = Benchmark::Pascal.detect(root, &OpenOptions::default()).unwrap();
        (folder, tree)
    }

    fn open(tree: &BenchmarkRoot, purpose: Purpose) -> WayImages {
        WayImages::open(tree, purpose, &IndexOptions::default()).unwrap()
    }

    #[test]
    fn folds_hide_classes_without_reading_masks_again() {
        let masks = [("a", 3, 9), ("b", 9, 3), ("c", 255, 9), ("d", 77, 3), ("e", 9, 0)];
        let (folder, tree) = tree(&masks);
        let fold = Fold::pascal(0).unwrap();
        let images = open(&tree, Purpose::Training);
        assert_eq!(images.shown[1].labels, [(9, 19), (3, 1)]);
        let (list, whole) = images.lists(&fold, Purpose::Training, 1, 0.05, None).unwrap();
        // One pixel of twenty is 5 %.
        assert_eq!(list.items, [(0, 9), (1, 9), (2, 9), (4, 9)]);
        assert!(whole.is_none());
        let (list, _) = images.lists(&fold, Purpose::Test, 1, 0.06, None).unwrap();
        assert_eq!(list.items, [(0, 3)]);
        let mask = |position, purpose| {
            images.fold_mask(position, &fold, purpose, Void::Background).unwrap()[[0, 0]]
        };
        assert_eq!([0, 1, 2, 3].map(|i| mask(i, Purpose::Training)), [255, 9, 0, 0]);
        assert_eq!([0, 1, 2, 3].map(|i| mask(i, Purpose::Test)), [3, 9, 0, 0]);
        // Counted once: the masks themselves are of no concern any more.
        let before = images.shown;
        let stamps: Vec<_> = fs::read_dir(folder.path().join("SegmentationClass"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
            .collect();
        for (modified, path) in &stamps {
            let length = fs::metadata(path).unwrap().len() as usize;
            fs::write(path, vec![0; length]).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(*modified).unwrap();
        }
        assert_eq!(open(&tree, Purpose::Training).shown, before);
        // A damaged cache is built anew, which these masks are no longer good for.
        fs::write(folder.path().join(CACHE_FILE), "{\"version\": 2, \"masks\"").unwrap();
        let options = IndexOptions::default();
        assert!(WayImages::open(&tree, Purpose::Training, &options).is_err());
    }

    #[test]
    fn caches_of_earlier_versions_are_replaced() {
        let (folder, tree) = tree(&[("a", 3, 9)]);
        fs::write(folder.path().join(CACHE_FILE), "{\"version\": 1, \"masks\": {\"x\": 7}}")
            .unwrap();
        assert_eq!(open(&tree, Purpose::Test).shown[0].labels, [(3, 19), (9, 1)]);
        let text = fs::read_to_string(folder.path().join(CACHE_FILE)).unwrap();
        assert!(text.contains("\"version\":2"), "{text}");
    }

    #[test]
    fn lists_of_voc_and_sbd_come_first() {
        let (folder, tree) = tree(&[("a", 3, 9), ("b", 9, 3), ("c", 1, 9)]);
        assert_eq!(open(&tree, Purpose::Test).dataset.name, "pascal val");
        let lists = folder.path().join("ImageSets/denet");
        fs::create_dir(&lists).unwrap();
        fs::write(lists.join("test.txt"), "c\na\n").unwrap();
        let alone = WayImages::open(&tree, Purpose::Test, &IndexOptions::default());
        assert!(alone.unwrap_err().to_string().contains("train.txt"));
        fs::write(lists.join("train.txt"), "b\n").unwrap();
        let images = open(&tree, Purpose::Test);
        assert_eq!(images.dataset.ids, ["c", "a"]);
        assert_eq!(images.dataset.name, "pascal and sbd test");
        assert_eq!(open(&tree, Purpose::Training).dataset.ids, ["b"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let masks: Vec<(String, u8)> = (0..12).map(|i| (format!("i{i}"), 1 + i % 4)).collect();
        let masks: Vec<(&str, u8, u8)> =
            masks.iter().map(|(id, label)| (id.as_str(), *label, 0)).collect();
        let (_folder, tree) = tree(&masks);
        let images = open(&tree, Purpose::Test);
        let fold = Fold::pascal(0).unwrap();
        let one = EpisodePlan { episodes: 8, ..EpisodePlan::test(1, 1) };
        let drawn = images.episodes(&fold, &one, 0.02, SEED).unwrap();
        assert_eq!(drawn.len(), 8);
        assert_eq!(images.episodes(&fold, &one, 0.02, SEED).unwrap(), drawn);
        let two = EpisodePlan { ways: 2, ..one };
        let missing = images.episodes(&fold, &two, 0.02, SEED).unwrap_err().to_string();
        assert!(missing.contains("bottle") && missing.contains("several ways"), "{missing}");
        let mut binary = images.dataset.clone();
        binary.masks = Masks::Binary { threshold: 128, classes: vec![1; 12] };
        let refused = WayImages::of(binary, &IndexOptions::default()).unwrap_err().to_string();
        assert!(refused.contains("one class each"), "{refused}");
        let empty = SegmentationDataset { ids: Vec::new(), ..images.dataset };
        let refused = WayImages::of(empty, &IndexOptions::default()).unwrap_err().to_string();
        assert!(refused.contains("no images"), "{refused}");
    }
}
