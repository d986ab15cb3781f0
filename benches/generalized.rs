//! Generalized segmentation: POP's head in its two forms, the decoder, a step of stage 2, a whole image.

mod inputs;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::backbone::{Depth, DilatedResNetConfig};
use fss_core::heads::{GeneralizedModel, PopConfig, PopHead, PspModule};
use fss_core::kernels::{Corners, resize_bilinear};
use inputs::{device, done, object_mask, tensor};

const IMAGE: usize = 473;
/// Features of an image of that size.
const FEATURES: [usize; 4] = [1, 512, 60, 60];

fn head(c: &mut Criterion) {
    let device = device();
    let features = tensor::<4>("features", FEATURES, &device);
    for (base, novel) in [(15, 5), (60, 20)] {
        let head = PopHead::new(512, base, 0, &device).extended(novel, 1);
        let mut group = c.benchmark_group(format!("pop head {base}+{novel} classes 60x60"));
        group.sample_size(20);
        group.bench_function("two scores a class", |b| {
            b.iter(|| done(head.logits(features.clone())))
        });
        if base == 15 {
            group.sample_size(10);
            group.bench_function("published form", |b| {
                b.iter(|| done(head.logits_by_maps(features.clone())))
            });
        }
        group.finish();
    }
}

/// Forward and backward of the head on cached features of a novel and a base image.
fn head_step(c: &mut Criterion) {
    let device = device().autodiff();
    let [_, channels, height, width] = FEATURES;
    let features = tensor::<4>("features", [2, channels, height, width], &device.clone().inner());
    let head = PopHead::new(channels, 15, 0, &device).extended(5, 1);
    let novel = object_mask([IMAGE; 2], 0.25, &device) * 16;
    let base = object_mask([IMAGE; 2], 0.25, &device) * 3;
    let mut group = c.benchmark_group("pop head step 15+5 classes");
    group.sample_size(10);
    group.bench_function("2 images", |b| {
        b.iter(|| {
            let losses = head.novel_losses(features.clone(), &novel, Some(&base)).expect("losses");
            black_box(losses.total.backward())
        })
    });
    group.finish();
}

fn decoder(c: &mut Criterion) {
    let device = device();
    let x = tensor::<4>("layer4", [1, 2048, 60, 60], &device);
    let decoder = PspModule::new(2048, 512, 0, &device).fold();
    let mut group = c.benchmark_group("psp decoder 60x60");
    group.sample_size(10);
    group.bench_function("taken apart", |b| b.iter(|| done(decoder.forward(x.clone()))));
    group.finish();
}

/// From a normalised image to labels at its size.
fn image(c: &mut Criterion) {
    let device = device();
    let image = tensor::<4>("image", [1, 3, IMAGE, IMAGE], &device);
    let network = DilatedResNetConfig::new(Depth::R50);
    let model = PopConfig::new(network, 15).with_novel(5).init(&device, 0).fold();
    let mut group = c.benchmark_group("pop resnet50 473x473");
    group.sample_size(10);
    group.bench_function("image", |b| {
        b.iter(|| {
            let logits = model.logits(image.clone());
            let logits = resize_bilinear(logits, [IMAGE; 2], Corners::Aligned);
            black_box(logits.argmax(1).into_data())
        })
    });
    group.finish();
}

criterion_group!(benches, head, head_step, decoder, image);
criterion_main!(benches);
