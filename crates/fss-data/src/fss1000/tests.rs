use std::fs;

use super::*;
use crate::MaskIndex;
use crate::benchmark::{Benchmark, OpenOptions};
use crate::test_tree::Tree;

fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

/// Five categories; image n shows n pixels of its object.
fn tree(base: &str) -> Tree {
    let tree = Tree::empty();
    for category in ["abe's_fish", "bus", "comb", "Zebra", "adze"] {
        for number in 1..=10 {
            tree.binary_pair(&format!("{base}{category}"), number, number);
        }
    }
    tree
}

fn lists(tree: &Tree, folder: &str) {
    tree.file(&format!("{folder}/trn.txt"), b"bus\r\nabe's_fish\r\n");
    tree.file(&format!("{folder}/val.txt"), b"Zebra\n");
    tree.file(&format!("{folder}/test.txt"), b"comb\r\nadze\r\n");
}

#[test]
fn categories_are_numbered_through_the_splits() {
    for base in ["FSS-1000/", "", "fewshot_data/fewshot_data/"] {
        let tree = tree(base);
        lists(&tree, "elsewhere/splits/fss");
        let splits = tree.path("elsewhere");
        let root = FssRoot::detect(tree.root(), Some(&splits)).unwrap();
        assert_eq!(root.categories(Split::Train), ["abe's_fish", "bus"]);
        assert_eq!(root.first_class(Split::Test), 4);
        let test = root.dataset(Split::Test).unwrap();
        assert_eq!((test.name.as_str(), test.len()), ("fss1000 test", 20));
        assert_eq!(&test.ids[..3], ["adze/1", "adze/2", "adze/3"]);
        assert_eq!((test.ids[9].as_str(), test.ids[10].as_str()), ("adze/10", "comb/1"));
        assert_eq!((test.class_name(4), test.class_name(5)), ("adze", "comb"));
        let sample = test.load_class(11, 5).unwrap();
        assert_eq!((sample.id.as_str(), sample.mask.sum()), ("comb/2", 2));
        assert_eq!(root.fold().unwrap().novel_classes(), [3, 4, 5]);
        assert_eq!(MaskIndex::build(&test).unwrap().pixels(9, 1), 10);
        assert_eq!(root.dataset(Split::Val).unwrap().class_name(3), "Zebra");
    }
}

#[test]
fn lists_in_the_tree_are_found() {
    for folder in ["splits/fss", "fss"] {
        let tree = tree("FSS-1000/");
        lists(&tree, folder);
        let root = Benchmark::Fss1000.detect(tree.root(), &OpenOptions::default()).unwrap();
        assert!(root.summary().contains("2 for training, 1 for validation, 2 for testing"));
        assert_eq!(root.dataset(Split::Train).unwrap().len(), 20);
        assert_eq!(root.class_names().len(), 5);
    }
}

#[test]
fn without_lists_the_library_divides_and_says_so() {
    let tree = tree("");
    let root = FssRoot::detect(tree.root(), None).unwrap();
    assert_eq!(root.split(), &CategorySplit::Own);
    assert!(root.summary().contains("NOT the published split"));
    assert_eq!(root.dataset(Split::Val).unwrap().name, "fss1000 val (own split)");
    let sizes = Split::ALL.map(|split| root.categories(split).len());
    assert_eq!(sizes, [3, 1, 1]);
    // Lists that were asked for must be there.
    let error = message(FssRoot::detect(tree.root(), Some(&tree.path("bus"))));
    assert!(error.contains("{trn,val,test}.txt") && error.contains("splits/fss/"), "{error}");
}

#[test]
fn the_own_division_has_the_published_sizes_and_ignores_the_order() {
    let names: Vec<String> = (0..1000).map(|n| format!("category_{n}")).collect();
    let parts = own_division(names.clone());
    assert_eq!(parts.each_ref().map(Vec::len), PUBLISHED_SIZES);
    assert!(parts.iter().all(|part| part.is_sorted()));
    assert_eq!(own_division(names.iter().rev().cloned()), parts);
    let mut all = parts.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1000);
    // The rule is part of the interface: this very division must stay.
    assert_eq!(parts[2][..2], ["category_103", "category_109"]);
    assert_eq!(own_division(Vec::new()), [const { Vec::<String>::new() }; 3]);
}

#[test]
fn lists_and_folders_must_agree() {
    let tree = tree("");
    lists(&tree, "fss");
    let with = |name: &str, text: &str| {
        let old = fs::read(tree.path(name)).unwrap();
        tree.file(name, text.as_bytes());
        let error = message(FssRoot::detect(tree.root(), None));
        fs::write(tree.path(name), old).unwrap();
        error
    };
    let error = with("fss/val.txt", "Zebra\nyak\n");
    assert!(error.contains("1 of 6") && error.contains("yak"), "{error}");
    let error = with("fss/val.txt", "Zebra\nbus\n");
    assert!(error.contains("more than once (bus)"), "{error}");
    let error = with("fss/val.txt", "bus/1.jpg\n");
    assert!(error.contains("line 1") && error.contains("val.txt"), "{error}");
    let error = with("fss/val.txt", "\n");
    assert!(error.contains("empty"), "{error}");
    fs::remove_file(tree.path("fss/val.txt")).unwrap();
    assert!(message(FssRoot::detect(tree.root(), None)).contains("val.txt"));
}

#[test]
fn a_foreign_tree_is_told_what_was_looked_for() {
    let tree = Tree::new();
    let error = message(FssRoot::detect(tree.root(), None));
    assert!(error.contains("<category>/1.jpg") && error.contains("FSS-1000/"), "{error}");
    assert!(message(FssRoot::detect(&tree.path("absent"), None)).contains("no such folder"));
}
