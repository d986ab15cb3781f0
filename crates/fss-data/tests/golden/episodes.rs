//! Episodes of the published samplers.

use std::{collections::BTreeMap, sync::Arc};

use fss_data::{
    episode::{CropFlip, Episode, EpisodeSource, ImageLabels, MIN_OBJECT_PIXELS},
    folds::{Fold, FoldScheme, Subset},
    rng::TorchGenerator,
    sampler::{
        DrawMode, EpisodeSampler, HsnetListing, HsnetSampler, OfficialConfig, OfficialSampler,
    },
};
use fss_support::golden;
use serde_json::{Value, json};

fn number(of: &Value, key: &str) -> usize {
    of[key].as_u64().unwrap_or_else(|| panic!("no integer {key:?}")) as usize
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().unwrap_or_else(|| panic!("no list {key:?}"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn listing(of: &Value) -> Vec<ImageLabels> {
    list(of, "ids_in_list_file")
        .iter()
        .map(|id| {
            let id = text(id).to_owned();
            let image = &of["images"][&id];
            let pixels: BTreeMap<fss_data::ClassId, u64> =
                serde_json::from_value(image["pixels"].clone()).expect("pixel counts");
            let [width, height] = ["width", "height"].map(|key| number(image, key) as u32);
            ImageLabels { id, width, height, pixels }
        })
        .collect()
}

fn mode(case: &Value) -> (Subset, DrawMode) {
    match text(&case["mode"]) {
        "train" => (Subset::Base, DrawMode::Training { crop: number(case, "crop_size") as u32 }),
        "val" => (Subset::Novel, DrawMode::Evaluation),
        other => panic!("mode {other:?}"),
    }
}

fn source(case: &Value, listings: &Value) -> EpisodeSource {
    let classes = match text(&case["dataset"]) {
        "pascal" => 20,
        "coco" => 80,
        other => panic!("data set {other:?}"),
    };
    let fold = Fold::new(number(case, "fold"), classes, FoldScheme::Contiguous).expect("a fold");
    let labels = fold.labels(mode(case).0);
    let images = listing(&listings[text(&case["listing"])]);
    EpisodeSource::new(images, &labels, MIN_OBJECT_PIXELS).expect("a source")
}

/// The episode as the file writes it.
fn written(episode: &Episode, want: &Value, source: &EpisodeSource, batch_size: usize) -> Value {
    let id = |image: usize| source.images()[image].id.as_str();
    let supports: Vec<&str> = episode.supports.iter().map(|&image| id(image)).collect();
    let mut json = json!({"cls": episode.class, "query": id(episode.query), "support": supports});
    if !episode.rejected.is_empty() {
        json["rejected_supports"] = episode.rejected.len().into();
    }
    if let Some(crops) = &episode.crops {
        let crops = crops.iter().map(|&CropFlip { x, y, flip }| json!([x, y, flip]));
        json["crop_flip"] = crops.collect();
        json["batch"] = (episode.index / batch_size).into();
    }
    // The calls of the first episodes are written out, too: the results tell them.
    if let Some(draws) = want.get("draws") {
        json["draws"] = draws.clone();
    }
    json
}

fn check_own(name: &str, case: &Value, listings: &Value) {
    let source = Arc::new(source(case, listings));
    let ids = |images: &[usize]| {
        images.iter().map(|&image| source.images()[image].id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(json!(ids(source.queries())), case["ids_after_filter"], "{name}: filter");
    for (class, want) in case["cls_to_ids"].as_object().expect("a map") {
        let got = ids(source.images_of(class.parse().expect("a label")));
        assert_eq!(json!(got), *want, "{name}: images of class {class}");
    }
    let shown = source.classes().iter().filter(|&&class| !source.images_of(class).is_empty());
    assert_eq!(shown.count(), case["cls_to_ids"].as_object().unwrap().len(), "{name}: classes");

    if let Some(base) = case["base_seed"].as_str() {
        let seed = case["seed"].as_u64().expect("a seed");
        assert_eq!(TorchGenerator::seed(seed).next_int64().to_string(), base, "{name}: base seed");
    }
    let batch_size = number(case, "batch_size");
    let config = OfficialConfig {
        seed: case["seed"].as_u64().expect("a seed"),
        shot: number(case, "shot"),
        workers: number(case, "num_workers"),
        batch_size,
        mode: mode(case).1,
    };
    let mut sampler = OfficialSampler::new(source.clone(), config).expect("a sampler");
    for (i, want) in list(case, "episodes").iter().enumerate() {
        if i == list(case, "episodes").len() / 2 {
            // The stream goes on from a saved state as if nothing had happened.
            let state = serde_json::to_string(&sampler.state()).expect("a state");
            let state = serde_json::from_str(&state).expect("a state");
            sampler = OfficialSampler::restore(source.clone(), state).expect("a sampler");
        }
        let episode = sampler.next_episode().expect("an episode");
        assert_eq!(written(&episode, want, &source, batch_size), *want, "{name}: episode {i}");
    }
}

#[test]
fn golden_episodes_own_protocol() {
    let mut count = 0;
    for file in golden::cases("ssp", "episodes_own_protocol") {
        let json = file.json();
        for (name, case) in json["cases"].as_object().expect("cases") {
            check_own(name, case, &json["listings"]);
            count += 1;
        }
    }
    golden::report("ssp/episodes_own_protocol", count);
}

/// Entries of a file whose key starts so, with the number that follows.
fn entries<'a>(json: &'a Value, prefix: &str, suffix: &str) -> Vec<(usize, &'a Value)> {
    let entries = json.as_object().expect("a map").iter();
    entries
        .filter_map(|(key, value)| {
            let shot = key.strip_prefix(prefix)?.strip_suffix(suffix)?;
            Some((shot.parse().expect("a number of shots"), value))
        })
        .collect()
}

/// The seed of a part of a file; the published runs have seed 0.
fn seed(part: &Value) -> u32 {
    part.get("seed").map_or(0, |seed| seed.as_u64().expect("a seed") as u32)
}

#[test]
fn golden_episodes_hsnet_pascal() {
    let mut count = 0;
    for file in golden::cases("ssp", "episodes_hsnet_pascal") {
        let json = file.json();
        for (_, fold) in entries(&json, "fold", "") {
            let classes: Vec<usize> =
                serde_json::from_value(fold["line_class"].clone()).expect("classes");
            assert_eq!(classes.len(), number(fold, "n_lines"));
            // Names do not matter: every line is an image of its own here.
            let names: Vec<String> = (0..classes.len()).map(|line| line.to_string()).collect();
            let pairs = names.iter().map(String::as_str).zip(classes.iter().copied());
            let listing = HsnetListing::pascal(pairs).expect("a listing");
            let found: Vec<usize> = listing.classes().collect();
            assert_eq!(json!(found), fold["class_ids"]);
            for (shot, want) in entries(fold, "supports_", "shot") {
                let mut sampler =
                    HsnetSampler::new(listing.clone(), seed(fold), shot).expect("a sampler");
                for (i, want) in want.as_array().expect("episodes").iter().enumerate() {
                    let episode = sampler.draw();
                    let line = i % classes.len();
                    assert_eq!((episode.query, episode.class), (line, classes[line]));
                    let places = places(&listing, episode.class, &episode.supports);
                    let got = if want.is_array() { json!(places) } else { json!(places[0]) };
                    assert_eq!(got, *want, "{}: {shot}-shot episode {i}", file.name);
                }
                count += 1;
            }
        }
    }
    golden::report("ssp/episodes_hsnet_pascal", count);
}

/// Positions of images in the list of their class.
fn places(listing: &HsnetListing, class: usize, images: &[usize]) -> Vec<usize> {
    let list = listing.images_of(class);
    let place = |image: &usize| list.iter().position(|entry| entry == image).expect("an entry");
    images.iter().map(place).collect()
}

#[test]
fn golden_episodes_hsnet_coco() {
    let mut count = 0;
    for file in golden::cases("ssp", "episodes_hsnet_coco") {
        let json = file.json();
        for (_, fold) in entries(&json, "fold", "") {
            let classes: Vec<usize> =
                serde_json::from_value(fold["class_ids"].clone()).expect("classes");
            let lengths: Vec<usize> =
                serde_json::from_value(fold["class_list_lengths"].clone()).expect("lengths");
            let lists: Vec<Vec<String>> = std::iter::zip(&classes, &lengths)
                .map(|(class, &length)| (0..length).map(|i| format!("{class}/{i}")).collect())
                .collect();
            let lists = classes.iter().copied().zip(&lists);
            let listing = HsnetListing::coco(
                lists.map(|(class, list)| (class, list.iter().map(String::as_str))),
            )
            .expect("a listing");
            // The protocol deals the classes to the folds in turn.
            let index = number(fold, "fold");
            let novel = Fold::new(index, 80, FoldScheme::Interleaved).unwrap().novel_classes();
            assert_eq!(classes, novel.iter().map(|&l| usize::from(l) - 1).collect::<Vec<_>>());
            for (shot, want) in entries(fold, "episodes_", "shot") {
                let mut sampler =
                    HsnetSampler::new(listing.clone(), seed(fold), shot).expect("a sampler");
                for (i, want) in want.as_array().expect("episodes").iter().enumerate() {
                    let episode = sampler.draw();
                    let query = places(&listing, episode.class, &[episode.query])[0];
                    let supports = places(&listing, episode.class, &episode.supports);
                    let got = json!([episode.class, query, supports]);
                    assert_eq!(got, *want, "{}: {shot}-shot episode {i}", file.name);
                }
                count += 1;
            }
        }
    }
    golden::report("ssp/episodes_hsnet_coco", count);
}

#[test]
fn golden_episodes_hsnet_fss() {
    let mut count = 0;
    for file in golden::cases("ssp", "episodes_hsnet_fss") {
        let json = file.json();
        for (key, part) in json.as_object().expect("parts").iter().filter(|(_, v)| v.is_object()) {
            let first_class = match text(&part["split"]) {
                "trn" => 0,
                "val" => 520,
                "test" => 760,
                other => panic!("split {other:?}"),
            };
            let images = number(part, "n_images");
            let categories: Vec<String> = (0..images / 10).map(|i| format!("{i:04}")).collect();
            let listing = HsnetListing::fss(categories.iter().map(String::as_str), first_class)
                .expect("a listing");
            assert_eq!(listing.listed_queries(), Some(images));
            let shot = number(part, "shot");
            let mut sampler =
                HsnetSampler::new(listing.clone(), seed(part), shot).expect("a sampler");
            // Image numbers count from 1.
            let number = |image: usize, class| places(&listing, class, &[image])[0] + 1;
            for (i, want) in list(part, "episodes").iter().enumerate() {
                let episode = sampler.draw();
                let supports: Vec<usize> =
                    episode.supports.iter().map(|&image| number(image, episode.class)).collect();
                let got = json!([episode.class, number(episode.query, episode.class), supports]);
                assert_eq!(got, *want, "{}: {key}: episode {i}", file.name);
            }
            count += 1;
        }
    }
    golden::report("ssp/episodes_hsnet_fss", count);
}
