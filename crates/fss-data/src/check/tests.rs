use std::fs;
use std::sync::Mutex;

use super::*;
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

fn check(tree: &Tree) -> DatasetReport {
    check_with(tree, &CheckOptions { min_pixels: 100, shots: vec![1, 2], ..Default::default() })
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
    assert!(has(&report, &["1 images are in both lists", "v3", "training list"]));
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
fn classes_that_cannot_be_dealt_are_an_error() {
    let tree = tree();
    let mut dataset = tree.dataset(Split::Val);
    dataset.class_names.truncate(7);
    assert!(check_dataset(&[(Split::Val, dataset)], &CheckOptions::default()).is_err());
}
