//! What the golden tests of the heads share.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use fss_backbone::{
    DeepStemResNet, DeepStemResNetConfig, KeyStyle, NamedTensor, OfficialKeys, load_module_tensors,
    module_tensors,
};
use fss_heads::{EpisodeBatch, Features, Shot};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, relative_l2};

/// A float tensor of a case.
pub fn tensor<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = case.f32(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Label maps of a case, with all leading axes made one.
pub fn labels(case: &Case, name: &str, device: &Device) -> Tensor<3, Int> {
    let (shape, values) = case.u8(name);
    let [.., height, width] = shape[..] else { panic!("{name}: a label map of shape {shape:?}") };
    let count = values.len() / (height * width);
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Tensor::from_data(TensorData::new(values, [count, height, width]), device)
}

/// All values of a tensor, row by row.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

/// The numbers N for which the case has a tensor `<prefix>N`, from 0.
pub fn numbered(case: &Case, prefix: &str) -> std::ops::Range<usize> {
    let count = (0..).take_while(|k| case.has(&format!("{prefix}{k}"))).count();
    0..count
}

/// Asserts that the values are those of tensor `name`.
pub fn close(case: &Case, variant: &str, name: &str, got: Vec<f32>, tolerance: f32) {
    let what = format!("{} {variant}: {name}", case.name);
    assert_close(&what, &got, &case.f32(name).1, tolerance);
}

/// Asserts that a prediction differs from `pred` in at most one pixel of a thousand.
pub fn assert_prediction(case: &Case, logits: Tensor<4>) {
    let labels: Vec<i64> = logits.argmax(1).try_into_vec_as().expect("labels");
    let (_, want) = case.u8("pred");
    let flips = labels.iter().zip(&want).filter(|(a, b)| **a != i64::from(**b)).count();
    assert!(flips * 1000 <= want.len(), "{}: {flips} pixels flip", case.name);
}

/// The support set whose features a case gives.
pub fn shots_of(case: &Case, device: &Device) -> Vec<Shot> {
    numbered(case, "feature_s.")
        .map(|k| Shot {
            features: Features::single(tensor(case, &format!("feature_s.{k}"), device)),
            mask: labels(case, &format!("mask_s.{k}"), device),
        })
        .collect()
}

/// The images of an episode: query, supports with masks, and the query's mask where there is one.
pub fn episode(case: &Case, prefix: &str, device: &Device) -> EpisodeBatch {
    let name = |part: &str| format!("{prefix}{part}");
    let query = tensor::<4>(case, &name("img_q"), device);
    let [samples, _, height, width] = query.dims();
    let mask = name("mask_q");
    EpisodeBatch {
        extra: None,
        cams: None,
        query,
        query_mask: if case.has(&mask) {
            labels(case, &mask, device)
        } else {
            Tensor::zeros([samples, height, width], device)
        },
        supports: numbered(case, &name("img_s."))
            .map(|k| {
                let image = tensor(case, &name(&format!("img_s.{k}")), device);
                (image, labels(case, &name(&format!("mask_s.{k}")), device))
            })
            .collect(),
    }
}

/// The backbone that a case names, under the fill rule; `style` is how the official code names it.
pub fn filled_backbone(case: &Case, style: KeyStyle, device: &Device) -> DeepStemResNet {
    let depth = case.str_setting("backbone").parse().expect("a backbone's name");
    let backbone = DeepStemResNetConfig::new(depth).init(device, 0);
    let filled = backbone
        .named_tensors()
        .expect("an unfolded network")
        .into_iter()
        .map(|t| NamedTensor { values: fill(&style.spell(&t.key), &t.shape), ..t })
        .collect();
    backbone.load_named(filled, "the fill rule".as_ref()).expect("fitting tensors")
}

/// Gradients of features whose gradient the case holds, within 1e-3 of their norm.
pub fn check_feature_gradients(case: &Case, inputs: &[(String, Tensor<4>)], gradients: &Gradients) {
    let mut compared = 0;
    for (name, input) in inputs {
        let name = format!("grad.{name}");
        if case.has(&name) {
            let got = values(input.grad(gradients).expect("a gradient"));
            let error = relative_l2(&got, &case.f32(&name).1);
            assert!(error < 1e-3, "{}: {name}: relative L2 {error:e}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 0, "{}: no gradient to compare", case.name);
}

/// Gradients of the backbone's weights, which the case holds by official key, and their number.
pub fn check_weight_gradients(
    case: &Case,
    style: KeyStyle,
    backbone: &DeepStemResNet,
    gradients: &Gradients,
) {
    let gradients: BTreeMap<String, Vec<f32>> = backbone
        .named_gradients(gradients)
        .into_iter()
        .map(|gradient| (style.spell(&gradient.key), gradient.values))
        .collect();
    let trained = case.usize_setting("params_with_grad");
    assert_eq!(gradients.len(), trained, "{}: parameters with a gradient", case.name);
    let last = last_convolution(&gradients);
    for name in case.names().iter().filter_map(|name| name.strip_prefix("grad.")) {
        let got = &gradients[name];
        let want = case.f32(&format!("grad.{name}")).1;
        let error = relative_l2(&got[..want.len()], &want);
        let tolerance = if name == last { 1e-4 } else { 1e-2 };
        assert!(error < tolerance, "{}: gradient of {name}: {error:e}", case.name);
        let norm = got.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let want = f64::from(case.f32(&format!("gradnorm.{name}")).1[0]);
        assert!((norm / want - 1.0).abs() < 1e-2, "{}: norm of {name}: {norm}", case.name);
    }
}

/// The key of the last trained convolution, whose gradient has passed no other ReLU.
fn last_convolution(gradients: &BTreeMap<String, Vec<f32>>) -> String {
    gradients
        .keys()
        .filter_map(|key| {
            let (prefix, block) = key.strip_suffix(".conv3.weight")?.split_once("layer3.")?;
            Some((block.parse::<usize>().ok()?, prefix))
        })
        .max()
        .map(|(block, prefix)| format!("{prefix}layer3.{block}.conv3.weight"))
        .expect("gradients of layer3")
}

/// Images of a case, `[.., 3, H, W]` of 8-bit values with all leading axes made one, as networks that
/// were trained on ImageNet want them.
pub fn images(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
    let (shape, bytes) = case.u8(name);
    let [.., 3, height, width] = shape[..] else { panic!("{name}: images of shape {shape:?}") };
    let values: Vec<f32> = bytes
        .iter()
        .enumerate()
        .map(|(i, byte)| {
            let channel = i / (height * width) % 3;
            (f32::from(*byte) / 255.0 - MEAN[channel]) / DEVIATION[channel]
        })
        .collect();
    let count = bytes.len() / (3 * height * width);
    Tensor::from_data(TensorData::new(values, [count, 3, height, width]), device)
}

/// A module under the fill rule; `prefix` comes before its keys, and `change` may change the values of
/// a key.
pub fn filled_module<M: OfficialKeys>(
    module: M,
    prefix: &str,
    change: impl Fn(&str, Vec<f32>) -> Vec<f32>,
) -> M {
    let filled = module_tensors(&module)
        .expect("parameters")
        .into_iter()
        .map(|t| {
            let key = format!("{prefix}{}", t.key);
            NamedTensor { values: change(&key, fill(&key, &t.shape)), ..t }
        })
        .collect();
    load_module_tensors(module, filled, "the fill rule".as_ref()).expect("fitting tensors")
}
