//! Every matching kernel at the sizes of a 473x473 image: features `[1, 1024, 60, 60]`.

mod inputs;

use std::hint::black_box;

use burn::tensor::{Int, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::kernels::{
    Activation, ConvGeometry, Corners, conv2d_fused, cosine_map_dense, cosine_maps,
    enlarged_argmax, masked_average_pool, masked_average_pool_at_mask_size, resize_bilinear,
    resize_nearest, self_support, self_support_ways,
};
use inputs::{device, done, object_mask, tensor};

const CHANNELS: usize = 1024;
const SIDE: usize = 60;
const IMAGE: usize = 473;
/// Share of the image that the object covers.
const SHARE: f32 = 1.0 / 16.0;

fn matching(c: &mut Criterion) {
    let device = device();
    let features = || tensor::<4>("features", [1, CHANNELS, SIDE, SIDE], &device);
    let mask = || object_mask([IMAGE; 2], SHARE, &device).float().unsqueeze_dim::<4>(1);
    let mut group = c.benchmark_group("kernels");
    group.sample_size(10);

    let (x, m) = (features(), mask());
    group.bench_function("masked_average_pool", |b| {
        b.iter(|| done(masked_average_pool(x.clone(), m.clone())))
    });
    group.bench_function("masked_average_pool_at_mask_size", |b| {
        b.iter(|| done(masked_average_pool_at_mask_size(x.clone(), m.clone())))
    });
    for ways in [2, 6, 21] {
        let prototypes = tensor::<3>("prototypes", [1, ways, CHANNELS], &device);
        group.bench_function(format!("cosine_maps/{ways}"), |b| {
            b.iter(|| done(cosine_maps(x.clone(), prototypes.clone())))
        });
    }
    let map = tensor::<4>("map", [1, CHANNELS, SIDE, SIDE], &device);
    group.bench_function("cosine_map_dense", |b| {
        b.iter(|| done(cosine_map_dense(x.clone(), map.clone())))
    });
    // The left half is sure background, the right half sure foreground, as in the PyTorch peer.
    let left = Tensor::<1, Int>::arange(0..SIDE as i64, &device).lower_elem(SIDE as i64 / 2);
    let left = (left.float() * 8.0 - 4.0).reshape([1, 1, 1, SIDE]);
    let scores = Tensor::cat(vec![left.clone(), -left], 1).expand([1, 2, SIDE, SIDE]);
    group.bench_function("self_support", |b| {
        b.iter(|| {
            let own = self_support(x.clone(), scores.clone(), &Default::default());
            black_box(own.fg_prototype);
            done(own.bg_adaptive)
        })
    });
    // Each way's object is a fifth of the picture, and all else its background.
    let columns = Tensor::<1, Int>::arange(0..SIDE as i64, &device);
    let wide = SIDE as i64 / 5;
    let ways = (0..5).map(|way| {
        let inside = columns.clone().div_scalar(wide).equal_elem(way).float() * 8.0 - 4.0;
        let inside = inside.reshape([1, 1, 1, SIDE]).expand([1, 1, SIDE, SIDE]);
        Tensor::cat(vec![-inside.clone(), inside], 1)
    });
    let ways: Vec<Tensor<4>> = ways.collect();
    let config = Default::default();
    group.bench_function("self_support of 1 way, background 4/5", |b| {
        b.iter(|| done(self_support(x.clone(), ways[0].clone(), &config).bg_adaptive))
    });
    group.bench_function("self_support of 5 ways, background 4/5", |b| {
        b.iter(|| {
            let logits = Tensor::stack::<5>(ways.clone(), 1);
            let own = self_support_ways(x.clone(), logits, &config);
            own.into_iter().for_each(|own| done(own.bg_adaptive))
        })
    });
    for (name, corners) in [("aligned", Corners::Aligned), ("half_pixel", Corners::HalfPixel)] {
        group.bench_function(format!("resize_bilinear/{name}"), |b| {
            b.iter(|| done(resize_bilinear(scores.clone(), [IMAGE; 2], corners)))
        });
    }
    group.bench_function("resize and argmax", |b| {
        let size = [IMAGE; 2];
        b.iter(|| {
            black_box(enlarged_argmax(scores.clone(), size, size, Corners::Aligned).into_data())
        })
    });
    group.bench_function("resize_nearest", |b| {
        b.iter(|| done(resize_nearest(scores.clone(), [IMAGE; 2])))
    });
    group.finish();
}

/// Layers of the deep-stem ResNet-50 at 473x473: channels in and out, kernel, map, stride, dilation.
const LAYERS: [(usize, usize, usize, usize, usize, usize); 12] = [
    (3, 64, 3, 473, 2, 1),
    (64, 64, 3, 237, 1, 1),
    (64, 128, 3, 237, 1, 1),
    (64, 64, 3, 119, 1, 1),
    (64, 256, 1, 119, 1, 1),
    (256, 64, 1, 119, 1, 1),
    (128, 128, 3, 60, 1, 1),
    (128, 512, 1, 60, 1, 1),
    (512, 128, 1, 60, 1, 1),
    (256, 256, 3, 60, 1, 2),
    (256, 1024, 1, 60, 1, 1),
    (1024, 256, 1, 60, 1, 1),
];

fn convolution(c: &mut Criterion) {
    let device = device();
    let mut group = c.benchmark_group("conv2d_fused");
    group.sample_size(10);
    for (c_in, c_out, kernel, side, stride, dilation) in LAYERS {
        let x = tensor::<4>("x", [1, c_in, side, side], &device);
        let weight = tensor::<4>("weight", [c_out, c_in, kernel, kernel], &device);
        let bias = tensor::<1>("bias", [c_out], &device);
        let geometry = ConvGeometry { stride, padding: dilation * (kernel / 2), dilation };
        let name = format!(
            "{c_in}-{c_out} {kernel}x{kernel} at {side} stride {stride} dilation {dilation}"
        );
        group.bench_function(name, |b| {
            b.iter(|| {
                let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
                done(conv2d_fused(x, weight, bias, None, geometry, Activation::Relu))
            })
        });
    }
    group.finish();
}

criterion_group!(benches, matching, convolution);
criterion_main!(benches);
