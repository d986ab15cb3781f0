use super::*;
use crate::test_tree::Tree;

fn message<T: fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn benchmarks_have_names() {
    for benchmark in Benchmark::ALL {
        assert_eq!(benchmark.to_string().parse::<Benchmark>().unwrap(), benchmark);
        let json = serde_json::to_string(&benchmark).unwrap();
        assert_eq!(json, format!("\"{benchmark}\""));
        assert_eq!(serde_json::from_str::<Benchmark>(&json).unwrap(), benchmark);
    }
    let error = message("voc".parse::<Benchmark>());
    assert!(error.contains("pascal, coco, fss1000"), "{error}");
}

#[test]
fn folds_of_the_published_data_sets() {
    let pascal = Benchmark::Pascal.fold(3, FoldScheme::Contiguous).unwrap();
    assert_eq!(pascal.novel_classes(), [16, 17, 18, 19, 20]);
    let [own, hsnet] = [Benchmark::default_scheme, Benchmark::hsnet_scheme]
        .map(|scheme| Benchmark::Coco.fold(0, scheme(Benchmark::Coco)).unwrap());
    let shared = own.novel_classes().iter().filter(|class| hsnet.is_novel(**class)).count();
    assert_eq!(shared, 5, "15 novel classes of one scheme are base classes of the other");
    let fss = Benchmark::Fss1000.fold(0, FoldScheme::Listed).unwrap();
    assert_eq!((fss.base_classes().len(), fss.novel_classes()[0]), (520, 521));

    assert!(message(Benchmark::Coco.fold(0, FoldScheme::Listed)).contains("COCO-20i"));
    assert!(message(Benchmark::Fss1000.fold(0, FoldScheme::Contiguous)).contains("use listed"));
    assert!(message(Benchmark::Fss1000.fold(1, FoldScheme::Listed)).contains("fold 0"));
    assert!(message(Benchmark::Pascal.fold(4, FoldScheme::Contiguous)).contains("fold 4"));
}

#[test]
fn a_split_that_does_not_exist_is_refused() {
    let tree = Tree::new();
    tree.pair("a", 1, 50, &[0]);
    tree.list(Split::Val, &["a"]);
    let options = OpenOptions::default();
    assert_eq!(Benchmark::Pascal.open(tree.root(), Split::Val, &options).unwrap().ids, ["a"]);
    let error = message(Benchmark::Pascal.open(tree.root(), Split::Test, &options));
    assert!(error.contains("no test split") && error.contains("train or val"), "{error}");
}

#[test]
fn pascal_without_image_sets_takes_the_images_of_the_lists() {
    let tree = Tree::empty();
    for id in ["2007_000033", "2007_000061", "2008_1"] {
        tree.pair_at(
            &format!("VOC2012/JPEGImages/{id}.jpg"),
            &format!("VOC2012/SegmentationClassAug/{id}.png"),
            1,
            &[1],
        );
    }
    let lists = Tree::empty();
    for (fold, text) in
        [(0, "2007_000061__04\n2007_000033__01\n"), (1, "2008_1__06\n"), (2, "2008_1__15\n")]
    {
        lists.file(&format!("splits/pascal/val/fold{fold}.txt"), text.as_bytes());
    }
    let options = OpenOptions { splits: Some(lists.root().to_path_buf()), ..Default::default() };
    let error = message(Benchmark::Pascal.open(tree.root(), Split::Val, &options));
    assert!(error.contains("fold3.txt"), "{error}");
    lists.file("splits/pascal/val/fold3.txt", b"2007_000061__20\n");
    let root = Benchmark::Pascal.detect(tree.root(), &options).unwrap();
    let dataset = root.dataset(Split::Val).unwrap();
    assert_eq!(dataset.ids, ["2007_000033", "2007_000061", "2008_1"]);
    assert_eq!(dataset.name, "pascal val (fold lists)");
    assert_eq!(dataset.load(0).unwrap().mask[[0, 0]], 1);
    assert_eq!(root.folds(FoldScheme::Contiguous).unwrap().len(), 4);
    assert_eq!(root.class_names().len(), 20);

    // The same lists within the tree.
    for fold in 0..4 {
        let name = format!("splits/pascal/val/fold{fold}.txt");
        tree.file(&name, &std::fs::read(lists.path(&name)).unwrap());
    }
    let found = Benchmark::Pascal.open(tree.root(), Split::Val, &OpenOptions::default()).unwrap();
    assert_eq!(found.ids, dataset.ids);

    // A plain list goes first.
    lists.file("ImageSets/val.txt", b"2008_1\n");
    let dataset = root.dataset(Split::Val).unwrap();
    assert_eq!((dataset.ids, dataset.name), (vec!["2008_1".to_owned()], "pascal val".to_owned()));
}
