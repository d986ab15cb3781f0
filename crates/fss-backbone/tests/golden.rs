//! Stage outputs of the official backbone under fill-rule weights.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{device, filled, values};
use fss_backbone::{DeepStemResNetConfig, Stages};
use fss_support::golden::{self, Case, assert_close_rel_max};

/// Tolerance as a fraction of the largest magnitude of the tensor.
const TOLERANCE: f32 = 1e-5;

#[test]
fn golden_backbone_stages() {
    let cases = golden::cases("ssp", "backbone_");
    for case in &cases {
        let depth = case.str_setting("backbone").parse().unwrap();
        let (shape, image) = case.f32("image");
        let shape: [usize; 4] = shape.try_into().unwrap();
        let image = Tensor::<4>::from_data(TensorData::new(image, shape), &device());
        let network = filled(DeepStemResNetConfig::new(depth), &device());

        compare(case, "stepwise", network.forward_stages(image.clone()));
        check(case, "forward layer3", network.forward(image.clone()), "layer3");
        let folded = network.fold();
        compare(case, "folded", folded.forward_stages(image.clone()));
        check(case, "folded forward layer3", folded.forward(image), "layer3");
    }
    golden::report("ssp/backbone_", cases.len());
}

fn compare(case: &Case, what: &str, stages: Stages) {
    if let Some([a, b, c]) = stages.stem {
        check(case, what, a, "stem.conv_a");
        check(case, what, b, "stem.conv_b");
        check(case, what, c, "stem.conv_c");
    }
    check(case, what, stages.layer0, "layer0");
    check(case, what, stages.layer1, "layer1");
    check(case, what, stages.layer2, "layer2");
    check(case, what, stages.layer3_0, "layer3.0");
    check(case, what, stages.layer3, "layer3");
}

fn check(case: &Case, what: &str, got: Tensor<4>, name: &str) {
    let (shape, want) = case.f32(name);
    let what = format!("{} {what} {name}", case.name);
    assert_eq!(got.dims().to_vec(), shape, "{what}: shape");
    assert_close_rel_max(&what, &values(got), &want, TOLERANCE);
}
