//! The HSNet protocol: generator and episodes.

use std::path::Path;

use fss_data::ClassId;
use fss_data::folds::{Fold, FoldScheme};
use fss_data::lists::{read_categories, read_coco_text};
use fss_data::pascal::read_hsnet_list;
use fss_data::rng::NumpyLegacy;
use fss_data::sampler::{HsnetListing, HsnetSampler};
use fss_support::golden;
use serde_json::{Value, json};

/// The episodes of a set, `[query, class, [supports]]`, and what goes before `<id>` in image names.
struct Drawn<'a> {
    listing: &'a HsnetListing,
    sampler: HsnetSampler,
}

impl<'a> Drawn<'a> {
    fn new(listing: &'a HsnetListing, set: &Value) -> Self {
        let seed = number(set, "seed") as u32;
        let sampler = HsnetSampler::new(listing.clone(), seed, number(set, "shot"));
        Self { listing, sampler: sampler.expect("a sampler") }
    }

    /// Compares all episodes of the set; `name` turns the listing's names into those of the file.
    fn check(&mut self, what: &str, set: &Value, name: impl Fn(&str) -> Value) {
        let episodes = set["episodes"].as_array().expect("a list of episodes");
        assert!(!episodes.is_empty(), "{what}");
        let name = |image: usize| name(&self.listing.images()[image]);
        for (i, want) in episodes.iter().enumerate() {
            let episode = self.sampler.draw();
            let supports: Vec<Value> = episode.supports.iter().map(|&image| name(image)).collect();
            let got = json!([name(episode.query), episode.class, supports]);
            assert_eq!(got, *want, "{what}: episode {i}");
        }
    }
}

pub fn number(of: &Value, key: &str) -> usize {
    of[key].as_u64().unwrap_or_else(|| panic!("no integer {key:?}")) as usize
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no text {key:?}"))
}

pub fn texts(of: &Value) -> Vec<&str> {
    of.as_array().expect("a list").iter().map(|v| v.as_str().expect("a text")).collect()
}

fn image_number(name: &str) -> u64 {
    let digits = name.rsplit_once('_').map_or(name, |(_, number)| number);
    digits.trim_end_matches(".jpg").parse().expect("an image number")
}

#[test]
fn golden_hsnet_rng_numpy() {
    let mut count = 0;
    for case in golden::cases("hsnet", "rng_numpy") {
        for set in case.json()["sets"].as_array().expect("sets") {
            let fresh = || NumpyLegacy::seed(number(set, "seed") as u32);
            let mut random = fresh();
            let outputs: Vec<u32> = (0..1300).map(|_| random.next_u32()).collect();
            assert_eq!(json!(outputs[..8]), set["first8"]);
            assert_eq!(json!(outputs[622..628]), set["at_622_to_627"]);
            assert_eq!(json!(outputs[1299]), set["at_1299"]);
            let mut random = fresh();
            let of = set["n"].as_array().expect("a list").iter();
            let chosen: Vec<usize> =
                of.map(|n| random.choice_one(n.as_u64().expect("a number") as usize)).collect();
            assert_eq!(json!(chosen), set["choice"]);
            count += 1;
        }
    }
    golden::report("hsnet/rng_numpy", count);
}

#[test]
fn golden_hsnet_episodes_toy() {
    let mut count = 0;
    for case in golden::cases("hsnet", "episodes_toy_") {
        let json = case.json();
        for set in json["sets"].as_array().expect("sets") {
            let what = format!("{} set {count}", case.name);
            let fold = number(set, "fold");
            let lists = match text(set, "split") {
                "trn" => &json["listing"]["trn"],
                _ => &json["listing"]["val"],
            };
            let training = text(set, "split") == "trn";
            let listing = match case.name.as_str() {
                "episodes_toy_pascal" => {
                    let folds = (0..4).filter(|&f| (f == fold) != training);
                    let lines = folds.flat_map(|f| texts(&lists[format!("fold{f}")]));
                    pascal_listing(lines)
                }
                _ => {
                    let classes = set["class_ids"].as_array().expect("classes");
                    let classes = classes.iter().map(|c| c.as_u64().expect("a class") as usize);
                    HsnetListing::coco(classes.map(|c| (c, texts(&lists[c.to_string()]))))
                        .expect("a listing")
                }
            };
            assert_eq!(json!(listing.classes().collect::<Vec<_>>()), set["class_ids"], "{what}");
            Drawn::new(&listing, set).check(&what, set, |name| json!(name));
            count += 1;
        }
    }
    golden::report("hsnet/episodes_toy_", count);
}

/// From lines `<id>__<label>`.
pub fn pascal_listing<'a>(lines: impl IntoIterator<Item = &'a str>) -> HsnetListing {
    let pairs = lines.into_iter().map(|line| {
        let (id, label) = line.split_once("__").expect("two underscores");
        (id, label.parse::<usize>().expect("a label") - 1)
    });
    HsnetListing::pascal(pairs).expect("a listing")
}

/// The listing of a set, from the published lists in `splits`.
fn published_listing(splits: &Path, set: &Value) -> HsnetListing {
    let fold = number(set, "fold");
    let (split, list) = match text(set, "split") {
        "trn" => ("trn", "trn"),
        "val" => ("val", "val"),
        // Only FSS-1000 has a list of its own to test on.
        other => (other, if text(set, "benchmark") == "fss" { "test" } else { "val" }),
    };
    match text(set, "benchmark") {
        "pascal" => {
            let folds = (0..4).filter(|&f| (f == fold) != (split == "trn"));
            let entries: Vec<_> = folds
                .flat_map(|f| {
                    let file = splits.join(format!("pascal_{list}_fold{f}.txt"));
                    read_hsnet_list(&file).expect("a list")
                })
                .collect();
            HsnetListing::from_entries(&entries).expect("a listing")
        }
        "coco" => {
            let lists = read_coco_text(&splits.join(format!("coco_{list}.txt"))).expect("lists");
            let novel = Fold::new(fold, 80, FoldScheme::Interleaved).expect("a fold");
            let shown = lists
                .iter()
                .filter(|(class, _)| novel.is_novel(**class as ClassId + 1) != (split == "trn"));
            let shown = shown.map(|(&class, list)| (class, list.iter().map(String::as_str)));
            HsnetListing::coco(shown).expect("a listing")
        }
        "fss" => {
            let categories =
                read_categories(&splits.join(format!("fss_{list}.txt"))).expect("a list");
            let first = [("trn", 0), ("val", 520), ("test", 760)];
            let first = first.iter().find(|(name, _)| *name == list).expect("a split").1;
            HsnetListing::fss(categories.iter().map(String::as_str), first).expect("a listing")
        }
        other => panic!("benchmark {other:?}"),
    }
}

#[test]
fn golden_hsnet_episodes_of_published_lists() {
    let splits = golden::directory().join("hsnet/splits");
    for kind in ["episodes_pascal_", "episodes_coco_", "episodes_fss_"] {
        let cases = golden::cases("hsnet", kind);
        if !splits.is_dir() {
            let count = cases.len();
            println!(
                "golden hsnet/{kind}: SKIPPED, {count} case(s): the published lists are not at hand"
            );
            continue;
        }
        let mut count = 0;
        for case in &cases {
            for set in case.json()["sets"].as_array().expect("sets") {
                let what = format!("{} set {count}", case.name);
                let listing = published_listing(&splits, set);
                let entries: usize = match text(set, "benchmark") {
                    // Images that several classes show count once in the published COCO loader.
                    "coco" => listing.images().len(),
                    _ => listing.listed_queries().expect("listed queries"),
                };
                assert_eq!(entries, number(set, "n_metadata"), "{what}");
                let mut drawn = Drawn::new(&listing, set);
                match text(set, "benchmark") {
                    "coco" => drawn.check(&what, set, |name| json!(image_number(name))),
                    "fss" => drawn.check(&what, set, |name| json!(format!("{name}.jpg"))),
                    _ => drawn.check(&what, set, |name| json!(name)),
                }
                count += 1;
            }
        }
        golden::report(&format!("hsnet/{kind}"), count);
    }
}
