//! The backbone alone and whole episodes of SSP and MLC at 473x473.

mod inputs;

use std::hint::black_box;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use fss_core::heads::{FewShotModel, MlcConfig, Ssp, SspConfig};
use fss_core::{Depth, Device, Refine, backbone::DeepStemResNetConfig};
use inputs::{object_mask, tensor};

const IMAGE: usize = 473;

fn ssp(refine: Refine, device: &Device) -> Ssp {
    SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).with_refine(refine).init(device, 0).fold()
}

fn backbone(c: &mut Criterion) {
    let device = Device::flex();
    let image = tensor::<4>("image", [1, 3, IMAGE, IMAGE], &device);
    let folded = ssp(Refine::Off, &device);
    let plain = SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).init(&device, 0);
    let mut group = c.benchmark_group("backbone resnet50 473x473");
    group.sample_size(10);
    for (name, model) in [("folded", &folded), ("unfolded", &plain)] {
        group.bench_function(name, |b| {
            b.iter(|| black_box(model.features(image.clone()).0[0].clone().into_data()))
        });
    }
    group.finish();
}

fn episode<M: FewShotModel>(b: &mut Bencher<'_>, model: &M, shots: usize) {
    let device = Device::flex();
    let query = tensor::<4>("query", [1, 3, IMAGE, IMAGE], &device);
    let supports: Vec<_> = (0..shots)
        .map(|k| {
            let image = tensor::<4>(&format!("support {k}"), [1, 3, IMAGE, IMAGE], &device);
            (image, object_mask([IMAGE, IMAGE], &device))
        })
        .collect();
    b.iter(|| {
        let support = model.encode_support_images(&supports).expect("a support set");
        let logits = model.segment_images(&support, query.clone()).expect("a query");
        black_box(logits.argmax(1).into_data())
    })
}

fn ssp_episode(c: &mut Criterion) {
    let mut group = c.benchmark_group("ssp resnet50 episode 473x473");
    group.sample_size(10);
    for (shots, refine) in [(1, Refine::Off), (1, Refine::On), (5, Refine::On)] {
        let model = ssp(refine, &Device::flex());
        group.bench_function(format!("{shots}-shot refine {refine:?}"), |b| {
            episode(b, &model, shots)
        });
    }
    group.finish();
}

fn mlc_episode(c: &mut Criterion) {
    let network = DeepStemResNetConfig::new(Depth::R50);
    let model = MlcConfig::new(network).init(&Device::flex(), 0).fold();
    let mut group = c.benchmark_group("mlc resnet50 episode 473x473");
    group.sample_size(10);
    for shots in [1, 5] {
        group.bench_function(format!("{shots}-shot"), |b| episode(b, &model, shots));
    }
    group.finish();
}

criterion_group!(benches, backbone, ssp_episode, mlc_episode);
criterion_main!(benches);
