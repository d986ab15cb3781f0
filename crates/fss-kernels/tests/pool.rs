//! Pooling gives what Burn's own gives, to the bit, and its gradients.

mod common;

use burn::tensor::Tensor;
use burn::tensor::module::{avg_pool2d as burn_avg_pool2d, max_pool2d as burn_max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use common::{from_values, random, test_device, values};
use fss_kernels::{avg_pool2d, max_pool2d};
use proptest::prelude::*;

fn burn_max(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    let options =
        MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
    burn_max_pool2d(x, options)
}

fn burn_avg(x: Tensor<4>, kernel: usize, stride: usize) -> Tensor<4> {
    burn_avg_pool2d(x, AvgPoolOptions::new([kernel; 2]).with_stride([stride; 2]))
}

/// Few different values, so that windows hold equal ones, and now and then one that is not finite.
fn rough(name: &str, count: usize) -> Vec<f32> {
    let rough = |value: f32| match (value * 40.0) as i32 {
        -1 => -0.0,
        7 => f32::NAN,
        8 => f32::from_bits(0xffc0_0001),
        -9 => f32::NEG_INFINITY,
        10 => f32::INFINITY,
        step => (step / 8) as f32,
    };
    random(name, count).into_iter().map(rough).collect()
}

fn bits(tensor: Tensor<4>) -> ([usize; 4], Vec<u32>) {
    (tensor.dims(), values(tensor).into_iter().map(f32::to_bits).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pools_as_burn_does(
        (b, c, h, w) in (1usize..3, 1usize..4, 1usize..24, 1usize..80),
        (kernel, stride, padding) in (1usize..5, 1usize..5, 0usize..3),
        seed in 0u8..9,
    ) {
        // Burn wants no more padding than half a window.
        prop_assume!(padding <= kernel / 2 && h.min(w) + 2 * padding >= kernel);
        let device = test_device();
        let x = rough(&format!("x{seed}"), b * c * h * w);
        let x = from_values(x, [b, c, h, w], &device);
        let ours = bits(max_pool2d(x.clone(), kernel, stride, padding));
        prop_assert_eq!(ours, bits(burn_max(x.clone(), kernel, stride, padding)));
        if h.min(w) >= kernel {
            let finite = from_values(random("x", b * c * h * w), [b, c, h, w], &device);
            let ours = bits(avg_pool2d(finite.clone(), kernel, stride));
            prop_assert_eq!(ours, bits(burn_avg(finite, kernel, stride)));
        }
    }
}

#[test]
fn gradients_are_those_of_burn() {
    let device = test_device().autodiff();
    let leaf = || from_values(random("x", 2 * 3 * 9 * 11), [2, 3, 9, 11], &device).require_grad();
    let gradient = |pool: &dyn Fn(Tensor<4>) -> Tensor<4>| {
        let x = leaf();
        let pooled = pool(x.clone());
        values(x.grad(&(pooled.clone() * pooled).sum().backward()).expect("a gradient"))
    };
    let max = gradient(&|x| max_pool2d(x, 3, 2, 1));
    assert_eq!(max, gradient(&|x| burn_max(x, 3, 2, 1)));
    let mean = gradient(&|x| avg_pool2d(x, 2, 2));
    assert_eq!(mean, gradient(&|x| burn_avg(x, 2, 2)));
    assert!(max.iter().chain(&mean).any(|v| *v != 0.0));
}

#[test]
fn an_empty_batch_stays_empty() {
    let x = Tensor::zeros([0, 3, 8, 8], &test_device());
    assert_eq!(max_pool2d(x, 3, 2, 1).dims(), [0, 3, 4, 4]);
}
