use std::fs;
use std::sync::Mutex;

use super::*;
use crate::Benchmark;
use crate::folds::FoldScheme;
use crate::lists::ListOptions;
use crate::test_tree::Tree;

const SIZE: (u32, u32) = (40, 30);

/// Two novel and one base image set for fold 0: classes 1 and 2 in val, 6 in train.
fn tree() -> Tree {
    let tree = Tree::new();
    for (id, areas) in [
        ("v0", &[(1u8, 200usize), (255, 30)][..]),
        ("v1", &[(1, 150)]),
        ("v2", &[(1, 120), (2, 5)]),
        ("v3", &[(2, 300)]),
    ] {
        tree.shapes(id, SIZE, areas);
    }
    for id in ["t0", "t1", "t2"] {
        tree.shapes(id, SIZE, &[(6, 500)]);
    }
    tree.list(Split::Train, &["t0", "t1", "t2"]);
    tree.list(Split::Val, &["v0", "v1", "v2", "v3"]);
    tree
}

fn check_with(tree: &Tree, options: &CheckOptions<'_>) -> DatasetReport {
    let splits = Split::TRAIN_VAL.map(|split| (split, tree.dataset(split)));
    check_dataset(&splits, options).unwrap()
}

fn folds() -> Vec<Fold> {
    (0..4).map(|fold| Fold::pascal(fold).unwrap()).collect()
}

fn check(tree: &Tree) -> DatasetReport {
    let shots = vec![1, 2];
    check_with(tree, &CheckOptions { folds: folds(), min_pixels: 100, shots, ..Default::default() })
}

fn fold(report: &DatasetReport, index: usize, split: Split) -> &FoldReport {
    report.folds.iter().find(|fold| fold.fold == index && fold.split == split).unwrap()
}

fn has(report: &DatasetReport, parts: &[&str]) -> bool {
    let findings: Vec<String> = report.findings().iter().map(Finding::to_string).collect();
    findings.iter().any(|finding| parts.iter().all(|part| finding.contains(part)))
}

#[test]
fn counts_of_a_sound_dataset() {
    let report = check(&tree());
    let [train, val] = &report.splits[..] else { panic!("two splits") };
    assert_eq!((train.listed, train.sound), (3, 3));
    assert_eq!((val.listed, val.sound), (4, 4));
    let counts = |label: usize| &val.classes[label - 1];
    assert_eq!((counts(1).images, counts(1).too_small, counts(1).pixels), (3, 0, 470));
    assert_eq!((counts(2).images, counts(2).too_small, counts(2).pixels), (2, 1, 305));
    assert_eq!(counts(2).name, "bicycle");
    assert_eq!(val.ignored_pixels, 30);
    assert_eq!(val.background_pixels, 4 * 40 * 30 - 470 - 305 - 30);
    assert!(report.shared_ids.is_empty());
}

#[test]
fn episodes_of_the_folds() {
    let report = check(&tree());
    assert_eq!(report.folds.len(), 8);
    let novel = fold(&report, 0, Split::Val);
    assert_eq!(novel.images, 4);
    let classes: Vec<_> =
        novel.classes.iter().map(|class| (class.label, class.images, class.eligible)).collect();
    assert_eq!(classes, [(1, 3, 3), (2, 2, 1), (3, 0, 0), (4, 0, 0), (5, 0, 0)]);
    assert_eq!(novel.classes[1].pixels, 305);
    // One support. Class 1: 3 queries with 2 supports each. Class 2: v2 can be supported by v3, not
    // the other way round, as its object is too small.
    assert_eq!((novel.episodes[0].queries, novel.episodes[0].episodes), (4, 7));
    assert_eq!(novel.episodes[0].short_classes, [(2, 1)]);
    // Two supports. Class 1 only: 3 queries, one pair each.
    assert_eq!((novel.episodes[1].queries, novel.episodes[1].episodes), (3, 3));
    assert!(has(&report, &["1 class lacks images", "2 supports", "fold 0 of val", "2 bicycle: 1"]));

    let base = fold(&report, 0, Split::Train);
    assert_eq!(base.classes.len(), 15);
    assert_eq!((base.images, base.episodes[0].episodes), (3, 6));
    // Class 6 is novel in fold 1.
    assert_eq!(fold(&report, 1, Split::Train).images, 0);
    assert!(has(&report, &["no image can be drawn in fold 1 of train"]));
    assert!(!report.is_clean());
}

#[test]
fn every_kind_of_bad_file_is_found() {
    let tree = tree();
    fs::remove_file(tree.path("JPEGImages/v0.jpg")).unwrap();
    fs::remove_file(tree.path("SegmentationClass/v1.png")).unwrap();
    let jpeg = fs::read(tree.path("JPEGImages/v2.jpg")).unwrap();
    tree.file("JPEGImages/v2.jpg", &jpeg[..jpeg.len() - 100]);
    tree.file("SegmentationClass/v3.png", b"no picture");
    tree.image("t0", 30, 40, 9);
    tree.shapes("t1", SIZE, &[(6, 500), (77, 3), (200, 4)]);
    tree.shapes("t2", SIZE, &[(255, 500)]);
    let report = check(&tree);
    let [train, val] = &report.splits[..] else { panic!("two splits") };
    assert_eq!(val.sound, 0);
    assert!(val.missing_images[0].ends_with("v0.jpg") && val.missing_images.len() == 1);
    assert!(val.missing_masks[0].ends_with("v1.png") && val.missing_masks.len() == 1);
    let unreadable: Vec<&str> = val.unreadable.iter().map(|file| file.file.as_str()).collect();
    assert!(unreadable[0].ends_with("v2.jpg") && unreadable[1].ends_with("v3.png"));
    assert!(val.unreadable[0].problem.contains("truncated"));
    assert_eq!(train.sound, 2);
    assert!(train.size_mismatches[0].problem.contains("30x40"));
    assert_eq!(train.unknown_labels[0].labels, [(77, 3), (200, 4)]);
    assert_eq!(train.without_object, ["t2"]);
    for parts in [
        ["1 images of pascal val are missing", "v0.jpg"],
        ["1 masks of pascal val are missing", "v1.png"],
        ["2 files of pascal val cannot be read", "v2.jpg"],
        ["1 masks of pascal train differ in size", "40x30"],
        ["1 masks of pascal train hold labels of no class", "77: 3 px"],
        ["1 images of pascal train show no object", "t2"],
    ] {
        assert!(has(&report, &parts), "{parts:?} in {:#?}", report.findings());
    }
}

#[test]
fn headers_alone_do_not_show_damage() {
    let tree = tree();
    let jpeg = fs::read(tree.path("JPEGImages/v2.jpg")).unwrap();
    tree.file("JPEGImages/v2.jpg", &jpeg[..jpeg.len() - 2]);
    let options = CheckOptions { images: ImageCheck::Header, ..Default::default() };
    assert!(check_with(&tree, &options).splits[1].unreadable.is_empty());
    assert_eq!(check(&tree).splits[1].unreadable.len(), 1);
}

#[test]
fn repeated_and_shared_ids_are_found() {
    let tree = tree();
    tree.list(Split::Train, &["t0", "t1", "t0", "v3", "t0"]);
    let report = check(&tree);
    assert_eq!(report.splits[0].repeated_ids, ["t0"]);
    assert_eq!(report.splits[0].sound, 3);
    assert_eq!(report.shared_ids, ["v3"]);
    assert!(has(&report, &["1 images are in several lists", "v3", "training list"]));
    assert!(has(&report, &["more than once", "t0"]));
}

#[test]
fn a_dataset_with_all_classes_is_clean() {
    let tree = Tree::new();
    let mut ids: Vec<Vec<String>> = vec![Vec::new(); 2];
    for class in 1..=20u8 {
        for copy in 0..3 {
            for (part, ids) in ids.iter_mut().enumerate() {
                let id = format!("{part}_{class}_{copy}");
                tree.shapes(&id, SIZE, &[(class, 150)]);
                ids.push(id);
            }
        }
    }
    tree.shapes("empty", SIZE, &[]);
    ids[0].push("empty".into());
    for (split, ids) in std::iter::zip(Split::TRAIN_VAL, &ids) {
        tree.list(split, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let report = check(&tree);
    assert!(report.is_clean(), "{:#?}", report.findings());
    // The empty image is worth a note.
    assert_eq!(report.findings().len(), 1);
    assert_eq!(report.findings()[0].severity, Severity::Note);
    assert!(report.folds.iter().all(|fold| fold.images == 3 * fold.classes.len()));
}

#[test]
fn reports_travel_as_json_and_progress_covers_every_file() {
    let tree = tree();
    let seen = Mutex::new(Vec::new());
    let progress = |done: usize, total: usize| seen.lock().unwrap().push((done, total));
    let options = CheckOptions { progress: Some(&progress), ..Default::default() };
    let report = check_with(&tree, &options);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<DatasetReport>(&text).unwrap(), report);
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=14).map(|done| (done, 14)).collect::<Vec<_>>());
}

#[test]
fn lists_of_the_hsnet_protocol() {
    let tree = tree();
    let lists = |source: Option<&str>| {
        let options = ListOptions { source: source.map(|name| tree.path(name)), min_pixels: 100 };
        let lists = Some(ListCheck { benchmark: Benchmark::Pascal, options });
        let folds = vec![Fold::pascal(0).unwrap()];
        check_with(&tree, &CheckOptions { folds, min_pixels: 100, lists, ..Default::default() })
    };
    // Class 2 has one image of 100 pixels or more, so that its queries have no support.
    let built = lists(None);
    assert_eq!(built.lists.len(), 2);
    let val = built.lists.iter().find(|list| list.split == Split::Val).unwrap();
    assert!(val.problem.as_ref().unwrap().contains("class 1 has 1 image(s)") && !val.given);
    assert!(has(&built, &["1 lists of the HSNet protocol cannot be used", "fold 0 of val"]));
    let train = built.lists.iter().find(|list| list.split == Split::Train).unwrap();
    assert_eq!((train.pairs, train.images, train.published), (3, 3, false));

    tree.file("own/val/fold0.txt", b"v0__01\nv2__02\nv1__01\nv3__02\n");
    let given = lists(Some("own"));
    let val = given.lists.iter().find(|list| list.split == Split::Val).unwrap();
    assert_eq!((val.pairs, val.images, val.given), (4, 4, true));
    assert!(has(&given, &["1 lists that were given are not the published ones", "4 entries"]));
    assert!(has(&given, &["1 lists of the HSNet protocol cannot be used", "fold1.txt"]));
    assert!(!given.is_clean());
}

#[test]
fn classes_of_other_splits_are_not_missed_in_fss1000() {
    let tree = Tree::empty();
    for category in ["a", "b", "c", "d"] {
        for number in 1..=10 {
            tree.binary_pair(&format!("FSS-1000/{category}"), number, 5);
        }
    }
    for (split, name) in [("trn", "a\nb\n"), ("val", "c\n"), ("test", "d\n")] {
        tree.file(&format!("fss/{split}.txt"), name.as_bytes());
    }
    let root = Benchmark::Fss1000.detect(tree.root(), &Default::default()).unwrap();
    let splits = Split::ALL.map(|split| (split, root.dataset(split).unwrap()));
    let options = ListOptions::default();
    let report = check_dataset(
        &splits,
        &CheckOptions {
            folds: root.folds(FoldScheme::Listed).unwrap(),
            min_pixels: 1,
            lists: Some(ListCheck { benchmark: Benchmark::Fss1000, options }),
            ..Default::default()
        },
    )
    .unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings());
    let classes: Vec<usize> = report.folds.iter().map(|fold| fold.classes.len()).collect();
    assert_eq!(classes, [2, 1, 1]);
    assert_eq!(fold(&report, 0, Split::Test).classes[0].label, 4);
    assert_eq!(fold(&report, 0, Split::Test).classes[0].pixels, 50);
    assert_eq!(report.lists.iter().map(|list| list.pairs).collect::<Vec<_>>(), [20, 10, 10]);
}

#[test]
fn folds_of_both_schemes_are_told_apart() {
    let tree = tree();
    let mut all = folds();
    all.push(Fold::new(1, 20, FoldScheme::Interleaved).unwrap());
    let report = check_with(&tree, &CheckOptions { folds: all, ..Default::default() });
    assert_eq!(report.folds.len(), 10);
    assert_eq!(report.folds[9].classes[0].label, 2);
    assert!(has(&report, &["fold 1 (interleaved) of val"]));
    assert!(has(&report, &["fold 1 (contiguous) of val"]));
}

#[test]
fn classes_that_cannot_be_dealt_are_an_error() {
    let tree = tree();
    let mut dataset = tree.dataset(Split::Val);
    dataset.class_names.truncate(7);
    let options = CheckOptions { folds: folds(), ..Default::default() };
    let error = check_dataset(&[(Split::Val, dataset)], &options).unwrap_err().to_string();
    assert!(error.contains("20 classes") && error.contains("has 7"), "{error}");
}
