//! Resizes, normalisation and the preparation of images and masks.

use fss_data::{
    IGNORE_INDEX,
    episode::CropFlip,
    resize::{Filter, PassOrder, nearest_indices, pillow_nearest, resize_mask, resize_rgb_ordered},
    rng::PythonRandom,
    transform::{
        HsnetPreprocess, IgnoredPixels, Normalisation, TrainTransform, binary_mask, normalise,
    },
};
use fss_support::golden::{self, Case};
use image::RgbImage;
use ndarray::{Array2, Array3};

fn image(case: &Case, name: &str) -> RgbImage {
    let (shape, bytes) = case.u8(name);
    let &[height, width, 3] = shape.as_slice() else { panic!("{name} has shape {shape:?}") };
    RgbImage::from_raw(width as u32, height as u32, bytes).expect("an RGB image")
}

fn mask(case: &Case, name: &str) -> Array2<u8> {
    let (shape, bytes) = case.u8(name);
    let &[height, width] = shape.as_slice() else { panic!("{name} has shape {shape:?}") };
    Array2::from_shape_vec((height, width), bytes).expect("a mask")
}

fn bytes(mask: &Array2<u8>) -> Vec<u8> {
    mask.iter().copied().collect()
}

fn floats(tensor: &Array3<f32>) -> Vec<f32> {
    tensor.iter().copied().collect()
}

/// The numbers N of tensors that are called `N.image`.
fn numbers(case: &Case) -> Vec<String> {
    case.names().iter().filter_map(|name| name.strip_suffix(".image")).map(str::to_owned).collect()
}

#[test]
fn golden_pillow_resize() {
    let cases = golden::cases("common", "pillow_resize");
    let mut count = 0;
    for case in &cases {
        for n in numbers(case) {
            let source = image(case, &format!("{n}.image"));
            for (key, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
                let name = format!("{n}.{key}");
                let want = image(case, &name);
                let size = [want.height() as usize, want.width() as usize];
                let resize =
                    |order| resize_rgb_ordered(&source, size, filter, order).expect("a resize");
                assert!(resize(PassOrder::HorizontalFirst) == want, "{}: {name}", case.name);
                let other = format!("{name}.vertical_first");
                let want = if case.has(&other) { image(case, &other) } else { want };
                assert!(resize(PassOrder::CheapestFirst) == want, "{}: {other}", case.name);
                count += 1;
            }
            let (want, (height, width)) = {
                let want = mask(case, &format!("{n}.nearest"));
                (bytes(&want), want.dim())
            };
            let channel = Array2::from_shape_fn(
                (source.height() as usize, source.width() as usize),
                |(y, x)| source.get_pixel(x as u32, y as u32).0[1],
            );
            let got = pillow_nearest(&channel, [height, width]).expect("a resize");
            assert!(bytes(&got) == want, "{}: {n}.nearest", case.name);
        }
    }
    golden::report("common/pillow_resize", count);
}

#[test]
fn golden_interpolate_nearest_indices() {
    let cases = golden::cases("common", "interpolate_nearest");
    let mut count = 0;
    for case in &cases {
        for name in case.names() {
            let Some(sizes) = name.strip_prefix("index.") else { continue };
            let (from, to) = sizes.split_once("_to_").expect("two sizes");
            let [from, to] = [from, to].map(|size| size.parse::<usize>().expect("a size"));
            let got: Vec<i64> = nearest_indices(from, to).iter().map(|&i| i as i64).collect();
            assert_eq!(got, case.i64(name).1, "{}: {name}", case.name);
            // The same rule on a mask: one row whose labels are their own positions.
            if from <= 256 {
                let row = Array2::from_shape_fn((1, from), |(_, x)| x as u8);
                let resized = resize_mask(&row, [1, to]).expect("a resize");
                let labels: Vec<i64> = resized.iter().map(|&label| i64::from(label)).collect();
                assert_eq!(labels, got, "{}: mask of {name}", case.name);
            }
            count += 1;
        }
    }
    golden::report("common/interpolate_nearest (indices)", count);
}

#[test]
fn golden_normalize() {
    let cases = golden::cases("common", "normalize");
    for case in &cases {
        let numbers = |key: &str| -> [f32; 3] {
            std::array::from_fn(|i| case.settings[key][i].as_f64().expect("a number") as f32)
        };
        let normalisation =
            Normalisation { divisor: 255.0, mean: numbers("mean"), std: numbers("std") };
        let scaled = Normalisation { divisor: 255.0, mean: [0.0; 3], std: [1.0; 3] };
        let source = image(case, "image");
        for (name, rule) in [
            ("scaled", scaled),
            ("normalized", normalisation),
            ("normalized_255_scale", normalisation.at_byte_scale()),
        ] {
            let (shape, want) = case.f32(name);
            let got = rule.apply(&source);
            assert_eq!(got.shape(), shape, "{}: {name}", case.name);
            golden::assert_close(&format!("{}: {name}", case.name), &floats(&got), &want, 1e-6);
        }
    }
    golden::report("common/normalize", cases.len());
}

#[test]
fn golden_transform_train() {
    let cases = golden::cases("ssp", "transform_train");
    let mut count = 0;
    for case in &cases {
        for entry in case.settings["cases"].as_array().expect("a list of cases") {
            let number = |key: &str| entry[key].as_u64().expect("an integer");
            let n = number("case");
            let what = format!("{}: {n}", case.name);
            let (source, labels) =
                (image(case, &format!("{n}.image")), mask(case, &format!("{n}.mask")));
            let side = number("size") as u32;

            let mut random = PythonRandom::seed(u128::from(number("seed")));
            let mut start = |of: u32| random.randint(0, i64::from(of.saturating_sub(side))) as u32;
            let (x, y) = (start(source.width()), start(source.height()));
            let uniform = random.random();
            // Reading a fraction from JSON may lose its last bit.
            let want = entry["flip_draw"].as_f64().expect("a number");
            assert!((uniform - want).abs() <= f64::EPSILON, "{what}: flip draw");
            let draw = CropFlip { x, y, flip: uniform < 0.5 };
            let want = (number("x") as u32, number("y") as u32, entry["flipped"].as_bool());
            assert_eq!((draw.x, draw.y, Some(draw.flip)), want, "{what}: draws");

            let transform = TrainTransform::new(side);
            let (got, got_mask) = transform.apply(&source, &labels, draw).expect("a crop");
            let (shape, want) = case.f32(&format!("{n}.out_image"));
            assert_eq!(got.shape(), shape, "{what}");
            golden::assert_close(&format!("{what} image"), &floats(&got), &want, 1e-6);
            assert_eq!(got_mask, mask(case, &format!("{n}.out_mask")), "{what}: mask");
            count += 1;
        }
    }
    golden::report("ssp/transform_train", count);
}

/// The protocol's two maps of a mask whose ignored pixels are kept: the class, and the ignored.
fn maps(mask: &Array2<u8>) -> (Vec<u8>, Vec<u8>) {
    let is = |wanted: u8| mask.iter().map(move |&label| u8::from(label == wanted)).collect();
    (is(1), is(IGNORE_INDEX))
}

#[test]
fn golden_hsnet_preprocess() {
    let cases = golden::cases("ssp", "hsnet_preprocess_");
    for case in &cases {
        let preprocess = HsnetPreprocess { side: case.usize_setting("img_size") };
        let label = case.usize_setting("class_id_zero_based") as u8 + 1;
        let (_, support_images) = case.f32("support_imgs");
        let (support_shape, support_masks) = case.u8("support_masks");
        let (_, support_ignored) = case.u8("support_ignore_idxs");
        let area = support_shape[1] * support_shape[2];
        let numbers = numbers(case);
        assert_eq!(numbers.len(), support_shape[0] + 1, "{}: one query", case.name);
        for n in numbers {
            let what = format!("{}: {n}", case.name);
            let source = image(case, &format!("{n}.image"));
            let labels = mask(case, &format!("{n}.mask"));
            let resized = preprocess.resize(&source).expect("a resize");
            assert!(resized == image(case, &format!("{n}.resized_u8")), "{what}: 8-bit image");
            let tensor = preprocess.image(&source).expect("a resize");
            assert_eq!(tensor, normalise(&resized), "{what}");
            let kept = preprocess.mask(&labels, label, IgnoredPixels::Kept).expect("a resize");
            let (class, ignored) = maps(&kept);

            // Image 0 is the query, the others are the supports in order.
            let (want_image, want_class, want_ignored) = match n.parse::<usize>().unwrap() {
                0 => (
                    case.f32("query_img").1,
                    case.u8("query_mask").1,
                    case.u8("query_ignore_idx").1,
                ),
                i => {
                    let part = (i - 1) * area..i * area;
                    let dropped = preprocess.mask(&labels, label, IgnoredPixels::Background);
                    let dropped = bytes(&dropped.expect("a resize"));
                    assert_eq!(dropped, support_masks[part.clone()], "{what}: support mask");
                    (
                        support_images[3 * part.start..3 * part.end].to_vec(),
                        support_masks[part.clone()].to_vec(),
                        support_ignored[part].to_vec(),
                    )
                }
            };
            golden::assert_close(&what, &floats(&tensor), &want_image, 1e-6);
            assert_eq!(class, want_class, "{what}: class");
            assert_eq!(ignored, want_ignored, "{what}: ignored pixels");
            let after = binary_mask(&resize_mask(&labels, [preprocess.side; 2]).unwrap(), label);
            assert_eq!(after, kept, "{what}: labels are compared after the resize");
        }
    }
    golden::report("ssp/hsnet_preprocess_", cases.len());
}
