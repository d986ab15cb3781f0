//! The published lists, where they are at hand: `$FSS_GOLDEN_DIR/hsnet/splits` holds them, the
//! project does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fss_data::benchmark::{Benchmark, OpenOptions};
use fss_data::folds::FoldScheme;
use fss_data::index::{MaskIndex, MaskStats};
use fss_data::lists::{
    ListOptions, ListSource, Standing, hsnet_listing, pascal_pairs, read_categories,
    read_coco_pickle, read_coco_text,
};
use fss_data::pascal::{HsnetEntry, read_hsnet_list};
use fss_data::{Files, Masks, SegmentationDataset, Split};
use fss_support::golden;
use ndarray::Array2;

/// The folder with the lists, as `<benchmark>_<split>[_fold<f>].txt`.
fn published() -> Option<PathBuf> {
    let folder = golden::directory().join("hsnet/splits");
    if !folder.is_dir() {
        println!("golden hsnet/splits: the published lists are not at hand");
    }
    folder.is_dir().then_some(folder)
}

/// The same in a tree as the protocol's code has it.
fn tree(from: &Path) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let copy = |name: &str, to: &str| {
        let to = tree.path().join("splits").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from.join(name), to).unwrap();
    };
    for split in ["trn", "val"] {
        for fold in 0..4 {
            copy(
                &format!("pascal_{split}_fold{fold}.txt"),
                &format!("pascal/{split}/fold{fold}.txt"),
            );
        }
        copy(&format!("coco_{split}.txt"), &format!("coco/{split}.txt"));
    }
    for split in ["trn", "val", "test"] {
        copy(&format!("fss_{split}.txt"), &format!("fss/{split}.txt"));
    }
    tree
}

/// A dataset of these images, none of which is read.
fn dataset(ids: Vec<String>, classes: usize) -> SegmentationDataset {
    SegmentationDataset {
        name: "published".into(),
        root: "nowhere".into(),
        class_names: (1..=classes).map(|class| class.to_string()).collect(),
        files: Files::ById {
            images: "nowhere/val2014".into(),
            image_extension: "jpg".into(),
            masks: "nowhere/masks".into(),
            mask_extension: "png".into(),
        },
        ids,
        masks: Masks::Labels,
    }
}

/// An index whose masks show these labels with 2,048 pixels each, and label 77 with fewer.
fn index<'a>(labels: impl Iterator<Item = &'a Vec<u8>>) -> MaskIndex {
    let stats = labels.map(|labels| {
        let mut pixels: Vec<u8> = labels.iter().flat_map(|&label| [label; 2048]).collect();
        pixels.extend([0; 7]);
        MaskStats::of(&Array2::from_shape_vec((1, pixels.len()), pixels).unwrap())
    });
    MaskIndex::from_stats(stats.collect())
}

fn options(tree: &Path) -> ListOptions {
    ListOptions { source: Some(tree.to_path_buf()), ..Default::default() }
}

#[test]
fn golden_lists_of_pascal() {
    let Some(folder) = published() else { return };
    let tree = tree(&folder);
    let mut count = 0;
    for split in Split::TRAIN_VAL {
        let name = if split == Split::Train { "trn" } else { "val" };
        let lists: Vec<Vec<HsnetEntry>> = (0..4)
            .map(|fold| {
                read_hsnet_list(&folder.join(format!("pascal_{name}_fold{fold}.txt"))).unwrap()
            })
            .collect();
        let mut shown: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in lists.iter().flatten() {
            shown.entry(entry.id.clone()).or_default().push(entry.class);
        }
        // Lists from files, and lists built from masks with just these objects, in a dataset of
        // another order.
        let (mut ids, mut labels): (Vec<_>, Vec<_>) = shown.into_iter().unzip();
        ids.reverse();
        labels.reverse();
        let dataset = dataset(ids, 20);
        let index = index(labels.iter());
        let pairs = pascal_pairs(&dataset, &index, split, 2048);
        for (fold, list) in lists.iter().enumerate() {
            let mine = |pair: &&HsnetEntry| (usize::from(pair.class) - 1) / 5 == fold;
            assert_eq!(&pairs.iter().filter(mine).cloned().collect::<Vec<_>>(), list);
            let scheme = FoldScheme::Contiguous;
            let fold = Benchmark::Pascal.fold(fold, scheme).unwrap();
            let listing = |options: &ListOptions| {
                hsnet_listing(Benchmark::Pascal, &dataset, &index, &fold, split, options).unwrap()
            };
            let (read, built) = (listing(&options(tree.path())), listing(&ListOptions::default()));
            assert_eq!(read.origin.standing, Standing::Published, "{}", read.origin);
            assert_eq!(built.origin.standing, Standing::Published, "{}", built.origin);
            assert_eq!(read.listing, built.listing);
            count += 1;
        }
    }
    golden::report("hsnet/splits pascal", count);
}

#[test]
fn golden_lists_of_coco() {
    let Some(folder) = published() else { return };
    let tree = tree(&folder);
    let mut count = 0;
    for split in Split::TRAIN_VAL {
        let name = if split == Split::Train { "trn" } else { "val" };
        let lists = read_coco_text(&folder.join(format!("coco_{name}.txt"))).unwrap();
        let mut shown: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (&class, images) in &lists {
            for image in images {
                shown.entry(image.parse().unwrap()).or_default().push(class as u8 + 1);
            }
        }
        let ids = shown.keys().map(|number| format!("COCO_{name}_{number:012}")).collect();
        let dataset = dataset(ids, 80);
        let index = index(shown.values());
        // The published form: a pickle a fold, with whole names.
        let pickles = tempfile::tempdir().unwrap();
        for fold in 0..4 {
            let here: BTreeMap<usize, Vec<String>> = lists
                .iter()
                .map(|(&class, images)| {
                    let listed = (class % 4 == fold) == (split == Split::Val);
                    let images = if listed { &images[..] } else { &[] };
                    let names = images.iter().map(|image| {
                        format!("val2014/COCO_{name}_{:012}.jpg", image.parse::<u64>().unwrap())
                    });
                    (class, names.collect())
                })
                .collect();
            let path = pickles.path().join(format!("coco/{name}/fold{fold}.pkl"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes = serde_pickle::to_vec(&here, serde_pickle::SerOptions::new()).unwrap();
            fs::write(&path, bytes).unwrap();
            assert_eq!(read_coco_pickle(&path).unwrap(), here);
        }
        for scheme in [FoldScheme::Interleaved, FoldScheme::Contiguous] {
            for fold in 0..4 {
                let fold = Benchmark::Coco.fold(fold, scheme).unwrap();
                let listing = |options: &ListOptions| {
                    hsnet_listing(Benchmark::Coco, &dataset, &index, &fold, split, options).unwrap()
                };
                let text = listing(&options(tree.path()));
                let pickle = listing(&options(pickles.path()));
                let built = listing(&ListOptions::default());
                assert_eq!(text.origin.standing, Standing::Published, "{}", text.origin);
                assert_eq!(pickle.origin.standing, Standing::Published, "{}", pickle.origin);
                assert_eq!(built.origin.standing, Standing::SameSet, "{}", built.origin);
                assert!(matches!(built.origin.source, ListSource::Built(_)));
                for class in text.listing.classes() {
                    let positions = |lists: &fss_data::lists::HsnetLists| -> Vec<usize> {
                        let images = lists.listing.images_of(class);
                        images.iter().map(|&image| lists.positions[image]).collect()
                    };
                    let (published, mut sorted) = (positions(&text), positions(&text));
                    assert_eq!(positions(&pickle), published);
                    sorted.sort_unstable();
                    assert_eq!(positions(&built), sorted);
                }
                count += 1;
            }
        }
    }
    golden::report("hsnet/splits coco", count);
}

#[test]
fn golden_lists_of_fss() {
    let Some(folder) = published() else { return };
    let tree = tree(&folder);
    for split in ["trn", "val", "test"] {
        for category in read_categories(&folder.join(format!("fss_{split}.txt"))).unwrap() {
            let place = tree.path().join("FSS-1000").join(category);
            fs::create_dir_all(&place).unwrap();
            for number in 1..=10 {
                fs::write(place.join(format!("{number}.jpg")), "").unwrap();
            }
        }
    }
    let root = Benchmark::Fss1000.detect(tree.path(), &OpenOptions::default()).unwrap();
    for (split, first) in std::iter::zip(Split::ALL, [1, 521, 761]) {
        let dataset = root.dataset(split).unwrap();
        let fold = root.fold(0, FoldScheme::Listed).unwrap();
        assert_eq!(fold, Benchmark::Fss1000.fold(0, FoldScheme::Listed).unwrap());
        let index = MaskIndex::from_stats(Vec::new());
        let options = ListOptions::default();
        let lists =
            hsnet_listing(Benchmark::Fss1000, &dataset, &index, &fold, split, &options).unwrap();
        assert_eq!(lists.origin.standing, Standing::Published, "{}", lists.origin);
        assert_eq!(lists.listing.classes().next(), Some(first - 1));
        assert_eq!(dataset.mask_label(0, first as u16), Some(1));
    }
    golden::report("hsnet/splits fss", 3);
}
