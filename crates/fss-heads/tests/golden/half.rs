//! Half precision, with tolerances of its own: outputs of the official code in float32 against ours with a backbone
//! in float16 and bfloat16.

use burn::tensor::{FloatDType, Tensor};
use fss_backbone::{DeepStemResNetConfig, Depth, KeyStyle};
use fss_heads::{FewShotModel, HalfBackbone, MlcConfig, Refine, SspConfig};
use fss_support::golden::{Case, cases, relative_l2, report};

use crate::device::test_device;
use crate::support::{episode, filled_backbone, values};

/// How far features may lie from those of float32 (relative L2), and which share of pixels may get the other
/// label. Networks with random weights leave many pixels near a tie.
const TOLERANCES: [(FloatDType, f64, f64); 2] =
    [(FloatDType::F16, 4e-3, 0.02), (FloatDType::BF16, 3e-2, 0.08)];

fn check<M: FewShotModel>(
    case: &Case,
    model: &M,
    prototype: impl Fn(&M::Support) -> Tensor<2>,
    (gap, flips): (f64, f64),
) {
    let episode = episode(case, "", &test_device());
    let support = model.encode_support_images(&episode.supports).expect("a support set");
    let (_, want) = case.f32("FP");
    let found = relative_l2(&values(prototype(&support)), &want);
    assert!(found <= gap, "{}: prototypes differ by {found}", case.name);

    let logits = model.segment_images(&support, episode.query).expect("a query");
    let labels: Vec<i64> = logits.argmax(1).try_into_vec_as().expect("labels");
    let (_, want) = case.u8("pred");
    let other = labels.iter().zip(&want).filter(|(a, b)| **a != i64::from(**b)).count();
    let share = other as f64 / want.len() as f64;
    assert!(share <= flips, "{}: {share} of the pixels flip", case.name);
}

#[test]
fn golden_half_precision() {
    let device = test_device();
    let mut count = 0;
    for (dtype, gap, flips) in TOLERANCES {
        if !device.supports_dtype(dtype) {
            continue;
        }
        for case in &cases("ssp", "model_") {
            let config =
                SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).with_refine(Refine::On);
            let model = config.init_with(filled_backbone(case, KeyStyle::Ssp, &device)).fold();
            let model = HalfBackbone::new(model, dtype);
            check(case, &model, |support| support.foreground.clone(), (gap, flips));
            count += 1;
        }
        for case in &cases("mlc", "model_") {
            let config = MlcConfig::new(DeepStemResNetConfig::new(Depth::R50));
            let model = config.init_with(filled_backbone(case, KeyStyle::Mlc, &device)).fold();
            let model = HalfBackbone::new(model, dtype);
            check(case, &model, |support| support.foreground.clone(), (gap, flips));
            count += 1;
        }
    }
    report("half precision", count);
}
