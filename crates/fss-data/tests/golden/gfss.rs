//! POP's lists, draws and samples.

use std::collections::BTreeMap;

use fss_data::annotations::{Outlines, Segmentation, paint_with};
use fss_data::episode::ImageLabels;
use fss_data::folds::FoldScheme;
use fss_data::gfss::{
    Augmentation, BaseDraw, GfssClasses, GfssLists, ListOptions, LoaderOrder, NovelOrder, Shown,
    TrainAugment, base_list_of_epoch, few_shot_list,
};
use fss_data::rng::{NumpyLegacy, PythonRandom};
use fss_data::transform::FitSquare;
use fss_data::{Benchmark, ClassId};
use fss_support::golden::{Case, assert_close, cases, report_optional};
use image::RgbImage;
use ndarray::Array2;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<u64> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|n| n.as_u64().expect("a number")).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

fn classes(dataset: &str, fold: u64, order: NovelOrder) -> GfssClasses {
    let (benchmark, scheme) = match dataset {
        "voc" => (Benchmark::Pascal, FoldScheme::Contiguous),
        _ => (Benchmark::Coco, FoldScheme::Interleaved),
    };
    let fold = benchmark.fold(fold as usize, scheme).expect("a fold");
    GfssClasses::of_fold(&fold, order).expect("classes")
}

fn ids(value: &Value) -> Vec<ClassId> {
    numbers(value).into_iter().map(|n| n as ClassId).collect()
}

#[test]
fn golden_pop_class_order() {
    let cases = cases("pop", "class_order");
    for case in &cases {
        for entry in case.json()["cases"].as_array().expect("cases") {
            let (dataset, fold) =
                (entry["dataset"].as_str().unwrap(), entry["fold"].as_u64().unwrap());
            let plain = classes(dataset, fold, NovelOrder::Ascending);
            assert_eq!(plain.base(), ids(&entry["base"]));
            assert_eq!(plain.novel(), ids(&entry["novel"]));
            let old = classes(dataset, fold, NovelOrder::Python36);
            let want = entry.as_object().unwrap().iter().find(|(key, _)| key.contains("36"));
            let want = want.map_or(&entry["novel"], |(_, value)| value);
            assert_eq!(old.novel(), ids(want), "{dataset} fold {fold}");
        }
    }
    report_optional("pop/class_order", cases.len());
}

#[test]
fn golden_pop_generators() {
    let cases = cases("pop", "generators");
    for case in &cases {
        let text = std::fs::read_to_string(&case.path).expect("a readable case");
        for entry in case.json()["cases"].as_array().expect("cases") {
            let seed = entry["seed"].as_u64().expect("a seed");
            let mut python = PythonRandom::seed(seed.into());
            let mut numpy = NumpyLegacy::seed(seed as u32);
            // In the order of the file, which the parsed object has lost.
            let place = |name: &str| text.find(&format!("\"{name}\""));
            let mut draws: Vec<_> =
                entry.as_object().unwrap().iter().filter(|(key, _)| *key != "seed").collect();
            draws.sort_by_key(|(name, _)| place(name));
            for (name, want) in draws {
                let want: Vec<f64> =
                    want.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
                // The numbers in the name: those after "for n in", or the one in `range(n)`.
                let digits = |text: &str| -> Vec<i64> {
                    text.split(|c: char| !c.is_ascii_digit())
                        .filter_map(|n| n.parse().ok())
                        .collect()
                };
                let listed = match (name.split_once(" for n in "), name.split_once("range(")) {
                    (Some((_, list)), _) => digits(list),
                    (_, Some((_, rest))) => vec![digits(rest)[0]; want.len()],
                    _ => vec![0; want.len()],
                };
                let got: Vec<f64> = listed
                    .iter()
                    .map(|&n| match name.as_str() {
                        "random.random" => python.random(),
                        name if name.starts_with("random.randint") => {
                            python.randint(1, n) as f64 - 1.0
                        }
                        name if name.starts_with("random.choices") => {
                            (python.random() * n as f64).floor()
                        }
                        name if name.starts_with("random.choice") => {
                            python.choice_index(n as usize) as f64
                        }
                        name if name.starts_with("numpy.random.randint") => {
                            numpy.randint(0, n) as f64
                        }
                        other => panic!("{}: unknown draw {other:?}", case.name),
                    })
                    .collect();
                assert_eq!(got, want, "seed {seed}: {name}");
            }
        }
    }
    report_optional("pop/generators", cases.len());
}

#[test]
fn golden_pop_loader_order() {
    let cases = cases("pop", "loader_order");
    for case in &cases {
        for entry in case.json()["cases"].as_array().expect("cases") {
            let number = |key: &str| entry[key].as_u64().expect("a number");
            let order = LoaderOrder::new(number("seed"), number("n") as usize);
            assert_eq!(order.base_seed.to_string(), entry["base_seed"].as_str().unwrap());
            let items: Vec<u64> = order.items.iter().map(|item| *item as u64).collect();
            assert_eq!(items, numbers(&entry["permutation"]));
            let mut workers: Vec<PythonRandom> =
                (0..4).map(|w| PythonRandom::seed(u128::from(order.base_seed) + w)).collect();
            let want = entry["worker_first_random"].as_array().expect("numbers");
            for (i, want) in want.iter().enumerate() {
                assert_eq!(workers[i % 4].random(), want.as_f64().unwrap());
            }
        }
    }
    report_optional("pop/loader_order", cases.len());
}

#[test]
fn golden_pop_lists() {
    let cases = cases("pop", "lists_");
    for case in &cases {
        let json = case.json();
        let dataset = json["dataset"].as_str().expect("a data set");
        let names = texts(&json["ids"]);
        let listing: Vec<_> = names
            .iter()
            .map(|id| {
                let picture = &json["label_images"][id];
                let size = numbers(&picture["size"]);
                let mut mask = Array2::<u8>::zeros((size[0] as usize, size[1] as usize));
                for rectangle in picture["rects"].as_array().expect("rectangles") {
                    let r = numbers(rectangle);
                    for y in r[1]..r[3] {
                        for x in r[2]..r[4] {
                            mask[[y as usize, x as usize]] = r[0] as u8;
                        }
                    }
                }
                let mut pixels = BTreeMap::new();
                mask.iter()
                    .for_each(|label| *pixels.entry(ClassId::from(*label)).or_insert(0) += 1);
                let (width, height) = (size[1] as u32, size[0] as u32);
                ImageLabels { id: (*id).to_owned(), width, height, pixels }
            })
            .collect();
        let orders = [
            ("results_python37_or_later", NovelOrder::Ascending),
            ("results_python36", NovelOrder::Python36),
        ];
        for (results, order) in orders {
            for result in json[results].as_array().into_iter().flatten() {
                let classes = classes(dataset, result["fold"].as_u64().unwrap(), order);
                let filter_novel = result["filter_novel"].as_bool().unwrap();
                let options = ListOptions { filter_novel, ..ListOptions::default() };
                let lists = GfssLists::build(&listing, &classes, options);
                check_result(
                    &format!("{}: {results}", case.name),
                    result,
                    &names,
                    &classes,
                    &lists,
                    dataset,
                );
            }
        }
    }
    report_optional("pop/lists_", cases.len());
}

fn check_result(
    what: &str,
    result: &Value,
    names: &[&str],
    classes: &GfssClasses,
    lists: &GfssLists,
    dataset: &str,
) {
    let named = |images: &[usize]| -> Vec<&str> { images.iter().map(|i| names[*i]).collect() };
    if result.get("novel_order").is_some() {
        assert_eq!(classes.novel(), ids(&result["novel_order"]), "{what}");
    }
    if result.get("base_order").is_some() {
        assert_eq!(classes.base(), ids(&result["base_order"]), "{what}");
    }
    if result.get("train_fold").is_some() {
        assert_eq!(named(&lists.train), texts(&result["train_fold"]), "{what}: train_fold");
    }
    for key in ["novel_class_files", "base_class_files"] {
        for (class, want) in result[key].as_object().into_iter().flatten() {
            let images = &lists.by_class[&class.parse::<ClassId>().unwrap()];
            assert_eq!(named(images), texts(want), "{what}: class {class}");
        }
    }
    let draw = if dataset == "voc" { BaseDraw::Distinct } else { BaseDraw::Replacement };
    for drawn in result["draws"].as_array().into_iter().flatten() {
        let (shot, seed) =
            (drawn["shot"].as_u64().unwrap() as usize, drawn["seed"].as_u64().unwrap());
        let few = few_shot_list(lists, classes, shot, seed).expect("a few-shot list");
        assert_eq!(named(&few), texts(&drawn["novel_list"]), "{what}: {shot} shots, seed {seed}");
        let base = |epoch| {
            base_list_of_epoch(lists, classes, &few, [shot, 1], draw, [seed, epoch])
                .expect("a list")
        };
        assert_eq!(
            named(&base(0)),
            texts(&drawn["base_list_initial"]),
            "{what}: {shot} shots, seed {seed}"
        );
        let after = drawn["base_list_after_epoch"].as_array().expect("lists");
        for (epoch, want) in after.iter().enumerate() {
            assert_eq!(named(&base(epoch as u64 + 1)), texts(want), "{what}: after epoch {epoch}");
        }
    }
}

/// An image as OpenCV decodes it, `[H, W, 3]` blue first.
fn image(case: &Case, name: &str) -> RgbImage {
    let (shape, mut bytes) = case.u8(name);
    bytes.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    RgbImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).expect("an image")
}

fn mask(case: &Case, name: &str) -> Array2<u8> {
    let (shape, bytes) = case.u8(name);
    Array2::from_shape_vec((shape[0], shape[1]), bytes).expect("a mask")
}

fn pair(case: &Case, key: &str) -> [f64; 2] {
    let values = case.settings[key].as_array().expect("two numbers");
    [0, 1].map(|i| values[i].as_f64().expect("a number"))
}

#[test]
fn golden_pop_samples() {
    let cases = cases("pop", "data_");
    for case in &cases {
        let dataset = case.str_setting("dataset");
        let fold = case.settings["fold"].as_u64().expect("a fold");
        let classes = classes(dataset, fold, NovelOrder::Ascending);
        if case.settings.get("base_size").is_some() {
            check_evaluation(case, &classes);
            continue;
        }
        let augment = TrainAugment {
            crop: pair(case, "crop").map(|n| n as usize),
            scales: pair(case, "scale_range"),
        };
        for key in case.settings["draws"].as_object().expect("draws").keys() {
            let seed = key.split(['d', '.']).nth(1).unwrap().parse::<u64>().unwrap();
            let mut python = PythonRandom::seed(seed.into());
            let mut numpy = NumpyLegacy::seed(seed as u32);
            if case.usize_setting("stage") == 1 {
                let rng = (&mut python, &mut numpy);
                check_sample(case, &classes, &augment, rng, ["", ""], Shown::Base, [key, ""]);
                continue;
            }
            let index: usize = key.rsplit("index").next().unwrap().parse().unwrap();
            let novel = texts(&case.settings["novel_list"]);
            let base = texts(&case.settings["base_list"]);
            let chosen = novel[python.choice_index(novel.len())];
            for (name, shown, suffix) in
                [(chosen, Shown::All, ""), (base[index], Shown::Base, "_b")]
            {
                let rng = (&mut python, &mut numpy);
                check_sample(case, &classes, &augment, rng, [".", name], shown, [key, suffix]);
            }
        }
    }
    report_optional("pop/data_", cases.len());
}

/// The sample of picture `[separator, name]` is the output `[key, suffix]` of the case.
fn check_sample(
    case: &Case,
    classes: &GfssClasses,
    augment: &TrainAugment,
    (python, numpy): (&mut PythonRandom, &mut NumpyLegacy),
    [separator, name]: [&str; 2],
    shown: Shown,
    [key, suffix]: [&str; 2],
) {
    let picture = image(case, &format!("image_bgr{separator}{name}"));
    let labels = mask(case, &format!("label{separator}{name}"));
    let labels = classes.labels(&labels, None, shown, "a mask").expect("known labels");
    let size = [picture.height() as usize, picture.width() as usize];
    let drawn: Augmentation = augment.draw(size, python, numpy);
    let (image, labels) = augment.apply(&picture, &labels, &drawn).expect("a sample");
    let [of_image, of_label] = ["image", "label"].map(|part| format!("{key}.{part}{suffix}"));
    let values: Vec<f32> = image.into_iter().collect();
    assert_close(&format!("{}: {of_image}", case.name), &values, &case.f32(&of_image).1, 1e-6);
    let labels: Vec<u8> = labels.into_iter().collect();
    assert_eq!(labels, case.u8(&of_label).1, "{}: {of_label}", case.name);
}

fn check_evaluation(case: &Case, classes: &GfssClasses) {
    let fit = FitSquare::rectangle(pair(case, "base_size").map(|n| n as usize));
    let values: Vec<f32> =
        fit.image(&image(case, "image_bgr")).expect("an image").into_iter().collect();
    assert_close(&format!("{}: image", case.name), &values, &case.f32("out.image").1, 1e-6);
    let raw = mask(case, "label");
    for name in case.names() {
        let Some(options) = name.strip_prefix("out.label.") else { continue };
        let options: BTreeMap<&str, bool> = options
            .split(',')
            .map(|option| option.split_once('=').expect("an option"))
            .map(|(key, value)| (key, value == "1"))
            .collect();
        let shown = match (options["use_base"], options["use_novel"]) {
            (true, true) => Shown::All,
            (true, false) => Shown::Base,
            _ => Shown::Novel,
        };
        let mut labels = classes.labels(&raw, None, shown, "a mask").expect("known labels");
        if options["resize_label"] {
            labels = fit.labels(&labels).expect("a mask");
        }
        let labels: Vec<u8> = labels.into_iter().collect();
        assert_eq!(labels, case.u8(name).1, "{}: {name}", case.name);
    }
}

#[test]
fn golden_pop_coco_masks() {
    let cases = cases("pop", "coco_polygons");
    for case in &cases {
        for (i, image) in case.settings["images"].as_array().expect("images").iter().enumerate() {
            let objects: Vec<(Segmentation, u8)> = image["annotations"]
                .as_array()
                .expect("annotations")
                .iter()
                .map(|annotation| {
                    let polygons = annotation["segmentation"].as_array().expect("polygons");
                    let numbers = |polygon: &Value| -> Vec<f64> {
                        let numbers = polygon.as_array().expect("a polygon").iter();
                        numbers.map(|n| n.as_f64().expect("a number")).collect()
                    };
                    let label = annotation["category_index"].as_u64().expect("a category") as u8;
                    (Segmentation::Polygons(polygons.iter().map(numbers).collect()), label)
                })
                .collect();
            let side = |key: &str| image[key].as_u64().expect("a side") as u32;
            let objects = objects.iter().map(|(object, label)| (object, *label));
            let mask = paint_with(side("height"), side("width"), objects, Outlines::Opencv);
            let got: Vec<u8> = mask.expect("a mask").into_iter().collect();
            let want = case.u8(&format!("mask{i}")).1;
            let width = side("width") as usize;
            let wrong: Vec<_> = (0..want.len())
                .filter(|at| got[*at] != want[*at])
                .map(|at| (at / width, at % width, got[at], want[at]))
                .collect();
            assert!(wrong.is_empty(), "{}: mask {i} (y, x, got, want): {wrong:?}", case.name);
        }
    }
    report_optional("pop/coco_polygons", cases.len());
}
