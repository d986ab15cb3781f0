//! Coarse maps of the official code, from the pixels of an image on.

use std::path::Path;

use fss_core::backbone::clip::{Clip, ClipConfig};
use fss_core::backbone::{NamedTensor, load_module_tensors, module_shapes};
use fss_core::cam::GRID;
use fss_core::{CamMaker, CamOptions, Device};
use fss_support::golden::{self, Case, assert_close};
use image::{Rgb, RgbImage};

/// Of maps from 0 to 1.
const MAPS: f32 = 1e-3;

#[test]
fn golden_imr_cam_e2e() {
    let cases = golden::cases("imr", "cam_e2e");
    for case in &cases {
        let names: Vec<String> = case.settings["classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        let device = Device::default();
        let maker = CamMaker::new(
            filled_clip(case, &device),
            &names,
            CamOptions::default(),
            &device,
            "fill rule".into(),
        )
        .unwrap();
        for (item, about) in case.settings["items"].as_object().unwrap() {
            let category = about["category"].as_u64().unwrap() as usize;
            assert_eq!(names[category], about["name"].as_str().unwrap());
            let image = picture(case, &format!("{item}.src"));
            let (shape, wanted) = case.f32(&format!("{item}.cam50"));
            assert_eq!(shape, [GRID, GRID]);
            let found = maker.maps(&image, &[category], GRID).unwrap().remove(0);
            let what = format!("{} {item}", case.name);
            assert_close(&what, found.map.as_slice().unwrap(), &wanted, MAPS);
        }
    }
    golden::report("imr/cam_e2e", cases.len());
}

/// The small CLIP of a case, under the fill rule.
fn filled_clip(case: &Case, device: &Device) -> Clip {
    let sizes = &case.settings["config"];
    let size = |key: &str| sizes[key].as_u64().unwrap() as usize;
    let layers: Vec<usize> =
        sizes["layers"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let config = ClipConfig {
        resolution: size("res"),
        width: size("width"),
        embedding: size("embed"),
        text_width: size("tw"),
        ..ClipConfig::rn50()
    }
    .with_depth(layers.try_into().unwrap(), size("tl"));
    let clip = config.init(device, 0);
    let tensors = module_shapes(&clip)
        .into_iter()
        .map(|(key, shape)| NamedTensor { values: fss_support::fill(&key, &shape), key, shape })
        .collect();
    load_module_tensors(clip, tensors, Path::new("fill rule")).unwrap()
}

/// The bytes `[3, H, W]` of a tensor as an image.
fn picture(case: &Case, name: &str) -> RgbImage {
    let (shape, bytes) = case.u8(name);
    let [_, height, width] = shape[..] else { panic!("{name} has shape {shape:?}") };
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        Rgb([0, 1, 2].map(|channel| bytes[channel * height * width + at]))
    })
}
