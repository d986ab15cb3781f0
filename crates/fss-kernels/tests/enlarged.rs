//! Cross entropy without the enlarged logits, beside its definition.

mod common;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{random, test_device};
use fss_kernels::{Corners, enlarged_argmax, enlarged_cross_entropy, resize_bilinear};
use fss_support::golden::{assert_close, assert_close_rel_max};
use proptest::prelude::*;

const IGNORE: u8 = 255;

fn tensors(
    [batch, classes, h, w]: [usize; 4],
    [height, width]: [usize; 2],
    device: &Device,
) -> (Tensor<4>, Tensor<3, Int>) {
    let logits = random("logits", batch * classes * h * w);
    let logits: Vec<f32> = logits.into_iter().map(|value| 5.0 * value).collect();
    let labels: Vec<i64> = random("labels", batch * height * width)
        .into_iter()
        .map(|value| {
            let label = (value.abs() * 1000.0) as i64 % (classes as i64 + 1);
            if label == classes as i64 { i64::from(IGNORE) } else { label }
        })
        .collect();
    (
        Tensor::from_data(TensorData::new(logits, [batch, classes, h, w]), device),
        Tensor::from_data(TensorData::new(labels, [batch, height, width]), device),
    )
}

/// The definition, by Burn's operations.
fn defined(logits: Tensor<4>, labels: Tensor<3, Int>, corners: Corners) -> Tensor<1> {
    let [_, height, width] = labels.dims();
    let logits = resize_bilinear(logits, [height, width], corners);
    let ignored = labels.clone().equal_elem(IGNORE);
    let labels = labels.mask_fill(ignored.clone(), 0).unsqueeze_dim::<4>(1);
    let taken = log_softmax(logits, 1).gather(1, labels).squeeze_dim::<3>(1);
    taken.neg().mask_fill(ignored, 0.0).sum()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn sum_and_gradient_are_those_of_the_definition(
        batch in 1usize..3, classes in 1usize..7, h in 1usize..6, w in 1usize..6,
        height in 1usize..20, width in 1usize..20, aligned: bool,
    ) {
        let corners = if aligned { Corners::Aligned } else { Corners::HalfPixel };
        let device = test_device().autodiff();
        let shape = [batch, classes, h, w];
        let run = |form: fn(Tensor<4>, Tensor<3, Int>, Corners) -> Tensor<1>| {
            let (logits, labels) = tensors(shape, [height, width], &device);
            let logits = logits.require_grad();
            let sum = form(logits.clone(), labels, corners) * 0.5;
            let value = values(sum.clone());
            (value, values(logits.grad(&sum.backward()).expect("a gradient")))
        };
        let ours = |logits, labels, corners| enlarged_cross_entropy(logits, labels, IGNORE, corners);
        let (sum, gradient) = run(ours);
        let (want, want_gradient) = run(defined);
        let tolerance = 2e-6 * (want[0].abs() + 10.0);
        assert_close("sum", &sum, &want, tolerance);
        let largest = want_gradient.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        assert_close("gradient", &gradient, &want_gradient, 3e-6 * largest);
        let (logits, labels) = tensors(shape, [height, width], &test_device());
        let untracked = values(ours(logits, labels, corners) * 0.5);
        assert_close("untracked", &untracked, &want, tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_largest_class_is_that_of_the_enlarged_logits(
        batch in 1usize..3, classes in 1usize..7, h in 1usize..6, w in 1usize..6,
        height in 1usize..20, width in 1usize..20, rows in 1usize..20, columns in 1usize..20,
    ) {
        let window = [rows.min(height), columns.min(width)];
        for device in [test_device(), test_device().autodiff()] {
            let shape = [batch, classes, h, w];
            let logits = random("logits", shape.iter().product());
            // Few values, so that some are equal.
            let logits: Vec<f32> = logits.into_iter().map(|value| (value * 2.0).round()).collect();
            let logits = Tensor::<4>::from_data(TensorData::new(logits, shape), &device);
            for corners in [Corners::Aligned, Corners::HalfPixel] {
                let wide = resize_bilinear(logits.clone(), [height, width], corners);
                let wide = wide.slice([0..batch, 0..classes, 0..window[0], 0..window[1]]);
                let want: Vec<i64> = wide.argmax(1).try_into_vec_as().unwrap();
                let got = enlarged_argmax(logits.clone(), [height, width], window, corners);
                prop_assert_eq!(got.dims(), [batch, window[0], window[1]]);
                prop_assert_eq!(got.try_into_vec_as::<i64>().unwrap(), want);
                let double = logits.clone().cast(burn::tensor::FloatDType::F64);
                let composed = enlarged_argmax(double, [height, width], window, corners);
                prop_assert_eq!(composed.dims(), [batch, window[0], window[1]]);
            }
        }
    }
}

#[test]
fn other_precisions_are_composed_and_agree() {
    let device = test_device();
    let (logits, labels) = tensors([1, 3, 4, 5], [9, 7], &device);
    let want =
        values(enlarged_cross_entropy(logits.clone(), labels.clone(), IGNORE, Corners::Aligned));
    let double = logits.cast(burn::tensor::FloatDType::F64);
    let got = values(enlarged_cross_entropy(double, labels, IGNORE, Corners::Aligned));
    assert_close_rel_max("sum", &got, &want, 1e-5);
}

#[test]
fn a_label_of_no_class_gives_no_number() {
    for dtype in [burn::tensor::FloatDType::F32, burn::tensor::FloatDType::F64] {
        let device = test_device();
        let logits = Tensor::<4>::zeros([1, 3, 2, 2], &device).cast(dtype);
        let labels =
            Tensor::<3, Int>::from_data(TensorData::new(vec![0i64, 2, 7, 255], [1, 2, 2]), &device);
        let sum = values(enlarged_cross_entropy(logits, labels, IGNORE, Corners::Aligned));
        assert!(!sum[0].is_finite(), "{sum:?}");
    }
}
