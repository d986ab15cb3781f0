//! Models by name, and the files that their weights come from.

use std::path::Path;

use burn::tensor::{Distribution, Int, Tensor};
use fss_core::backbone::{KeyStyle, NamedTensor};
use fss_core::data::IGNORE_INDEX;
use fss_core::heads::{FewShotModel, MlcConfig};
use fss_core::{Depth, Device, Error, ModelOptions, Refine, load_model};
use fss_support::pth::{Entry, write_legacy_pth, write_pth};

const SIDE: usize = 40;

fn options() -> [ModelOptions; 3] {
    [
        ModelOptions::mlc(Depth::R50).with_width(4),
        ModelOptions::ssp(Depth::R50).with_width(4),
        ModelOptions::ssp(Depth::R50).with_width(4).with_refine(Refine::On),
    ]
}

fn image(seed: u64, device: &Device) -> Tensor<4> {
    device.seed(seed);
    Tensor::random([1, 3, SIDE, SIDE], Distribution::Normal(0.0, 1.0), device)
}

/// Columns of foreground, background and ignored pixels.
fn mask(device: &Device) -> Tensor<3, Int> {
    let column = Tensor::<1, Int>::arange(0..SIDE as i64, device);
    let ignored = column.clone().greater_elem(30);
    let labels = column.lower_elem(15).int().mask_fill(ignored, i64::from(IGNORE_INDEX));
    labels.reshape([1, 1, SIDE]).expand([1, SIDE, SIDE])
}

fn logits<M: FewShotModel>(model: &M, device: &Device) -> Vec<f32> {
    let support = model.encode_support_images(&[(image(1, device), mask(device))]).unwrap();
    // A support set that is copied is the same one.
    let logits = model.segment_images(&support.clone(), image(2, device)).unwrap();
    logits.into_data().iter::<f32>().collect()
}

#[test]
fn official_files_load_into_every_model_under_the_names_of_ssp_and_mlc() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let network = *options()[0].deep_stem().unwrap();
    let tensors = network.init(&device, 5).named_tensors().unwrap();
    let mut found = Vec::new();
    for options in options() {
        let mut all = Vec::new();
        for (i, style) in [KeyStyle::Ssp, KeyStyle::Mlc].into_iter().enumerate() {
            let entries: Vec<_> = tensors
                .iter()
                .map(|NamedTensor { key, shape, values }| {
                    (style.spell(key), shape.clone(), values.clone())
                })
                .collect();
            for (name, write) in
                [("zip", write_pth as fn(&Path, &[Entry])), ("legacy", write_legacy_pth)]
            {
                let path = folder.path().join(format!("{name}{i}.pth"));
                write(&path, &entries);
                let (model, report) = load_model(&options, &path, &device).unwrap();
                assert_eq!((report.style, report.loaded), (Some(style), tensors.len()));
                all.push(logits(&model, &device));
            }
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{options}");
        found.push(all.swap_remove(0));
    }
    assert!(found[0] != found[1] && found[1] != found[2], "three methods, three results");
    let built = MlcConfig::new(network).init(&device, 5).fold();
    assert_eq!(found[0], logits(&built, &device));
}

#[test]
fn options_say_what_they_are() {
    assert_eq!(
        ModelOptions::mlc(Depth::R50).with_refine(Refine::On).to_string(),
        "mlc with resnet50"
    );
    let [mlc, ..] = options();
    let wide = mlc.clone().with_width(6);
    assert_eq!((mlc.deep_stem().unwrap().width, wide.deep_stem().unwrap().width), (4, 6));
    let changed = mlc.with_deep_stem(*wide.deep_stem().unwrap());
    assert_eq!(changed.deep_stem(), wide.deep_stem());
}

#[test]
fn a_missing_file_is_named() {
    let error = load_model(&options()[0], "nowhere/mlc.pth".as_ref(), &Device::flex());
    let error = error.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Backbone(_)) && error.to_string().contains("nowhere/mlc.pth"));
}
