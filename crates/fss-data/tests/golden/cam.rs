//! Coarse maps: the preparation of images, the way from an activation map to the file, files.

use std::path::{Path, PathBuf};

use fss_data::cam::{CamSizes, read_cam};
use fss_data::io::read_image;
use fss_data::resize::{Filter, PassOrder, resize_linear, resize_rgb_ordered};
use fss_data::transform::{ClipPreprocess, ClipView, Normalisation};
use fss_support::golden::{self, Case};
use image::RgbImage;
use ndarray::Array2;

use crate::hsnet_images::{planes, write_image};

/// What tensors with this ending are called before it.
fn names(case: &Case, ending: &str) -> Vec<String> {
    let names: Vec<String> = case
        .names()
        .iter()
        .filter_map(|name| name.strip_suffix(ending))
        .map(str::to_owned)
        .collect();
    assert!(!names.is_empty(), "{}: no tensor *{ending}", case.name);
    names
}

fn map(case: &Case, name: &str) -> Array2<f32> {
    let (shape, values) = case.f32(name);
    let &[height, width] = shape.as_slice() else { panic!("{name} has shape {shape:?}") };
    Array2::from_shape_vec((height, width), values).expect("a map")
}

fn values(map: &Array2<f32>) -> Vec<f32> {
    map.iter().copied().collect()
}

/// The square by the order of passes that Pillow 13 takes, which the published systems did not know.
fn with_other_order(preprocess: &ClipPreprocess, source: &RgbImage) -> RgbImage {
    let short = source.width().min(source.height()) as usize;
    let scaled = |side: u32| preprocess.side * side as usize / short;
    let size = [scaled(source.height()), scaled(source.width())];
    let resized = resize_rgb_ordered(source, size, Filter::Bicubic, PassOrder::CheapestFirst);
    preprocess.resize(&resized.expect("a resize")).expect("a crop")
}

#[test]
fn golden_clip_preprocess() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for case in golden::cases("imr", "clip_preprocess") {
        let preprocess =
            ClipPreprocess { side: case.usize_setting("n_px"), view: ClipView::CentreCrop };
        for name in names(&case, ".src") {
            let what = format!("{}: {name}", case.name);
            let path = folder.path().join("image.png");
            write_image(&case, &format!("{name}.src"), &path);
            let source = read_image(&path).expect("an image");
            let want = planes(&case, &format!("{name}.crop_u8"));
            let mut square = preprocess.resize(&source).expect("a square");
            let mut tensor = preprocess.image(&source).expect("a tensor");
            if square != want {
                square = with_other_order(&preprocess, &source);
                tensor = Normalisation::CLIP.apply(&square);
            }
            assert!(square == want, "{what}: 8-bit square");
            let got: Vec<f32> = tensor.iter().copied().collect();
            golden::assert_close(&what, &got, &case.f32(&format!("{name}.out")).1, 1e-5);
            count += 1;
        }
    }
    golden::report_optional("imr/clip_preprocess", count);
}

#[test]
fn golden_cam_postprocess() {
    let mut count = 0;
    for case in golden::cases("imr", "cam_postprocess") {
        for name in names(&case, ".raw_cam") {
            let [raw, first_scaled, full, coarse] =
                ["raw_cam", "cam_first_scaled", "cam_full", "cam50"]
                    .map(|stage| map(&case, &format!("{name}.{stage}")));
            let sizes = CamSizes { network: full.nrows(), grid: coarse.nrows() };
            let got = sizes.stages(&raw).expect("a map");
            let check = |stage: &str, got: &Array2<f32>, want: &Array2<f32>, tolerance: f32| {
                let what = format!("{}: {name}: {stage}", case.name);
                assert_eq!(got.dim(), want.dim(), "{what}");
                golden::assert_close(&what, &values(got), &values(want), tolerance);
            };
            check("enlarged", &got.first_scaled, &first_scaled, 2e-5);
            check("full", &got.full, &full, 1e-4);
            check("coarse", &got.coarse, &coarse, 1e-4);
            let resized = resize_linear(&full, [sizes.grid; 2]).expect("a resize");
            check("resize alone", &resized, &coarse, 2e-5);
            assert_eq!(sizes.full(&raw).expect("a map"), got.full);
            assert_eq!(sizes.coarse(&raw).expect("a map"), got.coarse);
            count += 1;
        }
    }
    golden::report_optional("imr/cam_postprocess", count);
}

/// The `.pt` files beside a case, of those cases the one with the longest name that theirs begin
/// with.
fn torch_files(case: &Case, all: &[Case]) -> Vec<PathBuf> {
    let folder = case.path.parent().expect("a folder");
    let owner = |path: &Path| {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        all.iter()
            .filter(|case| stem.starts_with(&case.name))
            .max_by_key(|case| case.name.len())
            .is_some_and(|owner| owner.name == case.name)
    };
    let entries = std::fs::read_dir(folder).expect("a golden folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pt") && owner(path))
        .collect();
    files.sort();
    files
}

#[test]
fn golden_cam_file() {
    let cases = golden::cases("imr", "cam_file");
    let mut count = 0;
    for case in &cases {
        let want = map(case, "cam");
        let files = torch_files(case, &cases);
        assert!(!files.is_empty(), "{}: no .pt file beside it", case.name);
        for path in files.iter().chain([&case.path]) {
            let got = read_cam(path, want.nrows()).expect("a map");
            assert_eq!(got, want, "{}", path.display());
            let error = read_cam(path, want.nrows() + 1).expect_err("another grid").to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            count += 1;
        }
    }
    golden::report("imr/cam_file", count);
}
