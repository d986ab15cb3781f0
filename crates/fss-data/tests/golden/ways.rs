//! Lists, episodes and samples of DENet's code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fss_data::ClassId;
use fss_data::annotations::{BadEntries, CocoFile, Crowds};
use fss_data::draw::{class_colours, largest_label, principal_maps, stretched};
use fss_data::folds::{Fold, FoldScheme};
use fss_data::rng::{NumpyLegacy, PythonRandom};
use fss_data::transform::normalise;
use fss_data::ways::{
    ClassList, EpisodePlan, Flips, ShownLabels, TestWays, Void, WayEpisode, WholeLists, loaded,
    plain_list, test_mask, training_mask,
};
use fss_support::golden::{Case, assert_close, cases, report_optional};
use image::RgbImage;
use ndarray::{Array2, Array3, Array4};
use serde_json::{Value, json};

#[test]
fn golden_denet_generators() {
    let cases = cases("denet", "rng");
    for case in &cases {
        for of in case.json()["cases"].as_array().expect("cases") {
            check_generators(of);
        }
    }
    report_optional("denet/rng", cases.len());
}

fn numbers(value: &Value) -> Vec<usize> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|n| n.as_u64().expect("a number") as usize).collect()
}

fn check_generators(of: &Value) {
    let seed = of["seed"].as_u64().expect("a seed");
    let fresh = || NumpyLegacy::seed(seed as u32);
    let mut random = fresh();
    let words: Vec<usize> =
        numbers(&of["raw_uint32"]).iter().map(|_| random.next_u32() as usize).collect();
    assert_eq!(words, numbers(&of["raw_uint32"]));
    let below = |n: i64, count: usize| -> Vec<usize> {
        let mut random = fresh();
        (0..count).map(|_| random.randint(0, n) as usize).collect()
    };
    for (n, want) in of["randint"].as_object().expect("lists") {
        let want = numbers(want);
        assert_eq!(below(n.parse().expect("a number"), want.len()), want, "randint {n}");
    }
    let want = numbers(&of["randint_scalar_calls_n7"]);
    assert_eq!(below(7, want.len()), want);
    for (name, want) in of.as_object().expect("an object") {
        if let Some(n) = name.strip_prefix("shuffle_list_") {
            let mut items: Vec<usize> = (0..n.parse().expect("a number")).collect();
            fresh().shuffle(&mut items);
            assert_eq!(items, numbers(want), "{name}");
        }
    }
    let choice = |random: &mut NumpyLegacy, from: &[usize], count: usize| -> Vec<usize> {
        random.permutation(from.len())[..count].iter().map(|place| from[*place]).collect()
    };
    let few: Vec<usize> = (12..16).collect();
    assert_eq!(choice(&mut fresh(), &few, 1), numbers(&of["choice_1_of_4_no_replace"]));
    let many: Vec<usize> = (1..77).step_by(4).collect();
    assert_eq!(choice(&mut fresh(), &many, 3), numbers(&of["choice_3_of_19_no_replace"]));
    let (_, mixed) = of
        .as_object()
        .expect("an object")
        .iter()
        .find(|(name, _)| name.starts_with("sequence"))
        .expect("a mixed sequence");
    let mut random = fresh();
    let five: Vec<i64> = (0..5).map(|_| random.randint(0, 9)).collect();
    let one = random.randint(0, 9);
    let mut seven: Vec<usize> = (0..7).collect();
    random.shuffle(&mut seven);
    let two = choice(&mut random, &[3, 5, 8, 9], 2);
    assert_eq!(&json!([five, one, seven, two, random.randint(0, 9)]), mixed);

    let mut python = PythonRandom::seed(seed.into());
    for want in of["python_random_first_20"].as_array().expect("a list") {
        let want = want.as_f64().expect("a number");
        assert!((python.random() - want).abs() <= want * f64::EPSILON);
    }
    let mut flips = Flips::seeded(seed);
    for want in of["python_flip_first_64"].as_array().expect("a list") {
        let want = want.as_bool().unwrap_or_else(|| want.as_u64() == Some(1));
        assert_eq!(flips.next_flip(), want);
    }
}

/// The images of a split in the order of the original, with their masks after the fold step.
struct Split {
    ids: Vec<String>,
    shown: Vec<ShownLabels>,
}

impl Split {
    fn new(masks: Vec<(String, Array2<u8>)>) -> Self {
        let shown = masks.iter().map(|(id, mask)| ShownLabels::of(id.as_str(), mask)).collect();
        Self { ids: masks.into_iter().map(|(id, _)| id).collect(), shown }
    }
}

/// What a golden set of episodes is drawn from.
struct Made {
    fold: Fold,
    threshold: f64,
    sizes: [usize; 2],
    train: Split,
    test: Split,
}

#[test]
fn golden_denet_episodes() {
    let all = cases("denet", "episodes_");
    let mut sets = 0;
    for case in &all {
        let is_set = case.path.extension().is_some_and(|ext| ext == "json")
            && !case.name.contains("_instances_");
        if !is_set {
            continue;
        }
        let companion =
            |suffix: &str| all.iter().find(|other| other.name == format!("{}{suffix}", case.name));
        let value = case.json();
        let made = match value.get("images") {
            Some(_) => made_of_rectangles(&value, companion("_fold_masks")),
            None => made_of_annotations(case, &value, companion("_masks")),
        };
        for (seed, scenarios) in value["expected"].as_object().expect("seeds") {
            let seed = seed.trim_start_matches("seed_").parse().expect("a seed");
            check_scenarios(&made, seed, scenarios);
        }
        if let Some(samples) = companion("_loaded_masks") {
            check_samples(&value, samples);
        }
        sets += 1;
    }
    // Every file beside a set belongs to one.
    for case in &all {
        let prefix = case.name.split("_fold").next().expect("a name");
        assert!(all.iter().any(|set| set.name.starts_with(prefix)), "{}", case.name);
    }
    report_optional("denet/episodes_", sets);
}

fn settings(value: &Value, scheme: FoldScheme, classes: usize) -> (Fold, f64, [usize; 2]) {
    let settings = &value["settings"];
    let number = |key: &str| settings[key].as_u64().expect("a number") as usize;
    let fold = Fold::new(number("fold"), classes, scheme).expect("a fold");
    let threshold = settings["threshold"].as_f64().expect("a number");
    (fold, threshold, [number("train_size"), number("test_size")])
}

/// Whether an image is of a source; of images that both have VOC's counts.
fn is_of(image: &Value, source: &str) -> bool {
    image["source"] == source || (image["source"] == "both" && source == "voc")
}

/// The mask of an image that is painted in rectangles.
fn painted(value: &Value, image: &Value) -> Array2<u8> {
    let number = |key: &str| value["settings"][key].as_u64().expect("a number") as usize;
    let mut mask = Array2::zeros((number("height"), number("width")));
    for rectangle in image["rects"].as_array().expect("rectangles") {
        let [label, y0, x0, y1, x1] = numbers(rectangle)[..] else { panic!("a rectangle") };
        mask.slice_mut(ndarray::s![y0..y1, x0..x1]).fill(label as u8);
    }
    mask
}

fn made_of_rectangles(value: &Value, written: Option<&Case>) -> Made {
    let (fold, threshold, sizes) = settings(value, FoldScheme::Contiguous, 20);
    let list = |name: &str| -> Vec<String> {
        let ids = value["lists"][name].as_array().expect("a list").iter();
        ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
    };
    let mut kept = 0;
    let mut split = |name: &str, lists: [(&str, &str); 2]| {
        let mut seen = BTreeSet::new();
        let mut masks = Vec::new();
        for (source, list_name) in lists {
            // The original lists the folders that it wrote, by name.
            let mut ids: Vec<String> =
                list(list_name).into_iter().filter(|id| seen.insert(id.clone())).collect();
            ids.sort();
            for id in ids {
                let images = value["images"].as_array().expect("images");
                let image = images
                    .iter()
                    .find(|image| image["id"] == id.as_str() && is_of(image, source))
                    .unwrap_or_else(|| panic!("{id} of {source}"));
                let mask = painted(value, image);
                let folded = match name {
                    "train" => training_mask(&mask, &fold, Void::Background),
                    _ => Some(test_mask(&mask, &fold, Void::Background)),
                };
                let key = format!("{name}/{source}/{id}");
                if let Some(written) = written {
                    assert_eq!(written.has(&key), folded.is_some(), "{key}");
                }
                let Some(folded) = folded else { continue };
                if let Some(written) = written {
                    let want = written.u8(&key).1;
                    assert_eq!(folded.iter().copied().collect::<Vec<_>>(), want, "{key}");
                    kept += 1;
                }
                masks.push((id, folded));
            }
        }
        Split::new(masks)
    };
    let train = split("train", [("voc", "voc_train"), ("sbd", "sbd_train_noval")]);
    let test = split("val", [("voc", "voc_val"), ("sbd", "sbd_val")]);
    if let Some(written) = written {
        assert_eq!(kept, written.names().len(), "{}: masks", written.name);
    }
    Made { fold, threshold, sizes, train, test }
}

fn made_of_annotations(case: &Case, value: &Value, written: Option<&Case>) -> Made {
    let (fold, threshold, sizes) = settings(value, FoldScheme::Interleaved, 80);
    let split = |name: &str| {
        let path = case.path.with_file_name(format!("{}_instances_{name}2014.json", case.name));
        let file = annotations(&path);
        let mut masks = Vec::new();
        for (place, image) in file.images.iter().enumerate() {
            let stem = Path::new(&image.file_name).file_stem().expect("a name");
            let id = stem.to_string_lossy().into_owned();
            let mask = file.paint(place, |id| Some(rank(id)), Crowds::Leave).expect("a mask");
            check_written(written, &format!("80/{name}/{id}"), Some(&mask));
            let folded = match name {
                "train" => training_mask(&mask, &fold, Void::Background),
                _ => Some(test_mask(&mask, &fold, Void::Background)),
            };
            check_written(written, &format!("fold{}/{name}/{id}", fold.index()), folded.as_ref());
            masks.extend(folded.map(|mask| (id, mask)));
        }
        // The original lists the folder that it wrote, by name.
        masks.sort_by(|a, b| a.0.cmp(&b.0));
        Split::new(masks)
    };
    let (train, test) = (split("train"), split("val"));
    Made { fold, threshold, sizes, train, test }
}

/// An annotation file in which every category that is used is also listed.
fn annotations(path: &Path) -> CocoFile {
    let text = std::fs::read(path).expect("a readable file");
    let mut value: Value = serde_json::from_slice(&text).expect("JSON");
    let used: BTreeSet<u64> = value["annotations"]
        .as_array()
        .expect("annotations")
        .iter()
        .map(|annotation| annotation["category_id"].as_u64().expect("an id"))
        .collect();
    let listed = value["categories"].as_array_mut().expect("categories");
    let known: BTreeSet<u64> =
        listed.iter().map(|category| category["id"].as_u64().expect("an id")).collect();
    listed
        .extend(used.difference(&known).map(|id| json!({"id": id, "name": format!("none {id}")})));
    let text = serde_json::to_vec(&value).expect("JSON");
    CocoFile::parse(&text, path, BadEntries::Refuse).expect("annotations").0
}

fn check_written(written: Option<&Case>, key: &str, mask: Option<&Array2<u8>>) {
    let Some(written) = written else { return };
    assert_eq!(written.has(key), mask.is_some(), "{key}");
    if let Some(mask) = mask {
        assert_eq!(mask.iter().copied().collect::<Vec<_>>(), written.u8(key).1, "{key}");
    }
}

/// The rank of COCO's 80 categories, whose ids have gaps; whatever else is annotated is background.
fn rank(id: i64) -> u8 {
    const MISSING: [i64; 10] = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];
    match (1..=90).contains(&id) && !MISSING.contains(&id) {
        true => (id - MISSING.iter().filter(|missing| **missing < id).count() as i64) as u8,
        false => 0,
    }
}

/// The lists that the published code keeps.
struct Kept {
    train: ClassList,
    test: ClassList,
    whole: WholeLists,
}

fn check_scenarios(made: &Made, seed: u32, scenarios: &Value) {
    let fresh = || NumpyLegacy::seed(seed);
    let [train_size, test_size] = made.sizes;
    let plan = |plan: EpisodePlan, episodes: usize| EpisodePlan { episodes, ..plan };
    let training = plan(EpisodePlan::training(1, 0), train_size);
    let testing = |ways, shots| plan(EpisodePlan::test(ways, shots), test_size);

    // The first run makes the lists, in one stream with the episodes.
    let mut random = fresh();
    let train = ClassList::training(&made.train.shown, made.threshold).shuffled(&mut random);
    let train_episodes = training.draw(&train, None, &mut random).expect("episodes");
    let test = ClassList::test(&made.test.shown, &made.fold, made.threshold, TestWays::One);
    let test = test.shuffled(&mut random);
    let whole = WholeLists::new(&made.test.shown, &made.fold).shuffled(&mut random);
    let test_episodes = testing(1, 1).draw(&test, Some(&whole), &mut random).expect("episodes");
    let cold = &scenarios["cold_train_then_test_1way_1shot"];
    for (part, split, list, episodes) in [
        (&cold["train"], &made.train, &train, &train_episodes),
        (&cold["test"], &made.test, &test, &test_episodes),
    ] {
        assert_eq!(json!(split.ids), part["images"], "images");
        check_list(list, split, &part["item_class"]);
        check_episodes(episodes, split, &part["episodes"]);
    }
    let lists: BTreeMap<String, Vec<&str>> = whole
        .classes
        .iter()
        .map(|(class, images)| (class.to_string(), names(images, &made.test)))
        .collect();
    assert_eq!(json!(lists), cold["test"]["whole_item_class"]);
    let kept = Kept { train, test, whole };

    // The first test of several ways makes a list of its own.
    let mut random = fresh();
    let several = ClassList::test(&made.test.shown, &made.fold, made.threshold, TestWays::Several);
    let several = several.shuffled(&mut random);
    let found = testing(2, 1).draw(&several, Some(&kept.whole), &mut random).expect("episodes");
    let cold = &scenarios["cold_test_2way_1shot"];
    check_list(&several, &made.test, &cold["item_class"]);
    check_episodes(&found, &made.test, &cold["episodes"]);

    let mut checked = 2;
    for (name, scenario) in scenarios.as_object().expect("scenarios") {
        let mut random = fresh();
        if let Some(rest) = name.strip_prefix("warm_test_") {
            let parts: Vec<usize> =
                rest.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
            let list = if parts[0] == 1 { &kept.test } else { &several };
            let found = testing(parts[0], parts[1]).draw(list, Some(&kept.whole), &mut random);
            check_episodes(&found.expect("episodes"), &made.test, &scenario["episodes"]);
        } else if name == "warm_trainer_train_then_val_1shot" {
            let found = training.draw(&kept.train, None, &mut random).expect("episodes");
            check_episodes(&found, &made.train, &scenario["train"]);
            let found = testing(1, 1).draw(&kept.test, Some(&kept.whole), &mut random);
            check_episodes(&found.expect("episodes"), &made.test, &scenario["val"]);
        } else if name == "warm_plain_segmentation_train" {
            let images = plain_list(&kept.train, train_size, &mut random).expect("images");
            assert_eq!(json!(names(&images, &made.train)), scenario["queries"]);
        } else {
            assert!(name.starts_with("cold_"), "an unknown scenario {name}");
            continue;
        }
        checked += 1;
    }
    assert_eq!(checked, scenarios.as_object().expect("scenarios").len());
}

fn names<'a>(images: &[usize], split: &'a Split) -> Vec<&'a str> {
    images.iter().map(|image| split.ids[*image].as_str()).collect()
}

fn check_list(list: &ClassList, split: &Split, want: &Value) {
    let got: Vec<(&str, ClassId)> =
        list.items.iter().map(|(image, class)| (split.ids[*image].as_str(), *class)).collect();
    assert_eq!(json!(got), *want);
}

fn check_episodes(episodes: &[WayEpisode], split: &Split, want: &Value) {
    let got: Vec<Value> = episodes
        .iter()
        .map(|episode| {
            let classes: Vec<ClassId> = episode.ways.iter().map(|way| way.class).collect();
            let support: Vec<Vec<&str>> =
                episode.ways.iter().map(|way| names(&way.supports, split)).collect();
            json!({
                "query": split.ids[episode.query], "classes": classes, "support": support,
            })
        })
        .collect();
    assert_eq!(json!(got), *want);
}

/// The masks of the first episodes as they are loaded, flips included.
fn check_samples(value: &Value, samples: &Case) {
    let side = samples.usize_setting("img_size");
    let images = value["images"].as_array().expect("images");
    let fold = settings(value, FoldScheme::Contiguous, 20).0;
    for (name, episodes) in samples.settings["episodes"].as_object().expect("episodes") {
        let mut flips = Flips::seeded(0);
        for (number, episode) in episodes.as_array().expect("a list").iter().enumerate() {
            let mut load = |id: &Value| {
                // VOC's mask stands for an image that both sources have.
                let of = |source: &str| {
                    images.iter().find(|image| {
                        image["id"] == *id && is_of(image, source) && image["split"] == "val"
                    })
                };
                let image = of("voc").or_else(|| of("sbd")).expect("an image");
                let mask = test_mask(&painted(value, image), &fold, Void::Background);
                let blank = RgbImage::new(mask.ncols() as u32, mask.nrows() as u32);
                loaded(&blank, &mask, side, flips.next_flip()).expect("a sample")
            };
            let classes = numbers(&episode["classes"]);
            let ways = episode["support"].as_array().expect("ways").clone();
            let (mut full, mut own) = (Vec::new(), Vec::new());
            for (way, class) in ways.iter().zip(&classes) {
                for id in way.as_array().expect("supports") {
                    let sample = load(id);
                    own.extend(sample.mask(*class as u8));
                    full.extend(sample.full);
                }
            }
            let query = load(&episode["query"]);
            let key = |part: &str| format!("{name}/{number}/{part}");
            assert_eq!(full, samples.u8(&key("Ys_full")).1, "{name} {number}");
            assert_eq!(own, samples.u8(&key("Ys")).1, "{name} {number}");
            let of_ways: Vec<u8> =
                classes.iter().flat_map(|class| query.mask(*class as u8)).collect();
            assert_eq!(of_ways, samples.u8(&key("Yq")).1, "{name} {number}");
            let full: Vec<u8> = query.full.into_iter().collect();
            assert_eq!(full, samples.u8(&key("Yq_full")).1, "{name} {number}");
        }
    }
}

#[test]
fn golden_denet_transforms() {
    let cases = cases("denet", "transforms");
    for case in &cases {
        let (shape, bytes) = case.u8("image");
        let [height, width, 3] = shape[..] else { panic!("an image of shape {shape:?}") };
        let image = RgbImage::from_raw(width as u32, height as u32, bytes).expect("an image");
        let mask = Array2::from_shape_vec((height, width), case.u8("mask").1).expect("a mask");
        let check = |prefix: &str, image: &RgbImage, mask: &Array2<u8>| {
            let name = |part: &str| format!("{prefix}/{part}");
            assert_eq!(image.as_raw(), &case.u8(&name("image")).1, "{prefix}");
            let mask: Vec<u8> = mask.iter().copied().collect();
            assert_eq!(mask, case.u8(&name("mask")).1, "{prefix}");
            if case.has(&name("tensor")) {
                let got: Vec<f32> = normalise(image).into_iter().collect();
                assert_close(prefix, &got, &case.f32(&name("tensor")).1, 1e-5);
            }
        };
        for side in numbers(&case.settings["sizes"]) {
            let sample = loaded(&image, &mask, side, false).expect("a sample");
            check(&format!("size{side}"), &sample.image, &sample.full);
        }
        // A square image of the wanted side is only mirrored; the case mirrors the whole one.
        let mirrored = image::imageops::flip_horizontal(&image);
        let mut turned = mask.clone();
        turned.invert_axis(ndarray::Axis(1));
        check("flip", &mirrored, &turned);
    }
    report_optional("denet/transforms", cases.len());
}

#[test]
fn golden_denet_visualisation() {
    let cases = cases("denet", "visualisation");
    for case in &cases {
        let classes = case.usize_setting("num_classes");
        let colours = |name: &str, labels: &Array2<u8>, classes: usize| {
            let got: Vec<f32> = class_colours(labels, classes)
                .into_raw()
                .iter()
                .map(|v| f32::from(*v) / 255.0)
                .collect();
            assert_close(name, &got, &case.f32(name).1, 1e-6);
        };
        let (shape, labels) = case.u8("labels");
        let labels = Array2::from_shape_vec((shape[0], shape[1]), labels).expect("labels");
        colours("colours", &labels, classes);
        colours("labels_decoded_with_5_classes", &labels, 5);
        let (shape, logits) = case.f32("logits");
        let logits =
            Array3::from_shape_vec((shape[0], shape[1], shape[2]), logits).expect("logits");
        let largest = largest_label(&logits);
        colours("colours_of_logits", &largest, classes);
        assert_eq!(largest.into_iter().collect::<Vec<_>>(), case.u8("gray_of_logits").1);

        let (shape, image) = case.f32("image");
        let image =
            Array3::from_shape_vec((shape[0], shape[1], shape[2]), image).expect("an image");
        let drawn = stretched(image.view()).expect("three channels").into_raw();
        let got: Vec<f32> = drawn.iter().map(|v| f32::from(*v) / 255.0).collect();
        // Pictures have 8 bits.
        assert_close("rgb", &got, &case.f32("rgb").1, 0.51 / 255.0);

        let (shape, features) = case.f32("features");
        let [n, c, h, w] = shape[..] else { panic!("features of shape {shape:?}") };
        let features = Array4::from_shape_vec((n, c, h, w), features).expect("features");
        let maps = principal_maps(&features).expect("three directions");
        let (_, want) = case.f32("pca");
        let want = Array4::from_shape_vec((n, 3, h, w), want).expect("maps");
        for channel in 0..3 {
            let of = |maps: &Array4<f32>| -> Vec<f32> {
                maps.slice(ndarray::s![.., channel, .., ..]).iter().copied().collect()
            };
            let (got, want) = (of(&maps), of(&want));
            // Up to the sign.
            let product: f32 = got.iter().zip(&want).map(|(a, b)| a * b).sum();
            let got: Vec<f32> = got.iter().map(|value| value * product.signum()).collect();
            assert_close(&format!("pca {channel}"), &got, &want, 1e-4);
        }
    }
    report_optional("denet/visualisation", cases.len());
}
