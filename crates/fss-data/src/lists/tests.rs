use std::path::Path;

use super::*;
use crate::Split::{Train, Val};
use crate::benchmark::OpenOptions;
use crate::folds::FoldScheme;
use crate::pascal::{HsnetEntry, read_hsnet_list};
use crate::sampler::HsnetSampler;
use crate::test_tree::Tree;

fn message<T: fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

fn at(source: &Path) -> ListOptions {
    ListOptions { source: Some(source.to_path_buf()), ..Default::default() }
}

fn other(entries: usize, published: usize) -> Standing {
    Standing::Other { entries, published }
}

/// Names of the images of a class, 0-based, as the listing has them.
fn images_of(lists: &HsnetLists, class: usize) -> Vec<&str> {
    let images = lists.listing.images();
    lists.listing.images_of(class).iter().map(|&image| images[image].as_str()).collect()
}

/// 40 x 30 pixels an image; every class of fold 0 twice, class 6 twice, and what no list may hold.
fn pascal_tree() -> Tree {
    let tree = Tree::new();
    let size = (40, 30);
    for (class, id) in [(1, "d"), (2, "b"), (3, "f"), (4, "h"), (5, "j")] {
        tree.shapes(id, size, &[(class, 100)]);
        tree.shapes(&format!("{id}2"), size, &[(class, 120), (6, 99), (255, 500)]);
    }
    tree.shapes("a", size, &[(6, 300), (1, 100)]);
    tree.shapes("c", size, &[(6, 300)]);
    let ids = ["j2", "h2", "f2", "b2", "d2", "a", "b", "c", "d", "f", "h", "j"];
    tree.list(Train, &ids);
    tree.list(Val, &ids);
    tree
}

fn pascal(tree: &Tree, fold: usize, split: Split, options: &ListOptions) -> HsnetLists {
    let dataset = tree.dataset(split);
    let index = MaskIndex::build(&dataset).unwrap();
    let fold = Fold::pascal(fold).unwrap();
    hsnet_listing(Benchmark::Pascal, &dataset, &index, &fold, split, options).unwrap()
}

#[test]
fn pascal_lists_are_built_in_the_published_order() {
    let tree = pascal_tree();
    let dataset = tree.dataset(Val);
    let index = MaskIndex::build(&dataset).unwrap();
    let pairs = |split, min_pixels| -> Vec<String> {
        pascal_pairs(&dataset, &index, split, min_pixels)
            .into_iter()
            .map(|pair| format!("{}{}", pair.id, pair.class))
            .collect()
    };
    assert_eq!(
        pairs(Val, 100),
        ["a1", "a6", "b2", "b22", "c6", "d1", "d21", "f3", "f23", "h4", "h24", "j5", "j25"]
    );
    let train = pairs(Train, 100);
    assert_eq!(train[..4], ["a1", "d1", "d21", "b2"]);
    assert_eq!(train.len(), 13);
    assert_eq!(pairs(Val, 99).len(), 13 + 5);
    assert_eq!(pairs(Val, 2048).len(), 0);
}

#[test]
fn the_pairs_of_a_fold_and_where_they_are() {
    let tree = pascal_tree();
    let options = ListOptions { min_pixels: 100, ..Default::default() };
    let novel = pascal(&tree, 0, Val, &options);
    assert_eq!(novel.listing.classes().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(novel.listing.listed_queries(), Some(11));
    assert_eq!(images_of(&novel, 0), ["a", "d", "d2"]);
    let dataset = tree.dataset(Val);
    for (name, &position) in novel.listing.images().iter().zip(&novel.positions) {
        assert_eq!(&dataset.ids[position], name);
    }
    assert_eq!(novel.origin.standing, other(11, 346));
    let text = novel.origin.to_string();
    assert!(text.contains("100 pixels") && text.contains("NOT the published"), "{text}");

    // Class 6 is a base class of fold 0, and the only one there is.
    let base = pascal(&tree, 0, Train, &options);
    assert_eq!(base.listing.classes().collect::<Vec<_>>(), [5]);
    assert_eq!(images_of(&base, 5), ["a", "c"]);
    assert_eq!(base.origin.standing, other(2, 3425 + 5883 + 2086));
    let dataset = tree.dataset(Train);
    let index = MaskIndex::build(&dataset).unwrap();
    let fold = Fold::pascal(1).unwrap();
    let error =
        message(hsnet_listing(Benchmark::Pascal, &dataset, &index, &fold, Val, &at(tree.root())));
    assert!(error.contains("no lists of PASCAL-5i") && error.contains("splits/pascal"), "{error}");
}

#[test]
fn written_pascal_lists_give_the_same_listing() {
    let tree = pascal_tree();
    let splits = tree.path("lists/splits");
    for split in [Train, Val] {
        let dataset = tree.dataset(split);
        let index = MaskIndex::build(&dataset).unwrap();
        let files = write(Benchmark::Pascal, &splits, split, &dataset, &index, 100).unwrap();
        assert_eq!(files.iter().map(|file| file.entries).collect::<Vec<_>>(), [11, 2, 0, 0]);
        assert_eq!(files[0].standing, other(11, if split == Val { 346 } else { 2286 }));
    }
    let entries = read_hsnet_list(&splits.join("pascal/val/fold1.txt")).unwrap();
    assert_eq!(entries[0], HsnetEntry { id: "a".into(), class: 6 });
    // A fold without an image has an empty list, which is refused where it is all there is.
    let built = pascal(&tree, 0, Val, &ListOptions { min_pixels: 100, ..Default::default() });
    for folder in ["lists", "lists/splits", "lists/splits/pascal"] {
        let read = pascal(&tree, 0, Val, &at(&tree.path(folder)));
        assert_eq!(
            (read.listing, read.positions),
            (built.listing.clone(), built.positions.clone())
        );
        assert!(read.origin.to_string().contains("val/fold0.txt"));
    }
    let dataset = tree.dataset(Val);
    let index = MaskIndex::build(&dataset).unwrap();
    let listing = |fold| {
        let fold = Fold::pascal(fold).unwrap();
        hsnet_listing(Benchmark::Pascal, &dataset, &index, &fold, Val, &at(&splits))
    };
    let error = message(listing(2));
    assert!(error.contains("fold2.txt") && error.contains("empty"), "{error}");
    let base = hsnet_listing(
        Benchmark::Pascal,
        &tree.dataset(Train),
        &index,
        &Fold::pascal(0).unwrap(),
        Train,
        &at(&splits),
    );
    assert_eq!(base.unwrap().listing.classes().collect::<Vec<_>>(), [5]);
    tree.file("lists/splits/pascal/val/fold0.txt", b"b__02\nb2__02\nyak__01\ncow__01\n");
    let error = message(listing(0));
    assert!(error.contains("2 of 4 images") && error.contains("yak, cow"), "{error}");
    tree.file("lists/splits/pascal/val/fold0.txt", b"b__02\nb2__06\n");
    let error = message(listing(0));
    assert!(error.contains("b2 names class 6"), "{error}");
}

/// 16 classes; image n shows class 1 + n mod 16, and all even ones class 2 as well.
fn coco_tree() -> Tree {
    let tree = Tree::empty();
    let names: Vec<String> = (0..16).map(|class| format!("class {class}")).collect();
    tree.file("COCO2014/classes.txt", names.join("\n").as_bytes());
    for (split, count) in [("train2014", 64), ("val2014", 48)] {
        for number in 0..count {
            let second = if number % 2 == 0 { 2 } else { 0 };
            tree.pair_at(
                &format!("COCO2014/{split}/COCO_{split}_{number:012}.jpg"),
                &format!("COCO2014/annotations/{split}/COCO_{split}_{number:012}.png"),
                2,
                &[1 + (number % 16) as u8, second],
            );
        }
    }
    tree
}

fn coco(
    tree: &Tree,
    (fold, scheme): (usize, FoldScheme),
    split: Split,
    options: &ListOptions,
) -> Result<HsnetLists, DataError> {
    let root = Benchmark::Coco.detect(tree.root(), &OpenOptions::default())?;
    let dataset = root.dataset(split)?;
    let index = MaskIndex::build(&dataset)?;
    hsnet_listing(Benchmark::Coco, &dataset, &index, &root.fold(fold, scheme)?, split, options)
}

#[test]
fn coco_lists_are_built_by_any_pixel_in_the_order_of_numbers() {
    let tree = coco_tree();
    let lists = coco(&tree, (1, FoldScheme::Interleaved), Val, &ListOptions::default()).unwrap();
    assert_eq!(lists.listing.classes().collect::<Vec<_>>(), [1, 5, 9, 13]);
    assert_eq!(
        images_of(&lists, 5),
        [5, 21, 37].map(|n| format!("val2014/COCO_val2014_{n:012}.jpg"))
    );
    assert_eq!(images_of(&lists, 1).len(), 24 + 3);
    assert_eq!(lists.origin.standing, other(36, 17_912));
    for (name, &position) in lists.listing.images().iter().zip(&lists.positions) {
        assert!(name.ends_with(&format!("{position:012}.jpg")));
    }
    let base = coco(&tree, (1, FoldScheme::Contiguous), Train, &ListOptions::default()).unwrap();
    assert_eq!(
        base.listing.classes().collect::<Vec<_>>(),
        [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]
    );
}

#[test]
fn all_forms_of_coco_lists_agree() {
    let tree = coco_tree();
    let splits = tree.path("elsewhere/splits");
    let pickles = Tree::empty();
    let texts = Tree::empty();
    for split in [Train, Val] {
        let dataset = Benchmark::Coco.open(tree.root(), split, &OpenOptions::default()).unwrap();
        let index = MaskIndex::build(&dataset).unwrap();
        let files = write(Benchmark::Coco, &splits, split, &dataset, &index, 0).unwrap();
        assert_eq!(files.len(), 1);
        let lists = read_coco_text(&files[0].path).unwrap();
        assert_eq!(lists, coco_lists(&dataset, &index));
        assert_eq!(files[0].entries, lists.values().map(Vec::len).sum::<usize>());
        // As published: a file a fold, with empty lists for the classes of the other side.
        for fold in 0..4 {
            let here: ClassLists = lists
                .iter()
                .map(|(&class, names)| match (class % 4 == fold) == (split == Val) {
                    true => (class, names.clone()),
                    false => (class, Vec::new()),
                })
                .collect();
            let name = format!("coco/{}/fold{fold}", split_name(split));
            let bytes = serde_pickle::to_vec(&here, serde_pickle::SerOptions::new()).unwrap();
            pickles.file(&format!("{name}.pkl"), &bytes);
            let text = texts.file(&format!("{name}.txt"), b"");
            write_coco_text(&text, &here).unwrap();
        }
    }
    for scheme in [FoldScheme::Interleaved, FoldScheme::Contiguous] {
        for (fold, split) in [(0, Train), (3, Train), (0, Val), (2, Val)] {
            let built = coco(&tree, (fold, scheme), split, &ListOptions::default()).unwrap();
            for source in [splits.as_path(), pickles.root(), texts.root()] {
                let read = coco(&tree, (fold, scheme), split, &at(source)).unwrap();
                assert_eq!(read.listing, built.listing, "{source:?} {scheme} {split}");
                assert_eq!(read.positions, built.positions);
            }
        }
    }
    // Lists in the tree itself are found.
    std::fs::rename(&splits, tree.path("splits")).unwrap();
    let found =
        coco(&tree, (1, FoldScheme::Contiguous), Val, &ListOptions::default()).unwrap().origin;
    assert!(found.to_string().contains("splits/coco/val.txt"), "{found}");
    let one = coco(&tree, (2, FoldScheme::Interleaved), Train, &at(pickles.root())).unwrap();
    let ListSource::Files(files) = one.origin.source else { panic!("not from files") };
    assert!(files.len() == 1 && files[0].ends_with("coco/trn/fold2.pkl"));
}

#[test]
fn coco_lists_may_name_images_by_number_and_keep_their_order() {
    let tree = coco_tree();
    let lists = Tree::empty();
    let text: String =
        (0..16).map(|class| format!("{class}\t{} {class} {}\n", class + 32, class + 16)).collect();
    lists.file("val.txt", format!("# numbers\n\n{text}").as_bytes());
    let read = coco(&tree, (0, FoldScheme::Interleaved), Val, &at(lists.root())).unwrap();
    assert_eq!(images_of(&read, 4), ["36", "4", "20"]);
    assert_eq!(read.positions[read.listing.images_of(4)[0]], 36);
    let mut sampler = HsnetSampler::new(read.listing, 0, 1).unwrap();
    assert!((0..50).all(|_| sampler.draw().class.is_multiple_of(4)));
}

#[test]
fn bad_coco_lists_are_refused() {
    let tree = coco_tree();
    let lists = Tree::empty();
    let with = |text: &str| {
        lists.file("coco/val.txt", text.as_bytes());
        message(coco(&tree, (0, FoldScheme::Interleaved), Val, &at(lists.root())))
    };
    assert!(with("0\t1 2\nbus\t3\n").contains("line 2 starts with \"bus"));
    assert!(with("0\t1 2\n0\t3\n").contains("line 2 is the second one of class 0"));
    assert!(with("0\t\n").contains("names no image"));
    assert!(with("0\t1 2\n").contains("no image of class 4"));
    let error = with("0\t0 99\n4\t1 2\n8\t1 2\n12\t1 98\n");
    assert!(error.contains("2 of 5 images in the lists") && error.contains("99, 98"), "{error}");
    std::fs::remove_file(lists.path("coco/val.txt")).unwrap();
    lists.file("coco/val/fold1.pkl", b"x");
    let error = message(coco(&tree, (0, FoldScheme::Interleaved), Val, &at(lists.root())));
    assert!(error.contains("fold0.pkl"), "{error}");
    let spaced: ClassLists = [(0, vec!["a b.jpg".to_owned()])].into();
    assert!(message(write_coco_text(&tree.path("x.txt"), &spaced)).contains("a b.jpg"));
}

#[test]
fn folds_with_different_lists_of_one_class_are_refused() {
    let tree = coco_tree();
    let lists = Tree::empty();
    for fold in 0..2 {
        let text: String =
            (0..16).filter(|c| c % 4 != fold).map(|c| format!("{c}\t{c} {}\n", c + 16)).collect();
        let text = if fold == 1 { text.replace("2\t2 18", "2\t18 2") } else { text };
        lists.file(&format!("coco/trn/fold{fold}.txt"), text.as_bytes());
    }
    let error = message(coco(&tree, (0, FoldScheme::Contiguous), Train, &at(lists.root())));
    assert!(error.contains("class 2 has other images") && error.contains("fold1"), "{error}");
}

#[test]
fn categories_of_fss_are_queries_in_the_order_of_strings() {
    let tree = Tree::empty();
    for category in ["a", "b", "c", "d"] {
        for number in 1..=10 {
            tree.binary_pair(&format!("FSS-1000/{category}"), number, 5);
        }
    }
    tree.file("splits/fss/trn.txt", b"b\r\n");
    tree.file("splits/fss/val.txt", b"a\r\n");
    tree.file("splits/fss/test.txt", b"d\r\nc\r\n");
    let root = Benchmark::Fss1000.detect(tree.root(), &OpenOptions::default()).unwrap();
    let fold = root.fold(0, FoldScheme::Listed).unwrap();
    let listing = |split| {
        let dataset = root.dataset(split).unwrap();
        let index = MaskIndex::build(&dataset).unwrap();
        hsnet_listing(Benchmark::Fss1000, &dataset, &index, &fold, split, &ListOptions::default())
    };
    let lists = listing(Split::Test).unwrap();
    assert_eq!(lists.listing.classes().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(lists.positions, (0..20).collect::<Vec<_>>());
    assert_eq!(lists.origin.standing, other(2, 240));
    let mut sampler = HsnetSampler::new(lists.listing, 0, 1).unwrap();
    let episode = [sampler.draw(), sampler.draw()][1].to_episode().unwrap();
    // The second query is image 10 of the first test category, class 3.
    assert_eq!((episode.class, episode.query), (3, 9));
    let dataset = root.dataset(Split::Test).unwrap();
    assert_eq!(dataset.load_class(episode.query, episode.class).unwrap().mask.sum(), 5);

    let out = Tree::empty();
    let index = MaskIndex::build(&dataset).unwrap();
    let files = write(Benchmark::Fss1000, out.root(), Split::Test, &dataset, &index, 0).unwrap();
    assert_eq!(read_categories(&files[0].path).unwrap(), ["c", "d"]);

    std::fs::remove_file(tree.path("FSS-1000/d/7.jpg")).unwrap();
    let error = message(listing(Split::Test));
    assert!(error.contains("images 1 to 10") && error.contains("d/7"), "{error}");
}

#[test]
fn standings_add_up() {
    let of = |list: &[(Standing, usize, usize)]| Standing::of_all(list.iter().copied());
    assert_eq!(of(&[(Standing::Published, 3, 3), (Standing::SameSet, 4, 4)]), Standing::SameSet);
    assert_eq!(of(&[(Standing::Published, 3, 3)]), Standing::Published);
    let worst = of(&[(other(2, 3), 2, 3), (Standing::SameSet, 4, 4), (Standing::Published, 1, 1)]);
    assert_eq!(worst, other(7, 8));
    assert!(other(5, 5).to_string().contains("but other ones"));
}
