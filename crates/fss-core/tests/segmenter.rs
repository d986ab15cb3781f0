//! The segmenter as a user meets it, with a tiny network.

use fss_core::backbone::{DeepStemResNetConfig, KeyStyle, save_safetensors};
use fss_core::{Annotated, Depth, Device, ModelOptions, Refine, Segmenter, parse_device};
use image::{Rgb, RgbImage};
use ndarray::Array2;

fn options() -> ModelOptions {
    ModelOptions::ssp(Depth::R50).with_width(4).with_refine(Refine::On)
}

fn segmenter() -> Segmenter {
    let ModelOptions::Ssp(config) = options() else { unreachable!("ssp was asked for") };
    let device = parse_device("cpu").unwrap();
    Segmenter::from_model(Box::new(config.init(&device, 3).fold()), &device)
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]))
}

fn annotated(width: u32, height: u32) -> Annotated {
    let mask = Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
        u8::from(y > height as usize / 2 && x > width as usize / 3)
    });
    Annotated { name: "a support".into(), image: picture(width, height), mask }
}

#[test]
fn results_have_the_querys_size_and_masks_follow_the_logits() {
    let segmenter = segmenter();
    let support = segmenter.support(&[annotated(60, 44), annotated(32, 71)]).unwrap();
    assert_eq!(support.shots(), 2);
    for (width, height) in [(50, 37), (1, 1), (3, 90)] {
        let found = segmenter.segment(&support, &picture(width, height)).unwrap();
        let size = (height as usize, width as usize);
        assert_eq!((found.mask.dim(), found.logits.dim()), (size, (2, size.0, size.1)));
        assert_eq!(found.scale, 1.0);
        for ((y, x), label) in found.mask.indexed_iter() {
            let foreground = found.logits[[1, y, x]] > found.logits[[0, y, x]];
            assert_eq!(*label, u8::from(foreground));
        }
    }
}

#[test]
fn several_ways_label_each_pixel_once() {
    let segmenter = segmenter().with_max_side(64).unwrap();
    let mut other = annotated(40, 40);
    other.mask = other.mask.mapv(|label| 1 - label);
    let ways =
        [segmenter.support(&[annotated(40, 40)]).unwrap(), segmenter.support(&[other]).unwrap()];
    for (width, height) in [(50, 37), (100, 80)] {
        let query = picture(width, height);
        let found = segmenter.segment_ways(&ways, &query).unwrap();
        assert_eq!(found.logits.dim(), (3, height as usize, width as usize));
        let alone = ways.each_ref().map(|way| segmenter.segment(way, &query).unwrap());
        for ((y, x), label) in found.mask.indexed_iter() {
            let margins = alone.each_ref().map(|f| f.logits[[1, y, x]] - f.logits[[0, y, x]]);
            // Where it is close, rounding may decide either way.
            let want = usize::from(margins[1] > margins[0]);
            let sure = (margins[0] - margins[1]).abs() > 1e-4 && margins[want].abs() > 1e-4;
            let want = if margins[want] > 0.0 { want as u8 + 1 } else { 0 };
            assert!(!sure || *label == want, "{label} at {y}, {x}: {margins:?}");
        }
    }
    let message = segmenter.segment_ways(&[], &picture(8, 8)).unwrap_err().to_string();
    assert!(message.contains("support set is empty"), "{message}");
}

#[test]
fn large_images_are_shrunk_for_the_network_only() {
    let segmenter = segmenter().with_max_side(64).unwrap();
    let support = segmenter.support(&[annotated(200, 100)]).unwrap();
    let found = segmenter.segment(&support, &picture(300, 150)).unwrap();
    assert_eq!(found.mask.dim(), (150, 300));
    assert!((found.scale - 64.0 / 300.0).abs() < 1e-9);
    assert!(segmenter.with_max_side(0).unwrap_err().to_string().contains("1500"));
}

#[test]
fn saved_weights_give_the_same_masks() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let network = options().deep_stem().unwrap().init(&device, 3);
    save_safetensors(&network, &path, KeyStyle::Ssp, &Default::default()).unwrap();
    let (ours, theirs) = (segmenter(), Segmenter::load(&options(), &path, &device).unwrap());
    let query = picture(40, 40);
    let logits = |segmenter: &Segmenter| {
        let support = segmenter.support(&[annotated(40, 40)]).unwrap();
        segmenter.segment(&support, &query).unwrap().logits
    };
    assert_eq!(logits(&ours), logits(&theirs));
}

#[test]
fn a_file_of_another_network_is_refused_by_name() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let other = DeepStemResNetConfig::new(Depth::R101).with_width(4);
    save_safetensors(&other.init(&device, 3), &path, KeyStyle::Ssp, &Default::default()).unwrap();
    let message = Segmenter::load(&options(), &path, &device).unwrap_err().to_string();
    assert!(message.contains("resnet101") && message.contains("resnet50"), "{message}");
}

#[test]
fn an_empty_support_set_is_refused() {
    let message = segmenter().support(&[]).unwrap_err().to_string();
    assert!(message.contains("at least one"), "{message}");
}
