use super::super::mat::build::{Style, sbd};
use super::*;
use crate::benchmark::OpenOptions;
use crate::index::IndexOptions;
use crate::ways::{Purpose, WayImages};
use crate::{Benchmark, Split, io, test_tree};

const VOC: &str = "from/VOCdevkit/VOC2012";
const SBD: &str = "from/benchmark_RELEASE/dataset";
const MASKS: &str = "out/VOC2012/SegmentationClassAug";

/// Images of 4x3 pixels. VOC: a, b for training and c, d for validation; SBD: a, e and c, f.
fn archives() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path(&format!("{VOC}/SegmentationClass"))).unwrap();
    for id in ["a", "b", "c", "d", "e", "f"] {
        scratch.image(&format!("{VOC}/JPEGImages/{id}.jpg"), 4, 3);
    }
    for (label, id) in (1..).zip(["a", "b", "c", "d"]) {
        let labels = [label, label, 0, 0, 0, 255, 0, 0, 0, 0, 0, 20];
        test_tree::write_mask(
            &scratch.path(&format!("{VOC}/SegmentationClass/{id}.png")),
            4,
            &labels,
        );
    }
    for (id, style) in
        [("a", Style::PACKED), ("c", Style::PLAIN), ("e", Style::PACKED), ("f", Style::BIG)]
    {
        let labels = [0, 7, 7, 7, 0, 0, 0, 0, 12, 0, 0, 0];
        scratch.file(&format!("{SBD}/cls/{id}.mat"), sbd(style, 4, &labels));
    }
    scratch.file(&format!("{VOC}/ImageSets/Segmentation/train.txt"), "b\na\n");
    scratch.file(&format!("{VOC}/ImageSets/Segmentation/val.txt"), "c\nd\n");
    scratch.file(&format!("{SBD}/train.txt"), "e\na\n");
    scratch.file(&format!("{SBD}/val.txt"), "f\nc\n");
    scratch
}

fn prepare(scratch: &Scratch, options: &PrepareOptions<'_>) -> Result<Summary, DataError> {
    prepare_pascal(&scratch.from(), &scratch.out(), options)
}

#[test]
fn the_augmented_set() {
    let scratch = archives();
    let summary = prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks, MaskCounts { made: 6, kept: 0 });
    assert_eq!(summary.images.linked + summary.images.symlinked, 6);
    assert_eq!(scratch.text("out/VOC2012/ImageSets/train.txt"), "a\nb\ne\nf\n");
    assert_eq!(scratch.text("out/VOC2012/ImageSets/val.txt"), "c\nd\n");
    // VOC's mask where there are two, ignored border included.
    let mask = io::read_mask(&scratch.path(&format!("{MASKS}/a.png"))).unwrap();
    assert_eq!(mask, ndarray::array![[1, 1, 0, 0], [0, 255, 0, 0], [0, 0, 0, 20]]);
    for id in ["e", "f"] {
        let mask = io::read_mask(&scratch.path(&format!("{MASKS}/{id}.png"))).unwrap();
        assert_eq!(mask, ndarray::array![[0, 7, 7, 7], [0, 0, 0, 0], [12, 0, 0, 0]]);
    }
    // Read as colours, they are grey: programs that do not know palettes see the labels, too.
    let grey = image::open(scratch.path(&format!("{MASKS}/a.png"))).unwrap().to_luma8();
    assert_eq!(grey.get_pixel(3, 2).0, [20]);

    for (split, ids) in [(Split::Train, 4), (Split::Val, 2)] {
        let dataset =
            Benchmark::Pascal.open(&scratch.out(), split, &OpenOptions::default()).unwrap();
        assert_eq!(dataset.len(), ids);
        dataset.load(0).unwrap();
    }
    assert!(scratch.path("out/splits/pascal/trn/fold0.txt").is_file());
    assert!(scratch.path("out/splits/pascal/val/fold3.txt").is_file());

    let differences: Vec<_> = summary.differences().map(|count| count.what.as_str()).collect();
    assert!(differences.contains(&"masks") && differences.contains(&"listed train images"));
    let stored: Summary = serde_json::from_slice(&fs::read(summary.file()).unwrap()).unwrap();
    assert_eq!(stored, summary);
    assert!(!summary.left_out_file().exists());
}

#[test]
fn lists_of_voc_and_sbd_keep_their_order() {
    let scratch = archives();
    let lists = "out/VOC2012/ImageSets/denet";
    prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert!(!scratch.path(lists).exists());
    // Fetched afterwards.
    scratch.file(&format!("{SBD}/train_noval.txt"), "f\na\ne\n");
    let summary = prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert_eq!(scratch.text(&format!("{lists}/train.txt")), "b\na\nf\ne\n");
    assert_eq!(scratch.text(&format!("{lists}/test.txt")), "c\nd\nf\n");
    let both = summary.counts.iter().find(|count| count.what.contains("both lists")).unwrap();
    assert_eq!((both.found, both.differs()), (1, false));
    let tree = Benchmark::Pascal.detect(&scratch.out(), &OpenOptions::default()).unwrap();
    let images = WayImages::open(&tree, Purpose::Training, &IndexOptions::default()).unwrap();
    assert_eq!(images.dataset.ids, ["b", "a", "f", "e"]);
    assert_eq!(images.shown[2].labels, [(0, 8), (7, 3), (12, 1)]);
}

#[test]
fn what_is_done_is_not_done_again() {
    let scratch = archives();
    prepare(&scratch, &PrepareOptions::default()).unwrap();
    let before = scratch.content("out");
    let again = prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert_eq!(again.masks, MaskCounts { made: 0, kept: 6 });
    assert_eq!(again.images.kept, 6);
    assert_eq!(scratch.content("out"), before);

    // A source that changed, a mask that is gone, one that was cut short.
    test_tree::age(&scratch.path(&format!("{VOC}/SegmentationClass/a.png")), 10);
    fs::remove_file(scratch.path(&format!("{MASKS}/e.png"))).unwrap();
    scratch.file(&format!("{MASKS}/f.png"), "");
    let again = prepare(&scratch, &PrepareOptions::default()).unwrap();
    assert_eq!(again.masks, MaskCounts { made: 3, kept: 3 });
    assert_eq!(scratch.content("out"), before);
}

#[test]
fn interruptions_lose_nothing() {
    let scratch = archives();
    prepare(&scratch, &PrepareOptions::default()).unwrap();
    let whole = scratch.content("out");
    fs::remove_dir_all(scratch.out()).unwrap();
    interrupted_everywhere(6, |options| prepare(&scratch, options));
    assert_eq!(scratch.content("out"), whole);
}

#[test]
fn missing_archives_are_named() {
    let scratch = archives();
    let none = |from: &str| {
        message(prepare_pascal(&[scratch.path(from)], &scratch.out(), &PrepareOptions::default()))
    };
    names_all(
        &none("from/benchmark_RELEASE"),
        &["VOC 2012 is missing", "VOCtrainval_11-May-2012.tar"],
    );
    names_all(&none("from/VOCdevkit"), &["SBD is missing", "benchmark.tgz", "cls"]);
    names_all(&none("absent"), &["absent", "no such folder"]);
    // The archives may lie in different places.
    let both = [scratch.path("from/benchmark_RELEASE"), scratch.path("from/VOCdevkit")];
    prepare_pascal(&both, &scratch.out(), &PrepareOptions::default()).unwrap();
    // An archive of images alone.
    fs::remove_dir_all(scratch.path(&format!("{VOC}/SegmentationClass"))).unwrap();
    names_all(&none("from"), &["VOC2012 lacks SegmentationClass"]);
}

#[test]
fn bad_entries() {
    let scratch = archives();
    type Damage<'a> = (&'a str, &'a dyn Fn(), &'a [&'a str]);
    let damaged: [Damage<'_>; 6] = [
        (
            "e",
            &|| scratch.file(&format!("{SBD}/cls/e.mat"), &sbd(Style::PLAIN, 4, &[0; 12])[..300]),
            &["e.mat", "truncated", "unpack"],
        ),
        (
            "e",
            &|| scratch.file(&format!("{SBD}/cls/e.mat"), sbd(Style::PLAIN, 4, &[21; 12])),
            &["e.mat", "label 21", "line 0"],
        ),
        (
            "e",
            &|| scratch.file(&format!("{SBD}/cls/e.mat"), sbd(Style::PLAIN, 3, &[0; 12])),
            &["e.mat", "3x4", "4x3", "e.jpg"],
        ),
        (
            "f",
            &|| fs::remove_file(scratch.path(&format!("{SBD}/cls/f.mat"))).unwrap(),
            &["f: its mask", "SegmentationClass", "missing"],
        ),
        (
            "b",
            &|| scratch.file(&format!("{VOC}/SegmentationClass/b.png"), "no picture"),
            &["b.png", "not a PNG"],
        ),
        (
            "d",
            &|| fs::remove_file(scratch.path(&format!("{VOC}/JPEGImages/d.jpg"))).unwrap(),
            &["d: its image", "missing"],
        ),
    ];
    let mut bad = std::collections::BTreeSet::new();
    for (id, damage, words) in damaged {
        damage();
        bad.insert(id);
        let summary = prepare(&scratch, &skipping()).unwrap();
        assert_eq!(summary.left_out.len(), bad.len(), "{:?}", summary.left_out);
        let text = fs::read_to_string(summary.left_out_file()).unwrap();
        names_all(&text, words);
        let listed = ["train", "val"]
            .map(|split| scratch.text(&format!("out/VOC2012/ImageSets/{split}.txt")))
            .concat();
        assert!(!listed.lines().any(|line| line == id), "{id} is listed");
        let refused = message(prepare(&scratch, &PrepareOptions::default()));
        names_all(&refused, &["leave bad entries out (--skip-bad)"]);
        if bad.len() == 1 {
            names_all(&refused, words);
        }
        // There is no summary of work that was not finished.
        assert!(!summary.file().exists() && !summary.left_out_file().exists());
    }
}

#[test]
fn images_may_stay_where_they_are() {
    let scratch = archives();
    let options = PrepareOptions { images: ImageFiles::Skip, ..PrepareOptions::default() };
    let summary = prepare(&scratch, &options).unwrap();
    assert_eq!(summary.images, ImageCounts { left: 6, ..ImageCounts::default() });
    assert!(!scratch.path("out/VOC2012/JPEGImages").exists());
    let options = PrepareOptions { images: ImageFiles::Copy, ..PrepareOptions::default() };
    assert_eq!(prepare(&scratch, &options).unwrap().images.copied, 6);
}

#[test]
fn the_devkit_itself_may_be_completed() {
    let scratch = archives();
    let devkit = scratch.path("from/VOCdevkit");
    let summary = prepare_pascal(&scratch.from(), &devkit, &PrepareOptions::default()).unwrap();
    assert_eq!(summary.images.kept, 6);
    assert_eq!(summary.tree, scratch.path(VOC));
    let train = Benchmark::Pascal.open(&devkit, Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!(train.len(), 4);
    train.load(3).unwrap();
}

#[test]
fn foreign_files_are_not_touched() {
    let scratch = archives();
    scratch.file(&format!("{MASKS}/a.png"), "somebody's work");
    let text = message(prepare(&scratch, &PrepareOptions::default()));
    names_all(&text, &["SegmentationClassAug", "a.png", "another folder"]);
    assert_eq!(scratch.text(&format!("{MASKS}/a.png")), "somebody's work");
    fs::remove_file(scratch.path(&format!("{MASKS}/a.png"))).unwrap();
    scratch.file("out/VOC2012/ImageSets/train.txt", "mine");
    names_all(&message(prepare(&scratch, &PrepareOptions::default())), &["train.txt"]);
}
