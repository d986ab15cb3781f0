//! The kernels of HSNet at the sizes of a 400x400 image with ResNet-50.

mod inputs;

use burn::tensor::Tensor;
use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::Device;
use fss_core::kernels::{
    PivotGeometry, PivotWeights, center_pivot_conv4d, correlation, correlation_conv4d,
    group_norm_relu, unit_features,
};
use inputs::{device, done, object_mask, tensor};

/// The levels of the pyramid: name, taps, channels, side of the maps, kernel and stride of the first
/// convolution.
const LEVELS: [(&str, usize, usize, usize, usize, usize); 3] =
    [("shallow", 4, 512, 50, 5, 4), ("middle", 6, 1024, 25, 5, 4), ("deep", 3, 2048, 13, 3, 2)];

/// The shares of support positions that are not masked out.
const SHARES: [(&str, f32); 2] = [("whole support", 1.0), ("quarter", 0.25)];

fn weights(inputs: usize, outputs: usize, kernel: usize, device: &Device) -> PivotWeights {
    let shape = [outputs, inputs, kernel, kernel];
    PivotWeights {
        query: tensor("query.weight", shape, device),
        support: tensor("support.weight", shape, device),
        bias: tensor("bias", [outputs], device),
    }
}

/// Unit features of a level, zero where an object of a given share is not.
fn features(name: &str, [taps, channels, side]: [usize; 3], share: f32) -> Tensor<5> {
    let device = device();
    let mask = object_mask([side; 2], share, &device).float().unsqueeze_dim::<4>(1);
    let level = tensor::<4>(name, [taps, channels, side, side], &device) * mask;
    unit_features(level).unsqueeze()
}

fn correlations(c: &mut Criterion) {
    let device = device();
    let mut group = c.benchmark_group("correlation");
    group.sample_size(10);
    let tap = tensor::<4>("tap", [1, 512, 50, 50], &device);
    group.bench_function("unit_features", |b| b.iter(|| done(unit_features(tap.clone()))));
    for (name, taps, channels, side, kernel, stride) in LEVELS {
        let level = [taps, channels, side];
        let query = features("query", level, 1.0);
        let weights = weights(taps, 16, kernel, &device);
        for (share_name, share) in SHARES {
            let support = features("support", level, share);
            group.bench_function(format!("correlation_conv4d/{name}, {share_name}"), |b| {
                b.iter(|| {
                    let (query, support) = (query.clone(), support.clone());
                    done(correlation_conv4d(query, support, weights.clone(), stride))
                })
            });
        }
        let support = features("support", level, 1.0);
        group.bench_function(format!("correlation/{name}"), |b| {
            b.iter(|| done(correlation(query.clone(), support.clone())))
        });
    }
    group.finish();
}

/// Further convolutions of HSNet: channels in and out, kernel, stride, sides of support and query.
const CONVOLUTIONS: [(usize, usize, usize, usize, usize, usize); 5] = [
    (16, 64, 5, 4, 13, 50),
    (64, 128, 3, 2, 4, 50),
    (16, 64, 3, 2, 7, 25),
    (128, 128, 3, 1, 2, 25),
    (128, 128, 3, 1, 2, 50),
];

fn convolutions(c: &mut Criterion) {
    let device = device();
    let mut group = c.benchmark_group("center_pivot_conv4d");
    group.sample_size(10);
    for (c_in, c_out, kernel, stride, support, side) in CONVOLUTIONS {
        let x = tensor::<5>("x", [1, support * support, c_in, side, side], &device);
        let weights = weights(c_in, c_out, kernel, &device);
        let geometry = PivotGeometry { support: [support; 2], stride };
        let name = format!("{c_in}-{c_out} kernel {kernel} stride {stride}, {support} to {side}");
        group.bench_function(name, |b| {
            b.iter(|| done(center_pivot_conv4d(x.clone(), weights.clone(), geometry)))
        });
    }
    let x = tensor::<5>("x", [1, 13 * 13, 16, 50, 50], &device);
    let (weight, bias) = (tensor("weight", [16], &device), tensor("bias", [16], &device));
    group.bench_function("group_norm_relu/16, 13 to 50", |b| {
        b.iter(|| done(group_norm_relu(x.clone(), 4, weight.clone(), bias.clone())))
    });
    group.finish();
}

criterion_group!(benches, correlations, convolutions);
criterion_main!(benches);
