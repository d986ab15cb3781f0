//! The HSNet protocol: images and masks of the published loaders.

use std::path::Path;

use fss_data::episode::Episode;
use fss_data::loader::{EpisodeTensors, EpisodeTransform, load_episode};
use fss_data::resize::{Filter, nearest_indices, resize_mask, resize_rgb};
use fss_data::sampler::{HsnetListing, HsnetSampler};
use fss_data::transform::{Compare, HsnetPreprocess, HsnetView, IgnoredPixels, normalise};
use fss_data::{ClassId, Files, IGNORE_INDEX, Masks, SegmentationDataset};
use fss_support::golden::{self, Case};
use image::{GrayImage, RgbImage};
use ndarray::{Array2, Array3};
use serde_json::json;

use crate::hsnet::{number, pascal_listing, texts};

#[test]
fn golden_hsnet_nearest_index() {
    let mut count = 0;
    for case in golden::cases("hsnet", "nearest_index") {
        for name in case.names() {
            let sizes = name.trim_start_matches('n').split_once("_to").expect("two sizes");
            let [from, to] = [sizes.0, sizes.1].map(|size| size.parse::<usize>().expect("a size"));
            let got: Vec<i64> = nearest_indices(from, to).iter().map(|&i| i as i64).collect();
            assert_eq!(got, case.i64(name).1, "{name}");
            count += 1;
        }
    }
    golden::report("hsnet/nearest_index", count);
}

/// An image `[3, H, W]`, or `[1, H, W]` of a grey file, as a file of its own kind.
pub fn write_image(case: &Case, name: &str, path: &Path) {
    let (shape, bytes) = case.u8(name);
    let (width, height) = (shape[2] as u32, shape[1] as u32);
    let saved = if shape[0] == 1 {
        GrayImage::from_raw(width, height, bytes).expect("a grey image").save(path)
    } else {
        planes(case, name).save(path)
    };
    saved.expect("a file");
}

/// An image that is stored as planes `[3, H, W]`.
pub fn planes(case: &Case, name: &str) -> RgbImage {
    let (shape, bytes) = case.u8(name);
    let (height, width) = (shape[1], shape[2]);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        image::Rgb(std::array::from_fn(|channel| bytes[channel * height * width + at]))
    })
}

fn mask(case: &Case, name: &str) -> Array2<u8> {
    let (shape, bytes) = case.u8(name);
    Array2::from_shape_vec((shape[0], shape[1]), bytes).expect("a mask")
}

#[test]
fn golden_hsnet_transform() {
    let cases = golden::cases("hsnet", "transform");
    for case in &cases {
        for (name, settings) in case.settings.as_object().expect("sub-cases") {
            let view = HsnetView {
                preprocess: HsnetPreprocess { side: number(settings, "size") },
                compare: Compare::Resized,
                query_ignored: IgnoredPixels::Kept,
            };
            let what = format!("{}: {name}", case.name);
            let source = planes(case, &format!("{name}.src"));
            let resized = view.preprocess.resize(&source).expect("a resize");
            assert!(resized == planes(case, &format!("{name}.resized_u8")), "{what}: 8-bit image");
            let got: Vec<f32> = view.image(&source).expect("an image").iter().copied().collect();
            let want = case.f32(&format!("{name}.normalized")).1;
            golden::assert_close(&what, &got, &want, 1e-5);
            let labels =
                resize_mask(&mask(case, &format!("{name}.mask")), [view.preprocess.side; 2]);
            assert_eq!(
                labels.expect("a mask"),
                mask(case, &format!("{name}.mask_nearest")),
                "{what}"
            );
        }
    }
    golden::report_optional("hsnet/transform", cases.len());
}

/// The images and annotations of a case as files, as far as it has them.
fn dataset(case: &Case, folder: &Path, ids: Vec<String>, masks: Masks) -> SegmentationDataset {
    let files = ids.iter().enumerate().map(|(i, id)| {
        let paths = (folder.join(format!("{i}.image.png")), folder.join(format!("{i}.mask.png")));
        let (image, annotation) = (format!("image.{id}"), format!("annotation.{id}"));
        if case.has(&image) {
            write_image(case, &image, &paths.0);
            fss_data::io::write_grey_mask(&paths.1, &mask(case, &annotation)).expect("a file");
        }
        paths
    });
    SegmentationDataset {
        name: case.name.clone(),
        root: folder.to_path_buf(),
        class_names: (1..=1000).map(|class| class.to_string()).collect(),
        files: Files::Listed(files.collect()),
        ids,
        masks,
    }
}

/// Compares an image as the network sees it with that of the published loader.
///
/// The cases were made with Pillow 13, which resizes the columns of some images first, where the
/// Pillow of the published systems always began with the rows. Such an image must then be equal to
/// that of the other order.
fn check_image(
    what: &str,
    dataset: &SegmentationDataset,
    position: usize,
    got: &Array3<f32>,
    want: &[f32],
) {
    let close = |image: &Array3<f32>| image.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-5);
    assert_eq!(got.len(), want.len(), "{what}");
    if close(got) {
        return;
    }
    let source = dataset.load_image(position).expect("an image");
    let (side, width) = (got.dim().1, source.width() as usize);
    let columns = resize_rgb(&source, [side, width], Filter::Bilinear).expect("a resize");
    let other = resize_rgb(&columns, [side, side], Filter::Bilinear).expect("a resize");
    let other: Vec<f32> = normalise(&other).iter().copied().collect();
    golden::assert_close(what, &other, want, 1e-5);
    // One grey level at most.
    let got: Vec<f32> = got.iter().copied().collect();
    golden::assert_close(what, &got, want, 0.0176);
}

/// Loads an episode as the protocol does, and compares it with an item of the published loader.
fn check_item(
    case: &Case,
    item: &str,
    dataset: &SegmentationDataset,
    episode: &Episode,
    query_ignored: IgnoredPixels,
) {
    let what = format!("{}: {item}", case.name);
    let load = |compare| -> EpisodeTensors {
        let preprocess = HsnetPreprocess { side: case.usize_setting("size") };
        let view = HsnetView { preprocess, compare, query_ignored };
        load_episode(dataset, episode.clone(), &EpisodeTransform::Hsnet(view)).expect("an episode")
    };
    let check_query = |item: &str, mask: &Array2<u8>| {
        let class: Vec<u8> = mask.iter().map(|&v| u8::from(v == 1)).collect();
        assert_eq!(class, case.u8(&format!("{item}.query_mask")).1, "{what}: query mask");
        let ignored: Vec<u8> = mask.iter().map(|&v| u8::from(v == IGNORE_INDEX)).collect();
        let name = format!("{item}.query_ignore_idx");
        let want = if case.has(&name) { case.u8(&name).1 } else { vec![0; ignored.len()] };
        assert_eq!(ignored, want, "{what}: ignored pixels");
    };
    let loaded = load(Compare::Resized);
    let (_, query) = case.f32(&format!("{item}.query_img"));
    check_image(&what, dataset, episode.query, &loaded.query, &query);
    check_query(item, &loaded.query_mask);
    let (_, supports) = case.f32(&format!("{item}.support_imgs"));
    let each = supports.chunks(loaded.query.len());
    assert_eq!(each.len(), loaded.supports.len(), "{what}: supports");
    for ((want, (got, _)), &position) in each.zip(&loaded.supports).zip(&episode.supports) {
        check_image(&what, dataset, position, got, want);
    }
    let masks: Vec<u8> =
        loaded.supports.iter().flat_map(|(_, mask)| mask.iter().copied()).collect();
    assert_eq!(masks, case.u8(&format!("{item}.support_masks")).1, "{what}: support masks");
    let original = format!("{item}_orig");
    if case.has(&format!("{original}.query_mask")) {
        check_query(&original, &load(Compare::Original).query_mask);
    }
}

#[test]
fn golden_hsnet_data_of_lists() {
    let mut count = 0;
    for (kind, ignored) in
        [("data_pascal", IgnoredPixels::Kept), ("data_coco", IgnoredPixels::Background)]
    {
        for case in golden::cases("hsnet", kind) {
            let folder = tempfile::tempdir().expect("a folder");
            let listing = match kind {
                "data_pascal" => pascal_listing(texts(&case.settings["listing_val"])),
                _ => {
                    let lists = case.settings["listing"].as_object().expect("lists").iter();
                    HsnetListing::coco(lists.map(|(class, list)| {
                        (class.parse::<usize>().expect("a class"), texts(list))
                    }))
                    .expect("a listing")
                }
            };
            let dataset = dataset(&case, folder.path(), listing.images().to_vec(), Masks::Labels);
            let seed = case.usize_setting("seed") as u32;
            let mut sampler = HsnetSampler::new(listing.clone(), seed, case.usize_setting("shot"))
                .expect("draws");
            for (i, want) in
                case.settings["episodes"].as_array().expect("episodes").iter().enumerate()
            {
                let episode = sampler.draw();
                let name = |&image: &usize| listing.images()[image].as_str();
                let supports: Vec<&str> = episode.supports.iter().map(name).collect();
                let got = json!([name(&episode.query), episode.class, supports]);
                assert_eq!(got, json!([want[0], want[1], want[2]]), "{}: episode {i}", case.name);
                let episode = episode.to_episode().expect("an episode");
                check_item(&case, &format!("item{i}"), &dataset, &episode, ignored);
                count += 1;
            }
        }
    }
    golden::report("hsnet/data_pascal, hsnet/data_coco", count);
}

#[test]
fn golden_hsnet_data_of_fss() {
    let mut count = 0;
    for case in golden::cases("hsnet", "data_fss") {
        let folder = tempfile::tempdir().expect("a folder");
        let categories = texts(&case.settings["categories_in_file_order"]);
        let listing = HsnetListing::fss(categories, 760).expect("a listing");
        let classes = listing.images().iter().enumerate().map(|(i, _)| 761 + (i / 10) as ClassId);
        let masks = Masks::Binary { threshold: 128, classes: classes.collect() };
        let dataset = dataset(&case, folder.path(), listing.images().to_vec(), masks);
        let fresh = HsnetSampler::new(
            listing.clone(),
            case.usize_setting("seed") as u32,
            case.usize_setting("shot"),
        );
        let mut state = fresh.expect("a sampler").state();
        for want in case.settings["items"].as_array().expect("items") {
            // The loader is asked for this item next; the stream of draws goes on.
            let next = want[0].as_u64().expect("a number") as usize;
            state.next = next;
            let mut sampler = HsnetSampler::restore(listing.clone(), state).expect("a sampler");
            let episode = sampler.draw();
            state = sampler.state();
            let name = |&image: &usize| format!("{}.jpg", listing.images()[image]);
            let supports: Vec<String> = episode.supports.iter().map(name).collect();
            let got = json!([next, name(&episode.query), episode.class, supports]);
            assert_eq!(got, *want, "{}: item {next}", case.name);
            let episode = episode.to_episode().expect("an episode");
            let item = format!("item{next}");
            check_item(&case, &item, &dataset, &episode, IgnoredPixels::Background);
            count += 1;
        }
    }
    golden::report("hsnet/data_fss", count);
}
