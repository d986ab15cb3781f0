use std::fs;
use std::sync::Mutex;

use super::*;
use crate::Split;
use crate::test_tree::{Tree, age};

fn tree() -> Tree {
    let tree = Tree::new();
    tree.pair("a", 2, 50, &[0, 1, 1, 255]);
    tree.pair("b", 3, 50, &[20, 20, 0]);
    tree.pair("c", 1, 50, &[0]);
    tree.list(Split::Train, &["a", "b"]);
    tree.list(Split::Val, &["c"]);
    tree
}

fn build(tree: &Tree, split: Split) -> MaskIndex {
    MaskIndex::build(&tree.dataset(split)).unwrap()
}

fn report(cached: usize, read: usize, dropped: usize) -> IndexReport {
    IndexReport { cached, read, dropped }
}

#[test]
fn counts_by_position() {
    let tree = tree();
    let dataset = tree.dataset(Split::Train);
    let index = build(&tree, Split::Train);
    assert_eq!(index.len(), 2);
    assert_eq!(index.pixels(0, 1), 2);
    assert_eq!(index.pixels(1, 1), 0);
    assert_eq!(index.mask(1).counts(), [(0, 1), (20, 2)]);
    assert_eq!((index.mask(1).width, index.mask(1).height), (3, 1));
    let listing = index.listing(&dataset);
    assert_eq!(listing[0].id, "a");
    assert_eq!((listing[0].width, listing[0].height), (2, 2));
    assert_eq!(listing[0].pixels[&1], 2);
}

#[test]
fn a_second_run_reads_no_mask() {
    let tree = tree();
    let first = build(&tree, Split::Train);
    assert_eq!(first.report(), report(0, 2, 0));
    assert!(tree.path(CACHE_FILE).is_file());
    let second = build(&tree, Split::Train);
    assert_eq!(second.report(), report(2, 0, 0));
    assert_eq!(second.masks(), first.masks());
    // The other split shares the file and keeps the entries.
    assert_eq!(build(&tree, Split::Val).report(), report(0, 1, 0));
    assert_eq!(build(&tree, Split::Train).report(), report(2, 0, 0));
}

#[test]
fn a_changed_mask_is_read_again() {
    let tree = tree();
    build(&tree, Split::Train);
    // Another time, and other content of the same size.
    let path = tree.path("SegmentationClass/a.png");
    let bytes = fs::metadata(&path).unwrap().len();
    tree.mask("a", 2, &[0, 2, 2, 255]);
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes, "the test wants files of one size");
    age(&path, 1000);
    let index = build(&tree, Split::Train);
    assert_eq!(index.report(), report(1, 1, 0));
    assert_eq!(index.pixels(0, 2), 2);
    assert_eq!(index.pixels(0, 1), 0);

    // The time alone, as after a copy.
    age(&path, 2000);
    assert_eq!(build(&tree, Split::Train).report(), report(1, 1, 0));

    // The size alone: the time is set back to what it was.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    tree.mask("a", 4, &[0, 2, 2, 255, 5, 6, 7, 8]);
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let index = build(&tree, Split::Train);
    assert_eq!(index.report(), report(1, 1, 0));
    assert_eq!(index.mask(0).width, 4);
    assert_eq!(build(&tree, Split::Train).report(), report(2, 0, 0));
}

#[test]
fn entries_of_masks_that_are_gone_are_dropped() {
    let tree = tree();
    build(&tree, Split::Train);
    tree.list(Split::Train, &["a"]);
    assert_eq!(build(&tree, Split::Train).report(), report(1, 0, 0), "b is still there");
    fs::remove_file(tree.path("SegmentationClass/b.png")).unwrap();
    assert_eq!(build(&tree, Split::Train).report(), report(1, 0, 1));
    assert!(!fs::read_to_string(tree.path(CACHE_FILE)).unwrap().contains("b.png"));
    assert_eq!(build(&tree, Split::Train).report(), report(1, 0, 0));
}

#[test]
fn a_damaged_cache_is_built_anew() {
    let tree = tree();
    let good = build(&tree, Split::Train);
    let text = fs::read_to_string(tree.path(CACHE_FILE)).unwrap();
    let mut damaged = vec![
        Vec::new(),
        b"{".to_vec(),
        b"[1, 2]".to_vec(),
        vec![0xFF; 100],
        text.as_bytes()[..text.len() / 2].to_vec(),
        text.replace("\"version\":2", "\"version\":999").into_bytes(),
    ];
    // Readable, but the counts do not add up to the size.
    assert!(text.contains("[20,2]"), "{text}");
    damaged.push(text.replace("[20,2]", "[20,3]").into_bytes());
    damaged.push(text.replace("[0,1],[20,2]", "[20,2],[0,1]").into_bytes());
    for bytes in damaged {
        fs::write(tree.path(CACHE_FILE), &bytes).unwrap();
        let index = build(&tree, Split::Train);
        assert_eq!(index.report(), report(0, 2, 0), "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(index.masks(), good.masks());
        assert_eq!(build(&tree, Split::Train).report(), report(2, 0, 0));
    }
}

#[test]
fn the_cache_may_lie_elsewhere_or_be_off() {
    let (tree, other) = (tree(), tree());
    other.pair("a", 2, 50, &[9, 9, 9, 9]);
    let place = tree.path("new/folder/index.json");
    let at = |tree: &Tree| {
        let cache = CachePlace::At(place.clone());
        let options = IndexOptions { cache, ..Default::default() };
        MaskIndex::build_with(&tree.dataset(Split::Train), &options).unwrap()
    };
    assert_eq!(at(&tree).report(), report(0, 2, 0));
    // Trees that share one file do not see each other's masks.
    assert_eq!(at(&other).report(), report(0, 2, 0));
    assert_eq!(at(&other).pixels(0, 9), 4);
    assert_eq!(at(&tree).report(), report(2, 0, 0));
    assert!(!tree.path(CACHE_FILE).exists());

    let off = IndexOptions { cache: CachePlace::Off, ..Default::default() };
    for _ in 0..2 {
        let index = MaskIndex::build_with(&tree.dataset(Split::Train), &off).unwrap();
        assert_eq!(index.report(), report(0, 2, 0));
    }
    assert!(!tree.path(CACHE_FILE).exists());
}

#[test]
fn two_processes_that_index_at_once_keep_each_others_entries() {
    let tree = tree();
    // While the training masks are counted, another process counts those of the other split.
    let other = Mutex::new(None);
    let progress = |done: usize, _: usize| {
        if done == 1 {
            *other.lock().unwrap() = Some(build(&tree, Split::Val).report());
        }
    };
    let options = IndexOptions { progress: Some(&progress), ..Default::default() };
    MaskIndex::build_with(&tree.dataset(Split::Train), &options).unwrap();
    assert_eq!(other.into_inner().unwrap(), Some(report(0, 1, 0)));
    assert_eq!(build(&tree, Split::Val).report(), report(1, 0, 0));
    assert_eq!(build(&tree, Split::Train).report(), report(2, 0, 0));
}

#[test]
fn a_cache_that_cannot_be_written_is_no_failure() {
    let tree = tree();
    let file = tree.file("file", b"not a folder");
    let cache = CachePlace::At(file.join("index.json"));
    let options = IndexOptions { cache, ..Default::default() };
    let index = MaskIndex::build_with(&tree.dataset(Split::Train), &options).unwrap();
    assert_eq!(index.report(), report(0, 2, 0));
}

#[test]
fn the_first_bad_mask_is_the_error_and_good_ones_are_kept() {
    let tree = tree();
    tree.list(Split::Train, &["a", "absent", "b", "broken"]);
    tree.file("SegmentationClass/broken.png", b"no picture");
    let error = MaskIndex::build(&tree.dataset(Split::Train)).unwrap_err().to_string();
    assert!(error.contains("absent.png") && error.contains("missing"), "{error}");
    tree.list(Split::Train, &["a", "broken", "b"]);
    let error = MaskIndex::build(&tree.dataset(Split::Train)).unwrap_err().to_string();
    assert!(error.contains("broken.png"), "{error}");
    tree.list(Split::Train, &["a", "b"]);
    assert_eq!(build(&tree, Split::Train).report(), report(2, 0, 0));
}

#[test]
fn progress_counts_every_mask_once() {
    let tree = tree();
    let seen = Mutex::new(Vec::new());
    let progress = |done: usize, total: usize| seen.lock().unwrap().push((done, total));
    let options = IndexOptions { progress: Some(&progress), ..Default::default() };
    MaskIndex::build_with(&tree.dataset(Split::Train), &options).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 2), (2, 2)]);
}
