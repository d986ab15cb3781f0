use std::ops::ControlFlow;

use super::*;
use crate::benchmark::OpenOptions;
use crate::synthetic::{
    CocoConfig, Fss1000Config, SyntheticConfig, generate, generate_coco, generate_fss1000,
};
use crate::test_tree::Tree;
use crate::transform::ClipView;

const GRID: usize = 3;

fn note() -> CamNote {
    CamNote {
        class: "cat".into(),
        prompt: "a photo of a cat".into(),
        image: "a".into(),
        view: ClipView::CentreCrop,
        target: "probability".into(),
        weights: "0".into(),
    }
}

fn map(value: f32) -> Array2<f32> {
    Array2::from_elem((GRID, GRID), value)
}

fn open(benchmark: Benchmark, tree: &Tree, split: Split) -> SegmentationDataset {
    benchmark.open(&tree.path("data"), split, &OpenOptions::default()).unwrap()
}

/// The file of image 0 and a class, below the folder of the maps.
fn name(benchmark: Benchmark, dataset: &SegmentationDataset, class: ClassId) -> String {
    let folder = CamFolder::new("cams", benchmark);
    let path = folder.path(dataset, 0, class).unwrap();
    let below = path.strip_prefix("cams").unwrap().to_string_lossy().replace('\\', "/");
    let image = folder.image_name(dataset, 0).unwrap();
    assert!(below.starts_with(&format!("{image}--")), "{image}: {below}");
    below
}

fn pascal() -> (Tree, SegmentationDataset) {
    let tree = Tree::empty();
    let config = SyntheticConfig { train_images: 3, val_images: 2, ..Default::default() };
    generate(&tree.path("data"), &config, |_| ControlFlow::Continue(())).unwrap();
    let dataset = open(Benchmark::Pascal, &tree, Split::Train);
    (tree, dataset)
}

#[test]
fn pascal_maps_are_called_after_ids() {
    let (_tree, dataset) = pascal();
    assert_eq!(name(Benchmark::Pascal, &dataset, 20), "train_000000--19.safetensors");
}

#[test]
fn coco_maps_are_called_after_folder_and_file() {
    let tree = Tree::empty();
    let mut config = CocoConfig::default();
    (config.pictures.train_images, config.pictures.val_images) = (2, 2);
    generate_coco(&tree.path("data"), &config, |_| ControlFlow::Continue(())).unwrap();
    for (split, folder) in [(Split::Train, "train2014"), (Split::Val, "val2014")] {
        let dataset = open(Benchmark::Coco, &tree, split);
        let want = format!("{folder}/{}.jpg--3.safetensors", dataset.ids[0]);
        assert!(dataset.ids[0].starts_with(&format!("COCO_{folder}_")), "{}", dataset.ids[0]);
        assert_eq!(name(Benchmark::Coco, &dataset, 4), want);
    }
}

#[test]
fn fss1000_maps_are_called_after_category_and_file() {
    let tree = Tree::empty();
    let config = Fss1000Config { categories: [2, 1, 2], ..Default::default() };
    generate_fss1000(&tree.path("data"), &config, |_| ControlFlow::Continue(())).unwrap();
    let dataset = open(Benchmark::Fss1000, &tree, Split::Test);
    let class = dataset.only_class(0).unwrap();
    let want = format!("{}/1.jpg--{}.safetensors", dataset.class_name(class), class - 1);
    assert_eq!((name(Benchmark::Fss1000, &dataset, class), class), (want, 4));
}

#[test]
fn maps_of_own_data_are_called_after_paths() {
    let tree = Tree::empty();
    for stem in ["a.1", "b"] {
        let [image, mask] = ["images", "masks"].map(|kind| format!("data/cat/{kind}/{stem}"));
        tree.pair_at(&format!("{image}.jpg"), &format!("{mask}.png"), 2, &[1, 0]);
    }
    let dataset = open(Benchmark::Own, &tree, Split::Val);
    assert_eq!(name(Benchmark::Own, &dataset, 1), "cat/images/a.1.jpg--0.safetensors");
}

#[test]
fn what_is_written_is_found_and_read() {
    let (tree, dataset) = pascal();
    let folder = CamFolder::new(tree.path("new/cams"), Benchmark::Pascal);
    assert_eq!(folder.find(&dataset, 1, 7).unwrap(), None);
    folder.write(&dataset, 1, 7, &map(0.5), &note()).unwrap();
    assert_eq!(folder.find(&dataset, 1, 7).unwrap(), Some(folder.path(&dataset, 1, 7).unwrap()));
    assert_eq!(folder.read(&dataset, 1, 7, GRID).unwrap(), map(0.5));
    let error = folder.read(&dataset, 1, 7, 50).unwrap_err().to_string();
    assert!(error.contains("[3, 3], where [50, 50]") && error.contains("--6."), "{error}");
}

#[test]
fn published_files_are_read_unless_there_are_ours() {
    let (tree, dataset) = pascal();
    let folder = CamFolder::new(tree.path("cams"), Benchmark::Pascal);
    folder.write(&dataset, 0, 1, &map(0.25), &note()).unwrap();
    let ours = folder.path(&dataset, 0, 1).unwrap();
    // Forms are told apart by content: a file of ours under the published name.
    let published = tree.path("cams/train_000000--0.pt");
    std::fs::rename(&ours, &published).unwrap();
    assert_eq!(folder.find(&dataset, 0, 1).unwrap(), Some(published));
    assert_eq!(folder.read(&dataset, 0, 1, GRID).unwrap(), map(0.25));
    folder.write(&dataset, 0, 1, &map(0.75), &note()).unwrap();
    assert_eq!(folder.read(&dataset, 0, 1, GRID).unwrap(), map(0.75));
    // What a power cut may leave.
    std::fs::write(&ours, b"").unwrap();
    assert_eq!(folder.read(&dataset, 0, 1, GRID).unwrap(), map(0.25));
}

#[test]
fn missing_maps_are_told_at_once() {
    let (tree, dataset) = pascal();
    let folder = CamFolder::new(tree.path("cams"), Benchmark::Pascal);
    folder.write(&dataset, 0, 1, &map(0.0), &note()).unwrap();
    folder.check(&dataset, [(0, 1), (0, 1)]).unwrap();
    let pairs = [(2, 20), (0, 1), (2, 20), (0, 2), (1, 3), (1, 4)];
    let missing = folder.missing(&dataset, pairs).unwrap();
    let found: Vec<_> = missing.iter().map(|it| (it.position, it.class)).collect();
    assert_eq!(found, [(2, 20), (0, 2), (1, 3), (1, 4)]);
    let error = folder.check(&dataset, pairs).unwrap_err().to_string();
    for words in [
        "4 coarse maps of pascal train are missing",
        "train_000002--19.safetensors (tvmonitor)",
        "train_000001--2.safetensors (bird), ..;",
        "fss cam --clip RN50.pt --dataset pascal --data-root",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!error.contains("--3."), "{error}");
    let error = folder.read(&dataset, 1, 4, GRID).unwrap_err().to_string();
    assert!(error.contains("1 coarse map of pascal train is missing"), "{error}");
}

#[test]
fn unknown_images_and_classes_are_refused() {
    let (_tree, dataset) = pascal();
    let folder = CamFolder::new("cams", Benchmark::Pascal);
    for class in [0, 21] {
        let error = folder.path(&dataset, 0, class).unwrap_err().to_string();
        assert!(
            error.contains(&format!("no class {class}")) && error.contains("1 to 20"),
            "{error}"
        );
    }
    assert!(folder.path(&dataset, 3, 1).is_err());
    assert!(folder.image_name(&dataset, 3).is_err());
    assert!(folder.check(&dataset, [(3, 1)]).is_err());
}

#[test]
fn evaluation_has_a_folder_of_its_own_if_wanted() {
    let two = CamFolders::two("t", "v", Benchmark::Pascal);
    let folders = Split::ALL.map(|split| two.of(split).folder().to_path_buf());
    assert_eq!(folders, ["t", "v", "v"].map(PathBuf::from));
    let one = CamFolders::one("c", Benchmark::Coco);
    assert!(Split::ALL.iter().all(|&split| *one.of(split) == CamFolder::new("c", Benchmark::Coco)));
}
